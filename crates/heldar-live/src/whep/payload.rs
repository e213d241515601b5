//! RTP payloads of pictures: H.264 (RFC 6184, packetization mode 1) and H.265 (RFC 7798, single transmission).
//!
//! Owns: how NAL units are cut and put together for datagrams. Never: sequence numbers or times.

use std::sync::Arc;

use bytes::Bytes;
use heldar_media::nal::{Item, LengthPrefixed};
use heldar_media::{RecordError, VideoCodec, VideoParams, h264, h265};

/// Longest payload: with RTP header and extensions, the original sequence number of a retransmission and the tag of SRTP
/// it makes a datagram of at most 1200 bytes, which every path of practice carries.
pub(super) const MAX_PAYLOAD: usize = 1140;

/// H.264 single-time aggregation packet (RFC 6184 5.7.1), with the highest reference importance.
const STAP_A: u8 = 0x60 | 24;
/// H.264 fragmentation unit (RFC 6184 5.8).
const FU_A: u8 = 28;
/// H.265 aggregation packet (RFC 7798 4.4.2) of layer 0, temporal id 0.
const AGGREGATION: [u8; 2] = [48 << 1, 1];
/// H.265 fragmentation unit (RFC 7798 4.4.3).
const FRAGMENTATION: u8 = 49;
const START: u8 = 0x80;
const END: u8 = 0x40;

/// Parameter sets of a track, in decoding order.
pub(super) fn parameter_sets(params: &VideoParams) -> Result<Vec<Bytes>, RecordError> {
    match params.codec {
        VideoCodec::H264 => h264::parameter_sets(&params.config),
        VideoCodec::H265 => h265::parameter_sets(&params.config),
    }
}

/// Payloads of one picture, parameter sets first.
pub(super) fn payloads(codec: VideoCodec, sets: &[Bytes], picture: &[u8]) -> Vec<Arc<[u8]>> {
    let mut out = Vec::with_capacity(picture.len() / MAX_PAYLOAD + 2);
    put_sets(codec, sets, &mut out);
    for item in LengthPrefixed::new(picture) {
        match item {
            Item::Unit(range) => put_unit(codec, &picture[range], &mut out),
            Item::Empty => {}
            Item::Overrun => break,
        }
    }
    out
}

/// All in one packet where they fit, so that none can be lost alone.
fn put_sets(codec: VideoCodec, sets: &[Bytes], out: &mut Vec<Arc<[u8]>>) {
    let mut packet = match codec {
        VideoCodec::H264 => vec![STAP_A],
        VideoCodec::H265 => AGGREGATION.to_vec(),
    };
    for set in sets {
        let Ok(len) = u16::try_from(set.len()) else { continue };
        packet.extend(len.to_be_bytes());
        packet.extend_from_slice(set);
    }
    if sets.len() > 1 && packet.len() <= MAX_PAYLOAD {
        out.push(packet.into());
    } else {
        sets.iter().for_each(|set| put_unit(codec, set, out));
    }
}

fn put_unit(codec: VideoCodec, unit: &[u8], out: &mut Vec<Arc<[u8]>>) {
    if unit.len() <= MAX_PAYLOAD {
        out.push(unit.into());
        return;
    }
    // Indicator and header of fragments stand in place of the unit's own header.
    let (indicator, kind, body) = match codec {
        VideoCodec::H264 => (vec![unit[0] & 0xe0 | FU_A], unit[0] & 0x1f, &unit[1..]),
        VideoCodec::H265 => {
            (vec![unit[0] & 0x81 | FRAGMENTATION << 1, unit[1]], unit[0] >> 1 & 0x3f, &unit[2..])
        }
    };
    let chunks = body.chunks(MAX_PAYLOAD - indicator.len() - 1);
    let last = chunks.len() - 1;
    for (index, chunk) in chunks.enumerate() {
        let start = if index == 0 { START } else { 0 };
        let end = if index == last { END } else { 0 };
        let mut packet = Vec::with_capacity(MAX_PAYLOAD);
        packet.extend_from_slice(&indicator);
        packet.push(start | end | kind);
        packet.extend_from_slice(chunk);
        out.push(packet.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use heldar_media::nal;

    fn framed(units: &[&[u8]]) -> BytesMut {
        let mut out = BytesMut::new();
        units.iter().for_each(|unit| nal::push(&mut out, unit));
        out
    }

    fn unit(header: &[u8], len: usize) -> Vec<u8> {
        let mut unit = header.to_vec();
        unit.extend((header.len()..len).map(|at| at as u8));
        unit
    }

    #[test]
    fn h264_is_cut_and_comes_back_whole() {
        let big = unit(&[0x65], 3000);
        let sets = [Bytes::from_static(&[0x67, 1, 2]), Bytes::from_static(&[0x68, 3])];
        let out = payloads(VideoCodec::H264, &sets, &framed(&[&[0x06, 5], &big]));
        assert_eq!(*out[0], [0x78, 0, 3, 0x67, 1, 2, 0, 2, 0x68, 3]);
        assert_eq!(*out[1], [0x06, 5]);
        assert_eq!(out[2..].iter().map(|packet| packet[1]).collect::<Vec<_>>(), [0x85, 0x05, 0x45]);
        let mut whole = vec![out[2][0] & 0xe0 | out[2][1] & 0x1f];
        out[2..].iter().for_each(|packet| whole.extend(&packet[2..]));
        assert_eq!(whole, big);
        assert!(out.iter().all(|packet| packet.len() <= MAX_PAYLOAD));
    }

    #[test]
    fn h265_is_cut_and_comes_back_whole() {
        let big = unit(&[19 << 1, 1], 2 * (MAX_PAYLOAD - 3) + 2);
        let sets = [Bytes::from_static(&[0x40, 1, 9]), Bytes::from_static(&[0x42, 1, 8])];
        let out = payloads(VideoCodec::H265, &sets, &framed(&[&big]));
        assert_eq!(*out[0], [0x60, 1, 0, 3, 0x40, 1, 9, 0, 3, 0x42, 1, 8]);
        assert_eq!(out.len(), 3);
        assert_eq!((out[1][0], out[1][1], out[1][2], out[2][2]), (49 << 1, 1, 0x80 | 19, 0x40 | 19));
        let mut whole = vec![out[1][2] << 1 & 0x7e, 1];
        out[1..].iter().for_each(|packet| whole.extend(&packet[3..]));
        assert_eq!(whole, big);
    }

    #[test]
    fn what_cannot_be_read_ends_the_picture() {
        let mut picture = framed(&[&[0x41, 1], &[]]);
        picture.extend_from_slice(&[0, 0, 1, 0, 7]);
        assert_eq!(payloads(VideoCodec::H264, &[], &picture).len(), 1);
        let large = Bytes::from(unit(&[0x67], MAX_PAYLOAD));
        let out = payloads(VideoCodec::H264, &[large.clone(), large], &[]);
        assert_eq!(out.len(), 2);
    }
}
