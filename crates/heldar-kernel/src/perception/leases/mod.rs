//! Workers and their leases: planned over the book, committed, then made true (perception.md 4).
//!
//! Owns: that order, one call at a time; which cameras a credential sees now. Never: who gets which task, which
//! `heldar_perception::leases` decides.
//!
//! Invariants
//! 1. The book changes after the commit of a change, and with every one that was committed: a call once begun runs to its
//!    end, whoever waits for it.
//! 2. Between the look at the book and the commit nobody else plans.

mod rows;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLockReadGuard};
use std::time::Duration;

use heldar_access::Directory;
use heldar_base::{Capability, Clock as _, Credential, KeySecret, Principal, Scope, WallTime};
use heldar_config::Tier;
use heldar_perception::leases::{
    self as book, LeaseBody, LeaseBook, LeaseChange, LeaseRequest, LeaseRow, TooManyWorkers, WorkerRow,
};
use heldar_perception::task::Task;
use heldar_perception::{LeaseId, Refused, TaskId};
use heldar_store::StoreError;
use heldar_store::op::ChangeLeases;
use tokio::sync::MutexGuard;

use super::{KnownTask, Perception};
use crate::engine::journal::random_bits;
use crate::kernel::Kernel;

pub(super) use rows::load;
use rows::stored;

/// Longest time until a worker is answered; it gives up after 10 s (perception.md 2.3).
pub(super) const PATIENCE: Duration = Duration::from_secs(8);
/// What callers are named while nothing identifies them.
const SYSTEM: &str = "system";

/// A call about leases that failed; nothing of it took effect, unless it was too slow: then it may still.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// A field that is not acceptable.
    #[error("{0}")]
    Refused(Refused),
    /// A live worker of another credential has the name.
    #[error("another credential's worker has this name")]
    NameTaken,
    /// There are as many live workers as can be.
    #[error(transparent)]
    TooManyWorkers(#[from] TooManyWorkers),
    /// It was not done in time.
    #[error("not done in time")]
    Slow,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The call broke off: a defect on our side.
    #[error("the call broke off")]
    Broken,
}

/// What a worker holds after its call.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its lease.
    pub lease_id: LeaseId,
    /// Its name, as it is known.
    pub worker_id: String,
    /// When the lease ends, for each of `tasks`.
    pub expires_at: WallTime,
    /// Its tasks, by id.
    pub tasks: Vec<Arc<KnownTask>>,
    /// The lease is the one that it had.
    pub renewed: bool,
    /// Tasks meant for it that another worker still holds.
    pub pending: usize,
    /// After how many seconds to call again.
    pub renew_after_secs: i64,
}

/// A task under lease.
#[derive(Clone, Debug)]
pub struct LeaseView {
    /// The lease.
    pub row: LeaseRow,
    /// Type of the task.
    pub task_type: String,
}

/// A worker in the list.
#[derive(Clone, Debug)]
pub struct WorkerView {
    /// As it last told.
    pub row: WorkerRow,
    /// Whether it counts in the sharing.
    pub live: bool,
    /// Tasks that it holds.
    pub leases: usize,
    /// Their weights (perception.md 4.4).
    pub load: f64,
    /// Batches that were taken from it in the last minute.
    pub batches_per_min: u32,
    /// When one was last taken.
    pub last_result_at: Option<WallTime>,
}

/// What a caller's workers and leases go under: the id of its key, the id of the person, or `system` while nothing
/// identifies callers.
pub fn credential_name(principal: &Principal) -> &str {
    &principal.id
}

impl Perception {
    /// The book as it is; not to be held for long.
    pub(super) fn book(&self) -> RwLockReadGuard<'_, LeaseBook> {
        self.book.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rate and width of a task's frames as they are delivered; `None` as long as no plan knows it.
    pub fn delivered(&self, task: TaskId) -> Option<(f64, u32)> {
        self.sampler.delivered(task)
    }

    /// Makes committed changes true.
    fn apply(&self, changes: Vec<LeaseChange>) {
        let taken: Vec<TaskId> = changes.iter().filter_map(put).collect();
        let mut book = self.book.write().unwrap_or_else(PoisonError::into_inner);
        book.apply(changes);
        // A task that was deleted after the plan has no lease in the store either. Whoever deletes one forgets its lease
        // after the task itself, so that it is seen here or forgotten there.
        let gone = taken.into_iter().filter(|task| self.task(*task).is_none());
        book.apply(gone.map(LeaseChange::RemoveLease).collect::<Vec<_>>());
    }

    /// A task was deleted, and its lease with it. To be called once the task is known to nobody.
    pub(super) fn forget_task(&self, id: TaskId) {
        let mut book = self.book.write().unwrap_or_else(PoisonError::into_inner);
        let changes = book.forget_task(id);
        book.apply(changes);
    }

    /// The turn to plan; refused when it does not come in time.
    async fn turn(&self) -> Result<MutexGuard<'_, ()>, LeaseError> {
        tokio::time::timeout(PATIENCE, self.leasing.lock()).await.map_err(|_elapsed| LeaseError::Slow)
    }
}

