//! What is decoded and sampled, at which rate and width, and why (perception.md 5.2, 5.3).
//!
//! Owns: the plan of all units under two ceilings, what differs between two plans, and how far the machine's load lowers
//! the second ceiling. Never: decoders, the store, clocks; the shell gathers the inventory, plans, and executes what
//! [`diff()`] names.
//!
//! # Order of decisions
//! 1. Units in serving order: higher priority of the camera first, then camera id, then profile.
//! 2. What does not run whatever the budget: no source, nobody asks.
//! 3. Ceiling B, pictures a second (`rate`): most units, then tier 1, then tier 2, from the top down.
//! 4. Ceiling D, cores (`decode`): each measure from the bottom up, and only as far as needed: all rates towards the
//!    floor, then sync samples only, then tier 2, then shed; what the last measure left over is given back from the top.
//!
//! Invariants: neither ceiling is exceeded; among units that want the same of like streams, none is served better than
//! one above it; a decode that two profiles share is counted once.

mod decode;
mod diff;
mod load;
mod rate;

use heldar_base::{CameraId, Micros, StreamKind};

use crate::TaskId;
use crate::task::period;

pub use diff::{Touch, Touched, diff};
pub use load::Load;

/// Rate that every unit is kept at before any gets more, in pictures a second.
pub const FLOOR_FPS: f64 = 0.5;
/// Widths that tier 2 tries, as parts of what is wanted.
pub const WIDTH_STEPS: [f64; 3] = [1.0, 0.75, 0.5];
/// Tier 2 makes no frame narrower than this, in pixels.
pub const MIN_STEP_WIDTH: u32 = 320;
/// Sums of rates are compared with this much room for rounding.
const SLACK: f64 = 1e-9;

/// How a stream's pictures are coded, as far as it matters for the effort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// H.264.
    H264,
    /// H.265.
    H265,
    /// Any other.
    Other,
}

/// What is known of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamFacts {
    /// How it is coded.
    pub codec: Codec,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Pictures a second that it carries.
    pub fps: f64,
    /// Time between its sync samples, once seen.
    pub sync_interval: Option<Micros>,
    /// What decoding it cost. Keep the last one while the stream does not run and does not change, else a unit that was
    /// shed for its cost comes back by its estimate.
    pub measured: Option<Measured>,
}

/// What decoding and sampling a stream cost, for all of its units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Cores, mean of 30 s.
    pub cores: f64,
    /// Sum of [`PlannedUnit::estimated_cores`] of the units that ran on it then.
    pub estimated: f64,
}

/// The stream that feeds a unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Source {
    /// Which of the camera's; two profiles with the same one share a decode.
    pub stream: StreamKind,
    /// `None` before it was ever connected.
    pub facts: Option<StreamFacts>,
}

/// Whether anybody wants frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Somebody pulled, or won a lease, not long ago.
    Wanted,
    /// Nobody did for [`idle_after`].
    Idle,
}

/// A task as the planner sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaskWant {
    /// The task.
    pub task: TaskId,
    /// Pictures a second, as asked.
    pub fps: f64,
    /// Pixels, as asked.
    pub width: u32,
    /// Whether decoding goes on while nobody pulls.
    pub warm: bool,
}

/// A unit: the enabled tasks of one profile of an enabled camera.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// The camera.
    pub camera: CameraId,
    /// The profile that the tasks ask for.
    pub profile: StreamKind,
    /// Priority of the camera; higher ones are served first.
    pub priority: i64,
    /// What feeds it ([`source_of`]).
    pub source: Option<Source>,
    /// Whether anybody wants frames.
    pub demand: Demand,
    /// Its tasks; a unit without any is left out of the plan.
    pub tasks: Vec<TaskWant>,
}

/// What may be spent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Whether anything is sampled at all (`HELDAR_AI_ENABLED`).
    pub enabled: bool,
    /// Ceiling B (`HELDAR_AI_MAX_TOTAL_FPS`); less than 1 counts as 1.
    pub max_total_fps: f64,
    /// Ceiling D (`HELDAR_AI_DECODE_CORES`), before load lowers it.
    pub decode_cores: f64,
    /// Part of D that load leaves ([`Load`]).
    pub load_factor: f64,
}

/// Which pictures are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DecodeMode {
    /// Sync samples, each of which stands alone.
    SyncOnly,
    /// Every picture.
    All,
}

/// Why a unit runs as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// As wanted.
    Wanted,
    /// Its share of ceiling B (tier 1).
    RateShare,
    /// Narrower, or at the floor, to fit ceiling B (tier 2).
    RateNarrowed,
    /// Slower for ceiling D.
    DecodeShare,
    /// Sync samples only, for ceiling D.
    DecodeSyncOnly,
    /// Narrower, or at the floor, for ceiling D.
    DecodeNarrowed,
}

/// Why a unit does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// Sampling is switched off.
    Disabled,
    /// The camera has no stream to feed it.
    NoSource,
    /// Nobody wants frames.
    Idle,
    /// Ceiling B has no room.
    ShedByRate,
    /// Ceiling D has no room.
    ShedByDecode,
}

