//! Clips that ffmpeg encodes, and what ffmpeg itself makes of them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use heldar_decode::{Decoders, Options};
use heldar_media::{VideoCodec, VideoParams};
use heldar_testcam::mp4::{Movie, Sample};
use tempfile::TempDir;

pub(crate) const WIDTH: usize = 320;
pub(crate) const HEIGHT: usize = 180;

pub(crate) struct Clip {
    pub(crate) params: VideoParams,
    pub(crate) samples: Vec<Sample>,
    path: PathBuf,
    _folder: TempDir,
}

/// Two seconds of 25 pictures, a sync sample each second.
pub(crate) fn clip(codec: VideoCodec, encode: &str) -> Clip {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("clip.mp4");
    let source = format!("testsrc2=size={WIDTH}x{HEIGHT}:rate=25:duration=2");
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", &source, "-pix_fmt", "yuv420p", "-g", "25"])
        .args(encode.split_whitespace())
        .arg(&path)
        .stdin(Stdio::null())
        .status()
        .expect("ffmpeg runs");
    assert!(status.success(), "ffmpeg encodes with {encode}");
    let file = Bytes::from(std::fs::read(&path).expect("the clip"));
    let name: &[u8] = match codec {
        VideoCodec::H264 => b"avcC",
        VideoCodec::H265 => b"hvcC",
    };
    let at = file.windows(4).position(|window| window == name).expect("a configuration box");
    let len = u32::from_be_bytes(*file[at - 4..].first_chunk().expect("four bytes")) as usize;
    let params = VideoParams {
        codec,
        codec_string: String::new(),
        width: WIDTH as u32,
        height: HEIGHT as u32,
        pixel_aspect: None,
        nominal_interval: None,
        reorder_depth: 0,
        config: file.slice(at + 4..at - 4 + len),
    };
    let movie = Movie::parse(&file).expect("a movie");
    Clip { params, samples: movie.tracks[0].samples.clone(), path, _folder: folder }
}

/// When a sample is shown, in its track's units.
pub(crate) fn shown(sample: &Sample) -> i64 {
    sample.decode_time as i64 + sample.composition_offset
}

impl Clip {
    /// The luma planes of all pictures in presentation order, decoded by ffmpeg.
    pub(crate) fn luma_by_ffmpeg(&self) -> Vec<Vec<u8>> {
        let raw = ffmpeg(&self.path, "-vf extractplanes=y -f rawvideo -pix_fmt gray");
        raw.chunks_exact(WIDTH * HEIGHT).map(<[u8]>::to_vec).collect()
    }

    /// The place of a sample among all in presentation order.
    pub(crate) fn order(&self, sample: &Sample) -> usize {
        self.samples.iter().filter(|other| shown(other) < shown(sample)).count()
    }
}

/// What ffmpeg makes of a file.
pub(crate) fn ffmpeg(path: &Path, options: &str) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args(options.split_whitespace())
        .arg("-")
        .stdin(Stdio::null())
        .output()
        .expect("ffmpeg runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A JPEG as RGB, decoded by ffmpeg.
pub(crate) fn rgb(jpeg: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("picture.jpg");
    std::fs::write(&path, jpeg).expect("written");
    ffmpeg(&path, "-f rawvideo -pix_fmt rgb24")
}

/// Mean difference of two equally long byte strings.
pub(crate) fn difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
}

pub(crate) fn decoders(processes: usize) -> Decoders {
    Decoders::new(Options {
        program: env!("CARGO_BIN_EXE_heldar-decoder").into(),
        processes,
        nice: 0,
        memory_mb: 1024,
        deadline: std::time::Duration::from_secs(1),
    })
}

/// The first picture of a clip as ffmpeg shows it.
pub(crate) fn first_picture_rgb(clip: &Clip) -> Vec<u8> {
    ffmpeg(&clip.path, "-frames:v 1 -f rawvideo -pix_fmt rgb24")
}
