//! What a worker can be told from outside: `HELDAR_*` variables, or flags of the same names.
//!
//! Owns: names, defaults and bounds. A value that cannot be read is an error at start; a value out of bounds moves to the
//! bound. Never: the key in any text made here.

use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

/// Longest time any setting can name: ten days.
const LONGEST_SECS: f64 = 864_000.0;
const NAME_LIMIT: usize = 256;
/// Lease times that servers accept, seconds.
const TTL_SECS: (f64, f64) = (15.0, 300.0);

/// A setting cannot be used; the text names the variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

impl SettingsError {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// How frames travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Whatever is best; this version polls.
    #[default]
    Auto,
    /// One connection for tasks, frames and results. Accepted for the day it exists; this version polls.
    Stream,
    /// A request per frame.
    Poll,
}

/// The least severe lines that are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What happens.
    #[default]
    Info,
    /// What should not.
    Warning,
    /// What a person must look at.
    Error,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// All settings of a worker.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// `HELDAR_API`: address of the server, `http://` or `https://`, without credentials.
    pub api: String,
    /// `HELDAR_API_KEY`: API key with `ai:tasks`, `ai:frames` and `ai:ingest`, sent as `X-API-Key`.
    pub api_key: Option<String>,
    /// `HELDAR_AI_WORKER_ID`: name of this worker, at most 256 characters; must differ among workers of one key.
    pub worker_id: String,
    /// `HELDAR_AI_TRANSPORT`.
    pub transport: Transport,
    /// `HELDAR_AI_POLL_INTERVAL`: how often it looks at its tasks, at least 1 s.
    pub poll_interval: Duration,
    /// `HELDAR_AI_LEASE_TTL`: how long a task stays its own without renewal; at least three poll intervals are asked for.
    pub lease_ttl: Duration,
    /// `HELDAR_HTTP_TIMEOUT`: after this a request counts as failed, at least 0.1 s. What a server was asked to wait is added.
    pub http_timeout: Duration,
    /// `HELDAR_HTTP_MAX_RETRIES`: repetitions of a failed post.
    pub max_retries: u32,
    /// `HELDAR_HTTP_BACKOFF_BASE`: first pause between repetitions, at least 1 ms.
    pub backoff_base: Duration,
    /// `HELDAR_HTTP_BACKOFF_CAP`: longest pause, at least 0.1 s.
    pub backoff_cap: Duration,
    /// `HELDAR_LOG_LEVEL`.
    pub log_level: LogLevel,
    /// `HELDAR_LOG_FORMAT`.
    pub log_format: LogFormat,
}

impl Default for Settings {
    fn default() -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            api: "http://localhost:8000".to_owned(),
            api_key: None,
            worker_id: format!("{host}:{}", std::process::id()),
            transport: Transport::default(),
            poll_interval: Duration::from_secs(10),
            lease_ttl: Duration::from_secs(60),
            http_timeout: Duration::from_secs(10),
            max_retries: 5,
            backoff_base: Duration::from_millis(500),
            backoff_cap: Duration::from_secs(15),
            log_level: LogLevel::default(),
            log_format: LogFormat::default(),
        }
    }
}

impl fmt::Debug for Settings {
    // All but the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("api", &self.api)
            .field("worker_id", &self.worker_id)
            .field("transport", &self.transport)
            .field("poll_interval", &self.poll_interval)
            .field("lease_ttl", &self.lease_ttl)
            .field("http_timeout", &self.http_timeout)
            .field("max_retries", &self.max_retries)
            .field("backoff_base", &self.backoff_base)
            .field("backoff_cap", &self.backoff_cap)
            .field("log_level", &self.log_level)
            .field("log_format", &self.log_format)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// The defaults with the variables of the environment over them; blank counts as unset.
    ///
    /// # Errors
    /// A variable holds what cannot be read.
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        for setting in SETTINGS {
            if let Some(value) = variable(setting.variable) {
                setting.apply(&mut settings, value)?;
            }
        }
        Ok(settings)
    }

    /// The lease time to ask for, seconds: at least three poll intervals, within what servers accept.
    pub(crate) fn ttl_secs(&self) -> u16 {
        let wanted = self.lease_ttl.max(self.poll_interval.saturating_mul(3)).as_secs_f64();
        wanted.clamp(TTL_SECS.0, TTL_SECS.1) as u16
    }
}

/// What a command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum CommandLine {
    Run(Box<Settings>),
    /// Show this.
    Help(String),
}

