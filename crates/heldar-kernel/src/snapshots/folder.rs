//! The files of snapshots.
//!
//! Owns: their names, and that a file with such a name is whole and synced. Never: the store.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heldar_base::{CameraId, Micros, WallTime};
use heldar_disk::make_folder;
use heldar_store::SnapshotFile;
use tokio::sync::Notify;

/// Room that stays free beside a snapshot.
const HEADROOM: u64 = 64 << 20;
/// Names of files that are being written.
const UNFINISHED: &str = ".snapshot-";

/// The folder of snapshots.
#[derive(Clone, Debug)]
pub struct SnapshotFolder {
    path: PathBuf,
}

/// Name of the file of a picture: the millisecond in which it was captured, in UTC.
pub fn file_name(taken_at: WallTime) -> String {
    let (year, month, day, hour, minute, second) = taken_at.civil();
    let millisecond = taken_at.0.rem_euclid(1_000_000) / 1000;
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}{millisecond:03}Z.jpg")
}

/// First instant of the millisecond that a file is named after; `None` for a name that no snapshot has.
pub fn parse_name(name: &str) -> Option<WallTime> {
    let stamp = name.strip_suffix("Z.jpg")?;
    let (date, time) = stamp.split_once('T')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if date.len() != 8 || time.len() != 9 || !digits(date) || !digits(time) {
        return None;
    }
    let year = date.get(..4)?.parse().ok()?;
    let two = |text: &str, at: usize| text.get(at..at + 2)?.parse::<i8>().ok();
    let (month, day) = (two(date, 4)?, two(date, 6)?);
    let second = WallTime::from_civil(year, month, day, two(time, 0)?, two(time, 2)?, two(time, 4)?)?;
    let at = second + Micros::from_millis(time.get(6..)?.parse().ok()?);
    (file_name(at) == name).then_some(at)
}

impl SnapshotFolder {
    /// The folder at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        SnapshotFolder { path: path.into() }
    }

    /// Path of a snapshot below the folder.
    pub fn relative(camera: &CameraId, taken_at: WallTime) -> String {
        format!("{camera}/{}", file_name(taken_at))
    }

    fn camera(&self, camera: &CameraId) -> PathBuf {
        self.path.join(camera.as_str())
    }

    /// Opens the file of a snapshot. Blocks.
    ///
    /// # Errors
    /// As the operating system says; `NotFound` also for what is no plain file in a plain folder.
    pub fn open(&self, camera: &CameraId, taken_at: WallTime) -> io::Result<File> {
        let folder = self.camera(camera);
        let path = folder.join(file_name(taken_at));
        let is_plain = folder.symlink_metadata()?.is_dir() && path.symlink_metadata()?.is_file();
        if is_plain { File::open(path) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Writes a snapshot: into a file of another name, synced, then renamed. Blocks.
    ///
    /// # Errors
    /// As the operating system says; nothing stays behind.
    pub(super) fn write(&self, camera: &CameraId, taken_at: WallTime, jpeg: &[u8]) -> io::Result<()> {
        let folder = self.camera(camera);
        if !folder.is_dir() {
            make_folder(&folder)?;
            File::open(&self.path)?.sync_all()?;
        }
        put(&folder, &file_name(taken_at), jpeg)
    }

    /// Writes the picture of a zone event as [`Self::write`] does. Blocks.
    ///
    /// # Errors
    /// As the operating system says; nothing stays behind.
    pub(crate) fn write_evidence(&self, name: &str, jpeg: &[u8]) -> io::Result<()> {
        if !self.path.is_dir() {
            make_folder(&self.path)?;
        }
        put(&self.path, name, jpeg)
    }

    /// Opens the picture of a zone event. Blocks.
    ///
    /// # Errors
    /// As the operating system says; `NotFound` also for what is no plain file.
    pub(crate) fn open_evidence(&self, name: &str) -> io::Result<File> {
        let path = self.path.join(name);
        if path.symlink_metadata()?.is_file() {
            File::open(path)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    /// Removes pictures of zone events whose rows are gone.
    pub(crate) async fn remove_evidence(&self, names: Vec<String>) {
        let folder = self.path.clone();
        let remove = move || names.iter().for_each(|name| remove_file(&folder.join(name)));
        if tokio::task::spawn_blocking(remove).await.is_err() {
            tracing::warn!("removing pictures of zone events was interrupted");
        }
    }

    /// Removes files whose rows are gone, and folders that are empty then. What cannot be removed now goes at the next start.
    pub async fn remove(&self, files: Vec<SnapshotFile>) {
        let folder = self.clone();
        let removed = tokio::task::spawn_blocking(move || {
            for file in &files {
                remove_file(&folder.camera(&file.camera).join(file_name(file.taken_at)));
            }
            let cameras: HashSet<CameraId> = files.into_iter().map(|file| file.camera).collect();
            cameras.iter().for_each(|camera| folder.remove_if_empty(camera));
        });
        if removed.await.is_err() {
            tracing::warn!("removing files of snapshots was interrupted");
        }
    }

    pub(super) fn remove_if_empty(&self, camera: &CameraId) {
        if let Err(error) = std::fs::remove_dir(self.camera(camera)) {
            tracing::trace!(%camera, %error, "a folder of snapshots stays");
        }
    }

    /// Cameras that have a folder. Blocks.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn cameras(&self) -> io::Result<Vec<CameraId>> {
        let mut cameras = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let id = entry.file_name().into_string().ok().and_then(|name| CameraId::new(&name).ok());
            if let Some(id) = id.filter(|_| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                cameras.push(id);
            }
        }
        Ok(cameras)
    }

    /// What lies in the folder of a camera. Blocks.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn list(&self, camera: &CameraId) -> io::Result<Listed> {
        let mut listed = Listed::default();
        let folder = self.camera(camera);
        for entry in std::fs::read_dir(&folder)? {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            match (parse_name(&name), name.strip_prefix(UNFINISHED).and_then(parse_name)) {
                (Some(at), _) => listed.whole.push(at),
                (None, Some(at)) => listed.unfinished.push((at, folder.join(&name))),
                (None, None) => {}
            }
        }
        Ok(listed)
    }
}

