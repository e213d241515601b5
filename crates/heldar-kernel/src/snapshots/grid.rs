//! When a picture of a schedule is due.

use heldar_base::{Micros, WallTime};

/// The instants of a schedule: its creation, and every interval after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    /// When the schedule was made.
    pub(super) from: WallTime,
    /// Time between two pictures, above 0.
    pub(super) interval: Micros,
}

impl Grid {
    /// When a picture is due for a schedule that last fired at `fired`. What passed while nobody looked is due once, at once.
    pub(super) fn due(self, fired: Option<WallTime>, now: WallTime) -> WallTime {
        match fired {
            None => self.from.min(now),
            // A clock that was set back is not waited for.
            Some(fired) => self.after(fired.min(now)),
        }
    }

    /// The first instant after another.
    pub(super) fn after(self, at: WallTime) -> WallTime {
        let passed = (at - self.from).0.div_euclid(self.interval.0);
        self.from + Micros(self.interval.0.saturating_mul(passed.saturating_add(1)))
    }

    /// What is due, where a clock that was set back has left it out of reach.
    pub(super) fn within_reach(self, due: WallTime, now: WallTime) -> WallTime {
        if due - now > self.interval { self.after(now) } else { due }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> WallTime {
        WallTime(seconds * 1_000_000)
    }

    const TENS: Grid = Grid { from: WallTime(3_000_000), interval: Micros::from_secs(10) };

    #[test]
    fn what_passed_is_due_once_and_then_on_the_grid() {
        let check = |fired: Option<i64>, now: i64, expect: i64| {
            assert_eq!(TENS.due(fired.map(at), at(now)), at(expect), "{fired:?} {now}");
        };
        // A new one at once.
        check(None, 3, 3);
        check(None, 100, 3);
        // A clock that was set back after it was made.
        check(None, 1, 1);
        check(Some(3), 3, 13);
        check(Some(3), 12, 13);
        // A little late: the next is none the later.
        check(Some(4), 5, 13);
        // Down for a while: due since long, and after that in its place again.
        check(Some(13), 99, 23);
        check(Some(99), 99, 103);
        // The clock was set back since it fired.
        check(Some(500), 20, 23);
        assert_eq!(TENS.within_reach(at(503), at(20)), at(23));
        assert_eq!(TENS.within_reach(at(23), at(20)), at(23));
    }

    proptest! {
        #[test]
        fn each_interval_has_one_instant(from in -1_000i64..1_000, interval in 5i64..86_400, steps in 1usize..50) {
            let grid = Grid { from: at(from), interval: Micros::from_secs(interval) };
            let mut last = grid.due(None, at(from));
            for _ in 0..steps {
                let next = grid.due(Some(last), last);
                prop_assert_eq!(next - last, grid.interval);
                last = next;
            }
        }
    }
}
