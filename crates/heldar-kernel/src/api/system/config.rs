//! The configuration as the server sees it, and the description of the API.

use axum::extract::State;
use axum::http::Method;
use heldar_base::Capability;
use heldar_config::DoctorEntry;
use heldar_http::{Access, ApiError, Doc, Json, RouteTable, ScopeRule};
use serde::Serialize;
use utoipa::ToSchema;

use super::parts::gb;
use super::{TAG, db, transcode};
use crate::api::{Api, errors};

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table
        .add(
            Method::GET,
            "/api/v1/system/config",
            Access::fleet(Capability::Admin),
            show,
            Doc::new("getConfig", TAG, "Every variable with its effective value and source")
                .list::<ConfigEntry>(200, "The variables."),
        )
        .add_description(
            "/api/v1/openapi.json",
            Access::any_principal(ScopeRule::None),
            Doc::new("getOpenApi", TAG, "This description").content(200, "application/json", "OpenAPI 3.1."),
        );
}

/// One variable.
#[derive(Debug, Serialize, ToSchema)]
struct ConfigEntry {
    /// Its name.
    name: String,
    /// The value in force; `***` for a secret, null when it is not set and has no default.
    value: Option<String>,
    /// `flag`, `env`, `.env`, `file:line`, `setting` or `default`.
    source: String,
    /// The default, in words where it follows from something else.
    default: Option<String>,
    /// True when the value is never shown.
    secret: bool,
    /// True when somebody set it and it has no effect.
    ignored: bool,
    /// Why, or what there is to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    note: Option<String>,
}

impl From<DoctorEntry> for ConfigEntry {
    fn from(entry: DoctorEntry) -> Self {
        ConfigEntry {
            name: entry.name,
            value: entry.value,
            source: entry.source.to_string(),
            default: entry.default,
            secret: entry.secret,
            ignored: entry.ignored,
            note: entry.note,
        }
    }
}

async fn show(State(api): State<Api>) -> Result<Json<Vec<ConfigEntry>>, ApiError> {
    let limits = api.retention.limits().await.map_err(errors::store)?;
    let overrides = [
        ("HELDAR_MAX_RECORDINGS_GB", limits.max.overridden.then(|| gb(limits.max.bytes).to_string())),
        (
            "HELDAR_MIN_FREE_DISK_GB",
            limits.min_free.overridden.then(|| gb(limits.min_free.bytes).to_string()),
        ),
        ("HELDAR_MAX_DB_GB", db::stored_cap(&api).await?.map(|bytes| gb(bytes).to_string())),
        ("HELDAR_LIVE_TRANSCODE_ENGINE", transcode::engine(&api).await?.1),
    ];
    let mut entries = api.health.configuration().entries.clone();
    for (name, value) in overrides {
        if let (Some(entry), Some(value)) = (entries.iter_mut().find(|entry| entry.name == name), value) {
            entry.overridden(value);
        }
    }
    Ok(Json(entries.into_iter().map(ConfigEntry::from).collect()))
}
