//! The recorder's contract on scripted and random streams.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;

use bytes::Bytes;
use heldar_base::{EndReason, Interval, Micros, MonoTime, WallTime};
use heldar_media::{
    AccessUnit, AudioCodec, AudioParams, SyncKind, TrackKind, TrackParams, VideoCodec, VideoParams,
};
use heldar_recorder::{AudioPolicy, Fragment, Order, Recorder, RecorderConfig, Want};
use proptest::prelude::*;

const T0: i64 = 1_700_000_000_000_000;

fn video_params(width: u32, reorder_depth: u8) -> Arc<TrackParams> {
    Arc::new(TrackParams::Video(VideoParams {
        codec: VideoCodec::H264,
        codec_string: "avc1.64001f".to_owned(),
        width,
        height: 576,
        pixel_aspect: None,
        nominal_interval: None,
        reorder_depth,
        config: Bytes::new(),
    }))
}

fn audio_params() -> Arc<TrackParams> {
    Arc::new(TrackParams::Audio(AudioParams {
        codec: AudioCodec::Aac,
        codec_string: "mp4a.40.2".to_owned(),
        sample_rate: 48_000,
        channels: 1,
        frame_samples: 1024,
        config: Bytes::new(),
    }))
}

fn picture(ms: i64, sync: SyncKind, params: &Arc<TrackParams>, tag: usize) -> AccessUnit {
    AccessUnit {
        track: TrackKind::Video,
        captured_at: WallTime(T0 + ms * 1000),
        received_at: MonoTime(ms * 1000),
        rtp_time: ms * 90,
        sync,
        params: params.clone(),
        payload: Bytes::from(tag.to_be_bytes().to_vec()),
        original: None,
    }
}

fn sound(us: i64, params: &Arc<TrackParams>, tag: usize) -> AccessUnit {
    AccessUnit {
        track: TrackKind::Audio,
        captured_at: WallTime(T0 + us),
        received_at: MonoTime(us),
        rtp_time: 0,
        sync: SyncKind::Closed,
        params: params.clone(),
        payload: Bytes::from(tag.to_be_bytes().to_vec()),
        original: None,
    }
}

fn config() -> RecorderConfig {
    RecorderConfig {
        segment: Micros::from_secs(10),
        stagger: Micros::ZERO,
        fragment: Micros::from_secs(1),
        fragment_bytes: 8 << 20,
        audio: AudioPolicy::Keep,
    }
}

fn tags<'a>(samples: impl Iterator<Item = &'a heldar_recorder::Sample>) -> Vec<usize> {
    samples.map(|s| usize::from_be_bytes(s.payload[..8].try_into().unwrap())).collect()
}

/// One segment as the orders describe it.
#[derive(Default)]
struct Seen {
    start: Option<WallTime>,
    fragments: Vec<Fragment>,
    holes: Vec<Interval>,
    end: Option<(WallTime, EndReason)>,
    dependent: bool,
}

/// Replays orders and checks contract 2, 3 and 4 on the way.
fn replay(orders: &[Order]) -> Vec<Seen> {
    let mut segments: Vec<(u64, Seen)> = Vec::new();
    let mut accounted: Option<WallTime> = None;
    for order in orders {
        match order {
            Order::Begin { serial, start, fragment, dependent, .. } => {
                assert!(
                    segments.iter().all(|(s, seen)| *s < serial.0 && seen.end.is_some()),
                    "one at a time"
                );
                assert_eq!(fragment.interval.start, *start);
                assert!(fragment.sync || *dependent, "begins with a sync sample");
                assert!(accounted.is_none_or(|end| end <= *start), "segments never overlap");
                accounted = Some(fragment.interval.end);
                let seen = Seen {
                    start: Some(*start),
                    fragments: vec![fragment.clone()],
                    dependent: *dependent,
                    ..Seen::default()
                };
                segments.push((serial.0, seen));
            }
            Order::Append { serial, hole, fragment } => {
                let (last, seen) = segments.last_mut().unwrap();
                assert_eq!(*last, serial.0);
                let from = hole.map_or(accounted.unwrap(), |h| {
                    assert_eq!(Some(h.start), accounted);
                    h.end
                });
                assert_eq!(fragment.interval.start, from, "fragments join");
                seen.holes.extend(*hole);
                accounted = Some(fragment.interval.end);
                seen.fragments.push(fragment.clone());
            }
            Order::Seal { serial, end, reason, .. } => {
                let (last, seen) = segments.last_mut().unwrap();
                assert_eq!(*last, serial.0);
                assert_eq!(Some(*end), accounted);
                assert!(seen.end.replace((*end, *reason)).is_none());
            }
        }
    }
    for (_, seen) in &segments {
        for fragment in &seen.fragments {
            let total: i64 = fragment.video.samples.iter().map(|s| i64::from(s.duration)).sum();
            let span = fragment.interval.len().to_ticks(90_000);
            assert!((total - span).abs() <= 1, "a fragment fills its interval: {total} {span}");
        }
    }
    segments.into_iter().map(|(_, seen)| seen).collect()
}

