//! Temporary folders that are gone when their owner is.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How often removal is tried.
const ATTEMPTS: u32 = 20;
/// Time between attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// A folder of this process; removed with everything in it when dropped.
#[derive(Debug)]
pub(super) struct TempFolder {
    path: PathBuf,
}

impl TempFolder {
    /// Makes a folder below `parent`, or below the system's folder for temporary files.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn new(parent: Option<&Path>) -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("heldar-bench-{}-{number}", std::process::id()));
        // Fails if it exists, so that nothing of anyone else is ever removed.
        match std::fs::create_dir_all(&parent).and_then(|()| std::fs::create_dir(&path)) {
            Ok(()) => Ok(TempFolder { path }),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // A process that was killed a moment ago may still finish the write that it was in.
        for _ in 1..ATTEMPTS {
            if std::fs::remove_dir_all(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(folder = %self.path.display(), %error, "a temporary folder is left behind");
        }
    }
}

/// Sizes of all files below a folder together, in bytes.
///
/// # Errors
/// The folder cannot be read. A file that goes away meanwhile counts as none.
pub(super) fn bytes_below(folder: &Path) -> Result<u64, String> {
    let fail = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut total = 0;
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let Ok(metadata) = entry.metadata() else { continue };
        total += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() };
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_counted_and_removed() {
        let folder = TempFolder::new(None).unwrap();
        let path = folder.path().to_owned();
        std::fs::create_dir(path.join("a")).unwrap();
        std::fs::write(path.join("a/b"), [0; 100]).unwrap();
        std::fs::write(path.join("c"), [0; 23]).unwrap();
        assert_eq!(bytes_below(&path), Ok(123));
        drop(folder);
        assert!(!path.exists());
    }
}
