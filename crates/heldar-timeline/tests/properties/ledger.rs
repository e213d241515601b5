//! The ledger against a naive reading of the same history, cell by cell.

use crate::history::{CELL, Piece, WORLD, at, cells, history, ledger, part};
use heldar_base::{Cause, EndReason, Interval, Micros, NotWanted, WallTime};
use heldar_timeline::{
    Detail, FleetTotals, GapRow, Ledger, LedgerSegment, SegmentEnd, State, WantedChange, WindowError,
    coverage_window,
};
use proptest::prelude::*;

proptest! {
    #![proptest_config(crate::cases(4))]

    #[test]
    fn every_cell_is_what_the_rules_say(history in history(), a in -10..WORLD, b in -10..WORLD) {
        let window = cells(a.min(b), a.max(b));
        let states = ledger(&history).paint(&window);
        for cell in a.min(b)..a.max(b) {
            let span = states.spans().iter().find(|span| span.interval.contains(at(cell)));
            prop_assert_eq!(span.map(|span| span.value), history.state(at(cell)), "cell {}", cell);
        }
    }

    #[test]
    fn coverage_fills_any_window_exactly(history in history(), a in 0..WORLD * CELL, b in 0..WORLD * CELL) {
        let window = Interval::new(at(0) + Micros(a.min(b)), at(0) + Micros(a.max(b)));
        let coverage = ledger(&history).coverage(&window, Detail::Intervals);
        let cut = Interval::new(window.start, window.end.min(history.now));
        prop_assert_eq!(coverage.window, cut);
        let sum = coverage.recorded + coverage.not_wanted_total() + coverage.missing_total();
        prop_assert_eq!(sum, cut.len());
        let mut edge = cut.start;
        for span in &coverage.intervals {
            prop_assert_eq!(span.interval.start, edge);
            prop_assert!(!span.interval.is_empty());
            edge = span.interval.end;
        }
        prop_assert_eq!(edge, cut.end);
        let removed = [Cause::Retention, Cause::Deleted].iter().filter_map(|cause| coverage.missing.get(cause));
        prop_assert_eq!(coverage.lost(), coverage.missing_total() - removed.copied().sum());
        prop_assert!(coverage.longest_gap <= coverage.missing_total());
    }

    /// The end of the last segment before a window is all that is needed of it.
    #[test]
    fn what_lies_before_needs_no_segment(mut history in history(), split in 0..WORLD, to in 0..WORLD) {
        let before = |piece: &&Piece| piece.interval.end <= at(split);
        for piece in &mut history.segments {
            piece.damaged = false;
            piece.holes.clear();
        }
        let last = history.segments.iter().rfind(before).map(|piece| (piece.interval.end, piece.end));
        let mut rest = history.clone();
        rest.segments.retain(|piece| !before(&piece));
        let window = cells(split, split + to);
        let got = part(&rest, last).paint(&window);
        prop_assert_eq!(got, ledger(&history).paint(&window));
    }

    #[test]
    fn adjacent_windows_add_up(history in history(), a in 0..WORLD, b in 0..WORLD, c in 0..WORLD) {
        let mut edges = [a, b, c];
        edges.sort_unstable();
        let ledger = ledger(&history);
        let whole = ledger.coverage(&cells(edges[0], edges[2]), Detail::Sums);
        let mut parts = FleetTotals::default();
        parts.add(&ledger.coverage(&cells(edges[0], edges[1]), Detail::Sums));
        parts.add(&ledger.coverage(&cells(edges[1], edges[2]), Detail::Sums));
        let mut expect = FleetTotals::default();
        expect.add(&whole);
        expect.camera_count = 2;
        prop_assert_eq!(parts, expect);
    }

    #[test]
    fn rows_of_any_kind_keep_the_sum(
        rows in prop::collection::vec((any::<i32>(), any::<i32>(), any::<i32>(), any::<i32>()), 0..12),
        now: i32,
        window: (i32, i32),
    ) {
        let time = |t: i32| WallTime(i64::from(t));
        let mut ledger = Ledger::new(time(now), Micros(1_000));
        for (i, (a, b, c, d)) in rows.into_iter().enumerate() {
            let holes = [(Interval::new(time(c), time(d)), Cause::Stalled)];
            ledger.segment(&LedgerSegment {
                interval: Interval::new(time(a), time(b)),
                holes: &holes,
                end: SegmentEnd::Open,
                damaged: i % 3 == 0,
            });
            ledger.gap(GapRow { start: time(c), end: Some(time(d)), cause: Cause::Disk });
            ledger.wanted(WantedChange { at: time(d), not_wanted: (i % 2 == 0).then_some(NotWanted::RecorderOff) });
        }
        let window = Interval::new(time(window.0), time(window.1));
        let coverage = ledger.coverage(&window, Detail::Sums);
        let sum = coverage.recorded + coverage.not_wanted_total() + coverage.missing_total();
        prop_assert_eq!(sum, coverage.window.len());
    }
}

