//! What the viewers of one stream share: its fragments and its live playlist, made while somebody wants them.
//!
//! Owns: the tasks that make them. The first who asks starts them; they end some time after the last has gone. Never: makes
//! the session wait; each task only follows a ring.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// Where the numbers of a playlist begin: a segment lasts longer than a second, so that none is used twice after the server was
/// started anew.
fn first_number() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

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
        let window = Window::new(first_number());
        Feed {
            shared: Arc::new(Shared {
                bus,
                fragments: Ring::default(),
                is_muxing: AtomicBool::new(false),
                edge: watch::Sender::new(window.edge()),
                window: Mutex::new(window),
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
        let is_kept = self.shared.asked().replace(Instant::now()).is_some();
        if !is_kept {
            let feed = self.clone();
            tokio::spawn(async move {
                let keeping = Keeping(&feed.shared);
                feed.shared.keep_window(feed.fragments()).await;
                let is_wanted = feed.shared.is_asked_for();
                drop(keeping);
                // One may have asked while it ended.
                if is_wanted && !feed.shared.bus.is_closed() {
                    drop(feed.hls());
                }
            });
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

    fn asked(&self) -> MutexGuard<'_, Option<Instant>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_asked_for(&self) -> bool {
        self.asked().is_some_and(|at| at + HLS_LINGER > Instant::now())
    }

    fn start_muxing(self: Arc<Self>) {
        if !self.is_muxing.swap(true, Ordering::AcqRel) {
            tokio::spawn(async move {
                let muxing = Muxing(&self);
                self.mux().await;
                drop(muxing);
                // One may have come while it ended.
                if *self.fragments.followers().borrow() > 0 && !self.bus.is_closed() {
                    self.start_muxing();
                }
            });
        }
    }

    async fn mux(&self) {
        let mut units = self.bus.follow();
        let tracks = self.bus.tracks();
        let mut followers = self.fragments.followers();
        let mut mux = Mux::default();
        // One wait for all pictures: they come faster than it ends.
        let deserted = deserted(&mut followers);
        tokio::pin!(deserted);
        loop {
            let received = tokio::select! {
                received = units.recv() => received,
                () = &mut deserted => return,
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
    }

    async fn keep_window(&self, mut fragments: Follower<Arc<Fragment>>) {
        self.window().interrupt();
        loop {
            let received = tokio::select! {
                received = fragments.recv() => received,
                () = self.forgotten() => return,
            };
            match received {
                Received::Piece(fragment) => self.window().push(fragment),
                Received::Lagged(_) | Received::Interrupted => self.window().interrupt(),
                Received::Closed => return,
            }
            self.tell_edge();
        }
    }

    fn tell_edge(&self) {
        let edge = self.window().edge();
        self.edge.send_if_modified(|known| std::mem::replace(known, edge) != edge);
    }

    /// Resolves when nobody has asked for the playlist for a while.
    async fn forgotten(&self) {
        loop {
            let asked = *self.asked();
            let Some(due) = asked.map(|at| at + HLS_LINGER).filter(|due| *due > Instant::now()) else {
                return;
            };
            sleep_until(due).await;
        }
    }
}

/// Fragments are being made. Whoever comes when that has ended, in whatever way, begins anew.
struct Muxing<'a>(&'a Shared);

impl Drop for Muxing<'_> {
    fn drop(&mut self) {
        self.0.fragments.interrupt();
        self.0.is_muxing.store(false, Ordering::Release);
    }
}

/// The playlist is being kept. What nobody asks for is let go.
struct Keeping<'a>(&'a Shared);

impl Drop for Keeping<'_> {
    fn drop(&mut self) {
        *self.0.asked() = None;
        self.0.window().clear();
        self.0.tell_edge();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::picture;

    #[tokio::test(start_paused = true)]
    async fn nobody_follows_the_stream_some_time_after_the_last_viewer_has_gone() {
        let feed = Feed::new(Bus::default());
        let follower = feed.fragments();
        drop(feed.hls());
        let followers = feed.bus().ring().followers();
        let mut ms = 0;
        let mut pass = async |seconds: i64| {
            for _picture in 0..seconds * 25 {
                feed.bus().publish(picture(ms, ms % 2000 == 0, 9));
                ms += 40;
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        };
        pass(20).await;
        assert!(*followers.borrow() > 0 && feed.window().has_segment());
        drop(follower);
        // The playlist is kept for some time, and the fragments for a little longer.
        pass(45).await;
        assert_eq!(*followers.borrow(), 0);
        assert!(!feed.window().has_segment());
    }
}
