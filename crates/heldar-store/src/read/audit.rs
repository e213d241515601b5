//! Reads of audit rows.

use heldar_base::Scope;

use super::{all, fetch_limit, page_limit};
use crate::error::StoreError;
use crate::model::{AuditCursor, AuditEntry, AuditFilter, AuditOutcome, Page};
use crate::sql::{Query, args};

const AUDIT: &str = "SELECT a.body FROM audit a WHERE TRUE";

/// A limited scope sees rows about a camera that it holds, and rows about several cameras that it holds all of.
fn within_scope(query: &mut Query, scope: &Scope) {
    let Scope::Cameras(set) = scope else { return };
    let filter = crate::sql::CameraFilter::Set(set);
    query.push("AND ((a.subject_camera_id IS NOT NULL", Vec::new());
    query.cameras("a.subject_camera_id", &filter);
    query.push(
        ") OR (a.subject_camera_id IS NULL AND EXISTS (SELECT 1 FROM audit_camera m WHERE m.audit_id = a.id)
        AND NOT EXISTS (SELECT 1 FROM audit_camera m WHERE m.audit_id = a.id AND",
        Vec::new(),
    );
    query.outside("m.camera_id", set);
    query.push(")))", Vec::new());
}

pub(crate) fn list_query(
    scope: &Scope,
    which: &AuditFilter,
    after: Option<&AuditCursor>,
    limit: u32,
) -> Query {
    let mut query = Query::new(AUDIT, Vec::new());
    within_scope(&mut query, scope);
    query.push_if("AND a.actor = $", which.actor.as_deref());
    query.push_if("AND a.action = $", which.action.as_deref());
    query.push_if("AND a.target_type = $", which.target_type.as_deref());
    query.push_if("AND a.target_id = $", which.target_id.as_deref());
    query.push_if("AND a.subject_camera_id = $", which.camera_id.as_deref());
    query.push_if("AND a.outcome = $", which.outcome.map(AuditOutcome::as_str));
    query.push_if("AND a.ip = $", which.ip.as_deref());
    query.push_if("AND a.request_id = $", which.request_id.as_deref());
    query.push_if("AND a.created_us >= $", which.range.from);
    query.push_if("AND a.created_us < $", which.range.to);
    if let Some(cursor) = after {
        query.push("AND (a.created_us, a.id) < ($, $)", args![cursor.created_us, cursor.id.as_str()]);
    }
    query.push("ORDER BY a.created_us DESC, a.id DESC LIMIT $", args![fetch_limit(limit)]);
    query
}

impl crate::Store {
    /// Audit rows, newest first.
    pub async fn audit(
        &self,
        scope: &Scope,
        which: &AuditFilter,
        after: Option<&AuditCursor>,
        limit: u32,
    ) -> Result<Page<AuditEntry, AuditCursor>, StoreError> {
        if matches!(scope, Scope::Cameras(set) if set.is_empty()) {
            return Ok(Page::empty());
        }
        let rows = self.query(list_query(scope, which, after, limit)).await?;
        let entries = all(&rows, |row| row.columns().json::<AuditEntry>())?;
        let cursor =
            |entry: &AuditEntry| AuditCursor { created_us: entry.created_at.0, id: entry.id.clone() };
        Ok(Page::cut(entries, page_limit(limit), cursor))
    }
}