/// Reads flags (without the program's name) over the environment: `--ai-poll-interval 5` or `--ai-poll-interval=5`.
///
/// # Errors
/// A flag is unknown or without value, or a variable or flag holds what cannot be read.
pub(crate) fn from_args(arguments: impl IntoIterator<Item = OsString>) -> Result<CommandLine, SettingsError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.iter().any(|argument| argument == "-h" || argument == "--help") {
        return Ok(CommandLine::Help(help()));
    }
    let mut settings = Settings::from_env()?;
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        // A flag is not quoted beyond its name: what stands where a flag should may be a key.
        let text = argument.into_string().map_err(|_| SettingsError::new("a flag is no text"))?;
        let (flag, value) = match text.split_once('=') {
            Some((flag, value)) => (flag, Some(OsString::from(value))),
            None => (text.as_str(), None),
        };
        let Some(setting) = SETTINGS.iter().find(|setting| setting.flag() == flag) else {
            let shown = if flag.starts_with("--") { flag } else { "an argument that is no flag" };
            return Err(SettingsError::new(format!("{shown} is not known; --help lists the flags")));
        };
        let value = value.or_else(|| arguments.next());
        let value = value.ok_or_else(|| SettingsError::new(format!("{flag} needs a value")))?;
        setting.apply(&mut settings, value)?;
    }
    Ok(CommandLine::Run(Box::new(settings)))
}

fn help() -> String {
    let mut text = "An AI worker for Heldar. Each flag is a HELDAR_* variable too.\n\n".to_owned();
    for setting in SETTINGS {
        text.push_str(&format!("  {:<22} {} ({})\n", setting.flag(), setting.help, setting.variable));
    }
    text
}

struct Setting {
    variable: &'static str,
    help: &'static str,
    read: fn(&mut Settings, &str) -> Result<(), String>,
}

impl Setting {
    fn flag(&self) -> String {
        let name = self.variable.strip_prefix("HELDAR_").unwrap_or(self.variable);
        format!("--{}", name.to_ascii_lowercase().replace('_', "-"))
    }

    fn apply(&self, settings: &mut Settings, value: OsString) -> Result<(), SettingsError> {
        let value = value.into_string();
        let value = value.map_err(|_| SettingsError::new(format!("{}: no text", self.variable)))?;
        let value = value.trim();
        if value.is_empty() {
            return Ok(());
        }
        (self.read)(settings, value).map_err(|why| SettingsError::new(format!("{}: {why}", self.variable)))
    }
}

