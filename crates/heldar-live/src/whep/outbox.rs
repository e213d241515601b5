//! Pictures on their way to one viewer: cut into packets, and let go at a pace that sockets and switches can take.
//!
//! Owns: the order of packets and their pace. Pictures wait as they are, shared with everyone; only the one being sent is
//! cut up. Never: reads a clock, drops anything by itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use heldar_base::{Micros, WallTime};
use heldar_media::{AccessUnit, TrackParams, VideoCodec};

use super::payload;

/// Bytes that go at once: what the receive buffer of a browser takes.
const BURST: i64 = 64 << 10;
/// Bytes per millisecond after that, until the stream's own rate is known: 40 Mbit/s.
const FIRST_PACE: i64 = 5_000;
/// At least 20 Mbit/s: what a slow receiver takes without losing some. At most 100 Mbit/s: what a switch passes on.
const PACES: std::ops::RangeInclusive<i64> = 2_500..=12_500;
/// So many times the stream's rate, within these bounds: a group that comes at once goes out in a fifth of its duration.
const HEADROOM: i64 = 5;
/// The stream's rate is measured over so long.
const WINDOW: Micros = Micros::from_secs(2);
/// How long to wait when a burst has gone.
const PAUSE: Duration = Duration::from_millis(4);

/// One packet.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) codec: VideoCodec,
    pub(super) ticks: i64,
    pub(super) payload: Arc<[u8]>,
    /// Whether it completes its picture.
    pub(super) is_last: bool,
}

/// Pictures on their way.
#[derive(Debug)]
pub(super) struct Outbox {
    pictures: VecDeque<(Arc<AccessUnit>, i64)>,
    packets: VecDeque<Arc<[u8]>>,
    current: (VideoCodec, i64),
    sets: Option<(Arc<TrackParams>, Vec<Bytes>)>,
    pace: Pace,
    /// Bytes that may go now.
    credit: i64,
    credited_at: Instant,
}

impl Outbox {
    /// Nothing on its way.
    pub(super) fn new(now: Instant) -> Self {
        Outbox {
            pictures: VecDeque::new(),
            packets: VecDeque::new(),
            current: (VideoCodec::H264, 0),
            sets: None,
            pace: Pace { per_ms: FIRST_PACE, window: None },
            credit: BURST,
            credited_at: now,
        }
    }

    /// Takes a picture that is to have this RTP time.
    pub(super) fn push(&mut self, picture: Arc<AccessUnit>, ticks: i64) {
        self.pace.note(picture.captured_at, picture.payload.len());
        self.pictures.push_back((picture, ticks));
    }

    /// Whether all has gone.
    pub(super) fn is_empty(&self) -> bool {
        self.pictures.is_empty() && self.packets.is_empty()
    }

    /// Leaves out all that has not gone; tells how many pictures that were. What follows must begin at a sync sample.
    pub(super) fn clear(&mut self) -> u64 {
        let left = self.pictures.len() + usize::from(!self.packets.is_empty());
        self.pictures.clear();
        self.packets.clear();
        left as u64
    }

    /// When the next packet may go, if one waits.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        (!self.is_empty()).then(|| if self.credit > 0 { now } else { now + PAUSE })
    }

    /// The next packet, if one may go now.
    pub(super) fn next(&mut self, now: Instant) -> Option<Packet> {
        let micros =
            i64::try_from(now.saturating_duration_since(self.credited_at).as_micros()).unwrap_or(i64::MAX);
        self.credit = self.credit.saturating_add(micros.saturating_mul(self.pace.per_ms) / 1000).min(BURST);
        self.credited_at = now;
        while self.packets.is_empty() {
            let (picture, ticks) = self.pictures.pop_front()?;
            self.cut(&picture, ticks);
        }
        if self.credit <= 0 {
            return None;
        }
        let payload = self.packets.pop_front()?;
        self.credit -= payload.len() as i64;
        let (codec, ticks) = self.current;
        Some(Packet { codec, ticks, payload, is_last: self.packets.is_empty() })
    }

    fn cut(&mut self, picture: &AccessUnit, ticks: i64) {
        let Some(params) = picture.params.video() else { return };
        let is_known = self.sets.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, &picture.params));
        if !is_known {
            // A record that cannot be read leaves decoders what the camera sends in its pictures.
            let sets = payload::parameter_sets(params).unwrap_or_default();
            self.sets = Some((picture.params.clone(), sets));
        }
        let sets = match &self.sets {
            Some((_, sets)) if picture.sync.is_sync() => sets.as_slice(),
            _ => &[],
        };
        self.packets = payload::payloads(params.codec, sets, &picture.payload).into();
        self.current = (params.codec, ticks);
    }
}

