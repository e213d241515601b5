//! Consumers of batches and what they could not take.

use heldar_base::{CameraId, PublicId, WallTime};
use sha2::{Digest as _, Sha256};

use super::batch::halves;
use super::words;

words! {
    /// What a cursor belongs to.
    ConsumerKind {
        /// A part of the server: batches that it has not taken are kept.
        App = "app",
        /// A client that tells how far it is.
        Reader = "reader",
    }
}

/// How far a consumer has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Its name, 1 to 128 characters.
    pub name: String,
    /// What the cursor belongs to.
    pub kind: ConsumerKind,
    /// Every batch up to here is finished.
    pub low_seq: i64,
    /// Batches above that are finished as well.
    pub finished_above: i64,
    /// Batches that it could not take.
    pub parked: i64,
    /// When this last changed.
    pub updated_at: WallTime,
    /// Batches above `low_seq`, finished or not, counted up to [`Consumer::LAG_LIMIT`].
    pub batches_above: i64,
    /// When the oldest of them was stored.
    pub waiting_since: Option<WallTime>,
}

impl Consumer {
    /// How far the lag is counted.
    pub const LAG_LIMIT: i64 = 100_000;
    /// Most batches that may be finished above the low-water mark.
    pub const FINISHED_ABOVE: i64 = 65_536;
}

/// A batch that a consumer could not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Who.
    pub consumer: String,
    /// Number of the batch, whose rows may be gone.
    pub seq: i64,
    /// Its camera.
    pub camera: CameraId,
    /// Its type.
    pub task_type: String,
    /// How often it was tried; 0: it was given up because of its age.
    pub attempts: u32,
    /// The first failure.
    pub first_failed_at: WallTime,
    /// The last one.
    pub last_failed_at: WallTime,
    /// What it was; at most 800 characters.
    pub error: String,
    /// Whether it is to be tried again.
    pub replay: bool,
}

impl DeadLetter {
    /// Prefix of public ids.
    pub const PREFIX: &'static str = "dlq";

    /// The public id: 16 digits of the batch's number, 16 of the SHA-256 of the consumer's name.
    pub fn id(&self) -> PublicId {
        let high = u128::from(self.seq.cast_unsigned());
        PublicId::new(Self::PREFIX, (high << 64) | u128::from(mark(&self.consumer)))
    }

    /// The number of the batch behind a public id; `None` when it is none of this consumer's.
    pub fn parse(consumer: &str, text: &str) -> Option<i64> {
        let (high, low) = halves(PublicId::parse(Self::PREFIX, text).ok()?);
        (low == mark(consumer)).then_some(high.cast_signed())
    }
}

/// The first eight bytes of the SHA-256 of a name.
fn mark(consumer: &str) -> u64 {
    Sha256::digest(consumer.as_bytes()).iter().take(8).fold(0, |mark, byte| (mark << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_are_of_one_consumer() {
        let letter = DeadLetter {
            consumer: "zones".into(),
            seq: 77,
            camera: CameraId::new("a").unwrap(),
            task_type: "motion".into(),
            attempts: 8,
            first_failed_at: WallTime(1),
            last_failed_at: WallTime(2),
            error: "no".into(),
            replay: false,
        };
        let id = letter.id().to_string();
        assert_eq!(DeadLetter::parse("zones", &id), Some(77));
        assert_eq!(DeadLetter::parse("entry", &id), None);
        assert_eq!(DeadLetter::parse("zones", "dlq_1"), None);
    }
}
