//! `GET /api/v1/cameras/{id}/recording-gaps`: the rows of holes over three seconds.

use axum::extract::State;
use axum::http::Method;
use heldar_base::{CameraId, Capability, Cause, PublicId, WallTime};
use heldar_http::{Access, ApiError, Caller, Camera, Doc, Limit, List, Page, Query, RouteTable};
use heldar_store::{FillState, Gap, GapCursor, GapFilter};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{TAG, bad_parameter, bounds, camera, errors};
use crate::api::Api;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/api/v1/cameras/{id}/recording-gaps",
        Access::cam(Capability::VideoPlayback),
        recording_gaps,
        Doc::new("list_recording_gaps", TAG, "Recorded gaps of a camera, newest first.")
            .details("One row for each hole over 3 s in wanted time, from the moment it passes 3 s.")
            .query::<RowsQuery>()
            .page::<RecordingGap>("Recorded gaps."),
    );
}

#[derive(Deserialize, IntoParams)]
struct RowsQuery {
    /// `pending`, `filled` or `failed`.
    #[param(value_type = Option<String>)]
    state: Option<FillState>,
    /// Exactly this cause.
    cause: Option<String>,
    /// Gaps that end after this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<WallTime>,
    /// Gaps that begin before this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<WallTime>,
    #[serde(default)]
    #[param(inline)]
    limit: Limit<500, 1, 5000>,
    /// From the `Link` of the page before.
    #[serde(rename = "cursor")]
    #[param(value_type = Option<String>)]
    _cursor: Option<String>,
}

/// Wanted time that was not recorded, or is no longer there.
#[derive(Serialize, ToSchema)]
struct RecordingGap {
    /// `gap_` and 32 hexadecimal digits.
    #[schema(value_type = String)]
    id: PublicId,
    /// Whose.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// First instant missing.
    #[schema(value_type = String, format = DateTime)]
    gap_start: WallTime,
    /// First instant after; of an open gap: now.
    #[schema(value_type = String, format = DateTime)]
    gap_end: WallTime,
    /// Whole seconds of its length.
    gap_seconds: i64,
    /// How far its refill from the device has come.
    #[schema(value_type = String)]
    fill_state: FillState,
    /// Attempts to refill it.
    fill_attempts: u32,
    /// The last of them.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_attempt_at: Option<WallTime>,
    /// When it was filled.
    #[schema(value_type = Option<String>, format = DateTime)]
    filled_at: Option<WallTime>,
    /// When the row was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// Pictures have not returned yet.
    open: bool,
    /// The reason that held longest.
    cause: &'static str,
    /// What is known beyond the cause.
    detail: Option<String>,
    /// The last error, masked.
    last_error: Option<String>,
}

impl From<Gap> for RecordingGap {
    fn from(gap: Gap) -> Self {
        RecordingGap {
            id: gap.id,
            camera_id: gap.camera,
            gap_start: gap.start,
            gap_end: gap.end,
            gap_seconds: (gap.end - gap.start).0 / 1_000_000,
            fill_state: gap.fill_state,
            fill_attempts: gap.fill_attempts,
            last_attempt_at: gap.last_attempt_at,
            filled_at: gap.filled_at,
            created_at: gap.created_at,
            open: gap.open,
            cause: gap.cause.as_str(),
            detail: gap.detail,
            last_error: gap.last_error,
        }
    }
}

async fn recording_gaps(
    State(api): State<Api>,
    caller: Caller,
    Camera(id): Camera,
    Query(query): Query<RowsQuery>,
    list: List,
) -> Result<Page<RecordingGap>, ApiError> {
    let cause = query.cause.map(|text| {
        text.parse::<Cause>().map_err(|()| bad_parameter("cause", "`cause` is not the name of a cause"))
    });
    let which = GapFilter {
        fill_state: query.state,
        cause: cause.transpose()?,
        range: bounds(query.from, query.to)?,
    };
    let position: Option<GapCursor> = list.position()?;
    camera(&api, &caller, &id).await?;
    let now = heldar_base::Clock::wall(&api.clock);
    let (rows, next) = api
        .gap_page(caller.scope(), &id, &which, position.as_ref(), query.limit.get(), now)
        .await
        .map_err(errors::store)?;
    Ok(list.page(rows.into_iter().map(RecordingGap::from).collect(), next))
}
