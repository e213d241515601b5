//! Lines and their counters.
use super::*;

fn totals(site: &Site) -> (u64, u64, i64) {
    let counters = site.engine.counters("l").unwrap();
    (counters.total.inwards, counters.total.outwards, counters.net())
}

fn walk_all(site: &mut Site, xs: &[f64]) {
    for (second, x) in xs.iter().enumerate() {
        site.walk(second as f64, "1", *x, 0.5);
    }
}

#[test]
fn crossings_are_told_and_counted() {
    let mut site = Site::new(vec![line("l", json!({}))]);
    walk_all(&mut site, &[0.3, 0.45, 0.6, 0.7, 0.4]);
    site.expect(&["2 l cross_ab 1", "4 l cross_ba 1"]);
    assert_eq!(totals(&site), (1, 1, 0));
    let fact = &site.last.facts[0];
    assert_eq!((fact.detection, fact.evidence, fact.in_feed), (Some(0), true, true));
    assert_eq!(site.last.counters[0], *site.engine.counters("l").unwrap());
    site.walk(5.0, "1", 0.3, 0.5);
    assert!(site.last.is_empty());
}

#[test]
fn one_observation_crosses_nothing() {
    let mut site = Site::new(vec![line("l", json!({}))]);
    site.walk(0.0, "1", 0.6, 0.5);
    site.walk(1.0, "2", 0.4, 0.5);
    site.expect(&[]);
}

#[test]
fn touching_and_walking_along_is_no_crossing() {
    let mut site = Site::new(vec![line(
        "l",
        json!({"polygon": [[0.5, 0.25], [0.5, 0.75]], "config": {"hysteresis": 0}}),
    )]);
    let exact = |x: f64, y: f64| Detection {
        bbox: Some([x - 0.125, y - 0.125, 0.25, 0.125]),
        ..there("1", 0.0, 0.0)
    };
    for (second, (x, y)) in [
        (0.25, 0.5),
        (0.5, 0.5),
        (0.25, 0.5),
        (0.5, 0.5),
        (0.5, 0.625),
        (0.5, 0.875),
        (0.75, 0.875),
        (0.25, 0.875),
    ]
    .into_iter()
    .enumerate()
    {
        site.see(second as f64, &[exact(x, y)]);
    }
    site.expect(&[]);
}

#[test]
fn a_crossing_counts_once_it_is_cleared() {
    let config = json!({"config": {"hysteresis": 0.1}});
    let mut site = Site::new(vec![line("l", config.clone())]);
    walk_all(&mut site, &[0.45, 0.55, 0.58, 0.61, 0.7]);
    site.expect(&["3 l cross_ab 1"]);
    // It turns back in the band: not at all.
    let mut site = Site::new(vec![line("l", config.clone())]);
    walk_all(&mut site, &[0.3, 0.55, 0.45, 0.55, 0.45, 0.3]);
    site.expect(&[]);
    assert_eq!(totals(&site), (0, 0, 0));
    // It wavers and goes on: once.
    let mut site = Site::new(vec![line("l", config)]);
    walk_all(&mut site, &[0.3, 0.55, 0.45, 0.55, 0.45, 0.55, 0.7, 0.55, 0.45, 0.55, 0.7]);
    site.expect(&["6 l cross_ab 1"]);
}

#[test]
fn observations_do_not_have_to_be_confirmed() {
    let mut site = Site::new(vec![line("l", json!({"config": {"confirm_frames": 10}}))]);
    walk_all(&mut site, &[0.4, 0.6]);
    site.expect(&["1 l cross_ab 1"]);
}

#[test]
fn direction_silences_and_still_counts() {
    for (direction, expect) in [("ab", "1 l cross_ab 1"), ("ba", "2 l cross_ba 1")] {
        let mut site = Site::new(vec![line("l", json!({"config": {"direction": direction}}))]);
        walk_all(&mut site, &[0.4, 0.6, 0.4]);
        site.expect(&[expect]);
        assert_eq!(totals(&site), (1, 1, 0));
    }
}

#[test]
fn in_says_which_way_is_in() {
    let mut site = Site::new(vec![line("l", json!({"config": {"in": "ba"}}))]);
    walk_all(&mut site, &[0.4, 0.6]);
    assert_eq!(totals(&site), (0, 1, -1));
}

#[test]
fn counters_by_label() {
    let mut site = Site::new(vec![line("l", json!({}))]);
    for (second, x) in [(0, 0.4), (1, 0.6)] {
        let car = Detection { label: Some("car"), ..there("2", x, 0.5) };
        let none = Detection { label: None, ..there("3", 1.0 - x, 0.5) };
        site.see(f64::from(second), &[there("1", x, 0.5), car, none]);
    }
    let by_label = &site.engine.counters("l").unwrap().by_label;
    let labels: Vec<_> = by_label.iter().map(|(l, c)| (&**l, c.inwards, c.outwards)).collect();
    assert_eq!(labels, [("", 0, 1), ("car", 1, 0), ("person", 1, 0)]);
}

