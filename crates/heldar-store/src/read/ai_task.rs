//! Reads of AI tasks, workers and leases.

use heldar_base::{CameraId, PublicId, Scope};

use super::{all, fetch_limit, page_limit};
use crate::error::StoreError;
use crate::model::{AiTask, AiTaskFields, AiWorker, Page, TaskLease, WorkerKey};
use crate::sql::{CameraFilter, Columns, Query, Row, args, statements};

macro_rules! task_columns {
    () => {
        "SELECT t.id, t.camera_id, t.task_type, t.enabled, t.stream_profile, t.fps, t.width, t.config, t.warm, t.origin,
        t.created_us, t.updated_us, t.revision FROM ai_task t"
    };
}

statements! {
    BY_ID = concat!(task_columns!(), " WHERE t.id = $1");
    IN_SLOT = concat!(task_columns!(), " WHERE t.camera_id = $1 AND t.task_type = $2 AND t.stream_profile = $3");
}

/// A task, for the writer.
pub(crate) const TASK_BY_ID: crate::sql::Stmt = BY_ID;
/// The task of a camera, a type and a stream, for the writer.
pub(crate) const TASK_IN_SLOT: crate::sql::Stmt = IN_SLOT;

const TASKS: &str = concat!(task_columns!(), " WHERE TRUE");
/// A camera that was removed and may come back keeps its tasks, which nobody works on meanwhile.
const TASKS_IN_USE: &str = concat!(
    task_columns!(),
    " WHERE EXISTS (SELECT 1 FROM camera c WHERE c.id = t.camera_id AND c.removed_us IS NULL)"
);
const WORKERS: &str =
    "SELECT credential, worker_id, last_seen_us, live_until_us, transport, task_types, capacity,
    max_tasks, lease_id FROM ai_worker ORDER BY credential, worker_id";
const LEASES: &str =
    "SELECT l.task_id, l.lease_id, l.credential, l.worker_id, l.acquired_us, l.renewed_us, l.expires_us
    FROM ai_task_lease l JOIN ai_task t ON t.id = l.task_id WHERE TRUE";

pub(crate) fn task_from(row: &Row) -> Result<AiTask, StoreError> {
    let mut c = row.columns();
    Ok(AiTask {
        id: c.public_id(AiTask::PREFIX)?,
        camera: c.word()?,
        fields: AiTaskFields {
            task_type: c.text()?,
            enabled: c.flag()?,
            stream_profile: c.word()?,
            fps: c.real()?,
            width: c.number()?,
            config: c.json()?,
            warm: c.flag()?,
        },
        origin: c.word()?,
        created_at: c.time()?,
        updated_at: c.time()?,
        revision: c.int()?,
    })
}

fn key_from(c: &mut Columns<'_>) -> Result<WorkerKey, StoreError> {
    Ok(WorkerKey { credential: c.text()?, worker: c.text()? })
}

fn worker_from(row: &Row) -> Result<AiWorker, StoreError> {
    let mut c = row.columns();
    Ok(AiWorker {
        key: key_from(&mut c)?,
        last_seen: c.time()?,
        live_until: c.time()?,
        transport: c.word()?,
        task_types: c.opt_json()?,
        capacity: c.real()?,
        max_tasks: c.number()?,
        lease_id: c.opt_public_id(TaskLease::PREFIX)?,
    })
}

fn lease_from(row: &Row) -> Result<TaskLease, StoreError> {
    let mut c = row.columns();
    Ok(TaskLease {
        task: c.public_id(AiTask::PREFIX)?,
        lease_id: c.public_id(TaskLease::PREFIX)?,
        holder: key_from(&mut c)?,
        acquired_at: c.time()?,
        renewed_at: c.time()?,
        expires_at: c.time()?,
    })
}

pub(crate) fn of_camera_query(camera: &CameraId) -> Query {
    let mut query = Query::new(TASKS, Vec::new());
    query.push("AND t.camera_id = $ ORDER BY t.created_us, t.id", args![camera]);
    query
}

pub(crate) fn list_query(filter: &CameraFilter<'_>, after: Option<PublicId>, limit: u32) -> Query {
    let mut query = Query::new(TASKS_IN_USE, Vec::new());
    query.cameras("t.camera_id", filter);
    query.push_if("AND t.id > $", after);
    query.push("ORDER BY t.id LIMIT $", args![fetch_limit(limit)]);
    query
}

pub(crate) fn one_query(filter: &CameraFilter<'_>, id: PublicId) -> Query {
    let mut query = Query::new(TASKS, Vec::new());
    query.cameras("t.camera_id", filter);
    query.push("AND t.id = $", args![id]);
    query
}

pub(crate) fn workers_query() -> Query {
    Query::new(WORKERS, Vec::new())
}

pub(crate) fn leases_query(filter: &CameraFilter<'_>) -> Query {
    let mut query = Query::new(LEASES, Vec::new());
    query.cameras("t.camera_id", filter);
    query.push("ORDER BY l.task_id", Vec::new());
    query
}

impl crate::Store {
    /// Every task of a camera, the oldest first, then by id.
    pub async fn camera_tasks(&self, scope: &Scope, camera: &CameraId) -> Result<Vec<AiTask>, StoreError> {
        if !scope.covers(camera) {
            return Ok(Vec::new());
        }
        let rows = self.query(of_camera_query(camera)).await?;
        all(&rows, task_from)
    }

    /// Tasks of cameras in use, by id. The cursor is the id of the last row.
    pub async fn tasks(
        &self,
        scope: &Scope,
        after: Option<PublicId>,
        limit: u32,
    ) -> Result<Page<AiTask, PublicId>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(Page::empty()) };
        let rows = self.query(list_query(&filter, after, limit)).await?;
        Ok(Page::cut(all(&rows, task_from)?, page_limit(limit), |task| task.id))
    }

    /// One task.
    pub async fn task(&self, scope: &Scope, id: PublicId) -> Result<Option<AiTask>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(None) };
        let rows = self.query(one_query(&filter, id)).await?;
        rows.first().map(task_from).transpose()
    }

    /// Every worker that is remembered, by credential and name. They belong to no camera: a limited scope sees none.
    pub async fn workers(&self, scope: &Scope) -> Result<Vec<AiWorker>, StoreError> {
        if !scope.is_all() {
            return Ok(Vec::new());
        }
        let rows = self.query(workers_query()).await?;
        all(&rows, worker_from)
    }

    /// Every lease, those that have expired among them, by task.
    pub async fn leases(&self, scope: &Scope) -> Result<Vec<TaskLease>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(Vec::new()) };
        let rows = self.query(leases_query(&filter)).await?;
        all(&rows, lease_from)
    }
}
