//! What happened, on its way into the store: events, gaps, what was wanted.
//!
//! Owns: the order of these writes and where they wait. While the store takes writes they pass through memory; from the
//! moment it does not, or does not answer for [`PATIENCE`], they wait in the spool file, which survives the process, and go on
//! from there when the store is back (auth-system.md 19.1). Never: decides what is worth an entry.
//!
//! Invariants
//! 1. Entries reach the store in the order in which they were pushed.
//! 2. Each takes effect once. What one commit from memory holds can be written again right after without effect: events and
//!    gaps have ids, and what is wanted already is no change. From the spool, the commit that stores entries also notes up
//!    to which number they are stored.
//! 3. [`Journal::push`] never waits: whoever pushes may hold a camera's state.

mod entry;
mod spool;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heldar_base::{CameraId, Clock, Scope, WallTime};
use heldar_http::metrics::Counter;
use heldar_store::op::{PutSetting, PutStatuses, WriteOp};
use heldar_store::{CameraStatus, ErrorKind, NewEvent, Severity, Store, StoreError};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use entry::Rank;
pub use entry::{Entry, Loss};
use spool::{Batch, Spool};

/// Entries that wait in memory at most: only while the spool file cannot be written do they become many.
const BOUND: usize = 50_000;
/// Size of the spool file at most, bytes.
const SPOOL_BOUND: u64 = 64 << 20;
/// Name of the spool file in the data folder.
const SPOOL: &str = "events.spool";
/// Key of the setting that says what of the spool is stored.
const MARK: &str = "event_spool_mark";
/// Entries of one commit from the spool.
const BATCH: usize = 256;
/// A write that takes longer counts as a store that is away.
const PATIENCE: Duration = Duration::from_secs(1);
/// Rest after the store has failed.
const REST: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<(u64, Entry)>,
    /// Number of the entry pushed last.
    pushed: u64,
    loss: Option<Loss>,
    statuses: BTreeMap<CameraId, CameraStatus>,
}

/// What the threads that write the file share with the journal.
struct Shared {
    queue: Mutex<Queue>,
    spool: Mutex<Spool>,
    /// Entries in the spool.
    spooled: AtomicU64,
    /// The spool could not be written when last tried.
    failing: AtomicBool,
    /// Audit rows that were dropped for want of room, or that the store refuses.
    lost_audit: Arc<Counter>,
    clock: Arc<dyn Clock>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the spool, and notes how much it holds then. Blocks.
    fn with_spool<T>(&self, act: impl FnOnce(&mut Spool) -> T) -> T {
        let mut spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut spool);
        self.spooled.store(spool.waiting(), Ordering::SeqCst);
        self.lost_audit.add(spool.take_lost_audit() as f64);
        result
    }

    /// Moves what waits in memory to the file; where that fails it waits on in memory. Blocks.
    fn save(&self) {
        self.with_spool(|spool| {
            let (taken, loss) = {
                let mut queue = self.queue();
                (std::mem::take(&mut queue.entries), queue.loss.take())
            };
            let lost = loss.clone().map(Entry::Lost);
            let entries: Vec<Entry> = lost.into_iter().chain(taken.iter().map(|(_, e)| e.clone())).collect();
            if entries.is_empty() {
                return;
            }
            let failed = spool.append(&entries, self.clock.wall()).err();
            if let Some(error) = &failed {
                let mut queue = self.queue();
                let later = std::mem::replace(&mut queue.entries, taken);
                queue.entries.extend(later);
                queue.loss = match (loss, queue.loss.take()) {
                    (Some(mut before), Some(since)) => {
                        before.merge(since.dropped, since.from, since.to);
                        Some(before)
                    }
                    (before, since) => before.or(since),
                };
                if !self.failing.load(Ordering::Relaxed) {
                    tracing::error!(%error, "the event spool cannot be written; events wait in memory");
                }
            }
            self.failing.store(failed.is_some(), Ordering::Relaxed);
        });
    }

    /// Records from the front of the spool; a file that cannot be read is given up. Blocks.
    fn head(&self) -> Option<Batch> {
        self.with_spool(|spool| match spool.head(BATCH) {
            Ok(None) if spool.waiting() > 0 => {
                spool.give_up();
                None
            }
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(%error, "the event spool cannot be read");
                spool.give_up();
                None
            }
        })
    }

    /// Everything up to `through` is stored. Blocks.
    fn advance(&self, through: u64) {
        self.with_spool(|spool| {
            if let Err(error) = spool.advance(through) {
                tracing::error!(%error, "the event spool cannot be shortened");
                spool.give_up();
            }
        });
    }
}

