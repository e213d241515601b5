//! Writes of gaps and of the history of what was wanted.

use heldar_base::{CameraId, NotWanted, PublicId, WallTime};

use super::{Apply, Durability, OpError, Tx, conflict, not_found};
use crate::model::Gap;
use crate::sql::{args, statements};

statements! {
    GAP_PROBE = "SELECT g.open, g.end_us, (SELECT o.id FROM gap o WHERE o.camera_id = $1 AND o.open = 1)
        FROM camera c LEFT JOIN gap g ON g.id = $2 WHERE c.id = $1";
    GAP_PUT = "INSERT INTO gap (id, camera_id, start_us, end_us, open, cause, detail, last_error, fill_state,
        fill_attempts, last_attempt_us, filled_us, created_us)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        ON CONFLICT (id) DO UPDATE SET start_us = excluded.start_us, end_us = excluded.end_us, open = excluded.open,
        cause = excluded.cause, detail = excluded.detail, last_error = excluded.last_error,
        fill_state = excluded.fill_state, fill_attempts = excluded.fill_attempts,
        last_attempt_us = excluded.last_attempt_us, filled_us = excluded.filled_us";
    GAP_REMOVE = "DELETE FROM gap WHERE id = $1";
    WANTED_LATEST = "SELECT c.id, w.at_us, w.reason FROM camera c
        LEFT JOIN wanted_change w ON w.camera_id = c.id WHERE c.id = $1 ORDER BY w.at_us DESC LIMIT 1";
    WANTED_PUT = "INSERT INTO wanted_change (camera_id, at_us, reason) VALUES ($1, $2, $3)
        ON CONFLICT (camera_id, at_us) DO UPDATE SET reason = excluded.reason";
}

/// Writes a gap as it is now: when it opens, grows, closes, or is found to be otherwise. Carries the whole row, so that
/// sending it again changes nothing: an open version never replaces a closed one or one that reaches further.
///
/// Refused with [`crate::ErrorKind::NotFound`] when the camera is gone, [`crate::ErrorKind::Conflict`] when it is open
/// and the camera has another open gap.
#[derive(Clone, Debug)]
pub struct PutGap {
    /// The row.
    pub gap: Gap,
}

impl Apply for PutGap {
    // What happened is told once: a database that stops uncleanly must not forget it.
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let gap = &self.gap;
        let probe = tx.row(GAP_PROBE, args![&gap.camera, gap.id]).await?;
        let probe = probe.ok_or_else(|| not_found("camera"))?;
        let mut columns = probe.columns();
        let (stored_open, stored_end) = (columns.opt_int()?, columns.opt_time()?);
        let open_id = columns.opt_text()?;
        if gap.open {
            let reaches_further = stored_end.is_some_and(|end| end > gap.end);
            if stored_open == Some(0) || reaches_further {
                return Ok(());
            }
            if open_id.is_some_and(|open| open != gap.id.to_string()) {
                return Err(conflict("the camera has another open gap"));
            }
        }
        let row = args![
            gap.id,
            &gap.camera,
            gap.start,
            gap.end,
            gap.open,
            gap.cause.as_str(),
            gap.detail.as_deref(),
            gap.last_error.as_deref(),
            gap.fill_state,
            gap.fill_attempts,
            gap.last_attempt_at,
            gap.filled_at,
            gap.created_at,
        ];
        tx.run(GAP_PUT, row).await?;
        Ok(())
    }
}

/// Removes gaps; answers with how many there were.
#[derive(Clone, Debug)]
pub struct RemoveGaps {
    /// Which.
    pub ids: Vec<PublicId>,
}

impl Apply for RemoveGaps {
    // What happened is told once: a database that stops uncleanly must not forget it.
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, OpError> {
        let mut removed = 0;
        for id in &self.ids {
            removed += tx.run(GAP_REMOVE, args![*id]).await?;
        }
        Ok(removed)
    }
}

/// Notes that recording began or ceased to be wanted. Answers whether that was a change. The history only goes forward:
/// a time at or before the newest row counts as one microsecond after it. Refused with
/// [`crate::ErrorKind::NotFound`] when the camera is gone.
#[derive(Clone, Debug)]
pub struct AppendWanted {
    /// Whose recording.
    pub camera: CameraId,
    /// From when.
    pub at: WallTime,
    /// Why it is not wanted; `None`: it is.
    pub reason: Option<NotWanted>,
}

impl Apply for AppendWanted {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, OpError> {
        let latest = tx.row(WANTED_LATEST, args![&self.camera]).await?;
        let latest = latest.ok_or_else(|| not_found("camera"))?;
        let mut columns = latest.columns();
        columns.text()?;
        let (latest_at, latest_reason) = (columns.opt_time()?, columns.opt_word::<NotWanted>()?);
        let mut at = self.at;
        if let Some(latest_at) = latest_at {
            if latest_reason == self.reason {
                return Ok(false);
            }
            at = at.max(WallTime(latest_at.0 + 1));
        }
        tx.run(WANTED_PUT, args![&self.camera, at, self.reason.map(NotWanted::as_str)]).await?;
        Ok(true)
    }
}
