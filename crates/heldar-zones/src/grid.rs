//! Which zones a point, a move or a box can concern.
//!
//! Owns: boxes sorted into cells of the picture. Never: shapes; who asks tests those that are named.

use crate::geometry::{Point, Rect};

/// Cells in each direction.
const SIDE: usize = 16;
/// Up to so many boxes are simply all looked at.
const FEW: usize = 4;

/// Boxes of zones by the cells that they touch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grid {
    boxes: Vec<(Rect, u32)>,
    /// For each cell the positions of its boxes; empty when there are few.
    cells: Vec<Vec<u32>>,
}

impl Grid {
    pub(crate) fn new(boxes: Vec<(Rect, u32)>) -> Grid {
        let mut cells = Vec::new();
        if boxes.len() > FEW {
            cells.resize(SIDE * SIDE, Vec::new());
            for (at, (rect, _)) in (0u32..).zip(&boxes) {
                for cell in span(rect) {
                    if let Some(cell) = cells.get_mut(cell) {
                        cell.push(at);
                    }
                }
            }
        }
        Grid { boxes, cells }
    }

    /// Whether it holds no box at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }

    /// Appends the zones whose boxes meet `rect`, each once, ascending.
    pub(crate) fn meeting(&self, rect: &Rect, out: &mut Vec<u32>) {
        let before = out.len();
        if self.cells.is_empty() {
            out.extend(self.boxes.iter().filter(|(around, _)| around.meets(rect)).map(|(_, zone)| *zone));
        } else {
            for cell in span(rect).filter_map(|cell| self.cells.get(cell)) {
                let boxes = cell.iter().filter_map(|at| self.boxes.get(*at as usize));
                out.extend(boxes.filter(|(around, _)| around.meets(rect)).map(|(_, zone)| *zone));
            }
        }
        if out.len() > before + 1 {
            out.sort_unstable();
            out.dedup();
        }
    }
}

fn cell(at: f64) -> usize {
    // A cast of a negative number or NaN is 0.
    ((at * SIDE as f64) as usize).min(SIDE - 1)
}

fn span(rect: &Rect) -> impl Iterator<Item = usize> {
    let Point { x: left, y: top } = rect.min;
    let Point { x: right, y: bottom } = rect.max;
    let (left, right) = (cell(left), cell(right));
    (cell(top)..=cell(bottom)).flat_map(move |row| (left..=right).map(move |column| row * SIDE + column))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rect() -> impl Strategy<Value = Rect> {
        // Edges of cells, and places outside of the picture.
        let at = || prop_oneof![(-2i32..=34).prop_map(|n| f64::from(n) / 32.0), -0.1f64..1.1];
        (at(), at(), at(), at()).prop_map(|(a, b, c, d)| Rect::around(&[Point::new(a, b), Point::new(c, d)]))
    }

    proptest! {
        #[test]
        fn what_meets_is_found_once(boxes in prop::collection::vec(rect(), 0..40), asked in rect(), dot: bool) {
            let asked = if dot { Rect { max: asked.min, ..asked } } else { asked };
            let numbered: Vec<_> = (0u32..).zip(&boxes).map(|(n, rect)| (*rect, n)).collect();
            let expect: Vec<u32> =
                numbered.iter().filter(|(rect, _)| rect.meets(&asked)).map(|(_, n)| *n).collect();
            let mut found = Vec::new();
            Grid::new(numbered).meeting(&asked, &mut found);
            prop_assert_eq!(found, expect);
        }
    }
}
