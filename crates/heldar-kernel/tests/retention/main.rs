//! Retention against a real store and a real folder, with planted footage.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod disk;
mod ground;
mod leases;
mod policy;
#[path = "../support/mod.rs"]
mod support;
mod upkeep;
