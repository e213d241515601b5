//! Motion that the server sees by itself: where things move in the picture, when, and for whom it is looked for.
#![allow(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use axum::http::Method;
use heldar_base::{CameraId, Scope};
use heldar_store::TimeRange;
use heldar_testcam::scene::{Scene, strip};
use heldar_testcam::{Options, Running, profile};
use serde_json::{Value, json};
use tokio::time::Instant;

use support::{As, World};

/// Pictures per second of the clips used here.
const RATE: u32 = 25;

async fn cameras(profiles: &[&str]) -> Running {
    let options = Options {
        cameras: profiles.len() as u32,
        profiles: profiles.iter().filter_map(|name| profile::find(name)).collect(),
        media_dir: Path::new(env!("CARGO_TARGET_TMPDIR")).join("media"),
        ..Options::default()
    };
    heldar_testcam::start(options).await.unwrap()
}

async fn world(env: &[(&str, &str)]) -> World {
    let own = [("HELDAR_DECODER", heldar_testkit::decoder_program()), ("HELDAR_MOTION_ENABLED", "true")];
    World::start_with(&[&own, env].concat()).await
}

async fn add(world: &World, body: Value) {
    let answer = world.send(As::System, Method::POST, "/api/v1/cameras", Some(&body)).await;
    assert_eq!(answer.status, 201, "{}", answer.json());
}

async fn tasks(world: &World, camera: &str) -> Vec<Value> {
    world.get(&format!("/api/v1/cameras/{camera}/ai-tasks")).await.ok().as_array().unwrap().clone()
}

