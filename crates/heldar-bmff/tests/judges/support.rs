//! Real coded media made by ffmpeg, a recorder in miniature, and the outside judges.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, LazyLock, Mutex, OnceLock},
};

use bytes::Bytes;
use heldar_bmff::*;
use heldar_media::{AudioCodec, AudioParams, VideoCodec, VideoParams};

/// A file of the scratch folder, which lies in cargo's.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("judges");
    fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

/// Runs a program that must succeed without a word on standard error; returns its output.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    // The first picture of an open group tells the decoder to forget pictures that it never had.
    let harmless = |line: &&str| line.trim().is_empty() || line.ends_with("mmco: unref short failure");
    let err: Vec<_> = err.lines().filter(|line| !harmless(line)).collect();
    assert!(out.status.success() && err.is_empty(), "{program} {args:?}\n{}\n{err:#?}", out.status);
    String::from_utf8(out.stdout).unwrap()
}

/// One coded sample of a clip, times in ticks of its track.
#[derive(Clone, Debug)]
pub(crate) struct Coded {
    pub(crate) data: Bytes,
    pub(crate) pts: i64,
    pub(crate) dts: i64,
    pub(crate) duration: u32,
    pub(crate) sync: bool,
}

/// A clip as ffmpeg coded it.
pub(crate) struct Clip {
    pub(crate) video: VideoParams,
    pub(crate) audio: Option<AudioParams>,
    pub(crate) pictures: Vec<Coded>,
    pub(crate) frames: Vec<Coded>,
    /// Checksum of each decoded picture, in order of presentation.
    pub(crate) picture_md5: Vec<String>,
}

/// Coding options of the clips.
pub(crate) const H264: &str =
    "-c:v libx264 -preset ultrafast -x264-params keyint=25:min-keyint=25:scenecut=0:bframes=0";
pub(crate) const H264_B: &str = "-c:v libx264 -preset veryfast -x264-params keyint=24:min-keyint=24:scenecut=0:bframes=3:b-adapt=0:b-pyramid=normal";
pub(crate) const H264_OPEN: &str = "-c:v libx264 -preset veryfast -x264-params keyint=20:min-keyint=20:scenecut=0:bframes=3:b-adapt=0:open-gop=1";
pub(crate) const H265: &str = "-c:v libx265 -preset ultrafast -tag:v hvc1 -x265-params log-level=none:keyint=20:min-keyint=20:scenecut=0:bframes=3:open-gop=1";
pub(crate) const AAC: &str = "-c:a aac -b:a 64k";
pub(crate) const OPUS: &str = "-c:a libopus -b:a 32k -ac 1";

/// A tone whose frequency is 200 Hz and 400 Hz more with each second, so that it tells the time.
const CHIRP: &str = "aevalsrc=0.5*sin(2*PI*(200+200*t)*t):duration=6:sample_rate=48000";

/// The clip coded with these options, six seconds of moving test picture with a chirp; made once per process.
pub(crate) fn clip(video: &str, audio: &str, size: &str) -> Arc<Clip> {
    type Cell = Arc<OnceLock<Arc<Clip>>>;
    static CLIPS: LazyLock<Mutex<HashMap<String, Cell>>> = LazyLock::new(Mutex::default);
    let (cell, number) = {
        let mut clips = CLIPS.lock().unwrap();
        let number = clips.len();
        (clips.entry(format!("{video}|{audio}|{size}")).or_default().clone(), number)
    };
    cell.get_or_init(|| Arc::new(make_clip(number, video, audio, size))).clone()
}

fn make_clip(number: usize, video: &str, audio: &str, size: &str) -> Clip {
    let path = scratch(&format!("clip_{number}.mp4"));
    let picture = format!("testsrc=duration=6:size={size}:rate=25");
    let mut args = vec!["-v", "error", "-y", "-f", "lavfi", "-i", &picture];
    if !audio.is_empty() {
        args.extend(["-f", "lavfi", "-i", CHIRP]);
    }
    args.extend(["-pix_fmt", "yuv420p", "-threads", "1"]);
    args.extend(video.split(' '));
    args.extend(audio.split(' ').filter(|a| !a.is_empty()));
    args.extend(["-video_track_timescale", "90000", path.to_str().unwrap()]);
    run("ffmpeg", &args);

    let bytes = fs::read(&path).unwrap();
    let (mut pictures, mut frames) = (Vec::new(), Vec::new());
    for (stream, coded) in [("v:0", &mut pictures), ("a:0", &mut frames)] {
        *coded = coded_samples(&path, &bytes, stream);
    }
    let h265 = video.contains("libx265");
    let (width, height) = size.split_once('x').unwrap();
    let video = VideoParams {
        codec: if h265 { VideoCodec::H265 } else { VideoCodec::H264 },
        codec_string: String::new(),
        width: width.parse().unwrap(),
        height: height.parse().unwrap(),
        pixel_aspect: None,
        nominal_interval: None,
        reorder_depth: 0,
        config: box_body(&bytes, if h265 { b"hvcC" } else { b"avcC" }),
    };
    let audio = (!audio.is_empty()).then(|| audio_params(&bytes, audio.contains("libopus")));
    let picture_md5 = picture_md5(&path);
    Clip { video, audio, pictures, frames, picture_md5 }
}

