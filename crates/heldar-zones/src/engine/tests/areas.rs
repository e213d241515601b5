//! Visits, dwell, loitering.
use super::*;

#[test]
fn a_side_is_changed_by_observations_in_a_row() {
    let mut site = Site::new(vec![zone("a", json!({"config": {"confirm_frames": 3}}))]);
    for (second, x) in [(0, 0.4), (1, 0.4), (2, 0.6), (3, 0.4), (4, 0.3), (5, 0.2)] {
        site.walk(f64::from(second), "1", x, 0.5);
    }
    site.expect(&["5 a enter 1"]);
    for (second, x) in [(6, 0.6), (7, 0.6), (8, 0.4), (9, 0.6), (10, 0.6), (11, 0.6), (12, 0.6)] {
        site.walk(f64::from(second), "1", x, 0.5);
    }
    site.expect(&["11 a exit 1 6s left"]);
}

#[test]
fn two_observations_are_the_default() {
    let mut site = Site::new(vec![zone("a", json!({}))]);
    site.walk(0.0, "1", 0.4, 0.5);
    site.expect(&[]);
    site.walk(1.0, "1", 0.3, 0.5);
    site.expect(&["1 a enter 1"]);
}

#[test]
fn facts_say_what_is_known() {
    let mut site = Site::new(vec![zone("a", json!({"config": {"confirm_frames": 1}}))]);
    site.see(0.0, &[there("2", 0.9, 0.5), there("1", 0.7, 0.5)]);
    site.see(0.5, &[there("1", 0.4, 0.9)]);
    let fact = &site.last.facts[0];
    let bbox = fact.bbox;
    assert_eq!((fact.task_type.as_deref(), fact.task.as_deref()), (Some("detection"), Some("ai_1")));
    assert_eq!((fact.track.as_deref(), fact.label.as_deref()), (Some("1"), Some("person")));
    assert_eq!((fact.confidence, fact.detection), (Some(0.9), Some(0)));
    let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
    let anchor = fact.anchor.unwrap();
    assert!(near(anchor[0], 0.4) && near(anchor[1], 0.9), "{anchor:?}");
    let expect = [0.35, 0.8, 0.1, 0.1];
    assert!(fact.bbox.unwrap().iter().zip(expect).all(|(a, b)| near(*a, b)));
    assert!(near(fact.speed.unwrap(), 1.0), "{:?}", fact.speed);
    let degrees = 0.4f64.atan2(-0.3).to_degrees();
    assert!(near(fact.direction_deg.unwrap(), degrees));
    assert!(fact.evidence && fact.in_feed);
    site.tick(200.0);
    let exit = &site.last.facts[0];
    assert_eq!((exit.detection, exit.evidence, exit.confidence), (None, false, Some(0.9)));
    assert_eq!((exit.bbox, exit.anchor), (bbox, Some(anchor)));
}

#[test]
fn motion_needs_two_observations_in_the_second_before() {
    let mut site = Site::new(vec![zone("a", json!({"config": {"confirm_frames": 1}}))]);
    site.walk(0.0, "1", 0.9, 0.5);
    site.walk(1.1, "1", 0.4, 0.5);
    assert_eq!((site.last.facts[0].direction_deg, site.last.facts[0].speed), (None, None));
    site.walk(2.1, "1", 0.4, 0.7);
    site.walk(3.1, "1", 0.9, 0.7);
    assert_eq!(site.last.facts[0].direction_deg, Some(0.0));
    assert!((site.last.facts[0].speed.unwrap() - 0.5).abs() < 1e-9);
}

#[test]
fn no_evidence_when_none_is_wanted() {
    let mut site = Site::new(vec![zone("a", json!({"config": {"confirm_frames": 1, "evidence": "none"}}))]);
    site.walk(0.0, "1", 0.4, 0.5);
    assert!(!site.last.facts[0].evidence);
}

