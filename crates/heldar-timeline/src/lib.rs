//! Interval algebra, coverage ledger, retention planner.
