//! The task of one stream: session, bus, recorder, muxer, in one place on the ingest thread.
//!
//! Owns: when to connect and to try again, and the order in which a unit visits the bus and the recorder. Never: waits for
//! a disk, a store or a viewer; everything it hands on goes into bounded queues or counters.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heldar_base::{Cause, Clock as _, EndReason, Interval, Micros, ReasonClass, StreamId, WallTime};
use heldar_disk::{Muxer, NotTakenWhy, SegmentWriter, Tag};
use heldar_ingest::{
    AddressGuard, Assembled, Assembler, Item, LeftOut, RtspSession, SessionError, Source, SystemClock,
    TransportUsed, connect,
};
use heldar_live::Bus;
use heldar_media::{AccessUnit, TrackKind, TrackParams};
use heldar_recorder::{AudioPolicy, Backoff, Held, Order, PreRolls, Recorder, RecorderConfig, Take, Want};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::gather::{Gather, Unsettled};
use super::live_index::LiveIndex;

/// How long a session counts as new after its first picture.
const SETTLED: Duration = Duration::from_secs(2);
/// How often the patience for a session's first picture is doubled at most.
const LONGER_WAITS: u32 = 3;

/// While more than this waits for the disk, what is held in memory is not recorded faster than it is written.
const QUEUED_BYTES: u64 = 16 << 20;
/// Rest between looks at the disk then.
const CATCH_UP: Duration = Duration::from_millis(50);

/// What is held of all streams before something happens.
pub type Rolls = Arc<Mutex<PreRolls<StreamId>>>;

/// What a stream's task is told.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSettings {
    /// Where the stream comes from, or why that is not known.
    pub source: Result<Arc<Source>, SessionError>,
    /// Whether it is to be recorded, now or soon.
    pub session: bool,
    /// What of it is recorded.
    pub take: Option<Take>,
    /// How much of it is held in memory, should it have to be recorded.
    pub keep: Option<Micros>,
    /// Whether somebody watches, or the stream is kept ready for that.
    pub live: bool,
    /// Whether the camera is switched on; without that nothing runs, whoever watches.
    pub enabled: bool,
    /// How it is recorded.
    pub recorder: RecorderConfig,
    /// Time without a picture that ends a session.
    pub stall: Duration,
    /// Nothing captured before this instant is recorded.
    pub not_before: heldar_base::WallTime,
    /// Counts edits after which an attempt is due at once.
    pub edits: u64,
}

impl StreamSettings {
    fn want(&self) -> Want {
        self.take.map_or(Want::Nothing, |take| Want::Until(take.until))
    }

    /// Whether a session is needed.
    pub fn run(&self) -> bool {
        self.enabled && (self.session || self.live)
    }
}

/// What a stream's task tells.
#[derive(Clone, Debug)]
pub enum StreamReport {
    /// An attempt begins.
    Connecting,
    /// A session runs.
    Streaming {
        /// What it carries RTP over.
        transport: TransportUsed,
        /// Tracks that are not carried.
        left_out: Vec<LeftOut>,
        /// What becomes of the audio.
        audio: AudioOutcome,
    },
    /// Parameters of the pictures that arrive.
    Params(Arc<TrackParams>),
    /// A session ended or was not obtained.
    Ended {
        /// Why.
        error: SessionError,
        /// How the run's last segment ended.
        reason: EndReason,
        /// When the next attempt is due.
        retry_in: Option<Micros>,
    },
    /// An edit ended the session; the next one begins at once.
    Reconfigured,
    /// No session is needed.
    Idle,
}

/// What becomes of a camera's audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioOutcome {
    /// There is none, or it is not wanted.
    None,
    /// Carried as it is.
    Copied,
    /// Converted to Opus.
    Converted,
    /// There is one that cannot be carried.
    Unsupported,
}

impl AudioOutcome {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            AudioOutcome::None => "none",
            AudioOutcome::Copied => "copied",
            AudioOutcome::Converted => "converted",
            AudioOutcome::Unsupported => "unsupported",
        }
    }
}

/// Figures of a stream that others read at any time.
#[derive(Debug, Default)]
pub struct StreamFigures {
    /// Pictures received.
    pub pictures: AtomicU64,
    /// Payload bytes received.
    pub bytes: AtomicU64,
    /// RTP packets lost.
    pub lost: AtomicU64,
    /// Packets that made no sense.
    pub damaged: AtomicU64,
    /// Capture time of the newest picture, µs since 1970; 0 before the first.
    pub newest_us: AtomicI64,
    /// Capture time of the first picture of the newest session, µs since 1970; 0 before there is one.
    pub session_us: AtomicI64,
    /// Stream time minus host clock, µs.
    pub clock_offset_us: AtomicI64,
    /// Longest time that a picture may last, µs.
    pub longest_picture_us: AtomicI64,
}

