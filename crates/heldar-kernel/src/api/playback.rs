//! Playback sessions and the virtual file.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use heldar_base::{Capability, Clock as _, Interval, Micros, PublicId, StreamId, StreamKind, WallTime};
use heldar_http::{
    Access, ApiError, Caller, Camera, Code, Doc, ETag, Json, Length, Path, Query, Ranged, RouteTable,
};
use heldar_store::Attached;
use heldar_store::op::AppendAudit;
use heldar_timeline::Hole;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::errors;
use crate::api::requester::Requester;
use crate::footage::SegmentInfo;
use crate::kernel::Kernel;
use crate::playback::{Plan, PlanError, ROUNDING, Session, Window, WindowError};
use crate::reads::Read;
use crate::registry::Target;

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    const TAG: &str = "playback";
    table
        .add(
            Method::POST,
            "/api/v1/cameras/{id}/playback/sessions",
            Access::cam(Capability::VideoPlayback),
            create,
            Doc::new("createPlaybackSession", TAG, "Begins a playback session over a window")
                .body::<NewSession>()
                .json::<PlaybackSession>(200, "The session.")
                .fails(&[Code::NoFootage]),
        )
        .add(
            Method::GET,
            "/api/v1/playback/sessions/{session_id}",
            Access::res(Capability::VideoPlayback),
            show,
            Doc::new("getPlaybackSession", TAG, "One playback session")
                .json::<PlaybackSession>(200, "The session."),
        )
        .add(
            Method::DELETE,
            "/api/v1/playback/sessions/{session_id}",
            Access::res(Capability::VideoPlayback),
            end,
            Doc::new("deletePlaybackSession", TAG, "Ends a playback session").empty(204, "Ended."),
        )
        .add(
            Method::GET,
            "/api/v1/cameras/{id}/video.mp4",
            Access::cam(Capability::VideoPlayback),
            video,
            Doc::new("getVideo", TAG, "A window as one MP4 file, exact to the picture")
                .query::<VideoQuery>()
                .content(200, "video/mp4", "The file.")
                .content(206, "video/mp4", "A part of it.")
                .fails(&[Code::NoFootage, Code::RangeNotSatisfiable]),
        )
        .add(
            Method::GET,
            "/api/v1/cameras/{id}/video.json",
            Access::cam(Capability::VideoPlayback),
            video_map,
            Doc::new("getVideoMap", TAG, "The map between media time and wall time of that file")
                .query::<VideoQuery>()
                .json::<VideoMap>(200, "The map.")
                .fails(&[Code::NoFootage]),
        );
}

/// A session that is wanted.
#[derive(Deserialize, ToSchema)]
struct NewSession {
    /// First instant.
    #[schema(value_type = String, format = DateTime)]
    from: WallTime,
    /// First instant after; may lie ahead.
    #[schema(value_type = String, format = DateTime)]
    to: WallTime,
    /// `main` or `sub`; what is recorded by default.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    stream: Option<StreamKind>,
    /// What the viewer plays: `h264`, or a list of words. Where the recording is of another coding and no `stream` is
    /// asked for, the sub stream is taken if it fits.
    #[serde(default)]
    codec: Option<Playable>,
}

/// Codings that a viewer plays.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum Playable {
    /// One.
    One(CodecWord),
    /// Several.
    Several(Vec<CodecWord>),
}

/// A coding of video.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum CodecWord {
    /// H.264.
    H264,
    /// H.265.
    #[serde(alias = "h265")]
    Hevc,
    /// AV1.
    Av1,
}

impl CodecWord {
    /// Its name in views of segments.
    const fn as_str(self) -> &'static str {
        match self {
            CodecWord::H264 => "h264",
            CodecWord::Hevc => "hevc",
            CodecWord::Av1 => "av1",
        }
    }
}

impl Playable {
    /// True when all of these can be played.
    fn cover(&self, segments: &[SegmentInfo]) -> bool {
        let words = match self {
            Playable::One(one) => std::slice::from_ref(one),
            Playable::Several(several) => several,
        };
        segments.iter().all(|segment| words.iter().any(|word| word.as_str() == segment.params.codec))
    }
}

/// Time without footage.
#[derive(Serialize, ToSchema)]
pub(crate) struct GapView {
    /// First instant.
    #[schema(value_type = String, format = DateTime)]
    from: WallTime,
    /// First instant after.
    #[schema(value_type = String, format = DateTime)]
    to: WallTime,
    /// Why.
    #[schema(value_type = String)]
    cause: &'static str,
}

