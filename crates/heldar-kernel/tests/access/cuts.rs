//! What runs ends with the right that it stands on: every way to end one, for everybody who watches (auth-system.md 14).

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use axum::http::Method;
use heldar_access::SignIn;
use heldar_base::{CameraId, Clock as _, Micros, WallTime};
use heldar_testcam::{Options, Running};
use serde_json::{Value, json};

use crate::house::{PASSWORD, text};
use crate::tape::Tape;
use crate::viewers::{End, Served, Watcher, status};

/// What ends a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    SessionEnded,
    OwnSessionsEnded,
    SignedOut,
    PasswordReset,
    OwnPasswordChanged,
    PersonDeactivated,
    PersonDeleted,
    SessionRunsOut,
    PersonScope,
    CameraLeavesSite,
    SiteDeleted,
    KeyRight,
    KeyScope,
    KeyInactive,
    KeyRevoked,
    KeyDeleted,
    KeyExpires,
    KeyRunsOut,
}

const CAUSES: [Cause; 18] = [
    Cause::SessionEnded,
    Cause::OwnSessionsEnded,
    Cause::SignedOut,
    Cause::PasswordReset,
    Cause::OwnPasswordChanged,
    Cause::PersonDeactivated,
    Cause::PersonDeleted,
    Cause::SessionRunsOut,
    Cause::PersonScope,
    Cause::CameraLeavesSite,
    Cause::SiteDeleted,
    Cause::KeyRight,
    Cause::KeyScope,
    Cause::KeyInactive,
    Cause::KeyRevoked,
    Cause::KeyDeleted,
    Cause::KeyExpires,
    Cause::KeyRunsOut,
];

impl Cause {
    /// Whether it is about a key.
    fn of_key(self) -> bool {
        use Cause::*;
        matches!(self, KeyRight | KeyScope | KeyInactive | KeyRevoked | KeyDeleted | KeyExpires | KeyRunsOut)
    }

    /// Whether the credential goes on, and may no longer do this.
    fn ends_the_right_alone(self) -> bool {
        use Cause::*;
        matches!(self, PersonScope | CameraLeavesSite | SiteDeleted | KeyRight | KeyScope)
    }

    /// Scope of whoever it is about.
    fn scope(self) -> Value {
        match self {
            Cause::CameraLeavesSite => json!({ "scope_kind": "cameras", "scope_sites": ["north"] }),
            Cause::SiteDeleted => json!({ "scope_kind": "cameras", "scope_sites": ["extra"] }),
            _ => json!({}),
        }
    }
}

/// A server with one camera that sends, and footage of it.
pub(crate) struct Scene {
    pub(crate) served: Served,
    pub(crate) rtsp: u16,
    base: WallTime,
    _camera: Running,
    _folder: tempfile::TempDir,
}

/// Somebody who watches: its id, and the header line that it shows.
struct Who {
    id: String,
    token: String,
    head: String,
}

/// When a key runs out that does so by itself.
const SOON: Duration = Duration::from_secs(6);

