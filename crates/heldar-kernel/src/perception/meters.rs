//! What is measured of perception (perception.md 23).
//!
//! Owns: the metrics' names and labels, and what keeps labels bounded: a type of task that no task of ours has is `other`.
//! Gauges are set every few seconds and go with what they are about. Never: decides anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use heldar_base::{Micros, Scope};
use heldar_http::metrics::{Counter, DURATION_BUCKETS, Family, Gauge, Histogram, Registry};
use heldar_perception::leases::Transport;

use super::{FrameError, FrameReply, Outcome};
use crate::kernel::Kernel;

/// Stands for a type that no task has.
const OTHER: &str = "other";
/// States of samplers.
const STATES: [&str; 6] = ["connecting", "sampling", "offline", "error", "stopped", "budget_exhausted"];

type Gauges<const N: usize> = Arc<Family<Gauge, N>>;
type Counters<const N: usize> = Arc<Family<Counter, N>>;

/// The metrics.
pub(super) struct Meters {
    fps: Gauges<2>,
    wanted_fps: Gauges<2>,
    cores: Gauges<2>,
    state: Gauges<3>,
    frame_age: Gauges<2>,
    budget: Gauges<1>,
    shed: Arc<Gauge>,
    pulls: Counters<1>,
    skipped: Counters<2>,
    tasks: Gauges<1>,
    leases: Arc<Gauge>,
    workers: Gauges<1>,
    batches: Counters<2>,
    detections: Arc<Counter>,
    pub(super) latency: Arc<Histogram>,
    capture_to_commit: Arc<Family<Histogram, 1>>,
    pub(super) queue: Arc<Gauge>,
}

impl Meters {
    pub(super) fn new(r: &Registry) -> Self {
        let unit = ["camera", "profile"];
        Meters {
            fps: r.gauges("heldar_sampler_fps", "Frames a second over the last ten seconds.", unit),
            wanted_fps: r.gauges("heldar_sampler_wanted_fps", "Highest rate that tasks ask for.", unit),
            cores: r.gauges("heldar_sampler_decode_cores", "Cores that decoding takes.", unit),
            state: r.gauges(
                "heldar_sampler_state",
                "1 for the state that a sampler is in.",
                ["camera", "profile", "state"],
            ),
            frame_age: r.gauges("heldar_frame_age_seconds", "Age of the newest frame.", unit),
            budget: r.gauges("heldar_ai_budget_used_ratio", "Share of a ceiling that is used.", ["ceiling"]),
            shed: r.gauge("heldar_ai_units_shed", "Units that a ceiling keeps from running."),
            pulls: r.counters("heldar_frame_pulls_total", "Pulls of frames by what they got.", ["result"]),
            skipped: r.counters(
                "heldar_frames_skipped_total",
                "Frames between two that a worker pulled.",
                ["camera", "task_type"],
            ),
            tasks: r.gauges("heldar_ai_tasks", "Tasks by whether somebody works on them.", ["served"]),
            leases: r.gauge("heldar_ai_leases", "Tasks under lease."),
            workers: r.gauges("heldar_ai_workers", "Workers that called of late.", ["transport"]),
            batches: r.counters(
                "heldar_ingest_batches_total",
                "Batches of results by type of task and by what became of them.",
                ["task_type", "result"],
            ),
            detections: r.counter("heldar_ingest_detections_total", "Detections stored."),
            latency: r.histogram(
                "heldar_ingest_latency_seconds",
                "Time from the request with a batch to its commit.",
                DURATION_BUCKETS,
            ),
            capture_to_commit: r.histograms(
                "heldar_capture_to_commit_latency_seconds",
                "Time from the capture of a picture to the commit of what was seen in it.",
                ["task_type"],
                DURATION_BUCKETS,
            ),
            queue: r.gauge("heldar_ingest_queue_depth", "Batches on their way to the store."),
        }
    }

