//! Some batches of one camera for one consumer, one after the other.
//!
//! Owns: one attempt and what follows from it: committed with its effects, to be tried again, parked. What several batches
//! in a row lead to is committed together, unless the consumer reads what it has written. A store that is busy or lost is
//! waited out and counts as no attempt. Never: order between cameras.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use heldar_base::{CameraId, Clock as _, Scope, WallTime};
use heldar_store::op::{
    AdvanceCursor, AppendEvents, FailDeadLetter, ParkBatch, RemoveDeadLetter, TriggerRecording, WriteOp,
};
use heldar_store::{Batch, ErrorKind, NewEvent, Severity, StoreError};
use serde_json::json;
use tokio::sync::Notify;

use super::{Held, Runner, lock, patiently};
use crate::apps::{Collected, ConsumeError, DetectionBatch, Tx};
use crate::engine::journal::uuid;
use crate::kernel::Kernel;

/// Longest time of one attempt.
const ATTEMPT: Duration = Duration::from_secs(30);
/// Batches whose effects are committed together at most.
const GROUP: usize = 32;
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
    /// The batch was taken; this is to be written with it.
    Taken(Collected),
    /// It reads what batches before it wrote, which is not committed yet.
    Behind,
    /// It failed.
    Failed { why: String, is_final: bool },
}

/// Gives batches of a camera to a consumer until one fails.
pub(super) async fn give(
    kernel: Arc<Kernel>,
    runner: Arc<Runner>,
    camera: CameraId,
    parcels: VecDeque<Parcel>,
) -> Returned {
    let mut go =
        Go { kernel: &kernel, runner: &runner, camera: &camera, waiting: parcels, taken: Vec::new() };
    let failed = go.run().await;
    let left = go.waiting;
    Returned { camera, left, failed }
}

struct Go<'a> {
    kernel: &'a Arc<Kernel>,
    runner: &'a Arc<Runner>,
    camera: &'a CameraId,
    /// Those that are still to be given.
    waiting: VecDeque<Parcel>,
    /// Those that were taken since the last commit, and what is to be written with each.
    taken: Vec<(Parcel, Collected)>,
}

