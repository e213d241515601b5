//! Access units into RTP packets (RFC 3550 5.1), framed as interleaved data (RFC 2326 10.12).
//!
//! A unit becomes one contiguous block that every viewer shares: `$`, channel, length and packet, over and over. TCP
//! viewers are sent the block as it is; for UDP the same framing delimits the datagrams.

use bytes::Bytes;

use super::format::{Format, ParameterSets};

/// Largest RTP payload. With the headers of RTP, UDP and IP it stays below the MTU of a VLAN or VPN.
pub(super) const MAX_PAYLOAD: usize = 1400;
/// Interleaved framing.
pub(super) const FRAME_HEADER: usize = 4;
/// RTP header without extensions or sources.
pub(super) const RTP_HEADER: usize = 12;

/// Numbers the packets of one track.
#[derive(Debug)]
pub(super) struct Packetizer {
    pub(super) channel: u8,
    pub(super) payload_type: u8,
    pub(super) ssrc: u32,
    pub(super) next_sequence_number: u16,
    /// Packets and payload bytes so far, as sender reports count them (RFC 3550 6.4.1).
    pub(super) packets: u32,
    pub(super) octets: u32,
}

impl Packetizer {
    /// The block of one access unit. `sets` are put before the unit.
    pub(super) fn unit(
        &mut self,
        format: &Format,
        sets: Option<&ParameterSets>,
        payload: &[u8],
        rtp_time: u32,
    ) -> Bytes {
        let mut block = Block::new(self, rtp_time, payload.len());
        match format {
            Format::H264(_) => h264(&mut block, sets, payload),
            Format::H265(_) => h265(&mut block, sets, payload),
            Format::Aac { .. } => aac(&mut block, payload),
            Format::Pcmu | Format::Pcma | Format::Opus { .. } => plain(&mut block, payload),
            // A document or whatever it is goes on in further packets until the marker.
            Format::Other { .. } => payload.chunks(MAX_PAYLOAD).for_each(|part| block.packet(&[part])),
        }
        block.finish()
    }

    /// The block of a unit that comes as finished RTP payloads; the last one carries the marker.
    pub(super) fn packets<'a>(
        &mut self,
        payloads: impl ExactSizeIterator<Item = &'a Bytes>,
        rtp_time: u32,
    ) -> Bytes {
        let mut block = Block::new(self, rtp_time, payloads.len() * MAX_PAYLOAD);
        for payload in payloads {
            block.packet(&[payload.get(..MAX_PAYLOAD).unwrap_or(payload)]);
        }
        block.finish()
    }
}

/// The block under construction.
struct Block<'a> {
    numbers: &'a mut Packetizer,
    rtp_time: u32,
    wire: Vec<u8>,
    /// Where the RTP header of the newest packet begins; the last one is given the marker at the end.
    last_header: Option<usize>,
}

impl<'a> Block<'a> {
    fn new(numbers: &'a mut Packetizer, rtp_time: u32, payload_len: usize) -> Self {
        let packets = payload_len / MAX_PAYLOAD + 2;
        let capacity = payload_len + packets * (FRAME_HEADER + RTP_HEADER + 4);
        Block { numbers, rtp_time, wire: Vec::with_capacity(capacity), last_header: None }
    }

    /// Appends a packet made of `parts`, together at most [`MAX_PAYLOAD`] bytes plus a payload header.
    fn packet(&mut self, parts: &[&[u8]]) {
        let payload_len: usize = parts.iter().map(|part| part.len()).sum();
        let Ok(frame_len) = u16::try_from(RTP_HEADER + payload_len) else { return };
        let numbers = &mut *self.numbers;
        self.wire.extend_from_slice(&[b'$', numbers.channel]);
        self.wire.extend_from_slice(&frame_len.to_be_bytes());
        self.last_header = Some(self.wire.len());
        // Version 2, no padding, extension or contributing sources; marker clear.
        self.wire.extend_from_slice(&[0x80, numbers.payload_type]);
        self.wire.extend_from_slice(&numbers.next_sequence_number.to_be_bytes());
        self.wire.extend_from_slice(&self.rtp_time.to_be_bytes());
        self.wire.extend_from_slice(&numbers.ssrc.to_be_bytes());
        for part in parts {
            self.wire.extend_from_slice(part);
        }
        numbers.next_sequence_number = numbers.next_sequence_number.wrapping_add(1);
        numbers.packets = numbers.packets.wrapping_add(1);
        numbers.octets = numbers.octets.wrapping_add(u32::from(frame_len) - 12);
    }

