//! Which folder it is. The recordings folder is known by a file in it, not by its path: a disk that is not mounted leaves a
//! folder of the same path behind, and nothing may be recorded into that one.
//!
//! Owns: the mark, and the decision whether the folder at the path is the one that is meant. The store remembers what
//! [`recognise`] has found, for the next start.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// Name of the file that marks a recordings folder; it holds the folder's id.
pub const MARK: &str = ".heldar-folder";

/// What is remembered of a recordings folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderId {
    /// Its id, as its mark says.
    pub id: String,
    /// It is on a file system that neither the root folder nor the data folder is on: it may be absent.
    pub apart: bool,
}

/// Text that describes no folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the description of a recordings folder")]
pub struct FolderIdError;

impl fmt::Display for FolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, if self.apart { "apart" } else { "beside" })
    }
}

impl FromStr for FolderId {
    type Err = FolderIdError;

    fn from_str(text: &str) -> Result<Self, FolderIdError> {
        let (id, place) = text.split_once(' ').ok_or(FolderIdError)?;
        let apart = match place {
            "apart" => true,
            "beside" => false,
            _ => return Err(FolderIdError),
        };
        Ok(FolderId { id: id.to_owned(), apart })
    }
}

/// What a start finds at the path of the recordings folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recognised {
    /// The folder that is remembered.
    Known,
    /// Another one, and nothing speaks against it: a first start, a new disk, a folder that was emptied. To be remembered.
    New(FolderId),
    /// The folder that is remembered is on a disk that is not there.
    Absent,
}

/// Keeps apart the folder that is meant and whatever else lies at its path.
#[derive(Debug)]
pub(crate) struct Identity {
    root: PathBuf,
    /// What its mark says; `None` where none was ever written.
    id: Option<String>,
    /// Device and inode when it was last recognised.
    seen: Mutex<Option<(u64, u64)>>,
}

impl Identity {
    /// Whatever is at the path now.
    pub(crate) fn unmarked(root: &Path) -> io::Result<Self> {
        let seen = Mutex::new(Some(place_of(root)?));
        Ok(Identity { root: root.to_owned(), id: None, seen })
    }

    /// # Errors
    /// `StaleNetworkFileHandle` when the folder at the path is not the one that is meant, or there is none.
    pub(crate) fn verify(&self) -> io::Result<()> {
        let stale = || io::Error::from(io::ErrorKind::StaleNetworkFileHandle);
        let place = place_of(&self.root).map_err(|_| stale())?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == Some(place) {
            return Ok(());
        }
        // The same disk, mounted again, may be another device.
        match (&self.id, read_mark(&self.root)) {
            (Some(id), Some(mark)) if *id == mark => {
                *seen = Some(place);
                Ok(())
            }
            _ => Err(stale()),
        }
    }
}

/// Looks which folder is at `root`, makes it and marks it where that is right. `fresh` is the id of a folder without a mark.
///
/// # Errors
/// The folder can neither be found nor made.
pub(crate) fn recognise(
    root: &Path,
    data: &Path,
    remembered: Option<&FolderId>,
    fresh: &str,
) -> io::Result<(Identity, Recognised)> {
    if let Some(known) = remembered.filter(|known| known.apart)
        && read_mark(root).as_deref() != Some(&known.id)
        && !is_apart(root, data)
    {
        let identity = Identity { root: root.to_owned(), id: Some(known.id.clone()), seen: Mutex::default() };
        return Ok((identity, Recognised::Absent));
    }
    crate::disk::make_folder(root)?;
    let id = match read_mark(root) {
        Some(id) => Some(id),
        // A disk that is full or read-only is recorded into when that is over, and marked at a later start.
        None => std::fs::write(root.join(MARK), fresh).ok().map(|()| fresh.to_owned()),
    };
    let seen = Mutex::new(Some(place_of(root)?));
    let now = id.clone().map(|id| FolderId { id, apart: is_apart(root, data) });
    let recognised = match now {
        Some(now) if remembered != Some(&now) => Recognised::New(now),
        _ => Recognised::Known,
    };
    Ok((Identity { root: root.to_owned(), id, seen }, recognised))
}

fn read_mark(root: &Path) -> Option<String> {
    let text = std::fs::read_to_string(root.join(MARK)).ok()?;
    let id = text.trim();
    let plain = !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then(|| id.to_owned())
}

fn place_of(folder: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::metadata(folder)?;
    if metadata.is_dir() {
        Ok((metadata.dev(), metadata.ino()))
    } else {
        Err(io::Error::from(io::ErrorKind::NotADirectory))
    }
}

fn is_apart(root: &Path, data: &Path) -> bool {
    let device = |folder: &Path| place_of(folder).ok().map(|(device, _)| device);
    let here = device(root);
    here.is_some() && here != device(data) && here != device(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_round_trip() {
        for apart in [true, false] {
            let folder = FolderId { id: "0af3".to_owned(), apart };
            assert_eq!(folder.to_string().parse(), Ok(folder));
        }
        for wrong in ["", "0af3", "0af3 near"] {
            assert_eq!(wrong.parse::<FolderId>(), Err(FolderIdError), "{wrong}");
        }
    }

    #[test]
    fn a_folder_is_known_by_its_mark() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("recordings");
        let (_, first) = recognise(&root, scratch.path(), None, "a1").unwrap();
        let folder = FolderId { id: "a1".to_owned(), apart: false };
        assert_eq!(first, Recognised::New(folder.clone()));
        let (identity, again) = recognise(&root, scratch.path(), Some(&folder), "b2").unwrap();
        assert_eq!(again, Recognised::Known);
        identity.verify().unwrap();
        // Moved away, replaced, and brought back.
        let away = scratch.path().join("away");
        std::fs::rename(&root, &away).unwrap();
        assert_eq!(identity.verify().unwrap_err().kind(), io::ErrorKind::StaleNetworkFileHandle);
        std::fs::create_dir(&root).unwrap();
        assert!(identity.verify().is_err());
        std::fs::remove_dir(&root).unwrap();
        std::fs::rename(&away, &root).unwrap();
        identity.verify().unwrap();
        // The same content in another folder is the same disk, mounted anew.
        std::fs::rename(&root, &away).unwrap();
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join(MARK), "a1\n").unwrap();
        identity.verify().unwrap();
    }

    #[test]
    fn a_disk_that_is_not_mounted_is_absent_and_nothing_is_made() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("recordings");
        let remembered = FolderId { id: "a1".to_owned(), apart: true };
        for made in [false, true] {
            if made {
                std::fs::create_dir(&root).unwrap();
            }
            let (identity, found) = recognise(&root, scratch.path(), Some(&remembered), "b2").unwrap();
            assert_eq!(found, Recognised::Absent);
            assert!(identity.verify().is_err());
            assert_eq!(root.exists(), made);
        }
        // A folder on the disk of the data is nowhere else: emptied, it is used again.
        let beside = FolderId { apart: false, ..remembered };
        let (_, found) = recognise(&root, scratch.path(), Some(&beside), "b2").unwrap();
        assert_eq!(found, Recognised::New(FolderId { id: "b2".to_owned(), apart: false }));
    }
}
