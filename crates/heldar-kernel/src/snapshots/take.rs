//! One picture: taken, written, listed.
//!
//! Invariants
//! 1. The file is whole and synced before its row is written; a refused row leaves no file.
//! 2. An outcome that is unknown removes nothing: the next start decides.
//! 3. A camera that does not answer holds no slot.

use std::sync::Arc;
use std::time::Duration;

use heldar_base::{Clock as _, Micros, PublicId, Scope, WallTime};
use heldar_decode::wire::{Format, Output};
use heldar_store::op::{InsertSnapshot, NoteSnapshotFired};
use heldar_store::{
    Attached, Camera, ErrorKind, Severity, Snapshot, SnapshotFile, SnapshotSchedule, StoreError,
};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::folder::Claim;
use super::orphans::of_millisecond;
use crate::engine::journal::{new_event, random_bits};
use crate::kernel::Kernel;
use crate::live::NotWatchable;
use crate::stills::{FIRST_PICTURE, LiveStillError, SLOT_WAIT, Shot, ShotError};

/// Quality of the JPEGs that are stored.
const QUALITY: u8 = 90;
/// Time that is left of an interval for decoding and writing.
const SPARE: Duration = Duration::from_millis(500);

/// What became of a picture that was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was tried for.
    Tried,
    /// The camera is switched off.
    Off,
    /// The schedule or its camera is not there any more.
    Gone,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error(transparent)]
    Live(#[from] LiveStillError),
    #[error("the picture cannot be written")]
    File(#[source] std::io::Error),
    #[error("the picture cannot be stored")]
    Store(#[from] StoreError),
}

impl From<ShotError> for TakeError {
    fn from(error: ShotError) -> Self {
        TakeError::Live(error.into())
    }
}

impl TakeError {
    /// For people: one line without secrets.
    fn detail(&self) -> String {
        match self {
            TakeError::Live(LiveStillError::NotWatchable(NotWatchable::NoStreamUrl)) => {
                "the camera has no stream address".to_owned()
            }
            TakeError::Live(error @ LiveStillError::Camera(Some(why))) => format!("{error} ({why})"),
            TakeError::File(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                "too little free disk space".to_owned()
            }
            // Its text names no path.
            TakeError::File(error) => format!("{self} ({})", error.kind()),
            error => error.to_string(),
        }
    }
}

/// Takes a picture that is due, and notes what became of it.
pub(super) async fn fire(kernel: Arc<Kernel>, id: PublicId, at: WallTime) -> Outcome {
    match try_fire(&kernel, id, at).await {
        Ok(outcome) => outcome,
        Err(error) if error.kind() == ErrorKind::NotFound => Outcome::Gone,
        Err(error) => {
            tracing::warn!(schedule = %id, %error, "what became of a snapshot was not noted");
            Outcome::Tried
        }
    }
}

async fn try_fire(kernel: &Kernel, id: PublicId, at: WallTime) -> Result<Outcome, StoreError> {
    let Some((schedule, camera)) = find(kernel, id).await? else { return Ok(Outcome::Gone) };
    if !camera.fields.enabled {
        return Ok(Outcome::Off);
    }
    let error = match take(kernel, &schedule, &camera, at).await {
        Ok(()) => return Ok(Outcome::Tried),
        Err(TakeError::Store(error)) if error.kind() == ErrorKind::NotFound => return Ok(Outcome::Gone),
        Err(error) => error,
    };
    // Whoever switched the camera off meanwhile is not told that it gives no pictures.
    let Some((schedule, camera)) = find(kernel, id).await? else { return Ok(Outcome::Gone) };
    if !camera.fields.enabled {
        return Ok(Outcome::Off);
    }
    let detail = error.detail();
    tracing::debug!(camera = %camera.id, schedule = %id, detail, "no snapshot");
    let mut events = Vec::new();
    if schedule.last_error.is_none() {
        let payload = json!({ "schedule_id": id, "detail": detail });
        let now = kernel.clock.wall();
        events.push(new_event(Some(camera.id), "snapshot_failed", Severity::Warning, now, payload));
    }
    let note = NoteSnapshotFired { id, at, error: Some(detail) };
    kernel.store.manage(note, Attached { audit: None, events }).await?;
    Ok(Outcome::Tried)
}

/// A schedule that runs, and its camera in use.
async fn find(kernel: &Kernel, id: PublicId) -> Result<Option<(SnapshotSchedule, Camera)>, StoreError> {
    let schedule = kernel.store.snapshot_schedule(&Scope::All, id).await?;
    let Some(schedule) = schedule.filter(|schedule| schedule.fields.enabled) else { return Ok(None) };
    let camera = kernel.store.camera(&Scope::All, &schedule.camera).await?;
    Ok(camera.filter(|camera| camera.removed_at.is_none()).map(|camera| (schedule, camera)))
}

async fn take(
    kernel: &Kernel,
    schedule: &SnapshotSchedule,
    camera: &Camera,
    at: WallTime,
) -> Result<(), TakeError> {
    let interval = Micros::from_secs(i64::from(schedule.fields.interval_seconds)).to_std();
    let deadline = Instant::now() + FIRST_PICTURE.min(interval.saturating_sub(SPARE));
    // The recorded stream where it runs, so that pictures are those of the recording.
    let recorded = camera.fields.record_stream;
    let view = kernel.view(camera, Some(recorded)).ok();
    let runs = view.is_some_and(|view| view.feed.bus().tracks().borrow().flows);
    let followed = kernel.first_picture(camera, runs.then_some(recorded), deadline).await?;
    // Many that are due at once stand in line here, so that others who need a slot stand behind few of them.
    let turn = timeout(interval.max(SLOT_WAIT), kernel.snapshots.turns.acquire()).await;
    let _turn = turn.ok().and_then(Result::ok).ok_or(ShotError::NoSlot)?;
    let _slot = kernel.media_slot().await?;
    let output = Output { format: Format::Jpeg(QUALITY), width: 0, crop: None };
    let shot = kernel.newest_picture(followed, output).await?;
    store(kernel, schedule, camera, shot, at).await
}

async fn store(
    kernel: &Kernel,
    schedule: &SnapshotSchedule,
    camera: &Camera,
    shot: Shot,
    at: WallTime,
) -> Result<(), TakeError> {
    let taken_at = shot.captured_at;
    let claim = kernel.snapshots.claims.claim(&camera.id, taken_at).await;
    let note = NoteSnapshotFired { id: schedule.id, at, error: None };
    if of_millisecond(kernel, &camera.id, taken_at).await?.is_some() {
        // Of another schedule, or the camera has shown nothing else since.
        return Ok(kernel.store.write(note).await?);
    }
    let size_bytes = i64::try_from(shot.image.data.len()).unwrap_or(i64::MAX);
    let claim = write(kernel, camera, claim, shot).await?;
    let snapshot = Snapshot {
        id: PublicId::new(Snapshot::PREFIX, random_bits()),
        camera: camera.id.clone(),
        schedule: Some(schedule.id),
        taken_at,
        size_bytes,
        created_at: kernel.clock.wall(),
    };
    let stored = kernel.store.write_all(vec![InsertSnapshot { snapshot }.into(), note.into()]).await;
    if let Err(error) = stored {
        if error.kind() == ErrorKind::NotFound {
            let file = SnapshotFile { camera: camera.id.clone(), taken_at };
            kernel.snapshots.folder.remove(vec![file]).await;
        }
        return Err(error.into());
    }
    drop(claim);
    Ok(())
}

/// Writes the file. The claim goes along: a write whose caller was ended still has it.
async fn write(kernel: &Kernel, camera: &Camera, claim: Claim, shot: Shot) -> Result<Claim, TakeError> {
    let (folder, id) = (kernel.snapshots.folder.clone(), camera.id.clone());
    let written = tokio::task::spawn_blocking(move || {
        folder.write(&id, shot.captured_at, &shot.image.data).map(|()| claim)
    });
    let interrupted = |_| Err(std::io::ErrorKind::Interrupted.into());
    written.await.unwrap_or_else(interrupted).map_err(TakeError::File)
}
