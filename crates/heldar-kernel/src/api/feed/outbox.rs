//! The outbox: batches and events to a client that asks for them, page by page, and how far it says it is.

use std::time::Duration;

use axum::extract::State;
use axum::http::Method;
use heldar_base::{CameraId, Capability, Clock as _, Scope};
use heldar_http::{Access, ApiError, Client, Code, Doc, Json, Limit, Query, Reach, Right, RouteTable};
use heldar_store::op::Acknowledge;
use heldar_store::{FeedBatches, FeedPage, FeedWants};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::shape::Entry;
use crate::api::requester::Requester;
use crate::api::{Api, errors};
use crate::kernel::Kernel;
use crate::registry::Target;

/// Group of these operations in the description.
const TAG: &str = "perception";
/// Longest page of batches in full.
const FULL: u32 = 200;
/// Most detections of a page, but for a batch that alone has more.
const DETECTIONS: usize = 20_000;
/// Longest name of a consumer, in characters.
const NAME: usize = 128;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/api/v1/outbox",
        Access::fleet(Capability::Admin),
        read,
        Doc::new("readOutbox", TAG, "Read batches and events in commit order")
            .details(
                "Rows after `since_seq`, ascending. With `wait_ms` an empty answer waits for what comes. In full, a page has \
                 at most 200 rows.",
            )
            .query::<Ask>()
            .json::<OutboxPage>(200, "The rows, and from where to go on."),
    );
    table.add(
        Method::POST,
        "/api/v1/outbox/ack",
        Access::fleet(Capability::Admin),
        acknowledge,
        Doc::new("acknowledgeOutbox", TAG, "Tell how far a reader is")
            .details("Never backwards. Reading with `consumer` starts there.")
            .body::<Acknowledgement>()
            .json::<Acknowledgement>(200, "Where the reader is now.")
            .fails(&[Code::Conflict]),
    );
}

/// What is read.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Topic {
    /// Batches of detections.
    #[default]
    Detections,
    /// Events.
    Events,
    /// Both.
    All,
}

/// What is asked for beside.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Include {
    /// Batches in full.
    Detections,
}

/// Which rows.
#[derive(Debug, Deserialize, IntoParams)]
struct Ask {
    /// After this number; 0 by default.
    since_seq: Option<i64>,
    /// Most rows.
    #[serde(default)]
    #[param(inline)]
    limit: Limit<100, 1, 1000>,
    /// `detections`, `events` or `all`.
    #[serde(default)]
    #[param(inline, required = false)]
    topic: Topic,
    /// `detections`: batches in full.
    #[param(inline, required = false)]
    include: Option<Include>,
    /// Of this camera.
    camera_id: Option<String>,
    /// How long to wait when there is nothing, moved into 0..30000 ms.
    #[serde(default)]
    #[param(inline)]
    wait_ms: Limit<0, 0, 30_000>,
    /// Start where this reader is, unless there is `since_seq`.
    consumer: Option<String>,
}

/// Rows of the outbox.
#[derive(Serialize, ToSchema)]
struct OutboxPage {
    /// In commit order.
    entries: Vec<Entry>,
    /// From where to go on; null: nothing came.
    next_seq: Option<i64>,
    /// How many rows there are here.
    count: usize,
}

/// How far a reader is.
#[derive(Deserialize, Serialize, ToSchema)]
struct Acknowledgement {
    /// Its name, 1 to 128 characters.
    consumer: String,
    /// It has everything up to here.
    seq: i64,
}

fn check_name(name: &str) -> Result<(), ApiError> {
    if (1..=NAME).contains(&name.chars().count()) {
        return Ok(());
    }
    Err(ApiError::validation("consumer", "`consumer` must have 1 to 128 characters"))
}

/// What is committed after a number; waits for it if there is nothing, but not beyond the deadline.
struct Reader<'a> {
    kernel: &'a Kernel,
    camera: Option<CameraId>,
    wants: FeedWants,
    limit: u32,
}

