//! Nothing is lost and nothing comes twice, whoever writes and however often a listener is cut.

use std::sync::OnceLock;
use std::time::Duration;

use heldar_base::{Scope, WallTime};
use heldar_store::op::{Prunable, Prune};
use heldar_store::{FeedBatches, FeedRow, FeedWants};
use heldar_testkit::PostgresCluster;
use serde_json::json;

use crate::sse::{End, Sse};
use crate::{Dice, Served, new_event, store_batch};

const WRITERS: u64 = 4;
const ROWS: u64 = 250;
const LISTENERS: u64 = 8;

/// Numbers of everything that was committed after one.
async fn truth(served: &Served, after: i64, batches: FeedBatches) -> Vec<i64> {
    let (mut seqs, mut at) = (Vec::new(), after);
    let wants = FeedWants { events: true, batches };
    while at < served.head() {
        let page = served.store().feed(&Scope::All, None, wants, (at, served.head()), (100, 1000)).await;
        let page = page.unwrap();
        seqs.extend(page.rows.iter().map(FeedRow::seq));
        at = page.reached;
    }
    seqs
}

async fn nothing_is_lost(served: Served) {
    let (admin, before) = (served.admin(), served.head());
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, mut dice) = (served.store().clone(), Dice(writer));
            tokio::spawn(async move {
                for row in 0..ROWS {
                    let camera = if dice.below(2) == 0 { "gate" } else { "yard" };
                    if writer % 2 == 0 {
                        let event = new_event(Some(camera), "x", heldar_store::Severity::Info);
                        crate::append(&store, event).await;
                    } else {
                        store_batch(&store, camera, &["car"; 3][..(row % 4) as usize]).await;
                    }
                    if dice.below(20) == 0 {
                        tokio::time::sleep(Duration::from_millis(dice.below(30))).await;
                    }
                }
            })
        })
        .collect();
    let rows = usize::try_from(WRITERS * ROWS).unwrap();
    let listeners: Vec<_> = (0..LISTENERS)
        .map(|listener| {
            let (address, admin, mut dice) = (served.address, admin.clone(), Dice(1000 + listener));
            // Some want everything in full, and some hold their cursor in a header.
            let include = if listener % 3 == 0 { "&include=detections" } else { "" };
            tokio::spawn(async move {
                let (mut seen, mut last) = (Vec::new(), before);
                while seen.len() < rows {
                    let (query, header) = match dice.below(2) {
                        0 => (format!("since_seq={last}"), String::new()),
                        _ => ("since_seq=0".to_owned(), format!("Last-Event-ID: {last}\r\n")),
                    };
                    let query = format!("topics=events,detections&{query}{include}");
                    let head = format!("{admin}{header}");
                    let mut sse = Sse::try_open(address, &query, &head, None).await.unwrap();
                    assert_eq!(sse.next().await.seq(), last, "ready");
                    for _ in 0..1 + dice.below(150) {
                        if seen.len() == rows {
                            break;
                        }
                        let block = sse.next().await;
                        last = block.seq();
                        seen.push(last);
                    }
                    drop(sse);
                    tokio::time::sleep(Duration::from_millis(dice.below(60))).await;
                }
                seen
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let expect = truth(&served, before, FeedBatches::Headers).await;
    assert_eq!(expect.len(), rows);
    assert!(expect.is_sorted_by(|a, b| a < b));
    for (number, listener) in listeners.into_iter().enumerate() {
        let seen = listener.await.unwrap();
        assert_eq!(seen, expect, "listener {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_comes_twice() {
    nothing_is_lost(Served::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_comes_twice_on_postgresql() {
    static CLUSTER: OnceLock<PostgresCluster> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| PostgresCluster::start().unwrap_or_else(|error| panic!("{error}")));
    let url = cluster.create_database().unwrap();
    nothing_is_lost(Served::start_with(&[("HELDAR_DATABASE_URL", &url)]).await).await;
}

/// More than the hub holds, so that a listener has to go to the store and come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_far_behind_catches_up_while_others_are_served() {
    let served = Served::start().await;
    let (admin, before) = (served.admin(), served.head());
    let mut early = Sse::open(&served, "", &admin).await;
    let mut events = 0;
    for _ in 0..25 {
        let batch = (0..400).map(|_| new_event(Some("gate"), "x", heldar_store::Severity::Info)).collect();
        let append = heldar_store::op::AppendEvents { events: batch };
        events += served.store().write(append).await.unwrap().len();
        for _ in 0..400 {
            early.next().await;
        }
    }
    let mut late = Sse::open(&served, &format!("since_seq={before}"), &admin).await;
    let mut seen = Vec::new();
    for number in 0..events + 10 {
        if number >= events {
            served.event(Some("gate"), "x").await;
        }
        seen.push(late.next().await.seq());
    }
    assert_eq!(seen, truth(&served, before, FeedBatches::Leave).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_goes_on_after_an_event_that_it_names() {
    let served = Served::start().await;
    let admin = served.admin();
    let first = new_event(Some("gate"), "x", heldar_store::Severity::Info);
    crate::append(served.store(), first.clone()).await;
    let second = served.event(Some("gate"), "x").await;
    for id in [first.id.clone(), first.id.to_ascii_uppercase()] {
        let head = format!("{admin}Last-Event-ID: {id}\r\n");
        let mut sse = Sse::open(&served, "since_seq=0", &head).await;
        assert_eq!(sse.next().await.seq(), second);
    }
    // One that is not known any more is older than everything.
    let head = format!("{admin}Last-Event-ID: 99999999-0000-4000-8000-000000000000\r\n");
    let mut sse = Sse::open(&served, "", &head).await;
    let gap = sse.next().await;
    assert_eq!((gap.name(), gap.data()), ("gap", &json!({ "from_seq": 0, "first_seq": 1 })));
    let mut seqs = Vec::new();
    while seqs.last() != Some(&second) {
        seqs.push(sse.next().await.seq());
    }
    assert_eq!(seqs, truth(&served, 0, FeedBatches::Leave).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_gone_are_told_of() {
    let served = Served::start().await;
    let admin = served.admin();
    let before = served.head();
    let old = |seconds: i64| WallTime(1_000_000_000_000_000 + seconds * 1_000_000);
    let mut gone = 0;
    for seconds in 0..3 {
        let mut event = new_event(Some("gate"), "x", heldar_store::Severity::Info);
        event.timestamp = old(seconds);
        gone = crate::append(served.store(), event).await;
    }
    let kept = served.event(Some("gate"), "x").await;
    let batch = store_batch(served.store(), "gate", &[]).await;
    let prune = Prune { what: Prunable::Events, before: old(100), limit: 500 };
    assert_eq!(served.store().write(prune).await.unwrap(), 3);

    let since = |seq: i64, topics: &str| format!("since_seq={seq}&topics={topics}");
    let mut sse = Sse::open(&served, &since(before, "events"), &admin).await;
    let gap = sse.next().await;
    assert_eq!((gap.name(), gap.data()), ("gap", &json!({ "from_seq": before, "first_seq": gone + 1 })));
    assert_eq!(sse.next().await.seq(), kept, "delivery goes on");
    // Whoever has what is gone, or does not want it, misses nothing.
    assert_eq!(Sse::open(&served, &since(gone, "events"), &admin).await.next().await.seq(), kept);
    let mut sse = Sse::open(&served, &since(before, "detections"), &admin).await;
    assert_eq!(sse.next().await.seq(), batch);
    // Batches go by another rule.
    let now = WallTime(2_000_000_000_000_000);
    let prune = Prune { what: Prunable::Batches { untaken_before: now, now }, before: now, limit: 500 };
    served.store().write(prune).await.unwrap();
    let gap = Sse::open(&served, &since(before, "detections"), &admin).await.next().await;
    assert_eq!(gap.data(), &json!({ "from_seq": before, "first_seq": batch + 1 }));

    // A number of another store was never given out here.
    let head = served.head();
    let mut sse = Sse::try_open(served.address, &since(head + 50, "events"), &admin, None).await.unwrap();
    assert_eq!(sse.next().await.seq(), head, "ready");
    assert_eq!(sse.next().await.data(), &json!({ "from_seq": head + 50, "first_seq": head + 1 }));
    let next = served.event(None, "x").await;
    assert_eq!(sse.next().await.seq(), next);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_goes_on_after_a_restart_and_ends_with_the_server() {
    let served = Served::start().await;
    let admin = served.admin();
    let mut sse = Sse::open(&served, "", &admin).await;
    served.event(None, "x").await;
    let last = sse.next().await.seq();
    served.house.kernel.feed.stop();
    assert_eq!(sse.try_next().await.err(), Some(End::Complete));
    let missed = served.event(None, "x").await;
    let served = served.restart().await;
    let mut sse = Sse::open(&served, &format!("since_seq={last}"), &admin).await;
    assert_eq!(sse.next().await.seq(), missed);
    let next = served.event(None, "x").await;
    while sse.next().await.seq() < next {}
}
