//! The frames of one unit that are held for workers (perception.md 6.1).
//!
//! Owns: numbering, capture times that rise, which frames stay, what a pull is answered, and which frames of all units
//! go first when memory is short. Never: waiting (the shell waits until [`Ring::newest`] passes a number and asks again),
//! decoding, tickets.
//!
//! Invariants: `seq` rises by 1 with each picture and capture times by at least 1 ms; the newest frame of every task is
//! held whatever the bounds say; a frame that was handed out is whole for as long as somebody holds its `Arc`.

mod pull;
mod trim;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use heldar_base::{Micros, WallTime};

use crate::TaskId;

pub use pull::{Pick, Pull, Pulled, Selected, View, stale_after};
pub use trim::{PrioritizedRing, trim};

/// Frames that a ring holds unless set otherwise (`HELDAR_AI_RING_FRAMES`).
pub const DEFAULT_FRAMES: usize = 32;
/// Fewest and most frames of a ring.
pub const FRAMES: std::ops::RangeInclusive<usize> = 1..=512;
/// Least time between two frames of a unit.
const STEP: Micros = Micros::from_millis(1);
/// Picks of a task remembered to count what was skipped; a puller further behind than that is told of these only.
const REMEMBERED_PICKS: usize = 512;

/// One JPEG of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendition {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// The whole JPEG file.
    pub jpeg: Bytes,
}

/// For whom a picture was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PickedFor {
    /// The task.
    pub task: TaskId,
    /// Width of the rendition that is the task's.
    pub width: u32,
}

/// A picture on its way into the ring.
#[derive(Clone, Debug)]
pub struct NewFrame {
    /// When it was captured, by the clock of the stream.
    pub captured_at: WallTime,
    /// Presentation time on the media timeline, in microseconds.
    pub pts_us: i64,
    /// Number of the source's connection; media times of two of them have nothing in common.
    pub session: u64,
    /// At least one, each of another width.
    pub renditions: Vec<Rendition>,
    /// The tasks that it was picked for.
    pub picked: Vec<PickedFor>,
}

/// A picture in the ring; it never changes.
#[derive(Debug)]
pub struct Frame {
    /// Its number.
    pub seq: u64,
    /// When it was captured; at least 1 ms after the frame before.
    pub captured_at: WallTime,
    /// As in [`NewFrame`].
    pub pts_us: i64,
    /// As in [`NewFrame`].
    pub session: u64,
    /// From narrow to wide.
    pub renditions: Vec<Rendition>,
    /// As in [`NewFrame`].
    pub picked: Vec<PickedFor>,
}

impl Frame {
    /// The rendition that is the task's: the widest that is no wider than its own, else the narrowest. `None` when the
    /// picture was not picked for it.
    pub fn of_task(&self, task: TaskId) -> Option<&Rendition> {
        let picked = self.picked.iter().find(|picked| picked.task == task)?;
        let fitting = self.renditions.iter().rev().find(|r| r.width <= picked.width);
        fitting.or(self.renditions.first())
    }

    /// The widest rendition.
    pub fn widest(&self) -> Option<&Rendition> {
        self.renditions.last()
    }

    /// Bytes of all its JPEGs.
    pub fn bytes(&self) -> usize {
        self.renditions.iter().map(|r| r.jpeg.len()).sum()
    }
}

/// What the ring remembers of a task.
#[derive(Debug, Default)]
struct Picks {
    /// Numbers of the newest pictures picked for it, ascending; the last one is pinned.
    recent: VecDeque<u64>,
}

/// The frames of one unit.
#[derive(Debug)]
pub struct Ring {
    capacity: usize,
    /// Ascending by number.
    frames: VecDeque<Arc<Frame>>,
    tasks: BTreeMap<TaskId, Picks>,
    next_seq: u64,
    newest_at: Option<WallTime>,
    bytes: usize,
}

impl Ring {
    /// An empty ring of a unit that starts at `start`: the milliseconds since 1970 are its first number, so that numbers
    /// rise across restarts too. `capacity` is brought into [`FRAMES`].
    pub fn new(start: WallTime, capacity: usize) -> Self {
        Ring {
            capacity: capacity.clamp(*FRAMES.start(), *FRAMES.end()),
            frames: VecDeque::new(),
            tasks: BTreeMap::new(),
            next_seq: u64::try_from(start.0.div_euclid(1000)).unwrap_or(0),
            newest_at: None,
            bytes: 0,
        }
    }

