//! The invariants, checked against what was ordered and sent.

use std::collections::{BTreeMap, BTreeSet};

use heldar_base::{Interval, Micros, Scope, StreamId, StreamKind, WallTime};
use heldar_bmff::{AUDIO_TRACK_ID, FragmentIndex, SampleTable, VIDEO_TRACK_ID, scan};
use heldar_kernel::engine::recovery::{name_of, path_of};
use heldar_store::{GapFilter, GapOrder, Segment, SegmentState, Store, TimeRange};
use heldar_testkit::sim::Sent;
use heldar_timeline::{GapRow, IntervalSet, Ledger, LedgerSegment, SegmentEnd, State, WantedChange};

use crate::engine::Engine;
use crate::footage::{Fate, Footage, Planned};
use crate::store::SimStore;
use crate::stream::{SimStream, must_be_there};
use crate::world::World;

/// Times in files are those of pictures, rounded to ticks of 90 kHz; two roundings meet.
const ROUNDING: i64 = 12;

/// Every row of a stream that is not being deleted.
async fn rows(store: &Store, stream: &StreamId) -> Vec<Segment> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = store.segments(&Scope::All, stream, TimeRange::default(), after, 500).await.unwrap();
        all.extend(page.rows);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

/// Every row of every stream.
pub(crate) async fn rows_of_all(engine: &Engine, streams: &[SimStream]) -> Vec<(StreamId, Segment)> {
    let mut all = Vec::new();
    for stream in streams {
        let found = rows(&engine.store.store, &stream.id).await;
        all.extend(found.into_iter().map(|row| (stream.id.clone(), row)));
    }
    all
}

/// While a process runs, no row claims more than its file holds, and nothing that is read goes away.
pub(crate) async fn while_running(world: &World, engine: &Engine, streams: &[SimStream]) {
    for (stream, row) in rows_of_all(engine, streams).await {
        let store = &engine.store.store;
        let index = store.segment_index(&Scope::All, row.id).await.unwrap().unwrap();
        let end = FragmentIndex::decode(&index).unwrap().end_offset();
        let len = world.disk.contents(&path_of(&row)).map(|bytes| bytes.len() as u64);
        assert!(
            len.is_some_and(|len| end <= len && row.size_bytes.unsigned_abs() <= len),
            "{stream}: the row of {} claims {end} and {} of {len:?} bytes",
            row.id.start,
            row.size_bytes,
        );
    }
}

/// After a start: index, files, totals and ledger agree with one another and with what was sent. `powered`: the machine
/// was up all the time, so that everything written is there.
pub(crate) async fn after_start(world: &mut World, store: &SimStore, streams: &[SimStream], powered: bool) {
    let store = &store.store;
    assert!(store.open_segments(&Scope::All, None, 10).await.unwrap().rows.is_empty(), "open after a start");
    let deleting = store.deleting_segments(&Scope::All, None, 10).await.unwrap().rows;
    assert!(deleting.is_empty(), "marked after a start");
    let mut paths = BTreeSet::new();
    for stream in streams {
        let found = rows(store, &stream.id).await;
        paths.extend(found.iter().map(path_of));
        check_stream(world, store, &stream.id, &found, powered).await;
        check_totals(store, &stream.id, &found).await;
        check_ledger(world, store, &stream.id, &found).await;
    }
    let kept = |(path, _): &(String, u64)| !path.starts_with(".set-aside/");
    for (path, len) in world.disk.files().into_iter().filter(kept) {
        assert!(paths.contains(&path), "{path} of {len} bytes has no row");
    }
    world.footage.lock().unwrap().may_go.clear();
}

/// What a stream's rows and files hold is what its recorder ordered.
async fn check_stream(world: &mut World, store: &Store, stream: &StreamId, rows: &[Segment], powered: bool) {
    let mut present = BTreeSet::new();
    let mut last: Option<Sent> = None;
    let mut end = WallTime::EPOCH;
    for row in rows {
        assert_eq!(row.state, SegmentState::Sealed);
        assert!(end <= row.id.start && row.id.start < row.end, "{stream}: {} overlaps {end}", row.id.start);
        end = row.end;
        let index = store.segment_index(&Scope::All, row.id).await.unwrap().unwrap();
        let index = FragmentIndex::decode(&index).unwrap();
        let fragments = check_file(world, stream, row, &index);
        {
            let footage = world.footage.lock().unwrap();
            check_row(&footage, stream, row, &fragments);
            for start in &fragments {
                for sent in &footage.planned[&(stream.clone(), *start)].video {
                    assert!(last.is_none_or(|last| last < *sent), "{stream}: {sent:?} comes after {last:?}");
                    last = Some(*sent);
                }
            }
        }
        world.seen.holes += row.holes.len() as u64;
        present.extend(fragments);
    }
    let mut footage = world.footage.lock().unwrap();
    settle(&mut footage, stream, &present, powered);
}

