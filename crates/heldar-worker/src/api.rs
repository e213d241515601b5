//! The routes of a worker, as functions from a client to an answer that can be branched on.
//!
//! Owns: paths, bodies and the reading of replies. Never: decides when to call or what to do about an answer, and never
//! waits.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::Value;

use crate::detection::{Detection, Event, Findings};
use crate::frame::Frame;
use crate::http::{Answer, Client, Unreached};
use crate::task::Task;

const LEASES: &str = "/api/v1/ai/leases";
const TASKS: &str = "/api/v1/ai/tasks";
const EVENTS: &str = "/api/v1/ai/events";
/// All but the unreserved characters (RFC 3986 2.3).
const QUOTED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a lease is asked for.
#[derive(Debug, Serialize)]
pub(crate) struct LeaseRequest<'a> {
    pub(crate) worker_id: &'a str,
    pub(crate) ttl_secs: u16,
    pub(crate) task_types: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_tasks: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) capacity: Option<f64>,
}

/// What a worker holds: task objects, read later one by one.
#[derive(Debug)]
pub(crate) struct Held {
    /// Absent where tasks are discovered.
    pub(crate) lease_id: Option<String>,
    pub(crate) tasks: Vec<Value>,
    pub(crate) renew_after: Option<Duration>,
}

/// The answer to a question for tasks.
#[derive(Debug)]
pub(crate) enum Asked {
    Held(Held),
    /// This server has no leases.
    NoLeases,
    /// Anything else; a 200 that cannot be read is among it.
    Other(Answer),
}

/// Acquires, renews and beats the heart in one.
pub(crate) fn lease(client: &Client, request: &LeaseRequest<'_>) -> Result<Asked, Unreached> {
    let answer = client.post(LEASES, &json(request))?;
    if answer.status == 404 {
        return Ok(Asked::NoLeases);
    }
    Ok(read_lease(&answer).map_or(Asked::Other(answer), Asked::Held))
}

fn read_lease(answer: &Answer) -> Option<Held> {
    let value: Value = (answer.status == 200).then(|| serde_json::from_slice(&answer.body).ok())??;
    let renew = value.get("renew_after_secs").and_then(Value::as_f64);
    Some(Held {
        tasks: value.get("tasks")?.as_array()?.clone(),
        lease_id: value.get("lease_id").and_then(Value::as_str).map(str::to_owned),
        renew_after: renew.filter(|secs| *secs > 0.0 && *secs < 1e6).map(Duration::from_secs_f64),
    })
}

/// The tasks of this worker on a server without leases.
pub(crate) fn discover(client: &Client, worker_id: &str) -> Result<Asked, Unreached> {
    let answer = client.get(&format!("{TASKS}?worker_id={}", quoted(worker_id)))?;
    let tasks = (answer.status == 200).then(|| serde_json::from_slice(&answer.body).ok()).flatten();
    Ok(match tasks {
        Some(Value::Array(tasks)) => Asked::Held(Held { lease_id: None, tasks, renew_after: None }),
        _ => Asked::Other(answer),
    })
}

/// Gives the lease back.
pub(crate) fn release(client: &Client, lease_id: &str) -> Result<Answer, Unreached> {
    client.delete(&format!("{LEASES}/{}", quoted(lease_id)))
}

/// The answer to a pull.
#[derive(Debug)]
pub(crate) enum Pulled {
    Frame(Box<Frame>),
    /// Nothing newer (204, 304), no frame now (404), or one without picture or time.
    Empty,
    Other(Answer),
}

/// Pulls the newest frame of the task, newer than `after`; the server may wait `wait` for one.
pub(crate) fn pull(
    client: &Client,
    task: &Arc<Task>,
    after: Option<u64>,
    wait: Duration,
) -> Result<Pulled, Unreached> {
    let answer = client.get(&pull_path(task, after, wait))?;
    Ok(match answer.status {
        200 => read_frame(task, answer).map_or(Pulled::Empty, |frame| Pulled::Frame(Box::new(frame))),
        204 | 304 | 404 => Pulled::Empty,
        _ => Pulled::Other(answer),
    })
}

