//! The life of a recorder: processes that follow one another, each ended by a stop, a kill or a power cut.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use heldar_base::{
    CameraId, Cause, Clock as _, EndReason, Micros, MonoTime, Scope, SimClock, StreamId, StreamKind, WallTime,
};
use heldar_config::RetentionSettings;
use heldar_disk::{Muxer, Outage};
use heldar_ingest::{SessionError, TransportUsed};
use heldar_kernel::engine::stream::{AudioOutcome, StreamReport};
use heldar_kernel::retention::leases::Lease;
use heldar_recorder::{AudioPolicy, RecorderConfig};
use heldar_store::op::{AppendWanted, CreateCamera, EnsureStream};
use heldar_store::{CameraFields, DeviceTls, RecordMode, RtspTransport};
use heldar_testkit::sim::{
    CameraScript, Crash, Delivery, Dice, DiskCounts, Fault, Sent, SimCamera, SimDisk, Survival, Trace,
};
use serde_json::json;

use crate::checks;
use crate::engine::{Engine, Ingredients, SYNC_INTERVAL};
use crate::footage::{Fate, Footage};
use crate::store::{Commit, Copy, SimStore};
use crate::stream::{SimStream, Tools};

/// One step of time.
const TICK: Micros = Micros::from_millis(20);
/// Processes of one life.
const PROCESSES: u64 = 4;

/// What has happened in a life, so that a test knows that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) fragments: u64,
    pub(crate) kills: u64,
    pub(crate) power_cuts: u64,
    pub(crate) stops: u64,
    pub(crate) crashed_recoveries: u64,
    pub(crate) lost_commits: u64,
    pub(crate) deleted: u64,
    pub(crate) leased: u64,
    pub(crate) refused: u64,
    pub(crate) holes: u64,
    pub(crate) gaps: u64,
    pub(crate) disk: DiskCounts,
}

impl Seen {
    pub(crate) fn add(&mut self, other: &Seen) {
        self.fragments += other.fragments;
        self.kills += other.kills;
        self.power_cuts += other.power_cuts;
        self.stops += other.stops;
        self.crashed_recoveries += other.crashed_recoveries;
        self.lost_commits += other.lost_commits;
        self.deleted += other.deleted;
        self.leased += other.leased;
        self.refused += other.refused;
        self.holes += other.holes;
        self.gaps += other.gaps;
        self.disk.faults += other.disk.faults;
        self.disk.at_stake += other.disk.at_stake;
        self.disk.short_reads += other.disk.short_reads;
    }

    /// A simulation in which something never happens shows nothing about it.
    pub(crate) fn assert_everything_happened(&self) {
        let counts = [
            ("fragments", self.fragments),
            ("kills", self.kills),
            ("power cuts", self.power_cuts),
            ("orderly stops", self.stops),
            ("crashes during recovery", self.crashed_recoveries),
            ("commits undone by power cuts", self.lost_commits),
            ("deleted segments", self.deleted),
            ("leased segments", self.leased),
            ("refused fragments", self.refused),
            ("holes inside segments", self.holes),
            ("gap rows", self.gaps),
            ("failed operations of the disk", self.disk.faults),
            ("unsynced operations at power cuts", self.disk.at_stake),
            ("short reads", self.disk.short_reads),
        ];
        let never: Vec<&str> = counts.iter().filter(|(_, n)| *n == 0).map(|(what, _)| *what).collect();
        assert!(never.is_empty(), "never happened: {never:?} ({self:?})");
    }
}

/// Segments that a job reads.
struct Reading {
    until: MonoTime,
    lease: Lease,
}

/// A recorder, from its first start on.
pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) trace: Trace,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) disk: SimDisk,
    pub(crate) footage: Arc<Mutex<Footage>>,
    pub(crate) payloads: BTreeMap<Sent, Bytes>,
    pub(crate) seen: Seen,
    pub(crate) since: WallTime,
    limits: RetentionSettings,
    queue_bytes: u64,
    folder: tempfile::TempDir,
    process: u64,
    /// Until when the disk has had no faults and no pauses, it could do everything in time.
    pub(crate) calm_since: MonoTime,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Stop,
    Kill,
    Power,
}

/// What goes on in one process besides recording.
struct Doings {
    fault_until: MonoTime,
    pause_until: MonoTime,
    readings: Vec<Reading>,
}

