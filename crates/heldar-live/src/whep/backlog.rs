//! Whether pictures wait too long for a viewer's path.
//!
//! Owns: how long something has waited to go without a pause, and the verdict. Times of capture alone do not tell: a camera
//! may deliver seconds at once, which are late only if they are still there long after. Never: reads a clock, drops anything.

use std::time::{Duration, Instant};

use heldar_base::Micros;

/// Waiting for longer is late.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// For longer than this is too late.
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// A path that is busy all the time is no slow one as long as the next picture is not captured so long before the newest.
const MAX_BEHIND: Micros = Micros::from_secs(1);

/// What is to be done about pictures that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lateness {
    /// Nothing.
    InTime,
    /// Go on at a newer sync sample, if there is one.
    Late,
    /// Go on at a newer sync sample, or show nothing until the next.
    TooLate,
}

/// Since when something has been waiting.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    since: Option<Instant>,
}

impl Backlog {
    /// Takes how far the next picture lies behind the newest, if any waits.
    pub(super) fn note(&mut self, now: Instant, behind: Option<Micros>) -> Lateness {
        let Some(behind) = behind else {
            self.since = None;
            return Lateness::InTime;
        };
        let waited = now.saturating_duration_since(*self.since.get_or_insert(now));
        match waited {
            _ if behind <= MAX_BEHIND => Lateness::InTime,
            waited if waited > LONGEST_WAIT => Lateness::TooLate,
            waited if waited > MAX_WAIT => Lateness::Late,
            _ => Lateness::InTime,
        }
    }

    /// What waited was left out.
    pub(super) fn clear(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said at last, after times in ms with what waits then, in ms behind the newest.
    fn check(notes: &[(u64, Option<i64>)], expect: Lateness) {
        let (start, mut backlog) = (Instant::now(), Backlog::default());
        let said = notes.iter().map(|(ms, behind)| {
            backlog.note(start + Duration::from_millis(*ms), behind.map(Micros::from_millis))
        });
        assert_eq!(said.last(), Some(expect), "{notes:?}");
    }

    #[test]
    fn seconds_that_come_at_once_are_not_late_until_they_have_waited() {
        check(&[(0, Some(2_000))], Lateness::InTime);
        check(&[(0, Some(2_000)), (300, Some(1_500))], Lateness::InTime);
        check(&[(0, Some(4_000)), (1_100, Some(1_500))], Lateness::Late);
        check(&[(0, Some(4_000)), (4_100, Some(1_500))], Lateness::TooLate);
    }

    #[test]
    fn only_waiting_without_a_pause_counts() {
        check(&[(0, Some(2_000)), (900, None), (1_000, Some(2_000)), (1_900, Some(2_000))], Lateness::InTime);
        check(&[(0, Some(2_000)), (900, None), (1_000, Some(2_000)), (2_100, Some(2_000))], Lateness::Late);
    }

    #[test]
    fn a_path_that_is_always_busy_but_keeps_up_is_left_alone() {
        check(&[(0, Some(40)), (9_000, Some(80))], Lateness::InTime);
    }
}
