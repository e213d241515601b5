//! The example `motion_level` as a process, against a server in the test.

use std::io::Read as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};

use crate::support::{KEY, LEASE, PATIENCE, Reply, Request, Server, captured_at, task, ticket};
use heldar_worker::serde_json::{Value, from_str, json};

const DARK: &[u8] = include_bytes!("../data/dark.jpg");
/// `DARK` with a lit rectangle over a sixth of it.
const LIT: &[u8] = include_bytes!("../data/lit.jpg");

/// The example at work; ended by force if a test fails.
struct Example {
    process: Child,
    /// All that it printed, when it has ended.
    log: Receiver<String>,
}

impl Example {
    fn start(server: &Server) -> Self {
        Self::with(server, &[])
    }

    fn with(server: &Server, more: &[(&str, &str)]) -> Self {
        let mut path = std::env::current_exe().unwrap();
        path.pop();
        path.pop();
        path.push("examples/motion_level");
        let mut process = Command::new(&path)
            .env_clear()
            .env("HELDAR_API", &server.url)
            .env("HELDAR_API_KEY", KEY)
            .env("HELDAR_AI_WORKER_ID", "the worker/1")
            // So rarely that whatever is asked in a test has another reason.
            .env("HELDAR_AI_POLL_INTERVAL", "100")
            .env("HELDAR_HTTP_BACKOFF_BASE", "0.01")
            .env("HELDAR_LOG_LEVEL", "DEBUG")
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error}; `cargo test` without --test builds it", path.display())
            });
        let mut stderr = process.stderr.take().unwrap();
        let (ended, log) = channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            // The test may have failed meanwhile.
            let _ = ended.send(text);
        });
        Self { process, log }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Its status and all that it printed.
    fn ended(&mut self) -> (ExitStatus, String) {
        let log = self.log.recv_timeout(PATIENCE).expect("the worker should have ended");
        (self.process.wait().unwrap(), log)
    }

    fn terminate(mut self) -> (ExitStatus, String) {
        self.signal(rustix::process::Signal::TERM);
        self.ended()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn pulls(requests: &[Request]) -> Vec<&Request> {
    requests.iter().filter(|request| request.is("GET", "/frame")).collect()
}

#[test]
fn results_belong_to_their_frames() {
    let server = Server::new();
    let example = Example::start(&server);
    let first = server.picture(DARK);
    server.until_posts(1);
    let second = server.picture(LIT);
    server.until_posts(2);
    let posts = server.posts();
    let body = |seq, detections: Value| {
        json!({
            "camera_id": "cam_1", "task_type": "motion", "timestamp": captured_at(seq),
            "frame_id": format!("ai_1:{}", captured_at(seq)), "frame_ticket": ticket(seq), "detections": detections,
        })
    };
    assert_eq!(posts[0], body(first, json!([])));
    let share = posts[1]["detections"][0]["confidence"].as_f64().unwrap();
    assert!((0.15..0.25).contains(&share), "{share}");
    let mut expected = body(second, json!([{"label": "motion", "confidence": share}]));
    expected["event"] =
        json!({"event_type": "motion", "severity": "info", "payload": posts[1]["event"]["payload"]});
    assert_eq!(posts[1], expected);

    let requests = server.requests();
    assert!(requests[0].is("POST", "/api/v1/ai/leases"));
    let asked = json!({"worker_id": "the worker/1", "ttl_secs": 300, "task_types": ["motion"]});
    assert_eq!(requests[0].json(), asked);
    assert!(requests.iter().all(|request| request.key.as_deref() == Some(KEY)), "{requests:?}");
    let pulls = pulls(&requests);
    assert!(pulls.iter().all(|pull| pull.value("task") == Some("ai_1")), "{pulls:?}");
    assert_eq!(pulls[1].value("after"), Some("1"));
    assert_eq!(pulls[1].value("wait_ms"), Some("30000"));
    drop(example);
}

#[test]
fn a_server_without_leases_is_asked_for_tasks() {
    let server = Server::new().without_leases();
    let example = Example::with(&server, &[("HELDAR_AI_POLL_INTERVAL", "1")]);
    let seq = server.picture(DARK);
    server.until_posts(1);
    server.until("a second discovery", |requests| {
        requests.iter().filter(|request| request.is("GET", "/api/v1/ai/tasks")).count() >= 2
    });
    let post = server.posts().remove(0);
    assert_eq!(post["frame_id"], json!(format!("ai_1:{}", captured_at(seq))));
    assert_eq!(post.get("frame_ticket"), None);
    let (status, _) = example.terminate();
    assert!(status.success());
    assert_eq!(server.seen("POST", "/ai/leases").len(), 1);
    assert!(server.seen("DELETE", "").is_empty());
    let discoveries = server.seen("GET", "/ai/tasks");
    assert!(discoveries.iter().all(|call| call.value("worker_id") == Some("the%20worker%2F1")));
}

#[test]
fn a_lost_lease_is_renewed_at_once() {
    for (status, text) in [
        (401, "no live lease on the task of this frame"),
        (401, "frame_ticket is invalid or expired"),
        (409, "camera_id does not agree with the ticket"),
    ] {
        let server = Server::new();
        server.instead("POST", "/ai/events", Reply::error(status, text));
        let _example = Example::start(&server);
        server.picture(DARK);
        server.until_posts(2);
        server.until("a second lease", |requests| {
            requests.iter().filter(|request| request.is("POST", "/ai/leases")).count() >= 2
        });
        let requests = server.requests();
        let posts: Vec<usize> =
            (0..requests.len()).filter(|at| requests[*at].is("POST", "/ai/events")).collect();
        let between = &requests[posts[0]..posts[1]];
        let anew = pulls(between);
        assert!(
            anew.len() == 1 && !anew[0].has_query("after"),
            "{text}: the frame was not forgotten: {between:?}"
        );
    }
}

#[test]
fn a_failed_post_is_repeated_with_the_same_body() {
    let server = Server::new();
    for _ in 0..2 {
        server.instead("POST", "/ai/events", Reply::error(503, "database busy; retry shortly"));
    }
    let example = Example::start(&server);
    server.picture(DARK);
    server.until_posts(3);
    server.picture(LIT);
    server.until_posts(4);
    let posts = server.seen("POST", "/ai/events");
    assert_eq!(posts[0].body, posts[1].body);
    assert_eq!(posts[0].body, posts[2].body);
    assert_eq!(posts[3].json()["timestamp"], json!(captured_at(2)));
    drop(example);
}

#[test]
fn a_refused_post_is_not_repeated() {
    let server = Server::new();
    server.instead("POST", "/ai/events", Reply::error(400, "detections[0].bbox: why"));
    let _example = Example::start(&server);
    server.picture(DARK);
    server.until_posts(1);
    server.picture(LIT);
    server.until_posts(2);
    let times: Vec<Value> = server.posts().iter().map(|post| post["timestamp"].clone()).collect();
    assert_eq!(times, [json!(captured_at(1)), json!(captured_at(2))]);
}

#[test]
fn a_broken_picture_costs_its_frame_alone() {
    let server = Server::new();
    let example = Example::start(&server);
    server.picture(&DARK[..DARK.len() / 2]);
    server.until("the pull after the broken picture", |requests| {
        pulls(requests).last().is_some_and(|pull| pull.value("after") == Some("1"))
    });
    server.picture(DARK);
    server.until_posts(1);
    assert_eq!(server.posts()[0]["timestamp"], json!(captured_at(2)));
    let (_, log) = example.terminate();
    assert!(log.contains("the picture cannot be decoded"), "{log}");
}

#[test]
fn a_signal_gives_the_lease_back() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let server = Server::new();
        let mut example = Example::start(&server);
        server.picture(DARK);
        server.until_posts(1);
        // Half a minute would pass until this pull is answered.
        server.until("a pull that waits", |requests| {
            pulls(requests).iter().any(|pull| pull.has_query("after"))
        });
        example.signal(signal);
        let (status, log) = example.ended();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(!log.contains("not finished in time"), "the pull was not cut: {log}");
        let last = server.requests().pop().unwrap();
        assert!(last.is("DELETE", &format!("/api/v1/ai/leases/{LEASE}")), "{last:?}");
    }
}

