//! Streams, segments, fragment index, deletion.

use heldar_base::{Cause, EndReason, Scope, SegmentId, StreamId, StreamKind, WallTime};
use heldar_store::op::{
    DeleteCamera, EnsureParams, EnsureStream, MarkDeleting, Markable, MendSegment, ObserveStream, PutOutcome,
    PutSegment, RemoveMarked, RestateTotals, Seal,
};
use heldar_store::{AudioFormat, CodecParams, ErrorKind, Hole, Observed, SegmentState, Store, TimeRange};

use crate::world::{Db, Feed, at, camera, create_camera, create_feed, main_stream, video};

/// A window in seconds.
fn range(from: Option<i64>, to: Option<i64>) -> TimeRange {
    TimeRange { from: from.map(at), to: to.map(at) }
}

/// Starts of the segments of a window, in seconds.
async fn starts(store: &Store, range: TimeRange) -> Vec<i64> {
    let page = store.segments(&Scope::All, &main_stream("a"), range, None, 100).await.unwrap();
    page.rows.iter().map(|segment| (segment.id.start.0 - at(0).0) / 1_000_000).collect()
}

pub(crate) async fn a_segment_grows_and_is_sealed(db: Db) {
    let store = db.open().await;
    let feed = create_feed(&store, "a").await;
    assert_eq!(store.write(feed.open(0, 5)).await.unwrap(), PutOutcome::Stored);
    assert_eq!(
        store.write(PutSegment { index: None, ..feed.open(0, 10) }).await.unwrap(),
        PutOutcome::Stored
    );
    assert_eq!(store.segment_index(&Scope::All, feed.id(0)).await.unwrap(), Some(vec![1, 2, 3]));
    let holes = vec![Hole { start: at(3), end: at(4), cause: Cause::Stalled }];
    let seal = Some(Seal { reason: EndReason::SessionLost, cause: Some(Cause::Closed) });
    let last = PutSegment { seal, holes: holes.clone(), index: Some(vec![9; 500]), ..feed.open(0, 12) };
    assert_eq!(store.write(last).await.unwrap(), PutOutcome::Stored);

    let stored = store.segment(&Scope::All, feed.id(0)).await.unwrap().unwrap();
    assert_eq!((stored.id, stored.stream.clone(), stored.end), (feed.id(0), main_stream("a"), at(12)));
    assert_eq!((stored.size_bytes, stored.name_no, stored.state), (12_000, 1, SegmentState::Sealed));
    assert_eq!((stored.end_reason, stored.end_cause), (Some(EndReason::SessionLost), Some(Cause::Closed)));
    assert_eq!((stored.holes, stored.created_at, stored.dependent), (holes.clone(), at(0), false));
    assert_eq!(*stored.params, video(768));
    let spans =
        store.segment_spans(&Scope::All, &main_stream("a"), range(None, None), None, 10).await.unwrap();
    assert_eq!((spans.rows[0].start, spans.rows[0].end, spans.rows[0].open), (at(0), at(12), false));
    assert_eq!(spans.rows[0].holes, holes);
    let indexes =
        store.segment_indexes(&Scope::All, &main_stream("a"), range(None, None), None, 10).await.unwrap();
    assert_eq!(indexes.rows, [(feed.id(0), vec![9; 500])]);

    let streams = store.streams(&Scope::All).await.unwrap();
    assert_eq!((streams[0].stream_no, &streams[0].id), (feed.stream_no, &main_stream("a")));
    let totals = streams[0].totals;
    assert_eq!((totals.segment_count, totals.total_bytes, totals.newest_end), (1, 12_000, Some(at(12))));
    let observed = Observed { codec: "h264".into(), width: 768, height: 576, fps_milli: Some(10_000) };
    store.write(ObserveStream { stream_no: feed.stream_no, observed: observed.clone() }).await.unwrap();
    assert_eq!(store.streams(&Scope::All).await.unwrap()[0].observed, Some(observed));
}

