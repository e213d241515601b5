//! Detections become observations.
//!
//! Owns: which views see a detection, records of tracks as they begin and go on, what stands there. Never: what a zone makes
//! of it; `area` and `line` do.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::geometry::{Point, Rect};

use super::track::{Area, Motion, Pair, PairState, Record, Seen, TrackKey, Who};
use super::{Engine, Sight, area, line, shared};

impl Engine {
    /// Takes in what was seen at one instant by one task.
    pub(super) fn observe(&mut self, serial: u32, sights: &[Sight<'_>]) {
        let Some(stream) = self.streams.iter().find(|stream| stream.serial == serial).cloned() else {
            return;
        };
        let views = (0u32..).zip(&self.zones.views).filter(|(_, view)| view.sees_task(&stream.task_type));
        let views: Vec<u32> = views.map(|(at, _)| at).collect();
        let mut scratch = Vec::new();
        for sight in sights {
            let Sight { bbox, label, confidence, .. } = sight;
            if self.zones.hidden(bbox, label, &stream.task_type, &mut scratch) {
                continue;
            }
            let sees = |view: &u32| {
                self.zones.views.get(*view as usize).is_some_and(|view| view.sees(label, *confidence))
            };
            let seeing: Vec<u32> = views.iter().copied().filter(sees).collect();
            if seeing.is_empty() {
                continue;
            }
            let key = TrackKey { stream: serial, epoch: stream.epoch, id: sight.track.into() };
            let mut records = std::mem::take(&mut self.tracks.entry(&key).records);
            for view in seeing {
                self.observe_in(view, &key, &stream, sight, &mut records, &mut scratch);
            }
            self.tracks.entry(&key).records = records;
            self.requeue(&[key]);
        }
    }

    /// One view sees a detection.
    fn observe_in(
        &mut self,
        at: u32,
        key: &TrackKey,
        stream: &super::Stream,
        sight: &Sight<'_>,
        records: &mut Vec<Record>,
        hits: &mut Vec<u32>,
    ) {
        let Some(view) = self.zones.views.get(at as usize) else { return };
        let (anchor, is_line, standing) = (sight.bbox.anchor(view.anchor), view.line, view.standing);
        let position = records.iter().position(|record| record.view == at);
        let known = position.and_then(|position| records.get(position));
        let goes_on = match known {
            Some(record) if sight.at <= record.seen.last => return,
            Some(record) => !is_line || sight.at - record.seen.last <= stream.fresh(),
            None => false,
        };
        let before = known.map(|record| record.motion);
        if !goes_on {
            if before == Some(Motion::Suppressed) {
                self.tracks.release(key, at);
            }
            let near = standing.and_then(|s| self.tracks.standing(stream.serial, at, anchor, s.epsilon));
            let motion = if near.is_some() { Motion::Suppressed } else { Motion::Still };
            let origin = near.unwrap_or(anchor);
            if motion == Motion::Suppressed {
                self.tracks.suppress(key, at, origin);
            }
            let label: Arc<str> = sight.label.into();
            let seen = Seen {
                last: sight.at,
                bbox: sight.bbox,
                label,
                confidence: sight.confidence,
                path: VecDeque::new(),
            };
            let record = Record { view: at, first: sight.at, origin, motion, seen, pairs: Vec::new() };
            match position.and_then(|position| records.get_mut(position)) {
                Some(known) => *known = record,
                None => records.push(record),
            }
        }
        let Some(record) = records.iter_mut().find(|record| record.view == at) else { return };
        let from = record.seen.bbox.anchor(view.anchor);
        record.seen.last = sight.at;
        record.seen.bbox = sight.bbox;
        record.seen.confidence = sight.confidence;
        record.seen.label = shared(Some(&record.seen.label), sight.label);
        record.seen.walk(sight.at, anchor);
        let turned = moves(record, anchor, standing);
        let Record { seen, pairs, motion, origin, .. } = record;
        let who = Who { key, stream, seen, detection: Some(sight.index) };
        let zones = &mut self.zones;
        hits.clear();
        if is_line {
            zones.near(at, &Rect::around(&[from, anchor]), hits);
            if *motion == Motion::Suppressed {
                pairs.clear();
            } else {
                let waiting = |pair: &Pair| matches!(pair.state, PairState::Line(_)).then_some(pair.zone);
                hits.extend(pairs.iter().filter_map(waiting));
                hits.sort_unstable();
                hits.dedup();
                for zone in hits.iter() {
                    let waiting = pairs.iter().position(|pair| pair.zone == *zone).map(|at| pairs.remove(at));
                    let waiting = waiting.and_then(|pair| match pair.state {
                        PairState::Line(way) => Some(way),
                        PairState::Area(_) => None,
                    });
                    if let Some(way) = line::observe(waiting, *zone, from, anchor, &who, zones) {
                        pairs.push(Pair { zone: *zone, state: PairState::Line(way) });
                    }
                }
            }
        } else {
            zones.inside(at, &sight.bbox, hits);
            if *motion == Motion::Suppressed {
                for pair in pairs.iter_mut() {
                    if let PairState::Area(area) = &mut pair.state {
                        area::suppress(area, pair.zone, zones, &who);
                    }
                }
            }
            let known = pairs.len();
            for zone in hits.iter() {
                if !pairs.iter().take(known).any(|pair| pair.zone == *zone) {
                    pairs.push(Pair { zone: *zone, state: PairState::Area(Area::default()) });
                }
            }
            pairs.retain_mut(|pair| {
                let PairState::Area(area) = &mut pair.state else { return false };
                let raw = hits.binary_search(&pair.zone).is_ok();
                area::observe(area, pair.zone, raw, *motion, &who, zones);
                zones.slots.get(pair.zone as usize).is_some_and(|slot| !area::idle(area, slot, sight.at))
            });
        }
        let origin: Point = *origin;
        match turned {
            Some(Motion::Suppressed) => self.tracks.suppress(key, at, origin),
            Some(_) => self.tracks.release(key, at),
            None => {}
        }
    }
}

/// Whether a track stands or moves, after an observation. Answers what it changed to if something that stands there came to be
/// or ceased.
fn moves(record: &mut Record, anchor: Point, standing: Option<crate::config::Standing>) -> Option<Motion> {
    let standing = standing?;
    let before = record.motion;
    let far = record.origin.distance(anchor) >= standing.epsilon;
    record.motion = match record.motion {
        Motion::Still | Motion::Suppressed if far => Motion::Moved,
        Motion::Still if record.seen.last - record.first >= standing.after => Motion::Suppressed,
        motion => motion,
    };
    let stood = |motion| motion == Motion::Suppressed;
    (stood(before) != stood(record.motion)).then_some(record.motion)
}
