//! AI tasks: what somebody wants a worker to look at.
//!
//! Owns: the fields of a task with their defaults, bounds and refusals (perception.md 3), what a worker is shown of one
//! (4), and its weight in the sharing (4.4). Never: where tasks are stored, who may write them.

use heldar_base::{CameraId, Micros, StreamKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Refused, TaskId};

/// Least pictures a second that can be asked for: one in 50 s.
pub const MIN_FPS: f64 = 0.02;
/// Most pictures a second that can be asked for.
pub const MAX_FPS: f64 = 30.0;
/// Narrowest frames that can be asked for, in pixels.
pub const MIN_WIDTH: u32 = 160;
/// Widest frames that can be asked for, in pixels.
pub const MAX_WIDTH: u32 = 3840;
/// The only mode there is.
pub const MODE_LIVE: &str = "live";
/// Most characters of a task type; the table of perception.md 3 names no bound.
pub const MAX_TYPE_CHARS: usize = 256;

/// A task as its owner asked for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// The camera it looks at; never changes.
    pub camera: CameraId,
    /// All that can be changed.
    pub spec: TaskSpec,
}

/// What can be said about a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSpec {
    /// What kind of work it is; an open vocabulary, never blank, without space around it.
    pub task_type: String,
    /// Which stream of the camera; `sub` unless asked otherwise.
    pub profile: StreamKind,
    /// Pictures a second, [`MIN_FPS`] to [`MAX_FPS`].
    pub fps: f64,
    /// Width of the frames in pixels, [`MIN_WIDTH`] to [`MAX_WIDTH`].
    pub width: u32,
    /// For the worker alone.
    pub config: Value,
    /// Whether anybody should work on it.
    pub enabled: bool,
    /// Whether decoding goes on while nobody pulls.
    pub warm: bool,
}

/// What a task gets that says nothing else (`HELDAR_DEFAULT_AI_FPS`, `HELDAR_DEFAULT_AI_WIDTH`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaskDefaults {
    /// Pictures a second.
    pub fps: f64,
    /// Pixels.
    pub width: i64,
}

impl Default for TaskDefaults {
    fn default() -> Self {
        TaskDefaults { fps: 5.0, width: 1280 }
    }
}

/// The body of a new task.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct NewTask {
    /// Kind of work; must not be blank.
    pub task_type: String,
    /// `sub` (default) or `main`.
    pub stream_profile: Option<String>,
    /// Pictures a second.
    pub fps: Option<f64>,
    /// Pixels.
    pub width: Option<i64>,
    /// `{}` by default.
    pub config: Option<Value>,
    /// True by default.
    pub enabled: Option<bool>,
    /// `live`.
    pub mode: Option<String>,
    /// False by default.
    pub warm: Option<bool>,
}

/// The body of a change; what is absent or null stays.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct TaskPatch {
    /// As in [`NewTask`].
    pub task_type: Option<String>,
    /// As in [`NewTask`].
    pub stream_profile: Option<String>,
    /// As in [`NewTask`].
    pub fps: Option<f64>,
    /// As in [`NewTask`].
    pub width: Option<i64>,
    /// Replaces the whole.
    pub config: Option<Value>,
    /// As in [`NewTask`].
    pub enabled: Option<bool>,
    /// As in [`NewTask`].
    pub mode: Option<String>,
    /// As in [`NewTask`].
    pub warm: Option<bool>,
}

impl NewTask {
    /// The task that it asks for.
    ///
    /// # Errors
    /// As [`TaskPatch::apply`].
    pub fn check(self, defaults: &TaskDefaults) -> Result<TaskSpec, Refused> {
        let mut spec = TaskSpec {
            task_type: String::new(),
            profile: StreamKind::Sub,
            fps: clamp_fps(defaults.fps),
            width: clamp_width(defaults.width),
            config: Value::Object(serde_json::Map::new()),
            enabled: true,
            warm: false,
        };
        let all = TaskPatch {
            task_type: Some(self.task_type),
            stream_profile: self.stream_profile,
            fps: self.fps,
            width: self.width,
            config: self.config,
            enabled: self.enabled,
            mode: self.mode,
            warm: self.warm,
        };
        all.apply(&mut spec)?;
        Ok(spec)
    }
}

