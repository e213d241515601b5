//! `GET /api/v1/cameras/{id}/frame` (perception.md 6.2, 6.3).

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use heldar_base::{Capability, Clock as _, Interval, Micros, StreamKind};
use heldar_http::{
    Access, ApiError, Camera, Code, Doc, ETag, Precondition, Query, Reason, RouteTable, Validators,
    precondition,
};
use heldar_perception::TaskId;
use heldar_perception::ring::{Pick, Selected};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::TAG;
use crate::api::Api;
use crate::api::requester::Requester;
use crate::perception::{FrameError, FrameReply, Wanted, credential_name, narrower};
use crate::reads::Read;

/// Longest wait for a frame.
const LONGEST_WAIT: i64 = 30_000;
/// Bounds of a width that is asked for.
const NARROWEST: i64 = 16;
const WIDEST: i64 = 3840;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/api/v1/cameras/{id}/frame",
        Access::cam(Capability::AiFrames).refusing_paths(),
        frame,
        Doc::new("getFrame", TAG, "The newest sampled frame of a camera, for a worker")
            .details(
                "With `after` and `wait_ms` the request is held until there is a newer frame. A frame for a task that the \
                 caller leases comes with a ticket, which its results are posted with.",
            )
            .query::<FrameQuery>()
            .content(200, "image/jpeg", "The frame.")
            .headers(&[
                ("ETag", "Tells the frame."),
                ("x-frame-captured-at", "When the picture was captured."),
                ("x-frame-age-ms", "How old it is, in milliseconds."),
                ("x-frame-seq", "Its number; rises by one with each picture of the unit."),
                ("x-frame-pts", "Presentation time on the media timeline, in microseconds."),
                ("x-frame-session", "Changes when the source reconnects and presentation times start anew."),
                ("x-frame-width", "Of the JPEG, in pixels."),
                ("x-frame-height", "Of the JPEG, in pixels."),
                ("x-frame-skipped", "Pictures between `after` and this one that were not sent."),
                ("x-frame-ticket", "For whoever leases the task: proof of the frame."),
            ])
            .empty(204, "Nothing newer came within `wait_ms`.")
            .empty(304, "The frame is the one that the client has.")
            .fails(&[Code::Validation, Code::NotFound]),
    );
}

