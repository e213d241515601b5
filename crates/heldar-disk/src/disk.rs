//! The file system as seen by the recorder: a handful of operations, so that tests can put another one in its place.
//!
//! Paths are relative to the recordings root and come from [`crate::SegmentName`] only: ids and dates, never text of a
//! client.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{DirBuilderExt as _, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heldar_bmff::ReadAt;

use crate::identity::{self, Identity};
use crate::{FolderId, Recognised};

/// Room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Its size in bytes.
    pub total: u64,
    /// Bytes that a process without privileges may still use.
    pub free: u64,
}

/// One open segment file.
pub trait DiskFile: Send + Sync {
    /// Writes all of `parts`, one behind the other, at `offset`.
    ///
    /// # Errors
    /// As the operating system says; the file may then hold a part of them.
    fn write_all_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Reads up to the length of `buf` at `offset`; 0 at the end.
    ///
    /// # Errors
    /// As the operating system says.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes contents and length durable.
    ///
    /// # Errors
    /// As the operating system says; after an error nothing may be assumed durable that was not before.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts the file.
    ///
    /// # Errors
    /// As the operating system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// As the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// True for a file without content.
    ///
    /// # Errors
    /// As [`DiskFile::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// The recordings folder.
pub trait Disk: Send + Sync + 'static {
    /// Creates a file that must not exist, and the folders above it.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken, else as the operating system says.
    fn create_new(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and, during recovery, cutting.
    ///
    /// # Errors
    /// `NotFound`, else as the operating system says.
    fn open(&self, path: &str, access: FileAccess) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes the entries of a folder, and of those above it, durable.
    ///
    /// # Errors
    /// As the operating system says.
    fn sync_folder(&self, path: &str) -> io::Result<()>;

    /// Names in a folder, folders first told apart by [`Entry`]; an absent folder is empty.
    ///
    /// # Errors
    /// As the operating system says.
    fn list(&self, path: &str) -> io::Result<Vec<Entry>>;

    /// Removes a file; an absent one is no error.
    ///
    /// # Errors
    /// As the operating system says.
    fn remove_file(&self, path: &str) -> io::Result<()>;

    /// Removes a folder if it is empty; true when it is gone.
    ///
    /// # Errors
    /// As the operating system says.
    fn remove_empty_folder(&self, path: &str) -> io::Result<bool>;

    /// Moves a file inside the recordings folder.
    ///
    /// # Errors
    /// As the operating system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Room left.
    ///
    /// # Errors
    /// As the operating system says.
    fn space(&self) -> io::Result<DiskSpace>;

    /// Checks that the folder is there and can be written, by writing.
    ///
    /// # Errors
    /// As the operating system says.
    fn probe(&self) -> io::Result<()>;
}

/// What an opened file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileAccess {
    /// Reading.
    Read,
    /// Reading and cutting its tail.
    Repair,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    /// A folder.
    Folder(String),
    /// A file.
    File(String),
}

impl ReadAt for dyn DiskFile + '_ {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        DiskFile::read_at(self, buf, offset)
    }

    fn size(&self) -> io::Result<u64> {
        DiskFile::len(self)
    }
}

/// Bytes that a process without privileges may still use on the file system of a folder.
///
/// # Errors
/// As the operating system says.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// How long the machine has been up, sleep included.
pub fn uptime() -> Option<heldar_base::Micros> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let micros = now.tv_sec.checked_mul(1_000_000)?.checked_add(now.tv_nsec / 1000)?;
    Some(heldar_base::Micros(micros))
}

/// Names the time since the machine was booted; another one after each boot. `None` where the system does not tell.
pub fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = text.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

/// The host's file system below one folder.
///
/// Whoever takes an absent file for one that is gone is told apart from whoever looks at another folder: while the one
/// that was opened is not at its path, nothing is made there, and nothing is found missing.
#[derive(Clone, Debug)]
pub struct OsDisk {
    root: PathBuf,
    identity: Arc<Identity>,
    /// Folders whose own entries are durable, so that they are not synced again for every file.
    linked: Arc<Mutex<HashSet<PathBuf>>>,
}

/// Makes a folder, and those above it, that nobody but its owner and group can look into. One that is there stays as it is.
///
/// # Errors
/// As the operating system says.
pub fn make_folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(path)
}

