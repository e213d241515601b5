//! The floor of free space, and disks that do not do as they are told.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use heldar_base::{Interval, Micros, Scope};
use heldar_disk::{Disk, DiskFile, DiskSpace, Entry, FileAccess, SegmentName};
use heldar_http::metrics::Registry;
use heldar_kernel::health::DiskGate;
use heldar_kernel::kernel::Kernel;
use heldar_kernel::retention::leases::{Lease, Leases};
use heldar_kernel::retention::{Ground, Retention, RetentionConfig};
use heldar_store::TimeRange;
use heldar_timeline::retention::{Condition, Reason};
use serde_json::json;

use crate::ground::{ALONE, camera, consistent, events, files, hours, id, left, main_of, minutes, plant};
use crate::support::World;

/// The recordings folder with free space of its own making.
struct Spaced {
    inner: Arc<dyn Disk>,
    total: u64,
    free: AtomicU64,
    /// Removed files give nothing back.
    leaking: AtomicBool,
    /// Files cannot be removed.
    stuck: AtomicBool,
    /// What is asked before a file goes.
    witness: Box<dyn Fn(&str) + Send + Sync>,
}

impl Spaced {
    fn new(kernel: &Kernel, total: u64, free: u64) -> Self {
        Spaced {
            inner: kernel.disk.clone(),
            total,
            free: AtomicU64::new(free),
            leaking: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            witness: Box::new(|_| {}),
        }
    }
}

impl Disk for Spaced {
    fn create_new(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.create_new(path)
    }

