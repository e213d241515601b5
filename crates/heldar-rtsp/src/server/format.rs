//! What a track carries and how RTP names it.

use bytes::Bytes;

/// Parameter sets of a video track: NAL units without start codes or lengths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParameterSets {
    /// Video parameter sets; H.265 only.
    pub vps: Vec<Bytes>,
    /// Sequence parameter sets.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets.
    pub pps: Vec<Bytes>,
}

impl ParameterSets {
    /// All of them in the order decoders want them.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.vps.iter().chain(&self.sps).chain(&self.pps)
    }
}

/// Coding of a track and its RTP payload format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// H.264 (RFC 6184), packetization mode 1.
    H264(ParameterSets),
    /// H.265 (RFC 7798), without DONL.
    H265(ParameterSets),
    /// AAC in mode AAC-hbr (RFC 3640 3.3.6).
    Aac {
        /// AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1).
        config: Bytes,
        /// Samples per second, which is the RTP clock rate too.
        sample_rate: u32,
        /// Channels.
        channels: u8,
    },
    /// G.711 mu-law, 8000 Hz, one channel (RFC 3551 4.5.14).
    Pcmu,
    /// G.711 A-law, 8000 Hz, one channel (RFC 3551 4.5.14).
    Pcma,
    /// Opus (RFC 7587).
    Opus {
        /// 1 or 2; told by `sprop-stereo` alone.
        channels: u8,
    },
    /// Anything else that fits packets as it is.
    Other {
        /// `audio` or `application`.
        media: &'static str,
        /// Encoding name and parameters of `rtpmap` behind the clock rate, such as `G726-32` or `vnd.onvif.metadata`.
        encoding: &'static str,
        /// RTP clock rate.
        clock_rate: u32,
    },
}

impl Format {
    /// Ticks of RTP time per second.
    pub fn clock_rate(&self) -> u32 {
        match self {
            Format::H264(_) | Format::H265(_) => 90_000,
            Format::Aac { sample_rate, .. } => *sample_rate,
            Format::Pcmu | Format::Pcma => 8_000,
            Format::Opus { .. } => 48_000,
            Format::Other { clock_rate, .. } => *clock_rate,
        }
    }

    /// True for pictures.
    pub fn is_video(&self) -> bool {
        matches!(self, Format::H264(_) | Format::H265(_))
    }

    /// Parameter sets, of a video track.
    pub fn parameter_sets(&self) -> Option<&ParameterSets> {
        match self {
            Format::H264(sets) | Format::H265(sets) => Some(sets),
            _ => None,
        }
    }

    /// Static payload types of RFC 3551 6 where they exist, else a dynamic one that is unique in the stream.
    pub(super) fn payload_type(&self, track: u8) -> u8 {
        match self {
            Format::Pcmu => 0,
            Format::Pcma => 8,
            _ => 96 + (track & 0x1f),
        }
    }
}
