//! One process: the parts of the engine, put together as the kernel does, moved one step at a time.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use heldar_base::{CameraId, Cause, Clock as _, Micros, Scope, SimClock, StreamId, WallTime};
use heldar_config::RetentionSettings;
use heldar_disk::{Disk, Outage, SegmentWriter, Step, SyncSide, Tag, WriteSide, WriterConfig};
use heldar_http::metrics::Registry;
use heldar_kernel::clips::ClipFolder;
use heldar_kernel::engine::indexer::{Indexer, StreamNumbers, codec_params};
use heldar_kernel::engine::journal::{Entry, Journal};
use heldar_kernel::engine::live_index::LiveIndex;
use heldar_kernel::engine::recovery::{Recovery, settle_gap};
use heldar_kernel::engine::supervisor::{Supervisor, WatchSeed};
use heldar_kernel::health::DiskGate;
use heldar_kernel::retention::{Ground, Retention, RetentionConfig};
use heldar_recorder::{Demand, StatusConfig};
use heldar_store::{CodecParams, TimeRange};
use heldar_testkit::sim::{SimDisk, Trace};

use crate::footage::Footage;
use crate::store::{Commit, SimStore};

/// Longest fragment.
pub(crate) const FRAGMENT: Micros = Micros::from_secs(1);
/// Time from a write to its sync.
pub(crate) const SYNC_INTERVAL: Duration = Duration::from_secs(2);

/// Everything that a process has besides its streams.
pub(crate) struct Engine {
    pub(crate) store: SimStore,
    pub(crate) live: Arc<LiveIndex>,
    pub(crate) writer: Arc<SegmentWriter<Tag>>,
    pub(crate) keys: Arc<AtomicU64>,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) retention: Retention,
    write: Option<WriteSide<Tag>>,
    sync: Option<SyncSide<Tag>>,
    indexer: Indexer,
    journal: Arc<Journal>,
    clock: Arc<SimClock>,
    /// What the clock of the sync side began with.
    began: (Instant, heldar_base::MonoTime),
    /// Codec parameters that this process has stored.
    params: BTreeSet<String>,
}

/// What a process starts from.
pub(crate) struct Ingredients<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) disk: &'a SimDisk,
    pub(crate) clock: &'a Arc<SimClock>,
    pub(crate) trace: &'a Trace,
    pub(crate) footage: &'a Arc<Mutex<Footage>>,
    pub(crate) limits: &'a RetentionSettings,
    pub(crate) queue_bytes: u64,
}

impl Engine {
    /// Index and disk are brought together; what recovery did goes into the trace. False when everything ended meanwhile.
    pub(crate) async fn recover(store: &SimStore, from: &Ingredients<'_>, outage: Outage) -> bool {
        let streams = store.store.streams(&Scope::All).await.unwrap();
        let disk: Arc<dyn Disk> = Arc::new(from.disk.clone());
        let recovery = Recovery::new(store.store.clone(), disk, from.clock.wall()).after(outage);
        let outcome = recovery.run(&streams).await;
        if from.disk.is_dead() {
            return false;
        }
        let (report, postponed) = outcome.unwrap_or_else(|error| panic!("the start fails: {error}"));
        let waiting = postponed.streams().len();
        from.trace.step(format_args!("recovered {report:?}, {waiting} wait for the disk"));
        true
    }

    /// The parts of a process whose recovery is done.
    pub(crate) async fn start(store: SimStore, from: &Ingredients<'_>) -> Engine {
        let numbers = Arc::new(StreamNumbers::default());
        for stream in store.store.streams(&Scope::All).await.unwrap() {
            numbers.insert(stream.id, stream.stream_no);
        }
        let live = Arc::new(LiveIndex::new());
        let clock = Arc::clone(from.clock);
        let journal = Arc::new(Journal::open(from.folder, Arc::clone(&clock), Arc::default()).unwrap());
        let supervisor = Arc::new(Supervisor::new(journal.clone(), Arc::clone(&clock), FRAGMENT));
        let disk: Arc<dyn Disk> = Arc::new(from.disk.clone());
        let config = WriterConfig { queue_bytes: from.queue_bytes, sync_interval: SYNC_INTERVAL };
        let (sink, footage, trace, at) =
            (live.clone(), Arc::clone(from.footage), from.trace.clone(), Arc::clone(&clock));
        let (writer, write, sync) = SegmentWriter::split(disk.clone(), config, move |completion| {
            let text = footage.lock().unwrap().completed(&completion, at.mono());
            trace.step(format_args!("{text}"));
            sink.completed(completion);
        });
        let writer = Arc::new(writer);
        let settings = RetentionConfig {
            limits: from.limits.clone(),
            clips: ClipFolder::new(from.folder.join("clips")),
            clip_age: None,
            snapshots: heldar_kernel::snapshots::SnapshotFolder::new(from.folder.join("snapshots")),
            snapshot_age: None,
            row_age: Micros::from_hours(1000),
            detection_age: Micros::from_hours(1000),
        };
        let ground = Ground {
            store: store.store.clone(),
            disk,
            gate: DiskGate::default(),
            journal: journal.clone(),
            clock: Arc::clone(&clock) as Arc<dyn heldar_base::Clock>,
            writer: writer.clone(),
            settings,
        };
        Engine {
            retention: Retention::new(ground, &Registry::new()),
            indexer: Indexer::new(live.clone(), store.store.clone(), numbers, Arc::clone(&clock)),
            began: (Instant::now(), clock.mono()),
            keys: Arc::new(AtomicU64::new(1)),
            write: Some(write),
            sync: Some(sync),
            params: BTreeSet::new(),
            store,
            live,
            writer,
            supervisor,
            journal,
            clock,
        }
    }

