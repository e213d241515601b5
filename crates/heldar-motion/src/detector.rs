//! The machine of one camera: pictures in, motion out.
//!
//! Owns: the order of the steps, what a change of the whole picture, a gap and a step of the clock mean. Contract:
//! [`Detector::handle`] takes a picture, [`Detector::expire`] the passing of time without pictures until
//! [`Detector::deadline`], [`Detector::finish`] the end. Never: a clock; a panic, whatever the sizes, bytes and times.
//!
//! Invariants ([`Detector::check_invariants`]): memory is bounded by [`crate::MAX_CELLS`] and [`crate::MAX_TRACKS`], about
//! 0.6 MB for 320 x 180; nothing is followed while learning; a score is a share.

use heldar_base::{Interval, Micros, WallTime};

use crate::background::{Background, Limits, cell};
use crate::config::Config;
use crate::grid::Grid;
use crate::light::LightChange;
use crate::plane::Plane;
use crate::regions::{CellBox, Finder};
use crate::scene::{self, SceneChange};
use crate::spans::{Moved, Spans};
use crate::tracker::{Area, Moving, Tracker};

/// Pictures that follow sooner are left out: more than 12 per second say nothing new.
const SOONEST: Micros = Micros::from_millis(80);
/// A longer pause makes the detector learn anew; slow sampling waits for three of its own intervals.
const PAUSE: Micros = Micros::from_secs(5);
/// Learning takes at least this long and so many pictures, the last of which were steady.
const LEARNING: Micros = Micros::from_secs(2);
const LEARNING_PICTURES: u32 = 8;
const STEADY: Micros = Micros::from_secs(1);
/// Learning of what never gets steady ends after this long.
const LONGEST_LEARNING: Micros = Micros::from_secs(15);
/// A picture is steady when no greater share of it differs from the last second.
const STEADY_SHARE: f32 = 0.08;
/// Share that must have changed for the whole picture to have changed, and by how much more than in the last picture.
const WHOLE: f32 = 0.35;
const SUDDEN: f32 = 0.2;
/// Even behind things that are followed: nothing is left to compare with.
const ALL_BUT: f32 = 0.75;
/// A lasting great change that nothing explains is taken for the new scene after this long.
const UNEXPLAINED: Micros = Micros::from_secs(5);
/// Share from which a change of the light is looked for.
const LIGHT_SHARE: f32 = 0.06;
/// A change of the light may leave no more than this unexplained.
const UNLIT: f32 = 0.15;
/// Caution after learning and after changes of the light, as score, and how long it takes to wear off.
const CAUTION: f32 = 14.0;
const CAUTIOUS: Micros = Micros::from_secs(20);

/// What a detector is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It gets to know the scene: first pictures, a pause, another size.
    Learning,
    /// Nothing moves.
    Quiet,
    /// Something moves, or did within [`crate::HOLD`].
    Motion,
    /// The whole picture has changed; it gets to know it again.
    SceneChanged,
}

/// A moving thing in a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackedBox {
    /// The same as long as the thing is followed; never given twice by one detector.
    pub track: u64,
    /// Where it is.
    pub area: Area,
}

/// A picture with motion.
#[derive(Clone, Debug, PartialEq)]
pub struct MotionUpdate {
    /// What moves, largest first; not empty, at most [`crate::MAX_TRACKS`].
    pub boxes: Vec<TrackedBox>,
    /// The smallest box around all of them.
    pub overall: Area,
    /// Share of the picture that has changed, 0..1.
    pub score: f32,
    /// A span begins with this picture.
    pub rising_edge: bool,
    /// An event is due: at the rising edge, then at most once per `event_interval_s`.
    pub event_due: bool,
    /// The open span: from when its first thing was first seen up to this picture. Its start never changes, so that it is the
    /// key to extend a stored one by.
    pub span: Interval,
}

/// What came of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What the detector is doing now.
    pub state: State,
    /// Share of the picture that has changed, 0..1; 0 while learning.
    pub score: f32,
    /// Present where something moves in this picture.
    pub update: Option<MotionUpdate>,
    /// The span that ended, with its final bounds.
    pub closed: Option<Interval>,
    /// Told once a change of the whole picture has settled.
    pub scene: Option<SceneChange>,
}

