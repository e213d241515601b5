//! What a window lacks, as clips and sessions tell it.

use heldar_base::{Clock as _, Micros, Scope, StreamId};
use heldar_store::StoreError;
use heldar_timeline::WindowHoles;

use super::Window;
use crate::kernel::Kernel;
use crate::ledger::Depth;

/// Holes up to this long are not told of.
const TOLERANCE: Micros = Micros::from_secs(1);

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
        let ledger = self.ledger(scope, stream, interval.into(), self.clock.wall(), Depth::Causes).await?;
        Ok(ledger.window_holes(&interval, TOLERANCE))
    }
}
