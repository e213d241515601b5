//! The front: what happens to every request before and after its route, in one place and one order.
//!
//! Request id, lifecycle, bound per forwarded source, preflight, route; then error body, headers, metrics, log, and over
//! HTTP/2 the rest of the request.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use heldar_base::Clock;
use http_body::{Body as _, Frame, SizeHint};
use tower::ServiceExt as _;
use tracing::Instrument as _;

use crate::caller::{Client, Denial, Edge, Resolver, Scheme, Via};
use crate::error::Report;
use crate::exchange::{Exchange, IdMaker, RequestId};
use crate::headers::{self, Cors, Hsts};
use crate::lifecycle::Lifecycle;
use crate::metrics::{Counter, HttpMetrics, InFlight, Plane};
use crate::pages::Pages;
use crate::rest;
use crate::sources::{Bound, Place, Sources};
use crate::{ApiError, Code, Reason};

/// Root of the API.
pub const API_ROOT: &str = "/api/v1";
/// Carries the request id in both directions.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Paths that are answered in every phase.
const HEALTH_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// What an application is made of besides its routes.
#[derive(Clone)]
pub struct AppConfig {
    /// Turns credentials into principals.
    pub resolver: Arc<dyn Resolver>,
    /// Knows proxies and origins.
    pub edge: Arc<dyn Edge>,
    /// The dashboard's files, where there is a dashboard.
    pub pages: Option<Arc<dyn Pages>>,
    /// Whether work is taken.
    pub lifecycle: Arc<Lifecycle>,
    /// Dates answers.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub metrics: Arc<HttpMetrics>,
    /// Requests that one forwarded source may have at a time (auth-system.md 4.2).
    pub requests_per_source: usize,
    /// Whether browsers are told to come over TLS only.
    pub hsts: Hsts,
}

/// An application: a route table that was built. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    router: axum::Router,
    config: AppConfig,
    ids: IdMaker,
    forwarded: Arc<Sources>,
}

impl App {
    pub(crate) fn new(router: axum::Router, config: AppConfig) -> Result<Self, getrandom::Error> {
        let forwarded = Sources::new(config.requests_per_source, usize::MAX);
        Ok(App(Arc::new(Inner { router, ids: IdMaker::new()?, forwarded, config })))
    }

    pub(crate) fn metrics(&self) -> &Arc<HttpMetrics> {
        &self.0.config.metrics
    }

    pub(crate) fn edge(&self) -> &dyn Edge {
        self.0.config.edge.as_ref()
    }

    /// An id for an answer that no request leads to.
    pub(crate) fn fresh_id(&self) -> RequestId {
        self.0.ids.make()
    }

    /// Answers one request from `peer` over plain HTTP.
    pub async fn call<B>(&self, request: Request<B>, peer: SocketAddr) -> Response
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        self.call_over(Scheme::Http, request, peer).await
    }

    /// Answers one request from `peer` that came over a connection of this kind.
    pub async fn call_over<B>(&self, over: Scheme, request: Request<B>, peer: SocketAddr) -> Response
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let inner = &self.0;
        let metrics = &inner.config.metrics;
        let started = Instant::now();
        let in_flight = metrics.in_flight();
        let mut request = request.map(Body::new);
        let addressed = settle_host(&mut request);
        let mut left = None;
        if request.version() == Version::HTTP_2 && !request.body().is_end_stream() {
            request = request.map(|body| {
                let (lent, rest) = rest::lend(body);
                left = Some(rest);
                lent
            });
        }
        let client = inner.config.edge.client(peer, over, request.headers());
        let exchange = Exchange::new(inner.request_id(&client, request.headers()), client);
        request.extensions_mut().insert(Arc::clone(&exchange));

        let ask = Ask::of(&request, self.edge());
        let span = tracing::info_span!("request", id = exchange.id.as_str(), method = %ask.method);
        let (response, place) = match addressed {
            Ok(()) => inner.answer(&exchange, &ask, request).instrument(span.clone()).await,
            Err(error) => (error.into_response(), None),
        };
        let response = span.in_scope(|| inner.finish(&exchange, &ask, response));
        metrics.answered(exchange.route(), &ask.method, response.status(), started.elapsed());
        let sent = Arc::clone(metrics.sent(Plane::of(&ask.path)));
        let right = exchange.right.get().filter(|_| outlives_its_request(response.body()));
        // An answer that looks after its right itself says so.
        let right = right.filter(|_| response.extensions().get::<Ending>().is_none());
        let ending = right.map(|right| Ending::new(inner.config.resolver.ended(right.clone())));
        let mut response =
            response.map(|body| Body::new(Sent { body, sent, _in_flight: in_flight, _place: place }));
        if let Some(ending) = ending {
            response.extensions_mut().insert(ending);
        }
        if let Some(rest) = left {
            rest.read().await;
        }
        response
    }
}