#[derive(Deserialize, IntoParams)]
struct FrameQuery {
    /// `sub` or `main`.
    #[serde(default)]
    profile: Option<String>,
    /// The task that the frame is for.
    #[serde(default)]
    task: Option<String>,
    /// Only a frame with a higher number.
    #[serde(default)]
    after: Option<u64>,
    /// Milliseconds to wait for it, 0 to 30000.
    #[serde(default)]
    #[param(minimum = 0, maximum = 30000)]
    wait_ms: Option<i64>,
    /// Which of several new ones.
    #[serde(default)]
    #[param(inline)]
    pick: PickWord,
    /// Exactly this frame.
    #[serde(default)]
    seq: Option<u64>,
    /// Width of the JPEG in pixels, 16 to 3840; never scaled up.
    #[serde(default)]
    #[param(minimum = 16, maximum = 3840)]
    width: Option<i64>,
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum PickWord {
    /// The newest.
    #[default]
    Newest,
    /// The oldest that is still held.
    Next,
}

async fn frame(
    State(kernel): State<Api>,
    Requester { caller, author }: Requester,
    Camera(id): Camera,
    method: Method,
    headers: HeaderMap,
    Query(query): Query<FrameQuery>,
) -> Result<Response, ApiError> {
    let profile = match query.profile.as_deref() {
        None | Some("sub") => StreamKind::Sub,
        Some("main") => StreamKind::Main,
        Some(_) => return Err(ApiError::validation("profile", "`profile` is `sub` or `main`")),
    };
    let wait = u64::try_from(query.wait_ms.unwrap_or(0).clamp(0, LONGEST_WAIT)).unwrap_or(0);
    let wanted = Wanted {
        profile,
        task: query.task.as_deref().and_then(|text| TaskId::parse(text).ok()),
        after: query.after,
        pick: match query.pick {
            PickWord::Newest => Pick::Newest,
            PickWord::Next => Pick::Next,
        },
        seq: query.seq,
        wait: Duration::from_millis(wait),
    };
    let credential = credential_name(caller.principal());
    let mut reply = kernel.pull(credential, &id, wanted).await.map_err(none)?;
    if let (FrameReply::Frame(selected, _), Some(width)) = (&mut reply, query.width) {
        let width = u32::try_from(width.clamp(NARROWEST, WIDEST)).unwrap_or(u32::MAX);
        let quality = kernel.settings.perception.jpeg_quality;
        let narrower = narrower(&selected.frame, &selected.rendition, width, quality).await;
        selected.rendition =
            narrower.map_err(|error| ApiError::internal("a frame is no JPEG").with_cause(error))?;
    }
    match reply {
        FrameReply::NothingNewer(newest) => {
            let mut out = HeaderMap::new();
            put(&mut out, "x-frame-seq", &newest.to_string());
            Ok((StatusCode::NO_CONTENT, out).into_response())
        }
        FrameReply::Frame(selected, ticket) => {
            let mut out = described(&selected, kernel.clock.wall() - selected.frame.captured_at);
            let tag = format!("{id}.{profile}.{}.{}", selected.frame.seq, selected.rendition.width);
            let etag = ETag::strong(&tag);
            if let Some(etag) = &etag {
                put(&mut out, "etag", etag.as_str());
            }
            let validators = Validators { etag: etag.as_ref(), last_modified: None };
            if precondition(&method, &headers, validators) == Precondition::NotModified {
                return Ok((StatusCode::NOT_MODIFIED, out).into_response());
            }
            let at = selected.frame.captured_at;
            kernel.read(&author, &id, Read::Frame, Interval::new(at, at));
            if let Some(ticket) = ticket {
                put(&mut out, "x-frame-ticket", &ticket);
            }
            out.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
            Ok((out, Body::from(selected.rendition.jpeg)).into_response())
        }
    }
}

fn described(selected: &Selected, age: Micros) -> HeaderMap {
    let mut out = HeaderMap::new();
    let (frame, rendition) = (&selected.frame, &selected.rendition);
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    put(&mut out, "x-frame-captured-at", &captured(frame.captured_at));
    put(&mut out, "x-frame-age-ms", &(age.0 / 1000).max(0).to_string());
    put(&mut out, "x-frame-seq", &frame.seq.to_string());
    put(&mut out, "x-frame-pts", &frame.pts_us.to_string());
    put(&mut out, "x-frame-session", &frame.session.to_string());
    put(&mut out, "x-frame-width", &rendition.width.to_string());
    put(&mut out, "x-frame-height", &rendition.height.to_string());
    put(&mut out, "x-frame-skipped", &selected.skipped.to_string());
    out
}

/// Capture time with milliseconds and `+00:00`, as workers take it.
fn captured(at: heldar_base::WallTime) -> String {
    let ms = heldar_perception::ticket::captured_ms(at);
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string()
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn none(error: FrameError) -> ApiError {
    const NONE: &str = "no sampled frame yet (is an AI task enabled for this camera?)";
    let (reason, text) = match error {
        FrameError::NoTask => (Reason::NoTask, NONE.to_owned()),
        FrameError::Starting => (Reason::Starting, NONE.to_owned()),
        FrameError::Shed => (Reason::Shed, NONE.to_owned()),
        FrameError::NoSource => (Reason::NoSource, NONE.to_owned()),
        FrameError::Stale(at) => (Reason::Stale, format!("no fresh frame: source stopped at {at}")),
        FrameError::Evicted => (Reason::Evicted, "frame is no longer held".to_owned()),
    };
    let named = HeaderValue::from_static(reason.as_str());
    ApiError::new(Code::NotFound, text)
        .with_reason(reason)
        .with_header(HeaderName::from_static("x-frame-reason"), named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capture_times_have_milliseconds_and_an_offset() {
        let at = heldar_base::WallTime::parse("2026-11-30T01:02:03.0049Z").unwrap();
        assert_eq!(captured(at), "2026-11-30T01:02:03.005+00:00");
    }
}
