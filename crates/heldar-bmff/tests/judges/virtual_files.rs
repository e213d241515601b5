//! Virtual files, judged by ffprobe, ffmpeg and GStreamer: exactly the pictures of the window, exactly as long.

use std::ops::Range;

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

    fn plan(&self, windows: &[(i64, i64)]) -> VirtualFile {
        let mut parts = Vec::new();
        for ((file, &wall_start), number) in self.files.iter().zip(&self.wall_starts).zip(0..) {
            for (from, to) in windows {
                let window = Interval::new(WallTime(BASE_US + from), WallTime(BASE_US + to));
                parts.push(Part {
                    file: number,
                    table: &file.table,
                    wall_start,
                    window,
                    join: Join::Continues,
                });
            }
        }
        VirtualFile::plan(&parts).unwrap()
    }

    fn assemble(&self, file: &VirtualFile) -> Vec<u8> {
        let files: Vec<&[u8]> = self.files.iter().map(|f| &f.bytes[..]).collect();
        assemble(file, 0..file.total_len(), &files)
    }

    /// The pictures of these windows, each with how long it is shown, in microseconds.
    fn shown(&self, windows: &[(i64, i64)]) -> Vec<(&str, i64)> {
        let overlap = |start: i64, end: i64| {
            windows.iter().map(|(from, to)| (end.min(*to) - start.max(*from)).max(0)).sum()
        };
        let all = self.pictures.iter().map(|(start, end, md5)| (md5.as_str(), overlap(*start, *end)));
        all.filter(|(_, length)| *length > 0).collect()
    }

    /// Plans windows and has the file judged.
    fn check(&self, name: &str, windows: &[(i64, i64)], judges: Judges) {
        let file = self.plan(windows);
        let bytes = self.assemble(&file);
        assert_eq!(bytes.len() as u64, file.total_len());
        let path = write(&format!("{name}_{}_{}.mp4", windows[0].0, windows[0].1), &bytes);

        let shown = self.shown(windows);
        let total: i64 = shown.iter().map(|(_, length)| length).sum();
        let starts: Vec<_> = shown
            .iter()
            .scan(0, |at, (_, length)| {
                *at += length;
                Some(*at - length)
            })
            .collect();
        let same_pictures = |found: &[String]| found.iter().eq(shown.iter().map(|(md5, _)| md5));
        assert!(same_pictures(&picture_md5(&path)), "{name} {windows:?}: pictures in ffmpeg");
        // A tick of 1/90000 s for each edge of a window that lies between two.
        let near = |found: &[i64]| {
            found.len() == starts.len() && found.iter().zip(&starts).all(|(a, b)| (a - b).abs() <= 24)
        };
        let times: Vec<i64> = shown_times(&path).iter().map(|t| t * 100 / 9).collect();
        assert!(near(&times), "{name} {windows:?}: {times:?} {starts:?}");

        for seconds in [probe(&path, "format=duration").parse::<f64>().unwrap(), file.media_seconds()] {
            let wanted = total as f64 / 1e6;
            assert!(
                (seconds - wanted).abs() < 3e-5 && seconds <= wanted + 1e-6,
                "{name} {windows:?}: {seconds} {wanted}"
            );
        }
        if judges == Judges::AlsoGStreamer {
            let codec = self.files[0].table.track(1).unwrap().params().video().unwrap().codec;
            let (times, pictures): (Vec<_>, Vec<_>) = gstreamer_pictures(&path, codec).into_iter().unzip();
            // GStreamer 1.22 takes times of the media for times of the movie, and stops at the first sync sample that
            // lies past the movie's length by that measure, in ffmpeg's files too. So a lead-in costs the end.
            let complete = file.lead_in_ticks() == 0;
            let expected = shown.iter().map(|(md5, _)| md5.to_string()).take(if complete {
                shown.len()
            } else {
                pictures.len()
            });
            assert!(pictures.iter().cloned().eq(expected), "{name} {windows:?}: pictures in GStreamer");
            for (time, start) in times.iter().zip(&starts) {
                assert!((time - times[0] - start).abs() <= 24, "{name} {windows:?}: {times:?} {starts:?}");
            }
        }
    }
}

/// Who looks at a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judges {
    Ffmpeg,
    AlsoGStreamer,
}

