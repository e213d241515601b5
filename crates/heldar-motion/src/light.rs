//! Light that changes over the whole picture: exposure steps, lamps, clouds.
//!
//! Owns: how much brighter each grey level has become, and whether that explains the picture. Never: a change of the
//! background that explains less than half of what differs.

use crate::background::{Background, Limits};

/// Grey levels are gathered in so many bins.
const BINS: usize = 16;
const LEVELS_PER_BIN: f32 = 256.0 / BINS as f32;
/// Differences are counted in steps of 2 grey levels, from -128 on.
const STEPS: usize = 128;
/// One cell of so many is looked at; no divisor of usual widths, so that all columns take part.
const SAMPLED: usize = 3;
/// A bin with fewer samples says nothing.
const FEWEST: u32 = 24;

/// How much brighter each grey level has become: straight lines between the middles of bins.
#[derive(Debug)]
pub(crate) struct LightChange {
    shifts: [f32; BINS],
    /// Share of the changed cells that it does not explain.
    pub(crate) unexplained: f32,
}

impl LightChange {
    /// The median difference of each grey level; `None` where too few cells count.
    fn measure(background: &Background, now: &[f32], open: &[u8]) -> Option<LightChange> {
        let mut counts = [[0u16; STEPS]; BINS];
        for ((&mean, &now), _) in sampled(&background.mean, now, open) {
            let bin = (mean / LEVELS_PER_BIN) as usize;
            let step = ((now - mean + STEPS as f32) / 2.0).max(0.0) as usize;
            counts[bin.min(BINS - 1)][step.min(STEPS - 1)] += 1;
        }
        let mut shifts = counts.each_ref().map(median);
        fill_from_neighbours(&mut shifts);
        let mut out = [0.0; BINS];
        for (out, shift) in out.iter_mut().zip(shifts) {
            *out = shift?;
        }
        Some(LightChange { shifts: out, unexplained: 1.0 })
    }

    /// By how much a cell of this mean has become brighter.
    fn at(&self, mean: f32) -> f32 {
        let place = (mean / LEVELS_PER_BIN - 0.5).clamp(0.0, (BINS - 1) as f32);
        let below = (place as usize).min(BINS - 2);
        let part = place - below as f32;
        self.shifts[below] * (1.0 - part) + self.shifts[below + 1] * part
    }

    /// Finds the change of light that explains at least half of the changed cells, if there is one.
    pub(crate) fn find(background: &Background, now: &[f32], open: &[u8], limits: Limits) -> Option<Self> {
        let mut change = Self::measure(background, now, open)?;
        let (mut before, mut after) = (0u32, 0u32);
        for ((&mean, &now), at) in sampled(&background.mean, now, open) {
            before += u32::from(background.differs(at, now, 0.0, limits));
            after += u32::from(background.differs(at, now, change.at(mean), limits));
        }
        change.unexplained = after as f32 / before.max(1) as f32;
        (after * 2 < before).then_some(change)
    }

    /// Takes the change over into the background.
    pub(crate) fn apply(&self, background: &mut Background) {
        for mean in &mut background.mean {
            *mean = (*mean + self.at(*mean)).clamp(0.0, 255.0);
        }
    }
}

/// Means and present levels of the cells that are looked at, with their places.
fn sampled<'a>(
    mean: &'a [f32],
    now: &'a [f32],
    open: &'a [u8],
) -> impl Iterator<Item = ((&'a f32, &'a f32), usize)> {
    let cells = mean.iter().zip(now).zip(open).zip(0..);
    cells.step_by(SAMPLED).filter(|((_, open), _)| **open != 0).map(|((pair, _), at)| (pair, at))
}

/// The median difference in grey levels; `None` of too few.
fn median(counts: &[u16; STEPS]) -> Option<f32> {
    let all: u32 = counts.iter().map(|&count| u32::from(count)).sum();
    let mut seen = 0;
    let step = counts.iter().position(|&count| {
        seen += u32::from(count);
        seen * 2 >= all
    })?;
    (all >= FEWEST).then_some(step as f32 * 2.0 + 1.0 - STEPS as f32)
}

/// Bins without samples take the shift of the nearest one with some.
fn fill_from_neighbours(shifts: &mut [Option<f32>; BINS]) {
    let known = *shifts;
    for (at, shift) in shifts.iter_mut().enumerate().filter(|(_, shift)| shift.is_none()) {
        *shift = (1..BINS).find_map(|far| {
            let below = at.checked_sub(far).and_then(|at| known.get(at)).copied().flatten();
            below.or_else(|| known.get(at + far).copied().flatten())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { floor: 8.0, factor: 4.0 };

    /// Levels from 30 to 180, and what becomes of them.
    fn found(becomes: impl Fn(usize, f32) -> f32) -> Option<f32> {
        let before: Vec<f32> = (0..6000).map(|at| 30.0 + (at * 37 % 151) as f32).collect();
        let after: Vec<f32> = before.iter().enumerate().map(|(at, &level)| becomes(at, level)).collect();
        let mut background = Background::new(&before);
        LightChange::find(&background, &after, &vec![0xff; 6000], LIMITS)?.apply(&mut background);
        let off = background.mean.iter().zip(&after).map(|(mean, after)| (mean - after).abs());
        Some(off.sum::<f32>() / 6000.0)
    }

    #[test]
    fn steps_of_light_are_explained() {
        for off in
            [found(|_, level| level + 20.0), found(|_, level| level * 1.3), found(|_, level| level * 0.5)]
        {
            assert!(off.is_some_and(|off| off < 4.0), "{off:?}");
        }
    }

    #[test]
    fn things_are_not() {
        assert_eq!(found(|at, level| if at < 1500 { 200.0 } else { level }), None);
        assert_eq!(found(|_, level| level), None);
    }
}
