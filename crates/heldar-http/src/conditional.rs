//! Conditional requests (RFC 9110 13) as pure functions of headers and validators.

use std::fmt;
use std::time::{Duration, SystemTime};

use axum::http::header::{
    HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
};
use axum::http::{HeaderMap, HeaderValue, Method};
use heldar_base::{Micros, WallTime};

/// A strong entity tag (RFC 9110 8.8.3): two answers with the same one have the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag(String);

impl ETag {
    /// Quotes an opaque name; `None` when it holds anything but visible ASCII without a quote.
    pub fn strong(opaque: &str) -> Option<Self> {
        let ok = !opaque.is_empty() && opaque.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b'"');
        ok.then(|| ETag(format!("\"{opaque}\"")))
    }

    /// The tag with its quotes, as it stands in the header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a representation can be recognised by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Validators<'a> {
    /// Its entity tag.
    pub etag: Option<&'a ETag>,
    /// When it last changed; compared in whole seconds.
    pub last_modified: Option<WallTime>,
}

/// What the conditions of a request amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Answer as usual.
    Proceed,
    /// 304: the client has it already.
    NotModified,
    /// 412: it is not what the client expects.
    Failed,
}

/// Evaluates `If-Match`, `If-Unmodified-Since`, `If-None-Match` and `If-Modified-Since` in the order of RFC 9110 13.2.2,
/// for a representation that exists.
pub fn precondition(method: &Method, headers: &HeaderMap, validators: Validators<'_>) -> Precondition {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    if headers.contains_key(IF_MATCH) {
        if !matches_any(headers, &IF_MATCH, validators.etag, Comparison::Strong) {
            return Precondition::Failed;
        }
    } else if let (Some(limit), Some(modified)) =
        (date(headers, &IF_UNMODIFIED_SINCE), validators.last_modified)
        && modified.floor_second() > limit
    {
        return Precondition::Failed;
    }
    if headers.contains_key(IF_NONE_MATCH) {
        if matches_any(headers, &IF_NONE_MATCH, validators.etag, Comparison::Weak) {
            return if reads { Precondition::NotModified } else { Precondition::Failed };
        }
    } else if reads
        && let (Some(since), Some(modified)) = (date(headers, &IF_MODIFIED_SINCE), validators.last_modified)
        && modified.floor_second() <= since
    {
        return Precondition::NotModified;
    }
    Precondition::Proceed
}

/// True when a `Range` may be honoured: there is no `If-Range`, or it names exactly this representation (RFC 9110 13.1.5).
/// A date counts only if the representation had been unchanged for a second by `now`; otherwise it could have changed
/// twice in the second that the date names (8.8.2.2).
pub fn range_applies(headers: &HeaderMap, validators: Validators<'_>, now: WallTime) -> bool {
    let Some(value) = headers.get(IF_RANGE) else { return true };
    let Ok(text) = value.to_str() else { return false };
    let text = text.trim();
    if text.starts_with('"') || text.starts_with("W/") {
        return validators.etag.is_some_and(|etag| etag.as_str() == text);
    }
    match (parse_date(text), validators.last_modified) {
        (Some(date), Some(modified)) => {
            date == modified.floor_second() && now - modified >= Micros::from_secs(1)
        }
        _ => false,
    }
}

/// The value of a `Last-Modified` header (RFC 9110 5.6.7).
pub fn http_date(at: WallTime) -> HeaderValue {
    let since_epoch = Duration::from_secs(at.0.max(0).unsigned_abs() / 1_000_000);
    let text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since_epoch);
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[derive(Clone, Copy)]
enum Comparison {
    Strong,
    Weak,
}

/// True when the list of tags in a header holds `*` or this one. Several header lines are one list.
fn matches_any(headers: &HeaderMap, name: &HeaderName, etag: Option<&ETag>, comparison: Comparison) -> bool {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(|list| {
        if list.trim() == "*" {
            return true;
        }
        let Some(etag) = etag else { return false };
        tags(list).any(|(weak, opaque)| {
            opaque == etag.as_str()
                && match comparison {
                    Comparison::Weak => true,
                    Comparison::Strong => !weak,
                }
        })
    })
}