    fn finish(mut self) -> Bytes {
        if let Some(byte) = self.last_header.and_then(|at| self.wire.get_mut(at + 1)) {
            *byte |= 0x80;
        }
        Bytes::from(self.wire)
    }
}

/// NAL units of a payload in which each stands behind its length in four bytes. Ends at the first length that does not fit;
/// empty NAL units are left out.
pub(super) fn nal_units(mut payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        loop {
            let (head, rest) = payload.split_first_chunk::<4>()?;
            let len = usize::try_from(u32::from_be_bytes(*head)).ok()?;
            let nal = rest.get(..len)?;
            payload = &rest[len..];
            if !nal.is_empty() {
                return Some(nal);
            }
        }
    })
}

/// RFC 6184: STAP-A (5.7.1) for the parameter sets, single NAL unit packets (5.6), FU-A (5.8) for what is larger.
fn h264(block: &mut Block<'_>, sets: Option<&ParameterSets>, payload: &[u8]) {
    if let Some(sets) = sets {
        // Type 24 with the highest NRI of what it holds, which is 3 for parameter sets.
        aggregate(block, &[0x78], sets, h264_nal);
    }
    for nal in nal_units(payload) {
        h264_nal(block, nal);
    }
}

fn h264_nal(block: &mut Block<'_>, nal: &[u8]) {
    let Some((&header, body)) = nal.split_first() else { return };
    if nal.len() <= MAX_PAYLOAD {
        return block.packet(&[nal]);
    }
    let indicator = (header & 0xe0) | 28;
    fragments(body, |start_end, part| block.packet(&[&[indicator, start_end | (header & 0x1f)], part]));
}

/// RFC 7798: aggregation packet (4.4.2) for the parameter sets, single NAL unit packets (4.4.1), fragmentation units (4.4.3).
fn h265(block: &mut Block<'_>, sets: Option<&ParameterSets>, payload: &[u8]) {
    if let Some(sets) = sets {
        // Type 48, layer 0, temporal id plus one of 1: the lowest of what it holds.
        aggregate(block, &[48 << 1, 1], sets, h265_nal);
    }
    for nal in nal_units(payload) {
        h265_nal(block, nal);
    }
}

fn h265_nal(block: &mut Block<'_>, nal: &[u8]) {
    if nal.len() <= MAX_PAYLOAD {
        return block.packet(&[nal]);
    }
    let Some((&[first, second], body)) = nal.split_first_chunk::<2>() else { return };
    let header = [(first & 0x81) | (49 << 1), second];
    let nal_type = (first >> 1) & 0x3f;
    fragments(body, |start_end, part| block.packet(&[&header, &[start_end | nal_type], part]));
}

/// All sets in one aggregation packet, each behind its length in two bytes; one by one where they don't fit.
fn aggregate(block: &mut Block<'_>, header: &[u8], sets: &ParameterSets, single: fn(&mut Block<'_>, &[u8])) {
    let mut packet = header.to_vec();
    for set in sets.iter().filter(|set| !set.is_empty()) {
        let Ok(len) = u16::try_from(set.len()) else { continue };
        packet.extend_from_slice(&len.to_be_bytes());
        packet.extend_from_slice(set);
    }
    if packet.len() > MAX_PAYLOAD {
        sets.iter().for_each(|set| single(block, set));
    } else if packet.len() > header.len() {
        block.packet(&[&packet]);
    }
}

/// Cuts a NAL unit's body, handing each part with the start and end bits of its FU header.
fn fragments(body: &[u8], mut emit: impl FnMut(u8, &[u8])) {
    let size = MAX_PAYLOAD - 3;
    let count = body.len().div_ceil(size);
    for (index, part) in body.chunks(size).enumerate() {
        let start = if index == 0 { 0x80 } else { 0 };
        let end = if index + 1 == count { 0x40 } else { 0 };
        emit(start | end, part);
    }
}

