//! A disk that keeps what was synced and what was not apart, and fails as told.
//!
//! Answers as the host's file system does behind [`heldar_disk::OsDisk`]. After [`SimDisk::crash`] every handle from before
//! is dead.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heldar_disk::{Disk, DiskFile, DiskSpace, Entry, FileAccess};

use super::content::{Content, Survival};
use super::dice::Dice;
use super::trace::Trace;
use super::tree::{Node, Tree};

pub use super::content::PAGE;

/// What is wrong with the disk at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Somebody else has used up the space.
    NoSpace,
    /// Writes fail now and then, half done.
    WriteError,
    /// Syncs fail now and then.
    SyncError,
    /// Reads fail now and then.
    ReadError,
    /// It was switched to read-only.
    ReadOnly,
    /// The folder of all recordings is gone.
    Missing,
}

/// How everything ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process was killed: the system keeps all that was written.
    Kill,
    /// The power went: what was not synced survives as it likes.
    Power(Survival),
}

/// What has happened to a disk, so that a test knows that something has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Operations that failed because of a fault.
    pub faults: u64,
    /// Operations that a power cut could have undone when it came.
    pub at_stake: u64,
    /// Reads that returned less than was asked for.
    pub short_reads: u64,
}

type Hook = Box<dyn FnOnce() + Send>;

struct Inner {
    dice: Dice,
    trace: Trace,
    tree: Tree,
    files: BTreeMap<u64, Content>,
    next_file: u64,
    /// Counts crashes; handles of another age are dead.
    age: u64,
    fault: Option<Fault>,
    total: u64,
    /// Operations until everything ends, and what is done at that moment.
    doom: Option<(u64, Hook)>,
    dead: bool,
    counts: DiskCounts,
}

/// A simulated disk. Cheap to clone; all clones are one disk.
#[derive(Clone)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").finish_non_exhaustive()
    }
}

fn failed(kind: ErrorKind, what: &'static str) -> io::Error {
    io::Error::new(kind, what)
}

/// What an operation does to the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Sync,
    Change,
    Ask,
}

