//! Random histories: what the routes say of any window is what a naive reading of the rows says.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use heldar_base::{Cause, Clock as _, EndReason, Interval, Micros, NotWanted, StreamKind, WallTime};
use heldar_kernel::engine::supervisor::WatchSeed;
use heldar_recorder::StatusConfig;
use heldar_store::Hole;
use heldar_timeline::State;
use proptest::prelude::*;
use serde_json::Value;

use crate::history::{History, Piece, Row, create, gap};
use crate::support::World;

fn cause() -> impl Strategy<Value = Cause> {
    prop::sample::select(vec![
        Cause::Stalled,
        Cause::Unreachable,
        Cause::Disk,
        Cause::ServerStopped,
        Cause::Retention,
        Cause::Deleted,
    ])
}

/// A pause before a segment, its length, and up to two holes inside as shares of a thousand.
type RawPiece = (i64, i64, Vec<(i64, i64, Cause)>, EndReason, Option<Cause>);

fn raw_piece() -> impl Strategy<Value = RawPiece> {
    let pause = prop_oneof![
        3 => Just(0i64),
        1 => 1i64..2_000_000,
        1 => 2_000_000i64..40_000_000,
    ];
    let holes = prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec((50i64..450, 1i64..300, cause()), 1..2),
    ];
    let reason = prop::sample::select(EndReason::ALL);
    (pause, 100_000i64..60_000_000, holes, reason, prop::option::of(cause()))
}

fn pieces(raw: Vec<RawPiece>, open: bool) -> Vec<Piece> {
    let mut at = 20_000_000;
    let mut out = Vec::new();
    for (pause, length, holes, reason, cause) in raw {
        let start = at + pause;
        at = start + length;
        let hole = |(from, len, cause): (i64, i64, Cause)| Hole {
            start: WallTime(start + length * from / 1000),
            end: WallTime(start + length * (from + len) / 1000),
            cause,
        };
        out.push(Piece {
            interval: Interval::new(WallTime(start), WallTime(at)),
            holes: holes.into_iter().map(hole).collect(),
            seal: Some((reason, cause)),
        });
    }
    if let Some(last) = out.last_mut().filter(|_| open) {
        last.seal = None;
    }
    out
}

/// Times begin at 0 and are moved later.
fn history() -> impl Strategy<Value = History> {
    let span = 400_000_000i64;
    let row = (0..span, 3_000_000i64..60_000_000, cause()).prop_map(|(start, length, cause)| Row {
        interval: Interval::new(WallTime(start), WallTime(start + length)),
        open: false,
        cause,
    });
    let change = (0..span, prop::option::of(prop::sample::select(NotWanted::ALL)));
    (
        prop::collection::vec(raw_piece(), 0..12),
        any::<bool>(),
        prop::collection::vec(row, 0..5),
        prop::collection::vec(change, 0..5),
    )
        .prop_map(|(raw, open, mut rows, mut wanted)| {
            rows.sort_by_key(|row| row.interval.start);
            rows.dedup_by_key(|row| row.interval.start);
            wanted.sort_by_key(|(at, _)| *at);
            wanted.dedup_by_key(|(at, _)| *at);
            let wanted = wanted.into_iter().map(|(at, reason)| (WallTime(at), reason)).collect();
            History { pieces: pieces(raw, open), rows, wanted }
        })
}

impl History {
    fn shift(mut self, by: Micros) -> History {
        let moved = |interval: Interval| Interval::new(interval.start + by, interval.end + by);
        for piece in &mut self.pieces {
            piece.interval = moved(piece.interval);
            for hole in &mut piece.holes {
                (hole.start, hole.end) = (hole.start + by, hole.end + by);
            }
        }
        self.rows.iter_mut().for_each(|row| row.interval = moved(row.interval));
        self.wanted.iter_mut().for_each(|(at, _)| *at = *at + by);
        self
    }

