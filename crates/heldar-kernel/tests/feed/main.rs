//! The event feed over real connections: order, resuming, rights, slow readers; the outbox, and marks of events.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

#[allow(dead_code, reason = "the tests of access use all of it")]
#[path = "../access/house.rs"]
mod house;
mod marks;
mod outbox;
mod resume;
mod rights;
mod slow;
mod socket;
mod speed;
mod sse;
#[path = "../support/mod.rs"]
mod support;
#[allow(dead_code, reason = "the tests of access use all of it")]
#[path = "../access/tape.rs"]
mod tape;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use heldar_base::{CameraId, WallTime};
use heldar_http::{AppSlot, Limits, Listeners};
use heldar_store::op::{AppendEvents, StoreBatch};
use heldar_store::{BatchStored, NewBatch, NewDetection, NewEvent, Producer, Severity, Store};
use serde_json::{Value, json};

use house::House;

/// No single step takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A server that is listening, with cameras `gate` and `yard`.
pub(crate) struct Served {
    pub(crate) house: House,
    pub(crate) address: SocketAddr,
    _server: Server,
}

/// The loop that accepts, until dropped.
struct Server(tokio::task::JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Served {
    pub(crate) async fn start() -> Served {
        Served::start_with(&[]).await
    }

    pub(crate) async fn start_with(env: &[(&str, &str)]) -> Served {
        let house = House::start_with(env).await;
        for id in ["gate", "yard"] {
            house.camera(id, json!({})).await;
        }
        Served::serve(house).await
    }

    async fn serve(house: House) -> Served {
        let listeners = Listeners::bind(&[SocketAddr::from((Ipv4Addr::LOCALHOST, 0))]).await.unwrap();
        let address = listeners.addresses()[0];
        let slot = AppSlot::new(house.app.clone());
        let limits = Limits { connections_per_source: 4096, ..Limits::default() };
        let server = tokio::spawn(heldar_http::serve(listeners, slot, limits, std::future::pending()));
        Served { house, address, _server: Server(server) }
    }

    /// Stops the server in order and starts it again, at another address.
    pub(crate) async fn restart(self) -> Served {
        Served::serve(self.house.restart().await).await
    }

    pub(crate) fn store(&self) -> &Store {
        &self.house.kernel.store
    }

    /// Header line of the administrator.
    pub(crate) fn admin(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.house.admin)
    }

    /// A new key with these fields: its id and its header line.
    pub(crate) async fn key(&self, fields: Value) -> (String, String) {
        let (id, key) = self.house.key(fields).await;
        (id, format!("X-API-Key: {key}\r\n"))
    }

    /// Number up to which everything is committed.
    pub(crate) fn head(&self) -> i64 {
        self.store().committed().borrow().seq
    }

    /// Value of a metric.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let answer = self.house.get("/metrics").token(&self.house.admin).send().await;
        let text = String::from_utf8(answer.bytes).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name}")).parse().unwrap()
    }

    /// Appends an event; its number.
    pub(crate) async fn event(&self, camera: Option<&str>, event_type: &str) -> i64 {
        append(self.store(), new_event(camera, event_type, Severity::Info)).await
    }
}

pub(crate) fn new_event(camera: Option<&str>, event_type: &str, severity: Severity) -> NewEvent {
    NewEvent {
        id: uuid(),
        camera: camera.map(|camera| CameraId::new(camera).unwrap()),
        event_type: event_type.to_owned(),
        severity,
        timestamp: WallTime(1_800_000_000_000_000),
        created_at: WallTime(1_800_000_000_000_000),
        payload: json!({ "zone_id": "zone_1" }),
    }
}

/// A UUID that no other event has.
fn uuid() -> String {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("00000000-0000-4000-8000-{number:012x}")
}

pub(crate) async fn append(store: &Store, event: NewEvent) -> i64 {
    store.write(AppendEvents { events: vec![event] }).await.unwrap()[0]
}

/// Stores a batch of a camera with detections of these labels; its number.
pub(crate) async fn store_batch(store: &Store, camera: &str, labels: &[&str]) -> i64 {
    let at = WallTime(1_800_000_000_000_000);
    let detections = labels.iter().map(|label| NewDetection {
        timestamp: at,
        label: Some((*label).to_owned()),
        confidence: None,
        bbox: None,
        track_id: None,
        attributes: None,
    });
    let batch = NewBatch {
        camera: CameraId::new(camera).unwrap(),
        task_type: "yolo".to_owned(),
        task: None,
        frame_id: None,
        part: 0,
        ticketed: false,
        late: false,
        producer: Producer::Worker { credential: "key_1".to_owned(), worker: None, lease: None },
        captured_at: at,
        created_at: at,
        detections: detections.collect(),
        event: None,
    };
    match store.write(StoreBatch { batch }).await.unwrap() {
        BatchStored::Stored { seq, .. } | BatchStored::Duplicate { seq, .. } => seq,
    }
}

/// Numbers that follow from a seed (Knuth's MMIX generator).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}
