//! Decoding of one stream for all its units: from the bus through a decoder process into their rings.
//!
//! Owns: which pictures are sent to be decoded and what they are to become. Never: pulls a camera; slows the bus: a decoder
//! that cannot keep up has this follower moved to the next sync sample. A decoder that is lost, or that cannot make pictures of
//! what the stream sends, has the stream rest for a while, longer each time, and nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heldar_base::{Clock as _, Micros, WallTime};
use heldar_decode::wire::{Format, Hints, Output};
use heldar_decode::{Answers, Decoders, Feed, OpenError, Reply, Unit as CodedUnit};
use heldar_ingest::SystemClock;
use heldar_live::{Bus, Received, Units};
use heldar_media::{AccessUnit, TrackKind, TrackParams};
use heldar_motion::Plane;
use heldar_perception::TaskId;
use heldar_perception::grid::Picker;
use heldar_perception::plan::DecodeMode;
use heldar_perception::ring::{NewFrame, PickedFor, Rendition};
use tokio::sync::watch;
use tokio::time::Instant;

use super::behind;
use super::order::Order;
use super::unit::Unit;
use crate::perception::motion::Watch;

/// First and longest rest of a stream that its decoder cannot cope with.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A decoder that has served for so long was a good one.
const GOOD: Duration = Duration::from_secs(30);
/// So many malformed pictures within [`FAULT_SPAN`] are too many.
const FAULTS: usize = 20;
/// See [`FAULTS`].
const FAULT_SPAN: Duration = Duration::from_secs(10);

/// One task's share of a stream.
#[derive(Clone, Debug)]
pub(super) struct TaskPick {
    pub(super) unit: Arc<Unit>,
    pub(super) task: TaskId,
    pub(super) fps: f64,
    pub(super) width: u32,
}

/// One look for motion at a stream.
#[derive(Clone)]
pub(super) struct Look {
    pub(super) watch: Arc<Watch>,
    pub(super) task: TaskId,
    pub(super) fps: f64,
    pub(super) width: u32,
}

/// What is to be made of a stream.
#[derive(Clone)]
pub(super) struct Spec {
    pub(super) mode: DecodeMode,
    pub(super) quality: u8,
    pub(super) picks: Vec<TaskPick>,
    pub(super) looks: Vec<Look>,
}

impl Spec {
    /// The highest rate, in pictures a second.
    pub(super) fn fastest(&self) -> f64 {
        let looks = self.looks.iter().map(|look| look.fps);
        self.picks.iter().map(|pick| pick.fps).chain(looks).fold(0.02, f64::max)
    }
}

impl PartialEq for Spec {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (&TaskPick, &TaskPick)| {
            (a.task, a.fps, a.width) == (b.task, b.fps, b.width) && Arc::ptr_eq(&a.unit, &b.unit)
        };
        let same_look = |(a, b): (&Look, &Look)| {
            (a.task, a.fps, a.width) == (b.task, b.fps, b.width) && Arc::ptr_eq(&a.watch, &b.watch)
        };
        let shape = |spec: &Spec| (spec.mode, spec.quality, spec.picks.len(), spec.looks.len());
        shape(self) == shape(other)
            && self.picks.iter().zip(&other.picks).all(same)
            && self.looks.iter().zip(&other.looks).all(same_look)
    }
}

/// How a stream fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Condition {
    /// No picture has come yet.
    #[default]
    Connecting,
    /// Pictures come.
    Flows,
    /// The source was lost.
    Offline,
    /// Its pictures cannot be decoded; it rests.
    Failed,
}

/// What is known of a stream while it is decoded.
#[derive(Debug, Default)]
pub(super) struct Status {
    pub(super) condition: Mutex<Condition>,
    /// Processor time that decoding and sampling took, in microseconds.
    pub(super) cpu_us: AtomicI64,
    /// Time between sync samples, in microseconds; 0: not seen yet.
    pub(super) sync_us: AtomicI64,
    /// How late the last picture was, in microseconds.
    pub(super) late_us: AtomicI64,
}

impl Status {
    pub(super) fn condition(&self) -> Condition {
        *self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, condition: Condition) {
        *self.condition.lock().unwrap_or_else(PoisonError::into_inner) = condition;
    }
}

