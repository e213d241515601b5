//! Cameras of a kernel, and what was recorded of them once they are switched off.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Method;
use heldar_base::WallTime;
use serde_json::{Value, json};

use crate::support::{As, World};

/// Whether longer runs are wanted.
pub(crate) fn soak() -> bool {
    std::env::var_os("HELDAR_SOAK").is_some_and(|value| value == "1")
}

/// A length of time, six times as long where longer runs are wanted.
pub(crate) fn seconds(usual: u64) -> Duration {
    Duration::from_secs(if soak() { usual * 6 } else { usual })
}

/// Folder of clips that outlive a test run.
pub(crate) fn media_dir() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("testcam-media");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A clip by ffmpeg, made once: `arguments` are its inputs and options.
pub(crate) fn clip(name: &str, arguments: &[&str]) -> PathBuf {
    static ENCODING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = ENCODING.lock().unwrap_or_else(PoisonError::into_inner);
    let hash = arguments
        .iter()
        .flat_map(|a| a.bytes().chain([0]))
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let path = media_dir().join(format!("continuity-{name}-{hash:016x}.mp4"));
    if !path.exists() {
        let partial = path.with_extension(format!("{}.mp4", std::process::id()));
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-nostdin", "-y"]).args(arguments).arg(&partial);
        let made = command.output().expect("ffmpeg is installed");
        assert!(made.status.success(), "{name}: {}", String::from_utf8_lossy(&made.stderr));
        std::fs::rename(partial, &path).unwrap();
    }
    path
}

/// One recorded file as the API tells of it.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) start: WallTime,
    pub(crate) end: WallTime,
    pub(crate) view: Value,
}

impl File {
    fn new(recordings: &Path, view: &Value) -> File {
        File {
            path: recordings.join(view["path"].as_str().unwrap()),
            start: time(&view["start_time"]),
            end: time(&view["end_time"]),
            view: view.clone(),
        }
    }
}

pub(crate) fn time(value: &Value) -> WallTime {
    WallTime::parse(value.as_str().unwrap_or_else(|| panic!("no time: {value}"))).unwrap()
}

/// Adds a camera; `settings` go beside id, name and the settings that all cameras here have.
pub(crate) async fn add(world: &World, id: &str, url: &str, settings: Value) {
    let mut body = json!({ "id": id, "name": id, "main_stream_url": url, "record_audio": true });
    let (Some(fields), Value::Object(more)) = (body.as_object_mut(), settings) else { unreachable!() };
    fields.extend(more);
    let answer = world.send(As::System, Method::POST, "/api/v1/cameras", Some(&body)).await;
    assert_eq!(answer.status, 201, "{body}: {}", answer.json());
}

/// Asks until the answer is what is waited for.
pub(crate) async fn until(
    world: &World,
    path: &str,
    patience: Duration,
    what: impl Fn(&Value) -> bool,
) -> Value {
    let deadline = Instant::now() + patience;
    loop {
        let answer = world.get(path).await.json();
        if what(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{path}: {answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until a camera has so many files that are complete.
pub(crate) async fn complete(world: &World, id: &str, files: usize, patience: Duration) {
    let path = format!("/api/v1/cameras/{id}/segments?limit=5000");
    let enough = |answer: &Value| {
        let segments = answer.as_array().map(Vec::as_slice).unwrap_or_default();
        segments.iter().filter(|segment| segment["open"] == json!(false)).count() >= files
    };
    until(world, &path, patience, enough).await;
}

/// Status of a camera.
pub(crate) async fn status(world: &World, id: &str) -> Value {
    world.get(&format!("/api/v1/cameras/{id}/health")).await.ok()
}

/// Switches a camera off and waits until its files are complete.
pub(crate) async fn finish(world: &World, id: &str) -> Vec<File> {
    let off = json!({ "enabled": false });
    let answer = world.send(As::System, Method::PATCH, &format!("/api/v1/cameras/{id}"), Some(&off)).await;
    answer.ok();
    let path = format!("/api/v1/cameras/{id}/segments?limit=5000");
    let closed = |answer: &Value| {
        answer
            .as_array()
            .is_some_and(|segments| segments.iter().all(|segment| segment["open"] == json!(false)))
    };
    until(world, &format!("/api/v1/cameras/{id}/health"), Duration::from_secs(20), |s| {
        s["session"] == "idle"
    })
    .await;
    let segments = until(world, &path, Duration::from_secs(20), closed).await;
    let recordings = world.folder().join("recordings");
    segments.as_array().unwrap().iter().map(|view| File::new(&recordings, view)).collect()
}

/// Rows of recorded gaps of a camera, oldest first.
pub(crate) async fn gaps(world: &World, id: &str) -> Vec<Value> {
    let mut gaps = world
        .get(&format!("/api/v1/cameras/{id}/recording-gaps?limit=5000"))
        .await
        .ok()
        .as_array()
        .unwrap()
        .clone();
    gaps.reverse();
    gaps
}

/// Types of the events of a camera, oldest first.
pub(crate) async fn events(world: &World, id: &str) -> Vec<Value> {
    let mut events = world
        .get(&format!("/api/v1/events?camera_id={id}&limit=2000"))
        .await
        .ok()
        .as_array()
        .unwrap()
        .clone();
    events.reverse();
    events
}

/// Pictures and packets that the library counts as lost on the way to a camera's recorder.
pub(crate) fn lost(world: &World, id: &str) -> u64 {
    use heldar_base::{CameraId, StreamId, StreamKind};
    let stream = StreamId::new(CameraId::new(id).unwrap(), StreamKind::Main);
    let handle = world.kernel.ingest.get(&stream).unwrap();
    handle.figures.lost.load(std::sync::atomic::Ordering::Relaxed)
}
