//! What became of events for a webhook (perception.md 16.3).

use std::str::FromStr as _;

use axum::extract::State;
use axum::http::Method;
use heldar_base::{Capability, PublicId, WallTime};
use heldar_http::{Access, ApiError, Caller, Code, Doc, Limit, List, Page, Path, Query, RouteTable};
use heldar_store::{DeliveryCursor, DeliveryStatus};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{TAG, find};
use crate::api::{Api, errors};

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/api/v1/webhooks/{id}/deliveries",
        Access::fleet(Capability::EventsRead),
        list,
        Doc::new("listWebhookDeliveries", TAG, "What became of events for a webhook")
            .details("One row for each event and each test, changed by every attempt.")
            .query::<Which>()
            .page::<WebhookDelivery>("The newest first.")
            .fails(&[Code::NotFound, Code::Validation, Code::BadCursor]),
    );
}

/// Which deliveries.
#[derive(Deserialize, IntoParams)]
struct Which {
    /// `delivered` or `failed`.
    status: Option<String>,
    /// Longest page.
    #[serde(default)]
    #[param(inline)]
    limit: Limit<100, 1, 1000>,
    /// Where the page begins.
    #[serde(rename = "cursor")]
    _cursor: Option<String>,
}

/// What became of an event for a webhook.
#[derive(Serialize, ToSchema)]
struct WebhookDelivery {
    /// `whd_` and 32 hexadecimal digits; of an event always the same.
    #[schema(value_type = String)]
    id: PublicId,
    /// Of which webhook.
    #[schema(value_type = String)]
    subscription_id: PublicId,
    /// The event; absent of a test, and of a note about events that are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    /// Its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<String>,
    /// `delivered` or `failed`.
    status: &'static str,
    /// Attempts in all, replays among them.
    attempts: u32,
    /// HTTP status of the last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_code: Option<u16>,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// When it was first tried.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// When it was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    delivered_at: Option<WallTime>,
    /// The place of the event in commit order.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<i64>,
    /// When it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<WallTime>,
    /// Whether it was given up.
    parked: bool,
}

impl From<heldar_store::WebhookDelivery> for WebhookDelivery {
    fn from(row: heldar_store::WebhookDelivery) -> Self {
        let (event_id, seq) = row.event.map(|event| (event.id, event.seq)).unzip();
        WebhookDelivery {
            id: row.id,
            subscription_id: row.webhook,
            event_id,
            event_type: row.event_type,
            status: row.status.as_str(),
            attempts: row.attempts,
            response_code: row.response_code,
            error: row.error,
            created_at: row.created_at,
            delivered_at: row.delivered_at,
            seq,
            next_attempt_at: row.next_attempt_at,
            parked: row.parked,
        }
    }
}

async fn list(
    State(kernel): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    list: List,
    Query(which): Query<Which>,
) -> Result<Page<WebhookDelivery>, ApiError> {
    let status = which.status.map(|text| {
        DeliveryStatus::from_str(&text)
            .map_err(|()| ApiError::validation("status", "`status` is delivered or failed"))
    });
    let (status, after) = (status.transpose()?, list.position::<DeliveryCursor>()?);
    let row = find(&kernel, &id).await?;
    let limit = which.limit.get();
    let page = kernel.store.webhook_deliveries(caller.scope(), row.id, status, after, limit).await;
    let page = page.map_err(errors::store)?;
    Ok(list.page(page.rows.into_iter().map(WebhookDelivery::from).collect(), page.next))
}
