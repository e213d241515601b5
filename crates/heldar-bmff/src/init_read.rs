//! Reading of init segments.

use bytes::Bytes;
use heldar_base::WallTime;

use crate::{
    cursor::Cursor,
    entry::TrackEntry,
    error::{Error, malformed},
    init::{DURATION_BOX_LEN, START_TYPE},
    moof::TrackDefaults,
    read_at::{ReadAt, exact, fill},
};

/// Longest init segment that is believed; ours have under 2 KiB.
const MAX_INIT: u64 = 1 << 20;

/// What an init segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitInfo {
    /// Bytes from the start of the file to the end of the `moov` box.
    pub len: u64,
    /// The tracks, in the order of the file.
    pub tracks: Vec<TrackEntry>,
    /// Where [`crate::duration_box`] may be written; `None` in a file that was not written by this crate.
    pub duration_slot: Option<u64>,
    /// When media time 0 was; `None` in a file that does not tell.
    pub wall_start: Option<WallTime>,
    pub(crate) defaults: Vec<TrackDefaults>,
}

impl InitInfo {
    /// Reads the init segment at the start of `bytes`; what follows it is not looked at.
    ///
    /// # Errors
    /// [`Error::Malformed`] when there is none, or not all of it; [`Error::Unsupported`] for tracks that are not
    /// recorded by this crate.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut walk = Cursor::new(bytes, 0);
        let ftyp = walk.next_box()?;
        if ftyp.is_none_or(|b| b.kind != *b"ftyp") {
            return Err(malformed("no ftyp box", 0));
        }
        let at = walk.offset();
        let Some(moov) = walk.next_box()?.filter(|b| b.kind == *b"moov") else {
            return Err(malformed("no moov box", at));
        };
        let mut info = InitInfo {
            len: walk.offset(),
            tracks: Vec::new(),
            duration_slot: None,
            wall_start: None,
            defaults: Vec::new(),
        };
        let mut inner = moov.body;
        while let Some(next) = inner.next_box()? {
            match &next.kind {
                b"trak" => info.tracks.push(read_track(next.body)?),
                b"mvex" => info.read_mvex(next.body)?,
                b"uuid" => info.wall_start = info.wall_start.or(read_start(next.body)?),
                _ => {}
            }
        }
        if info.tracks.is_empty() {
            return Err(malformed("no track", at));
        }
        if (1..info.tracks.len()).any(|i| info.tracks[..i].iter().any(|t| t.id == info.tracks[i].id)) {
            return Err(malformed("two tracks with one id", at));
        }
        for track in &info.tracks {
            match info.defaults.iter_mut().find(|d| d.track_id == track.id) {
                Some(defaults) => defaults.presentation_delay = track.presentation_delay,
                None => info.defaults.push(TrackDefaults {
                    track_id: track.id,
                    presentation_delay: track.presentation_delay,
                    ..TrackDefaults::default()
                }),
            }
        }
        Ok(info)
    }

    /// Reads the init segment of a whole file.
    pub fn read(from: &(impl ReadAt + ?Sized)) -> Result<Self, Error> {
        let mut end = 0u64;
        for _ in 0..2 {
            let mut header = [0; 8];
            if fill(from, end, &mut header)? < header.len() {
                return Err(malformed("init segment cut short", end));
            }
            let size = u64::from(u32::from_be_bytes([header[0], header[1], header[2], header[3]]));
            if size < 8 || end + size > MAX_INIT {
                return Err(malformed("init segment too long", end));
            }
            end += size;
        }
        // Bounded by MAX_INIT above.
        Self::parse(&exact(from, 0, end as usize)?)
    }

    fn read_mvex(&mut self, mut body: Cursor<'_>) -> Result<(), Error> {
        while let Some(mut next) = body.next_box()? {
            match &next.kind {
                b"free" | b"mehd" if next.body.remaining() == DURATION_BOX_LEN - 8 => {
                    self.duration_slot.get_or_insert(next.offset);
                }
                b"trex" => {
                    next.body.version_flags()?;
                    let track_id = next.body.u32()?;
                    next.body.skip(4)?;
                    self.defaults.push(TrackDefaults {
                        track_id,
                        duration: next.body.u32()?,
                        size: next.body.u32()?,
                        flags: next.body.u32()?,
                        presentation_delay: 0,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn read_track(trak: Cursor<'_>) -> Result<TrackEntry, Error> {
    let missing = || trak.error("track without a header");
    let [tkhd, mdia] = trak.find([b"tkhd", b"mdia"])?;
    let (mut tkhd, mdia) = (tkhd.ok_or_else(missing)?, mdia.ok_or_else(missing)?);
    let (version, _) = tkhd.version_flags()?;
    tkhd.skip(if version == 1 { 16 } else { 8 })?;
    let id = tkhd.u32()?;

    let [mdhd, minf] = mdia.find([b"mdhd", b"minf"])?;
    let (mut mdhd, minf) = (mdhd.ok_or_else(missing)?, minf.ok_or_else(missing)?);
    let (version, _) = mdhd.version_flags()?;
    mdhd.skip(if version == 1 { 16 } else { 8 })?;
    let timescale = mdhd.u32()?;
    if timescale == 0 {
        return Err(mdhd.error("timescale 0"));
    }

    let [Some(stbl)] = minf.find([b"stbl"])? else {
        return Err(missing());
    };
    let [Some(mut stsd)] = stbl.find([b"stsd"])? else {
        return Err(missing());
    };
    stsd.version_flags()?;
    if stsd.u32()? != 1 {
        return Err(Error::Unsupported("track with several sample entries"));
    }
    let entry = Bytes::copy_from_slice(stsd.take(stsd.remaining())?);
    let presentation_delay = read_delay(&trak)?;
    let track = TrackEntry { id, timescale, entry, presentation_delay };
    track.params()?;
    Ok(track)
}

/// Where the only edit of a track begins (8.6.6); 0 without one, or with edits that this crate does not write.
fn read_delay(trak: &Cursor<'_>) -> Result<u32, Error> {
    let [Some(edts)] = trak.find([b"edts"])? else { return Ok(0) };
    let [Some(mut elst)] = edts.find([b"elst"])? else { return Ok(0) };
    let (version, _) = elst.version_flags()?;
    if elst.u32()? != 1 {
        return Ok(0);
    }
    elst.skip(if version == 1 { 8 } else { 4 })?;
    let media_time = if version == 1 { elst.u64()?.cast_signed() } else { i64::from(elst.i32()?) };
    Ok(u32::try_from(media_time).unwrap_or(0))
}

/// The start of the file, if the box is ours.
fn read_start(mut body: Cursor<'_>) -> Result<Option<WallTime>, Error> {
    let mut user_type = [0; 16];
    for byte in &mut user_type {
        *byte = body.u8()?;
    }
    if user_type != START_TYPE {
        return Ok(None);
    }
    Ok(Some(WallTime(body.u64()?.cast_signed())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InitSegment;
    use heldar_media::{AudioCodec, AudioParams, VideoCodec, VideoParams};

    fn video() -> VideoParams {
        // An `avcC` without parameter sets: version, profile, compatibility, level, length size, no sets.
        VideoParams {
            codec: VideoCodec::H264,
            codec_string: "avc1.64001f".to_owned(),
            width: 640,
            height: 360,
            pixel_aspect: None,
            nominal_interval: None,
            reorder_depth: 0,
            config: Bytes::from_static(&[1, 0x64, 0, 0x1f, 0xff, 0xe0, 0]),
        }
    }

    #[test]
    fn the_start_of_a_file_is_read_back() {
        let audio = AudioParams {
            codec: AudioCodec::Aac,
            codec_string: "mp4a.40.2".to_owned(),
            sample_rate: 48_000,
            channels: 1,
            frame_samples: 1024,
            config: Bytes::from_static(&[0x11, 0x88]),
        };
        let start = WallTime(1_793_491_200_123_456);
        let init = InitSegment::starting_at(start, &video(), Some(&audio)).unwrap();
        let info = InitInfo::parse(init.bytes()).unwrap();
        assert_eq!((info.wall_start, info.tracks.len()), (Some(start), 2));
        let silent = InitSegment::new(&video(), None).unwrap();
        assert_eq!(InitInfo::parse(silent.bytes()).unwrap().wall_start, None);
    }
}
