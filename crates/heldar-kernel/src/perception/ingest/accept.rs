//! The checks that a batch goes through before it is stored (perception.md 8.3, 8.4).
//!
//! Owns: their order, and what a ticket is believed for. Never: writes. All but one look at memory alone: only of a camera
//! that nothing is watched on the store is asked whether it exists.

use std::sync::Arc;

use heldar_base::{CameraId, Principal, Scope, WallTime};
use heldar_config::Tier;
use heldar_perception::batch::{self, BatchBody, TaskKey, Ticketed, check, task_key};
use heldar_perception::ticket::Ticket;
use heldar_perception::{LeaseId, TaskId};

use super::IngestError;
use crate::kernel::Kernel;
use crate::perception::KnownTask;
use crate::perception::leases::credential_name;

/// A batch that passed every check.
pub(super) struct Accepted {
    /// What the caller goes under.
    pub(super) credential: String,
    /// What it says.
    pub(super) batch: batch::Batch,
    /// Whose picture.
    pub(super) camera: CameraId,
    /// What it counts for.
    pub(super) task: TaskKey,
    /// Name of the worker and its lease on the task, where it has one.
    pub(super) holder: Option<(Arc<str>, LeaseId)>,
    /// Whether camera, type, frame and time are those of a ticket.
    pub(super) ticketed: bool,
}

/// What a ticket and its lease say of a batch.
struct Frame {
    known: Arc<KnownTask>,
    camera: CameraId,
    captured_ms: i64,
    holder: (Arc<str>, LeaseId),
}

impl Frame {
    fn as_ticketed(&self) -> Ticketed<'_> {
        Ticketed {
            task: self.known.task.id,
            task_type: &self.known.task.spec.task_type,
            camera: &self.camera,
            captured_ms: self.captured_ms,
        }
    }
}

impl Kernel {
    /// Checks a batch. The caller's scope comes before everything that could tell whether a camera exists.
    pub(super) async fn accept(
        &self,
        caller: &Principal,
        body: BatchBody,
        now: WallTime,
    ) -> Result<Accepted, IngestError> {
        let credential = credential_name(caller).to_owned();
        if let Some(text) = body.ticket() {
            let frame = self.by_ticket(caller, text, now)?;
            let ticketed = frame.as_ticketed();
            if !body.agrees_with(&ticketed) {
                return Err(IngestError::Disagrees);
            }
            let batch = check(body, now, Some(&ticketed)).map_err(IngestError::Refused)?;
            let task = TaskKey::Task(frame.known.task.id);
            let holder = Some(frame.holder);
            return Ok(Accepted { credential, batch, camera: frame.camera, task, holder, ticketed: true });
        }
        if self.settings.access.ingest_provenance == Tier::Enforce {
            return Err(IngestError::TicketRequired);
        }
        let camera = named(caller, &body.camera_id)?;
        let batch = check(body, now, None).map_err(IngestError::Refused)?;
        if !self.is_in_use(&camera).await? {
            return Err(IngestError::UnknownCamera);
        }
        let task = task_key(&batch, |id| self.is_of_slot(id, &camera, &batch.task_type))?;
        let holder = task.task().and_then(|id| {
            let book = self.perception.book();
            let lease = book.live_lease(id, &credential, now)?;
            Some((lease.holder.worker.clone(), lease.lease_id))
        });
        Ok(Accepted { credential, batch, camera, task, holder, ticketed: false })
    }

    /// Steps 2 to 6 of perception.md 8.4.
    fn by_ticket(&self, caller: &Principal, text: &str, now: WallTime) -> Result<Frame, IngestError> {
        let perception = &self.perception;
        let credential = credential_name(caller);
        let ticket = Ticket::parse(text)?;
        let (camera, holder) = {
            let book = perception.book();
            let lease = book.live_lease(ticket.task, credential, now).ok_or(IngestError::NoLease)?;
            (lease.camera.clone(), (lease.holder.worker.clone(), lease.lease_id))
        };
        ticket.verify(&perception.ticket_keys(), credential, &camera, now)?;
        let known = perception.task(ticket.task).filter(|known| known.task.spec.enabled);
        let known = known.filter(|_| perception.is_active(&camera)).ok_or(IngestError::NotEnabled)?;
        caller.scope.check(&camera).map_err(|_| IngestError::OutOfScope)?;
        Ok(Frame { known, camera, captured_ms: ticket.captured_ms, holder })
    }

    /// Whether a camera is there and not removed, switched on or off.
    async fn is_in_use(&self, camera: &CameraId) -> Result<bool, IngestError> {
        if self.perception.is_active(camera) {
            return Ok(true);
        }
        let found = self.store.camera(&Scope::All, camera).await.map_err(IngestError::Store)?;
        Ok(found.is_some_and(|camera| camera.removed_at.is_none()))
    }

    fn is_of_slot(&self, id: TaskId, camera: &CameraId, task_type: &str) -> bool {
        let known = self.perception.task(id);
        known.is_some_and(|known| known.task.camera == *camera && known.task.spec.task_type == task_type)
    }
}

/// The camera that a body names, inside the caller's scope.
fn named(caller: &Principal, text: &str) -> Result<CameraId, IngestError> {
    match CameraId::new(text) {
        Ok(camera) if caller.scope.covers(&camera) => Ok(camera),
        Err(_) if caller.scope.is_all() => Err(IngestError::UnknownCamera),
        _ => Err(IngestError::OutOfScope),
    }
}
