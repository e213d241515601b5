//! The test of a camera's stream.

use axum::extract::State;
use heldar_base::{Capability, ReasonClass};
use heldar_http::{Access, ApiError, Caller, Code, Doc, Json, RouteTable};
use serde::Serialize;
use utoipa::ToSchema;

use super::{find, removed};
use crate::api::{Api, words};
use crate::registry::{self, Probe, ProbeFailure};

/// What a test found.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = StreamTest)]
pub(super) struct StreamTest {
    /// Whether pictures came.
    reachable: bool,
    /// The URL, userinfo masked.
    url: String,
    /// Codec of the pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    codec: Option<&'static str>,
    /// Displayed width in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    width: Option<u32>,
    /// Displayed height in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    height: Option<u32>,
    /// Why no pictures came, masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
    /// Class of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<words::ReasonClass>, nullable = false)]
    reason_class: Option<ReasonClass>,
    /// What RTP is carried over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<words::Transport>, nullable = false)]
    transport: Option<&'static str>,
    /// Pictures per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    fps: Option<f64>,
    /// Codec in which the sound is carried.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    audio_codec: Option<&'static str>,
    /// Time to the first picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    first_picture_ms: Option<u64>,
}

pub(super) fn routes(table: &mut RouteTable<Api>) {
    let doc = |id| {
        Doc::new(id, "cameras", "Test the recorded stream of a camera")
            .details("At most 12 s. A session that runs already answers for the stream.")
            .json::<StreamTest>(200, "What the test found; a camera that cannot be reached is no error.")
            .fails(&[Code::NoStreamUrl, Code::Conflict, Code::Busy])
    };
    let (path, access) = ("/api/v1/cameras/{id}/test", Access::cam(Capability::CameraRead));
    table.add(axum::http::Method::GET, path, access, test, doc("getStreamTest"));
    table.add(axum::http::Method::POST, path, access, test, doc("testStream"));
}

async fn test(
    State(kernel): State<Api>,
    caller: Caller,
    heldar_http::Camera(id): heldar_http::Camera,
) -> Result<Json<StreamTest>, ApiError> {
    let camera = find(&kernel, &caller, &id).await?;
    if camera.removed_at.is_some() {
        return Err(removed());
    }
    match Box::pin(registry::probe(&kernel, &camera)).await {
        Ok(probe) => Ok(Json(StreamTest::of(probe))),
        Err(ProbeFailure::NoUrl) => Err(ApiError::of(Code::NoStreamUrl)),
        Err(ProbeFailure::Busy) => Err(ApiError::new(Code::Busy, "another test of this camera is running")),
    }
}

impl StreamTest {
    fn of(probe: Probe) -> Self {
        let url = probe.url;
        match probe.outcome {
            Ok(reached) => StreamTest {
                reachable: true,
                url,
                codec: Some(reached.video.codec.as_str()),
                width: Some(reached.video.width),
                height: Some(reached.video.height),
                transport: reached.transport.map(heldar_ingest::TransportUsed::as_str),
                fps: reached.fps,
                audio_codec: reached.audio_codec,
                first_picture_ms: reached
                    .first_picture
                    .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
                ..StreamTest::default()
            },
            Err(error) => StreamTest {
                url,
                error: Some(error.detail),
                reason_class: Some(error.class),
                ..StreamTest::default()
            },
        }
    }
}
