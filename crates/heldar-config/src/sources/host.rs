//! The real process: its environment and its files.

use std::io::{ErrorKind, Read as _};
use std::path::Path;

use heldar_base::Secret;

use super::{FileError, FileText, Files, Flags, Input};

/// Longest file that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// The files of the machine.
#[derive(Clone, Copy, Debug)]
pub struct HostFiles;

impl Files for HostFiles {
    fn read(&self, path: &Path) -> Result<FileText, FileError> {
        let fail = |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound => FileError::NotFound,
            kind => FileError::Unreadable(kind.to_string()),
        };
        let file = std::fs::File::open(path).map_err(fail)?;
        let readable_by_others = readable_by_others(&file.metadata().map_err(fail)?);
        // One byte more than allowed tells a file that is too long from one that just fits.
        let mut read = Vec::new();
        let outcome = file.take(LONGEST + 1).read_to_end(&mut read);
        let bytes = Secret::new(read);
        outcome.map_err(fail)?;
        if bytes.expose().len() as u64 > LONGEST {
            return Err(FileError::Unreadable("it is longer than 1 MiB".to_owned()));
        }
        Ok(FileText { bytes, readable_by_others })
    }
}

#[cfg(unix)]
fn readable_by_others(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o004 != 0
}

#[cfg(not(unix))]
fn readable_by_others(_metadata: &std::fs::Metadata) -> bool {
    false
}

impl Input<'static> {
    /// What this process was started with.
    pub fn from_process(flags: Flags) -> Self {
        Input { flags, env: std::env::vars_os().collect(), files: &HostFiles }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert_eq!(HostFiles.read(&path).err(), Some(FileError::NotFound));
        std::fs::write(&path, "text\n").unwrap();
        assert_eq!(HostFiles.read(&path).unwrap().bytes.expose(), b"text\n");
        #[cfg(unix)]
        for (mode, expect) in [(0o600, false), (0o640, false), (0o644, true), (0o604, true)] {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(HostFiles.read(&path).unwrap().readable_by_others, expect, "{mode:o}");
        }
        assert!(matches!(HostFiles.read(folder.path()), Err(FileError::Unreadable(_))));
        std::fs::write(&path, vec![b'x'; (1 << 20) + 1]).unwrap();
        assert!(matches!(HostFiles.read(&path), Err(FileError::Unreadable(_))));
    }
}
