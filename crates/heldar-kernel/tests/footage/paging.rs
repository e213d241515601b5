//! Pages: none longer than asked for, no row twice, none skipped, while rows come and go.

use heldar_base::{Cause, Clock as _, Interval, Micros, NotWanted, SegmentId, StreamKind, WallTime};
use heldar_store::WriteOp;
use heldar_store::op::{AppendWanted, MarkDeleting, Markable, PutGap, RemoveGaps, RemoveMarked};
use serde_json::{Value, json};

use crate::history::{History, Piece, Row, create, gap, params_no, put, stream_no};
use crate::ledger::{micros, time};
use crate::support::World;

/// Reads all pages; between two of them `between` runs.
async fn walk(
    world: &World,
    path: &str,
    limit: usize,
    mut between: impl AsyncFnMut(usize),
) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let answer = world.get(&path).await;
        let page = answer.ok().as_array().unwrap().clone();
        assert!(page.len() <= limit, "{} rows", page.len());
        next = answer.next();
        assert_eq!(next.is_some(), answer.header("x-next-cursor").is_some());
        pages.push(page);
        between(pages.len()).await;
    }
    pages
}

fn texts(pages: &[Vec<Value>], name: &str) -> Vec<String> {
    pages.iter().flatten().map(|row| row[name].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_in_pages() {
    let world = World::start().await;
    let kernel = &world.kernel;
    let camera = create(kernel, "gate").await;
    let now = kernel.clock.wall();
    let base = now - Micros::from_hours(2);
    let at = |n: i64| base + Micros::from_secs(10 * n);
    let history =
        History { pieces: (0..23).map(|n| Piece::sealed(at(n), at(n + 1))).collect(), ..History::default() };
    history.store(kernel, &camera, StreamKind::Main).await;
    let path = "/api/v1/cameras/gate/segments";
    let starts = |from: i64, to: i64| -> Vec<String> { (from..to).map(|n| at(n).to_string()).collect() };

    // With a bound: oldest first, going forward, the filters repeated.
    let bounded = format!("{path}?from={}&to={}&limit=4", at(2) + Micros(1), at(19));
    let pages = walk(&world, &bounded, 4, async |_| {}).await;
    assert_eq!(texts(&pages, "start_time"), starts(2, 19));
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 4, 4, 1]);
    let next = world.get(&bounded).await.next().unwrap();
    assert!(next.starts_with(&format!("{path}?from=")) && next.contains("&limit=4&cursor="), "{next}");
    let exact = format!("{path}?from={}&limit=23", at(0));
    assert_eq!(walk(&world, &exact, 23, async |_| {}).await.len(), 1);

    // Without: the newest, each page ascending, going back.
    let pages = walk(&world, &format!("{path}?limit=5"), 5, async |_| {}).await;
    let expect: Vec<Vec<String>> =
        vec![starts(18, 23), starts(13, 18), starts(8, 13), starts(3, 8), starts(0, 3)];
    let got: Vec<Vec<String>> =
        pages.iter().map(|page| texts(std::slice::from_ref(page), "start_time")).collect();
    assert_eq!(got, expect);
    assert_eq!(world.get(path).await.next(), None);

    // A cursor belongs to its list and its filters.
    let cursor = next.split("cursor=").nth(1).unwrap();
    for foreign in [
        format!("{path}?cursor={cursor}"),
        format!("{path}?from={}&cursor={cursor}", at(2)),
        format!("/api/v1/cameras/gate/recording-gaps?cursor={cursor}"),
    ] {
        assert_eq!(world.get(&foreign).await.error(), (400, "bad_cursor".to_owned()), "{foreign}");
    }
    assert_eq!(world.get(&next.replace("limit=4", "limit=2")).await.ok().as_array().map(Vec::len), Some(2));

    // While segments come at the end and go at the beginning.
    let number = stream_no(kernel, &camera, StreamKind::Main).await;
    let params = params_no(kernel).await;
    let change = async |round: usize| {
        let n = 22 + i64::try_from(round).unwrap();
        kernel.store.write(put(number, params, &Piece::sealed(at(n), at(n + 1)))).await.unwrap();
        let oldest = SegmentId { stream_no: number, start: at(i64::try_from(round).unwrap() - 1) };
        kernel.store.write(MarkDeleting { ids: vec![oldest], which: Markable::Sealed }).await.unwrap();
        kernel.store.write(RemoveMarked { ids: vec![oldest] }).await.unwrap();
    };
    let pages = walk(&world, &format!("{path}?from={}&limit=6", at(0)), 6, change).await;
    let got = texts(&pages, "start_time");
    // Five pages; what was added before the last one was read is there, what went was seen before it went.
    assert_eq!(got, starts(0, i64::try_from(got.len()).unwrap()));
    assert!(got.len() >= 23 + pages.len() - 1, "{} in {} pages", got.len(), pages.len());
    let newest = 23 + i64::try_from(pages.len()).unwrap();
    let oldest = i64::try_from(pages.len()).unwrap();
    let insert = async |round: usize| {
        let n = newest - 1 + i64::try_from(round).unwrap();
        kernel.store.write(put(number, params, &Piece::sealed(at(n), at(n + 1)))).await.unwrap();
    };
    let pages = walk(&world, &format!("{path}?limit=6"), 6, insert).await;
    let mut got = texts(&pages, "start_time");
    got.sort();
    assert_eq!(got, starts(oldest, newest));
}

