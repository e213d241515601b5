//! Recorded footage as everybody reads it: the store's rows with what is live laid over them.
//!
//! Owns: the one way from a stream and a window to segments, their fragment index and their sample table. Every read takes
//! a [`Scope`]. Never: writes.

use std::sync::Arc;

use heldar_base::{Cause, EndReason, Interval, Scope, SegmentId, StreamId, WallTime};
use heldar_bmff::{FragmentIndex, SampleTable, read_sample_table};
use heldar_disk::{DiskFile, FileAccess, SegmentName};
use heldar_store::{CodecParams, Hole, Segment, StoreError, TimeRange};

use crate::engine::indexer::codec_params;
use crate::engine::live_index::LiveSegment;
use crate::engine::recovery::name_of;
use crate::kernel::Kernel;

/// Rows read from the store at a time.
const PAGE: u32 = 2000;

/// A segment, wherever it is known.
#[derive(Clone, Debug)]
pub struct SegmentInfo {
    /// Its id.
    pub id: SegmentId,
    /// Its stream.
    pub stream: StreamId,
    /// Its file.
    pub name: SegmentName,
    /// End of what is on disk.
    pub end: WallTime,
    /// Length of the file as far as readers may go.
    pub size_bytes: u64,
    /// True while its file grows.
    pub open: bool,
    /// Its pictures up to the next sync sample need the segment before it.
    pub dependent: bool,
    /// Holes inside, in order.
    pub holes: Vec<Hole>,
    /// Why it ended.
    pub end_reason: Option<EndReason>,
    /// Cause of the hole that follows, where the reason does not tell it.
    pub end_cause: Option<Cause>,
    /// Codec parameters.
    pub params: Arc<CodecParams>,
    /// When it was first indexed.
    pub created_at: WallTime,
    live: Option<LiveSegment>,
}

impl SegmentInfo {
    fn stored(segment: Segment) -> Self {
        SegmentInfo {
            name: name_of(&segment),
            id: segment.id,
            stream: segment.stream,
            end: segment.end,
            size_bytes: u64::try_from(segment.size_bytes).unwrap_or(0),
            open: segment.end_reason.is_none(),
            dependent: segment.dependent,
            holes: segment.holes,
            end_reason: segment.end_reason,
            end_cause: segment.end_cause,
            params: segment.params,
            created_at: segment.created_at,
            live: None,
        }
    }

    fn live(segment: LiveSegment, stream_no: i64) -> Self {
        let holes = segment.holes.iter().map(|(i, cause)| Hole { start: i.start, end: i.end, cause: *cause });
        SegmentInfo {
            id: SegmentId { stream_no, start: segment.start },
            stream: segment.name.stream.clone(),
            name: segment.name.clone(),
            end: segment.end,
            size_bytes: segment.size_bytes,
            open: segment.is_open(),
            dependent: segment.dependent,
            holes: holes.collect(),
            end_reason: segment.ended.map(|(reason, _)| reason),
            end_cause: segment.ended.and_then(|(_, cause)| cause),
            params: Arc::new(codec_params(&segment.tracks)),
            created_at: segment.start,
            live: Some(segment),
        }
    }

    /// First instant.
    pub fn start(&self) -> WallTime {
        self.id.start
    }

    /// The span, holes included.
    pub fn interval(&self) -> Interval {
        Interval::new(self.id.start, self.end)
    }
}

