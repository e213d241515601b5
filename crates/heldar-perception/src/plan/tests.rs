use proptest::prelude::*;

use super::*;

/// A 720p H.264 sub stream with 15 pictures a second and a sync sample every 2 s.
const FACTS: StreamFacts = StreamFacts {
    codec: Codec::H264,
    width: 1280,
    height: 720,
    fps: 15.0,
    sync_interval: Some(Micros::from_secs(2)),
    measured: None,
};

pub(super) fn policy(max_total_fps: f64) -> Policy {
    Policy { enabled: true, max_total_fps, decode_cores: 1e6, load_factor: 1.0 }
}

fn cores(decode_cores: f64) -> Policy {
    Policy { decode_cores, ..policy(1e6) }
}

pub(super) fn unit(camera: &str, priority: i64, fps: f64, width: u32) -> Unit {
    Unit {
        camera: CameraId::new(camera).unwrap(),
        profile: StreamKind::Sub,
        priority,
        source: Some(Source { stream: StreamKind::Sub, facts: Some(FACTS) }),
        demand: Demand::Wanted,
        tasks: vec![TaskWant { task: TaskId::new(1), fps, width, warm: false }],
    }
}

/// Units of cameras `c00`, `c01` ... in serving order.
fn units(wants: &[(f64, u32)]) -> Vec<Unit> {
    let numbered = wants.iter().enumerate();
    numbered.map(|(n, (fps, width))| unit(&format!("c{n:02}"), 100, *fps, *width)).collect()
}

/// Rate and width of each unit, 0 for one that is shed.
fn served(plan: &Plan) -> Vec<(f64, u32)> {
    plan.units.iter().map(|unit| ((unit.fps * 1000.0).round() / 1000.0, unit.width)).collect()
}

#[track_caller]
fn check_rate(ceiling: f64, wants: &[(f64, u32)], expect: &[(f64, u32)]) {
    let plan = plan(&units(wants), &policy(ceiling));
    assert_eq!(served(&plan), expect);
    assert!(plan.rate.spent <= plan.rate.ceiling + 1e-6);
}

#[test]
fn tier_one_keeps_a_floor_for_those_after() {
    check_rate(40.0, &[(5.0, 640)], &[(5.0, 640)]);
    // 10 * 5 > 40: seven have all, the eighth what the floors of the last two leave.
    let mut expect = vec![(5.0, 640); 7];
    expect.extend([(4.0, 640), (0.5, 640), (0.5, 640)]);
    check_rate(40.0, &[(5.0, 640); 10], &expect);
    // A wish below the floor is its own floor.
    check_rate(1.0, &[(5.0, 640), (0.1, 640)], &[(0.9, 640), (0.1, 640)]);
    check_rate(3.0, &[(30.0, 640), (5.0, 640)], &[(2.5, 640), (0.5, 640)]);
    // Less than 1 is 1.
    check_rate(0.0, &[(5.0, 640)], &[(1.0, 640)]);
}

#[test]
fn tier_two_narrows() {
    // B = 1 and three units: 1 - 2 * 0.125 = 0.75 carries the full width; then 0.5 - 0.125 carries 0.75 of it (0.28125);
    // then 0.21875 carries half (0.125).
    check_rate(1.0, &[(5.0, 1280); 3], &[(0.5, 1280), (0.5, 960), (0.5, 640)]);
    // floor(1 / 0.125) = 8 units at half their width; the others are shed.
    let mut expect = vec![(0.5, 320); 8];
    expect.extend([(0.0, 0); 4]);
    check_rate(1.0, &[(5.0, 640); 12], &expect);
    // Never under 320 pixels: 0.5 * (320 / 400)^2 = 0.32, which the second can have and the third cannot.
    check_rate(1.0, &[(5.0, 400); 3], &[(0.5, 400), (0.5, 320), (0.0, 0)]);
    // By the tiers alone the last of these would find the room that the second and third did not.
    check_rate(1.0, &[(5.0, 320); 4], &[(0.5, 320), (0.5, 320), (0.0, 0), (0.0, 0)]);
    check_rate(1.0, &[(5.0, 160); 2], &[(0.5, 160), (0.5, 160)]);
}

