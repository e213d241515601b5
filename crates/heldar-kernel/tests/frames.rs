//! Frames for workers: numbered, timed and exact, under load of several tasks, and gone when their source is.
#![allow(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use axum::http::Method;
use heldar_base::{Capability, Clock as _, WallTime};
use heldar_testcam::scene::strip;
use heldar_testcam::{Options, Running, profile};
use serde_json::{Value, json};
use tokio::time::Instant;

use support::{Answer, As, World};

/// Pictures per second of the clips used here.
const RATE: i64 = 25;

struct Scene {
    world: World,
    cameras: Running,
    scratch: tempfile::TempDir,
}

impl Scene {
    async fn start(profiles: &[&str], env: &[(&str, &str)]) -> Scene {
        let options = Options {
            cameras: profiles.len() as u32,
            profiles: profiles.iter().filter_map(|name| profile::find(name)).collect(),
            media_dir: Path::new(env!("CARGO_TARGET_TMPDIR")).join("media"),
            ..Options::default()
        };
        let cameras = heldar_testcam::start(options).await.unwrap();
        let env = [&[("HELDAR_DECODER", heldar_testkit::decoder_program())], env].concat();
        let world = World::start_with(&env).await;
        for (number, name) in profiles.iter().enumerate() {
            let body = json!({ "id": name, "name": name, "main_stream_url": cameras.cameras()[number].url });
            let answer = world.send(As::System, Method::POST, "/api/v1/cameras", Some(&body)).await;
            assert_eq!(answer.status, 201, "{}", answer.json());
        }
        Scene { world, cameras, scratch: tempfile::tempdir().unwrap() }
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> Answer {
        self.world.send(As::System, method, path, Some(&body)).await
    }

    /// A task of a camera; its id.
    async fn task(&self, camera: &str, body: Value) -> String {
        let made = self.send(Method::POST, &format!("/api/v1/cameras/{camera}/ai-tasks"), body).await;
        assert_eq!(made.status, 201, "{}", made.json());
        made.json()["id"].as_str().unwrap().to_owned()
    }

    async fn get(&self, path: &str) -> Answer {
        self.world.get(path).await
    }

    /// The first frame of a view, waited for.
    async fn first(&self, path: &str) -> Answer {
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            let answer = self.get(&format!("{path}&wait_ms=2000")).await;
            if answer.status == 200 {
                return answer;
            }
            assert!(Instant::now() < deadline, "{path}: {} {}", answer.status, answer.json());
        }
    }

    async fn sampler(&self, camera: &str) -> Value {
        let list = self.get("/api/v1/ai/samplers").await.ok();
        list.as_array()
            .unwrap()
            .iter()
            .find(|unit| unit["camera_id"] == json!(camera))
            .cloned()
            .unwrap_or_default()
    }

