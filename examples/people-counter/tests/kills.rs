//! The app is killed again and again while workers send: every detection counts exactly once.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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

/// Sends one picture after the other until told to stop, each until it is answered; how many were taken.
fn work(port: u16, name: usize, is_over: &AtomicBool) -> usize {
    let mut sent = 0;
    while !is_over.load(Ordering::Relaxed) {
        let body = json!({
            "camera_id": "gate", "task_type": "yolo", "frame_id": format!("{name}-{sent}"),
            "timestamp": "2026-01-01T10:30:00Z",
            "detections": [
                { "label": "person", "track_id": format!("{name}-{}", sent / 5) },
                { "label": "car", "track_id": "parked" },
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
        sent += 1;
    }
    sent
}

#[test]
fn every_sighting_counts_once_however_often_the_server_is_killed() {
    let rounds = if std::env::var_os("HELDAR_SOAK").is_some_and(|value| value == "1") { 100 } else { 10 };
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let mut server = Some(Server::start(folder.path(), port));
    until(port, "/readyz", |_| true);
    let camera = json!({ "id": "gate", "name": "gate" });
    assert_eq!(ask(port, "POST", "/api/v1/cameras", Some(&camera)).unwrap().0, 201);
    let is_over = AtomicBool::new(false);
    let sent: Vec<usize> = std::thread::scope(|scope| {
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
    let idle = |consumers: &Value| consumers[0]["lag_batches"] == 0;
    let consumers = until(port, "/api/v1/ai/consumers", idle);
    assert_eq!(consumers[0]["parked"], 0, "{consumers}");
    let hours = until(port, "/api/v1/cameras/gate/people", |_| true);
    let (sightings, people) =
        (sent.iter().sum::<usize>(), sent.iter().map(|sent| sent.div_ceil(5)).sum::<usize>());
    assert!(sightings > rounds as usize, "{sightings}");
    assert_eq!(hours, json!([{ "hour": "2026-01-01T10:00:00Z", "people": people, "sightings": sightings }]));
    drop(server);
}
