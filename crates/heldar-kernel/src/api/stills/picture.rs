//! `GET /api/v1/cameras/{id}/picture` (perception.md 6.6): the exact picture of an instant, or a part of it, at full
//! resolution.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use heldar_base::{Capability, Clock as _, Interval, Micros, Scope, StreamId, StreamKind, WallTime};
use heldar_decode::wire::{Crop, Format, Output};
use heldar_http::{
    Access, ApiError, Camera, Code, Doc, ETag, Precondition, Query, Reason, RouteTable, Validators,
    precondition,
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use utoipa::IntoParams;

use super::{QUALITY, TAG, jpeg, shot_error, text, width};
use crate::api::requester::Requester;
use crate::api::{Api, errors};
use crate::kernel::Kernel;
use crate::reads::Read;
use crate::stills::{Absence, Shot, ShotError, Source, Unwritten};

/// Boxes may stand out of the picture by so much.
const SLACK: f64 = 0.01;
/// How often it is looked whether an instant has been received.
const LOOK: Duration = Duration::from_millis(100);
/// How many looks a fragment that has left memory may take to be in its file.
const WRITTEN_WITHIN: u32 = 10;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/api/v1/cameras/{id}/picture",
        Access::cam_either(Capability::VideoPlayback, Capability::AiFrames),
        picture,
        Doc::new("getPicture", TAG, "The exact recorded picture on display at an instant, or a part of it")
            .details(
                "`ai:frames` without `video:playback` is enough for an instant within `HELDAR_AI_PICTURE_WINDOW_S` of now.",
            )
            .query::<PictureQuery>()
            .content(200, "image/jpeg", "The picture.")
            .headers(&[
                ("ETag", "Tells the picture and its form."),
                ("x-picture-at", "When the picture was captured."),
                ("x-picture-offset-ms", "How long before the instant that was."),
                ("x-picture-width", "Of the JPEG, in pixels."),
                ("x-picture-height", "Of the JPEG, in pixels."),
                ("x-picture-source", "`recording`, or `live_gop` while the picture is not in a file yet."),
                ("x-picture-segment", "Of a recorded picture: the segment whose file has it."),
                ("x-picture-pts", "Of a recorded picture: when it is shown, in microseconds from the beginning of that file."),
                ("x-picture-crop", "The part really shown: `x,y,w,h` in 0..1."),
            ])
            .empty(304, "The picture is the one that the client has.")
            .fails(&[Code::Validation, Code::NotFound, Code::StorageError, Code::Busy]),
    );
}

#[derive(Deserialize, IntoParams)]
struct PictureQuery {
    /// The instant.
    #[param(value_type = String, format = DateTime)]
    at: WallTime,
    /// `x,y,w,h` in 0..1: only this part.
    crop: Option<String>,
    /// Share of the part that is added on each side, 0 to 1.
    #[param(minimum = 0, maximum = 1)]
    pad: Option<f64>,
    /// Width at most, 16 to 7680; pictures are never scaled up.
    #[param(minimum = 16, maximum = 7680)]
    width: Option<i64>,
    /// How far from footage the instant may lie, 0 to 10000.
    #[param(minimum = 0, maximum = 10000)]
    tolerance_ms: Option<i64>,
    /// How long to wait for an instant that has not been received yet, 0 to 10000.
    #[param(minimum = 0, maximum = 10000)]
    wait_ms: Option<i64>,
}

impl PictureQuery {
    fn tolerance(&self) -> Micros {
        Micros::from_millis(self.tolerance_ms.unwrap_or(500).clamp(0, 10_000))
    }

    fn wait(&self) -> Micros {
        Micros::from_millis(self.wait_ms.unwrap_or(0).clamp(0, 10_000))
    }

    fn part(&self) -> Result<Option<Crop>, ApiError> {
        let Some(text) = &self.crop else { return Ok(None) };
        let wrong = |why: &'static str| ApiError::validation("crop", why);
        let numbers: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
        let Some([x, y, w, h]) = numbers.as_deref() else {
            return Err(wrong("`crop` is four numbers, `x,y,w,h`"));
        };
        let inside = |at: f64| (-SLACK..=1.0 + SLACK).contains(&at);
        if ![*x, *y, x + w, y + h].into_iter().all(inside) || *w < 0.0 || *h < 0.0 {
            return Err(wrong("`crop` must lie inside the picture, 0..1, with width and height not below 0"));
        }
        let pad = self.pad.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&pad) {
            return Err(ApiError::validation("pad", "`pad` is 0 to 1"));
        }
        let (dx, dy) = (w * pad, h * pad);
        let (left, top) = ((x - dx).clamp(0.0, 1.0), (y - dy).clamp(0.0, 1.0));
        let (right, bottom) = ((x + w + dx).clamp(0.0, 1.0), (y + h + dy).clamp(0.0, 1.0));
        let crop = [left, top, right - left, bottom - top].map(|value| value as f32);
        Ok(Some(Crop { x: crop[0], y: crop[1], w: crop[2], h: crop[3] }))
    }
}

