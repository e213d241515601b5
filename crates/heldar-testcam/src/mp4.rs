//! Reads MP4 files as ffmpeg writes them: progressive, with sample tables (ISO/IEC 14496-12 8.1 to 8.8).
//!
//! Owns: boxes to [`Movie`]. Pure: bytes in, and a file that is damaged or hostile is an error, never a panic.

use bytes::Bytes;
use heldar_rtsp::server::{Format, ParameterSets};

/// Why a file can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mp4Error {
    /// A box ends outside its parent or is shorter than its fields.
    #[error("the `{0}` box is cut short")]
    Truncated(&'static str),
    /// A box that must be there is not.
    #[error("there is no `{0}` box")]
    Missing(&'static str),
    /// Sample tables that contradict each other or the file.
    #[error("the sample tables do not fit together: {0}")]
    Inconsistent(&'static str),
    /// No track of a known coding.
    #[error("there is no H.264, H.265, AAC or Opus track")]
    NothingKnown,
}

/// One sample, in units of the track's timescale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it is decoded, from 0.
    pub decode_time: u64,
    /// Presentation time minus decode time.
    pub composition_offset: i64,
    /// Decoding can start here.
    pub sync: bool,
    /// Its bytes; of video, NAL units each behind its length in four bytes.
    pub payload: Bytes,
}

/// One track.
#[derive(Clone, Debug)]
pub struct Mp4Track {
    /// Coding and parameters.
    pub format: Format,
    /// Ticks per second.
    pub timescale: u32,
    /// Width and height of pictures, 0 for sound.
    pub size: (u16, u16),
    /// All samples in decoding order; never empty.
    pub samples: Vec<Sample>,
    /// Decode time behind the last sample.
    pub duration: u64,
}

/// The tracks of a file that can be sent.
#[derive(Clone, Debug)]
pub struct Movie {
    /// In the order of the file; never empty.
    pub tracks: Vec<Mp4Track>,
}

impl Movie {
    /// Reads a whole file. The samples share its memory.
    ///
    /// # Errors
    /// A damaged file, or one without a known track. Tracks of unknown coding are left out.
    pub fn parse(file: &Bytes) -> Result<Movie, Mp4Error> {
        let moov = find(file, b"moov").ok_or(Mp4Error::Missing("moov"))?;
        let mut tracks = Vec::new();
        for (kind, body) in boxes(moov) {
            if kind == *b"trak"
                && let Some(track) = track(file, body)?
            {
                tracks.push(track);
            }
        }
        if tracks.is_empty() { Err(Mp4Error::NothingKnown) } else { Ok(Movie { tracks }) }
    }
}

/// Boxes of a container (4.2). Ends at the first that does not fit.
fn boxes(mut data: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = data.split_first_chunk::<8>()?;
        let kind = [head[4], head[5], head[6], head[7]];
        let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let (body, next) = match size {
            0 => (rest, &data[data.len()..]),
            1 => {
                let (large, rest) = rest.split_first_chunk::<8>()?;
                let len = usize::try_from(u64::from_be_bytes(*large)).ok()?.checked_sub(16)?;
                rest.split_at_checked(len)?
            }
            _ => rest.split_at_checked(usize::try_from(size).ok()?.checked_sub(8)?)?,
        };
        data = next;
        Some((kind, body))
    })
}

fn find<'a>(data: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    boxes(data).find(|(k, _)| k == kind).map(|(_, body)| body)
}

/// Big-endian fields, one after another.
struct Fields<'a> {
    rest: &'a [u8],
    name: &'static str,
}

