//! The retention planner against a naive sweep, and the promises it makes.

use std::collections::HashSet;

use heldar_base::{CameraId, Micros, SegmentId};
use heldar_timeline::retention::{
    Condition, Episode, Episodes, FloorProgress, FloorWatch, Item, Purpose, Reason, fair_shares, preview,
};
use proptest::prelude::*;

use crate::world::{World, minute, world};

const SWEEP: Purpose = Purpose::Sweep { max_items: usize::MAX };
const PREVIEW: Purpose = Purpose::Preview { horizon: Micros::ZERO };

fn named(items: &[Item]) -> Vec<(usize, SegmentId, Reason)> {
    items.iter().map(|item| (item.camera, item.segment, item.reason)).collect()
}

proptest! {
    #![proptest_config(crate::cases(4))]

    #[test]
    fn plans_are_those_of_the_naive_sweep(world in world()) {
        let plan = world.plan(SWEEP).plan;
        let naive = world.naive(0);
        let expect: Vec<_> = naive.items.iter().map(|(cam, segment, reason)| (*cam, segment.id, *reason)).collect();
        prop_assert_eq!(named(&plan.items), expect);
        prop_assert!(plan.complete);
    }

    #[test]
    fn nothing_protected_is_named_and_nothing_twice(world in world()) {
        let plan = world.plan(SWEEP).plan;
        let mut seen = HashSet::new();
        for item in &plan.items {
            prop_assert!(seen.insert(item.segment));
            let segments = &world.cams[item.camera].segments;
            let index = segments.iter().position(|segment| segment.id == item.segment).unwrap();
            let segment = segments[index];
            prop_assert!(!segment.held && !segment.locked && !segment.open);
            let next = segments[index + 1..].iter().find(|next| next.id.stream_no == segment.id.stream_no);
            prop_assert!(!next.is_some_and(|next| next.held && next.dependent && next.id.start == segment.end));
        }
    }

    #[test]
    fn an_executed_plan_leaves_nothing_to_do(mut world in world()) {
        let plan = world.plan(SWEEP).plan;
        world.execute(&plan);
        prop_assert_eq!(world.plan(SWEEP).plan.items, vec![]);
        world.cams.iter_mut().for_each(|cam| cam.mark = None);
        prop_assert_eq!(world.plan(SWEEP).plan.items, vec![]);
    }

    #[test]
    fn a_limited_plan_is_the_beginning_of_the_whole(mut world in world(), max_items in 1usize..20) {
        let whole = world.plan(SWEEP).plan;
        let mut parts = Vec::new();
        loop {
            let part = world.plan(Purpose::Sweep { max_items }).plan;
            prop_assert!(part.items.len() <= max_items);
            world.execute(&part);
            parts.extend(part.items);
            if part.complete {
                break;
            }
        }
        prop_assert_eq!(parts, whole.items);
    }

    /// A sweep that goes by its mark finds what a full walk finds.
    #[test]
    fn marks_skip_nothing(
        mut world in world(),
        sweeps in prop::collection::vec((0i64..90, any::<u64>()), 1..8),
    ) {
        for (minutes, readers) in sweeps {
            world.now = world.now + (minute(minutes) - minute(0));
            for (n, segment) in world.cams.iter_mut().flat_map(|cam| &mut cam.segments).enumerate() {
                segment.locked = readers.rotate_left(n as u32 * 7) & 15 == 0;
            }
            let plan = world.plan(SWEEP).plan;
            let naive = world.naive(0);
            let sorted = |mut items: Vec<(usize, SegmentId, Reason)>| {
                items.sort_by_key(|(cam, id, _)| (*cam, id.start, id.stream_no));
                items
            };
            let expect = naive.items.iter().map(|(cam, segment, reason)| (*cam, segment.id, *reason)).collect();
            prop_assert_eq!(sorted(named(&plan.items)), sorted(expect));
            world.execute(&plan);
        }
    }

    #[test]
    fn a_preview_counts_what_the_sweep_removes(world in world()) {
        let dry = world.plan(PREVIEW).plan;
        let sweep = world.plan(SWEEP).plan;
        prop_assert_eq!(dry.removed(), sweep.removed());
        prop_assert_eq!(dry.span(), sweep.span());
        prop_assert_eq!(dry.kept(), sweep.kept());
        prop_assert_eq!(&dry.conditions, &sweep.conditions);
        let total = dry.removed().total();
        prop_assert_eq!(total.segments as usize, sweep.items.len());
        prop_assert_eq!(total.bytes, sweep.items.iter().map(|item| item.bytes).sum::<u64>());
        let lengths: Micros = sweep.items.iter().map(|item| item.end - item.segment.start).sum();
        prop_assert_eq!(total.length, lengths);
    }

    #[test]
    fn a_preview_tells_what_is_left(mut world in world()) {
        // A reader could keep a segment whose reason to stay is evicted.
        world.cams.iter_mut().flat_map(|cam| &mut cam.segments).for_each(|segment| segment.locked = false);
        let dry = world.plan(PREVIEW).plan;
        let sweep = world.plan(SWEEP).plan;
        world.execute(&sweep);
        let after = world.plan(PREVIEW).plan;
        prop_assert_eq!(after.kept(), dry.kept());
        for ((cam, before), after) in world.cams.iter().zip(&dry.cameras).zip(&after.cameras) {
            let base = world.now - Micros::from_hours(i64::from(cam.keep.all.max(1)));
            let young = cam.segments.iter().filter(|segment| segment.end >= base && !segment.held);
            let back = young.map(|segment| world.now - segment.id.start).max().unwrap_or_default();
            prop_assert_eq!(before.kept_back, Some(back.max(Micros::ZERO)));
            prop_assert_eq!(after.kept_back, before.kept_back);
        }
    }

    #[test]
    fn a_look_ahead_is_a_later_sweep_with_what_is_written_until_then(world in world(), hours in 0i64..20) {
        let dry = world.plan(Purpose::Preview { horizon: Micros::from_hours(hours) }).plan;
        let naive = world.naive(hours);
        for reason in Reason::ALL {
            let bytes: u64 = naive.items.iter().filter(|item| item.2 == reason).map(|item| item.1.bytes).sum();
            prop_assert_eq!(dry.removed().get(reason).bytes, bytes, "{:?}", reason);
        }
    }

    #[test]
    fn limits_are_reached_or_nothing_more_may_go(mut world in world()) {
        let plan = world.plan(SWEEP).plan;
        let quota_items = |cam| plan.items.iter().filter(move |i| i.camera == cam && i.reason == Reason::Quota);
        let last: Vec<u64> =
            (0..world.cams.len()).map(|cam| quota_items(cam).next_back().map_or(0, |item| item.bytes)).collect();
        let later: Vec<u64> = (0..world.cams.len())
            .map(|cam| plan.items.iter().filter(|i| i.camera == cam && i.reason > Reason::Quota).map(|i| i.bytes).sum())
            .collect();
        world.execute(&plan);
        let after = world.naive(0);
        prop_assert!(after.items.is_empty());
        for (cam, state) in world.cams.iter().enumerate() {
            let Some(quota) = state.quota else { continue };
            let usage = after.usage(cam);
            prop_assert!(usage <= quota || after.evictable(cam).is_none());
            // Exactly down to the quota: the last one had to go.
            prop_assert!(last[cam] == 0 || usage + later[cam] + last[cam] > quota);
        }
    }

    #[test]
    fn nobody_within_its_share_pays_for_another(world in world()) {
        let plan = world.plan(SWEEP).plan;
        let mut left: World = world.clone();
        for item in &plan.items {
            if item.reason > Reason::Quota {
                let state = left.untouched(0);
                let shares = state.shares();
                let excess = |cam: usize| state.usage(cam).saturating_sub(shares[cam]);
                let able = (0..left.cams.len()).filter(|cam| state.evictable(*cam).is_some());
                let most = able.map(excess).max();
                prop_assert_eq!(Some(excess(item.camera)), most, "{:?}", item);
            }
            left.cams[item.camera].segments.retain(|segment| segment.id != item.segment);
        }
    }

    #[test]
    fn shares_are_max_min_fair(capacity in 0u64..1_000, claims in prop::collection::vec(0u64..500, 0..8)) {
        let shares = fair_shares(capacity, &claims);
        let given: u64 = shares.iter().sum();
        prop_assert_eq!(given, capacity.min(claims.iter().sum()));
        for (share, claim) in shares.iter().zip(&claims) {
            prop_assert!(share <= claim);
            // Who got less than it claims got as much as anybody.
            prop_assert!(share == claim || shares.iter().all(|other| *other <= share + 1));
        }
    }
}

