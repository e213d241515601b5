//! The clock of one track: RTP time to monotonic time, and the order of what was placed.
//!
//! Invariant: within a run, times of capture have the order of RTP times inside an epoch (between jumps of the camera's
//! clock), every epoch lies after the one before it, and no two times are nearer than one tick of the track.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use heldar_base::{Micros, MonoTime, WallTime};

use super::line::SlewLine;
use super::window::DelayWindow;
use super::{Reading, wall::WallLine};

/// An RTP time that leaves arrival behind by more than this at once is a jump of the camera's clock. Less than what makes a
/// hole in footage (2 s), so that no jump is taken for one.
const JUMP_US: i64 = 1_000_000;

/// Farthest that reordering may reach back: beyond, it is a jump whatever the reorder depth allows.
const REORDER_US: i64 = 10_000_000;

/// Longest time that is given to a picture whose timestamp does not advance.
const LONGEST_STEP_US: i64 = 1_000_000;

/// Pictures whose place is remembered; more than any stream may reorder (16).
const PLACED: usize = 32;

/// A run is young for so long: its smallest delay is still being found, and tracks being aligned.
const SETTLING: Micros = Micros::from_secs(30);

/// Age past which a sender report says nothing any more.
const REPORT_AGE: Micros = Micros::from_secs(60);

/// Clock of one track.
#[derive(Clone, Debug)]
pub(super) struct TrackClock {
    clock_rate: NonZeroU32,
    /// RTP time that is zero on the track's own scale.
    origin: i64,
    anchored_at: MonoTime,
    line: SlewLine,
    window: DelayWindow,
    front: Front,
    /// Newest pictures of this epoch, by RTP time.
    placed: VecDeque<Placed>,
    /// Everything is placed after this: the newest that is no longer remembered.
    floor: Option<WallTime>,
    report: Option<Report>,
    jumps: u64,
}

/// The picture with the latest capture time.
#[derive(Clone, Copy, Debug)]
struct Front {
    rtp_time: i64,
    /// Its RTP time on the track's own scale, in microseconds.
    x: i64,
    mono: i64,
    wall: WallTime,
    arrival: MonoTime,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    rtp_time: i64,
    wall: WallTime,
}

/// Newest sender report: the sender's clock less the track's own scale.
#[derive(Clone, Copy, Debug)]
struct Report {
    offset: i64,
    arrival: MonoTime,
}

/// How a picture relates to those before it.
enum Step {
    Rises,
    Repeats,
    /// Within the reorder depth.
    Reordered,
    /// Back by little in a stream that does not reorder.
    Stumbles,
    Jumps,
}

impl TrackClock {
    /// Anchors the first picture at a monotonic time.
    pub(super) fn start(reading: &Reading, mono: i64, wall_line: &mut WallLine) -> (Self, WallTime) {
        let wall = wall_line.map(mono, reading);
        let mut window = DelayWindow::default();
        window.push(reading.arrival, reading.arrival.0);
        let front = Front { rtp_time: reading.rtp_time, x: 0, mono, wall, arrival: reading.arrival };
        let clock = TrackClock {
            clock_rate: reading.clock_rate,
            origin: reading.rtp_time,
            anchored_at: reading.arrival,
            line: SlewLine::through(0, mono),
            window,
            front,
            placed: VecDeque::from([Placed { rtp_time: reading.rtp_time, wall }]),
            floor: None,
            report: None,
            jumps: 0,
        };
        (clock, wall)
    }

    /// Jumps of the camera's clock so far.
    pub(super) fn jumps(&self) -> u64 {
        self.jumps
    }

    /// Notes a sender report.
    pub(super) fn report(&mut self, rtp_time: i64, sent_at: WallTime, arrival: MonoTime) {
        let offset = sent_at.0.saturating_sub(self.scale(rtp_time));
        self.report = Some(Report { offset, arrival });
    }

