//! Every camera of the zoo, recorded by one kernel at the same time: none causes a false gap, a needless reconnect, an
//! error, or a file that ffmpeg or ffprobe rejects.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use heldar_testcam::{CameraInfo, Options, Running, profile};
use serde_json::{Value, json};

use crate::judge::{Decoding, in_parallel, probe, slices};
use crate::rig::{self, File, seconds, time};
use crate::support::World;

/// What is expected of a camera beside what all have in common.
struct Expected {
    profile: &'static str,
    /// Sessions that may end before the first picture has come.
    early_ends: i64,
    decoding: Decoding,
    /// Pictures behind the first one that are left out.
    leading: usize,
    why: &'static str,
}

impl Expected {
    const fn of(profile: &'static str, why: &'static str) -> Expected {
        Expected { profile, early_ends: 0, decoding: Decoding::Clean, leading: 0, why }
    }
}

const WAITS: &str =
    "the camera sends nothing before its next sync sample, which may take 12 s: longer than silence is borne";
const OPEN: &str = "leading pictures of the first sync sample of a run cannot be decoded";

/// Whatever is not listed here: no session ends, every picture is there, and a decoder has nothing to complain about.
const EXPECTED: &[Expected] = &[
    Expected { early_ends: 1, ..Expected::of("smart_codec", WAITS) },
    Expected { early_ends: 1, ..Expected::of("smart_h265", WAITS) },
    Expected { early_ends: 1, ..Expected::of("intra_refresh", WAITS) },
    Expected { leading: 2, ..Expected::of("h265_cra", OPEN) },
    // H.264 has no mark for leading pictures: where a file begins, ffmpeg notices that theirs are missing.
    Expected { leading: 2, decoding: Decoding::Lenient, ..Expected::of("open_gop", OPEN) },
];

/// What becomes of the sound, where there is any.
const SOUND: &[(&str, &str)] = &[
    ("no_sender_reports", "converted"),
    ("wrong_ntp", "copied"),
    ("bare_rtp_info", "converted"),
    ("pcmu_audio", "converted"),
    ("pcma_audio", "converted"),
    ("aac_audio", "copied"),
    ("aac_16k_audio", "copied"),
    ("opus_audio", "unsupported"),
    ("g726_audio", "unsupported"),
    ("audio_stalls", "copied"),
    ("audio_never", "converted"),
    ("resolution_changes", "copied"),
    ("b_frames_audio", "copied"),
];

/// Cameras of 25 pictures per second whose clock runs on, whatever its numbers do.
const STEADY: &[&str] = &[
    "plain",
    "rtp_time_wraps",
    "sequence_wraps",
    "drifting_clock",
    "wrong_rtp_info",
    "slow_start",
    "held_gop",
];

/// Time from the moment that all cameras are recorded: two rounds of the sound that stalls for 15 s out of 25, three GOPs
/// of the smart codec.
const RUN_S: u64 = 40;

/// What was seen of one camera.
struct Seen {
    camera: CameraInfo,
    status: Value,
    gaps: Vec<Value>,
    events: Vec<Value>,
    skips: u64,
    files: Vec<File>,
}

impl Seen {
    fn profile(&self) -> &'static str {
        self.camera.profile.unwrap()
    }

    fn expected(&self) -> &'static Expected {
        const USUAL: Expected = Expected::of("", "");
        EXPECTED.iter().find(|expected| expected.profile == self.profile()).unwrap_or(&USUAL)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_camera_of_the_zoo_is_recorded() {
    let profiles: Vec<_> = profile::all().iter().collect();
    let options = Options {
        cameras: profiles.len() as u32,
        profiles,
        media_dir: rig::media_dir(),
        http_port: Some(0),
        ..Options::default()
    };
    let running = heldar_testcam::start(options).await.unwrap();
    let world = World::start().await;
    for camera in running.cameras() {
        let account = json!({ "username": camera.user, "password": camera.user.as_ref().map(|_| "testcam") });
        let mut settings = account;
        settings["segment_seconds"] = json!(10);
        rig::add(&world, camera.profile.unwrap(), &camera.url, settings).await;
    }
    let recording = |all: &Value| all.as_array().unwrap().iter().all(|status| status["state"] == "recording");
    rig::until(&world, "/api/v1/health/cameras", Duration::from_secs(60), recording).await;
    tokio::time::sleep(seconds(RUN_S)).await;
    let seen = look(&world, &running).await;
    world.kernel.stop().await;
    drop(running);
    let clips = Clips::read(&rig::media_dir());
    in_parallel(&seen, |seen| seen.profile().to_owned(), |seen| judge(seen, &clips));
}

