//! The events of a subscription in their order, each until it is taken or given up.
//!
//! Owns: the cursor. It passes an event in the commit of its delivery; what is not for the subscription it passes in memory,
//! and in the store soon after.

use std::collections::VecDeque;
use std::sync::Arc;

use heldar_base::{Micros, Scope, WallTime};
use heldar_store::op::{AppendEvents, DisableWebhook, PutDelivery, PutWebhookStanding, WriteOp};
use heldar_store::{
    DeliveryStatus, Event, FeedBatches, FeedRow, FeedWants, StoreError, Webhook, WebhookDelivery,
    WebhookFields, WebhookStanding,
};
use serde_json::json;
use tokio::time::Instant;

use super::forms::Attempt;
use super::machine::{Answer, Known, Verdict, Why, judge};
use super::runner::{For, REST, Runner, Woken, about, chance, disabled, enter, new_delivery};
use super::{Unusable, delivery_id};
use crate::feed::matches;
use crate::perception::fanout::patiently;

/// Events read at a time.
const PAGE: u32 = 100;
/// That URL or secret cannot be opened is told so often at most.
const WARN_EVERY: Micros = Micros::from_hours(1);

/// Whether a subscription wants an event.
pub(crate) fn wants(fields: &WebhookFields, event: &Event) -> bool {
    let of = &event.event;
    of.severity >= fields.min_severity
        && fields.event_types.iter().any(|pattern| matches(pattern, &of.event_type))
        && (fields.cameras.is_empty()
            || of.camera.as_ref().is_some_and(|camera| fields.cameras.contains(camera)))
}

/// Where a subscription is.
struct Place {
    standing: WebhookStanding,
    /// Events that were read and not passed.
    page: VecDeque<Event>,
    /// Nothing up to here is neither passed nor in the page.
    reached: i64,
    /// Events up to here were told to be gone.
    told_gone: i64,
    /// The cursor is not stored as it is.
    is_dirty: bool,
    stored_at: Instant,
}

impl Place {
    fn new(standing: WebhookStanding) -> Self {
        let reached = standing.cursor_seq;
        Place {
            standing,
            page: VecDeque::new(),
            reached,
            told_gone: 0,
            is_dirty: false,
            stored_at: Instant::now(),
        }
    }

    fn pass(&mut self, seq: i64, at: Option<WallTime>) {
        self.standing.cursor_seq = self.standing.cursor_seq.max(seq);
        self.standing.cursor_at = at.or(self.standing.cursor_at);
        self.is_dirty = true;
    }

    /// Its row was changed: what was read is read anew, and the next attempt may be made.
    fn follow(&mut self, row: &WebhookStanding) {
        let mut standing = row.clone();
        if standing.cursor_seq < self.standing.cursor_seq {
            standing.cursor_seq = self.standing.cursor_seq;
            standing.cursor_at = self.standing.cursor_at;
        }
        self.reached = standing.cursor_seq;
        self.standing = standing;
        self.page.clear();
    }
}

impl Runner {
    /// Runs until the subscription ends.
    pub(super) async fn live(mut self) {
        let Some(mut webhook) = self.take_row() else { return };
        let mut place = Place::new(webhook.standing.clone());
        loop {
            if self.is_stale() {
                let Some(row) = self.take_row() else { break };
                place.follow(&row.standing);
                webhook = row;
            }
            self.show(&webhook, &place);
            match self.next(&webhook, &mut place).await {
                Ok(Some(event)) => {
                    Box::pin(self.deliver(&webhook, &mut place, &event)).await;
                    if place.standing.cursor_seq < event.seq {
                        place.page.push_front(event);
                    }
                }
                Ok(None) => {
                    if place.is_dirty && place.stored_at.elapsed() >= self.webhooks.sweep() {
                        self.save(&webhook, &mut place).await;
                    }
                    self.rest(For::Events).await;
                }
                Err(error) => {
                    tracing::error!(%error, "the events of a webhook cannot be read");
                    tokio::time::sleep(REST).await;
                }
            }
        }
        if place.is_dirty {
            self.save(&webhook, &mut place).await;
        }
    }

    /// Tells others where it is.
    fn show(&self, webhook: &Webhook, place: &Place) {
        self.webhooks.places().insert(webhook.id, place.standing.cursor_seq);
        let is_failing = f64::from(u8::from(place.standing.failing_since.is_some()));
        self.webhooks.meters.failing.with([&webhook.id.to_string()]).set(is_failing);
    }

