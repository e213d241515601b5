//! Clips.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use heldar_base::{CameraId, Capability, Cause, Clock as _, Interval, Micros, PublicId, WallTime};
use heldar_http::{
    Access, ApiError, ByteSource, Caller, Camera, Code, Doc, ETag, Json, Length, Limit, List, Page, Path,
    Query, Ranged, RouteTable,
};
use heldar_store::op::{InsertClip, MarkClipsDeleting, RemoveClips};
use heldar_store::{Clip, ClipCursor, ClipFilter, Hole, TimeRange};
use heldar_timeline::HoleCause;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::playback::{attachment, audited, download_name, plan_error, stream_of, window_error};
use super::{Api, errors};
use crate::api::requester::Requester;
use crate::clips::{Cancel, ClipFolder, ExportError, new_id};
use crate::kernel::Kernel;
use crate::playback::{CLIP_TOLERANCE, Window};
use crate::registry::Target;

/// Longest wait for a job slot.
const SLOT_WAIT: Duration = Duration::from_secs(10);

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    const TAG: &str = "clips";
    let export = Capability::VideoExport;
    table
        .add(
            Method::POST,
            "/api/v1/cameras/{id}/clip",
            Access::cam(export),
            create,
            Doc::new("createClip", TAG, "Exports a window as a file")
                .body::<NewClip>()
                .json::<ClipResult>(200, "The clip; its file is complete.")
                .fails(&[Code::NoFootage, Code::Busy]),
        )
        .add(
            Method::GET,
            "/api/v1/cameras/{id}/clips",
            Access::cam(export),
            of_camera,
            Doc::new("listCameraClips", TAG, "Clips of a camera, newest first")
                .query::<CameraClips>()
                .page::<ClipResult>("Clips."),
        )
        .add(
            Method::GET,
            "/api/v1/clips",
            Access::filter(export),
            list,
            Doc::new("listClips", TAG, "Clips, newest first")
                .query::<ClipQuery>()
                .page::<ClipResult>("Clips."),
        )
        .add(
            Method::GET,
            "/api/v1/clips/{id}",
            Access::res(export),
            show,
            Doc::new("getClip", TAG, "One clip").json::<ClipResult>(200, "The clip."),
        )
        .add(
            Method::DELETE,
            "/api/v1/clips/{id}",
            Access::res(Capability::RegistryManage),
            delete,
            Doc::new("deleteClip", TAG, "Deletes a clip, file and row").empty(204, "Deleted."),
        )
        .add(
            Method::GET,
            "/media/clips/{file}",
            Access::res(export),
            file,
            Doc::new("getClipFile", TAG, "The file of a clip")
                .content(200, "video/mp4", "The file.")
                .content(206, "video/mp4", "A part of it."),
        );
}

/// A clip that is wanted.
#[derive(Deserialize, ToSchema)]
struct NewClip {
    /// First instant.
    #[schema(value_type = String, format = DateTime)]
    from: WallTime,
    /// First instant after.
    #[schema(value_type = String, format = DateTime)]
    to: WallTime,
    /// A name for people.
    #[serde(default)]
    name: Option<String>,
    /// A case that it belongs to.
    #[serde(default)]
    incident_id: Option<String>,
    /// True: exempt from the retention of clips.
    #[serde(default)]
    keep: Option<bool>,
    /// Name of the file when it is saved.
    #[serde(default)]
    filename: Option<String>,
}

/// An exported clip.
#[derive(Serialize, ToSchema)]
struct ClipResult {
    /// Its id.
    #[schema(value_type = String)]
    id: PublicId,
    /// Whose footage.
    camera_id: String,
    /// Name of its file.
    filename: String,
    /// Where to get it.
    url: String,
    /// First instant.
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
    /// Holes over one second, edges included.
    gaps: Vec<ClipGap>,
    /// Size of the file.
    size_bytes: i64,
    /// Segments that it was made from.
    segment_count: i64,
    /// Seconds that it plays.
    #[schema(value_type = f64)]
    media_seconds: Micros,
    /// Seconds that it carries unpresented before `from`.
    #[schema(value_type = f64)]
    lead_in_seconds: Micros,
    /// SHA-256 of the file.
    sha256: String,
    /// RFC 6381 strings.
    codecs: Vec<String>,
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// A case that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    incident_id: Option<String>,
    /// Exempt from the retention of clips.
    keep: bool,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// When retention removes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<WallTime>,
    /// Name of the file when it is saved.
    download_name: String,
}