#[test]
fn order_is_priority_then_camera_then_profile() {
    let mut all = vec![unit("b", 100, 5.0, 640), unit("a", 100, 5.0, 640), unit("z", 200, 5.0, 640)];
    all.push(Unit { profile: StreamKind::Main, ..unit("a", 100, 5.0, 640) });
    let plan = plan(&all, &policy(11.0));
    let order: Vec<(&str, StreamKind, f64)> =
        plan.units.iter().map(|u| (u.camera.as_str(), u.profile, u.fps)).collect();
    let (main, sub) = (StreamKind::Main, StreamKind::Sub);
    assert_eq!(order, [("z", sub, 5.0), ("a", main, 5.0), ("a", sub, 0.5), ("b", sub, 0.5)]);
}

#[test]
fn every_task_has_its_own_rate_and_width() {
    let mut all = units(&[(5.0, 1280)]);
    all[0].tasks.push(TaskWant { task: TaskId::new(2), fps: 1.0, width: 320, warm: false });
    all[0].tasks.push(TaskWant { task: TaskId::new(3), fps: 10.0, width: 640, warm: false });
    let plan = plan(&all, &policy(4.0));
    let got: Vec<(f64, u32)> = plan.units[0].tasks.iter().map(|t| (t.fps, t.width)).collect();
    assert_eq!(got, [(4.0, 1280), (1.0, 320), (4.0, 640)]);
    assert_eq!((plan.units[0].wanted_fps, plan.units[0].wanted_width), (10.0, 1280));
}

/// State, reason and decode mode of the only unit.
#[track_caller]
fn check_off(edit: impl FnOnce(&mut Unit, &mut Policy), expect: (&str, Option<&str>)) {
    let (mut all, mut policy) = (vec![unit("a", 100, 5.0, 640), unit("b", 100, 5.0, 640)], policy(5.0));
    edit(&mut all[0], &mut policy);
    let plan = plan(&all, &policy);
    let Fate::Off(off) = plan.units[0].fate else { panic!("{:?}", plan.units[0]) };
    assert_eq!((off.state(), off.reason(), plan.units[0].decode_name()), (expect.0, expect.1, "none"));
    assert_eq!(plan.units[1].fps, if policy.enabled { 5.0 } else { plan.units[1].fps }, "its share is free");
}

#[test]
fn what_does_not_run() {
    check_off(|unit, _| unit.source = None, ("error", Some("no_source")));
    check_off(|unit, _| unit.demand = Demand::Idle, ("stopped", Some("idle")));
    check_off(|_, policy| policy.enabled = false, ("stopped", None));
    let mut warm = units(&[(5.0, 640)]);
    warm[0].demand = Demand::Idle;
    warm[0].tasks[0].warm = true;
    assert!(plan(&warm, &policy(40.0)).units[0].runs());
    let mut none = units(&[(5.0, 640)]);
    none[0].tasks.clear();
    assert!(plan(&none, &policy(40.0)).units.is_empty());
    let shed = plan(&units(&[(5.0, 640); 12]), &policy(1.0));
    assert_eq!((shed.shed(), shed.units[11].fate), (4, Fate::Off(Off::ShedByRate)));
}

#[test]
fn sources_and_idling() {
    use StreamKind::{Main, Sub};
    for (profile, has, recorded, expect) in [
        (Sub, &[Main, Sub][..], Some(Main), Some(Sub)),
        (Sub, &[Main], Some(Main), Some(Main)),
        (Main, &[Sub], Some(Sub), Some(Sub)),
        (Main, &[Sub], None, None),
        (Sub, &[], Some(Main), None),
    ] {
        assert_eq!(source_of(profile, has, recorded), expect);
    }
    let task = |fps| TaskWant { task: TaskId::new(1), fps, width: 640, warm: false };
    assert_eq!(idle_after(60, &[task(5.0)]), Some(Micros::from_secs(60)));
    assert_eq!(idle_after(60, &[task(5.0), task(0.02)]), Some(Micros::from_secs(100)));
    assert_eq!(idle_after(0, &[task(5.0)]), None);
}

