//! Byte ranges (RFC 9110 14) as pure functions.

use axum::http::{HeaderMap, HeaderValue, header};

/// Some bytes of a representation; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub first: u64,
    /// Last byte, which is part of the range.
    pub last: u64,
}

impl ByteRange {
    /// How many bytes.
    pub fn len(self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    /// Never true: a range holds at least one byte.
    pub fn is_empty(self) -> bool {
        false
    }
}

/// What a `Range` header amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeOutcome {
    /// 200: no range, or one that a server ignores: another unit, a syntax error, several ranges (RFC 9110 14.2).
    Whole,
    /// 206 with these bytes.
    Part(ByteRange),
    /// 416: no byte of it exists.
    Unsatisfiable,
}

/// Evaluates the `Range` header of a request for a representation of `len` bytes.
pub fn range(headers: &HeaderMap, len: u64) -> RangeOutcome {
    let mut values = headers.get_all(header::RANGE).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (Some(Ok(text)), None) => parse(text, len),
        _ => RangeOutcome::Whole,
    }
}

/// `bytes=first-last`, `bytes=first-` or `bytes=-suffix` (RFC 9110 14.1.1). Numbers beyond 64 bits are as good as the
/// largest.
fn parse(text: &str, len: u64) -> RangeOutcome {
    let Some((unit, set)) = text.split_once('=') else { return RangeOutcome::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return RangeOutcome::Whole;
    }
    // RFC 9110 5.6.1: empty list elements are ignored.
    let mut specs = set.split(',').map(|spec| spec.trim_matches([' ', '\t'])).filter(|spec| !spec.is_empty());
    let (Some(spec), None) = (specs.next(), specs.next()) else { return RangeOutcome::Whole };
    let Some((first, last)) = spec.split_once('-') else { return RangeOutcome::Whole };
    match (number(first), number(last)) {
        (Number::Value(first), Number::Value(last)) if first > last => RangeOutcome::Whole,
        (Number::Value(first), Number::Value(last)) => clip(first, last, len),
        (Number::Value(first), Number::Absent) => clip(first, u64::MAX, len),
        (Number::Absent, Number::Value(0)) => RangeOutcome::Unsatisfiable,
        (Number::Absent, Number::Value(suffix)) => clip(len.saturating_sub(suffix), u64::MAX, len),
        _ => RangeOutcome::Whole,
    }
}

fn clip(first: u64, last: u64, len: u64) -> RangeOutcome {
    match len.checked_sub(1) {
        Some(end) if first <= end => RangeOutcome::Part(ByteRange { first, last: last.min(end) }),
        _ => RangeOutcome::Unsatisfiable,
    }
}

enum Number {
    Absent,
    Value(u64),
    Bad,
}

fn number(text: &str) -> Number {
    if text.is_empty() {
        Number::Absent
    } else if text.bytes().all(|b| b.is_ascii_digit()) {
        Number::Value(text.parse().unwrap_or(u64::MAX))
    } else {
        Number::Bad
    }
}

/// `Content-Range` of a part; the complete length is left open (`*`) for a file that grows.
pub(crate) fn content_range(part: ByteRange, complete: Option<u64>) -> HeaderValue {
    let text = match complete {
        Some(len) => format!("bytes {}-{}/{len}", part.first, part.last),
        None => format!("bytes {}-{}/*", part.first, part.last),
    };
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("bytes */*"))
}

/// `Content-Range` of a 416 (RFC 9110 14.4).
pub(crate) fn unsatisfied_range(len: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("bytes */{len}")).unwrap_or_else(|_| HeaderValue::from_static("bytes */*"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, len: u64, expect: RangeOutcome) {
        assert_eq!(parse(text, len), expect, "{text} of {len}");
    }

    fn part(first: u64, last: u64) -> RangeOutcome {
        RangeOutcome::Part(ByteRange { first, last })
    }

    #[test]
    fn forms() {
        use RangeOutcome::{Unsatisfiable, Whole};
        check("bytes=0-0", 10, part(0, 0));
        check("bytes=2-5", 10, part(2, 5));
        check("bytes=2-", 10, part(2, 9));
        check("bytes=-3", 10, part(7, 9));
        check("bytes=-30", 10, part(0, 9));
        check("bytes=5-500", 10, part(5, 9));
        check("Bytes = 0-1", 10, part(0, 1));
        check("bytes= , 0-1 ,", 10, part(0, 1));
        check("bytes=9-", 10, part(9, 9));
        check("bytes=10-", 10, Unsatisfiable);
        check("bytes=-0", 10, Unsatisfiable);
        check("bytes=0-", 0, Unsatisfiable);
        check("bytes=-1", 0, Unsatisfiable);
        check("bytes=99999999999999999999-", 10, Unsatisfiable);
        check("bytes=0-99999999999999999999", 10, part(0, 9));
        check("bytes=5-2", 10, Whole);
        check("bytes=0-1,3-4", 10, Whole);
        check("bytes=a-b", 10, Whole);
        check("bytes=-", 10, Whole);
        check("bytes=+1-2", 10, Whole);
        check("bytes=", 10, Whole);
        check("bytes 0-1", 10, Whole);
        check("lines=0-1", 10, Whole);
        check("", 10, Whole);
    }

    #[test]
    fn several_range_headers_are_ignored() {
        let mut headers = HeaderMap::new();
        assert_eq!(range(&headers, 10), RangeOutcome::Whole);
        headers.append(header::RANGE, HeaderValue::from_static("bytes=0-1"));
        assert_eq!(range(&headers, 10), part(0, 1));
        headers.append(header::RANGE, HeaderValue::from_static("bytes=2-3"));
        assert_eq!(range(&headers, 10), RangeOutcome::Whole);
    }

    /// The bytes that a range names, found by asking each position in turn.
    fn model(first: Option<u64>, last: Option<u64>, len: u64) -> Vec<u64> {
        (0..len)
            .filter(|&at| match (first, last) {
                (Some(first), Some(last)) => first <= at && at <= last,
                (Some(first), None) => first <= at,
                (None, Some(suffix)) => at + suffix >= len,
                (None, None) => true,
            })
            .collect()
    }

    proptest! {
        #[test]
        fn agrees_with_the_model(
            first in proptest::option::of(0u64..40),
            last in proptest::option::of(0u64..40),
            len in 0u64..30,
        ) {
            let text = format!(
                "bytes={}-{}",
                first.map(|n| n.to_string()).unwrap_or_default(),
                last.map(|n| n.to_string()).unwrap_or_default(),
            );
            let backwards = matches!((first, last), (Some(first), Some(last)) if first > last);
            let no_number = first.is_none() && last.is_none();
            let wanted = model(first, last, len);
            match parse(&text, len) {
                RangeOutcome::Whole => prop_assert!(backwards || no_number),
                RangeOutcome::Unsatisfiable => prop_assert!(wanted.is_empty() && !backwards),
                RangeOutcome::Part(part) => {
                    prop_assert_eq!((part.first..=part.last).collect::<Vec<_>>(), wanted);
                    prop_assert_eq!(part.len(), part.last - part.first + 1);
                }
            }
        }

        #[test]
        fn any_text_names_bytes_that_exist(text in "(bytes=)?[0-9, a-z=-]{0,30}", len in 0u64..100) {
            if let RangeOutcome::Part(part) = parse(&text, len) {
                prop_assert!(part.first <= part.last && part.last < len);
            }
        }
    }
}
