//! Writes of events and of the mark that one was seen.

use super::{AppendAudit, Apply, Durability, OpError, Tx, not_found, refused};
use crate::error::ErrorKind;
use crate::model::{AuditEntry, NewEvent, Seen};
use crate::sql::{args, statements};

statements! {
    EVENT_INSERT = "INSERT INTO event (seq, id, camera_id, event_type, severity, timestamp_us, created_us, payload)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING";
    EVENT_SEQ = "SELECT seq FROM event WHERE id = $1";
    EVENT_SEEN = "SELECT seen_by, seen_us FROM event WHERE seq = $1";
    EVENT_MARK = "UPDATE event SET seen_by = $2, seen_us = $3 WHERE seq = $1";
}

/// Appends events and answers with their numbers, in the same order. An id that is there already keeps its row and its
/// number.
#[derive(Clone, Debug)]
pub struct AppendEvents {
    /// Which, in the order in which they get their numbers.
    pub events: Vec<NewEvent>,
}

impl Apply for AppendEvents {
    // What happened is told once: a database that stops uncleanly must not forget it.
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Vec<i64>, OpError> {
        let mut seqs = Vec::with_capacity(self.events.len());
        for event in &self.events {
            seqs.push(append(tx, event).await?);
        }
        Ok(seqs)
    }
}

/// Appends one event; its number.
pub(super) async fn append(tx: &mut Tx<'_>, event: &NewEvent) -> Result<i64, OpError> {
    let seq = tx.take_seq();
    let row = args![
        seq,
        event.id.as_str(),
        event.camera.as_ref().map(|camera| camera.as_str()),
        event.event_type.as_str(),
        event.severity,
        event.timestamp,
        event.created_at,
        event.payload.to_string(),
    ];
    if tx.run(EVENT_INSERT, row).await? > 0 {
        return Ok(seq);
    }
    let stored = tx.row(EVENT_SEQ, args![event.id.as_str()]).await?;
    let stored = stored.ok_or_else(|| refused(ErrorKind::Internal, "the event was not stored"))?;
    Ok(stored.columns().int()?)
}

/// Marks an event as seen, and answers with the mark that stands: the first one. Refused with [`ErrorKind::NotFound`].
#[derive(Clone, Debug)]
pub struct MarkEventSeen {
    /// Which.
    pub seq: i64,
    /// The mark.
    pub seen: Seen,
    /// Appended when there was no mark.
    pub audit: AuditEntry,
}

/// The mark of an event, read inside the transaction.
async fn seen(tx: &mut Tx<'_>, seq: i64) -> Result<Option<Seen>, OpError> {
    let row = tx.row(EVENT_SEEN, args![seq]).await?.ok_or_else(|| not_found("event"))?;
    let mut columns = row.columns();
    Ok(match (columns.opt_text()?, columns.opt_time()?) {
        (Some(by), Some(at)) => Some(Seen { by, at }),
        _ => None,
    })
}

impl Apply for MarkEventSeen {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Seen, OpError> {
        if let Some(first) = seen(tx, self.seq).await? {
            return Ok(first);
        }
        let by: String = self.seen.by.chars().take(Seen::NAME).collect();
        let mark = Seen { by: if by.is_empty() { "unknown".to_owned() } else { by }, at: self.seen.at };
        tx.run(EVENT_MARK, args![self.seq, mark.by.as_str(), mark.at]).await?;
        AppendAudit { entry: self.audit.clone() }.apply(tx).await?;
        Ok(mark)
    }
}

/// Takes the mark off an event; answers whether there was one. Refused with [`ErrorKind::NotFound`].
#[derive(Clone, Debug)]
pub struct UnmarkEventSeen {
    /// Which.
    pub seq: i64,
    /// Appended when there was a mark.
    pub audit: AuditEntry,
}

impl Apply for UnmarkEventSeen {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, OpError> {
        if seen(tx, self.seq).await?.is_none() {
            return Ok(false);
        }
        tx.run(EVENT_MARK, args![self.seq, None::<&str>, None::<i64>]).await?;
        AppendAudit { entry: self.audit.clone() }.apply(tx).await?;
        Ok(true)
    }
}
