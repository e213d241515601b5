//! Cameras, sites, health, events and audit through the application.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod cameras;
mod fields;
mod live;
mod schedules;
mod scope;
mod secrets;
mod sites;

use axum::http::Method;
use serde_json::{Value, json};
use support::{Answer, As, World};

/// A world that records nothing, so that no camera is looked for.
async fn quiet() -> World {
    World::start_with(&[("HELDAR_RECORDER_ENABLED", "false")]).await
}

async fn post(world: &World, path: &str, body: &Value) -> Answer {
    world.send(As::System, Method::POST, path, Some(body)).await
}

async fn patch(world: &World, path: &str, body: &Value) -> Answer {
    world.send(As::System, Method::PATCH, path, Some(body)).await
}

async fn delete(world: &World, path: &str) -> Answer {
    world.send(As::System, Method::DELETE, path, None).await
}

/// Makes a camera and shows it.
async fn made(world: &World, body: Value) -> Value {
    let answer = post(world, "/api/v1/cameras", &body).await;
    assert_eq!(answer.status, 201, "{body}: {}", answer.json());
    answer.json()
}

/// Ids of a list of cameras or sites.
fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

/// All audit rows, newest first.
async fn audit_rows(world: &World) -> Vec<Value> {
    world.get("/api/v1/audit?limit=5000").await.ok().as_array().unwrap().clone()
}

/// Every item of a paged list, and the pages' lengths.
async fn walk(world: &World, who: As<'_>, first: &str) -> (Vec<Value>, Vec<usize>) {
    let (mut items, mut lengths) = (Vec::new(), Vec::new());
    let mut next = Some(first.to_owned());
    while let Some(path) = next {
        let answer = world.get_as(who, &path).await;
        let page = answer.ok();
        let page = page.as_array().unwrap();
        lengths.push(page.len());
        items.extend(page.iter().cloned());
        next = answer.next();
        assert!(lengths.len() < 1000, "the list does not end");
    }
    (items, lengths)
}

/// A view without what a write changes by itself.
fn without_times(mut view: Value) -> Value {
    for name in ["created_at", "updated_at"] {
        view[name] = json!(null);
    }
    view
}
