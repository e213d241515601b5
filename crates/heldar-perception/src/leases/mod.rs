//! Who holds which task (perception.md 4.1 to 4.3).
//!
//! Owns: workers, their leases, and every decision about them, as the truth in memory that pulls and results are checked
//! against. Never: a clock, the store, making up ids, rights of callers beyond their camera scope.
//!
//! # Procedure
//! A call plans: it looks at the book as it is and returns its answer with the rows to write ([`LeaseChange`]). The
//! caller commits these, then has [`LeaseBook::apply`] make them true, then answers. Between plan and apply no other plan
//! may be made; one owner does this, one call at a time. A plan whose commit fails is dropped, and nothing has happened.
//!
//! Invariants: a task has at most one lease; a lease is cut short or taken away only in a call of its own holder, by its
//! end, or because task or credential are gone; nothing holds longer than [`LONGEST`] from now, whatever the clock
//! did.

mod acquire;
mod discover;
mod request;

use std::collections::BTreeMap;
use std::sync::Arc;

use heldar_base::{CameraId, Micros, Scope, WallTime};
use serde::{Serialize, Serializer};

use crate::task::Task;
use crate::{LeaseId, TaskId};

pub use acquire::Acquired;
pub use discover::Discovered;
pub use request::{LeaseBody, LeaseRequest, checked_worker_id};

/// A worker is live for at least this long after each call.
pub const LIVE_FOR: Micros = Micros::from_secs(60);
/// What is left of a lease that goes to another worker.
pub const HANDOVER: Micros = Micros::from_secs(5);
/// Ends further away than this are of no clock that can be trusted: what they end counts as over.
pub const LONGEST: Micros = Micros::from_secs(360);
/// Workers known at most; one that is live is never forgotten for another.
pub const MAX_WORKERS: usize = 1024;
/// How long a worker that is not live is still listed.
const LISTED_FOR: Micros = Micros::from_secs(600);

/// A worker, named by what it calls with and what it calls itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holder {
    /// Id of the credential; `system` while access control is off.
    pub credential: Arc<str>,
    /// Name of the worker.
    pub worker: Arc<str>,
}

impl Holder {
    /// Names a worker.
    pub fn new(credential: &str, worker: &str) -> Self {
        Holder { credential: credential.into(), worker: worker.into() }
    }
}

/// How a worker comes to its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// It asks for its share (4.1) and holds nothing.
    Discovery,
    /// It takes leases (4.2).
    Lease,
}

impl Transport {
    /// Its stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Transport::Discovery => "discovery",
            Transport::Lease => "lease",
        }
    }
}

impl Serialize for Transport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl std::str::FromStr for Transport {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Transport::Discovery, Transport::Lease].into_iter().find(|t| t.as_str() == text).ok_or(())
    }
}

/// The lease of a worker, whether or not it holds a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerLease {
    /// Its id, the same until it is released or over.
    pub id: LeaseId,
    /// When it is over unless renewed. A store that does not keep it may give `live_until` back: an empty lease then
    /// keeps its id a little longer.
    pub until: WallTime,
}

/// A worker as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerRow {
    /// Who.
    pub holder: Holder,
    /// Its last call.
    pub last_seen: WallTime,
    /// First instant at which it no longer counts in the sharing.
    pub live_until: WallTime,
    /// How it asks.
    pub transport: Transport,
    /// Types it takes; `None`: any.
    pub task_types: Option<Vec<String>>,
    /// Its strength beside the others, 0.01 to 100.
    pub capacity: f64,
    /// Most tasks it takes.
    pub max_tasks: u32,
    /// Its lease; `None` for discovery.
    pub lease: Option<WorkerLease>,
}

impl WorkerRow {
    /// Whether it counts in the sharing.
    pub fn is_live(&self, now: WallTime) -> bool {
        lasts(self.live_until, now)
    }
}

/// A task under lease as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseRow {
    /// The task; one row for each.
    pub task: TaskId,
    /// Its camera, which no edit of a task changes.
    pub camera: CameraId,
    /// The lease of the holder.
    pub lease_id: LeaseId,
    /// Who works on it.
    pub holder: Holder,
    /// When the holder got it.
    pub acquired_at: WallTime,
    /// When the holder last renewed it.
    pub renewed_at: WallTime,
    /// First instant at which it is free.
    pub expires_at: WallTime,
}

