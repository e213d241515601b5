//! The state that a camera is shown in, and the events about it.
//!
//! Owns: which of the six states holds, when `camera_offline`, `camera_online` and `recorder_error` are raised.
//! Contract: one `camera_offline` per outage, after the debounce; one `camera_online` when pictures return after a
//! raised outage; `recorder_error` once per episode. `recording` is never claimed before a picture is on disk. An armed
//! camera is minded like one that is to be recorded: `disabled` while pictures arrive, `offline` when they do not.
//! Never: reads a clock, stores anything.

use heldar_base::{Micros, MonoTime, NotWanted, ReasonClass, WallTime};

use crate::Demand;

/// Both clocks at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For lengths.
    pub mono: MonoTime,
    /// For people.
    pub wall: WallTime,
}

/// The state of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameraState {
    /// Created, not yet evaluated.
    Unknown,
    /// Recording is not wanted now.
    Disabled,
    /// Wanted and no picture yet.
    Connecting,
    /// Pictures arrive and are written.
    Recording,
    /// Session lost or not obtained; retrying.
    Offline,
    /// Retrying cannot help or does not.
    Error,
}

impl CameraState {
    /// Every state, in the order of metrics.
    pub const ALL: [CameraState; 6] = [
        CameraState::Unknown,
        CameraState::Disabled,
        CameraState::Connecting,
        CameraState::Recording,
        CameraState::Offline,
        CameraState::Error,
    ];

    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            CameraState::Unknown => "unknown",
            CameraState::Disabled => "disabled",
            CameraState::Connecting => "connecting",
            CameraState::Recording => "recording",
            CameraState::Offline => "offline",
            CameraState::Error => "error",
        }
    }
}

/// Why a session ended or was not obtained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Its class.
    pub class: ReasonClass,
    /// What is known, masked, at most 800 characters.
    pub detail: String,
}

/// What to tell the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusEvent {
    /// No picture for longer than the debounce.
    Offline {
        /// How long the lost session had run.
        ran: Micros,
        /// Why.
        trouble: Trouble,
        /// Since when there has been no picture.
        since: WallTime,
    },
    /// Pictures are back after a raised outage.
    Online {
        /// How long there was none.
        offline: Micros,
        /// Since when there had been none.
        since: WallTime,
    },
    /// Retrying cannot help: no stream address, unusable codec, failing storage.
    Error {
        /// Why.
        trouble: Trouble,
    },
    /// Sessions are obtained, but nothing recordable comes.
    Stale {
        /// The threshold that passed.
        threshold: Micros,
    },
}

/// Times that decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusConfig {
    /// Time without a picture before `camera_offline`.
    pub debounce: Micros,
    /// Time without a recordable picture before a streaming camera is stale.
    pub stale: Micros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Connecting,
    Streaming,
    Backoff,
}

/// The machine of one camera.
#[derive(Clone, Debug)]
pub struct StatusMachine {
    config: StatusConfig,
    wanted: Option<Demand>,
    phase: Phase,
    /// Why it does not work; cleared by a picture on disk.
    trouble: Option<Trouble>,
    /// Pictures reach the disk in the present session; of an armed camera: they arrive.
    writing: bool,
    /// Newest picture on disk, or since when one has been wanted.
    quiet_since: Option<Now>,
    streaming_since: Option<MonoTime>,
    /// Since when sessions have been obtained one after another without bringing a picture to the disk.
    fruitless_since: Option<MonoTime>,
    /// How long the newest session ran that is over.
    ran: Micros,
    offline_raised: bool,
    error_raised: Option<ReasonClass>,
    stale_raised: bool,
    state: CameraState,
    state_since: WallTime,
}

impl StatusMachine {
    /// A camera that nothing is known about.
    pub fn new(config: StatusConfig, now: Now) -> Self {
        StatusMachine {
            config,
            wanted: None,
            phase: Phase::Idle,
            trouble: None,
            writing: false,
            quiet_since: None,
            streaming_since: None,
            fruitless_since: None,
            ran: Micros::ZERO,
            offline_raised: false,
            error_raised: None,
            stale_raised: false,
            state: CameraState::Unknown,
            state_since: now.wall,
        }
    }

    /// The state now.
    pub fn state(&self) -> CameraState {
        self.state
    }

    /// Since when it holds.
    pub fn state_since(&self) -> WallTime {
        self.state_since
    }

    /// Why it does not work, if it does not.
    pub fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Why recording is not wanted, if it is not.
    pub fn not_wanted(&self) -> Option<NotWanted> {
        self.wanted.and_then(Demand::not_wanted)
    }

