//! Writes of webhooks, of how they stand, of deliveries and replays.

use heldar_base::{PublicId, Secret, WallTime};

use super::{Apply, Durability, OpError, Tx, conflict, not_found, prune, refused};
use crate::error::ErrorKind;
use crate::model::{Webhook, WebhookDelivery, WebhookFields, WebhookStanding};
use crate::read::{WEBHOOK_BY_ID, webhook_from};
use crate::sql::{Arg, args, statements};

statements! {
    WEBHOOK_EXISTS = "SELECT 1 FROM webhook WHERE id = $1";
    WEBHOOK_INSERT = "INSERT INTO webhook (id, name, url, secret, event_types, min_severity, camera_ids, format, recipient,
        enabled, updated_us, created_us, revision, cursor_seq)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, 1, $12)";
    WEBHOOK_UPDATE = "UPDATE webhook SET name = $2, url = $3, secret = $4, event_types = $5, min_severity = $6,
        camera_ids = $7, format = $8, recipient = $9, enabled = $10, updated_us = $11, revision = revision + 1,
        next_attempt_us = NULL, warned_us = NULL WHERE id = $1";
    WEBHOOK_CLEAR = "UPDATE webhook SET failing_us = NULL, disabled_reason = NULL WHERE id = $1";
    WEBHOOK_SEAL = "UPDATE webhook SET url = $2, secret = $3 WHERE id = $1";
    WEBHOOK_DELETE = "DELETE FROM webhook WHERE id = $1";
    WEBHOOK_STANDING = "UPDATE webhook SET
        cursor_us = CASE WHEN cursor_seq <= $2 THEN coalesce($3, cursor_us) ELSE cursor_us END,
        cursor_seq = CASE WHEN cursor_seq <= $2 THEN $2 ELSE cursor_seq END,
        failing_us = $4, next_attempt_us = $5, warned_us = $6 WHERE id = $1";
    WEBHOOK_DISABLE = "UPDATE webhook SET enabled = 0, disabled_reason = $2, next_attempt_us = NULL, updated_us = $3,
        revision = revision + 1 WHERE id = $1 AND enabled = 1";
    DELIVERY_PUT = "INSERT INTO webhook_delivery (id, webhook_id, event_id, event_type, event_seq, status, attempts,
        refusals, response_code, error, created_us, delivered_us, next_attempt_us, parked)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        ON CONFLICT (id) DO UPDATE SET status = excluded.status, attempts = excluded.attempts,
        refusals = excluded.refusals, response_code = excluded.response_code, error = excluded.error,
        delivered_us = excluded.delivered_us, next_attempt_us = excluded.next_attempt_us, parked = excluded.parked";
    DELIVERIES_REMOVE = "DELETE FROM webhook_delivery WHERE id IN (SELECT id FROM webhook_delivery
        WHERE webhook_id = $1 ORDER BY created_us, id LIMIT $2)";
    REPLAY_PUT = "INSERT INTO webhook_replay (webhook_id, event_seq) SELECT $1, e.seq FROM event e WHERE e.seq = $2
        ON CONFLICT (webhook_id, event_seq) DO NOTHING";
    REPLAY_REMOVE = "DELETE FROM webhook_replay WHERE webhook_id = $1 AND event_seq = $2";
}

/// Makes a webhook, which is told of what is committed from now on, and answers with it. Refused with
/// [`ErrorKind::Conflict`] when the id is taken, or when name or URL are empty.
#[derive(Clone, Debug)]
pub struct CreateWebhook {
    /// Its id.
    pub id: PublicId,
    /// What can be set.
    pub fields: WebhookFields,
    /// Now.
    pub now: WallTime,
}

impl Apply for CreateWebhook {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Webhook, OpError> {
        check(&self.fields)?;
        if tx.row(WEBHOOK_EXISTS, args![self.id]).await?.is_some() {
            return Err(conflict(format!("the webhook id `{}` is taken", self.id)));
        }
        let mut row = webhook_args(self.id, &self.fields, self.now)?;
        // Numbers are given out in commit order: what has one already came before.
        row.push(Arg::from(tx.next_seq().saturating_sub(1).max(0)));
        tx.run(WEBHOOK_INSERT, row).await?;
        one(tx, self.id).await
    }
}

