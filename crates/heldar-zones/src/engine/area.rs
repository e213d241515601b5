//! Tracks in areas: visits, dwell, loitering (perception.md 13.3 and 13.7).
//!
//! Owns: one track's way in and out of areas, and what falls due in between. Never: what many of them mean together.
//!
//! Every visit ends exactly once: by `exit`, or by the word that its track is a thing that stands there.

use std::sync::Arc;

use heldar_base::{Micros, WallTime};

use crate::fact::{FactKind, Reason};

use super::slot::{Change, Slot, Zones};
use super::track::{
    Area, Motion, Pair, PairState, Record, Seen, Stay, Stream, Telling, TrackKey, Visit, Who,
};

/// An observation of a track in or near an area.
pub(super) fn observe(
    area: &mut Area,
    zone: u32,
    raw: bool,
    motion: Motion,
    who: &Who<'_>,
    zones: &mut Zones,
) {
    let at = who.seen.last;
    let Some(slot) = zones.slots.get(zone as usize) else { return };
    let (confirm, open) = (slot.settings().confirm_frames, slot.opening.open);
    if raw == area.inside {
        area.differing = 0;
    } else {
        area.differing += 1;
        if area.differing >= confirm {
            area.differing = 0;
            area.inside = raw;
            if !raw {
                end(area, zone, zones, who, at, Reason::Left);
            }
        }
    }
    if area.inside && area.visit.is_none() && open && motion != Motion::Suppressed {
        begin(area, zone, zones, who, at, None);
    }
    tell_reached(area, zone, zones, who, at);
}

/// Tells dwell and loitering that are reached at an observation.
fn tell_reached(area: &mut Area, zone: u32, zones: &mut Zones, who: &Who<'_>, at: WallTime) {
    let Some(slot) = zones.slots.get(zone as usize) else { return };
    let (dwell, loiter) = (slot.zone.dwell(), slot.settings().loiter);
    let Some(visit) = &mut area.visit else { return };
    let inside = at - visit.since;
    if dwell > Micros::ZERO && inside >= dwell && visit.dwell != Telling::Told {
        visit.dwell = Telling::Told;
        zones.tell(zone, FactKind::Dwell, at, Some(who), |fact| fact.dwell = Some(inside));
    }
    if let (Some(loiter), Some(stay)) = (loiter, &mut area.loiter) {
        let sum = stay.sum + inside;
        if sum >= stay.next {
            stay.missed = false;
            stay.next = following(stay.next, sum, loiter.repeat);
            zones.tell(zone, FactKind::Loiter, at, Some(who), |fact| fact.dwell = Some(sum));
        }
    }
}

/// The sum that is told after one that has been reached.
fn following(told: Micros, sum: Micros, repeat: Option<Micros>) -> Micros {
    let Some(repeat) = repeat.filter(|repeat| *repeat > Micros::ZERO) else { return Micros::MAX };
    let times = (sum - told).0 / repeat.0;
    told + Micros(repeat.0.saturating_mul(times.saturating_add(1)))
}

/// A visit begins.
pub(super) fn begin(
    area: &mut Area,
    zone: u32,
    zones: &mut Zones,
    who: &Who<'_>,
    at: WallTime,
    reason: Option<Reason>,
) {
    let label: Arc<str> = who.label().clone();
    if let Some(loiter) = zones.slots.get(zone as usize).and_then(|slot| slot.settings().loiter) {
        let fresh = Stay { sum: Micros::ZERO, left: at, next: loiter.after, missed: false };
        let kept = area.loiter.filter(|stay| at - stay.left <= loiter.gap);
        area.loiter = Some(kept.unwrap_or(fresh));
    }
    area.visit = Some(Visit { since: at, dwell: Telling::Ahead, label: label.clone() });
    zones.count(zone, Change::In, &label, at, who.detection);
    zones.tell(zone, FactKind::Enter, at, Some(who), |fact| fact.reason = reason);
}

/// Closes the books of a visit: occupancy, and what loitering adds up.
fn close(
    area: &mut Area,
    zone: u32,
    zones: &mut Zones,
    when: WallTime,
    by: Option<usize>,
) -> Option<(WallTime, Micros)> {
    let visit = area.visit.take()?;
    let at = when.max(visit.since);
    let dwell = at - visit.since;
    if let Some(stay) = &mut area.loiter {
        stay.sum += dwell;
        stay.left = at;
        stay.missed = false;
    }
    zones.count(zone, Change::Out, &visit.label, at, by);
    Some((at, dwell))
}

/// A visit, if there is one, ends at `when`, or with its begin if that is later.
pub(super) fn end(
    area: &mut Area,
    zone: u32,
    zones: &mut Zones,
    who: &Who<'_>,
    when: WallTime,
    reason: Reason,
) {
    if let Some((at, dwell)) = close(area, zone, zones, when, who.detection) {
        zones.tell(zone, FactKind::Exit, at, Some(who), |fact| {
            fact.dwell = Some(dwell);
            fact.reason = Some(reason);
        });
    }
}

