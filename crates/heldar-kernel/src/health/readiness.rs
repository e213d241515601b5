//! Whether the server does its work: what `/readyz` says.
//!
//! Owns: which findings make the server not ready, and in which order they are named (auth-system.md 6). Pure: what was
//! looked at comes in as values, the answer is a value. Never: probes anything.

use std::collections::BTreeMap;

use heldar_base::{CameraId, Micros, MonoTime, NotWanted};
use heldar_recorder::{CameraState, Now};

use crate::engine::supervisor::{SessionPhase, StatusView};

/// A camera counts once it has been wanted for this long.
const SETTLED: Micros = Micros::from_secs(30);
/// Pictures that arrive reach the disk within this.
const TO_DISK: Micros = Micros::from_secs(30);
/// The oldest heartbeat that counts.
const HEARTBEAT: Micros = Micros::from_secs(10);

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Ok,
    /// There is nothing to check.
    Off,
    /// It fails.
    Failed,
}

impl Verdict {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Off => "off",
            Verdict::Failed => "failed",
        }
    }

    fn of(good: bool) -> Verdict {
        if good { Verdict::Ok } else { Verdict::Failed }
    }
}

/// The newest result of every check.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Readiness {
    /// The store reads and commits.
    pub store: Verdict,
    /// The recordings folder is there, can be written, and is written.
    pub disk: Verdict,
    /// Pictures that arrive are recorded.
    pub recorder: Verdict,
    /// Enough of the wanted cameras record.
    pub quorum: Verdict,
    /// Share of the wanted cameras that record, in percent.
    pub recording_percent: f64,
}

impl Readiness {
    /// That of a server that has just opened its store and its folder.
    pub const JUST_STARTED: Readiness = Readiness {
        store: Verdict::Ok,
        disk: Verdict::Ok,
        recorder: Verdict::Ok,
        quorum: Verdict::Off,
        recording_percent: 100.0,
    };

    /// Why the server is not ready: the first failure in the order of the checks.
    pub fn reason(&self) -> Option<&'static str> {
        let checks = [
            (self.store, "database"),
            (self.disk, "disk"),
            (self.recorder, "recorder"),
            (self.quorum, "insufficient_recorders"),
        ];
        checks.into_iter().find(|(verdict, _)| *verdict == Verdict::Failed).map(|(_, reason)| reason)
    }
}

/// Since when each camera has been wanted without a break.
#[derive(Clone, Debug, Default)]
pub(super) struct WantedSince {
    since: BTreeMap<CameraId, MonoTime>,
}

impl WantedSince {
    /// Takes the states as they are now.
    pub(super) fn update(&mut self, now: Now, views: &[(CameraId, StatusView)]) {
        let counts = |view: &StatusView| is_wanted(view) || is_armed(view);
        let wanted = |camera: &CameraId| views.iter().any(|(id, view)| id == camera && counts(view));
        self.since.retain(|camera, _| wanted(camera));
        for (camera, _) in views.iter().filter(|(_, view)| counts(view)) {
            self.since.entry(camera.clone()).or_insert(now.mono);
        }
    }

    /// Share of the cameras wanted or armed for long enough that truly write or have a session, in percent with one decimal; 100 when there are none.
    pub(super) fn recording_percent(&self, now: Now, views: &[(CameraId, StatusView)]) -> f64 {
        let settled = |camera| self.since.get(camera).is_some_and(|since| now.mono - *since >= SETTLED);
        let counted: Vec<&StatusView> =
            views.iter().filter(|(camera, _)| settled(camera)).map(|(_, view)| view).collect();
        if counted.is_empty() {
            return 100.0;
        }
        let does = |view: &&&StatusView| match is_armed(view) {
            true => view.session == SessionPhase::Streaming,
            false => view.state == CameraState::Recording,
        };
        let recording = counted.iter().filter(does).count();
        (recording as f64 / counted.len() as f64 * 1000.0).round() / 10.0
    }
}

/// True when recording is wanted now.
pub fn is_wanted(view: &StatusView) -> bool {
    view.not_wanted.is_none() && view.state != CameraState::Unknown
}

/// True when the camera has to be ready for what may happen.
fn is_armed(view: &StatusView) -> bool {
    view.not_wanted == Some(NotWanted::AwaitingTrigger)
}

/// The share that records against the share that has to.
pub(super) fn quorum(recording_percent: f64, required: Option<f64>) -> Verdict {
    match required {
        None => Verdict::Off,
        Some(required) => Verdict::of(recording_percent >= required.min(100.0)),
    }
}

/// The recorder: it lives, and of the wanted streams that receive pictures at least one gets them to the disk.
///
/// One stream whose pictures cannot be stored is that camera's trouble; when it is all of them, it is the recorder's.
pub(super) fn recorder(now: Now, heartbeat: MonoTime, views: &[(CameraId, StatusView)]) -> Verdict {
    let wanted: Vec<&StatusView> =
        views.iter().map(|(_, view)| view).filter(|view| is_wanted(view)).collect();
    if now.mono - heartbeat > HEARTBEAT {
        return Verdict::Failed;
    }
    let receiving: Vec<bool> = wanted.iter().filter_map(|view| reaches_disk(now, view)).collect();
    Verdict::of(receiving.is_empty() || receiving.contains(&true))
}

