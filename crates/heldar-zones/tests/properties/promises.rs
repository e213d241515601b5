//! What holds in any scene.

use std::collections::BTreeMap;

use heldar_base::Micros;
use heldar_zones::{Engine, Fact, FactKind, Reason, Replay, SETTLE};
use proptest::prelude::*;

use crate::world::{LONG, Run, Scene, T0, Ticks, at, feed, finish, pass, run, scene};

/// Fields of a track, without the zone as a whole.
fn of_tracks(facts: &[Fact]) -> Vec<Fact> {
    facts.iter().filter(|fact| fact.track.is_some()).cloned().collect()
}

/// Runs a scene in which batches come later than they were captured, in order.
fn delayed(scene: &Scene, delays: &[i64]) -> Run {
    let mut engine = Engine::new();
    let mut facts = engine.set_zones(scene.zones(), T0).facts;
    let mut now = T0;
    let mut last = 0;
    for ((captured, step), delay) in scene.batches().into_iter().zip(delays.iter().cycle()) {
        now = now.max(at(captured) + Micros::from_millis(*delay));
        pass(&mut engine, T0, now, Ticks::AtDeadlines, &mut facts);
        facts.extend(feed(&mut engine, captured, now, false, step).facts);
        last = captured;
    }
    facts.extend(engine.tick(at(last + LONG) + SETTLE).facts);
    finish(engine, facts)
}

