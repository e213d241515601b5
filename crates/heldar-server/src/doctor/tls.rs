//! The certificate: loads, holds, and has a key that is nobody else's.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use heldar_base::{Micros, WallTime};
use heldar_config::{Finding, Level, Settings};
use heldar_kernel::tls::source;
use heldar_tls::{Facts, Source, Urgency, urgency};

use super::finding;

/// Permission that lets every user of the machine read.
const READABLE_BY_OTHERS: u32 = 0o004;

pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    let Some(source) = source(settings) else { return Vec::new() };
    let mut findings = match source.inspect() {
        Ok(Some(facts)) => {
            let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            certificate(&facts, WallTime::EPOCH + Micros::from_std(since))
        }
        Ok(None) => {
            let text = "there is no certificate yet; the first start makes a self-signed one".to_owned();
            vec![finding(Level::Notice, "certificate_missing", "HELDAR_TLS", text)]
        }
        Err(error) => {
            let text = format!("the server does not start: {error}");
            vec![finding(Level::Warning, "certificate_unusable", "HELDAR_TLS", text)]
        }
    };
    if let Source::Files { key, .. } = &source {
        findings.extend(open_key(key));
    }
    findings
}

fn certificate(facts: &Facts, now: WallTime) -> Vec<Finding> {
    let Facts { names, not_before, not_after, issuer, fingerprint_sha256 } = facts;
    let text = format!(
        "the certificate for {} holds from {not_before} to {not_after}, issued by {issuer}; SHA-256 {fingerprint_sha256}",
        names.join(", ")
    );
    let mut findings = vec![finding(Level::Notice, "certificate", "HELDAR_TLS", text)];
    let mut warn = |code, text| findings.push(finding(Level::Warning, code, "HELDAR_TLS", text));
    match urgency(now, *not_after) {
        Some(_) if *not_after < now => {
            warn("certificate_ended", format!("the certificate ended at {not_after}: browsers refuse it"));
        }
        Some(Urgency::Warning | Urgency::Critical) => {
            warn("certificate_expiring", format!("the certificate ends at {not_after}: renew it"));
        }
        None => {}
    }
    if *not_before > now {
        let text = format!("the certificate holds only from {not_before}; or the clock is behind");
        warn("certificate_not_yet", text);
    }
    findings
}

fn open_key(key: &Path) -> Option<Finding> {
    let mode = std::fs::metadata(key).ok()?.permissions().mode();
    let text = format!("HELDAR_TLS_KEY: every user of this machine can read {}: chmod o-r", key.display());
    (mode & READABLE_BY_OTHERS != 0).then(|| finding(Level::Warning, "tls_key_open", "HELDAR_TLS_KEY", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let instant = |text| WallTime::parse(text).unwrap();
        let facts = Facts {
            names: vec!["nvr.test".to_owned()],
            not_before: instant("2026-01-01T00:00:00Z"),
            not_after: instant("2026-06-30T00:00:00Z"),
            issuer: "CN=x".to_owned(),
            fingerprint_sha256: "AB".to_owned(),
        };
        for (now, expect) in [
            ("2026-03-01T00:00:00Z", &["certificate"][..]),
            ("2026-06-20T00:00:00Z", &["certificate", "certificate_expiring"]),
            ("2026-06-29T00:00:00Z", &["certificate", "certificate_expiring"]),
            ("2026-07-01T00:00:00Z", &["certificate", "certificate_ended"]),
            ("2025-12-31T00:00:00Z", &["certificate", "certificate_not_yet"]),
        ] {
            let codes: Vec<&str> = certificate(&facts, instant(now)).iter().map(|found| found.code).collect();
            assert_eq!(codes, expect, "{now}");
        }
    }
}
