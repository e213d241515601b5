//! Reads of camera status.

use heldar_base::{CameraId, Scope};

use super::all;
use crate::error::StoreError;
use crate::model::CameraStatus;
use crate::sql::{CameraFilter, Query, Row};

const STATUSES: &str = "SELECT t.camera_id, t.state, t.state_since_us, t.not_wanted_reason, t.reason_class, t.last_error,
    t.last_segment_us, t.last_started_us, t.last_picture_us, t.reconnect_count, t.segments_written, t.updated_us
    FROM camera c JOIN camera_status t ON t.camera_id = c.id WHERE c.removed_us IS NULL";

fn status_from(row: &Row) -> Result<CameraStatus, StoreError> {
    let mut c = row.columns();
    Ok(CameraStatus {
        camera: c.word()?,
        state: c.word()?,
        state_since: c.time()?,
        not_wanted_reason: c.opt_word()?,
        reason_class: c.opt_word()?,
        last_error: c.opt_text()?,
        last_segment_at: c.opt_time()?,
        last_started_at: c.opt_time()?,
        last_picture_at: c.opt_time()?,
        reconnect_count: c.int()?,
        segments_written: c.int()?,
        updated_at: c.time()?,
    })
}

pub(crate) fn list_query(filter: &CameraFilter<'_>) -> Query {
    let mut query = Query::new(STATUSES, Vec::new());
    query.cameras("c.id", filter);
    query.push("ORDER BY t.camera_id", Vec::new());
    query
}

impl crate::Store {
    /// The stored status of each camera in use that has one, by id.
    pub async fn statuses(&self, scope: &Scope) -> Result<Vec<CameraStatus>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(Vec::new()) };
        let rows = self.query(list_query(&filter)).await?;
        all(&rows, status_from)
    }

    /// The stored status of one camera in use.
    pub async fn status(&self, scope: &Scope, camera: &CameraId) -> Result<Option<CameraStatus>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, Some(camera)) else { return Ok(None) };
        let rows = self.query(list_query(&filter)).await?;
        rows.first().map(status_from).transpose()
    }
}
