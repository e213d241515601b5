//! Who sent results of late, and what was told of whom.
//!
//! Owns: counts by worker over the last minute, and notices that are given once an hour. Both memories are bounded. Never: a
//! clock.

use std::collections::HashMap;

use heldar_base::{Micros, MonoTime, WallTime};
use heldar_perception::leases::{Holder, MAX_WORKERS};

/// How often the same is told of the same credential.
const AGAIN_AFTER: Micros = Micros::from_hours(1);
/// A minute is counted in so many parts.
const PARTS: usize = 6;
/// Length of each.
const PART: Micros = Micros::from_secs(10);

/// What was last told of each credential.
#[derive(Debug, Default)]
pub(super) struct Notices(HashMap<String, MonoTime>);

impl Notices {
    /// Whether it is time to tell something of a credential (again), which then counts as told.
    pub(super) fn is_due(&mut self, credential: &str, now: MonoTime) -> bool {
        if self.0.get(credential).is_some_and(|at| now - *at < AGAIN_AFTER) {
            return false;
        }
        // What is over goes, so that there are no more than credentials of an hour.
        self.0.retain(|_, at| now - *at < AGAIN_AFTER);
        self.0.insert(credential.to_owned(), now);
        true
    }
}

/// Batches of one worker.
#[derive(Clone, Copy, Debug)]
struct Sent {
    last: WallTime,
    /// Number of the part of time that the newest count is of.
    part: i64,
    counts: [u32; PARTS],
}

impl Sent {
    /// Lets time pass: parts that are over a minute ago are empty again.
    fn advance(&mut self, now: MonoTime) {
        let part = now.0.div_euclid(PART.0);
        let passed = usize::try_from(part - self.part).unwrap_or(0).min(PARTS);
        self.counts.rotate_right(passed);
        self.counts.iter_mut().take(passed).for_each(|count| *count = 0);
        self.part = self.part.max(part);
    }
}

/// Batches by worker.
#[derive(Debug, Default)]
pub(super) struct Activity(HashMap<Holder, Sent>);

impl Activity {
    /// A batch of a worker was taken.
    pub(super) fn note(&mut self, worker: Holder, at: WallTime, now: MonoTime) {
        if self.0.len() >= MAX_WORKERS && !self.0.contains_key(&worker) {
            // As many as can be live at once: those that have sent nothing for a minute go, or else all.
            self.0.retain(|_, sent| now.0.div_euclid(PART.0) - sent.part < PARTS as i64);
            if self.0.len() >= MAX_WORKERS {
                self.0.clear();
            }
        }
        let new = Sent { last: at, part: now.0.div_euclid(PART.0), counts: [0; PARTS] };
        let sent = self.0.entry(worker).or_insert(new);
        sent.advance(now);
        sent.last = at;
        if let Some(newest) = sent.counts.first_mut() {
            *newest = newest.saturating_add(1);
        }
    }

    /// Batches in the last minute, and when the last one came.
    pub(super) fn of(&self, worker: &Holder, now: MonoTime) -> (u32, Option<WallTime>) {
        let Some(mut sent) = self.0.get(worker).copied() else { return (0, None) };
        sent.advance(now);
        (sent.counts.iter().fold(0, |sum, count| sum.saturating_add(*count)), Some(sent.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> MonoTime {
        MonoTime(secs * 1_000_000)
    }

    #[test]
    fn a_minute_of_batches_is_counted() {
        let (mut activity, worker) = (Activity::default(), Holder::new("key_1", "w"));
        assert_eq!(activity.of(&worker, at(0)), (0, None));
        for second in 0..120 {
            activity.note(worker.clone(), WallTime(second), at(second));
        }
        assert_eq!(activity.of(&worker, at(119)), (60, Some(WallTime(119))));
        for (now, expect) in [(120, 50), (149, 30), (169, 10), (170, 0), (10_000, 0)] {
            assert_eq!(activity.of(&worker, at(now)), (expect, Some(WallTime(119))), "{now}");
        }
        assert_eq!(activity.of(&Holder::new("key_2", "w"), at(119)), (0, None));
    }

    #[test]
    fn workers_that_were_made_up_take_no_memory() {
        let mut activity = Activity::default();
        for n in 0..3 * MAX_WORKERS {
            activity.note(Holder::new("key_1", &n.to_string()), WallTime(0), at(0));
        }
        assert!(activity.0.len() <= MAX_WORKERS);
    }

    #[test]
    fn a_notice_is_given_once_an_hour() {
        let mut notices = Notices::default();
        for (credential, second, expect) in [
            ("key_1", 0, true),
            ("key_1", 3_599, false),
            ("key_2", 3_599, true),
            ("key_1", 3_600, true),
            ("key_1", 3_601, false),
            ("key_2", 7_198, false),
            ("key_2", 7_199, true),
        ] {
            assert_eq!(notices.is_due(credential, at(second)), expect, "{credential} {second}");
        }
    }
}
