//! What is worth keeping of a camera's state across restarts.

use heldar_base::{CameraId, NotWanted, ReasonClass, WallTime};

use super::words;

words! {
    /// State of a camera.
    CameraState {
        /// Made, not yet evaluated.
        Unknown = "unknown",
        /// Recording is not wanted now.
        Disabled = "disabled",
        /// Wanted, no picture yet.
        Connecting = "connecting",
        /// Pictures are arriving and being written.
        Recording = "recording",
        /// Session lost or not obtained; retrying.
        Offline = "offline",
        /// Retrying does not help.
        Error = "error",
    }
}

/// The stored status of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraStatus {
    /// Whose.
    pub camera: CameraId,
    /// State.
    pub state: CameraState,
    /// Since when.
    pub state_since: WallTime,
    /// Why recording is not wanted.
    pub not_wanted_reason: Option<NotWanted>,
    /// What went wrong.
    pub reason_class: Option<ReasonClass>,
    /// The last error, masked, at most 800 characters.
    pub last_error: Option<String>,
    /// End of the newest sealed segment.
    pub last_segment_at: Option<WallTime>,
    /// Begin of the newest run.
    pub last_started_at: Option<WallTime>,
    /// The newest picture.
    pub last_picture_at: Option<WallTime>,
    /// Reconnects over the camera's life.
    pub reconnect_count: i64,
    /// Segments sealed over the camera's life.
    pub segments_written: i64,
    /// When this was true.
    pub updated_at: WallTime,
}
