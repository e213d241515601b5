//! The routes, from a subscription to a phone, with the whole server.

use axum::http::Method;
use heldar_base::{CameraId, Capability, PublicId, Scope, WallTime};
use heldar_store::op::{AppendEvents, AppendZoneEvents};
use heldar_store::{NewEvent, NewZoneEvent, Severity, Zone, ZoneEvent, ZoneEventId};
use serde_json::{Value, json};

use crate::receiver::{Receiver, Say};
use crate::support::{Answer, As, World};
use crate::{rig, until};

/// Base64 of 32 different bytes.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const QUIET: (&str, &str) = ("HELDAR_RECORDER_ENABLED", "false");
const ALL: &str = "/api/v1/webhooks";

async fn post(world: &World, path: &str, body: Value) -> Answer {
    world.send(As::System, Method::POST, path, Some(&body)).await
}

async fn patch(world: &World, id: &str, body: Value) -> Answer {
    world.send(As::System, Method::PATCH, &format!("{ALL}/{id}"), Some(&body)).await
}

async fn made(world: &World, body: Value) -> Value {
    let answer = post(world, ALL, body).await;
    assert_eq!(answer.status, 201, "{}", answer.json());
    answer.json()
}

fn id_of(view: &Value) -> String {
    view["id"].as_str().unwrap().to_owned()
}

