//! From what a session yields to access units: parameters in force, sync kind, time of capture.
//!
//! Owns: the state of one run between RTSP and the bus. A picture that cannot be decoded from where the run starts is left
//! out; so is audio that cannot be carried. What comes in the first moments of a run is gathered before it is handed on:
//! only then it shows when the first picture was captured, which may have come late, or faster than it was captured.
//! Never: a socket, a decision about recording.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use heldar_audio::{G711ToOpus, Law};
use heldar_base::{Micros, MonoTime, ReasonClass, WallTime};
use heldar_media::{
    AccessUnit, AudioCodec, AudioParams, CaptureClock, ParamTracker, Reading, StartGate, SyncKind, TrackKind,
    TrackParams, VideoCodec, aac, opus, read_picture,
};

use crate::{AudioSource, AudioTrack, Item, RawParams, RtspSession, SessionError, SystemClock};

/// How long a run's first pictures are gathered: longer than a large first picture or a GOP that a proxy holds takes to
/// arrive, shorter than anybody minds at a start.
const GATHERED: Duration = Duration::from_millis(400);
/// Items and bytes that are gathered at most.
const MOST_ITEMS: usize = 2048;
const MOST_BYTES: usize = 8 << 20;

/// What became of an item.
#[derive(Debug)]
pub enum Assembled {
    /// Units, mostly none or one.
    Units(Vec<AccessUnit>),
    /// The host's clock stepped forward: the run must end.
    ClockStepped,
}

/// Makes access units of one run.
pub struct Assembler {
    clock: SystemClock,
    capture: CaptureClock,
    video: VideoTrack,
    audio: Option<AudioLine>,
    /// What has come in the first moments; `None` once they are over.
    gathering: Option<Gathering>,
}

/// Items in order of arrival, with what the host's UTC clock showed.
#[derive(Default)]
struct Gathering {
    items: Vec<(Item, WallTime)>,
    bytes: usize,
    /// When the first picture came.
    since: Option<Instant>,
}

impl Gathering {
    /// Takes an item; true when it is enough.
    fn take(&mut self, item: Item, now: WallTime) -> bool {
        let received = match &item {
            Item::Video { data, received, .. } => {
                self.bytes += data.len();
                self.since.get_or_insert(*received);
                *received
            }
            Item::Audio { data, received, .. } => {
                self.bytes += data.len();
                *received
            }
            Item::SenderReport { received, .. } => *received,
            Item::Damaged => return false,
        };
        self.items.push((item, now));
        let over = self.since.is_some_and(|since| received.saturating_duration_since(since) >= GATHERED);
        over || self.items.len() >= MOST_ITEMS || self.bytes >= MOST_BYTES
    }

    /// RTP time of the first item of a track.
    fn first(&self, wanted: TrackKind) -> Option<i64> {
        self.items.iter().find_map(|(item, _)| match (item, wanted) {
            (Item::Video { rtp_time, .. }, TrackKind::Video)
            | (Item::Audio { rtp_time, .. }, TrackKind::Audio) => Some(*rtp_time),
            _ => None,
        })
    }
}

struct VideoTrack {
    codec: VideoCodec,
    tracker: ParamTracker,
    gate: StartGate,
    rate: NonZeroU32,
    last_rtp: i64,
}

struct AudioLine {
    params: Arc<TrackParams>,
    silence: Option<Bytes>,
    /// RTP clock rate of the camera's track.
    rate: NonZeroU32,
    last_rtp: i64,
    converter: Option<G711ToOpus>,
}

impl std::fmt::Debug for Assembler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assembler").field("codec", &self.video.codec).finish_non_exhaustive()
    }
}

impl Assembler {
    /// For a session that has just begun. Footage up to `not_before` exists: what comes now was captured later.
    ///
    /// # Errors
    /// A session whose video cannot be described.
    pub fn new(
        session: &RtspSession,
        clock: SystemClock,
        not_before: WallTime,
    ) -> Result<Self, SessionError> {
        let rate = NonZeroU32::new(session.video_clock_rate).unwrap_or(NonZeroU32::MIN);
        let codec = session.video_codec;
        let mut tracker = ParamTracker::new(codec);
        if let Some(raw) = &session.video_params {
            offer(&mut tracker, codec, raw)?;
        }
        let audio = session.audio_track.as_ref().and_then(audio_line);
        let video = VideoTrack { codec, tracker, gate: StartGate::default(), rate, last_rtp: 0 };
        let (capture, gathering) = (CaptureClock::after(not_before), Some(Gathering::default()));
        Ok(Assembler { clock, capture, video, audio, gathering })
    }

    /// Parameters of the audio track, where it can be carried.
    pub fn audio_params(&self) -> Option<Arc<TrackParams>> {
        self.audio.as_ref().map(|audio| audio.params.clone())
    }

