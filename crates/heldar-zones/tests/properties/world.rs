//! Zones and what tasks see in them, on a coarse grid and in whole tenths of a second, so that sums are exact.

use heldar_base::{Micros, WallTime};
use heldar_zones::{Batch, Counters, Detection, Engine, Fact, Occupancy, Output, SETTLE, Zone, ZoneFields};
use proptest::prelude::*;
use serde_json::json;

/// 2026-06-01T00:00:00Z.
pub(crate) const T0: WallTime = WallTime(1_780_272_000_000_000);
/// Places are multiples of a sixteenth.
pub(crate) const GRID: i64 = 16;
/// Longer than everything that waits.
pub(crate) const LONG: i64 = 1_500;

pub(crate) type Place = (i64, i64);

pub(crate) fn at(tenths: i64) -> WallTime {
    T0 + Micros::from_millis(100 * tenths)
}

/// A zone, as the model understands it. Times are tenths of a second.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) kind: &'static str,
    pub(crate) polygon: Vec<Place>,
    pub(crate) dwell: i64,
    pub(crate) label: Option<&'static str>,
    pub(crate) confirm: i64,
    pub(crate) task: Option<&'static str>,
    pub(crate) require_confidence: bool,
    pub(crate) standing: Option<i64>,
    pub(crate) lost: i64,
    pub(crate) hysteresis: f64,
    pub(crate) direction: &'static str,
    pub(crate) inwards: &'static str,
    pub(crate) loiter: Option<(i64, i64, Option<i64>)>,
    pub(crate) occupancy: Option<(Option<u32>, Option<u32>, i64)>,
    pub(crate) vacant_after: i64,
    pub(crate) emit_tracks: bool,
    /// Open from one minute of the day to another.
    pub(crate) schedule: Option<(i64, i64)>,
}

/// Distance within which a thing stands still; none of the grid's.
pub(crate) const EPSILON: f64 = 0.1;

impl Plan {
    pub(crate) fn zone(&self, id: &str) -> Zone {
        let seconds = |tenths: i64| tenths as f64 / 10.0;
        let polygon: Vec<_> =
            self.polygon.iter().map(|(x, y)| [*x as f64 / GRID as f64, *y as f64 / GRID as f64]).collect();
        let mut config = json!({
            "confirm_frames": self.confirm,
            "require_confidence": self.require_confidence,
            "static_suppression": self.standing.is_some(),
            "static_after_seconds": self.standing.unwrap_or(100) / 10,
            "static_epsilon": EPSILON,
            "lost_seconds": seconds(self.lost),
            "hysteresis": self.hysteresis,
            "direction": self.direction,
            "in": self.inwards,
            "vacant_after_seconds": seconds(self.vacant_after),
            "emit_tracks": self.emit_tracks,
        });
        let keys = config.as_object_mut().unwrap();
        if let Some(task) = self.task {
            keys.insert("task_types".to_owned(), json!([task]));
        }
        if let Some((after, gap, repeat)) = self.loiter {
            let loiter = json!({"seconds": seconds(after), "gap_seconds": seconds(gap), "repeat_seconds": repeat.map(seconds)});
            keys.insert("loiter".to_owned(), loiter);
        }
        if let Some((min, max, hold)) = self.occupancy {
            keys.insert(
                "occupancy".to_owned(),
                json!({"min": min, "max": max, "hold_seconds": seconds(hold)}),
            );
        }
        if let Some((from, to)) = self.schedule {
            let time = |minute: i64| format!("{:02}:{:02}", minute / 60, minute % 60);
            let window = json!({"from": time(from), "to": time(to)});
            keys.insert("schedule".to_owned(), json!({ "windows": [window] }));
        }
        let fields = json!({
            "name": id, "kind": self.kind, "polygon": polygon, "dwell_seconds": seconds(self.dwell),
            "labels": self.label.map(|label| vec![label]), "config": config,
        });
        Zone::new(id, &serde_json::from_value::<ZoneFields>(fields).unwrap()).unwrap()
    }
}

/// One thing seen.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    pub(crate) track: &'static str,
    pub(crate) place: Place,
    pub(crate) label: Option<&'static str>,
    pub(crate) confidence: Option<f64>,
}

/// One batch, so much later than the one before.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) after: i64,
    pub(crate) task: usize,
    pub(crate) lease: Option<&'static str>,
    pub(crate) sights: Vec<Sight>,
}

/// Task types and periods of the tasks.
pub(crate) const TASKS: [(&str, Option<i64>); 2] = [("detection", None), ("yolo", Some(30))];

