//! What those see who are limited to cameras.

use std::collections::BTreeSet;

use heldar_base::{CameraId, Micros, WallTime};
use heldar_store::Severity;
use serde_json::{Value, json};

use crate::house::{House, until};

/// Everything that is said below a name of a field, wherever that stands.
fn said(value: &Value, names: &[&str], found: &mut BTreeSet<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|item| said(item, names, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if names.contains(&name.as_str()) => _ = found.insert(text.to_owned()),
                    _ => said(value, names, found),
                }
            }
        }
        _ => {}
    }
}

struct Scene {
    house: House,
    /// Someone of `gate` and someone of the site `south`; both manage.
    gate: String,
    south: String,
    /// Limited to a camera that is not there.
    nowhere: String,
    base: WallTime,
}

async fn scene() -> Scene {
    let house = House::start().await;
    let base = house.furnish().await;
    house.camera("roof", json!({})).await;
    let window = json!({ "from": base, "to": base + Micros::from_secs(10) });
    for (camera, events) in [(Some("gate"), 2), (Some("yard"), 3), (None, 4)] {
        for _ in 0..events {
            let camera = camera.map(|id| CameraId::new(id).unwrap());
            house.kernel.journal.raise(camera, "test_event", Severity::Info, json!({}));
        }
        if let Some(camera) = camera {
            let of = |rest: &str| format!("/api/v1/cameras/{camera}/{rest}");
            house.post(&of("clip"), window.clone()).token(&house.admin).ok().await;
            house
                .patch(&format!("/api/v1/cameras/{camera}"), json!({ "priority": 7 }))
                .token(&house.admin)
                .ok()
                .await;
        }
    }
    let manager = |scope: Value| {
        let mut body = json!({ "role": "manager", "scope_kind": "cameras" });
        crate::house::merge(&mut body, scope);
        body
    };
    let (_, gate) = house.signed_in("gate", manager(json!({ "scope_cameras": ["gate"] }))).await;
    let (_, south) = house.signed_in("south", manager(json!({ "scope_sites": ["south"] }))).await;
    let (_, nowhere) = house.signed_in("nowhere", manager(json!({ "scope_cameras": ["ghost"] }))).await;
    let events = "/api/v1/events?event_type=test_event";
    until("events", async || house.see(events).await.as_array().unwrap().len() == 9).await;
    Scene { house, gate, south, nowhere, base }
}

