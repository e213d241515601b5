//! Coding of the sample table, fragment by fragment, into the box that seals a recorded file.
//!
//! The box is a `uuid` box (4.2, 11.1) with our own user type, which players skip. Its fields:
//!
//! ```text
//! size u32, 'uuid', USER_TYPE, version u8
//! fragment_count, first_offset            varints, as all numbers without a type below
//! spans: byte count, then per fragment    moof_len, len - moof_len
//! track_count, then per track
//!   id, timescale, entry: byte count and bytes of its sample entry
//!   sample_count
//!   sizes: byte count, then per sample    size
//!   durations: byte count, then per stretch of equal values   signed value, repetitions
//!   composition offsets, sync flags: like durations
//!   runs: byte count, then per fragment   sample count; if not 0: signed differences of base decode time and data
//!                                         offset from what they would be without gaps
//! crc32 u32 (from USER_TYPE to here), size u32 again
//! ```
//! The size at the very end lets a reader find the box from the end of the file, with one read for all.

use crate::{
    boxes::BoxWriter,
    entry::TrackEntry,
    error::{Error, malformed},
    fragment::{FragmentHeader, MDAT_HEADER_LEN, TrackRun},
    sample::{MAX_FILE_SAMPLES, MAX_TICKS, SampleMeta},
    table::{FragmentSpan, SampleTable},
    table_read,
    varint::{put, put_signed},
};

/// User type of the box: 4b6d7e02-7f0a-5c1e-9d53-68656c646172.
pub(crate) const USER_TYPE: [u8; 16] = *b"\x4b\x6d\x7e\x02\x7f\x0a\x5c\x1e\x9d\x53heldar";
/// Of the coding above.
pub(crate) const VERSION: u8 = 1;

/// Collects the sample table of a file while it is written, in its coded form: about three bytes per picture and two
/// per audio frame.
#[derive(Clone, Debug)]
pub struct TableBuilder {
    fragment_count: u64,
    first_offset: u64,
    end_offset: Option<u64>,
    spans: Vec<u8>,
    tracks: Vec<TrackBuilder>,
}

#[derive(Clone, Debug)]
struct TrackBuilder {
    entry: TrackEntry,
    sample_count: u64,
    sizes: Vec<u8>,
    durations: Stretches,
    offsets: Stretches,
    sync: Stretches,
    runs: Vec<u8>,
    /// Where the next run would start without a gap.
    next_decode_time: u64,
}

/// Values coded as stretches of equal ones.
#[derive(Clone, Debug, Default)]
struct Stretches {
    done: Vec<u8>,
    value: i64,
    repetitions: u64,
}

impl Stretches {
    fn push(&mut self, value: i64) {
        if value != self.value {
            self.flush();
            self.value = value;
        }
        self.repetitions += 1;
    }

    fn flush(&mut self) {
        if self.repetitions > 0 {
            put_signed(&mut self.done, self.value);
            put(&mut self.done, self.repetitions);
            self.repetitions = 0;
        }
    }

    fn coded(&self) -> Vec<u8> {
        let mut all = self.clone();
        all.flush();
        all.done
    }
}

impl TrackBuilder {
    fn push(&mut self, run: &TrackRun<'_>, data_offset: u64, expected_offset: u64) {
        put(&mut self.runs, run.samples.len() as u64);
        if run.samples.is_empty() {
            return;
        }
        // Times and offsets are below 2^62: `TableBuilder::push` and `SampleTable::push` hold that.
        put_signed(&mut self.runs, run.base_decode_time as i64 - self.next_decode_time as i64);
        put_signed(&mut self.runs, data_offset as i64 - expected_offset as i64);
        self.next_decode_time = run.base_decode_time;
        self.sample_count += run.samples.len() as u64;
        for SampleMeta { size, duration, composition_offset, sync } in run.samples {
            put(&mut self.sizes, u64::from(*size));
            self.durations.push(i64::from(*duration));
            self.offsets.push(i64::from(*composition_offset));
            self.sync.push(i64::from(*sync));
            self.next_decode_time += u64::from(*duration);
        }
    }
}

impl TableBuilder {
    /// For a file with these tracks.
    pub fn new(tracks: &[TrackEntry]) -> Self {
        let tracks = tracks
            .iter()
            .map(|entry| TrackBuilder {
                entry: entry.undelayed(),
                sample_count: 0,
                sizes: Vec::new(),
                durations: Stretches::default(),
                offsets: Stretches::default(),
                sync: Stretches::default(),
                runs: Vec::new(),
                next_decode_time: 0,
            })
            .collect();
        TableBuilder { fragment_count: 0, first_offset: 0, end_offset: None, spans: Vec::new(), tracks }
    }

