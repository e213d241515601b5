//! The writer thread and the sync thread of one file system.
//!
//! Owns: every open segment file. One `write` per fragment, in the order in which a stream submits; `fdatasync` at seal
//! and at the latest one sync interval after a write. What is submitted waits in a queue that is bounded in bytes; past
//! the bound an order is refused at once, so that nobody upstream ever waits for a disk. Blocking calls happen on these
//! two threads and nowhere else, and a slow `fdatasync` never holds up a write.
//!
//! Never: decides when a segment begins or ends, knows the store. A fault is reported once per file; the file is cut
//! back to its last whole fragment and closed, and later orders for it are ignored.

mod sync;
mod write;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use heldar_base::{Micros, StreamId, WallTime};

use crate::{Disk, DiskFile, SegmentName};

pub use sync::SyncSide;
pub use write::WriteSide;

/// Names one segment file between submission and completion; never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentKey(pub u64);

/// What a disk can do wrong, as far as anyone acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// No space or quota left.
    NoSpace,
    /// Mounted or switched to read-only, or not permitted.
    ReadOnly,
    /// The folder or the device is gone.
    Missing,
    /// Anything else.
    Io,
}

/// A failed disk operation.
#[derive(Debug, thiserror::Error)]
#[error("{}", .kind.describe())]
pub struct DiskFault {
    /// What to act on.
    pub kind: FaultKind,
    /// What the operating system said.
    #[source]
    pub source: io::Error,
}

impl FaultKind {
    /// For operators; names no path.
    pub const fn describe(self) -> &'static str {
        match self {
            FaultKind::NoSpace => "no space left on the recording storage",
            FaultKind::ReadOnly => "the recording storage cannot be written",
            FaultKind::Missing => "the recording storage is missing",
            FaultKind::Io => "the recording storage reports an input/output error",
        }
    }
}

impl From<io::Error> for DiskFault {
    fn from(source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                FaultKind::NoSpace
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => FaultKind::ReadOnly,
            io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle => FaultKind::Missing,
            _ => FaultKind::Io,
        };
        DiskFault { kind, source }
    }
}

/// How the two threads behave.
#[derive(Clone, Copy, Debug)]
pub struct WriterConfig {
    /// Bytes that may wait to be written.
    pub queue_bytes: u64,
    /// Longest time from a write to its `fdatasync`.
    pub sync_interval: Duration,
}

impl Default for WriterConfig {
    fn default() -> Self {
        WriterConfig { queue_bytes: 64 << 20, sync_interval: Duration::from_secs(5) }
    }
}

/// The queue is full: the order was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue of the recording storage is full")]
pub struct Refused;

/// What became of an order. `T` is whatever the submitter attached to it.
#[derive(Debug)]
pub enum Completion<T> {
    /// A file exists and holds its first fragment.
    Begun {
        /// Which file.
        key: SegmentKey,
        /// What it is called.
        name: SegmentName,
        /// Its length: init segment and first fragment.
        end: u64,
        /// Attached to the fragment.
        tag: T,
        /// Time spent in system calls.
        took: Micros,
    },
    /// A further fragment is in its file (commit protocol, step W2).
    Written {
        /// Which file.
        key: SegmentKey,
        /// Length of the file now.
        end: u64,
        /// Attached to the fragment.
        tag: T,
        /// Time spent in system calls.
        took: Micros,
    },
    /// Everything of a file up to `end` is durable, its folder entry included.
    Synced {
        /// Which file.
        key: SegmentKey,
        /// Durable length.
        end: u64,
        /// Time spent in system calls.
        took: Micros,
    },
    /// A file is complete and durable (step W4).
    Sealed {
        /// Which file.
        key: SegmentKey,
        /// Its final length.
        end: u64,
        /// Attached to the order.
        tag: T,
        /// Time spent in system calls.
        took: Micros,
    },
    /// A file ended early; it holds whole fragments up to `end`, or does not exist when that is 0.
    Failed {
        /// Which file.
        key: SegmentKey,
        /// End of its last whole fragment.
        end: u64,
        /// Why.
        fault: DiskFault,
    },
}

/// What the writer has done so far.
#[derive(Debug, Default)]
pub struct WriterStats {
    /// Bytes that wait.
    pub queued_bytes: AtomicU64,
    /// Bytes written.
    pub written_bytes: AtomicU64,
    /// Fragments written.
    pub fragments: AtomicU64,
    /// Orders refused because the queue was full.
    pub refused: AtomicU64,
}

/// Room in the queue; given back when it is dropped.
#[derive(Debug)]
pub struct Room {
    bytes: u64,
    stats: Arc<WriterStats>,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.stats.queued_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

enum Order<T> {
    Begin { key: SegmentKey, stream: StreamId, start: WallTime, parts: Vec<Bytes>, tag: T, room: Room },
    Append { key: SegmentKey, parts: Vec<Bytes>, tag: T, room: Room },
    Seal { key: SegmentKey, tail: Bytes, patch: Option<(u64, Bytes)>, tag: T },
    Forget { key: SegmentKey },
    Stop,
}

type Sink<T> = Arc<dyn Fn(Completion<T>) + Send + Sync>;

/// What a side did when it was told to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// One thing; there may be more to do.
    Did,
    /// Nothing is to be done now.
    Idle,
    /// It has ended and does nothing any more.
    Ended,
}