#[test]
fn slow_tasks_need_sync_samples_only() {
    let mode = |fps: f64, sync: Option<i64>| {
        let mut all = units(&[(fps, 640)]);
        let facts = StreamFacts { sync_interval: sync.map(Micros::from_millis), ..FACTS };
        all[0].source = Some(Source { stream: StreamKind::Sub, facts: Some(facts) });
        plan(&all, &policy(40.0)).units[0].decode_name()
    };
    assert_eq!(mode(0.5, Some(2_000)), "sync_only");
    assert_eq!(mode(0.5, Some(2_010)), "sync_only");
    assert_eq!(mode(0.51, Some(2_000)), "all");
    assert_eq!(mode(0.02, Some(10_000)), "sync_only");
    assert_eq!(mode(0.02, None), "all");
    // The fastest task decides.
    let mut all = units(&[(0.1, 640)]);
    all[0].tasks.push(TaskWant { task: TaskId::new(2), fps: 5.0, width: 320, warm: false });
    assert_eq!(plan(&all, &policy(40.0)).units[0].decode_name(), "all");
}

#[test]
fn a_decode_that_is_shared_counts_once() {
    let sub = unit("a", 100, 5.0, 640);
    let mut main = Unit { profile: StreamKind::Main, ..sub.clone() };
    let alone = plan(std::slice::from_ref(&sub), &cores(1e6)).cores.spent;
    let shared = plan(&[sub.clone(), main.clone()], &cores(1e6)).cores.spent;
    main.source = Some(Source { stream: StreamKind::Main, facts: Some(FACTS) });
    let apart = plan(&[sub.clone(), main.clone()], &cores(1e6)).cores.spent;
    assert!((apart - 2.0 * alone).abs() < 1e-9 && shared < apart - 0.02, "{alone} {shared} {apart}");
    // The greater need decides how it is decoded.
    main.source = sub.source;
    main.tasks[0].fps = 0.1;
    let plan = plan(&[sub, main], &cores(1e6));
    assert!(plan.units.iter().all(|unit| unit.decode_name() == "all"));
}

#[test]
fn a_measurement_corrects_the_estimate() {
    let mut all = units(&[(5.0, 640)]);
    let estimated = plan(&all, &cores(1e6)).units[0].estimated_cores;
    let measured = Some(Measured { cores: 3.0 * estimated, estimated });
    all[0].source = Some(Source { stream: StreamKind::Sub, facts: Some(StreamFacts { measured, ..FACTS }) });
    let plan = plan(&all, &cores(1e6));
    assert!((plan.cores.spent - 3.0 * estimated).abs() < 1e-9);
    assert!(
        (plan.units[0].estimated_cores - estimated).abs() < 1e-9,
        "the estimate is that of no measurement"
    );
}

/// What becomes of six like units of 5 pictures a second when ceiling D is `part` of what they cost: rate, width, reason.
fn under(part: f64) -> Vec<(f64, u32, &'static str)> {
    let all = units(&[(5.0, 1280); 6]);
    let whole = plan(&all, &cores(1e6)).cores.spent;
    let plan = plan(&all, &cores(whole * part));
    assert!(plan.cores.spent <= plan.cores.ceiling + 1e-9);
    let show = |unit: &PlannedUnit| match unit.fate {
        Fate::Off(off) => (unit.fps, unit.width, off.reason().unwrap()),
        Fate::Run { decode: DecodeMode::SyncOnly, .. } => (unit.fps, unit.width, "sync_only"),
        Fate::Run { why: Why::Wanted, .. } => (unit.fps, unit.width, "wanted"),
        Fate::Run { .. } => (unit.fps, unit.width, "slower"),
    };
    plan.units.iter().map(show).collect()
}

