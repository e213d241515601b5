//! What of the feed a listener wants.
//!
//! Owns: the rule which rows it takes. Pure. Never: what it may see, which its scope says, but for the one question where
//! both meet.

use std::collections::BTreeSet;

use heldar_base::Scope;
use heldar_store::{FeedBatches, FeedFloors, FeedRow, FeedWants, Severity};

use super::message::Message;

/// What a listener wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// About these cameras; `None`: all, and what is about none.
    pub cameras: Option<BTreeSet<String>>,
    /// Events of these types, of which one may end in `*`; `None`: all.
    pub types: Option<Vec<String>>,
    /// Events of these zones; `None`: all, and those of none.
    pub zones: Option<BTreeSet<String>>,
    /// Events of at least this severity.
    pub min_severity: Severity,
    /// Events and batches.
    pub wants: FeedWants,
}

impl Default for Filter {
    fn default() -> Self {
        let wants = FeedWants { events: true, batches: FeedBatches::Leave };
        Filter { cameras: None, types: None, zones: None, min_severity: Severity::Info, wants }
    }
}

impl Filter {
    /// Whether a listener with this scope gets a row.
    pub fn takes(&self, scope: &Scope, message: &Message) -> bool {
        let camera = message.camera();
        let is_visible = match camera {
            Some(camera) => scope.covers(camera),
            None => scope.is_all(),
        };
        is_visible
            && self.cameras.as_ref().is_none_or(|wanted| camera.is_some_and(|c| wanted.contains(c.as_str())))
            && match &message.row {
                FeedRow::Batch { .. } => self.wants.batches > FeedBatches::Leave,
                FeedRow::Event(row) => {
                    let event = &row.event;
                    self.wants.events
                        && event.severity >= self.min_severity
                        && self.types.as_ref().is_none_or(|types| {
                            types.iter().any(|pattern| matches(pattern, &event.event_type))
                        })
                        && self.zones.as_ref().is_none_or(|zones| {
                            let zone = event.payload.get("zone_id").and_then(|zone| zone.as_str());
                            zone.is_some_and(|zone| zones.contains(zone))
                        })
                }
            }
    }

    /// The only camera that it is about.
    pub(super) fn only_camera(&self) -> Option<&str> {
        let cameras = self.cameras.as_ref()?;
        cameras.first().filter(|_| cameras.len() == 1).map(String::as_str)
    }

    /// Up to where something of what it wants is gone.
    pub(super) fn floor(&self, floors: FeedFloors) -> i64 {
        let events = if self.wants.events { floors.events } else { 0 };
        let batches = if self.wants.batches > FeedBatches::Leave { floors.batches } else { 0 };
        events.max(batches)
    }
}

/// Whether a type is the one that a pattern names, or begins as one that ends in `*`.
pub(crate) fn matches(pattern: &str, event_type: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(begin) => event_type.starts_with(begin),
        None => pattern == event_type,
    }
}

#[cfg(test)]
mod tests {
    use heldar_base::{CameraId, WallTime};
    use heldar_store::{Event, NewEvent};
    use serde_json::json;

    use super::*;

    fn event(camera: Option<&str>, event_type: &str, severity: Severity) -> Message {
        let event = NewEvent {
            id: "0".repeat(36),
            camera: camera.map(|camera| CameraId::new(camera).unwrap()),
            event_type: event_type.to_owned(),
            severity,
            timestamp: WallTime(0),
            created_at: WallTime(0),
            payload: json!({ "zone_id": "zone_1" }),
        };
        Message::new(FeedRow::Event(Event { seq: 1, site: None, event, seen: None }), None)
    }

    fn set(names: &[&str]) -> Option<BTreeSet<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn events_are_filtered() {
        let gate = event(Some("gate"), "zone_enter", Severity::Warning);
        let none = event(None, "disk_pressure", Severity::Critical);
        let all = Filter::default;
        let types = |types: &[&str]| Some(types.iter().map(|t| (*t).to_owned()).collect());
        let limited = Scope::Cameras([CameraId::new("gate").unwrap()].into());
        let elsewhere = Scope::Cameras([CameraId::new("yard").unwrap()].into());
        for (filter, scope, expect) in [
            (all(), &Scope::All, [true, true]),
            (all(), &limited, [true, false]),
            (all(), &elsewhere, [false, false]),
            (Filter { cameras: set(&["gate", "yard"]), ..all() }, &Scope::All, [true, false]),
            (Filter { cameras: set(&["yard"]), ..all() }, &Scope::All, [false, false]),
            (Filter { types: types(&["zone_*"]), ..all() }, &Scope::All, [true, false]),
            (Filter { types: types(&["zone_"]), ..all() }, &Scope::All, [false, false]),
            (Filter { types: types(&["x", "disk_pressure"]), ..all() }, &Scope::All, [false, true]),
            (Filter { types: types(&["*"]), ..all() }, &Scope::All, [true, true]),
            (Filter { zones: set(&["zone_1"]), ..all() }, &Scope::All, [true, true]),
            (Filter { zones: set(&["zone_2"]), ..all() }, &Scope::All, [false, false]),
            (Filter { min_severity: Severity::Critical, ..all() }, &Scope::All, [false, true]),
            (
                Filter { wants: FeedWants { events: false, batches: FeedBatches::Full }, ..all() },
                &Scope::All,
                [false, false],
            ),
        ] {
            assert_eq!([&gate, &none].map(|m| filter.takes(scope, m)), expect, "{filter:?} {scope:?}");
        }
    }

    #[test]
    fn what_is_gone_counts_only_where_it_is_wanted() {
        let floors = FeedFloors { events: 5, batches: 9 };
        let of = |events, batches| Filter { wants: FeedWants { events, batches }, ..Filter::default() };
        assert_eq!(of(true, FeedBatches::Leave).floor(floors), 5);
        assert_eq!(of(true, FeedBatches::Headers).floor(floors), 9);
        assert_eq!(of(false, FeedBatches::Full).floor(FeedFloors { events: 50, batches: 9 }), 9);
    }
}
