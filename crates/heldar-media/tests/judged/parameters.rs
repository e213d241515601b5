//! Parameter sets, sync samples and decode times of streams by x264 and x265, against what ffmpeg makes of them.

use crate::clip::{Clip, encode};
use bytes::{Bytes, BytesMut};
use heldar_base::{Micros, WallTime};
use heldar_media::{
    DecodeTimes, ParamChange, ParamTracker, Picture, StartGate, SyncKind, VideoCodec, VideoParams, h264,
    h265, nal, read_picture,
};

/// What is expected beside ffprobe's answers.
struct Expect {
    /// `LL` and `HH` stand for the level that ffprobe tells.
    codec_string: &'static str,
    sync: &'static [SyncKind],
}

/// Pictures of a clip as a camera sends them: parameter sets before each sync sample, nothing out of band.
fn pictures(codec: VideoCodec, clip: &Clip, sets: &[Bytes]) -> Vec<(i64, Picture)> {
    let read = |(n, packet): (usize, &crate::clip::Packet)| {
        let mut data = BytesMut::new();
        if n == 0 || packet.key {
            sets.iter().for_each(|set| nal::push(&mut data, set));
        }
        data.extend_from_slice(&packet.data);
        let picture = read_picture(codec, &data.freeze()).unwrap();
        assert_eq!(picture.damaged, 0);
        (packet.pts, picture)
    };
    clip.packets.iter().enumerate().map(read).collect()
}

fn check(codec: VideoCodec, clip: &Clip, expect: &Expect) -> VideoParams {
    let record = clip.box_body(match codec {
        VideoCodec::H264 => b"avcC",
        VideoCodec::H265 => b"hvcC",
    });
    let sets = match codec {
        VideoCodec::H264 => h264::parameter_sets(&record),
        VideoCodec::H265 => h265::parameter_sets(&record),
    }
    .unwrap();

    // In band only: the first sync sample has all that is needed, and nothing changes from then on.
    let mut tracker = ParamTracker::new(codec);
    let pictures = pictures(codec, clip, &sets);
    for (n, (pts, picture)) in pictures.iter().enumerate() {
        let before = tracker.params().cloned();
        let change = tracker.update(picture, *pts);
        assert_eq!(change, if n == 0 { ParamChange::Parameters } else { ParamChange::Unchanged });
        assert!(n == 0 || std::sync::Arc::ptr_eq(&before.unwrap(), tracker.params().unwrap()));
    }
    let video = tracker.params().unwrap().video().unwrap().clone();

    assert_eq!(video.config, without_sei(codec, &record), "decoder configuration record");
    let level = clip.number("level");
    let codec_string = match codec {
        VideoCodec::H264 => expect.codec_string.replace("LL", &format!("{level:02x}")),
        VideoCodec::H265 => {
            expect.codec_string.replace("LL", &format!("L{level}")).replace("HH", &format!("H{level}"))
        }
    };
    assert_eq!(video.codec_string, codec_string);
    assert_eq!(
        (i64::from(video.width), i64::from(video.height)),
        (clip.number("width"), clip.number("height"))
    );
    assert_eq!(i64::from(video.reorder_depth), clip.number("has_b_frames"));
    let (num, den) = clip.ratio("r_frame_rate");
    let interval = Micros::from_ticks(i64::from(den), num);
    assert_eq!(video.nominal_interval, Some(interval));
    let aspect = clip.ratio("sample_aspect_ratio");
    assert_eq!(video.pixel_aspect.unwrap_or((1, 1)), aspect);

    let sync: Vec<SyncKind> = pictures.iter().map(|(_, p)| p.sync).filter(|s| s.is_sync()).collect();
    assert_eq!(sync, expect.sync);
    check_decode_times(clip, &pictures, &video, interval);
    video
}

