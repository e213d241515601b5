//! The engine of one camera.
//!
//! Owns: its time, the order in which observations and deadlines take effect, streams and leases. Never: a clock; `now` is an
//! argument of every call.
//!
//! Contract: calls come with times that do not go back. Before anything else a call brings the engine up to date: every
//! deadline takes effect at its own instant, in order, up to [`SETTLE`] before `now`, and up to the capture time of what is
//! about to be observed. So it does not matter whether a tick came in between. [`Engine::next_deadline`] tells when the next
//! one is of use.
//!
//! The `now` of a batch is best the time at which it was stored: read again after a restart it tells the same. A tick
//! does not go ahead of batches that are stored and still wait to be taken in.

mod area;
mod bytes;
mod change;
mod line;
mod observe;
mod slot;
mod state;
mod track;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use heldar_base::{Micros, WallTime};

use crate::fact::{Counters, Occupancy, Output, Reason};
use crate::shape::Bbox;
use crate::zone::Zone;

pub use state::StateError;

pub(crate) use slot::masks;

use slot::Zones;
use track::{Motion, Stream, TrackKey, Tracks};

/// How long a deadline waits for pictures that were captured before it and are still on their way. Batches that are later
/// than that, compared with others of their task, are `late` (perception.md 8.5).
pub const SETTLE: Micros = Micros::from_secs(2);

/// Most tracks that are held of a camera.
pub const MAX_TRACKS: usize = 10_000;

/// A `now` that lies further back than this is a clock that was set back. Tracks end then, and time starts anew.
const SET_BACK: Micros = Micros::from_secs(10);

/// The same is done when nothing was heard for so long, rather than to live through every schedule since.
const LEAP: Micros = Micros::from_hours(31 * 24);

/// Streams that are remembered without tracks.
const IDLE_STREAMS: usize = 64;

/// What a task saw in a picture.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Type of the task.
    pub task_type: &'a str,
    /// What tells the task from others of its type on the camera. Tracks of different tasks have nothing to do with each
    /// other.
    pub task: &'a str,
    /// The lease under which it came; a new one starts new tracks, none continues those that there are.
    pub lease: Option<&'a str>,
    /// Time between two pictures of the task, where it is known.
    pub period: Option<Micros>,
    /// When the picture was captured.
    pub captured_at: WallTime,
    /// Whether it came out of order by more than is allowed; such a batch is counted and skipped.
    pub late: bool,
    /// What was seen.
    pub detections: &'a [Detection<'a>],
}

/// One thing that was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Detection<'a> {
    /// The object, as the worker follows it; without one zones do not see it.
    pub track: Option<&'a str>,
    /// What it is.
    pub label: Option<&'a str>,
    /// 0..1.
    pub confidence: Option<f64>,
    /// x, y, width and height; without one zones do not see it.
    pub bbox: Option<[f64; 4]>,
    /// When, where that differs from the batch.
    pub at: Option<WallTime>,
}

/// How much an engine holds and has skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantities {
    /// Tracks that are held.
    pub tracks: usize,
    /// Records of a track and a zone: inside, changing sides, crossing, or remembered by `loiter`.
    pub pairs: usize,
    /// Batches that were late.
    pub late_batches: u64,
}

