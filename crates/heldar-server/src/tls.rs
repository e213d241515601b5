//! TLS of the API in the binary: opened at the start, read again when told.
//!
//! Owns: what a start says of the certificate, and the listener that redirects. Never: a look at it later, which is the
//! kernel's.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use heldar_base::{Micros, WallTime};
use heldar_config::Settings;
use heldar_http::{Limits, Listeners, redirect};
use heldar_kernel::tls::source;
use heldar_tls::{Certificates, MakeError};
use tokio::signal::unix::{SignalKind, signal};

use crate::USAGE_ERROR;
use crate::serve::failed;

/// The certificate that the settings ask for, and listeners that show it.
///
/// # Errors
/// The status to end with; why is said.
pub(crate) fn open(
    listeners: Listeners,
    settings: &Settings,
) -> Result<(Listeners, Option<Arc<Certificates>>), ExitCode> {
    let Some(source) = source(settings) else { return Ok((listeners, None)) };
    let certificates = Certificates::open(source, now()).map_err(|error| {
        let status = failed(&error.to_string());
        match error {
            MakeError::Pair(_) | MakeError::Name(_) => ExitCode::from(USAGE_ERROR),
            MakeError::Write { .. } | MakeError::Cryptography(_) => status,
        }
    })?;
    let config = certificates.server_config().map_err(|error| failed(&error.to_string()))?;
    let facts = certificates.view().facts;
    tracing::info!(
        names = ?facts.names,
        not_after = %facts.not_after,
        "the certificate has the SHA-256 fingerprint {}",
        facts.fingerprint_sha256
    );
    let told = certificates.clone();
    // reason: it lasts as long as the process.
    let _reloading = tokio::spawn(reload_when_told(told));
    Ok((listeners.with_tls(config), Some(certificates)))
}

/// SIGHUP asks for a look at the files at once.
async fn reload_when_told(certificates: Arc<Certificates>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        tracing::error!("SIGHUP cannot be received");
        return;
    };
    while hangup.recv().await.is_some() {
        certificates.reload();
    }
}

/// Opens the plain listener that sends browsers to TLS, on the same addresses, if the settings ask for it.
///
/// # Errors
/// An address cannot be bound.
pub(crate) async fn redirect_from(
    settings: &Settings,
    bound: &[SocketAddr],
    limits: Limits,
) -> Result<(), String> {
    let (Some(port), Some(tls)) = (settings.tls.redirect_port, bound.first()) else { return Ok(()) };
    let addresses: Vec<SocketAddr> = bound.iter().map(|at| SocketAddr::new(at.ip(), port)).collect();
    let listeners =
        Listeners::bind(&addresses).await.map_err(|error| format!("HELDAR_HTTP_REDIRECT_PORT: {error}"))?;
    for address in listeners.addresses() {
        tracing::info!("http://{address} redirects to TLS");
    }
    // reason: it lasts as long as the process.
    let _redirecting = tokio::spawn(redirect(listeners, tls.port(), limits, std::future::pending()));
    Ok(())
}

/// The host's clock.
fn now() -> WallTime {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    WallTime::EPOCH + Micros::from_std(since)
}
