//! `ftyp`, `moov` and the `mdat` header of the virtual file.

use super::layout::{Edit, Layout, OutSample, OutTrack};
use crate::{
    boxes::BoxWriter,
    error::Error,
    moov::{mdia, mvhd, stsd, tkhd},
};

/// Samples of all tracks together; keeps the header below 2 GiB.
const MAX_SAMPLES: usize = 1 << 25;
/// Length of the `mdat` header, always in its 64-bit form.
const MDAT_HEADER_LEN: u64 = 16;

/// The bytes before the first byte range. Tracks are numbered from 1 on.
pub(super) fn write_header(tracks: &[OutTrack], shown_ticks: i64, layout: &Layout) -> Result<Vec<u8>, Error> {
    let samples: usize = tracks.iter().map(|t| t.samples.len()).sum();
    if samples > MAX_SAMPLES {
        return Err(Error::TooLarge("samples of a virtual file"));
    }
    let mut w = BoxWriter::with_capacity(4096 + 12 * samples);
    w.boxed(b"ftyp", |w| {
        w.bytes(b"isom");
        w.u32(0x200);
        w.bytes(b"isom");
        w.bytes(b"iso2");
        w.bytes(b"mp41");
    });
    // Where the chunk offsets of each track stand.
    let mut offset_tables = Vec::with_capacity(tracks.len());
    let mut failed = None;
    w.boxed(b"moov", |w| {
        mvhd(w, shown_ticks.max(0).unsigned_abs(), tracks.len() as u32 + 1);
        for (number, track) in tracks.iter().enumerate() {
            match write_track(w, number as u32 + 1, track) {
                Ok(place) => offset_tables.push(place),
                Err(error) => failed = Some(error),
            }
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let payload_start = w.len() as u64 + MDAT_HEADER_LEN;
    for (track, place) in tracks.iter().zip(offset_tables) {
        for (at, chunk) in track.chunks.iter().enumerate() {
            w.patch_u64(place + 8 * at, payload_start + layout.place(chunk));
        }
    }
    // 4.2.2: size 1 says that the true one follows the type.
    w.u32(1);
    w.bytes(b"mdat");
    w.u64(MDAT_HEADER_LEN + layout.len);
    Ok(w.finish())
}

/// Writes a `trak`; returns the place of its chunk offsets.
fn write_track(w: &mut BoxWriter, id: u32, track: &OutTrack) -> Result<usize, Error> {
    let media_duration: u64 = track.samples.iter().map(|s| u64::from(s.duration)).sum();
    let movie_duration: i64 = track.edits.iter().map(|e| e.duration).sum();
    let reordering = Reordering::of(&track.samples)?;
    let mut place = 0;
    w.boxed(b"trak", |w| {
        tkhd(w, id, &track.params, movie_duration.max(0).unsigned_abs());
        w.boxed(b"edts", |w| elst(w, &track.edits, reordering.shift));
        mdia(w, &track.params, track.timescale, media_duration, |w| {
            stsd(w, &track.entries);
            stts(w, &track.samples);
            ctts(w, &track.samples, &reordering);
            stss(w, &track.samples);
            stsc(w, track);
            stsz(w, &track.samples);
            w.full(b"co64", 0, 0, |w| {
                w.u32(track.chunks.len() as u32);
                place = w.len();
                w.zeros(8 * track.chunks.len());
            });
        });
    });
    Ok(place)
}

/// How presentation times differ from decode times.
struct Reordering {
    /// Added to all composition offsets so that none is negative: players agree on negative ones less than on an edit
    /// that starts later.
    shift: i64,
    /// Whether any offset is left.
    any: bool,
}

impl Reordering {
    fn of(samples: &[OutSample]) -> Result<Self, Error> {
        let (mut lowest, mut highest) = (0, 0);
        for offset in composition_offsets(samples) {
            lowest = offset.min(lowest);
            highest = offset.max(highest);
        }
        if highest - lowest > i64::from(i32::MAX) {
            return Err(Error::TooLarge("composition offset"));
        }
        Ok(Reordering { shift: -lowest, any: highest != lowest })
    }
}

/// Presentation time less decode time of each sample.
fn composition_offsets(samples: &[OutSample]) -> impl Iterator<Item = i64> + '_ {
    samples.iter().scan(0, |decode_time, sample| {
        let offset = sample.start - *decode_time;
        *decode_time += i64::from(sample.duration);
        Some(offset)
    })
}

/// Edit list (8.6.6).
fn elst(w: &mut BoxWriter, edits: &[Edit], shift: i64) {
    w.full(b"elst", 1, 0, |w| {
        w.u32(edits.len() as u32);
        for edit in edits {
            w.u64(edit.duration.max(0).unsigned_abs());
            w.i64(edit.media_time.map_or(-1, |time| time + shift));
            w.u16(1); // media_rate
            w.u16(0);
        }
    });
}

/// Writes stretches of equal values as count and value, the number of stretches first.
fn stretches(w: &mut BoxWriter, mut values: impl Iterator<Item = u32>) {
    let place = w.len();
    w.u32(0);
    let mut count = 0u32;
    if let Some(mut value) = values.next() {
        let mut repeated = 1u32;
        for next in values {
            if next == value {
                repeated += 1;
                continue;
            }
            w.u32(repeated);
            w.u32(value);
            count += 1;
            (value, repeated) = (next, 1);
        }
        w.u32(repeated);
        w.u32(value);
        count += 1;
    }
    w.patch_u32(place, count);
}

/// Durations (8.6.1.2).
fn stts(w: &mut BoxWriter, samples: &[OutSample]) {
    w.full(b"stts", 0, 0, |w| stretches(w, samples.iter().map(|s| s.duration)));
}

/// Composition offsets (8.6.1.3), where there are any.
fn ctts(w: &mut BoxWriter, samples: &[OutSample], reordering: &Reordering) {
    if reordering.any {
        // Between 0 and `i32::MAX`, see `Reordering::of`.
        let shifted = composition_offsets(samples).map(|offset| (offset + reordering.shift) as u32);
        w.full(b"ctts", 0, 0, |w| stretches(w, shifted));
    }
}

/// Sync samples (8.6.2); without the box all are.
fn stss(w: &mut BoxWriter, samples: &[OutSample]) {
    if samples.iter().all(|s| s.sync) {
        return;
    }
    w.full(b"stss", 0, 0, |w| {
        let place = w.len();
        w.u32(0);
        let mut count = 0;
        for (number, _) in (1u32..).zip(samples).filter(|(_, s)| s.sync) {
            w.u32(number);
            count += 1;
        }
        w.patch_u32(place, count);
    });
}

/// Samples per chunk (8.7.4).
fn stsc(w: &mut BoxWriter, track: &OutTrack) {
    w.full(b"stsc", 0, 0, |w| {
        let place = w.len();
        w.u32(0);
        let mut count = 0;
        let mut last = None;
        for (number, chunk) in (1u32..).zip(&track.chunks) {
            if last == Some((chunk.samples, chunk.entry)) {
                continue;
            }
            last = Some((chunk.samples, chunk.entry));
            w.u32(number);
            w.u32(chunk.samples);
            w.u32(chunk.entry);
            count += 1;
        }
        w.patch_u32(place, count);
    });
}

/// Sample sizes (8.7.3.2), always one by one.
fn stsz(w: &mut BoxWriter, samples: &[OutSample]) {
    w.full(b"stsz", 0, 0, |w| {
        w.u32(0);
        w.u32(samples.len() as u32);
        for sample in samples {
            w.u32(sample.size);
        }
    });
}
