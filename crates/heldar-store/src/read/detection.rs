//! Reads of detections by time.
//!
//! A list of several cameras takes the next rows of each, by the index of camera and time, and the next among those:
//! so that a page costs what it shows, however many detections there are, and whether they are of few or of all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use heldar_base::{CameraId, PublicId, Scope};

use super::batch::{batch_columns, batch_from, batch_joins, detection_columns, detection_from};
use super::{all, fetch_limit, page_limit};
use crate::error::StoreError;
use crate::model::{
    AiTask, Batch, Detection, DetectionCursor, DetectionFilter, DetectionOrder, Page, Share, frame_key,
};
use crate::sql::{CameraFilter, Query, args};

const CAMERAS: &str = "SELECT w.camera_no FROM watched_camera w WHERE w.camera_id IS NOT NULL";
const LINES: &str = "SELECT l.camera_no, l.line_no, l.task_id FROM watched_camera w
    JOIN task_line l ON l.camera_no = w.camera_no WHERE w.camera_id IS NOT NULL";

/// The page is found first and its rows are read after.
const HEAD: &str = concat!(
    "SELECT ",
    detection_columns!(),
    ", ",
    batch_columns!(),
    " FROM (SELECT m.detection_no, m.timestamp_us FROM ("
);
const MIDDLE_DESC: &str = ") m ORDER BY m.timestamp_us DESC, m.detection_no DESC LIMIT $) k";
const MIDDLE_ASC: &str = ") m ORDER BY m.timestamp_us, m.detection_no LIMIT $) k";
const ROWS: &str = concat!(
    "CROSS JOIN detection d CROSS JOIN outbox o ",
    batch_joins!(),
    " AND d.detection_no = k.detection_no AND o.seq = d.detection_no / 1024"
);
const BY_DESC: &str = "ORDER BY k.timestamp_us DESC, k.detection_no DESC";
const BY_ASC: &str = "ORDER BY k.timestamp_us, k.detection_no";

/// One source of rows. Each is limited by itself, which needs a table of its own around it.
const ARM: &str = "SELECT a.detection_no, a.timestamp_us FROM (SELECT d.detection_no, d.timestamp_us FROM";
const ARM_DESC: &str = "ORDER BY d.timestamp_us DESC, d.detection_no DESC LIMIT $) a";
const ARM_ASC: &str = "ORDER BY d.timestamp_us, d.detection_no LIMIT $) a";

/// Sources of one statement at most; SQLite takes 500 (sqlite.org/limits.html, compound SELECT).
const ARMS: usize = 250;

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arm {
    /// All of a camera.
    Camera(i64),
    /// Those of a camera that belong to one of these lines, at least one.
    Lines(i64, Vec<i64>),
    /// Those of a line and a frame with one of these two keys.
    Frame(i64, [String; 2]),
    /// Those of the label that is asked for, of any camera.
    Label,
}

pub(crate) fn cameras_query(filter: &CameraFilter<'_>) -> Query {
    let mut query = Query::new(CAMERAS, Vec::new());
    query.cameras("w.camera_id", filter);
    query.push("ORDER BY w.camera_no", Vec::new());
    query
}

pub(crate) fn lines_query(filter: &CameraFilter<'_>, which: &DetectionFilter) -> Query {
    let mut query = Query::new(LINES, Vec::new());
    query.cameras("w.camera_id", filter);
    query.push_if("AND l.task_type = $", which.task_type.as_deref());
    query.push_if("AND l.task_id = $", which.task);
    query.push("ORDER BY l.line_no", Vec::new());
    query
}

fn push_arm(
    query: &mut Query,
    arm: &Arm,
    which: &DetectionFilter,
    after: Option<DetectionCursor>,
    limit: u32,
) {
    query.push(ARM, Vec::new());
    match arm {
        Arm::Camera(camera_no) => query.push("detection d WHERE d.camera_no = $", args![*camera_no]),
        Arm::Lines(camera_no, lines) => {
            query.push(
                "detection d CROSS JOIN outbox o WHERE d.camera_no = $ AND o.seq = d.detection_no / 1024",
                args![*camera_no],
            );
            query.numbers("o.line_no", lines);
        }
        Arm::Frame(line_no, [one, other]) => query.push(
            "outbox o CROSS JOIN detection d WHERE o.line_no = $ AND o.frame_key IN ($, $)
             AND d.detection_no >= o.seq * 1024 AND d.detection_no < o.seq * 1024 + 1024",
            args![*line_no, one.as_str(), other.as_str()],
        ),
        Arm::Label => query.push(
            "detection d CROSS JOIN watched_camera w WHERE w.camera_no = d.camera_no AND w.camera_id IS NOT NULL",
            Vec::new(),
        ),
    }
    query.push_if("AND d.label = $", which.label.as_deref());
    query.push_if("AND d.track_id = $", which.track_id.as_deref());
    query.push_if("AND d.confidence_ppm >= $", which.min_confidence.map(Share::ppm));
    query.push_if("AND d.timestamp_us >= $", which.range.from);
    query.push_if("AND d.timestamp_us < $", which.range.to);
    let (past, by) = match which.order {
        DetectionOrder::NewestFirst => ("AND (d.timestamp_us, d.detection_no) < ($, $)", ARM_DESC),
        DetectionOrder::OldestFirst => ("AND (d.timestamp_us, d.detection_no) > ($, $)", ARM_ASC),
    };
    if let Some(cursor) = after {
        query.push(past, args![cursor.timestamp_us, cursor.number]);
    }
    query.push(by, args![fetch_limit(limit)]);
}

