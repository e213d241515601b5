//! Writes of batches: a batch, its detections and its event in one commit.

use super::event::append;
use super::numbers::{Line, line, producer_no};
use super::{Apply, Durability, OpError, Tx, conflict, refused};
use crate::error::ErrorKind;
use crate::model::{BatchStored, DetectionId, NewBatch, NewDetection, frame_key};
use crate::sql::{Arg, args, statements};

/// `$1` to `$11` of a row of the outbox.
macro_rules! outbox_insert {
    () => {
        "INSERT INTO outbox (seq, line_no, producer_no, frame_key, part, ticketed, late, captured_us, created_us,
        detection_count) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ON CONFLICT (line_no, frame_key, part) DO NOTHING"
    };
}

statements! {
    OUTBOX_INSERT = outbox_insert!();
    SQLITE_DETECTION_INSERT = "INSERT INTO detection (detection_no, camera_no, timestamp_us, label, confidence_ppm,
        x_ppm, y_ppm, w_ppm, h_ppm, track_id, attributes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    /// One exchange with the server for a batch and its detections.
    POSTGRES_BATCH_INSERT = concat!("WITH stored AS (", outbox_insert!(), " RETURNING seq), seen AS (
        INSERT INTO detection (detection_no, camera_no, timestamp_us, label, confidence_ppm, x_ppm, y_ppm, w_ppm, h_ppm,
        track_id, attributes)
        SELECT stored.seq * 1024 + d.place - 1, $11::bigint, d.at_us, d.label, d.confidence, d.x, d.y, d.w, d.h, d.track,
        d.attributes FROM stored CROSS JOIN unnest($12::bigint[], $13::text[], $14::bigint[], $15::bigint[],
        $16::bigint[], $17::bigint[], $18::bigint[], $19::text[], $20::text[])
        WITH ORDINALITY AS d (at_us, label, confidence, x, y, w, h, track, attributes, place))
        SELECT seq FROM stored");
    OUTBOX_STORED = "SELECT o.seq, o.event_seq, e.id FROM outbox o LEFT JOIN event e ON e.seq = o.event_seq
        WHERE o.line_no = $1 AND o.frame_key = $2 AND o.part = $3";
    OUTBOX_EVENT = "UPDATE outbox SET event_seq = $2 WHERE seq = $1";
}

/// Stores a batch with its detections and its event, and answers with its number. A part of a frame that is stored
/// already (the same camera, task or else type, frame id and part) is a duplicate: nothing of it is stored but its
/// event, if the one before had none.
///
/// Refused with [`ErrorKind::NotFound`] when the camera is not in use, [`ErrorKind::Conflict`] when there are more
/// detections or parts than a batch may have.
#[derive(Clone, Debug)]
pub struct StoreBatch {
    /// The batch.
    pub batch: NewBatch,
}

impl StoreBatch {
    /// Numbers that it takes at most.
    pub(super) fn numbers(&self) -> usize {
        1 + usize::from(self.batch.event.is_some())
    }

    /// Rows that it touches, roughly.
    pub(super) fn rows(&self) -> usize {
        self.numbers() + self.batch.detections.len()
    }
}

impl Apply for StoreBatch {
    // A worker that is not answered sends it again; the frame's id makes that harmless.
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<BatchStored, OpError> {
        let batch = &self.batch;
        if batch.detections.len() > NewBatch::DETECTIONS || batch.part >= NewBatch::PARTS {
            return Err(conflict("the batch has too many detections or parts"));
        }
        let line = line(tx, batch).await?;
        let producer_no = producer_no(tx, &batch.producer, batch.created_at).await?;
        let seq = tx.take_seq();
        let frame_key = batch.frame_id.as_deref().map(|id| frame_key::encode(id, batch.task));
        let row = args![
            seq,
            line.line_no,
            producer_no,
            frame_key.as_deref(),
            batch.part,
            batch.ticketed,
            batch.late,
            batch.captured_at,
            batch.created_at,
            Arg::Int(i64::try_from(batch.detections.len()).ok()),
        ];
        if !insert(tx, row, line, seq, &batch.detections).await? {
            return self.duplicate(tx, line, frame_key).await;
        }
        tx.count_batches(1, batch.detections.len());
        let event_seq = match &batch.event {
            None => None,
            Some(event) => {
                let event_seq = append(tx, event).await?;
                tx.run(OUTBOX_EVENT, args![seq, event_seq]).await?;
                Some(event_seq)
            }
        };
        Ok(BatchStored::Stored { seq, event_seq })
    }
}

