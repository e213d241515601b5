//! A server for workers, as small as it can be: tasks, pictures that a test takes, and results that it reads.
//!
//! Owns: the routes of a worker, a record of requests, and answers that a test puts in their place. Waits end with an event
//! or, where none comes, with a panic that tells what was seen.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use heldar_worker::serde_json::{self, Value, json};

pub(crate) const KEY: &str = "vok_0123456789abcdef";
pub(crate) const LEASE: &str = "lse_test";
/// After this a test has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) key: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path.contains(path)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn has_query(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body: body.to_string().into_bytes() }
    }

    pub(crate) fn error(status: u16, text: &str) -> Self {
        Self::json(status, json!({"error": text, "code": "test"}))
    }
}

struct Picture {
    seq: u64,
    jpeg: Vec<u8>,
}

struct State {
    leases: bool,
    tasks: Vec<Value>,
    renew_after: Option<f64>,
    pictures: Vec<Picture>,
    requests: Vec<Request>,
    instead: VecDeque<(&'static str, &'static str, Reply)>,
    /// Connections that ended before their first request.
    refused: usize,
    tls: Option<Wrap>,
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}
type Wrap = Arc<dyn Fn(TcpStream) -> Box<dyn Stream> + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    changed: Arc<Condvar>,
}

/// A task of type `motion`, on a camera of its own.
pub(crate) fn task(id: &str, fps: f64) -> Value {
    json!({
        "id": id, "camera_id": "cam_1", "task_type": "motion", "stream_profile": "sub", "fps": fps, "width": 640,
        "config": {}, "frame_url": "/api/v1/cameras/cam_1/frame?profile=sub",
    })
}

/// When picture `seq` was taken.
pub(crate) fn captured_at(seq: u64) -> String {
    format!("2026-03-04T05:06:{:02}.{:03}+00:00", seq / 1000, seq % 1000)
}

pub(crate) fn ticket(seq: u64) -> String {
    format!("f1.ai_1.{seq}.0.signature")
}

