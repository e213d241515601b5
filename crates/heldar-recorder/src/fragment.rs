//! Turns the pictures and audio frames of one fragment into samples with decode times.
//!
//! A fragment is closed in presentation: every picture before it in decoding order is shown before `start`, every picture
//! in it at or after. So the decode times of its pictures are their presentation times, sorted (RTP carries no others),
//! and the composition offset of a picture is what lies between the two; it may be negative (`trun` version 1,
//! ISO/IEC 14496-12 8.8.8). All times are taken from the start of the segment, never summed up, so that rounding cannot
//! accumulate.

use bytes::Bytes;
use heldar_base::{Interval, Micros, WallTime};

/// Ticks per second of video media time.
pub const VIDEO_TIMESCALE: u32 = 90_000;

/// One coded picture or audio frame with its place in media time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Length in ticks of its track's timescale.
    pub duration: u32,
    /// Presentation time less decode time, in the same ticks.
    pub composition_offset: i32,
    /// Decoding can start here.
    pub sync: bool,
    /// The coded bytes.
    pub payload: Bytes,
}

/// Consecutive samples of one track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Decode time of the first, in ticks since the start of the segment.
    pub base_decode_time: u64,
    /// In decoding order; never empty.
    pub samples: Vec<Sample>,
}

/// The unit of writing: what one `moof` and one `mdat` hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Footage that it adds, by its video.
    pub interval: Interval,
    /// Decoding can start at its first picture.
    pub sync: bool,
    /// Pictures.
    pub video: Run,
    /// Audio frames, where there are any.
    pub audio: Option<Run>,
}

/// A picture that waits for its fragment to end.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) captured_at: WallTime,
    pub(crate) sync: bool,
    pub(crate) payload: Bytes,
}

/// Shapes the pictures of a fragment over `interval` of a segment that starts at `origin`.
///
/// Pictures that claim to be shown outside the interval are moved to its nearest instant: cameras lie, files may not.
pub(crate) fn shape_video(origin: WallTime, interval: Interval, pictures: Vec<Picture>) -> Run {
    let ticks = |at: WallTime| (at - origin).to_ticks(VIDEO_TIMESCALE);
    let base = ticks(interval.start);
    // At least one tick for each picture, whatever the interval says.
    let end = ticks(interval.end).max(base + i64::try_from(pictures.len()).unwrap_or(i64::MAX));
    let shown: Vec<i64> = pictures.iter().map(|p| ticks(p.captured_at).clamp(base, end - 1)).collect();
    let decode = decode_times(base, end, &shown);
    let samples = pictures
        .into_iter()
        .enumerate()
        .map(|(i, picture)| {
            let next = decode.get(i + 1).copied().unwrap_or(end);
            Sample {
                duration: u32::try_from(next - decode[i]).unwrap_or(u32::MAX),
                composition_offset: i32::try_from(shown[i] - decode[i]).unwrap_or(0),
                sync: picture.sync,
                payload: picture.payload,
            }
        })
        .collect();
    Run { base_decode_time: u64::try_from(base).unwrap_or(0), samples }
}

/// Sorted presentation times, made strictly rising; the first is `base`, all are below `end`.
fn decode_times(base: i64, end: i64, shown: &[i64]) -> Vec<i64> {
    let mut decode = shown.to_vec();
    decode.sort_unstable();
    let n = decode.len();
    for i in 0..n {
        let floor = if i == 0 { base } else { decode[i - 1] + 1 };
        let room = i64::try_from(n - i).unwrap_or(i64::MAX);
        decode[i] = if i == 0 { base } else { decode[i].max(floor).min(end - room) };
    }
    decode
}

/// Times of single frames shake by this much without the track being off.
const JITTER_MS: i64 = 8;

