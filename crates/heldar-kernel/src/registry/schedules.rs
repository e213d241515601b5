//! Record schedules: made, changed, deleted (media.md 14.2).

use std::sync::Arc;

use heldar_base::{CameraId, Clock as _, PublicId, Scope};
use heldar_store::op::{CreateRecordSchedule, DeleteRecordSchedule, UpdateRecordSchedule};
use heldar_store::{Attached, AuditEntry, ErrorKind, RecordSchedule, RecordScheduleFields, StoreError};
use serde_json::json;

use super::author::{Author, Target};
use super::cameras::tell_engine;
use super::error::RegistryError;
use super::to_its_end;
use crate::engine::journal::random_bits;
use crate::kernel::Kernel;

/// Makes a record schedule.
///
/// # Errors
/// No such camera in use, the store.
pub async fn create_schedule(
    kernel: &Arc<Kernel>,
    author: Author,
    camera: CameraId,
    fields: RecordScheduleFields,
) -> Result<RecordSchedule, RegistryError> {
    let kernel = kernel.clone();
    to_its_end(async move {
        let _turn = kernel.registry.turn.lock().await;
        let id = PublicId::new(RecordSchedule::PREFIX, random_bits());
        let audit = audit(&kernel, &author, "create_record_schedule", (id, &camera), &fields);
        let op = CreateRecordSchedule { id, camera: camera.clone(), fields, now: kernel.clock.wall() };
        let made = kernel.store.manage(op, audit).await.map_err(refused)?;
        take_effect(&kernel, &camera).await?;
        Ok(made.value)
    })
    .await
}

/// Changes a record schedule. What says nothing new writes nothing.
///
/// # Errors
/// It was changed or deleted meanwhile, the store.
pub async fn change_schedule(
    kernel: &Arc<Kernel>,
    author: Author,
    before: RecordSchedule,
    fields: RecordScheduleFields,
) -> Result<RecordSchedule, RegistryError> {
    let kernel = kernel.clone();
    to_its_end(async move {
        if fields == before.fields {
            return Ok(before);
        }
        let _turn = kernel.registry.turn.lock().await;
        let RecordSchedule { id, camera, revision, .. } = before;
        let audit = audit(&kernel, &author, "update_record_schedule", (id, &camera), &fields);
        let op = UpdateRecordSchedule { id, fields, revision, now: kernel.clock.wall() };
        let changed = kernel.store.manage(op, audit).await.map_err(refused)?;
        take_effect(&kernel, &camera).await?;
        Ok(changed.value)
    })
    .await
}

/// Deletes a record schedule.
///
/// # Errors
/// It was deleted meanwhile, the store.
pub async fn delete_schedule(
    kernel: &Arc<Kernel>,
    author: Author,
    before: RecordSchedule,
) -> Result<(), RegistryError> {
    let kernel = kernel.clone();
    to_its_end(async move {
        let _turn = kernel.registry.turn.lock().await;
        let (id, camera) = (before.id, before.camera);
        let audit = audit(&kernel, &author, "delete_record_schedule", (id, &camera), &before.fields);
        kernel.store.manage(DeleteRecordSchedule { id }, audit).await.map_err(refused)?;
        take_effect(&kernel, &camera).await
    })
    .await
}

/// The schedules of a camera hold from now on as they are stored.
async fn take_effect(kernel: &Arc<Kernel>, camera: &CameraId) -> Result<(), RegistryError> {
    let stored = kernel.store.camera(&Scope::All, camera).await?;
    if let Some(camera) = stored.filter(|camera| camera.removed_at.is_none()) {
        tell_engine(kernel, &camera).await;
    }
    Ok(())
}

/// A minute of the day as it is written.
pub(crate) fn time_of_day(minute: u32) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

fn audit(
    kernel: &Kernel,
    author: &Author,
    action: &str,
    (id, camera): (PublicId, &CameraId),
    fields: &RecordScheduleFields,
) -> Attached {
    let detail = json!({
        "camera_id": camera,
        "days": fields.days,
        "time_start": time_of_day(fields.start_minute),
        "time_end": time_of_day(fields.end_minute),
        "enabled": fields.enabled,
    });
    let target = Target { kind: "camera_schedule", id: &id.to_string() };
    let entry: AuditEntry = author.did(kernel.clock.wall(), action, target, detail);
    Attached { audit: Some(entry), events: Vec::new() }
}

fn refused(error: StoreError) -> RegistryError {
    match error.kind() {
        ErrorKind::NotFound => RegistryError::NotFound("record schedule"),
        ErrorKind::Conflict => RegistryError::Changed,
        _ => error.into(),
    }
}
