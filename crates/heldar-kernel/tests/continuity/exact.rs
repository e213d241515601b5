//! Pictures and sound over several rotations equal what was sent, to the millisecond.

use std::path::PathBuf;
use std::time::Duration;

use heldar_testcam::{Options, Running, profile};
use serde_json::{Value, json};

use crate::judge::{Probed, decodes, in_parallel, probe};
use crate::reference::{Loop, Recorded, worst_step};
use crate::rig::{self, File, seconds};
use crate::sound;
use crate::support::World;

/// Pictures that all differ, and sound of which no two frames are alike.
const PICTURES: [&str; 6] = ["-f", "lavfi", "-i", "testsrc2=size=480x270:rate=25", "-f", "lavfi"];
const NOISE: [&str; 2] = ["-i", "anoisesrc=color=pink:seed=7:sample_rate=48000:amplitude=0.4"];

/// What a camera sends besides its pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sound {
    None,
    /// Of the clip; recorded as it is.
    Aac,
    /// G.711 by the profile of that name; recorded as Opus.
    G711(&'static str),
}

struct Case {
    name: &'static str,
    encode: &'static str,
    sound: Sound,
    transport: &'static str,
}

const X264: &str =
    "-c:v libx264 -preset veryfast -pix_fmt yuv420p -g 25 -keyint_min 25 -sc_threshold 0 -b:v 400k";
const X265: &str = "-c:v libx265 -preset ultrafast -pix_fmt yuv420p -b:v 300k -x265-params log-level=error:keyint=25:min-keyint=25:scenecut=0:b-adapt=0";

#[rustfmt::skip] // Read as a table.
const CASES: &[Case] = &[
    Case { name: "h264_aac", encode: "-bf 0", sound: Sound::Aac, transport: "tcp" },
    Case { name: "h264_b_aac", encode: "-bf 3 -x264-params b-adapt=0:b-pyramid=normal", sound: Sound::Aac, transport: "tcp" },
    Case { name: "h264_pcma", encode: "-bf 0", sound: Sound::G711("pcma_audio"), transport: "tcp" },
    Case { name: "h264_udp", encode: "-bf 0", sound: Sound::Aac, transport: "udp" },
    Case { name: "h265", encode: "hevc:bframes=0:open-gop=0", sound: Sound::None, transport: "tcp" },
    Case { name: "h265_b_pcmu", encode: "hevc:bframes=3:b-pyramid=1:open-gop=0", sound: Sound::G711("pcmu_audio"), transport: "tcp" },
    Case { name: "h265_cra", encode: "hevc:bframes=2:open-gop=1", sound: Sound::Aac, transport: "tcp" },
];