/// An answer that is as it should be, waited for.
async fn until(world: &World, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = world.get(path).await.json();
        if is_so(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{path}: {answer}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The number that a picture shows.
fn number(jpeg: &[u8], folder: &Path) -> u16 {
    let path = folder.join("picture.jpg");
    std::fs::write(&path, jpeg).unwrap();
    let raw = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(&path)
        .args(["-vf", "scale=1280:720", "-f", "rawvideo", "-pix_fmt", "gray", "-"])
        .output()
        .unwrap();
    strip::read(strip::Luma { data: &raw.stdout, width: 1280, height: 720, stride: 1280 }).expect("a number")
}

/// A box as `x, y, w, h`.
fn bounds(value: &Value) -> [f64; 4] {
    serde_json::from_value(value.clone()).unwrap()
}

/// Whether the middle of a box is on something, give or take a little.
fn is_on([x, y, w, h]: [f64; 4], [left, top, width, height]: [f64; 4]) -> bool {
    const SLACK: f64 = 0.04;
    let (x, y) = (x + w / 2.0, y + h / 2.0);
    (left - SLACK..=left + width + SLACK).contains(&x) && (top - SLACK..=top + height + SLACK).contains(&y)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boxes_are_where_things_move() {
    let cameras = cameras(&["plain", "h265_b_frames"]).await;
    let world = world(&[]).await;
    for (number, id) in ["gate", "yard"].into_iter().enumerate() {
        let url = &cameras.cameras()[number].url;
        add(&world, json!({ "id": id, "name": id, "main_stream_url": url })).await;
    }
    let folder = tempfile::tempdir().unwrap();
    for (camera, id) in ["gate", "yard"].into_iter().enumerate() {
        let list =
            until(&world, &format!("/api/v1/cameras/{id}/detections?task_type=motion&limit=50"), |list| {
                list.as_array().is_some_and(|list| list.len() >= 25)
            })
            .await;
        let scene = Scene {
            seed: heldar_testcam::SEED,
            pictures: u32::try_from(cameras.cameras()[camera].clip_pictures).unwrap(),
            rate: RATE,
        };
        let first = &list[0];
        assert_eq!((&first["label"], &first["attributes"]["source"]), (&json!("motion"), &json!("kernel")));
        assert_eq!(first["attributes"]["_prov"], json!({ "producer": "motion" }));
        assert_eq!(first["task_id"], tasks(&world, id).await[0]["id"]);
        let mut judged = 0;
        let mut times: Vec<&str> =
            list.as_array().unwrap().iter().map(|d| d["timestamp"].as_str().unwrap()).collect();
        times.dedup();
        // What is just seen may not be recorded yet.
        for time in times.into_iter().skip(2).take(6) {
            let picture = world.get(&format!("/api/v1/cameras/{id}/picture?at={time}&wait_ms=5000")).await;
            assert_eq!(picture.status, 200, "{}", picture.json());
            let objects = scene.objects(u32::from(number(&picture.bytes, folder.path())));
            for found in list.as_array().unwrap().iter().filter(|found| found["timestamp"] == time) {
                let found = bounds(&found["bbox"]);
                let on = objects.iter().any(|object| is_on(found, object.bounds));
                assert!(on, "{id} {time}: {found:?} is on none of {objects:?}");
                judged += 1;
            }
        }
        assert!(judged >= 6, "{judged}");
        // The same thing is one track over several pictures.
        let tracks = |d: &Value| d["track_id"].as_str().map(str::to_owned);
        let mut tracks: Vec<String> = list.as_array().unwrap().iter().filter_map(tracks).collect();
        tracks.sort();
        let count = tracks.len();
        tracks.dedup();
        assert!(tracks.len() * 2 <= count, "{} tracks in {count} boxes", tracks.len());
        let events = until(&world, &format!("/api/v1/events?camera_id={id}&event_type=motion"), |list| {
            list.as_array().is_some_and(|list| !list.is_empty())
        })
        .await;
        let event = &events[events.as_array().unwrap().len() - 1];
        assert_eq!(event["severity"], "info");
        assert!(
            event["payload"]["score"].as_f64().unwrap() > 0.0 && event["payload"]["bbox"].is_array(),
            "{event}"
        );
    }
    // The stretch that is open is stored when the server stops.
    let unit = until(&world, "/api/v1/ai/samplers", |list| list[0]["state"] == "sampling").await;
    assert_eq!((&unit[0]["camera_id"], &unit[0]["decode"]), (&json!("gate"), &json!("all")));
    assert!(unit[0]["measured_fps"].as_f64().unwrap() > 3.0, "{unit}");
    // The gauges are set every few seconds.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let text = String::from_utf8(world.get("/metrics").await.bytes).unwrap();
        let state = r#"heldar_sampler_state{camera="gate",profile="sub",state="sampling"} 1"#;
        let served = r#"heldar_ai_tasks{served="true"} 2"#;
        if text.contains(state)
            && text.contains(served)
            && text.contains(r#"heldar_ai_tasks{served="false"} 0"#)
        {
            break;
        }
        assert!(Instant::now() < deadline, "{text}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let again = world.restart(&[]).await;
    let gate = CameraId::new("gate").unwrap();
    let spans =
        again.kernel.store.motion_spans(&Scope::All, &gate, TimeRange::default(), None, 10).await.unwrap();
    let span = spans.rows[0].span;
    assert!((span.end - span.start).as_secs_f64() > 3.0, "{span:?}");
    cameras.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_camera_is_looked_at_and_workers_are_left_alone_with_it() {
    let world = world(&[("HELDAR_RECORDER_ENABLED", "false")]).await;
    add(&world, json!({ "id": "gate", "name": "gate" })).await;
    let list = tasks(&world, "gate").await;
    let task = &list[0];
    assert_eq!(
        (&task["task_type"], &task["stream_profile"], &task["fps"]),
        (&json!("motion"), &json!("sub"), &json!(5.0))
    );
    assert_eq!((list.len(), &task["enabled"]), (1, &json!(true)));
    // Who wants to know of all tasks sees it; nobody is given it.
    assert_eq!(world.get("/api/v1/ai/tasks").await.ok().as_array().unwrap().len(), 1);
    assert_eq!(world.get("/api/v1/ai/tasks?worker_id=w").await.ok(), json!([]));
    let lease = json!({ "worker_id": "w" });
    let held = world.send(As::System, Method::POST, "/api/v1/ai/leases", Some(&lease)).await.ok();
    assert_eq!((&held["tasks"], &held["pending"]), (&json!([]), &json!(0)));
    let frame = world.get("/api/v1/cameras/gate/frame?profile=sub").await;
    assert_eq!((frame.status, frame.header("x-frame-reason")), (404, Some("no_task")));
    // Deleted, it stays away: after an edit, after a restart, and when the camera comes back.
    let path = format!("/api/v1/ai-tasks/{}", task["id"].as_str().unwrap());
    assert_eq!(world.send(As::System, Method::DELETE, &path, None).await.status, 204);
    let edit = json!({ "name": "north gate" });
    world.send(As::System, Method::PATCH, "/api/v1/cameras/gate", Some(&edit)).await.ok();
    let world = world.restart(&[("HELDAR_MOTION_ENABLED", "true")]).await;
    assert_eq!(tasks(&world, "gate").await, Vec::<Value>::new());
    // Where it is switched off, workers have such tasks.
    let world = world.restart(&[("HELDAR_MOTION_ENABLED", "false")]).await;
    add(&world, json!({ "id": "yard", "name": "yard" })).await;
    assert_eq!(tasks(&world, "yard").await, Vec::<Value>::new());
    let body = json!({ "task_type": "motion" });
    world.send(As::System, Method::POST, "/api/v1/cameras/yard/ai-tasks", Some(&body)).await.ok();
    let held = world.send(As::System, Method::POST, "/api/v1/ai/leases", Some(&lease)).await.ok();
    assert_eq!(held["tasks"].as_array().unwrap().len(), 1);
}
