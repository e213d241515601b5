//! Writes of segments and their fragment index.
//!
//! Invariants kept here: segments of one stream never overlap; `stream.segment_count` and `stream.total_bytes` are the
//! sums over its segments that are not being deleted, and move in the commit that changes these.

use heldar_base::{Cause, EndReason, SegmentId, WallTime};

use super::{Apply, Durability, OpError, Tx, conflict, not_found};
use crate::error::StoreError;
use crate::model::{Hole, SegmentState};
use crate::sql::{args, statements};

/// Microseconds of an hour.
pub(crate) const HOUR_US: i64 = 3_600_000_000;

statements! {
    /// The stream, the segment if it is there, and the neighbours that it must not reach into.
    SEGMENT_PROBE = "SELECT g.end_us, g.size_bytes, g.state,
        (SELECT p.end_us FROM segment p WHERE p.stream_no = $1 AND p.start_us < $2 ORDER BY p.start_us DESC LIMIT 1),
        (SELECT n.start_us FROM segment n WHERE n.stream_no = $1 AND n.start_us > $2 ORDER BY n.start_us LIMIT 1)
        FROM stream s LEFT JOIN segment g ON g.stream_no = s.stream_no AND g.start_us = $2
        WHERE s.stream_no = $1";
    SEGMENT_INSERT = "INSERT INTO segment (stream_no, start_us, end_us, size_bytes, state, end_reason, end_cause, holes,
        created_us, params_no, name_no, dependent) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    SEGMENT_UPDATE = "UPDATE segment SET end_us = $3, size_bytes = $4, state = $5, end_reason = $6, end_cause = $7,
        holes = $8 WHERE stream_no = $1 AND start_us = $2";
    SEGMENT_CAUSE = "UPDATE segment SET end_cause = $3 WHERE stream_no = $1 AND start_us = $2 AND end_cause IS NULL";
    SEGMENT_MEND = "UPDATE segment SET end_us = $3, size_bytes = $4, holes = $5 WHERE stream_no = $1 AND start_us = $2";
    INDEX_PUT = "INSERT INTO segment_index (stream_no, start_us, entries) VALUES ($1, $2, $3)
        ON CONFLICT (stream_no, start_us) DO UPDATE SET entries = excluded.entries";
    TOTALS_MOVE = "UPDATE stream SET segment_count = segment_count + $2, total_bytes = total_bytes + $3,
        newest_end_us = CASE WHEN newest_end_us >= $4 THEN newest_end_us ELSE $4 END WHERE stream_no = $1";
    TOTALS_DROP = "UPDATE stream SET segment_count = segment_count - $2, total_bytes = total_bytes - $3
        WHERE stream_no = $1";
    TOTALS_RESTATE = "UPDATE stream SET
        segment_count = (SELECT COUNT(*) FROM segment g WHERE g.stream_no = $1 AND g.state <> 2),
        total_bytes = (SELECT CAST(coalesce(SUM(g.size_bytes), 0) AS BIGINT) FROM segment g
            WHERE g.stream_no = $1 AND g.state <> 2),
        newest_end_us = CASE WHEN newest_end_us >= coalesce((SELECT MAX(g.end_us) FROM segment g
            WHERE g.stream_no = $1), newest_end_us) THEN newest_end_us
            ELSE (SELECT MAX(g.end_us) FROM segment g WHERE g.stream_no = $1) END
        WHERE stream_no = $1";
    HOUR_ADD = "INSERT INTO stream_hour (stream_no, hour_no, bytes) VALUES ($1, $2, $3)
        ON CONFLICT (stream_no, hour_no) DO UPDATE SET bytes = stream_hour.bytes + excluded.bytes";
    MARK_SEALED = "UPDATE segment SET state = 2 WHERE stream_no = $1 AND start_us = $2 AND state = 1
        RETURNING size_bytes";
    MARK_ANY = "UPDATE segment SET state = 2 WHERE stream_no = $1 AND start_us = $2 AND state <> 2
        RETURNING size_bytes";
    REMOVE_MARKED = "DELETE FROM segment WHERE stream_no = $1 AND start_us = $2 AND (state = 2
        OR EXISTS (SELECT 1 FROM stream WHERE stream.stream_no = $1 AND stream.camera_id IS NULL))";
    REMOVE_EMPTY_STREAM = "DELETE FROM stream WHERE stream_no = $1 AND camera_id IS NULL
        AND NOT EXISTS (SELECT 1 FROM segment WHERE segment.stream_no = $1)";
}

/// How a complete segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Why.
    pub reason: EndReason,
    /// Cause of the hole that follows, where the reason alone does not tell it.
    pub cause: Option<Cause>,
}

