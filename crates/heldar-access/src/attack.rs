//! Sign-ins that fail in masses (auth-system.md 8.5, `login_attack`).

use std::collections::{HashSet, VecDeque};

use heldar_base::{Micros, WallTime};

use crate::Source;

/// So many failures within an hour are an attack.
const FAILURES: usize = 100;
const HOUR: Micros = Micros::from_secs(3600);
/// Sources and accounts told apart at most.
const COUNTED: usize = 10_000;

/// What is known of an attack when it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attack {
    /// Failures within the hour.
    pub failures: usize,
    /// Sources since the episode began.
    pub sources: usize,
    /// Accounts since then.
    pub accounts: usize,
    /// When the first of these failures was.
    pub since: WallTime,
}

/// Watches for attacks; an episode is over when the failures of an hour are fewer again.
#[derive(Debug, Default)]
pub struct AttackWatch {
    recent: VecDeque<WallTime>,
    sources: HashSet<Source>,
    accounts: HashSet<String>,
    told: bool,
}

impl AttackWatch {
    /// A sign-in failed; the attack that this makes, once for each episode.
    pub fn failed(&mut self, now: WallTime, source: Source, account: Option<&str>) -> Option<Attack> {
        if self.recent.len() >= FAILURES {
            self.recent.pop_front();
        }
        while self.recent.front().is_some_and(|first| now - *first > HOUR || now < *first) {
            self.recent.pop_front();
            self.told = false;
        }
        if self.recent.is_empty() {
            self.sources.clear();
            self.accounts.clear();
        }
        self.recent.push_back(now);
        if self.sources.len() < COUNTED {
            self.sources.insert(source);
        }
        if let Some(account) = account.filter(|_| self.accounts.len() < COUNTED) {
            self.accounts.insert(account.to_owned());
        }
        if self.recent.len() < FAILURES || self.told {
            return None;
        }
        self.told = true;
        Some(Attack {
            failures: self.recent.len(),
            sources: self.sources.len(),
            accounts: self.accounts.len(),
            since: self.recent.front().copied().unwrap_or(now),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_failures_within_an_hour_are_told_once() {
        let mut watch = AttackWatch::default();
        let at = |seconds: i64| WallTime(1_793_500_000_000_000 + seconds * 1_000_000);
        let source = |n: u8| Source::of(core::net::Ipv4Addr::new(203, 0, 113, n).into());
        let mut told = Vec::new();
        for n in 0..344i64 {
            let failed = watch.failed(
                at(n),
                source(u8::try_from(n % 7).unwrap()),
                Some(if n % 2 == 0 { "usr_a" } else { "usr_b" }),
            );
            told.extend(failed);
        }
        assert_eq!(told, [Attack { failures: 100, sources: 7, accounts: 2, since: at(0) }]);
        // One every minute is none; a hundred after a quiet hour are the next.
        for n in 0..200 {
            assert_eq!(watch.failed(at(4000 + 60 * n), source(1), None), None, "{n}");
        }
        let again = (0..100).filter_map(|n| watch.failed(at(30_000 + n), source(1), None)).count();
        assert_eq!(again, 1);
    }
}
