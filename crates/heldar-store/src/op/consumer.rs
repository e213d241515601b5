//! Writes of consumers: how far they have come, what they could not take.

use heldar_base::WallTime;

use super::{Apply, Durability, OpError, Tx, conflict, not_found, refused};
use crate::error::ErrorKind;
use crate::model::{Consumer, ConsumerKind};
use crate::sql::{args, statements};

statements! {
    CURSOR = "SELECT low_seq FROM consumer_cursor WHERE consumer = $1";
    CURSOR_KIND = "SELECT low_seq, kind FROM consumer_cursor WHERE consumer = $1";
    CURSOR_INSERT = "INSERT INTO consumer_cursor (consumer, kind, low_seq, finished_above, parked, updated_us)
        VALUES ($1, $2, $3, 0, 0, $4)";
    CURSOR_OWN = "UPDATE consumer_cursor SET kind = 'app', updated_us = $2 WHERE consumer = $1 AND kind <> 'app'";
    CURSOR_PROBE = "SELECT c.low_seq, c.finished_above, f.seq FROM consumer_cursor c
        LEFT JOIN consumer_finished f ON f.consumer = c.consumer AND f.seq = $2 WHERE c.consumer = $1";
    CURSOR_MOVE = "UPDATE consumer_cursor SET low_seq = $2, finished_above = finished_above + $3, updated_us = $4
        WHERE consumer = $1";
    CURSOR_RAISE = "UPDATE consumer_cursor SET low_seq = $2, updated_us = $3 WHERE consumer = $1 AND low_seq < $2";
    CURSOR_REMOVE = "DELETE FROM consumer_cursor WHERE consumer = $1";
    FINISHED_PUT = "INSERT INTO consumer_finished (consumer, seq) VALUES ($1, $2)";
    FINISHED_BELOW = "DELETE FROM consumer_finished WHERE consumer = $1 AND seq <= $2";
    CURSOR_PARKED = "UPDATE consumer_cursor SET parked = parked + $2 WHERE consumer = $1";
    BATCH_OF = "SELECT l.camera_no, l.task_type FROM outbox o JOIN task_line l ON l.line_no = o.line_no
        WHERE o.seq = $1";
    LETTER_PUT = "INSERT INTO dead_letter (consumer, seq, camera_no, task_type, attempts, first_failed_us,
        last_failed_us, error, replay) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)";
    LETTER_EXISTS = "SELECT 1 FROM dead_letter WHERE consumer = $1 AND seq = $2";
    LETTER_FAILED = "UPDATE dead_letter SET attempts = attempts + $3, last_failed_us = $4, error = $5, replay = 0
        WHERE consumer = $1 AND seq = $2";
    LETTER_REMOVE = "DELETE FROM dead_letter WHERE consumer = $1 AND seq = $2";
    LETTER_REPLAY = "UPDATE dead_letter SET replay = 1 WHERE consumer = $1 AND seq = $2 AND replay = 0";
    LETTERS_REPLAY = "UPDATE dead_letter SET replay = 1 WHERE consumer = $1 AND replay = 0";
}

/// Longest text of an error, in characters.
const ERROR_CHARS: usize = 800;

/// Makes the cursor of a consumer that has none, at the newest batch; answers with its low-water mark.
#[derive(Clone, Debug)]
pub struct EnsureConsumer {
    /// Its name.
    pub name: String,
    /// Now.
    pub now: WallTime,
}

impl Apply for EnsureConsumer {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<i64, OpError> {
        if let Some(row) = tx.row(CURSOR, args![self.name.as_str()]).await? {
            // A client may have told of itself under this name; from now on its batches are kept.
            tx.run(CURSOR_OWN, args![self.name.as_str(), self.now]).await?;
            return Ok(row.columns().int()?);
        }
        let newest = tx.next_seq() - 1;
        tx.run(CURSOR_INSERT, args![self.name.as_str(), ConsumerKind::App, newest, self.now]).await?;
        Ok(newest)
    }
}

