//! No result is thrown away without a word.
//!
//! Owns: `let _ =` in code of the product. A write whose failure is ignored is how footage is lost silently, so each one
//! says why that is right: `// reason: ...` behind it or above it.

use super::{Module, modules};
use crate::repo::{Finding, Repo};
use crate::source::Part;

pub(super) fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for module in modules(repo).iter().filter(|module| !module.test) {
        for (line, code) in module.source.lines(Part::Product) {
            if discards(code) && !has_reason(module, line) {
                findings.push(Finding::new(
                    module.path,
                    line,
                    "`let _ =` needs a `// reason: ...` behind or above it",
                ));
            }
        }
    }
    findings
}

/// `let _ = ...` or `let _: T = ...`, but not `let _name = ...`.
fn discards(code: &str) -> bool {
    code.match_indices("let _").any(|(at, found)| {
        code[at + found.len()..].trim_start().starts_with(['=', ':'])
            && !code[..at].ends_with(char::is_alphanumeric)
    })
}

/// A comment on the line, or in the run of comment lines that ends above it.
fn has_reason(module: &Module<'_>, line: usize) -> bool {
    let reason = |at: usize| {
        let comments = module.source.comments.iter();
        comments.clone().find(|c| c.line == at).map(|c| c.text.contains("reason:"))
    };
    if reason(line) == Some(true) {
        return true;
    }
    let mut above = line.saturating_sub(1);
    while let Some(found) = reason(above) {
        if found {
            return true;
        }
        above = above.saturating_sub(1);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::{caught, passes};
    use super::*;

    const FILE: &str = "crates/heldar-disk/src/x.rs";

    #[test]
    fn discarded_results_are_caught() {
        for code in ["let _ = file.sync();", "let _: Result<(), E> = f();", "if a { let _ = f(); }"] {
            caught(check, &[(FILE, &format!("\n{code}\n"))], &format!("{FILE}:2"), "reason");
        }
        let far = "// reason: far away\nf();\nlet _ = f();";
        caught(check, &[(FILE, far)], &format!("{FILE}:3"), "reason");
    }

    #[test]
    fn reasons_names_and_tests_are_free() {
        for text in [
            "let _ = f(); // reason: the reader is gone",
            "// reason: the reader is gone,\n// and nobody waits\nlet _ = f();",
            "let _guard = f();",
            "#[cfg(test)]\nmod tests { fn a() { let _ = f(); } }",
            "// let _ = f();",
        ] {
            passes(check, &[(FILE, text)]);
        }
        passes(check, &[("crates/heldar-disk/tests/x.rs", "let _ = f();")]);
    }
}
