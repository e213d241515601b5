//! The ledger of a camera, put together from everything that is known about a window.
//!
//! Owns: which rows the ledger of a window needs, and how what is live is laid over what is stored. Timeline, gaps,
//! coverage and buckets are all made from a ledger that is read here, so that they agree. Never: a write; a decision about
//! what a row means, which is [`heldar_timeline`]'s.
//!
//! Rows are read in pages of [`PAGE`] and go straight into the ledger, whose memory grows with holes and not with
//! segments: a year of unbroken footage is one interval.

mod lists;
mod spans;

use heldar_base::{CameraId, Cause, Micros, Scope, StreamId, StreamKind, WallTime};
use heldar_store::{Camera, Gap, GapCursor, GapFilter, GapOrder, StoreError, TimeRange};
use heldar_timeline::{GapRow, Ledger, WantedChange};

use crate::footage::SegmentInfo;
use crate::kernel::Kernel;

/// Rows read from the store at a time.
const PAGE: u32 = 5000;
/// Longest time that footage of a healthy stream is on its way to the disk.
const LONGEST_IN_FLIGHT: Micros = Micros::from_secs(5);
/// Time for the network, a batched wake-up and a write.
const ON_THE_WAY: Micros = Micros::from_millis(500);

/// How much a ledger has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Where there is footage.
    Footage,
    /// That, and why there is none elsewhere.
    Causes,
}

impl Kernel {
    /// The ledger of a stream over a window, as of `now`.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub async fn ledger(
        &self,
        scope: &Scope,
        stream: &StreamId,
        range: TimeRange,
        now: WallTime,
        depth: Depth,
    ) -> Result<Ledger, StoreError> {
        let mut ledger = Ledger::new(now, self.in_flight(stream));
        self.add_spans(&mut ledger, scope, stream, range, depth).await?;
        if depth == Depth::Causes {
            self.add_gaps(&mut ledger, scope, stream, range).await?;
            self.add_wanted(&mut ledger, scope, stream, range).await?;
        }
        Ok(ledger)
    }

    /// The stream that a caller asks about; by default the one that `record_stream` names. Of a time before the first
    /// footage of that one, it is the other where that has any: `record_stream` was changed since.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub async fn stream_asked(
        &self,
        scope: &Scope,
        camera: &Camera,
        asked: Option<StreamKind>,
        range: TimeRange,
    ) -> Result<StreamId, StoreError> {
        if let Some(kind) = asked {
            return Ok(StreamId::new(camera.id.clone(), kind));
        }
        let named = self.default_stream(camera);
        let other = StreamId::new(
            camera.id.clone(),
            match named.kind {
                StreamKind::Main => StreamKind::Sub,
                StreamKind::Sub => StreamKind::Main,
            },
        );
        let first = self.first_footage(scope, &named, TimeRange::default()).await?;
        let is_before = |first: WallTime| range.to.is_some_and(|to| to <= first);
        let turn = first.is_none_or(is_before) && self.first_footage(scope, &other, range).await?.is_some();
        Ok(if turn { other } else { named })
    }

    async fn first_footage(
        &self,
        scope: &Scope,
        stream: &StreamId,
        range: TimeRange,
    ) -> Result<Option<WallTime>, StoreError> {
        let (segments, _) = self.segments(scope, stream, range, None, 1).await?;
        Ok(segments.first().map(SegmentInfo::start))
    }

    /// How far the end of an open segment may lag behind now while all is well: a fragment and the pictures that close
    /// and follow it.
    fn in_flight(&self, stream: &StreamId) -> Micros {
        use std::sync::atomic::Ordering::Relaxed;
        let fps = self.supervisor.view(&stream.camera).and_then(|view| view.fps).filter(|fps| *fps > 0.0);
        let picture = match (fps, self.ingest.get(stream)) {
            (Some(fps), _) => Micros((1e6 / fps) as i64),
            // A picture may last three usual ones.
            (None, Some(handle)) => Micros(handle.figures.longest_picture_us.load(Relaxed) / 3),
            (None, None) => Micros::ZERO,
        };
        let lag = self.settings.recorder.fragment + picture + picture + ON_THE_WAY;
        Micros(lag.0.clamp(0, LONGEST_IN_FLIGHT.0))
    }

    /// The gap of a camera that is open now, where the caller may know of it. Supervision knows it before the store does,
    /// and how far it reaches.
    fn open_gap(&self, scope: &Scope, camera: &CameraId) -> Option<Gap> {
        if scope.covers(camera) { self.supervisor.open_gap(camera) } else { None }
    }

    /// A hole that goes on in the stream that is supervised, and is too young for a row.
    fn pending_hole(&self, scope: &Scope, stream: &StreamId) -> Option<(WallTime, Cause)> {
        let supervised = self.supervisor.stream(&stream.camera).is_some_and(|of| of == *stream);
        if supervised && scope.covers(&stream.camera) {
            self.supervisor.pending_hole(&stream.camera)
        } else {
            None
        }
    }

    async fn add_gaps(
        &self,
        ledger: &mut Ledger,
        scope: &Scope,
        stream: &StreamId,
        range: TimeRange,
    ) -> Result<(), StoreError> {
        let open = self.open_gap(scope, &stream.camera);
        let which = GapFilter { range, ..GapFilter::default() };
        let mut after: Option<GapCursor> = None;
        loop {
            let order = GapOrder::OldestFirst;
            let page = self.store.gaps(scope, &stream.camera, &which, order, after.as_ref(), PAGE).await?;
            for gap in page.rows.iter().filter(|gap| open.as_ref().is_none_or(|open| open.id != gap.id)) {
                ledger.gap(row_of(gap));
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if let Some(open) = open {
            ledger.gap(row_of(&open));
        } else if let Some((start, cause)) = self.pending_hole(scope, stream) {
            ledger.gap(GapRow { start, end: None, cause });
        }
        Ok(())
    }

    async fn add_wanted(
        &self,
        ledger: &mut Ledger,
        scope: &Scope,
        stream: &StreamId,
        range: TimeRange,
    ) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.store.wanted_history(scope, &stream.camera, range, after, PAGE).await?;
            for change in page.rows {
                ledger.wanted(WantedChange { at: change.at, not_wanted: change.reason });
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

fn row_of(gap: &Gap) -> GapRow {
    GapRow { start: gap.start, end: (!gap.open).then_some(gap.end), cause: gap.cause }
}
