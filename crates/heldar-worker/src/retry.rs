//! When a failed request is repeated, and after how long.
//!
//! Owns: delay = min(cap, base * 2^(n-1)) plus up to a quarter of it, so that many workers do not come back in step. Pure:
//! the random number is an input.

use std::time::Duration;

/// Growing pauses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) base: Duration,
    pub(crate) cap: Duration,
}

impl Backoff {
    /// The pause before repetition `attempt` (from 1); `random` is within 0..=1.
    ///
    /// What the server asks for by `Retry-After` is respected up to the cap.
    pub(crate) fn delay(self, attempt: u32, random: f64, retry_after: Option<Duration>) -> Duration {
        // A server may be away for days, so the power saturates.
        let factor = 1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let grown = self.base.saturating_mul(factor).min(self.cap);
        let asked = retry_after.unwrap_or_default().min(self.cap);
        let plain = grown.max(asked);
        plain.saturating_add(plain.mul_f64(0.25 * random.clamp(0.0, 1.0)))
    }
}

/// A number within 0..=1 for the jitter; the middle where the system gives no random bytes.
pub(crate) fn random() -> f64 {
    getrandom::u32().map_or(0.5, |bits| f64::from(bits) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_millis(500), cap: Duration::from_secs(15) };

    #[track_caller]
    fn check(attempt: u32, random: f64, retry_after_secs: Option<u64>, millis: u64) {
        let delay = BACKOFF.delay(attempt, random, retry_after_secs.map(Duration::from_secs));
        assert_eq!(delay, Duration::from_millis(millis));
    }

    #[test]
    fn pauses_double_up_to_the_cap() {
        check(1, 0.0, None, 500);
        check(2, 0.0, None, 1000);
        check(5, 0.0, None, 8000);
        check(6, 0.0, None, 15_000);
        check(u32::MAX, 0.0, None, 15_000);
    }

    #[test]
    fn up_to_a_quarter_is_added() {
        check(1, 1.0, None, 625);
        check(9, 1.0, None, 18_750);
    }

    #[test]
    fn the_servers_wish_counts_up_to_the_cap() {
        check(1, 0.0, Some(3), 3000);
        check(1, 0.0, Some(3600), 15_000);
        check(6, 0.0, Some(1), 15_000);
    }

    proptest! {
        #[test]
        fn no_input_leaves_the_bounds(
            attempt: u32, random in 0.0..=1.0, base in 1u64..1_000_000_000, cap in 1u64..1_000_000_000,
            after in proptest::option::of(any::<u64>()),
        ) {
            let backoff = Backoff { base: Duration::from_millis(base), cap: Duration::from_millis(cap) };
            let delay = backoff.delay(attempt, random, after.map(Duration::from_secs));
            prop_assert!(delay >= backoff.base.min(backoff.cap));
            prop_assert!(delay <= backoff.cap.mul_f64(1.2501));
        }
    }
}
