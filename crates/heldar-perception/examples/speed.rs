//! Prints how long the hot paths take: `cargo run --release -p heldar-perception --example speed`.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use heldar_base::{CameraId, Scope, Secret, WallTime};
use heldar_perception::batch::{BatchBody, check};
use heldar_perception::leases::{Caller, LeaseBody, LeaseBook};
use heldar_perception::ring::{NewFrame, Pick, PickedFor, Pull, Rendition, Ring, View, stale_after};
use heldar_perception::task::{NewTask, Task, TaskDefaults};
use heldar_perception::ticket::{Keys, Ticket, mint};
use heldar_perception::{LeaseId, TaskId};

const NOW: WallTime = WallTime(1_780_000_000_000_000);

/// Mean time of one of `count` runs, in microseconds.
fn time(name: &str, count: u32, mut run: impl FnMut(u32)) {
    let start = Instant::now();
    (0..count).for_each(&mut run);
    println!("{name:40} {:10.2} us", start.elapsed().as_secs_f64() * 1e6 / f64::from(count));
}

fn main() {
    let camera = CameraId::new("gate").unwrap();
    let task = TaskId::new(u128::MAX / 3);

    let spec = NewTask { task_type: "yolo".to_owned(), ..NewTask::default() }
        .check(&TaskDefaults::default())
        .unwrap();
    let id = |n: u128| TaskId::new(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
    let tasks: Vec<Task> =
        (0..500).map(|n| Task { id: id(n), camera: camera.clone(), spec: spec.clone() }).collect();
    let tasks: Vec<&Task> = tasks.iter().collect();
    let caller = Caller { credential: "key_1", scope: &Scope::All };
    let mut book = LeaseBook::default();
    let mut acquire = |n: u32| {
        let request =
            LeaseBody { worker_id: format!("w{}", n % 20), ..LeaseBody::default() }.check().unwrap();
        let fresh = LeaseId::new(u128::from(n));
        let got = book.acquire(NOW, &caller, &request, fresh, &tasks, &|_| Some(Scope::All)).unwrap();
        book.apply(got.changes);
    };
    (0..20).for_each(&mut acquire);
    time("lease call, 500 tasks, 20 workers", 200, acquire);

    let detection =
        r#"{"label":"person","confidence":0.87,"bbox":[0.1,0.2,0.3,0.4],"track_id":"17","attributes":{}}"#;
    for (name, attributes) in [("{}", "{}"), ("three keys", r#"{"class_id":0,"color":"red","speed":1.25}"#)] {
        let all = vec![detection.replace("{}", attributes); 100].join(",");
        let text =
            format!(r#"{{"camera_id":"gate","task_type":"yolo","frame_id":"f","detections":[{all}]}}"#);
        time(&format!("batch of 100, attributes {name}"), 2_000, |_| {
            let body: BatchBody = serde_json::from_str(&text).unwrap();
            black_box(check(body, NOW, None).unwrap());
        });
    }

    let keys = Keys::new(Secret::new([7; 32]), NOW);
    time("ticket minted and verified", 20_000, |_| {
        let text = mint(&keys, "key_1", &camera, task, NOW, NOW, 120).unwrap();
        Ticket::parse(&text).unwrap().verify(&keys, "key_1", &camera, NOW).unwrap();
    });

    let mut ring = Ring::new(NOW, 32);
    let jpeg = Bytes::from(vec![0; 50_000]);
    let pull = Pull { view: View::Task(task), after: None, pick: Pick::Newest, seq: None };
    time("frame into a ring and out", 20_000, |_| {
        let renditions = vec![Rendition { width: 640, height: 360, jpeg: jpeg.clone() }];
        let picked = vec![PickedFor { task, width: 640 }];
        ring.push(NewFrame { captured_at: NOW, pts_us: 0, session: 1, renditions, picked });
        black_box(ring.pull(&pull, NOW, stale_after(5.0)));
    });
}
