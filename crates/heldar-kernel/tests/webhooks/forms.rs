//! Messages to phones, as the services would get them.

use bytes::Bytes;
use heldar_base::{Micros, PublicId, Secret};
use heldar_store::{DeliveryStatus, NewEvent, Severity, WebhookFields, WebhookFormat};
use serde_json::{Value, json};

use crate::receiver::{Receiver, Say, Seen};
use crate::rig::{Rig, fields, new_event};

const JPEG: &[u8] = b"\xff\xd8\xff\xe0 a picture\r\n--x\r\n \xff\xd9";
/// 08:00 UTC in Berlin.
const TEXT: &str = "Person entered Gate (Front d\u{f6}\u{f6}r) at 09:00:00";

struct Phone {
    rig: Rig,
    receiver: Receiver,
    id: PublicId,
}

impl Phone {
    async fn new(format: WebhookFormat, path: &str, secret: Option<&str>, to: Option<&str>) -> Phone {
        let env = [("HELDAR_PUBLIC_URL", "https://home.example")];
        let (rig, receiver) = (Rig::start_with(&env, Micros::from_secs(10)).await, Receiver::start().await);
        let url = format!("http://{}{path}", receiver.address);
        let secret = secret.map(|secret| Secret::new(secret.to_owned()));
        let recipient = to.map(str::to_owned);
        let id = rig.webhook(1, WebhookFields { format, secret, recipient, ..fields(url) }).await;
        Phone { rig, receiver, id }
    }

    /// Sends an event with a picture, or without.
    async fn send(&self, number: u32, severity: Severity, picture: bool) -> i64 {
        *self.rig.scene.picture.lock().unwrap() = picture.then_some(Bytes::from_static(JPEG));
        let mut event = NewEvent { severity, ..new_event(number) };
        event.payload["links"] = json!({ "clip": "/api/v1/cameras/front/video.mp4?from=a&to=b" });
        self.rig.event(event).await
    }

    async fn taken(&self, seq: i64) {
        self.rig.delivery(self.id, seq, |one| one.status == DeliveryStatus::Delivered).await;
    }
}

/// The parts of a multipart body: name, content type, bytes (RFC 7578).
fn parts(seen: &Seen) -> Vec<(String, Option<String>, Vec<u8>)> {
    let boundary = seen.header("content-type").strip_prefix("multipart/form-data; boundary=").unwrap();
    let find = |bytes: &[u8], needle: &[u8]| bytes.windows(needle.len()).position(|one| one == needle);
    let mut rest = seen.body.strip_prefix(format!("--{boundary}\r\n").as_bytes()).unwrap();
    let mut parts = Vec::new();
    loop {
        let end = find(rest, format!("\r\n--{boundary}").as_bytes()).unwrap();
        let (part, after) = (&rest[..end], &rest[end + boundary.len() + 4..]);
        let split = find(part, b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&part[..split]).unwrap();
        let name = head.split("name=\"").nth(1).unwrap().split('"').next().unwrap();
        let kind = head.split("\r\nContent-Type: ").nth(1).map(str::to_owned);
        parts.push((name.to_owned(), kind, part[split + 4..].to_vec()));
        match after.strip_prefix(b"\r\n") {
            Some(next) => rest = next,
            None => {
                assert_eq!(after, b"--\r\n");
                return parts;
            }
        }
    }
}

fn text_of<'a>(parts: &'a [(String, Option<String>, Vec<u8>)], name: &str) -> &'a str {
    let part = parts.iter().find(|part| part.0 == name);
    part.map_or("", |part| std::str::from_utf8(&part.2).unwrap())
}

