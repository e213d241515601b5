//! The built-in page at `/`.

use axum::http::HeaderValue;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use heldar_http::{ETag, Freshness, Pages, StaticFile};
use sha2::{Digest as _, Sha256};

/// Name, type and bytes of each file.
const FILES: &[(&str, &str, &[u8])] = &[
    ("index.html", "text/html; charset=utf-8", include_bytes!("../web/index.html")),
    ("app.js", "text/javascript; charset=utf-8", include_bytes!("../web/app.js")),
    ("style.css", "text/css; charset=utf-8", include_bytes!("../web/style.css")),
];

/// Files that are part of the binary.
pub struct BuiltIn;

impl Pages for BuiltIn {
    fn file<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Option<StaticFile>> {
        Box::pin(async move {
            let (_, content_type, bytes) = FILES.iter().find(|(name, ..)| *name == path)?;
            let digest = Sha256::digest(bytes);
            let tag: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
            Some(StaticFile {
                bytes: Bytes::from_static(bytes),
                content_type: HeaderValue::from_static(content_type),
                etag: ETag::strong(&tag)?,
                freshness: Freshness::AskEachTime,
            })
        })
    }
}
