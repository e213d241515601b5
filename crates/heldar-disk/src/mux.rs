//! From the recorder's orders to bytes for the segment writer.
//!
//! Owns: the layout of the files being written: init segment, fragments, sample table; the index of each open segment.
//! Payload bytes are passed on as they are, never copied. Runs on the thread of the recorder and never waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use heldar_base::{Cause, EndReason, Interval, StreamId, WallTime};
use heldar_bmff::{
    AUDIO_TRACK_ID, FragmentHeader, FragmentIndex, IndexEntry, InitSegment, SampleMeta, SampleTable,
    TableBuilder, TrackRun, VIDEO_TRACK_ID, duration_box,
};
use heldar_recorder::{Fragment, Order, Run, SegmentTracks, Serial};

use crate::{Refused, SegmentKey, SegmentWriter};

/// What is attached to the orders of a segment writer, and comes back when they are carried out.
#[derive(Debug)]
pub enum Tag {
    /// The first fragment of a segment.
    Begin(Box<SegmentStart>, FragmentAdded),
    /// A further fragment.
    Fragment(FragmentAdded),
    /// The end of a segment.
    Seal(SegmentEnd),
}

/// A segment that begins.
#[derive(Debug)]
pub struct SegmentStart {
    /// Whose it is.
    pub stream: StreamId,
    /// Time zero of its media time.
    pub start: WallTime,
    /// Its tracks.
    pub tracks: SegmentTracks,
    /// It needs the segment before it.
    pub dependent: bool,
    /// Its layout, growing.
    pub shape: SegmentShape,
}

/// A fragment that is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentAdded {
    /// Footage that it adds.
    pub interval: Interval,
    /// Hole before it.
    pub hole: Option<Interval>,
    /// Fragments of the segment so far, this one included.
    pub count: usize,
    /// Decoding can start at it.
    pub sync: bool,
}

/// A segment that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentEnd {
    /// End of its last picture.
    pub end: WallTime,
    /// Why.
    pub reason: EndReason,
    /// What keeps away the footage that would follow.
    pub cause: Option<Cause>,
}

/// The layout of a segment that is being written; clones share it.
#[derive(Clone, Debug)]
pub struct SegmentShape {
    shared: Arc<Mutex<Layout>>,
}

#[derive(Debug)]
struct Layout {
    index: FragmentIndex,
    table: TableBuilder,
}

impl SegmentShape {
    fn layout(&self) -> MutexGuard<'_, Layout> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index of its first `fragments` fragments.
    pub fn index(&self, fragments: usize) -> FragmentIndex {
        let layout = self.layout();
        if layout.index.entries().len() == fragments {
            return layout.index.clone();
        }
        let mut index = FragmentIndex::new();
        for (number, entry) in layout.index.entries().iter().take(fragments).enumerate() {
            let end_offset = layout.index.byte_range(number..number + 1).map_or(entry.offset, |r| r.end);
            let end_ticks = layout.index.end_of(number).unwrap_or(entry.start_ticks);
            if index.push(*entry, end_offset, end_ticks).is_err() {
                break;
            }
        }
        index
    }

    /// The sample table so far; may name fragments that are not on disk yet.
    ///
    /// # Errors
    /// When a sample entry cannot be read back.
    pub fn table(&self) -> Result<SampleTable, heldar_bmff::Error> {
        self.layout().table.table()
    }
}

struct Open {
    key: SegmentKey,
    start: WallTime,
    /// Presentation delay of its video, in ticks.
    delay: u32,
    duration_slot: u64,
    shape: SegmentShape,
    sequence: u32,
    end_offset: u64,
    end: WallTime,
    /// A fragment was not taken: what follows it is missing too, whatever its `Seal` says.
    cut_short: bool,
}

/// An order that could not be handed over.
#[derive(Debug)]
pub struct NotTaken {
    /// Of which segment.
    pub serial: Serial,
    /// The segment ends here; `None` when nothing of it was taken.
    pub end: Option<WallTime>,
    /// Why.
    pub why: NotTakenWhy,
}

/// Why an order could not be handed over.
#[derive(Debug)]
pub enum NotTakenWhy {
    /// The writer's queue is full.
    QueueFull,
    /// The tracks or a fragment cannot be expressed as MP4.
    Layout(heldar_bmff::Error),
}

