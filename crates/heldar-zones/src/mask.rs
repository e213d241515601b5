//! Zones that are asked without an engine: what lies inside of one now, and what must not even be stored (perception.md 12.3).
//!
//! Owns: nothing that changes. Never: tracks, visits or events.

use heldar_base::WallTime;

use crate::engine::{Batch, Detection, masks};
use crate::shape::{Bbox, Shape};
use crate::zone::{Kind, Zone};

/// What a zone encloses, by its own anchor.
#[derive(Clone, Debug)]
pub struct Area(Shape);

impl Area {
    /// Of a zone; a line encloses nothing.
    pub fn of(zone: &Zone) -> Option<Area> {
        (zone.kind() != Kind::Line).then(|| Area(Shape::of(zone)))
    }

    /// Whether a box (x, y, width, height) lies inside. One with numbers that no box has does not.
    pub fn holds(&self, bbox: [f64; 4]) -> bool {
        Bbox::new(bbox).is_some_and(|bbox| self.0.holds(&bbox))
    }
}

/// The `exclude` zones with `drop` of one camera: what they hide is not stored.
#[derive(Clone, Debug, Default)]
pub struct Masks(Vec<(Zone, Area)>);

impl Masks {
    /// Those among the zones of a camera.
    pub fn of(zones: impl IntoIterator<Item = Zone>) -> Masks {
        let drops = |zone: &Zone| zone.enabled() && zone.kind() == Kind::Exclude && zone.settings().drop;
        let masks = zones.into_iter().filter(drops);
        Masks(masks.filter_map(|zone| Area::of(&zone).map(|area| (zone, area))).collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a detection of a batch must not be stored. What claims to lie ahead of `now` is judged as of now.
    pub fn hide(&self, detection: &Detection<'_>, batch: &Batch<'_>, now: WallTime) -> bool {
        let Some(bbox) = detection.bbox else { return false };
        let at = detection.at.unwrap_or(batch.captured_at).min(now);
        let label = detection.label.unwrap_or_default();
        self.0.iter().any(|(zone, area)| {
            masks(zone, label, batch.task_type)
                && zone.settings().schedule.as_ref().is_none_or(|schedule| schedule.at(at).open)
                && area.holds(bbox)
        })
    }
}
