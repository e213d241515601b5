//! Lists of segments and of gap rows in pages, with what is live among them.
//!
//! Owns: that no page is longer than asked for, and that paging neither repeats nor skips a row while rows come and go.

use heldar_base::{CameraId, Scope, StreamId, WallTime};
use heldar_store::{Gap, GapCursor, GapFilter, GapOrder, StoreError, TimeRange};

use crate::footage::SegmentInfo;
use crate::kernel::Kernel;

impl Kernel {
    /// Segments of a stream that overlap a window, by start, from behind `after` on; the second value tells where to go
    /// on.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub async fn segment_page(
        &self,
        scope: &Scope,
        stream: &StreamId,
        range: TimeRange,
        after: Option<WallTime>,
        limit: u32,
    ) -> Result<(Vec<SegmentInfo>, Option<WallTime>), StoreError> {
        let (mut rows, mut next) = self.segments(scope, stream, range, after, limit).await?;
        // Live segments came on top of a full page.
        if rows.len() > limit as usize {
            rows.truncate(limit as usize);
            next = rows.last().map(SegmentInfo::start);
        }
        Ok((rows, next))
    }

    /// The newest segments of a stream that begin before `before`, ascending; the second value goes back in time.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub async fn segment_page_back(
        &self,
        scope: &Scope,
        stream: &StreamId,
        before: Option<WallTime>,
        limit: u32,
    ) -> Result<(Vec<SegmentInfo>, Option<WallTime>), StoreError> {
        let (mut rows, mut next) = self.newest_segments(scope, stream, before, limit).await?;
        let surplus = rows.len().saturating_sub(limit as usize);
        if surplus > 0 {
            rows.drain(..surplus);
            next = rows.first().map(SegmentInfo::start);
        }
        Ok((rows, next))
    }

    /// Gap rows of a camera, newest first; the end of the open one is `now`. The second value tells where to go on.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub async fn gap_page(
        &self,
        scope: &Scope,
        camera: &CameraId,
        which: &GapFilter,
        after: Option<&GapCursor>,
        limit: u32,
        now: WallTime,
    ) -> Result<(Vec<Gap>, Option<GapCursor>), StoreError> {
        let open = self.open_gap(scope, camera);
        let page = self.store.gaps(scope, camera, which, GapOrder::NewestFirst, after, limit).await?;
        let (mut rows, mut next) = (page.rows, page.next);
        rows.iter_mut().filter(|gap| gap.open).for_each(|gap| gap.end = now.max(gap.start));
        if let Some(mut open) = open {
            open.end = now.max(open.start);
            let at = rows.partition_point(|gap| key(gap) > key(&open));
            let here = after.is_none_or(|after| key(&open) < (after.start_us, after.id.clone()))
                && (at < rows.len() || next.is_none());
            if let Some(row) = rows.iter_mut().find(|gap| gap.id == open.id) {
                *row = open;
            } else if here && matches(which, &open) {
                rows.insert(at, open);
            }
        }
        if rows.len() > limit as usize {
            rows.truncate(limit as usize);
            next = rows.last().map(|gap| GapCursor { start_us: gap.start.0, id: gap.id.to_string() });
        }
        Ok((rows, next))
    }
}

/// What gap rows are ordered by.
fn key(gap: &Gap) -> (i64, String) {
    (gap.start.0, gap.id.to_string())
}

/// What the store would say of a row.
fn matches(which: &GapFilter, gap: &Gap) -> bool {
    which.fill_state.is_none_or(|state| state == gap.fill_state)
        && which.cause.is_none_or(|cause| cause == gap.cause)
        && which.range.to.is_none_or(|to| gap.start < to)
        && which.range.from.is_none_or(|from| gap.end > from)
}
