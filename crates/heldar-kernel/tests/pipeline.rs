//! From an RTSP camera to a file that others read: session, recorder, muxer, writer, without store or API.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heldar_base::{CameraId, Micros, StreamId, StreamKind};
use heldar_disk::{OsDisk, SegmentWriter, WriterConfig};
use heldar_ingest::{AddressGuard, Source, SystemClock, TransportPolicy};
use heldar_kernel::engine::ingest::Ingest;
use heldar_kernel::engine::live_index::LiveIndex;
use heldar_kernel::engine::stream::{Shared, StreamSettings};
use heldar_recorder::{AudioPolicy, PreRolls, RecorderConfig, Take};

struct Anywhere;

impl AddressGuard for Anywhere {
    fn allows(&self, _address: std::net::SocketAddr) -> bool {
        true
    }
}

fn clip(folder: &Path, arguments: &[&str]) -> PathBuf {
    let path = folder.join("clip.mp4");
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"])
        .args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", "6"])
        .args(arguments)
        .arg(&path)
        .status()
        .expect("ffmpeg is installed");
    assert!(status.success());
    path
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn output(program: &str, arguments: &[&str], file: &Path) -> String {
    let out = Command::new(program).args(arguments).arg(file).output().expect("installed");
    assert!(out.status.success(), "{program} {}: {}", file.display(), String::from_utf8_lossy(&out.stderr));
    assert!(out.stderr.is_empty(), "{program} {}: {}", file.display(), String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

async fn record(arguments: &[&str]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let video = clip(folder.path(), arguments);
    let options = heldar_testcam::Options { video: Some(video), ..heldar_testcam::Options::default() };
    let cameras = heldar_testcam::start(options).await.unwrap();
    let url = cameras.cameras()[0].url.parse().unwrap();
    let recordings = folder.path().join("recordings");
    let live = Arc::new(LiveIndex::new());
    let sink = live.clone();
    let disk = Arc::new(OsDisk::new(&recordings).unwrap());
    let writer =
        Arc::new(SegmentWriter::start(disk, WriterConfig::default(), move |c| sink.completed(c)).unwrap());
    let (reports, _listener) = tokio::sync::mpsc::unbounded_channel();
    let shared = Shared {
        clock: SystemClock::new(),
        writer: writer.clone(),
        live: live.clone(),
        keys: Arc::new(AtomicU64::new(1)),
        rolls: Arc::new(Mutex::new(PreRolls::new(1 << 20))),
        gather: Arc::default(),
        guard: Arc::new(Anywhere),
        reports,
    };
    let ingest = Ingest::start(shared).unwrap();
    let stream = StreamId::new(CameraId::new("gate").unwrap(), StreamKind::Main);
    let settings = StreamSettings {
        source: Ok(Arc::new(Source {
            url,
            username: None,
            password: None,
            transport: TransportPolicy::Auto,
        })),
        session: true,
        take: Some(Take { from: heldar_base::WallTime::EPOCH, until: heldar_base::WallTime::FAR_FUTURE }),
        keep: None,
        live: false,
        enabled: true,
        recorder: RecorderConfig {
            segment: Micros::from_secs(4),
            stagger: Micros::ZERO,
            fragment: Micros::from_secs(1),
            fragment_bytes: 8 << 20,
            audio: AudioPolicy::Keep,
        },
        stall: Duration::from_secs(10),
        not_before: heldar_base::WallTime::EPOCH,
        edits: 0,
    };
    ingest.apply(&stream, settings);
    // Two complete segments, and a third that is listed while it is written.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let begun = live.of_stream(&stream);
        if begun.len() >= 3 && begun.last().is_some_and(|segment| segment.is_open()) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "three segments within a minute");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::task::spawn_blocking(move || ingest.stop()).await.unwrap();
    writer.stop();
    cameras.stop().await;
    (folder, files_below(&recordings))
}

/// Every file opens, has its true length, decodes without a complaint, and files follow each other without loss.
fn judge(files: &[PathBuf]) {
    let mut pictures = Vec::new();
    for file in files {
        output("ffmpeg", &["-v", "error", "-xerror", "-f", "null", "-", "-i"], file);
        let packets = output(
            "ffprobe",
            &[
                "-v",
                "error",
                "-select_streams",
                "v",
                "-show_entries",
                "packet=dts_time,size",
                "-of",
                "csv=p=0",
            ],
            file,
        );
        pictures.push(packets.lines().count());
        let duration: f64 =
            output("ffprobe", &["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"], file)
                .trim()
                .parse()
                .unwrap();
        let expect = *pictures.last().unwrap() as f64 / 25.0;
        assert!((duration - expect).abs() < 0.1, "{}: {duration} {expect}", file.display());
    }
    assert!(pictures.len() >= 2, "{pictures:?}");
    assert!(pictures[..pictures.len() - 1].iter().all(|n| *n == 100), "four seconds each: {pictures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn h264_with_aac_is_recorded_and_read_by_others() {
    let (_folder, files) =
        record(&["-c:v", "libx264", "-bf", "0", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac"]).await;
    judge(&files);
}

#[tokio::test(flavor = "multi_thread")]
async fn h264_with_reordered_pictures_is_recorded_and_read_by_others() {
    let (_folder, files) =
        record(&["-c:v", "libx264", "-bf", "2", "-g", "25", "-pix_fmt", "yuv420p", "-an"]).await;
    judge(&files);
}

#[tokio::test(flavor = "multi_thread")]
async fn h265_is_recorded_and_read_by_others() {
    let (_folder, files) = record(&[
        "-c:v",
        "libx265",
        "-x265-params",
        "keyint=25:min-keyint=25:open-gop=0:log-level=none",
        "-pix_fmt",
        "yuv420p",
        "-an",
    ])
    .await;
    judge(&files);
}
