//! Results of workers: what of a batch is accepted, and as what (perception.md 8).
//!
//! Owns: the shape of the body, its checks in order, provenance, which task a batch belongs to, and the two memories of
//! recent batches. Never: tickets and leases ([`crate::ticket`], [`crate::leases`]), the store, who may post.
//!
//! The caller's order: read the body with serde; where it has a ticket ([`BatchBody::ticket`]), go through the steps of
//! 8.4; [`check()`]; find the task ([`task_key`]); ask [`Lateness`] and, for an empty batch, [`EmptyRows`]; commit.
//!
//! Invariants: what passes [`check()`] has at most [`MAX_DETECTIONS`] detections with finite boxes inside 0..1; nothing of
//! a refused batch takes effect; memory stays in proportion to the body, whatever it holds.

mod check;
mod event;
mod json;
mod key;
mod provenance;
mod recent;

use serde::Deserialize;

use crate::TaskId;
use heldar_base::{CameraId, WallTime};

pub use check::check;
pub use event::{Event, EventBody, EventSeverity, check_event_type};
pub use json::{ClientAttributes, JsonText};
pub use key::{BatchKey, TaskKey, TaskMismatch, frame_key, task_key};
pub use provenance::{Provenance, SOURCE_KEYS};
pub use recent::{EmptyBatch, EmptyRows, Lateness};

/// Most detections of a batch.
pub const MAX_DETECTIONS: usize = 1000;
/// Highest number of a part.
pub const MAX_PART: u8 = 63;
/// Most characters of a label or track id.
pub const MAX_LABEL_CHARS: usize = 256;
/// Most bytes of a frame id; the table of perception.md 8.1 names no bound, and it is part of an index.
pub const MAX_FRAME_ID_BYTES: usize = 512;

/// A batch as sent. Fields that nobody knows are ignored; null is as absent.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct BatchBody {
    /// Camera that was looked at.
    pub camera_id: String,
    /// Type of the task.
    pub task_type: String,
    /// When the picture was captured (RFC 3339); by default now.
    pub timestamp: Option<String>,
    /// Name of the picture; the same one never takes effect twice.
    pub frame_id: Option<String>,
    /// Ticket that came with the picture.
    pub frame_ticket: Option<String>,
    /// Which part of the picture's results this is, 0 to 63.
    pub part: Option<i64>,
    /// The task, where no ticket names it.
    pub task_id: Option<String>,
    /// What was seen.
    #[serde(default)]
    pub detections: Detections,
    /// An event to raise with it.
    pub event: Option<EventBody>,
}

/// The detections of a body: no more of them are kept than may be sent, all are counted.
#[derive(Clone, Debug, Default)]
pub struct Detections {
    /// The first of them.
    pub kept: Vec<DetectionBody>,
    /// How many there are.
    pub count: usize,
}

/// A detection as sent.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct DetectionBody {
    /// What it is.
    pub label: Option<String>,
    /// How sure the worker is, 0..1.
    pub confidence: Option<f64>,
    /// Where it is.
    pub bbox: Option<BboxBody>,
    /// The object, as the worker follows it.
    pub track_id: Option<String>,
    /// When, where it differs from the batch (RFC 3339).
    pub timestamp: Option<String>,
    /// Whatever else the worker says.
    pub attributes: Option<ClientAttributes>,
}

/// Numbers of a box as sent, however many.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BboxBody {
    /// The first four: x, y, w, h.
    pub first: [f64; 4],
    /// How many there are.
    pub count: usize,
}

/// What a valid ticket and its lease say of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Ticketed<'a> {
    /// The task.
    pub task: TaskId,
    /// Its type.
    pub task_type: &'a str,
    /// The camera of the lease.
    pub camera: &'a CameraId,
    /// When the frame was captured.
    pub captured_ms: i64,
}

/// A batch that may be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Camera, that of the ticket if there is one; else as sent, and perhaps of no camera.
    pub camera_id: String,
    /// Type of the task, without space around it.
    pub task_type: String,
    /// When the picture was captured; may lie ahead of the server's time.
    pub captured_at: WallTime,
    /// Name of the picture, without namespace.
    pub frame_id: Option<String>,
    /// 0 to 63.
    pub part: u8,
    /// The task that the body names, as text; none under a ticket.
    pub task_id: Option<String>,
    /// The task that the ticket names.
    pub ticket_task: Option<TaskId>,
    /// What was seen; empty is "nothing seen".
    pub detections: Vec<Detection>,
    /// An event to raise.
    pub event: Option<Event>,
    /// A detection claimed to come from elsewhere; worth a line in the log.
    pub forged_source: bool,
}

impl Batch {
    /// Whether it says "nothing seen" and nothing else.
    pub fn is_empty(&self) -> bool {
        self.detections.is_empty() && self.event.is_none()
    }
}

/// A detection that may be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// What it is.
    pub label: Option<String>,
    /// 0..1.
    pub confidence: Option<f64>,
    /// x, y, w, h, all inside 0..1.
    pub bbox: Option<[f64; 4]>,
    /// The object.
    pub track_id: Option<String>,
    /// When, where it differs from the batch.
    pub at: Option<WallTime>,
    /// What the worker said beside that: the text of a JSON object without the keys of provenance; `None` for an empty
    /// one. [`Provenance::attributes`] makes the whole of it.
    pub extra: Option<String>,
}

impl BatchBody {
    /// The ticket, if one was sent.
    pub fn ticket(&self) -> Option<&str> {
        self.frame_ticket.as_deref().map(str::trim).filter(|ticket| !ticket.is_empty())
    }

    /// Whether what the body says of camera and type, if anything, is what the ticket says (8.4, step 7).
    pub fn agrees_with(&self, ticket: &Ticketed<'_>) -> bool {
        let (camera, task_type) = (self.camera_id.trim(), self.task_type.trim());
        (camera.is_empty() || camera == ticket.camera.as_str())
            && (task_type.is_empty() || task_type == ticket.task_type)
    }
}

#[cfg(test)]
mod tests;
