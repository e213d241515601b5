//! Health of cameras (media.md 6).

use axum::extract::State;
use heldar_base::{CameraId, Capability, NotWanted, ReasonClass, WallTime};
use heldar_http::{Access, ApiError, Caller, Code, Doc, Json, List, Page, Query, RouteTable};
use heldar_store::{CameraQuery, CameraState, CameraStatus};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::paging::Paging;
use crate::api::{Api, errors, words};
use crate::engine::stream::AudioOutcome;
use crate::engine::supervisor::{SessionPhase, StatusView};
use crate::kernel::Kernel;

/// What a camera is doing.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CameraStatus)]
pub(super) struct Health {
    /// Whose.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// State.
    #[schema(value_type = words::CameraState)]
    state: CameraState,
    /// End of the newest footage on disk.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_segment_at: Option<WallTime>,
    /// Begin of the newest run.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_started_at: Option<WallTime>,
    /// Sessions lost over the camera's life.
    reconnect_count: i64,
    /// Segments completed over the camera's life.
    segments_written: i64,
    /// Pictures per second, measured.
    fps_observed: Option<f64>,
    /// Payload, measured.
    bitrate_kbps: Option<f64>,
    /// Why it does not work, masked.
    last_error: Option<String>,
    /// Always null: recording is in process.
    recorder_pid: Option<i64>,
    /// When this was true.
    #[schema(value_type = String, format = DateTime)]
    updated_at: WallTime,
    /// Since when the state holds.
    #[schema(value_type = String, format = DateTime)]
    state_since: WallTime,
    /// Whether recording is wanted now.
    wanted: bool,
    /// Why it is not.
    #[schema(value_type = Option<words::NotWanted>)]
    not_wanted_reason: Option<NotWanted>,
    /// Class of the last error.
    #[schema(value_type = Option<words::ReasonClass>)]
    reason_class: Option<ReasonClass>,
    /// Capture time of the newest picture.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_picture_at: Option<WallTime>,
    /// Since when the present session runs.
    #[schema(value_type = Option<String>, format = DateTime)]
    connected_since: Option<WallTime>,
    /// When the next attempt is due.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<WallTime>,
    /// What RTP is carried over, or was last.
    #[schema(value_type = Option<words::Transport>)]
    transport: Option<&'static str>,
    /// What the session is doing.
    #[schema(value_type = words::SessionPhase)]
    session: &'static str,
    /// What becomes of the sound.
    #[schema(value_type = words::AudioOutcome)]
    audio: &'static str,
    /// Footage held in memory for a trigger.
    pre_roll_available_seconds: Option<f64>,
    /// State of the mirror.
    mirror_state: Option<String>,
    /// Stream time minus host clock.
    clock_offset_ms: Option<i64>,
}

pub(super) fn routes(table: &mut RouteTable<Api>) {
    let read = Capability::CameraRead;
    table.add(
        axum::http::Method::GET,
        "/api/v1/health/cameras",
        Access::filter(read),
        list,
        Doc::new("listCameraHealth", "health", "What each camera is doing")
            .query::<Paging>()
            .page::<Health>("By camera id.")
            .fails(&[Code::BadCursor]),
    );
    table.add(
        axum::http::Method::GET,
        "/api/v1/cameras/{id}/health",
        Access::cam(read),
        one,
        Doc::new("getCameraHealth", "health", "What a camera is doing")
            .json::<Health>(200, "Its status.")
            .fails(&[Code::NotFound]),
    );
}

async fn list(
    State(kernel): State<Api>,
    caller: Caller,
    Query(paging): Query<Paging>,
    list: List,
) -> Result<Page<Health>, ApiError> {
    let mut after: Option<CameraId> = list.position()?;
    let mut all = Vec::new();
    let stored = kernel.store.statuses(caller.scope()).await.map_err(errors::store)?;
    loop {
        let which = CameraQuery::default();
        let page = kernel.store.cameras(caller.scope(), &which, after.as_ref(), paging.rows()).await;
        let page = page.map_err(errors::store)?;
        all.extend(page.rows.iter().filter_map(|camera| {
            let kept = || stored.binary_search_by(|status| status.camera.cmp(&camera.id)).ok();
            let live = kernel.supervisor.view(&camera.id).map(|view| Health::live(&camera.id, &view));
            let health = live.or_else(|| kept().and_then(|at| stored.get(at)).map(Health::stored));
            health.map(|health| health.of_camera(&kernel, camera))
        }));
        after = page.next;
        if after.is_none() || paging.is_page() {
            return Ok(list.page(all, after));
        }
    }
}

