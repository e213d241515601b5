//! Acquiring, renewing and heartbeat in one call (perception.md 4.2).

use heldar_base::{Micros, Scope, WallTime};

use super::{
    Caller, HANDOVER, Holder, LIVE_FOR, LeaseBook, LeaseChange, LeaseRequest, LeaseRow, ScopeOf,
    TooManyWorkers, Transport, WorkerLease, WorkerRow, lasts,
};
use crate::sharing::{Candidate, Load, share};
use crate::task::Task;
use crate::{LeaseId, TaskId};

/// The answer to a lease call.
#[derive(Clone, Debug)]
pub struct Acquired<'t> {
    /// The caller's lease.
    pub lease_id: LeaseId,
    /// When it ends, for each of `tasks`.
    pub expires_at: WallTime,
    /// What the caller holds now, by id.
    pub tasks: Vec<&'t Task>,
    /// The lease is the one that it had.
    pub renewed: bool,
    /// Tasks that are the caller's by the sharing and still another worker's by lease.
    pub pending: usize,
    /// After how many seconds to call again.
    pub renew_after_secs: i64,
    /// Those of `tasks` that the caller did not hold before.
    pub won: Vec<TaskId>,
    /// Rows to write.
    pub changes: Vec<LeaseChange>,
}

impl LeaseBook {
    /// Plans a lease call at `now`. `tasks` are the enabled tasks on enabled cameras, all of them, whatever their camera;
    /// `fresh` becomes the lease's id if the caller has none.
    ///
    /// # Errors
    /// [`TooManyWorkers`].
    pub fn acquire<'t>(
        &self,
        now: WallTime,
        caller: &Caller<'_>,
        request: &LeaseRequest,
        fresh: LeaseId,
        tasks: &[&'t Task],
        scope_of: &ScopeOf<'_>,
    ) -> Result<Acquired<'t>, TooManyWorkers> {
        let holder = Holder::new(caller.credential, &request.worker_id);
        let kept = self.kept_lease(&holder, now);
        let lease_id = kept.unwrap_or(fresh);
        let expires_at = now + request.ttl;
        let me = Candidate {
            credential: &holder.credential,
            worker: &holder.worker,
            types: request.task_types.as_deref(),
            scope: caller.scope,
            capacity: request.capacity,
            max_tasks: request.max_tasks as usize,
        };
        let mine = self.share_of(&me, now, tasks, scope_of);
        let mut plan = Plan {
            now,
            expires_at,
            lease_id,
            holder: &holder,
            answer: Vec::new(),
            pending: 0,
            won: Vec::new(),
            changes: Vec::new(),
        };
        let mut in_order: Vec<(&'t Task, bool)> = tasks.iter().copied().zip(mine).collect();
        in_order.sort_by_key(|(task, _)| task.id);
        for (task, is_mine) in &in_order {
            let held = self.holder(task.id, now);
            match (held, is_mine) {
                (None, true) => plan.win(task),
                (Some(lease), true) if lease.holder == holder => plan.renew(task, lease),
                (Some(_), true) => plan.pending += 1,
                (Some(lease), false) if lease.holder == holder => {
                    if me.covers(&task.spec.task_type, &task.camera) {
                        plan.hand_over(lease);
                    } else {
                        plan.changes.push(LeaseChange::RemoveLease(task.id));
                    }
                }
                (_, false) => {}
            }
        }
        let is_active = |task: TaskId| in_order.binary_search_by_key(&task, |(t, _)| t.id).is_ok();
        let inactive =
            self.leases.values().filter(|l| l.holder == holder && l.is_live(now) && !is_active(l.task));
        plan.changes.extend(inactive.map(|lease| LeaseChange::RemoveLease(lease.task)));
        let Plan { answer, pending, won, mut changes, .. } = plan;
        changes.push(LeaseChange::PutWorker(WorkerRow {
            holder: holder.clone(),
            last_seen: now,
            live_until: now + request.ttl.max(LIVE_FOR),
            transport: Transport::Lease,
            task_types: request.task_types.clone(),
            capacity: request.capacity,
            max_tasks: request.max_tasks,
            lease: Some(WorkerLease { id: lease_id, until: expires_at }),
        }));
        self.sweep(now, &holder, &mut changes)?;
        let renew_after_secs = renew_after(request.ttl, pending);
        Ok(Acquired {
            lease_id,
            expires_at,
            tasks: answer,
            renewed: kept.is_some(),
            pending,
            renew_after_secs,
            won,
            changes,
        })
    }

