//! The clock as an input: whoever needs the time is given one of these.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::{Micros, MonoTime, WallTime};

/// Reads the host's two clocks. Implemented for the real host by the IO crates and by [`SimClock`] for tests.
pub trait Clock: Send + Sync + 'static {
    /// UTC as the host believes it; may step in either direction.
    fn wall(&self) -> WallTime;
    /// Time that never steps.
    fn mono(&self) -> MonoTime;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn wall(&self) -> WallTime {
        (**self).wall()
    }

    fn mono(&self) -> MonoTime {
        (**self).mono()
    }
}

/// A clock that moves only when told, and whose wall time can be stepped alone.
#[derive(Debug, Default)]
pub struct SimClock {
    mono_us: AtomicI64,
    wall_offset_us: AtomicI64,
}

impl SimClock {
    /// A clock that shows `wall` at monotonic zero.
    pub fn new(wall: WallTime) -> Self {
        SimClock { mono_us: AtomicI64::new(0), wall_offset_us: AtomicI64::new(wall.0) }
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Micros) {
        self.mono_us.fetch_add(by.0.max(0), Ordering::SeqCst);
    }

    /// Steps UTC alone, as NTP or a person would.
    pub fn step_wall(&self, by: Micros) {
        self.wall_offset_us.fetch_add(by.0, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn wall(&self) -> WallTime {
        WallTime(self.mono_us.load(Ordering::SeqCst) + self.wall_offset_us.load(Ordering::SeqCst))
    }

    fn mono(&self) -> MonoTime {
        MonoTime(self.mono_us.load(Ordering::SeqCst))
    }
}