/// A camera with one segment a minute, from `first` on, of ten bytes each.
fn cam(stream_no: i64, first: i64, count: i64) -> Cam {
    let segment = |n: i64| Segment {
        id: SegmentId { stream_no, start: minute(first + n) },
        end: minute(first + n + 1),
        bytes: 10,
        held: false,
        locked: false,
        open: n + 1 == count,
        dependent: false,
    };
    Cam {
        segments: (0..count).map(segment).collect(),
        activity: Activity::default(),
        keep: KeepHours { all: 1, motion: None, alert: None },
        quota: None,
        bytes_per_day: 0,
        mark: None,
    }
}

/// A fleet at the instant that its newest footage ends, without limits.
fn fleet(cams: Vec<Cam>) -> World {
    let ends = cams.iter().flat_map(|cam| &cam.segments).map(|segment| segment.end);
    let now = ends.max().unwrap_or(minute(0));
    let policy = Policy { max_recordings_bytes: None, min_free_bytes: 0 };
    World { cams, policy, disk: Some(Disk { total_bytes: 10_000, free_bytes: 0 }), now }
}

fn id(index: usize) -> CameraId {
    CameraId::new(&format!("cam_{index}")).unwrap()
}

/// `(camera, first minute, last minute, reason)` of each run of items.
fn check(world: &World, expect: &[(usize, i64, i64, Reason)], conditions: &[Condition]) {
    let plan = world.plan(SWEEP).plan;
    let mut runs: Vec<(usize, i64, i64, Reason)> = Vec::new();
    for item in &plan.items {
        let at = (item.segment.start - minute(0)).0 / 60_000_000;
        match runs.last_mut() {
            Some((cam, _, last, reason)) if (*cam, *last + 1, *reason) == (item.camera, at, item.reason) => {
                *last = at;
            }
            _ => runs.push((item.camera, at, at, item.reason)),
        }
    }
    assert_eq!(runs, expect);
    assert_eq!(plan.conditions, conditions);
    assert_eq!(plan.limited_by(), expect.iter().map(|(_, _, _, reason)| *reason).max());
}