#[test]
fn a_task_is_started_anew_only_when_it_changed() {
    let server = Server::new().renewed_each(0.5);
    let example = Example::start(&server);
    server.picture(DARK);
    server.until("four leases", |requests| {
        requests.iter().filter(|request| request.is("POST", "/ai/leases")).count() >= 4
    });
    let begun = |requests: &[Request]| pulls(requests).iter().filter(|pull| !pull.has_query("after")).count();
    assert_eq!(begun(&server.requests()), 1);
    let mut changed = task("ai_1", 0.02);
    changed["config"] = json!({"pixel_delta": 50});
    server.set_tasks(vec![changed.clone()]);
    server.until("the task's new beginning", |requests| begun(requests) == 2);
    changed["config"] = json!({"pixel_delta": "much"});
    server.set_tasks(vec![changed]);
    let leases = server.seen("POST", "/ai/leases").len();
    server.until("two more leases", |requests| {
        requests.iter().filter(|request| request.is("POST", "/ai/leases")).count() >= leases + 2
    });
    let (status, log) = example.terminate();
    assert!(status.success() && log.contains("pixel_delta: 0..255 is expected"), "{log}");
}

#[test]
fn the_key_is_in_no_log_line() {
    let server = Server::new();
    // A server that tells too much.
    server.instead("GET", "/frame", Reply::error(403, &format!("the key {KEY} may not see this camera")));
    let hostile = json!([task("ai_1", 2.0), {
        "id": "ai_2", "camera_id": "cam_1", "task_type": "motion", "frame_url": "http://elsewhere.example/frame",
    }]);
    server.set_tasks(hostile.as_array().unwrap().clone());
    let example = Example::with(&server, &[("HELDAR_LOG_FORMAT", "json")]);
    server.picture(DARK);
    server.until_posts(1);
    let (_, log) = example.terminate();
    assert!(!log.contains(KEY), "{log}");
    let lines: Vec<Value> = log.lines().map(|line| from_str(line).unwrap()).collect();
    let told = |text: &str| lines.iter().any(|line| line["message"].as_str().unwrap().contains(text));
    assert!(told("the key *** may not see this camera"), "{log}");
    assert!(told("its frame_url is refused"), "{log}");
}

