//! One sweep: plan, delete, tell.
//!
//! Owns: what is remembered from sweep to sweep (marks, standing conditions, the believed time) and when a sweep ends.
//! Invariants: a plan is executed in its order; a camera keeps its mark only when all that was planned for it is gone; a
//! round that deletes nothing is the last; deleting for the floor ends where it does not help.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use heldar_base::{CameraId, WallTime};
use heldar_disk::DiskSpace;
use heldar_store::StoreError;
use heldar_store::op::{OldSnapshots, OldZoneEvents};
use heldar_timeline::retention::{
    AgeMark, Condition, Disk, Episodes, FloorProgress, FloorWatch, Item, Kept, Plan, Policy, Purpose, Reason,
};

use super::execute::Executor;
use super::inventory::Inventory;
use super::limits::Limits;
use super::notices::{Deleted, Trigger, Untold, notices};
use super::{Retention, RetentionConfig, upkeep};

/// Items of a plan at most; what is left is planned again.
const ROUND: usize = 4096;
/// Segments deleted in one go.
const BATCH: usize = 128;
/// The same where free space is looked at after each.
const FLOOR_BATCH: usize = 16;
/// Longest rest between two batches; a batch that was quick is followed by a rest as long as itself.
const REST: Duration = Duration::from_millis(100);
/// How long a file system may take to show that files are gone.
const SETTLE: Duration = Duration::from_secs(3);

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// When it began.
    pub at: WallTime,
    /// Footage that is gone.
    pub deleted: Deleted,
    /// Segments that should have gone and are still there, or whose files are.
    pub failed: u64,
    /// Deletions finished that had been begun before.
    pub finished: u64,
    /// Clips that are gone.
    pub clips: u64,
    /// Snapshots that are gone.
    pub snapshots: u64,
    /// Old rows that are gone.
    pub rows: u64,
    /// What stands in the way of a limit.
    pub conditions: Vec<Condition>,
}

impl SweepReport {
    /// True when the floor was not reached and deleting more would not change that.
    pub(super) fn floor_is_stuck(&self) -> bool {
        self.conditions.iter().any(|condition| {
            matches!(
                condition,
                Condition::FloorUnsatisfiable { .. } | Condition::PruneNotRecoveringSpace { .. }
            )
        })
    }
}

/// What is remembered between sweeps.
#[derive(Debug, Default)]
pub(super) struct Memory {
    marks: HashMap<CameraId, AgeMark>,
    episodes: Episodes,
    /// Deleted cameras whose folders may still hold something.
    gone: BTreeSet<CameraId>,
    untold: Untold,
}

/// Free space while deleting for the floor.
struct FloorMeter {
    watch: FloorWatch,
    min_free_bytes: u64,
    /// Bytes that the recorder had written when this began: what it writes meanwhile is no sign that deleting is in vain.
    written: u64,
}

/// How the execution of a plan ended.
struct Executed {
    batch_total: u64,
    /// Cameras with items that are still there.
    behind: BTreeSet<usize>,
    floor: Option<Condition>,
}

impl Retention {
    /// Does one sweep.
    pub(super) async fn sweep_once(
        &self,
        memory: &mut Memory,
        trigger: Trigger,
    ) -> Result<SweepReport, StoreError> {
        let ground = &self.ground;
        let now = self.now();
        let mut report = SweepReport { at: now, ..SweepReport::default() };
        let executor = Executor { store: &ground.store, disk: &ground.disk, leases: &self.leases, now };
        self.finish(&executor, memory, &mut report).await?;
        if trigger == Trigger::Due {
            let keep_clips = ground.settings.clip_age.is_none();
            report.clips =
                upkeep::remove_clips(&ground.store, &ground.settings.clips, now, keep_clips).await?;
        }
        let limits = Limits::load(&ground.store, &ground.settings.limits).await?;
        let kept = self.footage(&executor, memory, &limits.policy(), &mut report).await?;
        self.tell(memory, trigger, &limits.policy(), &kept, &report);
        if trigger == Trigger::Due {
            let RetentionConfig { row_age, detection_age, .. } = ground.settings;
            let motion = upkeep::longest_for_motion(&ground.store).await?.max(row_age);
            let keep = upkeep::KeepRows { history: row_age, detections: detection_age, motion };
            report.rows = upkeep::prune(&ground.store, now, keep).await?;
            let (folder, which) = (&ground.settings.snapshots, OldZoneEvents::Before(now - detection_age));
            report.rows += upkeep::remove_zone_events(&ground.store, folder, which).await?;
            if let Some(age) = ground.settings.snapshot_age {
                let which = OldSnapshots::Before(now - age);
                report.snapshots +=
                    upkeep::remove_snapshots(&ground.store, &ground.settings.snapshots, which).await?;
            }
        }
        Ok(report)
    }

    /// Finishes what was begun, folders of deleted cameras included.
    async fn finish(
        &self,
        executor: &Executor<'_>,
        memory: &mut Memory,
        report: &mut SweepReport,
    ) -> Result<(), StoreError> {
        let (folder, which) = (&self.ground.settings.snapshots, OldSnapshots::OfDeletedCameras);
        report.snapshots += upkeep::remove_snapshots(executor.store, folder, which).await?;
        let which = OldZoneEvents::OfDeletedCameras;
        report.rows += upkeep::remove_zone_events(executor.store, folder, which).await?;
        let left = executor.finish_leftovers().await?;
        report.finished = left.finished;
        memory.gone.extend(left.cameras);
        for camera in std::mem::take(&mut memory.gone) {
            if left.unfinished.contains(&camera) || !executor.clear_folder(&camera).await? {
                memory.gone.insert(camera);
            }
        }
        Ok(())
    }

