//! The outbox and its readers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Served, store_batch};

async fn read(served: &Served, query: &str) -> Value {
    served.house.see(&format!("/api/v1/outbox?{query}")).await
}

fn seqs(page: &Value) -> Vec<i64> {
    page["entries"].as_array().unwrap().iter().map(|entry| entry["seq"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_read_page_by_page() {
    let served = Served::start().await;
    let mut batches = Vec::new();
    for (camera, labels) in [("gate", &["car"][..]), ("yard", &[]), ("gate", &["car", "dog"])] {
        batches.push(store_batch(served.store(), camera, labels).await);
        served.event(Some(camera), "x").await;
    }
    let all = read(&served, "").await;
    assert_eq!((seqs(&all), &all["count"]), (batches.clone(), &json!(3)));
    assert_eq!(all["next_seq"], batches[2]);
    let entry = &all["entries"][2];
    assert_eq!(entry["topic"], "detections");
    assert_eq!((&entry["detection_count"], &entry["detections"]), (&json!(2), &Value::Null));
    assert_eq!(read(&served, "since_seq=-5").await, all);
    let first = read(&served, "limit=2").await;
    assert_eq!(seqs(&first), batches[..2]);
    let rest = read(&served, &format!("limit=2&since_seq={}", first["next_seq"])).await;
    assert_eq!(seqs(&rest), batches[2..]);
    let none = read(&served, &format!("since_seq={}", rest["next_seq"])).await;
    assert_eq!(none, json!({ "entries": [], "next_seq": null, "count": 0 }));
    assert_eq!(seqs(&read(&served, "limit=0").await).len(), 1, "moved into the range");

    let full = read(&served, "include=detections&camera_id=gate").await;
    assert_eq!(seqs(&full), [batches[0], batches[2]]);
    let labels: Vec<&Value> =
        full["entries"][1]["detections"].as_array().unwrap().iter().map(|seen| &seen["label"]).collect();
    assert_eq!(labels, ["car", "dog"]);
    let listed = served.house.see("/api/v1/cameras/gate/detections?label=dog").await;
    assert_eq!(full["entries"][1]["detections"][1], listed[0]);

    let events = read(&served, "topic=events&limit=1000").await;
    assert!(events["entries"].as_array().unwrap().iter().all(|entry| entry["topic"] == "events"));
    let last = events["entries"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["event"]["camera_id"], &last["event"]["seq"]), (&json!("gate"), &last["seq"]));
    // Both, in one order, over pages.
    let (mut found, mut since) = (Vec::new(), 0);
    loop {
        let page = read(&served, &format!("topic=all&limit=2&since_seq={since}")).await;
        assert!(page["count"].as_u64().unwrap() <= 2);
        found.extend(seqs(&page));
        match page["next_seq"].as_i64() {
            Some(next) => since = next,
            None => break,
        }
    }
    let mut expect = [seqs(&events), batches].concat();
    expect.sort_unstable();
    assert_eq!(found, expect);
    for query in ["topic=x", "limit=x", "include=x", "wait_ms=x"] {
        let answer = served.house.get(&format!("/api/v1/outbox?{query}")).token(&served.house.admin);
        assert_eq!(answer.send().await.error(), (400, "bad_query".to_owned()), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_is_woken_by_the_commit() {
    let served = Served::start().await;
    let since = served.head();
    let poll = async |query: &str| {
        let begun = Instant::now();
        (read(&served, &format!("since_seq={since}&{query}")).await, begun.elapsed())
    };
    let (woken, seq) = tokio::join!(poll("wait_ms=20000&camera_id=gate"), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Nothing of these is asked for.
        served.event(Some("gate"), "x").await;
        store_batch(served.store(), "yard", &[]).await;
        store_batch(served.store(), "gate", &[]).await
    });
    assert_eq!(seqs(&woken.0), [seq]);
    assert!((Duration::from_millis(200)..Duration::from_secs(10)).contains(&woken.1), "{:?}", woken.1);
    let (empty, waited) = poll("wait_ms=300&camera_id=nothing").await;
    assert_eq!(empty["count"], 0);
    assert!(waited >= Duration::from_millis(300), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_leave_audit_rows_but_empty_waits_do_not() {
    let served = Served::start().await;
    let seq = store_batch(served.store(), "gate", &[]).await;
    read(&served, "limit=7").await;
    read(&served, &format!("since_seq={seq}&wait_ms=1")).await;
    read(&served, &format!("since_seq={seq}")).await;
    let rows = async || served.house.audit("read_outbox").await;
    crate::house::until("the rows are there", async || rows().await.len() == 2).await;
    let rows = rows().await;
    assert_eq!(rows[1]["detail"], json!({ "since_seq": 0, "limit": 7, "returned": 1 }));
    assert_eq!(rows[0]["detail"], json!({ "since_seq": seq, "limit": 100, "returned": 0 }));
    assert_eq!(rows[0]["target_type"], "outbox");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_tells_how_far_it_is() {
    let served = Served::start().await;
    let house = &served.house;
    let first = store_batch(served.store(), "gate", &[]).await;
    let second = store_batch(served.store(), "gate", &[]).await;
    let tell = async |body: Value| house.post("/api/v1/outbox/ack", body).token(&house.admin).send().await;
    assert_eq!(seqs(&read(&served, "consumer=erp").await), [first, second], "nothing is known of it yet");
    let told = tell(json!({ "consumer": "erp", "seq": first })).await.ok();
    assert_eq!(told, json!({ "consumer": "erp", "seq": first }));
    assert_eq!(seqs(&read(&served, "consumer=erp").await), [second]);
    assert_eq!(seqs(&read(&served, "consumer=erp&since_seq=0").await), [first, second]);
    let back = tell(json!({ "consumer": "erp", "seq": 1 })).await.ok();
    assert_eq!(back["seq"], first, "never backwards");
    let ahead = tell(json!({ "consumer": "erp", "seq": i64::MAX })).await.ok();
    assert_eq!(ahead["seq"], served.head(), "nor past what was given out");
    for name in ["", &"x".repeat(129)] {
        let refused = tell(json!({ "consumer": name, "seq": 1 })).await;
        assert_eq!(refused.error(), (400, "validation".to_owned()));
    }
    assert_eq!(tell(json!({ "consumer": "erp" })).await.error(), (422, "invalid_body".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outbox_is_for_administrators() {
    let served = Served::start().await;
    let (_, key) = served.house.key(json!({ "role": "manager" })).await;
    let answer = served.house.get("/api/v1/outbox").key(&key).send().await;
    assert_eq!(answer.status, 403);
    // One whose right ends while it waits is not kept waiting.
    let (id, key) = served.house.key(json!({ "capabilities": ["admin"] })).await;
    let house = &served.house;
    let begun = Instant::now();
    let (answer, ()) =
        tokio::join!(house.get("/api/v1/outbox?wait_ms=30000&since_seq=999").key(&key).send(), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            house
                .patch(&format!("/api/v1/api-keys/{id}"), json!({ "active": false }))
                .token(&house.admin)
                .ok()
                .await;
        });
    assert_eq!(answer.status, 401);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}