pub(crate) async fn stale_writes_change_nothing(db: Db) {
    let store = db.open().await;
    let feed = create_feed(&store, "a").await;
    store.write(feed.open(0, 10)).await.unwrap();
    assert_eq!(store.write(feed.open(0, 5)).await.unwrap(), PutOutcome::Unchanged);
    // A crash leaves the row longer than the file: sealing may shorten it.
    assert_eq!(store.write(feed.sealed(0, 9)).await.unwrap(), PutOutcome::Stored);
    assert_eq!(store.write(feed.sealed(0, 9)).await.unwrap(), PutOutcome::Unchanged);
    assert_eq!(store.write(feed.open(0, 10)).await.unwrap(), PutOutcome::Unchanged);
    assert_eq!(store.write(feed.sealed(0, 8)).await.unwrap_err().kind(), ErrorKind::Conflict);
    let stored = store.segment(&Scope::All, feed.id(0)).await.unwrap().unwrap();
    assert_eq!((stored.end, stored.size_bytes, stored.state), (at(9), 9000, SegmentState::Sealed));
    // A cause that nobody knew at the end is added later; one that stands stays.
    for cause in [Cause::ServerCrashed, Cause::Disk] {
        let seal = Some(Seal { reason: EndReason::Rotated, cause: Some(cause) });
        let named = PutSegment { seal, ..feed.sealed(0, 9) };
        assert_eq!(store.write(named).await.unwrap(), PutOutcome::Unchanged);
        let stored = store.segment(&Scope::All, feed.id(0)).await.unwrap().unwrap();
        assert_eq!(stored.end_cause, Some(Cause::ServerCrashed));
    }
    let rates = store.write_rates(&Scope::All, at(10)).await.unwrap();
    assert_eq!(rates[0].bytes_per_day, 9000);

    let gone = PutSegment { id: SegmentId { stream_no: 999, start: at(0) }, ..feed.open(0, 1) };
    assert_eq!(store.write(gone).await.unwrap_err().kind(), ErrorKind::NotFound);
    // Written for the first time when it is complete, as when a file is found.
    assert_eq!(store.write(feed.sealed(20, 30)).await.unwrap(), PutOutcome::Stored);
}

pub(crate) async fn segments_never_overlap(db: Db) {
    let store = db.open().await;
    let feed = create_feed(&store, "a").await;
    store.write(feed.sealed(10, 20)).await.unwrap();
    store.write(feed.sealed(30, 40)).await.unwrap();
    for (start, end) in [(5, 11), (15, 16), (19, 25), (25, 31), (5, 50), (35, 60)] {
        let outcome = store.write(feed.sealed(start, end)).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Conflict, "{start} to {end}");
    }
    store.write(feed.open(20, 25)).await.unwrap();
    assert_eq!(store.write(feed.open(20, 31)).await.unwrap_err().kind(), ErrorKind::Conflict);
    store.write(feed.sealed(20, 30)).await.unwrap();
    // Another stream of the camera has its own time.
    let sub = StreamId::new(camera("a"), StreamKind::Sub);
    let sub_no = store.write(EnsureStream { stream: sub }).await.unwrap();
    store.write(Feed { stream_no: sub_no, ..feed }.sealed(15, 35)).await.unwrap();
    assert_eq!(starts(&store, range(None, None)).await, [10, 20, 30]);
}

