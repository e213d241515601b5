//! What happened in zones.

use heldar_base::{CameraId, Interval, Micros, PublicId, WallTime};
use serde::{Deserialize, Serialize};

use super::batch::{DetectionBox, Share, halves};
use super::event::NewEvent;
use super::page::TimeRange;

/// Names a zone event: when it happened, and bits that tell it from others of that instant. Whoever finds the event draws
/// them at random, so that its name is known before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ZoneEventId {
    /// When it happened.
    pub timestamp: WallTime,
    /// Random.
    pub bits: u64,
}

impl ZoneEventId {
    /// Prefix of the public form.
    pub const PREFIX: &'static str = "zev";

    /// The public form: 16 digits of the time, 16 of the bits.
    pub fn public(self) -> PublicId {
        let high = u128::from(self.timestamp.0.cast_unsigned());
        PublicId::new(Self::PREFIX, (high << 64) | u128::from(self.bits))
    }

    /// Reads back the public form; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (high, bits) = halves(PublicId::parse(Self::PREFIX, text).ok()?);
        Some(ZoneEventId { timestamp: WallTime(high.cast_signed()), bits })
    }
}

/// The batch that made a zone event known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneSource {
    /// Number of the batch.
    pub seq: i64,
    /// Which of its detections, where one did; below [`super::NewBatch::DETECTIONS`].
    pub position: Option<u16>,
}

/// Something that happened in a zone.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneEvent {
    /// Its id, which says when it happened.
    pub id: ZoneEventId,
    /// In whose picture.
    pub camera: CameraId,
    /// In which zone; it may be gone.
    pub zone: PublicId,
    /// How the zone was called then, 1 to [`super::Zone::NAME`] characters.
    pub zone_name: String,
    /// What, 1 to 64 characters.
    pub event_type: String,
    /// Type of the task that follows the track; not empty. `None`: it concerns the zone as a whole.
    pub task_type: Option<String>,
    /// The track, at most 256 characters.
    pub track_id: Option<String>,
    /// What was seen, at most 256 characters; `""`: it had no label.
    pub label: Option<String>,
    /// How long: of a visit, of a sum of visits, of being occupied.
    pub dwell: Option<Micros>,
    /// How sure the worker was.
    pub confidence: Option<Share>,
    /// The point that was followed, x and y.
    pub anchor: Option<[Share; 2]>,
    /// Where it was.
    pub bbox: Option<DetectionBox>,
    /// Where it went: 0 is right, 90 down. Kept to hundredths of a degree.
    pub direction_deg: Option<f64>,
    /// How fast, in picture widths per second. Kept to millionths, up to 2147.
    pub speed: Option<f64>,
    /// Why, where the track alone is not the reason; 1 to 64 characters.
    pub reason: Option<String>,
    /// What made it known; `None`: time did.
    pub source: Option<ZoneSource>,
    /// Whether its picture is kept, under a name that follows from the id.
    pub has_evidence: bool,
    /// When it was known.
    pub created_at: WallTime,
}

/// A zone event that is to be appended.
#[derive(Clone, Debug, PartialEq)]
pub struct NewZoneEvent {
    /// What happened.
    pub zone_event: ZoneEvent,
    /// What the feed is told of it; the two share a number. `None`: nothing.
    pub event: Option<NewEvent>,
}

/// A stored zone event.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredZoneEvent {
    /// Its place in commit order, among events and batches.
    pub seq: i64,
    /// Id of its event in the feed; `None`: it has none, or that is gone.
    pub event_id: Option<String>,
    /// The frame of its batch, with its namespace; `None`: there is none, or the batch is gone.
    pub frame_id: Option<String>,
    /// Whether its batch came under a ticket; `None`: it has none, or that is gone.
    pub ticketed: Option<bool>,
    /// What was appended.
    pub zone_event: ZoneEvent,
}

/// In which order zone events come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZoneEventOrder {
    /// The newest first.
    #[default]
    NewestFirst,
    /// The oldest first.
    OldestFirst,
}

/// Which zone events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneEventFilter {
    /// Of this camera.
    pub camera: Option<CameraId>,
    /// That happened in this time; the instant `to` is not inside: whoever includes it asks for a microsecond more.
    pub range: TimeRange,
    /// In this zone.
    pub zone: Option<PublicId>,
    /// Of exactly this type.
    pub event_type: Option<String>,
    /// Of exactly this type of task.
    pub task_type: Option<String>,
    /// Of exactly this track.
    pub track_id: Option<String>,
    /// Of exactly this label.
    pub label: Option<String>,
    /// In which order.
    pub order: ZoneEventOrder,
}

/// Where the next page of zone events begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneEventCursor {
    /// Time of the last row seen.
    pub timestamp_us: i64,
    /// Its place in commit order.
    pub seq: i64,
}

/// What zone events are counted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneBucketFilter {
    /// Of this camera.
    pub camera: CameraId,
    /// That happened in this time.
    pub window: Interval,
    /// Length of a bucket; they begin on multiples of it since the epoch.
    pub bucket: Micros,
    /// In this zone.
    pub zone: Option<PublicId>,
    /// Of exactly this label.
    pub label: Option<String>,
}

/// Counts of zone events by bucket, zone and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneBuckets {
    /// Everything from here on is counted: the start of the window, or later when it holds more than is counted at a time.
    pub from: WallTime,
    /// Buckets in which something happened, by start, zone and type.
    pub buckets: Vec<ZoneBucket>,
}

impl ZoneBuckets {
    /// Zone events of a camera that are counted at a time, whatever is left out of them by zone and label.
    pub const COUNTED: u32 = 250_000;
}

/// Events of a type in a zone within one bucket of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneBucket {
    /// Where.
    pub zone: PublicId,
    /// How it is called, or was when it was there.
    pub zone_name: String,
    /// What.
    pub event_type: String,
    /// Where the bucket begins; may be before the window.
    pub start: WallTime,
    /// How many, at least 1.
    pub count: i64,
    /// How many different tracks; tracks of different types of task are different.
    pub unique_tracks: i64,
    /// Of exits: how long visits took on average.
    pub average_dwell: Option<Micros>,
    /// Of exits: the longest visit.
    pub longest_dwell: Option<Micros>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_round_trip(time in any::<i64>(), bits in any::<u64>()) {
            let id = ZoneEventId { timestamp: WallTime(time), bits };
            prop_assert_eq!(ZoneEventId::parse(&id.public().to_string()), Some(id));
        }
    }

    #[test]
    fn other_ids_are_refused() {
        let hex = "0".repeat(32);
        for text in [format!("det_{hex}"), format!("zev_{hex}0"), format!("zev_{}", "F".repeat(32))] {
            assert_eq!(ZoneEventId::parse(&text), None, "{text}");
        }
    }
}