    /// Monotonic time less the sender's clock, by the smallest delay of this track; `None` without a fresh report.
    pub(super) fn sender_delay(&self, now: MonoTime) -> Option<i64> {
        let report = self.report.filter(|r| now - r.arrival <= REPORT_AGE)?;
        Some(self.window.min()?.saturating_sub(report.offset))
    }

    /// Notes a delay that was measured before the first picture was placed: when, and how long against its RTP time.
    pub(super) fn note_delay(&mut self, (arrival, delay): (MonoTime, i64)) {
        self.window.push(arrival, delay);
    }

    /// Notes the delay of a picture before the common alignment is computed. One that is wrong because the camera's clock
    /// jumped is forgotten with all others when it is placed.
    pub(super) fn note_arrival(&mut self, reading: &Reading) {
        let delay = reading.arrival.0.saturating_sub(self.scale(reading.rtp_time));
        self.window.push(reading.arrival, delay);
    }

    /// Time of capture of the next picture or frame. `common` is the smallest delay over all tracks against the sender's
    /// clock, where the reports agree.
    pub(super) fn place(
        &mut self,
        reading: &Reading,
        common: Option<i64>,
        wall_line: &mut WallLine,
    ) -> WallTime {
        match self.step(reading) {
            Step::Rises => {
                let x = self.scale(reading.rtp_time);
                let mono = self.rise(x, reading.arrival, common);
                self.put_in_front(reading.rtp_time, x, mono, reading, wall_line)
            }
            Step::Repeats | Step::Stumbles => {
                let elapsed = (reading.arrival - self.front.arrival).0;
                let step = elapsed.clamp(self.spacing().0, LONGEST_STEP_US.max(self.spacing().0));
                let mono = self.front.mono.saturating_add(step);
                self.put_in_front(self.front.rtp_time, self.front.x, mono, reading, wall_line)
            }
            Step::Reordered => match self.between(reading, wall_line) {
                Some(wall) => wall,
                None => self.anchor_anew(reading, wall_line),
            },
            Step::Jumps => self.anchor_anew(reading, wall_line),
        }
    }

    fn step(&self, reading: &Reading) -> Step {
        if reading.clock_rate != self.clock_rate {
            return Step::Jumps;
        }
        let x = self.scale(reading.rtp_time);
        let advance = x.saturating_sub(self.front.x);
        match reading.rtp_time.cmp(&self.front.rtp_time) {
            std::cmp::Ordering::Greater => {
                let leap = advance.saturating_sub((reading.arrival - self.front.arrival).0);
                let ahead = self.line.at(x).saturating_sub(reading.arrival.0);
                if leap > JUMP_US && ahead > JUMP_US { Step::Jumps } else { Step::Rises }
            }
            std::cmp::Ordering::Equal => Step::Repeats,
            std::cmp::Ordering::Less => {
                let later = self.placed.iter().filter(|p| p.rtp_time > reading.rtp_time).count();
                if later <= usize::from(reading.reorder_depth) && advance >= -REORDER_US {
                    Step::Reordered
                } else if reading.reorder_depth == 0 && advance >= -JUMP_US {
                    Step::Stumbles
                } else {
                    Step::Jumps
                }
            }
        }
    }

    /// Monotonic time of a picture after all before it.
    fn rise(&mut self, x: i64, arrival: MonoTime, common: Option<i64>) -> i64 {
        let by_arrival = self.window.min().unwrap_or(self.line.offset());
        let wanted = match (common, self.report) {
            (Some(common), Some(report)) => common.saturating_add(report.offset),
            _ => by_arrival,
        };
        let young = arrival - self.anchored_at < SETTLING;
        self.line.advance(x, wanted, |error| slew_ppm(error, young));
        let natural = self.line.at(x);
        let earliest = self.front.mono.saturating_add(self.spacing().0);
        if natural >= earliest {
            return natural;
        }
        // Pictures with repeated timestamps were given times ahead of the line. A little is waited for at half speed; more
        // means that the camera's clock stood still, and the line goes on from where time is.
        let advance = x.saturating_sub(self.front.x);
        if self.front.mono.saturating_sub(natural) <= LONGEST_STEP_US {
            earliest.max(self.front.mono.saturating_add(advance / 2))
        } else {
            let mono = earliest.max(self.front.mono.saturating_add(advance));
            self.line = SlewLine::through(x, mono);
            mono
        }
    }

