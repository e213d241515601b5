//! Reading of `moof` boxes.

use crate::{
    cursor::Cursor,
    error::{Error, malformed},
    sample::{FLAG_IS_NON_SYNC, MAX_FRAGMENT_SAMPLES, MAX_TICKS, SampleMeta},
};

/// What `trex` (8.8.3) says for a track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrackDefaults {
    pub(crate) track_id: u32,
    pub(crate) duration: u32,
    pub(crate) size: u32,
    pub(crate) flags: u32,
    /// See [`crate::TrackEntry`].
    pub(crate) presentation_delay: u32,
}

/// A `moof` box, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moof {
    pub(crate) sequence_number: u32,
    pub(crate) runs: Vec<MoofRun>,
}

/// The samples of one track, which lie side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MoofRun {
    pub(crate) track_id: u32,
    pub(crate) base_decode_time: u64,
    /// Of the first sample, from the start of the `moof` box.
    pub(crate) data_offset: u64,
    pub(crate) samples: Vec<SampleMeta>,
}

impl MoofRun {
    pub(crate) fn bytes(&self) -> u64 {
        self.samples.iter().map(|s| u64::from(s.size)).sum()
    }
}

/// The body of `bytes`, which must be exactly one `moof` box.
pub(crate) fn moof_body(bytes: &[u8]) -> Result<Cursor<'_>, Error> {
    let mut walk = Cursor::new(bytes, 0);
    match walk.next_box()? {
        Some(view) if view.kind == *b"moof" && walk.is_empty() => Ok(view.body),
        _ => Err(malformed("not one moof box", 0)),
    }
}

impl Moof {
    /// Reads one whole `moof` box.
    pub(crate) fn parse(bytes: &[u8], defaults: &[TrackDefaults]) -> Result<Self, Error> {
        let mut body = moof_body(bytes)?;
        let mut moof = Moof { sequence_number: 0, runs: Vec::new() };
        let mut room = MAX_FRAGMENT_SAMPLES;
        while let Some(mut next) = body.next_box()? {
            match &next.kind {
                b"mfhd" => {
                    next.body.version_flags()?;
                    moof.sequence_number = next.body.u32()?;
                }
                b"traf" => {
                    let run = read_traf(next.body, defaults, &mut room)?;
                    if moof.runs.iter().any(|r| r.track_id == run.track_id) {
                        return Err(malformed("two traf boxes of one track", next.offset));
                    }
                    if !run.samples.is_empty() {
                        moof.runs.push(run);
                    }
                }
                _ => {}
            }
        }
        if moof.runs.is_empty() {
            return Err(malformed("fragment without samples", 0));
        }
        Ok(moof)
    }
}

/// `tfhd` (8.8.7): track id and defaults.
fn read_tfhd(mut body: Cursor<'_>, defaults: &[TrackDefaults]) -> Result<TrackDefaults, Error> {
    let (_, flags) = body.version_flags()?;
    let track_id = body.u32()?;
    let known = defaults.iter().find(|d| d.track_id == track_id).copied();
    let mut out = TrackDefaults { track_id, ..known.unwrap_or_default() };
    if flags & 0x01 != 0 {
        return Err(Error::Unsupported("fragment with an absolute data offset"));
    }
    if flags & 0x02 != 0 && body.u32()? != 1 {
        return Err(Error::Unsupported("fragment of another sample entry"));
    }
    if flags & 0x08 != 0 {
        out.duration = body.u32()?;
    }
    if flags & 0x10 != 0 {
        out.size = body.u32()?;
    }
    if flags & 0x20 != 0 {
        out.flags = body.u32()?;
    }
    Ok(out)
}

fn read_traf(traf: Cursor<'_>, defaults: &[TrackDefaults], room: &mut usize) -> Result<MoofRun, Error> {
    let missing = || traf.error("traf without its boxes");
    let [tfhd, tfdt] = traf.find([b"tfhd", b"tfdt"])?;
    let defaults = read_tfhd(tfhd.ok_or_else(missing)?, defaults)?;
    let mut tfdt = tfdt.ok_or_else(missing)?;
    let (version, _) = tfdt.version_flags()?;
    let base_decode_time = if version == 1 { tfdt.u64()? } else { u64::from(tfdt.u32()?) };
    if base_decode_time > MAX_TICKS {
        return Err(tfdt.error("decode time"));
    }
    let mut run =
        MoofRun { track_id: defaults.track_id, base_decode_time, data_offset: 0, samples: Vec::new() };
    let mut end = None;
    let mut walk = traf.clone();
    while let Some(next) = walk.next_box()? {
        if next.kind == *b"trun" {
            read_trun(next.body, &defaults, &mut run, &mut end, room)?;
        }
    }
    Ok(run)
}

/// Appends the samples of one `trun` (8.8.8). `end` is where the track's data written so far ends, from the `moof` on.
fn read_trun(
    mut body: Cursor<'_>,
    defaults: &TrackDefaults,
    run: &mut MoofRun,
    end: &mut Option<u64>,
    room: &mut usize,
) -> Result<(), Error> {
    let (version, flags) = body.version_flags()?;
    let count = body.u32()? as usize;
    let per_sample = 4 * (flags & 0xf00).count_ones() as usize;
    *room = match room.checked_sub(count) {
        Some(left) if per_sample.saturating_mul(count) <= body.remaining() => left,
        _ => return Err(body.error("more samples than there can be")),
    };
    if flags & 0x01 != 0 {
        let Ok(offset) = u64::try_from(body.i32()?) else {
            return Err(body.error("data before its moof"));
        };
        match *end {
            None => run.data_offset = offset,
            Some(expected) if expected == offset => {}
            Some(_) => return Err(Error::Unsupported("samples of one track apart")),
        }
        *end = Some(offset);
    }
    let Some(mut data_end) = *end else {
        return Err(body.error("no data offset"));
    };
    let first_flags = if flags & 0x04 != 0 { Some(body.u32()?) } else { None };
    run.samples.reserve(count);
    for index in 0..count {
        let duration = if flags & 0x100 != 0 { body.u32()? } else { defaults.duration };
        let size = if flags & 0x200 != 0 { body.u32()? } else { defaults.size };
        let own_flags = if flags & 0x400 != 0 { body.u32()? } else { defaults.flags };
        let flags_here = first_flags.filter(|_| index == 0).unwrap_or(own_flags);
        let composition_offset = match (flags & 0x800 != 0, version) {
            (false, _) => 0,
            (true, 0) => i32::try_from(body.u32()?).map_err(|_| body.error("composition offset"))?,
            (true, _) => body.i32()?,
        };
        let composition_offset = composition_offset
            .checked_sub_unsigned(defaults.presentation_delay)
            .ok_or_else(|| body.error("composition offset"))?;
        let sync = flags_here & FLAG_IS_NON_SYNC == 0;
        run.samples.push(SampleMeta { size, duration, composition_offset, sync });
        data_end += u64::from(size);
    }
    *end = Some(data_end);
    Ok(())
}
