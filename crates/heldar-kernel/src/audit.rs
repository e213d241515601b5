//! Audit rows of requests.

use heldar_base::{Clock as _, PublicId};
use heldar_http::{Caller, Client, RequestId};
use heldar_store::{AuditEntry, AuditOutcome};
use serde_json::Value;

use crate::engine::journal::random_bits;
use crate::kernel::Kernel;

/// What a request is remembered by.
#[derive(Clone, Debug)]
pub struct Who {
    /// Its principal.
    pub caller: Caller,
    /// Where it came from.
    pub client: Client,
    /// Its id.
    pub request: RequestId,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Who {
    type Rejection = heldar_http::ApiError;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        state: &S,
    ) -> Result<Self, Self::Rejection> {
        Ok(Who {
            caller: Caller::from_request_parts(parts, state).await?,
            client: Client::from_request_parts(parts, state).await?,
            request: RequestId::from_request_parts(parts, state).await?,
        })
    }
}

impl Kernel {
    /// The row of an action that succeeded. The caller may add `before` and `after`.
    pub fn audit(&self, who: &Who, action: &str, target: (&str, &str), detail: Value) -> AuditEntry {
        let principal = who.caller.principal();
        AuditEntry {
            id: PublicId::new("aud", random_bits()).to_string(),
            actor: principal.id.clone(),
            actor_name: Some(principal.name.clone()),
            role: Some(principal.role.as_str().to_owned()),
            action: action.to_owned(),
            target_type: Some(target.0.to_owned()),
            target_id: Some(target.1.to_owned()),
            detail,
            created_at: self.clock.wall(),
            outcome: AuditOutcome::Ok,
            ip: Some(who.client.address.to_string()),
            user_agent: None,
            request_id: Some(who.request.as_str().to_owned()),
            credential_id: None,
            before: None,
            after: None,
        }
    }
}