async fn one(
    State(kernel): State<Api>,
    caller: Caller,
    heldar_http::Camera(id): heldar_http::Camera,
) -> Result<Json<Health>, ApiError> {
    let missing = || ApiError::not_found("camera status");
    let camera = kernel.store.camera(caller.scope(), &id).await.map_err(errors::store)?;
    let camera = camera.filter(|camera| camera.removed_at.is_none()).ok_or_else(missing)?;
    let health = match kernel.supervisor.view(&id) {
        Some(view) => Health::live(&id, &view),
        None => {
            let stored = kernel.store.status(caller.scope(), &id).await.map_err(errors::store)?;
            Health::stored(&stored.ok_or_else(missing)?)
        }
    };
    Ok(Json(health.of_camera(&kernel, &camera)))
}

impl Health {
    fn live(camera: &CameraId, view: &StatusView) -> Self {
        Health {
            camera_id: camera.clone(),
            // Both vocabularies are the same words.
            state: view.state.as_str().parse().unwrap_or(CameraState::Unknown),
            last_segment_at: view.last_segment_at,
            last_started_at: view.last_started_at,
            reconnect_count: view.reconnect_count,
            segments_written: view.segments_written,
            fps_observed: view.fps,
            bitrate_kbps: view.bitrate_kbps,
            last_error: view.trouble.as_ref().map(|trouble| trouble.detail.clone()),
            recorder_pid: None,
            updated_at: view.updated_at,
            state_since: view.state_since,
            wanted: view.not_wanted.is_none(),
            not_wanted_reason: view.not_wanted,
            reason_class: view.trouble.as_ref().map(|trouble| trouble.class),
            last_picture_at: view.last_picture_at,
            connected_since: view.connected_since,
            next_attempt_at: view.next_attempt_at,
            transport: view.transport.map(heldar_ingest::TransportUsed::as_str),
            session: view.session.as_str(),
            audio: view.audio.as_str(),
            pre_roll_available_seconds: None,
            mirror_state: None,
            clock_offset_ms: (view.session == SessionPhase::Streaming).then_some(view.clock_offset.0 / 1000),
        }
    }

    fn stored(status: &CameraStatus) -> Self {
        Health {
            camera_id: status.camera.clone(),
            state: status.state,
            last_segment_at: status.last_segment_at,
            last_started_at: status.last_started_at,
            reconnect_count: status.reconnect_count,
            segments_written: status.segments_written,
            fps_observed: None,
            bitrate_kbps: None,
            last_error: status.last_error.clone(),
            recorder_pid: None,
            updated_at: status.updated_at,
            state_since: status.state_since,
            wanted: status.not_wanted_reason.is_none(),
            not_wanted_reason: status.not_wanted_reason,
            reason_class: status.reason_class,
            last_picture_at: status.last_picture_at,
            connected_since: None,
            next_attempt_at: None,
            transport: None,
            session: SessionPhase::Idle.as_str(),
            audio: AudioOutcome::None.as_str(),
            pre_roll_available_seconds: None,
            mirror_state: None,
            clock_offset_ms: None,
        }
    }

    /// What is wanted of the camera now decides, whatever was last seen of it.
    fn of_camera(mut self, kernel: &Kernel, camera: &heldar_store::Camera) -> Self {
        let reason = kernel.wanted(camera).err();
        self.wanted = reason.is_none();
        self.not_wanted_reason = reason;
        let held = kernel.pre_roll_available(&camera.id);
        self.pre_roll_available_seconds = held.map(|held| held.as_secs_f64());
        if !camera.fields.enabled {
            self.state = CameraState::Disabled;
        }
        self
    }
}
