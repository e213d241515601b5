//! The zones of a camera with what each of them counts, and whether that is worth telling.
//!
//! Owns: views and indexes over zones, occupancy with its alarms, presence, counters, schedules. Never: single tracks; those
//! report who came and went.

use std::collections::BTreeMap;
use std::sync::Arc;

use heldar_base::{Micros, WallTime};

use crate::config::{Anchor, Direction, Evidence, Limits, Settings, Standing};
use crate::fact::{AlarmState, Counters, Fact, FactKind, Occupancy, Output, Reason};
use crate::geometry::{Rect, Way};
use crate::grid::Grid;
use crate::schedule::Opening;
use crate::shape::{Bbox, Shape};
use crate::zone::{Kind, Zone};

use super::state::definition;
use super::track::Who;

/// What decides whether and how a zone sees a track. Zones that agree share the records of tracks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    /// Records begin with the zones that they are for: a later zone starts its own.
    pub(super) generation: u32,
    /// A track begins anew on a line after a gap that does not matter to areas.
    pub(super) line: bool,
    /// Only the point that is followed matters: bottom centre or centre.
    pub(super) anchor: Anchor,
    pub(super) lost: Micros,
    pub(super) standing: Option<Standing>,
    labels: Vec<String>,
    task_types: Vec<String>,
    min_confidence: f64,
    require_confidence: bool,
}

impl View {
    pub(super) fn of(zone: &Zone, generation: u32) -> View {
        let settings = zone.settings();
        let anchor = if settings.anchor == Anchor::Center { Anchor::Center } else { Anchor::BottomCenter };
        let sorted = |list: &[String]| {
            let mut list = list.to_vec();
            list.sort_unstable();
            list.dedup();
            list
        };
        View {
            generation,
            line: zone.kind() == Kind::Line,
            anchor,
            lost: settings.lost,
            standing: settings.standing,
            labels: sorted(zone.labels()),
            task_types: sorted(&settings.task_types),
            min_confidence: settings.min_confidence,
            require_confidence: settings.require_confidence,
        }
    }

    pub(super) fn sees_task(&self, task_type: &str) -> bool {
        listed(&self.task_types, task_type)
    }

    pub(super) fn sees(&self, label: &str, confidence: Option<f64>) -> bool {
        let sure =
            confidence.map_or(!self.require_confidence, |confidence| confidence >= self.min_confidence);
        sure && listed(&self.labels, label)
    }
}

/// Whether a list names a text; an empty one names all.
fn listed(list: &[String], text: &str) -> bool {
    list.is_empty() || list.iter().any(|item| item == text)
}

/// The zones of one view by where they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    points: Grid,
    boxes: Grid,
    lines: Grid,
}

/// Alarms of `occupancy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Alarm {
    pub(super) told: AlarmState,
    /// What the count says otherwise, and since when.
    pub(super) next: Option<(AlarmState, WallTime)>,
}

/// Whether anybody is in a `presence` zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Presence {
    #[default]
    Vacant,
    Occupied {
        since: WallTime,
        /// Since when nobody is.
        empty: Option<WallTime>,
    },
}

/// One zone and what it counts.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) zone: Zone,
    /// The zone as it is saved.
    pub(super) definition: Arc<[u8]>,
    pub(super) shape: Shape,
    /// Position of its view; none for what no track visits.
    pub(super) view: Option<u32>,
    pub(super) generation: u32,
    pub(super) opening: Opening,
    pub(super) reset_at: Option<WallTime>,
    pub(super) count: u32,
    pub(super) labels: BTreeMap<Arc<str>, u32>,
    /// When occupancy last changed; `None`: nobody was ever inside.
    pub(super) occupancy_at: Option<WallTime>,
    pub(super) alarm: Alarm,
    pub(super) presence: Presence,
    pub(super) counters: Option<Counters>,
    /// The count changed at this instant, perhaps by a detection.
    touched: Option<Option<usize>>,
    occupancy_changed: bool,
    counters_changed: bool,
}

