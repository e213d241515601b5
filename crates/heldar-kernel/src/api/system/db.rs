//! The database: its size and its cap.

use axum::extract::State;
use axum::http::Method;
use heldar_base::{Capability, Scope, WallTime};
use heldar_http::{Access, ApiError, Code, Doc, Json, Patch, RouteTable};
use heldar_store::Engine;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::TAG;
use super::parts::{Change, Least, bytes_of, gb, save};
use crate::api::requester::Requester;
use crate::api::{Api, errors};
use crate::health;
use crate::kernel::Kernel;

/// Setting that overrides `HELDAR_MAX_DB_GB`.
pub(super) const MAX_KEY: &str = "db_max_bytes";
const PATH: &str = "/api/v1/system/db";

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table
        .add(
            Method::GET,
            PATH,
            Access::fleet(Capability::SystemRead),
            show,
            Doc::new("getDb", TAG, "Size and cap of the database").json::<DbStatus>(200, "The database."),
        )
        .add(
            Method::PUT,
            PATH,
            Access::fleet(Capability::Admin),
            update,
            Doc::new("putDb", TAG, "Sets the cap of the database")
                .body::<DbUpdate>()
                .json::<DbStatus>(200, "The database now.")
                .fails(&[Code::NotSupported]),
        )
        .add(
            Method::POST,
            "/api/v1/system/db/convert",
            Access::fleet(Capability::Admin),
            convert,
            Doc::new("convertDb", TAG, "Asks for incremental vacuum, which every database has")
                .json::<Converted>(200, "There is nothing to be done.")
                .fails(&[Code::NotSupported]),
        );
}

/// The database.
#[derive(Debug, Serialize, ToSchema)]
struct DbStatus {
    /// Bytes in use.
    db_bytes: u64,
    /// The cap in GiB; null: none.
    max_db_gb: Option<f64>,
    /// The cap in bytes; null: none.
    max_db_bytes: Option<u64>,
    /// True when a stored setting holds.
    max_overridden: bool,
    /// True when freed pages are given back in slices.
    incremental: bool,
    /// `sqlite` or `postgres`.
    engine: &'static str,
    /// Bytes of the write-ahead log; null on PostgreSQL.
    wal_bytes: Option<u64>,
    /// Bytes that are allocated and free.
    free_bytes: u64,
    /// True above the cap.
    over_cap: bool,
    /// When old rows were last removed.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_maintenance_at: Option<WallTime>,
    /// The cap of the configuration in GiB; null: none.
    max_default_gb: Option<f64>,
}

/// A cap.
#[derive(Debug, Default, Deserialize, ToSchema)]
struct DbUpdate {
    /// GiB, above 0; `null` returns to the configuration.
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    max_db_gb: Patch<f64>,
}

/// Nothing was to be done.
#[derive(Debug, Serialize, ToSchema)]
struct Converted {
    /// Always `already-incremental`.
    status: &'static str,
}

/// The stored cap in bytes, if it is a valid one.
pub(super) async fn stored_cap(kernel: &Kernel) -> Result<Option<u64>, ApiError> {
    let stored = kernel.store.settings(&Scope::All).await.map_err(errors::store)?;
    let value = stored.into_iter().find(|setting| setting.key == MAX_KEY).map(|setting| setting.value);
    Ok(value.and_then(|text| text.parse::<u64>().ok()).filter(|bytes| *bytes > 0))
}

fn require_sqlite(api: &Api) -> Result<(), ApiError> {
    match api.store.engine() {
        Engine::Sqlite => Ok(()),
        Engine::Postgres => {
            Err(ApiError::new(Code::NotSupported, "PostgreSQL looks after its size itself; there is no cap"))
        }
    }
}

async fn show(State(api): State<Api>) -> Result<Json<DbStatus>, ApiError> {
    view(&api).await.map(Json)
}

async fn view(api: &Api) -> Result<DbStatus, ApiError> {
    let size = api.store.size().await.map_err(errors::store)?;
    let used = u64::try_from(size.used_bytes).unwrap_or(0);
    let sqlite = api.store.engine() == Engine::Sqlite;
    let stored = if sqlite { stored_cap(api).await? } else { None };
    let configured = api.settings.database.max_bytes.filter(|_| sqlite);
    let cap = stored.or(configured);
    Ok(DbStatus {
        db_bytes: used,
        max_db_gb: cap.map(gb),
        max_db_bytes: cap,
        max_overridden: stored.is_some(),
        incremental: sqlite,
        engine: api.store.engine().as_str(),
        wal_bytes: health::log_bytes(&api.settings.database.target).await,
        free_bytes: u64::try_from(size.free_bytes).unwrap_or(0),
        over_cap: cap.is_some_and(|cap| used > cap),
        last_maintenance_at: api.retention.last_sweep().map(|sweep| sweep.at),
        max_default_gb: configured.map(gb),
    })
}

async fn update(
    State(api): State<Api>,
    who: Requester,
    Json(body): Json<DbUpdate>,
) -> Result<Json<DbStatus>, ApiError> {
    require_sqlite(&api)?;
    let value = body.max_db_gb.try_map(|gb| bytes_of("max_db_gb", gb, Least::AboveZero).map(|b| (gb, b)))?;
    let shown = value.value().map_or(Value::Null, |(gb, _)| Value::from(*gb));
    let value = value.try_map(|(_, bytes)| Ok::<_, ApiError>(bytes.to_string()))?;
    let change = Change { key: MAX_KEY, field: "max_db_gb", value, shown };
    save(&api, &who, "update_db_limit", "database", vec![change]).await?;
    view(&api).await.map(Json)
}

async fn convert(State(api): State<Api>) -> Result<Json<Converted>, ApiError> {
    require_sqlite(&api)?;
    Ok(Json(Converted { status: "already-incremental" }))
}
