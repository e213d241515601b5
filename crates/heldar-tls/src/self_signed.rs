//! A certificate of our own making, for networks in which nobody else vouches for this machine.
//!
//! Owns: the file with certificate and key, and when another one is made. Both are in one file, so that a power cut
//! leaves the old pair or the new one, never half of each; a copy of the certificate alone lies beside it, for those who
//! want to trust it.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use heldar_base::{Micros, WallTime};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::crypto::CryptoProvider;

use crate::facts::Facts;
use crate::pair::{self, Pair, PairError, Part, Why};

/// Certificate and key.
const FILE: &str = "self-signed.pem";
/// The certificate alone.
const COPY: &str = "self-signed.crt";
/// Every change asks people to trust the new one, so it is as long as browsers take at most (825 days).
const LIFETIME: Micros = Micros::from_hours(800 * 24);
/// Clocks of clients may be behind ours.
const BEFORE_NOW: Micros = Micros::from_hours(24);
/// Another one is made when less is left.
const RENEWAL: Micros = Micros::from_hours(30 * 24);
/// Most addresses in a certificate; a machine with more is a router.
const MOST_ADDRESSES: usize = 64;

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The file that is there cannot be read.
    #[error(transparent)]
    Pair(#[from] PairError),
    /// The new one cannot be written.
    #[error("the self-signed certificate cannot be written to {}: {source}", .folder.display())]
    Write {
        /// Where it belongs.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A name cannot be in a certificate.
    #[error("HELDAR_TLS_DOMAIN: `{0}` is neither a host name in ASCII (xn--…) nor an address")]
    Name(String),
    /// The cryptography failed.
    #[error("no self-signed certificate can be made: {0}")]
    Cryptography(String),
}

impl MakeError {
    /// The same for those who need not know where this machine keeps its files.
    pub fn without_path(&self) -> String {
        match self {
            MakeError::Pair(error) => error.without_path(),
            MakeError::Write { source, .. } => {
                format!("the self-signed certificate cannot be written: {source}")
            }
            MakeError::Name(_) | MakeError::Cryptography(_) => self.to_string(),
        }
    }
}

/// Why another certificate is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renewal {
    /// The end is near.
    Ends,
    /// `HELDAR_TLS_DOMAIN` has a name that it lacks.
    LacksName,
}

/// Whether another certificate is due. New addresses of this machine do not make one: they come and go, and every new
/// certificate has to be trusted again.
fn due(now: WallTime, facts: &Facts, domains: &[String]) -> Option<Renewal> {
    let has = |domain: &String| {
        let domain = canonical(domain);
        facts.names.iter().any(|name| name.eq_ignore_ascii_case(&domain))
    };
    if facts.not_after - now < RENEWAL {
        Some(Renewal::Ends)
    } else if !domains.iter().all(has) {
        Some(Renewal::LacksName)
    } else {
        None
    }
}

/// The pair in the folder, if there is one; makes nothing.
pub(crate) fn read(folder: &Path, provider: &CryptoProvider) -> Result<Option<Pair>, PairError> {
    let path = folder.join(FILE);
    let part = Part { name: "the self-signed certificate", path: &path };
    match part.read() {
        Ok(bytes) => pair::load((part, &bytes), (part, &bytes), provider).map(Some),
        Err(PairError { why: Why::Unreadable(error), .. }) if error.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The pair in the folder, made if there is none that will do.
pub(crate) fn keep(
    folder: &Path,
    domains: &[String],
    now: WallTime,
    provider: &CryptoProvider,
) -> Result<Pair, MakeError> {
    match read(folder, provider) {
        Ok(Some(pair)) => match due(now, &pair.facts, domains) {
            None => {
                close(&folder.join(FILE));
                return Ok(pair);
            }
            Some(Renewal::Ends) => {
                tracing::info!("the self-signed certificate ends soon; another one is made")
            }
            Some(Renewal::LacksName) => {
                tracing::info!("the self-signed certificate lacks a name; another one is made");
            }
        },
        Ok(None) => {}
        Err(PairError { why: why @ (Why::Unreadable(_) | Why::TooLarge), path, part }) => {
            return Err(PairError { part, path, why }.into());
        }
        // Ours, and nobody can repair it.
        Err(broken) => tracing::warn!(error = %broken, "another self-signed certificate is made"),
    }
    make(folder, domains, now)?;
    read(folder, provider)?
        .ok_or_else(|| MakeError::Write { folder: folder.to_owned(), source: io::ErrorKind::NotFound.into() })
}

/// Takes the key from other users of this machine, whoever gave it to them.
fn close(path: &Path) {
    let open = fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0);
    if open {
        match fs::set_permissions(path, Permissions::from_mode(0o600)) {
            Ok(()) => tracing::warn!("other users could read the self-signed key; now they cannot"),
            Err(error) => tracing::warn!(%error, "other users can read the self-signed key"),
        }
    }
}

fn make(folder: &Path, domains: &[String], now: WallTime) -> Result<(), MakeError> {
    let cryptography = |error: rcgen::Error| MakeError::Cryptography(error.to_string());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(cryptography)?;
    if let Some(name) = domains.iter().find(|name| !is_name(name)) {
        return Err(MakeError::Name(name.clone()));
    }
    let names = names(domains);
    let mut params = CertificateParams::new(names.clone()).map_err(cryptography)?;
    let mut subject = DistinguishedName::new();
    // RFC 5280 A.1: a common name has 64 characters at most.
    let common = names.iter().find(|name| name.len() <= 64).map_or("localhost", String::as_str);
    subject.push(DnType::CommonName, common);
    subject.push(DnType::OrganizationName, "Heldar, self-signed");
    params.distinguished_name = subject;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let instant = |at: WallTime| {
        date_time_ymd(1970, 1, 1) + Duration::from_micros(u64::try_from(at.floor_second().0).unwrap_or(0))
    };
    params.not_before = instant(now - BEFORE_NOW);
    params.not_after = instant(now + LIFETIME);
    let certificate = params.self_signed(&key).map_err(cryptography)?;
    let certificate = certificate.pem();
    let both = format!("{certificate}{}", key.serialize_pem());
    write(folder, &both, &certificate)
        .map_err(|source| MakeError::Write { folder: folder.to_owned(), source })
}

/// Certificate and key first: the copy is for people.
fn write(folder: &Path, both: &str, certificate: &str) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
    for (name, text, mode) in [(FILE, both, 0o600), (COPY, certificate, 0o644)] {
        let fresh = folder.join(format!("{name}.new"));
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, folder.join(name))?;
    }
    File::open(folder)?.sync_all()
}

