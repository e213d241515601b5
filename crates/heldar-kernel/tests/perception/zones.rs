//! Zones end to end: results of a worker in, visits, crossings, occupancy and events out, also across a restart.

use std::time::Duration;

use axum::http::Method;
use heldar_base::{Capability, Clock as _, Micros, WallTime};
use serde_json::{Value, json};

use super::{post, world};
use crate::support::{As, World};

/// The left half of the picture.
const LEFT: [[f64; 2]; 4] = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];

async fn zone(world: &World, camera: &str, body: Value) -> Value {
    let made = post(world, As::System, &format!("/api/v1/cameras/{camera}/zones"), &body).await;
    assert_eq!(made.status, 201, "{}", made.json());
    made.json()
}

/// A person whose feet are at `x`, seen so many milliseconds after `start`.
async fn seen(world: &World, camera: &str, start: WallTime, ms: i64, track: &str, x: f64) {
    let at = start + Micros::from_millis(ms);
    let person =
        json!({ "label": "person", "confidence": 0.9, "track_id": track, "bbox": [x - 0.05, 0.3, 0.1, 0.3] });
    let body = json!({ "camera_id": camera, "task_type": "yolo", "timestamp": at.to_string(), "detections": [person] });
    post(world, As::System, "/api/v1/ai/events", &body).await.ok();
}

