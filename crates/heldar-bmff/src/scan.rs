//! Finding out what a recorded file holds, whatever a crash left of it.
//!
//! Walks `ftyp moov (moof mdat)* [uuid]` with one read per fragment; payload is not read. A fragment counts only if all
//! of it is there and its `moof` is consistent; everything from the first that is not is the tail.

use std::ops::Range;

use crate::{
    error::Error,
    fragment::TrackRun,
    init_read::InitInfo,
    moof::Moof,
    read_at::{ReadAt, exact, fill},
    table::{FragmentSpan, SampleTable},
    table_read::decode_box,
};

/// How much is read at the start of each fragment; a `moof` of ordinary length and the `mdat` header fit.
const FIRST_READ: usize = 4096;
/// Longest `moof` that is believed: 2^18 samples with 16 bytes each, and some room.
const MAX_MOOF: u64 = 5 << 20;
/// Longest sample table box that is believed; four million samples have about 20 MB.
const MAX_TABLE_BOX: u64 = 64 << 20;

/// What follows the last whole fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing: the file was left between two fragments.
    Clean,
    /// The sample table box, at these bytes; it says the same as the fragments.
    Sealed(Range<u64>),
    /// From [`Scan::end`] on, something that is not a whole fragment and no sample table box that fits them.
    Torn,
}

/// What a recorded file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The init segment.
    pub init: InitInfo,
    /// All samples of all whole fragments.
    pub table: SampleTable,
    /// Where the last whole fragment ends; the end of the init segment without one.
    pub end: u64,
    /// What follows.
    pub tail: Tail,
}

/// Scans a recorded file.
///
/// # Errors
/// [`Error::Malformed`] or [`Error::Unsupported`] when the file does not start with an init segment that can be used;
/// [`Error::Io`] when it can't be read, which says nothing about its content.
pub fn scan(from: &(impl ReadAt + ?Sized)) -> Result<Scan, Error> {
    let init = InitInfo::read(from)?;
    let file_len = from.size()?;
    let mut table = SampleTable::empty(&init.tracks)?;
    let mut end = init.len;
    let tail = loop {
        if end >= file_len {
            break Tail::Clean;
        }
        match next_fragment(from, file_len, end, &init) {
            Ok(Some((span, moof))) => {
                let runs: Vec<_> = moof
                    .runs
                    .iter()
                    .map(|run| {
                        let place = span.offset.saturating_add(run.data_offset);
                        let (track_id, base_decode_time) = (run.track_id, run.base_decode_time);
                        (TrackRun { track_id, base_decode_time, samples: &run.samples }, place)
                    })
                    .collect();
                if table.push(span, &runs).is_err() {
                    break Tail::Torn;
                }
                end = span.end();
            }
            Ok(None) => break sealed(from, file_len, end, &table)?,
            Err(Error::Io(error)) => return Err(error.into()),
            Err(_) => break Tail::Torn,
        }
    };
    Ok(Scan { init, table, end, tail })
}

/// How many places that look like a `moof` are tried; payload holds such bytes by chance only.
const MAX_CANDIDATES: usize = 4096;
/// How much is searched at a time.
const SEARCH_STEP: usize = 256 * 1024;

/// Where the first whole fragment lies that starts at or behind `from_offset`: tells damage inside a file from a write
/// that was not finished. Reads all that follows, payload included.
///
/// # Errors
/// [`Error::Io`] when the file can't be read.
pub fn next_whole_fragment(
    from: &(impl ReadAt + ?Sized),
    init: &InitInfo,
    from_offset: u64,
) -> Result<Option<u64>, Error> {
    const KIND: &[u8; 4] = b"moof";
    let file_len = from.size()?;
    let mut buf = vec![0; SEARCH_STEP];
    let mut at = from_offset.saturating_add(4);
    let mut candidates = 0;
    while at < file_len {
        let count = fill(from, at, &mut buf)?;
        for found in buf[..count].windows(KIND.len()).enumerate().filter(|(_, bytes)| *bytes == KIND) {
            // The size of a box stands before its type.
            let offset = at + found.0 as u64 - 4;
            match next_fragment(from, file_len, offset, init) {
                Ok(Some((_, moof))) if moof.runs.iter().any(|run| !run.samples.is_empty()) => {
                    return Ok(Some(offset));
                }
                Err(Error::Io(error)) => return Err(error.into()),
                Ok(_) | Err(_) => candidates += 1,
            }
            if candidates >= MAX_CANDIDATES {
                return Ok(None);
            }
        }
        if count < buf.len() {
            return Ok(None);
        }
        // A type may lie across two steps.
        at += (count - (KIND.len() - 1)) as u64;
    }
    Ok(None)
}

