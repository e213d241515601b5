//! What an owner may set: the `config` of a task of type `motion`.
//!
//! Owns: names, defaults, clamps and the parse, once, at the edge. Never: a guess at a value of the wrong shape; such a one
//! is an error that names its key. Unknown keys are ignored.

use heldar_base::Micros;
use serde_json::{Map, Value};

/// Polygons of one task at most.
const MAX_MASKS: usize = 32;
/// Points of one polygon at most.
const MAX_POINTS: usize = 128;

/// A value of the wrong shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` must be {expected}")]
pub struct ConfigError {
    /// The key, for example `pixel_delta`; `config` for the whole.
    pub key: &'static str,
    /// What would have been right.
    pub expected: &'static str,
}

/// A part of the picture, as points (x, y) in 0..1.
#[derive(Clone, Debug, PartialEq)]
pub struct Polygon(Vec<(f32, f32)>);

impl Polygon {
    /// Whether a point lies inside (even-odd rule).
    pub(crate) fn contains(&self, x: f32, y: f32) -> bool {
        let before = self.0.iter().cycle().skip(self.0.len().saturating_sub(1));
        let edges = self.0.iter().zip(before);
        let crossed =
            edges.filter(|(a, b)| (a.1 > y) != (b.1 > y) && x < (b.0 - a.0) * (y - a.1) / (b.1 - a.1) + a.0);
        crossed.count() % 2 == 1
    }
}

/// Settings of one detector.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `threshold` (0.02, clamp 0.0001..1): share of changed area that counts as motion, summed up over the way of a thing. In one
    /// picture a hundredth of it is enough: a region counts from 0.0002 of the picture on, which are 12 pixels of 320 x 180, so
    /// that far people are not lost. Greater values want greater things. `min_area` says it directly.
    pub threshold: f32,
    /// `pixel_delta` (25, clamp 1..255): grey levels by which one pixel has changed. Means of cells differ by less, so that a
    /// cell counts from a third of it on, where noise asks for no more.
    pub pixel_delta: f32,
    /// `scale_width` (320, clamp 64..640): pixels of the width at which a picture is looked at.
    pub scale_width: usize,
    /// `event_interval_s` (10, clamp 0..86400): events while motion lasts are at least this far apart.
    pub event_interval: Micros,
    /// `sensitivity` (50, clamp 0..100): 0 doubles the grey levels that count, 100 halves them; the multiple of the noise goes
    /// from 5.7 to 2.8.
    pub sensitivity: f32,
    /// `masks` ([]): polygons that do not count, at most 32 of 3 to 128 points.
    pub masks: Vec<Polygon>,
    /// `min_area` (absent, clamp 0..1): smallest region that counts, as share of the picture, instead of what `threshold` gives.
    pub min_area: Option<f32>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            threshold: 0.02,
            pixel_delta: 25.0,
            scale_width: 320,
            event_interval: Micros::from_secs(10),
            sensitivity: 50.0,
            masks: Vec::new(),
            min_area: None,
        }
    }
}

impl Config {
    /// Reads the `config` of a task. `null`, absent keys and keys that are `null` mean defaults, as does a `config` that is
    /// no object: to workers that is the same as `{}`.
    ///
    /// # Errors
    /// A known key with a value of the wrong shape.
    pub fn parse(config: &Value) -> Result<Config, ConfigError> {
        let none = Map::new();
        let keys = config.as_object().unwrap_or(&none);
        let default = Config::default();
        let number = |key, low: f64, high: f64| number(keys, key, low, high);
        let interval = number("event_interval_s", 0.0, 86_400.0)?;
        Ok(Config {
            threshold: number("threshold", 0.0001, 1.0)?.map_or(default.threshold, |n| n as f32),
            pixel_delta: number("pixel_delta", 1.0, 255.0)?.map_or(default.pixel_delta, |n| n as f32),
            scale_width: number("scale_width", 64.0, 640.0)?.map_or(default.scale_width, |n| n as usize),
            event_interval: interval.map_or(default.event_interval, |n| Micros((n * 1e6) as i64)),
            sensitivity: number("sensitivity", 0.0, 100.0)?.map_or(default.sensitivity, |n| n as f32),
            masks: masks(keys)?,
            min_area: number("min_area", 0.0, 1.0)?.map(|n| n as f32),
        })
    }

    /// Grey levels by which a cell differs at least.
    pub(crate) fn floor(&self) -> f32 {
        self.pixel_delta / 3.0 * ((50.0 - self.sensitivity) / 50.0).exp2()
    }

    /// Multiple of its noise by which a cell differs at least.
    pub(crate) fn noise_factor(&self) -> f32 {
        4.0 * ((50.0 - self.sensitivity) / 100.0).exp2()
    }

    /// Cells of the smallest region, of so many.
    pub(crate) fn smallest(&self, cells: usize) -> usize {
        let share = self.min_area.unwrap_or(self.threshold / 100.0);
        ((share * cells as f32).round() as usize).max(2)
    }
}

