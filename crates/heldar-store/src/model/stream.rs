//! Streams with their stored totals, and codec parameters.

use heldar_base::{StreamId, WallTime};

/// Stored totals of a stream; never summed when read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamTotals {
    /// Segments that are not being deleted.
    pub segment_count: i64,
    /// Their bytes.
    pub total_bytes: i64,
    /// Latest end of any segment ever, deleted ones included; nothing may be recorded before it.
    pub newest_end: Option<WallTime>,
}

/// Stored totals of a stream beside the sums over its segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamSums {
    /// Its number.
    pub stream_no: i64,
    /// What is stored.
    pub stored: StreamTotals,
    /// What its segments add up to; the newest end is that of the segments that are there, and `stored` may be later.
    pub summed: StreamTotals,
}

/// What the last session of a stream showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// `h264`, `hevc` or another name.
    pub codec: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Pictures per 1000 seconds, where known.
    pub fps_milli: Option<u32>,
}

/// A stream of a camera that was not deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its number in the store, part of every segment id.
    pub stream_no: i64,
    /// Which feed of which camera.
    pub id: StreamId,
    /// Its stored totals.
    pub totals: StreamTotals,
    /// What the last session showed.
    pub observed: Option<Observed>,
}

/// Bytes that a stream wrote lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteRate {
    /// Its number.
    pub stream_no: i64,
    /// Bytes of its segments that ended in the last 24 hours, deleted ones included. The oldest of the hours counts
    /// by the share that lies inside.
    pub bytes_per_day: i64,
}

/// Format of an audio track.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AudioFormat {
    /// `aac` or `opus`.
    pub codec: String,
    /// RFC 6381 string.
    pub codec_string: String,
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u16,
}

/// Codec parameters of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CodecParams {
    /// `h264`, `hevc` or `av1`.
    pub codec: String,
    /// RFC 6381 string.
    pub codec_string: String,
    /// Displayed width in pixels.
    pub width: u32,
    /// Displayed height in pixels.
    pub height: u32,
    /// Its audio track, if it has one.
    pub audio: Option<AudioFormat>,
}