    async fn sampler_is(&self, camera: &str, state: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            let unit = self.sampler(camera).await;
            if unit["state"] == json!(state) {
                return unit;
            }
            assert!(Instant::now() < deadline, "{camera} is not {state}: {unit}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn number(&self, jpeg: &[u8]) -> u16 {
        let path = self.scratch.path().join("frame.jpg");
        std::fs::write(&path, jpeg).unwrap();
        let size = Command::new("ffprobe")
            .args(["-v", "error", "-show_entries", "stream=width,height", "-of", "csv=p=0:s=x"])
            .arg(&path)
            .output()
            .unwrap();
        let size = String::from_utf8(size.stdout).unwrap();
        let (width, height) = size.trim().split_once('x').expect("a size");
        let (width, height): (usize, usize) = (width.parse().unwrap(), height.parse().unwrap());
        let raw = Command::new("ffmpeg")
            .args(["-v", "error", "-i"])
            .arg(&path)
            .args(["-f", "rawvideo", "-pix_fmt", "gray", "-"])
            .output()
            .unwrap();
        strip::read(strip::Luma { data: &raw.stdout, width, height, stride: width }).expect("a number")
    }
}

fn captured(frame: &Answer) -> WallTime {
    WallTime::parse(frame.header("x-frame-captured-at").expect("a time")).unwrap()
}

fn seq(frame: &Answer) -> u64 {
    frame.header("x-frame-seq").expect("a number").parse().unwrap()
}

/// Bytes, number, time and headers of frames belong together, whatever the order in which the camera sends pictures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_the_pictures_of_their_times() {
    let profiles = ["plain", "b_frames", "h265_b_frames"];
    let scene = Scene::start(&profiles, &[("HELDAR_AI_DECODE_CORES", "2")]).await;
    for id in ["..", "..%2Fgate", "a%5Cb"] {
        let odd = scene.get(&format!("/api/v1/cameras/{id}/frame?profile=sub")).await;
        assert_eq!(odd.error(), (400, "validation".to_owned()), "{id}");
    }
    let mut paths = BTreeMap::new();
    for name in profiles {
        let task = scene.task(name, json!({ "task_type": "detection", "fps": 5, "width": 480 })).await;
        let path = format!("/api/v1/cameras/{name}/frame?profile=sub&task={task}");
        assert!(matches!(scene.get(&path).await.status, 200 | 404), "{name}");
        paths.insert(name, path);
    }
    for (camera, name) in profiles.into_iter().enumerate() {
        let path = &paths[name];
        let clip = scene.cameras.cameras()[camera].clip_pictures as i64;
        let mut last = scene.first(path).await;
        let (began, base) = (captured(&last), i64::from(scene.number(&last.bytes)));
        assert_eq!((last.header("x-frame-width"), last.header("x-frame-height")), (Some("480"), Some("270")));
        for round in 0..8 {
            let next = scene.get(&format!("{path}&after={}&wait_ms=5000", seq(&last))).await;
            assert_eq!(next.status, 200, "{name}: {}", next.json());
            assert!(seq(&next) > seq(&last) && captured(&next) > captured(&last));
            // Five a second on a grid: a multiple of 200 ms, to a picture. The very first one was taken as it came.
            let apart = (captured(&next) - captured(&last)).0 as f64 / 200_000.0;
            let is_first = round == 0;
            assert!(is_first || (apart - apart.round()).abs() < 0.25, "{name}: {apart} periods");
            let passed = ((captured(&next) - began).0 * RATE + 500_000) / 1_000_000;
            assert_eq!(
                i64::from(scene.number(&next.bytes)),
                (base + passed) % clip,
                "{name} after {passed} pictures"
            );
            let age: i64 = next.header("x-frame-age-ms").unwrap().parse().unwrap();
            assert!((0..3000).contains(&age), "{age}");
            last = next;
        }
        // The same picture in less than was made of it, and no wider than it was made.
        for (width, expect) in [(320, "320"), (3000, "480")] {
            let other = scene.get(&format!("{path}&seq={}&width={width}", seq(&last))).await;
            let got = (other.header("x-frame-width"), other.header("x-frame-seq"));
            assert_eq!(got, (Some(expect), last.header("x-frame-seq")), "{}", other.json());
            assert_eq!(scene.number(&other.bytes), scene.number(&last.bytes));
            assert_eq!(other.header("etag") == last.header("etag"), expect == "480");
        }
        // The recording agrees about the instant.
        let at = captured(&last) + heldar_base::Micros(6_000);
        let deadline = Instant::now() + Duration::from_secs(20);
        let still = loop {
            let still = scene.get(&format!("/api/v1/cameras/{name}/snapshot?at={at}")).await;
            if still.status == 200 || Instant::now() > deadline {
                break still;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        assert_eq!(still.status, 200, "{name}: {}", still.json());
        assert_eq!(
            scene.number(&still.bytes),
            scene.number(&last.bytes),
            "{name}: picture and frame of one instant"
        );
    }
    scene.world.kernel.stop().await;
}

/// Share of two boxes that is in both.
fn overlap(a: [f64; 4], b: [f64; 4]) -> f64 {
    let side = |at: usize| ((a[at] + a[at + 2]).min(b[at + 2] + b[at]) - a[at].max(b[at])).max(0.0);
    let both = side(0) * side(1);
    both / (a[2] * a[3] + b[2] * b[3] - both)
}

/// What a worker finds in a frame is in the recorded picture of the time that its results carry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boxes_belong_to_their_pictures() {
    let profiles = ["plain", "b_frames", "h265_cra", "h265_b_frames"];
    let scene = Scene::start(&profiles, &[("HELDAR_AI_DECODE_CORES", "2")]).await;
    for (camera, name) in profiles.into_iter().enumerate() {
        let truth = heldar_testcam::scene::Scene {
            seed: heldar_testcam::SEED,
            pictures: u32::try_from(scene.cameras.cameras()[camera].clip_pictures).unwrap(),
            rate: RATE as u32,
        };
        let task = scene.task(name, json!({ "task_type": "detection", "fps": 5, "width": 480 })).await;
        let wish = json!({ "worker_id": "w", "task_types": ["detection"] });
        let lease = scene.send(Method::POST, "/api/v1/ai/leases", wish).await;
        let lease = lease.ok();
        assert!(lease["tasks"].as_array().unwrap().iter().any(|held| held["id"] == json!(task)), "{lease}");
        let path = format!("/api/v1/cameras/{name}/frame?profile=sub&task={task}");
        let mut frame = scene.first(&path).await;
        for _ in 0..5 {
            let number = scene.number(&frame.bytes);
            let boxes: Vec<Value> = truth
                .objects(number.into())
                .iter()
                .map(|object| json!({ "track_id": object.id.to_string(), "bbox": object.bounds }))
                .collect();
            assert!(!boxes.is_empty(), "nothing is in picture {number}");
            let ticket = frame.header("x-frame-ticket").expect("a ticket");
            let body = json!({ "camera_id": name, "task_type": "detection", "frame_ticket": ticket, "detections": boxes });
            let taken = scene.send(Method::POST, "/api/v1/ai/events", body).await;
            assert_eq!(taken.status, 200, "{}", taken.json());
            frame = scene.get(&format!("{path}&after={}&wait_ms=5000", seq(&frame))).await;
            assert_eq!(frame.status, 200, "{name}: {}", frame.json());
        }
        let found = scene.get(&format!("/api/v1/cameras/{name}/detections?task_type=detection")).await.ok();
        let found = found.as_array().unwrap();
        let mut times: Vec<&str> = found.iter().filter_map(|one| one["timestamp"].as_str()).collect();
        times.dedup();
        assert_eq!(times.len(), 5, "{name}");
        for time in times {
            let picture = scene.get(&format!("/api/v1/cameras/{name}/picture?at={time}&wait_ms=5000")).await;
            assert_eq!(picture.status, 200, "{name}: {}", picture.json());
            let objects = truth.objects(scene.number(&picture.bytes).into());
            for one in found.iter().filter(|one| one["timestamp"] == time) {
                let bounds: [f64; 4] = serde_json::from_value(one["bbox"].clone()).unwrap();
                let shown = objects.iter().find(|object| one["track_id"] == json!(object.id.to_string()));
                let shown = shown.unwrap_or_else(|| panic!("{name} {time}: {one} is not in the picture"));
                let share = overlap(bounds, shown.bounds);
                assert!(share > 0.999, "{name} {time}: {share} of {one}");
            }
        }
    }
    scene.world.kernel.stop().await;
}

/// A JPEG's pixels.
struct Rgb {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

impl Rgb {
    fn at(&self, x: f64, y: f64) -> [u8; 3] {
        let (x, y) = ((x * self.width as f64) as usize, (y * self.height as f64) as usize);
        let start = (y * self.width + x) * 3;
        [self.bytes[start], self.bytes[start + 1], self.bytes[start + 2]]
    }
}

fn rgb(jpeg: &[u8]) -> Rgb {
    let mut decoder = zune_jpeg::JpegDecoder::new(std::io::Cursor::new(jpeg));
    let bytes = decoder.decode().unwrap();
    let (width, height) = decoder.dimensions().unwrap();
    Rgb { width, height, bytes }
}

/// The picture of a zone event is the frame that was analysed, or the one of its instant in the recording.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zone_events_show_the_frame_that_was_analysed() {
    let scene = Scene::start(&["b_frames"], &[]).await;
    let task = scene.task("b_frames", json!({ "task_type": "detection", "fps": 5, "width": 480 })).await;
    let zone = json!({
        "name": "all", "polygon": [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], "config": { "confirm_frames": 1 },
    });
    scene.send(Method::POST, "/api/v1/cameras/b_frames/zones", zone).await.ok();
    let wish = json!({ "worker_id": "w", "task_types": ["detection"] });
    scene.send(Method::POST, "/api/v1/ai/leases", wish).await.ok();
    let path = format!("/api/v1/cameras/b_frames/frame?profile=sub&task={task}");
    let mut frame = scene.first(&path).await;
    let mut numbers = BTreeMap::new();
    let seen = |track: &str| json!([{ "label": "person", "track_id": track, "bbox": [0.4, 0.4, 0.1, 0.2] }]);
    for track in ["0", "1", "2"] {
        let ticket = frame.header("x-frame-ticket").expect("a ticket");
        let body = json!({
            "camera_id": "b_frames", "task_type": "detection", "frame_ticket": ticket, "detections": seen(track),
        });
        scene.send(Method::POST, "/api/v1/ai/events", body).await.ok();
        numbers.insert(track.to_owned(), scene.number(&frame.bytes));
        frame = scene.get(&format!("{path}&after={}&wait_ms=5000", seq(&frame))).await;
    }
    // Nobody named a task or a frame: the recording has it, once that is written.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let at = scene.world.kernel.clock.wall() - heldar_base::Micros::from_millis(1300);
    let still = scene.get(&format!("/api/v1/cameras/b_frames/picture?at={at}")).await;
    numbers.insert("late".to_owned(), scene.number(&still.bytes));
    let body = json!({
        "camera_id": "b_frames", "task_type": "other", "timestamp": at.to_string(), "detections": seen("late"),
    });
    scene.send(Method::POST, "/api/v1/ai/events", body).await.ok();
    let deadline = Instant::now() + Duration::from_secs(20);
    let events = loop {
        let list = scene.get("/api/v1/cameras/b_frames/zone-events?event_type=enter").await.ok();
        let list = list.as_array().unwrap().clone();
        if list.len() == numbers.len() && list.iter().all(|event| event["evidence_path"].is_string()) {
            break list;
        }
        assert!(Instant::now() < deadline, "{list:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    for event in events {
        // The file follows the event.
        let path = event["evidence_path"].as_str().unwrap();
        let mut file = scene.get(path).await;
        while file.status == 404 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
            file = scene.get(path).await;
        }
        assert_eq!(file.status, 200, "{event}");
        let track = event["track_id"].as_str().unwrap();
        assert_eq!(scene.number(&file.bytes), numbers[track], "{event}");
        let same =
            scene.get(&format!("/api/v1/zone-events/{}/evidence", event["id"].as_str().unwrap())).await;
        assert!(same.status == 200 && same.bytes == file.bytes);
        // Drawn over on request: its box in its colour, the picture around it as it was.
        let clean = rgb(&file.bytes);
        let drawn = async |more: &str| {
            let path = format!("/api/v1/zone-events/{}/evidence?{more}", event["id"].as_str().unwrap());
            let shown = scene.get(&path).await;
            assert_eq!((shown.status, shown.header("content-type")), (200, Some("image/jpeg")), "{path}");
            rgb(&shown.bytes)
        };
        let (boxed, narrow) = (drawn("box=1").await, drawn("box=1&width=240").await);
        for picture in [&boxed, &narrow] {
            let [red, green, blue] = picture.at(0.4, 0.5);
            assert!(red > 180 && green < 150 && blue < 130, "{red} {green} {blue}");
        }
        assert_eq!((boxed.width, narrow.width), (clean.width, 240));
        let off = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).map(|(a, b)| a.abs_diff(b)).max().unwrap();
        assert!(off(clean.at(0.4, 0.5), boxed.at(0.4, 0.5)) > 40);
        assert!(off(clean.at(0.45, 0.45), boxed.at(0.45, 0.45)) < 40);
        assert_eq!(drawn("width=90000&box=0").await.width, clean.width);
        // What the feed was told at once is true, and stays so.
        let fed = scene.get("/api/v1/events?event_type=zone_enter").await.ok();
        let told = fed.as_array().unwrap().iter().find(|fed| fed["id"] == event["event_id"]).unwrap();
        let expect = if track == "late" { Value::Null } else { json!(path) };
        assert_eq!(told["payload"]["evidence"], expect);
    }
    scene.world.kernel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_wait_skip_and_know_what_the_client_has() {
    let scene = Scene::start(&["plain"], &[("HELDAR_FRAMES_MIRROR", "true")]).await;
    let none = scene.get("/api/v1/cameras/plain/frame").await;
    assert_eq!((none.status, none.header("x-frame-reason")), (404, Some("no_task")));
    assert_eq!(none.json()["error"], json!("no sampled frame yet (is an AI task enabled for this camera?)"));
    assert_eq!(
        scene.get("/api/v1/cameras/plain/frame?profile=third").await.error(),
        (400, "validation".to_owned())
    );
    let fast = scene.task("plain", json!({ "task_type": "detection", "fps": 10, "width": 320 })).await;
    let slow = scene.task("plain", json!({ "task_type": "motion", "fps": 2, "width": 160 })).await;
    let path = format!("/api/v1/cameras/plain/frame?task={fast}");
    let first = scene.first(&path).await;
    assert_eq!(first.header("x-frame-ticket"), None, "nobody has leased the task");
    // Exactly this one, with its tag, and not again.
    let exact = scene.get(&format!("{path}&seq={}", seq(&first))).await;
    assert!(exact.bytes == first.bytes && exact.header("etag") == first.header("etag"));
    // Nothing newer than the newest within no time.
    let newest = scene.get(&path).await;
    let nothing = scene.get(&format!("{path}&after={}", seq(&newest))).await;
    assert!(nothing.status == 204 || seq(&nothing) > seq(&newest));
    // A worker that was away gets the newest, and is told what it missed; or the next, if it wants all.
    tokio::time::sleep(Duration::from_millis(900)).await;
    let jumped = scene.get(&format!("{path}&after={}", seq(&newest))).await;
    let skipped: u64 = jumped.header("x-frame-skipped").unwrap().parse().unwrap();
    assert!(skipped >= 3, "{skipped}");
    let next = scene.get(&format!("{path}&after={}&pick=next", seq(&newest))).await;
    assert!(seq(&next) < seq(&jumped));
    // The slow task sees its own pictures alone, each one of the fast task's too.
    let narrow = scene.first(&format!("/api/v1/cameras/plain/frame?task={slow}")).await;
    assert_eq!(narrow.header("x-frame-width"), Some("160"));
    let shared = scene.get(&format!("{path}&seq={}", seq(&narrow))).await;
    assert_eq!((shared.status, shared.header("x-frame-width")), (200, Some("320")));
    assert_eq!(shared.header("x-frame-captured-at"), narrow.header("x-frame-captured-at"));
    assert_eq!(scene.get(&format!("{path}&seq=7")).await.json()["reason"], json!("evicted"));
    let unit = scene.sampler_is("plain", "sampling").await;
    assert_eq!(
        (&unit["fps"], &unit["width"], &unit["stream_profile"]),
        (&json!(10.0), &json!(320), &json!("sub"))
    );
    assert_eq!(unit["tasks"].as_array().unwrap().len(), 2, "{unit}");
    // The newest one is there as a file.
    let file = scene.world.folder().join("frames/plain/latest_sub.jpg");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !file.exists() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        usize::from(scene.number(&std::fs::read(&file).unwrap())) < scene.cameras.cameras()[0].clip_pictures
    );
    // Rights.
    let may = [Capability::AiFrames];
    assert_eq!(scene.world.get_as(As::Limited(&may, &["plain"]), &path).await.status, 200);
    assert_eq!(scene.world.get_as(As::Limited(&may, &["other"]), &path).await.status, 403);
    assert_eq!(scene.world.get_as(As::With(&[Capability::VideoLive]), &path).await.status, 403);
    scene.world.kernel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_asks_nothing_is_decoded_and_edits_touch_their_own_unit() {
    let scene = Scene::start(&["plain", "h265"], &[("HELDAR_AI_IDLE_SECS", "3")]).await;
    let mut paths = Vec::new();
    for name in ["plain", "h265"] {
        let task = scene.task(name, json!({ "task_type": "detection", "fps": 5, "width": 320 })).await;
        paths.push((task.clone(), format!("/api/v1/cameras/{name}/frame?task={task}")));
    }
    let before = scene.first(&paths[0].1).await;
    let other = scene.first(&paths[1].1).await;
    // An edit of one leaves the numbers of the other going on one by one.
    let patch = json!({ "width": 640, "fps": 2 });
    let changed = scene.send(Method::PATCH, &format!("/api/v1/ai-tasks/{}", paths[1].0), patch).await;
    assert_eq!((changed.status, &changed.json()["width"]), (200, &json!(640)));
    let mut last = before;
    for _ in 0..6 {
        let next = scene.get(&format!("{}&after={}&pick=next&wait_ms=4000", paths[0].1, seq(&last))).await;
        assert_eq!(next.status, 200, "{}", next.json());
        assert_eq!((seq(&next), next.header("x-frame-skipped")), (seq(&last) + 1, Some("0")));
        last = next;
    }
    let wide = scene.get(&format!("{}&after={}&wait_ms=8000", paths[1].1, seq(&other))).await;
    assert_eq!(wide.status, 200, "{}", wide.json());
    // Nobody asks any more.
    let idle = scene.sampler_is("plain", "stopped").await;
    assert_eq!((&idle["reason"], &idle["decode"]), (&json!("idle"), &json!("none")));
    // The next one who asks is served from what the bus holds.
    let asked = scene.world.kernel.clock.wall();
    let again = scene.first(&format!("{}&after={}", paths[0].1, seq(&last))).await;
    assert!(seq(&again) > seq(&last));
    assert!(scene.world.kernel.clock.wall() - asked < heldar_base::Micros::from_secs(20));
    // A deleted task has no unit.
    let gone =
        scene.world.send(As::System, Method::DELETE, &format!("/api/v1/ai-tasks/{}", paths[0].0), None).await;
    assert_eq!(gone.status, 204);
    assert_eq!(scene.get(&paths[0].1).await.header("x-frame-reason"), Some("no_task"));
    scene.world.kernel.stop().await;
}
