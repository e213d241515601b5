//! Words that have no place in the project: machine paths, hosts of package registries, marks of unfinished work.
//!
//! Owns: the list. The words are put together from parts, so that this file passes its own rule.

use crate::repo::{Finding, Repo};

/// How a word must stand to count.
#[derive(Clone, Copy)]
enum Stands {
    /// Anywhere.
    Anywhere,
    /// Not inside a longer word.
    Alone,
    /// At the start of a path: `/a/` but not `b/a/`.
    AsPath,
}

const WORDS: &[(&str, Stands, &str)] = &[
    (concat!("/wo", "rk/"), Stands::AsPath, "a path of one machine"),
    (concat!("/tmp/bash", "_jobs"), Stands::AsPath, "a path of one machine"),
    (concat!("/ro", "ot/"), Stands::AsPath, "a path of one machine"),
    (concat!("index.crates", ".io"), Stands::Anywhere, "the host of a registry; name the package only"),
    (concat!("static.crates", ".io"), Stands::Anywhere, "the host of a registry; name the package only"),
    (concat!("registry.npm", "js.org"), Stands::Anywhere, "the host of a registry; name the package only"),
    (concat!("pypi", ".org"), Stands::Anywhere, "the host of a registry; name the package only"),
    (concat!("pythonhosted", ".org"), Stands::Anywhere, "the host of a registry; name the package only"),
    (concat!("deb.debian", ".org"), Stands::Anywhere, "the host of a registry; name the package only"),
    (concat!("TO", "DO"), Stands::Alone, "a mark of unfinished work; open an issue instead"),
    (concat!("FIX", "ME"), Stands::Alone, "a mark of unfinished work; open an issue instead"),
    (concat!("todo", "!("), Stands::Anywhere, "a mark of unfinished work; open an issue instead"),
];

pub(super) fn check(repo: &Repo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in repo.texts() {
        for (word, stands, why) in WORDS.iter().filter(|(word, ..)| text.contains(word)) {
            let lines = text.lines().enumerate().filter(|(_, line)| occurs(line, word, *stands));
            findings
                .extend(lines.map(|(index, _)| Finding::new(path, index + 1, format!("`{word}` is {why}"))));
        }
    }
    findings
}

fn occurs(line: &str, word: &str, stands: Stands) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let in_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        match stands {
            Stands::Anywhere => true,
            Stands::Alone => !in_word(before) && !in_word(after),
            Stands::AsPath => !in_word(before) && !before.is_some_and(|c| "./-~*}>".contains(c)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::{caught, passes};
    use super::*;

    #[test]
    fn every_word_is_caught_in_every_kind_of_file() {
        for (word, ..) in WORDS {
            for path in ["docs/a.md", "crates/x/src/lib.rs", "web/package-lock.json", "scripts/x.sh"] {
                let text = format!("first line\nsee {word} here\n");
                caught(check, &[(path, &text)], &format!("{path}:2"), word);
            }
        }
    }

    #[test]
    fn longer_words_and_paths_are_free() {
        passes(check, &[("a.md", concat!("MASTO", "DON src/wo", "rk/a.rs some", "TO", "DO_LIST"))]);
    }
}
