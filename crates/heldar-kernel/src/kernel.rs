//! Everything that runs, put together: started, stopped, and told of cameras.
//!
//! Owns: the order of start and stop. Start: folders, store, recovery, writer, ingest, supervision. Stop is the reverse:
//! sessions end, fragments are written, files are sealed and synced, rows are committed, the store is closed.

mod background;
mod down;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use heldar_base::{
    CameraId, Clock as _, Interval, Micros, ReasonClass, Scope, StreamId, StreamKind, WallTime,
};
use heldar_config::{DatabaseTarget, Settings};
use heldar_disk::{Disk, SegmentWriter, Tag, WriterConfig};
use heldar_http::{Lifecycle, Phase};
use heldar_ingest::{SessionError, Source, SystemClock, TransportPolicy};
use heldar_live::Cut;
use heldar_recorder::{AudioPolicy, Orders, RecorderConfig, StatusConfig};
use heldar_store::op::{DeleteSetting, PutSetting};
use heldar_store::{
    AuditEntry, Camera, CameraQuery, CameraStatus, Condition, DatabaseUrl, Gap, RtspTransport, Store,
    StoreConfig, StoreError, TimeRange, WantedChange,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::accounts::{AccountError, Accounts};
use crate::address::{self, VendorTemplates, Whereabouts};
use crate::apps::{AppContext, Schema, Verticals};
use crate::clips::ClipFolder;
use crate::egress::CameraGuard;
use crate::engine::indexer::{Indexer, StreamNumbers};
use crate::engine::ingest::Ingest;
use crate::engine::journal::{Entry, Journal};
use crate::engine::late::Late;
use crate::engine::live_index::LiveIndex;
use crate::engine::outage::Outages;
use crate::engine::recovery::{Recovery, RecoveryError, RecoveryReport, name_end, settle_gap};
use crate::engine::stream::{Shared, StreamSettings};
use crate::engine::supervisor::{Supervisor, WatchSeed};
use crate::feed::EventFeed;
use crate::folders::{lock_data_folder, make_folders, open_disk};
use crate::front::Refusals;
use crate::fsck::scrub::Scrub;
use crate::health::{DiskWatch, Health, StoreWatch};
use crate::live::Watching;
use crate::modes::{Modes, is_recorded};
use crate::perception::Perception;
use crate::playback::{PlanCache, Sessions};
use crate::reads::{Read, Reads};
use crate::registry::{Author, Registry};
use crate::retention::{Ground, Retention, RetentionConfig};
use crate::secrets::{Sealer, SecretError};
use crate::snapshots::Snapshots;
use crate::stills::Stills;
use crate::webhooks::Webhooks;
use crate::zones::Zones;
use down::Down;

/// Key of the setting that tells a clean stop.
const STOPPED_AT: &str = "server_stopped_at";
/// Key of the setting that tells which the recordings folder is.
pub(crate) const RECORDINGS_FOLDER: &str = "recordings_folder";
/// How long the journal may take at a stop; what is not stored by then waits in its file.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// No clock that shows an earlier time is right: 2026-11-01, when this version was made.
const BUILT_AFTER: WallTime = WallTime(1_793_491_200_000_000);

/// Why the kernel did not start; the reason behind it is the error's source.
#[derive(Debug, thiserror::Error)]
pub enum StartFailure {
    /// A folder cannot be used.
    #[error("the {what} folder cannot be used")]
    Folder {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process works on the data folder.
    #[error(
        "another Heldar runs on this data folder: stop it, or set HELDAR_DATA_DIR to a folder of its own"
    )]
    Locked,
    /// The database URL is not one.
    #[error("the database URL cannot be used")]
    DatabaseUrl(#[from] heldar_store::UrlError),
    /// The store cannot be opened.
    #[error("the store cannot be opened")]
    Store(#[from] StoreError),
    /// Recovery failed.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// Stored secrets cannot be used with the keys given.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The administrator that the configuration names cannot be made.
    #[error("the first administrator cannot be made")]
    FirstAdministrator(#[source] AccountError),
    /// A thread cannot be created.
    #[error("a thread cannot be created")]
    Thread(#[source] std::io::Error),
}

/// The running system.
pub struct Kernel {
    /// The configuration.
    pub settings: Settings,
    /// When it was started.
    pub started_at: WallTime,
    /// The host's clocks.
    pub clock: SystemClock,
    /// The store.
    pub store: Store,
    /// The recordings folder.
    pub disk: Arc<dyn Disk>,
    /// Segments that the store does not fully know.
    pub live: Arc<LiveIndex>,
    /// Numbers of streams.
    pub numbers: Arc<StreamNumbers>,
    /// Events and gaps on their way.
    pub journal: Arc<Journal>,
    /// States of cameras.
    pub supervisor: Arc<Supervisor>,
    /// The segment writer.
    pub writer: Arc<SegmentWriter<Tag>>,
    /// The streams.
    pub ingest: Ingest,
    /// Vendor templates in force.
    pub templates: VendorTemplates,
    /// Seals and opens secrets.
    pub sealer: Arc<Sealer>,
    /// People, keys and sign-ins.
    pub accounts: Arc<Accounts>,
    /// Which addresses cameras may have.
    pub guard: Arc<CameraGuard>,
    /// What recovery did at the start.
    pub recovered: RecoveryReport,
    /// What it could not do then.
    pub(crate) late: Late,
    /// Changes of cameras and sites, and what streams have shown.
    pub registry: Registry,
    /// Reads of footage, for their audit.
    pub reads: Reads,
    /// Requests that were refused, for their audit.
    pub(crate) refusals: Refusals,
    /// Playback sessions.
    pub sessions: Sessions,
    /// Plans of virtual files.
    pub plans: PlanCache,
    /// The folder of clips.
    pub clips: ClipFolder,
    /// Slots for jobs that write or decode.
    pub jobs: Arc<tokio::sync::Semaphore>,
    /// The apps that are compiled in.
    pub apps: Arc<dyn Verticals>,
    /// Tasks, workers, frames and results.
    pub perception: Perception,
    /// Events and batches to whoever listens.
    pub feed: Arc<EventFeed>,
    /// What makes single pictures.
    pub stills: Stills,
    /// Zones of all cameras.
    pub(crate) zones: Zones,
    /// Events to receivers over HTTP.
    pub webhooks: Arc<Webhooks>,
    /// Scheduled snapshots.
    pub snapshots: Snapshots,
    /// Record modes: what every camera owes.
    pub modes: Modes,
    /// Limits of footage, and leases on segments.
    pub retention: Retention,
    /// The check of older days.
    pub scrub: Scrub,
    /// Live view.
    pub watching: Watching,
    /// The certificate of the API's listener, once there is one.
    pub certificates: std::sync::OnceLock<Arc<heldar_tls::Certificates>>,
    /// Readiness and figures.
    pub health: Health,
    /// Every metric of the process.
    pub metrics: heldar_http::metrics::Registry,
    /// Which work is taken at the moment.
    pub lifecycle: Arc<Lifecycle>,
    pub(crate) indexer: Arc<Indexer>,
    /// Held as long as the process works on the data folder.
    lock: std::sync::Mutex<Option<std::fs::File>>,
    tasks: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl Kernel {
    /// Opens everything, recovers, and starts every camera.
    ///
    /// # Errors
    /// [`StartFailure`]; nothing runs then.
    pub async fn start(settings: Settings) -> Result<Arc<Self>, StartFailure> {
        Box::pin(Self::start_with(settings, Arc::new(()))).await
    }

    /// As [`Kernel::start`], with apps: their schema is brought up to date, their consumers and loops run.
    ///
    /// # Errors
    /// As [`Kernel::start`].
    pub async fn start_with(settings: Settings, apps: Arc<dyn Verticals>) -> Result<Arc<Self>, StartFailure> {
        let clock = SystemClock::new();
        let lock = lock_data_folder(&settings)?;
        make_folders(&settings)?;
        let store = open_store(&settings, clock.wall()).await?;
        apps.init_schema(Schema::new(&store, clock.wall())).await?;
        let disk = open_disk(&settings, &store, clock.wall()).await?;
        let metrics = heldar_http::metrics::Registry::new();
        let lost_audit =
            metrics.counter("heldar_audit_dropped_total", "Audit rows that could not be kept for the store.");
        let journal = Journal::open(&settings.storage.data_dir, clock, lost_audit)
            .map_err(|source| StartFailure::Folder { what: "data", source })?;
        // Before anything reads gaps or what was wanted.
        journal.replay(&store).await?;
        let journal = Arc::new(journal);
        let sealer = Arc::new(Sealer::open(&settings.secrets, &store, clock.wall()).await?);
        let streams = store.streams(&Scope::All).await?;
        let outage = Outages::since(&store).await?;
        let recovery = Recovery::new(store.clone(), disk.clone(), clock.wall()).after(outage.of());
        let (recovered, postponed) = recovery.run(&streams).await?;
        let late = Late::new(outage, postponed, clock.wall());
        late.note(&store, clock.wall()).await?;
        if let Some(payload) = recovered.orphans() {
            journal.raise(None, "recording_orphans", heldar_store::Severity::Warning, payload);
        }
        if settings.access.open {
            let payload = serde_json::json!({ "host": settings.api.bind.to_string() });
            journal.raise(None, "open_access", heldar_store::Severity::Warning, payload);
        }
        let numbers = Arc::new(StreamNumbers::default());
        for stream in streams {
            numbers.insert(stream.id, stream.stream_no);
        }
        let live = Arc::new(LiveIndex::new());
        let supervisor = Arc::new(Supervisor::new(journal.clone(), clock, settings.recorder.fragment));
        store.observe(Arc::new(StoreWatch::new(&metrics)));
        let accounts = Accounts::open(&settings, &store, clock, &metrics).await?;
        accounts.bootstrap().await.map_err(StartFailure::FirstAdministrator)?;
        let watch = Arc::new(DiskWatch::new(&metrics));
        let (sink, watching) = (live.clone(), watch.clone());
        let config = WriterConfig {
            sync_interval: settings.recorder.sync_interval.to_std(),
            ..WriterConfig::default()
        };
        let writer = SegmentWriter::start(disk.clone(), config, move |completion| {
            watching.completed(clock.mono(), &completion);
            sink.completed(completion);
        })
        .map_err(StartFailure::Thread)?;
        let writer = Arc::new(writer);
        let health = Health::new(&metrics, watch);
        let zones = Zones::new(&metrics);
        let ground = Ground {
            store: store.clone(),
            disk: disk.clone(),
            gate: health.gate.clone(),
            journal: journal.clone(),
            clock: Arc::new(clock),
            writer: writer.clone(),
            settings: RetentionConfig::from(&settings),
        };
        let guard = Arc::new(CameraGuard::new(&settings));
        let modes = Modes::new(settings.recorder.preroll_bytes);
        let (reports, inbox) = mpsc::unbounded_channel();
        let shared = Shared {
            clock,
            writer: writer.clone(),
            live: live.clone(),
            keys: Arc::new(AtomicU64::new(1)),
            rolls: modes.rolls.clone(),
            gather: Arc::default(),
            guard: guard.clone(),
            reports,
        };
        let ingest = Ingest::start(shared).map_err(StartFailure::Thread)?;
        let watching = Watching::open(&settings, &store, &sealer, clock, &metrics).await?;
        let indexer = Arc::new(Indexer::new(live.clone(), store.clone(), numbers.clone(), clock));
        let templates = VendorTemplates::load(settings.cameras.vendor_templates.as_deref());
        let perception =
            Perception::open(&settings, &store, &sealer, clock.wall(), apps.consumers(), &metrics).await?;
        let kernel = Arc::new(Kernel {
            webhooks: Webhooks::open(&settings, &store, &sealer, Arc::new(clock), &metrics),
            retention: Retention::new(ground, &metrics),
            scrub: Scrub::new(&metrics),
            watching,
            feed: EventFeed::new(&store, &metrics),
            certificates: std::sync::OnceLock::new(),
            health,
            metrics,
            lifecycle: Arc::new(Lifecycle::new(Phase::Running)),
            sessions: Sessions::new(clock, settings.playback.session_ttl),
            plans: PlanCache::default(),
            clips: ClipFolder::new(&settings.storage.clips_dir),
            jobs: Arc::new(tokio::sync::Semaphore::new(settings.clips.job_concurrency)),
            apps,
            perception,
            stills: Stills::new(settings.decoder.program.clone()),
            zones,
            modes,
            snapshots: Snapshots::new(&settings),
            registry: Registry::default(),
            reads: Reads::default(),
            started_at: clock.wall(),
            settings,
            clock,
            store,
            disk,
            live,
            numbers,
            journal,
            supervisor,
            writer,
            ingest,
            templates,
            sealer,
            accounts,
            refusals: Refusals::default(),
            guard,
            recovered,
            late,
            indexer,
            lock: std::sync::Mutex::new(Some(lock)),
            tasks: std::sync::Mutex::default(),
        });
        kernel.clips.sweep(&kernel.store).await?;
        kernel.read_masks().await?;
        kernel.start_cameras().await?;
        kernel.start_tasks(inbox);
        kernel.apps.spawn_loops(&AppContext::new(kernel.clone()));
        Ok(kernel)
    }

    async fn start_cameras(&self) -> Result<(), StoreError> {
        let stopped = self.store.settings(&Scope::All).await?.into_iter().find(|s| s.key == STOPPED_AT);
        let stopped_at = stopped.map(|setting| setting.updated_at);
        let down = Down::of(stopped_at, &self.clock);
        self.store.write(DeleteSetting { key: STOPPED_AT.to_owned() }).await?;
        let mut open_gaps = self.store.open_gaps(&Scope::All).await?;
        let statuses = self.store.statuses(&Scope::All).await?;
        // While anything was recorded, a status was stored every few seconds.
        let seen = statuses.iter().map(|status| status.updated_at).max().unwrap_or(WallTime::EPOCH);
        let down_since = stopped_at.unwrap_or(seen);
        let mut after = None;
        loop {
            let page = self.store.cameras(&Scope::All, &CameraQuery::default(), after.as_ref(), 500).await?;
            for camera in &page.rows {
                let at = open_gaps.iter().position(|gap| gap.camera == camera.id);
                let gap = at.map(|at| open_gaps.swap_remove(at));
                let status = statuses.iter().find(|status| status.camera == camera.id).cloned();
                let kept_at = status.as_ref().map_or(WallTime::EPOCH, |status| status.updated_at);
                let seed = self.seed(camera, status, gap, (down, down_since)).await?;
                self.supervisor.watch(&camera.id, seed);
                if let Some(change) = self.last_wanted(&camera.id).await? {
                    let (plan, _) = self.record_plan(camera).await?;
                    self.take_up(camera, plan, (change.at.max(kept_at), change.reason), |at| down.cause(at));
                }
                self.apply(camera).await?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Where the watch of a camera takes up.
    async fn seed(
        &self,
        camera: &Camera,
        stored: Option<CameraStatus>,
        open_gap: Option<Gap>,
        (down, down_since): (Down, WallTime),
    ) -> Result<WatchSeed, StoreError> {
        let stream = StreamId::new(camera.id.clone(), camera.fields.record_stream);
        let resume = match self.last_wanted(&camera.id).await? {
            Some(change) if change.reason.is_none() => {
                let last = self.store.last_segment(&Scope::All, &stream).await?;
                let covered = last.as_ref().map_or(change.at, |segment| segment.end.max(change.at));
                let cause = down.cause(covered);
                if let Some(segment) = &last {
                    name_end(&self.store, segment, cause).await?;
                }
                Some((covered, (cause, down_since)))
            }
            _ => None,
        };
        let open_gap = match open_gap {
            Some(gap) => settle_gap(&self.store, &stream, gap).await?,
            None => None,
        };
        Ok(WatchSeed { stream, config: self.status_config(camera), stored, resume, open_gap })
    }

    /// The newest change of what was wanted of a camera.
    async fn last_wanted(&self, camera: &CameraId) -> Result<Option<WantedChange>, StoreError> {
        // The change that holds now comes first.
        let from_now = TimeRange { from: Some(self.clock.wall()), to: None };
        let history = self.store.wanted_history(&Scope::All, camera, from_now, None, 1).await?;
        Ok(history.rows.into_iter().next())
    }

    fn status_config(&self, camera: &Camera) -> StatusConfig {
        let segment = i64::from(camera.fields.segment_seconds.max(10));
        StatusConfig {
            debounce: self.settings.recorder.offline_debounce,
            stale: Micros::from_secs((3 * segment).max(30)),
        }
    }

    fn sum_up(&self, rows: Vec<AuditEntry>) {
        rows.into_iter().for_each(|row| self.journal.push(Entry::Audit(Box::new(row))));
    }

    /// Somebody reads footage of a camera.
    pub fn read(&self, author: &Author, camera: &CameraId, read: Read, window: Interval) {
        if self.settings.audit.reads
            && let Some(row) = self.reads.note(self.clock.wall(), author, camera, read, window)
        {
            self.audit_read(row);
        }
    }

    /// Stores the audit row of something that changes no row of the store. Never waits.
    pub fn audit(&self, row: AuditEntry) {
        self.journal.push(Entry::Audit(Box::new(row)));
    }

    /// Stores the audit row of a read, unless these are not wanted. Never waits.
    pub fn audit_read(&self, row: AuditEntry) {
        if self.settings.audit.reads {
            self.journal.push(Entry::Audit(Box::new(row)));
        }
    }

    /// Tells everything that runs of a camera as it is now: a new one, an edited one, or one found at start.
    ///
    /// # Errors
    /// The store gave no numbers for its streams.
    pub async fn apply(&self, camera: &Camera) -> Result<(), StoreError> {
        let (plan, revisions) = self.record_plan(camera).await?;
        let recorded = StreamId::new(camera.id.clone(), camera.fields.record_stream);
        if self.supervisor.view(&camera.id).is_none() {
            let seed = self.seed(camera, None, None, (Down::Not, WallTime::EPOCH)).await?;
            self.supervisor.watch(&camera.id, seed);
        } else {
            let config = self.status_config(camera);
            let seed =
                WatchSeed { stream: recorded.clone(), config, stored: None, resume: None, open_gap: None };
            self.supervisor.watch(&camera.id, seed);
        }
        let mut streams = Vec::new();
        for kind in [StreamKind::Main, StreamKind::Sub] {
            let stream = StreamId::new(camera.id.clone(), kind);
            if plan.off.is_none() && is_recorded(camera, kind) {
                self.numbers.ensure(&self.store, &stream).await?;
            }
            let not_before = match self.ingest.get(&stream) {
                Some(handle) => handle.settings().not_before,
                None => self.newest_end(&stream).await?.max(BUILT_AFTER),
            };
            streams.push((stream, not_before));
        }
        self.adopt(camera, plan, |orders| {
            for (stream, not_before) in streams {
                let orders = if is_recorded(camera, stream.kind) { *orders } else { Orders::NOTHING };
                let settings = self.stream_settings(camera, stream.kind, orders, not_before);
                let edits = settings.edits.wrapping_add(revisions);
                self.ingest.apply(&stream, StreamSettings { edits, ..settings });
            }
        });
        self.camera_is_active(&camera.id, camera.fields.enabled && camera.removed_at.is_none());
        if !camera.fields.enabled {
            self.watching.viewers.cut_camera(&camera.id, Cut::CameraDisabled);
        }
        if let Some(handle) = self.ingest.get(&recorded) {
            self.supervisor.figures(&camera.id, handle.figures);
        }
        Ok(())
    }

    /// End of the newest footage that ever was of a stream.
    async fn newest_end(&self, stream: &StreamId) -> Result<WallTime, StoreError> {
        let last = self.store.last_segment(&Scope::All, stream).await?;
        Ok(last.map_or(WallTime::EPOCH, |segment| segment.end))
    }

    /// Ends everything that runs for a camera.
    pub fn dismiss(&self, camera: &CameraId) {
        for kind in [StreamKind::Main, StreamKind::Sub] {
            let stream = StreamId::new(camera.clone(), kind);
            self.ingest.remove(&stream);
            self.numbers.remove(&stream);
        }
        self.watching.camera_removed(camera);
        self.camera_is_active(camera, false);
        self.supervisor.forget(camera);
        self.modes.forget(camera);
    }

    /// Where a camera is, its secrets opened.
    ///
    /// # Errors
    /// A secret that cannot be opened.
    pub fn whereabouts(&self, camera: &Camera) -> Result<Whereabouts, SecretError> {
        let fields = &camera.fields;
        let open = |column, value: &Option<heldar_base::Secret<String>>| {
            value
                .as_ref()
                .map(|sealed| self.sealer.open_value("camera", column, camera.id.as_str(), sealed))
                .transpose()
        };
        Ok(Whereabouts {
            vendor: fields.vendor.clone(),
            address: fields.address.clone(),
            port: fields.rtsp_port,
            channel: fields.channel,
            username: fields.username.clone(),
            password: open("password", &fields.password)?,
            main_url: open("main_stream_url", &fields.main_stream_url)?,
            sub_url: open("sub_stream_url", &fields.sub_stream_url)?,
        })
    }

    /// Where one of a camera's streams comes from.
    ///
    /// # Errors
    /// Class `config`: no address, or one that cannot be used.
    pub fn source(&self, camera: &Camera, kind: StreamKind) -> Result<Source, SessionError> {
        let config = |text: &str| SessionError::new(ReasonClass::Config, text);
        let at = self.whereabouts(camera).map_err(|error| config(&error.to_string()))?;
        let url = address::stream_url(&at, kind, &self.templates)
            .ok_or_else(|| config("no stream address: set a stream URL, or vendor and address"))?;
        let split = address::split_url(url.expose()).map_err(|error| config(&error.to_string()))?;
        Ok(Source {
            url: split.url,
            username: split.username.or_else(|| at.username.clone()),
            password: split.password.or_else(|| at.password.clone()),
            transport: match camera.fields.rtsp_transport {
                RtspTransport::Auto => TransportPolicy::Auto,
                RtspTransport::Tcp => TransportPolicy::Tcp,
                RtspTransport::Udp => TransportPolicy::Udp,
            },
        })
    }

    fn stream_settings(
        &self,
        camera: &Camera,
        kind: StreamKind,
        orders: Orders,
        not_before: WallTime,
    ) -> StreamSettings {
        let fields = &camera.fields;
        let segment = Micros::from_secs(i64::from(fields.segment_seconds));
        StreamSettings {
            source: self.source(camera, kind).map(Arc::new),
            session: orders.session,
            take: orders.take,
            keep: orders.keep,
            live: self.watching.wants(camera, kind),
            enabled: camera.fields.enabled,
            recorder: RecorderConfig {
                segment,
                stagger: stagger(&camera.id, segment),
                fragment: self.settings.recorder.fragment,
                fragment_bytes: 8 << 20,
                audio: if fields.record_audio { AudioPolicy::Keep } else { AudioPolicy::Leave },
            },
            stall: self.settings.recorder.stall.to_std(),
            not_before,
            edits: camera.revision.unsigned_abs(),
        }
    }

    /// Waits until another process has taken the store over: this one must end then, for nothing it writes is stored.
    pub async fn fenced(&self) {
        let mut health = self.store.health();
        // An error means that the store was closed: that is an ordinary stop.
        if health.wait_for(|health| health.condition == Condition::Fenced).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Ends the streams. What was received is on disk afterwards; everything else goes on. Does nothing the second time.
    pub async fn stop_recording(self: &Arc<Self>) {
        self.watching.viewers.cut_all(Cut::Stopping);
        self.feed.stop();
        let kernel = self.clone();
        let stopped = tokio::task::spawn_blocking(move || {
            kernel.ingest.stop();
            kernel.writer.stop();
        });
        if stopped.await.is_err() {
            tracing::error!("streams did not end in order");
        }
    }

    /// Ends everything in order. What was received is on disk and in the store afterwards.
    pub async fn stop(self: &Arc<Self>) {
        self.stop_recording().await;
        self.webhooks.stop().await;
        self.close_restream().await;
        for note in self.live.take_notes() {
            self.supervisor.note(note);
        }
        for task in self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).drain(..) {
            task.abort();
        }
        let last = async {
            self.finish_motion().await;
            self.store_cursors().await;
        };
        if tokio::time::timeout(LAST_WORDS, last).await.is_err() {
            tracing::warn!("the store did not answer; consumers take some batches again");
        }
        self.persist_statuses();
        self.sum_up(self.reads.all(self.clock.wall()));
        self.sum_up(self.accounts.summed_up(true));
        self.sum_up(self.refusals.summed_up(self.clock.wall(), true));
        self.accounts.tick().await;
        if let Err(error) = self.indexer.flush().await {
            tracing::warn!(%error, "segments were not indexed; the next start does it");
        }
        match tokio::time::timeout(LAST_WORDS, self.journal.flush(&self.store)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "events were not stored; the next start does it"),
            Err(_elapsed) => tracing::warn!("the store did not answer; the next start stores the events"),
        }
        let now = self.clock.wall();
        let mark = PutSetting { key: STOPPED_AT.to_owned(), value: now.to_string(), now };
        if let Err(error) = self.store.write(mark).await {
            tracing::warn!(%error, "the stop was not noted");
        }
        self.store.close().await;
        drop(self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
    }
}

/// Up to half a segment, the same for a camera at every start, so that cameras do not rotate together.
fn stagger(camera: &CameraId, segment: Micros) -> Micros {
    let hash = spread(camera.as_str().as_bytes());
    Micros(segment.0 / 2 * i64::from(hash % 1000) / 1000)
}

/// FNV-1a; spreads ids, nothing more.
fn spread(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Where the store is.
pub fn database_url(settings: &Settings) -> DatabaseUrl {
    match &settings.database.target {
        DatabaseTarget::Sqlite(path) => DatabaseUrl::Sqlite(path.clone()),
        DatabaseTarget::Postgres(url) => DatabaseUrl::Postgres(url.clone()),
    }
}

pub(crate) async fn open_store(settings: &Settings, now: WallTime) -> Result<Store, StartFailure> {
    let url = database_url(settings);
    Ok(Store::open(StoreConfig { url, max_connections: settings.database.max_connections, now }).await?)
}
