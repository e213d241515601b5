//! Several decoder processes, and which stream is decoded by which.
//!
//! Owns: how many processes there are, where a new stream goes, how long a place rests after its process was lost. A
//! process is started when it is needed and ends when it has had no stream for a while.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use heldar_media::VideoCodec;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::child::{self, Running};
use crate::still::StillError;
use crate::wire::{Answer, Hints, Image, Output, Request};

/// First and longest rest of a place whose process was lost.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A process that has run for so long was a good one.
const GOOD: Duration = Duration::from_secs(30);

/// How processes are run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program.
    pub program: PathBuf,
    /// Processes at most; at least 1.
    pub processes: usize,
    /// How far they stand back for others, 0 to 19.
    pub nice: u8,
    /// Memory that each may have, in MiB.
    pub memory_mb: u32,
    /// How long one picture may take before its process is taken for hung.
    pub deadline: Duration,
}

/// A pool of decoder processes; clones share it.
#[derive(Clone, Debug)]
pub struct Decoders {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    places: Mutex<Vec<Place>>,
}

/// Where one process runs.
#[derive(Debug, Default)]
struct Place {
    running: Option<Arc<Running>>,
    /// Not before.
    rests_until: Option<Instant>,
    rest: Duration,
}

/// The process of a stream has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// It was working at this stream then.
    pub at_work: bool,
    /// How it ended.
    pub why: String,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the decoder process was lost: {}", self.why)
    }
}

impl std::error::Error for Lost {}

/// A stream cannot be decoded now.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The program cannot be started.
    #[error("the decoder process cannot be started")]
    Start(#[source] std::io::Error),
    /// Its processes were lost a moment ago.
    #[error("decoding rests for {0:?} after a decoder process was lost")]
    Rests(Duration),
    /// It was lost while the stream was opened.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl Decoders {
    /// A pool; no process is started yet.
    pub fn new(options: Options) -> Self {
        let places = (0..options.processes.max(1)).map(|_| Place::default()).collect();
        Decoders { shared: Arc::new(Shared { options, places: Mutex::new(places) }) }
    }

    /// Opens a stream: its codec, how many pictures may be out of order, and the body of its `avcC` or `hvcC` box. Must be
    /// called inside a runtime, on which the process is then served.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(
        &self,
        codec: VideoCodec,
        reorder_depth: u8,
        config: &Bytes,
    ) -> Result<(Feed, Answers), OpenError> {
        let (feed, answers) = self.shared.enter()?;
        let (running, stream) = (&feed.running, feed.stream);
        running.send(stream, &Request::Open { stream, codec, reorder_depth, config }).await?;
        Ok((feed, answers))
    }

    /// Makes a JPEG of planes that are there already: luma, then both colours at half the resolution, rows without
    /// padding, full range.
    ///
    /// # Errors
    /// [`StillError`].
    pub async fn encode(&self, size: (u16, u16), quality: u8, planes: &[u8]) -> Result<Vec<u8>, StillError> {
        let (feed, mut answers) = self.shared.enter()?;
        let (width, height) = size;
        let request = Request::Encode { stream: feed.stream, pts: 0, width, height, quality, planes };
        feed.running.send(feed.stream, &request).await?;
        match answers.recv().await.0 {
            Reply::Picture(picture) => {
                let image = picture.images.into_iter().next();
                image.map(|image| image.data).ok_or_else(|| StillError::Malformed("no picture".to_owned()))
            }
            Reply::Malformed { why, .. } => Err(StillError::Malformed(why)),
            Reply::Flushed(_) => Err(StillError::Malformed("no picture".to_owned())),
            Reply::Lost(lost) => Err(lost.into()),
        }
    }

    /// How many processes run.
    pub fn running(&self) -> usize {
        self.shared
            .places()
            .iter()
            .filter(|place| place.running.as_ref().is_some_and(|r| !r.has_ended()))
            .count()
    }

    /// How many streams are open.
    pub fn streams(&self) -> usize {
        self.shared.places().iter().filter_map(|place| Some(place.running.as_ref()?.stream_count())).sum()
    }
}

impl Shared {
    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new stream in a process.
    fn enter(&self) -> Result<(Feed, Answers), OpenError> {
        let mut places = self.places();
        let now = Instant::now();
        // A process may end between being chosen and being entered, each of them once.
        for _ in 0..=places.len() {
            let running = self.running(&mut places, now)?;
            if let Some((stream, answers)) = running.enter() {
                let answers = Answers { running: running.clone(), stream, answers };
                return Ok((Feed { running, stream }, answers));
            }
            places
                .iter_mut()
                .for_each(|place| drop(place.running.take_if(|known| Arc::ptr_eq(known, &running))));
        }
        Err(OpenError::Rests(REST.0))
    }

