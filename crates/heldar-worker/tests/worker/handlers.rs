//! Handlers of a worker in this process, against a server in the test.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::support::{KEY, LEASE, Reply, Server, captured_at, task};
use heldar_worker::serde_json::json;
use heldar_worker::{Detection, Frame, HandlerResult, Settings, Stopper, Task, Worker};

fn settings(server: &Server) -> Settings {
    let mut settings = Settings::default();
    settings.api = server.url.clone();
    settings.api_key = Some(KEY.to_owned());
    settings.backoff_base = std::time::Duration::from_millis(1);
    settings
}

/// A worker at work, told to end with the test.
struct Running {
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(worker: Worker) -> Self {
        let stopper = worker.stopper();
        let thread = std::thread::spawn(move || worker.serve().unwrap());
        Self { stopper, thread: Some(thread) }
    }

    fn stop(mut self) {
        self.stopper.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopper.stop();
    }
}

/// A handler that tells when it is called and goes on when it may.
fn gated() -> (impl FnMut(&Frame) -> HandlerResult<Detection> + Send, Receiver<u64>, Sender<()>) {
    let (called, calls) = channel();
    let (go, gate) = channel::<()>();
    let handler = move |frame: &Frame| {
        called.send(frame.seq().unwrap())?;
        gate.recv()?;
        Ok(Detection::new("seen").attribute("skipped", frame.skipped()))
    };
    (handler, calls, go)
}

#[test]
fn a_slow_handler_skips_frames() {
    let server = Server::new();
    let (handler, calls, go) = gated();
    let running = Running::start(Worker::new(settings(&server)).task("motion", handler));
    server.picture(b"1");
    assert_eq!(calls.recv().unwrap(), 1);
    (2..=5).for_each(|n| assert_eq!(server.picture(b"n"), n));
    go.send(()).unwrap();
    assert_eq!(calls.recv().unwrap(), 5);
    go.send(()).unwrap();
    server.until_posts(2);
    let posts = server.posts();
    assert_eq!(posts[0]["timestamp"], json!(captured_at(1)));
    assert_eq!(posts[1]["timestamp"], json!(captured_at(5)));
    assert_eq!(posts[1]["detections"], json!([{"label": "seen", "attributes": {"skipped": 3}}]));
    running.stop();
}

#[test]
fn unchanged_and_stale_frames_are_skipped() {
    let server = Server::new();
    server.set_tasks(vec![task("ai_1", 5.0)]);
    let frame = |seq: u64, captured: u64, age_ms: u32| Reply {
        status: 200,
        headers: vec![
            ("x-frame-captured-at", captured_at(captured)),
            ("x-frame-age-ms", age_ms.to_string()),
            ("x-frame-seq", seq.to_string()),
        ],
        body: b"j".to_vec(),
    };
    for (seq, captured, age_ms) in [(1, 1, 5), (2, 1, 5), (3, 2, 2001), (4, 3, 1500)] {
        server.instead("GET", "/frame", frame(seq, captured, age_ms));
    }
    let worker = Worker::new(settings(&server)).task_with("motion", |_: &Task| Ok(|_: &Frame| Ok(())));
    let running = Running::start(worker);
    server.until_posts(2);
    running.stop();
    let times: Vec<_> = server.posts().iter().map(|post| post["timestamp"].clone()).collect();
    assert_eq!(times, [json!(captured_at(1)), json!(captured_at(3))]);
    let after: Vec<_> =
        server.seen("GET", "/frame").iter().map(|pull| pull.value("after").map(str::to_owned)).collect();
    assert_eq!(after[..4], [None, Some("1".to_owned()), Some("2".to_owned()), Some("3".to_owned())]);
}

#[test]
fn the_frame_at_hand_is_finished_before_the_end() {
    let server = Server::new();
    let (handler, calls, go) = gated();
    let running = Running::start(Worker::new(settings(&server)).task("motion", handler));
    server.picture(b"1");
    calls.recv().unwrap();
    running.stopper.stop();
    go.send(()).unwrap();
    running.stop();
    let requests = server.requests();
    let [.., post, release] = requests.as_slice() else { panic!("{requests:?}") };
    assert!(post.is("POST", "/ai/events") && post.json()["timestamp"] == json!(captured_at(1)), "{post:?}");
    assert!(release.is("DELETE", LEASE), "{release:?}");
}

