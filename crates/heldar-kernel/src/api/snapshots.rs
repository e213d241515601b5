//! Scheduled snapshots (media.md 16), and their files (media.md 12).

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use heldar_base::{CameraId, Capability, Clock as _, Interval, Micros, PublicId, WallTime};
use heldar_http::{
    Access, ApiError, Caller, Camera, Code, Doc, ETag, Json, Length, Limit, List, Page, Path, Query, Ranged,
    RouteTable,
};
use heldar_store::op::{
    CreateSnapshotSchedule, DeleteSnapshot, DeleteSnapshotSchedule, UpdateSnapshotSchedule,
};
use heldar_store::{AuditEntry, Snapshot, SnapshotScheduleFields, TimeRange};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::playback::audited;
use super::requester::Requester;
use super::{Api, errors};
use crate::engine::journal::random_bits;
use crate::kernel::Kernel;
use crate::reads::Read;
use crate::registry::{Author, Target};
use crate::snapshots::{SnapshotFolder, file_name, parse_name};

/// Group of these operations in the description.
const TAG: &str = "snapshots";
/// Seconds between two pictures unless something else is asked for.
const INTERVAL: u32 = 300;
/// Bounds of the same.
const BOUNDS: (i64, i64) = (5, 86_400);

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    let of_camera = "/api/v1/cameras/{id}/snapshot-schedules";
    let one = "/api/v1/snapshot-schedules/{schedule_id}";
    let manage = Capability::RegistryManage;
    table
        .add(
            Method::GET,
            of_camera,
            Access::cam(Capability::CameraRead),
            schedules,
            Doc::new("listSnapshotSchedules", TAG, "Snapshot schedules of a camera, enabled or not")
                .list::<SnapshotSchedule>(200, "The oldest first.")
                .fails(&[Code::NotFound]),
        )
        .add(
            Method::POST,
            of_camera,
            Access::cam(manage),
            create,
            Doc::new("createSnapshotSchedule", TAG, "Take a picture of a camera every so often")
                .details("The first picture is taken at once.")
                .body::<SnapshotScheduleBody>()
                .json::<SnapshotSchedule>(201, "The schedule.")
                .fails(&[Code::NotFound]),
        )
        .add(
            Method::PATCH,
            one,
            Access::res(manage),
            change,
            Doc::new("changeSnapshotSchedule", TAG, "Change a snapshot schedule")
                .details("What says nothing new writes nothing.")
                .body::<SnapshotScheduleBody>()
                .json::<SnapshotSchedule>(200, "The schedule.")
                .fails(&[Code::NotFound, Code::Conflict]),
        )
        .add(
            Method::DELETE,
            one,
            Access::res(manage),
            delete_schedule,
            Doc::new("deleteSnapshotSchedule", TAG, "Delete a snapshot schedule")
                .details("The pictures that it has taken stay.")
                .empty(204, "Deleted.")
                .fails(&[Code::NotFound]),
        )
        .add(
            Method::GET,
            "/api/v1/cameras/{id}/snapshots",
            Access::cam(Capability::VideoPlayback),
            list,
            Doc::new("listSnapshots", TAG, "Scheduled snapshots of a camera, newest first")
                .query::<SnapshotsQuery>()
                .page::<SnapshotView>("Snapshots.")
                .fails(&[Code::NotFound]),
        )
        .add(
            Method::DELETE,
            "/api/v1/snapshots/{id}",
            Access::res(manage),
            delete,
            Doc::new("deleteSnapshot", TAG, "Deletes a scheduled snapshot, file and row")
                .empty(204, "Deleted.")
                .fails(&[Code::NotFound]),
        )
        .add(
            Method::GET,
            "/media/snapshots/{camera}/{file}",
            Access::cam_in("camera", Capability::VideoPlayback),
            file,
            Doc::new("getSnapshotFile", TAG, "The picture of a scheduled snapshot")
                .content(200, "image/jpeg", "The picture.")
                .content(206, "image/jpeg", "A part of it.")
                .fails(&[Code::NotFound, Code::RangeNotSatisfiable]),
        );
}

/// What is wanted of a schedule. What is absent or null is the default of a new one, and stays of one that is changed.
#[derive(Clone, Copy, Deserialize, ToSchema)]
struct SnapshotScheduleBody {
    /// Seconds between two pictures, brought into 5 to 86400; 300 by default.
    #[serde(default)]
    interval_seconds: Option<i64>,
    /// Whether pictures are taken; true by default.
    #[serde(default)]
    enabled: Option<bool>,
}

impl SnapshotScheduleBody {
    fn over(self, fields: SnapshotScheduleFields) -> SnapshotScheduleFields {
        let clamp = |seconds: i64| u32::try_from(seconds.clamp(BOUNDS.0, BOUNDS.1)).unwrap_or(INTERVAL);
        SnapshotScheduleFields {
            interval_seconds: self.interval_seconds.map_or(fields.interval_seconds, clamp),
            enabled: self.enabled.unwrap_or(fields.enabled),
        }
    }
}

