//! Batches to those who consume them: in order for each camera, at least once, with effects that happen once
//! (perception.md 10).
//!
//! Owns: the consumers, what has been read for them, and what is known of how each of them stands. Never: what a consumer
//! does; a wait of whoever sends results.

mod feed;
mod give;
mod runner;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use heldar_base::{Clock as _, Scope, WallTime};
use heldar_http::metrics::{Family, Gauge, Registry};
use heldar_perception::fanout::Progress;
use heldar_store::op::SkipBatches;
use heldar_store::{ErrorKind, StoreError};
use tokio::sync::Notify;

use crate::apps::{DetectionBatch, DetectionConsumer};
use crate::kernel::Kernel;
pub(crate) use feed::Reader;

use feed::Feed;

/// Rest before a store that is busy or lost is asked again; doubled up to the second.
const STORE_REST: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Memory of the batches that wait for consumers, those that several wait for counted for each.
const QUEUES: usize = 16 << 20;

/// Everything that is given out, and to whom.
pub(crate) struct Fanout {
    feed: Feed,
    runners: Vec<Arc<Runner>>,
    meters: OnceLock<Meters>,
}

/// One consumer.
struct Runner {
    consumer: Arc<dyn DetectionConsumer>,
    name: &'static str,
    /// None until it has been read from the store.
    progress: Mutex<Option<Progress>>,
    stand: Mutex<Stand>,
    /// Dead letters are to be tried again.
    replay: Notify,
    /// Bytes of batches that wait for it or are with it.
    held: Arc<AtomicUsize>,
    /// It reads what is committed, so that each batch must be before the next one is given.
    reads: AtomicBool,
}

#[derive(Debug, Default)]
struct Stand {
    resting: usize,
    last_error: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runner {
    /// A batch is finished.
    fn finish(&self, seq: Option<i64>) {
        if let (Some(seq), Some(progress)) = (seq, lock(&self.progress).as_mut()) {
            progress.finish(seq);
        }
    }

    /// Up to where every batch would be finished if these were.
    fn low_without(&self, seqs: &[i64]) -> i64 {
        lock(&self.progress).as_ref().map_or(0, |progress| progress.low_without(seqs))
    }

    fn low(&self) -> Option<i64> {
        lock(&self.progress).as_ref().map(Progress::low)
    }
}

/// A batch in memory, and its share of what its consumer may hold.
#[derive(Debug)]
struct Held {
    batch: Arc<DetectionBatch>,
    bytes: usize,
    of: Arc<AtomicUsize>,
}

impl Held {
    fn new(batch: Arc<DetectionBatch>, of: &Arc<AtomicUsize>) -> Self {
        let bytes = batch.weight();
        of.fetch_add(bytes, Ordering::Relaxed);
        Held { batch, bytes, of: of.clone() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// How a consumer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerView {
    /// Its name.
    pub name: String,
    /// Every batch up to here is finished.
    pub cursor_seq: i64,
    /// Batches above that, counted up to 100 000.
    pub lag_batches: i64,
    /// When the oldest of them was stored.
    pub waiting_since: Option<WallTime>,
    /// Batches that were given to it, or wait in its queue.
    pub in_flight: usize,
    /// Cameras whose batches wait for another attempt.
    pub retrying: usize,
    /// Batches that it could not take.
    pub parked: i64,
    /// What went wrong last.
    pub last_error: Option<String>,
}

struct Meters {
    lag_batches: Arc<Family<Gauge, 1>>,
    lag_seconds: Arc<Family<Gauge, 1>>,
    parked: Arc<Family<Gauge, 1>>,
}

impl Meters {
    fn new(registry: &Registry) -> Self {
        let gauges = |name, help| registry.gauges(name, help, ["consumer"]);
        Meters {
            lag_batches: gauges("heldar_fanout_lag_batches", "Batches that a consumer has not finished."),
            lag_seconds: gauges(
                "heldar_fanout_lag_seconds",
                "Age of the oldest batch that it has not finished.",
            ),
            parked: gauges("heldar_fanout_parked", "Batches that it could not take."),
        }
    }
}

impl Fanout {
    /// For these consumers; of two of a name the first counts.
    pub(super) fn new(consumers: Vec<Arc<dyn DetectionConsumer>>) -> Self {
        let mut runners: Vec<Arc<Runner>> = Vec::new();
        for consumer in consumers {
            let name = consumer.name();
            if runners.iter().any(|runner| runner.name == name) {
                tracing::error!(name, "two consumers have one name; the second is given nothing");
                continue;
            }
            let (progress, stand, replay) = (Mutex::new(None), Mutex::default(), Notify::new());
            let held = Arc::default();
            let reads = AtomicBool::new(false);
            runners.push(Arc::new(Runner { consumer, name, progress, stand, replay, held, reads }));
        }
        Fanout { feed: Feed::default(), runners, meters: OnceLock::new() }
    }

    /// A batch was committed.
    pub(super) fn committed(&self) {
        self.feed.committed();
    }

    /// Somebody who takes the batches after this one.
    pub(crate) fn reader(&self, after: i64) -> Reader {
        self.feed.reader(after)
    }

    /// Whether anybody wants batches that are not stored.
    pub(super) fn has_consumers(&self) -> bool {
        !self.runners.is_empty()
    }

    /// A batch that is not stored.
    pub(super) fn offer(&self, batch: DetectionBatch) {
        self.feed.offer(batch);
    }

    /// Dead letters of a consumer are to be tried again.
    fn replay(&self, name: &str) {
        if let Some(runner) = self.runners.iter().find(|runner| runner.name == name) {
            runner.replay.notify_one();
        }
    }
}

impl Kernel {
    /// How every consumer stands, by name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn consumers(&self) -> Result<Vec<ConsumerView>, StoreError> {
        let fanout = &self.perception.fanout;
        let mut views = Vec::new();
        for row in self.store.consumers(&Scope::All).await? {
            let runner = fanout.runners.iter().find(|runner| runner.name == row.name);
            let mut view = ConsumerView {
                name: row.name,
                cursor_seq: row.low_seq,
                lag_batches: row.batches_above,
                waiting_since: row.waiting_since,
                in_flight: 0,
                retrying: 0,
                parked: row.parked,
                last_error: None,
            };
            let zones = self.zones.position().filter(|_| view.name == crate::zones::CONSUMER);
            if let Some(position) = zones {
                view.cursor_seq = position.max(row.low_seq);
                (view.lag_batches, view.waiting_since) =
                    self.store.batches_waiting(&Scope::All, view.cursor_seq).await?;
            }
            if let Some(runner) = runner {
                if let Some(progress) = lock(&runner.progress).as_ref() {
                    (view.cursor_seq, view.in_flight) = (progress.low(), progress.open());
                }
                if view.cursor_seq > row.low_seq {
                    (view.lag_batches, view.waiting_since) =
                        self.store.batches_waiting(&Scope::All, view.cursor_seq).await?;
                }
                let stand = lock(&runner.stand);
                (view.retrying, view.last_error) = (stand.resting, stand.last_error.clone());
            }
            views.push(view);
        }
        Ok(views)
    }

    /// Stores how far every consumer is; for the end, when nothing is given out any more.
    pub(crate) async fn store_cursors(&self) {
        for runner in &self.perception.fanout.runners {
            let Some(low_seq) = runner.low() else { continue };
            let (consumer, now) = (runner.name.to_owned(), self.clock.wall());
            if let Err(error) = self.store.write(SkipBatches { consumer, low_seq, now }).await {
                tracing::warn!(consumer = runner.name, %error, "the cursor is not stored; some batches come again");
            }
        }
    }

    /// Up to so many batches, in their order; none: there is nothing new.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn take_batches(
        &self,
        reader: &mut Reader,
        most: usize,
    ) -> Result<Vec<Arc<DetectionBatch>>, StoreError> {
        self.perception.fanout.feed.next(&self.store, reader, most).await
    }

