//! The bus of one stream: the current GOP in memory, and everyone who follows it.
//!
//! Owns: the access units since the newest sync sample, up to 8 MiB or 10 s; past that it stays empty until the next one.
//! Contract: publishing never waits. A subscriber starts at the newest sync sample, so that its first picture is there at
//! once; one that has fallen behind what is held is moved to the newest sync sample and told how much it missed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heldar_base::{Micros, WallTime};
use heldar_media::{AccessUnit, TrackKind};
use tokio::sync::Notify;

/// Payload bytes that are held at most.
const HELD_BYTES: usize = 8 << 20;
/// Capture time that is held at most.
const HELD_TIME: Micros = Micros::from_secs(10);

/// The bus of one stream; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Bus {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    held: Mutex<Held>,
    wake: Notify,
    subscribers: AtomicUsize,
    stats: BusStats,
}

/// What went over a bus.
#[derive(Debug, Default)]
pub struct BusStats {
    /// Pictures published.
    pub pictures: AtomicU64,
    /// Payload bytes published, audio included.
    pub bytes: AtomicU64,
    /// Units that subscribers missed because they were too slow.
    pub missed: AtomicU64,
}

#[derive(Debug, Default)]
struct Held {
    units: VecDeque<Arc<AccessUnit>>,
    /// Number of the first unit in `units`; numbers rise by one per unit and are never used twice.
    first: u64,
    bytes: usize,
    /// Nothing is held until the next sync sample: the GOP outgrew its bounds, or none has come yet.
    waiting: bool,
    closed: bool,
    newest: Option<WallTime>,
}

/// How much a subscriber missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lagged {
    /// Units left out.
    pub units: u64,
}

/// What a subscriber is given.
#[derive(Clone, Debug)]
pub enum Received {
    /// The next unit.
    Unit(Arc<AccessUnit>),
    /// It was too slow: what follows starts at a sync sample.
    Lagged(Lagged),
    /// The stream has ended for good.
    Closed,
}

impl Bus {
    /// A bus without pictures.
    pub fn new() -> Self {
        Bus::default()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.shared.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a unit to everyone.
    pub fn publish(&self, unit: Arc<AccessUnit>) {
        let stats = &self.shared.stats;
        stats.bytes.fetch_add(unit.payload.len() as u64, Ordering::Relaxed);
        if unit.track == TrackKind::Video {
            stats.pictures.fetch_add(1, Ordering::Relaxed);
        }
        self.held().push(unit);
        if self.shared.subscribers.load(Ordering::Acquire) > 0 {
            self.shared.wake.notify_waiters();
        }
    }

    /// The session was lost: pictures that follow have nothing to do with those held.
    pub fn interrupt(&self) {
        self.held().clear();
    }

    /// The stream ends for good.
    pub fn close(&self) {
        self.held().closed = true;
        self.shared.wake.notify_waiters();
    }

    /// Follows the stream from its newest sync sample on.
    pub fn subscribe(&self) -> Subscriber {
        self.shared.subscribers.fetch_add(1, Ordering::AcqRel);
        let next = self.held().first;
        Subscriber { bus: self.clone(), next }
    }

    /// How many follow it.
    pub fn subscribers(&self) -> usize {
        self.shared.subscribers.load(Ordering::Acquire)
    }

    /// Counters.
    pub fn stats(&self) -> &BusStats {
        &self.shared.stats
    }

    /// Payload bytes held now.
    pub fn held_bytes(&self) -> usize {
        self.held().bytes
    }

    /// When the newest picture was captured.
    pub fn newest(&self) -> Option<WallTime> {
        self.held().newest
    }
}

impl Held {
    fn push(&mut self, unit: Arc<AccessUnit>) {
        if unit.track == TrackKind::Video {
            self.newest = self.newest.max(Some(unit.captured_at));
            if unit.sync.is_sync() {
                self.clear();
                self.waiting = false;
            }
        }
        let span = self.units.front().map_or(Micros::ZERO, |first| unit.captured_at - first.captured_at);
        if self.waiting || self.bytes + unit.payload.len() > HELD_BYTES || span > HELD_TIME {
            self.clear();
            self.first += 1;
            return;
        }
        self.bytes += unit.payload.len();
        self.units.push_back(unit);
    }

    fn clear(&mut self) {
        self.first += self.units.len() as u64;
        self.units.clear();
        self.bytes = 0;
        self.waiting = true;
    }

    fn get(&self, number: u64) -> Option<Arc<AccessUnit>> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.units.get(index).cloned()
    }
}

/// One who follows a stream.
#[derive(Debug)]
pub struct Subscriber {
    bus: Bus,
    next: u64,
}

