//! Which work the application takes at the moment (auth-system.md 2.4).

use std::sync::atomic::{AtomicU8, Ordering};

use crate::Code;

/// A phase of the server's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Recovery runs; only health is answered.
    Starting,
    /// Everything is answered.
    Running,
    /// New work is refused; what runs is brought to its end.
    ShuttingDown,
    /// A backup is being put back; only health is answered.
    Restoring,
}

impl Phase {
    /// The code of the 503 that refuses work in this phase; `None` while work is taken.
    pub const fn refusal(self) -> Option<Code> {
        match self {
            Phase::Running => None,
            Phase::Starting => Some(Code::Starting),
            Phase::ShuttingDown => Some(Code::ShuttingDown),
            Phase::Restoring => Some(Code::Restoring),
        }
    }
}

/// The current phase, shared between whoever changes it and the front, which refuses work by it.
#[derive(Debug)]
pub struct Lifecycle(AtomicU8);

impl Lifecycle {
    /// Begins in a phase.
    pub const fn new(phase: Phase) -> Self {
        Lifecycle(AtomicU8::new(phase as u8))
    }

    /// Moves to a phase.
    pub fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Release);
    }

    /// The phase.
    pub fn get(&self) -> Phase {
        const ALL: [Phase; 4] = [Phase::Starting, Phase::Running, Phase::ShuttingDown, Phase::Restoring];
        let now = self.0.load(Ordering::Acquire);
        ALL.into_iter().find(|phase| *phase as u8 == now).unwrap_or(Phase::Running)
    }
}