/// One day of a camera: `R` a segment, `S` one that ends with a lost session, `.` nothing, ten seconds each.
fn check(
    day: &str,
    changes: &[(i64, Option<NotWanted>)],
    gaps: &[(i64, i64, Cause)],
    expect: &[(i64, State)],
) {
    let ten = |n: i64| WallTime(n * 10_000_000);
    let mut ledger = Ledger::new(ten(day.len() as i64), Micros::ZERO);
    for (n, kind) in day.chars().enumerate().filter(|(_, kind)| *kind != '.') {
        let reason = if kind == 'S' { EndReason::SessionLost } else { EndReason::Rotated };
        ledger.segment(&LedgerSegment {
            interval: Interval::new(ten(n as i64), ten(n as i64 + 1)),
            holes: &[],
            end: SegmentEnd::Sealed { reason, cause: (kind == 'S').then_some(Cause::Stalled) },
            damaged: false,
        });
    }
    for (n, not_wanted) in changes {
        ledger.wanted(WantedChange { at: ten(*n), not_wanted: *not_wanted });
    }
    for (from, to, cause) in gaps {
        ledger.gap(GapRow { start: ten(*from), end: Some(ten(*to)), cause: *cause });
    }
    let window = Interval::new(ten(0), ten(1_000));
    let spans: Vec<(i64, State)> = ledger
        .coverage(&window, Detail::Intervals)
        .intervals
        .iter()
        .map(|span| (span.interval.len().0 / 10_000_000, span.value))
        .collect();
    assert_eq!(spans, expect, "{day}");
}

#[test]
fn days_in_the_life_of_a_camera() {
    use State::{Missing, NotWanted as Off, Recorded};
    let created = &[(2, None)];
    let before = (2, Off(NotWanted::RecordingDisabled));
    check("..RRR", created, &[], &[before, (3, Recorded)]);
    check("..RRS..RR", created, &[], &[before, (3, Recorded), (2, Missing(Cause::Stalled)), (2, Recorded)]);
    check(
        "..RRS...RR",
        created,
        &[(6, 8, Cause::Unreachable)],
        &[
            before,
            (3, Recorded),
            (1, Missing(Cause::Stalled)),
            (2, Missing(Cause::Unreachable)),
            (2, Recorded),
        ],
    );
    // Switched off from 4 to 6, and recorded a little longer than wanted.
    check(
        "..RRR..RR",
        &[(2, None), (4, Some(NotWanted::CameraDisabled)), (6, None)],
        &[(6, 7, Cause::Auth)],
        &[
            before,
            (3, Recorded),
            (1, Off(NotWanted::CameraDisabled)),
            (1, Missing(Cause::Auth)),
            (2, Recorded),
        ],
    );
    // What was never recorded was not removed either.
    check(
        ".....RR",
        &[(0, None)],
        &[(0, 5, Cause::Retention), (1, 2, Cause::Auth)],
        &[
            (1, Missing(Cause::Retention)),
            (1, Missing(Cause::Auth)),
            (3, Missing(Cause::Retention)),
            (2, Recorded),
        ],
    );
    check("...RR", &[(0, None)], &[], &[(3, Missing(Cause::Unknown)), (2, Recorded)]);
}

#[test]
fn footage_ahead_of_now_ends_no_wait() {
    let mut ledger = Ledger::new(at(4), Micros::ZERO);
    ledger.wanted(WantedChange { at: at(0), not_wanted: None });
    let segment =
        LedgerSegment { interval: cells(60, 80), holes: &[], end: SegmentEnd::Open, damaged: false };
    ledger.segment(&segment);
    let coverage = ledger.coverage(&cells(0, 100), Detail::Sums);
    assert_eq!(coverage.missing.get(&Cause::Starting), Some(&Micros(4 * CELL)));
    assert_eq!(coverage.window, cells(0, 4));
}

#[test]
fn windows() {
    let hour = |h: i64| WallTime(0) + Micros::from_hours(h);
    let now = hour(10_000);
    let check = |from, to, expect| assert_eq!(coverage_window(from, to, now), expect);
    check(None, None, Ok(Interval::new(hour(9_976), now)));
    check(None, Some(hour(9_000)), Ok(Interval::new(hour(8_976), hour(9_000))));
    check(None, Some(hour(20_000)), Ok(Interval::new(hour(9_976), now)));
    check(Some(hour(9_999)), Some(hour(20_000)), Ok(Interval::new(hour(9_999), now)));
    check(Some(hour(9)), Some(hour(8)), Err(WindowError::Reversed));
    check(Some(hour(8)), Some(hour(8)), Ok(Interval::new(hour(8), hour(8))));
    check(Some(hour(0)), Some(hour(366 * 24)), Ok(Interval::new(hour(0), hour(366 * 24))));
    check(Some(hour(0)), Some(hour(366 * 24) + Micros(1)), Err(WindowError::TooLong));
    check(Some(hour(20_000)), Some(hour(30_000)), Ok(Interval::new(hour(20_000), hour(20_000))));
}
