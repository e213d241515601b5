//! Making, changing and deleting zones (perception.md 12, 12.1 to 12.3).

use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use heldar_base::{CameraId, Capability, Clock as _, PublicId, WallTime};
use heldar_http::{Access, ApiError, Caller, Camera, Code, Doc, Json, Path, RouteTable};
use heldar_store::op::{CreateZone, DeleteZone, OnTaken, UpdateZone};
use heldar_store::{AuditEntry, ErrorKind};
use heldar_zones::{Zone as Checked, ZoneError, ZoneFields};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{TAG, of_path};
use crate::api::playback::audited;
use crate::api::requester::Requester;
use crate::api::{Api, errors};
use crate::engine::journal::random_bits;
use crate::kernel::Kernel;
use crate::registry::{Author, Target};

pub(super) fn routes(table: &mut RouteTable<Api>) {
    let of_camera = "/api/v1/cameras/{id}/zones";
    let one = "/api/v1/zones/{zone_id}";
    let manage = Capability::RegistryManage;
    table
        .add(
            Method::GET,
            of_camera,
            Access::cam(Capability::EventsRead),
            list,
            Doc::new("listZones", TAG, "Zones of a camera, enabled or not")
                .list::<Zone>(200, "The oldest first.")
                .fails(&[Code::NotFound]),
        )
        .add(
            Method::POST,
            of_camera,
            Access::cam(manage),
            create,
            Doc::new("createZone", TAG, "Draw a zone into the picture of a camera")
                .details(
                    "A camera has one zone of a name; asking for it again answers with the one that is there. It holds from \
                     the next batch of detections on.",
                )
                .body::<NewZone>()
                .json::<Zone>(201, "The new zone.")
                .json::<Zone>(200, "The zone that was there.")
                .fails(&[Code::NotFound, Code::Validation]),
        )
        .add(
            Method::PATCH,
            one,
            Access::res(manage),
            change,
            Doc::new("changeZone", TAG, "Change a zone")
                .details("Visits that the zone no longer holds end. What says nothing new writes nothing.")
                .body::<ChangedZone>()
                .json::<Zone>(200, "The zone.")
                .fails(&[Code::NotFound, Code::Conflict, Code::Validation]),
        )
        .add(
            Method::DELETE,
            one,
            Access::res(manage),
            delete,
            Doc::new("deleteZone", TAG, "Delete a zone with its occupancy and counters")
                .details("Visits end. What happened in it stays.")
                .empty(204, "Deleted.")
                .fails(&[Code::NotFound]),
        );
}

/// A part of the picture of a camera.
#[derive(Serialize, ToSchema)]
struct Zone {
    /// `zone_` and 32 hexadecimal digits.
    #[schema(value_type = String)]
    id: PublicId,
    /// In whose picture.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// What people call it.
    name: String,
    /// `region`, `presence`, `restricted`, `red`, `count`, `line` or `exclude`.
    kind: String,
    /// Its points, x and y in shares of the picture.
    #[schema(value_type = Vec<Vec<f64>>)]
    polygon: Value,
    /// Seconds inside until `dwell` is told; 0: it is not.
    dwell_seconds: f64,
    /// Labels that it sees; none: all.
    #[schema(value_type = Vec<String>)]
    labels: Value,
    /// `info`, `warning` or `critical`.
    severity: &'static str,
    /// Settings.
    #[schema(value_type = Object)]
    config: Value,
    /// Whether it is in use.
    enabled: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: WallTime,
}