    fn end(&self) -> WallTime {
        let rows = self.rows.iter().map(|row| row.interval.end);
        let wanted = self.wanted.iter().map(|(at, _)| *at);
        self.pieces
            .iter()
            .map(|piece| piece.interval.end)
            .chain(rows)
            .chain(wanted)
            .max()
            .unwrap_or(WallTime(0))
    }
}

/// Runs `check` on some histories, each of a camera of its own, in one world.
fn with_histories<F>(cases: u32, strategy: impl Strategy<Value = (History, i64, i64)>, check: F)
where
    F: AsyncFn(&World, &str, History, i64, i64) -> Result<(), TestCaseError>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::start());
    let count = AtomicUsize::new(0);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = prop::test_runner::TestRunner::new(config);
    let outcome = runner.run(&strategy, |(history, a, b)| {
        let name = format!("cam_{}", count.fetch_add(1, Ordering::Relaxed));
        runtime.block_on(check(&world, &name, history, a, b))
    });
    runtime.block_on(world.kernel.stop());
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

pub(crate) fn time(value: &Value) -> WallTime {
    WallTime::parse(value.as_str().unwrap_or_else(|| panic!("{value}"))).unwrap()
}

pub(crate) fn micros(value: &Value) -> Micros {
    Micros((value.as_f64().unwrap_or_else(|| panic!("{value}")) * 1e6).round() as i64)
}

fn sum(map: &Value) -> Micros {
    map.as_object().unwrap().values().map(micros).sum()
}

fn kind_and_cause(state: State) -> (&'static str, Option<&'static str>) {
    match state {
        State::Recorded => ("recorded", None),
        State::NotWanted(reason) => ("not_wanted", Some(reason.as_str())),
        State::Missing(cause) => ("missing", Some(cause.as_str())),
    }
}

/// Everything that one coverage answer must be.
fn check_coverage(
    got: &Value,
    history: &History,
    asked: Interval,
    now: WallTime,
) -> Result<(), TestCaseError> {
    let window = Interval::new(asked.start, asked.end.min(now));
    prop_assert_eq!((time(&got["from"]), time(&got["to"])), (window.start, window.end));
    prop_assert_eq!(micros(&got["window_seconds"]), window.len());
    let expect = history.paint(window, now);
    let intervals = got["intervals"].as_array().unwrap();
    let told: Vec<_> = intervals
        .iter()
        .map(|i| (time(&i["start"]), time(&i["end"]), i["kind"].as_str().unwrap(), i["cause"].as_str()))
        .collect();
    let expected: Vec<_> = expect
        .iter()
        .map(|(interval, state)| {
            let (kind, cause) = kind_and_cause(*state);
            (interval.start, interval.end, kind, cause)
        })
        .collect();
    prop_assert_eq!(told, expected);

    let total = |pick: fn(&State) -> Option<&'static str>| {
        let mut sums: BTreeMap<&str, Micros> = BTreeMap::new();
        for (interval, state) in &expect {
            if let Some(name) = pick(state) {
                *sums.entry(name).or_default() += interval.len();
            }
        }
        sums
    };
    let named = |map: &Value| -> BTreeMap<String, Micros> {
        map.as_object().unwrap().iter().map(|(name, time)| (name.clone(), micros(time))).collect()
    };
    let missing = total(|state| if let State::Missing(cause) = state { Some(cause.as_str()) } else { None });
    let unwanted = total(|state| if let State::NotWanted(why) = state { Some(why.as_str()) } else { None });
    let owned = |sums: &BTreeMap<&str, Micros>| -> BTreeMap<String, Micros> {
        sums.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect()
    };
    prop_assert_eq!(named(&got["missing"]), owned(&missing));
    prop_assert_eq!(named(&got["not_wanted"]), owned(&unwanted));
    prop_assert_eq!(micros(&got["missing_seconds"]), sum(&got["missing"]));
    prop_assert_eq!(micros(&got["not_wanted_seconds"]), sum(&got["not_wanted"]));
    let all = micros(&got["recorded_seconds"]) + sum(&got["missing"]) + sum(&got["not_wanted"]);
    prop_assert_eq!(all, window.len());
    let removed = ["retention", "deleted"].iter().filter_map(|cause| missing.get(cause).copied()).sum();
    prop_assert_eq!(micros(&got["lost_seconds"]), micros(&got["missing_seconds"]) - removed);
    Ok(())
}