#[test]
fn a_plain_stream_loses_nothing_over_rotations() {
    let params = video_params(768, 0);
    let mut recorder = Recorder::new(config());
    recorder.run_started(None, None);
    let mut out = Vec::new();
    for i in 0..1000 {
        let sync = if i % 50 == 0 { SyncKind::Closed } else { SyncKind::None };
        recorder.push(&picture(i * 40, sync, &params, i as usize), &mut out);
    }
    recorder.run_ended(EndReason::ServerStopped, None, &mut out);
    let segments = replay(&out);
    assert_eq!(segments.len(), 4);
    assert!(segments[..3].iter().all(|s| s.end.unwrap().1 == EndReason::Rotated));
    assert_eq!(segments[3].end, Some((WallTime(T0 + 40_000_000), EndReason::ServerStopped)));
    let all = tags(segments.iter().flat_map(|s| &s.fragments).flat_map(|f| &f.video.samples));
    assert_eq!(all, (0..1000).collect::<Vec<_>>());
    for fragment in segments.iter().flat_map(|s| &s.fragments) {
        assert!(fragment.interval.len() <= Micros::from_millis(1040));
        assert_eq!(fragment.video.samples[0].sync, fragment.sync);
    }
}

/// Fragments begin at sync samples whatever the length of a GOP; where GOPs are shorter than half a fragment, some of them.
#[test]
fn fragments_follow_the_sync_samples() {
    let params = video_params(768, 0);
    let check = |gop: i64, expect_ms: &[i64]| {
        let mut recorder = Recorder::new(config());
        recorder.run_started(None, None);
        let mut out = Vec::new();
        for i in 0..200 {
            let sync = if i % gop == 0 { SyncKind::Closed } else { SyncKind::None };
            recorder.push(&picture(i * 40, sync, &params, i as usize), &mut out);
        }
        let starts: Vec<_> =
            replay(&out)[0].fragments.iter().map(|f| (f.interval.start.0 - T0) / 1000).collect();
        assert_eq!(starts[..expect_ms.len()], *expect_ms, "GOP of {gop} pictures");
    };
    check(50, &[0, 1000, 2000, 3000, 4000]);
    check(30, &[0, 1000, 1200, 2200, 2400, 3400, 3600]);
    check(31, &[0, 1000, 1240, 2240, 2480, 3480]);
    check(25, &[0, 1000, 2000, 3000]);
    check(10, &[0, 800, 1600, 2400]);
    check(1, &[0, 520, 1040, 1560]);
}

