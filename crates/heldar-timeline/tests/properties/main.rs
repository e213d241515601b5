//! The public functions of this crate against naive models.
#![allow(missing_docs, clippy::unwrap_used)]

mod algebra;
mod buckets;
mod history;
mod ledger;
mod ranges;
mod retention;
mod schedules;
mod sweeps;
mod world;

/// A multiple of the usual number of cases, for properties whose histories have many parts.
fn cases(times: u32) -> proptest::test_runner::Config {
    let config = proptest::test_runner::Config::default();
    proptest::test_runner::Config { cases: config.cases * times, ..config }
}
