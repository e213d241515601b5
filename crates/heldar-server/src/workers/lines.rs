//! What workers write, as lines of the log.
//!
//! Owns: where a line ends, how long it may be, how many are taken, its level, and what must not stand in it.

use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use heldar_base::Secret;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tracing::Level;

use super::TARGET;

/// Longest line in bytes; the rest of it is left out.
const LONGEST: usize = 2000;
/// Lines that may come at once, and lines a second on average.
const BURST: f64 = 200.0;
const PER_SECOND: f64 = 20.0;
/// What was written longer before the end has nothing to do with it.
const RECENT: Duration = Duration::from_secs(2);
/// Words at the beginning of a line among which its level stands.
const LEVEL_WORDS: usize = 4;

/// Takes what one worker writes, from both its outputs.
#[derive(Debug)]
pub(super) struct Log {
    worker: String,
    /// Shown as `***`, whoever writes it.
    key: Option<Secret<String>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    budget: Budget,
    /// The newest line, whether it was taken or not, and when it came.
    last: Option<(Instant, String)>,
}

impl Log {
    pub(super) fn new(worker: &str, key: Option<Secret<String>>) -> Log {
        let state = State { budget: Budget::new(Instant::now()), last: None };
        Log { worker: worker.to_owned(), key, state: Mutex::new(state) }
    }

    /// Reads to the end, if there is anything to read. An output that cannot be read any more has ended.
    pub(super) async fn follow(&self, source: Option<impl AsyncRead + Unpin>) {
        let Some(mut source) = source else { return };
        let (mut buffer, mut lines) = ([0; 4096], Lines::default());
        while let Ok(read @ 1..) = source.read(&mut buffer).await {
            lines.take(&buffer[..read], |line| self.write(line));
        }
        lines.end(|line| self.write(line));
    }

    /// The last words of one that has ended, if it had any; says how many lines were left out.
    pub(super) fn last_words(&self) -> Option<String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (left_out, last) = (mem::take(&mut state.budget.left_out), state.last.take());
        drop(state);
        self.left_out(left_out);
        last.filter(|(at, _)| at.elapsed() < RECENT).map(|(_, line)| line)
    }

    fn write(&self, line: &[u8]) {
        let text = self.shown(&String::from_utf8_lossy(line));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let taken = state.budget.take(now);
        let left_out = if taken { mem::take(&mut state.budget.left_out) } else { 0 };
        state.last = Some((now, text.clone()));
        drop(state);
        self.left_out(left_out);
        let worker = self.worker.as_str();
        match level_of(&text) {
            _ if !taken => {}
            Level::ERROR => tracing::error!(target: TARGET, worker, "{text}"),
            Level::WARN => tracing::warn!(target: TARGET, worker, "{text}"),
            Level::INFO => tracing::info!(target: TARGET, worker, "{text}"),
            _ => tracing::debug!(target: TARGET, worker, "{text}"),
        }
    }

    /// Says something of the worker that is to be looked at.
    pub(super) fn tell(&self, text: &str) {
        tracing::warn!(target: TARGET, worker = self.worker.as_str(), "{text}");
    }

    fn left_out(&self, lines: u64) {
        if lines > 0 {
            self.tell(&format!("{lines} lines were left out: more than {PER_SECOND} a second"));
        }
    }

    /// Without the key, and without what would forge a line of the log.
    fn shown(&self, line: &str) -> String {
        let line = match &self.key {
            Some(key) if !key.expose().is_empty() => line.replace(key.expose().as_str(), "***"),
            _ => line.to_owned(),
        };
        let mut shown = String::with_capacity(line.len());
        for c in line.trim_end().chars() {
            match c {
                '\t' => shown.push(' '),
                c if c.is_control() => shown.extend(c.escape_default()),
                c => shown.push(c),
            }
        }
        shown
    }
}

