//! Random histories of one stream, and a naive reading of them, cell by cell.

use heldar_base::{Cause, EndReason, Interval, Micros, NotWanted, WallTime};
use heldar_timeline::{GAP_ROW_OVER, GapRow, Ledger, LedgerSegment, SegmentEnd, State, WantedChange};
use proptest::prelude::*;

/// Length of a cell: every time in a history is a multiple of it.
pub(crate) const CELL: i64 = 500_000;
/// Cells of the world.
pub(crate) const WORLD: i64 = 120;

pub(crate) fn at(cell: i64) -> WallTime {
    WallTime(1_700_000_000_000_000 + cell * CELL)
}

pub(crate) fn cells(from: i64, to: i64) -> Interval {
    Interval::new(at(from), at(to))
}

#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) interval: Interval,
    pub(crate) holes: Vec<(Interval, Cause)>,
    pub(crate) end: SegmentEnd,
    pub(crate) damaged: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) segments: Vec<Piece>,
    pub(crate) gaps: Vec<GapRow>,
    pub(crate) changes: Vec<WantedChange>,
    pub(crate) now: WallTime,
    pub(crate) in_flight: Micros,
}

fn cause() -> impl Strategy<Value = Cause> {
    prop::sample::select(vec![
        Cause::Stalled,
        Cause::Unreachable,
        Cause::Disk,
        Cause::ServerStopped,
        Cause::Retention,
        Cause::Deleted,
    ])
}

fn sealed() -> impl Strategy<Value = SegmentEnd> {
    (prop::sample::select(EndReason::ALL), prop::option::of(cause()))
        .prop_map(|(reason, cause)| SegmentEnd::Sealed { reason, cause })
}

type RawPiece = (i64, i64, Vec<(i64, i64, Cause)>, SegmentEnd, bool);

fn pieces(raw: Vec<RawPiece>, open: bool) -> Vec<Piece> {
    let mut cell = 0;
    let mut out = Vec::new();
    for (gap, length, holes, end, damaged) in raw {
        let start = cell + gap;
        cell = start + length;
        let holes =
            holes.into_iter().map(|(from, len, cause)| (cells(start + from, start + from + len), cause));
        out.push(Piece { interval: cells(start, cell), holes: holes.collect(), end, damaged });
    }
    if let Some(last) = out.last_mut().filter(|_| open) {
        last.end = SegmentEnd::Open;
    }
    out
}

pub(crate) fn history() -> impl Strategy<Value = History> {
    let hole = (-2i64..12, 1i64..8, cause());
    let gap = prop_oneof![3 => Just(0i64), 1 => 1i64..5, 1 => 5i64..20];
    let holes = prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(hole, 0..3)];
    let piece = (gap, 1i64..15, holes, sealed(), prop::bool::weighted(0.1));
    let row =
        (0..WORLD, 1i64..30, prop::bool::weighted(0.2), cause()).prop_map(|(start, len, open, cause)| {
            GapRow { start: at(start), end: (!open).then(|| at(start + len)), cause }
        });
    let change = (0..WORLD, prop::option::of(prop::sample::select(NotWanted::ALL)))
        .prop_map(|(cell, not_wanted)| WantedChange { at: at(cell), not_wanted });
    (
        prop::collection::vec(piece, 0..8),
        any::<bool>(),
        prop::collection::vec(row, 0..4),
        prop::collection::vec(change, 0..6),
        0..WORLD,
        0i64..10,
    )
        .prop_map(|(raw, open, gaps, changes, now, in_flight)| History {
            segments: pieces(raw, open),
            gaps,
            changes,
            now: at(now),
            in_flight: Micros(in_flight * CELL),
        })
}

pub(crate) fn ledger(history: &History) -> Ledger {
    part(history, None)
}

/// The ledger of a history that goes on after a segment that ended at an instant, somehow.
pub(crate) fn part(history: &History, before: Option<(WallTime, SegmentEnd)>) -> Ledger {
    let mut ledger = Ledger::new(history.now, history.in_flight);
    if let Some((end, how)) = before {
        ledger.preceded_by(end, how);
    }
    for piece in &history.segments {
        ledger.segment(&LedgerSegment {
            interval: piece.interval,
            holes: &piece.holes,
            end: piece.end,
            damaged: piece.damaged,
        });
    }
    history.gaps.iter().for_each(|row| ledger.gap(*row));
    history.changes.iter().for_each(|change| ledger.wanted(*change));
    ledger
}

