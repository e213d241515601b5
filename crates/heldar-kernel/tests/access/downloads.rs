//! Downloads end with the right to them, and with what they are of.

use std::time::{Duration, Instant};

use heldar_base::{CameraId, Micros, WallTime};
use serde_json::{Value, json};

use crate::house::text;
use crate::tape::Tape;
use crate::viewers::{End, Served, Watcher, status};

/// A server with a camera of site `north` whose footage takes a slow reader some seconds, and a clip of it.
pub(crate) struct Shelf {
    pub(crate) served: Served,
    pub(crate) clip: String,
    pub(crate) video: String,
}

impl Shelf {
    pub(crate) async fn new() -> Shelf {
        let served = Served::start().await;
        let house = &served.house;
        house.post("/api/v1/sites", json!({ "id": "north", "name": "North" })).token(&house.admin).ok().await;
        house.camera("gate", json!({ "site_id": "north" })).await;
        let base: WallTime = (house.now() - Micros::from_hours(1)).floor_second();
        Tape::record(&house.kernel, &CameraId::new("gate").unwrap(), base, 40, 512 << 10).await;
        let to = base + Micros::from_secs(40);
        let body = json!({ "from": base, "to": to });
        let clip = house.post("/api/v1/cameras/gate/clip", body).token(&house.admin).ok().await;
        let video = format!("/api/v1/cameras/gate/video.mp4?from={base}&to={to}");
        Shelf { clip: text(&clip["url"]), video, served }
    }

    /// A key for footage and clips, and the header line that shows it.
    pub(crate) async fn key(&self, fields: Value) -> (String, String) {
        let mut body = json!({ "capabilities": ["video:playback", "video:export", "camera:read"] });
        crate::house::merge(&mut body, fields);
        let (id, key) = self.served.house.key(body).await;
        (format!("/api/v1/api-keys/{id}"), format!("X-API-Key: {key}\r\n"))
    }

    pub(crate) async fn change(&self, path: &str, body: Value) {
        let house = &self.served.house;
        house.patch(path, body).token(&house.admin).ok().await;
    }

    /// A change cuts a download, whose next request gets this status.
    pub(crate) async fn cut_by(
        &self,
        path: &str,
        scope: Value,
        target: Option<&str>,
        change: Value,
        then: u16,
    ) {
        let (key, head) = self.key(scope).await;
        let mut download = self.begun(path, &head).await;
        let since = Instant::now();
        self.change(target.unwrap_or(&key), change.clone()).await;
        assert_eq!(download.ends(&format!("{path} {change}"), since).await, End::Broken);
        assert_eq!(status(self.served.address, path, &head).await, Some(then), "{path} {change}");
    }

    pub(crate) async fn begun(&self, path: &str, head: &str) -> Watcher {
        let download = self.served.download(path, head);
        download.goes_on().await;
        download
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_is_sent_for_as_long_as_its_reader_may_have_it() {
    let shelf = Shelf::new().await;
    let (_, head) = shelf.key(json!({})).await;
    let bystander = shelf.begun(&shelf.clip, &head).await;
    for (change, then) in [
        (json!({ "capabilities": ["video:playback"] }), 403),
        (json!({ "active": false }), 401),
        (json!({ "revoked_at": shelf.served.house.now() }), 401),
    ] {
        shelf.cut_by(&shelf.clip, json!({}), None, change, then).await;
        bystander.goes_on().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_while_its_camera_is_switched_off() {
    let shelf = Shelf::new().await;
    let (_, head) = shelf.key(json!({})).await;
    let downloads = [shelf.begun(&shelf.video, &head).await, shelf.begun(&shelf.clip, &head).await];
    shelf.change("/api/v1/cameras/gate", json!({ "enabled": false, "site_id": null })).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    for download in downloads {
        download.goes_on().await;
    }
}
