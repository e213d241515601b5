//! Who pays when space is short.
//!
//! The camera furthest above its fair share pays with its oldest footage that may go; one that has none is passed over;
//! when nobody is above, the oldest footage of all goes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use heldar_base::WallTime;

use super::camera::CameraState;
use super::cursor::{Need, Row, order};

pub(super) struct Eviction {
    shares: Vec<u64>,
    /// Cameras above their share, furthest first; at equal distance the one given first.
    above: BinaryHeap<(u64, Reverse<usize>)>,
    /// Cameras above their share with nothing that may go.
    passed_over: Vec<usize>,
    /// Cameras whose oldest segment is not in `oldest` yet.
    unread: Vec<usize>,
    /// The oldest segment of each camera, oldest first.
    oldest: BinaryHeap<Reverse<((WallTime, i64), usize)>>,
}

impl Eviction {
    pub(super) fn new(shares: Vec<u64>, cameras: &[CameraState]) -> Self {
        let excess = |index: usize, camera: &CameraState| {
            let excess = camera.usage().saturating_sub(shares.get(index).copied().unwrap_or(0));
            (excess > 0).then_some((excess, Reverse(index)))
        };
        let above = cameras.iter().enumerate().filter_map(|(index, camera)| excess(index, camera)).collect();
        Eviction {
            above,
            shares,
            passed_over: Vec::new(),
            unread: (0..cameras.len()).rev().collect(),
            oldest: BinaryHeap::new(),
        }
    }

    /// Who pays next, and with what; `None` when nothing may go. The answer stays until [`Self::paid`].
    pub(super) fn next(&mut self, cameras: &mut [CameraState]) -> Result<Option<(usize, Row)>, Need> {
        while let Some((_, Reverse(index))) = self.above.peek().copied() {
            let row = cameras.get_mut(index).map_or(Ok(None), CameraState::next_evictable)?;
            match row {
                Some(row) => return Ok(Some((index, row))),
                None => {
                    self.above.pop();
                    self.passed_over.push(index);
                }
            }
        }
        while let Some(index) = self.unread.last().copied() {
            if let Some(row) = cameras.get_mut(index).map_or(Ok(None), CameraState::next_evictable)? {
                self.oldest.push(Reverse((order(row.segment.id), index)));
            }
            self.unread.pop();
        }
        let Some(Reverse((_, index))) = self.oldest.peek().copied() else { return Ok(None) };
        let row = cameras.get_mut(index).map_or(Ok(None), CameraState::next_evictable)?;
        Ok(row.map(|row| (index, row)))
    }

    /// Notes that camera `index` has paid and now uses `usage` bytes.
    pub(super) fn paid(&mut self, index: usize, usage: u64) {
        if matches!(self.above.peek(), Some((_, Reverse(first))) if *first == index) {
            self.above.pop();
            let excess = usage.saturating_sub(self.shares.get(index).copied().unwrap_or(0));
            if excess > 0 {
                self.above.push((excess, Reverse(index)));
            }
        } else {
            self.oldest.pop();
            self.unread.push(index);
        }
    }

    /// Cameras that were above their share and had nothing that may go.
    pub(super) fn passed_over(&self) -> &[usize] {
        &self.passed_over
    }
}
