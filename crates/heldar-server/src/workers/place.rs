//! Where workers find what they need: the server, their program, their environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use heldar_base::Secret;
use heldar_config::{AccessControl, CertificateSource, Part, Settings, TlsMode, all};
use rustix::fs::{Access, access};
use rustix::system::uname;

/// Begin of the names of all settings.
const OURS: &str = "HELDAR_";
/// Names the certificates that a program trusts.
const TRUSTED: &str = "SSL_CERT_FILE";

/// A server, as its workers see it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Where they reach it.
    address: String,
    /// Whether it wants a key.
    pub(super) access_control: bool,
    /// What they have to trust, if it made its certificate itself.
    trusted: Option<PathBuf>,
}

/// What a worker finds in its environment; the keys in it are not printed.
pub(super) struct Environment(BTreeMap<OsString, OsString>);

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    pub(super) fn entries(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.0.iter()
    }

    /// The folders in which a program is looked for.
    pub(super) fn path(&self) -> Option<&OsStr> {
        self.0.get(OsStr::new("PATH")).map(OsString::as_os_str)
    }
}

impl Place {
    /// The server with these settings, bound to these addresses, with a certificate for these names.
    pub(crate) fn new(settings: &Settings, bound: &[SocketAddr], names: &[String]) -> Place {
        let trusted = match &settings.tls.certificate {
            CertificateSource::SelfSigned { .. } => {
                std::path::absolute(settings.storage.data_dir.join("tls/self-signed.crt")).ok()
            }
            CertificateSource::Off | CertificateSource::Files { .. } => None,
        };
        Place {
            address: address(settings.tls.mode() != TlsMode::Off, bound, names),
            access_control: settings.access.access_control == AccessControl::On,
            trusted,
        }
    }

    /// The environment of a worker of this name, from that of this process.
    pub(super) fn environment(&self, name: &str, key: Option<&Secret<String>>) -> Environment {
        let host = uname().nodename().to_string_lossy().into_owned();
        self.environment_from(std::env::vars_os(), &host, name, key)
    }

    fn environment_from(
        &self,
        inherited: impl Iterator<Item = (OsString, OsString)>,
        host: &str,
        name: &str,
        key: Option<&Secret<String>>,
    ) -> Environment {
        let mut found: BTreeMap<OsString, OsString> = inherited.filter(|(name, _)| is_theirs(name)).collect();
        found.insert("HELDAR_API".into(), self.address.clone().into());
        // A name that outlives a process: what its predecessor leased is its own at once.
        found.insert("HELDAR_AI_WORKER_ID".into(), format!("{host}:{name}").into());
        found.remove(OsStr::new("HELDAR_API_KEY"));
        if let Some(key) = key {
            found.insert("HELDAR_API_KEY".into(), key.expose().into());
        }
        if let Some(trusted) = &self.trusted {
            // Without it they reach nobody; what else they trust, `SSL_CERT_DIR` may say.
            found.insert(TRUSTED.into(), trusted.clone().into_os_string());
        }
        Environment(found)
    }
}

/// Whether a variable is for workers too: of the settings only those that workers read, so that no secret of the server
/// reaches them.
fn is_theirs(name: &OsStr) -> bool {
    let of_workers =
        |name: &str| all().any(|variable| variable.part == Part::Workers && variable.name == name);
    let name = name.to_string_lossy();
    !name.starts_with(OURS) || of_workers(&name)
}

