//! The audio track of the virtual file.
//!
//! Each frame is put where the pictures of its time are; frames of closed-up holes are left out. The track has one
//! edit, since ffmpeg drops frames at the start of any further one: between two pieces a frame lasts until the next one
//! starts, shorter or longer than it sounds.

use heldar_base::Micros;
use heldar_media::AudioCodec;

use super::{
    layout::{Edit, OutSample, OutTrack},
    select::SourceFile,
    video::Piece,
};
use crate::{sample::VIDEO_TIMESCALE, table::TrackTable};

/// Two pieces whose wall times lie no further apart are one run of sound. Files of one run follow each other exactly;
/// what remains is rounding and the slewing of a fragment's last duration.
const JOINT: Micros = Micros(10_000);
/// How far the sound of a file may reach past its pictures; it goes to the fragment that is open on arrival.
const OVERSHOOT_TICKS: i64 = VIDEO_TIMESCALE as i64;
/// Opus converges within 80 ms (RFC 7845 4.6).
const OPUS_PRE_ROLL: i64 = 3840;

/// One audio frame of a recorded file.
struct Frame {
    /// In ticks of its track.
    start: i64,
    duration: u32,
    offset: u64,
    size: u32,
}

/// The audio track for these pieces of video; `None` when none of them has sound.
pub(super) fn audio_track(
    sources: &[SourceFile<'_>],
    pieces: &[Piece],
    shown_ticks: i64,
) -> Option<OutTrack> {
    let mut builder: Option<Builder> = None;
    let mut frames: (Option<usize>, Vec<Frame>) = (None, Vec::new());
    for (at, piece) in pieces.iter().enumerate() {
        let Some(table) = sources.get(piece.source).and_then(audio_of) else {
            continue;
        };
        if frames.0 != Some(piece.source) {
            frames.0 = Some(piece.source);
            read_frames(table, &mut frames.1);
        }
        let wanted = Wanted {
            start: if at == 0 {
                Start::WithPreRoll
            } else if joined(&pieces[at - 1], piece) {
                Start::FromFirst
            } else {
                Start::Exact
            },
            overshoot: pieces.get(at + 1).is_some_and(|next| joined(piece, next)),
        };
        let heard = wanted.of(piece, table, &frames.1);
        if !heard.is_empty() {
            builder.get_or_insert_with(|| Builder { track: OutTrack::new(table) }).piece(piece, table, heard);
        }
    }
    builder?.finish(shown_ticks)
}

fn audio_of<'a>(source: &SourceFile<'a>) -> Option<&'a TrackTable> {
    source.table.tracks().iter().find(|t| t.params().audio().is_some())
}

/// Whether sound runs on from one piece to the next, in another file.
fn joined(before: &Piece, after: &Piece) -> bool {
    before.source != after.source && (after.wall.start - before.wall.end).abs() <= JOINT
}

/// All frames of a track, in a buffer that is used for one file after the other.
fn read_frames(track: &TrackTable, frames: &mut Vec<Frame>) {
    frames.clear();
    frames.reserve(track.samples().len());
    for run in track.runs() {
        let mut start = run.base_decode_time as i64;
        let mut offset = run.data_offset;
        for sample in track.run_samples(run) {
            frames.push(Frame { start, duration: sample.duration, offset, size: sample.size });
            start += i64::from(sample.duration);
            offset += u64::from(sample.size);
        }
    }
}

/// Which frames at the edges of a piece are wanted.
struct Wanted {
    start: Start,
    /// Those past its end too, as they lie in this file though pictures of the next are shown with them.
    overshoot: bool,
}

enum Start {
    /// Also the one that sounds at the start, and those that the decoder needs before it.
    WithPreRoll,
    /// All from the start of the file on: they continue those of the file before.
    FromFirst,
    /// Those that start in the piece.
    Exact,
}

