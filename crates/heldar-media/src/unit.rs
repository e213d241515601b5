//! One coded picture or audio frame.

use std::sync::Arc;

use bytes::Bytes;
use heldar_base::{MonoTime, WallTime};

use crate::TrackParams;
use crate::g711::Original;

/// The two kinds of tracks that are carried; a stream has at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// Whether decoding can start at a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncKind {
    /// It needs earlier pictures.
    None,
    /// Nothing after it in decoding order needs anything before it: IDR, H.265 BLA. Every audio frame is one.
    Closed,
    /// It can be decoded alone, but pictures that follow it and are shown before it may need earlier ones: H.265 CRA,
    /// H.264 recovery point with frame count 0.
    Open,
}

impl SyncKind {
    /// True when decoding can start here.
    pub fn is_sync(self) -> bool {
        self != SyncKind::None
    }
}

/// One coded picture or audio frame, assembled once and shared from then on.
///
/// It has no duration: that is known only when the next one of its track comes.
#[derive(Clone, Debug)]
pub struct AccessUnit {
    /// Which track of its stream.
    pub track: TrackKind,
    /// When it was captured (for pictures: presentation time), in UTC by the capture clock of its run. Rises strictly in
    /// presentation order within a track, whatever host clock and camera do.
    pub captured_at: WallTime,
    /// When its last byte arrived.
    pub received_at: MonoTime,
    /// RTP time, unrolled, in units of the track's RTP clock rate; restarts with each run.
    pub rtp_time: i64,
    /// Whether decoding can start here.
    pub sync: SyncKind,
    /// Parameters in force; the same allocation as long as nothing changes.
    pub params: Arc<TrackParams>,
    /// Video: NAL units, each behind its length in four bytes, no parameter sets, delimiters or fillers. Audio: one raw
    /// frame (AAC without ADTS, an Opus packet).
    pub payload: Bytes,
    /// Audio whose payload is a conversion: what the camera sent for the same time.
    pub original: Option<Original>,
}
