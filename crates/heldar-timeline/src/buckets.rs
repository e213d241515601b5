//! Timelines of several cameras in buckets of equal length.
//!
//! Owns: the choice of a resolution, the limits on the size of an answer, and shares that never hide footage. Never:
//! another source of truth than the ledger's painting.

use heldar_base::{Cause, Interval, Micros, WallTime};

use crate::{IntervalMap, Span, State};

/// Most buckets for one camera.
pub const MAX_BUCKETS: u64 = 5_000;
/// Most buckets for all cameras together.
pub const MAX_BUCKETS_IN_ALL: u64 = 500_000;
/// Buckets that an automatic resolution aims at.
pub const AUTO_BUCKETS: i64 = 1_000;

/// Steps, in milliseconds, that people read easily, up to a day; past that, whole days.
const FRIENDLY_MS: [i64; 32] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, // below a second
    1_000, 2_000, 5_000, 10_000, 15_000, 20_000, 30_000, // seconds
    60_000, 120_000, 180_000, 300_000, 600_000, 900_000, 1_200_000, 1_800_000, // minutes
    3_600_000, 7_200_000, 10_800_000, 14_400_000, 21_600_000, 28_800_000, 43_200_000,
    86_400_000, // hours
];

/// How finely a window is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Into about [`AUTO_BUCKETS`] buckets of a friendly length.
    Auto,
    /// Into buckets of this length.
    Step(Micros),
}

/// A resolution that cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GridError {
    /// The window holds no time.
    #[error("`to` must lie after `from`")]
    EmptyWindow,
    /// A bucket must have a length.
    #[error("`resolution` must be above 0")]
    BadStep,
    /// Too many buckets for one camera.
    #[error("{0} buckets a camera are too many, at most 5000 are answered: raise `resolution`")]
    TooManyBuckets(u64),
    /// Too many buckets in all.
    #[error(
        "{0} buckets in all are too many, at most 500000 are answered: raise `resolution` or name fewer cameras"
    )]
    TooManyInAll(u64),
}

/// Buckets of equal length from the start of a window on; the last one may be cut by its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    window: Interval,
    step: Micros,
    count: u64,
}

impl Grid {
    /// Divides `window` for `cameras` cameras.
    ///
    /// # Errors
    /// An empty window, a step that is not positive, or more buckets than [`MAX_BUCKETS`] a camera or
    /// [`MAX_BUCKETS_IN_ALL`]. An automatic step is made long enough.
    pub fn new(window: Interval, resolution: Resolution, cameras: u64) -> Result<Grid, GridError> {
        if window.is_empty() {
            return Err(GridError::EmptyWindow);
        }
        let step = match resolution {
            Resolution::Step(step) => step,
            Resolution::Auto => auto_step(window.len(), cameras),
        };
        if step <= Micros::ZERO {
            return Err(GridError::BadStep);
        }
        let count = count(window.len(), step);
        let all = count.saturating_mul(cameras);
        if count > MAX_BUCKETS {
            Err(GridError::TooManyBuckets(count))
        } else if all > MAX_BUCKETS_IN_ALL {
            Err(GridError::TooManyInAll(all))
        } else {
            Ok(Grid { window, step, count })
        }
    }

    /// The whole window.
    pub fn window(&self) -> Interval {
        self.window
    }

    /// Length of a bucket.
    pub fn step(&self) -> Micros {
        self.step
    }

    /// Number of buckets.
    pub fn count(&self) -> usize {
        // At most MAX_BUCKETS.
        self.count as usize
    }

    /// The bucket that an instant of the window lies in.
    pub fn index(&self, at: WallTime) -> Option<usize> {
        let inside = self.window.contains(at);
        inside.then(|| usize::try_from((at - self.window.start).0 / self.step.0).ok()).flatten()
    }

    /// The time that bucket `index` stands for.
    pub fn bucket(&self, index: usize) -> Interval {
        let offset = i64::try_from(index).unwrap_or(i64::MAX).saturating_mul(self.step.0);
        let start = (self.window.start + Micros(offset)).min(self.window.end);
        Interval::new(start, (start + self.step).min(self.window.end))
    }

    /// Number of instants in each bucket; those outside the window do not count.
    pub fn count_events(&self, events: impl IntoIterator<Item = WallTime>) -> Vec<u32> {
        let mut out = vec![0u32; self.count()];
        for at in events {
            if let Some(count) = self.index(at).and_then(|index| out.get_mut(index)) {
                *count = count.saturating_add(1);
            }
        }
        out
    }

