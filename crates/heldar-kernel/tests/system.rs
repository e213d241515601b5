//! Health, metrics, system and settings over HTTP.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod support;

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use heldar_base::{
    CameraId, Capability, Clock as _, EndReason, Micros, ReasonClass, Scope, SegmentId, StreamId, StreamKind,
    WallTime,
};
use heldar_config::{Flags, HostFiles, Input, load};
use heldar_http::{Phase, Scheme};
use heldar_kernel::health::LogRing;
use heldar_store::AuditFilter;
use heldar_store::op::{EnsureParams, EnsureStream, PutSegment, PutSetting, Seal};
use heldar_store::{CodecParams, WriteOp};
use serde_json::{Value, json};
use support::{As, World};

const READER: &[Capability] = &[Capability::SystemRead];

async fn add_camera(world: &World, id: &str) {
    let body = json!({ "id": id, "name": id, "enabled": false });
    world.send(As::System, Method::POST, "/api/v1/cameras", Some(&body)).await.ok();
}

/// Plants segments of a minute and a thousand bytes, the last of which ended a minute ago.
async fn add_footage(world: &World, camera: &str, count: i64) {
    let store = &world.kernel.store;
    let stream = StreamId::new(camera.parse().unwrap(), StreamKind::Main);
    let stream_no = store.write(EnsureStream { stream }).await.unwrap();
    let params = CodecParams {
        codec: "h264".to_owned(),
        codec_string: "avc1.64001f".to_owned(),
        width: 768,
        height: 576,
        audio: None,
    };
    let params_no = store.write(EnsureParams { params }).await.unwrap();
    let minute = Micros::from_secs(60);
    let end = world.kernel.clock.wall().floor_second() - minute;
    let segment = |n: i64| {
        let start = end - Micros(minute.0 * (n + 1));
        WriteOp::from(PutSegment {
            id: SegmentId { stream_no, start },
            end: start + minute,
            size_bytes: 1000,
            name_no: 1,
            params_no,
            dependent: false,
            seal: Some(Seal { reason: EndReason::Rotated, cause: None }),
            holes: Vec::new(),
            index: None,
            created_at: start,
        })
    };
    store.write_all((0..count).map(segment).collect()).await.unwrap();
}

/// Every field that is expected is there with its value; others may be.
fn check(found: &Value, expect: &Value) {
    match expect {
        Value::Object(fields) => {
            for (name, value) in fields {
                let Some(inner) = found.get(name) else { panic!("no `{name}` in {found}") };
                check(inner, value);
            }
        }
        expect => assert_eq!(found, expect),
    }
}

