//! Writes of what happened in zones, and the removal of what is past its age.
//!
//! Invariants: a zone event and its event in the feed have one number and are committed together; a camera that is deleted
//! gets no more of them.

use heldar_base::{CameraId, PublicId, WallTime};

use super::event::append;
use super::numbers::{USED_US, given_out, is_stale, remember};
use super::{Apply, Durability, OpError, Tx, conflict, not_found, prune};
use crate::error::StoreError;
use crate::model::{DetectionId, NewBatch, NewZoneEvent, Share, Zone, ZoneEvent, ZoneEventId};
use crate::sql::{Arg, Row, args, statements};

statements! {
    CAMERA_EXISTS = "SELECT 1 FROM camera WHERE id = $1";
    CAMERA_NO = "SELECT camera_no FROM zone_camera WHERE camera_id = $1";
    CAMERA_INSERT = "INSERT INTO zone_camera (camera_no, camera_id)
        VALUES ((SELECT coalesce(MAX(camera_no), 0) + 1 FROM zone_camera), $1) RETURNING camera_no";
    CAMERA_GONE = "SELECT camera_no FROM zone_camera WHERE camera_id IS NULL ORDER BY camera_no LIMIT 1";
    CAMERA_FORGET = "DELETE FROM zone_camera WHERE camera_no = $1";
    LINE_NO = "SELECT line_no, used_us FROM zone_line WHERE camera_no = $1 AND zone_id = $2 AND event_type = $3
        AND coalesce(task_type, '') = $4 AND zone_name = $5";
    LINE_INSERT = "INSERT INTO zone_line (line_no, camera_no, zone_id, event_type, task_type, zone_name, used_us)
        VALUES ((SELECT coalesce(MAX(line_no), 0) + 1 FROM zone_line), $1, $2, $3, $4, $5, $6) RETURNING line_no";
    LINE_USED = "UPDATE zone_line SET used_us = $2 WHERE line_no = $1";
    LINES_OF = "DELETE FROM zone_line WHERE camera_no = $1";
    LINES_UNUSED = "DELETE FROM zone_line WHERE line_no IN
        (SELECT l.line_no FROM zone_line l WHERE l.used_us < $1
            AND NOT EXISTS (SELECT 1 FROM zone_event z WHERE z.line_no = l.line_no)
            ORDER BY l.used_us, l.line_no LIMIT $2)";
    ZONE_EVENT_INSERT = "INSERT INTO zone_event (seq, timestamp_us, id_bits, created_us, source_no, dwell_us, line_no,
        camera_no, confidence_ppm, anchor_x_ppm, anchor_y_ppm, x_ppm, y_ppm, w_ppm, h_ppm, direction_cdeg, speed_ppm,
        evidence, track_id, label, reason)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
        ON CONFLICT (seq) DO NOTHING";
    EVIDENCE_SET = "UPDATE zone_event SET evidence = $3 WHERE timestamp_us = $1 AND id_bits = $2";
    ZONE_EVENTS_BEFORE = "DELETE FROM zone_event WHERE seq IN
        (SELECT seq FROM zone_event WHERE timestamp_us < $1 ORDER BY timestamp_us, seq LIMIT $2)
        RETURNING evidence, timestamp_us, id_bits";
    ZONE_EVENTS_OF = "DELETE FROM zone_event WHERE seq IN
        (SELECT seq FROM zone_event WHERE camera_no = $1 ORDER BY timestamp_us, seq LIMIT $2)
        RETURNING evidence, timestamp_us, id_bits";
}

/// What a zone event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ZoneLineKey {
    camera: CameraId,
    zone: PublicId,
    zone_name: String,
    event_type: String,
    task_type: Option<String>,
}

/// The numbers of that.
#[derive(Clone, Copy, Debug)]
pub(super) struct ZoneLine {
    line_no: i64,
    camera_no: i64,
}

/// Appends what happened in zones, in this order; answers with a number for each, `None` where the camera is deleted:
/// then nothing of it is stored. A zone event with an event in the feed has the number of that; one without takes a number
/// of its own, so that all of them have their place in commit order. An event whose id is there already keeps its row, its
/// number and its zone event.
///
/// Survives a power cut when it stands alone. Together with a [`super::SaveZoneState`] or an [`super::AdvanceCursor`] in
/// one [`super::WriteOp::All`], what the feed is not told of is as safe as that.
///
/// Refused with [`crate::ErrorKind::Conflict`] when a name, a type or a position is none that can be stored.
#[derive(Clone, Debug)]
pub struct AppendZoneEvents {
    /// What happened.
    pub events: Vec<NewZoneEvent>,
}

impl AppendZoneEvents {
    /// Whether the feed is told nothing.
    pub(super) fn is_silent(&self) -> bool {
        self.events.iter().all(|event| event.event.is_none())
    }
}