const SETTINGS: &[Setting] = &[
    Setting {
        variable: "HELDAR_API",
        help: "address of the server",
        read: |settings, text| address(text).map(|address| settings.api = address),
    },
    Setting {
        variable: "HELDAR_API_KEY",
        help: "API key; the variable is the safer place, flags are visible to others",
        read: |settings, text| {
            // Never quoted, not even a malformed one.
            let usable = text.bytes().all(|byte| byte.is_ascii_graphic());
            settings.api_key = Some(text.to_owned());
            usable.then_some(()).ok_or_else(|| "holds characters that no key has".to_owned())
        },
    },
    Setting {
        variable: "HELDAR_AI_WORKER_ID",
        help: "name of this worker, unique per key",
        read: |settings, text| {
            settings.worker_id = text.to_owned();
            let short = text.chars().count() <= NAME_LIMIT;
            short.then_some(()).ok_or_else(|| format!("longer than {NAME_LIMIT} characters"))
        },
    },
    Setting {
        variable: "HELDAR_AI_TRANSPORT",
        help: "how frames travel: auto, stream or poll; this version polls",
        read: |settings, text| {
            let known = [("auto", Transport::Auto), ("stream", Transport::Stream), ("poll", Transport::Poll)];
            one_of(text, &known).map(|transport| settings.transport = transport)
        },
    },
    Setting {
        variable: "HELDAR_AI_POLL_INTERVAL",
        help: "seconds between looks at the tasks, at least 1; 10",
        read: |settings, text| seconds(text, 1.0).map(|time| settings.poll_interval = time),
    },
    Setting {
        variable: "HELDAR_AI_LEASE_TTL",
        help: "seconds a task stays its own without renewal, at least 3 poll intervals; 60",
        read: |settings, text| seconds(text, 3.0).map(|time| settings.lease_ttl = time),
    },
    Setting {
        variable: "HELDAR_HTTP_TIMEOUT",
        help: "seconds before a request counts as failed, at least 0.1; 10",
        read: |settings, text| seconds(text, 0.1).map(|time| settings.http_timeout = time),
    },
    Setting {
        variable: "HELDAR_HTTP_MAX_RETRIES",
        help: "repetitions of a failed post; 5",
        read: |settings, text| {
            let number: i64 = text.parse().map_err(|_| expected(text, "a whole number"))?;
            settings.max_retries = u32::try_from(number.max(0)).unwrap_or(u32::MAX);
            Ok(())
        },
    },
    Setting {
        variable: "HELDAR_HTTP_BACKOFF_BASE",
        help: "seconds before the first repetition, at least 0.001; 0.5",
        read: |settings, text| seconds(text, 0.001).map(|time| settings.backoff_base = time),
    },
    Setting {
        variable: "HELDAR_HTTP_BACKOFF_CAP",
        help: "longest pause between repetitions in seconds, at least 0.1; 15",
        read: |settings, text| seconds(text, 0.1).map(|time| settings.backoff_cap = time),
    },
    Setting {
        variable: "HELDAR_LOG_LEVEL",
        help: "least severe lines shown: DEBUG, INFO, WARNING or ERROR",
        read: |settings, text| {
            let known = [
                ("DEBUG", LogLevel::Debug),
                ("INFO", LogLevel::Info),
                ("WARNING", LogLevel::Warning),
                ("ERROR", LogLevel::Error),
            ];
            one_of(text, &known).map(|level| settings.log_level = level)
        },
    },
    Setting {
        variable: "HELDAR_LOG_FORMAT",
        help: "form of the log lines: text or json",
        read: |settings, text| {
            one_of(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
                .map(|format| settings.log_format = format)
        },
    },
];

/// The address with its scheme in small letters, without trailing slashes.
pub(crate) fn address(text: &str) -> Result<String, String> {
    // Before anything is quoted: it may hold a password.
    if text.contains('@') {
        return Err("put no credentials into the address; use HELDAR_API_KEY".to_owned());
    }
    let form = || expected(text, "an http:// or https:// address without query");
    let uri: ureq::http::Uri = text.parse().map_err(|_| form())?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https")).ok_or_else(form)?;
    if uri.host().is_none_or(str::is_empty) || text.contains(['?', '#']) {
        return Err(form());
    }
    if scheme == "https" && !cfg!(feature = "tls") {
        return Err(
            "this worker was built without https; build heldar-worker with its feature `tls`".to_owned()
        );
    }
    // The scheme in small letters, whatever it was written in.
    Ok(format!("{scheme}{}", text.get(scheme.len()..).unwrap_or_default().trim_end_matches('/')))
}

fn seconds(text: &str, least: f64) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| expected(text, "a number of seconds"))?;
    if !number.is_finite() {
        return Err(expected(text, "a number of seconds"));
    }
    Ok(Duration::from_secs_f64(number.clamp(least, LONGEST_SECS)))
}

fn one_of<T: Copy>(text: &str, known: &[(&str, T)]) -> Result<T, String> {
    let found = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        expected(text, &format!("one of {}", names.join(", ")))
    })
}

