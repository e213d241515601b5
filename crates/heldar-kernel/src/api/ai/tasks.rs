//! AI tasks of cameras (perception.md 3).

use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use heldar_base::{CameraId, Capability, WallTime};
use heldar_http::{Access, ApiError, Caller, Camera, Code, Doc, Json, Path, RouteTable};
use heldar_perception::TaskId;
use heldar_perception::task::{NewTask, TaskPatch};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::TAG;
use crate::api::requester::Requester;
use crate::api::{Api, errors};
use crate::perception::{KnownTask, TaskChange, TaskError};

pub(super) fn routes(table: &mut RouteTable<Api>) {
    let of_camera = "/api/v1/cameras/{id}/ai-tasks";
    table.add(
        Method::GET,
        of_camera,
        Access::cam(Capability::AiTasks),
        list,
        Doc::new("listAiTasks", TAG, "Tasks of a camera, enabled or not")
            .list::<AiTask>(200, "The oldest first.")
            .fails(&[Code::NotFound]),
    );
    table.add(
        Method::POST,
        of_camera,
        Access::cam(Capability::RegistryManage),
        create,
        Doc::new("createAiTask", TAG, "Ask for something to be analysed")
            .details("A camera has one task of a type and profile; asking for it again answers with the one that is there.")
            .body::<NewAiTask>()
            .json::<AiTask>(201, "The new task.")
            .json::<AiTask>(200, "The task that was there.")
            .fails(&[Code::NotFound]),
    );
    table.add(
        Method::PATCH,
        "/api/v1/ai-tasks/{task_id}",
        Access::res(Capability::RegistryManage),
        change,
        Doc::new("changeAiTask", TAG, "Change a task")
            .body::<ChangedAiTask>()
            .json::<AiTask>(200, "The task.")
            .fails(&[Code::NotFound, Code::Conflict]),
    );
    table.add(
        Method::DELETE,
        "/api/v1/ai-tasks/{task_id}",
        Access::res(Capability::RegistryManage),
        delete,
        Doc::new("deleteAiTask", TAG, "Delete a task and its lease")
            .empty(204, "Deleted.")
            .fails(&[Code::NotFound]),
    );
}

/// What is to be analysed of a camera.
#[derive(Serialize, ToSchema)]
struct AiTask {
    /// `ai_` and 32 hexadecimal digits.
    id: String,
    /// Whose pictures.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// Kind of work; an open vocabulary.
    task_type: String,
    /// Whether anybody should work on it.
    enabled: bool,
    /// `main` or `sub`.
    stream_profile: &'static str,
    /// Pictures a second, as asked.
    fps: f64,
    /// Width in pixels, as asked.
    width: u32,
    /// For the worker.
    config: Value,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: WallTime,
    /// Always `live`.
    mode: &'static str,
    /// Whether pictures are decoded also while nobody asks for them.
    warm: bool,
}

impl From<&KnownTask> for AiTask {
    fn from(known: &KnownTask) -> Self {
        let task = &known.task;
        AiTask {
            id: task.id.to_string(),
            camera_id: task.camera.clone(),
            task_type: task.spec.task_type.clone(),
            enabled: task.spec.enabled,
            stream_profile: task.spec.profile.as_str(),
            fps: task.spec.fps,
            width: task.spec.width,
            config: task.spec.config.clone(),
            created_at: known.created_at,
            updated_at: known.updated_at,
            mode: "live",
            warm: task.spec.warm,
        }
    }
}

/// A task that is wanted.
#[derive(Deserialize, ToSchema)]
struct NewAiTask {
    /// Kind of work.
    task_type: String,
    /// `sub` (default) or `main`.
    #[serde(default)]
    stream_profile: Option<String>,
    /// Pictures a second, brought into 0.02 to 30.
    #[serde(default)]
    fps: Option<f64>,
    /// Width in pixels, brought into 160 to 3840.
    #[serde(default)]
    width: Option<i64>,
    /// Any JSON; for the worker.
    #[serde(default)]
    config: Option<Value>,
    /// True by default.
    #[serde(default)]
    enabled: Option<bool>,
    /// `live`.
    #[serde(default)]
    mode: Option<String>,
    /// False by default.
    #[serde(default)]
    warm: Option<bool>,
}

