//! The rules once more, as plainly as they can be said: every tenth of a second everything is looked at, nothing is forgotten
//! before it must be, places are whole numbers.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::world::{EPSILON, GRID, LONG, Place, Plan, Run, Scene, T0, TASKS, Ticks, at, run, scene};

/// A fact: time, zone, kind, task, track, seconds inside, reason, count, limit.
type Told =
    (i64, String, String, String, String, Option<i64>, Option<&'static str>, Option<(u32, Option<u32>)>);

#[derive(Debug, Clone)]
struct Visit {
    since: i64,
    dwelt: bool,
}

#[derive(Debug, Clone)]
struct Entry {
    first: i64,
    last: i64,
    origin: Place,
    place: Place,
    suppressed: bool,
    moved: bool,
    inside: bool,
    differing: i64,
    visit: Option<Visit>,
    sum: i64,
    left: Option<i64>,
    next: Option<i64>,
    waiting: Option<&'static str>,
}

#[derive(Debug, Default)]
struct Whole {
    told: &'static str,
    next: Option<(&'static str, i64)>,
    occupied: Option<i64>,
    empty: Option<i64>,
    crossed: BTreeMap<String, (u64, u64)>,
}

type Key = (usize, usize, u32, &'static str);

struct Model<'a> {
    plans: &'a [Plan],
    entries: BTreeMap<Key, Entry>,
    wholes: Vec<Whole>,
    leases: [(Option<&'static str>, u32); 2],
    told: Vec<Told>,
}

fn open(plan: &Plan, now: i64) -> bool {
    let minute = (now / 600) % 1440;
    match plan.schedule {
        None => true,
        Some((from, to)) if from < to => from <= minute && minute < to,
        Some((from, to)) => from <= minute || minute < to,
    }
}

/// Even-odd, half-open, with whole numbers.
fn inside(polygon: &[Place], (x, y): Place) -> bool {
    let mut inside = false;
    for n in 0..polygon.len() {
        let ((ax, ay), (bx, by)) = (polygon[n], polygon[(n + 1) % polygon.len()]);
        let (low, high) = (ay.min(by), ay.max(by));
        if low <= y && y < high {
            // x < ax + (y - ay) (bx - ax) / (by - ay)
            let (left, right) = ((x - ax) * (by - ay), (y - ay) * (bx - ax));
            if if by > ay { left < right } else { left > right } {
                inside = !inside;
            }
        }
    }
    inside
}

fn cross(a: Place, b: Place, p: Place) -> i64 {
    ((b.0 - a.0) * (p.1 - a.1) - (b.1 - a.1) * (p.0 - a.0)).signum()
}

/// Crossings of a move, in its order.
fn crossings(line: &[Place], from: Place, to: Place) -> Vec<&'static str> {
    let mut found = Vec::new();
    for pair in line.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        if cross(a, b, from) * cross(a, b, to) < 0 && cross(from, to, a) * cross(from, to, b) < 0 {
            let d = |p: Place| ((b.0 - a.0) * (p.1 - a.1) - (b.1 - a.1) * (p.0 - a.0)) as f64;
            found.push((
                d(from) / (d(from) - d(to)),
                if cross(a, b, from) > 0 { "cross_ab" } else { "cross_ba" },
            ));
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found.into_iter().map(|(_, way)| way).collect()
}

fn apart(a: (f64, f64), b: (f64, f64)) -> f64 {
    ((a.0 - b.0).powi(2) + (a.1 - b.1).powi(2)).sqrt() / GRID as f64
}

fn real(p: Place) -> (f64, f64) {
    (p.0 as f64, p.1 as f64)
}

/// The shortest of many distances along each segment would be too coarse, so this one is computed.
fn away(line: &[Place], p: Place) -> f64 {
    let to_segment = |a: Place, b: Place| {
        let (a, b, p) = (real(a), real(b), real(p));
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let t = ((p.0 - a.0) * dx + (p.1 - a.1) * dy) / (dx * dx + dy * dy);
        match t {
            t if t.is_nan() || t <= 0.0 => apart(a, p),
            t if t >= 1.0 => apart(b, p),
            t => apart((a.0 + t * dx, a.1 + t * dy), p),
        }
    };
    line.windows(2).map(|pair| to_segment(pair[0], pair[1])).fold(f64::MAX, f64::min)
}

impl Model<'_> {
    #[allow(clippy::too_many_arguments, reason = "a fact has as many parts")]
    fn tell(
        &mut self,
        now: i64,
        zone: usize,
        kind: &str,
        who: Option<&Key>,
        dwell: Option<i64>,
        reason: Option<&'static str>,
        count: Option<(u32, Option<u32>)>,
    ) {
        let task = who.map_or("", |key| TASKS[key.1].0).to_owned();
        let track = who.map_or("", |key| key.3).to_owned();
        self.told.push((now, format!("z{zone}"), kind.to_owned(), task, track, dwell, reason, count));
    }

    fn count(&self, zone: usize) -> u32 {
        let own = self.entries.range((zone, 0, 0, "")..).take_while(|(key, _)| key.0 == zone);
        own.filter(|(_, entry)| entry.visit.is_some()).count() as u32
    }

    fn begin(&mut self, key: &Key, now: i64, reason: Option<&'static str>) {
        let entry = self.entries.get_mut(key).unwrap();
        entry.visit = Some(Visit { since: now, dwelt: false });
        if let Some((after, gap, _)) = self.plans[key.0].loiter
            && entry.left.is_none_or(|left| now - left > gap)
        {
            entry.sum = 0;
            entry.next = Some(after);
        }
        self.tell(now, key.0, "enter", Some(key), None, reason, None);
    }

    fn end(&mut self, key: &Key, when: i64, kind: &str, reason: Option<&'static str>) {
        let entry = self.entries.get_mut(key).unwrap();
        if let Some(visit) = entry.visit.take() {
            let when = when.max(visit.since);
            entry.sum += when - visit.since;
            entry.left = Some(when);
            let silent = self.plans[key.0].kind == "count" && !self.plans[key.0].emit_tracks;
            if kind == "exit" || !silent {
                self.tell(when, key.0, kind, Some(key), Some(when - visit.since), reason, None);
            }
        }
    }

    fn fresh(&self, key: &Key, now: i64) -> bool {
        now - self.entries[key].last <= TASKS[key.1].1.map_or(50, |period| (3 * period).max(50))
    }

    /// Dwell and loitering at `now`, by time (only in sight and at the very instant) or by an observation.
    fn reach(&mut self, key: &Key, now: i64, by_time: bool) {
        let plan = &self.plans[key.0];
        let fresh = self.fresh(key, now);
        let entry = self.entries.get_mut(key).unwrap();
        let Some(visit) = &mut entry.visit else { return };
        let here = now - visit.since;
        let due = |reached: bool, exactly: bool| reached && (!by_time || exactly && fresh);
        let dwell = plan.dwell > 0 && !visit.dwelt && due(here >= plan.dwell, here == plan.dwell);
        visit.dwelt |= dwell;
        let sum = entry.sum + here;
        let loiter = entry.next.is_some_and(|next| due(sum >= next, sum == next));
        if loiter {
            let repeat = plan.loiter.and_then(|(.., repeat)| repeat);
            let mut next = entry.next;
            while next.is_some_and(|n| n <= sum) {
                next = repeat.map(|repeat| next.unwrap() + repeat);
            }
            entry.next = next;
        }
        if dwell {
            self.tell(now, key.0, "dwell", Some(key), Some(here), None, None);
        }
        if loiter {
            self.tell(now, key.0, "loiter", Some(key), Some(sum), None, None);
        }
    }

    /// What time alone does at `now`.
    fn time(&mut self, now: i64) {
        for zone in 0..self.plans.len() {
            self.fire(zone, now);
        }
        for zone in 0..self.plans.len() {
            let plan = &self.plans[zone];
            if now == 0 || open(plan, now) == open(plan, now - 1) || ["line", "exclude"].contains(&plan.kind)
            {
                continue;
            }
            let keys: Vec<Key> = self.entries.keys().filter(|key| key.0 == zone).copied().collect();
            for key in keys {
                let entry = &self.entries[&key];
                if !open(plan, now) {
                    self.end(&key, now, "exit", Some("schedule"));
                } else if entry.inside && !entry.suppressed && self.fresh(&key, now) {
                    self.begin(&key, now, Some("schedule"));
                }
            }
        }
        let keys: Vec<Key> = self.entries.keys().copied().collect();
        for key in keys {
            if now - self.entries[&key].last >= self.plans[key.0].lost {
                let last = self.entries[&key].last;
                self.end(&key, last, "exit", Some("lost"));
                self.entries.remove(&key);
            } else {
                self.reach(&key, now, true);
            }
        }
        self.settle(now);
    }

    fn settle(&mut self, now: i64) {
        for zone in 0..self.plans.len() {
            let plan = &self.plans[zone];
            if ["line", "exclude"].contains(&plan.kind) {
                continue;
            }
            let count = self.count(zone);
            let stands = match plan.occupancy {
                Some((_, Some(max), _)) if open(plan, now) && count > max => "occupancy_max",
                Some((Some(min), ..)) if open(plan, now) && count < min => "occupancy_min",
                _ => "occupancy_ok",
            };
            let whole = &mut self.wholes[zone];
            whole.next = match whole.next {
                _ if whole.told == stands => None,
                Some((next, since)) if next == stands => Some((next, since)),
                _ => Some((stands, now)),
            };
            whole.empty = (count == 0).then_some(whole.empty.unwrap_or(now));
            if plan.kind == "presence" && count > 0 && whole.occupied.is_none() {
                whole.occupied = Some(now);
                self.tell(now, zone, "occupied", None, None, None, Some((count, None)));
            }
            self.fire(zone, now);
        }
    }

    fn fire(&mut self, zone: usize, now: i64) {
        let (plan, count) = (&self.plans[zone], self.count(zone));
        let whole = &mut self.wholes[zone];
        if let (Some((next, since)), Some((min, max, hold))) = (whole.next, plan.occupancy)
            && since + hold <= now
        {
            let about = if next == "occupancy_ok" { whole.told } else { next };
            let limit = if about == "occupancy_max" { max } else { min };
            whole.told = next;
            whole.next = None;
            self.tell(since + hold, zone, next, None, None, None, Some((count, limit)));
        }
        let whole = &mut self.wholes[zone];
        if let (Some(since), Some(empty)) = (whole.occupied, whole.empty)
            && empty + plan.vacant_after <= now
            && plan.kind == "presence"
        {
            whole.occupied = None;
            self.tell(
                empty + plan.vacant_after,
                zone,
                "vacant",
                None,
                Some(empty - since),
                None,
                Some((0, None)),
            );
        }
    }

    fn batch(&mut self, now: i64, step: &crate::world::Step) {
        if step.sights.is_empty() {
            return;
        }
        let (held, epoch) = self.leases[step.task];
        if let Some(lease) = step.lease
            && held != Some(lease)
        {
            self.leases[step.task] = (Some(lease), epoch + 1);
            let old = |key: &&Key| key.1 == step.task && key.2 == epoch;
            let keys: Vec<Key> = self.entries.keys().filter(old).copied().collect();
            for key in keys.into_iter().filter(|key| !self.entries[key].suppressed).collect::<Vec<_>>() {
                let last = self.entries[&key].last;
                self.end(&key, last, "exit", Some("lost"));
                self.entries.remove(&key);
            }
            self.settle(now);
        }
        let task_type = TASKS[step.task].0;
        let concerns = |plan: &Plan, label: &str| {
            plan.label.is_none_or(|only| only == label) && plan.task.is_none_or(|only| only == task_type)
        };
        for sight in &step.sights {
            let label = sight.label.unwrap_or("");
            let masked = self.plans.iter().any(|plan| {
                plan.kind == "exclude"
                    && open(plan, now)
                    && concerns(plan, label)
                    && inside(&plan.polygon, sight.place)
            });
            for zone in 0..self.plans.len() {
                let plan = &self.plans[zone];
                let sure = sight.confidence.map_or(!plan.require_confidence, |confidence| confidence >= 0.5);
                if plan.kind != "exclude" && !masked && sure && concerns(plan, label) {
                    self.sight(
                        (zone, step.task, self.leases[step.task].1, sight.track),
                        now,
                        sight.place,
                        label,
                    );
                }
            }
        }
        self.settle(now);
    }

    fn sight(&mut self, key: Key, now: i64, place: Place, label: &str) {
        let plan = &self.plans[key.0];
        let line = plan.kind == "line";
        let far = |a: Place, b: Place| apart(real(a), real(b)) >= EPSILON;
        if self.entries.get(&key).is_some_and(|entry| entry.last >= now) {
            return;
        }
        let gone = line && self.entries.contains_key(&key) && !self.fresh(&key, now);
        let before = self.entries.get(&key).filter(|_| !gone).map(|entry| entry.place);
        if before.is_none() {
            self.entries.remove(&key);
            let things = self.entries.iter().filter(|(other, entry)| {
                other.0 == key.0 && other.1 == key.1 && entry.suppressed && !far(entry.origin, place)
            });
            let distance = |origin: &Place| (origin.0 - place.0).pow(2) + (origin.1 - place.1).pow(2);
            let origin =
                things.map(|(_, entry)| entry.origin).min_by_key(|origin| (distance(origin), *origin));
            let entry = Entry {
                first: now,
                last: now,
                origin: origin.unwrap_or(place),
                place,
                suppressed: origin.is_some(),
                moved: false,
                inside: false,
                differing: 0,
                visit: None,
                sum: 0,
                left: None,
                next: None,
                waiting: None,
            };
            self.entries.insert(key, entry);
        }
        let entry = self.entries.get_mut(&key).unwrap();
        entry.last = now;
        entry.place = place;
        if let Some(after) = plan.standing {
            if far(entry.origin, place) {
                entry.moved = true;
                entry.suppressed = false;
            } else if !entry.moved && !entry.suppressed && now - entry.first >= after {
                entry.suppressed = true;
                self.end(&key, now, "static_suppressed", None);
            }
        }
        let entry = self.entries.get_mut(&key).unwrap();
        if line {
            if entry.suppressed || !open(plan, now) {
                entry.waiting = None;
                return;
            }
            let mut ways = crossings(&plan.polygon, before.unwrap_or(place), place);
            if entry.waiting.is_some() && ways.first().is_some_and(|way| Some(*way) != entry.waiting) {
                entry.waiting = None;
                ways.remove(0);
            }
            if away(&plan.polygon, place) < plan.hysteresis {
                for way in ways {
                    entry.waiting =
                        if entry.waiting.is_some_and(|before| before != way) { None } else { Some(way) };
                }
                return;
            }
            let all: Vec<_> = entry.waiting.take().into_iter().chain(ways).collect();
            for way in all {
                let count = self.wholes[key.0].crossed.entry(label.to_owned()).or_default();
                let inwards = way.ends_with(plan.inwards);
                *(if inwards { &mut count.0 } else { &mut count.1 }) += 1;
                if plan.direction == "any" || way.ends_with(plan.direction) {
                    self.tell(now, key.0, way, Some(&key), None, None, None);
                }
            }
            return;
        }
        let raw = inside(&plan.polygon, place);
        entry.differing = if raw == entry.inside { 0 } else { entry.differing + 1 };
        if entry.differing >= plan.confirm {
            entry.differing = 0;
            entry.inside = raw;
            if !raw {
                self.end(&key, now, "exit", Some("left"));
            }
        }
        let entry = &self.entries[&key];
        if entry.inside && entry.visit.is_none() && open(plan, now) && !entry.suppressed {
            self.begin(&key, now, None);
        }
        self.reach(&key, now, false);
    }
}

/// What the model tells of a scene, sorted.
fn predict(scene: &Scene) -> (Vec<Told>, Vec<Whole>) {
    let wholes = scene.plans.iter().map(|_| Whole { told: "occupancy_ok", ..Whole::default() }).collect();
    let mut model = Model {
        plans: &scene.plans,
        entries: BTreeMap::new(),
        wholes,
        leases: [(None, 0), (None, 0)],
        told: Vec::new(),
    };
    model.settle(0);
    let batches = scene.batches();
    let end = batches.last().map_or(0, |(captured, _)| *captured) + LONG;
    let mut batches = batches.into_iter().peekable();
    for now in 0..=end {
        model.time(now);
        while let Some((_, step)) = batches.next_if(|(captured, _)| *captured == now) {
            model.batch(now, step);
        }
    }
    model.told.sort();
    (model.told, model.wholes)
}

/// What the engine told, in the same words.
fn told(run: &Run) -> Vec<Told> {
    let tenths = |micros: i64| {
        assert_eq!(micros % 100_000, 0, "deadlines lie on tenths");
        micros / 100_000
    };
    let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().unwrap_or("").to_owned();
    let mut told: Vec<Told> = run
        .facts
        .iter()
        .map(|fact| {
            (
                tenths((fact.at - T0).0),
                fact.zone_id.to_string(),
                fact.kind.to_string(),
                text(&fact.task_type),
                text(&fact.track),
                fact.dwell.map(|dwell| tenths(dwell.0)),
                fact.reason.map(|reason| reason.as_str()),
                fact.count.map(|count| (count, fact.limit)),
            )
        })
        .collect();
    told.sort();
    told
}

proptest! {
    #![proptest_config(crate::cases(2))]
    #[test]
    fn the_engine_tells_what_the_model_tells(scene in scene()) {
        let run = run(&scene, Ticks::Never);
        let (expect, wholes) = predict(&scene);
        let got = told(&run);
        for (n, (got, expect)) in got.iter().zip(&expect).enumerate() {
            prop_assert_eq!(got, expect, "fact {}", n);
        }
        prop_assert_eq!(got.len(), expect.len(), "{:?} {:?}", got.last(), expect.last());
        for counters in &run.counters {
            let zone: usize = counters.zone_id[1..].parse().unwrap();
            let by_label: BTreeMap<String, (u64, u64)> =
                counters.by_label.iter().map(|(label, count)| (label.to_string(), (count.inwards, count.outwards))).collect();
            prop_assert_eq!(&by_label, &wholes[zone].crossed);
            let sum = by_label.values().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
            prop_assert_eq!((counters.total.inwards, counters.total.outwards), sum);
        }
        prop_assert!(run.occupancy.iter().all(|row| row.count == 0 && row.labels.is_empty() && row.updated_at <= at(i64::MAX / 1_000_000)));
    }
}
