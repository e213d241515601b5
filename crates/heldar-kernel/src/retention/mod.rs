//! Keeps footage within its limits: age, quotas, the cap of all recordings, the floor of free disk space.
//!
//! Owns: when sweeps run, the deletion of footage, clips and snapshots, the removal of old rows, and leases on segments. What goes is
//! decided by the planner in `heldar_timeline`; the order of disk and store steps is that of the commit protocol, see
//! `execute`. Never: holds up recording; deletes what is leased or open.
//!
//! A sweep runs every `HELDAR_RETENTION_INTERVAL_S`, at once when free space falls below the floor (looked at every 10 s),
//! and whenever [`Retention::kick`] says so: when a limit was changed or a camera deleted.

mod execute;
mod inventory;
pub mod leases;
mod limits;
mod notices;
mod preview;
mod steady;
mod sweep;
mod traces;
mod upkeep;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use heldar_base::{Clock, Micros, WallTime};
use heldar_config::{RetentionSettings, Settings};
use heldar_disk::{Disk, DiskSpace, SegmentWriter, Tag};
use heldar_http::metrics::{Counter, Family, Gauge, Registry};
use heldar_store::{Store, StoreError};
use heldar_timeline::retention::Reason;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clips::ClipFolder;
use crate::engine::journal::Journal;
use crate::health::{DiskGate, Oldest};
use crate::kernel::Kernel;
use crate::rhythm::Rhythm;
use crate::snapshots::SnapshotFolder;
use leases::Leases;
use notices::Trigger;
use sweep::Memory;

pub use inventory::Keep;
pub use limits::{Limit, Limits, MAX_KEY, MIN_FREE_KEY};
pub use notices::Deleted;
pub use preview::{Asked, Dry};
pub use steady::SteadyNow;
pub use sweep::SweepReport;

/// Beats between looks at free space.
const WATCH: u32 = 10;
/// The first sweep comes this long after the start, or earlier if sweeps are closer together.
const FIRST: Duration = Duration::from_secs(60);

/// What retention works on.
#[derive(Clone)]
pub struct Ground {
    /// The index.
    pub store: Store,
    /// The recordings.
    pub disk: Arc<dyn Disk>,
    /// The way to ask that folder for its state.
    pub gate: DiskGate,
    /// Where events go.
    pub journal: Arc<Journal>,
    /// The host's clocks.
    pub clock: Arc<dyn Clock>,
    /// Tells how much is written meanwhile.
    pub writer: Arc<SegmentWriter<Tag>>,
    /// Ages and limits of the configuration.
    pub settings: RetentionConfig,
}