impl From<&Hole> for GapView {
    fn from(hole: &Hole) -> Self {
        GapView { from: hole.interval.start, to: hole.interval.end, cause: hole.cause.as_str() }
    }
}

/// A playback session.
#[derive(Serialize, ToSchema)]
struct PlaybackSession {
    /// Its id.
    #[schema(value_type = String)]
    id: PublicId,
    /// Whose footage.
    camera_id: String,
    /// Where to play it from.
    playlist_url: String,
    /// First instant.
    #[schema(value_type = String, format = DateTime)]
    from: WallTime,
    /// First instant after.
    #[schema(value_type = String, format = DateTime)]
    to: WallTime,
    /// Seconds asked for.
    #[schema(value_type = f64)]
    duration_s: Micros,
    /// Segments of the recording that it draws on.
    segment_count: usize,
    /// Seconds with footage.
    #[schema(value_type = f64)]
    covered_seconds: Micros,
    /// Time without.
    gaps: Vec<GapView>,
    /// `main` or `sub`.
    stream: &'static str,
    /// RFC 6381 strings of what a player must play.
    codecs: Vec<String>,
    /// When it ends unless it is used.
    #[schema(value_type = String, format = DateTime)]
    expires_at: WallTime,
}

/// A window of a camera.
#[derive(Deserialize, IntoParams)]
struct VideoQuery {
    /// First instant.
    #[param(value_type = String, format = DateTime)]
    from: WallTime,
    /// First instant after.
    #[param(value_type = String, format = DateTime)]
    to: WallTime,
    /// `main` or `sub`.
    #[param(value_type = Option<String>, inline)]
    #[serde(default)]
    stream: Option<StreamKind>,
    /// `1` to save it as a file; needs `video:export`.
    #[serde(default)]
    download: Option<bool>,
}

/// The map between media time and wall time of a virtual file.
#[derive(Serialize, ToSchema)]
struct VideoMap {
    /// First instant asked for.
    #[schema(value_type = String, format = DateTime)]
    from: WallTime,
    /// First instant after.
    #[schema(value_type = String, format = DateTime)]
    to: WallTime,
    /// Seconds asked for.
    #[schema(value_type = f64)]
    requested_seconds: Micros,
    /// Seconds with footage.
    #[schema(value_type = f64)]
    covered_seconds: Micros,
    /// Bytes of the file.
    size_bytes: u64,
    /// Its entity tag.
    etag: String,
    /// Where each stretch of footage is shown.
    parts: Vec<VideoPart>,
    /// Time without footage.
    gaps: Vec<GapView>,
}

/// A stretch of footage in a virtual file.
#[derive(Serialize, ToSchema)]
struct VideoPart {
    /// When it is shown, in seconds from the start of the file.
    media_start_seconds: f64,
    /// When it was captured.
    #[schema(value_type = String, format = DateTime)]
    start: WallTime,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    end: WallTime,
    /// RFC 6381 string of its video.
    codec_string: String,
}

pub(super) fn window_error(error: WindowError) -> ApiError {
    match error {
        WindowError::Empty => ApiError::validation("to", error.to_string()),
        WindowError::TooLong(_) => ApiError::new(Code::WindowTooLong, error.to_string()),
    }
}

pub(super) fn plan_error(error: PlanError) -> ApiError {
    match error {
        PlanError::NoFootage => ApiError::no_footage(),
        PlanError::Footage(error) => errors::footage(error),
    }
}

/// The camera, and the stream that a request about a window speaks of.
pub(super) async fn stream_of(
    kernel: &Kernel,
    caller: &Caller,
    camera: &Camera,
    kind: Option<StreamKind>,
    window: Window,
) -> Result<(heldar_store::Camera, StreamId), ApiError> {
    let found = kernel.store.camera(caller.scope(), &camera.0).await.map_err(errors::store)?;
    let found = found.ok_or_else(|| ApiError::not_found("camera"))?;
    let stream = kernel
        .stream_asked(caller.scope(), &found, kind, window.interval().into())
        .await
        .map_err(errors::store)?;
    Ok((found, stream))
}

