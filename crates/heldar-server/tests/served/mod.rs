//! The real binary as a server in a folder of its own, asked by curl(1).
#![allow(dead_code, reason = "each test binary uses a part")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest time for anything.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The binary, without the settings of whoever runs the tests.
pub(crate) fn heldar(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heldar"));
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("HELDAR_")) {
            command.env_remove(name);
        }
    }
    command.env("HELDAR_RTSP_PORT", "0").env("HELDAR_MIN_FREE_DISK_GB", "0");
    command
}

/// A server, until the test ends, however that ends.
pub(crate) struct Server {
    folder: PathBuf,
    child: Child,
    scheme: &'static str,
    pub(crate) port: u16,
    /// The certificate that the client trusts.
    trusted: Option<PathBuf>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Server {
    /// Over plain HTTP.
    pub(crate) fn start(folder: &Path, variables: &[(&str, &str)]) -> Server {
        Server::begin(folder, variables, "http", None)
    }

    /// Over TLS; the client trusts the certificate of this name in the folder.
    pub(crate) fn over_tls(folder: &Path, variables: &[(&str, &str)], trusted: &str) -> Server {
        Server::begin(folder, variables, "https", Some(folder.join(trusted)))
    }

    fn begin(
        folder: &Path,
        variables: &[(&str, &str)],
        scheme: &'static str,
        trusted: Option<PathBuf>,
    ) -> Server {
        let mut serve = heldar(folder);
        serve.args(["serve", "--api-port", "0", "--api-host", "127.0.0.1"]).envs(variables.iter().copied());
        serve.stderr(File::create(folder.join("log")).unwrap());
        let child = serve.spawn().unwrap();
        let mut server = Server { folder: folder.to_owned(), child, scheme, port: 0, trusted };
        server.port = server.said(&format!("listening on {scheme}://127.0.0.1:"));
        server
    }

    /// Id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// Waits until the log holds a text; the number behind it, or 0.
    pub(crate) fn said(&self, text: &str) -> u16 {
        let begun = Instant::now();
        loop {
            let log = self.log();
            if let Some((_, after)) = log.split_once(text) {
                let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
                return after[..digits].parse().unwrap_or(0);
            }
            assert!(begun.elapsed() < SOON, "{text}: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Status and body of what curl(1) gets; the status is 0 when it trusts or reaches nobody.
    pub(crate) fn curl(&self, arguments: &[&str], path: &str) -> (u16, String) {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "20", "--noproxy", "*", "--write-out", "\n%{http_code}"]);
        if let Some(trusted) = &self.trusted {
            curl.arg("--cacert").arg(trusted);
        }
        let url = format!("{}://localhost:{}{path}", self.scheme, self.port);
        let output = curl.args(arguments).arg(url).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, body) = self.curl(&[], path);
        assert_eq!(status, 200, "{path} {body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) fn stop(mut self) {
        self.signal("-TERM");
        assert!(self.child.wait().unwrap().success(), "{}", self.log());
    }
}
