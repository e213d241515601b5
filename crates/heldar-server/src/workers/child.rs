//! One run of a worker: its process group from start to end.

use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use heldar_config::WorkerCommand;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::lines::Log;
use super::place::{Environment, find};
use super::{GRACE, TARGET, runner};

/// This program, also after its file was replaced by another version.
const SELF: &str = "/proc/self/exe";
/// Time between looks at a group whose leader is gone.
const LOOK: Duration = Duration::from_millis(20);
/// Longest time to read what was written before the end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a run ended.
pub(super) enum Outcome {
    /// By itself.
    Ended {
        /// How, for people.
        how: String,
        /// What it wrote last.
        last: Option<String>,
    },
    /// It was told to.
    Stopped,
}

/// A worker that runs.
pub(super) struct Child {
    process: tokio::process::Child,
    group: Pid,
}

impl Child {
    /// Starts it.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub(super) fn start(worker: &WorkerCommand, environment: &Environment) -> Result<Child, String> {
        let program = find(&worker.program, environment.path())?;
        let mut command = Command::new(SELF);
        command.arg0("heldar").arg(runner::NAME).arg(std::process::id().to_string());
        command.arg(program).args(&worker.arguments);
        command.env_clear().envs(environment.entries());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let process = command
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("no process can be made for it: {error}"))?;
        let group = process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = group.ok_or("its process ended at once")?;
        tracing::info!(target: TARGET, worker = worker.name, pid = group.as_raw_nonzero().get(), "started");
        Ok(Child { process, group })
    }

    /// Follows it to its end, and ends all of its group.
    pub(super) async fn run(mut self, log: &Log, stopping: &mut watch::Receiver<bool>) -> Outcome {
        let (out, err) = (self.process.stdout.take(), self.process.stderr.take());
        let reading = async { tokio::join!(log.follow(out), log.follow(err)) };
        let living = async {
            let how = tokio::select! {
                ended = self.process.wait() => Some(match ended {
                    Ok(status) => status.to_string(),
                    Err(error) => error.to_string(),
                }),
                // An owner that is gone wants it stopped too.
                _told = stopping.wait_for(|told| *told) => None,
            };
            self.end(log).await;
            how
        };
        let (mut reading, mut living) = (pin!(reading), pin!(living));
        let how = tokio::select! {
            how = &mut living => {
                // reason: whoever left the group may hold its output open for good.
                let _read = timeout(LAST_WORDS, reading).await;
                how
            }
            _ = &mut reading => living.await,
        };
        let last = log.last_words();
        match how {
            Some(how) => Outcome::Ended { how, last },
            None => Outcome::Stopped,
        }
    }

    /// Asks the group to end, and kills what is left of it after [`GRACE`].
    async fn end(&mut self, log: &Log) {
        self.signal(Signal::TERM);
        let all = async {
            // An error means that there is nothing to wait for.
            let _ended = self.process.wait().await;
            while test_kill_process_group(self.group).is_ok() {
                sleep(LOOK).await;
            }
        };
        if timeout(GRACE, all).await.is_err() {
            log.tell(&format!("killed, since it did not end within {} s", GRACE.as_secs()));
            self.signal(Signal::KILL);
            let _ended = self.process.wait().await;
        }
    }

    /// The number of a group is not given to another while anything of it runs or its leader was not waited for.
    fn signal(&self, signal: Signal) {
        if let Err(error) = kill_process_group(self.group, signal) {
            tracing::debug!(target: TARGET, %error, "nothing of the group is left");
        }
    }
}