/// The zones of one camera and all that happens in them.
///
/// ```
/// use heldar_base::WallTime;
/// use heldar_zones::{Batch, Detection, Engine, FactKind, Zone, ZoneFields};
///
/// let fields = ZoneFields {
///     name: "gate".to_owned(),
///     polygon: serde_json::json!([[0, 0], [1, 0], [1, 1], [0, 1]]),
///     config: serde_json::json!({"confirm_frames": 1}),
///     ..ZoneFields::default()
/// };
/// let start = WallTime(1_800_000_000_000_000);
/// let mut engine = Engine::new();
/// engine.set_zones(vec![Zone::new("zone_1", &fields)?], start);
/// let person = Detection { track: Some("7"), bbox: Some([0.4, 0.4, 0.1, 0.2]), ..Detection::default() };
/// let batch = Batch {
///     task_type: "detection",
///     task: "ai_1",
///     lease: None,
///     period: None,
///     captured_at: start,
///     late: false,
///     detections: &[person],
/// };
/// let output = engine.batch(&batch, start);
/// assert_eq!(output.facts[0].kind, FactKind::Enter);
/// # Ok::<(), heldar_zones::ZoneError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Engine {
    zones: Zones,
    tracks: Tracks,
    streams: Vec<Stream>,
    next_serial: u32,
    /// Grows with each set of zones.
    generation: u32,
    /// Everything up to here has happened.
    horizon: WallTime,
    /// Of the newest call.
    now: WallTime,
    late_batches: u64,
}

/// A detection that zones can see, of the one of its track in its picture that counts.
#[derive(Clone, Copy)]
struct Sight<'a> {
    at: WallTime,
    track: &'a str,
    label: &'a str,
    confidence: Option<f64>,
    bbox: Bbox,
    index: usize,
}

impl Engine {
    /// An engine without zones.
    pub fn new() -> Engine {
        Engine::default()
    }

    /// Takes in a batch at `now`. Times of detections ahead of `now` count as `now`.
    pub fn batch(&mut self, batch: &Batch<'_>, now: WallTime) -> Output {
        self.bring_to(now);
        if batch.late {
            self.late_batches = self.late_batches.saturating_add(1);
            return self.zones.take();
        }
        let sights = sights(batch, now);
        if let Some(first) = sights.first() {
            self.advance(self.horizon.max(first.at));
            let serial = self.stream(batch, first.at);
            let mut rest = sights.as_slice();
            while let Some(first) = rest.first() {
                let length = rest.partition_point(|sight| sight.at == first.at);
                let (together, later) = rest.split_at(length);
                self.advance(self.horizon.max(first.at));
                self.observe(serial, together);
                self.zones.settle(first.at);
                self.advance(self.horizon);
                rest = later;
            }
            self.bound();
        }
        self.zones.take()
    }

    /// Lets time pass up to `now`.
    pub fn tick(&mut self, now: WallTime) -> Output {
        self.bring_to(now);
        self.zones.take()
    }

    /// The first `now` at which a tick can be of use; `None`: never, as things are.
    pub fn next_deadline(&self) -> Option<WallTime> {
        let due = self.zones.due().into_iter().chain(self.tracks.due()).min()?;
        Some(due + SETTLE)
    }

    /// The zones, in the order in which they were set.
    pub fn zones(&self) -> impl ExactSizeIterator<Item = &Zone> {
        self.zones.slots.iter().map(|slot| &slot.zone)
    }

    /// Occupancy of all zones in use that were ever occupied.
    pub fn occupancy(&self) -> Vec<Occupancy> {
        self.zones.occupancy()
    }

    /// The counters of a line.
    pub fn counters(&self, zone_id: &str) -> Option<&Counters> {
        self.zones.slots.iter().find(|slot| **slot.zone.id() == *zone_id)?.counters.as_ref()
    }

    /// Starts the counters of a line anew at `now`.
    pub fn reset_counters(&mut self, zone_id: &str, now: WallTime) -> Output {
        self.bring_to(now);
        let at = (0u32..).zip(&self.zones.slots).find(|(_, slot)| **slot.zone.id() == *zone_id);
        if let Some((at, _)) = at {
            self.zones.reset(at, now);
        }
        self.zones.take()
    }

    /// Lets time pass to `at`, and starts all counters anew there.
    pub(crate) fn begin_counters(&mut self, at: WallTime) -> Output {
        self.advance(self.horizon.max(at));
        (0u32..).take(self.zones.slots.len()).for_each(|zone| self.zones.reset(zone, at));
        self.zones.take()
    }