async fn create(
    State(kernel): State<Api>,
    who: Requester,
    camera: Camera,
    Json(body): Json<NewSession>,
) -> Result<Json<PlaybackSession>, ApiError> {
    let caller = &who.caller;
    let window =
        Window::new(body.from, body.to, kernel.settings.playback.max_window).map_err(window_error)?;
    let (found, mut stream) = stream_of(&kernel, caller, &camera, body.stream, window).await?;
    let mut segments =
        kernel.segments_in(caller.scope(), &stream, window.interval()).await.map_err(errors::store)?;
    if let Some(playable) = body.codec.filter(|_| body.stream.is_none())
        && !playable.cover(&segments)
    {
        let sub = StreamId::new(found.id.clone(), StreamKind::Sub);
        let others =
            kernel.segments_in(caller.scope(), &sub, window.interval()).await.map_err(errors::store)?;
        if !others.is_empty() && playable.cover(&others) {
            (stream, segments) = (sub, others);
        }
    }
    let first = segments.first().ok_or_else(ApiError::no_footage)?;
    // The group of pictures that `from` lies in begins in this file or, at its very start, in the one before.
    let origin = first.start();
    let session = kernel.sessions.create(stream, window, origin);
    let detail = json!({ "session_id": session.id, "from": window.from, "to": window.to });
    let entry = who.author.did(
        kernel.clock.wall(),
        "create_playback_session",
        Target { kind: "camera", id: found.id.as_str() },
        detail,
    );
    kernel.store.write(AppendAudit { entry }).await.map_err(errors::store)?;
    Ok(Json(view(&kernel, caller, &session).await?))
}

async fn view(kernel: &Kernel, caller: &Caller, session: &Session) -> Result<PlaybackSession, ApiError> {
    let segments = kernel
        .segments_in(caller.scope(), &session.stream, session.window.interval())
        .await
        .map_err(errors::store)?;
    let holes = kernel
        .window_holes(caller.scope(), &session.stream, session.window, ROUNDING)
        .await
        .map_err(errors::store)?;
    let mut codecs: Vec<String> = Vec::new();
    for segment in &segments {
        let audio = segment.params.audio.as_ref().map(|audio| &audio.codec_string);
        for codec in std::iter::once(&segment.params.codec_string).chain(audio) {
            if !codecs.contains(codec) {
                codecs.push(codec.clone());
            }
        }
    }
    Ok(PlaybackSession {
        id: session.id,
        camera_id: session.stream.camera.to_string(),
        playlist_url: format!("/media/playback/{}/index.m3u8", session.id),
        from: session.window.from,
        to: session.window.to,
        duration_s: session.window.to - session.window.from,
        segment_count: segments.len(),
        covered_seconds: holes.covered,
        gaps: holes.gaps.iter().map(GapView::from).collect(),
        stream: session.stream.kind.as_str(),
        codecs,
        expires_at: session.expires_at,
    })
}

/// Reads the id of a session in a path.
pub(super) fn session_id(text: &str) -> Result<Option<PublicId>, ApiError> {
    let plausible = text.len() <= 64
        && text
            .strip_prefix("pbs_")
            .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    if !plausible {
        return Err(ApiError::validation(
            "session_id",
            "a playback session id is `pbs_` and letters or digits",
        ));
    }
    Ok(PublicId::parse(Session::PREFIX, text).ok())
}

