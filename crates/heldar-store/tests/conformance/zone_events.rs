//! What happened in zones: numbers, filters, pages, counts, removal.

use heldar_base::{Interval, Micros, PublicId, Scope, WallTime};
use heldar_store::op::{
    AdvanceCursor, AppendEvents, AppendZoneEvents, DeleteCamera, DeleteZone, EnsureConsumer, OldZoneEvents,
    Prunable, Prune, RemoveCamera, RemoveZoneEvents, SaveZoneState, SetZoneEvidence, UpdateZone, WriteOp,
};
use heldar_store::{
    DetectionBox, Engine, ErrorKind, EventFilter, NewBatch, NewZoneEvent, Share, Store, StoredZoneEvent,
    TimeRange, ZoneBucket, ZoneBucketFilter, ZoneBuckets, ZoneEvent, ZoneEventCursor, ZoneEventFilter,
    ZoneEventId, ZoneEventOrder, ZoneSource,
};

use crate::seen::{batch, detection, store_batch, task_id};
use crate::world::{Db, at, camera, create_camera, event, scope};
use crate::zones::{create_zone, state, zone_fields, zone_id};

/// The event `number` of a camera, in its zone 1, without anything that need not be.
pub(crate) fn zone_event(number: u64, name: &str, seconds: i64) -> ZoneEvent {
    ZoneEvent {
        id: ZoneEventId { timestamp: at(seconds), bits: number },
        camera: camera(name),
        zone: zone_id(1),
        zone_name: "hall".to_owned(),
        event_type: "enter".to_owned(),
        task_type: None,
        track_id: None,
        label: None,
        dwell: None,
        confidence: None,
        anchor: None,
        bbox: None,
        direction_deg: None,
        speed: None,
        reason: None,
        source: None,
        has_evidence: false,
        created_at: at(seconds),
    }
}

fn silent(zone_event: ZoneEvent) -> NewZoneEvent {
    NewZoneEvent { zone_event, event: None }
}

async fn append(store: &Store, events: Vec<ZoneEvent>) -> Vec<i64> {
    let events = events.into_iter().map(silent).collect();
    store.write(AppendZoneEvents { events }).await.unwrap().into_iter().map(Option::unwrap).collect()
}

async fn list(store: &Store, which: &ZoneEventFilter) -> Vec<StoredZoneEvent> {
    store.zone_events(&Scope::All, which, None, 100).await.unwrap().rows
}

fn bits(rows: &[StoredZoneEvent]) -> Vec<u64> {
    rows.iter().map(|row| row.zone_event.id.bits).collect()
}

