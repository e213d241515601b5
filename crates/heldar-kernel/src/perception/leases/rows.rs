//! The stored form of workers and leases.
//!
//! Owns: reading the book at the start and writing its changes, field by field. Never: a decision about them.

use std::collections::BTreeMap;
use std::sync::Arc;

use heldar_base::{PublicId, Scope};
use heldar_perception::leases::{
    Holder, LeaseBook, LeaseChange, LeaseRow, Transport, WorkerLease, WorkerRow,
};
use heldar_perception::{LeaseId, TaskId};
use heldar_store::{AiTask, AiWorker, Store, StoreError, TaskLease, WorkerKey, op};

use crate::perception::KnownTask;

/// Tasks by id.
type Tasks = BTreeMap<TaskId, Arc<KnownTask>>;

/// The book of what is stored. Leases of tasks that nobody may work on any more are left out.
pub(in crate::perception) async fn load(store: &Store, tasks: &Tasks) -> Result<LeaseBook, StoreError> {
    let workers = store.workers(&Scope::All).await?.into_iter().filter_map(worker_row);
    let leases = store.leases(&Scope::All).await?.into_iter().filter_map(|lease| lease_row(lease, tasks));
    Ok(LeaseBook::load(workers, leases))
}

fn worker_row(worker: AiWorker) -> Option<WorkerRow> {
    let transport = match worker.transport {
        heldar_store::Transport::Discovery => Transport::Discovery,
        heldar_store::Transport::Lease => Transport::Lease,
        // Its socket ended with the process that had it.
        heldar_store::Transport::Stream => return None,
    };
    let lease = worker.lease_id.map(|id| LeaseId::new(id.bits()));
    Some(WorkerRow {
        holder: Holder::new(&worker.key.credential, &worker.key.worker),
        last_seen: worker.last_seen,
        live_until: worker.live_until,
        transport,
        task_types: worker.task_types,
        capacity: worker.capacity,
        max_tasks: worker.max_tasks,
        lease: lease.map(|id| WorkerLease { id, until: worker.live_until }),
    })
}

fn lease_row(lease: TaskLease, tasks: &Tasks) -> Option<LeaseRow> {
    let task = TaskId::new(lease.task.bits());
    let camera = tasks.get(&task)?.task.camera.clone();
    Some(LeaseRow {
        task,
        camera,
        lease_id: LeaseId::new(lease.lease_id.bits()),
        holder: Holder::new(&lease.holder.credential, &lease.holder.worker),
        acquired_at: lease.acquired_at,
        renewed_at: lease.renewed_at,
        expires_at: lease.expires_at,
    })
}

fn key(holder: &Holder) -> WorkerKey {
    WorkerKey { credential: holder.credential.to_string(), worker: holder.worker.to_string() }
}

fn task_id(task: TaskId) -> PublicId {
    PublicId::new(AiTask::PREFIX, task.bits())
}

fn lease_id(lease: LeaseId) -> PublicId {
    PublicId::new(TaskLease::PREFIX, lease.bits())
}

/// A change as the store takes it.
pub(super) fn stored(change: &LeaseChange) -> op::LeaseChange {
    match change {
        LeaseChange::PutWorker(row) => op::LeaseChange::PutWorker(AiWorker {
            key: key(&row.holder),
            last_seen: row.last_seen,
            live_until: row.live_until,
            transport: match row.transport {
                Transport::Discovery => heldar_store::Transport::Discovery,
                Transport::Lease => heldar_store::Transport::Lease,
            },
            task_types: row.task_types.clone(),
            capacity: row.capacity,
            max_tasks: row.max_tasks,
            lease_id: row.lease.map(|lease| lease_id(lease.id)),
        }),
        LeaseChange::RemoveWorker(holder) => op::LeaseChange::RemoveWorker(key(holder)),
        LeaseChange::PutLease(row) => op::LeaseChange::PutLease(TaskLease {
            task: task_id(row.task),
            lease_id: lease_id(row.lease_id),
            holder: key(&row.holder),
            acquired_at: row.acquired_at,
            renewed_at: row.renewed_at,
            expires_at: row.expires_at,
        }),
        LeaseChange::RemoveLease(task) => op::LeaseChange::RemoveLease(task_id(*task)),
    }
}
