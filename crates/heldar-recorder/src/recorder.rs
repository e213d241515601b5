//! The recorder of one stream: pictures in, orders to the segment writer out.
//!
//! Owns: where fragments and segments begin and end, which pictures belong to which, what a picture's length is, the
//! holes inside a segment.
//!
//! Contract:
//! 1. Segments and fragments begin only where a picture is presented after all before it.
//! 2. Consecutive segments of a run share no picture and miss none.
//! 3. A segment begins with a sync sample, unless it is `dependent` on its predecessor.
//! 4. Orders of one serial come as `Begin`, `Append`*, `Seal`; intervals rise and never overlap.
//! 5. A picture lasts at most max(2 s, 3 usual intervals); what is longer is a hole with cause `stalled`.
//! 6. Audio never delays or drops a picture.
//! 7. What was wanted up to an instant ends with the first picture past it; wanted again with that very picture, it goes on
//!    there without a break.
//!
//! Never: builds bytes, touches a disk, reads a clock. Media time is that of the pictures.

use std::sync::Arc;

use bytes::Bytes;
use heldar_base::{Cause, EndReason, Interval, Micros, WallTime};
use heldar_media::{AccessUnit, SyncKind, TrackKind, TrackParams};

use crate::fragment::{AudioPlacer, Lead, Picture, shape_video};
use crate::order::{AudioPolicy, Order, RecorderConfig, SegmentTracks, Serial, Skipped, Want};
use crate::{Fragment, UsualInterval};

/// A fragment that begins with a sync sample is not cut again at those that follow it more closely than this part of the
/// fragment length: streams of sync samples alone would write one fragment per picture.
const SYNC_CUT_DIVISOR: i64 = 2;
/// Pictures beyond this size are refused; no camera sends one, and memory is shared.
const MAX_UNIT_BYTES: usize = 32 << 20;
/// Audio that arrives this much media time after a rotation still reaches the segment it belongs to.
const LATE_AUDIO: Micros = Micros::from_millis(500);
/// A track that has been silent this long ends the segment; the next one has no audio.
const AUDIO_GIVE_UP: Micros = Micros::from_secs(10);
/// Length of a stream's only picture.
const DEFAULT_INTERVAL: Micros = Micros::from_millis(40);

/// The recorder of one stream.
#[derive(Debug)]
pub struct Recorder {
    config: RecorderConfig,
    wanted: Want,
    /// Where recording ended in its time.
    left_off: Option<LeftOff>,
    next_serial: u64,
    usual: UsualInterval,
    /// Audio parameters of the run, known before its first frame.
    audio: Option<Arc<TrackParams>>,
    /// Coded silence for them.
    silence: Option<Bytes>,
    segment: Option<OpenSegment>,
    closing: Option<Closing>,
    /// Newest real audio frame, or when the run's first segment with audio began.
    last_audio: Option<WallTime>,
    /// Latest presentation time of the fragment before the open one.
    last_shown: Option<WallTime>,
    /// Nothing is recorded before this instant: footage up to it exists.
    floor: WallTime,
    first_of_run: bool,
    skipped: Skipped,
}

#[derive(Debug)]
struct OpenSegment {
    serial: Serial,
    start: WallTime,
    rotate_at: WallTime,
    force_at: WallTime,
    tracks: SegmentTracks,
    kind: StartKind,
    begun: bool,
    audio: Option<AudioPlacer>,
    /// The track set should change at the next sync sample.
    retrack: bool,
    fragment: OpenFragment,
    /// Hole before the open fragment.
    hole: Option<Interval>,
}

#[derive(Debug)]
struct OpenFragment {
    start: WallTime,
    pictures: Vec<Picture>,
    bytes: usize,
    /// Latest presentation time so far.
    newest: WallTime,
}

/// The picture past the end of what was wanted.
#[derive(Debug)]
struct LeftOff {
    at: WallTime,
    /// End of the footage before it.
    boundary: WallTime,
    params: Arc<TrackParams>,
}

/// A segment whose pictures are complete and whose last audio frames may still be on their way.
#[derive(Debug)]
struct Closing {
    segment: OpenSegment,
    boundary: WallTime,
    reason: EndReason,
}

impl Recorder {
    /// A recorder without a run.
    pub fn new(config: RecorderConfig) -> Self {
        Recorder {
            config,
            wanted: Want::Until(WallTime::FAR_FUTURE),
            left_off: None,
            next_serial: 1,
            usual: UsualInterval::new(),
            audio: None,
            silence: None,
            segment: None,
            closing: None,
            last_audio: None,
            last_shown: None,
            floor: WallTime::EPOCH,
            first_of_run: true,
            skipped: Skipped::default(),
        }
    }