async fn show(
    State(kernel): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<PlaybackSession>, ApiError> {
    let id = PublicId::parse(Session::PREFIX, &id).ok();
    let session = id.and_then(|id| kernel.sessions.get(caller.scope(), id));
    let session = session.ok_or_else(|| caller.missing("playback session"))?;
    Ok(Json(view(&kernel, &caller, &session).await?))
}

async fn end(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let session = session_id(&id)?.and_then(|id| kernel.sessions.remove(who.caller.scope(), id));
    let session = session.ok_or_else(|| who.caller.missing("playback session"))?;
    let detail = json!({ "camera_id": session.stream.camera });
    let id = session.id.to_string();
    let entry = who.author.did(
        kernel.clock.wall(),
        "delete_playback_session",
        Target { kind: "playback_session", id: &id },
        detail,
    );
    kernel.store.write(AppendAudit { entry }).await.map_err(errors::store)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn plan(
    kernel: &Kernel,
    caller: &Caller,
    camera: &Camera,
    query: &VideoQuery,
) -> Result<(heldar_store::Camera, StreamId, Window, Plan), ApiError> {
    let window =
        Window::new(query.from, query.to, kernel.settings.playback.max_window).map_err(window_error)?;
    let (found, stream) = stream_of(kernel, caller, camera, query.stream, window).await?;
    let plan = kernel.plan(caller.scope(), &stream, window).await.map_err(plan_error)?;
    Ok((found, stream, window, plan))
}

async fn video(
    State(kernel): State<Api>,
    Requester { caller, author }: Requester,
    camera: Camera,
    method: Method,
    headers: HeaderMap,
    Query(query): Query<VideoQuery>,
) -> Result<Response, ApiError> {
    if query.download == Some(true) {
        caller.require(Capability::VideoExport)?;
    }
    let (found, stream, window, plan) = plan(&kernel, &caller, &camera, &query).await?;
    let holes =
        kernel.window_holes(caller.scope(), &stream, window, ROUNDING).await.map_err(errors::store)?;
    if method == Method::GET && query.download == Some(true) {
        kernel.downloaded(&author, &found.id, window.interval(), &headers);
    } else if method == Method::GET {
        kernel.read(&author, &found.id, Read::Playback, window.interval());
    }
    let etag = ETag::strong(&plan.tag);
    let last = plan.file.covered().last().map(|shown| shown.end);
    let ranged = Ranged {
        content_type: HeaderValue::from_static("video/mp4"),
        length: Length::Final(plan.file.total_len()),
        etag: etag.as_ref(),
        last_modified: last,
        cache_control: Some(HeaderValue::from_static("private, no-cache")),
    };
    let mut response =
        ranged.respond(&method, &headers, kernel.clock.wall(), plan.source(&kernel))?.into_response();
    let out = response.headers_mut();
    out.insert("x-heldar-covered-seconds", header_value(&format!("{}", holes.covered.as_secs_f64())));
    out.insert("x-heldar-gap-count", HeaderValue::from(holes.gaps.len()));
    if query.download == Some(true) {
        let name = download_name(&kernel, &found, window.from).await?;
        out.insert(header::CONTENT_DISPOSITION, attachment(&name));
    }
    Ok(response)
}

async fn video_map(
    State(kernel): State<Api>,
    caller: Caller,
    camera: Camera,
    Query(query): Query<VideoQuery>,
) -> Result<Json<VideoMap>, ApiError> {
    let (_, stream, window, plan) = plan(&kernel, &caller, &camera, &query).await?;
    let holes =
        kernel.window_holes(caller.scope(), &stream, window, ROUNDING).await.map_err(errors::store)?;
    let parts = plan.file.parts().iter().map(|part| {
        let Interval { start, end } = part.wall;
        VideoPart {
            // Seconds have at most six decimals (media.md 2.1).
            media_start_seconds: (part.media_start_seconds() * 1e6).round() / 1e6,
            start,
            end,
            codec_string: part.codec_string.clone(),
        }
    });
    Ok(Json(VideoMap {
        from: window.from,
        to: window.to,
        requested_seconds: window.to - window.from,
        covered_seconds: holes.covered,
        size_bytes: plan.file.total_len(),
        etag: format!("\"{}\"", plan.tag),
        parts: parts.collect(),
        gaps: holes.gaps.iter().map(GapView::from).collect(),
    }))
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("0"))
}

/// Camera name and local time as a file name that every system takes.
pub(super) async fn download_name(
    kernel: &Kernel,
    camera: &heldar_store::Camera,
    from: WallTime,
) -> Result<String, ApiError> {
    let zone = kernel.zone_of(camera).await.map_err(errors::store)?;
    Ok(local_name(&camera.fields.name, from, zone))
}

fn local_name(camera: &str, from: WallTime, zone: TimeZone) -> String {
    let name: String =
        camera.chars().map(|c| if c.is_alphanumeric() || "-_".contains(c) { c } else { '_' }).collect();
    let at = Timestamp::from_microsecond(from.0).unwrap_or_default().to_zoned(zone);
    format!("{}_{}.mp4", name.trim_matches('_'), at.strftime("%Y-%m-%d_%H-%M-%S"))
}

/// `Content-Disposition` with an ASCII name and the real one (RFC 6266, RFC 8187).
pub(super) fn attachment(name: &str) -> HeaderValue {
    let ascii: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_. ".contains(c) { c } else { '_' }).collect();
    let coded: String = name
        .bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect();
    header_value(&format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{coded}"))
}

/// Nothing to attach but an audit row.
pub(super) fn audited(entry: heldar_store::AuditEntry) -> Attached {
    Attached { audit: Some(entry), events: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_downloads_tell_camera_and_local_time() {
        let at = WallTime::parse("2026-07-01T22:30:05.9Z").unwrap();
        let check = |camera: &str, zone: &str, expect: &str| {
            let zone = jiff::tz::TimeZoneDatabase::bundled().get(zone).unwrap();
            assert_eq!(local_name(camera, at, zone), expect);
        };
        check("Gate 1", "UTC", "Gate_1_2026-07-01_22-30-05.mp4");
        check("../Tür", "Europe/Berlin", "Tür_2026-07-02_00-30-05.mp4");
    }
}