/// Makes the files of one stream.
pub struct Muxer {
    stream: StreamId,
    keys: Arc<AtomicU64>,
    open: HashMap<Serial, Open>,
}

impl std::fmt::Debug for Muxer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Muxer").field("stream", &self.stream).field("open", &self.open.len()).finish()
    }
}

impl Muxer {
    /// A muxer for a stream; `keys` numbers the files of the whole process.
    pub fn new(stream: StreamId, keys: Arc<AtomicU64>) -> Self {
        Muxer { stream, keys, open: HashMap::new() }
    }

    /// The stream.
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// The recorder's name of an open file.
    pub fn serial_of(&self, key: SegmentKey) -> Option<Serial> {
        self.open.iter().find(|(_, open)| open.key == key).map(|(serial, _)| *serial)
    }

    /// Carries out an order of the recorder.
    ///
    /// # Errors
    /// The order was not taken; the segment gets no further ones but its `Seal`.
    pub fn submit(&mut self, order: Order, writer: &SegmentWriter<Tag>) -> Result<(), NotTaken> {
        match order {
            Order::Begin { serial, start, tracks, dependent, fragment } => {
                let begun = self.begin(serial, start, tracks, dependent, fragment, writer);
                begun.map_err(|why| NotTaken { serial, end: None, why })
            }
            Order::Append { serial, hole, fragment } => {
                let open = self.open.get_mut(&serial).filter(|open| !open.cut_short);
                let Some(open) = open else { return Ok(()) };
                let end = Some(open.end);
                append(open, hole, fragment, writer).map_err(|why| {
                    open.cut_short = true;
                    NotTaken { serial, end, why }
                })
            }
            Order::Seal { serial, end, reason, cause } => {
                if let Some(open) = self.open.remove(&serial) {
                    // The recorder may have ended the segment in the same breath, before it heard of the refusal.
                    let end = if open.cut_short {
                        SegmentEnd { end: open.end, reason: EndReason::Disk, cause: Some(Cause::Disk) }
                    } else {
                        SegmentEnd { end, reason, cause }
                    };
                    seal(&open, end, writer);
                }
                Ok(())
            }
        }
    }

    /// The writer has given up a file.
    pub fn forget(&mut self, serial: Serial, writer: &SegmentWriter<Tag>) {
        if let Some(open) = self.open.remove(&serial) {
            writer.forget(open.key);
        }
    }

    fn begin(
        &mut self,
        serial: Serial,
        start: WallTime,
        tracks: SegmentTracks,
        dependent: bool,
        fragment: Fragment,
        writer: &SegmentWriter<Tag>,
    ) -> Result<(), NotTakenWhy> {
        let video = tracks
            .video
            .video()
            .ok_or(NotTakenWhy::Layout(heldar_bmff::Error::Unsupported("no video track")))?;
        let audio = tracks.audio.as_deref().and_then(heldar_media::TrackParams::audio);
        let room = writer.reserve(payload_len(&fragment)).map_err(|Refused| NotTakenWhy::QueueFull)?;
        let delay = presentation_delay(&fragment);
        let init = InitSegment::delayed(start, video, audio, delay).map_err(NotTakenWhy::Layout)?;
        let layout = Layout { index: FragmentIndex::new(), table: TableBuilder::new(init.tracks()) };
        let mut open = Open {
            key: SegmentKey(self.keys.fetch_add(1, Ordering::Relaxed)),
            start,
            delay,
            duration_slot: init.duration_slot(),
            shape: SegmentShape { shared: Arc::new(Mutex::new(layout)) },
            sequence: 0,
            end_offset: init.bytes().len() as u64,
            end: start,
            cut_short: false,
        };
        let (mut parts, added) = lay_out(&mut open, None, fragment).map_err(NotTakenWhy::Layout)?;
        parts.insert(0, Bytes::copy_from_slice(init.bytes()));
        let shape = open.shape.clone();
        let begins = SegmentStart { stream: self.stream.clone(), start, tracks, dependent, shape };
        let tag = Tag::Begin(Box::new(begins), added);
        writer.begin(room, open.key, self.stream.clone(), start, parts, tag);
        self.open.insert(serial, open);
        Ok(())
    }
}

