//! A camera that sends what its script says, with everything that cameras and networks do wrong.
//!
//! Owns: pictures and audio frames with contents that tell them apart, their order, times and losses; time of capture
//! comes from the product's own capture clock. Never: decides what is recorded.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use heldar_base::{Cause, EndReason, Micros, MonoTime, ReasonClass, WallTime};
use heldar_media::{
    AccessUnit, AudioCodec, AudioParams, CaptureClock, Leading, Reading, StartGate, SyncKind, TrackKind,
    TrackParams, VideoCodec, VideoParams,
};

use super::dice::Dice;

/// A real AVCDecoderConfigurationRecord of x264, 160x120, baseline.
const AVCC: [u8; 39] =
    *b"\x01\x42\xc0\x0b\xff\xe1\x00\x18\x67\x42\xc0\x0b\xda\x0a\x11\xf9\x70\x11\x00\x00\x03\x00\x01\x00\
    \x00\x03\x00\x32\x0f\x14\x2a\xa0\x01\x00\x04\x68\xce\x0f\xc8";

/// A real HEVCDecoderConfigurationRecord of x265, 160x120, main.
const HVCC: [u8; 111] = *b"\x01\x01\x60\x00\x00\x00\x90\x00\x00\x00\x00\x00\x1e\xf0\x00\xfc\xfd\xf8\xf8\x00\x00\x0f\x03\xa0\x00\x01\x00\x18\
    \x40\x01\x0c\x01\xff\xff\x01\x60\x00\x00\x03\x00\x90\x00\x00\x03\x00\x00\x03\x00\x1e\x95\x94\x09\xa1\x00\x01\x00\
    \x2b\x42\x01\x01\x01\x60\x00\x00\x03\x00\x90\x00\x00\x03\x00\x00\x03\x00\x1e\xa0\x14\x20\x20\x7c\xb9\x65\x65\x4a\
    \x4c\x2f\x01\x68\x08\x00\x00\x03\x00\x08\x00\x00\x03\x00\xc8\x40\xa2\x00\x01\x00\x06\x44\x01\xc0\x73\xc1\x89";

/// RTP clock rate of video (RFC 6184 8.2.1).
const RATE: u32 = 90_000;
/// Sampling rate of the audio track.
const AUDIO_RATE: u32 = 16_000;
/// Samples of an audio frame.
const FRAME: u32 = 1024;

/// What a camera sends, and how badly.
#[derive(Clone, Debug)]
pub struct CameraScript {
    /// Coding of its pictures.
    pub codec: VideoCodec,
    /// Time between pictures.
    pub interval: Micros,
    /// Pictures from one sync sample to the next.
    pub gop: u32,
    /// Pictures between two that are shown in the order of decoding.
    pub between: u32,
    /// Sync samples may be followed by pictures that are shown before them.
    pub open: bool,
    /// It sends sound.
    pub audio: bool,
    /// Largest delay of the network.
    pub jitter: Micros,
    /// How much faster its clock runs than the host's, in millionths.
    pub drift_ppm: i64,
    /// A picture has at most so many bytes; a sync sample ten times as many.
    pub largest: u64,
    /// How often something happens, in pictures: 1 000 once in a thousand.
    pub trouble: u64,
}

impl CameraScript {
    /// Any camera.
    pub fn roll(dice: &mut Dice) -> Self {
        let between = if dice.once_in(3) { 1 + u32::try_from(dice.below(2)).unwrap_or(0) } else { 0 };
        CameraScript {
            codec: if dice.once_in(2) { VideoCodec::H264 } else { VideoCodec::H265 },
            interval: Micros(dice.pick(&[40_000, 66_667, 100_000, 200_000]).unwrap_or(100_000)),
            gop: u32::try_from(dice.between(6, 60)).unwrap_or(20),
            between,
            open: between > 0 && dice.once_in(2),
            audio: dice.once_in(2),
            jitter: Micros(dice.between(0, 60_000)),
            drift_ppm: dice.between(-300, 300),
            largest: dice.pick(&[200, 900, 3000]).unwrap_or(900),
            trouble: dice.pick(&[150, 500, 5000]).unwrap_or(500),
        }
    }
}

