//! One test for each rule of perception.md 12.6 and 13.

mod areas;
mod changes;
mod counts;
mod lines;
mod restart;
mod sights;
mod things;
mod times;

use heldar_base::{Micros, WallTime};
use serde_json::{Value, json};

use super::*;
use crate::fact::{Fact, Output};
use crate::zone::ZoneFields;

/// 2026-06-01T00:00:00Z, a Monday.
const T0: WallTime = WallTime(1_780_272_000_000_000);

fn at(seconds: f64) -> WallTime {
    T0 + Micros((seconds * 1e6).round() as i64)
}

/// A zone over the left half of the picture, unless fields say otherwise.
fn zone(id: &str, fields: Value) -> Zone {
    let mut all = json!({"name": id, "polygon": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]});
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let fields: ZoneFields = serde_json::from_value(all).unwrap();
    Zone::new(id, &fields).unwrap()
}

/// A line from top to bottom in the middle.
fn line(id: &str, fields: Value) -> Zone {
    let mut all = json!({"kind": "line", "polygon": [[0.5, 0], [0.5, 1]]});
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    zone(id, all)
}

/// An engine and what it has told, one line a fact: seconds, zone, kind, track, seconds inside, reason.
struct Site {
    engine: Engine,
    task_type: &'static str,
    task: &'static str,
    lease: Option<&'static str>,
    period: Option<Micros>,
    told: Vec<String>,
    last: Output,
}

impl Site {
    fn new(zones: Vec<Zone>) -> Site {
        let mut site = Site {
            engine: Engine::new(),
            task_type: "detection",
            task: "ai_1",
            lease: None,
            period: None,
            told: Vec::new(),
            last: Output::default(),
        };
        let output = site.engine.set_zones(zones, T0);
        site.hear(output);
        site
    }

    fn hear(&mut self, output: Output) {
        self.told.extend(output.facts.iter().map(text));
        self.last = output;
    }

    /// Detections at `seconds` that arrive at once.
    fn see(&mut self, seconds: f64, detections: &[Detection<'_>]) {
        self.see_at(seconds, seconds, detections);
    }

    fn see_at(&mut self, captured: f64, arrives: f64, detections: &[Detection<'_>]) {
        let batch = Batch {
            task_type: self.task_type,
            task: self.task,
            lease: self.lease,
            period: self.period,
            captured_at: at(captured),
            late: false,
            detections,
        };
        let output = self.engine.batch(&batch, at(arrives));
        self.hear(output);
    }

    /// One track, whose anchor is there.
    fn walk(&mut self, seconds: f64, track: &str, x: f64, y: f64) {
        self.see(seconds, &[there(track, x, y)]);
    }

    fn tick(&mut self, seconds: f64) {
        let output = self.engine.tick(at(seconds));
        self.hear(output);
    }

    fn set(&mut self, seconds: f64, zones: Vec<Zone>) {
        let output = self.engine.set_zones(zones, at(seconds));
        self.hear(output);
    }

    /// What was told since the last time.
    #[track_caller]
    fn expect(&mut self, facts: &[&str]) {
        assert_eq!(std::mem::take(&mut self.told), facts);
    }

    fn count(&self, zone: &str) -> Option<u32> {
        self.engine.occupancy().iter().find(|row| &*row.zone_id == zone).map(|row| row.count)
    }
}

fn text(fact: &Fact) -> String {
    let mut text = format!("{} {} {}", (fact.at - T0).as_secs_f64(), fact.zone_id, fact.kind);
    if let Some(track) = &fact.track {
        text.push_str(&format!(" {track}"));
    }
    if let Some(dwell) = fact.dwell {
        text.push_str(&format!(" {}s", dwell.as_secs_f64()));
    }
    if let Some(reason) = fact.reason {
        text.push_str(&format!(" {}", reason.as_str()));
    }
    if let Some(limit) = fact.limit {
        text.push_str(&format!(" {}/{limit}", fact.count.unwrap()));
    }
    text
}

/// A person whose feet are there.
fn there(track: &str, x: f64, y: f64) -> Detection<'_> {
    Detection {
        track: Some(track),
        label: Some("person"),
        confidence: Some(0.9),
        bbox: Some([x - 0.05, y - 0.1, 0.1, 0.1]),
        at: None,
    }
}
