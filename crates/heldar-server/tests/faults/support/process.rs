//! Child processes that end with the test, however that ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, until};

/// A running child whose output goes into a file.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it says is added to `log`.
    pub(super) fn start(mut command: Command, log: &Path) -> Process {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let child = command.stdin(Stdio::null()).stderr(file).spawn().unwrap();
        Process { child, log: log.to_owned() }
    }

    /// Sends a signal.
    pub(super) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    #[track_caller]
    pub(super) fn wait(&mut self) -> ExitStatus {
        let since = Instant::now();
        let status = until("the end of a process", || self.ended());
        assert!(since.elapsed() < PATIENCE);
        status
    }

    /// What it has said.
    pub(super) fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already where the test got that far.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            let said = self.said();
            let lines: Vec<&str> = said.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            super::figures::tell(&format!("--- {} ends with\n{tail}\n---\n", self.log.display()));
        }
    }
}