/// What comes from a camera.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// A session has begun.
    Started {
        /// Its audio track.
        audio: Option<Arc<TrackParams>>,
        /// A frame of silence for it.
        silence: Option<Bytes>,
    },
    /// A picture or audio frame.
    Unit(AccessUnit),
    /// The session is over.
    Ended {
        /// Why.
        reason: EndReason,
        /// What keeps footage away.
        cause: Cause,
        /// What the status shows.
        class: ReasonClass,
    },
}

/// The number that a payload tells, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sent {
    /// The camera.
    pub camera: u16,
    /// Counts units of the camera, over all sessions, in the order of sending.
    pub number: u64,
}

impl Sent {
    /// Reads the number that is written into a payload; `None` for silence that the recorder put in.
    pub fn of(payload: &[u8]) -> Option<Sent> {
        let at = if payload.first() == Some(&b'#') { 0 } else { 6 };
        let text = std::str::from_utf8(payload.get(at..at + 21)?).ok()?;
        let (camera, number) = text.strip_prefix('#')?.split_at_checked(4)?;
        let camera = u16::from_str_radix(camera, 16).ok()?;
        Some(Sent { camera, number: u64::from_str_radix(number, 16).ok()? })
    }

    fn text(self) -> String {
        format!("#{:04x}{:016x}", self.camera, self.number)
    }
}

/// A unit on its way.
#[derive(Clone, Debug)]
struct OnTheWay {
    arrival: MonoTime,
    track: TrackKind,
    rtp_time: i64,
    sync: SyncKind,
    leading: bool,
    params: Arc<TrackParams>,
    payload: Bytes,
}

/// One session.
#[derive(Debug)]
struct Session {
    began: MonoTime,
    capture: CaptureClock,
    gate: StartGate,
    /// Place in the group of pictures, in decoding order.
    at: usize,
    /// Number, in order of showing, of the group's first picture.
    first_shown: i64,
    /// Pictures decoded so far.
    decoded: i64,
    frames: i64,
    /// Added to RTP times since the camera's clock jumped.
    jump: i64,
    /// Delay of everything since the network stood still.
    behind: Micros,
    silent_until: MonoTime,
    mute_until: MonoTime,
    last_arrival: MonoTime,
    way: VecDeque<OnTheWay>,
}

/// A camera.
#[derive(Debug)]
pub struct SimCamera {
    id: u16,
    script: CameraScript,
    dice: Dice,
    number: u64,
    width: u32,
    params: Arc<TrackParams>,
    audio: Option<Arc<TrackParams>>,
    session: Option<Session>,
    next_attempt: MonoTime,
}

fn video_params(script: &CameraScript, width: u32) -> Arc<TrackParams> {
    let (codec_string, config) = match script.codec {
        VideoCodec::H264 => ("avc1.42c00b", Bytes::from_static(&AVCC)),
        VideoCodec::H265 => ("hvc1.1.6.L30.90", Bytes::from_static(&HVCC)),
    };
    Arc::new(TrackParams::Video(VideoParams {
        codec: script.codec,
        codec_string: codec_string.to_owned(),
        width,
        height: 120,
        pixel_aspect: None,
        nominal_interval: None,
        reorder_depth: u8::from(script.between > 0),
        config,
    }))
}

fn audio_params() -> Arc<TrackParams> {
    Arc::new(TrackParams::Audio(AudioParams {
        codec: AudioCodec::Aac,
        codec_string: "mp4a.40.2".to_owned(),
        sample_rate: AUDIO_RATE,
        channels: 1,
        frame_samples: FRAME,
        config: Bytes::from_static(&[0x14, 0x08]),
    }))
}

impl SimCamera {
    /// A camera that is there from the beginning.
    pub fn new(id: u16, script: CameraScript, dice: Dice) -> Self {
        SimCamera {
            params: video_params(&script, 160),
            audio: script.audio.then(audio_params),
            id,
            script,
            dice,
            number: 0,
            width: 160,
            session: None,
            next_attempt: MonoTime(0),
        }
    }