impl Server {
    /// One with a single task, which asks for a frame whenever there is one and waits for it as long as it may.
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = State {
            leases: true,
            tasks: vec![task("ai_1", 0.02)],
            renew_after: None,
            pictures: Vec::new(),
            requests: Vec::new(),
            instead: VecDeque::new(),
            refused: 0,
            tls: None,
        };
        let server = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            state: Arc::new(Mutex::new(state)),
            changed: Arc::default(),
        };
        let serving = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let server = serving.clone();
                std::thread::spawn(move || {
                    let tls = server.state.lock().unwrap().tls.clone();
                    match tls {
                        Some(wrap) => server.connection(wrap(stream)),
                        None => server.connection(Box::new(stream)),
                    }
                });
            }
        });
        server
    }

    /// Without leases, as old servers are.
    pub(crate) fn without_leases(self) -> Self {
        self.state.lock().unwrap().leases = false;
        self
    }

    /// Behind TLS, with a certificate of its own, which is given back as PEM.
    #[cfg(feature = "tls")]
    pub(crate) fn behind_tls(mut self) -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        self.state.lock().unwrap().tls = Some(Arc::new(move |stream| {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            Box::new(rustls::StreamOwned::new(session, stream))
        }));
        self.url = self.url.replace("http:", "https:");
        (self, made.cert.pem())
    }

    /// Has workers renew as often as this.
    pub(crate) fn renewed_each(self, secs: f64) -> Self {
        self.state.lock().unwrap().renew_after = Some(secs);
        self
    }

    /// The camera takes a picture; its number.
    pub(crate) fn picture(&self, jpeg: &[u8]) -> u64 {
        let mut state = self.state.lock().unwrap();
        let seq = state.pictures.last().map_or(1, |picture| picture.seq + 1);
        state.pictures.push(Picture { seq, jpeg: jpeg.to_vec() });
        self.changed.notify_all();
        seq
    }

    pub(crate) fn set_tasks(&self, tasks: Vec<Value>) {
        self.state.lock().unwrap().tasks = tasks;
    }

    /// The next such request is answered so.
    pub(crate) fn instead(&self, method: &'static str, path: &'static str, reply: Reply) {
        self.state.lock().unwrap().instead.push_back((method, path, reply));
    }

    /// Everything that came so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    pub(crate) fn seen(&self, method: &str, path: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.is(method, path)).collect()
    }

    pub(crate) fn posts(&self) -> Vec<Value> {
        self.seen("POST", "/ai/events").iter().map(Request::json).collect()
    }

    /// Waits until what came fulfils a condition.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, condition: impl Fn(&[Request]) -> bool) {
        let state = self.state.lock().unwrap();
        let (state, waited) =
            self.changed.wait_timeout_while(state, PATIENCE, |state| !condition(&state.requests)).unwrap();
        assert!(!waited.timed_out(), "{what} was not seen among {:#?}", state.requests);
    }

    #[track_caller]
    pub(crate) fn until_posts(&self, number: usize) {
        self.until("a result", |requests| {
            requests.iter().filter(|request| request.is("POST", "/ai/events")).count() >= number
        });
    }

    /// Waits until so many connections ended before their first request.
    #[cfg(feature = "tls")]
    #[track_caller]
    pub(crate) fn until_refused(&self, number: usize) {
        let state = self.state.lock().unwrap();
        let enough = |state: &mut State| state.refused < number;
        let (state, waited) = self.changed.wait_timeout_while(state, PATIENCE, enough).unwrap();
        assert!(!waited.timed_out(), "{} connections were refused", state.refused);
    }

    fn connection(&self, stream: Box<dyn Stream>) {
        let mut reader = BufReader::new(stream);
        let mut requests = 0;
        while let Some(request) = read_request(&mut reader) {
            requests += 1;
            let mut state = self.state.lock().unwrap();
            state.requests.push(request.clone());
            self.changed.notify_all();
            let scripted = state.instead.iter().position(|(method, path, _)| request.is(method, path));
            let scripted = scripted.and_then(|at| state.instead.remove(at));
            drop(state);
            let reply = scripted.map_or_else(|| self.answer(&request), |(.., reply)| reply);
            let mut head = format!("HTTP/1.1 {} X\r\ncontent-length: {}\r\n", reply.status, reply.body.len());
            reply.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
            let reply = [head.as_bytes(), b"\r\n", &reply.body].concat();
            if sent(reader.get_mut(), &reply).is_err() {
                return;
            }
        }
        if requests == 0 {
            self.state.lock().unwrap().refused += 1;
            self.changed.notify_all();
        }
    }

    fn answer(&self, request: &Request) -> Reply {
        if request.path.ends_with("/frame") {
            return self.frame(request);
        }
        let state = self.state.lock().unwrap();
        match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/api/v1/ai/leases") if state.leases => {
                let mut lease = json!({"lease_id": LEASE, "worker_id": "w", "tasks": state.tasks});
                lease["renew_after_secs"] = json!(state.renew_after);
                Reply::json(200, lease)
            }
            ("GET", "/api/v1/ai/tasks") => Reply::json(200, json!(state.tasks)),
            ("POST", "/api/v1/ai/events") => {
                Reply::json(200, json!({"detections_ingested": 0, "ticketed": true}))
            }
            ("DELETE", path) if path.ends_with(LEASE) => Reply::json(200, json!({"released": 1})),
            _ => Reply::error(404, "not found"),
        }
    }

    /// The newest picture after `after`, waited for as long as was asked.
    fn frame(&self, request: &Request) -> Reply {
        let number = |name: &str| request.value(name).map_or(0, |value| value.parse().unwrap());
        let (after, wait) = (number("after"), Duration::from_millis(number("wait_ms")));
        let newest = |state: &State| state.pictures.last().map_or(0, |picture| picture.seq);
        let state = self.state.lock().unwrap();
        let (state, _) =
            self.changed.wait_timeout_while(state, wait, |state| newest(state) <= after).unwrap();
        let Some(picture) = state.pictures.last().filter(|picture| picture.seq > after) else {
            return Reply { status: 204, headers: Vec::new(), body: Vec::new() };
        };
        let mut headers = vec![
            ("content-type", "image/jpeg".to_owned()),
            ("x-frame-captured-at", captured_at(picture.seq)),
            ("x-frame-age-ms", "5".to_owned()),
            ("x-frame-seq", picture.seq.to_string()),
            ("x-frame-skipped", (picture.seq - after).saturating_sub(1).to_string()),
        ];
        if state.leases {
            headers.push(("x-frame-ticket", ticket(picture.seq)));
        }
        Reply { status: 200, headers, body: picture.jpeg.clone() }
    }
}

fn sent(stream: &mut dyn Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut request =
        Request { method, path: path.to_owned(), query: query.to_owned(), key: None, body: Vec::new() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => request.body = vec![0; value.trim().parse().ok()?],
            "x-api-key" => request.key = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}
