//! What the `config` of a zone says (perception.md 12.3).
//!
//! Owns: its keys, their defaults, clamps and shapes. Never: a key that it does not know; those stay in the zone's JSON, as do
//! `ground`, `limit_kmh`, `min_kmh`, `window_seconds` and `sequence`.

use heldar_base::Micros;
use serde_json::{Map, Value};

use crate::schedule::{DailyReset, Schedule};
use crate::zone::{Kind, ZoneError, micros, strings};

/// Settings of a zone, with everything in range.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `confirm_frames`: observations in a row that change a side.
    pub confirm_frames: u8,
    /// `min_confidence`: detections below are invisible.
    pub min_confidence: f64,
    /// `require_confidence`: whether those without confidence are, too.
    pub require_confidence: bool,
    /// `static_suppression`, `static_epsilon`, `static_after_seconds`: when an object is taken for a thing that stands there;
    /// `None`: never.
    pub(crate) standing: Option<Standing>,
    /// `direction`: crossings that are told.
    pub direction: Direction,
    /// `anchor`, with `iou` and `overlap`.
    pub(crate) anchor: Anchor,
    /// `task_types` that the zone sees; none are all.
    pub task_types: Vec<String>,
    /// `lost_seconds`: unseen for so long is gone.
    pub lost: Micros,
    /// `hysteresis`: distance from a line at which a crossing counts.
    pub hysteresis: f64,
    /// `in`: the crossing that counts as in; [`Direction::Ab`] or [`Direction::Ba`].
    pub inwards: Direction,
    /// `counter_reset`: when counters start anew.
    pub(crate) counter_reset: Option<DailyReset>,
    /// `loiter`.
    pub loiter: Option<Loiter>,
    /// `occupancy`.
    pub occupancy: Option<Limits>,
    /// `vacant_after_seconds`: time with nobody inside until `vacant`.
    pub vacant_after: Micros,
    /// `emit_tracks`: whether visits of a `count` zone reach the feed.
    pub emit_tracks: bool,
    /// `drop`: whether what an `exclude` zone hides is not even stored.
    pub drop: bool,
    /// `schedule`: when the zone is in use; `None`: always.
    pub(crate) schedule: Option<Schedule>,
    /// `evidence`.
    pub evidence: Evidence,
}

/// When a track is taken for a thing that stands there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Standing {
    /// Distance from its origin that it never reached.
    pub(crate) epsilon: f64,
    /// For so long.
    pub(crate) after: Micros,
}

/// Which crossings of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    Any,
    /// `cross_ab`.
    Ab,
    /// `cross_ba`.
    Ba,
}

/// What of a detection must lie inside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Anchor {
    /// The middle of the lower side.
    BottomCenter,
    /// The middle.
    Center,
    /// Any of the four corners.
    AnyCorner,
    /// As much of box and zone together.
    Iou(f64),
    /// As much of the box.
    Overlap(f64),
}

/// `loiter`: time inside, summed up over visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loiter {
    /// `seconds` (1 s to 7 days): the sum that is told.
    pub after: Micros,
    /// `gap_seconds` (0 to 1 day, 30 s): a longer absence starts the sum over.
    pub gap: Micros,
    /// `repeat_seconds` (1 s to 7 days): told again after so much more.
    pub repeat: Option<Micros>,
}

/// `occupancy`: how many should be inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `min` (0 to 1 000 000): fewer are an alarm.
    pub min: Option<u32>,
    /// `max` (0 to 1 000 000): more are an alarm.
    pub max: Option<u32>,
    /// `hold_seconds` (0 to 1 day): for so long before it is told.
    pub hold: Micros,
}

/// Whether the picture of an event is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Of the events that 13.5 lists.
    Auto,
    /// Never.
    None,
}

const DAY: f64 = 86_400.0;

impl Settings {
    pub(crate) fn parse(kind: Kind, config: &Map<String, Value>) -> Result<Settings, ZoneError> {
        let keys = Keys { map: config, path: "config" };
        let standing = Standing {
            epsilon: keys.number("static_epsilon", 0.001, 0.5)?.unwrap_or(0.02),
            after: micros(keys.number("static_after_seconds", 5.0, DAY)?.unwrap_or(120.0).trunc()),
        };
        let anchor = anchor(kind, &keys)?;
        Ok(Settings {
            confirm_frames: keys.number("confirm_frames", 1.0, 10.0)?.unwrap_or(2.0) as u8,
            min_confidence: keys.number("min_confidence", 0.0, 1.0)?.unwrap_or(0.5),
            require_confidence: keys.flag("require_confidence")?.unwrap_or(false),
            standing: keys.flag("static_suppression")?.unwrap_or(true).then_some(standing),
            direction: keys
                .word(
                    "direction",
                    &[("any", Direction::Any), ("ab", Direction::Ab), ("ba", Direction::Ba)],
                    "is one of any, ab, ba",
                )?
                .unwrap_or(Direction::Any),
            anchor,
            task_types: strings(keys.get("task_types"), "config.task_types")?,
            lost: keys.seconds("lost_seconds", 1.0, 600.0)?.unwrap_or(Micros::from_secs(120)),
            hysteresis: keys.number("hysteresis", 0.0, 0.2)?.unwrap_or(0.005),
            inwards: keys
                .word("in", &[("ab", Direction::Ab), ("ba", Direction::Ba)], "is one of ab, ba")?
                .unwrap_or(Direction::Ab),
            counter_reset: keys
                .object("counter_reset", "config.counter_reset", |keys| DailyReset::parse(&keys))?,
            loiter: keys.object("loiter", "config.loiter", |keys| loiter(&keys))?,
            occupancy: keys.object("occupancy", "config.occupancy", |keys| limits(&keys))?,
            vacant_after: keys.seconds("vacant_after_seconds", 0.0, 3600.0)?.unwrap_or(Micros::from_secs(5)),
            emit_tracks: keys.flag("emit_tracks")?.unwrap_or(false),
            drop: keys.flag("drop")?.unwrap_or(false),
            schedule: keys.object("schedule", "config.schedule", |keys| Schedule::parse(&keys))?,
            evidence: keys
                .word(
                    "evidence",
                    &[("auto", Evidence::Auto), ("none", Evidence::None)],
                    "is one of auto, none",
                )?
                .unwrap_or(Evidence::Auto),
        })
    }
}

