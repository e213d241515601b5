//! What a recorded file holds, whatever became of it.
//!
//! Owns: the one reading of a file that start-up recovery, the scrub and `fsck` share, and the one cut that is ever made:
//! behind the last whole fragment of a file that was not finished. A file that ends in its sample table keeps its bytes
//! whatever is wrong inside, as does one in which whole fragments follow the damage; but for what a power cut took before
//! it was synced, which never was a promise. Never: a decision about a row.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use heldar_base::{Micros, WallTime};
use heldar_bmff::{
    Error, FragmentIndex, IndexEntry, InitInfo, SampleTable, Tail, TrackEntry, VIDEO_TIMESCALE,
    VIDEO_TRACK_ID, duration_box, next_whole_fragment, read_sample_table, scan,
};
use heldar_media::TrackParams;
use heldar_recorder::SegmentTracks;

use crate::lost_pages::first_with_lost_page;
use crate::{Disk, DiskFile, FileAccess};

/// What a file holds.
#[derive(Clone, Debug)]
pub enum Examined {
    /// Not a byte.
    Empty,
    /// Nothing that this recorder reads: no init segment, another format.
    Unknown(String),
    /// An init segment without a whole fragment.
    NoFootage,
    /// Footage.
    Footage(Box<Footage>),
}

/// The footage of a file.
#[derive(Clone, Debug)]
pub struct Footage {
    /// Length of the file.
    pub len: u64,
    /// Its fragments as far as they can be read.
    pub index: FragmentIndex,
    /// Its tracks; `None` without video.
    pub tracks: Option<SegmentTracks>,
    /// When media time 0 was, if the file tells.
    pub wall_start: Option<WallTime>,
    /// How it ends.
    pub ending: Ending,
    /// Decode time of the first picture of each fragment, in 1/90000 s; `None` without a picture.
    pub decode_times: Vec<Option<u64>>,
    /// Stretches between fragments that no picture covers, in 1/90000 s.
    pub holes: Vec<Range<u64>>,
}

/// What went down with the process that wrote a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// The process alone: the system kept everything that was written.
    Process,
    /// The machine, or nobody knows: what was not synced may be missing, page by page.
    Machine,
}

/// How a file ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Behind its last whole fragment.
    Open,
    /// In its sample table, which says the same as the fragments.
    Sealed,
    /// In its sample table, which is whole; the fragment at `at` says something else, so that the table is believed.
    SealedOverDamage {
        /// Where that fragment starts.
        at: u64,
    },
    /// At `at` lies a sample table of the right length that cannot be read. All fragments are whole.
    TableUnreadable {
        /// Where it starts.
        at: u64,
    },
    /// From `at` on lies no whole fragment: what a write leaves that was not finished.
    Torn {
        /// End of the last whole fragment.
        at: u64,
    },
    /// The fragment at `at` cannot be read; whole ones follow from `resumes` on.
    Broken {
        /// End of the last whole fragment before it.
        at: u64,
        /// Start of the next whole one.
        resumes: u64,
    },
}

/// How much of a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Each fragment's header.
    EveryFragment,
    /// The init segment and the sample table at the end: two reads. A file without one is read as with
    /// [`Effort::EveryFragment`].
    TableAlone,
}

impl Footage {
    /// How many of its bytes are footage, headers and table: all but a torn tail.
    pub fn kept_len(&self) -> u64 {
        match self.ending {
            Ending::Torn { at } => at,
            _ => self.len,
        }
    }

    /// Whether decoding can start at its first picture.
    pub fn starts_with_sync(&self) -> bool {
        self.index.entries().first().is_some_and(|entry| entry.sync)
    }

    /// When its last picture ends, for a first one at `start`: never later than it really did.
    pub fn end_of(&self, start: WallTime) -> WallTime {
        start + time_of(self.index.end_ticks())
    }
}

/// The earliest time that is written into files as so many ticks. What follows began no earlier, whereas a time to the
/// nearest microsecond may lie past it.
pub fn time_of(ticks: u64) -> Micros {
    let doubled = i128::from(ticks) * 2 - 1;
    let scale = i128::from(VIDEO_TIMESCALE) * 2;
    let micros = (doubled * 1_000_000 + scale - 1).div_euclid(scale);
    Micros(i64::try_from(micros.max(0)).unwrap_or(i64::MAX))
}

