//! RTCP (RFC 3550 6): sender reports go out, whatever comes in is only a sign of life.

use heldar_base::WallTime;

use super::packetize::FRAME_HEADER;

/// Seconds from the NTP epoch, 1900, to that of Unix, 1970.
const NTP_UNIX_OFFSET_S: i64 = 2_208_988_800;

/// 64-bit NTP time (RFC 3550 4): seconds since 1900 and their fraction; wraps in 2036 as NTP does.
pub(super) fn ntp_time(at: WallTime) -> u64 {
    let seconds = at.0.div_euclid(1_000_000).wrapping_add(NTP_UNIX_OFFSET_S);
    let micros = at.0.rem_euclid(1_000_000).unsigned_abs();
    let fraction = (micros << 32) / 1_000_000;
    (seconds.cast_unsigned() << 32) | fraction
}

/// What a sender report says.
#[derive(Clone, Copy, Debug)]
pub(super) struct SenderReport {
    pub(super) ssrc: u32,
    pub(super) at: WallTime,
    pub(super) rtp_time: u32,
    pub(super) packets: u32,
    pub(super) octets: u32,
}

impl SenderReport {
    /// A compound packet of the report (6.4.1) and a CNAME (6.5.1), framed as interleaved data.
    pub(super) fn encode(&self, channel: u8) -> Vec<u8> {
        const CNAME: &[u8; 6] = b"heldar";
        let mut out = vec![b'$', channel, 0, 0];
        // Version 2, no report blocks, type 200, length in words minus one.
        out.extend_from_slice(&[0x80, 200, 0, 6]);
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(&ntp_time(self.at).to_be_bytes());
        out.extend_from_slice(&self.rtp_time.to_be_bytes());
        out.extend_from_slice(&self.packets.to_be_bytes());
        out.extend_from_slice(&self.octets.to_be_bytes());
        // One chunk: source, CNAME item (type 1), and zeros up to the next word.
        out.extend_from_slice(&[0x81, 202, 0, 4]);
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(&[1, 6]);
        out.extend_from_slice(CNAME);
        out.extend_from_slice(&[0; 4]);
        framed(out)
    }

    /// The same with a BYE (6.6) behind it.
    pub(super) fn encode_with_bye(&self, channel: u8) -> Vec<u8> {
        let mut out = self.encode(channel);
        out.extend_from_slice(&[0x81, 203, 0, 1]);
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        framed(out)
    }
}

/// With its length in the frame's header.
fn framed(mut out: Vec<u8>) -> Vec<u8> {
    // 56 bytes at most, far below 64 KiB.
    let len = (out.len() - FRAME_HEADER) as u16;
    out[2..4].copy_from_slice(&len.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_of_known_instants() {
        for (us, expect) in [
            (0, 2_208_988_800u64 << 32),
            (500_000, (2_208_988_800 << 32) | 0x8000_0000),
            (1_769_860_800_250_000, (3_978_849_600 << 32) | 0x4000_0000),
        ] {
            assert_eq!(ntp_time(WallTime(us)), expect);
        }
    }

    #[test]
    fn lengths_are_those_of_the_bytes() {
        let report = SenderReport { ssrc: 1, at: WallTime(0), rtp_time: 2, packets: 3, octets: 4 }.encode(5);
        assert_eq!(report.len(), 4 + 28 + 20);
        assert_eq!(report[..4], [b'$', 5, 0, 48]);
        let last = SenderReport { ssrc: 1, at: WallTime(0), rtp_time: 2, packets: 3, octets: 4 };
        let last = last.encode_with_bye(5);
        assert_eq!((&last[..4], &last[4..52]), (&[b'$', 5, 0, 56][..], &report[4..]));
        assert_eq!(last[52..], [0x81, 203, 0, 1, 0, 0, 0, 1]);
    }
}