/// Whether pictures that arrive reach the disk; `None` where none arrive, or only since a moment ago.
fn reaches_disk(now: Now, view: &StatusView) -> Option<bool> {
    let connected = view.connected_since?;
    let newest = view.last_picture_at.filter(|at| *at >= connected && now.wall - *at <= TO_DISK)?;
    let covered = view.last_segment_at.map_or(connected, |at| at.max(connected));
    if newest - covered <= TO_DISK {
        // On its way, unless it has just begun.
        return (view.last_segment_at.is_some_and(|at| at > connected)).then_some(true);
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::stream::AudioOutcome;
    use crate::engine::supervisor::SessionPhase;
    use heldar_base::{NotWanted, WallTime};

    const NOW: Now = Now { mono: MonoTime(1_000_000_000), wall: WallTime(1_700_000_000_000_000) };

    fn ago(seconds: i64) -> WallTime {
        NOW.wall - Micros::from_secs(seconds)
    }

    fn view(state: CameraState) -> StatusView {
        StatusView {
            state,
            state_since: ago(100),
            not_wanted: None,
            trouble: None,
            session: SessionPhase::Streaming,
            transport: None,
            audio: AudioOutcome::None,
            connected_since: Some(ago(100)),
            next_attempt_at: None,
            last_picture_at: Some(ago(0)),
            last_segment_at: Some(ago(1)),
            last_started_at: None,
            reconnect_count: 0,
            segments_written: 0,
            fps: None,
            bitrate_kbps: None,
            clock_offset: Micros::ZERO,
            params: None,
            updated_at: NOW.wall,
        }
    }

    fn named(views: Vec<StatusView>) -> Vec<(CameraId, StatusView)> {
        let name = |n: usize| CameraId::new(&format!("cam_{n}")).unwrap();
        views.into_iter().enumerate().map(|(n, view)| (name(n), view)).collect()
    }

    #[test]
    fn the_recorder_fails_when_nothing_gets_through() {
        let check = |views: Vec<StatusView>, expect: Verdict| {
            assert_eq!(recorder(NOW, NOW.mono - HEARTBEAT, &named(views)), expect);
        };
        let good = view(CameraState::Recording);
        let kept = StatusView { last_segment_at: Some(ago(40)), ..good.clone() };
        let fresh =
            StatusView { connected_since: Some(ago(20)), last_segment_at: Some(ago(500)), ..good.clone() };
        let off = StatusView { not_wanted: Some(NotWanted::CameraDisabled), ..kept.clone() };
        let silent =
            StatusView { last_picture_at: Some(ago(45)), last_segment_at: Some(ago(45)), ..good.clone() };
        let waiting = StatusView {
            session: SessionPhase::Backoff,
            connected_since: None,
            next_attempt_at: Some(ago(-5)),
            ..kept.clone()
        };
        check(vec![], Verdict::Ok);
        check(vec![good.clone()], Verdict::Ok);
        check(vec![kept.clone()], Verdict::Failed);
        check(vec![kept.clone(), good.clone()], Verdict::Ok);
        check(vec![kept.clone(), fresh.clone()], Verdict::Failed);
        check(vec![fresh], Verdict::Ok);
        check(vec![off], Verdict::Ok);
        check(vec![good.clone(), silent], Verdict::Ok);
        check(vec![waiting], Verdict::Ok);
        let late = NOW.mono - HEARTBEAT - Micros(1);
        assert_eq!(recorder(NOW, late, &named(vec![good])), Verdict::Failed);
    }

    #[test]
    fn the_quorum_counts_cameras_that_had_time_to_start() {
        let views = named(vec![
            view(CameraState::Recording),
            view(CameraState::Recording),
            view(CameraState::Offline),
            StatusView { not_wanted: Some(NotWanted::RecordingDisabled), ..view(CameraState::Disabled) },
        ]);
        let mut since = WantedSince::default();
        since.update(NOW, &views);
        assert_eq!(since.recording_percent(NOW, &views), 100.0);
        let later = Now { mono: NOW.mono + SETTLED, ..NOW };
        since.update(later, &views);
        assert_eq!(since.recording_percent(later, &views), 66.7);
        assert_eq!(quorum(66.7, Some(66.7)), Verdict::Ok);
        assert_eq!(quorum(66.7, Some(70.0)), Verdict::Failed);
        assert_eq!(quorum(0.0, None), Verdict::Off);
        // One that stops being wanted and is wanted again starts anew.
        since.update(later, &views[..2]);
        since.update(later, &views);
        assert_eq!(since.recording_percent(later, &views), 100.0);
    }

    #[test]
    fn the_first_failure_is_named() {
        let ready = Readiness::JUST_STARTED;
        assert_eq!(ready.reason(), None);
        let quorum = Readiness { quorum: Verdict::Failed, ..ready };
        assert_eq!(quorum.reason(), Some("insufficient_recorders"));
        let all = Readiness { store: Verdict::Failed, disk: Verdict::Failed, ..quorum };
        assert_eq!(all.reason(), Some("database"));
    }
}