impl Inner {
    /// Every operation passes here first.
    fn enter(&mut self, kind: Kind, what: fmt::Arguments<'_>) -> io::Result<()> {
        if self.dead {
            return Err(failed(ErrorKind::BrokenPipe, "the machine is down"));
        }
        match &mut self.doom {
            Some((0, _)) => {
                self.dead = true;
                self.trace.step(format_args!("disk: ends at {what}"));
                if let Some((_, hook)) = self.doom.take() {
                    hook();
                }
                return Err(failed(ErrorKind::BrokenPipe, "the machine is down"));
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
        let outcome = self.fails(kind);
        if outcome.is_err() {
            self.counts.faults += 1;
        }
        let word = if outcome.is_ok() { "" } else { " fails" };
        self.trace.step(format_args!("disk: {what}{word}"));
        outcome
    }

    fn fails(&mut self, kind: Kind) -> io::Result<()> {
        let input_output = || Err(io::Error::from_raw_os_error(5));
        match self.fault {
            Some(Fault::Missing) if kind == Kind::Read => input_output(),
            Some(Fault::Missing) => Err(failed(ErrorKind::StaleNetworkFileHandle, "the folder is gone")),
            Some(Fault::ReadOnly) if matches!(kind, Kind::Write | Kind::Change) => {
                Err(failed(ErrorKind::ReadOnlyFilesystem, "read-only"))
            }
            Some(Fault::WriteError) if kind == Kind::Write && self.dice.once_in(3) => input_output(),
            Some(Fault::SyncError) if kind == Kind::Sync && self.dice.once_in(2) => input_output(),
            Some(Fault::ReadError) if kind == Kind::Read && self.dice.once_in(12) => input_output(),
            Some(Fault::NoSpace) if kind == Kind::Write && !self.dice.once_in(4) => {
                Err(failed(ErrorKind::StorageFull, "no space"))
            }
            _ => Ok(()),
        }
    }

    fn content(&mut self, file: u64) -> io::Result<&mut Content> {
        self.files.get_mut(&file).ok_or_else(|| failed(ErrorKind::NotFound, "no such file"))
    }

    fn used(&self) -> u64 {
        let files = self.tree.iter().filter_map(|(_, node)| match node {
            Node::File(number) => self.files.get(&number),
            Node::Folder => None,
        });
        files.map(|content| content.now().len() as u64).sum()
    }
}

impl SimDisk {
    /// An empty disk of `total` bytes.
    pub fn new(dice: Dice, trace: Trace, total: u64) -> Self {
        let inner = Inner {
            dice,
            trace,
            tree: Tree::default(),
            files: BTreeMap::new(),
            next_file: 1,
            age: 0,
            fault: None,
            total,
            doom: None,
            dead: false,
            counts: DiskCounts::default(),
        };
        SimDisk { inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong from now on.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.inner().fault = fault;
    }

    /// What is wrong now.
    pub fn fault(&self) -> Option<Fault> {
        self.inner().fault
    }

    /// Everything ends with the operation after the next `operations`; `then` is done at that moment and must not touch
    /// the disk.
    pub fn end_after(&self, operations: u64, then: impl FnOnce() + Send + 'static) {
        self.inner().doom = Some((operations, Box::new(then)));
    }

    /// True once everything has ended.
    pub fn is_dead(&self) -> bool {
        self.inner().dead
    }

    /// What a crash leaves. Without one that was due, everything ends now.
    pub fn crash(&self, how: Crash) {
        let mut inner = self.inner();
        inner.age += 1;
        inner.dead = false;
        inner.doom = None;
        inner.fault = None;
        if let Crash::Power(survival) = how {
            let Inner { dice, tree, files, counts, .. } = &mut *inner;
            let unsynced = tree.unsynced() + files.values().map(Content::unsynced).sum::<usize>();
            counts.at_stake += unsynced as u64;
            tree.power_cut(survival, dice);
            for content in files.values_mut() {
                content.power_cut(survival, dice);
            }
            // What has no name now will never have one again.
            files.retain(|number, _| tree.iter().any(|(_, node)| node == Node::File(*number)));
        }
    }

    /// What has happened so far.
    pub fn counts(&self) -> DiskCounts {
        self.inner().counts
    }

    /// Every file and its length.
    pub fn files(&self) -> Vec<(String, u64)> {
        let inner = self.inner();
        let files = inner.tree.iter().filter_map(|(path, node)| match node {
            Node::File(number) => Some((path.to_owned(), inner.files.get(&number)?.now().len() as u64)),
            Node::Folder => None,
        });
        files.collect()
    }

    /// What a file holds, without faults.
    pub fn contents(&self, path: &str) -> Option<Vec<u8>> {
        let inner = self.inner();
        match inner.tree.get(path)? {
            Node::File(number) => Some(inner.files.get(&number)?.now().to_vec()),
            Node::Folder => None,
        }
    }

    fn handle(&self, file: u64, age: u64) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), file, age })
    }
}

impl Disk for SimDisk {
    fn create_new(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.inner();
        inner.enter(Kind::Change, format_args!("create {path}"))?;
        if inner.tree.get(path).is_some() {
            return Err(failed(ErrorKind::AlreadyExists, "the name is taken"));
        }
        let number = inner.next_file;
        inner.next_file += 1;
        inner.tree.make_folders(path);
        inner.tree.link(path, Node::File(number));
        inner.files.insert(number, Content::default());
        let age = inner.age;
        drop(inner);
        Ok(self.handle(number, age))
    }

