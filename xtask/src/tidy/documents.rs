//! Documents name only what exists.
//!
//! Owns: paths in backticks, in code blocks and behind links of Markdown files, and documents that code comments cite.

use crate::repo::{Finding, Repo};
use crate::source::Source;

/// A path that begins so is meant to be one of the repository.
const FOLDERS: &[&str] =
    &["crates/", "docs/", "xtask/", "scripts/", ".ci/", "web/", "sdk/", "examples/", "fuzz/"];

pub(super) fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in repo.texts().filter(|(path, _)| path.ends_with(".md")) {
        document(repo, path, text, &mut findings);
    }
    for (path, text) in repo.texts().filter(|(path, _)| path.ends_with(".rs")) {
        for comment in Source::parse(text).comments {
            let named = in_backticks(&comment.text).into_iter().filter(|name| name.starts_with("docs/"));
            missing(repo, path, comment.line, named, &mut findings);
        }
    }
    findings
}

fn document(repo: &Repo, path: &str, text: &str, findings: &mut Vec<Finding>) {
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let named: Vec<&str> = if fenced { line.split_whitespace().collect() } else { in_backticks(line) };
        missing(repo, path, index + 1, named.into_iter(), findings);
        if !fenced {
            broken_links(repo, path, index + 1, line, findings);
        }
    }
}

fn missing<'a>(
    repo: &Repo,
    path: &str,
    line: usize,
    named: impl Iterator<Item = &'a str>,
    findings: &mut Vec<Finding>,
) {
    for name in named {
        let name = bare(name);
        let pattern = name.contains(|c: char| "*<>{}$…".contains(c) || c.is_whitespace());
        let ours = FOLDERS.iter().any(|folder| name.starts_with(folder))
            || (name.ends_with(".md") && !name.contains('/'));
        if ours && !pattern && !repo.has(name) && !repo.has(&beside(path, name)) {
            findings.push(Finding::new(path, line, format!("`{name}` does not exist")));
        }
    }
}

/// `[text](target)` with a target inside the repository.
fn broken_links(repo: &Repo, path: &str, line_number: usize, line: &str, findings: &mut Vec<Finding>) {
    for (_, after) in line.match_indices("](").map(|(at, _)| line.split_at(at + 2)) {
        let target = after.split(')').next().unwrap_or_default();
        let outside = target.contains("://") || target.starts_with("mailto:");
        let target = bare(target);
        if !outside && !target.is_empty() && !repo.has(&beside(path, target)) {
            findings.push(Finding::new(path, line_number, format!("the link to {target} leads nowhere")));
        }
    }
}

/// What stands between backticks.
fn in_backticks(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

/// Without `#anchor`, `:line` and the punctuation of the sentence around it.
fn bare(name: &str) -> &str {
    let name = name.split(['#', ':']).next().unwrap_or(name);
    name.trim_start_matches("./").trim_end_matches(['.', ',', ';', ')', '/'])
}

/// `name` seen from the folder of the document at `path`.
fn beside(path: &str, name: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in name.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::{caught, passes};
    use super::*;

    const BASE: &str = "crates/heldar-base/src/lib.rs";

    #[track_caller]
    fn line(text: &str, hint: Option<&str>) {
        let files = [("docs/a.md", text), ("docs/design/b.md", ""), ("README.md", ""), (BASE, "//! x")];
        match hint {
            Some(hint) => caught(check, &files, "docs/a.md:1", hint),
            None => passes(check, &files),
        }
    }

    #[test]
    fn paths_in_documents_exist() {
        line("`crates/heldar-base/src/lib.rs:12`, `docs/design/`, `README.md` and `design/b.md`", None);
        line("`crates/heldar-gone/`", Some("crates/heldar-gone"));
        line("`GONE.md`", Some("GONE.md"));
        line("`docs/c.md#part`", Some("docs/c.md"));
        line("`recordings/x.mp4`, `crates/*/src`, `heldar.toml`, `docs/<name>.md`", None);
    }

    #[test]
    fn links_lead_somewhere() {
        line("[b](design/b.md#x) [up](../README.md) [out](https://example.org/x.md) [here](#x)", None);
        line("[b](design/c.md)", Some("design/c.md"));
    }

    #[test]
    fn code_blocks_count_too() {
        let text = "```sh\nbash scripts/gone.sh\n```\n";
        caught(check, &[("docs/a.md", text)], "docs/a.md:2", "scripts/gone.sh");
    }

    #[test]
    fn code_cites_documents_that_exist() {
        caught(
            check,
            &[(BASE, "//! x\n// see `docs/gone.md`, step 3\n")],
            &format!("{BASE}:2"),
            "docs/gone.md",
        );
        passes(check, &[(BASE, "//! see `docs/a.md`, step 3\n"), ("docs/a.md", "")]);
    }
}