#[tokio::test(flavor = "multi_thread")]
async fn gap_rows_in_pages() {
    let world = World::start().await;
    let kernel = &world.kernel;
    let camera = create(kernel, "gate").await;
    let base = kernel.clock.wall() - Micros::from_hours(2);
    let row = |n: u128, open| {
        let start = base + Micros::from_secs(20 * i64::try_from(n).unwrap() / 2);
        let interval = Interval::new(start, start + Micros::from_secs(5));
        gap(&camera, n, &Row { interval, open, cause: Cause::Auth })
    };
    let rows = (1..=12).map(|n| WriteOp::from(PutGap { gap: row(n, false) })).collect();
    kernel.store.write_all(rows).await.unwrap();
    // Supervision knows an open one that the store does not.
    let config =
        heldar_recorder::StatusConfig { debounce: Micros::from_secs(10), stale: Micros::from_secs(60) };
    let stream = heldar_base::StreamId::new(camera.clone(), StreamKind::Main);
    let seed = heldar_kernel::engine::supervisor::WatchSeed {
        stream,
        config,
        stored: None,
        resume: None,
        open_gap: Some(row(13, true)),
    };
    kernel.supervisor.watch(&camera, seed);
    let path = "/api/v1/cameras/gate/recording-gaps";
    let ids = |numbers: &mut dyn Iterator<Item = u128>| -> Vec<String> {
        numbers.map(|n| format!("gap_{n:032x}")).collect()
    };
    for limit in [1, 4, 12, 13] {
        let pages = walk(&world, &format!("{path}?limit={limit}"), limit, async |_| {}).await;
        assert_eq!(texts(&pages, "id"), ids(&mut (1..=13).rev()), "{limit}");
        assert_eq!(pages.len(), 13usize.div_ceil(limit), "{limit}");
    }
    // The same with the row in the store, too; the filters count for it.
    kernel.store.write(PutGap { gap: row(13, true) }).await.unwrap();
    assert_eq!(texts(&[world.get(path).await.ok().as_array().unwrap().clone()], "id").len(), 13);
    let late = kernel.clock.wall() - Micros::from_secs(1);
    let open_only = world.get(&format!("{path}?from={late}")).await.ok();
    assert_eq!(texts(&[open_only.as_array().unwrap().clone()], "id"), ids(&mut (13..=13)));
    assert_eq!(world.get(&format!("{path}?cause=disk")).await.ok(), json!([]));
    assert_eq!(world.get(&format!("{path}?state=filled")).await.ok(), json!([]));

    let remove = async |round: usize| {
        let ids = vec![row(12 - u128::try_from(round).unwrap(), false).id];
        kernel.store.write(RemoveGaps { ids }).await.unwrap();
    };
    let pages = walk(&world, &format!("{path}?limit=5"), 5, remove).await;
    let got = texts(&pages, "id");
    assert_eq!(got, ids(&mut (1..=13).rev().filter(|n| got.contains(&format!("gap_{n:032x}")))));
    assert!(got.len() >= 11, "{got:?}");
}

/// More segments, gaps and changes than the ledger reads at a time.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_window_is_read_in_pages() {
    const SEGMENTS: i64 = 10_400;
    let world = World::start().await;
    let kernel = &world.kernel;
    let camera = create(kernel, "gate").await;
    let number = stream_no(kernel, &camera, StreamKind::Main).await;
    let params = params_no(kernel).await;
    let base = (kernel.clock.wall() - Micros::from_hours(300 * 24)).floor_second();
    let minute = |n: i64| base + Micros::from_secs(60 * n);
    // Each ends five seconds early: in turn for the disk, and because nobody wants any footage.
    let end = |n: i64| minute(n + 1) - Micros::from_secs(5);
    let wanted = |at: WallTime, reason| AppendWanted { camera: camera.clone(), at, reason };
    let mut ops: Vec<WriteOp> = vec![wanted(base, None).into()];
    for n in 0..SEGMENTS {
        ops.push(put(number, params, &Piece::sealed(minute(n), end(n))).into());
        if n % 2 == 0 {
            let row = Row { interval: Interval::new(end(n), minute(n + 1)), open: false, cause: Cause::Disk };
            ops.push(PutGap { gap: gap(&camera, n.cast_unsigned().into(), &row) }.into());
        } else {
            ops.push(wanted(end(n), Some(NotWanted::RecorderOff)).into());
            ops.push(wanted(minute(n + 1), None).into());
        }
    }
    kernel.store.write_all(ops).await.unwrap();
    let window = format!("from={base}&to={}", minute(SEGMENTS));
    let got = world.get(&format!("/api/v1/cameras/gate/coverage?{window}")).await.ok();
    let holes = SEGMENTS / 2;
    assert_eq!(got["missing"], json!({ "disk": 5 * holes }));
    assert_eq!(got["not_wanted"], json!({ "recorder_off": 5 * holes }));
    assert_eq!(micros(&got["recorded_seconds"]), Micros::from_secs(60 * SEGMENTS - 10 * holes));
    let got = world.get(&format!("/api/v1/cameras/gate/timeline?{window}")).await.ok();
    assert_eq!(got["segment_count"], json!(SEGMENTS));
    assert_eq!(got["ranges"].as_array().map(|list| list.len() as i64), Some(SEGMENTS));
    assert_eq!(time(&got["ranges"][0]["end"]), end(0));
    let path = format!("/api/v1/cameras/gate/segments?{window}&limit=999999");
    let pages = walk(&world, &path, 5000, async |_| {}).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [5000, 5000, 400]);
}
