//! Events that are to be sent once more, beside the live order and under the same delivery ids.
//!
//! Owns: their own back-off. Never: moves the cursor, or counts as a failure of the subscription.

use std::sync::Arc;

use heldar_base::Scope;
use heldar_store::op::{AppendEvents, DisableWebhook, FinishReplay, PutDelivery, WriteOp};
use heldar_store::{Event, FeedBatches, FeedRow, FeedWants, StoreError, Webhook};

use super::delivery_id;
use super::forms::Attempt;
use super::machine::{Answer, Known, Verdict, judge};
use super::runner::{For, Runner, Woken, chance, disabled, enter, new_delivery};
use crate::perception::fanout::patiently;

impl Runner {
    /// Runs until the subscription ends.
    pub(super) async fn replay(mut self) {
        while let Some(webhook) = self.take_row() {
            match self.turn(&webhook).await {
                Ok(true) => {}
                Ok(false) => {
                    self.rest(For::Orders).await;
                }
                Err(error) => {
                    tracing::error!(%error, "the replays of a webhook cannot be read");
                    self.rest(For::Orders).await;
                }
            }
        }
    }

    /// Takes the turn of the oldest event that waits; false: none does.
    async fn turn(&mut self, webhook: &Arc<Webhook>) -> Result<bool, StoreError> {
        let store = self.webhooks.ground.store.clone();
        let id = webhook.id;
        let waiting = patiently(|| store.webhook_replays(&Scope::All, id, 0, 1)).await?;
        let Some(seq) = waiting.first().copied() else { return Ok(false) };
        let events = FeedWants { events: true, batches: FeedBatches::Leave };
        let page = patiently(|| store.feed(&Scope::All, None, events, (seq - 1, seq), (1, 0))).await?;
        match page.rows.into_iter().next() {
            Some(FeedRow::Event(event)) => Box::pin(self.deliver_again(webhook, event)).await,
            _ => {
                // Age has taken it meanwhile.
                self.write(|| vec![FinishReplay { webhook: id, seq }.into()]).await;
                Ok(true)
            }
        }
    }

    async fn deliver_again(&mut self, webhook: &Arc<Webhook>, event: Event) -> Result<bool, StoreError> {
        let (store, webhook_id, seq) = (self.webhooks.ground.store.clone(), webhook.id, event.seq);
        let id = delivery_id(webhook_id, &event.event.id);
        let before = patiently(|| store.webhook_delivery(&Scope::All, id)).await?;
        let mut delivery =
            before.unwrap_or_else(|| new_delivery(id, webhook_id, &event, self.webhooks.now()));
        let Ok(receiver) = self.webhooks.receiver(webhook) else { return Ok(false) };
        let message = self.webhooks.message(&*self.site, webhook, id, &event).await;
        let (mut failures, mut refusals) = (0, 0);
        loop {
            let attempt = Attempt {
                number: delivery.attempts.saturating_add(1),
                is_replay: true,
                now: self.webhooks.now(),
            };
            let answer = self.webhooks.attempt(&receiver, &message, attempt).await;
            let now = self.webhooks.now();
            failures += 1;
            delivery.attempts = delivery.attempts.saturating_add(1);
            if matches!(answer, Answer::Refused { .. }) {
                refusals += 1;
                delivery.refusals = delivery.refusals.saturating_add(1);
            }
            let known = Known { failures, refusals, failing_since: None };
            let verdict = judge(&answer, known, self.webhooks.policy(), now, chance());
            enter(&mut delivery, &answer, verdict, now);
            let told = disabled(webhook, None, delivery.error.as_deref(), now);
            let ops = || {
                let mut ops: Vec<WriteOp> = vec![PutDelivery { delivery: delivery.clone() }.into()];
                match verdict {
                    Verdict::Again(_) => {}
                    Verdict::Next | Verdict::Park => {
                        ops.push(FinishReplay { webhook: webhook_id, seq }.into());
                    }
                    Verdict::Disable(why) => {
                        ops.push(
                            DisableWebhook { id: webhook_id, reason: why.as_str().to_owned(), now }.into(),
                        );
                        ops.push(AppendEvents { events: vec![told.clone()] }.into());
                    }
                }
                ops
            };
            let is_written = self.write(ops).await;
            match verdict {
                Verdict::Again(at) if is_written => {
                    if self.rest(For::Instant(at)).await == Woken::Changed {
                        return Ok(true);
                    }
                }
                Verdict::Disable(_) => {
                    self.webhooks.changed();
                    return Ok(false);
                }
                _ => return Ok(is_written),
            }
        }
    }
}