impl History {
    /// Footage in the files.
    pub(crate) fn has_footage(&self, t: WallTime) -> bool {
        let within = |piece: &&Piece| piece.interval.contains(t);
        let hole = |piece: &Piece| piece.holes.iter().any(|(hole, _)| hole.contains(t));
        self.segments.iter().filter(within).any(|piece| !piece.damaged && !hole(piece))
    }

    fn row_covers(&self, row: &GapRow, t: WallTime) -> bool {
        row.start <= t && row.end.map_or(t < self.now, |end| t < end)
    }

    /// Footage on its way.
    pub(crate) fn is_in_flight(&self, t: WallTime) -> bool {
        let Some(last) = self.segments.last().filter(|last| last.end == SegmentEnd::Open) else {
            return false;
        };
        let end = last.interval.end;
        let gone = |t| t >= self.now || self.gaps.iter().any(|row| self.row_covers(row, t));
        let mut stop = end;
        while !gone(stop) {
            stop = stop + Micros(CELL);
        }
        end <= t && t < stop && stop - end <= self.in_flight
    }

    /// What became of the cell that begins at `t`.
    pub(crate) fn state(&self, t: WallTime) -> Option<State> {
        if t >= self.now {
            return None;
        }
        if self.has_footage(t) || self.is_in_flight(t) {
            return Some(State::Recorded);
        }
        let mut changes = self.changes.clone();
        changes.sort_by_key(|change| change.at);
        let newest = changes.iter().rfind(|change| change.at <= t);
        if let Some(reason) = newest.map_or(Some(NotWanted::RecordingDisabled), |change| change.not_wanted) {
            return Some(State::NotWanted(reason));
        }
        let cause = self
            .hole_cause(t)
            .or_else(|| self.damaged(t))
            .or_else(|| self.row_cause(t))
            .or_else(|| self.starting(t, &changes))
            .or_else(|| self.after_segment(t));
        Some(State::Missing(cause.unwrap_or(Cause::Unknown)))
    }

    fn hole_cause(&self, t: WallTime) -> Option<Cause> {
        let piece = self.segments.iter().find(|piece| piece.interval.contains(t))?;
        piece.holes.iter().rfind(|(hole, _)| hole.contains(t)).map(|(_, cause)| *cause)
    }

    fn damaged(&self, t: WallTime) -> Option<Cause> {
        let damaged = self.segments.iter().any(|piece| piece.damaged && piece.interval.contains(t));
        damaged.then_some(Cause::Damaged)
    }

    fn row_cause(&self, t: WallTime) -> Option<Cause> {
        let rows = self.gaps.iter().filter(|row| self.row_covers(row, t));
        rows.max_by_key(|row| (!row.cause.is_removal(), row.start)).map(|row| row.cause)
    }

    fn starting(&self, t: WallTime, changes: &[WantedChange]) -> Option<Cause> {
        let mut wanted = false;
        for change in changes {
            let begins = !wanted && change.not_wanted.is_none();
            wanted = change.not_wanted.is_none();
            let mut first = change.at;
            while first < self.now && !self.has_footage(first) && !self.is_in_flight(first) {
                first = first + Micros(CELL);
            }
            if begins && change.at <= t && t < first && first - change.at <= GAP_ROW_OVER {
                return Some(Cause::Starting);
            }
        }
        None
    }

    fn after_segment(&self, t: WallTime) -> Option<Cause> {
        let last = self.segments.iter().rfind(|piece| piece.interval.end <= t)?;
        let SegmentEnd::Sealed { reason, cause } = last.end else { return Some(Cause::Unknown) };
        Some(cause.unwrap_or(match reason {
            EndReason::Reconfigured => Cause::Reconfigured,
            EndReason::NotWanted => Cause::Starting,
            EndReason::Disk => Cause::Disk,
            EndReason::ServerStopped => Cause::ServerStopped,
            EndReason::Crashed => Cause::ServerCrashed,
            _ => Cause::Unknown,
        }))
    }
}
