//! Schedules, ticks, order of deadlines, clocks that step.
use super::*;

fn scheduled(kind: &str, windows: Value, config: Value) -> Zone {
    let mut all = json!({"confirm_frames": 1, "lost_seconds": 600, "schedule": {"windows": windows}});
    all.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
    zone("a", json!({"kind": kind, "config": all}))
}

const HOUR: f64 = 3600.0;

#[test]
fn a_zone_that_opens_or_closes_lets_tracks_in_and_out_at_that_instant() {
    let mut site = Site::new(vec![scheduled("region", json!([{"from": "01:00", "to": "02:00"}]), json!({}))]);
    site.walk(HOUR - 2.0, "1", 0.4, 0.5);
    site.expect(&[]);
    site.tick(HOUR + 2.0);
    site.expect(&["3600 a enter 1 schedule"]);
    assert_eq!(site.last.facts[0].detection, None);
    site.walk(2.0 * HOUR - 3.0, "2", 0.4, 0.5);
    site.tick(2.0 * HOUR + 2.0);
    site.expect(&["3600 a exit 1 0s lost", "7197 a enter 2", "7200 a exit 2 3s schedule"]);
    // Outside of its hours nothing is told.
    site.walk(2.0 * HOUR + 3.0, "3", 0.4, 0.5);
    site.walk(2.0 * HOUR + 4.0, "3", 0.6, 0.5);
    site.expect(&[]);
    assert_eq!(site.count("a"), Some(0));
}

#[test]
fn who_is_out_of_sight_when_it_opens_enters_when_seen() {
    let mut site = Site::new(vec![scheduled("region", json!([{"from": "01:00", "to": "02:00"}]), json!({}))]);
    site.walk(HOUR - 60.0, "1", 0.4, 0.5);
    site.tick(HOUR + 10.0);
    site.expect(&[]);
    site.walk(HOUR + 20.0, "1", 0.4, 0.5);
    site.expect(&["3620 a enter 1"]);
}

#[test]
fn windows_pass_midnight_and_know_days() {
    let windows = json!([{"days": ["mon"], "from": "22:00", "to": "02:00"}]);
    let mut site = Site::new(vec![scheduled("region", windows, json!({}))]);
    for (hour, expect) in
        [(1.0, false), (21.0, false), (23.0, true), (25.0, true), (27.0, false), (47.0, false)]
    {
        site.walk(hour * HOUR, &hour.to_string(), 0.4, 0.5);
        assert_eq!(site.told.iter().any(|told| told.contains("enter")), expect, "{hour}");
        site.told.clear();
    }
}

#[test]
fn a_closed_line_counts_nothing() {
    let config = json!({"schedule": {"windows": [{"from": "01:00", "to": "02:00"}]}});
    let mut site = Site::new(vec![line("l", json!({ "config": config }))]);
    site.walk(0.0, "1", 0.4, 0.5);
    site.walk(1.0, "1", 0.6, 0.5);
    site.expect(&[]);
    assert_eq!(site.engine.counters("l").unwrap().total, Default::default());
    site.walk(HOUR, "2", 0.4, 0.5);
    site.walk(HOUR + 1.0, "2", 0.6, 0.5);
    site.expect(&["3601 l cross_ab 2"]);
}

#[test]
fn a_closed_zone_raises_no_alarm() {
    let config = json!({"occupancy": {"min": 1}});
    let mut site = Site::new(vec![scheduled("region", json!([{"from": "01:00", "to": "02:00"}]), config)]);
    site.expect(&[]);
    site.tick(4.0 * HOUR);
    site.expect(&["3600 a occupancy_min 0/1", "7200 a occupancy_ok 0/1"]);
}

#[test]
fn a_closed_zone_becomes_vacant() {
    let windows = json!([{"from": "01:00", "to": "02:00"}]);
    let mut site = Site::new(vec![scheduled("presence", windows, json!({"vacant_after_seconds": 2}))]);
    site.walk(2.0 * HOUR - 1.0, "1", 0.4, 0.5);
    site.tick(2.0 * HOUR + 4.0);
    site.expect(&["7199 a enter 1", "7199 a occupied", "7200 a exit 1 1s schedule", "7202 a vacant 1s"]);
}

