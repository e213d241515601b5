//! Which footage has to go, and why.
//!
//! Owns: the decisions of a retention sweep and of its preview, both made by one [`Planner`]. Never: the deleting
//! itself, a clock, a store. Order of the steps, each oldest first:
//! 1. age, unless motion or alerts keep the segment longer;
//! 2. the quota of each camera;
//! 3. the size cap of all recordings, by fair share;
//! 4. the floor of free disk space, by fair share.
//!
//! Invariants: no plan names a segment that is held, read or open, nor one that a held segment needs for decoding; no
//! segment is named twice; executing a plan and planning again for the same instant plans nothing. Held bytes count
//! for no quota and no cap.
//!
//! # Cost
//! The planner asks for pages of the index and keeps at most two of them for each camera (256 rows each), so its memory
//! does not grow with the index. A sweep with nothing to do reads one page of four rows for each camera and works on the
//! stored totals otherwise. A camera that keeps footage for motion or alerts has old segments that stay: its sweep
//! looks only at segments that passed one of its ages since the last sweep, as remembered in its [`AgeMark`]; once in
//! [`FULL_WALK_EVERY`], and whenever there is no mark, it looks at everything past the shortest age. Evictions (steps 2
//! to 4) read on from the oldest segment that age has left.

mod age;
mod camera;
mod condition;
mod cursor;
mod evict;
mod planner;
mod preview;
mod share;

use heldar_base::{CameraId, Interval, Micros, SegmentId, WallTime};

use crate::IntervalSet;

pub use age::{AgeMark, FULL_WALK_EVERY, Importance, KeepHours};
pub use condition::{Condition, Episode, Episodes, FloorProgress, FloorWatch, REPEAT_EVERY};
pub use cursor::MAX_CHAIN;
pub use planner::{Planner, Step};
pub use preview::{Preview, Warning, preview};
pub use share::fair_shares;

/// A segment as the planner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its name; the start is part of it.
    pub id: SegmentId,
    /// First instant after its last picture.
    pub end: WallTime,
    /// Size of its file.
    pub bytes: u64,
    /// Under a hold, or needed by a segment that is.
    pub held: bool,
    /// Read by a running job.
    pub locked: bool,
    /// Being written.
    pub open: bool,
    /// Its pictures up to the next sync sample need the segment before it.
    pub dependent: bool,
}

impl Segment {
    /// The time it spans.
    pub fn interval(&self) -> Interval {
        Interval::new(self.id.start, self.end)
    }
}

/// A camera, with the totals that the store keeps.
#[derive(Clone, Debug)]
pub struct Camera {
    /// Which.
    pub id: CameraId,
    /// How long its footage is kept.
    pub keep: KeepHours,
    /// Most bytes of footage that is not held; `None`: no quota.
    pub quota_bytes: Option<u64>,
    /// Bytes of all its segments, both streams.
    pub recorded_bytes: u64,
    /// Of these, bytes that are held.
    pub held_bytes: u64,
    /// Segments that are held.
    pub held_segments: u64,
    /// Bytes written a day, for a look ahead.
    pub bytes_per_day: u64,
    /// What the last executed sweep of this camera left. Drop it when a planned segment could not be deleted, when a
    /// hold on the camera ends, or when footage older than its ages is added.
    pub mark: Option<AgeMark>,
}

/// Space on the file system of the recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// All of it.
    pub total_bytes: u64,
    /// What is free.
    pub free_bytes: u64,
}

/// Limits over all cameras.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Most bytes of footage that is not held; `None`: no cap.
    pub max_recordings_bytes: Option<u64>,
    /// Free space to keep; 0: no floor.
    pub min_free_bytes: u64,
}

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be executed: items are listed, at most so many. Executing an incomplete plan and planning again for the same
    /// instant goes on where it stopped; what could not be deleted is planned again, so a round that deletes nothing has
    /// to be the last.
    Sweep {
        /// Most items, at least 1.
        max_items: usize,
    },
    /// To be shown: sums only, all of them, as of `horizon` from now at the present write rate.
    Preview {
        /// How far to look ahead.
        horizon: Micros,
    },
}

/// Why a segment has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Past its age.
    Age,
    /// Its camera is above its quota.
    Quota,
    /// All recordings are above the cap.
    SizeCap,
    /// Free space is below the floor.
    FreeFloor,
}

impl Reason {
    /// Every reason, in the order of the steps.
    pub const ALL: [Reason; 4] = [Reason::Age, Reason::Quota, Reason::SizeCap, Reason::FreeFloor];

    /// Its stable name in a preview.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Age => "age",
            Reason::Quota => "quota",
            Reason::SizeCap => "size_cap",
            Reason::FreeFloor => "free_floor",
        }
    }
}

