//! The ledger of one stream: what became of every microsecond.
//!
//! Owns: how segments, their holes, gap rows and the history of what was wanted combine into one answer. Everything
//! that speaks of footage and gaps (coverage, timeline, gaps, clips, buckets) reads this one painting, so that the
//! answers agree. Never: a clock or a store; the caller pages rows in and keeps none of them.
//!
//! For each instant the first line that applies decides:
//! 1. footage: recorded, wanted or not;
//! 2. not wanted, by the newest change at or before it; before the first change ever nothing was wanted;
//! 3. a hole stored with a segment: its cause;
//! 4. a segment whose bytes failed the check: `damaged`;
//! 5. a gap row: its cause. The row that began last wins; rows for removed footage yield to all others, since what
//!    was never recorded cannot have been removed;
//! 6. at most [`GAP_ROW_OVER`] from the start of wanting to the first picture: `starting`;
//! 7. after a segment: the cause that its end reason says;
//! 8. `unknown`.
//!
//! Memory grows with the holes, not with the segments: footage that follows without a break is one interval.

use heldar_base::{Cause, EndReason, Interval, Micros, NotWanted, WallTime};

use crate::{IntervalMap, IntervalSet};

/// A hole in wanted time that lasts longer has a gap row; shorter ones are derived.
pub const GAP_ROW_OVER: Micros = Micros::from_secs(3);

/// How a segment's file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentEnd {
    /// It is being written.
    Open,
    /// It is complete.
    Sealed {
        /// Why.
        reason: EndReason,
        /// What went wrong, where the reason leaves that open (a lost session, a crash).
        cause: Option<Cause>,
    },
}

impl SegmentEnd {
    /// What the time after such a segment is missing for, as long as nothing better is known.
    fn cause_after(self) -> Cause {
        match self {
            SegmentEnd::Open => Cause::Unknown,
            SegmentEnd::Sealed { cause: Some(cause), .. } => cause,
            SegmentEnd::Sealed { reason, cause: None } => match reason {
                EndReason::Reconfigured => Cause::Reconfigured,
                // It stopped being wanted; when it is wanted again, the first picture is still to come.
                EndReason::NotWanted => Cause::Starting,
                EndReason::Disk => Cause::Disk,
                EndReason::ServerStopped => Cause::ServerStopped,
                EndReason::Crashed => Cause::ServerCrashed,
                // The run should have gone on, or the reason names no class of its own.
                EndReason::Rotated | EndReason::Parameters | EndReason::SessionLost | EndReason::Clock => {
                    Cause::Unknown
                }
            },
        }
    }
}

/// One segment as the ledger sees it.
#[derive(Clone, Copy, Debug)]
pub struct LedgerSegment<'a> {
    /// First instant to the first after the last picture; of an open segment to its last whole fragment.
    pub interval: Interval,
    /// Stretches inside without pictures, in any order.
    pub holes: &'a [(Interval, Cause)],
    /// How it ended.
    pub end: SegmentEnd,
    /// Its bytes failed the check: none of its footage can be played.
    pub damaged: bool,
}

/// One recorded gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapRow {
    /// First instant without a picture.
    pub start: WallTime,
    /// First instant with one again; `None` while the gap is open, which means until now.
    pub end: Option<WallTime>,
    /// The reason that held longest.
    pub cause: Cause,
}

/// From when on recording was wanted, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedChange {
    /// First instant of the new state.
    pub at: WallTime,
    /// `None`: recording is wanted. Otherwise why not.
    pub not_wanted: Option<NotWanted>,
}

/// What became of an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// There is footage.
    Recorded,
    /// There is none and nobody wanted any.
    NotWanted(NotWanted),
    /// There is none although it was wanted.
    Missing(Cause),
}

/// Collects the rows of one stream, then answers.
///
/// Hand over what overlaps the time asked about, the last wanted change before it, and how the last segment before it
/// ended ([`Ledger::preceded_by`]).
#[derive(Clone, Debug)]
pub struct Ledger {
    now: WallTime,
    in_flight: Micros,
    segment_count: u64,
    footage: IntervalSet,
    holes: Vec<(Interval, Cause)>,
    damaged: IntervalSet,
    after_segments: IntervalMap<Cause>,
    before: Option<WallTime>,
    newest: Option<(WallTime, SegmentEnd)>,
    gaps: Vec<GapRow>,
    changes: Vec<WantedChange>,
}

