//! What a camera does to its units beyond looping a clip. Pure: sample bytes in, sample bytes out.

use std::borrow::Cow;

use bytes::Bytes;
use heldar_rtsp::server::{Format, Payload};

use crate::scene::Numbers;

/// Habits that show in the packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tricks {
    /// Bytes of SEI put before every picture.
    pub(crate) sei_bytes: usize,
    /// NAL units are fragmented with a fragment of nothing in the middle; H.264 only.
    pub(crate) empty_fragments: bool,
    /// A packet without payload follows every picture.
    pub(crate) empty_packets: bool,
    /// Every so-manieth picture has the RTP time of the one before it; 0 for never.
    pub(crate) repeat_time_every: u64,
    /// RTP times are late by up to this much.
    pub(crate) jitter_us: i64,
    /// Sound comes for so many seconds, then not for so many.
    pub(crate) sound: Option<(u32, u32)>,
    /// Query of the URL that is announced.
    pub(crate) query: Option<&'static str>,
}

impl Tricks {
    /// What becomes of a picture's payload.
    pub(crate) fn payload(&self, format: &Format, payload: Bytes) -> Payload {
        let payload = if self.sei_bytes > 0 { with_sei(format, &payload, self.sei_bytes) } else { payload };
        match (format, self.empty_fragments) {
            (Format::H264(_), true) => Payload::Packets(fragments_with_holes(&payload)),
            _ => Payload::Frame(payload),
        }
    }

    /// How much later than it should the RTP time of the picture with this serial number is.
    pub(crate) fn time_offset_us(&self, serial: u64) -> i64 {
        if self.jitter_us == 0 {
            0
        } else {
            Numbers(serial).below(self.jitter_us.unsigned_abs()).cast_signed()
        }
    }

    /// Whether sound is sent at this time since the start.
    pub(crate) fn sounds(&self, at_us: i64) -> bool {
        self.sound.is_none_or(|(on, off)| {
            let second = at_us.max(0) / 1_000_000;
            second % i64::from((on + off).max(1)) < i64::from(on)
        })
    }
}

/// NAL units behind lengths of four bytes.
fn nal_units(mut payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (head, rest) = payload.split_first_chunk::<4>()?;
        let (nal, next) = rest.split_at_checked(u32::from_be_bytes(*head) as usize)?;
        payload = next;
        Some(nal)
    })
}

/// Puts a user data message (H.264 D.1.6, H.265 D.2.7) before a picture. A delimiter stays first.
fn with_sei(format: &Format, payload: &[u8], bytes: usize) -> Bytes {
    let mut sei = match format {
        Format::H265(_) => vec![39 << 1, 1],
        _ => vec![6],
    };
    // payloadType 5, payloadSize in steps of 255, no byte below 4 so that nothing has to be escaped, stop bit.
    sei.push(5);
    sei.extend(std::iter::repeat_n(255, bytes / 255));
    sei.push((bytes % 255) as u8);
    sei.extend((0..bytes).map(|index| 0x10 + (index % 200) as u8));
    sei.push(0x80);
    let mut out = Vec::with_capacity(payload.len() + sei.len() + 4);
    let mut sei = Some(sei);
    for nal in nal_units(payload) {
        let delimiter = matches!(format, Format::H264(_)) && nal.first().is_some_and(|b| b & 0x1f == 9);
        if !delimiter && let Some(sei) = sei.take() {
            out.extend_from_slice(&(sei.len() as u32).to_be_bytes());
            out.extend_from_slice(&sei);
        }
        out.extend_from_slice(&(nal.len() as u32).to_be_bytes());
        out.extend_from_slice(nal);
    }
    Bytes::from(out)
}

/// Every NAL unit as FU-A (RFC 6184 5.8), the second fragment of each without content.
fn fragments_with_holes(payload: &[u8]) -> Vec<Bytes> {
    let mut packets = Vec::new();
    for nal in nal_units(payload) {
        let Some((&header, body)) = nal.split_first() else { continue };
        let size = (body.len() / 2).clamp(1, 1390);
        let parts: Vec<&[u8]> = body.chunks(size).collect();
        if parts.len() < 2 {
            packets.push(Bytes::copy_from_slice(nal));
            continue;
        }
        let fragment = |bits: u8, part: &[u8]| {
            Bytes::from([&[(header & 0xe0) | 28, bits | (header & 0x1f)], part].concat())
        };
        for (index, part) in parts.iter().enumerate() {
            let bits = if index == 0 {
                0x80
            } else if index + 1 == parts.len() {
                0x40
            } else {
                0
            };
            packets.push(fragment(bits, part));
            if index == 0 {
                packets.push(fragment(0, &[]));
            }
        }
    }
    packets
}

