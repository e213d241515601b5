//! What sessions show of streams: codec, size, rate.
//!
//! Owns: the newest observation of each stream, and when it is worth storing. Pictures are counted against their own
//! capture times, so that a burst or a late look changes no rate. Never: a status.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heldar_base::{CameraId, Clock as _, Micros, MonoTime, StreamId};
use heldar_media::VideoParams;
use heldar_store::op::ObserveStream;
use heldar_store::{ErrorKind, Observed};
use tokio::sync::Notify;

use crate::engine::stream::{StreamFigures, StreamReport};
use crate::kernel::Kernel;
use crate::rhythm::Rhythm;

/// Beats between looks at the figures.
const ROUND: u32 = 5;
/// Least time that a rate is measured over.
const LEAST: Micros = Micros::from_secs(3);
/// Longest time that a rate is measured over.
const SPAN: Micros = Micros::from_secs(30);
/// Least time between two writes of a stream whose rate alone changes.
const RATE_REST: Micros = Micros::from_secs(300);

/// What the running or last session of a stream showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Name of the codec in the API.
    pub codec: String,
    /// Displayed width in pixels.
    pub width: u32,
    /// Displayed height in pixels.
    pub height: u32,
    /// Pictures per 1000 seconds.
    pub fps_milli: Option<u32>,
}

impl From<Observed> for Seen {
    fn from(o: Observed) -> Self {
        Seen { codec: o.codec, width: o.width, height: o.height, fps_milli: o.fps_milli }
    }
}

impl Seen {
    /// Pictures per second.
    pub fn fps(&self) -> Option<f64> {
        self.fps_milli.map(|milli| f64::from(milli) / 1000.0)
    }

    fn of(params: &VideoParams) -> Self {
        let nominal = params.nominal_interval.filter(|interval| interval.0 > 0);
        Seen {
            codec: params.codec.as_str().to_owned(),
            width: params.width,
            height: params.height,
            fps_milli: nominal.and_then(|interval| rate(1, interval)),
        }
    }

    fn observed(&self) -> Observed {
        Observed {
            codec: self.codec.clone(),
            width: self.width,
            height: self.height,
            fps_milli: self.fps_milli,
        }
    }

    /// True when another observation differs in more than a rate that wavers.
    fn differs(&self, other: &Seen) -> bool {
        (&self.codec, self.width, self.height) != (&other.codec, other.width, other.height)
    }

    /// True when both rates are within a tenth of each other.
    fn same_rate(&self, other: &Seen) -> bool {
        match (self.fps_milli, other.fps_milli) {
            (Some(a), Some(b)) => a.abs_diff(b) <= a.max(b) / 10,
            (a, b) => a == b,
        }
    }
}

/// Pictures per 1000 seconds, rounded to hundredths of a picture per second.
fn rate(pictures: u64, over: Micros) -> Option<u32> {
    let over = u128::try_from(over.0).ok().filter(|over| *over > 0)?;
    let hundredths = (u128::from(pictures) * 100_000_000 + over / 2) / over;
    u32::try_from(hundredths * 10).ok()
}

/// Pictures received so far, and capture times of the first of the session and of the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    session_us: i64,
    pictures: u64,
    newest_us: i64,
}

impl Count {
    fn of(figures: &StreamFigures) -> Option<Self> {
        let session_us = figures.session_us.load(Ordering::Relaxed);
        let pictures = figures.pictures.load(Ordering::Relaxed);
        let newest_us = figures.newest_us.load(Ordering::Relaxed);
        (session_us > 0).then_some(Count { session_us, pictures, newest_us })
    }
}

#[derive(Debug)]
struct Entry {
    seen: Seen,
    /// Where the measurement began, in one session.
    since: Option<Count>,
    stored: Option<(Seen, MonoTime)>,
}

/// The newest observation of each stream of this process.
#[derive(Debug, Default)]
pub struct Observations {
    streams: Mutex<HashMap<StreamId, Entry>>,
    /// Something other than a rate is new.
    news: Notify,
}

impl Observations {
    fn streams(&self) -> MutexGuard<'_, HashMap<StreamId, Entry>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a stream's task reports.
    pub fn report(&self, stream: &StreamId, report: &StreamReport) {
        let StreamReport::Params(params) = report else { return };
        let Some(video) = params.video() else { return };
        let seen = Seen::of(video);
        let mut streams = self.streams();
        let entry = streams.entry(stream.clone()).or_insert_with(|| Entry {
            seen: seen.clone(),
            since: None,
            stored: None,
        });
        if entry.seen.differs(&seen) {
            entry.since = None;
            entry.seen = seen;
        }
        self.news.notify_one();
    }

    /// What the running or last session of this process showed.
    pub fn get(&self, stream: &StreamId) -> Option<Seen> {
        self.streams().get(stream).map(|entry| entry.seen.clone())
    }

    /// Forgets a camera that is gone.
    pub fn forget(&self, camera: &CameraId) {
        self.streams().retain(|stream, _| stream.camera != *camera);
    }

