//! Pairs in files as they come and go, looked at with a clock of the test's own; certificates are judged by openssl(1)
//! where it is installed.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use heldar_base::{Micros, WallTime};
use heldar_tls::{Ask, Certificates, Event, Source, Urgency};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

const DAY: Micros = Micros::from_hours(24);

fn noon() -> WallTime {
    WallTime::parse("2026-01-31T12:00:00Z").unwrap()
}

fn days(n: i64) -> Micros {
    Micros(DAY.0 * n)
}

/// Chain and key in PEM, for `name`, until `not_after`.
fn pem(name: &str, not_after: WallTime) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_micros(u64::try_from(not_after.0).unwrap());
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        Files { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, (chain, key): &(String, String)) {
        fs::write(self.path("chain.pem"), chain).unwrap();
        fs::write(self.path("key.pem"), key).unwrap();
    }

    fn source(&self) -> Source {
        Source::Files { chain: self.path("chain.pem"), key: self.path("key.pem") }
    }

    fn open(&self) -> Result<std::sync::Arc<Certificates>, String> {
        Certificates::open(self.source(), noon()).map_err(|error| error.to_string())
    }
}

fn served(certificates: &Certificates) -> String {
    certificates.view().facts.names.join(",")
}

#[test]
fn a_new_pair_is_taken_and_a_broken_one_is_not() {
    let files = Files::new();
    let (first, second) = (pem("first.test", noon() + days(90)), pem("second.test", noon() + days(90)));
    files.put(&first);
    let certificates = files.open().unwrap();
    assert_eq!(certificates.look(noon(), Ask::Routine), []);

    files.put(&second);
    assert_eq!(certificates.look(noon(), Ask::Routine), []);
    assert_eq!(served(&certificates), "second.test");

    // Half of a change, between two looks: no event, and the old pair stays.
    files.put(&(first.0.clone(), second.1.clone()));
    assert_eq!(certificates.look(noon(), Ask::Routine), []);
    assert_eq!((served(&certificates).as_str(), certificates.view().last_error), ("second.test", None));
    files.put(&first);
    assert_eq!(certificates.look(noon(), Ask::Routine), []);
    assert_eq!(served(&certificates), "first.test");

    // One that stays broken is told once, and again to whoever asks.
    let detail = "HELDAR_TLS_KEY: holds the key of another certificate";
    let failed = [Event::ReloadFailed { detail: detail.to_owned() }];
    files.put(&(first.0.clone(), second.1.clone()));
    assert_eq!(certificates.look(noon(), Ask::Routine), []);
    assert_eq!(certificates.look(noon(), Ask::Routine), failed);
    assert_eq!(certificates.look(noon(), Ask::Routine), []);
    assert_eq!(certificates.look(noon(), Ask::Operator), failed);
    assert_eq!(served(&certificates), "first.test");
    assert_eq!(certificates.view().last_error.as_deref(), Some(detail));

    files.put(&first);
    assert_eq!(certificates.look(noon(), Ask::Routine), []);
    assert_eq!(certificates.view().last_error, None);
}

#[test]
fn a_pair_that_does_not_load_names_file_and_reason() {
    let files = Files::new();
    let good = pem("a.test", noon() + days(90));
    let other = pem("b.test", noon() + days(90));
    let check = |pair: (&str, &str), file: &str, part: &str, reason: &str| {
        files.put(&(pair.0.to_owned(), pair.1.to_owned()));
        let error = files.open().unwrap_err();
        let path = files.path(file).display().to_string();
        assert!(error.starts_with(part) && error.contains(&path) && error.contains(reason), "{error}");
        let secret = good.1.lines().nth(1).unwrap();
        assert!(!error.contains(secret), "{error}");
    };
    let (chain, key) = (good.0.as_str(), good.1.as_str());
    let cut = &chain[..chain.len() / 2];
    check(("", key), "chain.pem", "HELDAR_TLS_CERT", "holds no certificate");
    check((key, key), "chain.pem", "HELDAR_TLS_CERT", "holds no certificate");
    check((cut, key), "chain.pem", "HELDAR_TLS_CERT", "cut off");
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    check((no_certificate, key), "chain.pem", "HELDAR_TLS_CERT", "X.509");
    check((chain, ""), "key.pem", "HELDAR_TLS_KEY", "holds no private key");
    check((chain, &key[..key.len() - 30]), "key.pem", "HELDAR_TLS_KEY", "holds no private key");
    check((chain, &key.replace("BEGIN", "begin")), "key.pem", "HELDAR_TLS_KEY", "holds no private key");
    check((chain, &other.1), "key.pem", "HELDAR_TLS_KEY", "another certificate");
    let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    check((chain, &encrypted), "key.pem", "HELDAR_TLS_KEY", "encrypted");
    fs::remove_file(files.path("key.pem")).unwrap();
    let error = files.open().unwrap_err();
    assert!(error.contains("key.pem") && error.contains("No such file"), "{error}");
}

