//! Child processes that end with their owner.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdout, Command};

use super::usage::Usage;

/// Time that a child has to end after it was told to.
const PATIENCE: Duration = Duration::from_secs(20);
/// Lines of its log that explain why a child ended.
const LAST_LINES: usize = 12;

/// A child process; killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pid: u32,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts a program; what it says on standard error goes to `log`, standard output can be taken once.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(name: &str, command: &mut Command, log: &Path) -> Result<Process, String> {
        let fail = |error: std::io::Error| format!("{name} cannot be started: {error}");
        let file = std::fs::File::create(log).map_err(fail)?;
        let command = command.stdin(Stdio::null()).stderr(file).kill_on_drop(true);
        let child = command.spawn().map_err(fail)?;
        let pid = child.id().ok_or_else(|| format!("{name} ended at once"))?;
        Ok(Process { child, pid, name: name.to_owned(), log: log.to_owned() })
    }

    /// What it writes to standard output, if that is a pipe that nobody took yet.
    pub(super) fn take_output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its id, for those who want to look at it while it is measured.
    pub(super) fn id(&self) -> u32 {
        self.pid
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// It has ended: why, as far as its log tells.
    pub(super) fn check(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.explain(status)),
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }

    /// What it uses now.
    ///
    /// # Errors
    /// It has ended.
    pub(super) fn usage(&mut self) -> Result<Usage, String> {
        self.check()?;
        Usage::of(self.pid)
    }

    /// Tells it to end and waits; kills it when it takes too long.
    ///
    /// # Errors
    /// It had to be killed.
    pub(super) async fn stop(mut self) -> Result<ExitStatus, String> {
        self.tell_to_end();
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(error)) => Err(format!("{}: {error}", self.name)),
            // Dropping kills it.
            Err(_) => Err(format!("{} did not end within {} s", self.name, PATIENCE.as_secs())),
        }
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(super) async fn kill(mut self) -> Result<(), String> {
        self.child.kill().await.map_err(|error| format!("{}: {error}", self.name))
    }

    /// Asks it to end without waiting. Its id is its own as long as nobody has waited for it.
    pub(super) fn tell_to_end(&mut self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(Err(error)) = pid.map(|pid| kill_process(pid, Signal::TERM)) {
            tracing::debug!(process = self.name, %error, "it has ended by itself");
        }
    }

    fn explain(&self, status: ExitStatus) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n  ");
        format!("{} ended early ({status}):\n  {last}", self.name)
    }
}

/// Runs a program to its end and returns what it wrote to standard output.
///
/// # Errors
/// It cannot be started, takes longer than `limit`, or fails: then with what it wrote to standard error.
pub(super) async fn output(command: &mut Command, limit: Duration) -> Result<String, String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let command = command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(limit, command.output()).await {
        Err(_) => Err(format!("{name} takes longer than {} s", limit.as_secs())),
        Ok(Err(error)) => Err(format!("{name} cannot be started: {error}")),
        Ok(Ok(done)) if !done.status.success() => {
            Err(format!("{name} failed ({}): {}", done.status, String::from_utf8_lossy(&done.stderr).trim()))
        }
        Ok(Ok(done)) => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
    }
}

/// This program, for children of it.
///
/// # Errors
/// The system does not tell where it is.
pub(super) fn this_program() -> Result<Command, String> {
    let path = std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
    Ok(Command::new(path))
}
