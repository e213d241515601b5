//! What one publishes and many follow: the newest items in memory, from a place on where one can start.
//!
//! Owns: the items since the newest start (a sync sample), up to bounds; past those none are held for newcomers until the
//! next start. While somebody follows, a tail of older items stays, so that one who is a little behind misses nothing when
//! a new start comes. Contract: publishing never waits. A follower begins at the newest start, so that its first picture is
//! there at once; one that has fallen behind what is held is moved to the newest start and told how much it missed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heldar_base::{Micros, WallTime};
use tokio::sync::{Notify, watch};

/// Bytes that are held at most from the newest start on.
const HELD_BYTES: usize = 8 << 20;
/// Capture time that is held at most from the newest start on.
const HELD_TIME: Micros = Micros::from_secs(10);
/// Bytes of the tail before it.
const TAIL_BYTES: usize = 4 << 20;
/// Capture time of the tail before it.
const TAIL_TIME: Micros = Micros::from_secs(4);

/// What a ring holds.
pub trait Piece: Clone {
    /// Whether one can start here.
    fn is_start(&self) -> bool;
    /// Bytes it takes.
    fn size(&self) -> usize;
    /// When it was captured.
    fn captured_at(&self) -> WallTime;
}

/// A ring; clones share it.
#[derive(Debug)]
pub struct Ring<P> {
    shared: Arc<Shared<P>>,
}

impl<P> Clone for Ring<P> {
    fn clone(&self) -> Self {
        Ring { shared: self.shared.clone() }
    }
}

#[derive(Debug)]
struct Shared<P> {
    held: Mutex<Held<P>>,
    wake: Notify,
    followers: watch::Sender<usize>,
    /// Followers of all rings that count them together.
    everywhere: Arc<AtomicUsize>,
    missed: AtomicU64,
}

#[derive(Debug)]
struct Held<P> {
    slots: VecDeque<Slot<P>>,
    /// Number of the first slot; numbers rise by one per slot and are never used twice.
    first: u64,
    /// Number of the newest start, as long as all after it is held.
    start: Option<u64>,
    /// Bytes before the start, or of everything without one.
    tail_bytes: usize,
    /// Bytes from the start on.
    held_bytes: usize,
    closed: bool,
    newest: Option<WallTime>,
    /// The source was lost and nothing has come since.
    is_interrupted: bool,
}

#[derive(Clone, Debug)]
enum Slot<P> {
    Piece(P),
    /// What follows has nothing to do with what came before.
    Break,
}

impl<P: Piece> Slot<P> {
    fn size(&self) -> usize {
        match self {
            Slot::Piece(piece) => piece.size(),
            Slot::Break => 0,
        }
    }
}

/// What a follower is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received<P> {
    /// The next piece.
    Piece(P),
    /// It was too slow and missed so many pieces: what follows begins at a start.
    Lagged(u64),
    /// The source was lost: what follows begins at a start, whenever it comes.
    Interrupted,
    /// The stream has ended for good.
    Closed,
}

impl<P: Piece> Default for Ring<P> {
    fn default() -> Self {
        Ring::new(Arc::default())
    }
}

