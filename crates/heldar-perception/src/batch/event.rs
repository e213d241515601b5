//! The event that a worker raises with a batch, and the names that it may not use (perception.md 8.1, 15.5).

use serde::Deserialize;

use super::json::JsonText;
use crate::Refused;

/// Types with these beginnings are raised by the server and its apps alone.
const RESERVED: [&str; 6] = ["gate_", "entry_", "zone_", "camera_", "disk_", "raid_"];

/// Built-in types without a reserved beginning, but for those that workers raise.
const BUILT_IN: [&str; 11] = [
    "recorder_error",
    "recording_gap",
    "sampler_offline",
    "sampler_recovered",
    "retention_delete",
    "ingest_unleased",
    "webhook_signing_secret_unusable",
    "webhook_disabled",
    "wasm_plugin_disabled",
    "consumer_parked",
    "registry_rollback",
];

/// An event as sent.
#[derive(Clone, Debug, Deserialize)]
pub struct EventBody {
    /// Its type.
    pub event_type: String,
    /// `info` by default; whatever is neither `info` nor `warning` counts as `warning`.
    pub severity: Option<String>,
    /// `{}` by default.
    pub payload: Option<JsonText>,
}

/// How much a worker's event matters. A worker raises nothing critical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventSeverity {
    /// Worth knowing.
    Info,
    /// Worth looking at.
    Warning,
}

impl EventSeverity {
    /// Its stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            EventSeverity::Info => "info",
            EventSeverity::Warning => "warning",
        }
    }
}

/// An event that may be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its type.
    pub event_type: String,
    /// How much it matters.
    pub severity: EventSeverity,
    /// JSON text.
    pub payload: String,
}

/// Whether somebody from outside may raise events of this type.
///
/// # Errors
/// What is wrong with it.
pub fn check_event_type(text: &str) -> Result<(), &'static str> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if !(1..=64).contains(&text.len()) || !text.bytes().all(plain) {
        return Err("must be 1 to 64 of the characters a-z, 0-9 and _");
    }
    if RESERVED.iter().any(|prefix| text.starts_with(prefix)) {
        return Err("must not begin with gate_, entry_, zone_, camera_, disk_ or raid_");
    }
    if BUILT_IN.contains(&text) {
        return Err("must not be a built-in type");
    }
    Ok(())
}

pub(super) fn checked(body: EventBody) -> Result<Event, Refused> {
    check_event_type(&body.event_type).map_err(|why| Refused::new("event.event_type", why))?;
    let severity = match body.severity.as_deref() {
        None | Some("info") => EventSeverity::Info,
        Some(_) => EventSeverity::Warning,
    };
    let payload = body.payload.map_or_else(|| "{}".to_owned(), JsonText::into_string);
    Ok(Event { event_type: body.event_type, severity, payload })
}
