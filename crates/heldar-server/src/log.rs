//! Where log lines go and which are shown.

use std::fmt::{Debug, Write as _};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use heldar_base::{Micros, WallTime};
use heldar_config::{LogFormat, LogSettings};
use heldar_kernel::health::LogRing;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, registry, reload};

/// The filter of this process.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();
/// Filter of commands whose output is not their log.
pub(crate) const QUIET: &str = "warn";

/// Starts logging to standard error, the last lines being kept in memory as well.
///
/// # Errors
/// The filter cannot be parsed.
pub(crate) fn start(settings: &LogSettings) -> Result<(), String> {
    let (filter, handle) = reload::Layer::new(filter(&settings.filter)?);
    FILTER.get_or_init(|| handle);
    let log = registry().with(filter).with(Memory);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let started = match settings.format {
        LogFormat::Text => log.with(lines.with_ansi(false)).try_init(),
        LogFormat::Json => log.with(lines.json()).try_init(),
    };
    started.map_err(|error| format!("logging cannot be started: {error}"))
}

/// Takes another filter.
///
/// # Errors
/// It cannot be parsed, or logging has not started.
pub(crate) fn reload(text: &str) -> Result<(), String> {
    let filter = filter(text)?;
    let handle = FILTER.get().ok_or("logging has not started")?;
    handle.reload(filter).map_err(|error| error.to_string())
}

fn filter(text: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(text).map_err(|error| format!("HELDAR_LOG: {error}"))
}

/// Starts logging for a command that reads no settings: warnings, or what `HELDAR_LOG` asks for.
///
/// # Errors
/// The filter cannot be parsed.
pub(crate) fn start_quiet() -> Result<(), String> {
    let filter = std::env::var("HELDAR_LOG").ok().filter(|filter| !filter.trim().is_empty());
    start(&LogSettings { filter: filter.unwrap_or_else(|| QUIET.to_owned()), format: LogFormat::Text })
}

/// Keeps the lines that the filter lets through.
struct Memory;

impl<S: Subscriber> Layer<S> for Memory {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(Micros::ZERO, Micros::from_std);
        let metadata = event.metadata();
        LogRing::of_process().push(WallTime(now.0), *metadata.level(), metadata.target(), &text.line());
    }
}

/// The message of an event and its other fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn line(self) -> String {
        self.message + &self.fields
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string cannot fail.
        let _ok = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn lines_are_kept_in_memory() {
        let log = registry().with(Memory);
        tracing::subscriber::with_default(log, || {
            tracing::warn!(camera = "gate", tries = 3, "lost {}", "rtsp://u:p@h/x");
        });
        let lines = LogRing::of_process().last(Level::WARN, None, 100);
        let line = lines.iter().find(|line| line.message.contains("gate")).unwrap();
        assert_eq!(line.message, "lost rtsp://***@h/x camera=\"gate\" tries=3");
        assert_eq!((line.level, line.target.as_str()), (Level::WARN, module_path!()));
    }
}
