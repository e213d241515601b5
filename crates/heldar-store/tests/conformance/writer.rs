//! The writer: groups, owners, ends of every kind.

use std::collections::HashSet;

use heldar_base::Scope;
use heldar_store::op::{AppendEvents, CreateCamera, PutSetting, WriteOp};
use heldar_store::{Condition, Engine, ErrorKind, EventFilter, Store, StoreConfig};

use crate::world::{Db, at, camera, create_feed, event, fields};

fn setting(key: &str, value: &str) -> PutSetting {
    PutSetting { key: key.to_owned(), value: value.to_owned(), now: at(0) }
}

pub(crate) async fn many_writers_never_see_busy(db: Db) {
    let store = db.open().await;
    let feed = create_feed(&store, "a").await;
    let mut tasks = Vec::new();
    for writer in 0..100u128 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            let mut seqs = Vec::new();
            for turn in 0..5u128 {
                let events = vec![event(writer * 10 + turn, Some("a"), 0)];
                seqs.extend(store.write(AppendEvents { events }).await.unwrap());
                store.write(setting(&format!("k{writer}"), &turn.to_string())).await.unwrap();
                let start = i64::try_from(writer * 5 + turn).unwrap();
                store.write(feed.sealed(start, start + 1)).await.unwrap();
                store.streams(&Scope::All).await.unwrap();
            }
            seqs
        }));
    }
    let mut seqs = Vec::new();
    for task in tasks {
        let own = task.await.unwrap();
        assert!(own.is_sorted());
        seqs.extend(own);
    }
    seqs.sort_unstable();
    seqs.dedup();
    assert_eq!(seqs.len(), 500);
    let totals = store.streams(&Scope::All).await.unwrap()[0].totals;
    assert_eq!((totals.segment_count, totals.total_bytes), (500, 500_000));
    assert_eq!(store.settings(&Scope::All).await.unwrap().len(), 100);
}

pub(crate) async fn a_bad_write_does_not_hurt_its_group(db: Db) {
    let store = db.open().await;
    let mut tasks = Vec::new();
    for number in 0..60 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            match number % 6 {
                // Text that no engine is given, a value that the schema refuses, and a refusal.
                0 => store.write(setting(&format!("k{number}"), "a\0b")).await.map(drop),
                1 => store.write(setting("", "x")).await.map(drop),
                2 => {
                    let create = CreateCamera { id: camera("same"), fields: fields("x"), now: at(0) };
                    store.write(create).await.map(drop)
                }
                _ => store.write(setting(&format!("k{number}"), "fine")).await.map(drop),
            }
        }));
    }
    let mut kinds = Vec::new();
    for task in tasks {
        kinds.push(task.await.unwrap().map_err(|error| error.kind()));
    }
    for (number, kind) in kinds.iter().enumerate() {
        match number % 6 {
            0 | 1 => assert_eq!(*kind, Err(ErrorKind::Internal), "{number}"),
            2 => assert!(matches!(kind, Ok(()) | Err(ErrorKind::Conflict)), "{number}: {kind:?}"),
            _ => assert_eq!(*kind, Ok(()), "{number}"),
        }
    }
    assert_eq!(kinds.iter().filter(|kind| **kind == Err(ErrorKind::Conflict)).count(), 9);
    assert_eq!(store.settings(&Scope::All).await.unwrap().len(), 30);
}

