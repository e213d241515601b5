//! Test cameras in a process of their own, and what they tell of what they sent.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::http;
use super::media::Clip;
use super::process::Process;

/// Running test cameras, `cam1` and on.
pub(crate) struct TestCameras {
    process: Option<Process>,
    http: SocketAddr,
    /// Their addresses.
    pub(crate) urls: Vec<String>,
}

/// One picture that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Its place in the endless row of pictures: loops times length, plus its place in the clip.
    pub(crate) serial: usize,
    pub(crate) at_us: i64,
}

impl TestCameras {
    /// Starts cameras that loop a clip.
    pub(crate) fn start(folder: &Path, count: usize, clip: &Clip) -> TestCameras {
        let mut command = Command::new(env!("CARGO_BIN_EXE_heldar"));
        command.args(["testcam", "--cameras", &count.to_string(), "--port", "0", "--http-port", "0"]);
        command.arg("--video").arg(&clip.path).current_dir(folder).stdout(Stdio::piped());
        let mut process = Process::start(command, &folder.join("testcam.log"));
        let mut lines = BufReader::new(process.child.stdout.take().unwrap()).lines();
        let cameras: Vec<Value> =
            (0..count).map(|_| serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()).collect();
        let http = cameras[0]["http"].as_str().unwrap().trim_start_matches("http://").parse().unwrap();
        let urls = cameras.iter().map(|camera| camera["url"].as_str().unwrap().to_owned()).collect();
        TestCameras { process: Some(process), http, urls }
    }

    /// Adds a fault to a camera, counted from 1: `name` and further parts of a query.
    pub(crate) fn fault(&self, camera: usize, query: &str) {
        let target = format!("/fault/cam{camera}?name={query}");
        http::request(self.http, "POST", &target, None).unwrap().ok();
    }

    /// The newest pictures that a camera sent, oldest first: 500 s of them at most.
    pub(crate) fn sent(&self, camera: usize, clip: &Clip) -> Vec<Sent> {
        let target = format!("/sent/cam{camera}?limit=5000");
        let answer = http::request(self.http, "GET", &target, None).unwrap().ok();
        let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        let sent = answer.as_array().unwrap().iter().rev().map(|picture| Sent {
            serial: number(&picture["loop"]) * clip.pictures + number(&picture["n"]),
            at_us: picture["sent_at_us"].as_i64().unwrap(),
        });
        sent.collect()
    }

    /// Ends them: from now on their port refuses connections.
    pub(crate) fn end(&mut self) {
        drop(self.process.take());
    }
}
