//! When work that is due every so often is done: together, so that an idle processor sleeps.
//!
//! Owns: the grid of instants that periodic work of one runtime starts at. A runtime's timers lie in wheels of 64 slots, the
//! finest of 1 ms; a timer further away wakes the processor at the begin of each coarser slot it lies in, only to be moved
//! to a finer wheel. An instant at the begin of a coarse slot has no such waking, and what starts at the same instant
//! shares it. Never: decides what is due.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// The grid of the main runtime.
static MAIN: OnceLock<Rhythm> = OnceLock::new();

/// One beat: sixteen slots of the second wheel.
pub const BEAT: Duration = Duration::from_millis(1024);

/// A grid of instants, a beat apart.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    begun: Instant,
}

impl Rhythm {
    /// Begins now. To be called right before a runtime is built, whose timers count from then.
    pub fn begin() -> Self {
        Rhythm { begun: Instant::now() }
    }

    /// The rhythm of the server's main runtime; the first call begins it.
    pub fn main() -> Self {
        *MAIN.get_or_init(Rhythm::begin)
    }

    /// Ticks every so many beats, from the next one on. A tick that comes late moves none after it.
    pub fn every(self, beats: u32) -> Interval {
        let mut interval = interval_at(self.after(Instant::now()), BEAT * beats);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        interval
    }

    /// The first beat after an instant.
    fn after(self, now: Instant) -> Instant {
        let passed = (now - self.begun).as_millis() / BEAT.as_millis();
        self.begun + BEAT * u32::try_from(passed + 1).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ticks_lie_on_the_grid() {
        let rhythm = Rhythm::begin();
        let beats = |n: u32| rhythm.begun + BEAT * n;
        let check = |now, expect| assert_eq!(rhythm.after(now), expect);
        check(beats(0), beats(1));
        check(beats(0) + BEAT / 2, beats(1));
        check(beats(7), beats(8));
        // Whoever comes late misses ticks and moves none.
        let begun = Instant::now().checked_sub(BEAT * 5 / 2).unwrap();
        let rhythm = Rhythm { begun };
        let mut often = rhythm.every(1);
        assert_eq!(often.tick().await, begun + BEAT * 3);
        std::thread::sleep(BEAT + BEAT / 4);
        assert_eq!(often.tick().await, begun + BEAT * 4);
        assert_eq!(often.tick().await, begun + BEAT * 5);
    }
}
