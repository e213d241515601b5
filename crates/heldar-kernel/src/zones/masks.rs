//! Masks whose detections are never stored (perception.md 12.3, `drop`).
//!
//! Owns: the masks of all cameras, known from the first batch on and before whoever changes a zone is answered. Never: waits for
//! the engine, which learns of zones in its own time.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use heldar_base::{CameraId, Scope, WallTime};
use heldar_http::metrics::{Counter, Registry};
use heldar_store::{Store, StoreError};
use heldar_zones::{Batch, Detection, Masks};

use super::tell;

/// What is seen on a camera in one picture.
pub(crate) struct Seen<'a> {
    pub(crate) camera: &'a CameraId,
    pub(crate) task_type: &'a str,
    pub(crate) captured_at: WallTime,
    pub(crate) now: WallTime,
}

/// The masks of all cameras that have any.
pub(crate) struct AllMasks {
    by_camera: RwLock<HashMap<CameraId, Arc<Masks>>>,
    dropped: Arc<Counter>,
}

impl AllMasks {
    /// None yet.
    pub(super) fn new(registry: &Registry) -> Self {
        let help = "Detections that were not stored because a mask drops them.";
        let dropped = registry.counter("heldar_zone_dropped_detections_total", help);
        AllMasks { by_camera: RwLock::default(), dropped }
    }

    /// The masks among the zones of a camera take effect.
    pub(super) fn set(&self, camera: &CameraId, rows: &[heldar_store::Zone]) {
        // A zone that cannot be read is told where the engine takes it.
        let masks = Masks::of(rows.iter().filter_map(|row| tell::of_row(row).ok()));
        let mut all = self.by_camera.write().unwrap_or_else(PoisonError::into_inner);
        if masks.is_empty() {
            all.remove(camera);
        } else {
            all.insert(camera.clone(), Arc::new(masks));
        }
    }

    /// Reads those of a camera.
    pub(super) async fn read(&self, store: &Store, camera: &CameraId) -> Result<(), StoreError> {
        let rows = store.camera_zones(&Scope::All, camera).await?;
        self.set(camera, &rows);
        Ok(())
    }

    /// Takes out of what was seen what must not be stored.
    pub(crate) fn apply<T>(
        &self,
        seen: &Seen<'_>,
        detections: &mut Vec<T>,
        of: impl Fn(&T) -> Detection<'_>,
    ) {
        let masks = {
            let all = self.by_camera.read().unwrap_or_else(PoisonError::into_inner);
            all.get(seen.camera).cloned()
        };
        let Some(masks) = masks else { return };
        let batch = Batch {
            task_type: seen.task_type,
            task: "",
            lease: None,
            period: None,
            captured_at: seen.captured_at,
            late: false,
            detections: &[],
        };
        let before = detections.len();
        detections.retain(|one| !masks.hide(&of(one), &batch, seen.now));
        self.dropped.add((before - detections.len()) as f64);
    }
}
