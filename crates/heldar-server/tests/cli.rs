//! The commands of the real binary: what they print, and how they end.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

fn heldar(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heldar"));
    command.current_dir(folder).stdin(Stdio::null());
    // Settings of whoever runs the tests are none of theirs.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("HELDAR_")) {
            command.env_remove(name);
        }
    }
    // Tests that run side by side have no port in common.
    command.env("HELDAR_RTSP_PORT", "0");
    command
}

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn usage() {
    let scratch = tempfile::tempdir().unwrap();
    for (arguments, code) in [
        (&["help"][..], 0),
        (&["--help"], 0),
        (&["--version"], 0),
        (&[], 2),
        (&["serv"], 2),
        (&["openapi", "--yaml"], 2),
        (&["serve", "--api-prot", "1"], 2),
        (&["demo", "--api-prot", "1"], 2),
        (&["testcam", "--cameras", "many"], 2),
        (&["testcam", "--profile", "nothing"], 2),
        (&["testcam", "--help"], 0),
    ] {
        let (status, out, err) = run(heldar(scratch.path()).args(arguments));
        assert_eq!(status, Some(code), "{arguments:?}: {err}");
        // What was asked for is output, what went wrong is not.
        assert_eq!((out.is_empty(), err.is_empty()), (code != 0, code == 0), "{arguments:?}");
    }
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn every_command_is_in_the_help() {
    let scratch = tempfile::tempdir().unwrap();
    let (_, help, _) = run(heldar(scratch.path()).arg("help"));
    for command in ["serve", "demo", "doctor", "fsck", "testcam", "openapi", "access-matrix", "help"] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{command} "))), "{command}");
    }
}

/// Runs the doctor on a free port in a folder, with variables.
fn doctor(folder: &Path, variables: &[(&str, &str)]) -> (Option<i32>, Value) {
    let mut command = heldar(folder);
    command.args(["doctor", "--json", "--api-port", "0"]);
    // How full the disk of whoever runs the tests is, is no matter of theirs.
    command.env("HELDAR_MIN_FREE_DISK_GB", "0").envs(variables.iter().copied());
    let (status, out, err) = run(&mut command);
    assert_eq!(err, "");
    (status, serde_json::from_str(&out).unwrap())
}

fn codes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

#[test]
fn a_clean_machine() {
    let scratch = tempfile::tempdir().unwrap();
    let (status, report) = doctor(scratch.path(), &[]);
    assert_eq!(status, Some(0), "{report:#}");
    assert!(report["errors"].as_array().unwrap().is_empty());
    let port = report["settings"].as_array().unwrap().iter().find(|entry| entry["name"] == "HELDAR_API_PORT");
    let port = port.unwrap();
    assert_eq!((&port["value"], &port["source"]), (&"0".into(), &"flag".into()));
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "the doctor writes nothing");
}

#[test]
fn findings() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("file"), "").unwrap();
    std::fs::write(scratch.path().join("text.db"), "not a database").unwrap();
    for (variables, code) in [
        (&[("HELDAR_FRAGMNT_MS", "500")][..], "unknown_variable"),
        (&[("HELDAR_FRAGMENT_MS", "1")], "clamped"),
        (&[("HELDAR_DATA_DIR", "file")], "folder_not_a_folder"),
        (&[("HELDAR_DATABASE_URL", "sqlite:text.db")], "store_not_sqlite"),
        (&[("HELDAR_MIN_FREE_DISK_GB", "100000000")], "floor_above_disk"),
        (&[("HELDAR_VENDOR_TEMPLATES", "gone.json")], "vendor_templates"),
    ] {
        let (status, report) = doctor(scratch.path(), variables);
        assert!(codes(&report).contains(&code), "{variables:?}: {:?}", codes(&report));
        assert_eq!(status, Some(1), "{variables:?}");
    }
}

