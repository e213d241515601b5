//! Answers that run on, and requests that try it another way.

use std::time::{Duration, Instant};

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::client::Client;
use crate::cuts::Scene;
use crate::downloads::Shelf;
use crate::house::{House, reason, text};
use crate::viewers::{CUT, End};

/// auth-system.md 14: a download ends within 2 s when the scope of its reader, or the site of its camera, changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_clip_is_cut_where_its_camera_is_no_longer_in_scope() {
    let shelf = Shelf::new().await;
    let elsewhere = json!({ "scope_kind": "cameras", "scope_cameras": ["elsewhere"] });
    shelf.cut_by(&shelf.clip, json!({}), None, elsewhere, 403).await;
}

/// The same for somebody of a site.
#[tokio::test(flavor = "multi_thread")]
async fn a_clip_is_cut_where_its_camera_leaves_the_site() {
    let shelf = Shelf::new().await;
    let of_site = json!({ "scope_kind": "cameras", "scope_sites": ["north"] });
    let leaves = json!({ "site_id": null });
    shelf.cut_by(&shelf.clip, of_site, Some("/api/v1/cameras/gate"), leaves, 403).await;
}

/// auth-system.md 14: what runs is tied to the address list too.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_cut_where_its_address_is_no_longer_allowed() {
    let shelf = Shelf::new().await;
    let networks = json!({ "allowed_networks": ["10.0.0.0/8"] });
    shelf.cut_by(&shelf.video, json!({}), None, networks, 403).await;
}

/// The same for a live view.
#[tokio::test(flavor = "multi_thread")]
async fn a_live_view_is_cut_where_its_address_is_no_longer_allowed() {
    let scene = Scene::start().await;
    let house = &scene.served.house;
    let (id, key) = house.key(json!({ "capabilities": ["video:live"] })).await;
    let mut socket = scene.served.socket("/live/ws/cam_gate", &format!("X-API-Key: {key}\r\n"));
    socket.goes_on().await;
    let since = Instant::now();
    let networks = json!({ "allowed_networks": ["10.0.0.0/8"] });
    house.patch(&format!("/api/v1/api-keys/{id}"), networks).token(&house.admin).ok().await;
    assert!(matches!(socket.ends("allowed_networks", since).await, End::Closed(4401 | 4403)));
}

/// auth-system.md 14: a download ends within 2 s when its camera is removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_cut_where_its_camera_is_deleted() {
    let shelf = Shelf::new().await;
    let (_, head) = shelf.key(json!({})).await;
    let mut download = shelf.begun(&shelf.video, &head).await;
    let (since, house) = (Instant::now(), &shelf.served.house);
    house.delete("/api/v1/cameras/gate").token(&house.admin).ok().await;
    assert_eq!(download.ends("the camera is deleted", since).await, End::Broken);
}

/// auth-system.md 14: the connection task selects on the right and closes, also where the reader takes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_whose_reader_takes_nothing_is_closed_too() {
    let shelf = Shelf::new().await;
    let house = &shelf.served.house;
    let (key, head) = shelf.key(json!({})).await;
    let in_flight = async || {
        let metrics = house.get("/metrics").token(&house.admin).send().await;
        let metrics = String::from_utf8(metrics.bytes).unwrap();
        let line = metrics.lines().find(|line| line.starts_with("heldar_http_requests_in_flight ")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let idle = in_flight().await;
    let address = shelf.served.address;
    let mut download = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {} HTTP/1.1\r\nHost: {address}\r\n{head}\r\n", shelf.video);
    download.write_all(request.as_bytes()).await.unwrap();
    crate::house::until("the download runs", async || in_flight().await > idle).await;
    shelf.change(&key, json!({ "active": false })).await;
    tokio::time::sleep(CUT + Duration::from_millis(500)).await;
    assert!(in_flight().await <= idle, "the answer is still being sent");
    drop(download);
}

/// auth-system.md 14: `%2f` and `%5c` are 403 for whoever is limited.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_in_the_place_of_a_file_name_is_refused() {
    let house = House::start().await;
    house.furnish().await;
    let limited = json!({ "scope_kind": "cameras", "scope_cameras": ["gate"] });
    let (_, gate) = house.signed_in("gate", limited).await;
    for file in ["..%2fyard%2f20200101_000000.mp4", "..%5cyard%5c20200101_000000.mp4", "%2e%2e"] {
        let found = house.get(&format!("/media/recordings/gate/{file}")).token(&gate).send().await;
        assert_eq!(found.status, 403, "{file}: {} {}", found.json(), reason(&found));
    }
}

/// auth-system.md 13.2: preferences that are no object are 400.
#[tokio::test(flavor = "multi_thread")]
async fn preferences_that_are_no_object_are_a_bad_request() {
    let house = House::start().await;
    let put = house.call(Method::PUT, "/api/v1/me/preferences").json(&json!([]));
    let found = put.token(&house.admin).send().await;
    assert_eq!(found.status, 400, "{}", found.json());
}

/// auth-system.md 13.2: who must choose a password can do nothing else, over RTSP either.
#[tokio::test(flavor = "multi_thread")]
async fn who_must_choose_a_password_does_not_play_over_rtsp() {
    let scene = Scene::start().await;
    let house = &scene.served.house;
    let (id, token) = house.signed_in("new", json!({})).await;
    let entry = house.get("/api/v1/cameras/gate/liveview").token(&token).ok().await;
    let live = text(&entry["token"]);
    let change = json!({ "must_change_password": true });
    house.patch(&format!("/api/v1/users/{id}"), change).token(&house.admin).ok().await;
    assert_eq!(house.get("/api/v1/cameras/gate/liveview").token(&token).status().await, 403);
    let url = format!("rtsp://127.0.0.1:{}/cam_gate", scene.rtsp);
    let basic = format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("new:{token}")));
    let mut found = Vec::new();
    for (url, head) in [(format!("{url}?token={live}"), ""), (url.clone(), basic.as_str())] {
        found.push(Client::connect(scene.rtsp).await.ask("DESCRIBE", &url, head).await.status);
    }
    assert!(found.iter().all(|status| matches!(status, 401 | 403)), "{found:?}");
}
