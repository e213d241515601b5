//! The fragment index: which byte of a recorded file belongs to which time.
//!
//! It is kept in the store, one per segment, so it is coded in about six bytes per fragment: the length of the fragment,
//! and how much its duration differs from the one before.

use std::ops::Range;

use crate::{
    cursor::Cursor,
    error::{Error, malformed},
    fragment::TrackRun,
    sample::{MAX_TICKS, VIDEO_TRACK_ID},
    table::SampleTable,
    varint::{put, unzigzag, zigzag},
};

const VERSION: u8 = 1;
/// Offsets stay below this, so that sums of two never overflow.
const MAX_OFFSET: u64 = 1 << 62;

/// One fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IndexEntry {
    /// Where its `moof` starts, in bytes from the start of the file.
    pub offset: u64,
    /// When its first picture comes on screen, in 1/90000 s of the file's media time.
    pub start_ticks: u64,
    /// Whether its first video sample is a sync sample.
    pub sync: bool,
}

/// All fragments of a file, in order; each ends where the next starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FragmentIndex {
    entries: Vec<IndexEntry>,
    end_offset: u64,
    end_ticks: u64,
}

impl FragmentIndex {
    /// Without fragments.
    pub fn new() -> Self {
        Self::default()
    }

    /// The fragments.
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    /// Where the last fragment ends, in bytes; 0 without fragments.
    pub fn end_offset(&self) -> u64 {
        self.end_offset
    }

    /// When the last picture leaves the screen, in 1/90000 s of the file's media time; 0 without fragments.
    pub fn end_ticks(&self) -> u64 {
        self.end_ticks
    }

    /// Appends a fragment and says where it ends.
    ///
    /// # Errors
    /// [`Error::Order`] when it starts before the end of the one before (in bytes) or before its start (in time), or
    /// ends before it starts.
    pub fn push(&mut self, entry: IndexEntry, end_offset: u64, end_ticks: u64) -> Result<(), Error> {
        let earliest_start = self.entries.last().map_or(0, |last| last.start_ticks);
        let ordered = entry.offset >= self.end_offset
            && entry.offset < end_offset
            && end_offset <= MAX_OFFSET
            && entry.start_ticks >= earliest_start
            && entry.start_ticks <= end_ticks
            && end_ticks <= MAX_TICKS;
        if !ordered {
            return Err(Error::Order);
        }
        self.entries.push(entry);
        self.end_offset = end_offset;
        self.end_ticks = end_ticks;
        Ok(())
    }

    /// Appends a fragment of `len` bytes with these pictures: they come on screen with the earliest presentation time
    /// and last as long as their samples do. A fragment without video starts where the video before it ended.
    ///
    /// # Errors
    /// [`Error::Order`] as for `push`.
    pub fn push_fragment(
        &mut self,
        offset: u64,
        len: u64,
        video: Option<&TrackRun<'_>>,
    ) -> Result<(), Error> {
        let mut start_ticks = self.end_ticks;
        let mut end_ticks = self.end_ticks;
        let mut sync = false;
        if let Some(run) = video.filter(|run| !run.samples.is_empty() && run.base_decode_time <= MAX_TICKS) {
            let mut decode_time = run.base_decode_time;
            let mut earliest = u64::MAX;
            for sample in run.samples {
                let start = decode_time.saturating_add_signed(i64::from(sample.composition_offset));
                earliest = earliest.min(start);
                decode_time += u64::from(sample.duration);
            }
            start_ticks = earliest;
            end_ticks = earliest + (decode_time - run.base_decode_time);
            sync = run.samples[0].sync;
        }
        let end_offset = offset.checked_add(len).ok_or(Error::Order)?;
        self.push(IndexEntry { offset, start_ticks, sync }, end_offset, end_ticks)
    }

    /// The index of a file whose samples are known.
    ///
    /// # Errors
    /// [`Error::Order`] when presentation times of the video go backwards between fragments.
    pub fn of(table: &SampleTable) -> Result<Self, Error> {
        let mut index = FragmentIndex::new();
        let video = table.track(VIDEO_TRACK_ID);
        for (number, span) in table.fragments().iter().enumerate() {
            let run = video.and_then(|video| {
                let run = video.run(number)?;
                let (track_id, base_decode_time) = (VIDEO_TRACK_ID, run.base_decode_time);
                Some(TrackRun { track_id, base_decode_time, samples: video.run_samples(run) })
            });
            index.push_fragment(span.offset, span.len, run.as_ref())?;
        }
        Ok(index)
    }

    /// The last fragment that starts at or before `ticks`; `None` before the first.
    pub fn at_or_before(&self, ticks: u64) -> Option<usize> {
        self.entries.partition_point(|e| e.start_ticks <= ticks).checked_sub(1)
    }