    /// Takes new settings: lengths from the next rotation on, tracks at the next sync sample.
    pub fn configure(&mut self, config: RecorderConfig) {
        self.config = config;
        let audio = self.wanted_audio().is_some();
        if let Some(segment) = &mut self.segment {
            segment.retrack = audio != segment.tracks.audio.is_some();
        }
    }

    /// Records nothing that was captured before this instant, whatever clock and camera claim.
    pub fn not_before(&mut self, floor: WallTime) {
        self.floor = self.floor.max(floor);
    }

    /// Footage up to this instant exists, or must not be touched: nothing is recorded before it.
    pub fn floor(&self) -> WallTime {
        self.floor
    }

    /// Which pictures are recorded from now on.
    pub fn set_wanted(&mut self, wanted: Want) {
        self.wanted = wanted;
    }

    /// Whether a segment is open or about to be.
    pub fn is_recording(&self) -> bool {
        self.segment.is_some()
    }

    /// Pictures are missing between what came and what comes.
    pub fn torn(&mut self, out: &mut Vec<Order>) {
        self.finish_closing(out);
        if let Some(segment) = self.segment.take() {
            self.end(segment, EndReason::Disk, Some(Cause::Disk), out);
        }
    }

    /// A session has begun; `audio` and its `silence` are known from its description.
    pub fn run_started(&mut self, audio: Option<Arc<TrackParams>>, silence: Option<Bytes>) {
        self.usual = UsualInterval::new();
        self.audio = audio;
        self.silence = silence;
        self.last_audio = None;
        self.last_shown = None;
        self.left_off = None;
        self.first_of_run = true;
    }

    /// Start of the newest segment, while one is open.
    pub fn open_segment(&self) -> Option<Serial> {
        self.segment.as_ref().filter(|s| s.begun).map(|s| s.serial)
    }

    /// What was not recorded so far.
    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// Longest time that a picture of this stream may last.
    pub fn longest_picture(&self) -> Micros {
        self.usual.longest_picture()
    }

    /// Takes one picture or audio frame.
    pub fn push(&mut self, unit: &AccessUnit, out: &mut Vec<Order>) {
        if unit.payload.is_empty() || unit.payload.len() > MAX_UNIT_BYTES {
            self.skipped.unusable += 1;
            return;
        }
        match unit.track {
            TrackKind::Video => self.push_video(unit, out),
            TrackKind::Audio => self.push_audio(unit, out),
        }
        debug_assert!(self.check_invariants());
    }

    /// The session ended: everything received is written, the last picture at its usual length.
    pub fn run_ended(&mut self, reason: EndReason, cause: Option<Cause>, out: &mut Vec<Order>) {
        self.finish_closing(out);
        if let Some(segment) = self.segment.take() {
            self.end(segment, reason, cause, out);
        }
        self.audio = None;
        self.left_off = None;
        self.first_of_run = true;
    }

    /// Ends a segment that nothing follows: its last picture at its usual length.
    fn end(
        &mut self,
        mut segment: OpenSegment,
        reason: EndReason,
        cause: Option<Cause>,
        out: &mut Vec<Order>,
    ) {
        let boundary = segment.fragment.newest + self.usual.get().unwrap_or(DEFAULT_INTERVAL);
        self.cut(&mut segment, boundary, AudioCut::Last, out);
        if segment.begun {
            out.push(Order::Seal { serial: segment.serial, end: boundary, reason, cause });
        }
    }

    /// A fragment of this segment could not be handed to the writer (its queue is full): the file is sealed with what it
    /// holds, up to `end`, and recording goes on at the next sync sample. Without `end` nothing of it was taken.
    pub fn refused(&mut self, serial: Serial, end: Option<WallTime>, out: &mut Vec<Order>) {
        if self.drop_segment(serial)
            && let Some(end) = end
        {
            out.push(Order::Seal { serial, end, reason: EndReason::Disk, cause: Some(Cause::Disk) });
        }
    }

    /// The writer reported a fault on this segment's file and has closed it.
    pub fn failed(&mut self, serial: Serial) {
        self.drop_segment(serial);
    }

    fn drop_segment(&mut self, serial: Serial) -> bool {
        let mut found = false;
        if self.segment.as_ref().is_some_and(|s| s.serial == serial) {
            self.segment = None;
            found = true;
        }
        if self.closing.as_ref().is_some_and(|c| c.segment.serial == serial) {
            self.closing = None;
            found = true;
        }
        found
    }

    fn wanted_audio(&self) -> Option<Arc<TrackParams>> {
        match self.config.audio {
            AudioPolicy::Keep => self.audio.clone(),
            AudioPolicy::Leave => None,
        }
    }