/// Windows that start and end on and between pictures, in one file and across several.
fn check_windows(name: &str, video: &str, audio: &str, timing: Timing) {
    let clip = clip(video, audio, "160x120");
    let last = clip.pictures.len();
    let whole = Footage::new(&clip, timing, &[(0..last, 0)]);
    let sync: Vec<_> = (0..last).filter(|&at| clip.pictures[at].sync).collect();
    let (second, third) = (sync[2], sync[4]);
    let apart = Footage::new(&clip, timing, &[(0..second, 0), (second..third, 0), (third..last, 3_000_000)]);
    for (footage, kind, judges) in
        [(&whole, "whole", Judges::Ffmpeg), (&apart, "apart", Judges::AlsoGStreamer)]
    {
        for (from, to, judges) in [
            (-500_000, 20_000_000, judges),
            (40_000, 80_000, Judges::Ffmpeg),
            (1_330_000, 1_331_000, Judges::Ffmpeg),
            (1_920_000, 2_080_000, Judges::Ffmpeg),
            (700_001, 2_899_999, Judges::Ffmpeg),
            (1_640_000, 4_280_000, Judges::Ffmpeg),
            (5_500_000, 7_700_000, Judges::Ffmpeg),
        ] {
            footage.check(&format!("{name}_{kind}"), &[(from, to)], judges);
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

/// The sound of each picture is heard with it, across files and closed-up holes.
fn check_sound(name: &str, audio: &str, priming: f64) {
    let clip = clip(H264, audio, "160x120");
    let cuts = [(0..50, 0), (50..100, 0), (100..150, 3_000_000)];
    let footage = Footage::new(&clip, Timing::FirstShown, &cuts);
    for windows in [vec![(700_001, 20_000_000)], vec![(360_000, 1_480_000), (2_600_000, 8_500_000)]] {
        let file = footage.plan(&windows);
        let path = write(&format!("sound_{name}_{}.mp4", windows[0].0), &footage.assemble(&file));
        let sound = sound(&path);
        let seconds = sound.len() as f64 / 48_000.0;
        // Whole frames are left at the end and at each hole.
        assert!(
            (seconds - file.media_seconds()).abs() < 0.06,
            "{name}: {seconds} of {}",
            file.media_seconds()
        );
        let mut at = 0;
        let shown: Vec<_> = footage.shown(&windows);
        for (number, (md5, length)) in shown.iter().enumerate() {
            let picture = clip.picture_md5.iter().position(|m| m == md5).unwrap();
            // Only where a tenth of a second around the picture is one piece of the clip.
            let steady = number > 2
                && shown
                    .get(number + 2)
                    .is_some_and(|next| next.0 == clip.picture_md5[(picture + 2).min(149)])
                && shown[number - 2].0 == clip.picture_md5[picture.saturating_sub(2)];
            let middle = ((at + length / 2) * 48 / 1000) as usize;
            if let Some(here) = sound.get(middle - middle.min(2_400)..middle + 2_400).filter(|_| steady) {
                let expected = picture as f64 * 0.04 + 0.02 - priming;
                let heard = second_of(here);
                assert!((heard - expected).abs() < 0.045, "{name} {windows:?}: {heard} with {expected}");
            }
            at += length;
        }
    }
}

#[test]
fn aac_in_sync() {
    check_sound("aac", AAC, 1024.0 / 48_000.0);
}

#[test]
fn opus_in_sync() {
    check_sound("opus", OPUS, 312.0 / 48_000.0);
}

/// A change of size and one of coding become further sample entries.
#[test]
fn parameter_changes() {
    let small = clip(H264, "", "160x120");
    let large = clip(H264, "", "192x144");
    let other = clip(H265, "", "160x120");
    let [first, second, third] = [&small, &large, &other].map(|c| {
        let sync = (1..c.pictures.len()).find(|&at| c.pictures[at].sync).unwrap();
        record(c, 0..sync, Timing::FirstDecoded, None)
    });
    let window = Interval::ALL;
    let parts = [(&first, 0), (&second, 1), (&third, 2)].map(|(recorded, file)| Part {
        file,
        table: &recorded.table,
        wall_start: WallTime(BASE_US + i64::from(file) * 60_000_000),
        window,
        join: Join::Fresh,
    });
    let bytes = [&first.bytes[..], &second.bytes[..], &third.bytes[..]];

    let same_coding = VirtualFile::plan(&parts[..2]).unwrap();
    let path = write("change_size.mp4", &assemble(&same_coding, 0..u64::MAX, &bytes));
    let frames = packets_of(&path, &["-threads", "1"], "v:0", "frame=width");
    let count = |width: &str| frames.iter().filter(|f| f["width"] == width).count();
    assert_eq!((count("160"), count("192")), (25, 25));

    // ffmpeg hands all samples to the decoder of the first entry's coding, which complains of the others.
    let all = VirtualFile::plan(&parts).unwrap();
    let path = write("change_coding.mp4", &assemble(&all, 0..u64::MAX, &bytes));
    let shown = packets_of(&path, &["-v", "quiet"], "v:0", "frame=width");
    assert_eq!(shown.len(), 50);
    let carried = packets_of(&path, &["-v", "quiet"], "v:0", "packet=size");
    assert_eq!(carried.len(), 50 + third.table.track(1).unwrap().samples().len());
    let codings: Vec<_> = all.parts().iter().map(|p| p.codec_string.as_str()).collect();
    assert_eq!(codings, ["avc1.42c00b", "avc1.42c00b", "hvc1.1.6.L30.90"]);
    assert_eq!(all.codecs(), ["avc1.42c00b", "hvc1.1.6.L30.90"]);
}

/// A hole inside a file is closed up like one between files.
#[test]
fn hole_inside_a_file() {
    let clip = clip(H264_B, AAC, "160x120");
    let recorded = record(&clip, 0..clip.pictures.len(), Timing::FirstShown, Some((48, 450_000)));
    let (wall_start, window) = (WallTime(BASE_US), Interval::ALL);
    let part = Part { file: 0, table: &recorded.table, wall_start, window, join: Join::Fresh };
    let file = VirtualFile::plan(&[part]).unwrap();
    let path = write("hole_inside.mp4", &assemble(&file, 0..u64::MAX, &[&recorded.bytes]));
    assert_eq!(picture_md5(&path), clip.picture_md5);
    assert_eq!(shown_times(&path), (0..150).map(|i| i * 3600).collect::<Vec<_>>());
    let walls: Vec<_> =
        file.parts().iter().map(|p| (p.wall.start - wall_start, p.wall.end - wall_start)).collect();
    let ms = heldar_base::Micros::from_millis;
    assert_eq!(walls, [(ms(0), ms(1_920)), (ms(6_920), ms(11_000))]);
    assert_eq!(file.parts()[1].media_start_ticks, 172_800);
}

/// What GStreamer shows after a lead-in.
#[test]
fn lead_in_in_gstreamer() {
    for (name, video) in [("h264", H264), ("h264_b", H264_B), ("h265", H265)] {
        let clip = clip(video, AAC, "160x120");
        let footage = Footage::new(&clip, Timing::FirstShown, &[(0..clip.pictures.len(), 0)]);
        footage.check(&format!("{name}_lead_in"), &[(1_640_000, 4_280_000)], Judges::AlsoGStreamer);
    }
}

/// Windows with something left out between them: pictures are carried in the middle that are not shown.
fn check_left_out(name: &str, video: &str, timing: Timing) {
    let clip = clip(video, AAC, "160x120");
    let last = clip.pictures.len();
    let sync: Vec<_> = (0..last).filter(|&at| clip.pictures[at].sync).collect();
    let whole = Footage::new(&clip, timing, &[(0..last, 0)]);
    let apart = Footage::new(&clip, timing, &[(0..sync[3], 0), (sync[3]..last, 0)]);
    for windows in [
        [(300_000, 1_500_000), (3_500_000, 5_200_000)],
        [(360_000, 1_480_000), (1_600_000, 1_840_000)],
        [(2_110_000, 2_330_000), (3_000_000, 4_000_000)],
    ] {
        whole.check(&format!("{name}_left_out"), &windows, Judges::Ffmpeg);
        apart.check(&format!("{name}_left_out_apart"), &windows, Judges::Ffmpeg);
    }
}

#[test]
fn left_out() {
    check_left_out("h264", H264, Timing::FirstShown);
}

#[test]
fn left_out_b() {
    check_left_out("h264_b", H264_B, Timing::FirstShown);
}

#[test]
fn left_out_h265() {
    check_left_out("h265", H265, Timing::FirstShown);
}