impl Off {
    /// The state that `samplers` shows (perception.md 5.1).
    pub fn state(self) -> &'static str {
        match self {
            Off::Disabled | Off::Idle => "stopped",
            Off::NoSource => "error",
            Off::ShedByRate | Off::ShedByDecode => "budget_exhausted",
        }
    }

    /// The reason shown beside it, if any.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Off::Disabled => None,
            Off::NoSource => Some("no_source"),
            Off::Idle => Some("idle"),
            Off::ShedByRate | Off::ShedByDecode => Some("shed"),
        }
    }

    /// Whether a ceiling is the cause.
    pub fn is_shed(self) -> bool {
        matches!(self, Off::ShedByRate | Off::ShedByDecode)
    }
}

/// What becomes of a unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// It runs.
    Run {
        /// Which pictures are decoded for it. A stream that two units share is decoded in the greater mode.
        decode: DecodeMode,
        /// Why not better.
        why: Why,
    },
    /// It does not.
    Off(Off),
}

/// What a task gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delivered {
    /// The task.
    pub task: TaskId,
    /// Pictures a second.
    pub fps: f64,
    /// Pixels.
    pub width: u32,
}

/// A unit in the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedUnit {
    /// The camera.
    pub camera: CameraId,
    /// The profile.
    pub profile: StreamKind,
    /// Priority of the camera.
    pub priority: i64,
    /// The stream that feeds it.
    pub source: Option<StreamKind>,
    /// What becomes of it.
    pub fate: Fate,
    /// Highest rate asked for.
    pub wanted_fps: f64,
    /// Largest width asked for.
    pub wanted_width: u32,
    /// Highest rate delivered; 0 when shed. What is idle or has no source shows what it would like.
    pub fps: f64,
    /// Largest width delivered; 0 when shed.
    pub width: u32,
    /// What each task gets, in the order of the input.
    pub tasks: Vec<Delivered>,
    /// Its cost under ceiling B.
    pub rate_cost: f64,
    /// Its cost under ceiling D by estimate alone, to be compared with a measurement. Of units that share a decode, the
    /// first carries that.
    pub estimated_cores: f64,
}

impl PlannedUnit {
    /// Whether it runs.
    pub fn runs(&self) -> bool {
        matches!(self.fate, Fate::Run { .. })
    }

    /// The decode mode as `samplers` shows it.
    pub fn decode_name(&self) -> &'static str {
        match self.fate {
            Fate::Run { decode: DecodeMode::All, .. } => "all",
            Fate::Run { decode: DecodeMode::SyncOnly, .. } => "sync_only",
            Fate::Off(_) => "none",
        }
    }
}

/// How much of a ceiling is used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    /// What is spent.
    pub spent: f64,
    /// What may be.
    pub ceiling: f64,
}

/// What all units do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In serving order.
    pub units: Vec<PlannedUnit>,
    /// Ceiling B, in pictures a second.
    pub rate: Used,
    /// Ceiling D, in cores.
    pub cores: Used,
}

impl Plan {
    /// A unit of the plan.
    pub fn unit(&self, camera: &CameraId, profile: StreamKind) -> Option<&PlannedUnit> {
        self.units.iter().find(|unit| unit.profile == profile && unit.camera == *camera)
    }

    /// Units that a ceiling keeps from running.
    pub fn shed(&self) -> usize {
        self.units.iter().filter(|unit| matches!(unit.fate, Fate::Off(off) if off.is_shed())).count()
    }
}

/// The stream that feeds a profile: its own, else the recorded one, if the camera has it.
pub fn source_of(
    profile: StreamKind,
    has: &[StreamKind],
    recorded: Option<StreamKind>,
) -> Option<StreamKind> {
    [Some(profile), recorded].into_iter().flatten().find(|stream| has.contains(stream))
}

/// How long a unit goes on without demand: `idle_secs` (`HELDAR_AI_IDLE_SECS`), or two periods of its slowest task;
/// `None`: for good.
pub fn idle_after(idle_secs: u32, tasks: &[TaskWant]) -> Option<Micros> {
    let slowest = tasks.iter().map(|task| task.fps).fold(f64::INFINITY, f64::min);
    let periods =
        if slowest.is_finite() { Micros(period(slowest).0.saturating_mul(2)) } else { Micros::ZERO };
    (idle_secs > 0).then(|| Micros::from_secs(i64::from(idle_secs)).max(periods))
}

/// A unit that would run, while the ceilings are applied.
#[derive(Clone, Debug)]
pub(crate) struct Running<'a> {
    unit: &'a Unit,
    source: &'a Source,
    wanted_fps: f64,
    wanted_width: u32,
    fps: f64,
    width: u32,
    why: Why,
    shed: Option<Off>,
}