fn shares() -> (std::ops::Range<i64>, std::ops::Range<i64>) {
    (0..1_000, 0..1_000)
}

#[test]
fn coverage_is_what_a_naive_reading_says() {
    let (a, b) = shares();
    with_histories(48, (history(), a, b), async |world, name, history, a, b| {
        let camera = create(&world.kernel, name).await;
        let now = world.kernel.clock.wall();
        // All of it lies in the past; a window may begin before it and end after now.
        let base = now - Micros::from_hours(1);
        let history = history.shift(Micros(base.0));
        history.store(&world.kernel, &camera, StreamKind::Main).await;
        let share = |share: i64| base + Micros(share * 450_000) - Micros::from_secs(10);
        let mut windows = vec![
            Interval::new(share(a.min(b)), share(a.max(b))),
            Interval::new(share(a), now + Micros::from_hours(1)),
        ];
        // Edges of what was recorded are where things go wrong.
        windows.extend(history.pieces.last().map(|last| Interval::new(last.interval.end, now)));
        windows.extend(history.pieces.first().map(|first| first.interval));
        for window in windows {
            let path = format!(
                "/api/v1/cameras/{name}/coverage?from={}&to={}&detail=true",
                window.start, window.end
            );
            let got = world.get(&path).await.ok();
            let now = if window.end > now { time(&got["to"]) } else { world.kernel.clock.wall() };
            check_coverage(&got, &history, window, now)?;
        }
        Ok(())
    });
}

#[test]
fn the_present_is_what_a_naive_reading_says() {
    let offsets = (-6_000_000i64..500_000, 0i64..10_000_000);
    with_histories(48, (history(), offsets.0, offsets.1), async |world, name, history, end, back| {
        let camera = create(&world.kernel, name).await;
        let now = world.kernel.clock.wall();
        let by = now + Micros(end) - history.end();
        let mut history = history.shift(Micros(by.0));
        // Every other history ends with a gap that goes on; supervision knows of half of these alone.
        let mut told = None;
        if end % 2 == 0 {
            let start = now - Micros(back);
            let row = Row {
                interval: Interval::new(start, now + Micros::from_hours(1)),
                open: true,
                cause: Cause::Auth,
            };
            if end % 4 == 0 {
                told = Some(gap(&camera, 1 << 100, &row));
                history.store(&world.kernel, &camera, StreamKind::Main).await;
                history.rows.push(row);
            } else {
                history.rows.push(row);
                history.store(&world.kernel, &camera, StreamKind::Main).await;
            }
        } else {
            history.store(&world.kernel, &camera, StreamKind::Main).await;
        }
        if let Some(open) = told {
            let config = StatusConfig { debounce: Micros::from_secs(10), stale: Micros::from_secs(60) };
            let stream = heldar_base::StreamId::new(camera.clone(), StreamKind::Main);
            let seed = WatchSeed { stream, config, stored: None, resume: None, open_gap: Some(open) };
            world.kernel.supervisor.watch(&camera, seed);
        }
        let path = format!("/api/v1/cameras/{name}/coverage?detail=true");
        let got = world.get(&path).await.ok();
        let now = time(&got["to"]);
        let day = Interval::new(now - Micros::from_hours(24), now);
        check_coverage(&got, &history, day, now)?;
        // From just before now on, where an open gap began long ago.
        let late = world.kernel.clock.wall() - Micros(back / 8);
        let got = world.get(&format!("{path}&from={late}")).await.ok();
        let now = time(&got["to"]);
        if history.rows.iter().all(|row| !row.open || row.interval.start >= late) || end % 4 == 0 {
            check_coverage(&got, &history, Interval::new(late, now), now)?;
        }
        Ok(())
    });
}

