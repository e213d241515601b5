//! The list of events in its orders, marks of events, their types.

use axum::http::Method;
use serde_json::{Value, json};

use crate::{Served, append, new_event};

fn seqs(page: &Value) -> Vec<i64> {
    page.as_array().unwrap().iter().map(|event| event["seq"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_listed_by_time_or_by_commit() {
    let served = Served::start().await;
    let house = &served.house;
    let before = served.head();
    let mut stored = Vec::new();
    for seconds in [30, 10, 20] {
        let mut event = new_event(Some("gate"), "x", heldar_store::Severity::Info);
        event.timestamp = heldar_base::WallTime(1_700_000_000_000_000 + seconds * 1_000_000);
        stored.push(append(served.store(), event).await);
    }
    let [late, early, middle] = stored[..] else { panic!() };
    for (query, expect) in [
        ("event_type=x", [late, middle, early]),
        ("event_type=x&order=desc", [late, middle, early]),
        ("event_type=x&order=asc", [early, middle, late]),
        (&*format!("since_seq={before}"), [middle, early, late]),
        (&*format!("since_seq={before}&order=asc"), [late, early, middle]),
    ] {
        assert_eq!(seqs(&house.see(&format!("/api/v1/events?{query}")).await), expect, "{query}");
        // The same over pages of one.
        let (mut found, mut path) = (Vec::new(), format!("/api/v1/events?{query}&limit=1"));
        loop {
            let answer = house.get(&path).token(&house.admin).send().await;
            found.extend(seqs(&answer.ok()));
            match answer.next() {
                Some(next) => path = next,
                None => break,
            }
        }
        assert_eq!(found, expect, "{query}, one by one");
    }
    assert_eq!(seqs(&house.see(&format!("/api/v1/events?since_seq={early}")).await), [middle]);
    let range = "from=2023-11-14T22:13:30Z&to=2023-11-14T22:13:45Z&event_type=x";
    assert_eq!(seqs(&house.see(&format!("/api/v1/events?{range}")).await), [middle, early]);
    for query in ["order=up", "since_seq=x", "from=x"] {
        let answer = house.get(&format!("/api/v1/events?{query}")).token(&house.admin).send().await;
        assert_eq!(answer.status, 400, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_mark_of_an_event_stands() {
    let served = Served::start().await;
    let house = &served.house;
    let event = new_event(Some("gate"), "x", heldar_store::Severity::Warning);
    let seq = append(served.store(), event.clone()).await;
    let path = format!("/api/v1/events/{}/seen", event.id);
    let (_, viewer) = house.signed_in("Ann", json!({ "role": "viewer" })).await;
    let mark = async |token: &str| house.call(Method::POST, &path).token(token).send().await;
    let marked = mark(&viewer).await.ok();
    assert_eq!((&marked["id"], &marked["seen_by"]), (&json!(event.id), &json!("Ann")));
    assert!(marked["seen_at"].is_string());
    assert_eq!(mark(&house.admin).await.ok(), marked, "once more changes nothing");
    assert_eq!(house.see(&format!("/api/v1/events?since_seq={}", seq - 1)).await[0], marked);
    let rows = house.audit("mark_event_seen").await;
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&rows[0]["actor_name"], &rows[0]["detail"]),
        (&json!("Ann"), &json!({ "camera_id": "gate" }))
    );
    assert_eq!((&rows[0]["target_type"], &rows[0]["target_id"]), (&json!("event"), &json!(event.id)));
    assert_eq!(rows[0]["subject_camera_id"], "gate");
    assert_eq!(served.head(), seq, "a mark has no number");
    for _ in 0..2 {
        assert_eq!(house.delete(&path).token(&house.admin).status().await, 204);
    }
    assert_eq!(house.audit("unmark_event_seen").await.len(), 1, "only where there was a mark");
    assert_eq!(house.see("/api/v1/events?event_type=x").await[0]["seen_by"], Value::Null);
    assert_eq!(
        mark(&house.admin).await.ok()["seen_by"],
        crate::house::ADMIN,
        "the next one is the first again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_are_for_those_who_see_the_event() {
    let served = Served::start().await;
    let house = &served.house;
    let make = async |camera: Option<&str>| {
        let event = new_event(camera, "x", heldar_store::Severity::Info);
        append(served.store(), event.clone()).await;
        event.id
    };
    let (gate, yard, none) = (make(Some("gate")).await, make(Some("yard")).await, make(None).await);
    let fields =
        json!({ "capabilities": ["events:read"], "scope_kind": "cameras", "scope_cameras": ["gate"] });
    let (_, key) = house.key(fields).await;
    let missing = "99999999-0000-4000-8000-000000000000".to_owned();
    for method in [Method::POST, Method::DELETE] {
        for (id, limited, unlimited) in [
            (&gate, 200, 200),
            (&yard, 403, 200),
            (&none, 403, 200),
            (&missing, 403, 404),
            (&"x".into(), 403, 404),
        ] {
            let path = format!("/api/v1/events/{id}/seen");
            let done = |status: u16| if status == 200 && method == Method::DELETE { 204 } else { status };
            let answer = house.call(method.clone(), &path).key(&key).send().await;
            assert_eq!(answer.status, done(limited), "{method} {id}");
            let answer = house.call(method.clone(), &path).token(&house.admin).send().await;
            assert_eq!(answer.status, done(unlimited), "{method} {id}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_are_the_built_in_ones_and_those_that_were_seen() {
    let served = Served::start().await;
    let house = &served.house;
    for (camera, event_type) in [("gate", "parcel"), ("yard", "wild_boar"), ("gate", "camera_offline")] {
        served.event(Some(camera), event_type).await;
    }
    let names = |types: &Value| -> Vec<String> {
        let types = types.as_array().unwrap();
        assert!(types.iter().all(|one| !one["description"].as_str().unwrap().is_empty()));
        types.iter().map(|one| one["event_type"].as_str().unwrap().to_owned()).collect()
    };
    let all = names(&house.see("/api/v1/events/types").await);
    let unique: std::collections::BTreeSet<&String> = all.iter().collect();
    assert_eq!(unique.len(), all.len(), "each once");
    for name in ["camera_offline", "zone_enter", "zone_occupancy_ok", "entry_matched", "webhook_disabled"] {
        assert!(all.iter().any(|one| one == name), "{name}");
    }
    assert_eq!(all[all.len() - 2..], ["parcel", "wild_boar"]);
    let fields =
        json!({ "capabilities": ["events:read"], "scope_kind": "cameras", "scope_cameras": ["gate"] });
    let (_, key) = house.key(fields).await;
    let some = names(&house.get("/api/v1/events/types").key(&key).ok().await);
    assert_eq!(some.last().unwrap(), "parcel");
    assert!(!some.iter().any(|one| one == "wild_boar"));
}

/// perception.md 11.4: an event of an app comes by the feed, with links unless it has its own.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_an_app_comes_by_the_feed() {
    let served = Served::start().await;
    let house = &served.house;
    let mut sse = crate::sse::Sse::open(&served, "camera_id=gate", &served.admin()).await;
    let body = json!({ "camera_id": "gate", "event_type": "parcel_left", "trigger": true });
    let made = house.post("/api/v1/events", body).token(&house.admin).ok().await;
    assert!(
        made["payload"]["links"]["picture"].as_str().unwrap().starts_with("/api/v1/cameras/gate/picture?at=")
    );
    let told = sse.next().await;
    assert_eq!((told.data(), told.seq()), (&made, made["seq"].as_i64().unwrap()));
    let own = json!({ "camera_id": "gate", "event_type": "parcel_left", "payload": { "links": {} } });
    house.post("/api/v1/events", own).token(&house.admin).ok().await;
    assert_eq!(sse.next().await.data()["payload"], json!({ "links": {} }));
}
