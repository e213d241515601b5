//! A server whose callers must identify themselves: the application that is served, called without sockets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Method, Request, header};
use heldar_base::{CameraId, Clock as _, WallTime};
use heldar_http::App;
use heldar_kernel::kernel::Kernel;
use serde_json::{Value, json};

use crate::support::{Answer, start_kernel};
use crate::tape::Tape;

pub(crate) const ADMIN: &str = "Root";
pub(crate) const PASSWORD: &str = "correct horse";
/// Where requests come from unless they say otherwise.
pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const CLOSED: &[(&str, &str)] = &[
    ("HELDAR_AUTH_ENABLED", "true"),
    ("HELDAR_BOOTSTRAP_ADMIN_USER", ADMIN),
    ("HELDAR_BOOTSTRAP_ADMIN_PASSWORD", PASSWORD),
    ("HELDAR_RECORDER_ENABLED", "false"),
    ("HELDAR_AUTH_HASH_CONCURRENCY", "2"),
];

pub(crate) struct House {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) app: App,
    /// Token of the first administrator.
    pub(crate) admin: String,
    folder: tempfile::TempDir,
}

impl House {
    pub(crate) async fn start() -> House {
        House::start_with(&[]).await
    }

    /// With further variables of the environment.
    pub(crate) async fn start_with(env: &[(&str, &str)]) -> House {
        let mut house = House::open(&[CLOSED, env].concat()).await;
        house.admin = house.sign_in(ADMIN, PASSWORD).await;
        house
    }

    /// With these variables alone, and nobody signed in.
    pub(crate) async fn open(env: &[(&str, &str)]) -> House {
        House::open_in(tempfile::tempdir().unwrap(), env).await
    }

    async fn open_in(folder: tempfile::TempDir, env: &[(&str, &str)]) -> House {
        let kernel = start_kernel(folder.path(), env).await;
        let app = heldar_kernel::front::app(&kernel, None).unwrap();
        House { kernel, app, admin: String::new(), folder }
    }

    /// Stops the server in order and starts it again.
    pub(crate) async fn restart(self) -> House {
        self.kernel.stop().await;
        let admin = self.admin;
        House { admin, ..House::open_in(self.folder, CLOSED).await }
    }

    pub(crate) fn now(&self) -> WallTime {
        self.kernel.clock.wall()
    }

    pub(crate) fn call<'a>(&'a self, method: Method, path: &str) -> Call<'a> {
        Call {
            house: self,
            method,
            path: path.to_owned(),
            headers: vec![("host".to_owned(), "nvr.lan".to_owned())],
            body: None,
            from: HERE,
        }
    }

    pub(crate) fn get(&self, path: &str) -> Call<'_> {
        self.call(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str, body: Value) -> Call<'_> {
        self.call(Method::POST, path).json(&body)
    }

    pub(crate) fn patch(&self, path: &str, body: Value) -> Call<'_> {
        self.call(Method::PATCH, path).json(&body)
    }

    pub(crate) fn delete(&self, path: &str) -> Call<'_> {
        self.call(Method::DELETE, path)
    }

    /// An attempt to sign in.
    pub(crate) fn login(&self, username: &str, password: &str) -> Call<'_> {
        self.post("/api/v1/auth/login", json!({ "username": username, "password": password }))
    }

    /// Token of a new sign-in.
    pub(crate) async fn sign_in(&self, username: &str, password: &str) -> String {
        text(&self.login(username, password).ok().await["token"])
    }

    /// What an administrator gets to see.
    pub(crate) async fn see(&self, path: &str) -> Value {
        self.get(path).token(&self.admin).ok().await
    }

    /// Makes a person, whose password is [`PASSWORD`]; its id.
    pub(crate) async fn person(&self, username: &str, fields: Value) -> String {
        let mut body = json!({ "username": username, "password": PASSWORD });
        merge(&mut body, fields);
        text(&self.post("/api/v1/users", body).token(&self.admin).ok().await["id"])
    }

    /// Makes a person and signs it in; its id and its token.
    pub(crate) async fn signed_in(&self, username: &str, fields: Value) -> (String, String) {
        let id = self.person(username, fields).await;
        (id, self.sign_in(username, PASSWORD).await)
    }

    /// What a token or a key stands for.
    pub(crate) fn credential(&self, token: &str) -> heldar_base::Credential {
        let now = heldar_base::Clock::wall(&self.kernel.clock);
        self.kernel.accounts.directory().find(token, now).expect("a token that holds")
    }

    /// Makes a key; its id and its secret.
    pub(crate) async fn key(&self, fields: Value) -> (String, String) {
        let mut body = json!({ "name": "test", "confirm_privileged": true });
        merge(&mut body, fields);
        let made = self.post("/api/v1/api-keys", body).token(&self.admin).ok().await;
        (text(&made["id"]), text(&made["key"]))
    }

    /// Makes a camera without an address.
    pub(crate) async fn camera(&self, id: &str, fields: Value) {
        let mut body = json!({ "id": id, "name": id });
        merge(&mut body, fields);
        self.post("/api/v1/cameras", body).token(&self.admin).ok().await;
    }

    /// Cameras `gate`, and `yard` of the site `south`, each with footage of a minute that began an hour ago.
    pub(crate) async fn furnish(&self) -> WallTime {
        self.post("/api/v1/sites", json!({ "id": "south", "name": "South" })).token(&self.admin).ok().await;
        self.post("/api/v1/sites", json!({ "id": "north", "name": "North" })).token(&self.admin).ok().await;
        self.camera("gate", json!({ "site_id": "north" })).await;
        self.camera("yard", json!({ "site_id": "south" })).await;
        let base = (self.now() - heldar_base::Micros::from_hours(1)).floor_second();
        for camera in ["gate", "yard"] {
            Tape::record(&self.kernel, &CameraId::new(camera).unwrap(), base, 60, 64).await;
        }
        base
    }

    /// Audit rows of an action, newest first.
    pub(crate) async fn audit(&self, action: &str) -> Vec<Value> {
        let path = format!("/api/v1/audit?limit=5000&action={action}");
        self.see(&path).await.as_array().unwrap().clone()
    }
}