/// Motion detection of one camera.
#[derive(Debug)]
pub struct Detector {
    config: Config,
    limits: Limits,
    spans: Spans,
    model: Option<Model>,
    /// Capture time of the last picture that was looked at.
    last: Option<WallTime>,
    /// Usual time between pictures, in seconds.
    interval: f32,
    score: f32,
    last_id: u64,
}

/// What is known of pictures of one size.
#[derive(Debug)]
struct Model {
    grid: Grid,
    open: Vec<u8>,
    /// Cells that count; at least 1.
    open_cells: f32,
    smallest: usize,
    background: Background,
    finder: Finder,
    tracker: Tracker,
    phase: Phase,
    /// Share that had changed in the last picture.
    share: f32,
    /// Since when more has changed than things would explain.
    great_since: Option<WallTime>,
    cautious_until: WallTime,
    /// The background before the whole picture changed.
    before: Vec<f32>,
    now: Vec<f32>,
    marks: Vec<u8>,
    sums: Vec<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Learning {
        why: Why,
        since: WallTime,
        pictures: u32,
        steady_since: Option<WallTime>,
    },
    /// One picture was wholly different: a flash, or the first of a new scene.
    Startled,
    Watching,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Start,
    SceneChanged,
}

impl Detector {
    /// A detector that has seen nothing.
    pub fn new(config: Config) -> Self {
        Detector {
            limits: Limits { floor: config.floor(), factor: config.noise_factor() },
            spans: Spans::new(config.event_interval),
            config,
            model: None,
            last: None,
            interval: 0.2,
            score: 0.0,
            last_id: 0,
        }
    }

    /// Takes a picture captured at `at`.
    ///
    /// Left out are pictures less than 80 ms after the last, or up to 5 s before it. One further back means that the clock
    /// was set: the open span ends, and time begins anew. After a pause of 5 s the scene is learnt anew.
    pub fn handle(&mut self, at: WallTime, plane: &Plane<'_>) -> Outcome {
        let mut closed = None;
        let since = self.last.map(|last| at - last);
        let resumed = match since {
            Some(since) if since < -PAUSE => {
                closed = self.spans.close();
                self.spans.forget_times();
                true
            }
            Some(since) if since < SOONEST => return self.outcome(None, None, None),
            Some(since) => since > PAUSE.max(Micros((3.0 * self.interval * 1e6) as i64)),
            None => true,
        };
        let dt = match since {
            Some(since) if !resumed => since.as_secs_f64() as f32,
            _ => self.interval,
        };
        self.interval += 0.1 * (dt.clamp(0.05, 5.0) - self.interval);
        self.last = Some(at);
        closed = closed.or_else(|| self.spans.expire(at));
        if self.model.as_ref().is_none_or(|model| !model.grid.fits(plane)) {
            self.last_id = self.model.take().map_or(self.last_id, |model| model.tracker.last_id());
            self.model = Model::begin(&self.config, plane, at, self.last_id);
            self.score = 0.0;
            return self.outcome(None, closed, None);
        }
        let Some(model) = &mut self.model else { return self.outcome(None, closed, None) };
        model.grid.average(plane, &mut model.sums, &mut model.now);
        if resumed {
            model.relearn(at, Why::Start);
        }
        let (moving, scene) = model.step(at, dt, self.limits);
        self.score = if matches!(model.phase, Phase::Watching) { model.score() } else { 0.0 };
        let update = self.update(at, &moving);
        self.outcome(update, closed, scene)
    }

    fn update(&mut self, at: WallTime, moving: &[Moving]) -> Option<MotionUpdate> {
        let grid = &self.model.as_ref()?.grid;
        let (first, rest) = moving.split_first()?;
        let born = rest.iter().fold(first.born, |born, moving| born.min(moving.born));
        let bounds = rest.iter().fold(first.bounds, |bounds, moving| bounds.with(&moving.bounds));
        let Moved { span, rising_edge, event_due } = self.spans.moved(at, born);
        let tracked = |moving: &Moving| TrackedBox { track: moving.id, area: area(grid, &moving.bounds) };
        Some(MotionUpdate {
            boxes: moving.iter().map(tracked).collect(),
            overall: area(grid, &bounds),
            score: self.score,
            rising_edge,
            event_due,
            span,
        })
    }

