//! Batches: stored once, read in commit order.

use heldar_base::{Interval, Micros, Scope, WallTime};
use heldar_store::op::{
    AppendEvents, CreateSite, DeleteCamera, Prunable, Prune, PutMotion, StoreBatch, UpdateCamera,
};
use heldar_store::{
    BatchStored, Engine, ErrorKind, EventFilter, NewBatch, NewDetection, PerceptionTotals, Producer, Share,
    SiteFields, Store, TimeRange,
};

use crate::seen::{batch, detection, frame, store_batch, task_id};
use crate::world::{Db, at, camera, create_camera, event, fields, scope, site};

/// Stored totals beside what they should be.
pub(crate) async fn check_totals(db: &Db, store: &Store) {
    let sums = db.numbers("SELECT (SELECT COUNT(*) FROM outbox), (SELECT COUNT(*) FROM detection)").await;
    let totals = store.perception_totals(&Scope::All).await.unwrap().unwrap();
    assert_eq!(sums, [[totals.batches, totals.detections]]);
}

pub(crate) async fn a_batch_is_kept_as_it_came(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    let plain = NewDetection {
        label: None,
        confidence: None,
        bbox: None,
        track_id: None,
        attributes: Some(r#"{"plate":"Ω 1"}"#.into()),
        timestamp: at(4),
    };
    let many = (0..NewBatch::DETECTIONS).map(|number| NewDetection {
        confidence: Share::from_ppm(u32::try_from(number).unwrap()),
        track_id: Some(number.to_string()),
        ..detection("car", 5)
    });
    let cases = [
        batch("a", 1, Vec::new()),
        batch("a", 2, vec![detection("person", 2), plain]),
        NewBatch {
            task: Some(task_id(7)),
            frame_id: Some(format!("w:{}:1767225600123", task_id(7))),
            part: 63,
            ticketed: true,
            late: true,
            producer: Producer::Worker {
                credential: "key_1".into(),
                worker: Some("host:1".into()),
                lease: Some("lse_0123456789abcdef0123456789abcdef".into()),
            },
            captured_at: at(-5),
            ..batch("a", 3, many.collect())
        },
        NewBatch {
            frame_id: Some("k:native_anpr:=9".into()),
            producer: Producer::Kernel("native_anpr".into()),
            ..batch("a", 4, vec![detection("", 4)])
        },
    ];
    let mut seqs = Vec::new();
    for case in &cases {
        seqs.push(store_batch(&store, case.clone()).await);
    }
    assert!(seqs.is_sorted());
    store.close().await;
    let store = db.open().await;
    for (case, seq) in cases.iter().zip(&seqs) {
        let full = store.batch(&Scope::All, *seq).await.unwrap().unwrap();
        let b = &full.batch;
        assert_eq!(full.detections, case.detections);
        assert_eq!((b.seq, &b.camera, &b.site, &b.task_type), (*seq, &case.camera, &None, &case.task_type));
        assert_eq!((b.task, &b.frame_id, b.part), (case.task, &case.frame_id, case.part));
        assert_eq!(
            (b.ticketed, b.late, b.producer.as_ref()),
            (case.ticketed, case.late, Some(&case.producer))
        );
        assert_eq!((b.captured_at, b.created_at, b.event_seq), (case.captured_at, case.created_at, None));
        assert_eq!(usize::from(b.detection_count), case.detections.len());
    }
    let totals = store.perception_totals(&Scope::All).await.unwrap();
    assert_eq!(totals, Some(PerceptionTotals { batches: 4, detections: 1003 }));
    check_totals(&db, &store).await;

    let refused = async |batch: NewBatch| store.write(StoreBatch { batch }).await.unwrap_err().kind();
    assert_eq!(refused(batch("nowhere", 1, Vec::new())).await, ErrorKind::NotFound);
    assert_eq!(refused(batch("a", 1, vec![detection("x", 1); 1001])).await, ErrorKind::Conflict);
    assert_eq!(refused(NewBatch { part: 64, ..batch("a", 1, Vec::new()) }).await, ErrorKind::Conflict);
}

pub(crate) async fn a_frame_takes_effect_once(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    create_camera(&store, "b").await;
    let write = async |batch: NewBatch| store.write(StoreBatch { batch }).await.unwrap();
    let first = store_batch(&store, frame("a", "w:f1", 1)).await;
    let duplicate = |seq| BatchStored::Duplicate { seq, event_id: None, event_seq: None };
    // Whoever sends it and whatever is in it.
    let other = Producer::Worker { credential: "key_2".into(), worker: None, lease: None };
    let again = NewBatch { producer: other, detections: Vec::new(), ..frame("a", "w:f1", 9) };
    assert_eq!(write(again).await, duplicate(first));
    // Another part, frame, type, task or camera is another one, and so is each without a frame id.
    let base = frame("a", "w:f1", 1);
    for batch in [
        NewBatch { part: 1, ..base.clone() },
        frame("a", "w:f2", 1),
        NewBatch { task_type: "motion".into(), ..base.clone() },
        NewBatch { task: Some(task_id(1)), ..base.clone() },
        NewBatch { task: Some(task_id(2)), ..base.clone() },
        frame("b", "w:f1", 1),
        batch("a", 1, Vec::new()),
        batch("a", 1, Vec::new()),
    ] {
        store_batch(&store, batch).await;
    }
    // The same after the writer has forgotten all that it knew.
    store.close().await;
    let store = db.open().await;
    let write = async |batch: NewBatch| store.write(StoreBatch { batch }).await.unwrap();
    assert_eq!(write(base.clone()).await, duplicate(first));
    check_totals(&db, &store).await;
    assert_eq!(store.perception_totals(&Scope::All).await.unwrap().unwrap().batches, 9);

    // One event for a frame: that of the first batch that brought one.
    let with_event = |number| NewBatch { event: Some(event(number, Some("a"), 3)), ..base.clone() };
    let BatchStored::Duplicate { seq, event_id, event_seq: Some(event_seq) } = write(with_event(1)).await
    else {
        panic!("the event of a duplicate is stored")
    };
    assert_eq!((seq, event_id), (first, Some(event(1, None, 0).id)));
    assert!(event_seq > first);
    let expect = BatchStored::Duplicate { seq: first, event_id: Some(event(1, None, 0).id), event_seq: None };
    assert_eq!(write(with_event(2)).await, expect);
    assert_eq!(write(base).await, expect);
    let events = store.events(&Scope::All, &EventFilter::default(), None, 10).await.unwrap().rows;
    assert_eq!(events.iter().map(|row| row.seq).collect::<Vec<_>>(), [event_seq]);
    let stored = store.batch(&Scope::All, first).await.unwrap().unwrap();
    assert_eq!(stored.batch.event_seq, Some(event_seq));

    let fresh = NewBatch { event: Some(event(5, Some("a"), 4)), ..frame("a", "w:f9", 4) };
    let BatchStored::Stored { seq, event_seq: Some(event_seq) } = write(fresh.clone()).await else {
        panic!()
    };
    assert_eq!(event_seq, seq + 1);
    let expect =
        BatchStored::Duplicate { seq, event_id: Some(fresh.event.clone().unwrap().id), event_seq: None };
    assert_eq!(write(fresh).await, expect);
}

pub(crate) async fn many_batches_share_a_commit(db: Db) {
    let store = db.open().await;
    for name in ["a", "b", "c"] {
        create_camera(&store, name).await;
    }
    let mut tasks = Vec::new();
    for writer in 0..60i64 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            let name = ["a", "b", "c", "nowhere"][usize::try_from(writer % 4).unwrap()];
            let mut results = Vec::new();
            for turn in 0..10 {
                // Every frame is sent twice at about the same time.
                let frame = frame(name, &format!("w:{}/{turn}", writer / 8), turn);
                // Text that no engine takes fails alone.
                let bad = NewBatch { task_type: "a\0".into(), ..frame.clone() };
                let (stored, bad) = tokio::join!(
                    store.write(StoreBatch { batch: frame }),
                    store.write(StoreBatch { batch: bad })
                );
                let expect = if name == "nowhere" { ErrorKind::NotFound } else { ErrorKind::Internal };
                assert_eq!(bad.unwrap_err().kind(), expect);
                results.push((name, stored.map_err(|error| error.kind())));
            }
            results
        }));
    }
    let mut stored = 0;
    for task in tasks {
        for (name, result) in task.await.unwrap() {
            match result {
                Ok(BatchStored::Stored { .. }) => stored += 1,
                Ok(BatchStored::Duplicate { .. }) => {}
                Err(kind) => assert_eq!((name, kind), ("nowhere", ErrorKind::NotFound)),
            }
        }
    }
    // 8 groups of writers, 3 cameras, 10 frames; the last group is of four writers.
    assert_eq!(stored, 8 * 3 * 10);
    check_totals(&db, &store).await;
    let page = store.batches(&Scope::All, None, 0, 5000).await.unwrap();
    assert_eq!(page.rows.len(), stored);
    assert!(page.rows.is_sorted_by(|a, b| a.seq < b.seq));
}

