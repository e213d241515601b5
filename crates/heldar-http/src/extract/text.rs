//! Bodies that are text of one content type, such as a session description.

use std::marker::PhantomData;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, header};

use super::json::collect;
use crate::{ApiError, Code};

/// A content type that a route takes.
pub trait TextType: Send + 'static {
    /// Type and subtype, in lower case and without parameters.
    const ESSENCE: &'static str;
    /// Longest body, in bytes.
    const LIMIT_BYTES: usize;
}

/// A body of one content type, as UTF-8.
///
/// Errors: 415 for another content type, 413 past the limit, 400 `validation` for what is no UTF-8 or did not arrive whole.
#[derive(Clone, Debug)]
pub struct Text<T>(pub String, pub PhantomData<T>);

impl<T: TextType, S: Send + Sync> FromRequest<S> for Text<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        if !is(request.headers(), T::ESSENCE) {
            let text = format!("the body must be {}", T::ESSENCE);
            return Err(ApiError::new(Code::UnsupportedMediaType, text));
        }
        let body = collect(request.into_body(), T::LIMIT_BYTES, Code::Validation).await?;
        let text = String::from_utf8(body.into());
        text.map(|text| Text(text, PhantomData)).map_err(|error| {
            ApiError::new(Code::Validation, "the body is not UTF-8").with_cause(error.utf8_error())
        })
    }
}

/// Whether the body is of this type and not compressed.
fn is(headers: &HeaderMap, essence: &str) -> bool {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return false;
    }
    let Some(Ok(value)) = headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str) else { return false };
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(essence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[derive(Debug)]
    struct Sdp;

    impl TextType for Sdp {
        const ESSENCE: &'static str = "application/sdp";
        const LIMIT_BYTES: usize = 8;
    }

    #[tokio::test]
    async fn only_its_own_type_up_to_its_limit() {
        let read = async |content_type: &str, body: &'static [u8]| {
            let request = Request::post("/").header(header::CONTENT_TYPE, content_type);
            let request = request.body(Body::from(body)).unwrap();
            let read = Text::<Sdp>::from_request(request, &()).await;
            read.map(|text| text.0).map_err(|error| error.code().as_str())
        };
        assert_eq!(read("Application/SDP; charset=utf-8", b"v=0\r\n").await.as_deref(), Ok("v=0\r\n"));
        assert_eq!(read("application/json", b"{}").await, Err("unsupported_media_type"));
        assert_eq!(read("application/sdp", b"123456789").await, Err("too_large"));
        assert_eq!(read("application/sdp", b"\xff").await, Err("validation"));
    }
}