proptest! {
    #![proptest_config(crate::cases(1))]

    #[test]
    fn the_times_of_ticks_do_not_matter(scene in scene()) {
        let without = run(&scene, Ticks::Never);
        prop_assert_eq!(&run(&scene, Ticks::EverySecond), &without);
        prop_assert_eq!(&run(&scene, Ticks::AtDeadlines), &without);
    }

    #[test]
    fn pictures_may_be_on_their_way_for_a_while(scene in scene(), delays in prop::collection::vec(0i64..=2000, 1..9)) {
        prop_assert_eq!(delayed(&scene, &delays), run(&scene, Ticks::Never));
    }

    #[test]
    fn a_restart_changes_nothing(scene in scene(), restarts in prop::collection::vec(any::<bool>(), 1..9)) {
        let mut engine = Engine::new();
        let mut facts = engine.set_zones(scene.zones(), T0).facts;
        let mut last = 0;
        for ((captured, step), restart) in scene.batches().into_iter().zip(restarts.iter().cycle()) {
            if *restart {
                let saved = engine.save();
                engine = Engine::restore(&saved).unwrap();
                prop_assert_eq!(engine.save(), saved);
            }
            facts.extend(feed(&mut engine, captured, at(captured), false, step).facts);
            last = captured;
            if *restart {
                engine = Engine::restore(&engine.save()).unwrap();
                facts.extend(engine.tick(at(captured)).facts);
            }
        }
        engine = Engine::restore(&engine.save()).unwrap();
        facts.extend(engine.tick(at(last + LONG) + SETTLE).facts);
        prop_assert_eq!(finish(engine, facts), run(&scene, Ticks::Never));
    }

    #[test]
    fn every_visit_ends_once_with_its_duration(scene in scene()) {
        let run = run(&scene, Ticks::AtDeadlines);
        let mut visits: BTreeMap<_, Vec<&Fact>> = BTreeMap::new();
        for fact in &run.facts {
            let key = (fact.zone_id.clone(), fact.task_type.clone(), fact.track.clone());
            visits.entry(key).or_default().push(fact);
        }
        let silent = |zone: &str| {
            let plan = &scene.plans[zone[1..].parse::<usize>().unwrap()];
            plan.kind == "count" && !plan.emit_tracks
        };
        for ((zone, _, track), facts) in visits.iter().filter(|((.., track), _)| track.is_some()) {
            let mut open: Option<&Fact> = None;
            for fact in facts {
                match (fact.kind, open) {
                    (FactKind::Enter, None) => open = Some(fact),
                    // A silent zone does not tell that a track turned out to be a thing.
                    (FactKind::Enter, Some(_)) if silent(zone) => open = Some(fact),
                    (FactKind::Exit | FactKind::StaticSuppressed, Some(enter)) => {
                        prop_assert_eq!(fact.dwell, Some(fact.at - enter.at));
                        prop_assert!(fact.at >= enter.at);
                        open = None;
                    }
                    (FactKind::Dwell | FactKind::Loiter, Some(_)) => {}
                    (FactKind::CrossAb | FactKind::CrossBa, None) => {}
                    other => prop_assert!(false, "{} {:?} {:?}", zone, track, other),
                }
            }
            prop_assert!(open.is_none() || silent(zone));
        }
        for ((zone, ..), facts) in visits.iter().filter(|((.., track), _)| track.is_none()) {
            let mut occupied = None;
            for fact in facts {
                match (fact.kind, occupied) {
                    (FactKind::Occupied, None) => occupied = Some(fact.at),
                    (FactKind::Vacant, Some(_)) => occupied = None,
                    (FactKind::Occupied | FactKind::Vacant, _) => prop_assert!(false, "{}", zone),
                    _ => {}
                }
            }
            prop_assert_eq!(occupied, None);
        }
        prop_assert!(run.occupancy.iter().all(|row| row.count == 0));
    }

    #[test]
    fn in_the_end_nothing_is_held(scene in scene()) {
        let mut engine = Engine::new();
        engine.set_zones(scene.zones(), T0);
        let mut last = 0;
        for (captured, step) in scene.batches() {
            feed(&mut engine, captured, at(captured), false, step);
            last = captured;
        }
        engine.tick(at(last + LONG));
        let quantities = engine.quantities();
        prop_assert_eq!((quantities.tracks, quantities.pairs), (0, 0));
    }

    #[test]
    fn late_batches_never_make_an_event(scene in scene(), other in crate::world::steps()) {
        let mut engine = Engine::new();
        let mut facts = engine.set_zones(scene.zones(), T0).facts;
        let mut last = 0;
        let mut count = 0;
        for ((captured, step), late) in scene.batches().into_iter().zip(other.iter().cycle()) {
            facts.extend(feed(&mut engine, captured, at(captured), false, step).facts);
            facts.extend(feed(&mut engine, captured - 25, at(captured), true, late).facts);
            last = captured;
            count += 1;
        }
        prop_assert_eq!(engine.quantities().late_batches, count);
        facts.extend(engine.tick(at(last + LONG) + SETTLE).facts);
        prop_assert_eq!(finish(engine, facts), run(&scene, Ticks::Never));
    }

    #[test]
    fn zones_do_not_depend_on_each_other(scene in scene()) {
        let masks: Vec<_> = scene.plans.iter().filter(|plan| plan.kind == "exclude").cloned().collect();
        let all = run(&scene, Ticks::Never);
        for (n, plan) in scene.plans.iter().enumerate().filter(|(_, plan)| plan.kind != "exclude") {
            let plans = [vec![plan.clone()], masks.clone()].concat();
            let alone = run(&Scene { plans, steps: scene.steps.clone() }, Ticks::Never);
            let id = format!("z{n}");
            let mut own: Vec<Fact> = all.facts.iter().filter(|fact| *fact.zone_id == *id).cloned().collect();
            own.iter_mut().for_each(|fact| fact.zone_id = "z0".into());
            // Of what happens at one instant only the order may differ.
            let order = |facts: &mut Vec<Fact>| facts.sort_by_key(|fact| {
                (fact.at, fact.kind, fact.task_type.clone(), fact.track.clone())
            });
            let mut alone = alone.facts;
            order(&mut alone);
            order(&mut own);
            prop_assert_eq!(own, alone);
        }
    }

    #[test]
    fn tasks_and_tracks_do_not_depend_on_each_other(mut scene in scene()) {
        // Things inherit from one another, of one task; that is another test's.
        scene.plans.iter_mut().for_each(|plan| plan.standing = None);
        let all = of_tracks(&run(&scene, Ticks::Never).facts);
        for task in 0..2 {
            for track in crate::world::TRACKS {
                let mut alone = scene.clone();
                for step in &mut alone.steps {
                    // A new lease must still be seen, by a detection that no zone sees.
                    for sight in &mut step.sights {
                        if step.task != task || sight.track != track {
                            sight.confidence = Some(0.0);
                        }
                    }
                }
                let alone = of_tracks(&run(&alone, Ticks::Never).facts);
                let task_type = crate::world::TASKS[task].0;
                let own = |fact: &&Fact| fact.task_type.as_deref() == Some(task_type) && fact.track.as_deref() == Some(track);
                let own: Vec<Fact> = all.iter().filter(own).cloned().collect();
                prop_assert_eq!(own, alone);
            }
        }
    }

    #[test]
    fn a_replay_tells_what_was_told(scene in scene(), delays in prop::collection::vec(0i64..=2000, 1..9)) {
        let live = delayed(&scene, &delays);
        let batches = scene.batches();
        let end = batches.last().map_or(0, |(captured, _)| *captured) + LONG;
        let mut replay = Replay::new(scene.zones(), T0, T0, at(end));
        for (captured, step) in batches {
            crate::world::with_batch(captured, step, |batch| replay.push(batch, at(captured)));
        }
        let replayed = replay.finish();
        let order = |facts: &[Fact]| {
            let mut facts = facts.to_vec();
            facts.sort_by_key(|fact| fact.at);
            facts
        };
        prop_assert_eq!(order(&live.facts), replayed.facts);
        let totals = |list: &[heldar_zones::Counters]| list.iter().map(|c| c.total).collect::<Vec<_>>();
        prop_assert_eq!(totals(&live.counters), totals(&replayed.counters));
    }

    #[test]
    fn changes_of_zones_end_what_they_must(scene in scene(), changes in prop::collection::vec(prop::option::weighted(0.2, prop::collection::vec(crate::world::plan(), 0..4)), 1..40)) {
        let mut engine = Engine::new();
        let mut facts = engine.set_zones(scene.zones(), T0).facts;
        let mut last = 0;
        for ((captured, step), change) in scene.batches().into_iter().zip(changes.iter().cycle()) {
            if let Some(plans) = change {
                let zones = plans.iter().enumerate().map(|(n, plan)| plan.zone(&format!("z{n}"))).collect();
                let output = engine.set_zones(zones, at(captured));
                prop_assert!(output.facts.iter().all(|fact| fact.reason != Some(Reason::Left)));
                facts.extend(output.facts);
            }
            facts.extend(feed(&mut engine, captured, at(captured), false, step).facts);
            engine = Engine::restore(&engine.save()).unwrap();
            // What is inside is what has entered and not left.
            for row in engine.occupancy() {
                let of_zone = facts.iter().filter(|fact| fact.zone_id == row.zone_id);
                let balance: i64 = of_zone.map(|fact| match fact.kind {
                    FactKind::Enter => 1,
                    FactKind::Exit | FactKind::StaticSuppressed => -1,
                    _ => 0,
                }).sum();
                let exact = engine.zones().all(|zone| zone.kind() != heldar_zones::Kind::Count);
                prop_assert!(!exact || i64::from(row.count) <= balance.max(0) , "{} {} {}", row.zone_id, row.count, balance);
                prop_assert_eq!(row.labels.values().sum::<u32>(), row.count);
            }
            last = captured;
        }
        facts.extend(engine.set_zones(Vec::new(), at(last + 1)).facts);
        let mut open: BTreeMap<_, i64> = BTreeMap::new();
        for fact in &facts {
            let key = (fact.zone_id.clone(), fact.task_type.clone(), fact.track.clone());
            match fact.kind {
                FactKind::Enter => *open.entry(key).or_default() += 1,
                FactKind::Exit | FactKind::StaticSuppressed => *open.entry(key).or_default() -= 1,
                _ => {}
            }
        }
        // Silent zones do not tell that a track turned out to be a thing; without things every visit ends exactly once.
        let silent = scene.plans.iter().chain(changes.iter().flatten().flatten()).any(|plan| plan.kind == "count");
        prop_assert!(silent || open.values().all(|balance| *balance == 0), "{:?}", open);
        prop_assert_eq!(engine.quantities().tracks, 0);
    }
}