#[test]
fn open_gops_with_reordering_lose_nothing() {
    // Decoding order CRA P B B P B B ...; shown order has the leading pictures before the CRA.
    let params = video_params(768, 2);
    let mut recorder = Recorder::new(config());
    recorder.run_started(None, None);
    let mut out = Vec::new();
    let mut order = Vec::new();
    for gop in 0..30i64 {
        let base = gop * 24;
        for k in (0..24).step_by(3) {
            order.push((base + k + 2, if k == 0 { SyncKind::Open } else { SyncKind::None }));
            order.push((base + k, SyncKind::None));
            order.push((base + k + 1, SyncKind::None));
        }
    }
    for (i, (shown, sync)) in order.iter().enumerate() {
        recorder.push(&picture(shown * 40, *sync, &params, i), &mut out);
    }
    recorder.run_ended(EndReason::SessionLost, None, &mut out);
    assert_eq!(recorder.skipped().leading, 2, "only those of the first CRA");
    let segments = replay(&out);
    let all = tags(segments.iter().flat_map(|s| &s.fragments).flat_map(|f| &f.video.samples));
    let expect: Vec<usize> = (0..order.len()).filter(|i| *i != 1 && *i != 2).collect();
    assert_eq!(all, expect);
    for segment in &segments {
        for fragment in &segment.fragments {
            let mut decode = fragment.video.base_decode_time as i64;
            let mut shown = Vec::new();
            for sample in &fragment.video.samples {
                shown.push(decode + i64::from(sample.composition_offset));
                decode += i64::from(sample.duration);
            }
            shown.sort_unstable();
            assert_eq!(shown[0], fragment.video.base_decode_time as i64);
            assert!(shown.windows(2).all(|w| w[1] - w[0] == 3600), "{shown:?}");
        }
    }
}

#[test]
fn a_stream_without_sync_samples_rotates_into_dependent_segments() {
    let params = video_params(768, 0);
    let mut recorder = Recorder::new(RecorderConfig { segment: Micros::from_secs(2), ..config() });
    recorder.run_started(None, None);
    let mut out = Vec::new();
    for i in 0..2000 {
        let sync = if i == 0 { SyncKind::Closed } else { SyncKind::None };
        recorder.push(&picture(i * 100, sync, &params, i as usize), &mut out);
    }
    recorder.run_ended(EndReason::SessionLost, None, &mut out);
    let segments = replay(&out);
    assert_eq!(segments.len(), 4);
    assert!(!segments[0].dependent && segments[1..].iter().all(|s| s.dependent));
}

#[test]
fn changed_parameters_start_a_segment() {
    let mut recorder = Recorder::new(config());
    recorder.run_started(None, None);
    let mut out = Vec::new();
    for (i, width) in [768, 768, 1280, 1280, 768].into_iter().enumerate() {
        let params = video_params(width, 0);
        for k in 0..10i64 {
            let sync = if k == 0 { SyncKind::Closed } else { SyncKind::None };
            recorder.push(&picture((i as i64 * 10 + k) * 40, sync, &params, 0), &mut out);
        }
    }
    recorder.run_ended(EndReason::SessionLost, None, &mut out);
    let reasons: Vec<EndReason> = replay(&out).iter().map(|s| s.end.unwrap().1).collect();
    assert_eq!(reasons, [EndReason::Parameters, EndReason::Parameters, EndReason::SessionLost]);
}

#[test]
fn a_pause_is_a_hole_with_the_longest_picture_before_it() {
    let params = video_params(768, 0);
    let mut recorder = Recorder::new(config());
    recorder.run_started(None, None);
    let mut out = Vec::new();
    for i in 0..20 {
        let late = if i >= 10 { 4000 } else { 0 };
        let sync = if i == 0 { SyncKind::Closed } else { SyncKind::None };
        recorder.push(&picture(i * 100 + late, sync, &params, i as usize), &mut out);
    }
    recorder.run_ended(EndReason::SessionLost, None, &mut out);
    let segments = replay(&out);
    assert_eq!(segments.len(), 1);
    let hole = Interval::new(WallTime(T0 + 2_900_000), WallTime(T0 + 5_000_000));
    assert_eq!(segments[0].holes, [hole]);
}

