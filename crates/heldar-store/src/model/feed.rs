//! Events and batches under their one sequence of numbers, as a reader that follows the commits gets them.

use super::batch::{Batch, NewDetection};
use super::event::Event;

/// What of batches a reader wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum FeedBatches {
    /// Nothing.
    #[default]
    Leave,
    /// That they came.
    Headers,
    /// Their detections too.
    Full,
}

/// What a reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedWants {
    /// Whether events.
    pub events: bool,
    /// What of batches.
    pub batches: FeedBatches,
}

/// A row of the feed.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedRow {
    /// An event.
    Event(Event),
    /// A batch.
    Batch {
        /// The batch.
        batch: std::sync::Arc<Batch>,
        /// Its detections in their order, where they were wanted. Of a batch that retention is at, the first may be gone.
        detections: Option<Vec<NewDetection>>,
    },
}

impl FeedRow {
    /// Its place in commit order.
    pub fn seq(&self) -> i64 {
        match self {
            FeedRow::Event(event) => event.seq,
            FeedRow::Batch { batch, .. } => batch.seq,
        }
    }
}

/// Rows in commit order.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedPage {
    /// The rows.
    pub rows: Vec<FeedRow>,
    /// There is nothing else up to this number.
    pub reached: i64,
}

/// What age has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedFloors {
    /// The highest number of an event that is gone; 0: none is.
    pub events: i64,
    /// The same of batches.
    pub batches: i64,
}

/// Up to where everything is committed and can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedTo {
    /// No row that comes later has this number or a lower one.
    pub seq: i64,
    /// When that became so.
    pub at: std::time::Instant,
}
