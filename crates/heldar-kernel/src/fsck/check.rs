//! Goes through all rows and all files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use heldar_base::{CameraId, Scope, SegmentId, StreamKind, WallTime};
use heldar_disk::{Disk, Effort, Examined, FileAccess, SegmentName, examine};
use heldar_store::{CameraQuery, Segment, Store, Stream, StreamTotals, TimeRange};

use super::finding::{Checked, Finding, Kind, Remedy, Report};
use super::listing::{self, Listing};
use super::neighbours::Neighbours;
use super::rows::{self, Look};
use super::{FsckError, Others, UNKNOWN_FILE};
use crate::engine::recovery::{name_of, path_of, start_of};

/// Rows per page.
const PAGE: u32 = 500;
/// Why rows stay while no file at all is there.
const NOT_MOUNTED: &str = "no file of any segment is here: is the disk of the recordings mounted?";

/// One check of everything. Reads only.
pub struct Check {
    pub(super) store: Store,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) others: Others,
    pub(super) effort: Effort,
}

/// What is gathered on the way.
#[derive(Default)]
struct Progress {
    checked: Checked,
    findings: Vec<Finding>,
    /// Rows without a file, by their start, and where they are among the findings.
    missing: HashMap<WallTime, usize>,
    /// Segment files that lie elsewhere than they belong.
    misplaced: Vec<(Option<CameraId>, String, SegmentName)>,
}

impl Progress {
    fn take(&mut self, segment: &Segment, look: Look) {
        self.checked.segments += 1;
        if let Some(len) = look.file_len {
            self.checked.files += 1;
            self.checked.bytes += len;
        }
        for finding in look.findings {
            if finding.kind == Kind::MissingFile {
                self.missing.insert(segment.id.start, self.findings.len());
            }
            self.findings.push(finding);
        }
    }
}

impl Check {
    /// A check of a store and a folder.
    pub fn new(store: Store, disk: Arc<dyn Disk>, others: Others, effort: Effort) -> Self {
        Check { store, disk, others, effort }
    }

    /// Runs it.
    ///
    /// # Errors
    /// The store or the recordings folder does not answer. A single file that does not is a finding.
    pub async fn run(&self) -> Result<Report, FsckError> {
        let mut progress = Progress::default();
        let mut streams: BTreeMap<CameraId, Vec<Stream>> = BTreeMap::new();
        for stream in self.store.streams(&Scope::All).await? {
            streams.entry(stream.id.camera.clone()).or_default().push(stream);
        }
        let cameras = self.cameras().await?;
        let mut folders: BTreeSet<String> = cameras.iter().map(|camera| camera.as_str().to_owned()).collect();
        for camera in &cameras {
            let of_camera = streams.remove(camera).unwrap_or_default();
            self.camera(camera, &of_camera, &mut progress).await?;
        }
        folders.extend(self.deletions(&cameras, &mut progress).await?);
        self.beside(folders, &mut progress).await?;
        self.place(&mut progress).await?;
        progress.findings.extend(self.totals().await?);
        if progress.checked.files == 0 {
            let by_row = |f: &&mut Finding| matches!(f.kind, Kind::MissingFile | Kind::OpenRow);
            for finding in progress.findings.iter_mut().filter(by_row) {
                finding.remedy = Remedy::LeaveAlone(NOT_MOUNTED);
            }
        }
        Ok(Report { checked: progress.checked, findings: progress.findings })
    }

    async fn cameras(&self) -> Result<BTreeSet<CameraId>, FsckError> {
        let mut cameras = BTreeSet::new();
        let query = CameraQuery { include_removed: true, ..CameraQuery::default() };
        let mut after = None;
        loop {
            let page = self.store.cameras(&Scope::All, &query, after.as_ref(), PAGE).await?;
            cameras.extend(page.rows.into_iter().map(|camera| camera.id));
            after = page.next;
            if after.is_none() {
                return Ok(cameras);
            }
        }
    }

    async fn camera(
        &self,
        camera: &CameraId,
        streams: &[Stream],
        progress: &mut Progress,
    ) -> Result<(), FsckError> {
        progress.checked.cameras += 1;
        let (disk, id) = (self.disk.clone(), camera.clone());
        let listing = tokio::task::spawn_blocking(move || listing::of_camera(&*disk, &id)).await??;
        let Listing { mut named, misplaced, strays } = listing;
        progress.findings.extend(strays);
        progress
            .misplaced
            .extend(misplaced.into_iter().map(|(path, name)| (Some(camera.clone()), path, name)));
        for stream in streams {
            let mut files = named.remove(&stream.id.kind).unwrap_or_default();
            self.stream(stream, &mut files, progress).await?;
            for name in files {
                progress.findings.extend(self.orphan(Some(stream), name).await?);
            }
        }
        for name in named.into_values().flatten() {
            progress.findings.extend(self.orphan(None, name).await?);
        }
        Ok(())
    }

