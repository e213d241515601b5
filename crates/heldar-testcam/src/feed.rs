//! One stream of a camera: tracks that loop, where in them the stream stands, and what goes wrong with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use heldar_base::{Micros, WallTime};
use heldar_rtsp::server::{InBandSets, Manners, Payload, SdpSets, Stream, Unit};

use crate::clip::ClipTrack;
use crate::fault::{Control, Effects};
use crate::log::{Sent, SentLog};
use crate::scene::{Numbers, Scene};
use crate::tricks::{Tricks, corrupt};

/// Most units that a burst gathers; a GOP of a minute.
const MAX_KEPT: usize = 8192;

/// Where a track stands.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    /// The sample that comes next.
    index: usize,
    /// How often the clip was finished.
    loops: u64,
    /// When the first sample of the first loop is due, in microseconds since the cameras started.
    origin_us: i64,
    /// RTP time of that.
    rtp_base: i64,
}

/// What a feed is made of.
#[derive(Debug)]
pub(crate) struct FeedParts {
    pub(crate) path: String,
    pub(crate) tracks: Vec<Arc<ClipTrack>>,
    pub(crate) manners: Manners,
    pub(crate) tricks: Tricks,
    pub(crate) control: Arc<Control>,
    /// How long the feed has looped already when it starts.
    pub(crate) phase: Micros,
    /// How many sent pictures it remembers.
    pub(crate) history: usize,
}

/// One stream of a camera.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) path: String,
    pub(crate) stream: Arc<Stream>,
    pub(crate) log: SentLog,
    /// What the pictures show, of the first clip and of its alternate.
    pub(crate) scenes: [Option<Scene>; 2],
    tracks: Vec<Arc<ClipTrack>>,
    cursors: Vec<Cursor>,
    /// Pictures of another size, for the change of parameters.
    alternate: Option<Arc<ClipTrack>>,
    shows_alternate: bool,
    manners: Manners,
    tricks: Tricks,
    control: Arc<Control>,
    applied: Effects,
    changes: u32,
    random: Numbers,
    serial: u64,
    last_rtp_time: u32,
    kept: Vec<(Unit, Option<Sent>)>,
    kept_since: Option<Instant>,
}

/// The instant at which something is sent, on all clocks that matter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// When it was due, in microseconds since the cameras started.
    pub(crate) due_us: i64,
    /// The same in UTC.
    pub(crate) due_wall: WallTime,
    /// UTC now.
    pub(crate) wall: WallTime,
    pub(crate) mono: Instant,
}

impl Feed {
    pub(crate) fn new(parts: FeedParts) -> Self {
        let FeedParts { path, tracks, manners, tricks, control, phase, history } = parts;
        let phase = phase.max(Micros::ZERO);
        let cursors = tracks.iter().map(|track| {
            let (loops, into) = (phase.0 / track.length().0, Micros(phase.0 % track.length().0));
            let ticks = into.to_ticks(track.track.timescale).max(0).unsigned_abs();
            let index = track.track.samples.partition_point(|sample| sample.decode_time < ticks);
            Cursor { index, loops: loops.unsigned_abs(), origin_us: -phase.0, rtp_base: 0 }
        });
        let formats = tracks.iter().map(|track| track.format().clone()).collect();
        let seed = path.bytes().fold(0u64, |seed, byte| seed.wrapping_mul(131).wrapping_add(u64::from(byte)));
        Feed {
            cursors: cursors.collect(),
            stream: Arc::new(Stream::new(formats, manners.clone())),
            log: SentLog::new(history),
            scenes: [tracks.iter().find_map(|track| track.scene), None],
            alternate: None,
            shows_alternate: false,
            applied: Effects::default(),
            changes: 0,
            random: Numbers(seed),
            serial: 0,
            last_rtp_time: 0,
            kept: Vec::new(),
            kept_since: None,
            path,
            tracks,
            manners,
            tricks,
            control,
        }
    }

