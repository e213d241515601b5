//! The event feed: events and batches to whoever listens, in commit order, resumable (perception.md 15).
//!
//! Owns: the newest rows in memory, read once for all listeners after each commit; who listens and how far behind each of
//! them is; the end of those that are too slow. Never: a wait of whoever commits, or of one listener for another; the form
//! of a message on the wire.
//!
//! Invariants
//! 1. A listener is given every row after its cursor that its filter and its scope take, once and in the order of `seq`.
//! 2. Where rows after its cursor are gone, it is told before anything else.
//! 3. What lies outside the scope that it has now is not given out, whatever its scope was when that was read.

mod filter;
mod hub;
mod listener;
mod message;
mod rights;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heldar_base::Scope;
use heldar_http::metrics::{DURATION_BUCKETS, Family, Gauge, Histogram, Registry};
use heldar_store::{FeedFloors, Store, StoreError};
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;

pub use filter::Filter;
pub(crate) use filter::matches;
use hub::Hub;
pub use listener::{Given, Listener, Start};
pub use message::{Form, Message};
pub use rights::{Outlook, Rights};

/// A listener this many rows behind is too slow.
pub const BEHIND: u64 = 1000;
/// How often listeners are looked at; one that is too slow twice in a row is cut.
const LOOK: Duration = Duration::from_secs(1);
/// Listeners that read the store at a time.
const READERS: usize = 4;

/// Over what somebody listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Server-sent events.
    Sse,
    /// A WebSocket.
    WebSocket,
}

impl Kind {
    /// Its name as a label.
    const fn as_str(self) -> &'static str {
        match self {
            Kind::Sse => "sse",
            Kind::WebSocket => "ws",
        }
    }
}

/// The feed.
pub struct EventFeed {
    store: Store,
    hub: Hub,
    members: Mutex<HashMap<u64, Arc<Member>>>,
    next_member: AtomicU64,
    readers: Semaphore,
    is_stopping: AtomicBool,
    meters: Meters,
}

struct Meters {
    seq: Arc<Gauge>,
    clients: Arc<Family<Gauge, 1>>,
    latency: Arc<Histogram>,
}

/// A listener as the others see it.
#[derive(Debug)]
struct Member {
    /// The first item of the hub that it has not taken. While it goes through what was there before it came: that it had not
    /// when it last asked for more.
    mark: AtomicU64,
    /// Looks in a row that found it too slow.
    strikes: AtomicU32,
    cut: watch::Sender<bool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EventFeed {
    /// Of a store.
    pub fn new(store: &Store, metrics: &Registry) -> Arc<Self> {
        let meters = Meters {
            seq: metrics.gauge("heldar_event_seq", "Number up to which events and batches are committed."),
            clients: metrics.gauges("heldar_feed_clients", "Clients of the event feed.", ["kind"]),
            latency: metrics.histogram(
                "heldar_feed_latency_seconds",
                "From the commit of an event or batch until it was handed to a client's connection.",
                DURATION_BUCKETS,
            ),
        };
        for kind in [Kind::Sse, Kind::WebSocket] {
            meters.clients.with([kind.as_str()]).set(0.0);
        }
        Arc::new(EventFeed {
            store: store.clone(),
            hub: Hub::default(),
            members: Mutex::default(),
            next_member: AtomicU64::new(0),
            readers: Semaphore::new(READERS),
            is_stopping: AtomicBool::new(false),
            meters,
        })
    }

    /// The number up to which everything is committed.
    pub fn head(&self) -> i64 {
        self.store.committed().borrow().seq
    }

    /// What age has removed.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn floors(&self) -> Result<FeedFloors, StoreError> {
        self.store.feed_floors(&Scope::All).await
    }

    /// Ends every listener; for the end of the server.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.hub.wake();
    }

    /// Whether the server stops; listeners are woken to look.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Copies what is counted elsewhere into the metrics.
    pub fn scrape(&self) {
        self.meters.seq.set(self.head() as f64);
    }

    /// Reads what is committed for as long as somebody listens, and cuts who is too slow.
    pub(crate) async fn run(&self) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let cuts = async {
            loop {
                look.tick().await;
                self.cut_slow();
            }
        };
        tokio::join!(self.hub.run(&self.store), cuts);
    }

    fn cut_slow(&self) {
        let next = self.hub.next();
        for member in lock(&self.members).values() {
            let behind = next.saturating_sub(member.mark.load(Ordering::Relaxed));
            if behind <= BEHIND {
                member.strikes.store(0, Ordering::Relaxed);
            } else if member.strikes.fetch_add(1, Ordering::Relaxed) > 0 && !*member.cut.borrow() {
                tracing::info!(behind, "a client of the event feed is too slow; it is cut");
                member.cut.send_replace(true);
            }
        }
    }

    fn join(&self, kind: Kind) -> (u64, Arc<Member>) {
        let number = self.next_member.fetch_add(1, Ordering::Relaxed);
        let mark = AtomicU64::new(self.hub.next());
        let member = Arc::new(Member { mark, strikes: AtomicU32::new(0), cut: watch::Sender::new(false) });
        lock(&self.members).insert(number, member.clone());
        self.meters.clients.with([kind.as_str()]).add(1.0);
        (number, member)
    }

    fn leave(&self, number: u64, kind: Kind) {
        lock(&self.members).remove(&number);
        self.meters.clients.with([kind.as_str()]).add(-1.0);
    }
}