/// What every stream's task shares.
#[derive(Clone)]
pub struct Shared {
    /// The host's clocks.
    pub clock: SystemClock,
    /// The writer of the recordings folder.
    pub writer: Arc<SegmentWriter<Tag>>,
    /// What is on disk.
    pub live: Arc<LiveIndex>,
    /// Numbers files.
    pub keys: Arc<AtomicU64>,
    /// What is held in memory.
    pub rolls: Rolls,
    /// When the thread rests.
    pub gather: Arc<Gather>,
    /// Which addresses cameras may have.
    pub guard: Arc<dyn AddressGuard>,
    /// Where reports go.
    pub reports: mpsc::UnboundedSender<(StreamId, StreamReport)>,
}

/// The task of one stream.
pub struct StreamTask {
    stream: StreamId,
    settings: watch::Receiver<StreamSettings>,
    shared: Shared,
    bus: Bus,
    figures: Arc<StreamFigures>,
    recorder: Recorder,
    muxer: Muxer,
    backoff: Backoff,
    group: Arc<retina::client::SessionGroup>,
    orders: Vec<Order>,
    /// Whether the stream is held in memory.
    is_kept: bool,
    /// What was recorded last, without a break; while it goes on, without an end.
    recorded: Option<Interval>,
    /// Sessions in a row that have not brought a picture.
    waited_in_vain: u32,
}

/// What a session has shown so far.
struct Shown {
    params: Option<Arc<TrackParams>>,
    /// When a picture came last, or when the session began.
    last_picture: Instant,
    /// As long as the session is new, and when its first picture came.
    unsettled: Option<(Unsettled, Option<Instant>)>,
}

impl Shown {
    fn picture(&mut self) {
        self.last_picture = Instant::now();
        match &mut self.unsettled {
            Some((_, Some(first))) if first.elapsed() > SETTLED => self.unsettled = None,
            Some((_, first @ None)) => *first = Some(self.last_picture),
            _ => {}
        }
    }
}

/// Why a session is over.
struct RunEnd {
    error: SessionError,
    reason: EndReason,
    cause: Option<Cause>,
}

impl RunEnd {
    fn lost(error: SessionError) -> Self {
        let cause = Some(Cause::from(error.class));
        RunEnd { error, reason: EndReason::SessionLost, cause }
    }

    fn ordered(reason: EndReason, cause: Cause) -> Self {
        let error = SessionError::new(ReasonClass::Closed, "ended by the server");
        RunEnd { error, reason, cause: Some(cause) }
    }
}

impl StreamTask {
    /// A task for a stream.
    pub fn new(
        stream: StreamId,
        settings: watch::Receiver<StreamSettings>,
        shared: Shared,
        bus: Bus,
        figures: Arc<StreamFigures>,
    ) -> Self {
        let mut recorder = Recorder::new(settings.borrow().recorder);
        recorder.not_before(settings.borrow().not_before);
        let muxer = Muxer::new(stream.clone(), shared.keys.clone());
        let group = Arc::new(retina::client::SessionGroup::default());
        StreamTask {
            stream,
            settings,
            shared,
            bus,
            figures,
            recorder,
            muxer,
            backoff: Backoff::default(),
            group,
            orders: Vec::new(),
            is_kept: false,
            recorded: None,
            waited_in_vain: 0,
        }
    }

    /// Runs until the settings' sender is gone.
    pub async fn run(mut self) {
        self.rolls().clear(&self.stream);
        self.sessions().await;
        let mut rolls = self.rolls();
        rolls.clear(&self.stream);
        rolls.keep(&self.stream, None);
    }

