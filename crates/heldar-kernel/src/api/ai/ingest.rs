//! Results of workers (perception.md 8).

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{Method, header};
use heldar_base::{Capability, PublicId};
use heldar_http::{Access, ApiError, Caller, Code, Doc, Json, JsonUpTo, RouteTable};
use heldar_perception::batch::BatchBody;
use heldar_store::Batch;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::TAG;
use super::leases::refused;
use crate::api::{Api, errors};
use crate::perception::{IngestError, Ingested, Outcome, Room};

/// Largest body.
const LIMIT: usize = 8 << 20;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::POST,
        "/api/v1/ai/events",
        Access::body(Capability::AiIngest),
        ingest,
        Doc::new("ingestResults", TAG, "Bring the results for one frame")
            .details(
                "Answered after the commit. The same frame and part sent again is a duplicate and does no harm; an empty list \
                 of detections says that nothing was seen. With the frame's ticket, camera, type, frame id and time are \
                 those of the frame. At most 1000 detections; the body may have 8 MiB.",
            )
            .body::<Results>()
            .json::<Taken>(200, "What became of it.")
            .fails(&[Code::Unauthenticated, Code::NotFound, Code::Conflict, Code::Busy]),
    );
}

/// The results for one frame.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body, which is read without a tree of its JSON")]
struct Results {
    /// Camera that was looked at.
    camera_id: String,
    /// Type of the task.
    task_type: String,
    /// When the picture was captured; now by default.
    #[schema(value_type = Option<String>, format = DateTime)]
    timestamp: Option<String>,
    /// Name of the picture: the same one never takes effect twice.
    frame_id: Option<String>,
    /// The ticket that came with the picture.
    frame_ticket: Option<String>,
    /// Which of several posts about the same picture, 0 to 63.
    part: Option<u8>,
    /// The task, where no ticket names it.
    task_id: Option<String>,
    /// What was seen.
    detections: Option<Vec<NewDetection>>,
    /// An event to raise with it.
    event: Option<NewEvent>,
}

/// One thing that was seen.
#[derive(ToSchema)]
#[schema(as = ResultDetection)]
#[expect(dead_code, reason = "describes a part of the body")]
struct NewDetection {
    /// What it is; at most 256 characters.
    label: Option<String>,
    /// How sure the worker is, 0 to 1.
    confidence: Option<f64>,
    /// Where it is: x, y, width, height in shares of the picture.
    bbox: Option<Vec<f64>>,
    /// Names the same thing in other pictures; at most 256 characters.
    track_id: Option<String>,
    /// When, within 60 s of the batch's.
    #[schema(value_type = Option<String>, format = DateTime)]
    timestamp: Option<String>,
    /// Anything else. `source` and `_prov` are the server's to write.
    attributes: Option<Value>,
}

/// An event that comes with results.
#[derive(ToSchema)]
#[schema(as = ResultEvent)]
#[expect(dead_code, reason = "describes a part of the body")]
struct NewEvent {
    /// Its type: up to 64 of a-z, 0-9 and _; none of the server's own.
    event_type: String,
    /// `info` (default) or `warning`; anything else is `warning`.
    severity: Option<String>,
    /// Any JSON.
    payload: Option<Value>,
}

/// What became of results.
#[derive(Default, Serialize, ToSchema)]
struct Taken {
    /// Detections that were stored.
    detections_ingested: usize,
    /// Whether a ticket was shown.
    ticketed: bool,
    /// True when this part of this frame was stored before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    duplicate: Option<bool>,
    /// True when "nothing seen" was merged with the one before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    heartbeat: Option<bool>,
    /// The stored batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    batch_id: Option<PublicId>,
    /// Its place in commit order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    seq: Option<i64>,
    /// The stored event.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    event_id: Option<String>,
}

impl From<Ingested> for Taken {
    fn from(Ingested { ticketed, outcome }: Ingested) -> Self {
        let base = Taken { ticketed, ..Taken::default() };
        match outcome {
            Outcome::Stored { detections, seq, event_id } => Taken {
                detections_ingested: detections,
                batch_id: Some(Batch::public(seq)),
                seq: Some(seq),
                event_id,
                ..base
            },
            Outcome::Duplicate { seq, event_id } => Taken {
                duplicate: Some(true),
                batch_id: Some(Batch::public(seq)),
                seq: Some(seq),
                event_id,
                ..base
            },
            Outcome::Heartbeat => Taken { heartbeat: Some(true), ..base },
        }
    }
}

/// Room for the body that follows, taken before it is read.
struct Admitted(Room);

impl FromRequestParts<Api> for Admitted {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, kernel: &Api) -> Result<Self, ApiError> {
        let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        // A body that does not say how long it is may be as long as any.
        let length = length.and_then(|text| text.parse().ok()).unwrap_or(LIMIT).min(LIMIT);
        let room = kernel.perception.room(u32::try_from(length).unwrap_or(u32::MAX));
        room.map(Admitted).map_err(ingest_error)
    }
}

async fn ingest(
    State(kernel): State<Api>,
    caller: Caller,
    Admitted(room): Admitted,
    JsonUpTo(body): JsonUpTo<BatchBody, LIMIT>,
) -> Result<Json<Taken>, ApiError> {
    let taken = kernel.ingest(caller.principal(), body, room).await.map_err(ingest_error)?;
    Ok(Json(taken.into()))
}

fn ingest_error(error: IngestError) -> ApiError {
    let code = match error {
        IngestError::Refused(why) => return refused(why),
        IngestError::Store(error) => return errors::store(error),
        IngestError::OutOfScope => return ApiError::out_of_scope(),
        IngestError::UnknownCamera => return ApiError::not_found("camera"),
        IngestError::Broken => return ApiError::internal(error),
        IngestError::Busy | IngestError::Slow => Code::Busy,
        IngestError::TicketRequired | IngestError::Ticket(_) | IngestError::NoLease => Code::Unauthenticated,
        IngestError::NotEnabled => Code::Forbidden,
        IngestError::Disagrees | IngestError::TaskMismatch(_) => Code::Conflict,
    };
    ApiError::new(code, error.to_string())
}
