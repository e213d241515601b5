//! Reads of record schedules and of what something that happened has opened.

use heldar_base::{CameraId, PublicId, Scope};

use super::all;
use crate::error::StoreError;
use crate::model::{RecordSchedule, RecordScheduleFields, RecordWindow};
use crate::sql::{CameraFilter, Query, Row, args, statements};

macro_rules! schedule_columns {
    () => {
        "SELECT s.id, s.camera_id, s.days, s.start_minute, s.end_minute, s.enabled, s.created_us, s.updated_us,
        s.revision FROM record_schedule s"
    };
}

statements! {
    SCHEDULE_BY_ID = concat!(schedule_columns!(), " WHERE s.id = $1");
    WINDOW_OF = "SELECT camera_id, opened_us, from_us, recorded_us, end_us, source FROM record_window
        WHERE camera_id = $1";
}

/// A schedule, for the writer.
pub(crate) const RECORD_SCHEDULE_BY_ID: crate::sql::Stmt = SCHEDULE_BY_ID;
/// The window of a camera, for the writer.
pub(crate) const RECORD_WINDOW_OF: crate::sql::Stmt = WINDOW_OF;

const SCHEDULES: &str = concat!(schedule_columns!(), " WHERE TRUE");

pub(crate) fn record_schedule_from(row: &Row) -> Result<RecordSchedule, StoreError> {
    let mut c = row.columns();
    let (id, camera, days) = (c.public_id(RecordSchedule::PREFIX)?, c.word()?, c.text()?);
    let day = |digit: u8| match digit {
        b'0'..=b'6' => Ok(digit - b'0'),
        _ => Err(StoreError::corrupt("a record schedule names a day that is none")),
    };
    Ok(RecordSchedule {
        id,
        camera,
        fields: RecordScheduleFields {
            days: days.bytes().map(day).collect::<Result<_, _>>()?,
            start_minute: c.number()?,
            end_minute: c.number()?,
            enabled: c.flag()?,
        },
        created_at: c.time()?,
        updated_at: c.time()?,
        revision: c.int()?,
    })
}

pub(crate) fn record_window_from(row: &Row) -> Result<RecordWindow, StoreError> {
    let mut c = row.columns();
    Ok(RecordWindow {
        camera: c.word()?,
        opened_at: c.time()?,
        from: c.time()?,
        recorded_from: c.time()?,
        end: c.time()?,
        source: c.text()?,
    })
}

pub(crate) fn schedules_of_query(camera: &CameraId) -> Query {
    let mut query = Query::new(SCHEDULES, Vec::new());
    query.push("AND s.camera_id = $ ORDER BY s.created_us, s.id", args![camera]);
    query
}

pub(crate) fn schedule_query(filter: &CameraFilter<'_>, id: PublicId) -> Query {
    let mut query = Query::new(SCHEDULES, Vec::new());
    query.cameras("s.camera_id", filter);
    query.push("AND s.id = $", args![id]);
    query
}

impl crate::Store {
    /// Every record schedule of a camera, enabled or not, the oldest first, then by id.
    pub async fn record_schedules(
        &self,
        scope: &Scope,
        camera: &CameraId,
    ) -> Result<Vec<RecordSchedule>, StoreError> {
        if !scope.covers(camera) {
            return Ok(Vec::new());
        }
        let rows = self.query(schedules_of_query(camera)).await?;
        all(&rows, record_schedule_from)
    }

    /// One record schedule.
    pub async fn record_schedule(
        &self,
        scope: &Scope,
        id: PublicId,
    ) -> Result<Option<RecordSchedule>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(None) };
        let rows = self.query(schedule_query(&filter, id)).await?;
        rows.first().map(record_schedule_from).transpose()
    }

    /// The newest recording of a camera that something started, open or over.
    pub async fn record_window(
        &self,
        scope: &Scope,
        camera: &CameraId,
    ) -> Result<Option<RecordWindow>, StoreError> {
        if !scope.covers(camera) {
            return Ok(None);
        }
        let rows = self.rows(WINDOW_OF.with(args![camera])).await?;
        rows.first().map(record_window_from).transpose()
    }
}
