//! The video track of the virtual file, and from it the map between media time and wall time.
//!
//! Two sums make the times: presentation times are the durations added up in order of presentation, decode times the
//! same durations added up in decoding order. So holes close up, and every sample that is shown lasts as long as it is.
//!
//! There is one edit, since ffmpeg reads pictures between two edits twice. It starts after the lead-in. Pictures that
//! come later and are not shown (the lead-in of a further piece, the reference of a picture that is shown) are put past
//! its end, take one tick, and are no sync samples: at a second sync sample past its end ffmpeg stops reading. They keep
//! their order of presentation, in which decoders give them out: Chromium shows one that comes out behind a later one.

use heldar_base::Interval;

use super::{
    layout::{Edit, OutSample, OutTrack},
    select::SourceFile,
};
use crate::error::Error;

/// A stretch of one file that is shown without a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which source.
    pub(super) source: usize,
    /// Which part.
    pub(super) part: usize,
    /// First tick shown, in ticks of the file.
    pub(super) start: i64,
    /// First tick no longer shown.
    pub(super) end: i64,
    /// When it is shown, in 1/90000 s from the start of the movie.
    pub(super) media_start: i64,
    /// The wall time of both.
    pub(super) wall: Interval,
}

/// The track and what it shows.
pub(super) struct Video {
    pub(super) track: OutTrack,
    pub(super) pieces: Vec<Piece>,
    /// Time shown, in 1/90000 s.
    pub(super) shown_ticks: i64,
    /// Time carried before the first picture shown.
    pub(super) lead_in_ticks: i64,
}

impl Video {
    pub(super) fn of(sources: &[SourceFile<'_>]) -> Result<Self, Error> {
        let first = sources.iter().find(|s| !s.carried.is_empty()).ok_or(Error::NoPictures)?;
        let mut track = OutTrack::new(first.video);
        let count: usize = sources.iter().flat_map(|s| &s.carried).map(|r| r.len()).sum();
        track.samples.reserve_exact(count);
        let mut walk = Walk::default();
        let mut past_the_end = Vec::new();
        for (number, source) in sources.iter().enumerate().filter(|(_, s)| !s.carried.is_empty()) {
            let times = walk.source(number, source)?;
            let entry = track.entry_number(source.video);
            for range in &source.carried {
                for (picture, &(start, duration)) in
                    source.pictures.list[range.clone()].iter().zip(&times[range.clone()])
                {
                    if start.is_none() {
                        past_the_end.push((number, picture.start, track.samples.len()));
                    }
                    let sample = OutSample {
                        size: picture.size,
                        duration,
                        start: start.unwrap_or_default(),
                        sync: picture.sync && start.is_some(),
                    };
                    track.push(number, entry, picture.offset, sample);
                }
            }
        }
        let Some(lead_in_ticks) = walk.lead_in else {
            return Err(Error::NoPictures);
        };
        past_the_end.sort_unstable();
        for (start, (_, _, sample)) in (lead_in_ticks + walk.shown..).zip(past_the_end) {
            track.samples[sample].start = start;
        }
        track.edits = vec![Edit { duration: walk.shown, media_time: Some(lead_in_ticks) }];
        Ok(Video { track, pieces: walk.pieces, shown_ticks: walk.shown, lead_in_ticks })
    }
}

/// Presentation time, `None` past the end of what is shown, and duration.
type Times = (Option<i64>, u32);

/// Running sums over all files.
#[derive(Default)]
struct Walk {
    pieces: Vec<Piece>,
    /// Presentation time in the media, lead-in included.
    position: i64,
    /// Presentation time in the movie.
    shown: i64,
    /// Length of the lead-in, once it is over.
    lead_in: Option<i64>,
}

impl Walk {
    /// The times of each carried picture of a file, in decoding order; those of others mean nothing.
    fn source(&mut self, number: usize, source: &SourceFile<'_>) -> Result<Vec<Times>, Error> {
        let mut times = vec![(None, 0); source.pictures.list.len()];
        let mut window = 0;
        for (at, &index) in source.pictures.order.iter().enumerate() {
            let index = index as usize;
            if !source.carried.iter().any(|r| r.contains(&index)) {
                continue;
            }
            while source.shown.get(window).is_some_and(|s| s.end <= at) {
                window += 1;
            }
            let before = self.shown;
            let mut each = window;
            // Empty ranges lie between others when a window holds nothing.
            while let Some(shown) = source.shown.get(each).filter(|s| s.is_empty() || s.contains(&at)) {
                if !shown.is_empty() {
                    self.show(number, source, each, at);
                }
                each += 1;
            }
            let picture = &source.pictures.list[index];
            let (start, duration) = match (self.shown - before, self.lead_in) {
                (0, None) => (Some(self.position), (picture.end - picture.start).max(1)),
                (0, Some(_)) => (None, 1),
                (shown, _) => {
                    self.lead_in.get_or_insert(self.position);
                    (Some(self.position), shown)
                }
            };
            if start.is_some() {
                self.position += duration;
            }
            let duration = u32::try_from(duration).map_err(|_| Error::TooLarge("time on screen"))?;
            times[index] = (start, duration);
        }
        Ok(times)
    }

    /// Shows what lies in a window of the picture at a place in order of presentation.
    fn show(&mut self, number: usize, source: &SourceFile<'_>, window: usize, at: usize) {
        let window = &source.windows[window];
        let picture = source.pictures.shown(at);
        let start = picture.start.max(window.from);
        let end = picture.end.min(window.to).max(start + 1);
        let wall_end = source.clock.wall(end).min(window.wall.end);
        match self.pieces.last_mut() {
            Some(p) if p.source == number && p.part == window.part && p.end == start => {
                p.end = end;
                p.wall.end = p.wall.end.max(wall_end);
            }
            _ => self.pieces.push(Piece {
                source: number,
                part: window.part,
                start,
                end,
                media_start: self.shown,
                wall: Interval::new(source.clock.wall(start).max(window.wall.start), wall_end),
            }),
        }
        self.shown += end - start;
    }
}