/// The address that is nearest to the server itself, under a name that its certificate holds if any does.
fn address(tls: bool, bound: &[SocketAddr], names: &[String]) -> String {
    let near = |at: &SocketAddr| match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let mut found: Vec<(IpAddr, u16)> = bound.iter().map(|at| (near(at), at.port())).collect();
    found.sort_by_key(|(ip, _)| (!ip.is_loopback(), !ip.is_ipv4()));
    let (ip, port) = found.first().copied().unwrap_or((IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
    let at = SocketAddr::new(ip, port);
    if !tls {
        return format!("http://{at}");
    }
    let is = |name: &&String, text: &str| name.eq_ignore_ascii_case(text);
    if names.iter().any(|name| is(&name, &ip.to_string())) {
        return format!("https://{at}");
    }
    let localhost = names.iter().find(|name| ip.is_loopback() && is(name, "localhost"));
    let other = || names.iter().find(|name| name.parse::<IpAddr>().is_err() && !name.contains('*'));
    match localhost.or_else(other) {
        Some(name) => format!("https://{name}:{port}"),
        None => format!("https://{at}"),
    }
}

/// Finds a program as execvp(3) does.
///
/// # Errors
/// It is not there, or this user may not run it: what to do.
pub(crate) fn find(program: &str, path: Option<&OsStr>) -> Result<PathBuf, String> {
    let runs = |at: &Path| at.is_file() && access(at, Access::EXEC_OK).is_ok();
    if program.contains('/') {
        let at = PathBuf::from(program);
        return match (at.exists(), runs(&at)) {
            (_, true) => Ok(at),
            (true, false) => Err(format!("this user may not run `{program}`; make it executable (chmod +x)")),
            (false, false) => {
                Err(format!("there is no `{program}`; install it, or correct its path in HELDAR_WORKERS"))
            }
        };
    }
    let folders = path.map(std::env::split_paths).into_iter().flatten();
    folders.map(|folder| folder.join(program)).find(|at| runs(at)).ok_or_else(|| {
        format!("there is no `{program}` in PATH; install it, or give its whole path in HELDAR_WORKERS")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_address(tls: bool, bound: &[&str], names: &[&str], expect: &str) {
        let bound: Vec<SocketAddr> = bound.iter().map(|at| at.parse().unwrap()).collect();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(address(tls, &bound, &names), expect);
    }

    #[test]
    fn addresses() {
        check_address(false, &["127.0.0.1:8000"], &[], "http://127.0.0.1:8000");
        check_address(false, &["0.0.0.0:8000"], &[], "http://127.0.0.1:8000");
        check_address(false, &["[::]:8000"], &[], "http://[::1]:8000");
        check_address(false, &["[::1]:8000", "127.0.0.1:8000"], &[], "http://127.0.0.1:8000");
        check_address(false, &["192.0.2.7:8000"], &[], "http://192.0.2.7:8000");
        // A certificate is for names.
        let any = &["0.0.0.0:8443"];
        check_address(true, any, &["nvr.example", "localhost", "127.0.0.1"], "https://127.0.0.1:8443");
        check_address(true, any, &["nvr.example", "LocalHost"], "https://LocalHost:8443");
        check_address(true, any, &["*.example", "192.0.2.7", "nvr.example"], "https://nvr.example:8443");
        check_address(true, any, &["*.example"], "https://127.0.0.1:8443");
        check_address(true, &["192.0.2.7:443"], &["nvr.example", "192.0.2.7"], "https://192.0.2.7:443");
    }

    #[test]
    fn an_environment_holds_no_secret_of_the_server() {
        let place = Place {
            address: "http://127.0.0.1:1".to_owned(),
            access_control: true,
            trusted: Some("/data/tls/self-signed.crt".into()),
        };
        let inherited = [
            ("PATH", "/bin"),
            ("TZ", "UTC"),
            ("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
            ("HELDAR_AI_POLL_INTERVAL", "3"),
            ("HELDAR_API", "http://elsewhere"),
            ("HELDAR_API_KEY", "vok_other"),
            ("HELDAR_SECRET_KEY", "secret"),
            ("HELDAR_WORKER_API_KEY", "secret"),
            ("HELDAR_DATABASE_URL_FILE", "secret"),
            ("HELDAR_LOG_FORMAT", "json"),
            ("HELDAR_SECRT_KEY", "secret"),
        ];
        let inherited = || inherited.iter().map(|(name, value)| (name.into(), value.into()));
        let key = Secret::new("vok_own".to_owned());
        let found = place.environment_from(inherited(), "host", "objects", Some(&key));
        let expect = [
            ("HELDAR_AI_POLL_INTERVAL", "3"),
            ("HELDAR_AI_WORKER_ID", "host:objects"),
            ("HELDAR_API", "http://127.0.0.1:1"),
            ("HELDAR_API_KEY", "vok_own"),
            ("PATH", "/bin"),
            ("SSL_CERT_FILE", "/data/tls/self-signed.crt"),
            ("TZ", "UTC"),
        ];
        let expect = expect.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        assert_eq!(found.0.clone().into_iter().collect::<Vec<_>>(), expect);
        assert!(!format!("{found:?}").contains("vok_"));
        let without = place.environment_from(inherited(), "host", "objects", None);
        assert!(!without.0.contains_key(OsStr::new("HELDAR_API_KEY")));
    }

    #[test]
    fn programs() {
        let scratch = tempfile::tempdir().unwrap();
        let there = scratch.path().join("there");
        std::fs::write(&there, "").unwrap();
        let path = std::env::join_paths(["/nowhere".as_ref(), scratch.path()]).unwrap();
        let find = |program: &str| super::find(program, Some(&path));
        assert!(find("there").unwrap_err().contains("in PATH"), "not executable");
        assert!(find(there.to_str().unwrap()).unwrap_err().contains("chmod +x"));
        rustix::fs::chmod(&there, rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
        assert_eq!(find("there").unwrap(), there);
        assert_eq!(find(there.to_str().unwrap()).unwrap(), there);
        assert!(find("missing").unwrap_err().contains("whole path"));
        assert!(find("./missing").unwrap_err().contains("correct its path"));
        // A folder is no program.
        assert!(find(scratch.path().to_str().unwrap()).is_err());
        assert!(super::find("there", None).is_err());
    }
}
