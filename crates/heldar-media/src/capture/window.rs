//! Smallest delay of arrival over the last half minute.

use std::collections::VecDeque;

use heldar_base::MonoTime;

/// Time that is looked back, in whole seconds. Longer than a congested link stays so; short enough that a camera 200 ppm
/// off is followed within 6.4 ms.
const WINDOW_S: i64 = 32;

/// The minimum of each second.
#[derive(Clone, Debug, Default)]
pub(super) struct DelayWindow {
    seconds: VecDeque<(i64, i64)>,
}

impl DelayWindow {
    /// Takes the delay of something that arrived, in microseconds against any fixed reference.
    pub(super) fn push(&mut self, arrival: MonoTime, delay: i64) {
        let second = arrival.0.div_euclid(1_000_000);
        match self.seconds.back_mut() {
            Some((newest, min)) if *newest >= second => *min = delay.min(*min),
            _ => self.seconds.push_back((second, delay)),
        }
        while self.seconds.front().is_some_and(|(s, _)| *s <= second.saturating_sub(WINDOW_S)) {
            self.seconds.pop_front();
        }
    }

    /// The smallest delay.
    pub(super) fn min(&self) -> Option<i64> {
        self.seconds.iter().map(|(_, min)| *min).min()
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.seconds.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_a_list(steps in proptest::collection::vec((0i64..3_000_000, -1000i64..1000), 1..200)) {
            let mut window = DelayWindow::default();
            let (mut now, mut all) = (0i64, Vec::new());
            for (step, delay) in steps {
                now += step;
                all.push((now, delay));
                window.push(MonoTime(now), delay);
                let oldest = now.div_euclid(1_000_000) - WINDOW_S;
                let expect = all.iter().filter(|(at, _)| at.div_euclid(1_000_000) > oldest).map(|(_, d)| *d).min();
                prop_assert_eq!(window.min(), expect);
            }
            window.clear();
            prop_assert_eq!(window.min(), None);
        }
    }
}
