//! What the viewers of one stream share: its fragments and its live playlist, made while somebody wants them.
//!
//! Owns: the tasks that make them. The first who asks starts them; they end some time after the last has gone. Never: makes
//! the session wait; each task only follows a ring.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::bus::Bus;
use crate::hls::{Edge, Window};
use crate::mux::{Fragment, Mux};
use crate::ring::{Follower, Received, Ring};

/// Fragments are made for so long after the last viewer has gone, so that one who comes back finds them.
const LINGER: Duration = Duration::from_secs(10);
/// The playlist goes on for so long after the last request.
const HLS_LINGER: Duration = Duration::from_secs(30);

/// What the viewers of one stream share; clones share it too.
#[derive(Clone, Debug)]
pub struct Feed {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bus: Bus,
    fragments: Ring<Arc<Fragment>>,
    is_muxing: AtomicBool,
    window: Mutex<Window>,
    edge: watch::Sender<Edge>,
    /// When the playlist was last asked for, while it is made.
    asked: Mutex<Option<Instant>>,
}

impl Feed {
    /// Of a stream's bus. Nothing is made yet.
    pub fn new(bus: Bus) -> Self {
        Feed {
            shared: Arc::new(Shared {
                bus,
                fragments: Ring::default(),
                is_muxing: AtomicBool::new(false),
                window: Mutex::default(),
                edge: watch::Sender::new(Edge::default()),
                asked: Mutex::new(None),
            }),
        }
    }

    /// Its access units.
    pub fn bus(&self) -> &Bus {
        &self.shared.bus
    }

    /// Follows its fragments from the newest sync sample on. To be called on a runtime.
    pub fn fragments(&self) -> Follower<Arc<Fragment>> {
        let follower = self.shared.fragments.follow();
        self.shared.clone().start_muxing();
        follower
    }

    /// Keeps the live playlist going, and tells how far it is whenever that changes. To be called on a runtime.
    pub fn hls(&self) -> watch::Receiver<Edge> {
        let mut asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_running = asked.replace(Instant::now()).is_some();
        drop(asked);
        if !is_running {
            let follower = self.fragments();
            tokio::spawn(self.shared.clone().keep_window(follower));
        }
        self.shared.edge.subscribe()
    }

    /// The live playlist's window.
    pub fn window(&self) -> MutexGuard<'_, Window> {
        self.shared.window()
    }
}

impl Shared {
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_muxing(self: Arc<Self>) {
        if !self.is_muxing.swap(true, Ordering::AcqRel) {
            tokio::spawn(self.mux());
        }
    }

    async fn mux(self: Arc<Self>) {
        let mut units = self.bus.follow();
        let tracks = self.bus.tracks();
        let mut followers = self.fragments.followers();
        let mut mux = Mux::default();
        loop {
            let received = tokio::select! {
                received = units.recv() => received,
                () = deserted(&mut followers) => break,
            };
            match received {
                Received::Piece(unit) => {
                    let known = tracks.borrow().clone();
                    match mux.push(&unit, &known) {
                        Ok(Some(fragment)) => self.fragments.publish(Arc::new(fragment)),
                        Ok(None) => {}
                        Err(error) => {
                            tracing::debug!(%error, "a picture cannot be shown");
                            mux.interrupt();
                            units.await_start();
                        }
                    }
                }
                Received::Lagged(_) | Received::Interrupted => {
                    mux.interrupt();
                    self.fragments.interrupt();
                }
                Received::Closed => {
                    self.fragments.close();
                    return;
                }
            }
        }
        // Whoever comes later begins anew.
        self.fragments.interrupt();
        self.is_muxing.store(false, Ordering::Release);
        if *self.fragments.followers().borrow() > 0 {
            self.start_muxing();
        }
    }

    async fn keep_window(self: Arc<Self>, mut fragments: Follower<Arc<Fragment>>) {
        self.window().interrupt();
        loop {
            let received = tokio::select! {
                received = fragments.recv() => received,
                () = self.forgotten() => break,
            };
            match received {
                Received::Piece(fragment) => self.window().push(fragment),
                Received::Lagged(_) | Received::Interrupted => self.window().interrupt(),
                Received::Closed => break,
            }
            let edge = self.window().edge();
            self.edge.send_if_modified(|known| std::mem::replace(known, edge) != edge);
        }
    }

    /// Resolves when nobody has asked for the playlist for a while, and notes that it is not made any more.
    async fn forgotten(&self) {
        loop {
            let due = {
                let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(due) = asked.map(|at| at + HLS_LINGER) else { return };
                if due <= Instant::now() {
                    *asked = None;
                    return;
                }
                due
            };
            sleep_until(due).await;
        }
    }
}

/// Resolves when nobody has followed for a while.
async fn deserted(followers: &mut watch::Receiver<usize>) {
    loop {
        // The sender lives as long as the ring, which the caller holds.
        if followers.wait_for(|count| *count == 0).await.is_err() {
            return;
        }
        let back = followers.wait_for(|count| *count > 0);
        if tokio::time::timeout(LINGER, back).await.is_err() {
            return;
        }
    }
}
