//! Where values come from, as data.
//!
//! Owns: the four layers (flags, environment, `.env`, settings file) and their precedence. Never parses a value.

mod dotenv;
mod flags;
mod host;
mod resolve;
mod toml_file;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use heldar_base::Secret;
use serde::{Serialize, Serializer};

pub use flags::Flags;
pub use host::HostFiles;
pub(crate) use resolve::{Resolution, Resolver};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag,
    /// The environment of the process.
    Env,
    /// `.env` in the working directory.
    DotEnv,
    /// The settings file, at this line.
    File {
        /// As it was named.
        path: String,
        /// From 1.
        line: usize,
    },
    /// A stored setting of the operator.
    Setting,
    /// Nobody set it.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag => f.write_str("flag"),
            Source::Env => f.write_str("env"),
            Source::DotEnv => f.write_str(".env"),
            Source::File { path, line } => write!(f, "{path}:{line}"),
            Source::Setting => f.write_str("setting"),
            Source::Default => f.write_str("default"),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Everything that settings are read from.
pub struct Input<'a> {
    /// The command line.
    pub flags: Flags,
    /// The environment.
    pub env: Vec<(OsString, OsString)>,
    /// Files, relative to the working directory.
    pub files: &'a dyn Files,
}

/// Reads files.
pub trait Files {
    /// The whole file.
    ///
    /// # Errors
    /// [`FileError`], with [`FileError::NotFound`] only where nothing is there.
    fn read(&self, path: &Path) -> Result<FileText, FileError>;
}

/// A file that was read.
pub struct FileText {
    /// Its content.
    pub bytes: Secret<Vec<u8>>,
    /// True when every user of the machine may read it.
    pub readable_by_others: bool,
}

/// A file that was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// There is none.
    #[error("there is no such file")]
    NotFound,
    /// It cannot be read, for this reason.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

/// What one source says about one name.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) raw: Raw,
    pub(crate) source: Source,
    /// True when it stands in a file that every user of the machine may read.
    pub(crate) readable_by_others: bool,
}

/// A value as it was given. Held as a secret, since nobody knows yet.
#[derive(Clone, Debug)]
pub(crate) enum Raw {
    Text(Secret<String>),
    /// Bytes that are not UTF-8.
    NotUnicode,
}

impl Given {
    fn text(text: impl Into<String>, source: Source) -> Self {
        Given { raw: Raw::Text(Secret::new(text.into())), source, readable_by_others: false }
    }

    fn is_blank(&self) -> bool {
        matches!(&self.raw, Raw::Text(text) if text.expose().trim().is_empty())
    }
}

/// What one source says, by the name of the variable (or of its `_FILE` form).
pub(crate) type Layer = BTreeMap<String, Given>;

/// True when a name of this form is one of ours, known or not.
fn is_ours(name: &str) -> bool {
    name.starts_with("HELDAR_") || crate::table::find(name).is_some()
}

/// The layer of the environment.
fn env_layer(env: &[(OsString, OsString)]) -> Layer {
    let named = |(name, value): &(OsString, OsString)| {
        let name = name.to_str().filter(|name| is_ours(name))?;
        let given = match value.to_str() {
            Some(text) => Given::text(text, Source::Env),
            None => Given { raw: Raw::NotUnicode, source: Source::Env, readable_by_others: false },
        };
        Some((name.to_owned(), given))
    };
    env.iter().filter_map(named).collect()
}