/// Reads encoded words (RFC 2047) as Python's own library does.
fn decoded(header: &str) -> String {
    let program = "import sys,email.header as h\n\
                   print(''.join(p if isinstance(p,str) else p.decode(c or 'ascii') for p,c in h.decode_header(sys.argv[1])))";
    let output = std::process::Command::new("python3")
        .args(["-c", program, header])
        .env("PYTHONIOENCODING", "utf-8")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn ntfy_gets_the_picture_as_its_body() {
    let phone = Phone::new(WebhookFormat::Ntfy, "/gate", Some("tk_secret"), None).await;
    let seq = phone.send(1, Severity::Critical, true).await;
    let seen = &phone.receiver.wait(1).await[0];
    assert_eq!((seen.method.as_str(), seen.uri.path(), seen.body.as_slice()), ("PUT", "/gate", JPEG));
    assert_eq!(seen.header("authorization"), "Bearer tk_secret");
    assert_eq!((seen.header("content-type"), seen.header("filename")), ("image/jpeg", "event.jpg"));
    assert_eq!((seen.header("priority"), seen.header("tags")), ("5", "rotating_light"));
    assert_eq!(seen.header("click"), "https://home.example/api/v1/cameras/front/video.mp4?from=a&to=b");
    assert_eq!(decoded(seen.header("message")), TEXT);
    assert_eq!(decoded(seen.header("title")), "Front d\u{f6}\u{f6}r");
    // Only the server's own form is signed.
    assert_eq!(seen.header("x-heldar-signature"), "");
    phone.taken(seq).await;
    // Without a picture the text is the body.
    phone.send(2, Severity::Info, false).await;
    let seen = &phone.receiver.wait(2).await[1];
    assert_eq!((seen.method.as_str(), seen.body.as_slice()), ("POST", TEXT.as_bytes()));
    assert_eq!((seen.header("priority"), seen.header("message")), ("3", ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn telegram_gets_a_photo() {
    let phone = Phone::new(WebhookFormat::Telegram, "/bot123:t0ken", None, Some("-1001")).await;
    let seq = phone.send(1, Severity::Warning, true).await;
    let seen = &phone.receiver.wait(1).await[0];
    assert_eq!((seen.method.as_str(), seen.uri.path()), ("POST", "/bot123:t0ken/sendPhoto"));
    let form = parts(seen);
    assert_eq!(text_of(&form, "chat_id"), "-1001");
    let link = "https://home.example/api/v1/cameras/front/video.mp4?from=a&to=b";
    assert_eq!(text_of(&form, "caption"), format!("\u{26a0}\u{fe0f} {TEXT}\n{link}"));
    let photo = form.iter().find(|part| part.0 == "photo").unwrap();
    assert_eq!((photo.1.as_deref(), photo.2.as_slice()), (Some("image/jpeg"), JPEG));
    phone.taken(seq).await;
    phone.send(2, Severity::Info, false).await;
    let seen = &phone.receiver.wait(2).await[1];
    assert_eq!(seen.uri.path(), "/bot123:t0ken/sendMessage");
    assert_eq!(seen.json(), json!({ "chat_id": "-1001", "text": format!("{TEXT}\n{link}") }));
}

#[tokio::test(flavor = "multi_thread")]
async fn telegram_says_in_its_body_when_and_why() {
    let phone = Phone::new(WebhookFormat::Telegram, "/bot123:t0ken", None, Some("-1001")).await;
    let wait =
        json!({ "ok": false, "description": "Too Many Requests", "parameters": { "retry_after": 33 } });
    let bad = json!({ "ok": false, "description": "Bad Request: chat not found" });
    let echo = json!({ "ok": false, "description": "no such bot bot123:t0ken" });
    phone.receiver.says([Say::Body(429, wait.to_string()), Say::Body(400, bad.to_string())]);
    phone.receiver.says([Say::Body(401, echo.to_string())]);
    let seq = phone.send(1, Severity::Info, true).await;
    let failed = phone.rig.delivery(phone.id, seq, |one| one.attempts == 1).await;
    assert_eq!(failed.next_attempt_at, Some(phone.rig.now() + Micros::from_secs(33)));
    assert_eq!(failed.error.as_deref(), Some("the receiver answered 429: Too Many Requests"));
    phone.rig.pass(Micros::from_secs(33));
    let failed = phone.rig.delivery(phone.id, seq, |one| one.attempts == 2).await;
    assert_eq!(failed.error.as_deref(), Some("the receiver answered 400: Bad Request: chat not found"));
    phone.rig.pass(Micros::from_secs(100));
    let failed = phone.rig.delivery(phone.id, seq, |one| one.attempts == 3).await;
    assert_eq!(
        failed.error.as_deref(),
        Some("the receiver answered 401"),
        "what repeats the token is not kept"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pushover_gets_an_attachment() {
    let phone =
        Phone::new(WebhookFormat::Pushover, "/1/messages.json", Some("app-token"), Some("user-key")).await;
    let seq = phone.send(1, Severity::Critical, true).await;
    let seen = &phone.receiver.wait(1).await[0];
    assert_eq!((seen.method.as_str(), seen.uri.path()), ("POST", "/1/messages.json"));
    let form = parts(seen);
    for (name, expect) in [
        ("token", "app-token"),
        ("user", "user-key"),
        ("title", "Front d\u{f6}\u{f6}r"),
        ("message", TEXT),
        ("timestamp", "1800000000"),
        ("priority", "2"),
        ("retry", "60"),
        ("expire", "3600"),
        ("url", "https://home.example/api/v1/cameras/front/video.mp4?from=a&to=b"),
        ("attachment_type", "image/jpeg"),
    ] {
        assert_eq!(text_of(&form, name), expect, "{name}");
    }
    let picture = form.iter().find(|part| part.0 == "attachment").unwrap();
    assert_eq!((picture.1.as_deref(), picture.2.as_slice()), (Some("image/jpeg"), JPEG));
    phone.taken(seq).await;
    let refused = json!({ "status": 0, "errors": ["user identifier is not a valid user"] });
    phone.receiver.says([Say::Body(400, refused.to_string())]);
    let seq = phone.send(2, Severity::Info, false).await;
    let failed = phone.rig.delivery(phone.id, seq, |one| one.attempts == 1).await;
    let expect = "the receiver answered 400: user identifier is not a valid user";
    assert_eq!(failed.error.as_deref(), Some(expect));
    let form = parts(&phone.receiver.wait(2).await[1]);
    assert_eq!((text_of(&form, "priority"), text_of(&form, "retry")), ("0", ""));
    assert!(form.iter().all(|part| part.0 != "attachment"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incoming_webhook_of_slack_gets_the_text() {
    let phone = Phone::new(WebhookFormat::Slack, "/services/T/B/x", None, None).await;
    phone.send(1, Severity::Critical, true).await;
    let seen = &phone.receiver.wait(1).await[0];
    let link = "https://home.example/api/v1/cameras/front/video.mp4?from=a&amp;to=b";
    let text = format!("\u{1f6a8} {TEXT} <{link}|Clip>");
    assert_eq!(seen.json()["text"], text);
    assert_eq!(seen.json()["blocks"][0]["text"], json!({ "type": "mrkdwn", "text": text }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_of_slack_uploads_the_picture() {
    let phone = Phone::new(WebhookFormat::Slack, "/api", Some("xoxb-1"), Some("C1")).await;
    let place = format!("http://{}/upload/v1/abc", phone.receiver.address);
    let ticket = json!({ "ok": true, "upload_url": place, "file_id": "F1" });
    let fine = || Say::Body(200, json!({ "ok": true }).to_string());
    phone.receiver.says([Say::Body(200, ticket.to_string()), Say::Body(200, "OK".into()), fine(), fine()]);
    let seq = phone.send(1, Severity::Info, true).await;
    let seen = phone.receiver.wait(3).await;
    let paths: Vec<&str> = seen.iter().map(|one| one.uri.path()).collect();
    assert_eq!(
        paths,
        ["/api/files.getUploadURLExternal", "/upload/v1/abc", "/api/files.completeUploadExternal"]
    );
    assert_eq!(seen[0].body, format!("filename=event.jpg&length={}", JPEG.len()).into_bytes());
    assert_eq!(seen[1].body, JPEG);
    let auth: Vec<&str> = seen.iter().map(|one| one.header("authorization")).collect();
    assert_eq!(auth, ["Bearer xoxb-1", "", "Bearer xoxb-1"]);
    let done = seen[2].json();
    assert_eq!(done["files"], json!([{ "id": "F1", "title": "Front d\u{f6}\u{f6}r" }]));
    assert_eq!(done["channel_id"], "C1");
    assert!(done["initial_comment"].as_str().unwrap().starts_with(TEXT));
    phone.taken(seq).await;
    // Without a picture it is a message.
    let seq = phone.send(2, Severity::Info, false).await;
    let seen = &phone.receiver.wait(4).await[3];
    assert_eq!((seen.uri.path(), &seen.json()["channel"]), ("/api/chat.postMessage", &Value::from("C1")));
    phone.taken(seq).await;
    // A failure has the status of a success.
    phone.receiver.says([Say::Body(200, json!({ "ok": false, "error": "not_in_channel" }).to_string())]);
    let seq = phone.send(3, Severity::Info, false).await;
    let failed = phone.rig.delivery(phone.id, seq, |one| one.attempts == 1).await;
    assert_eq!((failed.refusals, failed.error.as_deref()), (1, Some("Slack refused it: not_in_channel")));
}
