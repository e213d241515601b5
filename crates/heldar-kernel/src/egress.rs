//! Where the server may connect to (auth-system.md 18).
//!
//! Owns: the addresses that no camera and no receiver has. `heldar-ingest` resolves names of cameras once, asks this of every
//! answer, and connects to what was checked; [`client`] does the same for HTTP. Neither follows a redirect. Nothing else in
//! the server connects to anything but its own database, which the house rules hold. Never: resolves a name here.

pub mod client;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::OnceLock;

use heldar_config::{Cidr, Settings};
use heldar_ingest::AddressGuard;

/// Policy CAMERA: private addresses are allowed, those that no camera has are not.
#[derive(Debug)]
pub struct CameraGuard {
    deny: Vec<Cidr>,
    /// Port of the API's own listener, which no camera listens on.
    own_port: u16,
    /// That of our RTSP listener, once it listens: a camera there would be our own restream.
    own_rtsp_port: OnceLock<u16>,
}

impl CameraGuard {
    pub(crate) fn new(settings: &Settings) -> Self {
        let deny = settings.egress.deny.clone();
        CameraGuard { deny, own_port: settings.api.port, own_rtsp_port: OnceLock::new() }
    }

    /// We serve RTSP at this port.
    pub(crate) fn is_ours(&self, rtsp_port: u16) {
        self.own_rtsp_port.get_or_init(|| rtsp_port);
    }
}

/// Whether an address is one of this machine: only then can a socket be bound to it.
fn is_local(address: IpAddr) -> bool {
    address.is_loopback() || std::net::UdpSocket::bind((address, 0)).is_ok()
}

/// The IPv4 address that a packet to this one ends at: itself, or what is mapped (RFC 4291 2.5.5.2) or translated (NAT64,
/// RFC 6052 2.1; 6to4, RFC 3056 2) into IPv6.
fn inner(address: IpAddr) -> Option<Ipv4Addr> {
    let v6 = match address.to_canonical() {
        IpAddr::V4(v4) => return Some(v4),
        IpAddr::V6(v6) => v6,
    };
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        // Compatible addresses are deprecated, and still an IPv4 address (RFC 4291 2.5.5.1).
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(v4(high, low)),
        _ => None,
    }
}

impl AddressGuard for CameraGuard {
    fn allows(&self, at: SocketAddr) -> bool {
        let is_own_port = at.port() == self.own_port || self.own_rtsp_port.get() == Some(&at.port());
        let is_own = is_own_port && is_local(at.ip().to_canonical());
        !is_own && !is_forbidden(at.ip(), &self.deny)
    }
}

/// Policy LAN: receivers of webhooks. Private addresses and loopback are allowed, but for the API's own listener.
#[derive(Clone, Debug)]
pub struct LanGuard {
    deny: Vec<Cidr>,
    own_port: u16,
}

impl LanGuard {
    /// As the configuration says.
    pub fn new(settings: &Settings) -> Self {
        LanGuard { deny: settings.egress.deny.clone(), own_port: settings.api.port }
    }

    /// Whether an address may be connected to.
    pub fn allows(&self, at: SocketAddr) -> bool {
        let is_own = at.port() == self.own_port && is_local(at.ip().to_canonical());
        !is_own && !is_forbidden(at.ip(), &self.deny)
    }

    /// Whether a URL names, by its address, a place that is never connected to; names are looked at when they are resolved.
    pub fn refuses(&self, url: &url::Url) -> bool {
        let address: IpAddr = match url.host() {
            Some(url::Host::Ipv4(v4)) => v4.into(),
            Some(url::Host::Ipv6(v6)) => v6.into(),
            Some(url::Host::Domain(_)) => return false,
            None => return true,
        };
        !self.allows((address, url.port_or_known_default().unwrap_or(0)).into())
    }
}

/// Whether no policy allows an address, or the operator denies it.
fn is_forbidden(address: IpAddr, deny: &[Cidr]) -> bool {
    let address = address.to_canonical();
    let forbidden_v4 =
        |v4: Ipv4Addr| v4.is_link_local() || v4.is_unspecified() || v4.is_broadcast() || v4.is_multicast();
    let forbidden = inner(address).is_some_and(forbidden_v4)
        || match address {
            IpAddr::V4(_) => false,
            // fe80::/10 is link-local.
            IpAddr::V6(v6) => {
                v6.is_unspecified() || v6.is_multicast() || (v6.segments()[0] & 0xffc0) == 0xfe80
            }
        };
    forbidden
        || heldar_config::contains(deny, address)
        || inner(address).is_some_and(|v4| heldar_config::contains(deny, v4.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_a_forbidden_address_is_allowed() {
        let guard = CameraGuard {
            deny: vec!["10.66.0.0/16".parse().unwrap(), "fd66::/16".parse().unwrap()],
            own_port: 8000,
            own_rtsp_port: OnceLock::from(8554),
        };
        for (address, expect) in [
            ("10.0.0.1:554", true),
            ("127.0.0.1:554", true),
            ("[fd00::1]:554", true),
            ("[2001:db8::1]:554", true),
            // The metadata address of clouds, in all its clothes.
            ("169.254.169.254:80", false),
            ("[::ffff:169.254.169.254]:80", false),
            ("[::169.254.169.254]:80", false),
            ("[64:ff9b::169.254.169.254]:80", false),
            ("[2002:a9fe:a9fe::1]:80", false),
            ("[fe80::1]:554", false),
            ("[febf::1]:554", false),
            ("[fec0::1]:554", true),
            ("0.0.0.0:554", false),
            ("[::]:554", false),
            ("[::ffff:0.0.0.0]:554", false),
            ("255.255.255.255:554", false),
            ("224.0.0.1:554", false),
            ("[ff02::1]:554", false),
            // What the operator denies, and ourselves.
            ("10.66.1.1:554", false),
            ("[::ffff:10.66.1.1]:554", false),
            ("[64:ff9b::10.66.1.1]:554", false),
            ("[fd66::1]:554", false),
            ("127.0.0.1:8000", false),
            ("[::1]:8554", false),
            ("[::ffff:127.0.0.1]:8000", false),
            ("10.0.0.1:8000", true),
        ] {
            assert_eq!(guard.allows(address.parse().unwrap()), expect, "{address}");
            // Receivers of webhooks: the same, but for the port of a listener that does not speak HTTP.
            let receiver = LanGuard { deny: guard.deny.clone(), own_port: 8000 };
            let expect = expect || address.ends_with(":8554");
            assert_eq!(receiver.allows(address.parse().unwrap()), expect, "{address}");
        }
    }

    #[test]
    fn a_url_is_refused_by_its_address_in_every_spelling() {
        let guard = LanGuard { deny: vec!["10.66.0.0/16".parse().unwrap()], own_port: 8000 };
        for (url, expect) in [
            ("http://169.254.169.254/latest", true),
            ("http://0xa9fea9fe/", true),
            ("http://2852039166/", true),
            ("http://[::ffff:169.254.169.254]/", true),
            ("http://0/", true),
            ("http://255.255.255.255/", true),
            ("https://10.66.0.1/", true),
            ("http://127.0.0.1:8000/", true),
            ("http://127.0.0.1:8001/", false),
            ("http://192.168.1.2/", false),
            ("https://metadata.example/", false),
        ] {
            assert_eq!(guard.refuses(&url::Url::parse(url).unwrap()), expect, "{url}");
        }
    }
}
