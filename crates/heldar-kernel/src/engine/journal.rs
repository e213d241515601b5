//! What happened, on its way into the store: events, gaps, what was wanted.
//!
//! Owns: the order of these writes and their repetition while the store is busy or lost. Bounded: past [`BOUND`] entries
//! the oldest `info` events go first, and the loss is told by one event when the store is back.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heldar_base::{CameraId, Clock as _, WallTime};
use heldar_ingest::SystemClock;
use heldar_store::op::{AppendEvents, AppendWanted, PutGap, PutStatuses};
use heldar_store::{CameraStatus, ErrorKind, Gap, NewEvent, Severity, Store, StoreError};
use tokio::sync::Notify;

/// Entries that wait at most.
const BOUND: usize = 50_000;
/// Rest after the store has failed.
const REST: Duration = Duration::from_secs(1);

/// One thing to be written.
#[derive(Clone, Debug)]
pub enum Entry {
    /// An event.
    Event(NewEvent),
    /// A gap as it is now.
    Gap(Gap),
    /// Gaps that turned out to be none.
    RemoveGap(heldar_base::PublicId),
    /// Recording is wanted from then on, or why not.
    Wanted {
        /// Whose.
        camera: CameraId,
        /// From when.
        at: WallTime,
        /// Why not.
        reason: Option<heldar_base::NotWanted>,
    },
    /// Statuses worth keeping.
    Statuses(Vec<CameraStatus>),
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    dropped: u64,
    dropped_from: Option<WallTime>,
}

/// The journal.
#[derive(Debug)]
pub struct Journal {
    queue: Mutex<Queue>,
    wake: Notify,
    clock: SystemClock,
}

impl Journal {
    /// Empty.
    pub fn new(clock: SystemClock) -> Self {
        Journal { queue: Mutex::default(), wake: Notify::new(), clock }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an entry; never waits.
    pub fn push(&self, entry: Entry) {
        let now = self.clock.wall();
        let mut queue = self.queue();
        if queue.entries.len() >= BOUND {
            let victim = queue
                .entries
                .iter()
                .position(|e| matches!(e, Entry::Event(e) if e.severity == Severity::Info));
            queue.entries.remove(victim.unwrap_or(0));
            queue.dropped += 1;
            queue.dropped_from.get_or_insert(now);
        }
        queue.entries.push_back(entry);
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
        let now = self.clock.wall();
        self.push(Entry::Event(new_event(camera, event_type, severity, now, payload)));
    }

    /// Writes what is pushed, for good.
    pub async fn run(&self, store: &Store) {
        loop {
            if let Err(error) = self.flush(store).await {
                tracing::warn!(%error, waiting = self.queue().entries.len(), "the journal waits for the store");
                tokio::time::sleep(REST).await;
                continue;
            }
            self.wake.notified().await;
        }
    }

    /// Writes everything that waits, in order.
    ///
    /// # Errors
    /// The store is busy or lost; what was not written waits on.
    pub async fn flush(&self, store: &Store) -> Result<(), StoreError> {
        loop {
            let Some(entry) = self.queue().entries.pop_front() else { break };
            match write(store, entry.clone()).await {
                Ok(()) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::Fenced
                    ) =>
                {
                    self.queue().entries.push_front(entry);
                    return Err(error);
                }
                // The camera is gone, or the row contradicts one that is there: repeating it changes nothing.
                Err(error) => tracing::debug!(%error, ?entry, "a journal entry was refused"),
            }
        }
        let (dropped, from) = {
            let mut queue = self.queue();
            (std::mem::take(&mut queue.dropped), queue.dropped_from.take())
        };
        if dropped > 0 {
            let to = self.clock.wall();
            let payload = serde_json::json!({ "dropped": dropped, "from": from, "to": to });
            let event = new_event(None, "event_spool_overflow", Severity::Warning, to, payload);
            store.write(AppendEvents { events: vec![event] }).await?;
        }
        Ok(())
    }
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

async fn write(store: &Store, entry: Entry) -> Result<(), StoreError> {
    match entry {
        Entry::Event(event) => store.write(AppendEvents { events: vec![event] }).await.map(|_seqs| ()),
        Entry::Gap(gap) => store.write(PutGap { gap }).await,
        Entry::RemoveGap(id) => {
            store.write(heldar_store::op::RemoveGaps { ids: vec![id] }).await.map(|_count| ())
        }
        Entry::Wanted { camera, at, reason } => {
            store.write(AppendWanted { camera, at, reason }).await.map(|_change| ())
        }
        Entry::Statuses(statuses) => store.write(PutStatuses { statuses }).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_version_4() {
        let id = uuid();
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "4");
        assert!("89ab".contains(&id[19..20]), "{id}");
        assert_ne!(id, uuid());
    }
}
