//! Clips for the test cameras, and files read by ffprobe and ffmpeg.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a clip is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Small: pictures of 1 or 2 kB.
    Light,
    /// Noise at some 4 Mbit/s.
    Heavy,
}

/// A clip, and the place of each of its pictures by the hash of its payload.
pub(crate) struct Clip {
    pub(crate) path: PathBuf,
    /// Pictures until it begins anew.
    pub(crate) pictures: usize,
    places: HashMap<String, usize>,
}

/// Pictures per second of every clip.
pub(crate) const RATE: usize = 10;

impl Clip {
    /// 16 s of pictures that all differ, a sync sample every second one.
    pub(crate) fn light(folder: &Path) -> Clip {
        Clip::make(folder, Look::Light)
    }

    /// 8 s of noise, for disks that are to fill.
    pub(crate) fn heavy(folder: &Path) -> Clip {
        Clip::make(folder, Look::Heavy)
    }

    fn make(folder: &Path, look: Look) -> Clip {
        let path = folder.join("clip.mp4");
        let (graph, encode) = match look {
            Look::Light => ("testsrc2=size=320x180:rate=10:duration=16", "-crf 30"),
            Look::Heavy => ("testsrc2=size=640x360:rate=10:duration=8,noise=alls=40:allf=t", "-b:v 4M"),
        };
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-f", "lavfi", "-i", graph, "-c:v", "libx264", "-preset", "ultrafast"])
            .args(["-g", "20", "-keyint_min", "20", "-sc_threshold", "0", "-bf", "0", "-pix_fmt", "yuv420p"])
            .args(encode.split(' '))
            .arg(&path)
            .status()
            .expect("ffmpeg is installed");
        assert!(made.success());
        let packets = packets(&path);
        let places: HashMap<String, usize> =
            packets.iter().enumerate().map(|(place, packet)| (packet.hash.clone(), place)).collect();
        assert_eq!(places.len(), packets.len(), "no two pictures of the clip are the same");
        Clip { path, pictures: packets.len(), places }
    }

    /// Which picture of the clip a recorded one is.
    pub(crate) fn place(&self, packet: &Packet) -> Option<usize> {
        self.places.get(&packet.hash).copied()
    }
}

/// One picture as ffprobe finds it in a file.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// Presentation time from the start of the file, microseconds.
    pub(crate) at_us: i64,
    pub(crate) sync: bool,
    hash: String,
}

/// The pictures of a file. Parameter sets and supplemental information are left out of what is compared: cameras put them
/// wherever they like.
#[track_caller]
pub(crate) fn packets(file: &Path) -> Vec<Packet> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", "v", "-show_data_hash", "md5"]);
    command.args(["-show_entries", "packet=pts_time,flags,data_hash", "-of", "csv=p=0"]).arg(file);
    let out = command.output().expect("ffprobe is installed");
    assert!(
        out.status.success() && out.stderr.is_empty(),
        "{}: {}",
        file.display(),
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8(out.stdout).unwrap();
    let packet = |line: &str| {
        let mut fields = line.split(',');
        let seconds: f64 = fields.next()?.parse().ok()?;
        let flags = fields.next()?;
        let hash = fields.find_map(|field| field.strip_prefix("MD5:"))?.to_owned();
        Some(Packet { at_us: (seconds * 1e6).round() as i64, sync: flags.starts_with('K'), hash })
    };
    text.lines().map(|line| packet(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

/// Whether any reader finds a picture in a file.
pub(super) fn has_picture(file: &Path) -> bool {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "quiet", "-select_streams", "v", "-show_entries", "packet=size", "-of", "csv=p=0"]);
    let out = command.arg(file).output().expect("ffprobe is installed");
    !out.stdout.is_empty()
}

/// How ffmpeg is to count time while it decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ticks {
    /// As it does by itself: in pictures of the rate that the file seems to have.
    Pictures,
    /// In those of the file: where a slewed clock puts pictures closer together, two may share a tick of that rate.
    File,
}

/// Decodes a whole file; any complaint fails.
#[track_caller]
pub(super) fn decodes(file: &Path, ticks: Ticks) {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-xerror", "-threads", "1", "-i"]).arg(file);
    if ticks == Ticks::File {
        command.args(["-vsync", "passthrough", "-enc_time_base", "-1"]);
    }
    let out = command.args(["-f", "null", "-"]).output().expect("ffmpeg is installed");
    assert!(
        out.status.success() && out.stderr.is_empty(),
        "{}: {}",
        file.display(),
        String::from_utf8_lossy(&out.stderr)
    );
}