/// Who calls, and what it may see.
#[derive(Clone, Debug)]
struct Asking {
    credential: String,
    scope: Scope,
}

impl Asking {
    fn of(caller: &Principal) -> Self {
        Asking { credential: credential_name(caller).to_owned(), scope: caller.scope.clone() }
    }

    fn as_caller(&self) -> book::Caller<'_> {
        book::Caller { credential: &self.credential, scope: &self.scope }
    }
}

impl Kernel {
    /// Takes and renews leases, which is the worker's heartbeat as well (perception.md 4.2).
    ///
    /// # Errors
    /// [`LeaseError`].
    pub async fn acquire_leases(
        self: &Arc<Self>,
        caller: &Principal,
        body: LeaseBody,
    ) -> Result<Held, LeaseError> {
        let request = body.check().map_err(LeaseError::Refused)?;
        let (kernel, asking) = (self.clone(), Asking::of(caller));
        in_time(async move { kernel.acquire(&asking, request).await }).await
    }

    async fn acquire(&self, asking: &Asking, request: LeaseRequest) -> Result<Held, LeaseError> {
        let perception = &self.perception;
        let _turn = perception.turn().await?;
        self.forget_ended(&asking.credential).await?;
        let now = self.clock.wall();
        let mut tasks = perception.shared_tasks();
        let (mine, mut held, won, changes) = {
            let all: Vec<&Task> = tasks.iter().map(|known| &known.task).collect();
            let (fresh, scope_of) = (LeaseId::new(random_bits()), |name: &str| self.scope_of(name));
            let caller = asking.as_caller();
            let plan = perception.book().acquire(now, &caller, &request, fresh, &all, &scope_of)?;
            let mine: BTreeSet<TaskId> = plan.tasks.iter().map(|task| task.id).collect();
            let held = Held {
                lease_id: plan.lease_id,
                worker_id: request.worker_id,
                expires_at: plan.expires_at,
                tasks: Vec::new(),
                renewed: plan.renewed,
                pending: plan.pending,
                renew_after_secs: plan.renew_after_secs,
            };
            (mine, held, plan.won, plan.changes)
        };
        tasks.retain(|known| mine.contains(&known.task.id));
        held.tasks = tasks;
        self.change_leases(changes).await?;
        let mono = self.clock.mono();
        won.into_iter().for_each(|task| perception.sampler.wanted(task, mono));
        Ok(held)
    }

    /// The tasks in scope, or a named worker's share of them, by id (perception.md 4.1). A heartbeat that cannot be stored
    /// holds nothing up.
    ///
    /// # Errors
    /// [`LeaseError`].
    pub async fn discover(
        self: &Arc<Self>,
        caller: &Principal,
        worker_id: Option<&str>,
    ) -> Result<Vec<Arc<KnownTask>>, LeaseError> {
        let Some(worker_id) = worker_id.filter(|id| !id.trim().is_empty()) else {
            let mut tasks = self.perception.active_tasks();
            tasks.retain(|known| caller.scope.covers(&known.task.camera));
            return Ok(tasks);
        };
        let worker = book::checked_worker_id(worker_id).map_err(LeaseError::Refused)?.to_owned();
        let (kernel, asking, name) = (self.clone(), Asking::of(caller), worker.clone());
        match in_time(async move { kernel.ask(&asking, &name).await }).await {
            Err(LeaseError::Slow) => self.share(&Asking::of(caller), &worker).map(|(tasks, _)| tasks),
            other => other,
        }
    }

    async fn ask(&self, asking: &Asking, worker: &str) -> Result<Vec<Arc<KnownTask>>, LeaseError> {
        let _turn = self.perception.turn().await?;
        let (tasks, changes) = self.share(asking, worker)?;
        if let Err(error) = self.change_leases(changes).await {
            tracing::warn!(worker, %error, "the heartbeat of a worker is not stored");
        }
        Ok(tasks)
    }

    /// A worker's share, and the rows of its heartbeat.
    fn share(
        &self,
        asking: &Asking,
        worker: &str,
    ) -> Result<(Vec<Arc<KnownTask>>, Vec<LeaseChange>), LeaseError> {
        let mut tasks = self.perception.shared_tasks();
        let (mine, namesake, changes) = {
            let all: Vec<&Task> = tasks.iter().map(|known| &known.task).collect();
            let book = self.perception.book();
            let plan = book.discover(self.clock.wall(), &asking.as_caller(), worker, &all)?;
            let mine: BTreeSet<TaskId> = plan.tasks.iter().map(|task| task.id).collect();
            (mine, plan.namesake, plan.changes)
        };
        if let Some(other) = namesake {
            if self.settings.access.machine_auth == Tier::Enforce {
                return Err(LeaseError::NameTaken);
            }
            tracing::warn!(
                worker,
                credential = asking.credential,
                other = &*other.credential,
                "a name of two"
            );
        }
        tasks.retain(|known| mine.contains(&known.task.id));
        Ok((tasks, changes))
    }