/// Time without footage.
#[derive(Serialize, ToSchema)]
struct ClipGap {
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

impl ClipGap {
    /// A stored gap of a clip made at `made_at`: what lay ahead then is not missing.
    fn of(gap: &Hole, made_at: WallTime) -> Self {
        let ahead = gap.cause == Cause::Unknown && gap.end > made_at;
        let cause = if ahead { HoleCause::Ahead.as_str() } else { gap.cause.as_str() };
        ClipGap { from: gap.start, to: gap.end, cause }
    }
}

impl From<Clip> for ClipResult {
    fn from(clip: Clip) -> Self {
        ClipResult {
            id: clip.id,
            camera_id: clip.camera.to_string(),
            url: format!("/media/clips/{}", clip.filename),
            filename: clip.filename,
            from: clip.from,
            to: clip.to,
            requested_seconds: clip.to - clip.from,
            covered_seconds: Micros(clip.covered_us),
            gaps: clip.gaps.iter().map(|gap| ClipGap::of(gap, clip.created_at)).collect(),
            size_bytes: clip.size_bytes,
            segment_count: clip.segment_count,
            media_seconds: Micros(clip.media_us),
            lead_in_seconds: Micros(clip.lead_in_us),
            sha256: clip.sha256,
            codecs: clip.codecs,
            name: clip.name,
            incident_id: clip.incident_id,
            keep: clip.keep,
            created_by: clip.created_by,
            created_at: clip.created_at,
            expires_at: clip.expires_at,
            download_name: clip.download_name,
        }
    }
}

async fn create(
    State(kernel): State<Api>,
    who: Requester,
    camera: Camera,
    Json(body): Json<NewClip>,
) -> Result<Json<ClipResult>, ApiError> {
    let scope = who.caller.scope();
    let window = Window::new(body.from, body.to, kernel.settings.clips.max_length).map_err(window_error)?;
    let (found, stream) = stream_of(&kernel, &who.caller, &camera, None, window).await?;
    let slot = tokio::time::timeout(SLOT_WAIT, kernel.jobs.clone().acquire_owned()).await;
    let Ok(Ok(_slot)) = slot else {
        return Err(ApiError::new(Code::Busy, "every export slot is taken, try again").with_retry_after(5));
    };
    // Held until the file is complete: retention takes nothing of it meanwhile.
    let (_lease, _segments) =
        kernel.lease_footage(scope, &stream, window.interval()).await.map_err(errors::store)?;
    let plan = kernel.plan(scope, &stream, window).await.map_err(plan_error)?;
    let holes = kernel.window_holes(scope, &stream, window, CLIP_TOLERANCE).await.map_err(errors::store)?;
    let download_name = match body.filename.filter(|name| !name.trim().is_empty()) {
        Some(name) => name,
        None => download_name(&kernel, &found, window.from).await?,
    };
    let id = new_id();
    let filename = ClipFolder::file_name(id);
    let exported = export(&kernel, &plan, &filename).await?;
    let now = kernel.clock.wall();
    let keep = body.keep.unwrap_or(false);
    let clip = Clip {
        id,
        camera: found.id.clone(),
        filename,
        download_name,
        from: window.from,
        to: window.to,
        covered_us: holes.covered.0,
        media_us: Micros::from_ticks(plan.file.media_ticks().cast_signed(), 90_000).0,
        lead_in_us: Micros::from_ticks(plan.file.lead_in_ticks().cast_signed(), 90_000).0,
        gaps: holes.gaps.iter().map(hole).collect(),
        size_bytes: i64::try_from(exported.size).unwrap_or(i64::MAX),
        segment_count: i64::try_from(plan.segment_count).unwrap_or(i64::MAX),
        sha256: exported.sha256,
        codecs: plan.file.codecs().to_vec(),
        name: body.name,
        incident_id: body.incident_id,
        keep,
        created_by: Some(who.caller.principal().id.clone()),
        created_at: now,
        expires_at: kernel.settings.clips.retention.filter(|_| !keep).map(|hours| now + hours),
    };
    let detail = json!({ "from": window.from, "to": window.to, "clip_id": id });
    let entry = who.author.did(
        kernel.clock.wall(),
        "export_clip",
        Target { kind: "camera", id: found.id.as_str() },
        detail,
    );
    if let Err(error) = kernel.store.manage(InsertClip { clip: clip.clone() }, audited(entry)).await {
        remove_file(&kernel, clip.filename).await;
        return Err(errors::store(error));
    }
    Ok(Json(clip.into()))
}

fn hole(hole: &heldar_timeline::Hole) -> Hole {
    let cause = match hole.cause {
        HoleCause::Missing(cause) => cause,
        HoleCause::NotWanted | HoleCause::Ahead => Cause::Unknown,
    };
    Hole { start: hole.interval.start, end: hole.interval.end, cause }
}

async fn export(
    kernel: &Arc<Kernel>,
    plan: &crate::playback::Plan,
    filename: &str,
) -> Result<crate::clips::Exported, ApiError> {
    let folder = kernel.clips.clone();
    let (source, len) = (plan.source(kernel), plan.file.total_len());
    // Dropped with this future: a request that goes away ends its export.
    let cancel = Cancel::default();
    let flag = cancel.flag();
    let name = filename.to_owned();
    let task = tokio::task::spawn_blocking(move || folder.export(&name, &source, len, &flag));
    let outcome = task.await.map_err(ApiError::internal)?;
    outcome.map_err(|error| match error {
        ExportError::NoRoom => ApiError::new(Code::Busy, "too little free disk space for this clip"),
        error => ApiError::of(Code::StorageError).with_cause(error),
    })
}

async fn remove_file(kernel: &Arc<Kernel>, filename: String) {
    let folder = kernel.clips.clone();
    match tokio::task::spawn_blocking(move || folder.remove(&filename)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the file of a clip stays until the next start"),
        Err(_) => tracing::warn!("removing the file of a clip was interrupted"),
    }
}

/// A page of a camera's clips.
#[derive(Deserialize, IntoParams)]
struct CameraClips {
    /// Clips per page.
    #[serde(default)]
    #[param(inline)]
    limit: Limit<100, 1, 1000>,
    /// From the `Link` of the page before.
    #[serde(rename = "cursor")]
    #[param(value_type = Option<String>)]
    _cursor: Option<String>,
}

/// Which clips.
#[derive(Deserialize, IntoParams)]
struct ClipQuery {
    /// Of this camera.
    #[serde(default)]
    camera_id: Option<String>,
    /// Of this case.
    #[serde(default)]
    incident_id: Option<String>,
    /// Whose window ends after this.
    #[serde(default)]
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<WallTime>,
    /// Whose window begins before this.
    #[serde(default)]
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<WallTime>,
    /// Clips per page.
    #[serde(default)]
    #[param(inline)]
    limit: Limit<100, 1, 1000>,
    /// From the `Link` of the page before.
    #[serde(rename = "cursor")]
    #[param(value_type = Option<String>)]
    _cursor: Option<String>,
}

async fn of_camera(
    State(kernel): State<Api>,
    caller: Caller,
    camera: Camera,
    list: List,
    Query(query): Query<CameraClips>,
) -> Result<Page<ClipResult>, ApiError> {
    let known = kernel.store.camera(caller.scope(), &camera.0).await.map_err(errors::store)?;
    known.ok_or_else(|| ApiError::not_found("camera"))?;
    let filter = ClipFilter { camera: Some(camera.0), ..ClipFilter::default() };
    page(&kernel, &caller, &list, filter, query.limit.get()).await
}

async fn list(
    State(kernel): State<Api>,
    caller: Caller,
    list: List,
    Query(query): Query<ClipQuery>,
) -> Result<Page<ClipResult>, ApiError> {
    let camera = match query.camera_id.as_deref().map(CameraId::new) {
        None => None,
        Some(Ok(camera)) => Some(camera),
        // What cannot be a camera has no clips.
        Some(Err(_)) => return Ok(list.page(Vec::new(), None::<ClipCursor>)),
    };
    let filter = ClipFilter {
        camera,
        incident_id: query.incident_id,
        range: TimeRange { from: query.from, to: query.to },
    };
    page(&kernel, &caller, &list, filter, query.limit.get()).await
}

async fn page(
    kernel: &Kernel,
    caller: &Caller,
    list: &List,
    filter: ClipFilter,
    limit: u32,
) -> Result<Page<ClipResult>, ApiError> {
    let after: Option<ClipCursor> = list.position()?;
    let page =
        kernel.store.clips(caller.scope(), &filter, after.as_ref(), limit).await.map_err(errors::store)?;
    Ok(list.page(page.rows.into_iter().map(ClipResult::from).collect(), page.next))
}

async fn find(kernel: &Kernel, caller: &Caller, id: &str) -> Result<Clip, ApiError> {
    let id = PublicId::parse(Clip::PREFIX, id).map_err(|_| caller.missing("clip"))?;
    let clip = kernel.store.clip(caller.scope(), id).await.map_err(errors::store)?;
    clip.ok_or_else(|| caller.missing("clip"))
}

async fn show(
    State(kernel): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<ClipResult>, ApiError> {
    Ok(Json(find(&kernel, &caller, &id).await?.into()))
}

async fn delete(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let clip = find(&kernel, &who.caller, &id).await?;
    let detail = json!({ "camera_id": clip.camera });
    let entry = who.author.did(
        kernel.clock.wall(),
        "delete_clip",
        Target { kind: "clip", id: &clip.id.to_string() },
        detail,
    );
    let mark = MarkClipsDeleting { ids: vec![clip.id] };
    kernel.store.manage(mark, audited(entry)).await.map_err(errors::store)?;
    remove_file(&kernel, clip.filename).await;
    kernel.store.write(RemoveClips { ids: vec![clip.id] }).await.map_err(errors::store)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The bytes of a file outside the recordings folder.
struct WholeFile(Arc<std::fs::File>);

impl ByteSource for WholeFile {
    async fn read(&self, offset: u64, len: usize) -> std::io::Result<Bytes> {
        let file = self.0.clone();
        let read = tokio::task::spawn_blocking(move || {
            use std::os::unix::fs::FileExt as _;
            let mut buffer = vec![0; len];
            let count = file.read_at(&mut buffer, offset)?;
            buffer.truncate(count);
            Ok(Bytes::from(buffer))
        });
        read.await.unwrap_or_else(|_| Err(std::io::ErrorKind::Interrupted.into()))
    }
}

async fn file(
    State(kernel): State<Api>,
    Requester { caller, author }: Requester,
    Path(name): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if !name.ends_with(".mp4") {
        return Err(ApiError::of(Code::Forbidden));
    }
    let clip = kernel.store.clip_by_filename(caller.scope(), &name).await.map_err(errors::store)?;
    let clip = clip.ok_or_else(|| caller.missing("clip"))?;
    let path = kernel.clips.file(&clip.filename);
    let opened =
        tokio::task::spawn_blocking(move || std::fs::File::open(path)).await.map_err(ApiError::internal)?;
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(caller.missing("clip")),
        Err(error) => return Err(ApiError::of(Code::StorageError).with_cause(error)),
    };
    if method == Method::GET {
        kernel.downloaded(&author, &clip.camera, Interval::new(clip.from, clip.to), &headers);
    }
    let etag = ETag::strong(&clip.sha256);
    let ranged = Ranged {
        content_type: HeaderValue::from_static("video/mp4"),
        length: Length::Final(u64::try_from(clip.size_bytes).unwrap_or(0)),
        etag: etag.as_ref(),
        last_modified: Some(clip.created_at),
        cache_control: Some(HeaderValue::from_static("private, max-age=31536000, immutable")),
    };
    let source = WholeFile(Arc::new(file));
    let mut response = ranged.respond(&method, &headers, kernel.clock.wall(), source)?.into_response();
    response.headers_mut().insert(header::CONTENT_DISPOSITION, attachment(&clip.download_name));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lay_ahead_of_a_clip_is_not_missing() {
        let check = |end: i64, cause, expect| {
            let gap = Hole { start: WallTime(5), end: WallTime(end), cause };
            assert_eq!(ClipGap::of(&gap, WallTime(10)).cause, expect, "{end} {cause:?}");
        };
        check(11, Cause::Unknown, "not_yet");
        check(10, Cause::Unknown, "unknown");
        check(11, Cause::Refused, "refused");
    }
}
