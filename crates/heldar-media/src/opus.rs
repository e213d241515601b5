//! Opus (RFC 6716): packet durations, coded silence, and its parameters in files (RFC 7845; Opus in ISO Base Media 4.3).

use bytes::{BufMut, Bytes, BytesMut};

use crate::params::{AudioCodec, AudioParams};

/// Samples per second in which Opus counts time, whatever its input was (RFC 7845 4).
pub const SAMPLE_RATE: u32 = 48_000;

/// Longest packet: 120 ms (RFC 6716 3.2.5, R5).
const MAX_SAMPLES: u32 = 5760;

/// A packet that breaks a rule of RFC 6716 3.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpusError {
    /// R1: no bytes at all.
    #[error("empty packet")]
    Empty,
    /// R3 to R7: lengths of frames that do not add up.
    #[error("frame lengths do not fit the packet")]
    Lengths,
    /// R5: no frame, or more than 120 ms.
    #[error("no frame, or more than 120 ms")]
    Duration,
}

/// Samples at 48 kHz that a packet decodes to, from its first bytes (RFC 6716 3.1).
///
/// # Errors
/// [`OpusError`] for packets that a decoder must refuse.
pub fn packet_samples(packet: &[u8]) -> Result<u32, OpusError> {
    let (toc, frames) = packet.split_first().ok_or(OpusError::Empty)?;
    let frame = frame_samples(toc >> 3);
    let count = match toc & 3 {
        0 => 1,
        1 if frames.len() % 2 == 0 => 2,
        2 if take_length(frames).is_some_and(|(len, rest)| len <= rest.len()) => 2,
        3 => return packed_samples(frame, frames),
        _ => return Err(OpusError::Lengths),
    };
    Ok(frame * count)
}

/// Samples of one frame of a configuration (table 2).
fn frame_samples(config: u8) -> u32 {
    match config {
        0..=11 => [480, 960, 1920, 2880][usize::from(config % 4)],
        12..=15 => [480, 960][usize::from(config % 2)],
        _ => [120, 240, 480, 960][usize::from(config % 4)],
    }
}

/// Any number of frames, code 3 (RFC 6716 3.2.5).
fn packed_samples(frame: u32, body: &[u8]) -> Result<u32, OpusError> {
    let (head, mut rest) = body.split_first().ok_or(OpusError::Lengths)?;
    let count = u32::from(head & 0x3f);
    let samples = frame * count;
    if samples == 0 || samples > MAX_SAMPLES {
        return Err(OpusError::Duration);
    }
    let mut padding = 0usize;
    if head & 0x40 != 0 {
        loop {
            let (byte, tail) = rest.split_first().ok_or(OpusError::Lengths)?;
            rest = tail;
            padding += if *byte == 255 { 254 } else { usize::from(*byte) };
            if *byte != 255 {
                break;
            }
        }
    }
    let mut coded = rest.len().checked_sub(padding).ok_or(OpusError::Lengths)?;
    if head & 0x80 == 0 {
        return if coded % count as usize == 0 { Ok(samples) } else { Err(OpusError::Lengths) };
    }
    for _ in 1..count {
        let (len, tail) = take_length(rest).ok_or(OpusError::Lengths)?;
        coded = coded.checked_sub(rest.len() - tail.len() + len).ok_or(OpusError::Lengths)?;
        rest = tail;
    }
    Ok(samples)
}

/// A frame length of one or two bytes (RFC 6716 3.2.1).
fn take_length(data: &[u8]) -> Option<(usize, &[u8])> {
    match data {
        [first @ 0..=251, rest @ ..] => Some((usize::from(*first), rest)),
        [first, second, rest @ ..] => Some((usize::from(*second) * 4 + usize::from(*first), rest)),
        _ => None,
    }
}

/// Parameters of a track of mono or stereo Opus whose packets have `frame_samples` samples at 48 kHz.
///
/// `pre_skip` is how many of the first samples decoders drop. `None` for other channel counts, which would need a mapping
/// table.
pub fn audio_params(channels: u8, frame_samples: u32, pre_skip: u16) -> Option<AudioParams> {
    if !(1..=2).contains(&channels) {
        return None;
    }
    // OpusSpecificBox: as the identification header of RFC 7845 5.1, but big-endian and version 0.
    let mut config = BytesMut::with_capacity(11);
    config.put_u8(0);
    config.put_u8(channels);
    config.put_u16(pre_skip);
    // InputSampleRate only informs, yet Chromium refuses a file in which it is not the rate of the sample entry.
    config.put_u32(SAMPLE_RATE);
    config.put_i16(0); // output gain
    config.put_u8(0); // channel mapping family: mono or stereo
    Some(AudioParams {
        codec: AudioCodec::Opus,
        codec_string: "opus".to_owned(),
        sample_rate: SAMPLE_RATE,
        channels,
        frame_samples,
        config: config.freeze(),
    })
}