/// The level that a line gives itself, as log lines of Python, Rust and most others do; else that of news.
fn level_of(line: &str) -> Level {
    let words = line.split_whitespace().take(LEVEL_WORDS);
    words
        .filter_map(|word| match word.trim_matches(|c: char| !c.is_ascii_alphabetic()) {
            "ERROR" | "CRITICAL" | "FATAL" => Some(Level::ERROR),
            "WARNING" | "WARN" => Some(Level::WARN),
            "INFO" => Some(Level::INFO),
            "DEBUG" | "TRACE" => Some(Level::DEBUG),
            _ => None,
        })
        .next()
        .unwrap_or(Level::INFO)
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
}

impl Lines {
    /// Hands over each line that is complete; a carriage return ends one too, blank ones are none.
    fn take(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        for &byte in bytes {
            if matches!(byte, b'\n' | b'\r') {
                self.end(&mut each);
            } else if self.line.len() < LONGEST {
                self.line.push(byte);
            } else if self.line.len() == LONGEST {
                self.line.extend("…".bytes());
            }
        }
    }

    /// Hands over what is there.
    fn end(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.line.trim_ascii().is_empty() {
            each(&self.line);
        }
        self.line.clear();
    }
}

/// How many lines are taken.
#[derive(Debug)]
struct Budget {
    lines: f64,
    at: Instant,
    /// Lines not taken since somebody was told.
    left_out: u64,
}

impl Budget {
    fn new(now: Instant) -> Budget {
        Budget { lines: BURST, at: now, left_out: 0 }
    }

    /// Whether a line of now is taken.
    fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.lines = (self.lines + since * PER_SECOND).min(BURST);
        let taken = self.lines >= 1.0;
        if taken {
            self.lines -= 1.0;
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines out of pieces.
    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        let mut each = |line: &[u8]| found.push(String::from_utf8_lossy(line).into_owned());
        pieces.iter().for_each(|piece| lines.take(piece, &mut each));
        lines.end(&mut each);
        found
    }

    #[test]
    fn lines_are_cut_and_bounded() {
        assert_eq!(lines(&[b"a\nb", b"c\r\n\n  \nd"]), ["a", "bc", "d"]);
        assert_eq!(lines(&[b"10%\r20%\r"]), ["10%", "20%"]);
        let long = lines(&[&[b'x'; LONGEST], b"yyy\n", b"z"]);
        assert_eq!(long, [format!("{}…", "x".repeat(LONGEST)), "z".to_owned()]);
        assert!(lines(&[]).is_empty());
    }

    #[test]
    fn lines_are_counted() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let taken = |budget: &mut Budget, at| (0..300).filter(|_| budget.take(at)).count();
        assert_eq!((taken(&mut budget, start), budget.left_out), (200, 100));
        assert_eq!(taken(&mut budget, start + Duration::from_secs(2)), 40);
        assert_eq!(taken(&mut budget, start + Duration::from_secs(3600)), 200);
        // A clock that stands still or is behind gives nothing.
        assert_eq!(taken(&mut budget, start), 0);
    }

    #[test]
    fn levels() {
        for (line, level) in [
            ("2026-01-01T00:00:00.000Z ERROR heldar_worker: x", Level::ERROR),
            ("2026-01-01 00:00:00,1 WARNING x", Level::WARN),
            ("2026-01-01T00:00:00Z  INFO x: ERROR at all", Level::INFO),
            (r#"{"time": "2026", "level": "ERROR", "message": "x"}"#, Level::ERROR),
            ("[WARN] x", Level::WARN),
            ("DEBUG: x", Level::DEBUG),
            ("no errors", Level::INFO),
        ] {
            assert_eq!(level_of(line), level, "{line}");
        }
    }

    #[test]
    fn what_must_not_stand_in_a_line() {
        let log = Log::new("a", Some(Secret::new("vok_12".to_owned())));
        assert_eq!(log.shown("key=vok_12\tend \u{1b}[31m\u{7}  "), r"key=*** end \u{1b}[31m\u{7}");
    }
}