impl Reader<'_> {
    async fn read(&self, after: i64, deadline: Instant) -> Result<FeedPage, ApiError> {
        let mut committed = self.kernel.store.committed();
        let mut after = after;
        loop {
            let up_to = committed.borrow_and_update().seq;
            while after < up_to {
                let (range, most) = ((after, up_to), (self.limit, DETECTIONS));
                let page = self.kernel.store.feed(&Scope::All, self.camera.as_ref(), self.wants, range, most);
                let mut page = page.await.map_err(errors::store)?;
                if !page.rows.is_empty() {
                    page.rows.truncate(self.limit as usize);
                    return Ok(page);
                }
                after = page.reached.max(after + 1);
            }
            match tokio::time::timeout_at(deadline, committed.changed()).await {
                Ok(Ok(())) => {}
                _ => return Ok(FeedPage { rows: Vec::new(), reached: after }),
            }
        }
    }
}

async fn read(
    State(kernel): State<Api>,
    who: Requester,
    client: Client,
    Query(ask): Query<Ask>,
) -> Result<Json<OutboxPage>, ApiError> {
    let since_seq = match (ask.since_seq, &ask.consumer) {
        (Some(seq), _) => seq.max(0),
        (None, None) => 0,
        (None, Some(name)) => {
            check_name(name)?;
            let known = kernel.store.consumer(&Scope::All, name).await.map_err(errors::store)?;
            known.map_or(0, |consumer| consumer.low_seq)
        }
    };
    let batches = match ask.include {
        Some(Include::Detections) => FeedBatches::Full,
        None => FeedBatches::Headers,
    };
    let wants = match ask.topic {
        Topic::Detections => FeedWants { events: false, batches },
        Topic::Events => FeedWants { events: true, batches: FeedBatches::Leave },
        Topic::All => FeedWants { events: true, batches },
    };
    let limit = if batches == FeedBatches::Full { ask.limit.get().min(FULL) } else { ask.limit.get() };
    let wait = Duration::from_millis(ask.wait_ms.get().into());
    let camera = match ask.camera_id.as_deref().map(CameraId::new) {
        // What can be no camera has no rows.
        Some(Err(_)) => return Ok(Json(OutboxPage { entries: Vec::new(), next_seq: None, count: 0 })),
        Some(Ok(camera)) => Some(camera),
        None => None,
    };
    let reader = Reader { kernel: &kernel, camera, wants, limit };
    let right = Right {
        principal: who.caller.principal().clone(),
        capability: Some(Capability::Admin),
        reach: Reach::Scope(Scope::All),
        address: client.address,
    };
    let page = tokio::select! {
        page = reader.read(since_seq, Instant::now() + wait) => page?,
        _standing = kernel.accounts.clone().ended(right), if !wait.is_zero() => {
            return Err(ApiError::invalid_credential());
        }
    };
    let own_site = kernel.settings.site_id.as_deref();
    let next_seq = page.rows.last().map(heldar_store::FeedRow::seq);
    let entries: Vec<Entry> = page.rows.into_iter().map(|row| Entry::new(row, own_site)).collect();
    let count = entries.len();
    if count > 0 || wait.is_zero() {
        let detail = json!({ "since_seq": since_seq, "limit": limit, "returned": count });
        let target = Target { kind: "outbox", id: "*" };
        kernel.audit(who.author.did(kernel.clock.wall(), "read_outbox", target, detail));
    }
    Ok(Json(OutboxPage { entries, next_seq, count }))
}

async fn acknowledge(
    State(kernel): State<Api>,
    Json(body): Json<Acknowledgement>,
) -> Result<Json<Acknowledgement>, ApiError> {
    check_name(&body.consumer)?;
    let told = Acknowledge { name: body.consumer.clone(), seq: body.seq, now: kernel.clock.wall() };
    let seq = kernel.store.write(told).await.map_err(errors::store)?;
    Ok(Json(Acknowledgement { consumer: body.consumer, seq }))
}
