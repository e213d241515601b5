//! The whole sample table of a recorded file: every sample of every track, and which fragment it lies in.

use heldar_media::{TrackParams, VideoParams};

use crate::{
    entry::TrackEntry,
    error::{Error, malformed},
    fragment::TrackRun,
    sample::{MAX_FILE_SAMPLES, MAX_TICKS, SampleMeta, VIDEO_TRACK_ID},
};

/// File offsets stay below this, so that sums of two never overflow.
const MAX_OFFSET: u64 = 1 << 62;

/// Where a fragment lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentSpan {
    /// Where its `moof` starts, in bytes from the start of the file.
    pub offset: u64,
    /// Length of the `moof` box.
    pub moof_len: u32,
    /// Length of the whole fragment, `moof` and `mdat`.
    pub len: u64,
}

impl FragmentSpan {
    /// Where it ends.
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// The samples of one track in one fragment; they lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RunSpan {
    /// Which fragment, counted from 0.
    pub fragment: u32,
    /// Decode time of the first sample, in ticks of the track from the start of the file.
    pub base_decode_time: u64,
    /// Where the first sample lies, in bytes from the start of the file.
    pub data_offset: u64,
    /// Index of the first sample in the track.
    pub first_sample: u32,
    /// How many samples.
    pub sample_count: u32,
}

/// One track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackTable {
    pub(crate) entry: TrackEntry,
    pub(crate) params: TrackParams,
    pub(crate) runs: Vec<RunSpan>,
    pub(crate) samples: Vec<SampleMeta>,
}

impl TrackTable {
    /// Its id, timescale and sample entry.
    pub fn entry(&self) -> &TrackEntry {
        &self.entry
    }

    /// Its parameters, as [`TrackEntry::params`] reads them.
    pub fn params(&self) -> &TrackParams {
        &self.params
    }

    /// Its runs, in the order of the fragments; fragments without samples of the track have none.
    pub fn runs(&self) -> &[RunSpan] {
        &self.runs
    }

    /// All its samples, in decoding order.
    pub fn samples(&self) -> &[SampleMeta] {
        &self.samples
    }

    /// The run in a fragment, counted from 0.
    pub fn run(&self, fragment: usize) -> Option<&RunSpan> {
        let number = u32::try_from(fragment).ok()?;
        self.runs.binary_search_by_key(&number, |r| r.fragment).ok().map(|at| &self.runs[at])
    }

    /// The samples of one of its runs.
    pub fn run_samples(&self, run: &RunSpan) -> &[SampleMeta] {
        let first = run.first_sample as usize;
        self.samples.get(first..first + run.sample_count as usize).unwrap_or_default()
    }
}

/// Every sample of a recorded file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleTable {
    pub(crate) fragments: Vec<FragmentSpan>,
    pub(crate) tracks: Vec<TrackTable>,
}

impl SampleTable {
    /// Of a file with these tracks and no fragment yet.
    pub(crate) fn empty(tracks: &[TrackEntry]) -> Result<Self, Error> {
        let tracks = tracks
            .iter()
            .map(|entry| {
                let params = entry.params()?;
                Ok(TrackTable { entry: entry.undelayed(), params, runs: Vec::new(), samples: Vec::new() })
            })
            .collect::<Result<_, Error>>()?;
        Ok(SampleTable { fragments: Vec::new(), tracks })
    }

    /// All fragments, in the order of the file. They lie side by side.
    pub fn fragments(&self) -> &[FragmentSpan] {
        &self.fragments
    }

    /// All tracks.
    pub fn tracks(&self) -> &[TrackTable] {
        &self.tracks
    }

    /// The track with an id.
    pub fn track(&self, id: u32) -> Option<&TrackTable> {
        self.tracks.iter().find(|t| t.entry.id == id)
    }

    /// Parameters of its pictures.
    pub fn video_params(&self) -> Option<&VideoParams> {
        self.track(VIDEO_TRACK_ID)?.params().video()
    }

    /// Where the last fragment ends; `None` without fragments.
    pub fn end_offset(&self) -> Option<u64> {
        self.fragments.last().map(FragmentSpan::end)
    }

    /// The id, timescale and sample entry of each track.
    pub fn entries(&self) -> Vec<TrackEntry> {
        self.tracks.iter().map(|t| t.entry.clone()).collect()
    }

    /// Appends a fragment; each run comes with the place of its first sample in the file. The table is unchanged when
    /// that fails.
    pub(crate) fn push(&mut self, span: FragmentSpan, runs: &[(TrackRun<'_>, u64)]) -> Result<(), Error> {
        let wrong = |what| malformed(what, span.offset);
        if self.end_offset().is_some_and(|end| end != span.offset) {
            return Err(wrong("fragment that does not follow the last"));
        }
        let payload_start = span.offset.checked_add(u64::from(span.moof_len));
        let end = span.offset.checked_add(span.len).filter(|&end| end <= MAX_OFFSET);
        let (Some(payload_start), Some(end)) = (payload_start, end) else {
            return Err(wrong("fragment beyond any file"));
        };
        let known: usize = self.tracks.iter().map(|t| t.samples.len()).sum();
        let added: usize = runs.iter().map(|(run, _)| run.samples.len()).sum();
        if known + added > MAX_FILE_SAMPLES {
            return Err(Error::TooLarge("samples of a file"));
        }
        for (run, data_offset) in runs {
            if self.track(run.track_id).is_none() {
                return Err(wrong("fragment of an unknown track"));
            }
            let data_end = data_offset.checked_add(run.bytes());
            if *data_offset < payload_start || data_end.is_none_or(|data_end| data_end > end) {
                return Err(wrong("samples outside their fragment"));
            }
            let length: u64 = run.samples.iter().map(|s| u64::from(s.duration)).sum();
            if run.base_decode_time.checked_add(length).is_none_or(|end| end > MAX_TICKS) {
                return Err(wrong("decode time"));
            }
        }
        // Both counts are below MAX_FILE_SAMPLES, as every fragment holds a sample.
        let fragment = self.fragments.len() as u32;
        for (run, data_offset) in runs.iter().filter(|(run, _)| !run.samples.is_empty()) {
            let Some(track) = self.tracks.iter_mut().find(|t| t.entry.id == run.track_id) else {
                continue;
            };
            track.runs.push(RunSpan {
                fragment,
                base_decode_time: run.base_decode_time,
                data_offset: *data_offset,
                first_sample: track.samples.len() as u32,
                sample_count: run.samples.len() as u32,
            });
            track.samples.extend_from_slice(run.samples);
        }
        self.fragments.push(span);
        Ok(())
    }
}
