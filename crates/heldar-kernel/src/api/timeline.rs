//! `GET /api/v1/timeline`: several cameras on one timeline (media.md 8.5).

use axum::extract::State;
use axum::http::Method;
use futures_util::{StreamExt as _, TryStreamExt as _};
use heldar_base::{CameraId, Capability, Interval, Micros, WallTime};
use heldar_http::{Access, ApiError, Caller, Code, Doc, Json, Query, RouteTable};
use heldar_timeline::{Grid, Resolution, exact};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::footage::{AT_ONCE, CausedInterval, TAG, bad_parameter, select};
use super::{Api, errors};
use crate::ledger::Depth;

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/api/v1/timeline",
        Access::filter(Capability::VideoPlayback),
        timeline,
        Doc::new("get_multi_timeline", TAG, "Footage of several cameras in buckets of equal length.")
            .details(
                "At most 5000 buckets a camera and 500 000 in all. With resolution 0 exact ranges and gaps, clipped to the \
                 window. `events` is there for callers that may read events.",
            )
            .query::<TimelineQuery>()
            .json::<MultiTimeline>(200, "Shares of each bucket, by camera id.")
            .fails(&[Code::Validation, Code::NotFound]),
    );
}

#[derive(Deserialize, IntoParams)]
struct TimelineQuery {
    /// First instant of the window.
    #[param(value_type = String, format = DateTime)]
    from: WallTime,
    /// First instant past it.
    #[param(value_type = String, format = DateTime)]
    to: WallTime,
    /// Camera ids, comma-separated; by default all in scope.
    #[param(value_type = Option<String>)]
    cameras: Option<Vec<String>>,
    /// Seconds per bucket, `auto` (about 1000 buckets) or `0` (exact ranges).
    resolution: Option<String>,
}

/// Several cameras on one timeline.
#[derive(Serialize, ToSchema)]
struct MultiTimeline {
    /// As asked.
    #[schema(value_type = String, format = DateTime)]
    from: WallTime,
    /// As asked.
    #[schema(value_type = String, format = DateTime)]
    to: WallTime,
    /// Length of a bucket; 0 for exact ranges.
    #[schema(value_type = f64)]
    resolution_seconds: Micros,
    /// Number of buckets.
    bucket_count: usize,
    /// By camera id.
    cameras: Vec<CameraTimeline>,
}

/// One camera on the timeline.
#[derive(Serialize, ToSchema)]
struct CameraTimeline {
    /// Which.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// Share of each bucket with footage, 0 to 1; above 0 for any footage.
    recorded: Vec<f64>,
    /// Share of each bucket that is missing; what is left was not wanted or lies ahead.
    missing: Vec<f64>,
    /// Events in each bucket; for callers that may read events.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    events: Option<Vec<i64>>,
    /// Share of each bucket in which something moved, 0 to 1; for callers that may read events.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    motion: Option<Vec<f64>>,
    /// When something moved; with resolution 0, for callers that may read events.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    motion_ranges: Option<Vec<ClippedRange>>,
    /// Ranges of footage; with resolution 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ranges: Option<Vec<ClippedRange>>,
    /// Missing time; with resolution 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    gaps: Option<Vec<CausedInterval>>,
}

/// A range of time inside the window.
#[derive(Serialize, ToSchema)]
struct ClippedRange {
    /// First instant.
    #[schema(value_type = String, format = DateTime)]
    start: WallTime,
    /// First instant after.
    #[schema(value_type = String, format = DateTime)]
    end: WallTime,
}

/// How a window is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Exactly,
    In(Resolution),
}

impl Shown {
    /// Reads `auto`, `0`, or seconds with at most six decimals.
    fn parse(text: &str) -> Result<Self, ApiError> {
        let bad =
            || bad_parameter("resolution", "`resolution` is `auto`, 0, or seconds with at most 6 decimals");
        if text.is_empty() || text == "auto" {
            return Ok(Shown::In(Resolution::Auto));
        }
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 6 {
            return Err(bad());
        }
        let seconds: i64 = whole.parse().map_err(|_| bad())?;
        let fraction: i64 = format!("{decimals:0<6}").parse().map_err(|_| bad())?;
        Ok(match Micros::from_secs(seconds) + Micros(fraction) {
            Micros::ZERO => Shown::Exactly,
            step => Shown::In(Resolution::Step(step)),
        })
    }
}

async fn timeline(
    State(api): State<Api>,
    caller: Caller,
    Query(query): Query<TimelineQuery>,
) -> Result<Json<MultiTimeline>, ApiError> {
    let shown = Shown::parse(query.resolution.as_deref().unwrap_or("auto"))?;
    if query.to <= query.from {
        return Err(ApiError::validation("to", "`to` must lie after `from`"));
    }
    let window = Interval::new(query.from, query.to);
    let cameras = select(&api, &caller, query.cameras).await?;
    let grid = match shown {
        Shown::Exactly => None,
        Shown::In(resolution) => {
            let grid = Grid::new(window, resolution, cameras.len() as u64);
            Some(grid.map_err(|error| ApiError::validation("resolution", error.to_string()))?)
        }
    };
    let now = heldar_base::Clock::wall(&api.clock);
    let (api, caller) = (&api, &caller);
    let read = |camera: heldar_store::Camera| one(api, caller, camera, window, grid, now);
    let cameras = futures_util::stream::iter(cameras).map(read).buffered(AT_ONCE).try_collect().await?;
    Ok(Json(MultiTimeline {
        from: query.from,
        to: query.to,
        resolution_seconds: grid.map_or(Micros::ZERO, |grid| grid.step()),
        bucket_count: grid.map_or(0, |grid| grid.count()),
        cameras,
    }))
}

