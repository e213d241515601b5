//! The whole state as bytes (perception.md 13.4).
//!
//! Owns: their layout, and the check of what is read. Never: a file, a row.
//!
//! Layout, version 1: the letters `HZ`, the version, the body, CRC-32 of all before it (little-endian). The body holds the
//! zones as well, so that after a restart [`Engine::set_zones`] ends what the zones of that time do not hold any more.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use heldar_base::{Micros, WallTime};
use serde_json::Value;

use crate::fact::{AlarmState, Counters, LabelCount};
use crate::geometry::{Point, Rect, Way};
use crate::schedule::Opening;
use crate::shape::Bbox;
use crate::zone::{Zone, ZoneFields};

use super::bytes::{Damaged, Reader, Writer};
use super::slot::{Alarm, Presence, Slot};
use super::track::{Area, Motion, Pair, PairState, Record, Seen, Stay, Stream, Telling, TrackKey, Visit};
use super::{Engine, MAX_TRACKS};

/// Bytes that are no state of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Another version wrote them, most likely a newer one.
    #[error("the state of the zone engine is of version {0}, which this server does not know")]
    Version(u8),
    /// They are cut short, altered, or no state at all.
    #[error("the state of the zone engine is damaged")]
    Damaged,
}

impl From<Damaged> for StateError {
    fn from(_: Damaged) -> Self {
        StateError::Damaged
    }
}

const MAGIC: [u8; 2] = *b"HZ";
const VERSION: u8 = 1;
const HEADER: usize = 3;

impl Engine {
    /// The whole state, zones included. An engine that is restored from it goes on as this one does.
    pub fn save(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.0.extend(MAGIC);
        w.0.push(VERSION);
        w.signed(self.horizon.0);
        w.signed(self.now.0);
        w.unsigned(self.late_batches);
        w.unsigned(self.generation.into());
        w.unsigned(self.next_serial.into());
        w.list(self.zones.slots.iter(), slot);
        w.list(self.streams.iter(), stream);
        let tracks: Vec<_> = self.tracks.iter().collect();
        w.list(tracks.iter(), |w, (key, track)| {
            w.unsigned(key.stream.into());
            w.unsigned(key.epoch.into());
            w.text(&key.id);
            w.list(track.records.iter(), record);
        });
        let sum = crc32fast::hash(&w.0);
        w.0.extend(sum.to_le_bytes());
        w.0
    }

    /// The engine whose state was saved. Zones that have changed since are set afterwards.
    ///
    /// # Errors
    /// Bytes of another version, or bytes that were not written by [`Engine::save`].
    pub fn restore(bytes: &[u8]) -> Result<Engine, StateError> {
        match bytes {
            [a, b, version, ..] if [*a, *b] == MAGIC && *version != VERSION => {
                return Err(StateError::Version(*version));
            }
            [a, b, ..] if [*a, *b] == MAGIC => {}
            _ => return Err(StateError::Damaged),
        }
        let (body, sum) = bytes.split_last_chunk::<4>().ok_or(StateError::Damaged)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
            return Err(StateError::Damaged);
        }
        let mut r = Reader(body.get(HEADER..).ok_or(StateError::Damaged)?);
        Ok(engine(&mut r)?)
    }
}

fn engine(r: &mut Reader<'_>) -> Result<Engine, Damaged> {
    let mut engine = Engine {
        horizon: WallTime(r.signed()?),
        now: WallTime(r.signed()?),
        late_batches: r.unsigned()?,
        generation: r.small()?,
        next_serial: r.small()?,
        ..Engine::default()
    };
    engine.zones.slots = r.list(read_slot)?;
    engine.zones.arrange();
    engine.streams = r.list(read_stream)?;
    let tracks = r.list(|r| {
        let key = TrackKey { stream: r.small()?, epoch: r.small()?, id: r.text()?.into() };
        Ok((key, r.list(read_record)?))
    })?;
    if !r.0.is_empty() || tracks.len() > MAX_TRACKS {
        return Err(Damaged);
    }
    for (key, records) in tracks {
        let views = engine.zones.views.len();
        let slots = &engine.zones.slots;
        let fits = |record: &Record| {
            let pair =
                |pair: &Pair| slots.get(pair.zone as usize).is_some_and(|s| s.view == Some(record.view));
            (record.view as usize) < views && record.pairs.iter().all(pair)
        };
        let known = engine.streams.iter().any(|stream| stream.serial == key.stream);
        if !known || records.is_empty() || !records.iter().all(fits) {
            return Err(Damaged);
        }
        engine.tracks.put(key.clone(), records);
        engine.requeue(&[key]);
    }
    engine.tracks.find_standing();
    Ok(engine)
}

