//! Clips: windows of footage written to files of their own.
//!
//! Owns: the folder of clips. A clip is the virtual file of its window, copied, hashed and synced before its row is
//! written; a request that goes away or a crash leaves neither file nor row.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use heldar_base::{PublicId, Scope};
use heldar_store::{Clip, Store, StoreError};
use sha2::{Digest as _, Sha256};

use crate::playback::VirtualSource;

/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;
/// Room that stays free beside a clip.
const HEADROOM: u64 = 64 << 20;
/// Names of files that are being written.
const UNFINISHED: &str = ".clip-";

/// The folder of clips.
#[derive(Clone, Debug)]
pub struct ClipFolder {
    path: PathBuf,
}

/// A clip that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Whoever asked has gone.
    #[error("the request has gone away")]
    Cancelled,
    /// Too little room.
    #[error("too little free disk space")]
    NoRoom,
    /// Footage went away or storage failed.
    #[error("the export failed")]
    Io(#[from] io::Error),
}

/// Cancels an export when it is dropped.
#[derive(Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// The flag that the export looks at.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A written file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// SHA-256 in lowercase hexadecimal digits.
    pub sha256: String,
    /// Its size.
    pub size: u64,
}

impl ClipFolder {
    /// The folder at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        ClipFolder { path: path.into() }
    }

    /// Name of the file of a clip.
    pub fn file_name(id: PublicId) -> String {
        format!("clip_{:032x}.mp4", id.bits())
    }

    /// Path of a clip's file. Names come from rows, never from a request.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a clip: into a file of another name, synced, then renamed. Blocks.
    ///
    /// # Errors
    /// [`ExportError`]; nothing stays behind.
    pub fn export(
        &self,
        name: &str,
        source: &VirtualSource,
        len: u64,
        cancel: &AtomicBool,
    ) -> Result<Exported, ExportError> {
        if free_space(&self.path)? < len + HEADROOM {
            return Err(ExportError::NoRoom);
        }
        let unfinished = self.path.join(format!("{UNFINISHED}{name}"));
        let outcome = self.copy(&unfinished, source, len, cancel).and_then(|exported| {
            std::fs::rename(&unfinished, self.file(name))?;
            File::open(&self.path)?.sync_all()?;
            Ok(exported)
        });
        if outcome.is_err()
            && let Err(error) = std::fs::remove_file(&unfinished)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "an unfinished clip stays until the next start");
        }
        outcome
    }

    fn copy(
        &self,
        path: &Path,
        source: &VirtualSource,
        len: u64,
        cancel: &AtomicBool,
    ) -> Result<Exported, ExportError> {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o640).open(path)?;
        let mut hash = Sha256::new();
        let mut done = 0;
        while done < len {
            if cancel.load(Ordering::Relaxed) {
                return Err(ExportError::Cancelled);
            }
            let wanted = usize::try_from(len - done).unwrap_or(CHUNK).min(CHUNK);
            let bytes = source.read_now(done, wanted)?;
            if bytes.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            hash.update(&bytes);
            file.write_all(&bytes)?;
            done += bytes.len() as u64;
        }
        file.sync_all()?;
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Exported { sha256, size: done })
    }

    /// Removes the file of a clip. Blocks.
    ///
    /// # Errors
    /// As the operating system says; an absent file is none.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.file(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    /// Removes what a crash left: unfinished files, and finished ones whose row was never written.
    ///
    /// # Errors
    /// The store failed.
    pub async fn sweep(&self, store: &Store) -> Result<u64, StoreError> {
        let path = self.path.clone();
        let listed = tokio::task::spawn_blocking(move || list(&path)).await;
        let names = match listed {
            Ok(Ok(names)) => names,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the clips folder cannot be listed");
                return Ok(0);
            }
            Err(_) => return Ok(0),
        };
        let mut removed = 0;
        for name in names {
            let ours = name.starts_with("clip_") && name.ends_with(".mp4");
            let stray = name.starts_with(UNFINISHED)
                || (ours && store.clip_by_filename(&Scope::All, &name).await?.is_none());
            if stray {
                match self.remove(&name) {
                    Ok(()) => removed += 1,
                    Err(error) => tracing::warn!(%error, "a stray clip file stays"),
                }
            }
        }
        Ok(removed)
    }
}

fn list(path: &Path) -> io::Result<Vec<String>> {
    let entries = std::fs::read_dir(path)?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

fn free_space(path: &Path) -> io::Result<u64> {
    heldar_disk::free_bytes(path)
}

/// Ids of clips.
pub fn new_id() -> PublicId {
    PublicId::new(Clip::PREFIX, crate::engine::journal::random_bits())
}
