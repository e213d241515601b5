//! What zones see: filters, masks, anchors, streams, leases, order.
use super::*;
use crate::mask::Masks;

const ONE: &str = r#"{"confirm_frames": 1}"#;

fn one(fields: Value) -> Value {
    let mut config: Value = serde_json::from_str(ONE).unwrap();
    config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({ "config": config })
}

#[test]
fn without_track_or_box_nothing_is_seen() {
    let mut site = Site::new(vec![zone("a", one(json!({})))]);
    let person = there("1", 0.4, 0.5);
    site.see(0.0, &[Detection { track: None, ..person }, Detection { bbox: None, ..person }]);
    site.see(1.0, &[Detection { track: Some(""), ..person }]);
    site.see(2.0, &[Detection { bbox: Some([0.1, f64::NAN, 0.1, 0.1]), ..person }]);
    site.see(3.0, &[Detection { bbox: Some([0.1, 0.1, -0.1, 0.1]), ..person }]);
    site.expect(&[]);
    assert_eq!(site.engine.quantities().tracks, 0);
}

#[test]
fn of_the_same_track_twice_the_higher_confidence_counts() {
    let mut site = Site::new(vec![zone("a", one(json!({})))]);
    let sure = |x, confidence| Detection { confidence, ..there("1", x, 0.5) };
    site.see(0.0, &[sure(0.4, Some(0.6)), sure(0.7, Some(0.8))]);
    site.see(1.0, &[sure(0.7, None), sure(0.4, Some(0.6))]);
    assert_eq!(site.last.facts[0].detection, Some(1));
    site.see(2.0, &[sure(0.3, Some(0.9)), sure(0.7, Some(0.9))]);
    site.expect(&["1 a enter 1"]);
}

#[test]
fn parts_of_a_picture_are_one_observation() {
    let mut site = Site::new(vec![zone("a", json!({}))]);
    site.walk(0.0, "1", 0.4, 0.5);
    site.walk(0.0, "1", 0.4, 0.5);
    site.expect(&[]);
    site.walk(1.0, "1", 0.4, 0.5);
    site.expect(&["1 a enter 1"]);
}

#[test]
fn what_is_older_than_the_newest_of_its_track_is_not_seen() {
    let mut site = Site::new(vec![zone("a", one(json!({})))]);
    site.walk(5.0, "1", 0.4, 0.5);
    site.see_at(4.0, 5.5, &[there("1", 0.7, 0.5), there("2", 0.4, 0.5)]);
    site.expect(&["5 a enter 1", "4 a enter 2"]);
}

#[test]
fn late_batches_are_counted_and_skipped() {
    let mut site = Site::new(vec![zone("a", one(json!({})))]);
    let late = Batch {
        task_type: "detection",
        task: "ai_1",
        lease: None,
        period: None,
        captured_at: at(0.0),
        late: true,
        detections: &[there("1", 0.4, 0.5)],
    };
    assert!(site.engine.batch(&late, at(3.0)).is_empty());
    let quantities = site.engine.quantities();
    assert_eq!((quantities.late_batches, quantities.tracks), (1, 0));
}

#[test]
fn times_ahead_count_as_now() {
    let mut site = Site::new(vec![zone("a", one(json!({})))]);
    site.see_at(50.0, 3.0, &[there("1", 0.4, 0.5)]);
    site.expect(&["3 a enter 1"]);
    site.see_at(3.0, 4.0, &[Detection { at: Some(at(20.0)), ..there("2", 0.4, 0.5) }]);
    site.expect(&["4 a enter 2"]);
}

#[test]
fn detections_may_have_their_own_times() {
    let mut site = Site::new(vec![zone("a", one(json!({})))]);
    let own = |seconds, x| Detection { at: Some(at(seconds)), ..there("1", x, 0.5) };
    site.see_at(3.0, 3.0, &[own(2.0, 0.7), own(1.0, 0.4), own(3.0, 0.4)]);
    site.expect(&["1 a enter 1", "2 a exit 1 1s left", "3 a enter 1"]);
    assert_eq!(site.last.facts.iter().map(|f| f.detection).collect::<Vec<_>>(), [Some(1), Some(0), Some(2)]);
}

#[test]
fn labels_are_matched_exactly() {
    let mut site = Site::new(vec![zone("a", json!({"labels": ["car"], "config": {"confirm_frames": 1}}))]);
    let label = |track, label| Detection { label, ..there(track, 0.4, 0.5) };
    site.see(
        0.0,
        &[label("1", Some("person")), label("2", Some("car")), label("3", Some("Car")), label("4", None)],
    );
    site.expect(&["0 a enter 2"]);
    let mut site = Site::new(vec![zone("a", one(json!({})))]);
    site.see(0.0, &[label("4", None)]);
    assert_eq!(site.last.facts[0].label.as_deref(), Some(""));
}

