//! Who makes a change, for its audit row.

use heldar_access::Person;
use heldar_base::{Principal, PublicId, Role, WallTime, mask_userinfo};
use heldar_store::{AuditEntry, AuditOutcome};
use serde_json::Value;

use crate::engine::journal::random_bits;

/// Who makes a change, and by which request.
#[derive(Clone, Debug)]
pub struct Author {
    actor: String,
    actor_name: Option<String>,
    role: Option<&'static str>,
    credential: Option<String>,
    ip: Option<String>,
    user_agent: Option<String>,
    request_id: Option<String>,
}

/// What an audited action was done to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Its kind, such as `camera`.
    pub kind: &'static str,
    /// Its id.
    pub id: &'a str,
}

impl Author {
    /// Longest name of a client's program that is kept.
    const MAX_USER_AGENT: usize = 256;

    /// Id of the principal.
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// A principal without a request.
    pub fn new(principal: &Principal) -> Self {
        Author {
            actor: principal.id.clone(),
            actor_name: Some(principal.name.clone()),
            role: Some(principal.role.as_str()),
            credential: principal.credential.id().map(str::to_owned),
            ip: None,
            user_agent: None,
            request_id: None,
        }
    }

    /// Nobody who is known.
    pub fn nobody() -> Self {
        Author {
            actor: "anonymous".to_owned(),
            actor_name: None,
            role: None,
            credential: None,
            ip: None,
            user_agent: None,
            request_id: None,
        }
    }

    /// The server itself, as its configuration or somebody at its machine says.
    pub fn server() -> Self {
        Author::new(&Principal::system())
    }

    /// The same request, by a person who has just shown who it is.
    #[must_use]
    pub fn as_person(&self, person: &Person, session: &str) -> Self {
        Author {
            actor: person.id.clone(),
            actor_name: Some(person.name().to_owned()),
            role: person.role.map(Role::as_str),
            credential: Some(session.to_owned()),
            ..self.clone()
        }
    }

    /// Where the request came from.
    pub fn address(&self) -> Option<&str> {
        self.ip.as_deref()
    }

    /// The client's program.
    pub fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_deref()
    }

    /// Adds where the request came from.
    #[must_use]
    pub fn by_request(mut self, ip: String, user_agent: Option<&str>, request_id: &str) -> Self {
        self.ip = Some(ip);
        self.user_agent = user_agent.map(|text| text.chars().take(Self::MAX_USER_AGENT).collect());
        self.request_id = Some(request_id.to_owned());
        self
    }

    /// The audit row of something that this author did. Credentials in URLs are masked wherever they stand.
    pub fn did(&self, now: WallTime, action: &str, target: Target<'_>, detail: Value) -> AuditEntry {
        AuditEntry {
            id: PublicId::new("aud", random_bits()).to_string(),
            actor: self.actor.clone(),
            actor_name: self.actor_name.clone(),
            role: self.role.map(str::to_owned),
            action: action.to_owned(),
            target_type: Some(target.kind.to_owned()),
            target_id: Some(target.id.to_owned()),
            detail: masked(detail),
            created_at: now,
            outcome: AuditOutcome::Ok,
            ip: self.ip.clone(),
            user_agent: self.user_agent.clone(),
            request_id: self.request_id.clone(),
            credential_id: self.credential.clone(),
            before: None,
            after: None,
        }
    }
}

/// The value with every userinfo in it masked. A userinfo ends at a quote, so that the text stays JSON.
pub(super) fn masked(value: Value) -> Value {
    let text = value.to_string();
    let masked = mask_userinfo(&text);
    if masked == text { value } else { serde_json::from_str(&masked).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_hold_no_credentials() {
        let value = json!({"a": "see rtsp://u:\"p@h/x", "b": ["rtsp://u:p\\@h", 1, "rtsp://h"], "rtsp://k:v@h": null});
        let expect =
            json!({"a": "see rtsp://u:\"p@h/x", "b": ["rtsp://***@h", 1, "rtsp://h"], "rtsp://***@h": null});
        assert_eq!(masked(value), expect);
        let author = Author::new(&Principal::system()).by_request("::1".to_owned(), None, "req_1");
        let row = author.did(WallTime(0), "x", Target { kind: "camera", id: "a" }, json!("http://u:p@h"));
        assert_eq!((row.detail, row.actor.as_str()), (json!("http://***@h"), "system"));
    }
}