    fn outcome(
        &self,
        update: Option<MotionUpdate>,
        closed: Option<Interval>,
        scene: Option<SceneChange>,
    ) -> Outcome {
        Outcome { state: self.state(), score: self.score, update, closed, scene }
    }

    /// What the detector is doing.
    pub fn state(&self) -> State {
        match self.model.as_ref().map(|model| model.phase) {
            None | Some(Phase::Learning { why: Why::Start, .. }) => State::Learning,
            Some(Phase::Learning { why: Why::SceneChanged, .. }) => State::SceneChanged,
            Some(Phase::Startled | Phase::Watching) if self.spans.is_open() => State::Motion,
            Some(Phase::Startled | Phase::Watching) => State::Quiet,
        }
    }

    /// When the open span ends if no picture with motion comes until then.
    pub fn deadline(&self) -> Option<WallTime> {
        self.spans.deadline()
    }

    /// Tells that it is `now`, for cameras that send no more pictures; the span that has ended by then.
    pub fn expire(&mut self, now: WallTime) -> Option<Interval> {
        self.spans.expire(now)
    }

    /// The open span, as nothing more will come.
    pub fn finish(&mut self) -> Option<Interval> {
        self.spans.close()
    }

    /// Checks what always holds.
    ///
    /// # Panics
    /// When it does not: a mistake in this crate.
    pub fn check_invariants(&self) {
        let Some(model) = &self.model else { return };
        let cells = model.grid.cells();
        assert!(cells <= crate::MAX_CELLS && model.open.len() == cells && model.marks.len() == cells);
        assert!((0.0..=1.0).contains(&self.score), "score {}", self.score);
        model.tracker.check_invariants();
        let learning = matches!(model.phase, Phase::Learning { .. });
        assert!(!(learning && model.tracker.is_following()), "motion while learning");
    }
}

impl Model {
    /// `None` for a plane too small to tell.
    fn begin(config: &Config, plane: &Plane<'_>, at: WallTime, last_id: u64) -> Option<Model> {
        let grid = Grid::of(plane.width(), plane.height(), config.scale_width)?;
        let mut now = vec![0.0; grid.cells()];
        let mut sums = Vec::new();
        grid.average(plane, &mut sums, &mut now);
        let open = grid.open(&config.masks);
        let open_cells = open.iter().filter(|&&open| open != 0).count().max(1);
        Some(Model {
            open_cells: open_cells as f32,
            smallest: config.smallest(grid.cells()),
            background: Background::new(&now),
            finder: Finder::new(&grid),
            tracker: Tracker::new(&grid, last_id),
            phase: Phase::Learning { why: Why::Start, since: at, pictures: 1, steady_since: None },
            share: 0.0,
            great_since: None,
            cautious_until: at,
            before: Vec::new(),
            marks: vec![0; grid.cells()],
            open,
            now,
            sums,
            grid,
        })
    }

    /// Share of the picture that counts as changed, without lonely cells.
    fn score(&self) -> f32 {
        (self.finder.counted() as f32 / self.open_cells).min(1.0)
    }

    fn relearn(&mut self, at: WallTime, why: Why) {
        if why == Why::SceneChanged {
            self.before.clone_from(&self.background.mean);
        }
        self.background.restart(&self.now);
        self.tracker.clear();
        self.great_since = None;
        self.share = 0.0;
        self.phase = Phase::Learning { why, since: at, pictures: 1, steady_since: None };
    }