#[test]
fn start_errors() {
    let scratch = tempfile::tempdir().unwrap();
    let secret = "n0tAkey-n0tAkey";
    let (status, report) =
        doctor(scratch.path(), &[("HELDAR_FRAGMENT_MS", "soon"), ("HELDAR_SECRET_KEY", secret)]);
    assert_eq!(status, Some(2));
    let errors = report["errors"].as_array().unwrap();
    let names: Vec<&str> = errors.iter().map(|error| error["variable"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.contains(&"HELDAR_FRAGMENT_MS") && names.contains(&"HELDAR_SECRET_KEY"));
    assert!(!report.to_string().contains(secret));
    // For people it says the same and ends alike.
    let (status, out, _) = run(heldar(scratch.path()).arg("doctor").env("HELDAR_FRAGMENT_MS", "soon"));
    assert_eq!(status, Some(2));
    assert!(out.contains("HELDAR_FRAGMENT_MS=soon (env)"), "{out}");
}

#[test]
fn a_port_that_is_taken() {
    let scratch = tempfile::tempdir().unwrap();
    // Nobody accepts, so nobody answers: the doctor waits for two seconds at most.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (status, out, _) = run(heldar(scratch.path()).args(["doctor", "--json", "--api-port", &port]));
    assert_eq!(status, Some(1));
    assert!(codes(&serde_json::from_str(&out).unwrap()).contains(&"port_in_use"), "{out}");
}

/// Ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already where the test got that far.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Tells a process something.
fn kill(child: &Child, signal: &str) {
    let told = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(told.success(), "{signal}");
}

/// Waits until the log holds a text, as often as given.
fn said(log: &Path, text: &str, times: usize) {
    let begun = std::time::Instant::now();
    while std::fs::read_to_string(log).unwrap().matches(text).count() < times {
        assert!(begun.elapsed().as_secs() < 20, "{text}: {}", std::fs::read_to_string(log).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_hangup_reads_the_log_filter_and_ends_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let (config, log) = (scratch.path().join("heldar.toml"), scratch.path().join("log"));
    std::fs::write(&config, "log = \"info\"\n").unwrap();
    let mut serve = heldar(scratch.path());
    serve.args(["serve", "--api-port", "0"]).stderr(std::fs::File::create(&log).unwrap());
    let mut server = Running(serve.stdout(Stdio::null()).spawn().unwrap());
    said(&log, "listening on", 1);
    // What a start says of itself: where it listens, and why there.
    said(&log, "this machine only, because access control is off", 1);
    kill(&server.0, "-HUP");
    said(&log, "the log filter was read again", 1);
    std::fs::write(&config, "log = \"nonsense=nonsense\"\n").unwrap();
    kill(&server.0, "-HUP");
    said(&log, "stays as it was", 1);
    kill(&server.0, "-TERM");
    assert!(server.0.wait().unwrap().success());
}

#[test]
fn a_taken_restream_port_is_said_once_and_stops_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let log = scratch.path().join("log");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    let (status, report) = doctor(scratch.path(), &[("HELDAR_RTSP_PORT", &port)]);
    assert!(status == Some(1) && codes(&report).contains(&"port_in_use"), "{report:#}");
    let start = || {
        let mut serve = heldar(scratch.path());
        serve.args(["serve", "--api-port", "0"]).env("HELDAR_RTSP_PORT", &port).stdout(Stdio::null());
        Running(serve.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap())
    };
    let mut server = start();
    said(&log, "no RTSP restream: 127.0.0.1:", 1);
    said(&log, "set HELDAR_RTSP_PORT", 1);
    kill(&server.0, "-TERM");
    assert!(server.0.wait().unwrap().success());
    assert_eq!(std::fs::read_to_string(&log).unwrap().matches("ERROR").count(), 1);
    drop(other);
    let mut server = start();
    said(&log, &format!("RTSP at rtsp://127.0.0.1:{port}/"), 1);
    let (status, report) = doctor(scratch.path(), &[("HELDAR_RTSP_PORT", &port)]);
    assert!(codes(&report).contains(&"server_running"), "{status:?} {report:#}");
    kill(&server.0, "-TERM");
    assert!(server.0.wait().unwrap().success());
}

#[test]
fn a_key_that_does_not_fit_the_store_is_an_error_of_the_configuration() {
    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let scratch = tempfile::tempdir().unwrap();
    let log = scratch.path().join("log");
    let mut serve = heldar(scratch.path());
    serve.args(["serve", "--api-port", "0"]).env("HELDAR_SECRET_KEY", KEY).stdout(Stdio::null());
    let mut server = Running(serve.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap());
    said(&log, "listening on", 1);
    kill(&server.0, "-TERM");
    assert!(server.0.wait().unwrap().success());
    let (status, _, err) = run(heldar(scratch.path()).args(["serve", "--api-port", "0"]));
    assert_eq!(status, Some(2), "{err}");
    assert!(err.contains("HELDAR_SECRET_KEY"), "{err}");
}

/// A clip of colour bars.
fn clip(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("bars.mp4");
    let made = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc=size=320x180:rate=10:duration=4",
            "-c:v",
            "libx264",
        ])
        .args(["-preset", "ultrafast", "-g", "10", "-bf", "0", "-pix_fmt", "yuv420p"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    path
}

#[test]
fn test_cameras_announce_themselves_and_serve_others() {
    let scratch = tempfile::tempdir().unwrap();
    let video = clip(scratch.path());
    let mut command = heldar(scratch.path());
    command.args(["testcam", "--cameras", "2", "--port", "0", "--user", "admin", "--password", "p@ss"]);
    let child = command.arg("--video").arg(&video).stdout(Stdio::piped()).spawn().unwrap();
    let mut running = Running(child);
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let cameras: Vec<Value> =
        (0..2).map(|_| serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()).collect();
    for (camera, name) in cameras.iter().zip(["cam1", "cam2"]) {
        assert_eq!((&camera["camera"], &camera["codec"]), (&name.into(), &"h264".into()));
        let url = camera["url"].as_str().unwrap();
        assert!(!url.contains("p@ss"), "{url}");
        let (status, size) = ffprobe(&url.replacen("rtsp://", "rtsp://admin:p%40ss@", 1));
        assert_eq!((status, size.trim()), (Some(0), "h264,320,180"));
        assert_ne!(ffprobe(url).0, Some(0), "without a password");
    }
    let told = Command::new("kill").args(["-TERM", &running.0.id().to_string()]).status().unwrap();
    assert!(told.success());
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
}

fn ffprobe(url: &str) -> (Option<i32>, String) {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-rtsp_transport", "tcp", "-select_streams", "v"]);
    command.args(["-show_entries", "stream=codec_name,width,height", "-of", "csv=p=0", url]);
    let (status, out, _) = run(&mut command);
    (status, out)
}

#[test]
fn a_missing_ffmpeg_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = heldar(scratch.path());
    command.args(["testcam", "--port", "0"]).env("PATH", scratch.path());
    let (status, _, err) = run(&mut command);
    assert_eq!(status, Some(1));
    assert!(err.contains("ffmpeg") && err.contains("install"), "{err}");
}
