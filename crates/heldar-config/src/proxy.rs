//! Who really sent a request that came through a trusted proxy.
//!
//! Owns: the choice of the client address. Never believes an entry that anybody but a trusted proxy can have written.

use std::net::{IpAddr, SocketAddr};

use heldar_base::{Cidr, contains};

/// The forwarding headers of a request, each value in the order received.
#[derive(Clone, Debug, Default)]
pub struct ForwardedHeaders<'a> {
    /// `Forwarded` (RFC 7239).
    pub forwarded: Vec<&'a str>,
    /// `X-Forwarded-For`.
    pub x_forwarded_for: Vec<&'a str>,
    /// `X-Forwarded-Proto`.
    pub x_forwarded_proto: Vec<&'a str>,
    /// `X-Forwarded-Host`.
    pub x_forwarded_host: Vec<&'a str>,
}

/// Who sent a request, and how it was addressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The address for limits, audit, session lists and allow-lists.
    pub address: IpAddr,
    /// Scheme at the proxy, lowercase, if a trusted one told.
    pub scheme: Option<String>,
    /// Host at the proxy, if a trusted one told.
    pub host: Option<String>,
    /// True when the peer is a trusted proxy: it may also set `X-Request-Id`, and its own connections are not limited.
    pub peer_is_trusted: bool,
}

/// Chooses the client: the rightmost forwarded entry that is not itself trusted, and the peer where it is not trusted.
///
/// An entry that is not an address (`unknown`, `_hidden`, garbage) ends the search at the hop that reported it. So does a
/// contradiction between both headers: one of them came from the client untouched, and nobody can tell which.
pub fn client_of(peer: IpAddr, trusted: &[Cidr], headers: &ForwardedHeaders<'_>) -> Client {
    let peer = peer.to_canonical();
    if !contains(trusted, peer) {
        return Client { address: peer, scheme: None, host: None, peer_is_trusted: false };
    }
    let elements: Vec<Element> = headers.forwarded.iter().flat_map(|line| Element::all_of(line)).collect();
    let listed: Vec<Option<IpAddr>> =
        headers.x_forwarded_for.iter().flat_map(|line| line.split(',')).map(node_address).collect();
    let standard = rightmost_untrusted(peer, trusted, elements.iter().map(|e| e.client));
    let usual = rightmost_untrusted(peer, trusted, listed.iter().copied());
    let address = match (elements.is_empty(), listed.is_empty()) {
        (false, true) => standard,
        (true, _) => usual,
        (false, false) if standard == usual => usual,
        (false, false) => peer,
    };
    // The nearest proxy is the one that is trusted: what it said stands last.
    let nearest = elements.into_iter().next_back().unwrap_or_default();
    let last = |lines: &[&str]| {
        lines
            .last()
            .and_then(|line| line.rsplit(',').next())
            .map(str::trim)
            .filter(|v| !v.is_empty())
            .map(str::to_owned)
    };
    Client {
        address,
        scheme: last(&headers.x_forwarded_proto).or(nearest.proto).map(|scheme| scheme.to_ascii_lowercase()),
        host: last(&headers.x_forwarded_host).or(nearest.host),
        peer_is_trusted: true,
    }
}

fn rightmost_untrusted(
    peer: IpAddr,
    trusted: &[Cidr],
    hops: impl DoubleEndedIterator<Item = Option<IpAddr>>,
) -> IpAddr {
    let mut reporter = peer;
    for hop in hops.rev() {
        match hop {
            Some(address) if contains(trusted, address) => reporter = address,
            Some(address) => return address,
            None => return reporter,
        }
    }
    reporter
}

/// One hop of a `Forwarded` header.
#[derive(Debug, Default)]
struct Element {
    client: Option<IpAddr>,
    proto: Option<String>,
    host: Option<String>,
}

impl Element {
    /// The hops of one header line. A quote that is never closed may have been opened by the client to swallow what the
    /// proxy appended, so such a line is one hop that names nobody.
    fn all_of(line: &str) -> Vec<Element> {
        match split_outside_quotes(line, ',') {
            Some(parts) => parts.into_iter().map(Element::parse).collect(),
            None => vec![Element::default()],
        }
    }

    /// RFC 7239 4: `for=…;proto=…;host=…`, values as tokens or quoted strings.
    fn parse(text: &str) -> Element {
        let mut element = Element::default();
        for pair in split_outside_quotes(text, ';').unwrap_or_default() {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let value = unquoted(value.trim());
            match name.trim().to_ascii_lowercase().as_str() {
                "for" => element.client = node_address(&value),
                "proto" => element.proto = Some(value),
                "host" => element.host = Some(value),
                _ => {}
            }
        }
        element
    }
}

/// Splits where `separator` stands outside of a quoted string (RFC 9110 5.6.4); `None` if one does not end.
fn split_outside_quotes(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if c == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!quoted).then_some(parts)
}

fn unquoted(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    out
}

