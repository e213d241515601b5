//! Requests one after another, from the socket that is the standard input.
//!
//! Owns: the streams, the note of which one is at work, the processor time of each.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read as _, Write as _};
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd as _;
use std::os::unix::fs::FileExt as _;

use heldar_decode::wire::{Answer, Image, LENGTH_BYTES, Request, message_len};
use rustix::time::{ClockId, clock_gettime};

use crate::av::Decoder;
use crate::render::Renderer;
use crate::stream::Stream;

/// Streams at a time.
const STREAMS: usize = 256;

/// Serves until the socket is closed.
pub(crate) fn serve() -> Result<(), String> {
    let mut renderer = Renderer::new()?;
    let mut streams = HashMap::new();
    let mut note = Note { begun: 0, told_idle: true };
    let socket = socket();
    let mut input = BufReader::with_capacity(256 << 10, &*socket);
    let mut message = Vec::new();
    let mut output = Vec::new();
    loop {
        if input.buffer().is_empty() {
            note.idle();
        }
        match next(&mut input, &mut message) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => return Err(format!("requests cannot be read: {error}")),
        }
        let request = Request::decode(&message).map_err(|error| format!("nonsense was asked: {error}"))?;
        output.clear();
        let mut answer = |answer: Answer| output.extend_from_slice(&answer.encode());
        handle(&mut streams, &mut renderer, &mut note, request, &mut answer);
        if !output.is_empty() && (&*socket).write_all(&output).is_err() {
            return Ok(());
        }
        // One large picture does not make every later answer keep its room.
        output.shrink_to(1 << 20);
    }
}

/// The standard input as a file: reading it any other way asks for system calls that are shut out.
fn socket() -> ManuallyDrop<File> {
    // SAFETY: the descriptor is open as long as the process lives, and is never closed here.
    ManuallyDrop::new(unsafe { File::from_raw_fd(0) })
}

/// Reads the next message; false when there will be none.
fn next(input: &mut BufReader<&File>, message: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; LENGTH_BYTES];
    match input.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    }
    message.resize(message_len(length)?, 0);
    input.read_exact(message)?;
    Ok(true)
}

fn handle(
    streams: &mut HashMap<u32, Stream>,
    renderer: &mut Renderer,
    note: &mut Note,
    request: Request<'_>,
    answer: &mut dyn FnMut(Answer),
) {
    match request {
        Request::Open { stream, codec, reorder_depth, config } => {
            note.begin(stream);
            let opened = if streams.len() < STREAMS {
                Decoder::open(codec, reorder_depth, config)
            } else {
                Err("too many streams".to_owned())
            };
            match opened {
                Ok(decoder) => drop(streams.insert(stream, Stream::new(stream, decoder))),
                Err(why) => answer(Answer::Malformed { stream, pts: i64::MIN, cpu_us: 0, why }),
            }
        }
        Request::Unit { stream, pts, hints, outputs, payload } => {
            note.begin(stream);
            match streams.get_mut(&stream) {
                Some(open) => timed(
                    open,
                    |open, answer| open.unit(renderer, pts, hints, outputs, payload, answer),
                    answer,
                ),
                None if outputs.is_empty() => {}
                None => answer(Answer::Malformed {
                    stream,
                    pts,
                    cpu_us: 0,
                    why: "the stream is not open".to_owned(),
                }),
            }
        }
        Request::Flush { stream, token } => {
            note.begin(stream);
            match streams.get_mut(&stream) {
                Some(open) => timed(open, |open, answer| open.flush(renderer, token, answer), answer),
                None => answer(Answer::Flushed { stream, token, cpu_us: 0 }),
            }
        }
        Request::Encode { stream, pts, width, height, quality, planes } => {
            note.begin(stream);
            let began = cpu_us();
            let made = renderer.encode((width, height), quality, planes);
            let cpu_us = u32::try_from(cpu_us().saturating_sub(began)).unwrap_or(u32::MAX);
            answer(match made {
                Ok(data) => {
                    let images = vec![Image { width, height, crop: None, data }];
                    Answer::Picture { stream, pts, width, height, cpu_us, images }
                }
                Err(why) => Answer::Malformed { stream, pts, cpu_us, why },
            });
        }
        Request::Close { stream } => {
            streams.remove(&stream);
        }
    }
}

/// Does something for a stream and counts the processor time that it took.
fn timed(
    stream: &mut Stream,
    work: impl FnOnce(&mut Stream, &mut dyn FnMut(Answer)),
    answer: &mut dyn FnMut(Answer),
) {
    let before = cpu_us();
    let mut charged = before;
    work(stream, &mut |mut made| {
        // What this very answer has cost belongs to it.
        let now = cpu_us();
        let spent = u32::try_from(now.saturating_sub(charged)).unwrap_or(u32::MAX);
        charged = now;
        match &mut made {
            Answer::Picture { cpu_us, .. }
            | Answer::Malformed { cpu_us, .. }
            | Answer::Flushed { cpu_us, .. } => {
                *cpu_us = cpu_us.saturating_add(spent);
            }
        }
        answer(made);
    });
    stream.spent(u32::try_from(cpu_us().saturating_sub(charged)).unwrap_or(u32::MAX));
}

/// Processor time of this thread in microseconds.
fn cpu_us() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1000
}

/// What the process is at, written where the one that started it can read it after any end.
struct Note {
    begun: u64,
    told_idle: bool,
}

impl Note {
    fn begin(&mut self, stream: u32) {
        self.begun += 1;
        self.told_idle = false;
        self.write(u64::from(stream) + 1);
    }

    fn idle(&mut self) {
        if !self.told_idle {
            self.told_idle = true;
            self.write(0);
        }
    }

    fn write(&self, stream: u64) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.begun.to_le_bytes());
        bytes[8..].copy_from_slice(&stream.to_le_bytes());
        // SAFETY: the descriptor is open as long as the process lives, and is never closed here.
        let note = ManuallyDrop::new(unsafe { File::from_raw_fd(1) });
        // A note that cannot be written leaves the end of the process without a name; there is nobody to tell.
        let _unwritten = note.write_all_at(&bytes, 0);
    }
}
