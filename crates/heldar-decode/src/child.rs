//! One decoder process.
//!
//! Owns: its start, what is sent to it and what comes back, its end. A process that hangs, answers nonsense or ends by
//! itself is lost as a whole, and the note that it keeps tells at which stream it was.

use std::collections::HashMap;
use std::io;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{ChildStderr, Command};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::pool::{Lost, Options};
use crate::progress::{Note, Progress};
use crate::wire::{Answer, LENGTH_BYTES, Request, message_len};

/// Bytes that wait for the process at most; whoever sends more waits.
const WAITING_BYTES: u32 = 8 << 20;
/// Answers that wait for the owner of a stream at most; what comes then is dropped.
const WAITING_ANSWERS: usize = 64;
/// How often it is checked that the process gets on.
const CHECK: Duration = Duration::from_millis(250);
/// How long a process without streams stays.
const IDLE: Duration = Duration::from_secs(30);
/// How long a process that was told to end may take.
const LAST_MOMENTS: Duration = Duration::from_secs(2);

/// A running process, as those who use it see it.
#[derive(Debug)]
pub(crate) struct Running {
    orders: mpsc::UnboundedSender<(Vec<u8>, u32)>,
    room: Semaphore,
    streams: Mutex<Streams>,
    next: AtomicU32,
    /// The last stream left.
    emptied: Notify,
    /// How it ended.
    end: OnceLock<End>,
    /// When it was started.
    pub(crate) since: Instant,
}

#[derive(Debug, Default)]
struct Streams {
    open: HashMap<u32, mpsc::Sender<Answer>>,
    /// How often one was opened.
    entered: u64,
    /// None is taken in any more.
    closed: bool,
}

#[derive(Debug)]
struct End {
    stream: Option<u32>,
    why: String,
}

impl Running {
    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new stream's number and its answers; `None` once the process ends.
    pub(crate) fn enter(&self) -> Option<(u32, mpsc::Receiver<Answer>)> {
        let mut streams = self.streams();
        if streams.closed {
            return None;
        }
        let (sender, answers) = mpsc::channel(WAITING_ANSWERS);
        let stream = self.next.fetch_add(1, Ordering::Relaxed);
        streams.open.insert(stream, sender);
        streams.entered += 1;
        Some((stream, answers))
    }

    /// The stream ends.
    pub(crate) fn leave(&self, stream: u32) {
        let mut streams = self.streams();
        streams.open.remove(&stream);
        let is_empty = streams.open.is_empty();
        drop(streams);
        // Without waiting for room: it is a few bytes, and one for each stream.
        let _ended = self.orders.send((Request::Close { stream }.encode(), 0));
        if is_empty {
            self.emptied.notify_one();
        }
    }

    pub(crate) fn stream_count(&self) -> usize {
        self.streams().open.len()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.end.get().is_some()
    }

    /// What is told to the owner of a stream when the process has ended.
    pub(crate) fn lost(&self, stream: u32) -> Lost {
        match self.end.get() {
            Some(end) => Lost { at_work: end.stream == Some(stream), why: end.why.clone() },
            None => Lost { at_work: false, why: "the decoder process is ending".to_owned() },
        }
    }

    /// Sends a request, when there is room for it.
    pub(crate) async fn send(&self, stream: u32, request: &Request<'_>) -> Result<(), Lost> {
        let message = request.encode();
        let need = u32::try_from(message.len()).unwrap_or(WAITING_BYTES).min(WAITING_BYTES);
        let permit = self.room.acquire_many(need).await.map_err(|_closed| self.lost(stream))?;
        permit.forget();
        self.orders.send((message, need)).map_err(|_closed| self.lost(stream))
    }

    fn finish(&self, end: End) {
        let _first = self.end.set(end);
        self.room.close();
        let mut streams = self.streams();
        streams.closed = true;
        streams.open.clear();
    }
}

