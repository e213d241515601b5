//! RTP times from times of capture.
//!
//! Owns: one offset for pictures and sound of a stream. RTP time is capture time at the format's rate, modulo 2^32, so that
//! it goes on over an interruption of the camera by as much as the interruption took. Invariant: what comes after an
//! interruption has a later time than all before it, even if the camera's clock or ours was set back meanwhile.

use heldar_base::{Micros, WallTime};

/// Between the last unit before and the first after a clock that was set back.
const STEP: Micros = Micros::from_millis(40);

#[derive(Debug, Default)]
pub(super) struct Times {
    offset: Micros,
    /// Latest time that went out, offset included.
    latest: Option<WallTime>,
    is_new: bool,
}

impl Times {
    /// What follows has nothing to do with what came before.
    pub(super) fn interrupt(&mut self) {
        self.is_new = true;
    }

    /// RTP time of a unit, of so many ticks per second.
    pub(super) fn rtp(&mut self, captured_at: WallTime, rate: u32) -> u32 {
        if std::mem::take(&mut self.is_new)
            && let Some(latest) = self.latest
            && captured_at + self.offset <= latest
        {
            self.offset = latest - captured_at + STEP;
        }
        let at = captured_at + self.offset;
        self.latest = Some(self.latest.map_or(at, |latest| latest.max(at)));
        // RTP time wraps (RFC 3550 5.1).
        (at - WallTime::EPOCH).to_ticks(rate) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: i64) -> WallTime {
        WallTime(1_793_500_000_000_000 + ms * 1000)
    }

    #[test]
    fn times_are_those_of_capture() {
        let mut times = Times::default();
        let (picture, sound) = (times.rtp(at(0), 90_000), times.rtp(at(0), 48_000));
        // An earlier picture in presentation order, and sound that lags, are no interruption.
        assert_eq!(times.rtp(at(-40), 90_000), picture.wrapping_sub(3600));
        assert_eq!(times.rtp(at(20), 48_000), sound.wrapping_add(960));
        times.interrupt();
        // A minute without the camera is a minute, also over the wrap.
        assert_eq!(times.rtp(at(60_000), 90_000), picture.wrapping_add(5_400_000));
        times.interrupt();
        assert_eq!(
            times.rtp(at(60_000 + 86_400_000), 90_000),
            picture.wrapping_add((86_460_000u64 * 90) as u32)
        );
    }

    #[test]
    fn a_clock_that_was_set_back_moves_all_tracks_alike() {
        let mut times = Times::default();
        let (picture, sound) = (times.rtp(at(0), 90_000), times.rtp(at(0), 48_000));
        times.interrupt();
        assert_eq!(times.rtp(at(-30_000), 90_000), picture.wrapping_add(3600));
        assert_eq!(times.rtp(at(-30_000), 48_000), sound.wrapping_add(1920));
        assert_eq!(times.rtp(at(-29_960), 90_000), picture.wrapping_add(7200));
    }

    proptest! {
        #[test]
        fn after_an_interruption_it_is_later(steps in prop::collection::vec(-100_000i64..100_000, 1..50)) {
            let mut times = Times::default();
            let (mut now, mut last) = (0, times.rtp(at(0), 90_000));
            for step in steps {
                now += step;
                times.interrupt();
                let next = times.rtp(at(now), 90_000);
                // Forward on the circle of 32 bits (RFC 1982 3.2).
                prop_assert!((1..1 << 31).contains(&next.wrapping_sub(last)), "{last} {next}");
                last = next;
            }
        }
    }
}
