//! Motion, seen by the server itself: tasks of type `motion`, served from luma planes of the stream.
//!
//! Owns: a detector for each such task, what is stored of what it sees (boxes, events, stretches of time), and the task that a
//! new camera begins with. Never: what counts as motion, which `heldar-motion` decides; a picture longer than it is looked
//! at. Invariant: a stretch with motion is told to the store until the store has it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heldar_base::{CameraId, Clock as _, Interval, Micros, PublicId, WallTime};
use heldar_motion::{Area, Config, Detector, MotionUpdate, Plane, TrackedBox};
use heldar_perception::task::Task;
use heldar_perception::{TaskId, task};
use heldar_store::op::{Outcome, PutMotion, StoreBatch, WriteOp};
use heldar_store::{
    AiTask, AiTaskFields, BatchStored, DetectionBox, ErrorKind, NewBatch, NewDetection, NewEvent, Producer,
    Severity, StoreError,
};
use heldar_zones::Detection;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::engine::journal::{random_bits, uuid};
use crate::kernel::Kernel;
use crate::modes::Source;
use crate::zones::masks;

/// The type of task, the label and the type of event.
pub(crate) const MOTION: &str = "motion";
/// Pictures a second that are looked at unless the task says otherwise.
const FPS: f64 = 5.0;
/// Width of what is looked at, unless the task says otherwise.
const WIDTH: u32 = 320;
/// Boxes are stored at most so often; more says nothing new and fills the database.
const STORED_EVERY: Micros = Micros::from_millis(500);
/// A stretch that goes on is stored again after so long.
const SPAN_EVERY: Micros = Micros::from_secs(5);
/// How often is looked whether a stretch has ended.
const TICK: Duration = Duration::from_secs(1);
/// What waits for the store; more is left out, its stretches apart.
const NEWS: usize = 1024;
/// Written at a time.
const AT_ONCE: usize = 64;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A picture with motion that is worth storing.
struct News {
    camera: CameraId,
    task: TaskId,
    at: WallTime,
    update: MotionUpdate,
    /// Names the detector, so that tracks of another have other names.
    detector: u32,
}

/// How much of a stretch with motion the store has.
#[derive(Clone, Copy, Debug)]
struct Span {
    end: WallTime,
    stored: WallTime,
    is_over: bool,
}

/// What is looked at.
pub(super) struct Motion {
    is_on: bool,
    watches: Mutex<HashMap<TaskId, Arc<Watch>>>,
    spans: Arc<Mutex<HashMap<(CameraId, WallTime), Span>>>,
    news: mpsc::Sender<News>,
    inbox: tokio::sync::Mutex<mpsc::Receiver<News>>,
}

/// One task.
pub(super) struct Watch {
    task: TaskId,
    camera: CameraId,
    config: Value,
    seen: Mutex<Seen>,
    spans: Arc<Mutex<HashMap<(CameraId, WallTime), Span>>>,
    news: mpsc::Sender<News>,
}

struct Seen {
    detector: Detector,
    id: u32,
    stored_at: Option<WallTime>,
    newest: VecDeque<WallTime>,
}

impl Motion {
    pub(super) fn new(settings: &heldar_config::Settings) -> Self {
        let (news, inbox) = mpsc::channel(NEWS);
        Motion {
            is_on: settings.perception.enabled && settings.perception.motion,
            watches: Mutex::default(),
            spans: Arc::default(),
            news,
            inbox: tokio::sync::Mutex::new(inbox),
        }
    }

    /// Whether the server works on a task itself.
    pub(super) fn serves(&self, task: &Task) -> bool {
        self.is_on && task.spec.task_type == MOTION
    }

    /// The detector of a task; begun anew when the task's settings have changed.
    pub(super) fn watch(&self, task: &Task) -> Arc<Watch> {
        let mut watches = lock(&self.watches);
        if let Some(watch) = watches.get(&task.id).filter(|watch| watch.config == task.spec.config) {
            return watch.clone();
        }
        let config = Config::parse(&task.spec.config).unwrap_or_else(|error| {
            tracing::warn!(task = %task.id, camera = %task.camera, %error,
                "a setting of motion detection is of no use; the defaults are taken");
            Config::default()
        });
        let seen = Seen {
            detector: Detector::new(config),
            // Any 32 of the bits.
            id: random_bits() as u32,
            stored_at: None,
            newest: VecDeque::new(),
        };
        let watch = Arc::new(Watch {
            task: task.id,
            camera: task.camera.clone(),
            config: task.spec.config.clone(),
            seen: Mutex::new(seen),
            spans: self.spans.clone(),
            news: self.news.clone(),
        });
        if let Some(before) = watches.insert(task.id, watch.clone()) {
            before.finish();
        }
        watch
    }