    /// Gives a lease of the caller's credential back: how many tasks are free now. What is unknown, foreign or no id
    /// frees none.
    ///
    /// # Errors
    /// [`LeaseError`].
    pub async fn release_lease(
        self: &Arc<Self>,
        caller: &Principal,
        lease_id: &str,
    ) -> Result<usize, LeaseError> {
        let Ok(lease_id) = LeaseId::parse(lease_id) else { return Ok(0) };
        let (kernel, asking) = (self.clone(), Asking::of(caller));
        in_time(async move {
            let _turn = kernel.perception.turn().await?;
            let now = kernel.clock.wall();
            let plan = kernel.perception.book().release(lease_id, &asking.credential, now);
            kernel.change_leases(plan.changes).await?;
            Ok(plan.released)
        })
        .await
    }

    /// The live leases on tasks of a scope, by task.
    pub fn leases(&self, scope: &Scope) -> Vec<LeaseView> {
        let now = self.clock.wall();
        let rows: Vec<LeaseRow> =
            self.perception.book().leases(now).filter(|row| scope.covers(&row.camera)).cloned().collect();
        let view = |row: LeaseRow| {
            let known = self.perception.task(row.task)?;
            Some(LeaseView { row, task_type: known.task.spec.task_type.clone() })
        };
        rows.into_iter().filter_map(view).collect()
    }

    /// The workers, by credential and name. They belong to no camera: a limited scope sees none.
    pub fn workers(&self, scope: &Scope) -> Vec<WorkerView> {
        if !scope.is_all() {
            return Vec::new();
        }
        let weight = |task: TaskId| self.perception.task(task).map_or(0.0, |known| known.task.weight());
        let (now, mono) = (self.clock.wall(), self.clock.mono());
        let book = self.perception.book();
        let views = book.workers(now, &weight).into_iter().map(|view| {
            let (batches_per_min, last_result_at) = self.perception.intake.activity(&view.row.holder, mono);
            WorkerView {
                row: view.row.clone(),
                live: view.live,
                leases: view.leases,
                load: view.load,
                batches_per_min,
                last_result_at,
            }
        });
        views.collect()
    }

    /// The cameras of a credential as they are now; `None` when it may no longer work on tasks.
    fn scope_of(&self, credential: &str) -> Option<Scope> {
        if credential == SYSTEM {
            return (!self.accounts.required()).then_some(Scope::All);
        }
        scope_in(&self.accounts.directory(), credential, self.clock.wall())
    }

    /// Takes their tasks from credentials that have ended, or may no longer work on tasks, but for the caller's own.
    async fn forget_ended(&self, own: &str) -> Result<(), StoreError> {
        let now = self.clock.wall();
        let changes: Vec<LeaseChange> = {
            let book = self.perception.book();
            let workers =
                book.workers(now, &|_| 0.0).into_iter().map(|view| view.row.holder.credential.clone());
            let holders = book.leases(now).map(|row| row.holder.credential.clone());
            let all: BTreeSet<Arc<str>> = workers.chain(holders).collect();
            let ended = all.into_iter().filter(|name| &**name != own && self.scope_of(name).is_none());
            ended.flat_map(|name| book.forget_credential(&name)).collect()
        };
        self.change_leases(changes).await
    }

    /// Commits changes and makes them true.
    async fn change_leases(&self, changes: Vec<LeaseChange>) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.store.write(ChangeLeases { changes: changes.iter().map(stored).collect() }).await?;
        self.perception.apply(changes);
        Ok(())
    }
}

/// What a key or one of a person's sign-ins may see.
fn scope_in(directory: &Directory, credential: &str, now: WallTime) -> Option<Scope> {
    let shown = match directory.key(credential) {
        Some(key) => {
            let secret = KeySecret { key: key.id.clone(), generation: key.hash.generation() };
            vec![Credential::Key(secret)]
        }
        None => directory.sessions_of(credential).into_iter().map(|s| Credential::Session(s.id)).collect(),
    };
    let principal = shown.iter().find_map(|shown| directory.resolve(shown, now).ok())?.principal;
    principal.can(Capability::AiTasks).then(|| principal.scope.clone())
}

/// Runs a call on a task of its own (invariant 1), and waits for it as long as a worker may.
async fn in_time<T: Send + 'static>(
    call: impl Future<Output = Result<T, LeaseError>> + Send + 'static,
) -> Result<T, LeaseError> {
    match tokio::time::timeout(PATIENCE, tokio::spawn(call)).await {
        Ok(Ok(result)) => result,
        Ok(Err(_broken)) => Err(LeaseError::Broken),
        Err(_elapsed) => Err(LeaseError::Slow),
    }
}

/// The task that a change gives to somebody.
fn put(change: &LeaseChange) -> Option<TaskId> {
    match change {
        LeaseChange::PutLease(row) => Some(row.task),
        _ => None,
    }
}