    /// Whether it matters that pictures arrive.
    fn is_minded(&self) -> bool {
        matches!(self.wanted, Some(Demand::Wanted | Demand::Armed))
    }

    /// Takes new times.
    pub fn configure(&mut self, config: StatusConfig) {
        self.config = config;
    }

    /// What is owed from now on.
    pub fn wanted(&mut self, now: Now, wanted: Demand) {
        if self.wanted == Some(wanted) {
            return;
        }
        let was_minded = self.is_minded();
        let was = self.wanted.replace(wanted);
        if wanted == Demand::Wanted {
            // What a session brought before was of no account.
            self.fruitless_since = self.fruitless_since.map(|_| now.mono);
        }
        match (was, wanted) {
            // Pictures arrive, and none is on disk yet.
            (Some(Demand::Armed), Demand::Wanted) if self.writing => {
                self.writing = false;
                self.quiet_since = Some(now);
            }
            (_, Demand::Wanted | Demand::Armed) if !was_minded => self.quiet_since = Some(now),
            (_, Demand::Wanted | Demand::Armed) => {}
            (_, Demand::Idle(_)) => {
                // An outage that nobody minds any more ends without a word.
                self.offline_raised = false;
                self.error_raised = None;
                self.stale_raised = false;
                self.writing = false;
                self.trouble = None;
            }
        }
        self.settle(now);
    }

    /// An attempt begins.
    pub fn connecting(&mut self, now: Now) {
        self.phase = Phase::Connecting;
        self.settle(now);
    }

    /// A session runs.
    pub fn streaming(&mut self, now: Now) {
        self.phase = Phase::Streaming;
        self.streaming_since = Some(now.mono);
        self.fruitless_since.get_or_insert(now.mono);
        self.settle(now);
    }

    /// A picture is on disk.
    ///
    /// Word of the last pictures of a session may come late: it changes nothing once the session is over or recording is
    /// not wanted any more.
    pub fn written(&mut self, now: Now) -> Option<StatusEvent> {
        if self.wanted != Some(Demand::Wanted) {
            return None;
        }
        self.well(now)
    }

    /// Pictures arrive; for an armed camera that is all it takes. Told again and again.
    pub fn pictured(&mut self, now: Now) -> Option<StatusEvent> {
        if self.wanted != Some(Demand::Armed) {
            return None;
        }
        self.well(now)
    }

    fn well(&mut self, now: Now) -> Option<StatusEvent> {
        if self.phase != Phase::Streaming {
            return None;
        }
        let event = match self.quiet_since {
            Some(since) if self.offline_raised => {
                Some(StatusEvent::Online { offline: now.mono - since.mono, since: since.wall })
            }
            _ => None,
        };
        self.offline_raised = false;
        self.error_raised = None;
        self.stale_raised = false;
        self.trouble = None;
        self.writing = true;
        self.fruitless_since = Some(now.mono);
        self.quiet_since = Some(now);
        self.settle(now);
        event
    }

    /// The session ended or was not obtained.
    pub fn ended(&mut self, now: Now, trouble: Trouble) -> Option<StatusEvent> {
        match self.streaming_since.take() {
            Some(since) => self.ran = now.mono - since,
            None => self.fruitless_since = None,
        }
        self.phase = Phase::Backoff;
        self.writing = false;
        self.fail(now, trouble)
    }

    /// Nothing runs and nothing is tried.
    pub fn idle(&mut self, now: Now) {
        self.streaming_since = None;
        self.fruitless_since = None;
        self.phase = Phase::Idle;
        self.writing = false;
        self.settle(now);
    }

    /// Pictures arrive but cannot be written.
    pub fn storage_failed(&mut self, now: Now, trouble: Trouble) -> Option<StatusEvent> {
        self.writing = false;
        self.fail(now, trouble)
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Now) -> Option<StatusEvent> {
        if !self.is_minded() || self.writing {
            return None;
        }
        let quiet = self.quiet_since?;
        let silence = now.mono - quiet.mono;
        if !self.offline_raised && self.state == CameraState::Offline && silence >= self.config.debounce {
            self.offline_raised = true;
            let trouble = self
                .trouble
                .clone()
                .unwrap_or(Trouble { class: ReasonClass::Unknown, detail: "no picture yet".to_owned() });
            return Some(StatusEvent::Offline { ran: self.ran, trouble, since: quiet.wall });
        }
        let connected = matches!(self.phase, Phase::Streaming | Phase::Connecting);
        let fruitless = self.fruitless_since.map_or(Micros::ZERO, |since| now.mono - since);
        if !self.stale_raised && self.phase == Phase::Streaming && fruitless >= self.config.stale {
            self.stale_raised = true;
            if self.trouble.is_none() {
                let detail = "connected, but nothing recordable arrives".to_owned();
                self.trouble = Some(Trouble { class: ReasonClass::Stalled, detail });
            }
            self.settle(now);
            return Some(StatusEvent::Stale { threshold: self.config.stale });
        }
        if connected {
            self.settle(now);
        }
        None
    }

