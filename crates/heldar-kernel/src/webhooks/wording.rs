//! Events in words for people.
//!
//! Owns: one sentence about what happened, where and when. Pure. Never: shortens a name that a person has given.

use heldar_base::WallTime;
use heldar_store::{NewEvent, Severity};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

/// A sentence about an event, and its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Where it happened.
    pub title: String,
    /// What happened, where and when.
    pub text: String,
    /// How much it matters.
    pub severity: Severity,
}

impl Words {
    /// About an event. `camera` is the name of its camera, `zone` where people read the time, `known` what an event of its
    /// type says.
    pub fn new(event: &NewEvent, camera: Option<&str>, zone: &TimeZone, known: Option<&str>) -> Self {
        let what = zone_words(event).unwrap_or_else(|| {
            known.map_or_else(|| sentence(&event.event_type.replace(['_', '.'], " ")), str::to_owned)
        });
        let at = local(event.timestamp, zone);
        let text = match camera {
            Some(camera) => format!("{what} ({camera}) at {at}"),
            None => format!("{what} at {at}"),
        };
        let title = camera.unwrap_or("Heldar").to_owned();
        Words { title, text: one_line(&text), severity: event.severity }
    }

    /// The text with a mark that shows how much it matters, for services without priorities.
    pub fn marked(&self) -> String {
        match self.severity {
            Severity::Info => self.text.clone(),
            Severity::Warning => format!("\u{26a0}\u{fe0f} {}", self.text),
            Severity::Critical => format!("\u{1f6a8} {}", self.text),
        }
    }
}

/// The time of day of an instant.
fn local(at: WallTime, zone: &TimeZone) -> String {
    let at = Timestamp::from_microsecond(at.0).unwrap_or_default().to_zoned(zone.clone());
    at.strftime("%H:%M:%S").to_string()
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What happened in a zone; `None` for anything else.
fn zone_words(event: &NewEvent) -> Option<String> {
    let payload = &event.payload;
    let zone = payload.get("zone").and_then(Value::as_str).filter(|zone| !zone.is_empty())?;
    let label = payload.get("label").and_then(Value::as_str).filter(|label| !label.is_empty());
    let who = sentence(label.unwrap_or("something"));
    let seconds = payload.get("dwell_seconds").and_then(Value::as_f64);
    let for_so_long = seconds.map(|seconds| format!(" for {}", span(seconds))).unwrap_or_default();
    let numbers =
        match (payload.get("count").and_then(Value::as_i64), payload.get("limit").and_then(Value::as_i64)) {
            (Some(count), Some(limit)) => format!(": {count}, the limit is {limit}"),
            _ => String::new(),
        };
    Some(match event.event_type.strip_prefix("zone_")? {
        "enter" => format!("{who} entered {zone}"),
        "exit" => format!("{who} left {zone}"),
        "dwell" => format!("{who} has been in {zone}{for_so_long}"),
        "loiter" => format!("{who} loiters in {zone}{for_so_long}"),
        "cross_ab" => format!("{who} crossed {zone} from A to B"),
        "cross_ba" => format!("{who} crossed {zone} from B to A"),
        "speed" => format!("{who} is too fast in {zone}"),
        "sequence" => format!("{who} passed zones up to {zone}"),
        "occupied" => format!("{zone} is occupied"),
        "vacant" => format!("{zone} is empty"),
        "occupancy_max" => format!("Too many in {zone}{numbers}"),
        "occupancy_min" => format!("Too few in {zone}{numbers}"),
        "occupancy_ok" => format!("The number in {zone} is within its bounds again"),
        "static_suppressed" => format!("{who} stands still in {zone}"),
        _ => return None,
    })
}

fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use heldar_base::CameraId;
    use serde_json::json;

    use super::*;

    fn event(event_type: &str, payload: Value) -> NewEvent {
        NewEvent {
            id: "0".repeat(36),
            camera: CameraId::new("front").ok(),
            event_type: event_type.to_owned(),
            severity: Severity::Warning,
            timestamp: WallTime::parse("2026-07-01T12:03:12.9Z").unwrap(),
            created_at: WallTime(0),
            payload,
        }
    }

    #[test]
    fn events_are_told_in_a_sentence() {
        let zone = jiff::tz::TimeZoneDatabase::bundled().get("Europe/Berlin").unwrap();
        let check = |event_type: &str, payload: Value, camera: Option<&str>, expect: &str| {
            let words = Words::new(&event(event_type, payload), camera, &zone, None);
            assert_eq!(words.text, expect);
        };
        let gate = |label: Value| json!({ "zone": "Gate", "label": label, "dwell_seconds": 75.4 });
        let front = Some("Front door");
        check("zone_enter", gate(json!("person")), front, "Person entered Gate (Front door) at 14:03:12");
        check("zone_exit", gate(json!(null)), front, "Something left Gate (Front door) at 14:03:12");
        check(
            "zone_dwell",
            gate(json!("car")),
            front,
            "Car has been in Gate for 1 min 15 s (Front door) at 14:03:12",
        );
        check("zone_vacant", gate(json!("")), front, "Gate is empty (Front door) at 14:03:12");
        let many = json!({ "zone": "Hall\n", "count": 5, "limit": 4 });
        check("zone_occupancy_max", many, None, "Too many in Hall : 5, the limit is 4 at 14:03:12");
        check("zone_x", gate(json!("person")), front, "Zone x (Front door) at 14:03:12");
        check("object_detected", json!({}), None, "Object detected at 14:03:12");
        check("zone_enter", json!({}), None, "Zone enter at 14:03:12");
        let known = Words::new(&event("camera_offline", json!({})), front, &zone, Some("A camera stopped"));
        assert_eq!(
            (known.title.as_str(), known.text.as_str(), known.marked().chars().next()),
            ("Front door", "A camera stopped (Front door) at 14:03:12", Some('\u{26a0}'))
        );
    }
}
