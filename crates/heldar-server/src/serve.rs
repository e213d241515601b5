//! `heldar serve`: start, run until told to stop, stop in order.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use heldar_config::{Flags, Input, Level, Settings, load};
use heldar_http::{App, AppSlot, Limits, Listeners, Phase, serve};
use heldar_kernel::front;
use heldar_kernel::health::Configuration;
use heldar_kernel::kernel::Kernel;
use heldar_kernel::rhythm::Rhythm;
use tokio::signal::unix::{SignalKind, signal};

use crate::pages::BuiltIn;
use crate::{USAGE_ERROR, complain, log};

/// A start that takes longer answers health meanwhile (auth-system.md 2.4).
const EARLY: Duration = Duration::from_secs(5);

/// Runs the command.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let loaded = load(&Input::from_process(Flags::take(arguments)));
    let configuration = Configuration::from(&loaded);
    let settings = match loaded.settings {
        Ok(settings) => settings,
        Err(errors) => {
            complain(&format!("{errors}\n"));
            return ExitCode::from(USAGE_ERROR);
        }
    };
    if let Err(error) = log::start(&settings.log) {
        complain(&format!("{error}\n"));
        return ExitCode::from(USAGE_ERROR);
    }
    for finding in loaded.findings.iter().filter(|finding| finding.level >= Level::Warning) {
        tracing::warn!(code = finding.code, "{}", finding.text);
    }
    Rhythm::main();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("no runtime: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(run(settings, configuration))
}

async fn run(settings: Settings, configuration: Configuration) -> ExitCode {
    let addresses = match addresses(&settings).await {
        Ok(addresses) => addresses,
        Err(error) => return failed(&error),
    };
    match Listeners::bind(&addresses).await {
        Ok(listeners) => on(listeners, settings, configuration, |_| {}).await,
        Err(error) => failed(&error.to_string()),
    }
}

/// Serves on bound sockets until told to stop, then stops in order. `ready` gets the application once it answers.
pub(crate) async fn on(
    listeners: Listeners,
    settings: Settings,
    configuration: Configuration,
    ready: impl FnOnce(&App),
) -> ExitCode {
    let bound = listeners.addresses();
    let limits = Limits { connections: settings.api.max_connections, ..Limits::default() };
    let slot = match front::waiting(&settings) {
        Ok(waiting) => AppSlot::new(waiting),
        Err(error) => return failed(&error.to_string()),
    };
    // From here on a signal ends the server in order, even one that comes while it starts.
    let told = told_to_stop();
    let running: Arc<OnceLock<Arc<Kernel>>> = Arc::default();
    let stopping = running.clone();
    let mut serving = Box::pin(serve(listeners, slot.clone(), limits, async move {
        told.await;
        if let Some(kernel) = stopping.get() {
            kernel.lifecycle.set(Phase::ShuttingDown);
        }
    }));
    // Until then whoever connects waits; after that it is told that the server is starting.
    let early = async {
        tokio::time::sleep(EARLY).await;
        tracing::info!("recovery takes long; health is answered meanwhile");
        serving.as_mut().await;
    };
    let kernel = tokio::select! {
        started = Box::pin(Kernel::start(settings)) => match started {
            Ok(kernel) => running.get_or_init(|| kernel),
            Err(error) => return failed(&error.to_string()),
        },
        () = early => return ExitCode::SUCCESS,
    };
    kernel.health.configured(configuration);
    let app = match front::app(kernel, Some(Arc::new(BuiltIn))) {
        Ok(app) => app,
        Err(error) => return failed(&error.to_string()),
    };
    for address in bound {
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "listening on http://{address}");
    }
    ready(&app);
    slot.replace(app);
    tokio::select! {
        () = serving => {}
        () = kernel.fenced() => return failed("another process has taken the store over"),
    }
    if tokio::time::timeout(Duration::from_secs(10), kernel.stop()).await.is_err() {
        tracing::error!("not everything ended within 10 s");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

pub(crate) async fn addresses(settings: &Settings) -> Result<Vec<SocketAddr>, String> {
    let host = settings.api.bind.to_string();
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    match tokio::net::lookup_host((host.as_str(), settings.api.port)).await {
        Ok(found) => Ok(found.collect()),
        Err(error) => Err(format!("HELDAR_API_HOST: `{host}` names no address: {error}")),
    }
}

/// Listens to signals from the call on, not from the first poll; done when one has come.
fn told_to_stop() -> impl Future<Output = ()> {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            tracing::error!("signals cannot be received");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

pub(crate) fn failed(text: &str) -> ExitCode {
    tracing::error!("{text}");
    complain(&format!("heldar: {text}\n"));
    ExitCode::FAILURE
}