    async fn save(&self, webhook: &Webhook, place: &mut Place) {
        let (id, standing) = (webhook.id, place.standing.clone());
        if self.write(|| vec![PutWebhookStanding { id, standing: standing.clone() }.into()]).await {
            place.is_dirty = false;
        }
        place.stored_at = Instant::now();
    }

    /// The next event that the subscription wants; what it does not want is passed.
    async fn next(&self, webhook: &Webhook, place: &mut Place) -> Result<Option<Event>, StoreError> {
        loop {
            while let Some(event) = place.page.pop_front() {
                if wants(&webhook.fields, &event) {
                    return Ok(Some(event));
                }
                place.pass(event.seq, Some(event.event.created_at));
            }
            if place.reached > place.standing.cursor_seq {
                place.pass(place.reached, None);
            }
            if !self.fill(webhook, place).await? {
                return Ok(None);
            }
        }
    }

    /// Reads a page; false: there is nothing new.
    async fn fill(&self, webhook: &Webhook, place: &mut Place) -> Result<bool, StoreError> {
        let store = &self.webhooks.ground.store;
        let up_to = store.committed().borrow().seq;
        if place.reached >= up_to || self.is_stale() {
            return Ok(false);
        }
        // What is committed after a change is for the webhook as it is then.
        let row = patiently(|| store.webhook(&Scope::All, webhook.id)).await?;
        if row.is_none_or(|row| row.revision != webhook.revision) {
            self.webhooks.changed();
            return Ok(false);
        }
        let floor = patiently(|| store.feed_floors(&Scope::All)).await?.events;
        if floor > place.standing.cursor_seq && floor > place.told_gone {
            self.tell_gone(webhook, floor).await;
            place.told_gone = floor;
        }
        let camera = webhook.fields.cameras.first().filter(|_| webhook.fields.cameras.len() == 1);
        let events = FeedWants { events: true, batches: FeedBatches::Leave };
        let range = (place.reached, up_to);
        let page = patiently(|| store.feed(&Scope::All, camera, events, range, (PAGE, 0))).await?;
        place.page.extend(page.rows.into_iter().filter_map(|row| match row {
            FeedRow::Event(event) => Some(event),
            FeedRow::Batch { .. } => None,
        }));
        place.reached = page.reached.max(place.reached + 1);
        Ok(true)
    }

    /// Notes that events went before their turn came.
    async fn tell_gone(&self, webhook: &Webhook, floor: i64) {
        let note = WebhookDelivery {
            id: delivery_id(webhook.id, &format!("gone up to {floor}")),
            webhook: webhook.id,
            event: None,
            event_type: None,
            status: DeliveryStatus::Failed,
            attempts: 0,
            refusals: 0,
            response_code: None,
            error: Some(format!("events up to number {floor} were past their age and are gone")),
            created_at: self.webhooks.now(),
            delivered_at: None,
            next_attempt_at: None,
            parked: true,
        };
        self.write(|| vec![PutDelivery { delivery: note.clone() }.into()]).await;
    }

    /// Tries an event until it is taken or given up, or until the row of the webhook is another.
    async fn deliver(&mut self, webhook: &Arc<Webhook>, place: &mut Place, event: &Event) {
        let id = delivery_id(webhook.id, &event.event.id);
        let store = self.webhooks.ground.store.clone();
        let before = match patiently(|| store.webhook_delivery(&Scope::All, id)).await {
            Ok(before) => before,
            Err(error) => {
                tracing::error!(%error, "a delivery cannot be read; it begins anew");
                None
            }
        };
        if before.as_ref().is_some_and(|row| row.status == DeliveryStatus::Delivered) {
            // It came by a replay, or its commit came before a power cut that took the cursor.
            place.pass(event.seq, Some(event.event.created_at));
            return;
        }
        let now = self.webhooks.now();
        let mut delivery = before.unwrap_or_else(|| new_delivery(id, webhook.id, event, now));
        let mut message = None;
        loop {
            if let Some(at) = place.standing.next_attempt_at
                && self.rest(For::Instant(at)).await == Woken::Changed
            {
                return;
            }
            let receiver = match self.webhooks.receiver(webhook) {
                Ok(receiver) => receiver,
                Err(unusable) => {
                    self.halt(webhook, place, &mut delivery, unusable).await;
                    if self.rest(For::Orders).await == Woken::Changed {
                        return;
                    }
                    continue;
                }
            };
            if message.is_none() {
                message = Some(self.webhooks.message(&*self.site, webhook, id, event).await);
            }
            let Some(message) = &message else { return };
            let attempt = Attempt {
                number: delivery.attempts.saturating_add(1),
                is_replay: false,
                now: self.webhooks.now(),
            };
            let answer = self.webhooks.attempt(&receiver, message, attempt).await;
            let verdict = self.decide(place, &mut delivery, &answer);
            if self.settle(webhook, place, &delivery, event, verdict).await {
                return;
            }
        }
    }

