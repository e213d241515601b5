//! The store: there, reachable, readable by its owner alone; its schema, and the settings that it overrides.
//!
//! Looks from outside only: opening a store takes it over from the server that has it.

use std::fs;
use std::io::Read as _;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use heldar_config::{DatabaseTarget, Finding, Level, Settings};
use heldar_kernel::kernel::database_url;
use heldar_kernel::retention::{MAX_KEY, MIN_FREE_KEY};
use heldar_kernel::secrets::{KEY_ID, key_id};
use heldar_store::inspect::{Contents, Inspection, Schema, inspect};
use rustix::fs::{Access, access};
use url::Url;

use super::{finding, size};
use crate::with_causes;

const VARIABLE: &str = "HELDAR_DATABASE_URL";
/// First bytes of every SQLite file.
const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Port of PostgreSQL where the URL names none.
const POSTGRES_PORT: u16 = 5432;
const CONNECT: Duration = Duration::from_secs(3);

/// How long the database may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    let mut findings = match &settings.database.target {
        DatabaseTarget::Sqlite(path) => sqlite(path),
        DatabaseTarget::Postgres(url) => postgres(url.expose()),
    };
    let hopeless = |finding: &Finding| {
        matches!(finding.code, "store_missing" | "store_unreachable" | "store_not_sqlite")
    };
    if !findings.iter().any(hopeless) {
        findings.extend(content(settings));
    }
    findings
}

/// What is inside, read without taking it over.
fn content(settings: &Settings) -> Vec<Finding> {
    let url = database_url(settings);
    let looked = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map(|runtime| runtime.block_on(async { tokio::time::timeout(ANSWER, inspect(&url)).await }));
    let warn = |text| vec![finding(Level::Warning, "store_unreadable", VARIABLE, text)];
    match looked {
        Ok(Ok(Ok(inspection))) => told(&inspection, settings),
        Ok(Ok(Err(error))) => warn(format!("the database cannot be looked into: {}", with_causes(&error))),
        Ok(Err(_elapsed)) => warn("the database does not answer".to_owned()),
        Err(error) => warn(format!("no runtime: {error}")),
    }
}

fn told(inspection: &Inspection, settings: &Settings) -> Vec<Finding> {
    let (level, code) = match inspection.schema {
        Schema::Missing => (Level::Notice, "store_empty"),
        Schema::Current { .. } => (Level::Notice, "store_schema"),
        Schema::Older { .. } => (Level::Notice, "store_schema_older"),
        Schema::Newer { .. } => (Level::Warning, "store_schema_newer"),
        Schema::Different { .. } => (Level::Warning, "store_schema_differs"),
    };
    let schema = finding(level, code, VARIABLE, format!("the database {}", inspection.schema));
    let mut findings = vec![schema];
    if let Some(contents) = &inspection.contents {
        findings.push(summary(contents));
        findings.extend(overrides(contents, settings));
        findings.extend(foreign_key(contents, settings));
    }
    findings
}

fn summary(contents: &Contents) -> Finding {
    let text = format!(
        "the database holds {} cameras and {} segments of {}; it was taken over {} times, by its present or last server \
         as number {}",
        contents.cameras,
        contents.segments,
        size(contents.segment_bytes.max(0).unsigned_abs()),
        contents.epoch,
        contents.epoch
    );
    finding(Level::Notice, "store_contents", VARIABLE, text)
}

/// Settings that were changed at run time and differ from what is configured.
fn overrides(contents: &Contents, settings: &Settings) -> Vec<Finding> {
    let retention = &settings.retention;
    let limits = [
        (MAX_KEY, "HELDAR_MAX_RECORDINGS_GB", retention.max_recordings_bytes),
        (MIN_FREE_KEY, "HELDAR_MIN_FREE_DISK_GB", retention.min_free_bytes),
    ];
    let mut findings = Vec::new();
    for (key, variable, configured) in limits {
        let stored = contents.settings.iter().find(|setting| setting.key == key);
        let Some(stored) = stored.filter(|stored| stored.value != configured.to_string()) else { continue };
        let Ok(value) = stored.value.parse().map(size) else {
            let text = format!("the stored setting `{key}` is not valid and is ignored: {variable} holds");
            findings.push(finding(Level::Warning, "setting_unusable", variable, text));
            continue;
        };
        let text = format!(
            "{variable} is overridden: {value} was set at run time on {}, and wins over the configuration",
            stored.updated_at
        );
        findings.push(finding(Level::Notice, "setting_overridden", variable, text));
    }
    findings
}

/// A store whose secrets are sealed with a key that is not configured: the server does not start.
fn foreign_key(contents: &Contents, settings: &Settings) -> Option<Finding> {
    let recorded = &contents.settings.iter().find(|setting| setting.key == KEY_ID)?.value;
    let keys = [&settings.secrets.current, &settings.secrets.old];
    if keys.into_iter().flatten().any(|key| key_id(key) == *recorded) {
        return None;
    }
    let text = format!(
        "secrets are sealed with key {recorded}, which is neither HELDAR_SECRET_KEY nor HELDAR_SECRET_KEY_OLD: the server does not start"
    );
    Some(finding(Level::Refusal, "secret_key_differs", "HELDAR_SECRET_KEY", text))
}

