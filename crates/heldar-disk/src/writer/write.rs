//! The side that writes: one `write` per fragment, in the order in which they were handed over.
//!
//! Never: syncs, waits for a sync.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Instant;

use bytes::Bytes;
use heldar_base::{StreamId, WallTime};

use super::sync::SyncOrder;
use super::{Completion, OpenFile, Order, SegmentKey, Sink, Step, WriterStats, byte_len, elapsed};
use crate::{Disk, DiskFile, SegmentName};

/// Writes what is ordered.
pub struct WriteSide<T> {
    disk: Arc<dyn Disk>,
    sink: Sink<T>,
    stats: Arc<WriterStats>,
    orders: Receiver<Order<T>>,
    syncs: Sender<SyncOrder<T>>,
    files: HashMap<SegmentKey, Arc<OpenFile>>,
}

impl<T> fmt::Debug for WriteSide<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteSide").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

impl<T> WriteSide<T> {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        sink: Sink<T>,
        stats: Arc<WriterStats>,
        orders: Receiver<Order<T>>,
        syncs: Sender<SyncOrder<T>>,
    ) -> Self {
        WriteSide { disk, sink, stats, orders, syncs, files: HashMap::new() }
    }

    /// Waits for orders and carries them out until told to stop.
    pub(super) fn run(mut self) {
        while let Ok(order) = self.orders.recv() {
            if self.carry_out(order) == Step::Ended {
                break;
            }
        }
    }

    /// Carries out the next order, if one waits. After [`Step::Ended`] this side is to be dropped, which tells the other.
    pub fn step(&mut self) -> Step {
        match self.orders.try_recv() {
            Ok(order) => self.carry_out(order),
            Err(TryRecvError::Empty) => Step::Idle,
            Err(TryRecvError::Disconnected) => Step::Ended,
        }
    }

    fn carry_out(&mut self, order: Order<T>) -> Step {
        match order {
            Order::Begin { key, stream, start, parts, tag, room } => {
                self.begin(key, &stream, start, &parts, tag);
                drop(room);
            }
            Order::Append { key, parts, tag, room } => {
                self.append(key, &parts, tag);
                drop(room);
            }
            Order::Seal { key, tail, patch, tag } => self.seal(key, &tail, patch, tag),
            Order::Forget { key } => {
                self.files.remove(&key);
            }
            Order::Stop => return Step::Ended,
        }
        Step::Did
    }

    fn begin(&mut self, key: SegmentKey, stream: &StreamId, start: WallTime, parts: &[Bytes], tag: T) {
        let began = Instant::now();
        match self.create(stream, start, parts) {
            Ok((name, open)) => {
                let end = open.end.load(Ordering::Relaxed);
                let open = Arc::new(open);
                self.files.insert(key, open.clone());
                self.to_syncer(SyncOrder::Track { key, open });
                self.count(end);
                (self.sink)(Completion::Begun { key, name, end, tag, took: elapsed(began) });
            }
            Err(error) => (self.sink)(Completion::Failed { key, end: 0, fault: error.into() }),
        }
    }

    fn create(
        &self,
        stream: &StreamId,
        start: WallTime,
        parts: &[Bytes],
    ) -> io::Result<(SegmentName, OpenFile)> {
        let mut name = SegmentName::new(stream.clone(), start, 1);
        let file = loop {
            match self.disk.create_new(&name.relative_path()) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && name.number < 10_000 => {
                    name.number += 1
                }
                outcome => break outcome?,
            }
        };
        if let Err(error) = write_at(&*file, parts, 0) {
            // Without a whole first fragment the file means nothing: it goes, so that the next attempt finds its name.
            drop(file);
            if let Err(second) = self.disk.remove_file(&name.relative_path()) {
                tracing::warn!(error = %second, "a file without a whole fragment stays behind");
            }
            return Err(error);
        }
        let open = OpenFile {
            file,
            folder: name.folder(),
            end: AtomicU64::new(byte_len(parts)),
            dirty: AtomicBool::new(true),
        };
        Ok((name, open))
    }

    fn append(&mut self, key: SegmentKey, parts: &[Bytes], tag: T) {
        let Some(open) = self.files.get(&key) else { return };
        let began = Instant::now();
        let offset = open.end.load(Ordering::Relaxed);
        match write_at(&*open.file, parts, offset) {
            Ok(()) => {
                let end = offset + byte_len(parts);
                open.end.store(end, Ordering::Relaxed);
                open.dirty.store(true, Ordering::Release);
                self.count(end - offset);
                (self.sink)(Completion::Written { key, end, tag, took: elapsed(began) });
            }
            Err(error) => self.give_up(key, error),
        }
    }

    fn seal(&mut self, key: SegmentKey, tail: &Bytes, patch: Option<(u64, Bytes)>, tag: T) {
        let Some(open) = self.files.get(&key) else { return };
        let offset = open.end.load(Ordering::Relaxed);
        // Tail first: a crash in between leaves a valid file without its true length in the header, never the reverse.
        let outcome = write_at(&*open.file, std::slice::from_ref(tail), offset).and_then(|()| match patch {
            Some((at, bytes)) => write_at(&*open.file, &[bytes], at),
            None => Ok(()),
        });
        match outcome {
            Ok(()) => {
                open.end.store(offset + tail.len() as u64, Ordering::Relaxed);
                open.dirty.store(true, Ordering::Release);
                self.files.remove(&key);
                self.to_syncer(SyncOrder::Seal { key, tag });
            }
            Err(error) => self.give_up(key, error),
        }
    }

    /// Cuts a file back to whole fragments, closes and reports it.
    fn give_up(&mut self, key: SegmentKey, error: io::Error) {
        let Some(open) = self.files.remove(&key) else { return };
        let end = open.end.load(Ordering::Relaxed);
        if let Err(second) = open.file.set_len(end) {
            // Readers stop at the indexed end; the next start cuts the tail.
            tracing::warn!(error = %second, "a torn tail stays behind until the next start");
        }
        (self.sink)(Completion::Failed { key, end, fault: error.into() });
        self.to_syncer(SyncOrder::Close { key });
    }

    fn count(&self, bytes: u64) {
        self.stats.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.stats.fragments.fetch_add(1, Ordering::Relaxed);
    }

    fn to_syncer(&self, order: SyncOrder<T>) {
        if self.syncs.send(order).is_err() {
            tracing::error!("the sync thread is gone");
        }
    }
}

fn write_at(file: &dyn DiskFile, parts: &[Bytes], offset: u64) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> =
        parts.iter().filter(|p| !p.is_empty()).map(|p| IoSlice::new(p)).collect();
    file.write_all_at(&mut slices, offset)
}
