//! What the store tells of its work, for whoever keeps figures.
//!
//! Owns: the points at which it tells. Never: a figure of its own; observers are called on the store's threads and must not
//! wait.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::error::{ErrorKind, StoreError};

/// Work of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// One query.
    Read,
    /// One write, from its call to its answer.
    Write,
    /// The COMMIT of a group.
    Commit,
    /// One slice of maintenance, from its call to its answer.
    Maintenance,
}

impl Work {
    /// All kinds.
    pub const ALL: [Work; 4] = [Work::Read, Work::Write, Work::Commit, Work::Maintenance];

    /// Its name as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Work::Read => "read",
            Work::Write => "write",
            Work::Commit => "commit",
            Work::Maintenance => "maintenance",
        }
    }
}

/// What the operations of a group changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Rows.
    pub rows: u64,
    /// Audit rows among them.
    pub audited: u64,
}

/// Hears of the store's work.
pub trait Observer: Send + Sync {
    /// Work was done, or failed, after this time.
    fn took(&self, work: Work, time: Duration);
    /// A group was committed.
    fn committed(&self, changes: Changes);
    /// Work was given up because the database was locked or had no connection free.
    fn busy(&self);
}

/// The observer, once there is one.
#[derive(Clone, Default)]
pub(crate) struct Observed(Arc<OnceLock<Arc<dyn Observer>>>);

impl Observed {
    /// Takes an observer; the first one stays.
    pub(crate) fn set(&self, observer: Arc<dyn Observer>) {
        if self.0.set(observer).is_err() {
            tracing::debug!("the store is observed already");
        }
    }

    /// Does some work and tells of it.
    pub(crate) async fn time<T>(
        &self,
        work: Work,
        act: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let Some(observer) = self.0.get() else { return act.await };
        let began = Instant::now();
        let result = act.await;
        observer.took(work, began.elapsed());
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Busy) {
            observer.busy();
        }
        result
    }

    pub(crate) fn committed(&self, changes: Changes) {
        if let Some(observer) = self.0.get() {
            observer.committed(changes);
        }
    }
}
