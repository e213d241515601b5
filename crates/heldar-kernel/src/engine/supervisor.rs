//! The cameras' states, outages and gaps, as they happen.
//!
//! Owns: one status machine and one hole tracker per camera, fed by the streams' reports, by what reaches the disk and by
//! time. What they decide goes into the journal. Never: waits; decides anything that the machines can decide.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heldar_base::{
    CameraId, Cause, Clock, EndReason, Micros, NotWanted, PublicId, ReasonClass, StreamId, WallTime,
};
use heldar_disk::FaultKind;
use heldar_ingest::TransportUsed;
use heldar_media::TrackParams;
use heldar_recorder::{
    CameraState, Demand, HoleChange, HoleTracker, Now, StatusConfig, StatusEvent, StatusMachine, Trouble,
};
use heldar_store::{CameraStatus, FillState, Gap, Severity};
use serde_json::json;

use super::journal::{Entry, Journal, random_bits};
use super::live_index::FootageNote;
use super::stream::{AudioOutcome, StreamFigures, StreamReport};

/// What a camera's status shows.
#[derive(Clone, Debug)]
pub struct StatusView {
    /// State.
    pub state: CameraState,
    /// Since when.
    pub state_since: WallTime,
    /// Whether recording is wanted, or why not; `None` before the first evaluation.
    pub not_wanted: Option<NotWanted>,
    /// Why it does not work.
    pub trouble: Option<Trouble>,
    /// Session phase.
    pub session: SessionPhase,
    /// What the session carries RTP over.
    pub transport: Option<TransportUsed>,
    /// What becomes of the audio.
    pub audio: AudioOutcome,
    /// Since when the present session runs.
    pub connected_since: Option<WallTime>,
    /// When the next attempt is due.
    pub next_attempt_at: Option<WallTime>,
    /// Newest picture received.
    pub last_picture_at: Option<WallTime>,
    /// End of the newest footage on disk.
    pub last_segment_at: Option<WallTime>,
    /// Begin of the newest run.
    pub last_started_at: Option<WallTime>,
    /// Sessions lost over the camera's life.
    pub reconnect_count: i64,
    /// Segments over the camera's life.
    pub segments_written: i64,
    /// Pictures per second, measured.
    pub fps: Option<f64>,
    /// Kilobits per second, measured.
    pub bitrate_kbps: Option<f64>,
    /// Stream time minus host clock.
    pub clock_offset: Micros,
    /// Parameters of the pictures that arrive or last arrived.
    pub params: Option<Arc<TrackParams>>,
    /// When this was last changed.
    pub updated_at: WallTime,
}

/// What a stream's session is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionPhase {
    /// Nothing.
    Idle,
    /// An attempt runs.
    Connecting,
    /// A session runs.
    Streaming,
    /// Waiting for the next attempt.
    Backoff,
}

impl SessionPhase {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            SessionPhase::Idle => "idle",
            SessionPhase::Connecting => "connecting",
            SessionPhase::Streaming => "streaming",
            SessionPhase::Backoff => "backoff",
        }
    }
}

/// What a camera's watch starts from.
#[derive(Clone, Debug)]
pub struct WatchSeed {
    /// Which of its streams counts.
    pub stream: StreamId,
    /// Times that decide.
    pub config: StatusConfig,
    /// Counters and times of its stored status.
    pub stored: Option<CameraStatus>,
    /// Where its footage ends, if recording was wanted when the server went down, and what kept that away, from when on.
    pub resume: Option<(WallTime, (Cause, WallTime))>,
    /// A gap that was open.
    pub open_gap: Option<Gap>,
}

struct Watch {
    stream: StreamId,
    machine: StatusMachine,
    holes: HoleTracker,
    gap: Option<Gap>,
    view: StatusView,
    figures: Option<Arc<StreamFigures>>,
    measured: Option<(Now, u64, u64)>,
    /// Pictures received when that was last looked at.
    received: u64,
    persist_due: bool,
    /// Time in holes over the threshold, by cause.
    missing: BTreeMap<Cause, Micros>,
    /// Up to where the gap that is open has been counted.
    counted_to: Option<WallTime>,
}

/// All cameras' watches.
pub struct Supervisor {
    cameras: Mutex<BTreeMap<CameraId, Watch>>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    /// Longest time that footage is on its way to the disk while all is well.
    fragment: Micros,
}

impl Supervisor {
    /// No cameras yet.
    pub fn new(journal: Arc<Journal>, clock: impl Clock, fragment: Micros) -> Self {
        Supervisor { cameras: Mutex::default(), journal, clock: Arc::new(clock), fragment }
    }

