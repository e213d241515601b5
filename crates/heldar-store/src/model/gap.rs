//! Recorded gaps and the history of what was wanted.

use heldar_base::{CameraId, Cause, NotWanted, PublicId, WallTime};
use serde::{Deserialize, Serialize};

use super::page::TimeRange;
use super::words;

words! {
    /// How far the refill of a gap from the device has come.
    FillState {
        /// Not yet, or not asked for.
        Pending = "pending",
        /// Done.
        Filled = "filled",
        /// Given up.
        Failed = "failed",
    }
}

/// Wanted time that was not recorded, or is no longer there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Its id, with the prefix [`Gap::PREFIX`].
    pub id: PublicId,
    /// Whose.
    pub camera: CameraId,
    /// First instant missing.
    pub start: WallTime,
    /// First instant after; while open, how far it is known to reach.
    pub end: WallTime,
    /// True until pictures return or recording stops being wanted. A camera has one open gap at most.
    pub open: bool,
    /// The reason that held longest.
    pub cause: Cause,
    /// What is known beyond the cause.
    pub detail: Option<String>,
    /// The last error, masked.
    pub last_error: Option<String>,
    /// Refill from the device.
    pub fill_state: FillState,
    /// Attempts to refill.
    pub fill_attempts: u32,
    /// The last of them.
    pub last_attempt_at: Option<WallTime>,
    /// When it was filled.
    pub filled_at: Option<WallTime>,
    /// When the row was made.
    pub created_at: WallTime,
}

impl Gap {
    /// Prefix of gap ids.
    pub const PREFIX: &'static str = "gap";
}

/// Order of a list of gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapOrder {
    /// By start, descending.
    NewestFirst,
    /// By start, ascending.
    OldestFirst,
}

/// Which gaps of a camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GapFilter {
    /// With this state of refill.
    pub fill_state: Option<FillState>,
    /// With this cause.
    pub cause: Option<Cause>,
    /// That overlap this time.
    pub range: TimeRange,
}

/// Where the next page of gaps begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapCursor {
    /// Start of the last row seen.
    pub start_us: i64,
    /// Its id.
    pub id: String,
}

/// A change of what was wanted; holds to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedChange {
    /// From when.
    pub at: WallTime,
    /// Why recording is not wanted; `None`: it is.
    pub reason: Option<NotWanted>,
}
