//! Batches of detections: what a worker saw in one frame.

use heldar_base::{CameraId, Interval, PublicId, SiteId, WallTime};
use serde::{Deserialize, Serialize};

use super::event::NewEvent;
use super::page::TimeRange;

/// A share between 0 and 1, in millionths: exact for six decimals, which is finer than a hundredth of a pixel.
///
/// What is stored equals what was given out, so that whoever sees a batch when it is committed and whoever reads it
/// later decide alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// All of it.
    pub const ONE: Share = Share(1_000_000);

    /// The nearest share; `None` for anything but a number from 0 to 1.
    pub fn new(value: f64) -> Option<Self> {
        // In this range the product is a whole number below 2^32.
        (0.0..=1.0).contains(&value).then(|| Share((value * 1e6).round() as u32))
    }

    /// So many millionths; `None` for more than a million.
    pub fn from_ppm(ppm: u32) -> Option<Self> {
        (ppm <= Self::ONE.0).then_some(Share(ppm))
    }

    /// In millionths.
    pub const fn ppm(self) -> u32 {
        self.0
    }

    /// As a number; prints with at most six decimals.
    pub fn value(self) -> f64 {
        f64::from(self.0) / 1e6
    }
}

/// A box in a picture, in shares of its width and height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetectionBox {
    /// Left edge.
    pub x: Share,
    /// Upper edge.
    pub y: Share,
    /// Width.
    pub w: Share,
    /// Height.
    pub h: Share,
}

impl DetectionBox {
    /// From `[x, y, w, h]`; `None` unless each is from 0 to 1.
    pub fn new([x, y, w, h]: [f64; 4]) -> Option<Self> {
        Some(DetectionBox { x: Share::new(x)?, y: Share::new(y)?, w: Share::new(w)?, h: Share::new(h)? })
    }

    /// As `[x, y, w, h]`.
    pub fn values(self) -> [f64; 4] {
        [self.x, self.y, self.w, self.h].map(Share::value)
    }
}

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDetection {
    /// When; mostly the time of its batch.
    pub timestamp: WallTime,
    /// What it is; at most 256 characters.
    pub label: Option<String>,
    /// How sure the worker is.
    pub confidence: Option<Share>,
    /// Where it is.
    pub bbox: Option<DetectionBox>,
    /// Names the same thing in other frames; at most 256 characters.
    pub track_id: Option<String>,
    /// Text of the JSON object of what the client sent beside, without what says where it comes from; `None`: nothing.
    pub attributes: Option<String>,
}

/// Who made a batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Producer {
    /// A worker.
    Worker {
        /// Id of the API key, or `system`; 1 to 128 characters.
        credential: String,
        /// As the worker calls itself, where it is known; 1 to 256 characters.
        worker: Option<String>,
        /// The lease under which it came, `lse_` and 32 hexadecimal digits; none: it holds no lease on the task.
        lease: Option<String>,
    },
    /// A part of the server, by name; 1 to 64 characters.
    Kernel(String),
}

/// A batch that is to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewBatch {
    /// Whose picture.
    pub camera: CameraId,
    /// What was asked; not empty.
    pub task_type: String,
    /// The task, where one was named, with the prefix [`super::AiTask::PREFIX`].
    pub task: Option<PublicId>,
    /// The frame's id with its namespace (`w:<id>`, `k:<part of the server>:<id>`); `None`: never a duplicate.
    pub frame_id: Option<String>,
    /// Which of the frame's results, 0 to 63.
    pub part: u8,
    /// Whether camera, type, frame and time come from a lease and a ticket.
    pub ticketed: bool,
    /// Whether it is older than what its line had already.
    pub late: bool,
    /// Who made it.
    pub producer: Producer,
    /// When the frame was captured.
    pub captured_at: WallTime,
    /// Now.
    pub created_at: WallTime,
    /// What was seen, at most [`NewBatch::DETECTIONS`].
    pub detections: Vec<NewDetection>,
    /// The event that came with it.
    pub event: Option<NewEvent>,
}

