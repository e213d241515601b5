//! Zones of all cameras (perception.md 12 and 13): batches and time into the engine, what it finds into the store.
//!
//! Owns: the engines, what each has taken, and that state and effects are committed together. Never: geometry or rules, which
//! `heldar-zones` has; who may see a zone.
//!
//! Invariant: what is stored of a camera, its state, events, occupancy and counters, is that after some batch, and a start
//! goes on with the batches after that one. The cursor `zones` passes a batch only when the state of its camera is stored.

mod evidence;
pub(crate) mod masks;
pub(crate) mod overlay;
mod tell;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use heldar_base::{CameraId, PublicId, Scope};
use heldar_http::metrics::{Counter, Family, Gauge, Registry};
use heldar_store::{AuditEntry, StoreError};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::kernel::Kernel;

pub(crate) use evidence::keep;
pub(crate) use tell::{evidence_name, links, of_row, with_batch};
pub(crate) use work::run;

use evidence::Evidence;
use masks::AllMasks;

/// Name of its cursor over batches.
pub(crate) const CONSUMER: &str = "zones";
/// How long who changes a zone waits for the engine to know.
const PATIENCE: Duration = Duration::from_secs(5);
/// Zones that are read at once.
const PAGE: u32 = 500;
/// Changes that may wait.
const WAITING: usize = 256;

/// What the engines share with the rest.
pub(crate) struct Zones {
    orders: mpsc::Sender<Order>,
    inbox: tokio::sync::Mutex<mpsc::Receiver<Order>>,
    /// Batches up to here have been taken; below 0: there are no zones.
    position: AtomicI64,
    /// How many zones there are.
    count: AtomicUsize,
    /// There is a first zone.
    pub(crate) begun: Notify,
    evidence: Evidence,
    pub(crate) masks: AllMasks,
    /// Who replays.
    pub(crate) replaying: Turns,
    meters: Meters,
}

/// One at a time for each who asks.
#[derive(Clone, Default)]
pub(crate) struct Turns(Arc<Mutex<BTreeSet<String>>>);

/// Somebody's turn, until it is dropped.
pub(crate) struct Turn {
    of: Turns,
    who: String,
}

impl Turns {
    /// Begins somebody's turn; `None` while the one before lasts.
    pub(crate) fn begin(&self, who: &str) -> Option<Turn> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(who.to_owned()).then(|| Turn { of: self.clone(), who: who.to_owned() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.of.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.who);
    }
}

struct Meters {
    events: Arc<Family<Counter, 1>>,
    tracks: Arc<Gauge>,
    late: Arc<Counter>,
}

/// What the engines are told.
pub(crate) enum Order {
    /// The zones of a camera are others.
    Changed { camera: CameraId, done: oneshot::Sender<()> },
    /// The counters of a line start anew.
    Reset { camera: CameraId, zone: PublicId, audit: Box<AuditEntry>, done: oneshot::Sender<()> },
}

impl Zones {
    /// Nothing runs yet.
    pub(crate) fn new(registry: &Registry) -> Self {
        let (orders, inbox) = mpsc::channel(WAITING);
        Zones {
            orders,
            inbox: tokio::sync::Mutex::new(inbox),
            position: AtomicI64::new(-1),
            count: AtomicUsize::new(0),
            begun: Notify::new(),
            evidence: Evidence::default(),
            masks: AllMasks::new(registry),
            replaying: Turns::default(),
            meters: Meters {
                events: registry.counters(
                    "heldar_zone_events_total",
                    "Zone events that were stored.",
                    ["event_type"],
                ),
                tracks: registry.gauge("heldar_zone_tracks", "Tracks that zones follow."),
                late: registry.counter("heldar_zone_late_batches_total", "Batches too late for zones."),
            },
        }
    }

    /// Batches up to here have been taken; `None`: there are no zones.
    pub(crate) fn position(&self) -> Option<i64> {
        Some(self.position.load(Ordering::Relaxed)).filter(|position| *position >= 0)
    }

    /// Whether there is a zone.
    pub(crate) fn is_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }
}

impl Kernel {
    /// Reads the masks that are in use, before the first batch is taken.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn read_masks(&self) -> Result<(), StoreError> {
        let zones = self.zones_by_camera().await?;
        zones.iter().for_each(|(camera, rows)| self.zones.masks.set(camera, rows));
        Ok(())
    }

    /// All zones that are stored.
    async fn zones_by_camera(&self) -> Result<BTreeMap<CameraId, Vec<heldar_store::Zone>>, StoreError> {
        let mut zones: BTreeMap<CameraId, Vec<heldar_store::Zone>> = BTreeMap::new();
        let mut page = self.store.zones(&Scope::All, None, PAGE).await?;
        loop {
            for zone in page.rows {
                zones.entry(zone.camera.clone()).or_default().push(zone);
            }
            match page.next {
                Some(next) => page = self.store.zones(&Scope::All, Some(next), PAGE).await?,
                None => return Ok(zones),
            }
        }
    }

    /// The zones of a camera were changed: returns once masks and engine have them, or after a while.
    pub(crate) async fn zones_changed(&self, camera: CameraId) {
        if let Err(error) = self.zones.masks.read(&self.store, &camera).await {
            tracing::warn!(%camera, %error, "masks take effect once the zone engine has read them");
        }
        let (done, heard) = oneshot::channel();
        self.tell_zones(Order::Changed { camera, done }, heard).await;
    }

    /// Lets the counters of a line start anew; returns once that is stored, or after a while.
    pub(crate) async fn reset_zone(&self, camera: CameraId, zone: PublicId, audit: AuditEntry) {
        let (done, heard) = oneshot::channel();
        let audit = Box::new(audit);
        self.tell_zones(Order::Reset { camera, zone, audit, done }, heard).await;
    }

    async fn tell_zones(&self, order: Order, heard: oneshot::Receiver<()>) {
        let told = async {
            if self.zones.orders.send(order).await.is_ok() && heard.await.is_err() {
                tracing::debug!("the zone engine begins anew; it reads what was changed");
            }
        };
        if tokio::time::timeout(PATIENCE, told).await.is_err() {
            tracing::warn!("the zone engine has not taken a change yet; it will");
        }
    }

    /// Whether zones are to be given batches; the number of zones is counted anew.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn count_zones(&self) -> Result<bool, StoreError> {
        let any = self.store.zones(&Scope::All, None, 1).await?;
        let count = any.rows.len();
        self.zones.count.store(count, Ordering::Relaxed);
        if count > 0 {
            self.zones.begun.notify_waiters();
        }
        Ok(count > 0)
    }
}
