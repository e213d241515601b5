//! The seam for apps that are compiled in: what they are given of what workers see, and what they may do with it.
//!
//! Owns: the types that an app is written against (perception.md 22). An app never holds the writer: what it wants
//! written is collected in a [`Tx`] and applied in one commit with the news that it has taken the batch. Never: which
//! batch is given to whom and when, which the fan-out decides.

mod batch;
pub mod prelude;
mod tx;
mod verticals;

pub(crate) use batch::attributes;
pub use batch::{Attributes, DetectionBatch, Seen};
pub(crate) use tx::Collected;
pub use tx::{AppEvent, Tx};
pub use verticals::{AppContext, Schema, Verticals};

/// What an app says to the database, and what it reads there.
pub use heldar_store::{AppMigration, AppRow, AppScript, AppSql, AppStatement, AppValue};

use futures_util::future::BoxFuture;

/// Why a consumer does not take a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsumeError {
    /// It may later: tried again after 1, 2, 4 .. 60 s, and parked after `HELDAR_FANOUT_MAX_ATTEMPTS`.
    #[error("{0}")]
    Retry(String),
    /// It never will: parked at once.
    #[error("{0}")]
    Park(String),
}

impl From<heldar_store::StoreError> for ConsumeError {
    fn from(error: heldar_store::StoreError) -> Self {
        ConsumeError::Retry(error.to_string())
    }
}

/// Is given every batch of detections that is committed.
///
/// Delivery is at least once and in order for each camera; cameras come side by side. What is put into the [`Tx`] takes
/// effect exactly once, whatever crashes: it is committed with the cursor that [`DetectionConsumer::name`] names. A
/// consumer that has never run begins with the next batch.
pub trait DetectionConsumer: Send + Sync + 'static {
    /// Names the cursor: 1 to 128 characters, never changed.
    fn name(&self) -> &'static str;

    /// Whether batches of a type of task are of interest.
    fn interested_in(&self, _task_type: &str) -> bool {
        true
    }

    /// Takes a batch. Ends within 30 s and leaves long work to tasks of its own. An error, a panic, or a statement that the
    /// database refuses lets the camera's batches wait until this one is taken or parked.
    fn consume<'a>(
        &'a self,
        batch: &'a DetectionBatch,
        tx: &'a mut Tx,
    ) -> BoxFuture<'a, Result<(), ConsumeError>>;
}
