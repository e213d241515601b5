//! What each cell usually looks like, and how much it usually differs from that.
//!
//! Owns: per cell a slow mean, its usual deviation, a fast mean (what was there within the last second) and how long the fast
//! mean has fitted; the noise of the whole picture. Never: a decision about things; it says which cells differ.
//!
//! Invariants: every array has one entry per cell; values are finite, as pictures are bytes.

/// Bits of what is said of a cell.
pub(crate) mod cell {
    /// It differs from its background.
    pub(crate) const CHANGED: u8 = 1;
    /// It differs from what was there within the last second.
    pub(crate) const ACTIVE: u8 = 2;
    /// Something that moves is there: its usual deviation learns nothing from it.
    pub(crate) const GUARDED: u8 = 4;
}

/// Time constants, in seconds.
const TAU_QUIET: f32 = 10.0;
const TAU_CHANGED: f32 = 30.0;
/// Where something moves: it must leave nothing of itself behind.
const TAU_GUARDED: f32 = 150.0;
const TAU_DEVIATION: f32 = 20.0;
const TAU_RECENT: f32 = 0.8;
/// After this long without change, what differs from the background becomes part of it.
const STILL_S: f32 = 4.0;
/// Standard deviation of a normal distribution over its mean absolute deviation, and over its median one.
const PER_MEAN_DEVIATION: f32 = 1.2533;
const PER_MEDIAN_DEVIATION: f32 = 1.4826;
/// Share of the cells that the noise of the picture is taken from: one of so many.
const SAMPLED: usize = 4;
/// Steps of the histogram of noise per grey level, and their number.
const STEPS_PER_LEVEL: f32 = 8.0;
const STEPS: usize = 512;

/// How much a cell must differ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// At least so many grey levels.
    pub(crate) floor: f32,
    /// At least so many times its noise.
    pub(crate) factor: f32,
}

#[derive(Debug)]
pub(crate) struct Background {
    pub(crate) mean: Vec<f32>,
    deviation: Vec<f32>,
    recent: Vec<f32>,
    still: Vec<u8>,
    /// Standard deviation of the noise of a cell, as seen from one picture to the next; falls slowly.
    pub(crate) noise: f32,
}

impl Background {
    /// Begins with one picture.
    pub(crate) fn new(now: &[f32]) -> Self {
        Background {
            mean: now.to_vec(),
            deviation: vec![0.0; now.len()],
            recent: now.to_vec(),
            still: vec![0; now.len()],
            noise: 0.0,
        }
    }

    /// Begins again with this picture; what was learnt of noise stays.
    pub(crate) fn restart(&mut self, now: &[f32]) {
        self.mean.copy_from_slice(now);
        self.recent.copy_from_slice(now);
        self.deviation.fill(self.noise / PER_MEAN_DEVIATION);
        self.still.fill(0);
    }

    /// Measures the noise of a picture while watching. What rises at once is hardly noise: a change of the whole picture must
    /// not hide itself.
    pub(crate) fn measure_noise(&mut self, now: &[f32], dt: f32) {
        let seen = self.noise_of(now).min(1.25 * self.noise + 0.3);
        self.noise = seen.max(self.noise * (1.0 - share(dt, TAU_QUIET)));
    }

    /// The noise of a picture: the median difference from what was there within the last second. Things that move fill less
    /// than half of a picture, so that they do not count.
    fn noise_of(&self, now: &[f32]) -> f32 {
        let mut counts = [0u32; STEPS];
        let (now, recent) = (now.chunks(SAMPLED), self.recent.chunks(SAMPLED));
        let mut sampled = 0;
        for (at, (now, recent)) in now.zip(recent).enumerate() {
            // Not a fixed column: its phase runs through the group.
            let within = (at / 7) % now.len();
            let step = ((now[within] - recent[within]).abs() * STEPS_PER_LEVEL) as usize;
            counts[step.min(STEPS - 1)] += 1;
            sampled += 1;
        }
        let mut seen = 0;
        let median = counts.iter().position(|count| {
            seen += count;
            seen * 2 >= sampled
        });
        median.unwrap_or(0) as f32 / STEPS_PER_LEVEL * PER_MEDIAN_DEVIATION
    }

    /// Says of each cell whether it is changed or active; `open` is 0 for those that do not count. Returns the number of
    /// changed ones.
    pub(crate) fn compare(&self, now: &[f32], open: &[u8], limits: Limits, marks: &mut [u8]) -> usize {
        let mut changed = 0;
        let known = self.mean.iter().zip(&self.deviation).zip(&self.recent);
        for (((mark, &now), &open), ((&mean, &deviation), &recent)) in
            marks.iter_mut().zip(now).zip(open).zip(known)
        {
            let limit = self.limit(deviation, limits);
            let is_changed = u8::from((now - mean).abs() > limit) * cell::CHANGED;
            let is_active = u8::from((now - recent).abs() > limit * 0.75) * cell::ACTIVE;
            *mark = (is_changed | is_active) & open;
            changed += usize::from(*mark & cell::CHANGED);
        }
        changed
    }

    /// Grey levels by which a cell with this usual deviation must differ.
    #[inline]
    fn limit(&self, deviation: f32, limits: Limits) -> f32 {
        let noise = (deviation * PER_MEAN_DEVIATION).max(self.noise);
        limits.floor.max(limits.factor * noise)
    }