impl<'a> Fields<'a> {
    fn new(rest: &'a [u8], name: &'static str) -> Self {
        Fields { rest, name }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Mp4Error> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Mp4Error::Truncated(self.name))?;
        self.rest = rest;
        Ok(head)
    }

    fn u8(&mut self) -> Result<u8, Mp4Error> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, Mp4Error> {
        let b = self.take(2)?;
        Ok(u16::from_be_bytes([b[0], b[1]]))
    }

    fn u32(&mut self) -> Result<u32, Mp4Error> {
        let b = self.take(4)?;
        Ok(u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// A number of entries, each of `entry` bytes, that really are there.
    fn count(&mut self, entry: usize) -> Result<usize, Mp4Error> {
        let count = usize::try_from(self.u32()?).map_err(|_| Mp4Error::Truncated(self.name))?;
        let fits = count.checked_mul(entry).is_some_and(|len| len <= self.rest.len());
        if fits { Ok(count) } else { Err(Mp4Error::Truncated(self.name)) }
    }
}

fn track(file: &Bytes, trak: &[u8]) -> Result<Option<Mp4Track>, Mp4Error> {
    let mdia = find(trak, b"mdia").ok_or(Mp4Error::Missing("mdia"))?;
    let mdhd = find(mdia, b"mdhd").ok_or(Mp4Error::Missing("mdhd"))?;
    let mut fields = Fields::new(mdhd, "mdhd");
    let version = fields.u32()? >> 24;
    fields.take(if version == 1 { 16 } else { 8 })?;
    let timescale = fields.u32()?.max(1);
    let stbl = find(mdia, b"minf").and_then(|minf| find(minf, b"stbl")).ok_or(Mp4Error::Missing("stbl"))?;
    let stsd = find(stbl, b"stsd").ok_or(Mp4Error::Missing("stsd"))?;
    let entry = stsd.get(8..).and_then(|entries| boxes(entries).next());
    let Some(entry) = entry.map(|(kind, body)| sample_entry(file, kind, body)).transpose()?.flatten() else {
        return Ok(None);
    };
    let (samples, duration) = samples(file, stbl, entry.format.is_video().then_some(entry.length_size))?;
    if samples.is_empty() {
        return Ok(None);
    }
    Ok(Some(Mp4Track { format: entry.format, timescale, size: entry.size, samples, duration }))
}

struct SampleEntry {
    format: Format,
    size: (u16, u16),
    /// Bytes of the length before each NAL unit.
    length_size: usize,
}

fn sample_entry(file: &Bytes, kind: [u8; 4], body: &[u8]) -> Result<Option<SampleEntry>, Mp4Error> {
    let (mut size, mut length_size) = ((0, 0), 4);
    let format = match &kind {
        b"avc1" | b"avc3" | b"hvc1" | b"hev1" => {
            // 12.1.3: 8 bytes of any entry, 16 reserved, width, height, 50 more.
            let mut fields = Fields::new(body, "stsd");
            fields.take(24)?;
            size = (fields.u16()?, fields.u16()?);
            fields.take(50)?;
            let format;
            (format, length_size) = match find(fields.rest, b"avcC") {
                Some(config) => avc_config(file, config)?,
                None => hevc_config(file, find(fields.rest, b"hvcC").ok_or(Mp4Error::Missing("hvcC"))?)?,
            };
            format
        }
        b"mp4a" | b"Opus" => {
            // 12.2.3: 8 bytes of any entry, 8 reserved, channels, sample size, 4 reserved, sample rate in 16.16.
            let mut fields = Fields::new(body, "stsd");
            fields.take(16)?;
            let channels = u8::try_from(fields.u16()?).unwrap_or(u8::MAX);
            fields.take(6)?;
            let sample_rate = fields.u32()? >> 16;
            if &kind == b"Opus" {
                Format::Opus { channels }
            } else {
                let esds = find(fields.rest, b"esds").ok_or(Mp4Error::Missing("esds"))?;
                let config = audio_specific_config(esds).ok_or(Mp4Error::Truncated("esds"))?;
                // Writers put 2 channels into the sample entry whatever there are.
                let (sample_rate, channels) = aac_parameters(config).unwrap_or((sample_rate, channels));
                Format::Aac { config: file.slice_ref(config), sample_rate, channels }
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(SampleEntry { format, size, length_size }))
}

/// ISO/IEC 14496-15 5.3.3.1.
fn avc_config(file: &Bytes, body: &[u8]) -> Result<(Format, usize), Mp4Error> {
    let mut fields = Fields::new(body, "avcC");
    fields.take(4)?;
    let length_size = usize::from(fields.u8()? & 3) + 1;
    let mut sets = ParameterSets::default();
    for _sps in 0..fields.u8()? & 0x1f {
        let len = usize::from(fields.u16()?);
        sets.sps.push(file.slice_ref(fields.take(len)?));
    }
    for _pps in 0..fields.u8()? {
        let len = usize::from(fields.u16()?);
        sets.pps.push(file.slice_ref(fields.take(len)?));
    }
    Ok((Format::H264(sets), length_size))
}

/// ISO/IEC 14496-15 8.3.3.1.
fn hevc_config(file: &Bytes, body: &[u8]) -> Result<(Format, usize), Mp4Error> {
    let mut fields = Fields::new(body, "hvcC");
    fields.take(21)?;
    let length_size = usize::from(fields.u8()? & 3) + 1;
    let mut sets = ParameterSets::default();
    for _array in 0..fields.u8()? {
        let nal_type = fields.u8()? & 0x3f;
        for _nal in 0..fields.u16()? {
            let len = usize::from(fields.u16()?);
            let nal = file.slice_ref(fields.take(len)?);
            match nal_type {
                32 => sets.vps.push(nal),
                33 => sets.sps.push(nal),
                34 => sets.pps.push(nal),
                _ => {}
            }
        }
    }
    Ok((Format::H265(sets), length_size))
}

/// The DecoderSpecificInfo of an `esds` box (ISO/IEC 14496-1 7.2.6): descriptors inside each other.
fn audio_specific_config(esds: &[u8]) -> Option<&[u8]> {
    let es = descriptor(esds.get(4..)?, 3)?;
    // Two bytes of id and one of flags; what optional fields the flags announce, files of this kind do not have.
    let config = descriptor(es.get(3..)?, 4)?;
    descriptor(config.get(13..)?, 5)
}

/// Sample rate and channels of an AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1); `None` for codings other than the usual.
fn aac_parameters(config: &[u8]) -> Option<(u32, u8)> {
    const RATES: [u32; 13] = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
    ];
    let &[first, second] = config.first_chunk::<2>()?;
    let bits = u16::from_be_bytes([first, second]);
    let object_type = bits >> 11;
    let rate = RATES.get(usize::from((bits >> 7) & 0x0f))?;
    let channels = match (bits >> 3) & 0x0f {
        channels @ 1..=6 => channels as u8,
        7 => 8,
        _ => return None,
    };
    (object_type < 31).then_some((*rate, channels))
}

fn descriptor(mut data: &[u8], tag: u8) -> Option<&[u8]> {
    loop {
        let (&found, mut rest) = data.split_first()?;
        let mut len = 0usize;
        for _byte in 0..4 {
            let (&byte, tail) = rest.split_first()?;
            rest = tail;
            len = (len << 7) | usize::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                break;
            }
        }
        let (body, next) = rest.split_at_checked(len)?;
        if found == tag {
            return Some(body);
        }
        data = next;
    }
}

/// Run-length entries (`stts`, `ctts`): counts and values.
fn runs(stbl: &[u8], kind: &[u8; 4], name: &'static str) -> Result<Option<Vec<(u32, u32)>>, Mp4Error> {
    let Some(body) = find(stbl, kind) else { return Ok(None) };
    let mut fields = Fields::new(body, name);
    fields.take(4)?;
    let count = fields.count(8)?;
    let runs = (0..count).map(|_| Ok((fields.u32()?, fields.u32()?))).collect::<Result<_, Mp4Error>>()?;
    Ok(Some(runs))
}

fn expand(runs: Vec<(u32, u32)>) -> impl Iterator<Item = u32> {
    runs.into_iter().flat_map(|(count, value)| std::iter::repeat_n(value, count as usize))
}

fn samples(file: &Bytes, stbl: &[u8], length_size: Option<usize>) -> Result<(Vec<Sample>, u64), Mp4Error> {
    let sizes = sizes(stbl, file.len())?;
    let offsets = offsets(stbl, &sizes)?;
    let mut deltas = expand(runs(stbl, b"stts", "stts")?.ok_or(Mp4Error::Missing("stts"))?);
    let mut composition = expand(runs(stbl, b"ctts", "ctts")?.unwrap_or_default());
    let sync = sync_numbers(stbl)?;
    let mut decode_time = 0u64;
    let mut samples = Vec::with_capacity(sizes.len());
    for (index, (&size, &offset)) in sizes.iter().zip(&offsets).enumerate() {
        let end = offset.checked_add(size).filter(|&end| end <= file.len());
        let end = end.ok_or(Mp4Error::Inconsistent("a sample lies outside the file"))?;
        let raw = file.slice(offset..end);
        samples.push(Sample {
            decode_time,
            // Version 1 is signed, and writers of version 0 store negative values all the same.
            composition_offset: i64::from(composition.next().unwrap_or(0).cast_signed()),
            sync: sync.as_ref().is_none_or(|numbers| numbers.binary_search(&(index + 1)).is_ok()),
            payload: match length_size {
                Some(4) | None => raw,
                Some(other) => widen_lengths(&raw, other),
            },
        });
        let delta = deltas.next().ok_or(Mp4Error::Inconsistent("stts is shorter than stsz"))?;
        decode_time += u64::from(delta);
    }
    Ok((samples, decode_time))
}

fn sizes(stbl: &[u8], file_len: usize) -> Result<Vec<usize>, Mp4Error> {
    let mut fields = Fields::new(find(stbl, b"stsz").ok_or(Mp4Error::Missing("stsz"))?, "stsz");
    fields.take(4)?;
    let all = fields.u32()? as usize;
    if all != 0 {
        let count = fields.u32()? as usize;
        if count.checked_mul(all).is_none_or(|bytes| bytes > file_len) {
            return Err(Mp4Error::Inconsistent("a sample lies outside the file"));
        }
        return Ok(vec![all; count]);
    }
    let count = fields.count(4)?;
    (0..count).map(|_| Ok(fields.u32()? as usize)).collect()
}

/// File offset of each sample, from chunks (8.7.4, 8.7.5).
fn offsets(stbl: &[u8], sizes: &[usize]) -> Result<Vec<usize>, Mp4Error> {
    let chunks: Vec<usize> = match (find(stbl, b"stco"), find(stbl, b"co64")) {
        (Some(body), _) => {
            let mut fields = Fields::new(body, "stco");
            fields.take(4)?;
            let count = fields.count(4)?;
            (0..count).map(|_| Ok(fields.u32()? as usize)).collect::<Result<_, Mp4Error>>()?
        }
        (None, Some(body)) => {
            let mut fields = Fields::new(body, "co64");
            fields.take(4)?;
            let count = fields.count(8)?;
            let large = |fields: &mut Fields<'_>| {
                let (high, low) = (u64::from(fields.u32()?), u64::from(fields.u32()?));
                usize::try_from((high << 32) | low).map_err(|_| Mp4Error::Truncated("co64"))
            };
            (0..count).map(|_| large(&mut fields)).collect::<Result<_, Mp4Error>>()?
        }
        (None, None) => return Err(Mp4Error::Missing("stco")),
    };
    let mut fields = Fields::new(find(stbl, b"stsc").ok_or(Mp4Error::Missing("stsc"))?, "stsc");
    fields.take(4)?;
    let count = fields.count(12)?;
    let mut per_chunk = Vec::with_capacity(count);
    for _entry in 0..count {
        let (first, samples, _description) = (fields.u32()? as usize, fields.u32()? as usize, fields.u32()?);
        per_chunk.push((first, samples));
    }
    let mut sizes = sizes.iter();
    let mut offsets = Vec::with_capacity(sizes.len());
    for (index, &chunk) in chunks.iter().enumerate() {
        let run = per_chunk.partition_point(|(first, _)| *first <= index + 1).checked_sub(1);
        let &(_, in_chunk) = run
            .and_then(|run| per_chunk.get(run))
            .ok_or(Mp4Error::Inconsistent("stsc does not cover the first chunk"))?;
        let mut at = chunk;
        for &size in sizes.by_ref().take(in_chunk) {
            offsets.push(at);
            at = at.checked_add(size).ok_or(Mp4Error::Inconsistent("a sample lies outside the file"))?;
        }
    }
    if sizes.next().is_some() {
        return Err(Mp4Error::Inconsistent("stsz has more samples than the chunks"));
    }
    Ok(offsets)
}