impl Go<'_> {
    /// Gives what waits; tells how often the first of what is left has failed, if it is to be tried again.
    async fn run(&mut self) -> Option<u32> {
        loop {
            while let Some(mut parcel) = self.waiting.pop_front() {
                let is_alone =
                    parcel.is_letter || parcel.failed.is_some() || self.runner.reads.load(Ordering::Relaxed);
                if self.taken.len() >= GROUP || (is_alone && !self.taken.is_empty()) {
                    self.waiting.push_front(parcel);
                    if let failed @ Some(_) = self.settle().await {
                        return failed;
                    }
                    continue;
                }
                let Some(batch) = self.batch(&mut parcel).await else {
                    self.gone(&parcel).await;
                    continue;
                };
                let is_first = self.taken.is_empty();
                match self.attempt(&batch).await {
                    // Without effects it may come again after a crash; the cursor is stored with the next ones.
                    Attempt::Taken(collected) if collected.is_empty() && !parcel.is_letter => {
                        self.done(&parcel)
                    }
                    Attempt::Taken(collected) => self.taken.push((parcel, collected)),
                    Attempt::Failed { why, is_final } if is_first => {
                        if let failed @ Some(_) = self.failed(&mut parcel, why, is_final).await {
                            self.waiting.push_front(parcel);
                            return failed;
                        }
                    }
                    // Once more, when those before it are committed.
                    attempt => {
                        let reads = matches!(attempt, Attempt::Behind);
                        self.runner.reads.fetch_or(reads, Ordering::Relaxed);
                        self.waiting.push_front(parcel);
                        if let failed @ Some(_) = self.settle().await {
                            return failed;
                        }
                    }
                }
            }
            let failed = self.settle().await;
            if failed.is_some() || self.waiting.is_empty() {
                return failed;
            }
        }
    }

    /// Commits what was taken: all of it together, or, where that is refused, one batch after the other up to the first that
    /// fails. Those behind that one are given anew.
    async fn settle(&mut self) -> Option<u32> {
        let taken = std::mem::take(&mut self.taken);
        if taken.len() > 1 && self.write_taken(&taken).await.is_ok() {
            taken.iter().for_each(|(parcel, _)| self.done(parcel));
            return None;
        }
        let mut taken = taken.into_iter();
        while let Some(one) = taken.next() {
            let Err(error) = self.commit(&one).await else {
                self.done(&one.0);
                continue;
            };
            let mut parcel = one.0;
            let failed = self.failed(&mut parcel, error.to_string(), false).await;
            for (behind, _) in taken.rev() {
                self.waiting.push_front(behind);
            }
            if failed.is_some() {
                self.waiting.push_front(parcel);
            }
            return failed;
        }
        None
    }

    /// An attempt failed; tells how often, if the batch is to be tried again.
    async fn failed(&self, parcel: &mut Parcel, why: String, is_final: bool) -> Option<u32> {
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

    /// Nothing more is to be done for a batch.
    fn done(&self, parcel: &Parcel) {
        if parcel.failed.is_some() {
            lock(&self.runner.stand).last_error = None;
        }
        self.finish(parcel);
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

    async fn attempt(&self, batch: &DetectionBatch) -> Attempt {
        let behind = (!self.taken.is_empty()).then(|| Arc::new(Notify::new()));
        let mut tx = Tx::new(self.kernel.clock.wall(), self.kernel.store.clone(), behind.clone());
        let consumed = AssertUnwindSafe(self.runner.consumer.consume(batch, &mut tx)).catch_unwind();
        let asked = async {
            match &behind {
                Some(behind) => behind.notified().await,
                None => std::future::pending().await,
            }
        };
        let failed = |why: &str| Attempt::Failed { why: why.to_owned(), is_final: false };
        let consumed = tokio::select! {
            biased;
            () = asked => return Attempt::Behind,
            consumed = tokio::time::timeout(ATTEMPT, consumed) => consumed,
        };
        match consumed {
            Ok(Ok(Ok(()))) => Attempt::Taken(tx.into_collected()),
            Ok(Ok(Err(ConsumeError::Retry(why)))) => failed(&why),
            Ok(Ok(Err(ConsumeError::Park(why)))) => Attempt::Failed { why, is_final: true },
            Ok(Err(_panic)) => failed("the consumer panicked"),
            Err(_elapsed) => failed("the consumer did not end within 30 s"),
        }
    }

    /// Commits the effects of one batch together with the news that it is finished.
    async fn commit(&self, one: &(Parcel, Collected)) -> Result<(), StoreError> {
        let done = match one.0.is_letter {
            // It was finished before: the answer to an earlier write was lost.
            false => ErrorKind::Conflict,
            true => ErrorKind::NotFound,
        };
        match self.write_taken(std::slice::from_ref(one)).await {
            Err(error) if error.kind() != done => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Writes what batches that were taken have led to, and starts the recordings among that.
    async fn write_taken(&self, taken: &[(Parcel, Collected)]) -> Result<(), StoreError> {
        let wishes = taken.iter().flat_map(|(_, collected)| collected.triggers());
        let triggers: Vec<TriggerRecording> =
            wishes.filter_map(|(camera, reason)| self.kernel.app_trigger(camera, reason)).collect();
        let ops = || {
            let mut ops = self.ops(taken);
            ops.extend(triggers.iter().cloned().map(WriteOp::from));
            ops
        };
        let mut outcomes = patiently(|| self.kernel.store.write_all(ops())).await?;
        for outcome in outcomes.split_off(outcomes.len().saturating_sub(triggers.len())) {
            self.kernel.triggered_by(Some(outcome))?;
        }
        Ok(())
    }

    /// What is to be written for batches that were taken, in their order.
    fn ops(&self, taken: &[(Parcel, Collected)]) -> Vec<WriteOp> {
        let mut seqs = Vec::with_capacity(taken.len());
        let mut ops = Vec::with_capacity(taken.len() * 3);
        for (parcel, collected) in taken {
            if let Some(seq) = parcel.seq {
                let consumer = self.runner.name.to_owned();
                ops.push(match parcel.is_letter {
                    true => RemoveDeadLetter { consumer, seq }.into(),
                    false => {
                        seqs.push(seq);
                        self.advance(seq, &seqs).into()
                    }
                });
            }
            ops.extend(collected.ops(self.runner.name));
        }
        ops
    }

    /// A batch is finished, and so are all of `finished`.
    fn advance(&self, seq: i64, finished: &[i64]) -> AdvanceCursor {
        let (consumer, now) = (self.runner.name.to_owned(), self.kernel.clock.wall());
        AdvanceCursor { consumer, seq, low_seq: self.runner.low_without(finished), now }
    }

    fn park(&self, seq: i64, attempts: u32, first: WallTime, now: WallTime, why: &str) -> Vec<WriteOp> {
        let park = ParkBatch {
            advance: self.advance(seq, &[seq]),
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
