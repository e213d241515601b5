//! From access units to fragments for viewers: one picture each, with the sound that came since the one before.
//!
//! Owns: the media time of a stream's viewers, which counts from the first picture muxed and goes on over lost sessions and
//! changed parameters. Contract: `push` in order of arrival; a picture comes out at once, with the usual interval as its
//! duration, and the decode time of the next one corrects that. A file tells the duration afterwards; a viewer cannot
//! wait for it. Sound that stops is filled with coded silence for 10 s, because players stop where one track ends; after
//! that the fragments go on without it. Sound that only comes late is waited for, up to 5 s: players then stay that much
//! behind, with picture and sound together.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use heldar_base::{Micros, WallTime};
use heldar_bmff::{
    AUDIO_TRACK_ID, FragmentHeader, InitSegment, SampleMeta, TrackRun, VIDEO_TIMESCALE, VIDEO_TRACK_ID,
};
use heldar_media::{AccessUnit, AudioParams, DecodeTimes, TrackKind, TrackParams, VideoParams};

use crate::bus::Tracks;
use crate::ring::Piece;

/// Sound this far behind the pictures is filled up, of a camera that never sent it later.
const FILL_AFTER: Micros = Micros::from_secs(1);
/// Sound that is usually later than the pictures by more than this is not waited for.
const LONGEST_DELAY: Micros = Micros::from_secs(5);
/// How much later than the latest so far the next sound may be.
const DELAY_MARGIN: Micros = Micros::from_millis(300);
/// Sound that is away for so long is given up.
const GIVE_UP_AFTER: Micros = Micros::from_secs(10);
/// Interval of pictures before anything is known of it.
const USUAL_INTERVAL: Micros = Micros::from_millis(40);
/// A picture is never said to last longer.
const LONGEST: Micros = Micros::from_secs(2);

/// What fragments that follow are to be read with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// `ftyp` and `moov`.
    pub bytes: Bytes,
    /// RFC 6381 strings of all tracks, with commas between.
    pub codec_string: String,
    /// Width of the pictures.
    pub width: u32,
    /// Height of the pictures.
    pub height: u32,
    /// Capture time of media time 0.
    pub origin: WallTime,
    /// Coding of the sound.
    pub audio: Option<&'static str>,
}

/// One picture and the sound beside it, as a `moof` and an `mdat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What it is to be read with.
    pub init: Arc<Init>,
    /// The boxes.
    pub bytes: Bytes,
    /// Decoding can start here.
    pub sync: bool,
    /// When its picture was captured.
    pub captured_at: WallTime,
    /// Decode time of its picture, from media time 0.
    pub decode_time: Micros,
    /// How long it is said to last.
    pub duration: Micros,
}

impl Piece for Arc<Fragment> {
    fn is_start(&self) -> bool {
        self.sync
    }

    fn size(&self) -> usize {
        self.bytes.len()
    }

    fn captured_at(&self) -> WallTime {
        self.captured_at
    }
}

/// Makes the fragments of one stream.
#[derive(Debug, Default)]
pub struct Mux {
    video: Option<Video>,
    sound: Option<Sound>,
    init: Option<(Made, Arc<Init>)>,
    /// Capture time of media time 0, and where the last picture ends.
    origin: Option<WallTime>,
    end: Micros,
    sequence: u32,
}

/// What an init segment was made from.
#[derive(Debug)]
struct Made {
    video: Arc<TrackParams>,
    audio: Option<Arc<TrackParams>>,
}

#[derive(Debug)]
struct Video {
    params: Arc<TrackParams>,
    times: DecodeTimes,
    /// Decode time of the last picture.
    last: Option<WallTime>,
    interval: Micros,
}

