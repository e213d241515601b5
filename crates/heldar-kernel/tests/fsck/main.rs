//! Faults planted into built footage: found, repaired where that is possible, and no readable byte lost.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod beside;
mod faults;
mod ground;
mod recovery;
mod scrub;
#[path = "../support/mod.rs"]
mod support;
