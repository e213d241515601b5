//! Windows of a week against minute-by-minute evaluation of what a clock on the wall shows.

use heldar_base::{Micros, WallTime};
use heldar_timeline::{Opening, Schedule, WeekWindow};
use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use proptest::prelude::*;

const MINUTE: Micros = Micros::from_secs(60);
const DAYS: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap()
}

fn time(minutes: i32) -> Time {
    Time::new((minutes / 60) as i8, (minutes % 60) as i8, 0, 0).unwrap()
}

fn utc(text: &str) -> WallTime {
    WallTime::parse(text).unwrap()
}

/// One window of every day in a zone.
fn daily(name: &str, from: i32, to: i32) -> Schedule {
    Schedule::new(zone(name), vec![WeekWindow { days: DAYS.to_vec(), from: time(from), to: time(to) }])
}

#[track_caller]
fn check(schedule: &Schedule, at: &str, open: bool, until: Option<&str>) {
    assert_eq!(schedule.at(utc(at)), Opening { open, until: until.map(utc) }, "{at}");
}

#[test]
fn windows_of_a_day_and_past_midnight() {
    let friday = |from, to| {
        let window = WeekWindow { days: vec![Weekday::Friday], from: time(from), to: time(to) };
        Schedule::new(TimeZone::UTC, vec![window])
    };
    let day = friday(8 * 60, 12 * 60 + 30);
    check(&day, "2026-06-05T07:59:59.999999Z", false, Some("2026-06-05T08:00:00Z"));
    check(&day, "2026-06-05T08:00:00Z", true, Some("2026-06-05T12:30:00Z"));
    check(&day, "2026-06-05T12:30:00Z", false, Some("2026-06-12T08:00:00Z"));
    let night = friday(22 * 60, 6 * 60);
    check(&night, "2026-06-05T05:00:00Z", false, Some("2026-06-05T22:00:00Z"));
    check(&night, "2026-06-06T05:00:00Z", true, Some("2026-06-06T06:00:00Z"));
    check(&night, "2026-06-06T06:00:00Z", false, Some("2026-06-12T22:00:00Z"));
    let whole = friday(7 * 60, 7 * 60);
    check(&whole, "2026-06-05T07:00:00Z", true, Some("2026-06-06T07:00:00Z"));
}

#[test]
fn never_and_always_are_for_good() {
    let never = Schedule::new(TimeZone::UTC, Vec::new());
    assert_eq!(never.at(utc("2026-06-05T08:00:00Z")), Opening::NEVER);
    assert_eq!(daily("Europe/Berlin", 0, 0).at(utc("2026-06-05T08:00:00Z")), Opening::ALWAYS);
}

#[test]
fn a_skipped_time_is_the_first_instant_after_the_jump() {
    // In Berlin the hour from 02:00 is skipped on 2026-03-29; the jump is at 01:00 UTC.
    let starts_inside = daily("Europe/Berlin", 2 * 60 + 30, 4 * 60);
    check(&starts_inside, "2026-03-29T00:59:59Z", false, Some("2026-03-29T01:00:00Z"));
    check(&starts_inside, "2026-03-29T01:00:00Z", true, Some("2026-03-29T02:00:00Z"));
    let ends_inside = daily("Europe/Berlin", 60, 2 * 60 + 30);
    check(&ends_inside, "2026-03-29T00:30:00Z", true, Some("2026-03-29T01:00:00Z"));
    // A window that lies wholly in what is skipped is not opened that day.
    let inside = daily("Europe/Berlin", 2 * 60 + 15, 2 * 60 + 45);
    check(&inside, "2026-03-29T00:59:00Z", false, Some("2026-03-30T00:15:00Z"));
}

#[test]
fn what_occurs_twice_is_covered_both_times() {
    // In Berlin the hour from 02:00 occurs twice on 2026-10-25, from 00:00 UTC and from 01:00 UTC.
    let inside = daily("Europe/Berlin", 2 * 60 + 15, 2 * 60 + 45);
    check(&inside, "2026-10-25T00:00:00Z", false, Some("2026-10-25T00:15:00Z"));
    check(&inside, "2026-10-25T00:15:00Z", true, Some("2026-10-25T00:45:00Z"));
    check(&inside, "2026-10-25T00:45:00Z", false, Some("2026-10-25T01:15:00Z"));
    check(&inside, "2026-10-25T01:15:00Z", true, Some("2026-10-25T01:45:00Z"));
    let across = daily("Europe/Berlin", 60, 4 * 60);
    check(&across, "2026-10-24T23:00:00Z", true, Some("2026-10-25T03:00:00Z"));
    // Half an hour in Lord Howe: 01:30 to 02:00 occurs twice on 2026-04-05, from 14:30 UTC and from 15:00 UTC.
    let half = daily("Australia/Lord_Howe", 60 + 40, 60 + 50);
    check(&half, "2026-04-04T14:00:00Z", false, Some("2026-04-04T14:40:00Z"));
    check(&half, "2026-04-04T14:50:00Z", false, Some("2026-04-04T15:10:00Z"));
}

/// Whether a minute is covered, by what the clock on the wall shows.
fn shown_open(zone: &TimeZone, windows: &[WeekWindow], at: WallTime) -> bool {
    let civil = zone.to_datetime(Timestamp::from_microsecond(at.0).unwrap());
    let minute = |time: Time| i32::from(time.hour()) * 60 + i32::from(time.minute());
    let (now, today) = (minute(civil.time()), civil.date().weekday());
    let yesterday = civil.date().yesterday().unwrap().weekday();
    windows.iter().any(|window| {
        let (from, to) = (minute(window.from), minute(window.to));
        // Minutes from the midnight at which the listed day begins.
        let end = if to <= from { to + 24 * 60 } else { to };
        let holds = |day: Weekday, now: i32| window.days.contains(&day) && from <= now && now < end;
        holds(today, now) || holds(yesterday, now + 24 * 60)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn the_next_change_is_the_first_minute_that_differs(
        name in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
        windows in prop::collection::vec((0u8..128, 0i32..24 * 60, 0i32..24 * 60, any::<bool>()), 0..4),
        // Days at which clocks change in these zones in 2026, and any day.
        day in prop_oneof![prop::sample::select(vec![66i64, 87, 94, 276, 297, 304]), 0i64..365],
    ) {
        let windows: Vec<WeekWindow> = windows.iter().map(|(days, from, to, near)| {
            // Half of them lie where clocks change.
            let place = |minutes: i32| if *near { minutes % (4 * 60) } else { minutes };
            let days = (0..7).filter(|n| days >> n & 1 == 1).map(|n| DAYS[n]).collect();
            WeekWindow { days, from: time(place(*from)), to: time(place(*to)) }
        }).collect();
        let zone = zone(name);
        let schedule = Schedule::new(zone.clone(), windows.clone());
        let mut at = utc("2026-01-01T00:00:00Z") + Micros((day - 2) * 24 * 60 * MINUTE.0);
        let mut opening = schedule.at(at);
        for _ in 0..9 * 24 * 60 {
            let open = shown_open(&zone, &windows, at);
            prop_assert_eq!(schedule.is_open(at), open, "{}", at);
            if opening.until.is_some_and(|until| until <= at) {
                prop_assert_eq!(opening.until, Some(at));
                let next = schedule.at(at);
                prop_assert_ne!(next.open, opening.open);
                opening = next;
            }
            prop_assert_eq!(opening.open, open, "{}", at);
            at = at + MINUTE;
        }
    }
}