#[derive(Debug)]
struct Sound {
    params: Arc<TrackParams>,
    silence: Option<Bytes>,
    /// Frames since the last fragment, with their places in samples.
    waiting: Vec<(u64, Bytes)>,
    /// Where the next frame goes when nothing is missing.
    next: Option<u64>,
    /// Up to where the camera itself brought sound.
    brought_to: Option<WallTime>,
    /// Sound this far behind the pictures is filled up.
    fill_after: Micros,
    given_up: bool,
}

impl Mux {
    /// Takes a unit; a picture comes out as a fragment. `None` for what goes out later, and for pictures before the first
    /// sync sample.
    ///
    /// # Errors
    /// Parameters or a unit that no MP4 can carry; what follows is tried anew.
    pub fn push(
        &mut self,
        unit: &AccessUnit,
        tracks: &Tracks,
    ) -> Result<Option<Fragment>, heldar_bmff::Error> {
        match unit.track {
            TrackKind::Audio => {
                self.hear(unit, tracks);
                Ok(None)
            }
            TrackKind::Video => self.picture(unit, tracks),
        }
    }

    /// The session was lost; what comes next begins with a sync sample.
    pub fn interrupt(&mut self) {
        self.video = None;
        if let Some(sound) = &mut self.sound {
            sound.begin_anew();
        }
    }

    /// Sound waits for the next picture.
    fn hear(&mut self, unit: &AccessUnit, tracks: &Tracks) {
        let Some(origin) = self.origin else { return };
        self.follow_sound(tracks);
        let Some(sound) = self.sound.as_mut().filter(|sound| sound.params.same_sample_entry(&unit.params))
        else {
            return;
        };
        sound.given_up = false;
        sound.brought_to = sound.brought_to.max(Some(unit.captured_at));
        if let Some(picture) = self.video.as_ref().and_then(|video| video.last) {
            sound.came_behind(picture - unit.captured_at);
        }
        sound.place(unit.captured_at - origin, unit.payload.clone());
    }

    /// Takes over what the session says of its sound.
    fn follow_sound(&mut self, tracks: &Tracks) {
        let is_same = match (&self.sound, &tracks.audio) {
            (Some(sound), Some(params)) => sound.params.same_sample_entry(params),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            self.sound = tracks.audio.clone().map(|params| Sound {
                params,
                silence: tracks.silence.clone(),
                waiting: Vec::new(),
                next: None,
                brought_to: None,
                fill_after: FILL_AFTER,
                given_up: false,
            });
        }
    }

    fn picture(
        &mut self,
        unit: &AccessUnit,
        tracks: &Tracks,
    ) -> Result<Option<Fragment>, heldar_bmff::Error> {
        let Some(params) = unit.params.video() else { return Ok(None) };
        let goes_on = self.video.as_ref().is_some_and(|video| video.params.same_sample_entry(&unit.params));
        if !goes_on && !unit.sync.is_sync() {
            return Ok(None);
        }
        let video = match &mut self.video {
            Some(video) if goes_on => video,
            video => video.insert(Video::new(unit.params.clone(), params)),
        };
        video.times.set_depth(params.reorder_depth);
        let decoded_at = video.times.next(unit.captured_at, unit.sync);
        if let Some(last) = video.last {
            video.interval = (decoded_at - last).clamp(Micros::from_millis(1), LONGEST);
        }
        video.last = Some(decoded_at);
        let interval = video.interval;
        self.follow_sound(tracks);
        let origin = self.origin_for(decoded_at, !goes_on);
        if let Some(sound) = &mut self.sound {
            sound.fill(decoded_at, origin);
        }
        let init = self.init_for(&unit.params, params, origin)?;
        let fragment = self.lay_out(init, unit, decoded_at, interval)?;
        self.end = fragment.decode_time + interval;
        Ok(Some(fragment))
    }

    /// Capture time of media time 0. It moves where the clock was set back between two sessions: media time goes on where
    /// it ended, and viewers are told of the new origin.
    fn origin_for(&mut self, at: WallTime, is_first: bool) -> WallTime {
        let origin = *self.origin.get_or_insert(at);
        if is_first && at - origin < self.end {
            self.origin = Some(at - self.end);
            if let Some(sound) = &mut self.sound {
                sound.begin_anew();
            }
            return at - self.end;
        }
        origin
    }

