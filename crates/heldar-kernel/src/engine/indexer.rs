//! Brings segments into the store.
//!
//! Owns: the writes of segment rows and their order (commit protocol, W3 and W5). A row that cannot be written stays in the
//! live index and is sent again: files are written on while the store is busy or lost. Never: touches a disk.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use heldar_base::{Clock, Micros, MonoTime, SegmentId, StreamId, WallTime};
use heldar_media::TrackParams;
use heldar_recorder::SegmentTracks;
use heldar_store::op::{EnsureParams, EnsureStream, PutSegment, Seal};
use heldar_store::{AudioFormat, CodecParams, ErrorKind, Hole, Store, StoreError};
use tokio::sync::Notify;

use super::live_index::{LiveIndex, LiveSegment, PendingRow};

/// Rows sent in one round.
const ROWS: usize = 256;
/// Rest after the store has failed.
const REST: Duration = Duration::from_secs(1);

/// Numbers that the store has given to streams.
#[derive(Debug, Default)]
pub struct StreamNumbers {
    known: Mutex<HashMap<StreamId, i64>>,
}

impl StreamNumbers {
    /// The number of a stream, if it has one.
    pub fn get(&self, stream: &StreamId) -> Option<i64> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(stream).copied()
    }

    /// Notes a number.
    pub fn insert(&self, stream: StreamId, number: i64) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(stream, number);
    }

    /// Forgets a stream whose camera was deleted.
    pub fn remove(&self, stream: &StreamId) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(stream);
    }

    /// The number of a stream, asked of the store when it is new.
    ///
    /// # Errors
    /// As the store says.
    pub async fn ensure(&self, store: &Store, stream: &StreamId) -> Result<i64, StoreError> {
        if let Some(number) = self.get(stream) {
            return Ok(number);
        }
        let number = store.write(EnsureStream { stream: stream.clone() }).await?;
        self.insert(stream.clone(), number);
        Ok(number)
    }
}

/// Writes the rows of segments until it is dropped.
pub struct Indexer {
    live: Arc<LiveIndex>,
    store: Store,
    numbers: Arc<StreamNumbers>,
    clock: Arc<dyn Clock>,
    params: tokio::sync::Mutex<HashMap<CodecParams, i64>>,
    round: Notify,
    /// When the store took a row last, µs of monotonic time; negative before the first.
    committed_us: AtomicI64,
}

impl Indexer {
    /// An indexer over what is live.
    pub fn new(live: Arc<LiveIndex>, store: Store, numbers: Arc<StreamNumbers>, clock: impl Clock) -> Self {
        Indexer {
            live,
            store,
            numbers,
            clock: Arc::new(clock),
            params: tokio::sync::Mutex::default(),
            round: Notify::new(),
            committed_us: AtomicI64::new(-1),
        }
    }

    /// True when the store has taken a row lately.
    pub fn has_committed(&self, lately: Micros) -> bool {
        let committed = self.committed_us.load(Ordering::Relaxed);
        committed >= 0 && self.clock.mono() - MonoTime(committed) <= lately
    }

    /// Has it look at the live index.
    pub fn wake(&self) {
        self.round.notify_one();
    }

    /// Looks at the live index whenever it is woken, for good.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.round.notified().await;
            if let Err(error) = self.flush().await {
                self.committed_us.store(-1, Ordering::Relaxed);
                tracing::warn!(%error, waiting = self.live.len(), "segments wait for the store");
                tokio::time::sleep(REST).await;
            }
        }
    }

    /// Writes every row that is due.
    ///
    /// # Errors
    /// The first failure; rows that failed stay due.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let rows = self.live.pending(ROWS);
        let outcomes = join_all(rows.iter().map(|row| self.put(row))).await;
        outcomes.into_iter().collect()
    }

    async fn put(&self, row: &PendingRow) -> Result<(), StoreError> {
        let segment = &row.segment;
        let stream = &segment.name.stream;
        let outcome = match self.write(segment).await {
            Ok(()) => Ok(()),
            // Its camera was deleted while it was on its way: the file goes with the camera's folder.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.numbers.remove(stream);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {
                tracing::error!(%stream, start = %segment.start, %error, "a segment contradicts the index");
                Ok(())
            }
            Err(error) => Err(error),
        };
        if outcome.is_ok() {
            self.live.committed(row);
            self.committed_us.store(self.clock.mono().0.max(0), Ordering::Relaxed);
        }
        outcome
    }

    async fn write(&self, segment: &LiveSegment) -> Result<(), StoreError> {
        let stream_no = self.numbers.ensure(&self.store, &segment.name.stream).await?;
        let params_no = self.params_no(&segment.tracks).await?;
        let op = put_segment(segment, stream_no, params_no, self.clock.wall());
        self.store.write(op).await.map(|_outcome| ())
    }

    async fn params_no(&self, tracks: &SegmentTracks) -> Result<i64, StoreError> {
        let params = codec_params(tracks);
        let mut known = self.params.lock().await;
        if let Some(number) = known.get(&params) {
            return Ok(*number);
        }
        let number = self.store.write(EnsureParams { params: params.clone() }).await?;
        known.insert(params, number);
        Ok(number)
    }
}

fn put_segment(segment: &LiveSegment, stream_no: i64, params_no: i64, now: WallTime) -> PutSegment {
    PutSegment {
        id: SegmentId { stream_no, start: segment.start },
        end: segment.end,
        size_bytes: i64::try_from(segment.size_bytes).unwrap_or(i64::MAX),
        name_no: i64::from(segment.name.number),
        params_no,
        dependent: segment.dependent,
        seal: segment.ended.map(|(reason, cause)| Seal { reason, cause }),
        holes: segment
            .holes
            .iter()
            .map(|(hole, cause)| Hole { start: hole.start, end: hole.end, cause: *cause })
            .collect(),
        index: Some(segment.index().encode()),
        created_at: now,
    }
}

/// What the store keeps of a segment's tracks.
pub fn codec_params(tracks: &SegmentTracks) -> CodecParams {
    let audio = tracks.audio.as_deref().and_then(TrackParams::audio).map(|audio| AudioFormat {
        codec: audio.codec.as_str().to_owned(),
        codec_string: audio.codec_string.clone(),
        sample_rate: audio.sample_rate,
        channels: u16::from(audio.channels),
    });
    let video = tracks.video.video();
    CodecParams {
        codec: video.map_or("h264", |v| v.codec.as_str()).to_owned(),
        codec_string: tracks.video.codec_string().to_owned(),
        width: video.map_or(1, |v| v.width.max(1)),
        height: video.map_or(1, |v| v.height.max(1)),
        audio,
    }
}
