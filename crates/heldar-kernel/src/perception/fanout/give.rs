//! Some batches of one camera for one consumer, one after the other, each with its commit.
//!
//! Owns: one attempt and what follows from it: committed with its effects, to be tried again, parked. A store that is busy
//! or lost is waited out and counts as no attempt. Never: order between cameras.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use heldar_base::{CameraId, Clock as _, Scope, WallTime};
use heldar_store::op::{AdvanceCursor, AppendEvents, FailDeadLetter, ParkBatch, RemoveDeadLetter, WriteOp};
use heldar_store::{Batch, ErrorKind, NewEvent, Severity, StoreError};
use serde_json::json;

use super::{Held, Runner, lock};
use crate::apps::{Collected, ConsumeError, DetectionBatch, Tx};
use crate::engine::journal::uuid;
use crate::kernel::Kernel;

/// Longest time of one attempt.
const ATTEMPT: Duration = Duration::from_secs(30);
/// Rest before a store that is busy or lost is asked again; doubled up to the second.
const STORE_REST: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A batch on its way to a consumer.
#[derive(Debug)]
pub(super) struct Parcel {
    /// Its number, if it is stored.
    pub(super) seq: Option<i64>,
    /// The batch; none: it is read when its turn comes.
    pub(super) batch: Option<Held>,
    /// Whether it is a dead letter that is tried again.
    pub(super) is_letter: bool,
    /// Attempts that failed, and when the first one did.
    pub(super) failed: Option<(u32, WallTime)>,
}

/// What became of the batches of one camera.
#[derive(Debug)]
pub(super) struct Returned {
    /// The camera.
    pub(super) camera: CameraId,
    /// What is left, in order.
    pub(super) left: VecDeque<Parcel>,
    /// How often the first of them has failed, if it has just now.
    pub(super) failed: Option<u32>,
}

/// What became of an attempt.
enum Attempt {
    /// Nothing more is to be done for the batch.
    Done,
    /// It failed.
    Failed { why: String, is_final: bool },
}

/// Gives batches of a camera to a consumer until one fails.
pub(super) async fn give(
    kernel: Arc<Kernel>,
    runner: Arc<Runner>,
    camera: CameraId,
    mut parcels: VecDeque<Parcel>,
) -> Returned {
    while let Some(mut parcel) = parcels.pop_front() {
        let one = One { kernel: &kernel, runner: &runner, camera: &camera };
        if let Some(attempts) = one.give(&mut parcel).await {
            parcels.push_front(parcel);
            return Returned { camera, left: parcels, failed: Some(attempts) };
        }
    }
    Returned { camera, left: parcels, failed: None }
}

/// Whether a failure is of the store's state rather than of what was asked of it.
fn is_passing(error: &StoreError) -> bool {
    matches!(error.kind(), ErrorKind::Busy | ErrorKind::Unavailable)
}

struct One<'a> {
    kernel: &'a Arc<Kernel>,
    runner: &'a Arc<Runner>,
    camera: &'a CameraId,
}

