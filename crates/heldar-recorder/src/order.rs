//! What a recorder is told and what it orders: the words between it, its stream and the segment writer.
//!
//! Owns: settings, wishes and orders as values. Never: decides anything.

use std::sync::Arc;

use heldar_base::{Cause, EndReason, Interval, Micros, WallTime};
use heldar_media::TrackParams;

use crate::Fragment;

/// How one stream is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecorderConfig {
    /// Length after which a segment rotates at the next sync sample.
    pub segment: Micros,
    /// Added to the first segment of a run, so that cameras do not rotate together.
    pub stagger: Micros,
    /// Longest fragment.
    pub fragment: Micros,
    /// Largest fragment, in bytes.
    pub fragment_bytes: usize,
    /// Whether audio is written.
    pub audio: AudioPolicy,
}

/// Whether audio is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioPolicy {
    /// Where the stream has any.
    Keep,
    /// Never.
    Leave,
}

/// Which pictures are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// None; acts at the next sync sample.
    Nothing,
    /// Those captured before this instant.
    Until(WallTime),
}

impl Want {
    pub(crate) fn takes(self, at: WallTime) -> bool {
        matches!(self, Want::Until(until) if at < until)
    }
}

/// The tracks of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentTracks {
    /// Pictures.
    pub video: Arc<TrackParams>,
    /// Sound, where there is any.
    pub audio: Option<Arc<TrackParams>>,
}

/// Names a segment between the orders about it; unique within a recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(pub u64);

/// What is to be written.
#[derive(Clone, Debug)]
pub enum Order {
    /// A new segment with its first fragment.
    Begin {
        /// Names it from now on.
        serial: Serial,
        /// Time zero of its media time.
        start: WallTime,
        /// Its tracks.
        tracks: SegmentTracks,
        /// Its pictures up to the next sync sample need the segment before it.
        dependent: bool,
        /// The fragment.
        fragment: Fragment,
    },
    /// A further fragment of a segment.
    Append {
        /// Which segment.
        serial: Serial,
        /// A hole that lies between the fragment before and this one.
        hole: Option<Interval>,
        /// The fragment.
        fragment: Fragment,
    },
    /// A segment is complete.
    Seal {
        /// Which segment.
        serial: Serial,
        /// End of its last picture.
        end: WallTime,
        /// Why.
        reason: EndReason,
        /// What keeps the footage away that would follow, where that is known.
        cause: Option<Cause>,
    },
}

/// Pictures and frames that were not recorded, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Before the first sync sample of a run, or after a fault.
    pub before_sync: u64,
    /// Leading pictures of a run's first sync sample.
    pub leading: u64,
    /// Empty or absurdly large.
    pub unusable: u64,
    /// Audio frames outside the time of the segment.
    pub audio: u64,
}
