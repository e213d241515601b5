//! The server's own form: the event as JSON, signed twice (perception.md 16.1).

use heldar_base::Secret;
use hmac::{Hmac, Mac as _};
use hyper::header::{HeaderName, HeaderValue};
use sha2::Sha256;
use url::Url;

use super::{Attempt, JSON, Message, post};
use crate::egress::client::Call;

const EVENT: HeaderName = HeaderName::from_static("x-heldar-event");
const DELIVERY: HeaderName = HeaderName::from_static("x-heldar-delivery");
const TIMESTAMP: HeaderName = HeaderName::from_static("x-heldar-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("x-heldar-signature");
const SIGNATURE_V2: HeaderName = HeaderName::from_static("x-heldar-signature-v2");
const ATTEMPT: HeaderName = HeaderName::from_static("x-heldar-attempt");
const REPLAY: HeaderName = HeaderName::from_static("x-heldar-replay");

pub(super) fn call(url: Url, secret: Option<&Secret<String>>, message: &Message, attempt: Attempt) -> Call {
    let mut call = post(url, &JSON, message.body.clone());
    let timestamp = attempt.now.0.div_euclid(1_000_000).to_string();
    let mut put = |name, text: &str| {
        // A type of a worker's own may hold what no header can.
        let value = HeaderValue::from_bytes(text.as_bytes());
        call.headers.insert(name, value.unwrap_or(HeaderValue::from_static("event")));
    };
    put(EVENT, &message.event_type);
    put(DELIVERY, &message.delivery.to_string());
    put(TIMESTAMP, &timestamp);
    put(ATTEMPT, &attempt.number.to_string());
    if attempt.is_replay {
        put(REPLAY, "1");
    }
    if let Some(secret) = secret {
        put(SIGNATURE, &signature(secret, &[&message.body]));
        put(SIGNATURE_V2, &signature(secret, &[timestamp.as_bytes(), b".", &message.body]));
    }
    call
}

fn signature(secret: &Secret<String>, parts: &[&[u8]]) -> String {
    // A key of any length is one for HMAC (RFC 2104 2).
    let Ok(mut mac) = <Hmac<Sha256> as hmac::Mac>::new_from_slice(secret.expose().as_bytes()) else {
        return String::new();
    };
    parts.iter().for_each(|part| mac.update(part));
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_rfc_4231() {
        // Test case 2.
        let secret = Secret::new("Jefe".to_owned());
        let expect = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature(&secret, &[b"what do ya want for nothing?"]), expect);
        assert_eq!(signature(&secret, &[b"what do ya", b" want for ", b"nothing?"]), expect);
    }
}