/// Numbers of the sync samples, from 1; `None` when all are.
fn sync_numbers(stbl: &[u8]) -> Result<Option<Vec<usize>>, Mp4Error> {
    let Some(body) = find(stbl, b"stss") else { return Ok(None) };
    let mut fields = Fields::new(body, "stss");
    fields.take(4)?;
    let count = fields.count(4)?;
    (0..count).map(|_| Ok(fields.u32()? as usize)).collect::<Result<_, Mp4Error>>().map(Some)
}

/// The same NAL units behind lengths of four bytes.
fn widen_lengths(mut raw: &[u8], length_size: usize) -> Bytes {
    let mut out = Vec::with_capacity(raw.len() + 16);
    while let Some((length, rest)) = raw.split_at_checked(length_size) {
        let len = length.iter().fold(0u32, |sum, &byte| (sum << 8) | u32::from(byte));
        let Some((nal, next)) = rest.split_at_checked(len as usize) else { break };
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(nal);
        raw = next;
    }
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat()
    }

    #[test]
    fn box_sizes() {
        let plain = boxed(b"abcd", b"xy");
        assert_eq!(boxes(&plain).collect::<Vec<_>>(), [(*b"abcd", &b"xy"[..])]);
        let large = [&1u32.to_be_bytes()[..], b"abcd", &18u64.to_be_bytes(), b"xy"].concat();
        assert_eq!(boxes(&large).collect::<Vec<_>>(), [(*b"abcd", &b"xy"[..])]);
        let open = [&0u32.to_be_bytes()[..], b"abcd", b"xyz"].concat();
        assert_eq!(boxes(&open).collect::<Vec<_>>(), [(*b"abcd", &b"xyz"[..])]);
        assert_eq!(boxes(&plain[..9]).count(), 0);
        assert_eq!(boxes(&[0, 0, 0, 4, 1, 1, 1, 1]).count(), 0);
    }

    #[test]
    fn aac_configs() {
        for (config, expect) in [
            (&[0x11, 0x90][..], Some((48_000, 2))),
            (&[0x11, 0x88], Some((48_000, 1))),
            (&[0x14, 0x08], Some((16_000, 1))),
            (&[0x12, 0x38], Some((44_100, 8))),
            (&[0x11, 0x80], None),
            (&[0x17, 0x88], None),
            (&[0x11], None),
        ] {
            assert_eq!(aac_parameters(config), expect, "{config:x?}");
        }
    }

    #[test]
    fn lengths_are_widened() {
        assert_eq!(widen_lengths(&[0, 2, 7, 8, 0, 1, 9], 2), &[0, 0, 0, 2, 7, 8, 0, 0, 0, 1, 9][..]);
        assert_eq!(widen_lengths(&[5, 1], 1), &[][..]);
    }

    #[test]
    fn chunks_and_sizes_make_offsets() {
        let stsc =
            [&[0; 4][..], &2u32.to_be_bytes(), &1u32.to_be_bytes(), &2u32.to_be_bytes(), &1u32.to_be_bytes()]
                .concat();
        let stsc = [&stsc[..], &2u32.to_be_bytes(), &1u32.to_be_bytes(), &1u32.to_be_bytes()].concat();
        let stco = [&[0; 4][..], &2u32.to_be_bytes(), &100u32.to_be_bytes(), &500u32.to_be_bytes()].concat();
        let stbl = [boxed(b"stsc", &stsc), boxed(b"stco", &stco)].concat();
        assert_eq!(offsets(&stbl, &[10, 20, 30]), Ok(vec![100, 110, 500]));
        assert_eq!(
            offsets(&stbl, &[1; 4]),
            Err(Mp4Error::Inconsistent("stsz has more samples than the chunks"))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let stbl = boxed(b"moov", &boxed(b"trak", &boxed(b"mdia", &bytes)));
            let _outcome = Movie::parse(&Bytes::from(stbl));
            let _outcome = Movie::parse(&Bytes::from(bytes));
        }
    }
}