/// A zone as it is stored; made once, for state is saved often and zones change seldom.
pub(super) fn definition(zone: &Zone) -> Arc<[u8]> {
    let mut w = Writer::default();
    w.text(zone.id());
    // Text would round the points, perhaps.
    let fields = ZoneFields { polygon: Value::Null, ..zone.fields() };
    w.text(&serde_json::to_string(&fields).unwrap_or_default());
    w.signed(zone.dwell().0);
    w.list(zone.points().iter(), |w, p| point(w, *p));
    w.0.into()
}

fn slot(w: &mut Writer, slot: &Slot) {
    w.0.extend_from_slice(&slot.definition);
    w.unsigned(slot.generation.into());
    w.flag(slot.opening.open);
    w.option(slot.opening.until, time);
    w.option(slot.reset_at, time);
    w.unsigned(slot.count.into());
    w.list(slot.labels.iter(), |w, (label, count)| {
        w.text(label);
        w.unsigned((*count).into());
    });
    w.option(slot.occupancy_at, time);
    w.unsigned(alarm_code(slot.alarm.told));
    w.option(slot.alarm.next, |w, (state, since)| {
        w.unsigned(alarm_code(state));
        time(w, since);
    });
    w.option(
        match slot.presence {
            Presence::Vacant => None,
            Presence::Occupied { since, empty } => Some((since, empty)),
        },
        |w, (since, empty)| {
            time(w, since);
            w.option(empty, time);
        },
    );
    w.option(slot.counters.as_ref(), |w, counters| {
        crossings(w, &counters.total);
        time(w, counters.since);
        time(w, counters.updated_at);
        w.list(counters.by_label.iter(), |w, (label, count)| {
            w.text(label);
            crossings(w, count);
        });
    });
}

fn read_slot(r: &mut Reader<'_>) -> Result<Slot, Damaged> {
    let id = r.text()?;
    let mut fields: ZoneFields = serde_json::from_str(r.text()?).map_err(|_| Damaged)?;
    let dwell = Micros(r.signed()?);
    let points = r.list(read_point)?;
    fields.polygon = points.iter().map(|p| Value::from(vec![p.x, p.y])).collect();
    let zone = Zone::new(id, &fields).map_err(|_| Damaged)?.with_exact(points, dwell);
    let mut slot = Slot::new(zone, r.small()?, WallTime::EPOCH);
    slot.opening = Opening { open: r.flag()?, until: r.option(read_time)? };
    slot.reset_at = r.option(read_time)?;
    slot.count = r.small()?;
    slot.labels = r.list(|r| Ok((text(r)?, r.small()?)))?.into_iter().collect();
    slot.occupancy_at = r.option(read_time)?;
    slot.alarm = Alarm { told: read_alarm(r)?, next: r.option(|r| Ok((read_alarm(r)?, read_time(r)?)))? };
    slot.presence = match r.option(|r| Ok((read_time(r)?, r.option(read_time)?)))? {
        None => Presence::Vacant,
        Some((since, empty)) => Presence::Occupied { since, empty },
    };
    let counters = r.option(|r| {
        Ok(Counters {
            zone_id: id.into(),
            total: read_crossings(r)?,
            since: read_time(r)?,
            updated_at: read_time(r)?,
            by_label: r.list(|r| Ok((text(r)?, read_crossings(r)?)))?.into_iter().collect::<BTreeMap<_, _>>(),
        })
    })?;
    if counters.is_some() != slot.counters.is_some() {
        return Err(Damaged);
    }
    slot.counters = counters;
    Ok(slot)
}

fn stream(w: &mut Writer, stream: &Stream) {
    w.unsigned(stream.serial.into());
    w.text(&stream.task_type);
    w.text(&stream.task);
    w.option(stream.lease.as_deref(), Writer::text);
    w.unsigned(stream.epoch.into());
    w.signed(stream.period.0);
}

fn read_stream(r: &mut Reader<'_>) -> Result<Stream, Damaged> {
    Ok(Stream {
        serial: r.small()?,
        task_type: text(r)?,
        task: text(r)?,
        lease: r.option(text)?,
        epoch: r.small()?,
        period: Micros(r.signed()?),
    })
}

