//! A progressive MP4 that nobody writes: a computed header, and byte ranges of recorded files.
//!
//! Owns: what an exact cut of footage is. The file shows every picture whose time on screen touches the window, from
//! the window's start on and never past its end. Pictures that are needed for decoding only are carried and skipped by
//! the edit list, which starts and ends on sample boundaries, since readers drop a picture that an edit cuts through.
//! Holes are closed up. The `moof` boxes of the recorded files stay in the `mdat`; chunk offsets skip them.
//!
//! Equal input gives equal bytes.

mod audio;
mod header;
mod layout;
mod pictures;
mod select;
mod still;
mod video;
mod wall;

use std::ops::Range;

use bytes::Bytes;
use heldar_base::{Interval, WallTime};

pub use self::still::{Still, StillAt, StillSample, still_at, sync_stills};
use self::{layout::Layout, pictures::Pictures, select::SourceFile, video::Video};
use crate::{
    error::Error,
    sample::{VIDEO_TIMESCALE, VIDEO_TRACK_ID},
    table::SampleTable,
};

/// Whether the pictures of a file may need those of the file of the part before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Join {
    /// It starts anew.
    Fresh,
    /// It goes on where that file ended, within one run.
    Continues,
}

/// A recorded file and what is wanted of it.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Any number that tells the files apart; parts that follow each other and have the same are of one file.
    pub file: u32,
    /// Its samples, as read from its end, from a scan, or from what has been written so far.
    pub table: &'a SampleTable,
    /// Wall time of its media time 0.
    pub wall_start: WallTime,
    /// What is wanted. May be empty: then the file only lends pictures to the one after it.
    pub window: Interval,
    /// How it follows the file of the part before.
    pub join: Join,
}

/// Bytes of a recorded file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileRange {
    /// Number given in the [`Part`].
    pub file: u32,
    /// First byte.
    pub offset: u64,
    /// How many.
    pub len: u64,
}

/// Where bytes of the virtual file come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// From its header.
    Header(Bytes),
    /// From a recorded file.
    File(FileRange),
}

/// A stretch of the virtual file in which media time and wall time run alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartMap {
    /// Index of the [`Part`] it comes from.
    pub part: usize,
    /// When it is shown, in 1/90000 s from the start of the virtual file.
    pub media_start_ticks: u64,
    /// When it was captured.
    pub wall: Interval,
    /// RFC 6381 string of its video.
    pub codec_string: String,
}

impl PartMap {
    /// When it is shown, in seconds from the start of the virtual file.
    pub fn media_start_seconds(&self) -> f64 {
        seconds(self.media_start_ticks)
    }
}

/// A progressive MP4 made of byte ranges of recorded files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualFile {
    header: Bytes,
    ranges: Vec<FileRange>,
    /// Where each range starts in the virtual file.
    starts: Vec<u64>,
    total_len: u64,
    media_ticks: u64,
    lead_in_ticks: u64,
    parts: Vec<PartMap>,
    codecs: Vec<String>,
}