    fn cameras(&self) -> MutexGuard<'_, BTreeMap<CameraId, Watch>> {
        self.cameras.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        Now { mono: self.clock.mono(), wall: self.clock.wall() }
    }

    /// Begins to watch a camera, or takes new times and another stream for it.
    pub fn watch(&self, camera: &CameraId, seed: WatchSeed) {
        let now = self.now();
        let mut cameras = self.cameras();
        if let Some(watch) = cameras.get_mut(camera) {
            watch.machine.configure(seed.config);
            watch.stream = seed.stream;
            return;
        }
        let machine = StatusMachine::new(seed.config, now);
        let stored = seed.stored;
        let view = StatusView {
            state: machine.state(),
            state_since: now.wall,
            not_wanted: None,
            trouble: None,
            session: SessionPhase::Idle,
            transport: None,
            audio: AudioOutcome::None,
            connected_since: None,
            next_attempt_at: None,
            last_picture_at: stored.as_ref().and_then(|s| s.last_picture_at),
            last_segment_at: stored.as_ref().and_then(|s| s.last_segment_at),
            last_started_at: stored.as_ref().and_then(|s| s.last_started_at),
            reconnect_count: stored.as_ref().map_or(0, |s| s.reconnect_count),
            segments_written: stored.as_ref().map_or(0, |s| s.segments_written),
            fps: None,
            bitrate_kbps: None,
            clock_offset: Micros::ZERO,
            params: None,
            updated_at: now.wall,
        };
        let open = seed.open_gap.as_ref().map(|gap| (gap.start, gap.cause));
        let holes = match seed.resume {
            Some((end, down)) => HoleTracker::resume(end, open, down, now.wall),
            None => HoleTracker::new(),
        };
        let watch = Watch {
            stream: seed.stream,
            machine,
            holes,
            gap: seed.open_gap,
            view,
            figures: None,
            measured: None,
            received: 0,
            persist_due: false,
            missing: BTreeMap::new(),
            // What lies before was counted by an earlier process.
            counted_to: open.map(|_| now.wall),
        };
        cameras.insert(camera.clone(), watch);
    }

    /// Ends the watch of a camera.
    pub fn forget(&self, camera: &CameraId) {
        self.cameras().remove(camera);
    }

    /// The figures of the stream that counts.
    pub fn figures(&self, camera: &CameraId, figures: Arc<StreamFigures>) {
        if let Some(watch) = self.cameras().get_mut(camera) {
            watch.figures = Some(figures);
        }
    }

    /// What a camera owes from `at` (now) on. The same instant goes into the history of what was wanted, so that both agree
    /// to the microsecond.
    pub fn wanted(&self, camera: &CameraId, at: WallTime, demand: Demand) {
        let now = Now { mono: self.clock.mono(), wall: at };
        let mut cameras = self.cameras();
        let Some(watch) = cameras.get_mut(camera) else { return };
        watch.machine.wanted(now, demand);
        let change = match demand {
            Demand::Wanted => {
                watch.holes.wanted(now.wall);
                // What is the matter already keeps the first picture away too.
                if let Some(trouble) = watch.machine.trouble() {
                    watch.holes.cause(now.wall, Cause::from(trouble.class));
                }
                None
            }
            Demand::Armed | Demand::Idle(_) => watch.holes.not_wanted(now.wall, watch.slack(self.fragment)),
        };
        self.hole(camera, watch, change, now);
        watch.persist_due = true;
        watch.refresh(now);
    }

    /// What a camera owed from `at` on, while `down` kept the server away.
    pub fn wanted_while_down(&self, camera: &CameraId, at: WallTime, demand: Demand, down: Cause) {
        let now = self.now();
        let mut cameras = self.cameras();
        let Some(watch) = cameras.get_mut(camera) else { return };
        let change = match demand {
            Demand::Wanted => {
                watch.holes.wanted_while_down(at, down, now.wall);
                None
            }
            Demand::Armed | Demand::Idle(_) => watch.holes.not_wanted(at, Micros::ZERO),
        };
        watch.machine.wanted(now, demand);
        self.hole(camera, watch, change, now);
        watch.refresh(now);
    }

    /// A stream's task reports.
    pub fn report(&self, stream: &StreamId, report: StreamReport) {
        let now = self.now();
        let mut cameras = self.cameras();
        let Some(watch) = cameras.get_mut(&stream.camera).filter(|w| w.stream == *stream) else { return };
        match report {
            StreamReport::Connecting => {
                watch.machine.connecting(now);
                watch.view.session = SessionPhase::Connecting;
                watch.view.next_attempt_at = None;
            }
            StreamReport::Streaming { transport, left_out, audio } => {
                // Once per episode: a camera that reconnects is no news.
                let is_new = audio == AudioOutcome::Unsupported && watch.view.audio != audio;
                for track in left_out.iter().filter(|t| t.media == "audio" && is_new) {
                    tracing::info!(%stream, encoding = track.encoding, "an audio track is not carried");
                    let payload = json!({
                        "media": track.media,
                        "encoding": track.encoding,
                        "reason_class": ReasonClass::Codec,
                    });
                    self.journal.raise(
                        Some(stream.camera.clone()),
                        "track_left_out",
                        Severity::Warning,
                        payload,
                    );
                }
                watch.machine.streaming(now);
                // Rates of a session do not count the time before it.
                watch.measured = None;
                let view = &mut watch.view;
                view.session = SessionPhase::Streaming;
                view.transport = Some(transport);
                view.audio = audio;
                view.connected_since = Some(now.wall);
                view.last_started_at = Some(now.wall);
                watch.holes.cause(now.wall, Cause::Starting);
            }
            StreamReport::Params(params) => watch.view.params = Some(params),
            StreamReport::Ended { error, reason, retry_in } => {
                if watch.view.session == SessionPhase::Streaming {
                    watch.view.reconnect_count += 1;
                    watch.persist_due = true;
                }
                watch.view.session = SessionPhase::Backoff;
                watch.view.connected_since = None;
                watch.view.next_attempt_at = retry_in.map(|delay| now.wall + delay);
                let cause = Cause::from(error.class);
                match reason {
                    EndReason::Clock => watch.holes.all_of_it(cause),
                    _ => watch.holes.cause(now.wall, cause),
                }
                let event = watch.machine.ended(now, Trouble { class: error.class, detail: error.detail });
                self.event(&stream.camera, event);
            }
            StreamReport::Reconfigured => {
                watch.holes.cause(now.wall, Cause::Reconfigured);
                watch.machine.connecting(now);
                watch.view.session = SessionPhase::Connecting;
                watch.view.connected_since = None;
            }
            StreamReport::Idle => {
                watch.machine.idle(now);
                watch.view.session = SessionPhase::Idle;
                watch.view.connected_since = None;
                watch.view.next_attempt_at = None;
            }
        }
        watch.refresh(now);
    }

    /// The disk reports.
    pub fn note(&self, note: FootageNote) {
        let now = self.now();
        let mut cameras = self.cameras();
        match note {
            FootageNote::Covered { stream, interval } => {
                let Some(watch) = cameras.get_mut(&stream.camera).filter(|w| w.stream == stream) else {
                    return;
                };
                let change = watch.holes.covered(interval);
                self.hole(&stream.camera, watch, change, now);
                // From here on silence of a running session is a stall. Word of the last footage of a session may come when
                // it is known already why that is over.
                if watch.view.session == SessionPhase::Streaming {
                    watch.holes.cause(now.wall, Cause::Stalled);
                }
                watch.view.last_segment_at = Some(interval.end);
                let event = watch.machine.written(now);
                self.event(&stream.camera, event);
                watch.refresh(now);
            }
            FootageNote::Sealed { stream } => {
                if let Some(watch) = cameras.get_mut(&stream.camera).filter(|w| w.stream == stream) {
                    watch.view.segments_written += 1;
                    watch.persist_due = true;
                }
            }
            FootageNote::Fault { stream, kind } => {
                let Some(watch) = cameras.get_mut(&stream.camera).filter(|w| w.stream == stream) else {
                    return;
                };
                self.storage_failed(&stream.camera, watch, kind, now);
            }
        }
    }

    fn storage_failed(&self, camera: &CameraId, watch: &mut Watch, kind: FaultKind, now: Now) {
        watch.holes.cause(now.wall, Cause::Disk);
        let trouble = Trouble { class: ReasonClass::Disk, detail: kind.describe().to_owned() };
        let event = watch.machine.storage_failed(now, trouble);
        self.event(camera, event);
        watch.refresh(now);
    }

    /// Lets time pass: debounces, thresholds, measured figures. Called about once a second.
    pub fn tick(&self) {
        let now = self.now();
        let mut cameras = self.cameras();
        for (camera, watch) in cameras.iter_mut() {
            let slack = watch.slack(self.fragment);
            let change = watch.holes.tick(now.wall, slack);
            self.hole(camera, watch, change, now);
            watch.count_missing(now.wall);
            if watch.receives() {
                let event = watch.machine.pictured(now);
                self.event(camera, event);
            }
            let event = watch.machine.tick(now);
            self.event(camera, event);
            watch.measure(now);
            watch.refresh(now);
        }
    }

    /// Statuses that changed in a way worth keeping since the last call.
    pub fn take_persistent(&self) -> Vec<CameraStatus> {
        let mut cameras = self.cameras();
        let due = cameras.iter_mut().filter_map(|(camera, watch)| {
            std::mem::take(&mut watch.persist_due).then(|| watch.stored(camera))
        });
        due.collect()
    }

    /// The status of a camera.
    pub fn view(&self, camera: &CameraId) -> Option<StatusView> {
        self.cameras().get(camera).map(|watch| watch.view.clone())
    }

    /// The status of every camera, by id.
    pub fn views(&self) -> Vec<(CameraId, StatusView)> {
        self.cameras().iter().map(|(camera, watch)| (camera.clone(), watch.view.clone())).collect()
    }

    /// Time that every camera has missed in holes over the threshold since the server started, by cause.
    pub fn missing(&self) -> Vec<(CameraId, Cause, Micros)> {
        let cameras = self.cameras();
        let all = cameras.iter().flat_map(|(camera, watch)| {
            watch.missing.iter().map(|(cause, time)| (camera.clone(), *cause, *time))
        });
        all.collect()
    }

    /// The stream of a camera that is supervised.
    pub fn stream(&self, camera: &CameraId) -> Option<StreamId> {
        self.cameras().get(camera).map(|watch| watch.stream.clone())
    }

    /// The gap that is open now.
    pub fn open_gap(&self, camera: &CameraId) -> Option<Gap> {
        self.cameras().get(camera).and_then(|watch| watch.gap.clone())
    }

    /// A hole that goes on and has no gap yet: its first instant and why.
    pub fn pending_hole(&self, camera: &CameraId) -> Option<(WallTime, Cause)> {
        let now = self.clock.wall();
        self.cameras().get(camera).and_then(|watch| watch.holes.pending(now))
    }

    fn event(&self, camera: &CameraId, event: Option<StatusEvent>) {
        let Some(event) = event else { return };
        let (event_type, severity, payload) = match event {
            StatusEvent::Offline { ran, trouble, since } => (
                "camera_offline",
                Severity::Warning,
                json!({ "ran_seconds": ran, "detail": trouble.detail, "reason_class": trouble.class, "since": since }),
            ),
            StatusEvent::Online { offline, since } => {
                ("camera_online", Severity::Info, json!({ "offline_seconds": offline, "since": since }))
            }
            StatusEvent::Error { trouble } => (
                "recorder_error",
                Severity::Warning,
                json!({ "reason": trouble.detail, "reason_class": trouble.class }),
            ),
            StatusEvent::Stale { threshold } => (
                "recorder_error",
                Severity::Warning,
                json!({ "reason": "stale", "threshold_seconds": threshold, "reason_class": ReasonClass::Stalled }),
            ),
        };
        self.journal.raise(Some(camera.clone()), event_type, severity, payload);
    }

    fn hole(&self, camera: &CameraId, watch: &mut Watch, change: Option<HoleChange>, now: Now) {
        match change {
            None => {}
            Some(HoleChange::Opened { start, cause }) => {
                let gap = new_gap(camera, start, now.wall, cause, watch.machine.trouble());
                watch.counted_to = Some(start);
                watch.gap = Some(gap.clone());
                self.journal.push(Entry::Gap(gap));
            }
            Some(HoleChange::Renamed { cause }) => {
                if let Some(gap) = &mut watch.gap {
                    gap.cause = cause;
                    gap.detail = watch.machine.trouble().map(|trouble| trouble.detail.clone());
                    self.journal.push(Entry::Gap(gap.clone()));
                }
            }
            Some(HoleChange::Withdrawn { .. }) => {
                watch.counted_to = None;
                if let Some(gap) = watch.gap.take() {
                    self.journal.push(Entry::RemoveGap(gap.id));
                }
            }
            Some(HoleChange::Closed { start, end, cause }) => {
                let known = watch.gap.take();
                let mut gap =
                    known.unwrap_or_else(|| new_gap(camera, start, end, cause, watch.machine.trouble()));
                gap.start = start;
                gap.end = end;
                gap.cause = cause;
                gap.open = false;
                let from = watch.counted_to.take().unwrap_or(start);
                *watch.missing.entry(cause).or_default() += (end - from).max(Micros::ZERO);
                let payload = json!({
                    "gap_seconds": (end - start).0 / 1_000_000,
                    "prev_end": start,
                    "next_start": end,
                    "cause": cause,
                    "gap_id": gap.id,
                });
                self.journal.push(Entry::Gap(gap));
                self.journal.raise(Some(camera.clone()), "recording_gap", Severity::Warning, payload);
            }
        }
    }
}

