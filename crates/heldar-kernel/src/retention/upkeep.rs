//! What else goes with age: clips, snapshots, and old rows of events, audit and gaps.
//!
//! Owns: the order for a clip (row marked, file unlinked, row removed), that for a snapshot (row removed, file unlinked) and the
//! length of slices. Never: holds up a write
//! for longer than a slice.

use heldar_base::{Micros, PublicId, Scope, WallTime};
use heldar_store::op::{
    MarkClipsDeleting, OldSnapshots, OldZoneEvents, Prunable, Prune, RemoveClips, RemoveSnapshots,
    RemoveZoneEvents, ReturnFreePages,
};
use heldar_store::{CameraQuery, Clip, Store, StoreError};

use crate::clips::ClipFolder;
use crate::snapshots::SnapshotFolder;
use crate::zones::evidence_name;

/// Clips deleted at a time.
const CLIPS: u32 = 100;
/// Snapshots deleted at a time.
const SNAPSHOTS: u32 = 200;
/// Rows of a slice.
const SLICE: u32 = 500;
/// The write rate looks back this long, in whole hours.
const RATE_WINDOW: Micros = Micros::from_hours(26);
/// Slices of free pages given back in one sweep.
const PAGE_SLICES: usize = 64;

/// Deletes clips past their time, and finishes deletions that were begun. Answers with how many are gone.
pub(super) async fn remove_clips(
    store: &Store,
    folder: &ClipFolder,
    now: WallTime,
    keep_all: bool,
) -> Result<u64, StoreError> {
    let begun = store.deleting_clips(&Scope::All, CLIPS).await?;
    let mut gone = unlink(store, folder, begun).await?;
    if keep_all {
        return Ok(gone);
    }
    loop {
        let expired = store.expired_clips(&Scope::All, now, CLIPS).await?;
        if expired.is_empty() {
            break;
        }
        let ids: Vec<PublicId> = expired.iter().map(|clip| clip.id).collect();
        let marked = store.write(MarkClipsDeleting { ids }).await?;
        if marked.is_empty() {
            break;
        }
        gone += unlink(store, folder, marked).await?;
    }
    Ok(gone)
}

async fn unlink(store: &Store, folder: &ClipFolder, clips: Vec<Clip>) -> Result<u64, StoreError> {
    if clips.is_empty() {
        return Ok(0);
    }
    let folder = folder.clone();
    let unlinked = tokio::task::spawn_blocking(move || {
        let mut gone = Vec::with_capacity(clips.len());
        for clip in clips {
            match folder.remove(&clip.filename) {
                Ok(()) => gone.push(clip.id),
                Err(error) => {
                    tracing::warn!(clip = %clip.id, %error, "the file of a clip cannot be removed now")
                }
            }
        }
        gone
    });
    let ids = unlinked.await.unwrap_or_default();
    if ids.is_empty() {
        return Ok(0);
    }
    store.write(RemoveClips { ids }).await
}

/// Removes snapshots, slice by slice. Answers with how many. The file of a row that is gone and that cannot be removed now
/// goes at the next start, as after a crash.
pub(super) async fn remove_snapshots(
    store: &Store,
    folder: &SnapshotFolder,
    which: OldSnapshots,
) -> Result<u64, StoreError> {
    let mut gone = 0;
    loop {
        let files = store.write(RemoveSnapshots { which, limit: SNAPSHOTS }).await?;
        let count = files.len() as u64;
        if count > 0 {
            folder.remove(files).await;
        }
        gone += count;
        if count < u64::from(SNAPSHOTS) {
            return Ok(gone);
        }
        // Whoever waits for the writer comes first.
        tokio::task::yield_now().await;
    }
}

/// Removes zone events with their pictures, slice by slice. Answers with how many. A picture of a row that is gone and that
/// cannot be removed now stays.
pub(super) async fn remove_zone_events(
    store: &Store,
    folder: &SnapshotFolder,
    which: OldZoneEvents,
) -> Result<u64, StoreError> {
    let mut gone = 0;
    loop {
        let removed = store.write(RemoveZoneEvents { which, limit: SLICE }).await?;
        let names: Vec<String> = removed.evidence.into_iter().map(evidence_name).collect();
        if !names.is_empty() {
            folder.remove_evidence(names).await;
        }
        gone += u64::from(removed.rows);
        if removed.rows < SLICE {
            return Ok(gone);
        }
        // Whoever waits for the writer comes first.
        tokio::task::yield_now().await;
    }
}

/// How long rows are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeepRows {
    /// Events, audit, gaps.
    pub(super) history: Micros,
    /// Detections and their batches.
    pub(super) detections: Micros,
    /// Stretches with motion: as long as footage is kept for them.
    pub(super) motion: Micros,
}

/// The longest time for which footage with motion is kept for any camera.
pub(super) async fn longest_for_motion(store: &Store) -> Result<Micros, StoreError> {
    let (mut longest, mut after) = (0, None);
    loop {
        let page = store.cameras(&Scope::All, &CameraQuery::default(), after.as_ref(), 500).await?;
        let hours = page.rows.iter().filter_map(|camera| camera.fields.retention_motion_hours);
        longest = longest.max(hours.max().unwrap_or(0));
        after = page.next;
        if after.is_none() {
            return Ok(Micros::from_hours(i64::from(longest)));
        }
    }
}

/// Removes rows that are past their time, slice by slice. Answers with how many.
pub(super) async fn prune(store: &Store, now: WallTime, keep: KeepRows) -> Result<u64, StoreError> {
    let mut removed = 0;
    let keep_rows = keep.history;
    // What a consumer has not taken stays for twice the time.
    let untaken_before = now - keep.detections - keep.detections;
    for (what, age) in [
        (Prunable::OfDeletedCameras, Micros::ZERO),
        (Prunable::Batches { untaken_before, now }, keep.detections),
        (Prunable::DeadLetters, keep.detections + keep.detections),
        (Prunable::Workers, Micros::from_hours(24)),
        (Prunable::Motion, keep.motion),
        (Prunable::Events, keep_rows),
        (Prunable::Deliveries, keep_rows),
        (Prunable::Audit, keep_rows),
        (Prunable::Gaps, keep_rows),
        (Prunable::Hours, RATE_WINDOW),
        (Prunable::Sessions, Micros::ZERO),
        (Prunable::KnownClients, Micros::ZERO),
        (Prunable::SignInFailures, Micros::from_hours(24)),
    ] {
        loop {
            let count = store.write(Prune { what, before: now - age, limit: SLICE }).await?;
            removed += count;
            if count < u64::from(SLICE) {
                break;
            }
            // Whoever waits for the writer comes first.
            tokio::task::yield_now().await;
        }
    }
    let mut free = store.size().await?.free_bytes;
    for _ in 0..PAGE_SLICES {
        if free == 0 {
            break;
        }
        store.write(ReturnFreePages).await?;
        let left = store.size().await?.free_bytes;
        if left >= free {
            break;
        }
        free = left;
    }
    Ok(removed)
}
