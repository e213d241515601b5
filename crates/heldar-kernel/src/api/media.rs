//! Media files: recordings with byte ranges, playlists and cut segments of sessions, clips.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use heldar_base::{Capability, Clock as _, Interval, PublicId};
use heldar_bmff::VIDEO_TIMESCALE;
use heldar_disk::{DiskFile, FileAccess, SegmentName};
use heldar_http::{
    Access, ApiError, Caller, Camera, Code, Doc, ETag, Length, Path, Query, Ranged, RouteTable, ScopeRule,
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::requester::Requester;
use super::{Api, errors};
use crate::footage::SegmentInfo;
use crate::kernel::Kernel;
use crate::playback::{CutTail, HlsItem, PlaylistWindow, SegmentSource, Session, cut_group, playlist, split};
use crate::reads::Read;

const MP4: HeaderValue = HeaderValue::from_static("video/mp4");
const FOR_GOOD: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    const TAG: &str = "media";
    table
        .add(
            Method::GET,
            "/media/recordings/{camera}/{file}",
            Access::cam_in("camera", Capability::VideoPlayback),
            recording,
            Doc::new("getRecording", TAG, "A recorded file, whole or in part")
                .query::<Base>()
                .content(200, "video/mp4", "The file.")
                .content(206, "video/mp4", "A part of it.")
                .fails(&[Code::NotFound, Code::RangeNotSatisfiable]),
        )
        .add(
            Method::GET,
            "/media/playback/{session}/{file}",
            Access::res(Capability::VideoPlayback),
            session_file,
            Doc::new("getPlaybackFile", TAG, "Playlist or cut segment of a playback session")
                .content(200, "application/vnd.apple.mpegurl", "`index.m3u8`.")
                .content(206, "video/mp4", "A part of `seg_*.m4s`."),
        )
        .add(
            Method::GET,
            "/media/{*rest}",
            Access::any_principal(ScopeRule::None),
            unknown,
            Doc::new("getUnknownMedia", TAG, "Refuses every other path").empty(403, "No such tree."),
        );
}

async fn unknown() -> Result<Response, ApiError> {
    Err(ApiError::of(Code::Forbidden))
}

/// Past it, times would no longer fit a file: some thirty years of ticks.
const LONGEST_BASE: u64 = 1 << 46;

/// Makes a file a part of a playback session.
#[derive(Deserialize, IntoParams)]
struct Base {
    /// Added to every decode time, in 1/90000 s.
    #[serde(default)]
    base: Option<u64>,
}

async fn recording(
    State(kernel): State<Api>,
    Requester { caller, author }: Requester,
    camera: Camera,
    Path((_, file)): Path<(String, String)>,
    Query(query): Query<Base>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let missing = || ApiError::not_found("recording");
    // Who is limited learns nothing of other folders, not even that the name would be none.
    if !caller.scope().is_all() && (file.contains(['/', '\\']) || file == "." || file == "..") {
        return Err(ApiError::out_of_scope());
    }
    let name = SegmentName::parse(&camera.0, &file).map_err(|_| missing())?;
    if query.base.is_some_and(|base| base > LONGEST_BASE) {
        return Err(
            ApiError::new(Code::BadQuery, "`base` is further than any session reaches").with_field("base")
        );
    }
    let segment =
        kernel.segment_named(caller.scope(), &name).await.map_err(errors::store)?.ok_or_else(missing)?;
    let source = source(&kernel, &caller, &segment, query.base).await?;
    if method == Method::GET {
        // Playlists name files with a base.
        let read = if query.base.is_some() { Read::Playback } else { Read::Download };
        kernel.read(&author, &camera.0, read, Interval::new(segment.start(), segment.end));
    }
    let form = query.base.map_or_else(|| "file".to_owned(), |base| base.to_string());
    let etag = ETag::strong(&format!("{}-{}-{form}", segment.id, segment.size_bytes));
    let length =
        if segment.open { Length::SoFar(segment.size_bytes) } else { Length::Final(segment.size_bytes) };
    let ranged = Ranged {
        content_type: MP4,
        length,
        etag: etag.as_ref(),
        last_modified: Some(segment.end),
        cache_control: Some(FOR_GOOD),
    };
    ranged.respond(&method, &headers, kernel.clock.wall(), source)
}

