//! A recorded file as part of a longer session: its fragments moved in time, in place.
//!
//! Players of sessions take the first decode time of a fragment for its first presentation time, and do not agree on edit
//! lists. So there the presentation delay is undone: the edit list goes, and composition offsets are signed.

use crate::{
    cursor::Cursor,
    entry::TrackEntry,
    error::{Error, malformed},
    moof::moof_body,
    sample::VIDEO_TIMESCALE,
};

/// Hides the edit lists of an init segment, whose length stays the same.
///
/// # Errors
/// [`Error::Malformed`] when `init` has no whole `moov` box; nothing is changed then.
pub fn hide_edits(init: &mut [u8]) -> Result<(), Error> {
    let mut places = Vec::new();
    let mut walk = Cursor::new(init, 0);
    while let Some(next) = walk.next_box()? {
        let mut moov = next.body;
        while next.kind == *b"moov"
            && let Some(child) = moov.next_box()?
        {
            let mut trak = child.body;
            while child.kind == *b"trak"
                && let Some(inner) = trak.next_box()?
            {
                // The type stands behind the size. Below the length of `init`, which is a slice in memory.
                places.extend((inner.kind == *b"edts").then_some(inner.offset as usize + 4));
            }
        }
    }
    for place in places {
        init[place..place + 4].copy_from_slice(b"free");
    }
    Ok(())
}

/// Adds `base_ticks`, in 1/90000 s, to every decode time of one `moof` box, and takes the presentation delay off its
/// composition offsets. In a track of another timescale the base is scaled and rounded down, so that all tracks move
/// together. The length of the box stays the same.
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
        if track.presentation_delay > 0 {
            let mut runs = traf.body.clone();
            while let Some(run) = runs.next_box()? {
                if run.kind == *b"trun" {
                    undelay(run.body, track.presentation_delay, &mut patches)?;
                }
            }
        }
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

/// Takes the delay off the composition offsets of a `trun` (8.8.8) of version 1, as this crate writes it.
fn undelay(mut body: Cursor<'_>, delay: u32, patches: &mut Vec<(usize, Patch)>) -> Result<(), Error> {
    let (version, flags) = body.version_flags()?;
    let count = body.u32()?;
    if flags & 0x800 == 0 || version != 1 {
        return Err(body.error("no signed composition offsets"));
    }
    body.skip(4 * (flags & 0x05).count_ones() as usize)?;
    let before = 4 * (flags & 0x700).count_ones() as usize;
    for _ in 0..count {
        body.skip(before)?;
        let place = body.offset() as usize;
        let offset = body.i32()?.checked_sub_unsigned(delay);
        let offset = offset.ok_or(Error::TooLarge("composition offset"))?;
        patches.push((place, Patch::Short(offset.to_be_bytes())));
    }
    Ok(())
}

/// A field as it will stand in the box.
enum Patch {
    Short([u8; 4]),
    Long([u8; 8]),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FragmentHeader, InitInfo, InitSegment, SampleMeta, TrackRun, VIDEO_TRACK_ID, moof::Moof};
    use bytes::Bytes;
    use heldar_base::WallTime;
    use heldar_media::{VideoCodec, VideoParams};

    #[test]
    fn a_session_has_signed_offsets_and_no_edits() {
        let video = VideoParams {
            codec: VideoCodec::H264,
            codec_string: "avc1.64001f".to_owned(),
            width: 640,
            height: 360,
            pixel_aspect: None,
            nominal_interval: None,
            reorder_depth: 1,
            config: Bytes::from_static(&[1, 0x64, 0, 0x1f, 0xff, 0xe0, 0]),
        };
        let offsets = [0, 10_800, -3600, -3600];
        let sample = |composition_offset| SampleMeta {
            size: 5,
            duration: 3600,
            composition_offset,
            sync: composition_offset == 0,
        };
        let samples = offsets.map(sample);
        let run = TrackRun { track_id: VIDEO_TRACK_ID, base_decode_time: 7, samples: &samples };
        let init = InitSegment::delayed(WallTime(5), &video, None, 3600).unwrap();
        let plain = InitSegment::starting_at(WallTime(5), &video, None).unwrap();
        let header = FragmentHeader::delayed(1, &[run], 3600).unwrap();
        let known = InitInfo::parse(init.bytes()).unwrap();
        assert_eq!(known.tracks[0].presentation_delay, 3600);

        // What is in the file is never negative, and is read as it was given.
        let moof = &header.bytes[..header.moof_len as usize];
        let found = |moof: &[u8], of: &InitInfo| -> Vec<i32> {
            let run = &Moof::parse(moof, &of.defaults).unwrap().runs[0];
            run.samples.iter().map(|s| s.composition_offset).collect()
        };
        let as_plain = InitInfo::parse(plain.bytes()).unwrap();
        assert_eq!(found(moof, &as_plain), [3600, 14_400, 0, 0]);
        assert_eq!(found(moof, &known), offsets);

        let mut shifted = moof.to_vec();
        shift_decode_times(&mut shifted, 1_000_000, &known.tracks).unwrap();
        let mut hidden = init.bytes().to_vec();
        hide_edits(&mut hidden).unwrap();
        assert_eq!((shifted.len(), hidden.len()), (moof.len(), init.bytes().len()));
        let hidden = InitInfo::parse(&hidden).unwrap();
        assert_eq!(hidden.tracks[0].presentation_delay, 0);
        assert_eq!(found(&shifted, &hidden), offsets);
        assert_eq!(Moof::parse(&shifted, &hidden.defaults).unwrap().runs[0].base_decode_time, 1_000_007);
    }
}
