//! RTP times of a session: from times of capture, without a step back when the camera reconnects, its clock or ours is set
//! back meanwhile, or the stream changes.
//!
//! Owns: the relation of capture time, RTP time and this machine's clock in one session, and how a replayed group of
//! pictures is squeezed in time. Never: reads a clock. Invariant: RTP times of a track rise strictly.

use std::time::{Duration, Instant};

use heldar_base::{Micros, WallTime};

/// Ticks per second of pictures (RFC 6184 8.1, RFC 7798 7.1).
const VIDEO_RATE: u32 = 90_000;
/// Ticks per second of Opus (RFC 7587 4.1).
const SOUND_RATE: u32 = 48_000;
/// The first picture stands so far from zero, so that earlier ones have room before it.
const LEAD: Micros = Micros::from_secs(60);
/// Between squeezed pictures where there is room: 2 ms.
const SPACING: i64 = 180;
/// Squeezed pictures that follow a picture already sent end this far behind it at most: 30 ms, before the next one is due.
const ROOM: i64 = 2_700;
/// Sound whose time differs from the sum of its frames by less is taken as evenly spaced, as decoders expect it.
const SOUND_SLACK: i64 = 480;
/// Between the last of what was sent and the first picture after a clock that was set back.
const STEP: Micros = Micros::from_millis(40);
/// No stream lags behind another of its camera, or what is sent again behind the newest, by more. Such a step back tells of
/// a clock that was set back even where the interruption was leapt over.
const MAX_LAG: Micros = Micros::from_secs(5);
/// Times of this machine lie so far before the pictures' arrival that none is ever in the future.
const MARGIN: Duration = Duration::from_secs(1);

/// RTP times of one session.
#[derive(Debug)]
pub(super) struct Timeline {
    origin: WallTime,
    anchor: Instant,
    last_picture: Option<i64>,
    next_sound: Option<i64>,
    /// The source was lost and no picture has come since.
    is_interrupted: bool,
}

impl Timeline {
    /// Begins with a picture that was just captured.
    pub(super) fn new(captured_at: WallTime, now: Instant) -> Self {
        Timeline {
            origin: captured_at,
            anchor: now.checked_sub(MARGIN).unwrap_or(now),
            last_picture: None,
            next_sound: None,
            is_interrupted: false,
        }
    }

    /// The source was lost: before it comes again its clock may be set back.
    pub(super) fn interrupt(&mut self) {
        self.is_interrupted = true;
    }

    /// Lets a picture follow all that was sent if the clock was set back before it was captured. What comes after it goes
    /// on from there, sound too.
    fn settle(&mut self, captured_at: WallTime) {
        let is_new = std::mem::take(&mut self.is_interrupted);
        let Some(last) = self.last_picture else { return };
        let picture = Micros::from_ticks(last, VIDEO_RATE);
        let is_set_back = is_new && self.ticks(captured_at, VIDEO_RATE) <= last;
        if is_set_back || picture - (captured_at - self.origin + LEAD) > MAX_LAG {
            let sound = self.next_sound.map_or(picture, |next| Micros::from_ticks(next, SOUND_RATE));
            self.origin = captured_at + LEAD - (picture.max(sound) + STEP);
        }
    }

    fn ticks(&self, at: WallTime, rate: u32) -> i64 {
        (at - self.origin + LEAD).to_ticks(rate)
    }

    /// RTP time of the next picture.
    pub(super) fn picture(&mut self, captured_at: WallTime) -> i64 {
        self.settle(captured_at);
        let ticks = self.ticks(captured_at, VIDEO_RATE);
        let ticks = self.last_picture.map_or(ticks, |last| ticks.max(last + 1));
        self.last_picture = Some(ticks);
        ticks
    }

    /// RTP times of so many pictures that are sent at once, of which the newest was captured at this time: they are gone
    /// through in no time, and the newest is shown when it should be.
    pub(super) fn squeezed(&mut self, count: usize, newest: WallTime) -> impl Iterator<Item = i64> + use<> {
        let count = i64::try_from(count).unwrap_or(i64::MAX).max(1);
        self.settle(newest);
        let (end, step) = squeeze(count, self.ticks(newest, VIDEO_RATE), self.last_picture);
        self.last_picture = Some(end);
        (1 - count..=0).map(move |back| end + back * step)
    }

    /// RTP time of the next frame of sound, of so many samples.
    pub(super) fn sound(&mut self, captured_at: WallTime, samples: u32) -> i64 {
        let ticks = self.ticks(captured_at, SOUND_RATE);
        let ticks = match self.next_sound {
            Some(next) if (ticks - next).abs() < SOUND_SLACK => next,
            Some(next) => ticks.max(next),
            None => ticks,
        };
        self.next_sound = Some(ticks + i64::from(samples.max(1)));
        ticks
    }

    /// When a picture of this RTP time was captured, by this machine's clock.
    pub(super) fn picture_instant(&self, ticks: i64, now: Instant) -> Instant {
        self.instant(ticks, VIDEO_RATE, now)
    }

    /// When a frame of sound of this RTP time was captured, by this machine's clock.
    pub(super) fn sound_instant(&self, ticks: i64, now: Instant) -> Instant {
        self.instant(ticks, SOUND_RATE, now)
    }

    fn instant(&self, ticks: i64, rate: u32, now: Instant) -> Instant {
        let after = Micros::from_ticks(ticks, rate) - LEAD;
        let at = if after < Micros::ZERO {
            self.anchor.checked_sub(after.abs().to_std())
        } else {
            self.anchor.checked_add(after.to_std())
        };
        at.unwrap_or(now).min(now)
    }
}