/// RFC 3640 3.3.6, AAC-hbr: one AU header of 13 bits of size and 3 bits of index. A frame larger than a packet is cut, each
/// part with the size of the whole frame (3.2.3).
fn aac(block: &mut Block<'_>, frame: &[u8]) {
    let Some(size) = u16::try_from(frame.len()).ok().filter(|&size| size > 0 && size < 1 << 13) else {
        return;
    };
    let [high, low] = (size << 3).to_be_bytes();
    for part in frame.chunks(MAX_PAYLOAD - 4) {
        block.packet(&[&[0, 16, high, low], part]);
    }
}

/// One packet per frame.
fn plain(block: &mut Block<'_>, frame: &[u8]) {
    if !frame.is_empty() && frame.len() <= MAX_PAYLOAD {
        block.packet(&[frame]);
    }
}

/// Puts another viewer's numbers into a copy of a block: adds to sequence numbers and RTP times, exchanges the channel.
pub(super) fn renumber(wire: &[u8], channel: u8, add_sequence: u16, add_time: u32) -> Bytes {
    let mut copy = wire.to_vec();
    let mut at = 0;
    while let Some(frame) = copy.get_mut(at..) {
        let Some(&[_, _, high, low]) = frame.first_chunk::<FRAME_HEADER>() else { break };
        frame[1] = channel;
        if let Some(header) = frame.get_mut(FRAME_HEADER..FRAME_HEADER + RTP_HEADER) {
            let sequence = u16::from_be_bytes([header[2], header[3]]).wrapping_add(add_sequence);
            header[2..4].copy_from_slice(&sequence.to_be_bytes());
            let time =
                u32::from_be_bytes([header[4], header[5], header[6], header[7]]).wrapping_add(add_time);
            header[4..8].copy_from_slice(&time.to_be_bytes());
        }
        at += FRAME_HEADER + usize::from(u16::from_be_bytes([high, low]));
    }
    Bytes::from(copy)
}

