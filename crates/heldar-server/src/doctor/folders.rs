//! Folders: there, writable, not open to everybody, with room.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use heldar_config::{Finding, Level, Settings};
use rustix::fs::{Access, access, statvfs};

use super::{finding, size};

/// Permission that lets every user of the machine write.
const WRITABLE_BY_OTHERS: u32 = 0o002;

pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    let storage = &settings.storage;
    let mut findings = Vec::new();
    for (variable, path) in [
        ("HELDAR_DATA_DIR", &storage.data_dir),
        ("HELDAR_RECORDINGS_DIR", &storage.recordings_dir),
        ("HELDAR_CLIPS_DIR", &storage.clips_dir),
        ("HELDAR_SNAPSHOTS_DIR", &storage.snapshots_dir),
    ] {
        findings.extend(folder(variable, path));
    }
    match existing(&storage.recordings_dir).map(|folder| room(&folder)) {
        Some(Ok(room)) => findings.extend(space(settings, room)),
        Some(Err(error)) => {
            let text = format!("the free space of the recordings folder is unknown: {error}");
            findings.push(finding(Level::Warning, "free_space_unknown", "HELDAR_RECORDINGS_DIR", text));
        }
        None => {}
    }
    findings
}

/// The nearest folder above, or the path itself, that is there.
pub(super) fn existing(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    absolute.ancestors().find(|ancestor| ancestor.exists()).map(Path::to_owned)
}

fn folder(variable: &str, path: &Path) -> Option<Finding> {
    let shown = path.display();
    let warn = |code, text| Some(finding(Level::Warning, code, variable, text));
    let usable = |at: &Path| access(at, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK);
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            let above = existing(path)?;
            return match usable(&above) {
                Ok(()) if above.is_dir() => {
                    let text = format!("{variable}: {shown} is not there yet; the first start makes it");
                    Some(finding(Level::Notice, "folder_missing", variable, text))
                }
                _ => warn(
                    "folder_impossible",
                    format!(
                        "{variable}: {shown} is not there and cannot be made in {}: choose another folder or let this \
                         user write there",
                        above.display()
                    ),
                ),
            };
        }
        Err(error) => {
            return warn("folder_unreadable", format!("{variable}: {shown} cannot be looked at: {error}"));
        }
    };
    if !metadata.is_dir() {
        return warn("folder_not_a_folder", format!("{variable}: {shown} is not a folder"));
    }
    if let Err(error) = usable(path) {
        return warn(
            "folder_not_writable",
            format!("{variable}: this user cannot write in {shown}: {error}"),
        );
    }
    if metadata.permissions().mode() & WRITABLE_BY_OTHERS != 0 {
        let text = format!("{variable}: every user of this machine can write in {shown}: chmod o-w");
        return warn("folder_open_to_all", text);
    }
    None
}

/// Room on a file system, in bytes.
#[derive(Clone, Copy)]
struct Room {
    total: u64,
    free: u64,
}

fn room(folder: &Path) -> rustix::io::Result<Room> {
    let stat = statvfs(folder)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Room { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
}

fn space(settings: &Settings, Room { total, free }: Room) -> Option<Finding> {
    let retention = &settings.retention;
    let (floor, cap) = (retention.min_free_bytes, retention.max_recordings_bytes);
    if floor >= total && floor > 0 {
        let text = format!(
            "HELDAR_MIN_FREE_DISK_GB asks for {} free on a disk of {}: no footage would ever be removed for it",
            size(floor),
            size(total)
        );
        return Some(finding(Level::Warning, "floor_above_disk", "HELDAR_MIN_FREE_DISK_GB", text));
    }
    if free < floor {
        let text = format!(
            "the disk of the recordings has {} free of {}, and {} are to stay free: the oldest footage goes first",
            size(free),
            size(total),
            size(floor)
        );
        return Some(finding(Level::Warning, "disk_nearly_full", "HELDAR_MIN_FREE_DISK_GB", text));
    }
    if cap < u64::MAX && cap > total.saturating_sub(floor) {
        let text = format!(
            "HELDAR_MAX_RECORDINGS_GB allows {}, the disk has {}: free space decides how long footage is kept",
            size(cap),
            size(total)
        );
        return Some(finding(Level::Notice, "cap_above_disk", "HELDAR_MAX_RECORDINGS_GB", text));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use heldar_config::{Flags, HostFiles, Input, load};

    fn settings(env: &[(&str, &str)]) -> Settings {
        let env = env.iter().map(|(name, value)| (name.into(), value.into())).collect();
        load(&Input { flags: Flags::take([]), env, files: &HostFiles }).settings.unwrap()
    }

    #[track_caller]
    fn check_folder(path: &Path, expect: Option<&str>) {
        assert_eq!(folder("HELDAR_DATA_DIR", path).map(|finding| finding.code), expect, "{path:?}");
    }

    #[test]
    fn folders() {
        let scratch = tempfile::tempdir().unwrap();
        check_folder(scratch.path(), None);
        check_folder(&scratch.path().join("a/b"), Some("folder_missing"));
        let file = scratch.path().join("file");
        fs::write(&file, "").unwrap();
        check_folder(&file, Some("folder_not_a_folder"));
        check_folder(&file.join("below"), Some("folder_impossible"));
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o777)).unwrap();
        check_folder(scratch.path(), Some("folder_open_to_all"));
    }

    #[test]
    fn free_space() {
        const GIB: u64 = 1 << 30;
        let settings = settings(&[("HELDAR_MAX_RECORDINGS_GB", "20"), ("HELDAR_MIN_FREE_DISK_GB", "5")]);
        for (total, free, expect) in [
            (100 * GIB, 50 * GIB, None),
            (100 * GIB, 5 * GIB, None),
            (100 * GIB, 5 * GIB - 1, Some("disk_nearly_full")),
            (5 * GIB, 4 * GIB, Some("floor_above_disk")),
            (24 * GIB, 20 * GIB, Some("cap_above_disk")),
            (25 * GIB, 20 * GIB, None),
        ] {
            let found = space(&settings, Room { total, free }).map(|finding| finding.code);
            assert_eq!(found, expect, "{total} {free}");
        }
    }
}
