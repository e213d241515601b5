//! Monotonic time to UTC.
//!
//! The host's clock is followed without a step: errors up to ten seconds at 500 ppm, after a larger step backward at 5 %.

use heldar_base::{Micros, WallTime};

use super::Reading;
use super::line::SlewLine;

/// Largest error that is slewed away as if it were none.
pub(super) const LARGEST_ERROR: Micros = Micros::from_secs(10);

/// An error as small as this ends the fast slewing.
const CAUGHT_UP_US: i64 = 1_000;

const USUAL_PPM: i64 = 500;
const FAST_PPM: i64 = 50_000;

/// Monotonic time to UTC, for all tracks of a run.
#[derive(Clone, Debug)]
pub(super) struct WallLine {
    line: SlewLine,
    pace: Pace,
    /// Host's UTC less its monotonic clock, at the newest reading.
    host_offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Usual,
    /// Behind a large backward step.
    Fast,
}

impl WallLine {
    /// Agrees with the host's clock at one reading.
    pub(super) fn start(reading: &Reading) -> Self {
        let line = SlewLine::through(reading.arrival.0, reading.wall.0);
        WallLine { line, pace: Pace::Usual, host_offset: reading.host_offset() }
    }

    /// How far the host's clock is ahead of the line.
    pub(super) fn error(&self, reading: &Reading) -> Micros {
        Micros(reading.host_offset().saturating_sub(self.line.offset()))
    }

    /// Takes a reading of both clocks.
    pub(super) fn note(&mut self, reading: &Reading) {
        self.host_offset = reading.host_offset();
        let error = self.error(reading);
        if error < -LARGEST_ERROR {
            self.pace = Pace::Fast;
        } else if error.0 >= -CAUGHT_UP_US {
            self.pace = Pace::Usual;
        }
    }

    /// The line less the host's clock.
    pub(super) fn ahead_of_host(&self) -> Micros {
        Micros(self.line.offset().saturating_sub(self.host_offset))
    }

    /// UTC of a monotonic time; goes on to it where it is new.
    pub(super) fn map(&mut self, mono: i64, reading: &Reading) -> WallTime {
        let ppm = match self.pace {
            Pace::Usual => USUAL_PPM,
            Pace::Fast => FAST_PPM,
        };
        self.line.advance(mono, reading.host_offset(), |_| ppm);
        self.at(mono)
    }

    /// UTC of a monotonic time.
    pub(super) fn at(&self, mono: i64) -> WallTime {
        WallTime(self.line.at(mono))
    }
}
