//! Zones that change.
use super::*;

fn inside(fields: Value) -> Site {
    let mut site = Site::new(vec![zone("a", fields)]);
    site.walk(0.0, "1", 0.4, 0.5);
    site.walk(1.0, "1", 0.4, 0.5);
    site.told.clear();
    site
}

#[test]
fn name_and_severity_change_nothing() {
    let mut site = inside(json!({"dwell_seconds": 5}));
    let before = site.engine.quantities();
    site.set(2.0, vec![zone("a", json!({"dwell_seconds": 5, "name": "gate", "severity": "critical"}))]);
    assert_eq!(site.engine.quantities(), before);
    site.tick(8.0);
    site.expect(&["6 a dwell 1 5s"]);
    assert_eq!(site.engine.zones().next().map(Zone::name), Some("gate"));
}

#[test]
fn a_zone_that_is_deleted_or_disabled_ends_its_visits() {
    for after in [vec![], vec![zone("b", json!({}))], vec![zone("a", json!({"enabled": false}))]] {
        let mut site = inside(json!({}));
        site.set(3.0, after);
        site.expect(&["3 a exit 1 2s zone_changed"]);
        site.tick(500.0);
        site.expect(&[]);
        assert_eq!(site.count("a"), None);
    }
}

#[test]
fn a_reshaped_zone_ends_the_visits_that_it_does_not_hold() {
    let mut site = inside(json!({"dwell_seconds": 5}));
    site.see(2.0, &[there("2", 0.1, 0.5)]);
    site.see(3.0, &[there("2", 0.1, 0.5)]);
    site.expect(&["3 a enter 2"]);
    site.set(
        4.0,
        vec![zone("a", json!({"dwell_seconds": 5, "polygon": [[0, 0], [0.2, 0], [0.2, 1], [0, 1]]}))],
    );
    site.expect(&["4 a exit 1 3s zone_changed"]);
    assert_eq!(site.count("a"), Some(1));
    site.tick(10.0);
    site.expect(&["8 a dwell 2 5s"]);
}

#[test]
fn a_zone_that_sees_other_things_ends_visits_of_what_it_does_not_see() {
    let car = |second: f64, site: &mut Site| {
        site.see(second, &[Detection { label: Some("car"), ..there("2", 0.4, 0.5) }]);
    };
    for (fields, ends) in [
        (json!({"labels": ["car"]}), true),
        (json!({"labels": ["person"]}), false),
        (json!({"config": {"task_types": ["yolo"]}}), true),
        (json!({"config": {"min_confidence": 0.95}}), true),
        (json!({"config": {"lost_seconds": 20}}), false),
        (json!({"config": {"anchor": "center"}}), false),
        (json!({"kind": "restricted"}), false),
        (json!({"kind": "line"}), true),
        (json!({"kind": "exclude"}), true),
    ] {
        let mut site = inside(json!({}));
        car(1.5, &mut site);
        site.set(2.0, vec![zone("a", fields.clone())]);
        let expect = if ends { vec!["2 a exit 1 1s zone_changed"] } else { vec![] };
        assert_eq!(site.told, expect, "{fields}");
        // Every visit ends.
        site.tick(300.0);
        let exits = site.told.iter().filter(|told| told.contains("exit 1")).count();
        assert_eq!(exits, 1, "{fields}");
    }
}

#[test]
fn a_visit_goes_on_under_other_rules() {
    let mut site = inside(json!({}));
    site.set(2.0, vec![zone("a", json!({"config": {"lost_seconds": 20}}))]);
    site.walk(3.0, "1", 0.4, 0.5);
    site.tick(25.0);
    site.expect(&["3 a exit 1 2s lost"]);
}

#[test]
fn other_thresholds_hold_from_the_next_observation_on() {
    let mut site = inside(json!({"dwell_seconds": 60}));
    site.walk(30.0, "1", 0.41, 0.5);
    let loiter = json!({"seconds": 15});
    site.set(31.0, vec![zone("a", json!({"dwell_seconds": 10, "config": {"loiter": loiter}}))]);
    site.tick(33.0);
    site.expect(&[]);
    site.walk(34.0, "1", 0.41, 0.5);
    site.expect(&["34 a dwell 1 33s", "34 a loiter 1 33s"]);
}