    /// Looks at the picture in `now`; what moves in it, and what the whole picture's change turned out to be.
    fn step(&mut self, at: WallTime, dt: f32, limits: Limits) -> (Vec<Moving>, Option<SceneChange>) {
        if let Phase::Learning { why, since, pictures, steady_since } = self.phase {
            let learnt = self.learn(at, dt, limits, (why, since, pictures, steady_since));
            return (Vec::new(), learnt);
        }
        let noise = self.background.noise;
        self.background.measure_noise(&self.now, dt);
        let mut share = self.compare(limits);
        if share > LIGHT_SHARE
            && let Some(change) = LightChange::find(&self.background, &self.now, &self.open, limits)
        {
            share = self.relight(&change, share, limits);
            self.cautious_until = at + CAUTIOUS;
        }
        if self.is_new_scene(share, at) {
            // Nothing is learnt from a flash.
            self.background.noise = noise;
            if self.phase == Phase::Startled {
                self.relearn(at, Why::SceneChanged);
            } else {
                self.phase = Phase::Startled;
            }
            return (Vec::new(), None);
        }
        self.phase = Phase::Watching;
        self.share = share;
        self.finder.find(&self.marks, self.smallest);
        let left = (self.cautious_until - at).as_secs_f64().clamp(0.0, CAUTIOUS.as_secs_f64());
        let caution = CAUTION * (left / CAUTIOUS.as_secs_f64()) as f32;
        self.tracker.step(&self.finder.regions, at, dt, caution);
        for bounds in self.tracker.guarded(at) {
            guard(&self.grid, &mut self.marks, &bounds);
        }
        self.background.learn(&self.now, &self.marks, dt);
        (self.tracker.moving(at), None)
    }

    /// Takes a change of the light over into the background, unless the picture has changed as a whole and the light leaves
    /// much of that unexplained; the share that is changed then.
    fn relight(&mut self, change: &LightChange, share: f32, limits: Limits) -> f32 {
        if share >= WHOLE && change.unexplained * share > UNLIT {
            return share;
        }
        change.apply(&mut self.background);
        self.compare(limits)
    }

    fn compare(&mut self, limits: Limits) -> f32 {
        let changed = self.background.compare(&self.now, &self.open, limits, &mut self.marks);
        changed as f32 / self.open_cells
    }

    /// Whether so much has changed that there is nothing left to compare with.
    fn is_new_scene(&mut self, share: f32, at: WallTime) -> bool {
        if share < WHOLE {
            self.great_since = None;
            return false;
        }
        let since = *self.great_since.get_or_insert(at);
        let sudden = share - self.share > SUDDEN || self.phase == Phase::Startled;
        let unexplained = !self.tracker.is_following() && at - since > UNEXPLAINED;
        sudden || unexplained || share > ALL_BUT
    }

    /// One picture of learning.
    fn learn(
        &mut self,
        at: WallTime,
        dt: f32,
        limits: Limits,
        (why, since, pictures, steady_since): (Why, WallTime, u32, Option<WallTime>),
    ) -> Option<SceneChange> {
        self.background.compare(&self.now, &self.open, limits, &mut self.marks);
        let active = self.marks.iter().filter(|&&mark| mark & cell::ACTIVE != 0).count();
        let steady = (active as f32) < STEADY_SHARE * self.open_cells;
        let steady_since = if steady { Some(steady_since.unwrap_or(at)) } else { None };
        self.background.learn_fast(&self.now, pictures, dt);
        let pictures = pictures.saturating_add(1);
        let long_enough = at - since >= LEARNING && pictures >= LEARNING_PICTURES;
        let settled = steady_since.is_some_and(|since| at - since >= STEADY);
        if !(long_enough && settled) && at - since < LONGEST_LEARNING {
            self.phase = Phase::Learning { why, since, pictures, steady_since };
            return None;
        }
        self.phase = Phase::Watching;
        self.cautious_until = at + CAUTIOUS;
        let before = std::mem::take(&mut self.before);
        (why == Why::SceneChanged).then(|| scene::compare(&self.grid, &before, &self.background.mean))
    }
}

/// Marks the cells of a box as guarded.
fn guard(grid: &Grid, marks: &mut [u8], bounds: &CellBox) {
    // Casts of floats saturate.
    let (left, right) = (bounds.left as usize, (bounds.right as usize).min(grid.cols));
    let (top, bottom) = (bounds.top as usize, (bounds.bottom as usize).min(grid.rows));
    for line in marks.chunks_exact_mut(grid.cols).take(bottom).skip(top) {
        for mark in line.iter_mut().take(right).skip(left) {
            *mark |= cell::GUARDED;
        }
    }
}

fn area(grid: &Grid, bounds: &CellBox) -> Area {
    let (x, y) = (grid.share_x(bounds.left), grid.share_y(bounds.top));
    Area { x, y, w: grid.share_x(bounds.right) - x, h: grid.share_y(bounds.bottom) - y }
}
