//! One consumer: takes batches from the feed, hands them out by camera, lets cameras rest whose batch failed.
//!
//! Owns: the queue of each camera and the cursor's way to the store. Invariants: of one camera one batch is given at a
//! time, in the order of numbers; a camera that rests keeps numbers only, so that what waits takes little memory.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use heldar_base::{CameraId, Clock as _, Scope};
use heldar_perception::fanout::{Progress, pause};
use heldar_store::op::{EnsureConsumer, SkipBatches};
use heldar_store::{Consumer, Letters, StoreError};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::feed::Reader;
use super::give::{Parcel, Returned, give};
use super::{Held, QUEUES, Runner, lock};
use crate::apps::DetectionBatch;
use crate::kernel::Kernel;

/// Batches that may be open: half of what the store keeps above a low-water mark.
const OPEN: usize = Consumer::FINISHED_ABOVE as usize / 2;
/// Batches taken from the feed at a time.
const STEP: usize = 32;
/// Batches of a camera that are given in one go.
const GO: usize = 64;
/// How often the cursor is stored while batches have no effects.
const CURSOR_EVERY: Duration = Duration::from_secs(1);
/// Rest after a failure of the store.
const REST: Duration = Duration::from_secs(1);

/// Gives a consumer its batches until the store fails in a way that passes; then it is begun anew.
pub(super) async fn run(kernel: Arc<Kernel>, runner: Arc<Runner>) {
    loop {
        match Work::open(kernel.clone(), runner.clone()).await {
            Ok(mut work) => work.run().await,
            Err(error) => {
                tracing::warn!(consumer = runner.name, %error, "the cursor of a consumer cannot be read");
            }
        }
        tokio::time::sleep(REST).await;
    }
}

/// The batches of one camera.
#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Parcel>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Running,
    Resting(Instant),
}

struct Work {
    kernel: Arc<Kernel>,
    runner: Arc<Runner>,
    reader: Reader,
    lanes: HashMap<CameraId, Lane>,
    running: JoinSet<Returned>,
    /// Bytes that its batches may take in memory; one more batch is always taken.
    room: usize,
    /// Dead letters in `lanes` or on their way.
    letters: BTreeSet<i64>,
    /// The low-water mark as stored.
    stored: i64,
    /// Not before this is the store read again.
    read_at: Option<Instant>,
}

impl Work {
    async fn open(kernel: Arc<Kernel>, runner: Arc<Runner>) -> Result<Self, StoreError> {
        let (store, name) = (&kernel.store, runner.name);
        let now = kernel.clock.wall();
        let low = store.write(EnsureConsumer { name: name.to_owned(), now }).await?;
        let (mut finished, mut after) = (Vec::new(), low);
        loop {
            let page = store.finished_batches(&Scope::All, name, after, 5000).await?;
            finished.extend(page.rows);
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        *lock(&runner.progress) = Some(Progress::new(low, finished));
        let reader = kernel.perception.fanout.feed.reader(low);
        let mut work = Work {
            reader,
            lanes: HashMap::new(),
            running: JoinSet::new(),
            room: QUEUES / 2 / kernel.perception.fanout.runners.len().max(1),
            letters: BTreeSet::new(),
            stored: low,
            read_at: None,
            kernel,
            runner,
        };
        work.take_letters().await?;
        Ok(work)
    }

    async fn run(&mut self) {
        let (kernel, runner) = (self.kernel.clone(), self.runner.clone());
        kernel.perception.fanout.committed();
        let mut cursor = tokio::time::interval(CURSOR_EVERY);
        cursor.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.wake_rested();
            if self.has_room() && self.read_at.is_none_or(|at| at <= Instant::now()) {
                self.reader.mark_seen();
                self.read_at = None;
                if let Err(error) = self.take().await {
                    tracing::debug!(consumer = runner.name, %error, "batches are not read; once more soon");
                    self.read_at = Some(Instant::now() + REST);
                }
            }
            let rested = self.lanes.values().filter_map(|lane| match lane.state {
                State::Resting(until) => Some(until),
                _ => None,
            });
            let due = rested.chain(self.read_at).min();
            let is_due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let has_room = self.has_room();
            tokio::select! {
                Some(returned) = self.running.join_next() => {
                    if let Err(error) = self.take_back(returned) {
                        tracing::error!(consumer = runner.name, %error, "giving out broke off; begun anew");
                        return;
                    }
                }
                () = self.reader.changed(), if has_room => {}
                () = runner.replay.notified() => {
                    if let Err(error) = self.take_letters().await {
                        tracing::warn!(consumer = runner.name, %error, "dead letters cannot be read");
                        runner.replay.notify_one();
                        tokio::time::sleep(REST).await;
                    }
                }
                _ = cursor.tick(), if self.runner.low().is_some_and(|low| low > self.stored) => {
                    self.store_cursor().await;
                }
                () = is_due => {}
            }
        }
    }