/// A change; what is absent or null stays.
#[derive(Deserialize, ToSchema)]
struct ChangedAiTask {
    /// Kind of work.
    #[serde(default)]
    task_type: Option<String>,
    /// `sub` or `main`.
    #[serde(default)]
    stream_profile: Option<String>,
    /// Pictures a second, brought into 0.02 to 30.
    #[serde(default)]
    fps: Option<f64>,
    /// Width in pixels, brought into 160 to 3840.
    #[serde(default)]
    width: Option<i64>,
    /// Replaces the whole.
    #[serde(default)]
    config: Option<Value>,
    /// Whether anybody should work on it.
    #[serde(default)]
    enabled: Option<bool>,
    /// `live`.
    #[serde(default)]
    mode: Option<String>,
    /// Whether pictures are decoded also while nobody asks for them.
    #[serde(default)]
    warm: Option<bool>,
}

fn task_error(error: TaskError) -> ApiError {
    match error {
        TaskError::Refused(refused) => ApiError::validation(refused.field, refused.to_string()),
        TaskError::NotFound => ApiError::not_found("task"),
        TaskError::Taken => {
            ApiError::new(heldar_http::Code::Conflict, "the camera has a task of this type and profile")
        }
        TaskError::Store(error) => errors::store(error),
    }
}

/// Runs a change on a task of its own: whoever goes away does not leave store and memory apart.
async fn to_its_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, TaskError>> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::spawn(change).await;
    done.map_err(|_| ApiError::internal("a change of a task broke off"))?.map_err(task_error)
}

async fn list(
    State(kernel): State<Api>,
    caller: Caller,
    Camera(id): Camera,
) -> Result<Json<Vec<AiTask>>, ApiError> {
    let camera = kernel.store.camera(caller.scope(), &id).await.map_err(errors::store)?;
    camera.ok_or_else(|| ApiError::not_found("camera"))?;
    let mut tasks = kernel.perception.tasks();
    tasks.retain(|known| known.task.camera == id);
    tasks.sort_by_key(|known| (known.created_at, known.task.id));
    Ok(Json(tasks.iter().map(|known| AiTask::from(&**known)).collect()))
}

async fn create(
    State(kernel): State<Api>,
    who: Requester,
    Camera(id): Camera,
    Json(body): Json<NewAiTask>,
) -> Result<Response, ApiError> {
    let camera = kernel.store.camera(who.caller.scope(), &id).await.map_err(errors::store)?;
    camera.filter(|camera| camera.removed_at.is_none()).ok_or_else(|| ApiError::not_found("camera"))?;
    let body = NewTask {
        task_type: body.task_type,
        stream_profile: body.stream_profile,
        fps: body.fps,
        width: body.width,
        config: body.config,
        enabled: body.enabled,
        mode: body.mode,
        warm: body.warm,
    };
    let made = to_its_end(async move { kernel.create_task(&who.author, &id, body).await }).await?;
    Ok(match made {
        TaskChange::Made(task) => (StatusCode::CREATED, Json(AiTask::from(&*task))).into_response(),
        TaskChange::WasThere(task) => Json(AiTask::from(&*task)).into_response(),
    })
}

/// The task of a path, within the caller's scope. What is foreign and what is missing are one to callers that are limited.
fn of_path(kernel: &Api, caller: &Caller, text: &str) -> Result<TaskId, ApiError> {
    let known = TaskId::parse(text).ok().and_then(|id| kernel.perception.task(id));
    let known = known.filter(|known| caller.scope().covers(&known.task.camera));
    known.map(|known| known.task.id).ok_or_else(|| caller.missing("task"))
}

async fn change(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
    Json(body): Json<ChangedAiTask>,
) -> Result<Json<AiTask>, ApiError> {
    let id = of_path(&kernel, &who.caller, &id)?;
    let patch = TaskPatch {
        task_type: body.task_type,
        stream_profile: body.stream_profile,
        fps: body.fps,
        width: body.width,
        config: body.config,
        enabled: body.enabled,
        mode: body.mode,
        warm: body.warm,
    };
    let task = to_its_end(async move { kernel.change_task(&who.author, id, patch).await }).await?;
    Ok(Json(AiTask::from(&*task)))
}

async fn delete(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id = of_path(&kernel, &who.caller, &id)?;
    to_its_end(async move { kernel.delete_task(&who.author, id).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
