//! Ranges and gaps against the ledger they are read from.

use heldar_base::{Cause, EndReason, Interval, Micros, NotWanted, WallTime};
use heldar_timeline::{
    Bounds, GapRow, Hole, HoleCause, IntervalSet, Ledger, LedgerSegment, NotWantedTime, SegmentEnd, State,
    WantedChange,
};
use proptest::prelude::*;

use crate::history::{CELL, WORLD, at, cells, history, ledger};

fn bounds() -> impl Strategy<Value = Bounds> {
    (0..WORLD, 0..WORLD, any::<bool>(), any::<bool>()).prop_map(|(a, b, from, to)| Bounds {
        from: from.then(|| at(a.min(b))),
        to: to.then(|| at(a.max(b))),
    })
}

fn set(intervals: impl IntoIterator<Item = Interval>) -> IntervalSet {
    intervals.into_iter().collect()
}

proptest! {
    #![proptest_config(crate::cases(4))]

    /// Without tolerance the answers are the ledger itself.
    #[test]
    fn exact_answers_are_the_ledger(mut history in history(), a in 0..WORLD, b in 0..WORLD) {
        history.in_flight = Micros::ZERO;
        let ledger = ledger(&history);
        let window = cells(a.min(b), a.max(b));
        let bounds = Bounds { from: Some(window.start), to: Some(window.end) };
        let states = ledger.paint(&window);
        let present = Interval::new(window.start, window.end.min(history.now));
        let ranges = set(ledger.timeline(bounds, Micros::ZERO).ranges).clip(&present);
        prop_assert_eq!(&ranges, &states.select(|state| state == State::Recorded));
        let gaps = ledger.gaps(bounds, Micros::ZERO, NotWantedTime::Listed);
        let part = |wanted: HoleCause| set(gaps.iter().filter(|gap| gap.cause == wanted).map(|gap| gap.interval));
        for cause in Cause::ALL {
            let listed = part(HoleCause::Missing(*cause)).clip(&present);
            prop_assert_eq!(listed, states.select(|state| state == State::Missing(*cause)));
        }
        let off = part(HoleCause::NotWanted).clip(&present);
        prop_assert_eq!(off, states.select(|state| matches!(state, State::NotWanted(_))));
        let left: Vec<Hole> = gaps.iter().copied().filter(|gap| gap.cause != HoleCause::NotWanted).collect();
        prop_assert_eq!(ledger.gaps(bounds, Micros::ZERO, NotWantedTime::LeftOut), left);
    }

    /// Between ranges stands a hole longer than the tolerance, and the gaps fill it.
    #[test]
    fn one_comparison_for_ranges_and_gaps(mut history in history(), bounds in bounds(), tolerance in 0i64..12) {
        history.in_flight = Micros::ZERO;
        let ledger = ledger(&history);
        let tolerance = Micros(tolerance * CELL / 2);
        let ranges = ledger.timeline(bounds, tolerance).ranges;
        let gaps = ledger.gaps(bounds, tolerance, NotWantedTime::Listed);
        prop_assert!(gaps.iter().all(|gap| gap.interval.len() > tolerance));
        prop_assert!(gaps.windows(2).all(|pair| pair[0].interval.end <= pair[1].interval.start));
        let gap_time = set(gaps.iter().map(|gap| gap.interval));
        for pair in ranges.windows(2) {
            let hole = Interval::new(pair[0].end, pair[1].start);
            prop_assert!(hole.len() > tolerance);
            let in_past = Interval::new(hole.start, hole.end.min(history.now));
            let long = in_past.len() > tolerance;
            prop_assert_eq!(gap_time.clip(&hole), set(long.then_some(in_past)));
        }
        prop_assert!(gap_time.intersect(&set(ranges.iter().copied())).is_empty());
        // Edges: only at a bound that was given, and never past now.
        if let Some(first) = gap_time.span() {
            let earliest = ranges.first().map(|range| range.end).into_iter().chain(bounds.from).min();
            prop_assert!(earliest.is_some_and(|earliest| first.start >= earliest));
            prop_assert!(first.end <= history.now);
        }
        let edge = |from: Option<WallTime>, to: Option<WallTime>| match (from, to) {
            (Some(from), Some(to)) => Interval::new(from, to.min(history.now)).len() > tolerance,
            _ => false,
        };
        let (first, last) = (ranges.first().map(|r| r.start), ranges.last().map(|r| r.end));
        let lead = edge(bounds.from, if ranges.is_empty() { bounds.to } else { first });
        let starts = bounds.from.is_some_and(|from| gaps.first().is_some_and(|gap| gap.interval.start == from));
        prop_assert_eq!(starts, lead);
        if !ranges.is_empty() {
            let trails = gaps.last().is_some_and(|gap| Some(gap.interval.start) >= last);
            prop_assert_eq!(trails, edge(last, bounds.to));
        }
    }

    #[test]
    fn a_window_is_covered_or_a_gap(history in history(), a in 0..WORLD, b in 0..WORLD, tolerance in 0i64..6) {
        let window = cells(a.min(b), a.max(b));
        let tolerance = Micros(tolerance * CELL);
        let answer = ledger(&history).window_holes(&window, tolerance);
        let gaps: Micros = answer.gaps.iter().map(|gap| gap.interval.len()).sum();
        prop_assert_eq!(answer.covered + gaps, window.len());
        prop_assert!(answer.covered >= Micros::ZERO);
        let mut run = 0;
        let gap_time = set(answer.gaps.iter().map(|gap| gap.interval));
        for cell in a.min(b)..=a.max(b) {
            let lacking = cell < a.max(b) && !history.has_footage(at(cell));
            if lacking {
                run += 1;
                continue;
            }
            let listed = gap_time.clip(&cells(cell - run, cell)).total();
            let long = run * CELL > tolerance.0;
            prop_assert_eq!(listed, Micros(if long { run * CELL } else { 0 }), "up to cell {}", cell);
            run = 0;
        }
        for gap in &answer.gaps {
            prop_assert!(gap.cause != HoleCause::Ahead || gap.interval.end > history.now || history.in_flight.0 > 0);
        }
    }
}

