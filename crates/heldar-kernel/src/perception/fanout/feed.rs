//! The newest batches in memory, read from the store once for all consumers.
//!
//! Owns: the ring, within a bound of bytes, and the wake-up after commits. Invariant: every stored batch above the ring's floor
//! and up to its head is in it, in order. Never: knows who reads; whoever needs older batches asks the store.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heldar_base::Scope;
use heldar_store::{Store, StoreError};
use tokio::sync::{Notify, watch};

use crate::apps::DetectionBatch;

/// Memory of all batches in the ring: half of what the queues of all consumers may take.
const BYTES: usize = super::QUEUES / 2;
/// Batches and detections of one read.
const PAGE: (u32, usize) = (512, 4096);
/// Batches and detections of one read of those that have left the ring.
const OLD_PAGE: (u32, usize) = (256, 2048);
/// Rest before a store that failed is read again.
const REST: Duration = Duration::from_secs(1);

/// The ring.
pub(super) struct Feed {
    ring: Mutex<Ring>,
    /// Counts what came.
    changed: watch::Sender<u64>,
    committed: Notify,
}

struct Ring {
    items: VecDeque<Item>,
    bytes: usize,
    /// Stored batches up to here are not in the ring, or were not there when it began.
    floor: i64,
    /// Stored batches up to here have been read.
    head: i64,
    /// Number of the next item.
    next: u64,
}

struct Item {
    number: u64,
    bytes: usize,
    batch: Arc<DetectionBatch>,
}

/// What a reader gets.
enum Taken {
    /// The next ones, in order; none: there is nothing new.
    Batches(Vec<Arc<DetectionBatch>>),
    /// What comes next has left the ring.
    Behind,
}

/// Where a reader is.
#[derive(Clone, Copy, Debug)]
struct Position {
    /// The last stored batch that it has.
    seq: i64,
    /// The first item that it has not seen.
    item: u64,
}

impl Position {
    /// After a stored batch.
    fn after(seq: i64) -> Self {
        Position { seq, item: 0 }
    }
}

/// Somebody who takes batches in their order.
pub(crate) struct Reader {
    position: Position,
    changes: watch::Receiver<u64>,
}

impl Reader {
    /// The last stored batch that it has taken or passed over.
    pub(crate) fn seq(&self) -> i64 {
        self.position.seq
    }

    /// What has come up to now has been seen.
    pub(crate) fn mark_seen(&mut self) {
        self.changes.mark_unchanged();
    }

    /// Returns when something has come since.
    pub(crate) async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            // The server stops.
            std::future::pending().await
        }
    }
}

impl Default for Feed {
    fn default() -> Self {
        let ring = Ring { items: VecDeque::new(), bytes: 0, floor: i64::MAX, head: i64::MAX, next: 0 };
        Feed { ring: Mutex::new(ring), changed: watch::Sender::new(0), committed: Notify::new() }
    }
}

impl Feed {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch was committed.
    pub(super) fn committed(&self) {
        self.committed.notify_one();
    }

    /// A batch that is not stored.
    pub(super) fn offer(&self, batch: DetectionBatch) {
        self.ring().push(Arc::new(batch));
        self.changed.send_modify(|count| *count += 1);
    }

    /// Who takes what comes after a stored batch.
    pub(super) fn reader(&self, after: i64) -> Reader {
        Reader { position: Position::after(after), changes: self.changed.subscribe() }
    }

    /// Up to so many batches, in their order, from memory or else from the store; none: there is nothing new.
    pub(super) async fn next(
        &self,
        store: &Store,
        reader: &mut Reader,
        most: usize,
    ) -> Result<Vec<Arc<DetectionBatch>>, StoreError> {
        loop {
            match self.take(&mut reader.position, most) {
                Taken::Batches(batches) => return Ok(batches),
                Taken::Behind => {
                    let after = reader.position.seq;
                    let page = store.full_batches(&Scope::All, None, after, OLD_PAGE.0, OLD_PAGE.1).await?;
                    let last = page.rows.last().map(|row| row.batch.seq);
                    // Nothing there: what was there is gone, up to where the ring begins.
                    let reached = last.or_else(|| self.floor()).unwrap_or(after);
                    if reached <= after {
                        return Ok(Vec::new());
                    }
                    self.caught_up(&mut reader.position, reached);
                    if last.is_some() {
                        let rows = page.rows.into_iter();
                        return Ok(rows.map(|row| Arc::new(DetectionBatch::stored(row))).collect());
                    }
                }
            }
        }
    }

    /// The last stored batch that was read; none before the first read.
    pub(super) fn head(&self) -> Option<i64> {
        let head = self.ring().head;
        (head < i64::MAX).then_some(head)
    }

    /// Stored batches up to here are not in the ring; none before the first read.
    fn floor(&self) -> Option<i64> {
        let floor = self.ring().floor;
        (floor < i64::MAX).then_some(floor)
    }

