//! The rules of camera fields, on create and on change.

use serde_json::{Value, json};

use super::{made, patch, post, quiet};
use crate::support::World;

/// What a field may become: the value that is shown afterwards, or code and field of the refusal.
enum Expect {
    Shown(Value),
    Refused(u16, &'static str),
}
use Expect::{Refused, Shown};

/// One field by its name, a value, and what it becomes on create and on change.
struct Case(&'static str, Value, Expect, Expect);

fn refused(status: u16) -> Expect {
    let code = match status {
        422 => "invalid_body",
        _ => "validation",
    };
    Refused(status, code)
}

fn both(field: &'static str, value: Value, shown: Value) -> Case {
    Case(field, value, Shown(shown.clone()), Shown(shown))
}

fn bad(field: &'static str, value: Value) -> Case {
    Case(field, value, refused(400), refused(400))
}

fn mistyped(field: &'static str, value: Value) -> Case {
    Case(field, value, refused(422), refused(422))
}

/// The base has no value in any field that may be null, and the defaults in all others.
fn cases() -> Vec<Case> {
    let huge = i64::MAX;
    let mut cases = vec![
        Case("name", json!(" "), refused(400), Shown(json!("Base"))),
        Case("name", json!(null), refused(422), Shown(json!("Base"))),
        mistyped("name", json!(5)),
        both("name", json!("Tür 1"), json!("Tür 1")),
        both("site_id", json!("yard"), json!("yard")),
        both("site_id", json!(null), json!(null)),
        bad("site_id", json!("nowhere")),
        bad("site_id", json!("No Site")),
        mistyped("site_id", json!(1)),
        both("vendor", json!("dahua"), json!("dahua")),
        both("vendor", json!("Some Vendor"), json!("Some Vendor")),
        both("vendor", json!(null), json!("generic")),
        both("model", json!("M-1"), json!("M-1")),
        both("address", json!("cam.local"), json!("cam.local")),
        both("address", json!("fd00::9"), json!("fd00::9")),
        bad("address", json!("10.0.0.1 ")),
        bad("address", json!("cam\tlocal")),
        bad("address", json!("cam\u{7f}local")),
        both("rtsp_port", json!(65535), json!(65535)),
        both("rtsp_port", json!(null), json!(554)),
        bad("rtsp_port", json!(0)),
        bad("rtsp_port", json!(65536)),
        bad("rtsp_port", json!(-1)),
        mistyped("rtsp_port", json!("554")),
        mistyped("rtsp_port", json!(554.5)),
        both("username", json!("admin"), json!("admin")),
        both("record_stream", json!("sub"), json!("sub")),
        both("record_stream", json!(null), json!("main")),
        bad("record_stream", json!("third")),
        mistyped("record_stream", json!(1)),
        both("record_sub", json!(true), json!(true)),
        mistyped("record_sub", json!("yes")),
        both("rtsp_transport", json!("udp"), json!("udp")),
        bad("rtsp_transport", json!("UDP")),
        both("channel", json!(256), json!(256)),
        bad("channel", json!(0)),
        bad("channel", json!(257)),
        both("capabilities", json!({"ptz": true}), json!({"ptz": true})),
        both("capabilities", json!([1, "x"]), json!([1, "x"])),
        both("capabilities", json!(null), json!({})),
        both("record_enabled", json!(false), json!(false)),
        both("segment_seconds", json!(1), json!(2)),
        both("segment_seconds", json!(huge), json!(3600)),
        both("segment_seconds", json!(-huge), json!(2)),
        mistyped("segment_seconds", json!("60")),
        both("retention_hours", json!(0), json!(1)),
        Case("retention_hours", json!(50_000), Shown(json!(50_000)), Shown(json!(43_800))),
        both("retention_motion_hours", json!(-5), json!(1)),
        Case("retention_motion_hours", json!(50_000), Shown(json!(50_000)), Shown(json!(43_800))),
        both("retention_alert_hours", json!(48), json!(48)),
        both("retention_alert_hours", json!(null), json!(null)),
        both("storage_quota_bytes", json!(5_000_000_000_i64), json!(5_000_000_000_i64)),
        both("storage_quota_bytes", json!(0), json!(null)),
        both("storage_quota_bytes", json!(-1), json!(null)),
        both("record_audio", json!(true), json!(true)),
        both("pre_roll_seconds", json!(301), json!(300)),
        both("pre_roll_seconds", json!(-1), json!(0)),
        both("post_roll_seconds", json!(3601), json!(3600)),
        both("mirror_enabled", json!(true), json!(true)),
        both("anr_enabled", json!(true), json!(true)),
        both("anr_replay_url_template", json!(" rtsp://h/{start} "), json!("rtsp://h/{start}")),
        both("anr_replay_url_template", json!("  "), json!(null)),
        bad("anr_replay_url_template", json!("file:///etc/passwd")),
        both("native_anpr_enabled", json!(true), json!(true)),
        both("native_events_enabled", json!(true), json!(true)),
        both("enabled", json!(false), json!(false)),
        both("live_warm", json!(true), json!(true)),
        both("priority", json!(-7), json!(-7)),
        both("http_port", json!(8080), json!(8080)),
        bad("http_port", json!(0)),
        bad("http_port", json!(70_000)),
        both("device_tls", json!("accept_any"), json!("accept_any")),
        bad("device_tls", json!("maybe")),
        mistyped("password", json!(5)),
        bad("password", json!("a\u{0}b")),
    ];
    for mode in ["continuous", "scheduled", "event", "scheduled_event"] {
        cases.push(both("record_mode", json!(mode), json!(mode)));
    }
    cases.push(bad("record_mode", json!("sometimes")));
    for field in ["main_stream_url", "sub_stream_url"] {
        cases.push(Case(field, json!(" "), refused(400), Shown(json!(null))));
        for text in ["cam/stream", "ftp://cam/x", "rtsp://cam/a b", "rtsp://cam/\u{1}", "rtsp://"] {
            cases.push(bad(field, json!(text)));
        }
        cases.push(mistyped(field, json!(1)));
        for forbidden in ["rtsp://169.254.169.254/x", "rtsp://u:p@[fe80::1]:554/x", "http://0.0.0.0/"] {
            let expect = || Refused(400, "target_not_allowed");
            cases.push(Case(field, json!(forbidden), expect(), expect()));
        }
    }
    let expect = || Refused(400, "target_not_allowed");
    cases.push(Case("address", json!("169.254.1.1"), expect(), expect()));
    cases
}

/// Where a field is shown.
fn shown(view: &Value, field: &str) -> Value {
    match field {
        "main_stream_url" => view["main_url_masked"].clone(),
        "sub_stream_url" => view["sub_url_masked"].clone(),
        field => view[field].clone(),
    }
}

fn check(what: &str, field: &str, answer: &crate::support::Answer, expect: &Expect) {
    match expect {
        Shown(value) => {
            assert!((200..300).contains(&answer.status), "{what}: {}", answer.json());
            assert_eq!(shown(&answer.json(), field), *value, "{what}");
        }
        Refused(status, code) => {
            let body = answer.json();
            assert_eq!((answer.status, body["code"].as_str()), (*status, Some(*code)), "{what}: {body}");
            assert_eq!(body["field"], field, "{what}: {body}");
        }
    }
}

async fn world_with_site() -> World {
    let world = quiet().await;
    assert_eq!(post(&world, "/api/v1/sites", &json!({ "name": "Yard" })).await.status, 201);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_on_create() {
    let world = world_with_site().await;
    for (at, Case(field, value, expect, _)) in cases().into_iter().enumerate() {
        let mut body = json!({ "name": "Base", "id": format!("c{at}") });
        body[field] = value;
        let answer = post(&world, "/api/v1/cameras", &body).await;
        check(&format!("create {body}"), field, &answer, &expect);
        let made = world.get(&format!("/api/v1/cameras/c{at}")).await;
        assert_eq!(made.status == 200, matches!(expect, Shown(_)), "{body}");
    }
    let answer = post(&world, "/api/v1/cameras", &json!({})).await;
    check("no name", "name", &answer, &refused(422));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_on_change() {
    let world = world_with_site().await;
    for (at, Case(field, value, _, expect)) in cases().into_iter().enumerate() {
        let path = format!("/api/v1/cameras/c{at}");
        made(&world, json!({ "name": "Base", "id": format!("c{at}") })).await;
        let before = world.get(&path).await.ok();
        let body = json!({ field: value });
        let answer = patch(&world, &path, &body).await;
        check(&format!("change {body}"), field, &answer, &expect);
        let after = world.get(&path).await.ok();
        match expect {
            Shown(_) => assert_eq!(after, answer.json(), "{body}"),
            Refused(..) => assert_eq!(after, before, "{body}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn null_clears_what_may_be_null() {
    let world = world_with_site().await;
    let full = json!({
        "name": "Base", "id": "base", "site_id": "yard", "model": "M", "address": "h", "username": "u", "password": "p",
        "main_stream_url": "rtsp://h/1", "sub_stream_url": "rtsp://h/2", "retention_motion_hours": 5,
        "retention_alert_hours": 6, "storage_quota_bytes": 7, "anr_replay_url_template": "rtsp://h/3",
        "http_port": 81, "vendor": "axis", "channel": 9, "priority": 1,
    });
    let before = made(&world, full.clone()).await;
    let nulls: serde_json::Map<String, Value> =
        full.as_object().unwrap().keys().map(|name| (name.clone(), Value::Null)).collect();
    let after = patch(&world, "/api/v1/cameras/base", &Value::Object(nulls)).await.ok();
    for field in [
        "site_id",
        "model",
        "address",
        "username",
        "main_url_masked",
        "sub_url_masked",
        "retention_motion_hours",
        "retention_alert_hours",
        "storage_quota_bytes",
        "anr_replay_url_template",
        "http_port",
        "record_url_masked",
    ] {
        assert_eq!(after[field], Value::Null, "{field}");
    }
    assert_eq!(after["has_password"], false);
    for field in ["id", "name", "vendor", "channel", "priority", "created_at"] {
        assert_eq!(after[field], before[field], "{field}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defaults_come_from_the_environment() {
    let world = World::start_with(&[
        ("HELDAR_RECORDER_ENABLED", "false"),
        ("HELDAR_DEFAULT_SEGMENT_SECONDS", "30"),
        ("HELDAR_DEFAULT_RETENTION_HOURS", "72"),
        ("HELDAR_DEFAULT_CAMERA_QUOTA_GB", "2"),
        ("HELDAR_DEFAULT_RECORD_AUDIO", "true"),
        ("HELDAR_DEFAULT_PRE_ROLL_SECONDS", "5"),
        ("HELDAR_DEFAULT_POST_ROLL_SECONDS", "6"),
    ])
    .await;
    let view = made(&world, json!({ "name": "Front Door" })).await;
    let expect: Value = serde_json::from_str(
        r#"{
        "id": "front_door", "site_id": null, "name": "Front Door", "vendor": "generic", "model": null, "address": null,
        "rtsp_port": 554, "username": null, "has_password": false, "record_stream": "main", "record_url_masked": null,
        "codec": null, "resolution_main": null, "resolution_sub": null, "fps_main": null, "fps_sub": null,
        "capabilities": {}, "record_enabled": true, "segment_seconds": 30, "retention_hours": 72,
        "storage_quota_bytes": 2147483648, "record_audio": true, "record_mode": "continuous",
        "pre_roll_seconds": 5, "post_roll_seconds": 6, "mirror_enabled": false, "anr_enabled": false,
        "anr_replay_url_template": null, "native_anpr_enabled": false, "native_events_enabled": false, "enabled": true,
        "priority": 100, "live_warm": false, "created_at": null, "updated_at": null, "rtsp_transport": "auto",
        "channel": 1, "http_port": null, "device_tls": "off", "main_url_masked": null, "sub_url_masked": null,
        "removed_at": null, "record_sub": false, "retention_motion_hours": null, "retention_alert_hours": null
        }"#,
    )
    .unwrap();
    assert_eq!(super::without_times(view), expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_has_the_same_fields() {
    let api = serde_json::to_value(heldar_kernel::api::routes().openapi().unwrap()).unwrap();
    let schemas = &api["components"]["schemas"];
    let fields = |schema: &str| -> Vec<String> {
        schemas[schema]["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let (mut create, patch) = (fields("CreateCamera"), fields("PatchCamera"));
    create.retain(|field| field != "id");
    assert_eq!(create, patch);
    assert_eq!(patch.len(), 35);
    assert_eq!(schemas["CreateCamera"]["required"], json!(["name"]));
    assert_eq!(schemas["PatchCamera"]["required"], Value::Null);
    assert_eq!(schemas["PatchCamera"]["properties"]["channel"]["maximum"], 256);
    let modes = json!(["continuous", "scheduled", "event", "scheduled_event"]);
    assert_eq!(schemas["RecordMode"]["enum"], modes);

    let world = quiet().await;
    let view = made(&world, json!({ "name": "gate" })).await;
    let mut shown: Vec<String> = view.as_object().unwrap().keys().cloned().collect();
    shown.sort_unstable();
    let mut described = fields("Camera");
    described.sort_unstable();
    assert_eq!(shown, described);
}