impl World {
    /// Lives a life; panics where an invariant breaks.
    pub(crate) async fn live(seed: u64, trace: Trace) -> Seen {
        let mut dice = Dice::new(seed);
        let start = WallTime(1_798_000_000_000_000 + dice.between(0, 86_400_000_000));
        let clock = Arc::new(SimClock::new(start));
        let room = 1_000_000 + dice.below(8_000_000);
        let disk = SimDisk::new(dice.branch(1), trace.clone(), room);
        let mut world = World {
            limits: RetentionSettings {
                interval: Micros::from_secs(5),
                max_recordings_bytes: if dice.once_in(2) { room / 2 } else { u64::MAX },
                min_free_bytes: if dice.once_in(2) { room / 4 } else { 0 },
            },
            queue_bytes: if dice.once_in(2) { 40_000 } else { 1_000_000 },
            folder: tempfile::tempdir().unwrap(),
            footage: Arc::default(),
            payloads: BTreeMap::new(),
            seen: Seen::default(),
            since: start,
            process: 0,
            calm_since: MonoTime(0),
            dice,
            trace,
            clock,
            disk,
        };
        Box::pin(world.processes()).await;
        world.seen.disk = world.disk.counts();
        world.seen.fragments = world.footage.lock().unwrap().planned.len() as u64;
        world.seen
    }

    async fn processes(&mut self) {
        let mut streams = self.streams();
        let mut store = Some(self.first_store(&streams).await);
        let mut down = Cause::Starting;
        for number in 0..PROCESSES {
            let opened = store.take().unwrap();
            let mut engine = Engine::start(opened, &self.ingredients()).await;
            let ending = if number == 0 { Ending::Power } else { self.ending() };
            Box::pin(self.process(&mut engine, &mut streams, down, ending)).await;
            self.footage.lock().unwrap().process_ended();
            down = if ending == Ending::Stop { Cause::ServerStopped } else { Cause::ServerCrashed };
            let (left, powered) = self.after(engine, ending).await;
            self.clock.advance(Micros(self.dice.between(1_000_000, 20_000_000)));
            let reopened = Box::pin(self.reopen(left, ending)).await;
            let now = self.clock.mono();
            checks::after_start(self, &reopened, &streams, powered).await;
            streams = streams
                .into_iter()
                .map(|mut stream| {
                    stream.camera.hang_up(now, Micros(self.dice.between(0, 1_000_000)));
                    let muxer = Muxer::new(stream.id.clone(), Arc::default());
                    stream.restarted(muxer)
                })
                .collect();
            store = Some(reopened);
        }
    }

    fn ending(&mut self) -> Ending {
        self.dice.pick(&[Ending::Stop, Ending::Kill, Ending::Kill, Ending::Power, Ending::Power]).unwrap()
    }

    fn streams(&mut self) -> Vec<SimStream> {
        let count = self.dice.between(1, 3);
        let ids = [("gate", StreamKind::Main), ("gate", StreamKind::Sub), ("yard", StreamKind::Main)];
        let mut streams = Vec::new();
        for (number, (camera, kind)) in ids.into_iter().take(usize::try_from(count).unwrap()).enumerate() {
            let id = StreamId::new(CameraId::new(camera).unwrap(), kind);
            let script = CameraScript::roll(&mut self.dice);
            self.trace.step(format_args!("{id}: {script:?}"));
            let number = u16::try_from(number).unwrap();
            let camera = SimCamera::new(number, script, self.dice.branch(10 + u64::from(number)));
            let config = RecorderConfig {
                segment: Micros::from_secs(self.dice.between(3, 9)),
                stagger: Micros::from_millis(self.dice.between(0, 2000)),
                fragment: crate::engine::FRAGMENT,
                fragment_bytes: 64 << 10,
                audio: AudioPolicy::Keep,
            };
            let muxer = Muxer::new(id.clone(), Arc::default());
            streams.push(SimStream::new(id, camera, config, muxer));
        }
        streams
    }

    async fn first_store(&mut self, streams: &[SimStream]) -> SimStore {
        let mut store = SimStore::open(&self.process_folder(), None, self.since).await;
        let cameras: BTreeSet<&CameraId> = streams.iter().map(|stream| &stream.id.camera).collect();
        for id in cameras {
            let mut fields = fields();
            if self.dice.once_in(2) {
                fields.storage_quota_bytes = Some(self.dice.between(200_000, 3_000_000));
            }
            store.store.write(CreateCamera { id: id.clone(), fields, now: self.since }).await.unwrap();
            let wanted = AppendWanted { camera: id.clone(), at: self.since, reason: None };
            store.store.write(wanted).await.unwrap();
        }
        for stream in streams {
            store.store.write(EnsureStream { stream: stream.id.clone() }).await.unwrap();
        }
        store.committed(Commit::Full);
        store
    }

