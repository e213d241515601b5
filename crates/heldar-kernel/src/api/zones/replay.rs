//! Zones over a past stretch of time, and how that differs from what was raised (perception.md 14).

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::Method;
use heldar_base::{CameraId, Capability, Micros, WallTime};
use heldar_http::{Access, ApiError, Caller, Code, Doc, Json, RouteTable};
use heldar_perception::task::MODE_LIVE;
use heldar_store::{DetectionFilter, DetectionOrder, TimeRange, ZoneEventFilter, ZoneEventOrder};
use heldar_zones::{Counters, Fact, FactKind, Replay, Replayed, Told, Zone, diff};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::TAG;
use super::edit::{NewZone, refused};
use super::events::ZoneEvent;
use crate::api::{Api, errors};
use crate::apps::DetectionBatch;
use crate::zones;

/// Longest stretch.
const LONGEST: Micros = Micros::from_hours(24);
/// Most detections of a stretch.
const DETECTIONS: usize = 500_000;
/// How far before the stretch tracks are followed.
const WARM: Micros = Micros::from_secs(120);
/// How much later than it was captured a batch of the stretch may have been stored.
const STORED_WITHIN: Micros = Micros::from_secs(60);
/// Batches and detections of one read.
const PAGE: (u32, usize) = (5000, 8000);
/// Zone events of one read.
const RAISED: u32 = 5000;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::POST,
        "/api/v1/zones/replay",
        Access::body(Capability::EventsRead),
        replay,
        Doc::new("replayZones", TAG, "What zones would have found in a past stretch of time")
            .details("Writes nothing and triggers nothing. One at a time for each caller.")
            .body::<ZoneReplayBody>()
            .json::<ZoneReplay>(200, "What would have happened, and how that differs from what was raised.")
            .fails(&[Code::NotFound, Code::Validation, Code::NotSupported, Code::Busy]),
    );
}

/// What is to be replayed.
#[derive(Deserialize, ToSchema)]
struct ZoneReplayBody {
    /// Whose detections.
    camera_id: String,
    /// Begin of the stretch.
    #[schema(value_type = String, format = DateTime)]
    from: WallTime,
    /// Its end, at most 24 hours later.
    #[schema(value_type = String, format = DateTime)]
    to: WallTime,
    /// Zones as for making them, with the `id` of the one that each is compared with; the camera's own by default.
    #[serde(default)]
    zones: Option<Vec<ReplayedZone>>,
    /// Only results of these types of task.
    #[serde(default)]
    task_types: Option<Vec<String>>,
    /// `live`.
    #[serde(default)]
    mode: Option<String>,
    /// How far apart the same event may lie; 1000 by default.
    #[serde(default)]
    tolerance_ms: Option<i64>,
    /// Events that are returned, 1 to 10000; 1000 by default.
    #[serde(default)]
    limit: Option<i64>,
}

/// A zone that is tried.
#[derive(Deserialize, ToSchema)]
struct ReplayedZone {
    /// The zone that it is compared with.
    #[serde(default)]
    id: Option<String>,
    #[serde(flatten)]
    zone: NewZone,
}

/// What a replay has found.
#[derive(Serialize, ToSchema)]
struct ZoneReplay {
    #[schema(value_type = String)]
    camera_id: CameraId,
    #[schema(value_type = String, format = DateTime)]
    from: WallTime,
    #[schema(value_type = String, format = DateTime)]
    to: WallTime,
    /// Batches of the stretch.
    batches: usize,
    /// Their detections.
    detections: usize,
    /// What would have happened, the oldest first.
    events: Vec<ReplayedZoneEvent>,
    /// How often, by name of the zone and type.
    #[schema(value_type = Object)]
    counts: BTreeMap<String, BTreeMap<&'static str, usize>>,
    /// Crossings of lines, by name.
    #[schema(value_type = Object)]
    counters: BTreeMap<String, Value>,
    /// How that differs from what was raised.
    diff: ReplayDifference,
    /// Whether there are more events than are returned.
    truncated: bool,
}

