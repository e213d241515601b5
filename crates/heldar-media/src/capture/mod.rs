//! The capture clock of a run: when each picture and frame was captured, in UTC.
//!
//! RTP time is mapped to the host's monotonic clock by the smallest delay of arrival, and that to UTC by the host's clock,
//! both slewed, never stepped. Pure: the readings of the clocks are inputs.
//!
//! Rules, per track:
//! 1. Times rise strictly in presentation order, by at least [`spacing`], whatever host clock and camera do.
//! 2. A camera's quartz is followed at up to 500 ppm; larger errors (a young run, a plainly wrong rate) faster.
//! 3. An RTP time that is far from what arrival allows starts anew at arrival; time does not run back for it.
//! 4. Host clock errors up to 10 s are slewed at 500 ppm. A larger forward step ends the run. After a larger backward step
//!    the run keeps its own time, slewed at 5 %.
//! 5. Two tracks are aligned by sender reports while these agree with arrival within 500 ms.
//! 6. A run starts where its first moments will have it: what was expected before the first picture was placed counts, so
//!    that a late first picture, or pictures that come faster than they were captured, need no correction.

mod early;
mod line;
mod track;
mod wall;
mod window;

use std::num::NonZeroU32;

use heldar_base::{Micros, MonoTime, WallTime};

use crate::TrackKind;
use early::Early;
use track::TrackClock;
use wall::WallLine;

/// Sender reports that differ from arrival by more than this are not believed.
const REPORT_AGREEMENT_US: i64 = 500_000;

/// Least distance between two times of capture of a track: one tick of its RTP clock, rounded up to microseconds. Rounded
/// to ticks of that rate they are therefore distinct too.
pub fn spacing(clock_rate: NonZeroU32) -> Micros {
    Micros(i64::from(1_000_000u32.div_ceil(clock_rate.get())))
}

/// What is known when a picture or audio frame has arrived.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// RTP time, unrolled.
    pub rtp_time: i64,
    /// Ticks of RTP time per second.
    pub clock_rate: NonZeroU32,
    /// How many pictures decoded before this one may be presented after it: 0 for audio, for closed sync samples and for
    /// streams that do not reorder; see [`crate::ParamTracker::reorder_tolerance`].
    pub reorder_depth: u8,
    /// When its last byte arrived.
    pub arrival: MonoTime,
    /// What the host's UTC clock showed at that moment.
    pub wall: WallTime,
}

impl Reading {
    fn host_offset(&self) -> i64 {
        self.wall.0.saturating_sub(self.arrival.0)
    }
}

/// The host's clock stepped forward by more than is slewed: the run must end, and the next begin with a new clock. The time
/// between them is a gap with detail `clock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host's clock stepped forward by {} s", by.as_secs_f64())]
pub struct ClockStep {
    /// Host's clock less the time of the run.
    pub by: Micros,
}

/// Tells when pictures and frames of one run were captured.
#[derive(Clone, Debug, Default)]
pub struct CaptureClock {
    wall: Option<WallLine>,
    video: Option<TrackClock>,
    audio: Option<TrackClock>,
    early_video: Option<Early>,
    early_audio: Option<Early>,
    /// No track starts before this, where its first reading arrived later.
    not_before: Option<WallTime>,
}

impl CaptureClock {
    /// Starts a run: the first reading of each track is anchored at its arrival, or earlier where readings that were
    /// expected ask for it.
    pub fn new() -> Self {
        CaptureClock::default()
    }

    /// As [`CaptureClock::new`]; footage up to `end` exists, and pictures that arrive later were not captured before it.
    pub fn after(end: WallTime) -> Self {
        CaptureClock { not_before: Some(end), ..CaptureClock::default() }
    }

    /// Notes a reading that will be observed later, before the track's first one is. Ignored once the track has begun.
    pub fn expect(&mut self, track: TrackKind, reading: &Reading) {
        if self.slot(track).is_some() {
            return;
        }
        match self.early(track) {
            Some(early) => early.note(reading),
            none => *none = Some(Early::new(reading)),
        }
    }