/// An address, with or without port and brackets.
fn node_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip())).ok()?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trusted() -> Vec<Cidr> {
        ["10.0.0.0/8", "fd00::/8"].into_iter().map(|t| t.parse().unwrap()).collect()
    }

    fn check(peer: &str, forwarded: &[&str], x_forwarded_for: &[&str], expect: &str) {
        let headers = ForwardedHeaders {
            forwarded: forwarded.to_vec(),
            x_forwarded_for: x_forwarded_for.to_vec(),
            ..ForwardedHeaders::default()
        };
        let client = client_of(peer.parse().unwrap(), &trusted(), &headers);
        assert_eq!(client.address.to_string(), expect, "{peer} {forwarded:?} {x_forwarded_for:?}");
    }

    #[test]
    fn client_addresses() {
        check("203.0.113.1", &[], &["198.51.100.1"], "203.0.113.1");
        check("203.0.113.1", &["for=198.51.100.1"], &[], "203.0.113.1");
        check("10.0.0.1", &[], &[], "10.0.0.1");
        check("10.0.0.1", &[], &["198.51.100.1"], "198.51.100.1");
        check("::ffff:10.0.0.1", &[], &["198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &[], &["1.1.1.1, 198.51.100.1, 10.0.0.2"], "198.51.100.1");
        check("10.0.0.1", &[], &["1.1.1.1", "198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &[], &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
        check("10.0.0.1", &[], &["1.1.1.1, unknown, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &[], &["1.1.1.1,"], "10.0.0.1");
        check("10.0.0.1", &[], &["[2001:db8::1]:443"], "2001:db8::1");
        check("10.0.0.1", &[], &["2001:db8::1"], "2001:db8::1");
        check("10.0.0.1", &[], &["198.51.100.1:4711"], "198.51.100.1");
        check("10.0.0.1", &["for=198.51.100.1;proto=https"], &[], "198.51.100.1");
        check("10.0.0.1", &["For=\"[2001:db8::1]:4711\""], &[], "2001:db8::1");
        check("10.0.0.1", &["for=1.1.1.1, for=198.51.100.1, for=10.0.0.2"], &[], "198.51.100.1");
        check("10.0.0.1", &["for=_hidden"], &[], "10.0.0.1");
        check("10.0.0.1", &["proto=https"], &[], "10.0.0.1");
        check("10.0.0.1", &["by=\"a,b;for=9.9.9.9\";for=198.51.100.1"], &[], "198.51.100.1");
        check("10.0.0.1", &["for=\"a\", for=9.9.9.9;x=\", for=198.51.100.1"], &[], "10.0.0.1");
        check("10.0.0.1", &["for=198.51.100.1"], &["198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["for=198.51.100.1"], &["198.51.100.2"], "10.0.0.1");
    }

    #[test]
    fn scheme_and_host() {
        let peer = "10.0.0.1".parse().unwrap();
        let headers = ForwardedHeaders {
            x_forwarded_proto: vec!["http, HTTPS"],
            x_forwarded_host: vec!["nvr.example"],
            ..ForwardedHeaders::default()
        };
        let client = client_of(peer, &trusted(), &headers);
        assert_eq!(client.scheme.as_deref(), Some("https"));
        assert_eq!(client.host.as_deref(), Some("nvr.example"));
        assert!(client.peer_is_trusted);
        let headers = ForwardedHeaders {
            forwarded: vec!["for=1.1.1.1;host=\"a:1\";proto=https"],
            ..Default::default()
        };
        let client = client_of(peer, &trusted(), &headers);
        assert_eq!((client.scheme.as_deref(), client.host.as_deref()), (Some("https"), Some("a:1")));
        let stranger = client_of("203.0.113.1".parse().unwrap(), &trusted(), &headers);
        assert_eq!((stranger.scheme, stranger.host, stranger.peer_is_trusted), (None, None, false));
    }

    proptest! {
        /// Whatever a client writes on the left, the entry that the trusted proxy appended decides.
        #[test]
        fn nothing_on_the_left_is_believed(
            forged in "[^,\r\n\"\\\\]{0,20}(,[^,\r\n\"\\\\]{0,20}){0,3}",
            real in 1u32..0x0a00_0000,
        ) {
            let real = IpAddr::V4(real.into());
            let line = format!("{forged}, {real}");
            let headers = ForwardedHeaders { x_forwarded_for: vec![&line], ..ForwardedHeaders::default() };
            prop_assert_eq!(client_of("10.0.0.1".parse().unwrap(), &trusted(), &headers).address, real);
        }

        #[test]
        fn no_header_panics(forwarded in ".{0,60}", list in ".{0,60}") {
            let headers = ForwardedHeaders {
                forwarded: vec![&forwarded],
                x_forwarded_for: vec![&list],
                x_forwarded_proto: vec![&list],
                x_forwarded_host: vec![&forwarded],
            };
            let _client = client_of("10.0.0.1".parse().unwrap(), &trusted(), &headers);
        }
    }
}