fn sqlite(path: &Path) -> Vec<Finding> {
    let shown = path.display();
    let warn = |code, text| vec![finding(Level::Warning, code, VARIABLE, text)];
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = format!("the database {shown} is not there yet; the first start makes it");
            return vec![finding(Level::Notice, "store_missing", VARIABLE, text)];
        }
        Err(error) => return warn("store_unreachable", format!("the database {shown}: {error}")),
    };
    let mut start = Vec::new();
    match fs::File::open(path).and_then(|file| file.take(16).read_to_end(&mut start)) {
        Err(error) => return warn("store_unreachable", format!("the database {shown}: {error}")),
        // An empty file is a database that nobody has written to.
        Ok(length) if length > 0 && start != SQLITE_MAGIC => {
            let text = format!("{shown} is not a SQLite database; the server does not start with it");
            return warn("store_not_sqlite", text);
        }
        Ok(_) => {}
    }
    if let Err(error) = access(path, Access::WRITE_OK) {
        return warn("store_read_only", format!("the database {shown} cannot be written: {error}"));
    }
    if metadata.permissions().mode() & 0o044 != 0 {
        let text = format!("the database {shown} can be read by other users of this machine: chmod 600");
        return warn("store_readable_by_others", text);
    }
    Vec::new()
}

fn postgres(url: &str) -> Vec<Finding> {
    let Ok(url) = Url::parse(url) else { return Vec::new() };
    let (Some(host), port) = (url.host_str(), url.port().unwrap_or(POSTGRES_PORT)) else {
        let text = "the database is reached through a local socket, which is not looked at".to_owned();
        return vec![finding(Level::Notice, "store_not_looked_at", VARIABLE, text)];
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let mut last = format!("{host} names no address");
    for address in (bare, port).to_socket_addrs().into_iter().flatten() {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(_connected) => return Vec::new(),
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    let text = format!("PostgreSQL cannot be reached ({last}): start it, or correct HELDAR_DATABASE_URL");
    vec![finding(Level::Warning, "store_unreachable", VARIABLE, text)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn code(findings: &[Finding], expect: Option<&str>) {
        assert_eq!(findings.first().map(|finding| finding.code), expect);
    }

    #[test]
    fn files_of_sqlite() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("heldar.db");
        code(&sqlite(&path), Some("store_missing"));
        for (content, mode, expect) in [
            (&b""[..], 0o600, None),
            (b"SQLite format 3\0...", 0o600, None),
            (b"SQLite format 3\0...", 0o640, Some("store_readable_by_others")),
            (b"#!/bin/sh", 0o600, Some("store_not_sqlite")),
        ] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            code(&sqlite(&path), expect);
        }
        code(&sqlite(scratch.path()), Some("store_unreachable"));
    }

    #[test]
    fn what_is_inside() {
        use heldar_base::WallTime;
        use heldar_config::{Flags, HostFiles, Input, load};
        use heldar_store::Setting;

        let env = vec![("HELDAR_MAX_RECORDINGS_GB".into(), "20".into())];
        let settings = load(&Input { flags: Flags::take([]), env, files: &HostFiles }).settings.unwrap();
        let setting = |key: &str, value: &str| Setting {
            key: key.to_owned(),
            value: value.to_owned(),
            updated_at: WallTime::EPOCH,
        };
        let codes = |settings_stored: Vec<Setting>, schema| -> Vec<&'static str> {
            let contents =
                Contents { epoch: 3, cameras: 1, segments: 2, segment_bytes: 3, settings: settings_stored };
            let known = matches!(schema, Schema::Current { .. });
            let inspection = Inspection { schema, contents: known.then_some(contents) };
            told(&inspection, &settings).iter().map(|finding| finding.code).collect()
        };
        let current = || Schema::Current { number: 1 };
        assert_eq!(codes(vec![], current()), ["store_schema", "store_contents"]);
        let same = (20u64 << 30).to_string();
        assert_eq!(codes(vec![setting(MAX_KEY, &same)], current()).len(), 2);
        let changed = codes(vec![setting(MAX_KEY, "7"), setting(KEY_ID, "x")], current());
        assert_eq!(changed, ["store_schema", "store_contents", "setting_overridden", "secret_key_differs"]);
        let unusable = codes(vec![setting(MAX_KEY, "much")], current());
        assert_eq!(unusable, ["store_schema", "store_contents", "setting_unusable"]);
        let newer = Schema::Newer { number: 9, name: "later".to_owned() };
        assert_eq!(codes(vec![], newer), ["store_schema_newer"]);
    }

    #[test]
    fn a_server_that_is_not_there() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("postgres://user:hunter2@127.0.0.1:{port}/heldar");
        code(&postgres(&url), None);
        drop(listener);
        let findings = postgres(&url);
        code(&findings, Some("store_unreachable"));
        assert!(!findings[0].text.contains("hunter2"));
    }
}
