//! Buckets against the ledger, and the choice of their length.

use heldar_base::{Interval, Micros, WallTime};
use heldar_timeline::{Grid, GridError, Resolution, State, exact, share};
use proptest::prelude::*;

use crate::history::{CELL, WORLD, at, cells, history, ledger};

proptest! {
    #[test]
    fn buckets_are_the_ledger_in_pieces(
        history in history(), a in 0..WORLD, length in 1..WORLD, step in 1..20 * CELL,
    ) {
        let window = cells(a, a + length);
        let ledger = ledger(&history);
        let states = ledger.paint(&window);
        let grid = match Grid::new(window, Resolution::Step(Micros(step)), 1) {
            Ok(grid) => grid,
            Err(error) => {
                prop_assert!(window.len().0 / step >= 5_000 - 1, "{}", error);
                return Ok(());
            }
        };
        let buckets = grid.fill(&states);
        let mut edge = window.start;
        for (index, (recorded, missing)) in buckets.recorded_shares().zip(buckets.missing_shares()).enumerate() {
            let bucket = grid.bucket(index);
            prop_assert_eq!(bucket.start, edge);
            prop_assert_eq!(grid.index(bucket.start), Some(index));
            edge = bucket.end;
            let part = ledger.paint(&bucket);
            prop_assert_eq!(buckets.recorded()[index], part.total(|state| state == State::Recorded));
            prop_assert_eq!(buckets.missing()[index], part.total(|state| matches!(state, State::Missing(_))));
            prop_assert_eq!(recorded > 0.0, buckets.recorded()[index] > Micros::ZERO);
            prop_assert_eq!(recorded == 1.0, buckets.recorded()[index] == bucket.len());
            prop_assert!(recorded + missing <= 1.0 + 1e-9);
        }
        prop_assert_eq!(edge, window.end);
    }

    #[test]
    fn every_window_has_a_resolution(length in 1i64..20_000_000_000_000_000, cameras in 0u64..2_000) {
        let window = Interval::new(WallTime(0), WallTime(length));
        let grid = Grid::new(window, Resolution::Auto, cameras).unwrap();
        let count = grid.count() as u64;
        prop_assert!(count <= 5_000 && count * cameras <= 500_000);
        // About 1000, unless milliseconds are too coarse or the cameras too many.
        if length > 1_000_000 && cameras <= 200 {
            prop_assert!((400..=2_500).contains(&count), "{} of {:?}", count, grid.step());
        }
    }

    #[test]
    fn events_are_counted_where_they_are(events in prop::collection::vec(-5i64..60, 0..40), step in 1i64..20) {
        let window = Interval::new(WallTime(0), WallTime(50));
        let grid = Grid::new(window, Resolution::Step(Micros(step)), 1).unwrap();
        let counts = grid.count_events(events.iter().map(|t| WallTime(*t)));
        for (index, count) in counts.iter().enumerate() {
            let bucket = grid.bucket(index);
            prop_assert_eq!(*count as usize, events.iter().filter(|t| bucket.contains(WallTime(**t))).count());
        }
    }

    #[test]
    fn exact_answers_fill_the_wanted_time(history in history()) {
        let window = cells(0, WORLD);
        let states = ledger(&history).paint(&window);
        let (ranges, gaps) = exact(&states);
        let listed: Micros = ranges.iter().chain(gaps.iter().map(|(gap, _)| gap)).map(Interval::len).sum();
        prop_assert_eq!(listed, states.total(|state| !matches!(state, State::NotWanted(_))));
    }
}

#[test]
fn friendly_steps() {
    let check = |hours: f64, cameras, seconds: f64| {
        let window = Interval::new(at(0), at(0) + Micros((hours * 3.6e9) as i64));
        let grid = Grid::new(window, Resolution::Auto, cameras).unwrap();
        assert_eq!(grid.step().as_secs_f64(), seconds, "{hours} h");
    };
    check(1.0, 4, 5.0);
    check(24.0, 4, 120.0);
    check(24.0, 2_000, 600.0);
    check(24.0 * 7.0, 4, 600.0);
    check(24.0 * 30.0, 64, 3_600.0);
    check(24.0 * 366.0, 4, 28_800.0);
    check(24.0 * 4_000.0, 4, 345_600.0);
    check(1.0 / 60.0, 4, 0.05);
}

#[test]
fn limits() {
    let day = Interval::new(at(0), at(0) + Micros::from_hours(24));
    let check = |window, step, cameras, expect| {
        let got = Grid::new(window, Resolution::Step(Micros::from_secs(step)), cameras);
        assert_eq!(got.map(|grid| grid.count()), expect);
    };
    check(day, 60, 4, Ok(1_440));
    check(day, 17, 1, Err(GridError::TooManyBuckets(5_083)));
    assert!(
        Grid::new(day, Resolution::Step(Micros(17_280_000)), 100).is_ok_and(|grid| grid.count() == 5_000)
    );
    check(day, 60, 348, Err(GridError::TooManyInAll(501_120)));
    check(day, 0, 1, Err(GridError::BadStep));
    check(day, -1, 1, Err(GridError::BadStep));
    check(Interval::new(at(0), at(0)), 60, 1, Err(GridError::EmptyWindow));
}

#[test]
fn shares_never_hide_footage() {
    let hour = Micros::from_hours(1);
    assert_eq!(share(Micros(1), hour), 0.0001);
    assert_eq!(share(hour - Micros(1), hour), 0.9999);
    assert_eq!(share(hour, hour), 1.0);
    assert_eq!(share(Micros::ZERO, hour), 0.0);
}
