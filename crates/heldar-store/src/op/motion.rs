//! Writes of stretches of time with motion.

use heldar_base::{CameraId, Interval};

use super::numbers::camera_no;
use super::{Apply, Durability, OpError, Tx};
use crate::sql::{args, statements};

statements! {
    /// Spans of a camera that overlap or touch a stretch. The one that begins last before it may reach into it; those
    /// before cannot, as no two overlap.
    SPANS_MET = "SELECT start_us, end_us FROM motion_span WHERE camera_no = $1 AND start_us <= $3 AND end_us >= $2
        AND start_us >= coalesce((SELECT MAX(b.start_us) FROM motion_span b WHERE b.camera_no = $1 AND b.start_us <= $2),
        $2) ORDER BY start_us LIMIT $4";
    SPAN_REMOVE = "DELETE FROM motion_span WHERE camera_no = $1 AND start_us = $2";
    SPAN_PUT = "INSERT INTO motion_span (camera_no, start_us, end_us) VALUES ($1, $2, $3)
        ON CONFLICT (camera_no, start_us) DO UPDATE SET end_us = excluded.end_us";
}

/// Spans that one write takes in at most.
const MERGED: usize = 1000;

/// Notes motion in a stretch of time; what it overlaps or touches becomes one with it. Sending it again, or a longer
/// version as motion goes on, does what is meant. An empty stretch is no motion. Refused with
/// [`crate::ErrorKind::NotFound`] when the camera is not in use, [`crate::ErrorKind::Conflict`] when it would take in
/// more than a thousand spans.
#[derive(Clone, Debug)]
pub struct PutMotion {
    /// Where.
    pub camera: CameraId,
    /// When.
    pub span: Interval,
}

impl Apply for PutMotion {
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let Interval { start, end } = self.span;
        if start >= end {
            return Ok(());
        }
        let camera_no = camera_no(tx, &self.camera).await?;
        let limit = i64::try_from(MERGED + 1).unwrap_or(i64::MAX);
        let met = tx.rows(SPANS_MET.with(args![camera_no, start, end, limit])).await?;
        let (mut from, mut to) = (start, end);
        let mut starts = Vec::with_capacity(met.len());
        for row in &met {
            let mut columns = row.columns();
            let (met_start, met_end) = (columns.time()?, columns.time()?);
            from = from.min(met_start);
            to = to.max(met_end);
            starts.push(met_start);
        }
        if starts.len() > MERGED {
            return Err(super::conflict("the stretch takes in too many spans"));
        }
        for other in starts.iter().filter(|other| **other != from) {
            tx.run(SPAN_REMOVE, args![camera_no, *other]).await?;
        }
        tx.run(SPAN_PUT, args![camera_no, from, to]).await?;
        Ok(())
    }
}
