//! Something that threads wait for.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Set by one thread, waited for by others, until it is cleared.
#[derive(Debug, Default)]
pub(crate) struct Event {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Event {
    pub(crate) fn set(&self) {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits at most `longest`; whether it is set.
    pub(crate) fn wait(&self, longest: Duration) -> bool {
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(set, longest, |set| !*set);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits until `until` at the latest, and clears it.
    pub(crate) fn take_by(&self, until: Instant) {
        let longest = until.saturating_duration_since(Instant::now());
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(set, longest, |set| !*set);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}
