//! Results of workers: what is stored, merged, refused, and under which ticket (perception.md 8).

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use heldar_base::{CameraId, Capability, Clock as _, Micros, Scope, Secret, WallTime};
use heldar_perception::TaskId;
use heldar_perception::ticket::{self, Keys};
use serde_json::{Value, json};

use super::{acquire, post, task, world};
use crate::support::{Answer, As, World};

const WORKER: As<'static> = As::With(&[Capability::AiTasks, Capability::AiIngest]);

async fn send(world: &World, who: As<'_>, body: &Value) -> Answer {
    post(world, who, "/api/v1/ai/events", body).await
}

/// What became of results of the system's own worker.
async fn taken(world: &World, body: Value) -> Value {
    send(world, As::System, &body).await.ok()
}

/// How many batches and detections are stored.
async fn stored(world: &World) -> (i64, i64) {
    let totals = world.kernel.store.perception_totals(&Scope::All).await.unwrap().unwrap();
    (totals.batches, totals.detections)
}

fn results(frame: &str, detections: Value) -> Value {
    json!({ "camera_id": "gate", "task_type": "yolo", "frame_id": frame, "detections": detections })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_frame_takes_effect_once() {
    let world = world(&[]).await;
    let person = json!([{ "label": "person", "confidence": 0.9, "bbox": [0.1, 0.2, 0.3, 0.4] }]);
    let body = results("f1", person.clone());
    let first = taken(&world, body.clone()).await;
    assert_eq!((&first["detections_ingested"], &first["ticketed"]), (&json!(1), &json!(false)));
    assert!(first["batch_id"].as_str().unwrap().starts_with("bat_") && first["seq"].is_i64(), "{first}");
    assert_eq!((first.get("duplicate"), first.get("event_id")), (None, None));
    let again = taken(&world, body.clone()).await;
    let expect = json!({
        "detections_ingested": 0, "duplicate": true, "ticketed": false,
        "batch_id": first["batch_id"], "seq": first["seq"],
    });
    assert_eq!(again, expect);

    // The first one had no event: the one that comes now is stored, and no other after it.
    let mut with_event = body.clone();
    with_event["event"] = json!({ "event_type": "object_detected", "severity": "loud", "payload": [1] });
    let event = taken(&world, with_event.clone()).await;
    let id = event["event_id"].as_str().unwrap().to_owned();
    assert_eq!(event["duplicate"], true);
    with_event["event"]["event_type"] = json!("motion");
    assert_eq!(taken(&world, with_event).await["event_id"], id.as_str());
    let events = world.get("/api/v1/events?camera_id=gate&limit=10").await.ok();
    let ours: Vec<&Value> =
        events.as_array().unwrap().iter().filter(|e| e["event_type"] == "object_detected").collect();
    assert_eq!((ours.len(), &ours[0]["id"]), (1, &json!(id)));
    assert_eq!((&ours[0]["severity"], &ours[0]["payload"]), (&json!("warning"), &json!([1])));

    // Another part, another type and another task are others; without a frame id nothing is a duplicate.
    let mut part = body.clone();
    part["part"] = json!(63);
    let mut other = body.clone();
    other["task_type"] = json!("anpr");
    let mut named = body.clone();
    named["task_id"] = json!(task(&world, "gate", "yolo").await);
    for body in [part, other, named] {
        assert_eq!(taken(&world, body.clone()).await["detections_ingested"], 1, "{body}");
        assert_eq!(taken(&world, body.clone()).await["duplicate"], true, "{body}");
    }
    for _ in 0..2 {
        assert_eq!(taken(&world, results("", person.clone())).await["detections_ingested"], 1);
    }
    assert_eq!(stored(&world).await, (6, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_not_stored() {
    let world = world(&[]).await;
    let good = json!({ "label": "car", "bbox": [0.0, 0.0, 1.0, 1.0] });
    for (offender, field) in [
        (json!({ "bbox": [0.1, 0.2, 0.3] }), "bbox"),
        (json!({ "bbox": [0.1, 0.2, -0.3, 0.1] }), "bbox"),
        (json!({ "bbox": [0.9, 0.2, 0.2, 0.1] }), "bbox"),
        (json!({ "bbox": [100, 200, 30, 40] }), "bbox"),
        (json!({ "confidence": 1.1 }), "confidence"),
        (json!({ "label": "x".repeat(257) }), "label"),
        (json!({ "track_id": "x".repeat(257) }), "track_id"),
        (json!({ "timestamp": "2020-01-01T00:00:00Z" }), "timestamp"),
    ] {
        let answer = send(&world, As::System, &results("f", json!([good, good, offender]))).await;
        assert_eq!(answer.error(), (400, "validation".to_owned()), "{offender}");
        let body = answer.json();
        assert_eq!((&body["index"], &body["field"]), (&json!(2), &json!(field)));
        let text = body["error"].as_str().unwrap();
        assert!(text.starts_with(&format!("detections[2].{field}: ")), "{text}");
    }
    let with = |field: &str, value: Value| {
        let mut body = results("f", json!([good]));
        body[field] = value;
        body
    };
    let many = Value::Array(vec![json!({}); 1001]);
    for (body, status, code) in [
        (with("detections", many), 400, "validation"),
        (with("task_type", json!(" ")), 400, "validation"),
        (with("timestamp", json!("yesterday")), 400, "validation"),
        (with("part", json!(64)), 400, "validation"),
        (with("part", json!(-1)), 400, "validation"),
        (with("event", json!({ "event_type": "zone_enter" })), 400, "validation"),
        (with("event", json!({ "event_type": "ingest_unleased" })), 400, "validation"),
        (with("event", json!({})), 422, "invalid_body"),
        (with("detections", json!([{ "bbox": "x" }])), 422, "invalid_body"),
        (with("camera_id", json!("nothing")), 404, "not_found"),
        (with("camera_id", json!("No Camera")), 404, "not_found"),
        (with("task_id", json!("nothing")), 409, "conflict"),
        (with("task_id", json!(task(&world, "yard", "yolo").await)), 409, "conflict"),
        (json!({ "camera_id": "gate" }), 422, "invalid_body"),
    ] {
        let answer = send(&world, As::System, &body).await;
        assert_eq!(answer.error(), (status, code.to_owned()), "{}", answer.json());
    }
    // A scope comes before existence.
    let limited = As::Limited(&[Capability::AiIngest], &["gate"]);
    for camera in ["yard", "nothing", "No Camera"] {
        let answer = send(&world, limited, &with("camera_id", json!(camera))).await;
        assert_eq!(answer.error(), (403, "forbidden".to_owned()), "{camera}");
        assert_eq!(answer.json()["reason"], "out_of_scope");
    }
    assert_eq!(stored(&world).await, (0, 0));
    assert_eq!(send(&world, limited, &results("f", json!([good]))).await.status, 200);
    assert_eq!(stored(&world).await, (1, 1));
    assert_eq!(taken(&world, with("frame_id", json!(null))).await["detections_ingested"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_seen_is_a_row_now_and_then() {
    let world = world(&[("HELDAR_AI_EMPTY_ROW_SECS", "3600")]).await;
    let empty = |frame: &str| results(frame, json!([]));
    let first = taken(&world, empty("f1")).await;
    assert_eq!((first.get("heartbeat"), &first["detections_ingested"]), (None, &json!(0)));
    for frame in ["f2", "f3", ""] {
        let merged = json!({ "detections_ingested": 0, "ticketed": false, "heartbeat": true });
        assert_eq!(taken(&world, empty(frame)).await, merged, "{frame}");
    }
    assert_eq!(stored(&world).await, (1, 0));
    taken(&world, results("f4", json!([{}]))).await;
    assert!(taken(&world, empty("f5")).await["seq"].is_i64(), "the first after something was seen");
    assert_eq!(taken(&world, empty("f6")).await["heartbeat"], true);
    assert_eq!(stored(&world).await, (3, 1));
    // An event is worth a row, and another type has rows of its own.
    let mut event = empty("f7");
    event["event"] = json!({ "event_type": "motion" });
    assert!(taken(&world, event).await["event_id"].is_string());
    let mut other = empty("f8");
    other["task_type"] = json!("motion");
    assert!(taken(&world, other).await["seq"].is_i64());
    assert_eq!(stored(&world).await, (5, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_late_is_marked_also_after_a_restart() {
    let mut world = world(&[]).await;
    let now = world.kernel.clock.wall();
    let at = |frame: &str, ms: i64| {
        let mut body = results(frame, json!([{}]));
        body["timestamp"] = json!(now + Micros::from_millis(ms));
        body
    };
    let is_late = async |world: &World, body: Value| {
        let seq = taken(world, body).await["seq"].as_i64().unwrap();
        world.kernel.store.batch(&Scope::All, seq).await.unwrap().unwrap().batch.late
    };
    for (frame, ms, late) in [("a", 0, false), ("b", -1_999, false), ("c", -2_001, true), ("d", -100, false)]
    {
        assert_eq!(is_late(&world, at(frame, ms)).await, late, "{frame}");
    }
    world = world.restart(&[("HELDAR_RECORDER_ENABLED", "false")]).await;
    assert!(is_late(&world, at("e", -2_002)).await);
    assert!(!is_late(&world, at("f", -1_000)).await);
}

/// The secrets of tickets, as they are stored.
async fn keys(world: &World) -> Keys {
    let name = "frame_ticket_keys";
    let settings = world.kernel.store.settings(&Scope::All).await.unwrap();
    let value = settings.into_iter().find(|setting| setting.key == name).unwrap().value;
    let text = world.kernel.sealer.open_value("setting", name, name, &Secret::new(value)).unwrap();
    let mut parts = text.expose().split(' ');
    let since = WallTime(parts.next().unwrap().parse().unwrap());
    let key = URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap();
    Keys::new(Secret::new(key.try_into().unwrap()), since)
}

/// A ticket for a frame that was captured `age` ago.
async fn ticket(world: &World, key: &str, camera: &str, task: &str, age: Micros) -> String {
    let (now, camera) = (world.kernel.clock.wall(), CameraId::new(camera).unwrap());
    let task = TaskId::parse(task).unwrap();
    ticket::mint(&keys(world).await, key, &camera, task, now - age, now, 120).unwrap()
}

fn ticketed(ticket: &str) -> Value {
    json!({
        "camera_id": "", "task_type": "", "frame_id": "ignored", "timestamp": "2020-01-01T00:00:00Z",
        "frame_ticket": format!(" {ticket}\n"), "detections": [{ "label": "car" }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_says_what_a_batch_is_of() {
    let world = world(&[]).await;
    let gate = task(&world, "gate", "yolo").await;
    acquire(&world, WORKER, json!({ "worker_id": "w" })).await;
    let ticket = ticket(&world, "key_test", "gate", &gate, Micros::from_secs(1)).await;
    let first = send(&world, WORKER, &ticketed(&ticket)).await.ok();
    assert_eq!((&first["detections_ingested"], &first["ticketed"]), (&json!(1), &json!(true)));
    let again = send(&world, WORKER, &ticketed(&ticket)).await.ok();
    assert_eq!((&again["duplicate"], &again["ticketed"]), (&json!(true), &json!(true)));
    // It holds after a restart, and so does what it was used for.
    let world = world.restart(&[("HELDAR_RECORDER_ENABLED", "false")]).await;
    let again = send(&world, WORKER, &ticketed(&ticket)).await.ok();
    assert_eq!((&again["duplicate"], &again["ticketed"]), (&json!(true), &json!(true)));
    let seen = world.get("/api/v1/cameras/gate/detections").await.ok();
    let captured_ms: i64 = ticket.split('.').nth(2).unwrap().parse().unwrap();
    for (field, expect) in [
        ("task_type", json!("yolo")),
        ("task_id", json!(gate)),
        ("ticketed", json!(true)),
        ("timestamp", json!(WallTime(captured_ms * 1000))),
        ("frame_id", json!(format!("w:{gate}:{captured_ms}"))),
        (
            "attributes",
            json!({ "source": "worker", "_prov": { "key": "key_test", "task": gate, "worker": "w" } }),
        ),
    ] {
        assert_eq!(seen[0][field], expect, "{field}");
    }
    let limited = As::With(&[Capability::SystemRead]);
    let workers = world.get_as(limited, "/api/v1/ai/workers").await.ok();
    assert_eq!((&workers[0]["batches_per_min"], workers[0]["last_result_at"].is_string()), (&json!(1), true));
    for field in ["camera_id", "task_type"] {
        let mut body = ticketed(&ticket);
        body[field] = json!("yard");
        assert_eq!(send(&world, WORKER, &body).await.error(), (409, "conflict".to_owned()), "{field}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_that_do_not_hold() {
    let world = world(&[("HELDAR_INGEST_PROVENANCE", "enforce")]).await;
    let (gate, yard) = (task(&world, "gate", "yolo").await, task(&world, "yard", "yolo").await);
    let held = acquire(&world, WORKER, json!({ "worker_id": "w" })).await;
    let good = ticket(&world, "key_test", "gate", &gate, Micros::ZERO).await;
    let (other_key, other_camera) = (
        ticket(&world, "key_other", "gate", &gate, Micros::ZERO).await,
        ticket(&world, "key_test", "yard", &gate, Micros::ZERO).await,
    );
    let unknown = format!("ai_{}", "0".repeat(32));
    let unknown = ticket(&world, "key_test", "gate", &unknown, Micros::ZERO).await;
    let refused = async |who: As<'_>, ticket: &str| {
        let answer = send(&world, who, &ticketed(ticket)).await;
        (answer.status, answer.json()["error"].as_str().unwrap_or_default().to_owned())
    };
    for (ticket, starts) in [
        ("", "frame_ticket_required"),
        ("f1.x", "frame_ticket is malformed"),
        (other_key.as_str(), "frame_ticket is invalid or expired"),
        (other_camera.as_str(), "frame_ticket is invalid or expired"),
        (unknown.as_str(), "no live lease"),
    ] {
        let (status, text) = refused(WORKER, ticket).await;
        assert!(status == 401 && text.starts_with(starts), "{status} {text}");
    }
    // Whoever holds no lease is told so, whatever the ticket is worth.
    let (status, text) = refused(As::System, &good).await;
    assert!(status == 401 && text.contains("lease"), "{status} {text}");
    let elsewhere = As::Limited(&[Capability::AiIngest], &["yard"]);
    assert_eq!(refused(elsewhere, &good).await.0, 403);
    assert_eq!(send(&world, WORKER, &ticketed(&good)).await.status, 200);
    // The lease stays when its task is switched off, and is of no use.
    let off = json!({ "enabled": false });
    world.send(As::System, Method::PATCH, &format!("/api/v1/ai-tasks/{gate}"), Some(&off)).await.ok();
    assert_eq!(refused(WORKER, &good).await.0, 403);
    let of_yard = ticket(&world, "key_test", "yard", &yard, Micros::ZERO).await;
    assert_eq!(send(&world, WORKER, &ticketed(&of_yard)).await.status, 200);
    let path = format!("/api/v1/ai/leases/{}", held["lease_id"].as_str().unwrap());
    world.send(WORKER, Method::DELETE, &path, None).await.ok();
    let (status, text) = refused(WORKER, &of_yard).await;
    assert!(status == 401 && text.contains("lease"), "{status} {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_without_tickets_are_told_of_once_an_hour() {
    for (tier, expect) in [("warn", 1), ("off", 0)] {
        let world = world(&[("HELDAR_INGEST_PROVENANCE", tier)]).await;
        for frame in ["a", "b"] {
            taken(&world, results(frame, json!([{}]))).await;
        }
        world.kernel.journal.flush(&world.kernel.store).await.unwrap();
        let events = world.get("/api/v1/events?event_type=ingest_unleased").await.ok();
        assert_eq!(events.as_array().unwrap().len(), expect, "{tier}");
        if expect > 0 {
            assert_eq!(events[0]["payload"], json!({ "credential": "system", "tier": "warn" }));
            assert_eq!(events[0]["severity"], "warning");
        }
    }
}
