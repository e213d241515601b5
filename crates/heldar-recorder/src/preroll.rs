//! The newest pictures and sound of streams that may have to be recorded, in memory.
//!
//! Owns: what of each stream is held, and that all of them together hold no more than they may; what was recorded goes out
//! in order and once. Contract: a ring begins with a sync sample; it holds references, not copies. When memory is short, the
//! ring that holds most gives way. Never: a clock, a thread, a decision about what is recorded.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use heldar_base::{Interval, Micros, WallTime};
use heldar_media::{AccessUnit, TrackKind};

/// What a unit takes beside its payload.
const OVERHEAD: usize = 256;

/// The rings of all streams, by their names.
#[derive(Debug)]
pub struct PreRolls<K> {
    rings: HashMap<K, Ring>,
    limit_bytes: usize,
    held_bytes: usize,
}

#[derive(Debug, Default)]
struct Ring {
    units: VecDeque<Arc<AccessUnit>>,
    /// Number of the first unit; numbers rise by one and are never used twice.
    first: u64,
    /// Numbers of the sync samples that are held.
    starts: VecDeque<u64>,
    bytes: usize,
    /// How far it is to reach back; `None`: it is to go.
    span: Option<Micros>,
    newest: Option<WallTime>,
    /// The next unit to be recorded, while recording has not caught up.
    next: Option<u64>,
    /// Units that were to be recorded had to give way.
    is_torn: bool,
    /// What was recorded last.
    recorded: Option<Interval>,
}

/// What is to be recorded next.
#[derive(Clone, Debug)]
pub enum Held {
    /// This unit.
    Unit(Arc<AccessUnit>),
    /// Units are missing here; what follows begins with a sync sample.
    Torn,
}

impl<K: Hash + Eq + Clone> PreRolls<K> {
    /// No rings; all of them together hold so many bytes at most.
    pub fn new(limit_bytes: usize) -> Self {
        PreRolls { rings: HashMap::new(), limit_bytes, held_bytes: 0 }
    }

    /// Bytes that are held.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Holds a stream from now on, so far back; `None`: no longer than it takes to hand out what is to be recorded yet.
    pub fn keep(&mut self, key: &K, span: Option<Micros>) {
        if let Some(span) = span {
            self.rings.entry(key.clone()).or_default().span = Some(span);
        } else if let Some(ring) = self.rings.get_mut(key) {
            ring.span = None;
            self.leave(key);
        }
    }

    /// Lets a ring go that is not wanted any more and has nothing to hand out.
    fn leave(&mut self, key: &K) {
        let is_over = |ring: &Ring| ring.span.is_none() && ring.next.is_none() && !ring.is_torn;
        if self.rings.get(key).is_some_and(is_over)
            && let Some(ring) = self.rings.remove(key)
        {
            self.held_bytes -= ring.bytes;
        }
    }

    /// Nothing that comes has to do with what is held.
    pub fn clear(&mut self, key: &K) {
        if let Some(ring) = self.rings.get_mut(key) {
            self.held_bytes -= ring.bytes;
            *ring = Ring { span: ring.span, ..Ring::default() };
            self.leave(key);
        }
    }

    /// Takes the next unit of a stream; one that is not held is none of ours.
    pub fn push(&mut self, key: &K, unit: &Arc<AccessUnit>) {
        let Some(ring) = self.rings.get_mut(key) else { return };
        let before = ring.bytes;
        ring.push(unit);
        ring.trim();
        self.held_bytes = self.held_bytes + ring.bytes - before;
        while self.held_bytes > self.limit_bytes {
            let Some(largest) = self.rings.values_mut().max_by_key(|ring| ring.bytes) else { return };
            let before = largest.bytes;
            largest.give_way();
            self.held_bytes -= before - largest.bytes;
        }
    }

    /// Hands out what was captured at `from` or later, back to the sync sample before, but nothing from before `floor`. The
    /// first instant of that, if anything is held.
    pub fn start(&mut self, key: &K, from: WallTime, floor: WallTime) -> Option<WallTime> {
        let ring = self.rings.get_mut(key)?;
        let at = ring.start_at(from)?;
        let skip = ring.from(at).take_while(|unit| unit.captured_at < floor).count() as u64;
        ring.next = (at + skip < ring.end()).then_some(at + skip);
        ring.next.and_then(|next| ring.get(next)).map(|unit| unit.captured_at)
    }

