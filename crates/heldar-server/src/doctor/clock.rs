//! The host's clock: plausible beside this program and the files that are there, and set from outside.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use heldar_config::{DatabaseTarget, Finding, Level, Settings};

use super::finding;

/// Errors of the clock that recording corrects by itself.
const TOLERATED: Duration = Duration::from_secs(10);
/// Where systemd says that a time server was reached.
const SYNCHRONIZED: &str = "/run/systemd/timesync/synchronized";

pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    let program = std::env::current_exe().ok();
    let database = match &settings.database.target {
        DatabaseTarget::Sqlite(path) => Some(path.clone()),
        DatabaseTarget::Postgres(_) => None,
    };
    let mut findings: Vec<Finding> = [("this program", program), ("the database", database)]
        .into_iter()
        .filter_map(|(what, path)| behind(what, modified(&path?)?, SystemTime::now()))
        .collect();
    let service = Path::new(SYNCHRONIZED);
    if service.parent().is_some_and(Path::exists) && !service.exists() {
        let text = "the clock is not set from a time server yet (systemd-timesyncd)".to_owned();
        findings.push(finding(Level::Notice, "clock_not_synchronized", "", text));
    }
    findings
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// A file of the future means that the clock went back.
fn behind(what: &str, modified: SystemTime, now: SystemTime) -> Option<Finding> {
    let ahead = modified.duration_since(now).ok().filter(|ahead| *ahead > TOLERATED)?;
    let text = format!(
        "{what} is {} s younger than the clock says now: set the clock; nothing is recorded before it has passed the \
         newest footage",
        ahead.as_secs()
    );
    Some(finding(Level::Warning, "clock_behind", "", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_future() {
        let now = SystemTime::now();
        for (ahead_s, expect) in
            [(0, None), (10, None), (11, Some("clock_behind")), (90_000, Some("clock_behind"))]
        {
            let found = behind("the database", now + Duration::from_secs(ahead_s), now);
            assert_eq!(found.map(|finding| finding.code), expect, "{ahead_s}");
        }
        assert_eq!(behind("this program", now - Duration::from_secs(9), now), None);
    }
}