    /// The init segment in force; a new one where the tracks are not what it says. Media time never goes back.
    fn init_for(
        &mut self,
        params: &Arc<TrackParams>,
        video: &VideoParams,
        origin: WallTime,
    ) -> Result<Arc<Init>, heldar_bmff::Error> {
        let sound = self.sound.as_ref().filter(|sound| !sound.given_up);
        if let Some((made, init)) = &self.init
            && init.origin == origin
            && made.video.same_sample_entry(params)
            && match (&made.audio, sound) {
                (Some(audio), Some(sound)) => audio.same_sample_entry(&sound.params),
                (None, None) => true,
                _ => false,
            }
        {
            return Ok(init.clone());
        }
        let audio = sound.and_then(|sound| sound.params.audio());
        let codecs = [Some(video.codec_string.as_str()), audio.map(|audio| audio.codec_string.as_str())];
        let init = Arc::new(Init {
            bytes: InitSegment::new(video, audio)?.bytes().to_vec().into(),
            codec_string: codecs.into_iter().flatten().collect::<Vec<_>>().join(","),
            width: video.width,
            height: video.height,
            origin,
            audio: audio.map(|audio| audio.codec.as_str()),
        });
        let made = Made { video: params.clone(), audio: sound.map(|sound| sound.params.clone()) };
        self.init = Some((made, init.clone()));
        Ok(init)
    }

    fn lay_out(
        &mut self,
        init: Arc<Init>,
        unit: &AccessUnit,
        decoded_at: WallTime,
        duration: Micros,
    ) -> Result<Fragment, heldar_bmff::Error> {
        let decode_time = (decoded_at - init.origin).max(Micros::ZERO);
        let ticks = |time: Micros| time.to_ticks(VIDEO_TIMESCALE);
        let start = u64::try_from(ticks(decode_time)).unwrap_or(0);
        let offset = ticks(unit.captured_at - init.origin) - ticks(decode_time);
        let picture = [SampleMeta {
            size: size_of(&unit.payload)?,
            duration: u32::try_from(ticks(duration)).unwrap_or(1).max(1),
            composition_offset: i32::try_from(offset)
                .map_err(|_| heldar_bmff::Error::TooLarge("composition offset"))?,
            sync: unit.sync.is_sync(),
        }];
        let mut runs =
            vec![TrackRun { track_id: VIDEO_TRACK_ID, base_decode_time: start, samples: &picture }];
        let (at, frames) =
            self.sound.as_mut().filter(|sound| !sound.given_up).map_or((0, Vec::new()), Sound::take);
        let mut sounds = Vec::with_capacity(frames.len());
        for (duration, payload) in &frames {
            sounds.push(SampleMeta {
                size: size_of(payload)?,
                duration: *duration,
                composition_offset: 0,
                sync: true,
            });
        }
        if !sounds.is_empty() {
            runs.push(TrackRun { track_id: AUDIO_TRACK_ID, base_decode_time: at, samples: &sounds });
        }
        self.sequence = self.sequence.wrapping_add(1);
        let header = FragmentHeader::new(self.sequence, &runs)?;
        let mut bytes =
            BytesMut::with_capacity(usize::try_from(header.fragment_len()).unwrap_or(header.bytes.len()));
        bytes.put_slice(&header.bytes);
        bytes.put_slice(&unit.payload);
        for (_, payload) in &frames {
            bytes.put_slice(payload);
        }
        let (sync, captured_at) = (unit.sync.is_sync(), unit.captured_at);
        Ok(Fragment { init, bytes: bytes.freeze(), sync, captured_at, decode_time, duration })
    }
}

