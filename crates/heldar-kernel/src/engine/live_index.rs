//! What is known of segments before the store knows it.
//!
//! Owns: every segment from its first fragment on disk until its final row is committed. Reads overlay it on the rows of
//! the store, so that footage is listed and playable at once and stays so while the store is busy or lost.
//! Contract: an entry never claims more than what is on disk (commit protocol, W2); it leaves only after its sealed row is
//! committed (W5). Updated on the writer thread: nothing here waits.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use heldar_base::{Cause, EndReason, Interval, StreamId, WallTime};
use heldar_bmff::{FragmentIndex, SampleTable};
use heldar_disk::{Completion, DiskFault, FaultKind, SegmentKey, SegmentName, SegmentShape, Tag};
use heldar_recorder::SegmentTracks;

/// A segment on its way into the store.
#[derive(Clone, Debug)]
pub struct LiveSegment {
    /// Its file.
    pub name: SegmentName,
    /// Time zero of its media time.
    pub start: WallTime,
    /// End of what is on disk.
    pub end: WallTime,
    /// Length of the file as far as readers may go.
    pub size_bytes: u64,
    /// Its tracks.
    pub tracks: SegmentTracks,
    /// It needs the segment before it.
    pub dependent: bool,
    /// Holes inside it.
    pub holes: Vec<(Interval, Cause)>,
    /// Why it ended, once it has.
    pub ended: Option<(EndReason, Option<Cause>)>,
    /// Fragments on disk.
    pub fragments: usize,
    shape: SegmentShape,
}

impl LiveSegment {
    /// The index of what is on disk.
    pub fn index(&self) -> FragmentIndex {
        self.shape.index(self.fragments)
    }

    /// The sample table; may name fragments that are not on disk yet, so windows are cut to [`LiveSegment::end`] first.
    ///
    /// # Errors
    /// When a sample entry cannot be read back.
    pub fn table(&self) -> Result<SampleTable, heldar_bmff::Error> {
        self.shape.table()
    }

    /// True while its file grows.
    pub fn is_open(&self) -> bool {
        self.ended.is_none()
    }
}

/// What the store has not been told yet about a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// Nothing.
    Nothing,
    /// Its first row, or a newer end.
    Row,
}

#[derive(Debug)]
struct Entry {
    segment: LiveSegment,
    /// Its row may be sealed: all of it is durable. A file that failed may have to wait for that, for good if it cannot
    /// be synced; its row stays open then, and the next start finds out what is left.
    sealable: bool,
    due: Due,
    /// Counts changes, so that an answer of the store is matched with what was sent.
    version: u64,
}

/// A footage change that supervision wants to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FootageNote {
    /// Footage was added.
    Covered {
        /// Whose.
        stream: StreamId,
        /// Which.
        interval: Interval,
    },
    /// A segment is complete.
    Sealed {
        /// Whose.
        stream: StreamId,
    },
    /// A file failed.
    Fault {
        /// Whose.
        stream: StreamId,
        /// What to act on.
        kind: FaultKind,
    },
}

/// A row to be written.
#[derive(Clone, Debug)]
pub struct PendingRow {
    /// The segment as it is now.
    pub segment: LiveSegment,
    key: SegmentKey,
    version: u64,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<SegmentKey, Entry>,
    by_stream: BTreeMap<StreamId, Vec<SegmentKey>>,
    notes: Vec<FootageNote>,
    faults: Vec<(SegmentKey, FaultKind)>,
}

/// All segments that the store does not fully know.
#[derive(Debug, Default)]
pub struct LiveIndex {
    inner: Mutex<Inner>,
    /// Faults that wait; looked at after every picture, so apart from the lock.
    waiting_faults: AtomicUsize,
}

impl LiveIndex {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the segment writer has done.
    pub fn completed(&self, completion: Completion<Tag>) {
        let mut inner = self.inner();
        match completion {
            Completion::Begun { key, name, end, tag: Tag::Begin(start, added), .. } => {
                let stream = start.stream.clone();
                let segment = LiveSegment {
                    name,
                    start: start.start,
                    end: added.interval.end,
                    size_bytes: end,
                    tracks: start.tracks,
                    dependent: start.dependent,
                    holes: Vec::new(),
                    ended: None,
                    fragments: added.count,
                    shape: start.shape,
                };
                inner.entries.insert(key, Entry { segment, sealable: false, due: Due::Row, version: 1 });
                inner.by_stream.entry(stream.clone()).or_default().push(key);
                inner.notes.push(FootageNote::Covered { stream, interval: added.interval });
            }
            Completion::Written { key, end, tag: Tag::Fragment(added), .. } => {
                let Some(entry) = inner.entries.get_mut(&key) else { return };
                entry.segment.end = added.interval.end;
                entry.segment.size_bytes = end;
                entry.segment.fragments = added.count;
                entry.segment.holes.extend(added.hole.map(|hole| (hole, Cause::Stalled)));
                let stream = entry.segment.name.stream.clone();
                inner.notes.push(FootageNote::Covered { stream, interval: added.interval });
            }
            Completion::Synced { key, end, .. } => {
                if let Some(entry) = inner.entries.get_mut(&key) {
                    entry.sealable = !entry.segment.is_open() && end >= entry.segment.size_bytes;
                }
                inner.touch(key);
            }
            Completion::Sealed { key, end, tag: Tag::Seal(sealed), .. } => {
                if let Some(entry) = inner.entries.get_mut(&key) {
                    entry.segment.end = sealed.end;
                    entry.segment.size_bytes = end;
                    entry.segment.ended = Some((sealed.reason, sealed.cause));
                    entry.sealable = true;
                    let stream = entry.segment.name.stream.clone();
                    inner.notes.push(FootageNote::Sealed { stream });
                }
                inner.touch(key);
            }
            Completion::Failed { key, fault, .. } => {
                inner.failed(key, &fault);
                self.waiting_faults.store(inner.faults.len(), Ordering::Release);
            }
            other => debug_assert!(false, "an order came back with a foreign tag: {other:?}"),
        }
    }

