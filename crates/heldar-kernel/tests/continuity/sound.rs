//! Sound: frame follows frame, and keeps step with the pictures.

use std::process::Command;

use crate::reference::Recorded;
use crate::rig::File;

/// Each frame begins where the one before ends, also across files, but for the millisecond a fragment may correct and what
/// all frames share of a larger correction.
pub(crate) fn follows(audio: &Recorded) {
    for (at, pair) in audio.packets.windows(2).enumerate() {
        // The first frame of a run may last longer, so that sound begins with the pictures.
        if at == 0 {
            continue;
        }
        let seam = audio.starts.contains(&(at + 1));
        let off = pair[1].0 - (pair[0].0 + pair[0].1.duration);
        let limit = if seam { 3000.0 } else { 1250.0 };
        assert!(off.abs() <= limit, "frame {} of {}: {off} us off, seam {seam}", at + 1, audio.packets.len());
    }
}

/// What lies between sound and pictures when recorded is what lay between them when sent, from the first frame to the
/// last. Both are pairs of time of day and time sent.
pub(crate) fn keeps_step(frames: &[(f64, f64)], pictures: &[(f64, f64)]) {
    let offset = |at: usize| {
        let (time, sent) = frames[at];
        let near = pictures.partition_point(|(shown, _)| *shown <= time).saturating_sub(1);
        (time - sent) - (pictures[near].0 - pictures[near].1)
    };
    let offsets: Vec<f64> = (0..frames.len()).map(offset).collect();
    let (least, most) =
        offsets.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, m), o| (l.min(*o), m.max(*o)));
    assert!(most - least <= 15_000.0, "sound drifts by {} us against the pictures", most - least);
}

/// Samples per second of what is listened to.
const RATE: usize = 8000;
/// Samples of 5 ms.
const WINDOW: usize = RATE / 200;

/// The test cameras' telephone sound beeps whenever a whole second of the stream begins. Pictures and sound begin
/// together, so the beeps of the recorded sound lie at whole seconds of what the pictures show.
pub(crate) fn beeps_are_in_place(files: &[File], pictures: &[(f64, f64)]) {
    let mut offsets = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let start = file.start.0 as f64;
        // A run may begin within a beep.
        let whole = |beep: &f64| number > 0 || *beep > 300_000.0;
        for beep in beeps(file).into_iter().filter(whole) {
            let time = start + beep;
            let near = pictures.partition_point(|(shown, _)| *shown <= time).saturating_sub(1);
            let sent = pictures[near].1 + (time - pictures[near].0);
            let second = sent.rem_euclid(1e6);
            offsets.push(if second > 5e5 { second - 1e6 } else { second });
        }
    }
    let seconds = files.iter().map(|file| (file.end - file.start).as_secs_f64()).sum::<f64>();
    assert!(
        (offsets.len() as f64) >= seconds - 2.0 - files.len() as f64,
        "{} beeps in {seconds} s",
        offsets.len()
    );
    let mut sorted = offsets.clone();
    sorted.sort_by(f64::total_cmp);
    let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
    assert!(least > -40_000.0 && most < 40_000.0, "beeps {offsets:.0?} us from their pictures");
    assert!(most - least <= 25_000.0, "beeps wander: {offsets:.0?}");
}

/// When beeps begin, microseconds since the beginning of the file.
fn beeps(file: &File) -> Vec<f64> {
    let mut command = Command::new("ffmpeg");
    // Times as they are in the file, whose beginning is that of its pictures; where sound begins later it is filled up.
    command.args(["-v", "error", "-nostdin", "-copyts", "-i"]).arg(&file.path);
    command.args([
        "-map",
        "0:a",
        "-af",
        "aresample=async=1:first_pts=0",
        "-ac",
        "1",
        "-ar",
        &RATE.to_string(),
    ]);
    command.args(["-f", "s16le", "-"]);
    let out = command.output().expect("installed");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let samples: Vec<f64> =
        out.stdout.chunks_exact(2).map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]]))).collect();
    let is_high: Vec<bool> = samples.chunks(WINDOW).map(|w| power(w, 1200.0) > power(w, 400.0)).collect();
    let mut begins = Vec::new();
    for at in 4..is_high.len().saturating_sub(4) {
        // Several windows on either side, so that a crackle is no beep.
        if is_high[at..at + 4].iter().all(|high| *high) && is_high[at - 4..at].iter().all(|high| !*high) {
            begins.push((at * WINDOW) as f64 * 1e6 / RATE as f64);
        }
    }
    begins
}

/// Power of one frequency (Goertzel).
fn power(samples: &[f64], frequency: f64) -> f64 {
    let turn = 2.0 * (std::f64::consts::TAU * frequency / RATE as f64).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in samples {
        (last, before) = (sample + turn * last - before, last);
    }
    last * last + before * before - turn * last * before
}