    /// A pull was answered.
    pub(super) fn pulled(
        &self,
        camera: &str,
        task_type: Option<&str>,
        reply: Result<&FrameReply, &FrameError>,
    ) {
        let result = match reply {
            Ok(FrameReply::Frame(selected, _)) => {
                if let (Some(task_type), 1..) = (task_type, selected.skipped) {
                    self.skipped.with([camera, task_type]).add(selected.skipped as f64);
                }
                "frame"
            }
            Ok(FrameReply::NothingNewer(_)) => "nothing_newer",
            Err(error) => error.as_str(),
        };
        self.pulls.with([result]).inc();
    }

    /// A batch was answered.
    pub(super) fn ingested(&self, task_type: &str, result: &str) {
        self.batches.with([task_type, result]).inc();
    }

    /// A batch was stored, so long after its picture was captured.
    pub(super) fn stored(&self, task_type: &str, outcome: &Outcome, age: Micros) {
        if let Outcome::Stored { detections, .. } = outcome {
            self.detections.add(*detections as f64);
            self.capture_to_commit.with([task_type]).observe(age.as_secs_f64().max(0.0));
        }
    }
}

impl Kernel {
    /// The type of a task as a label.
    pub(super) fn type_label<'a>(&self, task_type: &'a str) -> &'a str {
        let tasks = self.perception.tasks.read().unwrap_or_else(PoisonError::into_inner);
        let is_ours = tasks.values().any(|known| known.task.spec.task_type == task_type);
        if is_ours { task_type } else { OTHER }
    }

    /// Sets the gauges.
    pub(crate) async fn measure_perception(&self) {
        let (perception, meters) = (&self.perception, &self.perception.meters);
        let samplers = self.samplers(&Scope::All).await;
        let units: BTreeSet<(String, &str)> =
            samplers.iter().map(|unit| (unit.camera.to_string(), unit.profile.as_str())).collect();
        let is_there =
            |camera: &str, profile: &str| units.iter().any(|(c, p)| (c.as_str(), *p) == (camera, profile));
        for gauges in [&meters.fps, &meters.wanted_fps, &meters.cores, &meters.frame_age] {
            gauges.retain(|[camera, profile]| is_there(camera, profile));
        }
        meters.state.retain(|[camera, profile, _]| is_there(camera, profile));
        for unit in &samplers {
            let labels = [unit.camera.as_str(), unit.profile.as_str()];
            meters.fps.with(labels).set(unit.measured_fps);
            meters.wanted_fps.with(labels).set(unit.wanted_fps);
            meters.cores.with(labels).set(unit.decode_cores);
            if let Some(age) = unit.frame_age {
                meters.frame_age.with(labels).set(age.as_secs_f64());
            }
            for state in STATES {
                let is_it = f64::from(u8::from(state == unit.state));
                meters.state.with([labels[0], labels[1], state]).set(is_it);
            }
        }
        let plan = perception.sampler.plan();
        let ratio = |spent: f64, ceiling: f64| if ceiling > 0.0 { spent / ceiling } else { 0.0 };
        meters.budget.with(["fps"]).set(ratio(plan.rate.spent, plan.rate.ceiling));
        meters.budget.with(["decode_cores"]).set(ratio(plan.cores.spent, plan.cores.ceiling));
        meters.shed.set((plan.shed() + perception.sampler.looks().shed()) as f64);
        let leases = self.leases(&Scope::All);
        let leased: BTreeSet<_> = leases.iter().map(|lease| lease.row.task).collect();
        let active = perception.active_tasks();
        let is_served = |task: &heldar_perception::task::Task| {
            perception.motion.serves(task) || leased.contains(&task.id)
        };
        let served = active.iter().filter(|known| is_served(&known.task)).count();
        meters.tasks.with(["true"]).set(served as f64);
        meters.tasks.with(["false"]).set((active.len() - served) as f64);
        meters.leases.set(leases.len() as f64);
        let mut workers =
            BTreeMap::from([(Transport::Discovery.as_str(), 0u32), (Transport::Lease.as_str(), 0)]);
        for worker in self.workers(&Scope::All).into_iter().filter(|worker| worker.live) {
            *workers.entry(worker.row.transport.as_str()).or_default() += 1;
        }
        for (transport, count) in workers {
            meters.workers.with([transport]).set(f64::from(count));
        }
    }
}