pub(crate) async fn batches_come_in_commit_order(db: Db) {
    let store = db.open().await;
    let name = SiteFields { name: "n".into(), timezone: None };
    store.write(CreateSite { id: site("north"), fields: name, now: at(0) }).await.unwrap();
    create_camera(&store, "a").await;
    create_camera(&store, "b").await;
    let mut seqs = Vec::new();
    for number in 0..10 {
        let name = if number % 5 == 0 { "b" } else { "a" };
        let detections = vec![detection("x", number); usize::try_from(number).unwrap()];
        seqs.push(store_batch(&store, batch(name, number, detections)).await);
        store
            .write(AppendEvents { events: vec![event(100 + u128::from(i64::unsigned_abs(number)), None, 0)] })
            .await
            .unwrap();
    }
    let read = async |scope: Scope, after, limit| {
        let page = store.batches(&scope, None, after, limit).await.unwrap();
        (page.rows.iter().map(|batch| batch.seq).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(read(Scope::All, 0, 100).await, (seqs.clone(), None));
    assert_eq!(read(Scope::All, seqs[3], 2).await, (seqs[4..6].to_vec(), Some(seqs[5])));
    assert_eq!(read(scope(&["b"]), 0, 100).await, (vec![seqs[0], seqs[5]], None));
    assert_eq!(read(scope(&["b"]), 0, 1).await, (vec![seqs[0]], Some(seqs[0])));
    assert_eq!(read(scope(&["nobody"]), 0, 100).await, (vec![], None));
    let of_b = store.batches(&Scope::All, Some(&camera("b")), seqs[0], 10).await.unwrap();
    assert_eq!(of_b.rows.iter().map(|batch| batch.seq).collect::<Vec<_>>(), [seqs[5]]);

    // With detections a page holds as many batches as fit, and at least one.
    let full = async |after, detections| {
        let page = store.full_batches(&Scope::All, None, after, 100, detections).await.unwrap();
        let counts: Vec<_> = page.rows.iter().map(|full| full.detections.len()).collect();
        (counts, page.next)
    };
    assert_eq!(full(0, 7).await, (vec![0, 1, 2, 3], Some(seqs[3])));
    assert_eq!(full(seqs[7], 3).await, (vec![8], Some(seqs[8])));
    assert_eq!(full(seqs[8], 3).await, (vec![9], None));

    // The site is the one that the camera belongs to now.
    let mut moved = fields("a");
    moved.site_id = Some(site("north"));
    let update = UpdateCamera { id: camera("a"), fields: moved, revision: 1, now: at(99) };
    store.write(update).await.unwrap();
    let page = store.batches(&Scope::All, None, 0, 2).await.unwrap();
    assert_eq!(
        page.rows.iter().map(|batch| batch.site.clone()).collect::<Vec<_>>(),
        [None, Some(site("north"))]
    );

    let newest = store.newest_frames(&Scope::All, 100).await.unwrap();
    let newest: Vec<_> = newest.iter().map(|frame| (frame.camera.as_str(), frame.captured_at)).collect();
    assert_eq!(newest, [("a", at(9)), ("b", at(5))]);
    assert_eq!(store.newest_frames(&scope(&["b"]), 100).await.unwrap().len(), 1);
    assert_eq!(store.newest_frames(&Scope::All, 4).await.unwrap().len(), 1, "only the newest batches count");
}

pub(crate) async fn a_deleted_camera_takes_its_batches(db: Db) {
    let store = db.open().await;
    for name in ["a", "b", "c"] {
        create_camera(&store, name).await;
        for number in 0..6 {
            store_batch(&store, batch(name, number, vec![detection("x", number); 100])).await;
            store_batch(&store, frame(name, &format!("w:{number}"), number)).await;
        }
        let span = Interval::new(at(0), at(5));
        store.write(PutMotion { camera: camera(name), span }).await.unwrap();
    }
    store.write(DeleteCamera { id: camera("a") }).await.unwrap();
    store.write(DeleteCamera { id: camera("c") }).await.unwrap();
    // At once nothing of them is seen.
    let page = store.batches(&Scope::All, None, 0, 100).await.unwrap();
    assert!(page.rows.iter().all(|batch| batch.camera == camera("b")));
    assert_eq!(page.rows.len(), 12);
    let found = store.detections(&Scope::All, &Default::default(), None, 5000).await.unwrap();
    assert_eq!(found.rows.len(), 606);
    let refused = store.write(StoreBatch { batch: batch("a", 9, Vec::new()) }).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    // A camera of the same name is another one.
    create_camera(&store, "a").await;
    store_batch(&store, frame("a", "w:0", 0)).await;
    let spans = store.motion_spans(&Scope::All, &camera("a"), TimeRange::default(), None, 10).await.unwrap();
    assert!(spans.rows.is_empty());
    let prune = Prune { what: Prunable::OfDeletedCameras, before: at(0), limit: 500 };
    let mut turns = Vec::new();
    loop {
        let removed = store.write(prune.clone()).await.unwrap();
        turns.push(removed);
        check_totals(&db, &store).await;
        if removed < 500 {
            break;
        }
    }
    // 606 detections, 12 batches, a span and the number, of each of two.
    assert_eq!(turns.iter().sum::<u64>(), 2 * (606 + 12 + 1 + 1), "{turns:?}");
    assert!(turns.iter().all(|removed| *removed <= 510), "{turns:?}");
    assert_eq!(store.write(prune).await.unwrap(), 0);
    let left = "SELECT (SELECT COUNT(*) FROM outbox), (SELECT COUNT(*) FROM detection),
        (SELECT COUNT(*) FROM motion_span), (SELECT COUNT(*) FROM task_line), (SELECT COUNT(*) FROM watched_camera)";
    assert_eq!(db.numbers(left).await, [[13, 607, 1, 2, 2]]);
}

pub(crate) async fn motion_grows_together(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    create_camera(&store, "b").await;
    let put = async |name: &str, from, to| {
        let span = Interval { start: at(from), end: at(to) };
        store.write(PutMotion { camera: camera(name), span }).await.unwrap();
    };
    let read = async |range: TimeRange, after: Option<WallTime>, limit| {
        let page = store.motion_spans(&Scope::All, &camera("a"), range, after, limit).await.unwrap();
        let seconds = |time: WallTime| (time - at(0)).0 / 1_000_000;
        let spans = page.rows.iter().map(|row| (seconds(row.span.start), seconds(row.span.end)));
        (spans.collect::<Vec<_>>(), page.next.map(seconds))
    };
    let all = TimeRange::default();
    put("b", 0, 1000).await;
    for (from, to) in [(10, 20), (30, 40), (50, 60), (10, 22), (10, 15), (70, 70)] {
        put("a", from, to).await;
    }
    assert_eq!(read(all, None, 10).await, (vec![(10, 22), (30, 40), (50, 60)], None));
    // What overlaps or touches is one.
    put("a", 22, 25).await;
    assert_eq!(read(all, None, 10).await.0, [(10, 25), (30, 40), (50, 60)]);
    put("a", 38, 50).await;
    assert_eq!(read(all, None, 10).await.0, [(10, 25), (30, 60)]);
    put("a", 80, 90).await;
    put("a", 5, 31).await;
    assert_eq!(read(all, None, 10).await.0, [(5, 60), (80, 90)]);
    put("a", 6, 7).await;
    put("a", 100, 110).await;
    // Windows and pages.
    let window = |from, to| TimeRange { from: Some(at(from)), to: Some(at(to)) };
    for (from, to, expect) in [
        (0, 5, vec![]),
        (0, 6, vec![(5, 60)]),
        (59, 80, vec![(5, 60)]),
        (60, 80, vec![]),
        (60, 81, vec![(80, 90)]),
        (7, 1000, vec![(5, 60), (80, 90), (100, 110)]),
        (110, 1000, vec![]),
    ] {
        assert_eq!(read(window(from, to), None, 10).await.0, expect, "{from} to {to}");
    }
    assert_eq!(read(window(7, 1000), None, 2).await, (vec![(5, 60), (80, 90)], Some(80)));
    assert_eq!(read(window(7, 1000), Some(at(80)), 2).await, (vec![(100, 110)], None));
    let hidden = store.motion_spans(&scope(&["b"]), &camera("a"), all, None, 10).await.unwrap();
    assert!(hidden.rows.is_empty());
    let nowhere = PutMotion { camera: camera("x"), span: Interval::new(at(0), at(1)) };
    assert_eq!(store.write(nowhere).await.unwrap_err().kind(), ErrorKind::NotFound);

    let prune = Prune { what: Prunable::Motion, before: at(91), limit: 500 };
    assert_eq!(store.write(prune).await.unwrap(), 2);
    assert_eq!(read(all, None, 10).await.0, [(100, 110)]);
}

/// What a store grows by, in bytes, indexes included and the log not.
async fn size(store: &Store, db: &Db) -> i64 {
    if store.engine() == Engine::Postgres {
        let sql = "SELECT CAST(SUM(pg_total_relation_size(c.oid)) AS BIGINT) FROM pg_class c
            WHERE c.relname IN ('outbox', 'detection')";
        return db.numbers(sql).await[0][0];
    }
    store.size().await.unwrap().used_bytes
}

pub(crate) async fn batches_are_small(db: Db) {
    let store = db.open().await;
    for number in 0..8 {
        create_camera(&store, &format!("camera_at_the_front_door_{number}")).await;
    }
    let worker = Producer::Worker {
        credential: "key_0123456789abcdef0123456789abcdef".into(),
        worker: Some("worker.example:4711".into()),
        lease: Some("lse_0123456789abcdef0123456789abcdef".into()),
    };
    let fill = async |first: i64, batches: i64, detections: usize| {
        let before = size(&store, &db).await;
        for chunk in 0..batches / 50 {
            let ops = (0..50).map(|number| {
                let number = first + chunk * 50 + number;
                let task = task_id(u128::from((number % 8).unsigned_abs()) + 1);
                let time = at(0) + Micros(number * 25_000);
                let seen = (0..detections).map(|place| NewDetection {
                    timestamp: time,
                    track_id: Some((number / 80 * 10 + i64::try_from(place).unwrap() % 10).to_string()),
                    confidence: Share::from_ppm(u32::try_from(number * 7919 % 1_000_000).unwrap()),
                    ..detection(if place % 3 == 0 { "car" } else { "person" }, 0)
                });
                let batch = NewBatch {
                    task: Some(task),
                    frame_id: Some(format!("w:{task}:{}", time.0 / 1000)),
                    ticketed: true,
                    producer: worker.clone(),
                    captured_at: time,
                    created_at: time,
                    ..batch(&format!("camera_at_the_front_door_{}", number % 8), 0, seen.collect())
                };
                StoreBatch { batch }.into()
            });
            store.write_all(ops.collect()).await.unwrap();
        }
        (size(&store, &db).await - before) / (batches * i64::try_from(detections.max(1)).unwrap())
    };
    let single = fill(0, 5000, 1).await;
    assert!(single < 500, "{single} bytes for a batch of one detection");
    let large = fill(5000, 300, 100).await;
    assert!(large < 200, "{large} bytes for a detection of a batch of 100");
}