/// The body of the first box of a kind, found by its name anywhere in a file.
fn box_body(bytes: &[u8], kind: &[u8; 4]) -> Bytes {
    let at = bytes.windows(4).position(|w| w == kind).unwrap();
    let size = u32::from_be_bytes(bytes[at - 4..at].try_into().unwrap()) as usize;
    Bytes::copy_from_slice(&bytes[at + 4..at - 4 + size])
}

fn audio_params(bytes: &[u8], opus: bool) -> AudioParams {
    if opus {
        return AudioParams {
            codec: AudioCodec::Opus,
            codec_string: "opus".into(),
            sample_rate: 48_000,
            channels: 1,
            frame_samples: 960,
            config: box_body(bytes, b"dOps"),
        };
    }
    // AAC-LC (2), 48 kHz (3), one channel (ISO/IEC 14496-3 1.6.2.1).
    AudioParams {
        codec: AudioCodec::Aac,
        codec_string: "mp4a.40.2".into(),
        sample_rate: 48_000,
        channels: 1,
        frame_samples: 1024,
        config: Bytes::from_static(&[0x11, 0x88]),
    }
}

fn coded_samples(path: &Path, bytes: &[u8], stream: &str) -> Vec<Coded> {
    let fields = "packet=pts,dts,duration,size,pos,flags";
    packets_of(path, &["-ignore_editlist", "1"], stream, fields)
        .into_iter()
        .map(|f| {
            let number = |name: &str| f[name].parse::<i64>().unwrap();
            let (at, size) = (number("pos") as usize, number("size") as usize);
            Coded {
                data: Bytes::copy_from_slice(&bytes[at..at + size]),
                pts: number("pts"),
                dts: number("dts"),
                duration: number("duration") as u32,
                sync: f["flags"].contains('K'),
            }
        })
        .collect()
}

