//! Who makes a request, as the author of what it changes.

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use heldar_http::{ApiError, Caller, Client, RequestId};

use crate::registry::Author;

/// The author of a request's changes, for their audit rows.
#[derive(Clone, Debug)]
pub struct Requester(pub Author);

impl<S: Send + Sync> FromRequestParts<S> for Requester {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let client = Client::from_request_parts(parts, state).await?;
        let id = RequestId::from_request_parts(parts, state).await?;
        let user_agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let author = Author::new(caller.principal());
        Ok(Requester(author.by_request(client.address.to_string(), user_agent, id.as_str())))
    }
}
