//! Zones and what tasks see in them, on a coarse grid and in whole tenths of a second, so that sums are exact.

use heldar_base::{Micros, WallTime};
use heldar_zones::{Batch, Counters, Detection, Engine, Fact, Occupancy, Output, SETTLE, Zone, ZoneFields};
use proptest::prelude::*;
use serde_json::json;

/// 2026-06-01T00:00:00Z.
pub const T0: WallTime = WallTime(1_780_272_000_000_000);
/// Places are multiples of a sixteenth.
pub const GRID: i64 = 16;
/// Longer than everything that waits.
pub const LONG: i64 = 10_000;

pub type Place = (i64, i64);

pub fn at(tenths: i64) -> WallTime {
    T0 + Micros::from_millis(100 * tenths)
}

/// A zone, as the model understands it. Times are tenths of a second.
#[derive(Debug, Clone)]
pub struct Plan {
    pub kind: &'static str,
    pub polygon: Vec<Place>,
    pub dwell: i64,
    pub label: Option<&'static str>,
    pub confirm: i64,
    pub task: Option<&'static str>,
    pub require_confidence: bool,
    pub standing: Option<i64>,
    pub lost: i64,
    pub hysteresis: f64,
    pub direction: &'static str,
    pub inwards: &'static str,
    pub loiter: Option<(i64, i64, Option<i64>)>,
    pub occupancy: Option<(Option<u32>, Option<u32>, i64)>,
    pub vacant_after: i64,
    pub emit_tracks: bool,
    /// Open from one minute of the day to another.
    pub schedule: Option<(i64, i64)>,
}

/// Distance within which a thing stands still; none of the grid's.
pub const EPSILON: f64 = 0.1;

impl Plan {
    pub fn zone(&self, id: &str) -> Zone {
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
pub struct Sight {
    pub track: &'static str,
    pub place: Place,
    pub label: Option<&'static str>,
    pub confidence: Option<f64>,
}

/// One batch, so much later than the one before.
#[derive(Debug, Clone)]
pub struct Step {
    pub after: i64,
    pub task: usize,
    pub lease: Option<&'static str>,
    pub sights: Vec<Sight>,
}

/// Task types and periods of the tasks.
pub const TASKS: [(&str, Option<i64>); 2] = [("detection", None), ("yolo", Some(30))];

#[derive(Debug, Clone)]
pub struct Scene {
    pub plans: Vec<Plan>,
    pub steps: Vec<Step>,
}

impl Scene {
    pub fn zones(&self) -> Vec<Zone> {
        self.plans.iter().enumerate().map(|(n, plan)| plan.zone(&format!("z{n}"))).collect()
    }

    /// Batches with the times at which they were captured.
    pub fn batches(&self) -> Vec<(i64, &Step)> {
        let mut now = 0;
        let timed = self.steps.iter().map(|step| {
            now += step.after;
            (now, step)
        });
        timed.collect()
    }
}

/// Feeds one batch.
pub fn feed(engine: &mut Engine, captured: i64, arrives: WallTime, late: bool, step: &Step) -> Output {
    with_batch(captured, step, |batch| engine.batch(&Batch { late, ..*batch }, arrives))
}

/// Makes the batch of a step.
pub fn with_batch<T>(captured: i64, step: &Step, take: impl FnOnce(&Batch<'_>) -> T) -> T {
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
pub struct Run {
    pub facts: Vec<Fact>,
    pub occupancy: Vec<Occupancy>,
    pub counters: Vec<Counters>,
}

/// When calls of `tick` come.
#[derive(Debug, Clone, Copy)]
pub enum Ticks {
    Never,
    EverySecond,
    AtDeadlines,
}

/// Runs a scene up to `LONG` after its last batch.
pub fn run(scene: &Scene, ticks: Ticks) -> Run {
    let mut engine = Engine::new();
    let mut facts = engine.set_zones(scene.zones(), T0).facts;
    let batches = scene.batches();
    let end = batches.last().map_or(0, |(captured, _)| *captured) + LONG;
    for (captured, step) in &batches {
        pass(&mut engine, at(*captured), ticks, &mut facts);
        facts.extend(feed(&mut engine, *captured, at(*captured), false, step).facts);
    }
    pass(&mut engine, at(end), ticks, &mut facts);
    facts.extend(engine.tick(at(end) + SETTLE).facts);
    finish(engine, facts)
}

pub fn finish(engine: Engine, facts: Vec<Fact>) -> Run {
    let counters = engine.zones().filter_map(|zone| engine.counters(zone.id()).cloned()).collect();
    Run { facts, occupancy: engine.occupancy(), counters }
}

/// Ticks up to `to`.
pub fn pass(engine: &mut Engine, to: WallTime, ticks: Ticks, facts: &mut Vec<Fact>) {
    match ticks {
        Ticks::Never => {}
        Ticks::EverySecond => {
            // Time before was passed already, but for the last stretch, whose beginning has nothing to tell.
            let mut now = T0.max(to - Micros::from_secs(400));
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

pub fn plan() -> impl Strategy<Value = Plan> {
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

pub const TRACKS: [&str; 3] = ["1", "2", "3"];

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
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

pub fn scene() -> impl Strategy<Value = Scene> {
    (prop::collection::vec(plan(), 1..5), steps()).prop_map(|(plans, steps)| Scene { plans, steps })
}
