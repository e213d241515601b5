//! The sampler: decodes what tasks ask for, within a budget, and keeps the newest frames (perception.md 5).
//!
//! Owns: units and their rings, which streams are decoded, the plan that is in force and when it is made anew. The plan itself is
//! a plain function of `heldar-perception`. Never: pulls a camera; a stream that tasks ask for is demanded as by a viewer.

mod behind;
mod decode;
pub(crate) mod mirror;
mod order;
mod unit;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use heldar_base::{CameraId, Clock as _, Micros, MonoTime, Scope, StreamId, StreamKind, WallTime};
use heldar_config::Settings;
use heldar_decode::{Decoders, Options};
use heldar_perception::TaskId;
use heldar_perception::plan::{
    Codec, DecodeMode, Demand, Fate, Load, Measured, Off, Plan, PlannedUnit, Policy, Source, StreamFacts,
    TaskWant, idle_after, plan, source_of,
};
use heldar_perception::ring::{PrioritizedRing, trim};
use heldar_perception::task::Task;
use heldar_store::{Camera, Severity, StoreError};
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use decode::{Condition, Decoding, Look, Spec, Status, TaskPick};
pub(crate) use unit::Unit;

use super::frames::FrameError;
use crate::kernel::Kernel;

/// How often the plan is looked at without a reason.
const TICK: Duration = Duration::from_secs(5);
/// Span over which processor time is measured.
const COST_SPAN: Micros = Micros::from_secs(30);
/// A source that has been away for so long is told of.
const OFFLINE: Micros = Micros::from_secs(10);
/// A frame that is younger than this, or than five periods, says that sampling works.
const FRESH: Micros = Micros::from_secs(5);
/// How far decoder processes stand back behind everything else.
const NICE: u8 = 10;
/// Memory of a decoder process in MiB.
const MEMORY_MB: u32 = 2048;
/// How long one coded picture may take.
const DEADLINE: Duration = Duration::from_secs(5);

type Key = (CameraId, StreamKind);

/// A stream that is decoded.
struct Running {
    spec: watch::Sender<Spec>,
    status: Arc<Status>,
    task: JoinHandle<()>,
    /// Processor time seen at earlier looks.
    cost: VecDeque<(MonoTime, i64)>,
    estimated: f64,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A source that is away.
#[derive(Clone, Copy, Debug)]
struct Outage {
    since: MonoTime,
    told: bool,
}

#[derive(Default)]
struct State {
    running: HashMap<StreamId, Running>,
    /// What decoding a stream cost when it was last measured.
    measured: HashMap<StreamId, Measured>,
    outages: HashMap<Key, Outage>,
    load: Load,
}

/// The sampler.
pub(crate) struct Sampler {
    decoders: Decoders,
    units: Mutex<BTreeMap<Key, Arc<Unit>>>,
    state: tokio::sync::Mutex<State>,
    plan: RwLock<Arc<Plan>>,
    /// What the server looks at for motion, within what the plan leaves.
    looks: RwLock<Arc<Plan>>,
    wake: Notify,
}

/// A task's rate and width as they are delivered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaskDelivery {
    /// The task.
    pub task: TaskId,
    /// Pictures a second.
    pub fps: f64,
    /// Pixels.
    pub width: u32,
}

/// A unit as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerView {
    /// The camera.
    pub camera: CameraId,
    /// The profile.
    pub profile: StreamKind,
    /// `connecting`, `sampling`, `offline`, `error`, `stopped`, `budget_exhausted`.
    pub state: &'static str,
    /// Why it is not sampling.
    pub reason: Option<&'static str>,
    /// Rate under the plan; 0 when shed.
    pub fps: f64,
    /// Width under the plan; 0 when shed.
    pub width: u32,
    /// Highest rate that is asked for.
    pub wanted_fps: f64,
    /// Rate over the last ten seconds.
    pub measured_fps: f64,
    /// Pictures a second that the source carries.
    pub source_fps: f64,
    /// Time between its sync samples; 0: not known.
    pub sync_interval: Micros,
    /// Cores that decoding takes.
    pub decode_cores: f64,
    /// Age of the newest frame.
    pub frame_age: Option<Micros>,
    /// Its number.
    pub seq: Option<u64>,
    /// `all`, `sync_only`, `none`.
    pub decode: &'static str,
    /// Whether anybody has asked in the last minute.
    pub consumers: u32,
    /// What each task gets.
    pub tasks: Vec<TaskDelivery>,
}