#[test]
fn measures_under_ceiling_d() {
    let wanted = (5.0, 1280, "wanted");
    assert_eq!(under(1.0), [wanted; 6]);
    // A little over: the lowest is slower, the others untouched.
    let little = under(0.97);
    assert_eq!(little[..5], [wanted; 5]);
    assert!(little[5].2 == "slower" && little[5].0 < 5.0 && little[5].0 >= 0.5, "{little:?}");
    // Half: the lower ones see sync samples at the floor, which their rate then allows anyway, the upper ones all.
    let half = under(0.5);
    assert_eq!(half[..2], [wanted; 2]);
    assert!(half[4..].iter().all(|u| *u == (0.5, 1280, "sync_only")), "{half:?}");
    // Very little: narrow, then gone, from the bottom.
    let tight = under(0.05);
    assert!(tight.iter().any(|u| u.1 < 1280 && u.1 > 0), "{tight:?}");
    assert_eq!(under(0.0), [(0.0, 0, "shed"); 6]);
    let least = under(0.015);
    assert!(least[0].2 != "shed" && least[5].2 == "shed", "{least:?}");
}

#[test]
fn sync_samples_only_where_the_floor_needs_more() {
    // A sync sample every 8 s: at the floor all pictures are needed still.
    let facts = StreamFacts { sync_interval: Some(Micros::from_secs(8)), ..FACTS };
    let mut all = units(&[(5.0, 640); 2]);
    for unit in &mut all {
        unit.source = Some(Source { stream: StreamKind::Sub, facts: Some(facts) });
    }
    let floor = plan(&units(&[(0.51, 640); 2]), &cores(1e6)).cores.spent;
    let plan = plan(&all, &cores(floor * 0.8));
    assert_eq!(plan.units[1].fate, Fate::Run { decode: DecodeMode::SyncOnly, why: Why::DecodeSyncOnly });
    assert_eq!((plan.units[1].fps, plan.units[1].tasks[0].fps), (0.125, 0.125));
    assert_eq!(plan.units[0].decode_name(), "all");
    assert!(plan.units[0].fps > 0.5, "what the other left is given back: {}", plan.units[0].fps);
}

#[test]
fn load_lowers_ceiling_d() {
    let all = units(&[(5.0, 640); 4]);
    let whole = plan(&all, &cores(1e6)).cores.spent;
    let full = plan(&all, &Policy { load_factor: 1.0, ..cores(whole) });
    let low = plan(&all, &Policy { load_factor: 0.25, ..cores(whole) });
    assert!(full.units.iter().all(|u| u.fps == 5.0) && low.cores.spent <= whole / 4.0 + 1e-9);
}

fn any_unit(camera: usize) -> impl Strategy<Value = Unit> {
    let tasks = proptest::collection::vec((0.02..30.0f64, 160..3840u32, any::<bool>()), 1..4);
    let facts =
        proptest::option::of((0..3usize, 1..4000u32, 1..3000u32, 0.0..60.0f64, 0..20_000i64, 0.0..4.0f64));
    let source = proptest::option::weighted(0.9, (any::<bool>(), facts));
    (tasks, source, -2..3i64, any::<bool>(), 0..8u8).prop_map(move |(tasks, source, priority, main, idle)| {
        Unit {
            camera: CameraId::new(&format!("c{}", camera / 2)).unwrap(),
            profile: if camera.is_multiple_of(2) { StreamKind::Main } else { StreamKind::Sub },
            priority,
            source: source.map(|(other, facts)| Source {
                stream: if main ^ other { StreamKind::Main } else { StreamKind::Sub },
                facts: facts.map(|(codec, width, height, fps, sync, cores)| StreamFacts {
                    codec: [Codec::H264, Codec::H265, Codec::Other][codec],
                    width,
                    height,
                    fps,
                    sync_interval: (sync > 100).then_some(Micros::from_millis(sync)),
                    measured: (cores > 1.0).then_some(Measured { cores, estimated: 1.0 }),
                }),
            }),
            demand: if idle == 0 { Demand::Idle } else { Demand::Wanted },
            tasks: tasks
                .into_iter()
                .enumerate()
                .map(|(n, (fps, width, warm))| TaskWant { task: TaskId::new(n as u128), fps, width, warm })
                .collect(),
        }
    })
}

