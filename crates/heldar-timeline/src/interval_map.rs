//! Instants with a label each: sorted, disjoint, half-open intervals that carry a value.
//!
//! Owns: putting labelled layers over each other. Linear in the entries of both sides, except where it says otherwise.
//!
//! Invariant: intervals are not empty, rise and do not overlap; those that touch carry different values.

use std::collections::BinaryHeap;

use heldar_base::{Interval, Micros};

use crate::IntervalSet;

/// An interval and what is true of all its instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span<V> {
    /// The instants.
    pub interval: Interval,
    /// What is true of them.
    pub value: V,
}

/// A value for each of some instants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntervalMap<V> {
    spans: Vec<Span<V>>,
}

impl<V> Default for IntervalMap<V> {
    fn default() -> Self {
        IntervalMap { spans: Vec::new() }
    }
}

impl<V: Copy + PartialEq> IntervalMap<V> {
    /// The empty map.
    pub const fn new() -> Self {
        IntervalMap { spans: Vec::new() }
    }

    /// One value for a whole interval.
    pub fn filled(interval: Interval, value: V) -> Self {
        let mut out = IntervalMap::new();
        out.push(interval, value);
        out
    }

    /// One value for a whole set.
    pub fn of_set(set: &IntervalSet, value: V) -> Self {
        IntervalMap { spans: set.iter().map(|interval| Span { interval, value }).collect() }
    }

    /// Paints intervals in any order, each over all before it: where they overlap, the later one wins. n log n.
    pub fn paint(layers: impl IntoIterator<Item = (Interval, V)>) -> Self {
        let mut layers: Vec<(usize, Interval, V)> = layers
            .into_iter()
            .enumerate()
            .filter(|(_, (interval, _))| !interval.is_empty())
            .map(|(rank, (interval, value))| (rank, interval, value))
            .collect();
        layers.sort_unstable_by_key(|(rank, interval, _)| (interval.start, *rank));
        let mut out = IntervalMap::new();
        // Layers that cover the sweep's instant, highest rank on top; ended ones leave when they surface.
        let mut active: BinaryHeap<(usize, usize)> = BinaryHeap::new();
        let mut next = 0;
        let Some(mut at) = layers.first().map(|(_, interval, _)| interval.start) else { return out };
        loop {
            while let Some((rank, interval, _)) = layers.get(next)
                && interval.start <= at
            {
                active.push((*rank, next));
                next += 1;
            }
            let upcoming = layers.get(next).map(|(_, interval, _)| interval.start);
            match active.peek().and_then(|(_, index)| layers.get(*index)) {
                Some((_, interval, _)) if interval.end <= at => {
                    active.pop();
                }
                Some((_, interval, value)) => {
                    let end = upcoming.map_or(interval.end, |start| start.min(interval.end));
                    out.push(Interval::new(at, end), *value);
                    at = end;
                }
                None => match upcoming {
                    Some(start) => at = start,
                    None => return out,
                },
            }
        }
    }

    /// Its entries in rising order.
    pub fn spans(&self) -> &[Span<V>] {
        &self.spans
    }

    /// Its entries in rising order, as a vector.
    pub fn into_spans(self) -> Vec<Span<V>> {
        self.spans
    }

    /// The entries that share an instant with `window`, uncut. Logarithmic.
    pub fn overlapping(&self, window: &Interval) -> &[Span<V>] {
        if window.is_empty() {
            return &[];
        }
        let first = self.spans.partition_point(|span| span.interval.end <= window.start);
        let last = self.spans.partition_point(|span| span.interval.start < window.end);
        self.spans.get(first..last).unwrap_or(&[])
    }

    /// Appends a value; of an interval that reaches back over what is there, only the rest counts.
    pub fn push(&mut self, interval: Interval, value: V) {
        let start = self.spans.last().map_or(interval.start, |last| interval.start.max(last.interval.end));
        if start >= interval.end {
            return;
        }
        match self.spans.last_mut() {
            Some(last) if last.interval.end == start && last.value == value => {
                last.interval.end = interval.end;
            }
            _ => self.spans.push(Span { interval: Interval::new(start, interval.end), value }),
        }
    }

    /// The instants that have a value.
    pub fn cover(&self) -> IntervalSet {
        let mut out = IntervalSet::new();
        out.extend(self.spans.iter().map(|span| span.interval));
        out
    }

    /// The instants whose value is accepted.
    pub fn select(&self, mut accept: impl FnMut(V) -> bool) -> IntervalSet {
        let mut out = IntervalSet::new();
        out.extend(self.spans.iter().filter(|span| accept(span.value)).map(|span| span.interval));
        out
    }

    /// Length of the instants whose value is accepted.
    pub fn total(&self, mut accept: impl FnMut(V) -> bool) -> Micros {
        self.spans.iter().filter(|span| accept(span.value)).map(|span| span.interval.len()).sum()
    }

    /// This map where it has values, `below` elsewhere.
    pub fn over(&self, below: &IntervalMap<V>) -> IntervalMap<V> {
        let below = below.without(&self.cover());
        let mut out = IntervalMap { spans: Vec::with_capacity(self.spans.len() + below.spans.len()) };
        let (mut top, mut rest) = (self.spans.iter().peekable(), below.spans.iter().peekable());
        loop {
            let next = match (top.peek(), rest.peek()) {
                (Some(a), Some(b)) if a.interval.start < b.interval.start => top.next(),
                (_, Some(_)) => rest.next(),
                (_, None) => top.next(),
            };
            match next {
                Some(span) => out.push(span.interval, span.value),
                None => return out,
            }
        }
    }

    /// The values outside a set.
    pub fn without(&self, set: &IntervalSet) -> IntervalMap<V> {
        let mut out = IntervalMap::new();
        let mut holes = set.as_slice();
        for span in &self.spans {
            let mut start = span.interval.start;
            while let Some(hole) = holes.first() {
                if hole.start >= span.interval.end {
                    break;
                }
                out.push(Interval::new(start, hole.start), span.value);
                start = start.max(hole.end);
                if hole.end > span.interval.end {
                    break;
                }
                holes = &holes[1..];
            }
            out.push(Interval::new(start, span.interval.end), span.value);
        }
        out
    }

    /// The values inside `window`.
    pub fn clip(&self, window: &Interval) -> IntervalMap<V> {
        let mut out = IntervalMap::new();
        for span in self.overlapping(window) {
            if let Some(interval) = span.interval.intersect(window) {
                out.push(interval, span.value);
            }
        }
        out
    }
}
