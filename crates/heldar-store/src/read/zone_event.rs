//! Reads of zone events by time, as detections are read: a list takes the next rows of each of its sources by index, and
//! the next among those. Counts go through at most [`ZoneBuckets::COUNTED`] of them.

use std::collections::BTreeMap;

use heldar_base::{Interval, Micros, Scope, WallTime};

use super::batch::share;
use super::{all, fetch_limit, page_limit};
use crate::error::{ErrorKind, StoreError};
use crate::model::{
    AiTask, DetectionBox, DetectionId, Page, StoredZoneEvent, Zone, ZoneBucket, ZoneBucketFilter,
    ZoneBuckets, ZoneEvent, ZoneEventCursor, ZoneEventFilter, ZoneEventId, ZoneEventOrder, ZoneSource,
    frame_key,
};
use crate::sql::{CameraFilter, Query, Row, args};

/// Columns of [`zone_event_from`].
macro_rules! zone_event_columns {
    () => {
        "z.seq, e.id, o.frame_key, t.task_id, o.ticketed, z.timestamp_us, z.id_bits, w.camera_id, l.zone_id, l.zone_name,
        l.event_type, l.task_type, z.track_id, z.label, z.dwell_us, z.confidence_ppm, z.anchor_x_ppm, z.anchor_y_ppm,
        z.x_ppm, z.y_ppm, z.w_ppm, z.h_ppm, z.direction_cdeg, z.speed_ppm, z.reason, z.source_no, z.evidence, z.created_us"
    };
}
/// What follows zone events as `z`. A deleted camera has no id, so that nothing of it is seen. The order of joins is the
/// order of the text: each finds one row by its key.
macro_rules! zone_event_joins {
    () => {
        "CROSS JOIN zone_line l CROSS JOIN zone_camera w LEFT JOIN event e ON e.seq = z.seq
        LEFT JOIN outbox o ON o.seq = z.source_no / 1024 LEFT JOIN task_line t ON t.line_no = o.line_no
        WHERE l.line_no = z.line_no AND w.camera_no = z.camera_no AND w.camera_id IS NOT NULL"
    };
}

const CAMERAS: &str = "SELECT w.camera_no FROM zone_camera w WHERE w.camera_id IS NOT NULL";
const LINES: &str = "SELECT l.line_no, l.camera_no FROM zone_camera w CROSS JOIN zone_line l
    WHERE l.camera_no = w.camera_no AND w.camera_id IS NOT NULL";
const ONE: &str = concat!(
    "SELECT ",
    zone_event_columns!(),
    " FROM zone_event z ",
    zone_event_joins!(),
    " AND z.timestamp_us = $"
);

/// The page is found first and its rows are read after.
const HEAD: &str = concat!("SELECT ", zone_event_columns!(), " FROM (SELECT m.seq, m.timestamp_us FROM (");
const MIDDLE_DESC: &str = ") m ORDER BY m.timestamp_us DESC, m.seq DESC LIMIT $) k";
const MIDDLE_ASC: &str = ") m ORDER BY m.timestamp_us, m.seq LIMIT $) k";
const ROWS: &str = concat!("CROSS JOIN zone_event z ", zone_event_joins!(), " AND z.seq = k.seq");
const BY_DESC: &str = "ORDER BY k.timestamp_us DESC, k.seq DESC";
const BY_ASC: &str = "ORDER BY k.timestamp_us, k.seq";

/// One source of rows. Each is limited by itself, which needs a table of its own around it.
const ARM: &str = "SELECT a.seq, a.timestamp_us FROM (SELECT z.seq, z.timestamp_us FROM zone_event z WHERE";
const ARM_DESC: &str = "ORDER BY z.timestamp_us DESC, z.seq DESC LIMIT $) a";
const ARM_ASC: &str = "ORDER BY z.timestamp_us, z.seq LIMIT $) a";
/// Sources of one statement at most; SQLite takes 500 (sqlite.org/limits.html, compound SELECT).
const ARMS: usize = 250;

/// The newest event of a camera in a window that is one too many to be counted.
const ONE_TOO_MANY: &str = "SELECT z.timestamp_us FROM zone_event z
    WHERE z.camera_no = $ AND z.timestamp_us >= $ AND z.timestamp_us < $
    ORDER BY z.timestamp_us DESC LIMIT 1 OFFSET $";
