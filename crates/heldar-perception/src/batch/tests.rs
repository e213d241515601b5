use heldar_base::Micros;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: WallTime = WallTime(1_780_000_000_000_000);

fn body(extra: Value) -> Value {
    let mut body = json!({"camera_id": "gate", "task_type": "yolo"});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

fn run(body: &Value) -> Result<Batch, String> {
    let body: BatchBody = serde_json::from_str(&body.to_string()).map_err(|e| format!("serde: {e}"))?;
    check(body, NOW, None).map_err(|refused| refused.to_string())
}

#[track_caller]
fn accepted(extra: Value) -> Batch {
    run(&body(extra)).unwrap()
}

#[track_caller]
fn refused(extra: Value, starts: &str) {
    let error = run(&body(extra)).unwrap_err();
    assert!(error.starts_with(starts), "{error}");
}

/// The box that `numbers` become, or nothing when they are refused.
#[track_caller]
fn bbox(numbers: [f64; 4], expect: Option<[f64; 4]>) {
    let got = run(&body(json!({"detections": [{"bbox": numbers}]})));
    match expect {
        Some(expect) => {
            let bbox = got.unwrap().detections[0].bbox.unwrap();
            assert!(bbox.iter().zip(expect).all(|(a, b)| (a - b).abs() < 1e-12), "{bbox:?}");
        }
        None => assert!(got.unwrap_err().starts_with("detections[0].bbox: ")),
    }
}

#[test]
fn defaults() {
    let batch = accepted(json!({"task_type": " yolo ", "detections": null, "later": {"a": [1]}}));
    assert_eq!(
        (batch.camera_id.as_str(), batch.task_type.as_str(), batch.captured_at),
        ("gate", "yolo", NOW)
    );
    assert_eq!((&batch.frame_id, batch.part, &batch.task_id, batch.ticket_task), (&None, 0, &None, None));
    assert!(batch.is_empty() && !batch.forged_source);
    assert!(accepted(json!({})).is_empty());
    let batch = accepted(json!({"frame_id": "", "frame_ticket": " ", "task_id": ""}));
    assert_eq!((batch.frame_id, batch.task_id), (None, None));
    let batch = accepted(json!({"timestamp": "2026-01-31T12:00:00+02:00", "part": 63, "frame_id": " a"}));
    assert_eq!((batch.captured_at.to_string().as_str(), batch.part), ("2026-01-31T10:00:00Z", 63));
    assert_eq!(batch.frame_id.as_deref(), Some(" a"));
}

#[test]
fn fields_of_the_batch() {
    refused(json!({"task_type": " "}), "task_type: ");
    refused(json!({"timestamp": "yesterday"}), "timestamp: ");
    refused(json!({"part": 64}), "part: ");
    refused(json!({"part": -1}), "part: ");
    refused(json!({"frame_id": "x".repeat(513)}), "frame_id: ");
    refused(json!({"detections": vec![json!({}); 1001]}), "detections: ");
    assert_eq!(accepted(json!({"detections": vec![json!({}); 1000]})).detections.len(), 1000);
    // What no field can hold is the reader's to refuse.
    refused(json!({"part": "1"}), "serde: ");
    refused(json!({"detections": {}}), "serde: ");
    refused(json!({"detections": [{"label": 5}]}), "serde: ");
    refused(json!({"detections": [{"bbox": ["a", 0, 0, 0]}]}), "serde: ");
    refused(json!({"detections": [{"bbox": [null, 0, 0, 0]}]}), "serde: ");
    assert!(run(&json!({"task_type": "x"})).unwrap_err().starts_with("serde: missing field `camera_id`"));
}

#[test]
fn the_first_offender_is_named() {
    let error = |detections: Value| {
        let body: BatchBody = serde_json::from_value(body(json!({ "detections": detections }))).unwrap();
        let refused = check(body, NOW, None).unwrap_err();
        (refused.index, refused.field)
    };
    let long = "x".repeat(257);
    assert_eq!(error(json!([{}, {"label": long}, {"confidence": 7}])), (Some(1), "label"));
    assert_eq!(error(json!([{"track_id": long, "confidence": 7}])), (Some(0), "track_id"));
    assert_eq!(error(json!([{"confidence": 1.001}])), (Some(0), "confidence"));
    assert_eq!(error(json!([{"confidence": -0.1}])), (Some(0), "confidence"));
    assert_eq!(error(json!([{"bbox": [0, 0, 1]}])), (Some(0), "bbox"));
    assert_eq!(error(json!([{"bbox": [0, 0, 1, 1, 1]}])), (Some(0), "bbox"));
    assert_eq!(error(json!([{}, {}, {"timestamp": "x"}])), (Some(2), "timestamp"));
    refused(json!({"detections": [{"confidence": 2}]}), "detections[0].confidence: must be 0 to 1");
    let fits = accepted(json!({"detections": [{"label": "é".repeat(256), "confidence": 1}]}));
    assert_eq!(fits.detections[0].confidence, Some(1.0));
}

#[test]
fn boxes() {
    bbox([0.1, 0.2, 0.3, 0.4], Some([0.1, 0.2, 0.3, 0.4]));
    bbox([0.0, 0.0, 1.0, 1.0], Some([0.0, 0.0, 1.0, 1.0]));
    bbox([-0.01, -0.005, 0.5, 0.5], Some([0.0, 0.0, 0.49, 0.495]));
    bbox([0.5, 0.6, 0.51, 0.405], Some([0.5, 0.6, 0.5, 0.4]));
    bbox([1.005, 0.0, 0.0, 0.1], Some([1.0, 0.0, 0.0, 0.1]));
    bbox([0.5, 0.5, 0.0, 0.0], Some([0.5, 0.5, 0.0, 0.0]));
    bbox([-0.02, 0.0, 0.1, 0.1], None);
    bbox([0.9, 0.0, 0.12, 0.1], None);
    bbox([0.5, 0.5, -0.1, 0.1], None);
    bbox([0.5, 0.5, 0.1, -0.1], None);
    bbox([1.02, 0.5, 0.0, 0.0], None);
}

#[test]
fn times_of_detections() {
    let at = "2026-01-31T12:00:00Z";
    let own = |text: &str| {
        let batch = accepted(json!({"timestamp": at, "detections": [{"timestamp": text}]}));
        batch.detections[0].at.map(|at| at.to_string())
    };
    assert_eq!(own(at), None);
    assert_eq!(own("2026-01-31T12:01:00Z").as_deref(), Some("2026-01-31T12:01:00Z"));
    assert_eq!(own("2026-01-31T11:59:00Z").as_deref(), Some("2026-01-31T11:59:00Z"));
    let far = json!({"timestamp": at, "detections": [{"timestamp": "2026-01-31T12:01:00.000001Z"}]});
    refused(far, "detections[0].timestamp: ");
}

/// What is kept of attributes, and whether a source was forged.
#[track_caller]
fn attributes(sent: &str, kept: Option<&str>, forged: bool) {
    let text = format!(r#"{{"camera_id": "c", "task_type": "t", "detections": [{{"attributes": {sent}}}]}}"#);
    let body: BatchBody = serde_json::from_str(&text).unwrap();
    let batch = check(body, NOW, None).unwrap();
    assert_eq!((batch.detections[0].extra.as_deref(), batch.forged_source), (kept, forged), "{sent}");
}

#[test]
fn attributes_lose_what_only_the_server_says() {
    attributes("{}", None, false);
    attributes("null", None, false);
    attributes(
        r#"{ "class_id" : 2, "a": [1, {"b": null}, []] }"#,
        Some(r#"{"class_id":2,"a":[1,{"b":null},[]]}"#),
        false,
    );
    attributes(r#"{"source": "camera_native", "x": 1}"#, Some(r#"{"x":1}"#), true);
    attributes(r#"{"x": 1, "sour\u0063e": {"a": 1}}"#, Some(r#"{"x":1}"#), true);
    attributes(r#"{"source": "worker", "_prov": {"key": "k"}}"#, None, false);
    attributes(r#"{"inner": {"source": "x"}}"#, Some(r#"{"inner":{"source":"x"}}"#), false);
    attributes("7", Some(r#"{"_client":7}"#), false);
    attributes(r#"[1, "a\"b"]"#, Some(r#"{"_client":[1,"a\"b"]}"#), false);
    attributes("\"source\"", Some(r#"{"_client":"source"}"#), false);
    attributes("-1.5e300", Some(r#"{"_client":-1.5e+300}"#), false);
    attributes("true", Some(r#"{"_client":true}"#), false);
}

#[test]
fn provenance_stands_before_what_the_worker_said() {
    let full = |extra| -> Value {
        let from = Provenance::Worker { key: "key_1", task: Some(TaskId::new(1)), worker: None };
        serde_json::from_str(&from.attributes(extra)).unwrap()
    };
    let prov = json!({"key": "key_1", "task": TaskId::new(1), "worker": null});
    assert_eq!(full(None), json!({"source": "worker", "_prov": prov}));
    assert_eq!(full(Some("{}")), full(None));
    assert_eq!(full(Some(r#"{"a":{}}"#)), json!({"source": "worker", "_prov": prov, "a": {}}));
    let from = Provenance::Worker { key: "key_1", task: None, worker: Some("w\"1") };
    assert_eq!((from.name().as_str(), from.produced_by().as_str()), ("worker", "apikey:key_1"));
    assert!(from.attributes(None).contains(r#""worker":"w\"1""#));
}

#[test]
fn events() {
    let event = |event: Value| accepted(json!({ "event": event })).event.unwrap();
    let plain = event(json!({"event_type": "motion"}));
    assert_eq!((plain.severity.as_str(), plain.payload.as_str()), ("info", "{}"));
    assert!(!accepted(json!({"event": {"event_type": "motion"}})).is_empty());
    for (sent, kept) in [("info", "info"), ("warning", "warning"), ("critical", "warning"), ("", "warning")] {
        assert_eq!(event(json!({"event_type": "a_1", "severity": sent})).severity.as_str(), kept);
    }
    assert_eq!(event(json!({"event_type": "a", "payload": [1, {"x": "y"}]})).payload, r#"[1,{"x":"y"}]"#);
    assert_eq!(event(json!({"event_type": "a", "payload": null})).payload, "{}");
    let long = "x".repeat(65);
    for bad in [
        "",
        "Motion",
        "a-b",
        "é",
        &long,
        "zone_enter",
        "gate_x",
        "entry_x",
        "camera_offline",
        "disk_x",
        "raid_x",
        "sampler_offline",
        "recording_gap",
        "consumer_parked",
    ] {
        refused(json!({"event": {"event_type": bad}}), "event.event_type: ");
    }
    refused(json!({"event": {}}), "serde: ");
    for good in ["motion", "object_detected", "gate", "zone", "x"] {
        assert_eq!(check_event_type(good), Ok(()), "{good}");
    }
}

#[test]
fn a_ticket_says_what_counts() {
    let camera = CameraId::new("gate").unwrap();
    let task = TaskId::new(7);
    let ticket = Ticketed { task, task_type: "yolo", camera: &camera, captured_ms: 1_780_000_000_123 };
    let sent = json!({
        "camera_id": "", "task_type": "", "frame_ticket": " f1.x ", "frame_id": "own", "task_id": "other",
        "timestamp": "not a time", "detections": [{"timestamp": "nor this"}],
    });
    let body: BatchBody = serde_json::from_value(sent).unwrap();
    assert_eq!(body.ticket(), Some("f1.x"));
    assert!(body.agrees_with(&ticket));
    let batch = check(body, NOW, Some(&ticket)).unwrap();
    assert_eq!((batch.camera_id.as_str(), batch.task_type.as_str()), ("gate", "yolo"));
    assert_eq!(batch.frame_id, Some(format!("{task}:1780000000123")));
    assert_eq!((batch.captured_at, batch.detections[0].at), (WallTime(1_780_000_000_123_000), None));
    assert_eq!(task_key(&batch, |_| false), Ok(TaskKey::Task(task)));
    for (camera_id, task_type, expect) in
        [("gate", "yolo", true), ("gate", "", true), ("yard", "yolo", false), ("gate", "anpr", false)]
    {
        let body =
            BatchBody { camera_id: camera_id.into(), task_type: task_type.into(), ..BatchBody::default() };
        assert_eq!(body.agrees_with(&ticket), expect);
    }
}

#[test]
fn the_task_of_a_batch() {
    let (one, two) = (TaskId::new(1), TaskId::new(2));
    // Only task 1 is of the batch's camera and type.
    let key = |extra: Value| task_key(&accepted(extra), |task| task == one).map(|key| key.to_string());
    let by_type = Ok("t:yolo".to_owned());
    assert_eq!(key(json!({})), by_type);
    assert_eq!(key(json!({"task_id": one})), Ok(one.to_string()));
    assert_eq!(key(json!({"task_id": two})), Err(TaskMismatch));
    assert_eq!(key(json!({"task_id": "nonsense"})), Err(TaskMismatch));
    assert_eq!(key(json!({"task_id": one, "frame_id": format!("{two}:5")})), Ok(one.to_string()));
    assert_eq!(key(json!({"frame_id": format!("{one}:2026-01-31T12:00:00.000+00:00")})), Ok(one.to_string()));
    assert_eq!(key(json!({"frame_id": format!("{two}:5")})), by_type);
    assert_eq!(key(json!({"frame_id": one})), by_type, "the colon belongs to it");
    assert_eq!(frame_key("a:b"), "w:a:b");
    assert_eq!(TaskKey::Task(one).task(), Some(one));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Fractions that every reader gives back exactly.
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 64.0)),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map("source|_prov|.{0,6}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_is_kept_as_it_was(value in any_json()) {
        let kept: JsonText = serde_json::from_str(&value.to_string()).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(kept.as_str()).unwrap(), value);
    }

    #[test]
    fn attributes_are_as_a_tree_would_make_them(value in any_json()) {
        let expect = match value.clone() {
            Value::Object(map) => Value::Object(map.into_iter().filter(|(k, _)| !SOURCE_KEYS.contains(&k.as_str())).collect()),
            Value::Null => json!({}),
            other => json!({"_client": other}),
        };
        let batch = accepted(json!({"detections": [{"attributes": value}]}));
        let extra = batch.detections[0].extra.clone();
        let kept: Value = serde_json::from_str(extra.as_deref().unwrap_or("{}")).unwrap();
        prop_assert_eq!(&kept, &expect);
        let mut whole = expect;
        whole["source"] = json!("worker");
        whole["_prov"] = json!({"key": "k", "task": null, "worker": null});
        let from = Provenance::Worker { key: "k", task: None, worker: None };
        prop_assert_eq!(serde_json::from_str::<Value>(&from.attributes(extra.as_deref())).unwrap(), whole);
    }

    #[test]
    fn accepted_boxes_lie_inside(x in -0.02..1.02f64, y in -0.02..1.02f64, w in -0.1..1.1f64, h in -0.1..1.1f64) {
        if let Ok(batch) = run(&body(json!({"detections": [{"bbox": [x, y, w, h]}]}))) {
            let [cx, cy, cw, ch] = batch.detections[0].bbox.unwrap();
            prop_assert!(cx >= 0.0 && cy >= 0.0 && cw >= 0.0 && ch >= 0.0 && cx + cw <= 1.0 && cy + ch <= 1.0);
            prop_assert!((cx - x).abs() <= 0.0101 && (cx + cw - x - w).abs() <= 0.0101);
            prop_assert!(cw <= w + 1e-12 && ch <= h + 1e-12);
        }
    }

    #[test]
    fn no_body_panics(text in any_json()) {
        if let Ok(body) = serde_json::from_value::<BatchBody>(body(json!({"detections": text.clone(), "event": text}))) {
            let _checked = check(body, NOW + Micros(1), None);
        }
    }
}

#[test]
fn a_body_of_many_detections_keeps_only_what_may_be_sent() {
    let text = format!(r#"{{"camera_id":"c","task_type":"t","detections":[{}{{}}]}}"#, "{},".repeat(99_999));
    let body: BatchBody = serde_json::from_str(&text).unwrap();
    assert_eq!((body.detections.count, body.detections.kept.len()), (100_000, 1001));
}