/// Changes a webhook, and answers with it. The next attempt may be made at once; enabling one that was disabled forgets that
/// it failed. Refused with [`ErrorKind::NotFound`], or [`ErrorKind::Conflict`] when it was changed since `revision` or when
/// name or URL are empty.
#[derive(Clone, Debug)]
pub struct UpdateWebhook {
    /// Its id.
    pub id: PublicId,
    /// What can be set, changed or not.
    pub fields: WebhookFields,
    /// The revision that this was made from.
    pub revision: i64,
    /// Now.
    pub now: WallTime,
}

impl Apply for UpdateWebhook {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Webhook, OpError> {
        check(&self.fields)?;
        let before = one(tx, self.id).await?;
        if before.revision != self.revision {
            return Err(changed());
        }
        tx.run(WEBHOOK_UPDATE, webhook_args(self.id, &self.fields, self.now)?).await?;
        if self.fields.enabled && !before.fields.enabled {
            tx.run(WEBHOOK_CLEAR, args![self.id]).await?;
        }
        one(tx, self.id).await
    }
}

/// Puts URL and secret of a webhook into another sealed form; no change in the sense of its revision. Refused with
/// [`ErrorKind::NotFound`], or [`ErrorKind::Conflict`] when it was changed since `revision`.
#[derive(Clone, Debug)]
pub struct SealWebhook {
    /// Its id.
    pub id: PublicId,
    /// The URL.
    pub url: Secret<String>,
    /// The secret.
    pub secret: Option<Secret<String>>,
    /// The revision that this was made from.
    pub revision: i64,
}

impl Apply for SealWebhook {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        if one(tx, self.id).await?.revision != self.revision {
            return Err(changed());
        }
        let secret = self.secret.as_ref().map(|secret| secret.expose().as_str());
        tx.run(WEBHOOK_SEAL, args![self.id, self.url.expose().as_str(), secret]).await?;
        Ok(())
    }
}

/// Deletes a webhook with its deliveries; whoever deletes one with many removes them by [`RemoveDeliveries`] first. Refused
/// with [`ErrorKind::NotFound`].
#[derive(Clone, Debug)]
pub struct DeleteWebhook {
    /// Its id.
    pub id: PublicId,
}

impl Apply for DeleteWebhook {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        exists(tx, self.id).await?;
        tx.run(WEBHOOK_DELETE, args![self.id]).await?;
        Ok(())
    }
}

/// Removes the oldest deliveries of a webhook, some at a time; answers with how many went. Fewer than asked for means that
/// none is left.
#[derive(Clone, Debug)]
pub struct RemoveDeliveries {
    /// Of which webhook.
    pub webhook: PublicId,
    /// At most so many, 1 to 500.
    pub limit: u32,
}

impl Apply for RemoveDeliveries {
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, OpError> {
        let limit = self.limit.clamp(1, prune::SLICE);
        Ok(tx.run(DELIVERIES_REMOVE, args![self.webhook, limit]).await?)
    }
}

/// Writes how a webhook stands; its cursor never goes back, and a reason to be disabled is left to [`DisableWebhook`].
/// Refused with [`ErrorKind::NotFound`].
#[derive(Clone, Debug)]
pub struct PutWebhookStanding {
    /// Its id.
    pub id: PublicId,
    /// How it stands.
    pub standing: WebhookStanding,
}

impl Apply for PutWebhookStanding {
    // What a power cut takes is sent again under the same delivery id.
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        exists(tx, self.id).await?;
        let at = &self.standing;
        let row =
            args![self.id, at.cursor_seq, at.cursor_at, at.failing_since, at.next_attempt_at, at.warned_at];
        tx.run(WEBHOOK_STANDING, row).await?;
        Ok(())
    }
}

/// Disables a webhook that the server gives up; answers whether it was enabled. Refused with [`ErrorKind::NotFound`].
#[derive(Clone, Debug)]
pub struct DisableWebhook {
    /// Its id.
    pub id: PublicId,
    /// Why.
    pub reason: String,
    /// Now.
    pub now: WallTime,
}