impl Ground {
    fn written_bytes(&self) -> u64 {
        self.writer.stats().written_bytes.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Ages and limits of the configuration.
#[derive(Clone, Debug)]
pub struct RetentionConfig {
    /// Limits that stored settings override, and the time between sweeps.
    pub limits: RetentionSettings,
    /// The clips.
    pub clips: ClipFolder,
    /// Age of clips that are removed; `None`: never.
    pub clip_age: Option<Micros>,
    /// The snapshots.
    pub snapshots: SnapshotFolder,
    /// Age of snapshots that are removed; `None`: never.
    pub snapshot_age: Option<Micros>,
    /// Age of events, audit rows and gaps that are removed.
    pub row_age: Micros,
    /// Age of detections and their batches that are removed.
    pub detection_age: Micros,
}

impl From<&Settings> for RetentionConfig {
    fn from(settings: &Settings) -> Self {
        RetentionConfig {
            limits: settings.retention.clone(),
            clips: ClipFolder::new(&settings.storage.clips_dir),
            clip_age: settings.clips.retention,
            snapshots: SnapshotFolder::new(&settings.storage.snapshots_dir),
            snapshot_age: settings.snapshots.retention,
            row_age: settings.audit.retention,
            detection_age: settings.perception.retention,
        }
    }
}

/// Retention of one server.
pub struct Retention {
    /// Segments that jobs read.
    pub leases: Leases,
    /// Starts of oldest segments.
    pub oldest: Oldest,
    ground: Ground,
    wake: Notify,
    /// Taken by the sweep that runs.
    memory: tokio::sync::Mutex<Memory>,
    /// Taken by the dry run that runs: one may read all of the index.
    dry: tokio::sync::Mutex<()>,
    steady: Mutex<SteadyNow>,
    last: Mutex<Option<SweepReport>>,
    /// What limited the age of footage when some was last deleted.
    limited_by: Mutex<Option<Reason>>,
    meters: Meters,
}

/// What is counted.
struct Meters {
    deleted_bytes: Arc<Family<Counter, 1>>,
    last_run: Arc<Gauge>,
}

impl Meters {
    fn new(registry: &Registry) -> Self {
        let deleted_bytes = registry.counters(
            "heldar_retention_deleted_bytes_total",
            "Bytes of footage deleted by retention.",
            ["reason"],
        );
        for reason in Reason::ALL {
            deleted_bytes.with([reason.as_str()]);
        }
        let last_run =
            registry.gauge("heldar_retention_last_run_timestamp_seconds", "When the last sweep ended.");
        Meters { deleted_bytes, last_run }
    }

    fn deleted(&self, reason: Reason, bytes: u64) {
        self.deleted_bytes.with([reason.as_str()]).add(bytes as f64);
    }
}

impl Retention {
    /// Retention over a store and a folder; nothing happens before [`run`] or [`Retention::sweep`].
    pub fn new(ground: Ground, registry: &Registry) -> Self {
        Retention {
            leases: Leases::default(),
            oldest: Oldest::default(),
            ground,
            wake: Notify::new(),
            memory: tokio::sync::Mutex::default(),
            dry: tokio::sync::Mutex::default(),
            steady: Mutex::default(),
            last: Mutex::default(),
            limited_by: Mutex::default(),
            meters: Meters::new(registry),
        }
    }

    /// Asks for a sweep now. Never waits.
    pub fn kick(&self) {
        self.wake.notify_one();
    }

    /// Does one sweep; waits for the one that runs.
    ///
    /// # Errors
    /// The store is busy or lost. What was deleted by then is deleted; the next sweep goes on.
    pub async fn sweep(&self) -> Result<SweepReport, StoreError> {
        self.sweep_for(Trigger::Due).await
    }

    async fn sweep_for(&self, trigger: Trigger) -> Result<SweepReport, StoreError> {
        let mut memory = self.memory.lock().await;
        let swept = Box::pin(self.sweep_once(&mut memory, trigger)).await;
        self.oldest.forget();
        let report = swept?;
        let deleted = report.deleted.segments();
        if deleted > 0 || report.finished > 0 || report.clips > 0 {
            tracing::info!(
                segments = deleted,
                bytes = report.deleted.bytes(),
                failed = report.failed,
                finished = report.finished,
                clips = report.clips,
                rows = report.rows,
                "retention sweep"
            );
        }
        if let Some(reason) = report.deleted.limited_by() {
            *self.limited_by.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        }
        self.meters.last_run.set(report.at.0 as f64 / 1e6);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(report.clone());
        Ok(report)
    }

    /// What the last sweep did.
    pub fn last_sweep(&self) -> Option<SweepReport> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What limited the age of footage when some was last deleted.
    pub fn limited_by(&self) -> Option<Reason> {
        *self.limited_by.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The limits that hold now.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub async fn limits(&self) -> Result<Limits, StoreError> {
        Limits::load(&self.ground.store, &self.ground.settings.limits).await
    }

    /// The present as retention believes it; see [`SteadyNow`].
    pub fn now(&self) -> WallTime {
        let wall = self.ground.clock.wall();
        let up = heldar_disk::uptime().unwrap_or_else(|| Micros(self.ground.clock.mono().0));
        let mut steady = self.steady.lock().unwrap_or_else(PoisonError::into_inner);
        let doubted = steady.is_doubting();
        let now = steady.read(up, wall);
        if steady.is_doubting() && !doubted {
            tracing::warn!(clock = %wall, believed = %now, "the clock went far ahead; nothing is removed for its age by it");
        }
        now
    }

    /// Room on the recordings folder; `None` when it is not known.
    pub async fn space(&self) -> Option<DiskSpace> {
        let disk = self.ground.disk.clone();
        self.ground.gate.ask(move || disk.space()).await?.ok()
    }

    /// True when free space is below the floor and a sweep may change that.
    async fn floor_broken(&self) -> bool {
        if self.last_sweep().is_some_and(|report| report.floor_is_stuck()) {
            return false;
        }
        let (Some(space), Ok(limits)) = (self.space().await, self.limits().await) else { return false };
        space.free < limits.min_free.bytes && limits.min_free.bytes < space.total
    }
}

/// Sweeps when it is time to, for good.
pub async fn run(kernel: Arc<Kernel>) {
    let retention = &kernel.retention;
    let interval = retention.ground.settings.limits.interval.to_std().max(Duration::from_secs(1));
    let mut due = Instant::now() + interval.min(FIRST);
    let mut watch = Rhythm::main().every(WATCH);
    loop {
        let trigger = tokio::select! {
            () = tokio::time::sleep_until(due) => Trigger::Due,
            () = retention.wake.notified() => Trigger::Due,
            _ = watch.tick() => if retention.floor_broken().await { Trigger::Floor } else { continue },
        };
        if let Err(error) = retention.sweep_for(trigger).await {
            tracing::warn!(%error, "a retention sweep ended early");
        }
        kernel.stills.tiles().clear();
        if trigger == Trigger::Due {
            due = Instant::now() + interval;
        }
    }
}
