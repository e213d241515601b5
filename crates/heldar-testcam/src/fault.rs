//! What can be made to go wrong, and when.
//!
//! Owns: the names of faults, their text form, and the state machine [`Control`] that says what is wrong with a camera at an
//! instant. Takes the time as input; carries nothing out.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// All connections to the camera are closed. At once.
    Drop,
    /// Nothing is sent; connections stay.
    Stall,
    /// Connections are closed, and new ones as soon as they ask for the camera.
    Refuse,
    /// Every request gets 401, whatever it presents.
    BadAuth,
    /// RTP times jump by this many milliseconds. At once.
    TsJump(i64),
    /// RTP times run faster by this many parts per million.
    TsDrift(i64),
    /// The next sync sample brings another picture size, in-band; the next time, the first one again. At once.
    ParamChange,
    /// Descriptions have no parameter sets; they come before each sync sample only.
    NoParams,
    /// Of so many in a thousand pictures, bits of NAL units are turned over.
    Corrupt(u32),
    /// Time between PLAY and the first packet, in milliseconds.
    SlowStart(u64),
    /// Units are kept back for this many milliseconds and sent together; 0: whole GOPs.
    Burst(u64),
}

impl Fault {
    /// Names of all faults.
    pub const NAMES: [&'static str; 11] = [
        "drop",
        "stall",
        "refuse",
        "bad_auth",
        "ts_jump",
        "ts_drift",
        "param_change",
        "no_params",
        "corrupt",
        "slow_start",
        "burst",
    ];

    fn from_name(name: &str, value: Option<i64>) -> Option<Fault> {
        let unsigned = |or: u64| value.map_or(Some(or), |value| u64::try_from(value).ok());
        Some(match name {
            "drop" => Fault::Drop,
            "stall" => Fault::Stall,
            "refuse" => Fault::Refuse,
            "bad_auth" => Fault::BadAuth,
            "ts_jump" => Fault::TsJump(value.unwrap_or(5000)),
            "ts_drift" => Fault::TsDrift(value.unwrap_or(200)),
            "param_change" => Fault::ParamChange,
            "no_params" => Fault::NoParams,
            "corrupt" => Fault::Corrupt(u32::try_from(unsigned(50)?).ok()?),
            "slow_start" => Fault::SlowStart(unsigned(5000)?),
            "burst" => Fault::Burst(unsigned(0)?),
            _ => return None,
        })
    }

    /// True for what happens in an instant instead of lasting.
    fn is_instant(self) -> bool {
        matches!(self, Fault::Drop | Fault::TsJump(_) | Fault::ParamChange)
    }
}

/// A fault and when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultSpec {
    /// What happens.
    pub fault: Fault,
    /// Time before it happens first.
    pub after: Duration,
    /// How long it lasts; until it is cleared if `None`. Of no meaning for what happens at once.
    pub lasts: Option<Duration>,
    /// Time after which it happens again.
    pub every: Option<Duration>,
}

/// Text that names no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no fault: NAME[:key=value,...] with a NAME of {names} and the keys value, after, for, every (seconds)", names = Fault::NAMES.join(", "))]
pub struct FaultError(pub String);

impl FaultSpec {
    /// From a name and the pairs `value` (of the fault, a whole number), `after`, `for`, `every` (seconds).
    ///
    /// # Errors
    /// Unknown names and keys, numbers out of range.
    pub fn from_pairs<'a>(
        name: &str,
        pairs: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, FaultError> {
        let fail = |what: &str| FaultError(what.to_owned());
        let (mut value, mut after, mut lasts, mut every) = (None, None, None, None);
        for (key, text) in pairs {
            let duration = || {
                let seconds = text.parse::<f64>().ok().filter(|s| (0.0..1e6).contains(s));
                seconds.map(Duration::from_secs_f64).ok_or_else(|| fail(text))
            };
            match key {
                "value" => value = Some(text.parse().map_err(|_| fail(text))?),
                "after" => after = Some(duration()?),
                "for" => lasts = Some(duration()?),
                "every" => every = Some(duration()?.max(Duration::from_millis(100))),
                _ => return Err(fail(key)),
            }
        }
        let fault = Fault::from_name(name, value).ok_or_else(|| fail(name))?;
        Ok(FaultSpec { fault, after: after.unwrap_or_default(), lasts, every })
    }

