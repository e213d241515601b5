//! Events: the list, the mark that one was seen, and the types there are (media.md 6, 25; perception.md 11, 15.5).

mod types;

pub(crate) use types::description;

use axum::extract::State;
use axum::http::{Method, StatusCode};
use heldar_base::{CameraId, Capability, Clock as _, WallTime};
use heldar_http::{Access, ApiError, Caller, Code, Doc, Json, Limit, List, Page, Path, Query, RouteTable};
use heldar_store::op::{MarkEventSeen, UnmarkEventSeen};
use heldar_store::{AuditEntry, EventCursor, EventFilter, EventOrder, Seen, Severity, TimeRange};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::requester::Requester;
use super::{Api, errors, words};
use crate::kernel::Kernel;
use crate::registry::Target;

/// Group of these operations in the description.
pub(super) const TAG: &str = "events";
/// Kind of target in audit rows.
const EVENT: &str = "event";

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/api/v1/events",
        Access::filter(Capability::EventsRead),
        list,
        Doc::new("listEvents", TAG, "List events")
            .details(
                "Events that belong to no camera are hidden from callers that are limited to cameras. With `since_seq` they \
                 come in the order in which they were committed, else by when they happened.",
            )
            .query::<Filter>()
            .page::<Event>("Newest first, unless asked otherwise.")
            .fails(&[Code::BadCursor]),
    );
    table.add(
        Method::POST,
        "/api/v1/events/{id}/seen",
        Access::res(Capability::EventsRead),
        mark,
        Doc::new("markEventSeen", TAG, "Mark an event as seen")
            .details("One mark for all users: the first one stands.")
            .json::<Event>(200, "The event with the mark that stands."),
    );
    table.add(
        Method::DELETE,
        "/api/v1/events/{id}/seen",
        Access::res(Capability::EventsRead),
        unmark,
        Doc::new("unmarkEventSeen", TAG, "Take the mark off an event")
            .empty(204, "It has no mark, whether or not it had one."),
    );
    types::routes(table);
}

/// Something that happened.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Event {
    /// UUID.
    id: String,
    /// The camera that it is about.
    #[schema(value_type = Option<String>)]
    camera_id: Option<CameraId>,
    /// The site that the camera belongs to now, or else that of the server.
    site_id: Option<String>,
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
    /// Name of who marked it as seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    seen_by: Option<String>,
    /// When it was marked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    seen_at: Option<WallTime>,
}

impl Event {
    /// A stored event; `own_site` names the site of the server.
    pub(super) fn new(row: heldar_store::Event, own_site: Option<&str>) -> Self {
        let event = row.event;
        let (seen_by, seen_at) = row.seen.map(|seen| (seen.by, seen.at)).unzip();
        Event {
            id: event.id,
            camera_id: event.camera,
            site_id: row.site.map(|site| site.as_str().to_owned()).or_else(|| own_site.map(str::to_owned)),
            event_type: event.event_type,
            severity: event.severity,
            timestamp: event.timestamp,
            payload: event.payload,
            created_at: event.created_at,
            seq: row.seq,
            seen_by,
            seen_at,
        }
    }

    /// A stored event of a server.
    pub(super) fn of(kernel: &Kernel, row: heldar_store::Event) -> Self {
        Event::new(row, kernel.settings.site_id.as_deref())
    }
}

/// In which order.
#[derive(Clone, Copy, Default, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Order {
    /// The newest first.
    #[default]
    Desc,
    /// The oldest first.
    Asc,
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
    /// Committed after this number.
    since_seq: Option<i64>,
    /// `desc` or `asc`.
    #[serde(default)]
    #[param(inline, required = false)]
    order: Order,
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
        since_seq: filter.since_seq,
        order: match filter.order {
            Order::Desc => EventOrder::NewestFirst,
            Order::Asc => EventOrder::OldestFirst,
        },
    };
    let page = kernel.store.events(caller.scope(), &which, after, filter.limit.get()).await;
    let page = page.map_err(errors::store)?;
    let events = page.rows.into_iter().map(|row| Event::of(&kernel, row));
    Ok(list.page(events.collect(), page.next))
}

/// An event that the caller may see.
async fn find(kernel: &Kernel, caller: &Caller, id: &str) -> Result<heldar_store::Event, ApiError> {
    let event = kernel.store.event(caller.scope(), id).await.map_err(errors::store)?;
    event.ok_or_else(|| caller.missing("event"))
}

/// The audit row of a change of the mark.
fn audit(kernel: &Kernel, who: &Requester, action: &str, row: &heldar_store::Event) -> AuditEntry {
    let target = Target { kind: EVENT, id: &row.event.id };
    who.author.did(kernel.clock.wall(), action, target, json!({ "camera_id": row.event.camera }))
}

async fn mark(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
) -> Result<Json<Event>, ApiError> {
    let mut row = find(&kernel, &who.caller, &id).await?;
    if row.seen.is_none() {
        let seen = Seen { by: who.caller.principal().name.clone(), at: kernel.clock.wall() };
        let audit = audit(&kernel, &who, "mark_event_seen", &row);
        let stands = kernel.store.write(MarkEventSeen { seq: row.seq, seen, audit }).await;
        row.seen = Some(stands.map_err(errors::store)?);
    }
    Ok(Json(Event::of(&kernel, row)))
}

async fn unmark(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let row = find(&kernel, &who.caller, &id).await?;
    let audit = audit(&kernel, &who, "unmark_event_seen", &row);
    kernel.store.write(UnmarkEventSeen { seq: row.seq, audit }).await.map_err(errors::store)?;
    Ok(StatusCode::NO_CONTENT)
}
