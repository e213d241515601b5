//! Parameters of the path.

use axum::extract::FromRequestParts;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::{ApiError, Code};

/// The parameters of the path, percent-decoded: one value, a tuple in order, or a struct by name. What cannot be read is
/// 400 `validation` with the parameter as `field`.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Path(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => Err(read(error.into_kind())),
            Err(error) => Err(ApiError::internal(error)),
        }
    }
}

fn read(kind: ErrorKind) -> ApiError {
    let bad = || ApiError::new(Code::Validation, "a part of the path cannot be read");
    match kind {
        ErrorKind::ParseErrorAtKey { key, .. }
        | ErrorKind::DeserializeError { key, .. }
        | ErrorKind::InvalidUtf8InPathParam { key } => bad().with_field(key),
        ErrorKind::ParseErrorAtIndex { .. } | ErrorKind::ParseError { .. } | ErrorKind::Message(_) => bad(),
        // The handler asks for other parameters than its path has.
        kind => ApiError::internal(kind.to_string()),
    }
}
