//! Pictures of zone events (perception.md 12, 13.5), and their files (media.md 12).

use std::fs::File;
use std::io::Read as _;

use axum::extract::State;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse as _, Response};
use heldar_base::{Capability, Interval};
use heldar_http::{Access, ApiError, Caller, Code, Doc, Path, RouteTable};
use heldar_store::{StoredZoneEvent, ZoneEventId};

use super::TAG;
use crate::api::requester::Requester;
use crate::api::{Api, errors};
use crate::reads::Read;
use crate::zones::evidence_name;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table
        .add(
            Method::GET,
            "/api/v1/zone-events/{zev_id}/evidence",
            Access::res(Capability::EventsRead),
            of_event,
            Doc::new("getZoneEvidence", TAG, "The picture that a zone event was seen in")
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

async fn of_event(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let found = find(&kernel, &who.caller, ZoneEventId::parse(&id)).await?;
    picture(&kernel, &who, found).await
}

async fn file(
    State(kernel): State<Api>,
    who: Requester,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let id = name.strip_prefix("zoneevt_").and_then(|rest| rest.strip_suffix(".jpg"));
    let found = find(&kernel, &who.caller, id.and_then(ZoneEventId::parse)).await?;
    picture(&kernel, &who, found).await
}

async fn picture(kernel: &Api, who: &Requester, found: StoredZoneEvent) -> Result<Response, ApiError> {
    let of = found.zone_event;
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
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable"));
    Ok(response)
}