#[test]
fn labels_of_counters_are_bounded() {
    let mut site = Site::new(vec![line("l", json!({}))]);
    let names: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    for (second, x) in [(0, 0.4), (1, 0.6)] {
        let all: Vec<_> =
            names.iter().map(|name| Detection { label: Some(name), ..there(name, x, 0.5) }).collect();
        site.see(f64::from(second), &all);
    }
    let counters = site.engine.counters("l").unwrap();
    assert_eq!((counters.total.inwards, counters.by_label.len()), (300, Counters::MAX_LABELS));
}

#[test]
fn a_gap_starts_the_way_anew() {
    let mut site = Site::new(vec![line("l", json!({}))]);
    site.walk(0.0, "1", 0.4, 0.5);
    site.walk(5.0, "1", 0.6, 0.5);
    site.expect(&["5 l cross_ab 1"]);
    site.walk(10.1, "1", 0.4, 0.5);
    site.expect(&[]);
    // Three periods, for slow tasks.
    site.period = Some(Micros::from_secs(3));
    site.walk(19.0, "1", 0.6, 0.5);
    site.expect(&["19 l cross_ab 1"]);
    site.walk(28.1, "1", 0.4, 0.5);
    site.expect(&[]);
}

#[test]
fn polylines_are_crossed_segment_by_segment() {
    let hook = json!({"polygon": [[0.3, 0.9], [0.5, 0.1], [0.7, 0.9]]});
    let mut site = Site::new(vec![line("l", hook.clone())]);
    walk_all(&mut site, &[0.1, 0.5, 0.9]);
    site.expect(&["1 l cross_ba 1", "2 l cross_ab 1"]);
    let mut site = Site::new(vec![line("l", hook)]);
    walk_all(&mut site, &[0.1, 0.9]);
    site.expect(&["1 l cross_ba 1", "1 l cross_ab 1"]);
}

#[test]
fn the_centre_can_cross() {
    let fields = json!({"polygon": [[0, 0.5], [1, 0.5]], "config": {"anchor": "center"}});
    let mut site = Site::new(vec![line("l", fields)]);
    site.walk(0.0, "1", 0.5, 0.53);
    site.walk(1.0, "1", 0.5, 0.54);
    site.expect(&[]);
    site.walk(2.0, "1", 0.5, 0.7);
    site.expect(&["2 l cross_ba 1"]);
}

#[test]
fn counters_start_anew_every_day() {
    let fields = json!({"config": {"counter_reset": {"at": "01:00", "tz": "Europe/Berlin"}}});
    let mut site = Site::new(vec![line("l", fields)]);
    // 01:00 in Berlin is 23:00 UTC in summer.
    let reset = 23.0 * 3600.0;
    site.walk(reset - 3.0, "1", 0.4, 0.5);
    site.walk(reset - 2.0, "1", 0.6, 0.5);
    assert_eq!(totals(&site), (1, 0, 1));
    // A picture that was captured before it and comes after it belongs to the day before.
    site.see_at(reset - 0.5, reset + 0.5, &[there("1", 0.4, 0.5)]);
    assert_eq!(totals(&site), (1, 1, 0));
    site.tick(reset + 2.0);
    let counters = site.engine.counters("l").unwrap();
    assert_eq!((totals(&site), counters.since, counters.by_label.len()), ((0, 0, 0), at(reset), 0));
    assert_eq!(site.last.counters.len(), 1);
    site.tick(reset + 500.0);
    assert_eq!(site.engine.next_deadline(), Some(at(reset + 86_400.0) + SETTLE));
}

#[test]
fn counters_are_reset_by_hand() {
    let mut site = Site::new(vec![line("l", json!({}))]);
    walk_all(&mut site, &[0.4, 0.6]);
    let output = site.engine.reset_counters("l", at(9.0));
    assert_eq!((totals(&site), output.counters[0].since, output.counters.len()), ((0, 0, 0), at(9.0), 1));
    assert!(site.engine.reset_counters("unknown", at(10.0)).is_empty());
}

#[test]
fn lines_have_no_occupancy_and_areas_no_counters() {
    let mut site = Site::new(vec![line("l", json!({})), zone("a", json!({}))]);
    walk_all(&mut site, &[0.4, 0.4, 0.6]);
    assert_eq!((site.count("l"), site.count("a")), (None, Some(1)));
    assert!(site.engine.counters("a").is_none());
}
