//! What a handler returns when it cannot answer.
//!
//! Owns: the error value, its sentence, and the JSON body (auth-system.md 5). The body is written in one place, by the
//! front of the application, because only there the request id is known. Never: a cause, path or credential in a body.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use heldar_base::{Capability, IdError, OutOfScope, TimeError, mask_userinfo};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{Code, Reason};

/// A refusal or failure: one sentence for a person, one code for programs, and a cause for the log only.
///
/// Small to return: everything lives behind one pointer.
pub struct ApiError(Box<Inner>);

struct Inner {
    code: Code,
    text: Cow<'static, str>,
    reason: Option<Reason>,
    capability: Option<Capability>,
    field: Option<String>,
    index: Option<usize>,
    details: Map<String, Value>,
    retry_after: Option<u32>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

/// The JSON body of every error.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorBody<'a> {
    /// One sentence for a person: what is wrong, where, and what to do.
    pub(crate) error: &'a str,
    /// What went wrong, for programs; never changes its meaning.
    pub(crate) code: &'a str,
    /// The id under which the server logged the request.
    pub(crate) request_id: &'a str,
    /// A finer reason; may grow.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) reason: Option<&'a str>,
    /// The field to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) field: Option<&'a str>,
    /// The element of a list to blame, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) index: Option<usize>,
    /// More, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, nullable = false)]
    pub(crate) details: Option<&'a Map<String, Value>>,
}

impl ApiError {
    /// An error with a sentence of its own. The sentence holds no credential, no path of the server and no value that
    /// may be one.
    pub fn new(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        ApiError(Box::new(Inner {
            code,
            text: text.into(),
            reason: None,
            capability: None,
            field: None,
            index: None,
            details: Map::new(),
            retry_after: None,
            headers: Vec::new(),
            cause: None,
        }))
    }

    /// An error with the usual sentence of its code.
    pub fn of(code: Code) -> Self {
        ApiError::new(code, code.text())
    }

    /// 400 `validation` about one field.
    pub fn validation(field: impl Into<String>, text: impl Into<Cow<'static, str>>) -> Self {
        ApiError::new(Code::Validation, text).with_field(field)
    }

    /// 401: no credential was sent.
    pub fn no_credential() -> Self {
        ApiError::new(Code::Unauthenticated, "authentication required").with_reason(Reason::NoCredential)
    }

    /// 401: a credential was sent and is bad, expired or revoked.
    pub fn invalid_credential() -> Self {
        ApiError::new(Code::Unauthenticated, "invalid or expired credentials")
            .with_reason(Reason::InvalidCredential)
    }

    /// 401: name and password do not sign in.
    pub fn sign_in_failed() -> Self {
        ApiError::new(Code::Unauthenticated, "invalid credentials").with_reason(Reason::SignInFailed)
    }

    /// 403: a named capability is missing.
    pub fn missing_capability(capability: Capability) -> Self {
        let mut error =
            ApiError::new(Code::Forbidden, format!("missing capability {capability} for this request"))
                .with_reason(Reason::MissingCapability);
        error.0.capability = Some(capability);
        error
    }

    /// 403: what the principal may do reaches only so far; beyond, a named capability is missing.
    pub fn beyond_bounds(capability: Capability, bounds: &str) -> Self {
        let mut error = ApiError::new(
            Code::Forbidden,
            format!("missing capability {capability} for this request: {bounds}"),
        )
        .with_reason(Reason::MissingCapability);
        error.0.capability = Some(capability);
        error
    }

    /// 403: outside the camera scope. The same bytes for foreign and missing things.
    pub fn out_of_scope() -> Self {
        ApiError::new(Code::Forbidden, "outside the camera scope of these credentials")
            .with_reason(Reason::OutOfScope)
    }

    /// 403: a route of the whole box.
    pub fn fleet_only() -> Self {
        ApiError::new(Code::Forbidden, "closed to credentials that are limited to cameras")
            .with_reason(Reason::FleetOnly)
    }

    /// 403: a page of another origin.
    pub fn origin_not_allowed() -> Self {
        ApiError::new(
            Code::Forbidden,
            "a page of another origin may not do this; use the server's own address or send a token",
        )
        .with_reason(Reason::OriginNotAllowed)
    }

    /// 403: access control is off and the request does not count as local (auth-system.md 3.1).
    pub fn open_access_refused() -> Self {
        ApiError::new(
            Code::Forbidden,
            "without access control only direct requests from this machine are served; \
             turn access control on or send a credential",
        )
        .with_reason(Reason::OpenAccessRefused)
    }

    /// 403: the credential holds, but not from this address.
    pub fn address_not_allowed() -> Self {
        ApiError::new(Code::Forbidden, "these credentials may not be used from this address")
            .with_reason(Reason::AddressNotAllowed)
    }

