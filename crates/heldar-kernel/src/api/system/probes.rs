//! `/healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use heldar_base::Capability;
use heldar_http::metrics::TextFormat;
use heldar_http::{Access, Code, Doc, Json, Lifecycle, RouteTable};
use serde::Serialize;
use utoipa::ToSchema;

use super::TAG;
use crate::api::Api;
use crate::health::{Readiness, Verdict};

const HEALTHZ: &str = "/healthz";
const READYZ: &str = "/readyz";

/// What is answered while there is no kernel yet.
pub(crate) fn waiting_routes() -> RouteTable<Arc<Lifecycle>> {
    let mut table = RouteTable::new("Heldar", env!("CARGO_PKG_VERSION"));
    table.add(Method::GET, HEALTHZ, Access::public(), healthz, healthz_doc());
    table.add(Method::GET, READYZ, Access::public(), not_ready, readyz_doc());
    table
}

fn healthz_doc() -> Doc {
    Doc::new("healthz", TAG, "Whether the process answers").json::<Alive>(200, "It does.")
}

fn readyz_doc() -> Doc {
    Doc::new("readyz", TAG, "Whether the server does its work")
        .details(
            "Results of background checks that are at most 5 s old; nothing is looked at by the request.",
        )
        .json::<Ready>(200, "It does.")
        .json::<Ready>(503, "It does not, and why.")
}

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table
        .add(Method::GET, HEALTHZ, Access::public(), healthz, healthz_doc())
        .add(Method::GET, READYZ, Access::public(), readyz, readyz_doc())
        .add(
            Method::GET,
            "/metrics",
            Access::fleet(Capability::SystemRead),
            metrics,
            Doc::new("metrics", TAG, "Metrics in the Prometheus text format, OpenMetrics on request")
                .content(200, "text/plain", "The metrics."),
        );
}

/// The process answers.
#[derive(Debug, Serialize, ToSchema)]
struct Alive {
    /// Always `ok`.
    status: &'static str,
}

async fn healthz() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// Whether the server does its work.
#[derive(Debug, Serialize, ToSchema)]
struct Ready {
    /// Whether it does.
    ready: bool,
    /// Why not: `starting`, `shutting_down`, `restoring`, `database`, `disk`, `recorder`, `insufficient_recorders`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<&'static str>,
    /// Share of the wanted cameras that record, in percent; with `insufficient_recorders`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    recording_pct: Option<f64>,
    /// The share that is required; with `insufficient_recorders`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    required_pct: Option<f64>,
    /// Each check; absent while none has been made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    checks: Option<Checks>,
}

/// Each check: `ok`, `off` or `failed`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReadyChecks)]
struct Checks {
    /// The store reads and commits.
    store: &'static str,
    /// The recordings folder can be written.
    disk: &'static str,
    /// Pictures that arrive are recorded.
    recorder: &'static str,
    /// Enough of the wanted cameras record.
    quorum: &'static str,
}

async fn not_ready(State(lifecycle): State<Arc<Lifecycle>>) -> Response {
    let reason = lifecycle.get().refusal().unwrap_or(Code::Starting).as_str();
    let ready =
        Ready { ready: false, reason: Some(reason), recording_pct: None, required_pct: None, checks: None };
    respond(ready)
}

async fn readyz(State(api): State<Api>) -> Response {
    let found = api.health.readiness();
    let lifecycle = api.lifecycle.get().refusal().map(Code::as_str);
    respond(answer(&found, lifecycle, api.settings.health.min_recording_percent))
}

fn respond(ready: Ready) -> Response {
    let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = (status, Json(ready)).into_response();
    if status != StatusCode::OK {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
    }
    response
}

fn answer(found: &Readiness, lifecycle: Option<&'static str>, required: Option<f64>) -> Ready {
    let reason = lifecycle.or_else(|| found.reason());
    let short = reason == Some("insufficient_recorders");
    let name = Verdict::as_str;
    Ready {
        ready: reason.is_none(),
        reason,
        recording_pct: short.then_some(found.recording_percent),
        required_pct: required.filter(|_| short).map(|percent| percent.min(100.0)),
        checks: Some(Checks {
            store: name(found.store),
            disk: name(found.disk),
            recorder: name(found.recorder),
            quorum: name(found.quorum),
        }),
    }
}

async fn metrics(State(api): State<Api>, headers: HeaderMap) -> impl IntoResponse {
    let format = TextFormat::negotiate(&headers);
    api.health.scrape(&api);
    api.watching.scrape();
    api.feed.scrape();
    ([(header::CONTENT_TYPE, format.content_type())], api.metrics.render(format))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(found: Readiness, lifecycle: Option<&'static str>, expect: &Value) {
        let got = serde_json::to_value(answer(&found, lifecycle, Some(80.0))).unwrap();
        for (name, value) in expect.as_object().unwrap() {
            assert_eq!(got.get(name).unwrap_or(&Value::Null), value, "{name} of {got}");
        }
    }

    #[test]
    fn the_lifecycle_comes_first() {
        let ready = Readiness::JUST_STARTED;
        check(ready, None, &json!({ "ready": true, "reason": null, "recording_pct": null }));
        check(ready, Some("shutting_down"), &json!({ "ready": false, "reason": "shutting_down" }));
        let short = Readiness { quorum: Verdict::Failed, recording_percent: 50.0, ..ready };
        let expect = json!({
            "ready": false, "reason": "insufficient_recorders", "recording_pct": 50.0, "required_pct": 80.0,
            "checks": { "store": "ok", "disk": "ok", "recorder": "ok", "quorum": "failed" },
        });
        check(short, None, &expect);
        let lost = Readiness { store: Verdict::Failed, ..short };
        check(lost, None, &json!({ "reason": "database", "recording_pct": null }));
    }
}