    fn measure(&self, stream: &StreamId, now: Count) {
        let mut streams = self.streams();
        let Some(entry) = streams.get_mut(stream) else { return };
        let Some(since) = entry.since.filter(|since| since.session_us == now.session_us) else {
            entry.since = Some(now);
            return;
        };
        let span = Micros(now.newest_us.saturating_sub(since.newest_us));
        if span < LEAST {
            return;
        }
        if let Some(measured) = rate(now.pictures.saturating_sub(since.pictures), span) {
            entry.seen.fps_milli = Some(measured);
        }
        if span >= SPAN {
            entry.since = Some(now);
        }
    }

    /// Observations that the store does not have.
    fn due(&self, now: MonoTime) -> Vec<(StreamId, Seen)> {
        let streams = self.streams();
        let due = streams.iter().filter(|(_, entry)| match &entry.stored {
            None => true,
            Some((stored, _)) if stored.differs(&entry.seen) || stored.fps_milli.is_none() => {
                *stored != entry.seen
            }
            Some((stored, at)) => !stored.same_rate(&entry.seen) && now - *at >= RATE_REST,
        });
        due.map(|(stream, entry)| (stream.clone(), entry.seen.clone())).collect()
    }

    fn stored(&self, stream: &StreamId, seen: Seen, now: MonoTime) {
        if let Some(entry) = self.streams().get_mut(stream) {
            entry.stored = Some((seen, now));
        }
    }
}

/// Measures and stores, for good.
pub(super) async fn run(kernel: &Arc<Kernel>) {
    let mut round = Rhythm::main().every(ROUND);
    loop {
        let observed = &kernel.registry.observed;
        tokio::select! {
            _ = round.tick() => {}
            () = observed.news.notified() => {}
        }
        for (stream, handle) in kernel.ingest.all() {
            if let Some(count) = Count::of(&handle.figures) {
                observed.measure(&stream, count);
            }
        }
        let now = kernel.clock.mono();
        for (stream, seen) in observed.due(now) {
            // A stream gets its number with its first recording.
            let Some(stream_no) = kernel.numbers.get(&stream) else { continue };
            let op = ObserveStream { stream_no, observed: seen.observed() };
            match kernel.store.write(op).await {
                Ok(()) => observed.stored(&stream, seen, now),
                Err(error) if matches!(error.kind(), ErrorKind::Busy | ErrorKind::Unavailable) => break,
                Err(error) => tracing::warn!(%stream, %error, "an observation was not stored"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use heldar_base::StreamKind;
    use heldar_media::{TrackParams, VideoCodec};

    use super::*;

    fn stream() -> StreamId {
        StreamId::new(CameraId::new("gate").unwrap(), StreamKind::Main)
    }

    fn params(width: u32) -> StreamReport {
        StreamReport::Params(Arc::new(TrackParams::Video(VideoParams {
            codec: VideoCodec::H265,
            codec_string: String::new(),
            width,
            height: 1080,
            pixel_aspect: None,
            nominal_interval: Some(Micros(40_000)),
            reorder_depth: 0,
            config: Bytes::new(),
        })))
    }

    fn count(pictures: u64, ms: i64) -> Count {
        counted(1, pictures, ms)
    }

    fn counted(session_us: i64, pictures: u64, ms: i64) -> Count {
        Count { session_us, pictures, newest_us: 1_000_000_000 + ms * 1000 }
    }

    fn fps(observed: &Observations) -> Option<f64> {
        observed.get(&stream()).unwrap().fps()
    }

    #[test]
    fn rates_are_measured_within_a_session() {
        let observed = Observations::default();
        assert_eq!(observed.get(&stream()), None);
        observed.report(&stream(), &params(1920));
        assert_eq!(fps(&observed), Some(25.0), "until it is measured, what the stream says");
        observed.measure(&stream(), count(1000, 0));
        observed.measure(&stream(), count(1020, 2_000));
        assert_eq!(fps(&observed), Some(25.0), "too short");
        observed.measure(&stream(), count(1050, 5_000));
        assert_eq!(fps(&observed), Some(10.0));
        observed.measure(&stream(), counted(2, 1051, 100_000));
        assert_eq!(fps(&observed), Some(10.0));
        observed.measure(&stream(), counted(2, 1151, 110_010));
        assert_eq!(fps(&observed), Some(9.99), "the outage does not count");
    }

    #[test]
    fn what_matters_is_stored_once() {
        let at = |s: i64| MonoTime(s * 1_000_000);
        let observed = Observations::default();
        observed.report(&stream(), &params(1920));
        assert_eq!(observed.due(at(0)).len(), 1);
        observed.stored(&stream(), observed.get(&stream()).unwrap(), at(0));
        observed.report(&stream(), &params(1920));
        assert_eq!(observed.due(at(1000)), []);
        observed.measure(&stream(), count(0, 0));
        observed.measure(&stream(), count(240, 10_000));
        assert_eq!(observed.due(at(1000)), [], "24 instead of 25 wavers");
        observed.measure(&stream(), count(300, 20_000));
        assert_eq!(observed.due(at(299)), []);
        assert_eq!(observed.due(at(300)).len(), 1);
        observed.report(&stream(), &params(640));
        assert_eq!(observed.due(at(1)).len(), 1, "another size at once");
        observed.forget(&stream().camera);
        assert_eq!(observed.due(at(1000)), []);
    }
}
