//! What should be on the disk: every fragment that was ordered, and what became of it.

use std::collections::{BTreeMap, BTreeSet};

use heldar_base::{Interval, MonoTime, StreamId, WallTime};
use heldar_disk::{Completion, SegmentKey, SegmentName, Tag};
use heldar_recorder::{Fragment, Order, Serial};
use heldar_testkit::sim::Sent;

/// How far a fragment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// The recorder has ordered it.
    Ordered,
    /// It was written at that time.
    Written(MonoTime),
    /// It is synced, name and all.
    Durable,
    /// It was rightly lost in a crash or by a fault.
    Lost,
    /// Retention has deleted it.
    Deleted,
}

/// One fragment.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) interval: Interval,
    /// First instant of its segment.
    pub(crate) segment: WallTime,
    pub(crate) sync: bool,
    pub(crate) video: Vec<Sent>,
    /// `None`: silence that the recorder put in.
    pub(crate) audio: Vec<Option<Sent>>,
    pub(crate) fate: Fate,
    /// It was found on the disk although nobody had been told that it was written.
    pub(crate) found: bool,
}

/// A file that is being written.
struct Growing {
    stream: StreamId,
    /// Ends of fragments in the file, with their first instants.
    ends: Vec<(u64, WallTime)>,
}

/// The fragments of all streams, by stream and first instant, which no two share.
#[derive(Default)]
pub(crate) struct Footage {
    pub(crate) planned: BTreeMap<(StreamId, WallTime), Planned>,
    /// First instants of the segments that the recorder has open.
    starts: BTreeMap<(StreamId, u64), WallTime>,
    growing: BTreeMap<SegmentKey, Growing>,
    /// Segments by what the segment writer calls them.
    keys: BTreeMap<SegmentKey, (StreamId, WallTime)>,
    /// Every name that a file ever had, and the segment it was for.
    names: BTreeMap<SegmentName, WallTime>,
    /// Segments whose writing failed or was refused.
    pub(crate) failed: BTreeSet<(StreamId, WallTime)>,
    /// Segments that a sweep was about to delete when everything ended.
    pub(crate) may_go: BTreeSet<(StreamId, WallTime)>,
}

impl Footage {
    /// Notes what a recorder has ordered.
    pub(crate) fn ordered(&mut self, stream: &StreamId, order: &Order) {
        match order {
            Order::Begin { serial, start, fragment, .. } => {
                self.starts.insert((stream.clone(), serial.0), *start);
                self.plan(stream, *start, fragment);
            }
            Order::Append { serial, fragment, .. } => {
                let start = self.starts[&(stream.clone(), serial.0)];
                self.plan(stream, start, fragment);
            }
            Order::Seal { .. } => {}
        }
    }

    /// The segment writer calls a segment so.
    pub(crate) fn named(&mut self, key: SegmentKey, stream: &StreamId, serial: Serial) {
        let start = self.starts[&(stream.clone(), serial.0)];
        self.keys.insert(key, (stream.clone(), start));
    }

    /// A fragment was refused: the stream's segments that were not complete end early.
    pub(crate) fn refused(&mut self, stream: &StreamId) {
        let newest = self.starts.iter().filter(|((of, _), _)| of == stream).map(|(_, start)| *start);
        let mut newest: Vec<WallTime> = newest.collect();
        newest.sort_unstable();
        // One that is written, and one whose last sound is still awaited.
        self.failed.extend(newest.iter().rev().take(2).map(|start| (stream.clone(), *start)));
    }

    /// How many segments of a stream have failed so far.
    pub(crate) fn failed_of(&self, stream: &StreamId) -> usize {
        self.failed.iter().filter(|(of, _)| of == stream).count()
    }

    /// What was ordered is durable after an orderly stop, unless its file failed.
    pub(crate) fn check_written(&self) {
        for ((stream, start), planned) in &self.planned {
            let failed = self.failed.contains(&(stream.clone(), planned.segment));
            let done = !matches!(planned.fate, Fate::Ordered | Fate::Written(_));
            assert!(done || failed, "{stream}: {start} is {:?} after an orderly stop", planned.fate);
        }
    }

