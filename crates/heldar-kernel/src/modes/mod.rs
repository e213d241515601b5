//! Record modes: which cameras are to be recorded now, as time passes and things happen (media.md 14).
//!
//! Owns: the plan of every camera, when it was last looked at, and that what follows from it reaches the history, the
//! supervisor and the streams in this order. Never: what follows, which `heldar-recorder` decides; a read of the store while
//! time passes.
//!
//! Invariants
//! 1. What was wanted up to now is settled by the plan that held up to now, before another takes its place.
//! 2. Changes of one camera are told in the order of their instants, which rise; history and supervisor get the same ones.

mod trigger;

pub(crate) use trigger::Source;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heldar_base::{
    CameraId, Cause, Clock as _, Micros, NotWanted, Scope, SiteId, StreamId, StreamKind, WallTime,
};
use heldar_recorder::{Demand, Mode, Orders, Plan, PreRolls, Since, TriggerWindow};
use heldar_store::{Camera, RecordMode, RecordSchedule, StoreError};
use heldar_timeline::{Schedule, WeekWindow};
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use tokio::sync::Notify;

use crate::engine::journal::Entry;
use crate::engine::stream::Rolls;
use crate::kernel::Kernel;

/// Shortest rest between two looks.
const REST: Micros = Micros::from_millis(1);

/// What every camera owes.
#[derive(Debug)]
pub struct Modes {
    cameras: Mutex<BTreeMap<CameraId, Known>>,
    /// What is held of streams before something happens.
    pub rolls: Rolls,
    wake: Notify,
}

/// A camera that is looked after.
#[derive(Debug)]
struct Known {
    camera: Camera,
    plan: Plan,
    demand: Demand,
    since: Since,
    /// When the demand may change next.
    change: Option<WallTime>,
    /// When anything is to be done next.
    due: Option<WallTime>,
    /// Whether the supervisor was told of the demand.
    is_told: bool,
}

/// A demand and its first instant.
type Change = (WallTime, Demand);

impl Known {
    /// What time has brought up to `now`, by the plan that holds.
    fn advance(&mut self, now: WallTime) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some(at) = self.change.filter(|at| *at <= now) {
            let (demand, next) = self.plan.demand(at);
            self.change = next;
            let is_end = self.demand == Demand::Wanted;
            changes.extend(self.turn(at, demand, is_end));
        }
        changes
    }

    /// What an edit has brought, `now`.
    fn settle(&mut self, now: WallTime) -> Vec<Change> {
        let (demand, next) = self.plan.demand(now);
        self.change = next;
        let was_told = std::mem::replace(&mut self.is_told, true);
        match self.turn(now, demand, false) {
            Some(change) => vec![change],
            None if was_told => Vec::new(),
            None => vec![(now, demand)],
        }
    }

    fn turn(&mut self, at: WallTime, demand: Demand, is_end: bool) -> Option<Change> {
        if demand == self.demand {
            return None;
        }
        let at = at.max(WallTime(self.since.at.0 + 1));
        (self.demand, self.since) = (demand, Since { at, is_end });
        Some((at, demand))
    }

    fn orders(&mut self, now: WallTime) -> Orders {
        let orders = self.plan.orders(now.max(self.since.at), self.since);
        self.due = [orders.until, self.change].into_iter().flatten().min();
        orders
    }

    /// Streams that are recorded when the camera is.
    fn streams(&self) -> impl Iterator<Item = StreamId> + use<'_> {
        let kinds = [StreamKind::Main, StreamKind::Sub];
        kinds.into_iter().filter(|kind| is_recorded(&self.camera, *kind)).map(|kind| self.stream(kind))
    }

    fn stream(&self, kind: StreamKind) -> StreamId {
        StreamId::new(self.camera.id.clone(), kind)
    }
}

/// Whether a stream of a camera is recorded when the camera is.
pub(crate) fn is_recorded(camera: &Camera, kind: StreamKind) -> bool {
    kind == camera.fields.record_stream || (kind == StreamKind::Sub && camera.fields.record_sub)
}

impl Modes {
    /// No cameras; so many bytes are held of all of them together.
    pub fn new(held_bytes: usize) -> Self {
        Modes {
            cameras: Mutex::default(),
            rolls: Arc::new(Mutex::new(PreRolls::new(held_bytes))),
            wake: Notify::new(),
        }
    }

