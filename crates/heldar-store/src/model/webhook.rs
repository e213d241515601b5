//! Webhooks: who is told of events over HTTP, how far each is, and what became of each event.

use heldar_base::{CameraId, PublicId, Secret, WallTime};
use serde::{Deserialize, Serialize};

use super::event::Severity;
use super::words;

words! {
    /// In which form requests are made.
    WebhookFormat {
        /// The event as JSON, signed.
        Heldar = "heldar",
        /// A topic of ntfy.
        Ntfy = "ntfy",
        /// A bot of Telegram.
        Telegram = "telegram",
        /// A channel of Slack.
        Slack = "slack",
        /// A user or group of Pushover.
        Pushover = "pushover",
    }
    /// What became of a delivery.
    DeliveryStatus {
        /// The receiver has taken it.
        Delivered = "delivered",
        /// It has not, so far or for good.
        Failed = "failed",
    }
}

/// Somebody who is told of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its id, with the prefix [`Webhook::PREFIX`].
    pub id: PublicId,
    /// What can be set.
    pub fields: WebhookFields,
    /// How it stands.
    pub standing: WebhookStanding,
    /// When it was made.
    pub created_at: WallTime,
    /// When it was last changed.
    pub updated_at: WallTime,
    /// Counts changes of its fields.
    pub revision: i64,
}

impl Webhook {
    /// Prefix of webhook ids.
    pub const PREFIX: &'static str = "whs";
}

/// What can be set of a webhook. URL and secret are kept as they are given: whoever writes has sealed them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookFields {
    /// What people call it, not empty.
    pub name: String,
    /// Where to, not empty.
    pub url: Secret<String>,
    /// What requests are signed or authorised with.
    pub secret: Option<Secret<String>>,
    /// Types of events that it wants, of which one may end in `*`.
    pub event_types: Vec<String>,
    /// Least severity that it wants.
    pub min_severity: Severity,
    /// Cameras whose events it wants; none: all, and what is about none.
    pub cameras: Vec<CameraId>,
    /// In which form requests are made.
    pub format: WebhookFormat,
    /// Whom the service is to tell.
    pub recipient: Option<String>,
    /// Whether it is told.
    pub enabled: bool,
}

/// How a webhook stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookStanding {
    /// Every event up to this number was delivered, given up, or not for it.
    pub cursor_seq: i64,
    /// When the newest of them was known.
    pub cursor_at: Option<WallTime>,
    /// Since when nothing was delivered.
    pub failing_since: Option<WallTime>,
    /// The next attempt is not made before.
    pub next_attempt_at: Option<WallTime>,
    /// Why the server has disabled it.
    pub disabled_reason: Option<String>,
    /// When it was last told that its URL or secret cannot be opened.
    pub warned_at: Option<WallTime>,
}

/// What became of an event for a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookDelivery {
    /// Its id, with the prefix [`WebhookDelivery::PREFIX`]; of an event it is always the same.
    pub id: PublicId,
    /// Of which webhook.
    pub webhook: PublicId,
    /// The event, which may be gone; `None`: a test, or a note about events that are gone.
    pub event: Option<DeliveredEvent>,
    /// The type that was sent, also of a test.
    pub event_type: Option<String>,
    /// What became of it.
    pub status: DeliveryStatus,
    /// Attempts in all, replays among them.
    pub attempts: u32,
    /// Those of them that the receiver refused.
    pub refusals: u32,
    /// HTTP status of the last answer.
    pub response_code: Option<u16>,
    /// What went wrong last; never holds an address or a secret.
    pub error: Option<String>,
    /// When it was first tried.
    pub created_at: WallTime,
    /// When it was taken; present if and only if the status says so.
    pub delivered_at: Option<WallTime>,
    /// When it is tried again.
    pub next_attempt_at: Option<WallTime>,
    /// Whether it was given up.
    pub parked: bool,
}

impl WebhookDelivery {
    /// Prefix of delivery ids.
    pub const PREFIX: &'static str = "whd";
}

/// The event of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveredEvent {
    /// Its UUID.
    pub id: String,
    /// Its place in commit order.
    pub seq: i64,
}

/// Where the next page of deliveries begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryCursor {
    /// Creation time of the last row seen.
    pub created_us: i64,
    /// The 128 bits of its id, in hexadecimal digits as two numbers.
    pub bits: (u64, u64),
}

impl DeliveryCursor {
    /// After a row.
    pub fn after(row: &WebhookDelivery) -> Self {
        let bits = row.id.bits();
        DeliveryCursor { created_us: row.created_at.0, bits: ((bits >> 64) as u64, bits as u64) }
    }

    /// The id of the row.
    pub fn id(self) -> PublicId {
        PublicId::new(WebhookDelivery::PREFIX, u128::from(self.bits.0) << 64 | u128::from(self.bits.1))
    }
}