#[test]
fn the_end_is_told_once_for_each_certificate() {
    let files = Files::new();
    files.put(&pem("a.test", noon() + days(90)));
    let certificates = files.open().unwrap();
    let end = noon() + days(90);
    let expiring =
        |urgency, not_after| [Event::Expiring { urgency, names: vec!["a.test".to_owned()], not_after }];
    assert_eq!(certificates.look(end - days(21), Ask::Routine), []);
    assert_eq!(certificates.look(end - days(20), Ask::Routine), expiring(Urgency::Warning, end));
    assert_eq!(certificates.look(end - days(19), Ask::Operator), []);
    assert_eq!(certificates.look(end - days(2), Ask::Routine), expiring(Urgency::Critical, end));
    assert_eq!(certificates.look(end + days(2), Ask::Routine), []);
    // The renewed one comes, and in time has an end of its own.
    files.put(&pem("a.test", end + days(90)));
    assert_eq!(certificates.look(end, Ask::Routine), []);
    let end = end + days(90);
    assert_eq!(certificates.look(end - days(1), Ask::Routine), expiring(Urgency::Critical, end));
}

#[test]
fn a_certificate_that_has_ended_is_served_all_the_same() {
    let files = Files::new();
    files.put(&pem("a.test", noon() - days(1)));
    let certificates = files.open().unwrap();
    let events = certificates.look(noon(), Ask::Routine);
    assert!(matches!(events[..], [Event::Expiring { urgency: Urgency::Critical, .. }]), "{events:?}");
}

fn self_signed(folder: &Path, domains: &[&str]) -> Source {
    let domains = domains.iter().map(|&name| name.to_owned()).collect();
    Source::SelfSigned { folder: folder.to_owned(), domains }
}

#[test]
fn a_self_signed_pair_is_made_once_and_renewed_in_time() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("data/tls");
    let source = self_signed(&folder, &["nvr.test"]);
    assert_eq!(source.inspect().unwrap(), None, "looking makes nothing");
    assert!(!folder.exists());

    let certificates = Certificates::open(source.clone(), noon()).unwrap();
    let first = certificates.view().facts;
    assert_eq!(first.names[0], "nvr.test");
    for name in ["localhost", "127.0.0.1", "::1"] {
        assert!(first.names.iter().any(|has| has == name), "{:?}", first.names);
    }
    assert!(first.not_before < noon() && first.not_after > noon() + days(365), "{first:?}");
    let mode = |name| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("self-signed.pem"), mode("self-signed.crt")), (0o600, 0o644));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "nothing else is left");

    // The next start takes the same.
    let again = Certificates::open(source.clone(), noon() + days(100)).unwrap();
    assert_eq!(again.view().facts, first);
    assert_eq!(source.inspect().unwrap(), Some(first.clone()));

    // Thirty days before its end there is another, while the server runs, and nobody is alarmed.
    let end = first.not_after;
    assert_eq!(certificates.look(end - days(30), Ask::Routine), []);
    assert_eq!(certificates.view().facts, first);
    assert_eq!(certificates.look(end - days(29), Ask::Routine), []);
    let second = certificates.view().facts;
    assert!(second.not_after > end && second.fingerprint_sha256 != first.fingerprint_sha256);
    assert_eq!(mode("self-signed.pem"), 0o600);

    // A further name makes another one; one name less does not.
    let named = self_signed(&folder, &["nvr.test", "second.test"]);
    let named = Certificates::open(named, noon()).unwrap().view().facts;
    assert!(named.names.contains(&"second.test".to_owned()));
    assert_eq!(Certificates::open(source, noon()).unwrap().view().facts, named);
}

