//! Reads of events.

use heldar_base::{CameraId, Interval, Micros, Scope};

use super::{all, fetch_limit, page_limit};
use crate::error::{ErrorKind, StoreError};
use crate::model::{
    Alert, AlertCursor, Event, EventCount, EventCursor, EventFilter, EventOrder, NewEvent, Page, Seen,
    Severity, TimeRange,
};
use crate::sql::{CameraFilter, Query, Row, args};

/// Columns of [`event_from`].
macro_rules! event_columns {
    () => {
        "SELECT e.seq, c.site_id, e.id, e.camera_id, e.event_type, e.severity, e.timestamp_us, e.created_us, e.payload,
        e.seen_by, e.seen_us"
    };
}
/// What follows a page of events, in this order of its own columns and of those of `p`.
macro_rules! event_rows {
    ($page:literal, $rows:literal) => {
        concat!(
            "ORDER BY ",
            $page,
            " LIMIT $) p JOIN event e ON e.seq = p.seq LEFT JOIN camera c ON c.id = e.camera_id ORDER BY ",
            $rows
        )
    };
}

/// The page is found first, from an index alone where one has all that is asked for, and its rows are read after.
const EVENTS: &str = concat!(event_columns!(), " FROM (SELECT timestamp_us, seq FROM event WHERE TRUE");
const NEWEST_FIRST: &str = event_rows!("timestamp_us DESC, seq DESC", "p.timestamp_us DESC, p.seq DESC");
const OLDEST_FIRST: &str = event_rows!("timestamp_us, seq", "p.timestamp_us, p.seq");
const LAST_COMMITTED_FIRST: &str = event_rows!("seq DESC", "p.seq DESC");
const FIRST_COMMITTED_FIRST: &str = event_rows!("seq", "p.seq");
const EVENT_WHERE: &str =
    concat!(event_columns!(), " FROM event e LEFT JOIN camera c ON c.id = e.camera_id WHERE TRUE");
/// One step along the index for each type, however many events there are of it.
const TYPES: &str = "WITH RECURSIVE kind (event_type) AS (SELECT MIN(event_type) FROM event WHERE TRUE";
const TYPES_NEXT: &str = "UNION ALL SELECT (SELECT MIN(e.event_type) FROM event e
    WHERE e.event_type > kind.event_type";
const TYPES_FOUND: &str = ") FROM kind WHERE kind.event_type IS NOT NULL)
    SELECT event_type FROM kind WHERE event_type IS NOT NULL LIMIT $";
const COUNTS: &str = "SELECT camera_id, (timestamp_us - $) / $ AS bucket, COUNT(*) FROM event
    WHERE camera_id IS NOT NULL AND timestamp_us >= $ AND timestamp_us < $";
const ALERTS: &str =
    "SELECT timestamp_us, seq, event_type FROM event WHERE camera_id = $ AND severity <> 'info'";

pub(super) fn event_from(row: &Row) -> Result<Event, StoreError> {
    let mut c = row.columns();
    Ok(Event {
        seq: c.int()?,
        site: c.opt_word()?,
        event: NewEvent {
            id: c.text()?,
            camera: c.opt_word()?,
            event_type: c.text()?,
            severity: c.word()?,
            timestamp: c.time()?,
            created_at: c.time()?,
            payload: c.json()?,
        },
        seen: match (c.opt_text()?, c.opt_time()?) {
            (Some(by), Some(at)) => Some(Seen { by, at }),
            _ => None,
        },
    })
}

pub(crate) fn list_query(
    filter: &CameraFilter<'_>,
    which: &EventFilter,
    after: Option<EventCursor>,
    limit: u32,
) -> Query {
    let mut query = Query::new(EVENTS, Vec::new());
    query.cameras("camera_id", filter);
    query.push_if("AND event_type = $", which.event_type.as_deref());
    query.push_if("AND severity = $", which.severity.map(Severity::as_str));
    query.push_if("AND timestamp_us >= $", which.range.from);
    query.push_if("AND timestamp_us < $", which.range.to);
    query.push_if("AND seq > $", which.since_seq);
    let by_commit = which.since_seq.is_some();
    if let Some(EventCursor { timestamp_us, seq }) = after {
        match (which.order, by_commit) {
            (EventOrder::NewestFirst, false) => {
                query.push("AND (timestamp_us, seq) < ($, $)", args![timestamp_us, seq]);
            }
            (EventOrder::OldestFirst, false) => {
                query.push("AND (timestamp_us, seq) > ($, $)", args![timestamp_us, seq]);
            }
            (EventOrder::NewestFirst, true) => query.push("AND seq < $", args![seq]),
            (EventOrder::OldestFirst, true) => query.push("AND seq > $", args![seq]),
        }
    }
    let rows = match (which.order, by_commit) {
        (EventOrder::NewestFirst, false) => NEWEST_FIRST,
        (EventOrder::OldestFirst, false) => OLDEST_FIRST,
        (EventOrder::NewestFirst, true) => LAST_COMMITTED_FIRST,
        (EventOrder::OldestFirst, true) => FIRST_COMMITTED_FIRST,
    };
    query.push(rows, args![fetch_limit(limit)]);
    query
}

