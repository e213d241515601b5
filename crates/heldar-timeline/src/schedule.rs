//! Windows of a week in civil time of a time zone: whether one is open, and when that changes next.
//!
//! Owns: days, times of day, windows past midnight, and what becomes of them when clocks change. Never: a clock, a zone by
//! its name, what an open window means.
//!
//! A window is a set of civil times. So a time that the clocks skip is the first instant after the jump, and what they show
//! twice is covered both times.

use heldar_base::WallTime;
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// Days that are looked at for the next change: a week, and as much as a change of clocks and a night may add.
const DAYS_AHEAD: i32 = 10;

/// From one time of day to another on some days of the week. Not later than `from`, `to` is on the day after; equal to it,
/// the window is a whole day long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeekWindow {
    /// Days on which it begins.
    pub days: Vec<Weekday>,
    /// When it begins.
    pub from: Time,
    /// When it ends; not part of it.
    pub to: Time,
}

impl WeekWindow {
    /// Whether a civil time lies in it.
    fn holds(&self, date: Date, time: Time) -> bool {
        let begins = |date: Date| self.days.contains(&date.weekday());
        if self.from < self.to {
            return begins(date) && self.from <= time && time < self.to;
        }
        (begins(date) && self.from <= time) || (time < self.to && date.yesterday().is_ok_and(begins))
    }
}

/// Windows in a time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    zone: TimeZone,
    windows: Vec<WeekWindow>,
}

/// Whether a window is open at an instant, and until when that stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Whether one is open.
    pub open: bool,
    /// First instant at which that is otherwise; `None`: for good.
    pub until: Option<WallTime>,
}

impl Opening {
    /// Open for good.
    pub const ALWAYS: Opening = Opening { open: true, until: None };
    /// Never open.
    pub const NEVER: Opening = Opening { open: false, until: None };
}

impl Schedule {
    /// Windows that hold in a zone; without any none is ever open.
    pub fn new(zone: TimeZone, windows: Vec<WeekWindow>) -> Self {
        Schedule { zone, windows }
    }

    /// Whether a window is open at an instant.
    pub fn is_open(&self, at: WallTime) -> bool {
        let civil = self.zone.to_datetime(timestamp(at));
        self.windows.iter().any(|window| window.holds(civil.date(), civil.time()))
    }

    /// The same, and until when.
    pub fn at(&self, at: WallTime) -> Opening {
        let open = self.is_open(at);
        let mut edges = self.edges(at);
        edges.sort_unstable();
        Opening { open, until: edges.into_iter().find(|edge| self.is_open(*edge) != open) }
    }

    /// Instants after `at` at which something may change: edges of windows, and changes of the clocks.
    fn edges(&self, at: WallTime) -> Vec<WallTime> {
        let now = timestamp(at);
        let today = self.zone.to_datetime(now).date();
        let last = today.checked_add(DAYS_AHEAD.days()).unwrap_or(Date::MAX);
        let mut times: Vec<Time> = self.windows.iter().flat_map(|window| [window.from, window.to]).collect();
        // Windows of a whole day meet at midnight, where days differ.
        times.push(Time::midnight());
        times.sort_unstable();
        times.dedup();
        let mut edges = Vec::new();
        for day in (-1..=DAYS_AHEAD).filter_map(|n| today.checked_add(n.days()).ok()) {
            for time in &times {
                let shown = self.zone.to_ambiguous_zoned(day.to_datetime(*time));
                // Skipped times are the jump, which is among the changes of the clocks.
                for of in [shown.clone().earlier(), shown.later()] {
                    edges.extend(of.ok().map(|of| wall(of.timestamp())));
                }
            }
        }
        let changes = self.zone.following(now).map(|change| change.timestamp());
        let near = changes.take_while(|change| self.zone.to_datetime(*change).date() <= last);
        edges.extend(near.map(wall));
        edges.retain(|edge| *edge > at);
        edges
    }
}

fn timestamp(at: WallTime) -> Timestamp {
    Timestamp::from_microsecond(at.0).unwrap_or_default()
}

fn wall(at: Timestamp) -> WallTime {
    WallTime(at.as_microsecond())
}
