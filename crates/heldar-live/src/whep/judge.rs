//! Whether a viewer's path carries its stream, and when a smaller one should be sent instead.
//!
//! Owns: the verdict from what the viewer reports: the bitrate it believes in (REMB) and its losses. Contract: `poll` says
//! when to change over; the session tells with `reduced` and `restored` when it has. Never: reads a clock.

use std::time::{Duration, Instant};

/// Reports older than this say nothing.
const FRESH: Duration = Duration::from_secs(6);
/// So long must it be bad before a smaller stream is taken.
const PATIENCE: Duration = Duration::from_secs(4);
/// So long must it be hopeless.
const HOPELESS_PATIENCE: Duration = Duration::from_secs(1);
/// Share of packets lost from which on it is bad.
const BAD_LOSS: f32 = 0.1;
/// Share of packets lost from which on it is hopeless: nothing of the stream can be shown.
const HOPELESS_LOSS: f32 = 0.4;
/// The first wait before the larger stream is tried again.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait: each trial that fails doubles it.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// A trial that goes well for so long has succeeded.
const TRIAL: Duration = Duration::from_secs(60);
/// The rate is measured over so long.
const WINDOW: Duration = Duration::from_secs(2);

/// What should be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Take the smaller stream.
    Reduce,
    /// Try the larger one again.
    Restore,
}

/// Judges one viewer's path.
#[derive(Debug)]
pub(super) struct Judge {
    window: (Instant, u64),
    /// Bits per second sent lately.
    rate: Option<u64>,
    estimate: Option<(Instant, u64)>,
    loss: Option<(Instant, f32)>,
    bad_since: Option<Instant>,
    hopeless_since: Option<Instant>,
    /// While the smaller stream is sent: since when.
    reduced_at: Option<Instant>,
    restored_at: Option<Instant>,
    wait: Duration,
}

impl Judge {
    /// Knows nothing yet.
    pub(super) fn new(now: Instant) -> Self {
        Judge {
            window: (now, 0),
            rate: None,
            estimate: None,
            loss: None,
            bad_since: None,
            hopeless_since: None,
            reduced_at: None,
            restored_at: None,
            wait: FIRST_WAIT,
        }
    }

