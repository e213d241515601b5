//! Footage that never was: random groups of pictures with random reordering, intervals and holes, in several files.

use bytes::Bytes;
use heldar_base::{Micros, WallTime};
use heldar_bmff::*;
use heldar_media::{AudioCodec, AudioParams, VideoCodec, VideoParams};

/// Numbers that depend on a seed alone.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// True once in `of` throws.
    pub(crate) fn once_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    pub(crate) fn bytes(&mut self, tag: u8, number: usize, most: u64) -> Vec<u8> {
        let mut out = vec![tag];
        out.extend((number as u32).to_be_bytes());
        out.extend((0..self.below(most)).map(|i| i as u8));
        out
    }
}

/// A picture as the model knows it.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) data: Vec<u8>,
    /// On screen from and to, in wall time.
    pub(crate) start: WallTime,
    pub(crate) end: WallTime,
    /// Place in decoding order, over all files.
    pub(crate) number: usize,
    /// Place in order of presentation, over all files.
    pub(crate) rank: usize,
    /// The sync sample from which it can be decoded.
    pub(crate) needs: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) data: Vec<u8>,
    pub(crate) start: WallTime,
}

/// One recorded file and what the model knows of it.
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    pub(crate) init: InitSegment,
    pub(crate) builder: TableBuilder,
    pub(crate) index: FragmentIndex,
    /// Where each fragment ends, and the table up to there; first the end of the init segment.
    pub(crate) ends: Vec<(u64, SampleTable)>,
    pub(crate) wall_start: WallTime,
    pub(crate) codec: VideoCodec,
    /// Whether the pictures of the file before were decoded just before those of this one.
    pub(crate) continues: bool,
    /// In decoding order.
    pub(crate) pictures: Vec<Picture>,
    pub(crate) frames: Vec<Frame>,
}

impl File {
    pub(crate) fn table(&self) -> SampleTable {
        self.builder.table().unwrap()
    }

    pub(crate) fn sealed(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let slot = self.init.duration_slot() as usize;
        let duration = duration_box(self.index.end_ticks());
        bytes[slot..slot + duration.len()].copy_from_slice(&duration);
        bytes.extend(self.builder.encode().unwrap());
        bytes
    }
}

/// A real AVCDecoderConfigurationRecord of x264, 160x120, baseline.
const AVCC: [u8; 39] =
    *b"\x01\x42\xc0\x0b\xff\xe1\x00\x18\x67\x42\xc0\x0b\xda\x0a\x11\xf9\x70\x11\x00\x00\x03\x00\x01\x00\
    \x00\x03\x00\x32\x0f\x14\x2a\xa0\x01\x00\x04\x68\xce\x0f\xc8";

/// A real HEVCDecoderConfigurationRecord of x265, 160x120, main.
const HVCC: [u8; 111] = *b"\x01\x01\x60\x00\x00\x00\x90\x00\x00\x00\x00\x00\x1e\xf0\x00\xfc\xfd\xf8\xf8\x00\x00\x0f\x03\xa0\x00\x01\x00\x18\
    \x40\x01\x0c\x01\xff\xff\x01\x60\x00\x00\x03\x00\x90\x00\x00\x03\x00\x00\x03\x00\x1e\x95\x94\x09\xa1\x00\x01\x00\
    \x2b\x42\x01\x01\x01\x60\x00\x00\x03\x00\x90\x00\x00\x03\x00\x00\x03\x00\x1e\xa0\x14\x20\x20\x7c\xb9\x65\x65\x4a\
    \x4c\x2f\x01\x68\x08\x00\x00\x03\x00\x08\x00\x00\x03\x00\xc8\x40\xa2\x00\x01\x00\x06\x44\x01\xc0\x73\xc1\x89";

/// Parameters of H.265, else those of [`video_params`].
fn h265_params() -> VideoParams {
    VideoParams {
        codec: VideoCodec::H265,
        codec_string: "hvc1.1.6.L30.90".into(),
        config: Bytes::from_static(&HVCC),
        ..video_params()
    }
}