impl Running<'_> {
    /// F of perception.md 5.3.
    fn floor(&self) -> f64 {
        self.wanted_fps.min(FLOOR_FPS)
    }

    /// C of perception.md 5.3.
    fn cheapest(&self) -> f64 {
        self.floor() * 0.25
    }

    /// Cost under ceiling B.
    fn rate_cost(&self) -> f64 {
        let ratio = (f64::from(self.width) / f64::from(self.wanted_width.max(1))).clamp(0.0, 1.0);
        self.fps * ratio * ratio
    }

    /// The widths of tier 2, from wide to narrow, each with its cost at the floor. Even, and never under
    /// [`MIN_STEP_WIDTH`] unless less is wanted; the cost is that of the width before it was made even, so that what
    /// rounding saves does not add up to a better place for a lower unit.
    fn widths(&self) -> impl Iterator<Item = (u32, f64)> + use<> {
        let (wanted, least, floor) = (self.wanted_width, self.wanted_width.min(MIN_STEP_WIDTH), self.floor());
        WIDTH_STEPS.into_iter().map(move |step| {
            let exact = (f64::from(wanted) * step).max(f64::from(least));
            let width = if step < 1.0 { (exact as u32 & !1).max(least) } else { wanted };
            let ratio = exact / f64::from(wanted.max(1));
            (width, floor * ratio * ratio)
        })
    }
}

/// Plans all units.
pub fn plan(units: &[Unit], policy: &Policy) -> Plan {
    let mut order: Vec<&Unit> = units.iter().filter(|unit| !unit.tasks.is_empty()).collect();
    order.sort_by(|a, b| {
        b.priority.cmp(&a.priority).then_with(|| (&a.camera, a.profile).cmp(&(&b.camera, b.profile)))
    });
    let entered: Vec<Result<Running<'_>, Off>> = order.iter().map(|unit| enter(unit, policy)).collect();
    let mut running: Vec<Running<'_>> = entered.iter().filter_map(|entry| entry.clone().ok()).collect();
    let ceiling = policy.max_total_fps.max(1.0);
    rate::fit(&mut running, ceiling);
    let cores = (policy.decode_cores * policy.load_factor).max(0.0);
    let decoded = decode::fit(&mut running, cores);
    let mut results = running.into_iter().zip(decoded.units);
    let planned: Vec<PlannedUnit> = order
        .into_iter()
        .zip(entered)
        .filter_map(|(unit, entry)| match entry {
            Err(off) => Some(stopped(unit, off)),
            Ok(_) => results.next().map(|(running, effort)| running.planned(&effort)),
        })
        .collect();
    let spent = planned.iter().map(|unit| unit.rate_cost).sum();
    Plan {
        units: planned,
        rate: Used { spent, ceiling },
        cores: Used { spent: decoded.cores, ceiling: cores },
    }
}

fn wanted(unit: &Unit) -> (f64, u32) {
    let fps = unit.tasks.iter().map(|task| task.fps).fold(0.0, f64::max);
    (fps, unit.tasks.iter().map(|task| task.width).max().unwrap_or(0))
}

fn enter<'a>(unit: &'a Unit, policy: &Policy) -> Result<Running<'a>, Off> {
    if !policy.enabled {
        return Err(Off::Disabled);
    }
    let source = unit.source.as_ref().ok_or(Off::NoSource)?;
    if unit.demand == Demand::Idle && !unit.tasks.iter().any(|task| task.warm) {
        return Err(Off::Idle);
    }
    let (wanted_fps, wanted_width) = wanted(unit);
    Ok(Running {
        unit,
        source,
        wanted_fps,
        wanted_width,
        fps: wanted_fps,
        width: wanted_width,
        why: Why::Wanted,
        shed: None,
    })
}

fn stopped(unit: &Unit, off: Off) -> PlannedUnit {
    let (wanted_fps, wanted_width) = wanted(unit);
    let (fps, width) = if off.is_shed() { (0.0, 0) } else { (wanted_fps, wanted_width) };
    PlannedUnit {
        camera: unit.camera.clone(),
        profile: unit.profile,
        priority: unit.priority,
        source: unit.source.map(|source| source.stream),
        fate: Fate::Off(off),
        wanted_fps,
        wanted_width,
        fps,
        width,
        tasks: delivered(unit, fps, width),
        rate_cost: 0.0,
        estimated_cores: 0.0,
    }
}

/// Each task has its own rate and width as far as the unit reaches.
fn delivered(unit: &Unit, fps: f64, width: u32) -> Vec<Delivered> {
    let of =
        |task: &TaskWant| Delivered { task: task.task, fps: task.fps.min(fps), width: task.width.min(width) };
    unit.tasks.iter().map(of).collect()
}

impl Running<'_> {
    fn planned(&self, effort: &decode::Effort) -> PlannedUnit {
        if let Some(off) = self.shed {
            return stopped(self.unit, off);
        }
        PlannedUnit {
            fate: Fate::Run { decode: effort.mode, why: self.why },
            fps: self.fps,
            width: self.width,
            tasks: delivered(self.unit, self.fps, self.width),
            rate_cost: self.rate_cost(),
            estimated_cores: effort.estimated,
            ..stopped(self.unit, Off::Disabled)
        }
    }
}

#[cfg(test)]
mod tests;