/// Places the audio frames of a stream on the media time of one segment.
///
/// Frames follow one another without gap as long as capture times agree; the drift that remains is taken out by lengths of
/// frames that differ from the usual one by less than anybody hears. The newest frame is held back, because its length is known only when the next one comes.
///
/// Where no other segment adjoins, the track begins and ends with the pictures: players show what all tracks have, so that
/// sound which starts a little later than they or ends a little earlier is a hole to them, at which they stall.
#[derive(Clone, Debug)]
pub(crate) struct AudioPlacer {
    lead: Lead,
    timescale: u32,
    frame: u32,
    held: Option<HeldFrame>,
    ready: Vec<Sample>,
    /// Decode time of the first frame in `ready`.
    ready_base: u64,
    /// Where the frame after the held one is expected.
    next: i64,
    /// Capture time less place of the newest frame, in ticks.
    skew: i64,
}

/// What sounds between the start of a segment and its first audio frame.
#[derive(Clone, Debug)]
pub(crate) enum Lead {
    /// The last frame of the segment before.
    Before,
    /// Nothing does yet: this frame of coded silence, where there is one.
    Silence(Option<Bytes>),
}

#[derive(Clone, Debug)]
struct HeldFrame {
    at: i64,
    payload: Bytes,
}

/// What happened to an audio frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It has a place.
    Kept,
    /// It lies before what is already there.
    Dropped,
}

impl AudioPlacer {
    pub(crate) fn new(timescale: u32, frame_samples: u32, lead: Lead) -> Self {
        AudioPlacer {
            lead,
            timescale: timescale.max(1),
            frame: frame_samples.max(1),
            held: None,
            ready: Vec::new(),
            ready_base: 0,
            next: 0,
            skew: 0,
        }
    }

    /// Adds a frame captured `since_start` after the segment's start.
    pub(crate) fn push(&mut self, since_start: Micros, payload: Bytes) -> Placed {
        let at = since_start.to_ticks(self.timescale);
        let Some(held) = self.held.take() else {
            if at + i64::from(self.frame) <= 0 {
                return Placed::Dropped;
            }
            let at = at.max(self.next);
            self.next = at + i64::from(self.frame);
            self.begin(HeldFrame { at, payload });
            return Placed::Kept;
        };
        let tolerance = i64::from(self.timescale) / 10;
        let off = at - self.next;
        if off < -tolerance {
            self.held = Some(held);
            return Placed::Dropped;
        }
        let at = if off > tolerance { at } else { self.next };
        self.skew = if off > tolerance { 0 } else { off };
        self.settle(held, at);
        self.next = at + i64::from(self.frame);
        self.held = Some(HeldFrame { at, payload });
        Placed::Kept
    }

    /// Takes the first frame, and lets the track begin with the pictures.
    fn begin(&mut self, mut first: HeldFrame) {
        let lead = std::mem::replace(&mut self.lead, Lead::Before);
        if let Lead::Silence(silence) = lead
            && (1..=i64::from(self.timescale)).contains(&first.at)
        {
            match silence.filter(|_| first.at >= i64::from(self.frame)) {
                Some(payload) => self.settle(HeldFrame { at: 0, payload }, first.at),
                // Too short for a frame of its own: the first one lasts so much longer.
                None => first.at = 0,
            }
        }
        self.held = Some(first);
    }

    /// Gives the held frame its length.
    fn settle(&mut self, held: HeldFrame, next_at: i64) {
        if self.ready.is_empty() {
            self.ready_base = u64::try_from(held.at).unwrap_or(0);
        }
        // A hole shorter than a second is bridged by a longer frame, so that no player sees one.
        let longest = i64::from(self.timescale);
        let duration = (next_at - held.at).clamp(1, longest);
        self.ready.push(Sample {
            duration: u32::try_from(duration).unwrap_or(self.frame),
            composition_offset: 0,
            sync: true,
            payload: held.payload,
        });
    }

    /// Puts in coded silence where the track has fallen more than a second behind `video_end`.
    pub(crate) fn fill(&mut self, video_end: Micros, silence: Option<&Bytes>) {
        let end = video_end.to_ticks(self.timescale);
        let Some(silence) = silence else { return };
        if end - self.next <= i64::from(self.timescale) {
            return;
        }
        while self.next + i64::from(self.frame) <= end {
            let at = self.next;
            if let Some(held) = self.held.take() {
                self.settle(held, at);
            }
            self.held = Some(HeldFrame { at, payload: silence.clone() });
            self.next = at + i64::from(self.frame);
        }
    }

