//! Segments, timeline, gaps and coverage over HTTP, against naive readings of what was written.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod contract;
mod history;
mod ledger;
mod live;
mod paging;
#[path = "../support/mod.rs"]
mod support;
