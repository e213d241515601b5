//! Single pictures: each is the one that was on screen at the instant asked for, as ffmpeg shows it and as the number says
//! that the test cameras burn into every picture.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "stills/snapshots.rs"]
mod snapshots;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use axum::http::Method;
use heldar_base::{Capability, Micros, WallTime};
use heldar_testcam::scene::strip;
use heldar_testcam::{Options, Running, profile};
use serde_json::{Value, json};
use support::{Answer, As, World};
use tokio::time::Instant;

/// Pictures per second of the clips used here.
const RATE: i64 = 25;

struct Scene {
    world: World,
    cameras: Running,
    scratch: tempfile::TempDir,
}

impl Scene {
    async fn start(profiles: &[&str]) -> Scene {
        let options = Options {
            cameras: profiles.len() as u32,
            profiles: profiles.iter().filter_map(|name| profile::find(name)).collect(),
            media_dir: Path::new(env!("CARGO_TARGET_TMPDIR")).join("media"),
            ..Options::default()
        };
        let cameras = heldar_testcam::start(options).await.unwrap();
        let world = World::start_with(&[("HELDAR_DECODER", heldar_testkit::decoder_program())]).await;
        Scene { world, cameras, scratch: tempfile::tempdir().unwrap() }
    }

    async fn add(&self, id: &str, camera: usize, settings: Value) {
        let mut body = json!({ "id": id, "name": id, "main_stream_url": self.cameras.cameras()[camera].url });
        body.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let answer = self.world.send(As::System, Method::POST, "/api/v1/cameras", Some(&body)).await;
        assert_eq!(answer.status, 201, "{}", answer.json());
    }

