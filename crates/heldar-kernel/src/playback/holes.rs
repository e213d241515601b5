//! What a window lacks, as clips and sessions tell it.

use heldar_base::{Clock as _, Micros, Scope, StreamId};
use heldar_store::StoreError;
use heldar_timeline::WindowHoles;

use super::Window;
use crate::kernel::Kernel;
use crate::ledger::Depth;

/// Holes of clips up to this long are not told of (media.md 10).
pub const CLIP_TOLERANCE: Micros = Micros::from_secs(1);
/// The ledger knows remainders of rounding, up to a tick; sessions and virtual files tell of every hole beside them.
pub const ROUNDING: Micros = Micros::from_millis(1);

impl Kernel {
    /// Holes of a window of a stream that are longer than `tolerance`, edges included.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub async fn window_holes(
        &self,
        scope: &Scope,
        stream: &StreamId,
        window: Window,
        tolerance: Micros,
    ) -> Result<WindowHoles, StoreError> {
        let interval = window.interval();
        let ledger = self.ledger(scope, stream, interval.into(), self.clock.wall(), Depth::Causes).await?;
        Ok(ledger.window_holes(&interval, tolerance))
    }
}
