//! What follows from the answer of a receiver (perception.md 16.2).
//!
//! Owns: back-off and its jitter, when an event is given up, when a subscription is. Pure: time and chance are inputs.

use heldar_base::{Micros, WallTime};

/// The first wait after a failure.
const FIRST: Micros = Micros::from_secs(5);
/// Shortest wait that a receiver may ask for.
const SHORTEST: Micros = Micros::from_secs(1);
/// Shares by which a wait is shorter or longer than it would be.
const JITTER: f64 = 0.2;
/// An event that was refused so often is given up.
pub const REFUSALS: u32 = 5;

/// Bounds of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Longest wait between two attempts.
    pub max_backoff: Micros,
    /// How long a receiver may fail; `None`: for ever.
    pub disable_after: Option<Micros>,
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The receiver has it.
    Taken {
        /// HTTP status.
        status: u16,
    },
    /// The receiver cannot take anything now.
    Down {
        /// HTTP status, where there was an answer.
        status: Option<u16>,
        /// What went wrong.
        error: String,
        /// When it asks to be tried again.
        retry_after: Option<Micros>,
    },
    /// It does not want this one.
    Refused {
        /// HTTP status.
        status: u16,
        /// What went wrong.
        error: String,
    },
    /// It is not there any more.
    Gone {
        /// HTTP status.
        status: u16,
    },
}

impl Answer {
    /// What a status means.
    pub fn of(status: u16, retry_after: Option<Micros>) -> Self {
        let error = || format!("the receiver answered {status}");
        match status {
            200..=299 => Answer::Taken { status },
            410 => Answer::Gone { status },
            408 | 425 | 429 | 500..=599 => Answer::Down { status: Some(status), error: error(), retry_after },
            _ => Answer::Refused { status, error: error() },
        }
    }

    /// HTTP status, where there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Answer::Taken { status } | Answer::Refused { status, .. } | Answer::Gone { status } => {
                Some(*status)
            }
            Answer::Down { status, .. } => *status,
        }
    }

    /// What went wrong.
    pub fn error(&self) -> Option<String> {
        match self {
            Answer::Taken { .. } => None,
            Answer::Down { error, .. } | Answer::Refused { error, .. } => Some(error.clone()),
            Answer::Gone { status } => Some(format!("the receiver answered {status}")),
        }
    }

    /// Its name as a label.
    pub fn as_str(&self) -> &'static str {
        match self {
            Answer::Taken { .. } => "delivered",
            Answer::Down { .. } => "down",
            Answer::Refused { .. } => "refused",
            Answer::Gone { .. } => "gone",
        }
    }
}

/// What is known of a delivery and its receiver, this attempt counted.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Attempts in a row that failed, at least 1 when this one has.
    pub failures: u32,
    /// How often the receiver has refused this event.
    pub refusals: u32,
    /// Since when nothing was delivered.
    pub failing_since: Option<WallTime>,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next event.
    Next,
    /// The same once more, not before an instant.
    Again(WallTime),
    /// It is given up; the next event.
    Park,
    /// The subscription is given up.
    Disable(Why),
}

/// Why a subscription is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The receiver said that it is gone.
    Gone,
    /// It failed for too long.
    TooLong,
}

impl Why {
    /// One sentence.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Gone => "the receiver answered 410: it is gone",
            Why::TooLong => "nothing was delivered for too long",
        }
    }
}

/// What follows from an answer. `chance` is a number from 0 to 1.
pub fn judge(answer: &Answer, known: Known, policy: Policy, now: WallTime, chance: f64) -> Verdict {
    if let Answer::Taken { .. } = answer {
        return Verdict::Next;
    }
    if let Answer::Gone { .. } = answer {
        return Verdict::Disable(Why::Gone);
    }
    let failing = known.failing_since.map_or(Micros::ZERO, |since| now - since);
    if policy.disable_after.is_some_and(|longest| failing >= longest) {
        return Verdict::Disable(Why::TooLong);
    }
    match answer {
        Answer::Refused { .. } if known.refusals >= REFUSALS => Verdict::Park,
        Answer::Down { retry_after: Some(wait), .. } => {
            Verdict::Again(now + (*wait).max(SHORTEST).min(policy.max_backoff))
        }
        _ => Verdict::Again(now + backoff(known.failures, policy.max_backoff, chance)),
    }
}

