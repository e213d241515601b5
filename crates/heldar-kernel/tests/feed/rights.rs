//! What a listener may see, and what ends that (auth-system.md 14).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::sse::{End, Sse};
use crate::{Served, store_batch};

/// A right that has ended shows within this time.
const CUT: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_listener_sees_its_cameras_alone() {
    let served = Served::start().await;
    let fields =
        json!({ "capabilities": ["events:read"], "scope_kind": "cameras", "scope_cameras": ["gate"] });
    let (_, head) = served.key(fields).await;
    let before = served.head();
    let live = Sse::open(&served, "topics=events,detections", &head).await;
    let mut expect = Vec::new();
    for round in 0..3 {
        served.event(Some("yard"), "x").await;
        served.event(None, "x").await;
        store_batch(served.store(), "yard", &["car"]).await;
        expect.push(served.event(Some("gate"), "x").await);
        if round < 2 {
            expect.push(store_batch(served.store(), "gate", &["car"]).await);
        }
    }
    let stored = Sse::open(&served, &format!("topics=events,detections&since_seq={before}"), &head).await;
    for mut sse in [live, stored] {
        for expect in &expect {
            assert_eq!(sse.next().await.seq(), *expect);
        }
    }
    // One that asks for a camera outside of its scope is told nothing of it.
    let mut foreign = Sse::open(&served, &format!("camera_id=yard&since_seq={before}"), &head).await;
    let last = served.event(Some("gate"), "x").await;
    let mut both = Sse::open(&served, &format!("camera_id=yard,gate&since_seq={}", last - 1), &head).await;
    assert_eq!(both.next().await.seq(), last);
    let quiet = tokio::time::timeout(Duration::from_millis(300), foreign.try_next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_nobody_listens() {
    let served = Served::start().await;
    let (_, head) = served.key(json!({ "capabilities": ["camera:read"] })).await;
    for (head, status) in [(head.as_str(), 403), ("", 401), ("X-API-Key: vok_nothing\r\n", 401)] {
        assert_eq!(Sse::try_open(served.address, "", head, None).await.err(), Some(status), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrower_scope_filters_a_feed_that_runs_and_its_end_ends_it() {
    let served = Served::start().await;
    let house = &served.house;
    let fields = json!({ "capabilities": ["events:read"], "scope_kind": "cameras", "scope_cameras": ["gate", "yard"] });
    let (id, head) = served.key(fields).await;
    let change = async |fields: serde_json::Value| {
        house.patch(&format!("/api/v1/api-keys/{id}"), fields).token(&house.admin).ok().await;
    };
    let mut sse = Sse::open(&served, "", &head).await;
    let both = served.event(Some("yard"), "x").await;
    assert_eq!(sse.next().await.seq(), both);
    change(json!({ "scope_kind": "cameras", "scope_cameras": ["gate"] })).await;
    served.event(Some("yard"), "x").await;
    let gate = served.event(Some("gate"), "x").await;
    assert_eq!(sse.next().await.seq(), gate, "what left the scope is not told, and the feed goes on");
    // Another camera, and none of those that it had.
    let mut only_gate = Sse::open(&served, "camera_id=gate", &head).await;
    let since = Instant::now();
    change(json!({ "scope_kind": "cameras", "scope_cameras": ["yard"] })).await;
    assert_eq!(only_gate.next().await.name(), "revoked");
    assert!(since.elapsed() < CUT, "{:?}", since.elapsed());
    assert_eq!(only_gate.try_next().await.err(), Some(End::Complete));
    let yard = served.event(Some("yard"), "x").await;
    assert_eq!(sse.next().await.seq(), yard, "this one is about any camera");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_ends_cuts_a_feed() {
    let served = Served::start().await;
    let house = &served.house;
    for (fields, reason) in [
        (json!({ "capabilities": ["camera:read"] }), "right"),
        (json!({ "revoked_at": "2026-01-01T00:00:00Z" }), "credential"),
        (json!({ "active": false }), "credential"),
    ] {
        let (id, head) = served.key(json!({ "capabilities": ["events:read"] })).await;
        let mut sse = Sse::open(&served, "", &head).await;
        let seq = served.event(None, "x").await;
        assert_eq!(sse.next().await.seq(), seq);
        let since = Instant::now();
        house.patch(&format!("/api/v1/api-keys/{id}"), fields.clone()).token(&house.admin).ok().await;
        let revoked = sse.next().await;
        assert_eq!((revoked.name(), revoked.data()), ("revoked", &json!({ "reason": reason })), "{fields}");
        assert_eq!(sse.try_next().await.err(), Some(End::Complete), "it is the last one");
        assert!(since.elapsed() < CUT, "{fields}: {:?}", since.elapsed());
    }
    // A session that is signed out.
    let (_, token) = house.signed_in("viewer", json!({ "role": "viewer" })).await;
    let head = format!("Authorization: Bearer {token}\r\n");
    let mut sse = Sse::open(&served, "", &head).await;
    let since = Instant::now();
    house.call(axum::http::Method::POST, "/api/v1/auth/logout").token(&token).send().await;
    assert_eq!(sse.next().await.name(), "revoked");
    assert!(since.elapsed() < CUT);
}

/// A key with an end is cut at its end, which no change tells of.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_runs_out_ends_its_feed() {
    let served = Served::start().await;
    let ends = served.house.now() + heldar_base::Micros::from_secs(2);
    let fields = json!({ "capabilities": ["events:read"], "expires_at": ends.to_string() });
    let (_, head) = served.key(fields).await;
    let mut sse = Sse::open(&served, "", &head).await;
    assert_eq!(sse.next().await.name(), "revoked");
    let late = served.house.now() - ends;
    assert!(late.0 >= 0 && late < heldar_base::Micros::from_secs(2), "{late:?}");
}