/// A stream in seconds: segments, gap rows and changes; `now` is 1000.
struct Stream {
    segments: &'static [(i64, i64)],
    open: bool,
    gaps: &'static [(i64, i64, Cause)],
    changes: &'static [(i64, Option<NotWanted>)],
}

impl Stream {
    fn ledger(&self) -> Ledger {
        let second = |s: i64| WallTime(s * 1_000_000);
        let mut ledger = Ledger::new(second(1_000), Micros::from_secs(5));
        for (n, (from, to)) in self.segments.iter().enumerate() {
            let sealed = SegmentEnd::Sealed { reason: EndReason::SessionLost, cause: Some(Cause::Closed) };
            let open = self.open && n + 1 == self.segments.len();
            let end = if open { SegmentEnd::Open } else { sealed };
            let interval = Interval::new(second(*from), second(*to));
            ledger.segment(&LedgerSegment { interval, holes: &[], end, damaged: false });
        }
        for (from, to, cause) in self.gaps {
            ledger.gap(GapRow { start: second(*from), end: Some(second(*to)), cause: *cause });
        }
        for (from, not_wanted) in self.changes {
            ledger.wanted(WantedChange { at: second(*from), not_wanted: *not_wanted });
        }
        ledger
    }
}

type Row = (i64, i64, &'static str);

fn rows(holes: &[Hole]) -> Vec<Row> {
    let seconds = |t: WallTime| t.0 / 1_000_000;
    holes.iter().map(|h| (seconds(h.interval.start), seconds(h.interval.end), h.cause.as_str())).collect()
}

fn check(
    stream: &Stream,
    from: Option<i64>,
    to: Option<i64>,
    ranges: &[(i64, i64)],
    gaps: &[Row],
    all: &[Row],
) {
    let second = |s: i64| WallTime(s * 1_000_000);
    let bounds = Bounds { from: from.map(second), to: to.map(second) };
    let (ledger, tolerance) = (stream.ledger(), Micros::from_secs(2));
    let timeline = ledger.timeline(bounds, tolerance);
    let got: Vec<_> = timeline.ranges.iter().map(|r| (r.start.0 / 1_000_000, r.end.0 / 1_000_000)).collect();
    assert_eq!(got, ranges);
    assert_eq!(timeline.recorded, timeline.ranges.iter().map(Interval::len).sum());
    assert_eq!(rows(&ledger.gaps(bounds, tolerance, NotWantedTime::LeftOut)), gaps);
    assert_eq!(rows(&ledger.gaps(bounds, tolerance, NotWantedTime::Listed)), all);
}

#[test]
fn bounds_and_edges() {
    let stream = Stream {
        segments: &[(100, 160), (162, 200), (300, 400)],
        open: false,
        gaps: &[(200, 300, Cause::Unreachable), (400, 1_000, Cause::Auth)],
        changes: &[(50, None)],
    };
    let middle = (200, 300, "unreachable");
    check(&stream, None, None, &[(100, 200), (300, 400)], &[middle], &[middle]);
    check(&stream, Some(150), Some(350), &[(100, 200), (300, 400)], &[middle], &[middle]);
    // Time before the camera was created is not wanted, after now there is no hole.
    check(
        &stream,
        Some(0),
        Some(5_000),
        &[(100, 200), (300, 400)],
        &[(50, 100, "unknown"), middle, (400, 1_000, "auth")],
        &[(0, 50, "not_wanted"), (50, 100, "unknown"), middle, (400, 1_000, "auth")],
    );
    // No coverage at all: one hole, and only between two bounds.
    check(&stream, Some(210), Some(220), &[], &[(210, 220, "unreachable")], &[(210, 220, "unreachable")]);
    check(&stream, Some(500), None, &[], &[], &[]);
    check(&stream, None, Some(90), &[], &[], &[]);
    check(&stream, Some(2_000), Some(3_000), &[], &[], &[]);
}

#[test]
fn the_tolerance_decides_once() {
    let stream = |segments| Stream { segments, open: false, gaps: &[], changes: &[(0, None)] };
    check(&stream(&[(10, 20), (22, 30)]), None, None, &[(10, 30)], &[], &[]);
    let gap = (20, 23, "closed");
    check(&stream(&[(10, 20), (23, 30)]), None, None, &[(10, 20), (23, 30)], &[gap], &[gap]);
    // The first second of wanting is not worth a gap of its own.
    let off = Stream {
        segments: &[(10, 20), (61, 70)],
        open: false,
        gaps: &[],
        changes: &[(0, None), (20, Some(NotWanted::RecordingDisabled)), (60, None)],
    };
    check(&off, None, None, &[(10, 20), (61, 70)], &[], &[(20, 61, "not_wanted")]);
}

#[test]
fn an_open_segment_has_no_hole_behind_it() {
    let open = Stream { segments: &[(900, 996)], open: true, gaps: &[], changes: &[(0, None)] };
    check(&open, Some(900), Some(2_000), &[(900, 996)], &[], &[]);
    assert!(open.ledger().timeline(Bounds::default(), Micros::ZERO).open);
    let sealed = Stream { open: false, ..open };
    let gap = (996, 1_000, "closed");
    check(&sealed, Some(900), Some(2_000), &[(900, 996)], &[gap], &[gap]);
    let stalled = Stream { open: true, gaps: &[(996, 1_000, Cause::Stalled)], ..sealed };
    let gap = (996, 1_000, "stalled");
    check(&stalled, Some(900), Some(2_000), &[(900, 996)], &[gap], &[gap]);
}
