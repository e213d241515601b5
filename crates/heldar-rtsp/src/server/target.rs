//! What a request URI names: a path, a query, and perhaps one track of the path.

/// Name of a track in control URLs; a number follows.
pub(super) const TRACK_PREFIX: &str = "trackID=";

/// A request URI taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Path without leading and trailing slashes, percent-decoded.
    pub(super) path: String,
    /// Query without its question mark, as it was spelled.
    pub(super) query: Option<String>,
    /// The track of a control URL.
    pub(super) track: Option<usize>,
}

/// Takes a request URI apart; `None` for one that is neither `*`, an absolute path nor an `rtsp` URL.
///
/// The track is looked for at the very end, behind the query too: clients build control URLs by appending to a base that
/// may have a query (RFC 2326 C.1.1).
pub(super) fn parse(uri: &str) -> Option<Target> {
    if uri == "*" {
        return Some(Target { path: String::new(), query: None, track: None });
    }
    let local = match uri.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("rtsp") => {
            rest.find(['/', '?']).map_or("", |at| &rest[at..])
        }
        Some(_) => return None,
        None if uri.starts_with('/') => uri,
        None => return None,
    };
    let (base, last) = local.rsplit_once('/').unwrap_or((local, ""));
    let (local, track, tail) = match last.strip_prefix(TRACK_PREFIX) {
        Some(number) => {
            let (number, tail) = number.split_once('?').map_or((number, None), |(n, tail)| (n, Some(tail)));
            (base, Some(number.parse().ok()?), tail)
        }
        None => (local, None, None),
    };
    let (path, query) = match local.split_once('?') {
        Some((path, query)) => (path, Some(query.trim_end_matches('/').to_owned())),
        None => (local, tail.map(str::to_owned)),
    };
    let path = percent_decode(path.trim_matches('/'))?;
    Some(Target { path, query, track })
}

fn percent_decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
            let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(uri: &str, expect: Option<(&str, Option<&str>, Option<usize>)>) {
        let expect = expect.map(|(path, query, track)| Target {
            path: path.to_owned(),
            query: query.map(str::to_owned),
            track,
        });
        assert_eq!(parse(uri), expect, "{uri}");
    }

    #[test]
    fn targets() {
        check("*", Some(("", None, None)));
        check("rtsp://h:8554/cam1", Some(("cam1", None, None)));
        check("rtsp://h/cam1/", Some(("cam1", None, None)));
        check("RTSP://h/cam1/sub/trackID=1", Some(("cam1/sub", None, Some(1))));
        check("/cam1/trackID=0", Some(("cam1", None, Some(0))));
        check("rtsp://h/cam1?a=1&b=2", Some(("cam1", Some("a=1&b=2"), None)));
        check("rtsp://h/cam1?a=1/", Some(("cam1", Some("a=1"), None)));
        check("rtsp://h/cam1?a=1/trackID=12", Some(("cam1", Some("a=1"), Some(12))));
        check("rtsp://h/cam1/trackID=0?a=1", Some(("cam1", Some("a=1"), Some(0))));
        check("rtsp://h", Some(("", None, None)));
        check("rtsp://h/a%20b%C3%A9", Some(("a bé", None, None)));
        check("rtsp://h/a%2", None);
        check("rtsp://h/a%ff", None);
        check("rtsp://h/x/trackID=99999999999999999999999", None);
        check("http://h/x", None);
        check("cam1", None);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,60}") {
            let _outcome = parse(&text);
        }
    }
}
