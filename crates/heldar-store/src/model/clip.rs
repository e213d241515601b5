//! Exported clips.

use heldar_base::{CameraId, PublicId, WallTime};
use serde::{Deserialize, Serialize};

use super::page::TimeRange;
use super::segment::Hole;

/// An exported file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// Its id, with the prefix [`Clip::PREFIX`].
    pub id: PublicId,
    /// Whose footage; the camera may be gone since.
    pub camera: CameraId,
    /// Name of the file in the folder of clips.
    pub filename: String,
    /// Name offered to whoever downloads it.
    pub download_name: String,
    /// First instant asked for.
    pub from: WallTime,
    /// First instant after.
    pub to: WallTime,
    /// Time of the window with footage, in microseconds.
    pub covered_us: i64,
    /// What the file plays, in microseconds.
    pub media_us: i64,
    /// What it carries unpresented before `from`, in microseconds.
    pub lead_in_us: i64,
    /// Holes of the window.
    pub gaps: Vec<Hole>,
    /// Size of the file.
    pub size_bytes: i64,
    /// Segments that it was made from.
    pub segment_count: i64,
    /// SHA-256 of the file in lowercase hexadecimal digits.
    pub sha256: String,
    /// RFC 6381 strings.
    pub codecs: Vec<String>,
    /// A name given by a person.
    pub name: Option<String>,
    /// A case that it belongs to.
    pub incident_id: Option<String>,
    /// True: exempt from the retention of clips.
    pub keep: bool,
    /// Who made it.
    pub created_by: Option<String>,
    /// When it was made.
    pub created_at: WallTime,
    /// When retention removes it.
    pub expires_at: Option<WallTime>,
}

impl Clip {
    /// Prefix of clip ids.
    pub const PREFIX: &'static str = "clip";
}

/// Which clips.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClipFilter {
    /// Of this camera.
    pub camera: Option<CameraId>,
    /// Of this case.
    pub incident_id: Option<String>,
    /// Whose window overlaps this time.
    pub range: TimeRange,
}

/// Where the next page of clips begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClipCursor {
    /// When the last row seen was made.
    pub created_us: i64,
    /// Its id.
    pub id: String,
}