    /// Looks at all rows of a stream; `files` keeps those that no row names.
    async fn stream(
        &self,
        stream: &Stream,
        files: &mut BTreeSet<SegmentName>,
        progress: &mut Progress,
    ) -> Result<(), FsckError> {
        progress.checked.streams += 1;
        let mut neighbours = Neighbours::default();
        let mut after = None;
        loop {
            let page = self.store.every_segment(&Scope::All, stream.stream_no, after, PAGE).await?;
            let mut indexes = self.indexes(stream.stream_no, &page.rows).await?;
            for segment in &page.rows {
                let look = self.look(segment, indexes.remove(&segment.id)).await?;
                files.remove(&name_of(segment));
                progress.take(segment, look);
                neighbours.add(segment, &mut progress.findings);
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    pub(super) async fn indexes(
        &self,
        stream_no: i64,
        rows: &[Segment],
    ) -> Result<HashMap<SegmentId, Vec<u8>>, FsckError> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(HashMap::new()) };
        let found = self.store.every_index(&Scope::All, stream_no, first.id.start, last.id.start).await?;
        Ok(found.into_iter().collect())
    }

    /// Looks at one row.
    pub(super) async fn look(&self, segment: &Segment, index: Option<Vec<u8>>) -> Result<Look, FsckError> {
        let (disk, segment) = (self.disk.clone(), segment.clone());
        let (effort, others) = (self.effort, self.others);
        let look = move || rows::look(&*disk, &segment, index.as_deref(), effort, others);
        Ok(tokio::task::spawn_blocking(look).await?)
    }

    /// What is wrong with a file that no row names; `stream` is `None` when the stream has no row either.
    pub(super) async fn orphan(
        &self,
        stream: Option<&Stream>,
        name: SegmentName,
    ) -> Result<Option<Finding>, FsckError> {
        let path = name.relative_path();
        let finding = |kind, remedy| {
            Finding::of_path(kind, Some(&name.stream.camera), path.clone(), remedy)
                .in_stream(name.stream.kind)
        };
        let (disk, at) = (self.disk.clone(), path.clone());
        let effort = self.effort;
        let read = move || disk.open(&at, FileAccess::Read).and_then(|file| examine(&*file, effort));
        let examined = match tokio::task::spawn_blocking(read).await? {
            // Deleted since it was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let found = finding(Kind::UnreadableFile, Remedy::LeaveAlone(UNKNOWN_FILE));
                return Ok(Some(found.told("a file that can be read", error.to_string())));
            }
            Ok(examined) => examined,
        };
        Ok(Some(match examined {
            Examined::Empty => finding(Kind::EmptyFile, Remedy::RemoveEmptyFile(path.clone()))
                .told("footage", "a file without a byte"),
            Examined::Unknown(why) => {
                finding(Kind::UnreadableFile, Remedy::LeaveAlone(UNKNOWN_FILE)).told("footage", why)
            }
            Examined::NoFootage => finding(Kind::UnreadableFile, Remedy::LeaveAlone(UNKNOWN_FILE))
                .told("footage", "no whole fragment"),
            Examined::Footage(footage) => {
                let start = start_of(&name, &footage);
                let range = TimeRange { from: Some(start), to: Some(footage.end_of(start)) };
                let taken = match stream {
                    Some(stream) => self.store.segments(&Scope::All, &stream.id, range, None, 1).await?.rows,
                    None => Vec::new(),
                };
                match taken.first() {
                    Some(other) => {
                        let why = "its time has a segment already, and both keep their bytes";
                        finding(Kind::OverlappingFile, Remedy::LeaveAlone(why))
                            .told("a file that overlaps no other", format!("the time of {}", path_of(other)))
                    }
                    None => {
                        let remedy = Remedy::Adopt { stream: name.stream.clone(), name: name.clone() };
                        let found = format!("{} bytes of footage without a row", footage.len);
                        finding(Kind::OrphanFile, remedy).told("a row", found)
                    }
                }
            }
        }))
    }