impl Ledger {
    /// An empty ledger as of `now`.
    ///
    /// `in_flight` is how far the end of an open segment may lag behind now while all is well (a fragment and the held
    /// picture): such a tail counts as recorded, or every healthy camera would show a loss. Zero counts it as missing.
    pub fn new(now: WallTime, in_flight: Micros) -> Self {
        Ledger {
            now,
            in_flight,
            segment_count: 0,
            footage: IntervalSet::new(),
            holes: Vec::new(),
            damaged: IntervalSet::new(),
            after_segments: IntervalMap::new(),
            before: None,
            newest: None,
            gaps: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Says, before any segment is added, when and how the last one before them ended. It is taken to have footage up to
    /// there, which is not counted.
    pub fn preceded_by(&mut self, end: WallTime, how: SegmentEnd) {
        self.before = Some(end);
        self.newest = Some((end, how));
    }

    /// Adds a segment. They come in rising order of start; constant time and, without holes, no memory while footage is
    /// unbroken.
    pub fn segment(&mut self, segment: &LedgerSegment<'_>) {
        let interval = segment.interval;
        self.segment_count += 1;
        if let Some((end, how)) = self.newest {
            self.after_segments.push(Interval::new(end, interval.start), how.cause_after());
        }
        if self.newest.is_none_or(|(end, _)| end <= interval.end) {
            self.newest = Some((interval.end, segment.end));
        }
        let inside =
            segment.holes.iter().filter_map(|(hole, cause)| Some((hole.intersect(&interval)?, *cause)));
        let known = self.holes.len();
        self.holes.extend(inside);
        let present = match self.holes.get(known..) {
            None | Some([]) => IntervalSet::from(interval),
            Some(holes) => holes.iter().map(|(hole, _)| *hole).collect::<IntervalSet>().complement(&interval),
        };
        let target = if segment.damaged { &mut self.damaged } else { &mut self.footage };
        target.extend(present.iter());
    }

    /// Adds a gap row, in any order.
    pub fn gap(&mut self, row: GapRow) {
        self.gaps.push(row);
    }

    /// Adds a change of what was wanted, in any order; of two at one instant the later added counts.
    pub fn wanted(&mut self, change: WantedChange) {
        self.changes.push(change);
    }

    /// The instant this ledger speaks of as now.
    pub fn now(&self) -> WallTime {
        self.now
    }

    /// Segments added.
    pub fn segment_count(&self) -> u64 {
        self.segment_count
    }

    /// All playable footage added, holes left out.
    pub fn footage(&self) -> &IntervalSet {
        &self.footage
    }

    /// True when the newest segment is still being written.
    pub fn is_open(&self) -> bool {
        matches!(self.newest, Some((_, SegmentEnd::Open)))
    }

    /// Footage plus the tail of the open segment that is on its way to the disk.
    pub(crate) fn footage_in_flight(&self) -> IntervalSet {
        let mut footage = self.footage.clone();
        if let Some((end, SegmentEnd::Open)) = self.newest {
            let gone = |row: &&GapRow| row.end.is_none_or(|gap_end| gap_end > end);
            let stopped = self.gaps.iter().filter(gone).map(|row| row.start.max(end)).min();
            let tail = Interval::new(end, stopped.unwrap_or(self.now).min(self.now));
            if tail.len() <= self.in_flight {
                footage.insert(tail);
            }
        }
        footage
    }

    /// What became of each instant of `window` up to now: the entries cover that exactly.
    pub fn paint(&self, window: &Interval) -> IntervalMap<State> {
        let Some(window) = window.intersect(&Interval::new(WallTime(i64::MIN), self.now)) else {
            return IntervalMap::new();
        };
        let footage = self.footage_in_flight();
        let missing = IntervalMap::paint(self.holes.iter().copied())
            .over(&IntervalMap::of_set(&self.damaged, Cause::Damaged))
            .over(&self.gap_causes())
            .over(&self.starting(&footage))
            .over(&self.after_segments())
            .clip(&window)
            .over(&IntervalMap::filled(window, Cause::Unknown));
        let mut states = IntervalMap::new();
        for span in missing.spans() {
            states.push(span.interval, State::Missing(span.value));
        }
        IntervalMap::of_set(&footage.clip(&window), State::Recorded)
            .over(&self.not_wanted(&window))
            .over(&states)
    }

    fn gap_causes(&self) -> IntervalMap<Cause> {
        let mut rows = self.gaps.clone();
        rows.sort_by_key(|row| (!row.cause.is_removal(), row.start));
        IntervalMap::paint(
            rows.iter().map(|row| (Interval::new(row.start, row.end.unwrap_or(self.now)), row.cause)),
        )
    }

    fn after_segments(&self) -> IntervalMap<Cause> {
        let mut causes = self.after_segments.clone();
        if let Some((end, how)) = self.newest {
            causes.push(Interval::new(end, self.now), how.cause_after());
        }
        causes
    }

    fn changes_in_order(&self) -> Vec<WantedChange> {
        let mut changes = self.changes.clone();
        changes.sort_by_key(|change| change.at);
        changes
    }

    fn not_wanted(&self, window: &Interval) -> IntervalMap<State> {
        let mut out = IntervalMap::new();
        let mut start = window.start;
        // Before its first change the stream did not exist, so its recording was off.
        let mut reason = Some(NotWanted::RecordingDisabled);
        let close = |out: &mut IntervalMap<State>, start, end: WallTime, reason: Option<NotWanted>| {
            if let Some(reason) = reason {
                out.push(Interval::new(start, end.min(window.end)), State::NotWanted(reason));
            }
        };
        for change in self.changes_in_order() {
            close(&mut out, start, change.at, reason);
            start = change.at.max(window.start);
            reason = change.not_wanted;
        }
        close(&mut out, start, window.end, reason);
        out
    }

    fn starting(&self, footage: &IntervalSet) -> IntervalMap<Cause> {
        let mut out = IntervalMap::new();
        let mut wanted = false;
        for change in self.changes_in_order() {
            let begins = !wanted && change.not_wanted.is_none();
            wanted = change.not_wanted.is_none();
            // Pictures before the footage at hand ended the wait.
            if !begins || self.before.is_some_and(|end| change.at < end) {
                continue;
            }
            let rest = Interval::new(change.at, WallTime(i64::MAX));
            let first_picture = footage.overlapping(&rest).first().map_or(self.now, |item| item.start);
            let wait = Interval::new(change.at, first_picture.min(self.now));
            if wait.len() <= GAP_ROW_OVER {
                out.push(wait, Cause::Starting);
            }
        }
        out
    }
}