fn pull_path(task: &Task, after: Option<u64>, wait: Duration) -> String {
    let mut path = task.frame_url.clone();
    let mut add = |name: &str, value: &str| {
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str(&format!("{name}={value}"));
    };
    let query = task.frame_url.split_once('?').map_or("", |(_, query)| query);
    if !query.split('&').any(|pair| pair.starts_with("task=")) {
        add("task", &quoted(&task.id));
    }
    if let Some(after) = after {
        add("after", &after.to_string());
    }
    if !wait.is_zero() {
        add("wait_ms", &wait.as_millis().to_string());
    }
    path
}

fn read_frame(task: &Arc<Task>, answer: Answer) -> Option<Frame> {
    let captured_at_text = answer.header("x-frame-captured-at")?.to_owned();
    let captured: Timestamp = captured_at_text.parse().ok()?;
    if answer.body.is_empty() {
        return None;
    }
    let side =
        |name: &str| answer.number(name).and_then(|side| u32::try_from(side).ok()).filter(|side| *side > 0);
    Some(Frame {
        task: Arc::clone(task),
        captured_at: SystemTime::from(captured),
        captured_at_text,
        age_at_receipt: Duration::from_millis(answer.number("x-frame-age-ms").unwrap_or(0)),
        received: Instant::now(),
        seq: answer.number("x-frame-seq"),
        skipped: answer.number("x-frame-skipped").unwrap_or(0),
        ticket: answer.header("x-frame-ticket").map(str::to_owned),
        size: side("x-frame-width").zip(side("x-frame-height")),
        jpeg: answer.body,
    })
}

#[derive(Serialize)]
struct Batch<'a> {
    camera_id: &'a str,
    task_type: &'a str,
    timestamp: &'a str,
    frame_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    frame_ticket: Option<&'a str>,
    detections: &'a [Detection],
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a Event>,
}

/// The body of one post. The same frame always makes the same key, so sending it twice is harmless.
pub(crate) fn batch(frame: &Frame, found: &Findings) -> Vec<u8> {
    json(&Batch {
        camera_id: &frame.task.camera_id,
        task_type: &frame.task.task_type,
        timestamp: &frame.captured_at_text,
        frame_id: format!("{}:{}", frame.task.id, frame.captured_at_text),
        frame_ticket: frame.ticket.as_deref(),
        detections: &found.detections,
        event: found.event.as_ref(),
    })
}

/// Posts one batch.
pub(crate) fn post(client: &Client, batch: &[u8]) -> Result<Answer, Unreached> {
    client.post(EVENTS, batch)
}

/// What became of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    Stored,
    /// The lease or the frame's ticket no longer holds: drop the batch, forget the frame, ask for tasks.
    LeaseLost,
    /// Worth the same body again.
    Again,
    /// Refused for good.
    Refused,
}

/// What an answer to a post means.
pub(crate) fn judge(answer: &Answer) -> Posted {
    match answer.status {
        200..300 => Posted::Stored,
        500.. => Posted::Again,
        409 => Posted::LeaseLost,
        401 => {
            let text = String::from_utf8_lossy(&answer.body);
            let lost = text.contains("frame_ticket") || text.contains("lease");
            if lost { Posted::LeaseLost } else { Posted::Refused }
        }
        _ => Posted::Refused,
    }
}

fn quoted(text: &str) -> String {
    utf8_percent_encode(text, QUOTED).to_string()
}