/// A client tells that it has all batches up to a number; made if it is new. Never goes backwards; answers with where
/// it is. Refused with [`ErrorKind::Conflict`] when the name is that of a part of the server.
#[derive(Clone, Debug)]
pub struct Acknowledge {
    /// Its name.
    pub name: String,
    /// Up to where.
    pub seq: i64,
    /// Now.
    pub now: WallTime,
}

impl Apply for Acknowledge {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<i64, OpError> {
        let (name, kind) = (self.name.as_str(), ConsumerKind::Reader);
        // A number that was not given out yet would skip what is still to come.
        let seq = self.seq.clamp(0, tx.next_seq() - 1);
        let Some(row) = tx.row(CURSOR_KIND, args![name]).await? else {
            tx.run(CURSOR_INSERT, args![name, kind, seq, self.now]).await?;
            return Ok(seq);
        };
        let mut columns = row.columns();
        let low_seq = columns.int()?;
        if columns.word::<ConsumerKind>()? != kind {
            return Err(conflict("the name is that of a part of the server"));
        }
        tx.run(CURSOR_RAISE, args![name, seq, self.now]).await?;
        Ok(low_seq.max(seq))
    }
}

/// Forgets a consumer with its dead letters; one that is not there is no error.
#[derive(Clone, Debug)]
pub struct RemoveConsumer {
    /// Its name.
    pub name: String,
}

impl Apply for RemoveConsumer {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        tx.run(CURSOR_REMOVE, args![self.name.as_str()]).await?;
        Ok(())
    }
}

/// A consumer has finished a batch. Stands first among the writes that the consumer makes of it, in one
/// [`super::WriteOp::All`]: it refuses itself with [`ErrorKind::Conflict`] when the batch was finished before, so that
/// it takes effect once.
///
/// Refused with [`ErrorKind::NotFound`] when there is no such consumer, [`ErrorKind::Busy`] when too many batches
/// are finished above one that is not.
#[derive(Clone, Debug)]
pub struct AdvanceCursor {
    /// Who.
    pub consumer: String,
    /// The batch.
    pub seq: i64,
    /// Every batch up to here is finished with this one, or does not concern the consumer. May be below what is stored.
    pub low_seq: i64,
    /// Now.
    pub now: WallTime,
}

impl Apply for AdvanceCursor {
    // Effects and cursor stand or fall together: a batch whose commit is lost is taken again.
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let consumer = self.consumer.as_str();
        let probe = tx.row(CURSOR_PROBE, args![consumer, self.seq]).await?;
        let probe = probe.ok_or_else(|| not_found("consumer"))?;
        let mut columns = probe.columns();
        let (stored_low, above, finished) = (columns.int()?, columns.int()?, columns.opt_int()?);
        if self.seq <= stored_low || finished.is_some() {
            return Err(conflict("the consumer has finished this batch"));
        }
        let low = self.low_seq.max(stored_low);
        let is_above = self.seq > low;
        if is_above && above >= Consumer::FINISHED_ABOVE {
            return Err(refused(ErrorKind::Busy, "too many batches are finished above one that is not"));
        }
        let mut moved = i64::from(is_above);
        if is_above {
            tx.run(FINISHED_PUT, args![consumer, self.seq]).await?;
        }
        if low > stored_low && above > 0 {
            let below = tx.run(FINISHED_BELOW, args![consumer, low]).await?;
            moved -= i64::try_from(below).unwrap_or(i64::MAX);
        }
        tx.run(CURSOR_MOVE, args![consumer, low, moved, self.now]).await?;
        Ok(())
    }
}

/// Raises the low-water mark of a consumer over batches that do not concern it. Never goes backwards. Refused with
/// [`ErrorKind::NotFound`].
#[derive(Clone, Debug)]
pub struct SkipBatches {
    /// Who.
    pub consumer: String,
    /// Every batch up to here is finished or does not concern it.
    pub low_seq: i64,
    /// Now.
    pub now: WallTime,
}

impl Apply for SkipBatches {
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let consumer = self.consumer.as_str();
        let row = tx.row(CURSOR, args![consumer]).await?.ok_or_else(|| not_found("consumer"))?;
        if row.columns().int()? < self.low_seq {
            raise(tx, consumer, self.low_seq, self.now).await?;
        }
        Ok(())
    }
}