/// What ffprobe says of the packets or frames of a stream, field by field.
pub(crate) fn packets_of(
    path: &Path,
    options: &[&str],
    stream: &str,
    entries: &str,
) -> Vec<HashMap<String, String>> {
    let mut args = vec!["-v", "error"];
    args.extend(options);
    args.extend(["-select_streams", stream, "-show_entries", entries, "-of", "compact=p=0"]);
    args.push(path.to_str().unwrap());
    run("ffprobe", &args)
        .lines()
        .map(|line| {
            line.split('|').filter_map(|f| f.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
        })
        .filter(|fields: &HashMap<String, String>| !fields.is_empty())
        .collect()
}

/// A number that ffprobe says of the whole file.
pub(crate) fn probe(path: &Path, entry: &str) -> String {
    run("ffprobe", &["-v", "error", "-show_entries", entry, "-of", "csv=p=0", path.to_str().unwrap()])
        .trim()
        .to_owned()
}

/// Checksums of the decoded pictures, in order of presentation; every error of the decoder fails the test.
pub(crate) fn picture_md5(path: &Path) -> Vec<String> {
    let path = path.to_str().unwrap();
    let args =
        ["-v", "error", "-xerror", "-threads", "1", "-i", path, "-map", "0:v", "-vsync", "passthrough"];
    let out = run("ffmpeg", &[&args[..], &["-f", "framemd5", "-"]].concat());
    let md5 = |line: &str| line.rsplit(',').next().unwrap().trim().to_owned();
    out.lines().filter(|l| !l.starts_with('#')).map(md5).collect()
}

/// Like [`picture_md5`], by GStreamer, with the time at which each picture is shown, in microseconds. The last one may
/// be kept back by its decoder.
pub(crate) fn gstreamer_pictures(path: &Path, codec: VideoCodec) -> Vec<(i64, String)> {
    let decoder = match codec {
        VideoCodec::H264 => ["h264parse", "!", "avdec_h264"],
        VideoCodec::H265 => ["h265parse", "!", "avdec_h265"],
    };
    let location = format!("location={}", path.to_str().unwrap());
    let mut args = vec!["-q", "filesrc", &location, "!", "qtdemux", "name=d", "d.video_0", "!"];
    args.extend(decoder);
    args.extend(["max-threads=1", "!", "checksumsink", "hash=md5", "sync=false"]);
    let out = run("gst-launch-1.0", &args);
    out.lines()
        .filter_map(|line| {
            let (time, md5) = line.split_once(' ')?;
            let mut fields = time.split(':').map(|f| f.parse::<f64>().ok());
            let (h, m, s) = (fields.next()??, fields.next()??, fields.next()??);
            Some((((h * 60.0 + m) * 60.0 + s) * 1e6, md5.trim().to_owned()))
        })
        .map(|(us, md5)| (us as i64, md5))
        .collect()
}

/// Decoded sound, one float for each of 48,000 samples a second.
pub(crate) fn sound(path: &Path) -> Vec<f32> {
    let raw = path.with_extension("f32");
    let (path, out) = (path.to_str().unwrap(), raw.to_str().unwrap());
    run(
        "ffmpeg",
        &["-v", "error", "-xerror", "-y", "-i", path, "-map", "0:a", "-ac", "1", "-f", "f32le", out],
    );
    let bytes = fs::read(&raw).unwrap();
    bytes.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect()
}

/// Which second of the clip a tenth of a second of its sound is from, told by its frequency.
pub(crate) fn second_of(sound: &[f32]) -> f64 {
    let rising: Vec<usize> = (1..sound.len()).filter(|&i| sound[i - 1] < 0.0 && sound[i] >= 0.0).collect();
    let (first, last) = (rising[0], rising[rising.len() - 1]);
    let frequency = (rising.len() - 1) as f64 * 48_000.0 / (last - first) as f64;
    (frequency - 200.0) / 400.0
}

/// Presentation times of the decoded pictures, in ticks.
pub(crate) fn shown_times(path: &Path) -> Vec<i64> {
    packets_of(path, &["-threads", "1"], "v:0", "frame=pts")
        .iter()
        .map(|f| f["pts"].parse().unwrap())
        .collect()
}

/// A recorded file and its sample table.
pub(crate) struct Recorded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) table: SampleTable,
    pub(crate) index: FragmentIndex,
    pub(crate) init: InitSegment,
    pub(crate) builder: TableBuilder,
}

impl Recorded {
    /// The file as it lies on disk after sealing.
    pub(crate) fn sealed(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let slot = self.init.duration_slot() as usize;
        let duration = duration_box(self.index.end_ticks());
        bytes[slot..slot + duration.len()].copy_from_slice(&duration);
        bytes.extend(self.builder.encode().unwrap());
        bytes
    }
}

/// Samples of one fragment while it grows.
#[derive(Default)]
struct Open {
    base: Option<u64>,
    samples: Vec<SampleMeta>,
    data: Vec<u8>,
}

impl Open {
    fn push(&mut self, decode_time: i64, offset: i64, coded: &Coded) {
        self.base.get_or_insert(decode_time as u64);
        self.samples.push(SampleMeta {
            size: coded.data.len() as u32,
            duration: coded.duration,
            composition_offset: offset as i32,
            sync: coded.sync,
        });
        self.data.extend_from_slice(&coded.data);
    }
}

/// Where media time 0 of a recorded file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timing {
    /// At the first decode time: composition offsets are positive.
    FirstDecoded,
    /// At the first presentation time, as the recorder does: composition offsets are signed, and raised in the file.
    FirstShown,
}

/// Where an extra hole lies: before which picture, and how long, in ticks.
pub(crate) type Hole = (usize, i64);

