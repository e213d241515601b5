//! `GET /api/v1/cameras/{id}/coverage` and `GET /api/v1/coverage`: every microsecond of a window accounted for.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::Method;
use axum::response::Response;
use futures_util::{StreamExt as _, TryStreamExt as _};
use heldar_base::{CameraId, Capability, Interval, Micros, WallTime};
use heldar_http::{Access, ApiError, Caller, Camera, Code, Doc, Json, Limit, List, Query, RouteTable};
use heldar_timeline::{Coverage, Detail, FleetTotals, Span, State as Became, WindowError, coverage_window};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{AT_ONCE, TAG, camera, errors, page_in_object, reversed, select};
use crate::api::Api;
use crate::ledger::Depth;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/api/v1/cameras/{id}/coverage",
        Access::cam(Capability::VideoPlayback),
        one,
        Doc::new("get_coverage", TAG, "What became of every microsecond of a window of a camera.")
            .details("By default the last 24 h, at most 366 days; `to` beyond now is cut to now.")
            .query::<OneQuery>()
            .json::<CoverageView>(200, "Recorded, not wanted and missing time.")
            .fails(&[Code::WindowTooLong]),
    );
    table.add(
        Method::GET,
        "/api/v1/coverage",
        Access::filter(Capability::VideoPlayback),
        fleet,
        Doc::new("get_fleet_coverage", TAG, "Coverage of several cameras, with totals.")
            .details("Totals cover every selected camera, not only the page. A further page is announced by `Link`.")
            .query::<FleetQuery>()
            .page_in::<FleetCoverage>("Totals, and coverage by camera id.")
            .fails(&[Code::WindowTooLong, Code::BadCursor, Code::NotFound]),
    );
}

#[derive(Deserialize, IntoParams)]
struct OneQuery {
    /// By default 24 h before `to`.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<WallTime>,
    /// By default now.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<WallTime>,
    /// Adds `intervals`.
    #[serde(default)]
    detail: bool,
}

#[derive(Deserialize, IntoParams)]
struct FleetQuery {
    /// By default 24 h before `to`.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<WallTime>,
    /// By default now.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<WallTime>,
    /// Camera ids, comma-separated; by default all in scope.
    #[param(value_type = Option<String>)]
    cameras: Option<Vec<String>>,
    /// Cameras on a page, 1..5000; by default all.
    #[param(value_type = Option<u32>)]
    limit: Option<Limit<5000, 1, 5000>>,
    /// From the `Link` of the page before.
    #[serde(rename = "cursor")]
    #[param(value_type = Option<String>)]
    _cursor: Option<String>,
}

/// Seconds by reason or cause.
type Seconds = BTreeMap<&'static str, Micros>;

/// Coverage of a camera; recorded, not-wanted and missing time together are the window, exactly.
#[derive(Serialize, ToSchema)]
#[schema(as = Coverage)]
struct CoverageView {
    /// Whose.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// First instant of the window.
    #[schema(value_type = String, format = DateTime)]
    from: WallTime,
    /// First instant past it, never past now.
    #[schema(value_type = String, format = DateTime)]
    to: WallTime,
    /// Length of the window.
    #[schema(value_type = f64)]
    window_seconds: Micros,
    /// Footage that can be played now.
    #[schema(value_type = f64)]
    recorded_seconds: Micros,
    /// Time without footage that nobody wanted.
    #[schema(value_type = f64)]
    not_wanted_seconds: Micros,
    /// The same by reason.
    #[schema(value_type = BTreeMap<String, f64>)]
    not_wanted: Seconds,
    /// Time without footage that was wanted.
    #[schema(value_type = f64)]
    missing_seconds: Micros,
    /// The same by cause.
    #[schema(value_type = BTreeMap<String, f64>)]
    missing: Seconds,
    /// Missing time without `retention` and `deleted`.
    #[schema(value_type = f64)]
    lost_seconds: Micros,
    /// Longest unbroken stretch of missing time.
    #[schema(value_type = f64)]
    longest_gap_seconds: Micros,
    /// The window in order, without overlap or hole; with `detail`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    intervals: Option<Vec<CoverageInterval>>,
}

/// A stretch of a window.
#[derive(Serialize, ToSchema)]
struct CoverageInterval {
    /// First instant inside.
    #[schema(value_type = String, format = DateTime)]
    start: WallTime,
    /// First instant after.
    #[schema(value_type = String, format = DateTime)]
    end: WallTime,
    /// `recorded`, `not_wanted` or `missing`.
    kind: &'static str,
    /// The cause of missing time, the reason of not-wanted time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cause: Option<&'static str>,
}

/// Coverage of several cameras.
#[derive(Serialize, ToSchema)]
struct FleetCoverage {
    /// First instant of the window.
    #[schema(value_type = String, format = DateTime)]
    from: WallTime,
    /// First instant past it, never past now.
    #[schema(value_type = String, format = DateTime)]
    to: WallTime,
    /// Of every selected camera.
    totals: FleetTotalsView,
    /// This page, by camera id.
    cameras: Vec<CoverageView>,
}

/// Coverage of all selected cameras together.
#[derive(Serialize, ToSchema)]
#[schema(as = FleetTotals)]
struct FleetTotalsView {
    /// Cameras.
    camera_count: u64,
    /// Their windows.
    #[schema(value_type = f64)]
    window_seconds: Micros,
    /// Their footage.
    #[schema(value_type = f64)]
    recorded_seconds: Micros,
    /// Their not-wanted time.
    #[schema(value_type = f64)]
    not_wanted_seconds: Micros,
    /// Their missing time.
    #[schema(value_type = f64)]
    missing_seconds: Micros,
    /// The same by cause.
    #[schema(value_type = BTreeMap<String, f64>)]
    missing: Seconds,
    /// Missing time without `retention` and `deleted`.
    #[schema(value_type = f64)]
    lost_seconds: Micros,
}

