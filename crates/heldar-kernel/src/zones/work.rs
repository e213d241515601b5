//! The one task that has the engines: batches in their order, time once nothing waits, changes of zones.
//!
//! Owns: when state is stored. Invariant: time does not pass for an engine ahead of batches that wait for it, so that a start
//! after a crash comes to the same facts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use heldar_base::{CameraId, Clock as _, Scope, WallTime};
use heldar_store::op::{
    AppendAudit, AppendZoneEvents, EnsureConsumer, PutZoneCounters, PutZoneOccupancy, RemoveConsumer,
    SaveZoneState, SkipBatches, WriteOp,
};
use heldar_store::{ErrorKind, StoreError, ZoneState};
use heldar_zones::{Engine, Output, Zone};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::evidence::{self, Wanted};
use super::tell::{self, About};
use super::{CONSUMER, Order};
use crate::apps::DetectionBatch;
use crate::kernel::Kernel;
use crate::modes::Source;
use crate::perception::fanout::{Reader, patiently};

/// Batches that are taken before what they led to is committed.
const STEP: usize = 32;
/// How often time passes.
const TICK: Duration = Duration::from_secs(1);
/// State of a camera that saw something is stored after so many ticks at the latest.
const SAVE_EVERY: u32 = 5;
/// Rest before everything is read anew after a failure.
const REST: Duration = Duration::from_secs(1);
/// What a camera's zones have found is given up when the store has refused it so often.
const REFUSALS: u32 = 3;

/// How often the store has refused what was found, by camera.
type Refusals = BTreeMap<CameraId, u32>;

