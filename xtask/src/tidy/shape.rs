//! A file says what room it is, and stays one room.
//!
//! Owns: module headers, outside tests, and the length of source files.

use crate::repo::{Finding, Repo};

/// Past this a file usually holds two subjects.
const LONGEST: usize = 700;

/// Longer files, each with the reason why it is one subject.
const LONG_FILES: &[(&str, &str)] = &[];

const SOURCES: &[&str] = &["rs", "ts", "tsx", "js", "css", "py", "sh", "sql"];

pub(super) fn check(repo: &Repo) -> Vec<Finding> {
    shape(repo, LONG_FILES)
}

fn shape(repo: &Repo, long_files: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in repo.texts() {
        let tests = path.contains("/tests/") || path.ends_with("/tests.rs");
        if path.ends_with(".rs") && !tests && !text.trim_start().starts_with("//!") {
            findings.push(Finding::new(
                path,
                1,
                "a file begins with a `//!` header: what it owns, what it never does",
            ));
        }
        let source = path.rsplit_once('.').is_some_and(|(_, ending)| SOURCES.contains(&ending));
        let length = text.lines().count();
        let allowed = long_files.iter().any(|(long, _)| *long == path);
        if source && length > LONGEST && !allowed {
            let why = format!("{length} lines; past {LONGEST} a file holds two subjects");
            findings.push(Finding::new(path, LONGEST + 1, why));
        }
        if allowed && length <= LONGEST {
            findings.push(Finding::new(
                path,
                0,
                "is short again; take it off the list of long files in xtask",
            ));
        }
    }
    for (path, _) in long_files.iter().filter(|(path, _)| !repo.has(path)) {
        findings.push(Finding::new(path, 0, "is gone; take it off the list of long files in xtask"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::{caught, passes};
    use super::*;

    const FILE: &str = "crates/heldar-base/src/lib.rs";

    #[test]
    fn files_begin_with_a_header() {
        passes(
            check,
            &[(FILE, "//! Words.\n"), ("README.md", "# Heldar"), ("crates/heldar-base/src/tests.rs", "")],
        );
        caught(check, &[(FILE, "// Words.\n")], &format!("{FILE}:1"), "header");
        caught(check, &[(FILE, "")], &format!("{FILE}:1"), "header");
    }

    #[test]
    fn files_stay_short() {
        let long = "//! x\n".repeat(LONGEST + 1);
        passes(check, &[(FILE, &"//! x\n".repeat(LONGEST)), ("docs/a.md", &long)]);
        caught(check, &[(FILE, &long)], &format!("{FILE}:701"), "two subjects");
        assert_eq!(shape(&Repo::of(&[(FILE, &long)]), &[(FILE, "a table")]), []);
    }

    #[test]
    fn the_list_of_long_files_stays_true() {
        let list = [(FILE, "a table")];
        assert!(shape(&Repo::of(&[(FILE, "//! x\n")]), &list)[0].text.contains("short again"));
        assert!(shape(&Repo::of(&[]), &list)[0].text.contains("gone"));
    }
}