#[test]
fn other_task_types_are_not_seen() {
    let mut site = Site::new(vec![zone("a", one(json!({"task_types": ["yolo", "anpr"]})))]);
    site.walk(0.0, "1", 0.4, 0.5);
    site.expect(&[]);
    site.task_type = "yolo";
    site.walk(1.0, "1", 0.4, 0.5);
    site.expect(&["1 a enter 1"]);
}

#[test]
fn the_floor_of_confidence() {
    let mut site = Site::new(vec![
        zone("a", one(json!({}))),
        zone("b", one(json!({"min_confidence": 0.7, "require_confidence": true}))),
    ]);
    let sure = |track, confidence| Detection { confidence, ..there(track, 0.4, 0.5) };
    site.see(0.0, &[sure("1", Some(0.49)), sure("2", Some(0.5)), sure("3", None), sure("4", Some(0.7))]);
    site.expect(&["0 a enter 2", "0 a enter 3", "0 a enter 4", "0 b enter 4"]);
}

#[test]
fn an_invisible_observation_is_none() {
    let mut site = Site::new(vec![zone("a", json!({"config": {"lost_seconds": 5}}))]);
    site.walk(0.0, "1", 0.4, 0.5);
    site.walk(1.0, "1", 0.4, 0.5);
    for second in 2..9 {
        site.see(f64::from(second), &[Detection { confidence: Some(0.1), ..there("1", 0.7, 0.5) }]);
    }
    site.expect(&["1 a enter 1", "1 a exit 1 0s lost"]);
}

#[test]
fn masks_hide_from_all_other_zones() {
    let mask = |config: Value| {
        zone(
            "m",
            json!({"kind": "exclude", "labels": ["person"], "polygon": [[0, 0], [0.2, 0], [0.2, 1], [0, 1]], "config": config}),
        )
    };
    let zones = |config| vec![zone("a", one(json!({}))), mask(config)];
    let car = Detection { label: Some("car"), ..there("3", 0.1, 0.5) };
    let mut site = Site::new(zones(json!({})));
    site.see(0.0, &[there("1", 0.1, 0.5), there("2", 0.3, 0.5), car]);
    site.expect(&["0 a enter 2", "0 a enter 3"]);
    let mut site = Site::new(zones(json!({"task_types": ["yolo"]})));
    site.see(0.0, &[there("1", 0.1, 0.5)]);
    site.expect(&["0 a enter 1"]);
    // What is sure of itself or not does not matter to a mask.
    let mut site = Site::new(zones(json!({"min_confidence": 0.95})));
    site.see(0.0, &[there("1", 0.1, 0.5)]);
    site.expect(&[]);
    let night = json!({"windows": [{"from": "22:00", "to": "06:00"}]});
    let mut site = Site::new(zones(json!({"schedule": night})));
    site.see(0.0, &[there("1", 0.1, 0.5)]);
    site.expect(&[]);
    site.see(7.0 * 3600.0, &[there("1", 0.1, 0.5)]);
    site.expect(&["25200 a enter 1"]);
}

#[test]
fn masks_may_keep_detections_from_being_stored() {
    let mask = |id, fields: Value| {
        let mut all = json!({"kind": "exclude", "polygon": [[0, 0], [0.2, 0], [0.2, 1], [0, 1]]});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        zone(id, all)
    };
    let detections = [
        Detection { track: None, ..there("1", 0.1, 0.5) },
        there("2", 0.3, 0.5),
        Detection { label: Some("car"), ..there("3", 0.1, 0.5) },
        Detection { bbox: None, ..there("4", 0.1, 0.5) },
        Detection { at: Some(at(9.0 * 3600.0)), ..there("5", 0.1, 0.5) },
    ];
    let batch = Batch {
        task_type: "detection",
        task: "t",
        lease: None,
        period: None,
        captured_at: at(60.0),
        late: false,
        detections: &detections,
    };
    let check = |fields: Value, now: f64, expect: [bool; 5]| {
        let masks = Masks::of([mask("m", fields.clone())]);
        let hidden: Vec<bool> = detections.iter().map(|one| masks.hide(one, &batch, at(now))).collect();
        assert_eq!(hidden, expect, "{fields}");
    };
    check(json!({"config": {"drop": true}}), 60.0, [true, false, true, false, true]);
    check(json!({"config": {"drop": true}, "labels": ["person"]}), 60.0, [true, false, false, false, true]);
    check(json!({"config": {"drop": true, "task_types": ["yolo"]}}), 60.0, [false; 5]);
    check(json!({"config": {}}), 60.0, [false; 5]);
    check(json!({"config": {"drop": true}, "enabled": false}), 60.0, [false; 5]);
    let day = json!({"windows": [{"from": "08:00", "to": "20:00"}]});
    check(json!({"config": {"drop": true, "schedule": day}}), 36_000.0, [false, false, false, false, true]);
    check(json!({"config": {"drop": true, "schedule": day}}), 60.0, [false; 5]);
    // Only masks drop.
    assert!(Masks::of([zone("a", json!({"config": {"drop": true}}))]).is_empty());
}

