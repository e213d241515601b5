//! House rules as functions from the repository to findings, one module per family.
//!
//! Owns: the list of rules, and which part of the product is test code. Each rule has tests with a planted violation,
//! and `the_repository_is_tidy` holds the project itself to all of them.

mod arrows;
mod documents;
mod egress;
mod manifests;
mod purity;
mod results;
mod rooms;
mod shape;
mod words;

use crate::repo::{Finding, Repo, crate_of};
use crate::source::Source;
use std::path::Path;

type Rule = fn(&Repo) -> Vec<Finding>;

/// Every rule with the name it is listed under.
const RULES: &[(&str, Rule)] = &[
    ("arrows", arrows::check),
    ("purity", purity::check),
    ("rooms", rooms::check),
    ("manifests", manifests::check),
    ("shape", shape::check),
    ("words", words::check),
    ("documents", documents::check),
    ("results", results::check),
    ("egress", egress::check),
];

/// `xtask tidy`: all rules over the repository that holds this crate.
///
/// # Errors
/// The list of findings, one per line.
pub(crate) fn command() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let found = findings(&Repo::read(&root)?);
    if found.is_empty() {
        crate::say(&format!("tidy: {} rules hold\n", RULES.len()));
        return Ok(());
    }
    Err(format!("{}\n\ntidy: {} findings", found.join("\n"), found.len()))
}

fn findings(repo: &Repo) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, rule) in RULES {
        let mut found = rule(repo);
        found.sort();
        lines.extend(found.iter().map(|finding| format!("{finding} [{name}]")));
    }
    lines
}

/// One Rust file of a crate, taken apart.
struct Module<'a> {
    path: &'a str,
    /// The crate's name.
    krate: &'a str,
    source: Source,
    /// The whole file is compiled for tests only.
    test: bool,
}

/// Every Rust file below `crates/`.
fn modules(repo: &Repo) -> Vec<Module<'_>> {
    let parsed: Vec<(&str, Source)> = repo.rust().map(|(path, text)| (path, Source::parse(text))).collect();
    let apart: Vec<String> = parsed.iter().flat_map(|(path, source)| test_paths(path, source)).collect();
    parsed
        .into_iter()
        .filter_map(|(path, source)| {
            let krate = crate_of(path)?;
            let inside = path.strip_prefix("crates/")?.strip_prefix(krate)?;
            let folder = ["/tests/", "/benches/", "/examples/"].iter().any(|f| inside.starts_with(f));
            let module = path.trim_end_matches(".rs");
            let declared = apart.iter().any(|p| {
                module.strip_prefix(p.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            });
            Some(Module { path, krate, source, test: folder || declared })
        })
        .collect()
}

/// Paths without `.rs` of the modules that a file declares for tests only.
fn test_paths(path: &str, source: &Source) -> Vec<String> {
    let module = path.trim_end_matches(".rs");
    let (parent, name) = module.rsplit_once('/').unwrap_or(("", module));
    let folder = if matches!(name, "lib" | "main" | "mod") { parent } else { module };
    source.test_modules().iter().map(|test| format!("{folder}/{test}")).collect()
}

/// For tests of rules: `text` of each finding of `rule`, with its line.
#[cfg(test)]
fn found(rule: Rule, files: &[(&str, &str)]) -> Vec<String> {
    let mut found = rule(&Repo::of(files));
    found.sort();
    found.iter().map(ToString::to_string).collect()
}

/// Asserts that `rule` finds exactly one thing, at `place` (`path:line` or `path`), and says `hint`.
#[cfg(test)]
#[track_caller]
fn caught(rule: Rule, files: &[(&str, &str)], place: &str, hint: &str) {
    let found = found(rule, files);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with(&format!("{place}: ")) && found[0].contains(hint), "{found:#?}");
}

/// Asserts that `rule` finds nothing.
#[cfg(test)]
#[track_caller]
fn passes(rule: Rule, files: &[(&str, &str)]) {
    assert_eq!(found(rule, files), Vec::<String>::new());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        if let Err(findings) = command() {
            panic!("{findings}");
        }
    }

    #[test]
    fn test_modules_in_files_of_their_own_are_test_code() {
        let repo = Repo::of(&[
            ("crates/heldar-x/src/lib.rs", "#[cfg(test)]\nmod apart;\nmod a;"),
            ("crates/heldar-x/src/apart.rs", ""),
            ("crates/heldar-x/src/apart/deep.rs", ""),
            ("crates/heldar-x/src/apartment.rs", ""),
            ("crates/heldar-x/src/a.rs", "#[cfg(test)]\nmod tests;"),
            ("crates/heldar-x/src/a/tests.rs", ""),
            ("crates/heldar-x/tests/x.rs", ""),
        ]);
        let test: Vec<&str> = modules(&repo).iter().filter(|m| m.test).map(|m| m.path).collect();
        let want = [
            "crates/heldar-x/src/a/tests.rs",
            "crates/heldar-x/src/apart.rs",
            "crates/heldar-x/src/apart/deep.rs",
            "crates/heldar-x/tests/x.rs",
        ];
        assert_eq!(test, want);
    }
}