/// A number, clamped; `None` where it is absent or null.
fn number(
    keys: &Map<String, Value>,
    key: &'static str,
    low: f64,
    high: f64,
) -> Result<Option<f64>, ConfigError> {
    match keys.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) => Ok(Some(number.clamp(low, high))),
            None => Err(ConfigError { key, expected: "a number" }),
        },
    }
}

fn masks(keys: &Map<String, Value>) -> Result<Vec<Polygon>, ConfigError> {
    const EXPECTED: &str = "at most 32 polygons of 3 to 128 points [x, y] in 0..1";
    let wrong = || ConfigError { key: "masks", expected: EXPECTED };
    let list = match keys.get("masks") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(value) => value.as_array().filter(|list| list.len() <= MAX_MASKS).ok_or_else(wrong)?,
    };
    let point = |value: &Value| match value.as_array()?.as_slice() {
        [x, y] => Some((x.as_f64()?.clamp(0.0, 1.0) as f32, y.as_f64()?.clamp(0.0, 1.0) as f32)),
        _ => None,
    };
    list.iter()
        .map(|value| {
            let points = value.as_array().filter(|points| (3..=MAX_POINTS).contains(&points.len()))?;
            points.iter().map(point).collect::<Option<_>>().map(Polygon)
        })
        .map(|polygon| polygon.ok_or_else(wrong))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(config: Value, expect: Result<Config, &str>) {
        assert_eq!(Config::parse(&config).map_err(|error| error.key), expect, "{config}");
    }

    #[test]
    fn absent_means_default() {
        for config in [json!({}), json!(null), json!([1]), json!({"threshold": null, "unknown": [1]})] {
            check(config, Ok(Config::default()));
        }
    }

    #[test]
    fn numbers_are_clamped() {
        let high = json!({"threshold": 9, "pixel_delta": 900, "scale_width": 1e9, "event_interval_s": 1e300,
            "sensitivity": 101, "min_area": 2});
        let low = json!({"threshold": -1, "pixel_delta": 0, "scale_width": -3, "event_interval_s": -1,
            "sensitivity": -0.5, "min_area": -1});
        let with = |threshold, pixel_delta, scale_width, interval, sensitivity, min_area| Config {
            threshold,
            pixel_delta,
            scale_width,
            event_interval: Micros::from_secs(interval),
            sensitivity,
            masks: Vec::new(),
            min_area: Some(min_area),
        };
        check(high, Ok(with(1.0, 255.0, 640, 86_400, 100.0, 1.0)));
        check(low, Ok(with(0.0001, 1.0, 64, 0, 0.0, 0.0)));
        check(
            json!({"event_interval_s": 2.5}),
            Ok(Config { event_interval: Micros::from_millis(2500), ..Config::default() }),
        );
    }

    #[test]
    fn wrong_shapes_name_their_key() {
        for key in [
            "threshold",
            "pixel_delta",
            "scale_width",
            "event_interval_s",
            "sensitivity",
            "min_area",
            "masks",
        ] {
            for value in [json!("1"), json!(true), json!({}), json!([1])] {
                let config = Value::Object([(key.to_owned(), value)].into_iter().collect());
                check(config, Err(key));
            }
        }
        for masks in [
            json!([[[0, 0], [1, 1]]]),
            json!([[[0, 0], [1, 1], [0]]]),
            json!([[[0, 0], [1, 1], [0, "1"]]]),
            json!([[[0, 0], [1, 1], [0, 1, 2]]]),
            json!(vec![[[0, 0], [1, 1], [0, 1]]; 33]),
            json!([vec![[0, 0]; 129]]),
        ] {
            check(json!({ "masks": masks }), Err("masks"));
        }
    }

    #[test]
    fn masks_hold_what_lies_inside() {
        let parse = |masks: Value| Config::parse(&json!({ "masks": masks })).unwrap().masks;
        let masks =
            parse(json!([[[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]], [[0.6, 0.9], [2, 0.9], [0.8, -1]]]));
        let inside = |x, y| masks.iter().any(|mask| mask.contains(x, y));
        for (x, y, expect) in [
            (0.1, 0.1, true),
            (0.49, 0.49, true),
            (0.51, 0.1, false),
            (0.1, 0.51, false),
            (0.8, 0.5, true),
            (0.65, 0.2, false),
            (0.99, 0.95, false),
        ] {
            assert_eq!(inside(x, y), expect, "{x}, {y}");
        }
    }

    #[test]
    fn greater_sensitivity_asks_for_less() {
        let floor = |sensitivity| Config { sensitivity, ..Config::default() }.floor();
        let factor = |sensitivity| Config { sensitivity, ..Config::default() }.noise_factor();
        assert!(floor(0.0) > floor(50.0) && floor(50.0) > floor(100.0));
        assert!(factor(0.0) > factor(50.0) && factor(50.0) > factor(100.0));
        assert_eq!(Config::default().smallest(14_400), 3);
        assert_eq!(Config { min_area: Some(0.01), ..Config::default() }.smallest(14_400), 144);
    }
}
