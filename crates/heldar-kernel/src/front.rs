//! Who a request comes from and what it may do; and the server loop around the routes.
//!
//! Owns: which credential of a request counts, the cookies, the rule that open access is for this machine alone
//! (auth-system.md 3.1, 11), and the wiring of the HTTP foundation. Never: a route, a right.

mod refusals;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use futures_util::future::BoxFuture;
use heldar_access::{Refused, bearer};
use heldar_base::{Clock as _, Credential, Micros, Principal, WallTime};
use heldar_config::{
    ApiSettings, ForwardedHeaders, Forwarding, Origin, OriginVerdict, Settings, Tier, TlsMode, client_of,
    counts_as_local, origin_verdict,
};
use heldar_http::metrics::{HttpMetrics, Registry};
use heldar_http::{
    ApiError, App, AppConfig, AuthorisedBy, BuildError, Caller, Client, Code, Denial, Edge, Hsts, Lifecycle,
    Pages, Phase, Reason, Resolver, Right, Scheme, Via,
};

use heldar_ingest::SystemClock;

pub(crate) use refusals::Refusals;

use crate::api;
use crate::kernel::Kernel;
use crate::live::{LiveName, TokenFault};

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

/// Name of the session cookie.
pub(crate) const SESSION_COOKIE: &str = "heldar_session";

/// A cookie that browsers send to their own origin only, and show to no script (auth-system.md 11.2).
pub(crate) fn cookie(name: &str, value: &str, path: &str, max_age: Micros, secure: bool) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let seconds = max_age.0.max(0) / 1_000_000;
    let text = format!("{name}={value}; HttpOnly; SameSite=Strict; Path={path}; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Takes a stale session cookie from the browser.
pub(crate) fn cleared_cookie() -> HeaderValue {
    cookie(SESSION_COOKIE, "", "/", Micros::ZERO, false)
}

/// What a credential came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Token,
    Cookie,
}

/// The values of a cookie of this name, in all the places where one may stand.
pub(crate) fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let lists = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| heldar_access::cookies(list, name))
}

/// Every token that a request carries, in the order in which they count (auth-system.md 11.1).
fn credentials(headers: &HeaderMap) -> Vec<(Sent, &str)> {
    // What is no text is no token, and still shows that one was sent.
    let texts = |name: &str| {
        let values = headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or("?").trim());
        values.filter(|text| !text.is_empty()).collect::<Vec<_>>()
    };
    let bearers = texts("authorization").into_iter().map(|text| (Sent::Token, bearer(text)));
    let keys = texts("x-api-key").into_iter().map(|text| (Sent::Token, text));
    let sessions = cookies(headers, SESSION_COOKIE).map(|text| (Sent::Cookie, text));
    bearers.chain(keys).chain(sessions).collect()
}

/// Every token in the three places, for a sign-out that ends them all.
pub(crate) fn all_tokens(headers: &HeaderMap) -> Vec<String> {
    credentials(headers).into_iter().map(|(_, token)| token.to_owned()).collect()
}

/// Paths that answer somebody who has to choose a password first.
const BEFORE_PASSWORD: [&str; 3] = ["/api/v1/auth/me", "/api/v1/auth/password", "/api/v1/auth/logout"];

/// Knows who asks: by token, by cookie, by live token; or nobody in particular, while access control is off.
struct Doorkeeper {
    kernel: Arc<Kernel>,
    open: bool,
    system: Arc<Principal>,
    /// When a key that a stricter tier would limit was last told of.
    warned: Mutex<HashMap<String, WallTime>>,
}

/// Rest between two warnings about a key.
const WARN_AGAIN: Micros = Micros::from_secs(3600);

impl Doorkeeper {
    fn by_token(&self, sent: Sent, token: &str, client: &Client) -> Result<Caller, ApiError> {
        let accounts = &self.kernel.accounts;
        let (resolved, prolonged) = accounts.resolve(token, client.address).map_err(|why| {
            let error = refused(why);
            if sent == Sent::Cookie { error.with_header(header::SET_COOKIE, cleared_cookie()) } else { error }
        })?;
        if resolved.would_lose {
            self.warn(&resolved.principal);
        }
        let by = if sent == Sent::Cookie { AuthorisedBy::Cookie } else { AuthorisedBy::Token };
        let caller = Caller::new(resolved.principal, by);
        let caller = if resolved.must_change_password { caller.only(&BEFORE_PASSWORD) } else { caller };
        Ok(match (sent, prolonged) {
            (Sent::Cookie, Some(until)) => {
                let left = until - self.kernel.clock.wall();
                let secure = self.secure(client);
                caller.with_cookie(cookie(SESSION_COOKIE, token, "/", left, secure))
            }
            _ => caller,
        })
    }

