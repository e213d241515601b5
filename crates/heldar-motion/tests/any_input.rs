//! Any sizes, bytes and times: no panic, and what is promised of answers holds.
#![allow(clippy::unwrap_used, reason = "a test stops at the first failure")]

use heldar_base::{Interval, Micros, WallTime};
use heldar_motion::{Area, Config, Detector, MAX_TRACKS, Outcome, Plane, State};
use proptest::prelude::*;

/// One picture: how much later it was captured, its size, and how its bytes are made.
#[derive(Debug, Clone)]
struct Shot {
    later: i64,
    size: (usize, usize),
    paint: Paint,
}

#[derive(Debug, Clone)]
enum Paint {
    Flat(u8),
    Noise(u64),
    /// A bright box at a place, in shares of 1/256.
    Box(u8, u8),
}

fn shot() -> impl Strategy<Value = Shot> {
    let usual = Just(200_000i64);
    let later = prop_oneof![
        12 => usual,
        1 => -20_000_000i64..20_000_000,
        1 => any::<i64>(),
        1 => 0i64..100_000
    ];
    let size = prop_oneof![
        12 => Just((64usize, 48usize)),
        1 => Just((0, 0)),
        1 => Just((1, 900)),
        1 => Just((900, 1)),
        1 => (0usize..100, 0usize..100),
    ];
    let paint = prop_oneof![
        any::<u8>().prop_map(Paint::Flat),
        any::<u64>().prop_map(Paint::Noise),
        (any::<u8>(), any::<u8>()).prop_map(|(x, y)| Paint::Box(x, y)),
    ];
    (later, size, paint).prop_map(|(later, size, paint)| Shot { later, size, paint })
}

/// A box that goes its way, with shots of any kind in between.
fn shots() -> impl Strategy<Value = Vec<Shot>> {
    let walk = (0u8..4).prop_map(|step| {
        let place = move |n: u8| Paint::Box(n.wrapping_mul(8 * step), 100);
        (0..30).map(move |n| Shot { later: 200_000, size: (64, 48), paint: place(n) }).collect::<Vec<_>>()
    });
    let still = (0usize..30)
        .prop_map(|count| vec![Shot { later: 200_000, size: (64, 48), paint: Paint::Flat(90) }; count]);
    let some = prop::collection::vec(shot(), 0..30);
    prop::collection::vec(prop_oneof![walk, still, some], 1..6).prop_map(|parts| parts.concat())
}

