//! Deterministic simulation: cameras, disk, clock and crashes as a seed says; recorder, muxer, segment writer, index,
//! recovery, retention and store as they are in the product.
//!
//! `HELDAR_SIM_SEED=n` runs one seed and prints its trace; `HELDAR_SOAK=1` runs 200 seeds instead of 20.
#![allow(clippy::unwrap_used, reason = "a simulation that cannot go on fails its test")]

mod checks;
mod engine;
mod footage;
mod store;
mod stream;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use heldar_testkit::sim::Trace;

use crate::world::{Seen, World};

/// Seeds of an ordinary run, and of a long one.
const SEEDS: (u64, u64) = (20, 200);

/// What a seed came to.
struct Outcome {
    hash: u64,
    seen: Seen,
}

fn run(seed: u64) -> Outcome {
    let trace = Trace::new();
    if number("HELDAR_SIM_SEED").is_some() {
        trace.keep(usize::MAX);
    }
    let inside = trace.clone();
    let simulated = catch_unwind(AssertUnwindSafe(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(Box::pin(World::live(seed, inside)))
    }));
    match simulated {
        Ok(seen) => Outcome { hash: trace.hash(), seen },
        Err(panic) => {
            let why = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default();
            panic!("seed {seed}: {why}\nlast steps:\n{}\nreplay with HELDAR_SIM_SEED={seed}", trace.newest());
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn whatever_happens_the_index_and_the_disk_agree() {
    if let Some(seed) = number("HELDAR_SIM_SEED") {
        run(seed);
        return;
    }
    let count = if number("HELDAR_SOAK") == Some(1) { SEEDS.1 } else { SEEDS.0 };
    let mut seen = Seen::default();
    let mut failed = Vec::new();
    for seed in 1..=count {
        match catch_unwind(|| run(seed)) {
            Ok(outcome) => seen.add(&outcome.seen),
            Err(panic) => failed.push(panic.downcast_ref::<String>().cloned().unwrap_or_default()),
        }
    }
    let all = failed.join("\n\n");
    assert!(failed.is_empty(), "{} of {count} seeds failed\n{all}", failed.len());
    seen.assert_everything_happened();
}

#[test]
fn a_seed_tells_everything() {
    let (first, second) = (run(7), run(7));
    assert_eq!(first.hash, second.hash, "the same seed did the same steps");
    assert_eq!(first.seen, second.seen);
    assert_ne!(first.hash, run(8).hash);
}
