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
    /// When it was committed; of one that is not stored, when it came.
    pub committed_at: WallTime,
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
    pub attributes: Attributes,
    /// When; mostly the time of the batch.
    pub timestamp: WallTime,
}

/// The attributes of a detection: a JSON object, read when it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes(Box<str>);

impl Attributes {
    /// As JSON.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// All of them.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<Value> {
        match self.value() {
            Value::Object(mut members) => members.remove(name),
            _ => None,
        }
    }
}

/// What the worker said, under what the server knows of where it comes from (perception.md 8.6).
pub(crate) fn attributes(
    producer: Option<&Producer>,
    task: Option<PublicId>,
    extra: Option<&str>,
) -> Attributes {
    let text = match producer {
        Some(Producer::Worker { credential, worker, .. }) => {
            let task = task.map(|task| TaskId::new(task.bits()));
            Provenance::Worker { key: credential, task, worker: worker.as_deref() }.attributes(extra)
        }
        Some(Producer::Kernel(producer)) => Provenance::Kernel { producer }.attributes(extra),
        None => extra.unwrap_or("{}").to_owned(),
    };
    Attributes(text.into_boxed_str())
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
            committed_at: batch.created_at,
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
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::capacity);
        let detections = self.detections.iter().map(|seen| {
            size_of::<Seen>() + text(&seen.label) + text(&seen.track_id) + seen.attributes.0.len()
        });
        size_of::<Self>() + self.task_type.capacity() + text(&self.frame_id) + detections.sum::<usize>()
    }
}
