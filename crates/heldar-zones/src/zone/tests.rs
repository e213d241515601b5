//! Fields and settings, rule by rule (perception.md 12.1 to 12.3).
use super::*;
use crate::config::{Anchor, Direction, Evidence, Limits, Loiter, Standing};
use proptest::prelude::*;
use serde_json::json;

fn fields(change: Value) -> ZoneFields {
    let mut all = json!({"name": "gate", "polygon": [[0, 0], [1, 0], [1, 1]]});
    all.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

fn made(change: Value) -> Zone {
    Zone::new("zone_1", &fields(change)).unwrap()
}

#[track_caller]
fn refused(change: Value, path: &str) {
    let error = Zone::new("zone_1", &fields(change.clone())).unwrap_err();
    assert_eq!(error.path, path, "{change}: {error}");
    assert!(error.to_string().starts_with(&format!("{path}: ")) && !error.why.is_empty());
}

fn settings(config: Value) -> Settings {
    made(json!({ "config": config })).settings().clone()
}

#[test]
fn defaults() {
    let zone = made(json!({}));
    assert_eq!(&**zone.id(), "zone_1");
    assert_eq!((zone.kind(), zone.severity(), zone.dwell()), (Kind::Region, Severity::Info, Micros::ZERO));
    assert!(zone.enabled() && zone.labels().is_empty() && zone.config().is_empty());
    let expect = Settings {
        confirm_frames: 2,
        min_confidence: 0.5,
        require_confidence: false,
        standing: Some(Standing { epsilon: 0.02, after: Micros::from_secs(120) }),
        direction: Direction::Any,
        anchor: Anchor::BottomCenter,
        task_types: vec![],
        lost: Micros::from_secs(120),
        hysteresis: 0.005,
        inwards: Direction::Ab,
        counter_reset: None,
        loiter: None,
        occupancy: None,
        vacant_after: Micros::from_secs(5),
        emit_tracks: false,
        drop: false,
        schedule: None,
        evidence: Evidence::Auto,
    };
    assert_eq!(zone.settings(), &expect);
    let nulls = json!({"kind": null, "dwell_seconds": null, "labels": null, "severity": null, "config": null, "enabled": null});
    assert_eq!(made(nulls), zone);
    let keys = [
        "confirm_frames",
        "min_confidence",
        "require_confidence",
        "static_suppression",
        "direction",
        "anchor",
    ];
    let more = [
        "task_types",
        "lost_seconds",
        "in",
        "counter_reset",
        "loiter",
        "occupancy",
        "schedule",
        "evidence",
        "drop",
    ];
    let nulls: Map<String, Value> =
        keys.iter().chain(&more).map(|key| ((*key).to_owned(), Value::Null)).collect();
    assert_eq!(settings(Value::Object(nulls)), expect);
}

#[test]
fn names_are_trimmed_and_not_blank() {
    assert_eq!(made(json!({"name": "  gate \n"})).name(), "gate");
    refused(json!({"name": " \t"}), "name");
    refused(json!({"name": ""}), "name");
}

#[test]
fn kinds() {
    for (kind, severity) in [
        ("region", "info"),
        ("presence", "info"),
        ("restricted", "warning"),
        ("red", "critical"),
        ("count", "info"),
        ("line", "info"),
        ("exclude", "info"),
    ] {
        let zone = made(json!({ "kind": kind }));
        assert_eq!((zone.kind().to_string().as_str(), zone.severity().as_str()), (kind, severity));
        assert_eq!(made(json!({"kind": kind, "severity": "info"})).severity(), Severity::Info);
    }
    for kind in ["", "Region", "polygon", " region"] {
        refused(json!({ "kind": kind }), "kind");
    }
    refused(json!({"kind": "speed"}), "kind");
    let error = Zone::new("z", &fields(json!({"kind": "speed"}))).unwrap_err();
    assert_eq!(error.to_string(), "kind: speed zones are not yet available");
}

#[test]
fn severities() {
    for severity in ["info", "warning", "critical"] {
        assert_eq!(made(json!({"kind": "red", "severity": severity})).severity().as_str(), severity);
    }
    refused(json!({"severity": "error"}), "severity");
}

#[test]
fn polygons() {
    let points = |count: usize| Value::from(vec![json!([0.5, 0.25]); count]);
    for (kind, fewest, most) in [("region", 3, 512), ("exclude", 3, 512), ("line", 2, 64)] {
        for count in [fewest, most] {
            let zone = made(json!({"kind": kind, "polygon": points(count)}));
            assert_eq!(zone.polygon().len(), count);
            assert_eq!(zone.polygon().next(), Some([0.5, 0.25]));
        }
        for count in [0, fewest - 1, most + 1] {
            refused(json!({"kind": kind, "polygon": points(count)}), "polygon");
        }
    }
    for polygon in [json!(null), json!("x"), json!({}), json!(3)] {
        refused(json!({ "polygon": polygon }), "polygon");
    }
    for point in [
        json!([0.5]),
        json!([0.5, 0.5, 0.5]),
        json!(["0.5", 0.5]),
        json!([null, 0.5]),
        json!([-0.001, 0.5]),
        json!([0.5, 1.001]),
        json!({"x": 0, "y": 0}),
        json!(1),
    ] {
        refused(json!({"polygon": [[0, 0], point, [1, 1]]}), "polygon[1]");
    }
    made(json!({"polygon": [[0, 0], [1, 1], [0, 1], [1, 0]]}));
}

#[test]
fn dwell_seconds() {
    assert_eq!(made(json!({"dwell_seconds": 2.5})).dwell(), Micros::from_millis(2500));
    for none in [json!(0), json!(-1), json!(-1e300)] {
        assert_eq!(made(json!({ "dwell_seconds": none })).dwell(), Micros::ZERO);
    }
    assert!(made(json!({"dwell_seconds": 1e300})).dwell() > Micros::from_hours(24 * 365));
    refused(json!({"dwell_seconds": "3"}), "dwell_seconds");
}

#[test]
fn labels() {
    assert_eq!(made(json!({"labels": ["car", " bus"]})).labels(), ["car", " bus"]);
    refused(json!({"labels": "car"}), "labels");
    refused(json!({"labels": ["car", " "]}), "labels[1]");
    refused(json!({"labels": ["car", 1]}), "labels[1]");
}

#[test]
fn numbers_are_moved_into_their_range() {
    let low = settings(
        json!({"confirm_frames": -3, "min_confidence": -1, "static_epsilon": 0, "static_after_seconds": 1,
        "lost_seconds": 0, "hysteresis": -1, "vacant_after_seconds": -1, "anchor": "iou", "iou": 0}),
    );
    assert_eq!((low.confirm_frames, low.min_confidence, low.hysteresis), (1, 0.0, 0.0));
    assert_eq!(low.standing, Some(Standing { epsilon: 0.001, after: Micros::from_secs(5) }));
    assert_eq!((low.lost, low.vacant_after), (Micros::from_secs(1), Micros::ZERO));
    assert_eq!(low.anchor, Anchor::Iou(0.01));
    let high = settings(
        json!({"confirm_frames": 99, "min_confidence": 2, "static_epsilon": 9, "static_after_seconds": 1e9,
        "lost_seconds": 1e9, "hysteresis": 1, "vacant_after_seconds": 1e9, "anchor": "overlap", "overlap": 7}),
    );
    assert_eq!((high.confirm_frames, high.min_confidence, high.hysteresis), (10, 1.0, 0.2));
    assert_eq!(high.standing, Some(Standing { epsilon: 0.5, after: Micros::from_secs(86_400) }));
    assert_eq!((high.lost, high.vacant_after), (Micros::from_secs(600), Micros::from_secs(3600)));
    assert_eq!(high.anchor, Anchor::Overlap(1.0));
    let whole = settings(json!({"confirm_frames": 3.9, "static_after_seconds": 7.9, "lost_seconds": 1.5}));
    assert_eq!((whole.confirm_frames, whole.lost), (3, Micros::from_millis(1500)));
    assert_eq!(whole.standing.map(|s| s.after), Some(Micros::from_secs(7)));
}

#[test]
fn plain_keys() {
    let all = settings(
        json!({"require_confidence": true, "static_suppression": false, "direction": "ba", "in": "ba",
        "task_types": ["yolo"], "emit_tracks": true, "drop": true, "evidence": "none"}),
    );
    assert!(all.require_confidence && all.standing.is_none() && all.emit_tracks && all.drop);
    assert_eq!((all.direction, all.inwards, all.evidence), (Direction::Ba, Direction::Ba, Evidence::None));
    assert_eq!(all.task_types, ["yolo"]);
    assert_eq!(settings(json!({"direction": "ab"})).direction, Direction::Ab);
    let wrong = json!([1]);
    for key in [
        "confirm_frames",
        "min_confidence",
        "require_confidence",
        "static_suppression",
        "static_epsilon",
        "static_after_seconds",
        "direction",
        "anchor",
        "iou",
        "overlap",
        "lost_seconds",
        "hysteresis",
        "in",
        "counter_reset",
        "loiter",
        "occupancy",
        "vacant_after_seconds",
        "emit_tracks",
        "drop",
        "schedule",
        "evidence",
    ] {
        let config: Map<String, Value> = [(key.to_owned(), wrong.clone())].into_iter().collect();
        refused(json!({ "config": config }), &format!("config.{key}"));
    }
    for (key, word) in [("direction", "both"), ("in", "any"), ("evidence", "always"), ("anchor", "top")] {
        refused(json!({"config": {key: word}}), &format!("config.{key}"));
    }
    refused(json!({"config": {"task_types": ["yolo", ""]}}), "config.task_types[1]");
    refused(json!({"config": {"task_types": "yolo"}}), "config.task_types");
    refused(json!({"config": [1]}), "config");
    refused(json!({"config": "x"}), "config");
}

#[test]
fn anchors_of_lines() {
    for (anchor, expect) in [("bottom_center", Anchor::BottomCenter), ("center", Anchor::Center)] {
        let zone = made(json!({"kind": "line", "config": {"anchor": anchor}}));
        assert_eq!(zone.settings().anchor, expect);
    }
    for anchor in ["any_corner", "iou", "overlap"] {
        refused(json!({"kind": "line", "config": {"anchor": anchor}}), "config.anchor");
        made(json!({"config": {"anchor": anchor}}));
    }
}

#[test]
fn loiter() {
    let loiter = |value: Value| settings(json!({ "loiter": value })).loiter.unwrap();
    let secs = Micros::from_secs;
    assert_eq!(loiter(json!({"seconds": 60})), Loiter { after: secs(60), gap: secs(30), repeat: None });
    assert_eq!(
        loiter(json!({"seconds": 0, "gap_seconds": -1, "repeat_seconds": 0})),
        Loiter { after: secs(1), gap: secs(0), repeat: Some(secs(1)) }
    );
    refused(json!({"config": {"loiter": {}}}), "config.loiter.seconds");
    refused(json!({"config": {"loiter": {"seconds": "60"}}}), "config.loiter.seconds");
    refused(json!({"config": {"loiter": {"seconds": 60, "gap_seconds": []}}}), "config.loiter.gap_seconds");
    refused(
        json!({"config": {"loiter": {"seconds": 60, "repeat_seconds": true}}}),
        "config.loiter.repeat_seconds",
    );
    refused(json!({"config": {"loiter": 60}}), "config.loiter");
}

#[test]
fn occupancy() {
    let limits = |value: Value| settings(json!({ "occupancy": value })).occupancy.unwrap();
    assert_eq!(limits(json!({})), Limits { min: None, max: None, hold: Micros::ZERO });
    assert_eq!(
        limits(json!({"min": 1, "max": 3, "hold_seconds": 1.5})),
        Limits { min: Some(1), max: Some(3), hold: Micros::from_millis(1500) }
    );
    assert_eq!(limits(json!({"min": -4})).min, Some(0));
    refused(json!({"config": {"occupancy": {"max": "3"}}}), "config.occupancy.max");
    refused(json!({"config": {"occupancy": {"min": {}}}}), "config.occupancy.min");
    refused(json!({"config": {"occupancy": {"hold_seconds": "1"}}}), "config.occupancy.hold_seconds");
    refused(json!({"config": {"occupancy": 3}}), "config.occupancy");
}

#[test]
fn schedules_and_resets() {
    made(json!({"config": {"schedule": {"windows": [{"from": "22:00", "to": "06:00"}]}}}));
    made(
        json!({"config": {"schedule": {"tz": "Asia/Tokyo", "windows": [{"days": ["sun"], "from": "00:00", "to": "24:00"}]}}}),
    );
    made(json!({"kind": "line", "config": {"counter_reset": {"at": "23:59", "tz": "America/New_York"}}}));
    let window = |change: Value| {
        let mut all = json!({"days": ["mon"], "from": "08:00", "to": "18:00"});
        all.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({"config": {"schedule": {"windows": [{"from": "01:00", "to": "02:00"}, all]}}})
    };
    made(window(json!({})));
    let at = |key: &str| format!("config.schedule.windows[1].{key}");
    for days in [json!([]), json!("mon"), json!(["monday"]), json!([1])] {
        refused(window(json!({ "days": days })), &at("days"));
    }
    for time in [
        json!(null),
        json!(8),
        json!("8:00"),
        json!("08:60"),
        json!("24:00"),
        json!("08:00:00"),
        json!("+8:00"),
        json!("0８:00"),
    ] {
        refused(window(json!({ "from": time })), &at("from"));
    }
    for time in [json!(null), json!("24:01"), json!("25:00"), json!("0000")] {
        refused(window(json!({ "to": time })), &at("to"));
    }
    for windows in
        [json!(null), json!([]), json!({}), Value::from(vec![json!({"from": "01:00", "to": "02:00"}); 101])]
    {
        refused(json!({"config": {"schedule": {"windows": windows}}}), "config.schedule.windows");
    }
    refused(json!({"config": {"schedule": {"windows": [3]}}}), "config.schedule.windows[0]");
    let one = json!([{"from": "01:00", "to": "02:00"}]);
    for tz in [json!("Mars/Olympus"), json!("")] {
        refused(json!({"config": {"schedule": {"tz": tz, "windows": one}}}), "config.schedule.tz");
    }
    refused(json!({"config": {"schedule": {"tz": 3, "windows": one}}}), "config.schedule.tz");
    refused(json!({"config": {"counter_reset": {}}}), "config.counter_reset.at");
    refused(json!({"config": {"counter_reset": {"at": "4:00"}}}), "config.counter_reset.at");
    refused(json!({"config": {"counter_reset": {"at": "04:00", "tz": "X"}}}), "config.counter_reset.tz");
    refused(json!({"config": {"counter_reset": "04:00"}}), "config.counter_reset");
}

#[test]
fn unknown_keys_are_kept_and_ignored() {
    let config = json!({"note": {"a": [1]}, "ground": "x", "limit_kmh": "fast", "min_kmh": [], "window_seconds": {},
        "sequence": 3, "occupancy": {"max": 1, "colour": "red"}});
    let zone = made(json!({ "config": config }));
    assert_eq!(Value::Object(zone.config().clone()), config);
    assert_eq!(zone.settings().occupancy.and_then(|limits| limits.max), Some(1));
}

#[test]
fn the_fields_of_a_zone_make_it_again() {
    let zone = made(json!({"kind": "red", "severity": "info", "labels": ["car"], "dwell_seconds": 2.5,
        "config": {"confirm_frames": 99, "x": 1}, "enabled": false}));
    assert_eq!(Zone::new("zone_1", &zone.fields()), Ok(zone));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0.0f64..1.0).prop_map(Value::from),
        "[a-z:0-9]{0,6}".prop_map(Value::from),
        prop_oneof![
            Just("mon"),
            Just("ab"),
            Just("12:30"),
            Just("UTC"),
            Just("iou"),
            Just("line"),
            Just("America/New_York")
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let key = prop_oneof![
            "[a-z_]{0,8}",
            prop::sample::select(vec![
                "schedule",
                "windows",
                "days",
                "from",
                "to",
                "tz",
                "at",
                "loiter",
                "seconds",
                "gap_seconds",
                "repeat_seconds",
                "occupancy",
                "min",
                "max",
                "hold_seconds",
                "counter_reset",
                "anchor",
                "iou",
                "direction",
                "labels",
                "confirm_frames",
                "lost_seconds",
                "task_types",
                "static_epsilon",
            ])
            .prop_map(str::to_owned),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(key, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_fields_are_made_or_refused(
        kind in prop::option::of("[a-z]{0,8}"), polygon in any_json(), dwell in any_json(), labels in any_json(), config in any_json()
    ) {
        let wild = ZoneFields {
            name: "n".to_owned(), kind, polygon, dwell_seconds: dwell, labels, severity: None, config: config.clone(), enabled: None,
        };
        let _outcome = Zone::new("z", &wild);
        // With everything else sound the config is reached for certain.
        for kind in ["region", "line"] {
            let sound = ZoneFields { config: config.clone(), ..fields(json!({ "kind": kind })) };
            match Zone::new("z", &sound) {
                Ok(zone) => prop_assert_eq!(Zone::new("z", &zone.fields()), Ok(zone)),
                Err(error) => prop_assert!(error.path.starts_with("config")),
            }
        }
    }

    #[test]
    fn any_values_of_known_keys_are_made_or_refused(
        values in prop::collection::vec(any_json(), 23)
    ) {
        let keys = ["confirm_frames", "min_confidence", "require_confidence", "static_suppression", "static_epsilon",
            "static_after_seconds", "direction", "anchor", "iou", "overlap", "task_types", "lost_seconds", "hysteresis", "in",
            "counter_reset", "loiter", "occupancy", "vacant_after_seconds", "emit_tracks", "drop", "schedule", "evidence", "x"];
        for (key, value) in keys.iter().zip(values) {
            let _outcome = Zone::new("z", &fields(json!({"config": {*key: value}})));
        }
    }
}