impl NewBatch {
    /// Most detections of a batch.
    pub const DETECTIONS: usize = 1000;
    /// Most parts of a frame.
    pub const PARTS: u8 = 64;
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchStored {
    /// It is new.
    Stored {
        /// Its number.
        seq: i64,
        /// Number of its event.
        event_seq: Option<i64>,
    },
    /// This part of this frame is stored; of this batch nothing was, but perhaps its event.
    Duplicate {
        /// Number of the one that is stored.
        seq: i64,
        /// Id of the event that is stored for it.
        event_id: Option<String>,
        /// Number of the event of this batch when it was stored now: the one before had none.
        event_seq: Option<i64>,
    },
}

/// What is stored of a batch apart from its detections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its number, in commit order.
    pub seq: i64,
    /// Whose picture.
    pub camera: CameraId,
    /// The site that the camera belongs to now.
    pub site: Option<SiteId>,
    /// What was asked.
    pub task_type: String,
    /// The task, where one was named.
    pub task: Option<PublicId>,
    /// The frame's id with its namespace; `None`: it had none.
    pub frame_id: Option<String>,
    /// Which of the frame's results.
    pub part: u8,
    /// Whether camera, type, frame and time come from a lease and a ticket.
    pub ticketed: bool,
    /// Whether it is older than what its line had already.
    pub late: bool,
    /// Who made it; `None`: it is not known any more.
    pub producer: Option<Producer>,
    /// When the frame was captured.
    pub captured_at: WallTime,
    /// When it was stored.
    pub created_at: WallTime,
    /// How many detections it came with.
    pub detection_count: u16,
    /// Number of the event that came with it, which may be gone.
    pub event_seq: Option<i64>,
}

impl Batch {
    /// Prefix of public ids.
    pub const PREFIX: &'static str = "bat";

    /// The public id of the batch of a number: 16 digits of the number, 16 zeros.
    pub fn public(seq: i64) -> PublicId {
        PublicId::new(Self::PREFIX, u128::from(seq.cast_unsigned()) << 64)
    }

    /// Its public id.
    pub fn id(&self) -> PublicId {
        Self::public(self.seq)
    }

    /// The number behind a public id; `None` when it is none of ours.
    pub fn parse(text: &str) -> Option<i64> {
        let (high, low) = halves(PublicId::parse(Self::PREFIX, text).ok()?);
        (low == 0).then_some(high.cast_signed())
    }
}

/// The two halves of the bits of an id.
pub(super) fn halves(id: PublicId) -> (u64, u64) {
    let bits = id.bits();
    // Shifted and cut, each fits.
    ((bits >> 64) as u64, (bits & u128::from(u64::MAX)) as u64)
}

/// Names a detection: its batch and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DetectionId {
    /// Number of the batch.
    pub seq: i64,
    /// Place in the batch, from 0.
    pub position: u16,
}

impl DetectionId {
    /// Prefix of the public form.
    pub const PREFIX: &'static str = "det";
    /// Numbers that each batch takes.
    const STEP: i64 = 1024;
    /// No place: stands for the batch as a whole.
    pub(crate) const NONE: u16 = 1023;

    /// The public form: 16 digits of the batch's number, 16 of the place.
    pub fn public(self) -> PublicId {
        let high = u128::from(self.seq.cast_unsigned());
        PublicId::new(Self::PREFIX, (high << 64) | u128::from(self.position))
    }

    /// Reads back the public form; `None` when it is none of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let (high, low) = halves(PublicId::parse(Self::PREFIX, text).ok()?);
        let position = u16::try_from(low).ok().filter(|position| i64::from(*position) < Self::STEP)?;
        Some(DetectionId { seq: high.cast_signed(), position })
    }

    /// Its key in the store.
    pub fn number(self) -> i64 {
        self.seq.saturating_mul(Self::STEP).saturating_add(i64::from(self.position))
    }

    /// Reads back its key.
    pub(crate) fn from_number(number: i64) -> Self {
        // The remainder is below 1024.
        let position = number.rem_euclid(Self::STEP) as u16;
        DetectionId { seq: number.div_euclid(Self::STEP), position }
    }
}

