//! What is remembered of tracks.
//!
//! Owns: records of tracks, the order in which they fall due, and how many there may be. Never: what a zone makes of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use heldar_base::{Micros, WallTime};

use crate::config::Anchor;
use crate::fact::Fact;
use crate::geometry::{Point, Way};
use crate::shape::Bbox;

/// A path reaches back so far.
const PATH: Micros = Micros::from_secs(1);
/// Most observations of a path; of faster tasks it reaches back less.
const PATH_LENGTH: usize = 32;

/// Results of one task.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stream {
    pub(super) serial: u32,
    pub(super) task_type: Arc<str>,
    pub(super) task: Arc<str>,
    /// Under which they come.
    pub(super) lease: Option<Arc<str>>,
    /// Grows with each lease, so that a name means another track under each.
    pub(super) epoch: u32,
    pub(super) period: Micros,
}

impl Stream {
    /// Not seen for longer is not there, to what must not be told of somebody who may have gone.
    pub(super) fn fresh(&self) -> Micros {
        Micros::from_secs(5).max(Micros(self.period.0.saturating_mul(3)))
    }
}

/// What tells a track from others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TrackKey {
    pub(super) stream: u32,
    pub(super) epoch: u32,
    pub(super) id: Arc<str>,
}

/// One track in all views that see it.
#[derive(Clone, Debug, Default)]
pub(super) struct Track {
    /// Its place in the queue: not behind its first deadline.
    queued: Option<WallTime>,
    pub(super) records: Vec<Record>,
}

impl Track {
    fn seen(&self) -> WallTime {
        self.records.iter().map(|record| record.seen.last).max().unwrap_or(WallTime::EPOCH)
    }
}

/// Whether a track moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Motion {
    /// It never went far from its origin.
    Still,
    /// That has been so for long: it is a thing that stands there.
    Suppressed,
    /// It went far once.
    Moved,
}

/// One track as one view sees it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) view: u32,
    pub(super) first: WallTime,
    pub(super) origin: Point,
    pub(super) motion: Motion,
    pub(super) seen: Seen,
    pub(super) pairs: Vec<Pair>,
}

/// How a track was last seen.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) last: WallTime,
    pub(super) bbox: Bbox,
    pub(super) label: Arc<str>,
    pub(super) confidence: Option<f64>,
    /// Anchors of the last second, oldest first.
    pub(super) path: VecDeque<(WallTime, Point)>,
}

impl Seen {
    pub(super) fn walk(&mut self, at: WallTime, anchor: Point) {
        self.path.push_back((at, anchor));
        while self.path.len() > PATH_LENGTH || self.path.front().is_some_and(|(first, _)| *first < at - PATH)
        {
            self.path.pop_front();
        }
    }

    /// Direction and speed in the second before `at`.
    fn motion(&self, at: WallTime) -> (Option<f64>, Option<f64>) {
        let first = self.path.iter().find(|(time, _)| *time >= at - PATH);
        let (Some((start, from)), Some((end, to))) = (first, self.path.back()) else { return (None, None) };
        if end <= start {
            return (None, None);
        }
        let distance = from.distance(*to);
        let degrees = (to.y - from.y).atan2(to.x - from.x).to_degrees().rem_euclid(360.0);
        ((distance > 0.0).then_some(degrees), Some(distance / (*end - *start).as_secs_f64()))
    }
}

/// One track and one zone.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// Position of the zone.
    pub(super) zone: u32,
    pub(super) state: PairState,
}

/// What is between them.
#[derive(Clone, Debug)]
pub(super) enum PairState {
    /// An area.
    Area(Area),
    /// A line was crossed this way, and the track has not cleared it yet.
    Line(Way),
}

/// A track in or near an area.
#[derive(Clone, Debug, Default)]
pub(super) struct Area {
    pub(super) inside: bool,
    /// Observations in a row that say otherwise.
    pub(super) differing: u8,
    pub(super) visit: Option<Visit>,
    pub(super) loiter: Option<Stay>,
}

/// A visit that was told.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    pub(super) since: WallTime,
    pub(super) dwell: Telling,
    /// With which it counts in occupancy.
    pub(super) label: Arc<str>,
}

/// Whether something that falls due once was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Telling {
    /// Its time has not come.
    #[default]
    Ahead,
    /// When it came the track was out of sight; the next observation inside tells it.
    Missed,
    /// It was.
    Told,
}

/// Visits added up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stay {
    /// Of visits that ended.
    pub(super) sum: Micros,
    /// When the last of them ended.
    pub(super) left: WallTime,
    /// The sum that is told next; [`Micros::MAX`]: none.
    pub(super) next: Micros,
    /// When it was reached the track was out of sight.
    pub(super) missed: bool,
}

/// Of whom a fact is.
pub(super) struct Who<'a> {
    pub(super) key: &'a TrackKey,
    pub(super) stream: &'a Stream,
    pub(super) seen: &'a Seen,
    /// What made it; none: time did.
    pub(super) detection: Option<usize>,
}

impl Who<'_> {
    pub(super) fn label(&self) -> &Arc<str> {
        &self.seen.label
    }

    /// Puts the track's name and looks on a fact.
    pub(super) fn sign(&self, fact: &mut Fact, anchor: Anchor) {
        let point = self.seen.bbox.anchor(anchor);
        let (direction_deg, speed) = self.seen.motion(fact.at);
        fact.task_type = Some(self.stream.task_type.clone());
        fact.task = Some(self.stream.task.clone());
        fact.track = Some(self.key.id.clone());
        fact.label = Some(self.seen.label.clone());
        fact.confidence = self.seen.confidence;
        fact.anchor = Some([point.x, point.y]);
        fact.bbox = Some(self.seen.bbox.sides());
        fact.direction_deg = direction_deg;
        fact.speed = speed;
        fact.detection = self.detection;
    }
}