    fn open(&self, path: &str, _access: FileAccess) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.inner();
        inner.enter(Kind::Ask, format_args!("open {path}"))?;
        let Some(Node::File(number)) = inner.tree.get(path) else {
            return Err(failed(ErrorKind::NotFound, "no such file"));
        };
        let age = inner.age;
        drop(inner);
        Ok(self.handle(number, age))
    }

    fn sync_folder(&self, path: &str) -> io::Result<()> {
        let mut folder = path;
        loop {
            let mut inner = self.inner();
            inner.enter(Kind::Sync, format_args!("sync folder {folder}"))?;
            if inner.tree.get(folder) != Some(Node::Folder) {
                return Err(failed(ErrorKind::NotFound, "no such folder"));
            }
            inner.tree.sync(folder);
            if folder.is_empty() {
                return Ok(());
            }
            folder = super::tree::parent(folder);
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        let mut inner = self.inner();
        inner.enter(Kind::Ask, format_args!("list {path}"))?;
        let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        let mut entries: Vec<Entry> = inner
            .tree
            .in_folder(path)
            .map(|(path, node)| match node {
                Node::Folder => Entry::Folder(name(path)),
                Node::File(_) => Entry::File(name(path)),
            })
            .collect();
        entries.sort();
        Ok(entries)
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.enter(Kind::Change, format_args!("remove {path}"))?;
        match inner.tree.get(path) {
            Some(Node::File(_)) => inner.tree.unlink(path),
            Some(Node::Folder) => return Err(failed(ErrorKind::IsADirectory, "a folder")),
            None => {}
        }
        Ok(())
    }

    fn remove_empty_folder(&self, path: &str) -> io::Result<bool> {
        let mut inner = self.inner();
        inner.enter(Kind::Change, format_args!("remove folder {path}"))?;
        if inner.tree.in_folder(path).next().is_some() {
            return Ok(false);
        }
        if inner.tree.get(path) == Some(Node::Folder) {
            inner.tree.unlink(path);
        }
        Ok(true)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.enter(Kind::Change, format_args!("rename {from} {to}"))?;
        let node = inner.tree.get(from).ok_or_else(|| failed(ErrorKind::NotFound, "no such file"))?;
        inner.tree.make_folders(to);
        inner.tree.rename(from, to, node);
        Ok(())
    }

    fn space(&self) -> io::Result<DiskSpace> {
        let mut inner = self.inner();
        inner.enter(Kind::Ask, format_args!("space"))?;
        let free = inner.total.saturating_sub(inner.used());
        Ok(DiskSpace { total: inner.total, free })
    }

    fn probe(&self) -> io::Result<()> {
        self.inner().enter(Kind::Change, format_args!("probe"))
    }
}

struct SimFile {
    disk: SimDisk,
    file: u64,
    age: u64,
}

impl SimFile {
    fn enter(&self, kind: Kind, what: fmt::Arguments<'_>) -> (MutexGuard<'_, Inner>, io::Result<()>) {
        let mut inner = self.disk.inner();
        if inner.age != self.age {
            return (inner, Err(failed(ErrorKind::BrokenPipe, "a handle from before the crash")));
        }
        let entered = inner.enter(kind, what);
        (inner, entered)
    }
}

impl DiskFile for SimFile {
    fn write_all_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let down = self.disk.is_dead();
        let (mut inner, entered) =
            self.enter(Kind::Write, format_args!("write {} at {offset} +{}", self.file, bytes.len()));
        if down || inner.age != self.age {
            return entered;
        }
        let mut dice = inner.dice.branch(offset);
        let content = inner.content(self.file)?;
        match entered {
            Ok(()) => content.write(offset, bytes),
            // A write that is cut off may have been done in part.
            Err(_) => content.write_torn(offset, bytes, &mut dice),
        }
        entered
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let (mut inner, entered) =
            self.enter(Kind::Read, format_args!("read {} at {offset} +{}", self.file, buf.len()));
        entered?;
        let short = buf.len() > 1 && inner.dice.once_in(6);
        let asked = if short { 1 + inner.dice.below(buf.len() as u64 - 1) } else { buf.len() as u64 };
        inner.counts.short_reads += u64::from(short);
        let content = inner.content(self.file)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = content.now().get(from..).unwrap_or_default();
        let count = found.len().min(usize::try_from(asked).unwrap_or(usize::MAX));
        buf[..count].copy_from_slice(&found[..count]);
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut inner, entered) = self.enter(Kind::Sync, format_args!("sync {}", self.file));
        let (dead, stale) = (inner.dead, inner.age != self.age);
        if dead || stale {
            return entered;
        }
        if entered.is_ok() {
            inner.content(self.file)?.sync();
        }
        entered
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let (mut inner, entered) = self.enter(Kind::Change, format_args!("cut {} to {len}", self.file));
        entered?;
        inner.content(self.file)?.set_len(len);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let (mut inner, entered) = self.enter(Kind::Ask, format_args!("length of {}", self.file));
        entered?;
        Ok(inner.content(self.file)?.now().len() as u64)
    }
}
