//! Reads of gaps and of the history of what was wanted.

use heldar_base::{CameraId, Scope, WallTime};

use super::{all, fetch_limit, page_limit};
use crate::error::StoreError;
use crate::model::{Gap, GapCursor, GapFilter, GapOrder, Page, TimeRange, WantedChange};
use crate::sql::{CameraFilter, Query, Row, args};

const GAPS: &str =
    "SELECT id, camera_id, start_us, end_us, open, cause, detail, last_error, fill_state, fill_attempts,
    last_attempt_us, filled_us, created_us FROM gap WHERE TRUE";
const WANTED: &str = "SELECT at_us, reason FROM wanted_change WHERE camera_id = $";
/// From the change that holds at an instant.
const WANTED_FROM: &str = "AND at_us >= coalesce((SELECT MAX(p.at_us) FROM wanted_change p
    WHERE p.camera_id = $ AND p.at_us <= $), $)";

fn gap_from(row: &Row) -> Result<Gap, StoreError> {
    let mut c = row.columns();
    Ok(Gap {
        id: c.public_id(Gap::PREFIX)?,
        camera: c.word()?,
        start: c.time()?,
        end: c.time()?,
        open: c.flag()?,
        cause: c.word()?,
        detail: c.opt_text()?,
        last_error: c.opt_text()?,
        fill_state: c.word()?,
        fill_attempts: c.number()?,
        last_attempt_at: c.opt_time()?,
        filled_at: c.opt_time()?,
        created_at: c.time()?,
    })
}

pub(crate) fn list_query(
    filter: &CameraFilter<'_>,
    which: &GapFilter,
    order: GapOrder,
    after: Option<&GapCursor>,
    limit: u32,
) -> Query {
    let mut query = Query::new(GAPS, Vec::new());
    query.cameras("camera_id", filter);
    query.push_if("AND fill_state = $", which.fill_state);
    query.push_if("AND cause = $", which.cause.map(|cause| cause.as_str()));
    query.push_if("AND start_us < $", which.range.to);
    query.push_if("AND end_us > $", which.range.from);
    let (past, by) = match order {
        GapOrder::NewestFirst => ("AND (start_us, id) < ($, $)", "ORDER BY start_us DESC, id DESC LIMIT $"),
        GapOrder::OldestFirst => ("AND (start_us, id) > ($, $)", "ORDER BY start_us, id LIMIT $"),
    };
    if let Some(cursor) = after {
        query.push(past, args![cursor.start_us, cursor.id.as_str()]);
    }
    query.push(by, args![fetch_limit(limit)]);
    query
}

pub(crate) fn open_query(filter: &CameraFilter<'_>) -> Query {
    let mut query = Query::new(GAPS, Vec::new());
    query.cameras("camera_id", filter);
    query.push("AND open = 1 ORDER BY camera_id, id", Vec::new());
    query
}

pub(crate) fn wanted_query(
    camera: &CameraId,
    range: TimeRange,
    after: Option<WallTime>,
    limit: u32,
) -> Query {
    let mut query = Query::new(WANTED, args![camera]);
    match (after, range.from) {
        (Some(after), _) => query.push("AND at_us > $", args![after]),
        (None, Some(from)) => query.push(WANTED_FROM, args![camera, from, from]),
        (None, None) => {}
    }
    query.push_if("AND at_us < $", range.to);
    query.push("ORDER BY at_us LIMIT $", args![fetch_limit(limit)]);
    query
}

impl crate::Store {
    /// Gaps of a camera by start.
    pub async fn gaps(
        &self,
        scope: &Scope,
        camera: &CameraId,
        which: &GapFilter,
        order: GapOrder,
        after: Option<&GapCursor>,
        limit: u32,
    ) -> Result<Page<Gap, GapCursor>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, Some(camera)) else { return Ok(Page::empty()) };
        let rows = self.query(list_query(&filter, which, order, after, limit)).await?;
        let cursor = |gap: &Gap| GapCursor { start_us: gap.start.0, id: gap.id.to_string() };
        Ok(Page::cut(all(&rows, gap_from)?, page_limit(limit), cursor))
    }

    /// The open gap of each camera that has one.
    pub async fn open_gaps(&self, scope: &Scope) -> Result<Vec<Gap>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(Vec::new()) };
        let rows = self.query(open_query(&filter)).await?;
        all(&rows, gap_from)
    }

    /// What was wanted of a camera during a window, oldest first: the change that held at its start, and those inside.
    /// Before the first change of all, recording was not yet thought of. The cursor is the time of the last row.
    pub async fn wanted_history(
        &self,
        scope: &Scope,
        camera: &CameraId,
        range: TimeRange,
        after: Option<WallTime>,
        limit: u32,
    ) -> Result<Page<WantedChange, WallTime>, StoreError> {
        if !scope.covers(camera) {
            return Ok(Page::empty());
        }
        let rows = self.query(wanted_query(camera, range, after, limit)).await?;
        let changes = all(&rows, |row| {
            let mut c = row.columns();
            Ok(WantedChange { at: c.time()?, reason: c.opt_word()? })
        })?;
        Ok(Page::cut(changes, page_limit(limit), |change| change.at))
    }
}
