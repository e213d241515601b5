//! What a sweep with other settings would do.
//!
//! The figures come from the planner that makes the sweep's plan, run for [`Purpose::Preview`](super::Purpose).

use heldar_base::{CameraId, Interval, Micros, WallTime};

use super::{ByReason, Camera, CameraPlan, Condition, Kept, Plan, Reason, Tally};

/// Something to consider before the settings are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A limit would be in this state.
    Condition(Condition),
    /// Quota, cap or floor would take footage of this camera before its age does.
    BeforeItsAge {
        /// Which camera.
        camera: CameraId,
        /// How far back its footage would reach.
        kept: Micros,
        /// How far it should.
        wanted: Micros,
    },
}

/// A dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// The instant it speaks of, horizon included.
    pub at: WallTime,
    /// What would go.
    pub would_delete: Tally,
    /// From the first instant to the last of what would go.
    pub span: Option<Interval>,
    /// The same by reason.
    pub reasons: ByReason,
    /// What motion and alerts would keep.
    pub kept: Kept,
    /// Each camera, in the order given.
    pub cameras: Vec<CameraPlan>,
    /// What is held.
    pub held: Tally,
    /// Segments that would go beyond those that the present settings remove now.
    pub more_segments: i64,
    /// Their bytes.
    pub more_bytes: i64,
    /// What to consider.
    pub warnings: Vec<Warning>,
}

/// Puts a dry run together from the plan for the settings asked about and the plan for the present ones, both made from
/// the same state for [`Purpose::Preview`](super::Purpose); `cameras` are those of the first.
pub fn preview(asked: Plan, present: &Plan, cameras: &[Camera]) -> Preview {
    let reasons = asked.removed();
    let would_delete = reasons.total();
    let now = present.removed().total();
    let mut held = Tally::default();
    for camera in cameras {
        held.segments += camera.held_segments;
        held.bytes = held.bytes.saturating_add(camera.held_bytes);
    }
    let early = asked.cameras.iter().zip(cameras).filter_map(|(plan, camera)| before_its_age(plan, camera));
    let mut warnings: Vec<Warning> = early.collect();
    warnings.extend(asked.conditions.iter().cloned().map(Warning::Condition));
    Preview {
        at: asked.at,
        would_delete,
        span: asked.span(),
        reasons,
        kept: asked.kept(),
        held,
        more_segments: difference(would_delete.segments, now.segments),
        more_bytes: difference(would_delete.bytes, now.bytes),
        warnings,
        cameras: asked.cameras,
    }
}

fn difference(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(if a > b { i64::MAX } else { i64::MIN })
}

fn before_its_age(plan: &CameraPlan, camera: &Camera) -> Option<Warning> {
    let evicted =
        Reason::ALL.iter().any(|reason| *reason != Reason::Age && plan.removed.get(*reason).segments > 0);
    let (kept, wanted) = (plan.kept_back?, camera.keep.base());
    (evicted && kept < wanted).then(|| Warning::BeforeItsAge { camera: plan.id.clone(), kept, wanted })
}