fn anchor(kind: Kind, keys: &Keys<'_>) -> Result<Anchor, ZoneError> {
    let iou = keys.number("iou", 0.01, 1.0)?.unwrap_or(0.1);
    let overlap = keys.number("overlap", 0.01, 1.0)?.unwrap_or(0.5);
    let all = [
        ("bottom_center", Anchor::BottomCenter),
        ("center", Anchor::Center),
        ("any_corner", Anchor::AnyCorner),
        ("iou", Anchor::Iou(iou)),
        ("overlap", Anchor::Overlap(overlap)),
    ];
    let why = "is one of bottom_center, center, any_corner, iou, overlap";
    match (kind, keys.word("anchor", &all, why)?) {
        (_, None) => Ok(Anchor::BottomCenter),
        (_, Some(anchor @ (Anchor::BottomCenter | Anchor::Center))) => Ok(anchor),
        (Kind::Line, Some(_)) => {
            Err(ZoneError::new("config.anchor", "of a line is one of bottom_center, center"))
        }
        (_, Some(anchor)) => Ok(anchor),
    }
}

fn loiter(keys: &Keys<'_>) -> Result<Loiter, ZoneError> {
    let after = keys.seconds("seconds", 1.0, 7.0 * DAY)?;
    Ok(Loiter {
        after: after.ok_or_else(|| ZoneError::new(keys.at("seconds"), "is missing"))?,
        gap: keys.seconds("gap_seconds", 0.0, DAY)?.unwrap_or(Micros::from_secs(30)),
        repeat: keys.seconds("repeat_seconds", 1.0, 7.0 * DAY)?,
    })
}

fn limits(keys: &Keys<'_>) -> Result<Limits, ZoneError> {
    let count = |key| keys.number(key, 0.0, 1e6).map(|number| number.map(|n| n as u32));
    let hold = keys.seconds("hold_seconds", 0.0, DAY)?.unwrap_or(Micros::ZERO);
    Ok(Limits { min: count("min")?, max: count("max")?, hold })
}

/// A number, moved into its range; `None` where it is absent.
pub(crate) fn clamped(value: &Value, path: &str, low: f64, high: f64) -> Result<Option<f64>, ZoneError> {
    match value {
        Value::Null => Ok(None),
        value => match value.as_f64() {
            Some(number) => Ok(Some(number.clamp(low, high))),
            None => Err(ZoneError::new(path, "must be a number")),
        },
    }
}

/// The keys of one object, and where it stands.
#[derive(Clone, Copy)]
pub(crate) struct Keys<'a> {
    map: &'a Map<String, Value>,
    path: &'a str,
}

impl<'a> Keys<'a> {
    pub(crate) fn of(value: &'a Value, path: &'a str) -> Result<Self, ZoneError> {
        let map = value.as_object().ok_or_else(|| ZoneError::new(path, "must be an object"))?;
        Ok(Keys { map, path })
    }

    /// Where a key stands.
    pub(crate) fn at(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// The value; null where there is none.
    pub(crate) fn get(&self, key: &str) -> &'a Value {
        self.map.get(key).unwrap_or(&Value::Null)
    }

    fn number(&self, key: &str, low: f64, high: f64) -> Result<Option<f64>, ZoneError> {
        clamped(self.get(key), &self.at(key), low, high)
    }

    fn seconds(&self, key: &str, low: f64, high: f64) -> Result<Option<Micros>, ZoneError> {
        Ok(self.number(key, low, high)?.map(micros))
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, ZoneError> {
        match self.get(key) {
            Value::Null => Ok(None),
            Value::Bool(flag) => Ok(Some(*flag)),
            _ => Err(ZoneError::new(self.at(key), "must be true or false")),
        }
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, ZoneError> {
        match self.get(key) {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            _ => Err(ZoneError::new(self.at(key), "must be a string")),
        }
    }

    fn word<T: Copy>(
        &self,
        key: &str,
        words: &[(&str, T)],
        why: &'static str,
    ) -> Result<Option<T>, ZoneError> {
        let value = self.get(key);
        if value.is_null() {
            return Ok(None);
        }
        let found = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
        found.map(|(_, meaning)| Some(*meaning)).ok_or_else(|| ZoneError::new(self.at(key), why))
    }

    fn object<T>(
        &self,
        key: &str,
        path: &str,
        parse: impl Fn(Keys<'_>) -> Result<T, ZoneError>,
    ) -> Result<Option<T>, ZoneError> {
        match self.get(key) {
            Value::Null => Ok(None),
            value => Keys::of(value, path).and_then(parse).map(Some),
        }
    }
}
