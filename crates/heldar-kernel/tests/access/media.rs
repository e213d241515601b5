//! Files of footage and live views: who may have them, and which tokens open what.

use axum::http::Method;
use heldar_base::{Capability, Credential, Micros, StreamKind};
use heldar_kernel::live::{LiveName, LiveTokens};
use serde_json::{Value, json};

use crate::house::{Call, House, reason, text};

const UPGRADE: [(&str, &str); 4] = [
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

fn name(text: &str) -> LiveName {
    LiveName::parse(text).unwrap()
}

/// A request for each transport of a live view over HTTP.
fn watch<'a>(house: &'a House, name: &str, query: &str) -> [Call<'a>; 4] {
    let offer = |path: &str| house.call(Method::POST, path).text("application/sdp", "v=0\r\n");
    let mut socket = house.get(&format!("/live/ws/{name}{query}"));
    for (name, value) in UPGRADE {
        socket = socket.header(name, value);
    }
    [
        house.get(&format!("/live/hls/{name}/index.m3u8{query}")),
        offer(&format!("/live/whep/{name}{query}")),
        offer(&format!("/live/whep/{name}/whep{query}")),
        socket,
    ]
}

async fn outcomes(calls: [Call<'_>; 4]) -> Vec<(u16, String)> {
    let mut all = Vec::new();
    for call in calls {
        let answer = call.send().await;
        all.push((answer.status, reason(&answer)));
    }
    all.dedup();
    all
}

/// All transports say the same.
#[track_caller]
fn same(what: &str, found: &[(u16, String)], expect: (u16, &str)) {
    assert_eq!(found, [(expect.0, expect.1.to_owned())], "{what}");
}

/// What those get who are let in: the camera has no address, and there is no socket.
const IN: (u16, &str) = (400, "");

#[tokio::test(flavor = "multi_thread")]
async fn a_live_token_opens_its_view_for_as_long_as_its_credential_may_see_it() {
    let house = House::start().await;
    house.furnish().await;
    let (tokens, admin) = (&house.kernel.watching.tokens, house.admin.clone());
    let session_of = async |token: &str| {
        Credential::Session(text(&house.get("/api/v1/auth/me").token(token).ok().await["session"]["id"]))
    };
    let open =
        async |view: &str, token: &str| outcomes(watch(&house, view, &format!("?token={token}"))).await;
    same("nothing", &outcomes(watch(&house, "cam_gate", "")).await, (401, "no_credential"));
    same("an empty token", &open("cam_gate", "").await, (401, "invalid_credential"));

    let (viewer, viewer_token) = house.signed_in("viewer", json!({})).await;
    let session = session_of(&viewer_token).await;
    let (token, _) = tokens.issue(&name("cam_gate"), &session);
    same("a token", &open("cam_gate", &token).await, IN);
    for other in ["cam_gate.main", "cam_gate.sub", "cam_yard", "cam_ghost"] {
        same(other, &open(other, &token).await, (401, "invalid_credential"));
    }
    let (main, _) = tokens.issue(&LiveName { kind: Some(StreamKind::Main), ..name("cam_gate") }, &session);
    same("where it belongs", &open("cam_gate.main", &main).await, IN);
    // It opens nothing but this view.
    for path in ["/api/v1/cameras", "/api/v1/auth/me", "/api/v1/events", "/metrics", "/media/clips/x.mp4"] {
        let answer = house.get(&format!("{path}?token={token}")).outcome().await;
        assert_eq!(answer, (401, "no_credential".to_owned()), "{path}");
        let answer = house.get(path).token(&token).outcome().await;
        assert_eq!(answer, (401, "invalid_credential".to_owned()), "{path}");
    }
    let system = tokens.issue(&name("cam_gate"), &Credential::Nothing).0;
    same("a token of open access", &open("cam_gate", &system).await, (401, "invalid_credential"));
    let forged = format!("{}.{}", token.rsplit_once('.').unwrap().0, "A".repeat(43));
    same("a signature made up", &open("cam_gate", &forged).await, (401, "invalid_credential"));
    let clock = house.kernel.clock;
    let old = LiveTokens::open(Micros::from_secs(-2), &house.kernel.store, &house.kernel.sealer, clock).await;
    let (expired, _) = old.unwrap().issue(&name("cam_gate"), &session);
    same("expired", &open("cam_gate", &expired).await, (401, "invalid_credential"));
    // Who has a credential may show a token beside it, which must hold too.
    let both = async |query: &str| {
        let [_hls, whep, named, socket] = watch(&house, "cam_gate", query);
        let mut found = Vec::new();
        for call in [whep, named, socket] {
            found.push(call.token(&admin).status().await);
        }
        found.dedup();
        found
    };
    assert_eq!(both(&format!("?token={token}")).await, [400]);
    assert_eq!(both(&format!("?token={expired}")).await, [401]);
    assert_eq!(both(&format!("?token={main}")).await, [401]);

    // Each of these ends it at once.
    let change = async |path: &str, body: Value| house.patch(path, body).token(&admin).ok().await;
    let user = format!("/api/v1/users/{viewer}");
    change(&user, json!({ "scope_kind": "cameras", "scope_cameras": ["yard"] })).await;
    same("out of scope", &open("cam_gate", &token).await, (403, "out_of_scope"));
    change(&user, json!({ "scope_kind": "all", "must_change_password": true })).await;
    same("a password to choose", &open("cam_gate", &token).await, (403, "password_change_required"));
    change(&user, json!({ "must_change_password": false, "allowed_networks": ["10.0.0.0/8"] })).await;
    same("another network", &open("cam_gate", &token).await, (403, "address_not_allowed"));
    change(&user, json!({ "allowed_networks": [] })).await;
    same("all is well", &open("cam_gate", &token).await, IN);
    house.call(Method::POST, "/api/v1/auth/logout").token(&viewer_token).ok().await;
    same("signed out", &open("cam_gate", &token).await, (401, "invalid_credential"));
    let second = house.sign_in("viewer", crate::house::PASSWORD).await;
    let (token, _) = tokens.issue(&name("cam_gate"), &session_of(&second).await);
    same("another sign-in", &open("cam_gate", &token).await, IN);
    house.delete(&user).token(&admin).ok().await;
    same("deleted", &open("cam_gate", &token).await, (401, "invalid_credential"));

    let rights = json!({ "capabilities": [Capability::VideoLive, Capability::CameraRead] });
    let (key, secret) = house.key(rights).await;
    let (token, _) = tokens.issue(&name("cam_gate"), &house.credential(&secret));
    same("a key's token", &open("cam_gate", &token).await, IN);
    let path = format!("/api/v1/api-keys/{key}");
    change(&path, json!({ "capabilities": ["camera:read"] })).await;
    same("a right less", &open("cam_gate", &token).await, (403, "missing_capability"));
    change(&path, json!({ "capabilities": ["video:live"], "active": false })).await;
    same("inactive", &open("cam_gate", &token).await, (401, "invalid_credential"));
    change(&path, json!({ "active": true })).await;
    same("active again", &open("cam_gate", &token).await, IN);
    change(&path, json!({ "revoked_at": house.now() })).await;
    same("revoked", &open("cam_gate", &token).await, (401, "invalid_credential"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_for_those_who_may_see_their_camera() {
    let house = House::start().await;
    let base = house.furnish().await;
    let window = json!({ "from": base, "to": base + Micros::from_secs(10) });
    let limited = json!({ "scope_kind": "cameras", "scope_cameras": ["gate"] });
    let (_, gate) = house.signed_in("gate", limited).await;
    let (_, viewer) = house.signed_in("viewer", json!({})).await;
    let (_, reader) = house.key(json!({ "capabilities": ["camera:read"] })).await;
    let mut paths = Vec::new();
    for camera in ["gate", "yard"] {
        let of = |rest: &str| format!("/api/v1/cameras/{camera}/{rest}");
        let clip = house.post(&of("clip"), window.clone()).token(&viewer).ok().await;
        let session = house.post(&of("playback/sessions"), window.clone()).token(&viewer).ok().await;
        let segment = house.see(&of("segments")).await[0].clone();
        let file = text(&segment["path"]).rsplit('/').next().unwrap().to_owned();
        let video = format!("video.mp4?from={base}&to={}", base + Micros::from_secs(5));
        paths.push([
            text(&clip["url"]),
            text(&session["playlist_url"]),
            format!("/media/recordings/{camera}/{file}"),
            of(&video),
        ]);
    }
    for (own, foreign) in paths[0].iter().zip(&paths[1]) {
        for (path, of_gate) in [(own, true), (foreign, false)] {
            let status = async |call: Call<'_>| call.outcome().await;
            assert_eq!(status(house.get(path)).await, (401, "no_credential".to_owned()), "{path}");
            let lacks = status(house.get(path).key(&reader)).await;
            assert_eq!(lacks, (403, "missing_capability".to_owned()), "{path}");
            assert_eq!(status(house.get(path).token(&viewer)).await.0, 200, "{path}");
            let part = house.get(path).token(&gate).header("range", "bytes=0-99").send().await;
            if of_gate {
                assert!(part.status == 206 || path.ends_with(".m3u8"), "{path}: {}", part.status);
            } else {
                assert_eq!((part.status, reason(&part)), (403, "out_of_scope".to_owned()), "{path}");
            }
            let head = house.call(Method::HEAD, path).token(&gate).status().await;
            assert_eq!(head, if of_gate { 200 } else { 403 }, "{path}");
        }
    }

    let file = paths[1][2].rsplit('/').next().unwrap();
    for path in [
        format!("/media/recordings/gate/../yard/{file}"),
        format!("/media/recordings/gate/%2e%2e/yard/{file}"),
        format!("/media/recordings/./yard/{file}"),
        format!("/media/recordings/gate/..%2fyard%2f{file}"),
        format!("/media/recordings/gate/..%5cyard%5c{file}"),
        format!("/media/recordings/yard%2f..%2fgate/{file}"),
        format!("/media/recordings/yard%00/{file}"),
        format!("/media/recordings/%79ard/{file}"),
        format!("/media/recordings//yard/{file}"),
        "/media/clips/..%2frecordings%2fyard".to_owned(),
        "/media/playback/x/..%2f..%2fclips".to_owned(),
        "/media/snapshots/yard/x.jpg".to_owned(),
        "/media/snapshots/gate/..%2fyard%2fx.jpg".to_owned(),
        "/media/snapshots/x.jpg".to_owned(),
        "/media/archives/x.zip".to_owned(),
        "/media/heldar.db".to_owned(),
        "/media/clips/..%2f..%2fheldar.db".to_owned(),
    ] {
        let found = house.get(&path).token(&gate).send().await;
        let in_name = found.status == 404 && path.contains("gate/..%");
        assert!(found.status == 403 || in_name, "{path}: {} {}", found.status, found.json());
        assert_eq!(house.get(&path).status().await, 401, "{path}");
        // Those who may see everything get no further.
        let found = house.get(&path).token(&viewer).status().await;
        let whole = path.contains("%79ard");
        assert!(if whole { found == 200 } else { matches!(found, 400 | 403 | 404) }, "{path}: {found}");
    }
    // Names that are internal are closed to everybody, but not before the right is asked.
    for path in ["/media/clips/x.part", "/media/clips/x", "/media/playback/x/init.mp4"] {
        assert_eq!(house.get(path).outcome().await, (401, "no_credential".to_owned()), "{path}");
        assert_eq!(house.get(path).token(&house.admin).outcome().await, (403, String::new()), "{path}");
        let lacks = house.get(path).key(&reader).outcome().await;
        assert_eq!(lacks, (403, "missing_capability".to_owned()), "{path}");
    }
}
