//! Interval sets and maps against one boolean, or one label, for each microsecond.

use heldar_base::{Interval, Micros, WallTime};
use heldar_timeline::{IntervalMap, IntervalSet};
use proptest::prelude::*;

const WORLD: i64 = 48;

fn interval() -> impl Strategy<Value = Interval> {
    (0..WORLD, 0..WORLD).prop_map(|(a, b)| Interval::new(WallTime(a.min(b)), WallTime(a.max(b))))
}

fn intervals() -> impl Strategy<Value = Vec<Interval>> {
    prop::collection::vec(interval(), 0..10)
}

fn labelled() -> impl Strategy<Value = Vec<(Interval, u8)>> {
    prop::collection::vec((interval(), 0u8..3), 0..10)
}

fn bits(intervals: &[Interval]) -> Vec<bool> {
    (0..WORLD).map(|t| intervals.iter().any(|i| i.contains(WallTime(t)))).collect()
}

fn labels(layers: &[(Interval, u8)]) -> Vec<Option<u8>> {
    let top = |t| layers.iter().rev().find(|(i, _)| i.contains(WallTime(t))).map(|(_, v)| *v);
    (0..WORLD).map(top).collect()
}

/// The set's invariant, and its instants.
fn set_bits(set: &IntervalSet) -> Vec<bool> {
    assert!(set.iter().all(|i| !i.is_empty()), "{set:?}");
    assert!(set.as_slice().windows(2).all(|w| w[0].end < w[1].start), "{set:?}");
    bits(set.as_slice())
}

fn map_labels(map: &IntervalMap<u8>) -> Vec<Option<u8>> {
    let spans = map.spans();
    assert!(spans.iter().all(|s| !s.interval.is_empty()), "{map:?}");
    let apart = |a: &Interval, b: &Interval, same: bool| a.end < b.start || (a.end == b.start && !same);
    assert!(
        spans.windows(2).all(|w| apart(&w[0].interval, &w[1].interval, w[0].value == w[1].value)),
        "{map:?}"
    );
    labels(&spans.iter().map(|s| (s.interval, s.value)).collect::<Vec<_>>())
}

fn both(a: &[bool], b: &[bool], op: impl Fn(bool, bool) -> bool) -> Vec<bool> {
    a.iter().zip(b).map(|(a, b)| op(*a, *b)).collect()
}

proptest! {
    #[test]
    fn sets_are_sets_of_instants(a in intervals(), b in intervals(), window in interval()) {
        let (set_a, set_b): (IntervalSet, IntervalSet) =
            (a.iter().copied().collect(), b.iter().copied().collect());
        let (bits_a, bits_b, in_window) = (bits(&a), bits(&b), bits(&[window]));
        prop_assert_eq!(set_bits(&set_a), bits_a.clone());
        prop_assert_eq!(set_bits(&set_a.union(&set_b)), both(&bits_a, &bits_b, |a, b| a || b));
        prop_assert_eq!(set_bits(&set_a.intersect(&set_b)), both(&bits_a, &bits_b, |a, b| a && b));
        prop_assert_eq!(set_bits(&set_a.subtract(&set_b)), both(&bits_a, &bits_b, |a, b| a && !b));
        prop_assert_eq!(set_bits(&set_a.clip(&window)), both(&bits_a, &in_window, |a, b| a && b));
        prop_assert_eq!(set_bits(&set_a.complement(&window)), both(&bits_a, &in_window, |a, b| !a && b));
        prop_assert_eq!(set_a.overlaps(&window), both(&bits_a, &in_window, |a, b| a && b).contains(&true));
        prop_assert_eq!(set_a.total().0, bits_a.iter().filter(|b| **b).count() as i64);
        for (t, inside) in bits_a.iter().enumerate() {
            prop_assert_eq!(set_a.contains(WallTime(t as i64)), *inside);
        }
    }

    #[test]
    fn insertion_order_does_not_matter(a in intervals()) {
        let mut set = IntervalSet::new();
        set.extend(a.iter().copied());
        prop_assert_eq!(&set, &a.iter().copied().collect::<IntervalSet>());
        set_bits(&set);
    }

    #[test]
    fn short_holes_are_filled(a in intervals(), tolerance in 0i64..8) {
        let set: IntervalSet = a.into_iter().collect();
        let filled = set.fill_holes(Micros(tolerance));
        let mut expect = set.clone();
        for pair in set.as_slice().windows(2) {
            if (pair[1].start - pair[0].end).0 <= tolerance {
                expect.insert(Interval::new(pair[0].end, pair[1].start));
            }
        }
        prop_assert_eq!(filled, expect);
    }

    #[test]
    fn maps_are_layers_of_paint(a in labelled(), b in labelled(), cut in intervals(), window in interval()) {
        let (map_a, map_b) = (IntervalMap::paint(a.iter().copied()), IntervalMap::paint(b.iter().copied()));
        let (labels_a, labels_b) = (labels(&a), labels(&b));
        prop_assert_eq!(map_labels(&map_a), labels_a.clone());
        let over: Vec<_> = labels_a.iter().zip(&labels_b).map(|(a, b)| a.or(*b)).collect();
        prop_assert_eq!(map_labels(&map_a.over(&map_b)), over);
        let masked = |bits: Vec<bool>, keep| -> Vec<Option<u8>> {
            labels_a.iter().zip(bits).map(|(a, bit)| a.filter(|_| bit == keep)).collect()
        };
        prop_assert_eq!(map_labels(&map_a.without(&cut.iter().copied().collect())), masked(bits(&cut), false));
        prop_assert_eq!(map_labels(&map_a.clip(&window)), masked(bits(&[window]), true));
        let ones: Vec<bool> = labels_a.iter().map(|a| *a == Some(1)).collect();
        prop_assert_eq!(set_bits(&map_a.select(|v| v == 1)), ones);
        let some: Vec<bool> = labels_a.iter().map(Option::is_some).collect();
        prop_assert_eq!(set_bits(&map_a.cover()), some);
    }
}