    fn secure(&self, client: &Client) -> bool {
        self.kernel.accounts.settings().cookie_secure || client.scheme == Scheme::Https
    }

    /// The one kind of token that may stand in an address: it opens one live view and nothing else.
    fn by_live_token(
        &self,
        token: &str,
        name: &LiveName,
        client: &Client,
    ) -> Result<Option<Caller>, ApiError> {
        let watching = &self.kernel.watching;
        let credential = match watching.tokens.check(token, name) {
            Ok(credential) => credential,
            // What a token has opened goes on when its time is over (media.md 11.2).
            Err(TokenFault::Expired(credential)) if watching.hls.knows(name, client.address, token) => {
                credential
            }
            Err(_) => return Err(ApiError::invalid_credential()),
        };
        match &credential {
            Credential::Nothing if self.kernel.accounts.required() => Err(ApiError::invalid_credential()),
            Credential::Nothing => Ok(None),
            Credential::Session(_) | Credential::Key(_) => {
                let resolved = self.kernel.accounts.resolve_credential(&credential, client.address);
                let resolved = resolved.map_err(refused)?;
                let caller = Caller::new(resolved.principal, AuthorisedBy::Token);
                Ok(Some(if resolved.must_change_password { caller.only(&BEFORE_PASSWORD) } else { caller }))
            }
        }
    }

    fn find(&self, client: &Client, request: &Parts) -> Result<Caller, ApiError> {
        if let Some((sent, token)) = credentials(&request.headers).into_iter().next() {
            return self.by_token(sent, token, client);
        }
        if let Some((name, token)) = live_token(request.uri.path(), request.uri.query())
            && let Some(caller) = self.by_live_token(&token, &name, client)?
        {
            return Ok(caller);
        }
        if self.kernel.accounts.required() {
            return Err(ApiError::no_credential());
        }
        let forwarding = Forwarding::of_header_names(request.headers.keys().map(|name| name.as_str()));
        let host = request.headers.get("host").and_then(|v| v.to_str().ok());
        if self.open || counts_as_local(client.peer.ip(), forwarding, host) {
            Ok(Caller::new(self.system.clone(), AuthorisedBy::OpenAccess))
        } else {
            Err(ApiError::open_access_refused())
        }
    }

    /// Says what the stricter tier would take from a key, at most once an hour for each.
    fn warn(&self, principal: &Principal) {
        let now = self.kernel.clock.wall();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let due = warned.get(&principal.id).is_none_or(|at| now - *at >= WARN_AGAIN);
        if !due || self.kernel.settings.access.machine_auth != Tier::Warn {
            return;
        }
        warned.insert(principal.id.clone(), now);
        let lost = self.kernel.accounts.directory().lost_by(principal.role);
        let lost: Vec<&str> = lost.iter().map(|capability| capability.as_str()).collect();
        tracing::warn!(
            target: "heldar::security",
            key = principal.name,
            id = principal.id,
            "HELDAR_MACHINE_AUTH=enforce would take from this key: {}; give it explicit capabilities",
            lost.join(", ")
        );
    }
}

/// The live view that a path is about, and the token in its query.
fn live_token(path: &str, query: Option<&str>) -> Option<(LiveName, String)> {
    let mut parts = path.strip_prefix("/live/")?.split('/');
    let (_transport, name) = (parts.next()?, parts.next()?);
    let name = percent_encoding::percent_decode_str(name).decode_utf8().ok()?;
    let token = url::form_urlencoded::parse(query?.as_bytes()).find(|(key, _)| key == "token")?.1;
    Some((LiveName::parse(&name)?, token.into_owned()))
}

fn refused(why: Refused) -> ApiError {
    match why {
        Refused::Invalid => ApiError::invalid_credential(),
        Refused::Address => ApiError::address_not_allowed(),
    }
}

impl Resolver for Doorkeeper {
    fn resolve<'a>(
        &'a self,
        client: &'a Client,
        request: &'a Parts,
    ) -> BoxFuture<'a, Result<Caller, ApiError>> {
        Box::pin(std::future::ready(self.find(client, request)))
    }

    fn denied(&self, denial: &Denial<'_>) {
        tracing::info!(
            target: "heldar::security",
            address = %denial.client.address,
            method = denial.method,
            route = denial.route,
            reason = denial.reason.map_or("", Reason::as_str),
            request_id = denial.request_id,
            "request refused"
        );
        if let Some(row) = self.kernel.refusals.note(self.kernel.clock.wall(), denial) {
            self.kernel.audit(row);
        }
    }

    fn ended(&self, right: Right) -> BoxFuture<'static, ()> {
        let accounts = self.kernel.accounts.clone();
        Box::pin(async move {
            accounts.ended(right).await;
        })
    }
}