/// Footage with holes up to a tolerance bridged.
fn merged(footage: &[Interval], tolerance: Micros) -> Vec<Interval> {
    let mut out: Vec<Interval> = Vec::new();
    for interval in footage {
        match out.last_mut() {
            Some(last) if interval.start - last.end <= tolerance => last.end = interval.end,
            _ => out.push(*interval),
        }
    }
    out
}

#[test]
fn timeline_and_gaps_agree_with_a_naive_reading() {
    let (a, b) = shares();
    with_histories(48, (history(), a, b), async |world, name, history, a, b| {
        let camera = create(&world.kernel, name).await;
        let now = world.kernel.clock.wall();
        let base = now - Micros::from_hours(1);
        let mut history = history.shift(Micros(base.0));
        history.wanted = vec![(base, None)];
        history.store(&world.kernel, &camera, StreamKind::Main).await;
        let share = |share: i64| base + Micros(share * 450_000);
        let window = Interval::new(share(a.min(b)), share(a.max(b)));
        let tolerance = Micros::from_millis(a * 7 % 5_000);
        let query = format!("from={}&to={}&tolerance_ms={}", window.start, window.end, tolerance.0 / 1_000);

        let pieces: Vec<&Piece> = history
            .pieces
            .iter()
            .filter(|piece| piece.interval.start < window.end && piece.interval.end > window.start)
            .collect();
        let mut footage = Vec::new();
        for piece in &pieces {
            let mut start = piece.interval.start;
            for hole in &piece.holes {
                footage.push(Interval::new(start, hole.start));
                start = hole.end;
            }
            footage.push(Interval::new(start, piece.interval.end));
        }
        let ranges_of = |footage: &[Interval]| {
            let mut ranges = merged(footage, tolerance);
            ranges.retain(|range| {
                range.start < window.end && range.end > window.start
                    || window.is_empty() && range.contains(window.start)
            });
            ranges
        };
        let ranges = ranges_of(&footage);

        let got = world.get(&format!("/api/v1/cameras/{name}/timeline?{query}")).await.ok();
        let told: Vec<_> =
            got["ranges"].as_array().unwrap().iter().map(|r| (time(&r["start"]), time(&r["end"]))).collect();
        let expected: Vec<_> = ranges.iter().map(|range| (range.start, range.end)).collect();
        prop_assert_eq!(told, expected);
        prop_assert_eq!(got["segment_count"].as_u64(), Some(pieces.len() as u64));
        prop_assert_eq!(micros(&got["recorded_seconds"]), ranges.iter().map(Interval::len).sum());
        let grows = history.pieces.last().filter(|piece| piece.seal.is_none());
        let open =
            grows.is_some_and(|piece| ranges.last().is_some_and(|range| range.end == piece.interval.end));
        prop_assert_eq!(got["open"].as_bool(), Some(open));

        // What is no range is a gap when it is longer than the tolerance; what is on its way is none.
        let newest = history.pieces.last().is_some_and(|piece| piece.interval.start < window.end);
        footage.extend(history.tail(now).filter(|_| newest));
        let ranges = ranges_of(&footage);
        let mut gaps = Vec::new();
        let mut start = window.start;
        for range in &ranges {
            gaps.push(Interval::new(start, range.start));
            start = range.end;
        }
        gaps.push(Interval::new(start, window.end));
        gaps.retain(|gap| gap.len() > tolerance);
        let got = world.get(&format!("/api/v1/cameras/{name}/gaps?{query}&include=not_wanted")).await.ok();
        let list = got["gaps"].as_array().unwrap();
        let told = merged(
            &list.iter().map(|g| Interval::new(time(&g["start"]), time(&g["end"]))).collect::<Vec<_>>(),
            Micros::ZERO,
        );
        prop_assert_eq!(told, gaps.clone());
        prop_assert_eq!(got["gap_count"].as_u64(), Some(list.len() as u64));
        prop_assert_eq!(micros(&got["total_gap_seconds"]), gaps.iter().map(Interval::len).sum());
        for gap in list {
            prop_assert_eq!(micros(&gap["seconds"]), time(&gap["end"]) - time(&gap["start"]));
        }
        Ok(())
    });
}
