//! The planner: asks for what it must see of the index, then says what has to go.
//!
//! Contract: call [`Planner::step`]; answer its question with [`Planner::segments`] or [`Planner::activity`] and call it
//! again, until it is done; then [`Planner::finish`]. Questions may be answered from a database, at any pace, while
//! recording goes on.

use heldar_base::{Micros, WallTime};

use super::camera::CameraState;
use super::cursor::{Need, Row};
use super::evict::Eviction;
use super::share::fair_shares;
use super::{
    Activity, ActivityQuery, Camera, Condition, Disk, Item, Plan, Policy, Purpose, Reason, Segment,
    SegmentQuery,
};

/// What the planner needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Segments; answer with [`Planner::segments`].
    Segments(SegmentQuery),
    /// Motion and alerts; answer with [`Planner::activity`].
    Activity(ActivityQuery),
    /// Nothing: the plan is ready.
    Done,
}

/// Where the planning stands.
enum Phase {
    Age { camera: usize },
    Quota { camera: usize },
    SizeCap(Eviction),
    FreeFloor(Eviction),
    LookBack { camera: usize },
    Done,
}

/// Why the planning stops for now.
enum Stop {
    Need(Need),
    Full,
}

impl From<Need> for Stop {
    fn from(need: Need) -> Self {
        Stop::Need(need)
    }
}

/// Makes one plan.
pub struct Planner {
    at: WallTime,
    policy: Policy,
    disk: Option<Disk>,
    max_items: Option<usize>,
    cameras: Vec<CameraState>,
    phase: Phase,
    /// The camera that the open question is about.
    asked: Option<usize>,
    complete: bool,
    items: Vec<Item>,
    conditions: Vec<Condition>,
    /// Bytes removed so far.
    freed: u64,
    /// Bytes of all cameras that are not held.
    usage: u64,
}

impl Planner {
    /// A plan for `cameras` at `now`; `disk` is `None` when its space is not known.
    pub fn new(
        now: WallTime,
        policy: Policy,
        disk: Option<Disk>,
        cameras: Vec<Camera>,
        purpose: Purpose,
    ) -> Self {
        let (horizon, max_items) = match purpose {
            Purpose::Sweep { max_items } => (Micros::ZERO, Some(max_items.max(1))),
            Purpose::Preview { horizon } => (horizon.max(Micros::ZERO), None),
        };
        let at = now + horizon;
        let mut conditions = Vec::new();
        let cameras: Vec<CameraState> = cameras
            .into_iter()
            .enumerate()
            .map(|(index, mut camera)| {
                conditions.extend(Condition::quota_held(&camera));
                if max_items.is_none() {
                    // A preview names all that motion and alerts keep, so it looks at everything.
                    camera.mark = None;
                }
                CameraState::new(index, camera, at, horizon)
            })
            .collect();
        conditions.extend(Condition::held_exceeds_cap(&policy, cameras.iter().map(CameraState::camera)));
        let growth = cameras.iter().map(CameraState::growth).fold(0, u64::saturating_add);
        let disk = disk.map(|disk| Disk { free_bytes: disk.free_bytes.saturating_sub(growth), ..disk });
        let usage = cameras.iter().map(CameraState::usage).fold(0, u64::saturating_add);
        Planner {
            at,
            policy,
            disk,
            max_items,
            cameras,
            phase: Phase::Age { camera: 0 },
            asked: None,
            complete: true,
            items: Vec::new(),
            conditions,
            freed: 0,
            usage,
        }
    }

    /// Goes on as far as it can.
    pub fn step(&mut self) -> Step {
        match self.advance() {
            Ok(()) => Step::Done,
            Err(Stop::Full) => {
                self.complete = false;
                self.phase = Phase::Done;
                Step::Done
            }
            Err(Stop::Need(Need::Segments(query))) => {
                self.asked = Some(query.camera);
                Step::Segments(query)
            }
            Err(Stop::Need(Need::Activity(query))) => {
                self.asked = Some(query.camera);
                Step::Activity(query)
            }
        }
    }

    /// Answers [`Step::Segments`].
    pub fn segments(&mut self, rows: impl IntoIterator<Item = Segment>) {
        let camera = self.asked.take().and_then(|index| self.cameras.get_mut(index));
        if let Some(cursor) = camera.and_then(CameraState::waiting) {
            cursor.feed(rows);
        }
    }

    /// Answers [`Step::Activity`].
    pub fn activity(&mut self, activity: &Activity) {
        let camera = self.asked.take().and_then(|index| self.cameras.get_mut(index));
        if let Some(cursor) = camera.and_then(CameraState::waiting) {
            cursor.feed_activity(activity);
        }
    }

    /// The plan, once [`Step::Done`] was said; before that, the part that is certain.
    pub fn finish(self) -> Plan {
        let complete = self.complete && matches!(self.phase, Phase::Done);
        Plan {
            at: self.at,
            items: self.items,
            complete,
            cameras: self.cameras.into_iter().map(|camera| camera.finish(complete)).collect(),
            conditions: self.conditions,
        }
    }

    fn advance(&mut self) -> Result<(), Stop> {
        loop {
            // A phase that stops on a question is taken up again where it was.
            let mut phase = std::mem::replace(&mut self.phase, Phase::Done);
            let outcome = self.run(&mut phase);
            self.phase = phase;
            outcome?;
            self.phase = match std::mem::replace(&mut self.phase, Phase::Done) {
                Phase::Age { .. } => Phase::Quota { camera: 0 },
                Phase::Quota { .. } => Phase::SizeCap(self.eviction()),
                Phase::SizeCap(_) => Phase::FreeFloor(self.eviction()),
                Phase::FreeFloor(_) if self.max_items.is_none() => Phase::LookBack { camera: 0 },
                Phase::FreeFloor(_) | Phase::LookBack { .. } | Phase::Done => return Ok(()),
            };
        }
    }

