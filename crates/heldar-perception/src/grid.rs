//! Which pictures of a stream become frames of a task (perception.md 5.2, Rates).
//!
//! Owns: due times and the choice. Never: pictures themselves, clocks; capture times come in and rise.
//!
//! Due times of a rate lie at whole multiples of its period since 1970. A picture is picked when it is the first at or
//! after a due time, so that equal rates pick the same pictures, and a rate of half picks half of them. Two cases go
//! beyond that rule:
//! - A picker that knows no picture yet takes the first, for the due time before it: a slow task would wait for its
//!   whole period otherwise.
//! - A stream about as fast as the rate has its pictures now just before, now just after a due time. One picture may then
//!   be the first after two due times, and the next, a period later, after none. The first then counts for one of them,
//!   and the second stays open for the next picture, else half of the pictures would be lost. That one has to come at
//!   least half a period later; if it comes sooner, nothing is open any more.

use heldar_base::WallTime;

use crate::task::{MAX_FPS, MIN_FPS};

/// Fixed-point scale of the rate. Due times are counted from 1970, so a rate that is off by one part in 10^12 would shift
/// them by milliseconds; this is fine to one in 10^15, and the product with any time fits 128 bits.
const FRACTION_BITS: u32 = 56;

/// Picks pictures at one rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Picker {
    fps: f64,
    last: Option<Picked>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Picked {
    /// Number of the newest due time at or before the last picture.
    due: i128,
    /// Capture time of the last picture.
    at: WallTime,
    /// That picture was picked for the due time before, so that its own is still open.
    owes: bool,
}

impl Picker {
    /// A picker of `fps` pictures a second, brought into the range of tasks.
    pub fn new(fps: f64) -> Self {
        Picker { fps: if fps.is_nan() { MIN_FPS } else { fps.clamp(MIN_FPS, MAX_FPS) }, last: None }
    }

    /// Its rate.
    pub fn fps(&self) -> f64 {
        self.fps
    }

    /// Whether the picture captured at `at` is picked. Every picture has to be shown, in order; one that does not lie
    /// after the one before is not picked.
    pub fn picks(&mut self, at: WallTime) -> bool {
        let due = self.due_number(at);
        let Some(last) = self.last else {
            self.last = Some(Picked { due, at, owes: false });
            return true;
        };
        // What is open is the due time of the last picture, if that one was picked for the due time before.
        let open = due - last.due + i128::from(last.owes);
        let is_apart = (at - last.at).0 as f64 * self.fps >= 500_000.0;
        let picked = due > last.due || (open == 1 && is_apart);
        self.last = Some(Picked { due: due.max(last.due), at: at.max(last.at), owes: picked && open > 1 });
        picked
    }

    /// Forgets what it saw, for instance after decoding stood still: the next picture is picked.
    pub fn reset(&mut self) {
        self.last = None;
    }