impl TaskPatch {
    /// Changes `spec` as asked; numbers out of range move to the bound.
    ///
    /// # Errors
    /// A blank or overlong type, a profile that is neither `sub` nor `main`, a mode other than `live`; `spec` is then to
    /// be thrown away.
    pub fn apply(self, spec: &mut TaskSpec) -> Result<(), Refused> {
        if let Some(text) = self.task_type {
            spec.task_type = checked_type(&text)?.to_owned();
        }
        if let Some(text) = self.stream_profile {
            spec.profile =
                text.parse().map_err(|()| Refused::new("stream_profile", "must be `sub` or `main`"))?;
        }
        if self.mode.is_some_and(|mode| mode != MODE_LIVE) {
            return Err(Refused::new("mode", "must be `live`"));
        }
        spec.fps = self.fps.map_or(spec.fps, clamp_fps);
        spec.width = self.width.map_or(spec.width, clamp_width);
        spec.config = self.config.unwrap_or_else(|| std::mem::take(&mut spec.config));
        spec.enabled = self.enabled.unwrap_or(spec.enabled);
        spec.warm = self.warm.unwrap_or(spec.warm);
        Ok(())
    }
}

/// A task type without the space around it.
///
/// # Errors
/// Nothing is left, or more than [`MAX_TYPE_CHARS`].
pub(crate) fn checked_type(text: &str) -> Result<&str, Refused> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Refused::new("task_type", "must not be blank"));
    }
    if text.chars().nth(MAX_TYPE_CHARS).is_some() {
        return Err(Refused::new("task_type", "must have at most 256 characters"));
    }
    Ok(text)
}

fn clamp_fps(fps: f64) -> f64 {
    // A number that is none comes from nowhere but a setting; the least rate does the least harm.
    if fps.is_nan() { MIN_FPS } else { fps.clamp(MIN_FPS, MAX_FPS) }
}

fn clamp_width(width: i64) -> u32 {
    u32::try_from(width.max(0)).unwrap_or(MAX_WIDTH).clamp(MIN_WIDTH, MAX_WIDTH)
}

impl Task {
    /// What it weighs in the sharing, in pixels a second of a 16:9 picture (perception.md 4.4).
    pub fn weight(&self) -> f64 {
        let width = f64::from(self.spec.width);
        self.spec.fps * (width * width * 9.0 / 16.0)
    }

    /// Time between its pictures.
    pub fn period(&self) -> Micros {
        period(self.spec.fps)
    }

    /// Where its frames are pulled from.
    pub fn frame_url(&self) -> String {
        format!("/api/v1/cameras/{}/frame?profile={}&task={}", self.camera, self.spec.profile, self.id)
    }

    /// What a worker is shown. `delivered` is rate and width under the plan; `None`: no plan knows the task yet.
    pub fn shown(&self, delivered: Option<(f64, u32)>) -> WorkerTask<'_> {
        let (effective_fps, effective_width) = delivered.unwrap_or((self.spec.fps, self.spec.width));
        WorkerTask {
            id: self.id,
            camera_id: &self.camera,
            task_type: &self.spec.task_type,
            stream_profile: self.spec.profile,
            fps: self.spec.fps,
            width: self.spec.width,
            config: &self.spec.config,
            frame_url: self.frame_url(),
            mode: MODE_LIVE,
            effective_fps,
            effective_width,
        }
    }
}

/// Time between pictures at `fps`, to the microsecond.
pub fn period(fps: f64) -> Micros {
    Micros((1e6 / fps.max(MIN_FPS / 10.0)).round() as i64)
}