/// A name as a certificate has it: addresses have one form only.
fn canonical(name: &str) -> String {
    name.parse::<IpAddr>().map_or_else(|_| name.to_owned(), |address| address.to_string())
}

/// Whether a certificate can have it: an address, a host name, `*` before one.
fn is_name(name: &str) -> bool {
    let usable = |byte: u8| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte);
    name.parse::<IpAddr>().is_ok() || (!name.is_empty() && name.bytes().all(usable))
}

/// What the configuration names, what this machine is called, and its addresses.
fn names(domains: &[String]) -> Vec<String> {
    let mut names: Vec<String> = domains.iter().map(|name| canonical(name)).collect();
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    if is_name(&host) {
        names.push(host.into_owned());
    }
    names.push("localhost".to_owned());
    let mut addresses: BTreeSet<IpAddr> = if_addrs::get_if_addrs()
        .map(|interfaces| interfaces.into_iter().map(|interface| interface.ip()).collect())
        .unwrap_or_default();
    // Link-local addresses need a zone, which a certificate cannot name.
    addresses.retain(|address| match address {
        IpAddr::V4(v4) => !v4.is_link_local(),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0) != 0xfe80,
    });
    addresses.extend([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    names.extend(addresses.into_iter().take(MOST_ADDRESSES).map(|address| address.to_string()));
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.to_ascii_lowercase()));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_one_is_due_before_the_end_and_for_a_new_name() {
        let end = WallTime::parse("2026-06-30T12:00:00Z").unwrap();
        let facts = Facts {
            names: ["nvr.example", "localhost", "2001:db8::1"].map(str::to_owned).to_vec(),
            not_before: WallTime::EPOCH,
            not_after: end,
            issuer: String::new(),
            fingerprint_sha256: String::new(),
        };
        let check = |now: WallTime, domains: &[&str], expect| {
            let domains: Vec<String> = domains.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(due(now, &facts, &domains), expect, "{now} {domains:?}");
        };
        check(end - RENEWAL, &["localhost"], None);
        check(end - RENEWAL + Micros(1), &["localhost"], Some(Renewal::Ends));
        check(end + RENEWAL, &[], Some(Renewal::Ends));
        check(end - LIFETIME, &["NVR.example"], None);
        check(end - LIFETIME, &["nvr.example", "other.example"], Some(Renewal::LacksName));
        check(end - LIFETIME, &["2001:db8:0::0001"], None);
        // A clock that is far behind.
        check(WallTime::EPOCH, &[], None);
    }

    #[test]
    fn what_a_certificate_can_name() {
        for (name, expect) in [
            ("nvr.test", true),
            ("*.nvr.test", true),
            ("my_box", true),
            ("192.0.2.1", true),
            ("2001:db8::1", true),
            ("büro.test", false),
            ("nvr.test:8000", false),
            ("https://nvr.test", false),
            ("", false),
        ] {
            assert_eq!(is_name(name), expect, "{name}");
        }
    }

    #[test]
    fn names_come_once() {
        let names = names(&["Localhost".to_owned(), "a.example".to_owned(), "127.0.0.1".to_owned()]);
        assert_eq!(names[..2], ["Localhost", "a.example"]);
        assert!(names.contains(&"::1".to_owned()));
        assert_eq!(names.iter().filter(|name| name.eq_ignore_ascii_case("localhost")).count(), 1);
        assert_eq!(names.iter().filter(|name| *name == "127.0.0.1").count(), 1);
    }
}
