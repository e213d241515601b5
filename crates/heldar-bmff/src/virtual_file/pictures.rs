//! The pictures of one recorded file with their time on screen.

use std::ops::Range;

use super::wall::Window;
use crate::table::TrackTable;

/// One picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Picture {
    pub(super) offset: u64,
    pub(super) size: u32,
    pub(super) sync: bool,
    /// When it comes on screen, in ticks of the file.
    pub(super) start: i64,
    /// When the next one takes its place, or a hole begins.
    pub(super) end: i64,
    /// Which stretch without holes it lies in.
    stretch: u32,
}

/// All pictures of a file.
#[derive(Clone, Debug)]
pub(super) struct Pictures {
    /// In decoding order.
    pub(super) list: Vec<Picture>,
    /// Indexes into `list`, in order of presentation.
    pub(super) order: Vec<u32>,
}

/// Samples whose decode times follow each other without a hole.
struct Stretch {
    first_decode_time: i64,
    end_decode_time: i64,
    first_start: i64,
}

impl Stretch {
    /// When its last picture leaves the screen: as long after its first picture came as its samples last.
    fn end(&self) -> i64 {
        self.first_start + (self.end_decode_time - self.first_decode_time)
    }
}

impl Pictures {
    pub(super) fn of(track: &TrackTable) -> Self {
        let mut list = Vec::with_capacity(track.samples().len());
        let mut stretches: Vec<Stretch> = Vec::new();
        for run in track.runs() {
            // Decode times are below 2^53 and offsets below 2^62: `SampleTable::push` holds that.
            let mut decode_time = run.base_decode_time as i64;
            let mut offset = run.data_offset;
            // A hole lies where a fragment starts later than the one before it ended.
            if stretches.last().is_none_or(|s| s.end_decode_time < decode_time) {
                stretches.push(Stretch {
                    first_decode_time: decode_time,
                    end_decode_time: decode_time,
                    first_start: i64::MAX,
                });
            }
            let number = stretches.len() as u32 - 1;
            let Some(stretch) = stretches.last_mut() else { continue };
            for sample in track.run_samples(run) {
                let start = decode_time + i64::from(sample.composition_offset);
                stretch.first_start = stretch.first_start.min(start);
                list.push(Picture {
                    offset,
                    size: sample.size,
                    sync: sample.sync,
                    start,
                    end: start,
                    stretch: number,
                });
                decode_time += i64::from(sample.duration);
                offset += u64::from(sample.size);
            }
            stretch.end_decode_time = decode_time;
        }
        let mut order: Vec<u32> = (0..list.len() as u32).collect();
        if !list.is_sorted_by_key(|p| p.start) {
            order.sort_by_key(|&i| list[i as usize].start);
        }
        let mut pictures = Pictures { list, order };
        pictures.set_ends(&stretches);
        pictures
    }

    fn set_ends(&mut self, stretches: &[Stretch]) {
        for (at, &index) in self.order.iter().enumerate() {
            let next = self.order.get(at + 1).map(|&next| self.list[next as usize]);
            let picture = &mut self.list[index as usize];
            let stretch_end = stretches[picture.stretch as usize].end().max(picture.start + 1);
            picture.end = match next {
                Some(next) if next.stretch == picture.stretch => next.start,
                Some(next) => next.start.min(stretch_end),
                None => stretch_end,
            };
        }
    }

    /// The picture at a place in order of presentation.
    pub(super) fn shown(&self, at: usize) -> &Picture {
        &self.list[self.order[at] as usize]
    }

    fn shown_mut(&mut self, at: usize) -> &mut Picture {
        &mut self.list[self.order[at] as usize]
    }

    /// The pictures whose time on screen touches the window, as places in order of presentation.
    ///
    /// A picture that comes within the tick in which the window ends is moved to the tick before, so that it too can be
    /// shown without passing the window's end.
    pub(super) fn touching(&mut self, window: &mut Window) -> Range<usize> {
        if window.wall.is_empty() {
            return 0..0;
        }
        let list = &self.list;
        let first = self.order.partition_point(|&i| list[i as usize].end <= window.from);
        let end = self.order.partition_point(|&i| list[i as usize].start < window.before);
        if first >= end {
            return 0..0;
        }
        let last = end - 1;
        if self.shown(last).start >= window.to {
            let earlier = window.to - 1;
            if last == first || self.shown(last - 1).start.max(window.from) < earlier {
                self.shown_mut(last).start = earlier;
                if last > 0 {
                    let before = self.shown_mut(last - 1);
                    before.end = before.end.min(earlier);
                }
            } else {
                // Less than a tick for each picture: the window is stretched by one.
                window.to += 1;
            }
        }
        first..end
    }

    /// The last sync sample from which all pictures of a range in order of presentation can be decoded: none of them
    /// comes before it, neither in decoding order nor, as a leading picture of an open group would, on screen.
    pub(super) fn decode_start(&self, shown: &Range<usize>) -> Option<usize> {
        let first = self.order.get(shown.clone())?.iter().min()?;
        let start = self.shown(shown.start).start;
        (0..=*first as usize).rev().find(|&i| self.list[i].sync && self.list[i].start <= start)
    }

    /// The part of a range that can be decoded from the first sync sample on.
    pub(super) fn decodable(&self, shown: Range<usize>) -> Range<usize> {
        let Some(first_sync) = self.list.iter().position(|p| p.sync) else {
            return shown.end..shown.end;
        };
        let start = self.list[first_sync].start;
        let lost = shown
            .clone()
            .rev()
            .find(|&at| (self.order[at] as usize) < first_sync || self.shown(at).start < start);
        lost.map_or(shown.start, |at| at + 1)..shown.end
    }

    /// Index after the last one, in decoding order, of a range in order of presentation.
    pub(super) fn decode_end(&self, shown: &Range<usize>) -> usize {
        let indexes = self.order.get(shown.clone()).unwrap_or_default();
        indexes.iter().max().map_or(0, |&last| last as usize + 1)
    }
}
