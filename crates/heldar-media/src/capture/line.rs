//! A clock that follows another one by running a little faster or slower, never by a step.

use std::collections::VecDeque;

/// Shortest stretch of constant speed, in microseconds.
const LEG_US: i64 = 200_000;

/// Stretches that are kept for times that are asked late: B pictures, and the slower of two tracks. Over 12 seconds.
const LEGS: usize = 64;

/// Maps x to `x + offset`, both in microseconds, where the offset moves towards a wanted one.
///
/// Invariants: what was answered for an x is answered again while its stretch is kept; a larger x never has a smaller
/// answer (while time that is ahead is slowed by less than 1 000 000 ppm).
#[derive(Clone, Debug)]
pub(super) struct SlewLine {
    legs: VecDeque<Leg>,
    /// Largest x so far; the line is fixed up to here.
    front: i64,
}

/// From `from` on the offset moves by `correction` at `ppm`, then stays.
#[derive(Clone, Copy, Debug)]
struct Leg {
    from: i64,
    offset: i64,
    correction: i64,
    ppm: i64,
}

impl Leg {
    fn offset_at(&self, x: i64) -> i64 {
        let moved = x.saturating_sub(self.from).max(0).saturating_mul(self.ppm) / 1_000_000;
        let moved = moved.min(self.correction.saturating_abs());
        self.offset.saturating_add(if self.correction < 0 { -moved } else { moved })
    }
}

impl SlewLine {
    /// A line through one point.
    pub(super) fn through(x: i64, y: i64) -> Self {
        let leg = Leg { from: x, offset: y.saturating_sub(x), correction: 0, ppm: 0 };
        SlewLine { legs: VecDeque::from([leg]), front: x }
    }

    /// The answer for x.
    pub(super) fn at(&self, x: i64) -> i64 {
        x.saturating_add(self.offset_at(x))
    }

    fn offset_at(&self, x: i64) -> i64 {
        let leg = self.legs.iter().rev().find(|leg| leg.from <= x).or(self.legs.front());
        leg.map_or(0, |leg| leg.offset_at(x))
    }

    /// The offset at the front.
    pub(super) fn offset(&self) -> i64 {
        self.offset_at(self.front)
    }

    /// Goes on to x, from the front towards an offset at a speed that depends on how far it is. Does nothing for an x that
    /// the line has passed.
    pub(super) fn advance(&mut self, x: i64, wanted: i64, speed_ppm: impl FnOnce(i64) -> i64) {
        if x <= self.front {
            return;
        }
        if self.legs.back().is_none_or(|leg| self.front.saturating_sub(leg.from) >= LEG_US) {
            let offset = self.offset();
            let correction = wanted.saturating_sub(offset);
            if self.legs.len() == LEGS {
                self.legs.pop_front();
            }
            self.legs.push_back(Leg { from: self.front, offset, correction, ppm: speed_ppm(correction) });
        }
        self.front = x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slews_and_stops() {
        let mut line = SlewLine::through(1000, 5000);
        assert_eq!((line.at(1000), line.at(900), line.at(1100)), (5000, 4900, 5100));
        // 50 us at 500 ppm take 100 ms.
        line.advance(301_000, 4050, |_| 500);
        line.advance(401_000, 4050, |_| 500);
        line.advance(901_000, 4050, |_| 500);
        assert_eq!(line.at(301_000) - 301_000, 4000);
        assert_eq!(line.at(351_000) - 351_000, 4025);
        assert_eq!(line.at(401_000) - 401_000, 4050);
        assert_eq!(line.at(901_000) - 901_000, 4050);
    }

    proptest! {
        #[test]
        fn never_runs_back(steps in proptest::collection::vec((-100_000i64..400_000, -1_000_000i64..1_000_000), 1..100), ppm in 0i64..=500_000) {
            let mut line = SlewLine::through(0, 0);
            let (mut x, mut asked) = (0i64, vec![(0, 0)]);
            for (step, wanted) in steps {
                x = (x + step).max(0);
                line.advance(x, wanted, |_| ppm);
                asked.push((x, line.at(x)));
            }
            // The answers of kept stretches stand.
            for (x, y) in asked.iter().rev().take(30) {
                prop_assert_eq!(line.at(*x), *y);
            }
            asked.sort_unstable();
            for pair in asked.windows(2) {
                prop_assert!(pair[1].1 >= pair[0].1);
                let (dx, dy) = (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1);
                // Up to two stretches meet between two questions, each rounded down.
                prop_assert!((dy - dx).abs() <= dx * ppm / 1_000_000 + 2);
            }
        }
    }
}
