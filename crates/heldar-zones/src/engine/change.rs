//! Other zones take the place of those that there were (perception.md 12.1).
//!
//! Owns: which visits go on, which end, and what else of the state a changed zone keeps. Never: rows of a store.
//!
//! What was told as begun is told as ended: visits by `exit`, `occupied` by `vacant`, alarms by `occupancy_ok`. Where only the
//! name, the severity or a threshold changed, everything goes on.

use heldar_base::{Micros, WallTime};

use crate::fact::{AlarmState, Output, Reason};
use crate::zone::{Kind, Zone};

use super::slot::{Presence, Slot, View};
use super::track::{Area, Motion, Pair, PairState, Record, Stay, Telling, Who};
use super::{Engine, area};

/// What becomes of a zone that there was.
struct Fate {
    /// Its new position; none: its visits end.
    to: Option<u32>,
    /// Its shape is another, or what it sees.
    reshaped: bool,
}

impl Engine {
    /// Sets the zones from `at` on; ids are different. A zone that is gone, not in use any more or of another nature ends all
    /// its visits. One that is reshaped, or sees other things, ends the visits that it does not hold any more. Counters
    /// stay with their line, in use or not.
    pub fn set_zones(&mut self, zones: Vec<Zone>, at: WallTime) -> Output {
        self.bring_to(at);
        self.advance(self.horizon.max(at));
        self.generation = self.generation.wrapping_add(1);
        let at = self.horizon;
        let mut slots: Vec<Slot> = Vec::new();
        let mut fates: Vec<Fate> =
            self.zones.slots.iter().map(|_| Fate { to: None, reshaped: true }).collect();
        for zone in zones {
            if slots.iter().any(|slot| slot.zone.id() == zone.id()) {
                continue;
            }
            let mut slot = Slot::new(zone, self.generation, at);
            let position = self.zones.slots.iter().position(|old| old.zone.id() == slot.zone.id());
            if let Some((old, fate)) = position.and_then(|at| self.zones.slots.get(at).zip(fates.get_mut(at)))
            {
                if old.counters.is_some() && slot.counters.is_some() {
                    slot.counters.clone_from(&old.counters);
                }
                if goes_on(&old.zone, &slot.zone) {
                    let same_view = View::of(&old.zone, 0) == View::of(&slot.zone, 0);
                    let same_shape = old.zone.points() == slot.zone.points()
                        && old.settings().anchor == slot.settings().anchor;
                    fate.to = u32::try_from(slots.len()).ok();
                    fate.reshaped = !(same_view && same_shape);
                    if same_view {
                        slot.generation = old.generation;
                    }
                }
            }
            slot.set_clock(at);
            slots.push(slot);
        }
        self.end_visits(&fates, &slots, at);
        let turned = self.hand_over(&fates, slots, at);
        for zone in turned {
            self.turn(zone, at);
        }
        for zone in (0u32..).take(self.zones.slots.len()) {
            self.zones.touch(zone, None);
        }
        self.zones.settle(at);
        self.advance(at);
        self.zones.take()
    }

    /// Ends the visits that no zone holds any more, and drops what else there is between those tracks and zones.
    fn end_visits(&mut self, fates: &[Fate], slots: &[Slot], at: WallTime) {
        let streams = &self.streams;
        for (key, track) in self.tracks.iter_mut() {
            let Some(stream) = streams.iter().find(|stream| stream.serial == key.stream) else { continue };
            for record in &mut track.records {
                let Record { seen, pairs, .. } = record;
                let who = Who { key, stream, seen, detection: None };
                pairs.retain_mut(|pair| {
                    let Some(fate) = fates.get(pair.zone as usize) else { return false };
                    let slot = fate.to.and_then(|to| slots.get(to as usize));
                    let held = slot.is_some_and(|slot| !fate.reshaped || holds(slot, pair, &who));
                    if let PairState::Area(area) = &mut pair.state {
                        if fate.reshaped {
                            area.differing = 0;
                        }
                        if !held {
                            area::end(area, pair.zone, &mut self.zones, &who, at, Reason::ZoneChanged);
                        }
                    }
                    held
                });
            }
        }
        for (zone, fate) in (0u32..).zip(fates) {
            match fate.to.and_then(|to| slots.get(to as usize)) {
                None => {
                    self.zones.close_presence(zone, at);
                    self.zones.close_alarm(zone, at);
                }
                Some(slot) => {
                    if slot.zone.kind() != Kind::Presence {
                        self.zones.close_presence(zone, at);
                    }
                    if slot.settings().occupancy.is_none() {
                        self.zones.close_alarm(zone, at);
                    }
                }
            }
        }
    }

