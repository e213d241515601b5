//! G.711 (ITU-T G.711) to Opus (RFC 6716), because no player takes G.711 in MP4.
//!
//! Owns: the conversion of one audio track, 20 ms at a time, beside the recorder. Never: a clock, a file, a socket.

use bytes::Bytes;
pub use heldar_media::g711::Law;
use heldar_media::g711::{Original, SAMPLE_RATE};
use heldar_media::{AudioParams, opus as opus_media};
use opus::{Application, Bitrate, Channels, Encoder};

/// Samples in 20 ms.
const FRAME: usize = 160;
/// Bits per second: speech at 8 kHz is transparent below this.
const BITRATE: i32 = 24_000;
/// Longest packet that is believed: more is no audio frame.
const MAX_INPUT: usize = 16 * 1024;

/// The conversion cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// libopus refused.
    #[error("Opus encoder: {0}")]
    Encoder(#[from] opus::Error),
    /// The track cannot be described.
    #[error("Opus parameters")]
    Params,
}

/// One Opus packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Time of its first sample, in the 8 kHz clock of the input.
    pub rtp_time: i64,
    /// The packet.
    pub payload: Bytes,
    /// What it was made from.
    pub original: Original,
}

/// Converts one track.
#[derive(Debug)]
pub struct G711ToOpus {
    law: Law,
    encoder: Encoder,
    params: AudioParams,
    /// Samples that are no whole packet yet, as they came and decoded.
    coded: Vec<u8>,
    pcm: Vec<i16>,
    /// Time of the first of them.
    at: i64,
}

impl G711ToOpus {
    /// A converter for a mono track.
    ///
    /// # Errors
    /// When libopus cannot be set up.
    pub fn new(law: Law) -> Result<Self, ConvertError> {
        let mut encoder = Encoder::new(SAMPLE_RATE, Channels::Mono, Application::Voip)?;
        encoder.set_bitrate(Bitrate::Bits(BITRATE))?;
        let lookahead = u32::try_from(encoder.get_lookahead()?).unwrap_or(0);
        // RFC 7845 4.2: pre-skip counts samples at 48 kHz.
        let pre_skip = u16::try_from(lookahead * (opus_media::SAMPLE_RATE / SAMPLE_RATE)).unwrap_or(0);
        let frame = FRAME as u32 * (opus_media::SAMPLE_RATE / SAMPLE_RATE);
        let params = opus_media::audio_params(1, frame, pre_skip).ok_or(ConvertError::Params)?;
        let (coded, pcm) = (Vec::with_capacity(2 * FRAME), Vec::with_capacity(2 * FRAME));
        Ok(G711ToOpus { law, encoder, params, coded, pcm, at: 0 })
    }

    /// What goes in.
    pub fn law(&self) -> Law {
        self.law
    }

    /// Parameters of what comes out.
    pub fn params(&self) -> &AudioParams {
        &self.params
    }

    /// Takes samples whose first one has time `rtp_time`; whole packets come out.
    ///
    /// # Errors
    /// When libopus refuses; the samples are lost then.
    pub fn push(&mut self, rtp_time: i64, samples: &[u8]) -> Result<Vec<Packet>, ConvertError> {
        let expected = self.at.saturating_add(self.pcm.len() as i64);
        if self.pcm.is_empty() || (rtp_time - expected).unsigned_abs() > FRAME as u64 {
            // A hole or a jump: what was left over belongs to the time before it.
            self.pcm.clear();
            self.coded.clear();
            self.at = rtp_time;
        }
        let decode = match self.law {
            Law::Mu => mu_law,
            Law::A => a_law,
        };
        let samples = samples.get(..MAX_INPUT).unwrap_or(samples);
        self.pcm.extend(samples.iter().map(|s| decode(*s)));
        self.coded.extend_from_slice(samples);
        let mut packets = Vec::new();
        let mut done = 0;
        while self.pcm.len() - done >= FRAME {
            let mut out = [0u8; 1276];
            let len = self.encoder.encode(&self.pcm[done..done + FRAME], &mut out)?;
            let rtp_time = self.at.saturating_add(done as i64);
            let samples = Bytes::copy_from_slice(&self.coded[done..done + FRAME]);
            packets.push(Packet {
                rtp_time,
                payload: Bytes::copy_from_slice(&out[..len]),
                original: Original { law: self.law, samples },
            });
            done += FRAME;
        }
        self.pcm.drain(..done);
        self.coded.drain(..done);
        self.at = self.at.saturating_add(done as i64);
        Ok(packets)
    }
}

/// One sample of µ-law as 16-bit linear (G.711 table 2).
fn mu_law(code: u8) -> i16 {
    let code = !code;
    let exponent = (code >> 4) & 7;
    let mantissa = i16::from(code & 0x0f);
    let magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84;
    if code & 0x80 != 0 { -magnitude } else { magnitude }
}

/// One sample of A-law as 16-bit linear (G.711 table 1).
fn a_law(code: u8) -> i16 {
    let code = code ^ 0x55;
    let exponent = (code >> 4) & 7;
    let mantissa = i16::from(code & 0x0f) << 4;
    let magnitude = if exponent == 0 { mantissa + 8 } else { (mantissa + 0x108) << (exponent - 1) };
    if code & 0x80 != 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn companding_matches_the_tables() {
        for (code, linear) in [(0xff, 0), (0x7f, 0), (0x80, 32_124), (0x00, -32_124), (0xf0, 120)] {
            assert_eq!(mu_law(code), linear, "{code:#x}");
        }
        for (code, linear) in [(0xd5, 8), (0x55, -8), (0xaa, 32_256), (0x2a, -32_256), (0xc5, 264)] {
            assert_eq!(a_law(code), linear, "{code:#x}");
        }
    }

    fn tone(n: usize) -> Vec<u8> {
        // A 500 Hz square wave of ±8031 in µ-law.
        (0..n).map(|i| if (i / 8) % 2 == 0 { 0x9f } else { 0x1f }).collect()
    }

    #[test]
    fn a_tone_survives_and_times_follow() {
        let mut converter = G711ToOpus::new(Law::Mu).unwrap();
        let mut decoder = opus::Decoder::new(48_000, Channels::Mono).unwrap();
        let mut packets = Vec::new();
        let mut at = 1000;
        for chunk in tone(8000).chunks(333) {
            packets.extend(converter.push(at, chunk).unwrap());
            at += chunk.len() as i64;
        }
        assert_eq!(packets.len(), 50);
        let mut energy = 0f64;
        for (i, packet) in packets.iter().enumerate() {
            assert_eq!(packet.rtp_time, 1000 + 160 * i as i64);
            assert_eq!(packet.original.samples, tone(8000)[160 * i..160 * (i + 1)]);
            let mut pcm = [0i16; 5760];
            let n = decoder.decode(&packet.payload, &mut pcm, false).unwrap();
            assert_eq!(n, 960);
            energy += pcm[..n].iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
        }
        let rms = (energy / (50.0 * 960.0)).sqrt();
        assert!((4000.0..12_000.0).contains(&rms), "{rms}");
    }

    #[test]
    fn a_jump_starts_over_at_the_new_time() {
        let mut converter = G711ToOpus::new(Law::A).unwrap();
        assert!(converter.push(0, &[0xd5; 100]).unwrap().is_empty());
        let packets = converter.push(8000, &[0xd5; 160]).unwrap();
        assert_eq!(packets.iter().map(|p| p.rtp_time).collect::<Vec<_>>(), [8000]);
    }
}
