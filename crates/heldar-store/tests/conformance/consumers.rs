//! Consumers: each batch once, none lost, the old ones given up.

use heldar_base::{Micros, Scope};
use heldar_store::op::{
    Acknowledge, AdvanceCursor, AppendEvents, DeleteCamera, EnsureConsumer, FailDeadLetter, ParkBatch,
    Prunable, Prune, RemoveConsumer, RemoveDeadLetter, ReplayDeadLetters, SkipBatches, WriteOp,
};
use heldar_store::{Consumer, ConsumerKind, DeadLetter, ErrorKind, Letters, NewBatch, Producer, Store};

use crate::batches::check_totals;
use crate::seen::{batch, detection, frame, store_batch, task_id};
use crate::world::{Db, at, camera, create_camera, event, scope};

fn ensure(name: &str) -> EnsureConsumer {
    EnsureConsumer { name: name.to_owned(), now: at(0) }
}

fn advance(seq: i64, low_seq: i64) -> AdvanceCursor {
    AdvanceCursor { consumer: "zones".to_owned(), seq, low_seq, now: at(1) }
}

fn park(seq: i64, low_seq: i64) -> ParkBatch {
    ParkBatch {
        advance: advance(seq, low_seq),
        attempts: 8,
        first_failed_at: at(1),
        last_failed_at: at(2),
        error: "ü".repeat(900),
    }
}

async fn cursor(store: &Store, name: &str) -> (i64, i64, i64) {
    let consumer = store.consumer(&Scope::All, name).await.unwrap().unwrap();
    (consumer.low_seq, consumer.finished_above, consumer.parked)
}

/// The stored counts beside what they count.
async fn check_counts(db: &Db) {
    let sql =
        "SELECT c.finished_above - (SELECT COUNT(*) FROM consumer_finished f WHERE f.consumer = c.consumer),
        c.parked - (SELECT COUNT(*) FROM dead_letter d WHERE d.consumer = c.consumer),
        (SELECT COUNT(*) FROM consumer_finished f WHERE f.consumer = c.consumer AND f.seq <= c.low_seq)
        FROM consumer_cursor c";
    assert!(db.numbers(sql).await.iter().all(|row| *row == [0, 0, 0]));
}

pub(crate) async fn each_batch_is_finished_once(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    let old = store_batch(&store, batch("a", 0, Vec::new())).await;
    assert_eq!(store.write(ensure("zones")).await.unwrap(), old, "a new consumer starts at the newest batch");
    let mut seqs = Vec::new();
    for number in 1..=6 {
        seqs.push(store_batch(&store, batch("a", number, Vec::new())).await);
    }
    assert_eq!(store.write(ensure("zones")).await.unwrap(), old);
    let write = async |op: AdvanceCursor, number: u128| {
        let effect = AppendEvents { events: vec![event(number, Some("a"), 0)] };
        let ops: Vec<WriteOp> = vec![op.into(), effect.into()];
        store.write_all(ops).await.map(drop).map_err(|error| error.kind())
    };
    // The second and the fourth before the first.
    assert_eq!(write(advance(seqs[1], old), 1).await, Ok(()));
    assert_eq!(write(advance(seqs[3], old), 2).await, Ok(()));
    assert_eq!(cursor(&store, "zones").await, (old, 2, 0));
    assert_eq!(write(advance(seqs[1], old), 3).await, Err(ErrorKind::Conflict));
    check_counts(&db).await;
    let finished = store.finished_batches(&Scope::All, "zones", 0, 10).await.unwrap();
    assert_eq!(finished.rows, [seqs[1], seqs[3]]);
    // The first: everything up to the second is finished.
    assert_eq!(write(advance(seqs[0], seqs[1]), 4).await, Ok(()));
    assert_eq!(cursor(&store, "zones").await, (seqs[1], 1, 0));
    assert_eq!(write(advance(seqs[0], seqs[1]), 5).await, Err(ErrorKind::Conflict));
    // A claim that is behind what is stored takes nothing back.
    assert_eq!(write(advance(seqs[5], 0), 6).await, Ok(()));
    assert_eq!(cursor(&store, "zones").await, (seqs[1], 2, 0));
    store.write(SkipBatches { consumer: "zones".into(), low_seq: seqs[3], now: at(2) }).await.unwrap();
    store.write(SkipBatches { consumer: "zones".into(), low_seq: seqs[0], now: at(2) }).await.unwrap();
    assert_eq!(cursor(&store, "zones").await, (seqs[3], 1, 0));
    check_counts(&db).await;
    let consumer = store.consumer(&Scope::All, "zones").await.unwrap().unwrap();
    assert_eq!((consumer.batches_above, consumer.waiting_since), (2, Some(at(5))));
    assert_eq!(write(advance(seqs[4], seqs[5]), 7).await, Ok(()));
    let consumer = store.consumer(&Scope::All, "zones").await.unwrap().unwrap();
    let expect = Consumer {
        name: "zones".into(),
        kind: ConsumerKind::App,
        low_seq: seqs[5],
        finished_above: 0,
        parked: 0,
        updated_at: at(1),
        batches_above: 0,
        waiting_since: None,
    };
    assert_eq!(consumer, expect);
    // Each effect that was refused left nothing.
    let numbers = db.numbers("SELECT COUNT(*) FROM event").await;
    assert_eq!(numbers, [[5]]);
    let unknown = AdvanceCursor { consumer: "nobody".into(), ..advance(1, 1) };
    assert_eq!(write(unknown, 8).await, Err(ErrorKind::NotFound));
    assert!(store.consumers(&scope(&["a"])).await.unwrap().is_empty());
}