    /// Puts the new zones in place, with the state that goes on. Answers which of them opened or closed by that.
    fn hand_over(&mut self, fates: &[Fate], slots: Vec<Slot>, at: WallTime) -> Vec<u32> {
        let old = std::mem::replace(&mut self.zones.slots, slots);
        let views = std::mem::take(&mut self.zones.views);
        let mut turned = Vec::new();
        for (old, fate) in old.iter().zip(fates) {
            let slot = fate.to.and_then(|to| self.zones.slots.get_mut(to as usize));
            let (Some(slot), Some(to)) = (slot, fate.to) else { continue };
            slot.inherit(old);
            if slot.opening.open != old.opening.open {
                turned.push(to);
            }
        }
        self.zones.arrange();
        let places: Vec<Option<u32>> = views
            .iter()
            .map(|view| {
                self.zones.views.iter().position(|new| new == view).and_then(|at| u32::try_from(at).ok())
            })
            .collect();
        for (key, track) in self.tracks.take() {
            let mut records: Vec<Record> = Vec::new();
            let stream = self.streams.iter().find(|stream| stream.serial == key.stream);
            for record in track {
                self.settle_record(record, &places, fates, &old, at, &mut records);
            }
            if stream.is_some() && !records.is_empty() {
                self.tracks.put(key.clone(), records);
                self.requeue(&[key]);
            }
        }
        self.tracks.find_standing();
        turned
    }

    /// Moves a record to its view, and what is between it and zones of another view to a record there.
    fn settle_record(
        &self,
        mut record: Record,
        places: &[Option<u32>],
        fates: &[Fate],
        old: &[Slot],
        at: WallTime,
        records: &mut Vec<Record>,
    ) {
        let place = places.get(record.view as usize).copied().flatten();
        let mut stay = Vec::new();
        for mut pair in std::mem::take(&mut record.pairs) {
            let fate = fates.get(pair.zone as usize).and_then(|fate| fate.to);
            let before = old.get(pair.zone as usize);
            let slot = fate.and_then(|to| self.zones.slots.get(to as usize));
            let (Some(to), Some(slot), Some(before)) = (fate, slot, before) else { continue };
            let Some(view) = slot.view else { continue };
            pair.zone = to;
            if let PairState::Area(area) = &mut pair.state {
                adapt(area, before, slot, at);
            }
            if Some(view) == place {
                stay.push(pair);
                continue;
            }
            match records.iter_mut().find(|known| known.view == view) {
                Some(known) => known.pairs.push(pair),
                None => records.extend(self.moved(&record, view, pair)),
            }
        }
        if let Some(view) = place {
            record.view = view;
            record.pairs = stay;
            records.push(record);
        }
    }

    /// A record as it begins in another view.
    fn moved(&self, record: &Record, at: u32, pair: Pair) -> Option<Record> {
        let view = self.zones.views.get(at as usize)?;
        let mut record = Record { view: at, pairs: vec![pair], ..record.clone() };
        let anchor = record.seen.bbox.anchor(view.anchor);
        if record.seen.path.back().is_some_and(|(_, last)| *last != anchor) {
            record.origin = anchor;
            record.first = record.seen.last;
            record.seen.path.clear();
            record.seen.walk(record.seen.last, anchor);
        }
        if view.standing.is_none() {
            record.motion = Motion::Still;
        }
        Some(record)
    }
}

/// Whether visits can outlive the change.
fn goes_on(old: &Zone, new: &Zone) -> bool {
    let alike = old.kind().is_area() && new.kind().is_area() || old.kind() == new.kind();
    alike && old.enabled() && new.enabled()
}

/// Whether a zone as it is now holds what is between a track and it.
fn holds(slot: &Slot, pair: &Pair, who: &Who<'_>) -> bool {
    let view = View::of(&slot.zone, 0);
    let inside = matches!(&pair.state, PairState::Area(area) if area.inside);
    inside
        && view.sees_task(&who.stream.task_type)
        && view.sees(who.label(), who.seen.confidence)
        && slot.shape.holds(&who.seen.bbox)
}

/// Fits a visit to other thresholds. What they make overdue is told at the next observation.
fn adapt(area: &mut Area, old: &Slot, new: &Slot, at: WallTime) {
    let (before, loiter) = (old.settings().loiter, new.settings().loiter);
    if before != loiter {
        area.loiter = area.visit.as_ref().zip(loiter).map(|(visit, loiter)| Stay {
            sum: Micros::ZERO,
            left: visit.since,
            next: loiter.after,
            missed: visit.since + loiter.after <= at,
        });
    }
    if let Some(visit) = &mut area.visit
        && old.zone.dwell() != new.zone.dwell()
        && visit.dwell != Telling::Told
    {
        let overdue = visit.since + new.zone.dwell() <= at;
        visit.dwell = if overdue { Telling::Missed } else { Telling::Ahead };
    }
}

impl Slot {
    /// Takes over what the zone before has counted.
    fn inherit(&mut self, old: &Slot) {
        self.count = old.count;
        self.labels.clone_from(&old.labels);
        self.occupancy_at = old.occupancy_at;
        self.alarm = old.alarm;
        self.presence = if self.zone.kind() == Kind::Presence { old.presence } else { Presence::Vacant };
        self.take_marks(old);
        if self.settings().occupancy.is_none() {
            self.alarm.told = AlarmState::Ok;
            self.alarm.next = None;
        }
    }
}
