//! How failures below become answers.

use heldar_http::{ApiError, Code};
use heldar_store::{ErrorKind, StoreError};

use crate::footage::FootageError;

/// The answer for a failed store operation.
pub fn store(error: StoreError) -> ApiError {
    let code = match error.kind() {
        ErrorKind::Busy => Code::Busy,
        ErrorKind::Unavailable | ErrorKind::Fenced => Code::StoreUnavailable,
        ErrorKind::Conflict => Code::Conflict,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::InUse => Code::InUse,
        _ => return ApiError::internal("the store failed").with_cause(error),
    };
    ApiError::of(code).with_cause(error)
}

/// The answer for footage that cannot be read.
pub fn footage(error: FootageError) -> ApiError {
    match error {
        FootageError::Store(error) => store(error),
        FootageError::File(_) | FootageError::Damaged(_) => {
            ApiError::of(Code::StorageError).with_cause(error)
        }
    }
}