impl Apply for AppendZoneEvents {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Vec<Option<i64>>, OpError> {
        self.events.iter().try_for_each(|new| check(&new.zone_event))?;
        let mut seqs = Vec::with_capacity(self.events.len());
        for NewZoneEvent { zone_event, event } in &self.events {
            let Some(line) = line(tx, zone_event).await? else {
                seqs.push(None);
                continue;
            };
            let seq = match event {
                Some(event) => append(tx, event).await?,
                None => tx.take_seq(),
            };
            tx.run(ZONE_EVENT_INSERT, row(zone_event, seq, line)).await?;
            seqs.push(Some(seq));
        }
        Ok(seqs)
    }
}

fn check(z: &ZoneEvent) -> Result<(), OpError> {
    let is_of = |text: &str, most: usize| !text.is_empty() && text.chars().count() <= most;
    let is_short = |text: &Option<String>| text.as_ref().is_none_or(|text| text.chars().count() <= 256);
    let position = z.source.and_then(|source| source.position);
    let fits = is_of(&z.zone_name, Zone::NAME)
        && is_of(&z.event_type, 64)
        && z.reason.as_ref().is_none_or(|reason| is_of(reason, 64))
        && z.task_type.as_ref().is_none_or(|task_type| !task_type.is_empty())
        && is_short(&z.track_id)
        && is_short(&z.label)
        && z.dwell.is_none_or(|dwell| dwell.0 >= 0)
        && position.is_none_or(|position| usize::from(position) < NewBatch::DETECTIONS);
    if fits { Ok(()) } else { Err(conflict(format!("the zone event `{}` cannot be stored", z.id.public()))) }
}

fn row(z: &ZoneEvent, seq: i64, line: ZoneLine) -> Vec<Arg> {
    let ppm = |share: Option<Share>| share.map(Share::ppm);
    let source = z.source.map(|source| {
        let position = source.position.unwrap_or(DetectionId::NONE);
        DetectionId { seq: source.seq, position }.number()
    });
    args![
        seq,
        z.id.timestamp,
        z.id.bits.cast_signed(),
        z.created_at,
        source,
        z.dwell.map(|dwell| dwell.0),
        line.line_no,
        line.camera_no,
        ppm(z.confidence),
        ppm(z.anchor.map(|[x, _]| x)),
        ppm(z.anchor.map(|[_, y]| y)),
        ppm(z.bbox.map(|b| b.x)),
        ppm(z.bbox.map(|b| b.y)),
        ppm(z.bbox.map(|b| b.w)),
        ppm(z.bbox.map(|b| b.h)),
        z.direction_deg.filter(|degrees| degrees.is_finite()).map(hundredths),
        z.speed.filter(|speed| speed.is_finite()).map(millionths),
        z.has_evidence,
        z.track_id.as_deref(),
        z.label.as_deref(),
        z.reason.as_deref(),
    ]
}

/// Of a degree, below a full turn.
fn hundredths(degrees: f64) -> u32 {
    // In this range it fits.
    (degrees.rem_euclid(360.0) * 100.0).round() as u32 % 36_000
}

/// As far as the column reaches.
fn millionths(speed: f64) -> u32 {
    // In this range it fits.
    (speed * 1e6).round().clamp(0.0, f64::from(i32::MAX)) as u32
}

/// The number of what a zone event is about, given out at its first use; `None` when the camera is deleted.
async fn line(tx: &mut Tx<'_>, z: &ZoneEvent) -> Result<Option<ZoneLine>, OpError> {
    let key = ZoneLineKey {
        camera: z.camera.clone(),
        zone: z.zone,
        zone_name: z.zone_name.clone(),
        event_type: z.event_type.clone(),
        task_type: z.task_type.clone(),
    };
    let remembered = tx.numbers.zone_lines.get(&key).copied();
    let (line, used) = match remembered {
        Some(known) => known,
        None => match find_line(tx, &key, z.created_at).await? {
            Some(found) => found,
            None => return Ok(None),
        },
    };
    if is_stale(used, z.created_at) {
        tx.run(LINE_USED, args![line.line_no, z.created_at]).await?;
    } else if remembered.is_some() {
        return Ok(Some(line));
    }
    remember(&mut tx.numbers.zone_lines, key, (line, used.max(z.created_at.0)));
    Ok(Some(line))
}

