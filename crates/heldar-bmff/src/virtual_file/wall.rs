//! From wall time to the video clock of a recorded file and back.

use heldar_base::{Interval, Micros, WallTime};

use crate::sample::VIDEO_TIMESCALE;

/// The clock of a file: ticks of 1/90000 s since its media time 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileClock {
    /// When media time 0 was.
    pub(super) start: WallTime,
}

impl FileClock {
    /// The wall time of a tick, to the nearest microsecond.
    pub(super) fn wall(self, ticks: i64) -> WallTime {
        self.start + Micros::from_ticks(ticks, VIDEO_TIMESCALE)
    }

    /// The last tick whose wall time is at or before `at`.
    pub(super) fn floor(self, at: WallTime) -> i64 {
        let since_start = at - self.start;
        let mut ticks = since_start.to_ticks(VIDEO_TIMESCALE);
        // Off by one at most: a tick is longer than a microsecond.
        while Micros::from_ticks(ticks, VIDEO_TIMESCALE) > since_start {
            ticks -= 1;
        }
        while Micros::from_ticks(ticks + 1, VIDEO_TIMESCALE) <= since_start {
            ticks += 1;
        }
        ticks
    }

    /// The first tick whose wall time is at or after `at`.
    pub(super) fn ceil(self, at: WallTime) -> i64 {
        self.floor(at - Micros(1)) + 1
    }
}

/// What is wanted of one file, in its own ticks.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Index of the part it comes from.
    pub(super) part: usize,
    /// As asked for.
    pub(super) wall: Interval,
    /// The picture that is on screen now is shown from this tick on: the last one at or before the wanted start.
    pub(super) from: i64,
    /// Nothing is shown at or after this tick: the last one at or before the wanted end, past `from` unless nothing is
    /// wanted.
    pub(super) to: i64,
    /// Pictures presented before this tick touch the window: the first one at or after the wanted end.
    pub(super) before: i64,
}

impl Window {
    pub(super) fn new(part: usize, clock: FileClock, wall: Interval) -> Self {
        let from = clock.floor(wall.start);
        let shortest = if wall.is_empty() { from } else { from + 1 };
        Window { part, wall, from, to: clock.floor(wall.end).max(shortest), before: clock.ceil(wall.end) }
    }
}