    /// Whether units are still to be handed out.
    pub fn is_read(&self, key: &K) -> bool {
        self.rings.get(key).is_some_and(|ring| ring.next.is_some() || ring.is_torn)
    }

    /// The next unit that is to be recorded.
    pub fn next(&mut self, key: &K) -> Option<Held> {
        let ring = self.rings.get_mut(key)?;
        if std::mem::take(&mut ring.is_torn) {
            self.leave(key);
            return Some(Held::Torn);
        }
        let next = ring.next?;
        let unit = ring.get(next).cloned();
        ring.next = (next + 1 < ring.end()).then_some(next + 1);
        self.leave(key);
        unit.map(Held::Unit)
    }

    /// What was recorded last of a stream; what is held may follow on it.
    pub fn recorded(&mut self, key: &K, footage: Interval) {
        if let Some(ring) = self.rings.get_mut(key) {
            ring.recorded = Some(footage);
        }
    }

    /// First instant of what is there without a break up to now, from `from` on: recorded or held.
    pub fn reach(&self, key: &K, from: WallTime) -> Option<WallTime> {
        let ring = self.rings.get(key)?;
        let held = ring.get(ring.start_at(from)?)?.captured_at;
        let adjoins = |footage: &Interval| footage.end >= held && footage.start < held && from < held;
        Some(ring.recorded.filter(adjoins).map_or(held, |footage| footage.start.max(from)))
    }
}

impl Ring {
    fn end(&self) -> u64 {
        self.first + self.units.len() as u64
    }

    fn get(&self, number: u64) -> Option<&Arc<AccessUnit>> {
        self.units.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    fn from(&self, number: u64) -> impl Iterator<Item = &Arc<AccessUnit>> {
        let skip = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.units.iter().skip(skip)
    }

    /// The newest sync sample at or before an instant, or else the first.
    fn start_at(&self, from: WallTime) -> Option<u64> {
        let reaches = |start: &&u64| self.get(**start).is_some_and(|unit| unit.captured_at <= from);
        self.starts.iter().rev().find(reaches).or(self.starts.front()).copied()
    }

    fn push(&mut self, unit: &Arc<AccessUnit>) {
        if unit.track == TrackKind::Video && unit.sync.is_sync() {
            self.starts.push_back(self.end());
        } else if self.units.is_empty() {
            self.first += 1;
            return;
        }
        if unit.track == TrackKind::Video {
            self.newest = self.newest.max(Some(unit.captured_at));
        }
        self.bytes += unit.payload.len() + OVERHEAD;
        if self.next.is_none() && self.is_torn {
            self.next = Some(self.end());
        }
        self.units.push_back(unit.clone());
    }

    /// Drops what lies further back than it is to reach, and is not to be recorded.
    fn trim(&mut self) {
        let Some(newest) = self.newest else { return };
        let span = self.span.unwrap_or(Micros::ZERO);
        while let Some(second) = self.starts.get(1).copied() {
            let is_enough = self.get(second).is_some_and(|unit| unit.captured_at <= newest - span);
            if !is_enough || self.next.is_some_and(|next| next < second) {
                return;
            }
            self.drop_to(second);
        }
    }

    /// Drops its oldest pictures up to a sync sample.
    fn give_way(&mut self) {
        let to = self.starts.get(1).copied().unwrap_or_else(|| self.end());
        if self.next.is_some_and(|next| next < to) {
            self.is_torn = true;
            self.next = (to < self.end()).then_some(to);
        }
        self.drop_to(to);
    }

    fn drop_to(&mut self, number: u64) {
        while self.first < number {
            let Some(unit) = self.units.pop_front() else { break };
            self.bytes -= unit.payload.len() + OVERHEAD;
            self.first += 1;
        }
        while self.starts.front().is_some_and(|start| *start < self.first) {
            self.starts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
