//! Civil time, against minute-by-minute evaluation.
use super::*;
use heldar_base::Micros;
use proptest::prelude::*;
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
    let opening = always.at(utc("2026-06-06T08:00:00Z"));
    assert!(opening.open && opening.until.is_some_and(|until| until > utc("2026-06-13T08:00:00Z")));
}

#[test]
fn clocks_that_are_changed() {
    let zone = |from: &str, to: &str| {
        schedule(json!({"tz": "Europe/Berlin", "windows": [{"from": from, "to": to}]}))
    };
    // On 2026-03-29 the hour from 02:00 is skipped.
    check(&zone("02:15", "02:45"), "2026-03-29T00:59:00Z", false, Some("2026-03-29T01:15:00Z"));
    check(&zone("01:00", "02:30"), "2026-03-29T00:30:00Z", true, Some("2026-03-29T01:30:00Z"));
    // On 2026-10-25 the hour from 02:00 is shown twice.
    check(&zone("01:30", "02:30"), "2026-10-25T00:00:00Z", true, Some("2026-10-25T00:30:00Z"));
    check(&zone("02:30", "03:30"), "2026-10-25T01:00:00Z", true, Some("2026-10-25T02:30:00Z"));
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

/// Whether a window is open, by the civil fields of the minute; not for minutes that are shown twice or windows that begin or
/// end in one that is skipped.
fn open_by_fields(schedule: &Schedule, at: WallTime) -> bool {
    let civil = schedule.zone.to_datetime(Timestamp::from_microsecond(at.0).unwrap());
    schedule.windows.iter().any(|window| {
        let (time, today) = (civil.time(), civil.date().weekday());
        let yesterday = civil.date().yesterday().unwrap().weekday();
        if window.from < window.to {
            window.days.contains(&today) && window.from <= time && time < window.to
        } else {
            window.days.contains(&today) && window.from <= time
                || window.days.contains(&yesterday) && time < window.to
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn the_next_change_is_the_first_minute_that_differs(
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia"]),
        windows in prop::collection::vec((1u8..128, 0u8..24, 0u8..24), 1..4),
        start in 0i64..365 * 24 * 60
    ) {
        // Whole hours but not those at which clocks change.
        let hour = |hour: u8| format!("{:02}:00", if (1..=3).contains(&hour) { 4 } else { hour });
        let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let list: Vec<Value> = windows.iter().map(|(days, from, to)| {
            let days: Vec<_> = (0..7).filter(|n| days >> n & 1 == 1).map(|n| names[n]).collect();
            json!({"days": days, "from": hour(*from), "to": hour(*to)})
        }).collect();
        let schedule = schedule(json!({"tz": zone, "windows": list}));
        let minute = Micros::from_secs(60);
        let mut at = utc("2026-01-01T00:00:00Z") + Micros(start * minute.0);
        let mut opening = schedule.at(at);
        for _ in 0..10 * 24 * 60 {
            let open = open_by_fields(&schedule, at);
            if opening.until.is_some_and(|until| until <= at) {
                prop_assert_eq!(opening.until, Some(at));
                let next = schedule.at(at);
                prop_assert_ne!(next.open, opening.open);
                opening = next;
            }
            prop_assert_eq!(opening.open, open, "{}", at);
            at = at + minute;
        }
    }
}
