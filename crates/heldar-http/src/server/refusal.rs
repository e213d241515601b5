//! Whole answers as bytes, for requests that never become one.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use bytes::Bytes;

use crate::app::{App, X_REQUEST_ID};
use crate::{ApiError, Code, headers};

/// Why no request came out of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Too many connections.
    Crowded,
    /// The head is larger than the limit.
    HeadTooLarge(StatusCode),
    /// The head is no HTTP.
    NotHttp,
    /// HTTP without TLS came to a port that speaks TLS.
    NotTls,
}

impl Refusal {
    /// What hyper means by a status of its own.
    pub(super) fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            413 | 414 | 431 => Refusal::HeadTooLarge(status),
            _ => Refusal::NotHttp,
        }
    }

    fn error(self) -> (StatusCode, ApiError) {
        match self {
            Refusal::Crowded => {
                (StatusCode::SERVICE_UNAVAILABLE, ApiError::new(Code::Busy, "too many connections"))
            }
            Refusal::HeadTooLarge(status) => {
                (status, ApiError::new(Code::TooLarge, "the head of the request is too large"))
            }
            Refusal::NotHttp => (
                StatusCode::BAD_REQUEST,
                ApiError::new(Code::Validation, "the request is not valid HTTP/1.1"),
            ),
            Refusal::NotTls => (
                StatusCode::BAD_REQUEST,
                ApiError::new(Code::Validation, "this port speaks TLS: the address begins with https://"),
            ),
        }
    }

    /// The answer, after which the connection is closed.
    pub(super) fn answer(self, app: &App) -> Bytes {
        let (status, error) = self.error();
        let id = app.fresh_id();
        let body = error.body(id.as_str());
        let mut fields = HeaderMap::new();
        fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            fields.insert(header::RETRY_AFTER, HeaderValue::from(1));
        }
        if let Ok(value) = HeaderValue::from_str(id.as_str()) {
            fields.insert(X_REQUEST_ID, value);
        }
        headers::secure(&mut fields);
        app.metrics().refused(status);

        let mut answer = format!("HTTP/1.1 {status}\r\n").into_bytes();
        for (name, value) in &fields {
            answer.extend_from_slice(name.as_str().as_bytes());
            answer.extend_from_slice(b": ");
            answer.extend_from_slice(value.as_bytes());
            answer.extend_from_slice(b"\r\n");
        }
        answer.extend_from_slice(b"\r\n");
        answer.extend_from_slice(&body);
        answer.into()
    }
}
