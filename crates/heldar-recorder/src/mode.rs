//! What is to be recorded of a camera, and when that changes: its mode, its schedule, what has happened.
//!
//! Owns: whether recording is wanted at an instant and why not, whether a session is needed for what may come, and up to
//! when pictures are taken (media.md 14). Never: reads a clock, decides what counts as something that happens.

use heldar_base::{Micros, NotWanted, WallTime};
use heldar_timeline::{Opening, Schedule};

/// How long before a window its session is prepared, so that the first picture of the window is recorded.
const AHEAD: Micros = Micros::from_secs(15);
/// How long after a window its session stays: its last pictures are on their way.
const AFTER: Micros = Micros::from_secs(5);
/// What is held of a stream at least, so that what is wanted again goes on where it ended.
const LEAST: Micros = Micros::from_secs(2);
/// Changes that are looked ahead for the end of what is recorded; it is looked again at each of them.
const LOOK: usize = 16;

/// When a camera is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Always.
    Continuous,
    /// While its schedule has a window open.
    Scheduled,
    /// When something happens.
    Event,
    /// Both of these.
    ScheduledEvent,
}

impl Mode {
    fn is_scheduled(self) -> bool {
        matches!(self, Mode::Scheduled | Mode::ScheduledEvent)
    }

    /// Whether something that happens starts a recording.
    pub fn has_trigger(self) -> bool {
        matches!(self, Mode::Event | Mode::ScheduledEvent)
    }
}

/// Recording that something started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TriggerWindow {
    /// When it happened.
    pub opened_at: WallTime,
    /// What was captured from here on is part of it: the pre-roll.
    pub from: WallTime,
    /// Pictures from here on are not.
    pub end: WallTime,
}

impl TriggerWindow {
    /// Whether it is open at an instant.
    pub fn is_open(&self, at: WallTime) -> bool {
        self.opened_at <= at && at < self.end
    }
}

/// What a camera owes at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Footage.
    Wanted,
    /// A session, for something may happen at any time.
    Armed,
    /// Nothing.
    Idle(NotWanted),
}

impl Demand {
    /// Why recording is not wanted, if it is not.
    pub fn not_wanted(self) -> Option<NotWanted> {
        match self {
            Demand::Wanted => None,
            Demand::Armed => Some(NotWanted::AwaitingTrigger),
            Demand::Idle(why) => Some(why),
        }
    }
}

/// Which pictures are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Take {
    /// Captured at this instant or later, back to the sync sample before, as far as memory reaches.
    pub from: WallTime,
    /// Captured before.
    pub until: WallTime,
}

/// What a camera is to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orders {
    /// Whether it needs a session.
    pub session: bool,
    /// What of it is recorded.
    pub take: Option<Take>,
    /// How much of it is kept in memory.
    pub keep: Option<Micros>,
    /// When they change, at the latest.
    pub until: Option<WallTime>,
}

impl Orders {
    /// What is not recorded.
    pub const NOTHING: Orders = Orders { session: false, take: None, keep: None, until: None };
}

/// How the present demand came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// First instant of it.
    pub at: WallTime,
    /// It follows on recording that ended in its time, not by an edit.
    pub is_end: bool,
}

/// How a camera is to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// It is switched off, for this reason.
    pub off: Option<NotWanted>,
    /// When it is recorded.
    pub mode: Mode,
    /// Its windows.
    pub schedule: Schedule,
    /// What happened last.
    pub window: Option<TriggerWindow>,
    /// How much before something that happens is recorded.
    pub pre_roll: Micros,
}

impl Plan {
    /// Whether something that happens starts a recording now.
    pub fn is_armed(&self) -> bool {
        self.off.is_none() && self.mode.has_trigger()
    }

    fn opening(&self, at: WallTime) -> Opening {
        if self.mode.is_scheduled() { self.schedule.at(at) } else { Opening::NEVER }
    }

    /// What is owed at an instant, and when that may change next.
    pub fn demand(&self, at: WallTime) -> (Demand, Option<WallTime>) {
        if let Some(why) = self.off {
            return (Demand::Idle(why), None);
        }
        if self.mode == Mode::Continuous {
            return (Demand::Wanted, None);
        }
        let opening = self.opening(at);
        let window = self.window.filter(|_| self.mode.has_trigger());
        let edge =
            window.and_then(|window| [window.opened_at, window.end].into_iter().find(|edge| *edge > at));
        let until = [opening.until, edge].into_iter().flatten().min();
        let demand = if opening.open || window.is_some_and(|window| window.is_open(at)) {
            Demand::Wanted
        } else if self.mode.has_trigger() {
            Demand::Armed
        } else {
            Demand::Idle(NotWanted::OutsideSchedule)
        };
        (demand, until)
    }

    /// What is to be done at an instant. `since`: how the demand of that instant came about.
    pub fn orders(&self, now: WallTime, since: Since) -> Orders {
        let (demand, change) = self.demand(now);
        if self.off.is_some() || self.mode == Mode::Continuous {
            let take =
                (demand == Demand::Wanted).then_some(Take { from: since.at, until: WallTime::FAR_FUTURE });
            return Orders { session: take.is_some(), take, keep: None, until: None };
        }
        let opens = self.opening(now);
        let prepares_at = opens.until.filter(|_| !opens.open).map(|opens| opens - AHEAD);
        let is_prepared = prepares_at.is_some_and(|at| at <= now);
        let stays_until = Some(since.at + AFTER).filter(|at| since.is_end && *at > now);
        let take = match demand {
            Demand::Wanted => {
                let before = self.window.filter(|window| window.is_open(now)).map(|window| window.from);
                Some(Take { from: before.unwrap_or(since.at).min(since.at), until: self.wanted_until(now) })
            }
            _ => stays_until.map(|_| {
                let before = self.window.filter(|window| window.end == since.at).map(|window| window.from);
                Take { from: before.unwrap_or(since.at), until: since.at }
            }),
        };
        let session = take.is_some() || self.mode.has_trigger() || is_prepared;
        let pre_roll = if demand == Demand::Armed { self.pre_roll } else { Micros::ZERO };
        let later = prepares_at.filter(|at| *at > now);
        let until = [change, later, stays_until].into_iter().flatten().min();
        Orders { session, take, keep: session.then_some(pre_roll.max(LEAST)), until }
    }

    /// When what is wanted now ceases to be.
    fn wanted_until(&self, now: WallTime) -> WallTime {
        let mut at = now;
        for _ in 0..LOOK {
            match self.demand(at) {
                (Demand::Wanted, Some(change)) => at = change,
                (Demand::Wanted, None) => return WallTime::FAR_FUTURE,
                _ => return at,
            }
        }
        at
    }
}

#[cfg(test)]
mod tests;
