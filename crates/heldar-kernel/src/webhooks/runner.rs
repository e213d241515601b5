//! What the two loops of a subscription share: its row as it is now, waiting, and writing what became of an event.

use std::sync::Arc;
use std::time::Duration;

use heldar_base::{Micros, PublicId, WallTime};
use heldar_store::op::WriteOp;
use heldar_store::{
    DeliveredEvent, DeliveryStatus, ErrorKind, Event, NewEvent, Severity, Webhook, WebhookDelivery,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::machine::{Answer, Verdict};
use super::{Site, Webhooks};
use crate::engine::journal::{random_bits, uuid};
use crate::perception::fanout::patiently;

/// How often a wait for an instant looks at the clock, which may be set.
const LOOK: Duration = Duration::from_secs(5);
/// Rest before a store that refused something is asked again.
pub(super) const REST: Duration = Duration::from_secs(1);

/// A subscription as its loops see it.
#[derive(Clone)]
pub(super) struct Runner {
    pub(super) webhooks: Arc<Webhooks>,
    pub(super) site: Arc<dyn Site>,
    /// Its row; none: it is to end.
    pub(super) row: watch::Receiver<Option<Arc<Webhook>>>,
    /// Number of the newest event.
    pub(super) head: watch::Receiver<i64>,
    pub(super) poke: watch::Receiver<u64>,
}

/// What a wait ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// Its row is another, or it is to end.
    Changed,
    /// The instant has come, or there may be something new.
    Due,
}

/// For what a loop waits.
#[derive(Clone, Copy, Debug)]
pub(super) enum For {
    /// An instant.
    Instant(WallTime),
    /// Events.
    Events,
    /// Anything else that is new.
    Orders,
}

impl Runner {
    /// Its row now; none: it is to end.
    pub(super) fn take_row(&mut self) -> Option<Arc<Webhook>> {
        if self.row.has_changed().is_err() {
            return None;
        }
        self.row.borrow_and_update().clone()
    }

    /// Whether its row is another since it was taken.
    pub(super) fn is_stale(&self) -> bool {
        self.row.has_changed().unwrap_or(true)
    }

    /// Waits.
    pub(super) async fn rest(&mut self, what: For) -> Woken {
        let begun = self.webhooks.now();
        // A clock that was set back makes nobody wait for longer than anybody waits.
        let longest = begun + self.webhooks.ground.settings.max_backoff;
        loop {
            let (left, for_events) = match what {
                For::Instant(at) => {
                    let left = at.min(longest) - self.webhooks.now();
                    if left <= Micros::ZERO {
                        return Woken::Due;
                    }
                    (left.to_std().min(LOOK), false)
                }
                For::Events => (self.webhooks.sweep(), true),
                For::Orders => (self.webhooks.sweep(), false),
            };
            let is_instant = matches!(what, For::Instant(_));
            tokio::select! {
                biased;
                _changed = self.row.changed() => {
                    // It was not taken yet.
                    self.row.mark_changed();
                    return Woken::Changed;
                }
                _new = self.head.changed(), if for_events => return Woken::Due,
                _poked = self.poke.changed() => {}
                () = tokio::time::sleep(left) => {}
            }
            if !is_instant {
                return Woken::Due;
            }
        }
    }

    /// Writes all of it in one commit; false: the webhook is gone, or the store does not take it.
    pub(super) async fn write(&self, ops: impl Fn() -> Vec<WriteOp>) -> bool {
        let store = &self.webhooks.ground.store;
        match patiently(|| store.write_all(ops())).await {
            Ok(_outcomes) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => {
                tracing::error!(%error, "what became of an event for a webhook is not stored");
                tokio::time::sleep(REST).await;
                false
            }
        }
    }
}

/// The row of an event that was not tried yet.
pub(super) fn new_delivery(id: PublicId, webhook: PublicId, event: &Event, now: WallTime) -> WebhookDelivery {
    WebhookDelivery {
        id,
        webhook,
        event: Some(DeliveredEvent { id: event.event.id.clone(), seq: event.seq }),
        event_type: Some(event.event.event_type.clone()),
        status: DeliveryStatus::Failed,
        attempts: 0,
        refusals: 0,
        response_code: None,
        error: None,
        created_at: now,
        delivered_at: None,
        next_attempt_at: None,
        parked: false,
    }
}

/// Enters what an attempt came to.
pub(super) fn enter(delivery: &mut WebhookDelivery, answer: &Answer, verdict: Verdict, now: WallTime) {
    let is_taken = verdict == Verdict::Next;
    delivery.status = if is_taken { DeliveryStatus::Delivered } else { DeliveryStatus::Failed };
    delivery.delivered_at = is_taken.then_some(now);
    delivery.response_code = answer.status();
    delivery.error = answer.error();
    delivery.next_attempt_at = match verdict {
        Verdict::Again(at) => Some(at),
        _ => None,
    };
    delivery.parked = verdict == Verdict::Park;
}

/// An event about a webhook.
pub(super) fn about(event_type: &str, payload: Value, now: WallTime) -> NewEvent {
    NewEvent {
        id: uuid(),
        camera: None,
        event_type: event_type.to_owned(),
        severity: Severity::Critical,
        timestamp: now,
        created_at: now,
        payload,
    }
}

/// The event that a webhook was given up.
pub(super) fn disabled(
    webhook: &Webhook,
    since: Option<WallTime>,
    error: Option<&str>,
    now: WallTime,
) -> NewEvent {
    let payload = json!({
        "subscription_id": webhook.id,
        "name": webhook.fields.name,
        "failing_since": since,
        "last_error": error,
    });
    about("webhook_disabled", payload, now)
}

/// A number from 0 to 1.
pub(super) fn chance() -> f64 {
    (random_bits() >> 96) as f64 / f64::from(u32::MAX)
}