async fn audit_rows(world: &World, action: &str) -> Vec<heldar_store::AuditEntry> {
    let filter = AuditFilter { action: Some(action.to_owned()), ..AuditFilter::default() };
    world.kernel.store.audit(&Scope::All, &filter, None, 10).await.unwrap().rows
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_at_a_glance() {
    let world =
        World::start_with(&[("HELDAR_MAX_RECORDINGS_GB", "8"), ("HELDAR_DEPLOYMENT_MODE", "Dev")]).await;
    add_camera(&world, "gate").await;
    add_camera(&world, "yard").await;
    add_footage(&world, "gate", 3).await;
    add_footage(&world, "yard", 5).await;
    let system = world.get("/api/v1/system").await.ok();
    check(
        &system,
        &json!({
            "name": "Heldar Core",
            "version": env!("CARGO_PKG_VERSION"),
            "started_at": world.kernel.started_at,
            "recorder_enabled": true,
            "cameras_total": 2,
            "cameras_recording": 0,
            "cameras_wanted": 0,
            "active_recorders": 0,
            "segments_total": 8,
            "recordings_bytes": 8000,
            "held_bytes": 0,
            "max_recordings_gb": 8.0,
            "storage": {
                "recordings_bytes": 8000,
                "segment_count": 8,
                "write_rate_bytes_per_day": 8000,
            },
            "remote_access": { "enabled": false, "kind": "none", "iface": null, "present": false,
                "operstate": null, "up": false },
            "relay": { "configured": false, "healthy": true, "last_ok_at": null },
            "disk_health_ok": true,
            "last_disk_alert_at": null,
            "live_transcode_engine": "software",
            "enforcement": { "machine_auth": "warn", "ingest_provenance": "warn", "frame_tickets_required": false,
                "deployment_mode": "dev", "machine_auth_promoted_by_mode": false },
            "auth": { "enabled": false, "open": false },
            "tls": { "mode": "off", "not_after": null },
            "store": { "engine": "sqlite", "up": true },
        }),
    );
    let storage = &system["storage"];
    let disk = &storage["disk"];
    let bytes = |name: &str| disk[name].as_u64().unwrap();
    assert_eq!(bytes("used_bytes"), bytes("total_bytes") - bytes("free_bytes"));
    let percent = disk["used_percent"].as_f64().unwrap();
    assert!((0.0..=100.0).contains(&percent));
    let days = storage["projected_days_remaining"].as_f64().unwrap();
    assert!((days - bytes("free_bytes") as f64 / 8000.0).abs() <= days * 1e-3);
    let time = |name: &str| WallTime::parse(storage[name].as_str().unwrap()).unwrap();
    assert_eq!(time("newest_segment") - time("oldest_segment"), Micros::from_secs(300));
    let kept = storage["effective_retention_hours"].as_f64().unwrap();
    assert!((kept - 0.1).abs() < 0.02, "{kept}");
    let codes: Vec<_> = system["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| warning["code"].as_str().unwrap())
        .collect();
    assert!(codes.contains(&"secrets_in_clear"), "{codes:?}");

    let site = world.get("/api/v1/site").await.ok();
    check(&site, &json!({ "site_id": null, "name": "Heldar Core", "version": env!("CARGO_PKG_VERSION") }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_caller_sees_figures_of_its_cameras() {
    let world = World::start().await;
    add_camera(&world, "gate").await;
    add_camera(&world, "yard").await;
    add_footage(&world, "gate", 3).await;
    add_footage(&world, "yard", 5).await;
    let figures = async |cameras: &[&str]| {
        let system = world.get_as(As::Limited(READER, cameras), "/api/v1/system").await.ok();
        let retention = world.get_as(As::Limited(READER, cameras), "/api/v1/system/retention").await.ok();
        let storage = &system["storage"];
        for name in ["oldest_segment", "newest_segment", "projected_days_remaining"] {
            assert_eq!(storage[name], Value::Null, "{name}");
        }
        assert_eq!(storage["write_rate_bytes_per_day"], 0);
        assert!(storage["disk"]["total_bytes"].as_u64().unwrap() > 0);
        assert_eq!(storage["segment_count"], system["segments_total"]);
        assert_eq!(retention["recordings_bytes"], system["recordings_bytes"]);
        (system["cameras_total"].as_u64().unwrap(), system["recordings_bytes"].as_u64().unwrap())
    };
    assert_eq!(figures(&["gate"]).await, (1, 3000));
    assert_eq!(figures(&["gate", "yard", "nowhere"]).await, (2, 8000));
    assert_eq!(figures(&[]).await, (0, 0));
    let refused = async |path: &str| world.get_as(As::Limited(READER, &["gate"]), path).await.status;
    assert_eq!(refused("/metrics").await, 403);
    assert_eq!(refused("/api/v1/system/db").await, 403);
    assert_eq!(world.get_as(As::With(READER), "/api/v1/system/config").await.status, 403);
    assert_eq!(world.get_as(As::With(&[]), "/api/v1/system").await.status, 403);
    assert_eq!(world.get_as(As::With(&[]), "/api/v1/openapi.json").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_set_removed_and_audited() {
    let world = World::start_with(&[("HELDAR_MIN_FREE_DISK_GB", "1")]).await;
    let path = "/api/v1/system/retention";
    let put = async |body: Value| world.send(As::System, Method::PUT, path, Some(&body)).await;
    let gib = 1u64 << 30;
    let view = world.get(path).await.ok();
    let defaults = json!({
        "max_recordings_gb": 20.0, "max_recordings_bytes": 20 * gib, "max_overridden": false,
        "min_free_disk_gb": 1.0, "min_free_disk_bytes": gib, "min_free_overridden": false,
        "max_default_gb": 20.0, "min_free_default_gb": 1.0,
        "recordings_bytes": 0, "held_bytes": 0, "limited_by": null,
    });
    check(&view, &defaults);
    let view = put(json!({ "max_recordings_gb": 0.5, "min_free_disk_gb": 0 })).await.ok();
    let set = json!({
        "max_recordings_gb": 0.5, "max_recordings_bytes": gib / 2, "max_overridden": true,
        "min_free_disk_bytes": 0, "min_free_overridden": true, "max_default_gb": 20.0,
    });
    check(&view, &set);
    // Absent keeps, and what changes nothing writes nothing.
    check(&put(json!({})).await.ok(), &set);
    check(&put(json!({ "max_recordings_gb": 0.5 })).await.ok(), &set);
    let config = world.get("/api/v1/system/config").await.ok();
    let entry =
        |name: &str| config.as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap().clone();
    check(
        &entry("HELDAR_MAX_RECORDINGS_GB"),
        &json!({ "value": "0.5", "source": "setting", "default": "20" }),
    );
    check(&entry("HELDAR_DATA_DIR"), &json!({ "source": "env", "secret": false, "ignored": false }));

    for body in [
        json!({ "max_recordings_gb": 0 }),
        json!({ "max_recordings_gb": -3, "min_free_disk_gb": 7 }),
        json!({ "max_recordings_gb": 1e18 }),
        json!({ "min_free_disk_gb": -0.1 }),
    ] {
        assert_eq!(put(body.clone()).await.error(), (400, "validation".to_owned()), "{body}");
    }
    assert_eq!(put(json!({ "max_recordings_gb": "much" })).await.error(), (422, "invalid_body".to_owned()));
    check(&world.get(path).await.ok(), &set);
    check(&put(json!({ "max_recordings_gb": null, "min_free_disk_gb": null })).await.ok(), &defaults);

    let rows = audit_rows(&world, "update_retention_limits").await;
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1].target_type.as_deref(), Some("settings"));
    assert_eq!(rows[1].target_id.as_deref(), Some("recording"));
    assert_eq!(rows[1].detail, json!({ "max_recordings_gb": 0.5, "min_free_disk_gb": 0 }));
    assert_eq!(rows[0].detail, json!({ "max_recordings_gb": null, "min_free_disk_gb": null }));
    assert_eq!(world.send(As::With(READER), Method::PUT, path, Some(&json!({}))).await.status, 403);

    // A stored value that is none counts as absent, and is told.
    let (key, value) = (heldar_kernel::retention::MAX_KEY.to_owned(), "lots".to_owned());
    let now = world.kernel.clock.wall();
    world.kernel.store.write(PutSetting { key, value, now }).await.unwrap();
    check(&world.get(path).await.ok(), &defaults);
    let warnings = world.get("/api/v1/system").await.ok()["warnings"].clone();
    assert!(
        warnings.as_array().unwrap().iter().any(|warning| warning["code"] == "setting_unusable"),
        "{warnings}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_and_the_engine_are_set() {
    let world = World::start().await;
    let db = world.get("/api/v1/system/db").await.ok();
    let gib = 1u64 << 30;
    let expect = json!({
        "max_db_gb": 4.0, "max_db_bytes": 4 * gib, "max_overridden": false, "incremental": true,
        "engine": "sqlite", "over_cap": false, "max_default_gb": 4.0,
    });
    check(&db, &expect);
    assert!(db["db_bytes"].as_u64().unwrap() > 10_000);
    let put = async |path: &str, body: Value| world.send(As::System, Method::PUT, path, Some(&body)).await;
    let path = "/api/v1/system/db";
    let small = put(path, json!({ "max_db_gb": 0.00001 })).await.ok();
    check(&small, &json!({ "max_overridden": true, "over_cap": true, "max_default_gb": 4.0 }));
    check(&put(path, json!({ "max_db_gb": null })).await.ok(), &expect);
    assert_eq!(put(path, json!({ "max_db_gb": 0 })).await.error(), (400, "validation".to_owned()));
    assert_eq!(audit_rows(&world, "update_db_limit").await.len(), 2);
    let convert = world.send(As::System, Method::POST, "/api/v1/system/db/convert", None).await.ok();
    assert_eq!(convert, json!({ "status": "already-incremental" }));

    let path = "/api/v1/system/transcode";
    let software = json!({
        "engine": "software", "overridden": false, "env_default": "software",
        "vaapi_available": false, "nvenc_available": false,
    });
    assert_eq!(world.get(path).await.ok(), software);
    let chosen = put(path, json!({ "engine": " VAAPI " })).await.ok();
    check(&chosen, &json!({ "engine": "vaapi", "overridden": true, "env_default": "software" }));
    assert_eq!(world.get("/api/v1/system").await.ok()["live_transcode_engine"], "vaapi");
    assert_eq!(put(path, json!({ "engine": "gpu" })).await.error(), (400, "validation".to_owned()));
    assert_eq!(put(path, json!({ "engine": null })).await.ok(), software);
    assert_eq!(audit_rows(&world, "update_live_transcode_engine").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_open_and_tells_little() {
    let world = World::start().await;
    let alive = world.get("/healthz").await;
    assert_eq!((alive.status, alive.json()), (200, json!({ "status": "ok" })));
    let ready = world.get("/readyz").await;
    let checks = json!({ "store": "ok", "disk": "ok", "recorder": "ok", "quorum": "off" });
    assert_eq!((ready.status, ready.json()), (200, json!({ "ready": true, "checks": checks })));
    world.kernel.lifecycle.set(Phase::ShuttingDown);
    let ready = world.get("/readyz").await;
    assert_eq!((ready.status, ready.header("retry-after")), (503, Some("5")));
    let expect = json!({ "ready": false, "reason": "shutting_down", "checks": checks });
    assert_eq!(ready.json(), expect);
    assert_eq!(world.get("/api/v1/system").await.error(), (503, "shutting_down".to_owned()));
    assert_eq!(world.get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_answered_before_there_is_a_kernel() {
    let settings =
        load(&Input { flags: Flags::take([]), env: Vec::new(), files: &HostFiles }).settings.unwrap();
    let app = heldar_kernel::front::waiting(&settings).unwrap();
    let ask = async |path: &str| {
        let request = Request::get(path).header("host", "localhost").body(Body::empty()).unwrap();
        let answer = Box::pin(app.call(request, ([127, 0, 0, 1], 1).into())).await;
        let (status, retry) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
        (status, retry, serde_json::from_slice::<Value>(&body).unwrap())
    };
    assert_eq!(ask("/healthz").await, (200, false, json!({ "status": "ok" })));
    assert_eq!(ask("/readyz").await, (503, true, json!({ "ready": false, "reason": "starting" })));
    let (status, retry, body) = ask("/api/v1/cameras").await;
    assert_eq!((status, retry, &body["code"]), (503, true, &json!("starting")));
}

/// What tells is the header that only answers over TLS carry.
#[tokio::test]
async fn the_scheme_is_that_of_the_connection_unless_a_trusted_proxy_says_another() {
    let env = [
        ("HELDAR_TLS_CERT", "chain.pem"),
        ("HELDAR_TLS_KEY", "key.pem"),
        ("HELDAR_TRUSTED_PROXIES", "192.0.2.9"),
        ("HELDAR_ALLOW_OPEN", "true"),
    ];
    let env = env.map(|(name, value)| (name.into(), value.into())).to_vec();
    let settings = load(&Input { flags: Flags::take([]), env, files: &HostFiles }).settings.unwrap();
    let app = heldar_kernel::front::waiting(&settings).unwrap();
    let (client, proxy) = ([192, 0, 2, 1], [192, 0, 2, 9]);
    for (peer, over, told, expect) in [
        (client, Scheme::Http, None, false),
        (client, Scheme::Https, None, true),
        (client, Scheme::Http, Some("https"), false),
        (client, Scheme::Https, Some("http"), true),
        (proxy, Scheme::Http, None, false),
        (proxy, Scheme::Http, Some("https"), true),
        (proxy, Scheme::Https, None, true),
        (proxy, Scheme::Https, Some("http"), false),
    ] {
        let mut request = Request::get("/healthz").header("host", "localhost");
        if let Some(scheme) = told {
            request = request.header("x-forwarded-proto", scheme);
        }
        let request = request.body(Body::empty()).unwrap();
        let answer = Box::pin(app.call_over(over, request, (peer, 1).into())).await;
        let secure = answer.headers().contains_key("strict-transport-security");
        assert_eq!(secure, expect, "{peer:?} {over:?} {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_shown_to_administrators() {
    let world = World::start().await;
    let at = world.kernel.clock.wall();
    LogRing::of_process().push(at, tracing::Level::WARN, "heldar::test", "seen by rtsp://u:p@h");
    LogRing::of_process().push(at, tracing::Level::DEBUG, "heldar::test", "a detail");
    let lines = async |query: &str| {
        let lines = world.get(&format!("/api/v1/system/logs?since={at}&{query}")).await.ok();
        let own = lines.as_array().unwrap().iter().filter(|line| line["target"] == "heldar::test").cloned();
        own.collect::<Vec<Value>>()
    };
    let warning =
        json!({ "at": at, "level": "warn", "target": "heldar::test", "message": "seen by rtsp://***@h" });
    assert_eq!(lines("").await, [warning]);
    assert_eq!(lines("level=error").await, Vec::<Value>::new());
    assert_eq!(lines("level=debug&limit=99999").await.len(), 2);
    assert_eq!(lines("level=debug&limit=0").await.len(), 1);
    assert_eq!(world.get("/api/v1/system/logs?level=all").await.status, 400);
    assert_eq!(world.get("/api/v1/system/logs?since=today").await.status, 400);
    assert_eq!(world.get_as(As::With(READER), "/api/v1/system/logs").await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_folder_and_store() {
    let world = World::start_with(&[("HELDAR_RECORDER_ENABLED", "false")]).await;
    let until = async |reason: Option<&str>| {
        for _ in 0..200 {
            let ready = world.get("/readyz").await;
            if ready.json()["reason"].as_str() == reason {
                return ready;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never {reason:?}");
    };
    add_camera(&world, "gate").await;
    add_footage(&world, "gate", 3).await;
    let recordings = world.kernel.settings.storage.recordings_dir.clone();
    let aside = recordings.with_file_name("aside");
    std::fs::rename(&recordings, &aside).unwrap();
    let failed = until(Some("disk")).await;
    let checks = json!({ "store": "ok", "disk": "failed", "recorder": "off", "quorum": "off" });
    assert_eq!((failed.status, &failed.json()["checks"]), (503, &checks));
    std::fs::rename(&aside, &recordings).unwrap();
    assert_eq!(until(None).await.status, 200);
    // A lost store comes first, and the system page still answers with what was known.
    std::fs::rename(&recordings, &aside).unwrap();
    world.kernel.store.close().await;
    let failed = until(Some("database")).await;
    assert_eq!(failed.json()["checks"]["store"], "failed");
    let system = world.get("/api/v1/system").await.ok();
    check(&system, &json!({ "store": { "up": false }, "storage": { "disk": null, "segment_count": 3 } }));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_their_names() {
    let world = World::start().await;
    add_camera(&world, "gate").await;
    add_footage(&world, "gate", 3).await;
    world.kernel.health.fresh_totals(&world.kernel).await;
    world.kernel.health.fresh_space(&world.kernel).await;
    world.kernel.health.stream_ended(&CameraId::new("gate").unwrap(), ReasonClass::Auth);
    let answer = world.get("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = String::from_utf8(answer.bytes).unwrap();
    let value = |series: &str| -> Option<f64> {
        let line =
            text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    for (series, expect) in [
        (concat!("heldar_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
        ("heldar_cameras_total", 1.0),
        ("heldar_cameras_recording", 0.0),
        ("heldar_segments_total", 3.0),
        ("heldar_recordings_bytes", 3000.0),
        ("heldar_ai_tasks_enabled", 0.0),
        ("heldar_detections_stored", 0.0),
        ("heldar_camera_up{camera=\"gate\",state=\"disabled\"}", 0.0),
        ("heldar_camera_recording{camera=\"gate\"}", 0.0),
        ("heldar_camera_state{camera=\"gate\",state=\"disabled\"}", 1.0),
        ("heldar_camera_state{camera=\"gate\",state=\"recording\"}", 0.0),
        ("heldar_camera_reconnects_total{camera=\"gate\"}", 0.0),
        ("heldar_camera_segments_written_total{camera=\"gate\"}", 0.0),
        ("heldar_store_up", 1.0),
        ("heldar_retention_deleted_bytes_total{reason=\"age\"}", 0.0),
        ("heldar_recorder_queue", 0.0),
        ("heldar_stream_ends_total{camera=\"gate\",reason=\"auth\"}", 1.0),
        ("heldar_store_write_queue", 0.0),
        ("heldar_store_busy_total", 0.0),
        ("heldar_audit_dropped_total", 0.0),
        ("heldar_task_restarts_total{task=\"journal\"}", 0.0),
        ("heldar_task_restarts_total{task=\"stream\"}", 0.0),
        ("heldar_panics_total", 0.0),
    ] {
        assert_eq!(value(series), Some(expect), "{series} in\n{text}");
    }
    for series in [
        "heldar_disk_total_bytes",
        "heldar_disk_free_bytes",
        "heldar_disk_used_percent",
        "heldar_store_bytes",
        "heldar_store_wal_bytes",
        "heldar_store_commit_rows_count",
        "heldar_store_op_duration_seconds_count{op=\"read\"}",
        "heldar_store_op_duration_seconds_count{op=\"write\"}",
        "heldar_store_op_duration_seconds_count{op=\"commit\"}",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
    ] {
        assert!(value(series).is_some_and(|value| value > 0.0), "{series} in\n{text}");
    }
    assert!(
        !text.contains("heldar_camera_last_segment_age_seconds{"),
        "no segment was written by this camera"
    );
    assert!(!text.contains("heldar_camera_bitrate_kbps{"));
    let audited = value("heldar_audit_rows_total").unwrap();
    // The series of a removed camera vanish.
    world.send(As::System, Method::DELETE, "/api/v1/cameras/gate", None).await.ok();
    let text = String::from_utf8(world.get("/metrics").await.bytes).unwrap();
    assert!(!text.contains("camera=\"gate\""), "{text}");
    assert!(text.contains("\nheldar_cameras_total 0\n"));
    assert!(text.contains(&format!("\nheldar_audit_rows_total {}\n", audited + 1.0)), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_describes_itself() {
    let world = World::start().await;
    let description = world.get("/api/v1/openapi.json").await.ok();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
    for (path, method) in [
        ("/healthz", "get"),
        ("/readyz", "get"),
        ("/metrics", "get"),
        ("/api/v1/system", "get"),
        ("/api/v1/system/retention", "put"),
        ("/api/v1/system/retention/preview", "post"),
        ("/api/v1/system/db/convert", "post"),
        ("/api/v1/openapi.json", "get"),
    ] {
        assert!(description["paths"][path][method].is_object(), "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_in_service() {
    let world = World::start_with(&[("HELDAR_TLS", "self-signed"), ("HELDAR_TLS_DOMAIN", "nvr.test")]).await;
    let none = json!({ "mode": "self-signed", "names": [], "not_before": null, "not_after": null, "issuer": null,
        "fingerprint_sha256": null, "last_error": null });
    check(&world.get("/api/v1/system/tls").await.ok(), &none);

    let (kernel, source) = (&world.kernel, heldar_kernel::tls::source(&world.kernel.settings).unwrap());
    let certificates = heldar_tls::Certificates::open(source, kernel.clock.wall()).unwrap();
    let facts = certificates.view().facts;
    kernel.keep_certificates(certificates.clone());
    let tls = world.get("/api/v1/system/tls").await.ok();
    assert_eq!(tls["names"], json!(facts.names));
    assert_eq!(tls["fingerprint_sha256"], json!(facts.fingerprint_sha256));
    assert_eq!((&tls["not_before"], &tls["not_after"]), (&json!(facts.not_before), &json!(facts.not_after)));
    let system = world.get("/api/v1/system").await.ok();
    assert_eq!(system["tls"], json!({ "mode": "self-signed", "not_after": facts.not_after }));
    let metrics = String::from_utf8(world.get("/metrics").await.bytes).unwrap();
    let line = format!("heldar_tls_not_after_timestamp_seconds {}\n", facts.not_after.0 / 1_000_000);
    assert!(metrics.contains(&line), "{metrics}");
    let limited = As::Limited(READER, &["gate"]);
    assert_eq!(world.get_as(limited, "/api/v1/system/tls").await.status, 403);

    // What cannot be read is told, and what is served is served on.
    let path = world.folder().join("tls/self-signed.pem");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    certificates.reload();
    let begun = std::time::Instant::now();
    let event = loop {
        let events = world.get("/api/v1/events?event_type=tls_reload_failed").await.ok();
        if let Some(event) = events.get(0) {
            break event.clone();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{events}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(event["severity"], "warning", "{event}");
    let tls = world.get("/api/v1/system/tls").await.ok();
    assert_eq!(event["payload"]["detail"], tls["last_error"], "{event} {tls}");
    assert_eq!(tls["fingerprint_sha256"], json!(facts.fingerprint_sha256));
    let folder = world.folder().display().to_string();
    assert!(!tls.to_string().contains(&folder), "{tls}");
}
