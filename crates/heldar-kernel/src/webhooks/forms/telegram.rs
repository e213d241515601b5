//! A bot of Telegram: `sendPhoto` with the text as caption, or `sendMessage`.

use heldar_base::{Micros, WallTime};
use serde_json::{Value, json};
use url::Url;

use super::multipart::Multipart;
use super::{JSON, Message, Missing, Receiver, below, down, explained, last_segment, post, retry_after};
use crate::egress::client::{Call, CallError, Reply};
use crate::webhooks::machine::Answer;

pub(super) fn check(url: &Url, to: Option<&str>) -> Result<(), Missing> {
    if !last_segment(url).starts_with("bot") || last_segment(url).len() < 4 {
        let text = "telegram: `url` is https://api.telegram.org/bot<token>";
        return Err(Missing { field: "url", text });
    }
    if to.is_none() {
        return Err(Missing { field: "to", text: "telegram: `to` is needed, the id of the chat" });
    }
    Ok(())
}

pub(super) fn call(url: Url, to: Option<&str>, message: &Message) -> Call {
    let chat = to.unwrap_or_default();
    let mut text = message.words.marked();
    if let Some(link) = &message.link {
        text = format!("{text}\n{link}");
    }
    match &message.picture {
        Some(picture) => {
            let form = Multipart::new().text("chat_id", chat).text("caption", &text).jpeg("photo", picture);
            let (content_type, body) = form.finish();
            post(below(url, "sendPhoto"), &content_type, body)
        }
        None => {
            let body = json!({ "chat_id": chat, "text": text });
            post(below(url, "sendMessage"), &JSON, body.to_string())
        }
    }
}

/// What an answer means. The wait that it asks for stands in its body.
pub(super) fn answer(reply: Result<Reply, CallError>, receiver: &Receiver, now: WallTime) -> Answer {
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => return down(&error),
    };
    let said: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let asked = said["parameters"]["retry_after"].as_u64().and_then(|wait| u32::try_from(wait).ok());
    let wait = asked.map(|wait| Micros::from_secs(wait.into()));
    let answer = Answer::of(reply.status, wait.or_else(|| retry_after(&reply.headers, now)));
    explained(answer, said["description"].as_str().unwrap_or_default(), receiver)
}