/// When pictures of a camera are taken.
#[derive(Serialize, ToSchema)]
struct SnapshotSchedule {
    /// `snsch_` and 32 hexadecimal digits.
    #[schema(value_type = String)]
    id: PublicId,
    /// Of which camera.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// Seconds between two pictures.
    interval_seconds: u32,
    /// Whether pictures are taken.
    enabled: bool,
    /// When a picture was last due and tried for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_fired_at: Option<WallTime>,
    /// Why there was none then; absent when there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: WallTime,
}

impl From<heldar_store::SnapshotSchedule> for SnapshotSchedule {
    fn from(row: heldar_store::SnapshotSchedule) -> Self {
        SnapshotSchedule {
            id: row.id,
            camera_id: row.camera,
            interval_seconds: row.fields.interval_seconds,
            enabled: row.fields.enabled,
            last_fired_at: row.last_fired_at,
            last_error: row.last_error,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A scheduled snapshot.
#[derive(Serialize, ToSchema)]
struct SnapshotView {
    /// `snap_` and 32 hexadecimal digits.
    #[schema(value_type = String)]
    id: PublicId,
    /// What it shows.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// The schedule that asked for it; absent when that is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    schedule_id: Option<PublicId>,
    /// Its file, below the folder of snapshots.
    path: String,
    /// When the picture was captured.
    #[schema(value_type = String, format = DateTime)]
    taken_at: WallTime,
    /// Size of its file.
    size_bytes: i64,
    /// When it was stored.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// Where to get it.
    url: String,
}

impl From<Snapshot> for SnapshotView {
    fn from(row: Snapshot) -> Self {
        let path = SnapshotFolder::relative(&row.camera, row.taken_at);
        SnapshotView {
            id: row.id,
            schedule_id: row.schedule,
            url: format!("/media/snapshots/{path}"),
            path,
            camera_id: row.camera,
            taken_at: row.taken_at,
            size_bytes: row.size_bytes,
            created_at: row.created_at,
        }
    }
}

async fn known(kernel: &Kernel, caller: &Caller, id: &CameraId) -> Result<heldar_store::Camera, ApiError> {
    let camera = kernel.store.camera(caller.scope(), id).await.map_err(errors::store)?;
    camera.ok_or_else(|| ApiError::not_found("camera"))
}

async fn schedules(
    State(kernel): State<Api>,
    caller: Caller,
    Camera(id): Camera,
) -> Result<Json<Vec<SnapshotSchedule>>, ApiError> {
    known(&kernel, &caller, &id).await?;
    let rows = kernel.store.snapshot_schedules(caller.scope(), &id).await.map_err(errors::store)?;
    Ok(Json(rows.into_iter().map(SnapshotSchedule::from).collect()))
}

/// The audit row of a change of a schedule.
fn audit(
    kernel: &Kernel,
    author: &Author,
    action: &str,
    (id, camera): (PublicId, &CameraId),
    fields: SnapshotScheduleFields,
) -> AuditEntry {
    let detail = json!({
        "camera_id": camera,
        "interval_seconds": fields.interval_seconds,
        "enabled": fields.enabled,
    });
    let target = Target { kind: "snapshot_schedule", id: &id.to_string() };
    author.did(kernel.clock.wall(), action, target, detail)
}

async fn create(
    State(kernel): State<Api>,
    who: Requester,
    Camera(id): Camera,
    Json(body): Json<SnapshotScheduleBody>,
) -> Result<(StatusCode, Json<SnapshotSchedule>), ApiError> {
    let camera = known(&kernel, &who.caller, &id).await?;
    if camera.removed_at.is_some() {
        return Err(ApiError::not_found("camera"));
    }
    let schedule = PublicId::new(heldar_store::SnapshotSchedule::PREFIX, random_bits());
    let fields = body.over(SnapshotScheduleFields { interval_seconds: INTERVAL, enabled: true });
    let entry = audit(&kernel, &who.author, "create_snapshot_schedule", (schedule, &id), fields);
    let create = CreateSnapshotSchedule { id: schedule, camera: id, fields, now: kernel.clock.wall() };
    let made = kernel.store.manage(create, audited(entry)).await.map_err(errors::store)?;
    kernel.snapshots.wake();
    Ok((StatusCode::CREATED, Json(made.value.into())))
}

async fn find(
    kernel: &Kernel,
    caller: &Caller,
    id: &str,
) -> Result<heldar_store::SnapshotSchedule, ApiError> {
    let missing = || caller.missing("snapshot schedule");
    let id = PublicId::parse(heldar_store::SnapshotSchedule::PREFIX, id).map_err(|_| missing())?;
    let row = kernel.store.snapshot_schedule(caller.scope(), id).await.map_err(errors::store)?;
    row.ok_or_else(missing)
}

async fn change(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
    Json(body): Json<SnapshotScheduleBody>,
) -> Result<Json<SnapshotSchedule>, ApiError> {
    let before = find(&kernel, &who.caller, &id).await?;
    let fields = body.over(before.fields);
    if fields == before.fields {
        return Ok(Json(before.into()));
    }
    let (id, now) = (before.id, kernel.clock.wall());
    let entry = audit(&kernel, &who.author, "update_snapshot_schedule", (id, &before.camera), fields);
    let update = UpdateSnapshotSchedule { id, fields, revision: before.revision, now };
    let changed = kernel.store.manage(update, audited(entry)).await.map_err(errors::store)?;
    kernel.snapshots.wake();
    Ok(Json(changed.value.into()))
}

async fn delete_schedule(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let row = find(&kernel, &who.caller, &id).await?;
    let entry = audit(&kernel, &who.author, "delete_snapshot_schedule", (row.id, &row.camera), row.fields);
    let delete = DeleteSnapshotSchedule { id: row.id };
    kernel.store.manage(delete, audited(entry)).await.map_err(errors::store)?;
    kernel.snapshots.wake();
    Ok(StatusCode::NO_CONTENT)
}

/// Which snapshots.
#[derive(Deserialize, IntoParams)]
struct SnapshotsQuery {
    /// Captured at this instant or later.
    #[serde(default)]
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<WallTime>,
    /// Captured at this instant or earlier.
    #[serde(default)]
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<WallTime>,
    /// Snapshots per page.
    #[serde(default)]
    #[param(inline)]
    limit: Limit<500, 1, 5000>,
    /// From the `Link` of the page before.
    #[serde(rename = "cursor")]
    #[param(value_type = Option<String>)]
    _cursor: Option<String>,
}

async fn list(
    State(kernel): State<Api>,
    caller: Caller,
    Camera(id): Camera,
    list: List,
    Query(query): Query<SnapshotsQuery>,
) -> Result<Page<SnapshotView>, ApiError> {
    known(&kernel, &caller, &id).await?;
    let after: Option<WallTime> = list.position()?;
    let range = TimeRange { from: query.from, to: query.to };
    let page = kernel.store.snapshots(caller.scope(), &id, range, after, query.limit.get()).await;
    let page = page.map_err(errors::store)?;
    Ok(list.page(page.rows.into_iter().map(SnapshotView::from).collect(), page.next))
}

async fn delete(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let missing = || who.caller.missing("snapshot");
    let id = PublicId::parse(Snapshot::PREFIX, &id).map_err(|_| missing())?;
    let row = kernel.store.snapshot(who.caller.scope(), id).await.map_err(errors::store)?;
    let row = row.ok_or_else(missing)?;
    let detail = json!({ "camera_id": row.camera, "taken_at": row.taken_at });
    let target = Target { kind: "snapshot", id: &id.to_string() };
    let entry = who.author.did(kernel.clock.wall(), "delete_snapshot", target, detail);
    // To its end: whoever goes away leaves no file behind.
    let done = tokio::spawn(async move {
        let gone = kernel.store.manage(DeleteSnapshot { id }, audited(entry)).await?;
        kernel.snapshots.folder.remove(vec![gone.value]).await;
        Ok(())
    });
    done.await.map_err(ApiError::internal)?.map_err(errors::store)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn file(
    State(kernel): State<Api>,
    Requester { caller, author }: Requester,
    camera: Camera,
    Path((_, name)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let missing = || ApiError::not_found("snapshot");
    // Who is limited learns nothing of other folders, not even that the name would be none.
    if !caller.scope().is_all() && (name.contains(['/', '\\']) || name == "." || name == "..") {
        return Err(ApiError::out_of_scope());
    }
    let from = parse_name(&name).ok_or_else(missing)?;
    let range = TimeRange { from: Some(from), to: Some(from + Micros(999)) };
    let page = kernel.store.snapshots(caller.scope(), &camera.0, range, None, 1).await;
    let row = page.map_err(errors::store)?.rows.into_iter().next().ok_or_else(missing)?;
    let bytes = read(&kernel, &row).await?;
    if method == Method::GET {
        kernel.read(&author, &camera.0, Read::Snapshot, Interval::new(row.taken_at, row.taken_at));
    }
    let etag = ETag::strong(&row.id.to_string());
    let ranged = Ranged {
        content_type: HeaderValue::from_static("image/jpeg"),
        length: Length::Final(bytes.len() as u64),
        etag: etag.as_ref(),
        last_modified: Some(row.taken_at),
        cache_control: Some(HeaderValue::from_static("private, max-age=31536000, immutable")),
    };
    ranged.respond(&method, &headers, kernel.clock.wall(), bytes)
}

/// The bytes of a snapshot, which are few.
async fn read(kernel: &Arc<Kernel>, row: &Snapshot) -> Result<Bytes, ApiError> {
    let (folder, camera, taken_at) = (kernel.snapshots.folder.clone(), row.camera.clone(), row.taken_at);
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut folder.open(&camera, taken_at)?, &mut bytes)?;
        Ok(bytes)
    });
    match read.await.map_err(ApiError::internal)? {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) if missing(&error) => Err(ApiError::not_found("snapshot")),
        Err(error) => {
            tracing::warn!(file = file_name(taken_at), "a snapshot cannot be read");
            Err(ApiError::of(Code::StorageError).with_cause(error))
        }
    }
}

fn missing(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}