/// Nothing that is sent has maps with keys that are no strings, so it always has a JSON form.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("requests have a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::tests::task;
    use serde_json::json;

    #[track_caller]
    fn judged(status: u16, body: &str, expected: Posted) {
        assert_eq!(judge(&Answer::of(status, &[], body.as_bytes())), expected, "{status} {body}");
    }

    #[test]
    fn posts_are_judged() {
        judged(200, r#"{"detections_ingested":1}"#, Posted::Stored);
        judged(500, "", Posted::Again);
        judged(503, r#"{"error":"the lease table is busy"}"#, Posted::Again);
        judged(409, "", Posted::LeaseLost);
        judged(401, r#"{"error":"frame_ticket is invalid or expired"}"#, Posted::LeaseLost);
        judged(401, r#"{"error":"no live lease on the task of this frame"}"#, Posted::LeaseLost);
        judged(401, r#"{"error":"invalid or expired credentials"}"#, Posted::Refused);
        for status in [301, 400, 403, 404, 413, 422, 429] {
            judged(status, r#"{"error":"lease"}"#, Posted::Refused);
        }
    }

    #[test]
    fn pulls_name_the_task_once() {
        let path = |url: &str, after, wait| {
            let task = task(json!({"frame_url": url})).unwrap();
            pull_path(&task, after, Duration::from_millis(wait))
        };
        assert_eq!(path("/f?task=ai_1", None, 0), "/f?task=ai_1");
        assert_eq!(path("/f", None, 0), "/f?task=ai_1");
        assert_eq!(path("/f?profile=sub", Some(7), 200), "/f?profile=sub&task=ai_1&after=7&wait_ms=200");
        assert_eq!(path("/f?subtask=2", None, 0), "/f?subtask=2&task=ai_1");
    }

    const CAPTURED: &str = "2026-03-04T05:06:07.890+00:00";

    fn frame(headers: &[(&'static str, &str)], body: &[u8]) -> Option<Frame> {
        read_frame(&Arc::new(task(json!({})).unwrap()), Answer::of(200, headers, body))
    }

    #[test]
    fn a_batch_belongs_to_its_frame() {
        let ticketed = [("x-frame-captured-at", CAPTURED), ("x-frame-ticket", "f1.ai_1.2.3.sig")];
        let found = Findings::from(Detection::new("motion").confidence(0.5));
        let body: Value = serde_json::from_slice(&batch(&frame(&ticketed, b"j").unwrap(), &found)).unwrap();
        let expected = json!({
            "camera_id": "cam_1", "task_type": "motion", "timestamp": CAPTURED, "frame_ticket": "f1.ai_1.2.3.sig",
            "frame_id": format!("ai_1:{CAPTURED}"), "detections": [{"label": "motion", "confidence": 0.5}],
        });
        assert_eq!(body, expected);
        let plain = frame(&ticketed[..1], b"j").unwrap();
        let found = Findings::default().event(Event::new("motion"));
        let body: Value = serde_json::from_slice(&batch(&plain, &found)).unwrap();
        assert_eq!(body.get("frame_ticket"), None);
        assert_eq!(body["detections"], json!([]));
        assert_eq!(body["event"], json!({"event_type": "motion", "severity": "info", "payload": {}}));
    }

    #[test]
    fn a_frame_has_picture_and_time() {
        let all = [
            ("x-frame-captured-at", CAPTURED),
            ("x-frame-age-ms", "150"),
            ("x-frame-seq", "1760000000123"),
            ("x-frame-skipped", "3"),
            ("x-frame-width", "640"),
            ("x-frame-height", "360"),
        ];
        let whole = frame(&all, b"jpeg").unwrap();
        assert_eq!(
            (whole.seq(), whole.skipped(), whole.size()),
            (Some(1_760_000_000_123), 3, Ok((640, 360)))
        );
        assert!(whole.age() >= Duration::from_millis(150));
        let since = whole.captured_at().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since.as_millis(), 1_772_600_767_890);
        assert!(frame(&all, b"").is_none());
        assert!(frame(&all[1..], b"jpeg").is_none());
        assert!(frame(&[("x-frame-captured-at", "noon")], b"jpeg").is_none());
    }

    #[test]
    fn leases_are_read() {
        let body = br#"{"lease_id":"lse_1","tasks":[{"id":"ai_1"}],"renew_after_secs":20,"pending":1}"#;
        let held = read_lease(&Answer::of(200, &[], body)).unwrap();
        assert_eq!((held.lease_id.as_deref(), held.tasks.len()), (Some("lse_1"), 1));
        assert_eq!(held.renew_after, Some(Duration::from_secs(20)));
        for (status, body) in [(200, "[]"), (200, "{}"), (200, "no json"), (403, r#"{"tasks":[]}"#)] {
            assert!(read_lease(&Answer::of(status, &[], body.as_bytes())).is_none(), "{status} {body}");
        }
    }
}