fn new_gap(
    camera: &CameraId,
    start: WallTime,
    end: WallTime,
    cause: Cause,
    trouble: Option<&Trouble>,
) -> Gap {
    Gap {
        id: PublicId::new(Gap::PREFIX, random_bits()),
        camera: camera.clone(),
        start,
        end: end.max(start),
        open: true,
        cause,
        detail: trouble.map(|t| t.detail.clone()),
        last_error: None,
        fill_state: FillState::Pending,
        fill_attempts: 0,
        last_attempt_at: None,
        filled_at: None,
        created_at: end.max(start),
    }
}

impl Watch {
    /// How long footage may be on its way before its absence is a hole: while pictures arrive, the longest picture and two
    /// fragments.
    fn slack(&self, fragment: Micros) -> Micros {
        if self.view.session != SessionPhase::Streaming {
            return Micros::ZERO;
        }
        let longest = self
            .figures
            .as_ref()
            .map_or(0, |f| f.longest_picture_us.load(std::sync::atomic::Ordering::Relaxed))
            .clamp(2_000_000, 120_000_000);
        Micros(longest) + fragment + fragment
    }

    /// Whether pictures have come since this was last asked.
    fn receives(&mut self) -> bool {
        let Some(figures) = &self.figures else { return false };
        let pictures = figures.pictures.load(std::sync::atomic::Ordering::Relaxed);
        std::mem::replace(&mut self.received, pictures) != pictures
    }

