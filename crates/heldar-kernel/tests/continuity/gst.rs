//! A camera that we did not write: GStreamer's RTSP server, which encodes real street footage while it sends it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::judge::{Decoding, in_parallel, output, probe, slices};
use crate::reference::{Recorded, worst_step};
use crate::rig::{self, File, seconds, time};
use crate::support::World;

/// Where Debian's opencv-doc has its street, 768x576 at 10 pictures per second.
const FOOTAGE: &str = "/usr/share/doc/opencv-doc/examples/data/vtest.avi";
/// Debian's own interpreter, whatever others are installed: it has the bindings of GStreamer.
const PYTHON: &str = "/usr/bin/python3";
const SIZE: (u32, u32) = (384, 288);
const RATE: u32 = 10;
const ACCOUNT: (&str, &str) = ("viewer", "str33t");

/// A server that runs; ends with the test, however that ends.
struct Server {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Server {
    /// Starts a server on a port, 0 for any.
    fn start(folder: &Path, port: u16, account: Option<(&str, &str)>) -> Server {
        let log = folder.join(if account.is_some() { "guarded.log" } else { "open.log" });
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/continuity/gst_camera.py");
        let mut command = Command::new(PYTHON);
        command.arg(script).args([
            port.to_string(),
            SIZE.0.to_string(),
            SIZE.1.to_string(),
            RATE.to_string(),
        ]);
        command
            .arg(street())
            .arg(&log)
            .args(account.into_iter().flat_map(|(user, password)| [user, password]));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port =
            line.strip_prefix("ready ").unwrap_or_else(|| panic!("the server ended: {:?}", child.wait()));
        Server { port: port.trim().parse().unwrap(), child, log }
    }

    fn url(&self, mount: &str) -> String {
        format!("rtsp://127.0.0.1:{}/{mount}", self.port)
    }

