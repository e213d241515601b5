//! Webhooks: subscriptions, their deliveries, tests and replays (perception.md 16).

mod body;
mod deliveries;
mod replay;

use axum::extract::State;
use axum::http::{Method, StatusCode};
use heldar_base::{CameraId, Capability, Clock as _, PublicId, Scope, Secret, WallTime};
use heldar_http::{Access, ApiError, Caller, Code, Doc, Json, Path, RouteTable};
use heldar_store::op::{CreateWebhook, DeleteWebhook, RemoveDeliveries, UpdateWebhook};
use heldar_store::{AuditEntry, Severity, WebhookFields, WebhookFormat};
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;
use utoipa::ToSchema;

use super::playback::audited;
use super::requester::Requester;
use super::{Api, errors, words};
use crate::engine::journal::random_bits;
use crate::kernel::Kernel;
use crate::registry::{Author, Target};
use crate::secrets::WEBHOOK;
use body::{Before, ChangedWebhook, Edit, NewWebhook, Settled};

/// Group of these operations in the description.
const TAG: &str = "webhooks";
/// Deliveries removed at a time.
const SLICE: u32 = 500;

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    let (all, one) = ("/api/v1/webhooks", "/api/v1/webhooks/{id}");
    let manage = Access::fleet(Capability::RegistryManage);
    table
        .add(
            Method::GET,
            all,
            Access::fleet(Capability::EventsRead),
            list,
            Doc::new("listWebhooks", TAG, "Webhooks, enabled or not")
                .details(
                    "Without `registry:manage` only scheme and host of their URLs are shown, and nobody who is told.",
                )
                .list::<Webhook>(200, "The oldest first."),
        )
        .add(
            Method::POST,
            all,
            manage,
            create,
            Doc::new("createWebhook", TAG, "Have events sent to a receiver")
                .details(
                    "It gets what is committed from now on, in order and at least once. What a `format` needs and does not \
                     get is a 400 that names it.",
                )
                .body::<NewWebhook>()
                .json::<Webhook>(201, "The new webhook.")
                .fails(&[Code::TargetNotAllowed]),
        )
        .add(
            Method::PATCH,
            one,
            manage,
            change,
            Doc::new("changeWebhook", TAG, "Change a webhook")
                .details(
                    "It goes on from where it was, and is tried at once. `enabled: true` forgets why the server disabled it. \
                     What says nothing new writes nothing.",
                )
                .body::<ChangedWebhook>()
                .json::<Webhook>(200, "The webhook.")
                .fails(&[Code::NotFound, Code::Conflict, Code::TargetNotAllowed]),
        )
        .add(
            Method::DELETE,
            one,
            manage,
            delete,
            Doc::new("deleteWebhook", TAG, "Delete a webhook with its deliveries")
                .empty(204, "Deleted.")
                .fails(&[Code::NotFound]),
        )
        .add(
            Method::POST,
            "/api/v1/webhooks/{id}/test",
            manage,
            test,
            Doc::new("testWebhook", TAG, "Send a test to a receiver")
                .json::<WebhookTest>(200, "What it came to.")
                .fails(&[Code::NotFound]),
        );
    deliveries::routes(table);
    replay::routes(table);
}

/// Somebody who is told of events.
#[derive(Serialize, ToSchema)]
struct Webhook {
    /// `whs_` and 32 hexadecimal digits.
    #[schema(value_type = String)]
    id: PublicId,
    /// What people call it.
    name: String,
    /// Where to; without `registry:manage` scheme and host alone.
    url: String,
    /// Types of events that it gets, of which one may end in `*`.
    event_types: Vec<String>,
    /// Least severity that it gets.
    #[schema(value_type = words::Severity)]
    min_severity: Severity,
    /// Whether it has a secret, which is never shown.
    has_secret: bool,
    /// Whether it is told.
    enabled: bool,
    /// When the newest event that it has passed was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    cursor_at: Option<WallTime>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: WallTime,
    /// Every event up to this number was delivered, given up, or not for it.
    cursor_seq: i64,
    /// Events after that number, up to 100000.
    lag: u32,
    /// Since when nothing was delivered; absent when the last attempt succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    failing_since: Option<WallTime>,
    /// The next attempt is not made before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<WallTime>,
    /// Why the server has disabled it.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_reason: Option<String>,
    /// Cameras whose events it gets; none: all.
    #[schema(value_type = Vec<String>)]
    camera_ids: Vec<CameraId>,
    /// `heldar`, `ntfy`, `telegram`, `slack` or `pushover`.
    format: &'static str,
    /// Whom the service tells; absent without `registry:manage`.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
}

