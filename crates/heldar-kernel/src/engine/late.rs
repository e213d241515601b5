//! Recovery that had to wait: the disk of the recordings folder was not there, or did not answer, when the server started.
//!
//! Owns: what is left to do and when it is tried again. Footage that is found late takes its time back from the gap that
//! was noted for it. Never: a decision about a file; those are recovery's.

use std::sync::Arc;

use heldar_base::{Clock as _, Scope, StreamId, WallTime};
use heldar_recorder::GAP_THRESHOLD;
use heldar_store::op::{PutGap, RemoveGaps};
use heldar_store::{Gap, GapFilter, GapOrder, Severity, Store, StoreError, TimeRange};
use tokio::sync::Mutex;

use super::outage::Outages;
use super::recovery::{Postponed, Recovery, RecoveryError};
use crate::kernel::Kernel;
use crate::rhythm::Rhythm;

/// Beats between two attempts.
const ATTEMPT: u32 = 3;
/// Gaps that are looked at: one server start leaves one or two.
const GAPS: u32 = 50;

/// What is left to do.
pub(crate) struct Late {
    outages: Outages,
    /// Files that begin from then on are those of this process.
    since: WallTime,
    state: Mutex<State>,
}

struct State {
    postponed: Postponed,
    /// Streams whose gaps may claim footage that was found since, each with when to look from.
    claimed: Vec<(StreamId, Option<WallTime>)>,
}

impl Late {
    /// What recovery has left at a start.
    pub(crate) fn new(outages: Outages, postponed: Postponed, since: WallTime) -> Self {
        let claimed = postponed.streams();
        Late { outages, since, state: Mutex::new(State { postponed, claimed }) }
    }

    /// Notes that the last outage is dealt with, if it is.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn note(&self, store: &Store, now: WallTime) -> Result<(), StoreError> {
        match self.state.lock().await.postponed.is_empty() {
            true => self.outages.recovered(store, now).await,
            false => Ok(()),
        }
    }
}

/// Tries until nothing is left, then rests for good.
pub(crate) async fn run(kernel: Arc<Kernel>) {
    let mut due = Rhythm::main().every(ATTEMPT);
    while !kernel.late.state.lock().await.claimed.is_empty() {
        due.tick().await;
        if let Err(error) = attempt(&kernel).await {
            tracing::warn!(?error, "recovery waits for the store");
        }
    }
    std::future::pending::<()>().await;
}

async fn attempt(kernel: &Kernel) -> Result<(), RecoveryError> {
    let mut state = kernel.late.state.lock().await;
    if !state.postponed.is_empty() {
        let (store, disk) = (kernel.store.clone(), kernel.disk.clone());
        let recovery = Recovery::new(store, disk, kernel.clock.wall()).after(kernel.late.outages.of());
        let (report, left) = recovery.resume(&state.postponed, kernel.late.since).await?;
        state.postponed = left;
        if !state.postponed.is_empty() {
            return Ok(());
        }
        tracing::info!(
            sealed = report.sealed,
            adopted = report.adopted,
            "the recordings folder is there: index and disk agree again"
        );
        if let Some(payload) = report.orphans() {
            kernel.journal.raise(None, "recording_orphans", Severity::Warning, payload);
        }
        kernel.late.outages.recovered(&kernel.store, kernel.clock.wall()).await?;
    }
    let mut claimed = Vec::new();
    for (stream, from) in &state.claimed {
        if !give_back(kernel, stream, *from).await? {
            claimed.push((stream.clone(), *from));
        }
    }
    state.claimed = claimed;
    Ok(())
}

/// Gaps of a camera begin where its footage ends; false as long as one is open, because supervision still writes it.
async fn give_back(kernel: &Kernel, stream: &StreamId, from: Option<WallTime>) -> Result<bool, StoreError> {
    let store = &kernel.store;
    let Some(camera) = store.camera(&Scope::All, &stream.camera).await? else { return Ok(true) };
    if camera.fields.record_stream != stream.kind {
        return Ok(true);
    }
    let which = GapFilter { range: TimeRange { from, to: None }, ..GapFilter::default() };
    let gaps = store.gaps(&Scope::All, &stream.camera, &which, GapOrder::OldestFirst, None, GAPS).await?.rows;
    if gaps.iter().any(|gap| gap.open) {
        return Ok(false);
    }
    for gap in gaps {
        let start = footage_end(store, stream, &gap).await?;
        if start == gap.start {
            continue;
        }
        if gap.end - start > GAP_THRESHOLD {
            store.write(PutGap { gap: Gap { start, ..gap } }).await?;
        } else {
            store.write(RemoveGaps { ids: vec![gap.id] }).await?;
        }
    }
    Ok(true)
}

/// Where the footage that covers the start of a gap ends; its start where none does.
async fn footage_end(store: &Store, stream: &StreamId, gap: &Gap) -> Result<WallTime, StoreError> {
    let range = TimeRange { from: Some(gap.start), to: Some(gap.end) };
    let page = store.segments(&Scope::All, stream, range, None, GAPS).await?;
    let mut at = gap.start;
    for segment in &page.rows {
        if segment.id.start <= at && segment.end > at {
            at = segment.end.min(gap.end);
        }
    }
    Ok(at)
}
