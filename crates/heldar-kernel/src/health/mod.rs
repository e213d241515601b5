//! How the server is: readiness, figures, metrics.
//!
//! Owns: the background checks and the copies of figures that `/readyz`, `/metrics` and `GET /api/v1/system` answer from, so
//! that none of them waits for a disk or a store. Never: changes anything.

mod configuration;
mod disk_watch;
mod gate;
mod gauges;
mod logs;
mod process;
mod readiness;
mod store_watch;
pub mod tasks;
mod totals;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use heldar_base::{CameraId, Clock as _, Micros, ReasonClass, Scope};
use heldar_disk::DiskSpace;
use heldar_http::metrics::{Counter, Family, Registry};
use heldar_recorder::Now;

use crate::kernel::Kernel;
use crate::rhythm::Rhythm;
use gauges::Meters;
use readiness::WantedSince;

pub use configuration::Configuration;
pub use disk_watch::DiskWatch;
pub use gate::DiskGate;
pub use gauges::used_percent;
pub use logs::{LogLine, LogRing};
pub use readiness::{Readiness, Verdict, is_wanted};
pub use store_watch::StoreWatch;
pub use totals::{Oldest, Sums, Totals, log_bytes};

/// Time between checks (auth-system.md 6), and how long one may take.
const CHECK_BEATS: u32 = 5;
const CHECK: Duration = Duration::from_secs(5);
/// What the recorder wrote within this time says as much as a check.
const LATELY: Micros = Micros::from_secs(4);
/// Checks after which the recordings folder is looked at although the recorder writes: open files outlive their folder.
const FOLDER_CHECKS: u32 = 3;

/// Health of one server.
pub struct Health {
    /// The way to ask the recordings folder for its state.
    pub gate: DiskGate,
    /// Restarts of background tasks.
    pub restarts: Arc<Family<Counter, 1>>,
    watch: Arc<DiskWatch>,
    meters: Meters,
    configuration: OnceLock<Configuration>,
    readiness: RwLock<Readiness>,
    totals: RwLock<Arc<Totals>>,
    space: RwLock<Option<DiskSpace>>,
    log_bytes: RwLock<Option<u64>>,
    disk_checks: AtomicU32,
}

impl Health {
    /// Registers the metrics; `watch` hears of the writer's completions.
    pub fn new(registry: &Registry, watch: Arc<DiskWatch>) -> Self {
        let restarts =
            registry.counters("heldar_task_restarts_total", "Background tasks started again.", ["task"]);
        Health {
            gate: DiskGate::default(),
            meters: Meters::new(registry, &restarts),
            restarts,
            watch,
            configuration: OnceLock::new(),
            readiness: RwLock::new(Readiness::JUST_STARTED),
            totals: RwLock::default(),
            space: RwLock::default(),
            log_bytes: RwLock::default(),
            disk_checks: AtomicU32::new(0),
        }
    }

    /// Takes what the sources of the settings said; the first call counts.
    pub fn configured(&self, configuration: Configuration) {
        if self.configuration.set(configuration).is_err() {
            tracing::debug!("the configuration was told twice");
        }
    }

    /// What the sources of the settings said.
    pub fn configuration(&self) -> &Configuration {
        self.configuration.get_or_init(Configuration::default)
    }

