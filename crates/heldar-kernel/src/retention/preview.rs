//! What a sweep with other settings would remove.
//!
//! The figures come from the planner and the inventory that make the sweep's own plan.

use std::collections::BTreeMap;

use heldar_base::{CameraId, Micros};
use heldar_store::StoreError;
use heldar_timeline::retention::{Camera, Policy, Preview, Purpose, preview};

use super::Retention;
use super::inventory::{Inventory, Keep};
use super::sweep::disk_of;

/// Settings to try.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Limits over all cameras.
    pub policy: Policy,
    /// Retention of cameras, in place of their own.
    pub keep: BTreeMap<CameraId, Keep>,
    /// How far to look ahead.
    pub horizon: Micros,
}

/// A dry run and the cameras that it was made for.
#[derive(Clone, Debug)]
pub struct Dry {
    /// What would happen.
    pub preview: Preview,
    /// The cameras, in the order of the preview, with what was asked for.
    pub cameras: Vec<Camera>,
}

impl Retention {
    /// Works out what a sweep with the settings asked about would remove. Deletes nothing.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub async fn preview(&self, asked: &Asked) -> Result<Dry, StoreError> {
        let _turn = self.dry.lock().await;
        let now = self.now();
        let (store, leases) = (&self.ground.store, &self.leases);
        let present_policy = self.limits().await?.policy();
        let disk = self.space().await.map(disk_of);
        let purpose = Purpose::Preview { horizon: asked.horizon };
        let mut inventory = Inventory::load(store, now).await?;
        let present = inventory
            .plan(store, leases, now, present_policy, disk, Purpose::Preview { horizon: Micros::ZERO })
            .await?;
        for camera in &mut inventory.cameras {
            if let Some(keep) = asked.keep.get(&camera.id) {
                camera.keep = keep.hours;
                camera.quota_bytes = keep.quota_bytes;
            }
        }
        let plan = inventory.plan(store, leases, now, asked.policy, disk, purpose).await?;
        let cameras = inventory.cameras;
        Ok(Dry { preview: preview(plan, &present, &cameras), cameras })
    }
}
