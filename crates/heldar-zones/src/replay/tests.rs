//! Replays and their differences.
use super::*;
use crate::engine::Detection;
use crate::zone::ZoneFields;
use proptest::prelude::*;
use serde_json::json;

const T0: WallTime = WallTime(1_780_272_000_000_000);

fn at(seconds: i64) -> WallTime {
    T0 + Micros::from_secs(seconds)
}

fn zones() -> Vec<Zone> {
    let area = json!({"name": "a", "polygon": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], "dwell_seconds": 3,
        "config": {"confirm_frames": 1}});
    let line = json!({"name": "l", "kind": "line", "polygon": [[0.5, 0], [0.5, 1]]});
    let zone = |id, value| Zone::new(id, &serde_json::from_value::<ZoneFields>(value).unwrap()).unwrap();
    vec![zone("a", area), zone("l", line)]
}

fn push(replay: &mut Replay, second: i64, x: f64) {
    let person = Detection { track: Some("1"), bbox: Some([x, 0.5, 0.0, 0.0]), ..Detection::default() };
    let batch = Batch {
        task_type: "detection",
        task: "t",
        lease: None,
        period: None,
        captured_at: at(second),
        late: false,
        detections: &[person],
    };
    replay.push(&batch, at(second) + Micros::from_millis(300));
}

#[test]
fn a_replay_tells_what_happened_in_its_stretch() {
    let mut replay = Replay::new(zones(), at(0), at(10), at(30));
    // Before it: a crossing that does not count, and a visit that goes on.
    for (second, x) in [(6, 0.4), (7, 0.6), (8, 0.4)] {
        push(&mut replay, second, x);
    }
    for (second, x) in [(12, 0.4), (13, 0.4), (14, 0.6), (29, 0.4), (31, 0.6)] {
        push(&mut replay, second, x);
    }
    let replayed = replay.finish();
    let facts: Vec<_> = replayed.facts.iter().map(|f| ((f.at - T0).0 / 1_000_000, f.kind.as_str())).collect();
    assert_eq!(facts, [(11, "dwell"), (14, "exit"), (14, "cross_ab"), (29, "enter")]);
    assert_eq!((replayed.batches, replayed.detections), (4, 4));
    let counters = &replayed.counters[0];
    assert_eq!((counters.total.inwards, counters.total.outwards, counters.since), (1, 0, at(10)));
    assert_eq!(replayed.counters.len(), 1);
}

#[test]
fn what_falls_due_at_the_end_is_told() {
    let mut replay = Replay::new(zones(), at(0), at(0), at(11));
    push(&mut replay, 8, 0.4);
    let replayed = replay.finish();
    assert_eq!(replayed.facts.last().map(|f| (f.at, f.kind)), Some((at(11), FactKind::Dwell)));
    let empty = Replay::new(zones(), at(0), at(0), at(11)).finish();
    assert_eq!((empty.batches, empty.facts.len(), empty.counters.len()), (0, 0, 1));
}

fn told<'a>(zone_id: Option<&'a str>, zone: &'a str, kind: &'a str, track: &'a str, second: i64) -> Told<'a> {
    Told { zone_id, zone, kind, track: Some(track), at: at(second) }
}

#[test]
fn the_same_is_the_same_zone_type_and_track_within_tolerance() {
    let raised = [
        told(Some("a"), "gate", "enter", "1", 0),
        told(Some("a"), "gate", "enter", "2", 0),
        told(Some("a"), "gate", "exit", "1", 9),
        told(Some("b"), "yard", "enter", "1", 0),
    ];
    let replayed = [
        told(Some("a"), "renamed", "enter", "1", 1),
        told(Some("a"), "gate", "enter", "2", 2),
        told(Some("a"), "gate", "dwell", "1", 9),
        told(None, "yard", "enter", "1", 0),
    ];
    let diff = diff(&raised, &replayed, Micros::from_secs(1));
    assert_eq!(diff, Diff { matched: 2, added: vec![1, 2], removed: vec![1, 2] });
}

#[test]
fn facts_of_zones_as_a_whole_have_no_track() {
    let whole = |second| Told { track: None, ..told(Some("a"), "gate", "vacant", "", second) };
    let one = diff(&[whole(0)], &[whole(1)], Micros::from_secs(1));
    assert_eq!((one.matched, one.added.len(), one.removed.len()), (1, 0, 0));
    let replayed = Replay::new(zones(), at(0), at(0), at(11)).finish();
    assert_eq!(diff(&[], &[], Micros::ZERO), Diff::default());
    assert!(replayed.facts.iter().all(|fact| Told::of(fact, "a", true).zone_id.is_none()));
}

/// The most pairs that can be matched, by trying all ways.
fn most(raised: &[i64], replayed: &[i64], tolerance: i64) -> usize {
    let Some((first, rest)) = raised.split_first() else { return 0 };
    let without = most(rest, replayed, tolerance);
    let with =
        replayed.iter().enumerate().filter(|(_, other)| (*other - first).abs() <= tolerance).map(|(n, _)| {
            let mut left = replayed.to_vec();
            left.remove(n);
            1 + most(rest, &left, tolerance)
        });
    with.max().unwrap_or(0).max(without)
}

proptest! {
    #[test]
    fn as_many_as_possible_are_matched(
        raised in prop::collection::vec(0i64..12, 0..6), replayed in prop::collection::vec(0i64..12, 0..6), tolerance in 0i64..4
    ) {
        let list = |times: &[i64]| -> Vec<_> { times.iter().map(|t| told(Some("a"), "a", "enter", "1", *t)).collect() };
        let diff = diff(&list(&raised), &list(&replayed), Micros::from_secs(tolerance));
        prop_assert_eq!(diff.matched, most(&raised, &replayed, tolerance));
        prop_assert_eq!(diff.matched + diff.added.len(), replayed.len());
        prop_assert_eq!(diff.matched + diff.removed.len(), raised.len());
    }
}