    /// Notes since the last call, in order.
    pub fn take_notes(&self) -> Vec<FootageNote> {
        std::mem::take(&mut self.inner().notes)
    }

    /// Files of one stream that have failed since the last call; `mine` says which keys are its own.
    pub fn take_faults(&self, mine: impl Fn(SegmentKey) -> bool) -> Vec<(SegmentKey, FaultKind)> {
        if self.waiting_faults.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut inner = self.inner();
        let (taken, left) = std::mem::take(&mut inner.faults).into_iter().partition(|(key, _)| mine(*key));
        inner.faults = left;
        self.waiting_faults.store(inner.faults.len(), Ordering::Release);
        taken
    }

    /// Notes that a file of a stream has failed before its first fragment was on disk: only the stream itself knows then
    /// whose it was.
    pub fn never_begun(&self, key: SegmentKey, stream: &StreamId, kind: FaultKind) {
        let mut inner = self.inner();
        if !inner.entries.contains_key(&key) {
            inner.notes.push(FootageNote::Fault { stream: stream.clone(), kind });
        }
    }

    /// True when the store is to be told something.
    pub fn has_pending(&self) -> bool {
        self.inner().entries.values().any(|entry| entry.due == Due::Row)
    }

    /// Rows that the store is to be told, at most `limit`.
    pub fn pending(&self, limit: usize) -> Vec<PendingRow> {
        let inner = self.inner();
        let mut rows: Vec<PendingRow> = inner
            .entries
            .iter()
            .filter(|(_, entry)| entry.due == Due::Row)
            .map(|(key, entry)| {
                let mut segment = entry.segment.clone();
                segment.ended = segment.ended.filter(|_| entry.sealable);
                PendingRow { segment, key: *key, version: entry.version }
            })
            .collect();
        rows.sort_by_key(|row| row.key);
        rows.truncate(limit);
        rows
    }

    /// The store has committed a row (W3, W5).
    pub fn committed(&self, row: &PendingRow) {
        let mut inner = self.inner();
        let Some(entry) = inner.entries.get_mut(&row.key) else { return };
        if entry.version != row.version {
            return;
        }
        entry.due = Due::Nothing;
        if row.segment.ended.is_some() {
            inner.remove(row.key);
        }
    }

    /// The segments of a stream, by start.
    pub fn of_stream(&self, stream: &StreamId) -> Vec<LiveSegment> {
        let inner = self.inner();
        let keys = inner.by_stream.get(stream).map(Vec::as_slice).unwrap_or_default();
        let mut found: Vec<LiveSegment> =
            keys.iter().filter_map(|key| inner.entries.get(key)).map(|entry| entry.segment.clone()).collect();
        found.sort_by_key(|segment| segment.start);
        found
    }

    /// Segments that wait for the store, open ones included.
    pub fn len(&self) -> usize {
        self.inner().entries.len()
    }

    /// True when the store knows everything.
    pub fn is_empty(&self) -> bool {
        self.inner().entries.is_empty()
    }
}

impl Inner {
    fn touch(&mut self, key: SegmentKey) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.due = Due::Row;
            entry.version += 1;
        }
    }

    fn failed(&mut self, key: SegmentKey, fault: &DiskFault) {
        self.faults.push((key, fault.kind));
        // A recorder that has gone does not fetch its faults.
        if self.faults.len() > 4096 {
            self.faults.drain(..2048);
        }
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.segment.ended = Some((EndReason::Disk, Some(Cause::Disk)));
            let stream = entry.segment.name.stream.clone();
            self.notes.push(FootageNote::Fault { stream, kind: fault.kind });
        }
        self.touch(key);
    }

    fn remove(&mut self, key: SegmentKey) {
        let Some(entry) = self.entries.remove(&key) else { return };
        if let Some(keys) = self.by_stream.get_mut(&entry.segment.name.stream) {
            keys.retain(|k| *k != key);
            if keys.is_empty() {
                self.by_stream.remove(&entry.segment.name.stream);
            }
        }
    }
}