impl Apply for DisableWebhook {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, OpError> {
        exists(tx, self.id).await?;
        let reason = if self.reason.is_empty() { "unknown" } else { self.reason.as_str() };
        Ok(tx.run(WEBHOOK_DISABLE, args![self.id, reason, self.now]).await? > 0)
    }
}

/// Writes what became of a delivery; of one that has a row the event and its creation stay. Refused with
/// [`ErrorKind::NotFound`] when the webhook is gone.
#[derive(Clone, Debug)]
pub struct PutDelivery {
    /// The row.
    pub delivery: WebhookDelivery,
}

impl Apply for PutDelivery {
    // As for the standing.
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let d = &self.delivery;
        exists(tx, d.webhook).await?;
        let row = args![
            d.id,
            d.webhook,
            d.event.as_ref().map(|event| event.id.as_str()),
            d.event_type.as_deref(),
            d.event.as_ref().map(|event| event.seq),
            d.status,
            d.attempts,
            d.refusals.min(d.attempts),
            d.response_code,
            d.error.as_deref(),
            d.created_at,
            d.delivered_at,
            d.next_attempt_at,
            d.parked,
        ];
        tx.run(DELIVERY_PUT, row).await?;
        Ok(())
    }
}

/// Notes events that are to be sent once more; answers with how many of them are there and were not noted before. Refused
/// with [`ErrorKind::NotFound`] when the webhook is gone.
#[derive(Clone, Debug)]
pub struct QueueReplay {
    /// To which webhook.
    pub webhook: PublicId,
    /// The numbers of the events.
    pub seqs: Vec<i64>,
}

impl Apply for QueueReplay {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, OpError> {
        exists(tx, self.webhook).await?;
        let mut queued = 0;
        for seq in &self.seqs {
            queued += tx.run(REPLAY_PUT, args![self.webhook, *seq]).await?;
        }
        Ok(queued)
    }
}

/// An event that was to be sent once more has been, or cannot be.
#[derive(Clone, Debug)]
pub struct FinishReplay {
    /// To which webhook.
    pub webhook: PublicId,
    /// The number of the event.
    pub seq: i64,
}

impl Apply for FinishReplay {
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        tx.run(REPLAY_REMOVE, args![self.webhook, self.seq]).await?;
        Ok(())
    }
}

fn check(fields: &WebhookFields) -> Result<(), OpError> {
    if fields.name.is_empty() || fields.url.expose().is_empty() {
        return Err(conflict("a webhook has a name and a URL"));
    }
    Ok(())
}

fn changed() -> OpError {
    conflict("the webhook was changed by someone else")
}

async fn exists(tx: &mut Tx<'_>, id: PublicId) -> Result<(), OpError> {
    match tx.row(WEBHOOK_EXISTS, args![id]).await? {
        Some(_) => Ok(()),
        None => Err(not_found("webhook")),
    }
}

async fn one(tx: &mut Tx<'_>, id: PublicId) -> Result<Webhook, OpError> {
    let row = tx.row(WEBHOOK_BY_ID, args![id]).await?.ok_or_else(|| not_found("webhook"))?;
    Ok(webhook_from(&row)?)
}

/// `$1` to `$11` of the insert and the update.
fn webhook_args(id: PublicId, fields: &WebhookFields, now: WallTime) -> Result<Vec<Arg>, OpError> {
    let list = |list: Result<String, serde_json::Error>| {
        list.map_err(|_| refused(ErrorKind::Internal, "a list cannot be written as JSON"))
    };
    Ok(args![
        id,
        fields.name.as_str(),
        fields.url.expose().as_str(),
        fields.secret.as_ref().map(|secret| secret.expose().as_str()),
        list(serde_json::to_string(&fields.event_types))?,
        fields.min_severity,
        list(serde_json::to_string(&fields.cameras))?,
        fields.format,
        fields.recipient.as_deref(),
        fields.enabled,
        now,
    ])
}
