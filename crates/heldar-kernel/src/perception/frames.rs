//! Frames for workers: pulls that wait, and tickets for what was pulled (perception.md 6).

use std::sync::PoisonError;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use heldar_base::{CameraId, Clock as _, Scope, Secret, StreamKind, WallTime};
use heldar_perception::TaskId;
use heldar_perception::ring::{Pick, Pull, Pulled, Selected, View, stale_after};
use heldar_perception::ticket::{self, Keys, TicketKey};
use heldar_store::op::PutSetting;
use heldar_store::{Store, StoreError};
use tokio::time::{Instant, timeout_at};

use super::Perception;
use crate::kernel::Kernel;
use crate::secrets::{Sealer, SecretError};

/// Key of the setting that holds the secrets of tickets.
pub(crate) const KEY: &str = "frame_ticket_keys";
/// How long a pull of a unit that has no frame yet waits for its first one.
const FIRST_FRAME: Duration = Duration::from_secs(1);

/// What a pull asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The camera's stream.
    pub profile: StreamKind,
    /// The task that it is for, if it is one of the camera's.
    pub task: Option<TaskId>,
    /// Only frames after this one.
    pub after: Option<u64>,
    /// Which of several.
    pub pick: Pick,
    /// Exactly this one.
    pub seq: Option<u64>,
    /// How long to wait for a frame after `after`.
    pub wait: Duration,
}

/// A frame for a pull.
#[derive(Clone, Debug)]
pub enum FrameReply {
    /// This one, with a ticket for whoever holds its task.
    Frame(Selected, Option<String>),
    /// Nothing newer came; this is the newest.
    NothingNewer(u64),
}

/// Why there is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// No task asks for frames of this stream.
    NoTask,
    /// None has come yet.
    Starting,
    /// The budget has no room for it.
    Shed,
    /// The camera has no such stream.
    NoSource,
    /// The source stopped then.
    Stale(WallTime),
    /// The one that was asked for is not held any more.
    Evicted,
}

impl FrameError {
    /// Its name as a label and as a reason.
    pub const fn as_str(self) -> &'static str {
        match self {
            FrameError::NoTask => "no_task",
            FrameError::Starting => "starting",
            FrameError::Shed => "shed",
            FrameError::NoSource => "no_source",
            FrameError::Stale(_) => "stale",
            FrameError::Evicted => "evicted",
        }
    }
}

impl Kernel {
    /// The frame that a pull asks for; waits as long as it says, and for the first frame of a unit that just began.
    ///
    /// # Errors
    /// [`FrameError`].
    pub async fn pull(
        &self,
        credential: &str,
        camera: &CameraId,
        wanted: Wanted,
    ) -> Result<FrameReply, FrameError> {
        let task_type = wanted.task.and_then(|id| self.perception.task(id));
        let task_type = task_type.as_ref().map(|known| known.task.spec.task_type.as_str());
        let reply = self.answer_pull(credential, camera, wanted).await;
        self.perception.meters.pulled(camera.as_str(), task_type, reply.as_ref());
        reply
    }

    async fn answer_pull(
        &self,
        credential: &str,
        camera: &CameraId,
        wanted: Wanted,
    ) -> Result<FrameReply, FrameError> {
        let task = wanted.task.and_then(|id| self.perception.task(id)).filter(|known| {
            known.task.camera == *camera
                && known.task.spec.profile == wanted.profile
                && known.task.spec.enabled
        });
        let view = task.as_ref().map_or(View::Whole, |known| View::Task(known.task.id));
        let pull = Pull { view, after: wanted.after, pick: wanted.pick, seq: wanted.seq };
        let sampler = &self.perception.sampler;
        let Some(unit) = sampler.unit(camera, wanted.profile) else { return Err(FrameError::NoTask) };
        if unit.pulled(self.clock.mono()) {
            sampler.wake();
        }
        let begun = Instant::now();
        let fps = match view {
            View::Task(id) => sampler.delivered(id).map_or(0.0, |(fps, _)| fps),
            View::Whole => unit.fps(),
        };
        let fresh_for = stale_after(fps);
        loop {
            // Registered before looking, so that a frame that comes in between wakes us.
            let changed = unit.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let pulled = unit.ring().pull(&pull, self.clock.wall(), fresh_for);
            let (patience, otherwise) = match pulled {
                Pulled::Frame(selected) => {
                    let ticket = task.as_ref().and_then(|known| {
                        self.ticket(credential, camera, known.task.id, selected.frame.captured_at)
                    });
                    return Ok(FrameReply::Frame(selected, ticket));
                }
                Pulled::NothingNewer { newest } => (wanted.wait, Ok(FrameReply::NothingNewer(newest))),
                Pulled::Nothing => {
                    let why = sampler.why_none(camera, wanted.profile);
                    // What cannot come is not waited for unasked.
                    let unasked = if why == FrameError::Starting { FIRST_FRAME } else { Duration::ZERO };
                    (wanted.wait.max(unasked), Err(why))
                }
                Pulled::Stale { stopped } => (wanted.wait.max(FIRST_FRAME), Err(FrameError::Stale(stopped))),
                Pulled::Evicted => return Err(FrameError::Evicted),
            };
            if timeout_at(begun + patience, changed).await.is_err() {
                return otherwise;
            }
        }
    }

