//! Any numbers, times and orders: no panic, and every visit still ends.

use heldar_base::{Micros, WallTime};
use heldar_zones::{Batch, Detection, Engine, FactKind, MAX_TRACKS, Masks};
use proptest::prelude::*;

use crate::world::{T0, plan};

#[derive(Debug, Clone)]
struct Wild {
    now: i64,
    captured: i64,
    own: Option<i64>,
    bbox: [f64; 4],
    confidence: Option<f64>,
    track: String,
    lease: Option<String>,
    period: Option<i64>,
    call: u8,
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![6 => 0.0f64..1.0, 1 => any::<f64>(), 1 => Just(1.0), 1 => Just(0.0), 1 => -0.1f64..1.1]
}

fn time() -> impl Strategy<Value = i64> {
    let usual = 0i64..600_000_000;
    prop_oneof![12 => usual.prop_map(|us| T0.0 + us), 1 => any::<i64>(), 1 => Just(0i64), 1 => (-30i64..30).prop_map(|days| T0.0 + days * 86_400_000_000), 1 => -20_000_000i64..20_000_000]
}

fn wild() -> impl Strategy<Value = Wild> {
    let name = "[ab]{0,2}";
    let shape = (number(), number(), number(), number()).prop_map(|(x, y, w, h)| [x, y, w, h]);
    (
        (time(), time(), prop::option::of(time()), prop::option::of(any::<i64>())),
        (shape, prop::option::of(number()), name, prop::option::of(name), 0u8..12),
    )
        .prop_map(|((now, captured, own, period), (bbox, confidence, track, lease, call))| Wild {
            now,
            captured,
            own,
            bbox,
            confidence,
            track,
            lease,
            period,
            call,
        })
}

proptest! {
    #![proptest_config(crate::cases(2))]
    #[test]
    fn anything_may_come(plans in prop::collection::vec(plan(), 0..4), calls in prop::collection::vec(wild(), 0..60), sorted: bool) {
        let zones = |from: usize| -> Vec<_> {
            plans.iter().enumerate().skip(from).map(|(n, plan)| plan.zone(&format!("z{n}"))).collect()
        };
        let mut calls = calls;
        if sorted {
            calls.sort_by_key(|call| call.now);
        }
        let mut engine = Engine::new();
        let mut facts = engine.set_zones(zones(0), T0).facts;
        for call in &calls {
            let now = WallTime(call.now);
            let detection = Detection {
                track: Some(&call.track),
                label: None,
                confidence: call.confidence,
                bbox: Some(call.bbox),
                at: call.own.map(WallTime),
            };
            let batch = Batch {
                task_type: "detection",
                task: "t",
                lease: call.lease.as_deref(),
                period: call.period.map(Micros),
                captured_at: WallTime(call.captured),
                late: call.call == 5,
                detections: &[detection, detection],
            };
            let output = match call.call {
                0 => engine.tick(now),
                1 => engine.set_zones(zones(usize::from(call.track.len() == 1)), now),
                2 => engine.reset_counters("z0", now),
                _ => engine.batch(&batch, now),
            };
            facts.extend(output.facts);
            let _either = Masks::of(engine.zones().cloned()).hide(&detection, &batch, now);
            engine = Engine::restore(&engine.save()).unwrap();
            prop_assert!(engine.quantities().tracks <= MAX_TRACKS);
        }
        facts.extend(engine.set_zones(Vec::new(), WallTime(calls.iter().map(|call| call.now).max().unwrap_or(0))).facts);
        let count = |kinds: &[FactKind]| facts.iter().filter(|fact| kinds.contains(&fact.kind)).count();
        let things = count(&[FactKind::StaticSuppressed]);
        let silent = plans.iter().any(|plan| plan.kind == "count");
        prop_assert!(silent || count(&[FactKind::Enter]) == count(&[FactKind::Exit]) + things);
        prop_assert!(facts.iter().all(|fact| fact.dwell.is_none_or(|dwell| dwell >= Micros::ZERO)));
        prop_assert_eq!(engine.occupancy(), vec![]);
    }

    #[test]
    fn any_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _outcome = Engine::restore(&bytes);
        let mut framed = b"HZ\x01".to_vec();
        framed.extend(&bytes);
        let _outcome = Engine::restore(&framed);
    }
}