pub(crate) fn video_params() -> VideoParams {
    VideoParams {
        codec: VideoCodec::H264,
        codec_string: "avc1.42c00b".into(),
        width: 160,
        height: 120,
        pixel_aspect: None,
        nominal_interval: Some(Micros(40_000)),
        reorder_depth: 0,
        config: Bytes::from_static(&AVCC),
    }
}

pub(crate) fn audio_params() -> AudioParams {
    AudioParams {
        codec: AudioCodec::Aac,
        codec_string: "mp4a.40.2".into(),
        sample_rate: 48_000,
        channels: 1,
        frame_samples: 1024,
        config: Bytes::from_static(&[0x11, 0x88]),
    }
}

/// Order, lengths and cuts of all pictures of a run.
#[derive(Default)]
struct Script {
    /// Per picture in decoding order: place in order of presentation, and the sync sample that it needs.
    ranks: Vec<(usize, usize)>,
    /// Where groups of pictures start.
    sync: Vec<usize>,
    /// Where fragments start; nothing before is presented after what follows.
    fragments: Vec<usize>,
    /// Where files start.
    files: Vec<usize>,
    /// Per picture in order of presentation: when it comes, and how long it stays, in ticks.
    times: Vec<(i64, i64)>,
}

impl Script {
    fn new(dice: &mut Dice, groups: u64) -> Self {
        let mut script = Script::default();
        for group in 0..groups {
            let start = script.ranks.len();
            let before = script.sync.last().copied();
            script.sync.push(start);
            script.fragments.push(start);
            if group == 0 || dice.once_in(3) {
                script.files.push(start);
            }
            script.group(dice, start, before);
        }
        let mut at = 0;
        for number in 0..script.ranks.len() {
            if number > 0 && script.fragments.contains(&number) && dice.once_in(6) {
                at += 1 + dice.below(300_000) as i64;
            }
            let length = match dice.below(10) {
                0 => 1 + dice.below(3) as i64,
                1 | 2 => 1 + dice.below(9_000) as i64,
                _ => 3_600,
            };
            script.times.push((at, length));
            at += length;
        }
        script
    }

    /// Appends one group of pictures; `before` is the sync sample of the one before.
    fn group(&mut self, dice: &mut Dice, start: usize, before: Option<usize>) {
        let leading = if before.is_some() && dice.once_in(2) { dice.below(3) as usize } else { 0 };
        let reordered = dice.below(4) as usize;
        self.ranks.push((start + leading, start));
        self.ranks.extend((0..leading).map(|i| (start + i, before.unwrap_or(start))));
        let end = start + leading + 1 + dice.below(12) as usize;
        let mut rank = start + leading + 1;
        while rank < end {
            if dice.once_in(4) {
                self.fragments.push(rank);
            }
            let between = reordered.min(end - rank - 1);
            self.ranks.push((rank + between, start));
            self.ranks.extend((0..between).map(|i| (rank + i, start)));
            rank += between + 1;
        }
    }
}

/// Samples of one track of a fragment.
#[derive(Default)]
struct Open {
    base: Option<i64>,
    samples: Vec<SampleMeta>,
    data: Vec<u8>,
}

impl Open {
    fn push(&mut self, decode_time: i64, data: &[u8], duration: i64, offset: i64, sync: bool) {
        self.base.get_or_insert(decode_time);
        let (size, duration) = (data.len() as u32, duration as u32);
        self.samples.push(SampleMeta { size, duration, composition_offset: offset as i32, sync });
        self.data.extend_from_slice(data);
    }
}

/// Wall time at which the run begins.
pub(crate) const BASE: WallTime = WallTime(1_700_000_000_000_007);

/// A run of `groups` groups of pictures, in one or more files.
pub(crate) fn footage(seed: u64, groups: u64) -> Vec<File> {
    let mut dice = Dice::new(seed);
    let script = Script::new(&mut dice, groups);
    let mut files = Vec::new();
    let sound = dice.below(2_000) as i64;
    let video = if dice.once_in(2) { video_params() } else { h265_params() };
    for (at, &start) in script.files.iter().enumerate() {
        let end = script.files.get(at + 1).copied().unwrap_or(script.ranks.len());
        files.push(record(&mut dice, &script, start..end, sound, &video));
    }
    files
}