impl Slot {
    pub(super) fn new(zone: Zone, generation: u32, at: WallTime) -> Slot {
        let counters = (zone.kind() == Kind::Line).then(|| Counters {
            zone_id: zone.id().clone(),
            total: Default::default(),
            since: at,
            updated_at: at,
            by_label: BTreeMap::new(),
        });
        Slot {
            shape: Shape::of(&zone),
            definition: definition(&zone),
            zone,
            view: None,
            generation,
            opening: Opening::ALWAYS,
            reset_at: None,
            count: 0,
            labels: BTreeMap::new(),
            occupancy_at: None,
            alarm: Alarm::default(),
            presence: Presence::Vacant,
            counters,
            touched: None,
            occupancy_changed: false,
            counters_changed: false,
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        self.zone.settings()
    }

    /// Whether tracks visit it and it is in use.
    pub(super) fn area(&self) -> bool {
        self.zone.enabled() && self.zone.kind().is_area()
    }

    /// Computes what civil time says of `at` and after.
    pub(super) fn set_clock(&mut self, at: WallTime) {
        self.opening = self.zone.settings().schedule.as_ref().map_or(Opening::ALWAYS, |s| s.at(at));
        let reset = self.zone.settings().counter_reset.as_ref().filter(|_| self.counters.is_some());
        self.reset_at = reset.and_then(|reset| reset.after(at));
    }

    /// Takes over what is still to be stored.
    pub(super) fn take_marks(&mut self, old: &Slot) {
        self.occupancy_changed = old.occupancy_changed;
        self.counters_changed = old.counters_changed;
    }

    fn due(&self) -> Option<WallTime> {
        let alarm = match (self.alarm.next, self.zone.settings().occupancy) {
            (Some((_, since)), Some(limits)) => Some(since + limits.hold),
            _ => None,
        };
        let vacant = match self.presence {
            Presence::Occupied { empty: Some(empty), .. } => Some(empty + self.zone.settings().vacant_after),
            _ => None,
        };
        [self.opening.until, self.reset_at, alarm, vacant].into_iter().flatten().min()
    }

    fn occupancy(&self, updated_at: WallTime) -> Occupancy {
        Occupancy {
            zone_id: self.zone.id().clone(),
            count: self.count,
            labels: self.labels.clone(),
            state: self.alarm.told,
            updated_at,
        }
    }

    /// What the count means to the limits.
    fn stands(&self) -> AlarmState {
        match self.zone.settings().occupancy {
            Some(Limits { max: Some(max), .. }) if self.opening.open && self.count > max => AlarmState::Max,
            Some(Limits { min: Some(min), .. }) if self.opening.open && self.count < min => AlarmState::Min,
            _ => AlarmState::Ok,
        }
    }

    fn limit(&self, state: AlarmState) -> Option<u32> {
        let limits = self.zone.settings().occupancy?;
        match state {
            AlarmState::Max => limits.max,
            AlarmState::Min => limits.min,
            AlarmState::Ok => None,
        }
    }
}

/// All zones of a camera.
#[derive(Clone, Debug, Default)]
pub(super) struct Zones {
    pub(super) slots: Vec<Slot>,
    pub(super) views: Vec<View>,
    indexes: Vec<Index>,
    masks: Grid,
    touched: Vec<u32>,
    /// The first instant at which a zone changes by itself.
    due: Option<WallTime>,
    pub(super) out: Output,
}

impl Zones {
    /// Sorts the zones into views and indexes.
    pub(super) fn arrange(&mut self) {
        let mut views: Vec<View> = Vec::new();
        let mut boxes: Vec<[Vec<(Rect, u32)>; 3]> = Vec::new();
        let mut masks = Vec::new();
        for (at, slot) in (0u32..).zip(&mut self.slots) {
            slot.view = None;
            if !slot.zone.enabled() {
                continue;
            }
            let around = slot.shape.around();
            if slot.zone.kind() == Kind::Exclude {
                masks.push((around, at));
                continue;
            }
            let view = View::of(&slot.zone, slot.generation);
            let position = views.iter().position(|known| *known == view).unwrap_or_else(|| {
                views.push(view);
                views.len() - 1
            });
            slot.view = u32::try_from(position).ok();
            if boxes.len() <= position {
                boxes.resize(position + 1, Default::default());
            }
            let [points, wholes, lines] = &mut boxes[position];
            let list = match (slot.zone.kind(), slot.settings().anchor) {
                (Kind::Line, _) => lines,
                (_, Anchor::BottomCenter | Anchor::Center) => points,
                _ => wholes,
            };
            list.push((around, at));
        }
        boxes.resize(views.len(), Default::default());
        self.views = views;
        self.indexes = boxes
            .into_iter()
            .map(|[points, wholes, lines]| Index {
                points: Grid::new(points),
                boxes: Grid::new(wholes),
                lines: Grid::new(lines),
            })
            .collect();
        self.masks = Grid::new(masks);
        self.set_due();
    }