    /// The newest results of the checks.
    pub fn readiness(&self) -> Readiness {
        *self.readiness.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stored totals, a few seconds old at most while the store answers.
    pub fn totals(&self) -> Arc<Totals> {
        self.totals.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Room on the recordings folder at the last check.
    pub fn space(&self) -> Option<DiskSpace> {
        *self.space.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Size of SQLite's write-ahead log at the last check.
    pub fn log_bytes(&self) -> Option<u64> {
        *self.log_bytes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session of a camera ended, or was not obtained.
    pub fn stream_ended(&self, camera: &CameraId, class: ReasonClass) {
        self.meters.stream_ends.with([camera.as_str(), class.as_str()]).inc();
    }

    /// Brings the metrics up to date.
    pub fn scrape(&self, kernel: &Kernel) {
        self.meters.scrape(kernel);
    }

    /// Stored totals as of now, or as they were last known when the store does not answer.
    pub async fn fresh_totals(&self, kernel: &Kernel) -> Arc<Totals> {
        match tokio::time::timeout(CHECK, Totals::read(&kernel.store, kernel.clock.wall())).await {
            Ok(Ok(totals)) => {
                let totals = Arc::new(totals);
                *self.totals.write().unwrap_or_else(PoisonError::into_inner) = totals.clone();
                totals
            }
            _ => self.totals(),
        }
    }

    /// Room on the recordings folder as of now; `None` when it is not known.
    pub async fn fresh_space(&self, kernel: &Kernel) -> Option<DiskSpace> {
        let disk = kernel.disk.clone();
        let space = self.gate.ask(move || disk.space()).await.and_then(Result::ok);
        *self.space.write().unwrap_or_else(PoisonError::into_inner) = space;
        space
    }

    async fn check(&self, kernel: &Kernel, since: &mut WantedSince) {
        let (store, disk) = tokio::join!(probe_store(kernel), self.probe_disk(kernel));
        let now = Now { mono: kernel.clock.mono(), wall: kernel.clock.wall() };
        let views = kernel.supervisor.views();
        since.update(now, &views);
        let recording_percent = since.recording_percent(now, &views);
        let settings = &kernel.settings;
        let recorder = if settings.recorder.enabled {
            readiness::recorder(now, kernel.ingest.heartbeat(), &views)
        } else {
            Verdict::Off
        };
        let quorum = readiness::quorum(recording_percent, settings.health.min_recording_percent);
        let found = Readiness { store, disk, recorder, quorum, recording_percent };
        let before = self.readiness();
        if before.reason() != found.reason() {
            match found.reason() {
                Some(reason) => tracing::warn!(reason, "not ready"),
                None => tracing::info!("ready"),
            }
        }
        *self.readiness.write().unwrap_or_else(PoisonError::into_inner) = found;
        let log_bytes = log_bytes(&kernel.settings.database.target).await;
        *self.log_bytes.write().unwrap_or_else(PoisonError::into_inner) = log_bytes;
        self.fresh_space(kernel).await;
        if store == Verdict::Ok {
            self.fresh_totals(kernel).await;
            kernel.measure_consumers().await;
            kernel.measure_perception().await;
        }
    }

    /// False while the newest write failed or the last check of the recordings folder did.
    pub fn disk_is_well(&self, kernel: &Kernel) -> bool {
        self.readiness().disk != Verdict::Failed && !self.watch.has_failed(kernel.clock.mono())
    }

    async fn probe_disk(&self, kernel: &Kernel) -> Verdict {
        let number = self.disk_checks.fetch_add(1, Ordering::Relaxed);
        let is_well = self.readiness().disk == Verdict::Ok;
        if is_well
            && !number.is_multiple_of(FOLDER_CHECKS)
            && self.watch.has_written(kernel.clock.mono(), LATELY)
        {
            return Verdict::Ok;
        }
        let disk = kernel.disk.clone();
        let probed = self.gate.ask(move || disk.probe()).await;
        match probed {
            Some(Ok(())) if !self.watch.has_failed(kernel.clock.mono()) => Verdict::Ok,
            _ => Verdict::Failed,
        }
    }
}

/// A read, and a commit of nothing: the store is there, takes writes, and is still ours. Rows that were committed lately
/// show the same and cost nothing.
async fn probe_store(kernel: &Kernel) -> Verdict {
    if kernel.indexer.has_committed(LATELY) {
        return Verdict::Ok;
    }
    let store = &kernel.store;
    let probe = async {
        store.settings(&Scope::All).await?;
        store.write_all(Vec::new()).await
    };
    match tokio::time::timeout(CHECK, probe).await {
        Ok(Ok(_)) => Verdict::Ok,
        _ => Verdict::Failed,
    }
}

/// Checks every 5 s, for good.
pub async fn run(kernel: Arc<Kernel>) {
    let mut since = WantedSince::default();
    let mut due = Rhythm::main().every(CHECK_BEATS);
    loop {
        kernel.health.check(&kernel, &mut since).await;
        due.tick().await;
    }
}
