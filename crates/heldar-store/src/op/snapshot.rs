//! Writes of snapshot schedules and snapshots.

use heldar_base::{CameraId, PublicId, WallTime};

use super::{Apply, Durability, OpError, Tx, conflict, not_found, prune, refused};
use crate::error::{ErrorKind, StoreError};
use crate::model::{Snapshot, SnapshotFile, SnapshotSchedule, SnapshotScheduleFields};
use crate::read::{SNAPSHOT_SCHEDULE_BY_ID, snapshot_schedule_from};
use crate::sql::{Row, args, statements};

statements! {
    CAMERA_IN_USE = "SELECT 1 FROM camera WHERE id = $1 AND removed_us IS NULL";
    SCHEDULE_STATE = "SELECT revision FROM snapshot_schedule WHERE id = $1";
    SCHEDULE_INSERT = "INSERT INTO snapshot_schedule (id, camera_id, interval_seconds, enabled, created_us, updated_us,
        revision) VALUES ($1, $2, $3, $4, $5, $5, 1)";
    SCHEDULE_UPDATE = "UPDATE snapshot_schedule SET interval_seconds = $2, enabled = $3, updated_us = $4,
        revision = revision + 1 WHERE id = $1";
    SCHEDULE_FIRED = "UPDATE snapshot_schedule SET fired_us = $2, last_error = $3 WHERE id = $1";
    SCHEDULE_DELETE = "DELETE FROM snapshot_schedule WHERE id = $1";
    CAMERA_NO = "SELECT camera_no FROM snapshot_camera WHERE camera_id = $1";
    CAMERA_INSERT = "INSERT INTO snapshot_camera (camera_no, camera_id, folder)
        VALUES ((SELECT coalesce(MAX(camera_no), 0) + 1 FROM snapshot_camera), $1, $1) RETURNING camera_no";
    CAMERA_GONE = "SELECT camera_no FROM snapshot_camera WHERE camera_id IS NULL ORDER BY camera_no LIMIT 1";
    CAMERA_FORGET = "DELETE FROM snapshot_camera WHERE camera_no = $1";
    SNAPSHOT_TAKEN = "SELECT 1 FROM snapshot WHERE id = $1
        OR (camera_no = $2 AND taken_us >= $3 AND taken_us < $4) LIMIT 1";
    SNAPSHOT_INSERT = "INSERT INTO snapshot (id, camera_no, schedule_id, taken_us, size_bytes, created_us)
        VALUES ($1, $2, $3, $4, $5, $6)";
    SNAPSHOT_DELETE = "DELETE FROM snapshot WHERE id = $1
        AND camera_no IN (SELECT camera_no FROM snapshot_camera WHERE camera_id IS NOT NULL)
        RETURNING (SELECT c.folder FROM snapshot_camera c WHERE c.camera_no = snapshot.camera_no), taken_us";
    SNAPSHOTS_BEFORE = "DELETE FROM snapshot WHERE id IN
        (SELECT id FROM snapshot WHERE taken_us < $1 ORDER BY taken_us, id LIMIT $2)
        RETURNING (SELECT c.folder FROM snapshot_camera c WHERE c.camera_no = snapshot.camera_no), taken_us";
    SNAPSHOTS_OF = "DELETE FROM snapshot WHERE id IN
        (SELECT id FROM snapshot WHERE camera_no = $1 ORDER BY taken_us LIMIT $2)
        RETURNING (SELECT c.folder FROM snapshot_camera c WHERE c.camera_no = snapshot.camera_no), taken_us";
}

/// Longest error that is kept, in characters.
const ERROR_LENGTH: usize = 500;

/// Makes a schedule, and answers with it. Refused with [`ErrorKind::NotFound`] when the camera is not in use,
/// [`ErrorKind::Conflict`] when the id is taken.
#[derive(Clone, Debug)]
pub struct CreateSnapshotSchedule {
    /// Its id.
    pub id: PublicId,
    /// Of which camera.
    pub camera: CameraId,
    /// What can be set.
    pub fields: SnapshotScheduleFields,
    /// Now.
    pub now: WallTime,
}

