//! Tracks that need no encoder: G.711, a coding nobody knows, and a document track.

use bytes::Bytes;
use heldar_rtsp::server::Format;

use crate::mp4::{Mp4Track, Sample};
use crate::scene::{Numbers, Scene};

/// Samples of one packet of telephone audio: 20 ms (RFC 3551 4.2).
const FRAME_SAMPLES: usize = 160;
const RATE: u32 = 8000;
/// Length of the loops.
const SECONDS: usize = 4;

/// The two companding laws of ITU-T G.711.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Law {
    Mu,
    A,
}

/// ITU-T G.711, from 16-bit linear.
fn compand(law: Law, linear: i16) -> u8 {
    let negative = linear < 0;
    let magnitude = i32::from(linear).abs();
    match law {
        Law::Mu => {
            let biased = (magnitude + 132).min(32_767);
            let exponent = (24 - biased.leading_zeros() as i32).clamp(0, 7);
            let mantissa = (biased >> (exponent + 3)) & 0x0f;
            !((if negative { 0x80 } else { 0 }) | (exponent << 4) as u8 | mantissa as u8)
        }
        Law::A => {
            let magnitude = magnitude.min(32_767);
            let exponent = (24 - (magnitude | 0x80).leading_zeros() as i32).clamp(0, 7);
            let mantissa = if exponent == 0 { magnitude >> 4 } else { magnitude >> (exponent + 3) } & 0x0f;
            ((if negative { 0 } else { 0x80 }) | (exponent << 4) as u8 | mantissa as u8) ^ 0x55
        }
    }
}

fn track(format: Format, timescale: u32, step: u64, payloads: Vec<Bytes>) -> Mp4Track {
    let samples: Vec<Sample> = (0u64..)
        .zip(payloads)
        .map(|(index, payload)| Sample {
            decode_time: index * step,
            composition_offset: 0,
            sync: true,
            payload,
        })
        .collect();
    let duration = samples.len() as u64 * step;
    Mp4Track { format, timescale, size: (0, 0), samples, duration }
}

/// A tone of 400 Hz with a beep each second.
pub(crate) fn g711(law: Law) -> Mp4Track {
    let tone = |index: usize| {
        let seconds = index as f64 / f64::from(RATE);
        let frequency = if seconds.fract() < 0.2 { 1200.0 } else { 400.0 };
        compand(law, (9000.0 * (seconds * frequency * std::f64::consts::TAU).sin()) as i16)
    };
    let frames = SECONDS * RATE as usize / FRAME_SAMPLES;
    let payloads =
        (0..frames).map(|frame| (frame * FRAME_SAMPLES..(frame + 1) * FRAME_SAMPLES).map(tone).collect());
    let format = if law == Law::Mu { Format::Pcmu } else { Format::Pcma };
    track(format, RATE, FRAME_SAMPLES as u64, payloads.collect())
}

/// ITU-T G.726 at 32 kbit/s as far as anybody sees who does not decode it.
pub(crate) fn g726() -> Mp4Track {
    let mut numbers = Numbers(726);
    let frames = SECONDS * RATE as usize / FRAME_SAMPLES;
    let payloads = (0..frames).map(|_| (0..FRAME_SAMPLES / 2).map(|_| numbers.next() as u8).collect());
    let format = Format::Other { media: "audio", encoding: "G726-32", clock_rate: RATE };
    track(format, RATE, FRAME_SAMPLES as u64, payloads.collect())
}

/// ONVIF metadata: one document per half second that names the objects of the scene.
pub(crate) fn metadata(scene: Scene) -> Mp4Track {
    let rate = scene.rate.max(1);
    let step = (rate / 2).max(1);
    let document = |number: u32| {
        let objects: String = scene.objects(number).iter().map(|object| {
            // ONVIF coordinates: -1 to 1, upwards.
            let [x, y, w, h] = object.bounds;
            let (left, right, top, bottom) = (2.0 * x - 1.0, 2.0 * (x + w) - 1.0, 1.0 - 2.0 * y, 1.0 - 2.0 * (y + h));
            format!(
                "<tt:Object ObjectId=\"{}\"><tt:Appearance><tt:Shape><tt:BoundingBox left=\"{left:.4}\" top=\"{top:.4}\" right=\"{right:.4}\" bottom=\"{bottom:.4}\"/></tt:Shape></tt:Appearance></tt:Object>",
                object.id
            )
        }).collect();
        Bytes::from(format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><tt:MetadataStream xmlns:tt=\"http://www.onvif.org/ver10/schema\"><tt:VideoAnalytics><tt:Frame UtcTime=\"1970-01-01T00:{:02}:{:02}Z\">{objects}</tt:Frame></tt:VideoAnalytics></tt:MetadataStream>",
            number / rate / 60 % 60,
            number / rate % 60
        ))
    };
    let payloads = (0..scene.pictures / step).map(|index| document(index * step)).collect();
    let format = Format::Other { media: "application", encoding: "vnd.onvif.metadata", clock_rate: 90_000 };
    track(format, rate, u64::from(step), payloads)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of ITU-T G.711 tables 1a and 2a at the ends of segments and around zero.
    #[test]
    fn companding() {
        let check = |law, cases: &[(i16, u8)]| {
            for &(linear, expect) in cases {
                assert_eq!(compand(law, linear), expect, "{law:?} {linear}");
            }
        };
        check(
            Law::Mu,
            &[(0, 0xff), (-1, 0x7f), (32_767, 0x80), (i16::MIN, 0x00), (1000, 0xce), (-1000, 0x4e)],
        );
        check(
            Law::A,
            &[(0, 0xd5), (-1, 0x55), (32_767, 0xaa), (i16::MIN, 0x2a), (1000, 0xfa), (-1000, 0x7a)],
        );
    }

    #[test]
    fn loops_are_whole() {
        for track in
            [g711(Law::Mu), g711(Law::A), g726(), metadata(Scene { seed: 1, pictures: 300, rate: 25 })]
        {
            let last = track.samples.last().unwrap();
            assert!(last.decode_time < track.duration);
            assert_eq!(track.samples[0].decode_time, 0);
            assert_eq!(track.duration - last.decode_time, track.samples[1].decode_time);
        }
    }
}
