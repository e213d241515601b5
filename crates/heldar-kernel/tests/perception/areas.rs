//! What lies inside of a zone: asked of stored detections, and kept from being stored.

use heldar_base::{Capability, Clock as _, Micros, WallTime};
use serde_json::{Value, json};

use super::{post, world};
use crate::support::{As, World};

const LEFT: [[f64; 2]; 4] = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];

async fn zone(world: &World, camera: &str, body: Value) -> String {
    let made = post(world, As::System, &format!("/api/v1/cameras/{camera}/zones"), &body).await;
    assert_eq!(made.status, 201, "{}", made.json());
    made.json()["id"].as_str().unwrap().to_owned()
}

/// Things of a label whose feet are at each `x`; the answer.
async fn seen(world: &World, camera: &str, at: WallTime, label: &str, xs: &[f64]) -> Value {
    let things: Vec<Value> = xs
        .iter()
        .map(|x| json!({ "label": label, "track_id": format!("{x}"), "bbox": [x - 0.05, 0.3, 0.1, 0.3] }))
        .collect();
    let body = json!({ "camera_id": camera, "task_type": "yolo", "timestamp": at.to_string(), "detections": things });
    post(world, As::System, "/api/v1/ai/events", &body).await.ok()
}

/// The tracks of all pages of a list, and how many pages there were.
async fn tracks(world: &World, path: &str) -> (Vec<String>, usize) {
    let (mut found, mut pages) = (Vec::new(), 0);
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let page = world.get(&path).await;
        next = page.next();
        pages += 1;
        let rows = page.ok();
        found.extend(rows.as_array().unwrap().iter().map(|row| row["track_id"].as_str().unwrap().to_owned()));
    }
    (found, pages)
}

#[tokio::test(flavor = "multi_thread")]
async fn detections_inside_of_a_zone_as_it_is_now() {
    let world = world(&[]).await;
    let now = world.kernel.clock.wall();
    for step in 0..5 {
        seen(&world, "gate", now - Micros::from_secs(5 - step), "person", &[0.1, 0.4, 0.6, 0.9]).await;
    }
    seen(&world, "yard", now, "person", &[0.2]).await;
    let left = zone(&world, "gate", json!({ "name": "left", "polygon": LEFT })).await;
    let door = json!({ "name": "door", "kind": "line", "polygon": [[0.5, 0.0], [0.5, 1.0]] });
    let door = zone(&world, "gate", door).await;
    let path = format!("/api/v1/detections?zone_id={left}");
    let (all, _) = tracks(&world, &path).await;
    assert_eq!(all, ["0.4", "0.1"].repeat(5));
    // Pages begin where the one before ended, also between things of one picture.
    for limit in [1, 3, 4, 10] {
        let (paged, pages) = tracks(&world, &format!("{path}&limit={limit}")).await;
        assert_eq!(paged, all, "{limit}");
        assert!(pages >= 10usize.div_ceil(limit), "{pages} pages of {limit}");
    }
    assert_eq!(tracks(&world, &format!("{path}&track_id=0.4")).await.0, ["0.4"; 5]);
    assert_eq!(tracks(&world, &format!("{path}&cameras=yard")).await.0, [""; 0]);
    assert_eq!(tracks(&world, &format!("{path}&cameras=yard,gate&label=car")).await.0, [""; 0]);
    // The zone as it is now.
    let moved = json!({ "polygon": [[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]] });
    let of_left = format!("/api/v1/zones/{left}");
    world.send(As::System, axum::http::Method::PATCH, &of_left, Some(&moved)).await.ok();
    assert_eq!(tracks(&world, &path).await.0, ["0.9", "0.6"].repeat(5));
    let line = world.get(&format!("/api/v1/detections?zone_id={door}")).await;
    assert_eq!((line.status, &line.json()["field"]), (400, &json!("zone_id")), "{}", line.json());
    let foreign = world.get_as(As::Limited(&[Capability::EventsRead], &["yard"]), &path).await;
    assert!([403, 404].contains(&foreign.status), "{}", foreign.json());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mask_drops_is_never_stored() {
    let world = world(&[]).await;
    let mask = |drop: bool| json!({ "name": "road", "kind": "exclude", "polygon": LEFT, "labels": ["car"], "config": { "drop": drop } });
    let road = zone(&world, "gate", mask(true)).await;
    let now = world.kernel.clock.wall();
    let at = |second: i64| now - Micros::from_secs(20 - second);
    let taken = async |label, second| {
        seen(&world, "gate", at(second), label, &[0.2, 0.8]).await["detections_ingested"].clone()
    };
    assert_eq!(taken("car", 0).await, 1);
    assert_eq!(taken("person", 1).await, 2);
    assert_eq!(seen(&world, "yard", at(1), "car", &[0.2, 0.8]).await["detections_ingested"], 2);
    // Known again after a restart, from the first batch on.
    let world = world.restart(&[("HELDAR_RECORDER_ENABLED", "false")]).await;
    let taken = async |label, second| {
        seen(&world, "gate", at(second), label, &[0.2, 0.8]).await["detections_ingested"].clone()
    };
    assert_eq!(taken("car", 2).await, 1);
    let text = String::from_utf8(world.get("/metrics").await.bytes).unwrap();
    assert!(text.contains("heldar_zone_dropped_detections_total 1"), "{text}");
    // Whoever takes the mask away is answered when that holds.
    let send = async |method, body: Option<Value>| {
        world.send(As::System, method, &format!("/api/v1/zones/{road}"), body.as_ref()).await
    };
    let undone = json!({ "config": { "drop": false } });
    send(axum::http::Method::PATCH, Some(undone)).await.ok();
    assert_eq!(taken("car", 3).await, 2);
    send(axum::http::Method::PATCH, Some(json!({ "config": { "drop": true } }))).await.ok();
    assert_eq!(taken("car", 4).await, 1);
    assert_eq!(send(axum::http::Method::DELETE, None).await.status, 204);
    assert_eq!(taken("car", 5).await, 2);
    let stored = world.get("/api/v1/cameras/gate/detections?label=car").await.ok();
    assert_eq!(stored.as_array().unwrap().len(), 1 + 1 + 2 + 1 + 2);
    world.stop().await;
}