    fn push_video(&mut self, unit: &AccessUnit, out: &mut Vec<Order>) {
        if self.closing.as_ref().is_some_and(|c| unit.captured_at >= c.boundary + LATE_AUDIO) {
            self.finish_closing(out);
        }
        let Some(mut segment) = self.segment.take() else {
            let (start, kind) = self.follows_on(unit).unwrap_or((unit.captured_at, StartKind::Fresh));
            self.start(unit, start, kind);
            return;
        };
        let newest = segment.fragment.newest;
        if segment.kind == StartKind::Fresh && !segment.begun && unit.captured_at < segment.start {
            // H.265 8.3.2: leading pictures of the first CRA cannot be decoded; H.264 recovery points likewise.
            self.skipped.leading += 1;
            self.segment = Some(segment);
            return;
        }
        let rises = unit.captured_at > newest;
        let longest = self.usual.longest_picture();
        if rises && unit.captured_at - newest > longest {
            // Contract 5: the hole lies between the longest possible end of the newest picture and this one.
            let hole = Interval::new(newest + longest, unit.captured_at);
            self.cut(&mut segment, hole.start, AudioCut::Ready, out);
            self.usual.observe(hole.end - newest);
            segment.hole = Some(hole);
            segment.fragment = OpenFragment::at(unit.captured_at);
        }
        // A stream whose parameter sets do not tell its reorder depth shows it by and by; nothing in the file depends on it.
        let changed = !Arc::ptr_eq(&segment.tracks.video, &unit.params)
            && !segment.tracks.video.same_sample_entry(&unit.params);
        // Behind a hole nothing adjoins: what follows begins with its own first picture.
        let boundary = if segment.hole.is_some() && segment.fragment.pictures.is_empty() {
            unit.captured_at
        } else {
            self.boundary(unit, newest)
        };
        match self.decide(&segment, unit, rises, changed) {
            Decision::Continue => segment.fragment.add(unit),
            Decision::CutFragment => {
                self.cut(&mut segment, boundary, AudioCut::Ready, out);
                segment.fragment = OpenFragment::at(boundary);
                segment.fragment.add(unit);
            }
            Decision::Rotate { reason, start } => {
                self.finish_closing(out);
                self.close_at(segment, boundary, reason, out);
                self.start(unit, boundary, start);
                return;
            }
            Decision::Stop { reason } => {
                self.finish_closing(out);
                self.close_at(segment, boundary, reason, out);
                self.finish_closing(out);
                if reason == EndReason::NotWanted {
                    let params = unit.params.clone();
                    self.left_off = Some(LeftOff { at: unit.captured_at, boundary, params });
                } else {
                    self.skipped.before_sync += 1;
                }
                return;
            }
        }
        self.segment = Some(segment);
    }

    /// Where the fragment before `unit` ends if it is cut here: at the picture itself, or, where pictures follow that are
    /// shown before it, one usual interval after the newest.
    fn boundary(&self, unit: &AccessUnit, newest: WallTime) -> WallTime {
        let reorders = unit.params.video().is_some_and(|v| v.reorder_depth > 0);
        if !reorders || unit.sync == SyncKind::Closed {
            return unit.captured_at.max(newest + Micros(1));
        }
        let usual = self.usual.get().unwrap_or(DEFAULT_INTERVAL);
        (newest + usual).min(unit.captured_at).max(newest + Micros(1))
    }

    /// Where and how a segment begins with `unit` if that is the picture that the one before ended with.
    fn follows_on(&self, unit: &AccessUnit) -> Option<(WallTime, StartKind)> {
        let left = self.left_off.as_ref()?;
        let is_same = left.at == unit.captured_at && left.params.same_sample_entry(&unit.params);
        let kind = if unit.sync.is_sync() { StartKind::Follows } else { StartKind::Dependent };
        (is_same && left.boundary == self.floor).then_some((left.boundary, kind))
    }

