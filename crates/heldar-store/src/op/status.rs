//! Writes of camera status.

use std::collections::HashSet;

use super::{Apply, Durability, OpError, Tx};
use crate::model::CameraStatus;
use crate::sql::{args, statements};

statements! {
    CAMERA_IDS = "SELECT id FROM camera ORDER BY id";
    STATUS_PUT = "INSERT INTO camera_status (camera_id, state, state_since_us, not_wanted_reason, reason_class,
        last_error, last_segment_us, last_started_us, last_picture_us, reconnect_count, segments_written, updated_us)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT (camera_id) DO UPDATE SET state = excluded.state, state_since_us = excluded.state_since_us,
        not_wanted_reason = excluded.not_wanted_reason, reason_class = excluded.reason_class,
        last_error = excluded.last_error, last_segment_us = excluded.last_segment_us,
        last_started_us = excluded.last_started_us, last_picture_us = excluded.last_picture_us,
        reconnect_count = excluded.reconnect_count, segments_written = excluded.segments_written,
        updated_us = excluded.updated_us";
}

/// Stores the status of cameras; those that are gone are passed over. A longer error text is cut to 800 characters.
#[derive(Clone, Debug)]
pub struct PutStatuses {
    /// Which.
    pub statuses: Vec<CameraStatus>,
}

impl Apply for PutStatuses {
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let mut known = HashSet::new();
        for row in tx.rows(CAMERA_IDS.with(Vec::new())).await? {
            known.insert(row.columns().text()?);
        }
        for s in self.statuses.iter().filter(|s| known.contains(s.camera.as_str())) {
            let row = args![
                &s.camera,
                s.state,
                s.state_since,
                s.not_wanted_reason.map(|reason| reason.as_str()),
                s.reason_class.map(|class| class.as_str()),
                s.last_error.as_ref().map(|text| text.chars().take(800).collect::<String>()),
                s.last_segment_at,
                s.last_started_at,
                s.last_picture_at,
                s.reconnect_count,
                s.segments_written,
                s.updated_at,
            ];
            tx.run(STATUS_PUT, row).await?;
        }
        Ok(())
    }
}
