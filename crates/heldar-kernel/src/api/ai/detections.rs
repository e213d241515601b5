//! Stored detections, and events of apps (perception.md 11.1, 11.4).

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::{Method, StatusCode};
use heldar_base::{CameraId, Capability, Clock as _, Micros, PublicId, WallTime};
use heldar_http::{Access, ApiError, Caller, Camera, Code, Doc, Json, Limit, List, Page, Query, RouteTable};
use heldar_perception::batch::check_event_type;
use heldar_perception::task::MODE_LIVE;
use heldar_store::op::{AppendEvents, Outcome, WriteOp};
use heldar_store::{
    AiTask, DetectionCursor, DetectionFilter, DetectionOrder, NewEvent, Severity, Share, StoreError,
    TimeRange,
};
use heldar_zones::Area;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::TAG;
use crate::api::events::{Event, Order};
use crate::api::{Api, errors, words, zones};
use crate::apps::attributes;
use crate::engine::journal::uuid;
use crate::modes::Source;
use crate::zones::of_row;

/// Detections that are read at once where each is looked at.
const LOOK: u32 = 1000;
/// Detections that are looked at for one page.
const LOOKED_AT: usize = 20_000;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/api/v1/cameras/{id}/detections",
        Access::cam(Capability::EventsRead),
        of_camera,
        Doc::new("listCameraDetections", TAG, "Detections of a camera")
            .query::<OfCamera>()
            .page::<Detection>("By time, the newest first unless asked otherwise.")
            .fails(&[Code::NotFound, Code::Validation, Code::BadCursor]),
    );
    table.add(
        Method::GET,
        "/api/v1/detections",
        Access::filter(Capability::EventsRead),
        across,
        Doc::new("listDetections", TAG, "Detections of several cameras")
            .query::<Across>()
            .page::<Detection>("By time, the newest first.")
            .fails(&[Code::NotFound, Code::Validation, Code::BadCursor]),
    );
    table.add(
        Method::POST,
        "/api/v1/events",
        Access::body(Capability::AiIngest),
        raise,
        Doc::new("createEvent", "events", "Raise an event of an app")
            .details("Answered after the commit. Types of the server's own, and their prefixes, are refused.")
            .body::<NewAppEvent>()
            .json::<Event>(201, "The event.")
            .fails(&[Code::NotFound]),
    );
}

/// Something that was seen.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Detection {
    /// `det_` and 32 hexadecimal digits.
    #[schema(value_type = String)]
    id: PublicId,
    /// Where.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// What was asked.
    task_type: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    timestamp: WallTime,
    /// What it is.
    label: Option<String>,
    /// How sure the worker is, 0 to 1.
    confidence: Option<f64>,
    /// Where it is: x, y, width, height in shares of the picture.
    #[schema(value_type = Option<Vec<f64>>)]
    bbox: Option<[f64; 4]>,
    /// Names the same thing in other pictures.
    track_id: Option<String>,
    /// Where it comes from, as `source` and `_prov`, and what the worker said beside.
    #[schema(value_type = Object)]
    attributes: Value,
    /// Name of the picture, with its namespace.
    frame_id: Option<String>,
    /// When it was stored.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// The batch that it came with.
    #[schema(value_type = String)]
    batch_id: PublicId,
    /// The task, where one was named.
    #[schema(value_type = Option<String>)]
    task_id: Option<PublicId>,
    /// Whether camera, type, frame and time come from a frame ticket.
    ticketed: bool,
}

impl From<heldar_store::Detection> for Detection {
    fn from(row: heldar_store::Detection) -> Self {
        let heldar_store::Detection { id, detection, batch } = row;
        Detection {
            id: id.public(),
            attributes: attributes(batch.producer.as_ref(), batch.task, detection.attributes.as_deref())
                .value(),
            camera_id: batch.camera.clone(),
            task_type: batch.task_type.clone(),
            timestamp: detection.timestamp,
            label: detection.label,
            confidence: detection.confidence.map(Share::value),
            bbox: detection.bbox.map(heldar_store::DetectionBox::values),
            track_id: detection.track_id,
            frame_id: batch.frame_id.clone(),
            created_at: batch.created_at,
            batch_id: batch.id(),
            task_id: batch.task,
            ticketed: batch.ticketed,
        }
    }
}

/// Which detections of a camera.
#[derive(Deserialize, IntoParams)]
struct OfCamera {
    /// Seen at or after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<WallTime>,
    /// Seen at or before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<WallTime>,
    /// Of exactly this label.
    label: Option<String>,
    /// Of exactly this track.
    track_id: Option<String>,
    /// Of exactly this type of task.
    task_type: Option<String>,
    /// Of this task.
    task_id: Option<String>,
    /// Of this picture, with or without namespace.
    frame_id: Option<String>,
    /// At least so sure, 0 to 1.
    min_confidence: Option<f64>,
    /// `desc` or `asc`.
    #[serde(default)]
    #[param(inline, required = false)]
    order: Order,
    /// `live`.
    mode: Option<String>,
    /// Longest page.
    #[serde(default)]
    #[param(inline)]
    limit: Limit<200, 1, 5000>,
    /// Where the page begins.
    #[serde(rename = "cursor")]
    _cursor: Option<String>,
}

