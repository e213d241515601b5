//! Workers that `serve` runs beside itself: started once it answers, started again when they end, stopped before it stops.
//!
//! Owns: their processes, what these are told in their environment, when they are started again, and what of their output
//! becomes log. Never: what they do, which is between them and the API; a key in an argument or a line of the log.
//!
//! Invariants:
//! 1. A worker that cannot be started, or that ends, costs the server nothing but a line of its log.
//! 2. Each worker leads a process group. When [`Workers::stop`] is done, nothing of any group runs.
//! 3. A server that is killed takes its workers with it ([`runner`]).
//!
//! All of it happens on one thread that lives as long as the workers do: the system ties invariant 3 to the thread that
//! started them.

mod child;
mod lines;
mod place;
mod restart;
pub(crate) mod runner;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use heldar_config::{WorkerCommand, WorkerSettings};
use tokio::sync::watch;

pub(crate) use place::{Place, find};

use child::{Child, Outcome};
use lines::Log;
use restart::Restart;

/// Longest time from the word to stop to the end of every worker, what is left then being killed.
const GRACE: Duration = Duration::from_secs(2);
/// Longest time that the end of a killed one is waited for: a process that waits for a device can only end with it.
const BURIAL: Duration = Duration::from_secs(1);
/// Time between looks for a program that is missing.
const MISSING: Duration = Duration::from_secs(60);

/// Workers that run; dropping it stops them without waiting.
#[derive(Debug)]
pub(crate) struct Workers {
    stop: watch::Sender<bool>,
    /// Closed once all have ended.
    ended: watch::Receiver<()>,
}

impl Workers {
    /// Starts them; `None` where there are none, or where there is no thread for them, which is logged.
    pub(crate) fn start(settings: &WorkerSettings, place: &Place) -> Option<Workers> {
        if settings.commands.is_empty() {
            return None;
        }
        let (stop, stopping) = watch::channel(false);
        let (running, ended) = watch::channel(());
        let workers: Vec<Worker> =
            settings.commands.iter().map(|command| Worker::new(command, settings, place)).collect();
        let run = move || {
            // reason: dropped at the end, which tells that it has come.
            let _running = running;
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    tracing::error!(target: TARGET, %error, "no worker is started: there is no runtime for them");
                    return;
                }
            };
            runtime.block_on(join_all(workers.iter().map(|worker| worker.keep(stopping.clone()))));
        };
        match std::thread::Builder::new().name("workers".to_owned()).spawn(run) {
            // reason: `ended` tells when it has.
            Ok(_thread) => Some(Workers { stop, ended }),
            Err(error) => {
                tracing::error!(target: TARGET, %error, "no worker is started: there is no thread for them");
                None
            }
        }
    }

    /// Tells all to end, kills what has not within [`GRACE`], and waits for it.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        let mut ended = self.ended.clone();
        let all = async { while ended.changed().await.is_ok() {} };
        if tokio::time::timeout(GRACE + BURIAL, all).await.is_err() {
            tracing::error!(target: TARGET, "a worker that was killed has not ended; the server stops without it");
        }
    }
}

/// Target of everything about workers in the log.
const TARGET: &str = "heldar::worker";

/// One worker.
#[derive(Debug)]
struct Worker {
    command: WorkerCommand,
    environment: place::Environment,
    log: Log,
}

impl Worker {
    fn new(command: &WorkerCommand, settings: &WorkerSettings, place: &Place) -> Worker {
        let key = settings.api_key.as_ref().filter(|_| place.access_control);
        Worker {
            command: command.clone(),
            environment: place.environment(&command.name, key),
            log: Log::new(&command.name, key.cloned()),
        }
    }

    /// Runs it until told to stop.
    async fn keep(&self, mut stopping: watch::Receiver<bool>) {
        let name = self.command.name.as_str();
        let mut restart = Restart::default();
        let mut complaint = String::new();
        while !*stopping.borrow() {
            let wait = match Child::start(&self.command, &self.environment) {
                Ok(child) => {
                    complaint.clear();
                    let begun = Instant::now();
                    match child.run(&self.log, &mut stopping).await {
                        Outcome::Stopped => return,
                        Outcome::Ended { how, last } => {
                            let (ran, wait) = (begun.elapsed(), restart.after(begun.elapsed()));
                            let last = last.map(|line| format!(", saying `{line}`")).unwrap_or_default();
                            self.log.tell(&format!(
                                "ended ({how}) after {} s{last}; it is started again in {} s",
                                ran.as_secs(),
                                wait.as_secs()
                            ));
                            wait
                        }
                    }
                }
                Err(why) => {
                    if why != complaint {
                        tracing::error!(target: TARGET, worker = name, "cannot be started: {why}");
                    }
                    complaint = why;
                    MISSING
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // An owner that is gone wants them stopped too.
                _told = stopping.changed() => return,
            }
        }
    }
}
