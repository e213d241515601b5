//! A batch of detections as consumers see it.

use heldar_base::{CameraId, PublicId, SiteId, WallTime};
use heldar_perception::TaskId;
use heldar_perception::batch::Provenance;
use heldar_store::{Batch, DetectionId, FullBatch, NewDetection, Producer, Share};
use serde_json::Value;

/// What a worker, or the server itself, saw in one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectionBatch {
    /// Whose picture.
    pub camera_id: CameraId,
    /// The camera's site.
    pub site_id: Option<SiteId>,
    /// What was asked.
    pub task_type: String,
    /// What was seen; none means "nothing seen".
    pub detections: Vec<Seen>,
    /// When the picture was captured.
    pub timestamp: WallTime,
    /// Its number, in commit order; none: it says "nothing seen" once more, is not stored, and comes at most once.
    pub seq: Option<i64>,
    /// Names it; the same at each delivery.
    pub batch_id: PublicId,
    /// The picture's name with its namespace.
    pub frame_id: Option<String>,
    /// Which of the picture's results, 0 to 63.
    pub part: u8,
    /// The task, where one was named.
    pub task_id: Option<PublicId>,
    /// Whether camera, type, picture and time come from a lease and a ticket.
    pub ticketed: bool,
    /// Whether it is more than 2 s older than what its task had already.
    pub late: bool,
    /// Who made it; none: that is not known any more.
    pub producer: Option<Producer>,
}

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Names it.
    pub id: PublicId,
    /// What it is.
    pub label: Option<String>,
    /// How sure the worker is, 0 to 1.
    pub confidence: Option<f64>,
    /// Where it is: x, y, width, height in shares of the picture.
    pub bbox: Option<[f64; 4]>,
    /// Names the same thing in other pictures.
    pub track_id: Option<String>,
    /// Where it comes from, as `source` and `_prov`, and what the worker said beside.
    pub attributes: Value,
    /// When; mostly the time of the batch.
    pub timestamp: WallTime,
}

/// What the worker said, under what the server knows of where it comes from (perception.md 8.6).
pub(crate) fn attributes(producer: Option<&Producer>, task: Option<PublicId>, extra: Option<&str>) -> Value {
    let text = match producer {
        Some(Producer::Worker { credential, worker }) => {
            let task = task.map(|task| TaskId::new(task.bits()));
            Provenance::Worker { key: credential, task, worker: worker.as_deref() }.attributes(extra)
        }
        Some(Producer::Kernel(producer)) => Provenance::Kernel { producer }.attributes(extra),
        None => extra.unwrap_or("{}").to_owned(),
    };
    serde_json::from_str(&text).unwrap_or_default()
}

impl DetectionBatch {
    /// A stored batch.
    pub(crate) fn stored(row: FullBatch) -> Self {
        let FullBatch { batch, detections } = row;
        let seen = detections.into_iter().zip(0u16..).map(|(detection, position)| {
            let id = DetectionId { seq: batch.seq, position }.public();
            let NewDetection { timestamp, label, confidence, bbox, track_id, attributes: extra } = detection;
            let attributes = attributes(batch.producer.as_ref(), batch.task, extra.as_deref());
            let (confidence, bbox) =
                (confidence.map(Share::value), bbox.map(heldar_store::DetectionBox::values));
            Seen { id, label, confidence, bbox, track_id, attributes, timestamp }
        });
        let detections = seen.collect();
        let batch_id = batch.id();
        let Batch { camera, site, task_type, task, frame_id, part, ticketed, late, producer, .. } = batch;
        DetectionBatch {
            camera_id: camera,
            site_id: site,
            task_type,
            detections,
            timestamp: batch.captured_at,
            seq: Some(batch.seq),
            batch_id,
            frame_id,
            part,
            task_id: task,
            ticketed,
            late,
            producer,
        }
    }

    /// Roughly the memory that it takes.
    pub(crate) fn weight(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let detections = self.detections.iter().map(|seen| {
            size_of::<Seen>() + text(&seen.label) + text(&seen.track_id) + value_weight(&seen.attributes)
        });
        size_of::<Self>() + self.task_type.len() + text(&self.frame_id) + detections.sum::<usize>()
    }
}

/// Roughly the memory that a value takes beside its own size.
fn value_weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|item| size_of::<Value>() + value_weight(item)).sum(),
        // A node of the map has room for eleven members.
        Value::Object(members) => {
            let member = size_of::<Value>() + size_of::<String>();
            members.iter().map(|(name, item)| member + name.len() + value_weight(item)).sum::<usize>()
                + member * 6
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}
