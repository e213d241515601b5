//! Samples in chunks, chunks in byte ranges of the recorded files.

use bytes::Bytes;
use heldar_media::TrackParams;

use super::FileRange;
use crate::{error::Error, table::TrackTable};

/// Bytes between two wanted chunks up to this many are carried along, so that a range is not broken up by the `moof`
/// boxes and the samples that are not wanted.
const MAX_SKIP: u64 = 64 * 1024;

/// One sample of the virtual file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutSample {
    pub(super) size: u32,
    /// In ticks of the track.
    pub(super) duration: u32,
    /// Presentation time; decode times are the sums of the durations.
    pub(super) start: i64,
    pub(super) sync: bool,
}

/// Samples that lie side by side and have one sample entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    source: usize,
    offset: u64,
    len: u64,
    pub(super) samples: u32,
    /// Counted from 1.
    pub(super) entry: u32,
}

/// One entry of an edit list (8.6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    /// In the movie timescale.
    pub(super) duration: i64,
    /// In the timescale of the track, before the shift that makes composition offsets positive; `None`: nothing is
    /// shown.
    pub(super) media_time: Option<i64>,
}

/// One track of the virtual file.
#[derive(Clone, Debug)]
pub(super) struct OutTrack {
    pub(super) timescale: u32,
    /// Of the first sample entry.
    pub(super) params: TrackParams,
    pub(super) entries: Vec<Bytes>,
    pub(super) samples: Vec<OutSample>,
    pub(super) chunks: Vec<Chunk>,
    pub(super) edits: Vec<Edit>,
}

impl OutTrack {
    /// A track without samples yet; the first one will be of `first`.
    pub(super) fn new(first: &TrackTable) -> Self {
        OutTrack {
            timescale: first.entry().timescale,
            params: first.params().clone(),
            entries: Vec::new(),
            samples: Vec::new(),
            chunks: Vec::new(),
            edits: Vec::new(),
        }
    }

    /// The number of a track's sample entry in this one, counted from 1.
    pub(super) fn entry_number(&mut self, of: &TrackTable) -> u32 {
        let entry = &of.entry().entry;
        let at = self.entries.iter().position(|e| e == entry).unwrap_or_else(|| {
            self.entries.push(entry.clone());
            self.entries.len() - 1
        });
        at as u32 + 1
    }

    /// Takes back the last sample.
    pub(super) fn pop(&mut self) {
        let (Some(sample), Some(chunk)) = (self.samples.pop(), self.chunks.last_mut()) else {
            return;
        };
        chunk.len -= u64::from(sample.size);
        chunk.samples -= 1;
        if chunk.samples == 0 {
            self.chunks.pop();
        }
    }

    /// Appends a sample that lies at `offset` of the file of `source`.
    pub(super) fn push(&mut self, source: usize, entry: u32, offset: u64, sample: OutSample) {
        let len = u64::from(sample.size);
        self.samples.push(sample);
        match self.chunks.last_mut() {
            Some(c) if c.source == source && c.entry == entry && c.offset + c.len == offset => {
                c.len += len;
                c.samples += 1;
            }
            _ => self.chunks.push(Chunk { source, offset, len, samples: 1, entry }),
        }
    }
}

/// The byte ranges that make up the `mdat`, in order.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) ranges: Vec<FileRange>,
    /// Per range: which source, and where it starts in the payload of the `mdat`.
    places: Vec<(usize, u64)>,
    /// Bytes of all ranges.
    pub(super) len: u64,
}

impl Layout {
    /// Ranges that hold all chunks of all tracks; `files` has the file number of each source.
    pub(super) fn of(tracks: &[OutTrack], files: &[u32]) -> Result<Self, Error> {
        let mut chunks: Vec<&Chunk> = tracks.iter().flat_map(|t| &t.chunks).collect();
        chunks.sort_by_key(|c| (c.source, c.offset));
        let mut layout = Layout { ranges: Vec::new(), places: Vec::new(), len: 0 };
        let mut open: Option<(usize, u64, u64)> = None;
        for chunk in chunks {
            let end = chunk.offset + chunk.len;
            match &mut open {
                Some((source, _, open_end))
                    if *source == chunk.source && chunk.offset <= *open_end + MAX_SKIP =>
                {
                    *open_end = end.max(*open_end);
                }
                _ => {
                    layout.close(open.take(), files)?;
                    open = Some((chunk.source, chunk.offset, end));
                }
            }
        }
        layout.close(open, files)?;
        Ok(layout)
    }

    fn close(&mut self, open: Option<(usize, u64, u64)>, files: &[u32]) -> Result<(), Error> {
        if let Some((source, offset, end)) = open {
            let file = files.get(source).copied().unwrap_or_default();
            self.ranges.push(FileRange { file, offset, len: end - offset });
            self.places.push((source, self.len));
            self.len = self
                .len
                .checked_add(end - offset)
                .filter(|&len| len < 1 << 62)
                .ok_or(Error::TooLarge("payload of a virtual file"))?;
        }
        Ok(())
    }

    /// Where a chunk lies, counted from the start of the payload.
    pub(super) fn place(&self, chunk: &Chunk) -> u64 {
        let key = (chunk.source, chunk.offset);
        let mut low = 0;
        let mut high = self.ranges.len();
        // The last range that starts at or before the chunk; `of` made one for each chunk.
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if (self.places[middle].0, self.ranges[middle].offset) <= key {
                low = middle;
            } else {
                high = middle;
            }
        }
        match (self.places.get(low), self.ranges.get(low)) {
            (Some((_, place)), Some(range)) => place + chunk.offset.saturating_sub(range.offset),
            _ => 0,
        }
    }
}
