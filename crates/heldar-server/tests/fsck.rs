//! `heldar fsck` and `heldar doctor` of the real binary, over footage that a server records from a test camera.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(90);

fn heldar(folder: &Path, port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heldar"));
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("HELDAR_")) {
            command.env_remove(name);
        }
    }
    command.env("HELDAR_API_PORT", port.to_string()).env("HELDAR_MIN_FREE_DISK_GB", "0");
    command
}

/// Exit status and document of a check.
fn fsck(folder: &Path, port: u16, arguments: &[&str]) -> (Option<i32>, Value) {
    let out = heldar(folder, port).args(["fsck", "--json"]).args(arguments).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    (out.status.code(), serde_json::from_str(&text).unwrap_or_else(|_| json!({ "error": error })))
}

/// Ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn request(port: u16, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer))
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn serve(folder: &Path, port: u16) -> Running {
    let log = std::fs::File::create(folder.join("serve.log")).unwrap();
    let server = heldar(folder, port).arg("serve").stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let server = Running(server);
    wait_for("an answer", || request(port, "GET", "/healthz", "").is_some_and(|(status, _)| status == 200));
    server
}

/// Two test cameras and their addresses.
fn cameras(folder: &Path) -> (Running, Vec<String>) {
    let video = folder.join("bars.mp4");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc=size=320x180:rate=10:duration=4"])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-bf", "0", "-pix_fmt", "yuv420p"])
        .arg(&video)
        .status()
        .unwrap();
    assert!(made.success());
    let mut command = heldar(folder, 0);
    command.args(["testcam", "--cameras", "2", "--port", "0", "--video"]).arg(&video);
    let mut running = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let url =
        |line: String| serde_json::from_str::<Value>(&line).unwrap()["url"].as_str().unwrap().to_owned();
    let urls = lines.take(2).map(|line| url(line.unwrap())).collect();
    (running, urls)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.retain(|path| path.extension().is_some_and(|end| end == "mp4"));
    found.sort();
    found
}

fn kinds(document: &Value) -> Vec<&str> {
    let findings = document["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["kind"].as_str().unwrap()).collect()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn usage_and_nothing_there() {
    let scratch = tempfile::tempdir().unwrap();
    for (arguments, code) in [(&["--repiar"][..], 2), (&["extra"], 2), (&[], 1), (&["--repair"], 1)] {
        let (status, document) = fsck(scratch.path(), 0, arguments);
        assert_eq!(status, Some(code), "{arguments:?}: {document}");
        assert_ne!(document["error"], "", "{arguments:?}");
    }
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn recorded_footage_is_checked_killed_and_mended() {
    let scratch = tempfile::tempdir().unwrap();
    let (folder, port) = (scratch.path(), free_port());
    let (_cameras, urls) = cameras(folder);
    let mut server = serve(folder, port);
    // One whose segments end all the time, and one that has an open segment at any instant.
    for ((camera, seconds), url) in [("gate", 2), ("yard", 3600)].into_iter().zip(urls) {
        let body =
            json!({ "id": camera, "name": camera, "main_stream_url": url, "segment_seconds": seconds });
        let made = request(port, "POST", "/api/v1/cameras", &body.to_string()).unwrap();
        assert_eq!(made.0, 201, "{}", made.1);
    }

    // Beside the server that records, until there are a few files.
    wait_for("six segments", || {
        let (status, document) = fsck(folder, port, &[]);
        assert_eq!(status, Some(0), "{document:#}");
        assert_eq!(document["server_running"], true);
        document["checked"]["segments"].as_u64().unwrap() >= 6
    });
    let (status, refused) = fsck(folder, port, &["--repair"]);
    assert_eq!(status, Some(1));
    assert!(refused["error"].as_str().unwrap().contains("stop it first"), "{refused}");
    looked_at_by_the_doctor(folder, port);
    assert!(request(port, "GET", "/readyz", "").unwrap().0 == 200, "the server was disturbed");

    server.0.kill().unwrap();
    server.0.wait().unwrap();
    let (status, document) = fsck(folder, port, &[]);
    let found = kinds(&document);
    assert_eq!((status, found.contains(&"open_row")), (Some(1), true), "{document:#}");
    // A file may have been begun the moment before.
    assert!(found.iter().all(|kind| ["open_row", "orphan_file"].contains(kind)), "{document:#}");
    let (status, document) = fsck(folder, port, &["--repair"]);
    assert_eq!((status, document["clean"].as_bool()), (Some(0), Some(true)), "{document:#}");
    assert!(document["repairs"].as_array().unwrap().iter().all(|repair| repair["done"] == true));
    let (status, document) = fsck(folder, port, &[]);
    assert_eq!((status, document["counts"].as_object().unwrap().len()), (Some(0), 0), "{document:#}");

    // For people it says the same, and what is missing is told.
    let files = files_below(&folder.join("data/recordings"));
    std::fs::remove_file(&files[1]).unwrap();
    let (status, document) = fsck(folder, port, &[]);
    assert_eq!((status, kinds(&document)), (Some(1), vec!["missing_file"]), "{document:#}");
    let out = heldar(folder, port).arg("fsck").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let name = files[1].file_name().unwrap().to_str().unwrap();
    assert!(out.status.code() == Some(1) && text.contains("missing_file") && text.contains(name), "{text}");
    assert_eq!(fsck(folder, port, &["--repair"]).0, Some(0));
    assert_eq!(fsck(folder, port, &[]).0, Some(0));
    // A server goes on from there. Holes as short as this one, a segment of two seconds, are only told when asked for.
    let _server = serve(folder, port);
    let (status, gaps) = request(port, "GET", "/api/v1/cameras/gate/gaps?tolerance_ms=500", "").unwrap();
    assert!(status == 200 && gaps.contains("\"damaged\""), "{gaps}");
}

/// The doctor tells what the store holds, without a trace in the folder.
#[track_caller]
fn looked_at_by_the_doctor(folder: &Path, port: u16) {
    let names = |folder: &Path| {
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names(&folder.join("data"));
    let out = heldar(folder, port).args(["doctor", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let text = |code: &str| {
        let found = findings.iter().find(|finding| finding["code"] == code);
        found.unwrap_or_else(|| panic!("{code}: {report:#}"))["text"].as_str().unwrap().to_owned()
    };
    let schema = text("store_schema");
    assert!(schema.ends_with("that of this version"), "{schema}");
    assert!(text("store_contents").contains("2 cameras"), "{}", text("store_contents"));
    assert!(text("server_running").contains("answers"));
    assert_eq!(names(&folder.join("data")), before);
}