#[test]
fn anchors() {
    // A box whose lower middle is outside of the left half.
    let wide = Detection { bbox: Some([0.4, 0.4, 0.3, 0.2]), ..there("1", 0.0, 0.0) };
    let check = |config: Value, polygon: Value, detection: Detection<'_>, expect: bool| {
        let mut fields = one(config.clone());
        fields["polygon"] = polygon;
        let mut site = Site::new(vec![zone("a", fields)]);
        site.see(0.0, &[detection]);
        assert_eq!(!site.told.is_empty(), expect, "{config}");
    };
    let left = || json!([[0, 0], [0.5, 0], [0.5, 1], [0, 1]]);
    check(json!({}), left(), wide, false);
    check(json!({"anchor": "any_corner"}), left(), wide, true);
    check(json!({"anchor": "overlap", "overlap": 0.33}), left(), wide, true);
    check(json!({"anchor": "overlap", "overlap": 0.34}), left(), wide, false);
    check(json!({"anchor": "overlap"}), left(), wide, false);
    // Both together 0.5 + 0.06 - 0.02.
    check(json!({"anchor": "iou", "iou": 0.037}), left(), wide, true);
    check(json!({"anchor": "iou", "iou": 0.0371}), left(), wide, false);
    let top = || json!([[0, 0], [1, 0], [1, 0.55], [0, 0.55]]);
    check(json!({}), top(), wide, false);
    check(json!({"anchor": "bottom_center"}), top(), wide, false);
    check(json!({"anchor": "center"}), top(), wide, true);
}

#[test]
fn what_stands_on_the_edge_of_the_picture_is_in_it() {
    let all = json!([[0, 0], [1, 0], [1, 1], [0, 1]]);
    for anchor in ["bottom_center", "any_corner", "overlap", "iou"] {
        let fields = json!({"polygon": all, "config": {"confirm_frames": 1, "anchor": anchor, "iou": 0.01}});
        let mut site = Site::new(vec![zone("a", fields)]);
        let low = Detection { bbox: Some([0.9, 0.8, 0.1, 0.2]), ..there("1", 0.0, 0.0) };
        site.see(0.0, &[low]);
        site.expect(&["0 a enter 1"]);
    }
}

#[test]
fn tasks_and_tracks_have_nothing_to_do_with_each_other() {
    let mut site = Site::new(vec![zone("a", json!({}))]);
    site.walk(0.0, "1", 0.4, 0.5);
    site.walk(1.0, "2", 0.4, 0.5);
    site.task = "ai_2";
    site.walk(2.0, "1", 0.4, 0.5);
    site.task_type = "yolo";
    site.walk(3.0, "1", 0.4, 0.5);
    site.expect(&[]);
    site.walk(4.0, "1", 0.4, 0.5);
    site.expect(&["4 a enter 1"]);
    assert_eq!(site.last.facts[0].task_type.as_deref(), Some("yolo"));
}

#[test]
fn a_new_lease_starts_new_tracks() {
    let mut site = Site::new(vec![zone("a", one(json!({})))]);
    site.lease = Some("lse_1");
    site.walk(0.0, "1", 0.4, 0.5);
    site.walk(1.0, "1", 0.4, 0.5);
    site.lease = None;
    site.walk(2.0, "1", 0.4, 0.5);
    site.lease = Some("lse_1");
    site.walk(3.0, "1", 0.4, 0.5);
    site.expect(&["0 a enter 1"]);
    site.lease = Some("lse_2");
    site.see(4.0, &[]);
    site.expect(&[]);
    site.see(5.0, &[there("2", 0.9, 0.5)]);
    site.expect(&["3 a exit 1 3s lost"]);
    site.walk(6.0, "1", 0.4, 0.5);
    site.expect(&["6 a enter 1"]);
    // Another task's lease is another matter.
    site.task = "ai_2";
    site.lease = Some("lse_3");
    site.walk(7.0, "1", 0.4, 0.5);
    site.expect(&["7 a enter 1"]);
    assert_eq!(site.count("a"), Some(2));
}

#[test]
fn tracks_are_bounded() {
    let mut site = Site::new(vec![zone("a", one(json!({})))]);
    let names: Vec<String> = (0..MAX_TRACKS + 7).map(|n| format!("{n:05}")).collect();
    for (second, names) in names.chunks(1000).enumerate() {
        let detections: Vec<_> = names.iter().map(|name| there(name, 0.4, 0.5)).collect();
        site.see(second as f64, &detections);
    }
    assert_eq!(site.engine.quantities().tracks, MAX_TRACKS);
    assert_eq!(site.count("a"), Some(MAX_TRACKS as u32));
    let lost: Vec<_> = site.told.iter().filter(|told| told.contains("lost")).cloned().collect();
    let expect: Vec<_> = (0..7).map(|n| format!("0 a exit {n:05} 0s lost")).collect();
    assert_eq!(lost, expect);
}
