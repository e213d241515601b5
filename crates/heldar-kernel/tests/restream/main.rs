//! RTSP out: players that we did not write read a camera's one session, over TCP and UDP, while it is lost and found.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod client;
mod lasting;
mod players;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use axum::http::Method;
use heldar_base::{CameraId, StreamId, StreamKind};
use heldar_testcam::fault::FaultSpec;
use heldar_testcam::{Options, Running, profile};
use serde_json::{Value, json};
use support::{As, World};

/// Pictures of a clip, 4 s of them.
const PICTURES: usize = 100;
const H264: &[&str] =
    &["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "25", "-pix_fmt", "yuv420p"];
const H265: &[&str] = &[
    "-c:v",
    "libx265",
    "-preset",
    "ultrafast",
    "-x265-params",
    "bframes=0:keyint=25:log-level=none",
    "-pix_fmt",
    "yuv420p",
];

/// A kernel that records nothing, its restream, and one camera `gate` that serves one client at a time.
struct Scene {
    world: World,
    camera: Running,
    port: u16,
    clip: PathBuf,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn start(coding: &[&str], sound: &[&str], profile: &str, faults: &[&str]) -> Scene {
        Scene::start_with(&[], coding, sound, profile, faults).await
    }

    /// With variables of the environment.
    async fn start_with(
        env: &[(&str, &str)],
        coding: &[&str],
        sound: &[&str],
        profile: &str,
        faults: &[&str],
    ) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let clip = folder.path().join("clip.mp4");
        let status = Command::new("ffmpeg")
            .args(["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"])
            .args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", "4"])
            .args(coding)
            .args(sound)
            .arg(&clip)
            .status()
            .expect("ffmpeg is installed");
        assert!(status.success());
        let options = Options {
            video: Some(clip.clone()),
            profiles: profile::find(profile).into_iter().collect(),
            faults: faults.iter().map(|text| (None, FaultSpec::parse(text).unwrap())).collect(),
            media_dir: folder.path().join("media"),
            ..Options::default()
        };
        let camera = heldar_testcam::start(options).await.unwrap();
        let env = [&[("HELDAR_RECORDER_ENABLED", "false")], env].concat();
        let world = World::start_with(&env).await;
        let body = json!({ "name": "gate", "main_stream_url": camera.cameras()[0].url });
        let answer = world.send(As::System, Method::POST, "/api/v1/cameras", Some(&body)).await;
        assert_eq!(answer.status, 201, "{}", answer.json());
        let port = world.kernel.restream_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        Scene { world, camera, port, clip, folder }
    }

    fn url(&self, name: &str) -> String {
        format!("rtsp://127.0.0.1:{}/{name}", self.port)
    }

    /// Sessions that the API lists, once there are so many.
    async fn sessions(&self, count: usize) -> Vec<Value> {
        self.sessions_that(|list| list.len() == count).await
    }

    async fn sessions_that(&self, what: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            let list = self.world.get("/api/v1/live/sessions").await.ok().as_array().unwrap().clone();
            if what(&list) {
                return list;
            }
            assert!(Instant::now() < deadline, "{list:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// How many follow the camera's pictures in this process.
    fn followers(&self) -> usize {
        let stream = StreamId::new(CameraId::new("gate").unwrap(), StreamKind::Main);
        let handle = self.world.kernel.ingest.get(&stream).unwrap();
        *handle.feed.bus().ring().followers().borrow()
    }

    /// Numbers of the clip's pictures by the hash of what they show.
    fn numbers(&self) -> HashMap<String, usize> {
        let frames = frames(&decoded(Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(&self.clip)));
        let numbers: HashMap<_, _> =
            frames.into_iter().enumerate().map(|(at, frame)| (frame.1, at)).collect();
        assert_eq!(numbers.len(), PICTURES, "no two pictures look alike");
        numbers
    }
}

/// Lets ffmpeg decode what it is given; every line of its list of hashes.
fn decoded(command: &mut Command) -> String {
    let out =
        command.args(["-map", "0", "-fps_mode", "passthrough", "-f", "framemd5", "-"]).output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Time and hash of each picture in such a list.
fn frames(list: &str) -> Vec<(i64, String)> {
    let lines = list.lines().filter(|line| line.starts_with("0,"));
    let frame = |line: &str| {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        (fields[2].parse().unwrap(), fields[5].to_owned())
    };
    lines.map(frame).collect()
}

/// Every picture follows the one before in the clip, which begins anew after its last.
#[track_caller]
fn follow_each_other(who: &str, pictures: &[String], numbers: &HashMap<String, usize>) {
    let shown: Vec<usize> = pictures
        .iter()
        .map(|hash| *numbers.get(hash).unwrap_or_else(|| panic!("{who} shows what the camera did not")))
        .collect();
    for pair in shown.windows(2) {
        assert_eq!(pair[1], (pair[0] + 1) % PICTURES, "{who}: {shown:?}");
    }
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(name)
}