#[test]
fn a_self_signed_pair_that_is_broken_or_open_is_put_right() {
    let scratch = tempfile::tempdir().unwrap();
    let source = self_signed(scratch.path(), &[]);
    let first = Certificates::open(source.clone(), noon()).unwrap().view().facts;
    let path = scratch.path().join("self-signed.pem");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(Certificates::open(source.clone(), noon()).unwrap().view().facts, first);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    // A power cut of a file system that does not keep its word, in the middle of a write.
    fs::write(&path, "-----BEGIN CERT").unwrap();
    fs::write(scratch.path().join("self-signed.pem.new"), "half").unwrap();
    assert!(source.inspect().is_err());
    let second = Certificates::open(source.clone(), noon()).unwrap().view().facts;
    assert_ne!(second.fingerprint_sha256, first.fingerprint_sha256);

    // What cannot be written is an error that says where.
    let blocked = scratch.path().join("file");
    fs::write(&blocked, "").unwrap();
    let error = Certificates::open(self_signed(&blocked.join("tls"), &[]), noon()).unwrap_err().to_string();
    assert!(error.contains(&blocked.display().to_string()), "{error}");
    let error = Certificates::open(self_signed(&scratch.path().join("x"), &["büro.test"]), noon());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("HELDAR_TLS_DOMAIN") && error.contains("büro.test"), "{error}");
}

#[test]
fn keys_are_not_printed() {
    let files = Files::new();
    let pair = pem("a.test", noon() + days(90));
    files.put(&pair);
    let certificates = files.open().unwrap();
    let config = certificates.server_config().unwrap();
    let text = format!("{certificates:?} {config:?}");
    assert!(text.contains("a.test") && !text.contains("PRIVATE"), "{text}");
    assert!(!text.contains(pair.1.lines().nth(1).unwrap()), "{text}");
}

#[test]
fn openssl_reads_what_is_made() {
    let scratch = tempfile::tempdir().unwrap();
    let now = WallTime::parse("2026-01-31T12:00:00Z").unwrap();
    let facts = Certificates::open(self_signed(scratch.path(), &["nvr.test"]), now).unwrap().view().facts;
    let path = scratch.path().join("self-signed.pem");
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-text", "-fingerprint", "-sha256", "-in"]).arg(&path);
    let Ok(output) = openssl.output() else { return };
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "prime256v1",
        "DNS:nvr.test",
        "DNS:localhost",
        "IP Address:127.0.0.1",
        "TLS Web Server Authentication",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains(&facts.fingerprint_sha256), "{text}");
    assert!(text.contains("Not Before: Jan 30 12:00:00 2026 GMT"), "{text}");
    let check =
        Command::new("openssl").args(["pkey", "-noout", "-check", "-in"]).arg(&path).output().unwrap();
    assert!(check.status.success(), "{check:?}");
}

#[tokio::test(start_paused = true)]
async fn looks_are_due_by_time_and_at_once_when_asked() {
    let files = Files::new();
    files.put(&pem("a.test", noon() + days(90)));
    let certificates = files.open().unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(certificates.due().await, Ask::Routine);
    // A change is taken at the first look, a broken pair told at the second.
    assert!(began.elapsed() * 2 < Duration::from_secs(60), "{:?}", began.elapsed());
    let began = tokio::time::Instant::now();
    certificates.reload();
    assert_eq!(certificates.due().await, Ask::Operator);
    assert_eq!(began.elapsed(), Duration::ZERO);
}