fn append(
    open: &mut Open,
    hole: Option<Interval>,
    fragment: Fragment,
    writer: &SegmentWriter<Tag>,
) -> Result<(), NotTakenWhy> {
    let room = writer.reserve(payload_len(&fragment)).map_err(|Refused| NotTakenWhy::QueueFull)?;
    let (parts, added) = lay_out(open, hole, fragment).map_err(NotTakenWhy::Layout)?;
    writer.append(room, open.key, parts, Tag::Fragment(added));
    Ok(())
}

fn seal(open: &Open, end: SegmentEnd, writer: &SegmentWriter<Tag>) {
    let layout = open.shape.layout();
    // A table that cannot be written is no loss: the file is valid without, and readers scan it instead.
    let tail = layout.table.encode().unwrap_or_default();
    let slot = Bytes::copy_from_slice(&duration_box(layout.index.end_ticks()));
    drop(layout);
    writer.seal(open.key, tail.into(), Some((open.duration_slot, slot)), Tag::Seal(end));
}

/// Builds a fragment and enters it into the layout.
fn lay_out(
    open: &mut Open,
    hole: Option<Interval>,
    fragment: Fragment,
) -> Result<(Vec<Bytes>, FragmentAdded), heldar_bmff::Error> {
    let video = metas(&fragment.video);
    let audio = fragment.audio.as_ref().map(metas).unwrap_or_default();
    let mut runs = vec![TrackRun {
        track_id: VIDEO_TRACK_ID,
        base_decode_time: fragment.video.base_decode_time,
        samples: &video,
    }];
    if let Some(run) = &fragment.audio {
        runs.push(TrackRun {
            track_id: AUDIO_TRACK_ID,
            base_decode_time: run.base_decode_time,
            samples: &audio,
        });
    }
    let header = FragmentHeader::delayed(open.sequence + 1, &runs, open.delay)?;
    let end_offset = open.end_offset + header.fragment_len();
    let end_ticks = (fragment.interval.end - open.start).to_ticks(heldar_bmff::VIDEO_TIMESCALE);
    let entry = IndexEntry {
        offset: open.end_offset,
        start_ticks: fragment.video.base_decode_time,
        sync: fragment.sync,
    };
    let end_ticks = u64::try_from(end_ticks).unwrap_or(0).max(entry.start_ticks);
    let mut layout = open.shape.layout();
    layout.table.push(open.end_offset, &header, &runs)?;
    layout.index.push(entry, end_offset, end_ticks)?;
    let count = layout.index.entries().len();
    drop(layout);
    open.sequence += 1;
    open.end_offset = end_offset;
    open.end = fragment.interval.end;
    let added = FragmentAdded { interval: fragment.interval, hole, count, sync: fragment.sync };
    let mut parts = Vec::with_capacity(1 + video.len() + audio.len());
    parts.push(Bytes::from(header.bytes));
    parts.extend(fragment.video.samples.into_iter().map(|s| s.payload));
    parts.extend(fragment.audio.into_iter().flat_map(|run| run.samples).map(|s| s.payload));
    Ok((parts, added))
}

/// How far pictures of a fragment are presented before their decode time. The first one stands for all of its segment:
/// cameras do not change how they reorder. Should one do so, its later offsets are negative, which is valid.
fn presentation_delay(fragment: &Fragment) -> u32 {
    let lowest = fragment.video.samples.iter().map(|sample| sample.composition_offset).min().unwrap_or(0);
    lowest.min(0).unsigned_abs()
}

fn payload_len(fragment: &Fragment) -> u64 {
    let runs = std::iter::once(&fragment.video).chain(&fragment.audio);
    runs.flat_map(|run| &run.samples).map(|s| s.payload.len() as u64).sum()
}

fn metas(run: &Run) -> Vec<SampleMeta> {
    run.samples
        .iter()
        .map(|sample| SampleMeta {
            // The recorder refuses units of more than 32 MiB.
            size: u32::try_from(sample.payload.len()).unwrap_or(u32::MAX),
            duration: sample.duration,
            composition_offset: sample.composition_offset,
            sync: sample.sync,
        })
        .collect()
}