/// Which detections, of which cameras.
#[derive(Deserialize, IntoParams)]
struct Across {
    /// Camera ids, comma-separated; by default all in scope.
    #[param(value_type = Option<String>)]
    cameras: Option<Vec<String>>,
    /// Seen at or after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<WallTime>,
    /// Seen at or before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<WallTime>,
    /// Of exactly this label.
    label: Option<String>,
    /// Of exactly this track.
    track_id: Option<String>,
    /// Of exactly this type of task.
    task_type: Option<String>,
    /// Inside this zone as it is now, by its anchor. A line encloses nothing.
    zone_id: Option<String>,
    /// At least so sure, 0 to 1.
    min_confidence: Option<f64>,
    /// Longest page.
    #[serde(default)]
    #[param(inline)]
    limit: Limit<200, 1, 5000>,
    /// Where the page begins.
    #[serde(rename = "cursor")]
    _cursor: Option<String>,
}

/// Both bounds are inside; the store's end is the first instant after.
fn bounds(from: Option<WallTime>, to: Option<WallTime>) -> TimeRange {
    TimeRange { from, to: to.map(|to| to + Micros(1)) }
}

fn least(confidence: Option<f64>) -> Result<Option<Share>, ApiError> {
    let share = |value| {
        Share::new(value)
            .ok_or_else(|| ApiError::validation("min_confidence", "`min_confidence` must be 0 to 1"))
    };
    confidence.map(share).transpose()
}

async fn page(
    kernel: &Api,
    caller: &Caller,
    list: &List,
    which: DetectionFilter,
    limit: u32,
) -> Result<Page<Detection>, ApiError> {
    let after: Option<DetectionCursor> = list.position()?;
    let page = kernel.store.detections(caller.scope(), &which, after, limit).await.map_err(errors::store)?;
    Ok(list.page(page.rows.into_iter().map(Detection::from).collect(), page.next))
}

async fn of_camera(
    State(kernel): State<Api>,
    caller: Caller,
    Camera(id): Camera,
    Query(query): Query<OfCamera>,
    list: List,
) -> Result<Page<Detection>, ApiError> {
    if query.mode.is_some_and(|mode| mode != MODE_LIVE) {
        return Err(ApiError::validation("mode", "`mode` must be `live`"));
    }
    let min_confidence = least(query.min_confidence)?;
    let camera = kernel.store.camera(caller.scope(), &id).await.map_err(errors::store)?;
    camera.ok_or_else(|| ApiError::not_found("camera"))?;
    let task = match query.task_id.as_deref().map(|text| PublicId::parse(AiTask::PREFIX, text)) {
        // What can be no task has no detections.
        Some(Err(_)) => return Ok(list.page(Vec::new(), None::<DetectionCursor>)),
        Some(Ok(task)) => Some(task),
        None => None,
    };
    let which = DetectionFilter {
        cameras: Some(BTreeSet::from([id])),
        range: bounds(query.from, query.to),
        label: query.label,
        track_id: query.track_id,
        task_type: query.task_type,
        task,
        frame_id: query.frame_id,
        min_confidence,
        order: match query.order {
            Order::Desc => DetectionOrder::NewestFirst,
            Order::Asc => DetectionOrder::OldestFirst,
        },
    };
    page(&kernel, &caller, &list, which, query.limit.get()).await
}

async fn across(
    State(kernel): State<Api>,
    caller: Caller,
    Query(query): Query<Across>,
    list: List,
) -> Result<Page<Detection>, ApiError> {
    let within = match &query.zone_id {
        Some(id) => Some(enclosed(&kernel, &caller, id).await?),
        None => None,
    };
    let min_confidence = least(query.min_confidence)?;
    let cameras = match query.cameras.filter(|named| !named.is_empty()) {
        None => None,
        named => {
            let cameras = crate::api::footage::select(&kernel, &caller, named).await?;
            Some(cameras.into_iter().map(|camera| camera.id).collect())
        }
    };
    let mut which = DetectionFilter {
        cameras,
        range: bounds(query.from, query.to),
        label: query.label,
        track_id: query.track_id,
        task_type: query.task_type,
        min_confidence,
        ..DetectionFilter::default()
    };
    let limit = query.limit.get();
    let Some((camera, area)) = within else { return page(&kernel, &caller, &list, which, limit).await };
    if which.cameras.is_some_and(|asked| !asked.contains(&camera)) {
        return Ok(list.page(Vec::new(), None::<DetectionCursor>));
    }
    which.cameras = Some(BTreeSet::from([camera]));
    inside(&kernel, &caller, &list, which, &area, limit).await
}

