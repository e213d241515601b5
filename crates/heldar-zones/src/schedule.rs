//! When a zone is in use and when its counters start anew, in civil time of a time zone.
//!
//! Owns: `schedule` and `counter_reset` of a zone's config as they are written down, and the instants of resets. Never: what
//! happens then, or what becomes of windows when clocks change, which `heldar-timeline` decides.
//!
//! Of a time of a reset that the clocks show twice the first is meant; one that they skip moves on by as much as they do.

use heldar_base::WallTime;
use heldar_timeline::WeekWindow;
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan as _};
use serde_json::Value;

use crate::config::Keys;
use crate::zone::ZoneError;

pub(crate) use heldar_timeline::Opening;

/// Most windows of one schedule.
const MAX_WINDOWS: usize = 100;

/// Windows of a week.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schedule(heldar_timeline::Schedule);

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
            Ok(WeekWindow {
                days: days(&keys)?,
                from: time_of_day(&keys, "from")?,
                to: end_of_day(&keys, "to")?,
            })
        };
        let zone = time_zone(keys)?;
        let windows = list.iter().enumerate().map(window).collect::<Result<_, _>>()?;
        Ok(Schedule(heldar_timeline::Schedule::new(zone, windows)))
    }

    pub(crate) fn at(&self, at: WallTime) -> Opening {
        self.0.at(at)
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
