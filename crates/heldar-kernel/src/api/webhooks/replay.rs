//! Events that are to be sent to a webhook once more (perception.md 16.3).

use axum::extract::State;
use axum::http::{Method, StatusCode};
use heldar_base::{CameraId, Capability, PublicId, Scope, WallTime};
use heldar_http::{Access, ApiError, Code, Doc, Json, Path, RouteTable};
use heldar_store::op::{AppendAudit, QueueReplay, WriteOp};
use heldar_store::{FeedBatches, FeedRow, FeedWants, Webhook, WebhookDelivery};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{TAG, audit, find, told};
use crate::api::requester::Requester;
use crate::api::{Api, errors};
use crate::kernel::Kernel;
use crate::webhooks::wants;

/// Events at most.
const MOST: usize = 10_000;
/// Events read at a time, and noted at a time.
const PAGE: u32 = 500;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::POST,
        "/api/v1/webhooks/{id}/replay",
        Access::fleet(Capability::RegistryManage),
        replay,
        Doc::new("replayWebhook", TAG, "Send events to a receiver once more")
            .details(
                "One of `delivery_ids`, `status`, `from_seq` with `to_seq`, `from` with `to`; both ends are included. At most \
                 10000 events that the webhook has passed and wants, oldest first, beside what comes new, with the ids that \
                 their deliveries had.",
            )
            .body::<WebhookReplay>()
            .json::<WebhookReplayQueued>(202, "They will be sent.")
            .fails(&[Code::NotFound, Code::Validation]),
    );
}

/// Which events.
#[derive(Deserialize, ToSchema)]
struct WebhookReplay {
    /// Those of these deliveries.
    #[serde(default)]
    delivery_ids: Option<Vec<String>>,
    /// `failed`: those that were not taken.
    #[serde(default)]
    status: Option<String>,
    /// From this number in commit order.
    #[serde(default)]
    from_seq: Option<i64>,
    /// Up to this number.
    #[serde(default)]
    to_seq: Option<i64>,
    /// That happened at this time or later.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<WallTime>,
    /// That happened at this time or earlier.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<WallTime>,
}

/// How many events will be sent.
#[derive(Serialize, ToSchema)]
struct WebhookReplayQueued {
    /// Those that were not waiting already.
    queued: u64,
}

/// What was asked for, once it is clear.
enum Which {
    Deliveries(Vec<String>),
    Failed,
    Numbers(i64, i64),
    Times(WallTime, Option<WallTime>),
}

impl WebhookReplay {
    fn which(self) -> Result<Which, ApiError> {
        let one = "say one of `delivery_ids`, `status`, `from_seq`, `from`";
        match (self.delivery_ids, self.status, self.from_seq, self.from) {
            (Some(ids), None, None, None) => Ok(Which::Deliveries(ids)),
            (None, Some(status), None, None) if status == "failed" => Ok(Which::Failed),
            (None, Some(_), None, None) => Err(ApiError::validation("status", "`status` is failed")),
            (None, None, Some(from), None) => Ok(Which::Numbers(from, self.to_seq.unwrap_or(i64::MAX))),
            (None, None, None, Some(from)) => Ok(Which::Times(from, self.to)),
            _ => Err(ApiError::new(Code::Validation, one)),
        }
    }
}

async fn replay(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
    Json(body): Json<WebhookReplay>,
) -> Result<(StatusCode, Json<WebhookReplayQueued>), ApiError> {
    let row = find(&kernel, &id).await?;
    let seqs = match body.which()? {
        Which::Deliveries(ids) => of_deliveries(&kernel, &row, &ids).await?,
        Which::Failed => {
            let up_to = kernel.webhooks.cursor(&row);
            let most = u32::try_from(MOST).unwrap_or(u32::MAX);
            kernel.store.failed_deliveries(&Scope::All, row.id, up_to, most).await.map_err(errors::store)?
        }
        Which::Numbers(from, to) => in_range(&kernel, &row, (from, to), (None, None)).await?,
        Which::Times(from, to) => in_range(&kernel, &row, (0, i64::MAX), (Some(from), to)).await?,
    };
    let mut detail = told(&row.fields.name, row.fields.format, row.fields.enabled);
    detail["events"] = json!(seqs.len());
    let entry = audit(&kernel, &who.author, "replay_webhook", row.id, detail);
    let mut queued = 0;
    // In slices, so that nobody waits for all of them; the audit row comes with the first.
    let mut slices = seqs.chunks(PAGE as usize);
    let first = QueueReplay { webhook: row.id, seqs: slices.next().unwrap_or_default().to_vec() };
    let ops: Vec<WriteOp> = vec![first.into(), AppendAudit { entry }.into()];
    let outcomes = kernel.store.write_all(ops).await.map_err(errors::store)?;
    if let Some(outcome) = outcomes.into_iter().next() {
        queued += outcome.of::<QueueReplay>().map_err(errors::store)?;
    }
    for slice in slices {
        let more = QueueReplay { webhook: row.id, seqs: slice.to_vec() };
        queued += kernel.store.write(more).await.map_err(errors::store)?;
    }
    kernel.webhooks.wake();
    Ok((StatusCode::ACCEPTED, Json(WebhookReplayQueued { queued })))
}

/// The events of deliveries; ids that the webhook does not have are none.
async fn of_deliveries(kernel: &Kernel, row: &Webhook, ids: &[String]) -> Result<Vec<i64>, ApiError> {
    if ids.len() > MOST {
        return Err(ApiError::validation("delivery_ids", "at most 10000 at a time"));
    }
    let mut seqs = Vec::new();
    for id in ids {
        let Ok(id) = PublicId::parse(WebhookDelivery::PREFIX, id) else { continue };
        let found = kernel.store.webhook_delivery(&Scope::All, id).await.map_err(errors::store)?;
        seqs.extend(found.filter(|one| one.webhook == row.id).and_then(|one| Some(one.event?.seq)));
    }
    seqs.sort_unstable();
    seqs.dedup();
    Ok(seqs)
}

/// Events that the webhook has passed and wants. What lies ahead of it comes by itself.
async fn in_range(
    kernel: &Kernel,
    row: &Webhook,
    (from, to): (i64, i64),
    (since, until): (Option<WallTime>, Option<WallTime>),
) -> Result<Vec<i64>, ApiError> {
    let mut seqs = Vec::new();
    let last = to.min(kernel.webhooks.cursor(row));
    let mut after = from.max(1) - 1;
    let camera: Option<&CameraId> = row.fields.cameras.first().filter(|_| row.fields.cameras.len() == 1);
    let events = FeedWants { events: true, batches: FeedBatches::Leave };
    while after < last && seqs.len() < MOST {
        let page = kernel.store.feed(&Scope::All, camera, events, (after, last), (PAGE, 0)).await;
        let page = page.map_err(errors::store)?;
        for row_of in page.rows {
            let FeedRow::Event(event) = row_of else { continue };
            let at = event.event.timestamp;
            let is_then = since.is_none_or(|since| since <= at) && until.is_none_or(|until| at <= until);
            if is_then && wants(&row.fields, &event) {
                seqs.push(event.seq);
            }
        }
        after = page.reached.max(after + 1);
    }
    seqs.truncate(MOST);
    Ok(seqs)
}
