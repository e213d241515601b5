//! `GET /api/v1/cameras/{id}/segments`.

use axum::extract::State;
use axum::http::Method;
use heldar_base::{CameraId, Capability, Micros, SegmentId, StreamKind, WallTime};
use heldar_http::{Access, ApiError, Caller, Camera, Doc, Limit, List, Page, Query, RouteTable};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{CausedInterval, TAG, bounds, camera, errors};
use crate::api::Api;
use crate::footage::SegmentInfo;
use crate::retention::leases::Leases;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/api/v1/cameras/{id}/segments",
        Access::cam(Capability::VideoPlayback),
        segments,
        Doc::new("list_segments", TAG, "Segments of a camera, ascending by start.")
            .details(
                "With a bound: those that overlap it, oldest first, pages going forward. Without: the newest, each page \
                 ascending, pages going back in time.",
            )
            .query::<SegmentsQuery>()
            .page::<SegmentView>("Segments."),
    );
}

#[derive(Deserialize, IntoParams)]
struct SegmentsQuery {
    /// Segments that end after this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<WallTime>,
    /// Segments that begin before this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<WallTime>,
    /// `main` or `sub`; by default the one that `record_stream` names, else what exists.
    #[param(value_type = Option<String>)]
    stream: Option<StreamKind>,
    #[serde(default)]
    #[param(inline)]
    limit: Limit<500, 1, 5000>,
    /// From the `Link` of the page before.
    #[serde(rename = "cursor")]
    #[param(value_type = Option<String>)]
    _cursor: Option<String>,
}

/// A segment.
#[derive(Serialize, ToSchema)]
pub(super) struct SegmentView {
    /// `seg_` and 32 hexadecimal digits.
    #[schema(value_type = String)]
    id: SegmentId,
    /// Whose.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// Its file, relative to the recordings root.
    path: String,
    /// First instant.
    #[schema(value_type = String, format = DateTime)]
    start_time: WallTime,
    /// End of the last picture; of an open segment, of its last whole fragment.
    #[schema(value_type = String, format = DateTime)]
    end_time: WallTime,
    /// The span in seconds, holes included.
    #[schema(value_type = f64)]
    duration_s: Micros,
    /// `h264`, `hevc` or `av1`.
    codec: Option<String>,
    /// Displayed width in pixels.
    width: Option<u32>,
    /// Displayed height in pixels.
    height: Option<u32>,
    /// Size of its file; of an open segment, up to its last whole fragment.
    size_bytes: u64,
    /// Always `mp4`.
    container: &'static str,
    /// A running job reads it.
    locked: bool,
    /// Held as evidence.
    evidence_locked: bool,
    /// The incident that it is tagged with.
    incident_id: Option<String>,
    /// When it was first indexed.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// Where its bytes are served.
    url: String,
    /// Its file is still growing.
    open: bool,
    /// `main` or `sub`.
    #[schema(value_type = String)]
    stream: StreamKind,
    /// RFC 6381 string of the video track.
    codec_string: Option<String>,
    /// `aac` or `opus`; null without an audio track.
    audio_codec: Option<String>,
    /// `live`: recorded from the camera's stream.
    source: &'static str,
    /// Holds that cover it.
    hold_ids: Vec<String>,
    /// Stretches inside without pictures.
    holes: Vec<CausedInterval>,
    /// Its pictures up to the next sync sample need the segment before it.
    dependent: bool,
}

impl SegmentView {
    fn of(segment: SegmentInfo, leases: &Leases) -> Self {
        let hole = |hole: &heldar_store::Hole| CausedInterval {
            start: hole.start,
            end: hole.end,
            cause: hole.cause.as_str(),
        };
        SegmentView {
            id: segment.id,
            path: segment.name.relative_path(),
            url: format!("/media/recordings/{}/{}", segment.stream.camera, segment.name.file_name()),
            start_time: segment.start(),
            end_time: segment.end,
            duration_s: segment.interval().len(),
            codec: Some(segment.params.codec.clone()),
            width: Some(segment.params.width),
            height: Some(segment.params.height),
            size_bytes: segment.size_bytes,
            container: "mp4",
            locked: leases.is_leased(segment.id),
            // Nothing is held as evidence.
            evidence_locked: false,
            incident_id: None,
            created_at: segment.created_at,
            open: segment.open,
            stream: segment.stream.kind,
            codec_string: Some(segment.params.codec_string.clone()),
            audio_codec: segment.params.audio.as_ref().map(|audio| audio.codec.clone()),
            source: "live",
            hold_ids: Vec::new(),
            holes: segment.holes.iter().map(hole).collect(),
            dependent: segment.dependent,
            camera_id: segment.stream.camera,
        }
    }
}

async fn segments(
    State(api): State<Api>,
    caller: Caller,
    Camera(id): Camera,
    Query(query): Query<SegmentsQuery>,
    list: List,
) -> Result<Page<SegmentView>, ApiError> {
    let range = bounds(query.from, query.to)?;
    let position = list.position::<i64>()?.map(WallTime);
    let camera = camera(&api, &caller, &id).await?;
    let (scope, limit) = (caller.scope(), query.limit.get());
    let stream = api.stream_asked(scope, &camera, query.stream, range).await.map_err(errors::store)?;
    let (rows, next) = if range.from.is_none() && range.to.is_none() {
        api.segment_page_back(scope, &stream, position, limit).await
    } else {
        api.segment_page(scope, &stream, range, position, limit).await
    }
    .map_err(errors::store)?;
    let view = |segment| SegmentView::of(segment, &api.retention.leases);
    Ok(list.page(rows.into_iter().map(view).collect(), next.map(|at| at.0)))
}