/// One segment that has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Index of its camera among those given.
    pub camera: usize,
    /// Which.
    pub segment: SegmentId,
    /// First instant after its last picture.
    pub end: WallTime,
    /// Size of its file.
    pub bytes: u64,
    /// Why.
    pub reason: Reason,
}

/// A number of segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their time spans together.
    pub length: Micros,
}

impl Tally {
    fn add(&mut self, segment: &Segment) {
        self.segments += 1;
        self.bytes = self.bytes.saturating_add(segment.bytes);
        self.length += segment.interval().len();
    }

    fn remove(&mut self, segment: &Segment) {
        self.segments = self.segments.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(segment.bytes);
        self.length -= segment.interval().len();
    }

    fn merge(&mut self, other: &Tally) {
        self.segments += other.segments;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.length += other.length;
    }
}

/// Segments by the reason they go for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByReason([Tally; 4]);

impl ByReason {
    /// Those that go for one reason.
    pub fn get(&self, reason: Reason) -> Tally {
        self.0[reason as usize]
    }

    /// All of them.
    pub fn total(&self) -> Tally {
        let mut out = Tally::default();
        self.0.iter().for_each(|tally| out.merge(tally));
        out
    }

    fn at(&mut self, reason: Reason) -> &mut Tally {
        &mut self.0[reason as usize]
    }

    fn merge(&mut self, other: &ByReason) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| mine.merge(theirs));
    }
}

/// Segments past their camera's `retention_hours` that stay for what they show. A sweep that went by a mark counts
/// those that came of age since; a preview counts all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// For motion.
    pub motion: Tally,
    /// For alerts.
    pub alert: Tally,
}

impl Kept {
    fn at(&mut self, importance: Importance) -> &mut Tally {
        match importance {
            Importance::Motion => &mut self.motion,
            Importance::Alert => &mut self.alert,
        }
    }

    fn merge(&mut self, other: &Kept) {
        self.motion.merge(&other.motion);
        self.alert.merge(&other.alert);
    }
}

/// What a plan means for one camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraPlan {
    /// Which.
    pub id: CameraId,
    /// What goes.
    pub removed: ByReason,
    /// From the first instant to the last of what goes; `None` when nothing does.
    pub span: Option<Interval>,
    /// What motion and alerts keep.
    pub kept: Kept,
    /// Give it back with the next sweep, once all items of this camera are deleted.
    pub mark: Option<AgeMark>,
    /// How far back unbroken footage would reach: age of the oldest segment left that no hold, motion or alert keeps.
    /// Worked out in previews only.
    pub kept_back: Option<Micros>,
}

/// What has to go, and what stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The instant it is made for, horizon included.
    pub at: WallTime,
    /// The segments in the order of their deletion; empty in a preview.
    pub items: Vec<Item>,
    /// False when the limit of items was reached.
    pub complete: bool,
    /// Sums by camera, in the order given.
    pub cameras: Vec<CameraPlan>,
    /// What holds: conditions that raise events.
    pub conditions: Vec<Condition>,
}

impl Plan {
    /// What goes, by reason.
    pub fn removed(&self) -> ByReason {
        let mut out = ByReason::default();
        self.cameras.iter().for_each(|camera| out.merge(&camera.removed));
        out
    }

    /// What motion and alerts keep.
    pub fn kept(&self) -> Kept {
        let mut out = Kept::default();
        self.cameras.iter().for_each(|camera| out.merge(&camera.kept));
        out
    }

    /// From the first instant to the last of what goes; `None` when nothing does.
    pub fn span(&self) -> Option<Interval> {
        let spans = self.cameras.iter().filter_map(|camera| camera.span);
        spans.reduce(|a, b| Interval::new(a.start.min(b.start), a.end.max(b.end)))
    }

    /// The last step that had to remove something: what limits how long footage stays.
    pub fn limited_by(&self) -> Option<Reason> {
        let removed = self.removed();
        Reason::ALL.into_iter().rev().find(|reason| removed.get(*reason).segments > 0)
    }
}

/// Asks for segments of one camera, both streams together.
///
/// The answer holds, in rising order of start and then stream number, the first `limit` segments behind `after` whose
/// end is at or past `ended_from`; fewer mean that there are no more. Held segments may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentQuery {
    /// Index of the camera among those given.
    pub camera: usize,
    /// Last segment already seen.
    pub after: Option<SegmentId>,
    /// Least end.
    pub ended_from: WallTime,
    /// Most rows.
    pub limit: usize,
}

/// Asks when there was motion and when there were alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivityQuery {
    /// Index of the camera among those given.
    pub camera: usize,
    /// The time asked about.
    pub window: Interval,
}

/// When something happened before one camera. A happening without a length is one microsecond long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Motion, device motion included.
    pub motion: IntervalSet,
    /// Events of severity warning or above.
    pub alert: IntervalSet,
}
