//! Index and disk agree again, before the API answers.
//!
//! Owns: the start-up part of the commit protocol (R1 to R3): what was marked is removed, open segments are cut to their
//! last whole fragment and sealed, files without a row in the newest day folders are taken in or set aside. Unknown never
//! means delete. Blocking file access runs on blocking threads.

use std::collections::HashSet;
use std::sync::Arc;

use heldar_base::{EndReason, Micros, Scope, SegmentId, StreamId, WallTime};
use heldar_bmff::{FragmentIndex, Scan, Tail, VIDEO_TIMESCALE};
use heldar_disk::{Disk, DiskFile, Entry, FileAccess, SegmentName};
use heldar_media::TrackParams;
use heldar_recorder::SegmentTracks;
use heldar_store::op::{EnsureParams, MarkDeleting, Markable, PutSegment, RemoveMarked, Seal};
use heldar_store::{Segment, Store, StoreError, Stream, TimeRange};

use super::indexer::codec_params;

/// Rows per page.
const PAGE: u32 = 500;
/// Where files go that nobody can read.
const SET_ASIDE: &str = ".set-aside";

/// What recovery found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Segments whose deletion was finished.
    pub deleted: u64,
    /// Open segments that were sealed.
    pub sealed: u64,
    /// Open segments without a usable file.
    pub lost: u64,
    /// Files without a row that were taken in.
    pub adopted: u64,
    /// Files that cannot be read and were set aside.
    pub set_aside: u64,
    /// Bytes of deleted files and torn tails.
    pub reclaimed_bytes: u64,
}