    /// So many bytes were sent.
    pub(super) fn sent(&mut self, now: Instant, bytes: usize) {
        self.window.1 += bytes as u64;
        let span = now.saturating_duration_since(self.window.0);
        if span >= WINDOW {
            let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1);
            self.rate = Some(self.window.1.saturating_mul(8_000_000) / micros);
            self.window = (now, 0);
        }
    }

    /// The viewer believes that its path carries so many bits per second.
    pub(super) fn estimate(&mut self, now: Instant, bits_per_second: u64) {
        self.estimate = Some((now, bits_per_second));
    }

    /// The viewer reports that this share of packets was lost.
    pub(super) fn loss(&mut self, now: Instant, share: f32) {
        self.loss = Some((now, share));
    }

    /// What the fresh reports say: whether it is bad, and whether it is hopeless.
    fn verdict(&self, now: Instant) -> (bool, bool) {
        let is_fresh = |at: Instant| now.saturating_duration_since(at) < FRESH;
        let loss = self.loss.filter(|(at, _)| is_fresh(*at)).map_or(0.0, |(_, share)| share);
        let (too_much, far_too_much) = match (self.estimate, self.rate) {
            (Some((at, estimate)), Some(rate)) if is_fresh(at) => {
                (estimate < rate - rate / 10, estimate < rate / 2)
            }
            _ => (false, false),
        };
        (too_much || loss > BAD_LOSS, far_too_much || loss > HOPELESS_LOSS)
    }

    /// Whether the path carries less than it is given, as far as is known: sending more makes it worse.
    pub(super) fn is_bad(&self, now: Instant) -> bool {
        self.verdict(now).0
    }

    /// Whether to change over now.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Change> {
        let (is_bad, is_hopeless) = self.verdict(now);
        if !is_bad {
            self.bad_since = None;
            self.hopeless_since = None;
            let reduced_at = self.reduced_at?;
            return (now.saturating_duration_since(reduced_at) >= self.wait).then_some(Change::Restore);
        }
        let since = *self.bad_since.get_or_insert(now);
        let hopeless = if is_hopeless { Some(*self.hopeless_since.get_or_insert(now)) } else { None };
        self.hopeless_since = hopeless;
        if let Some(reduced_at) = &mut self.reduced_at {
            // Even the smaller one is too much: the wait begins anew.
            *reduced_at = now;
            return None;
        }
        let lasts = |since: Instant, long| now.saturating_duration_since(since) >= long;
        let is_enough =
            lasts(since, PATIENCE) || hopeless.is_some_and(|since| lasts(since, HOPELESS_PATIENCE));
        is_enough.then_some(Change::Reduce)
    }

    /// The smaller stream is sent from now on.
    pub(super) fn reduced(&mut self, now: Instant) {
        let is_relapse = self.restored_at.is_some_and(|at| now.saturating_duration_since(at) < TRIAL);
        self.wait = if is_relapse { (self.wait * 2).min(LONGEST_WAIT) } else { FIRST_WAIT };
        self.changed(now);
        self.reduced_at = Some(now);
    }

    /// The larger stream is sent again.
    pub(super) fn restored(&mut self, now: Instant) {
        self.changed(now);
        self.reduced_at = None;
        self.restored_at = Some(now);
    }

    /// The change could not be made: not before another wait.
    pub(super) fn failed(&mut self, now: Instant) {
        self.bad_since = None;
        self.hopeless_since = None;
        if let Some(reduced_at) = &mut self.reduced_at {
            *reduced_at = now;
        }
    }

    /// What was reported so far was about another stream.
    fn changed(&mut self, now: Instant) {
        self.window = (now, 0);
        self.rate = None;
        self.estimate = None;
        self.loss = None;
        self.bad_since = None;
        self.hopeless_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of a path that carries `carries` bit/s of a stream of `rate` bit/s, until there is a verdict.
    fn until_change(judge: &mut Judge, now: &mut Instant, rate: u64, carries: u64) -> Option<(u64, Change)> {
        for second in 1..=2_000 {
            *now += Duration::from_secs(1);
            judge.sent(*now, usize::try_from(rate / 8).unwrap());
            judge.estimate(*now, carries);
            if let Some(change) = judge.poll(*now) {
                return Some((second, change));
            }
        }
        None
    }

    #[test]
    fn a_path_that_carries_the_stream_is_left_alone() {
        let mut now = Instant::now();
        let mut judge = Judge::new(now);
        assert_eq!(until_change(&mut judge, &mut now, 4_000_000, 6_000_000), None);
    }

    #[test]
    fn a_narrow_path_gets_less_and_is_tried_again_ever_more_rarely() {
        let mut now = Instant::now();
        let mut judge = Judge::new(now);
        let (after, change) = until_change(&mut judge, &mut now, 4_000_000, 2_100_000).unwrap();
        assert!(change == Change::Reduce && (4..9).contains(&after), "{after}");
        judge.reduced(now);
        for wait in [30, 60, 120] {
            let found = until_change(&mut judge, &mut now, 500_000, 2_000_000);
            assert_eq!(found, Some((wait, Change::Restore)));
            judge.restored(now);
            assert_eq!(until_change(&mut judge, &mut now, 4_000_000, 2_000_000).unwrap().1, Change::Reduce);
            judge.reduced(now);
        }
    }

    #[test]
    fn a_hopeless_path_gets_less_at_once() {
        let mut now = Instant::now();
        let mut judge = Judge::new(now);
        let (after, change) = until_change(&mut judge, &mut now, 4_000_000, 900_000).unwrap();
        assert!(change == Change::Reduce && after < 5, "{after}");
        let mut judge = Judge::new(now);
        judge.loss(now, 0.7);
        assert!(judge.is_bad(now) && judge.poll(now).is_none());
        assert_eq!(judge.poll(now + Duration::from_secs(1)), Some(Change::Reduce));
    }

    #[test]
    fn losses_count_while_they_are_fresh() {
        let start = Instant::now();
        let mut judge = Judge::new(start);
        judge.loss(start, 0.3);
        assert_eq!(judge.poll(start), None);
        assert_eq!(judge.poll(start + Duration::from_secs(5)), Some(Change::Reduce));
        judge.failed(start + Duration::from_secs(5));
        assert_eq!(judge.poll(start + Duration::from_secs(7)), None);
    }
}
