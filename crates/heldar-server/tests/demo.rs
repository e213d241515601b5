//! `heldar demo`, the real binary: page, cameras and footage of a first start, and what a second one finds.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest time for cameras to be recorded.
const PATIENCE: Duration = Duration::from_secs(30);

/// A demo that runs; ends with the test, however that ends.
struct Demo {
    child: Child,
    address: String,
}

impl Demo {
    /// Starts in a folder and waits until it names its address.
    fn start(folder: &Path) -> Demo {
        let mut command = Command::new(env!("CARGO_BIN_EXE_heldar"));
        command.current_dir(folder).args(["demo", "--api-port", "0"]);
        // Wherever a server of this machine keeps its footage, the demo does not.
        command.env("HELDAR_DATA_DIR", folder.join("elsewhere")).stdout(Stdio::piped()).stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut named = lines
            .map_while(Result::ok)
            .filter_map(|line| Some(line.split_once("open http://")?.1.trim_end_matches('/').to_owned()));
        let address = named.next().unwrap_or_else(|| panic!("the demo ended: {:?}", child.wait()));
        Demo { child, address }
    }

    /// Head and body of an answer.
    fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn json(&self, path: &str) -> Value {
        let (head, body) = self.get(path);
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}\n{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Waits until every camera is recorded; their ids.
    fn recording(&self) -> Vec<String> {
        let started = Instant::now();
        loop {
            let statuses = self.json("/api/v1/health/cameras");
            let statuses = statuses.as_array().unwrap();
            if !statuses.is_empty() && statuses.iter().all(|status| status["state"] == "recording") {
                return statuses.iter().map(|s| s["camera_id"].as_str().unwrap().to_owned()).collect();
            }
            assert!(started.elapsed() < PATIENCE, "{statuses:#?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Ctrl-C.
    fn stop(mut self) {
        let told = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Ended already where the test got that far.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn a_first_and_a_second_start() {
    let scratch = tempfile::tempdir().unwrap();
    // The scene is drawn once for all runs of the tests.
    let media = Path::new(env!("CARGO_TARGET_TMPDIR")).join("media");
    std::fs::create_dir_all(&media).unwrap();
    std::os::unix::fs::symlink(&media, scratch.path().join("media")).unwrap();

    let demo = Demo::start(scratch.path());
    let (head, page) = demo.get("/");
    assert!(head.to_ascii_lowercase().contains("content-security-policy: default-src 'self'"), "{head}");
    assert!(page.contains("<title>Heldar</title>"));
    let (head, _) = demo.get("/app.js");
    assert!(head.to_ascii_lowercase().contains("content-type: text/javascript"), "{head}");
    let cameras = demo.recording();
    assert_eq!(cameras, ["entrance", "gate", "workshop", "yard"]);
    demo.stop();
    assert!(scratch.path().join("data/demo/heldar.db").is_file());
    assert!(!scratch.path().join("elsewhere").exists());

    // The cameras are found again, wherever their port is now, and so is what was recorded of them.
    let demo = Demo::start(scratch.path());
    assert_eq!(demo.recording(), cameras);
    let timeline = demo.json("/api/v1/cameras/gate/timeline?tolerance_ms=0");
    assert_eq!(timeline["ranges"].as_array().unwrap().len(), 2, "{timeline:#}");
    demo.stop();
}
