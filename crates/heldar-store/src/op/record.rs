//! Writes of record schedules, and of recordings that something starts.
//!
//! Invariant: a window and the event that tells of it are one commit, and there is one event for a window, however often it
//! is extended.

use heldar_base::{CameraId, Micros, PublicId, WallTime};
use serde_json::json;

use super::event::append;
use super::{AppendAudit, Apply, Durability, OpError, Tx, conflict, not_found, refused};
use crate::error::ErrorKind;
use crate::model::{
    AuditEntry, NewEvent, RecordMode, RecordSchedule, RecordScheduleFields, RecordWindow, Severity, Triggered,
};
use crate::read::{RECORD_SCHEDULE_BY_ID, RECORD_WINDOW_OF, record_schedule_from, record_window_from};
use crate::sql::{args, statements};

statements! {
    CAMERA_IN_USE = "SELECT 1 FROM camera WHERE id = $1 AND removed_us IS NULL";
    CAMERA_ROLLS = "SELECT record_mode, pre_roll_seconds, post_roll_seconds FROM camera
        WHERE id = $1 AND removed_us IS NULL AND enabled = 1 AND record_enabled = 1";
    SCHEDULE_STATE = "SELECT revision FROM record_schedule WHERE id = $1";
    SCHEDULE_INSERT = "INSERT INTO record_schedule (id, camera_id, days, start_minute, end_minute, enabled, created_us,
        updated_us, revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $7, 1)";
    SCHEDULE_UPDATE = "UPDATE record_schedule SET days = $2, start_minute = $3, end_minute = $4, enabled = $5,
        updated_us = $6, revision = revision + 1 WHERE id = $1";
    SCHEDULE_DELETE = "DELETE FROM record_schedule WHERE id = $1";
    WINDOW_PUT = "INSERT INTO record_window (camera_id, opened_us, from_us, recorded_us, end_us, source)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (camera_id) DO UPDATE SET opened_us = excluded.opened_us,
        from_us = excluded.from_us, recorded_us = excluded.recorded_us, end_us = excluded.end_us,
        source = excluded.source";
    WINDOW_EXTEND = "UPDATE record_window SET end_us = $2 WHERE camera_id = $1";
}

fn days(fields: &RecordScheduleFields) -> String {
    fields.days.iter().map(|day| char::from(b'0' + day % 7)).collect()
}

/// Makes a record schedule, and answers with it. Refused with [`ErrorKind::NotFound`] when the camera is not in use,
/// [`ErrorKind::Conflict`] when the id is taken.
#[derive(Clone, Debug)]
pub struct CreateRecordSchedule {
    /// Its id.
    pub id: PublicId,
    /// Of which camera.
    pub camera: CameraId,
    /// What can be set.
    pub fields: RecordScheduleFields,
    /// Now.
    pub now: WallTime,
}

impl Apply for CreateRecordSchedule {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<RecordSchedule, OpError> {
        if tx.row(CAMERA_IN_USE, args![&self.camera]).await?.is_none() {
            return Err(not_found("camera in use"));
        }
        if tx.row(SCHEDULE_STATE, args![self.id]).await?.is_some() {
            return Err(conflict(format!("the schedule id `{}` is taken", self.id)));
        }
        let f = &self.fields;
        let row = args![self.id, &self.camera, days(f), f.start_minute, f.end_minute, f.enabled, self.now];
        tx.run(SCHEDULE_INSERT, row).await?;
        stored(tx, self.id).await
    }
}

/// Changes a record schedule, and answers with it. Refused with [`ErrorKind::NotFound`], or [`ErrorKind::Conflict`] when it
/// was changed since `revision`.
#[derive(Clone, Debug)]
pub struct UpdateRecordSchedule {
    /// Its id.
    pub id: PublicId,
    /// What can be set, changed or not.
    pub fields: RecordScheduleFields,
    /// The revision that this was made from.
    pub revision: i64,
    /// Now.
    pub now: WallTime,
}

impl Apply for UpdateRecordSchedule {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<RecordSchedule, OpError> {
        let row = tx.row(SCHEDULE_STATE, args![self.id]).await?.ok_or_else(no_schedule)?;
        if row.columns().int()? != self.revision {
            return Err(conflict("the schedule was changed by someone else"));
        }
        let f = &self.fields;
        let row = args![self.id, days(f), f.start_minute, f.end_minute, f.enabled, self.now];
        tx.run(SCHEDULE_UPDATE, row).await?;
        stored(tx, self.id).await
    }
}

/// Deletes a record schedule. Refused with [`ErrorKind::NotFound`].
#[derive(Clone, Debug)]
pub struct DeleteRecordSchedule {
    /// Its id.
    pub id: PublicId,
}

