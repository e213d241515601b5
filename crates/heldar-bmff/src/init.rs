//! The init segment: `ftyp moov` of a recorded file.

use heldar_base::WallTime;
use heldar_media::{AudioParams, TrackParams, VideoParams};

use crate::{
    boxes::BoxWriter,
    entry::TrackEntry,
    error::Error,
    moov::{mdia, mvhd, stsd, tkhd},
};

/// Length of a version 1 `mehd` box.
pub(crate) const DURATION_BOX_LEN: usize = 20;

/// User type of the `uuid` box in `moov` that tells when media time 0 was: 8 bytes, microseconds since 1970 in UTC. With it
/// the index can be made again from the files alone, to the microsecond. Players skip it (4.2, 11.1).
pub(crate) const START_TYPE: [u8; 16] = *b"heldar start \0\0\x01";

/// The first bytes of a recorded file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitSegment {
    bytes: Vec<u8>,
    duration_slot: u64,
    tracks: Vec<TrackEntry>,
}

impl InitSegment {
    /// The init segment of a file with one video track and at most one audio track.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for parameters that no MP4 can carry.
    pub fn new(video: &VideoParams, audio: Option<&AudioParams>) -> Result<Self, Error> {
        Self::build(video, audio, None, 0)
    }

    /// As [`InitSegment::new`], of a file whose media time 0 was at `wall_start`.
    ///
    /// # Errors
    /// As [`InitSegment::new`].
    pub fn starting_at(
        wall_start: WallTime,
        video: &VideoParams,
        audio: Option<&AudioParams>,
    ) -> Result<Self, Error> {
        Self::build(video, audio, Some(wall_start), 0)
    }

    /// As [`InitSegment::starting_at`], of a file whose fragments are written by [`crate::FragmentHeader::delayed`] with
    /// this delay, in 1/90000 s. Without negative composition offsets, of which readers make different things, video
    /// and audio are in step everywhere.
    ///
    /// # Errors
    /// As [`InitSegment::new`].
    pub fn delayed(
        wall_start: WallTime,
        video: &VideoParams,
        audio: Option<&AudioParams>,
        presentation_delay: u32,
    ) -> Result<Self, Error> {
        Self::build(video, audio, Some(wall_start), presentation_delay)
    }

    fn build(
        video: &VideoParams,
        audio: Option<&AudioParams>,
        wall_start: Option<WallTime>,
        presentation_delay: u32,
    ) -> Result<Self, Error> {
        let mut params = vec![TrackParams::Video(video.clone())];
        params.extend(audio.map(|audio| TrackParams::Audio(audio.clone())));
        let mut tracks = params.iter().map(TrackEntry::new).collect::<Result<Vec<_>, _>>()?;
        tracks[0].presentation_delay = presentation_delay;

        let mut w = BoxWriter::with_capacity(1200 + tracks.iter().map(|t| t.entry.len()).sum::<usize>());
        w.boxed(b"ftyp", |w| {
            // `default-base-is-moof` needs iso5, signed composition offsets in `trun` need iso6 (annex E).
            w.bytes(b"isom");
            w.u32(0);
            w.bytes(b"isom");
            w.bytes(b"iso6");
            w.bytes(b"mp41");
        });
        let mut duration_slot = 0;
        w.boxed(b"moov", |w| {
            mvhd(w, 0, tracks.len() as u32 + 1);
            for (track, params) in tracks.iter().zip(&params) {
                w.boxed(b"trak", |w| {
                    tkhd(w, track.id, params, 0);
                    if track.presentation_delay > 0 {
                        w.boxed(b"edts", |w| delay_edit(w, track.presentation_delay));
                    }
                    mdia(w, params, track.timescale, 0, |w| empty_sample_table(w, track));
                });
            }
            w.boxed(b"mvex", |w| {
                duration_slot = w.len() as u64;
                w.boxed(b"free", |w| w.zeros(DURATION_BOX_LEN - 8));
                for track in &tracks {
                    w.full(b"trex", 0, 0, |w| {
                        w.u32(track.id);
                        w.u32(1); // default_sample_description_index
                        w.zeros(12);
                    });
                }
            });
            if let Some(start) = wall_start {
                w.boxed(b"uuid", |w| {
                    w.bytes(&START_TYPE);
                    w.bytes(&start.0.to_be_bytes());
                });
            }
        });
        Ok(InitSegment { bytes: w.finish(), duration_slot, tracks })
    }

    /// The bytes, which are the start of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where in the file [`duration_box`] may be written once the length is known.
    pub fn duration_slot(&self) -> u64 {
        self.duration_slot
    }

    /// The tracks, video first.
    pub fn tracks(&self) -> &[TrackEntry] {
        &self.tracks
    }
}

/// The bytes to be written over the duration slot when a file is sealed: an `mehd` box (8.8.2) that tells players the
/// length of the whole file, in 1/90000 s.
pub fn duration_box(duration_ticks: u64) -> [u8; DURATION_BOX_LEN] {
    let mut out = [0; DURATION_BOX_LEN];
    out[..4].copy_from_slice(&(DURATION_BOX_LEN as u32).to_be_bytes());
    out[4..8].copy_from_slice(b"mehd");
    out[8] = 1;
    out[12..].copy_from_slice(&duration_ticks.to_be_bytes());
    out
}

/// An `elst` (8.6.6) that shows all of a track from this media time on; 0 stands for its whole length, which grows.
fn delay_edit(w: &mut BoxWriter, media_time: u32) {
    w.full(b"elst", 1, 0, |w| {
        w.u32(1);
        w.u64(0);
        w.u64(u64::from(media_time));
        w.u32(0x0001_0000); // rate
    });
}

/// All samples are in fragments.
fn empty_sample_table(w: &mut BoxWriter, track: &TrackEntry) {
    stsd(w, &[&track.entry]);
    w.full(b"stts", 0, 0, |w| w.zeros(4));
    w.full(b"stsc", 0, 0, |w| w.zeros(4));
    w.full(b"stsz", 0, 0, |w| w.zeros(8));
    w.full(b"stco", 0, 0, |w| w.zeros(4));
}
