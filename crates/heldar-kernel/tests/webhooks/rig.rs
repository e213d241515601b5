//! Webhooks on a store of their own and a clock that moves when it is told.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use heldar_base::{CameraId, Micros, PublicId, Scope, Secret, SimClock, WallTime};
use heldar_config::{Flags, HostFiles, Input, Settings, load};
use heldar_http::metrics::Registry;
use heldar_kernel::secrets::Sealer;
use heldar_kernel::webhooks::{Site, Webhooks};
use heldar_store::op::{AppendEvents, CreateWebhook, UpdateWebhook};
use heldar_store::{
    Event, EventFilter, NewEvent, Severity, Store, StoreConfig, Webhook, WebhookDelivery, WebhookFields,
    WebhookFormat,
};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::until;

/// 2027-01-15T08:00:00Z.
pub(crate) const NOW: WallTime = WallTime(1_800_000_000_000_000);

/// Knows one camera, and has the picture it is told to have.
#[derive(Default)]
pub(crate) struct Scene {
    pub(crate) picture: Mutex<Option<Bytes>>,
}

impl Site for Scene {
    fn camera<'a>(&'a self, id: &'a CameraId) -> BoxFuture<'a, Option<(String, TimeZone)>> {
        let zone = jiff::tz::TimeZoneDatabase::bundled().get("Europe/Berlin").unwrap();
        let known = (id.as_str() == "front").then(|| ("Front d\u{f6}\u{f6}r".to_owned(), zone));
        async move { known }.boxed()
    }

    fn zone(&self) -> TimeZone {
        TimeZone::UTC
    }

    fn description(&self, _event_type: &str) -> Option<&'static str> {
        None
    }

    fn picture<'a>(&'a self, _event: &'a Event) -> BoxFuture<'a, Option<Bytes>> {
        async move { self.picture.lock().unwrap().clone() }.boxed()
    }
}

pub(crate) struct Rig {
    pub(crate) store: Store,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) webhooks: Arc<Webhooks>,
    pub(crate) scene: Arc<Scene>,
    settings: Settings,
    running: tokio::task::JoinHandle<()>,
    folder: tempfile::TempDir,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.running.abort();
    }
}

pub(crate) fn fields(url: impl Into<String>) -> WebhookFields {
    WebhookFields {
        name: "phone".to_owned(),
        url: Secret::new(url.into()),
        secret: None,
        event_types: vec!["*".to_owned()],
        min_severity: Severity::Info,
        cameras: Vec::new(),
        format: WebhookFormat::Heldar,
        recipient: None,
        enabled: true,
    }
}

pub(crate) fn new_event(number: u32) -> NewEvent {
    NewEvent {
        id: format!("00000000-0000-4000-8000-{number:012x}"),
        camera: Some(CameraId::new("front").unwrap()),
        event_type: "zone_enter".to_owned(),
        severity: Severity::Info,
        timestamp: NOW,
        created_at: NOW,
        payload: json!({ "zone": "Gate", "label": "person", "number": number }),
    }
}

async fn open(
    folder: &std::path::Path,
    clock: &Arc<SimClock>,
    settings: &Settings,
) -> (Store, Arc<Webhooks>) {
    let url = format!("sqlite://{}/heldar.db", folder.display()).parse().unwrap();
    let store = Store::open(StoreConfig { url, max_connections: 4, now: NOW }).await.unwrap();
    let sealer = Arc::new(Sealer::open(&settings.secrets, &store, NOW).await.unwrap());
    let webhooks = Webhooks::open(settings, &store, &sealer, clock.clone(), &Registry::new());
    (store, webhooks)
}

impl Rig {
    pub(crate) async fn start() -> Rig {
        Rig::start_with(&[], Micros::from_secs(10)).await
    }

