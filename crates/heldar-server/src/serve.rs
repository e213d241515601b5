//! `heldar serve`: start, run until told to stop, stop in order.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use heldar_config::{Flags, Input, Level, Settings, load};
use heldar_http::{App, AppSlot, Limits, Listeners, Pages, Phase, serve};
use heldar_kernel::front;
use heldar_kernel::health::Configuration;
use heldar_kernel::kernel::{Kernel, StartFailure};
use heldar_kernel::rhythm::Rhythm;
use heldar_kernel::secrets::SecretError;
use tokio::signal::unix::{SignalKind, signal};

use crate::pages::{BuiltIn, Folder};
use crate::workers::{Place, Workers};
use crate::{USAGE_ERROR, banner, complain, control, log, tls, with_causes};

/// Longest time that recordings have to be closed, while health is still answered.
const RECORDERS: Duration = Duration::from_secs(4);
/// Longest time that answers have to be finished after that.
const ANSWERS: Duration = Duration::from_secs(3);
/// Longest time from the signal to the end of everything (auth-system.md 2.4).
const STOP: Duration = Duration::from_secs(10);
/// A start that takes longer answers health meanwhile (auth-system.md 2.4).
const EARLY: Duration = Duration::from_secs(5);

/// Runs the command.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let loaded = load(&Input::from_process(Flags::take(arguments.clone())));
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
    banner::tell(&settings);
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
    runtime.block_on(async {
        // reason: it lasts as long as the process.
        let _reloading = tokio::spawn(reload_when_told(arguments));
        run(settings, configuration).await
    })
}

/// SIGHUP takes the log filter that the files of the configuration now hold; it never ends the server.
async fn reload_when_told(arguments: Vec<OsString>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        tracing::error!("SIGHUP cannot be received");
        return;
    };
    while hangup.recv().await.is_some() {
        match load(&Input::from_process(Flags::take(arguments.clone()))).settings {
            Ok(settings) => match log::reload(&settings.log.filter) {
                Ok(()) => tracing::info!(filter = settings.log.filter, "the log filter was read again"),
                Err(error) => tracing::warn!(%error, "the log filter stays as it was"),
            },
            Err(errors) => {
                tracing::warn!(%errors, "the configuration is not valid: the log filter stays as it was")
            }
        }
    }
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
    let limits = Limits { connections: settings.api.max_connections, grace: ANSWERS, ..Limits::default() };
    let (listeners, certificates) = match tls::open(listeners, &settings) {
        Ok(opened) => opened,
        Err(status) => return status,
    };
    if certificates.is_some()
        && let Err(error) = tls::redirect_from(&settings, &bound, limits).await
    {
        return failed(&error);
    }
    let scheme = if certificates.is_some() { "https" } else { "http" };
    let pages: Arc<dyn Pages> = match &settings.api.web_dir {
        Some(folder) => Arc::new(Folder::new(folder)),
        None => Arc::new(BuiltIn),
    };
    let slot = match front::waiting(&settings) {
        Ok(waiting) => AppSlot::new(waiting),
        Err(error) => return failed(&error.to_string()),
    };
    // From here on a signal ends the server in order, even one that comes while it starts.
    let told = told_to_stop();
    let running: Arc<OnceLock<Arc<Kernel>>> = Arc::default();
    let (stopping, told_at) = (running.clone(), Arc::new(OnceLock::new()));
    let workers: Arc<OnceLock<Workers>> = Arc::default();
    let (noted, beside) = (told_at.clone(), workers.clone());
    let mut serving = Box::pin(serve(listeners, slot.clone(), limits, async move {
        told.await;
        noted.get_or_init(Instant::now);
        // They give their tasks back, which is answered only while new work is taken.
        if let Some(workers) = beside.get() {
            workers.stop().await;
        }
        if let Some(kernel) = stopping.get() {
            kernel.lifecycle.set(Phase::ShuttingDown);
            if tokio::time::timeout(RECORDERS, kernel.stop_recording()).await.is_err() {
                tracing::error!("recordings are not closed within {} s", RECORDERS.as_secs());
            }
        }
    }));
    // Until then whoever connects waits; after that it is told that the server is starting.
    let early = async {
        tokio::time::sleep(EARLY).await;
        tracing::info!("recovery takes long; health is answered meanwhile");
        serving.as_mut().await;
    };
    let kernel = tokio::select! {
        started = Box::pin(Kernel::start_with(settings, crate::apps())) => match started {
            Ok(kernel) => running.get_or_init(|| kernel),
            Err(error) => return start_failed(&error),
        },
        () = early => return ExitCode::SUCCESS,
    };
    kernel.health.configured(configuration);
    let names = certificates.as_ref().map(|known| known.view().facts.names.clone()).unwrap_or_default();
    if let Some(certificates) = certificates {
        kernel.keep_certificates(certificates);
    }
    let app = match front::app(kernel, Some(pages)) {
        Ok(app) => app,
        Err(error) => return failed(&error.to_string()),
    };
    if let Some(address) = bound.first() {
        kernel.open_webrtc(address.ip());
    }
    let hosts: Vec<IpAddr> = bound.iter().map(SocketAddr::ip).collect();
    kernel.open_restream(&hosts).await;
    let port = bound.first().map_or(kernel.settings.api.port, SocketAddr::port);
    control::serve(kernel, port);
    let place = Place::new(&kernel.settings, &bound, &names);
    for address in bound {
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "listening on {scheme}://{address}");
    }
    control::tell_legacy_keys(kernel);
    control::tell_setup_link(kernel, port).await;
    ready(&app);
    slot.replace(app);
    if let Some(started) = Workers::start(&kernel.settings.workers, &place) {
        workers.get_or_init(|| started);
    }
    tokio::select! {
        () = serving => {}
        () = kernel.fenced() => {
            if let Some(workers) = workers.get() {
                workers.stop().await;
            }
            return failed("another process has taken the store over");
        }
    }
    let passed = told_at.get().map_or(Duration::ZERO, Instant::elapsed);
    if tokio::time::timeout(STOP.saturating_sub(passed), kernel.stop()).await.is_err() {
        tracing::error!("not everything ended within {} s", STOP.as_secs());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// A key that does not fit the store is an error of the configuration.
fn start_failed(error: &StartFailure) -> ExitCode {
    let status = failed(&with_causes(error));
    match error {
        StartFailure::Secret(SecretError::WrongKey(_)) => ExitCode::from(USAGE_ERROR),
        _ => status,
    }
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
