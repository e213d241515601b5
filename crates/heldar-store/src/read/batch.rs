//! Reads of batches in commit order, and of what belongs to a batch.

use std::collections::HashMap;

use heldar_base::{CameraId, Scope, WallTime};

use super::detection::lines_query;
use super::{all, fetch_limit, page_limit};
use crate::error::StoreError;
use crate::model::{
    AiTask, Batch, Consumer, DetectionBox, DetectionFilter, DetectionId, FullBatch, NewDetection,
    NewestFrame, Page, PerceptionTotals, Producer, Share, frame_key,
};
use crate::sql::{CameraFilter, Columns, Query, Row, args};

/// Columns of [`batch_from`].
macro_rules! batch_columns {
    () => {
        "o.seq, w.camera_id, c.site_id, l.task_type, l.task_id, o.frame_key, o.part, o.ticketed, o.late, p.kernel,
        p.credential, p.worker_id, p.lease_id, o.captured_us, o.created_us, o.detection_count, o.event_seq"
    };
}
/// Columns of [`detection_from`].
macro_rules! detection_columns {
    () => {
        "d.detection_no, d.timestamp_us, d.label, d.confidence_ppm, d.x_ppm, d.y_ppm, d.w_ppm, d.h_ppm, d.track_id,
        d.attributes"
    };
}
/// What follows the outbox as `o`. A deleted camera has no row, so that nothing of it is seen. The order of joins is
/// the order of the text: each finds one row by its key.
macro_rules! batch_joins {
    () => {
        "CROSS JOIN task_line l CROSS JOIN watched_camera w CROSS JOIN camera c
        LEFT JOIN producer p ON p.producer_no = o.producer_no
        WHERE l.line_no = o.line_no AND w.camera_no = l.camera_no AND c.id = w.camera_id"
    };
}
pub(super) use {batch_columns, batch_joins, detection_columns};

const BATCHES: &str = concat!("SELECT ", batch_columns!(), " FROM outbox o ", batch_joins!());
/// How far a page reaches that goes through batches of which few are asked for.
const REACH: &str = "SELECT coalesce(MAX(s.seq), 0), COUNT(*) FROM
    (SELECT seq FROM outbox WHERE seq > $ ORDER BY seq LIMIT $) s";
const DETECTIONS: &str = concat!("SELECT ", detection_columns!(), " FROM detection d WHERE TRUE");
const DETECTIONS_OF_LINES: &str = concat!(
    "SELECT ",
    detection_columns!(),
    " FROM outbox o CROSS JOIN detection d WHERE o.seq >= $ AND o.seq <= $
    AND d.detection_no >= o.seq * 1024 AND d.detection_no < o.seq * 1024 + 1024"
);
const NEWEST_FRAMES: &str = "SELECT w.camera_id, l.task_type, l.task_id, MAX(o.captured_us)
    FROM (SELECT line_no, captured_us FROM outbox ORDER BY seq DESC LIMIT $) o
    JOIN task_line l ON l.line_no = o.line_no JOIN watched_camera w ON w.camera_no = l.camera_no
    WHERE w.camera_id IS NOT NULL";
const NEWEST: &str = "SELECT MAX(seq) FROM outbox";
const WAITING: &str = "SELECT COUNT(*), MIN(n.created_us) FROM
    (SELECT created_us FROM outbox WHERE seq > $ ORDER BY seq LIMIT $) n";
const TOTALS: &str = "SELECT batches, detections FROM perception_total WHERE id = 1";

/// Of a batch, and of no use to an index: its rows are read in the order of their numbers, not those of a line first.
const LINE: &str = "+o.line_no";

/// Batches that a page goes through at most to find those that are asked for.
const SCANNED: u32 = 20_000;
/// Lines that are named in a query; of more it goes through the batches of all.
const LINES: usize = 4096;

pub(super) fn batch_from(c: &mut Columns<'_>) -> Result<Batch, StoreError> {
    let (seq, camera, site) = (c.int()?, c.word()?, c.opt_word()?);
    let (task_type, task) = (c.text()?, c.opt_public_id(AiTask::PREFIX)?);
    let frame_id = c.opt_text()?.map(|key| frame_key::decode(key, task));
    let (part, ticketed, late) = (c.number()?, c.flag()?, c.flag()?);
    let (kernel, credential, worker, lease) = (c.opt_text()?, c.opt_text()?, c.opt_text()?, c.opt_text()?);
    let producer = match (kernel, credential) {
        (Some(name), _) => Some(Producer::Kernel(name)),
        (None, Some(credential)) => Some(Producer::Worker { credential, worker, lease }),
        (None, None) => None,
    };
    Ok(Batch {
        seq,
        camera,
        site,
        task_type,
        task,
        frame_id,
        part,
        ticketed,
        late,
        producer,
        captured_at: c.time()?,
        created_at: c.time()?,
        detection_count: c.number()?,
        event_seq: c.opt_int()?,
    })
}