    /// The process for a new stream: the one with the fewest streams, a new one where a place is free and every other is at
    /// work.
    fn running(&self, places: &mut [Place], now: Instant) -> Result<Arc<Running>, OpenError> {
        for place in places.iter_mut() {
            place.settle(now);
        }
        let busy = places.iter().filter_map(|place| place.running.clone());
        let best = busy.min_by_key(|running| running.stream_count());
        if let Some(best) = best.clone().filter(|best| best.stream_count() == 0) {
            return Ok(best);
        }
        let free = places
            .iter()
            .position(|place| place.running.is_none() && place.rests_until.is_none_or(|until| until <= now));
        let Some(at) = free else {
            let until = places.iter().filter_map(|place| place.rests_until).min();
            let rest = until.map_or(REST.0, |until| until.saturating_duration_since(now));
            return best.ok_or(OpenError::Rests(rest));
        };
        let (running, run) = child::start(&self.options).map_err(OpenError::Start)?;
        tokio::spawn(run);
        places[at].running = Some(running.clone());
        Ok(running)
    }
}

impl Place {
    /// Notices that its process has ended.
    fn settle(&mut self, now: Instant) {
        let Some(running) = self.running.take_if(|running| running.has_ended()) else { return };
        if running.lost(0).why.is_empty() {
            self.rest = Duration::ZERO;
            self.rests_until = None;
            return;
        }
        let was_good = now.duration_since(running.since) >= GOOD;
        let before = if was_good { Duration::ZERO } else { self.rest };
        self.rest = (before * 2).clamp(REST.0, REST.1);
        self.rests_until = Some(now + self.rest);
    }
}

/// One access unit for a decoder.
#[derive(Clone, Debug)]
pub struct Unit {
    /// What its picture is called; unique in the stream until it is flushed, rising in presentation order.
    pub pts: i64,
    /// How to treat it.
    pub hints: Hints,
    /// What to make of its picture.
    pub outputs: Vec<Output>,
    /// NAL units, each behind its length in four bytes.
    pub payload: Bytes,
}

/// Where a stream's access units go. Dropping it ends the stream.
#[derive(Debug)]
pub struct Feed {
    running: Arc<Running>,
    stream: u32,
}

impl Feed {
    /// Sends a unit, when there is room for it.
    ///
    /// # Errors
    /// The process has ended.
    pub async fn unit(&self, unit: Unit) -> Result<(), Lost> {
        let Unit { pts, hints, outputs, payload } = unit;
        let request = Request::Unit { stream: self.stream, pts, hints, outputs, payload: &payload };
        self.running.send(self.stream, &request).await
    }

    /// Asks for all that is still to come; a sync sample must follow.
    ///
    /// # Errors
    /// The process has ended.
    pub async fn flush(&self, token: u32) -> Result<(), Lost> {
        self.running.send(self.stream, &Request::Flush { stream: self.stream, token }).await
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.running.leave(self.stream);
    }
}

/// Where a stream's pictures come from.
#[derive(Debug)]
pub struct Answers {
    running: Arc<Running>,
    stream: u32,
    answers: mpsc::Receiver<Answer>,
}

/// A decoded picture in the forms that were asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Which.
    pub pts: i64,
    /// Width of the decoded picture.
    pub width: u16,
    /// Height of the decoded picture.
    pub height: u16,
    /// One for each output, in their order.
    pub images: Vec<Image>,
}

/// What became of what was sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A picture that was asked for.
    Picture(Picture),
    /// A unit gave no picture that can be shown.
    Malformed {
        /// Which.
        pts: i64,
        /// What was wrong.
        why: String,
    },
    /// All that was to come before this flush has come.
    Flushed(u32),
    /// The process has ended; nothing more comes.
    Lost(Lost),
}

impl Answers {
    /// The next reply, and the processor time that the stream took since the one before.
    pub async fn recv(&mut self) -> (Reply, Duration) {
        let us = |us: u32| Duration::from_micros(us.into());
        match self.answers.recv().await {
            Some(Answer::Picture { pts, width, height, cpu_us, images, .. }) => {
                (Reply::Picture(Picture { pts, width, height, images }), us(cpu_us))
            }
            Some(Answer::Malformed { pts, why, cpu_us, .. }) => (Reply::Malformed { pts, why }, us(cpu_us)),
            Some(Answer::Flushed { token, cpu_us, .. }) => (Reply::Flushed(token), us(cpu_us)),
            None => (Reply::Lost(self.running.lost(self.stream)), Duration::ZERO),
        }
    }
}
