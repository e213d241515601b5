//! What lies in the recordings folder, by name.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use heldar_base::{CameraId, StreamKind};
use heldar_disk::{Disk, Entry, MARK, SegmentName};

use super::finding::{Finding, Kind, Remedy};
use crate::engine::recovery::SET_ASIDE;

/// Left by a probe of the disk that was cut off.
const PROBE: &str = ".heldar-probe";
/// A folder of every file system of the ext family.
const LOST_AND_FOUND: &str = "lost+found";

/// The files of one camera.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Segment files where they belong, by stream.
    pub(super) named: BTreeMap<StreamKind, BTreeSet<SegmentName>>,
    /// Segment files in the folder of another day, and where they are.
    pub(super) misplaced: Vec<(String, SegmentName)>,
    /// Everything else that should not be there.
    pub(super) strays: Vec<Finding>,
}

/// Lists the folder of a camera. Blocks.
///
/// # Errors
/// The disk does not tell.
pub(super) fn of_camera(disk: &dyn Disk, camera: &CameraId) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for entry in disk.list(camera.as_str())? {
        match entry {
            Entry::File(name) => listing.strays.push(stray_file(Some(camera), format!("{camera}/{name}"))),
            Entry::Folder(day) if is_day(&day) => of_day(disk, camera, &day, &mut listing)?,
            Entry::Folder(name) => {
                let path = format!("{camera}/{name}");
                let (kind, camera) = (Kind::StrayFolder, Some(camera));
                let remedy = folder_remedy(disk, &path)?;
                let finding = Finding::of_path(kind, camera, path, remedy);
                listing.strays.push(finding.told("folders of days (YYYY-MM-DD)", "another folder"));
            }
        }
    }
    Ok(listing)
}

fn of_day(disk: &dyn Disk, camera: &CameraId, day: &str, listing: &mut Listing) -> io::Result<()> {
    let folder = format!("{camera}/{day}");
    let entries = disk.list(&folder)?;
    if entries.is_empty() {
        let remedy = Remedy::RemoveEmptyFolder(folder.clone());
        let finding = Finding::of_path(Kind::StrayFolder, Some(camera), folder.clone(), remedy);
        listing.strays.push(finding.told("footage of the day", "an empty folder"));
    }
    for entry in entries {
        match entry {
            Entry::File(file) => match SegmentName::parse(camera, &file) {
                Ok(name) if SegmentName::day(name.second) == day => {
                    listing.named.entry(name.stream.kind).or_default().insert(name);
                }
                Ok(name) => listing.misplaced.push((format!("{folder}/{file}"), name)),
                Err(_) => listing.strays.push(stray_file(Some(camera), format!("{folder}/{file}"))),
            },
            Entry::Folder(name) => {
                let path = format!("{folder}/{name}");
                let remedy = folder_remedy(disk, &path)?;
                let finding = Finding::of_path(Kind::StrayFolder, Some(camera), path, remedy);
                listing.strays.push(finding.told("segment files", "a folder"));
            }
        }
    }
    Ok(())
}

/// What lies beside the folders of cameras.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// Everything that should not be there.
    pub(super) strays: Vec<Finding>,
    /// Segment files in folders of no camera: where, and what they are called.
    pub(super) foreign: Vec<(String, SegmentName)>,
}

/// Lists the recordings folder apart from the folders of cameras; `known` are these, and those of cameras whose footage
/// is being deleted. Blocks.
///
/// # Errors
/// The disk does not tell.
pub(super) fn beside_cameras(disk: &dyn Disk, known: &BTreeSet<String>) -> io::Result<Beside> {
    let mut beside = Beside::default();
    for entry in disk.list("")? {
        match entry {
            Entry::File(name) if name != PROBE && name != MARK => beside.strays.push(stray_file(None, name)),
            Entry::Folder(name) if name != SET_ASIDE && name != LOST_AND_FOUND && !known.contains(&name) => {
                let remedy = folder_remedy(disk, &name)?;
                let finding = Finding::of_path(Kind::StrayFolder, None, name.clone(), remedy);
                beside.strays.push(finding.told("folders of cameras", "a folder of no camera"));
                foreign(disk, &name, &mut beside.foreign)?;
            }
            Entry::File(_) | Entry::Folder(_) => {}
        }
    }
    Ok(beside)
}

/// Segment files in the day folders of a camera that is not known.
fn foreign(disk: &dyn Disk, name: &str, found: &mut Vec<(String, SegmentName)>) -> io::Result<()> {
    let Ok(camera) = CameraId::new(name) else { return Ok(()) };
    for entry in disk.list(name)? {
        let Entry::Folder(day) = entry else { continue };
        for entry in disk.list(&format!("{name}/{day}"))? {
            let Entry::File(file) = entry else { continue };
            if let Ok(segment) = SegmentName::parse(&camera, &file) {
                found.push((format!("{name}/{day}/{file}"), segment));
            }
        }
    }
    Ok(())
}

fn is_day(name: &str) -> bool {
    let digits = |part: Option<&str>, len| {
        part.is_some_and(|part| part.len() == len && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut parts = name.split('-');
    digits(parts.next(), 4) && digits(parts.next(), 2) && digits(parts.next(), 2) && parts.next().is_none()
}

fn folder_remedy(disk: &dyn Disk, path: &str) -> io::Result<Remedy> {
    Ok(if disk.list(path)?.is_empty() {
        Remedy::RemoveEmptyFolder(path.to_owned())
    } else {
        Remedy::LeaveAlone("it may be somebody's")
    })
}

fn stray_file(camera: Option<&CameraId>, path: String) -> Finding {
    let remedy = Remedy::LeaveAlone("it is no segment file");
    Finding::of_path(Kind::StrayFile, camera, path, remedy).told("segment files", "a file of another name")
}
