//! What a player's time bar shows: ranges of footage, and the holes between them with their causes.
//!
//! Owns: the one comparison that decides whether a stretch without footage is bridged or shown; the timeline, the
//! gaps of a camera, of a playback session and of a clip all make it here. Never: a guess about time after now.

use heldar_base::{Cause, Interval, Micros, WallTime};

use crate::{IntervalMap, IntervalSet, Ledger, State};

/// The bounds of a query, either of which may be absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// First instant asked about.
    pub from: Option<WallTime>,
    /// First instant past it.
    pub to: Option<WallTime>,
}

impl Bounds {
    fn window(self) -> Interval {
        Interval::new(self.from.unwrap_or(WallTime(i64::MIN)), self.to.unwrap_or(WallTime(i64::MAX)))
    }
}

/// Ranges of footage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// Footage that shares an instant with the query, bridged where the tolerance allows; not cut to the query.
    pub ranges: Vec<Interval>,
    /// Length of the ranges together.
    pub recorded: Micros,
    /// Segments that were looked at.
    pub segment_count: u64,
    /// The last range is growing.
    pub open: bool,
}

/// Why a hole is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HoleCause {
    /// Footage was wanted.
    Missing(Cause),
    /// Footage was not wanted.
    NotWanted,
    /// The time has not come.
    Ahead,
}

impl HoleCause {
    /// Its stable name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            HoleCause::Missing(cause) => cause.as_str(),
            HoleCause::NotWanted => "not_wanted",
            HoleCause::Ahead => "not_yet",
        }
    }

    /// True where somebody may miss footage.
    fn is_missing(self) -> bool {
        matches!(self, HoleCause::Missing(_))
    }
}

/// A stretch without footage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The stretch.
    pub interval: Interval,
    /// Why.
    pub cause: HoleCause,
}

/// What becomes of not-wanted time in a list of gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotWantedTime {
    /// It is left out.
    LeftOut,
    /// It is listed with that cause.
    Listed,
}

/// What a file or session over a window holds and lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowHoles {
    /// Holes longer than the tolerance, edges included, in order.
    pub gaps: Vec<Hole>,
    /// The window's length less its gaps.
    pub covered: Micros,
}

impl Ledger {
    /// Ranges of footage; holes of at most `tolerance` are bridged.
    pub fn timeline(&self, bounds: Bounds, tolerance: Micros) -> Timeline {
        let ranges = ranges(self.footage(), bounds, tolerance);
        let open = self.is_open() && ranges.last().map(|range| range.end) == self.end_of_footage();
        Timeline {
            recorded: ranges.iter().map(Interval::len).sum(),
            segment_count: self.segment_count(),
            open,
            ranges,
        }
    }

    fn end_of_footage(&self) -> Option<WallTime> {
        self.footage().span().map(|span| span.end)
    }

    /// Holes longer than `tolerance`: between ranges, and at each bound that was given. Time after now is none.
    ///
    /// A hole is divided by cause; parts of at most `tolerance` go with their neighbours.
    pub fn gaps(&self, bounds: Bounds, tolerance: Micros, not_wanted: NotWantedTime) -> Vec<Hole> {
        let footage = self.footage_in_flight();
        let holes = holes(&ranges(&footage, bounds, tolerance), bounds, self.now(), tolerance);
        let mut gaps = self.explain(&holes, tolerance);
        if not_wanted == NotWantedTime::LeftOut {
            gaps.retain(|hole| hole.cause.is_missing());
        }
        gaps
    }

    /// What a file over `window` lacks: holes longer than `tolerance`, edges and time after now included.
    pub fn window_holes(&self, window: &Interval, tolerance: Micros) -> WindowHoles {
        let present = self.footage().clip(window);
        let lacking = present.complement(window);
        let holes: Vec<Interval> = lacking.iter().filter(|hole| hole.len() > tolerance).collect();
        let gaps = self.explain(&holes, tolerance);
        let lost: Micros = gaps.iter().map(|gap| gap.interval.len()).sum();
        WindowHoles { gaps, covered: window.len() - lost }
    }

