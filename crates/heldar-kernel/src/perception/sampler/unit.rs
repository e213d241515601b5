//! One unit: the frames of a camera's profile, who asks for them, and how it fares.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use heldar_base::{Micros, MonoTime, WallTime};
use heldar_perception::ring::{NewFrame, Ring, View};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Nobody has asked yet.
const NEVER: i64 = i64::MIN;

/// A unit.
#[derive(Debug)]
pub(crate) struct Unit {
    ring: Mutex<Ring>,
    changed: Notify,
    /// When somebody last asked for a frame or won a task of it.
    wanted_at: AtomicI64,
    /// Bits of the rate that the plan gives it.
    fps: AtomicU64,
    /// Capture times of the newest frames, to measure a rate.
    newest: Mutex<std::collections::VecDeque<WallTime>>,
}

/// Span over which a rate is measured.
const MEASURED: Micros = Micros::from_secs(10);

impl Unit {
    pub(super) fn new(start: WallTime, frames: usize) -> Self {
        Unit {
            ring: Mutex::new(Ring::new(start, frames)),
            changed: Notify::new(),
            wanted_at: AtomicI64::new(NEVER),
            fps: AtomicU64::new(0),
            newest: Mutex::default(),
        }
    }

    pub(crate) fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when a frame comes.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Takes a frame in.
    pub(super) fn push(&self, frame: NewFrame) {
        let at = frame.captured_at;
        if self.ring().push(frame).is_some() {
            let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            newest.push_back(at);
            while newest.front().is_some_and(|first| at - *first > MEASURED) || newest.len() > 512 {
                newest.pop_front();
            }
            drop(newest);
            self.changed.notify_waiters();
        }
    }

    /// Pictures a second over the last ten seconds.
    pub(super) fn measured_fps(&self, now: WallTime) -> f64 {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = newest.iter().filter(|at| now - **at <= MEASURED).count();
        recent as f64 / MEASURED.as_secs_f64()
    }

    /// Age and number of the newest frame.
    pub(super) fn newest(&self, now: WallTime) -> Option<(Micros, u64)> {
        let ring = self.ring();
        let seq = ring.newest(View::Whole)?;
        Some(((now - ring.frame(seq)?.captured_at).max(Micros::ZERO), seq))
    }

    /// Somebody asks for a frame; true when nobody has for a while.
    pub(crate) fn pulled(&self, now: MonoTime) -> bool {
        let before = self.wanted_at.swap(now.0, Ordering::Relaxed);
        before == NEVER || now.0.saturating_sub(before) > 1_000_000
    }

    /// How long nobody has asked; `None`: never.
    pub(super) fn unasked(&self, now: MonoTime) -> Option<Micros> {
        let at = self.wanted_at.load(Ordering::Relaxed);
        (at != NEVER).then(|| now - MonoTime(at))
    }

    pub(super) fn set_fps(&self, fps: f64) {
        self.fps.store(fps.to_bits(), Ordering::Relaxed);
    }

    pub(crate) fn fps(&self) -> f64 {
        f64::from_bits(self.fps.load(Ordering::Relaxed))
    }
}