    fn measure(&mut self, now: Now) {
        use std::sync::atomic::Ordering::Relaxed;
        /// Rates are measured over this long.
        const SPAN: Micros = Micros::from_secs(5);
        let Some(figures) = &self.figures else { return };
        let newest = figures.newest_us.load(Relaxed);
        if newest > 0 {
            self.view.last_picture_at = self.view.last_picture_at.max(Some(WallTime(newest)));
        }
        self.view.clock_offset = Micros(figures.clock_offset_us.load(Relaxed));
        let (pictures, bytes) = (figures.pictures.load(Relaxed), figures.bytes.load(Relaxed));
        match self.measured {
            Some((since, p, b)) if now.mono - since.mono >= SPAN => {
                let seconds = (now.mono - since.mono).as_secs_f64();
                let running = self.view.session == SessionPhase::Streaming;
                self.view.fps = running.then(|| ((pictures - p) as f64 / seconds * 100.0).round() / 100.0);
                self.view.bitrate_kbps =
                    running.then(|| ((bytes - b) as f64 * 8.0 / 1000.0 / seconds).round());
                self.measured = Some((now, pictures, bytes));
            }
            Some(_) => {}
            None => self.measured = Some((now, pictures, bytes)),
        }
    }

    /// Counts the gap that is open up to now, under the cause that its row has.
    fn count_missing(&mut self, now: WallTime) {
        if let (Some(from), Some(gap)) = (self.counted_to, &self.gap)
            && now > from
        {
            *self.missing.entry(gap.cause).or_default() += now - from;
            self.counted_to = Some(now);
        }
    }