    /// How many due times lie at or before `at`, counted from 1970.
    fn due_number(&self, at: WallTime) -> i128 {
        let rate = (self.fps * (1u64 << FRACTION_BITS) as f64) as i128;
        // Half a microsecond on top: a picture that is due at the very microsecond counts as due.
        let half_micros = i128::from(at.0) * 2 + 1;
        (half_micros * rate).div_euclid(2_000_000i128 << FRACTION_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Some day in 2026, on no particular boundary.
    const START: i64 = 1_780_000_000_123_457;

    /// Indexes of the pictures that a fresh picker takes.
    fn picked(fps: f64, times: &[i64]) -> Vec<usize> {
        let mut picker = Picker::new(fps);
        let taken = times.iter().enumerate().filter(|(_, us)| picker.picks(WallTime(**us)));
        taken.map(|(i, _)| i).collect()
    }

    /// A stream of `source` pictures a second with times off by up to `jitter` microseconds.
    fn stream(source: f64, seconds: f64, phase_us: i64, jitter: &[i64]) -> Vec<i64> {
        let count = (source * seconds) as usize;
        (0..count)
            .map(|i| START + phase_us + (i as f64 * 1e6 / source) as i64 + jitter[i % jitter.len()])
            .collect()
    }

    #[test]
    fn due_times_are_multiples_since_1970() {
        for (fps, us, number) in [
            (5.0, 0, 0),
            (5.0, 199_999, 0),
            (5.0, 200_000, 1),
            (5.0, 1_780_000_000_000_000, 8_900_000_000),
            (1.0 / 3.0, 3_000_000, 1),
            (0.02, 49_999_999, 0),
            (0.02, 50_000_000, 1),
            (5.0, -1, -1),
        ] {
            assert_eq!(Picker::new(fps).due_number(WallTime(us)), number, "{fps} {us}");
        }
    }

    #[test]
    fn the_first_at_or_after_a_due_time() {
        let times = [0, 100_000, 200_000, 210_000, 390_000, 400_000, 410_000, 1_000_000];
        assert_eq!(picked(5.0, &times), [0, 2, 5, 7]);
        assert_eq!(picked(30.0, &times), [0, 1, 2, 4, 5, 7]);
        assert_eq!(picked(0.02, &times), [0]);
    }

    #[test]
    fn a_gap_is_not_made_up_for() {
        // 25 pictures a second, half a second without one.
        let mut times: Vec<i64> = (0..25).map(|i| i * 40_000).collect();
        times.extend((0..25).map(|i| 1_510_000 + i * 40_000));
        let taken = picked(5.0, &times);
        let after: Vec<i64> = taken.iter().map(|i| times[*i]).filter(|t| *t > 1_000_000).collect();
        assert_eq!(after, [1_510_000, 1_630_000, 1_830_000, 2_030_000, 2_230_000, 2_430_000]);
    }

    #[test]
    fn times_that_do_not_rise_are_not_picked() {
        assert_eq!(picked(5.0, &[1_000_000, 1_000_000, 500_000, 900_000, 1_200_000]), [0, 4]);
    }

    #[test]
    fn after_a_reset_the_next_picture_is_picked() {
        let mut picker = Picker::new(0.1);
        assert!(picker.picks(WallTime(1)) && !picker.picks(WallTime(2)));
        picker.reset();
        assert!(picker.picks(WallTime(3)));
    }

    fn jitters(most: i64) -> impl Strategy<Value = Vec<i64>> {
        proptest::collection::vec(-most..=most, 1..40)
    }

    proptest! {
        #[test]
        fn each_due_time_has_its_picture(
            fps in 0.5..10.0f64, ratio in 1.3..10.0f64, phase in 0..1_000_000i64, jitter in jitters(8_000)
        ) {
            let times = stream(fps * ratio, 20.0, phase, &jitter);
            let taken = picked(fps, &times);
            let grid = Picker::new(fps);
            let due: Vec<i128> = taken.iter().map(|i| grid.due_number(WallTime(times[*i]))).collect();
            // None twice and, as the stream is faster than the rate by more than the jitter, none left out.
            prop_assert!(due.windows(2).all(|w| w[1] == w[0] + 1), "{due:?}");
        }

        #[test]
        fn a_stream_as_fast_as_the_rate_is_taken_whole(
            fps in 0.5..25.0f64, phase in 0..1_000_000i64, jitter in jitters(1_000), scale in 0.0..9.0f64
        ) {
            // Jitter of up to a quarter of the period, at whatever phase to the grid.
            let quarter = 1e6 / fps / 4.0;
            let jitter: Vec<i64> = jitter.iter().map(|j| (*j as f64 * (quarter / 9_000.0) * scale) as i64).collect();
            let times = stream(fps, 20.0, phase, &jitter);
            // The first that comes before its due time has none left; from then on one is always open.
            prop_assert!(picked(fps, &times).len() + 1 >= times.len());
        }

        #[test]
        fn a_divisor_of_a_rate_picks_among_its_pictures(
            base in 1..6u32, by in 1..6u32, source in 2.0..30.0f64, phase in 0..1_000_000i64, jitter in jitters(20_000)
        ) {
            let mut times = stream(source, 10.0, phase, &jitter);
            times.sort_unstable();
            let (slow, fast) = (picked(f64::from(base), &times), picked(f64::from(base * by), &times));
            prop_assert!(slow.iter().all(|i| fast.contains(i)));
        }

        #[test]
        fn nothing_panics(fps: f64, times in proptest::collection::vec(any::<i64>(), 0..20)) {
            let mut picker = Picker::new(fps);
            for us in times {
                picker.picks(WallTime(us));
            }
        }
    }
}