/// What a test came to.
#[derive(Serialize, ToSchema)]
struct WebhookTest {
    /// Whether the receiver has taken it.
    ok: bool,
    /// HTTP status, where there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A stored value as it was given; `None`: none of the keys opens it.
fn opened(kernel: &Kernel, id: PublicId, column: &str, stored: &Secret<String>) -> Option<Secret<String>> {
    kernel.sealer.open_value(WEBHOOK, column, &id.to_string(), stored).ok()
}

/// A URL as the caller may see it.
fn shown(kernel: &Kernel, row: &heldar_store::Webhook, manages: bool) -> String {
    let Some(url) = opened(kernel, row.id, "url", &row.fields.url) else { return "***".to_owned() };
    if manages {
        return url.expose().clone();
    }
    let parsed = Url::parse(url.expose()).ok();
    let host = parsed.as_ref().and_then(|url| Some(format!("{}://{}", url.scheme(), url.host_str()?)));
    host.unwrap_or_else(|| "***".to_owned())
}

async fn view(kernel: &Kernel, caller: &Caller, row: heldar_store::Webhook) -> Result<Webhook, ApiError> {
    let manages = caller.principal().can(Capability::RegistryManage);
    let lag = kernel.webhooks.lag(&row).await.map_err(errors::store)?;
    Ok(Webhook {
        url: shown(kernel, &row, manages),
        cursor_seq: kernel.webhooks.cursor(&row),
        lag,
        id: row.id,
        name: row.fields.name,
        event_types: row.fields.event_types,
        min_severity: row.fields.min_severity,
        has_secret: row.fields.secret.is_some(),
        enabled: row.fields.enabled,
        cursor_at: row.standing.cursor_at,
        created_at: row.created_at,
        updated_at: row.updated_at,
        failing_since: row.standing.failing_since,
        next_attempt_at: row.standing.next_attempt_at,
        disabled_reason: row.standing.disabled_reason,
        camera_ids: row.fields.cameras,
        format: row.fields.format.as_str(),
        to: row.fields.recipient.filter(|_| manages),
    })
}

/// The webhook of a path.
async fn find(kernel: &Kernel, id: &str) -> Result<heldar_store::Webhook, ApiError> {
    let missing = || ApiError::not_found("webhook");
    let id = PublicId::parse(heldar_store::Webhook::PREFIX, id).map_err(|_| missing())?;
    let row = kernel.store.webhook(&Scope::All, id).await.map_err(errors::store)?;
    row.ok_or_else(missing)
}

/// The fields as they are stored, sealed; what stays is that of the row.
fn sealed(
    kernel: &Kernel,
    id: PublicId,
    settled: Settled,
    row: Option<&WebhookFields>,
) -> Result<WebhookFields, ApiError> {
    let name = id.to_string();
    let seal = |column, edit: Edit, stored: Option<&Secret<String>>| match edit {
        Edit::Keep => Ok(stored.cloned()),
        Edit::Clear => Ok(None),
        Edit::Set(value) => {
            kernel.sealer.seal_value(WEBHOOK, column, &name, &value).map(Some).map_err(ApiError::internal)
        }
    };
    let url = seal("url", settled.url, row.map(|row| &row.url))?;
    Ok(WebhookFields {
        name: settled.name,
        url: url.ok_or_else(|| ApiError::validation("url", "a webhook needs a URL"))?,
        secret: seal("secret", settled.secret, row.and_then(|row| row.secret.as_ref()))?,
        event_types: settled.event_types,
        min_severity: settled.min_severity,
        cameras: settled.cameras,
        format: settled.format,
        recipient: settled.to,
        enabled: settled.enabled,
    })
}

fn audit(kernel: &Kernel, author: &Author, action: &str, id: PublicId, detail: Value) -> AuditEntry {
    author.did(kernel.clock.wall(), action, Target { kind: "webhook", id: &id.to_string() }, detail)
}

/// What an audit row tells of a webhook: neither its URL nor its secret.
fn told(name: &str, format: WebhookFormat, enabled: bool) -> Value {
    json!({ "name": name, "format": format, "enabled": enabled })
}

async fn list(State(kernel): State<Api>, caller: Caller) -> Result<Json<Vec<Webhook>>, ApiError> {
    let mut list = Vec::new();
    for row in kernel.store.webhooks(caller.scope()).await.map_err(errors::store)? {
        list.push(view(&kernel, &caller, row).await?);
    }
    Ok(Json(list))
}

async fn create(
    State(kernel): State<Api>,
    who: Requester,
    Json(body): Json<NewWebhook>,
) -> Result<(StatusCode, Json<Webhook>), ApiError> {
    let id = PublicId::new(heldar_store::Webhook::PREFIX, random_bits());
    let settled = body.settled(kernel.webhooks.client().guard())?;
    let detail = told(&settled.name, settled.format, settled.enabled);
    let fields = sealed(&kernel, id, settled, None)?;
    let entry = audit(&kernel, &who.author, "create_webhook", id, detail);
    let create = CreateWebhook { id, fields, now: kernel.clock.wall() };
    let made = kernel.store.manage(create, audited(entry)).await.map_err(errors::store)?.value;
    kernel.webhooks.changed();
    Ok((StatusCode::CREATED, Json(view(&kernel, &who.caller, made).await?)))
}

async fn change(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
    Json(body): Json<ChangedWebhook>,
) -> Result<Json<Webhook>, ApiError> {
    let row = find(&kernel, &id).await?;
    let url = opened(&kernel, row.id, "url", &row.fields.url);
    let secret = row.fields.secret.as_ref().and_then(|secret| opened(&kernel, row.id, "secret", secret));
    let before = Before { row: &row.fields, url, secret };
    let settled = body.over(&before, kernel.webhooks.client().guard())?;
    if settled.names.is_empty() {
        return Ok(Json(view(&kernel, &who.caller, row).await?));
    }
    let mut detail = told(&settled.name, settled.format, settled.enabled);
    detail["fields"] = json!(settled.names);
    let fields = sealed(&kernel, row.id, settled, Some(&row.fields))?;
    let entry = audit(&kernel, &who.author, "update_webhook", row.id, detail);
    let update = UpdateWebhook { id: row.id, fields, revision: row.revision, now: kernel.clock.wall() };
    let changed = kernel.store.manage(update, audited(entry)).await.map_err(errors::store)?.value;
    kernel.webhooks.changed();
    Ok(Json(view(&kernel, &who.caller, changed).await?))
}

async fn delete(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let row = find(&kernel, &id).await?;
    let detail = told(&row.fields.name, row.fields.format, row.fields.enabled);
    let entry = audit(&kernel, &who.author, "delete_webhook", row.id, detail);
    // To its end: whoever goes away leaves no webhook that has lost its deliveries.
    let done = tokio::spawn(async move {
        while kernel.store.write(RemoveDeliveries { webhook: row.id, limit: SLICE }).await?
            >= u64::from(SLICE)
        {
            // Whoever waits for the writer comes first.
            tokio::task::yield_now().await;
        }
        kernel.store.manage(DeleteWebhook { id: row.id }, audited(entry)).await?;
        kernel.webhooks.changed();
        Ok(())
    });
    done.await.map_err(ApiError::internal)?.map_err(errors::store)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn test(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
) -> Result<Json<WebhookTest>, ApiError> {
    let row = find(&kernel, &id).await?;
    let detail = told(&row.fields.name, row.fields.format, row.fields.enabled);
    let entry = audit(&kernel, &who.author, "test_webhook", row.id, detail);
    // What was sent is kept, also when nobody waits for it any more.
    let done = tokio::spawn(async move { Box::pin(kernel.webhooks.test(&row, entry)).await });
    let tested = done.await.map_err(ApiError::internal)?.map_err(errors::store)?;
    Ok(Json(WebhookTest { ok: tested.is_ok, status: tested.status, error: tested.error }))
}
