//! The form of rows of the feed, and of messages about it.

use std::sync::Arc;

use bytes::Bytes;
use heldar_base::{CameraId, PublicId, WallTime};
use heldar_http::ApiError;
use heldar_store::{Batch, DetectionId, FeedBatches, FeedRow, NewDetection};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::api::ai::detections::Detection;
use crate::api::events::Event;
use crate::feed::{Filter, Form, Given, Message};

/// A batch of detections, or an event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Entry {
    /// A batch.
    Batch(Box<BatchEntry>),
    /// An event.
    Event(Box<EventEntry>),
}

/// A batch of detections.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchEntry {
    /// Its place in commit order.
    seq: i64,
    /// `detections`.
    topic: &'static str,
    /// Whose picture.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// The site that the camera belongs to now, or else that of the server.
    site_id: Option<String>,
    /// Name of the picture, with its namespace.
    frame_id: Option<String>,
    /// What was asked.
    task_type: String,
    /// How many detections it came with.
    detection_count: u16,
    /// When it was stored.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// `bat_` and 32 hexadecimal digits.
    #[schema(value_type = String)]
    batch_id: PublicId,
    /// The task, where one was named.
    #[schema(value_type = Option<String>)]
    task_id: Option<PublicId>,
    /// Which of several posts about the same picture.
    part: u8,
    /// Whether camera, type, frame and time come from a frame ticket.
    ticketed: bool,
    /// When the picture was captured.
    #[schema(value_type = String, format = DateTime)]
    captured_at: WallTime,
    /// Whether it is older than what came before it.
    late: bool,
    /// What was seen, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detections: Option<Vec<Detection>>,
}

/// An event under the numbers of the feed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventEntry {
    /// Its place in commit order.
    seq: i64,
    /// `events`.
    topic: &'static str,
    /// The event.
    event: Event,
}

fn batch(batch: &Arc<Batch>, detections: Option<&Vec<NewDetection>>, own_site: Option<&str>) -> BatchEntry {
    let detections = detections.map(|seen| {
        // Retention takes the first ones first.
        let first = usize::from(batch.detection_count).saturating_sub(seen.len());
        let seen = (u16::try_from(first).unwrap_or(u16::MAX)..).zip(seen);
        let detection = |(position, detection): (u16, &NewDetection)| {
            let id = DetectionId { seq: batch.seq, position };
            heldar_store::Detection { id, detection: detection.clone(), batch: batch.clone() }.into()
        };
        seen.map(detection).collect()
    });
    let site = batch.site.as_ref().map(|site| site.as_str().to_owned());
    BatchEntry {
        seq: batch.seq,
        topic: "detections",
        camera_id: batch.camera.clone(),
        site_id: site.or_else(|| own_site.map(str::to_owned)),
        frame_id: batch.frame_id.clone(),
        task_type: batch.task_type.clone(),
        detection_count: batch.detection_count,
        created_at: batch.created_at,
        batch_id: batch.id(),
        task_id: batch.task,
        part: batch.part,
        ticketed: batch.ticketed,
        captured_at: batch.captured_at,
        late: batch.late,
        detections,
    }
}

impl Entry {
    /// A row of the outbox.
    pub(super) fn new(row: FeedRow, own_site: Option<&str>) -> Self {
        match row {
            FeedRow::Batch { batch: header, detections } => {
                Entry::Batch(Box::new(batch(&header, detections.as_ref(), own_site)))
            }
            FeedRow::Event(event) => {
                let seq = event.seq;
                Entry::Event(Box::new(EventEntry {
                    seq,
                    topic: "events",
                    event: Event::new(event, own_site),
                }))
            }
        }
    }
}

/// As JSON; what cannot be told so, which nothing of ours is, as null.
fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// JSON of a row, and whether it is a batch.
fn body(row: &FeedRow, full: bool, own_site: Option<&str>) -> (String, bool) {
    match row {
        FeedRow::Event(event) => (text(&Event::new(event.clone(), own_site)), false),
        FeedRow::Batch { batch: header, detections } => {
            (text(&batch(header, detections.as_ref().filter(|_| full), own_site)), true)
        }
    }
}

fn is_full(filter: &Filter) -> bool {
    filter.wants.batches == FeedBatches::Full
}

/// A row as a server-sent event.
pub(super) fn sse(message: &Message, filter: &Filter, own_site: Option<&str>) -> Bytes {
    let full = is_full(filter);
    message.form(if full { Form::SseFull } else { Form::Sse }, |row| {
        let (json, is_batch) = body(row, full, own_site);
        let name = if is_batch { "event: detections\n" } else { "" };
        format!("id: {}\n{name}data: {json}\n\n", row.seq()).into()
    })
}

/// A row as a message of a WebSocket.
pub(super) fn socket(message: &Message, filter: &Filter, own_site: Option<&str>) -> Bytes {
    let full = is_full(filter);
    message.form(if full { Form::SocketFull } else { Form::Socket }, |row| {
        let (json, is_batch) = body(row, full, own_site);
        let (kind, name) = if is_batch { ("detections", "entry") } else { ("event", "event") };
        format!(r#"{{"type":"{kind}","seq":{},"{name}":{json}}}"#, row.seq()).into()
    })
}

/// A named server-sent event; `seq` is from where its reader goes on.
pub(super) fn sse_named(name: &str, seq: i64, data: &Value) -> Bytes {
    format!("id: {seq}\nevent: {name}\ndata: {data}\n\n").into()
}

/// What is said of rows that are gone.
pub(super) fn gap(given: &Given) -> Option<Value> {
    match given {
        Given::Gap { from_seq, first_seq } => Some(json!({ "from_seq": from_seq, "first_seq": first_seq })),
        Given::Message(_) => None,
    }
}

/// What is said of a message that is not understood.
pub(super) fn refusal(error: &ApiError) -> Value {
    json!({ "type": "error", "error": error.to_string(), "code": error.code().as_str() })
}
