//! Hours of footage in seconds: the kernel's own recorder, muxer, segment writer and indexer, driven by a clip whose
//! pictures are given the times of a window in the past.
//!
//! Owns: those times. Nothing is made up but them: files and rows are what a camera that sent this clip would have left.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use heldar_base::{CameraId, Cause, EndReason, Interval, Micros, MonoTime, StreamId, StreamKind, WallTime};
use heldar_config::DatabaseTarget;
use heldar_disk::{Muxer, OsDisk, SegmentWriter, Tag, WriterConfig};
use heldar_ingest::SystemClock;
use heldar_kernel::engine::indexer::{Indexer, StreamNumbers};
use heldar_kernel::engine::live_index::LiveIndex;
use heldar_media::{
    AccessUnit, ParamTracker, SyncKind, TrackKind, TrackParams, VideoCodec, aac, read_picture,
};
use heldar_recorder::{AudioPolicy, Order, Recorder, RecorderConfig, Want};
use heldar_rtsp::server::Format;
use heldar_store::{DatabaseUrl, Store, StoreConfig};
use heldar_testcam::mp4::{Movie, Mp4Track};

use super::clips::Clip;
use super::{now, with_cause};

/// Length of files, the server's own default.
const SEGMENT: Micros = Micros::from_secs(60);
/// Bytes that may wait to be written; half of what the writer takes.
const WAITING: u64 = 32 << 20;
/// Pictures and frames between looks at what is to be indexed.
const INDEX_EVERY: usize = 2000;

/// One sample of a clip, ready to be sent again and again.
struct Unit {
    /// Since the begin of the clip, in the order of sending.
    sent: Micros,
    /// Since the begin of the clip.
    captured: Micros,
    sync: SyncKind,
    payload: Bytes,
}

/// A track of a clip, looped.
struct Looped {
    kind: TrackKind,
    params: Arc<TrackParams>,
    units: Vec<Unit>,
    length: Micros,
    turn: i64,
    at: usize,
}

impl Looped {
    /// When the next unit is sent, since the begin of everything.
    fn next_at(&self) -> Micros {
        self.units.get(self.at).map_or(Micros(i64::MAX), |unit| Micros(self.turn * self.length.0) + unit.sent)
    }

    fn next(&mut self, begin: WallTime) -> Option<AccessUnit> {
        let unit = self.units.get(self.at)?;
        let since = Micros(self.turn * self.length.0) + unit.captured;
        let made = AccessUnit {
            track: self.kind,
            captured_at: begin + since,
            received_at: MonoTime(since.0),
            rtp_time: since.to_ticks(90_000),
            sync: unit.sync,
            params: self.params.clone(),
            payload: unit.payload.clone(),
            original: None,
        };
        self.at += 1;
        if self.at == self.units.len() {
            (self.at, self.turn) = (0, self.turn + 1);
        }
        Some(made)
    }
}

/// Fills `data`, the data folder of a server that does not run, with footage of a camera that the store knows.
///
/// # Errors
/// A clip that cannot be read, a store or a disk that fails.
pub(super) async fn lay_down(data: &Path, clip: &Clip, camera: &str, window: Interval) -> Result<(), String> {
    let file = std::fs::read(&clip.path).map_err(|error| format!("{}: {error}", clip.path.display()))?;
    let movie = Movie::parse(&Bytes::from(file)).map_err(with_cause)?;
    let store = open_store(data).await?;
    let camera = CameraId::new(camera).map_err(with_cause)?;
    let outcome = record(data, &movie, &StreamId::new(camera, StreamKind::Main), window, &store).await;
    store.close().await;
    outcome
}

/// The store of a data folder.
///
/// # Errors
/// It cannot be opened.
pub(super) async fn open_store(data: &Path) -> Result<Store, String> {
    let DatabaseTarget::Sqlite(path) = DatabaseTarget::in_folder(data) else {
        return Err("the database of a folder is a file".to_owned());
    };
    let config = StoreConfig { url: DatabaseUrl::Sqlite(path), max_connections: 4, now: now() };
    Store::open(config).await.map_err(with_cause)
}