impl<P: Piece> Ring<P> {
    /// An empty ring; `everywhere` counts the followers of several.
    pub fn new(everywhere: Arc<AtomicUsize>) -> Self {
        Ring {
            shared: Arc::new(Shared {
                held: Mutex::new(Held {
                    slots: VecDeque::new(),
                    first: 0,
                    start: None,
                    tail_bytes: 0,
                    held_bytes: 0,
                    closed: false,
                    newest: None,
                    is_interrupted: false,
                }),
                wake: Notify::new(),
                followers: watch::Sender::new(0),
                everywhere,
                missed: AtomicU64::new(0),
            }),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held<P>> {
        self.shared.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a piece to everyone.
    pub fn publish(&self, piece: P) {
        let followed = self.is_followed();
        self.held().push(piece, followed);
        if followed {
            self.shared.wake.notify_waiters();
        }
    }

    /// The source was lost: pieces that follow have nothing to do with those held.
    pub fn interrupt(&self) {
        let followed = self.is_followed();
        self.held().interrupt(followed);
        if followed {
            self.shared.wake.notify_waiters();
        }
    }

    /// The stream ends for good.
    pub fn close(&self) {
        self.held().closed = true;
        self.shared.wake.notify_waiters();
    }

    /// Follows from the newest start on.
    pub fn follow(&self) -> Follower<P> {
        self.shared.everywhere.fetch_add(1, Ordering::AcqRel);
        self.shared.followers.send_modify(|count| *count += 1);
        let held = self.held();
        let next = held.start.unwrap_or_else(|| held.end());
        let awaits_start = held.start.is_none();
        drop(held);
        Follower { ring: self.clone(), next, awaits_start }
    }

    /// How many follow, as a value that can be awaited.
    pub fn followers(&self) -> watch::Receiver<usize> {
        self.shared.followers.subscribe()
    }

    fn is_followed(&self) -> bool {
        *self.shared.followers.borrow() > 0
    }

    /// Pieces that followers missed because they were too slow.
    pub fn missed(&self) -> u64 {
        self.shared.missed.load(Ordering::Relaxed)
    }

    /// Whether the stream has ended for good.
    pub fn is_closed(&self) -> bool {
        self.held().closed
    }

    /// Bytes held now.
    pub fn held_bytes(&self) -> usize {
        let held = self.held();
        held.held_bytes + held.tail_bytes
    }

    /// When the newest piece was captured.
    pub fn newest(&self) -> Option<WallTime> {
        self.held().newest
    }

    /// Whether one who follows now has something at once.
    pub fn has_start(&self) -> bool {
        self.held().start.is_some()
    }
}

impl<P: Piece> Held<P> {
    fn end(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    fn push(&mut self, piece: P, followed: bool) {
        // The clock may have been set back between two sessions.
        let is_first = std::mem::take(&mut self.is_interrupted);
        let before = if is_first { None } else { self.newest };
        self.newest = before.max(Some(piece.captured_at()));
        if piece.is_start() {
            self.start = Some(self.end());
            self.tail_bytes += std::mem::take(&mut self.held_bytes);
        } else if let Some(start) = self.start {
            let begun = self.get(start).and_then(|slot| match slot {
                Slot::Piece(piece) => Some(piece.captured_at()),
                Slot::Break => None,
            });
            let span = begun.map_or(Micros::ZERO, |begun| piece.captured_at() - begun);
            if self.held_bytes + piece.size() > HELD_BYTES || span > HELD_TIME {
                self.let_go();
            }
        }
        *(if self.start.is_some() { &mut self.held_bytes } else { &mut self.tail_bytes }) += piece.size();
        self.slots.push_back(Slot::Piece(piece));
        self.trim(followed);
    }

    fn interrupt(&mut self, followed: bool) {
        self.let_go();
        self.is_interrupted = true;
        self.slots.push_back(Slot::Break);
        self.trim(followed);
    }

    /// Newcomers wait for the next start.
    fn let_go(&mut self) {
        self.start = None;
        self.tail_bytes += std::mem::take(&mut self.held_bytes);
    }

    /// Drops what nobody is to get any more.
    fn trim(&mut self, followed: bool) {
        let keep_from = self.start.unwrap_or_else(|| self.end());
        let is_old =
            |piece: &P| self.newest.is_none_or(|newest| (newest - piece.captured_at()).abs() > TAIL_TIME);
        let mut drop = 0;
        let mut bytes = self.tail_bytes;
        for slot in self.slots.iter().take(usize::try_from(keep_from - self.first).unwrap_or(usize::MAX)) {
            let stays = match slot {
                _ if !followed => false,
                Slot::Piece(piece) => bytes <= TAIL_BYTES && !is_old(piece),
                Slot::Break => true,
            };
            if stays {
                break;
            }
            bytes -= slot.size();
            drop += 1;
        }
        self.tail_bytes = bytes;
        self.slots.drain(..drop);
        self.first += drop as u64;
    }

    fn get(&self, number: u64) -> Option<&Slot<P>> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.slots.get(index)
    }
}

/// One who follows a ring.
#[derive(Debug)]
pub struct Follower<P: Piece> {
    ring: Ring<P>,
    next: u64,
    /// Pieces before a start are of no use.
    awaits_start: bool,
}

impl<P: Piece> Follower<P> {
    /// The next piece, when there is one.
    pub async fn recv(&mut self) -> Received<P> {
        let shared = self.ring.shared.clone();
        loop {
            let notified = shared.wake.notified();
            tokio::pin!(notified);
            // Registered before looking, so that a piece published in between wakes us.
            notified.as_mut().enable();
            if let Some(received) = self.try_recv() {
                return received;
            }
            notified.await;
        }
    }

    /// The next piece, if it is there already.
    pub fn try_recv(&mut self) -> Option<Received<P>> {
        let held = self.ring.held();
        if self.next < held.first {
            let to = held.start.unwrap_or(held.first);
            let missed = to - self.next;
            self.awaits_start = held.start.is_none();
            self.next = to;
            drop(held);
            self.ring.shared.missed.fetch_add(missed, Ordering::Relaxed);
            return Some(Received::Lagged(missed));
        }
        while let Some(slot) = held.get(self.next) {
            self.next += 1;
            match slot {
                Slot::Break => {
                    self.awaits_start = true;
                    return Some(Received::Interrupted);
                }
                Slot::Piece(piece) if !self.awaits_start || piece.is_start() => {
                    self.awaits_start = false;
                    return Some(Received::Piece(piece.clone()));
                }
                Slot::Piece(_) => {}
            }
        }
        held.closed.then_some(Received::Closed)
    }

    /// How far the next piece lies behind the newest.
    pub fn behind(&self) -> Micros {
        let held = self.ring.held();
        match (held.get(self.next), held.newest) {
            (Some(Slot::Piece(piece)), Some(newest)) => newest - piece.captured_at(),
            _ => Micros::ZERO,
        }
    }

    /// Moves on to the newest start, if that lies ahead; tells how many pieces are left out.
    pub fn skip(&mut self) -> Option<u64> {
        let held = self.ring.held();
        let start = held.start.filter(|start| *start > self.next)?;
        let missed = start - self.next;
        self.next = start;
        self.awaits_start = false;
        drop(held);
        self.ring.shared.missed.fetch_add(missed, Ordering::Relaxed);
        Some(missed)
    }

    /// From here on only the next start is of use, such as after a piece that could not be sent.
    pub fn await_start(&mut self) {
        self.awaits_start = true;
    }
}

impl<P: Piece> Drop for Follower<P> {
    fn drop(&mut self) {
        self.ring.shared.everywhere.fetch_sub(1, Ordering::AcqRel);
        self.ring.shared.followers.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Item {
        ms: i64,
        start: bool,
        size: usize,
    }

    impl Piece for Item {
        fn is_start(&self) -> bool {
            self.start
        }

        fn size(&self) -> usize {
            self.size
        }

        fn captured_at(&self) -> WallTime {
            WallTime(self.ms * 1000)
        }
    }

    fn item(ms: i64, start: bool, size: usize) -> Item {
        Item { ms, start, size }
    }

    /// Takes all that is there, as text: times of pieces, `-n` for n missed, `x` for an interruption, `.` for the end.
    fn drain(follower: &mut Follower<Item>) -> String {
        let mut told = Vec::new();
        while let Some(received) = follower.try_recv() {
            match received {
                Received::Piece(item) => told.push(item.ms.to_string()),
                Received::Lagged(missed) => told.push(format!("-{missed}")),
                Received::Interrupted => told.push("x".to_owned()),
                Received::Closed => {
                    told.push(".".to_owned());
                    break;
                }
            }
        }
        told.join(" ")
    }

    #[test]
    fn a_follower_begins_at_the_newest_start() {
        let ring = Ring::default();
        for ms in 0..5 {
            ring.publish(item(ms, ms == 2, 10));
        }
        let mut follower = ring.follow();
        assert_eq!(drain(&mut follower), "2 3 4");
        ring.publish(item(5, false, 10));
        assert_eq!(drain(&mut follower), "5");
    }

    #[test]
    fn a_new_start_takes_nothing_from_one_who_is_a_little_behind() {
        let ring = Ring::default();
        let mut follower = ring.follow();
        for ms in 0..12 {
            ring.publish(item(ms, ms % 5 == 0, 10));
        }
        assert_eq!(drain(&mut follower), "0 1 2 3 4 5 6 7 8 9 10 11");
        assert_eq!(drain(&mut ring.follow()), "10 11");
    }

    #[test]
    fn a_slow_one_is_moved_to_the_newest_start_and_told() {
        let ring = Ring::default();
        let mut follower = ring.follow();
        for second in 0..12 {
            ring.publish(item(second * 1000, second % 5 == 0, 10));
        }
        assert_eq!(drain(&mut follower), "-10 10000 11000");
        assert_eq!(ring.missed(), 10);
        // By bytes as well.
        let mut follower = ring.follow();
        assert_eq!(drain(&mut follower), "10000 11000");
        ring.publish(item(11_001, true, TAIL_BYTES));
        ring.publish(item(11_002, false, 1));
        ring.publish(item(11_003, true, 1));
        assert_eq!(drain(&mut follower), "-2 11003");
    }

    #[test]
    fn what_outgrows_its_bounds_is_let_go_until_the_next_start() {
        let ring = Ring::default();
        ring.publish(item(0, true, 10));
        ring.publish(item(10_001, false, 10));
        assert_eq!(ring.held_bytes(), 0);
        let mut follower = ring.follow();
        ring.publish(item(10_002, false, 10));
        assert_eq!(drain(&mut follower), "");
        ring.publish(item(10_003, true, HELD_BYTES));
        assert!(ring.has_start());
        ring.publish(item(10_004, false, 1));
        assert!(!ring.has_start());
        // One who follows already goes on, unless it is too far behind.
        assert_eq!(drain(&mut follower), "-1");
        ring.publish(item(10_005, false, 1));
        ring.publish(item(10_006, true, 1));
        assert_eq!(drain(&mut follower), "10006");
    }

    #[test]
    fn without_followers_only_what_newcomers_get_is_held() {
        let ring = Ring::default();
        for ms in 0..12 {
            ring.publish(item(ms, ms % 5 == 0, 10));
        }
        assert_eq!(ring.held_bytes(), 20);
        ring.interrupt();
        assert_eq!(ring.held_bytes(), 0);
    }

    #[test]
    fn an_interruption_is_told_and_what_depends_on_lost_pieces_is_left_out() {
        let ring = Ring::default();
        ring.publish(item(0, true, 1));
        let mut follower = ring.follow();
        ring.publish(item(1, false, 1));
        ring.interrupt();
        ring.publish(item(2, false, 1));
        ring.publish(item(3, true, 1));
        assert_eq!(drain(&mut follower), "0 1 x 3");
        ring.close();
        assert_eq!(drain(&mut follower), ".");
    }

    #[test]
    fn one_may_skip_to_the_newest_start_and_not_back() {
        let ring = Ring::default();
        ring.publish(item(0, true, 1));
        let mut follower = ring.follow();
        ring.publish(item(100, false, 1));
        ring.publish(item(200, true, 1));
        ring.publish(item(300, false, 1));
        assert_eq!(follower.behind(), Micros::from_millis(300));
        assert_eq!((follower.skip(), follower.skip()), (Some(2), None));
        assert_eq!(drain(&mut follower), "200 300");
        assert_eq!(follower.behind(), Micros::ZERO);
        follower.await_start();
        ring.publish(item(400, false, 1));
        ring.publish(item(500, true, 1));
        assert_eq!(drain(&mut follower), "500");
    }

    #[test]
    fn followers_are_counted_here_and_everywhere() {
        let everywhere = Arc::new(AtomicUsize::new(0));
        let ring: Ring<Item> = Ring::new(everywhere.clone());
        let count = ring.followers();
        let follower = ring.follow();
        assert_eq!((*count.borrow(), everywhere.load(Ordering::Relaxed)), (1, 1));
        drop(follower);
        assert_eq!((*count.borrow(), everywhere.load(Ordering::Relaxed)), (0, 0));
    }

    #[tokio::test]
    async fn waiting_ends_with_a_piece_or_with_the_stream() {
        let ring = Ring::default();
        let mut follower = ring.follow();
        let publisher = ring.clone();
        let task = tokio::spawn(async move { publisher.publish(item(1, true, 1)) });
        assert_eq!(follower.recv().await, Received::Piece(item(1, true, 1)));
        task.await.unwrap();
        ring.close();
        assert_eq!(follower.recv().await, Received::Closed);
    }
}
