//! Pictures of zone events: the very frame that was analysed, kept as a file (perception.md 13.5).
//!
//! Owns: where the frame is found, and that the store tells of a file only when there is one. Never waits for an event, nor lets
//! an event wait.

use std::sync::Arc;

use heldar_base::{CameraId, Micros, Scope, StreamId, StreamKind};
use heldar_decode::wire::{Format, Output};
use heldar_perception::TaskId;
use heldar_perception::ring::Frame;
use heldar_perception::ticket::captured_ms;
use heldar_store::op::SetZoneEvidence;
use heldar_store::{ZoneEventFilter, ZoneEventId};
use tokio::sync::mpsc;

use super::tell::evidence_name;
use crate::apps::DetectionBatch;
use crate::kernel::Kernel;

/// Pictures that may wait to be made; what comes then has none.
const WAITING: usize = 1024;
/// Zone events that are looked at at the start.
const OWED: u32 = 500;
/// Width at most of a picture from the recording.
const WIDTH: u16 = 1280;
/// Quality of the same.
const QUALITY: u8 = 85;

/// A picture that is to be kept.
pub(super) struct Wanted {
    pub(super) id: ZoneEventId,
    pub(super) camera: CameraId,
    /// The frame; none: it is not held any more, and the recording has it.
    pub(super) frame: Option<Arc<Frame>>,
}

/// Pictures on their way to files.
pub(super) struct Evidence {
    queue: mpsc::Sender<Wanted>,
    inbox: tokio::sync::Mutex<mpsc::Receiver<Wanted>>,
}

impl Default for Evidence {
    fn default() -> Self {
        let (queue, inbox) = mpsc::channel(WAITING);
        Evidence { queue, inbox: tokio::sync::Mutex::new(inbox) }
    }
}

impl Evidence {
    /// Keeps a picture, soon.
    pub(super) fn want(&self, wanted: Wanted) {
        if let Err(error) = self.queue.try_send(wanted) {
            tracing::warn!(%error, "a zone event has no picture: too many wait");
        }
    }
}

/// The frame that a batch is about, if it is held still.
pub(super) fn pinned(kernel: &Kernel, batch: &DetectionBatch) -> Option<Arc<Frame>> {
    let known = kernel.perception.task(TaskId::new(batch.task_id?.bits()))?;
    let unit = kernel.perception.sampler.unit(&batch.camera_id, known.task.spec.profile)?;
    let ring = unit.ring();
    let exact = ring.captured_in(captured_ms(batch.timestamp)).cloned();
    let period = Micros((1e6 / known.task.spec.fps.max(0.01)) as i64);
    exact.or_else(|| ring.nearest(batch.timestamp, period).cloned())
}

/// Makes files of pictures until the server stops; those first that the last process owes.
pub(crate) async fn keep(kernel: Arc<Kernel>) {
    let mut inbox = kernel.zones.evidence.inbox.lock().await;
    for owed in owed(&kernel).await {
        settle(&kernel, owed, true).await;
    }
    while let Some(wanted) = inbox.recv().await {
        let is_told = wanted.frame.is_some();
        settle(&kernel, wanted, is_told).await;
    }
}

/// Makes a picture; `is_told`: the row says that there is one.
async fn settle(kernel: &Kernel, wanted: Wanted, is_told: bool) {
    let id = wanted.id;
    let kept = keep_one(kernel, wanted).await;
    if let Err(why) = &kept {
        tracing::debug!(event = %id.public(), why, "a zone event has no picture");
    }
    if kept.is_ok() == is_told {
        return;
    }
    let set = SetZoneEvidence { id, has_evidence: kept.is_ok() };
    if let Err(error) = kernel.store.write(set).await {
        tracing::debug!(event = %id.public(), %error, "whether there is a picture is not noted");
    }
}

/// The newest zone events of which a picture was promised and there is no file: the last process ended in between.
async fn owed(kernel: &Kernel) -> Vec<Wanted> {
    let which = ZoneEventFilter::default();
    let page = match kernel.store.zone_events(&Scope::All, &which, None, OWED).await {
        Ok(page) => page,
        Err(error) => {
            tracing::debug!(%error, "whether pictures of zone events are missing is not known");
            return Vec::new();
        }
    };
    let promised = page.rows.into_iter().map(|row| row.zone_event).filter(|event| event.has_evidence);
    let wanted: Vec<Wanted> =
        promised.map(|event| Wanted { id: event.id, camera: event.camera, frame: None }).collect();
    let folder = kernel.snapshots.folder.clone();
    let missing = tokio::task::spawn_blocking(move || {
        let is_missing = |one: &Wanted| folder.open_evidence(&evidence_name(one.id)).is_err();
        wanted.into_iter().filter(is_missing).collect()
    });
    missing.await.unwrap_or_default()
}

async fn keep_one(kernel: &Kernel, wanted: Wanted) -> Result<(), String> {
    let Wanted { id, camera, frame } = wanted;
    let jpeg = match frame.as_ref().and_then(|frame| frame.widest()) {
        Some(rendition) => rendition.jpeg.clone(),
        None => {
            let output = Output { format: Format::Jpeg(QUALITY), width: WIDTH, crop: None };
            let mut last = String::new();
            let mut found = None;
            for kind in [StreamKind::Main, StreamKind::Sub] {
                let stream = StreamId::new(camera.clone(), kind);
                match Box::pin(kernel.recorded_shot(&Scope::All, &stream, id.timestamp, output)).await {
                    Ok(shot) => {
                        found = Some(shot.image.data.into());
                        break;
                    }
                    Err(error) => last = error.to_string(),
                }
            }
            found.ok_or(last)?
        }
    };
    let folder = kernel.snapshots.folder.clone();
    let write = move || folder.write_evidence(&evidence_name(id), &jpeg);
    let written = tokio::task::spawn_blocking(write).await;
    written.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}
