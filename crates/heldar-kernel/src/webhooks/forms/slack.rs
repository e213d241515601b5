//! A channel of Slack: an incoming webhook gets the text; with a bot token the picture is uploaded and shared.
//!
//! Owns: the three steps of an upload (`files.getUploadURLExternal`, the bytes, `files.completeUploadExternal`). An attempt
//! that ends before the last step has told nobody. Never: sends the token to the place that Slack names for the bytes.

use bytes::Bytes;
use heldar_base::WallTime;
use hyper::header::HeaderValue;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use url::Url;

use super::{
    JSON, Message, Missing, Receiver, bearer, below, down, explained, last_segment, plain, post, retry_after,
};
use crate::egress::client::{Call, CallError, Client, Reply};
use crate::webhooks::machine::Answer;

/// What the file is called.
const NAME: &str = "event.jpg";

/// Whether an address is that of the Web API rather than an incoming webhook.
fn is_api(url: &Url) -> bool {
    last_segment(url) == "api"
}

pub(super) fn check(url: &Url, has_secret: bool, to: Option<&str>) -> Result<(), Missing> {
    if !is_api(url) {
        return Ok(());
    }
    if !has_secret {
        let text = "slack: with https://slack.com/api `secret` is needed, the token of the bot";
        return Err(Missing { field: "secret", text });
    }
    if to.is_none() {
        let text = "slack: with https://slack.com/api `to` is needed, the id of the channel";
        return Err(Missing { field: "to", text });
    }
    Ok(())
}

pub(super) async fn send(
    client: &Client,
    url: Url,
    receiver: &Receiver,
    message: &Message,
    now: WallTime,
) -> Answer {
    let text = text(message);
    if !is_api(&url) {
        let blocks = json!([{ "type": "section", "text": { "type": "mrkdwn", "text": text } }]);
        let body = json!({ "text": text, "blocks": blocks });
        let reply = client.call(&post(url, &JSON, body.to_string())).await;
        return plain(reply, now);
    }
    let api = Api { client, url, receiver, now };
    match &message.picture {
        Some(picture) => match api.upload(picture, &message.words.title, &text).await {
            Ok(status) => Answer::Taken { status },
            Err(answer) => answer,
        },
        None => {
            let body = json!({ "channel": receiver.to, "text": text });
            match api.json("chat.postMessage", &body).await {
                Ok((status, _said)) => Answer::Taken { status },
                Err(answer) => answer,
            }
        }
    }
}

/// The text, in Slack's own markup.
fn text(message: &Message) -> String {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let text = escaped(&message.words.marked());
    match &message.link {
        Some(link) => format!("{text} <{}|Clip>", escaped(link).replace('|', "%7C")),
        None => text,
    }
}

struct Api<'a> {
    client: &'a Client,
    url: Url,
    receiver: &'a Receiver,
    now: WallTime,
}

impl Api<'_> {
    async fn upload(&self, picture: &Bytes, title: &str, text: &str) -> Result<u16, Answer> {
        let form = format!("filename={NAME}&length={}", picture.len());
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let (_, ticket) =
            self.ask(post(below(self.url.clone(), "files.getUploadURLExternal"), &form_type, form)).await?;
        let place = ticket["upload_url"].as_str().and_then(|place| Url::parse(place).ok());
        // Bytes go no less safely than the token went.
        let place = place.filter(|place| place.scheme() == self.url.scheme());
        let (Some(place), Some(file)) = (place, ticket["file_id"].as_str()) else {
            return Err(self.nonsense());
        };
        let bytes = post(place, &HeaderValue::from_static("application/octet-stream"), picture.clone());
        match plain(self.client.call(&bytes).await, self.now) {
            Answer::Taken { .. } => {}
            // The place of an upload that is gone is asked for anew.
            Answer::Gone { status } => {
                let error = format!("the upload was answered {status}");
                return Err(Answer::Down { status: Some(status), error, retry_after: None });
            }
            other => return Err(other),
        }
        let body = json!({
            "files": [{ "id": file, "title": title }],
            "channel_id": self.receiver.to,
            "initial_comment": text,
        });
        Ok(self.json("files.completeUploadExternal", &body).await?.0)
    }

    async fn json(&self, method: &str, body: &Value) -> Result<(u16, Value), Answer> {
        let content_type = HeaderValue::from_static("application/json; charset=utf-8");
        self.ask(post(below(self.url.clone(), method), &content_type, body.to_string())).await
    }

    async fn ask(&self, mut call: Call) -> Result<(u16, Value), Answer> {
        bearer(&mut call.headers, self.receiver.secret.as_ref());
        self.heard(self.client.call(&call).await)
    }

    /// A success says so in its body; a failure may have the status of a success.
    fn heard(&self, reply: Result<Reply, CallError>) -> Result<(u16, Value), Answer> {
        let reply = reply.map_err(|error| down(&error))?;
        let said: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let wait = retry_after(&reply.headers, self.now);
        match Answer::of(reply.status, wait) {
            Answer::Taken { status } if said["ok"] == true => Ok((status, said)),
            Answer::Taken { status } => {
                let why = said["error"].as_str().unwrap_or_default();
                let error = "Slack refused it".to_owned();
                let answer = match why {
                    "ratelimited"
                    | "internal_error"
                    | "fatal_error"
                    | "service_unavailable"
                    | "request_timeout" => Answer::Down { status: Some(status), error, retry_after: wait },
                    _ => Answer::Refused { status, error },
                };
                let slug = utf8_percent_encode(why, NON_ALPHANUMERIC).to_string().replace("%5F", "_");
                Err(explained(answer, &slug, self.receiver))
            }
            other => Err(other),
        }
    }

    fn nonsense(&self) -> Answer {
        let error = "the answer to an upload names no place for it".to_owned();
        Answer::Down { status: Some(200), error, retry_after: None }
    }
}
