//! Deletes footage, step by step.
//!
//! Owns: the order of the deletion (commit protocol): D1 rows marked, with what the ledger keeps of them, fully synced;
//! D2 files unlinked; D3 rows removed. A crash in between leaves a marked row, whose deletion is finished at the next start
//! or sweep: garbage, never a phantom. Never: decides what goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use heldar_base::{CameraId, Interval, Micros, Scope, SegmentId, StreamId, WallTime};
use heldar_disk::{Disk, Entry, SegmentName};
use heldar_store::op::{MarkDeleting, Markable, RemoveMarked};
use heldar_store::{ErrorKind, Segment, Store, StoreError, WriteOp};
use heldar_timeline::retention::Item;

use super::inventory::Inventory;
use super::leases::Leases;
use super::traces::note_removal;
use crate::engine::recovery::{name_of, sync_if_there};

/// Rows of a page of leftovers.
const PAGE: u32 = 256;

/// Deletes from one store and one folder.
pub(super) struct Executor<'a> {
    pub(super) store: &'a Store,
    pub(super) disk: &'a Arc<dyn Disk>,
    pub(super) leases: &'a Leases,
    pub(super) now: WallTime,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// Segments that are gone from every answer.
    pub(super) segments: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Segments that were to go and stay, or whose file stays.
    pub(super) failed: u64,
}

/// What became of deletions that had been begun.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// Segments that are now gone.
    pub(super) finished: u64,
    /// Cameras of which nothing is left to delete.
    pub(super) cameras: BTreeSet<CameraId>,
    /// Cameras with footage that is still being read or cannot be removed.
    pub(super) unfinished: BTreeSet<CameraId>,
}

impl Executor<'_> {
    /// Deletes segments of a plan. Those that a job has begun to read stay.
    ///
    /// # Errors
    /// The store is busy or lost. What was marked by then is a leftover.
    pub(super) async fn delete(&self, inventory: &Inventory, items: &[Item]) -> Result<Batch, StoreError> {
        let doom = self.leases.doom(items.iter().map(|item| item.segment));
        let granted: Vec<&Item> = items.iter().filter(|item| doom.covers(item.segment)).collect();
        let mut batch = Batch { failed: (items.len() - granted.len()) as u64, ..Batch::default() };
        let marked = self.mark(inventory, &granted).await?;
        drop(doom);
        let mut files = Vec::with_capacity(marked.len());
        for item in granted {
            if marked.contains(&item.segment) {
                batch.segments += 1;
                batch.bytes = batch.bytes.saturating_add(item.bytes);
                files.extend(inventory.file_of(item.camera, item.segment).map(|name| (item.segment, name)));
            } else {
                batch.failed += 1;
            }
        }
        batch.failed += self.unlink_and_remove(files).await?;
        Ok(batch)
    }

    /// D1. Answers with what was marked; nothing when a camera went away meanwhile.
    async fn mark(&self, inventory: &Inventory, items: &[&Item]) -> Result<BTreeSet<SegmentId>, StoreError> {
        if items.is_empty() {
            return Ok(BTreeSet::new());
        }
        let mut removed: BTreeMap<&StreamId, Vec<Interval>> = BTreeMap::new();
        for item in items {
            if let Some(stream) = inventory.ledger_stream(item.camera, item.segment) {
                removed.entry(stream).or_default().push(Interval::new(item.segment.start, item.end));
            }
        }
        let mut ops: Vec<WriteOp> = Vec::new();
        for (stream, intervals) in removed {
            ops.extend(note_removal(self.store, stream, &intervals, self.now).await?);
        }
        let ids = items.iter().map(|item| item.segment).collect();
        ops.push(MarkDeleting { ids, which: Markable::Sealed }.into());
        match self.store.write_all(ops).await {
            Ok(mut outcomes) => {
                let marked = outcomes.pop().map(|outcome| outcome.of::<MarkDeleting>()).transpose()?;
                Ok(marked.unwrap_or_default().into_iter().collect())
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => {
                tracing::debug!(%error, "a camera went away while its footage was to be deleted");
                Ok(BTreeSet::new())
            }
            Err(error) => Err(error),
        }
    }

    /// Finishes deletions that were begun: rows marked whose file could not be removed, and everything of deleted cameras.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub(super) async fn finish_leftovers(&self) -> Result<Leftovers, StoreError> {
        let mut left = Leftovers::default();
        let mut after = None;
        loop {
            let page = self.store.deleting_segments(&Scope::All, after, PAGE).await?;
            // Footage of a deleted camera may still be read by a job that began before.
            let doom = self.leases.doom(page.rows.iter().map(|segment| segment.id));
            let (free, read): (Vec<&Segment>, Vec<&Segment>) =
                page.rows.iter().partition(|segment| doom.covers(segment.id));
            let files: Vec<_> = free.iter().map(|segment| (segment.id, name_of(segment))).collect();
            let count = files.len() as u64;
            let failed = self.unlink_and_remove(files).await?;
            left.finished += count - failed;
            left.unfinished.extend(read.iter().map(|segment| segment.stream.camera.clone()));
            let done = if failed == 0 { &mut left.cameras } else { &mut left.unfinished };
            done.extend(free.iter().map(|segment| segment.stream.camera.clone()));
            after = page.next;
            if after.is_none() {
                left.cameras.retain(|camera| !left.unfinished.contains(camera));
                return Ok(left);
            }
        }
    }

    /// D2 and D3. Answers with how many files could not be removed; their rows stay marked.
    async fn unlink_and_remove(&self, files: Vec<(SegmentId, SegmentName)>) -> Result<u64, StoreError> {
        if files.is_empty() {
            return Ok(0);
        }
        let count = files.len() as u64;
        let (disk, now) = (self.disk.clone(), self.now);
        let unlinked = tokio::task::spawn_blocking(move || unlink(&*disk, &files, now)).await;
        let unlinked = unlinked.unwrap_or_default();
        let failed = count - unlinked.len() as u64;
        if failed > 0 {
            tracing::warn!(files = failed, "files of deleted segments cannot be removed now");
        }
        if !unlinked.is_empty() {
            self.store.write(RemoveMarked { ids: unlinked }).await?;
        }
        Ok(failed)
    }

    /// Removes what is left of the folder of a camera that is gone for good: files that were begun while it was being
    /// deleted, and empty folders. False while something is left.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub(super) async fn clear_folder(&self, camera: &CameraId) -> Result<bool, StoreError> {
        if self.store.camera(&Scope::All, camera).await?.is_some() {
            return Ok(true);
        }
        let (disk, camera) = (self.disk.clone(), camera.clone());
        let cleared = tokio::task::spawn_blocking(move || clear_folder(&*disk, &camera)).await;
        Ok(matches!(cleared, Ok(Ok(true))))
    }
}