    /// Enters an answer, and says what follows.
    fn decide(&self, place: &mut Place, delivery: &mut WebhookDelivery, answer: &Answer) -> Verdict {
        let now = self.webhooks.now();
        delivery.attempts = delivery.attempts.saturating_add(1);
        if matches!(answer, Answer::Refused { .. }) {
            delivery.refusals = delivery.refusals.saturating_add(1);
        }
        if !matches!(answer, Answer::Taken { .. }) {
            place.standing.failing_since.get_or_insert(now);
        }
        let known = Known {
            failures: delivery.attempts,
            refusals: delivery.refusals,
            failing_since: place.standing.failing_since,
        };
        let verdict = judge(answer, known, self.webhooks.policy(), now, chance());
        enter(delivery, answer, verdict, now);
        verdict
    }

    /// Stores what follows; true: the turn of this event is over.
    async fn settle(
        &self,
        webhook: &Webhook,
        place: &mut Place,
        delivery: &WebhookDelivery,
        event: &Event,
        verdict: Verdict,
    ) -> bool {
        let now = self.webhooks.now();
        place.standing.next_attempt_at = delivery.next_attempt_at;
        match verdict {
            Verdict::Next => {
                place.pass(event.seq, Some(event.event.created_at));
                place.standing.failing_since = None;
            }
            Verdict::Park => place.pass(event.seq, Some(event.event.created_at)),
            Verdict::Again(_) | Verdict::Disable(_) => {}
        }
        let id = webhook.id;
        let standing = place.standing.clone();
        let ended = match verdict {
            Verdict::Disable(why) => {
                let told = disabled(webhook, standing.failing_since, delivery.error.as_deref(), now);
                Some((why, told))
            }
            _ => None,
        };
        let ops = || {
            let mut ops: Vec<WriteOp> = vec![
                PutDelivery { delivery: delivery.clone() }.into(),
                PutWebhookStanding { id, standing: standing.clone() }.into(),
            ];
            if let Some((why, told)) = &ended {
                ops.push(DisableWebhook { id, reason: why.as_str().to_owned(), now }.into());
                ops.push(AppendEvents { events: vec![told.clone()] }.into());
            }
            ops
        };
        let is_written = self.write(ops).await;
        if is_written {
            place.is_dirty = false;
            place.stored_at = Instant::now();
        }
        self.show(webhook, place);
        match &ended {
            Some((why, _)) if is_written => self.end(webhook, *why).await,
            Some(_) => tokio::time::sleep(REST).await,
            None => {}
        }
        !matches!(verdict, Verdict::Again(_)) || self.is_stale()
    }

    /// The webhook was disabled by the server: waits until its row says so.
    async fn end(&self, webhook: &Webhook, why: Why) {
        tracing::warn!(webhook = %webhook.id, why = why.as_str(), "a webhook was disabled");
        self.webhooks.changed();
        let mut row = self.row.clone();
        // An error means that the task is to end, which is noticed next.
        let _ended = row.changed().await;
    }

    /// URL or secret cannot be opened: notes it, and tells once in a while.
    async fn halt(
        &self,
        webhook: &Webhook,
        place: &mut Place,
        delivery: &mut WebhookDelivery,
        unusable: Unusable,
    ) {
        let now = self.webhooks.now();
        let warned = place.standing.warned_at.filter(|at| *at <= now && now - *at < WARN_EVERY);
        let error = Some(unusable.as_str().to_owned());
        if warned.is_some() && delivery.error == error {
            return;
        }
        delivery.error = error;
        (delivery.response_code, delivery.next_attempt_at, delivery.parked) = (None, None, false);
        let payload = json!({
            "subscription_id": webhook.id,
            "name": webhook.fields.name,
            "error": unusable.as_str(),
        });
        let told = warned.is_none().then(|| about("webhook_signing_secret_unusable", payload, now));
        if told.is_some() {
            place.standing.warned_at = Some(now);
        }
        let (id, standing) = (webhook.id, place.standing.clone());
        let ops = || {
            let mut ops: Vec<WriteOp> = vec![
                PutDelivery { delivery: delivery.clone() }.into(),
                PutWebhookStanding { id, standing: standing.clone() }.into(),
            ];
            ops.extend(told.clone().map(|told| AppendEvents { events: vec![told] }.into()));
            ops
        };
        self.write(ops).await;
    }
}
