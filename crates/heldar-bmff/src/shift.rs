//! Moving a fragment in time, in place.

use crate::{
    entry::TrackEntry,
    error::{Error, malformed},
    moof::moof_body,
    sample::VIDEO_TIMESCALE,
};

/// Adds `base_ticks`, in 1/90000 s, to every decode time of one `moof` box. In a track of another timescale the base is
/// scaled and rounded down, so that all tracks move together. The length of the box stays the same.
///
/// # Errors
/// [`Error::Malformed`] when `moof` is no such box or names a track that is not among `tracks`, [`Error::TooLarge`]
/// when a sum does not fit its field; nothing is changed then.
pub fn shift_decode_times(moof: &mut [u8], base_ticks: u64, tracks: &[TrackEntry]) -> Result<(), Error> {
    let mut patches: Vec<(usize, Patch)> = Vec::new();
    let mut body = moof_body(moof)?;
    while let Some(traf) = body.next_box()? {
        if traf.kind != *b"traf" {
            continue;
        }
        let [Some(mut tfhd), Some(mut tfdt)] = traf.body.find([b"tfhd", b"tfdt"])? else {
            return Err(malformed("traf without its boxes", traf.offset));
        };
        tfhd.version_flags()?;
        let id = tfhd.u32()?;
        let Some(track) = tracks.iter().find(|t| t.id == id) else {
            return Err(malformed("unknown track", traf.offset));
        };
        let base = u128::from(base_ticks) * u128::from(track.timescale) / u128::from(VIDEO_TIMESCALE);
        let (version, _) = tfdt.version_flags()?;
        // Below the length of `moof`, which is a slice in memory.
        let place = tfdt.offset() as usize;
        let too_large = |_| Error::TooLarge("shifted decode time");
        let patch = if version == 1 {
            Patch::Long(u64::try_from(u128::from(tfdt.u64()?) + base).map_err(too_large)?.to_be_bytes())
        } else {
            Patch::Short(u32::try_from(u128::from(tfdt.u32()?) + base).map_err(too_large)?.to_be_bytes())
        };
        patches.push((place, patch));
    }
    for (place, patch) in patches {
        let bytes: &[u8] = match &patch {
            Patch::Short(bytes) => bytes,
            Patch::Long(bytes) => bytes,
        };
        moof[place..place + bytes.len()].copy_from_slice(bytes);
    }
    Ok(())
}

/// A decode time as it will stand in the box.
enum Patch {
    Short([u8; 4]),
    Long([u8; 8]),
}
