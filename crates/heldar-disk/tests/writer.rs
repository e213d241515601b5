//! The segment writer on real and on failing files.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use heldar_base::{CameraId, StreamId, StreamKind, WallTime};
use heldar_disk::{
    Completion, Disk, DiskFile, DiskSpace, Entry, FaultKind, FileAccess, OsDisk, SegmentKey, SegmentWriter,
    WriterConfig,
};

const START: WallTime = WallTime(1_700_000_000_000_000);

fn stream() -> StreamId {
    StreamId::new(CameraId::new("gate").unwrap(), StreamKind::Main)
}

type Events = mpsc::Receiver<Completion<u32>>;

fn start(disk: Arc<dyn Disk>, config: WriterConfig) -> (SegmentWriter<u32>, Events) {
    let (sender, events) = mpsc::channel();
    let writer = SegmentWriter::start(disk, config, move |c| sender.send(c).unwrap_or(())).unwrap();
    (writer, events)
}

fn bytes(text: &'static str) -> Vec<Bytes> {
    vec![Bytes::from_static(text.as_bytes())]
}

fn next(events: &Events) -> Completion<u32> {
    events.recv_timeout(Duration::from_secs(10)).expect("a completion")
}

#[test]
fn a_segment_is_begun_appended_and_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(OsDisk::new(folder.path()).unwrap());
    let (writer, events) = start(disk, WriterConfig::default());
    let key = SegmentKey(1);
    writer.begin(writer.reserve(8).unwrap(), key, stream(), START, bytes("initfrag"), 1);
    let Completion::Begun { name, end: 8, tag: 1, .. } = next(&events) else { panic!() };
    let path = folder.path().join(name.relative_path());
    writer.append(
        writer.reserve(4).unwrap(),
        key,
        vec![Bytes::from_static(b"mo"), Bytes::from_static(b"of")],
        2,
    );
    assert!(matches!(next(&events), Completion::Written { end: 12, tag: 2, .. }));
    writer.seal(key, Bytes::from_static(b"table"), Some((2, Bytes::from_static(b"IT"))), 3);
    loop {
        match next(&events) {
            Completion::Synced { .. } => {}
            Completion::Sealed { end: 17, tag: 3, .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(std::fs::read(path).unwrap(), b"inITfragmooftable");
    assert_eq!(writer.stats().queued_bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn names_are_never_used_twice() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(OsDisk::new(folder.path()).unwrap());
    let (writer, events) = start(disk, WriterConfig::default());
    for n in 1..=3 {
        writer.begin(writer.reserve(1).unwrap(), SegmentKey(n), stream(), START, bytes("x"), 0);
        let Completion::Begun { name, .. } = next(&events) else { panic!() };
        assert_eq!(u64::from(name.number), n);
    }
}

#[test]
fn written_footage_is_synced_within_the_interval() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(OsDisk::new(folder.path()).unwrap());
    let config = WriterConfig { sync_interval: Duration::from_millis(50), ..WriterConfig::default() };
    let (writer, events) = start(disk, config);
    writer.begin(writer.reserve(1).unwrap(), SegmentKey(1), stream(), START, bytes("x"), 0);
    assert!(matches!(next(&events), Completion::Begun { .. }));
    assert!(matches!(next(&events), Completion::Synced { end: 1, .. }));
    writer.append(writer.reserve(1).unwrap(), SegmentKey(1), bytes("y"), 0);
    assert!(matches!(next(&events), Completion::Written { .. }));
    assert!(matches!(next(&events), Completion::Synced { end: 2, .. }));
}

#[test]
fn a_full_queue_refuses_and_an_empty_one_takes_anything() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(OsDisk::new(folder.path()).unwrap());
    let config = WriterConfig { queue_bytes: 10, ..WriterConfig::default() };
    let (writer, _events) = start(disk, config);
    let first = writer.reserve(100).unwrap();
    assert!(writer.reserve(1).is_err());
    drop(first);
    let _second = writer.reserve(6).unwrap();
    let _third = writer.reserve(4).unwrap();
    assert!(writer.reserve(1).is_err());
}

/// Files that take `budget` bytes in all and then have no space.
struct SmallDisk {
    disk: OsDisk,
    budget: Arc<AtomicU64>,
}

struct SmallFile {
    file: Arc<dyn DiskFile>,
    budget: Arc<AtomicU64>,
}

impl DiskFile for SmallFile {
    fn write_all_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let len: u64 = parts.iter().map(|p| p.len() as u64).sum();
        let left = self.budget.load(Ordering::SeqCst);
        if len > left {
            // As a real disk does: a part of it arrives.
            self.file.write_all_at(&mut [IoSlice::new(b"torn")], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.budget.store(left - len, Ordering::SeqCst);
        self.file.write_all_at(parts, offset)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

impl Disk for SmallDisk {
    fn create_new(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SmallFile { file: self.disk.create_new(path)?, budget: self.budget.clone() }))
    }
    fn open(&self, path: &str, access: FileAccess) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path, access)
    }
    fn sync_folder(&self, path: &str) -> io::Result<()> {
        self.disk.sync_folder(path)
    }
    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        self.disk.list(path)
    }
    fn remove_file(&self, path: &str) -> io::Result<()> {
        self.disk.remove_file(path)
    }
    fn remove_empty_folder(&self, path: &str) -> io::Result<bool> {
        self.disk.remove_empty_folder(path)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn space(&self) -> io::Result<DiskSpace> {
        self.disk.space()
    }
    fn probe(&self) -> io::Result<()> {
        self.disk.probe()
    }
}

#[test]
fn a_full_disk_ends_the_file_at_its_last_whole_fragment_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let budget = Arc::new(AtomicU64::new(10));
    let disk = Arc::new(SmallDisk { disk: OsDisk::new(folder.path()).unwrap(), budget: budget.clone() });
    let (writer, events) = start(disk, WriterConfig::default());
    writer.begin(writer.reserve(8).unwrap(), SegmentKey(1), stream(), START, bytes("initfrag"), 0);
    let Completion::Begun { name, .. } = next(&events) else { panic!() };
    writer.append(writer.reserve(8).unwrap(), SegmentKey(1), bytes("too much"), 0);
    let Completion::Failed { end: 8, fault, .. } = next(&events) else { panic!() };
    assert_eq!(fault.kind, FaultKind::NoSpace);
    assert_eq!(std::fs::read(folder.path().join(name.relative_path())).unwrap(), b"initfrag");
    // Nothing more happens to that file, and a file that cannot hold one fragment leaves no trace.
    writer.append(writer.reserve(1).unwrap(), SegmentKey(1), bytes("x"), 0);
    writer.begin(writer.reserve(8).unwrap(), SegmentKey(2), stream(), START, bytes("initfrag"), 0);
    // What was whole is synced once more, on the other thread: only then may its row be sealed.
    let (mut synced, mut failed) = (false, false);
    while !(synced && failed) {
        match next(&events) {
            Completion::Synced { key: SegmentKey(1), end: 8, .. } => synced = true,
            Completion::Failed { key: SegmentKey(2), end: 0, .. } => failed = true,
            other => panic!("{other:?}"),
        }
    }
    budget.store(100, Ordering::SeqCst);
    writer.begin(writer.reserve(8).unwrap(), SegmentKey(3), stream(), START, bytes("initfrag"), 0);
    let Completion::Begun { name, .. } = next(&events) else { panic!() };
    assert_eq!(name.number, 2);
}
