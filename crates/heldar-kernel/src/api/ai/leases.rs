//! Discovery of tasks, their leases, and who works on them (perception.md 4).

use axum::extract::State;
use axum::http::Method;
use heldar_base::{CameraId, Capability, StreamKind, WallTime};
use heldar_http::{Access, ApiError, Caller, Code, Doc, Json, Path, Query, RouteTable};
use heldar_perception::leases::LeaseBody;
use heldar_perception::{LeaseId, Refused, TaskId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::TAG;
use crate::api::{Api, errors};
use crate::perception::{Held, KnownTask, LeaseError, LeaseView, WorkerView};

pub(super) fn routes(table: &mut RouteTable<Api>) {
    let leases = "/api/v1/ai/leases";
    table.add(
        Method::GET,
        "/api/v1/ai/tasks",
        Access::filter(Capability::AiTasks),
        discover,
        Doc::new("discoverAiTasks", TAG, "Tasks to work on: all of them, or a worker's share")
            .details(
                "With `worker_id` the call is the worker's heartbeat, and answers with its share among the live workers of \
                 the same credential. Workers that can should take leases.",
            )
            .query::<Discovery>()
            .list::<WorkerTask>(200, "By id.")
            .fails(&[Code::Conflict, Code::Busy]),
    );
    table.add(
        Method::POST,
        leases,
        Access::filter(Capability::AiTasks),
        acquire,
        Doc::new("acquireLeases", TAG, "Take and renew the leases of a worker")
            .details("Acquire, renewal and heartbeat in one: to be called again after `renew_after_secs`.")
            .body::<AskForLeases>()
            .json::<Leases>(200, "What the worker holds now.")
            .fails(&[Code::Busy]),
    );
    table.add(
        Method::GET,
        leases,
        Access::filter(Capability::SystemRead),
        list,
        Doc::new("listLeases", TAG, "Tasks under lease").list::<Lease>(200, "By task."),
    );
    table.add(
        Method::DELETE,
        "/api/v1/ai/leases/{lease_id}",
        Access::filter(Capability::AiTasks),
        release,
        Doc::new("releaseLease", TAG, "Give a lease back")
            .details("A lease that is unknown, or of another credential, releases nothing.")
            .json::<Released>(200, "How many tasks are free now.")
            .fails(&[Code::Busy]),
    );
    table.add(
        Method::GET,
        "/api/v1/ai/workers",
        Access::filter(Capability::SystemRead),
        workers,
        Doc::new("listWorkers", TAG, "Workers that have called of late")
            .details("Workers belong to no camera: callers that are limited to cameras see none.")
            .list::<Worker>(200, "By credential and name."),
    );
}

/// Who asks for tasks.
#[derive(Deserialize, IntoParams)]
struct Discovery {
    /// What the worker calls itself; blank is as absent.
    worker_id: Option<String>,
}

/// A task as a worker sees it.
#[derive(Serialize, ToSchema)]
struct WorkerTask {
    /// The task.
    #[schema(value_type = String)]
    id: TaskId,
    /// Its camera.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// Kind of work.
    task_type: String,
    /// `main` or `sub`.
    #[schema(value_type = String)]
    stream_profile: StreamKind,
    /// Pictures a second, as asked.
    fps: f64,
    /// Width in pixels, as asked.
    width: u32,
    /// For the worker.
    config: Value,
    /// Path and query of its frames.
    frame_url: String,
    /// Always `live`.
    mode: &'static str,
    /// Pictures a second, as delivered.
    effective_fps: f64,
    /// Width in pixels, as delivered.
    effective_width: u32,
}

impl WorkerTask {
    fn of(kernel: &Api, known: &KnownTask) -> Self {
        let task = &known.task;
        let shown = task.shown(kernel.perception.delivered(task.id));
        WorkerTask {
            id: shown.id,
            camera_id: shown.camera_id.clone(),
            task_type: shown.task_type.to_owned(),
            stream_profile: shown.stream_profile,
            fps: shown.fps,
            width: shown.width,
            config: shown.config.clone(),
            frame_url: shown.frame_url,
            mode: shown.mode,
            effective_fps: shown.effective_fps,
            effective_width: shown.effective_width,
        }
    }
}

/// A worker that asks for leases.
#[derive(Deserialize, ToSchema)]
struct AskForLeases {
    /// What it calls itself; not blank, at most 256 characters.
    worker_id: String,
    /// Types that it takes, exactly as tasks name them; absent: any.
    #[serde(default)]
    task_types: Option<Vec<String>>,
    /// Most tasks that it takes, moved into 1..512; 512 by default.
    #[serde(default)]
    max_tasks: Option<i64>,
    /// Seconds that the lease holds, moved into 15..300; 60 by default.
    #[serde(default)]
    ttl_secs: Option<i64>,
    /// Its strength beside the others, moved into 0.01..100; 1 by default.
    #[serde(default)]
    capacity: Option<f64>,
}

/// What a worker holds.
#[derive(Serialize, ToSchema)]
struct Leases {
    /// Its lease, the same until it is released or over.
    #[schema(value_type = String)]
    lease_id: LeaseId,
    /// Its name.
    worker_id: String,
    /// When the lease ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: String,
    /// Its tasks, by id.
    tasks: Vec<WorkerTask>,
    /// Whether the lease is the one that it had.
    renewed: bool,
    /// Tasks that are meant for it and still held by another worker.
    pending: usize,
    /// After how many seconds to call again.
    renew_after_secs: i64,
}

/// What a release did.
#[derive(Serialize, ToSchema)]
struct Released {
    /// Tasks that are free now.
    released: usize,
}

/// A task under lease.
#[derive(Serialize, ToSchema)]
struct Lease {
    /// The lease, one for all tasks of a worker.
    #[schema(value_type = String)]
    lease_id: LeaseId,
    /// The task.
    #[schema(value_type = String)]
    task_id: TaskId,
    /// Its camera.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// Its type.
    task_type: String,
    /// Name of the worker.
    worker_id: String,
    /// What the worker calls with.
    credential: String,
    /// When it got the task.
    #[schema(value_type = String, format = DateTime)]
    acquired_at: WallTime,
    /// When it last renewed it.
    #[schema(value_type = String, format = DateTime)]
    renewed_at: WallTime,
    /// When the task is free again.
    #[schema(value_type = String, format = DateTime)]
    expires_at: String,
}

impl From<LeaseView> for Lease {
    fn from(LeaseView { row, task_type }: LeaseView) -> Self {
        Lease {
            lease_id: row.lease_id,
            task_id: row.task,
            camera_id: row.camera,
            task_type,
            worker_id: row.holder.worker.to_string(),
            credential: row.holder.credential.to_string(),
            acquired_at: row.acquired_at,
            renewed_at: row.renewed_at,
            expires_at: with_offset(row.expires_at),
        }
    }
}

/// A worker.
#[derive(Serialize, ToSchema)]
struct Worker {
    /// Its name.
    worker_id: String,
    /// What it calls with.
    credential: String,
    /// Its last call.
    #[schema(value_type = String, format = DateTime)]
    last_seen: WallTime,
    /// Whether it counts in the sharing.
    live: bool,
    /// `discovery` or `lease`.
    transport: &'static str,
    /// Types that it takes; null: any.
    task_types: Option<Vec<String>>,
    /// Its strength beside the others.
    capacity: f64,
    /// Tasks that it holds.
    leases: usize,
    /// Their weight: pictures a second times pixels of each.
    load: f64,
    /// Batches that were taken from it in the last minute, of those that name a task under its lease.
    batches_per_min: u32,
    /// When one was last taken.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_result_at: Option<WallTime>,
}

impl From<WorkerView> for Worker {
    fn from(view: WorkerView) -> Self {
        Worker {
            worker_id: view.row.holder.worker.to_string(),
            credential: view.row.holder.credential.to_string(),
            last_seen: view.row.last_seen,
            live: view.live,
            transport: view.row.transport.as_str(),
            task_types: view.row.task_types,
            capacity: view.row.capacity,
            leases: view.leases,
            load: view.load,
            batches_per_min: view.batches_per_min,
            last_result_at: view.last_result_at,
        }
    }
}

/// A time with its offset spelt out (perception.md 1.5).
fn with_offset(at: WallTime) -> String {
    at.to_string().replace('Z', "+00:00")
}

/// The answer for a field that is not acceptable.
pub(super) fn refused(refused: Refused) -> ApiError {
    let error = ApiError::validation(refused.field, refused.to_string());
    match refused.index {
        Some(index) => error.with_index(index),
        None => error,
    }
}

fn lease_error(error: LeaseError) -> ApiError {
    match error {
        LeaseError::Refused(why) => refused(why),
        LeaseError::NameTaken => {
            ApiError::new(Code::Conflict, "a live worker of another credential has this name; choose another")
                .with_field("worker_id")
        }
        LeaseError::TooManyWorkers(error) => ApiError::new(Code::Busy, "too many workers, try again later")
            .with_cause(error)
            .with_retry_after(10),
        LeaseError::Slow => ApiError::of(Code::Busy).with_cause(error),
        LeaseError::Store(error) => errors::store(error),
        LeaseError::Broken => ApiError::internal(error),
    }
}

async fn discover(
    State(kernel): State<Api>,
    caller: Caller,
    Query(query): Query<Discovery>,
) -> Result<Json<Vec<WorkerTask>>, ApiError> {
    let tasks = kernel.discover(caller.principal(), query.worker_id.as_deref()).await.map_err(lease_error)?;
    Ok(Json(tasks.iter().map(|known| WorkerTask::of(&kernel, known)).collect()))
}

async fn acquire(
    State(kernel): State<Api>,
    caller: Caller,
    Json(body): Json<AskForLeases>,
) -> Result<Json<Leases>, ApiError> {
    let body = LeaseBody {
        worker_id: body.worker_id,
        task_types: body.task_types,
        max_tasks: body.max_tasks,
        ttl_secs: body.ttl_secs,
        capacity: body.capacity,
    };
    let held: Held = kernel.acquire_leases(caller.principal(), body).await.map_err(lease_error)?;
    Ok(Json(Leases {
        lease_id: held.lease_id,
        worker_id: held.worker_id,
        expires_at: with_offset(held.expires_at),
        tasks: held.tasks.iter().map(|known| WorkerTask::of(&kernel, known)).collect(),
        renewed: held.renewed,
        pending: held.pending,
        renew_after_secs: held.renew_after_secs,
    }))
}

async fn release(
    State(kernel): State<Api>,
    caller: Caller,
    Path(lease_id): Path<String>,
) -> Result<Json<Released>, ApiError> {
    let released = kernel.release_lease(caller.principal(), &lease_id).await.map_err(lease_error)?;
    Ok(Json(Released { released }))
}

async fn list(State(kernel): State<Api>, caller: Caller) -> Json<Vec<Lease>> {
    Json(kernel.leases(caller.scope()).into_iter().map(Lease::from).collect())
}

async fn workers(State(kernel): State<Api>, caller: Caller) -> Json<Vec<Worker>> {
    Json(kernel.workers(caller.scope()).into_iter().map(Worker::from).collect())
}
