//! Writes of AI tasks, workers and leases.

use heldar_base::{CameraId, PublicId, WallTime};

use super::{Apply, Durability, OpError, Tx, conflict, not_found, refused};
use crate::error::ErrorKind;
use crate::model::{AiTask, AiTaskFields, AiWorker, TaskLease, TaskOrigin, WorkerKey};
use crate::read::{TASK_BY_ID, TASK_IN_SLOT, task_from};
use crate::sql::{Arg, args, statements};

statements! {
    CAMERA_IN_USE = "SELECT 1 FROM camera WHERE id = $1 AND removed_us IS NULL";
    TASK_EXISTS = "SELECT 1 FROM ai_task WHERE id = $1";
    TASK_STATE = "SELECT camera_id, revision FROM ai_task WHERE id = $1";
    TASK_INSERT = "INSERT INTO ai_task (id, task_type, enabled, stream_profile, fps, width, config, warm, updated_us,
        camera_id, origin, created_us, revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $9, 1)";
    TASK_UPDATE = "UPDATE ai_task SET task_type = $2, enabled = $3, stream_profile = $4, fps = $5, width = $6,
        config = $7, warm = $8, updated_us = $9, revision = revision + 1 WHERE id = $1";
    TASK_DELETE = "DELETE FROM ai_task WHERE id = $1";
    WORKER_PUT = "INSERT INTO ai_worker (credential, worker_id, last_seen_us, live_until_us, transport, task_types,
        capacity, max_tasks, lease_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (credential, worker_id) DO UPDATE SET last_seen_us = excluded.last_seen_us,
        live_until_us = excluded.live_until_us, transport = excluded.transport, task_types = excluded.task_types,
        capacity = excluded.capacity, max_tasks = excluded.max_tasks, lease_id = excluded.lease_id";
    WORKER_REMOVE = "DELETE FROM ai_worker WHERE credential = $1 AND worker_id = $2";
    LEASE_PUT = "INSERT INTO ai_task_lease (task_id, lease_id, credential, worker_id, acquired_us, renewed_us,
        expires_us) VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (task_id) DO UPDATE SET lease_id = excluded.lease_id, credential = excluded.credential,
        worker_id = excluded.worker_id, acquired_us = excluded.acquired_us, renewed_us = excluded.renewed_us,
        expires_us = excluded.expires_us";
    LEASE_REMOVE = "DELETE FROM ai_task_lease WHERE task_id = $1";
}

/// What happens when camera, type and stream of a task that is to be made have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTaken {
    /// The task that is there is the answer.
    Answer,
    /// Refused with [`ErrorKind::Conflict`], so that nothing that was to happen with it does.
    Refuse,
}

/// Makes a task, and answers with it or the one that has its place. Refused with [`ErrorKind::NotFound`] when the
/// camera is not in use, [`ErrorKind::Conflict`] when the id is taken or as [`OnTaken`] says.
#[derive(Clone, Debug)]
pub struct CreateTask {
    /// Its id.
    pub id: PublicId,
    /// Whose pictures.
    pub camera: CameraId,
    /// What can be set.
    pub fields: AiTaskFields,
    /// Who asked for it.
    pub origin: TaskOrigin,
    /// When its place is taken.
    pub on_taken: OnTaken,
    /// Now.
    pub now: WallTime,
}

/// A task that was made, or was there.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskCreated {
    /// The task.
    pub task: AiTask,
    /// Whether it is new.
    pub new: bool,
}

impl Apply for CreateTask {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<TaskCreated, OpError> {
        if tx.row(CAMERA_IN_USE, args![&self.camera]).await?.is_none() {
            return Err(not_found("camera in use"));
        }
        let fields = &self.fields;
        let slot = args![&self.camera, fields.task_type.as_str(), fields.stream_profile.as_str()];
        if let Some(row) = tx.row(TASK_IN_SLOT, slot).await? {
            return match self.on_taken {
                OnTaken::Answer => Ok(TaskCreated { task: task_from(&row)?, new: false }),
                OnTaken::Refuse => Err(taken()),
            };
        }
        if tx.row(TASK_EXISTS, args![self.id]).await?.is_some() {
            return Err(conflict(format!("the task id `{}` is taken", self.id)));
        }
        let mut row = task_args(self.id, fields, self.now);
        row.extend(args![&self.camera, self.origin]);
        tx.run(TASK_INSERT, row).await?;
        Ok(TaskCreated { task: stored(tx, self.id).await?, new: true })
    }
}

