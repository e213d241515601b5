//! Reads of webhooks, deliveries and replays. None of them is about one camera: a limited scope sees nothing.

use heldar_base::{PublicId, Scope};

use super::{all, fetch_limit, page_limit};
use crate::error::StoreError;
use crate::model::{
    DeliveredEvent, DeliveryCursor, DeliveryStatus, Page, Webhook, WebhookDelivery, WebhookFields,
    WebhookStanding,
};
use crate::sql::{Query, Row, args, statements};

macro_rules! webhook_columns {
    () => {
        "SELECT w.id, w.name, w.url, w.secret, w.event_types, w.min_severity, w.camera_ids, w.format, w.recipient,
        w.enabled, w.cursor_seq, w.cursor_us, w.failing_us, w.next_attempt_us, w.disabled_reason, w.warned_us,
        w.created_us, w.updated_us, w.revision FROM webhook w"
    };
}

statements! {
    BY_ID = concat!(webhook_columns!(), " WHERE w.id = $1");
}

/// A webhook, for the writer.
pub(crate) const WEBHOOK_BY_ID: crate::sql::Stmt = BY_ID;

const WEBHOOKS: &str = concat!(webhook_columns!(), " ORDER BY w.created_us, w.id");
const DELIVERIES: &str =
    "SELECT d.id, d.webhook_id, d.event_id, d.event_seq, d.event_type, d.status, d.attempts,
    d.refusals, d.response_code, d.error, d.created_us, d.delivered_us, d.next_attempt_us, d.parked
    FROM webhook_delivery d";
const FAILED: &str = "SELECT event_seq FROM webhook_delivery WHERE webhook_id = $ AND status = 'failed'
    AND event_seq IS NOT NULL AND event_seq <= $ ORDER BY event_seq LIMIT $";
const REPLAYS: &str =
    "SELECT event_seq FROM webhook_replay WHERE webhook_id = $ AND event_seq > $ ORDER BY event_seq LIMIT $";
const EVENTS_AFTER: &str =
    "SELECT COUNT(*) FROM (SELECT 1 FROM event WHERE seq > $ ORDER BY seq LIMIT $) AS newer";

pub(crate) fn webhook_from(row: &Row) -> Result<Webhook, StoreError> {
    let mut c = row.columns();
    Ok(Webhook {
        id: c.public_id(Webhook::PREFIX)?,
        fields: WebhookFields {
            name: c.text()?,
            url: c.text()?.into(),
            secret: c.opt_text()?.map(Into::into),
            event_types: c.json()?,
            min_severity: c.word()?,
            cameras: c.json()?,
            format: c.word()?,
            recipient: c.opt_text()?,
            enabled: c.flag()?,
        },
        standing: WebhookStanding {
            cursor_seq: c.int()?,
            cursor_at: c.opt_time()?,
            failing_since: c.opt_time()?,
            next_attempt_at: c.opt_time()?,
            disabled_reason: c.opt_text()?,
            warned_at: c.opt_time()?,
        },
        created_at: c.time()?,
        updated_at: c.time()?,
        revision: c.int()?,
    })
}

fn delivery_from(row: &Row) -> Result<WebhookDelivery, StoreError> {
    let mut c = row.columns();
    Ok(WebhookDelivery {
        id: c.public_id(WebhookDelivery::PREFIX)?,
        webhook: c.public_id(Webhook::PREFIX)?,
        event: match (c.opt_text()?, c.opt_int()?) {
            (Some(id), Some(seq)) => Some(DeliveredEvent { id, seq }),
            _ => None,
        },
        event_type: c.opt_text()?,
        status: c.word()?,
        attempts: c.number()?,
        refusals: c.number()?,
        response_code: c.opt_number()?,
        error: c.opt_text()?,
        created_at: c.time()?,
        delivered_at: c.opt_time()?,
        next_attempt_at: c.opt_time()?,
        parked: c.flag()?,
    })
}

pub(crate) fn list_query() -> Query {
    Query::new(WEBHOOKS, Vec::new())
}

pub(crate) fn delivery_query(id: PublicId) -> Query {
    let mut query = Query::new(DELIVERIES, Vec::new());
    query.push("WHERE d.id = $", args![id]);
    query
}