    fn decide(&self, segment: &OpenSegment, unit: &AccessUnit, rises: bool, changed: bool) -> Decision {
        let sync = unit.sync.is_sync();
        let empty = segment.fragment.pictures.is_empty();
        if rises && matches!(self.wanted, Want::Until(until) if unit.captured_at >= until) {
            return Decision::Stop { reason: EndReason::NotWanted };
        }
        if changed {
            return if sync {
                Decision::Rotate { reason: EndReason::Parameters, start: StartKind::Fresh }
            } else {
                Decision::Stop { reason: EndReason::Parameters }
            };
        }
        if sync && self.wanted == Want::Nothing {
            return Decision::Stop { reason: EndReason::NotWanted };
        }
        if !rises || empty {
            return Decision::Continue;
        }
        if sync && segment.retrack {
            return Decision::Rotate { reason: EndReason::Parameters, start: StartKind::Follows };
        }
        // Capture times are slewed, by up to half a percent while a run is young: a sync sample that is due by the
        // camera's clock must not miss its turn for that.
        let half_picture = Micros(self.usual.get().unwrap_or(DEFAULT_INTERVAL).0 / 2);
        let tolerance = half_picture + Micros(self.config.segment.0 / 100).min(Micros::from_millis(500));
        if sync && unit.captured_at + tolerance >= segment.rotate_at {
            return Decision::Rotate { reason: EndReason::Rotated, start: StartKind::Follows };
        }
        if unit.captured_at >= segment.force_at {
            let start = if sync { StartKind::Follows } else { StartKind::Dependent };
            return Decision::Rotate { reason: EndReason::Rotated, start };
        }
        let age = unit.captured_at - segment.fragment.start;
        let full = age >= self.config.fragment || segment.fragment.bytes >= self.config.fragment_bytes;
        let is_short = age.0 < self.config.fragment.0 / SYNC_CUT_DIVISOR;
        let has_sync = segment.fragment.pictures.first().is_some_and(|picture| picture.sync);
        if full || (sync && !(has_sync && is_short)) {
            return Decision::CutFragment;
        }
        Decision::Continue
    }

    /// Opens a segment with `unit` as its first picture.
    fn start(&mut self, unit: &AccessUnit, start: WallTime, kind: StartKind) {
        if start < self.floor {
            self.skipped.before_sync += 1;
            return;
        }
        let is_wanted = self.wanted.takes(unit.captured_at);
        if !is_wanted || (!unit.sync.is_sync() && kind != StartKind::Dependent) {
            if is_wanted {
                self.skipped.before_sync += 1;
            }
            return;
        }
        self.left_off = None;
        if let Some(nominal) = unit.params.video().and_then(|v| v.nominal_interval)
            && self.usual.get().is_none()
        {
            self.usual.observe(nominal);
        }
        let stagger = if std::mem::take(&mut self.first_of_run) { self.config.stagger } else { Micros::ZERO };
        let audio = self.wanted_audio();
        if self.last_audio.is_none() && audio.is_some() {
            self.last_audio = Some(start);
        }
        // A segment with sound that ended just now is closing still.
        let lead = if self.closing.is_some() { Lead::Before } else { Lead::Silence(self.silence.clone()) };
        let placer = audio
            .as_deref()
            .and_then(TrackParams::audio)
            .map(|a| AudioPlacer::new(a.sample_rate, a.frame_samples, lead));
        let forced = Micros(self.config.segment.0.saturating_mul(3)).max(Micros::from_secs(60));
        let mut fragment = OpenFragment::at(start);
        fragment.add(unit);
        self.segment = Some(OpenSegment {
            serial: Serial(self.next_serial),
            start,
            rotate_at: start + self.config.segment + stagger,
            force_at: start + forced,
            tracks: SegmentTracks { video: unit.params.clone(), audio },
            kind,
            begun: false,
            audio: placer,
            retrack: false,
            fragment,
            hole: None,
        });
        self.next_serial += 1;
    }

    /// Ends the open fragment at `boundary` and orders it written.
    fn cut(&mut self, segment: &mut OpenSegment, boundary: WallTime, audio: AudioCut, out: &mut Vec<Order>) {
        let fragment = std::mem::replace(&mut segment.fragment, OpenFragment::at(boundary));
        if fragment.pictures.is_empty() {
            return;
        }
        self.observe(&fragment);
        let interval = Interval::new(fragment.start, boundary);
        self.floor = self.floor.max(boundary);
        let sync = fragment.pictures.first().is_some_and(|p| p.sync);
        if let Some(placer) = &mut segment.audio {
            placer.fill(boundary - segment.start, self.silence.as_ref());
            if self.last_audio.is_some_and(|last| boundary - last >= AUDIO_GIVE_UP) {
                segment.retrack = true;
                self.audio = None;
            }
        }
        let audio = segment.audio.as_mut().and_then(|placer| match audio {
            AudioCut::Ready => placer.take(),
            AudioCut::Finish => placer.finish(),
            AudioCut::Last => placer.finish_with(boundary - segment.start),
        });
        let video = shape_video(segment.start, interval, fragment.pictures);
        let fragment = Fragment { interval, sync, video, audio };
        if segment.begun {
            out.push(Order::Append { serial: segment.serial, hole: segment.hole.take(), fragment });
        } else {
            segment.begun = true;
            out.push(Order::Begin {
                serial: segment.serial,
                start: segment.start,
                tracks: segment.tracks.clone(),
                dependent: segment.kind == StartKind::Dependent,
                fragment,
            });
        }
    }

