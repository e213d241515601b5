//! Reads of stretches of time with motion.

use heldar_base::{CameraId, Interval, Scope, WallTime};

use super::{all, fetch_limit, page_limit};
use crate::error::StoreError;
use crate::model::{MotionSpan, Page, TimeRange};
use crate::sql::{Query, args};

const SPANS: &str = "SELECT w.camera_id, m.start_us, m.end_us FROM watched_camera w
    CROSS JOIN motion_span m WHERE m.camera_no = w.camera_no AND w.camera_id = $";
/// From the span that reaches into the window, if there is one: as no two overlap, it is the last that begins before.
const FROM: &str = "AND m.end_us > $ AND m.start_us >= coalesce((SELECT MAX(b.start_us) FROM motion_span b
    WHERE b.camera_no = w.camera_no AND b.start_us <= $), $)";

pub(crate) fn list_query(camera: &CameraId, range: TimeRange, after: Option<WallTime>, limit: u32) -> Query {
    let mut query = Query::new(SPANS, args![camera]);
    match (after, range.from) {
        (Some(after), _) => query.push("AND m.start_us > $", args![after]),
        (None, Some(from)) => query.push(FROM, args![from, from, from]),
        (None, None) => {}
    }
    query.push_if("AND m.start_us < $", range.to);
    query.push("ORDER BY m.start_us LIMIT $", args![fetch_limit(limit)]);
    query
}

impl crate::Store {
    /// Stretches with motion of a camera that overlap a window, oldest first, whole. The cursor is the start of the last
    /// row.
    pub async fn motion_spans(
        &self,
        scope: &Scope,
        camera: &CameraId,
        range: TimeRange,
        after: Option<WallTime>,
        limit: u32,
    ) -> Result<Page<MotionSpan, WallTime>, StoreError> {
        if !scope.covers(camera) {
            return Ok(Page::empty());
        }
        let rows = self.query(list_query(camera, range, after, limit)).await?;
        let spans = all(&rows, |row| {
            let mut c = row.columns();
            Ok(MotionSpan { camera: c.word()?, span: Interval { start: c.time()?, end: c.time()? } })
        })?;
        Ok(Page::cut(spans, page_limit(limit), |row| row.span.start))
    }
}