#[test]
fn each_step_takes_the_oldest() {
    use Reason::{Age, FreeFloor, Quota, SizeCap};
    // An hour is kept; the segment that ends exactly an hour ago is not past it.
    check(&fleet(vec![cam(0, 0, 70)]), &[(0, 0, 8, Age)], &[]);

    let mut quota = fleet(vec![cam(0, 0, 60)]);
    quota.cams[0].quota = Some(555);
    check(&quota, &[(0, 0, 4, Quota)], &[]);

    // Shares of 300: the one far above pays until both are level, then they take turns.
    let mut cap = fleet(vec![cam(0, 20, 40), cam(1, 0, 60)]);
    cap.policy.max_recordings_bytes = Some(780);
    check(&cap, &[(1, 0, 19, SizeCap), (0, 20, 20, SizeCap), (1, 20, 20, SizeCap)], &[]);

    // Nobody is above a share: the oldest of all goes, as much as is needed.
    let mut floor = fleet(vec![cam(0, 20, 40), cam(1, 0, 60)]);
    floor.policy = Policy { max_recordings_bytes: Some(10_000), min_free_bytes: 35 };
    check(&floor, &[(1, 0, 3, FreeFloor)], &[]);

    // A quota is a claim: who asked for little is not protected beyond it, and frees its share for the other.
    let mut claims = fleet(vec![cam(0, 0, 60), cam(1, 0, 60)]);
    claims.policy.max_recordings_bytes = Some(700);
    claims.cams[0].quota = Some(100);
    check(&claims, &[(0, 0, 49, Quota)], &[]);
}

