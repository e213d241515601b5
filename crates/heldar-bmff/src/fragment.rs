//! Writing of fragments: `moof` and the header of the `mdat` that follows it.

use crate::{
    boxes::BoxWriter,
    error::Error,
    sample::{MAX_FRAGMENT_SAMPLES, MAX_TICKS, SampleMeta, VIDEO_TRACK_ID},
};

/// Length of the header of an `mdat` box with a 32-bit size.
pub(crate) const MDAT_HEADER_LEN: u32 = 8;

/// The samples of one track in one fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackRun<'a> {
    /// Track id.
    pub track_id: u32,
    /// Decode time of the first sample, in ticks of the track, from the start of the file.
    pub base_decode_time: u64,
    /// In decoding order.
    pub samples: &'a [SampleMeta],
}

impl TrackRun<'_> {
    /// Bytes of all samples.
    pub(crate) fn bytes(&self) -> u64 {
        self.samples.iter().map(|s| u64::from(s.size)).sum()
    }
}

/// The bytes that come before the payload of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentHeader {
    /// `moof`, then the `mdat` header. The caller appends the payload: all samples of the first track, then all of the
    /// next.
    pub bytes: Vec<u8>,
    /// Length of the `moof` box alone.
    pub moof_len: u32,
    /// Bytes of payload that the `mdat` header announces.
    pub payload_len: u32,
}

impl FragmentHeader {
    /// The header of a fragment (8.8.4 to 8.8.12). Tracks without samples are left out.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the payload does not fit an `mdat` box with a 32-bit size, or a track lies too far
    /// behind the `moof` to be pointed at; [`Error::Unsupported`] for a fragment without samples.
    pub fn new(sequence_number: u32, tracks: &[TrackRun<'_>]) -> Result<Self, Error> {
        Self::delayed(sequence_number, tracks, 0)
    }

    /// As [`FragmentHeader::new`], for a file whose init segment says this presentation delay of its video.
    ///
    /// # Errors
    /// As [`FragmentHeader::new`], and [`Error::TooLarge`] for composition offsets that do not fit.
    pub fn delayed(
        sequence_number: u32,
        tracks: &[TrackRun<'_>],
        presentation_delay: u32,
    ) -> Result<Self, Error> {
        let count: usize = tracks.iter().map(|t| t.samples.len()).sum();
        if count == 0 {
            return Err(Error::Unsupported("fragment without samples"));
        }
        if count > MAX_FRAGMENT_SAMPLES {
            return Err(Error::TooLarge("samples of a fragment"));
        }
        if tracks.iter().any(|t| t.base_decode_time > MAX_TICKS) {
            return Err(Error::TooLarge("decode time"));
        }
        let delay =
            |track: &TrackRun<'_>| if track.track_id == VIDEO_TRACK_ID { presentation_delay } else { 0 };
        let fits = |t: &TrackRun<'_>| {
            t.samples.iter().all(|s| s.composition_offset.checked_add_unsigned(delay(t)).is_some())
        };
        if !tracks.iter().all(fits) {
            return Err(Error::TooLarge("composition offset"));
        }
        let mut w = BoxWriter::with_capacity(128 + 96 * tracks.len() + 16 * count);
        let mut offset_places = Vec::with_capacity(tracks.len());
        w.boxed(b"moof", |w| {
            w.full(b"mfhd", 0, 0, |w| w.u32(sequence_number));
            for track in tracks.iter().filter(|t| !t.samples.is_empty()) {
                offset_places.push((write_traf(w, track, delay(track)), track.bytes()));
            }
        });
        let moof_len = w.len() as u32;
        let mut payload = 0u64;
        for (place, bytes) in offset_places {
            let offset = u64::from(moof_len + MDAT_HEADER_LEN) + payload;
            let offset =
                i32::try_from(offset).map_err(|_| Error::TooLarge("distance of a track's samples"))?;
            w.patch_u32(place, offset as u32);
            payload += bytes;
        }
        let mdat_len = u32::try_from(payload + u64::from(MDAT_HEADER_LEN))
            .map_err(|_| Error::TooLarge("payload of a fragment"))?;
        w.u32(mdat_len);
        w.bytes(b"mdat");
        Ok(FragmentHeader { bytes: w.finish(), moof_len, payload_len: mdat_len - MDAT_HEADER_LEN })
    }

    /// Length of the whole fragment, payload included.
    pub fn fragment_len(&self) -> u64 {
        self.bytes.len() as u64 + u64::from(self.payload_len)
    }
}

/// What of a run is said once for all samples and what for each.
struct RunShape {
    duration: Option<u32>,
    size: Option<u32>,
    flags: Option<u32>,
    /// The first sample's flags, where only they differ.
    first_flags: Option<u32>,
    offsets: bool,
}

impl RunShape {
    fn of(samples: &[SampleMeta], delay: u32) -> Self {
        let same = |field: fn(&SampleMeta) -> u32, of: &[SampleMeta]| {
            let first = of.first().map(field)?;
            of.iter().all(|s| field(s) == first).then_some(first)
        };
        let all_flags = same(SampleMeta::flags, samples);
        let later_flags = same(SampleMeta::flags, &samples[1..]);
        RunShape {
            duration: same(|s| s.duration, samples),
            size: same(|s| s.size, samples),
            flags: all_flags.or(later_flags),
            first_flags: match (all_flags, later_flags) {
                (None, Some(_)) => Some(samples[0].flags()),
                _ => None,
            },
            offsets: delay > 0 || samples.iter().any(|s| s.composition_offset != 0),
        }
    }