async fn picture(
    State(kernel): State<Api>,
    Requester { caller, author }: Requester,
    Camera(id): Camera,
    method: Method,
    headers: HeaderMap,
    Query(query): Query<PictureQuery>,
) -> Result<Response, ApiError> {
    if !caller.principal().can(Capability::VideoPlayback) {
        let window = kernel.settings.perception.picture_window_secs;
        if (query.at - kernel.clock.wall()).abs() > Micros::from_secs(window.into()) {
            let bounds = format!("ai:frames reaches {window} s back");
            return Err(ApiError::beyond_bounds(Capability::VideoPlayback, &bounds));
        }
    }
    let crop = query.part()?;
    let output = Output { format: Format::Jpeg(QUALITY), width: width(query.width, 16, 7680), crop };
    let camera = kernel.store.camera(caller.scope(), &id).await.map_err(errors::store)?;
    let camera = camera.ok_or_else(|| ApiError::not_found("camera"))?;
    let deadline = tokio::time::Instant::now() + query.wait().to_std();
    let found = loop {
        match Box::pin(nearest(&kernel, caller.scope(), &camera, &query, output)).await {
            Err(ShotError::NoFootage(Absence::Future)) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(LOOK).await;
            }
            found => break found,
        }
    };
    let shot = found.map_err(|error| match error {
        ShotError::NoFootage(absence) => absent(absence),
        error => shot_error(error),
    })?;
    let etag = ETag::strong(&tag(&shot, &output));
    let mut out = HeaderMap::new();
    if let Some(etag) = &etag {
        text(&mut out, "etag", etag.as_str());
    }
    if precondition(&method, &headers, Validators { etag: etag.as_ref(), last_modified: None })
        == Precondition::NotModified
    {
        return Ok((StatusCode::NOT_MODIFIED, out).into_response());
    }
    kernel.read(&author, &camera.id, Read::Snapshot, Interval::new(shot.captured_at, shot.captured_at));
    text(&mut out, "x-picture-at", &shot.captured_at.to_string());
    text(&mut out, "x-picture-offset-ms", &((query.at - shot.captured_at).0 / 1000).to_string());
    text(&mut out, "x-picture-width", &shot.image.width.to_string());
    text(&mut out, "x-picture-height", &shot.image.height.to_string());
    let source = match &shot.source {
        Source::Group => "live_gop",
        Source::Recording { .. } => "recording",
    };
    text(&mut out, "x-picture-source", source);
    if let Source::Recording { segment, pts } = &shot.source {
        text(&mut out, "x-picture-segment", &segment.to_string());
        text(&mut out, "x-picture-pts", &pts.0.to_string());
    }
    if let Some(Crop { x, y, w, h }) = shot.image.crop {
        text(&mut out, "x-picture-crop", &format!("{x:.6},{y:.6},{w:.6},{h:.6}"));
    }
    let mut response = jpeg(shot.image, out);
    let cache = axum::http::HeaderValue::from_static("private, no-cache");
    response.headers_mut().insert(header::CACHE_CONTROL, cache);
    Ok(response)
}

/// The picture at the instant, or at the edge of footage that is near enough.
async fn nearest(
    kernel: &Kernel,
    scope: &Scope,
    camera: &heldar_store::Camera,
    query: &PictureQuery,
    output: Output,
) -> Result<Shot, ShotError> {
    let stream = kernel.picture_stream(scope, camera, query.at).await?;
    let mut exact = kernel.recorded_shot(scope, &stream, query.at, output).await;
    for _ in 0..WRITTEN_WITHIN {
        if !matches!(exact, Err(ShotError::NoFootage(Absence::Future))) {
            break;
        }
        match kernel.unwritten_shot(&stream, query.at, output).await? {
            Unwritten::Shot(shot) => return Ok(shot),
            Unwritten::BeingWritten => tokio::time::sleep(LOOK).await,
            Unwritten::NotThere => break,
        }
        exact = kernel.recorded_shot(scope, &stream, query.at, output).await;
    }
    let tolerance = query.tolerance();
    let Err(ShotError::NoFootage(absence)) = exact else { return exact };
    if tolerance == Micros::ZERO {
        return Err(ShotError::NoFootage(absence));
    }
    let edge = kernel.nearest_footage(scope, &stream, query.at, tolerance).await?;
    // An instant that is still to come is waited for rather than taken for the newest picture.
    let waits = absence == Absence::Future && query.wait() > Micros::ZERO;
    match edge.filter(|_| !waits) {
        Some(edge) => kernel.recorded_shot(scope, &stream, edge, output).await,
        None => Err(ShotError::NoFootage(absence)),
    }
}