/// Raises a low-water mark to above what is stored.
pub(super) async fn raise(tx: &mut Tx<'_>, consumer: &str, low: i64, now: WallTime) -> Result<(), OpError> {
    let below = tx.run(FINISHED_BELOW, args![consumer, low]).await?;
    let moved = i64::try_from(below).unwrap_or(i64::MAX).saturating_neg();
    tx.run(CURSOR_MOVE, args![consumer, low, moved, now]).await?;
    Ok(())
}

/// A consumer cannot take a batch: it counts as finished and becomes a dead letter. Refused as [`AdvanceCursor`]. Of a
/// batch that is gone nothing is kept.
#[derive(Clone, Debug)]
pub struct ParkBatch {
    /// The batch, and how far the consumer is with it.
    pub advance: AdvanceCursor,
    /// How often it was tried.
    pub attempts: u32,
    /// The first failure.
    pub first_failed_at: WallTime,
    /// The last one.
    pub last_failed_at: WallTime,
    /// What it was; a longer text is cut to 800 characters.
    pub error: String,
}

impl Apply for ParkBatch {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let AdvanceCursor { consumer, seq, .. } = &self.advance;
        self.advance.apply(tx).await?;
        let Some(row) = tx.row(BATCH_OF, args![*seq]).await? else { return Ok(()) };
        let mut columns = row.columns();
        let (camera_no, task_type) = (columns.int()?, columns.text()?);
        let row = args![
            consumer.as_str(),
            *seq,
            camera_no,
            task_type,
            self.attempts,
            self.first_failed_at,
            self.last_failed_at,
            cut(&self.error),
        ];
        tx.run(LETTER_PUT, row).await?;
        tx.run(CURSOR_PARKED, args![consumer.as_str(), 1i64]).await?;
        Ok(())
    }
}

fn cut(error: &str) -> String {
    error.chars().take(ERROR_CHARS).collect()
}

/// Marks dead letters to be given to their consumer again; answers with how many were not marked yet.
#[derive(Clone, Debug)]
pub struct ReplayDeadLetters {
    /// Whose.
    pub consumer: String,
    /// Which; `None`: all of them.
    pub seqs: Option<Vec<i64>>,
}

impl Apply for ReplayDeadLetters {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, OpError> {
        let consumer = self.consumer.as_str();
        let Some(seqs) = &self.seqs else { return Ok(tx.run(LETTERS_REPLAY, args![consumer]).await?) };
        let mut marked = 0;
        for seq in seqs {
            marked += tx.run(LETTER_REPLAY, args![consumer, *seq]).await?;
        }
        Ok(marked)
    }
}

/// Removes a dead letter: it was taken after all, or nobody wants it. Stands first among the writes that a consumer
/// makes of the batch, as [`AdvanceCursor`]. Refused with [`ErrorKind::NotFound`].
#[derive(Clone, Debug)]
pub struct RemoveDeadLetter {
    /// Whose.
    pub consumer: String,
    /// Which batch.
    pub seq: i64,
}

impl Apply for RemoveDeadLetter {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let key = args![self.consumer.as_str(), self.seq];
        if tx.row(LETTER_EXISTS, key.clone()).await?.is_none() {
            return Err(not_found("dead letter"));
        }
        tx.run(LETTER_REMOVE, key).await?;
        tx.run(CURSOR_PARKED, args![self.consumer.as_str(), -1i64]).await?;
        Ok(())
    }
}

/// A dead letter failed again; it is no longer to be replayed. One that is gone is no error.
#[derive(Clone, Debug)]
pub struct FailDeadLetter {
    /// Whose.
    pub consumer: String,
    /// Which batch.
    pub seq: i64,
    /// How often it was tried since it was marked.
    pub attempts: u32,
    /// The last failure.
    pub failed_at: WallTime,
    /// What it was; a longer text is cut to 800 characters.
    pub error: String,
}

impl Apply for FailDeadLetter {
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let row = args![self.consumer.as_str(), self.seq, self.attempts, self.failed_at, cut(&self.error)];
        tx.run(LETTER_FAILED, row).await?;
        Ok(())
    }
}