/// Leaves out the array of SEI messages that ffmpeg puts behind the parameter sets of `hvcC`.
fn without_sei(codec: VideoCodec, record: &Bytes) -> Bytes {
    let mut record = record.to_vec();
    if codec == VideoCodec::H265 && record[22] == 4 {
        let at = record.windows(3).rposition(|w| w == [0x80 | 39, 0, 1] || w == [39, 0, 1]).unwrap();
        record.truncate(at);
        record[22] = 3;
    }
    record.into()
}

/// ffmpeg knew the decode times when it wrote the clip; ours are the same but for a constant.
fn check_decode_times(clip: &Clip, pictures: &[(i64, Picture)], video: &VideoParams, interval: Micros) {
    let (_, scale) = clip.ratio("time_base");
    let time = |ticks: i64| Micros::from_ticks(ticks, scale);
    let mut times = DecodeTimes::new(video.reorder_depth, Some(interval));
    let first = time(clip.packets[0].pts - clip.packets[0].dts);
    for (packet, (pts, picture)) in clip.packets.iter().zip(pictures) {
        let ours = times.next(WallTime(time(*pts).0), picture.sync);
        let theirs = WallTime(0) + time(packet.dts) + first;
        assert!((ours - theirs).abs() <= Micros(2), "{ours:?} {theirs:?}");
    }
}

const CLOSED: &[SyncKind] = &[SyncKind::Closed, SyncKind::Closed];
const ALL_CLOSED: &[SyncKind] = &[SyncKind::Closed; 24];
const OPEN: &[SyncKind] = &[SyncKind::Closed, SyncKind::Open];

#[test]
fn x264_streams() {
    for (size, rate, args, codec_string, sync) in [
        ("320x240", "25", "-profile:v baseline", "avc1.42c0LL", CLOSED),
        ("320x240", "10", "-profile:v main -bf 0", "avc1.4d40LL", CLOSED),
        ("322x182", "25", "-profile:v high -bf 1", "avc1.6400LL", CLOSED),
        (
            "1920x1080",
            "30000/1001",
            "-preset superfast -profile:v high -bf 2 -weightp 0",
            "avc1.6400LL",
            CLOSED,
        ),
        ("320x240", "25", "-bf 3 -x264-params b-pyramid=normal:8x8dct=1:cqm=jvt", "avc1.6400LL", CLOSED),
        ("720x576", "25", "-bf 2 -x264-params tff=1 -vf setsar=16/11", "avc1.6400LL", CLOSED),
        ("320x240", "25", "-vf setsar=1000/999", "avc1.6400LL", CLOSED),
        (
            "320x240",
            "25",
            "-b:v 200k -maxrate 300k -bufsize 300k -x264-params nal-hrd=vbr",
            "avc1.6400LL",
            CLOSED,
        ),
        ("320x240", "25", "-pix_fmt yuv420p10le -profile:v high10", "avc1.6e00LL", CLOSED),
        ("322x242", "25", "-pix_fmt yuv422p -profile:v high422", "avc1.7a00LL", CLOSED),
        ("321x241", "25", "-pix_fmt yuv444p -profile:v high444 -x264-params cqm=jvt", "avc1.f400LL", CLOSED),
        ("320x240", "25", "-pix_fmt yuv420p10le -profile:v high10 -g 1", "avc1.6e10LL", ALL_CLOSED),
        ("320x240", "25", "-bf 2 -x264-params open-gop=1", "avc1.6400LL", OPEN),
        // The recovery takes several pictures: only the first one is a sync sample.
        ("320x240", "25", "-bf 0 -x264-params intra-refresh=1", "avc1.6400LL", &CLOSED[..1]),
    ] {
        let pix_fmt = if args.contains("pix_fmt") { "" } else { "-pix_fmt yuv420p" };
        let gop = if args.contains("-g 1") { "" } else { "-g 12" };
        let all = format!("-c:v libx264 -preset medium {gop} -sc_threshold 0 {pix_fmt} {args}");
        println!("{size} {rate} {all}");
        let clip = encode(size, rate, 24, &all);
        check(VideoCodec::H264, &clip, &Expect { codec_string, sync });
    }
}

