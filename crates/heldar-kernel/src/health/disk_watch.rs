//! How the segment writer fares: what its completions say about the disk.
//!
//! Owns: the times of writes and syncs, and whether the newest write failed. Called on the writer's threads: never waits.

use std::sync::atomic::{AtomicI64, Ordering};

use heldar_base::{Micros, MonoTime};
use heldar_disk::Completion;
use heldar_http::metrics::{DURATION_BUCKETS, Histogram, Registry};

/// A failure is news for this long, unless a write succeeds before.
const NEWS: Micros = Micros::from_secs(60);

/// What the writer's completions say.
pub struct DiskWatch {
    writes: std::sync::Arc<Histogram>,
    syncs: std::sync::Arc<Histogram>,
    /// When the newest write failed, µs of monotonic time; negative after one that succeeded.
    failed_us: AtomicI64,
    /// When the newest write succeeded; negative before the first.
    wrote_us: AtomicI64,
}

impl DiskWatch {
    /// Registers its metrics.
    pub fn new(registry: &Registry) -> Self {
        let histogram = |name, help| registry.histogram(name, help, DURATION_BUCKETS);
        DiskWatch {
            writes: histogram("heldar_recorder_write_seconds", "Time of one write of a fragment."),
            syncs: histogram("heldar_recorder_sync_seconds", "Time of one sync of a segment file."),
            failed_us: AtomicI64::new(-1),
            wrote_us: AtomicI64::new(-1),
        }
    }

    /// Takes a completion.
    pub fn completed<T>(&self, now: MonoTime, completion: &Completion<T>) {
        match completion {
            Completion::Begun { took, .. } | Completion::Written { took, .. } => {
                self.writes.observe(took.as_secs_f64());
                self.failed_us.store(-1, Ordering::Relaxed);
                self.wrote_us.store(now.0.max(0), Ordering::Relaxed);
            }
            Completion::Synced { took, .. } | Completion::Sealed { took, .. } => {
                self.syncs.observe(took.as_secs_f64());
            }
            Completion::Failed { .. } => self.failed_us.store(now.0.max(0), Ordering::Relaxed),
        }
    }

    /// True when a write has succeeded lately and none has failed since.
    pub fn has_written(&self, now: MonoTime, lately: Micros) -> bool {
        let wrote = self.wrote_us.load(Ordering::Relaxed);
        wrote >= 0 && now - MonoTime(wrote) <= lately && !self.has_failed(now)
    }

    /// True when the newest write failed and that is no old story.
    pub fn has_failed(&self, now: MonoTime) -> bool {
        let failed = self.failed_us.load(Ordering::Relaxed);
        failed >= 0 && now - MonoTime(failed) <= NEWS
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use heldar_disk::{DiskFault, SegmentKey};

    use super::*;

    #[test]
    fn a_failure_stands_until_a_write_succeeds_or_it_is_old() {
        let watch = DiskWatch::new(&Registry::new());
        let key = SegmentKey(1);
        let at = |seconds: i64| MonoTime(seconds * 1_000_000);
        let fault = || DiskFault::from(io::Error::from(io::ErrorKind::StorageFull));
        let failed = || Completion::<()>::Failed { key, end: 0, fault: fault() };
        assert!(!watch.has_failed(at(0)));
        assert!(!watch.has_written(at(0), Micros::from_secs(5)));
        watch.completed(at(1), &failed());
        assert!(watch.has_failed(at(30)));
        assert!(!watch.has_failed(at(62)));
        watch.completed(at(70), &failed());
        watch.completed(at(71), &Completion::Written { key, end: 9, tag: (), took: Micros(5) });
        assert!(!watch.has_failed(at(72)));
        assert!(watch.has_written(at(76), Micros::from_secs(5)));
        assert!(!watch.has_written(at(77), Micros::from_secs(5)));
        watch.completed(at(76), &failed());
        assert!(!watch.has_written(at(76), Micros::from_secs(5)));
    }
}