    /// When a fragment ends: at the start of the next. `None` past the last.
    pub fn end_of(&self, number: usize) -> Option<u64> {
        self.entries.get(number)?;
        Some(self.entries.get(number + 1).map_or(self.end_ticks, |next| next.start_ticks))
    }

    /// The groups of pictures, as ranges of fragments: one that starts with a sync sample and those up to the next
    /// such. Fragments before the first sync sample are a group of their own.
    pub fn gops(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut start = 0;
        std::iter::from_fn(move || {
            let rest = self.entries.get(start..)?;
            let len = 1 + rest.get(1..)?.iter().take_while(|e| !e.sync).count();
            let gop = start..start + len;
            start = gop.end;
            Some(gop)
        })
    }

    /// The group of pictures that holds a fragment.
    pub fn gop_of(&self, number: usize) -> Option<Range<usize>> {
        self.entries.get(number)?;
        let start = self.entries[..=number].iter().rposition(|e| e.sync).unwrap_or(0);
        let later = self.entries[number + 1..].iter().position(|e| e.sync);
        Some(start..later.map_or(self.entries.len(), |count| number + 1 + count))
    }

    /// The bytes of a range of fragments, which must not be empty.
    pub fn byte_range(&self, fragments: Range<usize>) -> Option<Range<u64>> {
        let start = self.entries.get(fragments.clone())?.first()?.offset;
        let end = self.entries.get(fragments.end).map_or(self.end_offset, |next| next.offset);
        Some(start..end)
    }

    /// The coded form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + 7 * self.entries.len());
        out.push(VERSION);
        put(&mut out, self.entries.len() as u64);
        let (mut offset, mut start, mut step) = (0, 0, 0i64);
        for entry in &self.entries {
            put(&mut out, entry.offset - offset);
            // Below 2^53 by MAX_TICKS, which `push` holds.
            let this_step = (entry.start_ticks - start) as i64;
            put(&mut out, (zigzag(this_step - step) << 1) | u64::from(entry.sync));
            (offset, start, step) = (entry.offset, entry.start_ticks, this_step);
        }
        put(&mut out, self.end_offset - offset);
        put(&mut out, self.end_ticks - start);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads the coded form.
    ///
    /// # Errors
    /// [`Error::Malformed`] unless these are exactly the bytes that `encode` would write.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
            return Err(malformed("index cut short", 0));
        };
        if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
            return Err(malformed("index checksum", body.len() as u64));
        }
        let mut cursor = Cursor::new(body, 0);
        if cursor.u8()? != VERSION {
            return Err(malformed("index version", 0));
        }
        let count = cursor.varint()?;
        // Each entry takes two bytes at least.
        if count > cursor.remaining() as u64 / 2 {
            return Err(cursor.error("more entries than there can be"));
        }
        let mut entries = Vec::with_capacity(count as usize);
        let (mut offset, mut start, mut step) = (0u64, 0u64, 0i64);
        for _ in 0..count {
            let out_of_range = cursor.error("entry out of range");
            let (offset_step, coded) = (cursor.varint()?, cursor.varint()?);
            let next = (|| {
                offset = offset.checked_add(offset_step)?;
                step = step.checked_add(unzigzag(coded >> 1))?;
                start = start.checked_add_signed(step)?;
                (start <= MAX_TICKS).then_some(())
            })();
            if next.is_none() {
                return Err(out_of_range);
            }
            entries.push(IndexEntry { offset, start_ticks: start, sync: coded & 1 == 1 });
        }
        let end_offset = cursor.varint()?.checked_add(offset);
        let end_ticks = cursor.varint()?.checked_add(start);
        let (Some(end_offset), Some(end_ticks), true) = (end_offset, end_ticks, cursor.is_empty()) else {
            return Err(cursor.error("end out of range"));
        };
        Self::checked(entries, end_offset, end_ticks)
    }

    /// Holds decoded entries to the rules of `push`.
    fn checked(entries: Vec<IndexEntry>, end_offset: u64, end_ticks: u64) -> Result<Self, Error> {
        if entries.is_empty() {
            return match (end_offset, end_ticks) {
                (0, 0) => Ok(Self::default()),
                _ => Err(malformed("end without fragments", 0)),
            };
        }
        let mut index = FragmentIndex::new();
        for (number, entry) in entries.iter().enumerate() {
            let (end_offset, end_ticks) = entries
                .get(number + 1)
                .map_or((end_offset, end_ticks), |next| (next.offset, next.start_ticks));
            index.push(*entry, end_offset, end_ticks).map_err(|_| malformed("entries out of order", 0))?;
        }
        Ok(index)
    }
}
