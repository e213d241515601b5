//! Reads of segments and their fragment index.

use std::collections::HashMap;
use std::sync::Arc;

use heldar_base::{Scope, SegmentId, StreamId, WallTime};

use super::{all, fetch_limit, page_limit};
use crate::error::StoreError;
use crate::model::{CodecParams, Hole, Page, Segment, SegmentSpan, SegmentState, TimeRange};
use crate::sql::{CameraFilter, Columns, Query, Row, args, statements};

statements! {
    OWNERLESS_STREAMS = "SELECT stream_no FROM stream WHERE camera_id IS NULL AND stream_no >= $1 ORDER BY stream_no";
}

/// A segment with the names of its stream.
const SEGMENTS: &str =
    "SELECT g.stream_no, g.start_us, s.folder, s.kind, g.end_us, g.size_bytes, g.name_no, g.state,
    g.dependent, g.end_reason, g.end_cause, g.params_no, g.holes, g.created_us
    FROM stream s JOIN segment g ON g.stream_no = s.stream_no";
const SPANS: &str = "SELECT g.start_us, g.end_us, g.size_bytes, g.state, g.end_reason, g.end_cause, g.holes
    FROM segment g";
const INDEXES: &str = "SELECT g.stream_no, g.start_us, i.entries
    FROM segment g JOIN segment_index i ON i.stream_no = g.stream_no AND i.start_us = g.start_us";

/// The number of a stream of a camera that was not deleted; its cameras are limited before this closes.
const OF_STREAM: &str =
    "WHERE g.stream_no = (SELECT s.stream_no FROM stream s WHERE s.camera_id = $ AND s.kind = $)";
/// Segments that are not being deleted.
const LIVE: &str = "AND g.state <> 2";
/// From the last segment that begins at or before an instant: as segments of a stream do not overlap, none before it
/// reaches past that instant.
const FROM_FLOOR: &str =
    "AND g.start_us >= coalesce((SELECT MAX(p.start_us) FROM segment p WHERE p.stream_no =
    (SELECT s.stream_no FROM stream s WHERE s.camera_id = $ AND s.kind = $) AND p.start_us <= $), $)
    AND g.end_us > $";

/// Columns of [`SEGMENTS`]; the codec parameters by number until they are looked up.
fn segment_from(row: &Row, params: &HashMap<i64, Arc<CodecParams>>) -> Result<Segment, StoreError> {
    let mut c = row.columns();
    Ok(Segment {
        id: SegmentId { stream_no: c.int()?, start: c.time()? },
        stream: StreamId::new(c.word()?, c.word()?),
        end: c.time()?,
        size_bytes: c.int()?,
        name_no: c.int()?,
        state: SegmentState::from_number(c.int()?)?,
        dependent: c.flag()?,
        end_reason: c.opt_word()?,
        end_cause: c.opt_word()?,
        params: {
            let number = c.int()?;
            let known = params.get(&number);
            Arc::clone(known.ok_or_else(|| StoreError::corrupt("a segment has no codec parameters"))?)
        },
        holes: holes_from(&mut c)?,
        created_at: c.time()?,
    })
}

fn params_no_from(row: &Row) -> Result<i64, StoreError> {
    row.columns_from(11).int()
}

fn holes_from(c: &mut Columns<'_>) -> Result<Vec<Hole>, StoreError> {
    c.opt_text()?.map_or_else(|| Ok(Vec::new()), |text| Hole::decode(&text))
}

fn span_from(row: &Row) -> Result<SegmentSpan, StoreError> {
    let mut c = row.columns();
    Ok(SegmentSpan {
        start: c.time()?,
        end: c.time()?,
        size_bytes: c.int()?,
        open: c.int()? == SegmentState::Open.number(),
        end_reason: c.opt_word()?,
        end_cause: c.opt_word()?,
        holes: holes_from(&mut c)?,
    })
}

pub(super) fn index_from(row: &Row) -> Result<(SegmentId, Vec<u8>), StoreError> {
    let mut c = row.columns();
    Ok((SegmentId { stream_no: c.int()?, start: c.time()? }, c.blob()?))
}

/// Which columns a window is read with.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    Segments,
    Spans,
    Indexes,
}

/// Segments of one stream that overlap a window, ascending, after a start if one is given. The camera of the stream
/// has been checked against the scope.
pub(crate) fn window_query(
    shape: Shape,
    stream: &StreamId,
    range: TimeRange,
    after: Option<WallTime>,
    limit: u32,
) -> Query {
    let head = match shape {
        Shape::Segments => SEGMENTS,
        Shape::Spans => SPANS,
        Shape::Indexes => INDEXES,
    };
    let (camera, kind) = (&stream.camera, stream.kind.as_str());
    let mut query = Query::new(head, Vec::new());
    query.push(OF_STREAM, args![camera, kind]);
    query.push(LIVE, Vec::new());
    match (after, range.from) {
        // Past the first page the start alone decides: what begins after an overlapping segment ends after `from`.
        (Some(after), _) => query.push("AND g.start_us > $", args![after]),
        (None, Some(from)) => query.push(FROM_FLOOR, args![camera, kind, from, from, from]),
        (None, None) => {}
    }
    query.push_if("AND g.start_us < $", range.to);
    query.push("ORDER BY g.start_us LIMIT $", args![fetch_limit(limit)]);
    query
}