/// The wait after so many failures in a row.
fn backoff(failures: u32, most: Micros, chance: f64) -> Micros {
    let doubled = FIRST.0.saturating_mul(1 << failures.saturating_sub(1).min(30));
    let factor = 1.0 - JITTER + 2.0 * JITTER * chance.clamp(0.0, 1.0);
    Micros((doubled as f64 * factor) as i64).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime(1_800_000_000_000_000);
    const POLICY: Policy =
        Policy { max_backoff: Micros::from_secs(900), disable_after: Some(Micros::from_hours(72)) };

    fn known(failures: u32, refusals: u32) -> Known {
        Known { failures, refusals, failing_since: Some(NOW) }
    }

    #[test]
    fn statuses_mean_what_the_contract_says() {
        for (status, expect) in [
            (200, "delivered"),
            (299, "delivered"),
            (301, "refused"),
            (304, "refused"),
            (400, "refused"),
            (404, "refused"),
            (408, "down"),
            (410, "gone"),
            (425, "down"),
            (429, "down"),
            (500, "down"),
            (599, "down"),
            (600, "refused"),
        ] {
            assert_eq!(Answer::of(status, None).as_str(), expect, "{status}");
        }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let wait = |failures, chance| {
            let Verdict::Again(at) = judge(&Answer::of(500, None), known(failures, 0), POLICY, NOW, chance)
            else {
                panic!("it is tried again")
            };
            (at - NOW).0 as f64 / 1e6
        };
        for (failures, expect) in [(1, 5.0), (2, 10.0), (3, 20.0), (7, 320.0), (8, 640.0)] {
            assert_eq!(wait(failures, 0.5), expect);
            assert_eq!((wait(failures, 0.0) * 10.0).round(), (expect * 8.0).round());
            assert!((wait(failures, 1.0) - expect * 1.2).abs() < 1e-3);
        }
        for failures in [9, 30, 31, 32, 33, 64, u32::MAX] {
            assert_eq!(wait(failures, 0.5), 900.0);
        }
    }

    #[test]
    fn a_receiver_may_say_when() {
        let asked = |seconds| {
            let answer = Answer::of(429, Some(Micros::from_secs(seconds)));
            match judge(&answer, known(4, 0), POLICY, NOW, 0.5) {
                Verdict::Again(at) => (at - NOW).0 / 1_000_000,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!([asked(0), asked(7), asked(899), asked(5000), asked(-3)], [1, 7, 899, 900, 1]);
    }

    #[test]
    fn what_is_refused_five_times_is_given_up() {
        for refusals in 1..8 {
            let verdict = judge(&Answer::of(404, None), known(refusals, refusals), POLICY, NOW, 0.5);
            assert_eq!(verdict == Verdict::Park, refusals >= REFUSALS, "{refusals}");
            // A receiver that is down refuses nothing.
            let down = judge(&Answer::of(503, None), known(refusals, refusals), POLICY, NOW, 0.5);
            assert!(matches!(down, Verdict::Again(_)));
        }
    }

    #[test]
    fn a_receiver_that_fails_for_too_long_is_given_up() {
        let after = |failing: Micros, policy| {
            let known = Known { failing_since: Some(NOW - failing), ..known(99, 1) };
            [Answer::of(500, Some(Micros(1))), Answer::of(404, None)]
                .map(|answer| judge(&answer, known, policy, NOW, 0.5) == Verdict::Disable(Why::TooLong))
        };
        let limit = Micros::from_hours(72);
        assert_eq!(after(limit - Micros(1), POLICY), [false, false]);
        assert_eq!(after(limit, POLICY), [true, true]);
        assert_eq!(after(limit + limit, Policy { disable_after: None, ..POLICY }), [false, false]);
        let fresh = Known { failing_since: None, ..known(1, 0) };
        assert!(matches!(judge(&Answer::of(500, None), fresh, POLICY, NOW, 0.5), Verdict::Again(_)));
        assert_eq!(judge(&Answer::of(410, None), fresh, POLICY, NOW, 0.5), Verdict::Disable(Why::Gone));
        let long = Known { failing_since: Some(NOW - limit - limit), ..known(9, 9) };
        assert_eq!(judge(&Answer::of(204, None), long, POLICY, NOW, 0.5), Verdict::Next);
    }
}