    /// Sums what became of a stream, as painted by its ledger, into the buckets. Linear.
    pub fn fill(&self, states: &IntervalMap<State>) -> Buckets {
        let mut out = Buckets {
            grid: *self,
            recorded: vec![Micros::ZERO; self.count()],
            missing: vec![Micros::ZERO; self.count()],
        };
        for Span { interval, value } in states.overlapping(&self.window) {
            let sums = match value {
                State::Recorded => &mut out.recorded,
                State::Missing(_) => &mut out.missing,
                State::NotWanted(_) => continue,
            };
            let Some(part) = interval.intersect(&self.window) else { continue };
            let Some(first) = self.index(part.start) else { continue };
            for (index, sum) in sums.iter_mut().enumerate().skip(first) {
                match self.bucket(index).intersect(&part) {
                    Some(shared) => *sum += shared.len(),
                    None => break,
                }
            }
        }
        out
    }
}

fn count(length: Micros, step: Micros) -> u64 {
    (length.0.max(0).cast_unsigned()).div_ceil(step.0.max(1).cast_unsigned())
}

/// The friendly step that comes nearest to [`AUTO_BUCKETS`] buckets and keeps within the limits.
fn auto_step(length: Micros, cameras: u64) -> Micros {
    let allowed = (MAX_BUCKETS_IN_ALL / cameras.max(1)).clamp(1, MAX_BUCKETS);
    // How many times one of the two counts is the other; the smaller, the nearer.
    let distance = |step: Micros| {
        let count = i64::try_from(count(length, step)).unwrap_or(i64::MAX);
        count.max(AUTO_BUCKETS).saturating_mul(1_000) / count.clamp(1, AUTO_BUCKETS)
    };
    let day = Micros::from_hours(24);
    let days = Micros(count(length, Micros(day.0 * AUTO_BUCKETS)).max(1).cast_signed().saturating_mul(day.0));
    let friendly = FRIENDLY_MS.iter().map(|ms| Micros::from_millis(*ms)).chain([days]);
    let fitting = friendly.filter(|step| count(length, *step) <= allowed);
    fitting.min_by_key(|step| distance(*step)).unwrap_or_else(|| {
        let least = count(length, Micros(allowed.cast_signed())).cast_signed();
        Micros(count(Micros(least), day).cast_signed().saturating_mul(day.0))
    })
}

/// What became of a stream, bucket by bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets {
    grid: Grid,
    recorded: Vec<Micros>,
    missing: Vec<Micros>,
}

impl Buckets {
    /// Footage in each bucket.
    pub fn recorded(&self) -> &[Micros] {
        &self.recorded
    }

    /// Wanted time without footage in each bucket.
    pub fn missing(&self) -> &[Micros] {
        &self.missing
    }

    /// Footage as a share of each bucket, see [`share`].
    pub fn recorded_shares(&self) -> impl Iterator<Item = f64> + '_ {
        self.shares(&self.recorded)
    }

    /// Missing time as a share of each bucket, see [`share`].
    pub fn missing_shares(&self) -> impl Iterator<Item = f64> + '_ {
        self.shares(&self.missing)
    }

    fn shares<'a>(&'a self, sums: &'a [Micros]) -> impl Iterator<Item = f64> + 'a {
        sums.iter().enumerate().map(|(index, part)| share(*part, self.grid.bucket(index).len()))
    }
}

/// `part` of `whole` as 0 to 1 in steps of 0.0001: 0 only for nothing, 1 only for everything, otherwise rounded down,
/// so that shares of disjoint parts never exceed 1 together.
pub fn share(part: Micros, whole: Micros) -> f64 {
    if part <= Micros::ZERO || whole <= Micros::ZERO {
        return 0.0;
    }
    let steps = i128::from(part.0) * 10_000 / i128::from(whole.0);
    steps.clamp(1, 10_000) as f64 / 10_000.0
}

/// The exact ranges and gaps of a window, for a query without buckets.
pub fn exact(states: &IntervalMap<State>) -> (Vec<Interval>, Vec<(Interval, Cause)>) {
    let ranges = states.select(|state| state == State::Recorded).iter().collect();
    let gaps = states.spans().iter().filter_map(|span| match span.value {
        State::Missing(cause) => Some((span.interval, cause)),
        State::Recorded | State::NotWanted(_) => None,
    });
    (ranges, gaps.collect())
}
