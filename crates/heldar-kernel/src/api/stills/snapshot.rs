//! `GET /api/v1/cameras/{id}/snapshot` (media.md 9.3).

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use heldar_base::{Capability, Interval, StreamKind, WallTime};
use heldar_decode::wire::{Format, Output};
use heldar_http::{Access, ApiError, Camera, Code, Doc, Query, RouteTable};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{QUALITY, TAG, jpeg, live_error, shot_error, text, width};
use crate::api::requester::Requester;
use crate::api::{Api, errors};
use crate::reads::Read;

/// Longest time for one.
const LONGEST: Duration = Duration::from_secs(20);

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/api/v1/cameras/{id}/snapshot",
        Access::cam(Capability::VideoPlayback),
        snapshot,
        Doc::new("getSnapshot", TAG, "One picture: of an instant of footage, or the newest of the camera")
            .details(
                "With `at` the last picture captured at or before it, exactly. Without, the newest picture of the running \
                 session; where none runs, one is started as for a viewer. At most 20 s.",
            )
            .query::<SnapshotQuery>()
            .content(200, "image/jpeg", "The picture.")
            .headers(&[("X-Heldar-Captured-At", "When the picture was captured.")])
            .fails(&[
                Code::NotFound,
                Code::NoFootage,
                Code::NoStreamUrl,
                Code::CameraDisabled,
                Code::StorageError,
                Code::DeviceUnreachable,
                Code::DeviceTimeout,
                Code::Busy,
            ]),
    );
}

#[derive(Deserialize, IntoParams)]
struct SnapshotQuery {
    /// The instant; by default now.
    #[param(value_type = Option<String>, format = DateTime)]
    at: Option<WallTime>,
    /// `main` or `sub`. By default what is recorded, and of a live camera the sub stream where there is one.
    #[param(value_type = Option<String>)]
    stream: Option<StreamKind>,
    /// Width at most, 16 to 3840; pictures are never scaled up.
    #[param(minimum = 16, maximum = 3840)]
    width: Option<i64>,
}

async fn snapshot(
    State(kernel): State<Api>,
    Requester { caller, author }: Requester,
    Camera(id): Camera,
    Query(query): Query<SnapshotQuery>,
) -> Result<Response, ApiError> {
    let camera = kernel.store.camera(caller.scope(), &id).await.map_err(errors::store)?;
    let camera = camera.ok_or_else(|| ApiError::not_found("camera"))?;
    let output = Output { format: Format::Jpeg(QUALITY), width: width(query.width, 16, 3840), crop: None };
    let shot = async {
        match query.at {
            Some(at) => {
                let around = Interval::new(at, at + heldar_base::Micros(1));
                let stream = kernel.stream_asked(caller.scope(), &camera, query.stream, around.into()).await;
                let stream = stream.map_err(errors::store)?;
                kernel.recorded_shot(caller.scope(), &stream, at, output).await.map_err(shot_error)
            }
            None if camera.removed_at.is_some() => Err(ApiError::not_found("camera")),
            None => Box::pin(kernel.live_shot(&camera, query.stream, output)).await.map_err(live_error),
        }
    };
    let shot = tokio::time::timeout(LONGEST, shot).await;
    let shot = shot.map_err(|_elapsed| ApiError::of(Code::Busy))??;
    let captured_at = shot.captured_at;
    kernel.read(&author, &camera.id, Read::Snapshot, Interval::new(captured_at, captured_at));
    let mut headers = HeaderMap::new();
    text(&mut headers, "x-heldar-captured-at", &captured_at.to_string());
    Ok(jpeg(shot.image, headers))
}
