//! The present as retention believes it: a clock that jumps ahead must not make footage old.
//!
//! Owns: when a forward step of the host clock is taken as true. Never: reads a clock.

use heldar_base::{Micros, WallTime};

/// A step up to this long is believed at once.
const BELIEVED: Micros = Micros::from_hours(1);
/// A longer one is believed when it has held for this long.
const PROBATION: Micros = Micros::from_hours(24);

/// Wall time held against time that never steps.
#[derive(Clone, Copy, Debug, Default)]
pub struct SteadyNow {
    /// Readings of both clocks that were believed last: time since boot, and UTC.
    anchor: Option<(Micros, WallTime)>,
    /// Since when, in time since boot, UTC has been further ahead than believed.
    ahead_since: Option<Micros>,
}

impl SteadyNow {
    /// Takes a reading of both clocks, `up` being the time since boot, and says what to take for now.
    pub fn read(&mut self, up: Micros, wall: WallTime) -> WallTime {
        let Some((anchor_up, anchor_wall)) = self.anchor else {
            self.anchor = Some((up, wall));
            return wall;
        };
        let expected = anchor_wall + (up - anchor_up).max(Micros::ZERO);
        if wall - expected <= BELIEVED {
            self.ahead_since = None;
            // A step back does not lower the anchor: the way forward again is no news.
            self.anchor = Some((up, wall.max(expected)));
            return wall;
        }
        let since = *self.ahead_since.get_or_insert(up);
        if up - since >= PROBATION {
            self.ahead_since = None;
            self.anchor = Some((up, wall));
            return wall;
        }
        expected
    }

    /// True while UTC is ahead of what is believed.
    pub fn is_doubting(&self) -> bool {
        self.ahead_since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each step is hours since boot, hours of UTC, and hours of UTC that are believed.
    fn check(steps: &[(i64, i64, i64)]) {
        let mut now = SteadyNow::default();
        for (up, wall, expect) in steps {
            let got = now.read(Micros::from_hours(*up), WallTime::EPOCH + Micros::from_hours(*wall));
            assert_eq!(got, WallTime::EPOCH + Micros::from_hours(*expect), "at {up} h: {steps:?}");
        }
    }

    #[test]
    fn steps_of_the_clock() {
        // Time passes, also while nobody looks, and an hour more is nothing.
        check(&[(0, 100, 100), (5, 105, 105), (6, 107, 107), (500, 601, 601)]);
        // A year ahead for an hour, and back.
        check(&[(0, 100, 100), (1, 8861, 101), (2, 102, 102), (3, 103, 103)]);
        // A step that holds for a day is believed; until then time goes on as it was.
        check(&[(0, 0, 0), (1, 8000, 1), (24, 8023, 24), (25, 8024, 8024), (26, 8025, 8025)]);
        // One that comes back in between starts again.
        check(&[(0, 0, 0), (1, 8000, 1), (20, 20, 20), (21, 8020, 21), (30, 8029, 30), (45, 8044, 8044)]);
        // Back is believed at once, and so is the return.
        check(&[(0, 100, 100), (1, 2, 2), (2, 102, 102), (3, 9000, 103)]);
    }
}