    /// Learns from the pictures of a fragment how long pictures usually last, in presentation order.
    fn observe(&mut self, fragment: &OpenFragment) {
        let mut shown: Vec<WallTime> = fragment.pictures.iter().map(|p| p.captured_at).collect();
        shown.sort_unstable();
        if let (Some(last), Some(first)) = (self.last_shown, shown.first()) {
            let gap = *first - last;
            if gap <= self.usual.longest_picture() {
                self.usual.observe(gap);
            }
        }
        for pair in shown.windows(2) {
            self.usual.observe(pair[1] - pair[0]);
        }
        self.last_shown = shown.last().copied();
    }

    /// Ends a segment at `boundary`; with audio it waits a moment for frames that belong to it.
    fn close_at(
        &mut self,
        segment: OpenSegment,
        boundary: WallTime,
        reason: EndReason,
        out: &mut Vec<Order>,
    ) {
        // A hole that nothing of this segment follows is none of its own: it ends where its footage does.
        let trailing = segment.hole.filter(|_| segment.fragment.pictures.is_empty());
        let boundary = trailing.map_or(boundary, |hole| hole.start);
        let waits = segment.audio.is_some();
        self.closing = Some(Closing { segment, boundary, reason });
        if !waits {
            self.finish_closing(out);
        }
    }

    fn finish_closing(&mut self, out: &mut Vec<Order>) {
        let Some(Closing { mut segment, boundary, reason }) = self.closing.take() else { return };
        self.cut(&mut segment, boundary, AudioCut::Finish, out);
        if segment.begun {
            // Still there: the hole that follows the segment.
            let cause = segment.hole.map(|_| Cause::Stalled);
            out.push(Order::Seal { serial: segment.serial, end: boundary, reason, cause });
        }
    }

    fn push_audio(&mut self, unit: &AccessUnit, out: &mut Vec<Order>) {
        self.last_audio = self.last_audio.max(Some(unit.captured_at));
        if self.audio.is_none() {
            // The track was given up as silent and is back: the next segment has it again.
            self.audio = Some(unit.params.clone());
            let wanted = self.wanted_audio().is_some();
            if let Some(segment) = &mut self.segment {
                segment.retrack = wanted && segment.tracks.audio.is_none();
            }
        }
        if let Some(closing) = &mut self.closing {
            if unit.captured_at < closing.boundary {
                let since_start = unit.captured_at - closing.segment.start;
                if let Some(placer) = &mut closing.segment.audio {
                    placer.push(since_start, unit.payload.clone());
                }
                return;
            }
            self.finish_closing(out);
        }
        let Some(segment) = &mut self.segment else { return };
        let Some(placer) = &mut segment.audio else { return };
        let since_start = unit.captured_at - segment.start;
        if placer.push(since_start, unit.payload.clone()) == crate::fragment::Placed::Dropped {
            self.skipped.audio += 1;
        }
    }

    /// What must hold between any two calls.
    fn check_invariants(&self) -> bool {
        let open = self.segment.as_ref().is_none_or(|s| {
            s.start <= s.fragment.start && s.fragment.pictures.iter().all(|p| !p.payload.is_empty())
        });
        let order = match (&self.closing, &self.segment) {
            (Some(closing), Some(segment)) => closing.boundary <= segment.start && !segment.begun,
            _ => true,
        };
        open && order
    }
}

impl OpenFragment {
    fn at(start: WallTime) -> Self {
        OpenFragment { start, pictures: Vec::new(), bytes: 0, newest: start - Micros(1) }
    }

    fn add(&mut self, unit: &AccessUnit) {
        self.newest = self.newest.max(unit.captured_at);
        self.bytes += unit.payload.len();
        self.pictures.push(Picture {
            captured_at: unit.captured_at,
            sync: unit.sync.is_sync(),
            payload: unit.payload.clone(),
        });
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StartKind {
    /// Nothing before it belongs to it.
    Fresh,
    /// It goes on where the segment before ends, at a sync sample.
    Follows,
    /// It goes on where the segment before ends, and needs it.
    Dependent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AudioCut {
    /// Frames whose length is known.
    Ready,
    /// All frames: the segment ends, another one adjoins.
    Finish,
    /// All frames: nothing follows.
    Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Continue,
    CutFragment,
    Rotate { reason: EndReason, start: StartKind },
    Stop { reason: EndReason },
}