pub(crate) async fn a_zone_event_is_kept_as_it_came(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    let task = task_id(7);
    let frame_id = format!("w:{task}:17");
    let of_task = NewBatch {
        task: Some(task),
        frame_id: Some(frame_id.clone()),
        ticketed: true,
        ..batch("a", 1, vec![detection("person", 1)])
    };
    let batch_seq = store_batch(&store, of_task).await;
    let share = |ppm| Share::from_ppm(ppm).unwrap();
    let full = ZoneEvent {
        id: ZoneEventId { timestamp: at(1) + Micros(1), bits: u64::MAX },
        event_type: "exit".to_owned(),
        task_type: Some("detection".to_owned()),
        track_id: Some("7".to_owned()),
        label: Some(String::new()),
        dwell: Some(Micros(1_234_567)),
        confidence: Some(share(912_345)),
        anchor: Some([share(250_000), share(1_000_000)]),
        bbox: DetectionBox::new([0.1, 0.2, 0.3, 0.8]),
        direction_deg: Some(359.99),
        speed: Some(0.123_456),
        reason: Some("left".to_owned()),
        source: Some(ZoneSource { seq: batch_seq, position: Some(0) }),
        has_evidence: true,
        created_at: at(2),
        ..zone_event(0, "a", 0)
    };
    let of_batch = ZoneSource { seq: batch_seq, position: None };
    let bare = ZoneEvent { source: Some(of_batch), ..zone_event(5, "a", 9) };
    let events = vec![
        NewZoneEvent { zone_event: full.clone(), event: Some(event(1, Some("a"), 1)) },
        silent(bare.clone()),
        NewZoneEvent { zone_event: zone_event(6, "a", 10), event: Some(event(2, Some("a"), 10)) },
    ];
    let append = AppendZoneEvents { events };
    let seqs = store.write(append.clone()).await.unwrap();
    // One number for both, and one for what the feed is not told of: all in commit order.
    assert_eq!(seqs, [batch_seq + 1, batch_seq + 2, batch_seq + 3].map(Some));
    let events = store.events(&Scope::All, &EventFilter::default(), None, 10).await.unwrap().rows;
    assert_eq!(events.iter().map(|row| row.seq).collect::<Vec<_>>(), [batch_seq + 3, batch_seq + 1]);
    let expect = |seq: i64, zone_event: &ZoneEvent, number: Option<u128>| StoredZoneEvent {
        seq,
        event_id: number.map(|number| event(number, None, 0).id),
        frame_id: zone_event.source.map(|_| frame_id.clone()),
        ticketed: zone_event.source.map(|_| true),
        zone_event: zone_event.clone(),
    };
    let of_full = expect(batch_seq + 1, &full, Some(1));
    let rows = [
        expect(batch_seq + 3, &zone_event(6, "a", 10), Some(2)),
        expect(batch_seq + 2, &bare, None),
        of_full.clone(),
    ];
    let which = ZoneEventFilter { camera: Some(camera("a")), ..ZoneEventFilter::default() };
    assert_eq!(list(&store, &which).await, rows);
    assert_eq!(store.zone_event(&Scope::All, full.id).await.unwrap(), Some(of_full.clone()));
    assert_eq!(store.zone_event(&scope(&["b"]), full.id).await.unwrap(), None);
    let other = ZoneEventId { bits: 0, ..full.id };
    assert_eq!(store.zone_event(&Scope::All, other).await.unwrap(), None);

    // What the feed was told of is not told again.
    let told =
        AppendZoneEvents { events: append.events.into_iter().filter(|new| new.event.is_some()).collect() };
    assert_eq!(store.write(told).await.unwrap(), [Some(batch_seq + 1), Some(batch_seq + 3)]);
    assert_eq!(list(&store, &which).await, rows);

    // Without its batch and its event it stays.
    for what in [Prunable::Batches { untaken_before: at(99), now: at(99) }, Prunable::Events] {
        store.write(Prune { what, before: at(99), limit: 500 }).await.unwrap();
    }
    let expect = StoredZoneEvent { event_id: None, frame_id: None, ticketed: None, ..of_full };
    assert_eq!(store.zone_event(&Scope::All, full.id).await.unwrap(), Some(expect));

    // Its picture comes and goes.
    for has_evidence in [false, true, true] {
        store.write(SetZoneEvidence { id: full.id, has_evidence }).await.unwrap();
        let stored = store.zone_event(&Scope::All, full.id).await.unwrap().unwrap();
        assert_eq!(stored.zone_event.has_evidence, has_evidence);
    }
    let missing = store.write(SetZoneEvidence { id: other, has_evidence: true }).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);

    // What cannot be stored is refused, and nothing of what came with it is.
    let long = Some("Ω".repeat(257));
    for wrong in [
        ZoneEvent { zone_name: String::new(), ..zone_event(9, "a", 0) },
        ZoneEvent { event_type: "x".repeat(65), ..zone_event(9, "a", 0) },
        ZoneEvent { task_type: Some(String::new()), ..zone_event(9, "a", 0) },
        ZoneEvent { track_id: long.clone(), ..zone_event(9, "a", 0) },
        ZoneEvent { label: long, ..zone_event(9, "a", 0) },
        ZoneEvent { reason: Some(String::new()), ..zone_event(9, "a", 0) },
        ZoneEvent { dwell: Some(Micros(-1)), ..zone_event(9, "a", 0) },
        ZoneEvent { source: Some(ZoneSource { seq: 1, position: Some(1000) }), ..zone_event(9, "a", 0) },
    ] {
        let events = vec![silent(zone_event(8, "a", 0)), silent(wrong.clone())];
        let refused = store.write(AppendZoneEvents { events }).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{wrong:?}");
    }
    assert_eq!(list(&store, &which).await.len(), 3);
}