#[test]
fn what_motion_and_alerts_keep() {
    let mut world = fleet(vec![cam(0, 0, 300)]);
    world.cams[0].keep = KeepHours { all: 1, motion: Some(2), alert: Some(3) };
    let at = |from: i64, to: i64| heldar_base::Interval::new(minute(from), minute(to));
    // Past alert age, alert, motion past its age, motion and alert, motion, and motion that is not past any age.
    world.cams[0].activity.alert = [at(100, 102), at(130, 132), at(190, 191)].into_iter().collect();
    world.cams[0].activity.motion = [at(150, 152), at(190, 193), at(210, 211), at(290, 300)].into_iter().collect();
    check(
        &world,
        &[(0, 0, 129, Reason::Age), (0, 132, 189, Reason::Age), (0, 193, 209, Reason::Age), (0, 211, 238, Reason::Age)],
        &[],
    );
    let kept = world.plan(PREVIEW).plan.kept();
    assert_eq!((kept.alert.segments, kept.motion.segments), (3, 3));
    // What is kept still yields to a limit, and is then not kept.
    world.cams[0].quota = Some(630);
    let plan = world.plan(PREVIEW).plan;
    assert_eq!((plan.kept().alert.segments, plan.kept().motion.segments), (0, 2 + 1 - 1));
}

#[test]
fn conditions_say_what_stands_in_the_way() {
    let mut held = fleet(vec![cam(0, 0, 30), cam(1, 0, 30)]);
    held.cams[0].segments.iter_mut().take(20).for_each(|segment| segment.held = true);
    held.cams[0].quota = Some(150);
    held.policy.max_recordings_bytes = Some(190);
    // 200 bytes are held, which counts for no limit; of the rest 100 and 300 are there.
    check(
        &held,
        &[(1, 0, 19, Reason::SizeCap), (0, 20, 20, Reason::SizeCap)],
        &[
            Condition::QuotaHeld { camera: id(0), protected_bytes: 200, quota_bytes: 150 },
            Condition::HeldExceedsCap { protected_bytes: 200, unlocked_bytes: 400, max_bytes: 190 },
        ],
    );

    let mut read = fleet(vec![cam(0, 0, 30), cam(1, 0, 30)]);
    read.cams[0].segments.iter_mut().for_each(|segment| segment.locked = true);
    read.policy.max_recordings_bytes = Some(500);
    check(
        &read,
        &[(1, 0, 9, Reason::SizeCap)],
        &[Condition::OverShareAllProtected { camera: id(0), max_bytes: 500 }],
    );
    read.policy = Policy { max_recordings_bytes: Some(590), min_free_bytes: 500 };
    check(
        &read,
        &[(1, 0, 0, Reason::SizeCap), (1, 1, 28, Reason::FreeFloor)],
        &[
            Condition::OverShareAllProtected { camera: id(0), max_bytes: 590 },
            Condition::FloorOutOfReach { min_free_bytes: 500, short_bytes: 210 },
            Condition::FloorBlockedByProtectedShare { camera: id(0), min_free_bytes: 500 },
        ],
    );

    let mut floor = fleet(vec![cam(0, 0, 30)]);
    floor.policy.min_free_bytes = 10_000;
    let total_bytes = 10_000;
    check(&floor, &[], &[Condition::FloorUnsatisfiable { min_free_bytes: 10_000, total_bytes }]);
    floor.disk = None;
    check(&floor, &[], &[Condition::DiskStatsUnavailable]);
}

#[test]
fn an_idle_sweep_reads_one_small_page_for_each_camera() {
    let world = fleet((0..64).map(|n| cam(n, 0, 59)).collect());
    let swept = world.plan(SWEEP);
    assert_eq!(swept.plan.items, vec![]);
    assert_eq!(swept.queries.len(), 64);
    assert!(swept.queries.iter().all(|query| query.limit <= 4));
}

