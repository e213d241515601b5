//! MPEG-4 AAC: AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1) and coded silence.

use bytes::Bytes;

use crate::bits::{BitError, BitReader};
use crate::params::{AudioCodec, AudioParams};

/// Why a configuration cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AacError {
    /// It ends too early, or holds a value without meaning.
    #[error("malformed AudioSpecificConfig: {0}")]
    Malformed(#[from] BitError),
    /// An audio object type other than AAC Main, LC or LTP, with or without SBR and PS.
    #[error("audio object type {0} is not supported")]
    ObjectType(u32),
    /// A reserved sampling frequency or channel configuration.
    #[error("reserved {0}")]
    Reserved(&'static str),
}

/// Table 1.18, `samplingFrequencyIndex` 0 to 12.
const SAMPLE_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// `samplingFrequencyIndex` that announces 24 bits of its own.
const EXPLICIT_RATE: u32 = 15;

const AAC_MAIN: u32 = 1;
const AAC_LC: u32 = 2;
const AAC_LTP: u32 = 4;
const SBR: u32 = 5;
const PS: u32 = 29;

/// An AudioSpecificConfig, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioSpecificConfig {
    /// Outermost `audioObjectType`: 5 or 29 where SBR or PS is signalled in the hierarchical way.
    pub object_type: u32,
    /// Object type of the core coder.
    pub core_object_type: u32,
    /// Samples per second of the core coder: half of what SBR plays.
    pub sample_rate: u32,
    /// Samples per second after SBR, where that is signalled.
    pub extension_sample_rate: Option<u32>,
    /// `channelConfiguration`; 0 when a program config element tells the channels.
    pub channel_configuration: u8,
    /// Channels of the core coder.
    pub channels: u8,
    /// Samples of the core coder in one frame: 1024 or 960.
    pub frame_samples: u32,
}

impl AudioSpecificConfig {
    /// Reads a configuration; bytes behind it are ignored.
    ///
    /// # Errors
    /// [`AacError`].
    pub fn parse(config: &[u8]) -> Result<Self, AacError> {
        let r = &mut BitReader::new(config);
        let object_type = read_object_type(r)?;
        let sample_rate = read_sample_rate(r)?;
        let channel_configuration = r.bits(4)? as u8;
        let mut extension_sample_rate = None;
        let mut core_object_type = object_type;
        if matches!(object_type, SBR | PS) {
            extension_sample_rate = Some(read_sample_rate(r)?);
            core_object_type = read_object_type(r)?;
        }
        if !matches!(core_object_type, AAC_MAIN | AAC_LC | AAC_LTP) {
            return Err(AacError::ObjectType(core_object_type));
        }
        // GASpecificConfig (4.4.1)
        let frame_samples = if r.flag()? { 960 } else { 1024 };
        if r.flag()? {
            r.skip(14)?; // coreCoderDelay
        }
        r.skip(1)?; // extensionFlag
        let channels = match channel_configuration {
            0 => read_program_config(r)?,
            n @ 1..=6 => n,
            7 | 12 | 14 => 8,
            11 => 7,
            _ => return Err(AacError::Reserved("channelConfiguration")),
        };
        if extension_sample_rate.is_none() {
            extension_sample_rate = read_sync_extension(r);
        }
        Ok(AudioSpecificConfig {
            object_type,
            core_object_type,
            sample_rate,
            extension_sample_rate,
            channel_configuration,
            channels,
            frame_samples,
        })
    }
}

/// `GetAudioObjectType()` (table 1.16).
fn read_object_type(r: &mut BitReader<'_>) -> Result<u32, BitError> {
    match r.bits(5)? {
        31 => Ok(32 + r.bits(6)?),
        kind => Ok(kind),
    }
}

fn read_sample_rate(r: &mut BitReader<'_>) -> Result<u32, AacError> {
    let index = r.bits(4)?;
    let rate = match index {
        EXPLICIT_RATE => r.bits(24)?,
        _ => *SAMPLE_RATES.get(index as usize).ok_or(AacError::Reserved("samplingFrequencyIndex"))?,
    };
    if rate == 0 { Err(AacError::Reserved("samplingFrequency")) } else { Ok(rate) }
}

/// `program_config_element()` (4.5.1.1): counts its channels.
fn read_program_config(r: &mut BitReader<'_>) -> Result<u8, AacError> {
    r.skip(4 + 2 + 4)?; // element_instance_tag, object_type, sampling_frequency_index
    let [front, side, back] = [r.bits(4)?, r.bits(4)?, r.bits(4)?];
    let lfe = r.bits(2)?;
    let (data, coupling) = (r.bits(3)?, r.bits(4)?);
    for bits in [4, 4, 3] {
        if r.flag()? {
            r.skip(bits)?; // mono, stereo, matrix mixdown
        }
    }
    let mut channels = 0;
    for _ in 0..front + side + back {
        channels += if r.flag()? { 2 } else { 1 };
        r.skip(4)?;
    }
    channels += lfe;
    r.skip((4 * (lfe + data) + 5 * coupling) as usize)?;
    u8::try_from(channels).ok().filter(|n| *n > 0).ok_or(AacError::Reserved("program config element"))
}

/// SBR signalled behind the configuration so that older readers do not see it (1.6.5.2); `None` when it is not there.
fn read_sync_extension(r: &mut BitReader<'_>) -> Option<u32> {
    if r.bits(11).ok()? != 0x2b7 || read_object_type(r).ok()? != SBR || !r.flag().ok()? {
        return None;
    }
    read_sample_rate(r).ok()
}