/// Files in the folder of a camera, by the millisecond of their pictures.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) whole: Vec<WallTime>,
    pub(super) unfinished: Vec<(WallTime, PathBuf)>,
}

/// Puts a file into a folder under its name, whole and synced.
fn put(folder: &Path, name: &str, jpeg: &[u8]) -> io::Result<()> {
    if heldar_disk::free_bytes(folder)? < jpeg.len() as u64 + HEADROOM {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let unfinished = folder.join(format!("{UNFINISHED}{name}"));
    let written = write_synced(&unfinished, jpeg).and_then(|()| {
        std::fs::rename(&unfinished, folder.join(name))?;
        File::open(folder)?.sync_all()
    });
    if written.is_err() {
        remove_file(&unfinished);
    }
    written
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o640).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

pub(super) fn remove_file(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "the file of a snapshot stays until the next start");
        }
        _ => {}
    }
}

/// Pictures that are being stored: two schedules of a camera may come upon the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    taken: Arc<Mutex<HashSet<(CameraId, i64)>>>,
    freed: Arc<Notify>,
}

/// Keeps others from a picture until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    claims: Claims,
    key: (CameraId, i64),
}

impl Claims {
    fn taken(&self) -> MutexGuard<'_, HashSet<(CameraId, i64)>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(camera: &CameraId, at: WallTime) -> (CameraId, i64) {
        (camera.clone(), at.0.div_euclid(1000))
    }

    /// Claims a picture, once nobody else has it.
    pub(super) async fn claim(&self, camera: &CameraId, at: WallTime) -> Claim {
        let key = Self::key(camera, at);
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Registered before looking, so that a claim that ends in between wakes us.
            freed.as_mut().enable();
            if self.taken().insert(key.clone()) {
                return Claim { claims: self.clone(), key };
            }
            freed.await;
        }
    }

    /// Whether somebody stores a picture.
    pub(super) fn holds(&self, camera: &CameraId, at: WallTime) -> bool {
        self.taken().contains(&Self::key(camera, at))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.taken().remove(&self.key);
        self.claims.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_millisecond() {
        let at = WallTime::parse("2026-07-01T22:30:05.123456Z").unwrap();
        assert_eq!(file_name(at), "20260701T223005123Z.jpg");
        assert_eq!(parse_name("20260701T223005123Z.jpg"), Some(at - Micros(456)));
        for name in [
            "20260701T223005123Z.png",
            "20260701T223005123.jpg",
            "20260701T22300512Z.jpg",
            "20261301T223005123Z.jpg",
            "2026070éT22300512Z.jpg",
            "+0260701T223005123Z.jpg",
            "zoneevt_1.jpg",
            "Z.jpg",
            "",
        ] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }

    #[tokio::test]
    async fn a_picture_is_stored_by_one_at_a_time() {
        let (claims, gate) = (Claims::default(), CameraId::new("gate").unwrap());
        let first = claims.claim(&gate, WallTime(1_000_500)).await;
        assert!(claims.holds(&gate, WallTime(1_000_999)) && !claims.holds(&gate, WallTime(1_001_000)));
        let mut second = Box::pin(claims.claim(&gate, WallTime(1_000_000)));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        drop(second.await);
        assert!(!claims.holds(&gate, WallTime(1_000_500)));
    }

    #[test]
    fn files_are_whole_and_nothing_is_left_of_those_that_are_not() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = SnapshotFolder::new(scratch.path());
        let (gate, at) = (CameraId::new("gate").unwrap(), WallTime(5_000_000));
        folder.write(&gate, at, b"one").unwrap();
        assert_eq!(std::fs::read(scratch.path().join("gate/19700101T000005000Z.jpg")).unwrap(), b"one");
        assert!(folder.open(&gate, at).is_ok());
        // A folder stands where the file is to be: it cannot be renamed.
        let other = at + Micros::from_secs(1);
        std::fs::create_dir(scratch.path().join("gate").join(file_name(other))).unwrap();
        folder.write(&gate, other, b"two").unwrap_err();
        assert!(folder.list(&gate).unwrap().unfinished.is_empty());
        // What links out of the folder is not opened.
        let (secret, link) = (scratch.path().join("secret"), at + Micros::from_secs(2));
        std::fs::write(&secret, b"secret").unwrap();
        std::os::unix::fs::symlink(&secret, scratch.path().join("gate").join(file_name(link))).unwrap();
        assert_eq!(folder.open(&gate, link).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(folder.cameras().unwrap(), [gate]);
    }
}
