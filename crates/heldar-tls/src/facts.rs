//! What a certificate says of itself.

use std::net::{Ipv4Addr, Ipv6Addr};

use heldar_base::{Micros, WallTime};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// What people want to know of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Names and addresses that it is for; the common name where it has no others.
    pub names: Vec<String>,
    /// First instant at which it holds.
    pub not_before: WallTime,
    /// Last one.
    pub not_after: WallTime,
    /// Who vouches for it.
    pub issuer: String,
    /// SHA-256 of the certificate, as browsers and openssl(1) show it: `AB:CD:…`.
    pub fingerprint_sha256: String,
}

/// The bytes are no X.509 certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the first certificate is not one (X.509)")]
pub struct NotX509;

impl Facts {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// It is not one.
    pub fn of(der: &[u8]) -> Result<Self, NotX509> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| NotX509)?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let mut names: Vec<String> = names
            .map(|found| found.value.general_names.iter().filter_map(name).collect())
            .unwrap_or_default();
        if names.is_empty() {
            let common = certificate.subject().iter_common_name();
            names = common.filter_map(|name| name.as_str().ok().map(str::to_owned)).collect();
        }
        let validity = certificate.validity();
        Ok(Facts {
            names,
            not_before: instant(validity.not_before.timestamp()),
            not_after: instant(validity.not_after.timestamp()),
            issuer: certificate.issuer().to_string(),
            fingerprint_sha256: fingerprint(der),
        })
    }
}

/// Names and addresses; what else a certificate may be for concerns no server.
fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|octets| Ipv4Addr::from(octets).to_string());
            let v6 = <[u8; 16]>::try_from(*bytes).map(|octets| Ipv6Addr::from(octets).to_string());
            v4.or(v6).ok()
        }
        _ => None,
    }
}

/// Within the years that a time of ours may have.
fn instant(unix_seconds: i64) -> WallTime {
    (WallTime::EPOCH + Micros::from_secs(unix_seconds)).clamp(WallTime::EPOCH, WallTime::FAR_FUTURE)
}

fn fingerprint(der: &[u8]) -> String {
    let pairs: Vec<String> = Sha256::digest(der).iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}
