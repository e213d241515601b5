//! Which engine converts live video for viewers that cannot play the camera's.

use axum::extract::State;
use axum::http::Method;
use heldar_base::{Capability, Scope};
use heldar_http::{Access, ApiError, Doc, Json, Patch, RouteTable};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::TAG;
use super::parts::{Change, save};
use crate::api::requester::Requester;
use crate::api::{Api, errors};
use crate::kernel::Kernel;

/// Setting that overrides `HELDAR_LIVE_TRANSCODE_ENGINE`.
pub(super) const ENGINE_KEY: &str = "live_transcode_engine";
/// The variable.
const VARIABLE: &str = "HELDAR_LIVE_TRANSCODE_ENGINE";
/// What it may be; the first is the default.
const ENGINES: [&str; 3] = ["software", "vaapi", "nvenc"];
const PATH: &str = "/api/v1/system/transcode";

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table
        .add(
            Method::GET,
            PATH,
            Access::unscoped(Capability::SystemRead),
            show,
            Doc::new("getTranscode", TAG, "The engine that converts live video")
                .json::<TranscodeSettings>(200, "The engine."),
        )
        .add(
            Method::PUT,
            PATH,
            Access::fleet(Capability::Admin),
            update,
            Doc::new("putTranscode", TAG, "Chooses the engine that converts live video")
                .body::<TranscodeUpdate>()
                .json::<TranscodeSettings>(200, "The engine now."),
        );
}

/// The engine that converts live video.
#[derive(Debug, Serialize, ToSchema)]
struct TranscodeSettings {
    /// The one in force: `software`, `vaapi` or `nvenc`.
    engine: String,
    /// True when a stored setting holds.
    overridden: bool,
    /// What the configuration says.
    env_default: String,
    /// Whether this machine converts with VA-API.
    vaapi_available: bool,
    /// Whether this machine converts with NVENC.
    nvenc_available: bool,
}

/// A choice of engine.
#[derive(Debug, Default, Deserialize, ToSchema)]
struct TranscodeUpdate {
    /// `software`, `vaapi` or `nvenc`; `null` returns to the configuration.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    engine: Patch<String>,
}

/// The engine in force, and the stored setting if one holds.
pub(super) async fn engine(kernel: &Kernel) -> Result<(String, Option<String>), ApiError> {
    let stored = kernel.store.settings(&Scope::All).await.map_err(errors::store)?;
    let stored = stored.into_iter().find(|setting| setting.key == ENGINE_KEY).map(|setting| setting.value);
    let stored = stored.filter(|engine| ENGINES.contains(&engine.as_str()));
    let engine = stored.clone().unwrap_or_else(|| configured(kernel));
    Ok((engine, stored))
}

/// What the configuration says.
pub(super) fn configured(kernel: &Kernel) -> String {
    kernel.health.configuration().value(VARIABLE).unwrap_or(ENGINES[0]).to_owned()
}

async fn show(State(api): State<Api>) -> Result<Json<TranscodeSettings>, ApiError> {
    view(&api).await.map(Json)
}

async fn view(api: &Api) -> Result<TranscodeSettings, ApiError> {
    let (engine, stored) = engine(api).await?;
    Ok(TranscodeSettings {
        engine,
        overridden: stored.is_some(),
        env_default: configured(api),
        vaapi_available: false,
        nvenc_available: false,
    })
}

async fn update(
    State(api): State<Api>,
    who: Requester,
    Json(body): Json<TranscodeUpdate>,
) -> Result<Json<TranscodeSettings>, ApiError> {
    let value = body.engine.try_map(|text| {
        let engine = text.trim().to_lowercase();
        let known = ENGINES.contains(&engine.as_str());
        let wrong = || ApiError::validation("engine", "`engine` is one of: software, vaapi, nvenc");
        known.then_some(engine).ok_or_else(wrong)
    })?;
    let shown = value.value().cloned().map_or(serde_json::Value::Null, serde_json::Value::String);
    let change = Change { key: ENGINE_KEY, field: "engine", value, shown };
    save(&api, &who, "update_live_transcode_engine", "live_transcode", vec![change]).await?;
    view(&api).await.map(Json)
}
