//! What is known about time: coverage, gaps, buckets, and which footage has to go.
//!
//! Owns: interval algebra, the coverage ledger and all that is read from it, windows of a week, and the retention planner.
//! Never: a clock, a store, a file; rows and the present instant are arguments, answers are plain values.
#![forbid(unsafe_code)]

mod buckets;
mod coverage;
mod interval_map;
mod interval_set;
mod ledger;
mod ranges;
pub mod retention;
mod schedule;

pub use buckets::{
    AUTO_BUCKETS, Buckets, Grid, GridError, MAX_BUCKETS, MAX_BUCKETS_IN_ALL, Resolution, exact, share,
};
pub use coverage::{
    Coverage, DEFAULT_WINDOW, Detail, FleetTotals, LONGEST_WINDOW, WindowError, coverage_window,
};
pub use interval_map::{IntervalMap, Span};
pub use interval_set::IntervalSet;
pub use ledger::{GAP_ROW_OVER, GapRow, Ledger, LedgerSegment, SegmentEnd, State, WantedChange};
pub use ranges::{Bounds, Hole, HoleCause, NotWantedTime, Timeline, WindowHoles};
pub use schedule::{Opening, Schedule, WeekWindow};