    /// From `NAME`, `NAME:VALUE` or `NAME:key=value,...`. What happens at once and is given no time happens every 10 s.
    ///
    /// # Errors
    /// As [`FaultSpec::from_pairs`].
    pub fn parse(text: &str) -> Result<Self, FaultError> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let pairs = rest.split(',').filter(|part| !part.is_empty());
        let mut spec =
            Self::from_pairs(name, pairs.map(|part| part.split_once('=').unwrap_or(("value", part))))?;
        if spec.fault.is_instant() && spec.after.is_zero() && spec.every.is_none() {
            spec.after = Duration::from_secs(10);
            spec.every = Some(spec.after);
        }
        Ok(spec)
    }
}

/// What is wrong with a camera at an instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    pub(crate) stalled: bool,
    pub(crate) refuses: bool,
    pub(crate) bad_auth: bool,
    pub(crate) no_params: bool,
    /// Added to RTP times.
    pub(crate) time_shift_us: i64,
    pub(crate) corrupt_per_mille: u32,
    pub(crate) start_delay: Duration,
    pub(crate) burst: Option<Duration>,
    /// How often parameters were changed.
    pub(crate) changes: u32,
    /// How often connections were to be closed.
    pub(crate) drops: u32,
}

#[derive(Clone, Copy, Debug)]
struct Scheduled {
    spec: FaultSpec,
    next: Option<Instant>,
}

#[derive(Debug, Default)]
struct State {
    scheduled: Vec<Scheduled>,
    active: Vec<(Fault, Option<Instant>)>,
    jumped_us: i64,
    drifted_us: i64,
    drifted_until: Option<Instant>,
    changes: u32,
    drops: u32,
}

/// The faults of one camera.
#[derive(Debug, Default)]
pub(crate) struct Control(Mutex<State>);

impl Control {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a fault.
    pub(crate) fn add(&self, spec: FaultSpec, now: Instant) {
        self.lock().scheduled.push(Scheduled { spec, next: Some(now + spec.after) });
    }

    /// Ends everything that lasts or would happen again. What has jumped or drifted stays where it is.
    pub(crate) fn clear(&self, now: Instant) {
        let mut state = self.lock();
        state.advance(now);
        state.scheduled.clear();
        state.active.clear();
    }

    /// Whether a fault needs the second set of parameters.
    pub(crate) fn may_change_parameters(&self) -> bool {
        self.lock().scheduled.iter().any(|scheduled| scheduled.spec.fault == Fault::ParamChange)
    }

    /// What is wrong now.
    pub(crate) fn effects(&self, now: Instant) -> Effects {
        let mut state = self.lock();
        state.advance(now);
        state.effects()
    }
}

impl State {
    fn advance(&mut self, now: Instant) {
        let mut started = Vec::new();
        for scheduled in &mut self.scheduled {
            let Some(next) = scheduled.next.filter(|&next| next <= now) else { continue };
            started.push((scheduled.spec, next));
            // Whoever was held up makes no series of what was missed.
            scheduled.next = scheduled.spec.every.map(|every| {
                let missed = now.duration_since(next).as_millis() / every.as_millis().max(1);
                next + every.saturating_mul(u32::try_from(missed).unwrap_or(u32::MAX).saturating_add(1))
            });
        }
        for (spec, at) in started {
            match spec.fault {
                Fault::Drop => self.drops += 1,
                Fault::TsJump(millis) => {
                    self.jumped_us = self.jumped_us.saturating_add(millis.saturating_mul(1000))
                }
                Fault::ParamChange => self.changes += 1,
                Fault::Refuse => {
                    self.drops += 1;
                    self.active.push((spec.fault, spec.lasts.map(|lasts| at + lasts)));
                }
                _ => self.active.push((spec.fault, spec.lasts.map(|lasts| at + lasts))),
            }
        }
        let since = self
            .drifted_until
            .replace(now)
            .map_or(Duration::ZERO, |then| now.saturating_duration_since(then));
        for (fault, _) in &self.active {
            if let Fault::TsDrift(ppm) = fault {
                let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
                // Kept in millionths of a microsecond so that short steps add up.
                self.drifted_us = self.drifted_us.saturating_add(micros.saturating_mul(*ppm));
            }
        }
        self.active.retain(|(_, until)| until.is_none_or(|until| now < until));
        self.scheduled.retain(|scheduled| scheduled.next.is_some());
    }