/// Records a range of pictures and the sound of their time as one file. Fragments end at sync samples and before every
/// eighth picture that is presented after all before it.
pub(crate) fn record(
    clip: &Clip,
    pictures: std::ops::Range<usize>,
    timing: Timing,
    hole: Option<Hole>,
) -> Recorded {
    let start = heldar_base::WallTime(1_700_000_000_123_456);
    let all = &clip.pictures;
    let origin = clip.origin(&pictures, timing);
    let first_decode = all[pictures.start].dts;
    let lowest = all[pictures.clone()].iter().map(|p| p.pts - origin - (p.dts - first_decode)).min().unwrap();
    let delay = u32::try_from(-lowest.min(0)).unwrap();
    let init = InitSegment::delayed(start, &clip.video, clip.audio.as_ref(), delay).unwrap();
    let mut out = Recorder {
        delay,
        bytes: init.bytes().to_vec(),
        builder: TableBuilder::new(init.tracks()),
        index: FragmentIndex::new(),
        sequence: 0,
    };
    let first = all[pictures.clone()].iter().map(|p| p.pts).min().unwrap();
    let end = all.get(pictures.end..).and_then(|rest| rest.iter().map(|p| p.pts).min());
    // 48000 ticks of sound are 90000 of video.
    let video_time = |frame: &&Coded| frame.pts * 15 / 8;
    let ours = |frame: &&Coded| video_time(frame) >= first && end.is_none_or(|end| video_time(frame) < end);
    let mut frames = clip.frames.iter().filter(ours).peekable();
    let (mut video, mut sound) = (Open::default(), Open::default());
    let (mut shift, mut latest) = (0, i64::MIN);
    for number in pictures.clone() {
        let picture = &all[number];
        let after_all = all[number..pictures.end].iter().all(|p| p.pts > latest);
        let jump = hole.filter(|&(at, _)| at == number).map(|(_, ticks)| ticks);
        if !video.samples.is_empty()
            && after_all
            && (picture.sync || jump.is_some() || video.samples.len() >= 8)
        {
            out.fragment(&mut video, &mut sound);
        }
        if let Some(ticks) = jump {
            assert!(video.samples.is_empty(), "a hole can't lie between pictures that are reordered");
            shift += ticks;
        }
        latest = latest.max(picture.pts);
        let decode_time = picture.dts - all[pictures.start].dts;
        video.push(decode_time + shift, picture.pts - origin - decode_time, picture);
        while let Some(frame) = frames.next_if(|f| video_time(f) < picture.pts) {
            sound.push(frame.pts + (shift - origin) * 8 / 15, 0, frame);
        }
    }
    for frame in frames {
        sound.push(frame.pts + (shift - origin) * 8 / 15, 0, frame);
    }
    out.fragment(&mut video, &mut sound);
    let table = out.builder.table().unwrap();
    Recorded { bytes: out.bytes, table, index: out.index, init, builder: out.builder }
}

impl Clip {
    /// Media time of the clip that becomes 0 in a file of these pictures.
    pub(crate) fn origin(&self, pictures: &std::ops::Range<usize>, timing: Timing) -> i64 {
        match timing {
            Timing::FirstDecoded => self.pictures[pictures.start].dts,
            Timing::FirstShown => self.pictures[pictures.clone()].iter().map(|p| p.pts).min().unwrap(),
        }
    }
}

struct Recorder {
    delay: u32,
    bytes: Vec<u8>,
    builder: TableBuilder,
    index: FragmentIndex,
    sequence: u32,
}

impl Recorder {
    fn fragment(&mut self, video: &mut Open, sound: &mut Open) {
        self.sequence += 1;
        let mut runs = Vec::new();
        for (track_id, open) in [(VIDEO_TRACK_ID, &*video), (AUDIO_TRACK_ID, &*sound)] {
            if let Some(base_decode_time) = open.base {
                runs.push(TrackRun { track_id, base_decode_time, samples: &open.samples });
            }
        }
        let header = FragmentHeader::delayed(self.sequence, &runs, self.delay).unwrap();
        let offset = self.bytes.len() as u64;
        self.builder.push(offset, &header, &runs).unwrap();
        self.bytes.extend_from_slice(&header.bytes);
        self.bytes.extend_from_slice(&video.data);
        self.bytes.extend_from_slice(&sound.data);
        self.index.push_fragment(offset, header.fragment_len(), Some(&runs[0])).unwrap();
        (*video, *sound) = (Open::default(), Open::default());
    }
}

/// Writes bytes to a file of the scratch folder.
pub(crate) fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = scratch(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// The bytes of a virtual file over recorded files that are held in memory.
pub(crate) fn assemble(file: &VirtualFile, range: std::ops::Range<u64>, files: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for source in file.sources(range) {
        match source {
            Source::Header(bytes) => out.extend_from_slice(&bytes),
            Source::File(r) => {
                out.extend_from_slice(
                    &files[r.file as usize][r.offset as usize..(r.offset + r.len) as usize],
                );
            }
        }
    }
    out
}