    fn has_room(&self) -> bool {
        let open = lock(&self.runner.progress).as_ref().map_or(0, Progress::open);
        self.runner.held.load(Ordering::Relaxed) < self.room && open < OPEN
    }

    /// Takes what comes next, as far as there is room.
    async fn take(&mut self) -> Result<(), StoreError> {
        let kernel = self.kernel.clone();
        while self.has_room() {
            let batches = kernel.perception.fanout.feed.next(&kernel.store, &mut self.reader, STEP).await?;
            if batches.is_empty() {
                break;
            }
            for batch in batches {
                self.hand_out(batch);
            }
        }
        if let Some(progress) = lock(&self.runner.progress).as_mut() {
            progress.pass(self.reader.seq());
        }
        Ok(())
    }

    /// Puts a batch into the queue of its camera.
    fn hand_out(&mut self, batch: Arc<DetectionBatch>) {
        if !self.runner.consumer.interested_in(&batch.task_type) {
            return;
        }
        if let Some(seq) = batch.seq
            && !lock(&self.runner.progress).as_mut().is_some_and(|progress| progress.begin(seq))
        {
            return;
        }
        let camera = batch.camera_id.clone();
        let lane = self.lanes.entry(camera.clone()).or_default();
        let is_resting = matches!(lane.state, State::Resting(_));
        if is_resting && batch.seq.is_none() {
            return;
        }
        let seq = batch.seq;
        let batch = (!is_resting).then(|| Held::new(batch, &self.runner.held));
        lane.waiting.push_back(Parcel { seq, batch, is_letter: false, failed: None });
        self.start(&camera);
    }

    /// Gives out what a camera has waiting, unless something of it is on its way or it rests.
    fn start(&mut self, camera: &CameraId) {
        let Some(lane) = self.lanes.get_mut(camera) else { return };
        if lane.state != State::Idle {
            return;
        }
        if lane.waiting.is_empty() {
            self.lanes.remove(camera);
            return;
        }
        lane.state = State::Running;
        let parcels: VecDeque<Parcel> = lane.waiting.drain(..lane.waiting.len().min(GO)).collect();
        self.running.spawn(give(self.kernel.clone(), self.runner.clone(), camera.clone(), parcels));
    }

    fn take_back(&mut self, returned: Result<Returned, JoinError>) -> Result<(), JoinError> {
        let Returned { camera, left, failed } = returned?;
        let Some(lane) = self.lanes.get_mut(&camera) else { return Ok(()) };
        lane.state = State::Idle;
        for parcel in left.into_iter().rev() {
            lane.waiting.push_front(parcel);
        }
        if let Some(attempts) = failed {
            lane.state = State::Resting(Instant::now() + pause(attempts).to_std());
            lane.waiting.retain(|parcel| parcel.seq.is_some());
            for parcel in &mut lane.waiting {
                parcel.batch = None;
            }
        }
        let waiting = self.lanes.values().flat_map(|lane| &lane.waiting);
        if !self.letters.is_empty() {
            self.letters =
                waiting.filter(|parcel| parcel.is_letter).filter_map(|parcel| parcel.seq).collect();
        }
        self.count_resting();
        self.start(&camera);
        Ok(())
    }

    fn wake_rested(&mut self) {
        let now = Instant::now();
        let rested: Vec<CameraId> = self
            .lanes
            .iter()
            .filter(|(_, lane)| matches!(lane.state, State::Resting(until) if until <= now))
            .map(|(camera, _)| camera.clone())
            .collect();
        for camera in rested {
            if let Some(lane) = self.lanes.get_mut(&camera) {
                lane.state = State::Idle;
            }
            self.start(&camera);
            self.count_resting();
        }
    }

    fn count_resting(&self) {
        let resting = self.lanes.values().filter(|lane| matches!(lane.state, State::Resting(_))).count();
        lock(&self.runner.stand).resting = resting;
    }

    /// Takes dead letters that are to be tried again.
    async fn take_letters(&mut self) -> Result<(), StoreError> {
        let (store, name) = (self.kernel.store.clone(), self.runner.name);
        let mut after = None;
        loop {
            let page = store.dead_letters(&Scope::All, name, Letters::ToReplay, after, 500).await?;
            for letter in page.rows {
                if !self.letters.insert(letter.seq) {
                    continue;
                }
                let parcel = Parcel { seq: Some(letter.seq), batch: None, is_letter: true, failed: None };
                self.lanes.entry(letter.camera.clone()).or_default().waiting.push_back(parcel);
                self.start(&letter.camera);
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Stores how far the consumer is, past batches that had no effects.
    async fn store_cursor(&mut self) {
        let Some(low) = self.runner.low() else { return };
        let (consumer, now) = (self.runner.name.to_owned(), self.kernel.clock.wall());
        match self.kernel.store.write(SkipBatches { consumer, low_seq: low, now }).await {
            Ok(()) => self.stored = low,
            Err(error) => tracing::debug!(consumer = self.runner.name, %error, "the cursor is not stored"),
        }
    }
}