    fn refresh(&mut self, now: Now) {
        let before = self.view.state;
        self.view.state = self.machine.state();
        self.view.state_since = self.machine.state_since();
        self.view.not_wanted = self.machine.not_wanted();
        self.view.trouble = self.machine.trouble().cloned();
        self.view.updated_at = now.wall;
        if before != self.view.state {
            self.persist_due = true;
        }
    }

    fn stored(&self, camera: &CameraId) -> CameraStatus {
        let view = &self.view;
        CameraStatus {
            camera: camera.clone(),
            state: match view.state {
                CameraState::Unknown => heldar_store::CameraState::Unknown,
                CameraState::Disabled => heldar_store::CameraState::Disabled,
                CameraState::Connecting => heldar_store::CameraState::Connecting,
                CameraState::Recording => heldar_store::CameraState::Recording,
                CameraState::Offline => heldar_store::CameraState::Offline,
                CameraState::Error => heldar_store::CameraState::Error,
            },
            state_since: view.state_since,
            not_wanted_reason: view.not_wanted,
            reason_class: view.trouble.as_ref().map(|t| t.class),
            last_error: view.trouble.as_ref().map(|t| t.detail.clone()),
            last_segment_at: view.last_segment_at,
            last_started_at: view.last_started_at,
            last_picture_at: view.last_picture_at,
            reconnect_count: view.reconnect_count,
            segments_written: view.segments_written,
            updated_at: view.updated_at,
        }
    }
}
