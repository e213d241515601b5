//! What a check of the whole store reads: every row whatever its state, and totals beside their sums.

use heldar_base::{Scope, SegmentId, WallTime};

use super::segment::{index_from, indexes_of_stream_query, of_stream_query};
use super::{all, page_limit};
use crate::error::StoreError;
use crate::model::{Page, Segment, StreamSums, StreamTotals};
use crate::sql::statements;

statements! {
    /// One statement, so that both sides are of one moment.
    SUMS = "SELECT s.stream_no, s.segment_count, s.total_bytes, s.newest_end_us,
        (SELECT COUNT(*) FROM segment g WHERE g.stream_no = s.stream_no AND g.state <> 2),
        (SELECT CAST(coalesce(SUM(g.size_bytes), 0) AS BIGINT) FROM segment g
            WHERE g.stream_no = s.stream_no AND g.state <> 2),
        (SELECT MAX(g.end_us) FROM segment g WHERE g.stream_no = s.stream_no)
        FROM stream s WHERE s.camera_id IS NOT NULL ORDER BY s.stream_no";
}

impl crate::Store {
    /// Segments of a stream in any state, also those being deleted, oldest first. The cursor is the start of the last
    /// row. For checks of everything: a limited scope sees none.
    pub async fn every_segment(
        &self,
        scope: &Scope,
        stream_no: i64,
        after: Option<WallTime>,
        limit: u32,
    ) -> Result<Page<Segment, WallTime>, StoreError> {
        if !scope.is_all() {
            return Ok(Page::empty());
        }
        let rows = self.segments_of(of_stream_query(stream_no, after, limit)).await?;
        Ok(Page::cut(rows, page_limit(limit), |segment| segment.id.start))
    }

    /// Fragment entries of segments of a stream that begin in a window, both ends included, oldest first. A limited
    /// scope sees none.
    pub async fn every_index(
        &self,
        scope: &Scope,
        stream_no: i64,
        from: WallTime,
        to: WallTime,
    ) -> Result<Vec<(SegmentId, Vec<u8>)>, StoreError> {
        if !scope.is_all() {
            return Ok(Vec::new());
        }
        let rows = self.rows(indexes_of_stream_query(stream_no, from, to).command()).await?;
        all(&rows, index_from)
    }

    /// Stored totals of every stream beside what they should be, by number. Goes through all segments. A limited scope
    /// sees none.
    pub async fn stream_sums(&self, scope: &Scope) -> Result<Vec<StreamSums>, StoreError> {
        if !scope.is_all() {
            return Ok(Vec::new());
        }
        let rows = self.rows(SUMS.with(Vec::new())).await?;
        all(&rows, |row| {
            let mut c = row.columns();
            let stream_no = c.int()?;
            let mut totals = || {
                Ok::<_, StoreError>(StreamTotals {
                    segment_count: c.int()?,
                    total_bytes: c.int()?,
                    newest_end: c.opt_time()?,
                })
            };
            Ok(StreamSums { stream_no, stored: totals()?, summed: totals()? })
        })
    }
}