    fn cameras(&self) -> MutexGuard<'_, BTreeMap<CameraId, Known>> {
        self.cameras.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rolls(&self) -> MutexGuard<'_, PreRolls<StreamId>> {
        self.rolls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A camera is gone.
    pub(crate) fn forget(&self, camera: &CameraId) {
        self.cameras().remove(camera);
    }

    /// Cameras that belong to a site.
    pub(crate) fn of_site(&self, site: &SiteId) -> Vec<CameraId> {
        let cameras = self.cameras();
        let of = |known: &&Known| known.camera.fields.site_id.as_ref() == Some(site);
        cameras.values().filter(of).map(|known| known.camera.id.clone()).collect()
    }
}

impl Kernel {
    /// Why a camera is not recorded, whatever its mode.
    fn switched_off(&self, camera: &Camera) -> Option<NotWanted> {
        if !camera.fields.enabled {
            Some(NotWanted::CameraDisabled)
        } else if !self.settings.recorder.enabled {
            Some(NotWanted::RecorderOff)
        } else if !camera.fields.record_enabled {
            Some(NotWanted::RecordingDisabled)
        } else {
            None
        }
    }

    /// Whether recording of a camera is wanted now, and why not.
    pub fn wanted(&self, camera: &Camera) -> Result<(), NotWanted> {
        if let Some(why) = self.switched_off(camera) {
            return Err(why);
        }
        let now = self.clock.wall();
        let known = self.modes.cameras().get(&camera.id).map(|known| known.plan.demand(now).0);
        let demand = known.unwrap_or(match camera.fields.record_mode {
            RecordMode::Continuous => Demand::Wanted,
            RecordMode::Scheduled => Demand::Idle(NotWanted::OutsideSchedule),
            RecordMode::Event | RecordMode::ScheduledEvent => Demand::Armed,
        });
        demand.not_wanted().map_or(Ok(()), Err)
    }

    /// How a camera is to be recorded, from what is stored. Also a number that changes with its schedules.
    ///
    /// # Errors
    /// The store is busy or lost.
    pub(crate) async fn record_plan(&self, camera: &Camera) -> Result<(Plan, u64), StoreError> {
        let mode = match camera.fields.record_mode {
            RecordMode::Continuous => Mode::Continuous,
            RecordMode::Scheduled => Mode::Scheduled,
            RecordMode::Event => Mode::Event,
            RecordMode::ScheduledEvent => Mode::ScheduledEvent,
        };
        let (mut schedule, mut revisions) = (Schedule::new(TimeZone::UTC, Vec::new()), 0);
        if matches!(mode, Mode::Scheduled | Mode::ScheduledEvent) {
            let rows = self.store.record_schedules(&Scope::All, &camera.id).await?;
            revisions = rows.iter().map(|row| row.revision.unsigned_abs()).sum();
            let windows = rows.iter().filter(|row| row.fields.enabled).filter_map(week_window).collect();
            schedule = Schedule::new(self.zone_of(camera).await?, windows);
        }
        let window = match mode.has_trigger() {
            true => {
                self.store.record_window(&Scope::All, &camera.id).await?.map(|window| trigger_window(&window))
            }
            false => None,
        };
        let pre_roll = Micros::from_secs(i64::from(camera.fields.pre_roll_seconds));
        Ok((Plan { off: self.switched_off(camera), mode, schedule, window, pre_roll }, revisions))
    }

    /// Takes a camera's plan, and gives its streams what follows from it.
    pub(crate) fn adopt(&self, camera: &Camera, plan: Plan, give: impl FnOnce(&Orders)) {
        let mut cameras = self.modes.cameras();
        let now = self.clock.wall();
        let known = match cameras.entry(camera.id.clone()) {
            std::collections::btree_map::Entry::Occupied(entry) => {
                let known = entry.into_mut();
                self.tell_demand(&camera.id, known.advance(now));
                let window = newer(known.plan.window, plan.window);
                (known.camera, known.plan) = (camera.clone(), Plan { window, ..plan });
                known
            }
            std::collections::btree_map::Entry::Vacant(entry) => {
                let (demand, change) = plan.demand(now);
                let since = Since { at: now, is_end: false };
                let camera = camera.clone();
                entry.insert(Known { camera, plan, demand, since, change, due: None, is_told: false })
            }
        };
        self.tell_demand(&camera.id, known.settle(now));
        give(&known.orders(now));
        drop(cameras);
        self.modes.wake.notify_one();
    }

