//! Sample entries (8.5.2): how codec parameters stand in a file.

use bytes::Bytes;
use heldar_media::{AudioCodec, AudioParams, TrackParams, VideoCodec, VideoParams};

use crate::{
    boxes::BoxWriter,
    descriptor::{MAX_SPECIFIC_CONFIG, write_esds},
    entry_read,
    error::Error,
    sample::{AUDIO_TRACK_ID, VIDEO_TRACK_ID},
};

/// Longest codec configuration that is written; parameter sets of cameras have some tens of bytes.
const MAX_CONFIG: usize = 1 << 16;

/// A track as its file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackEntry {
    /// Track id.
    pub id: u32,
    /// Ticks per second of the track's times.
    pub timescale: u32,
    /// Its sample entry, the whole box.
    pub entry: Bytes,
    /// Ticks by which the composition offsets in the file's fragments are raised, so that none is negative; an edit list
    /// (8.6.6) takes them off again. Readers give offsets without it.
    pub presentation_delay: u32,
}

impl TrackEntry {
    /// The entry of a track with these parameters, with the track id that its kind has in recorded files.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for parameters that no MP4 can carry, such as an empty configuration or a side of more
    /// than 65,535 pixels.
    pub fn new(params: &TrackParams) -> Result<Self, Error> {
        if params.timescale() == 0 {
            return Err(Error::Unsupported("sample rate 0"));
        }
        let (id, entry) = match params {
            TrackParams::Video(video) => (VIDEO_TRACK_ID, write_video(video)?),
            TrackParams::Audio(audio) => (AUDIO_TRACK_ID, write_audio(audio)?),
        };
        Ok(TrackEntry { id, timescale: params.timescale(), entry: entry.into(), presentation_delay: 0 })
    }

    /// The same as a sample table tells it, in which composition offsets are not raised.
    pub(crate) fn undelayed(&self) -> Self {
        TrackEntry { presentation_delay: 0, ..self.clone() }
    }

    /// The parameters, as far as a sample entry holds them: nominal interval and reorder depth of video as its parameter
    /// sets tell them (else `None` and 0), the frame length of Opus as 960, which it is not bound to.
    ///
    /// # Errors
    /// [`Error::Malformed`], or [`Error::Unsupported`] for a coding that is not recorded.
    pub fn params(&self) -> Result<TrackParams, Error> {
        entry_read::read(&self.entry, self.timescale)
    }
}

/// Displayed sides in pixels, as they fit a sample entry.
fn sides(video: &VideoParams) -> Result<(u16, u16), Error> {
    let side = |pixels: u32| u16::try_from(pixels).ok().filter(|&p| p > 0);
    match (side(video.width), side(video.height)) {
        (Some(width), Some(height)) => Ok((width, height)),
        _ => Err(Error::Unsupported("picture size")),
    }
}

fn write_video(video: &VideoParams) -> Result<Vec<u8>, Error> {
    let (width, height) = sides(video)?;
    // Both records start with configurationVersion = 1 (ISO/IEC 14496-15 5.3.3.1 and 8.3.3.1).
    let (kind, config_kind, shortest) = match video.codec {
        VideoCodec::H264 => (b"avc1", b"avcC", 7),
        VideoCodec::H265 => (b"hvc1", b"hvcC", 23),
    };
    if video.config.len() < shortest || video.config.len() > MAX_CONFIG || video.config.first() != Some(&1) {
        return Err(Error::Unsupported("codec configuration record"));
    }
    let mut w = BoxWriter::with_capacity(128 + video.config.len());
    w.boxed(kind, |w| {
        w.zeros(6);
        w.u16(1); // data_reference_index
        w.zeros(16);
        w.u16(width);
        w.u16(height);
        w.u32(0x0048_0000); // 72 dpi
        w.u32(0x0048_0000);
        w.u32(0);
        w.u16(1); // frame_count
        w.zeros(32);
        w.u16(0x18); // depth: colour without alpha
        w.u16(0xffff);
        w.boxed(config_kind, |w| w.bytes(&video.config));
        if let Some((horizontal, vertical)) = uneven_aspect(video) {
            w.boxed(b"pasp", |w| {
                w.u32(horizontal);
                w.u32(vertical);
            });
        }
    });
    Ok(w.finish())
}

/// The pixel aspect where it is known and not square.
pub(crate) fn uneven_aspect(video: &VideoParams) -> Option<(u32, u32)> {
    video
        .pixel_aspect
        .filter(|&(horizontal, vertical)| horizontal != vertical && horizontal > 0 && vertical > 0)
}

fn write_audio(audio: &AudioParams) -> Result<Vec<u8>, Error> {
    let kind = match audio.codec {
        AudioCodec::Aac => b"mp4a",
        AudioCodec::Opus => b"Opus",
    };
    let fits = match audio.codec {
        AudioCodec::Aac => 2..=MAX_SPECIFIC_CONFIG,
        // Encapsulation of Opus in ISO BMFF 4.3.2: eleven bytes, more with a channel mapping table.
        AudioCodec::Opus => 11..=11 + 2 + 255,
    };
    if !fits.contains(&audio.config.len()) {
        return Err(Error::Unsupported("codec configuration record"));
    }
    if audio.codec == AudioCodec::Opus && audio.sample_rate != 48_000 {
        return Err(Error::Unsupported("Opus with a clock other than 48000"));
    }
    let mut w = BoxWriter::with_capacity(128 + audio.config.len());
    w.boxed(kind, |w| {
        w.zeros(6);
        w.u16(1); // data_reference_index
        w.zeros(8);
        w.u16(u16::from(audio.channels));
        w.u16(16); // samplesize, a constant for coded audio
        w.u32(0);
        // 16.16; rates that do not fit stand in the codec's configuration only (12.2.3.2).
        w.u32(u16::try_from(audio.sample_rate).map_or(0, |rate| u32::from(rate) << 16));
        match audio.codec {
            AudioCodec::Aac => write_esds(w, &audio.config),
            AudioCodec::Opus => w.boxed(b"dOps", |w| w.bytes(&audio.config)),
        }
    });
    Ok(w.finish())
}
