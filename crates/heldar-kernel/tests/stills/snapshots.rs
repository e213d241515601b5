//! Scheduled snapshots are pictures of the recording, and a camera that gives none is told of once.

use std::time::Duration;

use axum::http::Method;
use heldar_base::{Capability, Micros, WallTime};
use heldar_testcam::fault::FaultSpec;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Scene;
use crate::support::As;

/// Long enough for a few pictures of the shortest interval.
const PATIENCE: Duration = Duration::from_secs(60);

impl Scene {
    async fn schedule(&self, camera: &str, body: Value) -> Value {
        let path = format!("/api/v1/cameras/{camera}/snapshot-schedules");
        let answer = self.world.send(As::System, Method::POST, &path, Some(&body)).await;
        assert_eq!(answer.status, 201, "{}", answer.json());
        answer.json()
    }

    /// The only schedule of a camera, once it is as wanted.
    async fn scheduled(&self, camera: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let path = format!("/api/v1/cameras/{camera}/snapshot-schedules");
            let list = self.get(&path).await.ok();
            if is_it(&list[0]) {
                return list[0].clone();
            }
            assert!(Instant::now() < deadline, "{list}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The snapshots of a camera, once there are so many.
    async fn snapshots(&self, camera: &str, least: usize) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let list = self.get(&format!("/api/v1/cameras/{camera}/snapshots")).await.ok();
            let list = list.as_array().unwrap().clone();
            if list.len() >= least {
                return list;
            }
            assert!(Instant::now() < deadline, "{list:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the recording has gone on past an instant.
    async fn recorded(&self, camera: &str, at: WallTime) {
        let (start, _) = self.footage(camera, Micros::ZERO).await;
        self.footage(camera, at - start + Micros::from_secs(1)).await;
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> crate::support::Answer {
        self.world.send(As::System, method, path, Some(&body)).await
    }

    async fn failures(&self) -> Vec<Value> {
        let events = self.get("/api/v1/events?event_type=snapshot_failed").await.ok();
        events.as_array().unwrap().clone()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn time(value: &Value) -> WallTime {
    WallTime::parse(text(value)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_are_pictures_of_the_recording() {
    let scene = Scene::start(&["b_frames"]).await;
    scene.add("gate", 0, json!({ "segment_seconds": 4 })).await;
    scene.footage("gate", Micros::from_secs(2)).await;
    // No more often than every 5 s.
    let schedule = scene.schedule("gate", json!({ "interval_seconds": 1 })).await;
    assert_eq!((&schedule["interval_seconds"], &schedule["enabled"]), (&json!(5), &json!(true)));
    assert_eq!((&schedule["last_fired_at"], &schedule["last_error"]), (&Value::Null, &Value::Null));
    scene.snapshots("gate", 3).await;
    let path = format!("/api/v1/snapshot-schedules/{}", text(&schedule["id"]));
    let off = scene.send(Method::PATCH, &path, json!({ "enabled": false })).await.ok();
    assert_eq!(off["enabled"], json!(false));
    let taken = scene.snapshots("gate", 3).await;

    scene.recorded("gate", time(&taken[0]["taken_at"])).await;
    let root = scene.world.kernel.settings.storage.snapshots_dir.clone();
    for (place, snapshot) in taken.iter().enumerate() {
        let at = time(&snapshot["taken_at"]);
        assert_eq!(snapshot["schedule_id"], schedule["id"]);
        let path = text(&snapshot["path"]);
        let stamp: String = at.to_string().chars().filter(char::is_ascii_digit).take(17).collect();
        assert_eq!(path, format!("gate/{}T{}Z.jpg", &stamp[..8], &stamp[8..]));
        assert_eq!(text(&snapshot["url"]), format!("/media/snapshots/{path}"));
        let file = scene.get(text(&snapshot["url"])).await;
        assert_eq!((file.status, file.header("content-type")), (200, Some("image/jpeg")));
        assert_eq!(json!(file.bytes.len()), snapshot["size_bytes"]);
        assert_eq!(std::fs::read(root.join(path)).unwrap(), file.bytes);
        // The same instant of the recording has the same picture.
        let exact = scene.get(&format!("/api/v1/cameras/gate/picture?at={at}")).await;
        assert_eq!(exact.status, 200, "{}", exact.json());
        assert_eq!(exact.header("x-picture-offset-ms"), Some("0"), "{at}");
        assert_eq!(scene.number(&file.bytes, "taken.jpg"), scene.number(&exact.bytes, "exact.jpg"), "{at}");
        if let Some(older) = taken.get(place + 1) {
            let apart = at - time(&older["taken_at"]);
            assert!(apart > Micros::from_millis(2500), "one for each instant, the newest first: {apart:?}");
        }
    }
    let head = scene.world.send(As::System, Method::HEAD, text(&taken[0]["url"]), None).await;
    assert_eq!(head.status, 200);
    assert!(head.header("etag").is_some() && head.header("last-modified").is_some());

    // In pages, and of a window with both of its ends.
    let mut next = Some("/api/v1/cameras/gate/snapshots?limit=1".to_owned());
    let mut paged = Vec::new();
    while let Some(path) = next {
        let page = scene.get(&path).await;
        paged.extend(page.ok().as_array().unwrap().clone());
        next = page.next();
    }
    assert_eq!(paged, taken);
    let (from, to) = (text(&taken[1]["taken_at"]), text(&taken[0]["taken_at"]));
    let window = scene.get(&format!("/api/v1/cameras/gate/snapshots?from={from}&to={to}")).await.ok();
    assert_eq!(window, json!(taken[..2]));

    // What says nothing new changes nothing; pictures outlive their schedule; one goes with its file.
    let same = scene.send(Method::PATCH, &path, json!({ "interval_seconds": 5, "enabled": null })).await.ok();
    assert_eq!(same["updated_at"], off["updated_at"]);
    assert!(same["last_fired_at"].is_string() && same["last_error"].is_null());
    assert_eq!(scene.send(Method::DELETE, &path, json!({})).await.status, 204);
    assert_eq!(scene.send(Method::DELETE, &path, json!({})).await.error(), (404, "not_found".to_owned()));
    let left = scene.snapshots("gate", taken.len()).await;
    assert!(left.iter().all(|snapshot| snapshot.get("schedule_id").is_none()));
    let one = format!("/api/v1/snapshots/{}", text(&taken[1]["id"]));
    assert_eq!(scene.send(Method::DELETE, &one, json!({})).await.status, 204);
    assert_eq!(scene.send(Method::DELETE, &one, json!({})).await.error(), (404, "not_found".to_owned()));
    assert_eq!(scene.get(text(&taken[1]["url"])).await.error(), (404, "not_found".to_owned()));
    assert!(!root.join(text(&taken[1]["path"])).exists());
    assert_eq!(scene.snapshots("gate", 0).await.len(), taken.len() - 1);
    for (action, rows) in [
        ("create_snapshot_schedule", 1),
        ("update_snapshot_schedule", 1),
        ("delete_snapshot_schedule", 1),
        ("delete_snapshot", 1),
    ] {
        let audit = scene.get(&format!("/api/v1/audit?action={action}&camera_id=gate")).await.ok();
        assert_eq!(audit.as_array().unwrap().len(), rows, "{action}: {audit}");
    }

    // For those who may see the footage.
    let may = [Capability::VideoPlayback, Capability::CameraRead, Capability::RegistryManage];
    let url = text(&taken[0]["url"]);
    let delete = format!("/api/v1/snapshots/{}", text(&taken[0]["id"]));
    for path in ["/api/v1/cameras/gate/snapshots", "/api/v1/cameras/gate/snapshot-schedules", url] {
        assert_eq!(scene.world.get_as(As::Limited(&may, &["gate"]), path).await.status, 200, "{path}");
        assert_eq!(scene.world.get_as(As::Limited(&may, &["other"]), path).await.status, 403, "{path}");
        assert_eq!(scene.world.get_as(As::With(&[Capability::VideoLive]), path).await.status, 403, "{path}");
    }
    let foreign = scene.world.send(As::Limited(&may, &["other"]), Method::DELETE, &delete, None).await;
    assert_eq!(foreign.status, 403);
    assert_eq!(scene.get("/media/snapshots/other/x.jpg").await.status, 404);
    assert_eq!(scene.get("/media/snapshots/x.jpg").await.status, 404);
    assert_eq!(scene.get("/api/v1/cameras/other/snapshots").await.status, 404);
    scene.world.kernel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_gives_no_pictures_is_told_of_once() {
    let scene = Scene::start(&["plain"]).await;
    scene.add("gate", 0, json!({})).await;
    scene.add("off", 0, json!({ "enabled": false })).await;
    scene.footage("gate", Micros::from_secs(2)).await;
    scene.schedule("off", json!({ "interval_seconds": 5 })).await;
    let schedule = scene.schedule("gate", json!({ "interval_seconds": 5 })).await;
    scene.snapshots("gate", 1).await;
    for episode in 1..=2 {
        scene.cameras.add_fault(0, FaultSpec::parse("refuse").unwrap());
        let failed = scene.scheduled("gate", |schedule| schedule["last_error"].is_string()).await;
        assert_eq!(failed["updated_at"], schedule["updated_at"], "nobody changed it");
        if episode == 1 {
            // It is tried again, and tells nothing new.
            let fired = time(&failed["last_fired_at"]);
            scene.scheduled("gate", |schedule| time(&schedule["last_fired_at"]) > fired).await;
        }
        assert!(text(&failed["last_error"]).starts_with("the camera does not deliver pictures"), "{failed}");
        let events = scene.failures().await;
        assert_eq!(events.len(), episode, "{events:?}");
        let event = &events[0];
        assert_eq!((&event["camera_id"], &event["severity"]), (&json!("gate"), &json!("warning")));
        assert_eq!(event["payload"]["schedule_id"], schedule["id"]);
        assert!(event["payload"]["detail"].is_string());
        let before = scene.snapshots("gate", 0).await.len();
        scene.cameras.clear_faults(0);
        scene.snapshots("gate", before + 1).await;
        scene.scheduled("gate", |schedule| schedule["last_error"].is_null()).await;
    }
    // One that is switched off takes none and fails at none.
    let off = scene.scheduled("off", |_| true).await;
    assert!(off.get("last_fired_at").is_none() && off.get("last_error").is_none(), "{off}");
    assert!(scene.snapshots("off", 0).await.is_empty());
    assert_eq!(scene.failures().await.len(), 2);
    // Deleted, it takes its schedules and its pictures along.
    let url = text(&scene.snapshots("gate", 1).await[0]["url"]).to_owned();
    assert_eq!(scene.send(Method::DELETE, "/api/v1/cameras/gate", json!({})).await.status, 204);
    assert_eq!(scene.get(&url).await.status, 404);
    assert_eq!(scene.get("/api/v1/cameras/gate/snapshots").await.status, 404);
    let path = format!("/api/v1/snapshot-schedules/{}", text(&schedule["id"]));
    assert_eq!(scene.send(Method::PATCH, &path, json!({})).await.status, 404);
    let folder = scene.world.kernel.settings.storage.snapshots_dir.join("gate");
    let deadline = Instant::now() + PATIENCE;
    while folder.exists() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    scene.world.kernel.stop().await;
}