    pub(crate) fn tracks(&self) -> &[Arc<ClipTrack>] {
        &self.tracks
    }

    pub(crate) fn video(&self) -> Option<&Arc<ClipTrack>> {
        self.tracks.iter().find(|track| track.format().is_video())
    }

    /// Query of the URL that is announced.
    pub(crate) fn query(&self) -> Option<&'static str> {
        self.tricks.query
    }

    pub(crate) fn has_alternate(&self) -> bool {
        self.alternate.is_some()
    }

    /// Gives it pictures to change to, unless it has some. They must be coded alike.
    pub(crate) fn set_alternate(&mut self, track: Arc<ClipTrack>) {
        if self.alternate.is_none() {
            self.scenes[1] = track.scene;
            self.alternate = Some(track);
        }
    }

    /// When the next sample of a track is due, in microseconds since the cameras started; `None` for a track that does not
    /// exist.
    pub(crate) fn due(&mut self, track: usize) -> Option<i64> {
        let (cursor, source) = (self.cursors.get_mut(track)?, self.tracks.get(track)?);
        if cursor.index >= source.track.samples.len() {
            cursor.index = 0;
            cursor.loops += 1;
        }
        Some(cursor.origin_us + source.decoded_us(cursor.loops, cursor.index)?)
    }

    /// Sends the next sample of a track, or does what a fault makes of it.
    pub(crate) fn send(&mut self, track: usize, moment: &Moment) {
        let effects = self.control.effects(moment.mono);
        self.apply(effects);
        self.change_parameters(track, effects.changes);
        let Some((unit, sent)) = self.next_unit(track, moment, effects) else { return };
        let is_video = sent.is_some();
        if effects.stalled || (!is_video && !self.tricks.sounds(moment.due_us)) {
            return;
        }
        if let Some(gather) = effects.burst {
            let full = match (gather, self.kept_since) {
                (Duration::ZERO, _) => is_video && unit.sync,
                (gather, Some(since)) => moment.mono.saturating_duration_since(since) >= gather,
                (_, None) => false,
            };
            if full || self.kept.len() >= MAX_KEPT {
                self.release(moment.wall);
            }
            self.kept_since.get_or_insert(moment.mono);
            self.kept.push((unit, sent));
            return;
        }
        self.release(moment.wall);
        self.publish(&unit, sent, moment.wall);
    }

    /// Goes on without the next sample of a track.
    pub(crate) fn leave_out(&mut self, track: usize) {
        if let Some(cursor) = self.cursors.get_mut(track) {
            cursor.index += 1;
        }
    }

    /// Does what faults ask for that can't wait for the next sample.
    pub(crate) fn refresh(&mut self, now: Instant) {
        let effects = self.control.effects(now);
        self.apply(effects);
    }

    /// Sends what a burst has gathered.
    fn release(&mut self, now: WallTime) {
        self.kept_since = None;
        for (unit, sent) in std::mem::take(&mut self.kept) {
            self.publish(&unit, sent, now);
        }
    }

    fn publish(&mut self, unit: &Unit, sent: Option<Sent>, now: WallTime) {
        self.stream.publish(unit);
        if let Some(sent) = sent {
            self.log.add(Sent { at: now, ..sent });
            if self.tricks.empty_packets {
                let payload = Payload::Packets(vec![bytes::Bytes::new()]);
                self.stream.publish(&Unit { payload, sync: false, ..unit.clone() });
            }
        }
    }

    /// Does what has changed since the last unit.
    fn apply(&mut self, effects: Effects) {
        if effects.drops != self.applied.drops {
            self.stream.disconnect_all();
        }
        let before = (self.applied.no_params, self.applied.start_delay);
        if (effects.no_params, effects.start_delay) != before {
            let mut manners = self.manners.clone();
            manners.start_delay = manners.start_delay.max(effects.start_delay);
            if effects.no_params {
                manners.sdp_sets = SdpSets::Omitted;
                manners.in_band_sets = InBandSets::EverySync;
            }
            self.stream.set_manners(manners);
        }
        self.applied = effects;
    }

    /// Goes over to the other pictures when that was asked for and a sync sample is next. RTP times go on.
    fn change_parameters(&mut self, track: usize, changes: u32) {
        let (Some(source), Some(cursor)) = (self.tracks.get_mut(track), self.cursors.get_mut(track)) else {
            return;
        };
        let next = source.sample(cursor.index);
        if changes == self.changes || !source.format().is_video() || !next.is_some_and(|sample| sample.sync) {
            return;
        }
        let Some(alternate) = &mut self.alternate else { return };
        // From the last sync sample at or before the same place of the other clip, so that picture numbers go on where both
        // clips are alike.
        let into = source.decoded_us(0, cursor.index).unwrap_or(0) % alternate.length().0;
        let is_before = |index: &usize| {
            alternate.sample(*index).is_some_and(|sample| sample.sync)
                && alternate.decoded_us(0, *index).is_some_and(|at| at <= into)
        };
        let index = (0..alternate.track.samples.len()).rev().find(is_before).unwrap_or(0);
        let position = |clip: &ClipTrack, loops, index| {
            Some((clip.decoded_us(loops, index)?, clip.presented_ticks(loops, index)?))
        };
        let old = position(source, cursor.loops, cursor.index);
        let new = position(alternate, cursor.loops, index);
        let (Some((old_us, old_ticks)), Some((new_us, new_ticks))) = (old, new) else { return };
        cursor.origin_us += old_us - new_us;
        cursor.rtp_base += old_ticks - new_ticks;
        cursor.index = index;
        std::mem::swap(source, alternate);
        self.stream.set_format(track, source.format().clone());
        // Whoever watches learns the new sets from the stream alone.
        let mut manners = (*self.stream.manners()).clone();
        manners.in_band_sets = InBandSets::EverySync;
        self.manners.in_band_sets = InBandSets::EverySync;
        self.stream.set_manners(manners);
        self.shows_alternate = !self.shows_alternate;
        self.changes = changes;
    }

    /// The next sample of a track as a unit, and for pictures what the log says about it.
    fn next_unit(&mut self, track: usize, moment: &Moment, effects: Effects) -> Option<(Unit, Option<Sent>)> {
        let (source, cursor) = (self.tracks.get(track)?, self.cursors.get_mut(track)?);
        let Cursor { index, loops, rtp_base, .. } = *cursor;
        cursor.index += 1;
        let sample = source.sample(index)?;
        let is_video = source.format().is_video();
        let rate = source.format().clock_rate();
        let ticks = rtp_base + source.presented_ticks(loops, index)?;
        let lag =
            Micros::from_ticks(source.reorder_ticks - sample.composition_offset, source.track.timescale);
        let mut shift_us = effects.time_shift_us;
        if is_video {
            self.serial += 1;
            shift_us += self.tricks.time_offset_us(self.serial);
        }
        // RTP time wraps.
        let mut rtp_time = ticks.wrapping_add(Micros(shift_us).to_ticks(rate)) as u32;
        let mut payload = sample.payload.clone();
        if is_video {
            let every = self.tricks.repeat_time_every;
            if every > 0 && self.serial.is_multiple_of(every) {
                rtp_time = self.last_rtp_time;
            }
            self.last_rtp_time = rtp_time;
            if effects.corrupt_per_mille > 0 && self.random.below(1000) < u64::from(effects.corrupt_per_mille)
            {
                payload = corrupt(&payload, &mut self.random);
            }
        }
        let payload =
            if is_video { self.tricks.payload(source.format(), payload) } else { Payload::Frame(payload) };
        let unit = Unit { track, captured_at: moment.due_wall - lag, rtp_time, sync: sample.sync, payload };
        let sent = is_video.then(|| Sent {
            number: source.numbers.get(index).copied().unwrap_or(0),
            loops: loops as u32,
            alternate: self.shows_alternate,
            at: moment.wall,
        });
        Some((unit, sent))
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