    /// Up to so many batches after a position, which goes on with them.
    fn take(&self, position: &mut Position, most: usize) -> Taken {
        let ring = self.ring();
        if position.seq < ring.floor {
            return Taken::Behind;
        }
        let skip = ring.items.partition_point(|item| item.number < position.item);
        let mut batches = Vec::new();
        for item in ring.items.iter().skip(skip) {
            if batches.len() >= most {
                break;
            }
            position.item = item.number + 1;
            match item.batch.seq {
                // One that was read from the store before.
                Some(seq) if seq <= position.seq => continue,
                Some(seq) => position.seq = seq,
                None => {}
            }
            batches.push(item.batch.clone());
        }
        Taken::Batches(batches)
    }

    /// A reader that was behind has read the store up to here: what is in the ring of it is passed over.
    fn caught_up(&self, position: &mut Position, seq: i64) {
        let ring = self.ring();
        position.seq = position.seq.max(seq);
        let first = ring.items.iter().find(|item| item.batch.seq.is_some_and(|seq| seq > position.seq));
        position.item = first.map_or(ring.next, |item| item.number);
    }

    /// Reads what is committed until the server stops.
    pub(super) async fn run(&self, store: &Store) {
        loop {
            if let Err(error) = self.read(store).await {
                tracing::debug!(%error, "batches are not read; once more soon");
                tokio::time::sleep(REST).await;
                continue;
            }
            self.committed.notified().await;
        }
    }

    /// Reads everything that is committed.
    async fn read(&self, store: &Store) -> Result<(), StoreError> {
        loop {
            let head = match self.head() {
                Some(head) => head,
                None => {
                    let newest = store.newest_batch(&Scope::All).await?.unwrap_or(0);
                    let mut ring = self.ring();
                    (ring.floor, ring.head) = (newest, newest);
                    newest
                }
            };
            let page = store.full_batches(&Scope::All, None, head, PAGE.0, PAGE.1).await?;
            let is_last = page.next.is_none();
            let mut ring = self.ring();
            for row in page.rows {
                ring.head = row.batch.seq;
                ring.push(Arc::new(DetectionBatch::stored(row)));
            }
            drop(ring);
            self.changed.send_modify(|count| *count += 1);
            if is_last {
                return Ok(());
            }
        }
    }
}

impl Ring {
    fn push(&mut self, batch: Arc<DetectionBatch>) {
        let (bytes, number) = (batch.weight(), self.next);
        self.next += 1;
        self.bytes += bytes;
        self.items.push_back(Item { number, bytes, batch });
        while self.bytes > BYTES && self.items.len() > 1 {
            let Some(item) = self.items.pop_front() else { break };
            self.bytes -= item.bytes;
            if let Some(seq) = item.batch.seq {
                self.floor = seq;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perception::fanout::testing::batch;

    fn seqs(taken: Taken) -> Vec<Option<i64>> {
        match taken {
            Taken::Batches(batches) => batches.iter().map(|batch| batch.seq).collect(),
            Taken::Behind => panic!("behind"),
        }
    }

    fn begun(at: i64) -> Feed {
        let feed = Feed::default();
        {
            let mut ring = feed.ring();
            (ring.floor, ring.head) = (at, at);
        }
        feed
    }

    fn put(feed: &Feed, seq: i64) {
        let mut ring = feed.ring();
        ring.head = seq;
        ring.push(Arc::new(batch(Some(seq), "gate")));
    }

    #[test]
    fn what_is_not_stored_comes_once_between_what_is() {
        let feed = begun(5);
        let mut position = Position::after(5);
        put(&feed, 7);
        feed.offer(batch(None, "gate"));
        put(&feed, 9);
        assert_eq!(seqs(feed.take(&mut position, 2)), [Some(7), None]);
        assert_eq!(seqs(feed.take(&mut position, 2)), [Some(9)]);
        assert_eq!(seqs(feed.take(&mut position, 2)), []);
    }

    #[test]
    fn a_reader_behind_the_ring_goes_on_where_the_store_left_it() {
        let feed = begun(5);
        put(&feed, 7);
        put(&feed, 9);
        let mut position = Position::after(3);
        assert!(matches!(feed.take(&mut position, 9), Taken::Behind));
        // The store had this one, and the next one is in the ring.
        feed.caught_up(&mut position, 7);
        put(&feed, 11);
        assert_eq!(seqs(feed.take(&mut position, 9)), [Some(9), Some(11)]);
    }

    #[test]
    fn the_ring_is_bounded_and_keeps_the_newest() {
        let feed = begun(0);
        let mut position = Position::after(0);
        let weight = batch(Some(1), "gate").weight();
        let most = i64::try_from(BYTES / weight).unwrap();
        for seq in 1..=most + 10 {
            put(&feed, seq);
        }
        assert!(feed.ring().bytes <= BYTES);
        assert!(matches!(feed.take(&mut position, 1), Taken::Behind));
        feed.caught_up(&mut position, most + 9);
        assert_eq!(seqs(feed.take(&mut position, 9)), [Some(most + 10)]);
    }
}
