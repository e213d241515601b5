//! Static pages: the dashboard's files, and the index for every path that nothing owns (auth-system.md 4.5).

use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use heldar_base::WallTime;
use percent_encoding::percent_decode_str;

use crate::ranged::{Length, Ranged};
use crate::{ApiError, Code, ETag};

/// Trees that answer themselves or JSON 404, never the index.
const OWNED: [&str; 8] = ["api", "media", "live", "m", "internal", "metrics", "healthz", "readyz"];
const INDEX: &str = "index.html";

/// How long a browser may keep a file without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Ask each time; the entity tag makes that cheap.
    AskEachTime,
    /// For good: the name changes with the content.
    Immutable,
}

/// One file of the dashboard.
#[derive(Clone, Debug)]
pub struct StaticFile {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its `Content-Type`.
    pub content_type: HeaderValue,
    /// Changes whenever the bytes do.
    pub etag: ETag,
    /// How long it may be kept.
    pub freshness: Freshness,
}

/// Where the dashboard's files come from.
pub trait Pages: Send + Sync + 'static {
    /// The file at a path such as `assets/app.js`: no leading `/`, no empty, `.` or `..` part.
    fn file<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Option<StaticFile>>;
}

/// Answers a path that no route owns.
pub(crate) async fn fallback(
    pages: Option<&dyn Pages>,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    now: WallTime,
) -> Response {
    let not_found = || ApiError::new(Code::NotFound, "no such path").into_response();
    let owned = path.split('/').nth(1).is_some_and(|first| OWNED.contains(&first));
    let Some(pages) = pages.filter(|_| !owned) else { return not_found() };
    if !matches!(*method, Method::GET | Method::HEAD) {
        return ApiError::of(Code::MethodNotAllowed)
            .with_header(header::ALLOW, HeaderValue::from_static("GET,HEAD"))
            .into_response();
    }
    let named = match file_path(path) {
        Some(name) => pages.file(&name).await,
        None => None,
    };
    let file = match named {
        Some(file) => Some(file),
        None => pages.file(INDEX).await,
    };
    match file {
        Some(file) => serve(file, method, headers, now),
        None => not_found(),
    }
}

/// The name of a file; `None` for what can name none.
fn file_path(path: &str) -> Option<String> {
    let decoded = percent_decode_str(path.strip_prefix('/')?).decode_utf8().ok()?;
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0', ':']);
    decoded.split('/').all(plain).then(|| decoded.into_owned())
}

fn serve(file: StaticFile, method: &Method, headers: &HeaderMap, now: WallTime) -> Response {
    let cache_control = match file.freshness {
        Freshness::AskEachTime => "no-cache",
        Freshness::Immutable => "public, max-age=31536000, immutable",
    };
    let ranged = Ranged {
        content_type: file.content_type,
        length: Length::Final(file.bytes.len() as u64),
        etag: Some(&file.etag),
        last_modified: None,
        cache_control: Some(HeaderValue::from_static(cache_control)),
    };
    ranged.respond(method, headers, now, file.bytes).unwrap_or_else(IntoResponse::into_response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        for (path, expect) in [
            ("/app.js", Some("app.js")),
            ("/assets/a%20b.js", Some("assets/a b.js")),
            ("/", None),
            ("/a//b", None),
            ("/../etc/passwd", None),
            ("/%2e%2e/etc/passwd", None),
            ("/a/..%2f..%2fb", None),
            ("/a%5c..%5cb", None),
            ("/a%00", None),
            ("/%ff", None),
        ] {
            assert_eq!(file_path(path).as_deref(), expect, "{path}");
        }
    }
}
