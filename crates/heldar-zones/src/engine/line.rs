//! Tracks that cross lines (perception.md 13.7).
//!
//! Owns: which crossings count. Never: counters, which the zone has.
//!
//! A crossing waits until the track is `hysteresis` away from the line. When the track crosses back before, neither counts.

use crate::geometry::{Point, Way, crossings, distance};

use super::slot::Zones;
use super::track::Who;

/// A move of a track near a line, with a crossing that waits from before. Answers the crossing that waits now.
pub(super) fn observe(
    waiting: Option<Way>,
    zone: u32,
    from: Point,
    to: Point,
    who: &Who<'_>,
    zones: &mut Zones,
) -> Option<Way> {
    let slot = zones.slots.get(zone as usize)?;
    if !slot.opening.open {
        return None;
    }
    let mut ways = Vec::new();
    crossings(slot.zone.points(), from, to, &mut ways);
    if ways.is_empty() && waiting.is_none() {
        return None;
    }
    let mut ways = ways.into_iter().peekable();
    let waiting = match waiting {
        Some(way) if ways.next_if(|next| *next != way).is_some() => None,
        waiting => waiting,
    };
    if distance(slot.zone.points(), to) >= slot.settings().hysteresis {
        let at = who.seen.last;
        waiting.into_iter().chain(ways).for_each(|way| zones.crossed(zone, way, at, who));
        return None;
    }
    ways.fold(waiting, |waiting, way| match waiting {
        Some(before) if before != way => None,
        _ => Some(way),
    })
}
