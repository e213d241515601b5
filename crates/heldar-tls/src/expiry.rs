//! When the end of a certificate is worth a word: pure, told what time it is.
//!
//! [`Expiry`] speaks once when the end comes near and once more when it is very near; another certificate begins anew.

use heldar_base::{Micros, WallTime};

/// Less than this is left: somebody should look.
const SOON: Micros = Micros::from_hours(21 * 24);
/// Less than this is left: somebody must.
const VERY_SOON: Micros = Micros::from_hours(3 * 24);

/// How near the end of a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Under 21 days.
    Warning,
    /// Under 3 days, or past.
    Critical,
}

/// How near an end is; `None` while it is far.
pub fn urgency(now: WallTime, not_after: WallTime) -> Option<Urgency> {
    match not_after - now {
        left if left < VERY_SOON => Some(Urgency::Critical),
        left if left < SOON => Some(Urgency::Warning),
        _ => None,
    }
}

/// What was said of the certificate in service.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    /// The end that it was said of.
    of: Option<WallTime>,
    told: Option<Urgency>,
}

impl Expiry {
    /// What is to be told now, if anything is.
    pub(crate) fn look(&mut self, now: WallTime, not_after: WallTime) -> Option<Urgency> {
        if self.of != Some(not_after) {
            *self = Expiry { of: Some(not_after), told: None };
        }
        let urgency = urgency(now, not_after)?;
        // A clock that goes back does not begin an episode.
        if self.told.is_some_and(|told| told >= urgency) {
            return None;
        }
        self.told = Some(urgency);
        Some(urgency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Micros = Micros::from_hours(24);

    #[test]
    fn each_episode_is_told_once() {
        let end = WallTime::parse("2026-06-30T12:00:00Z").unwrap();
        let days = |n: i64| end - Micros(DAY.0 * n);
        let mut expiry = Expiry::default();
        for (now, expect) in [
            (days(400), None),
            (days(21), None),
            (days(21) + Micros(1), Some(Urgency::Warning)),
            (days(20), None),
            (days(3), None),
            (days(3) + Micros(1), Some(Urgency::Critical)),
            (days(0), None),
            (days(-9), None),
            // The clock was set back.
            (days(10), None),
        ] {
            assert_eq!(expiry.look(now, end), expect, "{now}");
        }
    }

    #[test]
    fn a_late_look_tells_the_worst_only() {
        let end = WallTime::parse("2026-06-30T12:00:00Z").unwrap();
        let mut expiry = Expiry::default();
        assert_eq!(expiry.look(end + DAY, end), Some(Urgency::Critical));
        assert_eq!(expiry.look(end - DAY - DAY - DAY - DAY, end), None);
    }

    #[test]
    fn another_certificate_begins_anew() {
        let now = WallTime::parse("2026-06-30T12:00:00Z").unwrap();
        let mut expiry = Expiry::default();
        assert_eq!(expiry.look(now, now + DAY), Some(Urgency::Critical));
        assert_eq!(expiry.look(now, now + Micros(DAY.0 * 90)), None);
        assert_eq!(expiry.look(now, now + Micros(DAY.0 * 5)), Some(Urgency::Warning));
    }
}
