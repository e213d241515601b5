//! The retention planner against a naive sweep, and the promises it makes.

use std::collections::HashSet;

use heldar_base::{Micros, SegmentId};
use heldar_timeline::retention::{Item, Purpose, Reason, fair_shares};
use proptest::prelude::*;

use crate::world::{PREVIEW, SWEEP, World, minute, world};

fn named(items: &[Item]) -> Vec<(usize, SegmentId, Reason)> {
    items.iter().map(|item| (item.camera, item.segment, item.reason)).collect()
}

proptest! {
    #![proptest_config(crate::cases(2))]

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