    fn open(&self, path: &str, access: FileAccess) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.open(path, access)
    }

    fn sync_folder(&self, path: &str) -> io::Result<()> {
        self.inner.sync_folder(path)
    }

    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        self.inner.list(path)
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        if self.stuck.load(Ordering::SeqCst) {
            return Err(ErrorKind::ReadOnlyFilesystem.into());
        }
        (self.witness)(path);
        let size = self.inner.open(path, FileAccess::Read).and_then(|file| file.len()).unwrap_or(0);
        self.inner.remove_file(path)?;
        if !self.leaking.load(Ordering::SeqCst) {
            self.free.fetch_add(size, Ordering::SeqCst);
        }
        Ok(())
    }

    fn remove_empty_folder(&self, path: &str) -> io::Result<bool> {
        self.inner.remove_empty_folder(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn space(&self) -> io::Result<DiskSpace> {
        Ok(DiskSpace { total: self.total, free: self.free.load(Ordering::SeqCst) })
    }

    fn probe(&self) -> io::Result<()> {
        self.inner.probe()
    }
}

/// Retention of the same store on another disk.
fn retention_on(kernel: &Kernel, disk: Arc<dyn Disk>, floor: u64) -> Retention {
    let mut settings = RetentionConfig::from(&kernel.settings);
    settings.limits.min_free_bytes = floor;
    let ground = Ground {
        store: kernel.store.clone(),
        disk,
        gate: DiskGate::default(),
        journal: kernel.journal.clone(),
        clock: Arc::new(kernel.clock),
        writer: kernel.writer.clone(),
        settings,
    };
    Retention::new(ground, &Registry::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_floor_takes_as_much_as_it_needs() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    camera(kernel, "yard", |_| {}).await;
    let gate = plant(kernel, &main_of("gate"), minutes(90), 40).await;
    let yard = plant(kernel, &main_of("yard"), minutes(70), 40).await;
    let disk = Arc::new(Spaced::new(kernel, 1_000_000, 5_000));
    let report = retention_on(kernel, disk.clone(), 35_500).sweep().await.unwrap();
    assert_eq!(report.deleted.get(Reason::FreeFloor), (31, 31_000));
    assert_eq!(report.conditions, []);
    // Oldest of all first: twenty of one, then in turns.
    assert_eq!(left(kernel, &main_of("gate")).await, gate[26..]);
    assert_eq!(left(kernel, &main_of("yard")).await, yard[5..]);
    consistent(kernel).await;
    let told = events(kernel).await;
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].0.as_str(), told[0].1.as_str()), ("disk_pressure", "critical"));
    assert_eq!((&told[0].2["reason"], &told[0].2["deleted"]), (&json!("free_floor"), &json!(31)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_floor_that_cannot_be_reached_is_told_once() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    let ids = plant(kernel, &main_of("gate"), minutes(90), 60).await;
    let reasons = async || -> Vec<String> {
        let told = events(kernel).await.into_iter();
        told.map(|(kind, _, payload)| format!("{kind} {}", payload["reason"].as_str().unwrap()))
            .rev()
            .collect()
    };

    // Deleting gives nothing back: one batch, and the sweep ends.
    let disk = Arc::new(Spaced::new(kernel, 1_000_000, 5_000));
    disk.leaking.store(true, Ordering::SeqCst);
    let retention = retention_on(kernel, disk.clone(), 900_000);
    let report = retention.sweep().await.unwrap();
    let deleted = report.deleted.get(Reason::FreeFloor).0;
    assert!(deleted > 0 && deleted < 60, "{report:?}");
    let vain = Condition::PruneNotRecoveringSpace { min_free_bytes: 900_000, deleted };
    assert!(report.conditions.contains(&vain), "{report:?}");
    let left_now = left(kernel, &main_of("gate")).await;
    assert_eq!(left_now, ids[usize::try_from(deleted).unwrap()..]);

    // It gives something back again, but all there is does not do.
    disk.leaking.store(false, Ordering::SeqCst);
    let report = retention.sweep().await.unwrap();
    assert_eq!(report.deleted.segments(), 60 - deleted);
    let report = retention.sweep().await.unwrap();
    assert_eq!(report.deleted.segments(), 0);
    disk.free.store(950_000, Ordering::SeqCst);
    retention.sweep().await.unwrap();
    let expect = [
        "disk_pressure prune_not_recovering_space",
        "disk_pressure free_floor",
        "disk_pressure_cleared prune_not_recovering_space",
        "disk_pressure_cleared free_floor",
    ];
    let told = reasons().await;
    let distinct: BTreeSet<&str> = told.iter().map(String::as_str).collect();
    assert_eq!(distinct, expect.into());
    // Once for each sweep that deleted for it, and no more.
    assert_eq!(told.iter().filter(|text| *text == "disk_pressure free_floor").count(), 2, "{told:?}");

    // A floor at the size of the disk deletes nothing.
    plant(kernel, &main_of("gate"), minutes(20), 10).await;
    let disk = Arc::new(Spaced::new(kernel, 1_000_000, 5_000));
    let report = retention_on(kernel, disk, 1_000_000).sweep().await.unwrap();
    assert_eq!((report.deleted.segments(), report.conditions.len()), (0, 1));
    assert_eq!(left(kernel, &main_of("gate")).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_after_its_row_is_marked_and_before_it_is_removed() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    let stream = main_of("gate");
    plant(kernel, &stream, hours(26), 30).await;
    let (store, runtime) = (kernel.store.clone(), tokio::runtime::Handle::current());
    let wrong: Arc<AtomicU64> = Arc::default();
    let (count, seen) = (wrong.clone(), Arc::new(AtomicU64::new(0)));
    let looked = seen.clone();
    let mut disk = Spaced::new(kernel, 1_000_000, 500_000);
    disk.witness = Box::new(move |path| {
        let file = path.rsplit('/').next().unwrap();
        let name = SegmentName::parse(&id("gate"), file).unwrap();
        let (listed, marked) = runtime.block_on(async {
            let range = TimeRange::from(Interval::new(name.second, name.second + Micros(1)));
            let page = store.segments(&Scope::All, &main_of("gate"), range, None, 5).await.unwrap();
            let marked = store.deleting_segments(&Scope::All, None, 1000).await.unwrap();
            let listed = page.rows.iter().any(|row| row.id.start == name.second);
            (listed, marked.rows.iter().any(|row| row.id.start == name.second))
        });
        looked.fetch_add(1, Ordering::SeqCst);
        count.fetch_add(u64::from(listed || !marked), Ordering::SeqCst);
    });
    let report = retention_on(kernel, Arc::new(disk), 0).sweep().await.unwrap();
    assert_eq!(report.deleted.segments(), 30);
    assert_eq!((seen.load(Ordering::SeqCst), wrong.load(Ordering::SeqCst)), (30, 0));
    consistent(kernel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_is_leased_after_the_plan_was_made_stays() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    let ids = plant(kernel, &main_of("gate"), hours(40), 400).await;
    let leases: Arc<OnceLock<Leases>> = Arc::default();
    let held: Arc<Mutex<Option<Lease>>> = Arc::default();
    let (registry, lease, later) = (leases.clone(), held.clone(), ids[390]);
    let mut disk = Spaced::new(kernel, 1_000_000, 500_000);
    // The first file goes: all of the plan is made, and most of it is still to come.
    disk.witness = Box::new(move |_| {
        lease.lock().unwrap().get_or_insert_with(|| registry.get().unwrap().acquire([later]));
    });
    let retention = retention_on(kernel, Arc::new(disk), 0);
    leases.set(retention.leases.clone()).unwrap();
    let report = retention.sweep().await.unwrap();
    assert_eq!((report.deleted.segments(), report.failed), (399, 1));
    assert_eq!(left(kernel, &main_of("gate")).await, [later]);
    consistent(kernel).await;
    held.lock().unwrap().take();
    assert_eq!(retention.sweep().await.unwrap().deleted.segments(), 1);
    consistent(kernel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_removed_goes_with_a_later_sweep() {
    let world = World::start_with(&[ALONE]).await;
    let kernel = &world.kernel;
    camera(kernel, "gate", |_| {}).await;
    plant(kernel, &main_of("gate"), hours(26), 10).await;
    let disk = Arc::new(Spaced::new(kernel, 1_000_000, 500_000));
    disk.stuck.store(true, Ordering::SeqCst);
    let retention = retention_on(kernel, disk.clone(), 0);
    let report = retention.sweep().await.unwrap();
    assert_eq!((report.deleted.segments(), report.failed), (10, 10));
    assert_eq!((left(kernel, &main_of("gate")).await.len(), files(kernel)), (0, 10));
    disk.stuck.store(false, Ordering::SeqCst);
    let report = retention.sweep().await.unwrap();
    assert_eq!((report.deleted.segments(), report.finished, report.failed), (0, 10, 0));
    consistent(kernel).await;
}
