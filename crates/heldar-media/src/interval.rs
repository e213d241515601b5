//! The usual time between pictures, and how long one picture may last.

use std::collections::VecDeque;

use heldar_base::Micros;

/// Differences that are looked at: short enough to follow a changed frame rate within seconds, long enough to pass over
/// stalls.
const WINDOW: usize = 31;

/// Estimates the usual interval as the median of the newest differences.
#[derive(Clone, Debug)]
pub struct IntervalEstimator {
    nominal: Option<Micros>,
    newest: VecDeque<Micros>,
}

impl IntervalEstimator {
    /// Least length that every picture may have.
    pub const MIN_LONGEST: Micros = Micros::from_secs(2);

    /// Starts with what the parameter sets tell.
    pub fn new(nominal: Option<Micros>) -> Self {
        IntervalEstimator { nominal, newest: VecDeque::with_capacity(WINDOW) }
    }

    /// Takes the time from one picture to the next in ascending order. One that is not above zero is none.
    pub fn push(&mut self, difference: Micros) {
        if difference <= Micros::ZERO {
            return;
        }
        if self.newest.len() == WINDOW {
            self.newest.pop_front();
        }
        self.newest.push_back(difference);
    }

    /// The usual interval: the median of what was seen, else what the parameter sets tell.
    pub fn usual(&self) -> Option<Micros> {
        if self.newest.is_empty() {
            return self.nominal;
        }
        let mut sorted: Vec<Micros> = self.newest.iter().copied().collect();
        // Of an even number the smaller middle, so that one stall among two differences is not the rule.
        let middle = (sorted.len() - 1) / 2;
        let (_, median, _) = sorted.select_nth_unstable(middle);
        Some(*median)
    }

    /// Takes the time from one picture to the next, as [`IntervalEstimator::push`], and tells how long the first of both
    /// lasts: all of it or [`IntervalEstimator::longest`], the rest being a hole. A difference counts among the usual ones
    /// before it is judged, so that a camera of one picture in five seconds has no hole behind its first.
    pub fn lasts(&mut self, difference: Micros) -> Micros {
        self.push(difference);
        difference.min(self.longest())
    }

    /// How long a picture lasts at most: two seconds, or three usual intervals where that is more. What is longer is a hole.
    pub fn longest(&self) -> Micros {
        let three = self.usual().map_or(Micros::ZERO, |usual| Micros(usual.0.saturating_mul(3)));
        three.max(Self::MIN_LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nominal: Option<i64>, differences: &[i64], usual: Option<i64>, longest: i64) {
        let mut estimator = IntervalEstimator::new(nominal.map(Micros::from_millis));
        for difference in differences {
            estimator.push(Micros::from_millis(*difference));
        }
        assert_eq!(estimator.usual(), usual.map(Micros::from_millis), "{differences:?}");
        assert_eq!(estimator.longest(), Micros::from_millis(longest), "{differences:?}");
    }

    #[test]
    fn usual_and_longest() {
        check(None, &[], None, 2000);
        check(Some(40), &[], Some(40), 2000);
        check(Some(40), &[100], Some(100), 2000);
        check(None, &[40, 40, 9000, 40, 0, -5, 40], Some(40), 2000);
        check(None, &[1000, 1000, 1000], Some(1000), 3000);
        check(None, &[60_000], Some(60_000), 180_000);
    }

    #[test]
    fn a_slow_camera_has_no_holes_and_a_stall_is_one() {
        for (differences, lasts) in [
            (&[5000, 5000, 5000][..], &[5000, 5000, 5000][..]),
            (&[40, 40, 3000, 40], &[40, 40, 2000, 40]),
            (&[40, 3000, 1000], &[40, 2000, 1000]),
        ] {
            let mut estimator = IntervalEstimator::new(Some(Micros::from_millis(40)));
            let got: Vec<Micros> =
                differences.iter().map(|d| estimator.lasts(Micros::from_millis(*d))).collect();
            assert_eq!(got, lasts.iter().map(|l| Micros::from_millis(*l)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn follows_a_changed_rate() {
        let mut differences = vec![40; 200];
        differences.extend([1000; 16]);
        check(None, &differences, Some(1000), 3000);
    }
}