/// How a replay differs from what was raised.
#[derive(Serialize, ToSchema)]
struct ReplayDifference {
    /// Events in both.
    matched: usize,
    /// What was not raised.
    added: Vec<ReplayedZoneEvent>,
    /// What was raised and did not come again.
    removed: Vec<ZoneEvent>,
}

/// Something that would have happened in a zone.
#[derive(Clone, Serialize, ToSchema)]
struct ReplayedZoneEvent {
    /// In which zone; absent for one that is only tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    zone_id: Option<String>,
    /// Its name.
    zone_name: String,
    /// What.
    event_type: &'static str,
    /// The track.
    track_id: Option<String>,
    /// What was seen.
    label: Option<String>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    timestamp: WallTime,
    /// How long.
    dwell_seconds: Option<f64>,
    /// Type of the task that follows the track.
    task_type: Option<String>,
    /// How sure the worker was.
    confidence: Option<f64>,
    /// The point that was followed.
    #[schema(value_type = Option<Vec<f64>>)]
    anchor: Option<[f64; 2]>,
    /// Where it was.
    #[schema(value_type = Option<Vec<f64>>)]
    bbox: Option<[f64; 4]>,
    /// Where it went: 0 is right, 90 down.
    direction_deg: Option<f64>,
    /// How fast, in picture widths per second.
    speed: Option<f64>,
    /// Why, where the track alone is not the reason.
    reason: Option<&'static str>,
}

/// The zones of a replay, and which of them are only tried.
struct Tried {
    zones: Vec<Zone>,
    drafts: Vec<bool>,
}

impl Tried {
    fn of(&self, fact: &Fact) -> (&str, bool) {
        let at = self.zones.iter().position(|zone| **zone.id() == *fact.zone_id);
        at.map_or(("", true), |at| (self.zones[at].name(), self.drafts[at]))
    }

    fn found(&self, fact: &Fact) -> ReplayedZoneEvent {
        let (name, is_draft) = self.of(fact);
        let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
        ReplayedZoneEvent {
            zone_id: (!is_draft).then(|| fact.zone_id.to_string()),
            zone_name: name.to_owned(),
            event_type: FactKind::as_str(fact.kind),
            track_id: text(&fact.track),
            label: text(&fact.label),
            timestamp: fact.at,
            dwell_seconds: fact.dwell.map(Micros::as_secs_f64),
            task_type: text(&fact.task_type),
            confidence: fact.confidence,
            anchor: fact.anchor,
            bbox: fact.bbox,
            direction_deg: fact.direction_deg,
            speed: fact.speed,
            reason: fact.reason.map(heldar_zones::Reason::as_str),
        }
    }
}

async fn replay(
    State(kernel): State<Api>,
    caller: Caller,
    Json(body): Json<ZoneReplayBody>,
) -> Result<Json<ZoneReplay>, ApiError> {
    let id = match CameraId::new(&body.camera_id) {
        Ok(id) => id,
        Err(_) if caller.scope().is_all() => return Err(ApiError::not_found("camera")),
        Err(_) => return Err(ApiError::out_of_scope()),
    };
    caller.scope().check(&id).map_err(ApiError::from)?;
    let camera = kernel.store.camera(caller.scope(), &id).await.map_err(errors::store)?;
    camera.ok_or_else(|| ApiError::not_found("camera"))?;
    if body.to < body.from || body.to - body.from > LONGEST {
        return Err(ApiError::validation("to", "`to` lies at most 24 hours after `from`"));
    }
    if body.mode.as_deref().is_some_and(|mode| mode != MODE_LIVE) {
        return Err(ApiError::new(Code::NotSupported, "`mode` is `live`; there are no other results yet"));
    }
    let tried = tried(&kernel, &caller, &id, body.zones).await?;
    let Some(_turn) = kernel.zones.replaying.begin(&caller.principal().id) else {
        return Err(ApiError::new(Code::Busy, "another replay of this caller runs").with_retry_after(5));
    };
    let (from, to) = (body.from, body.to);
    let run = Replay::new(tried.zones.clone(), from - WARM, from, to);
    let replayed = batches(&kernel, &caller, &id, (from, to), body.task_types.as_deref(), run).await?;
    let raised = raised(&kernel, &caller, &id, (from, to)).await?;
    let tolerance = Micros::from_millis(body.tolerance_ms.unwrap_or(1000).max(0));
    let limit = usize::try_from(body.limit.unwrap_or(1000).clamp(1, 10_000)).unwrap_or(1000);
    Ok(Json(answer(id, (from, to), &tried, replayed, raised, tolerance, limit)))
}

