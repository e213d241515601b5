//! What players live through, and what ends them.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::Method;
use heldar_base::{Clock as _, WallTime};
use heldar_testcam::fault::FaultSpec;
use serde_json::json;

use super::client::Client;
use super::support::As;
use super::{H264, Scene, frames};

/// A right that has ended shows within this time (media.md 11.2).
const CUT: Duration = Duration::from_secs(2);

/// ffmpeg that plays until it is ended.
struct Player {
    child: Child,
    /// Lines of its list of hashes so far.
    said: Arc<Mutex<String>>,
}

impl Player {
    fn start(url: &str, transport: &str) -> Player {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-nostdin", "-rtsp_transport", transport, "-i", url, "-map", "0:v"]);
        command.args([
            "-fps_mode",
            "passthrough",
            "-enc_time_base",
            "-1",
            "-flush_packets",
            "1",
            "-f",
            "framemd5",
            "-",
        ]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let said = Arc::<Mutex<String>>::default();
        let (out, shared) = (BufReader::new(child.stdout.take().unwrap()), said.clone());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let mut said = shared.lock().unwrap();
                said.push_str(&line);
                said.push('\n');
            }
        });
        Player { child, said }
    }

    fn pictures(&self) -> Vec<(i64, String)> {
        frames(&self.said.lock().unwrap())
    }

    /// Waits until it has shown more pictures than that.
    async fn shows_more_than(&self, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(40);
        while self.pictures().len() <= count {
            assert!(Instant::now() < deadline, "{} pictures", self.pictures().len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How long it takes to end.
    async fn ends(&mut self) -> Duration {
        let since = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(since.elapsed() < Duration::from_secs(20), "it plays on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        since.elapsed()
    }

    fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // Either fails when it has ended, which is what is wanted.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn players_outlive_the_loss_of_a_camera_and_end_when_they_are_cut() {
    let scene = Scene::start(H264, &["-an"], "single_session", &[]).await;
    let numbers = scene.numbers();
    let url = scene.url("cam_gate");
    let mut players = [Player::start(&url, "tcp"), Player::start(&url, "udp")];
    for player in &players {
        player.shows_more_than(30).await;
    }
    let before = scene.sessions(2).await;

    scene.camera.add_fault(0, FaultSpec::parse("refuse:for=5").unwrap());
    let health = "/api/v1/cameras/gate/health";
    let deadline = Instant::now() + Duration::from_secs(30);
    while scene.world.get(health).await.ok()["session"] == "streaming" {
        assert!(Instant::now() < deadline, "the camera is not lost");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let shown = players.each_ref().map(|player| player.pictures().len());
    for (player, shown) in players.iter().zip(shown) {
        player.shows_more_than(shown + 50).await;
        let pictures = player.pictures();
        assert!(pictures.iter().all(|(_, hash)| numbers.contains_key(hash)), "whole pictures only");
        // ffmpeg gives the second picture the time of the first, whatever server it reads.
        let back = pictures[1..].windows(2).position(|pair| pair[1].0 <= pair[0].0);
        assert_eq!(
            back,
            None,
            "times rise: {:?}",
            pictures.iter().map(|picture| picture.0).collect::<Vec<_>>()
        );
        // The hole is as long as the outage was, and not longer; the clock of framemd5 is that of RTP, 90 kHz.
        let longest = pictures.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap();
        assert!((3 * 90_000..30 * 90_000).contains(&longest), "{longest}");
    }
    let after = scene.sessions(2).await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before["id"], after["id"], "the same sessions");
        assert!(before["bytes_sent"].as_u64() < after["bytes_sent"].as_u64());
    }

    // The first to come was not always the first to play.
    let [first, second] = [0, 1].map(|at: usize| after[at]["id"].as_str().unwrap().to_owned());
    let path = format!("/api/v1/live/sessions/{first}");
    assert_eq!(scene.world.send(As::System, Method::DELETE, &path, None).await.status, 204);
    let cut_at = Instant::now();
    let gone = loop {
        if let Some(at) = players.iter_mut().position(|player| !player.runs()) {
            break at;
        }
        assert!(cut_at.elapsed() < CUT, "nobody is cut off");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let rest = scene.sessions(1).await;
    assert_eq!(rest[0]["id"].as_str(), Some(second.as_str()));
    let other = &mut players[1 - gone];
    let shown = other.pictures().len();
    other.shows_more_than(shown + 10).await;

    let off = json!({ "enabled": false });
    scene.world.send(As::System, Method::PATCH, "/api/v1/cameras/gate", Some(&off)).await.ok();
    assert!(other.ends().await < CUT);
    scene.sessions(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_ends_its_sessions_when_it_stops() {
    let scene = Scene::start(H264, &["-an"], "single_session", &[]).await;
    let url = scene.url("cam_gate");
    let mut client = Client::connect(scene.port).await;
    assert_eq!(client.ask("DESCRIBE", &url, "").await.status, 200);
    client.play(&url).await;
    client.packet().await.unwrap();
    let (stopped, goodbye) =
        tokio::join!(tokio::time::timeout(Duration::from_secs(8), scene.world.kernel.stop()), async {
            let mut last = None;
            while let Some(packet) = client.packet().await {
                last = Some(packet);
            }
            last.unwrap()
        });
    stopped.unwrap();
    // RFC 3550 6.6: the last packet of all is a BYE.
    let (channel, report) = goodbye;
    assert_eq!((channel, report[1], report[report.len() - 7]), (1, 200, 203), "{report:?}");
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", scene.port)).await.is_err());
}

/// NTP time (RFC 3550 4) as ours.
fn wall(ntp: [u8; 8]) -> WallTime {
    let ntp = u64::from_be_bytes(ntp);
    let seconds = (ntp >> 32) as i64 - 2_208_988_800;
    WallTime(seconds * 1_000_000 + (((ntp & 0xffff_ffff) * 1_000_000) >> 32) as i64)
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_tell_when_pictures_were_captured() {
    let scene = Scene::start(H264, &["-an"], "single_session", &[]).await;
    let url = scene.url("cam_gate");
    let mut client = Client::connect(scene.port).await;
    assert_eq!(client.ask("DESCRIBE", &url, "").await.status, 200);
    client.play(&url).await;
    let mut reports = Vec::new();
    let mut newest = None;
    while reports.len() < 3 {
        let (channel, packet) = client.packet().await.unwrap();
        if channel == 0 {
            newest = Some(u32::from_be_bytes(packet[4..8].try_into().unwrap()));
            continue;
        }
        assert_eq!(packet[1], 200, "a sender report");
        let now = scene.world.kernel.clock.wall();
        let rtp_time = u32::from_be_bytes(packet[16..20].try_into().unwrap());
        reports.push((wall(packet[8..16].try_into().unwrap()), rtp_time, now, newest));
    }
    for (at, rtp_time, now, newest) in &reports {
        let age = (*now - *at).as_secs_f64();
        assert!((-0.1..1.5).contains(&age), "captured {age} s ago");
        // It speaks of the picture that follows, which is some 40 ms after the last.
        if let Some(newest) = newest {
            assert!(rtp_time.wrapping_sub(*newest) < 9_000, "{rtp_time} {newest}");
        }
    }
    let [first, .., last] = &reports[..] else { panic!() };
    let (ticks, micros) = (f64::from(last.1.wrapping_sub(first.1)), (last.0 - first.0).as_secs_f64() * 1e6);
    assert!((ticks / 90e3 * 1e6 - micros).abs() < 30.0, "{ticks} ticks in {micros} us");
    assert!(micros > 8e6, "a report each 5 s: {micros} us");
}
