//! Why a session was not obtained or ended, in the vocabulary of the API.

use std::fmt;

use heldar_base::{ReasonClass, mask_userinfo};

/// Longest detail that is kept.
const MAX_DETAIL: usize = 800;

/// A session that was not obtained or ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SessionError {
    /// Its class.
    pub class: ReasonClass,
    /// What is known: one line, masked, at most 800 characters.
    pub detail: String,
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.detail)
    }
}

impl SessionError {
    /// An error of a class; the detail is cut to one masked line.
    pub fn new(class: ReasonClass, detail: impl AsRef<str>) -> Self {
        let line = detail.as_ref().lines().next().unwrap_or_default().trim();
        let detail = mask_userinfo(line).chars().take(MAX_DETAIL).collect();
        SessionError { class, detail }
    }
}

impl From<retina::Error> for SessionError {
    fn from(error: retina::Error) -> Self {
        let text = error.to_string();
        let class = match error.status_code() {
            Some(status) => class_of_status(status, &text),
            None => class_of_text(&text),
        };
        SessionError::new(class, text)
    }
}

/// The class of an RTSP status (RFC 2326 11).
fn class_of_status(status: u16, text: &str) -> ReasonClass {
    match status {
        401 | 403 => ReasonClass::Auth,
        404 | 410 | 451 => ReasonClass::NotFound,
        408 | 504 => ReasonClass::Timeout,
        400 | 405 | 406 | 415 | 454..=462 | 501 | 505 | 551 => ReasonClass::Protocol,
        402..=499 | 500 | 502 | 503 => ReasonClass::Refused,
        // A good status whose content could not be understood.
        200..=299 if text.contains("SDP") || text.contains("sdp") => ReasonClass::Protocol,
        _ => ReasonClass::Protocol,
    }
}

/// The RTSP library keeps its kinds to itself; the operating system's words in its messages are stable.
fn class_of_text(text: &str) -> ReasonClass {
    let has = |needle: &str| text.contains(needle);
    if has("Unable to connect") {
        return if has("refused") {
            ReasonClass::Refused
        } else if has("timed out") {
            ReasonClass::Timeout
        } else {
            ReasonClass::Unreachable
        };
    }
    if has("EOF while expecting") || has("reset by peer") || has("Broken pipe") || has("UnexpectedEof") {
        return ReasonClass::Closed;
    }
    if has("No route to host") || has("unreachable") {
        return ReasonClass::Unreachable;
    }
    if has("authentication") || has("credentials") || has("Unauthorized") {
        return ReasonClass::Auth;
    }
    if has("timed out") || has("Timeout") {
        return ReasonClass::Timeout;
    }
    if has("Error reading from RTSP peer") || has("Error writing to RTSP peer") {
        return ReasonClass::Closed;
    }
    ReasonClass::Protocol
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_one_masked_line() {
        let error = SessionError::new(ReasonClass::Auth, "no rtsp://u:p@ss@cam/x\n\nconn: 1.2.3.4");
        assert_eq!(error.detail, "no rtsp://***@cam/x");
        assert_eq!(SessionError::new(ReasonClass::Auth, "x".repeat(2000)).detail.len(), MAX_DETAIL);
    }

    #[test]
    fn classes() {
        for (text, class) in [
            ("Unable to connect to RTSP server: Connection refused (os error 111)", ReasonClass::Refused),
            ("Unable to connect to RTSP server: No route to host (os error 113)", ReasonClass::Unreachable),
            ("Unable to connect to RTSP server: failed to lookup address", ReasonClass::Unreachable),
            (
                "Error reading from RTSP peer: EOF while expecting response to DESCRIBE CSeq 1",
                ReasonClass::Closed,
            ),
            ("Error reading from RTSP peer: Connection reset by peer (os error 104)", ReasonClass::Closed),
            ("RTSP framing error: bad status line", ReasonClass::Protocol),
        ] {
            assert_eq!(class_of_text(text), class, "{text}");
        }
        for (status, class) in [
            (401, ReasonClass::Auth),
            (404, ReasonClass::NotFound),
            (461, ReasonClass::Protocol),
            (503, ReasonClass::Refused),
        ] {
            assert_eq!(class_of_status(status, ""), class, "{status}");
        }
    }
}
