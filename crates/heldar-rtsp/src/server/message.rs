//! Requests and responses of RTSP 1.0 (RFC 2326 6, 7) and the framing they share with interleaved data (10.12).
//!
//! Owns: bytes to [`Request`], [`Response`] to bytes. Pure functions: input is hostile, none of it reaches a panic, and
//! what is kept of it is bounded by [`Limits`].

use std::fmt::Write as _;

use bytes::Bytes;

/// How large a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of request line and headers together.
    pub head_bytes: usize,
    /// Number of headers.
    pub headers: usize,
    /// Bytes of the body.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { head_bytes: 16 * 1024, headers: 64, body_bytes: 16 * 1024 }
    }
}

/// Methods of RFC 2326 10 that the server tells apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// 10.1
    Options,
    /// 10.2
    Describe,
    /// 10.4
    Setup,
    /// 10.5
    Play,
    /// 10.6
    Pause,
    /// 10.7
    Teardown,
    /// 10.8
    GetParameter,
    /// 10.9
    SetParameter,
    /// ANNOUNCE, RECORD, REDIRECT: known, and never allowed here.
    NotAllowed,
    /// Any other token.
    Unknown,
}

impl Method {
    fn from_token(token: &str) -> Method {
        match token {
            "OPTIONS" => Method::Options,
            "DESCRIBE" => Method::Describe,
            "SETUP" => Method::Setup,
            "PLAY" => Method::Play,
            "PAUSE" => Method::Pause,
            "TEARDOWN" => Method::Teardown,
            "GET_PARAMETER" => Method::GetParameter,
            "SET_PARAMETER" => Method::SetParameter,
            "ANNOUNCE" | "RECORD" | "REDIRECT" => Method::NotAllowed,
            _ => Method::Unknown,
        }
    }
}

/// One request, headers in the order they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub method: Method,
    /// The method as it was spelled; digests are computed over it.
    pub method_token: String,
    /// The request URI as it was spelled.
    pub uri: String,
    /// Header names as they were spelled, and values without surrounding space.
    pub headers: Vec<(String, String)>,
    /// The body, empty when there is none.
    pub body: Vec<u8>,
}

impl Request {
    /// Value of the first header of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// One piece of what a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A request.
    Request(Box<Request>),
    /// Interleaved data on a channel; its content is of no interest beyond being a sign of life.
    Interleaved {
        /// The channel of RFC 2326 10.12.
        channel: u8,
    },
    /// Empty lines between requests.
    Padding,
}

/// Why bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The head is longer than allowed or has too many headers.
    #[error("request head too large")]
    HeadTooLarge,
    /// The body is longer than allowed.
    #[error("request body too large")]
    BodyTooLarge,
    /// Anything else that breaks RFC 2326 6.
    #[error("malformed request")]
    Malformed,
    /// Not version 1.0.
    #[error("RTSP version not supported")]
    Version,
}

impl ParseError {
    /// Status code to answer before the connection is closed.
    pub fn status(self) -> u16 {
        match self {
            ParseError::HeadTooLarge | ParseError::Malformed => 400,
            ParseError::BodyTooLarge => 413,
            ParseError::Version => 505,
        }
    }
}

/// Takes the first piece off `buf`: it and the number of bytes it took, or `None` while it is incomplete.
///
/// # Errors
/// Input that can't become a request, however it goes on. The connection has lost its framing then.
pub fn next_input(buf: &[u8], limits: &Limits) -> Result<Option<(Input, usize)>, ParseError> {
    let Some(&first) = buf.first() else { return Ok(None) };
    if first == b'$' {
        let Some(head) = buf.get(..4) else { return Ok(None) };
        let total = 4 + usize::from(u16::from_be_bytes([head[2], head[3]]));
        return Ok((buf.len() >= total).then_some((Input::Interleaved { channel: head[1] }, total)));
    }
    let padding = buf.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    if padding > 0 {
        return Ok(Some((Input::Padding, padding)));
    }
    let Some(head_len) = head_length(buf, limits.head_bytes)? else { return Ok(None) };
    let head = buf.get(..head_len).ok_or(ParseError::Malformed)?;
    let mut request = parse_head(head, limits)?;
    let body_len = match request.header("Content-Length") {
        Some(text) => text.parse::<usize>().map_err(|_| ParseError::Malformed)?,
        None => 0,
    };
    if body_len > limits.body_bytes {
        return Err(ParseError::BodyTooLarge);
    }
    // Both summands are bounded by `limits`.
    let total = head_len + body_len;
    let Some(body) = buf.get(head_len..total) else { return Ok(None) };
    request.body = body.to_vec();
    Ok(Some((Input::Request(Box::new(request)), total)))
}

