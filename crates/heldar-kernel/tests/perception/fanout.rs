//! Batches to consumers: order, effects that happen once, failures, dead letters (perception.md 10).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::Method;
use futures_util::future::BoxFuture;
use heldar_base::{Capability, Scope};
use heldar_kernel::apps::{AppEvent, ConsumeError, DetectionBatch, DetectionConsumer, Tx, Verticals};
use heldar_store::Severity;
use serde_json::{Value, json};

use super::post;
use crate::support::{As, World};

/// What a consumer was given, and what it shall do with it.
#[derive(Debug, Default)]
struct Log {
    /// Camera and label (or `-`) of each batch, in the order in which it was given.
    given: Vec<(String, String)>,
    /// Labels that are refused, how, and how often yet.
    refused: Vec<(&'static str, Refusal, usize)>,
}

#[derive(Clone, Copy, Debug)]
enum Refusal {
    Retry,
    Park,
    Panic,
}

/// Raises an event for each batch that it takes.
struct Echo(Arc<Mutex<Log>>);

impl DetectionConsumer for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn interested_in(&self, task_type: &str) -> bool {
        task_type == "yolo"
    }

    fn consume<'a>(
        &'a self,
        batch: &'a DetectionBatch,
        tx: &'a mut Tx,
    ) -> BoxFuture<'a, Result<(), ConsumeError>> {
        Box::pin(async move {
            let label = batch.detections.first().and_then(|seen| seen.label.clone());
            let label = label.unwrap_or_else(|| "-".to_owned());
            let camera = batch.camera_id.to_string();
            let refusal = {
                let mut log = self.0.lock().unwrap();
                log.given.push((camera, label.clone()));
                let found = log.refused.iter_mut().find(|(refused, _, left)| *refused == label && *left > 0);
                found.map(|(_, how, left)| {
                    *left -= 1;
                    *how
                })
            };
            let payload =
                json!({ "label": label, "batch_id": batch.batch_id, "stored": batch.seq.is_some() });
            tx.log_event(AppEvent {
                camera: Some(batch.camera_id.clone()),
                event_type: "echo".to_owned(),
                severity: Severity::Info,
                timestamp: Some(batch.timestamp),
                payload: payload.as_object().cloned().unwrap_or_default(),
            });
            match refusal {
                Some(Refusal::Retry) => Err(ConsumeError::Retry("not now".to_owned())),
                Some(Refusal::Park) => Err(ConsumeError::Park("never".to_owned())),
                Some(Refusal::Panic) => panic!("as asked"),
                None => Ok(()),
            }
        })
    }
}

/// An app that is nothing but the consumer.
struct App(Arc<Mutex<Log>>);

impl Verticals for App {
    fn consumers(&self) -> Vec<Arc<dyn DetectionConsumer>> {
        vec![Arc::new(Echo(self.0.clone()))]
    }
}

async fn world_in(folder: tempfile::TempDir, log: &Arc<Mutex<Log>>) -> World {
    let env = [("HELDAR_RECORDER_ENABLED", "false"), ("HELDAR_FANOUT_MAX_ATTEMPTS", "2")];
    let world = World::start_with_apps(folder, &env, Arc::new(App(log.clone()))).await;
    for id in ["gate", "yard"] {
        let path = "/api/v1/cameras";
        world.send(As::System, Method::POST, path, Some(&json!({ "id": id, "name": id }))).await;
    }
    // Its cursor stands before the first batch of the test.
    eventually(async || world.get("/api/v1/ai/consumers").await.ok()[0]["name"] == "echo").await;
    world
}

async fn world(log: &Arc<Mutex<Log>>) -> World {
    world_in(tempfile::tempdir().unwrap(), log).await
}

/// Waits until something holds.
async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it does not come about within 30 s");
}

async fn send(world: &World, camera: &str, label: &str) -> Value {
    let body = json!({ "camera_id": camera, "task_type": "yolo", "detections": [{ "label": label }] });
    post(world, As::System, "/api/v1/ai/events", &body).await.ok()
}

