//! What an app wants written, collected until the writer applies it.

use std::sync::Arc;

use heldar_base::{CameraId, WallTime};
use heldar_store::op::{AppendEvents, RunApp, WriteOp};
use heldar_store::{AppRow, AppSql, AppStatement, AppValue, NewEvent, Severity, Store, StoreError};
use serde_json::{Map, Value};
use tokio::sync::Notify;

use crate::engine::journal::uuid;

/// An event of an app.
#[derive(Clone, Debug, PartialEq)]
pub struct AppEvent {
    /// The camera that it is about.
    pub camera: Option<CameraId>,
    /// Its type.
    pub event_type: String,
    /// How much it matters.
    pub severity: Severity,
    /// When it happened; none: now.
    pub timestamp: Option<WallTime>,
    /// More about it.
    pub payload: Map<String, Value>,
}

impl AppEvent {
    /// With an id and its times.
    pub(crate) fn stamped(self, now: WallTime) -> NewEvent {
        NewEvent {
            id: uuid(),
            camera: self.camera,
            event_type: self.event_type,
            severity: self.severity,
            timestamp: self.timestamp.unwrap_or(now),
            created_at: now,
            payload: self.payload.into(),
        }
    }
}

/// Collects what is to be written with a batch; holds no connection. Nothing of it is seen before the commit, and
/// nothing is written unless the batch is taken.
pub struct Tx {
    now: WallTime,
    store: Store,
    collected: Collected,
    /// Told when it reads while effects of batches before are not committed yet.
    behind: Option<Arc<Notify>>,
}

/// What a [`Tx`] has collected.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    statements: Vec<AppStatement>,
    events: Vec<NewEvent>,
    triggers: Vec<(CameraId, String)>,
}

impl Collected {
    /// Whether nothing is to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.statements.is_empty() && self.events.is_empty() && self.triggers.is_empty()
    }

    /// Cameras of which a recording is to be started, and why.
    pub(crate) fn triggers(&self) -> &[(CameraId, String)] {
        &self.triggers
    }

    /// What is to be written for an app, in order.
    pub(crate) fn ops(&self, app: &str) -> Vec<WriteOp> {
        let mut ops = Vec::new();
        if !self.statements.is_empty() {
            ops.push(RunApp { app: app.to_owned(), statements: self.statements.clone() }.into());
        }
        if !self.events.is_empty() {
            ops.push(AppendEvents { events: self.events.clone() }.into());
        }
        ops
    }
}

impl Tx {
    /// `behind` is told of a read while effects of batches before are not committed; the read does not end then.
    pub(crate) fn new(now: WallTime, store: Store, behind: Option<Arc<Notify>>) -> Self {
        Tx { now, store, collected: Collected::default(), behind }
    }

    pub(crate) fn into_collected(self) -> Collected {
        self.collected
    }

    /// When the batch was given out.
    pub fn now(&self) -> WallTime {
        self.now
    }

    /// Runs a statement when the batch is committed.
    pub fn run(&mut self, statement: AppStatement) {
        self.collected.statements.push(statement);
    }

    /// Reads what is committed: the effects of every batch of this camera before, not what this collects. A consumer that
    /// reads may be given a batch once more from its beginning, and is slower: its batches are committed one by one.
    ///
    /// # Errors
    /// As [`Store::app_rows`].
    pub async fn rows(&self, sql: &AppSql, values: Vec<AppValue>) -> Result<Vec<AppRow>, StoreError> {
        if let Some(behind) = &self.behind {
            behind.notify_one();
            std::future::pending::<()>().await;
        }
        self.store.app_rows(sql, values).await
    }

    /// Starts a recording of a camera that records by events, or extends the one that runs, when the batch is committed; of
    /// other cameras nothing. `reason` is shown as its source, up to 64 characters.
    pub fn trigger(&mut self, camera: CameraId, reason: impl Into<String>) {
        self.collected.triggers.push((camera, reason.into()));
    }

    /// Raises an event; its site and number are filled in when it is committed.
    pub fn log_event(&mut self, event: AppEvent) {
        self.collected.events.push(event.stamped(self.now));
    }
}