/// Writes a segment as it is now: at its first fragment, at each sync, at its end, and when a file is found without a
/// row. Carries the whole row, so that sending it again, late or out of order changes nothing that is newer.
///
/// Refused with [`crate::ErrorKind::NotFound`] when the stream is gone, [`crate::ErrorKind::Conflict`] when it overlaps
/// another segment of the stream or was sealed otherwise.
#[derive(Clone, Debug)]
pub struct PutSegment {
    /// Its stream and its first instant.
    pub id: SegmentId,
    /// End of its last picture.
    pub end: WallTime,
    /// Size of its file up to the last whole fragment.
    pub size_bytes: i64,
    /// Number at the end of its file name; 1 has none. Fixed by the first write.
    pub name_no: i64,
    /// Its codec parameters, from [`super::EnsureParams`]. Fixed by the first write.
    pub params_no: i64,
    /// True when its pictures up to the next sync sample need the segment before it. Fixed by the first write.
    pub dependent: bool,
    /// How it ended; `None` while it is being written. A cause is added to a seal that has none.
    pub seal: Option<Seal>,
    /// Holes inside, in order.
    pub holes: Vec<Hole>,
    /// Fragment entries up to here; `None` leaves what is stored.
    pub index: Option<Vec<u8>>,
    /// When it was first indexed. Fixed by the first write.
    pub created_at: WallTime,
}

/// What became of a [`PutSegment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is stored.
    Stored,
    /// What is stored is as new or newer.
    Unchanged,
    /// The segment is being deleted.
    Deleting,
}

/// What the probe found.
struct Probe {
    /// End, size and state of the segment itself.
    stored: Option<(WallTime, i64, SegmentState)>,
    previous_end: Option<WallTime>,
    next_start: Option<WallTime>,
}

async fn probe(tx: &mut Tx<'_>, id: SegmentId) -> Result<Option<Probe>, StoreError> {
    let Some(row) = tx.row(SEGMENT_PROBE, args![id.stream_no, id.start]).await? else { return Ok(None) };
    let mut columns = row.columns();
    let (end, size, state) = (columns.opt_time()?, columns.opt_int()?, columns.opt_int()?);
    let stored = match (end, size, state) {
        (Some(end), Some(size), Some(state)) => Some((end, size, SegmentState::from_number(state)?)),
        _ => None,
    };
    Ok(Some(Probe { stored, previous_end: columns.opt_time()?, next_start: columns.opt_time()? }))
}

impl Apply for PutSegment {
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<PutOutcome, OpError> {
        let probe = probe(tx, self.id).await?.ok_or_else(|| not_found("stream"))?;
        if self.end < self.id.start || probe.next_start.is_some_and(|next| next < self.end) {
            return Err(conflict("the segment overlaps the one after it"));
        }
        match probe.stored {
            None => {
                if probe.previous_end.is_some_and(|end| end > self.id.start) {
                    return Err(conflict("the segment overlaps the one before it"));
                }
                self.insert(tx).await?;
            }
            Some((end, size, SegmentState::Open)) => {
                if self.seal.is_none() && (self.end < end || self.size_bytes < size) {
                    return Ok(PutOutcome::Unchanged);
                }
                self.update(tx, size).await?;
            }
            Some((end, size, SegmentState::Sealed)) => {
                if self.seal.is_some() && (end, size) != (self.end, self.size_bytes) {
                    return Err(conflict("the segment was sealed otherwise"));
                }
                if let Some(cause) = self.seal.and_then(|seal| seal.cause) {
                    tx.run(SEGMENT_CAUSE, args![self.id.stream_no, self.id.start, cause.as_str()]).await?;
                }
                return Ok(PutOutcome::Unchanged);
            }
            Some((_, _, SegmentState::Deleting)) => return Ok(PutOutcome::Deleting),
        }
        if let Some(index) = &self.index {
            tx.run(INDEX_PUT, args![self.id.stream_no, self.id.start, index.clone()]).await?;
        }
        if self.seal.is_some() {
            let hour = self.end.0.div_euclid(HOUR_US);
            tx.run(HOUR_ADD, args![self.id.stream_no, hour, self.size_bytes]).await?;
        }
        Ok(PutOutcome::Stored)
    }
}

/// Stored form of holes; null for none.
fn holes_text(holes: &[Hole]) -> Option<String> {
    (!holes.is_empty()).then(|| Hole::encode(holes))
}

impl PutSegment {
    fn state(&self) -> SegmentState {
        if self.seal.is_some() { SegmentState::Sealed } else { SegmentState::Open }
    }

    async fn insert(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let row = args![
            self.id.stream_no,
            self.id.start,
            self.end,
            self.size_bytes,
            self.state().number(),
            self.seal.map(|seal| seal.reason.as_str()),
            self.seal.and_then(|seal| seal.cause).map(Cause::as_str),
            holes_text(&self.holes),
            self.created_at,
            self.params_no,
            self.name_no,
            self.dependent,
        ];
        tx.run(SEGMENT_INSERT, row).await?;
        tx.run(TOTALS_MOVE, args![self.id.stream_no, 1i64, self.size_bytes, self.end]).await?;
        Ok(())
    }