/// Labels of the events that were committed for a camera, in commit order.
async fn echoed(world: &World, camera: &str) -> Vec<String> {
    let events = world.get(&format!("/api/v1/events?camera_id={camera}&event_type=echo")).await.ok();
    let mut events = events.as_array().unwrap().clone();
    events.sort_by_key(|event| event["seq"].as_i64());
    let labels = events.iter();
    labels.map(|event| event["payload"]["label"].as_str().unwrap().to_owned()).collect()
}

async fn consumer(world: &World) -> Value {
    world.get("/api/v1/ai/consumers").await.ok()[0].clone()
}

async fn letters(world: &World) -> Vec<Value> {
    let letters = world.get("/api/v1/ai/consumers/echo/dead-letters").await.ok();
    letters.as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_batch_is_taken_once_and_in_order() {
    let log = Arc::default();
    let world = world(&log).await;
    for label in ["a", "b", "c"] {
        send(&world, "gate", label).await;
        send(&world, "yard", label).await;
        // Of no interest.
        let other = json!({ "camera_id": "gate", "task_type": "anpr", "detections": [{ "label": "x" }] });
        post(&world, As::System, "/api/v1/ai/events", &other).await.ok();
    }
    eventually(async || echoed(&world, "gate").await.len() + echoed(&world, "yard").await.len() == 6).await;
    assert_eq!(echoed(&world, "gate").await, ["a", "b", "c"]);
    assert_eq!(echoed(&world, "yard").await, ["a", "b", "c"]);
    assert_eq!(log.lock().unwrap().given.len(), 6);
    eventually(async || consumer(&world).await["lag_batches"] == 0).await;
    let stands = consumer(&world).await;
    assert_eq!(
        (&stands["in_flight"], &stands["retrying"], &stands["parked"]),
        (&json!(0), &json!(0), &json!(0))
    );
    assert_eq!(stands.get("last_error"), None);

    // What it has taken does not come again, and what came while it was away does.
    let folder = world.stop().await;
    let env = [("HELDAR_RECORDER_ENABLED", "false")];
    let without = World::start_in(folder, &env).await;
    send(&without, "gate", "d").await;
    send(&without, "gate", "e").await;
    assert_eq!(without.get("/api/v1/ai/consumers").await.ok()[0]["lag_batches"], 2);
    let world = world_in(without.stop().await, &log).await;
    eventually(async || echoed(&world, "gate").await.len() >= 5).await;
    send(&world, "gate", "f").await;
    eventually(async || echoed(&world, "gate").await.len() >= 6).await;
    assert_eq!(echoed(&world, "gate").await, ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(echoed(&world, "yard").await, ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_fails_holds_back_its_camera_alone() {
    let log = Arc::new(Mutex::new(Log { refused: vec![("bad", Refusal::Retry, 1)], ..Log::default() }));
    let world = world(&log).await;
    send(&world, "gate", "bad").await;
    eventually(async || consumer(&world).await["retrying"] == 1).await;
    assert_eq!(consumer(&world).await["last_error"], "not now");
    send(&world, "gate", "next").await;
    for label in ["a", "b"] {
        send(&world, "yard", label).await;
    }
    eventually(async || echoed(&world, "yard").await.len() == 2).await;
    eventually(async || echoed(&world, "gate").await.len() == 2).await;
    assert_eq!(echoed(&world, "gate").await, ["bad", "next"]);
    let given = log.lock().unwrap().given.clone();
    let gate: Vec<&str> =
        given.iter().filter(|(camera, _)| camera == "gate").map(|(_, l)| l.as_str()).collect();
    assert_eq!(gate, ["bad", "bad", "next"]);
    eventually(async || consumer(&world).await["retrying"] == 0).await;
    let stands = consumer(&world).await;
    assert_eq!((&stands["parked"], stands.get("last_error")), (&json!(0), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_is_parked_and_can_be_replayed() {
    let refused = vec![("odd", Refusal::Park, 2), ("wild", Refusal::Panic, 2)];
    let log = Arc::new(Mutex::new(Log { refused, ..Log::default() }));
    let world = world(&log).await;
    let odd = send(&world, "gate", "odd").await;
    send(&world, "gate", "good").await;
    eventually(async || echoed(&world, "gate").await == ["good"]).await;
    // It panics twice, which is as often as it may fail here.
    send(&world, "yard", "wild").await;
    eventually(async || letters(&world).await.len() == 2).await;
    let parked = letters(&world).await;
    assert_eq!((&parked[0]["batch_id"], &parked[0]["seq"]), (&odd["batch_id"], &odd["seq"]));
    assert_eq!((&parked[0]["error"], &parked[0]["attempts"]), (&json!("never"), &json!(1)));
    assert_eq!((&parked[1]["camera_id"], &parked[1]["attempts"]), (&json!("yard"), &json!(2)));
    assert!(parked[1]["error"].as_str().unwrap().contains("panicked"), "{}", parked[1]);
    assert_eq!(echoed(&world, "yard").await, Vec::<String>::new());
    let events = world.get("/api/v1/events?event_type=consumer_parked&camera_id=gate").await.ok();
    let payload = &events[0]["payload"];
    assert_eq!((&payload["consumer"], &payload["batch_id"]), (&json!("echo"), &odd["batch_id"]));
    assert_eq!((&events[0]["severity"], events.as_array().unwrap().len()), (&json!("warning"), 1));

    // The first one fails once more, and stays.
    let replay = "/api/v1/ai/consumers/echo/dead-letters/replay";
    let ids = json!({ "ids": [parked[0]["id"]] });
    let answer = post(&world, As::System, replay, &ids).await;
    assert_eq!((answer.status, answer.json()), (202, json!({ "queued": 1 })));
    eventually(async || letters(&world).await[0]["attempts"] == 2).await;
    // Now all are taken.
    assert_eq!(post(&world, As::System, replay, &json!({})).await.ok(), json!({ "queued": 2 }));
    eventually(async || letters(&world).await.is_empty()).await;
    assert_eq!(echoed(&world, "gate").await, ["good", "odd"]);
    assert_eq!(echoed(&world, "yard").await, ["wild"]);
    assert_eq!(consumer(&world).await["parked"], 0);

    let missing = "/api/v1/ai/consumers/nobody/dead-letters";
    assert_eq!(world.get(missing).await.error(), (404, "not_found".to_owned()));
    let foreign = json!({ "ids": ["dlq_00000000000000000000000000000001"] });
    assert_eq!(post(&world, As::System, replay, &foreign).await.error(), (400, "validation".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_can_be_given_up_by_administrators() {
    let log = Arc::new(Mutex::new(Log { refused: vec![("odd", Refusal::Park, 1)], ..Log::default() }));
    let world = world(&log).await;
    send(&world, "gate", "odd").await;
    eventually(async || letters(&world).await.len() == 1).await;
    let id = letters(&world).await[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/ai/consumers/echo/dead-letters/{id}");
    let reader = As::With(&[Capability::SystemRead]);
    assert_eq!(world.send(reader, Method::DELETE, &path, None).await.status, 403);
    let limited = As::Limited(&[Capability::SystemRead], &["yard"]);
    assert_eq!(world.get_as(limited, "/api/v1/ai/consumers/echo/dead-letters").await.ok(), json!([]));
    assert_eq!(world.get_as(limited, "/api/v1/ai/consumers").await.ok(), json!([]));
    assert_eq!(world.send(As::System, Method::DELETE, &path, None).await.status, 204);
    assert_eq!(world.send(As::System, Method::DELETE, &path, None).await.status, 404);
    assert_eq!(letters(&world).await, Vec::<Value>::new());
    let audit = world.get("/api/v1/audit?action=discard_dead_letter").await.ok();
    assert_eq!(audit[0]["target_id"], "echo");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_seen_once_more_is_given_without_being_stored() {
    let log = Arc::default();
    let world = world(&log).await;
    let empty = json!({ "camera_id": "gate", "task_type": "yolo" });
    for expect in [None, Some(true), Some(true)] {
        let answer = post(&world, As::System, "/api/v1/ai/events", &empty).await.ok();
        assert_eq!(answer.get("heartbeat").and_then(Value::as_bool), expect);
    }
    eventually(async || echoed(&world, "gate").await.len() == 3).await;
    let events = world.get("/api/v1/events?event_type=echo").await.ok();
    let stored = events.as_array().unwrap().iter().filter(|event| event["payload"]["stored"] == true).count();
    assert_eq!(stored, 1);
    let totals = world.kernel.store.perception_totals(&Scope::All).await.unwrap().unwrap();
    assert_eq!(totals.batches, 1);
}
