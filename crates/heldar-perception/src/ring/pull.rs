//! What a pull gets: which frame of a view, or why none (perception.md 6.2, 6.3).

use std::sync::Arc;

use heldar_base::{Micros, WallTime};

use super::{Frame, Rendition, Ring};
use crate::TaskId;
use crate::task::period;

/// Oldest that a newest frame may be, at least.
const FRESH_FOR: Micros = Micros::from_secs(5);

/// Which pictures a pull sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// All of the unit's, in the largest width.
    Whole,
    /// Those picked for a task, in its width.
    Task(TaskId),
}

/// Which of several new pictures is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pick {
    /// The newest; those before are skipped.
    #[default]
    Newest,
    /// The oldest after `after` that is still held.
    Next,
}

/// One pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pull {
    /// What it sees.
    pub view: View,
    /// Only frames with a higher number; one above the newest of the unit counts as absent.
    pub after: Option<u64>,
    /// Which of them.
    pub pick: Pick,
    /// Exactly this frame; `after` and `pick` then say nothing.
    pub seq: Option<u64>,
}

/// The frame for a pull.
#[derive(Clone, Debug)]
pub struct Selected {
    /// The picture.
    pub frame: Arc<Frame>,
    /// Its JPEG of the view's width.
    pub rendition: Rendition,
    /// Pictures of the view between `after` and this one; 0 without `after`.
    pub skipped: u64,
}

/// The answer to a pull.
#[derive(Clone, Debug)]
pub enum Pulled {
    /// This frame.
    Frame(Selected),
    /// The view has nothing after `after`, which worked up to this number. Worth waiting for.
    NothingNewer {
        /// The newest of the view.
        newest: u64,
    },
    /// The view has had no picture yet. Worth waiting for.
    Nothing,
    /// The source has stopped; its last picture is not to be served. Worth waiting for.
    Stale {
        /// When the last picture was captured.
        stopped: WallTime,
    },
    /// The frame asked for by its number is not held, or not of this view.
    Evicted,
}

/// How old the newest frame of a view of this rate may be and still be served.
pub fn stale_after(effective_fps: f64) -> Micros {
    FRESH_FOR.max(Micros(period(effective_fps).0.saturating_mul(5)))
}

impl Ring {
    /// Answers a pull at `now`. `fresh_for` is [`stale_after`] of the view's rate.
    pub fn pull(&self, pull: &Pull, now: WallTime, fresh_for: Micros) -> Pulled {
        let Some(newest) = self.newest(pull.view).and_then(|seq| self.frame(seq)) else {
            return if pull.seq.is_some() { Pulled::Evicted } else { Pulled::Nothing };
        };
        if now - newest.captured_at > fresh_for {
            return Pulled::Stale { stopped: newest.captured_at };
        }
        if let Some(seq) = pull.seq {
            let held = self.frame(seq).and_then(|frame| select(frame, pull.view, 0));
            return held.map_or(Pulled::Evicted, Pulled::Frame);
        }
        let after = pull.after.filter(|after| *after < self.next_seq);
        if after.is_some_and(|after| after >= newest.seq) {
            return Pulled::NothingNewer { newest: newest.seq };
        }
        let chosen = match (pull.pick, after) {
            (Pick::Newest, _) | (Pick::Next, None) => newest,
            (Pick::Next, Some(after)) => self.first_after(pull.view, after).unwrap_or(newest),
        };
        let skipped = after.map_or(0, |after| self.between(pull.view, after, chosen.seq));
        select(chosen, pull.view, skipped).map_or(Pulled::Nothing, Pulled::Frame)
    }

    fn first_after(&self, view: View, after: u64) -> Option<&Arc<Frame>> {
        let from = self.frames.partition_point(|frame| frame.seq <= after);
        self.frames.range(from..).find(|frame| rendition(frame, view).is_some())
    }

    /// How many pictures of the view lie between two numbers, without them.
    fn between(&self, view: View, after: u64, before: u64) -> u64 {
        match view {
            View::Whole => before.saturating_sub(after).saturating_sub(1),
            View::Task(task) => self.tasks.get(&task).map_or(0, |picks| {
                let from = picks.recent.partition_point(|seq| *seq <= after);
                let to = picks.recent.partition_point(|seq| *seq < before);
                to.saturating_sub(from) as u64
            }),
        }
    }
}

fn rendition(frame: &Frame, view: View) -> Option<&Rendition> {
    match view {
        View::Whole => frame.widest(),
        View::Task(task) => frame.of_task(task),
    }
}

fn select(frame: &Arc<Frame>, view: View, skipped: u64) -> Option<Selected> {
    let rendition = rendition(frame, view)?.clone();
    Some(Selected { frame: Arc::clone(frame), rendition, skipped })
}