/// By zone, type and type of task, each named by the newest of its lines, so that a track is counted once whatever the zone
/// was called; then by zone and type.
const LINES_COUNTED: &str = "WITH k AS MATERIALIZED (SELECT l.line_no,
    (SELECT MAX(s.line_no) FROM zone_line s WHERE s.camera_no = l.camera_no AND s.zone_id = l.zone_id
        AND s.event_type = l.event_type AND coalesce(s.task_type, '') = coalesce(l.task_type, '')) AS head_no
    FROM zone_line l WHERE l.camera_no = $";
const COUNTS: &str = ") SELECT h.zone_id, MAX(coalesce(n.name, (SELECT r.zone_name FROM zone_line r WHERE r.line_no =
    (SELECT MAX(s.line_no) FROM zone_line s WHERE s.camera_no = h.camera_no AND s.zone_id = h.zone_id)))), h.event_type,
    g.bucket_us,
    CAST(SUM(g.events) AS BIGINT), CAST(SUM(g.tracks) AS BIGINT), CAST(SUM(g.dwell_us) AS BIGINT),
    CAST(SUM(g.dwells) AS BIGINT), MAX(g.longest_us) FROM (
    SELECT k.head_no, z.timestamp_us - z.timestamp_us % $ AS bucket_us, COUNT(*) AS events,
    COUNT(DISTINCT z.track_id) AS tracks, SUM(z.dwell_us) AS dwell_us, COUNT(z.dwell_us) AS dwells,
    MAX(z.dwell_us) AS longest_us FROM k CROSS JOIN zone_event z
    WHERE z.line_no = k.line_no AND z.timestamp_us >= $ AND z.timestamp_us < $";
const COUNTED: &str = "GROUP BY k.head_no, bucket_us) g JOIN zone_line h ON h.line_no = g.head_no
    LEFT JOIN zone n ON n.id = h.zone_id GROUP BY h.zone_id, h.event_type, g.bucket_us
    ORDER BY g.bucket_us, h.zone_id, h.event_type";
/// The type whose dwell is averaged.
const EXIT: &str = "exit";

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arm {
    /// All of a camera.
    Camera(i64),
    /// Those of a line.
    Line(i64),
    /// Those of the track that is asked for, on a camera; of these lines, if there are any.
    Track(i64, Vec<i64>),
}

fn zone_event_from(row: &Row) -> Result<StoredZoneEvent, StoreError> {
    let mut c = row.columns();
    let (seq, event_id, key) = (c.int()?, c.opt_text()?, c.opt_text()?);
    let task = c.opt_public_id(AiTask::PREFIX)?;
    let frame_id = key.map(|key| frame_key::decode(key, task));
    let ticketed = c.opt_int()?.map(|flag| flag != 0);
    let id = ZoneEventId { timestamp: c.time()?, bits: c.int()?.cast_unsigned() };
    let (camera, zone, zone_name) = (c.word()?, c.public_id(Zone::PREFIX)?, c.text()?);
    let (event_type, task_type) = (c.text()?, c.opt_text()?);
    let (track_id, label) = (c.opt_text()?, c.opt_text()?);
    let dwell = c.opt_int()?.map(Micros);
    let confidence = share(&mut c)?;
    let anchor = match (share(&mut c)?, share(&mut c)?) {
        (Some(x), Some(y)) => Some([x, y]),
        _ => None,
    };
    let bbox = match (share(&mut c)?, share(&mut c)?, share(&mut c)?, share(&mut c)?) {
        (Some(x), Some(y), Some(w), Some(h)) => Some(DetectionBox { x, y, w, h }),
        _ => None,
    };
    let direction_deg = c.opt_number::<u16>()?.map(|hundredths| f64::from(hundredths) / 100.0);
    let speed = c.opt_number::<u32>()?.map(|millionths| f64::from(millionths) / 1e6);
    let reason = c.opt_text()?;
    let source = c.opt_int()?.map(DetectionId::from_number).map(|source| ZoneSource {
        seq: source.seq,
        position: (source.position != DetectionId::NONE).then_some(source.position),
    });
    let zone_event = ZoneEvent {
        id,
        camera,
        zone,
        zone_name,
        event_type,
        task_type,
        track_id,
        label,
        dwell,
        confidence,
        anchor,
        bbox,
        direction_deg,
        speed,
        reason,
        source,
        has_evidence: c.flag()?,
        created_at: c.time()?,
    };
    Ok(StoredZoneEvent { seq, event_id, frame_id, ticketed, zone_event })
}

pub(crate) fn cameras_query(filter: &CameraFilter<'_>) -> Query {
    let mut query = Query::new(CAMERAS, Vec::new());
    query.cameras("w.camera_id", filter);
    query.push("ORDER BY w.camera_no", Vec::new());
    query
}

pub(crate) fn lines_query(filter: &CameraFilter<'_>, which: &ZoneEventFilter) -> Query {
    let mut query = Query::new(LINES, Vec::new());
    query.cameras("w.camera_id", filter);
    query.push_if("AND l.zone_id = $", which.zone);
    query.push_if("AND l.event_type = $", which.event_type.as_deref());
    query.push_if("AND l.task_type = $", which.task_type.as_deref());
    query.push("ORDER BY l.line_no", Vec::new());
    query
}

fn push_arm(
    query: &mut Query,
    arm: &Arm,
    which: &ZoneEventFilter,
    after: Option<ZoneEventCursor>,
    limit: u32,
) {
    query.push(ARM, Vec::new());
    match arm {
        Arm::Camera(camera_no) => query.push("z.camera_no = $", args![*camera_no]),
        Arm::Line(line_no) => query.push("z.line_no = $", args![*line_no]),
        Arm::Track(camera_no, lines) => {
            query.push("z.camera_no = $ AND z.track_id = $", args![*camera_no, which.track_id.as_deref()]);
            if !lines.is_empty() {
                query.numbers("z.line_no", lines);
            }
        }
    }
    query.push_if("AND z.label = $", which.label.as_deref());
    query.push_if("AND z.timestamp_us >= $", which.range.from);
    query.push_if("AND z.timestamp_us < $", which.range.to);
    let (past, by) = match which.order {
        ZoneEventOrder::NewestFirst => ("AND (z.timestamp_us, z.seq) < ($, $)", ARM_DESC),
        ZoneEventOrder::OldestFirst => ("AND (z.timestamp_us, z.seq) > ($, $)", ARM_ASC),
    };
    if let Some(cursor) = after {
        query.push(past, args![cursor.timestamp_us, cursor.seq]);
    }
    query.push(by, args![fetch_limit(limit)]);
}

/// At least one source.
pub(crate) fn list_query(
    arms: &[Arm],
    which: &ZoneEventFilter,
    after: Option<ZoneEventCursor>,
    limit: u32,
) -> Query {
    let mut query = Query::new(HEAD, Vec::new());
    for (at, arm) in arms.iter().enumerate() {
        if at > 0 {
            query.push("UNION ALL", Vec::new());
        }
        push_arm(&mut query, arm, which, after, limit);
    }
    let (middle, by) = match which.order {
        ZoneEventOrder::NewestFirst => (MIDDLE_DESC, BY_DESC),
        ZoneEventOrder::OldestFirst => (MIDDLE_ASC, BY_ASC),
    };
    query.push(middle, args![fetch_limit(limit)]);
    query.push(ROWS, Vec::new());
    query.push(by, Vec::new());
    query
}

pub(crate) fn one_query(filter: &CameraFilter<'_>, id: ZoneEventId) -> Query {
    let mut query = Query::new(ONE, args![id.timestamp]);
    query.push("AND z.id_bits = $", args![id.bits.cast_signed()]);
    query.cameras("w.camera_id", filter);
    query.push("LIMIT 1", Vec::new());
    query
}

pub(crate) fn one_too_many_query(camera_no: i64, window: Interval) -> Query {
    Query::new(ONE_TOO_MANY, args![camera_no, window.start, window.end, ZoneBuckets::COUNTED])
}

pub(crate) fn counts_query(camera_no: i64, window: Interval, which: &ZoneBucketFilter) -> Query {
    let mut query = Query::new(LINES_COUNTED, args![camera_no]);
    query.push_if("AND l.zone_id = $", which.zone);
    query.push(COUNTS, args![which.bucket.0, window.start, window.end]);
    query.push_if("AND z.label = $", which.label.as_deref());
    query.push(COUNTED, Vec::new());
    query
}

fn bucket_from(row: &Row) -> Result<ZoneBucket, StoreError> {
    let mut c = row.columns();
    let (zone, zone_name, event_type) = (c.public_id(Zone::PREFIX)?, c.text()?, c.text()?);
    let (start, count, unique_tracks) = (c.time()?, c.int()?, c.int()?);
    let (sum, dwells, longest) = (c.opt_int()?, c.int()?, c.opt_int()?);
    let is_exit = event_type == EXIT;
    Ok(ZoneBucket {
        zone,
        zone_name,
        event_type,
        start,
        count,
        unique_tracks,
        average_dwell: sum.filter(|_| is_exit && dwells > 0).map(|sum| Micros(sum / dwells)),
        longest_dwell: longest.filter(|_| is_exit).map(Micros),
    })
}

fn cursor_of(row: &StoredZoneEvent) -> ZoneEventCursor {
    ZoneEventCursor { timestamp_us: row.zone_event.id.timestamp.0, seq: row.seq }
}

impl crate::Store {
    /// Zone events by time. With a limited scope only those of its cameras.
    pub async fn zone_events(
        &self,
        scope: &Scope,
        which: &ZoneEventFilter,
        after: Option<ZoneEventCursor>,
        limit: u32,
    ) -> Result<Page<StoredZoneEvent, ZoneEventCursor>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, which.camera.as_ref()) else { return Ok(Page::empty()) };
        let arms = self.zone_arms(&filter, which).await?;
        let mut found = Vec::new();
        for arms in arms.chunks(ARMS) {
            let rows = self.query(list_query(arms, which, after, limit)).await?;
            found.extend(all(&rows, zone_event_from)?);
        }
        if arms.len() > ARMS {
            let key = |row: &StoredZoneEvent| (row.zone_event.id.timestamp, row.seq);
            match which.order {
                ZoneEventOrder::NewestFirst => found.sort_by_key(|row| std::cmp::Reverse(key(row))),
                ZoneEventOrder::OldestFirst => found.sort_by_key(key),
            }
        }
        Ok(Page::cut(found, page_limit(limit), cursor_of))
    }

    /// Where the rows of a list come from.
    async fn zone_arms(
        &self,
        filter: &CameraFilter<'_>,
        which: &ZoneEventFilter,
    ) -> Result<Vec<Arm>, StoreError> {
        let of_track = which.track_id.is_some();
        if which.zone.is_none() && which.event_type.is_none() && which.task_type.is_none() {
            let arm = |number| if of_track { Arm::Track(number, Vec::new()) } else { Arm::Camera(number) };
            return Ok(self.first_numbers(cameras_query(filter)).await?.into_iter().map(arm).collect());
        }
        let lines = self.query(lines_query(filter, which)).await?;
        if !of_track {
            return all(&lines, |row| Ok(Arm::Line(row.columns().int()?)));
        }
        let mut of_cameras: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for row in lines {
            let mut c = row.columns();
            let (line_no, camera_no) = (c.int()?, c.int()?);
            of_cameras.entry(camera_no).or_default().push(line_no);
        }
        Ok(of_cameras.into_iter().map(|(camera_no, lines)| Arm::Track(camera_no, lines)).collect())
    }

    /// One zone event.
    pub async fn zone_event(
        &self,
        scope: &Scope,
        id: ZoneEventId,
    ) -> Result<Option<StoredZoneEvent>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(None) };
        let rows = self.query(one_query(&filter, id)).await?;
        rows.first().map(zone_event_from).transpose()
    }

    /// How many zone events a camera had in each bucket of a window, by zone and type. When the window holds more than
    /// [`ZoneBuckets::COUNTED`] the newest are counted, and the answer says from where on.
    ///
    /// # Errors
    /// A bucket without length.
    pub async fn zone_buckets(
        &self,
        scope: &Scope,
        which: &ZoneBucketFilter,
    ) -> Result<ZoneBuckets, StoreError> {
        if which.bucket.0 <= 0 {
            return Err(StoreError::new(ErrorKind::Internal, "a bucket has a length"));
        }
        let mut window = which.window;
        let nothing = |from: WallTime| ZoneBuckets { from, buckets: Vec::new() };
        let Some(filter) = CameraFilter::new(scope, Some(&which.camera)) else {
            return Ok(nothing(window.start));
        };
        let Some(camera_no) = self.first_numbers(cameras_query(&filter)).await?.pop() else {
            return Ok(nothing(window.start));
        };
        if let Some(time) = self.first_numbers(one_too_many_query(camera_no, window)).await?.pop() {
            window.start = WallTime(time) + Micros(1);
        }
        let rows = self.query(counts_query(camera_no, window, which)).await?;
        Ok(ZoneBuckets { from: window.start, buckets: all(&rows, bucket_from)? })
    }

    /// The first column of each row.
    async fn first_numbers(&self, query: Query) -> Result<Vec<i64>, StoreError> {
        let rows = self.query(query).await?;
        all(&rows, |row| row.columns().int())
    }
}

#[cfg(test)]
pub(crate) fn every_arm() -> Vec<Vec<Arm>> {
    vec![
        vec![Arm::Camera(1)],
        vec![Arm::Line(1)],
        vec![Arm::Line(1), Arm::Line(2), Arm::Camera(3)],
        vec![Arm::Track(1, Vec::new())],
        vec![Arm::Track(1, vec![1, 2, 3]), Arm::Track(2, vec![4])],
    ]
}
