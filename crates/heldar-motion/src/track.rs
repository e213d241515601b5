//! One thing followed from picture to picture.
//!
//! Owns: its motion model (constant velocity, a Kalman filter whose two axes share one covariance), its score, and whether it
//! travels. Never: which region belongs to it; that is the tracker's.
//!
//! The score is the logarithm of a likelihood ratio: how much better a moving thing explains the positions than regions
//! that appear by chance. Lengths are cells, times seconds.

use heldar_base::WallTime;

use crate::regions::{CellBox, Region};

/// Positions that are remembered to tell whether it travels.
const TRAIL: usize = 16;
/// Chance that a moving thing is seen in a picture.
const SEEN: f32 = 0.85;
/// What one position may add to the score, so that no two pictures decide.
const BEST_GAIN: f32 = 7.0;
/// Squared distance over variance up to which a region may belong to a track.
const GATE: f32 = 11.0;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stage {
    /// Perhaps chance.
    Tentative,
    /// A moving thing.
    Confirmed {
        id: u64,
        /// When it last moved by itself or had come further.
        moved_at: WallTime,
        /// When it had last come as far as a new track must.
        travelled_at: WallTime,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Track {
    pub(crate) born: WallTime,
    pub(crate) stage: Stage,
    pub(crate) bounds: CellBox,
    /// Share of its cells that changed within the last second.
    pub(crate) active: f32,
    /// Changed cells, smoothed.
    pub(crate) cells: f32,
    pub(crate) score: f32,
    pub(crate) hits: u32,
    pub(crate) missed: u32,
    x: f32,
    y: f32,
    vx: f32,
    vy: f32,
    /// Variances of position and velocity, and how they go together.
    pp: f32,
    pv: f32,
    vv: f32,
    trail: [(f32, f32); TRAIL],
    trail_len: usize,
    /// Where it was when it last counted as moved, and as travelled.
    moved_from: (f32, f32),
    travelled_from: (f32, f32),
}

impl Track {
    pub(crate) fn new(region: &Region, at: WallTime) -> Self {
        let size = region.bounds.size();
        let error = position_error(size);
        // At 5 pictures a second: about its own size and three cells more from one to the next.
        let speed = 5.0 * (3.0 + size);
        let here = (region.x, region.y);
        Track {
            born: at,
            stage: Stage::Tentative,
            bounds: region.bounds,
            active: 0.0,
            cells: region.cells as f32,
            score: 0.0,
            hits: 1,
            missed: 0,
            x: region.x,
            y: region.y,
            vx: 0.0,
            vy: 0.0,
            pp: error * error,
            pv: 0.0,
            vv: speed * speed,
            trail: [here; TRAIL],
            trail_len: 1,
            moved_from: here,
            travelled_from: here,
        }
    }

    pub(crate) fn position(&self) -> (f32, f32) {
        (self.x, self.y)
    }

    /// Moves on by `dt`.
    pub(crate) fn predict(&mut self, dt: f32) {
        // How fast a thing may change its velocity: people turn, and come nearer.
        let acceleration = 4.0 + 0.6 * self.bounds.size();
        let q = acceleration * acceleration;
        let (dx, dy) = (self.vx * dt, self.vy * dt);
        self.x += dx;
        self.y += dy;
        self.bounds.left += dx;
        self.bounds.right += dx;
        self.bounds.top += dy;
        self.bounds.bottom += dy;
        self.pp += 2.0 * dt * self.pv + dt * dt * self.vv + q * dt.powi(4) / 4.0;
        self.pv += dt * self.vv + q * dt.powi(3) / 2.0;
        self.vv += q * dt * dt;
    }

    /// How well a region fits, as what it would add to the score but for the density of clutter; `None` if it does not.
    pub(crate) fn fit(&self, region: &Region) -> Option<f32> {
        let variance = self.variance(region);
        let (dx, dy) = (region.x - self.x, region.y - self.y);
        let distance = (dx * dx + dy * dy) / variance;
        let growth = (region.cells as f32 / self.cells.max(1.0)).ln();
        if distance > GATE || growth.abs() > 1.8 {
            return None;
        }
        let density = SEEN / (std::f32::consts::TAU * variance);
        Some(density.ln() - distance / 2.0 - growth * growth)
    }

    fn variance(&self, region: &Region) -> f32 {
        let error = position_error(region.bounds.size());
        self.pp + error * error
    }

    /// Takes a region as its own; `gain` is what it adds to the score.
    pub(crate) fn hit(&mut self, region: &Region, gain: f32) {
        let variance = self.variance(region);
        let (kp, kv) = (self.pp / variance, self.pv / variance);
        let (dx, dy) = (region.x - self.x, region.y - self.y);
        self.x += kp * dx;
        self.y += kp * dy;
        self.vx += kv * dx;
        self.vy += kv * dy;
        self.vv -= kv * self.pv;
        self.pv *= 1.0 - kp;
        self.pp *= 1.0 - kp;
        self.bounds = region.bounds;
        self.active = region.active as f32 / region.cells.max(1) as f32;
        self.cells += 0.4 * (region.cells as f32 - self.cells);
        self.score = (self.score + gain.min(BEST_GAIN)).min(60.0);
        self.hits = self.hits.saturating_add(1);
        self.missed = 0;
        self.remember();
    }

    /// It was not seen.
    pub(crate) fn miss(&mut self) {
        self.score += (1.0 - SEEN).ln();
        self.missed = self.missed.saturating_add(1);
    }

    fn remember(&mut self) {
        if self.trail_len == TRAIL {
            self.trail.rotate_left(1);
            self.trail_len -= 1;
        }
        if let Some(place) = self.trail.get_mut(self.trail_len) {
            *place = (self.x, self.y);
            self.trail_len += 1;
        }
    }

    /// How far something of this size must come to have travelled.
    pub(crate) fn far(&self) -> f32 {
        (0.5 * self.bounds.size()).clamp(2.5, 24.0)
    }

    /// Whether it has come far within the last pictures, and without much to and fro.
    pub(crate) fn travels(&self) -> bool {
        let trail = self.trail.get(..self.trail_len).unwrap_or_default();
        let now = (self.x, self.y);
        let mut path = 0.0;
        let mut later = now;
        trail.iter().rev().any(|&place| {
            path += apart(place, later);
            later = place;
            let net = apart(place, now);
            net >= self.far() && net >= 0.65 * path
        })
    }

    /// Keeps account of a confirmed track's ways.
    pub(crate) fn account(&mut self, at: WallTime) {
        let (here, far) = ((self.x, self.y), self.far());
        let step = 1.0 + 0.1 * self.bounds.size();
        if let Stage::Confirmed { moved_at, travelled_at, .. } = &mut self.stage {
            // What dissolves into the background shrinks to one side, but nothing in it changes from picture to picture.
            let stepped = apart(here, self.moved_from) >= step && self.active >= 0.05;
            if self.active >= 0.15 || stepped {
                *moved_at = at;
                self.moved_from = here;
            }
            if apart(here, self.travelled_from) >= far {
                *travelled_at = at;
                self.travelled_from = here;
            }
        }
    }

    pub(crate) fn confirm(&mut self, id: u64, at: WallTime) {
        self.stage = Stage::Confirmed { id, moved_at: at, travelled_at: at };
        self.moved_from = (self.x, self.y);
        self.travelled_from = (self.x, self.y);
    }

    /// It stayed where it is for so long that it has to prove itself again.
    pub(crate) fn doubt(&mut self, at: WallTime) {
        self.stage = Stage::Tentative;
        self.score = 0.0;
        self.hits = 1;
        self.born = at;
        self.trail_len = 0;
        self.remember();
    }
}

fn apart(a: (f32, f32), b: (f32, f32)) -> f32 {
    (a.0 - b.0).hypot(a.1 - b.1)
}

/// Standard deviation of the middle of a region; large things change their outline more.
fn position_error(size: f32) -> f32 {
    0.5 + 0.1 * size
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows regions of `size` cells whose middle is `place(picture)`; whether it travels at the end, and its score over
    /// a density of one region per 1000 cells.
    fn follow(size: f32, place: impl Fn(i32) -> (f32, f32)) -> (bool, f32) {
        let region = |picture| {
            let (x, y) = place(picture);
            let half = size / 2.0;
            let bounds = CellBox { left: x - half, top: y - half, right: x + half, bottom: y + half };
            Region { bounds, x, y, cells: (size * size) as u32, active: 0 }
        };
        let mut track = Track::new(&region(0), WallTime(0));
        for picture in 1..12 {
            track.predict(0.2);
            match track.fit(&region(picture)) {
                Some(fit) => track.hit(&region(picture), fit + 1000f32.ln()),
                None => track.miss(),
            }
        }
        (track.travels(), track.score)
    }

    #[test]
    fn straight_ways_travel() {
        for (size, step) in [(2.0, 1.0), (4.0, 2.0), (12.0, 4.0), (20.0, 15.0)] {
            let (travels, score) = follow(size, |n| (20.0 + n as f32 * step, 30.0));
            assert!(travels && score > 15.0, "{size}, {step}: {travels}, {score}");
        }
    }

    #[test]
    fn swaying_does_not() {
        for size in [4.0, 10.0] {
            let (travels, _) =
                follow(size, |n| (20.0 + [0.0, 1.5, 2.0, 1.5, 0.0, -1.5][n as usize % 6], 30.0));
            assert!(!travels, "{size}");
        }
        let (travels, _) = follow(3.0, |_| (20.0, 30.0));
        assert!(!travels);
    }

    #[test]
    fn jumps_add_nothing() {
        let (_, score) = follow(2.0, |n| ((n * 37 % 50) as f32, (n * 53 % 41) as f32));
        assert!(score < 5.0, "{score}");
    }
}
