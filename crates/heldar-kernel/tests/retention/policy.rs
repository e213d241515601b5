//! Age, quota, cap, and the preview of all of them.

use std::collections::BTreeSet;

use axum::http::Method;
use heldar_base::{Capability, Cause, Clock as _, Interval, Micros, StreamId, StreamKind, WallTime};
use heldar_store::op::{AppendEvents, AppendWanted, PutMotion};
use heldar_store::{NewEvent, Severity};
use heldar_timeline::retention::Reason;
use serde_json::{Value, json};

use crate::ground::{
    ALONE, LENGTH, SIZE, camera, change, consistent, events, files, gaps, gb_of, hours, id, left, main_of,
    minutes, plant, settle,
};
use crate::support::{As, World};

async fn limit(world: &World, body: &Value) -> Value {
    world.send(As::System, Method::PUT, "/api/v1/system/retention", Some(body)).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn age_takes_what_is_past_it_and_leaves_one_gap_row() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    let stream = main_of("gate");
    let from = kernel.clock.wall() - hours(31);
    let wanted = AppendWanted { camera: id("gate"), at: from, reason: None };
    kernel.store.write(wanted).await.unwrap();
    let ids = plant(kernel, &stream, hours(30), 460).await;
    let report = kernel.retention.sweep().await.unwrap();
    // Ended more than 24 hours ago: those of the first six hours, less what began a second late.
    assert_eq!(report.deleted.get(Reason::Age).0, 360, "{report:?}");
    assert_eq!(left(kernel, &stream).await, ids[360..]);
    consistent(kernel).await;
    let rows = gaps(kernel).await;
    assert_eq!(rows.len(), 1);
    let gap = &rows[0];
    let expect = (Cause::Retention, ids[0].start, ids[360].start, false);
    assert_eq!((gap.cause, gap.start, gap.end, gap.open), expect);

    // The row grows with what goes later; the ledger sums exactly and knows what became of it.
    change(kernel, "gate", |fields| fields.retention_hours = 23).await;
    kernel.retention.sweep().await.unwrap();
    let rows = gaps(kernel).await;
    assert_eq!((rows.len(), rows[0].id, rows[0].start), (1, gap.id, gap.start));
    assert_eq!(left(kernel, &stream).await.first().map(|first| first.start), Some(rows[0].end));
    let (from, to) = (ids[0].start, ids[459].start + LENGTH);
    let coverage = world.get(&format!("/api/v1/cameras/gate/coverage?from={from}&to={to}")).await.ok();
    let seconds = |name: &str| coverage[name].as_f64().unwrap();
    assert_eq!(seconds("window_seconds"), 460.0 * 60.0);
    assert_eq!(seconds("recorded_seconds") + seconds("missing_seconds"), seconds("window_seconds"));
    assert_eq!(coverage["missing"], json!({ "retention": coverage["missing_seconds"] }));
    assert_eq!(seconds("lost_seconds"), 0.0);
    let told: Vec<_> = events(kernel).await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!((told[1].0.as_str(), told[1].1.as_str()), ("retention_delete", "info"));
    let expect =
        json!({ "deleted": 360, "reason": "age", "bytes": 360_000, "kept": { "motion": 0, "alert": 0 } });
    assert_eq!(told[1].2, expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn short_holes_go_with_the_footage_that_explained_them() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    let stream = main_of("gate");
    let old = plant(kernel, &stream, hours(26), 10).await;
    // Two seconds later pictures are back, in segments that stay.
    let again = old[9].start + LENGTH + Micros::from_secs(2);
    change(kernel, "gate", |fields| fields.retention_hours = 25).await;
    let ago = kernel.clock.wall() - again;
    let kept = plant(kernel, &stream, ago, 60).await;
    let begins = old[0].start - Micros::from_millis(800);
    let wanted = AppendWanted { camera: id("gate"), at: begins, reason: None };
    kernel.store.write(wanted).await.unwrap();
    let coverage = async || {
        let (from, to) = (begins, kept[59].start + LENGTH);
        world.get(&format!("/api/v1/cameras/gate/coverage?from={from}&to={to}")).await.ok()
    };
    let before = coverage().await;
    assert_eq!(before["missing"]["starting"], 0.8);
    kernel.retention.sweep().await.unwrap();
    let after = coverage().await;
    assert_eq!(after["missing"], json!({ "retention": after["missing_seconds"] }), "{after}");
    assert_eq!(gaps(kernel).await.len(), 1);
    consistent(kernel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_keep_longer_and_their_gap_closes_later() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |fields| {
        fields.retention_hours = 1;
        fields.retention_alert_hours = Some(3);
    })
    .await;
    let stream = main_of("gate");
    let ids = plant(kernel, &stream, minutes(120), 61).await;
    let alert = |at: WallTime, severity, number: u32| NewEvent {
        id: format!("00000000-0000-4000-8000-{number:012}"),
        camera: Some(id("gate")),
        event_type: "camera_offline".to_owned(),
        severity,
        timestamp: at,
        created_at: at,
        payload: json!({}),
    };
    let events = vec![
        alert(ids[10].start + Micros::from_secs(5), Severity::Warning, 1),
        alert(ids[20].start + Micros::from_secs(5), Severity::Info, 2),
    ];
    kernel.store.write(AppendEvents { events }).await.unwrap();
    let asked = json!({});
    let path = "/api/v1/system/retention/preview";
    let preview = world.send(As::System, Method::POST, path, Some(&asked)).await.ok();
    assert_eq!(preview["kept"]["alert"], json!({ "segments": 1, "bytes": SIZE }));
    kernel.retention.sweep().await.unwrap();
    assert_eq!(left(kernel, &stream).await, [ids[10], ids[60]]);
    // Nothing changes until its own age is reached.
    assert_eq!(kernel.retention.sweep().await.unwrap().deleted.segments(), 0);
    change(kernel, "gate", |fields| fields.retention_alert_hours = None).await;
    assert_eq!(kernel.retention.sweep().await.unwrap().deleted.get(Reason::Age).0, 1);
    let rows = gaps(kernel).await;
    assert_eq!(rows.len(), 1, "both sides joined");
    assert_eq!((rows[0].start, rows[0].end), (ids[0].start, ids[60].start));
    consistent(kernel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn footage_with_motion_is_kept_longer() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |fields| {
        fields.retention_hours = 1;
        fields.retention_motion_hours = Some(3);
    })
    .await;
    let stream = main_of("gate");
    let ids = plant(kernel, &stream, minutes(120), 61).await;
    // From the end of one segment into the next.
    let span = Interval::new(ids[11].start - Micros::from_secs(2), ids[11].start + Micros::from_secs(3));
    kernel.store.write(PutMotion { camera: id("gate"), span }).await.unwrap();
    let query = |resolution: u32| {
        let (from, to) = (ids[0].start, ids[60].start);
        format!("/api/v1/timeline?cameras=gate&from={from}&to={to}&resolution={resolution}")
    };
    let exact = world.get(&query(0)).await.ok();
    assert_eq!(exact["cameras"][0]["motion_ranges"], json!([{ "start": span.start, "end": span.end }]));
    let lanes = world.get(&query(60)).await.ok();
    let motion: Vec<f64> = serde_json::from_value(lanes["cameras"][0]["motion"].clone()).unwrap();
    assert!((motion.iter().sum::<f64>() - 5.0 / 60.0).abs() < 1e-9, "{motion:?}");
    let blind = As::With(&[Capability::VideoPlayback]);
    assert_eq!(world.get_as(blind, &query(60)).await.ok()["cameras"][0].get("motion"), None);
    let path = "/api/v1/system/retention/preview";
    let preview = world.send(As::System, Method::POST, path, Some(&json!({}))).await.ok();
    assert_eq!(preview["kept"]["motion"], json!({ "segments": 2, "bytes": 2 * SIZE }));
    kernel.retention.sweep().await.unwrap();
    assert_eq!(left(kernel, &stream).await, [ids[10], ids[11], ids[60]]);
    change(kernel, "gate", |fields| fields.retention_motion_hours = None).await;
    assert_eq!(kernel.retention.sweep().await.unwrap().deleted.get(Reason::Age).0, 2);
    consistent(kernel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quota_and_cap_take_the_oldest() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |fields| fields.storage_quota_bytes = Some(7_500)).await;
    camera(kernel, "yard", |_| {}).await;
    let gate = plant(kernel, &main_of("gate"), minutes(40), 20).await;
    let sub = StreamId::new(id("yard"), StreamKind::Sub);
    let yard = plant(kernel, &main_of("yard"), minutes(50), 20).await;
    let small = plant(kernel, &sub, minutes(50), 20).await;
    let report = kernel.retention.sweep().await.unwrap();
    // Down to the quota, no further.
    assert_eq!((report.deleted.get(Reason::Quota), report.deleted.segments()), ((13, 13_000), 13));
    assert_eq!(left(kernel, &main_of("gate")).await, gate[13..]);
    limit(&world, &json!({ "max_recordings_gb": gb_of(30) })).await;
    let report = settle(kernel).await;
    assert!(report.conditions.is_empty());
    // A cap of 30 is shared 7.5 to 22.5: the yard pays, both of its streams oldest first.
    assert_eq!(left(kernel, &main_of("gate")).await, gate[13..]);
    assert_eq!(left(kernel, &main_of("yard")).await, yard[9..]);
    assert_eq!(left(kernel, &sub).await, small[8..]);
    consistent(kernel).await;
    let told: BTreeSet<(String, String, String)> = events(kernel)
        .await
        .into_iter()
        .map(|(kind, severity, payload)| (kind, severity, payload["reason"].as_str().unwrap().to_owned()))
        .collect();
    let pressure = |reason: &str| ("disk_pressure".to_owned(), "warning".to_owned(), reason.to_owned());
    assert_eq!(told, [pressure("camera_quota"), pressure("size_cap")].into());
    assert_eq!(world.get("/api/v1/system/retention").await.ok()["limited_by"], "size_cap");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_names_what_the_next_sweep_removes() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    let names = ["east", "north", "west"];
    for (n, name) in names.into_iter().enumerate() {
        camera(kernel, name, |_| {}).await;
        plant(kernel, &main_of(name), hours(26) + minutes(30 * i64::try_from(n).unwrap()), 200 + 37 * n)
            .await;
    }
    let asked = json!({
        "max_recordings_gb": gb_of(200),
        "cameras": { "north": { "storage_quota_bytes": 60 * SIZE, "retention_hours": 25 } },
    });
    let path = "/api/v1/system/retention/preview";
    let before = files(kernel);
    let preview = world.send(As::System, Method::POST, path, Some(&asked)).await.ok();
    let present = world.send(As::System, Method::POST, path, None).await.ok();
    assert_eq!(files(kernel), before, "a preview deletes nothing");
    let more = preview["would_delete"]["segments"].as_i64().unwrap()
        - present["would_delete"]["segments"].as_i64().unwrap();
    assert_eq!(preview["compared_with_now"]["segments"], more);
    let stood: Vec<_> = [left(kernel, &main_of("east")).await, left(kernel, &main_of("north")).await]
        .into_iter()
        .chain([left(kernel, &main_of("west")).await])
        .collect();

    change(kernel, "north", |fields| {
        fields.retention_hours = 25;
        fields.storage_quota_bytes = Some(i64::try_from(60 * SIZE).unwrap());
    })
    .await;
    let key = heldar_kernel::retention::MAX_KEY.to_owned();
    let value = (200 * SIZE).to_string();
    let put = heldar_store::op::PutSetting { key, value, now: kernel.clock.wall() };
    kernel.store.write(put).await.unwrap();
    let report = kernel.retention.sweep().await.unwrap();
    for reason in Reason::ALL {
        let (segments, bytes) = report.deleted.get(reason);
        let planned = &preview["reasons"][reason.as_str()];
        assert_eq!(*planned, json!({ "segments": segments, "bytes": bytes }), "{reason:?}");
        assert_eq!(segments > 0, reason != Reason::FreeFloor, "{reason:?}");
    }
    for (n, name) in names.into_iter().enumerate() {
        let planned = &preview["cameras"][n];
        let left = left(kernel, &main_of(name)).await;
        let gone: Vec<_> = stood[n].iter().filter(|segment| !left.contains(segment)).collect();
        assert_eq!(planned["camera_id"], name);
        assert_eq!(planned["segments"], gone.len());
        let span = gone.first().map(|first| first.start.to_string());
        assert_eq!(planned["from"].as_str().map(str::to_owned), span, "{name}");
        let span = gone.last().map(|last| (last.start + LENGTH).to_string());
        assert_eq!(planned["to"].as_str().map(str::to_owned), span, "{name}");
    }
    let again = world.send(As::System, Method::POST, path, None).await.ok();
    assert_eq!(again["would_delete"]["segments"], 0);
    consistent(kernel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_ask_for_what_makes_sense() {
    let world = World::start_with(&[ALONE]).await;
    let path = "/api/v1/system/retention/preview";
    let refused = async |body: Value| world.send(As::System, Method::POST, path, Some(&body)).await.error();
    let validation = (400, "validation".to_owned());
    assert_eq!(refused(json!({ "max_recordings_gb": 0 })).await, validation);
    assert_eq!(refused(json!({ "min_free_disk_gb": -1 })).await, validation);
    assert_eq!(refused(json!({ "cameras": { "nowhere": {} } })).await, validation);
    assert_eq!(refused(json!({ "cameras": { "No Camera": {} } })).await, validation);
    assert_eq!(refused(json!({ "horizon_hours": "soon" })).await, (422, "invalid_body".to_owned()));
    let limited = As::Limited(&[Capability::SystemRead], &["gate"]);
    assert_eq!(world.send(limited, Method::POST, path, Some(&json!({}))).await.status, 403);
    // A look ahead at the present write rate: what was written in a day fills the cap again.
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    plant(kernel, &main_of("gate"), minutes(120), 100).await;
    let asked = json!({ "max_recordings_gb": gb_of(140), "horizon_hours": 12 });
    let preview = world.send(As::System, Method::POST, path, Some(&asked)).await.ok();
    let cap = preview["reasons"]["size_cap"]["segments"].as_u64().unwrap();
    assert!(cap > 0 && preview["reasons"]["age"]["segments"] == 0, "{preview}");
    let at = WallTime::parse(preview["at"].as_str().unwrap()).unwrap();
    assert!((at - kernel.clock.wall() - hours(12)).abs() < minutes(1));
    assert_eq!(preview["warnings"][0]["code"], "before_its_age");
    assert_eq!(preview["warnings"][0]["camera_id"], "gate");
}
