//! One camera while a plan is made.

use heldar_base::{Interval, Micros, WallTime};

use super::age::{Cutoffs, Fate, Watch};
use super::cursor::{Cursor, Need, Row};
use super::{ByReason, Camera, CameraPlan, Kept, Reason};

/// Why a segment that should go may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protection {
    /// Held, or needed by one that is.
    Hold,
    /// Being read.
    Reader,
    /// Being written.
    Writer,
}

pub(super) struct CameraState {
    index: usize,
    camera: Camera,
    cutoffs: Cutoffs,
    watch: Watch,
    /// Bands that age has still to look at, newest first.
    bands: Vec<Interval>,
    /// The band being looked at.
    band: Option<(Interval, Cursor)>,
    /// What age left, for the other steps.
    rest: Option<Cursor>,
    /// Bytes that are not held.
    usage: u64,
    /// Eviction passed over footage that a hold or a reader protects.
    protected: bool,
    /// A segment past its age stays only until its reader is gone.
    unsettled: bool,
    removed: ByReason,
    span: Option<Interval>,
    kept: Kept,
    /// Start of the oldest segment left that no hold, motion or alert keeps, as far as it is known.
    kept_from: Option<WallTime>,
    kept_back: Option<Micros>,
}

impl CameraState {
    pub(super) fn new(index: usize, camera: Camera, now: WallTime, horizon: Micros) -> Self {
        let cutoffs = Cutoffs::new(&camera.keep, now);
        let watch = Watch::new(&camera.keep, &cutoffs, now, camera.mark);
        // What is written meanwhile goes by age as well.
        let growing = i128::from(horizon.0.clamp(0, camera.keep.base().0));
        let growth = i128::from(camera.bytes_per_day) * growing / i128::from(Micros::from_hours(24).0);
        let usage = camera.recorded_bytes.saturating_sub(camera.held_bytes);
        CameraState {
            index,
            bands: watch.bands.iter().rev().collect(),
            watch,
            band: None,
            rest: None,
            usage: usage.saturating_add(u64::try_from(growth).unwrap_or(u64::MAX)),
            protected: camera.held_bytes > 0,
            unsettled: false,
            removed: ByReason::default(),
            span: None,
            kept: Kept::default(),
            kept_from: None,
            kept_back: None,
            cutoffs,
            camera,
        }
    }

    pub(super) fn camera(&self) -> &Camera {
        &self.camera
    }

    pub(super) fn usage(&self) -> u64 {
        self.usage
    }

    /// Bytes that the look ahead adds.
    pub(super) fn growth(&self) -> u64 {
        self.usage.saturating_sub(self.camera.recorded_bytes.saturating_sub(self.camera.held_bytes))
    }

    pub(super) fn is_protected(&self) -> bool {
        self.protected
    }

    /// The cursor that waits for rows.
    pub(super) fn waiting(&mut self) -> Option<&mut Cursor> {
        match &mut self.band {
            Some((_, cursor)) => Some(cursor),
            None => self.rest.as_mut(),
        }
    }

    /// The next segment that goes for its age; it stays the next one until it is removed.
    pub(super) fn next_due(&mut self) -> Result<Option<Row>, Need> {
        loop {
            if self.band.is_none() {
                let Some(band) = self.bands.pop() else { return Ok(None) };
                self.band = Some((band, Cursor::new(self.index, band.start, self.cutoffs.activity())));
            }
            let Some((band, cursor)) = &mut self.band else { continue };
            let Some(row) = cursor.front()?.filter(|row| row.segment.id.start < band.end) else {
                self.band = None;
                continue;
            };
            if !band.contains(row.segment.end) {
                cursor.pop();
                continue;
            }
            let fate = self.cutoffs.fate(&row, cursor)?;
            let protection = protection(&row, cursor)?;
            match (fate, protection) {
                (Fate::Due, None) => return Ok(Some(row)),
                (Fate::Due, Some(Protection::Reader)) => self.unsettled = true,
                (Fate::Kept(_), Some(Protection::Hold)) => {}
                (Fate::Kept(importance), _) => {
                    if self.watch.fresh.contains(row.segment.end) {
                        self.kept.at(importance).add(&row.segment);
                    }
                }
                (Fate::Due | Fate::Young, _) => {}
            }
            cursor.pop();
        }
    }