    fn signal(&self, name: &str) {
        output(Command::new("kill").args([name, &self.child.id().to_string()]));
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Pictures handed to the payloader of each media of a mount.
    fn sent(&self, mount: &str) -> Vec<Vec<Sent>> {
        let log = std::fs::read_to_string(&self.log).unwrap();
        let mut medias: Vec<(&str, Vec<Sent>)> = Vec::new();
        for words in
            log.lines().map(|line| line.split(' ').collect::<Vec<_>>()).filter(|words| words[0] == mount)
        {
            let sent = Sent { at: words[2].parse::<f64>().unwrap() / 1000.0, hash: words[3].to_owned() };
            match medias.iter_mut().find(|(media, _)| *media == words[1]) {
                Some((_, pictures)) => pictures.push(sent),
                None => medias.push((words[1], vec![sent])),
            }
        }
        medias.into_iter().map(|(_, pictures)| pictures).collect()
    }
}

/// A coded picture that was sent: when it is presented, in microseconds, and its hash.
struct Sent {
    at: f64,
    hash: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already where the test got that far.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The footage as raw pictures, made once; the generated scene of ffmpeg where the distribution has no footage.
fn street() -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let found = Path::new(FOOTAGE).exists();
    let path = rig::media_dir().join(if found { "street.yuv" } else { "no-street.yuv" });
    if !path.exists() {
        let partial = path.with_extension(format!("{}.yuv", std::process::id()));
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-nostdin", "-y"]);
        match found {
            true => command.args(["-i", FOOTAGE]),
            false => command.args(["-f", "lavfi", "-i", "testsrc2=rate=10"]),
        };
        let size = format!("{}x{}", SIZE.0, SIZE.1);
        command.args(["-t", "30", "-s", &size, "-pix_fmt", "yuv420p", "-f", "rawvideo"]).arg(&partial);
        output(&mut command);
        std::fs::rename(partial, &path).unwrap();
    }
    path
}

struct Case {
    id: &'static str,
    mount: &'static str,
    transport: &'static str,
    guarded: bool,
    codec: &'static str,
}

#[rustfmt::skip] // Read as a table.
const CASES: &[Case] = &[
    Case { id: "tcp", mount: "h264", transport: "tcp", guarded: false, codec: "h264" },
    Case { id: "udp", mount: "h264_in_band", transport: "udp", guarded: false, codec: "h264" },
    Case { id: "b_pictures", mount: "h264_b", transport: "auto", guarded: false, codec: "h264" },
    Case { id: "hevc", mount: "h265", transport: "tcp", guarded: false, codec: "hevc" },
    Case { id: "digest", mount: "h264_in_band", transport: "auto", guarded: true, codec: "h264" },
    Case { id: "digest_hevc", mount: "h265", transport: "udp", guarded: true, codec: "hevc" },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_street_is_recorded_as_it_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let servers = [Server::start(folder.path(), 0, None), Server::start(folder.path(), 0, Some(ACCOUNT))];
    let world = World::start().await;
    for case in CASES {
        let server = &servers[usize::from(case.guarded)];
        let mut settings = json!({ "segment_seconds": 4, "rtsp_transport": case.transport });
        if case.guarded {
            settings["username"] = json!(ACCOUNT.0);
            settings["password"] = json!(ACCOUNT.1);
        }
        rig::add(&world, case.id, &server.url(case.mount), settings).await;
    }
    // What cannot be recorded says so, and why; a wrong password too.
    rig::add(&world, "jpeg", &servers[0].url("mjpeg"), json!({})).await;
    let wrong = json!({ "username": ACCOUNT.0, "password": "guess" });
    rig::add(&world, "stranger", &servers[1].url("h264"), wrong).await;
    for case in CASES {
        rig::complete(&world, case.id, if rig::soak() { 20 } else { 4 }, seconds(60)).await;
    }
    let jpeg = rig::status(&world, "jpeg").await;
    assert_eq!((&jpeg["state"], &jpeg["reason_class"]), (&json!("error"), &json!("codec")), "{jpeg}");
    let stranger = rig::status(&world, "stranger").await;
    assert_eq!(
        (&stranger["state"], &stranger["reason_class"]),
        (&json!("offline"), &json!("auth")),
        "{stranger}"
    );
    let mut recorded = Vec::new();
    for case in CASES {
        let status = rig::status(&world, case.id).await;
        assert_eq!(
            (&status["state"], &status["reconnect_count"]),
            (&json!("recording"), &json!(0)),
            "{status}"
        );
        let lost = rig::lost(&world, case.id);
        recorded.push((case, lost, rig::finish(&world, case.id).await));
    }
    for case in CASES {
        // GStreamer encodes a while before its first picture comes.
        let gaps = rig::gaps(&world, case.id).await;
        let files = &recorded.iter().find(|(other, ..)| other.id == case.id).unwrap().2;
        assert!(
            gaps.iter().all(|gap| gap["cause"] == "starting" && time(&gap["gap_end"]) <= files[0].start),
            "{gaps:?}"
        );
    }
    world.kernel.stop().await;
    in_parallel(
        &recorded,
        |(case, ..)| case.id.to_owned(),
        |(case, lost, files)| {
            assert_eq!(*lost, 0, "packets lost on the loopback");
            let sent = servers[usize::from(case.guarded)].sent(case.mount);
            let pictures = hashes(files, case.codec);
            in_time(files, place(&sent, &pictures).unwrap());
            for pair in files.windows(2) {
                assert_eq!(pair[0].end, pair[1].start);
            }
            assert!(files.iter().all(|file| file.view["holes"] == json!([])), "{files:?}");
        },
    );
}

/// Hashes of the pictures of consecutive files, which decode without a complaint.
fn hashes(files: &[File], codec: &str) -> Vec<String> {
    let paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
    let packets = lengths(&paths);
    let pictures = slices(&paths, codec, Decoding::Clean).concat();
    assert_eq!(pictures.len(), packets, "ffprobe and ffmpeg see the same packets");
    pictures
}

fn lengths(paths: &[PathBuf]) -> usize {
    paths.iter().map(|path| probe(path).video().packets.len()).sum()
}

/// What was sent as these pictures one after another; else where they depart.
fn place<'a>(sent: &'a [Vec<Sent>], pictures: &[String]) -> Result<&'a [Sent], String> {
    let mut best = 0;
    for media in sent {
        for begin in 0..media.len() {
            let rest = &media[begin..];
            let same = rest.iter().zip(pictures).take_while(|(sent, picture)| sent.hash == **picture).count();
            if same == pictures.len() {
                return Ok(&rest[..same]);
            }
            best = best.max(same);
        }
    }
    Err(format!("{best} of {} pictures were sent one after another", pictures.len()))
}