    /// Dead letters of a consumer were marked to be tried again.
    pub fn replay_dead_letters(&self, consumer: &str) {
        self.perception.fanout.replay(consumer);
    }

    /// Sets the gauges of the consumers.
    pub(crate) async fn measure_consumers(&self) {
        if !self.perception.fanout.has_consumers() {
            return;
        }
        let Ok(views) = self.consumers().await else { return };
        let meters = self.perception.fanout.meters.get_or_init(|| Meters::new(&self.metrics));
        let now = self.clock.wall();
        for view in views {
            let name = [view.name.as_str()];
            let age = view.waiting_since.map_or(0.0, |since| (now - since).as_secs_f64().max(0.0));
            meters.lag_batches.with(name).set(view.lag_batches as f64);
            meters.lag_seconds.with(name).set(age);
            meters.parked.with(name).set(view.parked as f64);
        }
    }
}

/// Whether a failure is of the store's state rather than of what was asked of it.
fn is_passing(error: &StoreError) -> bool {
    matches!(error.kind(), ErrorKind::Busy | ErrorKind::Unavailable)
}

/// Asks the store until it is neither busy nor lost.
pub(crate) async fn patiently<T, F: Future<Output = Result<T, StoreError>>>(
    mut ask: impl FnMut() -> F,
) -> Result<T, StoreError> {
    let mut rest = STORE_REST.0;
    loop {
        match ask().await {
            Err(error) if is_passing(&error) => {
                tokio::time::sleep(rest).await;
                rest = (rest * 2).min(STORE_REST.1);
            }
            answer => return answer,
        }
    }
}

/// Reads what is committed, for as long as somebody wants it.
pub(crate) async fn feed(kernel: Arc<Kernel>) {
    let fanout = &kernel.perception.fanout;
    while !fanout.has_consumers() && !kernel.zones.is_any() {
        kernel.zones.begun.notified().await;
    }
    fanout.feed.run(&kernel.store).await;
}

/// Gives every consumer its batches.
pub(crate) async fn run(kernel: Arc<Kernel>) {
    let runs = kernel.perception.fanout.runners.iter().cloned();
    let tasks: Vec<_> = runs
        .map(|runner| {
            let kernel = kernel.clone();
            async move {
                let restarts = kernel.health.restarts.clone();
                let start = || runner::run(kernel.clone(), runner.clone());
                crate::health::tasks::keep("consumer", &restarts, start).await;
            }
        })
        .collect();
    if tasks.is_empty() {
        std::future::pending::<()>().await;
    }
    futures_util::future::join_all(tasks).await;
}

#[cfg(test)]
mod testing {
    use heldar_base::{CameraId, WallTime};
    use heldar_store::Batch;

    use crate::apps::DetectionBatch;

    /// A batch of a camera that says "nothing seen".
    pub(super) fn batch(seq: Option<i64>, camera: &str) -> DetectionBatch {
        DetectionBatch {
            camera_id: CameraId::new(camera).unwrap(),
            site_id: None,
            task_type: "detection".to_owned(),
            detections: Vec::new(),
            timestamp: WallTime(0),
            committed_at: WallTime(0),
            seq,
            batch_id: Batch::public(seq.unwrap_or_default()),
            frame_id: None,
            part: 0,
            task_id: None,
            ticketed: false,
            late: false,
            producer: None,
        }
    }
}