#[test]
fn each_task_has_a_handler_of_its_own() {
    let server = Server::new();
    server.set_tasks(vec![task("ai_1", 0.02), task("ai_2", 0.02)]);
    let dropped = Arc::new(Mutex::new(Vec::new()));
    struct Told(String, Arc<Mutex<Vec<String>>>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.1.lock().unwrap().push(std::mem::take(&mut self.0));
        }
    }
    let ends = Arc::clone(&dropped);
    let worker = Worker::new(settings(&server)).task_with("motion", move |task: &Task| {
        let told = Told(task.id.clone(), Arc::clone(&ends));
        let mut frames = 0;
        Ok(move |_: &Frame| {
            frames += 1;
            Ok(Detection::new(told.0.clone()).attribute("frames", frames))
        })
    });
    let running = Running::start(worker);
    server.picture(b"1");
    server.until_posts(2);
    server.picture(b"2");
    server.until_posts(4);
    running.stop();
    let mut seen: Vec<(String, u64)> = server
        .posts()
        .iter()
        .map(|post| {
            let found = &post["detections"][0];
            (found["label"].as_str().unwrap().to_owned(), found["attributes"]["frames"].as_u64().unwrap())
        })
        .collect();
    seen.sort();
    assert_eq!(seen, [("ai_1".into(), 1), ("ai_1".into(), 2), ("ai_2".into(), 1), ("ai_2".into(), 2)]);
    let mut dropped = dropped.lock().unwrap().clone();
    dropped.sort();
    assert_eq!(dropped, ["ai_1", "ai_2"]);
}

#[test]
fn a_handler_that_panics_is_made_anew() {
    let server = Server::new();
    let worker = Worker::new(settings(&server)).task_with("motion", |_: &Task| {
        let mut frames = 0;
        Ok(move |_: &Frame| {
            frames += 1;
            assert!(frames < 2, "a panic that the test wants");
            Ok(())
        })
    });
    let running = Running::start(worker);
    server.picture(b"1");
    server.until_posts(1);
    server.picture(b"2");
    server.until("the pull after the panic", |requests| {
        requests.iter().any(|request| request.is("GET", "/frame") && request.value("after") == Some("2"))
    });
    server.picture(b"3");
    server.until_posts(2);
    let times: Vec<_> = server.posts().iter().map(|post| post["timestamp"].clone()).collect();
    assert_eq!(times, [json!(captured_at(1)), json!(captured_at(3))]);
    running.stop();
}

#[test]
fn a_result_that_no_server_would_take_is_not_sent() {
    let server = Server::new();
    let worker = Worker::new(settings(&server)).task("motion", |frame: &Frame| {
        Ok(match frame.seq() {
            Some(1) => Detection::new("car").bbox([10, 20, 300, 200]),
            _ => Detection::new("car").bbox_in_pixels([10, 20, 300, 200], (1000, 1000)),
        })
    });
    let running = Running::start(worker);
    server.picture(b"1");
    server.until("the pull after the wrong result", |requests| {
        requests.iter().any(|request| request.is("GET", "/frame") && request.value("after") == Some("1"))
    });
    server.picture(b"2");
    server.until_posts(1);
    assert_eq!(server.posts()[0]["detections"], json!([{"label": "car", "bbox": [0.01, 0.02, 0.3, 0.2]}]));
    running.stop();
}

#[test]
fn a_key_is_sent_nowhere_else() {
    let elsewhere = Server::new();
    let server = Server::new();
    let redirect = Reply {
        status: 302,
        headers: vec![("location", format!("{}/api/v1/cameras/cam_1/frame", elsewhere.url))],
        body: Vec::new(),
    };
    server.instead("GET", "/frame", redirect);
    server.set_tasks(vec![task("ai_1", 2.0)]);
    let running = Running::start(Worker::new(settings(&server)).task("motion", |_: &Frame| Ok(())));
    server.picture(b"1");
    server.until_posts(1);
    running.stop();
    assert!(elsewhere.requests().is_empty());
}