async fn find_line(
    tx: &mut Tx<'_>,
    key: &ZoneLineKey,
    now: WallTime,
) -> Result<Option<(ZoneLine, i64)>, OpError> {
    let camera_no = match tx.row(CAMERA_NO, args![&key.camera]).await? {
        Some(row) => row.columns().int()?,
        None if tx.row(CAMERA_EXISTS, args![&key.camera]).await?.is_none() => return Ok(None),
        None => given_out(&tx.run_returning(CAMERA_INSERT, args![&key.camera]).await?)?,
    };
    let (event_type, zone_name) = (key.event_type.as_str(), key.zone_name.as_str());
    let task_type = key.task_type.as_deref();
    let unique = args![camera_no, key.zone, event_type, task_type.unwrap_or_default(), zone_name];
    if let Some(row) = tx.row(LINE_NO, unique).await? {
        let mut columns = row.columns();
        return Ok(Some((ZoneLine { line_no: columns.int()?, camera_no }, columns.int()?)));
    }
    let row = args![camera_no, key.zone, event_type, task_type, zone_name, now];
    let line_no = given_out(&tx.run_returning(LINE_INSERT, row).await?)?;
    Ok(Some((ZoneLine { line_no, camera_no }, now.0)))
}

/// Notes whether the picture of a zone event is kept. Refused with [`crate::ErrorKind::NotFound`] when the event is gone:
/// then its picture has to go as well.
#[derive(Clone, Copy, Debug)]
pub struct SetZoneEvidence {
    /// Of which.
    pub id: ZoneEventId,
    /// Whether it is.
    pub has_evidence: bool,
}

impl Apply for SetZoneEvidence {
    // A file without a row that tells of it is never removed.
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let row = args![self.id.timestamp, self.id.bits.cast_signed(), self.has_evidence];
        if tx.run(EVIDENCE_SET, row).await? == 0 {
            return Err(not_found("zone event"));
        }
        Ok(())
    }
}

/// Zone events that go without anybody asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldZoneEvents {
    /// That happened before an instant, the oldest first.
    Before(WallTime),
    /// Of cameras that were deleted, of any age.
    OfDeletedCameras,
}

/// Removes rows of zone events, some at a time, and answers with the pictures that are to go.
#[derive(Clone, Debug)]
pub struct RemoveZoneEvents {
    /// Which.
    pub which: OldZoneEvents,
    /// At most so many, 1 to 500.
    pub limit: u32,
}

impl RemoveZoneEvents {
    pub(super) fn rows(&self) -> u32 {
        self.limit.clamp(1, prune::SLICE)
    }
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneEventsRemoved {
    /// How many zone events; fewer than asked for means that none is left.
    pub rows: u32,
    /// Those of them whose picture is kept and has to go.
    pub evidence: Vec<ZoneEventId>,
}

impl ZoneEventsRemoved {
    /// Takes in rows that were removed; how many.
    fn take(&mut self, rows: &[Row]) -> Result<u32, StoreError> {
        for row in rows {
            let mut c = row.columns();
            if c.flag()? {
                self.evidence.push(ZoneEventId { timestamp: c.time()?, bits: c.int()?.cast_unsigned() });
            }
        }
        let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        self.rows = self.rows.saturating_add(count);
        Ok(count)
    }
}

impl Apply for RemoveZoneEvents {
    // A row that comes back with a power cut is without its picture for a while only.
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<ZoneEventsRemoved, OpError> {
        let limit = self.rows();
        let mut removed = ZoneEventsRemoved::default();
        match self.which {
            OldZoneEvents::Before(before) => {
                let rows = tx.run_returning(ZONE_EVENTS_BEFORE, args![before, limit]).await?;
                removed.take(&rows)?;
                // The note of the last use may be that old.
                let unused = args![before.0.saturating_sub(USED_US), limit];
                if removed.rows < limit && tx.run(LINES_UNUSED, unused).await? > 0 {
                    tx.forget_numbers();
                }
            }
            OldZoneEvents::OfDeletedCameras => {
                while removed.rows < limit {
                    let Some(row) = tx.row(CAMERA_GONE, Vec::new()).await? else { break };
                    let camera_no = row.columns().int()?;
                    let left = limit - removed.rows;
                    let rows = tx.run_returning(ZONE_EVENTS_OF, args![camera_no, left]).await?;
                    if removed.take(&rows)? < left {
                        tx.run(LINES_OF, args![camera_no]).await?;
                        tx.run(CAMERA_FORGET, args![camera_no]).await?;
                        tx.forget_numbers();
                    }
                }
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_are_below_a_full_turn() {
        for (degrees, expect) in [(0.0, 0), (359.994, 35_999), (359.996, 0), (360.0, 0), (-90.0, 27_000)] {
            assert_eq!(hundredths(degrees), expect, "{degrees}");
        }
        for (speed, expect) in [(0.0, 0), (0.25, 250_000), (-1.0, 0), (1e9, 2_147_483_647)] {
            assert_eq!(millionths(speed), expect, "{speed}");
        }
    }
}