/// What becomes of a picture once it is decoded.
struct Expected {
    captured_at: WallTime,
    pts_us: i64,
    session: u64,
    /// Who looks at which luma plane; these come first among the images.
    planes: Vec<(u32, Vec<Arc<Watch>>)>,
    /// Widths that are made after that, in the order of the images.
    widths: Vec<u32>,
    /// For whom, each with the width that it gets.
    picks: Vec<(Arc<Unit>, PickedFor, u32)>,
}

/// Decodes one stream until its bus is closed or the task is aborted.
pub(super) struct Decoding {
    pub(super) decoders: Decoders,
    pub(super) clock: SystemClock,
    pub(super) bus: Bus,
    pub(super) spec: watch::Receiver<Spec>,
    pub(super) status: Arc<Status>,
    pickers: BTreeMap<TaskId, Picker>,
    expected: Arc<Mutex<HashMap<i64, Expected>>>,
    session: u64,
    last_sync: Option<WallTime>,
}

/// Who a picture is for.
#[derive(Default)]
struct For {
    picks: Vec<TaskPick>,
    looks: Vec<Look>,
}

/// Why feeding a decoder ended.
enum Fed {
    /// The bus is closed.
    Closed,
    /// The stream goes on in other parameters, or anew after a loss, with this unit.
    Anew(Option<Arc<AccessUnit>>),
    /// The decoder is lost.
    Lost,
}