fn bytes(shot: &Shot) -> Vec<u8> {
    let (width, height) = shot.size;
    (0..width * height)
        .map(|at| match shot.paint {
            Paint::Flat(level) => level,
            Paint::Noise(seed) => {
                (seed.wrapping_mul(at as u64 * 2 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
            }
            Paint::Box(x, y) => {
                let (left, top) = (usize::from(x) * width / 256, usize::from(y) * height / 256);
                let inside =
                    (left..left + 8).contains(&(at % width)) && (top..top + 12).contains(&(at / width));
                if inside { 200 } else { 90 }
            }
        })
        .collect()
}

fn is_share(area: &Area) -> bool {
    let unit = 0.0..=1.0001f32;
    [area.x, area.y, area.w, area.h].iter().all(|value| unit.contains(value))
        && area.w > 0.0
        && area.h > 0.0
        && area.x + area.w <= 1.0001
        && area.y + area.h <= 1.0001
}

/// What holds of every answer.
fn check(outcome: &Outcome, at: WallTime) {
    assert!((0.0..=1.0).contains(&outcome.score), "{outcome:?}");
    assert!(outcome.closed.is_none_or(|span| !span.is_empty()), "{outcome:?}");
    let Some(update) = &outcome.update else { return };
    assert_eq!(outcome.state, State::Motion);
    assert!(!update.boxes.is_empty() && update.boxes.len() <= MAX_TRACKS);
    assert!(
        update.boxes.iter().all(|moving| is_share(&moving.area)) && is_share(&update.overall),
        "{update:?}"
    );
    assert!(update.event_due || !update.rising_edge);
    assert!(update.span.start < at && update.span.end == at, "{update:?} at {at:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn nothing_breaks_the_detector(shots in shots(), begin in any::<i64>()) {
        let mut detector = Detector::new(Config::default());
        let mut at = WallTime(begin);
        for shot in &shots {
            at = at + Micros(shot.later);
            let luma = bytes(shot);
            let outcome = detector.handle(at, &Plane::new(shot.size.0, shot.size.1, &luma).unwrap());
            detector.check_invariants();
            check(&outcome, at);
        }
        let open = detector.finish();
        prop_assert!(open.is_none_or(|span| !span.is_empty()));
    }

    #[test]
    fn spans_come_in_order(shots in prop::collection::vec(shot(), 0..200)) {
        let mut detector = Detector::new(Config::default());
        let mut at = WallTime::EPOCH;
        let mut spans: Vec<Interval> = Vec::new();
        for shot in &shots {
            at = at + Micros(shot.later.clamp(80_000, 7_000_000));
            let luma = bytes(shot);
            let outcome = detector.handle(at, &Plane::new(shot.size.0, shot.size.1, &luma).unwrap());
            spans.extend(outcome.closed);
        }
        spans.extend(detector.finish());
        prop_assert!(spans.windows(2).all(|pair| pair[0].end <= pair[1].start), "{spans:?}");
    }
}

/// A film of a box that walks to and fro, at 5 pictures a second: the outcomes of each picture.
fn walk(config: Config, detector: &mut Option<Detector>, times: impl Iterator<Item = i64>) -> Vec<Outcome> {
    let detector = detector.get_or_insert_with(|| Detector::new(config));
    times
        .map(|n| {
            let step = (n.rem_euclid(100) - 50).unsigned_abs() as u8;
            let paint = if n < 25 { Paint::Flat(90) } else { Paint::Box(step * 4, 100) };
            let shot = Shot { later: 0, size: (160, 90), paint };
            let luma = bytes(&shot);
            detector.handle(WallTime(n * 200_000), &Plane::new(160, 90, &luma).unwrap())
        })
        .collect()
}

#[test]
fn a_walk_is_one_span_with_events_at_intervals() {
    let mut detector = None;
    let outcomes = walk(Config::default(), &mut detector, 0..200);
    let updates: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.update.as_ref()).collect();
    assert!(updates.len() > 150, "{}", updates.len());
    assert_eq!(updates.iter().filter(|update| update.rising_edge).count(), 1);
    let events = updates.iter().filter(|update| update.event_due).count();
    assert!((3..=4).contains(&events), "{events} events");
    let start = updates[0].span.start;
    assert!(updates.iter().all(|update| update.span.start == start), "the start of a span changes");
    assert!((WallTime(25 * 200_000)..WallTime(35 * 200_000)).contains(&start), "{start}");
    let tracks: std::collections::BTreeSet<u64> =
        updates.iter().flat_map(|update| update.boxes.iter().map(|moving| moving.track)).collect();
    assert!(tracks.len() <= 2, "{tracks:?}");
    let mut detector = detector.unwrap();
    assert_eq!(detector.state(), State::Motion);
    let deadline = detector.deadline().unwrap();
    assert_eq!(detector.expire(deadline - Micros(1)), None);
    assert_eq!(detector.expire(deadline), Some(updates.last().unwrap().span));
    assert_eq!(detector.state(), State::Quiet);
}

#[test]
fn a_pause_and_a_clock_set_back_learn_anew_without_motion() {
    for jump in [60 * 5, -60 * 5] {
        let mut detector = None;
        walk(Config::default(), &mut detector, 1000..1100);
        let after = walk(Config::default(), &mut detector, 1100 + jump..1108 + jump);
        assert!(after.iter().all(|outcome| outcome.update.is_none() && outcome.state == State::Learning));
        assert!(after[0].closed.is_some(), "the span before the jump of {jump} did not end");
    }
}

#[test]
fn masks_hide_what_lies_inside() {
    let masked = |masks: serde_json::Value| {
        let config = Config::parse(&serde_json::json!({ "masks": masks })).unwrap();
        walk(config, &mut None, 0..150).iter().any(|outcome| outcome.update.is_some())
    };
    assert!(masked(serde_json::json!([[[0, 0.7], [1, 0.7], [1, 1], [0, 1]]])));
    assert!(!masked(serde_json::json!([[[0, 0.3], [1, 0.3], [1, 0.7], [0, 0.7]]])));
    assert!(!masked(serde_json::json!([[[0, 0], [1, 0], [1, 1], [0, 1]]])));
}

#[test]
fn greater_least_areas_hide_small_things() {
    let seen = |config: serde_json::Value| {
        let config = Config::parse(&config).unwrap();
        walk(config, &mut None, 0..150).iter().any(|outcome| outcome.update.is_some())
    };
    assert!(seen(serde_json::json!({})));
    assert!(!seen(serde_json::json!({"min_area": 0.03})));
    assert!(seen(serde_json::json!({"threshold": 0.1})));
    assert!(!seen(serde_json::json!({"threshold": 1.0})));
}
