//! Writes of events.

use super::{Apply, Durability, OpError, Tx, refused};
use crate::error::ErrorKind;
use crate::model::NewEvent;
use crate::sql::{args, statements};

statements! {
    EVENT_INSERT = "INSERT INTO event (seq, id, camera_id, event_type, severity, timestamp_us, created_us, payload)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING";
    EVENT_SEQ = "SELECT seq FROM event WHERE id = $1";
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