    /// What it sends.
    pub fn script(&self) -> &CameraScript {
        &self.script
    }

    /// Ends its session, because the one who pulled it is gone; it can be pulled again after `rest`.
    pub fn hang_up(&mut self, now: MonoTime, rest: Micros) {
        self.session = None;
        self.next_attempt = now + rest;
    }

    /// Everything that has arrived by `now`, when the host's UTC clock shows `wall`.
    pub fn poll(&mut self, now: MonoTime, wall: WallTime) -> Vec<Delivery> {
        let mut out = Vec::new();
        if self.session.is_none() {
            if now < self.next_attempt {
                return out;
            }
            self.begin(now);
            let silence = self.audio.as_ref().map(|_| Bytes::from_static(b"silence"));
            out.push(Delivery::Started { audio: self.audio.clone(), silence });
        }
        self.send(now);
        while let Some(unit) = self.session.as_mut().and_then(|s| next_arrived(&mut s.way, now)) {
            match self.receive(unit, now, wall) {
                Ok(unit) => out.extend(unit.map(Delivery::Unit)),
                Err(ended) => {
                    out.push(ended);
                    let rest = Micros(self.dice.between(0, 300_000));
                    self.hang_up(now, rest);
                    return out;
                }
            }
        }
        if let Some(ended) = self.lost(now) {
            out.push(ended);
        }
        out
    }

    fn begin(&mut self, now: MonoTime) {
        self.session = Some(Session {
            began: now,
            capture: CaptureClock::new(),
            gate: StartGate::default(),
            // Somewhere in a group of pictures, as it comes.
            at: usize::try_from(self.dice.below(u64::from(self.script.gop))).unwrap_or(0),
            first_shown: 0,
            decoded: 0,
            frames: 0,
            jump: self.dice.between(0, 1 << 30),
            behind: Micros::ZERO,
            silent_until: now,
            mute_until: now,
            last_arrival: now,
            way: VecDeque::new(),
        });
    }

    /// Now and then a session is lost.
    fn lost(&mut self, now: MonoTime) -> Option<Delivery> {
        if !self.dice.once_in(self.script.trouble.saturating_mul(4)) {
            return None;
        }
        let class = self.dice.pick(&[ReasonClass::Closed, ReasonClass::Unreachable, ReasonClass::Stalled])?;
        let rest = Micros(self.dice.between(0, 9_000_000));
        self.hang_up(now, rest);
        Some(Delivery::Ended { reason: EndReason::SessionLost, cause: Cause::from(class), class })
    }

    /// Sends what is due.
    fn send(&mut self, now: MonoTime) {
        loop {
            let script = self.script.clone();
            let Some(session) = &self.session else { return };
            // A picture can be sent when the last one it is shown after has been taken.
            let taken = (session.decoded + i64::from(script.between) + 1) * script.interval.0;
            let due = session.began + Micros(taken + taken * -script.drift_ppm / 1_000_000);
            if due > now {
                break;
            }
            self.send_picture(due);
        }
        self.send_sound(now);
    }

