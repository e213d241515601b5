//! Modes, windows and what is to be done for them.
use heldar_timeline::WeekWindow;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;

use super::*;

fn utc(text: &str) -> WallTime {
    WallTime::parse(&format!("2026-06-05T{text}Z")).unwrap()
}

/// Fridays from 08:00 to 12:00; 2026-06-05 is one.
fn plan(mode: Mode) -> Plan {
    let window = WeekWindow {
        days: vec![Weekday::Friday],
        from: Time::new(8, 0, 0, 0).unwrap(),
        to: Time::new(12, 0, 0, 0).unwrap(),
    };
    let schedule = Schedule::new(TimeZone::UTC, vec![window]);
    Plan { off: None, mode, schedule, window: None, pre_roll: Micros::from_secs(10) }
}

fn triggered(mode: Mode, at: &str, end: &str) -> Plan {
    let at = utc(at);
    let window = TriggerWindow { opened_at: at, from: at - Micros::from_secs(10), end: utc(end) };
    Plan { window: Some(window), ..plan(mode) }
}

fn since(at: &str, is_end: bool) -> Since {
    Since { at: utc(at), is_end }
}

#[test]
fn a_continuous_camera_is_always_wanted() {
    let plan = triggered(Mode::Continuous, "07:00:00", "07:00:30");
    assert_eq!(plan.demand(utc("07:00:10")), (Demand::Wanted, None));
    let orders = plan.orders(utc("07:00:10"), since("01:00:00", false));
    let take = Take { from: utc("01:00:00"), until: WallTime::FAR_FUTURE };
    assert_eq!(orders, Orders { session: true, take: Some(take), keep: None, until: None });
}

#[test]
fn a_camera_that_is_off_is_off_in_every_mode() {
    for mode in [Mode::Continuous, Mode::Scheduled, Mode::Event, Mode::ScheduledEvent] {
        let off = Some(NotWanted::RecordingDisabled);
        let plan = Plan { off, ..triggered(mode, "09:00:00", "09:00:30") };
        assert_eq!(plan.demand(utc("09:00:10")), (Demand::Idle(NotWanted::RecordingDisabled), None));
        let orders = plan.orders(utc("09:00:10"), since("09:00:00", true));
        assert_eq!(orders, Orders { session: false, take: None, keep: None, until: None });
        assert!(!plan.is_armed());
    }
}

#[test]
fn a_scheduled_window_is_prepared_recorded_and_let_go() {
    let plan = plan(Mode::Scheduled);
    let idle = Demand::Idle(NotWanted::OutsideSchedule);
    assert_eq!(plan.demand(utc("07:00:00")), (idle, Some(utc("08:00:00"))));
    let orders = plan.orders(utc("07:00:00"), since("00:00:00", false));
    let until = Some(utc("07:59:45"));
    assert_eq!(orders, Orders { session: false, take: None, keep: None, until });
    let orders = plan.orders(utc("07:59:45"), since("00:00:00", false));
    let until = Some(utc("08:00:00"));
    assert_eq!(orders, Orders { session: true, take: None, keep: Some(LEAST), until });
    // Whenever it is looked at, what is recorded begins and ends on the minute.
    let orders = plan.orders(utc("08:00:00.4"), since("08:00:00", false));
    let take = Some(Take { from: utc("08:00:00"), until: utc("12:00:00") });
    assert_eq!(orders, Orders { session: true, take, keep: Some(LEAST), until: Some(utc("12:00:00")) });
    let orders = plan.orders(utc("12:00:00.4"), since("12:00:00", true));
    let take = Some(Take { from: utc("12:00:00"), until: utc("12:00:00") });
    let until = Some(utc("12:00:05"));
    assert_eq!(orders, Orders { session: true, take, keep: Some(LEAST), until });
    let orders = plan.orders(utc("12:00:05"), since("12:00:00", true));
    assert!(!orders.session && orders.take.is_none() && orders.keep.is_none());
    // An edit that ends it acts at the next sync sample.
    assert_eq!(plan.orders(utc("12:00:01"), since("12:00:00", false)).take, None);
}

#[test]
fn an_event_camera_keeps_its_session_and_takes_the_pre_roll() {
    let armed = plan(Mode::Event);
    assert_eq!(armed.demand(utc("09:00:00")), (Demand::Armed, None));
    let orders = armed.orders(utc("09:00:00"), since("01:00:00", false));
    assert_eq!(orders, Orders { session: true, take: None, keep: Some(Micros::from_secs(10)), until: None });
    let plan = triggered(Mode::Event, "09:00:00", "09:00:30");
    assert_eq!(plan.demand(utc("08:59:59")), (Demand::Armed, Some(utc("09:00:00"))));
    assert_eq!(plan.demand(utc("09:00:00")), (Demand::Wanted, Some(utc("09:00:30"))));
    assert_eq!(plan.demand(utc("09:00:30")), (Demand::Armed, None));
    // Over, its last pictures are on their way, and what comes may be the pre-roll of the next.
    let orders = plan.orders(utc("09:00:31"), since("09:00:30", true));
    assert_eq!((orders.keep, orders.until), (Some(Micros::from_secs(10)), Some(utc("09:00:35"))));
    let orders = plan.orders(utc("09:00:01"), since("09:00:00", false));
    let take = Some(Take { from: utc("08:59:50"), until: utc("09:00:30") });
    assert_eq!(orders, Orders { session: true, take, keep: Some(LEAST), until: Some(utc("09:00:30")) });
}

#[test]
fn windows_of_both_kinds_are_one_recording() {
    let plan = triggered(Mode::ScheduledEvent, "11:59:50", "12:00:20");
    assert_eq!(plan.demand(utc("07:00:00")).0, Demand::Armed);
    let orders = plan.orders(utc("11:59:55"), since("08:00:00", false));
    assert_eq!(orders.take, Some(Take { from: utc("08:00:00"), until: utc("12:00:20") }));
    let plan = triggered(Mode::ScheduledEvent, "07:59:50", "08:00:20");
    let orders = plan.orders(utc("07:59:55"), since("07:59:50", false));
    assert_eq!(orders.take, Some(Take { from: utc("07:59:40"), until: utc("12:00:00") }));
    // A schedule knows no trigger.
    let plan = triggered(Mode::Scheduled, "07:00:00", "07:00:30");
    assert_eq!(plan.demand(utc("07:00:10")).0, Demand::Idle(NotWanted::OutsideSchedule));
}
