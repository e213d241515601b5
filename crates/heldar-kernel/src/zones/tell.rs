//! Batches and zones as the engine takes them; what it found out, as zone events and events of the feed (perception.md 13.5).
//!
//! Owns: ids, names, links and payloads. Never: decides whether something happened.

use heldar_base::{CameraId, Micros, PublicId, WallTime};
use heldar_perception::TaskId;
use heldar_store::{
    DetectionBox, NewEvent, NewZoneEvent, Producer, Severity, Share, ZoneCounters, ZoneEvent, ZoneEventId,
    ZoneOccupancy, ZoneSource,
};
use heldar_zones::{Batch, Counters, Detection, Fact, LabelCount, Occupancy, Zone};
use serde_json::{Map, Value, json};

use crate::apps::DetectionBatch;
use crate::engine::journal::{random_bits, uuid};
use crate::kernel::Kernel;

/// How far the clip of an event reaches on each side.
const AROUND: Micros = Micros::from_secs(5);

/// A batch as the engine takes it.
pub(crate) fn with_batch<T>(
    kernel: &Kernel,
    batch: &DetectionBatch,
    take: impl FnOnce(&Batch<'_>) -> T,
) -> T {
    let detections: Vec<Detection<'_>> = batch
        .detections
        .iter()
        .map(|seen| Detection {
            track: seen.track_id.as_deref(),
            label: seen.label.as_deref(),
            confidence: seen.confidence,
            bbox: seen.bbox,
            at: (seen.timestamp != batch.timestamp).then_some(seen.timestamp),
        })
        .collect();
    let known = batch.task_id.and_then(|id| kernel.perception.task(TaskId::new(id.bits())));
    let period = known.map(|known| Micros((1e6 / known.task.spec.fps.max(0.01)) as i64));
    let task = batch.task_id.map(|id| id.to_string()).unwrap_or_default();
    let lease = match &batch.producer {
        Some(Producer::Worker { lease, .. }) => lease.as_deref(),
        _ => None,
    };
    take(&Batch {
        task_type: &batch.task_type,
        task: &task,
        lease,
        period,
        captured_at: batch.timestamp,
        late: batch.late,
        detections: &detections,
    })
}

/// What is known of a fact beside the fact.
pub(super) struct About<'a> {
    pub(super) camera: &'a CameraId,
    /// Its zone, as it is or was.
    pub(super) zone: &'a Zone,
    /// The batch that made it known.
    pub(super) batch: Option<&'a DetectionBatch>,
    /// Whether the picture is at hand.
    pub(super) is_pinned: bool,
    pub(super) now: WallTime,
}

/// The id of a zone, which the engine keeps as text.
pub(super) fn zone_id(text: &str) -> Option<PublicId> {
    PublicId::parse(heldar_store::Zone::PREFIX, text).ok()
}

/// The path of the picture of a zone event, below the folder of snapshots.
pub(crate) fn evidence_name(id: ZoneEventId) -> String {
    format!("zoneevt_{}.jpg", id.public())
}

/// Where to see what happened, under the reader's own rights: its picture, and a clip around it.
pub(crate) fn links(camera: &CameraId, at: WallTime) -> Value {
    json!({
        "picture": format!("/api/v1/cameras/{camera}/picture?at={at}"),
        "clip": format!("/api/v1/cameras/{camera}/video.mp4?from={}&to={}", at - AROUND, at + AROUND),
    })
}

/// A fact as a zone event, `None` where only the feed is told; and what the feed is told, if it is.
pub(super) fn told(fact: &Fact, about: &About<'_>) -> Option<(Option<NewZoneEvent>, Option<NewEvent>)> {
    let zone = zone_id(&fact.zone_id)?;
    let id = ZoneEventId { timestamp: fact.at, bits: random_bits() as u64 };
    let has_evidence = fact.evidence && about.is_pinned;
    let is_stored = fact.kind.is_zone_event();
    let seen = fact.detection.and_then(|at| Some((at, about.batch?.detections.get(at)?)));
    let event = fact.in_feed.then(|| NewEvent {
        id: uuid(),
        camera: Some(about.camera.clone()),
        event_type: format!("zone_{}", fact.kind),
        severity: match (fact.kind.has_zone_severity(), about.zone.severity()) {
            (false, _) | (_, heldar_zones::Severity::Info) => Severity::Info,
            (_, heldar_zones::Severity::Warning) => Severity::Warning,
            (_, heldar_zones::Severity::Critical) => Severity::Critical,
        },
        timestamp: fact.at,
        created_at: about.now,
        payload: payload(fact, about, is_stored.then_some(id), has_evidence, seen.map(|(_, seen)| seen.id)),
    });
    if !is_stored {
        return Some((None, event));
    }
    let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
    let share = |value: f64| Share::new(value.clamp(0.0, 1.0));
    let zone_event = ZoneEvent {
        id,
        camera: about.camera.clone(),
        zone,
        zone_name: about.zone.name().to_owned(),
        event_type: fact.kind.to_string(),
        task_type: text(&fact.task_type),
        track_id: text(&fact.track),
        label: text(&fact.label),
        dwell: fact.dwell,
        confidence: fact.confidence.and_then(share),
        anchor: fact.anchor.and_then(|[x, y]| Some([share(x)?, share(y)?])),
        bbox: fact.bbox.and_then(|bbox| DetectionBox::new(bbox.map(|value| value.clamp(0.0, 1.0)))),
        direction_deg: fact.direction_deg,
        speed: fact.speed,
        reason: fact.reason.map(|reason| reason.as_str().to_owned()),
        source: about.batch.and_then(|batch| {
            let position = seen.and_then(|(at, _)| u16::try_from(at).ok());
            Some(ZoneSource { seq: batch.seq?, position })
        }),
        has_evidence,
        created_at: about.now,
    };
    Some((Some(NewZoneEvent { zone_event, event: event.clone() }), event))
}