    fn send_picture(&mut self, due: MonoTime) {
        let order = group(&self.script);
        self.trouble(due);
        let (id, script) = (self.id, self.script.clone());
        let Some(session) = &mut self.session else { return };
        let place = order[session.at % order.len()];
        if place.first && session.decoded > 0 && self.dice.once_in(script.trouble / 8 + 1) {
            // New settings of the encoder.
            self.width = if self.width == 160 { 320 } else { 160 };
            self.params = video_params(&script, self.width);
        }
        let shown = session.first_shown + i64::from(place.shown);
        session.at += 1;
        session.decoded += 1;
        if session.at >= order.len() {
            session.at = 0;
            session.first_shown += i64::from(script.gop);
        }
        let mut rtp_time = shown * script.interval.0 * i64::from(RATE) / 1_000_000 + session.jump;
        if self.dice.once_in(script.trouble) {
            // The camera repeats itself.
            rtp_time -= script.interval.0 * i64::from(RATE) / 1_000_000;
        }
        if due < session.silent_until || self.dice.once_in(script.trouble) {
            return;
        }
        let sync = match (place.first, script.open) {
            (false, _) => SyncKind::None,
            (true, true) => SyncKind::Open,
            (true, false) => SyncKind::Closed,
        };
        let most = if place.first { script.largest * 10 } else { script.largest };
        let delay = Micros(self.dice.between(0, script.jitter.0)) + session.behind;
        let arrival = (due + delay).max(session.last_arrival);
        session.last_arrival = arrival;
        let sent = Sent { camera: id, number: self.number };
        self.number += 1;
        let empty = self.dice.once_in(script.trouble * 4);
        let payload = if empty { Bytes::new() } else { picture(sent, most, &mut self.dice) };
        let params = self.params.clone();
        let leading = place.leading;
        session.way.push_back(OnTheWay {
            arrival,
            track: TrackKind::Video,
            rtp_time,
            sync,
            leading,
            params,
            payload,
        });
    }

    /// Something goes wrong.
    fn trouble(&mut self, due: MonoTime) {
        let often = self.script.trouble;
        let Some(session) = &mut self.session else { return };
        // The network catches up.
        session.behind = Micros(session.behind.0 * 3 / 4);
        if self.dice.once_in(often * 2) {
            session.behind = Micros(self.dice.between(100_000, 4_000_000));
        }
        if self.dice.once_in(often * 2) {
            session.silent_until = due + Micros(self.dice.between(200_000, 9_000_000));
        }
        if self.dice.once_in(often * 2) {
            session.mute_until = due + Micros(self.dice.between(200_000, 14_000_000));
        }
        if self.dice.once_in(often * 2) {
            session.jump += self.dice.between(-20_000_000, 20_000_000);
        }
    }

    fn send_sound(&mut self, now: MonoTime) {
        let Some(params) = &self.audio else { return };
        let (id, drift) = (self.id, self.script.drift_ppm);
        let Some(session) = &mut self.session else { return };
        loop {
            let taken = (session.frames + 1) * i64::from(FRAME) * 1_000_000 / i64::from(AUDIO_RATE);
            let due = session.began + Micros(taken + taken * -drift / 1_000_000);
            if due > now {
                break;
            }
            let rtp_time = session.frames * i64::from(FRAME);
            session.frames += 1;
            if due < session.mute_until || due < session.silent_until {
                continue;
            }
            let arrival = (due + session.behind).max(session.last_arrival);
            session.last_arrival = arrival;
            let sent = Sent { camera: id, number: self.number };
            self.number += 1;
            let mut bytes = sent.text().into_bytes();
            bytes.extend((0..self.dice.below(60)).map(|n| 1 + (n % 200) as u8));
            session.way.push_back(OnTheWay {
                arrival,
                track: TrackKind::Audio,
                rtp_time,
                sync: SyncKind::Closed,
                leading: false,
                params: params.clone(),
                payload: bytes.into(),
            });
        }
    }

    /// What the ingest thread makes of a unit: its time of capture, or the end of the run.
    fn receive(
        &mut self,
        unit: OnTheWay,
        now: MonoTime,
        wall: WallTime,
    ) -> Result<Option<AccessUnit>, Delivery> {
        let reorders = self.script.between > 0;
        let Some(session) = &mut self.session else { return Ok(None) };
        let rate = if unit.track == TrackKind::Video { RATE } else { AUDIO_RATE };
        let reading = Reading {
            rtp_time: unit.rtp_time,
            clock_rate: NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN),
            reorder_depth: u8::from(
                reorders && unit.track == TrackKind::Video && unit.sync != SyncKind::Closed,
            ),
            arrival: unit.arrival,
            wall: wall - (now - unit.arrival),
        };
        let Ok(captured_at) = session.capture.observe(unit.track, &reading) else {
            return Err(Delivery::Ended {
                reason: EndReason::Clock,
                cause: Cause::Unknown,
                class: ReasonClass::Unknown,
            });
        };
        // H.264 has no mark for leading pictures.
        let marked = unit.leading && self.script.codec == VideoCodec::H265;
        let leading = if marked { Leading::Undecodable } else { Leading::No };
        if unit.track == TrackKind::Video && !session.gate.admits(unit.sync, leading, captured_at.0) {
            return Ok(None);
        }
        Ok(Some(AccessUnit {
            track: unit.track,
            captured_at,
            received_at: unit.arrival,
            rtp_time: unit.rtp_time,
            sync: unit.sync,
            params: unit.params,
            payload: unit.payload,
            original: None,
        }))
    }
}