impl Subscriber {
    /// The next unit, when there is one.
    pub async fn recv(&mut self) -> Received {
        let shared = self.bus.shared.clone();
        loop {
            let notified = shared.wake.notified();
            tokio::pin!(notified);
            // Registered before looking, so that a unit published in between wakes us.
            notified.as_mut().enable();
            if let Some(received) = self.try_recv() {
                return received;
            }
            notified.await;
        }
    }

    /// The next unit, if it is there already.
    pub fn try_recv(&mut self) -> Option<Received> {
        let held = self.bus.held();
        if self.next < held.first {
            let units = held.first - self.next;
            self.next = held.first;
            // Moving on to the next GOP without having missed anything is the usual course.
            self.bus.shared.stats.missed.fetch_add(units, Ordering::Relaxed);
            return Some(Received::Lagged(Lagged { units }));
        }
        if let Some(unit) = held.get(self.next) {
            self.next += 1;
            return Some(Received::Unit(unit));
        }
        held.closed.then_some(Received::Closed)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.bus.shared.subscribers.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use heldar_base::MonoTime;
    use heldar_media::{SyncKind, TrackParams, VideoCodec, VideoParams};

    fn unit(ms: i64, sync: SyncKind, len: usize) -> Arc<AccessUnit> {
        let params = VideoParams {
            codec: VideoCodec::H264,
            codec_string: String::new(),
            width: 16,
            height: 16,
            pixel_aspect: None,
            nominal_interval: None,
            reorder_depth: 0,
            config: Bytes::new(),
        };
        Arc::new(AccessUnit {
            track: TrackKind::Video,
            captured_at: WallTime(ms * 1000),
            received_at: MonoTime(0),
            rtp_time: 0,
            sync,
            params: Arc::new(TrackParams::Video(params)),
            payload: Bytes::from(vec![0; len]),
        })
    }

    fn next_ms(subscriber: &mut Subscriber) -> Option<i64> {
        match subscriber.try_recv()? {
            Received::Unit(unit) => Some(unit.captured_at.0 / 1000),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_subscriber_starts_at_the_newest_sync_sample() {
        let bus = Bus::new();
        for ms in 0..5 {
            bus.publish(unit(ms, if ms == 2 { SyncKind::Closed } else { SyncKind::None }, 10));
        }
        let mut subscriber = bus.subscribe();
        let got: Vec<i64> = std::iter::from_fn(|| next_ms(&mut subscriber)).collect();
        assert_eq!(got, [2, 3, 4]);
        bus.publish(unit(5, SyncKind::None, 10));
        assert_eq!(next_ms(&mut subscriber), Some(5));
    }

    #[test]
    fn one_that_keeps_up_misses_nothing_over_gops() {
        let bus = Bus::new();
        let mut subscriber = bus.subscribe();
        for ms in 0..20 {
            bus.publish(unit(ms, if ms % 5 == 0 { SyncKind::Closed } else { SyncKind::None }, 10));
            assert_eq!(next_ms(&mut subscriber), Some(ms));
        }
    }

    #[test]
    fn a_slow_one_is_moved_to_the_newest_sync_sample_and_told() {
        let bus = Bus::new();
        let mut subscriber = bus.subscribe();
        for ms in 0..12 {
            bus.publish(unit(ms, if ms % 5 == 0 { SyncKind::Closed } else { SyncKind::None }, 10));
        }
        assert!(matches!(subscriber.try_recv(), Some(Received::Lagged(Lagged { units: 10 }))));
        assert_eq!(next_ms(&mut subscriber), Some(10));
    }

    #[test]
    fn a_gop_that_outgrows_its_bounds_is_let_go_until_the_next_sync_sample() {
        let bus = Bus::new();
        bus.publish(unit(0, SyncKind::Closed, 10));
        bus.publish(unit(10_001, SyncKind::None, 10));
        assert_eq!(bus.held_bytes(), 0);
        bus.publish(unit(10_002, SyncKind::None, 10));
        assert_eq!(bus.held_bytes(), 0);
        bus.publish(unit(10_003, SyncKind::Closed, HELD_BYTES));
        assert_eq!(bus.held_bytes(), HELD_BYTES);
        bus.publish(unit(10_004, SyncKind::None, 1));
        assert_eq!(bus.held_bytes(), 0);
    }

    #[tokio::test]
    async fn waiting_ends_with_a_unit_or_with_the_stream() {
        let bus = Bus::new();
        let mut subscriber = bus.subscribe();
        let publisher = bus.clone();
        let task = tokio::spawn(async move { publisher.publish(unit(1, SyncKind::Closed, 1)) });
        assert!(matches!(subscriber.recv().await, Received::Unit(_)));
        task.await.unwrap();
        bus.close();
        assert!(matches!(subscriber.recv().await, Received::Closed));
    }
}
