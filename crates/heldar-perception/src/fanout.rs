//! How far a consumer of batches has come, and when it is tried again.
//!
//! Owns: the low-water mark over what is finished out of order, and the pauses between attempts (perception.md 10).
//! Invariant: the mark never passes a batch that is open. Never: a batch itself, a clock.

use std::collections::BTreeSet;

use heldar_base::Micros;

/// The first pause.
const FIRST_PAUSE: Micros = Micros::from_secs(1);
/// The longest one.
const LONGEST_PAUSE: Micros = Micros::from_secs(60);

/// The pause after so many attempts that failed: 1, 2, 4 .. 60 s.
pub fn pause(attempts: u32) -> Micros {
    let doublings = attempts.saturating_sub(1).min(6);
    Micros((FIRST_PAUSE.0 << doublings).min(LONGEST_PAUSE.0))
}

/// Which batches a consumer has finished. Batches come in the order of their numbers and are finished in any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Every batch up to here has come.
    head: i64,
    /// Those of them that are not finished.
    open: BTreeSet<i64>,
    /// Those that were finished before and have not come yet.
    known: BTreeSet<i64>,
}

impl Progress {
    /// With what is stored: every batch up to `low` is finished, and those of `finished` above it.
    pub fn new(low: i64, finished: impl IntoIterator<Item = i64>) -> Self {
        let known = finished.into_iter().filter(|seq| *seq > low).collect();
        Progress { head: low, open: BTreeSet::new(), known }
    }

    /// The last batch that came.
    pub fn head(&self) -> i64 {
        self.head
    }

    /// How many batches are open.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// The next batch has come. True: it is open now; false: it was finished before.
    pub fn begin(&mut self, seq: i64) -> bool {
        self.head = self.head.max(seq);
        let is_new = !self.known.remove(&seq);
        is_new && self.open.insert(seq)
    }

    /// Everything up to here has come, whatever it is.
    pub fn pass(&mut self, seq: i64) {
        self.head = self.head.max(seq);
    }

    /// A batch is finished.
    pub fn finish(&mut self, seq: i64) {
        self.open.remove(&seq);
    }

    /// Every batch up to here is finished.
    pub fn low(&self) -> i64 {
        self.open.first().map_or(self.head, |first| first - 1)
    }

    /// Every batch up to here would be finished if these were.
    pub fn low_without(&self, seqs: &[i64]) -> i64 {
        self.open.iter().find(|open| !seqs.contains(open)).map_or(self.head, |first| first - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let seconds: Vec<i64> = (1..=9).map(|attempts| pause(attempts).0 / 1_000_000).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pause(0), pause(1));
    }

    #[test]
    fn the_mark_waits_for_the_oldest_open_batch() {
        let mut progress = Progress::new(10, [7, 13]);
        assert!(progress.begin(12));
        assert!(!progress.begin(13));
        assert!(progress.begin(15));
        assert_eq!((progress.low(), progress.low_without(&[12]), progress.open()), (11, 14, 2));
        assert_eq!((progress.low_without(&[12, 15]), progress.low_without(&[15])), (15, 11));
        progress.finish(15);
        assert_eq!(progress.low(), 11);
        progress.finish(12);
        assert_eq!((progress.low(), progress.head()), (15, 15));
        progress.pass(20);
        assert_eq!(progress.low(), 20);
    }

    proptest! {
        #[test]
        fn nothing_open_is_passed(steps in proptest::collection::vec((any::<bool>(), 0usize..8), 1..200)) {
            let mut progress = Progress::new(0, []);
            let (mut open, mut next) = (Vec::new(), 1);
            for (comes, which) in steps {
                if comes || open.is_empty() {
                    progress.begin(next);
                    open.push(next);
                    next += 2;
                } else {
                    let several = which % 2 == 1 && open.len() > 1;
                    let mut seqs = vec![open.remove(which % open.len())];
                    if several {
                        seqs.push(open.remove(which % open.len()));
                    }
                    let expect = open.iter().min().map_or(next - 2, |least| least - 1);
                    prop_assert_eq!(progress.low_without(&seqs), expect);
                    seqs.into_iter().for_each(|seq| progress.finish(seq));
                }
                let expect = open.iter().min().map_or(next - 2, |least| least - 1);
                prop_assert_eq!(progress.low(), expect);
            }
        }
    }
}