/// Length of the head up to and with its empty line. RFC 2326 15.1: receivers take a bare CR or LF as a line end; bare LF
/// is what is seen in the field.
fn head_length(buf: &[u8], max: usize) -> Result<Option<usize>, ParseError> {
    let window = &buf[..buf.len().min(max)];
    let mut line_start = 0;
    for (at, &byte) in window.iter().enumerate() {
        if byte != b'\n' {
            continue;
        }
        let line = &window[line_start..at];
        if line.is_empty() || line == b"\r" {
            return Ok(Some(at + 1));
        }
        line_start = at + 1;
    }
    if buf.len() >= max { Err(ParseError::HeadTooLarge) } else { Ok(None) }
}

fn parse_head(head: &[u8], limits: &Limits) -> Result<Request, ParseError> {
    let text = std::str::from_utf8(head).map_err(|_| ParseError::Malformed)?;
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let mut words = lines.next().ok_or(ParseError::Malformed)?.split(' ');
    let (Some(token), Some(uri), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(ParseError::Malformed);
    };
    let is_token =
        |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let uri_ok = !uri.is_empty() && uri.bytes().all(|b| b.is_ascii_graphic());
    if !is_token(token) || !uri_ok || !version.starts_with("RTSP/") {
        return Err(ParseError::Malformed);
    }
    if version != "RTSP/1.0" {
        return Err(ParseError::Version);
    }
    let mut headers = Vec::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or(ParseError::Malformed)?;
        if !is_token(name) || value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
            return Err(ParseError::Malformed);
        }
        if headers.len() >= limits.headers {
            return Err(ParseError::HeadTooLarge);
        }
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    Ok(Request {
        method: Method::from_token(token),
        method_token: token.to_owned(),
        uri: uri.to_owned(),
        headers,
        body: Vec::new(),
    })
}