/// The camera of a zone, and what it encloses.
async fn enclosed(kernel: &Api, caller: &Caller, id: &str) -> Result<(CameraId, Area), ApiError> {
    let row = zones::of_path(kernel, caller, id).await?;
    let zone = of_row(&row).map_err(ApiError::internal)?;
    let area = Area::of(&zone).ok_or_else(|| {
        ApiError::validation("zone_id", "`zone_id` is a line, which nothing lies inside of")
    })?;
    Ok((row.camera, area))
}

/// A page of what lies inside of an area. It ends early when much was looked at for little.
async fn inside(
    kernel: &Api,
    caller: &Caller,
    list: &List,
    which: DetectionFilter,
    area: &Area,
    limit: u32,
) -> Result<Page<Detection>, ApiError> {
    let mut after: Option<DetectionCursor> = list.position()?;
    let (mut found, mut looked_at) = (Vec::new(), 0);
    loop {
        let page =
            kernel.store.detections(caller.scope(), &which, after, LOOK).await.map_err(errors::store)?;
        looked_at += page.rows.len();
        for row in page.rows {
            if !row.detection.bbox.is_some_and(|bbox| area.holds(bbox.values())) {
                continue;
            }
            let number = row.id.number();
            let cursor = DetectionCursor { timestamp_us: row.detection.timestamp.0, number };
            found.push((cursor, row));
        }
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let is_full = found.len() > most || (found.len() == most && page.next.is_some());
        let next = if is_full {
            found.truncate(most);
            found.last().map(|(cursor, _)| *cursor)
        } else {
            page.next
        };
        if is_full || next.is_none() || looked_at >= LOOKED_AT {
            let rows = found.into_iter().map(|(_, row)| Detection::from(row)).collect();
            return Ok(list.page(rows, next));
        }
        after = next;
    }
}

/// An event of an app.
#[derive(Deserialize, ToSchema)]
struct NewAppEvent {
    /// The camera that it is about.
    camera_id: String,
    /// Its type: up to 64 of a-z, 0-9 and _; none of the server's own.
    event_type: String,
    /// How much it matters; `info` by default.
    #[serde(default)]
    #[schema(value_type = Option<words::Severity>)]
    severity: Option<Severity>,
    /// More about it. Links to its picture and its footage are added as `links`, unless it has such.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    payload: Option<Map<String, Value>>,
    /// When the picture was captured that it is about; now by default.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    timestamp: Option<WallTime>,
    /// True: start event recording, on cameras that record by events.
    #[serde(default)]
    trigger: Option<bool>,
}

/// Stores an event and what it starts, in one commit; its number.
async fn append(
    kernel: Api,
    event: NewEvent,
    triggers: bool,
) -> Result<Result<Vec<i64>, StoreError>, ApiError> {
    let started = event.camera.as_ref().filter(|_| triggers);
    let trigger = started.and_then(|camera| kernel.trigger(camera, Source::AppEvent));
    let is_triggered = trigger.is_some();
    let events = WriteOp::from(AppendEvents { events: vec![event] });
    let ops = std::iter::once(events).chain(trigger.map(WriteOp::from)).collect();
    // To its end: what is stored is recorded, whoever waits for the answer.
    let done = tokio::spawn(async move {
        let mut outcomes = kernel.store.write_all(ops).await?;
        if is_triggered {
            kernel.triggered_by(outcomes.pop())?;
        }
        outcomes.pop().map_or_else(|| Ok(Vec::new()), Outcome::of::<AppendEvents>)
    });
    done.await.map_err(ApiError::internal)
}

async fn raise(
    State(kernel): State<Api>,
    caller: Caller,
    Json(body): Json<NewAppEvent>,
) -> Result<(StatusCode, Json<Event>), ApiError> {
    let id = CameraId::new(&body.camera_id).map_err(|_| caller.missing("camera"))?;
    caller.scope().check(&id)?;
    check_event_type(&body.event_type)
        .map_err(|why| ApiError::validation("event_type", format!("event_type: {why}")))?;
    let camera = kernel.store.camera(caller.scope(), &id).await.map_err(errors::store)?;
    let camera = camera.filter(|camera| camera.removed_at.is_none());
    let camera = camera.ok_or_else(|| ApiError::not_found("camera"))?;
    let now = kernel.clock.wall();
    let timestamp = body.timestamp.unwrap_or(now);
    let mut payload = body.payload.unwrap_or_default();
    payload.entry("links").or_insert_with(|| crate::zones::links(&id, timestamp));
    let event = NewEvent {
        id: uuid(),
        camera: Some(id),
        event_type: body.event_type,
        severity: body.severity.unwrap_or(Severity::Info),
        timestamp,
        created_at: now,
        payload: payload.into(),
    };
    let triggers = body.trigger == Some(true);
    let seqs = append(kernel.clone(), event.clone(), triggers).await?.map_err(errors::store)?;
    let seq = seqs.first().copied().ok_or_else(|| ApiError::internal("an event has no number"))?;
    let stored = heldar_store::Event { seq, site: camera.fields.site_id, event, seen: None };
    Ok((StatusCode::CREATED, Json(Event::of(&kernel, stored))))
}
