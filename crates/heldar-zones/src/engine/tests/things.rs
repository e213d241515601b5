//! Things that stand there.
use super::*;

fn parked(config: Value) -> Site {
    let mut all = json!({"confirm_frames": 1, "static_after_seconds": 10, "lost_seconds": 30});
    all.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
    Site::new(vec![zone("a", json!({ "config": all }))])
}

#[test]
fn what_never_moved_is_suppressed_once() {
    let mut site = parked(json!({}));
    for second in 0..30 {
        site.walk(f64::from(second), "1", 0.4 + 0.001 * f64::from(second % 3), 0.5);
    }
    site.expect(&["0 a enter 1", "10 a static_suppressed 1 10s"]);
    assert_eq!(site.count("a"), Some(0));
    // Followed silently: out, in, and lost.
    site.walk(30.0, "1", 0.41, 0.5);
    site.tick(100.0);
    site.expect(&[]);
}

#[test]
fn suppression_can_be_off() {
    let mut site = parked(json!({"static_suppression": false}));
    for second in 0..30 {
        site.walk(f64::from(second), "1", 0.4, 0.5);
    }
    site.expect(&["0 a enter 1"]);
}

#[test]
fn the_largest_displacement_counts() {
    let mut site = parked(json!({}));
    for second in 0..30 {
        site.walk(f64::from(second), "1", if second == 3 { 0.43 } else { 0.4 }, 0.5);
    }
    site.expect(&["0 a enter 1"]);
    let mut site = parked(json!({"static_epsilon": 0.04}));
    for second in 0..30 {
        site.walk(f64::from(second), "1", if second == 3 { 0.43 } else { 0.4 }, 0.5);
    }
    site.expect(&["0 a enter 1", "10 a static_suppressed 1 10s"]);
}

#[test]
fn what_moves_again_enters_again_and_is_never_suppressed_again() {
    let mut site = parked(json!({}));
    for second in 0..12 {
        site.walk(f64::from(second), "1", 0.4, 0.5);
    }
    for second in 12..60 {
        site.walk(f64::from(second), "1", 0.3, 0.5);
    }
    site.walk(60.0, "1", 0.7, 0.5);
    site.expect(&["0 a enter 1", "10 a static_suppressed 1 10s", "12 a enter 1", "60 a exit 1 48s left"]);
}

#[test]
fn what_moves_away_at_once_enters_nothing() {
    let mut site = parked(json!({}));
    for second in 0..12 {
        site.walk(f64::from(second), "1", 0.4, 0.5);
    }
    site.walk(12.0, "1", 0.7, 0.5);
    site.expect(&["0 a enter 1", "10 a static_suppressed 1 10s"]);
}

#[test]
fn jitter_at_the_edge_is_silent() {
    let mut site = parked(json!({}));
    for second in 0..40 {
        site.walk(f64::from(second), "1", if second % 2 == 0 { 0.505 } else { 0.495 }, 0.5);
    }
    let told = site.told.len();
    site.expect(&[
        "1 a enter 1",
        "2 a exit 1 1s left",
        "3 a enter 1",
        "4 a exit 1 1s left",
        "5 a enter 1",
        "6 a exit 1 1s left",
        "7 a enter 1",
        "8 a exit 1 1s left",
        "9 a enter 1",
        "10 a static_suppressed 1 1s",
    ]);
    assert_eq!(told, 10);
}

#[test]
fn the_same_thing_under_another_name_stays_silent() {
    let mut site = parked(json!({}));
    for second in 0..12 {
        site.walk(f64::from(second), "1", 0.4, 0.5);
    }
    site.expect(&["0 a enter 1", "10 a static_suppressed 1 10s"]);
    site.see(12.0, &[there("2", 0.41, 0.5), there("3", 0.43, 0.5)]);
    site.expect(&["12 a enter 3"]);
    // It inherits the origin: what is far from there moves.
    site.see(13.0, &[there("2", 0.425, 0.5)]);
    site.expect(&["13 a enter 2"]);
    // Of another task it is another thing.
    site.task = "ai_2";
    site.walk(14.0, "9", 0.4, 0.5);
    site.expect(&["14 a enter 9"]);
}

#[test]
fn a_new_lease_does_not_make_parked_cars_enter_again() {
    let mut site = parked(json!({}));
    site.lease = Some("lse_1");
    for second in 0..12 {
        site.walk(f64::from(second), "1", 0.4, 0.5);
    }
    site.expect(&["0 a enter 1", "10 a static_suppressed 1 10s"]);
    site.lease = Some("lse_2");
    for second in 12..60 {
        site.walk(f64::from(second), "7", 0.4, 0.5);
    }
    site.expect(&[]);
    assert_eq!(site.engine.quantities().tracks, 1);
    site.walk(60.0, "7", 0.3, 0.5);
    site.expect(&["60 a enter 7"]);
}

#[test]
fn no_dwell_and_no_loitering_of_things() {
    let config = json!({"confirm_frames": 1, "static_after_seconds": 5, "loiter": {"seconds": 8}});
    let mut site = Site::new(vec![zone("a", json!({"dwell_seconds": 7, "config": config}))]);
    for second in 0..30 {
        site.walk(f64::from(second), "1", 0.4, 0.5);
    }
    site.expect(&["0 a enter 1", "5 a static_suppressed 1 5s"]);
}

#[test]
fn things_do_not_cross() {
    let mut site =
        Site::new(vec![line("l", json!({"config": {"static_after_seconds": 5, "hysteresis": 0}}))]);
    for second in 0..30 {
        site.walk(f64::from(second), "1", if second % 2 == 0 { 0.495 } else { 0.505 }, 0.5);
    }
    site.expect(&["1 l cross_ab 1", "2 l cross_ba 1", "3 l cross_ab 1", "4 l cross_ba 1"]);
}

#[test]
fn count_zones_do_not_tell_of_things() {
    let config = json!({"confirm_frames": 1, "static_after_seconds": 5});
    let mut site = Site::new(vec![zone("a", json!({"kind": "count", "config": config}))]);
    for second in 0..9 {
        site.walk(f64::from(second), "1", 0.4, 0.5);
    }
    site.expect(&["0 a enter 1"]);
    assert_eq!(site.count("a"), Some(0));
}