    /// With variables of the environment, and another time for an attempt.
    pub(crate) async fn start_with(env: &[(&str, &str)], timeout: Micros) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let mut env: Vec<_> = env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        env.push(("HELDAR_DATA_DIR".into(), folder.path().into()));
        env.push(("HELDAR_API_PORT".into(), "0".into()));
        let mut settings = load(&Input { flags: Flags::take([]), env, files: &HostFiles }).settings.unwrap();
        settings.webhooks.timeout = timeout;
        let clock = Arc::new(SimClock::new(NOW));
        let scene = Arc::new(Scene::default());
        let (store, webhooks) = open(folder.path(), &clock, &settings).await;
        let running = tokio::spawn(webhooks.clone().run(scene.clone()));
        // The first event has the number 1.
        Rig { store, clock, webhooks, scene, settings, running, folder }
    }

    /// Ends them in order and begins anew over the same store.
    pub(crate) async fn restart(&mut self) {
        self.webhooks.stop().await;
        self.running.abort();
        self.store.close().await;
        let (store, webhooks) = open(self.folder.path(), &self.clock, &self.settings).await;
        self.running = tokio::spawn(webhooks.clone().run(self.scene.clone()));
        (self.store, self.webhooks) = (store, webhooks);
    }

    pub(crate) async fn webhook(&self, number: u128, fields: WebhookFields) -> PublicId {
        let id = PublicId::new(Webhook::PREFIX, number);
        self.store.write(CreateWebhook { id, fields, now: self.now() }).await.unwrap();
        self.webhooks.changed();
        id
    }

    pub(crate) async fn change(&self, id: PublicId, change: impl FnOnce(&mut WebhookFields)) {
        let Webhook { mut fields, revision, .. } = self.row(id).await;
        change(&mut fields);
        self.store.write(UpdateWebhook { id, fields, revision, now: self.now() }).await.unwrap();
        self.webhooks.changed();
    }

    pub(crate) fn now(&self) -> WallTime {
        heldar_base::Clock::wall(&*self.clock)
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, time: Micros) {
        self.clock.advance(time);
        self.webhooks.wake();
    }

    pub(crate) async fn event(&self, event: NewEvent) -> i64 {
        self.store.write(AppendEvents { events: vec![event] }).await.unwrap()[0]
    }

    pub(crate) async fn events(&self, numbers: impl Iterator<Item = u32>) -> Vec<i64> {
        let mut seqs = Vec::new();
        for number in numbers {
            seqs.push(self.event(new_event(number)).await);
        }
        seqs
    }

    pub(crate) async fn row(&self, id: PublicId) -> Webhook {
        self.store.webhook(&Scope::All, id).await.unwrap().unwrap()
    }

    /// Deliveries, the oldest first.
    pub(crate) async fn deliveries(&self, id: PublicId) -> Vec<WebhookDelivery> {
        let page = self.store.webhook_deliveries(&Scope::All, id, None, None, 1000).await.unwrap();
        page.rows.into_iter().rev().collect()
    }

    /// The delivery of an event, once it is as it should be.
    pub(crate) async fn delivery(
        &self,
        id: PublicId,
        seq: i64,
        is_so: impl Fn(&WebhookDelivery) -> bool,
    ) -> WebhookDelivery {
        until("a delivery", async || {
            let all = self.deliveries(id).await;
            all.into_iter().find(|one| one.event.as_ref().is_some_and(|event| event.seq == seq) && is_so(one))
        })
        .await
    }

    /// Waits until a subscription has passed a number.
    pub(crate) async fn passed(&self, id: PublicId, seq: i64) {
        until("the cursor", async || {
            let row = self.row(id).await;
            (self.webhooks.cursor(&row) >= seq).then_some(())
        })
        .await;
    }

    /// Payloads of events of a type, the oldest first.
    pub(crate) async fn told(&self, event_type: &str) -> Vec<Value> {
        let which = EventFilter { event_type: Some(event_type.to_owned()), ..EventFilter::default() };
        let page = self.store.events(&Scope::All, &which, None, 100).await.unwrap();
        page.rows.into_iter().rev().map(|row| row.event.payload).collect()
    }
}