    /// One frame of coded silence for it.
    pub fn silence(&self) -> Option<Bytes> {
        self.audio.as_ref().and_then(|audio| audio.silence.clone())
    }

    /// How the camera codes it, where it is converted.
    pub fn law(&self) -> Option<Law> {
        self.audio.as_ref().and_then(|audio| audio.converter.as_ref()).map(G711ToOpus::law)
    }

    /// Stream time minus host clock.
    pub fn clock_offset(&self) -> Micros {
        self.capture.clock_offset()
    }

    /// Takes an item; `now` is what the host's UTC clock shows. The first items of a run are handed on together.
    pub fn push(&mut self, item: Item, now: WallTime) -> Assembled {
        let Some(gathering) = &mut self.gathering else { return self.assemble(item, now) };
        if gathering.take(item, now) { self.release() } else { Assembled::Units(Vec::new()) }
    }

    /// What has been gathered, when nothing more comes.
    pub fn finish(&mut self) -> Vec<AccessUnit> {
        match self.release() {
            Assembled::Units(units) => units,
            Assembled::ClockStepped => Vec::new(),
        }
    }

    /// Ends the first moments of the run: their arrivals tell when its first picture was captured.
    fn release(&mut self) -> Assembled {
        let Some(gathering) = self.gathering.take() else { return Assembled::Units(Vec::new()) };
        let (video, audio) = (gathering.first(TrackKind::Video), gathering.first(TrackKind::Audio));
        gathering.items.iter().for_each(|(item, now)| self.expect(item, *now));
        for (item, _) in &gathering.items {
            let Item::SenderReport { video: of_video, rtp_time, ntp, .. } = item else { continue };
            let (track, near) = if *of_video { (TrackKind::Video, video) } else { (TrackKind::Audio, audio) };
            if let Some(near) = near {
                self.capture.expect_report(track, unroll_near(near, *rtp_time), *ntp);
            }
        }
        let mut all = Vec::new();
        for (item, now) in gathering.items {
            match self.assemble(item, now) {
                Assembled::Units(units) => all.extend(units),
                Assembled::ClockStepped => return Assembled::ClockStepped,
            }
        }
        Assembled::Units(all)
    }

    /// Tells the capture clock of a picture or frame before it is assembled.
    fn expect(&mut self, item: &Item, now: WallTime) {
        let (track, clock_rate, rtp_time, received) = match (item, &self.audio) {
            (Item::Video { rtp_time, received, .. }, _) => {
                (TrackKind::Video, self.video.rate, *rtp_time, *received)
            }
            (Item::Audio { rtp_time, received, .. }, Some(audio)) => {
                (TrackKind::Audio, audio.rate, *rtp_time, *received)
            }
            _ => return,
        };
        let arrival = self.clock.mono_at(received);
        let reading = Reading { rtp_time, clock_rate, reorder_depth: 0, arrival, wall: now };
        self.capture.expect(track, &reading);
    }

    fn assemble(&mut self, item: Item, now: WallTime) -> Assembled {
        match item {
            Item::Video { data, rtp_time, received, params, .. } => {
                if let Some(raw) = &params
                    && let Err(error) = offer(&mut self.video.tracker, self.video.codec, raw)
                {
                    tracing::debug!(%error, "parameter sets cannot be read");
                }
                let arrival = self.clock.mono_at(received);
                self.video(Bytes::from(data), rtp_time, arrival, now)
            }
            Item::Audio { data, rtp_time, received, .. } => {
                let arrival = self.clock.mono_at(received);
                self.audio(Bytes::from(data), rtp_time, arrival, now)
            }
            Item::SenderReport { video, rtp_time, ntp, received } => {
                let (track, last) = match (&self.audio, video) {
                    (_, true) => (TrackKind::Video, self.video.last_rtp),
                    (Some(audio), false) => (TrackKind::Audio, audio.last_rtp),
                    (None, false) => return Assembled::Units(Vec::new()),
                };
                let arrival = self.clock.mono_at(received);
                self.capture.sender_report(track, unroll_near(last, rtp_time), ntp, arrival);
                Assembled::Units(Vec::new())
            }
            Item::Damaged => Assembled::Units(Vec::new()),
        }
    }