/// A frame of CELT that its silence flag ends at once (RFC 6716 4.3).
const SILENT_FRAME: [u8; 2] = [0xff, 0xfe];

/// One packet of silence as long as the track's frames; `None` for a length that Opus has no packet of, or more channels
/// than two.
pub fn silence(params: &AudioParams) -> Option<Bytes> {
    let stereo = match params.channels {
        1 => 0,
        2 => 4,
        _ => return None,
    };
    let (config, count) = match params.frame_samples {
        120 => (28, 1),
        240 => (29, 1),
        480 => (30, 1),
        n @ (960 | 1920 | 2880 | 3840 | 4800 | 5760) => (31u8, n / 960),
        _ => return None,
    };
    let mut packet = BytesMut::with_capacity(2 + 2 * count as usize);
    match count {
        1 => packet.put_u8((config << 3) | stereo),
        // Code 3, constant size, no padding.
        _ => packet.put_slice(&[(config << 3) | stereo | 3, count as u8]),
    }
    for _ in 0..count {
        packet.put_slice(&SILENT_FRAME);
    }
    Some(packet.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(packet: &[u8], expect: Result<u32, OpusError>) {
        assert_eq!(packet_samples(packet), expect, "{packet:02x?}");
    }

    #[test]
    fn durations() {
        check(&[], Err(OpusError::Empty));
        // SILK 10, 20, 40, 60 ms; hybrid 10, 20 ms; CELT 2.5, 5, 10, 20 ms
        for (config, samples) in [
            (0, 480),
            (1, 960),
            (2, 1920),
            (3, 2880),
            (11, 2880),
            (12, 480),
            (15, 960),
            (16, 120),
            (29, 240),
            (30, 480),
            (31, 960),
        ] {
            check(&[config << 3], Ok(samples));
        }
        check(&[0xf9, 1, 2], Ok(1920));
        check(&[0xf9, 1, 2, 3], Err(OpusError::Lengths));
        check(&[0xfa, 1, 7, 8, 9], Ok(1920));
        check(&[0xfa, 4, 7, 8, 9], Err(OpusError::Lengths));
        check(&[0xfb], Err(OpusError::Lengths));
        check(&[0xfb, 0], Err(OpusError::Duration));
        check(&[0xfb, 7], Err(OpusError::Duration));
        check(&[0xfb, 6], Ok(5760));
        check(&[0xfb, 2, 1, 1, 1], Err(OpusError::Lengths));
        check(&[0xfb, 0x42, 1, 1, 1, 0], Ok(1920));
        check(&[0xfb, 0x42, 9, 1, 1, 0], Err(OpusError::Lengths));
        // 255 means 254 and more to come.
        check(&[&[0xfb, 0x42, 255, 1][..], &[0; 257]].concat(), Ok(1920));
        check(&[&[0xfb, 0x42, 255, 1][..], &[0; 254]].concat(), Err(OpusError::Lengths));
        check(&[0xfb, 0x82, 1, 1, 1], Ok(1920));
        check(&[0xfb, 0x82, 3, 1, 1], Err(OpusError::Lengths));
    }

    #[test]
    fn silence_has_the_length_of_a_frame() {
        for channels in [1, 2] {
            for frame in [120, 240, 480, 960, 1920, 2880, 3840, 4800, 5760] {
                let params = audio_params(channels, frame, 312).unwrap();
                let packet = silence(&params).unwrap();
                assert_eq!(packet_samples(&packet), Ok(frame));
                assert_eq!(packet[0] & 4 != 0, channels == 2);
            }
        }
        assert_eq!(silence(&audio_params(1, 1000, 312).unwrap()), None);
        assert_eq!(audio_params(3, 960, 312), None);
    }

    #[test]
    fn d_ops() {
        let params = audio_params(1, 960, 312).unwrap();
        assert_eq!(params.config[..], [0, 1, 0x01, 0x38, 0, 0, 0xbb, 0x80, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn never_panics(packet in proptest::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(samples) = packet_samples(&packet) {
                prop_assert!((1..=MAX_SAMPLES).contains(&samples));
            }
        }
    }
}