    /// Whether one cell would be changed if its background were brighter by `shift`.
    pub(crate) fn differs(&self, at: usize, now: f32, shift: f32, limits: Limits) -> bool {
        let known = self.mean.get(at).zip(self.deviation.get(at));
        known.is_some_and(|(&mean, &deviation)| (now - mean - shift).abs() > self.limit(deviation, limits))
    }

    /// Learns from a picture whose cells were marked, `dt` seconds after the last.
    pub(crate) fn learn(&mut self, now: &[f32], marks: &[u8], dt: f32) {
        let (quiet, changed, guarded) =
            (share(dt, TAU_QUIET), share(dt, TAU_CHANGED), share(dt, TAU_GUARDED));
        let (usual, fast) = (share(dt, TAU_DEVIATION), share(dt, TAU_RECENT));
        let still_for = (STILL_S / dt).clamp(3.0, 250.0) as u8;
        let known = self.mean.iter_mut().zip(&mut self.deviation).zip(&mut self.recent).zip(&mut self.still);
        for ((&now, &mark), (((mean, deviation), recent), still)) in now.iter().zip(marks).zip(known) {
            let off = now - *mean;
            let is_changed = mark & cell::CHANGED != 0;
            // What is there now and then hardly raises the usual deviation; what is there half of the time (foliage) makes it
            // grow until it fits.
            let counted = off.abs().min(2.0 * *deviation + 2.0);
            let is_guarded = mark & cell::GUARDED != 0;
            *deviation += if is_guarded { 0.0 } else { usual } * (counted - *deviation);
            let behind = if is_guarded { guarded } else { changed };
            *mean += off * if is_changed { behind } else { quiet };
            *recent += fast * (now - *recent);
            *still = if mark & cell::ACTIVE != 0 { 0 } else { still.saturating_add(1) };
            if is_changed & (*still >= still_for) {
                *mean = *recent;
            }
        }
    }

    /// Learns fast: no cell is older than a few pictures.
    pub(crate) fn learn_fast(&mut self, now: &[f32], pictures: u32, dt: f32) {
        self.noise += 0.3 * (self.noise_of(now) - self.noise);
        let weight = (1.0 / (pictures as f32 + 1.0)).max(0.3);
        let fast = share(dt, TAU_RECENT);
        let known = self.mean.iter_mut().zip(&mut self.deviation).zip(&mut self.recent);
        for (&now, ((mean, deviation), recent)) in now.iter().zip(known) {
            let off = now - *mean;
            *deviation += 0.15 * (off.abs() - *deviation);
            *mean += weight * off;
            *recent += fast * (now - *recent);
        }
        self.still.fill(0);
    }
}

/// The part of a difference that `dt` seconds take away, of one with time constant `tau`.
fn share(dt: f32, tau: f32) -> f32 {
    (dt / tau).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { floor: 8.0, factor: 4.0 };

    /// A cell that shows `level(picture)` at 5 pictures a second, watched for a while; which pictures it was changed in.
    fn changed(pictures: usize, level: impl Fn(usize) -> f32) -> Vec<usize> {
        let frame = |picture| {
            let mut cells = vec![100.0; 64];
            cells[9] = level(picture);
            cells
        };
        let mut background = Background::new(&frame(0));
        let mut marks = vec![0; 64];
        let mut out = Vec::new();
        for picture in 1..pictures {
            let now = frame(picture);
            background.measure_noise(&now, 0.2);
            background.compare(&now, &[0xff; 64], LIMITS, &mut marks);
            if marks[9] & cell::CHANGED != 0 {
                out.push(picture);
            }
            background.learn(&now, &marks, 0.2);
        }
        out
    }

    #[test]
    fn what_passes_is_seen_and_what_stays_becomes_background() {
        let passing = changed(200, |n| if (100..105).contains(&n) { 160.0 } else { 100.0 });
        assert_eq!(passing, (100..105).collect::<Vec<_>>());
        let staying = changed(400, |n| if n >= 100 { 160.0 } else { 100.0 });
        assert!(staying.len() > 15 && staying.len() < 35, "{staying:?}");
    }

    #[test]
    fn what_comes_and_goes_all_the_time_gets_usual() {
        let seen = changed(3000, |n| if n * 7 % 10 < 5 { 130.0 } else { 100.0 });
        assert!(seen.iter().all(|&picture| picture < 1000), "{:?}", seen.last());
        let rare = changed(3000, |n| if n % 20 < 2 { 130.0 } else { 100.0 });
        assert!(rare.len() > 280, "{}", rare.len());
    }

    #[test]
    fn noise_of_the_whole_picture_counts_for_all_cells() {
        let frame = |n: usize| (0..64).map(|at| 100.0 + ((at * 31 + n * 17) % 13) as f32).collect::<Vec<_>>();
        let mut background = Background::new(&frame(0));
        for picture in 1..30 {
            background.learn_fast(&frame(picture), picture as u32, 0.2);
        }
        assert!((2.0..8.0).contains(&background.noise), "{}", background.noise);
        let mut marks = vec![0; 64];
        assert_eq!(background.compare(&frame(31), &[0xff; 64], LIMITS, &mut marks), 0);
    }
}