/// Pictures are as far apart as the server stamped them, to the millisecond by which a fragment corrects its clock, and to what
/// rounding to ticks of 1/90000 s makes of two times on either side.
fn in_time(files: &[File], sent: &[Sent]) {
    let probed: Vec<_> = files.iter().map(|file| probe(&file.path)).collect();
    let recorded = Recorded::video(files.iter().map(|file| file.start.0 as f64).zip(&probed));
    let mut both: Vec<(f64, f64)> =
        recorded.packets.iter().zip(sent).map(|((time, _), sent)| (*time, sent.at)).collect();
    both.sort_by(|a, b| a.1.total_cmp(&b.1));
    let worst = worst_step(&both);
    assert!(worst <= 1000.0 + 2.0 * 1e6 / 90_000.0 + 1.0, "pictures {worst} us from where they were sent");
}

/// A server that is killed, comes back on its port, is frozen and goes on: every time away is a gap with its reason, and
/// what was sent while it was there is on disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_is_missed_for_the_right_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), 0, None);
    let (port, url) = (server.port, server.url("h264"));
    let env = [("HELDAR_STREAM_STALL_S", "3"), ("HELDAR_OFFLINE_DEBOUNCE_S", "1")];
    let world = World::start_with(&env).await;
    let settings = json!({ "segment_seconds": 4, "rtsp_transport": "tcp" });
    rig::add(&world, "street", &url, settings).await;
    rig::complete(&world, "street", 2, seconds(60)).await;
    server.kill();
    let health = "/api/v1/cameras/street/health";
    let is = |state: &'static str, class: &'static str| {
        move |status: &Value| status["state"] == state && status["reason_class"] == class
    };
    rig::until(&world, health, seconds(20), is("offline", "refused")).await;
    let before: usize = server.sent("h264").iter().map(Vec::len).sum();
    // Longer than what is a gap with a row of its own.
    tokio::time::sleep(Duration::from_secs(3)).await;
    server = Server::start(folder.path(), port, None);
    rig::until(&world, health, seconds(40), |status| status["state"] == "recording").await;
    rig::complete(&world, "street", 4, seconds(60)).await;
    server.signal("-STOP");
    rig::until(&world, health, seconds(20), is("offline", "stalled")).await;
    server.signal("-CONT");
    rig::until(&world, health, seconds(60), |status| status["state"] == "recording").await;
    let files = rig::finish(&world, "street").await;
    let (gaps, events) = (rig::gaps(&world, "street").await, rig::events(&world, "street").await);
    world.kernel.stop().await;
    let sent = server.sent("h264");
    let hashes = hashes(&files, "h264");
    // Every stretch between two holes was sent so; together they hold all that was sent before the server was killed.
    let counts: Vec<usize> = files.iter().map(|file| lengths(std::slice::from_ref(&file.path))).collect();
    let mut stretches: Vec<Vec<String>> = Vec::new();
    let mut at = 0;
    for (number, count) in counts.iter().enumerate() {
        let joins = number > 0 && files[number - 1].end == files[number].start;
        let pictures = hashes[at..at + count].to_vec();
        at += count;
        match stretches.last_mut().filter(|_| joins) {
            Some(last) => last.extend(pictures),
            None => stretches.push(pictures),
        }
    }
    assert!(stretches.len() >= 3, "{} stretches: {files:?}", stretches.len());
    for stretch in &stretches {
        place(&sent, stretch).unwrap();
    }
    // What GStreamer had in its queues when it was killed never left it; the first GOP may have been under way.
    assert!(stretches[0].len() + 30 >= before, "{} of {before} pictures", stretches[0].len());
    let causes: Vec<&str> = gaps.iter().map(|gap| gap["cause"].as_str().unwrap()).collect();
    let outages: Vec<&str> = causes.iter().copied().filter(|cause| *cause != "starting").collect();
    assert!(outages.starts_with(&["refused"]), "{gaps:?}");
    for gap in gaps.iter().filter(|gap| gap["cause"] != "starting") {
        let (start, end) = (time(&gap["gap_start"]), time(&gap["gap_end"]));
        assert!(files.iter().any(|file| file.end == start), "{gap} begins where footage ends");
        assert!(files.iter().any(|file| file.start == end), "{gap} ends where footage begins");
    }
    let raised: Vec<(&str, &str)> = events
        .iter()
        .filter(|event| event["event_type"] != "recording_gap")
        .map(|e| (e["event_type"].as_str().unwrap(), e["payload"]["reason_class"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(raised.iter().filter(|(kind, _)| *kind == "camera_offline").count(), 2, "{raised:?}");
    assert_eq!(raised.iter().filter(|(kind, _)| *kind == "camera_online").count(), 2, "{raised:?}");
    assert!(raised.contains(&("camera_offline", "stalled")), "{raised:?}");
}