impl From<heldar_store::Zone> for Zone {
    fn from(row: heldar_store::Zone) -> Self {
        let read = |text: &str| serde_json::from_str(text).unwrap_or_default();
        Zone {
            id: row.id,
            camera_id: row.camera,
            name: row.fields.name,
            kind: row.fields.kind,
            polygon: read(&row.fields.polygon),
            dwell_seconds: row.fields.dwell_seconds,
            labels: read(&row.fields.labels),
            severity: row.fields.severity.as_str(),
            config: read(&row.fields.config),
            enabled: row.fields.enabled,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A zone that is wanted.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewZone {
    /// What people call it; of a camera each has its own.
    name: String,
    /// `region` by default, `presence`, `restricted`, `red`, `count`, `line` or `exclude`.
    #[serde(default)]
    kind: Option<String>,
    /// 3 to 512 points, x and y in 0..1; 2 to 64 of a line.
    polygon: Vec<Vec<f64>>,
    /// Seconds inside until `dwell` is told; 0 by default: it is not.
    #[serde(default)]
    dwell_seconds: Option<f64>,
    /// Labels that it sees; none by default: all.
    #[serde(default)]
    labels: Option<Vec<String>>,
    /// `info`, `warning` or `critical`; the default depends on the kind.
    #[serde(default)]
    severity: Option<String>,
    /// Settings; keys that nobody knows are kept.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    /// True by default.
    #[serde(default)]
    enabled: Option<bool>,
}

/// A change; what is absent or null stays.
#[derive(Deserialize, ToSchema)]
struct ChangedZone {
    /// What people call it.
    #[serde(default)]
    name: Option<String>,
    /// `region`, `presence`, `restricted`, `red`, `count`, `line` or `exclude`.
    #[serde(default)]
    kind: Option<String>,
    /// Its points.
    #[serde(default)]
    polygon: Option<Vec<Vec<f64>>>,
    /// Seconds inside until `dwell` is told.
    #[serde(default)]
    dwell_seconds: Option<f64>,
    /// Labels that it sees.
    #[serde(default)]
    labels: Option<Vec<String>>,
    /// `info`, `warning` or `critical`.
    #[serde(default)]
    severity: Option<String>,
    /// Replaces the whole.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
    /// Whether it is in use.
    #[serde(default)]
    enabled: Option<bool>,
}

impl NewZone {
    pub(super) fn fields(self) -> ZoneFields {
        ZoneFields {
            name: self.name,
            kind: self.kind,
            polygon: json!(self.polygon),
            dwell_seconds: self.dwell_seconds.map_or(Value::Null, |seconds| json!(seconds)),
            labels: self.labels.map_or(Value::Null, |labels| json!(labels)),
            severity: self.severity,
            config: self.config.unwrap_or_default(),
            enabled: self.enabled,
        }
    }
}

impl ChangedZone {
    fn over(self, row: &heldar_store::ZoneFields) -> ZoneFields {
        let read = |text: &str| serde_json::from_str(text).unwrap_or_default();
        ZoneFields {
            name: self.name.unwrap_or_else(|| row.name.clone()),
            kind: Some(self.kind.unwrap_or_else(|| row.kind.clone())),
            polygon: self.polygon.map_or_else(|| read(&row.polygon), |polygon| json!(polygon)),
            dwell_seconds: json!(self.dwell_seconds.unwrap_or(row.dwell_seconds)),
            labels: self.labels.map_or_else(|| read(&row.labels), |labels| json!(labels)),
            severity: Some(self.severity.unwrap_or_else(|| row.severity.as_str().to_owned())),
            config: self.config.unwrap_or_else(|| read(&row.config)),
            enabled: Some(self.enabled.unwrap_or(row.enabled)),
        }
    }
}

pub(super) fn refused(error: ZoneError) -> ApiError {
    let text = error.to_string();
    ApiError::validation(error.path, text)
}

/// The fields of a zone as they are stored, once they follow every rule.
fn checked(id: PublicId, fields: &ZoneFields) -> Result<heldar_store::ZoneFields, ApiError> {
    let zone = Checked::new(&id.to_string(), fields).map_err(refused)?;
    if zone.name().chars().count() > heldar_store::Zone::NAME {
        let most = heldar_store::Zone::NAME;
        return Err(ApiError::validation("name", format!("`name` has at most {most} characters")));
    }
    Ok(heldar_store::ZoneFields {
        name: zone.name().to_owned(),
        kind: zone.kind().as_str().to_owned(),
        polygon: json!(zone.polygon().collect::<Vec<_>>()).to_string(),
        dwell_seconds: zone.dwell().as_secs_f64(),
        labels: json!(zone.labels()).to_string(),
        severity: match zone.severity() {
            heldar_zones::Severity::Info => heldar_store::Severity::Info,
            heldar_zones::Severity::Warning => heldar_store::Severity::Warning,
            heldar_zones::Severity::Critical => heldar_store::Severity::Critical,
        },
        config: json!(zone.config()).to_string(),
        enabled: zone.enabled(),
    })
}

fn audit(
    kernel: &Kernel,
    author: &Author,
    action: &str,
    (id, camera): (PublicId, &CameraId),
    fields: &heldar_store::ZoneFields,
) -> AuditEntry {
    let detail = json!({ "camera_id": camera, "name": fields.name, "kind": fields.kind });
    author.did(kernel.clock.wall(), action, Target { kind: "zone", id: &id.to_string() }, detail)
}

async fn known(kernel: &Kernel, caller: &Caller, id: &CameraId) -> Result<heldar_store::Camera, ApiError> {
    let camera = kernel.store.camera(caller.scope(), id).await.map_err(errors::store)?;
    camera.ok_or_else(|| ApiError::not_found("camera"))
}

async fn list(
    State(kernel): State<Api>,
    caller: Caller,
    Camera(id): Camera,
) -> Result<Json<Vec<Zone>>, ApiError> {
    known(&kernel, &caller, &id).await?;
    let rows = kernel.store.camera_zones(caller.scope(), &id).await.map_err(errors::store)?;
    Ok(Json(rows.into_iter().map(Zone::from).collect()))
}

/// The zone of a camera that has a name.
async fn named(
    kernel: &Kernel,
    caller: &Caller,
    id: &CameraId,
    name: &str,
) -> Result<Option<Zone>, ApiError> {
    let rows = kernel.store.camera_zones(caller.scope(), id).await.map_err(errors::store)?;
    Ok(rows.into_iter().find(|zone| zone.fields.name == name).map(Zone::from))
}

async fn create(
    State(kernel): State<Api>,
    who: Requester,
    Camera(camera): Camera,
    Json(body): Json<NewZone>,
) -> Result<Response, ApiError> {
    let found = known(&kernel, &who.caller, &camera).await?;
    if found.removed_at.is_some() {
        return Err(ApiError::not_found("camera"));
    }
    let id = PublicId::new(heldar_store::Zone::PREFIX, random_bits());
    let fields = checked(id, &body.fields())?;
    let name = fields.name.clone();
    if let Some(zone) = named(&kernel, &who.caller, &camera, &name).await? {
        return Ok(Json(zone).into_response());
    }
    let entry = audit(&kernel, &who.author, "create_zone", (id, &camera), &fields);
    let now = kernel.clock.wall();
    let create = CreateZone { id, camera: camera.clone(), fields, on_taken: OnTaken::Refuse, now };
    let made = match kernel.store.manage(create, audited(entry)).await {
        Ok(made) => made.value.zone,
        Err(error) if error.kind() == ErrorKind::Conflict => {
            let zone = named(&kernel, &who.caller, &camera, &name).await?;
            return zone.map(|zone| Json(zone).into_response()).ok_or_else(|| errors::store(error));
        }
        Err(error) => return Err(errors::store(error)),
    };
    kernel.zones_changed(camera).await;
    Ok((StatusCode::CREATED, Json(Zone::from(made))).into_response())
}

async fn change(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
    Json(body): Json<ChangedZone>,
) -> Result<Json<Zone>, ApiError> {
    let before = of_path(&kernel, &who.caller, &id).await?;
    let fields = checked(before.id, &body.over(&before.fields))?;
    if fields == before.fields {
        return Ok(Json(before.into()));
    }
    let entry = audit(&kernel, &who.author, "update_zone", (before.id, &before.camera), &fields);
    let now = kernel.clock.wall();
    let update = UpdateZone { id: before.id, fields, revision: before.revision, now };
    let changed = kernel.store.manage(update, audited(entry)).await.map_err(errors::store)?;
    kernel.zones_changed(before.camera).await;
    Ok(Json(changed.value.into()))
}

async fn delete(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let zone = of_path(&kernel, &who.caller, &id).await?;
    let entry = audit(&kernel, &who.author, "delete_zone", (zone.id, &zone.camera), &zone.fields);
    kernel.store.manage(DeleteZone { id: zone.id }, audited(entry)).await.map_err(errors::store)?;
    kernel.zones_changed(zone.camera).await;
    Ok(StatusCode::NO_CONTENT)
}