async fn open(kernel: &Kernel, segment: &SegmentInfo) -> Result<std::sync::Arc<dyn DiskFile>, ApiError> {
    let disk = kernel.disk.clone();
    let path = segment.name.relative_path();
    let opened = tokio::task::spawn_blocking(move || disk.open(&path, FileAccess::Read)).await;
    match opened.map_err(ApiError::internal)? {
        Ok(file) => Ok(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(ApiError::not_found("recording")),
        Err(error) => Err(ApiError::of(Code::StorageError).with_cause(error)),
    }
}

async fn source(
    kernel: &Kernel,
    caller: &Caller,
    segment: &SegmentInfo,
    base: Option<u64>,
) -> Result<SegmentSource, ApiError> {
    let file = open(kernel, segment).await?;
    let Some(base) = base else { return Ok(SegmentSource::plain(file)) };
    let index = kernel.fragment_index(caller.scope(), segment).await.map_err(errors::footage)?;
    let shifted = tokio::task::spawn_blocking(move || SegmentSource::shifted(file, base, index)).await;
    shifted.map_err(ApiError::internal)?.map_err(|error| ApiError::of(Code::StorageError).with_cause(error))
}

async fn read_init(file: std::sync::Arc<dyn DiskFile>) -> Result<heldar_bmff::InitInfo, ApiError> {
    let read = tokio::task::spawn_blocking(move || heldar_bmff::InitInfo::read(&*file as &dyn DiskFile));
    read.await
        .map_err(ApiError::internal)?
        .map_err(|error| ApiError::of(Code::StorageError).with_cause(error))
}

async fn session_file(
    State(kernel): State<Api>,
    Requester { caller, author }: Requester,
    Path((session, file)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let segment = file.strip_prefix("seg_").and_then(|rest| rest.strip_suffix(".m4s"));
    if file != "index.m3u8" && segment.is_none() {
        return Err(ApiError::of(Code::Forbidden));
    }
    let id = PublicId::parse(Session::PREFIX, &session).ok();
    let session = id.and_then(|id| kernel.sessions.get(caller.scope(), id));
    let session = session.ok_or_else(|| caller.missing("playback session"))?;
    if method == Method::GET {
        kernel.read(&author, &session.stream.camera, Read::Playback, session.window.interval());
    }
    match segment {
        None => index(&kernel, &caller, &session).await,
        Some(name) => cut(&kernel, &caller, &session, name, &method, &headers).await,
    }
}

/// The recorded files of a session, with the fragments that lie in it.
async fn items(kernel: &Kernel, caller: &Caller, session: &Session) -> Result<Vec<HlsItem>, ApiError> {
    let scope = caller.scope();
    let window = session.window;
    let segments =
        kernel.segments_in(scope, &session.stream, window.interval()).await.map_err(errors::store)?;
    let mut items = Vec::with_capacity(segments.len());
    for segment in segments {
        let index = match kernel.fragment_index(scope, &segment).await {
            Ok(index) => index,
            Err(error) => {
                // Unreadable bytes are a hole, not a failure.
                tracing::warn!(segment = %segment.id, %error, "left out of playback");
                continue;
            }
        };
        let audio = segment.params.audio.as_ref().map_or("", |audio| audio.codec_string.as_str());
        let codecs = format!(
            "{} {}x{} {audio}",
            segment.params.codec_string, segment.params.width, segment.params.height
        );
        let mut cut = cut_tail(session, &segment, &index);
        if let Some(cut) = &mut cut {
            cut.len = cut_bytes(kernel, session, &segment, index.clone(), cut.first)
                .await
                .ok()
                .map(|b| b.len() as u64);
        }
        items.push(HlsItem {
            url: format!("/media/recordings/{}/{}", segment.stream.camera, segment.name.file_name()),
            start: segment.start(),
            end: segment.end,
            open: segment.open,
            holes: segment.holes.iter().map(|hole| Interval::new(hole.start, hole.end)).collect(),
            index,
            codecs,
            cut,
        });
    }
    Ok(items)
}

/// The HLS segment in which the session ends, unless it ends exactly behind a group of pictures.
fn cut_tail(session: &Session, segment: &SegmentInfo, index: &heldar_bmff::FragmentIndex) -> Option<CutTail> {
    let to = session.window.to;
    if to <= segment.start() || to >= segment.end {
        return None;
    }
    let ticks = u64::try_from((to - segment.start()).to_ticks(VIDEO_TIMESCALE)).ok()?;
    let last = index.at_or_before(ticks.saturating_sub(1))?;
    let group = index.gop_of(last)?;
    let exact = index.end_of(group.end - 1)? <= ticks;
    if exact {
        return None;
    }
    let first = split(index, group).into_iter().find(|part| part.contains(&last))?.start;
    let url = format!("/media/playback/{}/seg_{}_{first}.m4s", session.id, segment.start().0);
    Some(CutTail { first, url, len: None, end: to })
}

async fn index(kernel: &Kernel, caller: &Caller, session: &Session) -> Result<Response, ApiError> {
    let items = items(kernel, caller, session).await?;
    let reached = items.last().is_some_and(|item| item.end >= session.window.to);
    let complete =
        reached || session.window.to <= kernel.clock.wall() && !items.last().is_some_and(|item| item.open);
    let window =
        PlaylistWindow { from: session.window.from, to: session.window.to, origin: session.origin, complete };
    let text = playlist(window, &items).ok_or_else(ApiError::no_footage)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/vnd.apple.mpegurl")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, text).into_response())
}

async fn cut(
    kernel: &Kernel,
    caller: &Caller,
    session: &Session,
    name: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let missing = || ApiError::not_found("segment");
    let (start, first) = name.split_once('_').ok_or_else(missing)?;
    let (Ok(start), Ok(first)) = (start.parse::<i64>(), first.parse::<usize>()) else {
        return Err(missing());
    };
    let scope = caller.scope();
    let segments =
        kernel.segments_in(scope, &session.stream, session.window.interval()).await.map_err(errors::store)?;
    let segment = segments.into_iter().find(|segment| segment.start().0 == start).ok_or_else(missing)?;
    let index = kernel.fragment_index(scope, &segment).await.map_err(errors::footage)?;
    if cut_tail(session, &segment, &index).is_none_or(|cut| cut.first != first) {
        return Err(missing());
    }
    let bytes = cut_bytes(kernel, session, &segment, index, first).await?;
    let ranged = Ranged {
        content_type: MP4,
        length: Length::Final(bytes.len() as u64),
        etag: None,
        last_modified: None,
        cache_control: Some(HeaderValue::from_static("no-store")),
    };
    ranged.respond(method, headers, kernel.clock.wall(), bytes)
}

/// The bytes of the HLS segment that begins with a fragment, up to the picture needed at the end of the session.
async fn cut_bytes(
    kernel: &Kernel,
    session: &Session,
    segment: &SegmentInfo,
    index: heldar_bmff::FragmentIndex,
    first: usize,
) -> Result<Bytes, ApiError> {
    let file = open(kernel, segment).await?;
    let init = read_init(file.clone()).await?;
    let until = u64::try_from((session.window.to - segment.start()).to_ticks(VIDEO_TIMESCALE)).unwrap_or(0);
    let base = u64::try_from((segment.start() - session.origin).to_ticks(VIDEO_TIMESCALE)).unwrap_or(0);
    let bytes =
        tokio::task::spawn_blocking(move || cut_group(&*file, &index, first, until, base, &init.tracks));
    let bytes = bytes.await.map_err(ApiError::internal)?;
    Ok(Bytes::from(bytes.map_err(|error| ApiError::of(Code::StorageError).with_cause(error))?))
}