impl Kernel {
    /// The stream that pictures of an instant are taken from: main, or sub where only that is recorded.
    async fn picture_stream(
        &self,
        scope: &Scope,
        camera: &heldar_store::Camera,
        at: WallTime,
    ) -> Result<StreamId, ShotError> {
        let stream = |kind| StreamId::new(camera.id.clone(), kind);
        let around = Interval::new(at - Micros(1), at + Micros(1));
        let sub = stream(StreamKind::Sub);
        let main = stream(StreamKind::Main);
        let store = crate::footage::FootageError::Store;
        if camera.fields.record_stream == StreamKind::Sub
            && self.segments_in(scope, &main, around).await.map_err(store)?.is_empty()
        {
            return Ok(sub);
        }
        Ok(main)
    }

    /// The instant with footage that is nearest to another, if it is near enough.
    async fn nearest_footage(
        &self,
        scope: &Scope,
        stream: &StreamId,
        at: WallTime,
        tolerance: Micros,
    ) -> Result<Option<WallTime>, ShotError> {
        let window = Interval::new(at - tolerance, at + tolerance);
        let segments =
            self.segments_in(scope, stream, window).await.map_err(crate::footage::FootageError::Store)?;
        let mut edges = Vec::new();
        for segment in &segments {
            edges.extend([segment.start(), segment.end]);
            for hole in &segment.holes {
                edges.extend([hole.start - Micros(1), hole.end]);
            }
        }
        let near = edges.into_iter().filter(|edge| (*edge - at).abs() <= tolerance);
        Ok(near.min_by_key(|edge| (*edge - at).abs()))
    }
}

fn absent(absence: Absence) -> ApiError {
    let (reason, why) = match absence {
        Absence::Future => (Reason::Future, "this instant has not been received yet"),
        Absence::Gap => (Reason::Gap, "footage has a hole at this instant"),
        Absence::NotRecorded => (Reason::NotRecorded, "nothing was recorded at this instant"),
        Absence::Expired => (Reason::Expired, "the footage of this instant has been deleted"),
    };
    ApiError::new(Code::NotFound, why).with_reason(reason)
}

/// Tells a picture and its form from every other.
fn tag(shot: &Shot, output: &Output) -> String {
    let mut hash = Sha256::new();
    hash.update(shot.captured_at.0.to_be_bytes());
    hash.update(output.width.to_be_bytes());
    for value in shot.image.crop.iter().flat_map(|crop| [crop.x, crop.y, crop.w, crop.h]) {
        hash.update(value.to_be_bytes());
    }
    hash.update(&shot.image.data);
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(crop: &str, pad: Option<f64>) -> Result<[f32; 4], String> {
        let query = PictureQuery {
            at: WallTime(0),
            crop: Some(crop.to_owned()),
            pad,
            width: None,
            tolerance_ms: None,
            wait_ms: None,
        };
        let crop = query.part().map_err(|error| error.text().to_owned())?.expect("a part");
        Ok([crop.x, crop.y, crop.w, crop.h])
    }

    #[test]
    fn parts_are_checked_padded_and_kept_inside() {
        assert_eq!(part("0.25, 0.5,0.25,0.25", None), Ok([0.25, 0.5, 0.25, 0.25]));
        assert_eq!(part("0.25,0.5,0.5,0.25", Some(0.5)), Ok([0.0, 0.375, 1.0, 0.5]));
        assert_eq!(part("-0.005,0,1.01,1", None), Ok([0.0, 0.0, 1.0, 1.0]));
        for (wrong, pad) in [
            ("1,2", None),
            ("a,b,c,d", None),
            ("0,0,1.2,1", None),
            ("0,0,-0.1,1", None),
            ("0,0,1,1", Some(2.0)),
            ("NaN,0,1,1", None),
        ] {
            assert!(part(wrong, pad).is_err(), "{wrong}");
        }
    }
}
