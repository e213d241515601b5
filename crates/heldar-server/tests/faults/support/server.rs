//! A `heldar serve` of this build, told everything by environment variables.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::http::{self, Answer};
use super::process::Process;
use super::{PATIENCE, now_us, until};

/// Where a server lives: folder, port and settings outlast its processes.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    folder: PathBuf,
    address: SocketAddr,
    variables: BTreeMap<String, String>,
}

impl Place {
    /// A place in a folder that is made.
    pub(crate) fn new(folder: &Path) -> Place {
        std::fs::create_dir_all(folder).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut place = Place {
            folder: folder.to_owned(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            variables: BTreeMap::new(),
        };
        place.set("HELDAR_DATA_DIR", &folder.join("data").display().to_string());
        place.set("HELDAR_API_HOST", "127.0.0.1");
        place.set("HELDAR_API_PORT", &port.to_string());
        // How full the disk of whoever runs the tests is, is no matter of theirs.
        place.set("HELDAR_MIN_FREE_DISK_GB", "0");
        place.set("HELDAR_MOTION_ENABLED", "false");
        place.set("HELDAR_DEFAULT_SEGMENT_SECONDS", "4");
        place
    }

    /// Sets a variable of the next start.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// Its folder of recordings.
    pub(crate) fn recordings(&self) -> PathBuf {
        match self.variables.get("HELDAR_RECORDINGS_DIR") {
            Some(folder) => PathBuf::from(folder),
            None => self.folder.join("data/recordings"),
        }
    }

    /// A command of the binary with the settings of this place.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_heldar"));
        command.arg(name).current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null());
        // Settings of whoever runs the tests are none of theirs.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HELDAR_") {
                command.env_remove(name);
            }
        }
        command.envs(&self.variables);
        command
    }

    /// Starts a server and does not wait.
    pub(crate) fn spawn(&self) -> Server {
        let started = Instant::now();
        let process = Process::start(self.command("serve"), &self.folder.join("serve.log"));
        Server { process, address: self.address, started }
    }

    /// Starts a server and waits until it answers.
    #[track_caller]
    pub(crate) fn start(&self) -> Server {
        let mut server = self.spawn();
        server.ready();
        server
    }

    /// `heldar fsck` finds nothing to complain about, beside a running server or alone.
    #[track_caller]
    pub(crate) fn fsck(&self) {
        let out = self.command("fsck").arg("--json").stdout(Stdio::piped()).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "fsck: {}", String::from_utf8_lossy(&out.stdout));
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    address: SocketAddr,
    started: Instant,
}

impl Server {
    /// What it and those before it in this place have said.
    pub(crate) fn said(&self) -> String {
        self.process.said()
    }

    /// Waits until it answers; the time from its start to that.
    #[track_caller]
    pub(crate) fn ready(&mut self) -> Duration {
        loop {
            // It answers nothing before index and disk agree.
            if self.try_get("/api/v1/cameras?limit=1").is_some_and(|answer| answer.status == 200) {
                return self.started.elapsed();
            }
            if let Some(status) = self.process.ended() {
                panic!("the server ended with {status}: {}", self.process.said());
            }
            assert!(self.started.elapsed() < PATIENCE, "the server does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks; `None` when nobody answers.
    pub(crate) fn try_get(&self, target: &str) -> Option<Answer> {
        http::request(self.address, "GET", target, None).ok()
    }

    /// Sends a request.
    #[track_caller]
    pub(crate) fn send(&self, method: &str, target: &str, body: &Value) -> Answer {
        http::request(self.address, method, target, Some(body)).unwrap()
    }

    /// The body of a GET that succeeds.
    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Value {
        http::request(self.address, "GET", target, None).unwrap().ok()
    }

    /// The answer to a GET, whatever it is.
    #[track_caller]
    pub(crate) fn ask(&self, target: &str) -> Answer {
        http::request(self.address, "GET", target, None).unwrap()
    }

    /// Adds a camera to be recorded at once, with further fields.
    #[track_caller]
    pub(crate) fn add_camera(&self, id: &str, url: &str, further: &Value) {
        let mut body = json!({ "id": id, "name": id, "main_stream_url": url });
        if let (Some(body), Some(further)) = (body.as_object_mut(), further.as_object()) {
            body.extend(further.clone());
        }
        self.send("POST", "/api/v1/cameras", &body).ok();
    }

    /// The status of a camera.
    #[track_caller]
    pub(crate) fn status(&self, camera: &str) -> Value {
        self.get(&format!("/api/v1/cameras/{camera}/health"))
    }

    /// Waits until every camera is recorded.
    #[track_caller]
    pub(crate) fn all_recording(&self) {
        until("every camera to be recorded", || {
            let all = self.get("/api/v1/health/cameras");
            let all = all.as_array().unwrap();
            (!all.is_empty() && all.iter().all(|status| status["state"] == "recording")).then_some(())
        });
    }

    /// Waits until the footage of a camera reaches an instant.
    #[track_caller]
    pub(crate) fn recorded_until(&self, camera: &str, at_us: i64) {
        let target = format!("/api/v1/cameras/{camera}/segments?limit=1");
        until("footage up to an instant", || {
            let newest = self.get(&target);
            let end = super::footage::micros(newest[0]["end_time"].as_str()?);
            (end >= at_us).then_some(())
        });
    }

    /// Waits until the footage of a camera reaches the present instant.
    #[track_caller]
    pub(crate) fn records_now(&self, camera: &str) {
        self.recorded_until(camera, now_us());
    }

    /// Events of a type, oldest first.
    #[track_caller]
    pub(crate) fn events(&self, event_type: &str) -> Vec<Value> {
        let events = self.get(&format!("/api/v1/events?event_type={event_type}&limit=2000"));
        let mut events = events.as_array().unwrap().clone();
        events.reverse();
        events
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait();
    }

    /// SIGTERM; how it ended.
    #[track_caller]
    pub(crate) fn terminate(mut self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.process.wait()
    }

    /// Stops it in order.
    #[track_caller]
    pub(crate) fn stop(self) {
        let status = self.terminate();
        assert_eq!(status.code(), Some(0), "{status}");
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = self.process.wait();
        (status, self.process.said())
    }
}