impl LeaseRow {
    /// Whether the holder still holds it.
    pub fn is_live(&self, now: WallTime) -> bool {
        lasts(self.expires_at, now)
    }
}

/// Whether what ends at `end` still goes on.
fn lasts(end: WallTime, now: WallTime) -> bool {
    now < end && end - now <= LONGEST
}

/// A row to write.
#[derive(Clone, Debug, PartialEq)]
pub enum LeaseChange {
    /// Insert or replace.
    PutWorker(WorkerRow),
    /// Remove if there.
    RemoveWorker(Holder),
    /// Insert or replace.
    PutLease(LeaseRow),
    /// Remove if there.
    RemoveLease(TaskId),
}

/// Who calls, and what it may see.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Id of its credential.
    pub credential: &'a str,
    /// Its cameras.
    pub scope: &'a Scope,
}

/// The cameras of a credential as they are now; `None` when it may no longer work on tasks.
pub type ScopeOf<'a> = dyn Fn(&str) -> Option<Scope> + 'a;

/// There are [`MAX_WORKERS`] live workers; to be tried again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many workers")]
pub struct TooManyWorkers;

/// Who works on a task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Service<'a> {
    /// The holder of this lease.
    Lease(&'a LeaseRow),
    /// One of the workers that ask for their share.
    Discovery,
    /// Nobody.
    Nobody,
}

/// A worker in a list.
#[derive(Clone, Copy, Debug)]
pub struct WorkerView<'a> {
    /// As stored.
    pub row: &'a WorkerRow,
    /// Whether it counts in the sharing.
    pub live: bool,
    /// Tasks that it holds.
    pub leases: usize,
    /// Sum of their weights (4.4).
    pub load: f64,
}

/// What a release did.
#[derive(Clone, Debug, PartialEq)]
pub struct Released {
    /// Tasks that are free now.
    pub released: usize,
    /// Rows to write.
    pub changes: Vec<LeaseChange>,
}

/// All workers and leases.
#[derive(Debug, Default)]
pub struct LeaseBook {
    workers: BTreeMap<Holder, WorkerRow>,
    leases: BTreeMap<TaskId, LeaseRow>,
}

impl LeaseBook {
    /// The book of what is stored.
    pub fn load(
        workers: impl IntoIterator<Item = WorkerRow>,
        leases: impl IntoIterator<Item = LeaseRow>,
    ) -> Self {
        LeaseBook {
            workers: workers.into_iter().map(|row| (row.holder.clone(), row)).collect(),
            leases: leases.into_iter().map(|row| (row.task, row)).collect(),
        }
    }

