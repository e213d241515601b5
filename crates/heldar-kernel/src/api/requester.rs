//! Who makes a request: what it may see, and the author of what it does.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use heldar_base::{CameraId, Clock as _, Interval};
use heldar_http::{ApiError, Caller, Client, RequestId};

use crate::kernel::Kernel;
use crate::reads::Read;
use crate::registry::Author;

/// Who makes a request that leaves an audit row.
#[derive(Clone, Debug)]
pub struct Requester {
    /// Its rights.
    pub caller: Caller,
    /// The author of its audit rows.
    pub author: Author,
}

impl Kernel {
    /// Somebody downloads footage of a camera: a row for each, at the request for its first bytes.
    pub fn downloaded(&self, author: &Author, camera: &CameraId, window: Interval, headers: &HeaderMap) {
        let goes_on =
            headers.get(header::RANGE).is_some_and(|range| !range.as_bytes().starts_with(b"bytes=0-"));
        if !goes_on {
            self.audit_read(author.read(self.clock.wall(), camera, Read::Download, window));
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Requester {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let client = Client::from_request_parts(parts, state).await?;
        let id = RequestId::from_request_parts(parts, state).await?;
        let user_agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let author = Author::new(caller.principal());
        let author = author.by_request(client.address.to_string(), user_agent, id.as_str());
        Ok(Requester { caller, author })
    }
}
