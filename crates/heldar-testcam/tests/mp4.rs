//! The MP4 reader against ffprobe, and against damaged files.

#![allow(clippy::unwrap_used, reason = "a test that fails says so")]

mod common;

use std::path::PathBuf;
use std::sync::LazyLock;

use bytes::Bytes;
use common::{media_dir, run};
use heldar_testcam::mp4::{Movie, Mp4Track};
use proptest::prelude::*;

/// Encodes a file once per target folder.
async fn file(name: &str, arguments: &str) -> PathBuf {
    std::fs::create_dir_all(media_dir()).unwrap();
    let path = media_dir().join(name);
    if !path.exists() {
        let partial = media_dir().join(format!("{}-{name}", std::process::id()));
        let all = format!("-v error -y {arguments} {}", partial.display());
        let output = run("ffmpeg", &all.split(' ').collect::<Vec<_>>()).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::rename(partial, &path).unwrap();
    }
    path
}

/// Decode time, presentation time, size and key flag of each packet, as ffprobe tells.
async fn packets(path: &str, stream: &str) -> Vec<(i64, i64, usize, bool)> {
    let entries = [
        "-v",
        "error",
        "-select_streams",
        stream,
        "-show_entries",
        "packet=dts,pts,size,flags",
        "-of",
        "csv=p=0",
        path,
    ];
    let output = run("ffprobe", &entries).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let rows = text.lines().filter(|line| !line.is_empty()).map(|line| {
        // The order of the fields is ffprobe's: pts, dts, size, flags.
        let mut fields = line.split(',');
        let mut number = || fields.next().unwrap().parse::<i64>().unwrap();
        let (pts, dts, size) = (number(), number(), number());
        (dts, pts, size as usize, fields.next().unwrap().starts_with('K'))
    });
    rows.collect()
}

fn samples(track: &Mp4Track) -> Vec<(i64, i64, usize, bool)> {
    let row = |s: &heldar_testcam::mp4::Sample| {
        let decoded = s.decode_time as i64;
        (decoded, decoded + s.composition_offset, s.payload.len(), s.sync)
    };
    track.samples.iter().map(row).collect()
}

/// Rows with decode and presentation times from the first of each on: edit lists and negative offsets shift what ffprobe
/// says as a whole.
fn from_first(mut rows: Vec<(i64, i64, usize, bool)>) -> Vec<(i64, i64, usize, bool)> {
    let (decoded, presented) = (rows[0].0, rows.iter().map(|row| row.1).min().unwrap());
    rows.iter_mut().for_each(|row| (row.0, row.1) = (row.0 - decoded, row.1 - presented));
    rows
}

const VIDEO: &str = "-f lavfi -i testsrc2=size=160x120:rate=25 -f lavfi -i sine -t 3";

#[tokio::test]
async fn ffprobe_reads_the_same_samples() {
    for (name, arguments) in [
        ("mp4-h264.mp4", format!("{VIDEO} -c:v libx264 -g 20 -bf 2 -c:a aac")),
        ("mp4-front.mp4", format!("{VIDEO} -c:v libx264 -g 20 -bf 0 -c:a libopus -movflags +faststart")),
        ("mp4-h265.mp4", format!("{VIDEO} -c:v libx265 -x265-params log-level=error:keyint=20 -c:a aac")),
        (
            "mp4-negative.mp4",
            format!("{VIDEO} -c:v libx264 -g 20 -bf 2 -c:a aac -movflags +negative_cts_offsets"),
        ),
    ] {
        let path = file(name, &arguments).await;
        let movie = Movie::parse(&Bytes::from(std::fs::read(&path).unwrap())).unwrap();
        assert_eq!(movie.tracks.len(), 2, "{name}");
        for (track, stream) in movie.tracks.iter().zip(["v", "a"]) {
            let expect = packets(path.to_str().unwrap(), stream).await;
            assert_eq!(from_first(samples(track)), from_first(expect), "{name} {stream}");
        }
        assert_eq!(movie.tracks[0].size, (160, 120), "{name}");
    }
}

/// A small file to be damaged.
static SMALL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let path = runtime.block_on(file("mp4-small.mp4", "-f lavfi -i testsrc2=size=64x64:rate=5 -f lavfi -i sine -t 1 -c:v libx264 -c:a aac -movflags +faststart"));
    std::fs::read(path).unwrap()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn damaged_files_are_survived(edits in proptest::collection::vec((0usize..2500, any::<u8>()), 1..6), cut in 0usize..40_000) {
        let mut bytes = SMALL.clone();
        bytes.truncate(cut.max(1000));
        for (at, value) in edits {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        if let Ok(movie) = Movie::parse(&Bytes::from(bytes)) {
            prop_assert!(movie.tracks.iter().all(|track| !track.samples.is_empty()));
        }
    }
}