#[test]
fn wanted_changes_act_at_sync_samples() {
    let params = video_params(768, 0);
    let mut recorder = Recorder::new(config());
    recorder.run_started(None, None);
    let mut out = Vec::new();
    for i in 0..200i64 {
        let until = if (60..130).contains(&i) { Want::Nothing } else { Want::Until(WallTime::FAR_FUTURE) };
        recorder.set_wanted(until);
        let sync = if i % 25 == 0 { SyncKind::Closed } else { SyncKind::None };
        recorder.push(&picture(i * 40, sync, &params, i as usize), &mut out);
    }
    recorder.run_ended(EndReason::ServerStopped, None, &mut out);
    let segments = replay(&out);
    assert_eq!(segments[0].end, Some((WallTime(T0 + 75 * 40_000), EndReason::NotWanted)));
    assert_eq!(segments[1].start, Some(WallTime(T0 + 150 * 40_000)));
}

#[test]
fn a_full_queue_seals_what_is_there_and_goes_on_at_a_sync_sample() {
    let params = video_params(768, 0);
    let mut recorder = Recorder::new(config());
    recorder.run_started(None, None);
    let mut out = Vec::new();
    let mut refused = false;
    for i in 0..300i64 {
        let mut step = Vec::new();
        let sync = if i % 50 == 0 { SyncKind::Closed } else { SyncKind::None };
        recorder.push(&picture(i * 40, sync, &params, i as usize), &mut step);
        for order in step {
            if let (Order::Append { serial, fragment, .. }, false) = (&order, refused) {
                refused = true;
                recorder.refused(*serial, Some(fragment.interval.start), &mut out);
            } else {
                out.push(order);
            }
        }
    }
    recorder.run_ended(EndReason::ServerStopped, None, &mut out);
    let segments = replay(&out);
    assert_eq!(segments[0].end.unwrap().1, EndReason::Disk);
    let first = segments[1].start.unwrap();
    assert_eq!((first.0 - T0) % 2_000_000, 0, "a sync sample");
}

