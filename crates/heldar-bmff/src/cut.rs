//! A fragment without its end, for the last segment of a playback session.

use std::ops::Range;

use crate::{
    entry::TrackEntry,
    error::Error,
    fragment::{FragmentHeader, TrackRun},
    moof::{Moof, MoofRun},
    sample::VIDEO_TIMESCALE,
};

/// The start of a fragment, as a fragment of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutFragment {
    /// `moof` and `mdat` header.
    pub header: Vec<u8>,
    /// Length of the `moof` box alone.
    pub moof_len: u32,
    /// The payload that follows, as byte ranges counted from the start of the original `moof`.
    pub payload: Vec<Range<u64>>,
}

impl CutFragment {
    /// Length of the whole, payload included.
    pub fn total_len(&self) -> u64 {
        self.header.len() as u64 + self.payload.iter().map(|r| r.end - r.start).sum::<u64>()
    }
}

/// Cuts a fragment after the last sample, in decoding order, that is needed for what is presented before `until_ticks`
/// (1/90000 s from the start of the file). Sequence number and decode times stay. `moof` is the whole original box.
///
/// # Errors
/// [`Error::Malformed`] or [`Error::Unsupported`] when `moof` is no such box; [`Error::NoPictures`] when nothing of it
/// is presented before `until_ticks`.
pub fn cut_fragment(moof: &[u8], until_ticks: u64, tracks: &[TrackEntry]) -> Result<CutFragment, Error> {
    let parsed = Moof::parse(moof, &[])?;
    let mut kept = Vec::with_capacity(parsed.runs.len());
    let mut payload = Vec::with_capacity(parsed.runs.len());
    for run in &parsed.runs {
        let track = tracks.iter().find(|t| t.id == run.track_id);
        let track = track.ok_or(Error::Unsupported("fragment of an unknown track"))?;
        let samples = &run.samples[..needed(run, until_ticks, track)];
        if samples.is_empty() {
            continue;
        }
        let track = TrackRun { track_id: run.track_id, base_decode_time: run.base_decode_time, samples };
        payload.push(run.data_offset..run.data_offset + track.bytes());
        kept.push(track);
    }
    if kept.is_empty() {
        return Err(Error::NoPictures);
    }
    let header = FragmentHeader::new(parsed.sequence_number, &kept)?;
    Ok(CutFragment { header: header.bytes, moof_len: header.moof_len, payload })
}

/// How many samples of a run are needed, in decoding order.
fn needed(run: &MoofRun, until_ticks: u64, track: &TrackEntry) -> usize {
    let until = i128::from(until_ticks) * i128::from(track.timescale);
    let mut decode_time = i128::from(run.base_decode_time);
    let mut count = 0;
    for (index, sample) in run.samples.iter().enumerate() {
        let offset = i128::from(sample.composition_offset) - i128::from(track.presentation_delay);
        let presented = decode_time + offset;
        if presented * i128::from(VIDEO_TIMESCALE) < until {
            count = index + 1;
        }
        decode_time += i128::from(sample.duration);
    }
    count
}
