//! Record schedules and the trigger over HTTP.

use axum::http::Method;
use heldar_base::{CameraId, Capability, Clock as _, Micros, NotWanted, PublicId, Scope, WallTime};
use heldar_store::op::{AppendWanted, CreateCamera, CreateRecordSchedule, DeleteCamera};
use heldar_store::{RecordScheduleFields, TimeRange};
use serde_json::{Value, json};

use super::{audit_rows, delete, made, patch, post};
use crate::support::{As, World};

const PATH: &str = "/api/v1/cameras/gate/schedules";

async fn world() -> World {
    let world = World::start_with(&[("TZ", "UTC")]).await;
    made(&world, json!({ "id": "gate", "name": "Gate", "record_mode": "scheduled" })).await;
    world
}

fn body(days: Value, start: &str, end: &str) -> Value {
    json!({ "days": days, "time_start": start, "time_end": end })
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_made_changed_and_deleted() {
    let world = world().await;
    let first = post(&world, PATH, &body(json!([0, 6, 0]), "8:5", "17:30")).await;
    assert_eq!(first.status, 201);
    let first = first.json();
    let id = first["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("recsch_") && id.len() == 39, "{id}");
    for (field, expect) in [
        ("camera_id", json!("gate")),
        ("days", json!([0, 6, 0])),
        ("time_start", json!("08:05")),
        ("time_end", json!("17:30")),
        ("enabled", json!(true)),
        ("updated_at", first["created_at"].clone()),
    ] {
        assert_eq!(first[field], expect, "{field}");
    }
    assert_eq!(first.as_object().unwrap().len(), 8);
    let off = json!({ "days": [4], "time_start": "22:00", "time_end": "06:00", "enabled": false });
    let second = post(&world, PATH, &off).await.ok();
    assert_eq!(second["enabled"], false);
    assert_eq!(world.get(PATH).await.ok(), json!([first, second]));
    // What says nothing new writes nothing.
    let one = format!("/api/v1/schedules/{id}");
    for same in [json!({}), json!({ "days": null, "enabled": true }), json!({ "time_start": "08:05" })] {
        assert_eq!(patch(&world, &one, &same).await.ok(), first, "{same}");
    }
    let changed = patch(&world, &one, &json!({ "days": [1], "time_end": "7:00" })).await.ok();
    assert_eq!(
        (&changed["days"], &changed["time_start"], &changed["time_end"]),
        (&json!([1]), &json!("08:05"), &json!("07:00"))
    );
    assert_eq!(
        patch(&world, &one, &json!({ "time_end": "8:05" })).await.error(),
        (400, "validation".to_owned())
    );
    assert_eq!(delete(&world, &one).await.status, 204);
    assert_eq!(delete(&world, &one).await.error(), (404, "not_found".to_owned()));
    assert_eq!(patch(&world, &one, &json!({})).await.error(), (404, "not_found".to_owned()));
    let rows = audit_rows(&world).await;
    let of_schedules: Vec<_> = rows.iter().filter(|row| row["target_type"] == "camera_schedule").collect();
    let actions: Vec<&str> = of_schedules.iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(
        actions,
        [
            "delete_record_schedule",
            "update_record_schedule",
            "create_record_schedule",
            "create_record_schedule"
        ]
    );
    assert_eq!(
        (&of_schedules[0]["target_id"], &of_schedules[0]["detail"]["camera_id"]),
        (&json!(id), &json!("gate"))
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_schedule_is_refused() {
    let world = world().await;
    let good = |field: &str, value: Value| {
        let mut body = body(json!([0]), "08:00", "17:00");
        body[field] = value;
        body
    };
    for (body, status, code) in [
        (good("days", json!([])), 400, "validation"),
        (good("days", json!([7])), 400, "validation"),
        (good("days", json!([-1])), 400, "validation"),
        (good("days", json!("monday")), 422, "invalid_body"),
        (good("time_start", json!("24:00")), 400, "validation"),
        (good("time_start", json!("12:60")), 400, "validation"),
        (good("time_start", json!("noon")), 400, "validation"),
        (good("time_end", json!("8:0")), 400, "validation"),
        (good("time_end", json!(17)), 422, "invalid_body"),
        (good("enabled", json!("yes")), 422, "invalid_body"),
        (json!({ "time_start": "08:00", "time_end": "17:00" }), 422, "invalid_body"),
        (json!({ "days": [0], "time_end": "17:00" }), 422, "invalid_body"),
    ] {
        let answer = post(&world, PATH, &body).await;
        assert_eq!(answer.error(), (status, code.to_owned()), "{body}");
        if code == "validation" {
            assert!(answer.json()["field"].is_string(), "{}", answer.json());
        }
    }
    assert_eq!(world.get(PATH).await.ok(), json!([]));
    let nowhere = "/api/v1/cameras/nowhere/schedules";
    assert_eq!(world.get(nowhere).await.error(), (404, "not_found".to_owned()));
    let made = post(&world, nowhere, &body(json!([0]), "08:00", "17:00")).await;
    assert_eq!(made.error(), (404, "not_found".to_owned()));
    // Foreign and missing are one.
    let id =
        post(&world, PATH, &body(json!([0]), "08:00", "17:00")).await.ok()["id"].as_str().unwrap().to_owned();
    let may = [Capability::RegistryManage, Capability::CameraRead];
    for path in [format!("/api/v1/schedules/{id}"), "/api/v1/schedules/recsch_0".to_owned()] {
        let foreign = world.send(As::Limited(&may, &["yard"]), Method::DELETE, &path, None).await;
        assert_eq!(foreign.error(), (403, "forbidden".to_owned()));
    }
    assert_eq!(world.get_as(As::Limited(&may, &["yard"]), PATH).await.status, 403);
    // A camera that is deleted takes them along.
    delete(&world, "/api/v1/cameras/gate").await.ok();
    assert_eq!(patch(&world, &format!("/api/v1/schedules/{id}"), &json!({})).await.status, 404);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_armed_camera_is_triggered() {
    let world = world().await;
    let path = "/api/v1/cameras/gate/record-trigger";
    let trigger = async || world.send(As::System, Method::POST, path, None).await;
    let change = async |body: Value| patch(&world, "/api/v1/cameras/gate", &body).await.ok();
    let refused = (400, "not_armed".to_owned());
    for (settings, expect) in [
        (json!({ "record_mode": "continuous" }), false),
        (json!({ "record_mode": "scheduled" }), false),
        (json!({ "record_mode": "event", "record_enabled": false }), false),
        (json!({ "record_enabled": true, "enabled": false }), false),
        (json!({ "enabled": true, "post_roll_seconds": 60 }), true),
        (json!({ "record_mode": "scheduled_event" }), true),
    ] {
        change(settings.clone()).await;
        let answer = trigger().await;
        match expect {
            true => assert_eq!(answer.status, 200, "{settings}: {}", answer.json()),
            false => assert_eq!(answer.error(), refused, "{settings}"),
        }
    }
    let answer = trigger().await.ok();
    let fields: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "camera_id",
            "post_roll_seconds",
            "pre_roll_available_seconds",
            "pre_roll_seconds",
            "recorded_from",
            "triggered",
            "window_end"
        ]
    );
    // It has no session: there is nothing of before.
    assert_eq!(answer["pre_roll_available_seconds"], json!(0.0));
    let status = world.get("/api/v1/cameras/gate/health").await.ok();
    assert_eq!((&status["wanted"], &status["pre_roll_available_seconds"]), (&json!(true), &json!(0.0)));
    let path = "/api/v1/cameras/nowhere/record-trigger";
    let nowhere = world.send(As::System, Method::POST, path, None).await;
    assert_eq!(nowhere.error(), (404, "not_found".to_owned()));
    assert_eq!(audit_rows(&world).await.iter().filter(|row| row["action"] == "record_trigger").count(), 3);
    world.stop().await;
}

async fn reason(world: &World) -> Value {
    world.get("/api/v1/cameras/gate/health").await.ok()["not_wanted_reason"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_in_the_zone_of_the_site() {
    let world = world().await;
    post(&world, "/api/v1/sites", &json!({ "id": "east", "name": "East", "timezone": "Asia/Tokyo" }))
        .await
        .ok();
    // An hour around now in UTC; Tokyo is nine hours ahead.
    let minute = world.kernel.clock.wall().0.div_euclid(60_000_000);
    let of_day = |minute: i64| format!("{:02}:{:02}", minute.rem_euclid(1440) / 60, minute.rem_euclid(60));
    let every_day = json!([0, 1, 2, 3, 4, 5, 6]);
    post(&world, PATH, &body(every_day, &of_day(minute - 30), &of_day(minute + 30))).await.ok();
    assert_eq!(reason(&world).await, Value::Null);
    patch(&world, "/api/v1/cameras/gate", &json!({ "site_id": "east" })).await.ok();
    assert_eq!(reason(&world).await, "outside_schedule");
    patch(&world, "/api/v1/sites/east", &json!({ "timezone": "UTC" })).await.ok();
    assert_eq!(reason(&world).await, Value::Null);
    patch(&world, "/api/v1/sites/east", &json!({ "timezone": "Asia/Tokyo" })).await.ok();
    assert_eq!(reason(&world).await, "outside_schedule");
    delete(&world, "/api/v1/sites/east?detach=true").await.ok();
    assert_eq!(reason(&world).await, Value::Null);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_due_while_the_server_was_away_is_missing() {
    let world = world().await;
    let (gate, now) = (CameraId::new("gate").unwrap(), world.kernel.clock.wall());
    let fields = world.kernel.store.camera(&Scope::All, &gate).await.unwrap().unwrap().fields;
    let folder = world.stop().await;
    // As if the server had gone down almost two days ago.
    let down = now - Micros::from_hours(47);
    let url = heldar_store::DatabaseUrl::Sqlite(folder.path().join("heldar.db"));
    let config = heldar_store::StoreConfig { url, max_connections: 2, now };
    let store = heldar_store::Store::open(config).await.unwrap();
    store.write(DeleteCamera { id: gate.clone() }).await.unwrap();
    store.write(CreateCamera { id: gate.clone(), fields, now: down }).await.unwrap();
    let why = Some(NotWanted::OutsideSchedule);
    store.write(AppendWanted { camera: gate.clone(), at: down, reason: why }).await.unwrap();
    // Windows of 20 minutes: that of yesterday has come and gone, the one of today is open.
    let minute = |at: WallTime| u32::try_from(at.0.div_euclid(60_000_000).rem_euclid(1440)).unwrap();
    let fields = RecordScheduleFields {
        days: (0..7).collect(),
        start_minute: minute(now - Micros::from_secs(600)),
        end_minute: minute(now + Micros::from_secs(600)),
        enabled: true,
    };
    let id = PublicId::new(heldar_store::RecordSchedule::PREFIX, 1);
    store.write(CreateRecordSchedule { id, camera: gate.clone(), fields, now: down }).await.unwrap();
    store.close().await;

    let world = World::start_in(folder, &[("TZ", "UTC")]).await;
    assert_eq!(reason(&world).await, Value::Null);
    world.kernel.journal.flush(&world.kernel.store).await.unwrap();
    let range = TimeRange::default();
    let history = world.kernel.store.wanted_history(&Scope::All, &gate, range, None, 100).await.unwrap().rows;
    let wanted: Vec<bool> = history.iter().map(|change| change.reason.is_none()).collect();
    assert_eq!(wanted, [false, true, false, true]);
    assert!(history.iter().skip(1).all(|change| change.at.0 % 60_000_000 == 0), "{history:?}");
    let from = now - Micros::from_hours(30);
    let path = format!("/api/v1/cameras/gate/coverage?from={from}&to={now}");
    let coverage = world.get(&path).await.ok();
    // The window of yesterday, whole, and the first minutes of that of today.
    let missing = coverage["missing_seconds"].as_f64().unwrap();
    assert!((1800.0..1860.0).contains(&missing), "{coverage}");
    assert_eq!(coverage["missing"].as_object().unwrap().keys().collect::<Vec<_>>(), ["server_stopped"]);
    world.stop().await;
}