    /// Flags of `tfhd` (8.8.7.1), `default-base-is-moof` always.
    fn tfhd_flags(&self) -> u32 {
        0x02_0000
            | if self.duration.is_some() { 0x08 } else { 0 }
            | if self.size.is_some() { 0x10 } else { 0 }
            | if self.flags.is_some() { 0x20 } else { 0 }
    }

    /// Flags of `trun` (8.8.8.1), `data-offset-present` always.
    fn trun_flags(&self) -> u32 {
        0x01 | if self.first_flags.is_some() { 0x04 } else { 0 }
            | if self.duration.is_none() { 0x100 } else { 0 }
            | if self.size.is_none() { 0x200 } else { 0 }
            | if self.flags.is_none() { 0x400 } else { 0 }
            | if self.offsets { 0x800 } else { 0 }
    }
}

/// Writes the `traf` of a run that is not empty, with composition offsets raised by `delay`, which fit; returns the place
/// of its data offset.
fn write_traf(w: &mut BoxWriter, track: &TrackRun<'_>, delay: u32) -> usize {
    let shape = RunShape::of(track.samples, delay);
    let mut place = 0;
    w.boxed(b"traf", |w| {
        w.full(b"tfhd", 0, shape.tfhd_flags(), |w| {
            w.u32(track.track_id);
            for default in [shape.duration, shape.size, shape.flags].into_iter().flatten() {
                w.u32(default);
            }
        });
        w.full(b"tfdt", 1, 0, |w| w.u64(track.base_decode_time));
        w.full(b"trun", 1, shape.trun_flags(), |w| {
            w.u32(track.samples.len() as u32);
            place = w.len();
            w.u32(0);
            if let Some(flags) = shape.first_flags {
                w.u32(flags);
            }
            for sample in track.samples {
                if shape.duration.is_none() {
                    w.u32(sample.duration);
                }
                if shape.size.is_none() {
                    w.u32(sample.size);
                }
                if shape.flags.is_none() {
                    w.u32(sample.flags());
                }
                if shape.offsets {
                    w.i32(sample.composition_offset.wrapping_add_unsigned(delay));
                }
            }
        });
    });
    place
}