pub(crate) fn one_query(filter: &CameraFilter<'_>, id: &str) -> Query {
    let mut query = Query::new(EVENT_WHERE, Vec::new());
    query.cameras("e.camera_id", filter);
    query.push("AND e.id = $", args![id]);
    query
}

/// Events after a number and up to another one, in commit order.
pub(crate) fn committed_query(filter: &CameraFilter<'_>, after: i64, up_to: i64, limit: u32) -> Query {
    let mut query = Query::new(EVENT_WHERE, Vec::new());
    query.cameras("e.camera_id", filter);
    query.push("AND e.seq > $ AND e.seq <= $ ORDER BY e.seq LIMIT $", args![after, up_to, limit]);
    query
}

pub(crate) fn types_query(filter: &CameraFilter<'_>, limit: u32) -> Query {
    let mut query = Query::new(TYPES, Vec::new());
    query.cameras("camera_id", filter);
    query.push(TYPES_NEXT, Vec::new());
    query.cameras("e.camera_id", filter);
    query.push(TYPES_FOUND, args![limit]);
    query
}

pub(crate) fn counts_query(filter: &CameraFilter<'_>, window: Interval, bucket: Micros) -> Query {
    let mut query = Query::new(COUNTS, args![window.start, bucket.0, window.start, window.end]);
    query.cameras("camera_id", filter);
    query.push("GROUP BY camera_id, bucket ORDER BY camera_id, bucket", Vec::new());
    query
}

pub(crate) fn alerts_query(
    camera: &CameraId,
    range: TimeRange,
    after: Option<AlertCursor>,
    limit: u32,
) -> Query {
    let mut query = Query::new(ALERTS, args![camera]);
    query.push_if("AND timestamp_us >= $", range.from);
    query.push_if("AND timestamp_us < $", range.to);
    if let Some(cursor) = after {
        query.push("AND (timestamp_us, seq) > ($, $)", args![cursor.timestamp_us, cursor.seq]);
    }
    query.push("ORDER BY timestamp_us, seq LIMIT $", args![fetch_limit(limit)]);
    query
}

impl crate::Store {
    /// Events, newest first unless asked otherwise. With a limited scope only those of its cameras.
    pub async fn events(
        &self,
        scope: &Scope,
        which: &EventFilter,
        after: Option<EventCursor>,
        limit: u32,
    ) -> Result<Page<Event, EventCursor>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, which.camera.as_ref()) else { return Ok(Page::empty()) };
        let rows = self.query(list_query(&filter, which, after, limit)).await?;
        let cursor = |row: &Event| EventCursor { timestamp_us: row.event.timestamp.0, seq: row.seq };
        Ok(Page::cut(all(&rows, event_from)?, page_limit(limit), cursor))
    }

    /// One event. With a limited scope only one of its cameras.
    pub async fn event(&self, scope: &Scope, id: &str) -> Result<Option<Event>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(None) };
        let rows = self.query(one_query(&filter, id)).await?;
        rows.first().map(event_from).transpose()
    }

    /// Types of which there are events, by name. With a limited scope only those of its cameras.
    pub async fn event_types(&self, scope: &Scope, limit: u32) -> Result<Vec<String>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(Vec::new()) };
        let rows = self.query(types_query(&filter, page_limit(limit))).await?;
        all(&rows, |row| row.columns().text())
    }

    /// How many events each camera had in each bucket of a window; buckets without are left out. By camera and bucket.
    ///
    /// # Errors
    /// A bucket without length.
    pub async fn event_counts(
        &self,
        scope: &Scope,
        camera: Option<&CameraId>,
        window: Interval,
        bucket: Micros,
    ) -> Result<Vec<EventCount>, StoreError> {
        if bucket.0 <= 0 {
            return Err(StoreError::new(ErrorKind::Internal, "a bucket has a length"));
        }
        let Some(filter) = CameraFilter::new(scope, camera) else { return Ok(Vec::new()) };
        let rows = self.query(counts_query(&filter, window, bucket)).await?;
        all(&rows, |row| {
            let mut c = row.columns();
            Ok(EventCount { camera: c.word()?, bucket: c.int()?, count: c.int()? })
        })
    }

    /// Events of a camera of severity warning and above, oldest first.
    pub async fn alerts(
        &self,
        scope: &Scope,
        camera: &CameraId,
        range: TimeRange,
        after: Option<AlertCursor>,
        limit: u32,
    ) -> Result<Page<Alert, AlertCursor>, StoreError> {
        if !scope.covers(camera) {
            return Ok(Page::empty());
        }
        let rows = self.query(alerts_query(camera, range, after, limit)).await?;
        let alerts = all(&rows, |row| {
            let mut c = row.columns();
            Ok(Alert { at: c.time()?, seq: c.int()?, event_type: c.text()? })
        })?;
        let cursor = |alert: &Alert| AlertCursor { timestamp_us: alert.at.0, seq: alert.seq };
        Ok(Page::cut(alerts, page_limit(limit), cursor))
    }
}
