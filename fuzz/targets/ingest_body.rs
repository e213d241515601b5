//! Bodies of workers: read and checked, with and without a ticket.
#![no_main]

use heldar_base::{CameraId, WallTime};
use heldar_perception::TaskId;
use heldar_perception::batch::{BatchBody, Provenance, Ticketed, check};
use heldar_perception::ticket::Ticket;
use libfuzzer_sys::fuzz_target;

const NOW: WallTime = WallTime(1_793_500_000_000_000);

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _unread = Ticket::parse(text);
    }
    let Ok(body) = serde_json::from_slice::<BatchBody>(data) else { return };
    let camera = CameraId::new("gate").expect("a name");
    let task = TaskId::new(7);
    let ticketed = Ticketed { task, task_type: "detection", camera: &camera, captured_ms: 1_793_500_000_000 };
    for ticket in [None, Some(&ticketed)] {
        let Ok(batch) = check(body.clone(), NOW, ticket) else { continue };
        assert!(batch.detections.len() <= 1000 && batch.part <= 63);
        for detection in &batch.detections {
            assert!(detection.confidence.is_none_or(|confidence| (0.0..=1.0).contains(&confidence)));
            if let Some([x, y, w, h]) = detection.bbox {
                assert!([x, y, w, h, x + w, y + h].iter().all(|value| (0.0..=1.000_001).contains(value)));
            }
            // What is stored can be read, and says where it comes from whatever the worker wrote.
            let origin = Provenance::Worker { key: "key_1", task: Some(task), worker: None };
            let text = origin.attributes(detection.extra.as_deref());
            let attributes: serde_json::Value = serde_json::from_str(&text).expect("attributes are JSON");
            assert_eq!(attributes["source"], "worker");
        }
    }
});
