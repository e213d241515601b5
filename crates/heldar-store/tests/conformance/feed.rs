//! The feed: events and batches in commit order, what is gone of it, marks and types of events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use heldar_base::Scope;
use heldar_store::op::{
    AppendEvents, DeleteCamera, MarkEventSeen, Prunable, Prune, StoreBatch, UnmarkEventSeen,
};
use heldar_store::{
    AuditFilter, ErrorKind, EventCursor, EventFilter, EventOrder, FeedBatches, FeedFloors, FeedRow,
    FeedWants, Seen, Store,
};

use crate::seen::{batch, detection, store_batch};
use crate::world::{Db, at, audit, camera, create_camera, event, scope};

const ALL: FeedWants = FeedWants { events: true, batches: FeedBatches::Headers };

async fn append(store: &Store, number: u128, name: Option<&str>, seconds: i64) -> i64 {
    store.write(AppendEvents { events: vec![event(number, name, seconds)] }).await.unwrap()[0]
}

fn head(store: &Store) -> i64 {
    store.committed().borrow().seq
}

/// Numbers of the feed over pages of so many rows and detections.
async fn pages(
    store: &Store,
    scope: &Scope,
    name: Option<&str>,
    wants: FeedWants,
    limits: (u32, usize),
) -> Vec<i64> {
    let (mut seqs, mut after, up_to) = (Vec::new(), 0, head(store));
    let camera = name.map(camera);
    while after < up_to {
        let page = store.feed(scope, camera.as_ref(), wants, (after, up_to), limits).await.unwrap();
        assert!(page.reached > after && page.reached <= up_to, "{page:?}");
        assert!(page.rows.iter().all(|row| row.seq() > after && row.seq() <= page.reached), "{page:?}");
        seqs.extend(page.rows.iter().map(FeedRow::seq));
        after = page.reached;
    }
    seqs
}

pub(crate) async fn rows_come_in_commit_order(db: Db) {
    let store = db.open().await;
    for name in ["a", "b", "c"] {
        create_camera(&store, name).await;
    }
    assert_eq!(head(&store), 0);
    let (mut events, mut batches, mut of_a) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=30 {
        let name = ["a", "b"][usize::from(number % 3 == 0)];
        let seq = if number % 2 == 0 {
            let seq = append(&store, number, Some(name), 100 - i64::try_from(number).unwrap()).await;
            events.push(seq);
            seq
        } else {
            let seen = (0..number % 5).map(|_| detection("car", 1)).collect();
            let seq = store_batch(&store, batch(name, 1, seen)).await;
            batches.push(seq);
            seq
        };
        if name == "a" {
            of_a.push(seq);
        }
        assert_eq!(head(&store), seq, "told with the answer");
    }
    let none = append(&store, 99, None, 1).await;
    events.push(none);
    store_batch(&store, batch("c", 1, vec![detection("car", 1)])).await;
    store.write(DeleteCamera { id: camera("c") }).await.unwrap();

    let mut both = [events.clone(), batches.clone()].concat();
    both.sort_unstable();
    let full = FeedWants { events: true, batches: FeedBatches::Full };
    for limits in [(1, 1), (2, 3), (7, 4), (500, 1000)] {
        for wants in [ALL, full] {
            assert_eq!(pages(&store, &Scope::All, None, wants, limits).await, both, "{limits:?}");
        }
        let only = FeedWants { events: true, batches: FeedBatches::Leave };
        assert_eq!(pages(&store, &Scope::All, None, only, limits).await, events, "{limits:?}");
        let only = FeedWants { events: false, batches: FeedBatches::Full };
        assert_eq!(pages(&store, &Scope::All, None, only, limits).await, batches, "{limits:?}");
        assert_eq!(pages(&store, &Scope::All, Some("a"), ALL, limits).await, of_a, "{limits:?}");
        assert_eq!(pages(&store, &scope(&["a", "nobody"]), None, ALL, limits).await, of_a, "{limits:?}");
        assert!(pages(&store, &scope(&["a"]), Some("b"), ALL, limits).await.is_empty());
    }
    let page = store.feed(&Scope::All, None, full, (0, head(&store)), (500, 1000)).await.unwrap();
    for row in page.rows {
        if let FeedRow::Batch { batch, detections } = row {
            assert_eq!(detections.unwrap().len(), usize::from(batch.detection_count));
        }
    }
    // What was given out is not given out again after a restart.
    let before = head(&store);
    store.close().await;
    let store = db.open().await;
    assert_eq!(head(&store), before);
    assert!(append(&store, 100, None, 1).await > before);
}