    fn effects(&self) -> Effects {
        let mut effects = Effects {
            time_shift_us: self.jumped_us + self.drifted_us / 1_000_000,
            changes: self.changes,
            drops: self.drops,
            ..Effects::default()
        };
        for &(fault, _) in &self.active {
            match fault {
                Fault::Stall => effects.stalled = true,
                Fault::Refuse => effects.refuses = true,
                Fault::BadAuth => effects.bad_auth = true,
                Fault::NoParams => effects.no_params = true,
                Fault::Corrupt(per_mille) => effects.corrupt_per_mille = per_mille,
                Fault::SlowStart(millis) => effects.start_delay = Duration::from_millis(millis),
                Fault::Burst(millis) => effects.burst = Some(Duration::from_millis(millis)),
                Fault::Drop | Fault::TsJump(_) | Fault::TsDrift(_) | Fault::ParamChange => {}
            }
        }
        effects
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let secs = Duration::from_secs;
        let check = |text: &str, expect: Option<(Fault, Duration, Option<Duration>, Option<Duration>)>| {
            let got = FaultSpec::parse(text).ok().map(|s| (s.fault, s.after, s.lasts, s.every));
            assert_eq!(got, expect, "{text}");
        };
        check("drop", Some((Fault::Drop, secs(10), None, Some(secs(10)))));
        check("drop:after=3", Some((Fault::Drop, secs(3), None, None)));
        check("stall:for=2.5", Some((Fault::Stall, secs(0), Some(Duration::from_millis(2500)), None)));
        check("ts_jump:-5000", Some((Fault::TsJump(-5000), secs(10), None, Some(secs(10)))));
        check("ts_drift:value=-20", Some((Fault::TsDrift(-20), secs(0), None, None)));
        check(
            "corrupt:7,after=1,for=2,every=3",
            Some((Fault::Corrupt(7), secs(1), Some(secs(2)), Some(secs(3)))),
        );
        check("burst", Some((Fault::Burst(0), secs(0), None, None)));
        for bad in ["", "nothing", "stall:x", "stall:for=-1", "stall:for=nan", "corrupt:-1", "drop:soon=1"] {
            check(bad, None);
        }
        for name in Fault::NAMES {
            assert!(FaultSpec::parse(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn faults_come_and_go() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let control = Control::default();
        control.add(FaultSpec::parse("stall:after=1,for=2,every=10").unwrap(), start);
        control.add(FaultSpec::parse("drop:after=3,every=1").unwrap(), start);
        let stalled: Vec<bool> = [0, 999, 1000, 2999, 3000, 10_999, 11_000, 13_000]
            .iter()
            .map(|&millis| control.effects(at(millis)).stalled)
            .collect();
        assert_eq!(stalled, [false, false, true, true, false, false, true, false]);
        assert_eq!(control.effects(at(13_000)).drops, 4);
        control.clear(at(13_500));
        assert_eq!(control.effects(at(60_000)), Effects { drops: 4, ..Effects::default() });
    }

    #[test]
    fn times_shift_and_stay_shifted() {
        let start = Instant::now();
        let control = Control::default();
        control.add(FaultSpec::parse("ts_drift:100").unwrap(), start);
        for second in 0..=100 {
            control.effects(start + Duration::from_secs(second));
        }
        let at = start + Duration::from_secs(100);
        assert_eq!(control.effects(at).time_shift_us, 10_000);
        control.clear(at);
        control.add(FaultSpec::parse("ts_jump:-2000,after=0.5").unwrap(), at);
        assert_eq!(control.effects(at + Duration::from_secs(9)).time_shift_us, 10_000 - 2_000_000);
    }
}
