//! Removal of batches past their age and of what a deleted camera leaves, in slices.
//!
//! Invariants: batches go oldest first, their detections before them; a batch that a part of the server has not taken
//! goes only past the second of two ages, and becomes a dead letter in the same commit.

use std::collections::HashSet;

use heldar_base::WallTime;

use super::consumer::raise;
use super::numbers::USED_US;
use super::{OpError, Tx};
use crate::model::DetectionId;
use crate::sql::{args, statements};

statements! {
    OLDEST = "SELECT o.seq, o.created_us, l.camera_no, l.task_type FROM outbox o
        JOIN task_line l ON l.line_no = o.line_no ORDER BY o.seq LIMIT $1";
    APPS = "SELECT consumer, low_seq FROM consumer_cursor WHERE kind = 'app' ORDER BY consumer";
    FINISHED = "SELECT seq FROM consumer_finished WHERE consumer = $1 AND seq <= $2 ORDER BY seq";
    LETTER_PUT = "INSERT INTO dead_letter (consumer, seq, camera_no, task_type, attempts, first_failed_us,
        last_failed_us, error, replay) VALUES ($1, $2, $3, $4, 0, $5, $5, $6, 0)
        ON CONFLICT (consumer, seq) DO NOTHING";
    PARKED = "UPDATE consumer_cursor SET parked = parked + $2 WHERE consumer = $1";
    DETECTIONS_BELOW = "DELETE FROM detection WHERE detection_no IN
        (SELECT detection_no FROM detection WHERE detection_no < $1 ORDER BY detection_no LIMIT $2)";
    OUTBOX_BELOW = "DELETE FROM outbox WHERE seq <= $1";
    FLOOR = "UPDATE feed_floor SET batch_seq = $1 WHERE id = 1 AND batch_seq < $1";
    LINES_UNUSED = "DELETE FROM task_line WHERE line_no IN
        (SELECT l.line_no FROM task_line l WHERE l.used_us < $1
            AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.line_no = l.line_no)
            ORDER BY l.used_us, l.line_no LIMIT $2)";
    PRODUCERS_UNUSED = "DELETE FROM producer WHERE producer_no IN
        (SELECT producer_no FROM producer WHERE used_us < $1 ORDER BY used_us, producer_no LIMIT $2)";
    GONE = "SELECT camera_no FROM watched_camera WHERE camera_id IS NULL ORDER BY camera_no LIMIT 1";
    DETECTIONS_OF = "DELETE FROM detection WHERE detection_no IN
        (SELECT detection_no FROM detection WHERE camera_no = $1 ORDER BY timestamp_us, detection_no LIMIT $2)";
    OUTBOX_OF = "DELETE FROM outbox WHERE seq IN
        (SELECT o.seq FROM task_line l JOIN outbox o ON o.line_no = l.line_no WHERE l.camera_no = $1 LIMIT $2)";
    MOTION_OF = "DELETE FROM motion_span WHERE camera_no = $1 AND start_us IN
        (SELECT start_us FROM motion_span WHERE camera_no = $1 ORDER BY start_us LIMIT $2)";
    LETTERS_OF = "SELECT consumer, seq FROM dead_letter WHERE camera_no = $1 ORDER BY consumer, seq LIMIT $2";
    LETTERS_OLD = "SELECT consumer, seq FROM dead_letter WHERE last_failed_us < $1
        ORDER BY last_failed_us, consumer, seq LIMIT $2";
    LETTER_REMOVE = "DELETE FROM dead_letter WHERE consumer = $1 AND seq = $2";
    LINES_OF = "DELETE FROM task_line WHERE camera_no = $1";
    WATCHED_REMOVE = "DELETE FROM watched_camera WHERE camera_no = $1";
}

/// What is said of a batch that nobody took in time.
const NOT_TAKEN: &str = "not taken within twice the retention; its rows are gone";

/// A batch that is past its age.
struct Old {
    seq: i64,
    camera_no: i64,
    task_type: String,
}

/// How far a part of the server has come.
struct App {
    name: String,
    low_seq: i64,
}

/// Ages of batches.
#[derive(Clone, Copy)]
pub(super) struct Ages {
    /// Batches stored before this instant go when everybody has taken them.
    pub(super) before: WallTime,
    /// Those stored before this one go in any case.
    pub(super) untaken_before: WallTime,
    /// Now.
    pub(super) now: WallTime,
}

