//! How many regions appear that nobody follows: rain, foliage, noise.
//!
//! Owns: their usual number per picture by size, and where they are frequent. A track must line up better the more of them
//! there are, so that the number of false tracks per hour does not depend on the weather.

use crate::grid::Grid;
use crate::regions::Region;

/// Classes of size, each four times as large as the one before.
const CLASSES: usize = 5;
/// Tiles of the picture.
const TILE_COLS: usize = 12;
const TILE_ROWS: usize = 8;
/// Memory, in seconds: longer than the lull between two gusts.
const TAU: f32 = 120.0;
/// Regions per picture that are taken for granted even where none was seen.
const AT_LEAST: f32 = 0.02;
/// Regions per picture that are expected at first, and how much of the first seconds that is worth.
const AT_FIRST: f32 = 1.0;
const FIRST_S: f32 = 1.0;
/// What may be expected of any tile.
const TILE_AT_LEAST: f32 = 0.002;

#[derive(Debug)]
pub(crate) struct Clutter {
    cols: f32,
    rows: f32,
    /// Regions per picture of a class or a greater one.
    number: [f32; CLASSES],
    /// Regions per picture, in each tile.
    tiles: [f32; TILE_COLS * TILE_ROWS],
    /// Seconds that were seen, up to [`TAU`].
    seen: f32,
}

impl Clutter {
    pub(crate) fn new(grid: &Grid) -> Self {
        Clutter {
            cols: grid.cols as f32,
            rows: grid.rows as f32,
            number: [AT_FIRST; CLASSES],
            tiles: [0.0; TILE_COLS * TILE_ROWS],
            seen: FIRST_S,
        }
    }

    /// Counts the regions of a picture that belong to nothing that moves.
    pub(crate) fn count<'a>(&mut self, regions: impl Iterator<Item = &'a Region>, dt: f32) {
        // A plain mean at first.
        self.seen = (self.seen + dt).min(TAU);
        let weight = (dt / self.seen).min(1.0);
        for average in self.number.iter_mut().chain(&mut self.tiles) {
            *average *= 1.0 - weight;
        }
        for region in regions {
            for number in self.number.iter_mut().take(class(region.cells as f32) + 1) {
                *number += weight;
            }
            let tile = self.tile(region.x, region.y);
            if let Some(tile) = self.tiles.get_mut(tile) {
                *tile += weight;
            }
        }
    }

    /// So many regions of about that size and place were something that moves after all: on a busy path people must not make it
    /// harder for those behind them.
    pub(crate) fn forgive(&mut self, x: f32, y: f32, cells: f32, regions: u32, dt: f32) {
        let counted = regions as f32 * (dt / self.seen).min(1.0);
        let tile = self.tile(x, y);
        let tile = self.tiles.iter_mut().skip(tile).take(1);
        for average in self.number.iter_mut().take(class(cells) + 1).chain(tile) {
            *average = (*average - counted).max(0.0);
        }
    }

    fn tile(&self, x: f32, y: f32) -> usize {
        let col = (x / self.cols * TILE_COLS as f32) as usize;
        let row = (y / self.rows * TILE_ROWS as f32) as usize;
        row.min(TILE_ROWS - 1) * TILE_COLS + col.min(TILE_COLS - 1)
    }

    /// Regions per picture of so many cells or more.
    fn number(&self, cells: f32) -> f32 {
        self.number.get(class(cells)).copied().unwrap_or(0.0).max(AT_LEAST)
    }

    /// Regions per picture of so many cells or more, were they everywhere as frequent as at this place.
    pub(crate) fn number_at(&self, x: f32, y: f32, cells: f32) -> f32 {
        let here = self.tiles.get(self.tile(x, y)).copied().unwrap_or(0.0);
        let usual = self.number[0] / self.tiles.len() as f32;
        let local = (here + TILE_AT_LEAST) / (usual + TILE_AT_LEAST);
        self.number(cells) * local.max(0.3)
    }

    /// The same per cell of area.
    pub(crate) fn density(&self, x: f32, y: f32, cells: f32) -> f32 {
        self.number_at(x, y, cells) / (self.cols * self.rows)
    }
}

fn class(cells: f32) -> usize {
    [8.0, 32.0, 128.0, 512.0].iter().filter(|&&from| cells >= from).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::regions::CellBox;

    #[test]
    fn numbers_follow_what_is_seen() {
        let grid = Grid::of(320, 180, 320).unwrap();
        let mut clutter = Clutter::new(&grid);
        let region = |cells| Region { bounds: CellBox::default(), x: 20.0, y: 20.0, cells, active: 0 };
        let rain = [region(4), region(4), region(40)];
        for _ in 0..4000 {
            clutter.count(rain.iter(), 0.2);
        }
        for (cells, number) in [(3.0, 3.0), (9.0, 1.0), (40.0, 1.0), (200.0, AT_LEAST)] {
            assert!((clutter.number(cells) - number).abs() < 0.05, "{cells}: {}", clutter.number(cells));
        }
        assert!(clutter.density(20.0, 20.0, 4.0) > 50.0 * clutter.density(150.0, 80.0, 4.0));
        let before = clutter.number(3.0);
        clutter.forgive(20.0, 20.0, 4.0, 30, 0.2);
        assert!((before - clutter.number(3.0) - 0.05).abs() < 0.001, "30 of 600 pictures");
        for _ in 0..4000 {
            clutter.count([].iter(), 0.2);
        }
        assert!(clutter.number(3.0) < 0.03);
    }
}
