//! Lists of detections, and events of apps (perception.md 11.1, 11.4).

use heldar_base::{Capability, Clock as _, Micros, WallTime};
use serde_json::{Value, json};

use super::{post, task, world};
use crate::support::{As, World};

const READER: &[Capability] = &[Capability::EventsRead];

/// One batch a second, `n` at `base + n`: of `gate` and `yard` in turn, each with a car and a person. The time of the first.
async fn furnish(world: &World, task: &str) -> WallTime {
    let base = (world.kernel.clock.wall() - Micros::from_hours(1)).floor_second();
    for n in 0..6i64 {
        let camera = if n % 2 == 0 { "gate" } else { "yard" };
        let body = json!({
            "camera_id": camera, "task_type": if n < 4 { "yolo" } else { "anpr" }, "frame_id": format!("f{n}"),
            "timestamp": base + Micros::from_secs(n), "task_id": if n == 0 { Some(task) } else { None },
            "detections": [
                { "label": "car", "confidence": 0.25, "track_id": format!("t{n}"), "attributes": { "source": "me", "n": n } },
                { "label": "person", "confidence": 0.75, "bbox": [-0.005, 0.5, 0.5, 0.5], "attributes": "plain" },
            ],
        });
        post(world, As::System, "/api/v1/ai/events", &body).await.ok();
    }
    base
}

