//! Tasks and batches to test with.

use heldar_base::{PublicId, StreamKind};
use heldar_store::op::{CreateTask, OnTaken, StoreBatch};
use heldar_store::{
    AiTask, AiTaskFields, BatchStored, DetectionBox, NewBatch, NewDetection, Producer, Share, Store,
    TaskOrigin,
};

use crate::world::{at, camera};

pub(crate) fn task_id(number: u128) -> PublicId {
    PublicId::new(AiTask::PREFIX, number)
}

pub(crate) fn task_fields(task_type: &str) -> AiTaskFields {
    AiTaskFields {
        task_type: task_type.to_owned(),
        enabled: true,
        stream_profile: StreamKind::Sub,
        fps: 5.0,
        width: 1280,
        config: serde_json::json!({}),
        warm: false,
    }
}

pub(crate) fn create_task(number: u128, name: &str, task_type: &str, seconds: i64) -> CreateTask {
    CreateTask {
        id: task_id(number),
        camera: camera(name),
        fields: task_fields(task_type),
        origin: TaskOrigin::Person,
        on_taken: OnTaken::Answer,
        now: at(seconds),
    }
}

pub(crate) fn detection(label: &str, seconds: i64) -> NewDetection {
    NewDetection {
        timestamp: at(seconds),
        label: Some(label.to_owned()),
        confidence: Share::new(0.9),
        bbox: DetectionBox::new([0.1, 0.2, 0.3, 0.4]),
        track_id: Some("7".to_owned()),
        attributes: None,
    }
}

/// A batch without a frame id.
pub(crate) fn batch(name: &str, seconds: i64, detections: Vec<NewDetection>) -> NewBatch {
    NewBatch {
        camera: camera(name),
        task_type: "detection".to_owned(),
        task: None,
        frame_id: None,
        part: 0,
        ticketed: false,
        late: false,
        producer: Producer::Worker { credential: "system".to_owned(), worker: None, lease: None },
        captured_at: at(seconds),
        created_at: at(seconds),
        detections,
        event: None,
    }
}

/// A batch of one frame.
pub(crate) fn frame(name: &str, frame_id: &str, seconds: i64) -> NewBatch {
    let detections = vec![detection("person", seconds)];
    NewBatch { frame_id: Some(frame_id.to_owned()), ..batch(name, seconds, detections) }
}

pub(crate) async fn store_batch(store: &Store, batch: NewBatch) -> i64 {
    match store.write(StoreBatch { batch }).await.unwrap() {
        BatchStored::Stored { seq, .. } => seq,
        duplicate => panic!("{duplicate:?}"),
    }
}