/// The header of the box at the start of `bytes`: its type, the length of the header, the length of the box.
fn box_header(bytes: &[u8]) -> Option<([u8; 4], u64, u64)> {
    let (size, rest) = bytes.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    match u32::from_be_bytes(*size) {
        1 => {
            let (size, _) = rest.split_first_chunk::<8>()?;
            Some((*kind, 16, u64::from_be_bytes(*size)))
        }
        size => Some((*kind, 8, u64::from(size))),
    }
}

/// The fragment at `offset`; `None` when no `moof` box starts there.
fn next_fragment(
    from: &(impl ReadAt + ?Sized),
    file_len: u64,
    offset: u64,
    init: &InitInfo,
) -> Result<Option<(FragmentSpan, Moof)>, Error> {
    let torn = |what| Error::Malformed { what, offset };
    let mut head = [0; FIRST_READ];
    let count = fill(from, offset, &mut head)?;
    let head = &head[..count];
    let Some((kind, _, moof_len)) = box_header(head) else {
        return Err(torn("box header cut short"));
    };
    if kind != *b"moof" {
        return Ok(None);
    }
    if moof_len > MAX_MOOF || moof_len > file_len - offset {
        return Err(torn("moof box longer than the file"));
    }
    // Both are at most MAX_MOOF + 16.
    let needed = moof_len as usize + 16;
    let longer;
    let bytes = if needed <= head.len() {
        head
    } else {
        let mut buf = vec![0; needed];
        let count = fill(from, offset, &mut buf)?;
        buf.truncate(count);
        longer = buf;
        &longer
    };
    let Some((moof_bytes, rest)) = bytes.split_at_checked(moof_len as usize) else {
        return Err(torn("moof box cut short"));
    };
    let Some((kind, header_len, mdat_len)) = box_header(rest) else {
        return Err(torn("no mdat box"));
    };
    let len = moof_len.checked_add(mdat_len);
    let Some(len) = len.filter(|&len| kind == *b"mdat" && mdat_len >= header_len && len <= file_len - offset)
    else {
        return Err(torn("mdat box not whole"));
    };
    let moof = Moof::parse(moof_bytes, &init.defaults)?;
    let payload = moof_len + header_len..len;
    if moof.runs.iter().any(|r| r.data_offset < payload.start || r.data_offset + r.bytes() > payload.end) {
        return Err(torn("samples outside their mdat box"));
    }
    Ok(Some((FragmentSpan { offset, moof_len: moof_len as u32, len }, moof)))
}

/// Whether what lies at `offset` is the sample table of these fragments.
fn sealed(
    from: &(impl ReadAt + ?Sized),
    file_len: u64,
    offset: u64,
    table: &SampleTable,
) -> Result<Tail, Error> {
    let rest = file_len - offset;
    if rest > MAX_TABLE_BOX {
        return Ok(Tail::Torn);
    }
    match exact(from, offset, rest as usize).and_then(|bytes| decode_box(&bytes)) {
        Ok(found) if found == *table => Ok(Tail::Sealed(offset..file_len)),
        Err(Error::Io(error)) => Err(error.into()),
        Ok(_) | Err(_) => Ok(Tail::Torn),
    }
}