/// A request that is about to be made.
pub(crate) struct Call<'a> {
    house: &'a House,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<(String, Vec<u8>)>,
    from: IpAddr,
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| name != "host" || other != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("x-api-key", key)
    }

    pub(crate) fn cookie(self, token: &str) -> Self {
        self.header("cookie", &format!("heldar_session={token}"))
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.text("application/json", &body.to_string())
    }

    pub(crate) fn text(mut self, content_type: &str, body: &str) -> Self {
        self.body = Some((content_type.to_owned(), body.as_bytes().to_vec()));
        self
    }

    pub(crate) fn from(mut self, address: &str) -> Self {
        self.from = address.parse().unwrap();
        self
    }

    pub(crate) async fn send(self) -> Answer {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let body = match self.body {
            None => Body::empty(),
            Some((content_type, bytes)) => {
                request = request.header(header::CONTENT_TYPE, content_type);
                Body::from(bytes)
            }
        };
        let request = request.body(body).unwrap();
        let response = Box::pin(self.house.app.call(request, SocketAddr::new(self.from, 40_000))).await;
        let (parts, body) = response.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
        // An event stream goes on for ever.
        let body = if kind == Some(b"text/event-stream") { Body::empty() } else { body };
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status.as_u16(), headers: parts.headers, bytes }
    }

    /// Sends it, and checks that it succeeds.
    pub(crate) async fn ok(self) -> Value {
        let what = format!("{} {}", self.method, self.path);
        let answer = self.send().await;
        assert!((200..300).contains(&answer.status), "{what}: {} {}", answer.status, answer.json());
        answer.json()
    }

    pub(crate) async fn status(self) -> u16 {
        self.send().await.status
    }

    /// Status, and the reason of a refusal.
    pub(crate) async fn outcome(self) -> (u16, String) {
        let answer = self.send().await;
        (answer.status, reason(&answer))
    }
}

/// The reason of a refusal; empty where there is none.
pub(crate) fn reason(answer: &Answer) -> String {
    answer.json()["reason"].as_str().unwrap_or_default().to_owned()
}

/// The same request answered twice must be the same bytes but for the id of the request.
pub(crate) fn bytes_without_id(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let id = answer.header("x-request-id").unwrap_or_default().to_owned();
    let mut headers: Vec<(String, String)> = answer
        .headers
        .iter()
        .filter(|(name, _)| *name != "x-request-id" && *name != "date")
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("?").to_owned()))
        .collect();
    headers.sort_unstable();
    (answer.status, headers, String::from_utf8_lossy(&answer.bytes).replace(&id, "id"))
}

#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

pub(crate) fn merge(body: &mut Value, fields: Value) {
    let Value::Object(fields) = fields else { panic!("{fields}") };
    body.as_object_mut().unwrap().extend(fields);
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !done().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}: it does not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
