//! Occupancy, alarms, presence.
use super::*;
use crate::fact::{AlarmState, FactKind};

fn limits(kind: &str, occupancy: Value) -> Site {
    let config = json!({"confirm_frames": 1, "lost_seconds": 10, "occupancy": occupancy});
    Site::new(vec![zone("a", json!({"kind": kind, "config": config}))])
}

#[test]
fn occupancy_is_told_on_change() {
    let mut site = Site::new(vec![
        zone("a", json!({"config": {"confirm_frames": 1}})),
        zone("b", json!({"enabled": false})),
    ]);
    assert_eq!(site.engine.occupancy(), []);
    let car = |x| Detection { label: Some("car"), ..there("2", x, 0.5) };
    site.see(1.0, &[there("1", 0.4, 0.5), car(0.4), there("3", 0.4, 0.5)]);
    let row = site.last.occupancy[0].clone();
    let labels: Vec<_> = row.labels.iter().map(|(label, n)| (&**label, *n)).collect();
    assert_eq!((row.count, labels, row.updated_at), (3, vec![("car", 1), ("person", 2)], at(1.0)));
    assert_eq!(site.engine.occupancy(), [row]);
    site.see(2.0, &[there("1", 0.4, 0.5), car(0.4)]);
    assert_eq!(site.last.occupancy, []);
    site.see(3.0, &[car(0.6)]);
    let row = &site.last.occupancy[0];
    assert_eq!((row.count, row.labels.len(), row.updated_at, row.state), (2, 1, at(3.0), AlarmState::Ok));
}

#[test]
fn a_track_leaves_under_the_label_with_which_it_came() {
    let mut site = Site::new(vec![zone("a", json!({"config": {"confirm_frames": 1}}))]);
    site.walk(0.0, "1", 0.4, 0.5);
    site.see(1.0, &[Detection { label: Some("bicycle"), ..there("1", 0.4, 0.5) }]);
    site.see(2.0, &[Detection { label: Some("bicycle"), ..there("1", 0.6, 0.5) }]);
    assert_eq!(site.last.facts[0].label.as_deref(), Some("bicycle"));
    let row = &site.last.occupancy[0];
    assert_eq!((row.count, row.labels.len()), (0, 0));
}

#[test]
fn more_than_max_is_told_once() {
    let mut site = limits("count", json!({"max": 1}));
    site.see(0.0, &[there("1", 0.4, 0.5)]);
    site.expect(&["0 a enter 1"]);
    site.see(1.0, &[there("1", 0.4, 0.5), there("2", 0.4, 0.5)]);
    site.expect(&["1 a enter 2", "1 a occupancy_max 2/1"]);
    let fact = &site.last.facts[1];
    assert!(fact.evidence && fact.in_feed && fact.detection == Some(1) && fact.track.is_none());
    site.see(2.0, &[there("3", 0.4, 0.5)]);
    site.expect(&["2 a enter 3"]);
    site.see(3.0, &[there("3", 0.6, 0.5), there("2", 0.6, 0.5)]);
    site.expect(&["3 a exit 3 1s left", "3 a exit 2 2s left", "3 a occupancy_ok 1/1"]);
    assert!(!site.last.facts[2].evidence);
    assert_eq!(site.last.occupancy[0].state, AlarmState::Ok);
}

#[test]
fn an_instant_counts_as_a_whole() {
    let mut site = limits("region", json!({"max": 1, "min": 1}));
    site.expect(&["0 a occupancy_min 0/1"]);
    site.see(0.0, &[there("1", 0.4, 0.5)]);
    site.expect(&["0 a enter 1", "0 a occupancy_ok 1/1"]);
    site.see(1.0, &[there("2", 0.4, 0.5), there("1", 0.6, 0.5)]);
    site.expect(&["1 a enter 2", "1 a exit 1 1s left"]);
}

