//! How the store fares: what it tells of its work, as metrics (auth-system.md 7.2).

use std::sync::Arc;
use std::time::Duration;

use heldar_http::metrics::{Counter, DURATION_BUCKETS, Histogram, Registry};
use heldar_store::{Changes, Observer, Work};

/// Buckets of the rows of a commit.
const ROWS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 5000.0];

/// The store's observer.
pub struct StoreWatch {
    times: [Arc<Histogram>; Work::ALL.len()],
    rows: Arc<Histogram>,
    audited: Arc<Counter>,
    busy: Arc<Counter>,
}

impl StoreWatch {
    /// Registers its metrics.
    pub fn new(registry: &Registry) -> Self {
        let times = registry.histograms(
            "heldar_store_op_duration_seconds",
            "Time of work of the store.",
            ["op"],
            DURATION_BUCKETS,
        );
        StoreWatch {
            times: Work::ALL.map(|work| times.with([work.as_str()])),
            rows: registry.histogram("heldar_store_commit_rows", "Rows that a commit changed.", ROWS),
            audited: registry.counter("heldar_audit_rows_total", "Audit rows that are stored."),
            busy: registry.counter("heldar_store_busy_total", "Work given up because the database was busy."),
        }
    }
}

impl Observer for StoreWatch {
    fn took(&self, work: Work, time: Duration) {
        let of = Work::ALL.iter().position(|one| *one == work).and_then(|at| self.times.get(at));
        if let Some(times) = of {
            times.observe(time.as_secs_f64());
        }
    }

    fn committed(&self, changes: Changes) {
        self.rows.observe(changes.rows as f64);
        self.audited.add(changes.audited as f64);
    }

    fn busy(&self) {
        self.busy.inc();
    }
}
