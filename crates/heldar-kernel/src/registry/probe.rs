//! The test of a camera's stream (media.md 3.4).
//!
//! Owns: when the running session answers and when one is opened for the test. A camera that allows one session only must
//! not lose it to a test, so a session that runs, or is about to, speaks for the stream. One test per camera at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use heldar_base::{CameraId, Clock as _, Micros, ReasonClass, Secret, StreamId, WallTime, mask_userinfo};
use heldar_ingest::{Assembled, Assembler, RtspSession, SessionError, Source, TransportUsed, connect};
use heldar_live::Received;
use heldar_media::{AccessUnit, TrackKind, TrackParams, VideoParams};
use heldar_store::Camera;
use retina::client::SessionGroup;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::engine::supervisor::SessionPhase;
use crate::kernel::Kernel;

/// Longest test.
const LONGEST: Duration = Duration::from_secs(12);
/// Longest time for which pictures are counted.
const COUNTED: Duration = Duration::from_secs(2);
/// Pictures that tell a rate.
const ENOUGH: usize = 11;
/// Time that a running session has to show its next picture.
const NEXT_PICTURE: Duration = Duration::from_secs(2);
/// Time between looks at a session that is about to run.
const LOOK: Duration = Duration::from_millis(50);

/// Tests that run, by camera.
#[derive(Debug, Default)]
pub struct Probes {
    turns: Mutex<HashMap<CameraId, Weak<tokio::sync::Mutex<()>>>>,
}

impl Probes {
    fn turn_of(&self, camera: &CameraId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(camera).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        turns.insert(camera.clone(), Arc::downgrade(&turn));
        turn
    }
}

/// What a test found.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// The URL, userinfo masked.
    pub url: String,
    /// The stream, or why there is none.
    pub outcome: Result<Reached, SessionError>,
}

/// A stream that was reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Reached {
    /// Parameters of its pictures.
    pub video: VideoParams,
    /// Name of the codec in which its sound is carried.
    pub audio_codec: Option<&'static str>,
    /// What RTP is carried over.
    pub transport: Option<TransportUsed>,
    /// Pictures per second.
    pub fps: Option<f64>,
    /// Time from asking to the first picture; `None` when none came while the test ran.
    pub first_picture: Option<Duration>,
}

/// Why a stream was not tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeFailure {
    /// The camera has no stream URL.
    NoUrl,
    /// Another test of the camera takes all the time.
    Busy,
}

/// Tests the recorded stream of a camera; at most 12 s.
///
/// # Errors
/// [`ProbeFailure`]; a stream that cannot be reached is no error.
pub async fn probe(kernel: &Kernel, camera: &Camera) -> Result<Probe, ProbeFailure> {
    let deadline = Instant::now() + LONGEST;
    let kind = camera.fields.record_stream;
    let urls = kernel.urls(camera);
    let url: &Secret<String> = urls.of(kind).ok_or(ProbeFailure::NoUrl)?;
    let url = mask_userinfo(url.expose());
    let turn = kernel.registry.probes.turn_of(&camera.id);
    let _turn = timeout_at(deadline, turn.lock()).await.map_err(|_| ProbeFailure::Busy)?;
    if let Some(reached) = running(kernel, camera, deadline).await {
        return Ok(Probe { url, outcome: Ok(reached) });
    }
    let outcome = match kernel.source(camera, kind) {
        Ok(source) => Box::pin(own(kernel, &source, deadline)).await,
        Err(error) => Err(error),
    };
    Ok(Probe { url, outcome })
}

/// What the running session shows; waits for one that is about to run.
async fn running(kernel: &Kernel, camera: &Camera, deadline: Instant) -> Option<Reached> {
    let began = Instant::now();
    let stream = StreamId::new(camera.id.clone(), camera.fields.record_stream);
    let handle = kernel.ingest.get(&stream)?;
    loop {
        match kernel.supervisor.view(&camera.id)?.session {
            SessionPhase::Streaming => break,
            SessionPhase::Connecting if Instant::now() + LOOK < deadline => sleep(LOOK).await,
            SessionPhase::Connecting | SessionPhase::Idle | SessionPhase::Backoff => return None,
        }
    }
    let mut units = handle.feed.bus().follow();
    let mut shown = Shown::default();
    let mut first_picture = None;
    let patience = match kernel.supervisor.view(&camera.id)?.params {
        Some(_) => deadline.min(Instant::now() + NEXT_PICTURE),
        None => deadline,
    };
    while let Ok(received) = timeout_at(patience, units.recv()).await {
        match received {
            Received::Piece(unit) => {
                if unit.track == TrackKind::Video {
                    first_picture.get_or_insert_with(|| began.elapsed());
                }
                shown.take(&unit);
                // The held GOP is there at once; what follows it would be waited for.
                if shown.video.is_some() && (shown.audio_codec.is_some() || shown.pictures.len() >= ENOUGH) {
                    break;
                }
            }
            Received::Lagged(_) | Received::Interrupted => {}
            Received::Closed => break,
        }
    }
    let view = kernel.supervisor.view(&camera.id)?;
    let video = shown.video.take().or_else(|| view.params.as_ref()?.video().cloned())?;
    let measured = kernel.registry.observed.get(&stream).and_then(|seen| seen.fps());
    Some(Reached {
        fps: view.fps.or(measured).or_else(|| shown.fps()).or_else(|| nominal(&video)),
        video,
        audio_codec: shown.audio_codec,
        transport: view.transport,
        first_picture,
    })
}

