//! Files that a crash left without a row, and rows that it left without a camera.
//!
//! Owns: the rule that a file nobody stores at the moment and that no row names is garbage. Never: removes what is unknown,
//! such as while the store does not answer.

use std::collections::HashSet;

use heldar_base::{CameraId, Micros, Scope, WallTime};
use heldar_store::{PAGE_LIMIT, SnapshotFile, StoreError, TimeRange};

use super::Snapshots;
use super::folder::remove_file;
use crate::kernel::Kernel;

/// Removes them. Answers with how many files went.
pub(super) async fn remove(kernel: &Kernel) -> u64 {
    let folder = kernel.snapshots.folder.clone();
    let cameras = match tokio::task::spawn_blocking(move || folder.cameras()).await {
        Ok(Ok(cameras)) => cameras,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the snapshots folder cannot be listed");
            return 0;
        }
        Err(_) => return 0,
    };
    let mut removed = 0;
    for camera in cameras {
        match of_camera(kernel, &camera).await {
            Ok(count) => removed += count,
            Err(error) => {
                tracing::warn!(%camera, %error, "stray files of snapshots stay until the next start");
            }
        }
    }
    if removed > 0 {
        tracing::info!(removed, "files of snapshots without a row were removed");
    }
    removed
}

async fn of_camera(kernel: &Kernel, camera: &CameraId) -> Result<u64, StoreError> {
    let (folder, id) = (kernel.snapshots.folder.clone(), camera.clone());
    let listed = match tokio::task::spawn_blocking(move || folder.list(&id)).await {
        Ok(Ok(listed)) => listed,
        Ok(Err(error)) => {
            tracing::warn!(%camera, %error, "the snapshots of a camera cannot be listed");
            return Ok(0);
        }
        Err(_) => return Ok(0),
    };
    let known = known(kernel, camera).await?;
    let mut strays = Vec::new();
    for at in listed.whole.into_iter().filter(|at| !known.contains(at)) {
        // Nobody stores it, and so its row is there by now or never will be.
        if !kernel.snapshots.claims.holds(camera, at) && of_millisecond(kernel, camera, at).await?.is_none() {
            strays.push(SnapshotFile { camera: camera.clone(), taken_at: at });
        }
    }
    let unfinished: Vec<_> =
        listed.unfinished.into_iter().filter(|(at, _)| !kernel.snapshots.claims.holds(camera, *at)).collect();
    let count = (strays.len() + unfinished.len()) as u64;
    if count > 0 {
        unfinished.iter().for_each(|(_, path)| remove_file(path));
        kernel.snapshots.folder.remove(strays).await;
    }
    let (folder, id) = (kernel.snapshots.folder.clone(), camera.clone());
    let emptied = tokio::task::spawn_blocking(move || folder.remove_if_empty(&id));
    if emptied.await.is_err() {
        tracing::debug!(%camera, "an empty folder may stay");
    }
    Ok(count)
}

/// Milliseconds of which there are rows.
async fn known(kernel: &Kernel, camera: &CameraId) -> Result<HashSet<WallTime>, StoreError> {
    let (mut known, mut after) = (HashSet::new(), None);
    loop {
        let all = TimeRange::default();
        let page = kernel.store.snapshots(&Scope::All, camera, all, after, PAGE_LIMIT).await?;
        known.extend(page.rows.iter().map(|row| Snapshots::millisecond(row.taken_at)));
        after = page.next;
        if after.is_none() {
            return Ok(known);
        }
    }
}

/// The snapshot of a millisecond.
pub(super) async fn of_millisecond(
    kernel: &Kernel,
    camera: &CameraId,
    at: WallTime,
) -> Result<Option<heldar_store::Snapshot>, StoreError> {
    let from = Snapshots::millisecond(at);
    let range = TimeRange { from: Some(from), to: Some(from + Micros(999)) };
    let page = kernel.store.snapshots(&Scope::All, camera, range, None, 1).await?;
    Ok(page.rows.into_iter().next())
}