impl Video {
    fn new(params: Arc<TrackParams>, video: &VideoParams) -> Self {
        let interval = video.nominal_interval;
        Video {
            times: DecodeTimes::new(video.reorder_depth, interval),
            params,
            last: None,
            interval: interval.unwrap_or(USUAL_INTERVAL),
        }
    }
}

impl Sound {
    fn audio(&self) -> Option<(i64, i64)> {
        let AudioParams { sample_rate, frame_samples, .. } = self.params.audio()?;
        Some((i64::from(*sample_rate), i64::from(*frame_samples).max(1)))
    }

    /// What follows has nothing to do with what came before.
    fn begin_anew(&mut self) {
        self.waiting.clear();
        self.next = None;
        self.brought_to = None;
    }

    /// A frame has come so long after the picture of the same time: silence is not to take the place of the next.
    fn came_behind(&mut self, delay: Micros) {
        if delay <= LONGEST_DELAY {
            self.fill_after = self.fill_after.max(delay + DELAY_MARGIN);
        }
    }

    /// Puts a frame behind the one before, unless its own time lies more than half a frame elsewhere.
    fn place(&mut self, since_origin: Micros, payload: Bytes) {
        let Some((rate, frame)) = self.audio() else { return };
        let own = since_origin.0 * rate / 1_000_000;
        let at = match self.next.and_then(|next| i64::try_from(next).ok()) {
            Some(next) if (own - next).abs() <= frame / 2 => next,
            // It would lie over what is there already.
            Some(next) if own < next => return,
            _ => own,
        };
        let Ok(at) = u64::try_from(at) else { return };
        self.waiting.push((at, payload));
        self.next = Some(at.saturating_add(frame.unsigned_abs()));
    }

    /// Fills up with silence what is missing until shortly before `to`, the decode time of the newest picture.
    fn fill(&mut self, to: WallTime, origin: WallTime) {
        let Some((rate, frame)) = self.audio() else { return };
        let brought_to = *self.brought_to.get_or_insert(to);
        if to - brought_to > GIVE_UP_AFTER || (to - brought_to > self.fill_after && self.silence.is_none()) {
            self.given_up = true;
            self.waiting.clear();
            self.next = None;
            return;
        }
        if to - brought_to <= self.fill_after {
            return;
        }
        let Some(silence) = self.silence.clone() else { return };
        let samples = |time: Micros| time.0 * rate / 1_000_000;
        // Pictures go on being shown only where there is sound, so that it may not end before they do.
        let end = samples(to - origin);
        let mut at = match self.next {
            Some(next) => i64::try_from(next).unwrap_or(end),
            None => samples(to - origin - self.fill_after).max(0),
        };
        while at < end {
            self.waiting.push((at.unsigned_abs(), silence.clone()));
            at += frame;
        }
        self.next = Some(at.unsigned_abs());
    }

    /// The frames that wait, as one run: where it begins, and each frame with its duration.
    fn take(&mut self) -> (u64, Vec<(u32, Bytes)>) {
        let frame = self.audio().map_or(1, |(_, frame)| frame.unsigned_abs());
        let waiting = std::mem::take(&mut self.waiting);
        let Some((first, _)) = waiting.first() else { return (0, Vec::new()) };
        let begin = *first;
        let ends = waiting.iter().skip(1).map(|(at, _)| *at).chain(self.next).collect::<Vec<_>>();
        let frames = waiting.into_iter().zip(ends);
        let lasting =
            |at: u64, end: u64| u32::try_from(end.saturating_sub(at).max(1)).unwrap_or(frame as u32);
        (begin, frames.map(|((at, payload), end)| (lasting(at, end), payload)).collect())
    }
}

