//! The server is killed again and again while workers send: every detection counts once in the app, every step into a zone
//! is told once, and the receiver of a webhook gets each of them, in order, twice at most by the same delivery id.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// Workers that send at once.
const WORKERS: usize = 4;
/// Longest time for anything.
const SOON: Duration = Duration::from_secs(60);

/// A request over a connection of its own; none while nobody answers.
fn ask(port: u16, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or_default()))
}

struct Server(Child);

impl Server {
    fn start(folder: &Path, port: u16) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_people-counter"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HELDAR_"))
        {
            command.env_remove(name);
        }
        command.current_dir(folder).args([
            "serve",
            "--api-host",
            "127.0.0.1",
            "--api-port",
            &port.to_string(),
        ]);
        let quiet = [
            ("HELDAR_RECORDER_ENABLED", "false"),
            ("HELDAR_RTSP_PORT", "0"),
            ("HELDAR_WEBRTC_UDP_PORT", "0"),
            ("HELDAR_MIN_FREE_DISK_GB", "0"),
        ];
        let log = File::options().append(true).create(true).open(folder.join("log")).unwrap();
        Server(command.envs(quiet).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }
}

impl Drop for Server {
    /// As `kill -9` does.
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Waits for an answer that is as it should be.
fn until(port: u16, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let answer = ask(port, "GET", path, None);
        match answer {
            Some((200, body)) if is_so(&body) => return body,
            answer => assert!(begun.elapsed() < SOON, "{path} {answer:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The camera of a worker.
fn camera(name: usize) -> String {
    format!("gate{name}")
}

/// Now, to the millisecond.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let at = i64::try_from(since.as_millis()).unwrap();
    heldar_kernel::apps::prelude::WallTime(at * 1000).to_string()
}

/// Sends one picture after the other until told to stop, each until it is answered; the times of those that were taken.
/// Somebody steps into the zone in each other picture, and out of it in those between.
fn work(port: u16, name: usize, is_over: &AtomicBool) -> Vec<String> {
    let mut sent: Vec<String> = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let number = sent.len();
        let mut at = now();
        while sent.last() == Some(&at) {
            std::thread::sleep(Duration::from_millis(1));
            at = now();
        }
        let x = if number.is_multiple_of(2) { 0.2 } else { 0.7 };
        let body = json!({
            "camera_id": camera(name), "task_type": "yolo", "frame_id": format!("{number}"), "timestamp": at,
            "detections": [
                { "label": "person", "track_id": format!("{}", number / 5) },
                { "label": "walker", "track_id": "one", "bbox": [x, 0.3, 0.1, 0.3] },
            ],
        });
        let begun = Instant::now();
        loop {
            match ask(port, "POST", "/api/v1/ai/events", Some(&body)) {
                Some((200, _)) => break,
                answer => {
                    assert!(begun.elapsed() < SOON, "{answer:?}");
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
        sent.push(at);
    }
    sent
}

/// What a webhook's receiver got: the id of the delivery, and the event.
type Got = Arc<Mutex<Vec<(String, Value)>>>;

/// A receiver that takes everything, for as long as the test runs; its port.
fn receiver(got: &Got) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let got = got.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let got = got.clone();
            // Who is killed in the middle of a request is heard of no more.
            std::thread::spawn(move || receive(stream.ok()?, &got));
        }
    });
    port
}

/// Takes the requests of a connection.
fn receive(stream: TcpStream, got: &Got) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut length, mut delivery) = (0, String::new());
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok().filter(|count| *count > 0)?;
            let Some((name, value)) = line.split_once(':') else {
                if line.trim().is_empty() {
                    break;
                }
                continue;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok()?,
                "x-heldar-delivery" => value.trim().clone_into(&mut delivery),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        got.lock().unwrap().push((delivery, serde_json::from_slice(&body).ok()?));
        stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
    }
}

