//! The newest rows in memory, read from the store once for all listeners.
//!
//! Owns: the ring, within bounds of items and bytes, and how much is read of each row: as much as any listener wants. While
//! nobody listens nothing is read. Invariant: between the floor of a level and the head, every row is in the ring with what
//! that level has of it, in order. Never: knows who listens; whoever needs older rows asks the store.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use heldar_base::Scope;
use heldar_store::{CommittedTo, FeedBatches, FeedWants, Store, StoreError};
use tokio::sync::watch;

use super::lock;
use super::message::Message;

/// Most items in the ring, and most of their bytes.
const ITEMS: usize = 8192;
const BYTES: usize = 32 << 20;
/// Rows and detections of one read.
pub(super) const PAGE: (u32, usize) = (512, 4096);
/// Rest before a store that failed is read again.
pub(super) const REST: Duration = Duration::from_secs(1);
/// Waking a listener costs about so much; while they are woken, what else is committed gathers.
const WAKE: Duration = Duration::from_micros(10);
/// But no longer than this.
const GATHER: Duration = Duration::from_millis(10);
/// Nothing of a level is kept.
const NOTHING: i64 = i64::MAX;

/// How much of a row is kept: what a listener wants of batches names the level.
const LEVELS: [FeedBatches; 3] = [FeedBatches::Leave, FeedBatches::Headers, FeedBatches::Full];

/// The ring and who wakes whom.
pub(super) struct Hub {
    ring: Mutex<Ring>,
    /// Counts what came.
    changed: watch::Sender<u64>,
    /// Listeners at each level.
    wanted: watch::Sender<[usize; 3]>,
}

struct Ring {
    items: VecDeque<Item>,
    bytes: usize,
    /// Rows up to here are not in the ring with what the level has of them.
    floors: [i64; 3],
    /// Rows up to here have been read.
    head: i64,
    /// Number of the next item.
    next: u64,
}

struct Item {
    number: u64,
    bytes: usize,
    message: Arc<Message>,
}

/// Where a listener is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    /// Every row up to here has been given to it, or was not for it.
    pub(super) seq: i64,
    /// The first item that it has not seen.
    item: u64,
}

impl Position {
    /// The first item of the hub that it has not seen.
    pub(super) fn item(self) -> u64 {
        self.item
    }

    /// After a row.
    pub(super) fn after(seq: i64) -> Self {
        Position { seq, item: 0 }
    }
}

/// What became of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// What there was; there may be more.
    Some,
    /// Everything up to the head.
    All,
    /// What comes next is not in the ring.
    Behind,
}

impl Default for Hub {
    fn default() -> Self {
        let ring = Ring { items: VecDeque::new(), bytes: 0, floors: [NOTHING; 3], head: 0, next: 0 };
        Hub { ring: Mutex::new(ring), changed: watch::Sender::new(0), wanted: watch::Sender::new([0; 3]) }
    }
}

/// The place of a level in lists of levels.
fn place(level: FeedBatches) -> usize {
    LEVELS.iter().position(|one| *one == level).unwrap_or(0)
}

/// The highest level that somebody wants.
fn highest(wanted: &[usize; 3]) -> Option<usize> {
    wanted.iter().rposition(|count| *count > 0)
}

