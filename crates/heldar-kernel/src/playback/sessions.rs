//! Playback sessions: remembered in memory, nothing on disk, no lock on footage.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use heldar_base::{Clock as _, Micros, PublicId, Scope, StreamId, WallTime};
use heldar_ingest::SystemClock;

use super::Window;
use crate::engine::journal::random_bits;

/// Sessions that live at the same time; the one unused longest goes first.
const MOST: usize = 10_000;

/// One session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id, with the prefix [`Session::PREFIX`].
    pub id: PublicId,
    /// Whose footage.
    pub stream: StreamId,
    /// Which.
    pub window: Window,
    /// Time zero of its decode times.
    pub origin: WallTime,
    /// When it ends if nobody uses it.
    pub expires_at: WallTime,
}

impl Session {
    /// Prefix of session ids.
    pub const PREFIX: &'static str = "pbs";
}

/// All sessions.
#[derive(Debug)]
pub struct Sessions {
    sessions: Mutex<HashMap<u128, Session>>,
    clock: SystemClock,
    ttl: Micros,
}

impl Sessions {
    /// None yet; each lives `ttl` after its last use.
    pub fn new(clock: SystemClock, ttl: Micros) -> Self {
        Sessions { sessions: Mutex::default(), clock, ttl }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<u128, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session.
    pub fn create(&self, stream: StreamId, window: Window, origin: WallTime) -> Session {
        let now = self.clock.wall();
        let id = PublicId::new(Session::PREFIX, random_bits());
        let session = Session { id, stream, window, origin, expires_at: now + self.ttl };
        let mut sessions = self.sessions();
        sessions.retain(|_, session| session.expires_at > now);
        if sessions.len() >= MOST
            && let Some(oldest) = sessions.values().min_by_key(|s| s.expires_at).map(|s| s.id.bits())
        {
            sessions.remove(&oldest);
        }
        sessions.insert(id.bits(), session.clone());
        session
    }

    /// A session inside the scope; using it lets it live on.
    pub fn get(&self, scope: &Scope, id: PublicId) -> Option<Session> {
        let now = self.clock.wall();
        let mut sessions = self.sessions();
        let session = sessions.get_mut(&id.bits())?;
        if session.expires_at <= now || !scope.covers(&session.stream.camera) {
            return None;
        }
        session.expires_at = now + self.ttl;
        Some(session.clone())
    }

    /// Ends a session inside the scope; the session that was.
    pub fn remove(&self, scope: &Scope, id: PublicId) -> Option<Session> {
        self.get(scope, id)?;
        self.sessions().remove(&id.bits())
    }
}
