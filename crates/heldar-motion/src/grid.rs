//! The cells that a plane is averaged into.
//!
//! Owns: how large a cell is, which cells count (masks), and the averaging. Memory per cell bounds that of a detector, so
//! the number of cells is bounded by [`MAX_CELLS`] whatever the plane.

use crate::config::Polygon;
use crate::plane::Plane;

/// No plane is divided into more cells. A detector keeps about 40 bytes for each; a plane of 320 x 180 has 14,400.
pub const MAX_CELLS: usize = 32_768;

/// Fewer cells on a side say nothing about motion.
const FEWEST: usize = 8;

/// Rows of one cell that are averaged, so that sums of 16 bits hold them.
const MAX_ROWS: usize = 256;

/// How a plane of one size is divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    width: usize,
    height: usize,
    /// Pixels on a side of a cell; at least 2.
    cell: usize,
    pub(crate) cols: usize,
    pub(crate) rows: usize,
}

impl Grid {
    /// Cells of 2 x 2 pixels of the plane scaled to about `scale_width`; `None` for planes too small to tell.
    ///
    /// Pixels right of and below the last whole cell are left out.
    pub(crate) fn of(width: usize, height: usize, scale_width: usize) -> Option<Grid> {
        let most = (scale_width / 2).max(FEWEST);
        let mut cell = (width.saturating_add(most / 2) / most).max(2);
        while (width / cell).saturating_mul(height / cell) > MAX_CELLS {
            // Grows by a sixteenth, so that the loop is short for any plane.
            cell += cell.div_ceil(16);
        }
        let (cols, rows) = (width / cell, height / cell);
        (cols >= FEWEST && rows >= FEWEST).then_some(Grid { width, height, cell, cols, rows })
    }

    pub(crate) fn cells(&self) -> usize {
        self.cols * self.rows
    }

    /// Whether the plane has the size that this grid was made for.
    pub(crate) fn fits(&self, plane: &Plane<'_>) -> bool {
        (self.width, self.height) == (plane.width(), plane.height())
    }

    /// Mean grey level of each cell. `sums` is scratch.
    pub(crate) fn average(&self, plane: &Plane<'_>, sums: &mut Vec<u16>, out: &mut [f32]) {
        let taken = self.cell.min(MAX_ROWS);
        let scale = 1.0 / (taken * self.cell) as f32;
        let used = self.cols * self.cell;
        sums.clear();
        sums.resize(used, 0);
        for (row, line) in out.chunks_exact_mut(self.cols).enumerate() {
            let top = row * self.cell;
            sums.fill(0);
            for y in top..top + taken {
                for (sum, &pixel) in sums.iter_mut().zip(plane.row(y)) {
                    // At most 256 rows of 255: it never wraps.
                    *sum = sum.wrapping_add(u16::from(pixel));
                }
            }
            if self.cell == 2 {
                for (mean, pair) in line.iter_mut().zip(sums.as_chunks::<2>().0) {
                    *mean = f32::from(pair[0].wrapping_add(pair[1])) * scale;
                }
            } else {
                for (mean, part) in line.iter_mut().zip(sums.chunks_exact(self.cell)) {
                    *mean = part.iter().map(|&sum| u32::from(sum)).sum::<u32>() as f32 * scale;
                }
            }
        }
    }

    /// Per cell 0xff where it counts, 0 where its middle lies in one of the polygons.
    pub(crate) fn open(&self, masks: &[Polygon]) -> Vec<u8> {
        let mut open = Vec::with_capacity(self.cells());
        for row in 0..self.rows {
            let y = self.share_y(row as f32 + 0.5);
            for col in 0..self.cols {
                let x = self.share_x(col as f32 + 0.5);
                let masked = masks.iter().any(|polygon| polygon.contains(x, y));
                open.push(if masked { 0 } else { 0xff });
            }
        }
        open
    }

    /// A distance in cells from the left edge as share of the plane's width, 0..1.
    pub(crate) fn share_x(&self, x: f32) -> f32 {
        (x * self.cell as f32 / self.width as f32).clamp(0.0, 1.0)
    }

    /// A distance in cells from the upper edge as share of the plane's height, 0..1.
    pub(crate) fn share_y(&self, y: f32) -> f32 {
        (y * self.cell as f32 / self.height as f32).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(width: usize, height: usize, expect: Option<(usize, usize, usize)>) {
        let grid = Grid::of(width, height, 320);
        assert_eq!(grid.map(|g| (g.cell, g.cols, g.rows)), expect, "{width} x {height}");
    }

    #[test]
    fn cells_fit_the_plane_and_the_bound() {
        check(320, 180, Some((2, 160, 90)));
        check(321, 181, Some((2, 160, 90)));
        check(352, 288, Some((2, 176, 144)));
        check(640, 360, Some((4, 160, 90)));
        check(160, 90, Some((2, 80, 45)));
        check(16, 16, Some((2, 8, 8)));
        check(15, 16, None);
        check(0, 0, None);
        check(1, 1_000_000, None);
        check(0, usize::MAX, None);
        for (width, height) in [(320, 4000), (4000, 4000), (100_000, 100_000), (320, 568)] {
            let grid = Grid::of(width, height, 320).unwrap();
            assert!(grid.cells() <= MAX_CELLS && grid.cells() > MAX_CELLS / 4, "{grid:?}");
        }
    }

    #[test]
    fn cells_are_means() {
        for (width, height, scale_width) in [(37, 41, 320), (48, 48, 32), (64, 600, 16)] {
            let luma: Vec<u8> = (0..width * height).map(|at| (at * 37 % 251) as u8).collect();
            let plane = Plane::new(width, height, &luma).unwrap();
            let grid = Grid::of(width, height, scale_width).unwrap();
            let mut got = vec![0.0; grid.cells()];
            grid.average(&plane, &mut Vec::new(), &mut got);
            for (at, mean) in got.iter().enumerate() {
                let (left, top) = (at % grid.cols * grid.cell, at / grid.cols * grid.cell);
                let pixels = (top..top + grid.cell)
                    .flat_map(|y| (left..left + grid.cell).map(move |x| (x, y)))
                    .map(|(x, y)| f32::from(luma[y * width + x]));
                let expect = pixels.sum::<f32>() / (grid.cell * grid.cell) as f32;
                assert!((mean - expect).abs() < 0.01, "{width} x {height}, cell {at}: {mean}, not {expect}");
            }
        }
    }
}