/// Compares a file with its index and with what was sent; the first instants of its fragments.
fn check_file(world: &World, stream: &StreamId, row: &Segment, index: &FragmentIndex) -> Vec<WallTime> {
    let path = path_of(row);
    let Some(bytes) = world.disk.contents(&path) else { panic!("{path} has a row and no file") };
    let size = usize::try_from(row.size_bytes).unwrap();
    assert!(size <= bytes.len(), "{path} has {} bytes, its row claims {size}", bytes.len());
    assert!(index.end_offset() <= size as u64, "{path}: the index reaches past the row");
    let bytes = &bytes[..size];
    let found = scan(bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
    let table = found.table;
    let offsets: Vec<u64> = table.fragments().iter().map(|span| span.offset).collect();
    let indexed: Vec<u64> = index.entries().iter().map(|entry| entry.offset).collect();
    assert_eq!(offsets, indexed, "{path}: fragments and index");
    assert_eq!(found.end, index.end_offset(), "{path}: end of the last fragment");
    let footage = world.footage.lock().unwrap();
    let by_picture: BTreeMap<Sent, WallTime> = footage
        .of(stream)
        .flat_map(|planned| planned.video.iter().map(|sent| (*sent, planned.interval.start)))
        .collect();
    let mut starts = Vec::new();
    for number in 0..offsets.len() {
        let video = payloads(bytes, &table, VIDEO_TRACK_ID, number);
        let first = video.first().and_then(|payload| Sent::of(payload));
        let Some(start) = first.and_then(|sent| by_picture.get(&sent)) else {
            panic!("{path}: fragment {number} begins with {first:?}, which nobody ordered");
        };
        let planned = &footage.planned[&(stream.clone(), *start)];
        compare(world, &path, number, &video, &planned.video.iter().copied().map(Some).collect::<Vec<_>>());
        compare(world, &path, number, &payloads(bytes, &table, AUDIO_TRACK_ID, number), &planned.audio);
        starts.push(*start);
    }
    starts
}

/// The samples of one track in one fragment.
fn payloads<'a>(bytes: &'a [u8], table: &SampleTable, track: u32, fragment: usize) -> Vec<&'a [u8]> {
    let Some(track) = table.track(track) else { return Vec::new() };
    let Some(run) = track.run(fragment) else { return Vec::new() };
    let mut at = usize::try_from(run.data_offset).unwrap();
    let mut out = Vec::new();
    for sample in track.run_samples(run) {
        let end = at + usize::try_from(sample.size).unwrap();
        out.push(&bytes[at..end]);
        at = end;
    }
    out
}

fn compare(world: &World, path: &str, number: usize, found: &[&[u8]], expected: &[Option<Sent>]) {
    assert_eq!(found.len(), expected.len(), "{path}: samples of fragment {number}");
    for (payload, sent) in found.iter().zip(expected) {
        match sent {
            Some(sent) => {
                let same = world.payloads[sent] == *payload;
                assert!(same, "{path}: fragment {number} does not hold {sent:?} as it was sent");
            }
            None => assert_eq!(*payload, b"silence", "{path}: fragment {number}"),
        }
    }
}

/// A row's times and holes are those of its fragments.
fn check_row(footage: &Footage, stream: &StreamId, row: &Segment, fragments: &[WallTime]) {
    let planned: Vec<&Planned> =
        fragments.iter().map(|start| &footage.planned[&(stream.clone(), *start)]).collect();
    let (Some(first), Some(last)) = (planned.first(), planned.last()) else {
        panic!("{stream}: the row of {} has no footage", row.id.start);
    };
    assert_eq!(first.interval.start, row.id.start, "{stream}: first fragment of a segment");
    assert!(planned.iter().all(|p| p.segment == row.id.start), "{stream}: a fragment is in another file");
    let off = (row.end - last.interval.end).0;
    assert!(off.abs() <= ROUNDING, "{stream}: {} ends {off} us after its footage", name_of(row));
    assert!(first.sync || row.dependent, "{stream}: {} starts with no sync sample", name_of(row));
    let holes: Vec<Interval> = planned
        .windows(2)
        .map(|pair| Interval::new(pair[0].interval.end, pair[1].interval.start))
        .filter(|hole| !hole.is_empty())
        .collect();
    let stored: Vec<Interval> = row.holes.iter().map(|hole| Interval::new(hole.start, hole.end)).collect();
    let near = |a: &Interval, b: &Interval| {
        (a.start - b.start).0.abs() <= ROUNDING && (a.end - b.end).0.abs() <= ROUNDING
    };
    let same = holes.len() == stored.len() && holes.iter().zip(&stored).all(|(a, b)| near(a, b));
    assert!(same, "{stream}: holes of {} are {holes:?}, stored {stored:?}", name_of(row));
}

