//! Removal of rows past their age, and upkeep of the file, in slices that hold nobody up.

use heldar_base::WallTime;

use super::prune_batches::{self, Ages};
use super::segment::HOUR_US;
use super::{Apply, Durability, OpError, Tx};
use crate::sql::{args, statements};

/// Most rows of one slice.
pub(super) const SLICE: u32 = 500;

statements! {
    PRUNE_EVENTS = "DELETE FROM event WHERE seq IN
        (SELECT seq FROM event WHERE timestamp_us < $1 ORDER BY timestamp_us, seq LIMIT $2) RETURNING seq";
    FLOOR_OF_EVENTS = "UPDATE feed_floor SET event_seq = $1 WHERE id = 1 AND event_seq < $1";
    AUDIT_FLOOR = "UPDATE audit_floor SET before_us = $1 WHERE id = 1 AND before_us < $1";
    PRUNE_AUDIT = "DELETE FROM audit WHERE id IN
        (SELECT id FROM audit WHERE created_us < $1 ORDER BY created_us, id LIMIT $2)";
    PRUNE_GAPS = "DELETE FROM gap WHERE id IN
        (SELECT id FROM gap WHERE end_us < $1 AND open = 0 ORDER BY end_us, id LIMIT $2)";
    PRUNE_HOURS = "DELETE FROM stream_hour WHERE (hour_no, stream_no) IN
        (SELECT hour_no, stream_no FROM stream_hour WHERE hour_no < $1 ORDER BY hour_no, stream_no LIMIT $2)";
    PRUNE_SESSIONS = "DELETE FROM session WHERE id IN
        (SELECT id FROM session WHERE expires_us < $1 ORDER BY expires_us, id LIMIT $2)";
    PRUNE_FAILURES = "DELETE FROM sign_in_failure WHERE (account_id, client) IN
        (SELECT account_id, client FROM sign_in_failure
            WHERE updated_us < $1 AND (locked_until_us IS NULL OR locked_until_us < $1)
            ORDER BY updated_us, account_id, client LIMIT $2)";
    PRUNE_KNOWN = "DELETE FROM known_client WHERE (account_id, client) IN
        (SELECT account_id, client FROM known_client WHERE expires_us < $1
            ORDER BY expires_us, account_id, client LIMIT $2)";
    PRUNE_WORKERS = "DELETE FROM ai_worker WHERE (credential, worker_id) IN
        (SELECT credential, worker_id FROM ai_worker WHERE live_until_us < $1
            ORDER BY live_until_us, credential, worker_id LIMIT $2)";
    PRUNE_MOTION = "DELETE FROM motion_span WHERE (camera_no, start_us) IN
        (SELECT camera_no, start_us FROM motion_span WHERE end_us < $1 ORDER BY end_us, camera_no, start_us LIMIT $2)";
    PRUNE_DELIVERIES = "DELETE FROM webhook_delivery WHERE id IN
        (SELECT id FROM webhook_delivery WHERE created_us < $1 ORDER BY created_us, id LIMIT $2)";
    SQLITE_INCREMENTAL_VACUUM = "PRAGMA incremental_vacuum(256)";
}

/// What goes with age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prunable {
    /// Events, by the time at which they happened.
    Events,
    /// What became of events for webhooks, by the time of the first attempt.
    Deliveries,
    /// Audit rows, by the time at which they were written.
    Audit,
    /// Closed gaps, by their end.
    Gaps,
    /// Hours of the write rate; those of the last day are needed.
    Hours,
    /// Login sessions, by their expiry.
    Sessions,
    /// Failed sign-ins, by the last one that was counted; a client that is locked out beyond the instant stays.
    SignInFailures,
    /// Known clients, by their expiry.
    KnownClients,
    /// Workers, by when they counted as gone.
    Workers,
    /// Batches with their detections, by when they were stored and oldest first. Those that a part of the server has not
    /// taken stay, and all above them, until `untaken_before`; then they become dead letters without rows. What batches
    /// are named by and no batch has any more goes too.
    Batches {
        /// Batches from before this instant go in any case.
        untaken_before: WallTime,
        /// Now.
        now: WallTime,
    },
    /// Dead letters, by their last failure.
    DeadLetters,
    /// Stretches with motion, by their end.
    Motion,
    /// Batches, detections, motion and dead letters of cameras that were deleted, of any age.
    OfDeletedCameras,
}

/// Removes the oldest rows of a kind from before an instant, about 500 of them at most; answers with how many went.
/// Fewer than asked for means that none is left.
#[derive(Clone, Debug)]
pub struct Prune {
    /// Of which kind.
    pub what: Prunable,
    /// Rows from before this instant.
    pub before: WallTime,
    /// At most so many, 1 to 500.
    pub limit: u32,
}

impl Apply for Prune {
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, OpError> {
        let limit = self.limit.clamp(1, SLICE);
        let removed = match self.what {
            Prunable::Events => events(tx, self.before, limit).await?,
            Prunable::Deliveries => tx.run(PRUNE_DELIVERIES, args![self.before, limit]).await?,
            Prunable::Audit => {
                tx.run(AUDIT_FLOOR, args![self.before]).await?;
                tx.run(PRUNE_AUDIT, args![self.before, limit]).await?
            }
            Prunable::Gaps => tx.run(PRUNE_GAPS, args![self.before, limit]).await?,
            Prunable::Hours => tx.run(PRUNE_HOURS, args![self.before.0.div_euclid(HOUR_US), limit]).await?,
            Prunable::Sessions => tx.run(PRUNE_SESSIONS, args![self.before, limit]).await?,
            Prunable::SignInFailures => tx.run(PRUNE_FAILURES, args![self.before, limit]).await?,
            Prunable::KnownClients => tx.run(PRUNE_KNOWN, args![self.before, limit]).await?,
            Prunable::Workers => tx.run(PRUNE_WORKERS, args![self.before, limit]).await?,
            Prunable::Batches { untaken_before, now } => {
                let ages = Ages { before: self.before, untaken_before, now };
                prune_batches::batches(tx, ages, limit).await?
            }
            Prunable::DeadLetters => prune_batches::dead_letters(tx, self.before, limit).await?,
            Prunable::Motion => tx.run(PRUNE_MOTION, args![self.before, limit]).await?,
            Prunable::OfDeletedCameras => prune_batches::of_deleted_cameras(tx, limit).await?,
        };
        Ok(removed)
    }
}

/// Removes the oldest events, and notes up to where a reader of the feed has missed some.
async fn events(tx: &mut Tx<'_>, before: WallTime, limit: u32) -> Result<u64, OpError> {
    let (mut removed, mut highest) = (0, 0);
    for row in tx.run_returning(PRUNE_EVENTS, args![before, limit]).await? {
        removed += 1;
        highest = row.columns().int()?.max(highest);
    }
    if removed > 0 {
        tx.run(FLOOR_OF_EVENTS, args![highest]).await?;
    }
    Ok(removed)
}

/// Gives a slice of the free pages of a SQLite file back to the file system; nothing to do on PostgreSQL.
#[derive(Clone, Copy, Debug)]
pub struct ReturnFreePages;

impl Apply for ReturnFreePages {
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        tx.return_free_pages(SQLITE_INCREMENTAL_VACUUM).await?;
        Ok(())
    }
}
