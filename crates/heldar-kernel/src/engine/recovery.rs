//! Index and disk agree again, before the API answers.
//!
//! Owns: the start-up part of the commit protocol (R1 to R3): what was marked is removed, open segments are cut to their
//! last whole fragment and sealed, files without a row in the newest day folders are taken in or set aside. Unknown never
//! means delete, and what of a file can still be read is never cut (see `heldar_disk::examine`). Single steps serve `fsck`
//! and the scrub. Blocking file access runs on blocking threads.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use heldar_base::{CameraId, Cause, EndReason, Scope, SegmentId, StreamId, WallTime};
use heldar_bmff::VIDEO_TIMESCALE;
use heldar_disk::{Disk, Entry, Examined, Footage, Outage, SegmentName, mend, time_of};
use heldar_recorder::GAP_THRESHOLD;
use heldar_store::op::{
    EnsureParams, MarkDeleting, Markable, PutGap, PutOutcome, PutSegment, RemoveGaps, RemoveMarked, Seal,
};
use heldar_store::{Gap, Hole, Segment, Store, StoreError, Stream, TimeRange};

use super::indexer::codec_params;

/// Rows per page.
const PAGE: u32 = 500;
/// Where files go that nobody can read.
pub const SET_ASIDE: &str = ".set-aside";

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

/// What became of a file without a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakenIn {
    /// It has one now.
    Yes,
    /// Its time is taken by another segment of the stream.
    Overlaps,
    /// It holds nothing that can be read.
    NoFootage,
}

/// Why recovery stopped.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The store failed.
    #[error("the store failed during recovery")]
    Store(#[from] StoreError),
    /// A blocking task failed.
    #[error("a recovery task ended")]
    Task(#[from] tokio::task::JoinError),
}

impl RecoveryReport {
    /// The event that tells of files without a row (media.md 7, 25): its payload, if there were any.
    pub fn orphans(&self) -> Option<serde_json::Value> {
        let RecoveryReport { deleted, adopted, set_aside, reclaimed_bytes, .. } = *self;
        (deleted + adopted + set_aside > 0).then(|| {
            serde_json::json!({
                "reclaimed": deleted, "bytes": reclaimed_bytes, "adopted": adopted, "set_aside": set_aside,
            })
        })
    }
}

/// What the disk did not let be looked at.
#[derive(Debug, Default)]
pub struct Postponed {
    /// Segments that are open.
    segments: Vec<Segment>,
    /// Streams whose newest files are unknown, and from when on.
    streams: Vec<(Stream, Option<WallTime>)>,
}

impl Postponed {
    /// True when nothing is left to do.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.streams.is_empty()
    }

    /// The streams that it speaks of, each with the instant before which all is known.
    pub fn streams(&self) -> Vec<(StreamId, Option<WallTime>)> {
        let sealed = self.segments.iter().map(|segment| (segment.stream.clone(), Some(segment.id.start)));
        sealed.chain(self.streams.iter().map(|(stream, newest)| (stream.id.clone(), *newest))).collect()
    }
}

/// Brings index and disk together.
pub struct Recovery {
    store: Store,
    disk: Arc<dyn Disk>,
    now: WallTime,
    outage: Outage,
    report: RecoveryReport,
    postponed: Postponed,
}

impl Recovery {
    /// A recovery over a store and a folder.
    pub fn new(store: Store, disk: Arc<dyn Disk>, now: WallTime) -> Self {
        let (report, postponed) = Default::default();
        Recovery { store, disk, now, outage: Outage::Machine, report, postponed }
    }

    /// Says what went down before; without a word it may have been the machine, and every byte of an open file is read.
    pub fn after(self, outage: Outage) -> Self {
        Recovery { outage, ..self }
    }

    /// Does all of it.
    ///
    /// # Errors
    /// The store failed. A file that cannot be read is postponed, never an error.
    pub async fn run(mut self, streams: &[Stream]) -> Result<(RecoveryReport, Postponed), RecoveryError> {
        self.finish_deletions().await?;
        self.seal_open().await?;
        for stream in streams {
            let newest = self.store.last_segment(&Scope::All, &stream.id).await?;
            self.take_in(stream, newest.map(|segment| segment.id.start), None).await?;
        }
        self.drop_empty_folders(streams).await?;
        Ok((self.report, self.postponed))
    }