/// A reader that has read up to what is committed finds no new row there later.
pub(crate) async fn what_was_read_stays_whole(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (store, done) = (store.clone(), done.clone());
        tokio::spawn(async move {
            let (mut seqs, mut after) = (BTreeSet::new(), 0);
            let mut committed = store.committed();
            loop {
                let is_last = done.load(Ordering::SeqCst);
                let up_to = committed.borrow_and_update().seq;
                while after < up_to {
                    let page = store.feed(&Scope::All, None, ALL, (after, up_to), (50, 1000)).await.unwrap();
                    seqs.extend(page.rows.iter().map(FeedRow::seq));
                    after = page.reached;
                }
                if is_last {
                    return seqs;
                }
                let _woken =
                    tokio::time::timeout(std::time::Duration::from_millis(5), committed.changed()).await;
            }
        })
    };
    let writers: Vec<_> = (0..6u128)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for turn in 0..60u128 {
                    if writer % 2 == 0 {
                        append(&store, writer * 1000 + turn + 1, Some("a"), 1).await;
                    } else {
                        let batch = batch("a", 1, vec![detection("car", 1)]);
                        store.write(StoreBatch { batch }).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let found: Vec<i64> = reader.await.unwrap().into_iter().collect();
    let truth = db.numbers("SELECT seq FROM event UNION ALL SELECT seq FROM outbox ORDER BY seq").await;
    assert_eq!(truth.len(), 360);
    assert_eq!(found, truth.concat());
}

pub(crate) async fn what_age_takes_is_noted(db: Db) {
    let store = db.open().await;
    create_camera(&store, "a").await;
    assert_eq!(store.feed_floors(&Scope::All).await.unwrap(), FeedFloors::default());
    let late = append(&store, 1, None, 50).await;
    let early = append(&store, 2, None, 10).await;
    let kept = append(&store, 3, None, 90).await;
    let first = store_batch(&store, batch("a", 5, vec![detection("car", 1)])).await;
    let second = store_batch(&store, batch("a", 60, Vec::new())).await;
    let prune = async |what: Prunable, before: i64, limit: u32| {
        store.write(Prune { what, before: at(before), limit }).await.unwrap()
    };
    let batches = Prunable::Batches { untaken_before: at(0), now: at(100) };
    let floors = async || store.feed_floors(&Scope::All).await.unwrap();
    prune(Prunable::Events, 5, 10).await;
    prune(batches, 5, 10).await;
    assert_eq!(floors().await, FeedFloors::default(), "nothing was that old");
    prune(Prunable::Events, 60, 1).await;
    assert_eq!(floors().await.events, early);
    prune(Prunable::Events, 60, 1).await;
    assert_eq!(floors().await.events, early, "the highest stays");
    assert!(late < early && early < kept);
    // The batch goes with its detections first, and is noted before the first of them.
    prune(batches, 10, 1).await;
    assert_eq!(floors().await.batches, first);
    while prune(batches, 100, 10).await > 0 {}
    assert_eq!(floors().await, FeedFloors { events: early, batches: second });
    assert_eq!(store.feed_floors(&scope(&["a"])).await.unwrap(), FeedFloors::default());
    store.close().await;
    let store = db.open().await;
    assert_eq!(store.feed_floors(&Scope::All).await.unwrap().events, early);
}

pub(crate) async fn an_event_is_marked_once(db: Db) {
    let store = db.open().await;
    let seq = append(&store, 1, Some("a"), 1).await;
    let mark = |by: &str, seconds: i64, number: u128| MarkEventSeen {
        seq,
        seen: Seen { by: by.to_owned(), at: at(seconds) },
        audit: audit(number, None, seconds),
    };
    let audits =
        async || store.audit(&Scope::All, &AuditFilter::default(), None, 10).await.unwrap().rows.len();
    let first = Seen { by: "Ann".to_owned(), at: at(5) };
    assert_eq!(store.write(mark("Ann", 5, 1)).await.unwrap(), first);
    assert_eq!(store.write(mark("Bob", 6, 2)).await.unwrap(), first);
    assert_eq!(audits().await, 1);
    let id = event(1, None, 0).id;
    assert_eq!(store.event(&Scope::All, &id).await.unwrap().unwrap().seen, Some(first.clone()));
    assert_eq!(store.event(&scope(&["a"]), &id).await.unwrap().unwrap().seq, seq);
    assert!(store.event(&scope(&["b"]), &id).await.unwrap().is_none());
    // Appending it again keeps the mark.
    append(&store, 1, Some("a"), 1).await;
    let listed = store.events(&Scope::All, &EventFilter::default(), None, 10).await.unwrap();
    assert_eq!(listed.rows[0].seen, Some(first));
    let unmark = |number| UnmarkEventSeen { seq, audit: audit(number, None, 9) };
    assert!(store.write(unmark(3)).await.unwrap());
    assert!(!store.write(unmark(4)).await.unwrap());
    assert_eq!(audits().await, 2);
    let long = store.write(mark(&"ü".repeat(300), 7, 5)).await.unwrap();
    assert_eq!(long.by, "ü".repeat(Seen::NAME));
    let gone = MarkEventSeen { seq: seq + 1, ..mark("Ann", 1, 6) };
    assert_eq!(store.write(gone).await.unwrap_err().kind(), ErrorKind::NotFound);
    let gone = UnmarkEventSeen { seq: seq + 1, ..unmark(7) };
    assert_eq!(store.write(gone).await.unwrap_err().kind(), ErrorKind::NotFound);
}

pub(crate) async fn events_have_four_orders(db: Db) {
    let store = db.open().await;
    let mut by_commit = Vec::new();
    for (number, seconds) in [(1, 30), (2, 10), (3, 20), (4, 20)] {
        by_commit.push(append(&store, number, Some("a"), seconds).await);
    }
    let at = |places: [usize; 4]| places.map(|place| by_commit[place]).to_vec();
    for (order, since_seq, expect) in [
        (EventOrder::NewestFirst, None, at([0, 3, 2, 1])),
        (EventOrder::OldestFirst, None, at([1, 2, 3, 0])),
        (EventOrder::NewestFirst, Some(0), at([3, 2, 1, 0])),
        (EventOrder::OldestFirst, Some(0), at([0, 1, 2, 3])),
        (EventOrder::OldestFirst, Some(by_commit[1]), by_commit[2..].to_vec()),
    ] {
        let which = EventFilter { order, since_seq, ..EventFilter::default() };
        for limit in [1, 2, 10] {
            let (mut found, mut after): (Vec<i64>, Option<EventCursor>) = (Vec::new(), None);
            loop {
                let page = store.events(&Scope::All, &which, after, limit).await.unwrap();
                found.extend(page.rows.iter().map(|row| row.seq));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(found, expect, "{which:?} {limit}");
        }
    }
}

pub(crate) async fn types_are_listed_once(db: Db) {
    let store = db.open().await;
    assert!(store.event_types(&Scope::All, 10).await.unwrap().is_empty());
    for (number, (name, event_type)) in
        [(Some("a"), "x"), (Some("b"), "y"), (Some("a"), "x"), (None, "w"), (Some("a"), "z")]
            .into_iter()
            .enumerate()
    {
        let mut event = event(1 + number as u128, name, 1);
        event.event_type = event_type.to_owned();
        store.write(AppendEvents { events: vec![event] }).await.unwrap();
    }
    for (scope, limit, expect) in [
        (Scope::All, 10, &["w", "x", "y", "z"][..]),
        (Scope::All, 2, &["w", "x"]),
        (scope(&["a"]), 10, &["x", "z"]),
        (scope(&["a", "b"]), 10, &["x", "y", "z"]),
        (scope(&[]), 10, &[]),
    ] {
        assert_eq!(store.event_types(&scope, limit).await.unwrap(), expect, "{scope:?}");
    }
}
