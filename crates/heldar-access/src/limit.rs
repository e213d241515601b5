//! How often one source may try (auth-system.md 12): a bucket that fills steadily.

use std::collections::HashMap;
use std::hash::Hash;

use heldar_base::{Micros, MonoTime};

/// Sources remembered at most. With more, those that have been quiet longest are forgotten.
const REMEMBERED: usize = 16_384;

/// A source has tried too often; so long until its next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent(pub Micros);

impl Spent {
    /// Whole seconds to wait, at least one.
    pub fn seconds(self) -> u32 {
        u32::try_from((self.0.0 + 999_999) / 1_000_000).unwrap_or(u32::MAX).max(1)
    }
}

/// Attempts of many sources, each with an allowance of its own.
#[derive(Debug)]
pub struct SourceLimit<K> {
    /// Attempts at once.
    burst: i64,
    /// Time for one attempt more.
    each: Micros,
    /// When the bucket of a source is full again.
    full_at: HashMap<K, MonoTime>,
}

impl<K: Eq + Hash + Clone> SourceLimit<K> {
    /// So many attempts a minute, and as many at once.
    pub fn per_minute(attempts: u32) -> Self {
        let attempts = i64::from(attempts.max(1));
        SourceLimit { burst: attempts, each: Micros(60_000_000 / attempts), full_at: HashMap::new() }
    }

    /// One attempt.
    ///
    /// # Errors
    /// [`Spent`]: it does not count, and is not to be made.
    pub fn take(&mut self, source: &K, now: MonoTime) -> Result<(), Spent> {
        let known = self.full_at.get(source).copied().unwrap_or(now).max(now);
        let full_at = known + self.each;
        let allowed = Micros(self.each.0 * self.burst);
        if full_at - now > allowed {
            return Err(Spent(Micros((full_at - now).0 - allowed.0)));
        }
        if self.full_at.len() >= REMEMBERED && !self.full_at.contains_key(source) {
            self.forget(now);
        }
        self.full_at.insert(source.clone(), full_at);
        Ok(())
    }

    /// Forgets those whose buckets are full; where that is not enough, the quarter that will be soonest.
    fn forget(&mut self, now: MonoTime) {
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() < REMEMBERED / 4 * 3 {
            return;
        }
        let mut times: Vec<MonoTime> = self.full_at.values().copied().collect();
        let (_, quarter, _) = times.select_nth_unstable(REMEMBERED / 4);
        let (quarter, mut spared) = (*quarter, REMEMBERED / 2);
        // Of those that are full at the very same time, only so many stay.
        self.full_at.retain(|_, at| {
            let stays = *at > quarter || (*at == quarter && spared > 0);
            spared = spared.saturating_sub(usize::from(stays && *at == quarter));
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn a_burst_and_then_one_every_two_seconds() {
        let mut limit = SourceLimit::per_minute(30);
        let at = |seconds: i64| MonoTime(seconds * SECOND);
        for _ in 0..30 {
            assert_eq!(limit.take(&"a", at(10)), Ok(()));
        }
        let spent = limit.take(&"a", at(10)).unwrap_err();
        assert_eq!((spent, spent.seconds()), (Spent(Micros(2 * SECOND)), 2));
        assert_eq!(limit.take(&"b", at(10)), Ok(()), "each has its own");
        assert_eq!(limit.take(&"a", at(12)), Ok(()));
        assert!(limit.take(&"a", at(13)).is_err());
        // A minute later all is forgotten.
        assert!((0..30).all(|_| limit.take(&"a", at(80)).is_ok()));
        assert!(limit.take(&"a", at(80)).is_err());
    }

    #[test]
    fn what_strangers_send_takes_no_memory() {
        let mut limit = SourceLimit::per_minute(30);
        for n in 0..4 * REMEMBERED {
            assert_eq!(limit.take(&n, MonoTime(0)), Ok(()));
        }
        assert!((REMEMBERED / 2..=REMEMBERED).contains(&limit.full_at.len()));
    }
}