    fn fail(&mut self, now: Now, trouble: Trouble) -> Option<StatusEvent> {
        let hopeless = is_hopeless(trouble.class);
        let class = trouble.class;
        self.trouble = Some(trouble.clone());
        self.settle(now);
        if hopeless && self.error_raised != Some(class) && self.is_minded() {
            self.error_raised = Some(class);
            return Some(StatusEvent::Error { trouble });
        }
        None
    }

    fn settle(&mut self, now: Now) {
        let state = match self.wanted {
            None => CameraState::Unknown,
            Some(Demand::Idle(_)) => CameraState::Disabled,
            Some(Demand::Armed) if self.writing => CameraState::Disabled,
            Some(Demand::Wanted) if self.writing => CameraState::Recording,
            Some(Demand::Wanted | Demand::Armed) => match &self.trouble {
                Some(trouble) if is_hopeless(trouble.class) || self.stale_raised => CameraState::Error,
                Some(_) => CameraState::Offline,
                None => CameraState::Connecting,
            },
        };
        if state != self.state {
            self.state = state;
            self.state_since = now.wall;
        }
    }
}

/// Retrying alone will not mend these.
fn is_hopeless(class: ReasonClass) -> bool {
    matches!(class, ReasonClass::Config | ReasonClass::Codec | ReasonClass::Disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: StatusConfig =
        StatusConfig { debounce: Micros::from_secs(10), stale: Micros::from_secs(30) };

    fn at(s: i64) -> Now {
        Now { mono: MonoTime(s * 1_000_000), wall: WallTime(1_000_000_000_000_000 + s * 1_000_000) }
    }

    fn trouble(class: ReasonClass) -> Trouble {
        Trouble { class, detail: class.to_string() }
    }

    fn running() -> StatusMachine {
        let mut m = StatusMachine::new(CONFIG, at(0));
        m.wanted(at(0), Demand::Wanted);
        m.connecting(at(0));
        assert_eq!(m.state(), CameraState::Connecting);
        m.streaming(at(1));
        assert_eq!(m.state(), CameraState::Connecting, "no picture yet");
        assert_eq!(m.written(at(2)), None);
        assert_eq!(m.state(), CameraState::Recording);
        m
    }

    #[test]
    fn a_short_loss_raises_nothing() {
        let mut m = running();
        assert_eq!(m.ended(at(20), trouble(ReasonClass::Closed)), None);
        assert_eq!(m.state(), CameraState::Offline);
        assert_eq!(m.tick(at(11)), None);
        m.connecting(at(22));
        m.streaming(at(23));
        assert_eq!(m.written(at(24)), None);
        assert_eq!(m.state(), CameraState::Recording);
    }

    #[test]
    fn an_outage_raises_one_offline_and_one_online() {
        let mut m = running();
        assert_eq!(m.ended(at(20), trouble(ReasonClass::Closed)), None);
        let mut raised = Vec::new();
        for s in 21..60 {
            if s % 5 == 0 {
                m.connecting(at(s));
                raised.extend(m.ended(at(s), trouble(ReasonClass::Refused)));
            }
            raised.extend(m.tick(at(s)));
        }
        assert_eq!(raised.len(), 1);
        assert!(
            matches!(&raised[0], StatusEvent::Offline { since, .. } if *since == at(2).wall),
            "since the newest picture on disk: {raised:?}"
        );
        m.connecting(at(60));
        m.streaming(at(60));
        assert_eq!(
            m.written(at(61)),
            Some(StatusEvent::Online { offline: Micros::from_secs(59), since: at(2).wall })
        );
        assert_eq!(m.written(at(62)), None);
    }

    #[test]
    fn hopeless_classes_are_errors_raised_once_per_episode() {
        let mut m = StatusMachine::new(CONFIG, at(0));
        m.wanted(at(0), Demand::Wanted);
        assert!(matches!(m.ended(at(0), trouble(ReasonClass::Config)), Some(StatusEvent::Error { .. })));
        assert_eq!(m.ended(at(5), trouble(ReasonClass::Config)), None);
        assert_eq!(m.state(), CameraState::Error);
        m.streaming(at(6));
        m.written(at(7));
        assert!(matches!(
            m.storage_failed(at(8), trouble(ReasonClass::Disk)),
            Some(StatusEvent::Error { .. })
        ));
        assert_eq!(m.state(), CameraState::Error);
        assert_eq!(m.written(at(9)), None);
        assert_eq!(m.state(), CameraState::Recording);
    }

    #[test]
    fn connected_without_pictures_becomes_stale() {
        let mut m = StatusMachine::new(CONFIG, at(0));
        m.wanted(at(0), Demand::Wanted);
        m.connecting(at(0));
        m.streaming(at(1));
        assert_eq!(m.tick(at(30)), None);
        assert_eq!(m.tick(at(31)), Some(StatusEvent::Stale { threshold: Micros::from_secs(30) }));
        assert_eq!(m.state(), CameraState::Error);
        assert_eq!(m.tick(at(99)), None);
    }

    #[test]
    fn only_time_in_which_sessions_are_obtained_makes_a_camera_stale() {
        // Sessions follow each other, and none brings a picture.
        let mut m = running();
        m.ended(at(20), trouble(ReasonClass::Stalled));
        m.streaming(at(22));
        m.ended(at(32), trouble(ReasonClass::Stalled));
        m.streaming(at(36));
        assert!(matches!(m.tick(at(50)), Some(StatusEvent::Offline { .. })));
        assert!(matches!(m.tick(at(51)), Some(StatusEvent::Stale { .. })));
        // After an outage the clock starts with the session, and how long the last one ran is still known.
        let mut m = running();
        m.ended(at(20), trouble(ReasonClass::Closed));
        m.ended(at(22), trouble(ReasonClass::Refused));
        let offline = m.tick(at(40));
        assert!(
            matches!(offline, Some(StatusEvent::Offline { ran, .. }) if ran > Micros::ZERO),
            "{offline:?}"
        );
        m.ended(at(100), trouble(ReasonClass::Refused));
        m.streaming(at(130));
        assert_eq!(m.tick(at(131)), None);
        assert!(matches!(m.written(at(132)), Some(StatusEvent::Online { .. })));
    }

    #[test]
    fn late_word_of_pictures_does_not_bring_a_camera_back() {
        let mut m = running();
        m.ended(at(20), trouble(ReasonClass::Closed));
        assert_eq!(m.written(at(21)), None);
        assert_eq!(m.state(), CameraState::Offline);
        m.wanted(at(22), Demand::Idle(NotWanted::CameraDisabled));
        m.written(at(22));
        m.wanted(at(23), Demand::Wanted);
        assert_eq!(m.state(), CameraState::Connecting);
    }

    #[test]
    fn not_wanted_is_disabled_and_silent() {
        let mut m = running();
        m.ended(at(20), trouble(ReasonClass::Closed));
        m.wanted(at(21), Demand::Idle(NotWanted::RecordingDisabled));
        m.idle(at(21));
        assert_eq!(m.state(), CameraState::Disabled);
        assert_eq!(m.tick(at(1000)), None);
    }

    #[test]
    fn an_armed_camera_is_disabled_while_pictures_arrive_and_offline_when_not() {
        let mut m = StatusMachine::new(CONFIG, at(0));
        m.wanted(at(0), Demand::Armed);
        m.connecting(at(0));
        assert_eq!(m.state(), CameraState::Connecting);
        m.streaming(at(1));
        assert_eq!(m.pictured(at(1)), None);
        assert_eq!((m.state(), m.not_wanted()), (CameraState::Disabled, Some(NotWanted::AwaitingTrigger)));
        for s in 2..1000 {
            assert_eq!(m.tick(at(s)), None);
        }
        // Something happens: it records once that is on disk, and is armed again afterwards.
        m.wanted(at(1000), Demand::Wanted);
        assert_eq!(m.state(), CameraState::Connecting);
        assert_eq!((m.pictured(at(1000)), m.tick(at(1000))), (None, None));
        m.written(at(1001));
        assert_eq!(m.state(), CameraState::Recording);
        m.wanted(at(1030), Demand::Armed);
        assert_eq!(m.written(at(1031)), None);
        assert_eq!(m.state(), CameraState::Disabled);
        // The next one would be missed.
        m.pictured(at(1039));
        m.ended(at(1040), trouble(ReasonClass::Unreachable));
        assert_eq!(m.state(), CameraState::Offline);
        assert_eq!(m.tick(at(1048)), None);
        let offline = m.tick(at(1060));
        assert!(matches!(offline, Some(StatusEvent::Offline { since, .. }) if since == at(1039).wall));
        m.wanted(at(1070), Demand::Wanted);
        assert_eq!(m.state(), CameraState::Offline);
        m.streaming(at(1080));
        assert!(matches!(m.written(at(1081)), Some(StatusEvent::Online { .. })));
    }
}
