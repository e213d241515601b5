//! What the HTTP layer counts about itself (auth-system.md 7.2).

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};

use super::{Counter, DURATION_BUCKETS, Family, Gauge, Histogram, Registry};
use crate::ApiError;

/// Which part of the server an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plane {
    Api,
    Media,
    Live,
    Web,
}

impl Plane {
    pub(crate) fn of(path: &str) -> Self {
        match path.split('/').nth(1) {
            Some("api" | "metrics" | "healthz" | "readyz" | "internal" | "m") => Plane::Api,
            Some("media") => Plane::Media,
            Some("live") => Plane::Live,
            _ => Plane::Web,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Plane::Api => "api",
            Plane::Media => "media",
            Plane::Live => "live",
            Plane::Web => "web",
        }
    }
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
}

/// The HTTP layer's own metrics, registered once and shared by every application and listener of the process.
pub struct HttpMetrics {
    requests: Arc<Family<Counter, 3>>,
    durations: Arc<Family<Histogram, 2>>,
    in_flight: Arc<Gauge>,
    connections: [Arc<Gauge>; 2],
    sent_bytes: [Arc<Counter>; 4],
    denials: Arc<Family<Counter, 1>>,
    panics: Arc<Counter>,
}

impl HttpMetrics {
    /// Registers them. `panics` is the process's own counter of panics that were caught.
    pub fn new(registry: &Registry, panics: Arc<Counter>) -> Self {
        let sent = registry.counters(
            "heldar_http_sent_bytes_total",
            "Bytes of response bodies handed to connections.",
            ["plane"],
        );
        let connections = registry.gauges("heldar_http_connections", "Open connections.", ["proto"]);
        HttpMetrics {
            requests: registry.counters(
                "heldar_http_requests_total",
                "Answered requests.",
                ["route", "method", "status"],
            ),
            durations: registry.histograms(
                "heldar_http_request_duration_seconds",
                "Time from the head of the request to the head of the answer.",
                ["route", "method"],
                DURATION_BUCKETS,
            ),
            in_flight: registry
                .gauge("heldar_http_requests_in_flight", "Requests whose answer is not yet complete."),
            connections: ["h1", "h2"].map(|proto| connections.with([proto])),
            sent_bytes: [Plane::Api, Plane::Media, Plane::Live, Plane::Web]
                .map(|plane| sent.with([plane.as_str()])),
            denials: registry.counters("heldar_auth_denials_total", "Refused requests.", ["reason"]),
            panics,
        }
    }

    /// Counts an answer whose head is ready.
    pub(crate) fn answered(&self, route: &str, method: &Method, status: StatusCode, took: Duration) {
        let method = method_label(method);
        self.requests.with([route, method, status.as_str()]).inc();
        self.durations.with([route, method]).observe(took.as_secs_f64());
    }

    /// Counts an answer to what never became a request.
    pub(crate) fn refused(&self, status: StatusCode) {
        self.requests.with(["unmatched", "other", status.as_str()]).inc();
    }

    pub(crate) fn denied(&self, error: &ApiError) {
        self.denials.with([error.reason().map_or("other", crate::Reason::as_str)]).inc();
    }

    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }

    pub(crate) fn sent(&self, plane: Plane) -> &Arc<Counter> {
        let [api, media, live, web] = &self.sent_bytes;
        match plane {
            Plane::Api => api,
            Plane::Media => media,
            Plane::Live => live,
            Plane::Web => web,
        }
    }

    /// Counts a request as long as the result lives.
    pub(crate) fn in_flight(&self) -> InFlight {
        InFlight::new(&self.in_flight)
    }

    /// Counts a connection as long as the result lives.
    pub(crate) fn connection(&self, protocol: Protocol) -> InFlight {
        let [h1, h2] = &self.connections;
        InFlight::new(match protocol {
            Protocol::H1 => h1,
            Protocol::H2 => h2,
        })
    }
}

/// One in a gauge, until dropped.
pub(crate) struct InFlight(Arc<Gauge>);

impl InFlight {
    fn new(gauge: &Arc<Gauge>) -> Self {
        gauge.add(1.0);
        InFlight(Arc::clone(gauge))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.add(-1.0);
    }
}

/// The known methods; whatever a client makes up is `other`, so that it makes no series of its own.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
