//! What happened, step by step: a hash of all of it and the text of the newest part.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lines whose text is kept, unless told otherwise.
const KEPT: usize = 120;

/// The steps of one simulation. Cheap to clone; all clones are one trace.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    hash: u64,
    steps: u64,
    kept: usize,
    newest: VecDeque<String>,
}

impl Default for Inner {
    fn default() -> Self {
        // FNV-1a
        Inner { hash: 0xcbf2_9ce4_8422_2325, steps: 0, kept: KEPT, newest: VecDeque::new() }
    }
}

impl Trace {
    /// Nothing has happened.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the text of so many steps from now on.
    pub fn keep(&self, steps: usize) {
        self.inner().kept = steps;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a step.
    pub fn step(&self, what: fmt::Arguments<'_>) {
        let text = what.to_string();
        let mut inner = self.inner();
        for byte in text.bytes().chain([b'\n']) {
            inner.hash = (inner.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        inner.steps += 1;
        let numbered = format!("{:>6} {text}", inner.steps);
        inner.newest.push_back(numbered);
        if inner.newest.len() > inner.kept {
            inner.newest.pop_front();
        }
    }

    /// Stands for everything that happened so far.
    pub fn hash(&self) -> u64 {
        self.inner().hash
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.inner().steps
    }

    /// The newest steps, oldest first.
    pub fn newest(&self) -> String {
        let lines: Vec<String> = self.inner().newest.iter().cloned().collect();
        lines.join("\n")
    }
}
