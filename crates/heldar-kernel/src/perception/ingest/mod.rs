//! Results of workers: checked in memory, stored in one commit, acknowledged after it (perception.md 8).
//!
//! Owns: what is remembered of recent batches and of who sent them, the room that batches on their way may take, the
//! commit and its answer. Never: what of a body is acceptable, which `heldar_perception::batch` decides; HTTP.
//!
//! Invariants
//! 1. A batch that is acknowledged as stored is committed; nothing of one that is refused takes effect.
//! 2. What is on its way to the store takes at most [`ROOM`] bytes of bodies, whoever waits for the answer.

mod accept;
mod activity;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heldar_base::{CameraId, Clock as _, MonoTime, Principal, PublicId, Scope, SiteId, WallTime};
use heldar_config::{Settings, Tier};
use heldar_ingest::SystemClock;
use heldar_perception::batch::{
    self, BatchBody, EmptyBatch, EmptyRows, EventSeverity, Lateness, TaskKey, frame_key,
};
use heldar_perception::leases::Holder;
use heldar_perception::ticket::TicketFault;
use heldar_perception::{LeaseId, Refused, TaskId};
use heldar_store::op::StoreBatch;
use heldar_store::{
    AiTask, Batch, BatchStored, DetectionBox, ErrorKind, NewBatch, NewDetection, NewEvent, Producer,
    Severity, Share, Store, StoreError,
};
use heldar_zones::Detection;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::Perception;
use super::leases::PATIENCE;
use crate::apps::DetectionBatch;
use crate::engine::journal::{random_bits, uuid};
use crate::kernel::Kernel;
use crate::zones::masks::Seen;
use accept::Accepted;
use activity::{Activity, Notices};

/// Bytes of bodies on their way to the store.
const ROOM: u32 = 64 << 20;
/// What the smallest body counts for, so that the number of batches on their way is bounded too.
const LEAST_BYTES: u32 = 16 << 10;
/// Batches that are looked at for what came last before the start.
const LOOKED_AT: u32 = 10_000;

/// Why a batch is not taken.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// Too much is on its way already.
    #[error("too many results at once")]
    Busy,
    /// It was not stored in time, and may still be.
    #[error("not stored in time")]
    Slow,
    /// Results must carry the ticket of their frame.
    #[error("frame_ticket_required: results must carry the ticket of their frame")]
    TicketRequired,
    /// The ticket does not hold.
    #[error(transparent)]
    Ticket(#[from] TicketFault),
    /// The caller holds no live lease on the ticket's task.
    #[error("no live lease on the task of this frame_ticket")]
    NoLease,
    /// The ticket's task or its camera is switched off or gone.
    #[error("the task of this frame_ticket is not enabled")]
    NotEnabled,
    /// The camera is outside the caller's scope.
    #[error("outside the camera scope of these credentials")]
    OutOfScope,
    /// Camera or type are not those of the ticket.
    #[error("camera_id and task_type must be those of the frame_ticket, or empty")]
    Disagrees,
    /// A field that is not acceptable.
    #[error("{0}")]
    Refused(Refused),
    /// No such camera in use.
    #[error("no such camera")]
    UnknownCamera,
    /// The task that is named is missing, or not of this camera and type.
    #[error(transparent)]
    TaskMismatch(#[from] batch::TaskMismatch),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// The call broke off: a defect on our side.
    #[error("the call broke off")]
    Broken,
}

impl IngestError {
    /// Whether the batch was refused; otherwise the server could not take it now.
    fn is_refusal(&self) -> bool {
        !matches!(self, Self::Busy | Self::Slow | Self::Store(_) | Self::Broken)
    }
}

impl From<StoreError> for IngestError {
    fn from(error: StoreError) -> Self {
        if error.kind() == ErrorKind::NotFound { Self::UnknownCamera } else { Self::Store(error) }
    }
}

/// A batch that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingested {
    /// Whether camera, type, frame and time are those of a ticket.
    pub ticketed: bool,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a batch that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Stored {
        /// How many detections.
        detections: usize,
        /// Its number.
        seq: i64,
        /// Id of its event.
        event_id: Option<String>,
    },
    /// This part of the frame was stored before.
    Duplicate {
        /// Number of the one that is stored.
        seq: i64,
        /// Id of the event that is stored for it.
        event_id: Option<String>,
    },
    /// It says "nothing seen" once more: noted, not stored.
    Heartbeat,
}

