//! Who a request comes from and what it may do, while access control is off; and the server loop around the routes.
//!
//! Owns: the rule that open access is for this machine alone (auth-system.md 3.1, 11.4), and the wiring of the HTTP
//! foundation. Never: a route.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use futures_util::future::BoxFuture;
use heldar_base::Principal;
use heldar_config::{
    ApiSettings, ForwardedHeaders, Forwarding, Origin, OriginVerdict, Settings, TlsMode, client_of,
    counts_as_local, origin_verdict,
};
use heldar_http::metrics::{HttpMetrics, Registry};
use heldar_http::{
    ApiError, App, AppConfig, AuthorisedBy, BuildError, Caller, Client, Denial, Edge, Hsts, Lifecycle, Pages,
    Phase, Resolver, Scheme, Via,
};

use heldar_ingest::SystemClock;

use crate::api;
use crate::kernel::Kernel;

/// Knows proxies and origins from the configuration.
struct ConfiguredEdge {
    api: ApiSettings,
}

impl Edge for ConfiguredEdge {
    fn trusts(&self, peer: IpAddr) -> bool {
        heldar_config::contains(&self.api.trusted_proxies, peer)
    }

    fn client(&self, peer: SocketAddr, over: Scheme, headers: &HeaderMap) -> Client {
        let texts =
            |name: &str| headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>();
        let forwarded = ForwardedHeaders {
            forwarded: texts("forwarded"),
            x_forwarded_for: texts("x-forwarded-for"),
            x_forwarded_proto: texts("x-forwarded-proto"),
            x_forwarded_host: texts("x-forwarded-host"),
        };
        let client = client_of(peer.ip(), &self.api.trusted_proxies, &forwarded);
        let own_host = headers.get("host").and_then(|v| v.to_str().ok()).map(str::to_owned);
        Client {
            peer,
            address: client.address,
            via: if client.peer_is_trusted { Via::TrustedProxy } else { Via::Direct },
            scheme: match client.scheme.as_deref() {
                Some("https") => Scheme::Https,
                Some(_) => Scheme::Http,
                None => over,
            },
            host: client.host.or(own_host),
        }
    }

    fn cors_origin(&self, origin: &str) -> Option<String> {
        self.api.cors.allow_origin(Some(origin))
    }

    fn origin_allowed(&self, client: &Client, headers: &HeaderMap) -> bool {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        let scheme = match client.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let mut own = self.api.own_origins.clone();
        own.extend(client.host.as_deref().and_then(|host| Origin::of_host(scheme, host).ok()));
        let verdict = origin_verdict(&own, &self.api.cors, text("origin"), text("sec-fetch-site"));
        verdict == OriginVerdict::Allowed
    }
}

/// Takes a stale session cookie from the browser (auth-system.md 11.2).
const CLEARED_COOKIE: &str = "heldar_session=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0";

/// What a credential came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Token,
    Cookie,
}

/// The first credential of a request that is not empty (auth-system.md 11.1).
fn credential(headers: &HeaderMap) -> Option<Sent> {
    let texts = |name: &str| headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    let is_sent = |name: &str| texts(name).any(|value| !value.trim_ascii().is_empty());
    if is_sent("authorization") || is_sent("x-api-key") {
        return Some(Sent::Token);
    }
    let mut cookies = texts("cookie").flat_map(|value| value.split(|byte| *byte == b';'));
    let session = cookies.find_map(|cookie| cookie.trim_ascii().strip_prefix(b"heldar_session="))?;
    (!session.is_empty()).then_some(Sent::Cookie)
}

/// Access control is off: this machine is administrator, everybody else is refused unless open access was allowed.
struct OpenAccess {
    open: bool,
    system: Arc<Principal>,
}

impl Resolver for OpenAccess {
    fn resolve<'a>(
        &'a self,
        client: &'a Client,
        request: &'a Parts,
    ) -> BoxFuture<'a, Result<Caller, ApiError>> {
        Box::pin(async move {
            // No credential is valid in this build: one that was sent is a bad one, in every mode.
            match credential(&request.headers) {
                Some(Sent::Token) => return Err(ApiError::invalid_credential()),
                Some(Sent::Cookie) => {
                    let cleared = HeaderValue::from_static(CLEARED_COOKIE);
                    return Err(ApiError::invalid_credential().with_header(header::SET_COOKIE, cleared));
                }
                None => {}
            }
            let forwarding = Forwarding::of_header_names(request.headers.keys().map(|name| name.as_str()));
            let host = request.headers.get("host").and_then(|v| v.to_str().ok());
            if self.open || counts_as_local(client.peer.ip(), forwarding, host) {
                Ok(Caller::new(self.system.clone(), AuthorisedBy::OpenAccess))
            } else {
                Err(ApiError::open_access_refused())
            }
        })
    }

    fn denied(&self, denial: &Denial<'_>) {
        tracing::info!(
            target: "heldar::security",
            address = %denial.client.address,
            method = denial.method,
            route = denial.route,
            request_id = denial.request_id,
            "request refused"
        );
    }
}

/// The application over a running kernel.
///
/// # Errors
/// A defective route table; a defect of the program.
pub fn app(kernel: &Arc<Kernel>, pages: Option<Arc<dyn Pages>>) -> Result<App, BuildError> {
    let config = config(&kernel.settings, kernel.clock, &kernel.metrics, kernel.lifecycle.clone(), pages);
    api::routes().build(kernel.clone(), config)
}

/// The application while there is no kernel yet: `/healthz`, `/readyz`, and 503 `starting` for everything else.
///
/// # Errors
/// As [`app`].
pub fn waiting(settings: &Settings) -> Result<App, BuildError> {
    let lifecycle = Arc::new(Lifecycle::new(Phase::Starting));
    let config = config(settings, SystemClock::new(), &Registry::new(), lifecycle.clone(), None);
    api::system::waiting_routes().build(lifecycle, config)
}

fn config(
    settings: &Settings,
    clock: SystemClock,
    metrics: &Registry,
    lifecycle: Arc<Lifecycle>,
    pages: Option<Arc<dyn Pages>>,
) -> AppConfig {
    let panics = metrics.counter("heldar_panics_total", "Panics caught.");
    AppConfig {
        resolver: Arc::new(OpenAccess { open: settings.access.open, system: Arc::new(Principal::system()) }),
        edge: Arc::new(ConfiguredEdge { api: settings.api.clone() }),
        pages,
        lifecycle,
        clock: Arc::new(clock),
        metrics: Arc::new(HttpMetrics::new(metrics, panics)),
        requests_per_source: 256,
        hsts: if settings.tls.mode() == TlsMode::Files { Hsts::Announced } else { Hsts::Silent },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_credential_that_is_not_empty_counts() {
        for (headers, expect) in [
            (&[][..], None),
            (&[("authorization", "Bearer x")], Some(Sent::Token)),
            (&[("x-api-key", "x"), ("cookie", "heldar_session=y")], Some(Sent::Token)),
            (&[("authorization", " "), ("cookie", "a=b; heldar_session=y")], Some(Sent::Cookie)),
            (&[("cookie", "a=b"), ("cookie", "heldar_session=y")], Some(Sent::Cookie)),
            (&[("cookie", "heldar_session="), ("x-api-key", "")], None),
            (&[("cookie", "my_heldar_session=y")], None),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(credential(&map), expect, "{headers:?}");
        }
    }
}
