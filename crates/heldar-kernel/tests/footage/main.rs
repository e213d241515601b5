//! Segments, timeline, gaps and coverage over HTTP, against naive readings of what was written.

mod contract;
mod history;
mod ledger;
mod live;
mod paging;
#[path = "../support/mod.rs"]
mod support;