/// Reads what a file holds.
///
/// # Errors
/// It cannot be read, which says nothing about its content.
pub fn examine(file: &dyn DiskFile, effort: Effort) -> io::Result<Examined> {
    let len = file.len()?;
    if len == 0 {
        return Ok(Examined::Empty);
    }
    if effort == Effort::TableAlone
        && let Some(footage) = glance(file, len)?
    {
        return Ok(Examined::Footage(Box::new(footage)));
    }
    let scanned = match scan(file) {
        Ok(scanned) => scanned,
        Err(Error::Io(error)) => return Err(error),
        Err(error) => return Ok(Examined::Unknown(error.to_string())),
    };
    let (table, ending) = match scanned.tail {
        Tail::Clean => (scanned.table, Ending::Open),
        Tail::Sealed(_) => (scanned.table, Ending::Sealed),
        Tail::Torn => match whole_table(file, &scanned.init)? {
            Some(table) => {
                let at = first_difference(&table, &scanned.table, scanned.end);
                (table, Ending::SealedOverDamage { at })
            }
            None => {
                let ending = torn(file, &scanned.init, scanned.end, len)?;
                (scanned.table, ending)
            }
        },
    };
    Ok(footage(len, &scanned.init, &table, ending))
}

/// What the table at the end says; `None` when there is none.
fn glance(file: &dyn DiskFile, len: u64) -> io::Result<Option<Footage>> {
    let init = match InitInfo::read(file) {
        Ok(init) => init,
        Err(Error::Io(error)) => return Err(error),
        Err(_) => return Ok(None),
    };
    let Some(table) = whole_table(file, &init)? else { return Ok(None) };
    match footage(len, &init, &table, Ending::Sealed) {
        Examined::Footage(footage) => Ok(Some(*footage)),
        _ => Ok(None),
    }
}

