//! What several system routes share: sizes, three-state settings, warnings.

use heldar_base::{Clock as _, Scope, WallTime};
use heldar_http::{ApiError, Patch};
use heldar_store::op::{DeleteSetting, PutSetting};
use heldar_store::{AuditEntry, WriteOp};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::requester::Requester;
use crate::api::{Api, errors};
use crate::registry::Target;

/// Bytes of a GiB, the unit of `_gb` fields.
const GIB: f64 = (1u64 << 30) as f64;

/// Bytes in GiB.
pub(super) fn gb(bytes: u64) -> f64 {
    bytes as f64 / GIB
}

/// The smallest size that a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Least {
    /// More than nothing.
    AboveZero,
    /// Nothing.
    Zero,
}

/// A size given in GiB, in bytes.
pub(super) fn bytes_of(field: &'static str, gb: f64, least: Least) -> Result<u64, ApiError> {
    let bytes = (gb * GIB).round();
    let wrong = |text: &str| Err(ApiError::validation(field, format!("`{field}` {text}")));
    if !gb.is_finite() || bytes >= i64::MAX as f64 {
        return wrong("is too large");
    }
    match least {
        Least::AboveZero if bytes < 1.0 => wrong("must be greater than 0"),
        Least::Zero if gb < 0.0 => wrong("must not be negative"),
        // Not negative and below 2^63.
        _ => Ok(bytes as u64),
    }
}

/// One setting of a PUT below `/api/v1/system`: absent keeps, `null` removes the override, a value sets it.
pub(super) struct Change {
    pub(super) key: &'static str,
    /// As the API names it.
    pub(super) field: &'static str,
    pub(super) value: Patch<String>,
    /// What the audit row says of it.
    pub(super) shown: Value,
}

/// Writes the settings that differ, with their audit row, in one commit. True when there was something to write.
pub(super) async fn save(
    api: &Api,
    who: &Requester,
    action: &str,
    target: &str,
    changes: Vec<Change>,
) -> Result<bool, ApiError> {
    let mut detail = Map::new();
    let (mut before, mut after) = (Map::new(), Map::new());
    let mut ops: Vec<WriteOp> = Vec::new();
    let (now, stored) = (api.clock.wall(), api.store.settings(&Scope::All).await.map_err(errors::store)?);
    for change in changes {
        let old = stored.iter().find(|setting| setting.key == change.key).map(|setting| &setting.value);
        let (op, shown) = match (&change.value, old) {
            (Patch::Absent, _) | (Patch::Null, None) => continue,
            (Patch::Value(new), Some(old)) if new == old => continue,
            (Patch::Value(new), _) => (put(change.key, new, now), change.shown.clone()),
            (Patch::Null, Some(_)) => (DeleteSetting { key: change.key.to_owned() }.into(), Value::Null),
        };
        ops.push(op);
        detail.insert(change.field.to_owned(), shown);
        let text = |value: Option<&String>| value.cloned().map_or(Value::Null, Value::String);
        before.insert(change.key.to_owned(), text(old));
        let new = if let Patch::Value(new) = &change.value { Some(new) } else { None };
        after.insert(change.key.to_owned(), text(new));
    }
    if ops.is_empty() {
        return Ok(false);
    }
    let target = Target { kind: "settings", id: target };
    let audit = who.author.did(now, action, target, Value::Object(detail));
    let entry =
        AuditEntry { before: Some(Value::Object(before)), after: Some(Value::Object(after)), ..audit };
    ops.push(heldar_store::op::AppendAudit { entry }.into());
    api.store.write_all(ops).await.map_err(errors::store)?;
    Ok(true)
}

fn put(key: &str, value: &str, now: WallTime) -> WriteOp {
    PutSetting { key: key.to_owned(), value: value.to_owned(), now }.into()
}

/// Something that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Warning)]
pub(super) struct WarningView {
    /// Stable name.
    pub(super) code: String,
    /// For people.
    pub(super) text: String,
    /// The camera it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    pub(super) camera_id: Option<heldar_base::CameraId>,
}

impl WarningView {
    pub(super) fn new(code: &str, text: impl Into<String>) -> Self {
        WarningView { code: code.to_owned(), text: text.into(), camera_id: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let check = |gb: f64, least: Least, expect: Option<u64>| {
            assert_eq!(bytes_of("x_gb", gb, least).ok(), expect, "{gb} {least:?}");
        };
        check(20.0, Least::AboveZero, Some(20 << 30));
        check(0.5, Least::AboveZero, Some(1 << 29));
        check(0.0, Least::AboveZero, None);
        check(-1.0, Least::AboveZero, None);
        check(1e-12, Least::AboveZero, None);
        check(0.0, Least::Zero, Some(0));
        check(-0.0001, Least::Zero, None);
        check(1e300, Least::Zero, None);
        check(f64::NAN, Least::Zero, None);
        check(f64::INFINITY, Least::AboveZero, None);
    }
}
