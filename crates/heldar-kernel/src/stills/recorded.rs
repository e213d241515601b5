//! The recorded picture that was on screen at an instant.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use heldar_base::{Cause, Clock as _, Interval, Micros, Scope, SegmentId, StreamId, WallTime};
use heldar_bmff::{SampleTable, Still, StillAt, still_at};
use heldar_decode::still;
use heldar_decode::wire::Output;
use heldar_disk::{Disk, FileAccess};
use heldar_media::VideoParams;

use heldar_timeline::State;

use super::{Shot, ShotError, Source};
use crate::footage::{FootageError, SegmentInfo};
use crate::kernel::Kernel;
use crate::ledger::Depth;

/// Half a tick of a file's clock, rounded up: a picture is recorded at the tick nearest to when it was captured, so that the
/// instant at which a live picture was captured may lie that much before the one that is recorded for it.
const HALF_TICK: Micros = Micros(6);

/// Why nothing is on screen at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// It lies ahead of what was received.
    Future,
    /// A hole in footage.
    Gap,
    /// There never was any.
    NotRecorded,
    /// There was some that is deleted by now.
    Expired,
}

/// The coded pictures that make one, and where they are.
pub(super) struct Coded {
    /// The segment whose file has the picture, and when that begins.
    pub(super) segment: (SegmentId, WallTime),
    pub(super) still: Still,
    pub(super) params: VideoParams,
    /// The file, and the one before where pictures are taken from it.
    pub(super) paths: [Option<String>; 2],
}

impl Kernel {
    /// The picture of a stream that was on screen at an instant, exactly; it takes a slot for media jobs.
    ///
    /// # Errors
    /// [`ShotError`].
    pub async fn recorded_shot(
        &self,
        scope: &Scope,
        stream: &StreamId,
        at: WallTime,
        output: Output,
    ) -> Result<Shot, ShotError> {
        let _slot = self.media_slot().await?;
        let window = Interval::new(at - Micros(1), at + Micros(1));
        let (_lease, _segments) =
            self.lease_footage(scope, stream, window).await.map_err(FootageError::Store)?;
        let Some(coded) = self.coded_at(scope, stream, at).await? else {
            return Err(ShotError::NoFootage(self.absence(scope, stream, at).await?));
        };
        let shot = self.shot(coded, output).await?;
        Ok(Shot { captured_at: shot.captured_at.min(at), ..shot })
    }

    /// What must be decoded for the picture on screen at an instant.
    pub(super) async fn coded_at(
        &self,
        scope: &Scope,
        stream: &StreamId,
        at: WallTime,
    ) -> Result<Option<Coded>, FootageError> {
        let window = Interval::new(at - Micros(1), at + Micros(1));
        let found = self.segments_in(scope, stream, window).await?;
        let Some(segment) = found.into_iter().rfind(|segment| segment.start() <= at && at <= segment.end)
        else {
            return Ok(None);
        };
        if segment.holes.iter().any(|hole| hole.start <= at && at < hole.end) {
            return Ok(None);
        }
        if let Some(coded) = self.coded_in(scope, &segment, at).await? {
            return Ok(Some(coded));
        }
        // A file that begins with reordered pictures begins when the one before ends, which may be a moment before the first
        // of them: until then the last picture of that file stays on screen.
        match self.predecessor(scope, &segment).await? {
            Some(before) => self.coded_in(scope, &before, before.end).await,
            None => Ok(None),
        }
    }

    /// What must be decoded for the picture of a file that is on screen at an instant.
    async fn coded_in(
        &self,
        scope: &Scope,
        segment: &SegmentInfo,
        at: WallTime,
    ) -> Result<Option<Coded>, FootageError> {
        let table = self.sample_table(segment).await?;
        // At the edges of a file the instant itself decides.
        if let StillAt::Found(still) = still_at(&table, segment.start(), at + HALF_TICK, None) {
            return Ok(coded(still, &table, segment, None));
        }
        match still_at(&table, segment.start(), at, None) {
            StillAt::Found(still) => Ok(coded(still, &table, segment, None)),
            StillAt::Nothing => Ok(None),
            StillAt::NeedsPredecessor => {
                let Some(before) = self.predecessor(scope, segment).await? else { return Ok(None) };
                let earlier = self.sample_table(&before).await?;
                match still_at(&table, segment.start(), at, Some(&earlier)) {
                    StillAt::Found(still) => Ok(coded(still, &table, segment, Some(&before))),
                    StillAt::NeedsPredecessor | StillAt::Nothing => Ok(None),
                }
            }
        }
    }