/// RTP time of the last of `count` pictures and the distance between them.
fn squeeze(count: i64, newest: i64, last: Option<i64>) -> (i64, i64) {
    let Some(last) = last else { return (newest, SPACING) };
    let end = if newest > last {
        newest.max(last.saturating_add(count))
    } else {
        last.saturating_add(count.saturating_mul(SPACING).min(ROOM).max(count))
    };
    (end, ((end - last) / count).clamp(1, SPACING))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: i64) -> WallTime {
        WallTime(1_700_000_000_000_000 + ms * 1000)
    }

    #[test]
    fn pictures_keep_their_distance() {
        let mut timeline = Timeline::new(at(0), Instant::now());
        let first = timeline.picture(at(0));
        assert_eq!(timeline.picture(at(40)) - first, 3600);
        // An hour without the camera is an hour.
        assert_eq!(timeline.picture(at(3_600_000)) - first, 324_000_000);
        // Another stream of the camera may lag a little.
        assert_eq!(timeline.picture(at(3_599_990)) - first, 324_000_001);
    }

    #[test]
    fn a_group_is_squeezed_before_its_newest_picture() {
        let mut timeline = Timeline::new(at(960), Instant::now());
        let times: Vec<i64> = timeline.squeezed(4, at(960)).collect();
        let newest = times[3];
        assert_eq!(times, [newest - 540, newest - 360, newest - 180, newest]);
        assert_eq!(timeline.picture(at(1000)) - newest, 3600);
    }

    #[test]
    fn a_group_that_was_shown_already_goes_between_two_pictures() {
        let mut timeline = Timeline::new(at(0), Instant::now());
        let shown = timeline.picture(at(0));
        let times: Vec<i64> = timeline.squeezed(50, at(0)).collect();
        assert!(times[0] > shown && times[49] < shown + 3600);
        assert_eq!(timeline.picture(at(40)), shown + 3600);
    }

    #[test]
    fn sound_is_even_until_it_really_jumps() {
        let mut timeline = Timeline::new(at(0), Instant::now());
        let first = timeline.sound(at(0), 960);
        assert_eq!(timeline.sound(at(23), 960), first + 960);
        assert_eq!(timeline.sound(at(38), 960), first + 1920);
        assert_eq!(timeline.sound(at(200), 960), first + 9600);
        assert_eq!(timeline.sound(at(0), 960), first + 10_560);
    }

    #[test]
    fn times_of_this_machine_are_never_in_the_future() {
        let now = Instant::now();
        let mut timeline = Timeline::new(at(0), now);
        let ticks = timeline.picture(at(5_000));
        assert_eq!(timeline.picture_instant(ticks, now), now);
        let later = now + Duration::from_secs(9);
        assert_eq!(timeline.picture_instant(ticks, later) - now, Duration::from_secs(4));
        let sound = timeline.sound(at(5_000), 960);
        assert_eq!(timeline.sound_instant(sound, later), timeline.picture_instant(ticks, later));
    }

    #[test]
    fn after_a_clock_that_was_set_back_all_goes_on() {
        for set_back in [100, 30_000, 3_600_000] {
            let start = Instant::now();
            let later = start + Duration::from_secs(60);
            let mut timeline = Timeline::new(at(0), start);
            let (picture, sound) = (timeline.picture(at(0)), timeline.sound(at(0), 960));
            timeline.interrupt();
            // 40 ms after the end of the sound, which went further than the pictures.
            let first = timeline.picture(at(-set_back));
            assert_eq!(first - picture, 5400);
            assert_eq!(timeline.picture(at(40 - set_back)) - first, 3600);
            let next = timeline.sound(at(-set_back), 960);
            assert_eq!(next - sound, 2880);
            assert_eq!(timeline.sound(at(20 - set_back), 960) - next, 960);
            let instant = timeline.picture_instant(first, later);
            assert_eq!(instant - timeline.picture_instant(picture, later), Duration::from_millis(60));
            assert_eq!(timeline.sound_instant(next, later), instant);
        }
    }

    #[test]
    fn a_group_after_a_clock_that_was_set_back_goes_on() {
        let mut timeline = Timeline::new(at(0), Instant::now());
        let first = timeline.picture(at(0));
        // Even when nobody told of the interruption.
        let times: Vec<i64> = timeline.squeezed(3, at(-10_000)).collect();
        assert_eq!(times, [first + 3240, first + 3420, first + 3600]);
        assert_eq!(timeline.picture(at(-9_960)) - first, 7200);
    }

    #[test]
    fn an_interruption_without_a_step_back_is_only_a_gap() {
        let mut timeline = Timeline::new(at(0), Instant::now());
        let first = timeline.picture(at(0));
        timeline.interrupt();
        assert_eq!(timeline.picture(at(5_000)) - first, 450_000);
        // It is over with its first picture.
        assert_eq!(timeline.picture(at(4_900)) - first, 450_001);
    }

    proptest! {
        #[test]
        fn times_rise_whatever_comes(steps in prop::collection::vec((any::<bool>(), 1usize..200, prop_oneof![-5_000i64..5_000, -9_000_000i64..9_000_000]), 1..40)) {
            let mut timeline = Timeline::new(at(0), Instant::now());
            let (mut last, mut ms) = (i64::MIN, 0);
            for (is_group, count, step) in steps {
                ms += step;
                if count % 3 == 0 {
                    timeline.interrupt();
                }
                let times = if is_group {
                    timeline.squeezed(count, at(ms)).collect()
                } else {
                    vec![timeline.picture(at(ms))]
                };
                for ticks in times {
                    prop_assert!(ticks > last);
                    last = ticks;
                }
            }
        }
    }
}