fn expected(text: &str, what: &str) -> String {
    format!("{what} is expected, not {text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variable: &str, value: &str) -> Result<Settings, SettingsError> {
        Settings::from_variables(|name| (name == variable).then(|| value.into()))
    }

    fn flags(arguments: &[&str]) -> Result<Settings, SettingsError> {
        match from_args(arguments.iter().map(OsString::from))? {
            CommandLine::Run(settings) => Ok(*settings),
            CommandLine::Help(text) => panic!("{text}"),
        }
    }

    #[track_caller]
    fn refused(variable: &str, value: &str, hint: &str) {
        let told = read(variable, value).unwrap_err().to_string();
        assert!(told.starts_with(&format!("{variable}: ")) && told.contains(hint), "{told}");
    }

    #[test]
    fn blank_counts_as_unset() {
        let plain = Settings::default();
        for setting in SETTINGS {
            assert_eq!(read(setting.variable, "  "), Ok(plain.clone()), "{}", setting.variable);
        }
        assert_eq!((plain.api.as_str(), plain.ttl_secs()), ("http://localhost:8000", 60));
        assert!(plain.worker_id.ends_with(&format!(":{}", std::process::id())));
    }

    #[test]
    fn values_are_read() {
        assert_eq!(
            read("HELDAR_API", "http://nvr.example:8000/heldar//").unwrap().api,
            "http://nvr.example:8000/heldar"
        );
        assert_eq!(read("HELDAR_API", "HTTP://[::1]:8000").unwrap().api, "http://[::1]:8000");
        assert_eq!(read("HELDAR_API_KEY", " vok_1 ").unwrap().api_key.as_deref(), Some("vok_1"));
        assert_eq!(read("HELDAR_AI_TRANSPORT", "POLL").unwrap().transport, Transport::Poll);
        assert_eq!(read("HELDAR_HTTP_TIMEOUT", "2.5").unwrap().http_timeout, Duration::from_millis(2500));
        assert_eq!(read("HELDAR_LOG_LEVEL", "warning").unwrap().log_level, LogLevel::Warning);
        assert_eq!(read("HELDAR_LOG_FORMAT", "json").unwrap().log_format, LogFormat::Json);
    }

    #[test]
    fn values_out_of_bounds_move_to_the_bound() {
        assert_eq!(read("HELDAR_AI_POLL_INTERVAL", "0").unwrap().poll_interval, Duration::from_secs(1));
        assert_eq!(read("HELDAR_HTTP_MAX_RETRIES", "-3").unwrap().max_retries, 0);
        assert_eq!(read("HELDAR_HTTP_BACKOFF_BASE", "-1").unwrap().backoff_base, Duration::from_millis(1));
        assert_eq!(read("HELDAR_HTTP_TIMEOUT", "1e300").unwrap().http_timeout.as_secs(), 864_000);
    }

    #[test]
    fn a_lease_lasts_at_least_three_looks() {
        assert_eq!(read("HELDAR_AI_POLL_INTERVAL", "30").unwrap().ttl_secs(), 90);
        assert_eq!(read("HELDAR_AI_POLL_INTERVAL", "500").unwrap().ttl_secs(), 300);
        assert_eq!(read("HELDAR_AI_LEASE_TTL", "3").unwrap().ttl_secs(), 30);
        assert_eq!(read("HELDAR_AI_LEASE_TTL", "1000").unwrap().ttl_secs(), 300);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        refused("HELDAR_API", "nvr.example:8000", "http://");
        refused("HELDAR_API", "ftp://nvr.example", "http://");
        refused("HELDAR_API", "http://nvr.example/?key=1", "without query");
        refused("HELDAR_AI_POLL_INTERVAL", "soon", "not \"soon\"");
        refused("HELDAR_AI_LEASE_TTL", "NaN", "a number of seconds");
        refused("HELDAR_HTTP_MAX_RETRIES", "1.5", "a whole number");
        refused("HELDAR_AI_TRANSPORT", "pigeon", "one of auto, stream, poll");
        refused("HELDAR_AI_WORKER_ID", &"x".repeat(257), "longer than 256");
    }

    #[test]
    fn secrets_are_never_quoted() {
        for (variable, value) in
            [("HELDAR_API_KEY", "vok_s3cret\u{7}x"), ("HELDAR_API", "http://user:s3cret@nvr.example")]
        {
            let told = read(variable, value).unwrap_err().to_string();
            assert!(!told.contains("s3cret"), "{told}");
        }
        let told = flags(&["vok_s3cret"]).unwrap_err().to_string();
        assert!(!told.contains("s3cret"), "{told}");
        let shown = format!("{:?}", read("HELDAR_API_KEY", "vok_s3cret").unwrap());
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn every_variable_is_a_flag() {
        let settings =
            flags(&["--api", "http://nvr.example", "--ai-poll-interval=5", "--log-format", "json"]).unwrap();
        assert_eq!(settings.api, "http://nvr.example");
        assert_eq!(settings.poll_interval, Duration::from_secs(5));
        assert_eq!(settings.log_format, LogFormat::Json);
        let Ok(CommandLine::Help(text)) = from_args(["--help".into()]) else { panic!("no help") };
        for setting in SETTINGS {
            assert!(
                text.contains(&setting.flag()) && text.contains(setting.variable),
                "{}",
                setting.variable
            );
        }
    }

    #[test]
    fn wrong_flags_are_told() {
        for (arguments, hint) in [
            (&["--speed", "9"][..], "--speed is not known"),
            (&["--api"], "--api needs a value"),
            (&["--http-timeout", "soon"], "HELDAR_HTTP_TIMEOUT: a number of seconds"),
        ] {
            let told = flags(arguments).unwrap_err().to_string();
            assert!(told.contains(hint), "{told}");
        }
    }
}
