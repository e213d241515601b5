//! Bodies of `multipart/form-data` (RFC 7578).

use bytes::Bytes;
use hyper::header::HeaderValue;

use crate::engine::journal::random_bits;

/// A body that is being written.
pub(super) struct Multipart {
    boundary: String,
    bytes: Vec<u8>,
}

impl Multipart {
    pub(super) fn new() -> Self {
        Multipart { boundary: format!("heldar{:032x}", random_bits()), bytes: Vec::new() }
    }

    /// Adds a field of text.
    pub(super) fn text(mut self, name: &'static str, value: &str) -> Self {
        self.head(name, "", "");
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
        self
    }

    /// Adds a JPEG.
    pub(super) fn jpeg(mut self, name: &'static str, bytes: &[u8]) -> Self {
        self.head(name, "; filename=\"event.jpg\"", "Content-Type: image/jpeg\r\n");
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(b"\r\n");
        self
    }

    fn head(&mut self, name: &str, more: &str, headers: &str) {
        let head = format!(
            "--{}\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n{headers}\r\n",
            self.boundary
        );
        self.bytes.extend_from_slice(head.as_bytes());
    }

    /// Its content type, and the body.
    pub(super) fn finish(mut self) -> (HeaderValue, Bytes) {
        self.bytes.extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        let content_type = format!("multipart/form-data; boundary={}", self.boundary);
        let fallback = HeaderValue::from_static("multipart/form-data");
        (HeaderValue::from_str(&content_type).unwrap_or(fallback), self.bytes.into())
    }
}
