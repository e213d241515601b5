//! Who makes a request: what it may see, and the author of what it does.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use heldar_base::{CameraId, Clock as _, Interval};
use heldar_http::{ApiError, Caller, Client, RequestId};

use crate::kernel::Kernel;
use crate::reads::Read;
use crate::registry::Author;

/// Who makes a request that leaves an audit row.
#[derive(Clone, Debug)]
pub struct Requester {
    /// Its rights.
    pub caller: Caller,
    /// The author of its audit rows.
    pub author: Author,
}

impl Kernel {
    /// Somebody downloads footage of a camera: a row for each, at the request for its first bytes; later parts of it are one
    /// use together.
    pub fn downloaded(&self, author: &Author, camera: &CameraId, window: Interval, headers: &HeaderMap) {
        if goes_on(headers) {
            self.read(author, camera, Read::Download, window);
            return;
        }
        let now = self.clock.wall();
        self.audit_read(author.read(now, camera, Read::Download, window));
        self.reads.begun(now, author, camera, Read::Download, window);
    }
}

/// Whether a request asks for a later part of a file and for nothing else. Whatever cannot be told so counts as its begin.
fn goes_on(headers: &HeaderMap) -> bool {
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let first = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    first.is_some_and(|(from, to)| {
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        !from.is_empty() && is_number(from) && is_number(to) && from.parse().is_ok_and(|from: u64| from > 0)
    })
}

impl<S: Send + Sync> FromRequestParts<S> for Requester {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let client = Client::from_request_parts(parts, state).await?;
        let id = RequestId::from_request_parts(parts, state).await?;
        let user_agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let author = Author::new(caller.principal());
        let author = author.by_request(client.address.to_string(), user_agent, id.as_str());
        Ok(Requester { caller, author })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_parts_of_a_file() {
        for (range, expect) in [
            ("bytes=1-", true),
            ("bytes=1000-1999", true),
            ("bytes=0-", false),
            ("bytes=00-", false),
            ("bytes= 0-", false),
            ("bytes=-500", false),
            ("bytes=5-,0-4", false),
            ("items=5-", false),
            ("bytes=5", false),
        ] {
            let headers = HeaderMap::from_iter([(header::RANGE, range.parse().unwrap())]);
            assert_eq!(goes_on(&headers), expect, "{range}");
        }
        assert!(!goes_on(&HeaderMap::new()));
    }
}