fn size_of(payload: &Bytes) -> Result<u32, heldar_bmff::Error> {
    u32::try_from(payload.len()).map_err(|_| heldar_bmff::Error::TooLarge("sample"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::picture;

    #[test]
    fn media_time_goes_on_where_the_clock_was_set_back_between_sessions() {
        let (mut mux, tracks) = (Mux::default(), Tracks::default());
        let push = |mux: &mut Mux, ms, sync| mux.push(&picture(ms, sync, 9), &tracks).unwrap().unwrap();
        for number in 0..50 {
            push(&mut mux, number * 40, number == 0);
        }
        let last = push(&mut mux, 2000, false);
        mux.interrupt();
        // A pause on the same clock is a pause in media time.
        let paused = push(&mut mux, 9000, true);
        assert_eq!(paused.decode_time - last.decode_time, Micros::from_secs(7));
        assert!(Arc::ptr_eq(&paused.init, &last.init));
        mux.interrupt();
        let hour = 3_600_000;
        let back = push(&mut mux, 10_000 - hour, true);
        assert_eq!(back.decode_time - paused.decode_time, Micros::from_millis(40));
        // Viewers are told what media time 0 stands for now.
        assert_eq!(back.init.origin + back.decode_time, back.captured_at);
        assert_ne!(back.init.origin, paused.init.origin);
        let next = push(&mut mux, 10_040 - hour, false);
        assert_eq!(next.decode_time - back.decode_time, Micros::from_millis(40));
        assert!(Arc::ptr_eq(&next.init, &back.init));
    }

    const SILENCE: &[u8] = b"(silence)";
    const SOUND: &[u8] = b"(sound)";

    fn tracks_with_sound() -> Tracks {
        let audio = AudioParams {
            codec: heldar_media::AudioCodec::Opus,
            codec_string: "opus".to_owned(),
            sample_rate: 48_000,
            channels: 1,
            frame_samples: 960,
            config: Bytes::from_static(&[0, 1, 0, 0, 0, 0, 0xbb, 0x80, 0, 0, 0]),
        };
        Tracks {
            audio: Some(Arc::new(TrackParams::Audio(audio))),
            silence: Some(Bytes::from_static(SILENCE)),
            ..Tracks::default()
        }
    }

    fn sound(ms: i64, tracks: &Tracks) -> AccessUnit {
        AccessUnit {
            track: TrackKind::Audio,
            params: tracks.audio.clone().unwrap(),
            payload: Bytes::from_static(SOUND),
            ..(*picture(ms, true, 0)).clone()
        }
    }

    /// Frames of silence and of sound in ten seconds of a camera whose sound comes so many milliseconds late.
    fn heard(late_ms: i64) -> (usize, usize) {
        let (mut mux, tracks) = (Mux::default(), tracks_with_sound());
        let (mut silent, mut loud) = (0, 0);
        for number in 0..250 {
            let at = number * 40;
            let fragment = mux.push(&picture(at, number == 0, 9), &tracks).unwrap().unwrap();
            let count =
                |what: &[u8]| fragment.bytes.windows(what.len()).filter(|bytes| *bytes == what).count();
            silent += count(SILENCE);
            loud += count(SOUND);
            for ms in [at - late_ms, at - late_ms + 20].into_iter().filter(|ms| *ms >= 0) {
                assert_eq!(mux.push(&sound(ms, &tracks), &tracks).unwrap(), None);
            }
        }
        (silent, loud)
    }

    #[test]
    fn late_sound_is_waited_for_and_sound_that_is_too_late_is_silence() {
        for late_ms in [0, 800, 1_200, 3_000] {
            let (silent, loud) = heard(late_ms);
            // What came before it was known how late the sound is, and what the last picture did not take along.
            let at_most = usize::try_from(late_ms / 20).unwrap();
            assert!(silent <= at_most && loud + silent >= 490 - at_most, "{late_ms} ms: {silent}, {loud}");
            assert!(loud >= 490 - 2 * at_most, "{late_ms} ms: {silent}, {loud}");
        }
        let (silent, loud) = heard(6_000);
        assert!(silent > 400 && loud == 0, "{silent}, {loud}");
    }
}