pub(crate) async fn clients_tell_how_far_they_are(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    let first = store_batch(&store, batch("a", 0, Vec::new())).await;
    let second = store_batch(&store, batch("a", 1, Vec::new())).await;
    let ack = async |name: &str, seq| {
        let told = Acknowledge { name: name.to_owned(), seq, now: at(3) };
        store.write(told).await.map_err(|error| error.kind())
    };
    assert_eq!(ack("sync", first).await, Ok(first));
    assert_eq!(ack("sync", -5).await, Ok(first));
    assert_eq!(ack("sync", second).await, Ok(second));
    assert_eq!(ack("ahead", 1 << 40).await, Ok(second), "what is not there yet is not had");
    store.write(ensure("zones")).await.unwrap();
    assert_eq!(ack("zones", second).await, Err(ErrorKind::Conflict));
    assert_eq!(store.consumer(&Scope::All, "sync").await.unwrap().unwrap().kind, ConsumerKind::Reader);
    // A part of the server of that name takes it over.
    assert_eq!(store.write(ensure("sync")).await.unwrap(), second);
    assert_eq!(ack("sync", second).await, Err(ErrorKind::Conflict));
    store.write(RemoveConsumer { name: "sync".into() }).await.unwrap();
    let names: Vec<_> = store.consumers(&Scope::All).await.unwrap().into_iter().map(|row| row.name).collect();
    assert_eq!(names, ["ahead", "zones"]);
}

