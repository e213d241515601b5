//! Webhooks: events to receivers over HTTP, in order and at least once, and to phones (perception.md 16).
//!
//! Owns: one task for each subscription that is enabled, how far each is, what became of each event. Never: holds up a commit
//! or another subscription; puts an address or a secret into a log line, an error or a row.
//!
//! Invariants
//! 1. The id of a delivery follows from subscription and event: every attempt and replay has the same.
//! 2. The cursor of a subscription passes an event only in the commit that tells what became of it, or when it was not for it.
//! 3. What cannot be opened is never sent otherwise: nothing unsigned goes to who expects a signature.

mod courier;
pub mod forms;
mod live;
pub mod machine;
mod manage;
mod replay;
mod runner;
mod site;
mod wording;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use heldar_base::{CameraId, Clock, Micros, PublicId, WallTime};
use heldar_config::{Settings, WebhookSettings};
use heldar_http::metrics::{Counter, DURATION_BUCKETS, Family, Gauge, Histogram, Registry};
use heldar_store::{Event, Store, StoreError, Webhook, WebhookDelivery};
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, watch};
use url::Url;

use crate::egress::LanGuard;
use crate::egress::client::Client;
use crate::secrets::Sealer;

pub use courier::{Tested, Unusable};
pub(crate) use live::wants;

/// How long the last attempts may take at a stop.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Events behind its cursor are counted up to here.
pub const LAG: u32 = 100_000;

/// What webhooks work on.
pub struct Ground {
    /// Events, and what is kept of webhooks.
    pub store: Store,
    /// Opens URLs and secrets.
    pub sealer: Arc<Sealer>,
    /// Says when something is due.
    pub clock: Arc<dyn Clock>,
    /// Makes requests.
    pub client: Client,
    /// Waits and bounds.
    pub settings: WebhookSettings,
    /// The site of what belongs to no other.
    pub site_id: Option<String>,
    /// Base of links for people; none without it.
    pub public_url: Option<Url>,
}

/// What is known of an event beside itself, for messages to people.
pub trait Site: Send + Sync + 'static {
    /// The name of a camera, and the zone in which people there read the time.
    fn camera<'a>(&'a self, id: &'a CameraId) -> BoxFuture<'a, Option<(String, TimeZone)>>;
    /// The zone in which people read the time where there is no camera.
    fn zone(&self) -> TimeZone;
    /// What events of a type say.
    fn description(&self, event_type: &str) -> Option<&'static str>;
    /// The picture of an event as JPEG; whoever asks bounds the wait.
    fn picture<'a>(&'a self, event: &'a Event) -> BoxFuture<'a, Option<Bytes>>;
}

/// The webhooks of one server.
pub struct Webhooks {
    ground: Ground,
    /// Webhooks were changed.
    changed: Notify,
    /// Something may be due.
    poke: watch::Sender<u64>,
    /// How far subscriptions are that have passed what was not for them.
    places: Mutex<HashMap<PublicId, i64>>,
    stopping: watch::Sender<bool>,
    stopped: watch::Sender<bool>,
    meters: Meters,
}

struct Meters {
    lag: Arc<Family<Gauge, 1>>,
    failing: Arc<Family<Gauge, 1>>,
    attempts: Arc<Family<Counter, 1>>,
    duration: Arc<Histogram>,
}

impl Webhooks {
    /// Those of a server; nothing runs yet.
    pub fn open(
        settings: &Settings,
        store: &Store,
        sealer: &Arc<Sealer>,
        clock: Arc<dyn Clock>,
        metrics: &Registry,
    ) -> Arc<Self> {
        let ground = Ground {
            store: store.clone(),
            sealer: sealer.clone(),
            clock,
            client: Client::new(LanGuard::new(settings), settings.webhooks.timeout.to_std()),
            settings: settings.webhooks.clone(),
            site_id: settings.site_id.clone(),
            public_url: settings.api.public_url.clone(),
        };
        Webhooks::new(ground, metrics)
    }

    /// Nothing runs yet.
    pub fn new(ground: Ground, metrics: &Registry) -> Arc<Self> {
        let subscription = ["subscription"];
        let meters = Meters {
            lag: metrics.gauges(
                "heldar_webhook_lag_events",
                "Events that a subscription has not passed.",
                subscription,
            ),
            failing: metrics.gauges(
                "heldar_webhook_failing",
                "Whether the last attempt of a subscription failed.",
                subscription,
            ),
            attempts: metrics.counters("heldar_webhook_attempts_total", "Requests to receivers.", ["result"]),
            duration: metrics.histogram(
                "heldar_webhook_duration_seconds",
                "From the begin of a request to a receiver until its answer.",
                DURATION_BUCKETS,
            ),
        };
        Arc::new(Webhooks {
            ground,
            changed: Notify::new(),
            poke: watch::Sender::new(0),
            places: Mutex::default(),
            stopping: watch::Sender::new(false),
            stopped: watch::Sender::new(true),
            meters,
        })
    }

    /// Which places receivers may be at, and what requests they get.
    pub fn client(&self) -> &Client {
        &self.ground.client
    }

    /// Webhooks were made, changed or deleted: their tasks follow.
    pub fn changed(&self) {
        self.changed.notify_one();
    }

    /// Looks at once whether something is due: a replay was asked for, or the clock was set.
    pub fn wake(&self) {
        self.poke.send_modify(|count| *count += 1);
    }

    /// The cursor of a subscription now; what is stored may be a little behind it.
    pub fn cursor(&self, webhook: &Webhook) -> i64 {
        let place = self.places().get(&webhook.id).copied();
        place.unwrap_or(0).max(webhook.standing.cursor_seq)
    }

    /// Events that a subscription has not passed, up to [`LAG`] of them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn lag(&self, webhook: &Webhook) -> Result<u32, StoreError> {
        self.ground.store.events_after(&heldar_base::Scope::All, self.cursor(webhook), LAG).await
    }

    /// Ends every task; attempts that were begun may take a moment to their end.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        let mut stopped = self.stopped.subscribe();
        // An error would mean that this is gone, and it is not.
        let _ended = tokio::time::timeout(LAST_WORDS, stopped.wait_for(|stopped| *stopped)).await;
    }

    fn places(&self) -> MutexGuard<'_, HashMap<PublicId, i64>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> WallTime {
        self.ground.clock.wall()
    }

    fn policy(&self) -> machine::Policy {
        let settings = &self.ground.settings;
        machine::Policy { max_backoff: settings.max_backoff, disable_after: settings.disable_after }
    }

    /// What was missed is found after this time at the latest.
    fn sweep(&self) -> Duration {
        self.ground.settings.sweep.max(Micros::from_secs(5)).to_std()
    }
}

/// The id of the delivery of something to a webhook.
fn delivery_id(webhook: PublicId, what: &str) -> PublicId {
    let digest = Sha256::new().chain_update(webhook.to_string()).chain_update(what).finalize();
    let bits = digest.iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte));
    PublicId::new(WebhookDelivery::PREFIX, bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_delivery_follows_from_subscription_and_event() {
        let of = |webhook, event| delivery_id(PublicId::new(Webhook::PREFIX, webhook), event).to_string();
        assert_eq!(of(1, "a"), of(1, "a"));
        assert_eq!(of(1, "a").len(), 36);
        assert!(of(1, "a") != of(2, "a") && of(1, "a") != of(1, "b"));
    }
}
