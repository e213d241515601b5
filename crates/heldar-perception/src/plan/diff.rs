//! What differs between the plan that runs and a new one (perception.md 5.2, Edits).

use heldar_base::{CameraId, StreamKind};

use super::{Fate, Plan, PlannedUnit};

/// What has to be done to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// It begins to run; a ring that it has is kept.
    Start,
    /// Source, rate, width or decode mode changed.
    Change,
    /// It runs as before, for other tasks or at other rates of theirs: only what is picked changes.
    Retask,
    /// It no longer runs; its ring stays while the unit is in the plan.
    Stop,
    /// It is in the plan no more: unit and ring go.
    Remove,
}

/// A unit that is touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The camera.
    pub camera: CameraId,
    /// The profile.
    pub profile: StreamKind,
    /// What is done to it.
    pub touch: Touch,
}

/// Names every unit that has to be touched to get from one plan to the other; all others go on undisturbed. First what
/// ends, then what goes on, each in serving order.
pub fn diff(running: &Plan, new: &Plan) -> Vec<Touched> {
    let touched =
        |unit: &PlannedUnit, touch| Touched { camera: unit.camera.clone(), profile: unit.profile, touch };
    let removed = running.units.iter().filter(|unit| new.unit(&unit.camera, unit.profile).is_none());
    let mut all: Vec<Touched> = removed.map(|unit| touched(unit, Touch::Remove)).collect();
    let changes = new.units.iter().filter_map(|unit| {
        let before = running.unit(&unit.camera, unit.profile);
        Some(touched(unit, touch(before, unit)?))
    });
    let (stops, others): (Vec<_>, Vec<_>) = changes.partition(|t| t.touch == Touch::Stop);
    all.extend(stops);
    all.extend(others);
    all
}

fn touch(before: Option<&PlannedUnit>, after: &PlannedUnit) -> Option<Touch> {
    let decode = |unit: &PlannedUnit| match unit.fate {
        Fate::Run { decode, .. } => Some(decode),
        Fate::Off(_) => None,
    };
    let ran = before.filter(|unit| unit.runs());
    match (ran, after.runs()) {
        (None, false) => None,
        (None, true) => Some(Touch::Start),
        (Some(_), false) => Some(Touch::Stop),
        (Some(before), true) => {
            let setting = |unit: &PlannedUnit| (unit.source, unit.fps, unit.width, decode(unit));
            if setting(before) != setting(after) {
                Some(Touch::Change)
            } else {
                (before.tasks != after.tasks).then_some(Touch::Retask)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{policy, unit};
    use super::super::{Demand, Unit, plan};
    use super::*;
    use crate::TaskId;

    fn base() -> Vec<Unit> {
        (0..4).map(|n| unit(&format!("cam{n}"), 100, 5.0, 640)).collect()
    }

    /// What is touched when `edit` changes four units of 5 pictures a second.
    #[track_caller]
    fn check(edit: impl FnOnce(&mut Vec<Unit>), expect: &[(&str, Touch)]) {
        let before = plan(&base(), &policy(40.0));
        let mut units = base();
        edit(&mut units);
        let touched = diff(&before, &plan(&units, &policy(40.0)));
        let got: Vec<(&str, Touch)> = touched.iter().map(|t| (t.camera.as_str(), t.touch)).collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn an_edit_touches_its_own_unit() {
        check(|_| {}, &[]);
        check(|units| units.reverse(), &[]);
        check(|units| units[1].tasks[0].fps = 2.0, &[("cam1", Touch::Change)]);
        check(|units| units[1].tasks[0].width = 320, &[("cam1", Touch::Change)]);
        check(|units| units[1].priority = 500, &[]);
        check(|units| drop(units.remove(2)), &[("cam2", Touch::Remove)]);
        check(|units| units.push(unit("new", 100, 5.0, 640)), &[("new", Touch::Start)]);
        check(|units| units[3].demand = Demand::Idle, &[("cam3", Touch::Stop)]);
        check(|units| units[3].source = None, &[("cam3", Touch::Stop)]);
        check(
            |units| {
                let slower = super::super::TaskWant { task: TaskId::new(99), fps: 1.0, ..units[0].tasks[0] };
                units[0].tasks.push(slower);
            },
            &[("cam0", Touch::Retask)],
        );
        check(
            |units| {
                units.push(unit("new", 100, 5.0, 640));
                units[0].demand = Demand::Idle;
                units.remove(1);
            },
            &[("cam1", Touch::Remove), ("cam0", Touch::Stop), ("new", Touch::Start)],
        );
    }
}
