//! What belongs to one request and its answer: the id, the client, the route that took it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderValue};
use heldar_base::{Principal, PublicId};
use sha2::{Digest, Sha256};

use crate::{ApiError, Client, Right};

/// Longest id that a trusted proxy may hand us.
const MAX_ID_LEN: usize = 64;

/// The id of a request: in the answer, in error bodies, log lines and audit rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The id as text, at most 64 characters of `A-Z a-z 0-9 . _ -`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A proxy's own id, when it has the form of one.
    pub(crate) fn from_proxy(text: &str) -> Option<Self> {
        let ok = (1..=MAX_ID_LEN).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        ok.then(|| RequestId(text.into()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Exchange::of(&parts.extensions).map(|exchange| exchange.id.clone())
    }
}

/// Makes request ids that nobody can foresee, without a system call each.
pub(crate) struct IdMaker {
    key: [u8; 32],
    next: AtomicU64,
}

impl IdMaker {
    /// Draws the key.
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(IdMaker { key, next: AtomicU64::new(0) })
    }

    /// A fresh id, `req_` and 32 hexadecimal digits.
    pub(crate) fn make(&self) -> RequestId {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let digest = Sha256::new().chain_update(self.key).chain_update(n.to_le_bytes()).finalize();
        let bits = digest.iter().take(16).fold(0u128, |bits, byte| (bits << 8) | u128::from(*byte));
        RequestId(PublicId::new("req", bits).to_string().into())
    }
}

/// One request under way. Shared between the front, the guard of the route and the handler's extractors.
pub(crate) struct Exchange {
    pub(crate) id: RequestId,
    pub(crate) client: Client,
    /// Template of the route that took the request; unset while none has.
    pub(crate) route: OnceLock<Arc<str>>,
    /// Text in the place of the camera id, for the audit of refusals.
    pub(crate) camera: OnceLock<String>,
    /// Who it is, once known.
    pub(crate) principal: OnceLock<Arc<Principal>>,
    /// What the answer stands on, once a rule has let the request in.
    pub(crate) right: OnceLock<Right>,
    /// Goes to the browser with the answer.
    pub(crate) cookie: OnceLock<HeaderValue>,
}

impl Exchange {
    pub(crate) fn new(id: RequestId, client: Client) -> Arc<Self> {
        Arc::new(Exchange {
            id,
            client,
            route: OnceLock::new(),
            camera: OnceLock::new(),
            principal: OnceLock::new(),
            right: OnceLock::new(),
            cookie: OnceLock::new(),
        })
    }

    /// The exchange of a request that came through the front.
    pub(crate) fn of(extensions: &Extensions) -> Result<Arc<Exchange>, ApiError> {
        extensions
            .get::<Arc<Exchange>>()
            .cloned()
            .ok_or_else(|| ApiError::internal("a request that did not come through the front"))
    }

    pub(crate) fn route(&self) -> &str {
        self.route.get().map_or("unmatched", |route| route)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_of_proxies() {
        for (text, ok) in
            [("a", true), ("A.b_c-9", true), ("", false), ("a b", false), ("a\"", false), ("ü", false)]
        {
            assert_eq!(RequestId::from_proxy(text).is_some(), ok, "{text}");
        }
        assert!(RequestId::from_proxy(&"x".repeat(64)).is_some());
        assert!(RequestId::from_proxy(&"x".repeat(65)).is_none());
    }

    #[test]
    fn own_ids_differ_and_have_the_form() {
        let maker = IdMaker::new().unwrap();
        let ids: BTreeSet<String> = (0..1000).map(|_| maker.make().as_str().to_owned()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| PublicId::parse("req", id).is_ok()));
    }
}
