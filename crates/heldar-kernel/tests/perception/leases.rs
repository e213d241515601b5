//! Discovery, leases and their lists (perception.md 4).

use std::collections::BTreeSet;

use axum::http::Method;
use heldar_base::Capability;
use serde_json::{Value, json};

use super::{acquire, ids, post, task, world};
use crate::house::House;
use crate::support::{As, World};

async fn release(world: &World, lease: &Value) -> u64 {
    let path = format!("/api/v1/ai/leases/{}", lease.as_str().unwrap());
    world.send(As::System, Method::DELETE, &path, None).await.ok()["released"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_takes_renews_and_releases() {
    let world = world(&[]).await;
    let gate = task(&world, "gate", "motion").await;
    let yard = task(&world, "yard", "yolo").await;
    let held = acquire(&world, As::System, json!({ "worker_id": " w1 " })).await;
    assert_eq!(
        (&held["worker_id"], &held["renewed"], &held["pending"]),
        (&json!("w1"), &json!(false), &json!(0))
    );
    assert_eq!(held["renew_after_secs"], 40);
    assert!(held["lease_id"].as_str().unwrap().starts_with("lse_"));
    assert!(held["expires_at"].as_str().unwrap().ends_with("+00:00"), "{held}");
    let mut all = vec![gate.clone(), yard.clone()];
    all.sort_unstable();
    assert_eq!(ids(&held["tasks"]), all);
    let shown = held["tasks"].as_array().unwrap().iter().find(|shown| shown["id"] == gate.as_str()).unwrap();
    for (field, expect) in [
        ("camera_id", json!("gate")),
        ("task_type", json!("motion")),
        ("stream_profile", json!("sub")),
        ("fps", json!(5.0)),
        ("width", json!(1280)),
        ("config", json!({})),
        ("frame_url", json!(format!("/api/v1/cameras/gate/frame?profile=sub&task={gate}"))),
        ("mode", json!("live")),
    ] {
        assert_eq!(shown[field], expect, "{field}");
    }
    assert!(shown["effective_fps"].is_number() && shown["effective_width"].is_number(), "{shown}");

    let again = acquire(&world, As::System, json!({ "worker_id": "w1", "task_types": ["motion"] })).await;
    assert_eq!((&again["lease_id"], &again["renewed"]), (&held["lease_id"], &json!(true)));
    assert_eq!(ids(&again["tasks"]), [gate.as_str()], "what its types leave out is released at once");
    let other = acquire(&world, As::System, json!({ "worker_id": "w2", "task_types": ["yolo"] })).await;
    assert_eq!(ids(&other["tasks"]), [yard.as_str()]);

    let leases = world.get("/api/v1/ai/leases").await.ok();
    let rows: BTreeSet<(&str, &str)> = leases
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["worker_id"].as_str().unwrap(), row["camera_id"].as_str().unwrap()))
        .collect();
    assert_eq!(rows, BTreeSet::from([("w1", "gate"), ("w2", "yard")]));
    assert_eq!((&leases[0]["credential"], leases[0].as_object().unwrap().len()), (&json!("system"), 9));
    let workers = world.get("/api/v1/ai/workers").await.ok();
    let first = &workers[0];
    assert_eq!((&first["worker_id"], &first["transport"]), (&json!("w1"), &json!("lease")));
    assert_eq!((&first["leases"], &first["task_types"]), (&json!(1), &json!(["motion"])));
    assert_eq!(first["load"], json!(5.0 * 1280.0 * 720.0));
    let limited = As::Limited(&[Capability::SystemRead], &["yard"]);
    let seen = world.get_as(limited, "/api/v1/ai/leases").await.ok();
    assert_eq!((seen.as_array().unwrap().len(), &seen[0]["camera_id"]), (1, &json!("yard")));
    assert_eq!(world.get_as(limited, "/api/v1/ai/workers").await.ok(), json!([]));

    assert_eq!(release(&world, &json!("nonsense")).await, 0);
    let foreign = format!("/api/v1/ai/leases/{}", held["lease_id"].as_str().unwrap());
    let foreign = world.send(As::With(&[Capability::AiTasks]), Method::DELETE, &foreign, None).await.ok();
    assert_eq!(foreign, json!({ "released": 0 }));
    assert_eq!(release(&world, &held["lease_id"]).await, 1);
    assert_eq!(release(&world, &held["lease_id"]).await, 0);
    let fresh = acquire(&world, As::System, json!({ "worker_id": "w1", "task_types": ["motion"] })).await;
    assert_ne!(fresh["lease_id"], held["lease_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_lease_calls() {
    let world = world(&[]).await;
    task(&world, "gate", "motion").await;
    for (body, status, code) in [
        (json!({}), 422, "invalid_body"),
        (json!({ "worker_id": 5 }), 422, "invalid_body"),
        (json!({ "worker_id": " " }), 400, "validation"),
        (json!({ "worker_id": "w".repeat(257) }), 400, "validation"),
        (json!({ "worker_id": "w", "ttl_secs": "x" }), 422, "invalid_body"),
    ] {
        let answer = post(&world, As::System, "/api/v1/ai/leases", &body).await;
        assert_eq!(answer.error(), (status, code.to_owned()), "{body}");
    }
    for (body, renew_after, tasks) in [
        (json!({ "worker_id": "w", "ttl_secs": 1, "max_tasks": 0, "capacity": 0, "more": [] }), 10, 1),
        (json!({ "worker_id": "w", "ttl_secs": 9999, "max_tasks": null }), 200, 1),
        (json!({ "worker_id": "w", "task_types": [] }), 40, 0),
    ] {
        let held = acquire(&world, As::System, body.clone()).await;
        assert_eq!(held["renew_after_secs"], renew_after, "{body}");
        assert_eq!(held["tasks"].as_array().unwrap().len(), tasks, "{body}");
    }
    let refused = post(&world, As::With(&[Capability::AiIngest]), "/api/v1/ai/leases", &json!({})).await;
    assert_eq!(refused.error(), (403, "forbidden".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_ask_for_their_share() {
    let world = world(&[]).await;
    for (camera, task_type) in [("gate", "a"), ("gate", "b"), ("gate", "c"), ("yard", "a"), ("yard", "b")] {
        task(&world, camera, task_type).await;
    }
    let all = ids(&world.get("/api/v1/ai/tasks").await.ok());
    assert!(all.len() == 5 && all.is_sorted(), "{all:?}");
    assert_eq!(ids(&world.get("/api/v1/ai/tasks?worker_id=%20").await.ok()), all);
    assert_eq!(world.get("/api/v1/ai/workers").await.ok(), json!([]), "nothing was written");
    let yard = As::Limited(&[Capability::AiTasks], &["yard"]);
    assert_eq!(ids(&world.get_as(yard, "/api/v1/ai/tasks").await.ok()).len(), 2);

    let ask =
        async |worker: &str| ids(&world.get(&format!("/api/v1/ai/tasks?worker_id={worker}")).await.ok());
    assert_eq!(ask("one").await, all);
    let (two, one) = (ask("two").await, ask("one").await);
    let mut both = [one.clone(), two.clone()].concat();
    both.sort_unstable();
    assert!(both == all && !one.is_empty() && !two.is_empty(), "{one:?} {two:?}");
    // What is under a lease is nobody else's.
    let held = acquire(&world, As::System, json!({ "worker_id": "three", "max_tasks": 1 })).await;
    let leased = ids(&held["tasks"]);
    let rest: Vec<String> = [ask("one").await, ask("two").await].concat();
    assert_eq!((leased.len(), rest.len()), (1, 4));
    assert!(!rest.contains(&leased[0]));
    let long = format!("/api/v1/ai/tasks?worker_id={}", "w".repeat(257));
    assert_eq!(world.get(&long).await.error(), (400, "validation".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_outlive_a_restart_and_end_with_their_task() {
    let world = world(&[]).await;
    let (gate, yard) = (task(&world, "gate", "a").await, task(&world, "yard", "a").await);
    let held = acquire(&world, As::System, json!({ "worker_id": "w" })).await;
    let world = world.restart(&[("HELDAR_RECORDER_ENABLED", "false")]).await;
    let leases = world.get("/api/v1/ai/leases").await.ok();
    assert_eq!(leases.as_array().unwrap().len(), 2);
    let again = acquire(&world, As::System, json!({ "worker_id": "w" })).await;
    assert_eq!((&again["lease_id"], &again["renewed"]), (&held["lease_id"], &json!(true)));
    // A task that is switched off is released by the next call, one that is deleted at once.
    let off = json!({ "enabled": false });
    world.send(As::System, Method::PATCH, &format!("/api/v1/ai-tasks/{gate}"), Some(&off)).await.ok();
    assert_eq!(
        ids(&acquire(&world, As::System, json!({ "worker_id": "w" })).await["tasks"]),
        [yard.as_str()]
    );
    world.send(As::System, Method::DELETE, &format!("/api/v1/ai-tasks/{yard}"), None).await.ok();
    assert_eq!(world.get("/api/v1/ai/leases").await.ok(), json!([]));
    assert_eq!(world.kernel.store.leases(&heldar_base::Scope::All).await.unwrap(), []);
}

/// A server with the cameras `gate` and `yard` and eight tasks, and two keys of workers.
async fn house(env: &[(&str, &str)]) -> (House, [(String, String); 2]) {
    let house = House::start_with(env).await;
    for camera in ["gate", "yard"] {
        house.camera(camera, json!({})).await;
        for task_type in ["a", "b", "c", "d"] {
            let path = format!("/api/v1/cameras/{camera}/ai-tasks");
            house.post(&path, json!({ "task_type": task_type })).token(&house.admin).ok().await;
        }
    }
    let worker = json!({ "capabilities": ["ai:tasks", "ai:frames", "ai:ingest"] });
    let keys = [house.key(worker.clone()).await, house.key(worker).await];
    (house, keys)
}

async fn take(house: &House, key: &str, worker: &str) -> (Vec<String>, u64) {
    let held = house.post("/api/v1/ai/leases", json!({ "worker_id": worker })).key(key).ok().await;
    (ids(&held["tasks"]), held["pending"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_of_two_keys_hold_each_task_once() {
    let (house, [(one_id, one), (_, two)]) = house(&[]).await;
    let (all, pending) = take(&house, &one, "w").await;
    assert_eq!((all.len(), pending), (8, 0));
    let (none, pending) = take(&house, &two, "w").await;
    assert!(none.is_empty() && (2..=6).contains(&pending), "{none:?} {pending}");
    let (kept, _) = take(&house, &one, "w").await;
    assert_eq!(kept.len() as u64 + pending, 8, "what is the other's by the sharing is handed over");
    // A key that is deleted holds nothing from the other's next call on.
    house.delete(&format!("/api/v1/api-keys/{one_id}")).token(&house.admin).ok().await;
    let (rest, pending) = take(&house, &two, "w").await;
    assert_eq!((rest, pending), (all, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_belongs_to_a_credential_where_that_is_enforced() {
    for (tier, expect) in [("warn", 200), ("enforce", 409)] {
        let (house, [(_, one), (_, two)]) = house(&[("HELDAR_MACHINE_AUTH", tier)]).await;
        let ask = async |key: &str| house.get("/api/v1/ai/tasks?worker_id=w").key(key).status().await;
        assert_eq!(ask(&one).await, 200);
        assert_eq!(ask(&two).await, expect, "{tier}");
        assert_eq!(ask(&one).await, 200, "it was there first");
    }
}