    /// Removes what a crash has left of the folders of deleted cameras: empty ones. Files are never touched.
    async fn drop_empty_folders(&self, streams: &[Stream]) -> Result<(), RecoveryError> {
        let known: HashSet<CameraId> = streams.iter().map(|stream| stream.id.camera.clone()).collect();
        let disk = self.disk.clone();
        let found = tokio::task::spawn_blocking(move || unknown_folders(&*disk, &known)).await?;
        for camera in found.unwrap_or_default() {
            if self.store.camera(&Scope::All, &camera).await?.is_some() {
                continue;
            }
            let disk = self.disk.clone();
            let name = camera.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || drop_if_empty(&*disk, &name)).await? {
                tracing::debug!(%camera, %error, "the folder of a deleted camera stays");
            }
        }
        Ok(())
    }

    /// Does what was postponed, as far as the disk allows now. The server records meanwhile: what begins at `since` or
    /// later is its own.
    ///
    /// # Errors
    /// The store failed.
    pub async fn resume(
        mut self,
        postponed: &Postponed,
        since: WallTime,
    ) -> Result<(RecoveryReport, Postponed), RecoveryError> {
        for segment in &postponed.segments {
            self.seal_one(segment.clone()).await?;
        }
        for (stream, newest) in &postponed.streams {
            self.take_in(stream, *newest, Some(since)).await?;
        }
        Ok((self.report, self.postponed))
    }

    /// What was done so far.
    pub fn report(&self) -> RecoveryReport {
        self.report
    }

    /// R1: row marked, file not yet unlinked, or row not yet removed.
    ///
    /// # Errors
    /// The store failed.
    pub async fn finish_deletions(&mut self) -> Result<(), RecoveryError> {
        loop {
            let page = self.store.deleting_segments(&Scope::All, None, PAGE).await?;
            if page.rows.is_empty() {
                return Ok(());
            }
            let ids: Vec<SegmentId> = page.rows.iter().map(|segment| segment.id).collect();
            let paths: Vec<String> = page.rows.iter().map(path_of).collect();
            let disk = self.disk.clone();
            let removed = tokio::task::spawn_blocking(move || remove_for_good(&*disk, &paths)).await?;
            if let Err(error) = removed {
                tracing::warn!(%error, "files of deleted segments cannot be removed now");
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
        let mut after = None;
        loop {
            let page = self.store.open_segments(&Scope::All, after, PAGE).await?;
            for segment in page.rows {
                self.seal_one(segment).await?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// R2 for one segment: cuts its file behind the last whole fragment and seals its row; a row whose file is absent or
    /// holds no fragment goes.
    ///
    /// # Errors
    /// The store failed.
    pub async fn seal_one(&mut self, segment: Segment) -> Result<(), RecoveryError> {
        let disk = self.disk.clone();
        let (path, outage) = (path_of(&segment), self.outage);
        let mended = tokio::task::spawn_blocking(move || mend(&*disk, &path, outage)).await?;
        match mended {
            Ok(Some((Examined::Footage(footage), cut))) => {
                let end = self.end_of(&segment, &footage).await?;
                self.report.reclaimed_bytes += cut;
                self.report.sealed += 1;
                self.put(&segment, &footage, end).await?;
            }
            Ok(_) => {
                self.report.lost += 1;
                // In one commit: a mark alone would have the file unlinked, which is not this row's to decide.
                let ids = vec![segment.id];
                let mark = MarkDeleting { ids: ids.clone(), which: Markable::OpenToo };
                self.store.write_all(vec![mark.into(), RemoveMarked { ids }.into()]).await?;
            }
            Err(error) => {
                // A row that is sealed is never doubted again; this one may claim more than there is.
                tracing::debug!(segment = %segment.id, %error, "an open segment cannot be checked and stays open");
                self.postponed.segments.push(segment);
            }
        }
        Ok(())
    }

    /// When the footage of an open segment ends. A file tells times in ticks; the row or the segment that goes on from
    /// there tell the same one exactly.
    async fn end_of(&self, segment: &Segment, footage: &Footage) -> Result<WallTime, StoreError> {
        let start = segment.id.start;
        let ticks = footage.index.end_ticks();
        let same = |at: &WallTime| u64::try_from((*at - start).to_ticks(VIDEO_TIMESCALE)) == Ok(ticks);
        let all = TimeRange::default();
        let next = self.store.segments(&Scope::All, &segment.stream, all, Some(start), 1).await?;
        let next = next.rows.first().map(|next| next.id.start);
        let told = [Some(segment.end), next].into_iter().flatten().find(same);
        let end = told.unwrap_or_else(|| footage.end_of(start).max(start));
        Ok(next.map_or(end, |next| end.min(next)))
    }

    async fn put(&self, segment: &Segment, footage: &Footage, end: WallTime) -> Result<(), StoreError> {
        let params_no = self.store.write(EnsureParams { params: (*segment.params).clone() }).await?;
        let op = PutSegment {
            id: segment.id,
            end,
            size_bytes: i64::try_from(footage.kept_len()).unwrap_or(i64::MAX),
            name_no: segment.name_no,
            params_no,
            dependent: segment.dependent,
            seal: Some(Seal { reason: EndReason::Crashed, cause: None }),
            holes: holes_of(footage, segment.id.start, &segment.holes),
            index: Some(footage.index.encode()),
            created_at: segment.created_at,
        };
        self.store.write(op).await.map(|_outcome| ())
    }

    /// R3: files in the day folders at or after the newest segment that have no row, and begin before `until`.
    async fn take_in(
        &mut self,
        stream: &Stream,
        newest: Option<WallTime>,
        until: Option<WallTime>,
    ) -> Result<(), RecoveryError> {
        let disk = self.disk.clone();
        let (id, from) = (stream.id.clone(), newest.map(SegmentName::day));
        let names = tokio::task::spawn_blocking(move || names_since(&*disk, &id, from.as_deref())).await?;
        let names = match names {
            Ok(names) => names,
            Err(error) => {
                tracing::debug!(stream = %stream.id, %error, "day folders cannot be listed");
                self.postponed.streams.push((stream.clone(), newest));
                return Ok(());
            }
        };
        let Some(first) = names.first() else { return Ok(()) };
        let known = self.known_names(&stream.id, first.second).await?;
        let is_new = |name: &SegmentName| {
            until.is_none_or(|until| name.second < until.floor_second())
                && !known.contains(&(name.second, name.number))
        };
        for name in names.into_iter().filter(is_new) {
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
        match self.adopt(stream.stream_no, &name).await? {
            Ok(TakenIn::Yes) => self.report.adopted += 1,
            Ok(TakenIn::Overlaps | TakenIn::NoFootage) => self.set_aside(&name).await?,
            Err(error) => {
                tracing::warn!(file = name.file_name(), %error, "a file without a row cannot be read now");
            }
        }
        Ok(())
    }

    async fn set_aside(&mut self, name: &SegmentName) -> Result<(), RecoveryError> {
        let disk = self.disk.clone();
        let (from, to) = (name.relative_path(), format!("{SET_ASIDE}/{}", name.relative_path()));
        let moved = tokio::task::spawn_blocking(move || {
            disk.rename(&from, &to)?;
            // Both folders, so that no later start finds it where it was.
            [&from, &to]
                .into_iter()
                .filter_map(|path| path.rsplit_once('/'))
                .try_for_each(|(folder, _)| disk.sync_folder(folder))
        });
        if let Err(error) = moved.await? {
            tracing::warn!(file = name.file_name(), %error, "an unreadable file stays where it is");
        }
        self.report.set_aside += 1;
        Ok(())
    }

    /// R3 for one file: takes it into the index, cut behind its last whole fragment. The inner error is the disk's: the
    /// file is as it was.
    ///
    /// # Errors
    /// The store failed.
    pub async fn adopt(
        &self,
        stream_no: i64,
        name: &SegmentName,
    ) -> Result<std::io::Result<TakenIn>, RecoveryError> {
        let (disk, path, outage) = (self.disk.clone(), name.relative_path(), self.outage);
        let footage = match tokio::task::spawn_blocking(move || mend(&*disk, &path, outage)).await? {
            Ok(Some((Examined::Footage(footage), _cut))) => footage,
            Ok(_) => return Ok(Ok(TakenIn::NoFootage)),
            Err(error) => return Ok(Err(error)),
        };
        let Some(tracks) = &footage.tracks else { return Ok(Ok(TakenIn::NoFootage)) };
        let start = start_of(name, &footage);
        let params_no = self.store.write(EnsureParams { params: codec_params(tracks) }).await?;
        let op = PutSegment {
            id: SegmentId { stream_no, start },
            end: footage.end_of(start),
            size_bytes: i64::try_from(footage.kept_len()).unwrap_or(i64::MAX),
            name_no: i64::from(name.number),
            params_no,
            dependent: !footage.starts_with_sync(),
            seal: Some(Seal { reason: EndReason::Crashed, cause: None }),
            holes: holes_of(&footage, start, &[]),
            index: Some(footage.index.encode()),
            created_at: self.now,
        };
        match self.store.write(op).await {
            Ok(PutOutcome::Stored) => Ok(Ok(TakenIn::Yes)),
            // There is a row of that start already, and it is another file's.
            Ok(PutOutcome::Unchanged | PutOutcome::Deleting) => Ok(Ok(TakenIn::Overlaps)),
            Err(error) if error.kind() == heldar_store::ErrorKind::Conflict => Ok(Ok(TakenIn::Overlaps)),
            Err(error) => Err(error.into()),
        }
    }
}

/// Looks whether a gap that stands open still is: the process may have ended when footage was back and the gap not yet
/// closed. Such a gap is closed where the footage begins, or removed if it is too short for a row. Answers with the gap if
/// it is open.
///
/// # Errors
/// The store failed.
pub async fn settle_gap(store: &Store, stream: &StreamId, mut gap: Gap) -> Result<Option<Gap>, StoreError> {
    let range = TimeRange { from: Some(gap.start), to: None };
    let after = store.segments(&Scope::All, stream, range, None, 1).await?;
    let Some(back) = after.rows.first().map(|segment| segment.id.start.max(gap.start)) else {
        return Ok(Some(gap));
    };
    if back - gap.start > GAP_THRESHOLD {
        gap.end = back;
        gap.open = false;
        store.write(PutGap { gap }).await?;
    } else {
        store.write(RemoveGaps { ids: vec![gap.id] }).await?;
    }
    Ok(None)
}

/// When the footage of a file without a row begins: what the file says, if that fits its name.
pub fn start_of(name: &SegmentName, footage: &Footage) -> WallTime {
    footage.wall_start.filter(|start| start.floor_second() == name.second).unwrap_or(name.second)
}

/// Holes inside a segment as its file shows them; the exact times of those that are known.
fn holes_of(footage: &Footage, start: WallTime, known: &[Hole]) -> Vec<Hole> {
    let ticks = |at: WallTime| u64::try_from((at - start).to_ticks(VIDEO_TIMESCALE)).unwrap_or(0);
    let hole = |found: &std::ops::Range<u64>| {
        let same = known.iter().find(|hole| (ticks(hole.start)..ticks(hole.end)) == *found);
        let (from, to) = (start + time_of(found.start), start + time_of(found.end));
        same.cloned().unwrap_or(Hole { start: from, end: to, cause: Cause::Stalled })
    };
    footage.holes.iter().map(hole).collect()
}

/// Removes files so that no power cut brings them back, before their rows go.
fn remove_for_good(disk: &dyn Disk, paths: &[String]) -> std::io::Result<()> {
    paths.iter().try_for_each(|path| disk.remove_file(path))?;
    let folders: BTreeSet<&str> =
        paths.iter().filter_map(|path| path.rsplit_once('/')).map(|(folder, _)| folder).collect();
    folders.into_iter().try_for_each(|folder| sync_if_there(disk, folder))
}

/// Makes the names in a folder durable; a folder that is gone has none.
pub fn sync_if_there(disk: &dyn Disk, folder: &str) -> std::io::Result<()> {
    match disk.sync_folder(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match folder.rsplit_once('/') {
            Some((above, _)) => sync_if_there(disk, above),
            None => Ok(()),
        },
        outcome => outcome,
    }
}

/// Stores why the run did not go on behind its newest segment, where that is complete and nothing told so: the process went
/// down between the end of one file and the first fragment of the next.
///
/// # Errors
/// The store failed.
pub async fn name_end(store: &Store, segment: &Segment, cause: Cause) -> Result<(), StoreError> {
    let Some(reason @ (EndReason::Rotated | EndReason::Parameters)) = segment.end_reason else {
        return Ok(());
    };
    if segment.end_cause.is_some() {
        return Ok(());
    }
    let params_no = store.write(EnsureParams { params: (*segment.params).clone() }).await?;
    let op = PutSegment {
        id: segment.id,
        end: segment.end,
        size_bytes: segment.size_bytes,
        name_no: segment.name_no,
        params_no,
        dependent: segment.dependent,
        seal: Some(Seal { reason, cause: Some(cause) }),
        holes: segment.holes.clone(),
        index: None,
        created_at: segment.created_at,
    };
    store.write(op).await.map(|_outcome| ())
}

/// Folders with names of cameras that are not among those known.
fn unknown_folders(disk: &dyn Disk, known: &HashSet<CameraId>) -> std::io::Result<Vec<CameraId>> {
    let folders = disk.list("")?.into_iter().filter_map(|entry| match entry {
        Entry::Folder(name) => CameraId::new(&name).ok(),
        Entry::File(_) => None,
    });
    Ok(folders.filter(|camera| !known.contains(camera)).collect())
}

/// Removes a folder that holds nothing but empty ones.
fn drop_if_empty(disk: &dyn Disk, camera: &CameraId) -> std::io::Result<()> {
    for entry in disk.list(camera.as_str())? {
        let Entry::Folder(day) = entry else { return Ok(()) };
        if !disk.remove_empty_folder(&format!("{camera}/{day}"))? {
            return Ok(());
        }
    }
    disk.remove_empty_folder(camera.as_str()).map(|_removed| ())
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