async fn one(
    api: &Api,
    caller: &Caller,
    camera: heldar_store::Camera,
    window: Interval,
    grid: Option<Grid>,
    now: WallTime,
) -> Result<CameraTimeline, ApiError> {
    let scope = caller.scope();
    let stream = api.stream_asked(scope, &camera, None, window.into()).await.map_err(errors::store)?;
    let ledger = api.ledger(scope, &stream, window.into(), now, Depth::Causes).await;
    let states = ledger.map_err(errors::store)?.paint(&window);
    let (events, moved) = if caller.principal().can(Capability::EventsRead) {
        let events = events(api, caller, &camera.id, grid).await?;
        (Some(events), Some(motion(api, caller, &camera.id, window).await?))
    } else {
        (None, None)
    };
    let (motion, motion_ranges) = match (grid, moved) {
        (_, None) => (None, None),
        (Some(grid), Some(moved)) => (Some(shares(grid, &moved)), None),
        (None, Some(moved)) => {
            let clipped = moved.iter().map(|span| ClippedRange { start: span.start, end: span.end });
            (Some(Vec::new()), Some(clipped.collect()))
        }
    };
    let mut view = CameraTimeline {
        camera_id: camera.id,
        recorded: Vec::new(),
        missing: Vec::new(),
        events,
        motion,
        motion_ranges,
        ranges: None,
        gaps: None,
    };
    match grid {
        Some(grid) => {
            let buckets = grid.fill(&states);
            view.recorded = buckets.recorded_shares().collect();
            view.missing = buckets.missing_shares().collect();
        }
        None => {
            let (ranges, gaps) = exact(&states);
            let clipped = |range: &Interval| ClippedRange { start: range.start, end: range.end };
            view.ranges = Some(ranges.iter().map(clipped).collect());
            let caused = |(gap, cause): &(Interval, heldar_base::Cause)| CausedInterval {
                start: gap.start,
                end: gap.end,
                cause: cause.as_str(),
            };
            view.gaps = Some(gaps.iter().map(caused).collect());
        }
    }
    Ok(view)
}

/// Events of a camera in each bucket; without buckets none.
async fn events(
    api: &Api,
    caller: &Caller,
    camera: &CameraId,
    grid: Option<Grid>,
) -> Result<Vec<i64>, ApiError> {
    let Some(grid) = grid else { return Ok(Vec::new()) };
    let counts = api.store.event_counts(caller.scope(), Some(camera), grid.window(), grid.step()).await;
    let mut events = vec![0; grid.count()];
    for count in counts.map_err(errors::store)? {
        let bucket = usize::try_from(count.bucket).ok().and_then(|bucket| events.get_mut(bucket));
        if let Some(bucket) = bucket {
            *bucket = count.count;
        }
    }
    Ok(events)
}

/// When something moved within a window, clipped to it.
async fn motion(
    api: &Api,
    caller: &Caller,
    camera: &CameraId,
    window: Interval,
) -> Result<Vec<Interval>, ApiError> {
    const PAGE: u32 = 5000;
    let (mut spans, mut after) = (Vec::new(), None);
    loop {
        let page = api.store.motion_spans(caller.scope(), camera, window.into(), after, PAGE).await;
        let page = page.map_err(errors::store)?;
        spans.extend(page.rows.iter().filter_map(|row| row.span.intersect(&window)));
        after = page.next;
        if after.is_none() {
            return Ok(spans);
        }
    }
}

/// Share of each bucket that spans in order, which do not overlap, cover.
fn shares(grid: Grid, spans: &[Interval]) -> Vec<f64> {
    let mut covered = vec![Micros::ZERO; grid.count()];
    for span in spans {
        let Some(first) = grid.index(span.start) else { continue };
        for (index, sum) in covered.iter_mut().enumerate().skip(first) {
            match grid.bucket(index).intersect(span) {
                Some(part) => *sum += part.len(),
                None => break,
            }
        }
    }
    let share = |(index, sum): (usize, &Micros)| {
        sum.as_secs_f64() / grid.bucket(index).len().as_secs_f64().max(f64::MIN_POSITIVE)
    };
    covered.iter().enumerate().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn motion_is_shared_out_to_buckets() {
        let at = |seconds: i64| WallTime(seconds * 1_000_000);
        let step = Resolution::Step(Micros::from_secs(10));
        let grid = Grid::new(Interval::new(at(0), at(35)), step, 1).unwrap();
        let spans =
            [Interval::new(at(0), at(1)), Interval::new(at(5), at(25)), Interval::new(at(34), at(35))];
        assert_eq!(shares(grid, &spans), [0.6, 1.0, 0.5, 0.2]);
        assert_eq!(shares(grid, &[]), [0.0; 4]);
    }

    fn check(text: &str, expect: Option<Shown>) {
        assert_eq!(Shown::parse(text).ok(), expect, "{text}");
    }

    #[test]
    fn resolutions() {
        let step = |micros| Some(Shown::In(Resolution::Step(Micros(micros))));
        check("auto", Some(Shown::In(Resolution::Auto)));
        check("", Some(Shown::In(Resolution::Auto)));
        check("0", Some(Shown::Exactly));
        check("0.000000", Some(Shown::Exactly));
        check("60", step(60_000_000));
        check("0.5", step(500_000));
        check("1.000001", step(1_000_001));
        check("99999999999999", step(i64::MAX));
        for text in
            ["-1", "+1", "1e3", ".5", "5.", "1.0000001", "NaN", "inf", " 5", "99999999999999999999", "x"]
        {
            check(text, None);
        }
    }
}
