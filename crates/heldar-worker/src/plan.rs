//! What becomes of the tasks that run when the server names those that should.
//!
//! Owns: the comparison. A renewal alone starts and ends nothing. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::task::Task;

/// The tasks that a worker serves, and why it does not serve the others.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) tasks: BTreeMap<String, Task>,
    /// Id (empty when it has none) and reason.
    pub(crate) refused: BTreeMap<String, String>,
}

impl Wanted {
    /// Reads what the server named. Tasks of types without a handler are left out, and so are those beyond `max_tasks`.
    pub(crate) fn of(raw: &[Value], has_handler: impl Fn(&str) -> bool, max_tasks: Option<u32>) -> Self {
        let mut wanted = Self::default();
        let limit = max_tasks.map_or(usize::MAX, |limit| limit as usize);
        for value in raw {
            match Task::from_json(value) {
                Ok(task) if has_handler(&task.task_type) && wanted.tasks.len() < limit => {
                    wanted.tasks.insert(task.id.clone(), task);
                }
                Ok(_) => {}
                Err(error) => {
                    let id = value.get("id").and_then(Value::as_str).unwrap_or_default();
                    wanted.refused.insert(id.to_owned(), error.to_string());
                }
            }
        }
        wanted
    }
}

/// Why a task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The server no longer names it.
    Gone,
    /// Type, profile, rate, width, `frame_url` or config differ; it begins anew.
    Changed,
}

/// What to do, in this order.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Steps {
    pub(crate) end: Vec<(String, Why)>,
    pub(crate) begin: Vec<Task>,
}

/// Compares what runs with what should.
pub(crate) fn steps<'a>(running: impl Iterator<Item = &'a Task>, wanted: &BTreeMap<String, Task>) -> Steps {
    let mut begin = wanted.clone();
    let mut steps = Steps::default();
    for task in running {
        match wanted.get(&task.id) {
            Some(same) if same == task => {
                begin.remove(&task.id);
            }
            Some(_) => steps.end.push((task.id.clone(), Why::Changed)),
            None => steps.end.push((task.id.clone(), Why::Gone)),
        }
    }
    steps.begin = begin.into_values().collect();
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn raw(id: &str, fields: Value) -> Value {
        let mut value = json!({
            "id": id, "camera_id": "cam_1", "task_type": "motion", "stream_profile": "sub", "fps": 5, "width": 640,
            "config": {"threshold": 0.1}, "frame_url": format!("/api/v1/cameras/cam_1/frame?task={id}"),
        });
        for (name, field) in fields.as_object().unwrap() {
            value[name] = field.clone();
        }
        value
    }

    fn wanted(raw: &[Value]) -> BTreeMap<String, Task> {
        Wanted::of(raw, |kind| kind != "anpr", None).tasks
    }

    #[test]
    fn a_renewal_alone_changes_nothing() {
        let before = wanted(&[raw("a", json!({})), raw("b", json!({}))]);
        // Another order, and fields this crate does not know.
        let after = wanted(&[raw("b", json!({"effective_fps": 2.5})), raw("a", json!({"mode": "live"}))]);
        assert_eq!(steps(before.values(), &after), Steps::default());
    }

    #[test]
    fn whatever_a_task_depends_on_starts_it_anew() {
        let before = wanted(&[raw("a", json!({})), raw("b", json!({}))]);
        for change in [
            json!({"task_type": "detection"}),
            json!({"stream_profile": "main"}),
            json!({"fps": 6}),
            json!({"width": 320}),
            json!({"config": {"threshold": 0.2}}),
            json!({"frame_url": "/api/v1/cameras/cam_1/frame?profile=main&task=a"}),
        ] {
            let after = wanted(&[raw("a", change.clone()), raw("b", json!({}))]);
            let steps = steps(before.values(), &after);
            assert_eq!(steps.end, [("a".to_owned(), Why::Changed)], "{change}");
            assert_eq!(steps.begin, [after["a"].clone()], "{change}");
        }
    }

    #[test]
    fn tasks_come_and_go() {
        let before = wanted(&[raw("a", json!({})), raw("b", json!({}))]);
        let after = wanted(&[raw("b", json!({})), raw("c", json!({}))]);
        let steps = steps(before.values(), &after);
        assert_eq!(steps.end, [("a".to_owned(), Why::Gone)]);
        assert_eq!(steps.begin, [after["c"].clone()]);
    }

    #[test]
    fn foreign_types_and_what_is_beyond_the_limit_are_left_out() {
        let named = [raw("a", json!({"task_type": "anpr"})), raw("b", json!({})), raw("c", json!({}))];
        let found = Wanted::of(&named, |kind| kind != "anpr", Some(1));
        assert_eq!(found.tasks.keys().collect::<Vec<_>>(), ["b"]);
        assert!(found.refused.is_empty());
    }

    #[test]
    fn a_task_that_cannot_be_served_is_told_with_its_reason() {
        let found = Wanted::of(&[raw("a", json!({"frame_url": "http://h/f"})), json!(7)], |_| true, None);
        assert!(found.tasks.is_empty());
        assert!(found.refused["a"].contains("frame_url"), "{found:?}");
        assert_eq!(found.refused[""], "the task is no object");
    }
}