/// Notes how the cameras do, switches them off, and lists what was recorded.
async fn look(world: &World, running: &Running) -> Vec<Seen> {
    let mut seen = Vec::new();
    let skips = skips(running);
    for (camera, skips) in running.cameras().iter().zip(skips) {
        let id = camera.profile.unwrap();
        let (status, gaps, events) =
            (rig::status(world, id).await, rig::gaps(world, id).await, rig::events(world, id).await);
        seen.push(Seen { camera: camera.clone(), status, gaps, events, skips, files: Vec::new() });
    }
    let ends = seen.iter().map(|seen| rig::finish(world, seen.profile()));
    let files = futures_util::future::join_all(ends).await;
    seen.iter_mut().zip(files).for_each(|(seen, files)| seen.files = files);
    seen
}

/// How often each camera's server left out pictures because its client did not read them.
fn skips(running: &Running) -> Vec<u64> {
    let mut socket = std::net::TcpStream::connect(running.http_address().unwrap()).unwrap();
    socket.write_all(b"GET /cameras HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let cameras: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    cameras.as_array().unwrap().iter().map(|camera| camera["skips"].as_u64().unwrap()).collect()
}

fn judge(seen: &Seen, clips: &Clips) {
    let expected = seen.expected();
    let context = format!("{} {:?} {:?} {}", seen.status, seen.gaps, seen.events, expected.why);
    assert_eq!(seen.skips, 0, "the camera's server fell behind: {context}");
    assert_eq!(seen.status["state"], "recording", "{context}");
    let ends = seen.status["reconnect_count"].as_i64().unwrap();
    assert!(ends <= expected.early_ends, "{ends} sessions ended: {context}");
    let first = seen.files.first().unwrap_or_else(|| panic!("nothing recorded: {context}")).start;
    for gap in &seen.gaps {
        // What came before the first picture is no fault of the recorder.
        assert!(time(&gap["gap_end"]) <= first, "a gap: {context}");
        let late = ends > 0 || gap["cause"] == "starting";
        assert!(late, "a cause without a reason: {context}");
    }
    let (left_out, others): (Vec<&Value>, Vec<&Value>) =
        seen.events.iter().partition(|event| event["event_type"] == "track_left_out");
    let harmless = |event: &&Value| event["event_type"] == "recording_gap" || ends > 0;
    assert!(others.iter().all(harmless), "{context}");
    files_join(seen, &context);
    let sound = SOUND.iter().find(|(name, _)| *name == seen.profile()).map_or("none", |(_, sound)| sound);
    assert_eq!(seen.status["audio"], sound, "{context}");
    assert_eq!(left_out.len(), usize::from(sound == "unsupported"), "{context}");
    has_sound(seen, sound);
    let paths: Vec<PathBuf> = seen.files.iter().map(|file| file.path.clone()).collect();
    let pictures = slices(&paths, seen.camera.codec.unwrap(), expected.decoding);
    clips.hold(&pictures, expected.leading);
}

/// No hole between files nor within them, and together they are as long as the camera was recorded.
fn files_join(seen: &Seen, context: &str) {
    let files = &seen.files;
    for file in files {
        assert_eq!((&file.view["holes"], &file.view["dependent"]), (&json!([]), &json!(false)), "{context}");
    }
    for pair in files.windows(2) {
        let seam = format!("{} to {}: {context}", pair[0].path.display(), pair[1].path.display());
        assert_eq!(pair[0].end, pair[1].start, "{seam}");
    }
    let length = (files[files.len() - 1].end - files[0].start).to_std();
    assert!(length >= seconds(RUN_S - 5), "{length:?} recorded: {context}");
}

/// Files are as long as their pictures; sound is there where it should be and stalls no player.
fn has_sound(seen: &Seen, sound: &str) {
    let mut with = 0;
    for file in &seen.files {
        let probed = probe(&file.path);
        let length = (file.end - file.start).0 as f64;
        let pictures = probed.pictures_last();
        let ends =
            format!("{}: {length} us, pictures {pictures}, file {}", file.path.display(), probed.duration);
        // A run may end before pictures that are shown earlier than its last one have come: that one is decoded so much longer,
        // which ffprobe does not tell.
        assert!(
            (pictures - length).abs() <= 125_000.0 && (probed.duration - length).abs() <= 200_000.0,
            "{ends}"
        );
        let dts: Vec<f64> = probed.video().packets.iter().map(|packet| packet.dts).collect();
        let uneven = dts.windows(2).find(|pair| (pair[1] - pair[0] - 40_000.0).abs() > 1500.0);
        assert!(uneven.is_none() || !STEADY.contains(&seen.profile()), "{ends}: {uneven:?}");
        if let Some(track) = probed.audio() {
            with += 1;
            let end = track.packets.last().map_or(0.0, |packet| packet.pts + packet.duration);
            assert!(end >= length - 1_200_000.0, "{ends}: sound ends at {end}");
        }
    }
    let without = seen.files.len() - with;
    match (seen.profile(), sound) {
        ("audio_stalls" | "audio_never", _) => {
            assert!(with > 0 && without > 0, "{with} with, {without} without")
        }
        (_, "copied" | "converted") => assert_eq!(without, 0, "files without sound"),
        _ => assert_eq!(with, 0, "files with sound"),
    }
}

/// Cameras with GOPs of 12 s, by a server that bears 3 s of silence: one that sends what cannot be decoded yet is not silent,
/// and one that is silent up to its next sync sample is waited for longer each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_groups_are_waited_for() {
    let profiles = ["smart_mid_gop", "smart_codec"].map(|name| profile::find(name).unwrap()).to_vec();
    let options = Options { cameras: 6, profiles, media_dir: rig::media_dir(), ..Options::default() };
    let running = heldar_testcam::start(options).await.unwrap();
    let world = World::start_with(&[("HELDAR_STREAM_STALL_S", "3")]).await;
    for camera in running.cameras() {
        rig::add(&world, &camera.camera, &camera.url, json!({})).await;
    }
    for camera in running.cameras() {
        let health = format!("/api/v1/cameras/{}/health", camera.camera);
        let status =
            rig::until(&world, &health, Duration::from_secs(90), |s| s["state"] == "recording").await;
        // 3 s, 6 s, 12 s, and 24 s are enough for certain.
        let most = if camera.profile == Some("smart_mid_gop") { 0 } else { 3 };
        assert!(status["reconnect_count"].as_i64().unwrap() <= most, "{camera:?} {status}");
    }
    world.kernel.stop().await;
}

