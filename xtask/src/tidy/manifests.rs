//! Every dependency from outside says what it is for, and none comes from anywhere but the registry.
//!
//! Owns: comments in the root manifest, sources in lock files.

use crate::repo::{Finding, Repo};

pub(super) fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(text) = repo.text("Cargo.toml") {
        uncommented(text, &mut findings);
    }
    for (path, text) in repo.texts() {
        let name = path.rsplit('/').next().unwrap_or(path);
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let why = match name {
                "Cargo.lock" if line.starts_with("source = \"git+") => "a dependency from git",
                "package-lock.json" if line.starts_with("\"resolved\"") && line.contains("://") => {
                    "a download address; make the file with `omit-lockfile-registry-resolved=true`"
                }
                _ => continue,
            };
            findings.push(Finding::new(path, index + 1, why));
        }
    }
    findings
}

/// A group is a run of lines under one comment; only crates of the workspace need none.
fn uncommented(text: &str, findings: &mut Vec<Finding>) {
    let mut inside = false;
    let mut explained = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line == "[workspace.dependencies]";
            explained = false;
        } else if line.starts_with('#') {
            explained = true;
        } else if line.is_empty() {
            explained = false;
        } else if inside && !explained && !line.contains("path =") {
            let name = line.split('=').next().unwrap_or(line).trim();
            findings.push(Finding::new(
                "Cargo.toml",
                index + 1,
                format!("a comment above {name} says what it is for"),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{caught, passes};
    use super::*;

    const OURS: &str = "[workspace.dependencies]\nheldar-base = { path = \"crates/heldar-base\" }\n";

    #[test]
    fn groups_of_dependencies_are_explained() {
        passes(
            check,
            &[("Cargo.toml", &format!("{OURS}# shapes\na = \"1\"\nb = \"1\"\n\n[profile.dev]\nc = 1\n"))],
        );
        let text = format!("{OURS}# shapes\na = \"1\"\n\nb = \"1\"\n");
        caught(check, &[("Cargo.toml", &text)], "Cargo.toml:6", "above b");
        caught(check, &[("Cargo.toml", &format!("{OURS}a = \"1\"\n"))], "Cargo.toml:3", "above a");
    }

    #[test]
    fn lock_files_name_the_registry_only() {
        let git = "[[package]]\nsource = \"git+https://example.org/x#1\"\n";
        caught(check, &[("fuzz/Cargo.lock", git)], "fuzz/Cargo.lock:2", "from git");
        let npm = "{\n \"resolved\": \"https://example.org/x.tgz\",\n \"integrity\": \"x\"\n}";
        caught(check, &[("web/package-lock.json", npm)], "web/package-lock.json:2", "download address");
    }
}