/// What must be there is, what was deleted is not, and what is there stays.
fn settle(footage: &mut Footage, stream: &StreamId, present: &BTreeSet<WallTime>, powered: bool) {
    let segments: BTreeSet<WallTime> =
        footage.of(stream).filter(|p| present.contains(&p.interval.start)).map(|p| p.segment).collect();
    let may_go = footage.may_go.clone();
    for ((of, start), planned) in footage.planned.iter_mut().filter(|((of, _), _)| of == stream) {
        if present.contains(start) {
            assert_ne!(planned.fate, Fate::Deleted, "{stream}: {start} was deleted and is back");
            planned.found |= matches!(planned.fate, Fate::Ordered | Fate::Lost);
            planned.fate = Fate::Durable;
            continue;
        }
        let gone = may_go.contains(&(of.clone(), planned.segment)) && !segments.contains(&planned.segment);
        assert!(
            gone || !must_be_there(planned.fate, powered),
            "{stream}: the fragment of {start} in the segment of {} is gone: {:?}",
            planned.segment,
            planned.fate,
        );
        if planned.fate != Fate::Deleted {
            planned.fate = if gone { Fate::Deleted } else { Fate::Lost };
        }
    }
}

/// Stored totals are sums.
async fn check_totals(store: &Store, stream: &StreamId, rows: &[Segment]) {
    let streams = store.streams(&Scope::All).await.unwrap();
    let totals = streams.iter().find(|s| s.id == *stream).unwrap().totals;
    assert_eq!(totals.segment_count, i64::try_from(rows.len()).unwrap(), "{stream}: stored count");
    assert_eq!(
        totals.total_bytes,
        rows.iter().map(|row| row.size_bytes).sum::<i64>(),
        "{stream}: stored bytes"
    );
}

/// Footage, holes and gaps cover the time since the first start exactly, and footage is where pictures are.
async fn check_ledger(world: &mut World, store: &Store, stream: &StreamId, rows: &[Segment]) {
    let now = heldar_base::Clock::wall(&*world.clock);
    let mut ledger = Ledger::new(now, Micros::ZERO);
    for row in rows {
        let holes: Vec<_> = row.holes.iter().map(|h| (Interval::new(h.start, h.end), h.cause)).collect();
        let end = SegmentEnd::Sealed { reason: row.end_reason.unwrap(), cause: row.end_cause };
        let interval = Interval::new(row.id.start, row.end);
        ledger.segment(&LedgerSegment { interval, holes: &holes, end, damaged: false });
    }
    let filter = GapFilter::default();
    let page = store.gaps(&Scope::All, &stream.camera, &filter, GapOrder::OldestFirst, None, 5000);
    let gaps = page.await.unwrap().rows;
    for gap in &gaps {
        ledger.gap(GapRow { start: gap.start, end: (!gap.open).then_some(gap.end), cause: gap.cause });
    }
    let history = store.wanted_history(&Scope::All, &stream.camera, TimeRange::default(), None, 5000);
    for change in history.await.unwrap().rows {
        ledger.wanted(WantedChange { at: change.at, not_wanted: change.reason });
    }
    let mut sum = Micros::ZERO;
    let window = Interval::new(world.since, now);
    for span in ledger.paint(&window).spans() {
        sum += span.interval.len();
        let wanted = !matches!(span.value, State::NotWanted(_));
        assert!(wanted, "{stream}: nobody said that {:?} is not wanted", span.interval);
    }
    assert_eq!(sum, window.len(), "{stream}: the ledger adds up");
    let footage = world.footage.lock().unwrap();
    let there = footage.of(stream).filter(|planned| planned.fate == Fate::Durable);
    let pictures: IntervalSet = there.map(|planned| planned.interval).collect();
    differ(stream, ledger.footage(), &pictures, "recorded without pictures");
    differ(stream, &pictures, ledger.footage(), "pictures that are not recorded");
    if stream.kind == StreamKind::Main {
        world.seen.gaps += gaps.iter().filter(|gap| !gap.cause.is_removal()).count() as u64;
        let told = footage.of(stream).filter(|planned| planned.fate == Fate::Durable && !planned.found);
        let told: IntervalSet = told.map(|planned| planned.interval).collect();
        for gap in gaps.iter().filter(|gap| !gap.open && !gap.cause.is_removal()) {
            let inside = told.clip(&Interval::new(gap.start, gap.end));
            let over = inside.iter().map(|interval| interval.len().0).max().unwrap_or(0);
            assert!(
                over <= ROUNDING,
                "{stream}: the gap {}..{} ({}) lies over {inside:?}",
                gap.start,
                gap.end,
                gap.cause
            );
        }
    }
}

fn differ(stream: &StreamId, of: &IntervalSet, less: &IntervalSet, what: &str) {
    for interval in of.iter() {
        let missing = less.complement(&interval);
        let worst = missing.iter().max_by_key(|interval| interval.len());
        let over = worst.filter(|interval| interval.len().0 > ROUNDING);
        assert!(over.is_none(), "{stream}: {what}: {over:?}");
    }
}
