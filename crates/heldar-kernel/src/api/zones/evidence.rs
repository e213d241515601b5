//! Pictures of zone events (perception.md 12, 13.5), and their files (media.md 12).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;

use axum::extract::State;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse as _, Response};
use heldar_base::{Capability, Interval, Micros};
use heldar_http::{Access, ApiError, Caller, Code, Doc, Path, Query, RouteTable};
use heldar_store::{DetectionBox, DetectionFilter, StoredZoneEvent, TimeRange, ZoneEvent, ZoneEventId};
use heldar_zones::Kind;
use serde::Deserialize;
use utoipa::IntoParams;

use super::TAG;
use crate::api::requester::Requester;
use crate::api::{Api, errors};
use crate::pixels::Pixels;
use crate::reads::Read;
use crate::zones::overlay::Overlay;
use crate::zones::{evidence_name, of_row};

/// How far back the way of a track is drawn.
const WAY: Micros = Micros::from_secs(10);
/// Points of it at most.
const STEPS: u32 = 200;
/// Of a picture that was drawn on.
const QUALITY: u8 = 88;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table
        .add(
            Method::GET,
            "/api/v1/zone-events/{zev_id}/evidence",
            Access::res(Capability::EventsRead),
            of_event,
            Doc::new("getZoneEvidence", TAG, "The picture that a zone event was seen in")
                .query::<Shown>()
                .content(200, "image/jpeg", "The frame that was analysed, or else the recorded picture.")
                .fails(&[Code::NotFound, Code::StorageError]),
        )
        .add(
            Method::GET,
            "/media/snapshots/{file}",
            Access::res(Capability::VideoPlayback),
            file,
            Doc::new("getEvidenceFile", TAG, "The file of the picture of a zone event")
                .content(200, "image/jpeg", "The picture.")
                .fails(&[Code::NotFound, Code::StorageError]),
        );
}

async fn find(kernel: &Api, caller: &Caller, id: Option<ZoneEventId>) -> Result<StoredZoneEvent, ApiError> {
    let missing = || caller.missing("zone event");
    let id = id.ok_or_else(missing)?;
    let found = kernel.store.zone_event(caller.scope(), id).await.map_err(errors::store)?;
    found.ok_or_else(missing)
}

/// How a picture is shown.
#[derive(Deserialize, IntoParams)]
struct Shown {
    /// Draws the zone as it is now, the way of the track in the seconds before, and its box.
    #[serde(default, rename = "box")]
    #[param(required = false)]
    with_box: bool,
    /// Width at most, 16 to 7680; pictures are never scaled up.
    width: Option<i64>,
}

async fn of_event(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
    Query(shown): Query<Shown>,
) -> Result<Response, ApiError> {
    let found = find(&kernel, &who.caller, ZoneEventId::parse(&id)).await?;
    let stored = file_of(&kernel, &who, &found).await?;
    // The clamp leaves what a width can be.
    let width = shown.width.map(|width| width.clamp(16, 7680) as u32);
    if !shown.with_box && width.is_none() {
        return Ok(jpeg(stored));
    }
    let overlay = match shown.with_box {
        true => Some(overlay(&kernel, &who.caller, &found.zone_event).await?),
        false => None,
    };
    let drawn = tokio::task::spawn_blocking(move || {
        let mut pixels = Pixels::read(&stored)?;
        if let Some(width) = width {
            pixels = pixels.fit(width);
        }
        if let Some(overlay) = overlay {
            overlay.draw(&mut pixels);
        }
        pixels.jpeg(QUALITY)
    });
    let drawn = drawn.await.map_err(|_| ApiError::internal("drawing broke off"))?;
    let mut response = jpeg(drawn.map_err(ApiError::internal)?);
    // The zone may change.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

/// What there is to draw over the picture of a zone event.
async fn overlay(kernel: &Api, caller: &Caller, of: &ZoneEvent) -> Result<Overlay, ApiError> {
    let scope = caller.scope();
    let zone = kernel.store.zone(scope, of.zone).await.map_err(errors::store)?;
    let zone = zone.and_then(|row| of_row(&row).ok());
    let is_centre =
        zone.as_ref().and_then(|zone| zone.config().get("anchor")).is_some_and(|anchor| anchor == "center");
    let mut way = Vec::new();
    if let Some(track) = &of.track_id {
        let which = DetectionFilter {
            cameras: Some(BTreeSet::from([of.camera.clone()])),
            range: TimeRange { from: Some(of.id.timestamp - WAY), to: Some(of.id.timestamp + Micros(1)) },
            track_id: Some(track.clone()),
            task_type: of.task_type.clone(),
            ..DetectionFilter::default()
        };
        let seen = kernel.store.detections(scope, &which, None, STEPS).await.map_err(errors::store)?;
        let boxes = seen.rows.iter().rev().filter_map(|row| row.detection.bbox.map(DetectionBox::values));
        way = boxes.map(|[x, y, w, h]| [x + w / 2.0, y + if is_centre { h / 2.0 } else { h }]).collect();
    }
    let sure = of.confidence.map(|share| format!("{:.0} %", share.value() * 100.0));
    let said = [of.label.clone(), of.track_id.clone(), sure];
    let said: Vec<String> = said.into_iter().flatten().filter(|text| !text.is_empty()).collect();
    Ok(Overlay {
        zone: zone.as_ref().map(|zone| zone.polygon().collect()).unwrap_or_default(),
        is_closed: zone.as_ref().is_some_and(|zone| zone.kind() != Kind::Line),
        name: of.zone_name.clone(),
        way,
        bbox: of.bbox.map(DetectionBox::values),
        caption: said.join(" "),
    })
}

async fn file(
    State(kernel): State<Api>,
    who: Requester,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let id = name.strip_prefix("zoneevt_").and_then(|rest| rest.strip_suffix(".jpg"));
    let found = find(&kernel, &who.caller, id.and_then(ZoneEventId::parse)).await?;
    Ok(jpeg(file_of(&kernel, &who, &found).await?))
}

/// The picture of a zone event, which is noted as read.
async fn file_of(kernel: &Api, who: &Requester, found: &StoredZoneEvent) -> Result<Vec<u8>, ApiError> {
    let of = &found.zone_event;
    let none = || ApiError::new(Code::NotFound, "this zone event has no picture");
    if !of.has_evidence {
        return Err(none());
    }
    let (folder, name) = (kernel.snapshots.folder.clone(), evidence_name(of.id));
    let read = move || {
        let mut bytes = Vec::new();
        folder.open_evidence(&name).and_then(|mut file: File| file.read_to_end(&mut bytes)).map(|_| bytes)
    };
    let read =
        tokio::task::spawn_blocking(read).await.map_err(|_| ApiError::internal("reading broke off"))?;
    let bytes = read.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => none(),
        _ => ApiError::of(Code::StorageError).with_cause(error),
    })?;
    kernel.read(&who.author, &of.camera, Read::Snapshot, Interval::new(of.id.timestamp, of.id.timestamp));
    Ok(bytes)
}

fn jpeg(bytes: Vec<u8>) -> Response {
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable"));
    response
}