#[test]
fn a_new_zone_begins_with_what_it_sees() {
    let mut site = inside(json!({}));
    site.set(2.0, vec![zone("a", json!({})), zone("b", json!({}))]);
    site.walk(3.0, "1", 0.4, 0.5);
    site.expect(&[]);
    site.walk(4.0, "1", 0.4, 0.5);
    site.expect(&["4 b enter 1"]);
}

#[test]
fn counters_stay_with_their_line() {
    let mut site = Site::new(vec![line("l", json!({}))]);
    site.walk(0.0, "1", 0.4, 0.5);
    site.walk(1.0, "1", 0.6, 0.5);
    let total = |site: &Site| site.engine.counters("l").map(|counters| counters.total.inwards);
    site.set(2.0, vec![line("l", json!({"enabled": false}))]);
    assert_eq!(total(&site), Some(1));
    site.set(3.0, vec![line("l", json!({"polygon": [[0.3, 0], [0.3, 1]]}))]);
    assert_eq!(total(&site), Some(1));
    site.set(4.0, vec![]);
    assert_eq!(total(&site), None);
}

#[test]
fn what_was_told_of_a_zone_as_a_whole_ends_with_it() {
    let fields = |config: Value| json!({"kind": "presence", "config": config});
    let alarm = json!({"confirm_frames": 1, "occupancy": {"max": 0}});
    for (after, expect) in [
        (vec![], vec!["9 a exit 1 9s zone_changed", "9 a vacant 9s zone_changed", "9 a occupancy_ok 0/0"]),
        (vec![zone("a", json!({"config": alarm}))], vec!["9 a vacant 9s zone_changed"]),
        (vec![zone("a", fields(json!({"confirm_frames": 1})))], vec!["9 a occupancy_ok 1/0"]),
    ] {
        let mut site = Site::new(vec![zone("a", fields(alarm.clone()))]);
        site.walk(0.0, "1", 0.4, 0.5);
        site.expect(&["0 a enter 1", "0 a occupied", "0 a occupancy_max 1/0"]);
        site.set(9.0, after);
        site.expect(&expect);
    }
}

#[test]
fn other_limits_are_compared_at_once() {
    let mut site = inside(json!({"config": {"occupancy": {"max": 3}}}));
    site.set(2.0, vec![zone("a", json!({"config": {"occupancy": {"max": 0}}}))]);
    site.expect(&["2 a occupancy_max 1/0"]);
}

#[test]
fn another_schedule_opens_and_closes() {
    let closed = json!({"config": {"schedule": {"windows": [{"from": "10:00", "to": "11:00"}]}}});
    let mut site = inside(json!({}));
    site.set(3.0, vec![zone("a", closed)]);
    site.expect(&["3 a exit 1 2s schedule"]);
    site.walk(4.0, "1", 0.4, 0.5);
    site.set(5.0, vec![zone("a", json!({}))]);
    site.expect(&["5 a enter 1 schedule"]);
}

#[test]
fn of_zones_with_one_id_the_first_counts() {
    let mut site = Site::new(vec![]);
    site.set(1.0, vec![zone("a", json!({"name": "x"})), zone("a", json!({"name": "y"}))]);
    assert_eq!(site.engine.zones().map(Zone::name).collect::<Vec<_>>(), ["x"]);
}

#[test]
fn a_thing_stays_a_thing_where_its_zone_is_reshaped() {
    let config = json!({"confirm_frames": 1, "static_after_seconds": 5});
    let mut site = Site::new(vec![zone("a", json!({ "config": config }))]);
    for second in 0..7 {
        site.walk(f64::from(second), "1", 0.4, 0.5);
    }
    site.expect(&["0 a enter 1", "5 a static_suppressed 1 5s"]);
    let wider = json!([[0, 0], [0.7, 0], [0.7, 1], [0, 1]]);
    site.set(7.0, vec![zone("a", json!({"polygon": wider, "config": config}))]);
    site.walk(8.0, "1", 0.4, 0.5);
    site.walk(9.0, "2", 0.4, 0.5);
    site.expect(&[]);
}
