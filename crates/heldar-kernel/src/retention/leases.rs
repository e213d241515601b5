//! Segments that jobs read, so that nothing is deleted under them.
//!
//! Contract: a lease and a deletion exclude each other. Whoever deletes dooms the segments first, which leased ones escape,
//! and keeps them doomed until the mark is committed; a doomed segment cannot be leased. So a segment that is leased and
//! *then* found in the index stays until the lease is dropped: [`crate::kernel::Kernel::lease_footage`] does both.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heldar_base::{Interval, Scope, SegmentId, StreamId};
use heldar_store::StoreError;

use crate::footage::SegmentInfo;
use crate::kernel::Kernel;

/// Every lease of the process. Cheap to clone; all clones are one registry.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Leases on each segment, at least 1.
    readers: HashMap<SegmentId, u32>,
    doomed: HashSet<SegmentId>,
}

/// Segments that stay until this is dropped.
#[derive(Debug)]
pub struct Lease {
    registry: Leases,
    ids: HashSet<SegmentId>,
}

/// Segments that nobody can lease until this is dropped.
#[derive(Debug)]
pub(super) struct Doom {
    registry: Leases,
    ids: HashSet<SegmentId>,
}

impl Leases {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leases segments; those that are being deleted at this instant are left out. Never waits.
    pub fn acquire(&self, ids: impl IntoIterator<Item = SegmentId>) -> Lease {
        let mut inner = self.inner();
        let ids: HashSet<SegmentId> = ids.into_iter().filter(|id| !inner.doomed.contains(id)).collect();
        for id in &ids {
            *inner.readers.entry(*id).or_insert(0) += 1;
        }
        drop(inner);
        Lease { registry: self.clone(), ids }
    }

    /// True while a job reads the segment.
    pub fn is_leased(&self, id: SegmentId) -> bool {
        self.inner().readers.contains_key(&id)
    }

    /// Keeps segments from being leased; those that are leased are left out.
    pub(super) fn doom(&self, ids: impl IntoIterator<Item = SegmentId>) -> Doom {
        let mut inner = self.inner();
        let ids: HashSet<SegmentId> = ids
            .into_iter()
            .filter(|id| !inner.readers.contains_key(id) && inner.doomed.insert(*id))
            .collect();
        drop(inner);
        Doom { registry: self.clone(), ids }
    }
}

impl Lease {
    /// True for a segment of this lease.
    pub fn covers(&self, id: SegmentId) -> bool {
        self.ids.contains(&id)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut inner = self.registry.inner();
        for id in &self.ids {
            if let Some(readers) = inner.readers.get_mut(id) {
                *readers -= 1;
                if *readers == 0 {
                    inner.readers.remove(id);
                }
            }
        }
    }
}

impl Doom {
    /// True for a segment that escaped neither to a lease nor to another deletion.
    pub(super) fn covers(&self, id: SegmentId) -> bool {
        self.ids.contains(&id)
    }
}

impl Drop for Doom {
    fn drop(&mut self) {
        let mut inner = self.registry.inner();
        for id in &self.ids {
            inner.doomed.remove(id);
        }
    }
}

impl Kernel {
    /// The segments of a stream that overlap a window, kept from deletion as long as the lease lives.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub async fn lease_footage(
        &self,
        scope: &Scope,
        stream: &StreamId,
        window: Interval,
    ) -> Result<(Lease, Vec<SegmentInfo>), StoreError> {
        let seen = self.segments_in(scope, stream, window).await?;
        let lease = self.retention.leases.acquire(seen.iter().map(|segment| segment.id));
        // What was marked for deletion before the lease is gone from this second answer.
        let mut segments = self.segments_in(scope, stream, window).await?;
        segments.retain(|segment| lease.covers(segment.id));
        Ok((lease, segments))
    }
}

#[cfg(test)]
mod tests {
    use heldar_base::WallTime;

    use super::*;

    fn id(n: i64) -> SegmentId {
        SegmentId { stream_no: 1, start: WallTime(n) }
    }

    #[test]
    fn the_last_reader_releases() {
        let leases = Leases::default();
        let first = leases.acquire([id(1), id(2)]);
        let second = leases.acquire([id(2)]);
        drop(first);
        assert!(!leases.is_leased(id(1)) && leases.is_leased(id(2)));
        let doom = leases.doom([id(1), id(2)]);
        assert!(doom.covers(id(1)) && !doom.covers(id(2)));
        drop(second);
        assert!(!leases.is_leased(id(2)));
    }

    #[test]
    fn the_doomed_cannot_be_leased_or_doomed_again() {
        let leases = Leases::default();
        let doom = leases.doom([id(1)]);
        let lease = leases.acquire([id(1), id(3)]);
        assert!(!lease.covers(id(1)) && lease.covers(id(3)));
        assert!(!leases.doom([id(1)]).covers(id(1)));
        // The second doom took nothing, so that its end frees nothing.
        assert!(!leases.acquire([id(1)]).covers(id(1)));
        drop(doom);
        assert!(leases.acquire([id(1)]).covers(id(1)));
    }
}
