//! Who gets in, and what those are told who do not.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use heldar_ingest::AddressGuard as _;
use md5::{Digest as _, Md5};
use serde_json::json;

use super::client::Client;
use super::support::As;
use super::{H264, Scene};

fn hex(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A proof of a token by the challenge that an answer holds.
fn digest(challenge: &str, token: &str, method: &str, url: &str) -> String {
    let quoted = |name: &str| {
        let (_, rest) = challenge.split_once(&format!("{name}=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let (realm, nonce) = (quoted("realm"), quoted("nonce"));
    let (user, _) = token.rsplit_once('.').unwrap();
    let response = hex(&format!(
        "{}:{nonce}:{}",
        hex(&format!("{user}:{realm}:{token}")),
        hex(&format!("{method}:{url}"))
    ));
    format!(
        "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{url}\", response=\"{response}\"\r\n"
    )
}

fn basic(password: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("anyone:{password}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_must_hold() {
    let scene = Scene::start(H264, &["-an"], "single_session", &[]).await;
    let url = scene.url("cam_gate");
    let entry = scene.world.get("/api/v1/cameras/gate/liveview").await.ok();
    let token = entry["token"].as_str().unwrap();
    let other = scene.world.get("/api/v1/cameras/gate/liveview?stream=main").await.ok();
    let other = other["token"].as_str().unwrap();

    let challenged = Client::connect(scene.port).await.ask("DESCRIBE", &url, &basic("wrong")).await;
    let challenges = challenged.headers("WWW-Authenticate");
    assert_eq!((challenged.status, challenges.len()), (401, 2));
    assert!(
        challenges[0].starts_with("Digest realm=\"Heldar\"") && challenges[1] == "Basic realm=\"Heldar\""
    );
    let proof = |token: &str, method| digest(challenges[0], token, method, &url);
    let forged = format!("{}.{}", token.rsplit_once('.').unwrap().0, "A".repeat(43));
    let plain = url.clone();
    for (what, url, headers, status) in [
        ("nothing", plain.clone(), String::new(), 200),
        ("a token", format!("{url}?token={token}"), String::new(), 200),
        ("a token among others", format!("{url}?a=b&token={token}&c"), String::new(), 200),
        ("a token made up", format!("{url}?token=x"), String::new(), 401),
        ("no token", format!("{url}?token="), String::new(), 401),
        ("another view's token", format!("{url}?token={other}"), String::new(), 401),
        ("that where it belongs", format!("{url}.main?token={other}"), String::new(), 200),
        ("a good password", plain.clone(), basic(token), 200),
        ("another view's token as password", plain.clone(), basic(other), 401),
        ("a proof", plain.clone(), proof(token, "DESCRIBE"), 200),
        ("a proof for another method", plain.clone(), proof(token, "PLAY"), 401),
        ("a proof of another view's token", plain.clone(), proof(other, "DESCRIBE"), 401),
        ("a proof of a signature made up", plain.clone(), proof(&forged, "DESCRIBE"), 401),
        ("a proof of something else", plain.clone(), proof("admin.x", "DESCRIBE"), 401),
    ] {
        let answer = Client::connect(scene.port).await.ask("DESCRIBE", &url, &headers).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.head);
        assert_eq!(answer.body.contains("m=video"), status == 200, "{what}");
    }

    // Clients leave the query out of what follows.
    let mut client = Client::connect(scene.port).await;
    assert_eq!(client.ask("DESCRIBE", &format!("{url}?token={token}"), "").await.status, 200);
    client.play(&url).await;
    assert_eq!(scene.sessions(1).await[0]["audio"], "none");
    // One that shows something wrong later is refused that, and nothing else.
    assert_eq!(client.ask("GET_PARAMETER", &format!("{url}?token=x"), "").await.status, 401);
    assert_eq!(client.ask("GET_PARAMETER", &url, "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_has_opened_outlives_it() {
    let env = [("HELDAR_LIVEVIEW_TOKEN_TTL_SECS", "3")];
    let scene = Scene::start_with(&env, H264, &["-an"], "single_session", &[]).await;
    // On its way before the token is made, so that the token is still good when pictures are there.
    let url = scene.url("cam_gate");
    assert_eq!(Client::connect(scene.port).await.ask("DESCRIBE", &url, "").await.status, 200);
    let entry = scene.world.get("/api/v1/cameras/gate/liveview").await.ok();
    let with_token = format!("{url}?token={}", entry["token"].as_str().unwrap());
    let mut client = Client::connect(scene.port).await;
    assert_eq!(client.ask("DESCRIBE", &with_token, "").await.status, 200);
    client.play(&url).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while Client::connect(scene.port).await.ask("DESCRIBE", &with_token, "").await.status != 401 {
        assert!(Instant::now() < deadline, "the token does not expire");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Players repeat it with each sign of life.
    assert_eq!(client.ask("GET_PARAMETER", &with_token, "").await.status, 200);
    assert!(client.packet().await.is_some());
    scene.sessions(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there() {
    let scene = Scene::start(H264, &["-an"], "single_session", &[]).await;
    let status = |name: &'static str| {
        let url = scene.url(name);
        async move { Client::connect(scene.port).await.ask("DESCRIBE", &url, "").await.status }
    };
    assert_eq!(status("cam_nobody").await, 404);
    assert_eq!(status("gate").await, 404);
    assert_eq!(status("").await, 404);
    // The camera has a main stream only.
    assert_eq!(status("cam_gate.sub").await, 404);
    assert_eq!(status("cam_gate.main").await, 200);
    // A camera that is our own restream would be a stream that feeds itself.
    let guard = &scene.world.kernel.guard;
    assert!(!guard.allows(([127, 0, 0, 1], scene.port).into()) && guard.allows(scene.camera.address()));

    let mut client = Client::connect(scene.port).await;
    let url = scene.url("cam_gate");
    assert_eq!(client.ask("DESCRIBE", &url, "").await.status, 200);
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    assert_eq!(client.ask("SETUP", &format!("{url}/trackID=0"), transport).await.status, 200);
    let off = json!({ "enabled": false });
    scene.world.send(As::System, axum::http::Method::PATCH, "/api/v1/cameras/gate", Some(&off)).await.ok();
    // It was let in before the camera was switched off, and does not slip through.
    assert_eq!(client.ask("PLAY", &url, "").await.status, 404);
    assert_eq!(status("cam_gate").await, 503);
    scene.sessions(0).await;
}
