//! A row of the feed with its forms on the wire, each made once for all who get it.
//!
//! Owns: the row and the memory of its forms. Never: what a form looks like; whoever asks for one first makes it.

use std::sync::OnceLock;
use std::time::Instant;

use bytes::Bytes;
use heldar_base::CameraId;
use heldar_store::FeedRow;

/// A form on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A server-sent event.
    Sse,
    /// The same, a batch with its detections.
    SseFull,
    /// A message of a WebSocket.
    Socket,
    /// The same, a batch with its detections.
    SocketFull,
}

/// A row of the feed.
#[derive(Debug)]
pub struct Message {
    /// The row.
    pub row: FeedRow,
    /// When it was committed, where it came live.
    pub committed_at: Option<Instant>,
    forms: [OnceLock<Bytes>; 4],
}

impl Message {
    pub(super) fn new(row: FeedRow, committed_at: Option<Instant>) -> Self {
        Message { row, committed_at, forms: Default::default() }
    }

    /// Its number.
    pub fn seq(&self) -> i64 {
        self.row.seq()
    }

    /// The camera that it is about.
    pub fn camera(&self) -> Option<&CameraId> {
        match &self.row {
            FeedRow::Event(event) => event.event.camera.as_ref(),
            FeedRow::Batch { batch, .. } => Some(&batch.camera),
        }
    }

    /// One of its forms, made by whoever asks first.
    pub fn form(&self, form: Form, make: impl FnOnce(&FeedRow) -> Bytes) -> Bytes {
        let [sse, sse_full, socket, socket_full] = &self.forms;
        let place = match form {
            Form::Sse => sse,
            Form::SseFull => sse_full,
            Form::Socket => socket,
            Form::SocketFull => socket_full,
        };
        place.get_or_init(|| make(&self.row)).clone()
    }

    /// Roughly the memory that it and its forms take.
    pub(super) fn weight(&self) -> usize {
        let content = match &self.row {
            FeedRow::Event(event) => 512 + weight_of(&event.event.payload),
            FeedRow::Batch { detections, .. } => {
                let seen = detections.iter().flatten();
                let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
                // Each detection repeats what its batch is about.
                let seen = seen.map(|d| 512 + text(&d.label) + text(&d.track_id) + text(&d.attributes));
                512 + seen.sum::<usize>()
            }
        };
        // The row and the forms that are usual.
        size_of::<Self>() + 3 * content
    }
}

fn weight_of(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    32 + match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight_of).sum(),
        Value::Object(members) => members.iter().map(|(name, value)| name.len() + weight_of(value)).sum(),
    }
}