impl Outcome {
    /// Its name as a label.
    const fn as_str(&self) -> &'static str {
        match self {
            Outcome::Stored { .. } => "stored",
            Outcome::Duplicate { .. } => "duplicate",
            Outcome::Heartbeat => "heartbeat",
        }
    }
}

/// Room for a body, taken before it is read and given back once its batch is committed or refused.
#[derive(Debug)]
pub struct Room {
    _permit: OwnedSemaphorePermit,
}

/// What is remembered of results.
pub(super) struct Intake {
    room: Arc<Semaphore>,
    lateness: Mutex<Lateness>,
    empty_rows: Mutex<EmptyRows>,
    activity: Mutex<Activity>,
    unleased: Mutex<Notices>,
    forged: Mutex<Notices>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Intake {
    /// With what the store tells of the batches before the start.
    pub(super) async fn open(settings: &Settings, store: &Store) -> Result<Self, StoreError> {
        let now = SystemClock::new().wall();
        let mut lateness = Lateness::default();
        for newest in store.newest_frames(&Scope::All, LOOKED_AT).await? {
            let task = match newest.task {
                Some(task) => TaskKey::Task(TaskId::new(task.bits())),
                None => TaskKey::Type(newest.task_type.into()),
            };
            lateness.observe(&newest.camera, &task, newest.captured_at, now);
        }
        Ok(Intake {
            room: Arc::new(Semaphore::new(ROOM as usize)),
            lateness: Mutex::new(lateness),
            empty_rows: Mutex::new(EmptyRows::new(settings.perception.empty_row_secs)),
            activity: Mutex::default(),
            unleased: Mutex::default(),
            forged: Mutex::default(),
        })
    }

    /// Batches that a worker sent in the last minute, and when the last one came.
    pub(super) fn activity(&self, worker: &Holder, now: MonoTime) -> (u32, Option<WallTime>) {
        lock(&self.activity).of(worker, now)
    }

    /// A batch of a worker was taken.
    fn note(&self, accepted: &Accepted, now: WallTime, mono: MonoTime) {
        if let Some((worker, _)) = &accepted.holder {
            let holder = Holder { credential: accepted.credential.as_str().into(), worker: worker.clone() };
            lock(&self.activity).note(holder, now, mono);
        }
    }
}

impl Perception {
    /// Room for a body of so many bytes.
    ///
    /// # Errors
    /// [`IngestError::Busy`].
    pub fn room(&self, bytes: u32) -> Result<Room, IngestError> {
        let permits = bytes.clamp(LEAST_BYTES, ROOM);
        let permit = self.intake.room.clone().try_acquire_many_owned(permits);
        permit.map(|permit| Room { _permit: permit }).map_err(|_none| IngestError::Busy)
    }
}

impl Kernel {
    /// Takes the results for one frame and answers once they are stored.
    ///
    /// # Errors
    /// [`IngestError`]; the checks of a ticket come first, in the order of perception.md 8.4.
    pub async fn ingest(
        self: &Arc<Self>,
        caller: &Principal,
        body: BatchBody,
        room: Room,
    ) -> Result<Ingested, IngestError> {
        let begun = self.clock.mono();
        let meters = &self.perception.meters;
        let said = body.task_type.clone();
        let result = self.take_in(caller, body, room).await;
        let result_label = match &result {
            Ok(taken) => taken.outcome.as_str(),
            Err(error) if error.is_refusal() => "refused",
            Err(_) => "failed",
        };
        meters.ingested(self.type_label(&said), result_label);
        if let Ok(Ingested { outcome: Outcome::Stored { .. }, .. }) = &result {
            meters.latency.observe((self.clock.mono() - begun).as_secs_f64());
        }
        result
    }