    /// The frames whose lengths are known, for the fragment that ends now.
    pub(crate) fn take(&mut self) -> Option<Run> {
        self.take_all_but(JITTER_MS)
    }

    /// As [`AudioPlacer::take`]; what the track is off by no more than so many milliseconds is left to single frames.
    fn take_all_but(&mut self, jitter_ms: i64) -> Option<Run> {
        let samples = std::mem::take(&mut self.ready);
        let mut run = Run { base_decode_time: self.ready_base, samples };
        let correction = self.correct(&mut run.samples, jitter_ms);
        if let Some(held) = &mut self.held {
            held.at += correction;
        }
        self.next += correction;
        self.skew -= correction;
        (!run.samples.is_empty()).then_some(run)
    }

    /// Changes lengths of frames by what the track is off, as far as nobody hears it; returns by how many ticks. The last
    /// frame takes up to a millisecond. More than jitter, as while the clock of a young run is slewed, all frames share, each
    /// taking at most a 128th of its length.
    fn correct(&self, samples: &mut [Sample], jitter_ms: i64) -> i64 {
        let step = i64::from(self.timescale / 1000).max(1);
        let count = i64::try_from(samples.len()).unwrap_or(i64::MAX);
        let share = i64::from(self.frame / 128).max(1);
        let shared = if self.skew.abs() > jitter_ms * step {
            (self.skew / count.max(1)).clamp(-share, share)
        } else {
            0
        };
        let mut done = 0;
        for sample in samples.iter_mut() {
            done += lengthen(sample, shared);
        }
        let rest = (self.skew - done).clamp(-step, step);
        done + samples.last_mut().map_or(0, |last| lengthen(last, rest))
    }

    /// Everything, the held frame included, which lasts as long as the pictures do: nothing follows.
    pub(crate) fn finish_with(&mut self, video_end: Micros) -> Option<Run> {
        self.next = self.next.max(video_end.to_ticks(self.timescale));
        self.skew = 0;
        self.finish()
    }

    /// Everything, the held frame at its usual length included; the next segment begins where this one ends.
    pub(crate) fn finish(&mut self) -> Option<Run> {
        if let Some(held) = self.held.take() {
            let next = self.next;
            self.settle(held, next);
        }
        self.take_all_but(1)
    }
}

