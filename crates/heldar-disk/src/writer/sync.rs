//! The side that syncs: `fdatasync` at seal and at the latest one interval after a write.
//!
//! Never: writes, holds up a write.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use super::{Completion, OpenFile, SegmentKey, Sink, Step, elapsed};
use crate::Disk;

/// What the writing side tells the syncing side.
pub(super) enum SyncOrder<T> {
    /// A file exists.
    Track { key: SegmentKey, open: Arc<OpenFile> },
    /// A file is complete.
    Seal { key: SegmentKey, tag: T },
    /// A file failed, and holds whole fragments.
    Close { key: SegmentKey },
}

struct Tracked {
    open: Arc<OpenFile>,
    folder_synced: bool,
    due: Instant,
}

/// Makes durable what is written.
pub struct SyncSide<T> {
    disk: Arc<dyn Disk>,
    sink: Sink<T>,
    interval: Duration,
    orders: Receiver<SyncOrder<T>>,
    files: BTreeMap<SegmentKey, Tracked>,
}

impl<T> fmt::Debug for SyncSide<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncSide").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

impl<T> SyncSide<T> {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        sink: Sink<T>,
        interval: Duration,
        orders: Receiver<SyncOrder<T>>,
    ) -> Self {
        SyncSide { disk, sink, interval, orders, files: BTreeMap::new() }
    }

    /// Waits for orders and for files that are due, until the writing side has ended.
    pub(super) fn run(mut self) {
        loop {
            let due = self.files.values().map(|t| t.due).min();
            let wait =
                due.map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(Instant::now()));
            match self.orders.recv_timeout(wait) {
                Ok(order) => self.carry_out(order, Instant::now()),
                Err(RecvTimeoutError::Timeout) => {
                    // Who is awake does as well what is due soon.
                    let soon = Instant::now() + self.interval / 4;
                    while self.sync_one_due(soon, Instant::now()) {}
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.sync_all(Instant::now());
                    return;
                }
            }
        }
    }

    /// Carries out the next order, if one waits, else syncs one file that is due at `now`.
    pub fn step(&mut self, now: Instant) -> Step {
        match self.orders.try_recv() {
            Ok(order) => {
                self.carry_out(order, now);
                Step::Did
            }
            Err(TryRecvError::Empty) if self.sync_one_due(now, now) => Step::Did,
            Err(TryRecvError::Empty) => Step::Idle,
            Err(TryRecvError::Disconnected) => {
                self.sync_all(now);
                Step::Ended
            }
        }
    }

    fn carry_out(&mut self, order: SyncOrder<T>, now: Instant) {
        match order {
            SyncOrder::Track { key, open } => {
                let due = now + self.interval;
                self.files.insert(key, Tracked { open, folder_synced: false, due });
            }
            SyncOrder::Seal { key, tag } => self.seal(key, tag, now),
            SyncOrder::Close { key } => self.close(key, now),
        }
    }

    /// Syncs the first file that is due by an instant; false when none is.
    fn sync_one_due(&mut self, by: Instant, now: Instant) -> bool {
        let due = self.files.iter().find(|(_, tracked)| tracked.due <= by).map(|(key, _)| *key);
        due.inspect(|key| _ = self.sync(*key, now)).is_some()
    }

    fn sync_all(&mut self, now: Instant) {
        let keys: Vec<SegmentKey> = self.files.keys().copied().collect();
        for key in keys {
            self.sync(key, now);
        }
    }

    /// Makes one file durable; true when it is.
    fn sync(&mut self, key: SegmentKey, now: Instant) -> bool {
        match self.sync_file(key, now) {
            Some(Ok(())) => true,
            Some(Err((end, error))) => {
                // The kernel may have dropped the dirty pages: nothing since the last good sync may be believed. The
                // file is closed as it stands, and checked at the next start.
                self.files.remove(&key);
                (self.sink)(Completion::Failed { key, end, fault: error.into() });
                false
            }
            None => false,
        }
    }

    /// A file has failed and was reported: what is whole in it is made durable as well. Where that fails too, nobody hears
    /// that it is.
    fn close(&mut self, key: SegmentKey, now: Instant) {
        if let Some(tracked) = self.files.get(&key) {
            tracked.open.dirty.store(true, Ordering::Release);
        }
        if let Some(Err((_, error))) = self.sync_file(key, now) {
            tracing::warn!(%error, "a file that failed cannot be synced either");
        }
        self.files.remove(&key);
    }

    /// Syncs a file if something of it was written since; `None` when it is not here. An error comes with the end of
    /// what was to be synced.
    fn sync_file(&mut self, key: SegmentKey, now: Instant) -> Option<Result<(), (u64, io::Error)>> {
        let tracked = self.files.get_mut(&key)?;
        tracked.due = now + self.interval;
        let began = Instant::now();
        if !tracked.open.dirty.swap(false, Ordering::Acquire) && tracked.folder_synced {
            return Some(Ok(()));
        }
        let end = tracked.open.end.load(Ordering::Relaxed);
        let mut outcome = tracked.open.file.sync_data();
        if outcome.is_ok() && !tracked.folder_synced {
            outcome = self.disk.sync_folder(&tracked.open.folder);
            tracked.folder_synced = outcome.is_ok();
        }
        if outcome.is_ok() {
            (self.sink)(Completion::Synced { key, end, took: elapsed(began) });
        }
        Some(outcome.map_err(|error| (end, error)))
    }

    fn seal(&mut self, key: SegmentKey, tag: T, now: Instant) {
        let began = Instant::now();
        if self.sync(key, now)
            && let Some(tracked) = self.files.remove(&key)
        {
            let end = tracked.open.end.load(Ordering::Relaxed);
            (self.sink)(Completion::Sealed { key, end, tag, took: elapsed(began) });
        }
    }
}