/// All tracks of a camera.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracks {
    map: BTreeMap<TrackKey, Track>,
    queue: BTreeSet<(WallTime, TrackKey)>,
    /// Origins of things that stand there, by stream and view.
    suppressed: BTreeMap<(u32, u32, TrackKey), Point>,
}

impl Tracks {
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&TrackKey, &Track)> {
        self.map.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&TrackKey, &mut Track)> {
        self.map.iter_mut()
    }

    pub(super) fn get_mut(&mut self, key: &TrackKey) -> Option<&mut Track> {
        self.map.get_mut(key)
    }

    /// The track, made if there is none.
    pub(super) fn entry(&mut self, key: &TrackKey) -> &mut Track {
        self.map.entry(key.clone()).or_default()
    }

    /// All of them, which are gone from here then.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (TrackKey, Vec<Record>)> + use<> {
        let tracks = std::mem::take(self).map;
        tracks.into_iter().map(|(key, track)| (key, track.records))
    }

    /// Puts a track that is not queued.
    pub(super) fn put(&mut self, key: TrackKey, records: Vec<Record>) {
        self.map.insert(key, Track { queued: None, records });
    }

    /// Names of the tracks of a stream, of one epoch.
    pub(super) fn of(&self, stream: u32, epoch: u32) -> Vec<TrackKey> {
        let first = TrackKey { stream, epoch, id: "".into() };
        let own = |key: &&TrackKey| key.stream == stream && key.epoch == epoch;
        self.map.range(first..).map(|(key, _)| key).take_while(own).cloned().collect()
    }

    /// Whether anything of a stream is remembered.
    pub(super) fn holds(&self, stream: u32) -> bool {
        let first = TrackKey { stream, epoch: 0, id: "".into() };
        self.map.range(first..).next().is_some_and(|(key, _)| key.stream == stream)
    }

    /// When the first track falls due.
    pub(super) fn due(&self) -> Option<WallTime> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the first track out of the queue if it is due.
    pub(super) fn pop(&mut self, now: WallTime) -> Option<TrackKey> {
        self.queue.first().filter(|(at, _)| *at <= now)?;
        let (_, key) = self.queue.pop_first()?;
        if let Some(track) = self.map.get_mut(&key) {
            track.queued = None;
        }
        Some(key)
    }

    /// Puts a track into the queue for `at`. One that is queued earlier stays there, and is looked at again then.
    pub(super) fn queue(&mut self, key: &TrackKey, at: WallTime) {
        let Some(track) = self.map.get_mut(key) else { return };
        match track.queued {
            Some(queued) if queued <= at => return,
            Some(queued) => {
                self.queue.remove(&(queued, key.clone()));
            }
            None => {}
        }
        track.queued = Some(at);
        self.queue.insert((at, key.clone()));
    }

    /// Forgets a track.
    pub(super) fn remove(&mut self, key: &TrackKey) -> Option<Track> {
        let track = self.map.remove(key)?;
        if let Some(queued) = track.queued {
            self.queue.remove(&(queued, key.clone()));
        }
        for record in track.records.iter().filter(|record| record.motion == Motion::Suppressed) {
            self.suppressed.remove(&(key.stream, record.view, key.clone()));
        }
        Some(track)
    }

    /// Remembers that a thing stands there.
    pub(super) fn suppress(&mut self, key: &TrackKey, view: u32, origin: Point) {
        self.suppressed.insert((key.stream, view, key.clone()), origin);
    }

    /// It does not stand there any more.
    pub(super) fn release(&mut self, key: &TrackKey, view: u32) {
        self.suppressed.remove(&(key.stream, view, key.clone()));
    }

    /// The origin of the nearest thing within `epsilon` that stands there, as a view sees the tracks of a stream.
    pub(super) fn standing(&self, stream: u32, view: u32, at: Point, epsilon: f64) -> Option<Point> {
        let first = (stream, view, TrackKey { stream, epoch: 0, id: "".into() });
        let own = self.suppressed.range(first..).take_while(|((s, v, _), _)| *s == stream && *v == view);
        let near = own.map(|(_, origin)| (origin.distance(at), *origin));
        let order = |a: &(f64, Point), b: &(f64, Point)| {
            a.0.total_cmp(&b.0).then(a.1.x.total_cmp(&b.1.x)).then(a.1.y.total_cmp(&b.1.y))
        };
        let nearest = near.filter(|(distance, _)| *distance < epsilon).min_by(order);
        nearest.map(|(_, origin)| origin)
    }

    /// Learns from the records what stands there.
    pub(super) fn find_standing(&mut self) {
        self.suppressed.clear();
        for (key, track) in &self.map {
            for record in track.records.iter().filter(|record| record.motion == Motion::Suppressed) {
                self.suppressed.insert((key.stream, record.view, key.clone()), record.origin);
            }
        }
    }

    /// The tracks that were seen longest ago, so many that `most` remain; oldest first.
    pub(super) fn oldest(&self, most: usize) -> Vec<TrackKey> {
        let excess = self.map.len().saturating_sub(most);
        if excess == 0 {
            return Vec::new();
        }
        let mut by_age: Vec<_> = self.map.iter().map(|(key, track)| (track.seen(), key)).collect();
        by_age.sort_unstable();
        by_age.into_iter().take(excess).map(|(_, key)| key.clone()).collect()
    }
}