/// There is no kernel yet: nobody is known.
struct NobodyYet;

impl Resolver for NobodyYet {
    fn resolve<'a>(
        &'a self,
        _client: &'a Client,
        _request: &'a Parts,
    ) -> BoxFuture<'a, Result<Caller, ApiError>> {
        Box::pin(std::future::ready(Err(ApiError::of(Code::Starting))))
    }

    fn denied(&self, _denial: &Denial<'_>) {}

    fn ended(&self, _right: Right) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

/// The application over a running kernel.
///
/// # Errors
/// A defective route table; a defect of the program.
pub fn app(kernel: &Arc<Kernel>, pages: Option<Arc<dyn Pages>>) -> Result<App, BuildError> {
    let doorkeeper = Arc::new(Doorkeeper {
        kernel: kernel.clone(),
        open: kernel.settings.access.open,
        system: Arc::new(Principal::system()),
        warned: Mutex::default(),
    });
    let (settings, lifecycle) = (&kernel.settings, kernel.lifecycle.clone());
    let config = config(settings, doorkeeper, kernel.clock, &kernel.metrics, lifecycle, pages);
    api::routes_with(&*kernel.apps).build(kernel.clone(), config)
}

/// The application while there is no kernel yet: `/healthz`, `/readyz`, and 503 `starting` for everything else.
///
/// # Errors
/// As [`app`].
pub fn waiting(settings: &Settings) -> Result<App, BuildError> {
    let lifecycle = Arc::new(Lifecycle::new(Phase::Starting));
    let config =
        config(settings, Arc::new(NobodyYet), SystemClock::new(), &Registry::new(), lifecycle.clone(), None);
    api::system::waiting_routes().build(lifecycle, config)
}

fn config(
    settings: &Settings,
    resolver: Arc<dyn Resolver>,
    clock: SystemClock,
    metrics: &Registry,
    lifecycle: Arc<Lifecycle>,
    pages: Option<Arc<dyn Pages>>,
) -> AppConfig {
    let panics = metrics.counter("heldar_panics_total", "Panics caught.");
    AppConfig {
        resolver,
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
            (&[][..], &[][..]),
            (&[("authorization", "Bearer x")], &[(Sent::Token, "x")]),
            (&[("authorization", "bearer  x ")], &[(Sent::Token, "x")]),
            (&[("authorization", "Basic eA==")], &[(Sent::Token, "Basic eA==")]),
            (
                &[("x-api-key", "x"), ("cookie", "heldar_session=y")],
                &[(Sent::Token, "x"), (Sent::Cookie, "y")],
            ),
            (&[("authorization", " "), ("cookie", "a=b; heldar_session=y")], &[(Sent::Cookie, "y")]),
            (&[("cookie", "a=b"), ("cookie", "heldar_session=y")], &[(Sent::Cookie, "y")]),
            (&[("x-api-key", "x"), ("authorization", "Bearer y")], &[(Sent::Token, "y"), (Sent::Token, "x")]),
            (&[("cookie", "heldar_session="), ("x-api-key", "")], &[]),
            (&[("cookie", "my_heldar_session=y; heldar_session_x=z")], &[]),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(credentials(&map), expect, "{headers:?}");
        }
    }

    #[test]
    fn cookies_are_made() {
        let hour = Micros::from_secs(3600);
        assert_eq!(
            cookie("heldar_session", "vos_1", "/", hour, true),
            "heldar_session=vos_1; HttpOnly; SameSite=Strict; Path=/; Max-Age=3600; Secure"
        );
        assert_eq!(cleared_cookie(), "heldar_session=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
    }

    #[test]
    fn tokens_stand_in_addresses_of_live_views_only() {
        for (path, query, expect) in [
            ("/live/ws/cam_gate", Some("token=a%2Bb"), Some(("cam_gate", "a+b"))),
            ("/live/hls/cam_gate.sub/index.m3u8", Some("x=1&token=t"), Some(("cam_gate.sub", "t"))),
            ("/live/hls/cam%5Fgate/index.m3u8", Some("token=t"), Some(("cam_gate", "t"))),
            ("/live/ws/cam_gate", None, None),
            ("/live/ws", Some("token=t"), None),
            ("/live/ws/gate", Some("token=t"), None),
            ("/api/v1/cameras", Some("token=t"), None),
        ] {
            let found = live_token(path, query);
            let found = found.as_ref().map(|(name, token)| (name.to_string(), token.as_str()));
            assert_eq!(
                found.as_ref().map(|(name, token)| (name.as_str(), *token)),
                expect,
                "{path} {query:?}"
            );
        }
    }
}