    /// Plans and deletes until nothing is left to do.
    async fn footage(
        &self,
        executor: &Executor<'_>,
        memory: &mut Memory,
        policy: &Policy,
        report: &mut SweepReport,
    ) -> Result<Kept, StoreError> {
        loop {
            let mut inventory = Inventory::load(executor.store, executor.now).await?;
            inventory.mark(&memory.marks);
            let disk = self.space().await.map(disk_of);
            let purpose = Purpose::Sweep { max_items: ROUND };
            let plan =
                inventory.plan(executor.store, executor.leases, executor.now, *policy, disk, purpose).await?;
            let done = self.execute(executor, &inventory, &plan, policy, report).await?;
            remember(memory, &plan, &done.behind);
            let ended = plan.complete || done.batch_total == 0 || done.floor.is_some();
            if ended {
                report.conditions = plan.conditions.clone();
                report.conditions.extend(done.floor);
                return Ok(plan.kept());
            }
        }
    }

    async fn execute(
        &self,
        executor: &Executor<'_>,
        inventory: &Inventory,
        plan: &Plan,
        policy: &Policy,
        report: &mut SweepReport,
    ) -> Result<Executed, StoreError> {
        let mut done = Executed { batch_total: 0, behind: BTreeSet::new(), floor: None };
        let mut floor = None;
        let mut rest = plan.items.as_slice();
        while let Some(first) = rest.first() {
            let (items, others) = rest.split_at(batch_length(rest));
            if first.reason == Reason::FreeFloor && floor.is_none() {
                floor = self.floor_meter(policy).await;
            }
            let began = Instant::now();
            let batch = executor.delete(inventory, items).await?;
            report.deleted.add(first.reason, batch.segments, batch.bytes);
            report.failed += batch.failed;
            done.batch_total += batch.segments;
            self.meters.deleted(first.reason, batch.bytes);
            if batch.failed > 0 {
                done.behind.extend(items.iter().map(|item| item.camera));
            }
            rest = others;
            if let Some(meter) = &mut floor {
                let progress = self.floor_progress(meter, batch.bytes).await;
                if progress == FloorProgress::NotRecovering {
                    let deleted = report.deleted.get(Reason::FreeFloor).0;
                    let min_free_bytes = policy.min_free_bytes;
                    done.floor = Some(Condition::PruneNotRecoveringSpace { min_free_bytes, deleted });
                }
                if progress != FloorProgress::Rising {
                    break;
                }
            }
            tokio::time::sleep(began.elapsed().min(REST)).await;
        }
        done.behind.extend(rest.iter().map(|item| item.camera));
        Ok(done)
    }

    async fn floor_meter(&self, policy: &Policy) -> Option<FloorMeter> {
        let free = self.space().await?.free;
        let min_free_bytes = policy.min_free_bytes;
        let written = self.ground.written_bytes();
        Some(FloorMeter { watch: FloorWatch::new(min_free_bytes, free), min_free_bytes, written })
    }

    /// Looks whether deleting for the floor helps; gives the file system a moment to show it.
    async fn floor_progress(&self, meter: &mut FloorMeter, deleted_bytes: u64) -> FloorProgress {
        let deadline = Instant::now() + SETTLE;
        loop {
            let Some(space) = self.space().await else { return FloorProgress::NotRecovering };
            if space.free >= meter.min_free_bytes {
                return FloorProgress::Reached;
            }
            let written = self.ground.written_bytes().saturating_sub(meter.written);
            let mut watch = meter.watch;
            match watch.after_batch(space.free.saturating_add(written), deleted_bytes) {
                FloorProgress::NotRecovering if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                progress => {
                    meter.watch = watch;
                    let rising = progress != FloorProgress::NotRecovering;
                    return if rising { FloorProgress::Rising } else { progress };
                }
            }
        }
    }

    /// Raises the events of a sweep.
    fn tell(
        &self,
        memory: &mut Memory,
        trigger: Trigger,
        policy: &Policy,
        kept: &Kept,
        report: &SweepReport,
    ) {
        let episodes = memory.episodes.update(report.at, &report.conditions);
        let deleted = memory.untold.tell(trigger, &report.deleted);
        for notice in notices(&deleted, kept, policy, &episodes) {
            self.ground.journal.raise(notice.camera, notice.event_type, notice.severity, notice.payload);
        }
    }
}

/// Items of one reason that are deleted in one go.
fn batch_length(items: &[Item]) -> usize {
    let Some(reason) = items.first().map(|item| item.reason) else { return 0 };
    let most = if reason == Reason::FreeFloor { FLOOR_BATCH } else { BATCH };
    items.iter().take(most).take_while(|item| item.reason == reason).count()
}

fn remember(memory: &mut Memory, plan: &Plan, behind: &BTreeSet<usize>) {
    memory.marks.clear();
    for (index, camera) in plan.cameras.iter().enumerate() {
        if let Some(mark) = camera.mark.filter(|_| !behind.contains(&index)) {
            memory.marks.insert(camera.id.clone(), mark);
        }
    }
}

pub(super) fn disk_of(space: DiskSpace) -> Disk {
    Disk { total_bytes: space.total, free_bytes: space.free }
}