impl Hub {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        lock(&self.ring)
    }

    /// Number of the next item.
    pub(super) fn next(&self) -> u64 {
        self.ring().next
    }

    /// Resolves when something comes.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Lets every listener look again.
    pub(super) fn wake(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Somebody listens.
    pub(super) fn join(&self, level: FeedBatches) {
        self.count(level, 1);
    }

    /// Somebody listens no more.
    pub(super) fn leave(&self, level: FeedBatches) {
        self.count(level, -1);
    }

    fn count(&self, level: FeedBatches, change: isize) {
        self.wanted.send_if_modified(|wanted| {
            let before = highest(wanted);
            if let Some(count) = wanted.get_mut(place(level)) {
                *count = count.saturating_add_signed(change);
            }
            highest(wanted) != before
        });
    }

    /// Goes through up to `most` items after a position, which goes on with them; those that are wanted are handed to `give`.
    pub(super) fn take(
        &self,
        position: &mut Position,
        level: FeedBatches,
        most: usize,
        mut give: impl FnMut(&Arc<Message>),
    ) -> Taken {
        let ring = self.ring();
        if ring.floors.get(place(level)).is_none_or(|floor| position.seq < *floor) {
            return Taken::Behind;
        }
        let skip = ring.items.partition_point(|item| item.number < position.item);
        for item in ring.items.iter().skip(skip).take(most) {
            position.item = item.number + 1;
            let seq = item.message.seq();
            // One that was read from the store before.
            if seq > position.seq {
                position.seq = seq;
                give(&item.message);
            }
        }
        if position.item < ring.next && ring.items.len() > skip + most {
            return Taken::Some;
        }
        position.item = ring.next;
        position.seq = position.seq.max(ring.head);
        Taken::All
    }

    /// Reads what is committed, while somebody wants it, until the server stops.
    pub(super) async fn run(&self, store: &Store) {
        let (mut committed, mut wanted) = (store.committed(), self.wanted.subscribe());
        loop {
            let to = *committed.borrow_and_update();
            let counts = *wanted.borrow_and_update();
            let Some(level) = self.settle(&counts, to) else {
                if wanted.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let has_woken = match self.read(store, level, to).await {
                Ok(has_rows) => has_rows,
                Err(error) => {
                    tracing::debug!(%error, "the feed is not read; once more soon");
                    tokio::time::sleep(REST).await;
                    continue;
                }
            };
            let listeners = u32::try_from(counts.iter().sum::<usize>()).unwrap_or(u32::MAX);
            let gather = WAKE.saturating_mul(listeners).min(GATHER);
            if has_woken && gather >= Duration::from_millis(1) {
                tokio::time::sleep(gather).await;
            }
            let ended = tokio::select! {
                changed = committed.changed() => changed.is_err(),
                changed = wanted.changed() => changed.is_err(),
            };
            if ended {
                // The store is closed: nothing is committed any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Begins or ends levels as they are wanted; the highest one.
    fn settle(&self, wanted: &[usize; 3], committed: CommittedTo) -> Option<FeedBatches> {
        let level = highest(wanted);
        let mut ring = self.ring();
        let Some(level) = level else {
            ring.items = VecDeque::new();
            ring.bytes = 0;
            ring.floors = [NOTHING; 3];
            return None;
        };
        if ring.floors == [NOTHING; 3] {
            ring.head = committed.seq;
        }
        let (head, mut has_begun) = (ring.head, false);
        for (at, floor) in ring.floors.iter_mut().enumerate() {
            if at > level {
                *floor = NOTHING;
            } else if *floor == NOTHING {
                *floor = head;
                has_begun = true;
            }
        }
        drop(ring);
        if has_begun {
            self.wake();
        }
        LEVELS.get(level).copied()
    }

    /// Reads everything up to a number; whether anybody was woken for it.
    async fn read(&self, store: &Store, level: FeedBatches, to: CommittedTo) -> Result<bool, StoreError> {
        let wants = FeedWants { events: true, batches: level };
        let mut has_woken = false;
        loop {
            let head = self.ring().head;
            if head >= to.seq {
                return Ok(has_woken);
            }
            let page = store.feed(&Scope::All, None, wants, (head, to.seq), PAGE).await?;
            let has_rows = !page.rows.is_empty();
            let mut ring = self.ring();
            for row in page.rows {
                ring.push(Message::new(row, Some(to.at)));
            }
            ring.head = ring.head.max(page.reached);
            drop(ring);
            if has_rows {
                self.wake();
                has_woken = true;
            }
            // A page that reaches nowhere would be read for ever.
            if page.reached <= head {
                return Ok(has_woken);
            }
        }
    }

    #[cfg(test)]
    fn put(&self, seq: i64) {
        let mut ring = self.ring();
        ring.head = seq;
        ring.push(tests::message(seq));
    }
}

impl Ring {
    fn push(&mut self, message: Message) {
        let (bytes, number) = (message.weight(), self.next);
        self.next += 1;
        self.bytes += bytes;
        self.items.push_back(Item { number, bytes, message: Arc::new(message) });
        while (self.bytes > BYTES || self.items.len() > ITEMS) && self.items.len() > 1 {
            let Some(item) = self.items.pop_front() else { break };
            self.bytes -= item.bytes;
            let seq = item.message.seq();
            for floor in self.floors.iter_mut().filter(|floor| **floor != NOTHING) {
                *floor = seq.max(*floor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use heldar_base::{CameraId, WallTime};
    use heldar_store::{Event, FeedRow, NewEvent, Severity};

    use super::*;

    pub(super) fn message(seq: i64) -> Message {
        let event = NewEvent {
            id: "0".repeat(36),
            camera: Some(CameraId::new("gate").unwrap()),
            event_type: "x".to_owned(),
            severity: Severity::Info,
            timestamp: WallTime(0),
            created_at: WallTime(0),
            payload: serde_json::json!({}),
        };
        Message::new(FeedRow::Event(Event { seq, site: None, event, seen: None }), None)
    }

    fn at(seq: i64) -> CommittedTo {
        CommittedTo { seq, at: Instant::now() }
    }

    fn take(hub: &Hub, position: &mut Position, level: FeedBatches, most: usize) -> (Vec<i64>, Taken) {
        let mut seqs = Vec::new();
        let taken = hub.take(position, level, most, |message| seqs.push(message.seq()));
        (seqs, taken)
    }

    #[test]
    fn rows_are_taken_once_and_in_order() {
        let hub = Hub::default();
        let mut position = Position::after(5);
        assert_eq!(take(&hub, &mut position, FeedBatches::Leave, 9).1, Taken::Behind, "nothing is kept yet");
        assert_eq!(hub.settle(&[1, 0, 0], at(5)), Some(FeedBatches::Leave));
        assert_eq!(take(&hub, &mut position, FeedBatches::Leave, 9), (vec![], Taken::All));
        for seq in [7, 9, 12] {
            hub.put(seq);
        }
        assert_eq!(take(&hub, &mut position, FeedBatches::Leave, 2), (vec![7, 9], Taken::Some));
        assert_eq!(take(&hub, &mut position, FeedBatches::Leave, 2), (vec![12], Taken::All));
        // What the store had given already is not given again.
        let mut position = Position::after(9);
        assert_eq!(take(&hub, &mut position, FeedBatches::Leave, 9), (vec![12], Taken::All));
        let mut early = Position::after(4);
        assert_eq!(take(&hub, &mut early, FeedBatches::Leave, 9), (vec![], Taken::Behind));
    }

    #[test]
    fn a_level_begins_where_it_is_wanted_first() {
        let hub = Hub::default();
        hub.settle(&[1, 0, 0], at(5));
        hub.put(7);
        assert_eq!(hub.settle(&[1, 0, 1], at(7)), Some(FeedBatches::Full));
        hub.put(9);
        let mut events = Position::after(5);
        assert_eq!(take(&hub, &mut events, FeedBatches::Leave, 9).0, [7, 9]);
        for level in [FeedBatches::Headers, FeedBatches::Full] {
            assert_eq!(take(&hub, &mut Position::after(5), level, 9).1, Taken::Behind);
            assert_eq!(take(&hub, &mut Position::after(7), level, 9).0, [9]);
        }
        // One that nobody wants any more is kept no longer, and begins anew.
        hub.settle(&[1, 0, 0], at(9));
        hub.put(11);
        hub.settle(&[1, 1, 0], at(11));
        assert_eq!(take(&hub, &mut Position::after(9), FeedBatches::Headers, 9).1, Taken::Behind);
        assert_eq!(take(&hub, &mut Position::after(9), FeedBatches::Leave, 9).0, [11]);
        hub.settle(&[0; 3], at(11));
        assert_eq!(take(&hub, &mut Position::after(11), FeedBatches::Leave, 9).1, Taken::Behind);
    }

    #[test]
    fn the_ring_is_bounded_and_keeps_the_newest() {
        let hub = Hub::default();
        hub.settle(&[1, 0, 0], at(0));
        let most = i64::try_from(ITEMS).unwrap();
        for seq in 1..=most + 10 {
            hub.put(seq);
        }
        assert_eq!(hub.ring().items.len(), ITEMS);
        assert_eq!(take(&hub, &mut Position::after(9), FeedBatches::Leave, 1).1, Taken::Behind);
        assert_eq!(take(&hub, &mut Position::after(10), FeedBatches::Leave, 1).0, [11]);
    }
}
