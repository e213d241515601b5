//! What starts a recording: zone events and events of apps, on cameras that record by events and on no others.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::Method;
use heldar_base::{Clock as _, Micros};
use heldar_kernel::apps::prelude::{
    AppContext, BoxFuture, ConsumeError, DetectionBatch, DetectionConsumer, Tx, Verticals,
};
use serde_json::{Value, json};

use super::post;
use crate::support::{As, World};

async fn told(world: &World, camera: &str) -> Vec<Value> {
    let path = format!("/api/v1/events?camera_id={camera}&event_type=record_triggered");
    world.get(&path).await.ok().as_array().unwrap().clone()
}

async fn told_once(world: &World, camera: &str) -> Value {
    for _ in 0..400 {
        if let [one] = &told(world, camera).await[..] {
            return one.clone();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not told once within 20 s: {:?}", told(world, camera).await);
}

async fn wanted(world: &World, camera: &str) -> bool {
    world.get(&format!("/api/v1/cameras/{camera}/health")).await.ok()["wanted"] == true
}

/// An app that starts a recording for whatever it sees.
struct Watchful;

impl DetectionConsumer for Watchful {
    fn name(&self) -> &'static str {
        "watchful"
    }

    fn interested_in(&self, _task_type: &str) -> bool {
        true
    }

    fn consume<'a>(
        &'a self,
        batch: &'a DetectionBatch,
        tx: &'a mut Tx,
    ) -> BoxFuture<'a, Result<(), ConsumeError>> {
        Box::pin(async move {
            tx.trigger(batch.camera_id.clone(), "watchful: something");
            Ok(())
        })
    }
}

#[derive(Default)]
struct App(OnceLock<AppContext>);

impl Verticals for App {
    fn consumers(&self) -> Vec<Arc<dyn DetectionConsumer>> {
        vec![Arc::new(Watchful)]
    }

    fn spawn_loops(&self, context: &AppContext) {
        assert!(self.0.set(context.clone()).is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_starts_recordings_with_its_batch_and_by_itself() {
    let app = Arc::new(App::default());
    let world = World::start_with_apps(tempfile::tempdir().unwrap(), &[], app.clone()).await;
    for (id, mode) in [("gate", "event"), ("yard", "continuous"), ("door", "event")] {
        let body = json!({ "id": id, "name": id, "record_mode": mode, "post_roll_seconds": 600 });
        post(&world, As::System, "/api/v1/cameras", &body).await.ok();
    }
    for id in ["gate", "yard"] {
        let body = json!({ "camera_id": id, "task_type": "yolo", "detections": [{ "label": "person" }] });
        post(&world, As::System, "/api/v1/ai/events", &body).await.ok();
    }
    assert_eq!(told_once(&world, "gate").await["payload"]["source"], "watchful: something");
    assert!(wanted(&world, "gate").await && told(&world, "yard").await.is_empty());
    let app = app.0.get().unwrap();
    let camera = |id: &str| heldar_base::CameraId::new(id).unwrap();
    assert!(app.trigger(&camera("door"), " ").await.unwrap());
    assert_eq!(told_once(&world, "door").await["payload"]["source"], "app_event");
    assert!(!app.trigger(&camera("yard"), "door").await.unwrap());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zone_events_and_events_with_trigger_start_recordings() {
    let world = World::start().await;
    let modes = [("gate", "event"), ("door", "scheduled_event"), ("yard", "scheduled"), ("roof", "event")];
    for (id, mode) in modes {
        let body = json!({ "id": id, "name": id, "record_mode": mode, "post_roll_seconds": 600 });
        post(&world, As::System, "/api/v1/cameras", &body).await.ok();
        let zone = json!({ "name": "left", "polygon": [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]], "kind": "region" });
        post(&world, As::System, &format!("/api/v1/cameras/{id}/zones"), &zone).await.ok();
    }
    let start = world.kernel.clock.wall() - Micros::from_secs(2);
    for id in ["gate", "yard"] {
        for (step, x) in [0.8, 0.4, 0.35, 0.3].into_iter().enumerate() {
            let at = start + Micros::from_millis(step as i64 * 200);
            let person = json!({ "label": "person", "track_id": "7", "bbox": [x - 0.05, 0.3, 0.1, 0.3] });
            let body = json!({
                "camera_id": id, "task_type": "yolo", "timestamp": at.to_string(), "detections": [person],
            });
            post(&world, As::System, "/api/v1/ai/events", &body).await.ok();
        }
    }
    let zone = told_once(&world, "gate").await;
    assert_eq!(zone["payload"]["source"], "zone_event");
    // In the commit of the zone event, which is there as well.
    let events = world.get("/api/v1/events?camera_id=gate&event_type=zone_enter").await.ok();
    let number = |event: &Value| event["seq"].as_i64().unwrap();
    assert_eq!(number(&zone), number(&events[0]) + 1);
    // An app may, too; and only where it says so and something is to be recorded.
    let raise = async |camera: &str, trigger: Value| {
        let body = json!({ "camera_id": camera, "event_type": "parcel_left", "trigger": trigger });
        post(&world, As::System, "/api/v1/events", &body).await.ok()
    };
    raise("roof", json!(false)).await;
    raise("roof", Value::Null).await;
    raise("yard", json!(true)).await;
    assert!(told(&world, "roof").await.is_empty() && !wanted(&world, "roof").await);
    let event = raise("door", json!(true)).await;
    let app = told_once(&world, "door").await;
    assert_eq!((&app["payload"]["source"], number(&app)), (&json!("app_event"), number(&event) + 1));
    // The window of the zone event is extended, not told again.
    raise("gate", json!(true)).await;
    told_once(&world, "gate").await;
    let path = "/api/v1/cameras/gate/record-trigger";
    let window = world.send(As::System, Method::POST, path, None).await.ok();
    assert_eq!(window["recorded_from"], zone["payload"]["recorded_from"]);
    assert!(window["window_end"].as_str() > zone["payload"]["window_end"].as_str());
    for (id, expect) in [("gate", true), ("door", true), ("yard", false), ("roof", false)] {
        assert_eq!(wanted(&world, id).await, expect, "{id}");
    }
    let yard = world.get("/api/v1/events?camera_id=yard").await.ok();
    assert!(yard.as_array().unwrap().iter().any(|event| event["event_type"] == "zone_enter"), "{yard}");
    assert!(told(&world, "yard").await.is_empty());
    world.stop().await;
}