    /// Divides holes, given in order, by cause.
    fn explain(&self, holes: &[Interval], tolerance: Micros) -> Vec<Hole> {
        let (Some(first), Some(last)) = (holes.first(), holes.last()) else { return Vec::new() };
        let span = Interval::new(first.start, last.end);
        let mut causes = IntervalMap::new();
        for entry in self.paint(&span).spans() {
            let cause = match entry.value {
                State::Missing(cause) => HoleCause::Missing(cause),
                State::NotWanted(_) => HoleCause::NotWanted,
                // The tail of an open segment: received, but not in the file yet.
                State::Recorded => HoleCause::Ahead,
            };
            causes.push(entry.interval, cause);
        }
        causes.push(Interval::new(self.now().max(span.start), span.end), HoleCause::Ahead);
        holes.iter().flat_map(|hole| divide(causes.clip(hole), tolerance)).collect()
    }
}

/// Footage that shares an instant with the query, with holes of at most `tolerance` bridged.
fn ranges(footage: &IntervalSet, bounds: Bounds, tolerance: Micros) -> Vec<Interval> {
    footage.fill_holes(tolerance).overlapping(&bounds.window()).to_vec()
}

/// Stretches longer than `tolerance` without a range: between two, at a bound, or the whole window.
fn holes(ranges: &[Interval], bounds: Bounds, now: WallTime, tolerance: Micros) -> Vec<Interval> {
    let mut out = Vec::with_capacity(ranges.len() + 1);
    match (ranges.first(), ranges.last()) {
        (Some(first), Some(last)) => {
            out.extend(bounds.from.map(|from| Interval::new(from, first.start)));
            out.extend(ranges.windows(2).filter_map(|pair| match pair {
                [before, after] => Some(Interval::new(before.end, after.start)),
                _ => None,
            }));
            out.extend(bounds.to.map(|to| Interval::new(last.end, to)));
        }
        _ => out.extend(bounds.from.zip(bounds.to).map(|(from, to)| Interval::new(from, to))),
    }
    out.iter_mut().for_each(|hole| *hole = Interval::new(hole.start, hole.end.min(now)));
    out.retain(|hole| hole.len() > tolerance);
    out
}

/// One hole as a list of causes.
///
/// Parts of at most `tolerance` are not shown for themselves: a run of them is one part under the cause that fills most
/// of it, and joins its longer neighbour if the whole run is no longer than that.
fn divide(causes: IntervalMap<HoleCause>, tolerance: Micros) -> Vec<Hole> {
    let mut parts: Vec<Hole> = Vec::new();
    let mut short = IntervalMap::new();
    for span in causes.into_spans() {
        if span.interval.len() <= tolerance {
            short.push(span.interval, span.value);
        } else {
            parts.extend(dominant(&short));
            short = IntervalMap::new();
            parts.push(Hole { interval: span.interval, cause: span.value });
        }
    }
    parts.extend(dominant(&short));
    let lengths: Vec<Micros> = parts.iter().map(|part| part.interval.len()).collect();
    let length = |at: Option<usize>| at.and_then(|at| lengths.get(at)).copied();
    let mut out = IntervalMap::new();
    let mut owed = None;
    for (at, part) in parts.iter().enumerate() {
        let mut interval = part.interval;
        let (left, right) = (length(at.checked_sub(1)), length(Some(at + 1)));
        if interval.len() > tolerance || left.max(right).is_none() {
            if let Some(start) = owed.take() {
                interval.start = start;
            }
            out.push(interval, part.cause);
        } else if left >= right {
            // Runs stand between long parts, so the one before is in `out` already.
            let cause = out.spans().last().map_or(part.cause, |span| span.value);
            out.push(interval, cause);
        } else {
            owed = Some(interval.start);
        }
    }
    out.into_spans().into_iter().map(|span| Hole { interval: span.interval, cause: span.value }).collect()
}

/// A run of parts as one part under the cause that fills most of it.
fn dominant(run: &IntervalMap<HoleCause>) -> Option<Hole> {
    let mut totals: Vec<(HoleCause, Micros)> = Vec::new();
    for span in run.spans() {
        match totals.iter_mut().find(|(cause, _)| *cause == span.value) {
            Some((_, total)) => *total += span.interval.len(),
            None => totals.push((span.value, span.interval.len())),
        }
    }
    let most = totals.iter().map(|(_, total)| *total).max()?;
    let (cause, _) = totals.iter().find(|(_, total)| *total == most)?;
    Some(Hole { interval: run.cover().span()?, cause: *cause })
}