    /// Begins to watch a camera whose recording is wanted, from where an earlier process left off.
    pub(crate) async fn watch(&mut self, camera: &CameraId, stream: &StreamId, down: Cause) {
        let now = self.clock.wall();
        let from_now = TimeRange { from: Some(now), to: None };
        let history = self.store.store.wanted_history(&Scope::All, camera, from_now, None, 1).await.unwrap();
        let resume = match history.rows.first() {
            Some(change) if change.reason.is_none() => {
                let last = self.store.store.last_segment(&Scope::All, stream).await.unwrap();
                let covered = last.map_or(change.at, |segment| segment.end.max(change.at));
                Some((covered, (down, WallTime::EPOCH)))
            }
            _ => None,
        };
        let gaps = self.store.store.open_gaps(&Scope::All).await.unwrap();
        let open_gap = match gaps.into_iter().find(|gap| gap.camera == *camera) {
            Some(gap) => settle_gap(&self.store.store, stream, gap).await.unwrap(),
            None => None,
        };
        let config = StatusConfig { debounce: Micros::from_secs(3), stale: Micros::from_secs(30) };
        let seed = WatchSeed { stream: stream.clone(), config, stored: None, resume, open_gap };
        self.supervisor.watch(camera, seed);
        self.journal.push(Entry::Wanted { camera: camera.clone(), at: now, reason: None });
        self.supervisor.wanted(camera, now, Demand::Wanted);
    }

    /// End of the newest footage of a stream: nothing may be recorded before it.
    pub(crate) async fn newest_end(&self, stream: &StreamId) -> WallTime {
        let last = self.store.store.last_segment(&Scope::All, stream).await.unwrap();
        last.map_or(WallTime::EPOCH, |segment| segment.end)
    }

    /// The writing side moves; true when it did something.
    pub(crate) fn write(&mut self) -> bool {
        let step = self.write.as_mut().map_or(Step::Ended, WriteSide::step);
        if step == Step::Ended {
            self.write = None;
        }
        step == Step::Did
    }

    /// The syncing side moves; true when it did something.
    pub(crate) fn sync(&mut self) -> bool {
        let now = self.began.0 + (self.clock.mono() - self.began.1).to_std();
        let step = self.sync.as_mut().map_or(Step::Ended, |side| side.step(now));
        if step == Step::Ended {
            self.sync = None;
        }
        step == Step::Did
    }

    /// Rows that are due go into the store.
    pub(crate) async fn index(&mut self) {
        let rows = self.live.pending(usize::MAX);
        if rows.is_empty() {
            return;
        }
        // Parameters that are new to the process are committed fully synced, rows are not.
        let text = |params: CodecParams| format!("{params:?}");
        let news =
            rows.iter().filter(|row| self.params.insert(text(codec_params(&row.segment.tracks)))).count();
        self.indexer.flush().await.unwrap();
        self.store.committed(if news > 0 { Commit::Full } else { Commit::Relaxed });
    }

    /// What supervision has found goes into the store.
    pub(crate) async fn journal(&mut self) {
        self.journal.flush(&self.store.store).await.unwrap();
        self.store.committed_if_any(Commit::Full);
    }

    /// Supervision hears of what the disk did, and time passes.
    pub(crate) fn supervise(&self) {
        for note in self.live.take_notes() {
            self.supervisor.note(note);
        }
        self.supervisor.tick();
    }

    /// Both sides do everything that is to be done and end.
    pub(crate) fn finish_writing(&mut self) {
        self.writer.stop();
        while self.write() {}
        while self.sync() {}
    }
}
