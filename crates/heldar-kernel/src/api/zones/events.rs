//! What happened in zones, as a list (perception.md 12.4).

use axum::extract::State;
use axum::http::Method;
use heldar_base::{CameraId, Capability, Micros, PublicId, SegmentId, StreamId, WallTime};
use heldar_http::{Access, ApiError, Caller, Camera, Code, Doc, Limit, List, Page, Query, RouteTable};
use heldar_store::{
    Batch, DetectionId, Share, StoredZoneEvent, TimeRange, ZoneEventCursor, ZoneEventFilter, ZoneEventOrder,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::TAG;
use crate::api::{Api, errors};
use crate::kernel::Kernel;
use crate::zones::evidence_name;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/api/v1/cameras/{id}/zone-events",
        Access::cam(Capability::EventsRead),
        list,
        Doc::new("listZoneEvents", TAG, "What happened in the zones of a camera")
            .query::<Which>()
            .page::<ZoneEvent>("By time, the newest first unless asked otherwise.")
            .fails(&[Code::NotFound, Code::Validation, Code::BadCursor]),
    );
}

/// In which order.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Order {
    /// The newest first.
    #[default]
    Desc,
    /// The oldest first.
    Asc,
}

/// Which zone events.
#[derive(Deserialize, IntoParams)]
struct Which {
    /// That happened at or after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<WallTime>,
    /// That happened at or before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<WallTime>,
    /// In this zone.
    zone_id: Option<String>,
    /// Of exactly this type.
    event_type: Option<String>,
    /// Of exactly this track.
    track_id: Option<String>,
    /// Of exactly this type of task.
    task_type: Option<String>,
    /// Of exactly this label.
    label: Option<String>,
    /// `desc` or `asc`.
    #[serde(default)]
    #[param(inline, required = false)]
    order: Order,
    /// Longest page.
    #[serde(default)]
    #[param(inline)]
    limit: Limit<200, 1, 5000>,
    /// Where the page begins.
    #[serde(rename = "cursor")]
    _cursor: Option<String>,
}

/// Something that happened in a zone.
#[derive(Serialize, ToSchema)]
pub(super) struct ZoneEvent {
    /// `zev_` and 32 hexadecimal digits.
    #[schema(value_type = String)]
    id: PublicId,
    /// In whose picture.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// In which zone; it may be gone.
    #[schema(value_type = String)]
    zone_id: PublicId,
    /// How the zone was called then.
    zone_name: String,
    /// The track.
    track_id: Option<String>,
    /// What.
    event_type: String,
    /// What was seen; `""`: it had no label.
    label: Option<String>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    timestamp: WallTime,
    /// How long: of a visit, of a sum of visits, of being occupied.
    dwell_seconds: Option<f64>,
    /// Where its picture is.
    evidence_path: Option<String>,
    /// When it was known.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// A recorded segment that covers the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    segment_id: Option<String>,
    /// Its place in commit order, among events and batches.
    seq: i64,
    /// Its event in the feed.
    event_id: Option<String>,
    /// Type of the task that follows the track.
    task_type: Option<String>,
    /// The detection that made it known.
    #[schema(value_type = Option<String>)]
    detection_id: Option<PublicId>,
    /// The batch that made it known.
    #[schema(value_type = Option<String>)]
    batch_id: Option<PublicId>,
    /// The picture of that batch.
    frame_id: Option<String>,
    /// How sure the worker was.
    confidence: Option<f64>,
    /// The point that was followed.
    #[schema(value_type = Option<Vec<f64>>)]
    anchor: Option<[f64; 2]>,
    /// Where it was: x, y, width, height in shares of the picture.
    #[schema(value_type = Option<Vec<f64>>)]
    bbox: Option<[f64; 4]>,
    /// Where it went: 0 is right, 90 down.
    direction_deg: Option<f64>,
    /// How fast, in picture widths per second.
    speed: Option<f64>,
    /// Why, where the track alone is not the reason.
    reason: Option<String>,
    /// Whether that batch came under a frame ticket.
    ticketed: Option<bool>,
}

