//! Reading of the box that seals a recorded file; `table_build` describes it.

use bytes::Bytes;

use crate::{
    cursor::Cursor,
    entry::TrackEntry,
    error::{Error, malformed},
    fragment::{MDAT_HEADER_LEN, TrackRun},
    read_at::{ReadAt, exact},
    sample::{MAX_FILE_SAMPLES, SampleMeta},
    table::{FragmentSpan, SampleTable},
    table_build::{USER_TYPE, VERSION},
};

/// The shortest box that may be ours: header, user type, version, checksum, size.
const SHORTEST: u32 = 8 + 16 + 1 + 8;
/// How much of the end of a file is read at once; a segment of some minutes has a shorter table.
const TAIL: u64 = 64 * 1024;

/// How long the sample table box is that a file ends in, told by the last bytes of the file; at least four are needed.
/// `None` when they can't be the end of such a box. That it is one shows only when it is read.
pub fn sample_table_box_len(tail: &[u8]) -> Option<u32> {
    let (_, size) = tail.split_last_chunk::<4>()?;
    let size = u32::from_be_bytes(*size);
    (size >= SHORTEST).then_some(size)
}

impl SampleTable {
    /// Reads the sample table box, from its header to its last byte.
    ///
    /// # Errors
    /// [`Error::Malformed`] for anything but a whole, undamaged box of ours.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        decode_box(bytes)
    }
}

/// Reads the sample table of a sealed file from its end, with one read unless it is uncommonly long.
///
/// # Errors
/// [`Error::Malformed`] when the file does not end in such a box, or its fragments do not end where the box starts;
/// [`Error::Io`] when it can't be read.
pub fn read_sample_table(from: &(impl ReadAt + ?Sized)) -> Result<SampleTable, Error> {
    let file_len = from.size()?;
    let tail_len = file_len.min(TAIL);
    let tail = exact(from, file_len - tail_len, tail_len as usize)?;
    let Some(size) = sample_table_box_len(&tail).filter(|&size| u64::from(size) <= file_len) else {
        return Err(malformed("no sample table at the end", file_len));
    };
    let start = file_len - u64::from(size);
    let table = match tail.len().checked_sub(size as usize) {
        Some(at) => decode_box(&tail[at..])?,
        None => decode_box(&exact(from, start, size as usize)?)?,
    };
    match table.end_offset() {
        Some(end) if end != start => Err(malformed("sample table of another file", start)),
        _ => Ok(table),
    }
}

/// See [`SampleTable::decode`].
pub(crate) fn decode_box(bytes: &[u8]) -> Result<SampleTable, Error> {
    let mut walk = Cursor::new(bytes, 0);
    let Some(view) = walk.next_box()?.filter(|b| b.kind == *b"uuid" && walk.is_empty()) else {
        return Err(malformed("not one uuid box", 0));
    };
    let mut body = view.body;
    let Some(content_len) = body.remaining().checked_sub(8) else {
        return Err(malformed("box cut short", 0));
    };
    let mut content = Cursor::new(body.take(content_len)?, 8);
    let (crc, size) = (body.u32()?, body.u32()?);
    if size as usize != bytes.len() {
        return Err(malformed("two sizes that differ", 0));
    }
    let content_bytes = content.clone().take(content_len)?;
    if content.take(USER_TYPE.len().min(content_len))? != USER_TYPE {
        return Err(malformed("other user type", 8));
    }
    if content.u8()? != VERSION {
        return Err(malformed("other version", 24));
    }
    if crc32fast::hash(content_bytes) != crc {
        return Err(malformed("sample table checksum", 8));
    }
    read_content(content)
}

fn read_content(mut content: Cursor<'_>) -> Result<SampleTable, Error> {
    let fragment_count = content.varint()?;
    let first_offset = content.varint()?;
    let spans = read_spans(content.varint_slice()?, fragment_count, first_offset)?;
    let track_count = content.varint()?;
    let mut tracks = Vec::new();
    let mut room = MAX_FILE_SAMPLES as u64;
    for _ in 0..track_count {
        let track = TrackReader::read(&mut content, &mut room)?;
        if tracks.iter().any(|t: &TrackReader<'_>| t.entry.id == track.entry.id) {
            return Err(content.error("two tracks with one id"));
        }
        tracks.push(track);
    }
    if !content.is_empty() {
        return Err(content.error("bytes after the tracks"));
    }
    let entries: Vec<_> = tracks.iter().map(|t| t.entry.clone()).collect();
    let mut table = SampleTable::empty(&entries)?;
    for (track, reader) in table.tracks.iter_mut().zip(&tracks) {
        track.samples.reserve_exact(reader.samples.len());
    }
    for span in spans {
        let mut runs = Vec::with_capacity(tracks.len());
        let mut expected = span.offset + u64::from(span.moof_len) + u64::from(MDAT_HEADER_LEN);
        for track in &mut tracks {
            if let Some((run, place)) = track.next_run(expected)? {
                expected = place.saturating_add(run.bytes());
                runs.push((run, place));
            }
        }
        if runs.is_empty() {
            return Err(malformed("fragment without samples", span.offset));
        }
        table.push(span, &runs)?;
    }
    if tracks.iter().any(|t| !t.runs.is_empty() || t.used != t.samples.len()) {
        return Err(content.error("samples outside fragments"));
    }
    Ok(table)
}