/// The sample table at the end of a file, if it is whole and that of this file.
fn whole_table(file: &dyn DiskFile, init: &InitInfo) -> io::Result<Option<SampleTable>> {
    match read_sample_table(file) {
        Ok(table) => {
            // A table tells nothing of the presentation delay, which is the init segment's alone.
            let same = |(ours, theirs): (&TrackEntry, &TrackEntry)| {
                (ours.id, ours.timescale, &ours.entry) == (theirs.id, theirs.timescale, &theirs.entry)
            };
            let entries = table.entries();
            let fits = entries.len() == init.tracks.len()
                && entries.iter().zip(&init.tracks).all(same)
                && table.fragments().first().is_some_and(|first| first.offset == init.len);
            Ok(Some(table).filter(|_| fits))
        }
        Err(Error::Io(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Where the fragments of a file begin to differ from its table.
fn first_difference(table: &SampleTable, scanned: &SampleTable, scanned_end: u64) -> u64 {
    let runs = |table: &SampleTable, number: usize| -> Vec<_> {
        let track = |track: &heldar_bmff::TrackTable| {
            track.run(number).map(|run| (*run, track.run_samples(run).to_vec()))
        };
        table.tracks().iter().map(track).collect()
    };
    let pairs = table.fragments().iter().zip(scanned.fragments()).enumerate();
    let differs = |(number, (ours, theirs)): &(usize, (_, _))| {
        ours != theirs || runs(table, *number) != runs(scanned, *number)
    };
    pairs.into_iter().find(differs).map_or(scanned_end, |(_, (ours, _))| ours.offset)
}

/// What lies behind the last whole fragment of a file without a sample table.
fn torn(file: &dyn DiskFile, init: &InitInfo, at: u64, len: u64) -> io::Result<Ending> {
    match next_whole_fragment(file, init, at) {
        Ok(Some(resumes)) => return Ok(Ending::Broken { at, resumes }),
        Ok(None) => {}
        Err(Error::Io(error)) => return Err(error),
        // Nothing else is looked for there.
        Err(_) => {}
    }
    let mut header = [0; 8];
    let read = file.read_at(&mut header, at)?;
    let size = header.first_chunk::<4>().map_or(0, |size| u64::from(u32::from_be_bytes(*size)));
    let whole_box = read == header.len() && header.ends_with(b"uuid") && size == len - at;
    Ok(if whole_box { Ending::TableUnreadable { at } } else { Ending::Torn { at } })
}

fn footage(len: u64, init: &InitInfo, table: &SampleTable, ending: Ending) -> Examined {
    let (index, holes) = match layout_of(table) {
        Ok((index, holes)) if !index.entries().is_empty() => (index, holes),
        Ok(_) => return Examined::NoFootage,
        Err(error) => return Examined::Unknown(error.to_string()),
    };
    let video = table.track(VIDEO_TRACK_ID);
    let decode_time = |number| Some(video?.run(number)?.base_decode_time);
    Examined::Footage(Box::new(Footage {
        len,
        decode_times: (0..index.entries().len()).map(decode_time).collect(),
        index,
        holes,
        tracks: tracks_of(table),
        wall_start: init.wall_start,
        ending,
    }))
}

/// The index as the muxer makes it, and the holes between fragments. In what the recorder writes, the pictures of a
/// fragment fill its time from the first decode time on, whenever the first of them is shown.
fn layout_of(table: &SampleTable) -> Result<(FragmentIndex, Vec<Range<u64>>), Error> {
    let video = table.track(VIDEO_TRACK_ID);
    let mut index = FragmentIndex::new();
    let mut holes = Vec::new();
    for (number, span) in table.fragments().iter().enumerate() {
        let before = index.end_ticks();
        let run = video.and_then(|video| Some((video, video.run(number)?)));
        let (start_ticks, length, sync) = match run {
            Some((video, run)) => {
                let samples = video.run_samples(run);
                let length = samples.iter().map(|sample| u64::from(sample.duration)).sum();
                (run.base_decode_time, length, samples.first().is_some_and(|sample| sample.sync))
            }
            None => (before, 0, false),
        };
        let entry = IndexEntry { offset: span.offset, start_ticks, sync };
        index.push(entry, span.end(), start_ticks.saturating_add(length))?;
        if number > 0 && start_ticks > before {
            holes.push(before..start_ticks);
        }
    }
    Ok((index, holes))
}

fn tracks_of(table: &SampleTable) -> Option<SegmentTracks> {
    let mut video = None;
    let mut audio = None;
    for track in table.tracks() {
        match track.params() {
            params @ TrackParams::Video(_) => video = Some(Arc::new(params.clone())),
            params @ TrackParams::Audio(_) => audio = Some(Arc::new(params.clone())),
        }
    }
    Some(SegmentTracks { video: video?, audio })
}

/// Reads what a file holds and cuts what an unfinished write left behind its last whole fragment, and after an outage of
/// the machine what it took. What is left is durable then, its name included. Answers with what it holds and how many bytes
/// were cut; `None` when it is absent.
///
/// # Errors
/// It cannot be read, cut or synced.
pub fn mend(disk: &dyn Disk, path: &str, outage: Outage) -> io::Result<Option<(Examined, u64)>> {
    let file = match disk.open(path, FileAccess::Repair) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        outcome => outcome?,
    };
    let mut examined = examine(&*file, Effort::EveryFragment)?;
    let Examined::Footage(footage) = &mut examined else { return Ok(Some((examined, 0))) };
    let mut cut = 0;
    if let Some(at) = end_of_whole(&*file, footage, outage)? {
        if footage.index.entries().first().is_none_or(|first| first.offset >= at) {
            return Ok(Some((Examined::NoFootage, 0)));
        }
        let before = footage.len;
        file.set_len(at)?;
        examined = examine(&*file, Effort::EveryFragment)?;
        cut = before - at;
        if let Examined::Footage(footage) = &examined {
            state_length(&*file, footage)?;
        }
    }
    file.sync_data()?;
    if let Some((folder, _)) = path.rsplit_once('/') {
        disk.sync_folder(folder)?;
    }
    Ok(Some((examined, cut)))
}

/// Where a file is to be cut.
fn end_of_whole(file: &dyn DiskFile, footage: &Footage, outage: Outage) -> io::Result<Option<u64>> {
    if outage == Outage::Machine
        && let Some(lost) = first_with_lost_page(file, &footage.index)?
    {
        return Ok(footage.index.entries().get(lost).map(|entry| entry.offset));
    }
    Ok(match footage.ending {
        Ending::Torn { at } => Some(at),
        _ => None,
    })
}

/// Says in the header of a file that was cut how long it is now.
fn state_length(file: &dyn DiskFile, footage: &Footage) -> io::Result<()> {
    let slot = match InitInfo::read(file) {
        Ok(init) => init.duration_slot,
        Err(Error::Io(error)) => return Err(error),
        Err(_) => None,
    };
    let Some(slot) = slot else { return Ok(()) };
    file.write_all_at(&mut [IoSlice::new(&duration_box(footage.index.end_ticks()))], slot)
}