    /// How much is held, and how much was skipped.
    pub fn quantities(&self) -> Quantities {
        let records = self.tracks.iter().flat_map(|(_, track)| &track.records);
        Quantities {
            tracks: self.tracks.len(),
            pairs: records.map(|record| record.pairs.len()).sum(),
            late_batches: self.late_batches,
        }
    }

    /// Lets everything happen that is certain at `now`.
    fn bring_to(&mut self, now: WallTime) {
        if now < self.now - SET_BACK || now - self.horizon > LEAP {
            let keys: Vec<TrackKey> = self.tracks.iter().map(|(key, _)| key.clone()).collect();
            keys.iter().for_each(|key| self.lose(key));
            self.zones.settle(now);
            self.zones.start_anew(now);
            self.zones.settle(now);
            self.horizon = now - SETTLE;
        }
        self.now = now;
        self.advance(self.horizon.max(now - SETTLE));
    }

    /// Lets every deadline up to `to` take effect.
    fn advance(&mut self, to: WallTime) {
        while let Some(due) = self.zones.due().into_iter().chain(self.tracks.due()).min()
            && due <= to
        {
            if self.zones.due().is_some_and(|zones| zones <= due) {
                for zone in self.zones.timers(due) {
                    self.turn(zone, due);
                }
            }
            while let Some(key) = self.tracks.pop(due) {
                self.fall_due(&key, due);
            }
            self.zones.settle(due);
        }
        self.horizon = self.horizon.max(to);
    }

    /// The stream of a batch that has something to see. A new lease ends the tracks of the one before.
    fn stream(&mut self, batch: &Batch<'_>, at: WallTime) -> u32 {
        let known = self
            .streams
            .iter()
            .position(|known| *known.task_type == *batch.task_type && *known.task == *batch.task);
        let position = known.unwrap_or_else(|| {
            if self.streams.len() >= IDLE_STREAMS {
                self.streams.retain(|stream| self.tracks.holds(stream.serial));
            }
            self.streams.push(Stream {
                serial: self.next_serial,
                task_type: batch.task_type.into(),
                task: batch.task.into(),
                lease: None,
                epoch: 0,
                period: Micros::ZERO,
            });
            self.next_serial = self.next_serial.wrapping_add(1);
            self.streams.len() - 1
        });
        let Some(stream) = self.streams.get_mut(position) else { return u32::MAX };
        if let Some(period) = batch.period {
            stream.period = period.max(Micros::ZERO);
        }
        let serial = stream.serial;
        if let Some(lease) = batch.lease
            && stream.lease.as_deref() != Some(lease)
        {
            let epoch = stream.epoch;
            stream.lease = Some(lease.into());
            stream.epoch = epoch.wrapping_add(1);
            for key in self.tracks.of(serial, epoch) {
                self.lose_moving(&key);
            }
            self.zones.settle(at);
        }
        serial
    }

    /// Ends a track as lost.
    fn lose(&mut self, key: &TrackKey) {
        let Some(mut track) = self.tracks.remove(key) else { return };
        let Some(stream) = self.streams.iter().find(|stream| stream.serial == key.stream) else { return };
        for record in &mut track.records {
            area::end_all(record, &mut self.zones, key, stream, Reason::Lost);
        }
    }

    /// Ends a track as lost, except for those that see it as a thing that stands there: what appears at its place under the
    /// next lease is the same thing.
    fn lose_moving(&mut self, key: &TrackKey) {
        let Some(stream) = self.streams.iter().find(|stream| stream.serial == key.stream) else { return };
        let Some(track) = self.tracks.get_mut(key) else { return };
        track.records.retain_mut(|record| {
            if record.motion != Motion::Suppressed {
                area::end_all(record, &mut self.zones, key, stream, Reason::Lost);
            }
            record.motion == Motion::Suppressed
        });
        if track.records.is_empty() {
            self.tracks.remove(key);
        }
    }