fn any_units() -> impl Strategy<Value = Vec<Unit>> {
    (0..14usize).prop_flat_map(|n| (0..n).map(any_unit).collect::<Vec<_>>())
}

/// How well a unit is served.
fn rank(unit: &PlannedUnit) -> (f64, u32) {
    (unit.fps, unit.width)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn neither_ceiling_is_exceeded(all in any_units(), b in 0.0..60.0f64, d in 0.0..4.0f64, load in 0.25..1.0f64) {
        let policy = Policy { enabled: true, max_total_fps: b, decode_cores: d, load_factor: load };
        let plan = plan(&all, &policy);
        prop_assert_eq!(plan.units.len(), all.len());
        prop_assert!(plan.rate.spent <= plan.rate.ceiling + 1e-6);
        prop_assert!(plan.cores.spent <= plan.cores.ceiling + 1e-6);
        for unit in &plan.units {
            prop_assert!(unit.fps <= unit.wanted_fps && unit.width <= unit.wanted_width);
            prop_assert!(!unit.runs() || (unit.fps > 0.0 && unit.width > 0));
            prop_assert!(unit.tasks.iter().all(|t| t.fps <= unit.fps && t.width <= unit.width));
            let shed = matches!(unit.fate, Fate::Off(off) if off.is_shed());
            prop_assert_eq!(shed, unit.fps == 0.0);
        }
        // The order of the input does not matter, and the same inventory gives the same plan.
        let mut turned = all.clone();
        turned.reverse();
        prop_assert!(diff(&plan, &super::plan(&turned, &policy)).is_empty());
    }

    #[test]
    fn nobody_is_served_better_than_one_above(
        n in 1..24usize, fps in 0.02..30.0f64, width in 160..3840u32, b in 0.0..60.0f64, d in 0.0..2.0f64, sync in 200..12_000i64
    ) {
        let facts = StreamFacts { sync_interval: Some(Micros::from_millis(sync)), ..FACTS };
        let mut all = units(&vec![(fps, width); n]);
        for unit in &mut all {
            unit.source = Some(Source { stream: StreamKind::Sub, facts: Some(facts) });
        }
        let plan = plan(&all, &Policy { decode_cores: d, ..policy(b) });
        for pair in plan.units.windows(2) {
            prop_assert!(pair[0].fps >= pair[1].fps - 1e-9 && pair[0].width >= pair[1].width, "{:?}", served(&plan));
            prop_assert!(pair[0].runs() || !pair[1].runs());
        }
    }

    #[test]
    fn a_larger_ceiling_b_serves_better_from_the_top(
        n in 1..24usize, fps in 0.02..30.0f64, width in 640..3840u32, b in 1.0..60.0f64, more in 0.0..20.0f64
    ) {
        // From 640 pixels on a unit can always be had at its cheapest; narrower ones leave the tiers less regular.
        let all = units(&vec![(fps, width); n]);
        let (less, more) = (plan(&all, &policy(b)), plan(&all, &policy(b + more)));
        prop_assert!(more.shed() <= less.shed());
        // The first that is served otherwise is served better; what it takes more, one below it may have less.
        let (a, b) = (served(&less), served(&more));
        let first = a.iter().zip(&b).find(|(a, b)| a != b);
        prop_assert!(first.is_none_or(|(a, b)| b.0 >= a.0 && b.1 >= a.1), "{:?} {:?}", a, b);
    }

    #[test]
    fn a_larger_ceiling_d_keeps_at_least_as_many(n in 1..16usize, fps in 0.02..30.0f64, d in 0.0..1.0f64, more in 0.0..1.0f64) {
        let all = units(&vec![(fps, 1280); n]);
        let (less, more) = (plan(&all, &cores(d)), plan(&all, &cores(d + more)));
        prop_assert!(more.shed() <= less.shed());
        prop_assert!(rank(&more.units[0]).0 >= rank(&less.units[0]).0 - 1e-9);
    }
}
