//! What of a detection counts, and whether that lies inside of a zone (perception.md 13.1).
//!
//! Owns: anchors, and containment for each of them. Never: which zones are asked; `grid` does that.

use crate::config::Anchor;
use crate::geometry::{Point, Rect, bends, contains, covered};
use crate::zone::Zone;

/// The box of a detection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bbox(pub(crate) Rect);

impl Bbox {
    /// From x, y, width and height; `None` if a number is not finite or a side is negative.
    pub(crate) fn new([x, y, w, h]: [f64; 4]) -> Option<Bbox> {
        let sound = [x, y, w, h].iter().all(|n| n.is_finite() && n.abs() < 1e6) && w >= 0.0 && h >= 0.0;
        sound.then(|| Bbox(Rect { min: Point::new(x, y), max: Point::new(x + w, y + h) }))
    }

    /// x, y, width and height.
    pub(crate) fn sides(&self) -> [f64; 4] {
        let Rect { min, max } = self.0;
        [min.x, min.y, max.x - min.x, max.y - min.y]
    }

    /// The point whose way is followed. That of boxes judged as a whole is the middle of the lower side.
    pub(crate) fn anchor(&self, anchor: Anchor) -> Point {
        let Rect { min, max } = self.0;
        let y = if matches!(anchor, Anchor::Center) { min.y + (max.y - min.y) / 2.0 } else { max.y };
        Point::new(min.x + (max.x - min.x) / 2.0, y)
    }
}

/// The last coordinate that counts as inside of the picture.
const LAST: f64 = 1.0 - 1e-9;

/// A polygon and what of a detection must lie in it.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    points: Vec<Point>,
    around: Rect,
    anchor: Anchor,
    /// Of the whole polygon and the heights of its bends, where boxes are measured.
    measured: Option<(f64, Vec<f64>)>,
}

impl Shape {
    pub(crate) fn of(zone: &Zone) -> Shape {
        let points = zone.points().to_vec();
        let around = Rect::around(&points);
        let anchor = zone.settings().anchor;
        let measured = matches!(anchor, Anchor::Iou(_) | Anchor::Overlap(_)).then(|| {
            let bends = bends(&points);
            (covered(&points, &bends, &around), bends)
        });
        Shape { points, around, anchor, measured }
    }

    /// The box around it.
    pub(crate) fn around(&self) -> Rect {
        self.around
    }

    /// Where a detection must touch the box around the shape to have a chance.
    pub(crate) fn reach(anchor: Anchor, bbox: &Bbox) -> Rect {
        match anchor {
            Anchor::BottomCenter | Anchor::Center => {
                let p = within(bbox.anchor(anchor));
                Rect { min: p, max: p }
            }
            _ => Rect { min: within(bbox.0.min), max: within(bbox.0.max) },
        }
    }

    /// Whether a detection is inside. What touches the right or the lower edge of the picture is still in the picture.
    pub(crate) fn holds(&self, bbox: &Bbox) -> bool {
        let Rect { min, max } = bbox.0;
        match self.anchor {
            Anchor::BottomCenter | Anchor::Center => self.holds_point(bbox.anchor(self.anchor)),
            Anchor::AnyCorner => [min, Point::new(max.x, min.y), Point::new(min.x, max.y), max]
                .into_iter()
                .any(|corner| self.holds_point(corner)),
            Anchor::Overlap(least) => {
                let inside = self.covered(bbox);
                inside > 0.0 && inside >= least * bbox.0.area() - ROUNDING
            }
            Anchor::Iou(least) => {
                let inside = self.covered(bbox);
                let whole = self.measured.as_ref().map_or(0.0, |(area, _)| *area);
                inside > 0.0 && inside >= least * (bbox.0.area() + whole - inside) - ROUNDING
            }
        }
    }

    fn holds_point(&self, p: Point) -> bool {
        let p = within(p);
        self.around.holds(p) && contains(&self.points, p)
    }

    fn covered(&self, bbox: &Bbox) -> f64 {
        match &self.measured {
            Some((_, bends)) if self.around.meets(&bbox.0) => covered(&self.points, bends, &bbox.0),
            _ => 0.0,
        }
    }
}

/// What sums of areas may be off by.
const ROUNDING: f64 = 1e-12;

fn within(p: Point) -> Point {
    Point::new(if p.x >= 1.0 { LAST } else { p.x }, if p.y >= 1.0 { LAST } else { p.y })
}