impl Sampler {
    pub(super) fn new(settings: &Settings) -> Self {
        let cores = settings.perception.decode_cores;
        let options = Options {
            program: settings.decoder.program.clone(),
            // One process keeps one core busy.
            processes: (cores.ceil() as usize).max(1),
            nice: NICE,
            memory_mb: MEMORY_MB,
            deadline: DEADLINE,
        };
        Sampler {
            decoders: Decoders::new(options),
            units: Mutex::default(),
            state: tokio::sync::Mutex::default(),
            plan: RwLock::default(),
            looks: RwLock::default(),
            wake: Notify::new(),
        }
    }

    fn units(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Unit>>> {
        self.units.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn plan(&self) -> Arc<Plan> {
        self.plan.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn looks(&self) -> Arc<Plan> {
        self.looks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The unit of a camera's profile, while tasks ask for one.
    pub(crate) fn unit(&self, camera: &CameraId, profile: StreamKind) -> Option<Arc<Unit>> {
        self.units().get(&(camera.clone(), profile)).cloned()
    }

    /// A new plan is made soon.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// A worker has won a task: frames are wanted.
    pub(super) fn wanted(&self, task: TaskId, now: MonoTime) {
        let plan = self.plan();
        let of = plan.units.iter().find(|unit| unit.tasks.iter().any(|given| given.task == task));
        if let Some(unit) = of.and_then(|of| self.unit(&of.camera, of.profile))
            && unit.pulled(now)
        {
            self.wake();
        }
    }

    /// Rate and width of a task under the plan.
    pub(super) fn delivered(&self, task: TaskId) -> Option<(f64, u32)> {
        let (plan, looks) = (self.plan(), self.looks());
        let mut given = plan.units.iter().chain(&looks.units).flat_map(|unit| &unit.tasks);
        given.find(|given| given.task == task).map(|given| (given.fps, given.width))
    }

    /// Why a unit has no frame.
    pub(super) fn why_none(&self, camera: &CameraId, profile: StreamKind) -> FrameError {
        match self.plan().unit(camera, profile).map(|unit| unit.fate) {
            None => FrameError::NoTask,
            Some(Fate::Run { .. } | Fate::Off(Off::Idle)) => FrameError::Starting,
            Some(Fate::Off(Off::NoSource)) => FrameError::NoSource,
            Some(Fate::Off(Off::ShedByRate | Off::ShedByDecode | Off::Disabled)) => FrameError::Shed,
        }
    }
}

impl Kernel {
    /// Makes a new plan and carries it out. A store that cannot be read leaves the plan as it is.
    pub(super) async fn replan(&self) {
        if let Err(error) = Box::pin(self.try_replan()).await {
            tracing::warn!(%error, "the plan of sampling stays as it is");
        }
    }

    async fn try_replan(&self) -> Result<(), StoreError> {
        let sampler = &self.perception.sampler;
        let mut state = sampler.state.lock().await;
        let cameras = self.sampled_cameras().await?;
        let now = self.clock.mono();
        self.measure(&mut state, now);
        let perception = &self.perception;
        let inventory = self.inventory(&state, &cameras, now, |task| !perception.motion.serves(task));
        let settings = &self.settings.perception;
        let policy = Policy {
            enabled: settings.enabled,
            max_total_fps: settings.max_total_fps,
            decode_cores: settings.decode_cores,
            load_factor: state.load.factor(),
        };
        let planned = plan(&inventory, &policy);
        let mut looks = self.inventory(&state, &cameras, now, |task| perception.motion.serves(task));
        for unit in &mut looks {
            unit.demand = Demand::Wanted;
            share_decode(unit, &planned);
        }
        // Planes that nobody is sent cost what decoding them does, and have what is left over of that.
        let left = Policy {
            max_total_fps: f64::INFINITY,
            decode_cores: (planned.cores.ceiling - planned.cores.spent).max(0.0),
            load_factor: 1.0,
            ..policy
        };
        let looks = plan(&looks, &left);
        perception
            .motion
            .keep(|task| looks.units.iter().any(|unit| unit.tasks.iter().any(|t| t.task == task)));
        self.keep_units(&planned);
        self.carry_out(&mut state, &planned, &looks);
        *sampler.plan.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(planned);
        *sampler.looks.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(looks);
        self.tell_outages(&mut state, now);
        self.trim_rings();
        Ok(())
    }

    /// Cameras with active tasks.
    async fn sampled_cameras(&self) -> Result<BTreeMap<CameraId, Camera>, StoreError> {
        let mut cameras = BTreeMap::new();
        for known in self.perception.active_tasks() {
            let id = &known.task.camera;
            if !cameras.contains_key(id)
                && let Some(camera) = self.store.camera(&Scope::All, id).await?
            {
                cameras.insert(id.clone(), camera);
            }
        }
        Ok(cameras)
    }

    fn inventory(
        &self,
        state: &State,
        cameras: &BTreeMap<CameraId, Camera>,
        now: MonoTime,
        counts: impl Fn(&Task) -> bool,
    ) -> Vec<heldar_perception::plan::Unit> {
        let mut units: BTreeMap<Key, heldar_perception::plan::Unit> = BTreeMap::new();
        for known in self.perception.active_tasks() {
            let task = &known.task;
            let Some(camera) = cameras.get(&task.camera).filter(|_| counts(task)) else { continue };
            let key = (task.camera.clone(), task.spec.profile);
            let unit = units.entry(key).or_insert_with(|| heldar_perception::plan::Unit {
                camera: task.camera.clone(),
                profile: task.spec.profile,
                priority: camera.fields.priority,
                source: self.source_facts(state, camera, task.spec.profile),
                demand: Demand::Wanted,
                tasks: Vec::new(),
            });
            let spec = &task.spec;
            unit.tasks.push(TaskWant { task: task.id, fps: spec.fps, width: spec.width, warm: spec.warm });
        }
        for (key, unit) in &mut units {
            let idle = idle_after(self.settings.perception.idle_secs, &unit.tasks);
            let unasked = self.perception.sampler.unit(&key.0, key.1).map(|known| known.unasked(now));
            unit.demand = match (idle, unasked.flatten()) {
                (None, _) => Demand::Wanted,
                (Some(idle), Some(unasked)) if unasked <= idle => Demand::Wanted,
                (Some(_), _) => Demand::Idle,
            };
        }
        units.into_values().collect()
    }

    /// The stream that feeds a profile, and what is known of it.
    fn source_facts(&self, state: &State, camera: &Camera, profile: StreamKind) -> Option<Source> {
        let has: Vec<StreamKind> = [StreamKind::Main, StreamKind::Sub]
            .into_iter()
            .filter(|kind| self.source(camera, *kind).is_ok())
            .collect();
        let stream = source_of(profile, &has, Some(camera.fields.record_stream))?;
        let id = StreamId::new(camera.id.clone(), stream);
        let sync = state.running.get(&id).map(|running| running.status.sync_us.load(Ordering::Relaxed));
        let facts = self.registry.observed.get(&id).map(|seen| StreamFacts {
            codec: match seen.codec.as_str() {
                "h264" => Codec::H264,
                "hevc" => Codec::H265,
                _ => Codec::Other,
            },
            width: seen.width,
            height: seen.height,
            fps: seen.fps().unwrap_or(25.0),
            sync_interval: sync.filter(|us| *us > 0).map(Micros),
            measured: state.measured.get(&id).copied(),
        });
        Some(Source { stream, facts })
    }

    /// What decoding cost lately, and whether it comes too late.
    fn measure(&self, state: &mut State, now: MonoTime) {
        let mut strained = false;
        let State { running, measured, load, .. } = state;
        for (stream, one) in running.iter_mut() {
            let spent = one.status.cpu_us.load(Ordering::Relaxed);
            one.cost.push_back((now, spent));
            while one.cost.len() > 2 && one.cost.get(1).is_some_and(|(at, _)| now - *at >= COST_SPAN) {
                one.cost.pop_front();
            }
            let period = one.spec.borrow().fastest();
            let late = one.status.late_us.load(Ordering::Relaxed);
            strained |= one.status.condition() == Condition::Flows && late as f64 > 2e6 + 1e6 / period;
            if let Some((then, before)) =
                one.cost.front().copied().filter(|(then, _)| now - *then >= Micros::from_secs(10))
            {
                let cores = (spent - before) as f64 / (now - then).0.max(1) as f64;
                measured.insert(stream.clone(), Measured { cores, estimated: one.estimated });
            }
        }
        load.observe(now, strained);
        let known: Vec<StreamId> = measured.keys().cloned().collect();
        for stream in known.into_iter().filter(|stream| self.ingest.get(stream).is_none()) {
            measured.remove(&stream);
        }
    }

    /// A unit for each of the plan, those that went on keep their rings.
    fn keep_units(&self, plan: &Plan) {
        let start = self.clock.wall();
        let frames = self.settings.perception.ring_frames;
        let mut units = self.perception.sampler.units();
        units.retain(|key, _| plan.unit(&key.0, key.1).is_some());
        for planned in &plan.units {
            let key = (planned.camera.clone(), planned.profile);
            let unit = units.entry(key).or_insert_with(|| Arc::new(Unit::new(start, frames)));
            unit.set_fps(planned.fps);
            unit.ring().retain_tasks(|task| planned.tasks.iter().any(|given| given.task == task));
        }
    }

    /// Starts, changes and stops decoding; what does not change is not touched.
    fn carry_out(&self, state: &mut State, plan: &Plan, looks: &Plan) {
        let sampler = &self.perception.sampler;
        let mut wanted: HashMap<StreamId, (Spec, f64)> = HashMap::new();
        let quality = self.settings.perception.jpeg_quality;
        let empty =
            || (Spec { mode: DecodeMode::SyncOnly, quality, picks: Vec::new(), looks: Vec::new() }, 0.0);
        for planned in &plan.units {
            let (Fate::Run { decode, .. }, Some(source)) = (planned.fate, planned.source) else { continue };
            let Some(unit) = sampler.unit(&planned.camera, planned.profile) else { continue };
            let stream = StreamId::new(planned.camera.clone(), source);
            let (spec, estimated) = wanted.entry(stream).or_insert_with(empty);
            spec.mode = spec.mode.max(decode);
            *estimated += planned.estimated_cores;
            spec.picks.extend(planned.tasks.iter().map(|given| TaskPick {
                unit: unit.clone(),
                task: given.task,
                fps: given.fps,
                width: given.width,
            }));
        }
        for planned in &looks.units {
            let (Fate::Run { decode, .. }, Some(source)) = (planned.fate, planned.source) else { continue };
            let stream = StreamId::new(planned.camera.clone(), source);
            let (spec, estimated) = wanted.entry(stream).or_insert_with(empty);
            spec.mode = spec.mode.max(decode);
            *estimated += planned.estimated_cores;
            for given in &planned.tasks {
                let Some(known) = self.perception.task(given.task) else { continue };
                let watch = self.perception.motion.watch(&known.task);
                spec.looks.push(Look { watch, task: given.task, fps: given.fps, width: given.width });
            }
        }
        state.running.retain(|stream, running| wanted.contains_key(stream) && !running.task.is_finished());
        for (stream, (spec, estimated)) in wanted {
            self.demand(&stream);
            if let Some(running) = state.running.get_mut(&stream) {
                running.estimated = estimated;
                running.spec.send_if_modified(|current| {
                    let changed = *current != spec;
                    if changed {
                        *current = spec;
                    }
                    changed
                });
                continue;
            }
            let Some(handle) = self.ingest.get(&stream) else { continue };
            let (sender, receiver) = watch::channel(spec);
            let status = Arc::new(Status::default());
            let bus = handle.feed.bus().clone();
            let decoding = Decoding::new(sampler.decoders.clone(), self.clock, bus, receiver, status.clone());
            let task = tokio::spawn(decoding.run());
            let running = Running { spec: sender, status, task, cost: VecDeque::new(), estimated };
            state.running.insert(stream, running);
        }
    }

    /// Tells of sources that have been away for long, and of those that came back.
    fn tell_outages(&self, state: &mut State, now: MonoTime) {
        let (plan, looks) = (self.perception.sampler.plan(), self.perception.sampler.looks());
        let State { running, outages, .. } = state;
        let runs = |plan: &Plan, key: &Key| plan.unit(&key.0, key.1).is_some_and(PlannedUnit::runs);
        outages.retain(|key, _| runs(&plan, key) || runs(&looks, key));
        let is_alone = |unit: &&PlannedUnit| !runs(&plan, &(unit.camera.clone(), unit.profile));
        let looked_at = looks.units.iter().filter(is_alone);
        for unit in plan.units.iter().chain(looked_at).filter(|unit| unit.runs()) {
            let Some(source) = unit.source else { continue };
            let key = (unit.camera.clone(), unit.profile);
            let status =
                running.get(&StreamId::new(unit.camera.clone(), source)).map(|one| one.status.condition());
            match status {
                Some(Condition::Offline | Condition::Failed) => {
                    let outage = outages.entry(key).or_insert(Outage { since: now, told: false });
                    if !outage.told && now - outage.since >= OFFLINE {
                        outage.told = true;
                        let detail = match status {
                            Some(Condition::Failed) => "its pictures cannot be decoded",
                            _ => "the source stopped",
                        };
                        let payload = json!({ "profile": unit.profile.as_str(), "detail": detail });
                        self.journal.raise(
                            Some(unit.camera.clone()),
                            "sampler_offline",
                            Severity::Warning,
                            payload,
                        );
                    }
                }
                Some(Condition::Flows) => {
                    if let Some(outage) = outages.remove(&key).filter(|outage| outage.told) {
                        let seconds = (now - outage.since).0 / 1_000_000;
                        let payload = json!({ "profile": unit.profile.as_str(), "offline_seconds": seconds });
                        self.journal.raise(
                            Some(unit.camera.clone()),
                            "sampler_recovered",
                            Severity::Info,
                            payload,
                        );
                    }
                }
                Some(Condition::Connecting) | None => {}
            }
        }
    }

    fn trim_rings(&self) {
        let plan = self.perception.sampler.plan();
        let units: Vec<(i64, Arc<Unit>)> = {
            let units = self.perception.sampler.units();
            let priority = |key: &Key| plan.unit(&key.0, key.1).map_or(0, |unit| unit.priority);
            units.iter().map(|(key, unit)| (priority(key), unit.clone())).collect()
        };
        let mut rings: Vec<_> = units.iter().map(|(priority, unit)| (*priority, unit.ring())).collect();
        let mut prioritized: Vec<PrioritizedRing<'_>> =
            rings.iter_mut().map(|(priority, ring)| PrioritizedRing { priority: *priority, ring }).collect();
        trim(&mut prioritized, self.settings.perception.ring_bytes);
    }

    /// What is looked at for motion, as it is shown.
    fn look_view(&self, state: &State, planned: &PlannedUnit, now: WallTime) -> SamplerView {
        let stream = planned.source.map(|kind| StreamId::new(planned.camera.clone(), kind));
        let running = stream.as_ref().and_then(|stream| state.running.get(stream));
        let measured = stream.as_ref().and_then(|stream| state.measured.get(stream));
        let seen = stream.as_ref().and_then(|stream| self.registry.observed.get(stream));
        let fresh =
            planned.tasks.iter().filter_map(|given| self.perception.motion.freshness(given.task, now));
        let fresh = fresh.min_by_key(|(age, _)| *age);
        let fresh_for = FRESH.max(Micros((5e6 / planned.fps.max(0.02)) as i64));
        let is_fresh = fresh.is_some_and(|(age, _)| age <= fresh_for);
        let (state, reason) = shown(planned, running.map(|running| running.status.condition()), is_fresh);
        let tasks = planned.tasks.iter();
        SamplerView {
            camera: planned.camera.clone(),
            profile: planned.profile,
            state,
            reason,
            fps: planned.fps,
            width: planned.width,
            wanted_fps: planned.wanted_fps,
            measured_fps: fresh.map_or(0.0, |(_, fps)| fps),
            source_fps: seen.and_then(|seen| seen.fps()).unwrap_or(0.0),
            sync_interval: Micros(running.map_or(0, |one| one.status.sync_us.load(Ordering::Relaxed))),
            decode_cores: measured.filter(|_| running.is_some()).map_or(0.0, |measured| measured.cores),
            frame_age: fresh.map(|(age, _)| age),
            seq: None,
            decode: planned.decode_name(),
            consumers: u32::from(planned.runs()),
            tasks: tasks
                .map(|given| TaskDelivery { task: given.task, fps: given.fps, width: given.width })
                .collect(),
        }
    }

    /// Every unit, by camera and profile.
    pub async fn samplers(&self, scope: &Scope) -> Vec<SamplerView> {
        let sampler = &self.perception.sampler;
        let state = sampler.state.lock().await;
        let plan = sampler.plan();
        let (now, mono) = (self.clock.wall(), self.clock.mono());
        let mut views: Vec<SamplerView> = Vec::new();
        for planned in plan.units.iter().filter(|unit| scope.covers(&unit.camera)) {
            let stream = planned.source.map(|kind| StreamId::new(planned.camera.clone(), kind));
            let running = stream.as_ref().and_then(|stream| state.running.get(stream));
            let measured = stream.as_ref().and_then(|stream| state.measured.get(stream));
            let unit = sampler.unit(&planned.camera, planned.profile);
            let newest = unit.as_ref().and_then(|unit| unit.newest(now));
            let fresh_for = FRESH.max(Micros((5e6 / planned.fps.max(0.02)) as i64));
            let is_fresh = newest.is_some_and(|(age, _)| age <= fresh_for);
            let (shown, reason) = shown(planned, running.map(|running| running.status.condition()), is_fresh);
            let seen = stream.as_ref().and_then(|stream| self.registry.observed.get(stream));
            let asked = unit.as_ref().and_then(|unit| unit.unasked(mono));
            views.push(SamplerView {
                camera: planned.camera.clone(),
                profile: planned.profile,
                state: shown,
                reason,
                fps: planned.fps,
                width: planned.width,
                wanted_fps: planned.wanted_fps,
                measured_fps: unit.as_ref().map_or(0.0, |unit| unit.measured_fps(now)),
                source_fps: seen.and_then(|seen| seen.fps()).unwrap_or(0.0),
                sync_interval: Micros(running.map_or(0, |one| one.status.sync_us.load(Ordering::Relaxed))),
                decode_cores: measured.filter(|_| running.is_some()).map_or(0.0, |measured| measured.cores),
                frame_age: newest.map(|(age, _)| age),
                seq: newest.map(|(_, seq)| seq),
                decode: planned.decode_name(),
                consumers: u32::from(asked.is_some_and(|asked| asked <= Micros::from_secs(60))),
                tasks: planned
                    .tasks
                    .iter()
                    .map(|given| TaskDelivery { task: given.task, fps: given.fps, width: given.width })
                    .collect(),
            });
        }
        for planned in sampler.looks().units.iter().filter(|unit| scope.covers(&unit.camera)) {
            let view = self.look_view(&state, planned, now);
            match views
                .iter_mut()
                .find(|known| (&known.camera, known.profile) == (&view.camera, view.profile))
            {
                Some(known) => known.join(view),
                None => views.push(view),
            }
        }
        views.sort_by(|a, b| (&a.camera, a.profile.as_str()).cmp(&(&b.camera, b.profile.as_str())));
        views
    }
}

impl SamplerView {
    /// The same profile as it is looked at for motion: a part of one unit.
    fn join(&mut self, looked_at: SamplerView) {
        self.fps = self.fps.max(looked_at.fps);
        self.width = self.width.max(looked_at.width);
        self.wanted_fps = self.wanted_fps.max(looked_at.wanted_fps);
        self.tasks.extend(looked_at.tasks);
        // What is seen while no worker asks is sampled all the same.
        if self.reason == Some("idle") {
            (self.state, self.reason) = (looked_at.state, looked_at.reason);
            (self.decode, self.measured_fps) = (looked_at.decode, looked_at.measured_fps);
            self.frame_age = looked_at.frame_age;
        }
    }
}

/// A stream that is decoded whole anyway costs nothing more.
fn share_decode(unit: &mut heldar_perception::plan::Unit, plan: &Plan) {
    let Some(source) = &mut unit.source else { return };
    let is_decoded = plan.units.iter().any(|planned| {
        planned.camera == unit.camera
            && planned.source == Some(source.stream)
            && matches!(planned.fate, Fate::Run { decode: DecodeMode::All, .. })
    });
    if let (true, Some(facts)) = (is_decoded, &mut source.facts) {
        facts.measured = Some(Measured { cores: 0.0, estimated: 1.0 });
    }
}

/// State and reason of a unit.
fn shown(
    planned: &PlannedUnit,
    condition: Option<Condition>,
    is_fresh: bool,
) -> (&'static str, Option<&'static str>) {
    match (planned.fate, condition) {
        (Fate::Off(off), _) => (off.state(), off.reason()),
        (Fate::Run { .. }, Some(Condition::Failed)) => ("error", Some("decode_failed")),
        (Fate::Run { .. }, Some(Condition::Offline)) => ("offline", Some("source_stopped")),
        (Fate::Run { .. }, _) if is_fresh => ("sampling", None),
        (Fate::Run { .. }, _) => ("connecting", Some("starting")),
    }
}

/// Keeps the plan up to date until the server stops.
pub(crate) async fn run(kernel: Arc<Kernel>) {
    loop {
        kernel.replan().await;
        if let Err(error) = kernel.renew_ticket_keys().await {
            tracing::warn!(%error, "the secret of frame tickets was not renewed");
        }
        let _tick = tokio::time::timeout(TICK, kernel.perception.sampler.wake.notified()).await;
    }
}
