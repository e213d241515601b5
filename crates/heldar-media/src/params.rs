//! Codec parameters of a track, read once from the camera's parameter sets.

use bytes::Bytes;
use heldar_base::Micros;

/// Coding of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// ITU-T H.264.
    H264,
    /// ITU-T H.265.
    H265,
}

impl VideoCodec {
    /// Its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            VideoCodec::H264 => "h264",
            VideoCodec::H265 => "hevc",
        }
    }
}

/// Coding of sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// MPEG-4 AAC.
    Aac,
    /// Opus (RFC 6716).
    Opus,
}

impl AudioCodec {
    /// Its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            AudioCodec::Aac => "aac",
            AudioCodec::Opus => "opus",
        }
    }
}

/// Parameters of a video track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoParams {
    /// Coding.
    pub codec: VideoCodec,
    /// RFC 6381 string with the `avc1` or `hvc1` sample entry, such as `avc1.64001f`.
    pub codec_string: String,
    /// Displayed width in pixels, after cropping.
    pub width: u32,
    /// Displayed height in pixels, after cropping.
    pub height: u32,
    /// Sample aspect ratio, where the stream tells one other than 1:1.
    pub pixel_aspect: Option<(u32, u32)>,
    /// Nominal time between pictures, where the stream tells it.
    pub nominal_interval: Option<Micros>,
    /// How many pictures may come before another in decoding order and after it in presentation order; 0 when both
    /// orders are the same.
    pub reorder_depth: u8,
    /// Body of the `avcC` or `hvcC` box (ISO/IEC 14496-15), parameter sets included.
    pub config: Bytes,
}

/// Parameters of an audio track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioParams {
    /// Coding.
    pub codec: AudioCodec,
    /// RFC 6381 string, such as `mp4a.40.2` or `opus`.
    pub codec_string: String,
    /// Samples per second; 48000 for Opus (RFC 7845 4).
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
    /// Samples in one frame, in units of `sample_rate`.
    pub frame_samples: u32,
    /// AAC: AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1). Opus: body of the `dOps` box.
    pub config: Bytes,
}

/// Parameters of either kind of track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrackParams {
    /// Of a video track.
    Video(VideoParams),
    /// Of an audio track.
    Audio(AudioParams),
}

impl TrackParams {
    /// Ticks per second of the track's media time in files: 90 000 for video, the sample rate for audio.
    pub fn timescale(&self) -> u32 {
        match self {
            TrackParams::Video(_) => 90_000,
            TrackParams::Audio(a) => a.sample_rate,
        }
    }

    /// The video parameters, if it is a video track.
    pub fn video(&self) -> Option<&VideoParams> {
        match self {
            TrackParams::Video(v) => Some(v),
            TrackParams::Audio(_) => None,
        }
    }

    /// The audio parameters, if it is an audio track.
    pub fn audio(&self) -> Option<&AudioParams> {
        match self {
            TrackParams::Audio(a) => Some(a),
            TrackParams::Video(_) => None,
        }
    }

    /// True when both can share a sample entry: they differ at most in the reorder depth seen so far.
    pub fn same_sample_entry(&self, other: &TrackParams) -> bool {
        match (self, other) {
            (TrackParams::Video(a), TrackParams::Video(b)) => {
                *a == VideoParams { reorder_depth: a.reorder_depth, ..b.clone() }
            }
            (a, b) => a == b,
        }
    }

    /// RFC 6381 string.
    pub fn codec_string(&self) -> &str {
        match self {
            TrackParams::Video(v) => &v.codec_string,
            TrackParams::Audio(a) => &a.codec_string,
        }
    }
}
