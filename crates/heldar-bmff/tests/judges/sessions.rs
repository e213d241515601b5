//! Playback sessions: fragments of several files, moved to rising decode times, the last one cut.

use heldar_bmff::*;

use crate::support::*;

/// The bytes of the fragments of a file that are shown before `until`, the last of them cut, moved by `base` ticks.
fn served(recorded: &Recorded, base: u64, until: u64) -> Vec<u8> {
    let tracks = recorded.table.entries();
    let mut out = Vec::new();
    for (span, entry) in recorded.table.fragments().iter().zip(recorded.index.entries()) {
        if entry.start_ticks >= until {
            break;
        }
        let whole = &recorded.bytes[span.offset as usize..span.end() as usize];
        let moof = &whole[..span.moof_len as usize];
        let cut = cut_fragment(moof, until, &tracks).unwrap();
        let mut fragment = cut.header.clone();
        cut.payload.iter().for_each(|r| fragment.extend_from_slice(&whole[r.start as usize..r.end as usize]));
        assert_eq!(fragment.len() as u64, cut.total_len());
        shift_decode_times(&mut fragment[..cut.moof_len as usize], base, &tracks).unwrap();
        out.extend(fragment);
    }
    out
}

/// Two files of a clip, the second behind a gap and cut before its end: every picture needed is decoded, at its time.
fn check(name: &str, video: &str, audio: &str) {
    let clip = clip(video, audio, "160x120");
    let last = clip.pictures.len();
    let second = (0..last).filter(|&at| clip.pictures[at].sync).nth(3).unwrap();
    let files = [0..second, second..last].map(|range| record(&clip, range, Timing::FirstDecoded, None));
    // The second file starts 5 s after the first ended.
    let base = files[0].index.end_ticks() + 450_000;
    let start = files[1].index.entries()[0].start_ticks;
    let until = start + 160_000;
    let mut bytes = files[0].init.bytes().to_vec();
    bytes.extend(served(&files[0], 0, u64::MAX / 90_000));
    bytes.extend(served(&files[1], base, until));
    let path = write(&format!("session_{name}.mp4"), &bytes);

    // Pictures in order of presentation; the cut keeps what comes before the last needed one in decoding order.
    let offset = |range: &std::ops::Range<usize>| clip.origin(range, Timing::FirstDecoded);
    let mut expected: Vec<i64> =
        clip.pictures[..second].iter().map(|p| p.pts - offset(&(0..second))).collect();
    let later: Vec<i64> = clip.pictures[second..].iter().map(|p| p.pts - offset(&(second..last))).collect();
    let count = later.iter().rposition(|&pts| pts < until as i64).unwrap() + 1;
    expected.extend(later[..count].iter().map(|pts| pts + base as i64));
    expected.sort_unstable();
    let mut found: Vec<i64> =
        packets_of(&path, &[], "v:0", "packet=pts").iter().map(|p| p["pts"].parse().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, expected, "{name}");
    assert_eq!(shown_times(&path), expected, "{name}: decoded");
    if !audio.is_empty() {
        // Sound moves with the pictures, to the tick.
        let video_start =
            expected.iter().find(|&&pts| pts >= base as i64).copied().unwrap() as f64 / 90_000.0;
        let sound: Vec<f64> = packets_of(&path, &[], "a:0", "packet=pts_time")
            .iter()
            .map(|p| p["pts_time"].parse().unwrap())
            .collect();
        let first = sound.iter().copied().find(|&at| at > base as f64 / 90_000.0 - 1.0).unwrap();
        assert!((first - video_start).abs() < 0.03, "{name}: {first} {video_start}");
        let end = base as f64 / 90_000.0 + until as f64 / 90_000.0;
        assert!(sound.iter().all(|&at| at < end), "{name}: sound past the cut");
    }
}

#[test]
fn h264() {
    check("h264", H264, AAC);
}

#[test]
fn h264_b() {
    check("h264_b", H264_B, "");
}

#[test]
fn h265() {
    check("h265", H265, OPUS);
}