/// The slices of every clip that cameras may loop.
struct Clips(HashMap<String, Vec<String>>);

impl Clips {
    /// Reads the clips of a folder.
    fn read(folder: &Path) -> Clips {
        let mut clips = HashMap::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let codec = if name.starts_with("h265_") { "hevc" } else { "h264" };
            if (name.starts_with("h264_") || name.starts_with("h265_")) && name.ends_with(".mp4") {
                clips.insert(name, slices(&[path], codec, Decoding::NotJudged).remove(0));
            }
        }
        Clips(clips)
    }

    /// The files hold the pictures of one clip, in order and without a hole; a clip may change where a file begins.
    /// Behind the very first picture up to `leading` may be left out.
    fn hold(&self, files: &[Vec<String>], leading: usize) {
        // Where the next file begins, by clip.
        let mut expected: Option<Vec<Begin>> = None;
        for (number, pictures) in files.iter().enumerate() {
            let left_out = if number == 0 { leading } else { 0 };
            let begins: Vec<Begin> =
                (0..=left_out).flat_map(|skipped| self.begins(pictures, skipped)).collect();
            assert!(
                !begins.is_empty(),
                "file {number} is no stretch of a clip: {}",
                self.departure(pictures)
            );
            if let Some(expected) = &expected {
                let same_clip =
                    begins.iter().any(|(clip, _)| expected.iter().any(|(other, _)| other == clip));
                let follows = begins.iter().any(|begin| expected.contains(begin));
                assert!(
                    follows || !same_clip,
                    "file {number} begins at {begins:?} where {expected:?} comes next"
                );
            }
            let next = |(clip, begin): Begin<'_>| (begin + pictures.len()) % self.0[clip].len();
            expected = Some(begins.iter().map(|begin| (begin.0, next(*begin))).collect());
        }
    }

    /// Every place of every clip from which on it has these pictures; `skipped` of the clip are left out behind the first.
    /// The place is that of the first picture as if those had come before it.
    fn begins(&self, pictures: &[String], skipped: usize) -> Vec<Begin<'_>> {
        let mut begins = Vec::new();
        for (name, clip) in &self.0 {
            let at = |place: usize| &clip[place % clip.len()];
            let holds = |begin: usize| {
                pictures.first() == Some(at(begin))
                    && pictures
                        .iter()
                        .skip(1)
                        .enumerate()
                        .all(|(n, picture)| picture == at(begin + skipped + 1 + n))
            };
            let found = (0..clip.len()).filter(|begin| holds(*begin));
            begins.extend(found.map(|begin| (name.as_str(), begin + skipped)));
        }
        begins
    }

    /// Where pictures leave the clip that they follow longest.
    fn departure(&self, pictures: &[String]) -> String {
        let mut best = (0, String::new());
        for (name, clip) in &self.0 {
            for begin in 0..clip.len() {
                let both = pictures.iter().zip(clip.iter().cycle().skip(begin));
                let same = both.take_while(|(a, b)| a == b).count();
                if same > best.0 {
                    let next = pictures.get(same).and_then(|p| clip.iter().position(|c| c == p));
                    best =
                        (same, format!("{same} of {} from {begin} of {name}, then {next:?}", pictures.len()));
                }
            }
        }
        best.1
    }
}

/// A place of a clip: its name, and the number of a picture.
type Begin<'a> = (&'a str, usize);

/// The judges notice what they are there for.
#[test]
fn a_missing_picture_is_noticed() {
    let clip: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    let clips = Clips(HashMap::from([("clip".to_owned(), clip)]));
    let part = |range: std::ops::Range<usize>| range.map(|n| (n % 10).to_string()).collect::<Vec<_>>();
    let hold = |files: &[Vec<String>], leading| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| clips.hold(files, leading))).is_ok()
    };
    assert!(hold(&[part(7..25), part(25..28)], 0));
    let mut led = part(7..25);
    led.drain(1..3);
    assert!(
        hold(&[led.clone(), part(25..28)], 2) && !hold(&[led.clone()], 1) && !hold(&[part(0..7), led], 2)
    );
    let torn = vec!["1".to_owned(), "3".to_owned()];
    for bad in [vec![part(7..25), part(26..28)], vec![part(7..25), part(24..28)], vec![torn]] {
        assert!(!hold(&bad, 0), "{bad:?}");
    }
}