fn record(w: &mut Writer, record: &Record) {
    w.unsigned(record.view.into());
    time(w, record.first);
    point(w, record.origin);
    w.unsigned(match record.motion {
        Motion::Still => 0,
        Motion::Suppressed => 1,
        Motion::Moved => 2,
    });
    let Seen { last, bbox, label, confidence, path } = &record.seen;
    w.signed((*last - record.first).0);
    point(w, bbox.0.min);
    point(w, bbox.0.max);
    w.text(label);
    w.option(*confidence, Writer::float);
    w.list(path.iter(), |w, (at, p)| {
        w.signed((*last - *at).0);
        point(w, *p);
    });
    w.list(record.pairs.iter(), |w, pair| {
        w.unsigned(pair.zone.into());
        match &pair.state {
            PairState::Line(Way::Ab) => w.unsigned(0),
            PairState::Line(Way::Ba) => w.unsigned(1),
            PairState::Area(state) => {
                w.unsigned(2);
                area(w, state);
            }
        }
    });
}

fn read_record(r: &mut Reader<'_>) -> Result<Record, Damaged> {
    let view = r.small()?;
    let first = read_time(r)?;
    let origin = read_point(r)?;
    let motion = match r.unsigned()? {
        0 => Motion::Still,
        1 => Motion::Suppressed,
        2 => Motion::Moved,
        _ => return Err(Damaged),
    };
    let last = first + Micros(r.signed()?);
    let (min, max) = (read_point(r)?, read_point(r)?);
    let seen = Seen {
        last,
        bbox: Bbox(Rect { min, max }),
        label: text(r)?,
        confidence: r.option(Reader::float)?,
        path: r
            .list(|r| Ok((last - Micros(r.signed()?), read_point(r)?)))?
            .into_iter()
            .collect::<VecDeque<_>>(),
    };
    let pairs = r.list(|r| {
        let zone = r.small()?;
        let state = match r.unsigned()? {
            0 => PairState::Line(Way::Ab),
            1 => PairState::Line(Way::Ba),
            2 => PairState::Area(read_area(r)?),
            _ => return Err(Damaged),
        };
        Ok(Pair { zone, state })
    })?;
    Ok(Record { view, first, origin, motion, seen, pairs })
}

fn area(w: &mut Writer, area: &Area) {
    w.flag(area.inside);
    w.unsigned(area.differing.into());
    w.option(area.visit.as_ref(), |w, visit| {
        time(w, visit.since);
        w.unsigned(match visit.dwell {
            Telling::Ahead => 0,
            Telling::Missed => 1,
            Telling::Told => 2,
        });
        w.text(&visit.label);
    });
    w.option(area.loiter, |w, stay| {
        w.signed(stay.sum.0);
        time(w, stay.left);
        w.signed(stay.next.0);
        w.flag(stay.missed);
    });
}

fn read_area(r: &mut Reader<'_>) -> Result<Area, Damaged> {
    Ok(Area {
        inside: r.flag()?,
        differing: u8::try_from(r.unsigned()?).map_err(|_| Damaged)?,
        visit: r.option(|r| {
            let since = read_time(r)?;
            let dwell = match r.unsigned()? {
                0 => Telling::Ahead,
                1 => Telling::Missed,
                2 => Telling::Told,
                _ => return Err(Damaged),
            };
            Ok(Visit { since, dwell, label: text(r)? })
        })?,
        loiter: r.option(|r| {
            Ok(Stay {
                sum: Micros(r.signed()?),
                left: read_time(r)?,
                next: Micros(r.signed()?),
                missed: r.flag()?,
            })
        })?,
    })
}

fn time(w: &mut Writer, at: WallTime) {
    w.signed(at.0);
}

fn read_time(r: &mut Reader<'_>) -> Result<WallTime, Damaged> {
    r.signed().map(WallTime)
}

fn point(w: &mut Writer, p: Point) {
    w.float(p.x);
    w.float(p.y);
}

fn read_point(r: &mut Reader<'_>) -> Result<Point, Damaged> {
    Ok(Point::new(r.float()?, r.float()?))
}

fn text(r: &mut Reader<'_>) -> Result<Arc<str>, Damaged> {
    r.text().map(Arc::from)
}

fn crossings(w: &mut Writer, count: &LabelCount) {
    w.unsigned(count.inwards);
    w.unsigned(count.outwards);
}

fn read_crossings(r: &mut Reader<'_>) -> Result<LabelCount, Damaged> {
    Ok(LabelCount { inwards: r.unsigned()?, outwards: r.unsigned()? })
}

fn alarm_code(state: AlarmState) -> u64 {
    match state {
        AlarmState::Ok => 0,
        AlarmState::Min => 1,
        AlarmState::Max => 2,
    }
}

fn read_alarm(r: &mut Reader<'_>) -> Result<AlarmState, Damaged> {
    match r.unsigned()? {
        0 => Ok(AlarmState::Ok),
        1 => Ok(AlarmState::Min),
        2 => Ok(AlarmState::Max),
        _ => Err(Damaged),
    }
}