/// The packets of a block without their framing.
pub(super) fn datagrams(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = wire;
    std::iter::from_fn(move || {
        let (&[_, _, high, low], tail) = rest.split_first_chunk::<FRAME_HEADER>()?;
        let len = usize::from(u16::from_be_bytes([high, low]));
        let packet = tail.get(..len)?;
        rest = &tail[len..];
        Some(packet)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers() -> Packetizer {
        Packetizer {
            channel: 2,
            payload_type: 96,
            ssrc: 7,
            next_sequence_number: 65535,
            packets: 0,
            octets: 0,
        }
    }

    fn length_prefixed(nals: &[Vec<u8>]) -> Vec<u8> {
        nals.iter().flat_map(|n| [&(n.len() as u32).to_be_bytes()[..], n].concat()).collect()
    }

    fn sets() -> ParameterSets {
        ParameterSets {
            vps: vec![],
            sps: vec![Bytes::from_static(&[0x67, 1, 2])],
            pps: vec![Bytes::from_static(&[0x68, 3])],
        }
    }

    /// Payloads of a block after its headers were checked.
    fn payloads(wire: &[u8], first_sequence: u16, time: u32) -> Vec<Vec<u8>> {
        let packets: Vec<&[u8]> = datagrams(wire).collect();
        assert_eq!(packets.iter().map(|p| p.len() + 4).sum::<usize>(), wire.len());
        for (index, packet) in packets.iter().enumerate() {
            assert_eq!(packet[0], 0x80);
            let marker = if index + 1 == packets.len() { 0x80 } else { 0 };
            assert_eq!(packet[1], 96 | marker);
            assert_eq!(packet[2..4], first_sequence.wrapping_add(index as u16).to_be_bytes());
            assert_eq!(packet[4..8], time.to_be_bytes());
            assert_eq!(packet[8..12], 7u32.to_be_bytes());
            assert!(packet.len() <= 12 + MAX_PAYLOAD);
        }
        packets.iter().map(|p| p[12..].to_vec()).collect()
    }

    /// A naive depacketizer of RFC 6184 5.6 to 5.8.
    fn h264_depacketize(payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut nals: Vec<Vec<u8>> = Vec::new();
        for payload in payloads {
            match payload[0] & 0x1f {
                24 => {
                    let mut rest = &payload[1..];
                    while let [high, low, tail @ ..] = rest {
                        let len = usize::from(*high) * 256 + usize::from(*low);
                        nals.push(tail[..len].to_vec());
                        rest = &tail[len..];
                    }
                }
                28 => {
                    if payload[1] & 0x80 != 0 {
                        nals.push(vec![(payload[0] & 0xe0) | (payload[1] & 0x1f)]);
                    }
                    nals.last_mut().unwrap().extend_from_slice(&payload[2..]);
                }
                _ => nals.push(payload.clone()),
            }
        }
        nals
    }

    /// A naive depacketizer of RFC 7798 4.4.
    fn h265_depacketize(payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut nals: Vec<Vec<u8>> = Vec::new();
        for payload in payloads {
            if (payload[0] >> 1) & 0x3f == 49 {
                if payload[2] & 0x80 != 0 {
                    nals.push(vec![(payload[0] & 0x81) | ((payload[2] & 0x3f) << 1), payload[1]]);
                }
                nals.last_mut().unwrap().extend_from_slice(&payload[3..]);
            } else {
                nals.push(payload.clone());
            }
        }
        nals
    }

    #[test]
    fn parameter_sets_go_first_and_together() {
        let payload = length_prefixed(&[vec![0x65; 10]]);
        let mut numbers = numbers();
        let wire = numbers.unit(&Format::H264(sets()), Some(&sets()), &payload, 9);
        let got = payloads(&wire, 65535, 9);
        assert_eq!(got[0], [0x78, 0, 3, 0x67, 1, 2, 0, 2, 0x68, 3]);
        assert_eq!(got[1], [0x65; 10]);
        assert_eq!((numbers.next_sequence_number, numbers.packets, numbers.octets), (1, 2, 20));
    }

    #[test]
    fn aac_headers() {
        let frame: Vec<u8> = (0..3000u32).map(|i| i as u8).collect();
        let format = Format::Aac { config: Bytes::new(), sample_rate: 48000, channels: 1 };
        let got = payloads(&numbers().unit(&format, None, &frame, 1), 65535, 1);
        assert_eq!(got.len(), 3);
        assert!(got.iter().all(|p| p[..4] == [0, 16, (3000u32 >> 5) as u8, (3000u32 << 3) as u8]));
        assert_eq!(got.iter().flat_map(|p| p[4..].to_vec()).collect::<Vec<u8>>(), frame);
    }

    proptest! {
        #[test]
        fn h264_survives_a_round_trip(nals in proptest::collection::vec((0u8..24, 1usize..5000), 1..5), time: u32) {
            let nals: Vec<Vec<u8>> = nals.into_iter()
                .map(|(kind, len)| (0..len).map(|i| if i == 0 { 0x60 | kind } else { i as u8 }).collect()).collect();
            let wire = numbers().unit(&Format::H264(sets()), None, &length_prefixed(&nals), time);
            prop_assert_eq!(h264_depacketize(&payloads(&wire, 65535, time)), nals);
        }

        #[test]
        fn h265_survives_a_round_trip(nals in proptest::collection::vec((0u8..48, 2usize..5000), 1..5), time: u32) {
            let nals: Vec<Vec<u8>> = nals.into_iter()
                .map(|(kind, len)| (0..len).map(|i| if i == 0 { kind << 1 } else { i as u8 }).collect()).collect();
            let wire = numbers().unit(&Format::H265(sets()), None, &length_prefixed(&nals), time);
            prop_assert_eq!(h265_depacketize(&payloads(&wire, 65535, time)), nals);
        }

        #[test]
        fn any_payload_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            for format in [Format::H264(sets()), Format::H265(sets()), Format::Pcmu] {
                let _block = numbers().unit(&format, Some(&sets()), &bytes, 0);
            }
        }

        #[test]
        fn renumbering_adds(len in 1usize..6000, sequence: u16, time: u32) {
            let payload = length_prefixed(&[vec![0x65; len]]);
            let wire = numbers().unit(&Format::H264(sets()), None, &payload, 100);
            let shifted = renumber(&wire, 9, sequence, time);
            prop_assert_eq!(
                payloads(&shifted, 65535u16.wrapping_add(sequence), 100u32.wrapping_add(time)),
                payloads(&wire, 65535, 100)
            );
            prop_assert_eq!(shifted[1], 9);
        }
    }
}
