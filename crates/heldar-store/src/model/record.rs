//! When cameras are recorded that are not recorded always.

use heldar_base::{CameraId, PublicId, WallTime};

/// A window of a week in which a camera is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSchedule {
    /// Its id, with the prefix [`RecordSchedule::PREFIX`].
    pub id: PublicId,
    /// Of which camera.
    pub camera: CameraId,
    /// What can be set.
    pub fields: RecordScheduleFields,
    /// When it was made.
    pub created_at: WallTime,
    /// When it was last changed.
    pub updated_at: WallTime,
    /// Counts changes.
    pub revision: i64,
}

impl RecordSchedule {
    /// Prefix of schedule ids.
    pub const PREFIX: &'static str = "recsch";
    /// Most days that one names, those named several times counted as often.
    pub const DAYS: usize = 64;
}

/// What can be set of a window of a week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordScheduleFields {
    /// Days on which it begins, 1 to [`RecordSchedule::DAYS`] of them: 0 is Monday, 6 Sunday.
    pub days: Vec<u8>,
    /// Minutes since midnight, 0..1439.
    pub start_minute: u32,
    /// The same; not that of the start. An earlier one is on the day after.
    pub end_minute: u32,
    /// Whether it counts.
    pub enabled: bool,
}

/// A recording that something started, open or over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordWindow {
    /// Of which camera.
    pub camera: CameraId,
    /// When it happened.
    pub opened_at: WallTime,
    /// What was captured from here on is part of it, as far as there is any.
    pub from: WallTime,
    /// First instant of what there was when it happened.
    pub recorded_from: WallTime,
    /// Pictures from here on are not part of it.
    pub end: WallTime,
    /// What started it.
    pub source: String,
}

/// What became of something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Triggered {
    /// The window that is open now.
    pub window: RecordWindow,
    /// Whether it was opened just now.
    pub is_new: bool,
    /// Footage before.
    pub pre_roll_seconds: u32,
    /// Footage after.
    pub post_roll_seconds: u32,
}