/// A response under construction.
#[derive(Clone, Debug)]
pub(super) struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Response {
    pub(super) fn new(status: u16) -> Self {
        Response { status, headers: Vec::new(), body: String::new() }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn body(mut self, content_type: &str, body: String) -> Self {
        self.body = body;
        self.header("Content-Type", content_type)
    }

    /// The bytes on the wire. `cseq` is repeated from the request (RFC 2326 12.17).
    pub(super) fn encode(&self, cseq: Option<&str>) -> Bytes {
        let mut out = format!("RTSP/1.0 {} {}\r\n", self.status, reason(self.status));
        // Writing to a string can't fail.
        let mut line = |name: &str, value: &str| {
            let _infallible = write!(out, "{name}: {value}\r\n");
        };
        if let Some(cseq) = cseq {
            line("CSeq", cseq);
        }
        line("Server", "Heldar");
        for (name, value) in &self.headers {
            line(name, value);
        }
        if !self.body.is_empty() {
            line("Content-Length", &self.body.len().to_string());
        }
        out.push_str("\r\n");
        out.push_str(&self.body);
        Bytes::from(out)
    }
}

/// RFC 2326 7.1.1.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        413 => "Request Entity Too Large",
        451 => "Parameter Not Understood",
        453 => "Not Enough Bandwidth",
        454 => "Session Not Found",
        455 => "Method Not Valid In This State",
        459 => "Aggregate Operation Not Allowed",
        461 => "Unsupported Transport",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "RTSP Version Not Supported",
        551 => "Option Not Supported",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expect: Result<Option<(Method, &str, usize, usize)>, ParseError>) {
        let got = next_input(text.as_bytes(), &Limits::default()).map(|found| {
            found.map(|(input, used)| match input {
                Input::Request(r) => (r.method.clone(), r.uri.clone(), r.headers.len(), used),
                other => panic!("{other:?}"),
            })
        });
        let expect = expect.map(|o| o.map(|(m, u, h, used)| (m, u.to_owned(), h, used)));
        assert_eq!(got, expect, "{text:?}");
    }

    #[test]
    fn requests() {
        let plain = "OPTIONS rtsp://h/p RTSP/1.0\r\nCSeq: 1\r\n\r\n";
        check(plain, Ok(Some((Method::Options, "rtsp://h/p", 1, plain.len()))));
        check(&format!("{plain}PLAY"), Ok(Some((Method::Options, "rtsp://h/p", 1, plain.len()))));
        check(&plain[..plain.len() - 1], Ok(None));
        check("", Ok(None));
        check("PLAY * RTSP/1.0\nCSeq: 1\n\n", Ok(Some((Method::Play, "*", 1, 25))));
        check("RECORD * RTSP/1.0\r\n\r\n", Ok(Some((Method::NotAllowed, "*", 0, 21))));
        check("BREW * RTSP/1.0\r\n\r\n", Ok(Some((Method::Unknown, "*", 0, 19))));
        check(
            "SET_PARAMETER * RTSP/1.0\r\nContent-Length: 2\r\n\r\nabc",
            Ok(Some((Method::SetParameter, "*", 1, 49))),
        );
        check("SET_PARAMETER * RTSP/1.0\r\nContent-Length: 2\r\n\r\na", Ok(None));
        check("PLAY * RTSP/2.0\r\n\r\n", Err(ParseError::Version));
        check("PLAY * HTTP/1.0\r\n\r\n", Err(ParseError::Malformed));
        check("PLAY  * RTSP/1.0\r\n\r\n", Err(ParseError::Malformed));
        check("PLAY RTSP/1.0\r\n\r\n", Err(ParseError::Malformed));
        check("PLAY * RTSP/1.0\r\nno colon\r\n\r\n", Err(ParseError::Malformed));
        check("PLAY * RTSP/1.0\r\nContent-Length: -1\r\n\r\n", Err(ParseError::Malformed));
        check("PLAY * RTSP/1.0\r\nContent-Length: 99999999999999999999\r\n\r\n", Err(ParseError::Malformed));
        check("PLAY * RTSP/1.0\r\nContent-Length: 99999999\r\n\r\n", Err(ParseError::BodyTooLarge));
        check(&"A".repeat(20_000), Err(ParseError::HeadTooLarge));
        check(&format!("PLAY * RTSP/1.0\r\n{}\r\n", "A: b\r\n".repeat(65)), Err(ParseError::HeadTooLarge));
    }

    #[test]
    fn interleaved_and_padding() {
        let limits = Limits::default();
        assert_eq!(next_input(b"$\x01\x00\x02ab", &limits), Ok(Some((Input::Interleaved { channel: 1 }, 6))));
        assert_eq!(next_input(b"$\x01\x00\x02a", &limits), Ok(None));
        assert_eq!(next_input(b"$\x01", &limits), Ok(None));
        assert_eq!(next_input(b"\r\n\r\nOPT", &limits), Ok(Some((Input::Padding, 4))));
    }

    #[test]
    fn response_bytes() {
        let response = Response::new(200).header("Session", "ab").body("text/x", "hi".to_owned());
        assert_eq!(
            response.encode(Some("7")),
            "RTSP/1.0 200 OK\r\nCSeq: 7\r\nServer: Heldar\r\nSession: ab\r\nContent-Type: text/x\r\nContent-Length: 2\r\n\r\nhi"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            if let Ok(Some((_, used))) = next_input(&bytes, &Limits::default()) {
                prop_assert!(used > 0 && used <= bytes.len());
            }
        }

        #[test]
        fn any_text_in_a_request_is_survived(text in "(PLAY|[A-Z]{0,5}) [ -~]{0,30} RTSP/1.0\r\n([ -~]{0,20}\r?\n){0,5}\r\n.{0,20}") {
            let _outcome = next_input(text.as_bytes(), &Limits::default());
        }

        #[test]
        fn no_prefix_of_a_request_is_an_error(cut in 0usize..72) {
            let text = "SETUP rtsp://h/p/trackID=0 RTSP/1.0\r\nCSeq: 2\r\nTransport: RTP/AVP/TCP\r\n\r\n";
            prop_assert_eq!(next_input(&text.as_bytes()[..cut], &Limits::default()), Ok(None));
        }

        #[test]
        fn a_request_is_read_as_written(uri in "rtsp://[a-z]{1,8}/[a-z0-9?=&]{0,12}", value in "[!-~]([ -~]{0,20}[!-~])?") {
            let text = format!("DESCRIBE {uri} RTSP/1.0\r\nX: {value}\r\n\r\n");
            let (input, used) = next_input(text.as_bytes(), &Limits::default()).unwrap().unwrap();
            prop_assert_eq!(used, text.len());
            let Input::Request(request) = input else { panic!() };
            prop_assert_eq!(&request.uri, &uri);
            prop_assert_eq!(request.header("x"), Some(value.as_str()));
        }
    }
}
