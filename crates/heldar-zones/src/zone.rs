//! A zone as a person draws it (perception.md 12.1 and 12.2).
//!
//! Owns: the fields, their rules and defaults, and how the first field that breaks one is named. Never: uniqueness of names
//! and ids, which the store knows; what a zone makes of detections.

use std::fmt;
use std::sync::Arc;

use heldar_base::Micros;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{Settings, clamped};
use crate::geometry::Point;

/// A field that is not accepted, and why. Every one of these is a 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct ZoneError {
    /// Where it stands in the zone's JSON, such as `config.occupancy.max`.
    pub path: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl ZoneError {
    pub(crate) fn new(path: impl Into<String>, why: &'static str) -> Self {
        ZoneError { path: path.into(), why }
    }
}

/// What a zone does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Tracks enter, exit and dwell.
    Region,
    /// As a region, and occupied or vacant as a whole.
    Presence,
    /// As a region, where nobody should be.
    Restricted,
    /// As a region, where nobody may be.
    Red,
    /// How many are inside; visits stay out of the feed unless asked for.
    Count,
    /// A polyline that is crossed.
    Line,
    /// A mask: what lies inside is invisible to all other zones.
    Exclude,
}

impl Kind {
    const ALL: [Kind; 7] =
        [Kind::Region, Kind::Presence, Kind::Restricted, Kind::Red, Kind::Count, Kind::Line, Kind::Exclude];

    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Region => "region",
            Kind::Presence => "presence",
            Kind::Restricted => "restricted",
            Kind::Red => "red",
            Kind::Count => "count",
            Kind::Line => "line",
            Kind::Exclude => "exclude",
        }
    }

    /// Whether tracks visit it.
    pub const fn is_area(self) -> bool {
        !matches!(self, Kind::Line | Kind::Exclude)
    }

    fn parse(text: &str) -> Result<Kind, ZoneError> {
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == text);
        kind.ok_or(match text {
            "speed" => ZoneError::new("kind", "speed zones are not yet available"),
            _ => ZoneError::new(
                "kind",
                "is not one of region, presence, restricted, red, count, line, exclude",
            ),
        })
    }

    const fn severity(self) -> Severity {
        match self {
            Kind::Restricted => Severity::Warning,
            Kind::Red => Severity::Critical,
            _ => Severity::Info,
        }
    }

    /// Fewest and most points.
    const fn points(self) -> (usize, usize, &'static str) {
        match self {
            Kind::Line => (2, 64, "a line has 2 to 64 points [x, y]"),
            _ => (3, 512, "has 3 to 512 points [x, y]"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much an event of the zone matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look.
    Warning,
    /// Somebody must look.
    Critical,
}

impl Severity {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }

    fn parse(text: &str) -> Result<Severity, ZoneError> {
        let all = [Severity::Info, Severity::Warning, Severity::Critical];
        let found = all.into_iter().find(|severity| severity.as_str() == text);
        found.ok_or_else(|| ZoneError::new("severity", "is not one of info, warning, critical"))
    }
}

/// The fields of a zone as sent to make one, or as a patch leaves them. `null` is the same as absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ZoneFields {
    /// What people call it; trimmed, not blank.
    pub name: String,
    /// What it does; `region` by default.
    #[serde(default)]
    pub kind: Option<String>,
    /// Its points, `[[x, y], ..]`, each 0..1.
    #[serde(default)]
    pub polygon: Value,
    /// Seconds until `dwell`; 0 and less is never.
    #[serde(default)]
    pub dwell_seconds: Value,
    /// Labels that it sees; none are all.
    #[serde(default)]
    pub labels: Value,
    /// `info`, `warning` or `critical`; the default depends on the kind.
    #[serde(default)]
    pub severity: Option<String>,
    /// Settings; keys that nobody knows are kept and ignored.
    #[serde(default)]
    pub config: Value,
    /// Whether it is in use; true by default.
    #[serde(default)]
    pub enabled: Option<bool>,
}

/// A zone that follows every rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    id: Arc<str>,
    name: String,
    kind: Kind,
    polygon: Vec<Point>,
    dwell: Micros,
    labels: Vec<String>,
    severity: Severity,
    config: Map<String, Value>,
    settings: Settings,
    enabled: bool,
}