    async fn sessions(&mut self) {
        loop {
            let settings = self.settings.borrow_and_update().clone();
            if !settings.run() {
                self.report(StreamReport::Idle);
                if self.settings.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let began = Instant::now();
            let end = self.session(&settings).await;
            let ran = Micros::from_std(began.elapsed());
            self.catch_up(u64::MAX);
            self.rolls().clear(&self.stream);
            self.recorded = None;
            self.recorder.run_ended(end.reason, end.cause, &mut self.orders);
            self.carry_out();
            self.bus.interrupt();
            if self.settings.has_changed().is_err() {
                return;
            }
            if matches!(end.reason, EndReason::Reconfigured | EndReason::NotWanted) {
                if end.reason == EndReason::Reconfigured {
                    self.report(StreamReport::Reconfigured);
                }
                self.backoff.reset();
                continue;
            }
            if !self.pause(&settings, end, ran).await {
                return;
            }
        }
    }

    /// Waits for the next attempt; false when the task is to end.
    async fn pause(&mut self, settings: &StreamSettings, end: RunEnd, ran: Micros) -> bool {
        let mut jitter = [0u8; 1];
        if getrandom::fill(&mut jitter).is_err() {
            tracing::debug!("no randomness for jitter");
        }
        // Without a source nothing is gained by another attempt: only an edit helps.
        let delay = settings.source.is_ok().then(|| self.backoff.after(ran, end.error.class, jitter[0]));
        let retry_in_ms = delay.map(|delay| delay.0 / 1000);
        tracing::info!(stream = %self.stream, error = %end.error, retry_in_ms, "session ended");
        self.report(StreamReport::Ended { error: end.error, reason: end.reason, retry_in: delay });
        let rest = async {
            match delay {
                Some(delay) => sleep(delay.to_std()).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(rest);
        loop {
            tokio::select! {
                () = &mut rest => return true,
                changed = self.settings.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                    let now = self.settings.borrow();
                    if now.edits != settings.edits || now.source != settings.source || now.run() != settings.run() {
                        self.backoff.reset();
                        return true;
                    }
                }
            }
        }
    }

    /// One attempt and, if it succeeds, one session.
    async fn session(&mut self, settings: &StreamSettings) -> RunEnd {
        let source = match &settings.source {
            Ok(source) => source.clone(),
            Err(error) => return RunEnd::lost(error.clone()),
        };
        self.report(StreamReport::Connecting);
        let unsettled = self.shared.gather.unsettled();
        let guard = self.shared.guard.clone();
        let group = self.group.clone();
        let attempt = connect(&source, &group, &*guard);
        let session = tokio::select! {
            outcome = attempt => match outcome {
                Ok(session) => session,
                Err(error) => return RunEnd::lost(error),
            },
            end = changed_away(self.settings.clone(), settings.clone()) => return end,
        };
        self.stream(session, settings, unsettled).await
    }

    async fn stream(
        &mut self,
        mut session: RtspSession,
        settings: &StreamSettings,
        unsettled: Unsettled,
    ) -> RunEnd {
        let mut assembler = match Assembler::new(&session, self.shared.clock, self.recorder.floor()) {
            Ok(assembler) => assembler,
            Err(error) => return RunEnd::lost(error),
        };
        let audio = assembler.audio_params();
        let outcome = match (settings.recorder.audio, &session.audio_track) {
            (AudioPolicy::Leave, _) => AudioOutcome::None,
            (AudioPolicy::Keep, None) if session.left_out.iter().any(|t| t.media == "audio") => {
                AudioOutcome::Unsupported
            }
            (AudioPolicy::Keep, None) => AudioOutcome::None,
            (AudioPolicy::Keep, Some(_)) if audio.is_none() => AudioOutcome::Unsupported,
            (AudioPolicy::Keep, Some(track)) if track.source == heldar_ingest::AudioSource::Aac => {
                AudioOutcome::Copied
            }
            (AudioPolicy::Keep, Some(_)) => AudioOutcome::Converted,
        };
        self.figures.session_us.store(0, Ordering::Relaxed);
        self.report(StreamReport::Streaming {
            transport: session.transport,
            left_out: session.left_out.clone(),
            audio: outcome,
        });
        self.obey(settings);
        self.bus.begin(audio.clone(), assembler.silence(), assembler.law());
        self.recorder.run_started(audio, assembler.silence());
        let unsettled = Some((unsettled, None));
        let mut shown = Shown { params: None, last_picture: Instant::now(), unsettled };
        let end = self.follow(&mut session, &mut assembler, settings, &mut shown).await;
        self.take(assembler.finish(), &mut shown);
        end
    }

    /// Takes what a session yields until it is over.
    async fn follow(
        &mut self,
        session: &mut RtspSession,
        assembler: &mut Assembler,
        settings: &StreamSettings,
        shown: &mut Shown,
    ) -> RunEnd {
        let mut current = settings.clone();
        // Some cameras send nothing before their next sync sample: whoever was too impatient waits longer the next time.
        let mut patience = current.stall * (1 << self.waited_in_vain.min(LONGER_WAITS));
        self.waited_in_vain += 1;
        let stall = sleep(patience);
        tokio::pin!(stall);
        loop {
            tokio::select! {
                biased;
                item = session.next() => {
                    let item = match item {
                        Ok(item) => item,
                        Err(error) => return RunEnd::lost(error),
                    };
                    // Also one that cannot be recorded yet: whether the camera sends is what counts here.
                    if matches!(item, Item::Video { .. }) {
                        shown.picture();
                        if std::mem::take(&mut self.waited_in_vain) > 0 {
                            patience = current.stall;
                            stall.as_mut().reset(shown.last_picture + patience);
                        }
                    }
                    match self.assemble(assembler, item) {
                        Ok(units) => self.take(units, shown),
                        Err(end) => return end,
                    }
                }
                () = &mut stall => {
                    let due = shown.last_picture + patience;
                    if due <= Instant::now() {
                        let text = format!("no picture for {} s", patience.as_secs());
                        return RunEnd::lost(SessionError::new(ReasonClass::Stalled, text));
                    }
                    stall.as_mut().reset(due);
                }
                () = sleep(CATCH_UP), if self.lags_behind() => self.catch_up(QUEUED_BYTES),
                changed = self.settings.changed() => {
                    if changed.is_err() {
                        return RunEnd::ordered(EndReason::ServerStopped, Cause::ServerStopped);
                    }
                    let now = self.settings.borrow_and_update().clone();
                    if let Some(end) = leaves(&current, &now) {
                        return end;
                    }
                    self.obey(&now);
                    self.catch_up(QUEUED_BYTES);
                    current = now;
                }
            }
        }
    }

    fn take(&mut self, units: Vec<AccessUnit>, shown: &mut Shown) {
        for unit in units {
            let known = shown.params.as_ref().is_some_and(|params| Arc::ptr_eq(params, &unit.params));
            if unit.track == TrackKind::Video && !known {
                shown.params = Some(unit.params.clone());
                self.report(StreamReport::Params(unit.params.clone()));
            }
            self.hand_on(unit);
        }
    }

    fn assemble(&self, assembler: &mut Assembler, item: Item) -> Result<Vec<AccessUnit>, RunEnd> {
        let figures = &self.figures;
        match &item {
            Item::Video { lost, .. } | Item::Audio { lost, .. } if *lost > 0 => {
                figures.lost.fetch_add(u64::from(*lost), Ordering::Relaxed);
            }
            Item::Damaged => {
                figures.damaged.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        match assembler.push(item, self.shared.clock.wall()) {
            Assembled::Units(units) => {
                figures.clock_offset_us.store(assembler.clock_offset().0, Ordering::Relaxed);
                Ok(units)
            }
            Assembled::ClockStepped => Err(RunEnd {
                error: SessionError::new(ReasonClass::Unknown, "clock"),
                reason: EndReason::Clock,
                cause: Some(Cause::Unknown),
            }),
        }
    }

    /// Bus first, then recorder: a viewer sees a picture before it is on disk.
    fn hand_on(&mut self, unit: AccessUnit) {
        let figures = &self.figures;
        figures.bytes.fetch_add(unit.payload.len() as u64, Ordering::Relaxed);
        if unit.track == TrackKind::Video {
            figures.pictures.fetch_add(1, Ordering::Relaxed);
            figures.newest_us.fetch_max(unit.captured_at.0, Ordering::Relaxed);
            if figures.session_us.load(Ordering::Relaxed) == 0 {
                figures.session_us.store(unit.captured_at.0, Ordering::Relaxed);
            }
        }
        let unit = Arc::new(unit);
        if self.is_kept {
            let mut rolls = self.rolls();
            let is_read = rolls.is_read(&self.stream);
            rolls.push(&self.stream, &unit);
            drop(rolls);
            if is_read {
                self.catch_up(QUEUED_BYTES);
            } else {
                self.record(&unit);
            }
        } else {
            self.record(&unit);
        }
        let longest = self.recorder.longest_picture().0;
        self.figures.longest_picture_us.store(longest, Ordering::Relaxed);
        self.bus.publish(unit);
        self.carry_out();
    }

    fn rolls(&self) -> MutexGuard<'_, PreRolls<StreamId>> {
        self.shared.rolls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is to be recorded from now on; what is held of it is handed out by [`StreamTask::catch_up`].
    fn obey(&mut self, settings: &StreamSettings) {
        self.recorder.configure(settings.recorder);
        self.recorder.set_wanted(settings.want());
        let (is_recording, floor) = (self.recorder.is_recording(), self.recorder.floor());
        let mut rolls = self.rolls();
        if let Some(take) = settings.take
            && take.from < take.until
            && !is_recording
            && !rolls.is_read(&self.stream)
        {
            rolls.start(&self.stream, take.from, floor);
        }
        rolls.keep(&self.stream, settings.keep);
        let is_read = rolls.is_read(&self.stream);
        drop(rolls);
        self.is_kept = settings.keep.is_some() || is_read;
    }

    fn lags_behind(&self) -> bool {
        self.is_kept && self.rolls().is_read(&self.stream)
    }

    /// Records what is held in memory, as long as no more than so much waits for the disk.
    fn catch_up(&mut self, queued_bytes: u64) {
        while self.is_kept && self.shared.writer.stats().queued_bytes.load(Ordering::Relaxed) < queued_bytes {
            let held = self.rolls().next(&self.stream);
            match held {
                Some(Held::Unit(unit)) => self.record(&unit),
                Some(Held::Torn) => {
                    tracing::warn!(stream = %self.stream, "memory for what came before is short: footage is lost");
                    self.recorder.torn(&mut self.orders);
                }
                None => return,
            }
            self.carry_out();
        }
    }

    fn record(&mut self, unit: &AccessUnit) {
        let was = self.recorder.is_recording();
        self.recorder.push(unit, &mut self.orders);
        let is = self.recorder.is_recording();
        if was == is || !self.is_kept {
            return;
        }
        let before = self.recorded.take();
        let start = match before {
            Some(before) if before.end >= unit.captured_at => before.start,
            _ => unit.captured_at,
        };
        let end = if is { WallTime::FAR_FUTURE } else { self.recorder.floor().max(start) };
        let footage = Interval::new(start, end);
        self.recorded = Some(footage);
        self.rolls().recorded(&self.stream, footage);
    }

    fn carry_out(&mut self) {
        let Shared { live, writer, .. } = &self.shared;
        carry_out(&mut self.recorder, &mut self.muxer, &mut self.orders, live, writer);
    }

    fn report(&self, report: StreamReport) {
        if self.shared.reports.send((self.stream.clone(), report)).is_err() {
            tracing::debug!(stream = %self.stream, "nobody listens to reports");
        }
    }
}

/// Hands the recorder's orders to the writer, and the writer's faults to the recorder.
pub fn carry_out(
    recorder: &mut Recorder,
    muxer: &mut Muxer,
    orders: &mut Vec<Order>,
    live: &LiveIndex,
    writer: &SegmentWriter<Tag>,
) {
    for (key, kind) in live.take_faults(|key| muxer.serial_of(key).is_some()) {
        if let Some(serial) = muxer.serial_of(key) {
            tracing::warn!(stream = %muxer.stream(), fault = kind.describe(), "a segment ended early");
            live.never_begun(key, muxer.stream(), kind);
            recorder.failed(serial);
            muxer.forget(serial, writer);
        }
    }
    while !orders.is_empty() {
        for order in std::mem::take(orders) {
            let Err(not_taken) = muxer.submit(order, writer) else { continue };
            match &not_taken.why {
                NotTakenWhy::QueueFull => {
                    tracing::warn!(stream = %muxer.stream(), "the recording storage is too slow: dropping to the next sync sample");
                }
                NotTakenWhy::Layout(error) => {
                    tracing::warn!(stream = %muxer.stream(), %error, "a fragment cannot be stored");
                }
            }
            recorder.refused(not_taken.serial, not_taken.end, orders);
        }
    }
}

/// What a change of settings means for a running session: `None` when it goes on.
fn leaves(before: &StreamSettings, now: &StreamSettings) -> Option<RunEnd> {
    if !now.run() {
        return Some(RunEnd::ordered(EndReason::NotWanted, Cause::Reconfigured));
    }
    if now.source != before.source {
        return Some(RunEnd::ordered(EndReason::Reconfigured, Cause::Reconfigured));
    }
    None
}

/// Waits until the settings change in a way that ends an attempt.
async fn changed_away(mut settings: watch::Receiver<StreamSettings>, before: StreamSettings) -> RunEnd {
    loop {
        if settings.changed().await.is_err() {
            return RunEnd::ordered(EndReason::ServerStopped, Cause::ServerStopped);
        }
        let end = leaves(&before, &settings.borrow_and_update());
        if let Some(end) = end {
            return end;
        }
    }
}