impl OsDisk {
    /// The recordings folder at `root`; created when absent.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn new(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        make_folder(&root)?;
        let identity = Arc::new(Identity::unmarked(&root)?);
        Ok(OsDisk { root, identity, linked: Arc::default() })
    }

    /// The recordings folder at `root`, compared with what is remembered of it; `data` is the data folder, and `fresh` the
    /// id of a folder that has none yet. Where the one that is remembered is absent, everything fails until it is there.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn recognise(
        root: impl Into<PathBuf>,
        data: &Path,
        remembered: Option<&FolderId>,
        fresh: &str,
    ) -> io::Result<(Self, Recognised)> {
        let root = root.into();
        let (identity, recognised) = identity::recognise(&root, data, remembered, fresh)?;
        Ok((OsDisk { root, identity: Arc::new(identity), linked: Arc::default() }, recognised))
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file that is not there is only absent in the folder that is meant.
    fn absent<T>(&self, error: io::Error) -> io::Result<T> {
        if error.kind() == io::ErrorKind::NotFound {
            self.identity.verify()?;
        }
        Err(error)
    }

    fn linked(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.linked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a folder and those above it. Where one was missing, their entries count as not durable from now on.
    fn create_folders(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        let mut linked = self.linked();
        for above in folder.ancestors().take_while(|above| *above != self.root) {
            linked.remove(above);
        }
        drop(linked);
        make_folder(folder)
    }

    fn full(&self, path: &str) -> io::Result<PathBuf> {
        let clean = Path::new(path).components().all(|c| matches!(c, std::path::Component::Normal(_)));
        if clean { Ok(self.root.join(path)) } else { Err(io::Error::from(io::ErrorKind::InvalidInput)) }
    }
}

impl Disk for OsDisk {
    fn create_new(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let full = self.full(path)?;
        self.identity.verify()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o640);
        let file = match options.open(&full) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(folder) = full.parent() {
                    self.create_folders(folder)?;
                }
                options.open(&full)?
            }
            outcome => outcome?,
        };
        Ok(Arc::new(OsFile(file)))
    }

    fn open(&self, path: &str, access: FileAccess) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(access == FileAccess::Repair);
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(self.full(path)?);
        Ok(Arc::new(OsFile(file.or_else(|error| self.absent(error))?)))
    }

    fn sync_folder(&self, path: &str) -> io::Result<()> {
        let lowest = self.full(path)?;
        let mut folder = lowest.clone();
        loop {
            File::open(&folder)?.sync_all()?;
            let known = folder == self.root || self.linked().contains(&folder);
            if known || !folder.pop() {
                break;
            }
        }
        let durable = lowest.ancestors().take_while(|above| *above != self.root).map(Path::to_path_buf);
        self.linked().extend(durable);
        Ok(())
    }

    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        let reader = match std::fs::read_dir(self.full(path)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.identity.verify()?;
                return Ok(Vec::new());
            }
            outcome => outcome?,
        };
        let mut entries = Vec::new();
        for entry in reader {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            entries.push(if entry.file_type()?.is_dir() { Entry::Folder(name) } else { Entry::File(name) });
        }
        entries.sort();
        Ok(entries)
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        match std::fs::remove_file(self.full(path)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.identity.verify(),
            outcome => outcome,
        }
    }

    fn remove_empty_folder(&self, path: &str) -> io::Result<bool> {
        match std::fs::remove_dir(self.full(path)?) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.identity.verify().map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let to = self.full(to)?;
        self.identity.verify()?;
        if let Some(folder) = to.parent() {
            self.create_folders(folder)?;
        }
        std::fs::rename(self.full(from)?, to)
    }

    fn space(&self) -> io::Result<DiskSpace> {
        self.identity.verify()?;
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(DiskSpace {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    fn probe(&self) -> io::Result<()> {
        self.identity.verify()?;
        let path = self.root.join(".heldar-probe");
        std::fs::write(&path, b"ok")?;
        std::fs::remove_file(&path)
    }
}

#[derive(Debug)]
struct OsFile(File);

impl DiskFile for OsFile {
    fn write_all_at(&self, mut parts: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        // pwritev takes at most IOV_MAX parts and may write less than it was given.
        const IOV_MAX: usize = 1024;
        while !parts.is_empty() {
            let batch = parts.len().min(IOV_MAX);
            match rustix::io::pwritev(&self.0, &parts[..batch], offset) {
                Ok(0) if parts[..batch].iter().all(|p| p.is_empty()) => parts = &mut parts[batch..],
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut parts, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.0, buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