/// Starts a process and returns it together with what must be awaited for it to run.
pub(crate) fn start(
    options: &Options,
) -> io::Result<(Arc<Running>, impl Future<Output = ()> + Send + use<>)> {
    let (ours, theirs) = UnixStream::pair()?;
    let theirs = theirs.into_std()?;
    theirs.set_nonblocking(false)?;
    let (progress, note) = Progress::new()?;
    let mut process = Command::new(&options.program)
        .args(["--nice", &options.nice.to_string(), "--memory-mb", &options.memory_mb.to_string()])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stdout(Stdio::from(note))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stderr = process.stderr.take();
    let (orders, queue) = mpsc::unbounded_channel();
    let running = Arc::new(Running {
        orders,
        room: Semaphore::new(WAITING_BYTES as usize),
        streams: Mutex::default(),
        next: AtomicU32::new(0),
        emptied: Notify::new(),
        end: OnceLock::new(),
        since: Instant::now(),
    });
    let (reader, writer) = ours.into_split();
    let deadline = options.deadline;
    let shared = running.clone();
    let run = async move {
        let pid = process.id();
        tracing::debug!(pid, "decoder process started");
        let listening = tokio::spawn(last_words(stderr));
        let why = tokio::select! {
            error = send_all(&shared, writer, queue) => error,
            error = receive_all(&shared, reader) => error,
            () = watch(&progress, deadline) => format!("it hung for {} s", deadline.as_secs()),
            () = idle(&shared) => String::new(),
        };
        let stream = progress.read().stream;
        // Nobody waits for the answers of a process that is not to be believed any more.
        if process.try_wait().ok().flatten().is_none() && !why.is_empty() {
            let _ending = timeout(Duration::from_millis(100), process.wait()).await;
        }
        let _ended = process.start_kill();
        let status = timeout(LAST_MOMENTS, process.wait()).await.ok().and_then(Result::ok);
        let mut told = why;
        if let Some(status) = status.filter(|_| !told.is_empty()) {
            told = format!("{told} ({status})");
        }
        let words = timeout(LAST_MOMENTS, listening).await.ok().and_then(Result::ok).flatten();
        if let Some(words) = words.filter(|_| !told.is_empty()) {
            told = format!("{told}: {words}");
        }
        if !told.is_empty() {
            tracing::warn!(pid, why = %told, "decoder process lost");
        }
        shared.finish(End { stream, why: told });
    };
    Ok((running, run))
}

async fn send_all(
    shared: &Running,
    mut writer: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<(Vec<u8>, u32)>,
) -> String {
    while let Some((message, need)) = queue.recv().await {
        if let Err(error) = writer.write_all(&message).await {
            return format!("it took no more ({error})");
        }
        shared.room.add_permits(need as usize);
    }
    String::new()
}

async fn receive_all(shared: &Running, reader: OwnedReadHalf) -> String {
    let mut reader = BufReader::with_capacity(64 << 10, reader);
    loop {
        let answer = match receive(&mut reader).await {
            Ok(answer) => answer,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return "it ended".to_owned(),
            Err(error) => return format!("it answered nonsense ({error})"),
        };
        let owner = shared.streams().open.get(&answer.stream()).cloned();
        if let Some(owner) = owner
            && let Err(mpsc::error::TrySendError::Full(answer)) = owner.try_send(answer)
        {
            tracing::debug!(stream = answer.stream(), "a picture was dropped: nobody took those before it");
        }
    }
}

async fn receive(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Answer> {
    let mut length = [0; LENGTH_BYTES];
    reader.read_exact(&mut length).await?;
    let mut message = vec![0; message_len(length)?];
    reader.read_exact(&mut message).await?;
    Answer::decode(&message)
}

/// Returns when the process has been at one request for longer than the deadline.
async fn watch(progress: &Progress, deadline: Duration) {
    let mut ticks = interval(CHECK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = (Note::default(), Instant::now());
    loop {
        ticks.tick().await;
        let note = progress.read();
        if note != seen.0 || note.stream.is_none() {
            seen = (note, Instant::now());
        } else if seen.1.elapsed() >= deadline {
            return;
        }
    }
}

/// Returns when the process has had no stream for a while, and takes none in any more.
async fn idle(shared: &Running) {
    loop {
        let (is_empty, entered) = {
            let streams = shared.streams();
            (streams.open.is_empty(), streams.entered)
        };
        if !is_empty {
            shared.emptied.notified().await;
            continue;
        }
        sleep(IDLE).await;
        let mut streams = shared.streams();
        if streams.open.is_empty() && streams.entered == entered {
            streams.closed = true;
            return;
        }
    }
}

/// What the process writes to its standard error, cut to a sensible length.
async fn last_words(stderr: Option<ChildStderr>) -> Option<String> {
    let mut lines = BufReader::new(stderr?.take(1 << 20)).lines();
    let mut words = String::new();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(%line, "decoder process says");
        if words.len() < 300 {
            words = format!("{words} {}", line.chars().take(200).collect::<String>());
        }
    }
    Some(words.trim().to_owned()).filter(|words| !words.is_empty())
}