#[test]
fn dwell_is_told_once_a_visit() {
    let mut site = Site::new(vec![zone("a", json!({"dwell_seconds": 3, "config": {"confirm_frames": 1}}))]);
    for second in 0..8 {
        site.walk(f64::from(second), "1", 0.4, 0.5);
    }
    site.expect(&["0 a enter 1", "3 a dwell 1 3s"]);
    site.walk(8.0, "1", 0.6, 0.5);
    site.walk(9.0, "1", 0.4, 0.5);
    site.expect(&["8 a exit 1 8s left", "9 a enter 1"]);
    site.tick(14.0);
    site.expect(&["12 a dwell 1 3s"]);
}

#[test]
fn dwell_falls_due_by_itself_while_the_track_is_in_sight() {
    let mut site = Site::new(vec![zone("a", json!({"dwell_seconds": 4.5, "config": {"confirm_frames": 1}}))]);
    site.walk(0.0, "1", 0.4, 0.5);
    assert_eq!(site.engine.next_deadline(), Some(at(4.5) + SETTLE));
    site.tick(6.4);
    site.expect(&["0 a enter 1"]);
    site.tick(6.5);
    site.expect(&["4.5 a dwell 1 4.5s"]);
}

#[test]
fn dwell_of_a_track_out_of_sight_waits_until_it_is_seen() {
    let fields = json!({"dwell_seconds": 10, "config": {"confirm_frames": 1}});
    let mut site = Site::new(vec![zone("a", fields.clone())]);
    site.walk(0.0, "1", 0.4, 0.5);
    site.tick(60.0);
    site.expect(&["0 a enter 1"]);
    site.walk(61.0, "1", 0.4, 0.5);
    site.expect(&["61 a dwell 1 61s"]);
    site.walk(62.0, "1", 0.4, 0.5);
    site.expect(&[]);
    // Three periods are longer than 5 s for slow tasks.
    let mut site = Site::new(vec![zone("a", fields)]);
    site.period = Some(Micros::from_secs(4));
    site.walk(0.0, "1", 0.4, 0.5);
    site.tick(60.0);
    site.expect(&["0 a enter 1", "10 a dwell 1 10s"]);
}

#[test]
fn in_sight_is_five_seconds_and_not_longer() {
    for (dwell, told) in [(5.0, true), (5.000001, false)] {
        let mut site =
            Site::new(vec![zone("a", json!({"dwell_seconds": dwell, "config": {"confirm_frames": 1}}))]);
        site.walk(0.0, "1", 0.4, 0.5);
        site.tick(60.0);
        assert_eq!(site.told.len() == 2, told, "{dwell}");
    }
}

#[test]
fn no_dwell_without_dwell_seconds() {
    let mut site = Site::new(vec![zone("a", json!({"config": {"confirm_frames": 1}}))]);
    for second in 0..100 {
        site.walk(f64::from(second), "1", 0.4 - 0.003 * f64::from(second), 0.5);
    }
    site.expect(&["0 a enter 1"]);
}

#[test]
fn unseen_for_too_long_is_lost_at_the_time_last_seen() {
    let mut site = Site::new(vec![zone("a", json!({"config": {"confirm_frames": 1, "lost_seconds": 10}}))]);
    site.walk(0.0, "1", 0.4, 0.5);
    site.walk(3.0, "1", 0.4, 0.5);
    site.tick(14.9);
    site.expect(&["0 a enter 1"]);
    assert_eq!(site.count("a"), Some(1));
    site.tick(15.0);
    site.expect(&["3 a exit 1 3s lost"]);
    assert_eq!(site.count("a"), Some(0));
    assert_eq!(site.engine.quantities().tracks, 0);
    site.walk(16.0, "1", 0.4, 0.5);
    site.expect(&["16 a enter 1"]);
    // It is gone at that very instant.
    site.walk(26.0, "1", 0.4, 0.5);
    site.expect(&["16 a exit 1 0s lost", "26 a enter 1"]);
}

#[test]
fn lost_after_two_minutes_by_default() {
    let mut site = Site::new(vec![zone("a", json!({"config": {"confirm_frames": 1}}))]);
    site.walk(0.0, "1", 0.4, 0.5);
    site.tick(121.9);
    site.expect(&["0 a enter 1"]);
    site.tick(122.0);
    site.expect(&["0 a exit 1 0s lost"]);
}