    /// Appends a fragment that was written at `offset` with that header and payload of these runs.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it does not follow the last one, has a track that the file has not, or has not the
    /// payload that its header announces; [`Error::TooLarge`] past about four million samples or three thousand years.
    /// Nothing is appended then.
    pub fn push(&mut self, offset: u64, header: &FragmentHeader, runs: &[TrackRun<'_>]) -> Result<(), Error> {
        let span = FragmentSpan { offset, moof_len: header.moof_len, len: header.fragment_len() };
        let mut place = offset.saturating_add(u64::from(header.moof_len + MDAT_HEADER_LEN));
        let mut placed = Vec::with_capacity(runs.len());
        for run in runs {
            placed.push((*run, place));
            place = place.saturating_add(run.bytes());
        }
        let follows =
            self.end_offset.is_none_or(|end| end == offset) && place == offset.saturating_add(span.len);
        let known = |id| self.tracks.iter().any(|t| t.entry.id == id);
        if !follows || runs.iter().any(|run| !known(run.track_id)) || place > 1 << 62 {
            return Err(malformed("fragment that does not fit the file", offset));
        }
        let long = |run: &TrackRun<'_>| {
            let length: u64 = run.samples.iter().map(|s| u64::from(s.duration)).sum();
            run.base_decode_time.saturating_add(length) > MAX_TICKS
        };
        let added: usize = runs.iter().map(|run| run.samples.len()).sum();
        let count: u64 = self.tracks.iter().map(|t| t.sample_count).sum();
        if count + added as u64 > MAX_FILE_SAMPLES as u64 || runs.iter().any(long) {
            return Err(Error::TooLarge("sample table"));
        }
        self.append(span, &placed);
        Ok(())
    }

    /// Appends a fragment that is known to be consistent.
    fn append(&mut self, span: FragmentSpan, runs: &[(TrackRun<'_>, u64)]) {
        if self.fragment_count == 0 {
            self.first_offset = span.offset;
        }
        self.fragment_count += 1;
        self.end_offset = Some(span.end());
        put(&mut self.spans, u64::from(span.moof_len));
        put(&mut self.spans, span.len - u64::from(span.moof_len));
        let mut expected = span.offset + u64::from(span.moof_len + MDAT_HEADER_LEN);
        for track in &mut self.tracks {
            let id = track.entry.id;
            match runs.iter().find(|(run, _)| run.track_id == id) {
                Some((run, place)) => {
                    track.push(run, *place, expected);
                    expected = place + run.bytes();
                }
                None => put(&mut track.runs, 0),
            }
        }
    }

    /// The table so far, as a reader of the sealed file will see it.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::Unsupported`] when a sample entry given to `new` can't be read.
    pub fn table(&self) -> Result<SampleTable, Error> {
        table_read::decode_box(&self.encode()?)
    }

    /// The box that seals the file.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when it does not fit a box with a 32-bit size.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut body = Vec::with_capacity(256);
        put(&mut body, self.fragment_count);
        put(&mut body, self.first_offset);
        put_slice(&mut body, &self.spans);
        put(&mut body, self.tracks.len() as u64);
        for track in &self.tracks {
            put(&mut body, u64::from(track.entry.id));
            put(&mut body, u64::from(track.entry.timescale));
            put_slice(&mut body, &track.entry.entry);
            put(&mut body, track.sample_count);
            put_slice(&mut body, &track.sizes);
            put_slice(&mut body, &track.durations.coded());
            put_slice(&mut body, &track.offsets.coded());
            put_slice(&mut body, &track.sync.coded());
            put_slice(&mut body, &track.runs);
        }
        let size = u32::try_from(8 + USER_TYPE.len() + 1 + body.len() + 8)
            .map_err(|_| Error::TooLarge("sample table box"))?;
        let mut w = BoxWriter::with_capacity(size as usize);
        w.boxed(b"uuid", |w| {
            w.bytes(&USER_TYPE);
            w.u8(VERSION);
            w.bytes(&body);
            let mut crc = crc32fast::Hasher::new();
            crc.update(&USER_TYPE);
            crc.update(&[VERSION]);
            crc.update(&body);
            w.u32(crc.finalize());
            w.u32(size);
        });
        Ok(w.finish())
    }
}

impl From<&SampleTable> for TableBuilder {
    /// To go on from, or to seal a file that was only scanned.
    fn from(table: &SampleTable) -> Self {
        let mut builder = TableBuilder::new(&table.entries());
        for (number, span) in table.fragments().iter().enumerate() {
            let runs: Vec<_> = table
                .tracks()
                .iter()
                .filter_map(|track| {
                    let run = track.run(number)?;
                    let samples = track.run_samples(run);
                    let base_decode_time = run.base_decode_time;
                    Some((
                        TrackRun { track_id: track.entry().id, base_decode_time, samples },
                        run.data_offset,
                    ))
                })
                .collect();
            builder.append(*span, &runs);
        }
        builder
    }
}

fn put_slice(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
