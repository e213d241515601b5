//! Whether a picture that changed as a whole still shows the same place.
//!
//! Owns: the comparison of edges before and after. Light and infrared change brightness and turn contrasts round, but edges
//! stay where they are; a moved camera has them elsewhere.

use crate::grid::Grid;

/// What changed the whole picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SceneChange {
    /// Light, exposure, infrared: the same place.
    Light,
    /// The camera was moved or covered.
    View,
}

/// Correlation of edges below which the place is another.
const SAME_PLACE: f32 = 0.3;
/// Mean steepness of edges, in grey levels per cell, below which a picture shows nothing to compare.
const BLANK: f32 = 0.75;

/// Compares settled pictures of before and after.
pub(crate) fn compare(grid: &Grid, before: &[f32], after: &[f32]) -> SceneChange {
    let (mut n, mut a, mut b, mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for (before, after) in edges(grid, before).zip(edges(grid, after)) {
        // Roots, so that a few hard edges do not speak for the whole picture.
        let (p, q) = (before.sqrt(), after.sqrt());
        n += 1.0;
        a += p;
        b += q;
        aa += p * p;
        bb += q * q;
        ab += p * q;
    }
    if n == 0.0 || (aa / n < BLANK && bb / n < BLANK) {
        return SceneChange::Light;
    }
    let (va, vb) = (aa - a * a / n, bb - b * b / n);
    let correlation = (ab - a * b / n) / (va * vb).max(f32::MIN_POSITIVE).sqrt();
    if correlation < SAME_PLACE { SceneChange::View } else { SceneChange::Light }
}

/// Steepness over squares of 2 x 2 cells, which noise hardly makes.
fn edges<'a>(grid: &Grid, picture: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
    let (cols, rows) = (grid.cols / 2, grid.rows / 2);
    let stride = grid.cols;
    let square = move |col: usize, row: usize| {
        let at = row * 2 * stride + col * 2;
        [at, at + 1, at + stride, at + stride + 1]
            .iter()
            .map(|&at| picture.get(at).copied().unwrap_or_default())
            .sum::<f32>()
            / 4.0
    };
    let inner = (1..rows.saturating_sub(1)).flat_map(move |row| (1..cols - 1).map(move |col| (col, row)));
    inner.map(move |(col, row)| {
        let across = square(col + 1, row) - square(col - 1, row);
        let down = square(col, row + 1) - square(col, row - 1);
        across.abs() + down.abs()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of boxes, moved and with levels changed.
    fn picture(grid: &Grid, dx: usize, dy: usize, level: impl Fn(f32) -> f32) -> Vec<f32> {
        let cell = |x: usize, y: usize| {
            let (x, y) = (x + dx, y + dy);
            let random = |x: usize, y: usize| (x * 7919 + y * 104_729).wrapping_mul(2_654_435_761) >> 9;
            let base = 60.0 + (random(x / 13, y / 9) % 11) as f32 * 12.0;
            level(base + (random(x, y) % 5) as f32)
        };
        (0..grid.cells()).map(|at| cell(at % grid.cols, at / grid.cols)).collect()
    }

    #[test]
    fn light_leaves_edges_where_they_are() {
        let grid = Grid::of(320, 180, 320).unwrap();
        let before = picture(&grid, 0, 0, |level| level);
        let check = |after: Vec<f32>, expect| assert_eq!(compare(&grid, &before, &after), expect);
        check(picture(&grid, 0, 0, |level| level * 0.6), SceneChange::Light);
        check(picture(&grid, 0, 0, |level| 220.0 - level), SceneChange::Light);
        check(picture(&grid, 6, 5, |level| level), SceneChange::View);
        check(picture(&grid, 40, 20, |level| 220.0 - level), SceneChange::View);
        check(vec![16.0; grid.cells()], SceneChange::View);
        assert_eq!(compare(&grid, &vec![16.0; grid.cells()], &vec![90.0; grid.cells()]), SceneChange::Light);
    }
}
