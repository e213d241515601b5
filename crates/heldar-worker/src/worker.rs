//! What a program sees: a worker, its handlers, its run.
//!
//! Owns: registration, the order of start and end, signals, exit statuses. Never: a decision about tasks or frames.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::counters::Counters;
use crate::detection::Findings;
use crate::event::Event;
use crate::frame::Frame;
use crate::handler::{Handler, HandlerResult, Registration};
use crate::http::Server;
use crate::log::{self, Throttle};
use crate::settings::{CommandLine, Settings, SettingsError, Transport, from_args};
use crate::supervisor::{Offer, Supervisor};
use crate::task::Task;
use crate::task_loop::Shared;

/// Exit status of a worker that was started wrongly, as of a wrong command line.
const WRONGLY_CALLED: u8 = 2;

/// Why a worker cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A variable or flag cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No task type has a handler.
    #[error("no task type has a handler; register one by Worker::task")]
    NoHandlers,
    /// A handler was registered for a blank task type.
    #[error("a handler was registered for a blank task type")]
    BlankType,
    /// A task type has two handlers.
    #[error("task type {0} has two handlers")]
    TwoHandlers(String),
    /// Signals cannot be received.
    #[error("signals cannot be received: {0}")]
    Signals(#[source] std::io::Error),
}

enum Source {
    Env,
    Args,
    Given(Box<Settings>),
}

/// Serves task types with handlers until it is told to end.
pub struct Worker {
    source: Source,
    handlers: BTreeMap<String, Registration>,
    mistake: Option<RunError>,
    max_tasks: Option<u32>,
    capacity: Option<f64>,
    stopper: Stopper,
}

impl Worker {
    /// One that reads the `HELDAR_*` variables when it runs.
    pub fn from_env() -> Self {
        Self::of(Source::Env)
    }

    /// One that reads the flags of the command line over the variables when it runs; `--help` lists them.
    pub fn from_args() -> Self {
        Self::of(Source::Args)
    }

    /// One with these settings.
    pub fn new(settings: Settings) -> Self {
        Self::of(Source::Given(Box::new(settings)))
    }

    fn of(source: Source) -> Self {
        let stopper = Stopper { stop: Arc::default(), wake: Arc::default() };
        Self { source, handlers: BTreeMap::new(), mistake: None, max_tasks: None, capacity: None, stopper }
    }