impl VirtualFile {
    /// Plans the file that shows these parts, one after the other. Pictures that can't be decoded, for lack of a sync
    /// sample before them, are left out.
    ///
    /// # Errors
    /// [`Error::NoPictures`] when nothing is left to show; [`Error::Order`] when windows of one file overlap or go back
    /// in time; [`Error::Unsupported`] for a file without video; [`Error::TooLarge`] for times or numbers of samples
    /// that no MP4 can hold.
    pub fn plan(parts: &[Part<'_>]) -> Result<Self, Error> {
        let sources = select::select(parts)?;
        let video = Video::of(&sources)?;
        let audio = audio::audio_track(&sources, &video.pieces, video.shown_ticks);
        let maps = part_maps(&sources, &video);
        let mut codecs: Vec<String> = Vec::new();
        let sound = audio.as_ref().map(|a| a.params.codec_string());
        for codec in maps.iter().map(|m| m.codec_string.as_str()).chain(sound) {
            if !codecs.iter().any(|c| c == codec) {
                codecs.push(codec.to_owned());
            }
        }
        let (shown_ticks, lead_in_ticks) = (video.shown_ticks, video.lead_in_ticks);
        let mut tracks = vec![video.track];
        tracks.extend(audio);
        let files: Vec<u32> = sources.iter().map(|s| s.file).collect();
        let layout = Layout::of(&tracks, &files)?;
        let header = Bytes::from(header::write_header(&tracks, shown_ticks, &layout)?);

        let mut total_len = header.len() as u64;
        let mut starts = Vec::with_capacity(layout.ranges.len());
        for range in &layout.ranges {
            starts.push(total_len);
            total_len += range.len;
        }
        Ok(VirtualFile {
            header,
            ranges: layout.ranges,
            starts,
            total_len,
            media_ticks: shown_ticks.max(0).unsigned_abs(),
            lead_in_ticks: lead_in_ticks.max(0).unsigned_abs(),
            parts: maps,
            codecs,
        })
    }

    /// Everything before the first byte range.
    pub fn header(&self) -> &Bytes {
        &self.header
    }

    /// The byte ranges that follow the header.
    pub fn ranges(&self) -> &[FileRange] {
        &self.ranges
    }

    /// Bytes of the whole file.
    pub fn total_len(&self) -> u64 {
        self.total_len
    }

    /// What it plays, in 1/90000 s.
    pub fn media_ticks(&self) -> u64 {
        self.media_ticks
    }

    /// What it plays, in seconds.
    pub fn media_seconds(&self) -> f64 {
        seconds(self.media_ticks)
    }

    /// What it carries unpresented before the first picture, in 1/90000 s.
    pub fn lead_in_ticks(&self) -> u64 {
        self.lead_in_ticks
    }

    /// What it carries unpresented before the first picture, in seconds.
    pub fn lead_in_seconds(&self) -> f64 {
        seconds(self.lead_in_ticks)
    }

    /// The map between media time and wall time, in order.
    pub fn parts(&self) -> &[PartMap] {
        &self.parts
    }

    /// RFC 6381 strings of what it holds, each once.
    pub fn codecs(&self) -> &[String] {
        &self.codecs
    }

    /// The wall time that it shows, as few intervals as possible.
    pub fn covered(&self) -> Vec<Interval> {
        let mut covered: Vec<Interval> = Vec::new();
        for part in &self.parts {
            match covered.last_mut() {
                Some(last) if part.wall.start <= last.end && last.start <= part.wall.start => {
                    last.end = last.end.max(part.wall.end);
                }
                _ => covered.push(part.wall),
            }
        }
        covered
    }

    /// Where a range of its bytes comes from, in order; what lies past the end is left out.
    pub fn sources(&self, range: Range<u64>) -> impl Iterator<Item = Source> + '_ {
        let header_len = self.header.len() as u64;
        let end = range.end.min(self.total_len);
        // Both bounds are at most the length of the header.
        let head = range.start.min(header_len) as usize..end.min(header_len) as usize;
        let head = (!head.is_empty()).then(|| Source::Header(self.header.slice(head)));
        let first = self.starts.partition_point(|&start| start <= range.start).saturating_sub(1);
        let pairs = self.starts.iter().zip(&self.ranges).skip(first);
        head.into_iter().chain(pairs.take_while(move |(start, _)| **start < end).filter_map(
            move |(&start, file)| {
                let from = range.start.max(start);
                let to = end.min(start + file.len);
                let offset = file.offset + (from.min(to) - start);
                (from < to).then_some(Source::File(FileRange { file: file.file, offset, len: to - from }))
            },
        ))
    }
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / f64::from(VIDEO_TIMESCALE)
}

fn part_maps(sources: &[SourceFile<'_>], video: &Video) -> Vec<PartMap> {
    video
        .pieces
        .iter()
        .map(|piece| PartMap {
            part: piece.part,
            media_start_ticks: piece.media_start.max(0).unsigned_abs(),
            wall: piece.wall,
            codec_string: sources
                .get(piece.source)
                .map(|s| s.video.params().codec_string().to_owned())
                .unwrap_or_default(),
        })
        .collect()
}

/// Whether what a file shows from a wall time on can be decoded without the file before it. When not, that file should
/// be given to [`VirtualFile::plan`] too, if only with an empty window.
pub fn starts_decodable(table: &SampleTable, wall_start: WallTime, from: WallTime) -> bool {
    let Some(video) = table.track(VIDEO_TRACK_ID) else {
        return true;
    };
    let mut pictures = Pictures::of(video);
    let clock = wall::FileClock { start: wall_start };
    let mut window = wall::Window::new(0, clock, Interval::new(from, WallTime::FAR_FUTURE));
    let shown = pictures.touching(&mut window);
    shown.is_empty() || pictures.decode_start(&shown).is_some()
}
