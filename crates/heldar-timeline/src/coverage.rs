//! The coverage ledger's sums: every microsecond of a window is recorded, not wanted, or missing by cause.
//!
//! Owns: the figures of one stream and their totals over a fleet. Never: rounding; sums are exact in microseconds.

use std::collections::BTreeMap;

use heldar_base::{Cause, Interval, Micros, NotWanted, WallTime};

use crate::{Ledger, Span, State};

/// Window when none is given.
pub const DEFAULT_WINDOW: Micros = Micros::from_hours(24);
/// Longest window that is answered.
pub const LONGEST_WINDOW: Micros = Micros::from_hours(366 * 24);

/// A window of a coverage query that cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// It ends before it begins.
    #[error("`from` lies after `to`")]
    Reversed,
    /// It is longer than [`LONGEST_WINDOW`].
    #[error("a coverage window has at most 366 days")]
    TooLong,
}

/// The window of a coverage query: by default the last 24 h, and never past now.
///
/// # Errors
/// `from` after `to`, or more than [`LONGEST_WINDOW`] up to now.
pub fn coverage_window(
    from: Option<WallTime>,
    to: Option<WallTime>,
    now: WallTime,
) -> Result<Interval, WindowError> {
    let end = to.unwrap_or(now);
    let start = from.unwrap_or(end.min(now) - DEFAULT_WINDOW);
    if start > end {
        return Err(WindowError::Reversed);
    }
    let window = Interval::new(start, end.min(now));
    if window.len() > LONGEST_WINDOW { Err(WindowError::TooLong) } else { Ok(window) }
}

/// Whether the single intervals are wanted or only their sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Sums only.
    Sums,
    /// Sums and every interval.
    Intervals,
}

/// The ledger's answer for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// What was asked about, cut to now; `recorded + not_wanted + missing` is its length exactly.
    pub window: Interval,
    /// Footage that can be played, wanted or not.
    pub recorded: Micros,
    /// Time without footage that nobody wanted, by reason.
    pub not_wanted: BTreeMap<NotWanted, Micros>,
    /// Time without footage that was wanted, by cause.
    pub missing: BTreeMap<Cause, Micros>,
    /// The longest unbroken stretch of missing time, whatever its causes.
    pub longest_gap: Micros,
    /// The window in order, without overlap or hole; empty unless asked for.
    pub intervals: Vec<Span<State>>,
}

impl Coverage {
    /// All time that nobody wanted.
    pub fn not_wanted_total(&self) -> Micros {
        self.not_wanted.values().copied().sum()
    }

    /// All missing time.
    pub fn missing_total(&self) -> Micros {
        self.missing.values().copied().sum()
    }

    /// Missing time without footage that was removed on purpose: what an operator should worry about.
    pub fn lost(&self) -> Micros {
        lost(&self.missing)
    }
}

fn lost(missing: &BTreeMap<Cause, Micros>) -> Micros {
    missing.iter().filter(|(cause, _)| !cause.is_removal()).map(|(_, length)| *length).sum()
}

/// Coverage of many streams together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetTotals {
    /// Streams added.
    pub camera_count: u64,
    /// Their windows together.
    pub window: Micros,
    /// Their footage together.
    pub recorded: Micros,
    /// Their not-wanted time together.
    pub not_wanted: Micros,
    /// Their missing time by cause.
    pub missing: BTreeMap<Cause, Micros>,
}

impl FleetTotals {
    /// Adds one stream.
    pub fn add(&mut self, coverage: &Coverage) {
        self.camera_count += 1;
        self.window += coverage.window.len();
        self.recorded += coverage.recorded;
        self.not_wanted += coverage.not_wanted_total();
        for (cause, length) in &coverage.missing {
            *self.missing.entry(*cause).or_default() += *length;
        }
    }

    /// All missing time.
    pub fn missing_total(&self) -> Micros {
        self.missing.values().copied().sum()
    }

    /// Missing time without footage that was removed on purpose.
    pub fn lost(&self) -> Micros {
        lost(&self.missing)
    }
}

impl Ledger {
    /// Accounts for every microsecond of `window` up to now.
    pub fn coverage(&self, window: &Interval, detail: Detail) -> Coverage {
        let states = self.paint(window);
        let mut out = Coverage {
            window: Interval::new(window.start, window.end.min(self.now())),
            recorded: Micros::ZERO,
            not_wanted: BTreeMap::new(),
            missing: BTreeMap::new(),
            longest_gap: Micros::ZERO,
            intervals: Vec::new(),
        };
        for span in states.spans() {
            let length = span.interval.len();
            match span.value {
                State::Recorded => out.recorded += length,
                State::NotWanted(reason) => *out.not_wanted.entry(reason).or_default() += length,
                State::Missing(cause) => *out.missing.entry(cause).or_default() += length,
            }
        }
        let gaps = states.select(|state| matches!(state, State::Missing(_)));
        out.longest_gap = gaps.iter().map(|gap| gap.len()).max().unwrap_or_default();
        if detail == Detail::Intervals {
            out.intervals = states.into_spans();
        }
        out
    }
}