/// A stored detection.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// Its id.
    pub id: DetectionId,
    /// What was seen.
    pub detection: NewDetection,
    /// Its batch, shared by the detections of one answer.
    pub batch: std::sync::Arc<Batch>,
}

/// Batches with their detections, in commit order.
#[derive(Clone, Debug, PartialEq)]
pub struct FullBatch {
    /// The batch.
    pub batch: Batch,
    /// Its detections in their order. Of a batch that retention is at, part of them may be gone.
    pub detections: Vec<NewDetection>,
}

/// In which order detections come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DetectionOrder {
    /// The newest first.
    #[default]
    NewestFirst,
    /// The oldest first.
    OldestFirst,
}

/// Which detections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DetectionFilter {
    /// Of these cameras; `None`: of all.
    pub cameras: Option<std::collections::BTreeSet<CameraId>>,
    /// Seen in this time; the instant `to` is not inside: whoever includes it asks for a microsecond more.
    pub range: TimeRange,
    /// Of exactly this label.
    pub label: Option<String>,
    /// Of exactly this track.
    pub track_id: Option<String>,
    /// Of exactly this type.
    pub task_type: Option<String>,
    /// Of this task.
    pub task: Option<PublicId>,
    /// Of this frame, with or without `w:`.
    pub frame_id: Option<String>,
    /// At least so sure; those without a confidence are left out.
    pub min_confidence: Option<Share>,
    /// In which order.
    pub order: DetectionOrder,
}

/// Where the next page of detections begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectionCursor {
    /// Time of the last row seen.
    pub timestamp_us: i64,
    /// Its key: number of the batch times 1024 and the place.
    pub number: i64,
}

/// The newest frame of what batches are about, for telling which ones are late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewestFrame {
    /// Whose picture.
    pub camera: CameraId,
    /// What was asked.
    pub task_type: String,
    /// The task, where one was named.
    pub task: Option<PublicId>,
    /// When it was captured.
    pub captured_at: WallTime,
}

/// How many rows of perception there are, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerceptionTotals {
    /// Batches.
    pub batches: i64,
    /// Detections.
    pub detections: i64,
}

/// A stretch of time with motion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MotionSpan {
    /// Where.
    pub camera: CameraId,
    /// When.
    pub span: Interval,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_are_between_zero_and_one() {
        for (value, ppm) in
            [(0.0, Some(0)), (1.0, Some(1_000_000)), (0.123_456_4, Some(123_456)), (-0.0, Some(0))]
        {
            assert_eq!(Share::new(value).map(Share::ppm), ppm, "{value}");
        }
        for value in [-0.000_001, 1.000_001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Share::new(value), None, "{value}");
        }
        assert_eq!(Share::from_ppm(1_000_001), None);
        assert_eq!(serde_json::json!(Share::new(0.1).unwrap().value()).to_string(), "0.1");
    }

    proptest! {
        #[test]
        fn six_decimals_are_kept(ppm in 0u32..=1_000_000) {
            let value: f64 = format!("0.{ppm:06}").parse().unwrap();
            let value = if ppm == 1_000_000 { 1.0 } else { value };
            prop_assert_eq!(Share::new(value).unwrap().value().to_string(), value.to_string());
        }

        #[test]
        fn ids_round_trip(seq in 0i64..1 << 52, position in 0u16..1000) {
            let id = DetectionId { seq, position };
            prop_assert_eq!(DetectionId::parse(&id.public().to_string()), Some(id));
            prop_assert_eq!(DetectionId::from_number(id.number()), id);
            prop_assert_eq!(Batch::parse(&Batch::public(seq).to_string()), Some(seq));
        }

        #[test]
        fn foreign_ids_are_refused(text in "(bat|det)_[0-9a-f]{32}") {
            if let Some(id) = DetectionId::parse(&text) {
                prop_assert_eq!(id.public().to_string(), text.clone());
            }
            if let Some(seq) = Batch::parse(&text) {
                prop_assert_eq!(Batch::public(seq).to_string(), text);
            }
        }
    }
}