pub(crate) async fn effects_stand_or_fall_with_the_state(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    let consumer = "zones".to_owned();
    store.write(EnsureConsumer { name: consumer.clone(), now: at(0) }).await.unwrap();
    let seq = store_batch(&store, batch("a", 1, Vec::new())).await;
    let write = async |number: u64, seq: i64, state_seq: i64, with_cursor: bool| {
        let mut ops: Vec<WriteOp> = Vec::new();
        if with_cursor {
            ops.push(AdvanceCursor { consumer: consumer.clone(), seq, low_seq: seq, now: at(1) }.into());
        }
        ops.push(SaveZoneState { state: state("a", state_seq, 1) }.into());
        let event = (number > 2).then(|| event(u128::from(number), Some("a"), 1));
        let events = vec![NewZoneEvent { zone_event: zone_event(number, "a", 1), event }];
        ops.push(AppendZoneEvents { events }.into());
        store.write_all(ops).await.map(drop).map_err(|error| error.kind())
    };
    let kept = async || bits(&list(&store, &ZoneEventFilter::default()).await);
    assert_eq!(write(1, seq, seq, true).await, Ok(()));
    assert_eq!(write(2, seq, seq, true).await, Err(ErrorKind::Conflict), "the cursor is there");
    assert_eq!(write(3, seq, seq, false).await, Ok(()), "a tick");
    assert_eq!(write(4, seq, seq - 1, false).await, Err(ErrorKind::Conflict), "the state is newer");
    assert_eq!(kept().await, [3, 1]);
    let events = store.events(&Scope::All, &EventFilter::default(), None, 10).await.unwrap().rows;
    assert_eq!(events.len(), 1);
}

/// What `fill` appends, as (camera, second, zone, name, type, task type, track, label).
type Case =
    (&'static str, i64, u128, &'static str, &'static str, Option<&'static str>, &'static str, &'static str);
const CASES: [Case; 8] = [
    ("a", 10, 1, "hall", "enter", Some("detection"), "1", "person"),
    ("a", 10, 2, "door", "enter", Some("detection"), "1", "person"),
    ("b", 12, 3, "hall", "enter", Some("detection"), "1", "car"),
    ("a", 14, 1, "hall", "exit", Some("detection"), "1", "person"),
    ("a", 8, 1, "hall", "enter", Some("motion"), "1", "person"),
    ("a", 16, 1, "lobby", "enter", Some("detection"), "2", "car"),
    ("a", 18, 1, "lobby", "vacant", None, "", ""),
    ("a", 20, 1, "lobby", "exit", Some("detection"), "2", "car"),
];

async fn fill(store: &Store) -> Vec<i64> {
    for name in ["a", "b", "quiet"] {
        create_camera(store, name).await;
    }
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let events = (0u64..).zip(CASES).map(|(number, case)| {
        let (name, seconds, zone, zone_name, event_type, task_type, track, label) = case;
        ZoneEvent {
            zone: zone_id(zone),
            zone_name: zone_name.to_owned(),
            event_type: event_type.to_owned(),
            task_type: task_type.map(str::to_owned),
            track_id: text(track),
            label: text(label),
            dwell: (event_type != "enter").then_some(Micros(seconds * 1_000_000)),
            ..zone_event(number, name, seconds)
        }
    });
    append(store, events.collect()).await
}

