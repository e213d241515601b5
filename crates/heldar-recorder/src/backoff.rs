//! When to try a camera again.
//!
//! 1 s after a session that ran more than 30 s; otherwise doubled from 2 s up to 30 s. After three refusals of the
//! credentials in a row attempts are 60 s apart, so that the device does not lock the account.

use heldar_base::{Micros, ReasonClass};

/// A session that ran longer than this was good.
const GOOD_RUN: Micros = Micros::from_secs(30);
const FIRST: Micros = Micros::from_secs(2);
const LONGEST: Micros = Micros::from_secs(30);
const AFTER_GOOD: Micros = Micros::from_secs(1);
const AUTH_PAUSE: Micros = Micros::from_secs(60);
const AUTH_LIMIT: u32 = 3;

/// Delays between the attempts of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
    auth_refusals: u32,
}

impl Backoff {
    /// The delay after a session that ran for `ran` (zero when it was never obtained) and ended for `class`.
    ///
    /// `jitter` in 0..=255 spreads delays over the upper fifth below them, so that cameras behind one switch do not
    /// come back in one burst; never more than the documented delay.
    pub fn after(&mut self, ran: Micros, class: ReasonClass, jitter: u8) -> Micros {
        self.auth_refusals =
            if class == ReasonClass::Auth { self.auth_refusals.saturating_add(1) } else { 0 };
        let delay = if self.auth_refusals >= AUTH_LIMIT {
            AUTH_PAUSE
        } else if ran > GOOD_RUN {
            self.failures = 0;
            AFTER_GOOD
        } else {
            let doubled = FIRST.0.saturating_mul(1 << self.failures.min(8));
            self.failures = self.failures.saturating_add(1);
            Micros(doubled).min(LONGEST)
        };
        Micros(delay.0 - delay.0 / 5 * i64::from(jitter) / 255)
    }

    /// Starts over, as after an edit of the camera.
    pub fn reset(&mut self) {
        *self = Backoff::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(runs: &[(i64, ReasonClass)], expect_s: &[i64]) {
        let mut backoff = Backoff::default();
        let got: Vec<i64> = runs
            .iter()
            .map(|(ran, class)| backoff.after(Micros::from_secs(*ran), *class, 0).0 / 1_000_000)
            .collect();
        assert_eq!(got, expect_s);
    }

    #[test]
    fn delays() {
        let t = ReasonClass::Timeout;
        let a = ReasonClass::Auth;
        check(&[(0, t), (0, t), (0, t), (0, t), (0, t), (0, t)], &[2, 4, 8, 16, 30, 30]);
        check(&[(31, t), (31, t), (0, t), (5, t), (31, t), (0, t)], &[1, 1, 2, 4, 1, 2]);
        check(&[(0, a), (0, a), (0, a), (0, a), (0, t)], &[2, 4, 60, 60, 8]);
    }

    #[test]
    fn jitter_only_shortens_and_by_a_fifth_at_most() {
        for jitter in 0..=255 {
            let delay = Backoff::default().after(Micros::ZERO, ReasonClass::Refused, jitter);
            assert!(delay <= FIRST && delay.0 >= FIRST.0 * 4 / 5, "{jitter}: {delay:?}");
        }
    }
}
