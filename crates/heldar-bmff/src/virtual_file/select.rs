//! Which pictures of which file are shown, and which are carried so that those can be decoded.

use std::ops::Range;

use heldar_media::VideoCodec;

use super::{
    Join, Part,
    pictures::Pictures,
    wall::{FileClock, Window},
};
use crate::{
    error::Error,
    sample::{VIDEO_TIMESCALE, VIDEO_TRACK_ID},
    table::{SampleTable, TrackTable},
};

/// One recorded file and all that is wanted of it by parts that follow each other.
pub(super) struct SourceFile<'a> {
    pub(super) file: u32,
    pub(super) table: &'a SampleTable,
    pub(super) video: &'a TrackTable,
    pub(super) clock: FileClock,
    join: Join,
    pub(super) pictures: Pictures,
    /// In order of time, none overlaps another.
    pub(super) windows: Vec<Window>,
    /// Per window the pictures shown, as places in order of presentation. A long picture may be in two windows.
    pub(super) shown: Vec<Range<usize>>,
    /// The pictures carried, in decoding order; ranges in order that share none.
    pub(super) carried: Vec<Range<usize>>,
}

impl<'a> SourceFile<'a> {
    fn new(part: &Part<'a>) -> Result<Self, Error> {
        let video = part.table.track(VIDEO_TRACK_ID).filter(|t| t.params().video().is_some());
        let video = video.ok_or(Error::Unsupported("file without video"))?;
        if video.entry().timescale != VIDEO_TIMESCALE {
            return Err(Error::Unsupported("video with another timescale"));
        }
        Ok(SourceFile {
            file: part.file,
            table: part.table,
            video,
            clock: FileClock { start: part.wall_start },
            join: part.join,
            pictures: Pictures::of(video),
            windows: Vec::new(),
            shown: Vec::new(),
            carried: Vec::new(),
        })
    }

    fn add_window(&mut self, number: usize, part: &Part<'_>) -> Result<(), Error> {
        if self.windows.last().is_some_and(|last| part.window.start < last.wall.end) {
            return Err(Error::Order);
        }
        let mut window = Window::new(number, self.clock, part.window);
        if let Some(last) = self.windows.last().filter(|_| !part.window.is_empty()) {
            // Both may share the tick in which one ends and the other starts.
            window.from = window.from.max(last.to);
            window.to = window.to.max(window.from + 1);
        }
        let shown = self.pictures.touching(&mut window);
        self.windows.push(window);
        self.shown.push(shown);
        Ok(())
    }

    /// Decides what is carried. `tail_wanted`: the next file can't be decoded without the end of this one.
    /// `reachable`: the file before can be decoded up to its end and this one goes on from there. Returns whether it
    /// has to.
    fn choose(&mut self, tail_wanted: bool, reachable: bool) -> bool {
        let mut wants_predecessor = false;
        let pictures = &self.pictures;
        let mut carried = Vec::with_capacity(self.shown.len() + 1);
        for shown in self.shown.iter_mut().filter(|s| s.start < s.end) {
            let start = match pictures.decode_start(shown) {
                Some(start) => start,
                None if reachable => {
                    wants_predecessor = true;
                    0
                }
                None => {
                    *shown = pictures.decodable(shown.clone());
                    match pictures.decode_start(shown) {
                        Some(start) => start,
                        None => {
                            *shown = 0..0;
                            continue;
                        }
                    }
                }
            };
            carried.push(start..pictures.decode_end(shown));
        }
        if tail_wanted {
            let last_sync = pictures.list.iter().rposition(|p| p.sync);
            wants_predecessor |= last_sync.is_none();
            carried.push(last_sync.unwrap_or(0)..pictures.list.len());
        }
        self.carried = merged(carried);
        if self.video.params().video().is_some_and(|v| v.codec == VideoCodec::H265) {
            self.leave_out_leading(wants_predecessor);
        }
        wants_predecessor
    }

    /// Leaves out the leading pictures of each sync sample at which decoding starts anew (ITU-T H.265 3.69). They refer
    /// to pictures that are not there, no picture shown refers to them, and a decoder that is past its first picture
    /// does not know that it has to skip them.
    fn leave_out_leading(&mut self, starts_in_predecessor: bool) {
        let mut kept = Vec::with_capacity(self.carried.len() + 1);
        for range in self.carried.drain(..) {
            let list = &self.pictures.list[range.clone()];
            let goes_on = range.start == 0 && starts_in_predecessor;
            let leading = match list.split_first() {
                Some((first, later)) if first.sync && !goes_on => {
                    later.iter().take_while(|p| p.start < first.start).count()
                }
                _ => 0,
            };
            if leading == 0 {
                kept.push(range);
            } else {
                kept.push(range.start..range.start + 1);
                kept.push(range.start + 1 + leading..range.end);
            }
        }
        self.carried = kept;
    }

    fn has_sync(&self) -> bool {
        self.pictures.list.iter().any(|p| p.sync)
    }
}

/// Ranges in order, those that touch joined.
fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|r| r.start);
    let mut out: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges.into_iter().filter(|r| !r.is_empty()) {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

/// Groups the parts by file and decides for each what is shown and carried.
pub(super) fn select<'a>(parts: &[Part<'a>]) -> Result<Vec<SourceFile<'a>>, Error> {
    let mut sources: Vec<SourceFile<'a>> = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        if sources.last().is_none_or(|s| s.file != part.file) {
            sources.push(SourceFile::new(part)?);
        }
        if let Some(source) = sources.last_mut() {
            source.add_window(number, part)?;
        }
    }
    // Whether a file can be decoded up to its end, from its own sync samples or those of the files before it.
    let mut reaches_end = Vec::with_capacity(sources.len());
    for source in &sources {
        let before = source.join == Join::Continues && reaches_end.last() == Some(&true);
        reaches_end.push(before || source.has_sync());
    }
    let mut tail_wanted = false;
    for at in (0..sources.len()).rev() {
        let reachable = at > 0 && sources[at].join == Join::Continues && reaches_end[at - 1];
        tail_wanted = sources[at].choose(tail_wanted, reachable);
    }
    Ok(sources)
}