/// Leaves one `Host` in the request: that of an absolute target (RFC 9112 3.2.2), else the only one (3.2).
fn settle_host(request: &mut Request<Body>) -> Result<(), ApiError> {
    // Without userinfo, which `Host` does not have.
    let host = request.uri().authority().and_then(|authority| authority.as_str().rsplit('@').next());
    match host.map(HeaderValue::from_str) {
        Some(Ok(host)) => {
            request.headers_mut().insert(header::HOST, host);
            Ok(())
        }
        None if request.version() == Version::HTTP_10 => Ok(()),
        None if request.headers().get_all(header::HOST).iter().count() == 1 => Ok(()),
        _ => Err(ApiError::new(Code::Validation, "the request must name one host")),
    }
}

/// What is kept of a request until its answer is there.
struct Ask {
    method: Method,
    path: String,
    cors: Cors,
}

impl Ask {
    fn of(request: &Request<Body>, edge: &dyn Edge) -> Self {
        Ask {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            cors: Cors::of(edge, request.headers()),
        }
    }
}

impl Inner {
    /// A trusted proxy's own id, or a fresh one.
    fn request_id(&self, client: &Client, headers: &HeaderMap) -> RequestId {
        let given = match client.via {
            Via::TrustedProxy => headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok()),
            Via::Direct => None,
        };
        given.and_then(RequestId::from_proxy).unwrap_or_else(|| self.ids.make())
    }

    /// The answer of the route, or of what stands before it.
    async fn answer(
        &self,
        exchange: &Exchange,
        ask: &Ask,
        request: Request<Body>,
    ) -> (Response, Option<Place>) {
        if let Some(code) = self.config.lifecycle.get().refusal()
            && !HEALTH_PATHS.contains(&ask.path.as_str())
        {
            return (ApiError::of(code).into_response(), None);
        }
        let place = match exchange.client.via {
            Via::Direct => None,
            Via::TrustedProxy => match self.forwarded.take(Bound::Source(exchange.client.address)) {
                Some(place) => Some(place),
                None => return (ApiError::of(Code::Busy).into_response(), None),
            },
        };
        if let Some(preflight) = ask.cors.preflight(&ask.method, request.headers()) {
            return (preflight, place);
        }
        let answer = AssertUnwindSafe(self.router.clone().oneshot(request)).catch_unwind();
        let response = match answer.await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(panic) => {
                self.config.metrics.panicked();
                ApiError::internal(panic_text(panic.as_ref())).into_response()
            }
        };
        (response, place)
    }

    /// Writes the error body and the headers that every answer carries.
    fn finish(&self, exchange: &Exchange, ask: &Ask, response: Response) -> Response {
        let (mut parts, mut body) = response.into_parts();
        let report = parts.extensions.remove::<Report>().map(|report| report.0).or_else(|| {
            // An error of a layer that knows nothing of ours.
            let failed = parts.status.is_client_error() || parts.status.is_server_error();
            (failed && !is_json(&parts.headers))
                .then(|| Arc::new(ApiError::of(Code::of_status(parts.status))))
        });
        if let Some(error) = report {
            self.note(exchange, ask, parts.status, &error);
            if matches!(error.code(), Code::Unauthenticated | Code::Forbidden) {
                // The router adds it to every refused method; strangers learn nothing about the path.
                parts.headers.remove(header::ALLOW);
            }
            let text = error.body(exchange.id.as_str());
            parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
            parts.headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
            body = if ask.method == Method::HEAD { Body::empty() } else { Body::from(text) };
        }
        if never_stored(&ask.path) {
            parts.headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        }
        if let Some(cookie) = exchange.cookie.get() {
            parts.headers.append(header::SET_COOKIE, cookie.clone());
        }
        if let Ok(id) = HeaderValue::from_str(exchange.id.as_str()) {
            parts.headers.insert(X_REQUEST_ID, id);
        }
        headers::secure(&mut parts.headers);
        self.config.hsts.announce(exchange.client.scheme, &mut parts.headers);
        ask.cors.open(&mut parts.headers);
        Response::from_parts(parts, body)
    }

    /// Logs and counts a failure, and tells the resolver of a refusal.
    fn note(&self, exchange: &Exchange, ask: &Ask, status: StatusCode, error: &ApiError) {
        let (route, code, cause) = (exchange.route(), error.code().as_str(), error.cause_chain());
        match status.as_u16() {
            500 => tracing::error!(route, code, cause, "{error}"),
            501.. => tracing::warn!(route, code, cause, "{error}"),
            _ => tracing::debug!(route, code, cause, "{error}"),
        }
        let refused = matches!(error.code(), Code::Unauthenticated | Code::Forbidden);
        // A failed sign-in has a trail and a count of its own.
        if refused && error.reason() != Some(Reason::SignInFailed) {
            self.config.metrics.denied(error);
            self.config.resolver.denied(&Denial {
                client: &exchange.client,
                method: ask.method.as_str(),
                route,
                request_id: exchange.id.as_str(),
                reason: error.reason(),
                capability: error.capability(),
                camera: exchange.camera.get().map(String::as_str),
                principal: exchange.principal.get().map(AsRef::as_ref),
            });
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json"))
}

/// Answers that no cache keeps unless their route says otherwise.
fn never_stored(path: &str) -> bool {
    path.starts_with(API_ROOT) || path == "/metrics" || HEALTH_PATHS.contains(&path)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic in a handler: {}", text.unwrap_or("no text"))
}

/// The most that is sent without asking whether the right to it still holds: it leaves at once.
const AT_ONCE: u64 = 64 << 10;

/// Whether a body may take so long that the right to it ends meanwhile.
fn outlives_its_request(body: &Body) -> bool {
    !body.is_end_stream() && body.size_hint().exact().is_none_or(|bytes| bytes > AT_ONCE)
}

/// Rides on a response to its connection: resolves when the right has ended that it stands on. The connection is closed
/// then, or its stream reset, whatever its reader does (auth-system.md 14).
///
/// The front puts it there, for the right that the rule of the route found. A handler whose answer goes on under another
/// right than that, or has last words, puts its own among the extensions of its response.
#[derive(Clone)]
pub struct Ending(Arc<Mutex<Option<BoxFuture<'static, ()>>>>);

impl Ending {
    /// Ends the answer when this resolves.
    pub fn new(ended: BoxFuture<'static, ()>) -> Self {
        Ending(Arc::new(Mutex::new(Some(ended))))
    }

    /// Takes it off a response, for the one who serves it.
    pub(crate) fn of(response: &mut Response) -> Option<BoxFuture<'static, ()>> {
        let ending = response.extensions_mut().remove::<Ending>()?;
        ending.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A body whose bytes are counted, and which keeps the places of its request until it is through.
struct Sent {
    body: Body,
    sent: Arc<Counter>,
    _in_flight: InFlight,
    _place: Option<Place>,
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.sent.add(data.len() as f64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The application that a server answers with; can be exchanged while the server runs, as when recovery is over.
pub struct AppSlot(RwLock<App>);

impl AppSlot {
    /// Begins with an application.
    pub fn new(app: App) -> Arc<Self> {
        Arc::new(AppSlot(RwLock::new(app)))
    }

    /// Answers the requests that begin from now on with another one.
    pub fn replace(&self, app: App) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = app;
    }

    pub(crate) fn get(&self) -> App {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
