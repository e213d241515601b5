//! Audit rows.

use std::collections::BTreeSet;

use heldar_base::WallTime;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::page::TimeRange;
use super::words;

words! {
    /// How an audited action ended.
    AuditOutcome {
        /// Done.
        Ok = "ok",
        /// Refused for lack of rights.
        Denied = "denied",
        /// Tried and failed.
        Failed = "failed",
    }
}

/// Who did what. Stored once as canonical JSON (RFC 8785); its fields are those of the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// `aud_` and 32 hexadecimal digits. Appending an id again changes nothing.
    pub id: String,
    /// Id of the principal; `system` while access control is off, `anonymous` for nobody.
    pub actor: String,
    /// Its name at that time.
    pub actor_name: Option<String>,
    /// Its role at that time.
    pub role: Option<String>,
    /// What was done.
    pub action: String,
    /// Kind of what it was done to.
    pub target_type: Option<String>,
    /// Id of what it was done to.
    pub target_id: Option<String>,
    /// Details of the action.
    pub detail: Value,
    /// When.
    pub created_at: WallTime,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// Address of the client.
    pub ip: Option<String>,
    /// Program of the client.
    pub user_agent: Option<String>,
    /// Id of the request.
    pub request_id: Option<String>,
    /// The credential that it came with.
    pub credential_id: Option<String>,
    /// The changed fields before, secrets masked.
    pub before: Option<Value>,
    /// The changed fields after, secrets masked.
    pub after: Option<Value>,
}

impl AuditEntry {
    /// The one camera that the row is about: the target if that is a camera, else the one that the detail names.
    pub fn subject_camera(&self) -> Option<&str> {
        if self.target_type.as_deref() == Some("camera")
            && let Some(id) = self.target_id.as_deref()
            && !id.is_empty()
            && id != "*"
        {
            return Some(id);
        }
        if let Some(id) = self.detail.get("camera_id").and_then(Value::as_str) {
            return Some(id);
        }
        match self.detail.get("camera_ids").and_then(Value::as_array).map(Vec::as_slice) {
            Some([only]) => only.as_str(),
            _ => None,
        }
    }

    /// The cameras that a row about several names, without repetition; empty for a row about one or none, and for a
    /// list that holds anything but text, which nobody with a limited scope may see.
    pub(crate) fn several_cameras(&self) -> BTreeSet<&str> {
        let list = self.detail.get("camera_ids").and_then(Value::as_array);
        if self.subject_camera().is_some() {
            return BTreeSet::new();
        }
        list.and_then(|list| list.iter().map(Value::as_str).collect()).unwrap_or_default()
    }
}

/// Which audit rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Written in this time.
    pub range: TimeRange,
    /// By this principal.
    pub actor: Option<String>,
    /// Of exactly this action.
    pub action: Option<String>,
    /// About this kind of target.
    pub target_type: Option<String>,
    /// About this target.
    pub target_id: Option<String>,
    /// About this one camera.
    pub camera_id: Option<String>,
    /// That ended so.
    pub outcome: Option<AuditOutcome>,
    /// From this address.
    pub ip: Option<String>,
    /// Of this request.
    pub request_id: Option<String>,
}

/// Where the next page of audit rows begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditCursor {
    /// Time of the last row seen.
    pub created_us: i64,
    /// Its id.
    pub id: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(target: Option<(&str, &str)>, detail: Value) -> AuditEntry {
        AuditEntry {
            id: "aud_00000000000000000000000000000000".into(),
            actor: "system".into(),
            actor_name: None,
            role: None,
            action: "x".into(),
            target_type: target.map(|(kind, _)| kind.into()),
            target_id: target.map(|(_, id)| id.into()),
            detail,
            created_at: WallTime(0),
            outcome: AuditOutcome::Ok,
            ip: None,
            user_agent: None,
            request_id: None,
            credential_id: None,
            before: None,
            after: None,
        }
    }

    #[test]
    fn subject_cameras() {
        let check = |target, detail: Value, subject: Option<&str>, several: &[&str]| {
            let entry = entry(target, detail);
            assert_eq!(entry.subject_camera(), subject);
            assert_eq!(entry.several_cameras().into_iter().collect::<Vec<_>>(), several);
        };
        check(Some(("camera", "a")), json!({}), Some("a"), &[]);
        check(Some(("camera", "*")), json!({"camera_ids": ["b", "a"]}), None, &["a", "b"]);
        check(Some(("camera", "")), json!({"camera_id": "b"}), Some("b"), &[]);
        check(Some(("clip", "x")), json!({"camera_id": "b", "camera_ids": ["c"]}), Some("b"), &[]);
        check(None, json!({"camera_ids": ["c"]}), Some("c"), &[]);
        check(None, json!({"camera_ids": ["c", 7]}), None, &[]);
        check(None, json!({"camera_ids": []}), None, &[]);
        check(None, json!({}), None, &[]);
    }
}