    fn plan(&mut self, stream: &StreamId, segment: WallTime, fragment: &Fragment) {
        let planned = Planned {
            interval: fragment.interval,
            segment,
            sync: fragment.sync,
            video: fragment.video.samples.iter().map(|s| Sent::of(&s.payload).unwrap()).collect(),
            audio: fragment.audio.iter().flat_map(|run| &run.samples).map(|s| Sent::of(&s.payload)).collect(),
            fate: Fate::Ordered,
            found: false,
        };
        let before = self.planned.insert((stream.clone(), fragment.interval.start), planned);
        assert!(before.is_none(), "{stream}: two fragments begin at {}", fragment.interval.start);
    }

    /// Notes what the segment writer has done; the text goes into the trace.
    pub(crate) fn completed(&mut self, completion: &Completion<Tag>, now: MonoTime) -> String {
        match completion {
            Completion::Begun { key, name, end, tag: Tag::Begin(start, added), .. } => {
                let known = self.names.insert(name.clone(), start.start);
                assert!(known.is_none(), "the name {name} is used again");
                let growing = Growing { stream: start.stream.clone(), ends: Vec::new() };
                self.growing.insert(*key, growing);
                self.written(*key, *end, added.interval.start, now);
                format!("begun {} {name} to {end}", key.0)
            }
            Completion::Written { key, end, tag: Tag::Fragment(added), .. } => {
                self.written(*key, *end, added.interval.start, now);
                format!("written {} to {end}", key.0)
            }
            Completion::Synced { key, end, .. } => {
                self.durable(*key, *end);
                format!("synced {} to {end}", key.0)
            }
            Completion::Sealed { key, end, .. } => {
                self.durable(*key, *end);
                format!("sealed {} at {end}", key.0)
            }
            Completion::Failed { key, end, fault } => {
                self.failed.extend(self.keys.get(key).cloned());
                format!("failed {} at {end}: {:?}", key.0, fault.kind)
            }
            other => panic!("{other:?}"),
        }
    }

    fn written(&mut self, key: SegmentKey, end: u64, start: WallTime, now: MonoTime) {
        let growing = self.growing.get_mut(&key).unwrap();
        growing.ends.push((end, start));
        let at = (growing.stream.clone(), start);
        let planned = self.planned.get_mut(&at).unwrap();
        assert_eq!(planned.fate, Fate::Ordered);
        planned.fate = Fate::Written(now);
    }

    fn durable(&mut self, key: SegmentKey, end: u64) {
        let Some(growing) = self.growing.get(&key) else { return };
        for (_, start) in growing.ends.iter().filter(|(at, _)| *at <= end) {
            let at = (growing.stream.clone(), *start);
            let planned = self.planned.get_mut(&at).unwrap();
            if matches!(planned.fate, Fate::Written(_)) {
                planned.fate = Fate::Durable;
            }
        }
    }

    /// A process has ended: no file grows.
    pub(crate) fn process_ended(&mut self) {
        self.growing.clear();
        self.keys.clear();
        self.starts.clear();
    }

    /// Fragments of one stream, in order.
    pub(crate) fn of<'a>(&'a self, stream: &'a StreamId) -> impl Iterator<Item = &'a Planned> {
        self.planned.iter().filter(move |((of, _), _)| of == stream).map(|(_, planned)| planned)
    }

    /// Fragments of one segment, in order.
    pub(crate) fn of_segment<'a>(
        &'a mut self,
        stream: &'a StreamId,
        segment: WallTime,
    ) -> impl Iterator<Item = &'a mut Planned> {
        self.planned
            .iter_mut()
            .filter(move |((of, _), planned)| of == stream && planned.segment == segment)
            .map(|(_, planned)| planned)
    }
}