    async fn take_in(
        self: &Arc<Self>,
        caller: &Principal,
        body: BatchBody,
        room: Room,
    ) -> Result<Ingested, IngestError> {
        let deadline = Instant::now() + PATIENCE;
        let now = self.clock.wall();
        let accepted = timeout_at(deadline, self.accept(caller, body, now)).await;
        let mut accepted = accepted.map_err(|_elapsed| IngestError::Slow)??;
        self.tell(&accepted);
        self.mask(&mut accepted, now);
        let (ticketed, intake) = (accepted.ticketed, &self.perception.intake);
        let (camera, task) = (&accepted.camera, &accepted.task);
        let late = lock(&intake.lateness).observe(camera, task, accepted.batch.captured_at, now);
        if accepted.batch.is_empty()
            && lock(&intake.empty_rows).decide(camera, task, now) == EmptyBatch::Merge
        {
            intake.note(&accepted, now, self.clock.mono());
            if self.perception.fanout.has_consumers() {
                let site = self.store.camera(&Scope::All, &accepted.camera);
                // A store that does not answer costs the name of the site and no heartbeat.
                let site = site.await.ok().flatten().and_then(|camera| camera.fields.site_id);
                self.perception.fanout.offer(heartbeat(accepted, late, site, now));
            }
            return Ok(Ingested { ticketed, outcome: Outcome::Heartbeat });
        }
        let kernel = self.clone();
        // On a task of its own: the batch has its room until it is committed, also when nobody waits any more.
        let commit = tokio::spawn(async move {
            let outcome = kernel.commit(accepted, late, now).await;
            drop(room);
            outcome
        });
        match timeout_at(deadline, commit).await {
            Ok(Ok(outcome)) => Ok(Ingested { ticketed, outcome: outcome? }),
            Ok(Err(_broken)) => Err(IngestError::Broken),
            Err(_elapsed) => Err(IngestError::Slow),
        }
    }

    /// Stores a batch, and remembers that it did.
    async fn commit(
        &self,
        mut accepted: Accepted,
        late: bool,
        now: WallTime,
    ) -> Result<Outcome, IngestError> {
        let (is_empty, detections) = (accepted.batch.is_empty(), accepted.batch.detections.len());
        let batch = new_batch(&mut accepted, late, now);
        let event_id = batch.event.as_ref().map(|event| event.id.clone());
        let (task_type, captured_at) = (batch.task_type.clone(), batch.captured_at);
        let meters = &self.perception.meters;
        meters.queue.add(1.0);
        let written = self.store.write(StoreBatch { batch }).await;
        meters.queue.add(-1.0);
        let outcome = match written? {
            BatchStored::Stored { seq, .. } => Outcome::Stored { detections, seq, event_id },
            BatchStored::Duplicate { seq, event_id, .. } => Outcome::Duplicate { seq, event_id },
        };
        let label = self.type_label(&task_type);
        meters.stored(label, &outcome, self.clock.wall() - captured_at);
        let intake = &self.perception.intake;
        if let Outcome::Stored { .. } = outcome {
            self.perception.fanout.committed();
            let mut rows = lock(&intake.empty_rows);
            if is_empty {
                rows.stored_empty(&accepted.camera, &accepted.task, now);
            } else {
                rows.stored_other(&accepted.camera, &accepted.task);
            }
        }
        intake.note(&accepted, now, self.clock.mono());
        Ok(outcome)
    }

    /// Takes out of a batch what masks keep from being stored.
    fn mask(&self, accepted: &mut Accepted, now: WallTime) {
        let Accepted { camera, batch, .. } = accepted;
        let (task_type, captured_at) = (&batch.task_type, batch.captured_at);
        let seen = Seen { camera, task_type, captured_at, now };
        self.zones.masks.apply(&seen, &mut batch.detections, |one| Detection {
            track: one.track_id.as_deref(),
            label: one.label.as_deref(),
            confidence: one.confidence,
            bbox: one.bbox,
            at: one.at,
        });
    }