    /// Ends the detectors of tasks that are no longer there.
    pub(super) fn keep(&self, mut is_there: impl FnMut(TaskId) -> bool) {
        let mut ended = Vec::new();
        lock(&self.watches).retain(|id, watch| {
            let stays = is_there(*id);
            if !stays {
                ended.push(watch.clone());
            }
            stays
        });
        ended.iter().for_each(|watch| watch.finish());
    }

    /// Age of what was looked at last for a task, and pictures a second over the last ten seconds.
    pub(super) fn freshness(&self, task: TaskId, now: WallTime) -> Option<(Micros, f64)> {
        const SPAN: Micros = Micros::from_secs(10);
        let watch = lock(&self.watches).get(&task).cloned()?;
        let seen = lock(&watch.seen);
        let newest = seen.newest.back().copied()?;
        let count = seen.newest.iter().filter(|at| now - **at <= SPAN).count();
        Some(((now - newest).max(Micros::ZERO), count as f64 / SPAN.as_secs_f64()))
    }

    /// Stretches that the store does not have as they are, the ended ones among them.
    fn unstored(&self) -> Vec<(CameraId, WallTime, Span)> {
        let spans = lock(&self.spans);
        let due = spans.iter().filter(|(_, span)| span.is_over || span.end - span.stored >= SPAN_EVERY);
        due.map(|((camera, start), span)| (camera.clone(), *start, *span)).collect()
    }

    /// The store has a stretch up to here.
    fn stored(&self, camera: CameraId, start: WallTime, span: Span) {
        let mut spans = lock(&self.spans);
        let key = (camera, start);
        let Some(known) = spans.get_mut(&key) else { return };
        known.stored = span.end;
        if known.is_over && known.end == span.end {
            spans.remove(&key);
        }
    }
}

impl Watch {
    /// Looks at a picture.
    pub(super) fn look(&self, at: WallTime, plane: &Plane<'_>) {
        let mut seen = lock(&self.seen);
        let outcome = seen.detector.handle(at, plane);
        seen.newest.push_back(at);
        while seen.newest.len() > 64 {
            seen.newest.pop_front();
        }
        if let Some(closed) = outcome.closed {
            self.over(closed);
        }
        let Some(update) = outcome.update else { return };
        self.moved(update.span);
        let is_due = seen.stored_at.is_none_or(|last| at - last >= STORED_EVERY || at < last);
        if !is_due && !update.event_due {
            return;
        }
        seen.stored_at = Some(at);
        let (camera, task, detector) = (self.camera.clone(), self.task, seen.id);
        if self.news.try_send(News { camera, task, at, update, detector }).is_err() {
            tracing::debug!(camera = %self.camera, "boxes of motion are left out: the store does not keep up");
        }
    }

    fn moved(&self, span: Interval) {
        let key = (self.camera.clone(), span.start);
        let fresh = Span { end: span.end, stored: WallTime(i64::MIN / 2), is_over: false };
        lock(&self.spans).entry(key).and_modify(|known| known.end = span.end).or_insert(fresh);
    }

    fn over(&self, span: Interval) {
        if let Some(known) = lock(&self.spans).get_mut(&(self.camera.clone(), span.start)) {
            (known.end, known.is_over) = (span.end, true);
        }
    }

    /// Ends the stretch that is open, if nothing has moved for long.
    fn expire(&self, now: WallTime) {
        let closed = lock(&self.seen).detector.expire(now);
        if let Some(closed) = closed {
            self.over(closed);
        }
    }

    /// Nothing more will come.
    fn finish(&self) {
        let closed = lock(&self.seen).detector.finish();
        if let Some(closed) = closed {
            self.over(closed);
        }
    }
}

/// The task of a new camera.
pub(crate) fn first_task() -> AiTaskFields {
    AiTaskFields {
        task_type: MOTION.to_owned(),
        enabled: true,
        stream_profile: heldar_base::StreamKind::Sub,
        fps: FPS,
        width: WIDTH.max(task::MIN_WIDTH),
        config: json!({}),
        warm: false,
    }
}