#[test]
fn limits_hold_for_a_while_before_they_are_told() {
    let mut site = limits("region", json!({"max": 0, "hold_seconds": 4}));
    site.walk(0.0, "1", 0.4, 0.5);
    site.walk(3.0, "1", 0.6, 0.5);
    site.walk(5.0, "1", 0.4, 0.5);
    site.expect(&["0 a enter 1", "3 a exit 1 3s left", "5 a enter 1"]);
    site.tick(10.9);
    site.expect(&[]);
    site.tick(11.0);
    site.expect(&["9 a occupancy_max 1/0"]);
    assert_eq!(site.last.occupancy[0].state, AlarmState::Max);
    site.walk(12.0, "1", 0.6, 0.5);
    site.walk(14.0, "1", 0.4, 0.5);
    site.walk(15.0, "1", 0.6, 0.5);
    site.tick(21.0);
    site.expect(&["12 a exit 1 7s left", "14 a enter 1", "15 a exit 1 1s left", "19 a occupancy_ok 0/0"]);
}

#[test]
fn fewer_than_min_is_told() {
    let mut site = limits("region", json!({"min": 2, "hold_seconds": 1}));
    site.expect(&[]);
    site.tick(3.0);
    site.expect(&["1 a occupancy_min 0/2"]);
    site.see(4.0, &[there("1", 0.4, 0.5), there("2", 0.4, 0.5)]);
    site.see(5.0, &[there("1", 0.4, 0.5), there("2", 0.4, 0.5)]);
    site.expect(&["4 a enter 1", "4 a enter 2", "5 a occupancy_ok 2/2"]);
    // The lost do not count.
    site.see(12.0, &[there("1", 0.4, 0.5)]);
    site.tick(18.0);
    site.expect(&["5 a exit 2 1s lost", "16 a occupancy_min 1/2"]);
}

#[test]
fn presence_is_that_of_the_zone_as_a_whole() {
    let config = json!({"confirm_frames": 1, "vacant_after_seconds": 3});
    let mut site = Site::new(vec![zone("a", json!({"kind": "presence", "config": config}))]);
    site.walk(0.0, "1", 0.4, 0.5);
    site.expect(&["0 a enter 1", "0 a occupied"]);
    let fact = &site.last.facts[1];
    assert!(fact.evidence && fact.detection == Some(0) && fact.kind == FactKind::Occupied);
    site.see(2.0, &[there("1", 0.4, 0.5), there("2", 0.4, 0.5)]);
    site.see(4.0, &[there("1", 0.6, 0.5), there("2", 0.4, 0.5)]);
    site.see(5.0, &[there("2", 0.6, 0.5)]);
    site.see(7.0, &[there("2", 0.4, 0.5)]);
    site.see(8.0, &[there("2", 0.6, 0.5)]);
    site.expect(&[
        "2 a enter 2",
        "4 a exit 1 4s left",
        "5 a exit 2 3s left",
        "7 a enter 2",
        "8 a exit 2 1s left",
    ]);
    site.tick(12.9);
    site.expect(&[]);
    site.tick(13.0);
    site.expect(&["11 a vacant 8s"]);
    assert!(!site.last.facts[0].evidence);
}

#[test]
fn vacant_at_once_and_after_five_seconds_by_default() {
    let fields = |config: Value| json!({"kind": "presence", "config": config});
    let mut site = Site::new(vec![
        zone("a", fields(json!({"confirm_frames": 1, "vacant_after_seconds": 0}))),
        zone("b", fields(json!({"confirm_frames": 1}))),
    ]);
    site.walk(0.0, "1", 0.4, 0.5);
    site.walk(1.0, "1", 0.6, 0.5);
    site.tick(9.0);
    site.expect(&[
        "0 a enter 1",
        "0 b enter 1",
        "0 a occupied",
        "0 b occupied",
        "1 a exit 1 1s left",
        "1 b exit 1 1s left",
        "1 a vacant 1s",
        "6 b vacant 1s",
    ]);
}

#[test]
fn regions_are_never_occupied() {
    let mut site = Site::new(vec![zone("a", json!({"config": {"confirm_frames": 1}}))]);
    site.walk(0.0, "1", 0.4, 0.5);
    site.expect(&["0 a enter 1"]);
}
