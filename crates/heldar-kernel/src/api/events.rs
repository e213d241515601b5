//! Events (media.md 6, 25).

use axum::extract::State;
use axum::http::Method;
use heldar_base::{CameraId, Capability, SiteId, WallTime};
use heldar_http::{Access, ApiError, Caller, Code, Doc, Limit, List, Page, Query, RouteTable};
use heldar_store::{EventCursor, EventFilter, Severity, TimeRange};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{Api, errors, words};

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/api/v1/events",
        Access::filter(Capability::EventsRead),
        list,
        Doc::new("listEvents", "events", "List events")
            .details("Events that belong to no camera are hidden from callers that are limited to cameras.")
            .query::<Filter>()
            .page::<Event>("Newest first.")
            .fails(&[Code::BadCursor]),
    );
}

/// Something that happened.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Event {
    /// UUID.
    id: String,
    /// The camera that it is about.
    #[schema(value_type = Option<String>)]
    camera_id: Option<CameraId>,
    /// The site that the camera belongs to now.
    #[schema(value_type = Option<String>)]
    site_id: Option<SiteId>,
    /// Its type.
    event_type: String,
    /// How much it matters.
    #[schema(value_type = words::Severity)]
    severity: Severity,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    timestamp: WallTime,
    /// More about it.
    #[schema(value_type = Object)]
    payload: Value,
    /// When it was known.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// Its place in commit order.
    seq: i64,
}

impl From<heldar_store::Event> for Event {
    fn from(row: heldar_store::Event) -> Self {
        let event = row.event;
        Event {
            id: event.id,
            camera_id: event.camera,
            site_id: row.site,
            event_type: event.event_type,
            severity: event.severity,
            timestamp: event.timestamp,
            payload: event.payload,
            created_at: event.created_at,
            seq: row.seq,
        }
    }
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
struct Filter {
    /// About this camera.
    camera_id: Option<String>,
    /// Of this type.
    event_type: Option<String>,
    /// Of exactly this severity.
    #[param(inline, value_type = words::Severity, required = false)]
    severity: Option<Severity>,
    /// That happened at or after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<WallTime>,
    /// That happened before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<WallTime>,
    /// Longest page.
    #[serde(default)]
    #[param(inline)]
    limit: Limit<200, 1, 2000>,
    /// Where the page begins.
    #[serde(rename = "cursor")]
    _cursor: Option<String>,
}

async fn list(
    State(kernel): State<Api>,
    caller: Caller,
    Query(filter): Query<Filter>,
    list: List,
) -> Result<Page<Event>, ApiError> {
    let after: Option<EventCursor> = list.position()?;
    let camera = match filter.camera_id.as_deref().map(CameraId::new) {
        // What can be no camera has no events.
        Some(Err(_)) => return Ok(list.page(Vec::new(), None::<EventCursor>)),
        Some(Ok(camera)) => Some(camera),
        None => None,
    };
    let which = EventFilter {
        camera,
        event_type: filter.event_type,
        severity: filter.severity,
        range: TimeRange { from: filter.from, to: filter.to },
    };
    let page = kernel.store.events(caller.scope(), &which, after, filter.limit.get()).await;
    let page = page.map_err(errors::store)?;
    Ok(list.page(page.rows.into_iter().map(Event::from).collect(), page.next))
}