/// A visit, if there is one, turns out to be that of a thing that stands there.
pub(super) fn suppress(area: &mut Area, zone: u32, zones: &mut Zones, who: &Who<'_>) {
    if let Some((at, dwell)) = close(area, zone, zones, who.seen.last, who.detection) {
        zones.tell(zone, FactKind::StaticSuppressed, at, Some(who), |fact| fact.dwell = Some(dwell));
    }
}

/// All visits of a record end at the time last seen.
pub(super) fn end_all(
    record: &mut Record,
    zones: &mut Zones,
    key: &TrackKey,
    stream: &Stream,
    reason: Reason,
) {
    let Record { seen, pairs, .. } = record;
    let who = Who { key, stream, seen, detection: None };
    for Pair { zone, state } in pairs {
        if let PairState::Area(area) = state {
            end(area, *zone, zones, &who, who.seen.last, reason);
        }
    }
}

/// When the first thing of a record falls due.
pub(super) fn due(record: &Record, zones: &Zones) -> Option<WallTime> {
    let lost = record.seen.last + zones.views.get(record.view as usize)?.lost;
    let pairs = record.pairs.iter().filter_map(|pair| match &pair.state {
        PairState::Area(area) => {
            reached(area, zones.slots.get(pair.zone as usize)?).into_iter().flatten().min()
        }
        PairState::Line(_) => None,
    });
    Some(pairs.min().map_or(lost, |pair| pair.min(lost)))
}

/// When dwell and loitering are reached, as far as that is still ahead.
fn reached(area: &Area, slot: &Slot) -> [Option<WallTime>; 2] {
    let Some(visit) = &area.visit else { return [None, None] };
    let dwell = slot.zone.dwell();
    let dwell = (dwell > Micros::ZERO && visit.dwell == Telling::Ahead).then(|| visit.since + dwell);
    let stay = area.loiter.filter(|stay| !stay.missed && stay.next != Micros::MAX);
    [dwell, stay.map(|stay| visit.since + (stay.next - stay.sum))]
}

/// What a record's visits reach at `now`. A track that is out of sight may have gone: it is told when it is seen again.
pub(super) fn fall_due(
    record: &mut Record,
    zones: &mut Zones,
    key: &TrackKey,
    stream: &Stream,
    now: WallTime,
) {
    let Record { seen, pairs, .. } = record;
    let who = Who { key, stream, seen, detection: None };
    for Pair { zone, state } in pairs {
        let PairState::Area(area) = state else { continue };
        let Some(slot) = zones.slots.get(*zone as usize) else { continue };
        let loiter = slot.settings().loiter;
        let [dwell, stay] = reached(area, slot);
        let Some(visit) = &mut area.visit else { continue };
        if let Some(at) = dwell.filter(|at| *at <= now) {
            if in_sight(who.seen, stream, at) {
                visit.dwell = Telling::Told;
                let inside = at - visit.since;
                zones.tell(*zone, FactKind::Dwell, at, Some(&who), |fact| fact.dwell = Some(inside));
            } else {
                visit.dwell = Telling::Missed;
            }
        }
        if let (Some(at), Some(stay), Some(loiter)) = (stay.filter(|at| *at <= now), &mut area.loiter, loiter)
        {
            if in_sight(who.seen, stream, at) {
                let sum = stay.next;
                stay.next = following(sum, sum, loiter.repeat);
                zones.tell(*zone, FactKind::Loiter, at, Some(&who), |fact| fact.dwell = Some(sum));
            } else {
                stay.missed = true;
            }
        }
    }
}

fn in_sight(seen: &Seen, stream: &Stream, at: WallTime) -> bool {
    at - seen.last <= stream.fresh()
}

/// The zone opened or closed at `now`. Tells whether that changed something.
pub(super) fn turn(
    record: &mut Record,
    zones: &mut Zones,
    zone: u32,
    key: &TrackKey,
    stream: &Stream,
    now: WallTime,
) -> bool {
    let Some(open) = zones.slots.get(zone as usize).map(|slot| slot.opening.open) else { return false };
    let Record { seen, pairs, motion, .. } = record;
    let who = Who { key, stream, seen, detection: None };
    let pair = pairs.iter_mut().find(|pair| pair.zone == zone);
    let Some(Pair { state: PairState::Area(area), .. }) = pair else { return false };
    match (open, area.visit.is_some()) {
        (false, true) => end(area, zone, zones, &who, now, Reason::Schedule),
        (true, false) if area.inside && *motion != Motion::Suppressed && in_sight(who.seen, stream, now) => {
            begin(area, zone, zones, &who, now, Some(Reason::Schedule));
        }
        _ => return false,
    }
    true
}

/// Whether a pair says nothing that would not be so without it.
pub(super) fn idle(area: &Area, slot: &Slot, now: WallTime) -> bool {
    let remembered = match (area.loiter, slot.settings().loiter) {
        (Some(stay), Some(loiter)) => now - stay.left <= loiter.gap,
        _ => false,
    };
    !area.inside && area.differing == 0 && !remembered
}
