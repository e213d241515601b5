//! A topic of ntfy: the picture as the body, everything else in headers; without a picture the text is the body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use heldar_base::Secret;
use heldar_store::Severity;
use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use url::Url;

use super::{Message, Missing, bearer, last_segment, post};
use crate::egress::client::Call;

const TITLE: HeaderName = HeaderName::from_static("title");
const TEXT: HeaderName = HeaderName::from_static("message");
const PRIORITY: HeaderName = HeaderName::from_static("priority");
const TAGS: HeaderName = HeaderName::from_static("tags");
const CLICK: HeaderName = HeaderName::from_static("click");
const FILENAME: HeaderName = HeaderName::from_static("filename");

/// Bytes of text in one encoded word, which is no longer than 75 characters (RFC 2047 2).
const WORD: usize = 45;

pub(super) fn check(url: &Url) -> Result<(), Missing> {
    if last_segment(url).is_empty() {
        let text = "ntfy: `url` is that of the topic, such as https://ntfy.sh/my-topic";
        return Err(Missing { field: "url", text });
    }
    Ok(())
}

pub(super) fn call(url: Url, secret: Option<&Secret<String>>, message: &Message) -> Call {
    let mut call = match &message.picture {
        Some(picture) => {
            let mut call = post(url, &HeaderValue::from_static("image/jpeg"), picture.clone());
            call.method = Method::PUT;
            call.headers.insert(FILENAME, HeaderValue::from_static("event.jpg"));
            call.headers.insert(TEXT, text(&message.words.text));
            call
        }
        None => post(url, &HeaderValue::from_static("text/plain; charset=utf-8"), message.words.text.clone()),
    };
    let (priority, tags) = match message.severity {
        Severity::Info => ("3", "eyes"),
        Severity::Warning => ("4", "warning"),
        Severity::Critical => ("5", "rotating_light"),
    };
    call.headers.insert(TITLE, text(&message.words.title));
    call.headers.insert(PRIORITY, HeaderValue::from_static(priority));
    call.headers.insert(TAGS, HeaderValue::from_static(tags));
    if let Some(link) = message.link.as_deref().and_then(|link| HeaderValue::from_str(link).ok()) {
        call.headers.insert(CLICK, link);
    }
    bearer(&mut call.headers, secret);
    call
}

/// Text as the value of a header; what is not ASCII in encoded words (RFC 2047).
fn text(of: &str) -> HeaderValue {
    let is_plain = |c: char| c == ' ' || c.is_ascii_graphic();
    if of.chars().all(is_plain) && !of.contains("=?") {
        return HeaderValue::from_str(of).unwrap_or(HeaderValue::from_static("Heldar"));
    }
    let mut words = Vec::new();
    let mut word = String::new();
    for c in of.chars() {
        if word.len() + c.len_utf8() > WORD {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    let coded = words.iter().map(|word| format!("=?UTF-8?B?{}?=", STANDARD.encode(word)));
    let coded = coded.collect::<Vec<_>>().join(" ");
    HeaderValue::from_str(&coded).unwrap_or(HeaderValue::from_static("Heldar"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_ascii_goes_in_encoded_words() {
        assert_eq!(text("Person entered Gate"), "Person entered Gate");
        assert_eq!(text("Tür"), "=?UTF-8?B?VMO8cg==?=");
        assert_eq!(text("=?x?="), "=?UTF-8?B?PT94Pz0=?=");
        assert_eq!(text("a\r\nX: y"), "=?UTF-8?B?YQ0KWDogeQ==?=");
        let long = "Ω".repeat(100);
        let coded = text(&long);
        let coded = coded.to_str().unwrap();
        let mut bytes = Vec::new();
        for word in coded.split(' ') {
            assert!(word.len() <= 75, "{word}");
            let inner = word.strip_prefix("=?UTF-8?B?").unwrap().strip_suffix("?=").unwrap();
            let part = STANDARD.decode(inner).unwrap();
            assert!(std::str::from_utf8(&part).is_ok(), "a word holds whole characters");
            bytes.extend(part);
        }
        assert_eq!(bytes, long.as_bytes());
    }
}
