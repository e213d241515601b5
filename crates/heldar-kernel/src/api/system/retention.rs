//! The limits of all recordings.

use axum::extract::State;
use axum::http::Method;
use heldar_base::Capability;
use heldar_http::{Access, ApiError, Caller, Doc, Json, Patch, RouteTable};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::TAG;
use super::parts::{Change, Least, bytes_of, gb, save};
use crate::api::requester::Requester;
use crate::api::{Api, errors};
use crate::retention::{MAX_KEY, MIN_FREE_KEY};

const PATH: &str = "/api/v1/system/retention";

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table
        .add(
            Method::GET,
            PATH,
            Access::filter(Capability::SystemRead),
            show,
            Doc::new("getRetention", TAG, "The limits of all recordings")
                .json::<RetentionLimits>(200, "The limits."),
        )
        .add(
            Method::PUT,
            PATH,
            Access::fleet(Capability::Admin),
            update,
            Doc::new("putRetention", TAG, "Sets the limits of all recordings")
                .body::<RetentionUpdate>()
                .json::<RetentionLimits>(200, "The limits now."),
        );
}

/// The limits of all recordings.
#[derive(Debug, Serialize, ToSchema)]
struct RetentionLimits {
    /// Most footage that is not held, in GiB.
    max_recordings_gb: f64,
    /// The same in bytes.
    max_recordings_bytes: u64,
    /// True when a stored setting holds.
    max_overridden: bool,
    /// Free space to keep, in GiB; 0: no floor.
    min_free_disk_gb: f64,
    /// The same in bytes.
    min_free_disk_bytes: u64,
    /// True when a stored setting holds.
    min_free_overridden: bool,
    /// What the configuration says, in GiB.
    max_default_gb: f64,
    /// What the configuration says, in GiB.
    min_free_default_gb: f64,
    /// Bytes of all segments of the caller's cameras.
    recordings_bytes: u64,
    /// Of these, bytes that are held.
    held_bytes: u64,
    /// What limited how long footage stays when some was last deleted: `age`, `quota`, `size_cap` or `free_floor`.
    limited_by: Option<&'static str>,
}

/// New limits; what is absent stays, `null` returns to the configuration.
#[derive(Debug, Default, Deserialize, ToSchema)]
struct RetentionUpdate {
    /// GiB, above 0.
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    max_recordings_gb: Patch<f64>,
    /// GiB, at least 0; 0: no floor.
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    min_free_disk_gb: Patch<f64>,
}

async fn show(State(api): State<Api>, caller: Caller) -> Result<Json<RetentionLimits>, ApiError> {
    view(&api, &caller).await.map(Json)
}

async fn view(api: &Api, caller: &Caller) -> Result<RetentionLimits, ApiError> {
    let limits = api.retention.limits().await.map_err(errors::store)?;
    let sums = api.health.fresh_totals(api).await.sums(caller.scope());
    Ok(RetentionLimits {
        max_recordings_gb: gb(limits.max.bytes),
        max_recordings_bytes: limits.max.bytes,
        max_overridden: limits.max.overridden,
        min_free_disk_gb: gb(limits.min_free.bytes),
        min_free_disk_bytes: limits.min_free.bytes,
        min_free_overridden: limits.min_free.overridden,
        max_default_gb: gb(limits.max.configured),
        min_free_default_gb: gb(limits.min_free.configured),
        recordings_bytes: sums.bytes,
        held_bytes: 0,
        limited_by: api.retention.limited_by().map(|reason| reason.as_str()),
    })
}

async fn update(
    State(api): State<Api>,
    who: Requester,
    Json(body): Json<RetentionUpdate>,
) -> Result<Json<RetentionLimits>, ApiError> {
    let changes = vec![
        change(MAX_KEY, "max_recordings_gb", body.max_recordings_gb, Least::AboveZero)?,
        change(MIN_FREE_KEY, "min_free_disk_gb", body.min_free_disk_gb, Least::Zero)?,
    ];
    if save(&api, &who, "update_retention_limits", "recording", changes).await? {
        api.retention.kick();
    }
    view(&api, &who.caller).await.map(Json)
}

fn change(
    key: &'static str,
    field: &'static str,
    value: Patch<f64>,
    least: Least,
) -> Result<Change, ApiError> {
    let shown = value.value().map_or(Value::Null, |gb| Value::from(*gb));
    let value = value.try_map(|gb| bytes_of(field, gb, least).map(|bytes| bytes.to_string()))?;
    Ok(Change { key, field, value, shown })
}
