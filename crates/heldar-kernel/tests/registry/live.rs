//! Cameras that really send: recording starts and ends with what the API says, tests of streams.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use axum::http::Method;
use heldar_base::{CameraId, Scope, StreamId, StreamKind};
use heldar_testcam::{Account, Options, Running, profile};
use serde_json::{Value, json};

use super::{delete, made, patch};
use crate::support::{As, World};

fn clip(folder: &Path, sound: &[&str]) -> PathBuf {
    let path = folder.join("clip.mp4");
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"])
        .args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", "4"])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "25"])
        .args(["-pix_fmt", "yuv420p"])
        .args(sound)
        .arg(&path)
        .status()
        .expect("ffmpeg is installed");
    assert!(status.success());
    path
}

struct Cameras {
    running: Running,
    _folder: tempfile::TempDir,
}

impl Cameras {
    async fn start(profile: Option<&str>, sound: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            video: Some(clip(folder.path(), sound)),
            account: Some(Account { user: "admin".to_owned(), password: "pl4nted".to_owned().into() }),
            profiles: profile.and_then(profile::find).into_iter().collect(),
            ..Options::default()
        };
        Cameras { running: heldar_testcam::start(options).await.unwrap(), _folder: folder }
    }

    fn url(&self, password: &str) -> String {
        self.running.cameras()[0].url.replace("rtsp://", &format!("rtsp://admin:{password}@"))
    }
}