    /// Registers a function for a task type. It is called for the frames of all tasks of this type, one at a time, so a model
    /// that is not thread-safe is safe; for state per camera, or calls side by side, there is [`Worker::task_with`].
    #[must_use]
    pub fn task<T: Into<Findings> + 'static>(
        self,
        task_type: &str,
        handler: impl FnMut(&Frame) -> HandlerResult<T> + Send + 'static,
    ) -> Self {
        self.register(task_type, Registration::shared(handler))
    }

    /// Registers a factory for a task type: each task gets a handler of its own, which lives in the task's thread and is
    /// dropped with the task. An error of the factory is logged, and the task waits until its settings change.
    #[must_use]
    pub fn task_with<H: Handler + 'static>(
        self,
        task_type: &str,
        factory: impl Fn(&Task) -> HandlerResult<H> + Send + Sync + 'static,
    ) -> Self {
        self.register(task_type, Registration::per_task(factory))
    }

    fn register(mut self, task_type: &str, registration: Registration) -> Self {
        let name = task_type.trim();
        if name.is_empty() {
            self.mistake.get_or_insert(RunError::BlankType);
        } else if self.handlers.insert(name.to_owned(), registration).is_some() {
            self.mistake.get_or_insert(RunError::TwoHandlers(name.to_owned()));
        }
        self
    }

    /// Takes at most so many tasks (1..=512).
    #[must_use]
    pub fn max_tasks(mut self, max_tasks: u32) -> Self {
        self.max_tasks = Some(max_tasks.clamp(1, 512));
        self
    }

    /// Its strength relative to other workers (0.01..=100; others have 1): tasks are shared accordingly.
    #[must_use]
    pub fn capacity(mut self, capacity: f64) -> Self {
        self.capacity = capacity.is_finite().then(|| capacity.clamp(0.01, 100.0));
        self
    }

    /// What ends [`Worker::run`] and [`Worker::serve`] from other threads.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Runs as the program: logs to standard error as the settings say (unless the program has set up a `tracing` subscriber),
    /// and ends on SIGTERM, SIGINT or [`Stopper::stop`] after the frames at hand, in less than ten seconds. Both signals stay
    /// caught afterwards.
    ///
    /// Gives back 0, or 2 when it cannot run, having said why on standard error.
    pub fn run(mut self) -> ExitCode {
        let settings = match std::mem::replace(&mut self.source, Source::Env) {
            Source::Env => Settings::from_env(),
            Source::Given(settings) => Ok(*settings),
            Source::Args => match from_args(std::env::args_os().skip(1)) {
                Ok(CommandLine::Run(settings)) => Ok(*settings),
                Ok(CommandLine::Help(text)) => {
                    let shown = std::io::stdout().write_all(text.as_bytes());
                    return if shown.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
                }
                Err(error) => Err(error),
            },
        };
        let outcome = settings.map_err(RunError::from).and_then(|settings| {
            log::start(&settings);
            self.catch_signals()?;
            self.source = Source::Given(Box::new(settings));
            self.serve()
        });
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // reason: there is nowhere left to say that standard error is gone
                let _ = writeln!(std::io::stderr(), "heldar-worker: {error}");
                ExitCode::from(WRONGLY_CALLED)
            }
        }
    }

    /// Serves without touching signals or the log, for programs that own them; until [`Stopper::stop`].
    ///
    /// # Errors
    /// The settings cannot be used, or handlers are missing or registered twice. Nothing that happens later is an error.
    pub fn serve(self) -> Result<(), RunError> {
        let settings = match self.source {
            Source::Given(settings) => *settings,
            Source::Env => Settings::from_env()?,
            Source::Args => match from_args(std::env::args_os().skip(1))? {
                CommandLine::Run(settings) => *settings,
                CommandLine::Help(text) => return Err(SettingsError::new(text).into()),
            },
        };
        if let Some(mistake) = self.mistake {
            return Err(mistake);
        }
        if self.handlers.is_empty() {
            return Err(RunError::NoHandlers);
        }
        if settings.transport == Transport::Stream {
            tracing::warn!("HELDAR_AI_TRANSPORT: this version has no stream and polls");
        }
        let server = Server::new(&settings)?;
        let shared = Arc::new(Shared {
            client: server.client(settings.http_timeout),
            server,
            settings,
            counters: Counters::default(),
            throttle: Throttle::default(),
            wake: Arc::clone(&self.stopper.wake),
            ask: AtomicBool::new(false),
        });
        let offer = Offer { handlers: self.handlers, max_tasks: self.max_tasks, capacity: self.capacity };
        Supervisor::new(shared, offer, Arc::clone(&self.stopper.stop)).run();
        Ok(())
    }

    fn catch_signals(&self) -> Result<(), RunError> {
        let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(RunError::Signals)?;
        let stopper = self.stopper();
        let body = move || {
            for signal in signals.forever() {
                tracing::info!(signal, "told to end; frames at hand are finished");
                stopper.stop();
            }
        };
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(body);
        thread.map(|_| ()).map_err(RunError::Signals)
    }
}

/// Ends a worker from another thread.
#[derive(Clone)]
pub struct Stopper {
    stop: Arc<AtomicBool>,
    wake: Arc<Event>,
}

impl Stopper {
    /// Ends the worker after the frames at hand. It does not wait for the end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake.set();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(worker: Worker, hint: &str) {
        let told = worker.serve().unwrap_err().to_string();
        assert!(told.contains(hint), "{told}");
    }

    #[test]
    fn mistakes_are_told_before_anything_is_asked() {
        let worker = || Worker::new(Settings::default());
        refused(worker(), "no task type has a handler");
        refused(worker().task(" ", |_: &Frame| Ok(())), "blank");
        refused(
            worker().task("motion", |_: &Frame| Ok(())).task("motion ", |_: &Frame| Ok(())),
            "motion has two",
        );
        let settings = Settings { api: "http://".to_owned(), ..Settings::default() };
        refused(Worker::new(settings).task("motion", |_: &Frame| Ok(())), "HELDAR_API: ");
    }

    #[test]
    fn a_worker_that_was_stopped_before_it_ran_ends() {
        let worker = Worker::new(Settings::default()).task("motion", |_: &Frame| Ok(()));
        worker.stopper().stop();
        assert!(worker.serve().is_ok());
    }
}