    /// A ticket for a frame, for whoever holds a live lease on its task.
    fn ticket(
        &self,
        credential: &str,
        camera: &CameraId,
        task: TaskId,
        captured_at: WallTime,
    ) -> Option<String> {
        let now = self.clock.wall();
        let book = self.perception.book.read().unwrap_or_else(PoisonError::into_inner);
        let lease = book.live_lease(task, credential, now)?;
        if lease.camera != *camera {
            return None;
        }
        drop(book);
        let ttl = self.settings.perception.ticket_ttl_secs;
        let keys = self.perception.keys.read().unwrap_or_else(PoisonError::into_inner);
        ticket::mint(&keys, credential, camera, task, captured_at, now, ttl)
    }

    /// Renews the secret of tickets when it is due.
    pub(super) async fn renew_ticket_keys(&self) -> Result<(), SecretError> {
        let now = self.clock.wall();
        let keys = self.perception.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        if !keys.is_due(now) {
            return Ok(());
        }
        let renewed = keys.renewed(fresh()?, now);
        store_keys(&self.store, &self.sealer, &renewed, now).await?;
        *self.perception.keys.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }
}

impl Perception {
    /// The secrets of tickets.
    pub(super) fn ticket_keys(&self) -> Keys {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn fresh() -> Result<TicketKey, SecretError> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|_| SecretError::Random)?;
    Ok(Secret::new(key))
}

/// The store's secrets; a store without them gets one.
pub(super) async fn open_keys(store: &Store, sealer: &Sealer, now: WallTime) -> Result<Keys, SecretError> {
    let stored = store.settings(&Scope::All).await?.into_iter().find(|setting| setting.key == KEY);
    let Some(setting) = stored else {
        let keys = Keys::new(fresh()?, now);
        store_keys(store, sealer, &keys, now).await?;
        return Ok(keys);
    };
    let text = sealer.open_value("setting", KEY, KEY, &Secret::new(setting.value))?;
    read_keys(text.expose()).ok_or(SecretError::Unreadable)
}

/// `<since in microseconds> <current> [<previous>]`, keys as base64url.
fn read_keys(text: &str) -> Option<Keys> {
    let mut parts = text.split(' ');
    let since = WallTime(parts.next()?.parse().ok()?);
    let mut key = || -> Option<TicketKey> {
        let bytes = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
        Some(Secret::new(bytes.try_into().ok()?))
    };
    let current = key()?;
    Some(Keys { current, since, previous: key() })
}

async fn store_keys(store: &Store, sealer: &Sealer, keys: &Keys, now: WallTime) -> Result<(), SecretError> {
    let code = |key: &TicketKey| URL_SAFE_NO_PAD.encode(key.expose());
    let previous = keys.previous.as_ref().map(|key| format!(" {}", code(key))).unwrap_or_default();
    let text = Secret::new(format!("{} {}{previous}", keys.since.0, code(&keys.current)));
    let value = sealer.seal_value("setting", KEY, KEY, &text)?.expose().clone();
    let put = PutSetting { key: KEY.to_owned(), value, now };
    store.write(put).await.map_err(|error: StoreError| SecretError::from(error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let key = |byte: u8| Secret::new([byte; 32]);
        let code = |byte: u8| URL_SAFE_NO_PAD.encode([byte; 32]);
        let first = read_keys(&format!("17 {}", code(1))).expect("keys");
        assert_eq!((first.since, first.current, first.previous), (WallTime(17), key(1), None));
        let second = read_keys(&format!("18 {} {}", code(2), code(1))).expect("keys");
        assert_eq!(second.previous, Some(key(1)));
        for wrong in ["", "x", "17", "17 abc"] {
            assert!(read_keys(wrong).is_none(), "{wrong}");
        }
    }
}