/// Asks until the answer is what is waited for.
async fn until(world: &World, path: &str, what: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = world.get(path).await.json();
        if what(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{path}: {answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Rates are measured by times of capture, which follow the host's clock.
fn is_25(fps: &Value) -> bool {
    fps.as_f64().is_some_and(|fps| (fps - 25.0).abs() < 0.5)
}

async fn recorded_seconds(world: &World, camera: &str) -> f64 {
    let stream = StreamId::new(CameraId::new(camera).unwrap(), StreamKind::Main);
    let (segments, _) = world.kernel.newest_segments(&Scope::All, &stream, None, 100).await.unwrap();
    segments.iter().map(|segment| segment.interval().len().as_secs_f64()).sum()
}

/// Waits until there is more footage than that.
async fn recorded_more_than(world: &World, camera: &str, seconds: f64) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while recorded_seconds(world, camera).await <= seconds {
        assert!(Instant::now() < deadline, "nothing is recorded");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_recorded_from_create_to_delete() {
    // One session only: a test must not take it from the recorder.
    let cameras = Cameras::start(Some("single_session"), &["-an"]).await;
    let world = World::start().await;
    let view = made(&world, json!({ "name": "gate", "main_stream_url": cameras.url("pl4nted") })).await;
    assert!(view["record_url_masked"].as_str().unwrap().starts_with("rtsp://***@127.0.0.1:"));
    let health = until(&world, "/api/v1/cameras/gate/health", |h| h["state"] == "recording").await;
    assert_eq!(
        (&health["wanted"], &health["session"], &health["transport"]),
        (&json!(true), &json!("streaming"), &json!("tcp"))
    );
    assert!(health["clock_offset_ms"].is_i64() && health["last_error"].is_null());
    assert!(recorded_seconds(&world, "gate").await > 0.0);

    let test = world.send(As::System, Method::POST, "/api/v1/cameras/gate/test", None).await.ok();
    assert_eq!(
        (&test["reachable"], &test["codec"], &test["width"], &test["height"], &test["transport"]),
        (&json!(true), &json!("h264"), &json!(640), &json!(360), &json!("tcp")),
        "{test}"
    );
    assert!(test["first_picture_ms"].is_u64() && test.get("error").is_none(), "{test}");

    let view =
        patch(&world, "/api/v1/cameras/gate", &json!({ "name": "Gate", "retention_hours": 5 })).await.ok();
    assert_eq!((&view["codec"], &view["resolution_main"]), (&json!("h264"), &json!("640x360")));
    assert!(is_25(&view["fps_main"]), "{view}");
    let after =
        until(&world, "/api/v1/cameras/gate/health", |h| h["last_picture_at"] != health["last_picture_at"])
            .await;
    assert_eq!(
        (&after["connected_since"], &after["reconnect_count"]),
        (&health["connected_since"], &json!(0))
    );

    let view = patch(&world, "/api/v1/cameras/gate", &json!({ "enabled": false })).await.ok();
    assert_eq!(view["codec"], "h264", "what the last session showed");
    let health = until(&world, "/api/v1/cameras/gate/health", |h| h["session"] == "idle").await;
    assert_eq!(
        (&health["state"], &health["not_wanted_reason"]),
        (&json!("disabled"), &json!("camera_disabled"))
    );
    patch(&world, "/api/v1/cameras/gate", &json!({ "enabled": true })).await.ok();
    // As soon as pictures arrive: what is not on disk yet must not be lost.
    until(&world, "/api/v1/cameras/gate/health", |h| h["session"] == "streaming").await;

    assert_eq!(delete(&world, "/api/v1/cameras/gate?keep_recordings=true").await.status, 204);
    let id = CameraId::new("gate").unwrap();
    assert!(world.kernel.ingest.get(&StreamId::new(id.clone(), StreamKind::Main)).is_none());
    let kept = recorded_seconds(&world, "gate").await;
    assert!(kept > 0.0 && world.kernel.live.is_empty(), "all of it is in the store");
    assert_eq!(world.get("/api/v1/cameras/gate").await.ok()["codec"], "h264", "what the last session showed");

    made(&world, json!({ "name": "gate", "main_stream_url": cameras.url("pl4nted") })).await;
    // The footage is there again, and grows.
    recorded_more_than(&world, "gate", kept).await;
    assert_eq!(delete(&world, "/api/v1/cameras/gate").await.status, 204);
    assert_eq!(recorded_seconds(&world, "gate").await, 0.0);
    let events = world.get("/api/v1/events").await.ok();
    let bad = events.as_array().unwrap().iter().filter(|event| event["severity"] != "info").count();
    assert_eq!(bad, 0, "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_of_streams_that_are_not_recorded() {
    let cameras = Cameras::start(Some("single_session"), &["-an"]).await;
    let world = World::start().await;
    let check = async |name: &str, url: Value, expect: Value| {
        made(&world, json!({ "name": name, "enabled": false, "main_stream_url": url })).await;
        for method in [Method::GET, Method::POST] {
            let answer = world.send(As::System, method, &format!("/api/v1/cameras/{name}/test"), None).await;
            let test = answer.json();
            for (key, value) in expect.as_object().unwrap() {
                assert_eq!(test[key], *value, "{name} {key}: {test}");
            }
            assert_eq!(is_25(&test["fps"]), test["reachable"] == true, "{test}");
            assert!(!test.to_string().contains("pl4nted"), "{test}");
            assert_eq!(test.get("error").is_some(), test["reachable"] != true, "{test}");
        }
    };
    let reached =
        json!({ "reachable": true, "codec": "h264", "width": 640, "height": 360, "transport": "tcp" });
    check("good", json!(cameras.url("pl4nted")), reached).await;
    let rejected = json!({ "reachable": false, "reason_class": "auth", "url": cameras.url("x").replace("admin:x", "***") });
    check("auth", json!(cameras.url("wrong")), rejected).await;
    check(
        "closed",
        json!("rtsp://u:pl4nted@127.0.0.1:9/x"),
        json!({ "reachable": false, "reason_class": "refused" }),
    )
    .await;
    check("http", json!("http://127.0.0.1/video"), json!({ "reachable": false, "reason_class": "config" }))
        .await;
    check("tls", json!("rtsps://127.0.0.1/video"), json!({ "reachable": false, "reason_class": "config" }))
        .await;
    check(
        "none",
        json!(null),
        json!({ "code": "no_stream_url", "error": "the camera has no stream address" }),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_without_an_address_waits_for_one() {
    let cameras = Cameras::start(None, &["-an"]).await;
    let world = World::start().await;
    made(&world, json!({ "name": "gate" })).await;
    let path = "/api/v1/cameras/gate/health";
    let health = until(&world, path, |h| h["session"] == "backoff").await;
    assert_eq!(health["next_attempt_at"], Value::Null, "{health}");
    let system = world.get("/api/v1/system").await.ok();
    assert_eq!((&system["cameras_wanted"], &system["active_recorders"]), (&json!(1), &json!(0)), "{system}");
    patch(&world, "/api/v1/cameras/gate", &json!({ "main_stream_url": cameras.url("pl4nted") })).await.ok();
    until(&world, path, |h| h["session"] == "streaming").await;
    let system = world.get("/api/v1/system").await.ok();
    assert_eq!(system["active_recorders"], 1, "{system}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_and_transport_are_told() {
    let cameras = Cameras::start(None, &["-c:a", "aac"]).await;
    let world = World::start().await;
    let body = json!({ "name": "gate", "main_stream_url": cameras.url("pl4nted"), "record_audio": true });
    made(&world, body).await;
    let health = until(&world, "/api/v1/cameras/gate/health", |h| h["session"] == "streaming").await;
    assert_eq!(health["audio"], "copied");
    let running = world.get("/api/v1/cameras/gate/test").await.ok();
    let body = json!({ "name": "own", "main_stream_url": cameras.url("pl4nted"), "enabled": false, "rtsp_transport": "udp" });
    made(&world, body).await;
    let own = world.get("/api/v1/cameras/own/test").await.ok();
    for (test, transport) in [(running, "tcp"), (own, "udp")] {
        assert_eq!((&test["audio_codec"], &test["transport"]), (&json!("aac"), &json!(transport)), "{test}");
    }

    // What was seen outlives the process.
    let stored = || async {
        world.kernel.store.streams(&Scope::All).await.unwrap().iter().any(|s| s.observed.is_some())
    };
    while !stored().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    patch(&world, "/api/v1/cameras/gate", &json!({ "enabled": false })).await.ok();
    let world = world.restart(&[]).await;
    let view = world.get("/api/v1/cameras/gate").await.ok();
    assert_eq!((&view["codec"], &view["resolution_main"]), (&json!("h264"), &json!("640x360")));
    assert!(is_25(&view["fps_main"]), "{view}");
}