impl Case {
    fn clip(&self) -> PathBuf {
        let mut arguments: Vec<String> =
            PICTURES.iter().chain(&NOISE).map(|word| (*word).to_owned()).collect();
        match self.encode.strip_prefix("hevc:") {
            Some(options) => arguments.extend(format!("{X265}:{options}").split(' ').map(str::to_owned)),
            None => arguments.extend(format!("{X264} {}", self.encode).split(' ').map(str::to_owned)),
        }
        // Whole AAC frames, and whole seconds for beeps at whole seconds.
        let sound: &[&str] = match self.sound {
            Sound::Aac => &["-c:a", "aac", "-b:a", "64k", "-t", "6.4"],
            Sound::None | Sound::G711(_) => &["-an", "-t", "6"],
        };
        arguments.extend(sound.iter().map(|word| (*word).to_owned()));
        rig::clip(self.name, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    async fn camera(&self) -> Running {
        let profiles = match self.sound {
            Sound::G711(name) => vec![profile::find(name).unwrap()],
            Sound::None | Sound::Aac => Vec::new(),
        };
        let (clip, media_dir) = (self.clip(), rig::media_dir());
        let options = Options { video: Some(clip), profiles, media_dir, ..Options::default() };
        heldar_testcam::start(options).await.unwrap()
    }
}

/// Length of a segment; rotations come at the sync sample behind it, one second at most.
const SEGMENT_S: i64 = 3;
/// Complete files that are waited for.
const FILES: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_is_recorded() {
    let world = World::start().await;
    let mut cameras = Vec::new();
    for case in CASES {
        let camera = case.camera().await;
        let settings = json!({ "segment_seconds": SEGMENT_S, "rtsp_transport": case.transport });
        rig::add(&world, case.name, &camera.cameras()[0].url, settings).await;
        cameras.push(camera);
    }
    let files = if rig::soak() { FILES * 6 } else { FILES };
    let mut recorded = Vec::new();
    for case in CASES {
        rig::complete(&world, case.name, files, seconds(60)).await;
    }
    for case in CASES {
        let status = rig::status(&world, case.name).await;
        assert_eq!(
            (&status["state"], &status["reconnect_count"]),
            (&json!("recording"), &json!(0)),
            "{status}"
        );
        let lost = rig::lost(&world, case.name);
        recorded.push((case, status, lost, rig::finish(&world, case.name).await));
    }
    for case in CASES {
        assert_eq!(rig::gaps(&world, case.name).await, [] as [Value; 0], "{}", case.name);
    }
    world.kernel.stop().await;
    in_parallel(
        &recorded,
        |(case, ..)| case.name.to_owned(),
        |(case, status, lost, files)| {
            assert_eq!(*lost, 0, "packets lost on the loopback");
            judge(case, status, files);
        },
    );
}

fn judge(case: &Case, status: &Value, files: &[File]) {
    let probed: Vec<Probed> = files.iter().map(|file| probe(&file.path)).collect();
    files.iter().for_each(|file| decodes(&file.path));
    let timed = || files.iter().map(|file| file.start.0 as f64).zip(&probed);
    joined(files, &probed);
    let video = Recorded::video(timed());
    let sent = Loop::video(&case.clip());
    let pictures = video.against(&sent);
    let worst = worst_step(&pictures);
    assert!(worst <= 1000.0, "pictures {worst} us from where they were sent");
    let audio = Recorded::audio(timed());
    match case.sound {
        Sound::None => assert!(audio.packets.is_empty()),
        Sound::Aac => {
            assert_eq!(status["audio"], "copied");
            assert!(probed.iter().all(|file| file.audio().is_some_and(|track| track.codec == "aac")));
            sound::follows(&audio);
            let sent = Loop::audio(&case.clip());
            let frames = audio.without_lead(&sent).against(&sent);
            sound::keeps_step(&frames, &pictures);
        }
        Sound::G711(_) => {
            assert_eq!(status["audio"], "converted");
            assert!(probed.iter().all(|file| file.audio().is_some_and(|track| track.codec == "opus")));
            sound::follows(&audio);
            let captured: Vec<(f64, f64)> =
                pictures.iter().map(|(time, at)| (*time, at - sent.reorder())).collect();
            sound::beeps_are_in_place(files, &captured);
        }
    }
}

/// Files follow one another without hole or overlap, and say how long they are.
fn joined(files: &[File], probed: &[Probed]) {
    assert!(files.len() > FILES, "{} files", files.len());
    for (file, probed) in files.iter().zip(probed) {
        let length = (file.end - file.start).0 as f64;
        let video = probed.video();
        let total = probed.pictures_last();
        let ends = format!(
            "{}: {length} us, packets {total}, {probed:.0?}",
            file.path.display(),
            probed = probed.duration
        );
        assert!((total - length).abs() <= 1000.0 && (video.duration - length).abs() <= 1000.0, "{ends}");
        // Sound may end one frame later or earlier, and ffmpeg 5.1 moves reordered pictures by up to four.
        assert!((probed.duration - length).abs() <= 200_000.0, "{ends}");
        assert_eq!((&file.view["holes"], &file.view["dependent"]), (&json!([]), &json!(false)), "{ends}");
        let dts: Vec<f64> = video.packets.iter().map(|packet| packet.dts).collect();
        assert!(dts.is_sorted_by(|a, b| a < b), "{}: decode times rise", file.path.display());
    }
    for pair in files.windows(2) {
        assert_eq!(pair[0].end, pair[1].start, "{} to {}", pair[0].path.display(), pair[1].path.display());
    }
    // The first is longer so that cameras do not rotate together, the last was cut off.
    for file in &files[1..files.len() - 1] {
        let length = file.end - file.start;
        let due = Duration::from_secs(SEGMENT_S as u64 - 1)..Duration::from_secs(SEGMENT_S as u64 + 1);
        assert!(due.contains(&length.to_std()), "{} is {length:?} long", file.path.display());
    }
}