    /// Takes up where an earlier process ended: `since` then this was the reason why recording was not wanted. What time
    /// has brought meanwhile was owed all the same; `down` says what kept the server away from what was due at an instant.
    pub(crate) fn take_up(
        &self,
        camera: &Camera,
        plan: Plan,
        (since, reason): (WallTime, Option<NotWanted>),
        down: impl Fn(WallTime) -> Cause,
    ) {
        let demand = match reason {
            None => Demand::Wanted,
            Some(NotWanted::AwaitingTrigger) => Demand::Armed,
            Some(why) => Demand::Idle(why),
        };
        let (planned, change) = plan.demand(since);
        let since = Since { at: since, is_end: false };
        let camera = camera.clone();
        let mut known = Known { camera, plan, demand, since, change, due: None, is_told: false };
        let window = known.plan.window.map(|window| window.opened_at);
        if demand == Demand::Armed && window.is_some_and(|at| at <= known.since.at) {
            // It was stored, and the process ended before that went into the history.
            known.change = Some(WallTime(known.since.at.0 + 1));
        }
        // Else something else was edited since, and what followed from that is not known.
        if planned == demand || known.change.is_some_and(|at| at.0 == known.since.at.0 + 1) {
            for (at, demand) in known.advance(self.clock.wall()) {
                let camera = known.camera.id.clone();
                self.journal.push(Entry::Wanted { camera, at, reason: demand.not_wanted() });
                self.supervisor.wanted_while_down(&known.camera.id, at, demand, down(at));
            }
        }
        self.modes.cameras().insert(known.camera.id.clone(), known);
    }

    /// Tells history and supervisor.
    fn tell_demand(&self, camera: &CameraId, changes: Vec<Change>) {
        for (at, demand) in changes {
            self.journal.push(Entry::Wanted { camera: camera.clone(), at, reason: demand.not_wanted() });
            self.supervisor.wanted(camera, at, demand);
        }
    }

    /// Lets time pass for every camera; when there is something to do next.
    fn look(&self) -> Option<WallTime> {
        let mut cameras = self.modes.cameras();
        let now = self.clock.wall();
        for (id, known) in cameras.iter_mut() {
            if known.due.is_some_and(|due| due <= now) {
                self.tell_demand(id, known.advance(now));
                self.order(known, now);
            }
        }
        cameras.values().filter_map(|known| known.due).min()
    }

    fn order(&self, known: &mut Known, now: WallTime) {
        let orders = known.orders(now);
        for stream in known.streams() {
            self.ingest.order(&stream, &orders);
        }
    }

    /// Footage of before that could be recorded if something happened now; `None` for a camera that is not recorded by events.
    pub fn pre_roll_available(&self, camera: &CameraId) -> Option<Micros> {
        let now = self.clock.wall();
        let (stream, wish) = {
            let cameras = self.modes.cameras();
            let known = cameras.get(camera).filter(|known| known.plan.is_armed())?;
            (known.stream(known.camera.fields.record_stream), known.plan.pre_roll)
        };
        let reach = self.modes.rolls().reach(&stream, now - wish);
        Some(reach.map_or(Micros::ZERO, |from| (now - from).max(Micros::ZERO).min(wish)))
    }
}

/// Lets time pass until the server stops.
pub(crate) async fn run(kernel: Arc<Kernel>) {
    let longest = kernel.settings.recorder.schedule_check;
    loop {
        let next = kernel.look();
        let rest = next.map_or(longest, |next| (next - kernel.clock.wall()).max(REST).min(longest));
        tokio::select! {
            () = tokio::time::sleep(rest.to_std()) => {}
            () = kernel.modes.wake.notified() => {}
        }
    }
}

/// Of two windows the one that is open longer.
fn newer(one: Option<TriggerWindow>, other: Option<TriggerWindow>) -> Option<TriggerWindow> {
    [one, other].into_iter().flatten().max_by_key(|window| (window.opened_at, window.end))
}

fn trigger_window(window: &heldar_store::RecordWindow) -> TriggerWindow {
    TriggerWindow { opened_at: window.opened_at, from: window.from, end: window.end }
}

/// A stored window of a week; `None` for one whose times are none.
fn week_window(row: &RecordSchedule) -> Option<WeekWindow> {
    let time = |minute: u32| {
        let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
        Time::new(hour, minute, 0, 0).ok()
    };
    let day = |day: &u8| Weekday::from_monday_zero_offset(i8::try_from(*day).ok()?).ok();
    Some(WeekWindow {
        days: row.fields.days.iter().filter_map(day).collect(),
        from: time(row.fields.start_minute)?,
        to: time(row.fields.end_minute)?,
    })
}
