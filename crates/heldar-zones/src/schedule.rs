//! When a zone is in use and when its counters start anew, in civil time of a time zone.
//!
//! Owns: `schedule` and `counter_reset` of a zone's config, and the instants at which they change something. Never: what
//! happens then.
//!
//! A time that the clocks skip is the instant they skip to; of a time that they show twice the first is meant.

use heldar_base::{Interval, WallTime};
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan as _};
use serde_json::Value;

use crate::config::Keys;
use crate::zone::ZoneError;

/// Most windows of one schedule.
const MAX_WINDOWS: usize = 100;
/// Days that are looked at for the next change: a week and what may begin on its last day.
const DAYS_AHEAD: i32 = 9;

/// Windows of a week.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schedule {
    zone: TimeZone,
    windows: Vec<Window>,
}

/// From one time of day to another on some days; not later than `from`, `to` is on the day after.
#[derive(Clone, Debug, PartialEq)]
struct Window {
    days: Vec<Weekday>,
    from: Time,
    to: Time,
}

/// Whether a zone is in use, and until when that stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) open: bool,
    /// `None`: for good.
    pub(crate) until: Option<WallTime>,
}

impl Opening {
    /// In use for good.
    pub(crate) const ALWAYS: Opening = Opening { open: true, until: None };
}

impl Schedule {
    pub(crate) fn parse(keys: &Keys<'_>) -> Result<Schedule, ZoneError> {
        let path = keys.at("windows");
        let wrong = || ZoneError::new(path.as_str(), "is a list of 1 to 100 windows {days, from, to}");
        let list = keys.get("windows").as_array().ok_or_else(wrong)?;
        if !(1..=MAX_WINDOWS).contains(&list.len()) {
            return Err(wrong());
        }
        let window = |(index, value): (usize, &Value)| {
            let path = format!("{path}[{index}]");
            let keys = Keys::of(value, &path)?;
            Ok(Window { days: days(&keys)?, from: time_of_day(&keys, "from")?, to: end_of_day(&keys, "to")? })
        };
        Ok(Schedule {
            zone: time_zone(keys)?,
            windows: list.iter().enumerate().map(window).collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn at(&self, at: WallTime) -> Opening {
        let today = date(&self.zone, at);
        let mut spans: Vec<Interval> = Vec::new();
        for day in (-2..DAYS_AHEAD).filter_map(|n| today.checked_add(n.days()).ok()) {
            for window in self.windows.iter().filter(|window| window.days.contains(&day.weekday())) {
                let last = if window.to <= window.from { day.tomorrow() } else { Ok(day) };
                let start = instant(&self.zone, day, window.from);
                let end = last.ok().and_then(|last| instant(&self.zone, last, window.to));
                if let (Some(start), Some(end)) = (start, end)
                    && start < end
                {
                    spans.push(Interval::new(start, end));
                }
            }
        }
        spans.sort();
        let mut opening = Opening { open: false, until: None };
        for span in spans {
            match opening.until {
                _ if span.end <= at => {}
                _ if !opening.open && span.start > at => {
                    opening.until = Some(span.start);
                    break;
                }
                Some(until) if span.start > until => break,
                until => {
                    let end = until.map_or(span.end, |until| until.max(span.end));
                    opening = Opening { open: true, until: Some(end) };
                }
            }
        }
        opening
    }
}

/// A time of every day.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DailyReset {
    zone: TimeZone,
    at: Time,
}

impl DailyReset {
    pub(crate) fn parse(keys: &Keys<'_>) -> Result<DailyReset, ZoneError> {
        Ok(DailyReset { zone: time_zone(keys)?, at: time_of_day(keys, "at")? })
    }

    /// The first one behind `at`; `None` at the end of time.
    pub(crate) fn after(&self, at: WallTime) -> Option<WallTime> {
        let today = date(&self.zone, at);
        (-1..3)
            .filter_map(|n| instant(&self.zone, today.checked_add(n.days()).ok()?, self.at))
            .find(|reset| *reset > at)
    }
}

fn date(zone: &TimeZone, at: WallTime) -> Date {
    let stamp = Timestamp::from_microsecond(at.0).unwrap_or_default();
    zone.to_datetime(stamp).date()
}

fn instant(zone: &TimeZone, date: Date, time: Time) -> Option<WallTime> {
    let zoned = zone.to_ambiguous_zoned(date.to_datetime(time)).compatible().ok()?;
    Some(WallTime(zoned.timestamp().as_microsecond()))
}

fn time_zone(keys: &Keys<'_>) -> Result<TimeZone, ZoneError> {
    match keys.text("tz")? {
        None | Some("UTC") => Ok(TimeZone::UTC),
        Some(name) => TimeZoneDatabase::bundled().get(name).map_err(|_| {
            ZoneError::new(keys.at("tz"), "is not an IANA time zone, for example Europe/Berlin")
        }),
    }
}

/// `HH:MM`.
fn time_of_day(keys: &Keys<'_>, key: &str) -> Result<Time, ZoneError> {
    let parse = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let number = |text: &str| {
            let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse::<i8>().ok()).flatten()
        };
        Time::new(number(hour)?, number(minute)?, 0, 0).ok()
    };
    keys.get(key)
        .as_str()
        .and_then(parse)
        .ok_or_else(|| ZoneError::new(keys.at(key), "is a time of day HH:MM, 00:00 to 23:59"))
}

/// As [`time_of_day`]; `24:00` is the midnight that ends the day.
fn end_of_day(keys: &Keys<'_>, key: &str) -> Result<Time, ZoneError> {
    match keys.get(key).as_str() {
        Some("24:00") => Ok(Time::midnight()),
        _ => time_of_day(keys, key),
    }
}

/// Absent: every day.
fn days(keys: &Keys<'_>) -> Result<Vec<Weekday>, ZoneError> {
    const NAMES: [(&str, Weekday); 7] = [
        ("mon", Weekday::Monday),
        ("tue", Weekday::Tuesday),
        ("wed", Weekday::Wednesday),
        ("thu", Weekday::Thursday),
        ("fri", Weekday::Friday),
        ("sat", Weekday::Saturday),
        ("sun", Weekday::Sunday),
    ];
    let wrong = || ZoneError::new(keys.at("days"), "is a list of mon, tue, wed, thu, fri, sat, sun");
    let list = match keys.get("days") {
        Value::Null => return Ok(NAMES.map(|(_, day)| day).to_vec()),
        value => value.as_array().filter(|list| !list.is_empty()).ok_or_else(wrong)?,
    };
    let day =
        |value: &Value| NAMES.iter().find(|(name, _)| Some(*name) == value.as_str()).map(|(_, day)| *day);
    list.iter().map(|value| day(value).ok_or_else(wrong)).collect()
}

#[cfg(test)]
mod tests;