const CAMERA: &[&str] = &["camera_id", "subject_camera_id", "id"];

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_figures_are_of_ones_own_cameras() {
    let Scene { house, gate, south, nowhere, base } = scene().await;
    let window = format!("from={base}&to={}", base + Micros::from_secs(60));
    let cameras = async |token: &str, path: &str, names: &[&str]| {
        let mut found = BTreeSet::new();
        said(&house.get(path).token(token).ok().await, names, &mut found);
        found.into_iter().collect::<Vec<_>>()
    };
    for (path, names, of_all) in [
        ("/api/v1/cameras".to_owned(), CAMERA, 3),
        ("/api/v1/health/cameras".to_owned(), &["camera_id"], 3),
        ("/api/v1/events?event_type=test_event".to_owned(), &["camera_id"], 2),
        ("/api/v1/clips".to_owned(), &["camera_id"], 2),
        (format!("/api/v1/timeline?{window}"), &["camera_id"], 3),
        (format!("/api/v1/coverage?{window}"), &["camera_id"], 3),
        ("/api/v1/audit?action=update_camera".to_owned(), &["subject_camera_id"], 2),
        ("/api/v1/audit?limit=5000".to_owned(), &["subject_camera_id"], 3),
    ] {
        assert_eq!(cameras(&house.admin, &path, names).await.len(), of_all, "{path}");
        assert_eq!(cameras(&gate, &path, names).await, ["gate"], "{path}");
        assert_eq!(cameras(&south, &path, names).await, ["yard"], "{path}");
        assert_eq!(cameras(&nowhere, &path, names).await, [""; 0], "{path}");
    }
    let export = house.get("/api/v1/audit/export").token(&gate).send().await;
    let export = String::from_utf8(export.bytes).unwrap();
    assert!(export.lines().count() >= 3, "{export}");
    for line in export.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        assert_eq!(row["subject_camera_id"], "gate", "{line}");
    }

    // Rows and counts.
    let count =
        async |token: &str, path: &str| house.get(path).token(token).ok().await.as_array().unwrap().len();
    let events = "/api/v1/events?event_type=test_event";
    assert_eq!((count(&gate, events).await, count(&south, events).await), (2, 3));
    for foreign in ["yard", "ghost", "No%20Camera"] {
        for path in ["events?camera_id=", "clips?camera_id=", "audit?camera_id="] {
            let path = format!("/api/v1/{path}{foreign}");
            assert_eq!(count(&gate, &path).await, 0, "{path}");
        }
        for list in ["timeline", "coverage"] {
            let path = format!("/api/v1/{list}?{window}&cameras={foreign}");
            let found = house.get(&path).token(&gate).outcome().await;
            assert_eq!(found, (403, "out_of_scope".to_owned()), "{path}");
        }
    }
    // A page that holds all of one's own is the last, whatever others have.
    for path in ["cameras?limit=1", "health/cameras?limit=1", "sites?limit=1", "clips?limit=1"] {
        for token in [&gate, &south] {
            let answer = house.get(&format!("/api/v1/{path}")).token(token).send().await;
            assert_eq!((answer.status, answer.header("link")), (200, None), "{path}");
            assert_eq!(answer.json().as_array().unwrap().len(), 1, "{path}");
        }
        let answer = house.get(&format!("/api/v1/{path}")).token(&house.admin).send().await;
        assert!(answer.header("link").is_some(), "{path}");
    }
    let sites = async |token: &str| cameras(token, "/api/v1/sites", &["id"]).await;
    assert_eq!(sites(&gate).await, ["north"]);
    assert_eq!(sites(&south).await, ["south"]);
    assert_eq!(sites(&nowhere).await, [""; 0]);
    let site = |token: &str, id: &str| {
        let call = house.get(&format!("/api/v1/sites/{id}")).token(token);
        async move { crate::house::bytes_without_id(&call.send().await) }
    };
    assert_eq!(site(&gate, "north").await.0, 200);
    assert_eq!(site(&gate, "south").await, site(&gate, "nothing").await);

    let figures = async |token: &str| {
        let system = house.get("/api/v1/system").token(token).ok().await;
        let of = |name: &str| system[name].as_u64().unwrap();
        assert_eq!(system["storage"]["segment_count"], system["segments_total"]);
        assert_eq!(system["storage"]["recordings_bytes"], system["recordings_bytes"]);
        (of("cameras_total"), of("segments_total"), of("recordings_bytes"))
    };
    let [all, of_gate, of_south] = [figures(&house.admin).await, figures(&gate).await, figures(&south).await];
    assert_eq!((all.0, all.1), (3, 2));
    assert_eq!((of_gate.0, of_gate.1, of_south.0, of_south.1), (1, 1, 1, 1));
    assert_eq!(of_gate.2 + of_south.2, all.2);
    assert_eq!(figures(&nowhere).await, (0, 0, 0));
    let totals = house.get(&format!("/api/v1/coverage?{window}")).token(&south).ok().await;
    assert_eq!(totals["totals"]["camera_count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_limited_person_may_ask_names_another_camera() {
    let Scene { house, gate, base, .. } = scene().await;
    let api = house.see("/api/v1/openapi.json").await;
    let window = format!("from={base}&to={}", base + Micros::from_secs(60));
    let mut asked = 0;
    for (path, methods) in api["paths"].as_object().unwrap() {
        let rule = &methods["get"]["x-heldar-access"];
        if !rule.is_object() || path.ends_with("openapi.json") {
            continue;
        }
        let path = path.replace("/cameras/{id}", "/cameras/gate").replace("{id}", "south");
        if path.contains('{') {
            continue;
        }
        let answer = house.get(&format!("{path}?{window}")).token(&gate).send().await;
        let body = String::from_utf8_lossy(&answer.bytes);
        for secret in ["yard", "Yard", "south", "South", "roof"] {
            assert!(!body.contains(secret), "{path}: {body}");
        }
        asked += 1;
    }
    assert!(asked > 35, "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_of_sites_follows_its_cameras() {
    let house = House::start().await;
    house.furnish().await;
    let limited = json!({ "scope_kind": "cameras", "scope_sites": ["south"] });
    let (_, south) = house.signed_in("south", limited.clone()).await;
    let (_, key) = house
        .key(json!({ "capabilities": ["camera:read"], "scope_kind": "cameras", "scope_sites": ["south"] }))
        .await;
    let check = async |expect: &[&str]| {
        for call in [house.get("/api/v1/cameras").token(&south), house.get("/api/v1/cameras").key(&key)] {
            let list = call.ok().await;
            let ids: Vec<&str> = list.as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap()).collect();
            assert_eq!(ids, expect);
        }
        let status = house.get("/api/v1/cameras/gate").token(&south).status().await;
        assert_eq!(status, if expect.contains(&"gate") { 200 } else { 403 });
    };
    let change = async |camera: &str, body: Value| {
        house.patch(&format!("/api/v1/cameras/{camera}"), body).token(&house.admin).ok().await
    };
    check(&["yard"]).await;
    change("gate", json!({ "site_id": "south" })).await;
    check(&["gate", "yard"]).await;
    change("gate", json!({ "site_id": null })).await;
    check(&["yard"]).await;
    house.camera("pole", json!({ "site_id": "south" })).await;
    check(&["pole", "yard"]).await;
    house.delete("/api/v1/cameras/pole").token(&house.admin).ok().await;
    check(&["yard"]).await;
    // A camera that comes back under its name is one of its new site alone.
    house.camera("pole", json!({ "site_id": "north" })).await;
    check(&["yard"]).await;
    // Nobody's manager takes a camera into its own scope.
    let mut manager = json!({ "role": "manager" });
    crate::house::merge(&mut manager, limited);
    let (_, manager) = house.signed_in("manager", manager).await;
    let take = house.patch("/api/v1/cameras/gate", json!({ "site_id": "south" })).token(&manager);
    assert_eq!(take.outcome().await, (403, "out_of_scope".to_owned()));
    house.delete("/api/v1/sites/south?detach=true").token(&house.admin).ok().await;
    check(&[]).await;
}
