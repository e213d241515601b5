//! One picture of a recorded file, and what must be decoded for it.

use heldar_base::{Interval, WallTime};

use super::pictures::{Picture, Pictures};
use super::wall::FileClock;
use crate::sample::{VIDEO_TIMESCALE, VIDEO_TRACK_ID};
use crate::table::SampleTable;

/// Pictures behind each that are compared with it to find how far they are out of order; decoders know no more.
const REORDER: usize = 16;

/// A coded picture in a recorded file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StillSample {
    /// It lies in the file before the one asked about.
    pub in_predecessor: bool,
    /// First byte.
    pub offset: u64,
    /// How many.
    pub size: u32,
}

/// A picture, and the coded pictures that must be decoded for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Still {
    /// From a sync sample on, in decoding order.
    pub samples: Vec<StillSample>,
    /// Place of the picture among them.
    pub wanted: usize,
    /// When the picture was captured.
    pub captured_at: WallTime,
    /// First instant at which it is not on screen any more.
    pub until: WallTime,
    /// How many pictures come before another in decoding order and after it in presentation order.
    pub reorder_depth: u8,
}

/// What a recorded file says about an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StillAt {
    /// The picture.
    Found(Still),
    /// It can be decoded with the file before only, in whose run this one goes on.
    NeedsPredecessor,
    /// No picture of the file is on screen then.
    Nothing,
}

/// The picture of a file that is on screen at an instant: the last one captured at or before it. `before` is the table of
/// the file before, where this one goes on from it.
pub fn still_at(
    table: &SampleTable,
    wall_start: WallTime,
    at: WallTime,
    before: Option<&SampleTable>,
) -> StillAt {
    let Some(pictures) = pictures_of(table) else { return StillAt::Nothing };
    let clock = FileClock { start: wall_start };
    let ticks = clock.floor(at);
    let place = pictures.order.partition_point(|&i| pictures.list[i as usize].start <= ticks);
    let Some(place) = place.checked_sub(1) else { return StillAt::Nothing };
    // What stays on screen past its end is in a hole, but for the last instant of the file.
    let is_over = pictures.shown(place).end < ticks;
    if is_over { StillAt::Nothing } else { still_of(&pictures, clock, place, before) }
}

/// The sync samples of a file that come on screen within a window, each decodable alone.
pub fn sync_stills(table: &SampleTable, wall_start: WallTime, window: Interval) -> Vec<Still> {
    let Some(pictures) = pictures_of(table) else { return Vec::new() };
    let clock = FileClock { start: wall_start };
    let inside = |picture: &&Picture| picture.sync && window.contains(clock.wall(picture.start));
    let still = |picture: &Picture| Still {
        samples: vec![sample(picture, false)],
        wanted: 0,
        captured_at: clock.wall(picture.start),
        until: clock.wall(picture.end),
        reorder_depth: 0,
    };
    pictures.list.iter().filter(inside).map(still).collect()
}

fn pictures_of(table: &SampleTable) -> Option<Pictures> {
    let track = table.track(VIDEO_TRACK_ID).filter(|track| track.entry().timescale == VIDEO_TIMESCALE)?;
    track.params().video().map(|_| Pictures::of(track))
}

fn sample(picture: &Picture, in_predecessor: bool) -> StillSample {
    StillSample { in_predecessor, offset: picture.offset, size: picture.size }
}

fn still_of(pictures: &Pictures, clock: FileClock, place: usize, before: Option<&SampleTable>) -> StillAt {
    let shown = place..place + 1;
    let picture = pictures.shown(place);
    let end = pictures.decode_end(&shown);
    let (mut carried, start) = match pictures.decode_start(&shown) {
        Some(start) => (Vec::new(), start),
        None => {
            let Some(earlier) = before.and_then(pictures_of) else { return StillAt::NeedsPredecessor };
            let Some(sync) = earlier.list.iter().rposition(|picture| picture.sync) else {
                return StillAt::Nothing;
            };
            (earlier.list[sync..].iter().map(|picture| (sample(picture, true), i64::MIN)).collect(), 0)
        }
    };
    carried.extend(pictures.list[start..end].iter().map(|picture| (sample(picture, false), picture.start)));
    let depth = |at: usize| {
        let (from, start) = (at.saturating_sub(REORDER), carried[at].1);
        carried[from..at].iter().filter(|(_, earlier)| *earlier > start).count()
    };
    let reorder_depth = (0..carried.len()).map(depth).max().unwrap_or(0);
    StillAt::Found(Still {
        wanted: carried.len() - 1,
        captured_at: clock.wall(picture.start),
        until: clock.wall(picture.end),
        reorder_depth: u8::try_from(reorder_depth).unwrap_or(u8::MAX),
        samples: carried.into_iter().map(|(sample, _)| sample).collect(),
    })
}
