//! The ingest thread: a current-thread runtime of its own, on which every stream's task runs and nothing else.
//!
//! Owns: the thread, the tasks, their settings. Never: disk or store.

use std::collections::HashMap;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::FutureExt as _;
use heldar_base::{Clock as _, MonoTime, StreamId};
use heldar_live::{Bus, Feed};
use heldar_recorder::Orders;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use super::stream::{Shared, StreamFigures, StreamSettings, StreamTask};
use crate::rhythm::Rhythm;

/// Beats between two signs of life of the thread.
const BEATS: u32 = 4;
/// Rest of a stream whose task panicked.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// One stream as the rest of the process sees it.
#[derive(Clone, Debug)]
pub struct StreamHandle {
    /// Its pictures, for viewers.
    pub feed: Feed,
    /// Its figures.
    pub figures: Arc<StreamFigures>,
    settings: Arc<watch::Sender<StreamSettings>>,
}

impl StreamHandle {
    /// What its task was told last.
    pub fn settings(&self) -> StreamSettings {
        self.settings.borrow().clone()
    }
}

/// What a stream's task is made from, as often as it takes.
struct Seed {
    stream: StreamId,
    settings: watch::Receiver<StreamSettings>,
    shared: Shared,
    bus: Bus,
    figures: Arc<StreamFigures>,
}

