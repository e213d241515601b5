//! The engine against a naive model, and what must hold whatever comes.
#![allow(missing_docs, clippy::unwrap_used)]

mod any;
mod model;
mod promises;
mod world;

/// A multiple of the usual number of cases, for what has many parts.
fn cases(times: u32) -> proptest::test_runner::Config {
    let config = proptest::test_runner::Config::default();
    proptest::test_runner::Config { cases: config.cases * times, ..config }
}