    /// The segment that one goes on from without a hole.
    async fn predecessor(
        &self,
        scope: &Scope,
        segment: &SegmentInfo,
    ) -> Result<Option<SegmentInfo>, FootageError> {
        let just_before = Interval::new(segment.start() - Micros::from_millis(1), segment.start());
        let before = self.segments_in(scope, &segment.stream, just_before).await?;
        Ok(before
            .into_iter()
            .rfind(|before| before.start() < segment.start() && before.end == segment.start()))
    }

    /// Decodes one picture; the caller holds a slot.
    pub(super) async fn shot(&self, coded: Coded, output: Output) -> Result<Shot, ShotError> {
        let Coded { segment: (segment, start), still: plan, params, paths } = coded;
        let source = Source::Recording { segment, pts: plan.captured_at - start };
        let (captured_at, wanted, depth) = (plan.captured_at, plan.wanted, plan.reorder_depth);
        let disk = self.disk.clone();
        let read = tokio::task::spawn_blocking(move || read(&*disk, &paths, &plan)).await;
        let payloads = read.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()));
        let payloads = payloads.map_err(FootageError::File)?;
        let units: Vec<(i64, Bytes)> = (0..).zip(payloads).collect();
        let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
        let picture = still(&self.stills.decoders, &params, depth, units, wanted, vec![output]).await?;
        let image = picture.images.into_iter().next();
        let image = image.ok_or_else(|| heldar_decode::StillError::Malformed("no picture".to_owned()))?;
        Ok(Shot { captured_at, source, image })
    }

    /// Why nothing is on screen at an instant.
    async fn absence(&self, scope: &Scope, stream: &StreamId, at: WallTime) -> Result<Absence, ShotError> {
        let store = FootageError::Store;
        if let Some(last) = self.newest_segments(scope, stream, None, 1).await.map_err(store)?.0.first()
            && at > last.end
        {
            return Ok(Absence::Future);
        }
        let instant = Interval::new(at, at + Micros(1));
        let now = self.clock.wall();
        let ledger = self.ledger(scope, stream, instant.into(), now, Depth::Causes).await.map_err(store)?;
        let states = ledger.paint(&instant);
        Ok(match states.spans().first().map(|span| span.value) {
            Some(State::Missing(Cause::Retention | Cause::Deleted)) => Absence::Expired,
            Some(State::NotWanted(_)) => Absence::NotRecorded,
            _ => Absence::Gap,
        })
    }
}

fn coded(
    still: Still,
    table: &SampleTable,
    segment: &SegmentInfo,
    before: Option<&SegmentInfo>,
) -> Option<Coded> {
    let params = table.video_params()?.clone();
    let paths = [Some(segment.name.relative_path()), before.map(|before| before.name.relative_path())];
    Some(Coded { segment: (segment.id, segment.start()), still, params, paths })
}

impl Coded {
    /// Of a sync sample that is decoded alone.
    pub(super) fn alone(still: Still, table: &SampleTable, segment: &SegmentInfo) -> Option<Self> {
        coded(still, table, segment, None)
    }
}

/// The bytes of the coded pictures.
fn read(disk: &dyn Disk, paths: &[Option<String>; 2], still: &Still) -> io::Result<Vec<Bytes>> {
    let mut files: [Option<Arc<dyn heldar_disk::DiskFile>>; 2] = [None, None];
    for (file, path) in files.iter_mut().zip(paths) {
        if let Some(path) = path {
            *file = Some(disk.open(path, FileAccess::Read)?);
        }
    }
    let mut payloads = Vec::with_capacity(still.samples.len());
    for sample in &still.samples {
        let file = files[usize::from(sample.in_predecessor)].as_ref().ok_or(io::ErrorKind::NotFound)?;
        // A sample is part of a fragment, whose length the table bounds.
        let mut bytes = vec![0; usize::try_from(sample.size).unwrap_or(0)];
        let mut done = 0;
        while done < bytes.len() {
            match file.read_at(&mut bytes[done..], sample.offset + done as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => done += count,
            }
        }
        payloads.push(bytes.into());
    }
    Ok(payloads)
}