/// Removes the oldest batches; how many rows went, at least `limit` unless none is left to go.
pub(super) async fn batches(tx: &mut Tx<'_>, ages: Ages, limit: u32) -> Result<u64, OpError> {
    let mut apps = Vec::new();
    for row in tx.rows(APPS.with(Vec::new())).await? {
        let mut columns = row.columns();
        apps.push(App { name: columns.text()?, low_seq: columns.int()? });
    }
    let taken = apps.iter().map(|app| app.low_seq).min().unwrap_or(i64::MAX);
    let mut old = Vec::new();
    let mut oldest_left = ages.before;
    for row in tx.rows(OLDEST.with(args![limit])).await? {
        let mut columns = row.columns();
        let (seq, created_at) = (columns.int()?, columns.time()?);
        let stays = created_at >= ages.before || (seq > taken && created_at >= ages.untaken_before);
        if stays {
            oldest_left = oldest_left.min(created_at);
            break;
        }
        old.push(Old { seq, camera_no: columns.int()?, task_type: columns.text()? });
    }
    let mut removed = 0;
    if let Some(last) = old.last().map(|batch| batch.seq) {
        for app in apps.iter().filter(|app| app.low_seq < last) {
            give_up(tx, app, &old, last, ages.now).await?;
        }
        tx.run(FLOOR, args![last]).await?;
        let first_kept = DetectionId { seq: last.saturating_add(1), position: 0 }.number();
        removed = tx.run(DETECTIONS_BELOW, args![first_kept, limit]).await?;
        tx.uncount_batches(0, removed);
        if removed >= u64::from(limit) {
            return Ok(removed);
        }
        let gone = tx.run(OUTBOX_BELOW, args![last]).await?;
        tx.uncount_batches(gone, 0);
        removed += gone;
        if removed >= u64::from(limit) {
            return Ok(removed);
        }
    }
    Ok(removed + unused(tx, oldest_left, limit).await?)
}

/// Makes dead letters of the old batches that a part of the server has not taken.
async fn give_up(tx: &mut Tx<'_>, app: &App, old: &[Old], last: i64, now: WallTime) -> Result<(), OpError> {
    let mut finished = HashSet::new();
    for row in tx.rows(FINISHED.with(args![app.name.as_str(), last])).await? {
        finished.insert(row.columns().int()?);
    }
    let mut parked = 0;
    for batch in old.iter().filter(|batch| batch.seq > app.low_seq && !finished.contains(&batch.seq)) {
        let row =
            args![app.name.as_str(), batch.seq, batch.camera_no, batch.task_type.as_str(), now, NOT_TAKEN];
        parked += tx.run(LETTER_PUT, row).await?;
    }
    tx.run(PARKED, args![app.name.as_str(), i64::try_from(parked).unwrap_or(i64::MAX)]).await?;
    raise(tx, &app.name, last, now).await
}

/// Removes numbers of lines and producers that no batch has any more.
async fn unused(tx: &mut Tx<'_>, oldest_left: WallTime, limit: u32) -> Result<u64, OpError> {
    // The note of the last use may be that old.
    let before = oldest_left.0.saturating_sub(USED_US);
    let lines = tx.run(LINES_UNUSED, args![before, limit]).await?;
    let producers = tx.run(PRODUCERS_UNUSED, args![before, limit]).await?;
    if lines + producers > 0 {
        tx.forget_numbers();
    }
    Ok(lines + producers)
}

/// Removes dead letters that last failed before an instant; how many went.
pub(super) async fn dead_letters(tx: &mut Tx<'_>, before: WallTime, limit: u32) -> Result<u64, OpError> {
    let letters = tx.rows(LETTERS_OLD.with(args![before, limit])).await?;
    remove_letters(tx, &letters).await
}

async fn remove_letters(tx: &mut Tx<'_>, letters: &[crate::sql::Row]) -> Result<u64, OpError> {
    let mut removed = 0;
    for row in letters {
        let mut columns = row.columns();
        let (consumer, seq) = (columns.text()?, columns.int()?);
        removed += tx.run(LETTER_REMOVE, args![consumer.as_str(), seq]).await?;
        tx.run(PARKED, args![consumer.as_str(), -1i64]).await?;
    }
    Ok(removed)
}

/// Removes what deleted cameras left; how many rows went, at least `limit` unless none is left.
pub(super) async fn of_deleted_cameras(tx: &mut Tx<'_>, limit: u32) -> Result<u64, OpError> {
    let mut removed = 0;
    while removed < u64::from(limit) {
        let Some(row) = tx.row(GONE, Vec::new()).await? else { break };
        let camera_no = row.columns().int()?;
        removed += of_camera(tx, camera_no, u64::from(limit) - removed).await?;
    }
    Ok(removed)
}

/// Removes rows of a camera, at most about `room`, and its number when none is left.
async fn of_camera(tx: &mut Tx<'_>, camera_no: i64, room: u64) -> Result<u64, OpError> {
    let left = |removed: u64| i64::try_from(room.saturating_sub(removed)).unwrap_or(i64::MAX);
    let mut removed = tx.run(DETECTIONS_OF, args![camera_no, left(0)]).await?;
    tx.uncount_batches(0, removed);
    if removed < room {
        let batches = tx.run(OUTBOX_OF, args![camera_no, left(removed)]).await?;
        tx.uncount_batches(batches, 0);
        removed += batches;
    }
    if removed < room {
        removed += tx.run(MOTION_OF, args![camera_no, left(removed)]).await?;
    }
    if removed < room {
        let letters = tx.rows(LETTERS_OF.with(args![camera_no, left(removed)])).await?;
        removed += remove_letters(tx, &letters).await?;
    }
    if removed < room {
        tx.run(LINES_OF, args![camera_no]).await?;
        removed += tx.run(WATCHED_REMOVE, args![camera_no]).await?;
        tx.forget_numbers();
    }
    Ok(removed)
}