#[test]
fn audio_follows_its_pictures_over_rotations_and_is_given_up_when_silent() {
    let (video, audio) = (video_params(768, 0), audio_params());
    let mut recorder = Recorder::new(config());
    recorder.run_started(Some(audio.clone()), Some(Bytes::from_static(b"\xff\xff\xff\xff\xff\xff\xff\xff")));
    let mut out = Vec::new();
    let frame_us = 1024.0 / 48_000.0 * 1e6;
    let mut next = 0usize;
    for i in 0..2000i64 {
        let sync = if i % 50 == 0 { SyncKind::Closed } else { SyncKind::None };
        recorder.push(&picture(i * 40, sync, &video, i as usize), &mut out);
        // Audio arrives 120 ms late and stops after 30 s.
        while (next as f64 * frame_us) < (i * 40_000 - 120_000) as f64 && i < 750 {
            recorder.push(&sound((next as f64 * frame_us) as i64, &audio, next), &mut out);
            next += 1;
        }
    }
    recorder.run_ended(EndReason::ServerStopped, None, &mut out);
    let segments = replay(&out);
    let frames = tags(
        segments.iter().flat_map(|s| &s.fragments).filter_map(|f| f.audio.as_ref()).flat_map(|r| &r.samples),
    );
    let real: Vec<usize> = frames.iter().copied().filter(|t| *t != usize::MAX).collect();
    assert_eq!(real, (0..next).collect::<Vec<_>>(), "every frame once, in order, over all segments");
    assert!(frames.len() > real.len() + 400, "silence bridges the stall");
    let tracks: Vec<bool> = out
        .iter()
        .filter_map(|o| if let Order::Begin { tracks, .. } = o { Some(tracks.audio.is_some()) } else { None })
        .collect();
    assert_eq!(tracks.first(), Some(&true));
    assert_eq!(tracks.last(), Some(&false), "given up: {tracks:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever a camera sends, segments never overlap, fragments fill their intervals, and what is written is what was
    /// received, in order, from the first sync sample on.
    #[test]
    fn hostile_streams(steps in prop::collection::vec((0u8..10, -500i64..6000), 1..200)) {
        let params = [video_params(768, 0), video_params(1280, 2)];
        let mut recorder = Recorder::new(RecorderConfig { segment: Micros::from_secs(5), ..config() });
        recorder.run_started(None, None);
        let mut out = Vec::new();
        let mut now = 0i64;
        let mut which = 0usize;
        for (i, (kind, ms)) in steps.iter().enumerate() {
            now += if *kind == 0 { *ms } else { ms.rem_euclid(100) };
            if *kind == 9 { which = 1 - which; }
            let sync = match kind { 1 => SyncKind::Closed, 2 => SyncKind::Open, _ => SyncKind::None };
            if *kind == 8 { recorder.run_ended(EndReason::SessionLost, None, &mut out); recorder.run_started(None, None); now = now.max(0) + 7000; }
            recorder.push(&picture(now, sync, &params[which], i), &mut out);
        }
        recorder.run_ended(EndReason::SessionLost, None, &mut out);
        let begins = out.iter().filter(|o| matches!(o, Order::Begin { .. })).count();
        let seals = out.iter().filter(|o| matches!(o, Order::Seal { .. })).count();
        prop_assert_eq!(begins, seals);
        let mut all = Vec::new();
        for order in &out {
            if let Order::Begin { fragment, .. } | Order::Append { fragment, .. } = order {
                all.extend(tags(fragment.video.samples.iter()));
            }
        }
        prop_assert!(all.windows(2).all(|w| w[0] < w[1]), "in order, none twice");
    }
}

/// A stream whose parameter sets do not tell its reorder depth, which shows with the first picture that is out of order.
#[test]
fn a_reorder_depth_that_shows_late_ends_nothing() {
    let (before, after) = (video_params(704, 0), video_params(704, 1));
    let mut recorder = Recorder::new(config());
    let mut orders = Vec::new();
    recorder.run_started(None, None);
    for (at, (ms, sync, params)) in [
        (0, SyncKind::Closed, &before),
        (80, SyncKind::None, &before),
        (40, SyncKind::None, &after),
        (160, SyncKind::None, &after),
        (120, SyncKind::None, &after),
    ]
    .into_iter()
    .enumerate()
    {
        recorder.push(&picture(ms, sync, params, at), &mut orders);
    }
    recorder.run_ended(EndReason::ServerStopped, None, &mut orders);
    let segments = replay(&orders);
    assert_eq!(segments.len(), 1);
    let samples = segments[0].fragments.iter().flat_map(|fragment| &fragment.video.samples);
    assert_eq!(tags(samples), [0, 1, 2, 3, 4]);
}

/// A stream that stood still and comes back with other parameters: the hole lies behind the segment, not in it.
#[test]
fn a_segment_ends_where_its_footage_does() {
    for reorder in [0, 2] {
        let (before, after) = (video_params(768, reorder), video_params(1024, reorder));
        let mut recorder = Recorder::new(config());
        recorder.run_started(None, None);
        let mut out = Vec::new();
        for i in 0..50 {
            let sync = if i % 25 == 0 { SyncKind::Open } else { SyncKind::None };
            recorder.push(&picture(i * 40, sync, &before, i as usize), &mut out);
        }
        recorder.push(&picture(9_000, SyncKind::Open, &after, 50), &mut out);
        recorder.run_ended(EndReason::SessionLost, None, &mut out);
        let segments = replay(&out);
        let seals: Vec<_> = out
            .iter()
            .filter_map(|order| match order {
                Order::Seal { end, reason, cause, .. } => Some((*end, *reason, *cause)),
                _ => None,
            })
            .collect();
        let end = segments[0].fragments.last().unwrap().interval.end;
        assert_eq!(seals[0], (end, EndReason::Parameters, Some(heldar_base::Cause::Stalled)));
        assert_eq!(end, WallTime(T0 + 1_960_000 + 2_000_000), "a picture lasts two seconds at most");
        assert_eq!(segments[1].start, Some(WallTime(T0 + 9_000_000)), "reorder {reorder}");
    }
}

/// An access unit of nothing, and one that no camera sends, are left out and counted; what is around them is recorded.
#[test]
fn empty_and_absurd_units_are_left_out() {
    let params = video_params(704, 0);
    let mut recorder = Recorder::new(config());
    let mut orders = Vec::new();
    recorder.run_started(None, None);
    for (at, len) in [8, 0, 33 << 20, 8].into_iter().enumerate() {
        let ms = 40 * i64::try_from(at).unwrap();
        let sync = if at == 0 { SyncKind::Closed } else { SyncKind::None };
        let mut unit = picture(ms, sync, &params, at);
        if len != 8 {
            unit.payload = Bytes::from(vec![0; len]);
        }
        recorder.push(&unit, &mut orders);
    }
    recorder.run_ended(EndReason::ServerStopped, None, &mut orders);
    let segments = replay(&orders);
    let samples = segments.iter().flat_map(|s| &s.fragments).flat_map(|fragment| &fragment.video.samples);
    assert_eq!(tags(samples), [0, 3]);
    assert_eq!(recorder.skipped().unusable, 2);
}

/// Pictures of 40 ms, every 25th a sync sample.
fn run_of(range: std::ops::Range<i64>) -> impl Iterator<Item = AccessUnit> {
    let params = video_params(768, 0);
    range.map(move |i| {
        let sync = if i % 25 == 0 { SyncKind::Closed } else { SyncKind::None };
        picture(i * 40, sync, &params, i as usize)
    })
}

#[test]
fn what_is_wanted_up_to_an_instant_ends_with_the_first_picture_past_it() {
    let mut recorder = Recorder::new(config());
    recorder.run_started(None, None);
    recorder.set_wanted(Want::Until(WallTime(T0 + 2_010_000)));
    let mut out = Vec::new();
    run_of(0..150).for_each(|unit| recorder.push(&unit, &mut out));
    assert!(!recorder.is_recording());
    let segments = replay(&out);
    assert_eq!(segments.len(), 1);
    assert_eq!(segments[0].end, Some((WallTime(T0 + 51 * 40_000), EndReason::NotWanted)));
    let tags: Vec<usize> = segments[0].fragments.iter().flat_map(|f| tags(f.video.samples.iter())).collect();
    assert_eq!(tags, (0..51).collect::<Vec<_>>());
}

#[test]
fn wanted_again_it_goes_on_with_the_picture_that_it_ended_with() {
    let mut recorder = Recorder::new(config());
    recorder.run_started(None, None);
    recorder.set_wanted(Want::Until(WallTime(T0 + 2_010_000)));
    let mut out = Vec::new();
    run_of(0..60).for_each(|unit| recorder.push(&unit, &mut out));
    recorder.set_wanted(Want::Until(WallTime(T0 + 5_000_000)));
    // From memory: what it ended with, what came since, and then what comes.
    run_of(51..150).for_each(|unit| recorder.push(&unit, &mut out));
    let segments = replay(&out);
    assert_eq!(segments.len(), 2);
    assert_eq!(segments[1].start, Some(WallTime(T0 + 51 * 40_000)));
    assert!(segments[1].dependent);
    assert_eq!(segments[1].end, Some((WallTime(T0 + 5_000_000), EndReason::NotWanted)));
    let tags: Vec<usize> = segments
        .iter()
        .flat_map(|segment| segment.fragments.iter())
        .flat_map(|f| tags(f.video.samples.iter()))
        .collect();
    assert_eq!(tags, (0..125).collect::<Vec<_>>());
    // With another picture it waits for a sync sample.
    recorder.set_wanted(Want::Until(WallTime(T0 + 9_000_000)));
    let mut out = Vec::new();
    run_of(126..230).for_each(|unit| recorder.push(&unit, &mut out));
    assert_eq!(replay(&out)[0].start, Some(WallTime(T0 + 6_000_000)));
}

#[test]
fn where_pictures_are_missing_a_segment_ends() {
    let mut recorder = Recorder::new(config());
    recorder.run_started(None, None);
    let mut out = Vec::new();
    run_of(0..30).for_each(|unit| recorder.push(&unit, &mut out));
    recorder.torn(&mut out);
    run_of(40..80).for_each(|unit| recorder.push(&unit, &mut out));
    let segments = replay(&out);
    assert_eq!(segments[0].end, Some((WallTime(T0 + 30 * 40_000), EndReason::Disk)));
    assert_eq!(segments[1].start, Some(WallTime(T0 + 50 * 40_000)));
}
