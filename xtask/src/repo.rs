//! The repository as the rules see it: paths and texts, read once.
//!
//! Owns: which files belong to the project, and what a finding is. Never: an opinion about their content.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Every file of the project by its path from the root, with `/` between the parts. Files that are not UTF-8 have
/// no text.
pub(crate) struct Repo {
    files: BTreeMap<String, Option<String>>,
}

/// One place that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Path from the root.
    pub(crate) path: String,
    /// Counted from 1; 0 where the whole file is meant.
    pub(crate) line: usize,
    /// What is wrong and what to do, in one sentence.
    pub(crate) text: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.text),
            line => write!(f, "{}:{line}: {}", self.path, self.text),
        }
    }
}

impl Repo {
    /// Reads the tree below `root`, without what its `.gitignore` names and without `.git`.
    ///
    /// # Errors
    /// The path and the reason, when a folder or a file cannot be read.
    pub(crate) fn read(root: &Path) -> Result<Self, String> {
        let ignored = Ignored::parse(&std::fs::read_to_string(root.join(".gitignore")).unwrap_or_default());
        let mut files = BTreeMap::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let entries = std::fs::read_dir(root.join(&folder)).map_err(|e| told(&folder, &e))?;
            for entry in entries {
                let entry = entry.map_err(|e| told(&folder, &e))?;
                let path = folder.join(entry.file_name());
                let name = slashed(&path);
                let kind = entry.file_type().map_err(|e| told(&path, &e))?;
                if name == ".git" || ignored.covers(&name) {
                    continue;
                }
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() {
                    let bytes = std::fs::read(root.join(&path)).map_err(|e| told(&path, &e))?;
                    files.insert(name, String::from_utf8(bytes).ok());
                }
            }
        }
        Ok(Self { files })
    }

    /// A repository of these paths and texts, for tests of rules.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|(p, t)| ((*p).to_owned(), Some((*t).to_owned()))).collect() }
    }

    /// Every file that is text, as path and text.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    /// Every Rust file of the crates under `crates/`.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts().filter(|(path, _)| path.starts_with("crates/") && path.ends_with(".rs"))
    }

    /// The text of one file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    /// Whether `path` is a file or a folder of the project.
    pub(crate) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.files.contains_key(path)
            || self
                .files
                .range(format!("{path}/")..)
                .next()
                .is_some_and(|(p, _)| p.starts_with(&format!("{path}/")))
    }
}

/// The folder name of the crate that a path belongs to: `crates/NAME/...`.
pub(crate) fn crate_of(path: &str) -> Option<&str> {
    path.strip_prefix("crates/")?.split_once('/').map(|(name, _)| name)
}

fn slashed(path: &Path) -> String {
    path.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

fn told(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// The three forms of pattern that the project's `.gitignore` uses: `/path` from the root, a name anywhere, `*.ext`.
struct Ignored {
    from_root: Vec<String>,
    names: Vec<String>,
    endings: Vec<String>,
}

impl Ignored {
    fn parse(text: &str) -> Self {
        let mut ignored = Self { from_root: Vec::new(), names: Vec::new(), endings: Vec::new() };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let line = line.trim_end_matches('/');
            if let Some(path) = line.strip_prefix('/') {
                ignored.from_root.push(path.to_owned());
            } else if let Some(ending) = line.strip_prefix('*') {
                ignored.endings.push(ending.to_owned());
            } else {
                ignored.names.push(line.to_owned());
            }
        }
        ignored
    }

    fn covers(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.from_root.iter().any(|p| p == path)
            || self.names.iter().any(|n| n == name)
            || self.endings.iter().any(|e| name.ends_with(e.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignores_what_gitignore_names() {
        let ignored = Ignored::parse("# comment\n/target\nnode_modules/\n*.log\n");
        for (path, want) in [
            ("target", true),
            ("crates/target", false),
            ("web/node_modules", true),
            ("deep/down/x.log", true),
            ("x.login", false),
        ] {
            assert_eq!(ignored.covers(path), want, "{path}");
        }
    }

    #[test]
    fn knows_files_and_folders() {
        let repo = Repo::of(&[("docs/a.md", ""), ("docs-old.md", "")]);
        for (path, want) in
            [("docs", true), ("docs/", true), ("docs/a.md", true), ("docs/b.md", false), ("doc", false)]
        {
            assert_eq!(repo.has(path), want, "{path}");
        }
    }
}