    fn put_in_front(
        &mut self,
        rtp_time: i64,
        x: i64,
        mono: i64,
        reading: &Reading,
        wall_line: &mut WallLine,
    ) -> WallTime {
        let wall = wall_line.map(mono, reading).max(self.front.wall + self.spacing());
        self.front = Front { rtp_time, x, mono, wall, arrival: reading.arrival };
        self.remember(self.placed.len(), Placed { rtp_time, wall });
        wall
    }

    /// Time of a picture between others; `None` when there is no room for it.
    fn between(&mut self, reading: &Reading, wall_line: &WallLine) -> Option<WallTime> {
        let at = self.placed.partition_point(|p| p.rtp_time <= reading.rtp_time);
        let before = at.checked_sub(1).and_then(|b| self.placed.get(b)).map(|p| p.wall).or(self.floor);
        let after = self.placed.get(at)?.wall;
        let natural = wall_line.at(self.line.at(self.scale(reading.rtp_time)));
        let latest = after - self.spacing();
        let wall = match before.map(|b| b + self.spacing()) {
            Some(earliest) if earliest > latest => return None,
            Some(earliest) if !(earliest..=latest).contains(&natural) => {
                earliest + Micros((latest - earliest).0 / 2)
            }
            _ => natural.min(latest),
        };
        self.remember(at, Placed { rtp_time: reading.rtp_time, wall });
        Some(wall)
    }

    fn remember(&mut self, at: usize, placed: Placed) {
        self.placed.insert(at, placed);
        if self.placed.len() > PLACED {
            self.floor = self.placed.pop_front().map(|p| p.wall);
        }
    }

    /// Starts a new epoch: the picture is placed at its arrival, or right after the newest where time is ahead of that.
    fn anchor_anew(&mut self, reading: &Reading, wall_line: &mut WallLine) -> WallTime {
        self.jumps = self.jumps.saturating_add(1);
        self.clock_rate = reading.clock_rate;
        self.origin = reading.rtp_time;
        self.anchored_at = reading.arrival;
        self.report = None;
        self.placed.clear();
        self.floor = Some(self.front.wall);
        let mono = reading.arrival.0.max(self.front.mono.saturating_add(self.spacing().0));
        self.line = SlewLine::through(0, mono);
        self.window.clear();
        self.window.push(reading.arrival, reading.arrival.0);
        self.put_in_front(reading.rtp_time, 0, mono, reading, wall_line)
    }

    /// An RTP time on the track's own scale, in microseconds.
    fn scale(&self, rtp_time: i64) -> i64 {
        Micros::from_ticks(rtp_time.saturating_sub(self.origin), self.clock_rate.get()).0
    }

    /// Least distance of two times of capture.
    fn spacing(&self) -> Micros {
        super::spacing(self.clock_rate)
    }
}

/// Speed at which an error of a track's offset is taken out: 500 ppm, which follows any quartz; ten times that while the
/// run is young; and more where a camera's rate is plainly wrong, so that its times stay near arrival. Time that is behind
/// may run at three times its speed, time that is ahead at half.
fn slew_ppm(error_us: i64, young: bool) -> i64 {
    let base = if young { 5_000 } else { 500 };
    let excess = error_us.saturating_abs().saturating_sub(100_000).max(0);
    let most = if error_us > 0 { 2_000_000 } else { 500_000 };
    base + (excess / 20).min(most - base)
}