/// Parameters of a track from its AudioSpecificConfig.
///
/// Rate and frame length are those of the core coder, on which files and RTP count time; SBR shows in the codec string
/// only (`mp4a.40.5`, `mp4a.40.29`) and decoders find it in the configuration.
///
/// # Errors
/// [`AacError`].
pub fn audio_params(config: Bytes) -> Result<AudioParams, AacError> {
    let read = AudioSpecificConfig::parse(&config)?;
    Ok(AudioParams {
        codec: AudioCodec::Aac,
        codec_string: format!("mp4a.40.{}", read.object_type),
        sample_rate: read.sample_rate,
        channels: read.channels,
        frame_samples: read.frame_samples,
        config,
    })
}

/// The two bytes of configuration of plain AAC-LC; `None` for a rate outside table 1.18 or more than six channels.
pub fn lc_config(sample_rate: u32, channels: u8) -> Option<Bytes> {
    let index = SAMPLE_RATES.iter().position(|rate| *rate == sample_rate)? as u16;
    if !(1..=6).contains(&channels) {
        return None;
    }
    let bits = ((AAC_LC as u16) << 11) | (index << 7) | (u16::from(channels) << 3);
    Some(Bytes::copy_from_slice(&bits.to_be_bytes()))
}

/// Mono (4.4.2.1): single channel element 0, long window, no scale factor bands, end.
///
/// `000 0000`, `global_gain 00000000`, `ics_info 0 00 0 000000 0`, `pulse, TNS, gain control 0 0 0`, `111`, padding.
const SILENT_MONO: &[u8] = &[0x00, 0x00, 0x00, 0x07];

/// Stereo: channel pair element 0 with a common window, no bands, no M/S, both channels as above, end.
///
/// `001 0000 1`, `ics_info 0 00 0 000000 0`, `ms_mask_present 00`, twice `00000000 0 0 0`, `111`, padding.
const SILENT_STEREO: &[u8] = &[0x21, 0x00, 0x00, 0x00, 0x00, 0x1c];

/// One raw frame of silence; `None` where none is known: more than two channels, or channels told by a program config
/// element.
pub fn silence(params: &AudioParams) -> Option<Bytes> {
    let config = AudioSpecificConfig::parse(&params.config).ok()?;
    match config.channel_configuration {
        1 => Some(Bytes::from_static(SILENT_MONO)),
        2 => Some(Bytes::from_static(SILENT_STEREO)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(config: &[u8], expect: Result<(&str, u32, u8, u32), AacError>) {
        let got = audio_params(Bytes::copy_from_slice(config));
        let got = got.as_ref().map(|p| (p.codec_string.as_str(), p.sample_rate, p.channels, p.frame_samples));
        assert_eq!(got, expect.as_ref().copied(), "{config:02x?}");
    }

    #[test]
    fn configurations() {
        check(&[0x12, 0x10], Ok(("mp4a.40.2", 44_100, 2, 1024)));
        check(&[0x14, 0x08], Ok(("mp4a.40.2", 16_000, 1, 1024)));
        check(&[0x14, 0x0c], Ok(("mp4a.40.2", 16_000, 1, 960)));
        check(&[0x15, 0x88], Ok(("mp4a.40.2", 8_000, 1, 1024)));
        // 24 bits of sampling frequency: 48 001
        check(&[0x17, 0x80, 0x5d, 0xc0, 0x88], Ok(("mp4a.40.2", 48_001, 1, 1024)));
        // SBR over 24 kHz stereo, hierarchical, and behind the configuration
        check(&[0x2b, 0x11, 0x88, 0x00], Ok(("mp4a.40.5", 24_000, 2, 1024)));
        check(&[0x13, 0x10, 0x56, 0xe5, 0x98], Ok(("mp4a.40.2", 24_000, 2, 1024)));
        // PS
        check(&[0xeb, 0x09, 0x88, 0x00], Ok(("mp4a.40.29", 24_000, 1, 1024)));
        // ER AAC-ELD (39), reserved index, reserved channels, frequency 0, truncated
        check(&[0xf8, 0xe6, 0x40], Err(AacError::ObjectType(39)));
        check(&[0x16, 0x88], Err(AacError::Reserved("samplingFrequencyIndex")));
        check(&[0x12, 0x78], Err(AacError::Reserved("channelConfiguration")));
        check(&[0x17, 0x80, 0x00, 0x00, 0x08], Err(AacError::Reserved("samplingFrequency")));
        check(&[0x12], Err(AacError::Malformed(BitError::End)));
        check(&[], Err(AacError::Malformed(BitError::End)));
    }

    #[test]
    fn sbr_rates() {
        for (config, rate) in [
            (&[0x2b, 0x11, 0x88, 0x00][..], Some(48_000)),
            (&[0x13, 0x10, 0x56, 0xe5, 0x98], Some(48_000)),
            (&[0x13, 0x10], None),
        ] {
            assert_eq!(AudioSpecificConfig::parse(config).unwrap().extension_sample_rate, rate);
        }
    }

    #[test]
    fn lc_configurations_read_back() {
        for rate in SAMPLE_RATES {
            for channels in 1..=6 {
                let params = audio_params(lc_config(rate, channels).unwrap()).unwrap();
                assert_eq!((params.sample_rate, params.channels), (rate, channels));
                assert_eq!(silence(&params).is_some(), channels <= 2);
            }
        }
        assert_eq!(lc_config(44_000, 2), None);
        assert_eq!(lc_config(48_000, 7), None);
    }

    proptest! {
        #[test]
        fn parse_never_panics(config in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(read) = AudioSpecificConfig::parse(&config) {
                prop_assert!(read.channels > 0 && read.sample_rate > 0);
            }
        }
    }
}