fn next_arrived(way: &mut VecDeque<OnTheWay>, now: MonoTime) -> Option<OnTheWay> {
    if way.front()?.arrival <= now { way.pop_front() } else { None }
}

/// One NAL unit that tells its number, without the zeros that no NAL unit has (H.264 7.4.1).
fn picture(sent: Sent, most: u64, dice: &mut Dice) -> Bytes {
    let len = 2 + 21 + dice.below(most);
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0) + 4);
    bytes.extend(u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend([0x26, 0x01]);
    bytes.extend(sent.text().into_bytes());
    let mut filler = dice.next();
    while (bytes.len() as u64) < len + 4 {
        filler = filler.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        bytes.push(1 + ((filler >> 33) % 255) as u8);
    }
    bytes.into()
}

/// Place of one picture in its group.
#[derive(Clone, Copy, Debug)]
struct Place {
    shown: u32,
    first: bool,
    leading: bool,
}

/// A group of pictures in decoding order.
fn group(script: &CameraScript) -> Vec<Place> {
    let (gop, between) = (script.gop.max(1), script.between);
    let mut places = Vec::new();
    let mut next = 0;
    if script.open {
        places.push(Place { shown: between.min(gop - 1), first: true, leading: false });
        places.extend((0..between.min(gop - 1)).map(|shown| Place { shown, first: false, leading: true }));
        next = places.len() as u32;
    } else {
        places.push(Place { shown: 0, first: true, leading: false });
        next += 1;
    }
    while next < gop {
        let step = (between + 1).min(gop - next);
        places.push(Place { shown: next + step - 1, first: false, leading: false });
        places.extend((next..next + step - 1).map(|shown| Place { shown, first: false, leading: false }));
        next += step;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_show_every_picture_once() {
        for (gop, between, open) in [(1, 0, false), (7, 0, false), (8, 2, false), (8, 2, true), (3, 2, true)]
        {
            let mut dice = Dice::new(1);
            let script = CameraScript { gop, between, open, ..CameraScript::roll(&mut dice) };
            let mut shown: Vec<u32> = group(&script).iter().map(|place| place.shown).collect();
            assert!(group(&script)[0].first);
            shown.sort_unstable();
            assert_eq!(shown, (0..gop).collect::<Vec<_>>(), "{gop} {between} {open}");
        }
    }

    #[test]
    fn payloads_tell_their_number() {
        let sent = Sent { camera: 3, number: 77 };
        assert_eq!(Sent::of(&picture(sent, 500, &mut Dice::new(1))), Some(sent));
        assert_eq!(Sent::of(sent.text().as_bytes()), Some(sent));
        assert_eq!(Sent::of(b"silence"), None);
    }

    #[test]
    fn the_same_dice_give_the_same_pictures() {
        let run = || {
            let mut dice = Dice::new(9);
            let script = CameraScript::roll(&mut dice);
            let mut camera = SimCamera::new(1, script, dice);
            let mut units = Vec::new();
            for ms in (0..20_000).step_by(20) {
                let wall = WallTime(1_800_000_000_000_000 + ms * 1000);
                for delivery in camera.poll(MonoTime(ms * 1000), wall) {
                    if let Delivery::Unit(unit) = delivery {
                        units.push((unit.captured_at, unit.payload));
                    }
                }
            }
            units
        };
        assert!(run().len() > 50);
        assert_eq!(run(), run());
    }
}