#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) plans: Vec<Plan>,
    pub(crate) steps: Vec<Step>,
}

impl Scene {
    pub(crate) fn zones(&self) -> Vec<Zone> {
        self.plans.iter().enumerate().map(|(n, plan)| plan.zone(&format!("z{n}"))).collect()
    }

    /// Batches with the times at which they were captured.
    pub(crate) fn batches(&self) -> Vec<(i64, &Step)> {
        let mut now = 0;
        let timed = self.steps.iter().map(|step| {
            now += step.after;
            (now, step)
        });
        timed.collect()
    }
}

/// Feeds one batch.
pub(crate) fn feed(engine: &mut Engine, captured: i64, arrives: WallTime, late: bool, step: &Step) -> Output {
    with_batch(captured, step, |batch| engine.batch(&Batch { late, ..*batch }, arrives))
}

/// Makes the batch of a step.
pub(crate) fn with_batch<T>(captured: i64, step: &Step, take: impl FnOnce(&Batch<'_>) -> T) -> T {
    let side = 1.0 / GRID as f64;
    let detections: Vec<_> = step
        .sights
        .iter()
        .map(|sight| Detection {
            track: Some(sight.track),
            label: sight.label,
            confidence: sight.confidence,
            bbox: Some([
                sight.place.0 as f64 * side - side / 2.0,
                sight.place.1 as f64 * side - side,
                side,
                side,
            ]),
            at: None,
        })
        .collect();
    let (task_type, period) = TASKS[step.task];
    let batch = Batch {
        task_type,
        task: if step.task == 0 { "ai_1" } else { "ai_2" },
        lease: step.lease,
        period: period.map(|tenths| Micros::from_millis(100 * tenths)),
        captured_at: at(captured),
        late: false,
        detections: &detections,
    };
    take(&batch)
}

/// All that a run has told, and how things stood at its end.
#[derive(Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) facts: Vec<Fact>,
    pub(crate) occupancy: Vec<Occupancy>,
    pub(crate) counters: Vec<Counters>,
}

/// When calls of `tick` come.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ticks {
    Never,
    EverySecond,
    AtDeadlines,
}

/// Runs a scene up to `LONG` after its last batch.
pub(crate) fn run(scene: &Scene, ticks: Ticks) -> Run {
    let mut engine = Engine::new();
    let mut facts = engine.set_zones(scene.zones(), T0).facts;
    let batches = scene.batches();
    let end = batches.last().map_or(0, |(captured, _)| *captured) + LONG;
    let mut before = T0;
    for (captured, step) in &batches {
        pass(&mut engine, before, at(*captured), ticks, &mut facts);
        before = at(*captured);
        facts.extend(feed(&mut engine, *captured, at(*captured), false, step).facts);
    }
    pass(&mut engine, before, at(end), ticks, &mut facts);
    facts.extend(engine.tick(at(end) + SETTLE).facts);
    finish(engine, facts)
}

pub(crate) fn finish(engine: Engine, facts: Vec<Fact>) -> Run {
    let counters = engine.zones().filter_map(|zone| engine.counters(zone.id()).cloned()).collect();
    Run { facts, occupancy: engine.occupancy(), counters }
}

/// Ticks from `from` up to `to`.
pub(crate) fn pass(engine: &mut Engine, from: WallTime, to: WallTime, ticks: Ticks, facts: &mut Vec<Fact>) {
    match ticks {
        Ticks::Never => {}
        Ticks::EverySecond => {
            let mut now = from;
            while now < to {
                facts.extend(engine.tick(now).facts);
                now = now + Micros::from_secs(1);
            }
        }
        Ticks::AtDeadlines => {
            while let Some(deadline) = engine.next_deadline().filter(|deadline| *deadline <= to) {
                facts.extend(engine.tick(deadline).facts);
            }
        }
    }
}

fn place() -> impl Strategy<Value = Place> {
    (1i64..GRID, 1i64..GRID)
}

fn polygon(kind: &'static str) -> BoxedStrategy<Vec<Place>> {
    let corner = || (0..=GRID, 0..=GRID);
    match kind {
        "line" => prop::collection::vec(corner(), 2..5).boxed(),
        _ => prop_oneof![
            Just(vec![(0, 0), (8, 0), (8, 16), (0, 16)]),
            Just(vec![(8, 0), (16, 0), (16, 16), (8, 16)]),
            prop::collection::vec(corner(), 3..7),
        ]
        .boxed(),
    }
}

