//! Virtual files, judged by ffprobe, ffmpeg and GStreamer: exactly the pictures of the window, exactly as long.

use std::{fmt::Write as _, ops::Range};

use heldar_base::{Interval, WallTime};
use heldar_bmff::*;

use crate::support::*;

/// Wall time of the clip's first picture.
const BASE_US: i64 = 1_700_000_000_123_456;

/// Some footage: a clip in several files, with holes between some of them.
struct Footage {
    files: Vec<Recorded>,
    /// Wall time of media time 0 of each file.
    wall_starts: Vec<WallTime>,
    /// Every picture: on screen from, to (microseconds after `BASE_US`), checksum when decoded.
    pictures: Vec<(i64, i64, String)>,
}

impl Footage {
    /// `cuts`: pictures of each file, and how long a hole comes before it, in microseconds.
    fn new(clip: &Clip, timing: Timing, cuts: &[(Range<usize>, i64)]) -> Self {
        let us = |ticks: i64| ticks * 100 / 9;
        let first = clip.pictures.iter().map(|p| p.pts).min().unwrap();
        let mut times: Vec<i64> = clip.pictures.iter().map(|p| p.pts).collect();
        times.sort_unstable();
        let mut out = Footage { files: Vec::new(), wall_starts: Vec::new(), pictures: Vec::new() };
        let mut moved = 0;
        for (range, hole) in cuts {
            moved += hole;
            let recorded = record(clip, range.clone(), timing, None);
            let origin = clip.origin(range, timing);
            out.wall_starts.push(WallTime(BASE_US + us(origin - first) + moved));
            // Decoded pictures come in order of presentation; files are cut where both orders agree.
            for at in range.clone() {
                let start = us(times[at] - first) + moved;
                out.pictures.push((start, start + us(3600), clip.picture_md5[at].clone()));
            }
            out.files.push(recorded);
        }
        out
    }

    fn plan(&self, from: i64, to: i64) -> Result<VirtualFile, Error> {
        let window = Interval::new(WallTime(BASE_US + from), WallTime(BASE_US + to));
        let parts: Vec<_> = self
            .files
            .iter()
            .zip(&self.wall_starts)
            .zip(0..)
            .map(|((file, &wall_start), number)| Part {
                file: number,
                table: &file.table,
                wall_start,
                window,
                join: Join::Continues,
            })
            .collect();
        VirtualFile::plan(&parts)
    }

    fn assemble(&self, file: &VirtualFile) -> Vec<u8> {
        let files: Vec<&[u8]> = self.files.iter().map(|f| &f.bytes[..]).collect();
        assemble(file, 0..file.total_len(), &files)
    }

    /// Plans a window and has the file judged.
    fn check(&self, name: &str, from: i64, to: i64) {
        let file = self.plan(from, to).unwrap();
        let bytes = self.assemble(&file);
        assert_eq!(bytes.len() as u64, file.total_len());
        let path = write(&format!("{name}_{from}_{to}.mp4"), &bytes);

        let touching: Vec<_> = self.pictures.iter().filter(|(start, end, _)| *start < to && *end > from).collect();
        let md5: Vec<_> = touching.iter().map(|(_, _, md5)| md5.clone()).collect();
        assert_eq!(picture_md5(&path), md5, "{name} {from} {to}: pictures");

        let mut shown = 0;
        let mut expected_times = Vec::new();
        for (start, end, _) in &touching {
            expected_times.push(shown);
            shown += end.min(&to) - start.max(&from);
        }
        let times: Vec<i64> = shown_times(&path).iter().map(|t| t * 100 / 9).collect();
        let near = |a: &[i64], b: &[i64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 24);
        assert!(near(&times, &expected_times), "{name} {from} {to}: {times:?} {expected_times:?}");

        let seconds: f64 = probe(&path, "format=duration").parse().unwrap();
        let shown_seconds = shown as f64 / 1e6;
        assert!((seconds - shown_seconds).abs() < 3e-5 && seconds <= shown_seconds + 1e-6, "{seconds} {shown_seconds}");
        assert!((file.media_seconds() - shown_seconds).abs() < 3e-5, "{name} {from} {to}");
    }
}

/// Windows that start and end on and between pictures, in one file and across several.
fn check_windows(name: &str, video: &str, audio: &str, timing: Timing) {
    let clip = clip(video, audio, "160x120");
    let last = clip.pictures.len();
    let whole = Footage::new(&clip, timing, &[(0..last, 0)]);
    let sync: Vec<_> = (0..last).filter(|&at| clip.pictures[at].sync).collect();
    let (second, third) = (sync[2], sync[4]);
    let apart = Footage::new(&clip, timing, &[(0..second, 0), (second..third, 0), (third..last, 3_000_000)]);
    let mut log = String::new();
    for (footage, kind) in [(&whole, "whole"), (&apart, "apart")] {
        for (from, to) in [
            (0, 6_000_000),
            (-500_000, 20_000_000),
            (40_000, 80_000),
            (1_330_000, 1_331_000),
            (1_920_000, 2_080_000),
            (700_001, 2_899_999),
            (1_640_000, 4_280_000),
            (5_500_000, 7_700_000),
        ] {
            footage.check(&format!("{name}_{kind}"), from, to);
            writeln!(log, "{kind} {from} {to}").unwrap();
        }
    }
}

#[test]
fn h264() {
    check_windows("h264", H264, AAC, Timing::FirstShown);
}

#[test]
fn h264_b_signed() {
    check_windows("h264_b", H264_B, AAC, Timing::FirstShown);
}

#[test]
fn h264_b_positive() {
    check_windows("h264_bp", H264_B, "", Timing::FirstDecoded);
}

#[test]
fn h264_open() {
    check_windows("h264_open", H264_OPEN, "", Timing::FirstShown);
}

#[test]
fn h265() {
    check_windows("h265", H265, OPUS, Timing::FirstDecoded);
}