fn view(camera: CameraId, coverage: Coverage, detail: Detail) -> CoverageView {
    CoverageView {
        camera_id: camera,
        from: coverage.window.start,
        to: coverage.window.end,
        window_seconds: coverage.window.len(),
        recorded_seconds: coverage.recorded,
        not_wanted_seconds: coverage.not_wanted_total(),
        not_wanted: coverage.not_wanted.iter().map(|(reason, time)| (reason.as_str(), *time)).collect(),
        missing_seconds: coverage.missing_total(),
        missing: coverage.missing.iter().map(|(cause, time)| (cause.as_str(), *time)).collect(),
        lost_seconds: coverage.lost(),
        longest_gap_seconds: coverage.longest_gap,
        intervals: (detail == Detail::Intervals).then(|| coverage.intervals.iter().map(interval).collect()),
    }
}

fn interval(span: &Span<Became>) -> CoverageInterval {
    let (kind, cause) = match span.value {
        Became::Recorded => ("recorded", None),
        Became::NotWanted(reason) => ("not_wanted", Some(reason.as_str())),
        Became::Missing(cause) => ("missing", Some(cause.as_str())),
    };
    CoverageInterval { start: span.interval.start, end: span.interval.end, kind, cause }
}

fn totals_view(totals: &FleetTotals) -> FleetTotalsView {
    FleetTotalsView {
        camera_count: totals.camera_count,
        window_seconds: totals.window,
        recorded_seconds: totals.recorded,
        not_wanted_seconds: totals.not_wanted,
        missing_seconds: totals.missing_total(),
        missing: totals.missing.iter().map(|(cause, time)| (cause.as_str(), *time)).collect(),
        lost_seconds: totals.lost(),
    }
}

fn window(from: Option<WallTime>, to: Option<WallTime>, now: WallTime) -> Result<Interval, ApiError> {
    coverage_window(from, to, now).map_err(|error| match error {
        WindowError::Reversed => reversed(),
        WindowError::TooLong => ApiError::new(Code::WindowTooLong, error.to_string()).with_field("from"),
    })
}

/// Coverage of a camera's default stream.
async fn coverage(
    api: &Api,
    caller: &Caller,
    camera: &heldar_store::Camera,
    window: Interval,
    now: WallTime,
    detail: Detail,
) -> Result<Coverage, ApiError> {
    let scope = caller.scope();
    let stream = api.stream_asked(scope, camera, None, window.into()).await.map_err(errors::store)?;
    let ledger = api.ledger(scope, &stream, window.into(), now, Depth::Causes).await;
    Ok(ledger.map_err(errors::store)?.coverage(&window, detail))
}

async fn one(
    State(api): State<Api>,
    caller: Caller,
    Camera(id): Camera,
    Query(query): Query<OneQuery>,
) -> Result<Json<CoverageView>, ApiError> {
    let now = heldar_base::Clock::wall(&api.clock);
    let window = window(query.from, query.to, now)?;
    let camera = camera(&api, &caller, &id).await?;
    let detail = if query.detail { Detail::Intervals } else { Detail::Sums };
    let coverage = coverage(&api, &caller, &camera, window, now, detail).await?;
    Ok(Json(view(id, coverage, detail)))
}

/// Where a further page goes on: the window of the first page, so that all pages speak of the same time, and the last
/// camera seen.
#[derive(Serialize, Deserialize)]
struct Position {
    from_us: i64,
    to_us: i64,
    camera: CameraId,
}

async fn fleet(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<FleetQuery>,
    list: List,
) -> Result<Response, ApiError> {
    let now = heldar_base::Clock::wall(&api.clock);
    let position: Option<Position> = list.position()?;
    let window = match &position {
        Some(position) => Interval::new(WallTime(position.from_us), WallTime(position.to_us)),
        None => window(query.from, query.to, now)?,
    };
    let cameras = select(&api, &caller, query.cameras).await?;
    let (api, caller) = (&api, &caller);
    let mut totals = FleetTotals::default();
    let mut page = Vec::new();
    let mut more = false;
    let limit = query.limit.map_or(usize::MAX, |limit| limit.get() as usize);
    let read = |camera: heldar_store::Camera| async move {
        let coverage = coverage(api, caller, &camera, window, now, Detail::Sums).await?;
        Ok::<_, ApiError>((camera.id, coverage))
    };
    let mut all = futures_util::stream::iter(cameras).map(read).buffered(AT_ONCE);
    while let Some((id, coverage)) = all.try_next().await? {
        totals.add(&coverage);
        if position.as_ref().is_some_and(|seen| id <= seen.camera) {
            continue;
        }
        if page.len() < limit {
            page.push(view(id, coverage, Detail::Sums));
        } else {
            more = true;
        }
    }
    let next = page.last().filter(|_| more).map(|last| Position {
        from_us: window.start.0,
        to_us: window.end.0,
        camera: last.camera_id.clone(),
    });
    let body =
        FleetCoverage { from: window.start, to: window.end, totals: totals_view(&totals), cameras: page };
    Ok(page_in_object(&list, body, next))
}
