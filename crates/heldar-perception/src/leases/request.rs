//! The body of a lease call, with its defaults and bounds (perception.md 4.2).

use heldar_base::Micros;
use serde::Deserialize;

use crate::Refused;

/// Most characters of a worker's name.
const MAX_NAME: usize = 256;
/// Most types that a worker can name.
const MAX_TYPES: usize = 256;
const DEFAULT_MAX_TASKS: i64 = 512;
const DEFAULT_TTL_SECS: i64 = 60;

/// A lease call as sent.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct LeaseBody {
    /// What the worker calls itself.
    pub worker_id: String,
    /// Types that it takes, exactly as tasks name them; absent: any; empty: none.
    pub task_types: Option<Vec<String>>,
    /// Most tasks that it takes.
    pub max_tasks: Option<i64>,
    /// How long the lease holds.
    pub ttl_secs: Option<i64>,
    /// Its strength beside the others.
    pub capacity: Option<f64>,
}

/// A lease call that was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseRequest {
    /// What the worker calls itself; neither blank nor long.
    pub worker_id: String,
    /// Types that it takes; `None`: any.
    pub task_types: Option<Vec<String>>,
    /// 1 to 512.
    pub max_tasks: u32,
    /// 15 to 300 s.
    pub ttl: Micros,
    /// 0.01 to 100.
    pub capacity: f64,
}

impl LeaseBody {
    /// Fills in what is absent and brings numbers into their range.
    ///
    /// # Errors
    /// A name that is blank or longer than 256 characters; more than 256 types, or a type longer than 256 characters,
    /// which no task can have.
    pub fn check(self) -> Result<LeaseRequest, Refused> {
        let worker_id = checked_worker_id(&self.worker_id)?.to_owned();
        if let Some(types) = &self.task_types {
            if types.len() > MAX_TYPES {
                return Err(Refused::new("task_types", "must name at most 256 types"));
            }
            if types.iter().any(|t| t.chars().nth(crate::task::MAX_TYPE_CHARS).is_some()) {
                return Err(Refused::new("task_types", "must have at most 256 characters each"));
            }
        }
        let max_tasks = self.max_tasks.unwrap_or(DEFAULT_MAX_TASKS).clamp(1, DEFAULT_MAX_TASKS);
        let capacity = self.capacity.filter(|c| !c.is_nan()).unwrap_or(1.0);
        Ok(LeaseRequest {
            worker_id,
            task_types: self.task_types,
            max_tasks: u32::try_from(max_tasks).unwrap_or(1),
            ttl: Micros::from_secs(self.ttl_secs.unwrap_or(DEFAULT_TTL_SECS).clamp(15, 300)),
            capacity: capacity.clamp(0.01, 100.0),
        })
    }
}

/// A worker's name without the space around it.
///
/// # Errors
/// Nothing is left, or more than 256 characters.
pub fn checked_worker_id(text: &str) -> Result<&str, Refused> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Refused::new("worker_id", "must not be blank"));
    }
    if text.chars().nth(MAX_NAME).is_some() {
        return Err(Refused::new("worker_id", "must have at most 256 characters"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Most tasks, seconds and capacity that a body gets, or which field is refused.
    #[track_caller]
    fn check(body: &str, expect: Result<(u32, i64, f64), &str>) {
        let body: LeaseBody = serde_json::from_str(body).unwrap();
        let got = body.check().map(|r| (r.max_tasks, r.ttl.0 / 1_000_000, r.capacity)).map_err(|r| r.field);
        assert_eq!(got, expect);
    }

    #[test]
    fn defaults_and_bounds() {
        check(r#"{"worker_id": "w"}"#, Ok((512, 60, 1.0)));
        check(r#"{"worker_id": "w", "max_tasks": 0, "ttl_secs": 1, "capacity": 0}"#, Ok((1, 15, 0.01)));
        check(
            r#"{"worker_id": "w", "max_tasks": 9999, "ttl_secs": 999, "capacity": 1e9}"#,
            Ok((512, 300, 100.0)),
        );
        check(r#"{"worker_id": " ", "extra": 1}"#, Err("worker_id"));
        check(&format!(r#"{{"worker_id": "{}"}}"#, "é".repeat(256)), Ok((512, 60, 1.0)));
        check(&format!(r#"{{"worker_id": "{}"}}"#, "é".repeat(257)), Err("worker_id"));
        let types = vec!["x"; 257];
        check(&format!(r#"{{"worker_id": "w", "task_types": {types:?}}}"#), Err("task_types"));
    }
}
