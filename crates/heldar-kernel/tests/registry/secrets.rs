//! Secrets: kept under masks, sealed at rest, in no answer.

use axum::http::Method;
use heldar_base::{CameraId, Scope, Secret, WallTime};
use heldar_config::SecretKeys;
use heldar_kernel::secrets::{Sealer, SecretError};
use serde_json::{Value, json};

use super::{made, patch, quiet};
use crate::support::{As, World};

/// Base64 of 32 different bytes.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

async fn stored(world: &World, id: &str) -> (Option<String>, Option<String>, Option<String>) {
    let id = CameraId::new(id).unwrap();
    let camera = world.kernel.store.camera(&Scope::All, &id).await.unwrap().unwrap();
    let at = world.kernel.whereabouts(&camera).unwrap();
    let show = |secret: Option<heldar_base::Secret<String>>| secret.map(|secret| secret.expose().clone());
    (show(at.password), show(at.main_url), show(at.sub_url))
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_are_shown_masked() {
    let world = quiet().await;
    let check = async |body: Value, record: Value, main: Value, sub: Value| {
        let view = made(&world, body.clone()).await;
        assert_eq!(
            (&view["record_url_masked"], &view["main_url_masked"], &view["sub_url_masked"]),
            (&record, &main, &sub),
            "{body}"
        );
        view
    };
    let view = check(
        json!({ "name": "a", "vendor": "hikvision", "address": "10.0.0.9", "username": "u", "password": "p@ss" }),
        json!("rtsp://***@10.0.0.9:554/Streaming/Channels/101"),
        json!("rtsp://***@10.0.0.9:554/Streaming/Channels/101"),
        json!("rtsp://***@10.0.0.9:554/Streaming/Channels/102"),
    )
    .await;
    assert_eq!(view["has_password"], true);
    check(
        json!({ "name": "b", "record_stream": "sub", "sub_stream_url": "rtsp://u:p@ss@h/x?a=b@c" }),
        json!("rtsp://***@h/x?a=b@c"),
        json!(null),
        json!("rtsp://***@h/x?a=b@c"),
    )
    .await;
    check(json!({ "name": "c", "address": "10.0.0.9" }), json!(null), json!(null), json!(null)).await;
    let view = check(
        json!({ "name": "d", "vendor": "axis", "address": "fd00::9", "channel": 2, "rtsp_port": 8554,
            "anr_replay_url_template": "rtsp://u:p@h/{start}" }),
        json!("rtsp://[fd00::9]:8554/axis-media/media.amp?camera=2"),
        json!("rtsp://[fd00::9]:8554/axis-media/media.amp?camera=2"),
        json!("rtsp://[fd00::9]:8554/axis-media/media.amp?resolution=640x360&camera=2"),
    )
    .await;
    assert_eq!(view["anr_replay_url_template"], "rtsp://***@h/{start}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mask_keeps_the_stored_secret_in_its_place() {
    let world = World::start_with(&[("HELDAR_RECORDER_ENABLED", "false"), ("HELDAR_SECRET_KEY", KEY)]).await;
    let path = "/api/v1/cameras/gate";
    made(&world, json!({ "name": "gate", "password": "pw", "main_stream_url": "rtsp://u:p@h/1" })).await;
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(stored(&world, "gate").await, (some("pw"), some("rtsp://u:p@h/1"), None));

    let moved = json!({ "password": "***", "main_stream_url": "rtsp://***@h2:8554/2", "sub_stream_url": "rtsp://***@h/s" });
    let view = patch(&world, path, &moved).await.ok();
    assert_eq!(view["main_url_masked"], "rtsp://***@h2:8554/2");
    // The sub stream had no credentials of its own: the mask stands for those of the camera.
    assert_eq!(stored(&world, "gate").await, (some("pw"), some("rtsp://u:p@h2:8554/2"), some("rtsp://h/s")));

    patch(&world, path, &json!({ "main_stream_url": "rtsp://v:***@h/1", "password": "new" })).await.ok();
    assert_eq!(stored(&world, "gate").await, (some("new"), some("rtsp://v:p@h/1"), some("rtsp://h/s")));
    patch(&world, path, &json!({ "main_stream_url": null, "sub_stream_url": " ", "password": null }))
        .await
        .ok();
    assert_eq!(stored(&world, "gate").await, (None, None, None));
    for (field, value) in [("main_stream_url", "rtsp://***@h/1"), ("password", "***")] {
        let body = json!({ field: value });
        assert_eq!(patch(&world, path, &body).await.error(), (400, "validation".to_owned()), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_opened_is_kept_and_can_be_replaced() {
    let env = [("HELDAR_RECORDER_ENABLED", "false"), ("HELDAR_SECRET_KEY", KEY)];
    let world = World::start_with(&env).await;
    made(&world, json!({ "name": "gate", "password": "pw", "main_stream_url": "rtsp://u:p@h/1" })).await;
    made(&world, json!({ "name": "door" })).await;
    // A value of another row does not open.
    let id = |text: &str| CameraId::new(text).unwrap();
    let gate = world.kernel.store.camera(&Scope::All, &id("gate")).await.unwrap().unwrap();
    let door = world.kernel.store.camera(&Scope::All, &id("door")).await.unwrap().unwrap();
    let mut fields = door.fields.clone();
    fields.password = gate.fields.password.clone();
    fields.main_stream_url = gate.fields.main_stream_url.clone();
    let op = heldar_store::op::UpdateCamera { id: door.id, fields, revision: 1, now: door.updated_at };
    world.kernel.store.write(op).await.unwrap();

    let path = "/api/v1/cameras/door";
    let view = world.get(path).await.ok();
    assert_eq!((&view["main_url_masked"], &view["has_password"]), (&json!(null), &json!(true)));
    assert_eq!(world.get(&format!("{path}/test")).await.error(), (400, "no_stream_url".to_owned()));
    assert_eq!(patch(&world, path, &json!({ "name": "Door" })).await.ok()["name"], "Door");
    let body = json!({ "main_stream_url": "rtsp://***@h/1" });
    assert_eq!(patch(&world, path, &body).await.error(), (400, "validation".to_owned()));
    patch(&world, path, &json!({ "main_stream_url": "rtsp://a:b@h/1", "password": "x" })).await.ok();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(stored(&world, "door").await, (some("x"), some("rtsp://a:b@h/1"), None));
}

/// Keys of the configuration, made of one byte each.
fn keys(current: Option<u8>, old: Option<u8>) -> SecretKeys {
    let key = |seed: u8| Secret::new(std::array::from_fn(|at| seed.wrapping_add(at as u8)));
    SecretKeys { current: current.map(key), old: old.map(key) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_comes_later_seals_what_is_there() {
    let world = quiet().await;
    made(&world, json!({ "name": "gate", "password": "p", "main_stream_url": "rtsp://a:b@h/1" })).await;
    let (store, now) = (&world.kernel.store, WallTime(1_800_000_000_000_000));
    let id = CameraId::new("gate").unwrap();
    let read = async || store.camera(&Scope::All, &id).await.unwrap().unwrap();
    let before = read().await;
    assert_eq!(before.fields.password.as_ref().unwrap().expose(), "p");

    let sealer = Sealer::open(&keys(Some(1), None), store, now).await.unwrap();
    let sealed = read().await;
    for (column, value, clear) in [
        ("password", &sealed.fields.password, "p"),
        ("main_stream_url", &sealed.fields.main_stream_url, "rtsp://a:b@h/1"),
    ] {
        let value = value.as_ref().unwrap();
        assert!(value.expose().starts_with("enc:v2:"), "{column}");
        assert_eq!(sealer.open_value("camera", column, "gate", value).unwrap().expose(), clear);
    }
    assert_eq!(sealed.updated_at, before.updated_at, "nobody has changed the camera");
    Sealer::open(&keys(Some(1), None), store, now).await.unwrap();
    assert_eq!(read().await.revision, sealed.revision, "what is sealed stays as it is");

    // New values take the key that the store has recorded, wherever it is given.
    let of = |value: Secret<String>| value.expose().split(':').nth(2).map(str::to_owned);
    let new = Secret::new("x".to_owned());
    let recorded = of(sealer.seal_value("camera", "password", "gate", &new).unwrap());
    for (current, old) in [(None, Some(1)), (Some(2), Some(1))] {
        let sealer = Sealer::open(&keys(current, old), store, now).await.unwrap();
        assert!(sealer.seals());
        assert_eq!(of(sealer.seal_value("camera", "password", "gate", &new).unwrap()), recorded);
    }
    let foreign = Sealer::open(&keys(Some(2), None), store, now).await;
    assert!(matches!(foreign, Err(SecretError::WrongKey(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_port_is_no_camera() {
    let world = World::start_with(&[("HELDAR_API_PORT", "8123")]).await;
    let check = async |url: &str, expect: Option<&str>| {
        let body = json!({ "name": "gate", "record_enabled": false, "main_stream_url": url });
        let answer = world.send(As::System, Method::POST, "/api/v1/cameras", Some(&body)).await;
        match expect {
            Some(code) => assert_eq!(answer.error(), (400, code.to_owned()), "{url}"),
            None => assert_eq!(answer.status, 201, "{url}"),
        }
    };
    check("rtsp://127.0.0.1:8123/x", Some("target_not_allowed")).await;
    check("rtsp://[::1]:8123/x", Some("target_not_allowed")).await;
    check("rtsp://127.0.0.1:8124/x", None).await;
    // A name is looked at when it is resolved.
    made(&world, json!({ "name": "own", "main_stream_url": "rtsp://localhost:8123/x" })).await;
    let test = world.get("/api/v1/cameras/own/test").await.ok();
    assert_eq!((&test["reachable"], &test["reason_class"]), (&json!(false), &json!("config")), "{test}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clear_text_that_looks_sealed_is_refused() {
    let world = quiet().await;
    let body = json!({ "name": "gate", "password": "enc:v2:00000000:AAAA" });
    let answer = world.send(As::System, Method::POST, "/api/v1/cameras", Some(&body)).await;
    assert_eq!(answer.error(), (400, "validation".to_owned()));
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

fn holds(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_answer_or_on_disk() {
    const PLANTED: [&str; 5] =
        ["pl4nted-pass", "pl4nted-main", "pl4nted-sub", "pl4nted-replay", "pl4nted-new"];
    let world = World::start_with(&[("HELDAR_SECRET_KEY", KEY)]).await;
    let body = json!({
        "name": "gate", "vendor": "hikvision", "address": "127.0.0.1", "rtsp_port": 9, "username": "admin",
        "password": PLANTED[0], "main_stream_url": format!("rtsp://u:{}@127.0.0.1:9/x", PLANTED[1]),
        "sub_stream_url": format!("rtsp://u:{}@127.0.0.1:9/y", PLANTED[2]), "record_sub": true,
        "anr_replay_url_template": format!("rtsp://u:{}@127.0.0.1:9/z", PLANTED[3]),
    });
    let mut seen = Vec::new();
    let mut say = async |method: Method, path: &str, body: Option<Value>| {
        let answer = world.send(As::System, method, path, body.as_ref()).await;
        seen.extend_from_slice(&answer.bytes);
        seen.extend_from_slice(format!("{:?}", answer.headers).as_bytes());
        answer.status
    };
    assert_eq!(say(Method::POST, "/api/v1/cameras", Some(body.clone())).await, 201);
    assert_eq!(say(Method::POST, "/api/v1/cameras", Some(body)).await, 409);
    let path = "/api/v1/cameras/gate";
    assert_eq!(say(Method::POST, &format!("{path}/test"), None).await, 200);
    for body in [
        json!({ "password": PLANTED[4] }),
        json!({ "main_stream_url": format!("rtsp://u:{}@127.0.0.1:9/w", PLANTED[4]) }),
        json!({ "name": format!("see rtsp://u:{}@h", PLANTED[4]), "sub_stream_url": null }),
    ] {
        assert_eq!(say(Method::PATCH, path, Some(body)).await, 200);
        say(Method::PATCH, path, Some(json!({ "name": "gate" }))).await;
        seen_only_masked(&world).await;
    }
    for body in [
        json!({ "password": [PLANTED[4]] }),
        json!({ "rtsp_port": PLANTED[4] }),
        json!({ "record_stream": PLANTED[4] }),
        json!({ "main_stream_url": format!("ftp://u:{}@h/x", PLANTED[4]) }),
        json!({ "main_stream_url": format!("rtsp://u:{}@169.254.1.1/x", PLANTED[4]) }),
    ] {
        assert!(say(Method::PATCH, path, Some(body)).await >= 400);
    }
    for path in ["", "/gate", "/gate/health", "/gate/test"] {
        assert_eq!(say(Method::GET, &format!("/api/v1/cameras{path}"), None).await, 200);
    }
    for path in
        ["/health/cameras", "/events", "/audit", "/audit/export", "/audit/export?format=csv", "/vendors"]
    {
        assert_eq!(say(Method::GET, &format!("/api/v1{path}"), None).await, 200, "{path}");
    }
    let folder = world.folder().to_owned();
    world.kernel.stop().await;
    let on_disk = bytes_below(&folder);
    for planted in PLANTED {
        let at = seen.windows(planted.len()).position(|window| window == planted.as_bytes());
        // The name that an operator gives is shown as it was given, and nowhere else.
        let context =
            at.map(|at| String::from_utf8_lossy(&seen[at.saturating_sub(200)..at + 40]).into_owned());
        assert!(context.is_none_or(|text| text.contains("see rtsp://")), "{planted}");
        if planted != PLANTED[4] {
            assert!(!holds(&on_disk, planted), "{planted} is on disk");
        }
    }
    drop(folder);
}

/// Audit rows mask credentials wherever they stand.
async fn seen_only_masked(world: &World) {
    let rows = world.get("/api/v1/audit").await;
    assert!(!holds(&rows.bytes, "pl4nted"), "{}", rows.json());
}
