//! What a stream carries, in the words of the RTSP server.

use bytes::Bytes;
use heldar_live::Tracks;
use heldar_media::g711::Law;
use heldar_media::{AudioCodec, AudioParams, RecordError, VideoCodec, VideoParams, h264, h265};
use heldar_rtsp::server::{Format, ParameterSets};

/// Index of the pictures.
pub(super) const VIDEO: usize = 0;
/// Index of the sound.
pub(super) const AUDIO: usize = 1;

/// What a description tells and cannot be changed under a session: the codings.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) codec: VideoCodec,
    pub(super) audio: Option<AudioParams>,
    /// What the camera sends, where the sound of viewers is converted.
    pub(super) law: Option<Law>,
    /// Of the pictures when it was described.
    video: Format,
}

impl Shape {
    /// Of a stream that flows; `None` before its first picture.
    ///
    /// # Errors
    /// Parameter sets that cannot be read.
    pub(super) fn of(tracks: &Tracks) -> Result<Option<Self>, RecordError> {
        let Some(video) = tracks.video() else { return Ok(None) };
        let (audio, law) = (tracks.audio().cloned(), tracks.law);
        Ok(Some(Shape { codec: video.codec, audio, law, video: pictures(video)? }))
    }

    /// Whether one description does for both.
    pub(super) fn is_like(&self, other: &Shape) -> bool {
        self.codec == other.codec && self.audio == other.audio && self.law == other.law
    }

    /// Whether its description is true of what is known of a stream.
    pub(super) fn fits(&self, tracks: &Tracks) -> bool {
        tracks.video().is_some_and(|video| video.codec == self.codec)
            && tracks.audio() == self.audio.as_ref()
            && tracks.law == self.law
    }

    /// Tracks for the server.
    pub(super) fn formats(&self) -> Vec<Format> {
        let mut formats = vec![self.video.clone()];
        formats.extend(self.audio.as_ref().map(|audio| sound(audio, self.law)));
        formats
    }
}

/// Format of pictures.
///
/// # Errors
/// Parameter sets that cannot be read.
pub(super) fn pictures(params: &VideoParams) -> Result<Format, RecordError> {
    let mut sets = ParameterSets::default();
    match params.codec {
        VideoCodec::H264 => {
            for set in h264::parameter_sets(&params.config)? {
                // Types of H.264 7.4.1.
                match set.first().map(|byte| byte & 0x1f) {
                    Some(7) => sets.sps.push(set),
                    Some(8) => sets.pps.push(set),
                    _ => {}
                }
            }
            Ok(Format::H264(sets))
        }
        VideoCodec::H265 => {
            for set in h265::parameter_sets(&params.config)? {
                // Types of H.265 7.4.2.2.
                match set.first().map(|byte| (byte >> 1) & 0x3f) {
                    Some(32) => sets.vps.push(set),
                    Some(33) => sets.sps.push(set),
                    Some(34) => sets.pps.push(set),
                    _ => {}
                }
            }
            Ok(Format::H265(sets))
        }
    }
}

fn sound(params: &AudioParams, law: Option<Law>) -> Format {
    match law {
        Some(Law::Mu) => return Format::Pcmu,
        Some(Law::A) => return Format::Pcma,
        None => {}
    }
    let AudioParams { sample_rate, channels, .. } = *params;
    match params.codec {
        AudioCodec::Aac => Format::Aac { config: Bytes::clone(&params.config), sample_rate, channels },
        AudioCodec::Opus => Format::Opus { channels },
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use heldar_media::TrackParams;

    use super::*;

    /// H.264 whose sequence parameter set has this level.
    pub(in super::super) fn video(level: u8) -> Arc<TrackParams> {
        let config =
            vec![1, 0x42, 0xc0, level, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0xc0, level, 1, 0, 2, 0x68, 0xce];
        Arc::new(TrackParams::Video(VideoParams {
            codec: VideoCodec::H264,
            codec_string: "avc1".to_owned(),
            width: 640,
            height: 360,
            pixel_aspect: None,
            nominal_interval: None,
            reorder_depth: 0,
            config: config.into(),
        }))
    }

    pub(in super::super) fn audio(codec: AudioCodec, sample_rate: u32) -> Arc<TrackParams> {
        Arc::new(TrackParams::Audio(AudioParams {
            codec,
            codec_string: String::new(),
            sample_rate,
            channels: 2,
            frame_samples: 1024,
            config: Bytes::from_static(&[0x11, 0x90]),
        }))
    }

    #[test]
    fn sets_stand_where_they_belong() {
        let Format::H264(sets) = pictures(video(0x1f).video().unwrap()).unwrap() else { panic!() };
        assert_eq!((&sets.sps[0][..], &sets.pps[0][..]), (&[0x67, 0x42, 0xc0, 0x1f][..], &[0x68, 0xce][..]));
        assert!(sets.vps.is_empty());
        let broken = VideoParams { config: Bytes::new(), ..video(0x1f).video().unwrap().clone() };
        assert!(pictures(&broken).is_err());
    }

    #[test]
    fn one_description_does_as_long_as_codings_stay() {
        let tracks = |level, audio| Tracks { video: Some(video(level)), audio, ..Tracks::default() };
        let aac = Some(audio(AudioCodec::Aac, 48_000));
        let shape = Shape::of(&tracks(0x1f, aac.clone())).unwrap().unwrap();
        assert_eq!(shape.formats().len(), 2);
        assert!(shape.fits(&tracks(0x28, aac)));
        assert!(!shape.fits(&tracks(0x1f, None)));
        assert!(!shape.fits(&tracks(0x1f, Some(audio(AudioCodec::Aac, 44_100)))));
        assert!(!shape.fits(&tracks(0x1f, Some(audio(AudioCodec::Opus, 48_000)))));
        assert!(Shape::of(&Tracks::default()).unwrap().is_none());
        // What was converted for others goes on as it came.
        let opus = Some(audio(AudioCodec::Opus, 48_000));
        let converted = Tracks { law: Some(Law::Mu), ..tracks(0x1f, opus.clone()) };
        let shape = Shape::of(&converted).unwrap().unwrap();
        assert!(matches!(shape.formats()[AUDIO], Format::Pcmu));
        assert!(shape.fits(&converted) && !shape.fits(&tracks(0x1f, opus)));
    }
}
