//! Pure crates decide; they never look at the world.
//!
//! Owns: what a pure crate may not name outside its tests. Time, files, sockets, threads, processes and the environment
//! are inputs of decisions, so that these can be tested against every order of events.

use super::arrows::{Layer, layer_of};
use super::{Module, modules};
use crate::repo::{Finding, Repo};
use crate::source::{Part, has_word};

const FORBIDDEN: &[&str] = &[
    "std::fs",
    "std::net",
    "std::thread",
    "std::env",
    "std::process",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "tokio::",
];

pub(super) fn check(repo: &Repo) -> Vec<Finding> {
    let pure = |krate: &str| layer_of(krate) == Some(Layer::Pure);
    let mut findings = Vec::new();
    for module in modules(repo).iter().filter(|module| pure(module.krate)) {
        if module.path.ends_with("/src/lib.rs") && !forbids_unsafe(module) {
            findings.push(Finding::new(
                module.path,
                0,
                "a pure crate says `#![forbid(unsafe_code)]` in its lib.rs",
            ));
        }
        if module.test {
            continue;
        }
        for (line, code) in module.source.lines(Part::Product) {
            for word in FORBIDDEN.iter().filter(|word| names(code, word)) {
                let why = format!("`{word}` in {}: a pure crate takes it as an input", module.krate);
                findings.push(Finding::new(module.path, line, why));
            }
        }
    }
    findings
}

fn forbids_unsafe(module: &Module<'_>) -> bool {
    module.source.lines(Part::All).any(|(_, code)| code.trim() == "#![forbid(unsafe_code)]")
}

/// Whether the line names `word`, also as `std::{fs, net}`.
fn names(code: &str, word: &str) -> bool {
    let grouped = || {
        let part = word.strip_prefix("std::")?;
        let (_, group) = code.split_once("std::{")?;
        Some(top_level(group).iter().any(|item| item.split("::").next() == Some(part)))
    };
    has_word(code, word) || grouped().unwrap_or(false)
}

/// The items of a `use` group up to its closing brace, without those of groups inside it.
fn top_level(group: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let (mut start, mut depth) = (0, 0_usize);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                items.push(group[start..at].trim());
                start = at + 1;
            }
            '}' if depth == 0 => {
                items.push(group[start..at].trim());
                return items;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    items.push(group[start..].trim());
    items
}

#[cfg(test)]
mod tests {
    use super::super::{caught, passes};
    use super::*;

    const LIB: &str = "crates/heldar-bmff/src/lib.rs";

    #[track_caller]
    fn line(code: &str, hint: Option<&str>) {
        let text = format!("#![forbid(unsafe_code)]\n{code}\n");
        match hint {
            Some(hint) => caught(check, &[(LIB, &text)], &format!("{LIB}:2"), hint),
            None => passes(check, &[(LIB, &text)]),
        }
    }

    #[test]
    fn pure_code_names_nothing_of_the_world() {
        line("use std::fs::File;", Some("std::fs"));
        line("let a = std::env::var(x);", Some("std::env"));
        line("use std::{fmt, net::IpAddr};", Some("std::net"));
        line("let now = Instant::now();", Some("Instant::now"));
        line("fn at(t: SystemTime) {}", Some("SystemTime"));
        line("tokio::spawn(x);", Some("tokio::"));
    }

    #[test]
    fn words_in_comments_strings_and_tests_are_free() {
        line("// never std::fs", None);
        line("let a = \"std::fs\";", None);
        line("use std::{fmt, collections::{BTreeMap, fs}};", None);
        line("#[cfg(test)] mod t { use std::fs; }", None);
        let files = [(LIB, "#![forbid(unsafe_code)]"), ("crates/heldar-bmff/tests/a.rs", "use std::fs;")];
        passes(check, &files);
        passes(check, &[("crates/heldar-disk/src/lib.rs", "use std::fs;")]);
    }

    #[test]
    fn pure_crates_forbid_unsafe_code() {
        caught(check, &[(LIB, "//! #![forbid(unsafe_code)]\n")], LIB, "forbid(unsafe_code)");
    }
}
