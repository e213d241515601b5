//! Who watches now, and the end of a viewer.

use axum::extract::State;
use axum::http::{Method, StatusCode};
use heldar_base::{CameraId, Capability, Clock as _, PublicId, WallTime};
use heldar_http::{Access, ApiError, Doc, Json, Path, RouteTable};
use heldar_live::{Cut, ViewerInfo};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::api::Api;
use crate::api::requester::Requester;
use crate::registry::Target;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table
        .add(
            Method::GET,
            "/api/v1/live/sessions",
            Access::fleet(Capability::SystemRead),
            list,
            Doc::new("listLiveSessions", "live", "Who watches now").list::<LiveSession>(200, "By id."),
        )
        .add(
            Method::DELETE,
            "/api/v1/live/sessions/{session_id}",
            Access::fleet(Capability::RegistryManage),
            end,
            Doc::new("closeLiveSession", "live", "Cut a viewer off").empty(204, "It is cut off."),
        );
}

/// One who watches.
#[derive(Serialize, ToSchema)]
struct LiveSession {
    /// Names the viewer.
    #[schema(value_type = String)]
    id: PublicId,
    /// Whose pictures.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// `main` or `sub`.
    stream: &'static str,
    /// `whep`, `ws`, `hls` or `rtsp`.
    transport: &'static str,
    /// Who.
    principal: String,
    /// From where.
    remote_addr: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    started_at: WallTime,
    /// Bytes sent.
    bytes_sent: u64,
    /// Pictures left out because the viewer was too slow.
    dropped: u64,
    /// Coding of the sound that goes along, or `none`.
    audio: &'static str,
}

impl From<ViewerInfo> for LiveSession {
    fn from(viewer: ViewerInfo) -> Self {
        let ViewerInfo { newcomer, bytes_sent, dropped, audio } = viewer;
        LiveSession {
            id: newcomer.id,
            camera_id: newcomer.stream.camera,
            stream: newcomer.stream.kind.as_str(),
            transport: newcomer.transport.as_str(),
            principal: newcomer.principal,
            remote_addr: newcomer.remote.to_string(),
            started_at: newcomer.at,
            bytes_sent,
            dropped,
            audio: audio.unwrap_or("none"),
        }
    }
}

async fn list(State(kernel): State<Api>) -> Json<Vec<LiveSession>> {
    Json(kernel.watching.viewers.list().into_iter().map(LiveSession::from).collect())
}

async fn end(
    State(kernel): State<Api>,
    Requester { author, .. }: Requester,
    Path(session_id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id = PublicId::parse("lvs", &session_id).ok();
    let viewer = id.and_then(|id| kernel.watching.viewers.cut(id, Cut::Ended));
    let viewer = viewer.ok_or_else(|| ApiError::not_found("live session"))?;
    let target = Target { kind: "camera", id: viewer.stream.camera.as_str() };
    let detail = json!({ "session_id": session_id, "transport": viewer.transport.as_str() });
    kernel.audit(author.did(kernel.clock.wall(), "close_live_session", target, detail));
    Ok(StatusCode::NO_CONTENT)
}