/// The journal.
pub struct Journal {
    shared: Arc<Shared>,
    wake: Notify,
    /// One flush at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Journal {
    /// Takes up what an earlier process left in the data folder. `lost_audit` counts audit rows that are given up.
    ///
    /// # Errors
    /// The spool file is there and cannot be opened.
    pub fn open(data_folder: &Path, clock: impl Clock, lost_audit: Arc<Counter>) -> io::Result<Self> {
        Journal::bounded(data_folder, SPOOL_BOUND, clock, lost_audit)
    }

    fn bounded(
        data_folder: &Path,
        bound: u64,
        clock: impl Clock,
        lost_audit: Arc<Counter>,
    ) -> io::Result<Self> {
        let spool = Spool::open(&data_folder.join(SPOOL), bound)?;
        let spooled = AtomicU64::new(spool.waiting());
        let shared = Shared {
            queue: Mutex::default(),
            spool: Mutex::new(spool),
            spooled,
            failing: AtomicBool::new(false),
            lost_audit,
            clock: Arc::new(clock),
        };
        Ok(Journal { shared: Arc::new(shared), wake: Notify::new(), turn: tokio::sync::Mutex::default() })
    }

    /// Entries that wait in the spool file.
    pub fn spooled(&self) -> u64 {
        self.shared.spooled.load(Ordering::SeqCst)
    }

    /// Takes an entry; never waits.
    pub fn push(&self, entry: Entry) {
        let now = self.shared.clock.wall();
        let mut queue = self.shared.queue();
        if queue.entries.len() >= BOUND {
            let expendable = Rank::EXPENDABLE.iter();
            let victim =
                expendable.filter_map(|r| queue.entries.iter().position(|(_, e)| e.rank() == *r)).next();
            if let Some((_, victim)) = victim.and_then(|at| queue.entries.remove(at)) {
                if matches!(victim, Entry::Audit(_)) {
                    self.shared.lost_audit.inc();
                }
                Loss::add(&mut queue.loss, victim.at().unwrap_or(now));
            }
        }
        queue.pushed += 1;
        let number = queue.pushed;
        queue.entries.push_back((number, entry));
        drop(queue);
        self.wake.notify_one();
    }

    /// Raises an event.
    pub fn raise(
        &self,
        camera: Option<CameraId>,
        event_type: &str,
        severity: Severity,
        payload: serde_json::Value,
    ) {
        let now = self.shared.clock.wall();
        self.push(Entry::Event(new_event(camera, event_type, severity, now, payload)));
    }

    /// Takes statuses worth keeping. They are no history: of each camera only the newest waits, in memory.
    pub fn statuses(&self, statuses: Vec<CameraStatus>) {
        self.shared.queue().statuses.extend(statuses.into_iter().map(|s| (s.camera.clone(), s)));
        self.wake.notify_one();
    }

    /// Writes what an earlier process left. Called before anything reads gaps or what was wanted.
    ///
    /// # Errors
    /// The store is busy or lost; what was not written waits on.
    pub async fn replay(&self, store: &Store) -> Result<(), StoreError> {
        let waiting = self.spooled();
        if waiting == 0 {
            return Ok(());
        }
        let settings = store.settings(&Scope::All).await?;
        if let Some(mark) = settings.into_iter().find(|setting| setting.key == MARK) {
            self.blocking(move |shared| {
                shared.with_spool(|spool| {
                    if let Err(error) = spool.skip(&mark.value) {
                        tracing::error!(%error, "the event spool cannot be shortened");
                    }
                });
            })
            .await;
        }
        self.flush(store).await?;
        tracing::info!(entries = waiting, "events that waited for the store are stored");
        Ok(())
    }