    /// The areas of a view that a box is inside of, ascending.
    pub(super) fn inside(&self, view: u32, bbox: &Bbox, hits: &mut Vec<u32>) {
        let (Some(index), Some(View { anchor, .. })) =
            (self.indexes.get(view as usize), self.views.get(view as usize))
        else {
            return;
        };
        index.points.meeting(&Shape::reach(*anchor, bbox), hits);
        if !index.boxes.is_empty() {
            let before = hits.len();
            index.boxes.meeting(&Shape::reach(Anchor::AnyCorner, bbox), hits);
            if before > 0 && hits.len() > before {
                hits.sort_unstable();
            }
        }
        hits.retain(|zone| self.slots.get(*zone as usize).is_some_and(|slot| slot.shape.holds(bbox)));
    }

    /// The lines of a view that a move comes near, ascending.
    pub(super) fn near(&self, view: u32, way: &Rect, hits: &mut Vec<u32>) {
        if let Some(index) = self.indexes.get(view as usize) {
            index.lines.meeting(way, hits);
        }
    }

    /// Whether a mask hides a detection.
    pub(super) fn hidden(&self, bbox: &Bbox, label: &str, task_type: &str, scratch: &mut Vec<u32>) -> bool {
        if self.masks.is_empty() {
            return false;
        }
        scratch.clear();
        self.masks.meeting(&Shape::reach(Anchor::AnyCorner, bbox), scratch);
        scratch
            .iter()
            .filter_map(|at| self.slots.get(*at as usize))
            .any(|slot| slot.opening.open && masks(&slot.zone, label, task_type) && slot.shape.holds(bbox))
    }

    pub(super) fn due(&self) -> Option<WallTime> {
        self.due
    }

    fn set_due(&mut self) {
        self.due = self.slots.iter().filter(|slot| slot.zone.enabled()).filter_map(Slot::due).min();
    }

    /// A fact of a zone as a whole.
    pub(super) fn tell(
        &mut self,
        at: u32,
        kind: FactKind,
        when: WallTime,
        who: Option<&Who<'_>>,
        more: impl FnOnce(&mut Fact),
    ) {
        let Some(slot) = self.slots.get(at as usize) else { return };
        let settings = slot.settings();
        let visit =
            matches!(kind, FactKind::Enter | FactKind::Exit | FactKind::Dwell | FactKind::StaticSuppressed);
        let in_feed = slot.zone.kind() != Kind::Count || settings.emit_tracks || !visit;
        if !in_feed && !kind.is_zone_event() {
            return;
        }
        let mut fact = Fact {
            zone_id: slot.zone.id().clone(),
            kind,
            at: when,
            in_feed,
            evidence: settings.evidence == Evidence::Auto && kind.has_evidence(),
            task_type: None,
            task: None,
            track: None,
            label: None,
            dwell: None,
            reason: None,
            confidence: None,
            anchor: None,
            bbox: None,
            direction_deg: None,
            speed: None,
            detection: None,
            count: None,
            limit: None,
        };
        if let Some(who) = who {
            who.sign(&mut fact, settings.anchor);
        }
        more(&mut fact);
        self.out.facts.push(fact);
    }

    /// Somebody came in or went out; what that means is decided once the instant is complete.
    pub(super) fn count(
        &mut self,
        at: u32,
        change: Change,
        label: &Arc<str>,
        when: WallTime,
        by: Option<usize>,
    ) {
        let Some(slot) = self.slots.get_mut(at as usize) else { return };
        match change {
            Change::In => {
                slot.count += 1;
                *slot.labels.entry(label.clone()).or_default() += 1;
            }
            Change::Out => {
                slot.count = slot.count.saturating_sub(1);
                if let Some(count) = slot.labels.get_mut(label) {
                    *count -= 1;
                    if *count == 0 {
                        slot.labels.remove(label);
                    }
                }
            }
        }
        slot.occupancy_at = Some(when);
        slot.occupancy_changed = true;
        self.touch(at, by);
    }

    /// Has a zone looked at once the instant is complete.
    pub(super) fn touch(&mut self, at: u32, by: Option<usize>) {
        let Some(slot) = self.slots.get_mut(at as usize) else { return };
        if slot.touched.is_none() {
            self.touched.push(at);
        }
        slot.touched = Some(by.or(slot.touched.flatten()));
    }

