//! How long pictures of a stream usually last.

use heldar_base::Micros;

/// Differences that are remembered.
const WINDOW: usize = 31;
/// Every picture may last this long.
const FLOOR: Micros = Micros::from_secs(2);

/// Median of the recent intervals between pictures.
#[derive(Clone, Debug, Default)]
pub struct UsualInterval {
    recent: Vec<Micros>,
    next: usize,
    median: Option<Micros>,
}

impl UsualInterval {
    /// Nothing known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the time between two pictures that follow each other in presentation.
    pub fn observe(&mut self, interval: Micros) {
        if interval.0 <= 0 {
            return;
        }
        if self.recent.len() < WINDOW {
            self.recent.push(interval);
        } else {
            self.recent[self.next] = interval;
        }
        self.next = (self.next + 1) % WINDOW;
        // The window is small and pictures are few: sort it when asked for, but only once per round after warm-up.
        if self.recent.len() < WINDOW || self.next == 0 {
            let mut sorted = self.recent.clone();
            sorted.sort_unstable();
            self.median = sorted.get(sorted.len() / 2).copied();
        }
    }

    /// The usual interval; `None` before two pictures were seen.
    pub fn get(&self) -> Option<Micros> {
        self.median
    }

    /// A picture lasts at most max(2 s, 3 usual intervals).
    pub fn longest_picture(&self) -> Micros {
        self.median.map_or(FLOOR, |m| Micros(m.0.saturating_mul(3)).max(FLOOR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stall_does_not_change_what_is_usual() {
        let mut usual = UsualInterval::new();
        for _ in 0..100 {
            usual.observe(Micros::from_millis(40));
        }
        usual.observe(Micros::from_secs(60));
        assert_eq!(usual.get(), Some(Micros::from_millis(40)));
        assert_eq!(usual.longest_picture(), Micros::from_secs(2));
    }

    #[test]
    fn slow_streams_have_long_pictures() {
        let mut usual = UsualInterval::new();
        for _ in 0..5 {
            usual.observe(Micros::from_secs(10));
        }
        assert_eq!(usual.longest_picture(), Micros::from_secs(30));
    }
}