/// The zone events of a camera, oldest first, once there are so many.
async fn happened(world: &World, camera: &str, count: usize) -> Vec<Value> {
    for _ in 0..400 {
        let list = world.get(&format!("/api/v1/cameras/{camera}/zone-events?order=asc")).await.ok();
        if list.as_array().unwrap().len() >= count {
            return list.as_array().unwrap().clone();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let list = world.get(&format!("/api/v1/cameras/{camera}/zone-events?order=asc")).await;
    panic!("not {count} within 20 s: {}", list.json());
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event_type"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_and_goes_is_told_with_all_that_is_known() {
    let world = world(&[]).await;
    let left = zone(&world, "gate", json!({ "name": "left", "polygon": LEFT, "severity": "warning" })).await;
    let start = world.kernel.clock.wall() - Micros::from_secs(2);
    for (step, x) in [0.8, 0.4, 0.35, 0.3, 0.6, 0.7].into_iter().enumerate() {
        seen(&world, "gate", start, step as i64 * 200, "7", x).await;
    }
    let events = happened(&world, "gate", 2).await;
    assert_eq!(types(&events), ["enter", "exit"]);
    let (enter, exit) = (&events[0], &events[1]);
    // The second of two observations inside decides.
    assert_eq!(enter["timestamp"], json!((start + Micros::from_millis(400)).to_string()));
    assert_eq!(exit["dwell_seconds"], json!(0.6));
    assert_eq!((&exit["reason"], &enter["reason"]), (&json!("left"), &Value::Null));
    for (field, expect) in [
        ("camera_id", json!("gate")),
        ("zone_id", left["id"].clone()),
        ("zone_name", json!("left")),
        ("track_id", json!("7")),
        ("label", json!("person")),
        ("task_type", json!("yolo")),
        ("confidence", json!(0.9)),
        ("anchor", json!([0.35, 0.6])),
        ("bbox", json!([0.3, 0.3, 0.1, 0.3])),
        ("ticketed", json!(false)),
        ("direction_deg", json!(180.0)),
    ] {
        assert_eq!(enter[field], expect, "{field} of {enter}");
    }
    let detections = world.get("/api/v1/cameras/gate/detections?order=asc").await.ok();
    assert_eq!(enter["detection_id"], detections[2]["id"]);
    assert_eq!(enter["batch_id"], detections[2]["batch_id"]);
    // The feed has it with the severity of the zone, links and the same number.
    let fed = world.get("/api/v1/events?camera_id=gate&event_type=zone_enter").await.ok();
    let event = &fed[0];
    assert_eq!(
        (&event["id"], &event["seq"], &event["severity"]),
        (&enter["event_id"], &enter["seq"], &json!("warning"))
    );
    assert_eq!(event["timestamp"], enter["timestamp"]);
    assert_eq!(
        (&event["payload"]["zone"], &event["payload"]["zone_event_id"]),
        (&json!("left"), &enter["id"])
    );
    let at = enter["timestamp"].as_str().unwrap();
    assert_eq!(event["payload"]["links"]["picture"], json!(format!("/api/v1/cameras/gate/picture?at={at}")));
    // Filters, pages, aggregates, occupancy.
    let get = async |more: &str| world.get(&format!("/api/v1/cameras/gate/zone-events{more}")).await;
    let one = get("?event_type=exit").await.ok();
    assert_eq!(one.as_array().unwrap().len(), 1);
    assert_eq!(get("?track_id=8").await.ok(), json!([]));
    assert_eq!(get("?zone_id=nonsense").await.ok(), json!([]));
    let first = get("?limit=1").await;
    assert!(first.header("x-next-cursor").is_some());
    assert_eq!(first.json()[0]["event_type"], "exit");
    let counted = get("/aggregates?bucket_minutes=1440").await.ok();
    let buckets = counted["buckets"].as_array().unwrap();
    let exits = buckets.iter().find(|bucket| bucket["event_type"] == "exit").unwrap();
    assert_eq!(
        (&exits["count"], &exits["unique_tracks"], &exits["avg_dwell_seconds"]),
        (&json!(1), &json!(1), &json!(0.6))
    );
    let inside = world.get("/api/v1/cameras/gate/zones/occupancy").await.ok();
    assert_eq!((&inside["zones"][0]["zone_id"], &inside["zones"][0]["count"]), (&left["id"], &json!(0)));
    assert!(inside["zones"][0]["updated_at"].as_str().unwrap().ends_with("+00:00"));
    // Only cameras in scope.
    let may = [Capability::EventsRead];
    let path = "/api/v1/cameras/gate/zone-events";
    assert_eq!(world.get_as(As::Limited(&may, &["yard"]), path).await.status, 403);
    assert_eq!(world.get_as(As::Limited(&may, &["gate"]), path).await.status, 200);
    let text = String::from_utf8(world.get("/metrics").await.bytes).unwrap();
    assert!(text.contains(r#"heldar_zone_events_total{event_type="enter"} 1"#), "{text}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_goes_on_over_a_restart_and_ends_once() {
    let world = world(&[]).await;
    zone(&world, "gate", json!({ "name": "left", "polygon": LEFT, "config": { "lost_seconds": 3 } })).await;
    let start = world.kernel.clock.wall() - Micros::from_secs(2);
    for step in 0..3 {
        seen(&world, "gate", start, step * 200, "7", 0.3).await;
    }
    happened(&world, "gate", 1).await;
    assert_eq!(world.get("/api/v1/cameras/gate/zones/occupancy").await.ok()["zones"][0]["count"], 1);
    let world = world.restart(&[("HELDAR_RECORDER_ENABLED", "false")]).await;
    assert_eq!(world.get("/api/v1/cameras/gate/zones/occupancy").await.ok()["zones"][0]["count"], 1);
    // Nobody sends anything any more: time alone ends the visit, at the time when it was last seen.
    let events = happened(&world, "gate", 2).await;
    assert_eq!(types(&events), ["enter", "exit"]);
    assert_eq!(events[1]["reason"], "lost");
    assert_eq!(events[1]["timestamp"], json!((start + Micros::from_millis(400)).to_string()));
    assert_eq!(world.get("/api/v1/cameras/gate/zones/occupancy").await.ok()["zones"][0]["count"], 0);
    let world = world.restart(&[("HELDAR_RECORDER_ENABLED", "false")]).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(types(&happened(&world, "gate", 2).await), ["enter", "exit"]);
    world.stop().await;
}

/// What was seen after the state was stored is taken again before time goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_loses_nothing_that_was_seen_meanwhile() {
    let world = world(&[]).await;
    zone(&world, "gate", json!({ "name": "left", "polygon": LEFT, "config": { "lost_seconds": 1 } })).await;
    let start = world.kernel.clock.wall();
    let mut last = 0;
    for step in 0..9 {
        last = step * 200;
        seen(&world, "gate", start, last, "7", 0.3).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    happened(&world, "gate", 1).await;
    let folder = world.stop().await;
    tokio::time::sleep(Duration::from_millis(3500)).await;
    let world = World::start_in(folder, &[("HELDAR_RECORDER_ENABLED", "false")]).await;
    let events = happened(&world, "gate", 2).await;
    assert_eq!(types(&events), ["enter", "exit"]);
    assert_eq!(events[1]["timestamp"], json!((start + Micros::from_millis(last)).to_string()));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_count_each_crossing_once_and_start_anew_when_asked() {
    let world = world(&[]).await;
    let line =
        zone(&world, "gate", json!({ "name": "door", "kind": "line", "polygon": [[0.5, 0.0], [0.5, 1.0]] }))
            .await;
    let start = world.kernel.clock.wall() - Micros::from_secs(2);
    for (track, xs) in [("1", [0.3, 0.4, 0.6, 0.7]), ("2", [0.7, 0.6, 0.4, 0.3]), ("3", [0.2, 0.4, 0.7, 0.8])]
    {
        for (step, x) in xs.into_iter().enumerate() {
            seen(&world, "gate", start, step as i64 * 200, track, x).await;
        }
    }
    let events = happened(&world, "gate", 3).await;
    let mut all = types(&events);
    all.sort_unstable();
    assert_eq!(all, ["cross_ab", "cross_ab", "cross_ba"]);
    let path = format!("/api/v1/zones/{}/counters", line["id"].as_str().unwrap());
    let counted = world.get(&path).await.ok();
    assert_eq!(
        (&counted["in"], &counted["out"], &counted["net"]),
        (&json!(2), &json!(1), &json!(1)),
        "{counted}"
    );
    assert_eq!(counted["by_label"]["person"], json!({ "in": 2, "out": 1 }));
    let zeroed = post(&world, As::System, &format!("{path}/reset"), &json!({})).await.ok();
    assert_eq!((&zeroed["in"], &zeroed["out"], &zeroed["net"]), (&json!(0), &json!(0), &json!(0)));
    assert!(zeroed["since"].as_str() > counted["since"].as_str(), "{zeroed} {counted}");
    let rows = world.get("/api/v1/audit?action=reset_zone_counters").await.ok();
    assert_eq!(rows.as_array().unwrap().len(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_are_made_changed_and_deleted() {
    let world = world(&[]).await;
    let path = "/api/v1/cameras/gate/zones";
    let body = json!({ "name": "  left ", "polygon": LEFT, "config": { "mine": 1, "confirm_frames": 1 } });
    let made = zone(&world, "gate", body.clone()).await;
    assert_eq!(
        (&made["name"], &made["kind"], &made["severity"]),
        (&json!("left"), &json!("region"), &json!("info"))
    );
    assert_eq!(
        (&made["enabled"], &made["dwell_seconds"], &made["config"]["mine"]),
        (&json!(true), &json!(0.0), &json!(1))
    );
    let again = post(&world, As::System, path, &body).await;
    assert_eq!((again.status, &again.json()["id"]), (200, &made["id"]));
    let other = zone(&world, "gate", json!({ "name": "red", "kind": "red", "polygon": LEFT })).await;
    assert_eq!(other["severity"], "critical");
    for (body, field) in [
        (json!({ "name": " ", "polygon": LEFT }), "name"),
        (json!({ "name": "x", "polygon": [[0, 0], [1, 1]] }), "polygon"),
        (json!({ "name": "x", "polygon": [[0, 0], [1, 1], [2, 0]] }), "polygon[2]"),
        (json!({ "name": "x", "kind": "speed", "polygon": LEFT }), "kind"),
        (json!({ "name": "x", "polygon": LEFT, "severity": "loud" }), "severity"),
        (
            json!({ "name": "x", "polygon": LEFT, "config": { "occupancy": { "max": "many" } } }),
            "config.occupancy.max",
        ),
    ] {
        let refused = post(&world, As::System, path, &body).await;
        assert_eq!(refused.error(), (400, "validation".to_owned()), "{body}");
        assert_eq!(refused.json()["field"], field, "{}", refused.json());
    }
    assert_eq!(post(&world, As::System, path, &json!({ "name": "x" })).await.status, 422);
    assert_eq!(post(&world, As::System, "/api/v1/cameras/nobody/zones", &body).await.status, 404);
    // A track inside: a zone that moves away ends its visit.
    let start = world.kernel.clock.wall() - Micros::from_secs(2);
    for step in 0..2 {
        seen(&world, "gate", start, step * 200, "7", 0.3).await;
    }
    happened(&world, "gate", 2).await;
    let one = format!("/api/v1/zones/{}", made["id"].as_str().unwrap());
    let patch = async |body: Value| world.send(As::System, Method::PATCH, &one, Some(&body)).await;
    assert_eq!(patch(json!({})).await.json()["updated_at"], made["updated_at"]);
    assert_eq!(patch(json!({ "name": "red" })).await.error(), (409, "conflict".to_owned()));
    assert_eq!(patch(json!({ "kind": "line" })).await.status, 200);
    assert_eq!(
        patch(json!({ "kind": "region", "polygon": [[0.6, 0.0], [1.0, 0.0], [1.0, 1.0]] })).await.status,
        200
    );
    let events = happened(&world, "gate", 3).await;
    let ended = events.iter().find(|event| event["event_type"] == "exit").unwrap();
    assert_eq!((&ended["reason"], &ended["zone_id"]), (&json!("zone_changed"), &made["id"]));
    let red = format!("/api/v1/zones/{}", other["id"].as_str().unwrap());
    assert_eq!(world.send(As::System, Method::DELETE, &red, None).await.status, 204);
    let events = happened(&world, "gate", 4).await;
    assert_eq!(events.iter().filter(|event| event["event_type"] == "exit").count(), 2);
    assert_eq!(world.send(As::System, Method::DELETE, &red, None).await.status, 404);
    let list = world.get(path).await.ok();
    assert_eq!(list.as_array().unwrap().len(), 1);
    for (action, count) in [("create_zone", 2), ("update_zone", 2), ("delete_zone", 1)] {
        let rows = world.get(&format!("/api/v1/audit?action={action}")).await.ok();
        assert_eq!(rows.as_array().unwrap().len(), count, "{action}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_stretch_is_replayed_and_compared() {
    let world = world(&[]).await;
    let left = zone(&world, "gate", json!({ "name": "left", "polygon": LEFT })).await;
    let start = world.kernel.clock.wall() - Micros::from_secs(20);
    for (step, x) in [0.8, 0.4, 0.35, 0.3, 0.6, 0.7, 0.8].into_iter().enumerate() {
        seen(&world, "gate", start, step as i64 * 200, "7", x).await;
    }
    happened(&world, "gate", 2).await;
    let replay = async |more: Value| {
        let mut body = json!({ "camera_id": "gate", "from": start.to_string(), "to": (start + Micros::from_secs(10)).to_string() });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        post(&world, As::System, "/api/v1/zones/replay", &body).await
    };
    // The same zones have found the same.
    let same = replay(json!({})).await.ok();
    assert_eq!(
        (&same["batches"], &same["detections"], &same["truncated"]),
        (&json!(7), &json!(7), &json!(false))
    );
    assert_eq!(same["diff"], json!({ "matched": 2, "added": [], "removed": [] }));
    assert_eq!(same["counts"], json!({ "left": { "enter": 1, "exit": 1 } }));
    let live = happened(&world, "gate", 2).await;
    for (replayed, live) in same["events"].as_array().unwrap().iter().zip(&live) {
        for field in [
            "zone_id",
            "zone_name",
            "event_type",
            "track_id",
            "label",
            "timestamp",
            "dwell_seconds",
            "reason",
        ] {
            assert_eq!(replayed[field], live[field], "{field}");
        }
    }
    // A zone that is drawn elsewhere, beside the one that there is, and in its place.
    let right = json!({ "name": "right", "polygon": [[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]] });
    let other = replay(json!({ "zones": [right] })).await.ok();
    assert_eq!(other["counts"], json!({ "right": { "enter": 1 } }));
    assert_eq!(
        (&other["diff"]["matched"], other["diff"]["removed"].as_array().unwrap().len()),
        (&json!(0), 0)
    );
    let moved = json!({ "id": left["id"], "name": "left", "polygon": [[0.0, 0.0], [0.2, 0.0], [0.2, 1.0]] });
    let moved = replay(json!({ "zones": [moved] })).await.ok();
    assert_eq!(moved["events"], json!([]));
    let removed = moved["diff"]["removed"].as_array().unwrap();
    assert_eq!(removed.iter().map(|one| &one["id"]).collect::<Vec<_>>(), [&live[0]["id"], &live[1]["id"]]);
    // Nothing of it was written.
    assert_eq!(happened(&world, "gate", 2).await.len(), 2);
    // What is asked wrongly.
    let wrong = replay(json!({ "zones": [{ "name": "x", "polygon": [[0, 0]] }] })).await;
    assert_eq!((wrong.status, &wrong.json()["field"]), (400, &json!("zones[0].polygon")));
    assert_eq!(replay(json!({ "to": (start + Micros::from_hours(25)).to_string() })).await.status, 400);
    assert_eq!(replay(json!({ "camera_id": "nobody" })).await.status, 404);
    assert_eq!(replay(json!({ "task_types": ["other"] })).await.ok()["events"], json!([]));
    world.stop().await;
}