    /// Deletions of cameras that are gone; answers with the folders of these.
    async fn deletions(
        &self,
        cameras: &BTreeSet<CameraId>,
        progress: &mut Progress,
    ) -> Result<BTreeSet<String>, FsckError> {
        let mut folders = BTreeSet::new();
        let mut after = None;
        loop {
            let page = self.store.deleting_segments(&Scope::All, after, PAGE).await?;
            for segment in page.rows {
                folders.insert(segment.stream.camera.as_str().to_owned());
                // Those of cameras that are there were seen with their stream.
                if self.others == Others::Nobody && !cameras.contains(&segment.stream.camera) {
                    let finding = Finding::of_row(Kind::UnfinishedDeletion, &segment, Remedy::FinishDeletion);
                    progress.findings.push(finding.told("no row", "a row of a deleted camera"));
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(folders);
            }
        }
    }

    async fn beside(&self, folders: BTreeSet<String>, progress: &mut Progress) -> Result<(), FsckError> {
        let disk = self.disk.clone();
        let beside = tokio::task::spawn_blocking(move || listing::beside_cameras(&*disk, &folders)).await??;
        progress.findings.extend(beside.strays);
        progress.misplaced.extend(beside.foreign.into_iter().map(|(path, name)| (None, path, name)));
        Ok(())
    }

    /// Finds the rows of files that lie in a wrong folder: one without a file and with the very start that the file
    /// names. Files in place that have no row are tried as well: they may be another camera's.
    async fn place(&self, progress: &mut Progress) -> Result<(), FsckError> {
        let mut found_elsewhere = BTreeSet::new();
        for (camera, path, name) in std::mem::take(&mut progress.misplaced) {
            let row = self.row_of(&path, progress).await?;
            let remedy = match (row, &camera) {
                (Some(at), _) => {
                    found_elsewhere.insert(at);
                    let to = progress.findings.get(at).and_then(|finding| finding.path.clone());
                    to.map(|to| Remedy::Move { from: path.clone(), to })
                }
                (None, Some(_)) => Some(Remedy::Move { from: path.clone(), to: name.relative_path() }),
                // The folder of no camera is a finding of its own.
                (None, None) => continue,
            };
            let remedy = remedy.unwrap_or(Remedy::LeaveAlone(UNKNOWN_FILE));
            let finding = Finding::of_path(Kind::MisplacedFile, camera.as_ref(), path.clone(), remedy);
            let mut finding = finding.in_stream(name.stream.kind).told(place_of(&name, row, progress), path);
            finding.segment = row.and_then(|at| progress.findings.get(at)?.segment);
            progress.findings.push(finding);
        }
        for at in 0..progress.findings.len() {
            let Some(finding) = progress.findings.get(at) else { break };
            let orphan = matches!(finding.kind, Kind::OrphanFile | Kind::OverlappingFile);
            let Some(path) = finding.path.clone().filter(|_| orphan) else { continue };
            let Some(row) = self.row_of(&path, progress).await? else { continue };
            let missing = progress.findings.get(row).and_then(|row| Some((row.path.clone()?, row.segment)));
            if let (Some((to, segment)), Some(finding)) = (missing, progress.findings.get_mut(at)) {
                found_elsewhere.insert(row);
                finding.kind = Kind::MisplacedFile;
                finding.expected.clone_from(&to);
                finding.found.clone_from(&path);
                finding.segment = segment;
                finding.remedy = Remedy::Move { from: path, to };
            }
        }
        let mut at = 0;
        progress.findings.retain(|_| {
            at += 1;
            !found_elsewhere.contains(&(at - 1))
        });
        Ok(())
    }

    /// The finding about the row without a file that a file elsewhere belongs to.
    async fn row_of(&self, path: &str, progress: &Progress) -> Result<Option<usize>, FsckError> {
        if progress.missing.is_empty() {
            return Ok(None);
        }
        let (disk, at) = (self.disk.clone(), path.to_owned());
        let read =
            move || disk.open(&at, FileAccess::Read).and_then(|file| examine(&*file, Effort::TableAlone));
        let Ok(Examined::Footage(footage)) = tokio::task::spawn_blocking(read).await? else {
            return Ok(None);
        };
        Ok(footage.wall_start.and_then(|start| progress.missing.get(&start).copied()))
    }

    /// Streams whose stored totals are wrong.
    pub(super) async fn totals(&self) -> Result<Vec<Finding>, FsckError> {
        let mut findings = Vec::new();
        let streams = self.store.streams(&Scope::All).await?;
        for sums in self.store.stream_sums(&Scope::All).await? {
            let Some(stream) = streams.iter().find(|stream| stream.stream_no == sums.stream_no) else {
                continue;
            };
            let newest = sums.stored.newest_end.max(sums.summed.newest_end);
            let expected = StreamTotals { newest_end: newest, ..sums.summed };
            if sums.stored == expected {
                continue;
            }
            let text = |totals: StreamTotals| {
                let end = totals.newest_end.map_or_else(|| "never".to_owned(), |end| end.to_string());
                format!("{} segments, {} bytes, to {end}", totals.segment_count, totals.total_bytes)
            };
            let remedy = Remedy::RestateTotals(sums.stream_no);
            findings.push(Finding {
                kind: Kind::TotalsMismatch,
                camera: Some(stream.id.camera.clone()),
                stream: Some(stream.id.kind),
                path: None,
                segment: None,
                expected: text(expected),
                found: text(sums.stored),
                remedy,
            });
        }
        Ok(findings)
    }
}

fn place_of(name: &SegmentName, row: Option<usize>, progress: &Progress) -> String {
    let row = row.and_then(|at| progress.findings.get(at)?.path.clone());
    row.unwrap_or_else(|| name.relative_path())
}

/// The stream of a kind among those of a camera.
pub(super) fn of_kind<'a>(streams: &'a [Stream], camera: &CameraId, kind: StreamKind) -> Option<&'a Stream> {
    streams.iter().find(|stream| stream.id.kind == kind && stream.id.camera == *camera)
}
