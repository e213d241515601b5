//! A receiver on loopback that answers as it is told and remembers what it got.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::sync::Notify;

use crate::PATIENCE;

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The number of the event.
    pub(crate) fn seq(&self) -> i64 {
        self.json()["seq"].as_i64().unwrap_or(-1)
    }
}

/// An answer that is to be given.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    Status(u16),
    With(u16, &'static str, String),
    Body(u16, String),
    /// Nothing, for ever.
    Nothing,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    script: Mutex<VecDeque<Say>>,
    came: Notify,
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    server: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.down();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
    let seen = Seen { method: parts.method, uri: parts.uri, headers: parts.headers, body };
    shared.seen.lock().unwrap().push(seen);
    shared.came.notify_waiters();
    let next = shared.script.lock().unwrap().pop_front();
    let code = |status| StatusCode::from_u16(status).unwrap();
    match next.unwrap_or(Say::Status(200)) {
        Say::Status(status) => code(status).into_response(),
        Say::With(status, name, value) => (code(status), [(name, value)]).into_response(),
        Say::Body(status, text) => (code(status), Body::from(text)).into_response(),
        Say::Nothing => std::future::pending().await,
    }
}

impl Receiver {
    pub(crate) async fn start() -> Receiver {
        let mut receiver =
            Receiver { address: (Ipv4Addr::LOCALHOST, 0).into(), shared: Arc::default(), server: None };
        receiver.up().await;
        receiver
    }

    /// One that is not there yet; its port is nobody's.
    pub(crate) async fn absent() -> Receiver {
        let mut receiver = Receiver::start().await;
        receiver.down();
        receiver
    }

    pub(crate) async fn up(&mut self) {
        let listener = tokio::net::TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let app = axum::Router::new().fallback(answer).with_state(self.shared.clone());
        self.server = Some(tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }));
    }

    pub(crate) fn down(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn says(&self, answers: impl IntoIterator<Item = Say>) {
        self.shared.script.lock().unwrap().extend(answers);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }

    /// The requests, once there are so many.
    pub(crate) async fn wait(&self, count: usize) -> Vec<Seen> {
        let all = async {
            loop {
                let came = self.shared.came.notified();
                let seen = self.seen();
                if seen.len() >= count {
                    return seen;
                }
                // The wait began before the look.
                tokio::pin!(came);
                let _soon = tokio::time::timeout(std::time::Duration::from_millis(50), came).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, all).await;
        waited.unwrap_or_else(|_| panic!("{} of {count} requests came", self.count()))
    }
}
