//! A reader of progressive MP4 that shares no code with the crate.

/// One sample of a track.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) data: Vec<u8>,
    pub(crate) duration: i64,
    /// Presentation time in the media.
    pub(crate) shown: i64,
    pub(crate) sync: bool,
}

#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) handler: [u8; 4],
    pub(crate) timescale: i64,
    /// Duration and media time, -1 for nothing.
    pub(crate) edits: Vec<(i64, i64)>,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Debug)]
pub(crate) struct Movie {
    pub(crate) duration: i64,
    pub(crate) tracks: Vec<Track>,
}

fn number(bytes: &[u8], at: usize, len: usize) -> i64 {
    bytes[at..at + len].iter().fold(0i64, |sum, &b| (sum << 8) | i64::from(b))
}

/// Kind and body of each box.
fn boxes(bytes: &[u8]) -> Vec<([u8; 4], &[u8])> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (mut size, mut head) = (number(bytes, at, 4) as usize, 8);
        if size == 1 {
            (size, head) = (number(bytes, at + 8, 8) as usize, 16);
        }
        out.push((bytes[at + 4..at + 8].try_into().unwrap(), &bytes[at + head..at + size]));
        at += size;
    }
    out
}

fn find<'a>(bytes: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    path.iter().try_fold(bytes, |inside, kind| boxes(inside).into_iter().find(|b| b.0 == **kind).map(|b| b.1))
}

/// Reads a whole file; panics when it is not well formed.
pub(crate) fn read(file: &[u8]) -> Movie {
    let top: Vec<_> = boxes(file).iter().map(|b| b.0).collect();
    assert_eq!(top, [*b"ftyp", *b"moov", *b"mdat"]);
    let moov = find(file, &[b"moov"]).unwrap();
    let mvhd = find(moov, &[b"mvhd"]).unwrap();
    assert_eq!((mvhd[0], number(mvhd, 20, 4)), (1, 90_000));
    let tracks = boxes(moov).into_iter().filter(|b| b.0 == *b"trak").map(|b| track(file, b.1)).collect();
    Movie { duration: number(mvhd, 24, 8), tracks }
}

/// Count and value of each entry, unrolled.
fn unrolled(table: Option<&[u8]>) -> Vec<i64> {
    let Some(table) = table else { return Vec::new() };
    let entries = (0..number(table, 4, 4) as usize)
        .map(|i| (number(table, 8 + 8 * i, 4), number(table, 12 + 8 * i, 4)));
    entries.flat_map(|(count, value)| std::iter::repeat_n(value, count as usize)).collect()
}

fn track(file: &[u8], trak: &[u8]) -> Track {
    let mdhd = find(trak, &[b"mdia", b"mdhd"]).unwrap();
    let stbl = find(trak, &[b"mdia", b"minf", b"stbl"]).unwrap();
    let table = |kind| find(stbl, &[kind]);
    let elst = find(trak, &[b"edts", b"elst"]).unwrap();
    let edits = (0..number(elst, 4, 4) as usize)
        .map(|i| (number(elst, 8 + 20 * i, 8), number(elst, 16 + 20 * i, 8)))
        .collect();
    let durations = unrolled(table(b"stts"));
    let offsets = unrolled(table(b"ctts"));
    let stsz = table(b"stsz").unwrap();
    let sizes: Vec<_> =
        (0..number(stsz, 8, 4) as usize).map(|i| number(stsz, 12 + 4 * i, 4) as usize).collect();
    assert_eq!(durations.len(), sizes.len());
    let sync: Option<Vec<_>> = table(b"stss")
        .map(|t| (0..number(t, 4, 4) as usize).map(|i| number(t, 8 + 4 * i, 4) as usize).collect());

    let co64 = table(b"co64").unwrap();
    let stsc = table(b"stsc").unwrap();
    let per_chunk = |chunk: usize| {
        let entries = (0..number(stsc, 4, 4) as usize).rev();
        let entry = entries.into_iter().find(|i| number(stsc, 8 + 12 * i, 4) as usize <= chunk + 1).unwrap();
        number(stsc, 12 + 12 * entry, 4) as usize
    };
    let mut samples = Vec::new();
    let mut decode_time = 0;
    for chunk in 0..number(co64, 4, 4) as usize {
        let mut at = number(co64, 8 + 8 * chunk, 8) as usize;
        for _ in 0..per_chunk(chunk) {
            let i = samples.len();
            samples.push(Sample {
                data: file[at..at + sizes[i]].to_vec(),
                duration: durations[i],
                shown: decode_time + offsets.get(i).copied().unwrap_or(0),
                sync: sync.as_ref().is_none_or(|s| s.contains(&(i + 1))),
            });
            at += sizes[i];
            decode_time += durations[i];
        }
    }
    assert_eq!(samples.len(), sizes.len());
    let handler = find(trak, &[b"mdia", b"hdlr"]).unwrap()[8..12].try_into().unwrap();
    Track { handler, timescale: number(mdhd, 20, 4), edits, samples }
}
