//! Retention sweeps told one by one.

use heldar_base::{CameraId, Interval, Micros, SegmentId};
use heldar_timeline::retention::{
    Activity, Condition, Disk, Episode, Episodes, FloorProgress, FloorWatch, KeepHours, Policy, Reason,
    Segment, Warning, preview,
};

use crate::world::{Cam, PREVIEW, SWEEP, World, minute};

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
    let at = |from: i64, to: i64| Interval::new(minute(from), minute(to));
    // Past alert age, alert, motion past its age, motion and alert, motion, and motion that is not past any age.
    world.cams[0].activity.alert = [at(100, 102), at(130, 132), at(190, 191)].into_iter().collect();
    world.cams[0].activity.motion =
        [at(150, 152), at(190, 193), at(210, 211), at(290, 300)].into_iter().collect();
    check(
        &world,
        &[
            (0, 0, 129, Reason::Age),
            (0, 132, 189, Reason::Age),
            (0, 193, 209, Reason::Age),
            (0, 211, 238, Reason::Age),
        ],
        &[],
    );
    let kept = world.plan(PREVIEW).plan.kept();
    assert_eq!((kept.alert.segments, kept.motion.segments), (3, 3));
    // What is kept still yields to a limit, and is then not kept.
    world.cams[0].quota = Some(630);
    let plan = world.plan(PREVIEW).plan;
    assert_eq!((plan.kept().alert.segments, plan.kept().motion.segments), (0, 2));
}

#[test]
fn a_reader_outlives_what_a_segment_was_kept_for() {
    let mut world = fleet(vec![cam(0, 0, 300)]);
    world.cams[0].keep = KeepHours { all: 1, motion: Some(5), alert: None };
    world.cams[0].activity.motion = [Interval::new(minute(51), minute(52))].into_iter().collect();
    world.cams[0].segments[51].dependent = true;
    world.cams[0].segments[50].locked = true;
    world.cams[0].quota = Some(620);
    // Of the two that are left for the motion, the first is being read and the second yields to the quota.
    check(&world, &[(0, 0, 49, Reason::Age), (0, 52, 238, Reason::Age), (0, 51, 51, Reason::Quota)], &[]);
    let plan = world.plan(SWEEP).plan;
    world.execute(&plan);
    world.cams[0].segments[0].locked = false;
    check(&world, &[(0, 50, 50, Reason::Age)], &[]);
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

    // Nobody protects an open segment; it is just the least there can be.
    let mut open = fleet(vec![cam(0, 0, 1)]);
    open.policy.max_recordings_bytes = Some(5);
    check(&open, &[], &[]);

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
    world.cams[0].activity.motion = [Interval::new(minute(0), minute(20_000))].into_iter().collect();
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