fn record(
    dice: &mut Dice,
    script: &Script,
    numbers: std::ops::Range<usize>,
    sound: i64,
    video: &VideoParams,
) -> File {
    let with_audio = !dice.once_in(4);
    let init = InitSegment::new(video, Some(&audio_params()).filter(|_| with_audio)).unwrap();
    let origin = script.times[numbers.start].0;
    // How much later than decode times presentation times start.
    let shift = if dice.once_in(2) { 0 } else { dice.below(20_000) as i64 };
    let mut file = File {
        bytes: init.bytes().to_vec(),
        builder: TableBuilder::new(init.tracks()),
        index: FragmentIndex::new(),
        ends: Vec::new(),
        wall_start: BASE + Micros::from_ticks(origin, 90_000) - Micros::from_ticks(shift, 90_000),
        codec: video.codec,
        continues: !dice.once_in(5),
        pictures: Vec::new(),
        frames: Vec::new(),
        init,
    };
    file.ends.push((file.bytes.len() as u64, file.table()));
    let wall = |ticks: i64, scale: u32| file.wall_start + Micros::from_ticks(ticks, scale);
    let (mut pictures, mut frames) = (Vec::new(), Vec::new());
    let mut fragments = Vec::new();
    let starts: Vec<usize> = script.fragments.iter().copied().filter(|n| numbers.contains(n)).collect();
    for (at, &start) in starts.iter().enumerate() {
        let end = starts.get(at + 1).copied().unwrap_or(numbers.end);
        let (mut video, mut audio) = (Open::default(), Open::default());
        for number in start..end {
            let (rank, needs) = script.ranks[number];
            let data = dice.bytes(b'v', number, 40);
            let decode_time = script.times[number].0 - origin;
            let (shown, length) = (script.times[rank].0 - origin + shift, script.times[rank].1);
            let sync = script.sync.contains(&number);
            video.push(decode_time, &data, script.times[number].1, shown - decode_time, sync);
            let (start, end) = (wall(shown, 90_000), wall(shown + length, 90_000));
            pictures.push(Picture { data, start, end, number, rank, needs });
        }
        let open_until = script.times.get(end).map_or(i64::MAX / 16, |t| t.0);
        let from = script.times[start].0;
        if with_audio && !dice.once_in(8) {
            let until = open_until.min(script.times[end - 1].0 + 20_000);
            let first = (from * 8 / 15 - sound).max(0) / 1024 + 1;
            for count in first.. {
                let time = sound + count * 1024;
                if time * 15 / 8 >= until {
                    break;
                }
                let decode_time = time + (shift - origin) * 8 / 15;
                let data = dice.bytes(b'a', count as usize, 20);
                audio.push(decode_time, &data, 1024, 0, true);
                frames.push(Frame { data, start: wall(decode_time, 48_000) });
            }
        }
        fragments.push((video, audio));
    }
    (file.pictures, file.frames) = (pictures, frames);
    for (number, (video, audio)) in fragments.into_iter().enumerate() {
        append(&mut file, number as u32 + 1, &video, &audio);
    }
    file
}

fn append(file: &mut File, sequence: u32, video: &Open, audio: &Open) {
    let mut runs = Vec::new();
    for (track_id, open) in [(VIDEO_TRACK_ID, video), (AUDIO_TRACK_ID, audio)] {
        if let Some(base) = open.base {
            runs.push(TrackRun { track_id, base_decode_time: base as u64, samples: &open.samples });
        }
    }
    let header = FragmentHeader::new(sequence, &runs).unwrap();
    let offset = file.bytes.len() as u64;
    file.builder.push(offset, &header, &runs).unwrap();
    file.index.push_fragment(offset, header.fragment_len(), runs.first()).unwrap();
    for part in [&header.bytes, &video.data, &audio.data] {
        file.bytes.extend_from_slice(part);
    }
    file.ends.push((file.bytes.len() as u64, file.table()));
}