#[test]
fn a_sweep_by_its_mark_does_not_walk_over_what_is_kept() {
    let mut world = fleet(vec![cam(0, 0, 20_000)]);
    world.cams[0].keep = KeepHours { all: 1, motion: Some(1_000), alert: None };
    world.cams[0].activity.motion = [heldar_base::Interval::new(minute(0), minute(20_000))].into_iter().collect();
    let rows = |world: &World| {
        let swept = world.plan(SWEEP);
        assert_eq!(swept.plan.items, vec![]);
        (swept.queries.iter().map(|query| query.limit).sum::<usize>(), swept.plan)
    };
    let (full, plan) = rows(&world);
    assert!(full > 19_000, "{full}");
    world.execute(&plan);
    world.now = world.now + Micros::from_secs(300);
    let (marked, plan) = rows(&world);
    assert!(marked < 500, "{marked}");
    // Once a day everything is looked at.
    world.execute(&plan);
    world.now = world.now + Micros::from_hours(24);
    assert!(rows(&world).0 > 19_000);
}

#[test]
fn previews_compare_settings() {
    let present = fleet(vec![cam(0, 0, 60), cam(1, 0, 60)]);
    let mut asked = present.clone();
    asked.cams[0].quota = Some(400);
    asked.cams[0].segments[0].held = true;
    let dry = preview(asked.plan(PREVIEW).plan, &present.plan(PREVIEW).plan, &asked.cameras());
    assert_eq!((dry.would_delete.segments, dry.would_delete.bytes), (19, 190));
    assert_eq!((dry.more_segments, dry.more_bytes), (19, 190));
    assert_eq!((dry.held.segments, dry.held.bytes), (1, 10));
    assert_eq!(dry.cameras[0].kept_back, Some(Micros::from_secs(40 * 60)));
    assert_eq!(dry.cameras[1].kept_back, Some(Micros::from_secs(60 * 60)));
    let (kept, wanted) = (Micros::from_secs(40 * 60), Micros::from_hours(1));
    assert_eq!(dry.warnings, vec![Warning::BeforeItsAge { camera: id(0), kept, wanted }]);
    let back = preview(present.plan(PREVIEW).plan, &asked.plan(PREVIEW).plan, &present.cameras());
    assert_eq!((back.more_segments, back.more_bytes, back.would_delete.segments), (-19, -190, 0));
}

#[test]
fn one_notice_for_each_episode() {
    let mut episodes = Episodes::default();
    let quota = |bytes| Condition::QuotaHeld { camera: id(0), protected_bytes: bytes, quota_bytes: 5 };
    let other = Condition::QuotaHeld { camera: id(1), protected_bytes: 9, quota_bytes: 5 };
    let floor = Condition::FloorOutOfReach { min_free_bytes: 5, short_bytes: 2 };
    let entered = |condition: &Condition| Episode::Entered(condition.clone());
    assert_eq!(episodes.update(minute(0), &[quota(7)]), [entered(&quota(7))]);
    assert_eq!(episodes.update(minute(5), &[quota(8), other.clone()]), [entered(&other)]);
    let lasted = Micros::from_secs(600);
    let cleared = Episode::Cleared { condition: quota(8), lasted };
    assert_eq!(episodes.update(minute(10), &[floor.clone(), other.clone()]), [cleared, entered(&floor)]);
    assert_eq!(episodes.update(minute(60), &[floor.clone(), other.clone()]), []);
    assert_eq!(episodes.update(minute(70), &[floor.clone(), other]), [Episode::Repeated(floor.clone())]);
    assert_eq!(episodes.update(minute(71), std::slice::from_ref(&floor)).len(), 1);
}

#[test]
fn deleting_for_the_floor_ends_when_it_does_not_help() {
    let mut watch = FloorWatch::new(100, 10);
    assert_eq!(watch.after_batch(40, 30), FloorProgress::Rising);
    assert_eq!(watch.after_batch(40, 0), FloorProgress::Rising);
    assert_eq!(watch.after_batch(40, 30), FloorProgress::NotRecovering);
    assert_eq!(watch.after_batch(100, 30), FloorProgress::Reached);
}