pub(crate) async fn zone_events_are_filtered(db: Db) {
    let store = db.open().await;
    fill(&store).await;
    let all = ZoneEventFilter::default;
    let a = || ZoneEventFilter { camera: Some(camera("a")), ..all() };
    let text = |text: &str| Some(text.to_owned());
    let range = |from, to| TimeRange { from: Some(at(from)), to: Some(at(to)) };
    for (which, expect) in [
        (all(), vec![7, 6, 5, 3, 2, 1, 0, 4]),
        (a(), vec![7, 6, 5, 3, 1, 0, 4]),
        (ZoneEventFilter { camera: Some(camera("quiet")), ..all() }, vec![]),
        (ZoneEventFilter { zone: Some(zone_id(1)), ..a() }, vec![7, 6, 5, 3, 0, 4]),
        (ZoneEventFilter { zone: Some(zone_id(3)), ..a() }, vec![]),
        (ZoneEventFilter { zone: Some(zone_id(3)), ..all() }, vec![2]),
        (ZoneEventFilter { event_type: text("enter"), ..a() }, vec![5, 1, 0, 4]),
        (ZoneEventFilter { event_type: text("unheard_of"), ..a() }, vec![]),
        (ZoneEventFilter { event_type: text("exit"), zone: Some(zone_id(1)), ..a() }, vec![7, 3]),
        (ZoneEventFilter { task_type: text("motion"), ..a() }, vec![4]),
        (ZoneEventFilter { track_id: text("1"), ..a() }, vec![3, 1, 0, 4]),
        (ZoneEventFilter { track_id: text("1"), ..all() }, vec![3, 2, 1, 0, 4]),
        (ZoneEventFilter { track_id: text("1"), event_type: text("enter"), ..all() }, vec![2, 1, 0, 4]),
        (ZoneEventFilter { track_id: text("1"), zone: Some(zone_id(1)), ..a() }, vec![3, 0, 4]),
        (ZoneEventFilter { track_id: text("1"), event_type: text("vacant"), ..all() }, vec![]),
        (ZoneEventFilter { label: text("car"), ..all() }, vec![7, 5, 2]),
        (ZoneEventFilter { label: text("car"), event_type: text("enter"), ..all() }, vec![5, 2]),
        (ZoneEventFilter { range: range(10, 14), ..a() }, vec![1, 0]),
        (ZoneEventFilter { range: range(10, 15), zone: Some(zone_id(1)), ..a() }, vec![3, 0]),
    ] {
        assert_eq!(bits(&list(&store, &which).await), expect, "{which:?}");
        let upwards = ZoneEventFilter { order: ZoneEventOrder::OldestFirst, ..which.clone() };
        let turned: Vec<u64> = expect.into_iter().rev().collect();
        assert_eq!(bits(&list(&store, &upwards).await), turned, "{which:?}");
        // Pages of two hold the same.
        for which in [which, upwards] {
            let whole = list(&store, &which).await;
            let (mut seen, mut after) = (Vec::new(), None::<ZoneEventCursor>);
            loop {
                let page = store.zone_events(&Scope::All, &which, after, 2).await.unwrap();
                seen.extend(page.rows);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(seen, whole, "{which:?}");
        }
    }
    let seen = async |mine: &[&str], which: ZoneEventFilter| {
        bits(&store.zone_events(&scope(mine), &which, None, 10).await.unwrap().rows)
    };
    assert_eq!(seen(&["b"], all()).await, [2]);
    assert!(seen(&["b"], a()).await.is_empty());
    assert!(seen(&["b"], ZoneEventFilter { zone: Some(zone_id(1)), ..all() }).await.is_empty());
    assert!(seen(&[], all()).await.is_empty());
}

pub(crate) async fn zone_events_are_counted(db: Db) {
    let store = db.open().await;
    fill(&store).await;
    let which = |from, to| ZoneBucketFilter {
        camera: camera("a"),
        window: Interval::new(at(from), at(to)),
        bucket: Micros::from_secs(10),
        zone: None,
        label: None,
    };
    let count = async |which: &ZoneBucketFilter| store.zone_buckets(&Scope::All, which).await.unwrap();
    let bucket = |start: i64, zone, zone_name: &str, event_type: &str, (count, unique_tracks)| ZoneBucket {
        zone: zone_id(zone),
        zone_name: zone_name.to_owned(),
        event_type: event_type.to_owned(),
        start: at(start),
        count,
        unique_tracks,
        average_dwell: None,
        longest_dwell: None,
    };
    let exits = |bucket: ZoneBucket, average: i64, longest: i64| ZoneBucket {
        average_dwell: Some(Micros(average)),
        longest_dwell: Some(Micros(longest)),
        ..bucket
    };
    // Buckets begin on multiples of their length, of which T0 is one. The last name of the zone
    // stands while there is none.
    let whole = [
        bucket(0, 1, "lobby", "enter", (1, 1)),
        bucket(10, 1, "lobby", "enter", (2, 2)),
        exits(bucket(10, 1, "lobby", "exit", (1, 1)), 14_000_000, 14_000_000),
        bucket(10, 1, "lobby", "vacant", (1, 0)),
        bucket(10, 2, "door", "enter", (1, 1)),
        exits(bucket(20, 1, "lobby", "exit", (1, 1)), 20_000_000, 20_000_000),
    ];
    let counted = count(&which(0, 100)).await;
    assert_eq!((counted.from, counted.buckets.as_slice()), (at(0), whole.as_slice()));
    assert_eq!(count(&which(8, 14)).await.buckets.len(), 3);
    let of_zone = ZoneBucketFilter { zone: Some(zone_id(2)), ..which(0, 100) };
    assert_eq!(count(&of_zone).await.buckets, [whole[4].clone()]);
    let unknown = ZoneBucketFilter { zone: Some(zone_id(3)), ..which(0, 100) };
    assert!(count(&unknown).await.buckets.is_empty());
    let cars = ZoneBucketFilter { label: Some("car".to_owned()), ..which(0, 100) };
    assert_eq!(count(&cars).await.buckets.len(), 2);
    for hidden in ["quiet", "nowhere"] {
        let other = ZoneBucketFilter { camera: camera(hidden), ..which(0, 100) };
        assert!(count(&other).await.buckets.is_empty());
    }
    assert!(store.zone_buckets(&scope(&["b"]), &which(0, 100)).await.unwrap().buckets.is_empty());
    // A zone that is there is called as it is now. Tracks of two types of task are two, one track twice is one.
    store.write(create_zone(1, "a", "today", 0)).await.unwrap();
    let again = |number, task_type: &str, dwell| ZoneEvent {
        event_type: "exit".to_owned(),
        task_type: Some(task_type.to_owned()),
        track_id: Some("2".to_owned()),
        dwell: Some(Micros(dwell)),
        ..zone_event(number, "a", 22)
    };
    append(&store, vec![again(20, "detection", 4), again(21, "motion", 3)]).await;
    let last = count(&which(20, 30)).await.buckets;
    let expect = exits(bucket(20, 1, "today", "exit", (3, 2)), 20_000_007 / 3, 20_000_000);
    assert_eq!(last, [expect]);
    let endless = ZoneBucketFilter { bucket: Micros(0), ..which(0, 1) };
    assert_eq!(store.zone_buckets(&Scope::All, &endless).await.unwrap_err().kind(), ErrorKind::Internal);
}

pub(crate) async fn counts_are_bounded(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    append(&store, vec![ZoneEvent { event_type: "exit".to_owned(), ..zone_event(1, "a", 0) }]).await;
    let many = i64::from(ZoneBuckets::COUNTED) + 5;
    let rows = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {many})
         INSERT INTO zone_event (seq, timestamp_us, id_bits, created_us, line_no, camera_no, evidence)
         SELECT 1000000 + n.i, z.timestamp_us + n.i, n.i, z.created_us, z.line_no, z.camera_no, 0
         FROM n CROSS JOIN zone_event z"
    );
    db.tamper(&rows).await.unwrap();
    let which = |from: i64| ZoneBucketFilter {
        camera: camera("a"),
        window: Interval::new(at(0) + Micros(from), at(100)),
        bucket: Micros::from_hours(24),
        zone: None,
        label: None,
    };
    // The one of the beginning and the first five are too many; the newest are counted.
    for (from, expect) in [(0, 6), (6, 6), (7, 7)] {
        let counted = store.zone_buckets(&Scope::All, &which(from)).await.unwrap();
        let counts: Vec<_> = counted.buckets.iter().map(|bucket| bucket.count).collect();
        assert_eq!((counted.from, counts), (at(0) + Micros(expect), vec![many - expect + 1]), "{from}");
    }
}