#[test]
fn loitering_adds_up_over_visits() {
    let loiter = json!({"seconds": 10, "gap_seconds": 5});
    let mut site = Site::new(vec![zone("a", json!({"config": {"confirm_frames": 1, "loiter": loiter}}))]);
    for (second, x) in [(0, 0.4), (3, 0.4), (6, 0.6), (8, 0.6), (11, 0.4), (14, 0.4), (16, 0.4)] {
        site.walk(f64::from(second), "1", x, 0.5);
    }
    site.expect(&["0 a enter 1", "6 a exit 1 6s left", "11 a enter 1", "15 a loiter 1 10s"]);
    assert_eq!(site.engine.quantities().pairs, 1);
    // Once only, without `repeat_seconds`.
    for second in 17..60 {
        site.walk(f64::from(second), "1", 0.4, 0.5);
    }
    site.expect(&[]);
}

#[test]
fn a_long_absence_starts_loitering_over() {
    let loiter = json!({"seconds": 10, "gap_seconds": 5});
    let mut site = Site::new(vec![zone("a", json!({"config": {"confirm_frames": 1, "loiter": loiter}}))]);
    for (second, x) in [(0, 0.4), (3, 0.4), (6, 0.6), (9, 0.6), (12, 0.4), (14, 0.4), (16, 0.4)] {
        site.walk(f64::from(second), "1", x, 0.5);
    }
    site.expect(&["0 a enter 1", "6 a exit 1 6s left", "12 a enter 1"]);
    for second in [19, 22, 25] {
        site.walk(f64::from(second), "1", 0.4, 0.5);
    }
    site.expect(&["22 a loiter 1 10s"]);
}

#[test]
fn loitering_is_told_again() {
    let loiter = json!({"seconds": 4, "repeat_seconds": 3});
    let mut site = Site::new(vec![zone("a", json!({"config": {"confirm_frames": 1, "loiter": loiter}}))]);
    for second in 0..9 {
        site.walk(f64::from(second), "1", 0.4, 0.5);
    }
    site.tick(14.0);
    site.expect(&["0 a enter 1", "4 a loiter 1 4s", "7 a loiter 1 7s", "10 a loiter 1 10s"]);
    // Out of sight when the next ones are reached: told together when it is seen again.
    site.tick(40.0);
    site.expect(&["13 a loiter 1 13s"]);
    site.walk(41.0, "1", 0.4, 0.5);
    site.expect(&["41 a loiter 1 41s"]);
    site.walk(42.0, "1", 0.4, 0.5);
    site.walk(43.0, "1", 0.4, 0.5);
    site.expect(&["43 a loiter 1 43s"]);
    assert!(site.last.facts[0].evidence);
}

#[test]
fn visits_of_count_zones_stay_out_of_the_feed() {
    let fields = json!({"kind": "count", "dwell_seconds": 1, "config": {"confirm_frames": 1}});
    let mut site = Site::new(vec![zone("a", fields)]);
    let mut feed = Vec::new();
    for (second, x) in [(0, 0.4), (2, 0.4), (3, 0.7)] {
        site.walk(f64::from(second), "1", x, 0.5);
        feed.extend(site.last.facts.iter().map(|fact| (fact.kind.as_str(), fact.in_feed)));
    }
    assert_eq!(feed, [("enter", false), ("dwell", false), ("exit", false)]);
    let fields = json!({"kind": "count", "config": {"confirm_frames": 1, "emit_tracks": true}});
    let mut site = Site::new(vec![zone("a", fields)]);
    site.walk(0.0, "1", 0.4, 0.5);
    assert!(site.last.facts[0].in_feed);
}

#[test]
fn all_area_kinds_are_visited() {
    for kind in ["region", "presence", "restricted", "red", "count"] {
        let mut site = Site::new(vec![zone("a", json!({"kind": kind, "config": {"confirm_frames": 1}}))]);
        site.walk(0.0, "1", 0.4, 0.5);
        site.walk(1.0, "1", 0.6, 0.5);
        let visits = |told: &String| told.contains("enter 1") || told.contains("exit 1 1s left");
        assert_eq!(site.told.iter().filter(|told| visits(told)).count(), 2, "{kind}");
    }
}