    fn process_folder(&self) -> PathBuf {
        self.folder.path().join(self.process.to_string())
    }

    fn ingredients(&self) -> Ingredients<'_> {
        // The path lives as long as the world.
        Ingredients {
            folder: self.folder.path(),
            disk: &self.disk,
            clock: &self.clock,
            trace: &self.trace,
            footage: &self.footage,
            limits: &self.limits,
            queue_bytes: self.queue_bytes,
        }
    }

    /// One process up to its end.
    async fn process(&mut self, engine: &mut Engine, streams: &mut [SimStream], down: Cause, ending: Ending) {
        for stream in streams.iter_mut() {
            if stream.id.kind == StreamKind::Main {
                engine.watch(&stream.id.camera, &stream.id, down).await;
            }
            stream.muxer = Muxer::new(stream.id.clone(), engine.keys.clone());
            stream.recorder.not_before(engine.newest_end(&stream.id).await);
        }
        engine.journal().await;
        engine.store.committed(Commit::Full);
        self.calm_since = self.clock.mono();
        let now = self.clock.mono();
        let mut doings = Doings { fault_until: now, pause_until: now, readings: Vec::new() };
        let end = now + Micros(self.dice.between(5_000_000, 35_000_000));
        while self.clock.mono() < end {
            self.tick(engine, streams, &mut doings).await;
        }
        self.trace.step(format_args!("the end comes: {ending:?}"));
        if ending == Ending::Stop {
            self.stop(engine, streams).await;
        } else {
            self.disk.end_after(self.dice.below(10), engine.store.end());
            let latest = self.clock.mono() + Micros::from_secs(2);
            while !self.disk.is_dead() && self.clock.mono() < latest {
                self.tick(engine, streams, &mut doings).await;
            }
        }
        let over = ending == Ending::Stop;
        {
            let footage = self.footage.lock().unwrap();
            streams.iter().for_each(|stream| stream.check_pictures(&footage, over));
        }
        self.seen.refused += engine.writer.stats().refused.load(std::sync::atomic::Ordering::Relaxed);
        if over {
            self.footage.lock().unwrap().check_written();
        }
    }

    async fn stop(&mut self, engine: &mut Engine, streams: &mut [SimStream]) {
        self.disk.set_fault(None);
        for stream in streams.iter_mut() {
            let mut tools = Tools {
                footage: &self.footage,
                live: &engine.live,
                writer: &engine.writer,
                keys: &engine.keys,
                payloads: &mut self.payloads,
            };
            stream.ended(EndReason::ServerStopped, Cause::ServerStopped, &mut tools);
        }
        engine.finish_writing();
        engine.supervise();
        engine.index().await;
        engine.journal().await;
    }

    /// One step of time, and everything that happens in it.
    async fn tick(&mut self, engine: &mut Engine, streams: &mut [SimStream], doings: &mut Doings) {
        self.clock.advance(TICK);
        self.misfortune(doings);
        for stream in streams.iter_mut() {
            self.pull(engine, stream);
        }
        self.disk_works(engine, doings);
        if self.disk.is_dead() {
            return;
        }
        if self.dice.once_in(10) {
            engine.index().await;
        }
        if self.dice.once_in(12) {
            engine.supervise();
            engine.journal().await;
        }
        if self.dice.once_in(150) {
            checks::while_running(self, engine, streams).await;
        }
        if self.dice.once_in(60) {
            self.read(engine, streams, doings).await;
        }
        let now = self.clock.mono();
        doings.readings.retain(|reading| reading.until > now);
        if self.dice.once_in(250) {
            self.sweep(engine, streams, doings).await;
        }
    }

    /// The disk or the clock takes a turn for the worse, or the better.
    fn misfortune(&mut self, doings: &mut Doings) {
        let now = self.clock.mono();
        if self.disk.fault().is_some() && now >= doings.fault_until {
            self.trace.step(format_args!("the disk is well again"));
            self.disk.set_fault(None);
        }
        if self.disk.fault().is_some() || now < doings.pause_until {
            self.calm_since = now;
        }
        if self.disk.fault().is_none() && self.dice.once_in(700) {
            let faults = [
                Fault::NoSpace,
                Fault::WriteError,
                Fault::SyncError,
                Fault::ReadError,
                Fault::ReadOnly,
                Fault::Missing,
            ];
            let fault = self.dice.pick(&faults).unwrap();
            self.trace.step(format_args!("the disk has a fault: {fault:?}"));
            self.disk.set_fault(Some(fault));
            doings.fault_until = now + Micros(self.dice.between(50_000, 6_000_000));
        }
        if self.dice.once_in(500) {
            doings.pause_until = now + Micros(self.dice.between(100_000, 4_000_000));
            self.trace.step(format_args!("the disk is slow until {}", doings.pause_until.0));
        }
        if self.dice.once_in(2500) {
            let by = Micros(self.dice.between(-4_000_000, 15_000_000));
            self.trace.step(format_args!("the clock steps by {}", by.0));
            self.clock.step_wall(by);
        }
    }

    fn disk_works(&mut self, engine: &mut Engine, doings: &Doings) {
        if self.clock.mono() < doings.pause_until {
            return;
        }
        for _ in 0..40 {
            if self.disk.is_dead() {
                return;
            }
            let did = if self.dice.once_in(2) { engine.write() } else { engine.sync() };
            if !did && self.dice.once_in(3) {
                return;
            }
        }
    }

    /// What a camera sent goes through the stream, as its task does it.
    fn pull(&mut self, engine: &Engine, stream: &mut SimStream) {
        for delivery in stream.camera.poll(self.clock.mono(), self.clock.wall()) {
            let mut tools = Tools {
                footage: &self.footage,
                live: &engine.live,
                writer: &engine.writer,
                keys: &engine.keys,
                payloads: &mut self.payloads,
            };
            match delivery {
                Delivery::Started { audio, silence } => {
                    self.trace.step(format_args!("{} streams", stream.id));
                    engine.supervisor.report(&stream.id, StreamReport::Connecting);
                    let streaming = StreamReport::Streaming {
                        transport: TransportUsed::Tcp,
                        left_out: Vec::new(),
                        audio: AudioOutcome::None,
                    };
                    engine.supervisor.report(&stream.id, streaming);
                    stream.started(audio, silence);
                }
                Delivery::Unit(unit) => stream.unit(&unit, &mut tools),
                Delivery::Ended { reason, cause, class } => {
                    self.trace.step(format_args!("{} ends: {reason}, {cause}", stream.id));
                    stream.ended(reason, cause, &mut tools);
                    let error = SessionError::new(class, "simulated");
                    engine
                        .supervisor
                        .report(&stream.id, StreamReport::Ended { error, reason, retry_in: None });
                }
            }
        }
    }

    /// A job begins to read some footage.
    async fn read(&mut self, engine: &Engine, streams: &[SimStream], doings: &mut Doings) {
        let at = usize::try_from(self.dice.below(streams.len() as u64)).unwrap();
        let stream = &streams[at].id;
        let range = heldar_store::TimeRange::default();
        let store = &engine.store.store;
        let all = store.segments(&Scope::All, stream, range, None, 1000).await.unwrap().rows;
        let ids: Vec<_> = all.iter().map(|row| row.id).filter(|_| self.dice.once_in(3)).collect();
        let lease = engine.retention.leases.acquire(ids.iter().copied());
        self.seen.leased += ids.len() as u64;
        let until = self.clock.mono() + Micros(self.dice.between(100_000, 20_000_000));
        doings.readings.push(Reading { until, lease });
    }

    async fn sweep(&mut self, engine: &mut Engine, streams: &[SimStream], doings: &Doings) {
        let before = checks::rows_of_all(engine, streams).await;
        let swept = engine.retention.sweep().await;
        if self.disk.is_dead() {
            engine.store.synced();
            self.deleting(&before, doings);
            return;
        }
        swept.unwrap();
        engine.store.committed(Commit::Full);
        let after = checks::rows_of_all(engine, streams).await;
        for (stream, row) in before.iter().filter(|(_, row)| !after.iter().any(|(_, a)| a.id == row.id)) {
            self.trace.step(format_args!("deleted {stream} {}", row.id.start));
            let read = doings.readings.iter().any(|r| r.lease.covers(row.id));
            assert!(!read, "{stream}: {} was deleted while it is read", row.id);
            self.seen.deleted += 1;
            let mut footage = self.footage.lock().unwrap();
            footage.of_segment(stream, row.id.start).for_each(|planned| planned.fate = Fate::Deleted);
        }
    }

    /// Everything ended in the middle of a sweep: whatever was not read and not open may be gone.
    fn deleting(&mut self, before: &[(StreamId, heldar_store::Segment)], doings: &Doings) {
        let mut footage = self.footage.lock().unwrap();
        for (stream, row) in before {
            let read = doings.readings.iter().any(|reading| reading.lease.covers(row.id));
            if !read && row.end_reason.is_some() {
                footage.may_go.insert((stream.clone(), row.id.start));
            }
        }
    }

    /// The process is gone; what it left in the store, and whether the machine stayed up.
    async fn after(&mut self, engine: Engine, ending: Ending) -> (Copy, bool) {
        match ending {
            Ending::Stop => {
                self.seen.stops += 1;
                let left = engine.store.closed().await;
                // What was synced at a stop outlives the machine.
                let powered = self.dice.once_in(2);
                self.disk.crash(if powered { Crash::Kill } else { Crash::Power(Survival::None) });
                (left, powered)
            }
            Ending::Kill => {
                self.seen.kills += 1;
                self.disk.crash(Crash::Kill);
                (engine.store.killed(), true)
            }
            Ending::Power => {
                self.check_promise();
                (self.power_cut(engine.store), false)
            }
        }
    }

    fn power_cut(&mut self, store: SimStore) -> Copy {
        self.seen.power_cuts += 1;
        let survival = Survival::roll(&mut self.dice);
        self.disk.crash(Crash::Power(survival));
        let (left, lost) = store.unplugged(&mut self.dice);
        self.trace.step(format_args!("power cut: {survival:?}, {lost} commits undone"));
        self.seen.lost_commits += lost as u64;
        left
    }

    /// A power cut costs what was written within one interval of syncs, if the disk was able to sync at all.
    fn check_promise(&self) {
        let interval = Micros::from_std(SYNC_INTERVAL) + Micros::from_secs(1);
        let footage = self.footage.lock().unwrap();
        for ((stream, start), planned) in &footage.planned {
            let Fate::Written(at) = planned.fate else { continue };
            let waited = self.clock.mono() - at.max(self.calm_since);
            let failed = footage.failed.contains(&(stream.clone(), planned.segment));
            assert!(
                waited <= interval || failed,
                "{stream}: {start} has not been synced for {} us",
                waited.0
            );
        }
    }

    /// Starts until a start succeeds: some end in the middle.
    async fn reopen(&mut self, mut left: Copy, ending: Ending) -> SimStore {
        let mut outage = if ending == Ending::Kill { Outage::Process } else { Outage::Machine };
        loop {
            self.process += 1;
            let folder = self.process_folder();
            let store = SimStore::open(&folder, Some(&left), self.clock.wall()).await;
            let troubled = ending != Ending::Stop && self.dice.once_in(3);
            if troubled {
                self.disk.end_after(self.dice.below(40), store.end());
            }
            let blind = self.dice.once_in(6);
            if blind {
                self.trace.step(format_args!("the disk cannot be read well"));
                self.disk.set_fault(Some(Fault::ReadError));
            }
            let done = Engine::recover(&store, &self.ingredients(), outage).await;
            if done && !blind {
                self.disk.end_after(u64::MAX, || {});
                return store;
            }
            self.seen.crashed_recoveries += 1;
            let power = !done && self.dice.once_in(2) && ending == Ending::Power;
            self.trace.step(format_args!("the start ends in the middle, power cut: {power}"));
            if power {
                outage = Outage::Machine;
                left = self.power_cut(store);
            } else {
                self.disk.crash(Crash::Kill);
                left = store.killed();
            }
        }
    }
}

fn fields() -> CameraFields {
    CameraFields {
        name: "Simulated".to_owned(),
        site_id: None,
        vendor: "generic".to_owned(),
        model: None,
        address: None,
        rtsp_port: 554,
        username: None,
        password: None,
        main_stream_url: None,
        sub_stream_url: None,
        record_stream: StreamKind::Main,
        record_sub: true,
        rtsp_transport: RtspTransport::Auto,
        channel: 1,
        capabilities: json!({}),
        record_enabled: true,
        segment_seconds: 60,
        retention_hours: 24,
        retention_motion_hours: None,
        retention_alert_hours: None,
        storage_quota_bytes: None,
        record_audio: true,
        record_mode: RecordMode::Continuous,
        pre_roll_seconds: 10,
        post_roll_seconds: 30,
        mirror_enabled: false,
        anr_enabled: false,
        anr_replay_url_template: None,
        native_anpr_enabled: false,
        native_events_enabled: false,
        enabled: true,
        live_warm: false,
        priority: 100,
        http_port: None,
        device_tls: DeviceTls::Off,
    }
}
