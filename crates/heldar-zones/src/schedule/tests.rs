//! Schedules and resets as they are written down; `heldar-timeline` tests what windows do over a year.
use super::*;
use serde_json::json;

fn schedule(value: Value) -> Schedule {
    Schedule::parse(&Keys::of(&value, "config.schedule").unwrap()).unwrap()
}

fn utc(text: &str) -> WallTime {
    WallTime::parse(text).unwrap()
}

#[track_caller]
fn check(schedule: &Schedule, at: &str, open: bool, until: Option<&str>) {
    assert_eq!(schedule.at(utc(at)), Opening { open, until: until.map(utc) }, "{at}");
}

#[test]
fn windows_of_a_day() {
    let day =
        schedule(json!({"windows": [{"from": "08:00", "to": "12:00"}, {"from": "12:00", "to": "18:00"}]}));
    check(&day, "2026-06-01T07:59:59.999999Z", false, Some("2026-06-01T08:00:00Z"));
    check(&day, "2026-06-01T08:00:00Z", true, Some("2026-06-01T18:00:00Z"));
    check(&day, "2026-06-01T18:00:00Z", false, Some("2026-06-02T08:00:00Z"));
}

#[test]
fn windows_past_midnight_belong_to_the_day_on_which_they_begin() {
    let night = schedule(json!({"windows": [{"days": ["fri"], "from": "22:00", "to": "06:00"}]}));
    check(&night, "2026-06-05T12:00:00Z", false, Some("2026-06-05T22:00:00Z"));
    check(&night, "2026-06-06T05:00:00Z", true, Some("2026-06-06T06:00:00Z"));
    check(&night, "2026-06-06T06:00:00Z", false, Some("2026-06-12T22:00:00Z"));
    let whole = schedule(json!({"windows": [{"days": ["sat", "sun"], "from": "00:00", "to": "24:00"}]}));
    check(&whole, "2026-06-06T00:00:00Z", true, Some("2026-06-08T00:00:00Z"));
    let same = schedule(json!({"windows": [{"days": ["sat"], "from": "07:00", "to": "07:00"}]}));
    check(&same, "2026-06-06T08:00:00Z", true, Some("2026-06-07T07:00:00Z"));
}

#[test]
fn always_open_stays_open() {
    let always = schedule(json!({"windows": [{"from": "00:00", "to": "00:00"}]}));
    check(&always, "2026-06-06T08:00:00Z", true, None);
}

#[test]
fn clocks_that_are_changed() {
    let zone = |from: &str, to: &str| {
        schedule(json!({"tz": "Europe/Berlin", "windows": [{"from": from, "to": to}]}))
    };
    // On 2026-03-29 the hour from 02:00 is skipped.
    check(&zone("02:30", "04:00"), "2026-03-29T00:59:00Z", false, Some("2026-03-29T01:00:00Z"));
    // On 2026-10-25 the hour from 02:00 is shown twice.
    check(&zone("02:15", "02:45"), "2026-10-25T00:45:00Z", false, Some("2026-10-25T01:15:00Z"));
}

#[test]
fn resets() {
    let value = json!({"at": "02:30", "tz": "Europe/Berlin"});
    let reset = DailyReset::parse(&Keys::of(&value, "r").unwrap()).unwrap();
    let next = |at: &str| reset.after(utc(at)).map(|at| at.to_string());
    assert_eq!(next("2026-06-01T00:00:00Z").as_deref(), Some("2026-06-01T00:30:00Z"));
    assert_eq!(next("2026-06-01T00:30:00Z").as_deref(), Some("2026-06-02T00:30:00Z"));
    assert_eq!(next("2026-03-28T12:00:00Z").as_deref(), Some("2026-03-29T01:30:00Z"));
    assert_eq!(next("2026-10-25T00:30:00Z").as_deref(), Some("2026-10-26T01:30:00Z"));
    assert_eq!(reset.after(WallTime(i64::MAX)), None);
    reset.after(WallTime(i64::MIN));
}
