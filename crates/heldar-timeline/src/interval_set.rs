//! Sets of instants as sorted, disjoint, half-open intervals.
//!
//! Owns: the set algebra that every answer about a timeline is made of. All operations are linear in the intervals of
//! both sides, except where they say otherwise. Never: a meaning of the time it holds.
//!
//! Invariant: intervals are not empty, rise, and neither overlap nor touch; so equal sets are equal values.

use heldar_base::{Interval, Micros, WallTime};

/// A set of instants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntervalSet {
    items: Vec<Interval>,
}

impl IntervalSet {
    /// The empty set.
    pub const fn new() -> Self {
        IntervalSet { items: Vec::new() }
    }

    /// Its intervals in rising order.
    pub fn as_slice(&self) -> &[Interval] {
        &self.items
    }

    /// Its intervals in rising order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Interval> + '_ {
        self.items.iter().copied()
    }

    /// True when no instant is in the set.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Length of all its intervals together.
    pub fn total(&self) -> Micros {
        self.items.iter().map(Interval::len).sum()
    }

    /// From its first instant to the first after its last; `None` for the empty set.
    pub fn span(&self) -> Option<Interval> {
        Some(Interval::new(self.items.first()?.start, self.items.last()?.end))
    }

    /// True when `at` is in the set. Logarithmic.
    pub fn contains(&self, at: WallTime) -> bool {
        self.overlaps(&Interval::new(at, at + Micros(1)))
    }

    /// True when the set and `window` share an instant. Logarithmic.
    pub fn overlaps(&self, window: &Interval) -> bool {
        !self.overlapping(window).is_empty()
    }

    /// The intervals that share an instant with `window`, uncut. Logarithmic.
    pub fn overlapping(&self, window: &Interval) -> &[Interval] {
        if window.is_empty() {
            return &[];
        }
        let first = self.items.partition_point(|item| item.end <= window.start);
        let last = self.items.partition_point(|item| item.start < window.end);
        self.items.get(first..last).unwrap_or(&[])
    }

    /// Adds an interval. Constant time at the end of the set, linear elsewhere.
    pub fn insert(&mut self, interval: Interval) {
        if interval.is_empty() {
            return;
        }
        // Intervals that overlap or touch the new one melt into it.
        let first = match self.items.last() {
            Some(last) if interval.start > last.end => self.items.len(),
            Some(last) if interval.start >= last.start => self.items.len() - 1,
            _ => self.items.partition_point(|item| item.end < interval.start),
        };
        let touching = self.items.iter().skip(first).take_while(|item| item.start <= interval.end);
        let (count, merged) = touching.fold((0, interval), |(count, merged), item| {
            (count + 1, Interval::new(merged.start.min(item.start), merged.end.max(item.end)))
        });
        self.items.splice(first..first + count, [merged]);
    }

    /// What is in either set.
    pub fn union(&self, other: &IntervalSet) -> IntervalSet {
        let mut out = IntervalSet { items: Vec::with_capacity(self.items.len().max(other.items.len())) };
        let (mut left, mut right) = (self.iter().peekable(), other.iter().peekable());
        loop {
            let next = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) if a.start <= b.start => left.next(),
                (_, Some(_)) => right.next(),
                (_, None) => left.next(),
            };
            match next {
                Some(interval) => out.insert(interval),
                None => return out,
            }
        }
    }

    /// What is in both sets.
    pub fn intersect(&self, other: &IntervalSet) -> IntervalSet {
        let mut out = IntervalSet::new();
        let (mut i, mut j) = (0, 0);
        while let (Some(a), Some(b)) = (self.items.get(i), other.items.get(j)) {
            out.items.extend(a.intersect(b));
            if a.end <= b.end {
                i += 1;
            } else {
                j += 1;
            }
        }
        out
    }

    /// What is in this set and not in the other.
    pub fn subtract(&self, other: &IntervalSet) -> IntervalSet {
        let mut out = IntervalSet::new();
        let mut j = 0;
        for item in &self.items {
            let mut start = item.start;
            while let Some(hole) = other.items.get(j) {
                if hole.end <= start {
                    j += 1;
                } else if hole.start >= item.end {
                    break;
                } else {
                    if hole.start > start {
                        out.items.push(Interval::new(start, hole.start));
                    }
                    start = hole.end;
                    // A hole that reaches past this interval may also cut the next one.
                    if hole.end > item.end {
                        break;
                    }
                    j += 1;
                }
            }
            if start < item.end {
                out.items.push(Interval::new(start, item.end));
            }
        }
        out
    }

    /// What lies inside `window`.
    pub fn clip(&self, window: &Interval) -> IntervalSet {
        IntervalSet {
            items: self.overlapping(window).iter().filter_map(|item| item.intersect(window)).collect(),
        }
    }

    /// What of `window` is not in the set.
    pub fn complement(&self, window: &Interval) -> IntervalSet {
        IntervalSet::from(*window).subtract(self)
    }

    /// The set with every hole of at most `tolerance` between two of its intervals filled.
    pub fn fill_holes(&self, tolerance: Micros) -> IntervalSet {
        let mut out: Vec<Interval> = Vec::new();
        for item in &self.items {
            match out.last_mut() {
                Some(last) if item.start - last.end <= tolerance => last.end = item.end,
                _ => out.push(*item),
            }
        }
        IntervalSet { items: out }
    }
}

impl From<Interval> for IntervalSet {
    fn from(interval: Interval) -> Self {
        IntervalSet { items: if interval.is_empty() { Vec::new() } else { vec![interval] } }
    }
}

impl Extend<Interval> for IntervalSet {
    fn extend<I: IntoIterator<Item = Interval>>(&mut self, iter: I) {
        for interval in iter {
            self.insert(interval);
        }
    }
}

impl FromIterator<Interval> for IntervalSet {
    /// From intervals in any order; they may overlap.
    fn from_iter<I: IntoIterator<Item = Interval>>(iter: I) -> Self {
        let mut items: Vec<Interval> = iter.into_iter().collect();
        items.sort_unstable();
        let mut out = IntervalSet::new();
        out.extend(items);
        out
    }
}
