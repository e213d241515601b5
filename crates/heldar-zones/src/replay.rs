//! Zones over stored batches (perception.md 14).
//!
//! Owns: the run of a fresh engine over a stretch of time, and how its facts differ from those that were raised. Never: where
//! the batches come from; limits of a request.

use std::collections::BTreeSet;

use heldar_base::{Micros, WallTime};

use crate::engine::{Batch, Engine, SETTLE};
use crate::fact::{Counters, Fact, FactKind, Output};
use crate::zone::Zone;

/// A run over stored batches. Batches from before `from` warm it up: they move tracks and count in nothing.
#[derive(Clone, Debug)]
pub struct Replay {
    engine: Engine,
    from: WallTime,
    to: WallTime,
    started: bool,
    batches: usize,
    detections: usize,
    facts: Vec<Fact>,
}

/// What a replay has found.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// Batches of the stretch, without those that warmed it up.
    pub batches: usize,
    /// Their detections.
    pub detections: usize,
    /// What happened in the stretch, both ends included, in the order of time.
    pub facts: Vec<Fact>,
    /// Counters of lines over the stretch.
    pub counters: Vec<Counters>,
}

impl Replay {
    /// A run of zones from `from` to `to` that is warmed up from `warm` on.
    pub fn new(zones: Vec<Zone>, warm: WallTime, from: WallTime, to: WallTime) -> Replay {
        let mut engine = Engine::new();
        let first = engine.set_zones(zones, warm.min(from));
        let mut replay =
            Replay { engine, from, to, started: false, batches: 0, detections: 0, facts: Vec::new() };
        replay.keep(first);
        replay
    }

    /// Takes in the next batch, in the order in which they were stored; `stored_at` is when. One captured behind the end
    /// of the stretch is left out.
    pub fn push(&mut self, batch: &Batch<'_>, stored_at: WallTime) {
        if batch.captured_at > self.to {
            return;
        }
        if batch.captured_at >= self.from {
            self.start();
            self.batches += 1;
            self.detections += batch.detections.len();
        }
        let output = self.engine.batch(batch, stored_at);
        self.keep(output);
    }

    /// Lets time pass to the end of the stretch.
    pub fn finish(mut self) -> Replayed {
        self.start();
        let output = self.engine.tick(self.to + SETTLE);
        self.keep(output);
        self.facts.sort_by_key(|fact| fact.at);
        let lines = self.engine.zones().filter_map(|zone| self.engine.counters(zone.id()).cloned());
        Replayed {
            batches: self.batches,
            detections: self.detections,
            counters: lines.collect(),
            facts: self.facts,
        }
    }

    /// Counters begin with the stretch.
    fn start(&mut self) {
        if !self.started {
            self.started = true;
            let output = self.engine.begin_counters(self.from);
            self.keep(output);
        }
    }

    fn keep(&mut self, output: Output) {
        let (from, to) = (self.from, self.to);
        self.facts.extend(output.facts.into_iter().filter(|fact| from <= fact.at && fact.at <= to));
    }
}

/// A zone event, raised or replayed, as far as it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    /// Id of the zone; a draft may have none.
    pub zone_id: Option<&'a str>,
    /// Name of the zone.
    pub zone: &'a str,
    /// What happened, as [`FactKind::as_str`] says it.
    pub kind: &'a str,
    /// The track; none for what concerns a zone as a whole.
    pub track: Option<&'a str>,
    /// When.
    pub at: WallTime,
}

impl<'a> Told<'a> {
    /// A fact of a zone with this name; `draft` zones are known by their names alone.
    pub fn of(fact: &'a Fact, zone: &'a str, draft: bool) -> Told<'a> {
        Told {
            zone_id: (!draft).then_some(&*fact.zone_id),
            zone,
            kind: FactKind::as_str(fact.kind),
            track: fact.track.as_deref(),
            at: fact.at,
        }
    }
}

/// How a replay differs from what was raised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// In both.
    pub matched: usize,
    /// Positions of replayed ones that were not raised.
    pub added: Vec<usize>,
    /// Positions of raised ones that did not come again.
    pub removed: Vec<usize>,
}

/// Compares zone events: the same are those of the same zone (by id, else by name), kind and track that lie at most `tolerance`
/// apart. Each is used once, and as many as possible are matched.
pub fn diff(raised: &[Told<'_>], replayed: &[Told<'_>], tolerance: Micros) -> Diff {
    // Whether zones of replayed events are drafts differs by zone, so each is asked for by what it has.
    let drafts: BTreeSet<&str> =
        replayed.iter().filter(|told| told.zone_id.is_none()).map(|told| told.zone).collect();
    let name = |told: &Told<'_>| match told.zone_id {
        Some(id) if !drafts.contains(told.zone) => (0, id.to_owned()),
        _ => (1, told.zone.to_owned()),
    };
    let order = |list: &[Told<'_>]| {
        let mut keys: Vec<_> = list
            .iter()
            .enumerate()
            .map(|(at, told)| {
                let group = (name(told), told.kind.to_owned(), told.track.map(str::to_owned));
                (group, told.at, at)
            })
            .collect();
        keys.sort();
        keys
    };
    let (before, after) = (order(raised), order(replayed));
    let (mut left, mut right) = (before.iter().peekable(), after.iter().peekable());
    let mut diff = Diff::default();
    // Within a group both ascend; of the two first ones the earlier either has its partner now or never.
    loop {
        match (left.peek(), right.peek()) {
            (Some(old), Some(new)) => {
                if old.0 == new.0 && (old.1 - new.1).abs() <= tolerance {
                    diff.matched += 1;
                    left.next();
                    right.next();
                } else if (&old.0, old.1) < (&new.0, new.1) {
                    diff.removed.push(old.2);
                    left.next();
                } else {
                    diff.added.push(new.2);
                    right.next();
                }
            }
            (Some(old), None) => {
                diff.removed.push(old.2);
                left.next();
            }
            (None, Some(new)) => {
                diff.added.push(new.2);
                right.next();
            }
            (None, None) => break,
        }
    }
    diff.added.sort_unstable();
    diff.removed.sort_unstable();
    diff
}

#[cfg(test)]
mod tests;