impl Apply for CreateSnapshotSchedule {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<SnapshotSchedule, OpError> {
        if tx.row(CAMERA_IN_USE, args![&self.camera]).await?.is_none() {
            return Err(not_found("camera in use"));
        }
        if tx.row(SCHEDULE_STATE, args![self.id]).await?.is_some() {
            return Err(conflict(format!("the schedule id `{}` is taken", self.id)));
        }
        let fields = self.fields;
        let row = args![self.id, &self.camera, fields.interval_seconds, fields.enabled, self.now];
        tx.run(SCHEDULE_INSERT, row).await?;
        stored(tx, self.id).await
    }
}

/// Changes a schedule, and answers with it. Refused with [`ErrorKind::NotFound`], or [`ErrorKind::Conflict`] when it was
/// changed since `revision`.
#[derive(Clone, Debug)]
pub struct UpdateSnapshotSchedule {
    /// Its id.
    pub id: PublicId,
    /// What can be set, changed or not.
    pub fields: SnapshotScheduleFields,
    /// The revision that this was made from.
    pub revision: i64,
    /// Now.
    pub now: WallTime,
}

impl Apply for UpdateSnapshotSchedule {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<SnapshotSchedule, OpError> {
        let row = tx.row(SCHEDULE_STATE, args![self.id]).await?.ok_or_else(no_schedule)?;
        if row.columns().int()? != self.revision {
            return Err(conflict("the schedule was changed by someone else"));
        }
        let fields = self.fields;
        tx.run(SCHEDULE_UPDATE, args![self.id, fields.interval_seconds, fields.enabled, self.now]).await?;
        stored(tx, self.id).await
    }
}

/// Deletes a schedule; what it has taken stays. Refused with [`ErrorKind::NotFound`].
#[derive(Clone, Debug)]
pub struct DeleteSnapshotSchedule {
    /// Its id.
    pub id: PublicId,
}

impl Apply for DeleteSnapshotSchedule {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        if tx.row(SCHEDULE_STATE, args![self.id]).await?.is_none() {
            return Err(no_schedule());
        }
        tx.run(SCHEDULE_DELETE, args![self.id]).await?;
        Ok(())
    }
}

/// Notes that a picture was due, and what became of it. No change in the sense of its revision. Refused with
/// [`ErrorKind::NotFound`] when the schedule is gone.
#[derive(Clone, Debug)]
pub struct NoteSnapshotFired {
    /// Its id.
    pub id: PublicId,
    /// When.
    pub at: WallTime,
    /// Why there is no picture; cut to 500 characters. `None`: there is one.
    pub error: Option<String>,
}

impl Apply for NoteSnapshotFired {
    // What a power cut takes is known again an interval later.
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        if tx.row(SCHEDULE_STATE, args![self.id]).await?.is_none() {
            return Err(no_schedule());
        }
        let error = self.error.as_ref().map(|text| match text.as_str() {
            "" => "unknown".to_owned(),
            text => text.chars().take(ERROR_LENGTH).collect::<String>(),
        });
        tx.run(SCHEDULE_FIRED, args![self.id, self.at, error]).await?;
        Ok(())
    }
}

/// Lists a snapshot whose file is complete and synced. Refused with [`ErrorKind::NotFound`] when the camera is not in use,
/// [`ErrorKind::Conflict`] when the id is taken or the camera has a snapshot of that millisecond.
#[derive(Clone, Debug)]
pub struct InsertSnapshot {
    /// The row.
    pub snapshot: Snapshot,
}

