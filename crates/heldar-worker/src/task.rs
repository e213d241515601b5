//! A task as the server describes it.
//!
//! Owns: reading a task object, what is assumed where the server says nothing, and which `frame_url` is followed.

use std::time::Duration;

use serde_json::{Map, Value};

/// What is assumed where the server says nothing.
const DEFAULT_PROFILE: &str = "sub";
const DEFAULT_FPS: f64 = 5.0;
const DEFAULT_WIDTH: u32 = 1280;
const FPS: (f64, f64) = (0.02, 30.0);

/// One task: which camera, which kind of analysis, at which rate, with which settings.
///
/// Two tasks are equal when nothing differs that a worker depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its id, `ai_` and 32 hex digits.
    pub id: String,
    /// The camera.
    pub camera_id: String,
    /// The kind of analysis, which chose the handler.
    pub task_type: String,
    /// The camera's stream: `sub` or `main`.
    pub stream_profile: String,
    /// Frames a second that were asked for, 0.02..=30.
    pub fps: f64,
    /// Width of pictures in pixels that was asked for; fewer may come.
    pub width: u32,
    /// The task's own settings, as its author wrote them.
    pub config: Map<String, Value>,
    /// Where its frames are: a path of the server.
    pub frame_url: String,
}

/// Why a task is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// Not a JSON object.
    #[error("the task is no object")]
    NoObject,
    /// A field that every task has is absent or no text.
    #[error("the task has no {0}")]
    Missing(&'static str),
    /// Its frames would be asked for, with the key, elsewhere than at the server's API.
    #[error("its frame_url is refused: {0}")]
    FrameUrl(&'static str),
}

impl Task {
    /// Reads a task object of the server, or one of your own for a test of a handler.
    ///
    /// `id`, `camera_id`, `task_type` and `frame_url` are required. `stream_profile` is `sub`, `fps` 5, `width` 1280 and
    /// `config` empty where absent or unusable; `fps` is brought within 0.02..=30.
    ///
    /// # Errors
    /// A required field is missing, or `frame_url` could lead to another host or out of the API: it must begin with `/` and
    /// hold neither `://` nor `..`.
    pub fn from_json(value: &Value) -> Result<Self, TaskError> {
        let object = value.as_object().ok_or(TaskError::NoObject)?;
        let text = |name: &'static str| match object.get(name).and_then(Value::as_str) {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(TaskError::Missing(name)),
        };
        let number = |name: &str| {
            object.get(name).and_then(Value::as_f64).filter(|number| *number > 0.0 && *number < 1e6)
        };
        let frame_url = text("frame_url")?;
        check_frame_url(&frame_url)?;
        Ok(Self {
            id: text("id")?,
            camera_id: text("camera_id")?,
            task_type: text("task_type")?,
            stream_profile: text("stream_profile").unwrap_or_else(|_| DEFAULT_PROFILE.to_owned()),
            fps: number("fps").unwrap_or(DEFAULT_FPS).clamp(FPS.0, FPS.1),
            width: number("width").map_or(DEFAULT_WIDTH, |width| width as u32),
            config: object.get("config").and_then(Value::as_object).cloned().unwrap_or_default(),
            frame_url,
        })
    }

    /// Time between two frames.
    pub fn period(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.fps.clamp(FPS.0, FPS.1))
    }

    /// Age past which a frame is not worth analysing: 2 s, or three periods if that is longer.
    pub fn stale_after(&self) -> Duration {
        Duration::from_secs(2).max(self.period() * 3)
    }
}

/// A URL elsewhere would carry the key to another host.
fn check_frame_url(url: &str) -> Result<(), TaskError> {
    if !url.starts_with('/') || url.starts_with("//") || url.contains("://") {
        return Err(TaskError::FrameUrl("it must be a path of the same server, without ://"));
    }
    if url.contains("..") {
        return Err(TaskError::FrameUrl("it holds `..`"));
    }
    if !url.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b'\\' && byte != b'#') {
        return Err(TaskError::FrameUrl("it holds characters that no path has"));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// A task of type `motion` with fields replaced.
    pub(crate) fn task(fields: Value) -> Result<Task, TaskError> {
        let mut value = json!({
            "id": "ai_1", "camera_id": "cam_1", "task_type": "motion",
            "frame_url": "/api/v1/cameras/cam_1/frame?profile=sub&task=ai_1",
        });
        for (name, field) in fields.as_object().unwrap() {
            value[name] = field.clone();
        }
        Task::from_json(&value)
    }

    #[test]
    fn absent_and_unusable_fields_have_their_defaults() {
        for fields in [
            json!({}),
            json!({"stream_profile": null, "fps": null, "width": "wide", "config": [1]}),
            json!({"stream_profile": "", "fps": -3, "width": 0, "config": "x"}),
        ] {
            let task = task(fields).unwrap();
            assert_eq!((task.stream_profile.as_str(), task.fps, task.width), ("sub", 5.0, 1280));
            assert!(task.config.is_empty());
        }
    }

    #[test]
    fn rates_stay_within_what_servers_deliver() {
        assert_eq!(task(json!({"fps": 1e-9})).unwrap().fps, 0.02);
        assert_eq!(task(json!({"fps": 1000})).unwrap().fps, 30.0);
        assert_eq!(task(json!({"fps": 10})).unwrap().period(), Duration::from_millis(100));
    }

    #[test]
    fn frames_are_stale_after_two_seconds_or_three_periods() {
        assert_eq!(task(json!({"fps": 10})).unwrap().stale_after(), Duration::from_secs(2));
        assert_eq!(task(json!({"fps": 0.5})).unwrap().stale_after(), Duration::from_secs(6));
    }

    #[test]
    fn what_is_missing_is_named() {
        for name in ["id", "camera_id", "task_type", "frame_url"] {
            let Err(TaskError::Missing(told)) = task(json!({name: null})) else { panic!("{name}") };
            assert_eq!(told, name);
        }
        assert_eq!(Task::from_json(&json!(["task"])), Err(TaskError::NoObject));
    }

    #[test]
    fn frames_come_from_the_server_alone() {
        for url in [
            "http://elsewhere.example/frame",
            "//elsewhere.example/frame",
            "elsewhere.example/frame",
            "@elsewhere.example/frame",
            "/redirect?to=https://elsewhere.example",
            "/api/v1/../../secret",
            "/frame?x=..",
            "/frame with spaces",
            "/frame\r\nX-Other: 1",
            "/\\elsewhere.example",
            "/frame#part",
            "/fr\u{e4}me",
        ] {
            let refused = task(json!({"frame_url": url}));
            assert!(matches!(refused, Err(TaskError::FrameUrl(_))), "{url:?}: {refused:?}");
        }
    }
}