async fn record(
    data: &Path,
    movie: &Movie,
    stream: &StreamId,
    window: Interval,
    store: &Store,
) -> Result<(), String> {
    let mut tracks =
        movie.tracks.iter().filter_map(|track| looped(track).transpose()).collect::<Result<Vec<_>, _>>()?;
    let live = Arc::new(LiveIndex::new());
    let sink = live.clone();
    let disk = Arc::new(OsDisk::new(data.join("recordings")).map_err(with_cause)?);
    let writer = SegmentWriter::start(disk, WriterConfig::default(), move |done| sink.completed(done));
    let mut line = Line {
        recorder: Recorder::new(RecorderConfig {
            segment: SEGMENT,
            stagger: Micros::ZERO,
            fragment: Micros::from_secs(1),
            fragment_bytes: 8 << 20,
            audio: AudioPolicy::Keep,
        }),
        muxer: Muxer::new(stream.clone(), Arc::new(AtomicU64::new(1))),
        writer: Arc::new(writer.map_err(with_cause)?),
        orders: Vec::new(),
    };
    let indexer =
        Indexer::new(live.clone(), store.clone(), Arc::new(StreamNumbers::default()), SystemClock::new());
    let sound = tracks.iter().find(|track| track.kind == TrackKind::Audio).map(|track| track.params.clone());
    let silence = sound.as_deref().and_then(TrackParams::audio).and_then(aac::silence);
    line.recorder.set_wanted(Want::Until(WallTime::FAR_FUTURE));
    line.recorder.run_started(sound, silence);
    for count in 1.. {
        let Some(next) = tracks.iter_mut().min_by_key(|track| track.next_at()) else { break };
        let Some(unit) = next.next(window.start).filter(|unit| unit.captured_at < window.end) else { break };
        line.recorder.push(&unit, &mut line.orders);
        line.carry_out().await?;
        if count % INDEX_EVERY == 0 {
            indexer.flush().await.map_err(with_cause)?;
        }
    }
    line.recorder.run_ended(EndReason::ServerStopped, Some(Cause::ServerStopped), &mut line.orders);
    line.carry_out().await?;
    let writer = line.writer;
    tokio::task::spawn_blocking(move || writer.stop()).await.map_err(with_cause)?;
    while !live.is_empty() {
        let before = live.len();
        indexer.flush().await.map_err(with_cause)?;
        if live.len() == before {
            return Err(format!("{before} segments cannot be indexed"));
        }
    }
    Ok(())
}

/// From pictures to files.
struct Line {
    recorder: Recorder,
    muxer: Muxer,
    writer: Arc<SegmentWriter<Tag>>,
    orders: Vec<Order>,
}

impl Line {
    async fn carry_out(&mut self) -> Result<(), String> {
        for order in std::mem::take(&mut self.orders) {
            while self.writer.stats().queued_bytes.load(std::sync::atomic::Ordering::Relaxed) > WAITING {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let taken = self.muxer.submit(order, &self.writer);
            taken.map_err(|not_taken| format!("a fragment cannot be written: {:?}", not_taken.why))?;
        }
        Ok(())
    }
}

/// A track that can be recorded; `None` for any other.
fn looped(track: &Mp4Track) -> Result<Option<Looped>, String> {
    let at = |ticks: u64| Micros::from_ticks(ticks.cast_signed(), track.timescale);
    let length = at(track.duration);
    let (kind, params, units) = match &track.format {
        Format::H264(sets) => {
            let sets: Vec<Bytes> = sets.iter().cloned().collect();
            pictures(track, VideoCodec::H264, &sets)
                .map(|(params, units)| (TrackKind::Video, params, units))?
        }
        Format::H265(sets) => {
            let sets: Vec<Bytes> = sets.iter().cloned().collect();
            pictures(track, VideoCodec::H265, &sets)
                .map(|(params, units)| (TrackKind::Video, params, units))?
        }
        Format::Aac { config, .. } => {
            let params = aac::audio_params(config.clone()).map_err(with_cause)?;
            let frames = track.samples.iter().map(|sample| {
                let sent = at(sample.decode_time);
                Unit { sent, captured: sent, sync: SyncKind::Closed, payload: sample.payload.clone() }
            });
            (TrackKind::Audio, Arc::new(TrackParams::Audio(params)), frames.collect())
        }
        _ => return Ok(None),
    };
    Ok(Some(Looped { kind, params, units, length, turn: 0, at: 0 }))
}

/// Reads every picture once, as the ingest does; the parameters in force at the end hold for all.
fn pictures(
    track: &Mp4Track,
    codec: VideoCodec,
    sets: &[Bytes],
) -> Result<(Arc<TrackParams>, Vec<Unit>), String> {
    let mut tracker = ParamTracker::new(codec);
    tracker.offer(sets);
    let mut units = Vec::with_capacity(track.samples.len());
    for sample in &track.samples {
        let picture = read_picture(codec, &sample.payload).map_err(with_cause)?;
        let shown = sample.decode_time.saturating_add_signed(sample.composition_offset).cast_signed();
        let captured = Micros::from_ticks(shown, track.timescale);
        let _change = tracker.update(&picture, captured.to_ticks(90_000));
        units.push(Unit {
            sent: Micros::from_ticks(sample.decode_time.cast_signed(), track.timescale),
            captured,
            sync: picture.sync,
            payload: picture.payload,
        });
    }
    let params = tracker.params().cloned().ok_or("the clip has no parameter sets")?;
    Ok((params, units))
}