/// A session for the test alone.
async fn own(kernel: &Kernel, source: &Source, deadline: Instant) -> Result<Reached, SessionError> {
    let began = Instant::now();
    let group = Arc::new(SessionGroup::default());
    let outcome = match timeout_at(deadline, connect(source, &group, &*kernel.guard)).await {
        Ok(Ok(session)) => watch(kernel, session, began, deadline).await,
        Ok(Err(error)) => Err(error),
        Err(_elapsed) => {
            let text = format!("no answer within {} s", LONGEST.as_secs());
            Err(SessionError::new(ReasonClass::Timeout, text))
        }
    };
    // A camera with a single session is free again before the answer.
    if let Ok(Err(error)) = timeout(Duration::from_secs(1), group.await_teardown()).await {
        tracing::debug!(%error, "the session of a test was not torn down");
    }
    outcome
}

/// Watches a session until it has shown what it carries.
async fn watch(
    kernel: &Kernel,
    mut session: RtspSession,
    began: Instant,
    deadline: Instant,
) -> Result<Reached, SessionError> {
    let mut assembler = Assembler::new(&session, kernel.clock, WallTime::EPOCH)?;
    let audio_codec = assembler.audio_params().and_then(|params| audio_codec(&params));
    let mut shown = Shown::default();
    let mut first_picture = None;
    let mut until = deadline;
    while shown.pictures.len() < ENOUGH {
        let item = match timeout_at(until, session.next()).await {
            Ok(Ok(item)) => item,
            ended => {
                assembler.finish().iter().for_each(|unit| shown.take(unit));
                match ended {
                    _ if shown.video.is_some() => break,
                    Ok(Err(error)) => return Err(error),
                    _ => {
                        let text = format!("connected, but no picture within {} s", LONGEST.as_secs());
                        return Err(SessionError::new(ReasonClass::Stalled, text));
                    }
                }
            }
        };
        let Assembled::Units(units) = assembler.push(item, kernel.clock.wall()) else { break };
        units.iter().for_each(|unit| shown.take(unit));
        if first_picture.is_none() && shown.video.is_some() {
            first_picture = Some(began.elapsed());
            until = deadline.min(Instant::now() + COUNTED);
        }
    }
    let video = shown
        .video
        .take()
        .ok_or_else(|| SessionError::new(ReasonClass::Stalled, "connected, but no picture came"))?;
    let claimed = session.frame_rate.map(f64::from).filter(|fps| fps.is_finite() && *fps > 0.0);
    Ok(Reached {
        fps: shown.fps().or_else(|| nominal(&video)).or(claimed),
        video,
        audio_codec,
        transport: Some(session.transport),
        first_picture,
    })
}

/// What units have shown so far.
#[derive(Debug, Default)]
struct Shown {
    video: Option<VideoParams>,
    audio_codec: Option<&'static str>,
    pictures: Vec<WallTime>,
}

impl Shown {
    fn take(&mut self, unit: &AccessUnit) {
        match &*unit.params {
            TrackParams::Video(video) => {
                self.video = Some(video.clone());
                self.pictures.push(unit.captured_at);
            }
            TrackParams::Audio(_) => self.audio_codec = audio_codec(&unit.params),
        }
    }

    /// Pictures per second by their times of capture, in hundredths.
    fn fps(&self) -> Option<f64> {
        let (first, last) = (self.pictures.iter().min()?, self.pictures.iter().max()?);
        let span = *last - *first;
        if span <= Micros::ZERO {
            return None;
        }
        let intervals = self.pictures.len().saturating_sub(1);
        Some((intervals as f64 / span.as_secs_f64() * 100.0).round() / 100.0)
    }
}

fn audio_codec(params: &TrackParams) -> Option<&'static str> {
    params.audio().map(|audio| audio.codec.as_str())
}

/// What the stream says of its rate.
fn nominal(video: &VideoParams) -> Option<f64> {
    let interval = video.nominal_interval.filter(|interval| interval.0 > 0)?;
    Some((100.0 / interval.as_secs_f64()).round() / 100.0)
}
