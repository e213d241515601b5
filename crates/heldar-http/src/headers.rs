//! Headers that every answer carries, and CORS (auth-system.md 4.4, 4.5).

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ORIGIN, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;

use crate::caller::{Edge, Scheme};

/// What a page may load and do: itself, and nothing from outside.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; worker-src 'self' blob:; \
     connect-src 'self'; frame-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'",
);
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const EXPOSED: &str = "X-Request-Id, X-Next-Cursor, Link, Retry-After, ETag, Location";
/// How long a browser may keep the answer to a preflight.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("600");

/// A year.
const TLS_ONLY: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Whether browsers are told to come over TLS only from now on (RFC 6797).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hsts {
    /// They are, for a year. Not with a certificate that browsers do not trust: they would let nobody in any more.
    Announced,
    /// They are not.
    Silent,
}

impl Hsts {
    /// An answer over plain HTTP never says it (RFC 6797 7.2).
    pub(crate) fn announce(self, over: Scheme, headers: &mut HeaderMap) {
        if (self, over) == (Hsts::Announced, Scheme::Https) {
            headers.insert(STRICT_TRANSPORT_SECURITY, TLS_ONLY);
        }
    }
}

/// Sets what all answers carry; a policy that a handler set itself stays.
pub(crate) fn secure(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    headers
        .insert(PERMISSIONS_POLICY, HeaderValue::from_static("camera=(), geolocation=(), microphone=(self)"));
    let page = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/html"));
    if page && !headers.contains_key(CONTENT_SECURITY_POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, PAGE_POLICY);
    }
}

/// What a request says about CORS, kept until its answer is there. Credentials are never allowed to other origins.
pub(crate) struct Cors {
    allowed: Option<HeaderValue>,
}

impl Cors {
    /// Asks once per request.
    pub(crate) fn of(edge: &dyn Edge, request: &HeaderMap) -> Self {
        let origin = request.get(ORIGIN).and_then(|origin| origin.to_str().ok());
        let allowed = origin.and_then(|origin| edge.cors_origin(origin));
        Cors { allowed: allowed.and_then(|value| HeaderValue::from_str(&value).ok()) }
    }

    /// Answers a preflight of an allowed origin; any other OPTIONS request is for the routes.
    pub(crate) fn preflight(&self, method: &Method, request: &HeaderMap) -> Option<Response> {
        if *method != Method::OPTIONS {
            return None;
        }
        let wanted = request.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        self.allowed.as_ref()?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, wanted.clone());
        if let Some(names) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
        Some(response)
    }

    /// Lets an allowed origin read an answer. Caches must know that the answer depends on the origin, allowed or not.
    pub(crate) fn open(&self, headers: &mut HeaderMap) {
        if self.allowed.as_ref().is_none_or(|value| value != "*") {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = &self.allowed else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let mut exposed = EXPOSED.to_owned();
        for name in headers.keys().filter(|name| name.as_str().starts_with("x-frame-")) {
            exposed.push_str(", ");
            exposed.push_str(name.as_str());
        }
        if let Ok(value) = HeaderValue::from_str(&exposed) {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, value);
        }
    }
}
