//! The real binary while its database is away.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use heldar_testkit::{PostgresCluster, Stop};
use serde_json::Value;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running `heldar serve`; killed at the end, however that comes.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start(folder: &Path, database: &str) -> Server {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(env!("CARGO_BIN_EXE_heldar"));
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("HELDAR_")) {
                command.env_remove(name);
            }
        }
        command.arg("serve").current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
        command.env("HELDAR_DATA_DIR", folder).env("HELDAR_API_PORT", port.to_string());
        command.env("HELDAR_DATABASE_URL", database).env("HELDAR_OFFLINE_DEBOUNCE_S", "4");
        command.env("HELDAR_MIN_FREE_DISK_GB", "0");
        let server = Server { process: command.spawn().unwrap(), port };
        until("the server answers", || server.try_get("/readyz").filter(|(status, _)| *status == 200));
        server
    }

    fn try_get(&self, path: &str) -> Option<(u16, Value)> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = self.try_get(path).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        let length = body.len();
        let request =
            format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
        self.ask(&request).unwrap()
    }

    fn ask(&self, request: &str) -> Option<(u16, Value)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).unwrap_or_default()))
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _ended = self.process.wait();
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A camera whose outage and gap begin while the database is away; the server is killed meanwhile.
#[test]
fn events_of_an_outage_survive_a_kill() {
    let cluster = PostgresCluster::start().unwrap();
    let database = cluster.create_database().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &database);
    // Nobody listens there: refused at once, again and again.
    let camera = serde_json::json!({ "name": "Gate", "main_stream_url": "rtsp://127.0.0.1:1/none" });
    let (status, made) = server.post("/api/v1/cameras", &camera);
    assert_eq!(status, 201, "{made}");
    cluster.stop(Stop::Immediate).unwrap();

    let spool = folder.path().join("events.spool");
    let outage = until("the outage is spooled", || spooled(&spool, r#""event_type":"camera_offline""#));
    let gap = until("the gap is spooled", || spooled(&spool, r#""kind":"gap""#));
    let (status, answer) = server.post("/api/v1/cameras", &serde_json::json!({ "name": "Door" }));
    assert_eq!((status, answer["code"].as_str()), (503, Some("store_unavailable")), "{answer}");
    server.kill();
    cluster.resume().unwrap();

    let server = Server::start(folder.path(), &database);
    assert!(!spool.exists());
    let events = server.get("/api/v1/events");
    let count = |id: &str| events.as_array().unwrap().iter().filter(|event| event["id"] == id).count();
    assert_eq!(count(&outage), 1, "{events:#}");
    // The camera is still away: what was open goes on.
    let gaps = server.get("/api/v1/cameras/gate/recording-gaps");
    let ids: Vec<&str> = gaps.as_array().unwrap().iter().map(|gap| gap["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [gap], "{gaps:#}");
    assert_eq!(gaps[0]["open"], true);
}

/// The id of the spooled entry that holds a text.
fn spooled(file: &Path, text: &str) -> Option<String> {
    let bytes = std::fs::read(file).ok()?;
    let content = String::from_utf8_lossy(&bytes);
    let entry = content
        .split(r#"{"kind":"#)
        .skip(1)
        .map(|entry| format!(r#"{{"kind":{entry}"#))
        .find(|e| e.contains(text))?;
    let id = entry.split_once(r#""id":""#)?.1;
    Some(id.split_once('"')?.0.to_owned())
}
