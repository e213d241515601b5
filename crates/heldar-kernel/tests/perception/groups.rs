//! Many batches that wait for a consumer: committed together, each once, in order, and without those that are refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::Method;
use heldar_kernel::apps::prelude::*;
use serde_json::{Value, json};

use super::post;
use crate::support::{As, World};

/// A line for each batch of a camera, numbered without a hole. What is labelled `bad` the database refuses.
const MIGRATIONS: &[AppMigration] = &[AppMigration {
    version: 1,
    name: "lines",
    sql: AppScript::new(
        "CREATE TABLE book_line (camera_id TEXT NOT NULL, line BIGINT NOT NULL, label TEXT NOT NULL CHECK (label <> 'bad'),
             PRIMARY KEY (camera_id, line))",
    ),
}];
const WRITE_NEXT: AppSql = AppSql::new(
    "INSERT INTO book_line (camera_id, line, label)
         SELECT $1, COUNT(*) + 1, $2 FROM book_line WHERE camera_id = $1",
);
const WRITE: AppSql = AppSql::new("INSERT INTO book_line (camera_id, line, label) VALUES ($1, $2, $3)");
const COUNT: AppSql = AppSql::new("SELECT COUNT(*) FROM book_line WHERE camera_id = $1");
const LINES: AppSql = AppSql::new("SELECT label FROM book_line WHERE camera_id = $1 ORDER BY line");

/// Writes a line for each batch.
struct Book {
    /// It counts its lines itself before it writes, and does not leave that to the database.
    reads: bool,
    consumed: AtomicUsize,
}

#[derive(Clone)]
struct App(Arc<Book>);

impl Verticals for App {
    fn init_schema<'a>(&'a self, schema: Schema<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        schema.migrate("book", MIGRATIONS).boxed()
    }

    fn consumers(&self) -> Vec<Arc<dyn DetectionConsumer>> {
        vec![self.0.clone()]
    }
}

impl DetectionConsumer for Book {
    fn name(&self) -> &'static str {
        "book"
    }

    fn consume<'a>(
        &'a self,
        batch: &'a DetectionBatch,
        tx: &'a mut Tx,
    ) -> BoxFuture<'a, Result<(), ConsumeError>> {
        Box::pin(async move {
            self.consumed.fetch_add(1, Ordering::Relaxed);
            let camera = || AppValue::from(&batch.camera_id);
            let label = batch.detections.first().and_then(|seen| seen.label.clone()).unwrap_or_default();
            if !self.reads {
                tx.run(WRITE_NEXT.with(vec![camera(), label.into()]));
                return Ok(());
            }
            let rows = tx.rows(&COUNT, vec![camera()]).await;
            let lines = rows.and_then(|rows| rows[0].int(0));
            let lines = lines.map_err(|error| ConsumeError::Retry(error.to_string()))?;
            tx.run(WRITE.with(vec![camera(), (lines + 1).into(), label.into()]));
            Ok(())
        })
    }
}

const ENV: &[(&str, &str)] = &[("HELDAR_RECORDER_ENABLED", "false"), ("HELDAR_FANOUT_MAX_ATTEMPTS", "1")];

async fn consumer(world: &World) -> Value {
    world.get("/api/v1/ai/consumers").await.ok()[0].clone()
}

async fn until_taken(world: &World) {
    for _ in 0..600 {
        if consumer(world).await["lag_batches"] == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("not taken within 30 s: {}", consumer(world).await);
}

/// What a consumer writes that was away while these were sent, and how often it was called for them.
async fn written(reads: bool, labels: &[String]) -> (Vec<String>, usize, Value) {
    let app = App(Arc::new(Book { reads, consumed: AtomicUsize::new(0) }));
    let folder = tempfile::tempdir().unwrap();
    let world = World::start_with_apps(folder, ENV, Arc::new(app.clone())).await;
    world
        .send(As::System, Method::POST, "/api/v1/cameras", Some(&json!({ "id": "gate", "name": "g" })))
        .await;
    until_taken(&world).await;
    let world = World::start_in(world.stop().await, ENV).await;
    for label in labels {
        let body = json!({ "camera_id": "gate", "task_type": "yolo", "detections": [{ "label": label }] });
        post(&world, As::System, "/api/v1/ai/events", &body).await.ok();
    }
    let world = World::start_with_apps(world.stop().await, ENV, Arc::new(app.clone())).await;
    until_taken(&world).await;
    let gate = CameraId::new("gate").unwrap();
    let rows = world.kernel.store.app_rows(&LINES, vec![gate.into()]).await.unwrap();
    let lines = rows.iter().map(|row| row.text(0).unwrap().to_owned()).collect();
    let stands = consumer(&world).await;
    world.stop().await;
    (lines, app.0.consumed.load(Ordering::Relaxed), stands)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_written_once_and_in_order() {
    let labels: Vec<String> = (0..150).map(|number| format!("l{number}")).collect();
    let (lines, consumed, stands) = written(false, &labels).await;
    assert_eq!(lines, labels);
    assert_eq!((consumed, &stands["parked"]), (150, &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_takes_nothing_else_along() {
    let mut labels: Vec<String> = (0..100).map(|number| format!("l{number}")).collect();
    for at in [0, 40, 41, 99] {
        labels[at] = "bad".to_owned();
    }
    let (lines, _, stands) = written(false, &labels).await;
    labels.retain(|label| label != "bad");
    assert_eq!(lines, labels);
    assert_eq!(stands["parked"], json!(4), "{stands}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_sees_what_the_batches_before_wrote() {
    let labels: Vec<String> = (0..80).map(|number| format!("l{number}")).collect();
    let (lines, consumed, stands) = written(true, &labels).await;
    assert_eq!(lines, labels);
    // It is learnt once that it reads.
    assert_eq!((consumed, &stands["parked"]), (81, &json!(0)), "{stands}");
}