#[test]
fn dwell_counts_from_when_the_zone_opens() {
    let zone = scheduled("region", json!([{"from": "01:00", "to": "02:00"}]), json!({}));
    let fields = ZoneFields { dwell_seconds: json!(3), ..zone.fields() };
    let mut site = Site::new(vec![Zone::new("a", &fields).unwrap()]);
    site.walk(HOUR - 100.0, "1", 0.4, 0.5);
    site.walk(HOUR - 1.0, "1", 0.4, 0.5);
    site.walk(HOUR + 2.0, "1", 0.4, 0.5);
    site.tick(HOUR + 5.0);
    site.expect(&["3600 a enter 1 schedule", "3603 a dwell 1 3s"]);
}

#[test]
fn deadlines_wait_for_pictures_on_their_way() {
    let mut site = Site::new(vec![zone("a", json!({"dwell_seconds": 3, "config": {"confirm_frames": 1}}))]);
    site.walk(0.0, "1", 0.4, 0.5);
    site.tick(4.0);
    // Captured before the deadline, stored after it: it has left, and never dwelt.
    site.see_at(2.9, 4.5, &[there("1", 0.6, 0.5)]);
    site.tick(10.0);
    site.expect(&["0 a enter 1", "2.9 a exit 1 2.9s left"]);
}

#[test]
fn what_falls_due_before_a_picture_comes_first() {
    let config = json!({"confirm_frames": 1, "lost_seconds": 4, "vacant_after_seconds": 1});
    let mut site =
        Site::new(vec![zone("a", json!({"kind": "presence", "dwell_seconds": 2, "config": config}))]);
    site.walk(0.0, "1", 0.4, 0.5);
    site.walk(100.0, "2", 0.4, 0.5);
    site.expect(&[
        "0 a enter 1",
        "0 a occupied",
        "2 a dwell 1 2s",
        "0 a exit 1 0s lost",
        "5 a vacant 4s",
        "100 a enter 2",
        "100 a occupied",
    ]);
}

#[test]
fn deadlines_are_of_use() {
    let mut site = Site::new(vec![zone("a", json!({"dwell_seconds": 30, "config": {"confirm_frames": 1}}))]);
    assert_eq!(site.engine.next_deadline(), None);
    site.period = Some(Micros::from_secs(60));
    site.walk(0.0, "1", 0.4, 0.5);
    let mut ticks = 0;
    while let Some(deadline) = site.engine.next_deadline() {
        let output = site.engine.tick(deadline);
        site.hear(output);
        ticks += 1;
    }
    site.expect(&["0 a enter 1", "30 a dwell 1 30s", "0 a exit 1 0s lost"]);
    assert!(ticks <= 3, "{ticks}");
}

#[test]
fn a_clock_that_is_set_back_ends_tracks() {
    let config = json!({"confirm_frames": 1, "vacant_after_seconds": 3});
    let mut site = Site::new(vec![zone("a", json!({"kind": "presence", "config": config}))]);
    site.walk(7200.0, "1", 0.4, 0.5);
    site.tick(7300.0);
    site.expect(&["7200 a enter 1", "7200 a occupied"]);
    site.walk(10.0, "1", 0.4, 0.5);
    site.expect(&["7200 a exit 1 0s lost", "10 a enter 1"]);
    site.walk(11.0, "1", 0.6, 0.5);
    site.tick(16.0);
    site.expect(&["11 a exit 1 1s left", "14 a vacant 1s"]);
    // A few seconds are no step.
    site.walk(20.0, "1", 0.4, 0.5);
    site.tick(24.0);
    site.tick(21.0);
    site.expect(&["20 a enter 1", "20 a occupied"]);
}

#[test]
fn a_long_silence_is_not_lived_through() {
    let config = json!({"occupancy": {"min": 1}});
    let windows = json!([{"from": "01:00", "to": "02:00"}]);
    let reset = json!({"config": {"counter_reset": {"at": "04:00"}}});
    let mut site = Site::new(vec![scheduled("presence", windows, config), line("l", reset)]);
    site.walk(HOUR, "1", 0.4, 0.5);
    site.walk(HOUR + 1.0, "1", 0.6, 0.5);
    site.told.clear();
    let day = 24.0 * HOUR;
    // Days are lived through, with what is told on each of them.
    site.tick(2.0 * day);
    assert!(site.told.contains(&"90000 a occupancy_min 0/1".to_owned()), "{:?}", site.told);
    assert_eq!(site.engine.counters("l").map(|counters| counters.since), Some(at(day + 4.0 * HOUR)));
    site.told.clear();
    site.tick(40.0 * 365.0 * day + HOUR);
    let start = 40.0 * 365.0 * day + HOUR;
    site.expect(&[&format!("{start} a occupancy_min 0/1")]);
    assert_eq!(site.engine.counters("l").map(|counters| counters.since), Some(at(start)));
}