/// The seconds and labels of every row of a list.
async fn rows(world: &World, who: As<'_>, path: &str, base: WallTime) -> Vec<(i64, String)> {
    let (mut rows, mut next) = (Vec::new(), Some(path.to_owned()));
    while let Some(path) = next {
        let answer = world.get_as(who, &path).await;
        for row in answer.ok().as_array().unwrap() {
            let at = WallTime::parse(row["timestamp"].as_str().unwrap()).unwrap();
            rows.push(((at - base).0 / 1_000_000, row["label"].as_str().unwrap().to_owned()));
        }
        next = answer.next();
        assert!(rows.len() < 100, "the list does not end");
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_detections() {
    let world = world(&[]).await;
    let named = task(&world, "gate", "yolo").await;
    let base = furnish(&world, &named).await;
    let at = |seconds: i64| base + Micros::from_secs(seconds);
    let of_gate = format!("/api/v1/cameras/gate/detections?to={}&from={}", at(4), at(0));
    for (query, expect) in [
        (of_gate.as_str(), vec![4, 4, 2, 2, 0, 0]),
        (&format!("{of_gate}&limit=1"), vec![4, 4, 2, 2, 0, 0]),
        (&format!("{of_gate}&limit=1&order=asc"), vec![0, 0, 2, 2, 4, 4]),
        (&format!("{of_gate}&label=car"), vec![4, 2, 0]),
        (&format!("{of_gate}&label=ca"), vec![]),
        (&format!("{of_gate}&min_confidence=0.5&limit=2"), vec![4, 2, 0]),
        (&format!("{of_gate}&track_id=t2"), vec![2]),
        (&format!("{of_gate}&task_type=anpr"), vec![4, 4]),
        (&format!("{of_gate}&task_id={named}"), vec![0, 0]),
        (&format!("{of_gate}&task_id=nothing"), vec![]),
        (&format!("{of_gate}&frame_id=f2"), vec![2, 2]),
        (&format!("{of_gate}&frame_id=w:f2&mode=live"), vec![2, 2]),
        ("/api/v1/detections?limit=5&label=car", vec![5, 4, 3, 2, 1, 0]),
        ("/api/v1/detections?limit=3&cameras=yard&label=person", vec![5, 3, 1]),
        ("/api/v1/detections?cameras=yard,gate&task_type=anpr&track_id=t5", vec![5]),
    ] {
        let found = rows(&world, As::With(READER), query, base).await;
        let seconds: Vec<i64> = found.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, expect, "{query}");
    }
    let gate = As::Limited(READER, &["gate"]);
    assert_eq!(rows(&world, gate, "/api/v1/detections?limit=1&label=car", base).await.len(), 3);
    // A cursor of a wider scope shows nothing outside one's own.
    let next = world.get("/api/v1/detections?limit=1").await.next().unwrap();
    assert!(
        world.get_as(gate, &next).await.ok().as_array().unwrap().iter().all(|row| row["camera_id"] == "gate")
    );
    for (who, path, status) in [
        (gate, "/api/v1/cameras/yard/detections", 403),
        (gate, "/api/v1/cameras/nothing/detections", 403),
        (gate, "/api/v1/detections?cameras=gate,yard", 403),
        (As::System, "/api/v1/cameras/nothing/detections", 404),
        (As::System, "/api/v1/detections?cameras=nothing", 404),
        (As::System, "/api/v1/detections?zone_id=zone_1", 404),
        (As::System, "/api/v1/detections?min_confidence=2", 400),
        (As::System, "/api/v1/detections?from=yesterday", 400),
        (As::System, "/api/v1/detections?limit=abc", 400),
        (As::System, "/api/v1/detections?cursor=x", 400),
        (As::System, "/api/v1/cameras/gate/detections?order=up", 400),
        (As::System, "/api/v1/cameras/gate/detections?mode=shadow", 400),
        (As::With(&[Capability::AiIngest]), "/api/v1/detections", 403),
    ] {
        assert_eq!(world.get_as(who, path).await.status, status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detection_as_it_is_shown() {
    let world = world(&[]).await;
    let named = task(&world, "gate", "yolo").await;
    let base = furnish(&world, &named).await;
    let found = world.get("/api/v1/cameras/gate/detections?frame_id=f0&order=asc").await.ok();
    let prov = json!({ "key": "system", "task": named, "worker": null });
    let (car, person) = (&found[0], &found[1]);
    assert_eq!(car["attributes"], json!({ "source": "worker", "_prov": prov, "n": 0 }));
    assert_eq!(person["attributes"], json!({ "source": "worker", "_prov": prov, "_client": "plain" }));
    assert_eq!((&person["bbox"], &car["bbox"]), (&json!([0.0, 0.5, 0.495, 0.5]), &Value::Null));
    assert_eq!((&car["timestamp"], &car["frame_id"]), (&json!(base), &json!("w:f0")));
    assert_eq!((&car["batch_id"], &car["ticketed"]), (&person["batch_id"], &json!(false)));
    assert!(car["id"].as_str().unwrap().starts_with("det_"));
    let mut names: Vec<&str> = car.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let expect = [
        "attributes",
        "batch_id",
        "bbox",
        "camera_id",
        "confidence",
        "created_at",
        "frame_id",
        "id",
        "label",
        "task_id",
        "task_type",
        "ticketed",
        "timestamp",
        "track_id",
    ];
    assert_eq!(names, expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_raise_events() {
    let world = world(&[]).await;
    let raise = async |who: As<'_>, body: &Value| post(&world, who, "/api/v1/events", body).await;
    let app = As::Limited(&[Capability::AiIngest], &["gate"]);
    let body = json!({
        "camera_id": "gate", "event_type": "parcel_left", "severity": "critical", "payload": { "n": 1 },
        "timestamp": "2026-11-20T10:00:00.5Z",
    });
    let answer = raise(app, &body).await;
    assert_eq!(answer.status, 201, "{}", answer.json());
    let event = answer.json();
    let links = json!({
        "picture": "/api/v1/cameras/gate/picture?at=2026-11-20T10:00:00.5Z",
        "clip": "/api/v1/cameras/gate/video.mp4?from=2026-11-20T09:59:55.5Z&to=2026-11-20T10:00:05.5Z",
    });
    assert_eq!(event["payload"], json!({ "n": 1, "links": links }));
    let listed = world.get("/api/v1/events?event_type=parcel_left").await.ok();
    assert_eq!(listed, json!([event]));
    let own = json!({ "camera_id": "gate", "event_type": "x", "payload": { "links": 5 } });
    assert_eq!(raise(app, &own).await.ok()["payload"], json!({ "links": 5 }));

    let with = |field: &str, value: Value| {
        let mut body = body.clone();
        body[field] = value;
        body
    };
    for (who, body, status, code) in [
        (app, with("camera_id", json!("yard")), 403, "forbidden"),
        (app, with("camera_id", json!("nothing")), 403, "forbidden"),
        (As::System, with("camera_id", json!("nothing")), 404, "not_found"),
        (As::System, with("event_type", json!("camera_offline")), 400, "validation"),
        (As::System, with("event_type", json!("Parcel")), 400, "validation"),
        (As::System, with("severity", json!("loud")), 400, "validation"),
        (As::System, with("timestamp", json!("yesterday")), 400, "validation"),
        (As::System, with("payload", json!([1])), 422, "invalid_body"),
        (As::System, with("trigger", json!("now")), 422, "invalid_body"),
        (As::System, json!({ "camera_id": "gate" }), 422, "invalid_body"),
        (As::With(READER), body.clone(), 403, "forbidden"),
    ] {
        assert_eq!(raise(who, &body).await.error(), (status, code.to_owned()), "{body}");
    }
    for trigger in [json!(true), json!(false), Value::Null] {
        assert_eq!(raise(As::System, &with("trigger", trigger)).await.status, 201);
    }
}