/// A task in the answer to a worker.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerTask<'a> {
    /// The task.
    pub id: TaskId,
    /// Its camera.
    pub camera_id: &'a CameraId,
    /// Its type.
    pub task_type: &'a str,
    /// `sub` or `main`.
    pub stream_profile: StreamKind,
    /// Pictures a second, as asked.
    pub fps: f64,
    /// Pixels, as asked.
    pub width: u32,
    /// As stored.
    pub config: &'a Value,
    /// Path and query of its frames.
    pub frame_url: String,
    /// Always `live`.
    pub mode: &'static str,
    /// Pictures a second, as delivered.
    pub effective_fps: f64,
    /// Pixels, as delivered.
    pub effective_width: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn make(body: Value) -> Result<TaskSpec, String> {
        let body: NewTask = serde_json::from_value(body).map_err(|e| e.to_string())?;
        body.check(&TaskDefaults::default()).map_err(|refused| refused.to_string())
    }

    /// What a new task of `body` gets for type, profile, rate and width.
    #[track_caller]
    fn check(body: Value, expect: (&str, &str, f64, u32)) {
        let spec = make(body).unwrap();
        assert_eq!((spec.task_type.as_str(), spec.profile.as_str(), spec.fps, spec.width), expect);
    }

    #[track_caller]
    fn refused(body: Value, starts: &str) {
        let error = make(body).unwrap_err();
        assert!(error.starts_with(starts), "{error}");
    }

    #[test]
    fn defaults_and_bounds() {
        check(json!({"task_type": " motion "}), ("motion", "sub", 5.0, 1280));
        check(json!({"task_type": "x", "fps": 0, "width": -5}), ("x", "sub", 0.02, 160));
        check(json!({"task_type": "x", "fps": 99, "width": 5_000_000_000i64}), ("x", "sub", 30.0, 3840));
        check(json!({"task_type": "x", "fps": null, "stream_profile": "main"}), ("x", "main", 5.0, 1280));
        check(json!({"task_type": "x", "mode": "live", "unknown": [1]}), ("x", "sub", 5.0, 1280));
        let spec = make(json!({"task_type": "x"})).unwrap();
        assert_eq!((spec.config, spec.enabled, spec.warm), (json!({}), true, false));
        assert_eq!(make(json!({"task_type": "x", "config": [1]})).unwrap().config, json!([1]));
    }

    #[test]
    fn what_is_refused() {
        refused(json!({"task_type": "  "}), "task_type: ");
        refused(json!({"task_type": "x".repeat(257)}), "task_type: ");
        refused(json!({"task_type": "x", "stream_profile": "Main"}), "stream_profile: ");
        refused(json!({"task_type": "x", "mode": "shadow"}), "mode: ");
        refused(json!({}), "missing field `task_type`");
        refused(json!({"task_type": "x", "width": "wide"}), "invalid type");
    }

    #[test]
    fn a_patch_changes_what_it_names() {
        let before = make(json!({"task_type": "yolo", "config": {"a": 1}, "warm": true})).unwrap();
        let patch: TaskPatch = serde_json::from_value(json!({"width": 640, "enabled": false})).unwrap();
        let mut after = before.clone();
        patch.apply(&mut after).unwrap();
        assert_eq!(after, TaskSpec { width: 640, enabled: false, ..before.clone() });
        let patch: TaskPatch = serde_json::from_value(json!({"task_type": " "})).unwrap();
        assert!(patch.apply(&mut after).is_err());
        let patch: TaskPatch = serde_json::from_value(json!({"config": null})).unwrap();
        patch.apply(&mut after).unwrap();
        assert_eq!(after.config, json!({"a": 1}));
    }

    #[test]
    fn what_a_worker_is_shown() {
        let spec = make(json!({"task_type": "x", "width": 640, "fps": 2})).unwrap();
        let task = Task { id: TaskId::new(1), camera: CameraId::new("gate").unwrap(), spec };
        assert_eq!(task.weight(), 2.0 * 640.0 * 360.0);
        assert_eq!(task.period(), Micros::from_millis(500));
        let shown = serde_json::to_value(task.shown(Some((1.0, 320)))).unwrap();
        assert_eq!(shown["frame_url"], format!("/api/v1/cameras/gate/frame?profile=sub&task={}", task.id));
        assert_eq!(shown["mode"], "live");
        assert_eq!((&shown["fps"], &shown["effective_fps"]), (&json!(2.0), &json!(1.0)));
        assert_eq!(shown["effective_width"], 320);
    }

    proptest! {
        #[test]
        fn every_number_lands_in_range(fps: f64, width: i64) {
            let spec = TaskDefaults { fps, width };
            let new: NewTask = serde_json::from_value(json!({"task_type": "x"})).unwrap();
            let spec = new.check(&spec).unwrap();
            prop_assert!((MIN_FPS..=MAX_FPS).contains(&spec.fps));
            prop_assert!((MIN_WIDTH..=MAX_WIDTH).contains(&spec.width));
        }
    }
}
