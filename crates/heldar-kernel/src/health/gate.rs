//! Asks a disk that may hang.
//!
//! Owns: one question at a time. A disk that does not answer keeps the one thread that asked, and whoever asks meanwhile
//! learns that it is silent.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

/// How long an answer may take, the wait for others' questions included.
const PATIENCE: Duration = Duration::from_secs(2);

/// The way to ask one file system for its state. Cheap to clone; all clones are one gate.
#[derive(Clone, Debug)]
pub struct DiskGate {
    turn: Arc<Mutex<()>>,
    patience: Duration,
}

impl Default for DiskGate {
    fn default() -> Self {
        DiskGate { turn: Arc::default(), patience: PATIENCE }
    }
}

impl DiskGate {
    /// Runs a blocking question; `None` when there is no answer in time.
    pub async fn ask<T: Send + 'static>(&self, question: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let turn = self.turn.clone();
        let answer = async move {
            let turn = turn.lock_owned().await;
            let asked = tokio::task::spawn_blocking(move || {
                let answer = question();
                drop(turn);
                answer
            });
            asked.await.ok()
        };
        tokio::time::timeout(self.patience, answer).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_silent_disk_keeps_one_thread() {
        let gate = DiskGate { patience: Duration::from_millis(50), ..DiskGate::default() };
        let (release, held) = mpsc::channel::<()>();
        let asked = Arc::new(AtomicU32::new(0));
        let count = asked.clone();
        let silent = gate.ask(move || {
            count.fetch_add(1, Ordering::SeqCst);
            held.recv().is_ok()
        });
        assert_eq!(silent.await, None);
        for _ in 0..3 {
            let count = asked.clone();
            assert_eq!(gate.ask(move || count.fetch_add(1, Ordering::SeqCst)).await, None);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        release.send(()).unwrap();
        while gate.ask(|| 2).await != Some(2) {}
    }
}
