//! When a request comes from this machine.
//!
//! With access control off such a request is an administrator's, so each rule here closes a way in: a peer elsewhere, a
//! proxy in front, a foreign web page whose name was made to resolve to 127.0.0.1.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a request carries a header that a proxy sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// None.
    Absent,
    /// At least one, whatever it says.
    Present,
}

impl Forwarding {
    /// Looks at the names of all headers of a request.
    pub fn of_header_names<'a>(mut names: impl Iterator<Item = &'a str>) -> Self {
        if names.any(is_forwarding_header) { Forwarding::Present } else { Forwarding::Absent }
    }
}

/// True for `Forwarded`, `X-Forwarded-*` and `X-Real-IP`, in any case.
pub fn is_forwarding_header(name: &str) -> bool {
    let prefix = b"x-forwarded-";
    name.eq_ignore_ascii_case("forwarded")
        || name.eq_ignore_ascii_case("x-real-ip")
        || name.as_bytes().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// True when a request counts as local: its peer is loopback, no proxy forwarded it, and its `Host` (of HTTP/2: its
/// authority) is `localhost` or a loopback address, with or without a port.
pub fn counts_as_local(peer: IpAddr, forwarding: Forwarding, host: Option<&str>) -> bool {
    peer.to_canonical().is_loopback()
        && forwarding == Forwarding::Absent
        && host.is_some_and(|host| without_port(host).is_some_and(is_loopback_name))
}

/// True for `127/8`, `::1` and `localhost`, an IPv6 address with or without brackets.
pub(crate) fn is_loopback_name(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|v4| v4.is_loopback())
        || bare.parse::<Ipv6Addr>().is_ok_and(|v6| v6.is_loopback())
}

/// The host of `host[:port]` (RFC 9110 7.2); `None` where that is malformed.
fn without_port(authority: &str) -> Option<&str> {
    let (host, port) = match authority.rfind(']') {
        Some(end) => authority.split_at(end + 1),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port_ok = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_digit()),
        None => port.is_empty(),
    };
    // A bare IPv6 address has no place in a Host header: it would be cut at its first colon.
    port_ok.then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(peer: &str, forwarding: Forwarding, host: Option<&str>, local: bool) {
        assert_eq!(
            counts_as_local(peer.parse().unwrap(), forwarding, host),
            local,
            "{peer} {forwarding:?} {host:?}"
        );
    }

    #[test]
    fn all_three_must_hold() {
        let (peers, hosts) = (
            [
                ("127.0.0.1", true),
                ("127.9.9.9", true),
                ("::1", true),
                ("::ffff:127.0.0.1", true),
                ("10.0.0.1", false),
                ("::ffff:10.0.0.1", false),
                ("fe80::1", false),
            ],
            [
                (Some("localhost"), true),
                (Some("LOCALHOST:8000"), true),
                (Some("127.0.0.1:8000"), true),
                (Some("127.3.2.1"), true),
                (Some("[::1]"), true),
                (Some("[::1]:8000"), true),
                (Some("localhost:"), true),
                (None, false),
                (Some(""), false),
                (Some("nvr"), false),
                (Some("10.0.0.1:8000"), false),
                (Some("localhost.evil.example"), false),
                (Some("evil.localhost"), false),
                (Some("localhost."), false),
                (Some("localhost:80@evil"), false),
                (Some("a@localhost"), false),
                (Some("[::1]x"), false),
                (Some("127.1"), false),
                (Some("2130706433"), false),
                (Some("0.0.0.0"), false),
                (Some("[::]"), false),
                (Some("localhost localhost"), false),
                (Some("]"), false),
                (Some("::1"), false),
            ],
        );
        for (peer, peer_local) in peers {
            for (host, host_local) in hosts {
                check(peer, Forwarding::Absent, host, peer_local && host_local);
                check(peer, Forwarding::Present, host, false);
            }
        }
    }

    #[test]
    fn forwarding_headers() {
        for (name, expect) in [
            ("Forwarded", true),
            ("x-forwarded-for", true),
            ("X-Forwarded-Anything", true),
            ("X-REAL-IP", true),
            ("x-forwarded", false),
            ("host", false),
            ("ä-forwarded-", false),
        ] {
            assert_eq!(is_forwarding_header(name), expect, "{name}");
        }
        assert_eq!(Forwarding::of_header_names(["host", "forwarded"].into_iter()), Forwarding::Present);
        assert_eq!(Forwarding::of_header_names(["host"].into_iter()), Forwarding::Absent);
    }

    proptest! {
        #[test]
        fn no_host_panics(host in ".{0,40}") {
            let _outcome = counts_as_local("127.0.0.1".parse().unwrap(), Forwarding::Absent, Some(&host));
        }
    }
}
