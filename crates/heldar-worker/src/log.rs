//! Log lines as text or JSON, to standard error.
//!
//! Owns: that the key stands in no line, whoever wrote the line, and that a lasting trouble does not fill a disk.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::settings::{LogFormat, LogLevel, Settings};

/// How often a line about the same trouble is written.
const REPEAT: Duration = Duration::from_secs(30);
/// Most troubles that are told apart.
const TROUBLES: usize = 1000;

/// Starts logging, unless the program has set up a subscriber of its own.
pub(crate) fn start(settings: &Settings) {
    let level = match settings.log_level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let key = settings.api_key.as_deref().filter(|key| !key.is_empty());
    let writer = Redacting { secret: key.map(Arc::from), out: io::stderr };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(writer);
    let started = match settings.log_format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("the program's own log is used");
    }
}

/// Writes each line with the key taken out. The formatter hands over whole lines.
struct Redacting<F> {
    secret: Option<Arc<str>>,
    out: F,
}

impl<'a, W: Write + 'a, F: Fn() -> W + 'a> MakeWriter<'a> for Redacting<F> {
    type Writer = Line<W>;

    fn make_writer(&'a self) -> Line<W> {
        Line { secret: self.secret.clone(), out: (self.out)() }
    }
}

struct Line<W> {
    secret: Option<Arc<str>>,
    out: W,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &self.secret {
            Some(secret) => {
                let text = String::from_utf8_lossy(line).replace(&**secret, "***");
                self.out.write_all(text.as_bytes())?;
            }
            None => self.out.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Lets one line about each trouble through in each interval.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<HashMap<String, Instant>>);

impl Throttle {
    /// Whether a line about `trouble` is due.
    pub(crate) fn passes(&self, trouble: &str, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(trouble).is_some_and(|last| now.saturating_duration_since(*last) < REPEAT) {
            return false;
        }
        if told.len() >= TROUBLES {
            told.clear();
        }
        told.insert(trouble.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_key_stands_in_no_line() {
        let sink = Sink::default();
        let out = sink.clone();
        let writer = Redacting { secret: Some("vok_s3cret".into()), out: move || out.clone() };
        let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(writer).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(headers = "X-API-Key: vok_s3cret", "a program's own careless line: vok_s3cret");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("s3cret"), "{text}");
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["message"], "a program's own careless line: ***");
        assert_eq!(line["level"], "ERROR");
    }

    #[test]
    fn a_lasting_trouble_is_told_now_and_then() {
        let throttle = Throttle::default();
        let start = Instant::now();
        assert!(throttle.passes("a", start));
        assert!(throttle.passes("b", start));
        assert!(!throttle.passes("a", start + Duration::from_secs(29)));
        assert!(throttle.passes("a", start + Duration::from_secs(30)));
        (0..5 * TROUBLES).for_each(|n| assert!(throttle.passes(&format!("trouble {n}"), start)));
        assert!(throttle.0.lock().unwrap().len() <= TROUBLES);
    }
}
