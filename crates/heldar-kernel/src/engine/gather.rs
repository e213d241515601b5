//! When the ingest thread rests before it waits for sockets again, so that one waking serves what many packets bring.
//!
//! Owns: the length of the rest. Half of what a picture costs is the waking for it; recordings do not mind, since times of
//! capture come from the streams and from the shortest delay seen, not from when a socket was read. What a rest can cost a
//! crash is as much footage as it lasts. Never: rests while a session is new, because its dialogue is a series of round
//! trips and its first pictures are placed by their arrival.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Longer rests gain little more, and a crash costs what lies unread.
const REST: Duration = Duration::from_millis(80);
/// While somebody watches, where many others run.
const WATCHED_REST: Duration = Duration::from_millis(8);
/// While a session is new, where many others run.
const SHORT_REST: Duration = Duration::from_millis(20);
/// From so many streams on it pays. The pictures of a few come one by one whatever the thread does.
const MANY: usize = 12;

/// What decides how long the thread rests.
#[derive(Debug, Default)]
pub struct Gather {
    running: AtomicUsize,
    unsettled: AtomicUsize,
    watchers: Arc<AtomicUsize>,
}

impl Gather {
    /// Counts who follows a stream's pictures as they come.
    pub fn watchers(&self) -> Arc<AtomicUsize> {
        self.watchers.clone()
    }

    /// Says how many streams are to run.
    pub fn set_running(&self, streams: usize) {
        self.running.store(streams, Ordering::Relaxed);
    }

    /// Counts a session as new until the answer is dropped.
    pub fn unsettled(self: &Arc<Self>) -> Unsettled {
        self.unsettled.fetch_add(1, Ordering::Relaxed);
        Unsettled(self.clone())
    }

    /// How long the thread rests now.
    pub fn rest(&self) -> Option<Duration> {
        if self.running.load(Ordering::Relaxed) < MANY {
            None
        } else if self.watchers.load(Ordering::Relaxed) > 0 {
            Some(WATCHED_REST)
        } else if self.unsettled.load(Ordering::Relaxed) > 0 {
            Some(SHORT_REST)
        } else {
            Some(REST)
        }
    }
}

/// A session that is new.
#[derive(Debug)]
pub struct Unsettled(Arc<Gather>);

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.0.unsettled.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_sessions_are_not_kept_waiting() {
        let gather = Arc::new(Gather::default());
        gather.set_running(MANY - 1);
        assert_eq!(gather.rest(), None);
        gather.set_running(MANY);
        assert_eq!(gather.rest(), Some(REST));
        let session = gather.unsettled();
        assert_eq!(gather.rest(), Some(SHORT_REST));
        drop(session);
        assert_eq!(gather.rest(), Some(REST));
        gather.watchers().fetch_add(1, Ordering::Relaxed);
        assert_eq!(gather.rest(), Some(WATCHED_REST));
    }
}