pub(crate) async fn windows_overlap_as_documented(db: Db) {
    let store = db.open().await;
    let feed = create_feed(&store, "a").await;
    for (start, end) in [(0, 10), (10, 20), (30, 40), (40, 50)] {
        store.write(feed.sealed(start, end)).await.unwrap();
    }
    let check = async |from, to, expect: &[i64]| {
        assert_eq!(starts(&store, range(from, to)).await, expect, "{from:?} {to:?}");
    };
    check(None, None, &[0, 10, 30, 40]).await;
    check(Some(5), Some(6), &[0]).await;
    check(Some(10), Some(11), &[10]).await;
    check(Some(9), Some(11), &[0, 10]).await;
    check(Some(20), Some(30), &[]).await;
    check(Some(19), Some(31), &[10, 30]).await;
    check(Some(45), None, &[40]).await;
    check(Some(50), None, &[]).await;
    check(None, Some(10), &[0]).await;
    check(None, Some(0), &[]).await;
    check(Some(-100), Some(1), &[0]).await;
    check(Some(15), Some(15), &[10]).await;

    // Page by page, the window holds the same.
    let mut after: Option<WallTime> = None;
    let mut seen = Vec::new();
    loop {
        let page =
            store.segments(&Scope::All, &main_stream("a"), range(Some(5), Some(45)), after, 1).await.unwrap();
        seen.extend(page.rows.iter().map(|segment| segment.id));
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    assert_eq!(seen, [0, 10, 30, 40].map(|start| feed.id(start)));
    let first = store.first_segment(&Scope::All, &main_stream("a")).await.unwrap().unwrap();
    let last = store.last_segment(&Scope::All, &main_stream("a")).await.unwrap().unwrap();
    assert_eq!((first.id, last.id), (feed.id(0), feed.id(40)));
    assert!(store.last_segment(&Scope::All, &main_stream("nobody")).await.unwrap().is_none());
}

pub(crate) async fn newest_pages_go_back_in_time(db: Db) {
    let store = db.open().await;
    let feed = create_feed(&store, "a").await;
    for start in 0..5 {
        store.write(feed.sealed(start * 10, start * 10 + 10)).await.unwrap();
    }
    let stream = main_stream("a");
    let page = store.newest_segments(&Scope::All, &stream, None, 2).await.unwrap();
    assert_eq!(page.rows.iter().map(|s| s.id).collect::<Vec<_>>(), [feed.id(30), feed.id(40)]);
    let page = store.newest_segments(&Scope::All, &stream, page.next, 2).await.unwrap();
    assert_eq!(page.rows.iter().map(|s| s.id).collect::<Vec<_>>(), [feed.id(10), feed.id(20)]);
    let page = store.newest_segments(&Scope::All, &stream, page.next, 2).await.unwrap();
    assert_eq!(page.rows.iter().map(|s| s.id).collect::<Vec<_>>(), [feed.id(0)]);
    assert_eq!(page.next, None);
}

pub(crate) async fn parameters_are_stored_once(db: Db) {
    let store = db.open().await;
    let sound = |rate| CodecParams {
        audio: Some(AudioFormat {
            codec: "aac".into(),
            codec_string: "mp4a.40.2".into(),
            sample_rate: rate,
            channels: 1,
        }),
        ..video(768)
    };
    let mut numbers = Vec::new();
    for params in [video(768), video(1920), sound(8000), sound(48_000), video(768), sound(8000)] {
        numbers.push(store.write(EnsureParams { params }).await.unwrap());
    }
    assert_eq!(numbers, [1, 2, 3, 4, 1, 3]);
    let feed = create_feed(&store, "a").await;
    store.write(PutSegment { params_no: 4, ..feed.sealed(0, 1) }).await.unwrap();
    store.write(PutSegment { params_no: 2, ..feed.sealed(1, 2) }).await.unwrap();
    let page = store.segments(&Scope::All, &main_stream("a"), range(None, None), None, 10).await.unwrap();
    assert_eq!((&*page.rows[0].params, &*page.rows[1].params), (&sound(48_000), &video(1920)));
    let stream = EnsureStream { stream: main_stream("a") };
    assert_eq!(store.write(stream).await.unwrap(), feed.stream_no);
    let stream = EnsureStream { stream: main_stream("nobody") };
    assert_eq!(store.write(stream).await.unwrap_err().kind(), ErrorKind::NotFound);
}

pub(crate) async fn deletion_goes_in_three_steps(db: Db) {
    let store = db.open().await;
    let feed = create_feed(&store, "a").await;
    for start in [0, 10, 20] {
        store.write(feed.sealed(start, start + 10)).await.unwrap();
    }
    store.write(feed.open(30, 35)).await.unwrap();
    let mark =
        |which, starts: &[i64]| MarkDeleting { ids: starts.iter().map(|s| feed.id(*s)).collect(), which };
    let marked = store.write(mark(Markable::Sealed, &[0, 20, 30, 77])).await.unwrap();
    assert_eq!(marked, [feed.id(0), feed.id(20)]);
    assert!(store.write(mark(Markable::Sealed, &[0, 20])).await.unwrap().is_empty());
    assert_eq!(starts(&store, range(None, None)).await, [10, 30]);
    assert!(store.segment(&Scope::All, feed.id(0)).await.unwrap().is_none());
    assert!(store.segment_index(&Scope::All, feed.id(0)).await.unwrap().is_none());
    assert_eq!(store.write(feed.sealed(0, 10)).await.unwrap(), PutOutcome::Deleting);
    let totals = store.streams(&Scope::All).await.unwrap()[0].totals;
    assert_eq!((totals.segment_count, totals.total_bytes, totals.newest_end), (2, 15_000, Some(at(35))));

    let store = {
        store.close().await;
        db.open().await
    };
    let page = store.deleting_segments(&Scope::All, None, 10).await.unwrap();
    let ids: Vec<_> = page.rows.iter().map(|segment| segment.id).collect();
    assert_eq!(ids, [feed.id(0), feed.id(20)]);
    assert_eq!((page.rows[0].stream.clone(), page.rows[0].name_no), (main_stream("a"), 1));
    assert_eq!(store.write(RemoveMarked { ids: vec![feed.id(0), feed.id(10)] }).await.unwrap(), 1);
    assert_eq!(starts(&store, range(None, None)).await, [10, 30]);
    assert_eq!(store.write(mark(Markable::OpenToo, &[30])).await.unwrap(), [feed.id(30)]);
    let rows = db.numbers("SELECT COUNT(*) FROM segment_index").await;
    assert_eq!(rows, [[3]], "the fragment index went with its segment");
}

pub(crate) async fn a_deleted_camera_takes_its_footage(db: Db) {
    let store = db.open().await;
    let feed = create_feed(&store, "a").await;
    store.write(feed.sealed(0, 10)).await.unwrap();
    store.write(feed.open(10, 15)).await.unwrap();
    store.write(DeleteCamera { id: camera("a") }).await.unwrap();
    assert!(starts(&store, range(None, None)).await.is_empty());
    assert!(store.segment(&Scope::All, feed.id(0)).await.unwrap().is_none());
    assert!(store.streams(&Scope::All).await.unwrap().is_empty());
    assert!(store.open_segments(&Scope::All, None, 10).await.unwrap().rows.is_empty());
    assert!(store.write_rates(&Scope::All, at(20)).await.unwrap().is_empty());

    // A camera of the same name begins anew, while files of the old one are still being removed.
    create_camera(&store, "a").await;
    let fresh = store.write(EnsureStream { stream: main_stream("a") }).await.unwrap();
    assert_ne!(fresh, feed.stream_no);
    store.write(Feed { stream_no: fresh, ..feed }.sealed(5, 12)).await.unwrap();
    assert_eq!(starts(&store, range(None, None)).await, [5]);

    let page = store.deleting_segments(&Scope::All, None, 1).await.unwrap();
    assert_eq!((page.rows[0].id, page.rows[0].stream.clone()), (feed.id(0), main_stream("a")));
    let rest = store.deleting_segments(&Scope::All, page.next, 10).await.unwrap();
    assert_eq!(rest.rows.iter().map(|segment| segment.id).collect::<Vec<_>>(), [feed.id(10)]);
    assert_eq!(store.write(RemoveMarked { ids: vec![feed.id(0), feed.id(10)] }).await.unwrap(), 2);
    assert!(store.deleting_segments(&Scope::All, None, 10).await.unwrap().rows.is_empty());
    assert_eq!(db.numbers("SELECT stream_no FROM stream").await, [[fresh]]);
    // A write of the old recorder that comes late finds no stream; its file is removed by whoever wrote it.
    assert_eq!(store.write(feed.sealed(10, 20)).await.unwrap_err().kind(), ErrorKind::NotFound);
}

pub(crate) async fn a_sealed_row_is_mended(db: Db) {
    let store = db.open().await;
    let feed = create_feed(&store, "a").await;
    store.write(feed.sealed(0, 10)).await.unwrap();
    let mend = |start: i64, end: i64, size| MendSegment {
        id: feed.id(start),
        end: at(end),
        size_bytes: size,
        holes: Vec::new(),
        index: vec![7],
    };
    store.write(mend(0, 6, 6000)).await.unwrap();
    let stored = store.segment(&Scope::All, feed.id(0)).await.unwrap().unwrap();
    assert_eq!((stored.end, stored.size_bytes), (at(6), 6000));
    assert_eq!(store.segment_index(&Scope::All, feed.id(0)).await.unwrap(), Some(vec![7]));
    assert_eq!(store.streams(&Scope::All).await.unwrap()[0].totals.total_bytes, 6000);
    store.write(feed.open(20, 21)).await.unwrap();
    store.write(mend(0, 12, 9000)).await.unwrap();
    assert_eq!(store.streams(&Scope::All).await.unwrap()[0].totals.total_bytes, 10_000);
    for (end, kind) in [(21, ErrorKind::Conflict), (-1, ErrorKind::Conflict)] {
        assert_eq!(store.write(mend(0, end, 9000)).await.unwrap_err().kind(), kind, "{end}");
    }
    assert_eq!(store.write(mend(20, 21, 1)).await.unwrap_err().kind(), ErrorKind::NotFound);
}

pub(crate) async fn totals_are_restated(db: Db) {
    let store = db.open().await;
    let feed = create_feed(&store, "a").await;
    store.write(feed.sealed(0, 10)).await.unwrap();
    store.write(feed.sealed(10, 30)).await.unwrap();
    let sums = store.stream_sums(&Scope::All).await.unwrap();
    assert_eq!(sums[0].stored, sums[0].summed);
    db.tamper("UPDATE stream SET segment_count = 7, total_bytes = 1, newest_end_us = NULL").await.unwrap();
    let wrong = store.stream_sums(&Scope::All).await.unwrap();
    assert_eq!((wrong[0].stored.segment_count, wrong[0].summed), (7, sums[0].summed));
    store.write(RestateTotals { stream_no: wrong[0].stream_no }).await.unwrap();
    assert_eq!(store.stream_sums(&Scope::All).await.unwrap(), sums);
    // What was recorded before and is gone keeps the end of it all.
    let mark = MarkDeleting { ids: vec![feed.id(10)], which: Markable::Sealed };
    store.write(mark).await.unwrap();
    store.write(RemoveMarked { ids: vec![feed.id(10)] }).await.unwrap();
    store.write(RestateTotals { stream_no: wrong[0].stream_no }).await.unwrap();
    assert_eq!(store.streams(&Scope::All).await.unwrap()[0].totals.newest_end, Some(at(30)));
}

pub(crate) async fn write_rate_is_of_the_last_day(db: Db) {
    let store = db.open().await;
    let feed = create_feed(&store, "a").await;
    const HOUR: i64 = 3600;
    // 1000 bytes for each second: 10 kB in the first hour, 20 kB in the third, 5 kB still open.
    store.write(feed.sealed(0, 10)).await.unwrap();
    store.write(feed.sealed(2 * HOUR, 2 * HOUR + 20)).await.unwrap();
    store.write(feed.open(3 * HOUR, 3 * HOUR + 5)).await.unwrap();
    let rate = async |now: i64| {
        let rates = store.write_rates(&Scope::All, at(now)).await.unwrap();
        rates.first().map_or(0, |rate| rate.bytes_per_day)
    };
    assert_eq!(rate(3 * HOUR).await, 30_000);
    assert_eq!(rate(24 * HOUR).await, 30_000);
    // Half of the first hour has left the window.
    assert_eq!(rate(24 * HOUR + HOUR / 2).await, 25_000);
    assert_eq!(rate(25 * HOUR).await, 20_000);
    assert_eq!(rate(27 * HOUR).await, 0);
    // What was written stays counted when it is deleted.
    store.write(MarkDeleting { ids: vec![feed.id(0)], which: Markable::Sealed }).await.unwrap();
    assert_eq!(rate(3 * HOUR).await, 30_000);
}

pub(crate) async fn a_start_finds_what_was_open(db: Db) {
    let store = db.open().await;
    let feed = create_feed(&store, "a").await;
    let other = create_feed(&store, "b").await;
    store.write(feed.sealed(0, 10)).await.unwrap();
    store.write(feed.open(10, 15)).await.unwrap();
    store.write(PutSegment { name_no: 3, dependent: true, ..other.open(0, 15) }).await.unwrap();
    store.close().await;
    let store = db.open().await;
    let page = store.open_segments(&Scope::All, None, 1).await.unwrap();
    assert_eq!((page.rows[0].id, page.rows[0].state), (feed.id(10), SegmentState::Open));
    let page = store.open_segments(&Scope::All, page.next, 1).await.unwrap();
    assert_eq!((page.rows[0].id, page.rows[0].name_no, page.rows[0].dependent), (other.id(0), 3, true));
    assert_eq!(page.next, None);
}