/// At least one source.
pub(crate) fn list_query(
    arms: &[Arm],
    which: &DetectionFilter,
    after: Option<DetectionCursor>,
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
        DetectionOrder::NewestFirst => (MIDDLE_DESC, BY_DESC),
        DetectionOrder::OldestFirst => (MIDDLE_ASC, BY_ASC),
    };
    query.push(middle, args![fetch_limit(limit)]);
    query.push(ROWS, Vec::new());
    query.push(by, Vec::new());
    query
}

/// The stored forms of a frame id that was given with its namespace or without.
fn frame_keys(frame_id: &str, task: Option<PublicId>) -> [String; 2] {
    [frame_key::encode(frame_id, task), frame_key::encode(&format!("w:{frame_id}"), task)]
}

fn cursor_of(row: &Detection) -> DetectionCursor {
    DetectionCursor { timestamp_us: row.detection.timestamp.0, number: row.id.number() }
}

impl crate::Store {
    /// Detections by time. With a limited scope only those of its cameras.
    pub async fn detections(
        &self,
        scope: &Scope,
        which: &DetectionFilter,
        after: Option<DetectionCursor>,
        limit: u32,
    ) -> Result<Page<Detection, DetectionCursor>, StoreError> {
        let cameras = seen(scope, which.cameras.as_ref());
        let filter = match &cameras {
            None => CameraFilter::Every,
            Some(set) if set.is_empty() => return Ok(Page::empty()),
            Some(set) => CameraFilter::Set(set),
        };
        let arms = self.arms(&filter, which).await?;
        let mut found = Vec::new();
        for arms in arms.chunks(ARMS) {
            found.extend(self.page(arms, which, after, limit).await?);
        }
        if arms.len() > ARMS {
            let key = |row: &Detection| (row.detection.timestamp, row.id.number());
            match which.order {
                DetectionOrder::NewestFirst => found.sort_by_key(|row| std::cmp::Reverse(key(row))),
                DetectionOrder::OldestFirst => found.sort_by_key(key),
            }
        }
        Ok(Page::cut(found, page_limit(limit), cursor_of))
    }

    /// Where the rows of a list come from.
    async fn arms(&self, filter: &CameraFilter<'_>, which: &DetectionFilter) -> Result<Vec<Arm>, StoreError> {
        if which.task_type.is_none() && which.task.is_none() && which.frame_id.is_none() {
            if which.label.is_some() && which.track_id.is_none() && matches!(filter, CameraFilter::Every) {
                return Ok(vec![Arm::Label]);
            }
            let rows = self.query(cameras_query(filter)).await?;
            return all(&rows, |row| Ok(Arm::Camera(row.columns().int()?)));
        }
        let mut arms = Vec::new();
        let mut lines: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for row in self.query(lines_query(filter, which)).await? {
            let mut c = row.columns();
            let (camera_no, line_no, task) = (c.int()?, c.int()?, c.opt_public_id(AiTask::PREFIX)?);
            match &which.frame_id {
                Some(frame_id) => arms.push(Arm::Frame(line_no, frame_keys(frame_id, task))),
                None => lines.entry(camera_no).or_default().push(line_no),
            }
        }
        arms.extend(lines.into_iter().map(|(camera_no, lines)| Arm::Lines(camera_no, lines)));
        Ok(arms)
    }

    async fn page(
        &self,
        arms: &[Arm],
        which: &DetectionFilter,
        after: Option<DetectionCursor>,
        limit: u32,
    ) -> Result<Vec<Detection>, StoreError> {
        let rows = self.query(list_query(arms, which, after, limit)).await?;
        let mut batches: HashMap<i64, Arc<Batch>> = HashMap::new();
        all(&rows, |row| {
            let mut c = row.columns();
            let (id, detection) = detection_from(&mut c)?;
            let batch = match batches.get(&id.seq) {
                Some(batch) => Arc::clone(batch),
                None => {
                    let batch = Arc::new(batch_from(&mut c)?);
                    batches.insert(id.seq, Arc::clone(&batch));
                    batch
                }
            };
            Ok(Detection { id, detection, batch })
        })
    }
}

/// The cameras that are asked for and inside the scope; `None`: all there are.
fn seen(scope: &Scope, asked: Option<&BTreeSet<CameraId>>) -> Option<BTreeSet<CameraId>> {
    match (scope, asked) {
        (Scope::All, asked) => asked.cloned(),
        (Scope::Cameras(set), None) => Some(set.clone()),
        (Scope::Cameras(set), Some(asked)) => Some(set.intersection(asked).cloned().collect()),
    }
}

#[cfg(test)]
pub(crate) fn every_arm() -> Vec<Vec<Arm>> {
    vec![
        vec![Arm::Camera(1)],
        vec![Arm::Camera(1), Arm::Camera(2)],
        vec![Arm::Lines(1, vec![1, 2, 3]), Arm::Lines(2, vec![4])],
        vec![Arm::Frame(1, frame_keys("f", None))],
        vec![Arm::Label],
    ]
}