impl One<'_> {
    /// Gives one batch; tells how often it has failed if it is to be tried again.
    async fn give(&self, parcel: &mut Parcel) -> Option<u32> {
        let Some(batch) = self.batch(parcel).await else {
            self.gone(parcel).await;
            return None;
        };
        let (why, is_final) = match self.attempt(parcel, &batch).await {
            Attempt::Done => {
                if parcel.failed.is_some() {
                    lock(&self.runner.stand).last_error = None;
                }
                self.finish(parcel);
                return None;
            }
            Attempt::Failed { why, is_final } => (why, is_final),
        };
        let now = self.kernel.clock.wall();
        let (attempts, first) = parcel.failed.map_or((1, now), |(attempts, first)| (attempts + 1, first));
        tracing::warn!(consumer = self.runner.name, camera = %self.camera, seq = parcel.seq, attempts, why,
            "a batch was not taken");
        lock(&self.runner.stand).last_error = Some(why.clone());
        let seq = parcel.seq?;
        if parcel.is_letter {
            self.note(|| {
                let (consumer, error) = (self.runner.name.to_owned(), why.clone());
                vec![FailDeadLetter { consumer, seq, attempts: 1, failed_at: now, error }.into()]
            })
            .await;
            return None;
        }
        if !is_final && attempts < self.kernel.settings.perception.fanout_attempts {
            parcel.failed = Some((attempts, first));
            return Some(attempts);
        }
        self.note(|| self.park(seq, attempts, first, now, &why)).await;
        self.finish(parcel);
        None
    }

    /// A dead letter was not open: only a batch that comes for the first time is finished.
    fn finish(&self, parcel: &Parcel) {
        if !parcel.is_letter {
            self.runner.finish(parcel.seq);
        }
    }

    /// The batch, read if it is not at hand. None: it is gone.
    async fn batch(&self, parcel: &mut Parcel) -> Option<Arc<DetectionBatch>> {
        if let (None, Some(seq)) = (&parcel.batch, parcel.seq) {
            let found = patiently(|| self.kernel.store.batch(&Scope::All, seq)).await;
            match found {
                Ok(found) => {
                    parcel.batch =
                        found.map(|row| Held::new(Arc::new(DetectionBatch::stored(row)), &self.runner.held))
                }
                Err(error) => {
                    tracing::error!(%error, seq, "a batch cannot be read; it is passed over");
                }
            }
        }
        parcel.batch.as_ref().map(|held| held.batch.clone())
    }

    /// The rows of a batch went before its turn came.
    async fn gone(&self, parcel: &Parcel) {
        if let (true, Some(seq)) = (parcel.is_letter, parcel.seq) {
            let now = self.kernel.clock.wall();
            let error = "the rows of the batch are gone".to_owned();
            let consumer = self.runner.name.to_owned();
            let failed = FailDeadLetter { consumer, seq, attempts: 0, failed_at: now, error };
            self.note(|| vec![failed.clone().into()]).await;
        }
        self.finish(parcel);
    }

    async fn attempt(&self, parcel: &Parcel, batch: &DetectionBatch) -> Attempt {
        let mut tx = Tx::new(self.kernel.clock.wall(), self.kernel.store.clone());
        let consumed = AssertUnwindSafe(self.runner.consumer.consume(batch, &mut tx)).catch_unwind();
        let failed = |why: &str| Attempt::Failed { why: why.to_owned(), is_final: false };
        match tokio::time::timeout(ATTEMPT, consumed).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(ConsumeError::Retry(why)))) => return failed(&why),
            Ok(Ok(Err(ConsumeError::Park(why)))) => return Attempt::Failed { why, is_final: true },
            Ok(Err(_panic)) => return failed("the consumer panicked"),
            Err(_elapsed) => return failed("the consumer did not end within 30 s"),
        }
        self.commit(parcel, tx.into_collected()).await
    }

    /// Commits the effects of a batch together with the news that it is finished.
    async fn commit(&self, parcel: &Parcel, collected: Collected) -> Attempt {
        // Without effects it may come again after a crash; the cursor is stored with the next ones.
        if collected.is_empty() && !parcel.is_letter {
            return Attempt::Done;
        }
        let consumer = || self.runner.name.to_owned();
        let ops = || {
            let mark = parcel.seq.map(|seq| match parcel.is_letter {
                true => RemoveDeadLetter { consumer: consumer(), seq }.into(),
                false => self.advance(seq).into(),
            });
            mark.into_iter().chain(collected.ops(self.runner.name)).collect()
        };
        match self.write(ops).await {
            Ok(()) => Attempt::Done,
            // It was finished before: the answer to an earlier write was lost.
            Err(error) if error.kind() == ErrorKind::Conflict && !parcel.is_letter => Attempt::Done,
            Err(error) if error.kind() == ErrorKind::NotFound && parcel.is_letter => Attempt::Done,
            Err(error) => Attempt::Failed { why: error.to_string(), is_final: false },
        }
    }

    fn advance(&self, seq: i64) -> AdvanceCursor {
        let (consumer, now) = (self.runner.name.to_owned(), self.kernel.clock.wall());
        AdvanceCursor { consumer, seq, low_seq: self.runner.low_without(seq), now }
    }

    fn park(&self, seq: i64, attempts: u32, first: WallTime, now: WallTime, why: &str) -> Vec<WriteOp> {
        let park = ParkBatch {
            advance: self.advance(seq),
            attempts,
            first_failed_at: first,
            last_failed_at: now,
            error: why.to_owned(),
        };
        let event = NewEvent {
            id: uuid(),
            camera: Some(self.camera.clone()),
            event_type: "consumer_parked".to_owned(),
            severity: Severity::Warning,
            timestamp: now,
            created_at: now,
            payload: json!({
                "consumer": self.runner.name,
                "batch_id": Batch::public(seq).to_string(),
                "seq": seq,
                "attempts": attempts,
                "error": why,
            }),
        };
        vec![park.into(), AppendEvents { events: vec![event] }.into()]
    }

    /// Writes what became of a batch that was not taken.
    async fn note(&self, ops: impl Fn() -> Vec<WriteOp>) {
        if let Err(error) = self.write(ops).await {
            tracing::warn!(consumer = self.runner.name, %error, "what became of a batch is not noted");
        }
    }

    /// Writes all or nothing, however long the store is away.
    async fn write(&self, ops: impl Fn() -> Vec<WriteOp>) -> Result<(), StoreError> {
        patiently(|| self.kernel.store.write_all(ops())).await.map(|_outcomes| ())
    }
}

/// Asks the store until it is neither busy nor lost.
async fn patiently<T, F: Future<Output = Result<T, StoreError>>>(
    mut ask: impl FnMut() -> F,
) -> Result<T, StoreError> {
    let mut rest = STORE_REST.0;
    loop {
        match ask().await {
            Err(error) if is_passing(&error) => {
                tokio::time::sleep(rest).await;
                rest = (rest * 2).min(STORE_REST.1);
            }
            answer => return answer,
        }
    }
}