pub(crate) async fn what_cannot_be_taken_is_parked(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    create_camera(&store, "b").await;
    store.write(ensure("zones")).await.unwrap();
    let mut seqs = Vec::new();
    for (number, name) in ["a", "b", "a", "a"].into_iter().enumerate() {
        seqs.push(store_batch(&store, frame(name, &format!("w:{number}"), 0)).await);
    }
    store.write(park(seqs[0], seqs[0])).await.unwrap();
    store.write(park(seqs[2], seqs[0])).await.unwrap();
    store.write(park(seqs[1], seqs[2])).await.unwrap();
    assert_eq!(store.write(park(seqs[1], seqs[2])).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(cursor(&store, "zones").await, (seqs[2], 0, 3));
    check_counts(&db).await;
    let letters = async |scope: Scope, which| {
        let page = store.dead_letters(&scope, "zones", which, None, 10).await.unwrap();
        page.rows.iter().map(|letter| letter.seq).collect::<Vec<_>>()
    };
    assert_eq!(letters(Scope::All, Letters::All).await, seqs[..3]);
    assert_eq!(letters(scope(&["b"]), Letters::All).await, seqs[1..2]);
    let page = store.dead_letters(&Scope::All, "zones", Letters::All, None, 2).await.unwrap();
    assert_eq!(page.next, Some(seqs[1]));
    let letter = page.rows[0].clone();
    let expect = DeadLetter {
        consumer: "zones".into(),
        seq: seqs[0],
        camera: camera("a"),
        task_type: "detection".into(),
        attempts: 8,
        first_failed_at: at(1),
        last_failed_at: at(2),
        error: "ü".repeat(800),
        replay: false,
    };
    assert_eq!(letter, expect);
    assert_eq!(DeadLetter::parse("zones", &letter.id().to_string()), Some(seqs[0]));

    // Replayed: taken now, or failed again.
    let replay = async |seqs: Option<Vec<i64>>| {
        store.write(ReplayDeadLetters { consumer: "zones".into(), seqs }).await.unwrap()
    };
    assert_eq!(replay(Some(vec![seqs[0], 12345])).await, 1);
    assert_eq!(replay(None).await, 2);
    assert_eq!(replay(None).await, 0);
    assert_eq!(letters(Scope::All, Letters::ToReplay).await, seqs[..3]);
    let take = async |number: u128| {
        let remove = RemoveDeadLetter { consumer: "zones".into(), seq: seqs[0] };
        let effect = AppendEvents { events: vec![event(number, Some("a"), 0)] };
        let ops: Vec<WriteOp> = vec![remove.into(), effect.into()];
        store.write_all(ops).await.map(drop).map_err(|error| error.kind())
    };
    assert_eq!(take(1).await, Ok(()));
    assert_eq!(take(2).await, Err(ErrorKind::NotFound));
    assert_eq!(db.numbers("SELECT COUNT(*) FROM event").await, [[1]]);
    let failed = FailDeadLetter {
        consumer: "zones".into(),
        seq: seqs[1],
        attempts: 2,
        failed_at: at(9),
        error: "no".into(),
    };
    store.write(failed).await.unwrap();
    assert_eq!(letters(Scope::All, Letters::ToReplay).await, seqs[2..3]);
    let page = store.dead_letters(&Scope::All, "zones", Letters::All, None, 1).await.unwrap();
    assert_eq!((page.rows[0].attempts, page.rows[0].error.as_str()), (10, "no"));
    assert_eq!(cursor(&store, "zones").await.2, 2);

    // They go with their camera, and with age.
    store.write(DeleteCamera { id: camera("b") }).await.unwrap();
    assert_eq!(letters(Scope::All, Letters::All).await, seqs[2..3]);
    let prune = |what| Prune { what, before: at(100), limit: 500 };
    store.write(prune(Prunable::OfDeletedCameras)).await.unwrap();
    check_counts(&db).await;
    assert_eq!(store.write(prune(Prunable::DeadLetters)).await.unwrap(), 1);
    assert_eq!(cursor(&store, "zones").await.2, 0);
    check_counts(&db).await;
}

pub(crate) async fn what_is_not_taken_is_kept_longer(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    store.write(ensure("zones")).await.unwrap();
    store.write(ensure("entry")).await.unwrap();
    let mut seqs = Vec::new();
    for number in 0..10 {
        let worker =
            Producer::Worker { credential: "system".into(), worker: Some(format!("w{number}")), lease: None };
        let task = Some(task_id(u128::from(i64::unsigned_abs(number))));
        let batch = batch("a", number, vec![detection("x", number); 30]);
        seqs.push(store_batch(&store, NewBatch { producer: worker, task, ..batch }).await);
    }
    let prune = async |before, untaken_before, limit| {
        let what = Prunable::Batches { untaken_before: at(untaken_before), now: at(50) };
        let removed = store.write(Prune { what, before: at(before), limit }).await.unwrap();
        check_totals(&db, &store).await;
        check_counts(&db).await;
        removed
    };
    let left = async || {
        let page = store.batches(&Scope::All, None, 0, 100).await.unwrap();
        page.rows.iter().map(|batch| batch.seq).collect::<Vec<_>>()
    };
    let entry = |low_seq| SkipBatches { consumer: "entry".into(), low_seq, now: at(1) };
    // `zones` has taken nothing; a client that is behind keeps nothing.
    store.write(entry(seqs[9])).await.unwrap();
    store.write(Acknowledge { name: "client".into(), seq: 0, now: at(0) }).await.unwrap();
    assert_eq!(prune(8, -100, 500).await, 0);
    assert_eq!(left().await, seqs);
    // It has taken the first two and the fourth.
    store.write(advance(seqs[3], seqs[1])).await.unwrap();
    assert_eq!(prune(8, -100, 500).await, 62);
    assert_eq!(left().await, seqs[2..]);
    // In slices: detections before their batches, and never more than was asked for.
    store.write(advance(seqs[2], seqs[4])).await.unwrap();
    assert_eq!(prune(8, -100, 25).await, 25);
    assert_eq!(prune(8, -100, 25).await, 25);
    assert_eq!(prune(8, -100, 25).await, 25);
    assert_eq!(prune(8, -100, 25).await, 18);
    assert_eq!(prune(8, -100, 25).await, 0);
    assert_eq!(left().await, seqs[5..]);
    // Past the second age they go in any case, and are dead letters of whoever did not take them: but for the seventh.
    store.write(advance(seqs[6], 0)).await.unwrap();
    assert_eq!(prune(9, 8, 500).await, 93);
    assert_eq!(left().await, seqs[8..]);
    let letters = store.dead_letters(&Scope::All, "zones", Letters::All, None, 10).await.unwrap().rows;
    assert_eq!(letters.iter().map(|letter| letter.seq).collect::<Vec<_>>(), [seqs[5], seqs[7]]);
    assert_eq!((letters[0].attempts, letters[0].last_failed_at, letters[0].replay), (0, at(50), false));
    assert_eq!(cursor(&store, "zones").await, (seqs[7], 0, 2));
    assert_eq!(cursor(&store, "entry").await, (seqs[9], 0, 0));
    assert_eq!(store.write(advance(seqs[7], 0)).await.unwrap_err().kind(), ErrorKind::Conflict);

    // What no batch is named by any more goes a day later; what is in use stays.
    let named = "SELECT (SELECT COUNT(*) FROM task_line), (SELECT COUNT(*) FROM producer)";
    assert_eq!(db.numbers(named).await, [[10, 10]]);
    let day = Micros::from_hours(24).0 / 1_000_000;
    let late = NewBatch { task: Some(task_id(8)), ..batch("a", day + 20, Vec::new()) };
    store_batch(&store, late).await;
    store.write(SkipBatches { consumer: "zones".into(), low_seq: seqs[9], now: at(1) }).await.unwrap();
    prune(day + 15, -100, 500).await;
    assert_eq!(db.numbers(named).await, [[1, 1]]);
    // The numbers are given out anew, and nothing is mixed up.
    let again = NewBatch { task: Some(task_id(3)), ..batch("a", day + 30, vec![detection("y", 0)]) };
    let seq = store_batch(&store, again.clone()).await;
    let stored = store.batch(&Scope::All, seq).await.unwrap().unwrap();
    assert_eq!((stored.batch.task, stored.batch.producer), (again.task, Some(again.producer)));
    let left = store.batches(&Scope::All, None, 0, 100).await.unwrap().rows;
    assert_eq!(left.iter().map(|batch| batch.task).collect::<Vec<_>>(), [Some(task_id(8)), Some(task_id(3))]);
}