/// Makes a frame longer by so many ticks, but leaves it one at least; returns what was done.
fn lengthen(sample: &mut Sample, ticks: i64) -> i64 {
    match u32::try_from(i64::from(sample.duration) + ticks) {
        Ok(duration @ 1..) => {
            sample.duration = duration;
            ticks
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pictures(shown_ms: &[i64]) -> Vec<Picture> {
        shown_ms
            .iter()
            .map(|ms| Picture {
                captured_at: WallTime(ms * 1000),
                sync: false,
                payload: Bytes::from_static(b"x"),
            })
            .collect()
    }

    fn check(shown_ms: &[i64], interval_ms: (i64, i64), expect: &[(u32, i32)]) {
        let interval = Interval::new(WallTime(interval_ms.0 * 1000), WallTime(interval_ms.1 * 1000));
        let run = shape_video(WallTime(0), interval, pictures(shown_ms));
        let got: Vec<(u32, i32)> = run.samples.iter().map(|s| (s.duration, s.composition_offset)).collect();
        assert_eq!(got, expect, "{shown_ms:?}");
    }

    #[test]
    fn decode_times() {
        check(&[0, 40, 80], (0, 120), &[(3600, 0), (3600, 0), (3600, 0)]);
        // I P B B: shown 0 120 40 80.
        check(&[0, 120, 40, 80], (0, 160), &[(3600, 0), (3600, 7200), (3600, -3600), (3600, -3600)]);
        // Open GOP: the sync picture comes first and is shown after its leading pictures.
        check(&[80, 0, 40], (0, 120), &[(3600, 7200), (3600, -3600), (3600, -3600)]);
        // Repeated times still give every picture a tick.
        check(&[0, 0, 0], (0, 40), &[(1, 0), (1, -1), (3598, -2)]);
        // A picture outside the interval is moved to its edge.
        check(&[0, 500], (0, 80), &[(7199, 0), (1, 0)]);
    }

    proptest! {
        #[test]
        fn a_fragment_fills_its_interval(
            shown in prop::collection::vec(-50i64..3000, 1..40),
            len in 1i64..3000,
            start in 0i64..100_000,
        ) {
            let origin = WallTime(7);
            let interval = Interval::new(origin + Micros::from_millis(start), origin + Micros::from_millis(start + len));
            let pics = shown.iter().map(|ms| Picture {
                captured_at: interval.start + Micros::from_millis(*ms), sync: false, payload: Bytes::new(),
            }).collect();
            let run = shape_video(origin, interval, pics);
            let total: i64 = run.samples.iter().map(|s| i64::from(s.duration)).sum();
            prop_assert_eq!(run.base_decode_time as i64, Micros::from_millis(start).to_ticks(VIDEO_TIMESCALE));
            let span = Micros::from_millis(len).to_ticks(VIDEO_TIMESCALE);
            prop_assert!(total >= span && total <= span.max(shown.len() as i64) + 1);
            let mut at = run.base_decode_time as i64;
            for (sample, ms) in run.samples.iter().zip(&shown) {
                prop_assert!(sample.duration >= 1);
                let shown_at = at + i64::from(sample.composition_offset);
                if *ms >= 0 && *ms < len - 1 {
                    let want = Micros::from_millis(start + ms).to_ticks(VIDEO_TIMESCALE);
                    prop_assert!((shown_at - want).abs() <= 1, "{} {}", shown_at, want);
                }
                at += i64::from(sample.duration);
            }
        }
    }

    fn placed(placer: &mut AudioPlacer, ms: f64) -> Placed {
        placer.push(Micros((ms * 1000.0) as i64), Bytes::from_static(b"a"))
    }

    #[test]
    fn audio_is_contiguous_in_spite_of_jitter() {
        let mut placer = AudioPlacer::new(48_000, 1024, Lead::Before);
        let frame_ms = 1024.0 / 48.0;
        for i in 0..100 {
            let jitter = if i % 2 == 0 { 3.0 } else { -3.0 };
            assert_eq!(placed(&mut placer, 5.0 + f64::from(i) * frame_ms + jitter), Placed::Kept);
        }
        let run = placer.take().unwrap();
        assert_eq!(run.samples.len(), 99);
        assert!(run.samples[..98].iter().all(|s| s.duration == 1024));
        assert!((run.samples[98].duration as i64 - 1024).abs() <= 48);
    }

    #[test]
    fn audio_drift_is_followed_by_a_millisecond_per_fragment() {
        let mut placer = AudioPlacer::new(48_000, 1024, Lead::Before);
        // The camera's clock is 0.01 % fast: each frame comes a little early.
        let frame_ms = 1024.0 / 48.0 * 0.9999;
        let mut total = 0i64;
        let mut base = None;
        for i in 0..5000 {
            placed(&mut placer, f64::from(i) * frame_ms);
            if i % 47 == 46 {
                let run = placer.take().unwrap();
                base.get_or_insert(run.base_decode_time as i64);
                assert_eq!(base.unwrap() + total, run.base_decode_time as i64, "runs join");
                assert!(run.samples.iter().all(|s| (s.duration as i64 - 1024).abs() <= 48));
                total += run.samples.iter().map(|s| i64::from(s.duration)).sum::<i64>();
            }
        }
        let expect = (4982.0 * frame_ms * 48.0) as i64;
        assert!((total - expect).abs() < 4800, "{total} {expect}");
    }

    /// While the clock of a young run is slewed by half a percent, sound keeps up with the pictures, and a seam of two
    /// segments shows nothing.
    #[test]
    fn audio_keeps_up_with_a_clock_that_is_slewed() {
        for rate in [0.995, 1.005] {
            let frame_ms = 1024.0 / 48.0 * rate;
            let mut placer = AudioPlacer::new(48_000, 1024, Lead::Before);
            let mut end = 0i64;
            for i in 0..470 {
                placed(&mut placer, f64::from(i) * frame_ms);
                let run = match i {
                    469 => placer.finish(),
                    _ if i % 47 == 46 => placer.take(),
                    _ => None,
                };
                let Some(run) = run else { continue };
                assert!(
                    run.samples.iter().all(|s| (i64::from(s.duration) - 1024).abs() <= 8 + 48),
                    "{run:?}"
                );
                end = run.base_decode_time as i64
                    + run.samples.iter().map(|s| i64::from(s.duration)).sum::<i64>();
                let captured = (f64::from(i + 1) * frame_ms * 48.0) as i64;
                assert!((end - captured).abs() <= 12 * 48 + 1024, "{rate}: {end} where {captured} is due");
            }
            let captured = (470.0 * frame_ms * 48.0) as i64;
            assert!(
                (end - captured).abs() <= 2 * 48,
                "{rate}: ends at {end} where the next begins at {captured}"
            );
        }
    }

    #[test]
    fn a_stalled_track_is_filled_with_silence() {
        let mut placer = AudioPlacer::new(48_000, 1024, Lead::Before);
        placed(&mut placer, 0.0);
        let silence = Bytes::from_static(b"s");
        placer.fill(Micros::from_millis(900), Some(&silence));
        assert_eq!(placer.take(), None, "a second of delay is no stall");
        placer.fill(Micros::from_millis(2000), Some(&silence));
        let run = placer.take().unwrap();
        assert!(run.samples.len() > 80 && run.samples[1..].iter().all(|s| s.payload == silence));
        assert!(run.samples.iter().all(|s| s.duration == 1024));
        placer.fill(Micros::from_millis(12_500), Some(&silence));
        // Frames that come late for filled time are left out.
        assert_eq!(placed(&mut placer, 3000.0), Placed::Dropped);
        assert_eq!(placed(&mut placer, 12_510.0), Placed::Kept);
    }

    /// Durations of what a lone segment of `video_ms` has for frames at these times, silence as 0.
    fn alone(first_ms: f64, count: u32, silence: Option<Bytes>, video_ms: i64) -> (u64, Vec<u32>) {
        let mut placer = AudioPlacer::new(48_000, 960, Lead::Silence(silence.clone()));
        for i in 0..count {
            placed(&mut placer, first_ms + f64::from(i) * 20.0);
        }
        let run = placer.finish_with(Micros::from_millis(video_ms)).unwrap();
        if let Some(silence) = silence {
            assert_eq!(run.samples[0].payload == silence, run.samples.len() > count as usize);
        }
        (run.base_decode_time, run.samples.iter().map(|s| s.duration).collect())
    }

    #[test]
    fn sound_begins_and_ends_with_the_pictures_where_nothing_adjoins() {
        let silence = Some(Bytes::from_static(b"s"));
        // 7 ms late, 13 ms too short.
        assert_eq!(alone(7.0, 2, silence.clone(), 60), (0, vec![960 + 336, 960 + 624]));
        // Late by more than a frame.
        assert_eq!(alone(30.0, 2, silence.clone(), 60), (0, vec![1440, 960, 960]));
        assert_eq!(alone(30.0, 1, None, 50), (0, vec![960 + 1440]));
        // Sound before the pictures, and after them.
        assert_eq!(alone(-5.0, 2, silence.clone(), 30), (0, vec![960, 960]));
        // Later than a second: the track has begun without it.
        assert_eq!(alone(1500.0, 1, silence, 1520), (72_000, vec![960]));
        // No longer than a second either.
        assert_eq!(alone(0.0, 1, None, 5000), (0, vec![48_000]));
    }

    #[test]
    fn the_end_of_a_segment_keeps_the_held_frame() {
        let mut placer = AudioPlacer::new(8_000, 160, Lead::Before);
        placed(&mut placer, 0.0);
        placed(&mut placer, 20.0);
        assert_eq!(placer.finish().unwrap().samples.len(), 2);
        assert_eq!(placer.finish(), None);
    }
}