/// The tags of a list: whether weak, and the quoted part. Ends at the first thing that is no tag.
fn tags(list: &str) -> impl Iterator<Item = (bool, &str)> {
    let mut rest = list;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (weak, quoted) = match rest.strip_prefix("W/") {
            Some(tail) => (true, tail),
            None => (false, rest),
        };
        let end = quoted.strip_prefix('"')?.find('"')? + 2;
        let (tag, tail) = quoted.split_at_checked(end)?;
        rest = tail;
        Some((weak, tag))
    })
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<WallTime> {
    parse_date(headers.get(name)?.to_str().ok()?)
}

fn parse_date(text: &str) -> Option<WallTime> {
    let since_epoch = httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since_epoch.as_micros()).ok().map(WallTime)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MODIFIED: WallTime = WallTime(1_769_860_800_250_000);
    const SAME: &str = "Sat, 31 Jan 2026 12:00:00 GMT";
    const BEFORE: &str = "Sat, 31 Jan 2026 11:59:59 GMT";
    const AFTER: &str = "Saturday, 31-Jan-26 12:00:01 GMT";

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    fn check(pairs: &[(&str, &str)], expect: Precondition) {
        let etag = ETag::strong("seg-1-2").unwrap();
        let validators = Validators { etag: Some(&etag), last_modified: Some(MODIFIED) };
        assert_eq!(precondition(&Method::GET, &headers(pairs), validators), expect, "{pairs:?}");
    }

    #[test]
    fn preconditions() {
        use Precondition::{Failed, NotModified, Proceed};
        check(&[], Proceed);
        check(&[("if-none-match", "\"seg-1-2\"")], NotModified);
        check(&[("if-none-match", "W/\"seg-1-2\"")], NotModified);
        check(&[("if-none-match", "\"x\", \"a,b\" , \"seg-1-2\"")], NotModified);
        check(&[("if-none-match", "*")], NotModified);
        check(&[("if-none-match", "\"seg-1\"")], Proceed);
        check(&[("if-none-match", "seg-1-2")], Proceed);
        check(&[("if-none-match", "\"x\""), ("if-modified-since", AFTER)], Proceed);
        check(&[("if-modified-since", SAME)], NotModified);
        check(&[("if-modified-since", AFTER)], NotModified);
        check(&[("if-modified-since", BEFORE)], Proceed);
        check(&[("if-modified-since", "yesterday")], Proceed);
        check(&[("if-match", "\"seg-1-2\"")], Proceed);
        check(&[("if-match", "*")], Proceed);
        check(&[("if-match", "W/\"seg-1-2\"")], Failed);
        check(&[("if-match", "\"x\"")], Failed);
        check(&[("if-unmodified-since", SAME)], Proceed);
        check(&[("if-unmodified-since", BEFORE)], Failed);
        check(&[("if-match", "\"seg-1-2\""), ("if-unmodified-since", BEFORE)], Proceed);
    }

    #[test]
    fn if_range() {
        let etag = ETag::strong("v1").unwrap();
        let both = Validators { etag: Some(&etag), last_modified: Some(MODIFIED) };
        let later = MODIFIED + Micros::from_secs(1);
        for (value, now, expect) in [
            ("\"v1\"", later, true),
            ("W/\"v1\"", later, false),
            ("\"v2\"", later, false),
            (SAME, later, true),
            (SAME, MODIFIED, false),
            (BEFORE, later, false),
            (AFTER, later, false),
            ("", later, false),
        ] {
            assert_eq!(range_applies(&headers(&[("if-range", value)]), both, now), expect, "{value}");
        }
        assert!(range_applies(&headers(&[]), both, later));
        assert!(!range_applies(&headers(&[("if-range", "\"v1\"")]), Validators::default(), later));
    }

    #[test]
    fn tags_are_visible_ascii() {
        assert_eq!(ETag::strong("a-1").unwrap().as_str(), "\"a-1\"");
        for bad in ["", "a b", "a\"b", "ü", "a\n"] {
            assert_eq!(ETag::strong(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn dates_round_trip(seconds in 0i64..250_000_000_000) {
            let at = WallTime(seconds * 1_000_000);
            let text = http_date(at);
            prop_assert_eq!(parse_date(text.to_str().unwrap()), Some(at));
        }

        #[test]
        fn any_header_is_evaluated(text in "[ -~]{0,60}") {
            let etag = ETag::strong("v1").unwrap();
            let validators = Validators { etag: Some(&etag), last_modified: Some(MODIFIED) };
            for name in ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"] {
                let _outcome = precondition(&Method::GET, &headers(&[(name, &text)]), validators);
            }
            let _outcome = range_applies(&headers(&[("if-range", &text)]), validators, MODIFIED);
        }
    }
}