impl From<StoredZoneEvent> for ZoneEvent {
    fn from(row: StoredZoneEvent) -> Self {
        let StoredZoneEvent { seq, event_id, frame_id, ticketed, zone_event: of } = row;
        let position = of.source.and_then(|source| Some((source.seq, source.position?)));
        ZoneEvent {
            id: of.id.public(),
            evidence_path: of.has_evidence.then(|| format!("/media/snapshots/{}", evidence_name(of.id))),
            camera_id: of.camera,
            zone_id: of.zone,
            zone_name: of.zone_name,
            track_id: of.track_id,
            event_type: of.event_type,
            label: of.label,
            timestamp: of.id.timestamp,
            dwell_seconds: of.dwell.map(Micros::as_secs_f64),
            created_at: of.created_at,
            segment_id: None,
            seq,
            event_id,
            task_type: of.task_type,
            detection_id: position.map(|(seq, position)| DetectionId { seq, position }.public()),
            batch_id: of.source.map(|source| Batch::public(source.seq)),
            frame_id,
            confidence: of.confidence.map(Share::value),
            anchor: of.anchor.map(|anchor| anchor.map(Share::value)),
            bbox: of.bbox.map(heldar_store::DetectionBox::values),
            direction_deg: of.direction_deg,
            speed: of.speed,
            reason: of.reason,
            ticketed,
        }
    }
}

impl Which {
    /// `None`: nothing can be of it.
    fn filter(self, camera: CameraId) -> Option<ZoneEventFilter> {
        let zone = match self.zone_id {
            Some(text) => Some(PublicId::parse(heldar_store::Zone::PREFIX, &text).ok()?),
            None => None,
        };
        Some(ZoneEventFilter {
            camera: Some(camera),
            range: TimeRange { from: self.from, to: self.to.map(|to| to + Micros(1)) },
            zone,
            event_type: self.event_type,
            task_type: self.task_type,
            track_id: self.track_id,
            label: self.label,
            order: match self.order {
                Order::Desc => ZoneEventOrder::NewestFirst,
                Order::Asc => ZoneEventOrder::OldestFirst,
            },
        })
    }
}

async fn list(
    State(kernel): State<Api>,
    caller: Caller,
    list: List,
    Camera(id): Camera,
    Query(query): Query<Which>,
) -> Result<Page<ZoneEvent>, ApiError> {
    let camera = kernel.store.camera(caller.scope(), &id).await.map_err(errors::store)?;
    let camera = camera.ok_or_else(|| ApiError::not_found("camera"))?;
    let after: Option<ZoneEventCursor> = list.position()?;
    let limit = query.limit.get();
    let Some(which) = query.filter(id) else { return Ok(list.page(Vec::new(), None::<ZoneEventCursor>)) };
    let page = kernel.store.zone_events(caller.scope(), &which, after, limit).await.map_err(errors::store)?;
    let mut events: Vec<ZoneEvent> = page.rows.into_iter().map(ZoneEvent::from).collect();
    cover(&kernel, &caller, &camera, &mut events).await?;
    Ok(list.page(events, page.next))
}

/// Names the segment that covers each event. Neighbours mostly lie in one, which is looked for once.
async fn cover(
    kernel: &Kernel,
    caller: &Caller,
    camera: &heldar_store::Camera,
    events: &mut [ZoneEvent],
) -> Result<(), ApiError> {
    let stream = StreamId::new(camera.id.clone(), camera.fields.record_stream);
    let mut last: Option<(WallTime, WallTime, SegmentId)> = None;
    // Before this instant nothing was recorded.
    let mut nothing_before: Option<WallTime> = None;
    for event in events {
        let at = event.timestamp;
        if nothing_before.is_some_and(|first| at < first) {
            continue;
        }
        if !last.as_ref().is_some_and(|(start, end, _)| *start <= at && at <= *end) {
            let found = kernel.newest_segments(caller.scope(), &stream, Some(at + Micros(1)), 1).await;
            match found.map_err(errors::store)?.0.pop() {
                Some(segment) => last = Some((segment.start(), segment.end, segment.id)),
                None => nothing_before = Some(at + Micros(1)),
            }
        }
        event.segment_id = last
            .as_ref()
            .filter(|(start, end, _)| *start <= at && at <= *end)
            .map(|(_, _, id)| id.to_string());
    }
    Ok(())
}