impl Zone {
    /// Checks a zone.
    ///
    /// # Errors
    /// The first field that breaks a rule.
    pub fn new(id: &str, fields: &ZoneFields) -> Result<Zone, ZoneError> {
        let name = fields.name.trim();
        if name.is_empty() {
            return Err(ZoneError::new("name", "must not be blank"));
        }
        let kind = fields.kind.as_deref().map_or(Ok(Kind::Region), Kind::parse)?;
        let severity = fields.severity.as_deref().map_or(Ok(kind.severity()), Severity::parse)?;
        let config = match &fields.config {
            Value::Null => Map::new(),
            Value::Object(config) => config.clone(),
            _ => return Err(ZoneError::new("config", "must be an object")),
        };
        Ok(Zone {
            id: id.into(),
            name: name.to_owned(),
            kind,
            polygon: polygon(kind, &fields.polygon)?,
            dwell: clamped(&fields.dwell_seconds, "dwell_seconds", 0.0, 1e9)?.map_or(Micros::ZERO, micros),
            labels: strings(&fields.labels, "labels")?,
            severity,
            settings: Settings::parse(kind, &config)?,
            config,
            enabled: fields.enabled.unwrap_or(true),
        })
    }

    /// What tells it from other zones.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its points, x and y.
    pub fn polygon(&self) -> impl ExactSizeIterator<Item = [f64; 2]> + '_ {
        self.polygon.iter().map(|p| [p.x, p.y])
    }

    /// Time inside until `dwell`; zero: never.
    pub fn dwell(&self) -> Micros {
        self.dwell
    }

    /// Labels that it sees; none are all.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// How much its events matter.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Its settings as sent, unknown keys included.
    pub fn config(&self) -> &Map<String, Value> {
        &self.config
    }

    /// Its settings as understood.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether it is in use.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    pub(crate) fn points(&self) -> &[Point] {
        &self.polygon
    }

    /// The fields that make this zone again.
    pub fn fields(&self) -> ZoneFields {
        ZoneFields {
            name: self.name.clone(),
            kind: Some(self.kind.as_str().to_owned()),
            polygon: self.polygon.iter().map(|p| Value::from(vec![p.x, p.y])).collect(),
            dwell_seconds: Value::from(self.dwell.as_secs_f64()),
            labels: Value::from(self.labels.clone()),
            severity: Some(self.severity.as_str().to_owned()),
            config: Value::Object(self.config.clone()),
            enabled: Some(self.enabled),
        }
    }

    /// The same zone with points and a time that text did not round.
    pub(crate) fn with_exact(self, polygon: Vec<Point>, dwell: Micros) -> Zone {
        Zone { polygon, dwell, ..self }
    }
}

/// Seconds as a length; the caller has clamped them.
pub(crate) fn micros(seconds: f64) -> Micros {
    Micros((seconds * 1e6).round() as i64)
}

fn polygon(kind: Kind, value: &Value) -> Result<Vec<Point>, ZoneError> {
    let (fewest, most, why) = kind.points();
    let points = value.as_array().ok_or_else(|| ZoneError::new("polygon", why))?;
    if !(fewest..=most).contains(&points.len()) {
        return Err(ZoneError::new("polygon", why));
    }
    let point = |value: &Value| match value.as_array()?.as_slice() {
        [x, y] => Some(Point::new(x.as_f64()?, y.as_f64()?)),
        _ => None,
    };
    let inside = |p: &Point| (0.0..=1.0).contains(&p.x) && (0.0..=1.0).contains(&p.y);
    let checked = |(index, value): (usize, &Value)| {
        point(value)
            .filter(inside)
            .ok_or_else(|| ZoneError::new(format!("polygon[{index}]"), "is two numbers 0..1"))
    };
    points.iter().enumerate().map(checked).collect()
}

/// A list of strings that are not blank; absent is empty.
pub(crate) fn strings(value: &Value, path: &str) -> Result<Vec<String>, ZoneError> {
    const WHY: &str = "is a list of strings that are not blank";
    let list = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(list) => list,
        _ => return Err(ZoneError::new(path, WHY)),
    };
    let checked = |(index, value): (usize, &Value)| match value.as_str() {
        Some(text) if !text.trim().is_empty() => Ok(text.to_owned()),
        _ => Err(ZoneError::new(format!("{path}[{index}]"), "is a string that is not blank")),
    };
    list.iter().enumerate().map(checked).collect()
}

#[cfg(test)]
mod tests;
