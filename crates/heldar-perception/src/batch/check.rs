//! The checks of a batch, in order; the first offender is named (perception.md 8.1, 8.3).

use heldar_base::{Micros, WallTime};

use super::{
    Batch, BatchBody, BboxBody, Detection, DetectionBody, MAX_DETECTIONS, MAX_FRAME_ID_BYTES,
    MAX_LABEL_CHARS, MAX_PART, Ticketed,
};
use crate::Refused;
use crate::task::checked_type;
use crate::ticket::derived_frame_id;

/// How far a detection's own time may be from that of its batch.
const MOST_APART: Micros = Micros::from_secs(60);
/// How far a box may reach beyond the picture before it is cut to it.
const OVERHANG: f64 = 0.01;

/// Checks a batch that arrived at `now`. Under a ticket, camera, type, frame id and times are those of the ticket.
///
/// # Errors
/// The first field that breaks a rule: those of the batch, then the detections one after another, then the event.
pub fn check(body: BatchBody, now: WallTime, ticket: Option<&Ticketed<'_>>) -> Result<Batch, Refused> {
    let mut batch = match ticket {
        Some(ticket) => Batch {
            camera_id: ticket.camera.as_str().to_owned(),
            task_type: ticket.task_type.to_owned(),
            captured_at: WallTime(ticket.captured_ms.saturating_mul(1000)),
            frame_id: Some(derived_frame_id(ticket.task, ticket.captured_ms)),
            task_id: None,
            ticket_task: Some(ticket.task),
            ..empty(now)
        },
        None => Batch {
            task_type: checked_type(&body.task_type)?.to_owned(),
            camera_id: body.camera_id,
            captured_at: body.timestamp.as_deref().map_or(Ok(now), time)?,
            frame_id: body.frame_id.filter(|id| !id.is_empty()),
            task_id: body.task_id.filter(|id| !id.is_empty()),
            ..empty(now)
        },
    };
    if batch.frame_id.as_ref().is_some_and(|id| id.len() > MAX_FRAME_ID_BYTES) {
        return Err(Refused::new("frame_id", "must have at most 512 bytes"));
    }
    let part = u8::try_from(body.part.unwrap_or(0)).ok().filter(|part| *part <= MAX_PART);
    batch.part = part.ok_or(Refused::new("part", "must be 0 to 63"))?;
    if body.detections.count > MAX_DETECTIONS {
        return Err(Refused::new("detections", "must be at most 1000"));
    }
    batch.detections.reserve_exact(body.detections.kept.len());
    for (index, detection) in body.detections.kept.into_iter().enumerate() {
        batch.forged_source |= detection.attributes.as_ref().is_some_and(|a| a.forged_source);
        let base = ticket.is_none().then_some(batch.captured_at);
        let checked = checked(detection, base).map_err(|(field, why)| Refused::at(index, field, why))?;
        batch.detections.push(checked);
    }
    batch.event = body.event.map(super::event::checked).transpose()?;
    Ok(batch)
}

fn empty(now: WallTime) -> Batch {
    Batch {
        camera_id: String::new(),
        task_type: String::new(),
        captured_at: now,
        frame_id: None,
        part: 0,
        task_id: None,
        ticket_task: None,
        detections: Vec::new(),
        event: None,
        forged_source: false,
    }
}

fn time(text: &str) -> Result<WallTime, Refused> {
    WallTime::parse(text).map_err(|_| Refused::new("timestamp", NO_TIME))
}

const NO_TIME: &str = "must be an RFC 3339 time, for example 2026-01-31T12:00:00Z";
const TOO_LONG: &str = "must have at most 256 characters";

/// A field and what is wrong with it.
type Offence = (&'static str, &'static str);

/// `base` is the time of the batch, `None` under a ticket.
fn checked(body: DetectionBody, base: Option<WallTime>) -> Result<Detection, Offence> {
    if is_long(body.label.as_deref()) {
        return Err(("label", TOO_LONG));
    }
    if is_long(body.track_id.as_deref()) {
        return Err(("track_id", TOO_LONG));
    }
    if body.confidence.is_some_and(|confidence| !(0.0..=1.0).contains(&confidence)) {
        return Err(("confidence", "must be 0 to 1"));
    }
    Ok(Detection {
        bbox: body.bbox.map(bbox).transpose()?,
        at: body.timestamp.zip(base).map(|(text, base)| own_time(&text, base)).transpose()?.flatten(),
        label: body.label,
        confidence: body.confidence,
        track_id: body.track_id,
        extra: body.attributes.and_then(|attributes| attributes.text),
    })
}

fn is_long(text: Option<&str>) -> bool {
    // Bytes are counted first: they are never fewer than characters.
    text.is_some_and(|text| text.len() > MAX_LABEL_CHARS && text.chars().nth(MAX_LABEL_CHARS).is_some())
}

/// The time of a detection, where it is not that of its batch.
fn own_time(text: &str, base: WallTime) -> Result<Option<WallTime>, Offence> {
    let at = WallTime::parse(text).map_err(|_| ("timestamp", NO_TIME))?;
    if (at - base).abs() > MOST_APART {
        return Err(("timestamp", "must be within 60 s of the batch's"));
    }
    Ok((at != base).then_some(at))
}

fn bbox(body: BboxBody) -> Result<[f64; 4], Offence> {
    let refused = |why| Err(("bbox", why));
    let [x, y, w, h] = body.first;
    if body.count != 4 {
        return refused("must be four numbers");
    }
    if !body.first.iter().all(|number| number.is_finite()) {
        return refused("must be finite");
    }
    if w < 0.0 || h < 0.0 {
        return refused("must not have a negative width or height");
    }
    let (right, bottom) = (x + w, y + h);
    let allowed = -OVERHANG..=1.0 + OVERHANG;
    if ![x, y, right, bottom].iter().all(|edge| allowed.contains(edge)) {
        return refused("must lie inside 0 to 1");
    }
    let (x, w) = inside(x, w, right);
    let (y, h) = inside(y, h, bottom);
    Ok([x, y, w, h])
}

/// Start and length of what lies inside 0..1; what does so already is not touched by a rounding error.
fn inside(start: f64, length: f64, end: f64) -> (f64, f64) {
    if start > 0.0 && end <= 1.0 {
        return (start, length);
    }
    // A negative zero would be shown as one.
    let (start, end) = (start.clamp(0.0, 1.0) + 0.0, end.clamp(0.0, 1.0));
    (start, (end - start).max(0.0))
}
