//! What a window lacks, as clips and sessions tell it.

use heldar_base::{CameraId, Micros, Scope, StreamId};
use heldar_store::{GapFilter, GapOrder, StoreError};
use heldar_timeline::{GapRow, Ledger, LedgerSegment, SegmentEnd, WantedChange, WindowHoles};

use super::Window;
use crate::kernel::Kernel;
use heldar_base::Clock as _;

/// Holes up to this long are not told of.
pub const TOLERANCE: Micros = Micros::from_secs(1);
/// Rows per page.
const PAGE: u32 = 1000;

impl Kernel {
    /// Holes of a window of a stream, edges included.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub async fn window_holes(
        &self,
        scope: &Scope,
        stream: &StreamId,
        window: Window,
    ) -> Result<WindowHoles, StoreError> {
        let interval = window.interval();
        let in_flight = self.settings.recorder.fragment + self.settings.recorder.fragment;
        let mut ledger = Ledger::new(self.clock.wall(), in_flight);
        for segment in self.segments_in(scope, stream, interval).await? {
            let holes: Vec<_> =
                segment.holes.iter().map(|h| (heldar_base::Interval::new(h.start, h.end), h.cause)).collect();
            let end = match segment.end_reason {
                None => SegmentEnd::Open,
                Some(reason) => SegmentEnd::Sealed { reason, cause: segment.end_cause },
            };
            ledger.segment(&LedgerSegment {
                interval: segment.interval(),
                holes: &holes,
                end,
                damaged: false,
            });
        }
        self.add_history(scope, &stream.camera, window, &mut ledger).await?;
        Ok(ledger.window_holes(&interval, TOLERANCE))
    }

    async fn add_history(
        &self,
        scope: &Scope,
        camera: &CameraId,
        window: Window,
        ledger: &mut Ledger,
    ) -> Result<(), StoreError> {
        let filter = GapFilter { range: window.interval().into(), ..GapFilter::default() };
        let mut after = None;
        loop {
            let page =
                self.store.gaps(scope, camera, &filter, GapOrder::OldestFirst, after.as_ref(), PAGE).await?;
            for gap in &page.rows {
                let end = (!gap.open).then_some(gap.end);
                ledger.gap(GapRow { start: gap.start, end, cause: gap.cause });
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let mut after = None;
        loop {
            let page =
                self.store.wanted_history(scope, camera, window.interval().into(), after, PAGE).await?;
            for change in &page.rows {
                ledger.wanted(WantedChange { at: change.at, not_wanted: change.reason });
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}
