//! Retention against a real store and a real folder, with planted footage.

mod disk;
mod ground;
mod leases;
mod policy;
#[path = "../support/mod.rs"]
mod support;
mod upkeep;