    /// Notes a sender report as [`CaptureClock::expect`] notes a reading.
    pub fn expect_report(&mut self, track: TrackKind, rtp_time: i64, sent_at: WallTime) {
        if let Some(early) = self.early(track) {
            early.report(rtp_time, sent_at);
        }
    }

    /// Time of capture of the next picture or frame of a track, in order of arrival.
    ///
    /// # Errors
    /// [`ClockStep`]; nothing is changed by such a reading.
    pub fn observe(&mut self, track: TrackKind, reading: &Reading) -> Result<WallTime, ClockStep> {
        let mut wall = match self.wall.take() {
            Some(wall) => wall,
            None => WallLine::start(reading),
        };
        let by = wall.error(reading);
        if by > wall::LARGEST_ERROR {
            self.wall = Some(wall);
            return Err(ClockStep { by });
        }
        wall.note(reading);
        let captured_at = self.place(track, reading, &mut wall);
        self.wall = Some(wall);
        Ok(captured_at)
    }

    fn place(&mut self, track: TrackKind, reading: &Reading, wall: &mut WallLine) -> WallTime {
        if let Some(clock) = self.slot(track) {
            clock.note_arrival(reading);
        }
        let common = self.common_delay(reading.arrival);
        if let Some(clock) = self.slot(track) {
            return clock.place(reading, common, wall);
        }
        let (own, other) = match track {
            TrackKind::Video => (&self.early_video, &self.early_audio),
            TrackKind::Audio => (&self.early_audio, &self.early_video),
        };
        let earliest = self.not_before.map_or(i64::MIN, |end| end.0.saturating_sub(reading.host_offset()));
        let anchor = own.as_ref().and_then(|early| early.anchor(reading.rtp_time, other.as_ref()));
        let anchor = anchor.map_or(reading.arrival.0, |anchor| anchor.max(earliest).min(reading.arrival.0));
        let (mut clock, captured_at) = TrackClock::start(reading, anchor, wall);
        if let Some(early) = own {
            early.delays(reading.rtp_time).for_each(|delay| clock.note_delay(delay));
            early.newest_report().into_iter().for_each(|(rtp, at)| clock.report(rtp, at, reading.arrival));
        }
        *self.slot(track) = Some(clock);
        captured_at
    }

    /// Takes a sender report (RFC 3550 6.4.1): the sender's clock at an RTP time of the track, unrolled. The sender's clock
    /// need not be right; only what it says of two tracks together is used. Ignored before the track's first reading.
    pub fn sender_report(&mut self, track: TrackKind, rtp_time: i64, sent_at: WallTime, arrival: MonoTime) {
        if let Some(clock) = self.slot(track) {
            clock.report(rtp_time, sent_at, arrival);
        }
    }

    /// Time of this run less the host's clock, at the newest reading: near zero except after a large backward step.
    pub fn clock_offset(&self) -> Micros {
        self.wall.as_ref().map_or(Micros::ZERO, WallLine::ahead_of_host)
    }

    /// Jumps of the camera's clock so far, over all tracks.
    pub fn jumps(&self) -> u64 {
        [&self.video, &self.audio].into_iter().flatten().map(TrackClock::jumps).sum()
    }

    fn slot(&mut self, track: TrackKind) -> &mut Option<TrackClock> {
        match track {
            TrackKind::Video => &mut self.video,
            TrackKind::Audio => &mut self.audio,
        }
    }

    fn early(&mut self, track: TrackKind) -> &mut Option<Early> {
        match track {
            TrackKind::Video => &mut self.early_video,
            TrackKind::Audio => &mut self.early_audio,
        }
    }

    /// Monotonic time less the sender's clock, by the track that arrives with the smallest delay; `None` unless both tracks
    /// have reports that agree with their arrival.
    fn common_delay(&self, now: MonoTime) -> Option<i64> {
        let video = self.video.as_ref()?.sender_delay(now)?;
        let audio = self.audio.as_ref()?.sender_delay(now)?;
        let agree = video.saturating_sub(audio).saturating_abs() <= REPORT_AGREEMENT_US;
        agree.then(|| video.min(audio))
    }
}

#[cfg(test)]
mod tests;