impl Decoding {
    pub(super) fn new(
        decoders: Decoders,
        clock: SystemClock,
        bus: Bus,
        spec: watch::Receiver<Spec>,
        status: Arc<Status>,
    ) -> Self {
        Decoding {
            decoders,
            clock,
            bus,
            spec,
            status,
            pickers: BTreeMap::new(),
            expected: Arc::default(),
            session: 1,
            last_sync: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut rest = REST.0;
        loop {
            let began = Instant::now();
            match self.follow().await {
                Ok(()) => return,
                Err(why) => {
                    tracing::warn!(%why, "a stream cannot be decoded at the moment");
                    self.status.set(Condition::Failed);
                    if began.elapsed() >= GOOD {
                        rest = REST.0;
                    }
                    tokio::time::sleep(rest).await;
                    rest = (rest * 2).min(REST.1);
                }
            }
        }
    }

    /// Follows the bus from its newest sync sample on; ends well when the bus is closed.
    async fn follow(&mut self) -> Result<(), String> {
        let mut units = self.bus.follow();
        let mut first = None;
        loop {
            let unit = match first.take() {
                Some(unit) => unit,
                None => match self.first_picture(&mut units).await {
                    Some(unit) => unit,
                    None => return Ok(()),
                },
            };
            let Some(params) = unit.params.video() else { continue };
            let opened = self.decoders.open(params.codec, params.reorder_depth, &params.config).await;
            let (feed, answers) = opened.map_err(|error| match error {
                OpenError::Start(cause) => format!("{cause}: is heldar-decoder installed?"),
                error => error.to_string(),
            })?;
            lock(&self.expected).clear();
            let collecting = collect(answers, self.expected.clone(), self.status.clone(), self.clock);
            let fed = tokio::select! {
                fed = self.feed(&feed, &mut units, unit) => fed,
                why = collecting => return Err(why),
            };
            match fed {
                Fed::Closed => return Ok(()),
                Fed::Anew(unit) => first = unit,
                Fed::Lost => return Err("the decoder process was lost".to_owned()),
            }
        }
    }

    /// The next sync sample; `None` once the bus is closed.
    async fn first_picture(&mut self, units: &mut Units) -> Option<Arc<AccessUnit>> {
        loop {
            match units.recv().await {
                Received::Piece(unit) if unit.track == TrackKind::Video => return Some(unit),
                Received::Piece(_sound) => {}
                Received::Lagged(_) => {}
                Received::Interrupted => self.interrupted(),
                Received::Closed => return None,
            }
        }
    }

    fn interrupted(&mut self) {
        self.session += 1;
        self.last_sync = None;
        self.status.set(Condition::Offline);
    }

    /// Sends pictures to a decoder.
    async fn feed(&mut self, feed: &Feed, units: &mut Units, first: Arc<AccessUnit>) -> Fed {
        let depth = first.params.video().map_or(0, |params| params.reorder_depth);
        let mut order = Order::new(depth);
        let params = first.params.clone();
        let mut next = Some(first);
        loop {
            let unit = match next.take() {
                Some(unit) => unit,
                None => match units.recv().await {
                    Received::Piece(unit) if unit.track == TrackKind::Video => unit,
                    Received::Piece(_sound) => continue,
                    Received::Lagged(_) => return Fed::Anew(None),
                    Received::Interrupted => {
                        self.interrupted();
                        return Fed::Anew(None);
                    }
                    Received::Closed => return Fed::Closed,
                },
            };
            if let Some((start, newer)) = behind::newer(&self.bus, &unit, self.clock.mono()) {
                tracing::debug!(from = %unit.captured_at, to = %start.captured_at, "decoding is behind; it goes on later");
                *units = newer;
                return Fed::Anew(Some(start));
            }
            if !same(&params, &unit.params) {
                return Fed::Anew(Some(unit));
            }
            self.status.set(Condition::Flows);
            if unit.sync.is_sync()
                && let Some(last) = self.last_sync.replace(unit.captured_at)
            {
                self.status.sync_us.store((unit.captured_at - last).0, Ordering::Relaxed);
            }
            let spec = self.spec.borrow_and_update().clone();
            let alone = spec.mode == DecodeMode::SyncOnly;
            if alone && !unit.sync.is_sync() {
                continue;
            }
            let ready = if alone {
                let picks = self.picks(&spec, &unit);
                vec![(unit, picks)]
            } else {
                order.push(unit, |unit| self.picks(&spec, unit))
            };
            for (unit, picks) in ready {
                if self.send(feed, &spec, &unit, picks, alone).await.is_err() {
                    return Fed::Lost;
                }
            }
        }
    }

    /// The tasks that a picture is for.
    fn picks(&mut self, spec: &Spec, unit: &AccessUnit) -> For {
        let is_there = |task: &TaskId| {
            spec.picks.iter().any(|pick| pick.task == *task)
                || spec.looks.iter().any(|look| look.task == *task)
        };
        self.pickers.retain(|task, _| is_there(task));
        let mut is_picked = |task: TaskId, fps: f64| {
            let picker = self.pickers.entry(task).or_insert_with(|| Picker::new(fps));
            if picker.fps() != fps {
                *picker = Picker::new(fps);
            }
            picker.picks(unit.captured_at)
        };
        let picks = spec.picks.iter().filter(|pick| is_picked(pick.task, pick.fps)).cloned().collect();
        let looks = spec.looks.iter().filter(|look| is_picked(look.task, look.fps)).cloned().collect();
        For { picks, looks }
    }

    async fn send(
        &self,
        feed: &Feed,
        spec: &Spec,
        unit: &AccessUnit,
        whom: For,
        alone: bool,
    ) -> Result<(), heldar_decode::Lost> {
        let For { picks, looks } = whom;
        let most = unit.params.video().map_or(u32::MAX, |params| params.width.max(1));
        let mut planes: BTreeMap<u32, Vec<Arc<Watch>>> = BTreeMap::new();
        for look in &looks {
            planes.entry(look.width.min(most)).or_default().push(look.watch.clone());
        }
        let widths: BTreeSet<u32> = picks.iter().map(|pick| pick.width.min(most)).collect();
        let widths: Vec<u32> = widths.into_iter().collect();
        let output = |format: Format, width: u32| Output {
            format,
            width: u16::try_from(width).unwrap_or(u16::MAX),
            crop: None,
        };
        let luma = planes.keys().map(|width| output(Format::Luma, *width));
        let jpeg = widths.iter().map(|width| output(Format::Jpeg(spec.quality), *width));
        let outputs: Vec<Output> = luma.chain(jpeg).take(heldar_decode::wire::MAX_OUTPUTS).collect();
        let pts = unit.captured_at.0;
        if !outputs.is_empty() {
            let picked = |pick: &TaskPick| {
                let for_task = PickedFor { task: pick.task, width: pick.width };
                (pick.unit.clone(), for_task, pick.width.min(most))
            };
            let expected = Expected {
                captured_at: unit.captured_at,
                // RTP time of video runs at 90 kHz (RFC 6184 8.2.1).
                pts_us: unit.rtp_time.saturating_mul(100) / 9,
                session: self.session,
                planes: planes.into_iter().collect(),
                widths,
                picks: picks.iter().map(picked).collect(),
            };
            let mut all = lock(&self.expected);
            // What a decoder never gives back must not stay for ever.
            if all.len() > 256 {
                all.clear();
            }
            all.insert(pts, expected);
        }
        let hints = Hints { alone, skip_unreferenced: true };
        feed.unit(CodedUnit { pts, hints, outputs, payload: unit.payload.clone() }).await
    }
}

fn same(a: &Arc<TrackParams>, b: &Arc<TrackParams>) -> bool {
    Arc::ptr_eq(a, b) || **a == **b
}

fn lock(expected: &Mutex<HashMap<i64, Expected>>) -> MutexGuard<'_, HashMap<i64, Expected>> {
    expected.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts decoded pictures into the rings of their units; ends with the reason why no more can come.
async fn collect(
    mut answers: Answers,
    expected: Arc<Mutex<HashMap<i64, Expected>>>,
    status: Arc<Status>,
    clock: SystemClock,
) -> String {
    let mut faults: VecDeque<Instant> = VecDeque::new();
    loop {
        let (reply, spent) = answers.recv().await;
        let spent = i64::try_from(spent.as_micros()).unwrap_or(i64::MAX);
        status.cpu_us.fetch_add(spent, Ordering::Relaxed);
        match reply {
            Reply::Picture(picture) => {
                let Some(about) = lock(&expected).remove(&picture.pts) else { continue };
                let late = (clock.wall() - about.captured_at).max(Micros::ZERO);
                status.late_us.store(late.0, Ordering::Relaxed);
                let mut images = picture.images.into_iter();
                for ((_, watches), image) in about.planes.iter().zip(images.by_ref()) {
                    let (width, height) = (usize::from(image.width), usize::from(image.height));
                    match Plane::new(width, height, &image.data) {
                        Ok(plane) => watches.iter().for_each(|watch| watch.look(about.captured_at, &plane)),
                        Err(error) => tracing::debug!(%error, "a plane is of no use"),
                    }
                }
                if about.picks.is_empty() {
                    continue;
                }
                let renditions = images.map(|image| Rendition {
                    width: image.width.into(),
                    height: image.height.into(),
                    jpeg: image.data.into(),
                });
                give(about, renditions.collect());
            }
            Reply::Malformed { pts, why } => {
                lock(&expected).remove(&pts);
                tracing::debug!(%why, "a picture cannot be decoded");
                let now = Instant::now();
                faults.push_back(now);
                while faults.front().is_some_and(|first| now.duration_since(*first) > FAULT_SPAN) {
                    faults.pop_front();
                }
                if faults.len() >= FAULTS {
                    return format!("{FAULTS} pictures in a row of seconds cannot be decoded: {why}");
                }
            }
            Reply::Flushed(_) => {}
            Reply::Lost(lost) => return lost.to_string(),
        }
    }
}

/// Gives a picture to each unit that picked it, in the widths that its tasks asked for.
fn give(about: Expected, images: Vec<Rendition>) {
    let Expected { captured_at, pts_us, session, widths, mut picks, .. } = about;
    let made: Vec<(u32, Rendition)> = widths.into_iter().zip(images).collect();
    while let Some((unit, ..)) = picks.first() {
        let unit = unit.clone();
        let own: Vec<(PickedFor, u32)> = picks
            .extract_if(.., |(of, ..)| Arc::ptr_eq(of, &unit))
            .map(|(_, picked, width)| (picked, width))
            .collect();
        let is_own = |width: u32| own.iter().any(|(_, of)| *of == width);
        let renditions =
            made.iter().filter(|(width, _)| is_own(*width)).map(|(_, made)| made.clone()).collect();
        let picked = own.iter().map(|(picked, _)| *picked).collect();
        unit.push(NewFrame { captured_at, pts_us, session, renditions, picked });
    }
}
