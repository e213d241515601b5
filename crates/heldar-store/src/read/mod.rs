//! Every read, by area, as methods of [`crate::Store`].
//!
//! Owns: what a caller with a scope may learn. Each read takes a [`heldar_base::Scope`] and applies it in its SQL; what
//! lies outside is as if it were not there; a read of an app, which knows what its rows are about, is for the app to
//! limit. Lists are paged by key. Never: a write.

pub(crate) mod account;
pub(crate) mod ai_task;
pub(crate) mod api_key;
mod app;
pub(crate) mod audit;
pub(crate) mod batch;
pub(crate) mod camera;
pub(crate) mod check;
pub(crate) mod clip;
pub(crate) mod consumer;
pub(crate) mod detection;
pub(crate) mod event;
pub(crate) mod feed;
pub(crate) mod gap;
pub(crate) mod motion;
pub(crate) mod record;
pub(crate) mod segment;
pub(crate) mod sign_in;
pub(crate) mod site;
pub(crate) mod snapshot;
pub(crate) mod status;
pub(crate) mod stream;
pub(crate) mod webhook;
pub(crate) mod zone;
pub(crate) mod zone_event;

pub(crate) use ai_task::{TASK_BY_ID, TASK_IN_SLOT, task_from};
pub use camera::CameraQuery;
pub(crate) use clip::{CLIP_BY_ID, clip_from};
pub use consumer::Letters;
pub(crate) use record::{RECORD_SCHEDULE_BY_ID, RECORD_WINDOW_OF, record_schedule_from, record_window_from};
pub(crate) use snapshot::{SNAPSHOT_SCHEDULE_BY_ID, snapshot_schedule_from};
pub(crate) use webhook::{WEBHOOK_BY_ID, webhook_from};
pub(crate) use zone::{ZONE_BY_ID, ZONE_BY_NAME, zone_from};

use crate::error::StoreError;
use crate::sql::{Query, Row};

/// Longest page of a list.
pub const PAGE_LIMIT: u32 = 5000;

/// How many rows to read for a page of `limit`: one more, which tells whether there is a next page.
fn fetch_limit(limit: u32) -> u32 {
    page_limit(limit) + 1
}

/// A page length inside its bounds.
fn page_limit(limit: u32) -> u32 {
    limit.clamp(1, PAGE_LIMIT)
}

/// Reads each row.
fn all<T>(rows: &[Row], read: impl FnMut(&Row) -> Result<T, StoreError>) -> Result<Vec<T>, StoreError> {
    rows.iter().map(read).collect()
}

impl crate::Store {
    async fn query(&self, query: Query) -> Result<Vec<Row>, StoreError> {
        self.rows(query.command()).await
    }
}

#[cfg(test)]
pub(crate) use {clip::ClipKey, segment::Shape};

#[cfg(test)]
pub(crate) const STATEMENTS: &[&[(&str, &str)]] = &[
    ai_task::STATEMENTS,
    check::STATEMENTS,
    clip::STATEMENTS,
    segment::STATEMENTS,
    record::STATEMENTS,
    snapshot::STATEMENTS,
    stream::STATEMENTS,
    webhook::STATEMENTS,
    zone::STATEMENTS,
];
