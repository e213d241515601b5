//! Events.

use heldar_base::{CameraId, SiteId, WallTime};
use serde::{Deserialize, Serialize};

use super::page::TimeRange;
use super::words;

words! {
    /// How much an event matters, rising.
    Severity {
        /// To be known.
        Info = "info",
        /// To be looked at.
        Warning = "warning",
        /// To be acted on.
        Critical = "critical",
    }
}

/// An event that is to be appended.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// UUID in its text form. Appending an id again changes nothing.
    pub id: String,
    /// The camera that it is about.
    pub camera: Option<CameraId>,
    /// Its type, of the event catalogue.
    pub event_type: String,
    /// How much it matters.
    pub severity: Severity,
    /// When it happened.
    pub timestamp: WallTime,
    /// When it was known.
    pub created_at: WallTime,
    /// JSON object.
    pub payload: serde_json::Value,
}

/// A stored event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its place in commit order.
    pub seq: i64,
    /// The site that its camera belongs to now.
    pub site: Option<SiteId>,
    /// What was appended.
    pub event: NewEvent,
    /// The mark that it was seen, one for all users.
    pub seen: Option<Seen>,
}

/// Who has seen an event first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Name of the principal, 1 to [`Seen::NAME`] characters.
    pub by: String,
    /// When.
    pub at: WallTime,
}

impl Seen {
    /// Longest name, in characters.
    pub const NAME: usize = 256;
}

/// In which order events come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventOrder {
    /// The newest first.
    #[default]
    NewestFirst,
    /// The oldest first.
    OldestFirst,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of this camera.
    pub camera: Option<CameraId>,
    /// Of this type.
    pub event_type: Option<String>,
    /// Of exactly this severity.
    pub severity: Option<Severity>,
    /// That happened in this time.
    pub range: TimeRange,
    /// Committed after this number. They come in commit order then, else by when they happened.
    pub since_seq: Option<i64>,
    /// In which order.
    pub order: EventOrder,
}

/// Where the next page of events begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCursor {
    /// Time of the last row seen.
    pub timestamp_us: i64,
    /// Its place in commit order.
    pub seq: i64,
}

/// Events of a camera within one bucket of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventCount {
    /// Whose.
    pub camera: CameraId,
    /// Number of the bucket, from 0 at the start of the window.
    pub bucket: i64,
    /// Events in it, at least 1.
    pub count: i64,
}

/// An event of severity warning or above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// When.
    pub at: WallTime,
    /// Its place in commit order.
    pub seq: i64,
    /// Its type.
    pub event_type: String,
}

/// Where the next page of alerts begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertCursor {
    /// Time of the last row seen.
    pub timestamp_us: i64,
    /// Its place in commit order.
    pub seq: i64,
}
