//! Writes of audit rows.

use super::{Apply, Durability, OpError, Tx};
use crate::canonical::canonical;
use crate::error::{ErrorKind, StoreError};
use crate::model::AuditEntry;
use crate::sql::{args, statements};

statements! {
    AUDIT_INSERT = "INSERT INTO audit (id, created_us, body, actor, action, target_type, target_id, subject_camera_id,
        outcome, ip, request_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (id) DO NOTHING";
    AUDIT_CAMERA_INSERT = "INSERT INTO audit_camera (audit_id, camera_id) VALUES ($1, $2)";
}

/// Appends an audit row; an id that is there already keeps its row.
#[derive(Clone, Debug)]
pub struct AppendAudit {
    /// The row.
    pub entry: AuditEntry,
}

impl Apply for AppendAudit {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let e = &self.entry;
        let value = serde_json::to_value(e).map_err(|error| {
            StoreError::caused(ErrorKind::Internal, "the audit row has no JSON form", error)
        })?;
        let row = args![
            e.id.as_str(),
            e.created_at,
            canonical(&value),
            e.actor.as_str(),
            e.action.as_str(),
            e.target_type.as_deref(),
            e.target_id.as_deref(),
            e.subject_camera(),
            e.outcome,
            e.ip.as_deref(),
            e.request_id.as_deref(),
        ];
        if tx.run(AUDIT_INSERT, row).await? > 0 {
            tx.audit_row();
            for camera in e.several_cameras() {
                tx.run(AUDIT_CAMERA_INSERT, args![e.id.as_str(), camera]).await?;
            }
        }
        Ok(())
    }
}
