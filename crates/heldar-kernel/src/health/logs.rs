//! The last lines of the log, in memory.
//!
//! Owns: a bounded ring that belongs to the process, as its log does. Whoever starts the log pushes into it. No credential
//! gets in: the userinfo of every URL is masked here too.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use heldar_base::{WallTime, mask_userinfo};
use tracing::Level;

/// Lines that are kept.
const LINES: usize = 2000;
/// Longest message that is kept whole, in bytes.
const LONGEST: usize = 2000;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: WallTime,
    /// How bad.
    pub level: Level,
    /// Who says so.
    pub target: String,
    /// What.
    pub message: String,
}

/// The last lines.
#[derive(Debug, Default)]
pub struct LogRing {
    lines: Mutex<VecDeque<LogLine>>,
}

static RING: LogRing = LogRing::new();

impl LogRing {
    const fn new() -> Self {
        LogRing { lines: Mutex::new(VecDeque::new()) }
    }

    /// That of this process.
    pub fn of_process() -> &'static LogRing {
        &RING
    }

    /// Takes a line.
    pub fn push(&self, at: WallTime, level: Level, target: &str, message: &str) {
        let end = message.floor_char_boundary(LONGEST);
        let message = mask_userinfo(message.get(..end).unwrap_or_default());
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= LINES {
            lines.pop_front();
        }
        lines.push_back(LogLine { at, level, target: target.to_owned(), message });
    }

    /// The last lines of a level and worse since an instant, oldest first.
    pub fn last(&self, level: Level, since: Option<WallTime>, limit: usize) -> Vec<LogLine> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        // In `tracing` what is worse is less.
        let wanted = |line: &&LogLine| line.level <= level && since.is_none_or(|since| line.at >= since);
        let mut found: Vec<LogLine> = lines.iter().rev().filter(wanted).take(limit).cloned().collect();
        found.reverse();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_level() {
        let ring = LogRing::new();
        for n in 0..i64::try_from(LINES).unwrap() + 10 {
            let level = if n % 2 == 0 { Level::INFO } else { Level::WARN };
            ring.push(WallTime(n), level, "t", &format!("line {n}"));
        }
        let check = |level, since: Option<i64>, limit, expect: &[i64]| {
            let found = ring.last(level, since.map(WallTime), limit);
            assert_eq!(found.iter().map(|line| line.at.0).collect::<Vec<_>>(), expect);
        };
        check(Level::INFO, None, 3, &[2007, 2008, 2009]);
        check(Level::WARN, None, 2, &[2007, 2009]);
        check(Level::ERROR, None, 2, &[]);
        check(Level::DEBUG, Some(2008), 100, &[2008, 2009]);
        assert_eq!(ring.last(Level::DEBUG, None, usize::MAX).len(), LINES);
    }

    #[test]
    fn no_credential_gets_in() {
        let ring = LogRing::new();
        ring.push(WallTime(0), Level::INFO, "t", "lost rtsp://admin:hunter2@cam/x");
        ring.push(WallTime(1), Level::INFO, "t", &"é".repeat(LONGEST));
        let found = ring.last(Level::INFO, None, 2);
        assert_eq!(found[0].message, "lost rtsp://***@cam/x");
        assert_eq!(found[1].message.len(), LONGEST);
    }
}