    /// Makes committed changes true.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = LeaseChange>) {
        for change in changes {
            match change {
                LeaseChange::PutWorker(row) => {
                    self.workers.insert(row.holder.clone(), row);
                }
                LeaseChange::RemoveWorker(holder) => {
                    self.workers.remove(&holder);
                }
                LeaseChange::PutLease(row) => {
                    self.leases.insert(row.task, row);
                }
                LeaseChange::RemoveLease(task) => {
                    self.leases.remove(&task);
                }
            }
        }
    }

    /// The live lease on a task that the credential holds, under whatever worker name (8.4, step 3).
    pub fn live_lease(&self, task: TaskId, credential: &str, now: WallTime) -> Option<&LeaseRow> {
        self.leases.get(&task).filter(|row| &*row.holder.credential == credential && row.is_live(now))
    }

    /// The live lease on a task, whoever holds it.
    pub fn holder(&self, task: TaskId, now: WallTime) -> Option<&LeaseRow> {
        self.leases.get(&task).filter(|row| row.is_live(now))
    }

    /// Who works on a task that is active: the holder of its lease, else the live workers that ask for their share and
    /// may see its camera, since that share leaves none of their tasks out.
    pub fn service(&self, task: &Task, now: WallTime, scope_of: &ScopeOf<'_>) -> Service<'_> {
        if let Some(lease) = self.holder(task.id, now) {
            return Service::Lease(lease);
        }
        let asking = self.workers.values().filter(|w| w.transport == Transport::Discovery && w.is_live(now));
        let sees = |w: &WorkerRow| scope_of(&w.holder.credential).is_some_and(|s| s.covers(&task.camera));
        if asking.into_iter().any(sees) { Service::Discovery } else { Service::Nobody }
    }

    /// The live leases, by task.
    pub fn leases(&self, now: WallTime) -> impl Iterator<Item = &LeaseRow> {
        self.leases.values().filter(move |row| row.is_live(now))
    }

    /// All workers known, by credential and name. `weight` is that of a task, 0 for one that is gone.
    pub fn workers(&self, now: WallTime, weight: &dyn Fn(TaskId) -> f64) -> Vec<WorkerView<'_>> {
        let mut sums: BTreeMap<&Holder, (usize, f64)> = BTreeMap::new();
        for lease in self.leases(now) {
            let (count, load) = sums.entry(&lease.holder).or_default();
            *count += 1;
            *load += weight(lease.task);
        }
        let rows = self.workers.values();
        rows.map(|row| {
            let (leases, load) = sums.get(&row.holder).copied().unwrap_or_default();
            WorkerView { row, live: row.is_live(now), leases, load }
        })
        .collect()
    }

    /// Gives a lease back (4.3). One that is unknown, or another credential's, releases nothing.
    pub fn release(&self, lease_id: LeaseId, credential: &str, now: WallTime) -> Released {
        let own = self
            .leases
            .values()
            .filter(|row| row.lease_id == lease_id && &*row.holder.credential == credential);
        let released = own.clone().filter(|row| row.is_live(now)).count();
        let workers = self.workers.values().filter(|worker| {
            &*worker.holder.credential == credential && worker.lease.is_some_and(|l| l.id == lease_id)
        });
        let leave = workers.map(|worker| LeaseChange::RemoveWorker(worker.holder.clone()));
        let changes = own.map(|row| LeaseChange::RemoveLease(row.task)).chain(leave).collect();
        Released { released, changes }
    }

    /// What a deleted task leaves to write.
    pub fn forget_task(&self, task: TaskId) -> Vec<LeaseChange> {
        self.leases.get(&task).map(|row| LeaseChange::RemoveLease(row.task)).into_iter().collect()
    }

    /// What a credential that is gone, or may no longer work on tasks, leaves to write.
    pub fn forget_credential(&self, credential: &str) -> Vec<LeaseChange> {
        let leases = self.leases.values().filter(|row| &*row.holder.credential == credential);
        let workers = self.workers.keys().filter(|holder| &*holder.credential == credential);
        leases
            .map(|row| LeaseChange::RemoveLease(row.task))
            .chain(workers.cloned().map(LeaseChange::RemoveWorker))
            .collect()
    }

    /// Another credential's live worker of this name.
    fn namesake(&self, holder: &Holder, now: WallTime) -> Option<&Holder> {
        let same = |known: &&Holder| known.worker == holder.worker && known.credential != holder.credential;
        let live = self.workers.values().filter(|row| row.is_live(now));
        live.map(|row| &row.holder).find(same)
    }

    /// Removes leases that are over and workers long gone, as far as `changes` says nothing of them. Workers are also
    /// removed for `joining` to have a place.
    fn sweep(
        &self,
        now: WallTime,
        joining: &Holder,
        changes: &mut Vec<LeaseChange>,
    ) -> Result<(), TooManyWorkers> {
        let put: std::collections::BTreeSet<TaskId> = changes
            .iter()
            .filter_map(|change| match change {
                LeaseChange::PutLease(row) => Some(row.task),
                _ => None,
            })
            .collect();
        let over = self.leases.values().filter(|row| !row.is_live(now) && !put.contains(&row.task));
        changes.extend(over.map(|row| LeaseChange::RemoveLease(row.task)));
        let mut gone: Vec<&WorkerRow> =
            self.workers.values().filter(|row| !row.is_live(now) && row.holder != *joining).collect();
        gone.sort_by_key(|row| row.last_seen);
        let joins = usize::from(!self.workers.contains_key(joining));
        let surplus = (self.workers.len() + joins).saturating_sub(MAX_WORKERS);
        if surplus > gone.len() {
            return Err(TooManyWorkers);
        }
        let unlisted = gone.iter().filter(|row| (now - row.last_seen).abs() > LISTED_FOR).count();
        let removed = gone.into_iter().take(surplus.max(unlisted));
        changes.extend(removed.map(|row| LeaseChange::RemoveWorker(row.holder.clone())));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
