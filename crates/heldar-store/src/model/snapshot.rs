//! Scheduled snapshots.

use heldar_base::{CameraId, PublicId, WallTime};

/// When pictures of a camera are to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSchedule {
    /// Its id, with the prefix [`SnapshotSchedule::PREFIX`].
    pub id: PublicId,
    /// Of which camera.
    pub camera: CameraId,
    /// What can be set.
    pub fields: SnapshotScheduleFields,
    /// When a picture was last due and tried for.
    pub last_fired_at: Option<WallTime>,
    /// Why there was none then; `None`: there was one.
    pub last_error: Option<String>,
    /// When it was made.
    pub created_at: WallTime,
    /// When somebody last changed it.
    pub updated_at: WallTime,
    /// Counts changes by people.
    pub revision: i64,
}

impl SnapshotSchedule {
    /// Prefix of schedule ids.
    pub const PREFIX: &'static str = "snsch";
}

/// What can be set of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotScheduleFields {
    /// Time between two pictures, 5..86400 s.
    pub interval_seconds: u32,
    /// Whether pictures are taken.
    pub enabled: bool,
}

/// A picture that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id, with the prefix [`Snapshot::PREFIX`].
    pub id: PublicId,
    /// What it shows.
    pub camera: CameraId,
    /// The schedule that asked for it; `None` when that is gone.
    pub schedule: Option<PublicId>,
    /// When the picture was captured. Of a camera there is one in a millisecond at most.
    pub taken_at: WallTime,
    /// Size of its file.
    pub size_bytes: i64,
    /// When it was stored.
    pub created_at: WallTime,
}

impl Snapshot {
    /// Prefix of snapshot ids.
    pub const PREFIX: &'static str = "snap";
}

/// What is left of a snapshot whose row is gone: its file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotFile {
    /// The camera, which names the folder; it may be gone.
    pub camera: CameraId,
    /// When the picture was captured.
    pub taken_at: WallTime,
}