pub(super) fn share(c: &mut Columns<'_>) -> Result<Option<Share>, StoreError> {
    let Some(ppm) = c.opt_number()? else { return Ok(None) };
    Share::from_ppm(ppm).map(Some).ok_or_else(|| StoreError::corrupt("a stored share is above 1"))
}

pub(super) fn detection_from(c: &mut Columns<'_>) -> Result<(DetectionId, NewDetection), StoreError> {
    let id = DetectionId::from_number(c.int()?);
    let (timestamp, label, confidence) = (c.time()?, c.opt_text()?, share(c)?);
    let bbox = match (share(c)?, share(c)?, share(c)?, share(c)?) {
        (Some(x), Some(y), Some(w), Some(h)) => Some(DetectionBox { x, y, w, h }),
        _ => None,
    };
    let (track_id, attributes) = (c.opt_text()?, c.opt_text()?);
    Ok((id, NewDetection { timestamp, label, confidence, bbox, track_id, attributes }))
}

/// `lines`: those of the cameras, at least one, so that rows of others are passed over before anything is joined; `None`: of
/// all.
pub(crate) fn list_query(
    filter: &CameraFilter<'_>,
    lines: Option<&[i64]>,
    after: i64,
    up_to: Option<i64>,
    limit: u32,
) -> Query {
    let mut query = Query::new(BATCHES, Vec::new());
    query.cameras("w.camera_id", filter);
    if let Some(lines) = lines {
        query.numbers(LINE, lines);
    }
    query.push("AND o.seq > $", args![after]);
    query.push_if("AND o.seq <= $", up_to);
    query.push("ORDER BY o.seq LIMIT $", args![fetch_limit(limit)]);
    query
}

pub(crate) fn one_query(filter: &CameraFilter<'_>, seq: i64) -> Query {
    let mut query = Query::new(BATCHES, Vec::new());
    query.cameras("w.camera_id", filter);
    query.push("AND o.seq = $", args![seq]);
    query
}

pub(crate) fn reach_query(after: i64) -> Query {
    Query::new(REACH, args![after, SCANNED])
}

pub(crate) fn detections_query(first: i64, last: i64) -> Query {
    let key = |seq: i64| DetectionId { seq, position: 0 }.number();
    let mut query = Query::new(DETECTIONS, Vec::new());
    query.push(
        "AND d.detection_no >= $ AND d.detection_no < $ ORDER BY d.detection_no",
        args![key(first), key(last.saturating_add(1))],
    );
    query
}

/// Detections of the batches of some lines, at least one, from one number to another, in no order.
pub(crate) fn detections_of_lines_query(lines: &[i64], first: i64, last: i64) -> Query {
    let mut query = Query::new(DETECTIONS_OF_LINES, args![first, last]);
    query.numbers(LINE, lines);
    query
}

pub(crate) fn newest_frames_query(filter: &CameraFilter<'_>, batches: u32) -> Query {
    let mut query = Query::new(NEWEST_FRAMES, args![batches]);
    query.cameras("w.camera_id", filter);
    query.push(
        "GROUP BY w.camera_id, l.task_type, l.task_id ORDER BY w.camera_id, l.task_type, l.task_id",
        Vec::new(),
    );
    query
}

pub(crate) fn newest_query() -> Query {
    Query::new(NEWEST, Vec::new())
}

pub(crate) fn waiting_query(after: i64) -> Query {
    Query::new(WAITING, args![after, Consumer::LAG_LIMIT])
}

pub(crate) fn totals_query() -> Query {
    Query::new(TOTALS, Vec::new())
}

/// Batches in commit order; there is nothing else up to `reached`.
pub(super) struct Committed {
    pub(super) rows: Vec<Batch>,
    pub(super) reached: i64,
}

