//! `GET /api/v1/cameras/{id}/timeline` and `/gaps`: ranges of footage, and the holes between them.

use axum::extract::State;
use axum::http::Method;
use heldar_base::{CameraId, Capability, Interval, Micros, StreamKind, WallTime};
use heldar_http::{Access, ApiError, Caller, Camera, Doc, Json, Limit, Query, RouteTable};
use heldar_timeline::{Bounds, NotWantedTime};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{TAG, bounds, camera, errors};
use crate::api::Api;
use crate::ledger::Depth;

/// Milliseconds that are bridged: 2000 by default, at most a minute.
type Tolerance = Limit<2000, 0, 60_000>;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    let access = Access::cam(Capability::VideoPlayback);
    table.add(
        Method::GET,
        "/api/v1/cameras/{id}/timeline",
        access,
        timeline,
        Doc::new("get_timeline", TAG, "Ranges of footage of a camera.")
            .details("Ranges merge across holes of at most the tolerance and are not clipped to the query.")
            .query::<TimelineQuery>()
            .json::<Timeline>(200, "Ranges of footage."),
    );
    table.add(
        Method::GET,
        "/api/v1/cameras/{id}/gaps",
        access,
        gaps,
        Doc::new("get_gaps", TAG, "Holes in the footage of a camera that are longer than the tolerance.")
            .details(
                "Edge holes only for a bound that was given; without any footage one hole, only with both bounds. Time after \
                 now is never a hole.",
            )
            .query::<GapsQuery>()
            .json::<Gaps>(200, "Holes with their causes."),
    );
}

#[derive(Deserialize, IntoParams)]
struct TimelineQuery {
    /// Footage that ends after this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<WallTime>,
    /// Footage that begins before this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<WallTime>,
    /// `main` or `sub`; by default the one that `record_stream` names, else what exists.
    #[param(value_type = Option<String>)]
    stream: Option<StreamKind>,
    #[serde(default)]
    #[param(inline)]
    tolerance_ms: Tolerance,
}

#[derive(Deserialize, IntoParams)]
struct GapsQuery {
    /// First instant asked about.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<WallTime>,
    /// First instant past it.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<WallTime>,
    #[serde(default)]
    #[param(inline)]
    tolerance_ms: Tolerance,
    /// `not_wanted`: lists time that nobody wanted, too.
    #[param(value_type = Option<String>)]
    include: Option<Include>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Include {
    NotWanted,
}

/// Ranges of footage.
#[derive(Serialize, ToSchema)]
struct Timeline {
    /// Whose.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// As asked.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<WallTime>,
    /// As asked.
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<WallTime>,
    /// In order, not clipped to the query.
    ranges: Vec<FootageRange>,
    /// Sum of the ranges.
    #[schema(value_type = f64)]
    recorded_seconds: Micros,
    /// Segments that overlap the query.
    segment_count: u64,
    /// The last range is growing.
    open: bool,
}

/// A range of footage.
#[derive(Serialize, ToSchema)]
struct FootageRange {
    /// First instant.
    #[schema(value_type = String, format = DateTime)]
    start: WallTime,
    /// First instant after.
    #[schema(value_type = String, format = DateTime)]
    end: WallTime,
    /// Its length.
    #[schema(value_type = f64)]
    seconds: Micros,
}

/// Holes in footage.
#[derive(Serialize, ToSchema)]
struct Gaps {
    /// Whose.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// As asked.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<WallTime>,
    /// As asked.
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<WallTime>,
    /// In order.
    gaps: Vec<FootageGap>,
    /// Number of holes listed.
    gap_count: usize,
    /// Sum of the holes listed.
    #[schema(value_type = f64)]
    total_gap_seconds: Micros,
}

/// A hole in footage.
#[derive(Serialize, ToSchema)]
struct FootageGap {
    /// First instant without.
    #[schema(value_type = String, format = DateTime)]
    start: WallTime,
    /// First instant with footage again, or not asked about.
    #[schema(value_type = String, format = DateTime)]
    end: WallTime,
    /// Its length.
    #[schema(value_type = f64)]
    seconds: Micros,
    /// Why; `not_wanted` where nobody wanted footage.
    cause: &'static str,
}

fn tolerance(query: Tolerance) -> Micros {
    Micros::from_millis(i64::from(query.get()))
}

async fn timeline(
    State(api): State<Api>,
    caller: Caller,
    Camera(id): Camera,
    Query(query): Query<TimelineQuery>,
) -> Result<Json<Timeline>, ApiError> {
    let range = bounds(query.from, query.to)?;
    let camera = camera(&api, &caller, &id).await?;
    let stream = api.stream_asked(caller.scope(), &camera, query.stream, range).await;
    let stream = stream.map_err(errors::store)?;
    let now = heldar_base::Clock::wall(&api.clock);
    let ledger = api.ledger(caller.scope(), &stream, range, now, Depth::Footage).await;
    let ledger = ledger.map_err(errors::store)?;
    // An instant is asked about as the microsecond after it; the segments are those that it lies in.
    let to = range.to.map(|to| if range.from == Some(to) { to + Micros(1) } else { to });
    let found = ledger.timeline(Bounds { from: range.from, to }, tolerance(query.tolerance_ms));
    let view = |range: &Interval| FootageRange { start: range.start, end: range.end, seconds: range.len() };
    Ok(Json(Timeline {
        camera_id: id,
        from: range.from,
        to: range.to,
        ranges: found.ranges.iter().map(view).collect(),
        recorded_seconds: found.recorded,
        segment_count: found.segment_count,
        open: found.open && !found.ranges.is_empty(),
    }))
}

async fn gaps(
    State(api): State<Api>,
    caller: Caller,
    Camera(id): Camera,
    Query(query): Query<GapsQuery>,
) -> Result<Json<Gaps>, ApiError> {
    let range = bounds(query.from, query.to)?;
    let camera = camera(&api, &caller, &id).await?;
    let stream = api.stream_asked(caller.scope(), &camera, None, range).await.map_err(errors::store)?;
    let now = heldar_base::Clock::wall(&api.clock);
    let ledger = api.ledger(caller.scope(), &stream, range, now, Depth::Causes).await;
    let not_wanted = match query.include {
        Some(Include::NotWanted) => NotWantedTime::Listed,
        None => NotWantedTime::LeftOut,
    };
    let bounds = Bounds { from: range.from, to: range.to };
    let holes = ledger.map_err(errors::store)?.gaps(bounds, tolerance(query.tolerance_ms), not_wanted);
    Ok(Json(Gaps {
        camera_id: id,
        from: range.from,
        to: range.to,
        gap_count: holes.len(),
        total_gap_seconds: holes.iter().map(|hole| hole.interval.len()).sum(),
        gaps: holes
            .iter()
            .map(|hole| FootageGap {
                start: hole.interval.start,
                end: hole.interval.end,
                seconds: hole.interval.len(),
                cause: hole.cause.as_str(),
            })
            .collect(),
    }))
}
