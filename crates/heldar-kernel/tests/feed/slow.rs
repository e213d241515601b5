//! Whoever takes nothing is cut, and holds nobody up.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::sse::Sse;
use crate::{Served, new_event};

/// Events that each take a socket's buffers some way to being full.
async fn pour(served: &Served, count: usize, bytes: usize) -> i64 {
    let mut last = 0;
    let events = (0..count).map(|_| {
        let mut event = new_event(Some("gate"), "x", heldar_store::Severity::Info);
        event.payload = json!({ "filler": "x".repeat(bytes) });
        event
    });
    for some in events.collect::<Vec<_>>().chunks(50) {
        let append = heldar_store::op::AppendEvents { events: some.to_vec() };
        last = *served.store().write(append).await.unwrap().last().unwrap();
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_cut_and_the_others_go_on() {
    let served = Served::start().await;
    let admin = served.admin();
    let mut slow = Sse::try_open(served.address, "", &admin, Some(4096)).await.unwrap();
    let ready = slow.next().await.seq();
    let mut quick = Sse::open(&served, "", &admin).await;
    // Far more than what waits in sockets and buffers, which the limit does not count.
    let (pours, each) = (8, 500);
    let mut seen = 0;
    for _ in 0..pours {
        let last = pour(&served, each, 4000).await;
        while seen < last {
            seen = quick.next().await.seq();
        }
    }
    let clients = async || served.metric("heldar_feed_clients{kind=\"sse\"}").await;
    crate::house::until("the slow client is cut", async || clients().await == 1.0).await;
    let (mut last, mut count) = (ready, 0);
    while let Ok(block) = slow.try_next().await {
        assert!(block.seq() > last, "what it got is in order");
        last = block.seq();
        count += 1;
    }
    assert!(count < pours * each, "{count}: all of it");
    // It goes on where it was.
    let mut again = Sse::open(&served, &format!("since_seq={last}"), &admin).await;
    while last < seen {
        let next = again.next().await.seq();
        assert_eq!(next, last + 1, "the numbers of this test have no gaps");
        last = next;
        count += 1;
    }
    assert_eq!(count, pours * each);
    let next = served.event(None, "x").await;
    assert_eq!(quick.next().await.seq(), next);
}

/// auth-system.md 14: also where the reader takes nothing, and is not slow enough to be cut for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_ends_with_its_right() {
    let served = Served::start().await;
    let house = &served.house;
    let (id, head) = served.key(json!({ "capabilities": ["events:read"] })).await;
    let mut stalled = Sse::try_open(served.address, "", &head, Some(4096)).await.unwrap();
    stalled.next().await;
    pour(&served, 900, 16_000).await;
    let since = Instant::now();
    house.patch(&format!("/api/v1/api-keys/{id}"), json!({ "active": false })).token(&house.admin).ok().await;
    crate::house::until("it is cut", async || {
        served.metric("heldar_feed_clients{kind=\"sse\"}").await == 0.0
    })
    .await;
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_is_measured() {
    let served = Served::start().await;
    let mut sse = Sse::open(&served, "", &served.admin()).await;
    let seq = served.event(None, "x").await;
    sse.next().await;
    assert_eq!(served.metric("heldar_event_seq").await, seq as f64);
    assert_eq!(served.metric("heldar_feed_clients{kind=\"sse\"}").await, 1.0);
    assert_eq!(served.metric("heldar_feed_clients{kind=\"ws\"}").await, 0.0);
    assert_eq!(served.metric("heldar_feed_latency_seconds_count").await, 1.0);
    drop(sse);
    let left = async || served.metric("heldar_feed_clients{kind=\"sse\"}").await == 0.0;
    crate::house::until("it has left", left).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_cuts_nobody_who_takes_it() {
    let served = Served::start().await;
    let mut sse = Sse::open(&served, "", &served.admin()).await;
    let events = (0..3000).map(|_| new_event(None, "x", heldar_store::Severity::Info)).collect();
    let seqs = served.store().write(heldar_store::op::AppendEvents { events }).await.unwrap();
    for seq in seqs {
        assert_eq!(sse.next().await.seq(), seq);
    }
}