pub(crate) fn plan() -> impl Strategy<Value = Plan> {
    let kind = prop::sample::select(vec![
        "region",
        "region",
        "presence",
        "restricted",
        "red",
        "count",
        "line",
        "line",
        "exclude",
    ]);
    kind.prop_flat_map(|kind| {
        let filters = (
            prop::option::weighted(0.2, prop::sample::select(vec!["person", "car"])),
            1i64..4,
            prop::option::weighted(0.2, prop::sample::select(vec!["detection", "yolo"])),
            prop::bool::weighted(0.2),
            prop::option::weighted(0.6, prop::sample::select(vec![50i64, 80])),
            prop::sample::select(vec![20i64, 60, 150, 1200]),
        );
        let lines = (
            prop::sample::select(vec![0.0, 0.0905, 0.15]),
            prop::sample::select(vec!["any", "ab", "ba"]),
            prop::sample::select(vec!["ab", "ba"]),
        );
        let areas = (
            prop::sample::select(vec![0i64, 15, 40, 100]),
            prop::option::of((
                prop::sample::select(vec![20i64, 65, 150]),
                prop::sample::select(vec![0i64, 10, 45]),
                prop::option::of(prop::sample::select(vec![10i64, 25])),
            )),
            prop::option::of((
                prop::option::of(0u32..3),
                prop::option::of(0u32..3),
                prop::sample::select(vec![0i64, 0, 15, 40]),
            )),
            prop::sample::select(vec![0i64, 10, 50]),
            any::<bool>(),
            prop::option::weighted(0.3, prop::sample::select(vec![(0i64, 1i64), (1, 2), (1, 4), (2, 0)])),
        );
        (Just(kind), polygon(kind), filters, lines, areas)
    })
    .prop_map(|(kind, polygon, filters, lines, areas)| {
        let (label, confirm, task, require_confidence, standing, lost) = filters;
        let (hysteresis, direction, inwards) = lines;
        let (dwell, loiter, occupancy, vacant_after, emit_tracks, schedule) = areas;
        Plan {
            kind,
            polygon,
            dwell,
            label,
            confirm,
            task,
            require_confidence,
            standing,
            lost,
            hysteresis,
            direction,
            inwards,
            loiter,
            occupancy,
            vacant_after,
            emit_tracks,
            schedule,
        }
    })
}

/// What a track does between two batches: stands, goes a step, or is anywhere.
#[derive(Debug, Clone, Copy)]
enum Move {
    Stand,
    Go(i64, i64),
    Jump(Place),
    Hide,
}

fn movement() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => Just(Move::Stand),
        3 => (-1i64..=1, -1i64..=1).prop_map(|(x, y)| Move::Go(x, y)),
        2 => place().prop_map(Move::Jump),
        2 => Just(Move::Hide),
    ]
}

pub(crate) const TRACKS: [&str; 3] = ["1", "2", "3"];

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let after = prop_oneof![
        1 => Just(0i64),
        6 => Just(10i64),
        3 => 1i64..30,
        1 => 30i64..120,
        1 => Just(300i64),
    ];
    let lease = prop_oneof![4 => Just(None), 20 => Just(Some("lse_1")), 1 => Just(Some("lse_2"))];
    let looks = (
        prop::sample::select(vec![Some("person"), Some("person"), Some("car"), None]),
        prop::sample::select(vec![Some(0.9), Some(0.9), Some(0.9), Some(0.5), Some(0.3), None]),
    );
    let step =
        (after, prop::bool::weighted(0.15), lease, prop::collection::vec((movement(), looks), TRACKS.len()));
    prop::collection::vec(step, 1..60).prop_map(|steps| {
        let mut places = [(4, 8), (7, 8), (12, 8)];
        let steps = steps.into_iter().map(|(after, other, lease, moves)| {
            let mut sights = Vec::new();
            for (n, (movement, (label, confidence))) in moves.into_iter().enumerate() {
                let (x, y) = places[n];
                places[n] = match movement {
                    Move::Stand | Move::Hide => (x, y),
                    Move::Go(dx, dy) => ((x + dx).clamp(1, GRID - 1), (y + dy).clamp(1, GRID - 1)),
                    Move::Jump(place) => place,
                };
                if !matches!(movement, Move::Hide) {
                    sights.push(Sight { track: TRACKS[n], place: places[n], label, confidence });
                }
            }
            Step { after, task: usize::from(other), lease, sights }
        });
        steps.collect()
    })
}

pub(crate) fn scene() -> impl Strategy<Value = Scene> {
    (
        prop_oneof![12 => prop::collection::vec(plan(), 1..5), 1 => prop::collection::vec(plan(), 20..30)],
        steps(),
    )
        .prop_map(|(plans, steps)| Scene { plans, steps })
}