/// Runs the zones of all cameras until the server stops.
pub(crate) async fn run(kernel: Arc<Kernel>) {
    let mut inbox = kernel.zones.inbox.lock().await;
    let mut refusals = Refusals::new();
    loop {
        let ended = match Work::open(&kernel, &mut inbox, &mut refusals).await {
            Ok(mut work) => work.run(&mut inbox, &mut refusals).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "the zone engine begins anew from what is stored");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// The engine of a camera.
#[derive(Default)]
struct Camera {
    engine: Engine,
    /// The newest batch that it has taken.
    seq: i64,
    /// The instant up to which it has let time pass.
    ticked_at: WallTime,
    /// It has changed since its state was stored.
    is_dirty: bool,
}

/// What came out of an engine, before it is committed.
struct Found {
    camera: CameraId,
    output: Output,
    batch: Option<Arc<DetectionBatch>>,
    /// Who brought it about, where somebody did.
    audit: Option<AppendAudit>,
}

struct Work<'a> {
    kernel: &'a Arc<Kernel>,
    reader: Reader,
    cameras: BTreeMap<CameraId, Camera>,
    /// Zones that were taken away while what they led to is not committed.
    gone: Vec<Zone>,
}

impl<'a> Work<'a> {
    /// Reads what is stored; waits for the first zone.
    async fn open(
        kernel: &'a Arc<Kernel>,
        inbox: &mut mpsc::Receiver<Order>,
        refusals: &mut Refusals,
    ) -> Result<Self, StoreError> {
        let mut cameras = stored(kernel).await?;
        let mut answers = Vec::new();
        while !kernel.count_zones().await? && cameras.values().all(|one| one.engine.zones().len() == 0) {
            kernel.zones.position.store(-1, Ordering::Relaxed);
            kernel.store.write(RemoveConsumer { name: CONSUMER.to_owned() }).await?;
            answers.clear();
            match inbox.recv().await {
                Some(Order::Changed { done, .. } | Order::Reset { done, .. }) => answers.push(done),
                None => std::future::pending().await,
            }
            cameras = stored(kernel).await?;
        }
        let now = kernel.clock.wall();
        let low = kernel.store.write(EnsureConsumer { name: CONSUMER.to_owned(), now }).await?;
        let reader = kernel.perception.fanout.reader(low);
        kernel.zones.position.store(low, Ordering::Relaxed);
        let mut work = Work { kernel, reader, cameras, gone: Vec::new() };
        let mut zones = kernel.zones_by_camera().await?;
        let known: BTreeSet<CameraId> = work.cameras.keys().chain(zones.keys()).cloned().collect();
        for camera in known {
            let rows = zones.remove(&camera).unwrap_or_default();
            // Time goes on where it stood: batches that were taken since the state was stored come again.
            let stood = work.cameras.get(&camera).filter(|one| one.engine.zones().len() > 0);
            let at = stood.map_or(now, |one| one.ticked_at);
            work.set_zones(&camera, &rows, at, refusals).await?;
        }
        for answer in answers {
            // Whoever asked may have gone.
            let _gone = answer.send(());
        }
        Ok(work)
    }

    async fn run(
        &mut self,
        inbox: &mut mpsc::Receiver<Order>,
        refusals: &mut Refusals,
    ) -> Result<(), StoreError> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = 0;
        loop {
            let mut is_tick = false;
            tokio::select! {
                order = inbox.recv() => match order {
                    Some(order) => {
                        self.catch_up(refusals).await?;
                        if !self.order(order, refusals).await? {
                            return Ok(());
                        }
                    }
                    None => std::future::pending().await,
                },
                () = self.reader.changed() => {}
                _ = tick.tick() => is_tick = true,
            }
            self.catch_up(refusals).await?;
            if is_tick {
                ticks += 1;
                self.tick(refusals).await?;
                if ticks % SAVE_EVERY == 0 {
                    self.save().await?;
                }
            }
        }
    }

    /// Takes every batch that is there.
    async fn catch_up(&mut self, refusals: &mut Refusals) -> Result<(), StoreError> {
        self.reader.mark_seen();
        loop {
            let batches = self.kernel.take_batches(&mut self.reader, STEP).await?;
            if batches.is_empty() {
                return Ok(());
            }
            let mut found = Vec::new();
            for batch in batches {
                self.take(batch, &mut found);
            }
            self.commit(found, refusals).await?;
            self.kernel.zones.position.store(self.reader.seq(), Ordering::Relaxed);
        }
    }

    /// Gives a batch to the engine of its camera.
    fn take(&mut self, batch: Arc<DetectionBatch>, found: &mut Vec<Found>) {
        let (Some(camera), Some(seq)) = (self.cameras.get_mut(&batch.camera_id), batch.seq) else { return };
        if seq <= camera.seq {
            return;
        }
        if batch.late {
            self.kernel.zones.meters.late.inc();
        }
        // The time of a batch is when it was committed, so that one that is taken again is taken alike.
        camera.ticked_at = batch.committed_at;
        let (engine, now) = (&mut camera.engine, camera.ticked_at);
        let output = tell::with_batch(self.kernel, &batch, |seen| engine.batch(seen, now));
        camera.seq = seq;
        camera.is_dirty = true;
        if !output.is_empty() {
            found.push(Found { camera: batch.camera_id.clone(), output, batch: Some(batch), audit: None });
        }
    }

    /// Lets time pass.
    async fn tick(&mut self, refusals: &mut Refusals) -> Result<(), StoreError> {
        let now = self.kernel.clock.wall();
        let mut found = Vec::new();
        let mut tracks = 0;
        for (id, camera) in &mut self.cameras {
            tracks += camera.engine.quantities().tracks;
            if camera.engine.next_deadline().is_none_or(|due| due > now) {
                continue;
            }
            camera.ticked_at = now;
            let output = camera.engine.tick(now);
            camera.is_dirty = true;
            if !output.is_empty() {
                found.push(Found { camera: id.clone(), output, batch: None, audit: None });
            }
        }
        self.kernel.zones.meters.tracks.set(tracks as f64);
        self.commit(found, refusals).await
    }

    /// Does what it is told; false: there are no zones any more.
    async fn order(&mut self, order: Order, refusals: &mut Refusals) -> Result<bool, StoreError> {
        let now = self.kernel.clock.wall();
        match order {
            Order::Changed { camera, done } => {
                let rows = self.kernel.store.camera_zones(&Scope::All, &camera).await?;
                self.set_zones(&camera, &rows, now, refusals).await?;
                let is_any = self.kernel.count_zones().await?;
                // Whoever asked may have gone.
                let _gone = done.send(());
                Ok(is_any)
            }
            Order::Reset { camera, zone, audit, done } => {
                let audit = AppendAudit { entry: *audit };
                match self.cameras.get_mut(&camera) {
                    Some(one) => {
                        one.ticked_at = now;
                        let output = one.engine.reset_counters(&zone.to_string(), now);
                        let found = Found { camera, output, batch: None, audit: Some(audit) };
                        self.commit(vec![found], refusals).await?;
                    }
                    // The zone was deleted in the same moment; that somebody reset it is still told.
                    None => self.kernel.audit(audit.entry),
                }
                let _gone = done.send(());
                Ok(true)
            }
        }
    }

    /// Gives a camera's engine the zones that are stored.
    async fn set_zones(
        &mut self,
        id: &CameraId,
        rows: &[heldar_store::Zone],
        now: WallTime,
        refusals: &mut Refusals,
    ) -> Result<(), StoreError> {
        self.kernel.zones.masks.set(id, rows);
        let mut zones = Vec::new();
        for row in rows {
            match tell::of_row(row) {
                Ok(zone) => zones.push(zone),
                Err(why) => tracing::error!(zone = %row.id, why, "a stored zone cannot be used"),
            }
        }
        let camera = self.cameras.entry(id.clone()).or_default();
        if zones.is_empty() && camera.engine.zones().len() == 0 {
            self.cameras.remove(id);
            return Ok(());
        }
        if camera.engine.zones().len() == 0 {
            // What was before its first zone is no matter of the engine.
            camera.seq = camera.seq.max(self.reader.seq());
        }
        camera.ticked_at = now;
        self.gone = camera.engine.zones().cloned().collect();
        let output = camera.engine.set_zones(zones, now);
        camera.is_dirty = true;
        self.commit(vec![Found { camera: id.clone(), output, batch: None, audit: None }], refusals).await?;
        self.gone.clear();
        self.save().await
    }

    /// Stores what was found together with the state that it was found in.
    async fn commit(&mut self, found: Vec<Found>, refusals: &mut Refusals) -> Result<(), StoreError> {
        let mut by_camera: BTreeMap<CameraId, Vec<Found>> = BTreeMap::new();
        for one in found {
            by_camera.entry(one.camera.clone()).or_default().push(one);
        }
        for (id, found) in by_camera {
            let refused = refusals.get(&id).copied().unwrap_or(0);
            let Some(camera) = self.cameras.get_mut(&id) else { continue };
            let now = self.kernel.clock.wall();
            let state = state(&id, camera, now);
            let (effects, wanted) = effects(self.kernel, camera, &self.gone, &found, now);
            let is_given_up = refused >= REFUSALS;
            let happened = !effects.events.is_empty();
            let trigger = happened.then(|| self.kernel.trigger(&id, Source::ZoneEvent)).flatten();
            if is_given_up {
                tracing::error!(camera = %id, events = effects.events.len(), "what zones found is given up");
            }
            let ops = || {
                let mut ops: Vec<WriteOp> = vec![SaveZoneState { state: state.clone() }.into()];
                let trigger = trigger.clone().map(WriteOp::from);
                if !is_given_up {
                    ops.extend(effects.ops());
                    ops.extend(found.iter().filter_map(|one| Some(one.audit.clone()?.into())));
                    ops.extend(trigger);
                }
                ops
            };
            let mut outcomes = match patiently(|| self.kernel.store.write_all(ops())).await {
                Ok(outcomes) => outcomes,
                Err(error) => {
                    *refusals.entry(id).or_default() += 1;
                    return Err(error);
                }
            };
            if trigger.is_some() && !is_given_up {
                self.kernel.triggered_by(outcomes.pop())?;
            }
            refusals.remove(&id);
            camera.is_dirty = false;
            for event in &effects.events {
                self.kernel.zones.meters.events.with([event.zone_event.event_type.as_str()]).inc();
            }
            if !is_given_up {
                wanted.into_iter().for_each(|wanted| self.kernel.zones.evidence.want(wanted));
            }
        }
        Ok(())
    }

    /// Stores the state of cameras that have changed, and how far all are.
    async fn save(&mut self) -> Result<(), StoreError> {
        let now = self.kernel.clock.wall();
        let mut ops: Vec<WriteOp> = Vec::new();
        for (id, camera) in self.cameras.iter().filter(|(_, camera)| camera.is_dirty) {
            ops.push(SaveZoneState { state: state(id, camera, now) }.into());
        }
        ops.push(SkipBatches { consumer: CONSUMER.to_owned(), low_seq: self.reader.seq(), now }.into());
        match self.kernel.store.write_all(ops).await {
            Ok(_) => {
                self.cameras.values_mut().for_each(|camera| camera.is_dirty = false);
                Ok(())
            }
            // Later then; a start goes on from what is stored.
            Err(error) if matches!(error.kind(), ErrorKind::Busy | ErrorKind::Unavailable) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The engines as they were stored.
async fn stored(kernel: &Kernel) -> Result<BTreeMap<CameraId, Camera>, StoreError> {
    let mut cameras = BTreeMap::new();
    for state in kernel.store.zone_states(&Scope::All).await? {
        let engine = Engine::restore(&state.bytes).unwrap_or_else(|error| {
            tracing::error!(camera = %state.camera, %error, "zones of a camera begin anew: nobody is in them");
            Engine::new()
        });
        let camera = Camera { engine, seq: state.seq, ticked_at: state.ticked_at, is_dirty: false };
        cameras.insert(state.camera, camera);
    }
    Ok(cameras)
}

fn state(id: &CameraId, camera: &Camera, now: WallTime) -> ZoneState {
    ZoneState {
        camera: id.clone(),
        seq: camera.seq,
        ticked_at: camera.ticked_at,
        saved_at: now,
        bytes: camera.engine.save(),
    }
}

/// What is to be written beside the state.
#[derive(Default)]
struct Effects {
    events: Vec<heldar_store::NewZoneEvent>,
    /// What only the feed is told.
    fed: Vec<heldar_store::NewEvent>,
    occupancy: Vec<heldar_store::ZoneOccupancy>,
    counters: Vec<heldar_store::ZoneCounters>,
}

impl Effects {
    fn ops(&self) -> Vec<WriteOp> {
        let mut ops: Vec<WriteOp> = Vec::new();
        if !self.events.is_empty() {
            ops.push(AppendZoneEvents { events: self.events.clone() }.into());
        }
        if !self.fed.is_empty() {
            ops.push(heldar_store::op::AppendEvents { events: self.fed.clone() }.into());
        }
        if !self.occupancy.is_empty() {
            ops.push(PutZoneOccupancy { rows: self.occupancy.clone() }.into());
        }
        if !self.counters.is_empty() {
            ops.push(PutZoneCounters { rows: self.counters.clone() }.into());
        }
        ops
    }
}

fn effects(
    kernel: &Kernel,
    camera: &Camera,
    gone: &[Zone],
    found: &[Found],
    now: WallTime,
) -> (Effects, Vec<Wanted>) {
    let (mut effects, mut wanted) = (Effects::default(), Vec::new());
    for Found { camera: id, output, batch, .. } in found {
        for fact in &output.facts {
            let Some(zone) = camera.engine.zones().chain(gone).find(|zone| **zone.id() == *fact.zone_id)
            else {
                continue;
            };
            let frame =
                batch.as_ref().filter(|_| fact.evidence).and_then(|batch| evidence::pinned(kernel, batch));
            let about = About { camera: id, zone, batch: batch.as_deref(), is_pinned: frame.is_some(), now };
            let Some((event, fed)) = tell::told(fact, &about) else { continue };
            match event {
                Some(event) => {
                    if fact.evidence {
                        let id = event.zone_event.id;
                        wanted.push(Wanted { id, camera: event.zone_event.camera.clone(), frame });
                    }
                    effects.events.push(event);
                }
                None => effects.fed.extend(fed),
            }
        }
        // Of several in a row the last is what is.
        for of in output.occupancy.iter().filter_map(tell::occupancy) {
            effects.occupancy.retain(|known| known.zone != of.zone);
            effects.occupancy.push(of);
        }
        for of in output.counters.iter().filter_map(tell::counters) {
            effects.counters.retain(|known| known.zone != of.zone);
            effects.counters.push(of);
        }
    }
    (effects, wanted)
}
