//! `GET /api/v1/ai/samplers` (perception.md 5.1).

use axum::extract::State;
use axum::http::Method;
use heldar_base::{CameraId, Capability};
use heldar_http::{Access, Caller, Doc, Json, RouteTable};
use serde::Serialize;
use utoipa::ToSchema;

use super::TAG;
use crate::api::Api;
use crate::perception::SamplerView;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/api/v1/ai/samplers",
        Access::filter(Capability::AiTasks),
        list,
        Doc::new("listSamplers", TAG, "What is sampled of each camera, at which rate, and why not better")
            .list::<Sampler>(200, "By camera and profile."),
    );
}

/// What is sampled of a profile of a camera.
#[derive(Serialize, ToSchema)]
struct Sampler {
    /// Whose.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// `main` or `sub`.
    stream_profile: &'static str,
    /// `connecting`, `sampling`, `offline`, `error`, `stopped` or `budget_exhausted`.
    state: &'static str,
    /// Pictures a second, as planned; 0 without budget.
    fps: f64,
    /// Width in pixels, as planned; 0 without budget.
    width: u32,
    /// Why it is not sampling: `idle`, `no_source`, `decode_failed`, `source_stopped`, `shed`, `starting`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<&'static str>,
    /// Highest rate that tasks ask for.
    wanted_fps: f64,
    /// Pictures a second over the last ten seconds.
    measured_fps: f64,
    /// Pictures a second that the source carries.
    source_fps: f64,
    /// Milliseconds between its sync samples; 0 while that is not known.
    sync_interval_ms: i64,
    /// Cores that decoding takes.
    decode_cores: f64,
    /// Age of the newest frame in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    frame_age_ms: Option<i64>,
    /// Number of the newest frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    seq: Option<u64>,
    /// `all`, `sync_only` or `none`.
    decode: &'static str,
    /// 1 when somebody has asked for a frame in the last minute.
    consumers: u32,
    /// What each task gets.
    tasks: Vec<Delivery>,
}

/// What a task gets.
#[derive(Serialize, ToSchema)]
#[schema(as = SamplerTask)]
struct Delivery {
    /// The task.
    task_id: String,
    /// Pictures a second.
    fps: f64,
    /// Pixels.
    width: u32,
    /// Always `live`.
    mode: &'static str,
}

impl From<SamplerView> for Sampler {
    fn from(view: SamplerView) -> Self {
        // Three decimals: a rate is not known better.
        let round = |value: f64| (value * 1000.0).round() / 1000.0;
        Sampler {
            camera_id: view.camera,
            stream_profile: view.profile.as_str(),
            state: view.state,
            fps: round(view.fps),
            width: view.width,
            reason: view.reason,
            wanted_fps: round(view.wanted_fps),
            measured_fps: round(view.measured_fps),
            source_fps: round(view.source_fps),
            sync_interval_ms: view.sync_interval.0 / 1000,
            decode_cores: round(view.decode_cores),
            frame_age_ms: view.frame_age.map(|age| age.0 / 1000),
            seq: view.seq,
            decode: view.decode,
            consumers: view.consumers,
            tasks: view
                .tasks
                .into_iter()
                .map(|given| Delivery {
                    task_id: given.task.to_string(),
                    fps: round(given.fps),
                    width: given.width,
                    mode: "live",
                })
                .collect(),
        }
    }
}

async fn list(State(kernel): State<Api>, caller: Caller) -> Json<Vec<Sampler>> {
    Json(kernel.samplers(caller.scope()).await.into_iter().map(Sampler::from).collect())
}