/// The newest segments of a stream before a start, descending.
pub(crate) fn newest_query(stream: &StreamId, before: Option<WallTime>, limit: u32) -> Query {
    let mut query = Query::new(SEGMENTS, Vec::new());
    query.push(OF_STREAM, args![&stream.camera, stream.kind.as_str()]);
    query.push(LIVE, Vec::new());
    query.push_if("AND g.start_us < $", before);
    query.push("ORDER BY g.start_us DESC LIMIT $", args![fetch_limit(limit)]);
    query
}

pub(crate) fn by_id_query(filter: &CameraFilter<'_>, id: SegmentId) -> Query {
    let mut query = Query::new(SEGMENTS, Vec::new());
    query.push(
        "WHERE g.stream_no = $ AND g.start_us = $ AND s.camera_id IS NOT NULL",
        args![id.stream_no, id.start],
    );
    query.push(LIVE, Vec::new());
    query.cameras("s.camera_id", filter);
    query
}

pub(crate) fn index_by_id_query(filter: &CameraFilter<'_>, id: SegmentId) -> Query {
    let mut query = Query::new(INDEXES, Vec::new());
    query.push(
        "JOIN stream s ON s.stream_no = g.stream_no
        WHERE g.stream_no = $ AND g.start_us = $ AND s.camera_id IS NOT NULL",
        args![id.stream_no, id.start],
    );
    query.push(LIVE, Vec::new());
    query.cameras("s.camera_id", filter);
    query
}

/// Open segments of cameras that were not deleted. The literals let both engines use the small index of what is not
/// sealed, here and in the next.
pub(crate) fn open_query(filter: &CameraFilter<'_>, after: Option<SegmentId>, limit: u32) -> Query {
    let mut query = Query::new(SEGMENTS, Vec::new());
    query.push("WHERE g.state <> 1 AND g.state = 0 AND s.camera_id IS NOT NULL", Vec::new());
    query.cameras("s.camera_id", filter);
    after_id(&mut query, after);
    query.push("ORDER BY g.stream_no, g.start_us LIMIT $", args![fetch_limit(limit)]);
    query
}

/// Segments marked for deletion.
pub(crate) fn marked_query(after: Option<SegmentId>, limit: u32) -> Query {
    let mut query = Query::new(SEGMENTS, Vec::new());
    query.push("WHERE g.state <> 1 AND g.state = 2", Vec::new());
    after_id(&mut query, after);
    query.push("ORDER BY g.stream_no, g.start_us LIMIT $", args![fetch_limit(limit)]);
    query
}

/// Segments of one stream, in any state, after a start.
pub(crate) fn of_stream_query(stream_no: i64, after: Option<WallTime>, limit: u32) -> Query {
    let mut query = Query::new(SEGMENTS, Vec::new());
    query.push("WHERE g.stream_no = $", args![stream_no]);
    query.push_if("AND g.start_us > $", after);
    query.push("ORDER BY g.start_us LIMIT $", args![fetch_limit(limit)]);
    query
}

/// Fragment entries of one stream's segments that begin in a window, both ends included, in any state.
pub(crate) fn indexes_of_stream_query(stream_no: i64, from: WallTime, to: WallTime) -> Query {
    let mut query = Query::new(INDEXES, Vec::new());
    query.push(
        "WHERE g.stream_no = $ AND g.start_us >= $ AND g.start_us <= $ ORDER BY g.start_us",
        args![stream_no, from, to],
    );
    query
}

fn after_id(query: &mut Query, after: Option<SegmentId>) {
    if let Some(id) = after {
        query.push("AND (g.stream_no, g.start_us) > ($, $)", args![id.stream_no, id.start]);
    }
}

impl crate::Store {
    pub(super) async fn segments_of(&self, query: Query) -> Result<Vec<Segment>, StoreError> {
        let rows = self.query(query).await?;
        let mut numbers = all(&rows, params_no_from)?;
        numbers.sort_unstable();
        numbers.dedup();
        let params = self.params(&numbers).await?;
        all(&rows, |row| segment_from(row, &params))
    }

    /// Segments of a stream that overlap a window, oldest first. The cursor is the start of the last row.
    pub async fn segments(
        &self,
        scope: &Scope,
        stream: &StreamId,
        range: TimeRange,
        after: Option<WallTime>,
        limit: u32,
    ) -> Result<Page<Segment, WallTime>, StoreError> {
        if !scope.covers(&stream.camera) {
            return Ok(Page::empty());
        }
        let rows = self.segments_of(window_query(Shape::Segments, stream, range, after, limit)).await?;
        Ok(Page::cut(rows, page_limit(limit), |segment| segment.id.start))
    }

