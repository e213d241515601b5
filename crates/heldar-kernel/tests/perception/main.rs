//! Tasks, their leases, results and detections over HTTP.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod areas;
mod fanout;
mod groups;
#[allow(dead_code, reason = "the tests of access use all of it")]
#[path = "../access/house.rs"]
mod house;
mod ingest;
mod leases;
mod results;
#[path = "../support/mod.rs"]
mod support;
#[allow(dead_code, reason = "the tests of access use all of it")]
#[path = "../access/tape.rs"]
mod tape;
mod triggers;
mod truth;
mod zones;

use axum::http::Method;
use serde_json::{Value, json};
use support::{Answer, As, World};

/// A world that records nothing, with the cameras `gate` and `yard`.
async fn world(env: &[(&str, &str)]) -> World {
    let world = World::start_with(&[&[("HELDAR_RECORDER_ENABLED", "false")], env].concat()).await;
    for id in ["gate", "yard"] {
        post(&world, As::System, "/api/v1/cameras", &json!({ "id": id, "name": id })).await.ok();
    }
    world
}

async fn post(world: &World, who: As<'_>, path: &str, body: &Value) -> Answer {
    world.send(who, Method::POST, path, Some(body)).await
}

/// Makes a task; its id.
async fn task(world: &World, camera: &str, task_type: &str) -> String {
    let path = format!("/api/v1/cameras/{camera}/ai-tasks");
    let made = post(world, As::System, &path, &json!({ "task_type": task_type })).await.ok();
    made["id"].as_str().unwrap().to_owned()
}

/// What a worker holds after a call.
async fn acquire(world: &World, who: As<'_>, body: Value) -> Value {
    post(world, who, "/api/v1/ai/leases", &body).await.ok()
}

/// Ids of a list of tasks.
fn ids(tasks: &Value) -> Vec<String> {
    tasks.as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
}
