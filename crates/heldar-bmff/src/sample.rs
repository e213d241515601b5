//! One sample, and the numbers that are the same in every recorded file.

/// Track id of the video track of every recorded file.
pub const VIDEO_TRACK_ID: u32 = 1;
/// Track id of the audio track, where there is one.
pub const AUDIO_TRACK_ID: u32 = 2;
/// Ticks per second of video tracks and of the movie header.
pub const VIDEO_TIMESCALE: u32 = 90_000;

/// Everything a sample table knows of a sample but its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SampleMeta {
    /// Bytes.
    pub size: u32,
    /// Time to the next sample in decoding order, in ticks of its track.
    pub duration: u32,
    /// Presentation time less decode time, in ticks of its track.
    pub composition_offset: i32,
    /// Whether decoding can start here.
    pub sync: bool,
}

/// Past this no decode time is believed: 2^53 ticks are three thousand years of video.
pub(crate) const MAX_TICKS: u64 = 1 << 53;
/// Samples of all tracks in one fragment; a fragment holds at most 10 s or 8 MiB of video.
pub(crate) const MAX_FRAGMENT_SAMPLES: usize = 1 << 18;
/// Samples of all tracks in one recorded file.
pub(crate) const MAX_FILE_SAMPLES: usize = 1 << 22;

/// Sample flags (8.8.3.1): `sample_depends_on` = 2, needs no other.
pub(crate) const FLAGS_SYNC: u32 = 0x0200_0000;
/// Sample flags: `sample_depends_on` = 1 and `sample_is_non_sync_sample`.
pub(crate) const FLAGS_NON_SYNC: u32 = 0x0101_0000;
/// The bit of the sample flags that says that a sample is no sync sample.
pub(crate) const FLAG_IS_NON_SYNC: u32 = 0x0001_0000;

impl SampleMeta {
    /// Its sample flags (8.8.3.1).
    pub(crate) fn flags(&self) -> u32 {
        if self.sync { FLAGS_SYNC } else { FLAGS_NON_SYNC }
    }
}