    /// Takes a picture in and lets the oldest go; what it is from now on. `None` for a picture without a rendition.
    pub fn push(&mut self, new: NewFrame) -> Option<Arc<Frame>> {
        let mut renditions = new.renditions;
        if renditions.is_empty() {
            return None;
        }
        renditions.sort_by_key(|r| r.width);
        let earliest = self.newest_at.map_or(WallTime(i64::MIN), |at| at + STEP);
        let frame = Arc::new(Frame {
            seq: self.next_seq,
            captured_at: new.captured_at.max(earliest),
            pts_us: new.pts_us,
            session: new.session,
            renditions,
            picked: new.picked,
        });
        self.next_seq += 1;
        self.newest_at = Some(frame.captured_at);
        self.bytes += frame.bytes();
        for picked in &frame.picked {
            let recent = &mut self.tasks.entry(picked.task).or_default().recent;
            if recent.len() == REMEMBERED_PICKS {
                recent.pop_front();
            }
            recent.push_back(frame.seq);
        }
        self.frames.push_back(Arc::clone(&frame));
        self.drop_surplus();
        Some(frame)
    }

    /// Drops what is older than the newest `capacity` pictures and the newest of no task.
    fn drop_surplus(&mut self) {
        let mut at = 0;
        // The surplus is one frame and those that were pinned before, one for each task at most.
        while at + self.capacity < self.frames.len() {
            if self.frames.get(at).is_some_and(|frame| self.is_pinned(frame)) {
                at += 1;
            } else {
                self.remove(at);
            }
        }
    }

    fn is_pinned(&self, frame: &Frame) -> bool {
        let newest_of = |task| self.tasks.get(&task).and_then(|picks| picks.recent.back());
        frame.seq + 1 == self.next_seq || frame.picked.iter().any(|p| newest_of(p.task) == Some(&frame.seq))
    }

    fn remove(&mut self, at: usize) -> usize {
        let freed = self.frames.remove(at).map_or(0, |frame| frame.bytes());
        self.bytes = self.bytes.saturating_sub(freed);
        freed
    }

    /// Forgets all tasks but these, whose newest frames need not stay any longer.
    pub fn retain_tasks(&mut self, keep: impl Fn(TaskId) -> bool) {
        self.tasks.retain(|task, _| keep(*task));
        self.drop_surplus();
    }

    /// Holds so many pictures from now on, brought into [`FRAMES`].
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity.clamp(*FRAMES.start(), *FRAMES.end());
        self.drop_surplus();
    }

    /// Number of the newest picture of a view that is held.
    pub fn newest(&self, view: View) -> Option<u64> {
        match view {
            View::Whole => self.frames.back().map(|frame| frame.seq),
            View::Task(task) => self.tasks.get(&task)?.recent.back().copied(),
        }
    }

    /// Whether a picture of this task has ever been held.
    pub fn knows(&self, task: TaskId) -> bool {
        self.tasks.contains_key(&task)
    }

    /// The frame of this number, if it is still held; however old.
    pub fn frame(&self, seq: u64) -> Option<&Arc<Frame>> {
        let at = self.frames.binary_search_by_key(&seq, |frame| frame.seq).ok()?;
        self.frames.get(at)
    }

    /// The frame whose capture time in whole milliseconds is this one: what a ticket or a derived frame id names.
    pub fn captured_in(&self, captured_ms: i64) -> Option<&Arc<Frame>> {
        let ms = |frame: &Arc<Frame>| crate::ticket::captured_ms(frame.captured_at);
        let at = self.frames.partition_point(|frame| ms(frame) < captured_ms);
        self.frames.get(at).filter(|frame| ms(frame) == captured_ms)
    }

    /// The frame captured nearest to `at`, at most `within` away.
    pub fn nearest(&self, at: WallTime, within: Micros) -> Option<&Arc<Frame>> {
        let after = self.frames.partition_point(|frame| frame.captured_at < at);
        let around = [after.checked_sub(1), Some(after)].into_iter().flatten();
        let distance = |frame: &&Arc<Frame>| (frame.captured_at - at).abs();
        let nearest = around.filter_map(|at| self.frames.get(at)).min_by_key(distance);
        nearest.filter(|frame| distance(frame) <= within)
    }

    /// Bytes of all JPEGs held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Frames held.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// True before the first picture.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

#[cfg(test)]
mod tests;