/// Time that the clock of a stream may lag behind.
const DAY_MARGIN: Micros = Micros::from_secs(300);

/// Removes files for good, and day folders that are empty then and will not be written again. Answers with those that are
/// gone: also after a power cut, which else would bring back a file whose row is gone.
fn unlink(disk: &dyn Disk, files: &[(SegmentId, SegmentName)], now: WallTime) -> Vec<SegmentId> {
    let mut folders: BTreeMap<String, Vec<(SegmentId, WallTime)>> = BTreeMap::new();
    for (id, name) in files {
        match disk.remove_file(&name.relative_path()) {
            Ok(()) => folders.entry(name.folder()).or_default().push((*id, name.second)),
            Err(error) => tracing::debug!(file = name.file_name(), %error, "not removed"),
        }
    }
    let mut gone = Vec::with_capacity(files.len());
    for (folder, removed) in folders {
        // The folder of the day before may have lost its last file when that day was hardly over.
        let camera = folder.split('/').next().unwrap_or_default();
        let day_before = removed
            .first()
            .map(|(_, second)| format!("{camera}/{}", SegmentName::day(*second - Micros::from_hours(24))));
        let over = removed.iter().all(|(_, second)| is_over(*second, now)).then_some(folder.clone());
        for empty in day_before.into_iter().chain(over) {
            if let Err(error) = disk.remove_empty_folder(&empty) {
                tracing::debug!(%error, "an empty folder stays");
            }
        }
        match sync_if_there(disk, &folder) {
            Ok(()) => gone.extend(removed.into_iter().map(|(id, _)| id)),
            Err(error) => tracing::debug!(%error, "a folder cannot be synced"),
        }
    }
    gone
}

/// True when nothing is written any more into the folder of the day of an instant.
fn is_over(of: WallTime, now: WallTime) -> bool {
    let (year, month, day, ..) = of.civil();
    let start = WallTime::from_civil(year, month, day, 0, 0, 0).unwrap_or(of);
    now - start > Micros::from_hours(24) + DAY_MARGIN
}

fn clear_folder(disk: &dyn Disk, camera: &CameraId) -> std::io::Result<bool> {
    for entry in disk.list(camera.as_str())? {
        let Entry::Folder(day) = entry else { continue };
        let folder = format!("{camera}/{day}");
        for entry in disk.list(&folder)? {
            let Entry::File(file) = entry else { continue };
            if SegmentName::parse(camera, &file).is_ok() {
                disk.remove_file(&format!("{folder}/{file}"))?;
            }
        }
        disk.remove_empty_folder(&folder)?;
    }
    disk.remove_empty_folder(camera.as_str())
}