/// Turns over a few bits inside NAL units, never their headers or lengths. `random` decides which.
pub(crate) fn corrupt(payload: &Bytes, random: &mut Numbers) -> Bytes {
    let mut out = Cow::Borrowed(&payload[..]);
    let mut at = 0;
    while let Some(head) = payload.get(at..at + 4) {
        let len = head.iter().fold(0usize, |len, &byte| (len << 8) | usize::from(byte));
        let body = at + 4 + 3;
        let end = (at + 4).saturating_add(len).min(payload.len());
        if end > body {
            for _bit in 0..1 + (end - body) / 400 {
                let target = body + random.below((end - body) as u64) as usize;
                if let Some(byte) = out.to_mut().get_mut(target) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
        at = end.max(at + 4);
    }
    match out {
        Cow::Owned(bytes) => Bytes::from(bytes),
        Cow::Borrowed(_) => payload.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heldar_rtsp::server::ParameterSets;
    use proptest::prelude::*;

    fn prefixed(nals: &[&[u8]]) -> Bytes {
        nals.iter().flat_map(|n| [&(n.len() as u32).to_be_bytes()[..], n].concat()).collect()
    }

    #[test]
    fn sei_goes_behind_the_delimiter() {
        let payload = prefixed(&[&[9, 0x10], &[0x65, 1, 2]]);
        let out = with_sei(&Format::H264(ParameterSets::default()), &payload, 600);
        let nals: Vec<&[u8]> = nal_units(&out).collect();
        assert_eq!(nals.len(), 3);
        assert_eq!((nals[0], nals[2]), (&[9, 0x10][..], &[0x65, 1, 2][..]));
        assert_eq!(nals[1][..5], [6, 5, 255, 255, 90]);
        assert_eq!(nals[1].len(), 5 + 600 + 1);
    }

    #[test]
    fn sound_comes_and_goes() {
        let tricks = Tricks { sound: Some((10, 15)), ..Tricks::default() };
        let heard: Vec<bool> = [0, 9, 10, 24, 25].iter().map(|s| tricks.sounds(s * 1_000_000)).collect();
        assert_eq!(heard, [true, true, false, false, true]);
    }

    proptest! {
        #[test]
        fn corruption_keeps_the_framing(lens in proptest::collection::vec(1usize..900, 1..4), seed: u64) {
            let nals: Vec<Vec<u8>> = lens.iter().map(|&len| vec![0x41; len]).collect();
            let payload = prefixed(&nals.iter().map(|n| &n[..]).collect::<Vec<_>>());
            let out = corrupt(&payload, &mut Numbers(seed));
            let after: Vec<&[u8]> = nal_units(&out).collect();
            prop_assert_eq!(after.len(), nals.len());
            for (before, after) in nals.iter().zip(after) {
                prop_assert_eq!(before.len(), after.len());
                prop_assert_eq!(&before[..before.len().min(3)], &after[..before.len().min(3)]);
            }
            prop_assert_eq!(out != payload, lens.iter().any(|&len| len > 3));
        }

        #[test]
        fn fragments_make_the_nal_unit_again(len in 1usize..4000) {
            let nal: Vec<u8> = (0..len).map(|i| if i == 0 { 0x65 } else { i as u8 }).collect();
            let packets = fragments_with_holes(&prefixed(&[&nal]));
            prop_assert!(packets.iter().all(|p| p.len() <= 1400));
            let again: Vec<u8> = if packets.len() == 1 { packets[0].to_vec() } else {
                prop_assert_eq!(packets[1].len(), 2);
                std::iter::once(0x65).chain(packets.iter().flat_map(|p| p[2..].to_vec())).collect()
            };
            prop_assert_eq!(again, nal);
        }

        #[test]
        fn any_payload_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..60), seed: u64) {
            let bytes = Bytes::from(bytes);
            let _outcome = corrupt(&bytes, &mut Numbers(seed));
            let _outcome = fragments_with_holes(&bytes);
            let _outcome = with_sei(&Format::H264(ParameterSets::default()), &bytes, 10);
        }
    }
}
