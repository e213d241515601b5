//! What happens over and over is told twice: at once, and summed up when its minute closes (auth-system.md 16.1).

use std::collections::HashMap;
use std::hash::Hash;

use heldar_base::{Micros, WallTime};

/// How long repetitions belong together.
const SPAN: Micros = Micros::from_secs(60);
/// Kinds remembered at most; what comes beyond is counted together.
const REMEMBERED: usize = 512;

/// Repetitions of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary<K, V> {
    /// What it was; `None` for all that came when too many different ones were open.
    pub what: Option<(K, V)>,
    /// When the first came.
    pub first_at: WallTime,
    /// When the last came.
    pub last_at: WallTime,
    /// How many there were, the first included.
    pub count: u64,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    first_at: WallTime,
    last_at: WallTime,
    count: u64,
}

impl Run {
    fn new(now: WallTime) -> Self {
        Run { first_at: now, last_at: now, count: 1 }
    }

    fn again(&mut self, now: WallTime) {
        self.last_at = now;
        self.count += 1;
    }

    fn is_over(&self, now: WallTime) -> bool {
        now - self.first_at >= SPAN || now < self.first_at
    }
}

/// Repetitions that are open.
#[derive(Debug)]
pub struct Denials<K, V> {
    open: HashMap<K, (V, Run)>,
    beyond: Option<Run>,
}

impl<K, V> Default for Denials<K, V> {
    fn default() -> Self {
        Denials { open: HashMap::new(), beyond: None }
    }
}

impl<K: Eq + Hash, V> Denials<K, V> {
    /// It happened; true for the first of its minute, which is to be told at once.
    pub fn note(&mut self, now: WallTime, what: K, made: impl FnOnce() -> V) -> bool {
        if let Some((_, run)) = self.open.get_mut(&what) {
            run.again(now);
            return false;
        }
        if self.open.len() >= REMEMBERED {
            match &mut self.beyond {
                Some(run) => run.again(now),
                None => self.beyond = Some(Run::new(now)),
            }
            return false;
        }
        self.open.insert(what, (made(), Run::new(now)));
        true
    }

    /// Sums up the minutes that are over; what happened once has been told.
    pub fn due(&mut self, now: WallTime) -> Vec<Summary<K, V>> {
        self.close(|run| run.is_over(now))
    }

    /// Sums up everything, at a stop.
    pub fn all(&mut self) -> Vec<Summary<K, V>> {
        self.close(|_| true)
    }

    fn close(&mut self, is_over: impl Fn(&Run) -> bool) -> Vec<Summary<K, V>> {
        let over = self
            .open
            .extract_if(|_, (_, run)| is_over(run))
            .map(|(what, (value, run))| (Some((what, value)), run));
        let beyond = self.beyond.take_if(|run| is_over(run)).map(|run| (None, run));
        let told = |what: &Option<(K, V)>, run: &Run| what.is_some() && run.count == 1;
        over.chain(beyond)
            .filter(|(what, run)| !told(what, run))
            .map(|(what, Run { first_at, last_at, count })| Summary { what, first_at, last_at, count })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> WallTime {
        WallTime(seconds * 1_000_000)
    }

    #[test]
    fn repetitions_are_told_twice() {
        let mut denials = Denials::default();
        assert!(denials.note(at(0), "a", || 1));
        assert!(denials.note(at(1), "b", || 2));
        assert!(!denials.note(at(2), "a", || unreachable!()));
        assert!(!denials.note(at(59), "a", || unreachable!()));
        assert!(denials.due(at(59)).is_empty());
        let expect = Summary { what: Some(("a", 1)), first_at: at(0), last_at: at(59), count: 3 };
        assert_eq!(denials.due(at(61)), [expect]);
        assert!(denials.note(at(62), "a", || 3), "the next minute begins");
        assert!(denials.all().is_empty());
    }

    #[test]
    fn too_many_kinds_are_counted_together() {
        let mut denials = Denials::default();
        let first = (0..REMEMBERED + 10).filter(|n| denials.note(at(0), *n, || ())).count();
        assert_eq!(first, REMEMBERED);
        let expect = Summary { what: None, first_at: at(0), last_at: at(0), count: 10 };
        assert_eq!(denials.due(at(60)), [expect]);
        assert!(denials.note(at(60), 0, || ()));
    }
}