    /// A line was crossed. Counts it, and tells it unless the line is silent in that direction.
    pub(super) fn crossed(&mut self, at: u32, way: Way, when: WallTime, who: &Who<'_>) {
        let Some(slot) = self.slots.get_mut(at as usize) else { return };
        let (direction, kind) = match way {
            Way::Ab => (Direction::Ab, FactKind::CrossAb),
            Way::Ba => (Direction::Ba, FactKind::CrossBa),
        };
        let inwards = slot.settings().inwards == direction;
        let told = [Direction::Any, direction].contains(&slot.settings().direction);
        if let Some(counters) = &mut slot.counters {
            let known = counters.by_label.contains_key(who.label());
            let room = counters.by_label.len() < Counters::MAX_LABELS;
            let label = (known || room).then(|| counters.by_label.entry(who.label().clone()).or_default());
            for count in [Some(&mut counters.total), label].into_iter().flatten() {
                let side = if inwards { &mut count.inwards } else { &mut count.outwards };
                *side = side.saturating_add(1);
            }
            counters.updated_at = when;
            slot.counters_changed = true;
        }
        if told {
            self.tell(at, kind, when, Some(who), |_| {});
        }
    }

    /// Starts the counters of a line anew.
    pub(super) fn reset(&mut self, at: u32, when: WallTime) {
        let Some(slot) = self.slots.get_mut(at as usize) else { return };
        if let Some(counters) = &mut slot.counters {
            counters.total = Default::default();
            counters.by_label.clear();
            counters.since = when;
            counters.updated_at = when;
            slot.counters_changed = true;
        }
    }

    /// What the counts of an instant mean to presence and alarms.
    pub(super) fn settle(&mut self, when: WallTime) {
        if self.touched.is_empty() {
            return;
        }
        let mut touched = std::mem::take(&mut self.touched);
        for at in &touched {
            let Some(slot) = self.slots.get_mut(*at as usize) else { continue };
            let by = slot.touched.take().flatten();
            if !slot.area() {
                continue;
            }
            let stands = slot.stands();
            slot.alarm.next = match slot.alarm.next {
                _ if stands == slot.alarm.told => None,
                Some((state, since)) if state == stands => Some((state, since)),
                _ => Some((stands, when)),
            };
            let came = match (&mut slot.presence, slot.count) {
                _ if slot.zone.kind() != Kind::Presence => false,
                (Presence::Vacant, 0) => false,
                (Presence::Vacant, _) => {
                    slot.presence = Presence::Occupied { since: when, empty: None };
                    true
                }
                (Presence::Occupied { empty, .. }, count) => {
                    *empty = if count > 0 { None } else { empty.or(Some(when)) };
                    false
                }
            };
            let count = slot.count;
            if came {
                self.tell(*at, FactKind::Occupied, when, None, |fact| {
                    fact.count = Some(count);
                    fact.detection = by;
                });
            }
            self.fire(*at, when, by);
        }
        touched.clear();
        self.touched = touched;
        self.set_due();
    }

    /// Tells what has held for long enough.
    fn fire(&mut self, at: u32, now: WallTime, by: Option<usize>) {
        let Some(slot) = self.slots.get_mut(at as usize) else { return };
        if let (Some((state, since)), Some(limits)) = (slot.alarm.next, slot.zone.settings().occupancy)
            && since + limits.hold <= now
        {
            self.alarm(at, state, since + limits.hold, by);
        }
        self.leave_vacant(at, now);
    }

    /// Tells an alarm or its end.
    fn alarm(&mut self, at: u32, state: AlarmState, when: WallTime, by: Option<usize>) {
        let Some(slot) = self.slots.get_mut(at as usize) else { return };
        let before = slot.alarm.told;
        slot.alarm = Alarm { told: state, next: None };
        slot.occupancy_changed = true;
        slot.occupancy_at = Some(when);
        let (kind, limit) = match state {
            AlarmState::Max => (FactKind::OccupancyMax, slot.limit(state)),
            AlarmState::Min => (FactKind::OccupancyMin, slot.limit(state)),
            AlarmState::Ok => (FactKind::OccupancyOk, slot.limit(before)),
        };
        let count = slot.count;
        self.tell(at, kind, when, None, |fact| {
            fact.count = Some(count);
            fact.limit = limit;
            fact.detection = by;
        });
    }

