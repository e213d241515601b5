//! The store: there, reachable, readable by its owner alone.
//!
//! Looks from outside only: opening a store takes it over from the server that has it.

use std::fs;
use std::io::Read as _;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use heldar_config::{DatabaseTarget, Finding, Level, Settings};
use rustix::fs::{Access, access};
use url::Url;

use super::finding;

const VARIABLE: &str = "HELDAR_DATABASE_URL";
/// First bytes of every SQLite file.
const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Port of PostgreSQL where the URL names none.
const POSTGRES_PORT: u16 = 5432;
const CONNECT: Duration = Duration::from_secs(3);

pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    match &settings.database.target {
        DatabaseTarget::Sqlite(path) => sqlite(path),
        DatabaseTarget::Postgres(url) => postgres(url.expose()),
    }
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
