//! Zones, what the engine of a camera remembers, how many are inside and have crossed.

use heldar_base::{CameraId, PublicId, WallTime};

use super::event::Severity;

/// What can be set of a zone. Polygon, labels and settings are JSON text that only their reader understands.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneFields {
    /// What people call it, 1 to [`Zone::NAME`] characters; of a camera each has its own.
    pub name: String,
    /// What it does, 1 to 32 characters.
    pub kind: String,
    /// Its points.
    pub polygon: String,
    /// Seconds until a stay is told, finite; 0: it is not.
    pub dwell_seconds: f64,
    /// The labels that it sees.
    pub labels: String,
    /// How much its events matter.
    pub severity: Severity,
    /// Its settings.
    pub config: String,
    /// Whether it is in use.
    pub enabled: bool,
}

/// A part of the picture of a camera.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// Its id, with the prefix [`Zone::PREFIX`].
    pub id: PublicId,
    /// Whose picture.
    pub camera: CameraId,
    /// What can be set.
    pub fields: ZoneFields,
    /// When it was made.
    pub created_at: WallTime,
    /// When it was last changed.
    pub updated_at: WallTime,
    /// Counts changes.
    pub revision: i64,
}

impl Zone {
    /// Prefix of ids.
    pub const PREFIX: &'static str = "zone";
    /// Longest name, in characters.
    pub const NAME: usize = 256;
}

/// What the engine of a camera remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneState {
    /// Which camera.
    pub camera: CameraId,
    /// Number of the newest batch that it has taken; 0: none.
    pub seq: i64,
    /// The instant up to which it has let time pass.
    pub ticked_at: WallTime,
    /// When this was saved.
    pub saved_at: WallTime,
    /// In the engine's own form.
    pub bytes: Vec<u8>,
}

/// How many are in a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneOccupancy {
    /// Which.
    pub zone: PublicId,
    /// All of them.
    pub count: u32,
    /// JSON object: how many of each label.
    pub labels: String,
    /// How the count stands to the limits of the zone, 1 to 32 characters.
    pub state: String,
    /// When something of it last changed.
    pub updated_at: WallTime,
}

/// Crossings of a line since its counters last started anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneCounters {
    /// Which line.
    pub zone: PublicId,
    /// Inwards.
    pub inwards: i64,
    /// Outwards.
    pub outwards: i64,
    /// When they started.
    pub since: WallTime,
    /// When something of it last changed.
    pub updated_at: WallTime,
    /// JSON object: the two counts of each label.
    pub by_label: String,
}