#[test]
fn x265_streams() {
    for (size, rate, args, params, codec_string, sync) in [
        ("320x240", "25", "", "bframes=0", "hvc1.1.6.LL.90", CLOSED),
        ("322x182", "25", "", "bframes=3:b-pyramid=1", "hvc1.1.6.LL.90", CLOSED),
        ("1920x1080", "30000/1001", "-preset ultrafast", "bframes=2:open-gop=0", "hvc1.1.6.LL.90", CLOSED),
        ("320x240", "25", "-vf setsar=16/11", "scaling-list=default", "hvc1.1.6.LL.90", CLOSED),
        ("320x240", "25", "-vf setsar=1000/999", "bframes=4:b-adapt=0", "hvc1.1.6.LL.90", CLOSED),
        ("320x240", "25", "", "vbv-maxrate=300:vbv-bufsize=300:bitrate=200:hrd=1", "hvc1.1.6.LL.90", CLOSED),
        ("320x240", "25", "-pix_fmt yuv420p10le", "aud=1", "hvc1.2.4.LL.90", CLOSED),
        ("322x242", "25", "-pix_fmt yuv422p10le", "", "hvc1.4.10.LL.9d.8", CLOSED),
        ("321x241", "25", "-pix_fmt yuv444p", "", "hvc1.4.10.LL.9e.8", CLOSED),
        (
            "320x240",
            "25",
            "",
            "level-idc=51:high-tier=1:vbv-maxrate=60000:vbv-bufsize=60000",
            "hvc1.1.6.HH.90",
            CLOSED,
        ),
        ("320x240", "25", "", "temporal-layers=1:bframes=3", "hvc1.1.6.LL.90", CLOSED),
        ("320x240", "25", "", "bframes=3:open-gop=1", "hvc1.1.6.LL.90", OPEN),
    ] {
        let pix_fmt = if args.contains("pix_fmt") { "" } else { "-pix_fmt yuv420p" };
        let open = if params.contains("open-gop") { "" } else { "open-gop=0:" };
        let all = format!(
            "-c:v libx265 -tag:v hvc1 {pix_fmt} {args} -x265-params \
             info=0:log-level=none:keyint=12:min-keyint=12:scenecut=0:{open}{params}"
        );
        println!("{size} {rate} {all}");
        let clip = encode(size, rate, 24, all.trim_end_matches(':'));
        check(VideoCodec::H265, &clip, &Expect { codec_string, sync });
    }
}

/// Decoding that starts in the middle, at a CRA: what the gate lets through is what a decoder can show.
#[test]
fn h265_starts_at_an_open_sync_sample() {
    let clip = encode(
        "320x240",
        "25",
        36,
        "-c:v libx265 -tag:v hvc1 -pix_fmt yuv420p \
         -x265-params info=0:log-level=none:keyint=12:min-keyint=12:scenecut=0:open-gop=1:bframes=3",
    );
    let mut gate = StartGate::default();
    let mut kept = Vec::new();
    let mut dropped = 0;
    let start = clip.packets.iter().skip(5).position(|p| p.key).unwrap() + 5;
    for packet in &clip.packets[5..] {
        let picture = read_picture(VideoCodec::H265, &packet.data).unwrap();
        if gate.admits(picture.sync, picture.leading, packet.pts) {
            kept.push((packet.pts, picture.sync));
        } else if !kept.is_empty() {
            assert!(packet.pts < kept[0].0);
            dropped += 1;
        }
    }
    assert_eq!(kept[0].1, SyncKind::Open);
    assert!((1..4).contains(&dropped), "{dropped} leading pictures");
    // Of the second open sync sample the leading pictures stay.
    assert_eq!(kept.len() + dropped, 36 - start);
}