/// Changes a task, and answers with it. Refused with [`ErrorKind::NotFound`], or [`ErrorKind::Conflict`] when it was
/// changed since `revision` or another task has its place.
#[derive(Clone, Debug)]
pub struct UpdateTask {
    /// Its id.
    pub id: PublicId,
    /// What can be set, changed or not.
    pub fields: AiTaskFields,
    /// The revision that this was made from.
    pub revision: i64,
    /// Now.
    pub now: WallTime,
}

impl Apply for UpdateTask {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<AiTask, OpError> {
        let row = tx.row(TASK_STATE, args![self.id]).await?.ok_or_else(|| not_found("task"))?;
        let mut columns = row.columns();
        let camera: CameraId = columns.word()?;
        if columns.int()? != self.revision {
            return Err(conflict("the task was changed by someone else"));
        }
        let fields = &self.fields;
        let slot = args![&camera, fields.task_type.as_str(), fields.stream_profile.as_str()];
        if let Some(row) = tx.row(TASK_IN_SLOT, slot).await?
            && task_from(&row)?.id != self.id
        {
            return Err(taken());
        }
        tx.run(TASK_UPDATE, task_args(self.id, fields, self.now)).await?;
        stored(tx, self.id).await
    }
}

/// Deletes a task and its lease. Refused with [`ErrorKind::NotFound`].
#[derive(Clone, Debug)]
pub struct DeleteTask {
    /// Its id.
    pub id: PublicId,
}

impl Apply for DeleteTask {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        if tx.row(TASK_EXISTS, args![self.id]).await?.is_none() {
            return Err(not_found("task"));
        }
        tx.run(TASK_DELETE, args![self.id]).await?;
        Ok(())
    }
}

fn taken() -> OpError {
    conflict("the camera has such a task already")
}

async fn stored(tx: &mut Tx<'_>, id: PublicId) -> Result<AiTask, OpError> {
    let row = tx.row(TASK_BY_ID, args![id]).await?;
    let row = row.ok_or_else(|| refused(ErrorKind::Internal, "the task was not stored"))?;
    Ok(task_from(&row)?)
}

/// `$1` to `$9` of the insert and the update.
fn task_args(id: PublicId, f: &AiTaskFields, now: WallTime) -> Vec<Arg> {
    args![
        id,
        f.task_type.as_str(),
        f.enabled,
        f.stream_profile.as_str(),
        f.fps,
        f.width,
        f.config.to_string(),
        f.warm,
        now,
    ]
}

/// A change of what is known of workers and leases.
#[derive(Clone, Debug, PartialEq)]
pub enum LeaseChange {
    /// A worker as it is now.
    PutWorker(AiWorker),
    /// A worker is gone.
    RemoveWorker(WorkerKey),
    /// Who holds a task now.
    PutLease(TaskLease),
    /// Nobody holds the task any more.
    RemoveLease(PublicId),
}

/// Changes workers and leases together, in this order. Leases of tasks that are gone are passed over.
#[derive(Clone, Debug)]
pub struct ChangeLeases {
    /// What changes.
    pub changes: Vec<LeaseChange>,
}

impl Apply for ChangeLeases {
    // A lease that a power cut takes is asked for again by its worker.
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        for change in &self.changes {
            match change {
                LeaseChange::PutWorker(w) => {
                    let row = args![
                        w.key.credential.as_str(),
                        w.key.worker.as_str(),
                        w.last_seen,
                        w.live_until,
                        w.transport,
                        w.task_types.as_ref().map(|types| serde_json::Value::from(types.clone()).to_string()),
                        w.capacity,
                        w.max_tasks,
                        w.lease_id,
                    ];
                    tx.run(WORKER_PUT, row).await?;
                }
                LeaseChange::RemoveWorker(key) => {
                    tx.run(WORKER_REMOVE, args![key.credential.as_str(), key.worker.as_str()]).await?;
                }
                LeaseChange::PutLease(lease) => {
                    if tx.row(TASK_EXISTS, args![lease.task]).await?.is_none() {
                        continue;
                    }
                    let row = args![
                        lease.task,
                        lease.lease_id,
                        lease.holder.credential.as_str(),
                        lease.holder.worker.as_str(),
                        lease.acquired_at,
                        lease.renewed_at,
                        lease.expires_at,
                    ];
                    tx.run(LEASE_PUT, row).await?;
                }
                LeaseChange::RemoveLease(task) => {
                    tx.run(LEASE_REMOVE, args![*task]).await?;
                }
            }
        }
        Ok(())
    }
}
