//! Lists in pages (media.md 2.4): the cursor and the headers that announce a further page.
//!
//! A cursor is opaque and bound to the path and the filters of its list by a hash. It is not a secret: it holds a position,
//! and what a caller may see is decided by the store for every page anew.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::extract::{Json, pairs};
use crate::{ApiError, Code};

/// Names the further page's cursor, beside `Link`.
pub(crate) const X_NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");

/// Bytes of the hash that binds a cursor to its list.
const BINDING_LEN: usize = 12;
/// Longest cursor that is looked at.
const MAX_CURSOR_LEN: usize = 2048;

/// What RFC 3986 2.3 leaves unencoded everywhere.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// A path that is already a URL's, made safe between `<` and `>`.
const PATH: &AsciiSet = &CONTROLS.add(b'<').add(b'>').add(b'"').add(b' ');

/// The list that a request asks for: its path and its filters, which are all parameters but `cursor` and `limit`.
#[derive(Clone, Debug)]
pub struct List {
    path: String,
    parameters: Vec<(String, String)>,
    cursor: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for List {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        List::new(parts.uri.path(), parts.uri.query().unwrap_or_default())
    }
}

impl List {
    fn new(path: &str, query: &str) -> Result<Self, ApiError> {
        let (cursors, parameters): (Vec<_>, Vec<_>) =
            pairs(query)?.into_iter().partition(|(name, _)| name == "cursor");
        let cursor = cursors.into_iter().next_back().map(|(_, value)| value);
        Ok(List { path: path.to_owned(), parameters, cursor })
    }

    /// The position to go on from; `None` on the first page.
    ///
    /// # Errors
    /// 400 `bad_cursor` for one of another list or of other filters, or one that was made up.
    pub fn position<P: DeserializeOwned>(&self) -> Result<Option<P>, ApiError> {
        let Some(cursor) = self.cursor.as_deref() else { return Ok(None) };
        let bad = || ApiError::of(Code::BadCursor).with_field("cursor");
        if cursor.len() > MAX_CURSOR_LEN {
            return Err(bad());
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| bad())?;
        let (binding, position) = bytes.split_at_checked(BINDING_LEN).ok_or_else(bad)?;
        if binding != self.binding(position) {
            return Err(bad());
        }
        serde_json::from_slice(position).map(Some).map_err(|_| bad())
    }

    /// One page; `next` is the position of its end when the list goes on.
    pub fn page<T: Serialize, P: Serialize>(&self, items: Vec<T>, next: Option<P>) -> Page<T> {
        let next = next.and_then(|position| serde_json::to_vec(&position).ok()).map(|position| {
            let mut bytes = self.binding(&position).to_vec();
            bytes.extend_from_slice(&position);
            let cursor = URL_SAFE_NO_PAD.encode(bytes);
            let url = self.url_of(&cursor);
            (url, cursor)
        });
        Page { items, next }
    }

    /// Hash of path, sorted filters and position. Lengths stand before each text, so that no two lists read alike.
    fn binding(&self, position: &[u8]) -> [u8; BINDING_LEN] {
        let mut filters: Vec<&(String, String)> =
            self.parameters.iter().filter(|(name, _)| name != "limit").collect();
        filters.sort();
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(self.path.as_bytes());
        for (name, value) in filters {
            add(name.as_bytes());
            add(value.as_bytes());
        }
        add(position);
        let digest = hash.finalize();
        std::array::from_fn(|at| digest.get(at).copied().unwrap_or_default())
    }

    fn url_of(&self, cursor: &str) -> String {
        let mut url = utf8_percent_encode(&self.path, PATH).to_string();
        let all = self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (at, (name, value)) in all.chain([("cursor", cursor)]).enumerate() {
            url.push(if at == 0 { '?' } else { '&' });
            url.extend(utf8_percent_encode(name, QUERY));
            url.push('=');
            url.extend(utf8_percent_encode(value, QUERY));
        }
        url
    }
}