    async fn update(&self, tx: &mut Tx<'_>, old_size: i64) -> Result<(), StoreError> {
        let row = args![
            self.id.stream_no,
            self.id.start,
            self.end,
            self.size_bytes,
            self.state().number(),
            self.seal.map(|seal| seal.reason.as_str()),
            self.seal.and_then(|seal| seal.cause).map(Cause::as_str),
            holes_text(&self.holes),
        ];
        tx.run(SEGMENT_UPDATE, row).await?;
        let grown = self.size_bytes.saturating_sub(old_size);
        tx.run(TOTALS_MOVE, args![self.id.stream_no, 0i64, grown, self.end]).await?;
        Ok(())
    }
}

/// Corrects the row of a sealed segment after its file: what it spans, its size, its holes, its index. Refused with
/// [`crate::ErrorKind::NotFound`] when there is no such sealed segment, [`crate::ErrorKind::Conflict`] when it would
/// reach into the one after it.
#[derive(Clone, Debug)]
pub struct MendSegment {
    /// Which.
    pub id: SegmentId,
    /// End of its last picture.
    pub end: WallTime,
    /// The size of its file.
    pub size_bytes: i64,
    /// Holes inside, in order.
    pub holes: Vec<Hole>,
    /// Its fragment entries.
    pub index: Vec<u8>,
}

impl Apply for MendSegment {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let Some(Probe { stored: Some((_, size, SegmentState::Sealed)), next_start, .. }) =
            probe(tx, self.id).await?
        else {
            return Err(not_found("sealed segment"));
        };
        if self.end < self.id.start || next_start.is_some_and(|next| next < self.end) {
            return Err(conflict("the segment would overlap the one after it"));
        }
        let SegmentId { stream_no, start } = self.id;
        let row = args![stream_no, start, self.end, self.size_bytes, holes_text(&self.holes)];
        tx.run(SEGMENT_MEND, row).await?;
        tx.run(INDEX_PUT, args![stream_no, start, self.index.clone()]).await?;
        let grown = self.size_bytes.saturating_sub(size);
        tx.run(TOTALS_MOVE, args![stream_no, 0i64, grown, self.end]).await?;
        Ok(())
    }
}

/// Sets the stored totals of a stream to the sums over its segments. A stream that is gone is no error.
#[derive(Clone, Debug)]
pub struct RestateTotals {
    /// Its number.
    pub stream_no: i64,
}

impl Apply for RestateTotals {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        tx.run(TOTALS_RESTATE, args![self.stream_no]).await?;
        Ok(())
    }
}

/// Which segments may be marked for deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Markable {
    /// Complete ones; an open one is left alone.
    Sealed,
    /// Open ones too: at a start, when the file of an open segment holds no fragment.
    OpenToo,
}

/// First step of deleting footage: marks segments, which are gone from every answer with the commit. Answers with those
/// that are marked by this very operation; the files of these, and of no others, are then removed.
#[derive(Clone, Debug)]
pub struct MarkDeleting {
    /// Which; at most a few hundred at a time.
    pub ids: Vec<SegmentId>,
    /// In which state.
    pub which: Markable,
}

impl Apply for MarkDeleting {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Vec<SegmentId>, OpError> {
        let statement = match self.which {
            Markable::Sealed => MARK_SEALED,
            Markable::OpenToo => MARK_ANY,
        };
        let mut marked = Vec::with_capacity(self.ids.len());
        let mut totals: std::collections::BTreeMap<i64, (i64, i64)> = std::collections::BTreeMap::new();
        for id in &self.ids {
            let rows = tx.run_returning(statement, args![id.stream_no, id.start]).await?;
            if let Some(row) = rows.first() {
                let total = totals.entry(id.stream_no).or_default();
                total.0 += 1;
                total.1 = total.1.saturating_add(row.columns().int()?);
                marked.push(*id);
            }
        }
        for (stream_no, (count, bytes)) in totals {
            tx.run(TOTALS_DROP, args![stream_no, count, bytes]).await?;
        }
        Ok(marked)
    }
}

/// Last step of deleting footage, after the files are gone: removes rows that are marked or whose camera was deleted,
/// and streams of deleted cameras that have none left. Answers with the number of segments removed.
#[derive(Clone, Debug)]
pub struct RemoveMarked {
    /// Which; at most a few hundred at a time.
    pub ids: Vec<SegmentId>,
}

impl Apply for RemoveMarked {
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, OpError> {
        let mut removed = 0;
        let mut streams = std::collections::BTreeSet::new();
        for id in &self.ids {
            // The fragment index goes with its segment.
            removed += tx.run(REMOVE_MARKED, args![id.stream_no, id.start]).await?;
            streams.insert(id.stream_no);
        }
        for stream_no in streams {
            tx.run(REMOVE_EMPTY_STREAM, args![stream_no]).await?;
        }
        Ok(removed)
    }
}