impl Seed {
    /// Runs the task to its end. One that panics is started again after a rest (auth-system.md 2.4), and no other stream
    /// is concerned.
    async fn run(self, restarts: Arc<AtomicU64>) {
        loop {
            let task = StreamTask::new(
                self.stream.clone(),
                self.settings.clone(),
                self.shared.clone(),
                self.bus.clone(),
                self.figures.clone(),
            );
            if AssertUnwindSafe(task.run()).catch_unwind().await.is_ok() {
                return;
            }
            tracing::error!(stream = %self.stream, "the task of a stream panicked");
            tokio::time::sleep(AFTER_PANIC).await;
            restarts.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The ingest thread and its streams.
#[derive(Debug)]
pub struct Ingest {
    /// When the thread last showed that it runs, µs of monotonic time.
    beat_us: Arc<AtomicI64>,
    restarts: Arc<AtomicU64>,
    streams: Mutex<HashMap<StreamId, StreamHandle>>,
    tasks: Mutex<Option<mpsc::UnboundedSender<Seed>>>,
    shared: SharedBox,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct SharedBox(Shared);

impl std::fmt::Debug for SharedBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Ingest {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be created.
    pub fn start(shared: Shared) -> io::Result<Self> {
        let (tasks, mut queue) = mpsc::unbounded_channel::<Seed>();
        let gather = shared.gather.clone();
        let rhythm = Rhythm::begin();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .on_thread_park(move || {
                if let Some(rest) = gather.rest() {
                    thread::sleep(rest);
                }
            })
            .build()?;
        let beat_us = Arc::new(AtomicI64::new(shared.clock.mono().0));
        let restarts = Arc::new(AtomicU64::new(0));
        let (beating, clock, restarted) = (beat_us.clone(), shared.clock, restarts.clone());
        let thread = thread::Builder::new().name("ingest".into()).spawn(move || {
            let local = LocalSet::new();
            local.block_on(&runtime, async move {
                let beat = tokio::task::spawn_local(async move {
                    let mut due = rhythm.every(BEATS);
                    loop {
                        beating.store(clock.mono().0, Ordering::Relaxed);
                        due.tick().await;
                    }
                });
                let mut all = tokio::task::JoinSet::new();
                while let Some(task) = queue.recv().await {
                    all.spawn_local(task.run(restarted.clone()));
                    while all.try_join_next().is_some() {}
                }
                // Settings are gone: every task ends its run, hands on what it holds, and says good-bye.
                while all.join_next().await.is_some() {}
                beat.abort();
            });
        })?;
        Ok(Ingest {
            beat_us,
            restarts,
            streams: Mutex::new(HashMap::new()),
            tasks: Mutex::new(Some(tasks)),
            shared: SharedBox(shared),
            thread: Mutex::new(Some(thread)),
        })
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<StreamId, StreamHandle>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the thread last showed that it runs.
    pub fn heartbeat(&self) -> MonoTime {
        MonoTime(self.beat_us.load(Ordering::Relaxed))
    }

    /// How often the task of a stream was started again.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// A stream, if it is known here.
    pub fn get(&self, stream: &StreamId) -> Option<StreamHandle> {
        self.streams().get(stream).cloned()
    }

    /// Every stream.
    pub fn all(&self) -> Vec<(StreamId, StreamHandle)> {
        self.streams().iter().map(|(id, handle)| (id.clone(), handle.clone())).collect()
    }

    /// Streams whose pictures somebody follows, whether or not they run.
    pub fn followed(&self) -> Vec<StreamId> {
        if self.shared.0.gather.watchers().load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let streams = self.streams();
        let is_followed = |handle: &StreamHandle| *handle.feed.bus().ring().followers().borrow() > 0;
        streams.iter().filter(|(_, handle)| is_followed(handle)).map(|(id, _)| id.clone()).collect()
    }

    /// Says whether somebody watches a stream.
    pub fn set_live(&self, stream: &StreamId, live: bool) {
        let streams = self.streams();
        let Some(handle) = streams.get(stream) else { return };
        handle.settings.send_if_modified(|current| std::mem::replace(&mut current.live, live) != live);
        self.count(&streams);
    }

    /// Says what is to be recorded of a stream; everything else stays.
    pub fn order(&self, stream: &StreamId, orders: &Orders) {
        let streams = self.streams();
        let Some(handle) = streams.get(stream) else { return };
        handle.settings.send_if_modified(|current| {
            let before = (current.session, current.take, current.keep);
            (current.session, current.take, current.keep) = (orders.session, orders.take, orders.keep);
            before != (current.session, current.take, current.keep)
        });
        self.count(&streams);
    }

    fn count(&self, streams: &HashMap<StreamId, StreamHandle>) {
        let running = streams.values().filter(|handle| handle.settings.borrow().run()).count();
        self.shared.0.gather.set_running(running);
    }

    /// Tells a stream's task its settings; starts it when it is new.
    pub fn apply(&self, stream: &StreamId, settings: StreamSettings) {
        let mut streams = self.streams();
        match streams.get(stream) {
            Some(handle) => {
                handle.settings.send_if_modified(|current| {
                    let changed = *current != settings;
                    *current = settings;
                    changed
                });
            }
            None => {
                let (sender, receiver) = watch::channel(settings);
                let bus = Bus::new(self.shared.0.gather.watchers());
                let handle = StreamHandle {
                    feed: Feed::new(bus.clone()),
                    figures: Arc::default(),
                    settings: Arc::new(sender),
                };
                let seed = Seed {
                    stream: stream.clone(),
                    settings: receiver,
                    shared: self.shared.0.clone(),
                    bus,
                    figures: handle.figures.clone(),
                };
                streams.insert(stream.clone(), handle);
                let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
                if tasks.as_ref().is_none_or(|tasks| tasks.send(seed).is_err()) {
                    tracing::error!(%stream, "the ingest thread is gone");
                }
            }
        }
        self.count(&streams);
    }

    /// Ends a stream's task for good.
    pub fn remove(&self, stream: &StreamId) {
        if let Some(handle) = self.streams().remove(stream) {
            handle.feed.bus().close();
        }
    }

    /// Ends every task; what they hold goes to the writer before this returns. Blocks.
    pub fn stop(&self) {
        self.streams().clear();
        drop(self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take());
        let handle = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if handle.is_some_and(|handle| handle.join().is_err()) {
            tracing::error!("the ingest thread panicked");
        }
    }
}