impl StoreBatch {
    async fn duplicate(
        &self,
        tx: &mut Tx<'_>,
        line: Line,
        frame_key: Option<String>,
    ) -> Result<BatchStored, OpError> {
        let stored = tx.row(OUTBOX_STORED, args![line.line_no, frame_key, self.batch.part]).await?;
        let stored = stored.ok_or_else(|| refused(ErrorKind::Internal, "the batch was not stored"))?;
        let mut columns = stored.columns();
        let (seq, event_seq, event_id) = (columns.int()?, columns.opt_int()?, columns.opt_text()?);
        match (&self.batch.event, event_seq) {
            (Some(event), None) => {
                let event_seq = append(tx, event).await?;
                tx.run(OUTBOX_EVENT, args![seq, event_seq]).await?;
                let event_id = Some(event.id.clone());
                Ok(BatchStored::Duplicate { seq, event_id, event_seq: Some(event_seq) })
            }
            _ => Ok(BatchStored::Duplicate { seq, event_id, event_seq: None }),
        }
    }
}

/// Inserts a row of the outbox and its detections; false when the part of the frame is stored already.
async fn insert(
    tx: &mut Tx<'_>,
    mut outbox: Vec<Arg>,
    line: Line,
    seq: i64,
    detections: &[NewDetection],
) -> Result<bool, OpError> {
    if tx.is_postgres() && !detections.is_empty() {
        outbox.push(line.camera_no.into());
        outbox.extend(columns(detections));
        return Ok(!tx.run_returning(POSTGRES_BATCH_INSERT, outbox).await?.is_empty());
    }
    if tx.run(OUTBOX_INSERT, outbox).await? == 0 {
        return Ok(false);
    }
    let rows = (0u16..).zip(detections).map(|(position, detection)| {
        let [confidence, x, y, w, h] = numbers(detection);
        args![
            DetectionId { seq, position }.number(),
            line.camera_no,
            detection.timestamp,
            detection.label.as_deref(),
            confidence,
            x,
            y,
            w,
            h,
            detection.track_id.as_deref(),
            detection.attributes.as_deref(),
        ]
    });
    tx.run_each_sqlite(SQLITE_DETECTION_INSERT, rows)?;
    Ok(true)
}

/// Confidence and box in millionths.
fn numbers(detection: &NewDetection) -> [Option<u32>; 5] {
    let part = |share: Option<crate::model::Share>| share.map(crate::model::Share::ppm);
    let b = detection.bbox;
    [
        part(detection.confidence),
        part(b.map(|b| b.x)),
        part(b.map(|b| b.y)),
        part(b.map(|b| b.w)),
        part(b.map(|b| b.h)),
    ]
}

/// `$12` to `$20` of the statement for PostgreSQL.
fn columns(detections: &[NewDetection]) -> [Arg; 9] {
    let ints =
        |value: &dyn Fn(&NewDetection) -> Option<i64>| Arg::Ints(detections.iter().map(value).collect());
    let texts = |value: &dyn Fn(&NewDetection) -> Option<&str>| {
        Arg::Texts(detections.iter().map(|d| value(d).map(str::to_owned)).collect())
    };
    let number = |at: usize| ints(&|d| numbers(d).get(at).copied().flatten().map(i64::from));
    [
        ints(&|d| Some(d.timestamp.0)),
        texts(&|d| d.label.as_deref()),
        number(0),
        number(1),
        number(2),
        number(3),
        number(4),
        texts(&|d| d.track_id.as_deref()),
        texts(&|d| d.attributes.as_deref()),
    ]
}