/// The receiver got every step of a worker, in order; what came again came under the same id.
fn check_deliveries(got: &Got, sent: &[String]) {
    let mut begun = (Instant::now(), 0);
    let firsts = loop {
        let (mut firsts, mut ids, mut known) = (Vec::new(), HashSet::new(), HashMap::new());
        for (delivery, event) in got.lock().unwrap().iter() {
            match known.get(delivery) {
                None => {
                    assert!(ids.insert(event["id"].to_string()), "two deliveries of {event}");
                    known.insert(delivery.clone(), event.clone());
                    firsts.push(event.clone());
                }
                Some(before) => assert_eq!(before, event),
            }
        }
        if firsts.len() >= sent.len() {
            break firsts;
        }
        if firsts.len() > begun.1 {
            begun = (Instant::now(), firsts.len());
        }
        assert!(begun.0.elapsed() < SOON, "{} of {}", firsts.len(), sent.len());
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(firsts.len(), sent.len());
    assert!(firsts.is_sorted_by_key(|event| event["seq"].as_i64().unwrap()));
    for (number, (event, at)) in firsts.iter().zip(sent).enumerate() {
        let expect = if number.is_multiple_of(2) { "zone_enter" } else { "zone_exit" };
        assert_eq!((&event["event_type"], &event["timestamp"]), (&json!(expect), &json!(at)), "{number}");
    }
}

/// Every step into the zone and out of it was told, once, with its time.
fn check_zone(port: u16, name: usize, sent: &[String]) {
    let path = format!("/api/v1/cameras/{}/zone-events?order=asc&limit=5000", camera(name));
    let told =
        until(port, &path, |told| told.as_array().is_some_and(|told| told.len() >= sent.len().min(5000)));
    for (number, (told, at)) in told.as_array().unwrap().iter().zip(sent).enumerate() {
        let expect = if number.is_multiple_of(2) { "enter" } else { "exit" };
        assert_eq!(
            (&told["event_type"], &told["timestamp"]),
            (&json!(expect), &json!(at)),
            "{name}, {number}"
        );
    }
    let counts = |list: &Value, names: [&str; 2]| {
        let of = |name: &str| {
            let matching = list.as_array().unwrap().iter().filter(|one| one["event_type"] == name);
            matching.map(|one| one["count"].as_u64().unwrap_or(1) as usize).sum::<usize>()
        };
        names.map(of)
    };
    let steps = [sent.len().div_ceil(2), sent.len() / 2];
    let day = format!("/api/v1/cameras/{}/zone-events/aggregates?bucket_minutes=1440", camera(name));
    assert_eq!(counts(&until(port, &day, |_| true)["buckets"], ["enter", "exit"]), steps);
    if sent.len() <= 2000 {
        let fed = format!("/api/v1/events?camera_id={}&limit=2000", camera(name));
        assert_eq!(counts(&until(port, &fed, |_| true), ["zone_enter", "zone_exit"]), steps);
    }
    let inside = until(port, &format!("/api/v1/cameras/{}/zones/occupancy", camera(name)), |_| true);
    assert_eq!(inside["zones"][0]["count"], json!(sent.len() % 2));
}

#[test]
fn everything_takes_effect_once_however_often_the_server_is_killed() {
    let rounds = if std::env::var_os("HELDAR_SOAK").is_some_and(|value| value == "1") { 100 } else { 10 };
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let mut server = Some(Server::start(folder.path(), port));
    until(port, "/readyz", |_| true);
    for name in 0..WORKERS {
        let body = json!({ "id": camera(name), "name": camera(name) });
        assert_eq!(ask(port, "POST", "/api/v1/cameras", Some(&body)).unwrap().0, 201);
        let zone = json!({
            "name": "left", "polygon": [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]], "labels": ["walker"],
            "config": { "confirm_frames": 1, "static_suppression": false },
        });
        let path = format!("/api/v1/cameras/{}/zones", camera(name));
        assert_eq!(ask(port, "POST", &path, Some(&zone)).unwrap().0, 201);
    }
    let got = Got::default();
    let url = format!("http://127.0.0.1:{}/", receiver(&got));
    let webhook = json!({ "name": "all", "url": url, "event_types": ["zone_*"], "camera_ids": [camera(0)] });
    assert_eq!(ask(port, "POST", "/api/v1/webhooks", Some(&webhook)).unwrap().0, 201);
    let is_over = AtomicBool::new(false);
    let sent: Vec<Vec<String>> = std::thread::scope(|scope| {
        let is_over = &is_over;
        let workers: Vec<_> =
            (0..WORKERS).map(|name| scope.spawn(move || work(port, name, is_over))).collect();
        for round in 0..rounds {
            // Between the first commit after a start and well into steady work.
            std::thread::sleep(Duration::from_millis(40 + 97 * (round % 7)));
            drop(server.take());
            server = Some(Server::start(folder.path(), port));
            until(port, "/readyz", |_| true);
        }
        is_over.store(true, Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let idle = |consumers: &Value| {
        let consumers = consumers.as_array().unwrap();
        consumers.len() == 2 && consumers.iter().all(|one| one["lag_batches"] == 0)
    };
    let consumers = until(port, "/api/v1/ai/consumers", idle);
    assert_eq!(consumers[0]["parked"], 0, "{consumers}");
    assert!(sent.iter().map(Vec::len).sum::<usize>() > rounds as usize, "{sent:?}");
    for (name, sent) in sent.iter().enumerate() {
        let hours = until(port, &format!("/api/v1/cameras/{}/people", camera(name)), |_| true);
        let sum = |field: &str| {
            hours.as_array().unwrap().iter().map(|hour| hour[field].as_u64().unwrap() as usize).sum::<usize>()
        };
        assert_eq!((sum("people"), sum("sightings")), (sent.len().div_ceil(5), sent.len()), "{hours}");
        check_zone(port, name, sent);
    }
    check_deliveries(&got, &sent[0]);
    drop(server);
}