    /// The oldest segment that may be evicted; it stays the next one until it is removed.
    pub(super) fn next_evictable(&mut self) -> Result<Option<Row>, Need> {
        let cursor = rest(&mut self.rest, self.index, &self.cutoffs);
        loop {
            let Some(row) = cursor.front()? else { return Ok(None) };
            let fate = self.cutoffs.fate(&row, cursor)?;
            // What is due has gone for its age, or was protected there.
            if fate != Fate::Due {
                match protection(&row, cursor)? {
                    None => return Ok(Some(row)),
                    Some(Protection::Writer) => {}
                    Some(Protection::Hold) => self.protected = true,
                    Some(Protection::Reader) => {
                        self.protected = true;
                        // What it is kept for may be evicted before its reader is gone.
                        self.unsettled |= matches!(fate, Fate::Kept(_));
                    }
                }
                if fate == Fate::Young && !row.segment.held {
                    self.kept_from.get_or_insert(row.segment.id.start);
                }
            }
            cursor.pop();
        }
    }

    /// Takes the segment that [`Self::next_due`] or [`Self::next_evictable`] named.
    pub(super) fn remove(&mut self, row: &Row, reason: Reason) -> Result<(), Need> {
        if let Some((_, cursor)) = &mut self.band {
            cursor.pop();
        } else if let Some(cursor) = &mut self.rest {
            if let Fate::Kept(importance) = self.cutoffs.fate(row, cursor)?
                && self.watch.fresh.contains(row.segment.end)
            {
                self.kept.at(importance).remove(&row.segment);
            }
            cursor.pop();
        }
        self.usage = self.usage.saturating_sub(row.segment.bytes);
        self.removed.at(reason).add(&row.segment);
        let gone = row.segment.interval();
        self.span = Some(
            self.span.map_or(gone, |span| Interval::new(span.start.min(gone.start), span.end.max(gone.end))),
        );
        Ok(())
    }

    /// Finds how far back footage reaches that nothing but its age keeps.
    pub(super) fn look_back(&mut self, now: WallTime) -> Result<(), Need> {
        // Unless eviction has begun, nothing younger than `retention_hours` is gone.
        let (base, activity) = (self.cutoffs.base(), self.cutoffs.activity());
        let cursor = self.rest.get_or_insert_with(|| Cursor::new(self.index, base, activity));
        while self.kept_from.is_none() {
            let Some(row) = cursor.front()? else { break };
            if self.cutoffs.fate(&row, cursor)? == Fate::Young && !row.segment.held {
                self.kept_from = Some(row.segment.id.start);
            }
            cursor.pop();
        }
        self.kept_back = Some(self.kept_from.map_or(Micros::ZERO, |from| (now - from).max(Micros::ZERO)));
        Ok(())
    }

    /// What the plan means for this camera; `complete` when all of it is in the plan.
    pub(super) fn finish(self, complete: bool) -> CameraPlan {
        let mark = match (complete, self.unsettled) {
            (false, _) => self.camera.mark,
            (true, true) => None,
            (true, false) => Some(self.watch.mark),
        };
        CameraPlan {
            id: self.camera.id,
            removed: self.removed,
            span: self.span,
            kept: self.kept,
            mark,
            kept_back: self.kept_back,
        }
    }
}

/// The cursor over what age leaves.
fn rest<'a>(slot: &'a mut Option<Cursor>, camera: usize, cutoffs: &Cutoffs) -> &'a mut Cursor {
    slot.get_or_insert_with(|| Cursor::new(camera, cutoffs.oldest(), cutoffs.activity()))
}

/// What protects `row`, which is the front of `cursor`, from being deleted.
fn protection(row: &Row, cursor: &Cursor) -> Result<Option<Protection>, Need> {
    let segment = &row.segment;
    if segment.held {
        return Ok(Some(Protection::Hold));
    }
    if cursor.needed_by(|later| later.segment.held.then_some(()))?.is_some() {
        return Ok(Some(Protection::Hold));
    }
    Ok(match (segment.open, segment.locked) {
        (true, _) => Some(Protection::Writer),
        (false, true) => Some(Protection::Reader),
        (false, false) => None,
    })
}