    fn video(&mut self, data: Bytes, rtp_time: i64, arrival: MonoTime, wall: WallTime) -> Assembled {
        let none = Assembled::Units(Vec::new());
        let video = &mut self.video;
        let picture = match read_picture(video.codec, &data) {
            Ok(picture) => picture,
            Err(nothing) => {
                video.tracker.offer(&nothing.parameter_sets);
                return none;
            }
        };
        video.last_rtp = rtp_time;
        let _change = video.tracker.update(&picture, rtp_time);
        let Some(params) = video.tracker.params().cloned() else { return none };
        let reorder_depth = match picture.sync {
            SyncKind::Closed => 0,
            SyncKind::Open | SyncKind::None => video.tracker.reorder_tolerance(),
        };
        let reading = Reading { rtp_time, clock_rate: video.rate, reorder_depth, arrival, wall };
        let Ok(captured_at) = self.capture.observe(TrackKind::Video, &reading) else {
            return Assembled::ClockStepped;
        };
        if !video.gate.admits(picture.sync, picture.leading, captured_at.0) {
            return none;
        }
        Assembled::Units(vec![AccessUnit {
            track: TrackKind::Video,
            captured_at,
            received_at: arrival,
            rtp_time,
            sync: picture.sync,
            params,
            payload: picture.payload,
            original: None,
        }])
    }

    fn audio(&mut self, data: Bytes, rtp_time: i64, arrival: MonoTime, wall: WallTime) -> Assembled {
        let Some(audio) = &mut self.audio else { return Assembled::Units(Vec::new()) };
        audio.last_rtp = rtp_time;
        let frames = match &mut audio.converter {
            None => vec![(rtp_time, data, None)],
            Some(converter) => match converter.push(rtp_time, &data) {
                Ok(packets) => {
                    packets.into_iter().map(|p| (p.rtp_time, p.payload, Some(p.original))).collect()
                }
                Err(error) => {
                    tracing::debug!(%error, "audio cannot be converted");
                    Vec::new()
                }
            },
        };
        let mut units = Vec::with_capacity(frames.len());
        for (rtp_time, payload, original) in frames {
            let reading = Reading { rtp_time, clock_rate: audio.rate, reorder_depth: 0, arrival, wall };
            let Ok(captured_at) = self.capture.observe(TrackKind::Audio, &reading) else {
                return Assembled::ClockStepped;
            };
            units.push(AccessUnit {
                track: TrackKind::Audio,
                captured_at,
                received_at: arrival,
                rtp_time,
                sync: SyncKind::Closed,
                params: audio.params.clone(),
                payload,
                original,
            });
        }
        Assembled::Units(units)
    }
}

fn offer(tracker: &mut ParamTracker, codec: VideoCodec, raw: &RawParams) -> Result<(), SessionError> {
    let record = match (codec, raw) {
        (VideoCodec::H264, RawParams::H264(record)) | (VideoCodec::H265, RawParams::H265(record)) => record,
        _ => return Err(SessionError::new(ReasonClass::Protocol, "parameter sets of another codec")),
    };
    tracker.offer_record(&Bytes::copy_from_slice(record)).map_err(|error| {
        SessionError::new(ReasonClass::Protocol, format!("parameter sets cannot be read: {error}"))
    })
}

fn audio_line(track: &AudioTrack) -> Option<AudioLine> {
    let rate = NonZeroU32::new(track.clock_rate)?;
    let (params, converter) = match track.source {
        AudioSource::Aac => (aac::audio_params(Bytes::copy_from_slice(&track.config)).ok()?, None),
        // RFC 3551 4.5.14 allows more channels; no camera sends them.
        AudioSource::Pcmu | AudioSource::Pcma if track.channels != 1 => return None,
        AudioSource::Pcmu => converted(Law::Mu)?,
        AudioSource::Pcma => converted(Law::A)?,
    };
    let silence = match params.codec {
        AudioCodec::Aac => aac::silence(&params),
        AudioCodec::Opus => opus::silence(&params),
    };
    Some(AudioLine { params: Arc::new(TrackParams::Audio(params)), silence, rate, last_rtp: 0, converter })
}

fn converted(law: Law) -> Option<(AudioParams, Option<G711ToOpus>)> {
    match G711ToOpus::new(law) {
        Ok(converter) => Some((converter.params().clone(), Some(converter))),
        Err(error) => {
            tracing::warn!(%error, "no conversion of audio");
            None
        }
    }
}

/// The unrolled RTP time nearest to `last` that is `rtp` modulo 2^32 (RFC 3550 A.1).
fn unroll_near(last: i64, rtp: u32) -> i64 {
    // Truncation is the point: differences are taken modulo 2^32.
    let difference = rtp.wrapping_sub(last as u32).cast_signed();
    last.saturating_add(i64::from(difference))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_unrolled_to_the_nearest_turn() {
        let turn = 1i64 << 32;
        for (last, rtp, expect) in [
            (1000, 900, 900),
            (turn + 10, u32::MAX, turn - 1),
            (turn - 10, 5, turn + 5),
            (3 * turn, 7, 3 * turn + 7),
        ] {
            assert_eq!(unroll_near(last, rtp), expect, "{last} {rtp}");
        }
    }
}