/// The certificate of the server is the one that the worker is told to trust, or none of those that the system trusts.
#[cfg(feature = "tls")]
#[test]
fn a_server_behind_tls_is_known_by_its_certificate() {
    let (server, certificate) = Server::new().behind_tls();
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("certificate-{}.pem", std::process::id()));
    std::fs::write(&file, certificate).unwrap();
    let example = Example::with(&server, &[("SSL_CERT_FILE", file.to_str().unwrap())]);
    server.picture(DARK);
    server.until_posts(1);
    let (status, log) = example.terminate();
    std::fs::remove_file(&file).unwrap();
    assert!(status.success(), "{log}");
    assert_eq!(server.seen("DELETE", LEASE).len(), 1);

    let (stranger, _) = Server::new().behind_tls();
    let (_, other) = Server::new().behind_tls();
    std::fs::write(&file, other).unwrap();
    let mut example = Example::with(&stranger, &[("SSL_CERT_FILE", file.to_str().unwrap())]);
    stranger.until_refused(2);
    example.signal(rustix::process::Signal::TERM);
    let (_, log) = example.ended();
    std::fs::remove_file(&file).unwrap();
    assert!(log.contains("tasks cannot be asked for") && log.contains("certificate"), "{log}");
    assert!(stranger.requests().is_empty());
}

#[test]
fn a_worker_that_cannot_run_says_why() {
    let server = Server::new();
    let mut example = Example::with(&server, &[("HELDAR_HTTP_TIMEOUT", "soon")]);
    let (status, log) = example.ended();
    assert_eq!(status.code(), Some(2));
    assert_eq!(log, "heldar-worker: HELDAR_HTTP_TIMEOUT: a number of seconds is expected, not \"soon\"\n");
    assert!(server.requests().is_empty());
}
