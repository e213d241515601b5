//! Changed cells gathered into regions.
//!
//! Owns: which changed cells count (a lonely one is noise), and the connected components of blocks of 2 x 2 cells. Never: time.
//!
//! Invariants: at most [`MAX_REGIONS`] regions, each inside the grid and not empty; the work is bounded by the number of cells.

use crate::background::cell;
use crate::grid::Grid;

/// Regions of one picture; past that the largest are kept.
pub(crate) const MAX_REGIONS: usize = 64;
/// Changed cells among a cell and its eight neighbours for it to count.
const FEWEST_TOGETHER: u32 = 3;
/// A region whose cells fill less of its box is a scatter of specks.
const SPARSEST: f32 = 0.12;

/// A box in cells: right and lower edge are outside.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct CellBox {
    pub(crate) left: f32,
    pub(crate) top: f32,
    pub(crate) right: f32,
    pub(crate) bottom: f32,
}

impl CellBox {
    pub(crate) fn width(&self) -> f32 {
        self.right - self.left
    }

    pub(crate) fn height(&self) -> f32 {
        self.bottom - self.top
    }

    pub(crate) fn area(&self) -> f32 {
        self.width() * self.height()
    }

    /// Side of the square of the same area.
    pub(crate) fn size(&self) -> f32 {
        self.area().max(0.0).sqrt()
    }

    /// Area that both share.
    pub(crate) fn shared(&self, other: &CellBox) -> f32 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        width.max(0.0) * height.max(0.0)
    }

    /// Both together.
    pub(crate) fn with(&self, other: &CellBox) -> CellBox {
        CellBox {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }
}

/// A connected part of what has changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Region {
    pub(crate) bounds: CellBox,
    /// Middle of its changed cells.
    pub(crate) x: f32,
    pub(crate) y: f32,
    /// Changed cells.
    pub(crate) cells: u32,
    /// Those that differ from what was there within the last second.
    pub(crate) active: u32,
}

/// Finds regions; keeps its scratch from picture to picture.
#[derive(Debug)]
pub(crate) struct Finder {
    cols: usize,
    block_cols: usize,
    /// Per block: 0 empty, 1 filled, from 2 on the number of its region plus 2.
    blocks: Vec<u16>,
    /// Cells that count, with their marks.
    kept: Vec<(u16, u16, u8)>,
    stack: Vec<u32>,
    sums: Vec<Sums>,
    pub(crate) regions: Vec<Region>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    cells: u32,
    active: u32,
    x: u32,
    y: u32,
    left: u16,
    top: u16,
    right: u16,
    bottom: u16,
}

const EMPTY: u16 = 0;
const FILLED: u16 = 1;
const FIRST: u16 = 2;

impl Finder {
    pub(crate) fn new(grid: &Grid) -> Self {
        let block_cols = grid.cols.div_ceil(2);
        Finder {
            cols: grid.cols,
            block_cols,
            blocks: vec![EMPTY; block_cols * grid.rows.div_ceil(2)],
            kept: Vec::new(),
            stack: Vec::new(),
            sums: Vec::new(),
            regions: Vec::new(),
        }
    }

    /// Changed cells that count, of the last picture.
    pub(crate) fn counted(&self) -> usize {
        self.kept.len()
    }

    /// Finds the regions of at least `smallest` cells. Those past the bound are the smallest ones.
    pub(crate) fn find(&mut self, marks: &[u8], smallest: usize) {
        self.keep(marks);
        self.label();
        self.sum();
        let fewest = u32::try_from(smallest).unwrap_or(u32::MAX);
        self.regions.clear();
        self.regions.extend(self.sums.iter().filter(|sums| sums.cells >= fewest).map(Sums::region));
        self.regions.retain(|region| region.cells as f32 >= SPARSEST * region.bounds.area());
        if self.regions.len() > MAX_REGIONS {
            self.regions.sort_by(|a, b| b.cells.cmp(&a.cells).then(a.x.total_cmp(&b.x)));
            self.regions.truncate(MAX_REGIONS);
        }
    }

    /// Picks the cells that count and fills their blocks.
    fn keep(&mut self, marks: &[u8]) {
        self.kept.clear();
        self.blocks.fill(EMPTY);
        let row = |y: usize| marks.get(y * self.cols..(y + 1) * self.cols).unwrap_or_default();
        for (y, line) in marks.chunks_exact(self.cols).enumerate() {
            // Most of a picture is empty: eight cells at once.
            for (group, eight) in line.chunks(8).enumerate() {
                if eight.iter().fold(0, |all, mark| all | mark) & cell::CHANGED == 0 {
                    continue;
                }
                for (within, &mark) in eight.iter().enumerate() {
                    let x = group * 8 + within;
                    if mark & cell::CHANGED == 0 {
                        continue;
                    }
                    let around = |line: &[u8]| {
                        let near = line.get(x.saturating_sub(1)..(x + 2).min(self.cols)).unwrap_or_default();
                        near.iter().map(|mark| u32::from(mark & cell::CHANGED)).sum::<u32>()
                    };
                    let above = y.checked_sub(1).map_or(0, |y| around(row(y)));
                    if above + around(line) + around(row(y + 1)) >= FEWEST_TOGETHER {
                        self.kept.push((x as u16, y as u16, mark));
                        if let Some(block) = self.blocks.get_mut(y / 2 * self.block_cols + x / 2) {
                            *block = FILLED;
                        }
                    }
                }
            }
        }
    }

