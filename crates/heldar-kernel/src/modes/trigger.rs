//! What happens on cameras that record by events: the write that goes with it, and what follows when it is committed.
//!
//! Owns: which sources there are and how a committed trigger reaches the camera's plan. Never: opens a window that is not
//! stored.

use heldar_base::{CameraId, Clock as _, Micros, WallTime};
use heldar_recorder::Since;
use heldar_store::op::{Outcome, TriggerRecording, Unarmed};
use heldar_store::{AuditEntry, StoreError, Triggered};

use super::{newer, trigger_window};
use crate::engine::journal::uuid;
use crate::kernel::Kernel;

/// An open window is extended by what lasts no more often than this.
const EXTENDED_BY: Micros = Micros::from_secs(1);

/// Longest name of what starts a recording, in characters.
const NAME: usize = 64;

/// What starts a recording, beside apps, which name it themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Somebody, by the API.
    Api,
    /// A zone event.
    ZoneEvent,
    /// An event of an app.
    AppEvent,
    /// Motion that the server sees itself.
    Motion,
}

impl Source {
    const fn as_str(self) -> &'static str {
        match self {
            Source::Api => "api",
            Source::ZoneEvent => "zone_event",
            Source::AppEvent => "app_event",
            Source::Motion => "motion",
        }
    }
}

impl From<Source> for String {
    fn from(source: Source) -> String {
        source.as_str().to_owned()
    }
}

impl Kernel {
    /// What is to be written with something that happens on a camera; `None` where that starts no recording.
    pub(crate) fn trigger(&self, camera: &CameraId, source: impl Into<String>) -> Option<TriggerRecording> {
        let now = self.clock.wall();
        let (stream, pre_roll) = {
            let cameras = self.modes.cameras();
            let known = cameras.get(camera).filter(|known| known.plan.is_armed())?;
            (known.stream(known.camera.fields.record_stream), known.plan.pre_roll)
        };
        let reach = self.modes.rolls().reach(&stream, now - pre_roll);
        Some(TriggerRecording {
            camera: camera.clone(),
            source: source.into(),
            now,
            reach,
            event_id: uuid(),
            unarmed: Unarmed::Skip,
            audit: None,
        })
    }

    /// The same for somebody who asks for it: refused where nothing is recorded by events, and audited.
    pub(crate) fn ordered_trigger(&self, camera: &CameraId, audit: AuditEntry) -> Option<TriggerRecording> {
        let op = self.trigger(camera, Source::Api)?;
        Some(TriggerRecording { unarmed: Unarmed::Refuse, audit: Some(audit), ..op })
    }

    /// What is to be written where an app starts a recording, for a reason of its own.
    pub(crate) fn app_trigger(&self, camera: &CameraId, reason: &str) -> Option<TriggerRecording> {
        let name: String = reason.trim().chars().take(NAME).collect();
        if name.is_empty() { self.trigger(camera, Source::AppEvent) } else { self.trigger(camera, name) }
    }

    /// Whether what goes on has to be written to keep a recording open that it started.
    pub(crate) fn extends(&self, camera: &CameraId) -> bool {
        let now = self.clock.wall();
        let cameras = self.modes.cameras();
        let Some(known) = cameras.get(camera).filter(|known| known.plan.is_armed()) else { return false };
        let post_roll = Micros::from_secs(i64::from(known.camera.fields.post_roll_seconds));
        let window = known.plan.window.filter(|window| window.is_open(now));
        window.is_some_and(|window| now + post_roll - window.end >= EXTENDED_BY)
    }

    /// A trigger was committed.
    pub(crate) fn triggered(&self, triggered: &Triggered) {
        let mut cameras = self.modes.cameras();
        let Some(known) = cameras.get_mut(&triggered.window.camera) else { return };
        let now = self.clock.wall();
        self.tell_demand(&triggered.window.camera, known.advance(now));
        known.plan.window = newer(known.plan.window, Some(trigger_window(&triggered.window)));
        let opened_at = triggered.window.opened_at.max(WallTime(known.since.at.0 + 1));
        known.change = Some(opened_at);
        self.tell_demand(&triggered.window.camera, known.advance(now));
        if triggered.is_new && triggered.window.end <= now && known.since.at < triggered.window.end {
            // It was over at once: what came before is recorded all the same.
            known.since = Since { at: triggered.window.end, is_end: true };
        }
        self.order(known, now);
        drop(cameras);
        self.modes.wake.notify_one();
    }

    /// The same, from what a commit answered.
    pub(crate) fn triggered_by(&self, outcome: Option<Outcome>) -> Result<(), StoreError> {
        if let Some(triggered) = outcome.map(Outcome::of::<TriggerRecording>).transpose()?.flatten() {
            self.triggered(&triggered);
        }
        Ok(())
    }
}
