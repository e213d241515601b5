//! What is stored in all, without a sum over segments.
//!
//! Owns: a copy of the stored totals that is renewed every few seconds, for those who may not ask the store (metrics) and
//! for when it does not answer; and the start of the oldest segment of each stream, which is read once and forgotten when
//! footage of that stream may have gone. Every reader takes a [`Scope`].

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use heldar_base::{Scope, StreamId, WallTime};
use heldar_config::DatabaseTarget;
use heldar_store::{Store, StoreError, StoreSize, Stream, WriteRate};

/// Size of SQLite's write-ahead log, 0 while there is none; `None` on PostgreSQL.
pub async fn log_bytes(database: &DatabaseTarget) -> Option<u64> {
    let DatabaseTarget::Sqlite(path) = database else { return None };
    let mut log = path.clone().into_os_string();
    log.push("-wal");
    let size = tokio::task::spawn_blocking(move || std::fs::metadata(log).map_or(0, |log| log.len()));
    size.await.ok()
}

/// Totals of all streams.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    streams: Vec<Stream>,
    rates: Vec<WriteRate>,
    /// Room that the database takes, where it is known.
    pub size: Option<StoreSize>,
    /// Stored detections.
    pub detections: i64,
}

/// Sums over the cameras of a scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Segments, open ones included.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of segments that ended in the last 24 hours.
    pub bytes_per_day: u64,
    /// End of the newest segment.
    pub newest: Option<WallTime>,
}

impl Totals {
    /// Asks the store.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub async fn read(store: &Store, now: WallTime) -> Result<Totals, StoreError> {
        Ok(Totals {
            streams: store.streams(&Scope::All).await?,
            rates: store.write_rates(&Scope::All, now).await?,
            size: Some(store.size().await?),
            detections: store.perception_totals(&Scope::All).await?.map_or(0, |totals| totals.detections),
        })
    }

    /// Sums over what a scope covers.
    pub fn sums(&self, scope: &Scope) -> Sums {
        let mut sums = Sums::default();
        for stream in self.streams.iter().filter(|stream| scope.covers(&stream.id.camera)) {
            let totals = &stream.totals;
            sums.segments += u64::try_from(totals.segment_count).unwrap_or(0);
            sums.bytes = sums.bytes.saturating_add(u64::try_from(totals.total_bytes).unwrap_or(0));
            if totals.segment_count > 0 {
                sums.newest = sums.newest.max(totals.newest_end);
            }
            let rate = self.rates.iter().find(|rate| rate.stream_no == stream.stream_no);
            let rate = rate.map_or(0, |rate| u64::try_from(rate.bytes_per_day).unwrap_or(0));
            sums.bytes_per_day = sums.bytes_per_day.saturating_add(rate);
        }
        sums
    }

    /// Streams with footage, of what a scope covers.
    fn recorded<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = &'a Stream> {
        self.streams.iter().filter(|s| s.totals.segment_count > 0 && scope.covers(&s.id.camera))
    }
}

/// Starts of oldest segments, as far as they are known.
#[derive(Debug, Default)]
pub struct Oldest {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    starts: HashMap<(StreamId, i64), WallTime>,
    /// Counts how often it was forgotten, so that what was read before is not noted after.
    generation: u64,
}

impl Oldest {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Footage may have been deleted; called after the commit that did.
    pub fn forget(&self) {
        let mut known = self.known();
        known.starts.clear();
        known.generation += 1;
    }

    /// Start of the oldest segment of a scope.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub async fn get(
        &self,
        store: &Store,
        scope: &Scope,
        totals: &Totals,
    ) -> Result<Option<WallTime>, StoreError> {
        let mut oldest: Option<WallTime> = None;
        for stream in totals.recorded(scope) {
            let key = (stream.id.clone(), stream.stream_no);
            let (known, generation) = {
                let known = self.known();
                (known.starts.get(&key).copied(), known.generation)
            };
            let start = match known {
                Some(start) => Some(start),
                None => {
                    let first = store.first_segment(scope, &stream.id).await?.map(|segment| segment.id.start);
                    let mut known = self.known();
                    if let Some(start) = first.filter(|_| known.generation == generation) {
                        known.starts.insert(key, start);
                    }
                    first
                }
            };
            oldest = match (oldest, start) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        Ok(oldest)
    }
}
