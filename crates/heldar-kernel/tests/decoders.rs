//! Decoding on bad days: streams that cannot be decoded, decoders that die, more cameras than the machine can decode.
#![allow(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod support;

use std::path::Path;
use std::time::Duration;

use axum::http::Method;
use heldar_base::{Clock as _, Micros, WallTime};
use heldar_testcam::fault::FaultSpec;
use heldar_testcam::{Options, Running, profile};
use serde_json::{Value, json};
use tokio::time::Instant;

use support::{Answer, As, World};

struct Scene {
    world: World,
    cameras: Running,
}

impl Scene {
    /// A camera for each name, the first with the highest priority.
    async fn start(names: &[&str], profiles: &[&str], env: &[(&str, &str)]) -> Scene {
        let options = Options {
            cameras: names.len() as u32,
            profiles: profiles.iter().filter_map(|name| profile::find(name)).collect(),
            media_dir: Path::new(env!("CARGO_TARGET_TMPDIR")).join("media"),
            ..Options::default()
        };
        let cameras = heldar_testcam::start(options).await.unwrap();
        let env = [&[("HELDAR_DECODER", heldar_testkit::decoder_program())], env].concat();
        let scene = Scene { world: World::start_with(&env).await, cameras };
        for (number, name) in names.iter().enumerate() {
            let url = &scene.cameras.cameras()[number].url;
            let priority = 1000 - 100 * number;
            let body = json!({ "id": name, "name": name, "main_stream_url": url, "priority": priority });
            scene.send(Method::POST, "/api/v1/cameras", body).await.ok();
        }
        scene
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> Answer {
        self.world.send(As::System, method, path, Some(&body)).await
    }

    /// A task that is decoded for although nobody pulls; its id.
    async fn task(&self, camera: &str, width: u32) -> String {
        let body = json!({ "task_type": "detection", "fps": 5, "width": width, "warm": true });
        let made = self.send(Method::POST, &format!("/api/v1/cameras/{camera}/ai-tasks"), body).await;
        made.ok()["id"].as_str().unwrap().to_owned()
    }

    /// The samplers by camera, once they are as they should be.
    async fn samplers(&self, is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let list = self.world.get("/api/v1/ai/samplers").await.ok();
            let list = list.as_array().unwrap();
            if is_so(list) {
                return list.clone();
            }
            assert!(Instant::now() < deadline, "{list:?}");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Pulls a number of frames one after the other; when the last one was captured.
    async fn pull(&self, camera: &str, task: &str, count: usize) -> WallTime {
        let mut after = 0u64;
        let mut captured = WallTime(0);
        let deadline = Instant::now() + Duration::from_secs(90);
        for _ in 0..count {
            loop {
                let path = format!("/api/v1/cameras/{camera}/frame?task={task}&after={after}&wait_ms=2000");
                let frame = self.world.get(&path).await;
                if frame.status == 200 {
                    let at = WallTime::parse(frame.header("x-frame-captured-at").unwrap()).unwrap();
                    assert!(at > captured, "{at}");
                    (after, captured) = (frame.header("x-frame-seq").unwrap().parse().unwrap(), at);
                    break;
                }
                assert!(Instant::now() < deadline, "{camera}: {} {}", frame.status, frame.json());
            }
        }
        captured
    }

    /// Seconds that are missing of a camera between two instants.
    async fn missing(&self, camera: &str, from: WallTime, to: WallTime) -> Value {
        let path = format!("/api/v1/cameras/{camera}/coverage?from={from}&to={to}");
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let coverage = self.world.get(&path).await.ok();
            // What has just been received takes a moment to be indexed.
            if coverage["missing_seconds"] == json!(0.0) || Instant::now() > deadline {
                return coverage["missing"].clone();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Processes that decode for this test.
fn decoders() -> Vec<u32> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((name, rest)) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(") ")) else {
            continue;
        };
        let parent = rest.split(' ').nth(1).and_then(|parent| parent.parse::<u32>().ok());
        if name.starts_with("heldar-decoder") && parent == Some(own) {
            found.push(id);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_pictures_and_killed_decoders_cost_frames_and_nothing_else() {
    let scene = Scene::start(&["gate", "yard"], &["plain", "h265"], &[("HELDAR_AI_DECODE_CORES", "2")]).await;
    let (gate, yard) = (scene.task("gate", 320).await, scene.task("yard", 320).await);
    let both = [scene.pull("gate", &gate, 3).await, scene.pull("yard", &yard, 3).await];
    let from = both.into_iter().max().unwrap();
    // Most of what the gate sends from now on is rubbish inside.
    scene.cameras.add_fault(0, FaultSpec::parse("corrupt:400").unwrap());
    let mut seen = scene.pull("yard", &yard, 10).await;
    // Decoders die; others take their place.
    let victims = decoders();
    assert!(!victims.is_empty());
    for victim in &victims {
        let killed = std::process::Command::new("kill").args(["-9", &victim.to_string()]).status().unwrap();
        assert!(killed.success());
    }
    let before = scene.world.kernel.clock.wall();
    while seen < before + Micros::from_secs(1) {
        seen = scene.pull("yard", &yard, 2).await;
    }
    assert!(decoders().iter().any(|id| !victims.contains(id)));
    scene.cameras.clear_faults(0);
    let cleared = scene.world.kernel.clock.wall();
    let mut seen = WallTime(0);
    while seen < cleared {
        seen = scene.pull("gate", &gate, 2).await;
    }
    // Of none of it anything is missing in the recordings.
    let to = cleared.min(before) - Micros::from_secs(1);
    for camera in ["gate", "yard"] {
        assert_eq!(scene.missing(camera, from, to).await, json!({}), "{camera}");
    }
    scene.world.kernel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_machine_cannot_decode_is_left_from_the_bottom_up() {
    let names = ["first", "second", "third"];
    let scene =
        Scene::start(&names, &["plain", "plain", "plain"], &[("HELDAR_AI_DECODE_CORES", "0.06")]).await;
    for name in names {
        scene.task(name, 640).await;
    }
    let by_name = |list: &[Value], name: &str| {
        list.iter().find(|unit| unit["camera_id"] == name).cloned().unwrap_or_default()
    };
    let rate = |unit: &Value| unit["fps"].as_f64().unwrap_or(0.0);
    let rank = |unit: &Value| match unit["decode"].as_str() {
        Some("all") => 2,
        Some("sync_only") => 1,
        _ => 0,
    };
    // Once costs are measured there is not enough for all.
    let list = scene
        .samplers(|list| {
            let units: Vec<Value> = names.iter().map(|name| by_name(list, name)).collect();
            let known = units.iter().any(|unit| unit["decode_cores"].as_f64().unwrap_or(0.0) > 0.0);
            known && units.iter().any(|unit| rank(unit) < 2 || rate(unit) < 4.9)
        })
        .await;
    let units: Vec<Value> = names.iter().map(|name| by_name(&list, name)).collect();
    for (better, worse) in units.iter().zip(&units[1..]) {
        assert!((rank(better), rate(better)) >= (rank(worse), rate(worse)), "{better} before {worse}");
    }
    let last = (rank(&units[2]), rate(&units[2]));
    // The first two go: there is room again, and the last one has it.
    for name in ["first", "second"] {
        scene.send(Method::PATCH, &format!("/api/v1/cameras/{name}"), json!({ "enabled": false })).await.ok();
    }
    scene
        .samplers(|list| {
            let unit = by_name(list, "third");
            list.len() == 1 && (rank(&unit), rate(&unit)) > last && unit["state"] == "sampling"
        })
        .await;
    scene.world.kernel.stop().await;
}
