//! What an app wants written, collected until the writer applies it.

use heldar_base::{CameraId, WallTime};
use heldar_store::op::{AppendEvents, WriteOp};
use heldar_store::{NewEvent, Severity};
use serde_json::{Map, Value};

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

/// Collects what is to be written with a batch; holds no connection. Nothing of it is seen before the commit, and
/// nothing is written unless the batch is taken.
#[derive(Debug)]
pub struct Tx {
    now: WallTime,
    collected: Collected,
}

/// What a [`Tx`] has collected.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) events: Vec<NewEvent>,
}

impl Collected {
    /// Whether nothing is to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// What is to be written, in order.
    pub(crate) fn ops(&self) -> Vec<WriteOp> {
        let mut ops = Vec::new();
        if !self.events.is_empty() {
            ops.push(AppendEvents { events: self.events.clone() }.into());
        }
        ops
    }
}

impl Tx {
    pub(crate) fn new(now: WallTime) -> Self {
        Tx { now, collected: Collected::default() }
    }

    pub(crate) fn into_collected(self) -> Collected {
        self.collected
    }

    /// When the batch was given out.
    pub fn now(&self) -> WallTime {
        self.now
    }

    /// Raises an event; its site and number are filled in when it is committed.
    pub fn log_event(&mut self, event: AppEvent) {
        self.collected.events.push(NewEvent {
            id: uuid(),
            camera: event.camera,
            event_type: event.event_type,
            severity: event.severity,
            timestamp: event.timestamp.unwrap_or(self.now),
            created_at: self.now,
            payload: event.payload.into(),
        });
    }
}