    /// 403: the account has to choose a new password before anything else.
    pub fn password_change_required() -> Self {
        ApiError::new(Code::Forbidden, "choose a new password first (POST /api/v1/auth/password)")
            .with_reason(Reason::PasswordChangeRequired)
    }

    /// 404 for a thing of this kind, such as `camera`.
    pub fn not_found(what: &str) -> Self {
        ApiError::new(Code::NotFound, format!("no such {what}"))
    }

    /// 404 for a window without a single recorded picture.
    pub fn no_footage() -> Self {
        ApiError::of(Code::NoFootage)
    }

    /// 409 for something that exists already.
    pub fn conflict() -> Self {
        ApiError::of(Code::Conflict)
    }

    /// 500 with a cause for the log.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        ApiError::of(Code::Internal).with_cause(cause)
    }

    /// Adds the finer reason.
    #[must_use]
    pub fn with_reason(mut self, reason: Reason) -> Self {
        self.0.reason = Some(reason);
        self
    }

    /// Names the field to blame, such as `zones[2].points`.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Names the element of a list to blame, from 0.
    #[must_use]
    pub fn with_index(mut self, index: usize) -> Self {
        self.0.index = Some(index);
        self
    }

    /// Adds one detail for programs.
    #[must_use]
    pub fn with_detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.details.insert(key.to_owned(), value.into());
        self
    }

    /// Says when to try again, in seconds; at least 1. Every 429 and 503 says 1 without it.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after = Some(seconds.max(1));
        self
    }

    /// Adds a response header, such as the one that clears a stale cookie.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Keeps the cause for the log; it never reaches a client.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// What went wrong, for programs.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The finer reason, when there is one.
    pub fn reason(&self) -> Option<Reason> {
        self.0.reason
    }

    /// The capability that was missing, when that is the reason.
    pub fn capability(&self) -> Option<Capability> {
        self.0.capability
    }

    /// The sentence for a person.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The cause and what caused it, credentials in URLs masked; empty without one.
    pub(crate) fn cause_chain(&self) -> String {
        let mut text = String::new();
        let mut next: Option<&(dyn Error + 'static)> = match &self.0.cause {
            Some(cause) => Some(cause.as_ref()),
            None => None,
        };
        while let Some(error) = next {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&error.to_string());
            next = error.source();
        }
        mask_userinfo(&text)
    }

    /// The body, with the id of the request that failed.
    pub(crate) fn body(&self, request_id: &str) -> Vec<u8> {
        let inner = &self.0;
        let body = ErrorBody {
            error: &inner.text,
            code: inner.code.as_str(),
            request_id,
            reason: inner.reason.map(Reason::as_str),
            field: inner.field.as_deref(),
            index: inner.index,
            details: (!inner.details.is_empty()).then_some(&inner.details),
        };
        serde_json::to_vec(&body).unwrap_or_default()
    }

    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let inner = &self.0;
        let mut headers = inner.headers.clone();
        let retry_after = match inner.code.status() {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                Some(inner.retry_after.unwrap_or(1))
            }
            _ => inner.retry_after,
        };
        if let Some(seconds) = retry_after {
            headers.push((header::RETRY_AFTER, HeaderValue::from(seconds)));
        }
        if inner.code == Code::Unauthenticated {
            let challenge = match inner.reason {
                Some(Reason::InvalidCredential) => r#"Bearer realm="heldar", error="invalid_token""#,
                _ => r#"Bearer realm="heldar""#,
            };
            headers.push((header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge)));
        }
        headers
    }
}

/// Rides on a response until the front of the application writes the body.
#[derive(Clone)]
pub(crate) struct Report(pub(crate) Arc<ApiError>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.code.status();
        for (name, value) in self.headers() {
            response.headers_mut().append(name, value);
        }
        response.extensions_mut().insert(Report(Arc::new(self)));
        response
    }
}

impl fmt::Debug for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiError")
            .field("code", &self.0.code)
            .field("text", &self.0.text)
            .field("field", &self.0.field)
            .field("cause", &self.cause_chain())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl From<OutOfScope> for ApiError {
    fn from(_: OutOfScope) -> Self {
        ApiError::out_of_scope()
    }
}

impl From<IdError> for ApiError {
    fn from(error: IdError) -> Self {
        ApiError::new(Code::Validation, error.to_string())
    }
}

impl From<TimeError> for ApiError {
    fn from(_: TimeError) -> Self {
        ApiError::new(Code::Validation, "a time is RFC 3339 with an offset, such as 2026-01-31T12:00:00Z")
    }
}

impl From<std::io::Error> for ApiError {
    /// Local storage failed; whoever knows better says so before it comes to this.
    fn from(error: std::io::Error) -> Self {
        ApiError::of(Code::StorageError).with_cause(error)
    }
}