    /// Lets go of the tracks seen longest ago when there are too many.
    fn bound(&mut self) {
        let excess = self.tracks.oldest(MAX_TRACKS);
        if !excess.is_empty() {
            excess.iter().for_each(|key| self.lose(key));
            self.zones.settle(self.horizon);
            self.advance(self.horizon);
        }
    }

    /// What falls due for a track at `now`.
    fn fall_due(&mut self, key: &TrackKey, now: WallTime) {
        let Some(stream) = self.streams.iter().find(|stream| stream.serial == key.stream) else { return };
        let Some(track) = self.tracks.get_mut(key) else { return };
        let zones = &mut self.zones;
        let mut gone = Vec::new();
        track.records.retain_mut(|record| {
            let lost = zones.views.get(record.view as usize).is_none_or(|v| record.seen.last + v.lost <= now);
            if lost {
                area::end_all(record, zones, key, stream, Reason::Lost);
                gone.push(record.view);
            } else {
                area::fall_due(record, zones, key, stream, now);
            }
            !lost
        });
        let next = track.records.iter().filter_map(|record| area::due(record, zones)).min();
        gone.into_iter().for_each(|view| self.tracks.release(key, view));
        match next {
            Some(next) => self.tracks.queue(key, next),
            None => {
                self.tracks.remove(key);
            }
        }
    }

    /// A zone opened or closed at `now`.
    fn turn(&mut self, zone: u32, now: WallTime) {
        let streams = &self.streams;
        let mut changed = Vec::new();
        for (key, track) in self.tracks.iter_mut() {
            let Some(stream) = streams.iter().find(|stream| stream.serial == key.stream) else { continue };
            for record in &mut track.records {
                if area::turn(record, &mut self.zones, zone, key, stream, now) {
                    changed.push(key.clone());
                }
            }
        }
        self.requeue(&changed);
        self.zones.touch(zone, None);
    }

    /// Puts tracks into the queue by what they wait for now.
    fn requeue(&mut self, keys: &[TrackKey]) {
        for key in keys {
            let Some(track) = self.tracks.get_mut(key) else { continue };
            let due = track.records.iter().filter_map(|record| area::due(record, &self.zones)).min();
            match due {
                Some(due) => self.tracks.queue(key, due),
                None => {
                    self.tracks.remove(key);
                }
            }
        }
    }
}

/// What zones can see of a batch: in the order of time and, within an instant, of the batch. Of the same track twice at an
/// instant the higher confidence counts.
fn sights<'a>(batch: &Batch<'a>, now: WallTime) -> Vec<Sight<'a>> {
    let sight = |(index, detection): (usize, &Detection<'a>)| {
        Some(Sight {
            at: detection.at.unwrap_or(batch.captured_at).min(now),
            track: detection.track.filter(|track| !track.is_empty())?,
            label: detection.label.unwrap_or_default(),
            confidence: detection.confidence.filter(|confidence| !confidence.is_nan()),
            bbox: detection.bbox.and_then(Bbox::new)?,
            index,
        })
    };
    let mut sights: Vec<_> = batch.detections.iter().enumerate().filter_map(sight).collect();
    let sure = |sight: &Sight<'_>| sight.confidence.unwrap_or(-1.0);
    sights.sort_by(|a, b| {
        (a.at, a.track).cmp(&(b.at, b.track)).then(sure(b).total_cmp(&sure(a))).then(a.index.cmp(&b.index))
    });
    sights.dedup_by(|b, a| a.at == b.at && a.track == b.track);
    sights.sort_by_key(|sight| (sight.at, sight.index));
    sights
}

/// The text of `known` if it is the same one, so that it is kept only once.
fn shared(known: Option<&Arc<str>>, text: &str) -> Arc<str> {
    known.filter(|known| ***known == *text).cloned().unwrap_or_else(|| text.into())
}