    fn leave_vacant(&mut self, at: u32, now: WallTime) {
        let Some(slot) = self.slots.get_mut(at as usize) else { return };
        let after = slot.settings().vacant_after;
        if let Presence::Occupied { since, empty: Some(empty) } = slot.presence
            && empty + after <= now
        {
            slot.presence = Presence::Vacant;
            self.tell(at, FactKind::Vacant, empty + after, None, |fact| {
                fact.dwell = Some((empty - since).max(Micros::ZERO));
                fact.count = Some(0);
            });
        }
    }

    /// Ends being occupied, because there is no such zone any more.
    pub(super) fn close_presence(&mut self, at: u32, when: WallTime) {
        let Some(slot) = self.slots.get_mut(at as usize) else { return };
        if let Presence::Occupied { since, empty } = slot.presence {
            slot.presence = Presence::Vacant;
            let end = empty.unwrap_or(when);
            self.tell(at, FactKind::Vacant, when, None, |fact| {
                fact.dwell = Some((end - since).max(Micros::ZERO));
                fact.reason = Some(Reason::ZoneChanged);
                fact.count = Some(0);
            });
        }
    }

    /// Ends an alarm, because there are no such limits any more.
    pub(super) fn close_alarm(&mut self, at: u32, when: WallTime) {
        if self.slots.get(at as usize).is_some_and(|slot| slot.alarm.told != AlarmState::Ok) {
            self.alarm(at, AlarmState::Ok, when, None);
        }
    }

    /// Everything that falls due in zones at `now`; answers which of them opened or closed.
    pub(super) fn timers(&mut self, now: WallTime) -> Vec<u32> {
        let mut turned = Vec::new();
        for at in (0u32..).take(self.slots.len()) {
            let Some(slot) = self.slots.get_mut(at as usize) else { continue };
            if !slot.zone.enabled() {
                continue;
            }
            if slot.opening.until.is_some_and(|until| until <= now) {
                let was = slot.opening.open;
                slot.opening = slot.zone.settings().schedule.as_ref().map_or(Opening::ALWAYS, |s| s.at(now));
                if slot.opening.open != was {
                    turned.push(at);
                }
            }
            if slot.reset_at.is_some_and(|reset| reset <= now) {
                let reset_at = slot.reset_at;
                slot.reset_at = slot.zone.settings().counter_reset.as_ref().and_then(|r| r.after(now));
                self.reset(at, reset_at.unwrap_or(now));
            }
            self.fire(at, now, None);
        }
        self.set_due();
        turned
    }

    /// Starts time anew at `now`: nothing holds since later, and of what should have happened before only that remains which
    /// lasts.
    pub(super) fn start_anew(&mut self, now: WallTime) {
        for at in (0u32..).take(self.slots.len()) {
            let Some(slot) = self.slots.get_mut(at as usize) else { continue };
            let reset = slot.reset_at.is_some_and(|reset| reset <= now);
            slot.set_clock(now);
            if let Some((_, since)) = &mut slot.alarm.next {
                *since = now.min(*since);
            }
            if let Presence::Occupied { since, empty } = &mut slot.presence {
                *since = now.min(*since);
                *empty = empty.map(|empty| now.min(empty));
            }
            if reset {
                self.reset(at, now);
            }
            self.touch(at, None);
        }
        self.set_due();
    }

    /// Takes what is to be told and stored.
    pub(super) fn take(&mut self) -> Output {
        for slot in &mut self.slots {
            if std::mem::take(&mut slot.occupancy_changed) && slot.zone.enabled() {
                self.out.occupancy.extend(slot.occupancy_at.map(|at| slot.occupancy(at)));
            }
            if std::mem::take(&mut slot.counters_changed) {
                self.out.counters.extend(slot.counters.clone());
            }
        }
        std::mem::take(&mut self.out)
    }

    /// Occupancy of zones in use that were ever occupied.
    pub(super) fn occupancy(&self) -> Vec<Occupancy> {
        let areas = self.slots.iter().filter(|slot| slot.area());
        areas.filter_map(|slot| slot.occupancy_at.map(|at| slot.occupancy(at))).collect()
    }
}

/// Which way a count goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    In,
    Out,
}

/// Whether a mask concerns what has this label and comes from such a task.
pub(crate) fn masks(zone: &Zone, label: &str, task_type: &str) -> bool {
    listed(zone.labels(), label) && listed(&zone.settings().task_types, task_type)
}