/// A segment's bytes cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FootageError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file is gone or cannot be read.
    #[error("the file of a segment cannot be read")]
    File(#[source] std::io::Error),
    /// The file does not hold what the index says.
    #[error("a segment is damaged")]
    Damaged(#[source] heldar_bmff::Error),
}

impl Kernel {
    /// What is live of a stream, by start.
    fn live_of(&self, scope: &Scope, stream: &StreamId) -> Vec<SegmentInfo> {
        let Some(stream_no) = self.numbers.get(stream).filter(|_| scope.covers(&stream.camera)) else {
            return Vec::new();
        };
        self.live.of_stream(stream).into_iter().map(|segment| SegmentInfo::live(segment, stream_no)).collect()
    }

    /// Lays what is live over rows of the store; `within` says which live segments belong among them.
    fn overlay(
        &self,
        rows: Vec<Segment>,
        live: Vec<SegmentInfo>,
        within: impl Fn(&SegmentInfo) -> bool,
    ) -> Vec<SegmentInfo> {
        let mut all: Vec<SegmentInfo> = rows.into_iter().map(SegmentInfo::stored).collect();
        for segment in live.into_iter().filter(within) {
            match all.binary_search_by_key(&segment.start(), SegmentInfo::start) {
                Ok(at) => {
                    // The row may have been written after the live index was read: what says more wins.
                    let says = |known: &SegmentInfo| (!known.open, known.end);
                    if says(&segment) >= says(&all[at]) {
                        let created_at = all[at].created_at;
                        all[at] = SegmentInfo { created_at, ..segment };
                    }
                }
                Err(at) => all.insert(at, segment),
            }
        }
        all
    }

    /// Segments of a stream that overlap a window, by start: at most `limit`, from behind `after` on. The second value
    /// tells where to go on.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub async fn segments(
        &self,
        scope: &Scope,
        stream: &StreamId,
        range: TimeRange,
        after: Option<WallTime>,
        limit: u32,
    ) -> Result<(Vec<SegmentInfo>, Option<WallTime>), StoreError> {
        // Live first: a segment that leaves the live index in between is in the store by then.
        let live = self.live_of(scope, stream);
        let page = self.store.segments(scope, stream, range, after, limit).await?;
        let bound = page.next;
        let all = self.overlay(page.rows, live, |segment| {
            range.to.is_none_or(|to| segment.start() < to)
                && range.from.is_none_or(|from| segment.end > from)
                && after.is_none_or(|after| segment.start() > after)
                && bound.is_none_or(|bound| segment.start() <= bound)
        });
        Ok((all, bound))
    }

    /// Every segment of a stream that overlaps a window, by start.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub async fn segments_in(
        &self,
        scope: &Scope,
        stream: &StreamId,
        window: Interval,
    ) -> Result<Vec<SegmentInfo>, StoreError> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let (segments, next) = self.segments(scope, stream, window.into(), after, PAGE).await?;
            all.extend(segments);
            after = next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    /// The newest segments of a stream, ascending; the second value goes back in time.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub async fn newest_segments(
        &self,
        scope: &Scope,
        stream: &StreamId,
        before: Option<WallTime>,
        limit: u32,
    ) -> Result<(Vec<SegmentInfo>, Option<WallTime>), StoreError> {
        let live = self.live_of(scope, stream);
        let page = self.store.newest_segments(scope, stream, before, limit).await?;
        let oldest = page.rows.first().map(|segment| segment.id.start).filter(|_| page.next.is_some());
        let all = self.overlay(page.rows, live, |segment| {
            before.is_none_or(|before| segment.start() < before)
                && oldest.is_none_or(|oldest| segment.start() >= oldest)
        });
        Ok((all, page.next))
    }

    /// The segment whose file has this name.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub async fn segment_named(
        &self,
        scope: &Scope,
        name: &SegmentName,
    ) -> Result<Option<SegmentInfo>, StoreError> {
        let second = Interval::new(name.second, name.second + heldar_base::Micros::from_secs(1));
        let found = self.segments_in(scope, &name.stream, second).await?;
        Ok(found.into_iter().find(|segment| segment.name == *name))
    }

    /// The fragment index of a segment.
    ///
    /// # Errors
    /// [`FootageError`].
    pub async fn fragment_index(
        &self,
        scope: &Scope,
        segment: &SegmentInfo,
    ) -> Result<FragmentIndex, FootageError> {
        if let Some(live) = &segment.live {
            return Ok(live.index());
        }
        match self.store.segment_index(scope, segment.id).await? {
            Some(bytes) => FragmentIndex::decode(&bytes).map_err(FootageError::Damaged),
            None => FragmentIndex::of(&self.sample_table(segment).await?).map_err(FootageError::Damaged),
        }
    }

    /// The sample table of a segment: from memory while it is written, else one read at the end of its file; a file
    /// without one is scanned.
    ///
    /// # Errors
    /// [`FootageError`].
    pub async fn sample_table(&self, segment: &SegmentInfo) -> Result<SampleTable, FootageError> {
        if let Some(live) = &segment.live {
            return live.table().map_err(FootageError::Damaged);
        }
        let disk = self.disk.clone();
        let path = segment.name.relative_path();
        let read = tokio::task::spawn_blocking(move || {
            let file = disk.open(&path, FileAccess::Read).map_err(FootageError::File)?;
            let file = &*file as &dyn DiskFile;
            read_sample_table(file).or_else(|_| heldar_bmff::scan(file).map(|scan| scan.table)).map_err(
                |error| match error {
                    heldar_bmff::Error::Io(error) => FootageError::File(error),
                    error => FootageError::Damaged(error),
                },
            )
        });
        read.await.unwrap_or_else(|_| Err(FootageError::File(std::io::ErrorKind::Interrupted.into())))
    }

    /// The stream that a camera's reads speak of by default: what `record_stream` names, else what exists.
    pub fn default_stream(&self, camera: &heldar_store::Camera) -> StreamId {
        StreamId::new(camera.id.clone(), camera.fields.record_stream)
    }
}