pub(crate) async fn several_writes_are_one(db: Db) {
    let store = db.open().await;
    let create = |name: &str| CreateCamera { id: camera(name), fields: fields(name), now: at(0) };
    store.write(create("taken")).await.unwrap();
    let ops: Vec<WriteOp> = vec![setting("k", "1").into(), create("fresh").into(), create("taken").into()];
    assert_eq!(store.write_all(ops).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(store.settings(&Scope::All).await.unwrap().is_empty());
    assert!(store.camera(&Scope::All, &camera("fresh")).await.unwrap().is_none());

    let events = AppendEvents { events: vec![event(1, None, 0)] };
    let ops: Vec<WriteOp> = vec![setting("k", "1").into(), create("fresh").into(), events.into()];
    let mut outcomes = store.write_all(ops).await.unwrap();
    let seqs = outcomes.pop().unwrap().of::<AppendEvents>().unwrap();
    let stored = store.events(&Scope::All, &EventFilter::default(), None, 10).await.unwrap();
    assert_eq!(stored.rows[0].seq, seqs[0]);
    assert!(outcomes.pop().unwrap().of::<PutSetting>().is_err(), "the result of another operation");
}

pub(crate) async fn a_second_owner_fences_the_first(db: Db) {
    let first = db.open().await;
    first.write(setting("k", "first")).await.unwrap();
    let second = db.open().await;
    second.write(setting("k", "second")).await.unwrap();
    for _ in 0..2 {
        assert_eq!(first.write(setting("k", "first again")).await.unwrap_err().kind(), ErrorKind::Fenced);
    }
    assert_eq!(first.health().borrow().condition, Condition::Fenced);
    assert_eq!(second.settings(&Scope::All).await.unwrap()[0].value, "second");
    first.close().await;
    assert_eq!(first.health().borrow().condition, Condition::Fenced);
    second.write(setting("k", "third")).await.unwrap();
}

async fn next_seq(store: &Store, number: u128) -> i64 {
    store.write(AppendEvents { events: vec![event(number, None, 0)] }).await.unwrap()[0]
}

pub(crate) async fn event_numbers_survive_an_unclean_stop(db: Db) {
    let store = db.open().await;
    assert_eq!(next_seq(&store, 1).await, 1);
    assert_eq!(next_seq(&store, 2).await, 2);
    store.close().await;
    let store = db.open().await;
    assert_eq!(next_seq(&store, 3).await, 3, "an orderly stop leaves no hole");
    // As if a power cut had taken the last events: the numbers that they had are not used again.
    drop(store);
    db.tamper("DELETE FROM event WHERE seq = 3").await.unwrap();
    let fenced_off = db.open().await;
    let store = db.open().await;
    let after = next_seq(&store, 4).await;
    assert!(after > 65_536, "{after}");
    drop(fenced_off);
    // More than one reservation; the same code on both engines, and quicker on one.
    if store.engine() == Engine::Postgres {
        return;
    }
    let events = (0..70_000).map(|number| event(100 + number, None, 0)).collect::<Vec<_>>();
    for chunk in events.chunks(35_000) {
        let seqs = store.write(AppendEvents { events: chunk.to_vec() }).await.unwrap();
        assert!(seqs.is_sorted());
    }
    let last = next_seq(&store, 5).await;
    assert_eq!(last, after + 70_001);
    let reserved = db.numbers("SELECT next_seq FROM writer_state").await[0][0];
    assert!(reserved > last, "{reserved}");
}

pub(crate) async fn an_abandoned_write_still_happens(db: Db) {
    let store = db.open().await;
    for number in 0..20 {
        let write = store.write(setting(&format!("k{number}"), "x"));
        // Polled once, which queues it, and dropped.
        tokio::select! {
            biased;
            _ = write => {}
            () = std::future::ready(()) => {}
        }
    }
    store.write(setting("last", "x")).await.unwrap();
    assert_eq!(store.settings(&Scope::All).await.unwrap().len(), 21);
}

/// Names the database of a child process that writes until it is killed.
const CHILD: &str = "HELDAR_STORE_TEST_CHILD";

/// The child: tells each write that was answered, in a line of its own. Does nothing when it is not one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_is_killed() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let config = StoreConfig { url: url.parse().unwrap(), max_connections: 4, now: at(0) };
    let store = Store::open(config).await.unwrap();
    let mut writers = Vec::new();
    for writer in 0..8u128 {
        let store = store.clone();
        writers.push(tokio::spawn(async move {
            for turn in 0..100_000 {
                let key = format!("{writer}/{turn}");
                store.write(setting(&key, "x")).await.unwrap();
                let seqs = store
                    .write(AppendEvents { events: vec![event(writer << 40 | turn, None, 0)] })
                    .await
                    .unwrap();
                println!("answered {key} {}", seqs[0]);
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

/// Runs a child on the database, kills it, and returns what it was answered.
fn kill_a_child(db: &Db) -> Vec<(String, i64)> {
    use std::io::BufRead as _;
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["writer::child_that_is_killed", "--exact", "--nocapture"])
        .env(CHILD, db.text())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut answered = Vec::new();
    for line in std::io::BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let words: Vec<_> = line.split(' ').collect();
        if let ["answered", key, seq] = words[..] {
            answered.push((key.to_owned(), seq.parse().unwrap()));
        }
        if answered.len() == 200 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    answered
}

pub(crate) async fn what_was_answered_is_there_after_a_kill(db: Db) {
    let mut all_seqs = HashSet::new();
    for round in 0..2 {
        let answered = kill_a_child(&db);
        assert!(answered.len() >= 200, "{}", answered.len());
        let store = db.open().await;
        let keys: HashSet<_> =
            store.settings(&Scope::All).await.unwrap().into_iter().map(|setting| setting.key).collect();
        let mut seqs = HashSet::new();
        let mut cursor = None;
        loop {
            let page = store.events(&Scope::All, &EventFilter::default(), cursor, 5000).await.unwrap();
            seqs.extend(page.rows.iter().map(|row| row.seq));
            let Some(next) = page.next else { break };
            cursor = Some(next);
        }
        for (key, seq) in &answered {
            assert!(keys.contains(key), "round {round}: setting {key} was answered and is gone");
            assert!(seqs.contains(seq), "round {round}: event {seq} was answered and is gone");
        }
        if round == 0 {
            all_seqs = answered.into_iter().map(|(_, seq)| seq).collect();
            store.close().await;
            db.tamper("DELETE FROM event; DELETE FROM setting").await.unwrap();
        } else {
            assert!(answered.iter().all(|(_, seq)| !all_seqs.contains(seq)), "a number was used twice");
        }
    }
}

pub(crate) async fn a_changed_schema_is_refused(db: Db) {
    let store = db.open().await;
    store.close().await;
    db.open().await.close().await;
    for sql in [
        "INSERT INTO migration SELECT component, 1000, 'later', checksum, 0 FROM migration WHERE number = 1",
        "DELETE FROM migration WHERE name = 'later'; UPDATE migration SET checksum = reverse_of_nothing",
    ] {
        let sql = sql.replace("reverse_of_nothing", &format!("'{}'", "0".repeat(64)));
        db.tamper(&sql).await.unwrap();
        let error = Store::open(db.config()).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

pub(crate) async fn a_closed_store_says_so(db: Db) {
    let store = db.open().await;
    store.close().await;
    assert_eq!(store.write(setting("k", "1")).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(store.settings(&Scope::All).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(store.health().borrow().condition, Condition::Closed);
    store.close().await;
}