/// Ends a list before the batch with which it would have more detections, but keeps at least one; the number of its
/// last one if it was cut.
pub(super) fn cut_to_detections(batches: &mut Vec<Batch>, detections: usize) -> Option<i64> {
    let mut room = detections;
    let fit = batches.iter().take_while(|batch| {
        let count = usize::from(batch.detection_count);
        let fits = count <= room;
        room = room.saturating_sub(count);
        fits
    });
    let fit = fit.count().max(1);
    if fit >= batches.len() {
        return None;
    }
    batches.truncate(fit);
    batches.last().map(|batch| batch.seq)
}

/// Batches with what was found of them.
fn joined(batches: Vec<Batch>, mut found: HashMap<i64, Vec<NewDetection>>) -> Vec<FullBatch> {
    let full = batches.into_iter().map(|batch| {
        let detections = found.remove(&batch.seq).unwrap_or_default();
        FullBatch { batch, detections }
    });
    full.collect()
}

impl crate::Store {
    /// Batches after a number, in commit order, of a camera or of all. The cursor is the number to go on after. When few
    /// of the batches are asked for a page may be short, even empty, while there is a next one.
    pub async fn batches(
        &self,
        scope: &Scope,
        camera: Option<&CameraId>,
        after: i64,
        limit: u32,
    ) -> Result<Page<Batch, i64>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, camera) else { return Ok(Page::empty()) };
        // What is committed between the two reads is left to the next page.
        let reach = match filter {
            CameraFilter::Every => None,
            _ => self.reach(after).await?,
        };
        let up_to = reach.map(|(seq, _)| seq);
        let batches = self.listed(&filter, after, up_to, limit).await?;
        let mut page = Page::cut(batches, page_limit(limit), |batch| batch.seq);
        if page.next.is_none()
            && let Some((seq, true)) = reach
        {
            page.next = Some(seq);
        }
        Ok(page)
    }

    /// Batches up to a number that is committed.
    async fn listed(
        &self,
        filter: &CameraFilter<'_>,
        after: i64,
        up_to: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Batch>, StoreError> {
        let lines = match filter {
            CameraFilter::Every => None,
            // Every line of what is committed is there.
            _ => Some(self.line_numbers(filter).await?),
        };
        let lines = match lines.as_deref() {
            Some([]) => return Ok(Vec::new()),
            lines => lines.filter(|lines| lines.len() <= LINES),
        };
        let rows = self.query(list_query(filter, lines, after, up_to, limit)).await?;
        all(&rows, |row| batch_from(&mut row.columns()))
    }

    async fn line_numbers(&self, filter: &CameraFilter<'_>) -> Result<Vec<i64>, StoreError> {
        let rows = self.query(lines_query(filter, &DetectionFilter::default())).await?;
        all(&rows, |row| {
            let mut c = row.columns();
            let (_camera_no, line_no) = (c.int()?, c.int()?);
            Ok(line_no)
        })
    }

    /// The last batch that a page may go through, and whether there may be more behind it.
    async fn reach(&self, after: i64) -> Result<Option<(i64, bool)>, StoreError> {
        let rows = self.query(reach_query(after)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let mut c = row.columns();
        let (seq, count) = (c.int()?, c.int()?);
        Ok(Some((seq, count >= i64::from(SCANNED))))
    }

    /// As [`Store::batches`](Self::batches), with their detections: a page ends before the batch with which it would
    /// have more than `detections`, but holds at least one.
    pub async fn full_batches(
        &self,
        scope: &Scope,
        camera: Option<&CameraId>,
        after: i64,
        limit: u32,
        detections: usize,
    ) -> Result<Page<FullBatch, i64>, StoreError> {
        let mut page = self.batches(scope, camera, after, limit).await?;
        if let Some(last) = cut_to_detections(&mut page.rows, detections) {
            page.next = Some(last);
        }
        let rows = match CameraFilter::new(scope, camera) {
            None | Some(CameraFilter::Every) => self.with_detections(page.rows).await?,
            Some(filter) => self.with_detections_of(&filter, page.rows).await?,
        };
        Ok(Page { rows, next: page.next })
    }

    /// One batch with its detections.
    pub async fn batch(&self, scope: &Scope, seq: i64) -> Result<Option<FullBatch>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(None) };
        let rows = self.query(one_query(&filter, seq)).await?;
        let batches = all(&rows, |row| batch_from(&mut row.columns()))?;
        Ok(self.with_detections(batches).await?.pop())
    }

    /// Batches after a number and up to another one, in commit order: at most `limit`, and how far they reach. Where few
    /// are asked for, it goes through a bounded number of them.
    pub(super) async fn committed_batches(
        &self,
        filter: &CameraFilter<'_>,
        (after, up_to): (i64, i64),
        limit: u32,
    ) -> Result<Committed, StoreError> {
        let mut reached = up_to;
        if !matches!(filter, CameraFilter::Every)
            && let Some((seq, true)) = self.reach(after).await?
        {
            reached = reached.min(seq);
        }
        let rows = self.listed(filter, after, Some(reached), limit).await?;
        let page = Page::cut(rows, page_limit(limit), |batch| batch.seq);
        Ok(Committed { reached: page.next.unwrap_or(reached), rows: page.rows })
    }

    pub(super) async fn with_detections(&self, batches: Vec<Batch>) -> Result<Vec<FullBatch>, StoreError> {
        let mut found: HashMap<i64, Vec<NewDetection>> = HashMap::new();
        // Runs of batches that follow one another are read together, so that nothing of others is read.
        for run in batches.chunk_by(|a, b| a.seq + 1 == b.seq) {
            let ([first, .., last] | [first @ last]) = run else { continue };
            if run.iter().all(|batch| batch.detection_count == 0) {
                continue;
            }
            for row in self.query(detections_query(first.seq, last.seq)).await? {
                let (id, detection) = detection_from(&mut row.columns())?;
                found.entry(id.seq).or_default().push(detection);
            }
        }
        Ok(joined(batches, found))
    }

    /// The same for batches of some cameras, among which there are others.
    async fn with_detections_of(
        &self,
        filter: &CameraFilter<'_>,
        batches: Vec<Batch>,
    ) -> Result<Vec<FullBatch>, StoreError> {
        let lines = self.line_numbers(filter).await?;
        let ([first, .., last] | [first @ last]) = &batches[..] else { return Ok(Vec::new()) };
        if lines.is_empty() || lines.len() > LINES {
            return self.with_detections(batches).await;
        }
        let rows = self.query(detections_of_lines_query(&lines, first.seq, last.seq)).await?;
        let mut detections = all(&rows, |row| detection_from(&mut row.columns()))?;
        detections.sort_by_key(|(id, _)| id.number());
        let mut found: HashMap<i64, Vec<NewDetection>> = HashMap::new();
        for (id, detection) in detections {
            found.entry(id.seq).or_default().push(detection);
        }
        Ok(joined(batches, found))
    }

    /// The newest frame of each line among the newest `batches` batches, up to 100 000: what `late` is told by after a
    /// start. By camera, type and task.
    pub async fn newest_frames(&self, scope: &Scope, batches: u32) -> Result<Vec<NewestFrame>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(Vec::new()) };
        let rows = self.query(newest_frames_query(&filter, batches.min(100_000))).await?;
        all(&rows, |row| {
            let mut c = row.columns();
            Ok(NewestFrame {
                camera: c.word()?,
                task_type: c.text()?,
                task: c.opt_public_id(AiTask::PREFIX)?,
                captured_at: c.time()?,
            })
        })
    }

    /// Number of the newest batch. A limited scope sees none.
    pub async fn newest_batch(&self, scope: &Scope) -> Result<Option<i64>, StoreError> {
        if !scope.is_all() {
            return Ok(None);
        }
        let rows = self.query(newest_query()).await?;
        rows.first().map_or(Ok(None), |row| row.columns().opt_int())
    }

    /// How many batches there are after a number, counted up to [`Consumer::LAG_LIMIT`], and when the oldest of them was
    /// stored. A limited scope sees none.
    pub async fn batches_waiting(
        &self,
        scope: &Scope,
        after: i64,
    ) -> Result<(i64, Option<WallTime>), StoreError> {
        if !scope.is_all() {
            return Ok((0, None));
        }
        let rows = self.query(waiting_query(after)).await?;
        let Some(row) = rows.first() else { return Ok((0, None)) };
        let mut c = row.columns();
        Ok((c.int()?, c.opt_time()?))
    }

    /// How many batches and detections there are, as stored, those of deleted cameras that are being removed among
    /// them. A limited scope sees none.
    pub async fn perception_totals(&self, scope: &Scope) -> Result<Option<PerceptionTotals>, StoreError> {
        if !scope.is_all() {
            return Ok(None);
        }
        let rows = self.query(totals_query()).await?;
        rows.first()
            .map(|row: &Row| {
                let mut c = row.columns();
                Ok(PerceptionTotals { batches: c.int()?, detections: c.int()? })
            })
            .transpose()
    }
}