    /// Writes what is pushed, for good.
    pub async fn run(&self, store: &Store) {
        let mut away = false;
        loop {
            match self.flush(store).await {
                Ok(()) => {
                    if std::mem::take(&mut away) {
                        tracing::info!("events that waited for the store are stored");
                    }
                    self.wake.notified().await;
                }
                Err(error) => {
                    if !std::mem::replace(&mut away, true) {
                        tracing::warn!(%error, "events wait for the store");
                    }
                    self.rest().await;
                }
            }
        }
    }

    /// Lets the store rest; what is pushed meanwhile goes to the file.
    async fn rest(&self) {
        let mut rest = pin!(sleep(REST));
        loop {
            self.save().await;
            tokio::select! {
                () = &mut rest => return,
                () = self.wake.notified() => {}
            }
        }
    }

    /// Writes everything that waits, in order.
    ///
    /// # Errors
    /// The store is busy or lost; what was not written waits on, in the file if that can be written.
    pub async fn flush(&self, store: &Store) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let written = self.write_entries(store).await;
        if written.is_err() {
            self.save().await;
        }
        written?;
        self.write_statuses(store).await
    }

    async fn write_entries(&self, store: &Store) -> Result<(), StoreError> {
        loop {
            if self.spooled() > 0 {
                // What came later goes behind it.
                self.save().await;
                let written = self.write_batch(store).await;
                if written.is_err() {
                    self.blocking(|shared| shared.with_spool(Spool::take_back)).await;
                }
                written?;
                continue;
            }
            let Some((through, entries)) = self.next_entries() else { return Ok(()) };
            self.write_direct(store, entries).await?;
            let mut queue = self.shared.queue();
            // They are not there any more when they were saved meanwhile; the store sees them again then, without effect.
            while queue.entries.front().is_some_and(|(number, _)| *number <= through) {
                queue.entries.pop_front();
            }
        }
    }

    /// The entries of the next commit from memory, left where they are, and the number of the last. What was wanted is
    /// written by itself, so that writing this again right after has no effect (invariant 2).
    fn next_entries(&self) -> Option<(u64, Vec<Entry>)> {
        let mut queue = self.shared.queue();
        if let Some(loss) = queue.loss.take() {
            // Not more than that of the entry it goes before.
            let number = queue.entries.front().map_or(queue.pushed, |(number, _)| *number);
            queue.entries.push_front((number, Entry::Lost(loss)));
        }
        let is_wanted = |entry: &Entry| matches!(entry, Entry::Wanted { .. });
        let (_, first) = queue.entries.front()?;
        let length = if is_wanted(first) { 1 } else { BATCH };
        let next: Vec<&(u64, Entry)> =
            queue.entries.iter().take(length).take_while(|(_, e)| length == 1 || !is_wanted(e)).collect();
        let through = next.last().map(|(number, _)| *number)?;
        Some((through, next.into_iter().map(|(_, entry)| entry.clone()).collect()))
    }

    /// Writes entries from memory, in one commit if none of them is refused.
    async fn write_direct(&self, store: &Store, entries: Vec<Entry>) -> Result<(), StoreError> {
        let ops = entries.iter().map(|entry| entry.clone().write_op()).collect();
        match self.attend(store.write_all(ops)).await {
            Ok(_outcomes) => return Ok(()),
            Err(error) if is_away(&error) => return Err(error),
            Err(_refused) => {}
        }
        for entry in entries {
            let audit = entry.audit_time();
            self.taken_or_refused(audit, self.attend(store.write_all(vec![entry.write_op()])).await)?;
        }
        Ok(())
    }

    /// Writes records from the front of the spool, in one commit if none of them is refused.
    async fn write_batch(&self, store: &Store) -> Result<(), StoreError> {
        let Some(batch) = self.blocking(|shared| shared.head()).await.flatten() else { return Ok(()) };
        let through = batch.through();
        let readable = batch.records.iter().filter_map(|(number, entry)| Some((*number, entry.clone()?)));
        let mut ops: Vec<WriteOp> = readable.clone().map(|(_, entry)| entry.write_op()).collect();
        ops.push(self.note(batch.mark(through)));
        match self.attend(store.write_all(ops)).await {
            Ok(_outcomes) => {}
            Err(error) if is_away(&error) => return Err(error),
            Err(_refused) => {
                for (number, entry) in readable {
                    let audit = entry.audit_time();
                    let ops = vec![entry.write_op(), self.note(batch.mark(number))];
                    self.taken_or_refused(audit, self.attend(store.write_all(ops)).await)?;
                    self.blocking(move |shared| shared.advance(number)).await;
                }
            }
        }
        self.blocking(move |shared| shared.advance(through)).await;
        Ok(())
    }

    /// Notes that the spool is stored up to a number.
    fn note(&self, value: String) -> WriteOp {
        PutSetting { key: MARK.to_owned(), value, now: self.shared.clock.wall() }.into()
    }

    async fn write_statuses(&self, store: &Store) -> Result<(), StoreError> {
        let taken = std::mem::take(&mut self.shared.queue().statuses);
        if taken.is_empty() {
            return Ok(());
        }
        let written = store.write(PutStatuses { statuses: taken.values().cloned().collect() }).await;
        match written {
            Err(error) if is_away(&error) => {
                let mut queue = self.shared.queue();
                for (camera, status) in taken {
                    queue.statuses.entry(camera).or_insert(status);
                }
                Err(error)
            }
            Err(error) => {
                tracing::warn!(%error, "statuses were refused");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// An entry that is refused is done with: its camera is gone, or it contradicts a row, and repeating it changes
    /// nothing. An audit row, given by its time, contradicts nothing and is reported as lost.
    fn taken_or_refused<T>(
        &self,
        audit: Option<WallTime>,
        written: Result<T, StoreError>,
    ) -> Result<(), StoreError> {
        match written {
            Ok(_outcome) => {}
            Err(error) if is_away(&error) => return Err(error),
            Err(error) => {
                if let Some(at) = audit {
                    self.shared.lost_audit.inc();
                    Loss::add(&mut self.shared.queue().loss, at);
                    tracing::error!(%error, "an audit row cannot be stored");
                } else if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) {
                    tracing::debug!(%error, "a journal entry was refused");
                } else {
                    tracing::error!(%error, "an event or gap cannot be stored");
                }
            }
        }
        Ok(())
    }

    /// Waits for a write; when that takes long, what waits behind it is brought to safety meanwhile.
    async fn attend<T>(&self, write: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let mut write = pin!(write);
        if let Ok(written) = timeout(PATIENCE, write.as_mut()).await {
            return written;
        }
        loop {
            self.save().await;
            tokio::select! {
                written = write.as_mut() => return written,
                () = self.wake.notified() => {}
            }
        }
    }

    async fn save(&self) {
        self.blocking(|shared| shared.save()).await;
    }

    /// Does something with the file, off the runtime's workers; `None` when the runtime ends.
    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Option<T> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || act(&shared)).await.ok()
    }
}

/// Whether the same write may succeed later.
fn is_away(error: &StoreError) -> bool {
    matches!(error.kind(), ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::Fenced)
}

/// A new event with a fresh id.
pub fn new_event(
    camera: Option<CameraId>,
    event_type: &str,
    severity: Severity,
    now: WallTime,
    payload: serde_json::Value,
) -> NewEvent {
    NewEvent {
        id: uuid(),
        camera,
        event_type: event_type.to_owned(),
        severity,
        timestamp: now,
        created_at: now,
        payload,
    }
}

/// A random UUID (RFC 9562 5.4).
pub fn uuid() -> String {
    let bits = random_bits();
    let bits = (bits & !(0xf << 76) & !(0b11 << 62)) | (4 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// 128 random bits.
pub fn random_bits() -> u128 {
    let mut bytes = [0u8; 16];
    // getrandom fails only where the system has no source of randomness at all, which is noticed at start.
    if getrandom::fill(&mut bytes).is_err() {
        tracing::error!("the system gives no random bytes");
    }
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests;