/// Handle on the two threads; dropping it writes and syncs what was submitted.
pub struct SegmentWriter<T> {
    orders: Sender<Order<T>>,
    stats: Arc<WriterStats>,
    config: WriterConfig,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<T> fmt::Debug for SegmentWriter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentWriter").field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> SegmentWriter<T> {
    /// Starts the threads. `sink` is called on them and must not block.
    ///
    /// # Errors
    /// When a thread cannot be created.
    pub fn start(
        disk: Arc<dyn Disk>,
        config: WriterConfig,
        sink: impl Fn(Completion<T>) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (writer, write, sync) = Self::split(disk, config, sink);
        let threads = vec![
            thread::Builder::new().name("segment-sync".into()).spawn(move || sync.run())?,
            thread::Builder::new().name("segment-write".into()).spawn(move || write.run())?,
        ];
        *writer.threads.lock().unwrap_or_else(PoisonError::into_inner) = threads;
        Ok(writer)
    }

    /// The handle and what runs on the two threads, without the threads: whoever takes the sides decides when and in
    /// which order they move.
    pub fn split(
        disk: Arc<dyn Disk>,
        config: WriterConfig,
        sink: impl Fn(Completion<T>) + Send + Sync + 'static,
    ) -> (Self, WriteSide<T>, SyncSide<T>) {
        let sink: Sink<T> = Arc::new(sink);
        let stats = Arc::new(WriterStats::default());
        let (orders, order_queue) = mpsc::channel();
        let (syncs, sync_queue) = mpsc::channel();
        let sync = SyncSide::new(disk.clone(), sink.clone(), config.sync_interval, sync_queue);
        let write = WriteSide::new(disk, sink, stats.clone(), order_queue, syncs);
        (SegmentWriter { orders, stats, config, threads: Mutex::default() }, write, sync)
    }

    /// Takes room in the queue for a fragment with this much payload, before anything is built.
    ///
    /// # Errors
    /// [`Refused`] when the queue is full.
    pub fn reserve(&self, payload: u64) -> Result<Room, Refused> {
        let before = self.stats.queued_bytes.fetch_add(payload, Ordering::Relaxed);
        let room = Room { bytes: payload, stats: self.stats.clone() };
        // An empty queue takes any fragment, however large.
        if before > 0 && before + payload > self.config.queue_bytes {
            self.stats.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Refused);
        }
        Ok(room)
    }

    /// Creates a file and writes `parts` (init segment and first fragment) in one go.
    pub fn begin(
        &self,
        room: Room,
        key: SegmentKey,
        stream: StreamId,
        start: WallTime,
        parts: Vec<Bytes>,
        tag: T,
    ) {
        self.submit(Order::Begin { key, stream, start, parts, tag, room });
    }

    /// Writes one further fragment.
    pub fn append(&self, room: Room, key: SegmentKey, parts: Vec<Bytes>, tag: T) {
        self.submit(Order::Append { key, parts, tag, room });
    }

    /// Completes a file: appends `tail`, overwrites bytes at `patch.0`, makes all of it durable. Never refused.
    pub fn seal(&self, key: SegmentKey, tail: Bytes, patch: Option<(u64, Bytes)>, tag: T) {
        self.submit(Order::Seal { key, tail, patch, tag });
    }

    /// Closes a file that has failed, without a further completion.
    pub fn forget(&self, key: SegmentKey) {
        self.submit(Order::Forget { key });
    }

    /// Counters.
    pub fn stats(&self) -> &WriterStats {
        &self.stats
    }

    /// Writes, syncs and closes everything submitted so far, then ends the threads.
    pub fn stop(&self) {
        self.submit(Order::Stop);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        // The writer thread was started last and ends first: it owns the channel to the sync thread.
        for handle in threads.into_iter().rev() {
            if handle.join().is_err() {
                tracing::error!("a thread of the segment writer panicked");
            }
        }
    }

    fn submit(&self, order: Order<T>) {
        if self.orders.send(order).is_err() {
            tracing::debug!("order after the segment writer stopped");
        }
    }
}

impl<T> Drop for SegmentWriter<T> {
    fn drop(&mut self) {
        // Threads that `stop` has not taken end by themselves once the channel is closed.
        if self.orders.send(Order::Stop).is_err() {
            tracing::debug!("segment writer had stopped before");
        }
    }
}

fn byte_len(parts: &[Bytes]) -> u64 {
    parts.iter().map(|p| p.len() as u64).sum()
}

fn elapsed(since: Instant) -> Micros {
    Micros::from_std(since.elapsed())
}

/// A file shared by both threads.
struct OpenFile {
    file: Arc<dyn DiskFile>,
    folder: String,
    /// Whole fragments end here.
    end: AtomicU64,
    /// Set by the writer, cleared by the sync thread before it syncs.
    dirty: AtomicBool,
}
