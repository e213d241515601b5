//! Sends all samples of all cameras at their time, from one loop.
//!
//! One timer serves every camera: a wake-up sends all that is due, and wake-ups are at least [`tick`] apart, so that many
//! cameras share each of them. A loop that was held up sends what it missed at once and keeps its schedule; after more than
//! [`MAX_LAG_US`] it leaves out what is older, as a camera does whose power was gone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heldar_base::{Micros, WallTime};
use tokio::time::Instant;

use crate::clock::wall_now;
use crate::feed::{Feed, Moment, lock};

/// A sample that is due: when, of which feed, of which track.
type Due = Reverse<(i64, usize, usize)>;

/// Oldest samples that are still sent.
const MAX_LAG_US: i64 = 5_000_000;

/// Time between two wake-ups at least.
fn tick(feeds: usize) -> Duration {
    Duration::from_millis(if feeds <= 8 { 1 } else { 4 })
}

/// Runs until it is dropped.
pub(crate) async fn run(feeds: Vec<Arc<Mutex<Feed>>>) {
    let tick = tick(feeds.len());
    let started = Instant::now();
    let started_at = wall_now();
    let mut heap: BinaryHeap<Due> = BinaryHeap::new();
    for (index, feed) in feeds.iter().enumerate() {
        let mut feed = lock(feed);
        for track in 0..feed.tracks().len() {
            heap.extend(feed.due(track).map(|due| Reverse((due, index, track))));
        }
    }
    let mut earliest = started;
    while let Some(Reverse((due, _, _))) = heap.peek() {
        let wanted = started + Duration::from_micros(due.max(&0).unsigned_abs());
        tokio::time::sleep_until(wanted.max(earliest)).await;
        let now = Instant::now();
        earliest = now + tick;
        send_due(&feeds, &mut heap, started_at, started, now);
    }
}

/// Sends what is due by `now`.
fn send_due(
    feeds: &[Arc<Mutex<Feed>>],
    heap: &mut BinaryHeap<Due>,
    started_at: WallTime,
    started: Instant,
    now: Instant,
) {
    let wall = wall_now();
    let now_us = i64::try_from(now.saturating_duration_since(started).as_micros()).unwrap_or(i64::MAX);
    while let Some(&Reverse((due_us, index, track))) = heap.peek()
        && due_us <= now_us
    {
        heap.pop();
        let Some(feed) = feeds.get(index) else { continue };
        let mut feed = lock(feed);
        let due_wall = started_at + Micros(due_us);
        if now_us - due_us > MAX_LAG_US {
            feed.leave_out(track);
        } else {
            feed.send(track, &Moment { due_us, due_wall, wall, mono: now.into_std() });
        }
        // A track whose samples take no time would never let go of the loop.
        heap.extend(feed.due(track).map(|next| Reverse((next.max(due_us + 1), index, track))));
    }
}