fn payload(
    fact: &Fact,
    about: &About<'_>,
    id: Option<ZoneEventId>,
    has_evidence: bool,
    detection: Option<PublicId>,
) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("zone_id", json!(&*fact.zone_id));
    put("zone", json!(about.zone.name()));
    put("track_id", json!(fact.track.as_deref()));
    put("label", json!(fact.label.as_deref()));
    if id.is_none() {
        put("note", json!("it stands still; the zone is silent about it until it moves"));
    }
    put("dwell_seconds", json!(fact.dwell.map(Micros::as_secs_f64)));
    let evidence = id.filter(|_| has_evidence).map(|id| format!("/media/snapshots/{}", evidence_name(id)));
    put("evidence", json!(evidence));
    put("zone_event_id", json!(id.map(|id| id.public().to_string())));
    put("kind", json!(about.zone.kind().as_str()));
    put("task_type", json!(fact.task_type.as_deref()));
    put("confidence", json!(fact.confidence));
    put("anchor", json!(fact.anchor));
    put("bbox", json!(fact.bbox));
    put("direction_deg", json!(fact.direction_deg));
    put("speed", json!(fact.speed));
    put("reason", json!(fact.reason.map(heldar_zones::Reason::as_str)));
    if let Some(count) = fact.count {
        put("count", json!(count));
        put("limit", json!(fact.limit));
    }
    if let Some(batch) = about.batch {
        put("task_id", json!(batch.task_id.map(|id| id.to_string())));
        put("batch_id", json!(batch.batch_id.to_string()));
        put("frame_id", json!(batch.frame_id));
        put("ticketed", json!(batch.ticketed));
        put("detection_id", json!(detection.map(|id| id.to_string())));
    }
    put("links", links(about.camera, fact.at));
    out.into()
}

/// Occupancy as it is stored.
pub(super) fn occupancy(of: &Occupancy) -> Option<ZoneOccupancy> {
    Some(ZoneOccupancy {
        zone: zone_id(&of.zone_id)?,
        count: of.count,
        labels: json!(
            of.labels
                .iter()
                .map(|(label, count)| (label.to_string(), *count))
                .collect::<std::collections::BTreeMap<_, _>>()
        )
        .to_string(),
        state: of.state.as_str().to_owned(),
        updated_at: of.updated_at,
    })
}

/// Counters as they are stored.
pub(super) fn counters(of: &Counters) -> Option<ZoneCounters> {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let label = |count: &LabelCount| json!({ "in": count.inwards, "out": count.outwards });
    let by_label: Map<String, Value> =
        of.by_label.iter().map(|(name, count)| (name.to_string(), label(count))).collect();
    Some(ZoneCounters {
        zone: zone_id(&of.zone_id)?,
        inwards: number(of.total.inwards),
        outwards: number(of.total.outwards),
        since: of.since,
        updated_at: of.updated_at,
        by_label: Value::from(by_label).to_string(),
    })
}

/// A zone as the engine has it.
///
/// # Errors
/// It is stored as no version wrote it.
pub(crate) fn of_row(row: &heldar_store::Zone) -> Result<Zone, String> {
    let read = |text: &str| serde_json::from_str(text).map_err(|error| error.to_string());
    let fields = heldar_zones::ZoneFields {
        name: row.fields.name.clone(),
        kind: Some(row.fields.kind.clone()),
        polygon: read(&row.fields.polygon)?,
        dwell_seconds: json!(row.fields.dwell_seconds),
        labels: read(&row.fields.labels)?,
        severity: Some(row.fields.severity.as_str().to_owned()),
        config: read(&row.fields.config)?,
        enabled: Some(row.fields.enabled),
    };
    Zone::new(&row.id.to_string(), &fields).map_err(|error| error.to_string())
}
