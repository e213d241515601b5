//! How much of ceiling D the machine's load leaves (perception.md 5.3, Load).

use heldar_base::{Micros, MonoTime};

/// Strain that lasts so long counts.
const STRAINED_AFTER: Micros = Micros::from_secs(10);
/// Then D falls each time this passes.
const FALLS_EVERY: Micros = Micros::from_secs(5);
/// Calm raises D each time this passes.
const RISES_EVERY: Micros = Micros::from_secs(30);
/// Hundredths of D.
const FALL: u32 = 10;
const RISE: u32 = 5;
const LEAST: u32 = 25;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Not late; the last rise, or the end of the strain.
    Calm(MonoTime),
    /// Late since then.
    Straining(MonoTime),
    /// Late for long; the last fall.
    Falling(MonoTime),
}

/// Follows the load. `observe` at each load tick and whenever it changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    hundredths: u32,
    phase: Option<Phase>,
}

impl Default for Load {
    fn default() -> Self {
        Load { hundredths: 100, phase: None }
    }
}

impl Load {
    /// The part of D that may be spent, 0.25 to 1.
    pub fn factor(&self) -> f64 {
        f64::from(self.hundredths) / 100.0
    }

    /// Takes in whether the machine is strained at `now`: decoding is later than one period, or the CPU is under pressure.
    /// The factor from now on.
    pub fn observe(&mut self, now: MonoTime, strained: bool) -> f64 {
        self.phase = Some(match (self.phase, strained) {
            (None | Some(Phase::Straining(_) | Phase::Falling(_)), false) => Phase::Calm(now),
            (None | Some(Phase::Calm(_)), true) => Phase::Straining(now),
            (Some(Phase::Calm(since)), false) => {
                let steps = steps(now - since, RISES_EVERY);
                self.hundredths = self.hundredths.saturating_add(steps.saturating_mul(RISE)).min(100);
                Phase::Calm(since + Micros(RISES_EVERY.0 * i64::from(steps)))
            }
            (Some(Phase::Straining(since)), true) if now - since < STRAINED_AFTER => Phase::Straining(since),
            (Some(Phase::Straining(_)), true) => {
                self.fall(1);
                Phase::Falling(now)
            }
            (Some(Phase::Falling(since)), true) => {
                let steps = steps(now - since, FALLS_EVERY);
                self.fall(steps);
                Phase::Falling(since + Micros(FALLS_EVERY.0 * i64::from(steps)))
            }
        });
        self.factor()
    }

    fn fall(&mut self, steps: u32) {
        self.hundredths = self.hundredths.saturating_sub(steps.saturating_mul(FALL)).max(LEAST);
    }
}

fn steps(passed: Micros, every: Micros) -> u32 {
    u32::try_from((passed.0 / every.0).clamp(0, 1000)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The factor in hundredths after each (second, strained).
    #[track_caller]
    fn check(observations: &[(i64, bool, u32)]) {
        let mut load = Load::default();
        for (secs, strained, expect) in observations {
            load.observe(MonoTime(secs * 1_000_000), *strained);
            assert_eq!(load.hundredths, *expect, "at {secs} s");
        }
    }

    #[test]
    fn strain_lowers_and_calm_raises() {
        check(&[
            (0, true, 100),
            (5, true, 100),
            (9, true, 100),
            (10, true, 90),
            (15, true, 80),
            (19, true, 80),
        ]);
        check(&[
            (0, true, 100),
            (9, true, 100),
            (10, false, 100),
            (11, true, 100),
            (20, true, 100),
            (21, true, 90),
        ]);
        check(&[
            (0, true, 100),
            (10, true, 90),
            (60, true, 25),
            (600, true, 25),
            (601, false, 25),
            (630, false, 25),
            (631, false, 30),
            (661, false, 35),
            (690, true, 35),
            (691, false, 35),
            (720, false, 35),
            (721, false, 40),
        ]);
        check(&[(0, true, 100), (10, true, 90), (12, false, 90), (5_000, false, 100), (9_000, false, 100)]);
    }
}
