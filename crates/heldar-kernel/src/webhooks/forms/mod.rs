//! The forms in which receivers are told: the server's own, signed, and those of services that reach a phone.
//!
//! Owns: what each form needs, the requests it makes, and what an answer means in it. Never: decides whether or when something
//! is sent, or puts an address or a secret into an error.

mod heldar;
mod multipart;
mod ntfy;
mod pushover;
mod slack;
mod telegram;

use bytes::Bytes;
use heldar_base::{Micros, PublicId, Secret, WallTime};
use heldar_store::{Severity, WebhookFormat};
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use url::Url;

use super::machine::Answer;
use super::wording::Words;
use crate::egress::client::{Call, CallError, Client, Reply};

/// What a receiver is, its secrets opened.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// In which form.
    pub format: WebhookFormat,
    /// Where to.
    pub url: Secret<String>,
    /// What requests are signed or authorised with.
    pub secret: Option<Secret<String>>,
    /// Whom the service is to tell.
    pub to: Option<String>,
}

/// What it is told.
#[derive(Clone, Debug)]
pub struct Message {
    /// Id of the delivery.
    pub delivery: PublicId,
    /// Type of the event.
    pub event_type: String,
    /// How much it matters.
    pub severity: Severity,
    /// When it happened.
    pub at: WallTime,
    /// The event as JSON.
    pub body: Bytes,
    /// The same for people.
    pub words: Words,
    /// Where more of it is to be seen.
    pub link: Option<String>,
    /// A JPEG.
    pub picture: Option<Bytes>,
}

/// One of several attempts.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// Whether the event was to be sent once more.
    pub is_replay: bool,
    /// Now.
    pub now: WallTime,
}

/// What a form needs and does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The field.
    pub field: &'static str,
    /// One sentence.
    pub text: &'static str,
}

/// Checks that a form has what it needs.
///
/// # Errors
/// The first thing that is missing.
pub fn check(format: WebhookFormat, url: &Url, has_secret: bool, to: Option<&str>) -> Result<(), Missing> {
    match format {
        WebhookFormat::Heldar => Ok(()),
        WebhookFormat::Ntfy => ntfy::check(url),
        WebhookFormat::Telegram => telegram::check(url, to),
        WebhookFormat::Slack => slack::check(url, has_secret, to),
        WebhookFormat::Pushover => pushover::check(has_secret, to),
    }
}

/// Whether messages of a form have a text and a picture.
pub fn is_for_people(format: WebhookFormat) -> bool {
    format != WebhookFormat::Heldar
}

/// Tells a receiver.
pub async fn send(client: &Client, receiver: &Receiver, message: &Message, attempt: Attempt) -> Answer {
    let Ok(url) = Url::parse(receiver.url.expose()) else { return down(&CallError::Url) };
    let now = attempt.now;
    match receiver.format {
        WebhookFormat::Heldar => {
            let call = heldar::call(url, receiver.secret.as_ref(), message, attempt);
            plain(client.call(&call).await, now)
        }
        WebhookFormat::Ntfy => {
            let call = ntfy::call(url, receiver.secret.as_ref(), message);
            plain(client.call(&call).await, now)
        }
        WebhookFormat::Telegram => {
            let call = telegram::call(url, receiver.to.as_deref(), message);
            telegram::answer(client.call(&call).await, receiver, now)
        }
        WebhookFormat::Slack => slack::send(client, url, receiver, message, now).await,
        WebhookFormat::Pushover => {
            let call = pushover::call(url, receiver, message);
            pushover::answer(client.call(&call).await, receiver, now)
        }
    }
}

/// What an answer means by its status alone.
fn plain(reply: Result<Reply, CallError>, now: WallTime) -> Answer {
    match reply {
        Ok(reply) => Answer::of(reply.status, retry_after(&reply.headers, now)),
        Err(error) => down(&error),
    }
}

fn down(error: &CallError) -> Answer {
    Answer::Down { status: None, error: error.to_string(), retry_after: None }
}

/// RFC 9110 10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: WallTime) -> Option<Micros> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Micros::from_secs(seconds.into()));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(WallTime(i64::try_from(since.as_micros()).ok()?) - now)
}

/// The answer with what the service says of it, unless that repeats what is not to be shown.
fn explained(answer: Answer, said: &str, receiver: &Receiver) -> Answer {
    let said: String = said.chars().filter(|c| !c.is_control()).take(160).collect();
    let path = Url::parse(receiver.url.expose()).map(|url| url.path().trim_matches('/').to_owned());
    let secrets = [
        Some(receiver.url.expose().clone()),
        path.ok(),
        receiver.secret.as_ref().map(|secret| secret.expose().clone()),
        receiver.to.clone(),
    ];
    let shows = secrets.iter().flatten().any(|secret| !secret.is_empty() && said.contains(secret.as_str()));
    if said.is_empty() || shows {
        return answer;
    }
    match answer {
        Answer::Down { status, error, retry_after } => {
            Answer::Down { status, error: format!("{error}: {said}"), retry_after }
        }
        Answer::Refused { status, error } => Answer::Refused { status, error: format!("{error}: {said}") },
        other => other,
    }
}

/// A request of a form.
fn post(url: Url, content_type: &HeaderValue, body: impl Into<Bytes>) -> Call {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type.clone())]);
    Call { method: Method::POST, url, headers, body: body.into() }
}

fn bearer(headers: &mut HeaderMap, secret: Option<&Secret<String>>) {
    let Some(secret) = secret else { return };
    // What cannot be in a header cannot be a token either; the receiver says that one is missing.
    if let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", secret.expose())) {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What an address of a service ends in.
fn last_segment(url: &Url) -> &str {
    url.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// A place below an address.
fn below(mut url: Url, name: &str) -> Url {
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push(name);
    }
    url
}

#[cfg(test)]
mod tests;