pub(crate) fn deliveries_query(
    webhook: PublicId,
    status: Option<DeliveryStatus>,
    after: Option<DeliveryCursor>,
    limit: u32,
) -> Query {
    let mut query = Query::new(DELIVERIES, Vec::new());
    query.push("WHERE d.webhook_id = $", args![webhook]);
    query.push_if("AND d.status = $", status);
    if let Some(cursor) = after {
        query.push("AND (d.created_us, d.id) < ($, $)", args![cursor.created_us, cursor.id()]);
    }
    query.push("ORDER BY d.created_us DESC, d.id DESC LIMIT $", args![fetch_limit(limit)]);
    query
}

pub(crate) fn failed_query(webhook: PublicId, up_to: i64, limit: u32) -> Query {
    Query::new(FAILED, args![webhook, up_to, limit])
}

pub(crate) fn replays_query(webhook: PublicId, after: i64, limit: u32) -> Query {
    Query::new(REPLAYS, args![webhook, after, limit])
}

pub(crate) fn events_after_query(seq: i64, most: u32) -> Query {
    Query::new(EVENTS_AFTER, args![seq, most])
}

impl crate::Store {
    /// Every webhook, the oldest first, then by id. Their URLs and secrets are as they were stored: sealed, mostly.
    pub async fn webhooks(&self, scope: &Scope) -> Result<Vec<Webhook>, StoreError> {
        if !scope.is_all() {
            return Ok(Vec::new());
        }
        let rows = self.query(list_query()).await?;
        all(&rows, webhook_from)
    }

    /// One webhook.
    pub async fn webhook(&self, scope: &Scope, id: PublicId) -> Result<Option<Webhook>, StoreError> {
        if !scope.is_all() {
            return Ok(None);
        }
        let rows = self.rows(WEBHOOK_BY_ID.with(args![id])).await?;
        rows.first().map(webhook_from).transpose()
    }

    /// One delivery.
    pub async fn webhook_delivery(
        &self,
        scope: &Scope,
        id: PublicId,
    ) -> Result<Option<WebhookDelivery>, StoreError> {
        if !scope.is_all() {
            return Ok(None);
        }
        let rows = self.query(delivery_query(id)).await?;
        rows.first().map(delivery_from).transpose()
    }

    /// Deliveries of a webhook, newest first.
    pub async fn webhook_deliveries(
        &self,
        scope: &Scope,
        webhook: PublicId,
        status: Option<DeliveryStatus>,
        after: Option<DeliveryCursor>,
        limit: u32,
    ) -> Result<Page<WebhookDelivery, DeliveryCursor>, StoreError> {
        if !scope.is_all() {
            return Ok(Page::empty());
        }
        let rows = self.query(deliveries_query(webhook, status, after, limit)).await?;
        Ok(Page::cut(all(&rows, delivery_from)?, page_limit(limit), DeliveryCursor::after))
    }

    /// Numbers of the events up to one, that a webhook has not taken, ascending.
    pub async fn failed_deliveries(
        &self,
        scope: &Scope,
        webhook: PublicId,
        up_to: i64,
        limit: u32,
    ) -> Result<Vec<i64>, StoreError> {
        if !scope.is_all() {
            return Ok(Vec::new());
        }
        let rows = self.query(failed_query(webhook, up_to, limit)).await?;
        all(&rows, |row| row.columns().int())
    }

    /// Numbers of the events after one, that are to be sent to a webhook once more, ascending.
    pub async fn webhook_replays(
        &self,
        scope: &Scope,
        webhook: PublicId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<i64>, StoreError> {
        if !scope.is_all() {
            return Ok(Vec::new());
        }
        let rows = self.query(replays_query(webhook, after, limit)).await?;
        all(&rows, |row| row.columns().int())
    }

    /// How many events there are after a number; no more than `most` are counted.
    pub async fn events_after(&self, scope: &Scope, seq: i64, most: u32) -> Result<u32, StoreError> {
        if !scope.is_all() {
            return Ok(0);
        }
        let rows = self.query(events_after_query(seq, most)).await?;
        rows.first().map_or(Ok(0), |row| row.columns().number())
    }
}