    fn run(&mut self, phase: &mut Phase) -> Result<(), Stop> {
        match phase {
            Phase::Age { camera } => self.age(camera),
            Phase::Quota { camera } => self.quota(camera),
            Phase::SizeCap(eviction) => self.size_cap(eviction),
            Phase::FreeFloor(eviction) => self.free_floor(eviction),
            Phase::LookBack { camera } => self.look_back(camera),
            Phase::Done => Ok(()),
        }
    }

    fn age(&mut self, index: &mut usize) -> Result<(), Stop> {
        while let Some(camera) = self.cameras.get_mut(*index) {
            match camera.next_due()? {
                Some(row) => self.remove(*index, &row, Reason::Age)?,
                None => *index += 1,
            }
        }
        Ok(())
    }

    fn quota(&mut self, index: &mut usize) -> Result<(), Stop> {
        while let Some(camera) = self.cameras.get_mut(*index) {
            let above = camera.camera().quota_bytes.is_some_and(|quota| camera.usage() > quota);
            match if above { camera.next_evictable()? } else { None } {
                Some(row) => self.remove(*index, &row, Reason::Quota)?,
                None => *index += 1,
            }
        }
        Ok(())
    }

    fn eviction(&self) -> Eviction {
        let cap = self.policy.max_recordings_bytes.unwrap_or(u64::MAX);
        let claims: Vec<u64> =
            self.cameras.iter().map(|camera| camera.camera().quota_bytes.unwrap_or(cap)).collect();
        let shares = match self.policy.max_recordings_bytes {
            Some(cap) => fair_shares(cap, &claims),
            // Nothing to divide: nobody without a quota is ever above a share.
            None => claims,
        };
        Eviction::new(shares, &self.cameras)
    }

    fn size_cap(&mut self, eviction: &mut Eviction) -> Result<(), Stop> {
        let Some(cap) = self.policy.max_recordings_bytes else { return Ok(()) };
        while self.usage > cap {
            match eviction.next(&mut self.cameras)? {
                Some((index, row)) => self.pay(eviction, index, &row, Reason::SizeCap)?,
                None => break,
            }
        }
        for camera in self.passed_over(eviction) {
            self.conditions.push(Condition::OverShareAllProtected { camera, max_bytes: cap });
        }
        Ok(())
    }

    fn free_floor(&mut self, eviction: &mut Eviction) -> Result<(), Stop> {
        let min_free_bytes = self.policy.min_free_bytes;
        if min_free_bytes == 0 {
            return Ok(());
        }
        let Some(disk) = self.disk else {
            self.conditions.push(Condition::DiskStatsUnavailable);
            return Ok(());
        };
        if min_free_bytes >= disk.total_bytes {
            let total_bytes = disk.total_bytes;
            self.conditions.push(Condition::FloorUnsatisfiable { min_free_bytes, total_bytes });
            return Ok(());
        }
        let deficit = min_free_bytes.saturating_sub(disk.free_bytes);
        while self.freed < deficit {
            match eviction.next(&mut self.cameras)? {
                Some((index, row)) => self.pay(eviction, index, &row, Reason::FreeFloor)?,
                None => {
                    let short_bytes = deficit - self.freed;
                    self.conditions.push(Condition::FloorOutOfReach { min_free_bytes, short_bytes });
                    break;
                }
            }
        }
        for camera in self.passed_over(eviction) {
            self.conditions.push(Condition::FloorBlockedByProtectedShare { camera, min_free_bytes });
        }
        Ok(())
    }

    fn look_back(&mut self, index: &mut usize) -> Result<(), Stop> {
        while let Some(camera) = self.cameras.get_mut(*index) {
            camera.look_back(self.at)?;
            *index += 1;
        }
        Ok(())
    }

    /// Cameras passed over because of footage that is protected, rather than of the open segment alone.
    fn passed_over(&self, eviction: &Eviction) -> Vec<heldar_base::CameraId> {
        let passed = eviction.passed_over().iter().filter_map(|index| self.cameras.get(*index));
        passed.filter(|camera| camera.is_protected()).map(|camera| camera.camera().id.clone()).collect()
    }

    fn pay(&mut self, eviction: &mut Eviction, index: usize, row: &Row, reason: Reason) -> Result<(), Stop> {
        self.remove(index, row, reason)?;
        eviction.paid(index, self.cameras.get(index).map_or(0, CameraState::usage));
        Ok(())
    }

    fn remove(&mut self, index: usize, row: &Row, reason: Reason) -> Result<(), Stop> {
        if self.max_items.is_some_and(|max| self.items.len() >= max) {
            return Err(Stop::Full);
        }
        if let Some(camera) = self.cameras.get_mut(index) {
            let before = camera.usage();
            camera.remove(row, reason)?;
            self.usage = self.usage.saturating_sub(before - camera.usage());
        }
        let segment = &row.segment;
        self.freed = self.freed.saturating_add(segment.bytes);
        if self.max_items.is_some() {
            self.items.push(Item {
                camera: index,
                segment: segment.id,
                end: segment.end,
                bytes: segment.bytes,
                reason,
            });
        }
        Ok(())
    }
}