impl Scene {
    pub(crate) async fn start() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let video = folder.path().join("clip.mp4");
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-t", "4"])
            .args(["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "25", "-pix_fmt", "yuv420p"])
            .arg(&video)
            .status()
            .expect("ffmpeg is installed");
        assert!(made.success());
        let options =
            Options { video: Some(video), media_dir: folder.path().join("media"), ..Options::default() };
        let camera = heldar_testcam::start(options).await.unwrap();
        let served = Served::start().await;
        let house = &served.house;
        for site in ["north", "extra"] {
            house.post("/api/v1/sites", json!({ "id": site, "name": site })).token(&house.admin).ok().await;
        }
        let url = &camera.cameras()[0].url;
        house.camera("gate", json!({ "main_stream_url": url, "site_id": "north" })).await;
        let rtsp = house.kernel.restream_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let base = (house.now() - Micros::from_hours(1)).floor_second();
        let id = CameraId::new("gate").unwrap();
        Tape::record(&house.kernel, &id, base, 40, 512 << 10).await;
        Scene { served, rtsp, base, _camera: camera, _folder: folder }
    }

    async fn change(&self, path: &str, body: Value) {
        let house = &self.served.house;
        house.patch(path, body).token(&house.admin).ok().await;
    }

    async fn move_camera(&self, site: Value) {
        self.change("/api/v1/cameras/gate", json!({ "site_id": site })).await;
    }

    /// Somebody whose right a cause is to end.
    async fn somebody(&self, cause: Cause) -> Who {
        let house = &self.served.house;
        if cause.of_key() {
            let mut body = json!({ "capabilities": ["video:live", "video:playback"] });
            if cause == Cause::KeyRunsOut {
                let until = house.now() + Micros(i64::try_from(SOON.as_micros()).unwrap());
                body["expires_at"] = json!(until);
            }
            let (id, token) = house.key(body).await;
            let head = format!("X-API-Key: {token}\r\n");
            return Who { id, token, head };
        }
        let name = format!("{cause:?}");
        let id = house.person(&name, cause.scope()).await;
        let token = house.sign_in(&name, PASSWORD).await;
        let head = format!("Cookie: heldar_session={token}\r\n");
        Who { id, token, head }
    }

    fn own<'a>(&'a self, who: &Who, call: crate::house::Call<'a>) -> crate::house::Call<'a> {
        call.token(&who.token)
    }

    /// Ends a right; when it has ended.
    async fn bring(&self, cause: Cause, who: &Who, begun: Instant) -> Instant {
        let house = &self.served.house;
        let (user, key) = (format!("/api/v1/users/{}", who.id), format!("/api/v1/api-keys/{}", who.id));
        let delete = async |path: &str| {
            house.delete(path).token(&house.admin).ok().await;
        };
        let gone = json!({ "scope_kind": "cameras", "scope_cameras": ["elsewhere"] });
        let session =
            async || text(&house.get("/api/v1/auth/me").token(&who.token).ok().await["session"]["id"]);
        let before = Instant::now();
        match cause {
            Cause::SessionEnded => delete(&format!("{user}/sessions/{}", session().await)).await,
            Cause::OwnSessionsEnded => {
                let path = "/api/v1/auth/sessions?include_current=true";
                _ = self.own(who, house.delete(path)).ok().await;
            }
            Cause::SignedOut => {
                _ = self.own(who, house.call(Method::POST, "/api/v1/auth/logout")).ok().await;
            }
            Cause::PasswordReset => self.change(&user, json!({ "password": "battery staple" })).await,
            Cause::OwnPasswordChanged => {
                let other = house.sign_in(&format!("{cause:?}"), PASSWORD).await;
                let body = json!({ "current_password": PASSWORD, "new_password": "battery staple" });
                house.post("/api/v1/auth/password", body).token(&other).ok().await;
            }
            Cause::PersonDeactivated => self.change(&user, json!({ "active": false })).await,
            Cause::PersonDeleted => delete(&user).await,
            Cause::SessionRunsOut => {
                let (id, ends) = (session().await, house.now() + Micros::from_secs(1));
                house.kernel.accounts.change(|directory| {
                    let session = directory.session(&id).unwrap();
                    directory.put_session(SignIn { expires_at: ends, ..session });
                });
                let left = (ends - house.kernel.clock.wall()).to_std();
                let over = Instant::now() + left;
                tokio::time::sleep(left).await;
                return over;
            }
            Cause::PersonScope => self.change(&user, gone).await,
            Cause::CameraLeavesSite => self.move_camera(Value::Null).await,
            Cause::SiteDeleted => delete("/api/v1/sites/extra?detach=true").await,
            Cause::KeyRight => self.change(&key, json!({ "capabilities": ["camera:read"] })).await,
            Cause::KeyScope => self.change(&key, gone).await,
            Cause::KeyInactive => self.change(&key, json!({ "active": false })).await,
            Cause::KeyRevoked => self.change(&key, json!({ "revoked_at": house.now() })).await,
            Cause::KeyDeleted => delete(&key).await,
            Cause::KeyExpires => self.change(&key, json!({ "expires_at": house.now() })).await,
            Cause::KeyRunsOut => {
                let over = begun + SOON;
                tokio::time::sleep_until(over.into()).await;
                return over;
            }
        }
        before
    }

    async fn live_token(&self, who: &Who) -> String {
        let entry = self.served.house.get("/api/v1/cameras/gate/liveview").token(&who.token).ok().await;
        text(&entry["token"])
    }

    /// Somebody who watches by a WebSocket with a token alone.
    fn by_token(&self, token: &str) -> Watcher {
        self.served.socket(&format!("/live/ws/cam_gate?token={token}"), "")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_of_a_right_cuts_everybody_who_stands_on_it() {
    let scene = Scene::start().await;
    let Scene { served, base, .. } = &scene;
    let bystander = scene.somebody(Cause::SignedOut).await;
    let live = "/live/ws/cam_gate";
    let bystanders = [
        served.socket(live, &bystander.head),
        scene.by_token(&scene.live_token(&bystander).await),
        served.whep("/live/whep/cam_gate", &bystander.head),
    ];
    for watcher in &bystanders {
        watcher.goes_on().await;
    }
    let video = format!("/api/v1/cameras/gate/video.mp4?from={base}&to={}", *base + Micros::from_secs(40));
    let segments = served.house.see("/api/v1/cameras/gate/segments").await;
    let file = text(&segments[0]["path"]);
    let file = format!("/media/recordings/gate/{}", file.rsplit('/').next().unwrap());
    for cause in CAUSES.into_iter().filter(|cause| *cause != Cause::SignedOut).chain([Cause::SignedOut]) {
        let name = format!("{cause:?}");
        if cause == Cause::SiteDeleted {
            scene.move_camera(json!("extra")).await;
        }
        let begun = Instant::now();
        let who = if cause == Cause::SignedOut {
            // Its own name is the bystander's.
            let token = served.house.sign_in(&name, PASSWORD).await;
            let head = format!("Authorization: Bearer {token}\r\n");
            Who { id: bystander.id.clone(), token, head }
        } else {
            scene.somebody(cause).await
        };
        let token = scene.live_token(&who).await;
        let mut sockets = [served.socket(live, &who.head), scene.by_token(&token)];
        let mut whep = [
            served.whep("/live/whep/cam_gate", &who.head),
            served.whep(&format!("/live/whep/cam_gate?token={token}"), ""),
        ];
        let mut hls = served.hls("/live/hls/cam_gate/index.m3u8", "", &who.head);
        let mut hls_by_token = served.hls("/live/hls/cam_gate/index.m3u8", &format!("token={token}"), "");
        let mut rtsp = served.rtsp(scene.rtsp, "cam_gate", &token);
        let mut downloads = [served.download(&video, &who.head), served.download(&file, &who.head)];
        for watcher in sockets.iter().chain(&whep).chain([&hls, &hls_by_token, &rtsp]).chain(&downloads) {
            watcher.goes_on().await;
        }
        let since = scene.bring(cause, &who, begun).await;
        let (code, refusal) = if cause.ends_the_right_alone() { (4403, 403) } else { (4401, 401) };
        for socket in &mut sockets {
            assert_eq!(socket.ends(&name, since).await, End::Closed(code), "{name}");
        }
        for whep in &mut whep {
            assert_eq!(whep.ends(&name, since).await, End::Broken, "{name}");
        }
        for hls in [&mut hls, &mut hls_by_token] {
            let end = hls.ends(&name, since).await;
            assert!(matches!(end, End::Refused(401 | 403)), "{name}: {end:?}");
        }
        assert_eq!(rtsp.ends(&name, since).await, End::Broken, "{name}");
        for download in &mut downloads {
            assert_eq!(download.ends(&name, since).await, End::Broken, "{name}");
        }
        // And nothing of it begins anew.
        for path in [live, &video, &file] {
            assert_eq!(status(served.address, path, &who.head).await, Some(refusal), "{name} {path}");
        }
        for watcher in &bystanders {
            watcher.goes_on().await;
        }
        if matches!(cause, Cause::CameraLeavesSite | Cause::SiteDeleted) {
            scene.move_camera(json!("north")).await;
        }
    }
}
