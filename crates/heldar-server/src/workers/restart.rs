//! When a worker that has ended is started again.

use std::time::Duration;

/// Wait after the first end.
const FIRST: Duration = Duration::from_secs(1);
/// Longest wait.
const LONGEST: Duration = Duration::from_secs(60);
/// Whoever ran that long was well, and waits like one that ended for the first time.
const WELL: Duration = Duration::from_secs(60);

/// Ends in a row.
#[derive(Debug, Default)]
pub(super) struct Restart {
    ends: u32,
}

impl Restart {
    /// It has ended after having run so long: the wait until it is started again, doubled with each end in a row.
    pub(super) fn after(&mut self, ran: Duration) -> Duration {
        if ran >= WELL {
            self.ends = 0;
        }
        let factor = 2u32.saturating_pow(self.ends);
        self.ends = self.ends.saturating_add(1);
        FIRST.saturating_mul(factor).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_a_good_run() {
        let mut restart = Restart::default();
        let mut waits = |ran: &[u64]| -> Vec<u64> {
            ran.iter().map(|&s| restart.after(Duration::from_secs(s)).as_secs()).collect()
        };
        assert_eq!(waits(&[0, 5, 59, 0, 0, 0, 0, 0]), [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(waits(&[60, 0, 3600, 0]), [1, 2, 1, 2]);
        assert_eq!(waits(&[0; 40]).last(), Some(&60));
    }
}
