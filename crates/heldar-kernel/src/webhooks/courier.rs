//! One attempt: what is sent, to whom, and what it came to.
//!
//! Owns: the body of a message, which is made once for all attempts, and the opening of what is sealed. Never: decides what
//! follows.

use std::time::Instant;

use bytes::Bytes;
use heldar_base::{PublicId, Secret, WallTime};
use heldar_store::op::PutDelivery;
use heldar_store::{
    AuditEntry, DeliveryStatus, Event, NewEvent, Severity, StoreError, Webhook, WebhookDelivery,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::forms::{self, Attempt, Message, Receiver};
use super::machine::Answer;
use super::wording::Words;
use super::{Site, Webhooks};
use crate::engine::journal::random_bits;
use crate::secrets::{SecretError, WEBHOOK};

/// Type of the event of a test.
const TEST: &str = "test";

/// What cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The URL.
    Url,
    /// The secret.
    Secret,
}

impl Unusable {
    /// Its name in deliveries.
    pub fn as_str(self) -> &'static str {
        match self {
            Unusable::Url => "webhook.url_unusable",
            Unusable::Secret => "webhook.signing_secret_unusable",
        }
    }
}

/// What a test came to.
#[derive(Clone, Debug)]
pub struct Tested {
    /// Whether the receiver has taken it.
    pub is_ok: bool,
    /// HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
}

/// The body of the server's own form (perception.md 16.1).
#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    camera_id: Option<&'a str>,
    site_id: Option<&'a str>,
    event_type: &'a str,
    severity: Severity,
    timestamp: WallTime,
    payload: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<i64>,
}

fn body(event: &NewEvent, site_id: Option<&str>, seq: Option<i64>) -> Bytes {
    let body = Body {
        id: &event.id,
        camera_id: event.camera.as_ref().map(|camera| camera.as_str()),
        site_id,
        event_type: &event.event_type,
        severity: event.severity,
        timestamp: event.timestamp,
        payload: &event.payload,
        seq,
    };
    // Text and JSON; nothing of it can fail.
    serde_json::to_vec(&body).unwrap_or_default().into()
}

impl Webhooks {
    /// A webhook with its URL and secret opened.
    pub(super) fn receiver(&self, webhook: &Webhook) -> Result<Receiver, Unusable> {
        let row = webhook.id.to_string();
        let open = |column, value: &Secret<String>| -> Result<Secret<String>, SecretError> {
            self.ground.sealer.open_value(WEBHOOK, column, &row, value)
        };
        let fields = &webhook.fields;
        Ok(Receiver {
            format: fields.format,
            url: open("url", &fields.url).map_err(|_| Unusable::Url)?,
            secret: match &fields.secret {
                Some(secret) => Some(open("secret", secret).map_err(|_| Unusable::Secret)?),
                None => None,
            },
            to: fields.recipient.clone(),
        })
    }

    /// What a webhook is told of an event.
    pub(super) async fn message(
        &self,
        site: &dyn Site,
        webhook: &Webhook,
        id: PublicId,
        event: &Event,
    ) -> Message {
        let own_site = self.ground.site_id.as_deref();
        let site_id = event.site.as_ref().map(|site| site.as_str()).or(own_site);
        let of = &event.event;
        let mut message = Message {
            delivery: id,
            event_type: of.event_type.clone(),
            severity: of.severity,
            at: of.timestamp,
            body: body(of, site_id, Some(event.seq)),
            words: Words { title: String::new(), text: String::new(), severity: of.severity },
            link: self.link(of),
            picture: None,
        };
        if !forms::is_for_people(webhook.fields.format) {
            return message;
        }
        let camera = match &of.camera {
            Some(camera) => site.camera(camera).await,
            None => None,
        };
        let (name, zone) = camera.map_or_else(|| (None, site.zone()), |(name, zone)| (Some(name), zone));
        message.words = Words::new(of, name.as_deref(), &zone, site.description(&of.event_type));
        let wait = self.ground.settings.picture_wait.to_std();
        message.picture = tokio::time::timeout(wait, site.picture(event)).await.ok().flatten();
        message
    }

    /// Where more of an event is to be seen.
    fn link(&self, event: &NewEvent) -> Option<String> {
        let base = self.ground.public_url.as_ref()?;
        let clip = event.payload.get("links")?.get("clip")?.as_str().filter(|clip| clip.starts_with('/'))?;
        base.join(clip).ok().map(String::from)
    }

    /// Makes an attempt.
    pub(super) async fn attempt(&self, receiver: &Receiver, message: &Message, attempt: Attempt) -> Answer {
        let begun = Instant::now();
        let answer = Box::pin(forms::send(&self.ground.client, receiver, message, attempt)).await;
        self.meters.duration.observe(begun.elapsed().as_secs_f64());
        self.meters.attempts.with([answer.as_str()]).inc();
        answer
    }

    /// Sends a test to a webhook, whether or not it is enabled, and keeps what it came to with its audit row.
    ///
    /// # Errors
    /// The store; the test may have been sent.
    pub async fn test(&self, webhook: &Webhook, audit: AuditEntry) -> Result<Tested, StoreError> {
        let now = self.now();
        let id = PublicId::new(WebhookDelivery::PREFIX, random_bits());
        let event = NewEvent {
            id: id.to_string(),
            camera: None,
            event_type: TEST.to_owned(),
            severity: Severity::Info,
            timestamp: now,
            created_at: now,
            payload: json!({ "message": "Heldar webhook test" }),
        };
        let text = "Heldar webhook test".to_owned();
        let message = Message {
            delivery: id,
            event_type: TEST.to_owned(),
            severity: Severity::Info,
            at: now,
            body: body(&event, self.ground.site_id.as_deref(), None),
            words: Words { title: "Heldar".to_owned(), text, severity: Severity::Info },
            link: None,
            picture: None,
        };
        let (tested, attempts) = match self.receiver(webhook) {
            Ok(receiver) => {
                let attempt = Attempt { number: 1, is_replay: false, now };
                let answer = self.attempt(&receiver, &message, attempt).await;
                let is_ok = matches!(answer, Answer::Taken { .. });
                (Tested { is_ok, status: answer.status(), error: answer.error() }, 1)
            }
            Err(unusable) => {
                (Tested { is_ok: false, status: None, error: Some(unusable.as_str().to_owned()) }, 0)
            }
        };
        let delivery = WebhookDelivery {
            id,
            webhook: webhook.id,
            event: None,
            event_type: Some(TEST.to_owned()),
            status: if tested.is_ok { DeliveryStatus::Delivered } else { DeliveryStatus::Failed },
            attempts,
            refusals: 0,
            response_code: tested.status,
            error: tested.error.clone(),
            created_at: now,
            delivered_at: tested.is_ok.then(|| self.now()),
            next_attempt_at: None,
            parked: !tested.is_ok,
        };
        let attached = heldar_store::Attached { audit: Some(audit), events: Vec::new() };
        self.ground.store.manage(PutDelivery { delivery }, attached).await?;
        Ok(tested)
    }
}