fn read_spans(mut coded: Cursor<'_>, count: u64, first_offset: u64) -> Result<Vec<FragmentSpan>, Error> {
    // Two bytes each at least.
    if count > coded.remaining() as u64 / 2 {
        return Err(coded.error("more fragments than there can be"));
    }
    let mut spans = Vec::with_capacity(count as usize);
    let mut offset = first_offset;
    for _ in 0..count {
        let moof_len = coded.varint_u32()?;
        let rest = coded.varint()?;
        let len = u64::from(moof_len).checked_add(rest);
        let end = len.and_then(|len| offset.checked_add(len)).filter(|&end| end < 1 << 62);
        let (Some(len), Some(end)) = (len, end) else {
            return Err(coded.error("fragment beyond any file"));
        };
        spans.push(FragmentSpan { offset, moof_len, len });
        offset = end;
    }
    if coded.is_empty() { Ok(spans) } else { Err(coded.error("bytes after the fragments")) }
}

/// A track while its runs are dealt out to the fragments.
struct TrackReader<'a> {
    entry: TrackEntry,
    samples: Vec<SampleMeta>,
    runs: Cursor<'a>,
    used: usize,
    next_decode_time: u64,
}

impl<'a> TrackReader<'a> {
    fn read(from: &mut Cursor<'a>, room: &mut u64) -> Result<Self, Error> {
        let id = from.varint_u32()?;
        let timescale = from.varint_u32()?;
        if timescale == 0 {
            return Err(from.error("timescale 0"));
        }
        let mut entry = from.varint_slice()?;
        let entry = Bytes::copy_from_slice(entry.take(entry.remaining())?);
        let count = from.varint()?;
        let sizes = from.varint_slice()?;
        // A size takes one byte at least, so that the count is bounded by what was read.
        match room.checked_sub(count) {
            Some(left) if count <= sizes.remaining() as u64 => *room = left,
            _ => return Err(from.error("more samples than there can be")),
        }
        let mut samples = read_sizes(sizes, count as usize)?;
        each_stretch(from.varint_slice()?, &mut samples, |s, value| {
            u32::try_from(value).map(|v| s.duration = v).is_ok()
        })?;
        each_stretch(from.varint_slice()?, &mut samples, |s, value| {
            i32::try_from(value).map(|v| s.composition_offset = v).is_ok()
        })?;
        each_stretch(from.varint_slice()?, &mut samples, |s, value| {
            s.sync = value == 1;
            value == 0 || value == 1
        })?;
        let runs = from.varint_slice()?;
        let entry = TrackEntry { id, timescale, entry, presentation_delay: 0 };
        Ok(TrackReader { entry, samples, runs, used: 0, next_decode_time: 0 })
    }

    /// The samples in the next fragment and their place, which would be `expected` without a gap.
    fn next_run(&mut self, expected: u64) -> Result<Option<(TrackRun<'_>, u64)>, Error> {
        let count = self.runs.varint()?;
        if count == 0 {
            return Ok(None);
        }
        let base = self.next_decode_time.checked_add_signed(self.runs.varint_signed()?);
        let place = expected.checked_add_signed(self.runs.varint_signed()?);
        let end = usize::try_from(count).ok().and_then(|count| self.used.checked_add(count));
        let samples = end.and_then(|end| self.samples.get(self.used..end));
        let (Some(base_decode_time), Some(place), Some(samples)) = (base, place, samples) else {
            return Err(self.runs.error("run out of range"));
        };
        self.used += samples.len();
        let length: u64 = samples.iter().map(|s| u64::from(s.duration)).sum();
        self.next_decode_time = base_decode_time.saturating_add(length);
        Ok(Some((TrackRun { track_id: self.entry.id, base_decode_time, samples }, place)))
    }
}

fn read_sizes(mut coded: Cursor<'_>, count: usize) -> Result<Vec<SampleMeta>, Error> {
    let mut samples = Vec::with_capacity(count);
    for _ in 0..count {
        let size = coded.varint_u32()?;
        samples.push(SampleMeta { size, duration: 0, composition_offset: 0, sync: false });
    }
    if coded.is_empty() { Ok(samples) } else { Err(coded.error("bytes after the sizes")) }
}

/// Hands every value of a coded column to its sample; `set` says whether it is possible.
fn each_stretch(
    mut coded: Cursor<'_>,
    samples: &mut [SampleMeta],
    set: impl Fn(&mut SampleMeta, i64) -> bool,
) -> Result<(), Error> {
    let mut at = 0usize;
    while !coded.is_empty() {
        let value = coded.varint_signed()?;
        let count = coded.varint()?;
        let end = usize::try_from(count).ok().and_then(|count| at.checked_add(count));
        let Some(stretch) = end.and_then(|end| samples.get_mut(at..end)).filter(|s| !s.is_empty()) else {
            return Err(coded.error("stretch out of range"));
        };
        at += stretch.len();
        if !stretch.iter_mut().all(|sample| set(sample, value)) {
            return Err(coded.error("value out of range"));
        }
    }
    if at == samples.len() { Ok(()) } else { Err(coded.error("column too short")) }
}