/// How fast packets may go.
#[derive(Debug)]
struct Pace {
    /// Bytes per millisecond.
    per_ms: i64,
    /// Since when bytes are counted, and how many there were.
    window: Option<(WallTime, i64)>,
}

impl Pace {
    /// A picture of so many bytes was captured.
    fn note(&mut self, captured_at: WallTime, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let (since, before) = self.window.unwrap_or((captured_at, 0));
        let span = captured_at - since;
        let is_whole = span >= WINDOW;
        // Neither a gap nor what is sent again says how much the stream brings.
        let is_even = span >= Micros::ZERO && span < WINDOW + WINDOW;
        if is_whole && is_even {
            let rate = before.saturating_mul(1000) / span.0.max(1);
            self.per_ms = rate.saturating_mul(HEADROOM).clamp(*PACES.start(), *PACES.end());
        }
        let goes_on = is_even && !is_whole;
        self.window =
            Some(if goes_on { (since, before.saturating_add(bytes)) } else { (captured_at, bytes) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::picture;
    use heldar_media::nal;

    fn unit(sync: bool, len: usize) -> Arc<AccessUnit> {
        let mut payload = bytes::BytesMut::new();
        nal::push(&mut payload, &vec![if sync { 0x65 } else { 0x41 }; len]);
        Arc::new(AccessUnit { payload: payload.freeze(), ..AccessUnit::clone(&picture(0, sync, 0)) })
    }

    #[test]
    fn a_sync_sample_brings_its_parameter_sets() {
        let now = Instant::now();
        let mut outbox = Outbox::new(now);
        outbox.push(unit(true, 10), 5);
        outbox.push(unit(false, 10), 6);
        let packets: Vec<Packet> = std::iter::from_fn(|| outbox.next(now)).collect();
        let told: Vec<_> =
            packets.iter().map(|packet| (packet.ticks, packet.payload[0], packet.is_last)).collect();
        assert_eq!(told, [(5, 0x78, false), (5, 0x65, true), (6, 0x41, true)]);
        assert!(outbox.is_empty() && outbox.due(now).is_none());
    }

    #[test]
    fn large_pictures_are_paced() {
        let mut now = Instant::now();
        let mut outbox = Outbox::new(now);
        outbox.push(unit(true, 1 << 20), 0);
        let mut sent = [0; 2];
        for burst in &mut sent {
            *burst =
                std::iter::from_fn(|| outbox.next(now)).map(|packet| packet.payload.len()).sum::<usize>();
            now = outbox.due(now).unwrap();
        }
        assert!((60_000..68_000).contains(&sent[0]) && (17_000..23_000).contains(&sent[1]), "{sent:?}");
        assert_eq!(outbox.clear(), 1);
        assert!(outbox.next(now).is_none());
    }

    #[test]
    fn the_pace_is_that_of_the_stream_and_more() {
        let check = |bytes: usize, expect: i64| {
            let mut pace = Pace { per_ms: FIRST_PACE, window: None };
            let at = |ms: i64| WallTime(1_700_000_000_000_000 + ms * 1000);
            (0..=50).for_each(|number| pace.note(at(number * 40), bytes));
            assert_eq!(pace.per_ms, expect, "{bytes}");
            // An hour without a picture, and the same ones again.
            pace.note(at(3_600_000), bytes);
            (0..20).for_each(|number| pace.note(at(number * 40), bytes));
            assert_eq!(pace.per_ms, expect, "{bytes}");
        };
        check(1_000, *PACES.start());
        check(40_000, 5_000);
        check(80_000, 10_000);
        check(500_000, *PACES.end());
    }
}