/// A page of a list: a plain JSON array, with `Link: <…>; rel="next"` and `X-Next-Cursor` when there is more.
#[derive(Debug)]
pub struct Page<T> {
    items: Vec<T>,
    next: Option<(String, String)>,
}

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.items).into_response();
        if let Some((url, cursor)) = self.next {
            let link = HeaderValue::from_str(&format!("<{url}>; rel=\"next\""));
            let (Ok(link), Ok(cursor)) = (link, HeaderValue::from_str(&cursor)) else {
                return ApiError::internal("a page whose address is no header text").into_response();
            };
            response.headers_mut().insert(header::LINK, link);
            response.headers_mut().insert(X_NEXT_CURSOR, cursor);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Uri;
    use proptest::prelude::*;

    use super::*;

    type Position = (i64, String);

    fn next_of(page: &Page<u32>) -> (Uri, String) {
        let (url, cursor) = page.next.clone().unwrap();
        (url.parse().unwrap(), cursor)
    }

    #[test]
    fn a_cursor_goes_on_in_its_own_list_only() {
        let list = List::new("/api/v1/clips", "camera_id=gate&limit=5").unwrap();
        let position: Position = (7, "clip".to_owned());
        let (url, cursor) = next_of(&list.page(vec![1], Some(&position)));
        assert_eq!(url.to_string(), format!("/api/v1/clips?camera_id=gate&limit=5&cursor={cursor}"));

        let check = |path: &str, query: &str, expect: Result<Option<Position>, &str>| {
            let got = List::new(path, query).unwrap().position::<Position>();
            assert_eq!(got.map_err(|e| e.code().as_str()), expect, "{path}?{query}");
        };
        check("/api/v1/clips", "camera_id=gate", Ok(None));
        check(url.path(), url.query().unwrap(), Ok(Some(position.clone())));
        // The page size is no filter, and the order of parameters means nothing.
        check("/api/v1/clips", &format!("cursor={cursor}&limit=9&camera_id=gate"), Ok(Some(position)));
        check("/api/v1/clips", &format!("camera_id=yard&cursor={cursor}"), Err("bad_cursor"));
        check("/api/v1/clips", &format!("cursor={cursor}"), Err("bad_cursor"));
        check("/api/v1/events", &format!("camera_id=gate&cursor={cursor}"), Err("bad_cursor"));
        check("/api/v1/clips", "camera_id=gate&cursor=", Err("bad_cursor"));
        check("/api/v1/clips", "camera_id=gate&cursor=!!", Err("bad_cursor"));
        check("/api/v1/clips", &format!("camera_id=gate&cursor={}", "A".repeat(5000)), Err("bad_cursor"));
    }

    #[test]
    fn a_cursor_of_another_type_is_foreign() {
        let list = List::new("/x", "").unwrap();
        let (url, _) = next_of(&list.page(vec![1], Some(5)));
        let again = List::new("/x", url.query().unwrap()).unwrap();
        assert_eq!(again.position::<Position>().unwrap_err().code(), Code::BadCursor);
    }

    proptest! {
        #[test]
        fn filters_survive_in_the_link(
            filters in proptest::collection::vec(("[a-z]{1,4}", "\\PC{0,8}"), 0..4),
            at in any::<i64>(),
        ) {
            let query: Vec<String> = filters
                .iter()
                .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, QUERY)))
                .collect();
            let list = List::new("/x", &query.join("&")).unwrap();
            let page = list.page(vec![1], Some((at, "p".to_owned())));
            let (url, _) = next_of(&page);
            let again = List::new(url.path(), url.query().unwrap()).unwrap();
            prop_assert_eq!(&again.parameters, &filters);
            prop_assert_eq!(again.position::<Position>().unwrap(), Some((at, "p".to_owned())));
        }

        #[test]
        fn any_cursor_is_answered(cursor in "[A-Za-z0-9_-]{0,80}") {
            let list = List::new("/x", &format!("cursor={cursor}")).unwrap();
            prop_assert!(list.position::<Position>().is_err());
        }
    }
}