impl Apply for InsertSnapshot {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let s = &self.snapshot;
        if tx.row(CAMERA_IN_USE, args![&s.camera]).await?.is_none() {
            return Err(not_found("camera in use"));
        }
        let known = match tx.row(CAMERA_NO, args![&s.camera]).await? {
            Some(row) => Some(row.columns().int()?),
            None => None,
        };
        let millisecond = s.taken_at.0.div_euclid(1000) * 1000;
        let taken = args![s.id, known, millisecond, millisecond + 1000];
        if tx.row(SNAPSHOT_TAKEN, taken).await?.is_some() {
            return Err(conflict("the camera has this snapshot already"));
        }
        let camera_no = match known {
            Some(number) => number,
            None => {
                let rows = tx.run_returning(CAMERA_INSERT, args![&s.camera]).await?;
                let row = rows.first().ok_or_else(|| refused(ErrorKind::Internal, "no number was given out"));
                row?.columns().int()?
            }
        };
        let row = args![s.id, camera_no, s.schedule, s.taken_at, s.size_bytes, s.created_at];
        tx.run(SNAPSHOT_INSERT, row).await?;
        Ok(())
    }
}

/// Removes the row of a snapshot, and answers with the file that is to go. Refused with [`ErrorKind::NotFound`].
#[derive(Clone, Debug)]
pub struct DeleteSnapshot {
    /// Its id.
    pub id: PublicId,
}

impl Apply for DeleteSnapshot {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<SnapshotFile, OpError> {
        let rows = tx.run_returning(SNAPSHOT_DELETE, args![self.id]).await?;
        let row = rows.first().ok_or_else(|| not_found("snapshot"))?;
        Ok(file_from(row)?)
    }
}

/// Snapshots that go without anybody asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldSnapshots {
    /// Captured before an instant, the oldest first.
    Before(WallTime),
    /// Of cameras that were deleted, of any age.
    OfDeletedCameras,
}

/// Removes rows of snapshots, some at a time, and answers with the files that are to go. Fewer than asked for means that
/// none is left.
#[derive(Clone, Debug)]
pub struct RemoveSnapshots {
    /// Which.
    pub which: OldSnapshots,
    /// At most so many, 1 to 500.
    pub limit: u32,
}

impl RemoveSnapshots {
    pub(super) fn rows(&self) -> u32 {
        self.limit.clamp(1, prune::SLICE)
    }
}

impl Apply for RemoveSnapshots {
    // A row that comes back with a power cut is without its file for a while only.
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Vec<SnapshotFile>, OpError> {
        let limit = self.rows();
        let mut files = Vec::new();
        match self.which {
            OldSnapshots::Before(before) => {
                for row in tx.run_returning(SNAPSHOTS_BEFORE, args![before, limit]).await? {
                    files.push(file_from(&row)?);
                }
            }
            OldSnapshots::OfDeletedCameras => loop {
                let left = limit.saturating_sub(u32::try_from(files.len()).unwrap_or(u32::MAX));
                if left == 0 {
                    break;
                }
                let Some(row) = tx.row(CAMERA_GONE, Vec::new()).await? else { break };
                let camera_no = row.columns().int()?;
                let rows = tx.run_returning(SNAPSHOTS_OF, args![camera_no, left]).await?;
                for row in &rows {
                    files.push(file_from(row)?);
                }
                if u32::try_from(rows.len()).is_ok_and(|count| count < left) {
                    tx.run(CAMERA_FORGET, args![camera_no]).await?;
                }
            },
        }
        Ok(files)
    }
}

fn no_schedule() -> OpError {
    not_found("snapshot schedule")
}

fn file_from(row: &Row) -> Result<SnapshotFile, StoreError> {
    let mut c = row.columns();
    Ok(SnapshotFile { camera: c.word()?, taken_at: c.time()? })
}

async fn stored(tx: &mut Tx<'_>, id: PublicId) -> Result<SnapshotSchedule, OpError> {
    let row = tx.row(SNAPSHOT_SCHEDULE_BY_ID, args![id]).await?;
    let row = row.ok_or_else(|| refused(ErrorKind::Internal, "the schedule was not stored"))?;
    Ok(snapshot_schedule_from(&row)?)
}
