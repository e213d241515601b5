//! Where log lines go and which are shown.

use heldar_config::{LogFormat, LogSettings};
use tracing_subscriber::EnvFilter;

/// Filter of commands whose output is not their log.
pub(crate) const QUIET: &str = "warn";

/// Starts logging to standard error.
///
/// # Errors
/// The filter cannot be parsed.
pub(crate) fn start(settings: &LogSettings) -> Result<(), String> {
    let filter = EnvFilter::try_new(&settings.filter).map_err(|error| format!("HELDAR_LOG: {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match settings.format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| format!("logging cannot be started: {error}"))
}

/// Starts logging for a command that reads no settings: warnings, or what `HELDAR_LOG` asks for.
///
/// # Errors
/// The filter cannot be parsed.
pub(crate) fn start_quiet() -> Result<(), String> {
    let filter = std::env::var("HELDAR_LOG").ok().filter(|filter| !filter.trim().is_empty());
    start(&LogSettings { filter: filter.unwrap_or_else(|| QUIET.to_owned()), format: LogFormat::Text })
}