async fn audited(world: &World, action: &str) -> Vec<Value> {
    let rows = world.get(&format!("/api/v1/audit?action={action}")).await.ok();
    rows.as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_has_the_fields_of_the_contract() {
    let world = World::start_with(&[QUIET]).await;
    let view = made(&world, json!({ "name": " phone ", "url": "https://ntfy.example/t0pic?a=b" })).await;
    let id = id_of(&view);
    assert!(id.starts_with("whs_") && id.len() == 36, "{id}");
    assert_eq!((&view["name"], &view["url"]), (&json!("phone"), &json!("https://ntfy.example/t0pic?a=b")));
    assert_eq!((&view["event_types"], &view["min_severity"]), (&json!(["*"]), &json!("info")));
    assert_eq!((&view["has_secret"], &view["enabled"]), (&json!(false), &json!(true)));
    assert_eq!(
        (&view["camera_ids"], &view["format"], &view["to"]),
        (&json!([]), &json!("heldar"), &Value::Null)
    );
    assert!(view["cursor_seq"].is_i64() && view["lag"] == 0 && view["secret"].is_null());
    let rows = audited(&world, "create_webhook").await;
    assert_eq!((&rows[0]["target_type"], &rows[0]["target_id"]), (&json!("webhook"), &json!(id)));
    assert!(!rows[0].to_string().contains("t0pic"), "{}", rows[0]);

    let change = json!({
        "secret": " s3cret ", "event_types": [" zone_* ", "zone_*", "x"], "min_severity": "critical",
        "camera_ids": ["gate", "gate"], "enabled": false, "name": null,
    });
    let view = patch(&world, &id, change.clone()).await.ok();
    assert_eq!((&view["event_types"], &view["camera_ids"]), (&json!(["zone_*", "x"]), &json!(["gate"])));
    assert_eq!((&view["has_secret"], &view["min_severity"]), (&json!(true), &json!("critical")));
    assert_eq!((&view["enabled"], &view["name"]), (&json!(false), &json!("phone")));
    let rows = audited(&world, "update_webhook").await;
    let fields = ["secret", "event_types", "min_severity", "camera_ids", "enabled"];
    assert_eq!(rows[0]["detail"]["fields"], json!(fields));
    // What says nothing new writes nothing.
    assert_eq!(patch(&world, &id, change).await.ok(), view);
    assert_eq!(audited(&world, "update_webhook").await.len(), 1);
    for (secret, has) in [(json!("x"), true), (Value::Null, false), (json!("x"), true), (json!("  "), false)]
    {
        assert_eq!(patch(&world, &id, json!({ "secret": secret })).await.ok()["has_secret"], has);
    }
    assert_eq!(patch(&world, &id, json!({ "event_types": [] })).await.ok()["event_types"], json!(["*"]));

    // Others see scheme and host.
    let reader = As::With(&[Capability::EventsRead]);
    let list = world.get_as(reader, ALL).await.ok();
    assert_eq!((&list[0]["url"], list.as_array().unwrap().len()), (&json!("https://ntfy.example"), 1));
    let limited = As::Limited(&[Capability::EventsRead], &["gate"]);
    assert_eq!(world.get_as(limited, ALL).await.status, 403);
    assert_eq!(world.send(reader, Method::DELETE, &format!("{ALL}/{id}"), None).await.status, 403);

    let path = format!("{ALL}/{id}");
    assert_eq!(world.send(As::System, Method::DELETE, &path, None).await.status, 204);
    assert_eq!(world.send(As::System, Method::DELETE, &path, None).await.error(), (404, "not_found".into()));
    assert_eq!(patch(&world, &id, json!({})).await.status, 404);
    assert_eq!(world.get(&format!("{path}/deliveries")).await.status, 404);
    assert_eq!(post(&world, &format!("{path}/test"), json!({})).await.status, 404);
    assert_eq!(post(&world, &format!("{path}/replay"), json!({ "status": "failed" })).await.status, 404);
    assert_eq!(audited(&world, "delete_webhook").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_accepted_is_named() {
    let world = World::start_with(&[QUIET, ("HELDAR_API_PORT", "8123")]).await;
    let url = "https://h.example/x";
    let check = async |body: Value, status: u16, code: &str, field: &str| {
        let answer = post(&world, ALL, body.clone()).await;
        assert_eq!(answer.error(), (status, code.to_owned()), "{body}");
        if !field.is_empty() {
            assert_eq!(answer.json()["field"], field, "{body}");
        }
        assert!(!answer.json().to_string().contains("t0ken"), "{}", answer.json());
    };
    check(json!({ "url": url }), 422, "invalid_body", "").await;
    check(json!({ "name": "x" }), 422, "invalid_body", "").await;
    check(json!({ "name": " ", "url": url }), 400, "validation", "name").await;
    for bad in ["", "x", "ftp://h/t0ken", "file:///t0ken", "http://", "https:///"] {
        check(json!({ "name": "x", "url": bad }), 400, "validation", "url").await;
    }
    for bad in [
        "http://169.254.169.254/latest",
        "http://[fe80::1]/t0ken",
        "http://0.0.0.0/",
        "http://255.255.255.255/",
        "http://[::ffff:169.254.1.1]/",
        "http://127.0.0.1:8123/",
    ] {
        check(json!({ "name": "x", "url": bad }), 400, "target_not_allowed", "url").await;
    }
    check(json!({ "name": "x", "url": url, "event_types": ["a", " "] }), 400, "validation", "event_types")
        .await;
    check(json!({ "name": "x", "url": url, "min_severity": "high" }), 400, "validation", "min_severity")
        .await;
    check(json!({ "name": "x", "url": url, "format": "sms" }), 400, "validation", "format").await;
    check(json!({ "name": "x", "url": url, "camera_ids": ["a b"] }), 400, "validation", "camera_ids").await;
    check(json!({ "name": "x", "url": url, "secret": "enc:v2:x" }), 400, "validation", "secret").await;
    check(json!({ "name": "x", "url": url, "secret": 7 }), 422, "invalid_body", "").await;
    // What a form needs.
    let with = |format: &str, url: &str| json!({ "name": "x", "url": url, "format": format });
    check(with("ntfy", "https://ntfy.sh"), 400, "validation", "url").await;
    check(with("telegram", url), 400, "validation", "url").await;
    check(with("telegram", "https://api.telegram.org/bot1:t0ken"), 400, "validation", "to").await;
    check(with("pushover", "https://api.pushover.net/1/messages.json"), 400, "validation", "secret").await;
    check(with("slack", "https://slack.com/api"), 400, "validation", "secret").await;
    let mut slack = with("slack", "https://slack.com/api/");
    slack["secret"] = json!("t0ken");
    check(slack.clone(), 400, "validation", "to").await;
    slack["to"] = json!("C1");
    let view = made(&world, slack).await;
    let id = id_of(&view);
    // A change must not take away what it needs.
    for (change, field) in [(json!({ "to": null }), "to"), (json!({ "secret": "" }), "secret")] {
        let answer = patch(&world, &id, change).await;
        assert_eq!((answer.status, &answer.json()["field"]), (400, &json!(field)));
    }
    patch(&world, &id, json!({ "url": "https://hooks.slack.com/services/a/b/c", "to": "" })).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_is_sent_and_kept() {
    let world = World::start_with(&[QUIET, ("HELDAR_SITE_ID", "home")]).await;
    let receiver = Receiver::start().await;
    receiver.says([Say::Status(204), Say::Status(500)]);
    let body = json!({ "name": "x", "url": receiver.url(), "secret": "s", "enabled": false });
    let id = id_of(&made(&world, body).await);
    let path = format!("{ALL}/{id}");
    assert_eq!(
        post(&world, &format!("{path}/test"), json!({})).await.ok(),
        json!({ "ok": true, "status": 204 })
    );
    let seen = &receiver.seen()[0];
    let sent = seen.json();
    assert_eq!(seen.header("x-heldar-delivery"), sent["id"]);
    assert_eq!((&sent["event_type"], &sent["site_id"]), (&json!("test"), &json!("home")));
    assert_eq!((&sent["camera_id"], &sent["severity"]), (&Value::Null, &json!("info")));
    assert_eq!(sent["payload"], json!({ "message": "Heldar webhook test" }));
    assert!(seen.header("x-heldar-signature").starts_with("sha256="));
    let failed = post(&world, &format!("{path}/test"), json!({})).await.ok();
    assert_eq!(failed, json!({ "ok": false, "status": 500, "error": "the receiver answered 500" }));
    let list = world.get(&format!("{path}/deliveries")).await.ok();
    let rows = list.as_array().unwrap();
    let of = |row: &Value| (row["status"].clone(), row["event_type"].clone(), row["event_id"].clone());
    assert_eq!(of(&rows[0]), (json!("failed"), json!("test"), Value::Null));
    assert_eq!(of(&rows[1]), (json!("delivered"), json!("test"), Value::Null));
    assert_eq!(rows[1]["subscription_id"], id);
    let only = world.get(&format!("{path}/deliveries?status=delivered&limit=1")).await.ok();
    assert_eq!(only.as_array().unwrap().len(), 1);
    let page = world.get(&format!("{path}/deliveries?limit=1")).await;
    let next = world.get(&page.next().unwrap()).await.ok();
    assert_eq!(next[0]["id"], rows[1]["id"]);
    assert_eq!(world.get(&format!("{path}/deliveries?status=x")).await.error().0, 400);
    until("the audit rows", async || (audited(&world, "test_webhook").await.len() == 2).then_some(())).await;
}

async fn append(world: &World, event: NewEvent) -> i64 {
    world.kernel.store.write(AppendEvents { events: vec![event] }).await.unwrap()[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_replayed_as_they_are_asked_for() {
    let world = World::start_with(&[QUIET]).await;
    let receiver = Receiver::start().await;
    let id = id_of(&made(&world, json!({ "name": "x", "url": receiver.url() })).await);
    let mut seqs = Vec::new();
    for number in 1..5 {
        let timestamp = WallTime(rig::NOW.0 + i64::from(number));
        seqs.push(append(&world, NewEvent { timestamp, ..rig::new_event(number) }).await);
    }
    let first = receiver.wait(4).await;
    let path = format!("{ALL}/{id}/replay");
    let one = PublicId::parse("whs", &id).unwrap();
    until("the cursor", async || {
        let row = world.kernel.store.webhook(&Scope::All, one).await.unwrap().unwrap();
        (world.kernel.webhooks.cursor(&row) >= seqs[3]).then_some(())
    })
    .await;
    let mut count = 4;
    for (body, expect) in [
        (json!({ "from_seq": seqs[2] }), vec![2, 3]),
        (json!({ "from_seq": 0, "to_seq": seqs[0] }), vec![0]),
        (json!({ "from": WallTime(rig::NOW.0 + 2), "to": WallTime(rig::NOW.0 + 3) }), vec![1, 2]),
        (json!({ "delivery_ids": [first[1].header("x-heldar-delivery"), "whd_x"] }), vec![1]),
        (json!({ "status": "failed" }), vec![]),
    ] {
        let answer = post(&world, &path, body.clone()).await;
        assert_eq!((answer.status, answer.json()), (202, json!({ "queued": expect.len() })), "{body}");
        let seen = receiver.wait(count + expect.len()).await;
        let got: Vec<i64> = seen[count..].iter().map(|one| one.seq()).collect();
        assert_eq!(got, expect.iter().map(|at| seqs[*at]).collect::<Vec<_>>(), "{body}");
        assert!(seen[count..].iter().all(|one| one.header("x-heldar-replay") == "1"));
        for one in &seen[count..] {
            let before = first.iter().find(|other| other.seq() == one.seq()).unwrap();
            assert_eq!(one.header("x-heldar-delivery"), before.header("x-heldar-delivery"));
        }
        count += expect.len();
        until("the end of the replays", async || {
            let left = world.kernel.store.webhook_replays(&Scope::All, one, 0, 1).await.unwrap();
            left.is_empty().then_some(())
        })
        .await;
    }
    for body in [json!({}), json!({ "status": "delivered" }), json!({ "status": "failed", "from_seq": 1 })] {
        assert_eq!(post(&world, &path, body).await.error(), (400, "validation".to_owned()));
    }
    assert_eq!(audited(&world, "replay_webhook").await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_at_the_gate_rings_a_phone_with_a_picture() {
    let world = World::start_with(&[QUIET, ("TZ", "Europe/Berlin")]).await;
    let receiver = Receiver::start().await;
    post(&world, "/api/v1/cameras", json!({ "id": "front", "name": "Front door" })).await.ok();
    let url = format!("http://{}/gate", receiver.address);
    made(&world, json!({ "name": "x", "url": url, "format": "ntfy" })).await;
    let camera = CameraId::new("front").unwrap();
    let timestamp = heldar_base::Clock::wall(&world.kernel.clock);
    let id = ZoneEventId { timestamp, bits: 7 };
    let mut event = NewEvent { timestamp, ..rig::new_event(1) };
    event.payload = json!({
        "zone": "Gate", "label": "person", "zone_event_id": id.public(),
        "evidence": format!("/media/snapshots/zoneevt_{}.jpg", id.public()),
    });
    let zone_event = ZoneEvent {
        id,
        camera,
        zone: PublicId::new(Zone::PREFIX, 1),
        zone_name: "Gate".to_owned(),
        event_type: "enter".to_owned(),
        task_type: None,
        track_id: None,
        label: Some("person".to_owned()),
        dwell: None,
        confidence: None,
        anchor: None,
        bbox: None,
        direction_deg: None,
        speed: None,
        reason: None,
        source: None,
        has_evidence: true,
        created_at: timestamp,
    };
    let events = vec![NewZoneEvent { zone_event, event: Some(event) }];
    world.kernel.store.write(AppendZoneEvents { events }).await.unwrap();
    // The file follows its event.
    let folder = &world.kernel.settings.storage.snapshots_dir;
    std::fs::create_dir_all(folder).unwrap();
    let jpeg = b"\xff\xd8\xff picture \xff\xd9";
    let name = format!("zoneevt_{}.jpg", id.public());
    std::fs::write(folder.join("part"), jpeg).unwrap();
    std::fs::rename(folder.join("part"), folder.join(name)).unwrap();
    let seen = &receiver.wait(1).await[0];
    assert_eq!((seen.method.as_str(), seen.body.as_slice()), ("PUT", jpeg.as_slice()));
    let zone = jiff::tz::TimeZoneDatabase::bundled().get("Europe/Berlin").unwrap();
    let at = jiff::Timestamp::from_microsecond(timestamp.0).unwrap().to_zoned(zone);
    let expect = format!("Person entered Gate (Front door) at {}", at.strftime("%H:%M:%S"));
    assert_eq!(seen.header("message"), expect);
    assert_eq!(seen.header("title"), "Front door");
    // Of an instant that was not recorded there is no picture, and nobody waits for one.
    let mut event = NewEvent { event_type: "zone_exit".to_owned(), timestamp, ..rig::new_event(2) };
    event.payload["links"] = json!({ "picture": "/api/v1/cameras/front/picture?at=x" });
    append(&world, event).await;
    let seen = &receiver.wait(2).await[1];
    let expect = expect.replace("entered", "left");
    assert_eq!((seen.method.as_str(), seen.body.as_slice()), ("POST", expect.as_bytes()));
}

/// Every file below a folder.
fn bytes_below(folder: &std::path::Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => bytes.extend(bytes_below(&path)),
            false => bytes.extend(std::fs::read(&path).unwrap()),
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_answer_or_on_disk() {
    let world = World::start_with(&[QUIET, ("HELDAR_SECRET_KEY", KEY)]).await;
    let receiver = Receiver::start().await;
    let url = format!("http://u:pl4nted-pass@{}/pl4nted-path", receiver.address);
    let id = id_of(&made(&world, json!({ "name": "x", "url": url, "secret": "pl4nted-secret" })).await);
    receiver.says([Say::Status(500), Say::Status(404)]);
    post(&world, &format!("{ALL}/{id}/test"), json!({})).await.ok();
    append(&world, NewEvent { severity: Severity::Warning, ..rig::new_event(1) }).await;
    let seen = receiver.wait(2).await;
    assert!(seen[0].header("authorization").starts_with("Basic "));
    patch(&world, &id, json!({ "secret": "pl4nted-other" })).await.ok();
    let mut answers = Vec::new();
    let reader = As::With(&[Capability::EventsRead, Capability::SystemRead]);
    for path in [ALL.to_owned(), format!("{ALL}/{id}/deliveries"), "/api/v1/events".into(), "/metrics".into()]
    {
        answers.extend(world.get_as(reader, &path).await.bytes);
    }
    answers.extend(world.get("/api/v1/audit").await.bytes);
    let shown = world.get(ALL).await.ok();
    assert_eq!((&shown[0]["url"], shown[0].to_string().contains("pl4nted-secret")), (&json!(url), false));
    let folder = world.stop().await;
    answers.extend(bytes_below(folder.path()));
    let needle = b"pl4nted";
    assert!(!answers.windows(needle.len()).any(|window| window == needle));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_stops_with_a_receiver_that_hangs() {
    let world = World::start_with(&[QUIET]).await;
    let receiver = Receiver::start().await;
    receiver.says([Say::Nothing]);
    let id = id_of(&made(&world, json!({ "name": "x", "url": receiver.url() })).await);
    let seq = append(&world, rig::new_event(1)).await;
    receiver.wait(1).await;
    let begun = std::time::Instant::now();
    let world = world.restart(&[QUIET]).await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    let seen = receiver.wait(2).await;
    assert_eq!((seen[0].seq(), seen[1].seq()), (seq, seq));
    assert_eq!(seen[0].header("x-heldar-delivery"), seen[1].header("x-heldar-delivery"));
    let list = world.get(ALL).await.ok();
    assert_eq!(list[0]["id"], id);
}