    /// Tells what is worth it of who sent a batch, once an hour.
    fn tell(&self, accepted: &Accepted) {
        let (credential, mono) = (accepted.credential.as_str(), self.clock.mono());
        let intake = &self.perception.intake;
        if accepted.batch.forged_source && lock(&intake.forged).is_due(credential, mono) {
            tracing::warn!(credential, "detections claim to come from elsewhere; that is not believed");
        }
        let tier = self.settings.access.ingest_provenance;
        if !accepted.ticketed && tier == Tier::Warn && lock(&intake.unleased).is_due(credential, mono) {
            tracing::warn!(credential, "results come without frame tickets");
            let payload = json!({ "credential": credential, "tier": tier.as_str() });
            self.journal.raise(None, "ingest_unleased", Severity::Warning, payload);
        }
    }
}

/// A batch as it is stored; its detections and its event are taken out of `accepted`.
fn new_batch(accepted: &mut Accepted, late: bool, now: WallTime) -> NewBatch {
    let batch = &mut accepted.batch;
    let captured_at = batch.captured_at;
    let detections = std::mem::take(&mut batch.detections).into_iter().map(|detection| NewDetection {
        timestamp: detection.at.unwrap_or(captured_at),
        label: detection.label,
        confidence: detection.confidence.and_then(Share::new),
        bbox: detection.bbox.and_then(DetectionBox::new),
        track_id: detection.track_id,
        attributes: detection.extra,
    });
    NewBatch {
        camera: accepted.camera.clone(),
        task_type: batch.task_type.clone(),
        task: accepted.task.task().map(|task| PublicId::new(AiTask::PREFIX, task.bits())),
        frame_id: batch.frame_id.as_deref().map(frame_key),
        part: batch.part,
        ticketed: accepted.ticketed,
        late,
        producer: producer(accepted.credential.clone(), accepted.holder.as_ref()),
        captured_at,
        created_at: now,
        detections: detections.collect(),
        event: batch.event.take().map(|event| new_event(event, &accepted.camera, captured_at, now)),
    }
}

/// A batch that says "nothing seen" once more, as consumers see it.
fn heartbeat(accepted: Accepted, late: bool, site: Option<SiteId>, now: WallTime) -> DetectionBatch {
    let Accepted { credential, batch, camera, task, holder, ticketed } = accepted;
    DetectionBatch {
        camera_id: camera,
        site_id: site,
        task_type: batch.task_type,
        detections: Vec::new(),
        timestamp: batch.captured_at,
        committed_at: now,
        seq: None,
        batch_id: PublicId::new(Batch::PREFIX, random_bits()),
        frame_id: batch.frame_id.as_deref().map(frame_key),
        part: batch.part,
        task_id: task.task().map(|task| PublicId::new(AiTask::PREFIX, task.bits())),
        ticketed,
        late,
        producer: Some(producer(credential, holder.as_ref())),
    }
}

fn producer(credential: String, holder: Option<&(Arc<str>, LeaseId)>) -> Producer {
    let (worker, lease) = holder.map(|(worker, lease)| (worker.to_string(), lease.to_string())).unzip();
    Producer::Worker { credential, worker, lease }
}

fn new_event(event: batch::Event, camera: &CameraId, captured_at: WallTime, now: WallTime) -> NewEvent {
    NewEvent {
        id: uuid(),
        camera: Some(camera.clone()),
        event_type: event.event_type,
        severity: match event.severity {
            EventSeverity::Info => Severity::Info,
            EventSeverity::Warning => Severity::Warning,
        },
        timestamp: captured_at,
        created_at: now,
        // Written by our own parser, which goes no deeper than this one reads.
        payload: serde_json::from_str(&event.payload).unwrap_or_default(),
    }
}