pub(crate) async fn zone_events_outlive_their_zone_and_go_with_age(db: Db) {
    let store = db.open().await;
    for name in ["a", "b"] {
        create_camera(&store, name).await;
    }
    store.write(create_zone(1, "a", "hall", 0)).await.unwrap();
    let events = (0..12u64).map(|number| {
        let name = if number % 4 == 3 { "b" } else { "a" };
        let seconds = i64::try_from(number).unwrap() * 10;
        let zone_name = if number < 2 { "old" } else { "hall" }.to_owned();
        ZoneEvent { has_evidence: number % 2 == 1, zone_name, ..zone_event(number, name, seconds) }
    });
    append(&store, events.collect()).await;
    let fields = heldar_store::ZoneFields { enabled: false, ..zone_fields("renamed") };
    store.write(UpdateZone { id: zone_id(1), fields, revision: 1, now: at(1) }).await.unwrap();
    store.write(DeleteZone { id: zone_id(1) }).await.unwrap();
    let of_zone = ZoneEventFilter { zone: Some(zone_id(1)), ..ZoneEventFilter::default() };
    let rows = list(&store, &of_zone).await;
    assert_eq!(rows.len(), 12);
    assert_eq!(rows.last().unwrap().zone_event.zone_name, "old");

    let remove = async |which, limit| {
        let removed = store.write(RemoveZoneEvents { which, limit }).await.unwrap();
        let evidence = removed.evidence.iter().map(|id| (id.bits, (id.timestamp - at(0)).0 / 1_000_000));
        (removed.rows, evidence.collect::<Vec<_>>())
    };
    let old = |seconds| OldZoneEvents::Before(at(seconds));
    assert_eq!(remove(old(50), 3).await, (3, vec![(1, 10)]));
    assert_eq!(remove(old(50), 3).await, (2, vec![(3, 30)]));
    assert_eq!(remove(old(50), 3).await, (0, vec![]));
    assert_eq!(list(&store, &of_zone).await.len(), 7);
    // A line that no event is of goes a day after its last use.
    let lines = "SELECT COUNT(*) FROM zone_line";
    assert_eq!(db.numbers(lines).await, [[3]]);
    assert_eq!(remove(OldZoneEvents::OfDeletedCameras, 500).await, (0, vec![]));

    // A camera out of use goes on to be told of; one that is deleted takes its events.
    store.write(RemoveCamera { id: camera("a"), now: at(30) }).await.unwrap();
    append(&store, vec![zone_event(50, "a", 200)]).await;
    store.write(DeleteCamera { id: camera("a") }).await.unwrap();
    assert_eq!(bits(&list(&store, &of_zone).await), [11, 7]);
    assert_eq!(store.zone_event(&Scope::All, zone_event(50, "a", 200).id).await.unwrap(), None);
    let late = vec![
        silent(zone_event(51, "a", 201)),
        NewZoneEvent { zone_event: zone_event(52, "a", 201), event: Some(event(9, Some("a"), 201)) },
    ];
    assert_eq!(store.write(AppendZoneEvents { events: late }).await.unwrap(), [None, None]);
    assert!(store.events(&Scope::All, &EventFilter::default(), None, 10).await.unwrap().rows.is_empty());
    // One of the same name is another.
    create_camera(&store, "a").await;
    append(&store, vec![zone_event(60, "a", 210)]).await;
    assert_eq!(bits(&list(&store, &of_zone).await), [60, 11, 7]);
    let gone = OldZoneEvents::OfDeletedCameras;
    assert_eq!(remove(gone, 4).await, (4, vec![(5, 50), (9, 90)]));
    assert_eq!(remove(gone, 4).await, (2, vec![]));
    assert_eq!(remove(gone, 4).await, (0, vec![]));
    assert_eq!(bits(&list(&store, &of_zone).await), [60, 11, 7]);

    let after_a_day = 100 + 2 * 86_400;
    assert_eq!(remove(old(after_a_day), 500).await, (3, vec![(7, 70), (11, 110)]));
    assert_eq!(db.numbers(lines).await, [[0]]);
    append(&store, vec![zone_event(70, "b", 220)]).await;
    assert_eq!(bits(&list(&store, &of_zone).await), [70]);
}

