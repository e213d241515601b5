//! Reads of snapshot schedules and snapshots.

use heldar_base::{CameraId, PublicId, Scope, WallTime};

use super::{all, fetch_limit, page_limit};
use crate::error::StoreError;
use crate::model::{Page, Snapshot, SnapshotSchedule, SnapshotScheduleFields, TimeRange};
use crate::sql::{CameraFilter, Query, Row, args, statements};

macro_rules! schedule_columns {
    () => {
        "SELECT s.id, s.camera_id, s.interval_seconds, s.enabled, s.fired_us, s.last_error, s.created_us, s.updated_us,
        s.revision FROM snapshot_schedule s"
    };
}

statements! {
    SCHEDULE_BY_ID = concat!(schedule_columns!(), " WHERE s.id = $1");
}

/// A schedule, for the writer.
pub(crate) const SNAPSHOT_SCHEDULE_BY_ID: crate::sql::Stmt = SCHEDULE_BY_ID;

const SCHEDULES: &str = concat!(schedule_columns!(), " WHERE TRUE");
/// A camera that was removed and may come back keeps its schedules, which take nothing meanwhile.
const SCHEDULES_THAT_RUN: &str = concat!(
    schedule_columns!(),
    " WHERE s.enabled = 1
    AND EXISTS (SELECT 1 FROM camera c WHERE c.id = s.camera_id AND c.removed_us IS NULL)"
);
const SNAPSHOTS: &str =
    "SELECT n.id, c.camera_id, s.id, n.taken_us, n.size_bytes, n.created_us FROM snapshot_camera c
    JOIN snapshot n ON n.camera_no = c.camera_no LEFT JOIN snapshot_schedule s ON s.id = n.schedule_id
    WHERE c.camera_id IS NOT NULL";

pub(crate) fn snapshot_schedule_from(row: &Row) -> Result<SnapshotSchedule, StoreError> {
    let mut c = row.columns();
    Ok(SnapshotSchedule {
        id: c.public_id(SnapshotSchedule::PREFIX)?,
        camera: c.word()?,
        fields: SnapshotScheduleFields { interval_seconds: c.number()?, enabled: c.flag()? },
        last_fired_at: c.opt_time()?,
        last_error: c.opt_text()?,
        created_at: c.time()?,
        updated_at: c.time()?,
        revision: c.int()?,
    })
}

fn snapshot_from(row: &Row) -> Result<Snapshot, StoreError> {
    let mut c = row.columns();
    Ok(Snapshot {
        id: c.public_id(Snapshot::PREFIX)?,
        camera: c.word()?,
        schedule: c.opt_public_id(SnapshotSchedule::PREFIX)?,
        taken_at: c.time()?,
        size_bytes: c.int()?,
        created_at: c.time()?,
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

pub(crate) fn running_query(filter: &CameraFilter<'_>, after: Option<PublicId>, limit: u32) -> Query {
    let mut query = Query::new(SCHEDULES_THAT_RUN, Vec::new());
    query.cameras("s.camera_id", filter);
    query.push_if("AND s.id > $", after);
    query.push("ORDER BY s.id LIMIT $", args![fetch_limit(limit)]);
    query
}

pub(crate) fn list_query(camera: &CameraId, range: TimeRange, after: Option<WallTime>, limit: u32) -> Query {
    let mut query = Query::new(SNAPSHOTS, Vec::new());
    query.push("AND c.camera_id = $", args![camera]);
    query.push_if("AND n.taken_us >= $", range.from);
    query.push_if("AND n.taken_us <= $", range.to);
    query.push_if("AND n.taken_us < $", after);
    query.push("ORDER BY n.taken_us DESC LIMIT $", args![fetch_limit(limit)]);
    query
}

pub(crate) fn one_query(filter: &CameraFilter<'_>, id: PublicId) -> Query {
    let mut query = Query::new(SNAPSHOTS, Vec::new());
    query.cameras("c.camera_id", filter);
    query.push("AND n.id = $", args![id]);
    query
}

impl crate::Store {
    /// Every snapshot schedule of a camera, the oldest first, then by id.
    pub async fn snapshot_schedules(
        &self,
        scope: &Scope,
        camera: &CameraId,
    ) -> Result<Vec<SnapshotSchedule>, StoreError> {
        if !scope.covers(camera) {
            return Ok(Vec::new());
        }
        let rows = self.query(schedules_of_query(camera)).await?;
        all(&rows, snapshot_schedule_from)
    }

    /// One snapshot schedule.
    pub async fn snapshot_schedule(
        &self,
        scope: &Scope,
        id: PublicId,
    ) -> Result<Option<SnapshotSchedule>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(None) };
        let rows = self.query(schedule_query(&filter, id)).await?;
        rows.first().map(snapshot_schedule_from).transpose()
    }

    /// Snapshot schedules that are enabled, of cameras in use, by id. The cursor is the id of the last row.
    pub async fn running_snapshot_schedules(
        &self,
        scope: &Scope,
        after: Option<PublicId>,
        limit: u32,
    ) -> Result<Page<SnapshotSchedule, PublicId>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(Page::empty()) };
        let rows = self.query(running_query(&filter, after, limit)).await?;
        Ok(Page::cut(all(&rows, snapshot_schedule_from)?, page_limit(limit), |schedule| schedule.id))
    }

    /// Snapshots of a camera that were captured from `range.from` to `range.to`, both included, newest first. The cursor
    /// is the time of the last row.
    pub async fn snapshots(
        &self,
        scope: &Scope,
        camera: &CameraId,
        range: TimeRange,
        after: Option<WallTime>,
        limit: u32,
    ) -> Result<Page<Snapshot, WallTime>, StoreError> {
        if !scope.covers(camera) {
            return Ok(Page::empty());
        }
        let rows = self.query(list_query(camera, range, after, limit)).await?;
        Ok(Page::cut(all(&rows, snapshot_from)?, page_limit(limit), |snapshot| snapshot.taken_at))
    }

    /// One snapshot.
    pub async fn snapshot(&self, scope: &Scope, id: PublicId) -> Result<Option<Snapshot>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(None) };
        let rows = self.query(one_query(&filter, id)).await?;
        rows.first().map(snapshot_from).transpose()
    }
}