    /// As [`Store::segments`](Self::segments), with only what timeline and ledger need.
    pub async fn segment_spans(
        &self,
        scope: &Scope,
        stream: &StreamId,
        range: TimeRange,
        after: Option<WallTime>,
        limit: u32,
    ) -> Result<Page<SegmentSpan, WallTime>, StoreError> {
        if !scope.covers(&stream.camera) {
            return Ok(Page::empty());
        }
        let rows = self.query(window_query(Shape::Spans, stream, range, after, limit)).await?;
        Ok(Page::cut(all(&rows, span_from)?, page_limit(limit), |span| span.start))
    }

    /// Fragment entries of segments of a stream that overlap a window, oldest first. The cursor is the start of the
    /// last row.
    pub async fn segment_indexes(
        &self,
        scope: &Scope,
        stream: &StreamId,
        range: TimeRange,
        after: Option<WallTime>,
        limit: u32,
    ) -> Result<Page<(SegmentId, Vec<u8>), WallTime>, StoreError> {
        if !scope.covers(&stream.camera) {
            return Ok(Page::empty());
        }
        let rows = self.query(window_query(Shape::Indexes, stream, range, after, limit)).await?;
        Ok(Page::cut(all(&rows, index_from)?, page_limit(limit), |(id, _)| id.start))
    }

    /// The newest segments of a stream, each page ascending, pages going back in time. The cursor is the start of the
    /// first row.
    pub async fn newest_segments(
        &self,
        scope: &Scope,
        stream: &StreamId,
        before: Option<WallTime>,
        limit: u32,
    ) -> Result<Page<Segment, WallTime>, StoreError> {
        if !scope.covers(&stream.camera) {
            return Ok(Page::empty());
        }
        let rows = self.segments_of(newest_query(stream, before, limit)).await?;
        let mut page = Page::cut(rows, page_limit(limit), |segment| segment.id.start);
        page.rows.reverse();
        Ok(page)
    }

    /// The oldest segment of a stream.
    pub async fn first_segment(
        &self,
        scope: &Scope,
        stream: &StreamId,
    ) -> Result<Option<Segment>, StoreError> {
        let page = self.segments(scope, stream, TimeRange::default(), None, 1).await?;
        Ok(page.rows.into_iter().next())
    }

    /// The newest segment of a stream.
    pub async fn last_segment(
        &self,
        scope: &Scope,
        stream: &StreamId,
    ) -> Result<Option<Segment>, StoreError> {
        let page = self.newest_segments(scope, stream, None, 1).await?;
        Ok(page.rows.into_iter().next())
    }

    /// One segment.
    pub async fn segment(&self, scope: &Scope, id: SegmentId) -> Result<Option<Segment>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(None) };
        Ok(self.segments_of(by_id_query(&filter, id)).await?.into_iter().next())
    }

    /// Fragment entries of one segment.
    pub async fn segment_index(&self, scope: &Scope, id: SegmentId) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(None) };
        let rows = self.query(index_by_id_query(&filter, id)).await?;
        Ok(rows.first().map(index_from).transpose()?.map(|(_, entries)| entries))
    }

    /// Segments that are open in the store, by id: at a start, those that the last process left. The cursor is the id
    /// of the last row.
    pub async fn open_segments(
        &self,
        scope: &Scope,
        after: Option<SegmentId>,
        limit: u32,
    ) -> Result<Page<Segment, SegmentId>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(Page::empty()) };
        let rows = self.segments_of(open_query(&filter, after, limit)).await?;
        Ok(Page::cut(rows, page_limit(limit), |segment| segment.id))
    }

    /// Segments of deleted cameras by id, up to one more than a page.
    async fn ownerless_segments(
        &self,
        after: Option<SegmentId>,
        limit: u32,
    ) -> Result<Vec<Segment>, StoreError> {
        let first_no = after.map_or(0, |id| id.stream_no);
        let streams = self.rows(OWNERLESS_STREAMS.with(args![first_no])).await?;
        let mut found = Vec::new();
        for stream_no in all(&streams, |row| row.columns().int())? {
            if found.len() > page_limit(limit) as usize {
                break;
            }
            let start = after.filter(|id| id.stream_no == stream_no).map(|id| id.start);
            found.extend(self.segments_of(of_stream_query(stream_no, start, limit)).await?);
        }
        Ok(found)
    }

    /// Segments whose files are to be removed, by id: those marked, and all of deleted cameras. The cursor is the id
    /// of the last row. They belong to no camera any more: a limited scope sees none.
    pub async fn deleting_segments(
        &self,
        scope: &Scope,
        after: Option<SegmentId>,
        limit: u32,
    ) -> Result<Page<Segment, SegmentId>, StoreError> {
        if !scope.is_all() {
            return Ok(Page::empty());
        }
        let mut rows = self.segments_of(marked_query(after, limit)).await?;
        rows.extend(self.ownerless_segments(after, limit).await?);
        rows.sort_unstable_by_key(|segment| (segment.id.stream_no, segment.id.start));
        rows.dedup_by_key(|segment| segment.id);
        Ok(Page::cut(rows, page_limit(limit), |segment| segment.id))
    }
}