/// What a store grows by, in bytes, indexes included and the log not.
async fn size(store: &Store, db: &Db) -> i64 {
    if store.engine() == Engine::Postgres {
        let sql = "SELECT CAST(SUM(pg_total_relation_size(c.oid)) AS BIGINT) FROM pg_class c
            WHERE c.relname IN ('zone_event', 'zone_line')";
        return db.numbers(sql).await[0][0];
    }
    store.size().await.unwrap().used_bytes
}

pub(crate) async fn zone_events_are_small(db: Db) {
    let store = db.open().await;
    for number in 0..8 {
        create_camera(&store, &format!("camera_at_the_front_door_{number}")).await;
    }
    let before = size(&store, &db).await;
    let count = 10_000u64;
    for first in (0..count).step_by(100) {
        let events = (first..first + 100).map(|number| {
            let time = WallTime(at(0).0 + i64::try_from(number).unwrap() * 250_000);
            let ppm =
                |factor: u64| Share::from_ppm(u32::try_from(number * factor % 1_000_000).unwrap()).unwrap();
            let [x, y, w, h] = [ppm(7919), ppm(6007), ppm(5003), ppm(4001)];
            let is_exit = number % 2 == 1;
            ZoneEvent {
                id: ZoneEventId { timestamp: time, bits: number.wrapping_mul(0x9E37_79B9_7F4A_7C15) },
                zone: PublicId::new("zone", u128::from(number % 40) << 64),
                zone_name: "the whole of the front door".to_owned(),
                event_type: if is_exit { "exit" } else { "enter" }.to_owned(),
                task_type: Some("detection".to_owned()),
                track_id: Some((number / 2).to_string()),
                label: Some("person".to_owned()),
                dwell: is_exit.then_some(Micros(12_345_678)),
                confidence: Some(x),
                anchor: Some([y, h]),
                bbox: Some(DetectionBox { x, y, w, h }),
                direction_deg: Some(91.23),
                speed: Some(0.123_456),
                reason: is_exit.then(|| "left".to_owned()),
                source: Some(ZoneSource {
                    seq: 1_000_000 + i64::try_from(number).unwrap(),
                    position: Some(1),
                }),
                has_evidence: !is_exit,
                created_at: time + Micros(40_000),
                ..zone_event(0, &format!("camera_at_the_front_door_{}", number % 8), 0)
            }
        });
        append(&store, events.collect()).await;
    }
    let each = (size(&store, &db).await - before) / i64::try_from(count).unwrap();
    // PostgreSQL takes 36 bytes for the head of a row and 12 for that of each of its five entries in indexes, and does not
    // shorten numbers.
    let most = if store.engine() == Engine::Postgres { 350 } else { 200 };
    assert!(each < most, "{each} bytes for a zone event");
    // Events are of the same sequence.
    let seqs = store.write(AppendEvents { events: vec![event(1, None, 1)] }).await.unwrap();
    let newest = list(&store, &ZoneEventFilter::default()).await[0].seq;
    assert_eq!(seqs, [newest + 1]);
}