    /// The id that the worker's lease has and keeps.
    fn kept_lease(&self, holder: &Holder, now: WallTime) -> Option<LeaseId> {
        let lease = self.workers.get(holder)?.lease?;
        let holds = || self.leases(now).any(|row| row.lease_id == lease.id && row.holder == *holder);
        (lasts(lease.until, now) || holds()).then_some(lease.id)
    }

    /// For each task whether the sharing among all live leasing workers, the caller among them, makes it the caller's.
    fn share_of(
        &self,
        me: &Candidate<'_>,
        now: WallTime,
        tasks: &[&Task],
        scope_of: &ScopeOf<'_>,
    ) -> Vec<bool> {
        let is_me =
            |row: &WorkerRow| &*row.holder.credential == me.credential && &*row.holder.worker == me.worker;
        let others = self
            .workers
            .values()
            .filter(|row| row.transport == Transport::Lease && row.is_live(now) && !is_me(row));
        let others: Vec<(&WorkerRow, Scope)> = others
            .filter_map(|row| {
                let own = &*row.holder.credential == me.credential;
                let scope = if own { Some(me.scope.clone()) } else { scope_of(&row.holder.credential) };
                Some((row, scope?))
            })
            .collect();
        let mut candidates: Vec<Candidate<'_>> = others
            .iter()
            .map(|(row, scope)| Candidate {
                credential: &row.holder.credential,
                worker: &row.holder.worker,
                types: row.task_types.as_deref(),
                scope,
                capacity: row.capacity,
                max_tasks: row.max_tasks as usize,
            })
            .collect();
        let my_place = candidates.len();
        candidates.push(*me);
        share(&loads(tasks), &candidates).into_iter().map(|given| given == Some(my_place)).collect()
    }
}

/// Tasks as the sharing sees them.
pub(super) fn loads<'a>(tasks: &[&'a Task]) -> Vec<Load<'a>> {
    let load = |task: &&'a Task| Load {
        task: task.id,
        task_type: &task.spec.task_type,
        camera: &task.camera,
        weight: task.weight(),
    };
    tasks.iter().map(load).collect()
}

/// With a third of the lease left; sooner while another worker hands tasks over.
fn renew_after(ttl: Micros, pending: usize) -> i64 {
    let usual = ttl.0 / 1_000_000 * 2 / 3;
    if pending > 0 { usual.min(HANDOVER.0 / 1_000_000) } else { usual }
}

struct Plan<'a, 't> {
    now: WallTime,
    expires_at: WallTime,
    lease_id: LeaseId,
    holder: &'a Holder,
    answer: Vec<&'t Task>,
    pending: usize,
    won: Vec<TaskId>,
    changes: Vec<LeaseChange>,
}

impl<'t> Plan<'_, 't> {
    fn win(&mut self, task: &'t Task) {
        self.won.push(task.id);
        self.hold(task, self.now);
    }

    fn renew(&mut self, task: &'t Task, held: &LeaseRow) {
        self.hold(task, held.acquired_at);
    }

    fn hold(&mut self, task: &'t Task, acquired_at: WallTime) {
        self.answer.push(task);
        self.changes.push(LeaseChange::PutLease(LeaseRow {
            task: task.id,
            camera: task.camera.clone(),
            lease_id: self.lease_id,
            holder: self.holder.clone(),
            acquired_at,
            renewed_at: self.now,
            expires_at: self.expires_at,
        }));
    }

    /// Leaves the holder a moment in which results on their way still count.
    fn hand_over(&mut self, held: &LeaseRow) {
        let cut = self.now + HANDOVER;
        if held.expires_at > cut {
            self.changes.push(LeaseChange::PutLease(LeaseRow { expires_at: cut, ..held.clone() }));
        }
    }
}