    /// First instant and end of a camera's footage, once there is so much in one piece.
    async fn footage(&self, id: &str, least: Micros) -> (WallTime, WallTime) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let segments = self.world.get(&format!("/api/v1/cameras/{id}/segments?limit=500")).await.ok();
            let time = |value: &Value| WallTime::parse(value.as_str().unwrap()).unwrap();
            let list = segments.as_array().unwrap();
            let start = list.iter().map(|segment| time(&segment["start_time"])).min();
            let end = list.iter().map(|segment| time(&segment["end_time"])).max();
            if let Some((start, end)) = start.zip(end).filter(|(start, end)| *end - *start >= least) {
                return (start, end);
            }
            assert!(Instant::now() < deadline, "{id}: {segments}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// At the edges of consecutive files there is always a picture on screen, and it is the newest.
    async fn always_shows(&self, id: &str) {
        let segments =
            self.world.get(&format!("/api/v1/cameras/{id}/segments?limit=500&order=asc")).await.ok();
        let time = |value: &Value| WallTime::parse(value.as_str().unwrap()).unwrap();
        let mut starts: Vec<WallTime> =
            segments.as_array().unwrap().iter().map(|segment| time(&segment["start_time"])).collect();
        starts.sort_unstable();
        assert!(starts.len() > 2, "{id}: {segments}");
        for start in &starts[1..] {
            for past in [-1, 0, 1, 9, 30, 3_000, 39_000, 79_000] {
                let at = *start + Micros(past);
                let answer = self.get(&format!("/api/v1/cameras/{id}/snapshot?at={at}&stream=main")).await;
                assert_eq!(answer.status, 200, "{id} {past} us after {start}: {}", answer.json());
                let captured = WallTime::parse(answer.header("x-heldar-captured-at").unwrap()).unwrap();
                let age = at - captured;
                let most = Micros(1_000_000 / RATE + 5_000);
                assert!(Micros::ZERO <= age && age < most, "{id} {past} us after {start}: {age:?} old");
            }
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.world.get(path).await
    }

    /// The number in a picture, read from what ffmpeg makes of a file's first picture.
    fn number(&self, bytes: &[u8], name: &str) -> u16 {
        let path = self.scratch.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        number(&path)
    }
}

fn number(path: &PathBuf) -> u16 {
    let size = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-select_streams",
            "v",
            "-show_entries",
            "stream=width,height",
            "-of",
            "csv=p=0:s=x",
        ])
        .arg(path)
        .output()
        .unwrap();
    let size = String::from_utf8(size.stdout).unwrap();
    let (width, height) =
        size.trim().trim_end_matches('x').split_once('x').unwrap_or_else(|| panic!("no size: {size}"));
    let (width, height): (usize, usize) = (width.parse().unwrap(), height.parse().unwrap());
    let raw = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args(["-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "gray", "-"])
        .output()
        .unwrap();
    let plane = strip::Luma { data: &raw.stdout, width, height, stride: width };
    strip::read(plane).unwrap_or_else(|| panic!("no number in {}", path.display()))
}

/// The picture of an instant is the first that `video.mp4` shows from that instant on, and its number follows from those of
/// the instants before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_picture_of_an_instant_is_the_one_on_screen() {
    let profiles = ["plain", "b_frames", "h265", "h265_cra", "h265_b_frames"];
    let scene = Scene::start(&profiles).await;
    for (number, name) in profiles.iter().enumerate() {
        // Several files, so that instants lie at their edges too.
        scene.add(name, number, json!({ "segment_seconds": 4 })).await;
    }
    for name in profiles {
        let (start, end) = scene.footage(name, Micros::from_secs(11)).await;
        let mut first = None;
        for step in 0..9 {
            let at = start + Micros(50_000 + step * 1_137_000);
            let until = at + Micros(1);
            let snapshot = scene.get(&format!("/api/v1/cameras/{name}/snapshot?at={at}&stream=main")).await;
            assert_eq!(snapshot.status, 200, "{name} {at}: {}", snapshot.json());
            let captured = WallTime::parse(snapshot.header("x-heldar-captured-at").unwrap()).unwrap();
            assert!(
                captured <= at && at - captured < Micros(1_000_000 / RATE + 2_000),
                "{name}: {captured} for {at}"
            );
            let shown = scene.number(&snapshot.bytes, "snapshot.jpg");
            let video = scene
                .get(&format!("/api/v1/cameras/{name}/video.mp4?from={at}&to={until}&stream=main"))
                .await;
            assert_eq!(video.status, 200);
            assert_eq!(shown, scene.number(&video.bytes, "video.mp4"), "{name} at {at}");
            let (began, base) = *first.get_or_insert((captured, shown));
            let passed = ((captured - began).0 * RATE + 500_000) / 1_000_000;
            let clip = scene.cameras.cameras()[profiles.iter().position(|p| *p == name).unwrap()]
                .clip_pictures as i64;
            assert_eq!(i64::from(shown), (i64::from(base) + passed) % clip, "{name} after {passed} pictures");
        }
        // The very first and the last instant belong to footage, one later does not.
        for at in [start, end] {
            let snapshot = scene.get(&format!("/api/v1/cameras/{name}/snapshot?at={at}")).await;
            assert_eq!(snapshot.status, 200, "{name} {at}: {}", snapshot.json());
        }
        scene.always_shows(name).await;
        let early = start - Micros(1);
        let snapshot = scene.get(&format!("/api/v1/cameras/{name}/snapshot?at={early}")).await;
        assert_eq!(snapshot.error(), (404, "no_footage".to_owned()));
    }
    scene.world.kernel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_pictures_are_the_newest_and_start_what_does_not_run() {
    let scene = Scene::start(&["plain", "b_frames"]).await;
    scene.add("recorded", 0, json!({})).await;
    // Its sub stream is recorded by nobody.
    let sub = scene.cameras.cameras()[1].url.clone();
    scene.add("idle", 0, json!({ "sub_stream_url": sub })).await;
    scene.footage("recorded", Micros::from_secs(3)).await;
    for name in ["recorded", "idle"] {
        let mut before = None;
        for _ in 0..3 {
            let asked = heldar_base::Clock::wall(&scene.world.kernel.clock);
            let answer = scene.get(&format!("/api/v1/cameras/{name}/snapshot?width=320")).await;
            assert_eq!(answer.status, 200, "{name}: {}", answer.json());
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            let captured = WallTime::parse(answer.header("x-heldar-captured-at").unwrap()).unwrap();
            let age = asked - captured;
            assert!(age < Micros::from_millis(600), "{name}: {age:?} old");
            let number = scene.number(&answer.bytes, "live.jpg");
            if let Some((then, earlier)) = before.replace((captured, i64::from(number))) {
                let passed = ((captured - then).0 * RATE + 500_000) / 1_000_000;
                let clip = scene.cameras.cameras()[0].clip_pictures as i64;
                assert_eq!(i64::from(number), (earlier + passed) % clip, "{name}");
            }
            tokio::time::sleep(Duration::from_millis(230)).await;
        }
    }
    let dead = json!({ "id": "dead", "name": "dead", "main_stream_url": "rtsp://127.0.0.1:9/none" });
    assert_eq!(scene.world.send(As::System, Method::POST, "/api/v1/cameras", Some(&dead)).await.status, 201);
    let answer = scene.get("/api/v1/cameras/dead/snapshot").await;
    assert!(matches!(answer.status, 502 | 504), "{} {}", answer.status, answer.json());
    let off = json!({ "enabled": false });
    scene.world.send(As::System, Method::PATCH, "/api/v1/cameras/dead", Some(&off)).await.ok();
    assert_eq!(scene.get("/api/v1/cameras/dead/snapshot").await.error(), (400, "camera_disabled".to_owned()));
    assert_eq!(scene.get("/api/v1/cameras/nobody/snapshot").await.status, 404);
    scene.world.kernel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exact_pictures_parts_of_them_and_why_there_are_none() {
    let scene = Scene::start(&["b_frames"]).await;
    scene.add("gate", 0, json!({ "segment_seconds": 4 })).await;
    let (start, _) = scene.footage("gate", Micros::from_secs(6)).await;
    let at = start + Micros(3_111_111);
    let path = format!("/api/v1/cameras/gate/picture?at={at}");
    let whole = scene.get(&path).await;
    assert_eq!(whole.status, 200, "{}", whole.json());
    assert_eq!(
        (whole.header("x-picture-width"), whole.header("x-picture-height")),
        (Some("640"), Some("360"))
    );
    assert_eq!(whole.header("x-picture-source"), Some("recording"));
    let offset: i64 = whole.header("x-picture-offset-ms").unwrap().parse().unwrap();
    assert!((0..40).contains(&offset), "{offset}");
    // Twice the same, and a part that holds the strip has the same number.
    let again = scene.get(&path).await;
    assert_eq!(again.header("etag"), whole.header("etag"));
    let number = scene.number(&whole.bytes, "whole.jpg");
    let top = scene.get(&format!("{path}&crop=0,0,1,0.5")).await;
    assert_eq!(top.header("x-picture-height"), Some("180"));
    assert_eq!(scene.number(&top.bytes, "top.jpg"), number);
    let padded = scene.get(&format!("{path}&crop=0.25,0.25,0.5,0.5&pad=0.25&width=200")).await;
    assert_eq!(padded.header("x-picture-width"), Some("200"));
    let shown = padded.header("x-picture-crop").unwrap();
    assert!(shown.starts_with("0.125000,0.12"), "{shown}");
    assert_eq!(
        scene.get(&format!("{path}&crop=0.5,0.5,0.6,0.1")).await.error(),
        (400, "validation".to_owned())
    );
    // What there is not, and why.
    let why = async |at: WallTime, more: &str| {
        let answer = scene.get(&format!("/api/v1/cameras/gate/picture?at={at}{more}")).await;
        (answer.status, answer.json()["reason"].as_str().map(str::to_owned))
    };
    let told = |status: u16, reason: &str| (status, Some(reason.to_owned()));
    assert_eq!(why(start - Micros::from_secs(60), "").await, told(404, "not_recorded"));
    // The first picture was not there yet, whether or not it was wanted by then.
    let (status, reason) = why(start - Micros(400_000), "&tolerance_ms=10").await;
    assert!(status == 404 && matches!(reason.as_deref(), Some("gap" | "not_recorded")), "{reason:?}");
    assert_eq!(why(start - Micros(400_000), "").await, (200, None));
    let now = || heldar_base::Clock::wall(&scene.world.kernel.clock);
    assert_eq!(why(now() + Micros::from_secs(30), "").await, told(404, "future"));
    // One that is still to come is waited for.
    let soon = now() + Micros::from_millis(700);
    assert_eq!(why(soon, "&wait_ms=8000").await, (200, None));
    scene.world.kernel.stop().await;
}

/// The picture of an instant that is in memory only is the very one that the recording shows later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_that_are_not_written_yet_are_those_that_will_be() {
    let profiles = ["plain", "b_frames", "h265_cra"];
    let scene = Scene::start(&profiles).await;
    for (number, name) in profiles.iter().enumerate() {
        scene.add(name, number, json!({ "segment_seconds": 4 })).await;
    }
    let mut shown = Vec::new();
    for name in profiles {
        scene.footage(name, Micros::from_secs(2)).await;
        let mut of_memory = 0;
        for _ in 0..12 {
            let at = heldar_base::Clock::wall(&scene.world.kernel.clock) - Micros::from_millis(300);
            let answer = scene.get(&format!("/api/v1/cameras/{name}/picture?at={at}&tolerance_ms=0")).await;
            assert_eq!(answer.status, 200, "{name}: {}", answer.json());
            let captured = WallTime::parse(answer.header("x-picture-at").unwrap()).unwrap();
            let age = at - captured;
            assert!(age >= Micros::ZERO && age < Micros::from_millis(60), "{name}: {age:?}");
            if answer.header("x-picture-source") == Some("live_gop") {
                of_memory += 1;
                assert_eq!(answer.header("x-picture-segment"), None);
            }
            shown.push((name, at, captured, scene.number(&answer.bytes, "now.jpg")));
            tokio::time::sleep(Duration::from_millis(137)).await;
        }
        assert!(of_memory > 3, "{name}: {of_memory} of memory");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    for (name, at, captured, number) in shown {
        let answer = scene.get(&format!("/api/v1/cameras/{name}/picture?at={at}&tolerance_ms=0")).await;
        assert_eq!((answer.status, answer.header("x-picture-source")), (200, Some("recording")), "{name}");
        let recorded = WallTime::parse(answer.header("x-picture-at").unwrap()).unwrap();
        assert!((recorded - captured).abs() < Micros(20), "{name}: {recorded} for {captured}");
        assert_eq!(scene.number(&answer.bytes, "then.jpg"), number, "{name} at {at}");
        // Where it is in its file: that is exact to the tick.
        let pts: i64 = answer.header("x-picture-pts").unwrap().parse().unwrap();
        let segment = answer.header("x-picture-segment").unwrap().to_owned();
        let list = scene.get(&format!("/api/v1/cameras/{name}/segments?limit=500")).await.ok();
        let of = list.as_array().unwrap().iter().find(|one| one["id"] == segment.as_str());
        let start = WallTime::parse(of.unwrap()["start_time"].as_str().unwrap()).unwrap();
        assert!(
            (start + Micros(pts) - recorded).abs() < Micros(20),
            "{name}: {pts} in {start} for {recorded}"
        );
    }
    scene.world.kernel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thumbnails_are_sync_samples_in_their_places() {
    let scene = Scene::start(&["h265"]).await;
    scene.add("gate", 0, json!({ "segment_seconds": 4 })).await;
    let (start, end) = scene.footage("gate", Micros::from_secs(9)).await;
    // The first part lies before all footage.
    let (from, to) = (start - Micros::from_secs(4), end);
    let list = scene
        .get(&format!("/api/v1/cameras/gate/thumbnails?from={from}&to={to}&count=4&width=320"))
        .await
        .ok();
    assert_eq!(
        (&list["columns"], &list["rows"], &list["tile_height"]),
        (&json!(4), &json!(1), &json!(180)),
        "{list}"
    );
    let tiles = list["tiles"].as_array().unwrap();
    assert_eq!(tiles[0]["missing"], json!(true));
    assert!(tiles[0].get("x").is_none());
    let sprite = scene.get(list["sprite_url"].as_str().unwrap()).await;
    assert_eq!(sprite.status, 200, "{}", sprite.json());
    let path = scene.scratch.path().join("sprite.jpg");
    std::fs::write(&path, &sprite.bytes).unwrap();
    for (place, tile) in tiles.iter().enumerate().skip(1) {
        let captured = tile["captured_at"].as_str().unwrap();
        let at = WallTime::parse(captured).unwrap();
        let span = (to - from).0;
        let part = (from + Micros(span * place as i64 / 4), from + Micros(span * (place as i64 + 1) / 4));
        assert!(part.0 <= at && at < part.1, "{at} in part {place}");
        let cell = scene.scratch.path().join(format!("tile{place}.png"));
        let crop = format!("crop=320:180:{}:{}", tile["x"], tile["y"]);
        let cut = Command::new("ffmpeg")
            .args(["-v", "error", "-i"])
            .arg(&path)
            .args(["-vf", &crop])
            .arg(&cell)
            .status();
        assert!(cut.unwrap().success());
        let exact = scene.get(&format!("/api/v1/cameras/gate/snapshot?at={captured}")).await;
        assert_eq!(exact.header("x-heldar-captured-at"), Some(captured));
        assert_eq!(number(&cell), scene.number(&exact.bytes, "exact.jpg"), "tile {place}");
    }
    // The same tiles are the same picture, whatever has been recorded since.
    let again = scene.get(list["sprite_url"].as_str().unwrap()).await;
    assert_eq!(again.header("etag"), sprite.header("etag"));
    assert!(again.bytes == sprite.bytes);
    let nothing =
        format!("/api/v1/cameras/gate/thumbnails.jpg?from={}&to={from}", from - Micros::from_secs(60));
    assert_eq!(scene.get(&nothing).await.error(), (404, "no_footage".to_owned()));
    let year = from + Micros::from_hours(367 * 24);
    let long = scene.get(&format!("/api/v1/cameras/gate/thumbnails?from={from}&to={year}")).await;
    assert_eq!(long.error(), (400, "window_too_long".to_owned()));
    scene.world.kernel.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_are_for_those_who_may_see_the_footage() {
    let scene = Scene::start(&["plain"]).await;
    scene.add("gate", 0, json!({})).await;
    let (start, _) = scene.footage("gate", Micros::from_secs(2)).await;
    let paths = [
        format!("/api/v1/cameras/gate/snapshot?at={start}"),
        "/api/v1/cameras/gate/snapshot".to_owned(),
        format!("/api/v1/cameras/gate/picture?at={start}"),
        format!("/api/v1/cameras/gate/thumbnails?from={start}&to={}", start + Micros::from_secs(1)),
        format!("/api/v1/cameras/gate/thumbnails.jpg?from={start}&to={}", start + Micros::from_secs(1)),
    ];
    for path in &paths {
        let may = [Capability::VideoPlayback];
        assert_eq!(scene.world.get_as(As::Limited(&may, &["gate"]), path).await.status, 200, "{path}");
        assert_eq!(scene.world.get_as(As::Limited(&may, &["other"]), path).await.status, 403, "{path}");
        assert_eq!(scene.world.get_as(As::With(&[Capability::VideoLive]), path).await.status, 403, "{path}");
    }
    // What workers may ask for reaches so far back, not farther.
    let worker = [Capability::AiFrames];
    let near = heldar_base::Clock::wall(&scene.world.kernel.clock) - Micros::from_secs(500);
    let far = near - Micros::from_secs(200);
    let path = |at: WallTime| format!("/api/v1/cameras/gate/picture?at={at}&tolerance_ms=0");
    let as_worker = async |at: WallTime| scene.world.get_as(As::Limited(&worker, &["gate"]), &path(at)).await;
    assert_eq!(as_worker(start).await.status, 200);
    assert_eq!(as_worker(near).await.status, 404);
    let refused = as_worker(far).await;
    assert_eq!(refused.error(), (403, "forbidden".to_owned()));
    assert_eq!(refused.json()["reason"], "missing_capability");
    let other = scene.world.get_as(As::Limited(&worker, &["other"]), &path(start)).await;
    assert_eq!(other.json()["reason"], "out_of_scope");
    let all = [Capability::VideoPlayback, Capability::AiFrames];
    assert_eq!(scene.world.get_as(As::Limited(&all, &["gate"]), &path(far)).await.status, 404);
    let rows = scene.world.get("/api/v1/audit?action=view_snapshot").await;
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut listed = rows.json().as_array().map_or(0, Vec::len);
    while listed == 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
        listed =
            scene.world.get("/api/v1/audit?action=view_snapshot").await.ok().as_array().map_or(0, Vec::len);
    }
    assert!(listed > 0, "reads leave rows");
    scene.world.kernel.stop().await;
}
