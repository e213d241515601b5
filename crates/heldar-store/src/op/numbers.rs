//! Numbers that batches name things by: cameras, what a batch is about, who made it.
//!
//! Owns: giving them out, and the writer's memory of those in use. Invariant: what is remembered is committed; whoever
//! rolls a group back, deletes a camera or removes such rows forgets all of it.

use std::collections::HashMap;

use heldar_base::{CameraId, PublicId, WallTime};

use super::zone_event::{ZoneLine, ZoneLineKey};
use super::{OpError, Tx, not_found, refused};
use crate::error::ErrorKind;
use crate::model::{NewBatch, Producer};
use crate::sql::{Row, args, statements};

statements! {
    CAMERA_IN_USE = "SELECT 1 FROM camera WHERE id = $1 AND removed_us IS NULL";
    WATCHED_NO = "SELECT camera_no FROM watched_camera WHERE camera_id = $1";
    WATCHED_INSERT = "INSERT INTO watched_camera (camera_no, camera_id)
        VALUES ((SELECT coalesce(MAX(camera_no), 0) + 1 FROM watched_camera), $1) RETURNING camera_no";
    LINE_NO = "SELECT line_no, used_us FROM task_line WHERE camera_no = $1 AND task_type = $2
        AND coalesce(task_id, '') = $3";
    LINE_INSERT = "INSERT INTO task_line (line_no, camera_no, task_type, task_id, used_us)
        VALUES ((SELECT coalesce(MAX(line_no), 0) + 1 FROM task_line), $1, $2, $3, $4) RETURNING line_no";
    LINE_USED = "UPDATE task_line SET used_us = $2 WHERE line_no = $1";
    PRODUCER_NO = "SELECT producer_no, used_us FROM producer WHERE coalesce(kernel, '') = $1
        AND coalesce(credential, '') = $2 AND coalesce(worker_id, '') = $3 AND coalesce(lease_id, '') = $4";
    PRODUCER_INSERT = "INSERT INTO producer (producer_no, kernel, credential, worker_id, lease_id, used_us)
        VALUES ((SELECT coalesce(MAX(producer_no), 0) + 1 FROM producer), $1, $2, $3, $4, $5) RETURNING producer_no";
    PRODUCER_USED = "UPDATE producer SET used_us = $2 WHERE producer_no = $1";
}

/// How old the note of the last use may get.
pub(super) const USED_US: i64 = 86_400_000_000;
/// How many of a kind are remembered.
const REMEMBERED: usize = 4096;

/// What a batch is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct LineKey {
    camera: CameraId,
    task_type: String,
    task: Option<PublicId>,
}

/// The numbers of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) line_no: i64,
    pub(super) camera_no: i64,
}

/// The writer's memory of numbers.
#[derive(Default)]
pub(crate) struct Numbers {
    lines: HashMap<LineKey, (Line, i64)>,
    producers: HashMap<Producer, (i64, i64)>,
    pub(super) zone_lines: HashMap<ZoneLineKey, (ZoneLine, i64)>,
}

impl Numbers {
    /// Forgets everything; it is read again when needed.
    pub(crate) fn forget(&mut self) {
        self.lines.clear();
        self.producers.clear();
        self.zone_lines.clear();
    }
}

/// Puts a number into a memory of bounded size.
pub(super) fn remember<K: std::hash::Hash + Eq, V>(memory: &mut HashMap<K, V>, key: K, value: V) {
    if memory.len() >= REMEMBERED {
        memory.clear();
    }
    memory.insert(key, value);
}

/// The number in the only row of an answer.
pub(super) fn given_out(rows: &[Row]) -> Result<i64, OpError> {
    let row = rows.first().ok_or_else(|| refused(ErrorKind::Internal, "no number was given out"))?;
    Ok(row.columns().int()?)
}

/// The number of a camera, given out at its first use. Refused with [`ErrorKind::NotFound`] when it is not in use.
pub(super) async fn camera_no(tx: &mut Tx<'_>, camera: &CameraId) -> Result<i64, OpError> {
    if tx.row(CAMERA_IN_USE, args![camera]).await?.is_none() {
        return Err(not_found("camera in use"));
    }
    if let Some(row) = tx.row(WATCHED_NO, args![camera]).await? {
        return Ok(row.columns().int()?);
    }
    given_out(&tx.run_returning(WATCHED_INSERT, args![camera]).await?)
}

/// The number of what a batch is about, given out at its first use. Refused as [`camera_no`].
pub(super) async fn line(tx: &mut Tx<'_>, batch: &NewBatch) -> Result<Line, OpError> {
    let now = batch.created_at;
    let key = LineKey { camera: batch.camera.clone(), task_type: batch.task_type.clone(), task: batch.task };
    let known = match tx.numbers.lines.get(&key) {
        Some(known) => *known,
        None => find_line(tx, &key, now).await?,
    };
    let (line, used) = known;
    if is_stale(used, now) {
        tx.run(LINE_USED, args![line.line_no, now]).await?;
    } else if tx.numbers.lines.contains_key(&key) {
        return Ok(line);
    }
    remember(&mut tx.numbers.lines, key, (line, used.max(now.0)));
    Ok(line)
}

pub(super) fn is_stale(used_us: i64, now: WallTime) -> bool {
    now.0.saturating_sub(used_us) >= USED_US
}

async fn find_line(tx: &mut Tx<'_>, key: &LineKey, now: WallTime) -> Result<(Line, i64), OpError> {
    let camera_no = camera_no(tx, &key.camera).await?;
    let task = key.task.map_or_else(String::new, |id| id.to_string());
    if let Some(row) = tx.row(LINE_NO, args![camera_no, key.task_type.as_str(), task]).await? {
        let mut columns = row.columns();
        return Ok((Line { line_no: columns.int()?, camera_no }, columns.int()?));
    }
    let row = args![camera_no, key.task_type.as_str(), key.task, now];
    let line_no = given_out(&tx.run_returning(LINE_INSERT, row).await?)?;
    Ok((Line { line_no, camera_no }, now.0))
}

/// The number of who made a batch, given out at its first use.
pub(super) async fn producer_no(tx: &mut Tx<'_>, producer: &Producer, now: WallTime) -> Result<i64, OpError> {
    let remembered = tx.numbers.producers.get(producer).copied();
    let (number, used) = match remembered {
        Some(known) => known,
        None => find_producer(tx, producer, now).await?,
    };
    if is_stale(used, now) {
        tx.run(PRODUCER_USED, args![number, now]).await?;
    } else if remembered.is_some() {
        return Ok(number);
    }
    remember(&mut tx.numbers.producers, producer.clone(), (number, used.max(now.0)));
    Ok(number)
}

async fn find_producer(tx: &mut Tx<'_>, producer: &Producer, now: WallTime) -> Result<(i64, i64), OpError> {
    let (kernel, credential, worker, lease) = match producer {
        Producer::Worker { credential, worker, lease } => {
            (None, Some(credential.as_str()), worker.as_deref(), lease.as_deref())
        }
        Producer::Kernel(name) => (Some(name.as_str()), None, None, None),
    };
    let key = args![
        kernel.unwrap_or_default(),
        credential.unwrap_or_default(),
        worker.unwrap_or_default(),
        lease.unwrap_or_default()
    ];
    if let Some(row) = tx.row(PRODUCER_NO, key).await? {
        let mut columns = row.columns();
        return Ok((columns.int()?, columns.int()?));
    }
    let row = args![kernel, credential, worker, lease, now];
    Ok((given_out(&tx.run_returning(PRODUCER_INSERT, row).await?)?, now.0))
}