impl Wanted {
    /// Those of all frames of a file that are wanted for a piece of it.
    fn of<'f>(&self, piece: &Piece, table: &TrackTable, frames: &'f [Frame]) -> &'f [Frame] {
        let own = table.entry().timescale;
        let start = rescale(piece.start, VIDEO_TIMESCALE, own);
        let mut first = match self.start {
            Start::FromFirst => 0,
            Start::Exact | Start::WithPreRoll => frames.partition_point(|f| f.start < start),
        };
        if matches!(self.start, Start::WithPreRoll) {
            let needed_from = start - pre_roll(table);
            while first > 0 && frames[first - 1].start + i64::from(frames[first - 1].duration) > needed_from {
                first -= 1;
            }
        }
        let stop = piece.end + if self.overshoot { OVERSHOOT_TICKS } else { 0 };
        let stop = rescale(stop, VIDEO_TIMESCALE, own);
        let count = frames[first..].iter().take_while(|f| f.start < stop).count();
        &frames[first..first + count]
    }
}

/// The track while it grows. Presentation times of its samples count from the start of the movie until `finish`.
struct Builder {
    track: OutTrack,
}

/// `ticks * to / from`, rounded down.
fn rescale(ticks: i64, from: u32, to: u32) -> i64 {
    if from == to {
        return ticks;
    }
    let scaled = (i128::from(ticks) * i128::from(to)).div_euclid(i128::from(from.max(1)));
    i64::try_from(scaled).unwrap_or(if ticks < 0 { i64::MIN / 4 } else { i64::MAX / 4 })
}

impl Builder {
    fn piece(&mut self, piece: &Piece, table: &TrackTable, frames: &[Frame]) {
        let own = table.entry().timescale;
        let to = self.track.timescale;
        let entry = self.track.entry_number(table);
        // By how much the piece moves in the virtual track.
        let shift =
            rescale(piece.media_start, VIDEO_TIMESCALE, to) - rescale(piece.start, VIDEO_TIMESCALE, to);
        for frame in frames {
            let start = rescale(frame.start, own, to) + shift;
            let duration = rescale(i64::from(frame.duration), own, to).max(1);
            if let Some(last) = self.track.samples.last_mut() {
                // More than half of it would sound at the same time as the one before.
                if start <= last.start + i64::from(last.duration / 2) {
                    continue;
                }
                last.duration = field(start - last.start);
            }
            let sample = OutSample { size: frame.size, duration: field(duration), start, sync: true };
            self.track.push(piece.source, entry, frame.offset, sample);
        }
    }

    fn finish(mut self, shown_ticks: i64) -> Option<OutTrack> {
        let track = &mut self.track;
        let end = rescale(shown_ticks, VIDEO_TIMESCALE, track.timescale);
        while track.samples.last().is_some_and(|s| s.start >= end) {
            track.pop();
        }
        let last = track.samples.last_mut()?;
        last.duration = last.duration.min(field(end - last.start));
        let sound_end = last.start + i64::from(last.duration);
        let sound_end = rescale(sound_end, track.timescale, VIDEO_TIMESCALE).min(shown_ticks);
        let origin = track.samples.first().map_or(0, |s| s.start);
        let late = rescale(origin.max(0), track.timescale, VIDEO_TIMESCALE);
        if late > 0 {
            track.edits.push(Edit { duration: late, media_time: None });
        }
        let media_time = Some((-origin).max(0));
        track.edits.push(Edit { duration: (sound_end - late).max(1), media_time });
        for sample in &mut track.samples {
            sample.start -= origin;
        }
        Some(self.track)
    }
}

/// A duration as it stands in a sample table. Silence of more than a day is cut short.
fn field(duration: i64) -> u32 {
    u32::try_from(duration.max(1)).unwrap_or(u32::MAX)
}

/// How much before its first audible sample a decoder has to start, in ticks of the track.
fn pre_roll(table: &TrackTable) -> i64 {
    match table.params().audio() {
        Some(audio) if audio.codec == AudioCodec::Opus => OPUS_PRE_ROLL,
        // The overlap of the transform reaches back one frame (ISO/IEC 14496-3 4.6.11).
        Some(audio) => i64::from(audio.frame_samples),
        None => 0,
    }
}
