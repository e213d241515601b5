//! What a worker counts, and its line about the last minute.
//!
//! Owns: counters and the inference times since the last line. Invariant: memory is bounded, never by time or frames.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Most inference times that are kept between two lines; later ones replace the oldest.
const SAMPLES: usize = 4096;

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    /// Frames analysed.
    Frames,
    /// Frames too old to analyse.
    SkippedStale,
    /// Frames that had been seen before.
    SkippedUnchanged,
    /// Pictures passed over because the worker was busy.
    SkippedByServer,
    /// Pictures that could not be decoded.
    Broken,
    /// Pulls without a frame.
    PullsEmpty,
    /// Failed pulls.
    PullErrors,
    /// Errors and panics of handlers.
    HandlerErrors,
    /// Results stored.
    Posts,
    /// Repeated posts.
    PostRetries,
    /// Results lost after all repetitions, or refused.
    PostErrors,
    /// Results dropped because the lease or the ticket no longer held.
    LeaseLost,
    /// Detections stored.
    Detections,
}

const KINDS: usize = Count::Detections as usize + 1;

/// Counters; safe for all threads.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    totals: [AtomicU64; KINDS],
    times: Mutex<Times>,
}

#[derive(Debug, Default)]
struct Times {
    inference_us: Vec<u64>,
    next: usize,
    /// The totals of the last line.
    before: [u64; KINDS],
}

impl Counters {
    pub(crate) fn add(&self, count: Count, by: u64) {
        self.totals[count as usize].fetch_add(by, Ordering::Relaxed);
    }

    /// Notes how long a handler took for one frame.
    pub(crate) fn inference(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        if times.inference_us.len() < SAMPLES {
            times.inference_us.push(micros);
        } else {
            let at = times.next % SAMPLES;
            times.inference_us[at] = micros;
        }
        times.next = times.next.wrapping_add(1);
    }

    /// What happened since the last call.
    pub(crate) fn summary(&self) -> Summary {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let now: [u64; KINDS] = std::array::from_fn(|kind| self.totals[kind].load(Ordering::Relaxed));
        let new = std::array::from_fn(|kind| now[kind] - times.before[kind]);
        times.before = now;
        times.next = 0;
        let mut inference_us = std::mem::take(&mut times.inference_us);
        inference_us.sort_unstable();
        Summary { new, inference_us }
    }
}

/// One line for people.
pub(crate) struct Summary {
    new: [u64; KINDS],
    inference_us: Vec<u64>,
}

impl Summary {
    fn sum(&self, counts: &[Count]) -> u64 {
        counts.iter().map(|count| self.new[*count as usize]).sum()
    }

    fn quantile_ms(&self, percent: usize) -> String {
        let at = (self.inference_us.len() * percent / 100).min(self.inference_us.len().saturating_sub(1));
        self.inference_us.get(at).map_or("-".to_owned(), |us| format!("{}.{}", us / 1000, us % 1000 / 100))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "frames={} skipped={} empty_pulls={} inference_ms_p50={} inference_ms_p95={} posts={} detections={} \
             retries={} broken={} lease_lost={} errors={}",
            self.sum(&[Count::Frames]),
            self.sum(&[Count::SkippedStale, Count::SkippedUnchanged, Count::SkippedByServer]),
            self.sum(&[Count::PullsEmpty]),
            self.quantile_ms(50),
            self.quantile_ms(95),
            self.sum(&[Count::Posts]),
            self.sum(&[Count::Detections]),
            self.sum(&[Count::PostRetries]),
            self.sum(&[Count::Broken]),
            self.sum(&[Count::LeaseLost]),
            self.sum(&[Count::PullErrors, Count::HandlerErrors, Count::PostErrors]),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_is_new() {
        let counters = Counters::default();
        counters.add(Count::Frames, 3);
        counters.add(Count::SkippedByServer, 2);
        counters.add(Count::SkippedStale, 1);
        (1..=100).for_each(|ms| counters.inference(Duration::from_millis(ms)));
        let first = counters.summary().to_string();
        assert!(first.starts_with("frames=3 skipped=3 "), "{first}");
        assert!(first.contains("inference_ms_p50=51.0 inference_ms_p95=96.0"), "{first}");
        counters.add(Count::PullErrors, 1);
        let second = counters.summary().to_string();
        assert!(second.starts_with("frames=0 skipped=0 empty_pulls=0 inference_ms_p50=- "), "{second}");
        assert!(second.ends_with("errors=1"), "{second}");
    }

    #[test]
    fn inference_times_are_bounded() {
        let counters = Counters::default();
        (0..3 * SAMPLES).for_each(|_| counters.inference(Duration::from_millis(1)));
        assert_eq!(counters.summary().inference_us.len(), SAMPLES);
    }
}