    /// Numbers connected blocks, corners included.
    fn label(&mut self) {
        let mut next = FIRST;
        self.sums.clear();
        for start in 0..self.blocks.len() {
            if self.blocks[start] != FILLED {
                continue;
            }
            self.blocks[start] = next;
            self.stack.push(start as u32);
            while let Some(at) = self.stack.pop() {
                let (x, y) = (at as usize % self.block_cols, at as usize / self.block_cols);
                for near_y in y.saturating_sub(1)..=y + 1 {
                    for near_x in x.saturating_sub(1)..=(x + 1).min(self.block_cols - 1) {
                        let near = near_y * self.block_cols + near_x;
                        if let Some(block) = self.blocks.get_mut(near).filter(|block| **block == FILLED) {
                            *block = next;
                            self.stack.push(near as u32);
                        }
                    }
                }
            }
            self.sums.push(Sums { left: u16::MAX, top: u16::MAX, ..Sums::default() });
            next += 1;
        }
    }

    fn sum(&mut self) {
        for &(x, y, mark) in &self.kept {
            let block = self.blocks.get(usize::from(y) / 2 * self.block_cols + usize::from(x) / 2);
            let number = block.and_then(|block| block.checked_sub(FIRST));
            let Some(sums) = number.and_then(|number| self.sums.get_mut(usize::from(number))) else {
                continue;
            };
            sums.cells += 1;
            sums.active += u32::from(mark & cell::ACTIVE != 0);
            sums.x += u32::from(x);
            sums.y += u32::from(y);
            sums.left = sums.left.min(x);
            sums.top = sums.top.min(y);
            sums.right = sums.right.max(x + 1);
            sums.bottom = sums.bottom.max(y + 1);
        }
    }
}

impl Sums {
    fn region(&self) -> Region {
        let cells = self.cells as f32;
        Region {
            bounds: CellBox {
                left: f32::from(self.left),
                top: f32::from(self.top),
                right: f32::from(self.right),
                bottom: f32::from(self.bottom),
            },
            x: self.x as f32 / cells + 0.5,
            y: self.y as f32 / cells + 0.5,
            cells: self.cells,
            active: self.active,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Marks from rows of text: `#` changed, `+` changed and active.
    fn find(rows: &[&str], smallest: usize) -> Vec<(f32, f32, f32, f32, u32, u32)> {
        let (cols, rows_count) = (rows[0].len(), rows.len());
        let grid = Grid::of(cols * 2, rows_count * 2, 640).unwrap();
        let marks: Vec<u8> = rows
            .concat()
            .bytes()
            .map(|byte| match byte {
                b'#' => cell::CHANGED,
                b'+' => cell::CHANGED | cell::ACTIVE,
                _ => 0,
            })
            .collect();
        let mut finder = Finder::new(&grid);
        finder.find(&marks, smallest);
        let tuple =
            |r: &Region| (r.bounds.left, r.bounds.top, r.bounds.right, r.bounds.bottom, r.cells, r.active);
        finder.regions.iter().map(tuple).collect()
    }

    #[test]
    fn regions_are_connected_cells() {
        let picture = [
            "##..........",
            "##..........",
            "............",
            "............",
            "......+#....",
            "......##....",
            "............",
            ".........##.",
            "...........#",
            "#...........",
        ];
        // The cells on the right touch by a corner, but only one of them has two changed neighbours.
        assert_eq!(find(&picture, 2), [(0.0, 0.0, 2.0, 2.0, 4, 0), (6.0, 4.0, 8.0, 6.0, 4, 1)]);
        assert_eq!(find(&picture, 1).len(), 3);
        assert_eq!(find(&picture, 5), []);
    }

    #[test]
    fn pieces_a_block_apart_are_one() {
        let blank = "............";
        let split = ["##...###....", "##...###....", blank, blank, blank, blank, blank, blank];
        assert_eq!(find(&split, 2).len(), 2);
        let near = ["##.###......", "##.###......", blank, blank, blank, blank, blank, blank];
        assert_eq!(find(&near, 2), [(0.0, 0.0, 6.0, 2.0, 10, 0)]);
    }

    proptest! {
        #[test]
        fn regions_hold_what_counts(marks in prop::collection::vec(0u8..16, 40 * 30), smallest in 0usize..6) {
            let marks: Vec<u8> = marks.into_iter().map(|mark| if mark < 4 { mark } else { 0 }).collect();
            let grid = Grid::of(80, 60, 640).unwrap();
            let mut finder = Finder::new(&grid);
            finder.find(&marks, smallest);
            prop_assert!(finder.regions.len() <= MAX_REGIONS);
            let cells: u32 = finder.regions.iter().map(|region| region.cells).sum();
            prop_assert!(cells as usize <= finder.counted());
            for region in &finder.regions {
                let bounds = region.bounds;
                prop_assert!(bounds.left < bounds.right && bounds.right <= 40.0, "{region:?}");
                prop_assert!(bounds.top < bounds.bottom && bounds.bottom <= 30.0, "{region:?}");
                prop_assert!(region.cells as f32 <= bounds.area() && region.active <= region.cells);
                prop_assert!((bounds.left..bounds.right).contains(&region.x));
                prop_assert!((bounds.top..bounds.bottom).contains(&region.y));
            }
        }
    }
}