impl Apply for DeleteRecordSchedule {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        if tx.row(SCHEDULE_STATE, args![self.id]).await?.is_none() {
            return Err(no_schedule());
        }
        tx.run(SCHEDULE_DELETE, args![self.id]).await?;
        Ok(())
    }
}

/// What becomes of a trigger on a camera that records always, by its schedule alone, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unarmed {
    /// Nothing, and that is no error.
    Skip,
    /// It is refused with [`ErrorKind::Conflict`].
    Refuse,
}

/// Something has happened: starts a recording of a camera that records by events, or extends the one that is open, up to
/// `now` and the camera's post-roll. A window never becomes shorter. A new one is told by an event `record_triggered`.
/// `None` when nothing is to be recorded.
#[derive(Clone, Debug)]
pub struct TriggerRecording {
    /// Of which camera.
    pub camera: CameraId,
    /// What happened, 1 to 64 characters.
    pub source: String,
    /// Now.
    pub now: WallTime,
    /// First instant of what is recorded or held of the time before, if any is.
    pub reach: Option<WallTime>,
    /// Id of the event, should there be one.
    pub event_id: String,
    /// What becomes of it where no event starts a recording.
    pub unarmed: Unarmed,
    /// Appended with `window_end` and `post_roll_seconds` in its detail when it took effect.
    pub audit: Option<AuditEntry>,
}

impl Apply for TriggerRecording {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Option<Triggered>, OpError> {
        let rolls = match tx.row(CAMERA_ROLLS, args![&self.camera]).await? {
            Some(row) => {
                let mut c = row.columns();
                let mode: RecordMode = c.word()?;
                let has_trigger = matches!(mode, RecordMode::Event | RecordMode::ScheduledEvent);
                has_trigger.then_some((c.number::<u32>()?, c.number::<u32>()?))
            }
            None => None,
        };
        let (pre_roll_seconds, post_roll_seconds) = match (rolls, self.unarmed) {
            (Some(rolls), _) => rolls,
            (None, Unarmed::Skip) => return Ok(None),
            (None, Unarmed::Refuse) => return Err(conflict("the camera does not record by events")),
        };
        let end = self.now + Micros::from_secs(i64::from(post_roll_seconds));
        let known = tx.row(RECORD_WINDOW_OF, args![&self.camera]).await?;
        let known = known.as_ref().map(record_window_from).transpose()?;
        let open = known.filter(|window| window.opened_at <= self.now && self.now < window.end);
        let is_new = open.is_none();
        let window = match open {
            Some(window) => {
                let end = window.end.max(end);
                tx.run(WINDOW_EXTEND, args![&self.camera, end]).await?;
                RecordWindow { end, ..window }
            }
            None => {
                let window = RecordWindow {
                    camera: self.camera.clone(),
                    opened_at: self.now,
                    from: self.now - Micros::from_secs(i64::from(pre_roll_seconds)),
                    recorded_from: self.reach.unwrap_or(self.now).min(self.now),
                    end,
                    source: self.source.clone(),
                };
                let row = args![
                    &self.camera,
                    window.opened_at,
                    window.from,
                    window.recorded_from,
                    window.end,
                    self.source.as_str(),
                ];
                tx.run(WINDOW_PUT, row).await?;
                append(tx, &self.event(&window)).await?;
                window
            }
        };
        if let Some(mut entry) = self.audit.clone() {
            if let Some(detail) = entry.detail.as_object_mut() {
                detail.insert("window_end".to_owned(), json!(window.end));
                detail.insert("post_roll_seconds".to_owned(), json!(post_roll_seconds));
            }
            AppendAudit { entry }.apply(tx).await?;
        }
        Ok(Some(Triggered { window, is_new, pre_roll_seconds, post_roll_seconds }))
    }
}

impl TriggerRecording {
    fn event(&self, window: &RecordWindow) -> NewEvent {
        NewEvent {
            id: self.event_id.clone(),
            camera: Some(self.camera.clone()),
            event_type: "record_triggered".to_owned(),
            severity: Severity::Info,
            timestamp: self.now,
            created_at: self.now,
            payload: json!({
                "window_end": window.end,
                "source": window.source,
                "recorded_from": window.recorded_from,
            }),
        }
    }
}

fn no_schedule() -> OpError {
    not_found("record schedule")
}

async fn stored(tx: &mut Tx<'_>, id: PublicId) -> Result<RecordSchedule, OpError> {
    let row = tx.row(RECORD_SCHEDULE_BY_ID, args![id]).await?;
    let row = row.ok_or_else(|| refused(ErrorKind::Internal, "the schedule was not stored"))?;
    Ok(record_schedule_from(&row)?)
}