/// The zones that are to be replayed.
async fn tried(
    kernel: &Api,
    caller: &Caller,
    camera: &CameraId,
    drafts: Option<Vec<ReplayedZone>>,
) -> Result<Tried, ApiError> {
    let rows = kernel.store.camera_zones(caller.scope(), camera).await.map_err(errors::store)?;
    let Some(drafts) = drafts else {
        let zones: Vec<Zone> = rows.iter().filter_map(|row| zones::of_row(row).ok()).collect();
        let drafts = vec![false; zones.len()];
        return Ok(Tried { zones, drafts });
    };
    let mut tried = Tried { zones: Vec::new(), drafts: Vec::new() };
    for (at, ReplayedZone { id, zone }) in drafts.into_iter().enumerate() {
        let known = match &id {
            None => None,
            Some(id) if rows.iter().any(|row| row.id.to_string() == *id) => Some(id.clone()),
            Some(_) => {
                let field = format!("zones[{at}].id");
                return Err(ApiError::validation(field, "the camera has no such zone"));
            }
        };
        let name = known.clone().unwrap_or_else(|| format!("draft {at}"));
        let zone = Zone::new(&name, &zone.fields()).map_err(|mut error| {
            error.path = format!("zones[{at}].{}", error.path);
            refused(error)
        })?;
        tried.zones.push(zone);
        tried.drafts.push(known.is_none());
    }
    Ok(tried)
}

/// Runs the stored batches of a stretch through the engine.
async fn batches(
    kernel: &Api,
    caller: &Caller,
    camera: &CameraId,
    (from, to): (WallTime, WallTime),
    task_types: Option<&[String]>,
    mut run: Replay,
) -> Result<Replayed, ApiError> {
    let first = DetectionFilter {
        cameras: Some(std::iter::once(camera.clone()).collect()),
        range: TimeRange { from: Some(from - WARM), to: Some(to + Micros(1)) },
        order: DetectionOrder::OldestFirst,
        ..DetectionFilter::default()
    };
    let first = kernel.store.detections(caller.scope(), &first, None, 1).await.map_err(errors::store)?;
    let Some(first) = first.rows.first() else { return Ok(run.finish()) };
    let read = |after| kernel.store.full_batches(caller.scope(), Some(camera), after, PAGE.0, PAGE.1);
    let mut page = read(first.batch.seq - 1).await.map_err(errors::store)?;
    let mut detections = 0;
    loop {
        let is_past = page.rows.last().is_some_and(|row| row.batch.created_at > to + STORED_WITHIN);
        let next = page.next.filter(|_| !is_past);
        let rows = page
            .rows
            .into_iter()
            .filter(|row| task_types.is_none_or(|types| types.contains(&row.batch.task_type)));
        let rows: Vec<DetectionBatch> = rows.map(DetectionBatch::stored).collect();
        let inside = rows.iter().filter(|row| (from..=to).contains(&row.timestamp));
        detections += inside.map(|row| row.detections.len()).sum::<usize>();
        if detections > DETECTIONS {
            return Err(ApiError::validation("to", "more than 500000 detections; choose a shorter stretch"));
        }
        let kernel = kernel.clone();
        let pushed = tokio::task::spawn_blocking(move || {
            for row in &rows {
                zones::with_batch(&kernel, row, |batch| run.push(batch, row.committed_at));
            }
            run
        });
        // The next page is read meanwhile.
        let following = async {
            match next {
                Some(next) => read(next).await.map(Some),
                None => Ok(None),
            }
        };
        let (pushed, following) = tokio::join!(pushed, following);
        run = pushed.map_err(|_| ApiError::internal("a replay broke off"))?;
        match following.map_err(errors::store)? {
            Some(following) => page = following,
            None => return Ok(run.finish()),
        }
    }
}