/// Why recovery stopped.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The store failed.
    #[error("the store failed during recovery: {0}")]
    Store(#[from] StoreError),
    /// A blocking task failed.
    #[error("a recovery task ended: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Brings index and disk together.
pub struct Recovery {
    store: Store,
    disk: Arc<dyn Disk>,
    now: WallTime,
    report: RecoveryReport,
}

impl Recovery {
    /// A recovery over a store and a folder.
    pub fn new(store: Store, disk: Arc<dyn Disk>, now: WallTime) -> Self {
        Recovery { store, disk, now, report: RecoveryReport::default() }
    }

    /// Does all of it.
    ///
    /// # Errors
    /// The store failed. A file that cannot be read is reported, never an error.
    pub async fn run(mut self, streams: &[Stream]) -> Result<RecoveryReport, RecoveryError> {
        self.finish_deletions().await?;
        self.seal_open().await?;
        for stream in streams {
            self.take_in(stream).await?;
        }
        Ok(self.report)
    }

    /// R1: row marked, file not yet unlinked, or row not yet removed.
    async fn finish_deletions(&mut self) -> Result<(), RecoveryError> {
        loop {
            let page = self.store.deleting_segments(&Scope::All, None, PAGE).await?;
            if page.rows.is_empty() {
                return Ok(());
            }
            let ids: Vec<SegmentId> = page.rows.iter().map(|segment| segment.id).collect();
            let paths: Vec<String> = page.rows.iter().map(path_of).collect();
            let disk = self.disk.clone();
            let removed = tokio::task::spawn_blocking(move || {
                let outcomes = paths.iter().map(|path| disk.remove_file(path));
                outcomes.filter(|outcome| outcome.is_err()).count()
            })
            .await?;
            if removed > 0 {
                tracing::warn!(files = removed, "files of deleted segments cannot be removed now");
                return Ok(());
            }
            self.report.deleted += ids.len() as u64;
            self.report.reclaimed_bytes +=
                page.rows.iter().map(|s| s.size_bytes.max(0).unsigned_abs()).sum::<u64>();
            self.store.write(RemoveMarked { ids }).await?;
        }
    }

    /// R2: what was open when the process ended.
    async fn seal_open(&mut self) -> Result<(), RecoveryError> {
        loop {
            let page = self.store.open_segments(&Scope::All, None, PAGE).await?;
            if page.rows.is_empty() {
                return Ok(());
            }
            for segment in page.rows {
                self.seal_one(segment).await?;
            }
        }
    }

    async fn seal_one(&mut self, segment: Segment) -> Result<(), RecoveryError> {
        let disk = self.disk.clone();
        let path = path_of(&segment);
        let mended = tokio::task::spawn_blocking(move || mend(&*disk, &path)).await?;
        match mended {
            Ok(Some(found)) => {
                let end = found.end_of(segment.id.start).max(segment.id.start);
                self.report.reclaimed_bytes += found.torn_bytes;
                self.report.sealed += 1;
                self.put(&segment, &found, end).await?;
            }
            Ok(None) => {
                self.report.lost += 1;
                self.store.write(MarkDeleting { ids: vec![segment.id], which: Markable::OpenToo }).await?;
                self.store.write(RemoveMarked { ids: vec![segment.id] }).await?;
            }
            Err(error) => {
                // The disk does not answer: what the row says stands, and the scrub looks again.
                tracing::warn!(segment = %segment.id, %error, "an open segment cannot be checked");
                self.report.lost += 1;
                let index = self.store.segment_index(&Scope::All, segment.id).await?;
                self.seal_as_stored(&segment, index).await?;
            }
        }
        Ok(())
    }

    async fn seal_as_stored(&self, segment: &Segment, index: Option<Vec<u8>>) -> Result<(), StoreError> {
        let params_no = self.store.write(EnsureParams { params: (*segment.params).clone() }).await?;
        let op = PutSegment {
            id: segment.id,
            end: segment.end,
            size_bytes: segment.size_bytes,
            name_no: segment.name_no,
            params_no,
            dependent: segment.dependent,
            seal: Some(Seal { reason: EndReason::Crashed, cause: None }),
            holes: segment.holes.clone(),
            index,
            created_at: segment.created_at,
        };
        self.store.write(op).await.map(|_outcome| ())
    }

    async fn put(&self, segment: &Segment, found: &Found, end: WallTime) -> Result<(), StoreError> {
        let params_no = self.store.write(EnsureParams { params: (*segment.params).clone() }).await?;
        let op = PutSegment {
            id: segment.id,
            end,
            size_bytes: i64::try_from(found.size).unwrap_or(i64::MAX),
            name_no: segment.name_no,
            params_no,
            dependent: segment.dependent,
            seal: Some(Seal { reason: EndReason::Crashed, cause: None }),
            holes: segment.holes.clone(),
            index: Some(found.index.encode()),
            created_at: segment.created_at,
        };
        self.store.write(op).await.map(|_outcome| ())
    }

    /// R3: files in the day folders at or after the newest segment that have no row.
    async fn take_in(&mut self, stream: &Stream) -> Result<(), RecoveryError> {
        let newest = self.store.last_segment(&Scope::All, &stream.id).await?.map(|segment| segment.id.start);
        let disk = self.disk.clone();
        let (id, from) = (stream.id.clone(), newest.map(SegmentName::day));
        let names = tokio::task::spawn_blocking(move || names_since(&*disk, &id, from.as_deref())).await?;
        let names = match names {
            Ok(names) => names,
            Err(error) => {
                tracing::warn!(stream = %stream.id, %error, "day folders cannot be listed");
                return Ok(());
            }
        };
        let Some(first) = names.first() else { return Ok(()) };
        let known = self.known_names(&stream.id, first.second).await?;
        for name in names.into_iter().filter(|name| !known.contains(&(name.second, name.number))) {
            self.take_in_one(stream, name).await?;
        }
        Ok(())
    }

    async fn known_names(
        &self,
        stream: &StreamId,
        from: WallTime,
    ) -> Result<HashSet<(WallTime, u32)>, RecoveryError> {
        let mut known = HashSet::new();
        let mut after = None;
        let range = TimeRange { from: Some(from), to: None };
        loop {
            let page = self.store.segments(&Scope::All, stream, range, after, PAGE).await?;
            for segment in &page.rows {
                let number = u32::try_from(segment.name_no).unwrap_or(u32::MAX);
                known.insert((segment.id.start.floor_second(), number));
            }
            after = page.next;
            if after.is_none() {
                return Ok(known);
            }
        }
    }

    async fn take_in_one(&mut self, stream: &Stream, name: SegmentName) -> Result<(), RecoveryError> {
        let disk = self.disk.clone();
        let path = name.relative_path();
        let mended = tokio::task::spawn_blocking(move || mend(&*disk, &path)).await?;
        let taken = match &mended {
            Ok(Some(found)) => self.adopt(stream, &name, found).await?,
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(file = name.file_name(), %error, "a file without a row cannot be read now");
                return Ok(());
            }
        };
        if taken {
            self.report.adopted += 1;
            return Ok(());
        }
        let disk = self.disk.clone();
        let (from, to) = (name.relative_path(), format!("{SET_ASIDE}/{}", name.relative_path()));
        if let Err(error) = tokio::task::spawn_blocking(move || disk.rename(&from, &to)).await? {
            tracing::warn!(file = name.file_name(), %error, "an unreadable file stays where it is");
        }
        self.report.set_aside += 1;
        Ok(())
    }

    /// Takes a file into the index; false when its footage overlaps what is there.
    async fn adopt(&self, stream: &Stream, name: &SegmentName, found: &Found) -> Result<bool, RecoveryError> {
        let Some(tracks) = &found.tracks else { return Ok(false) };
        let start =
            found.wall_start.filter(|start| start.floor_second() == name.second).unwrap_or(name.second);
        let params_no = self.store.write(EnsureParams { params: codec_params(tracks) }).await?;
        let op = PutSegment {
            id: SegmentId { stream_no: stream.stream_no, start },
            end: found.end_of(start),
            size_bytes: i64::try_from(found.size).unwrap_or(i64::MAX),
            name_no: i64::from(name.number),
            params_no,
            dependent: !found.starts_with_sync,
            seal: Some(Seal { reason: EndReason::Crashed, cause: None }),
            holes: Vec::new(),
            index: Some(found.index.encode()),
            created_at: self.now,
        };
        match self.store.write(op).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == heldar_store::ErrorKind::Conflict => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// The path of a stored segment.
pub fn path_of(segment: &Segment) -> String {
    name_of(segment).relative_path()
}

/// The name of a stored segment.
pub fn name_of(segment: &Segment) -> SegmentName {
    let number = u32::try_from(segment.name_no).unwrap_or(1);
    SegmentName::new(segment.stream.clone(), segment.id.start, number)
}

/// What a file holds after it was cut to whole fragments.
struct Found {
    index: FragmentIndex,
    tracks: Option<SegmentTracks>,
    wall_start: Option<WallTime>,
    size: u64,
    torn_bytes: u64,
    starts_with_sync: bool,
}

impl Found {
    fn end_of(&self, start: WallTime) -> WallTime {
        let ticks = i64::try_from(self.index.end_ticks()).unwrap_or(0);
        start + Micros::from_ticks(ticks, VIDEO_TIMESCALE)
    }
}

/// Cuts a file behind its last whole fragment; `None` when it has none.
fn mend(disk: &dyn Disk, path: &str) -> std::io::Result<Option<Found>> {
    let file = match disk.open(path, FileAccess::Repair) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        outcome => outcome?,
    };
    let scan = match heldar_bmff::scan(&*file as &dyn DiskFile) {
        Ok(scan) => scan,
        Err(heldar_bmff::Error::Io(error)) => return Err(error),
        Err(_) => return Ok(None),
    };
    let Ok(index) = FragmentIndex::of(&scan.table) else { return Ok(None) };
    if index.entries().is_empty() {
        return Ok(None);
    }
    let before = file.len()?;
    let size = match &scan.tail {
        Tail::Clean => before,
        Tail::Sealed(range) => range.end,
        Tail::Torn => {
            file.set_len(scan.end)?;
            file.sync_data()?;
            scan.end
        }
    };
    let starts_with_sync = index.entries().first().is_some_and(|entry| entry.sync);
    let tracks = tracks_of(&scan);
    let wall_start = scan.init.wall_start;
    Ok(Some(Found { index, tracks, wall_start, size, torn_bytes: before - size, starts_with_sync }))
}

fn tracks_of(scan: &Scan) -> Option<SegmentTracks> {
    let mut video = None;
    let mut audio = None;
    for track in scan.table.tracks() {
        match track.params() {
            params @ TrackParams::Video(_) => video = Some(Arc::new(params.clone())),
            params @ TrackParams::Audio(_) => audio = Some(Arc::new(params.clone())),
        }
    }
    Some(SegmentTracks { video: video?, audio })
}

/// Names of a stream's files in the day folders from `day` on, oldest first.
fn names_since(disk: &dyn Disk, stream: &StreamId, day: Option<&str>) -> std::io::Result<Vec<SegmentName>> {
    let mut names = Vec::new();
    for entry in disk.list(stream.camera.as_str())? {
        let Entry::Folder(folder) = entry else { continue };
        if day.is_some_and(|day| folder.as_str() < day) {
            continue;
        }
        for entry in disk.list(&format!("{}/{folder}", stream.camera))? {
            let Entry::File(file) = entry else { continue };
            if let Ok(name) = SegmentName::parse(&stream.camera, &file)
                && name.stream == *stream
                && SegmentName::day(name.second) == folder
            {
                names.push(name);
            }
        }
    }
    names.sort();
    Ok(names)
}