/// What is stored of a picture with motion.
fn batch(news: &News, now: WallTime) -> NewBatch {
    let News { camera, task, at, update, detector } = news;
    let task_id = PublicId::new(AiTask::PREFIX, task.bits());
    let detection = |found: &TrackedBox| NewDetection {
        timestamp: *at,
        label: Some(MOTION.to_owned()),
        confidence: None,
        bbox: bounds(found.area),
        track_id: Some(format!("m{detector:08x}-{}", found.track)),
        attributes: None,
    };
    let event = update.event_due.then(|| NewEvent {
        id: uuid(),
        camera: Some(camera.clone()),
        event_type: MOTION.to_owned(),
        severity: Severity::Info,
        timestamp: *at,
        created_at: now,
        payload: json!({
            "task_id": task.to_string(),
            "score": (f64::from(update.score) * 1e4).round() / 1e4,
            "bbox": bounds(update.overall).map(DetectionBox::values),
            "regions": update.boxes.len(),
            "since": update.span.start,
        }),
    });
    NewBatch {
        camera: camera.clone(),
        task_type: MOTION.to_owned(),
        task: Some(task_id),
        frame_id: Some(format!("k:{MOTION}:{task}:{}", at.0 / 1000)),
        part: 0,
        ticketed: false,
        late: false,
        producer: Producer::Kernel(MOTION.to_owned()),
        captured_at: *at,
        created_at: now,
        detections: update.boxes.iter().map(detection).collect(),
        event,
    }
}

/// A part of the picture as it is stored.
fn bounds(area: Area) -> Option<DetectionBox> {
    let share = |value: f32| f64::from(value).clamp(0.0, 1.0);
    let (x, y) = (share(area.x), share(area.y));
    DetectionBox::new([x, y, share(area.w).min(1.0 - x), share(area.h).min(1.0 - y)])
}

impl Kernel {
    async fn store_motion(&self, news: News) {
        if let Err(error) = self.commit_motion(&news).await {
            tracing::debug!(camera = %news.camera, %error, "boxes of motion are not stored");
        }
    }

    async fn commit_motion(&self, news: &News) -> Result<(), StoreError> {
        let now = self.clock.wall();
        let mut batch = batch(news, now);
        let NewBatch { camera, task_type, captured_at, detections, .. } = &mut batch;
        let seen = masks::Seen { camera, task_type, captured_at: *captured_at, now };
        self.zones.masks.apply(&seen, detections, |one| Detection {
            track: one.track_id.as_deref(),
            label: one.label.as_deref(),
            confidence: None,
            bbox: one.bbox.map(DetectionBox::values),
            at: None,
        });
        if batch.detections.is_empty() && !news.update.boxes.is_empty() {
            return Ok(());
        }
        // Motion that goes on keeps the recording open that it started.
        let triggers = news.update.event_due || self.extends(&news.camera);
        let trigger = triggers.then(|| self.trigger(&news.camera, Source::Motion)).flatten();
        let is_triggered = trigger.is_some();
        let ops = std::iter::once(StoreBatch { batch }.into()).chain(trigger.map(WriteOp::from));
        let mut outcomes = self.store.write_all(ops.collect()).await?;
        if is_triggered {
            self.triggered_by(outcomes.pop())?;
        }
        if let Some(BatchStored::Stored { .. }) = outcomes.pop().map(Outcome::of::<StoreBatch>).transpose()? {
            self.perception.fanout.committed();
        }
        Ok(())
    }

    async fn store_spans(&self) {
        let motion = &self.perception.motion;
        for (camera, start, span) in motion.unstored() {
            let put = PutMotion { camera: camera.clone(), span: Interval::new(start, span.end) };
            match self.store.write(put).await {
                Ok(()) => motion.stored(camera, start, span),
                // The camera is gone, and its stretches with it.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    lock(&motion.spans).remove(&(camera, start));
                }
                Err(error) => {
                    tracing::debug!(%camera, %error, "a stretch with motion is not stored; once more soon");
                    return;
                }
            }
        }
    }

    /// Ends every stretch and stores it; for the end, when nothing is looked at any more.
    pub(crate) async fn finish_motion(&self) {
        self.perception.motion.keep(|_| false);
        self.store_spans().await;
    }
}

/// Stores what is seen, until the server stops.
pub(crate) async fn run(kernel: Arc<Kernel>) {
    let motion = &kernel.perception.motion;
    let mut inbox = motion.inbox.lock().await;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut news = Vec::with_capacity(AT_ONCE);
    loop {
        tokio::select! {
            _ = inbox.recv_many(&mut news, AT_ONCE) => {
                futures_util::future::join_all(news.drain(..).map(|news| kernel.store_motion(news))).await;
            }
            _ = tick.tick() => {
                let now = kernel.clock.wall();
                let watches: Vec<Arc<Watch>> = lock(&motion.watches).values().cloned().collect();
                watches.iter().for_each(|watch| watch.expire(now));
                kernel.store_spans().await;
            }
        }
    }
}
