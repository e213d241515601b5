//! Ranges of addresses.

use core::net::IpAddr;
use std::fmt;
use std::str::FromStr;

/// A range of IP addresses (RFC 4632 3.1, RFC 4291 2.3). IPv4-mapped IPv6 addresses are IPv4 addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// Text that is not a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address or a range such as 10.0.0.0/8 or fd00::/8")]
pub struct CidrError;

impl Cidr {
    /// A range; bits behind the prefix are cleared.
    ///
    /// # Errors
    /// A prefix longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self, CidrError> {
        match address {
            IpAddr::V4(v4) if prefix <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                Ok(Cidr { network: IpAddr::V4((v4.to_bits() & mask).into()), prefix })
            }
            IpAddr::V6(v6) if prefix <= 128 => {
                // ::ffff:a.b.c.d/96+n is a.b.c.d/n (RFC 4291 2.5.5.2).
                if let (Some(v4), Some(short)) = (v6.to_ipv4_mapped(), prefix.checked_sub(96)) {
                    return Cidr::new(IpAddr::V4(v4), short);
                }
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                Ok(Cidr { network: IpAddr::V6((v6.to_bits() & mask).into()), prefix })
            }
            _ => Err(CidrError),
        }
    }

    /// True when the address lies in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        Cidr::new(address, self.prefix).is_ok_and(|of| of == *self)
    }

    /// True when it holds every address of its family.
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }
}

/// True when one of the ranges holds the address.
pub fn contains(ranges: &[Cidr], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(address))
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// An address, or an address, `/` and the length of its prefix.
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| CidrError)?;
        let prefix = match prefix.map(str::trim) {
            None if address.is_ipv4() => 32,
            None => 128,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| CidrError)?
            }
            Some(_) => return Err(CidrError),
        };
        Cidr::new(address, prefix)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(range: &str, address: &str, inside: bool) {
        let range: Cidr = range.parse().unwrap();
        assert_eq!(range.contains(address.parse().unwrap()), inside, "{range} {address}");
    }

    #[test]
    fn membership() {
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.1.2.3/8", "10.9.9.9", true);
        check("192.168.1.5", "192.168.1.5", true);
        check("192.168.1.5", "192.168.1.6", false);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("::/0", "2001:db8::1", true);
        check("10.0.0.0/8", "::ffff:10.0.0.1", true);
        check("::ffff:10.0.0.0/104", "10.0.0.1", true);
        check("::1", "::1", true);
        check("2001:db8::/33", "2001:db8:8000::1", false);
    }

    #[test]
    fn forms() {
        for text in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "host",
        ] {
            assert_eq!(text.parse::<Cidr>(), Err(CidrError), "{text}");
        }
        assert_eq!("10.1.2.3/8".parse::<Cidr>().unwrap().to_string(), "10.0.0.0/8");
    }

    proptest! {
        #[test]
        fn agrees_with_comparing_bits(net: u32, prefix in 0u8..=32, address: u32) {
            let range = Cidr::new(IpAddr::V4(net.into()), prefix).unwrap();
            let naive = (0..prefix).all(|bit| (net ^ address) >> (31 - bit) & 1 == 0);
            prop_assert_eq!(range.contains(IpAddr::V4(address.into())), naive);
            prop_assert_eq!(range.to_string().parse::<Cidr>(), Ok(range));
        }

        #[test]
        fn agrees_with_comparing_bits_of_ipv6(net: u128, prefix in 0u8..=128, flip in 0u8..128) {
            let range = Cidr::new(IpAddr::V6(net.into()), prefix).unwrap();
            let address = net ^ (1u128 << (127 - flip));
            prop_assume!(IpAddr::V6(net.into()).to_canonical().is_ipv6());
            prop_assume!(IpAddr::V6(address.into()).to_canonical().is_ipv6());
            prop_assert_eq!(range.contains(IpAddr::V6(address.into())), flip >= prefix);
        }

        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _outcome = text.parse::<Cidr>();
        }
    }
}
