//! The window that a caller asks for.

use heldar_base::{Interval, Micros, WallTime};

/// A window `[from, to)` of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First instant wanted.
    pub from: WallTime,
    /// First instant not wanted.
    pub to: WallTime,
}

/// A window that cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// It is empty or turned around.
    #[error("`to` must be later than `from`")]
    Empty,
    /// It is too long.
    #[error("the window is longer than {} s", .0.0 / 1_000_000)]
    TooLong(Micros),
}

impl Window {
    /// Checks a window against the longest that is served.
    ///
    /// # Errors
    /// [`WindowError`].
    pub fn new(from: WallTime, to: WallTime, longest: Micros) -> Result<Self, WindowError> {
        if to <= from {
            return Err(WindowError::Empty);
        }
        if to - from > longest {
            return Err(WindowError::TooLong(longest));
        }
        Ok(Window { from, to })
    }

    /// As an interval.
    pub fn interval(self) -> Interval {
        Interval::new(self.from, self.to)
    }
}
