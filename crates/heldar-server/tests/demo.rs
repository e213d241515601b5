//! `heldar demo`, the real binary: page, cameras and footage of a first start, and what a second one finds.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest time for cameras to be recorded.
const PATIENCE: Duration = Duration::from_secs(30);

/// Stands for the worker that finds objects: says what it is asked, then that it runs, and where its server is.
const WORKER: &str = r#"#!/bin/sh
if [ "$*" = "objects --check" ]; then echo "nanodet: /nowhere.onnx"; exit; fi
echo "$HELDAR_API" >worker-runs
exec sleep 600
"#;
/// The same without a model.
const NO_MODEL: &str = "#!/bin/sh\necho 'no model is there' >&2\nexit 1\n";

/// A demo that runs; ends with the test, however that ends.
struct Demo {
    child: Child,
    address: String,
    said: String,
}

impl Demo {
    /// Starts in a folder, with this as the installed worker, and waits until it has told what there is to see.
    fn start(folder: &Path, worker: &str) -> Demo {
        let mut command = Command::new(program(worker));
        command.current_dir(folder).args(["demo", "--api-port", "0"]);
        // Wherever a server of this machine keeps its footage, the demo does not.
        command.env("HELDAR_DATA_DIR", folder.join("elsewhere")).stdout(Stdio::piped()).stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut said = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            said.push_str(&format!("{line}\n"));
            if line.contains("Ctrl-C stops it") {
                break;
            }
        }
        let Some((_, address)) = said.split_once("open http://") else {
            panic!("the demo ended: {:?}\n{said}", child.wait());
        };
        let address = address.lines().next().unwrap().trim_end_matches('/').to_owned();
        Demo { child, address, said }
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

/// The binary under another name, so that the worker installed beside it is that of the test.
fn program(worker: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo");
    let (binaries, workers) = (folder.join("bin"), folder.join("demo-worker/bin"));
    for folder in [&binaries, &workers] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let (program, script) = (binaries.join("heldar"), workers.join("heldar-worker"));
    let _old = std::fs::remove_file(&program);
    std::fs::hard_link(env!("CARGO_BIN_EXE_heldar"), &program).unwrap();
    std::fs::write(&script, worker).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[test]
fn a_first_and_a_second_start() {
    let scratch = tempfile::tempdir().unwrap();
    // The scene is drawn once for all runs of the tests.
    let media = Path::new(env!("CARGO_TARGET_TMPDIR")).join("media");
    std::fs::create_dir_all(&media).unwrap();
    std::os::unix::fs::symlink(&media, scratch.path().join("media")).unwrap();

    let demo = Demo::start(scratch.path(), WORKER);
    let (head, page) = demo.get("/");
    assert!(head.to_ascii_lowercase().contains("content-security-policy: default-src 'self'"), "{head}");
    assert!(page.contains("<title>Heldar</title>"));
    let (head, _) = demo.get("/app.js");
    assert!(head.to_ascii_lowercase().contains("content-type: text/javascript"), "{head}");
    let cameras = demo.recording();
    let mut expect = vec!["entrance", "gate", "workshop", "yard"];
    if demo.said.contains("Street shows real people") {
        expect.insert(2, "street");
    } else {
        assert!(demo.said.contains("no street footage: "), "{}", demo.said);
    }
    assert_eq!(cameras, expect);
    // The worker runs, and has tasks.
    assert!(demo.said.contains("people and vehicles are found and followed"), "{}", demo.said);
    let runs = scratch.path().join("worker-runs");
    assert_eq!(std::fs::read_to_string(&runs).unwrap().trim(), format!("http://{}", demo.address));
    let tasks = demo.json("/api/v1/ai/tasks");
    let first = if cameras.contains(&"street".to_owned()) { "street" } else { "gate" };
    let mut tasks = tasks.as_array().unwrap().iter();
    let task = tasks.find(|task| task["camera_id"] == first && task["task_type"] == "detection").unwrap();
    assert_eq!(task["stream_profile"], "sub");
    assert_eq!(
        (&task["fps"], &task["width"], &task["config"]["threshold"]),
        (&5.0.into(), &640.into(), &0.4.into())
    );
    demo.stop();
    assert!(scratch.path().join("data/demo/heldar.db").is_file());
    assert!(!scratch.path().join("elsewhere").exists());

    // The cameras are found again, wherever their port is now, and so is what was recorded of them.
    // A worker that is of no use is said, and stops nothing.
    std::fs::remove_file(&runs).unwrap();
    let demo = Demo::start(scratch.path(), NO_MODEL);
    assert!(demo.said.contains("heldar-worker is of no use: no model is there"), "{}", demo.said);
    assert_eq!(demo.recording(), cameras);
    let timeline = demo.json("/api/v1/cameras/gate/timeline?tolerance_ms=0");
    assert_eq!(timeline["ranges"].as_array().unwrap().len(), 2, "{timeline:#}");
    demo.stop();
    assert!(!runs.exists());
}
