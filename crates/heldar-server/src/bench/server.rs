//! A `heldar serve` of this build, in a process of its own over a folder of its own.
//!
//! Owns: its settings, which come from nowhere but here, and the requests that several measurements need.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use heldar_config::DecoderSettings;
use rustix::process::Signal;
use serde_json::json;

use super::clips::Clip;
use super::http::Client;
use super::process::{Process, this_program};
use super::usage::Usage;

/// Time that a server has to answer.
const START: Duration = Duration::from_secs(60);
/// Time that cameras have to be recorded, at least, and more of it for each.
const WARM_UP: Duration = Duration::from_secs(60);
const WARM_UP_EACH: Duration = Duration::from_millis(500);
/// Length of recorded files, as in the baseline.
pub(super) const SEGMENT_SECONDS: u32 = 10;

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    process: Process,
    address: SocketAddr,
    /// A client of it.
    pub(super) api: Client,
    /// From starting the process to the first answer.
    pub(super) ready: Duration,
    data: PathBuf,
}

impl Server {
    /// Starts a server whose data lie in `folder`, with further settings, and waits until it answers.
    ///
    /// # Errors
    /// It ends, or does not answer.
    pub(super) async fn start(folder: &Path, settings: &[(&str, &str)]) -> Result<Server, String> {
        let port = free_port()?;
        let data = folder.join("data");
        let config = folder.join("heldar.toml");
        std::fs::write(&config, "").map_err(|error| format!("{}: {error}", config.display()))?;
        let mut command = this_program()?;
        command.arg("serve").current_dir(folder).stdout(Stdio::null());
        // What the operator has set is for the operator's server.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HELDAR_") {
                command.env_remove(name);
            }
        }
        command
            .env("HELDAR_CONFIG", &config)
            .env("HELDAR_DATA_DIR", &data)
            .env("HELDAR_API_HOST", "127.0.0.1")
            .env("HELDAR_API_PORT", port.to_string())
            // Any port, and none: the operator's own server may have the usual ones.
            .env("HELDAR_WEBRTC_UDP_PORT", "0")
            .env("HELDAR_RTSP_PORT", "0")
            // Figures are of what is measured and nothing beside it.
            .env("HELDAR_MOTION_ENABLED", "false")
            .envs(settings.iter().copied());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let begun = Instant::now();
        let mut process = Process::start("heldar serve", &mut command, &folder.join("serve.log"))?;
        let mut api = Client::new(address);
        loop {
            // It answers nothing before index and disk agree.
            match api.get("/api/v1/cameras?limit=1").await {
                Ok(answer) if answer.status == 200 => break,
                Ok(answer) if answer.status != 503 => {
                    return Err(format!("the server answers with status {}", answer.status));
                }
                _ if begun.elapsed() < START => process.check()?,
                Ok(_) => return Err(format!("the server is still starting after {} s", START.as_secs())),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(Server { process, address, api, ready: begun.elapsed(), data })
    }

    /// Its folder of recordings.
    pub(super) fn recordings(&self) -> PathBuf {
        self.data.join("recordings")
    }

    /// A further client of it, with a limit of its own.
    pub(super) fn client(&self, limit: Duration) -> Client {
        Client::new(self.address).patient(limit)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The id of its process.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it uses now.
    ///
    /// # Errors
    /// It has ended.
    pub(super) fn usage(&mut self) -> Result<Usage, String> {
        self.process.usage()
    }

    /// What it and its decoder processes use now.
    ///
    /// # Errors
    /// It has ended.
    pub(super) fn family_usage(&mut self) -> Result<Usage, String> {
        self.process.check()?;
        Usage::of_family(self.process.id())
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// It has ended: why, as far as its log tells.
    pub(super) fn check(&mut self) -> Result<(), String> {
        self.process.check()
    }

    /// Adds a camera for each address, to be recorded at once.
    ///
    /// # Errors
    /// The server refuses one.
    pub(super) async fn add_cameras(&mut self, urls: &[String], clip: &Clip) -> Result<(), String> {
        for (number, url) in urls.iter().enumerate() {
            let id = camera_id(number);
            let body = json!({
                "id": id, "name": id, "main_stream_url": url,
                "segment_seconds": SEGMENT_SECONDS, "record_audio": clip.audio,
            });
            self.api.post("/api/v1/cameras", &body).await?.success()?;
        }
        Ok(())
    }

    /// Adds a camera that nobody pulls: its footage is there already or comes from elsewhere.
    ///
    /// # Errors
    /// The server refuses it.
    pub(super) async fn add_silent_camera(&mut self, id: &str) -> Result<(), String> {
        let body = json!({ "id": id, "name": id, "record_enabled": false, "retention_hours": 8760 });
        self.api.post("/api/v1/cameras", &body).await?.success().map(|_camera| ())
    }

    /// Waits until every camera is recording.
    ///
    /// # Errors
    /// One is not after `limit`: what it says of itself.
    pub(super) async fn all_recording(&mut self, cameras: usize, limit: Duration) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let health = self.api.get("/api/v1/health/cameras").await?.success()?;
            let all = health.as_array().map(Vec::as_slice).unwrap_or_default();
            let waiting: Vec<_> = all.iter().filter(|camera| camera["state"] != "recording").collect();
            if all.len() == cameras && waiting.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > limit {
                let first = waiting.first().map(ToString::to_string).unwrap_or_default();
                return Err(format!("{} of {cameras} cameras do not record: {first}", waiting.len()));
            }
            self.process.check()?;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Kills it, as a crash would end it.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(super) async fn kill(self) -> Result<(), String> {
        self.process.kill().await
    }

    /// Ends it.
    ///
    /// # Errors
    /// It had to be killed, or did not end in order.
    pub(super) async fn stop(self) -> Result<(), String> {
        let status = self.process.stop().await?;
        // A server may answer a moment before it listens to signals; the signal then ends it as it is.
        let by_signal = status.signal() == Some(Signal::TERM.as_raw());
        if status.success() || by_signal { Ok(()) } else { Err(format!("heldar serve: {status}")) }
    }
}

/// The program of decoder processes: the one that is given, or the one beside this program.
///
/// # Errors
/// It is not there.
pub(super) fn decoder(given: Option<&Path>) -> Result<String, String> {
    let path = match given {
        Some(path) => std::path::absolute(path),
        None => std::env::current_exe().map(|own| own.with_file_name(DecoderSettings::PROGRAM)),
    };
    let path = path.map_err(|error| format!("where the decoder program is: {error}"))?;
    match path.to_str() {
        Some(text) if path.is_file() => Ok(text.to_owned()),
        _ => Err(format!(
            "{} is not there: build it (`cargo build --release -p heldar-decoder`) or name it with --decoder",
            path.display()
        )),
    }
}

/// Time that so many cameras have to be recorded.
pub(super) fn warm_up(cameras: u32) -> Duration {
    WARM_UP + WARM_UP_EACH * cameras
}

/// The id of a camera, counted from 0.
pub(super) fn camera_id(number: usize) -> String {
    format!("camera_{number:03}")
}

/// A port of the loopback address that nobody listens on.
fn free_port() -> Result<u16, String> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    listener.and_then(|l| l.local_addr()).map(|a| a.port()).map_err(|error| format!("no free port: {error}"))
}
