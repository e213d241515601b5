//! A user or group of Pushover, the picture as attachment.

use heldar_base::WallTime;
use heldar_store::Severity;
use serde_json::Value;
use url::Url;

use super::multipart::Multipart;
use super::{Message, Missing, Receiver, down, explained, post, retry_after};
use crate::egress::client::{Call, CallError, Reply};
use crate::webhooks::machine::Answer;

/// An emergency rings so often, in seconds, and for so long unless somebody acknowledges it.
const RETRY: &str = "60";
const EXPIRE: &str = "3600";

pub(super) fn check(has_secret: bool, to: Option<&str>) -> Result<(), Missing> {
    if !has_secret {
        return Err(Missing {
            field: "secret",
            text: "pushover: `secret` is needed, the token of the application",
        });
    }
    if to.is_none() {
        return Err(Missing { field: "to", text: "pushover: `to` is needed, the key of the user or group" });
    }
    Ok(())
}

pub(super) fn call(url: Url, receiver: &Receiver, message: &Message) -> Call {
    let token = receiver.secret.as_ref().map(|secret| secret.expose().as_str()).unwrap_or_default();
    let mut form = Multipart::new()
        .text("token", token)
        .text("user", receiver.to.as_deref().unwrap_or_default())
        .text("title", &message.words.title)
        .text("message", &message.words.text)
        .text("timestamp", &message.at.0.div_euclid(1_000_000).to_string());
    form = match message.severity {
        Severity::Info => form.text("priority", "0"),
        Severity::Warning => form.text("priority", "1"),
        Severity::Critical => form.text("priority", "2").text("retry", RETRY).text("expire", EXPIRE),
    };
    if let Some(link) = &message.link {
        form = form.text("url", link).text("url_title", "Clip");
    }
    if let Some(picture) = &message.picture {
        form = form.text("attachment_type", "image/jpeg").jpeg("attachment", picture);
    }
    let (content_type, body) = form.finish();
    post(url, &content_type, body)
}

/// What an answer means.
pub(super) fn answer(reply: Result<Reply, CallError>, receiver: &Receiver, now: WallTime) -> Answer {
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => return down(&error),
    };
    let said: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let answer = Answer::of(reply.status, retry_after(&reply.headers, now));
    explained(answer, said["errors"][0].as_str().unwrap_or_default(), receiver)
}
