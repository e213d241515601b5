//! ffprobe and ffmpeg as judges: packet lists with hashes, and decoding without a complaint.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

/// One packet as ffprobe lists it; times in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) pts: f64,
    pub(crate) dts: f64,
    pub(crate) duration: f64,
    pub(crate) hash: String,
}

/// One track of a file.
#[derive(Clone, Debug)]
pub(crate) struct Track {
    pub(crate) codec: String,
    pub(crate) is_video: bool,
    /// Microseconds, as the header of the track tells.
    pub(crate) duration: f64,
    pub(crate) packets: Vec<Packet>,
}

/// A file as ffprobe reads it.
#[derive(Clone, Debug)]
pub(crate) struct Probed {
    /// Microseconds.
    pub(crate) duration: f64,
    pub(crate) tracks: Vec<Track>,
}

impl Probed {
    pub(crate) fn video(&self) -> &Track {
        self.tracks.iter().find(|track| track.is_video).expect("a video track")
    }

    /// From the first decode time to the end of the last packet, in microseconds.
    pub(crate) fn pictures_last(&self) -> f64 {
        let packets = &self.video().packets;
        // ffprobe rounds lengths of single packets to the usual one.
        packets.last().map_or(0.0, |last| last.dts + last.duration)
            - packets.first().map_or(0.0, |first| first.dts)
    }

    pub(crate) fn audio(&self) -> Option<&Track> {
        self.tracks.iter().find(|track| !track.is_video)
    }
}

/// Output of a judge that must have nothing to complain about.
pub(crate) fn output(command: &mut Command) -> String {
    let out = command.output().expect("installed");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.is_empty(), "{command:?}: {said}");
    String::from_utf8(out.stdout).unwrap()
}

/// As [`output`], where complaints are allowed.
fn lenient(command: &mut Command) -> String {
    let out = command.output().expect("installed");
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Reads a file by ffprobe: every packet, without what edit lists make of it.
pub(crate) fn probe(path: &Path) -> Probed {
    let entries = "format=duration:stream=index,codec_type,codec_name,time_base,duration_ts:packet=stream_index,pts,dts,duration,data_hash";
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-ignore_editlist", "1", "-show_packets", "-show_data_hash", "md5"]);
    command.args(["-show_entries", entries, "-of", "json"]).arg(path);
    let told: Value = serde_json::from_str(&output(&mut command)).unwrap();
    let mut tracks: Vec<(f64, Track)> = Vec::new();
    for stream in told["streams"].as_array().unwrap() {
        let (over, under) = stream["time_base"].as_str().unwrap().split_once('/').unwrap();
        let tick = 1e6 * over.parse::<f64>().unwrap() / under.parse::<f64>().unwrap();
        let track = Track {
            codec: stream["codec_name"].as_str().unwrap().to_owned(),
            is_video: stream["codec_type"] == "video",
            duration: stream["duration_ts"].as_f64().unwrap_or(0.0) * tick,
            packets: Vec::new(),
        };
        tracks.push((tick, track));
    }
    for packet in told["packets"].as_array().unwrap() {
        let index = packet["stream_index"].as_u64().unwrap() as usize;
        let (tick, track) = &mut tracks[index];
        let ticks = |name: &str| packet[name].as_f64().map(|ticks| ticks * *tick);
        let (Some(pts), Some(dts)) = (ticks("pts"), ticks("dts")) else { panic!("no times in {packet}") };
        // ffprobe tells no length of the first packet of a track that begins later than the others, nor of a last one of
        // Opus: they end where the next begins, and with the track.
        let last = track.packets.last_mut().filter(|last| last.duration.is_nan());
        last.into_iter().for_each(|last| last.duration = dts - last.dts);
        track.packets.push(Packet {
            pts,
            dts,
            duration: ticks("duration").unwrap_or(f64::NAN),
            hash: packet["data_hash"].as_str().unwrap().to_owned(),
        });
    }
    for (_, track) in &mut tracks {
        let ends = track.duration;
        let last = track.packets.last_mut().filter(|last| last.duration.is_nan());
        last.into_iter().for_each(|last| last.duration = ends - last.dts);
    }
    let duration = told["format"]["duration"].as_str().unwrap().parse::<f64>().unwrap() * 1e6;
    Probed { duration, tracks: tracks.into_iter().map(|(_, track)| track).collect() }
}

/// What a decoder may say of the pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoding {
    /// Nothing.
    Clean,
    /// It may complain about references that the file cannot have, and has to go on.
    Lenient,
    /// It is not asked.
    NotJudged,
}

/// Hashes of the coded slices of each file's pictures, in decoding order, parameter sets, delimiters, messages and filler
/// left out; and the file decodes without a complaint.
pub(crate) fn slices(files: &[PathBuf], codec: &str, decoding: Decoding) -> Vec<Vec<String>> {
    let units = if codec == "hevc" { "filter_units=pass_types=0-31" } else { "filter_units=pass_types=1-5" };
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-xerror", "-nostdin", "-threads", "1"]);
    for file in files {
        command.args(["-ignore_editlist", "1", "-i"]).arg(file);
    }
    let inputs: Vec<String> = (0..files.len()).map(|input| format!("{input}:v:0")).collect();
    for input in &inputs {
        command.args(["-map", input]);
    }
    command.args(["-c", "copy", "-bsf:v", units, "-f", "framehash", "-hash", "md5", "-"]);
    if decoding != Decoding::NotJudged {
        for input in 0..files.len() {
            command.args(["-map", &input.to_string()]);
        }
        // Into the finest clock, so that pictures a millisecond apart do not fall into one tick of ffmpeg's guessed rate.
        command.args(["-vsync", "passthrough", "-enc_time_base", "1:90000", "-f", "null", "-"]);
    }
    let told = if decoding == Decoding::Lenient { lenient(&mut command) } else { output(&mut command) };
    let mut pictures = vec![Vec::new(); files.len()];
    for line in told.lines().filter(|line| !line.starts_with('#')) {
        let mut fields = line.split(',').map(str::trim);
        let (stream, hash) = (fields.next().unwrap(), fields.next_back().unwrap());
        pictures[stream.parse::<usize>().unwrap()].push(hash.to_owned());
    }
    pictures
}

/// A file decodes without a complaint.
pub(crate) fn decodes(path: &Path) {
    let mut command = Command::new("ffmpeg");
    command
        .args(["-v", "error", "-xerror", "-nostdin", "-threads", "1", "-i"])
        .arg(path)
        .args(["-f", "null", "-"]);
    output(&mut command);
}

/// Runs jobs on two threads, each to its end; lists the names of those that failed with what they said.
pub(crate) fn in_parallel<T: Sync>(jobs: &[T], name: impl Fn(&T) -> String + Sync, work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let failed: Vec<String> = std::thread::scope(|scope| {
        let worker = || {
            let mut failed = Vec::new();
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(job)));
                if let Err(why) = outcome {
                    let text = why.downcast_ref::<String>().cloned();
                    let text = text.or_else(|| why.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                    failed.push(format!("{}: {}", name(job), text.unwrap_or_default()));
                }
            }
            failed
        };
        let threads = [scope.spawn(worker), scope.spawn(worker)];
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), jobs.len(), failed.join("\n\n"));
}