/// What was raised in a stretch.
async fn raised(
    kernel: &Api,
    caller: &Caller,
    camera: &CameraId,
    (from, to): (WallTime, WallTime),
) -> Result<Vec<heldar_store::StoredZoneEvent>, ApiError> {
    let which = ZoneEventFilter {
        camera: Some(camera.clone()),
        range: TimeRange { from: Some(from), to: Some(to + Micros(1)) },
        order: ZoneEventOrder::OldestFirst,
        ..ZoneEventFilter::default()
    };
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = kernel.store.zone_events(caller.scope(), &which, after, RAISED);
        let page = page.await.map_err(errors::store)?;
        all.extend(page.rows);
        after = page.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

fn answer(
    camera_id: CameraId,
    (from, to): (WallTime, WallTime),
    tried: &Tried,
    replayed: Replayed,
    mut raised: Vec<heldar_store::StoredZoneEvent>,
    tolerance: Micros,
    limit: usize,
) -> ZoneReplay {
    let facts: Vec<Fact> = replayed.facts.into_iter().filter(|fact| fact.kind.is_zone_event()).collect();
    // What other zones of the camera have raised is not compared.
    raised.retain(|row| {
        let id = row.zone_event.zone.to_string();
        tried.zones.iter().zip(&tried.drafts).any(|(zone, is_draft)| match is_draft {
            true => zone.name() == row.zone_event.zone_name,
            false => **zone.id() == *id,
        })
    });
    let new: Vec<Told<'_>> = facts
        .iter()
        .map(|fact| {
            let (name, is_draft) = tried.of(fact);
            Told::of(fact, name, is_draft)
        })
        .collect();
    let ids: Vec<String> = raised.iter().map(|row| row.zone_event.zone.to_string()).collect();
    let old: Vec<Told<'_>> = raised
        .iter()
        .zip(&ids)
        .map(|(row, id)| Told {
            zone_id: Some(id),
            zone: &row.zone_event.zone_name,
            kind: &row.zone_event.event_type,
            track: row.zone_event.track_id.as_deref(),
            at: row.zone_event.id.timestamp,
        })
        .collect();
    let found = diff(&old, &new, tolerance);
    let mut counts: BTreeMap<String, BTreeMap<&'static str, usize>> = BTreeMap::new();
    for fact in &facts {
        let of = counts.entry(tried.of(fact).0.to_owned()).or_default();
        *of.entry(FactKind::as_str(fact.kind)).or_default() += 1;
    }
    let name =
        |id: &str| tried.zones.iter().find(|zone| **zone.id() == *id).map_or("", Zone::name).to_owned();
    let counted =
        |of: &Counters| json!({ "in": of.total.inwards, "out": of.total.outwards, "net": of.net() });
    let removed: Vec<usize> = found.removed;
    let is_removed = |at: &usize| removed.binary_search(at).is_ok();
    ZoneReplay {
        camera_id,
        from,
        to,
        batches: replayed.batches,
        detections: replayed.detections,
        events: facts.iter().take(limit).map(|fact| tried.found(fact)).collect(),
        counts,
        counters: replayed.counters.iter().map(|of| (name(&of.zone_id), counted(of))).collect(),
        diff: ReplayDifference {
            matched: found.matched,
            added: found
                .added
                .iter()
                .take(limit)
                .filter_map(|at| Some(tried.found(facts.get(*at)?)))
                .collect(),
            removed: raised
                .into_iter()
                .enumerate()
                .filter(|(at, _)| is_removed(at))
                .take(limit)
                .map(|(_, row)| ZoneEvent::from(row))
                .collect(),
        },
        truncated: facts.len() > limit,
    }
}
