//! Pictures on their way to one viewer: cut into packets, and let go at a pace that sockets and switches can take.
//!
//! Owns: the order of packets and their pace. Pictures wait as they are, shared with everyone; only the one being sent is
//! cut up. Never: reads a clock, drops anything by itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use heldar_media::{AccessUnit, TrackParams, VideoCodec};

use super::payload;

/// Bytes that go at once: what the receive buffer of a browser takes.
const BURST: i64 = 64 << 10;
/// Bytes per millisecond after that: 100 Mbit/s.
const PACE: i64 = 12_500;
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
            credit: BURST,
            credited_at: now,
        }
    }

    /// Takes a picture that is to have this RTP time.
    pub(super) fn push(&mut self, picture: Arc<AccessUnit>, ticks: i64) {
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
        self.credit = self.credit.saturating_add(micros.saturating_mul(PACE) / 1000).min(BURST);
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
        assert!((60_000..68_000).contains(&sent[0]) && (45_000..55_000).contains(&sent[1]), "{sent:?}");
        assert_eq!(outbox.clear(), 1);
        assert!(outbox.next(now).is_none());
    }
}
