//! The host's clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use heldar_base::{Clock, Micros, MonoTime, WallTime};

/// The real clocks of the host; monotonic time counts from the creation of the first one.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        SystemClock { origin: Instant::now() }
    }

    /// A reading that was taken elsewhere, on this clock.
    pub fn mono_at(&self, instant: Instant) -> MonoTime {
        MonoTime(Micros::from_std(instant.saturating_duration_since(self.origin)).0)
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> WallTime {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => WallTime(Micros::from_std(since).0),
            Err(before) => WallTime(-Micros::from_std(before.duration()).0),
        }
    }

    fn mono(&self) -> MonoTime {
        self.mono_at(Instant::now())
    }
}
