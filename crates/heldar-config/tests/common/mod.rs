//! Sources made of text.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use heldar_base::Secret;
use heldar_config::{DoctorEntry, FileError, FileText, Files, Finding, Flags, Input, Loaded, Settings, load};

/// Files by path: content, and whether others may read it.
#[derive(Default)]
pub(crate) struct FakeFiles(BTreeMap<PathBuf, Result<(Vec<u8>, bool), FileError>>);

impl Files for FakeFiles {
    fn read(&self, path: &Path) -> Result<FileText, FileError> {
        match self.0.get(path) {
            None => Err(FileError::NotFound),
            Some(Err(error)) => Err(error.clone()),
            Some(Ok((bytes, readable_by_others))) => {
                Ok(FileText { bytes: Secret::new(bytes.clone()), readable_by_others: *readable_by_others })
            }
        }
    }
}

/// A set of sources under construction.
#[derive(Default)]
pub(crate) struct World {
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    files: FakeFiles,
}

impl World {
    pub(crate) fn new() -> Self {
        World::default()
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(OsString::from));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    pub(crate) fn env_os(mut self, name: &str, value: OsString) -> Self {
        self.env.push((name.into(), value));
        self
    }

    pub(crate) fn file(mut self, path: &str, content: &str) -> Self {
        self.files.0.insert(path.into(), Ok((content.as_bytes().to_vec(), false)));
        self
    }

    pub(crate) fn open_file(mut self, path: &str, content: &[u8]) -> Self {
        self.files.0.insert(path.into(), Ok((content.to_vec(), true)));
        self
    }

    pub(crate) fn broken_file(mut self, path: &str) -> Self {
        self.files.0.insert(path.into(), Err(FileError::Unreadable("permission denied".to_owned())));
        self
    }

    pub(crate) fn load(self) -> Loaded {
        load(&Input { flags: Flags::take(self.args), env: self.env, files: &self.files })
    }

    pub(crate) fn settings(self) -> Settings {
        self.load().settings.unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// The start errors as text, one each.
    pub(crate) fn errors(self) -> Vec<String> {
        errors(&self.load())
    }
}

pub(crate) fn errors(loaded: &Loaded) -> Vec<String> {
    match &loaded.settings {
        Ok(_) => Vec::new(),
        Err(errors) => errors.0.iter().map(ToString::to_string).collect(),
    }
}

pub(crate) fn entry<'a>(loaded: &'a Loaded, name: &str) -> &'a DoctorEntry {
    loaded.entries.iter().find(|entry| entry.name == name).unwrap_or_else(|| panic!("{name} is not listed"))
}

pub(crate) fn finding<'a>(loaded: &'a Loaded, code: &str) -> Option<&'a Finding> {
    loaded.findings.iter().find(|finding| finding.code == code)
}

/// A key with many different bytes.
pub(crate) const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
